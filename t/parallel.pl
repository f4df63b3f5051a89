# A parallel worker never makes a connection: functions that say so are refused
# there, also when a wrapper is marked parallel safe by mistake.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;

my $node = new_node('parallel');
$node->safe_psql('postgres', q{
	CREATE EXTENSION sessmgr;
	CREATE FUNCTION wrong(sql text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS
		$$ DECLARE result text; BEGIN EXECUTE sql INTO result; RETURN result; END $$});

is( $node->safe_psql('postgres', q{
		SELECT coalesce(string_agg(p.oid::regprocedure::text, ', '), 'none')
		FROM pg_proc p WHERE pronamespace = 'sessmgr'::regnamespace AND proparallel <> 'u'
			AND (proname IN ('get_engine', 'create_session', 'session_factory', 'invalidate',
				'prepare_models', 'prepared', 'dispose', 'open', 'reset', 'add_model', 'drop_model',
				'begin', 'commit', 'rollback', 'close', 'in_transaction', 'begin_nested', 'release',
				'rollback_to') OR proname ~ '^(execute|query|scalar)' OR proname ~ '_list$')}),
	'none', 'all functions with state are parallel unsafe');

my $psql = psql($node);
my $force = $node->safe_psql('postgres',
	q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});

$psql->value(q{SELECT sessmgr.scalar('loopback:', 'SELECT 1')});
$psql->open('s', 'loopback:');
$psql->value(q{SELECT set_config('test.s', (:'s'::sessmgr.session)::text, false)});
$psql->value("SET $force = on");
like($psql->value(q{EXPLAIN SELECT wrong('SELECT 1')}), qr/Gather/, 'it runs in a worker');
isnt($psql->value(q{SELECT wrong('SELECT pg_backend_pid()')}), $psql->{pid}, 'indeed');

foreach my $sql (
	q{SELECT sessmgr.scalar('loopback:', 'SELECT 1')},
	q{SELECT sessmgr.scalar('spi:', 'SELECT 1')},
	q{SELECT sessmgr.get_engine('loopback:')},
	q{SELECT sessmgr.session_factory('loopback:')},
	q{SELECT sessmgr.scalar(current_setting('test.s')::sessmgr.session, 'SELECT 1')},
	q{SELECT sessmgr.reset()},
	q{SELECT count(*) FROM sessmgr.connections})
{
	$psql->fails("SELECT wrong(\$sql\$$sql\$sql\$)", '25000', "refused: $sql");
	like($psql->{last_err}, qr/cannot be used in a parallel worker/, 'with a clear error');
}
$psql->value("RESET $force");
$psql->is('SELECT connects, idle FROM sessmgr.engines', '1|1', 'the leader is as it was');
$psql->is(q{SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1')}, 1, 'and its session');
$psql->quit;
$node->stop;
done_testing();

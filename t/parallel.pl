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
		$$ DECLARE result text; BEGIN EXECUTE sql INTO result; RETURN result; END $$;
	CREATE TABLE model (id integer PRIMARY KEY);
	CREATE VIEW functions AS SELECT p.* FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sessmgr')});

# The exceptions use nothing that is kept in the process.  (Neither do the
# functions of the types, which only read and write handles.)
is( $node->safe_psql('postgres', q{
		SELECT string_agg(oid::regprocedure::text, ' ' ORDER BY proname)
		FROM functions WHERE proparallel <> 'u'
			AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'internal')
			AND oid NOT IN (SELECT unnest(ARRAY[typinput, typoutput, typreceive, typsend]) FROM pg_type)}),
	'sessmgr.forked() sessmgr.options() sessmgr.sessmgr_fdw_validator(text[],oid) sessmgr.stream_support(internal)',
	'which functions are not parallel unsafe');

# A call of each of the others, with good arguments
my %argument = (
	target => q{'loopback:'}, dburi => q{'loopback:'}, targets => q{ARRAY['loopback:']},
	sql => q{'SELECT 1'}, query => q{'SELECT 1 AS id'}, param_query => q{'SELECT 1'}, params => 1,
	rowtype => 'NULL::integer', into_table => q{'model'}, relation => q{'model'}, columns => 'NULL',
	metadata => q{'default'}, options => q{'{}'}, short_lived_sessions => 'true', savepoint => 1,
	timeout => q{'1s'}, engine => q{current_setting('test.e')::sessmgr.engine},
	factory => q{current_setting('test.f')::sessmgr.sessionmaker},
	session => q{current_setting('test.s')::sessmgr.session},
	sessions => q{ARRAY[current_setting('test.s')::sessmgr.session]});
my @calls;
foreach (split(/\n/, $node->safe_psql('postgres', q{
		SELECT oid::regproc, proretset AND prorettype = 'record'::regtype AND NOT coalesce(proargmodes && '{o,t}', false),
			'sessmgr.session'::regtype = ANY (proargtypes::oid[]), proargnames[1:pronargs]
		FROM functions WHERE proparallel = 'u' AND prorettype <> 'event_trigger'::regtype})))
{
	my ($name, $columns, $session, $arguments) = split(/\|/);
	my @values = map { $argument{ $session eq 't' && $_ eq 'target' ? 'session' : $_ } // die "what is $_ of $name?" }
	  $arguments =~ /(\w+)/g;
	$columns = $columns eq 'f' ? '' : $name eq 'sessmgr.query_all' ? ' AS t(target text, a integer)' : ' AS t(a integer)';
	push @calls, "SELECT count(*) FROM $name(" . join(', ', @values) . ")$columns";
}
cmp_ok(scalar(@calls), '>', 60, 'there are many');

my $psql = psql($node);
my $force = $node->safe_psql('postgres',
	q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});

$psql->value(q{SELECT sessmgr.scalar('loopback:', 'SELECT 1')});
$psql->open('s', 'loopback:');
$psql->value(q{SELECT set_config('test.s', (:'s'::sessmgr.session)::text, false)});
$psql->value(q{SELECT set_config('test.e', engine::text, false), set_config('test.f', factory::text, false)
	FROM sessmgr.create_session('loopback:')});
$psql->value("SET $force = on");
like($psql->value(q{EXPLAIN SELECT wrong('SELECT 1')}), qr/Gather/, 'it runs in a worker');
isnt($psql->value(q{SELECT wrong('SELECT pg_backend_pid()')}), $psql->{pid}, 'indeed');

foreach my $sql (@calls, map({ "SELECT count(*) FROM sessmgr.$_" } qw(engines sessions connections)),
	q{SELECT sessmgr.scalar('spi:', 'SELECT 1')})
{
	$psql->run("SELECT wrong(\$sql\$$sql\$sql\$)");
	# what only writes here is refused by PostgreSQL
	my $refusal = $sql =~ /(?:add|drop)_model\(/ ? 'cannot execute (?:INSERT|DELETE) during a parallel operation' :
	  'sessmgr cannot be used in a parallel worker';
	like(join(' ', $psql->{last_err} =~ /ERROR:  (\w{5}): +(.*)/), qr/^25000 $refusal$/, "refused: $sql");
}
$psql->is(q{SELECT wrong('SELECT sessmgr.forked()')}, 'true', 'what is parallel safe works there');
$psql->is(q{SELECT wrong('SELECT count(*) > 10 FROM sessmgr.options()')}, 'true', 'all of it');
$psql->value("RESET $force");
$psql->is('SELECT connects, idle FROM sessmgr.engines', '1|1', 'the leader is as it was');
$psql->is(q{SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1')}, 1, 'and its session');

$psql->quit;
$node->stop;
done_testing();

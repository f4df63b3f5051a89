# The extension on a hot standby, and in read-only local transactions: what is
# local and writes is refused, what is the target's own goes on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my $remote = new_node('remote');
$remote->safe_psql('postgres', 'CREATE TABLE t (a int)');
my $primary = new_node('primary', "wal_level = replica\nmax_wal_senders = 4\n");
$primary->safe_psql('postgres', 'CREATE EXTENSION sessmgr; CREATE TABLE here (a int)');
new_server($primary, $remote, 'remote');
$primary->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'standby', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 0\n");
$standby->start;

my $there = psql($remote);
my $written = 'WITH d AS (DELETE FROM t RETURNING a) SELECT count(*) FROM d';

foreach my $case ([ 'a hot standby', psql($standby), '' ],
	[ 'a READ ONLY transaction', psql($primary), ' READ ONLY' ])
{
	my ($what, $psql, $mode) = @$case;

	# one-liners of mode autocommit and sessions have transactions of their own there
	$psql->value("BEGIN$mode");
	$psql->is(q{SELECT sessmgr.scalar('remote', 'SELECT 42')}, 42, "$what: a one-liner reads");
	$psql->is(q{SELECT sessmgr.execute('remote', 'INSERT INTO t VALUES (1)')}, 1, '... and writes');
	$psql->is(q{SELECT a FROM sessmgr.stream('remote', 'SELECT 43') AS s(a int)}, 43, '... a stream');
	$psql->is(q{SELECT sessmgr.push('remote', 'SELECT 2', 't')}, 1, '... push');
	$psql->is(q{SELECT sessmgr.execute_many('remote', 'INSERT INTO t VALUES ($1)', 'SELECT 3')}, 1,
		'... execute_many');
	$psql->is(q{SELECT sessmgr.execute(s, 'INSERT INTO t VALUES (4)') FROM sessmgr.session_factory('remote', '{"hold": true}') s},
		1, '... a session');
	$psql->is('SELECT sessmgr.commit(session) FROM sessmgr.sessions', '', '... commits');
	$psql->is('SELECT sessmgr.close(session) FROM sessmgr.sessions', '', '... is closed');
	$psql->value('COMMIT');
	$there->is($written, 4, '... all of which is there');

	# joined is as the local transaction is
	$psql->value("BEGIN$mode");
	$psql->fails(q{SELECT sessmgr.execute(s, 'INSERT INTO t VALUES (5)')
		FROM sessmgr.session_factory('remote', '{"transaction": "joined"}') s}, '25006',
		"$what: a joined session reads only");
	$psql->value('ROLLBACK');

	# what writes here
	foreach my $call (q{sessmgr.pull('remote', 'SELECT 1', 'here')},
		q{sessmgr.execute(sessmgr.session_factory('remote', '{"transaction": "two_phase"}'), 'SELECT 1')},
		q{sessmgr.add_model('here')}, q{sessmgr.recover('remote')})
	{
		$psql->value("BEGIN$mode");
		$psql->fails("SELECT $call", '25006', "$what: $call");
		$psql->value('ROLLBACK');
	}
	$there->is($written, 0, '... nothing of which is there');
	$psql->quit;
}

# a conflict with recovery ends the local statement, and is no target's error
my $psql = psql($standby);
$primary->wait_for_catchup($standby);
$psql->value('BEGIN');
$psql->value('SELECT FROM here');
$psql->start(q{SELECT * FROM sessmgr.execute_all(ARRAY['remote', 'remote'], 'SELECT pg_sleep(600) /* both */')});
ok(wait_for(sub { remote_running($remote, 'both */') == 2 }), 'execute_all on a standby');
$primary->safe_psql('postgres', 'TRUNCATE here');
$psql->fails(undef, '40001', '... is ended by a conflict with recovery');
like($psql->{last_err}, qr/canceling statement due to conflict with recovery/, '... as any statement');
gone_soon($remote, 'both */', '... and over there, too');
$psql->quit;

$there->quit;
done_testing();

# Through PgBouncer, in its session mode.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan(skip_all => 'there is no pgbouncer: install the package of that name') unless $pgbouncer;
plan(skip_all => 'pgbouncer refuses to run as root: run dev/test, which changes to another user') if $> == 0;

my ($local, $remote) = new_pair();
my $pooler = start_pgbouncer($remote, program => $pgbouncer, pool_mode => 'session', default_pool_size => 3);
ok($pooler, 'pgbouncer runs');
my ($dir, $port, $user) = @$pooler{qw(dir port user)};

$local->safe_psql('postgres', qq{
	CREATE SERVER pooled FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '$dir', port '$port', dbname 'postgres', pooler 'session');
	CREATE USER MAPPING FOR CURRENT_USER SERVER pooled OPTIONS (user '$user')});
$remote->safe_psql('postgres', 'CREATE TABLE t (id int)');

my $psql = psql($local);
my $s = q{:'s'::sessmgr.session};
$psql->is(q{SELECT sessmgr.scalar('pooled', 'SELECT 42')}, 42, 'connects and works');
$psql->is(q{SELECT pooler FROM sessmgr.connections}, 'session', 'the pooler is seen');
$psql->is(
	q{SELECT sum(sessmgr.scalar_as(NULL::int, 'pooled', 'SELECT $1 + 1', i)) FROM generate_series(1, 10) i},
	65, 'prepared statements');
$psql->is(q{SELECT sessmgr.scalar('pooled', 'SELECT count(*) > 0 FROM pg_prepared_statements')},
	't', 'which there are');
$psql->open('s', 'pooled');
$psql->is("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (1), (2)')", 2, 'a session');
$psql->value("SELECT sessmgr.commit($s)");
$psql->is("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (3)')", 1, 'another transaction');
$psql->value("SELECT sessmgr.rollback($s)");
is($remote->safe_psql('postgres', 'SELECT count(*) FROM t'), 2, 'commit and rollback');

# the pooler's key is not the server's
$psql->value("SET statement_timeout = '1s'");
$psql->fails(q{SELECT sessmgr.execute('pooled', 'SELECT pg_sleep(600) /* slow */')}, '57014',
	'a statement is canceled');
$psql->value('RESET statement_timeout');
ok(wait_for(sub { $remote->safe_psql('postgres',
			q{SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%slow %'
				AND pid <> pg_backend_pid()}) == 0 }), 'and is gone there');
$psql->is(q{SELECT sessmgr.scalar('pooled', 'SELECT 43')}, 43, 'the connection is usable');
$psql->is('SELECT connects FROM sessmgr.engines', 1, 'the same one');

# a new client gets a server connection that another one has used
$psql->quit;
$psql = psql($local);
$psql->is(
	q{SELECT sum(sessmgr.scalar_as(NULL::int, 'pooled', 'SELECT $1 + 1', i)) FROM generate_series(1, 10) i},
	65, 'the next backend');

# the pooler goes away
stop_pgbouncer($pooler);
$psql->fails(q{SELECT sessmgr.scalar('pooled', 'SELECT 1')}, '08001', 'the pooler is gone');
unlike(slurp_file("$dir/log"), qr/unsupported startup parameter/, 'no unknown start-up parameter');
$psql->quit;
$local->stop;
$remote->stop;
done_testing();

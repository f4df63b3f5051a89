# More deadlocks with this same cluster (see t/deadlock.pl): of which no single backend
# sees enough, as they go through connections of connections, and some that go
# through connections which are in nobody's use.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

# also for the connections' own connections
my $local = new_node('local', "deadlock_timeout = 200ms\n");
$local->safe_psql('postgres', q{
	CREATE EXTENSION sessmgr;
	CREATE TABLE acc (id int PRIMARY KEY, v int NOT NULL DEFAULT 0);
	INSERT INTO acc SELECT generate_series(1, 10)});
my ($socket, $port) = ($local->host, $local->port);

my $admin = psql($local);
my $ours = q{pg_locks WHERE locktype = 'advisory' AND objsubid = 21331};

sub update { return "UPDATE acc SET v = v + 1 WHERE id = $_[0]"; }
sub in_session { return "SELECT sessmgr.execute(:'$_[0]'::sessmgr.session, '$_[1]')"; }

# A statement that runs one on a connection of a connection ..., $levels deep.
sub nested
{
	my ($sql, $levels, $function) = @_;
	my $tag = "\$t$levels\$";
	return $sql if $levels == 0;
	return "SELECT sessmgr.$function('loopback:', $tag" . nested($sql, $levels - 1, $function) . "$tag)";
}

sub nothing_left
{
	my ($name) = @_;
	ok(wait_for(sub { $admin->value("SELECT count(*) FROM $ours") == 0 }),
		"$name: nothing is left in pg_locks");
}

# The error of what was started, or of a statement: ours and not the server's.
sub deadlock
{
	my ($psql, $sql, $name) = @_;
	$psql->fails($sql, '40P01', $name);
	like($psql->{last_err}, qr/deadlock detected while waiting for/, "$name: found here");
	note(sprintf('%s: after %.1f s', $name, $psql->{seconds}));
}

# Does this psql wait for a connection, long enough to be looked at?
sub waits_for_connection
{
	my ($psql, $name) = @_;
	ok( wait_for(sub { $admin->value("SELECT count(*) FROM $ours AND classid = 1 AND pid = $psql->{pid}") == 1 }),
		$name);
}

# Does this process wait for a lock?
sub blocked
{
	my ($pid, $name) = @_;
	ok(wait_for(sub { $admin->value("SELECT cardinality(pg_blocking_pids($pid)) > 0") eq 't' }), $name);
}

# ---- a connection's connection waits for what the first of all has locked

foreach my $levels (2, 3)
{
	my $psql = psql($local);
	my $name = "$levels levels";

	$psql->value('BEGIN; LOCK TABLE acc');
	deadlock($psql, nested('SELECT count(*) FROM acc', $levels, 'scalar'), $name);
	nothing_left($name);
	$psql->value('ROLLBACK');
	$psql->is(nested('SELECT count(*) FROM acc', $levels, 'scalar'), 10, "$name: works afterwards");
	$psql->quit;
}

# the lock is that of another session of the first
{
	my $psql = psql($local);
	$psql->open('s', 'loopback:');
	$psql->value('BEGIN');
	$psql->value(in_session('s', update(1)));
	deadlock($psql, nested(update(1), 2, 'execute'), 'session');
	$psql->value('ROLLBACK');
	nothing_left('session');
	$psql->quit;
}

# two, each of which waits in the end for the other
{
	my @psqls = map { psql($local) } 1, 2;
	my ($failed, $good) = (0, 0);

	$psqls[$_]->value('BEGIN;' . update($_ + 1)) foreach 0, 1;
	$psqls[$_]->start(nested(update(2 - $_), 2, 'execute') . '; COMMIT') foreach 0, 1;
	foreach my $psql (@psqls)
	{
		my (undef, $err, $state) = $psql->finish;
		note($err);
		$failed++ if $state eq '40P01' && $err =~ /while waiting for/;
		$good++ if $state eq '';
	}
	is("$failed $good", '1 1', 'two: one fails, and the other goes on');
	nothing_left('two');
	$_->quit foreach @psqls;
}

# ---- nobody in the circle: left alone, however long it takes

{
	my ($psql, $third) = map { psql($local) } 1, 2;

	# the innermost just works, for so long that all are looked at several times
	$psql->value('BEGIN; LOCK TABLE acc');
	$psql->start(nested('SELECT pg_sleep(2)', 3, 'scalar'));
	is(($admin->run(qq{
		DO \$\$ BEGIN
			FOR i IN 1..30 LOOP
				IF EXISTS (SELECT FROM $ours) THEN
					RAISE EXCEPTION 'published';
				END IF;
				PERFORM pg_sleep(0.05);
			END LOOP;
		END \$\$}))[2], '', 'it works: nothing is published');
	is(($psql->finish)[2], '', 'it works: succeeds');
	$psql->value('ROLLBACK');

	# it waits for somebody who waits for nobody
	$third->value('BEGIN;' . update(1));
	$psql->value('BEGIN;' . update(2));
	$psql->start(nested(update(1), 2, 'execute'));
	waits_for_connection($psql, 'somebody else: it waits');
	is($admin->value("SELECT count(*) FROM $ours AND classid = 1"), 2,
		'somebody else: both say for whom');
	$third->value('COMMIT');
	is(($psql->finish)[2], '', 'somebody else: it succeeds');
	nothing_left('somebody else');
	$psql->value('ROLLBACK');
	$_->quit foreach ($psql, $third);
}

# before deadlock_timeout, no backend looks, and none takes a lock for others
{
	my $psql = psql($local);
	my $offset = -s $local->logfile;

	$psql->value(q{SET deadlock_timeout = '10min'; BEGIN; LOCK TABLE acc});
	$psql->start(nested('SELECT count(*) FROM acc', 2, 'scalar'));
	ok(wait_for(sub { $admin->value("SELECT count(*) FROM $ours") == 1 }),
		'before its time: the connection has looked');
	# wake it up
	$admin->value("SELECT pg_log_backend_memory_contexts($psql->{pid})");
	ok(wait_for(sub { log_since($local, $offset) =~ /\[?$psql->{pid}\]?.*Grand total/ }),
		'before its time: it was awake');
	is($admin->value("SELECT count(*) FROM $ours AND pid = $psql->{pid}"), 0,
		'before its time: it has not looked');
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', 'before its time: it waits');
	$psql->value('ROLLBACK');
	nothing_left('before its time');
	$psql->quit;
}

# ---- one of many targets has ended: nobody is told any more that it is awaited

foreach my $how ('well', 'badly')
{
	my ($psql, $third) = map { psql($local) } 1, 2;
	my $fail = $how eq 'well' ? '' : ' RETURNING 1 / (id - 1)';

	$third->value('BEGIN;' . update(1));
	$psql->start(qq{
		BEGIN;
		SELECT sqlstate FROM sessmgr.execute_all(
			ARRAY['loopback:'], 'UPDATE acc SET v = v + 1 WHERE id = 1$fail')});
	waits_for_connection($psql, "ends $how: it waits");
	$third->value('COMMIT');
	is(($psql->finish)[0], $how eq 'well' ? '' : '22012', "ends $how: so it does");
	is($admin->value("SELECT count(*) FROM $ours"), 0, "ends $how: and nothing is left in pg_locks");
	$psql->value('ROLLBACK');
	$_->quit foreach ($psql, $third);
}

# ---- a lock that a connection's session has kept, which is between two statements

foreach my $mode ('manual', 'autocommit')
{
	my $psql = psql($local);

	$psql->open('s1', 'loopback:', qq({"hold": true, "transaction": "$mode"}));
	$psql->open('s2', 'loopback:');
	$psql->value(in_session('s2', 'SELECT 1'));
	$psql->value(in_session('s1', 'SELECT pg_advisory_lock(1)'));
	$psql->value(q{SELECT sessmgr.commit(:'s1'::sessmgr.session)}) if $mode eq 'manual';
	deadlock($psql, in_session('s2', 'SELECT pg_advisory_lock(1)'), "kept, $mode");
	nothing_left("kept, $mode");
	$psql->quit;
}

{
	my ($psql, $third) = map { psql($local) } 1, 2;

	# of another engine, and through another backend
	my $dburi = "host=$socket port=$port dbname=postgres";
	$psql->value("SELECT sessmgr.execute('$dburi', 'SELECT pg_advisory_lock(1)')");
	$third->value('BEGIN;' . update(1));
	$third->start('SELECT pg_advisory_lock(1)');
	blocked($third->{pid}, 'kept, another engine: somebody else waits');
	deadlock($psql, "SELECT sessmgr.execute('loopback:', '" . update(1) . "')", 'kept, another engine');
	$psql->value("SELECT sessmgr.execute('$dburi', 'SELECT pg_advisory_unlock(1)')");
	$third->finish;
	is($third->{last_state}, '', 'kept, another engine: the other goes on');
	$third->value('ROLLBACK');
	nothing_left('kept, another engine');

	# it has none if its backend has gone, whose process id may be another's by now
	$admin->value(q{
		SELECT pg_terminate_backend(pid, 100000) FROM pg_stat_activity
		WHERE application_name = 'sessmgr'});
	$psql->value("SELECT sessmgr.scalar('loopback:', 'SELECT 1')");
	$third->value('BEGIN;' . update(1));
	$psql->start("SELECT sessmgr.execute('loopback:', '" . update(1) . "')");
	waits_for_connection($psql, 'kept by nobody: it waits');
	is($admin->value("SELECT count(*) FROM $ours"), 1, 'kept by nobody: nobody else is said to wait');
	$third->value('ROLLBACK');
	is(($psql->finish)[2], '', 'kept by nobody: it succeeds');
	$_->quit foreach ($psql, $third);
}

$local->stop;
done_testing();

# Mode two_phase on two remote servers: what ends there ends as the local
# transaction does, and recover() finishes what was left.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use POSIX ();
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my ($library, $why) = test_library();
plan(skip_all => $why) unless $library;

my $slots = 20;
my $replicated = "wal_level = replica\nmax_wal_senders = 3\nhot_standby = on\n";
my @remote = map { new_node("remote$_", "max_prepared_transactions = $slots\n$replicated") } 1, 2;
my $none = new_node('none');
my $local = new_node('local', "max_prepared_transactions = 5\n$replicated");
my $table = q{CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)};

$_->safe_psql('postgres', $table) foreach @remote, $none, $local;
$local->safe_psql('postgres', q{
	CREATE EXTENSION sessmgr;
	CREATE FUNCTION add(target text, n int) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.execute(target, 'INSERT INTO t VALUES ($1)', n) $$;
	CREATE FUNCTION add(s sessmgr.session, n int) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.execute(s, 'INSERT INTO t VALUES ($1)', n) $$;
	CREATE FUNCTION all_add(n int) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO t VALUES (n); SELECT add('r1', n), add('r2', n) $$});
# in a session that has loaded the library
my $injection_points = q{SELECT sessmgr.forked(); SELECT count(*) FROM pg_settings WHERE name = 'sessmgr.injection_point'};
is($local->safe_psql('postgres', $injection_points), "t\n0", 'the installed library has no injection points');
unlike(slurp_file($local->config_data('--pkglibdir') . '/sessmgr.so'),
	qr/recover listed/, 'nor their names');
use_test_library($local, $library);
is($local->safe_psql('postgres', $injection_points), "t\n1", 'which the one for tests has');
new_server($local, $remote[$_ - 1], "r$_", "transaction 'two_phase', cleanup_timeout '5s', commit_timeout '60s'")
  foreach 1, 2;
new_server($local, $none, 'none', q{transaction 'two_phase'});

my $psql = psql($local);
my $other = psql($local);
my $admin = psql($local);
my @there = map { psql($_) } @remote;
my $s = q{:'s'::sessmgr.session};

# What is committed here, on r1 and on r2, and how much is prepared on them
sub committed
{
	my ($name, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @found = map {
		$_->value(q{WITH d AS (DELETE FROM t RETURNING a)
			SELECT coalesce(string_agg(a::text, ',' ORDER BY a), '-') FROM d})
	} $admin, @there;
	push @found, map { $_->value('SELECT count(*) FROM pg_prepared_xacts') } @there;
	is("@found", $expected . ' 0 0', "$name: here, there and there");
}

sub decisions { return $admin->value('SELECT count(*) FROM sessmgr.two_phase'); }

# Recovers both, and returns the outcomes
sub recovered
{
	my @outcomes = map {
		split(/\n/, $admin->value("SELECT outcome FROM sessmgr.recover('r$_')"))
	} 1, 2;
	return join(' ', @outcomes);
}

# Wait until neither target is working on something of ours
sub quiet
{
	foreach my $there (@there)
	{
		wait_for(
			sub {
				$there->value(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sessmgr'
					AND (state = 'active' OR query ~ 'TRANSACTION')}) == 0;
			});
	}
}

# Starts a COMMIT that stops itself at a point; everything before has been done
sub stop_commit
{
	my ($point, $end) = @_;
	$psql->value("SET sessmgr.injection_point = '$point'");
	$psql->start($end // 'COMMIT');
	ok(stops($psql->{pid}), "stopped: $point") or BAIL_OUT("$point: not reached");
}

sub go_on
{
	continue_process($psql->{pid});
	my @result = $psql->finish;
	$psql->value('RESET sessmgr.injection_point');
	return @result;
}

# Leaves a committed transaction in doubt on both targets
sub leave_in_doubt
{
	my ($n) = @_;
	$psql->value("BEGIN; SELECT all_add($n)");
	stop_commit('committed');
	$_->value(q{SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
		WHERE application_name = 'sessmgr'}) foreach @there;
	my ($out, $err, $state) = go_on();
	is($state, '', 'the local COMMIT has succeeded');
	is(() = $err =~ /WARNING:  08007/g, 2, 'with a warning for each target') or diag($err);
}

# ---- the plain cases

$psql->value('SELECT all_add(1)');
committed('one statement', '1 1 1');
is(decisions(), 2, 'a row for each target');
like($admin->value(q{SELECT string_agg(gid, ' ') FROM sessmgr.two_phase}),
	qr/^(sessmgr_\d+_\d+_\d+_\d+_[0-9a-f]{16} ?){2}$/, 'with its id');
is($local->safe_psql('postgres', q{SELECT count(*) FROM sessmgr.two_phase WHERE target IN ('r1', 'r2')}), 2,
	'and the target');
is($psql->value('SELECT count(*) FROM sessmgr.connections'), 2, 'connections are kept');
my ($dump) = run_command([ 'pg_dump', '-d', $local->connstr('postgres') ]);
unlike($dump, qr/two_phase \(|sessmgr_\d/, 'it is not dumped');
like($dump, qr/CREATE EXTENSION/, 'by a dump that is one');

$psql->value('BEGIN; SELECT all_add(2); ROLLBACK');
committed('ROLLBACK', '- - -');
is(decisions(), 2, 'which also takes back that the old rows were deleted');
$psql->value('BEGIN; SELECT all_add(3); SELECT all_add(4); COMMIT');
committed('two statements', '3,4 3,4 3,4');
is(decisions(), 2, 'the old rows have gone');
$psql->run('BEGIN; SELECT all_add(5); SELECT 1 / 0; COMMIT');
committed('an error', '- - -');
is(recovered(), '', 'nothing to recover');
is(decisions(), 0, 'and the rows are gone');
$psql->value('BEGIN; SELECT add(\'r1\', 6); COMMIT');
committed('one target', '- 6 -');

# a prepared transaction holds locks; a failed one none
$psql->value(q{BEGIN; SELECT sessmgr.execute('r1', 'LOCK TABLE t'); ROLLBACK});
is($there[0]->value(q{SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass}), 0, 'no lock is left');

# ---- subtransactions

$psql->value(q{BEGIN; SELECT all_add(1); SAVEPOINT a; SELECT all_add(2); ROLLBACK TO a;
	SELECT all_add(3); RELEASE a; SELECT all_add(4); COMMIT});
committed('savepoints', '1,3,4 1,3,4 1,3,4');
$psql->value(q{BEGIN; SAVEPOINT a; SELECT all_add(1); ROLLBACK TO a; COMMIT});
committed('first used in what is rolled back', '- - -');
$psql->value(q{BEGIN; SAVEPOINT a; SELECT all_add(1); ROLLBACK TO a; SELECT all_add(2); COMMIT});
committed('and used again', '2 2 2');
$psql->value(q{BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT all_add(1); RELEASE b; RELEASE a; COMMIT});
committed('first used in what is released', '1 1 1');
$psql->value(q{BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT all_add(1); RELEASE b; ROLLBACK TO a; COMMIT});
committed('and then rolled back', '- - -');
$psql->value(q{DO $$ BEGIN
	FOR i IN 1..9 LOOP
		BEGIN
			PERFORM all_add(i);
			IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
			IF i % 4 = 0 THEN PERFORM sessmgr.execute('r2', 'SELECT 1 / 0'); END IF;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$});
committed('EXCEPTION blocks', join(' ', ('1,2,5,7') x 3));
$psql->value(q{CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$ BEGIN
	PERFORM all_add(1); COMMIT; PERFORM all_add(2); ROLLBACK; PERFORM all_add(3); COMMIT; PERFORM all_add(4);
	RAISE EXCEPTION 'the end'; END $$});
$psql->fails('CALL steps()', 'P0001', 'a procedure with COMMIT');
committed('a procedure', '1,3 1,3 1,3');

# rows of old transactions go, whatever becomes of the subtransaction that deletes them
recovered();
$psql->value('SELECT all_add(1)');
$psql->value(q{BEGIN; SAVEPOINT a; SELECT all_add(2); ROLLBACK TO a; COMMIT});
$psql->value('SELECT all_add(3)');
is(decisions(), 2, 'old rows go, although the first attempt to delete them was rolled back');
$psql->value("BEGIN ISOLATION LEVEL $_; SELECT all_add(n) FROM (SELECT max(a) + 1 FROM t) AS m (n); COMMIT")
  foreach ('REPEATABLE READ', 'SERIALIZABLE') x 3;
is(decisions(), 2, 'also at stricter levels');
recovered();
$admin->value('DELETE FROM t');
$_->value('DELETE FROM t') foreach @there;

# ---- several sessions, and joined ones

my $joined = q{SELECT sessmgr.open((sessmgr.create_session('r1', options => '{"transaction": "joined"}')).factory) AS s \gset};
$psql->value('BEGIN');
$psql->open('s', 'r1', '{}');
$psql->value("SELECT add($s, 1), add('r1', 2), add('r2', 3), sessmgr.close($s); COMMIT");
committed('a session and one-liners', '- 1,2 3');
is(decisions(), 2, 'a row for each target');
$psql->open('s', 'r1');
$psql->value("SELECT add($s, $_)") foreach 1, 2;
$psql->value("BEGIN; SELECT add($s, 3); ROLLBACK");
committed('a held session', '- 1,2 -');
$psql->fails("SELECT sessmgr.commit($s)", '2D000', 'it is not committed by hand');
$psql->value("SELECT sessmgr.close($s)");
$psql->value("BEGIN; $joined");
$psql->value("SELECT all_add(1), add($s, 2); COMMIT");
committed('with a joined one', '1 1,2 1');
$psql->value("BEGIN; $joined");
$psql->value("SELECT all_add(1), add($s, 2), add($s, 2)");
$psql->fails('COMMIT', '23505', 'the COMMIT of a joined one fails');
committed('a joined one fails', '- - -');
is(decisions(), 2, 'and no row is written');
$psql->value("BEGIN; $joined");
$psql->value("SELECT all_add(1), add('r2', 1), add($s, 2)");
$psql->fails('COMMIT', '23505', 'a PREPARE fails');
committed('then the joined one does not commit', '- - -');

# ---- PREPARE fails on one of two

foreach my $case (
	[ '23505', 'a deferred constraint', 'INSERT INTO t VALUES (1)' ],
	[ '0A000', 'a temporary table', 'CREATE TEMPORARY TABLE x ()' ],
	[ '0A000', 'LISTEN', 'LISTEN x' ],
	[ '0A000', 'an exported snapshot', 'SELECT pg_export_snapshot()' ])
{
	my ($expected, $name, $sql) = @$case;
	foreach my $target (1, 2)
	{
		$psql->value("BEGIN; SELECT all_add(1); SELECT sessmgr.execute('r$target', '$sql')");
		$psql->fails('COMMIT', $expected, "$name on r$target");
		unlike($psql->{last_err}, qr/WARNING/, "$name on r$target: nothing is in doubt");
		committed("$name on r$target", '- - -');
	}
}
$psql->value('SELECT all_add(1)');
committed('works again', '1 1 1');

# a serialization failure that is found after everything was prepared
$_->value('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM t') foreach $psql, $other;
$_->value('INSERT INTO t SELECT 10 + pg_backend_pid()') foreach $psql, $other;
$psql->value("SELECT add('r1', 1), add('r2', 1)");
$other->value('COMMIT');
$psql->fails('COMMIT', '40001', 'a serialization failure here');
$admin->value('DELETE FROM t');
committed('a serialization failure', '- - -');

# ---- a transaction that takes its own decision away

$psql->value('BEGIN; SELECT all_add(1); DELETE FROM sessmgr.two_phase');
$psql->fails('COMMIT', '55000', 'the row of a decision is deleted');
committed('the row of a decision is deleted', '- - -');
$psql->value('BEGIN; SELECT all_add(1); SET LOCAL client_min_messages = error; DROP EXTENSION sessmgr CASCADE');
$psql->fails('COMMIT', '42P01', 'the extension is dropped');
committed('the extension is dropped', '- - -');

# ---- what a target lacks

recovered();
# what a statement takes from a sequence there, no rollback gives back
$none->safe_psql('postgres', 'CREATE SEQUENCE taken');
$psql->value('BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a');
$psql->fails(q{SELECT sessmgr.execute('none', $$INSERT INTO t VALUES (nextval('taken'))$$)}, '55000',
	'a target with max_prepared_transactions = 0');
like($psql->{last_err}, qr/"none" cannot prepare transactions.*HINT/s, 'the error is clear');
$psql->value('ROLLBACK TO a');
is($psql->value(q{SELECT count(*) FROM sessmgr.two_phase}), 0, 'no row was written');
$psql->value('ROLLBACK');
is($none->safe_psql('postgres', 'SELECT is_called FROM taken'), 'f', 'nothing was done there');
is($none->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity
	WHERE application_name = 'sessmgr' AND state <> 'idle'}), 0, 'nor is a transaction left open');
$psql->fails(q{SELECT * FROM sessmgr.recover('none')}, '55000', 'nor can it be recovered');

$there[1]->value("BEGIN; INSERT INTO t VALUES (-$_); PREPARE TRANSACTION 'foreign_$_'") foreach 1 .. $slots;
$psql->value('BEGIN; SELECT all_add(1)');
$psql->fails('COMMIT', '53200', 'a target without a free slot');
is(recovered(), '', "somebody else's transactions are none of ours");
is($there[1]->value('SELECT count(*) FROM pg_prepared_xacts'), $slots, 'and are still there');
$there[1]->value("ROLLBACK PREPARED 'foreign_$_'") foreach 1 .. $slots;
committed('no free slot', '- - -');

$psql->value('BEGIN READ ONLY');
$psql->fails(q{SELECT add('r1', 1)}, '25006', 'a read-only local transaction');
$psql->value('ROLLBACK; BEGIN; SELECT all_add(1); SET TRANSACTION READ ONLY; COMMIT');
committed('read only afterwards', '1 1 1');
$psql->value(q{BEGIN; SELECT all_add(1)});
$psql->fails(q{PREPARE TRANSACTION 'here'}, '0A000', 'PREPARE TRANSACTION here');
committed('PREPARE TRANSACTION here', '- - -');

# ---- recover()

leave_in_doubt(1);
is(decisions(), 2, 'a row for each in doubt');
my ($system) = $admin->value('SELECT min(gid) FROM sessmgr.two_phase') =~ /^(sessmgr_\d+)_/;
is($admin->value(q{SELECT outcome FROM sessmgr.recover('r1')}), 'committed', 'recovered');
is($admin->value(q{SELECT outcome FROM sessmgr.recover('r1')}), '', 'once');
is(decisions(), 1, 'each target on its own');
$psql->value('SELECT all_add(2)');
is(decisions(), 3, 'a transaction in doubt stays so');
is(recovered(), 'committed', 'until it is recovered');
is(decisions(), 0, 'then its row is gone');
committed('recovered', '1,2 1,2 1,2');

# a local transaction that has not ended: wait, and then do as it did
foreach my $end ('COMMIT', 'ROLLBACK')
{
	$psql->value('BEGIN; SELECT all_add(1)');
	$psql->value("$joined") if $end eq 'ROLLBACK';
	$psql->value("SELECT add($s, 2), add($s, 2)") if $end eq 'ROLLBACK';
	stop_commit('all prepared');
	$other->start(q{SELECT outcome FROM sessmgr.recover('r1')});
	ok( wait_for(
			sub {
				$admin->value("SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted "
					  . "AND pid = $other->{pid}");
			}),
		"recover() waits for the $end");
	$_->value(q{SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
		WHERE application_name = 'sessmgr' AND query LIKE '%PREPARE TRANSACTION%'}) foreach @there;
	my (undef, $err, $state) = go_on();
	like($err, qr/WARNING:  08007/, "$end: in doubt");
	is($state, $end eq 'COMMIT' ? '' : '23505', "$end: as expected");
	my ($out) = $other->finish;
	is($out, $end eq 'COMMIT' ? 'committed' : 'rolled back', "$end: and recover() does the same");
	is(recovered(), $out, "$end: also on the other");
	committed("recovered after $end", $end eq 'COMMIT' ? '1 1 1' : '- - -');
}
is(decisions(), 0, 'no row is left');

# two at a time, the first of which stops at each point while the other does it all
foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	foreach my $point ('recover listed', 'recover waited', 'recover finished one', 'recover finished',
		'recover deleted')
	{
		my $name = "$level, $point";
		leave_in_doubt(1);
		$psql->value("BEGIN ISOLATION LEVEL $level; SELECT 1");
		$psql->value(q{SELECT * FROM sessmgr.recover('r2')});
		stop_commit($point, q{SELECT outcome FROM sessmgr.recover('r1')});
		my $seen = recovered();
		my ($out, $err, $state) = go_on();
		is($state, '', "$name: the first has not failed") or diag($err);
		is("$seen$out", 'committed', "$name: one of them has done it");
		$psql->value('COMMIT');
		committed($name, '1 1 1');
		is(recovered(), '', "$name: nothing is left to do");
		is(decisions(), 0, "$name: no row is left");
	}
}

# one that has work of its own there has not decided yet
$psql->value('BEGIN; SELECT all_add(1)');
$psql->is(q{SELECT count(*) FROM sessmgr.recover('r1')}, 0, 'recover() in a transaction with work of its own');
$psql->fails('COMMIT', '', 'which can still commit');
committed('recover() in a transaction with work of its own', '1 1 1');
leave_in_doubt(2);
$psql->value(q{BEGIN; SELECT all_add(3)});
$psql->is(q{SELECT outcome FROM sessmgr.recover('r1')}, 'committed', 'and finishes what was left before it');
$psql->value('COMMIT');
is(recovered(), 'committed', 'on each target');
committed('recover() with work of its own', '2,3 2,3 2,3');
is(decisions(), 0, 'and no row is left');

# a snapshot from before
$other->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t');
leave_in_doubt(1);
is($other->value(q{SELECT outcome FROM sessmgr.recover('r1')}), 'committed', 'a decision later than the snapshot');
$other->value('ROLLBACK');
is(recovered(), 'committed', 'what was recovered there is, whatever becomes of the local transaction');
is(decisions(), 0, 'its row goes with the next');
committed('an old snapshot', '1 1 1');

# several at once, for real
leave_in_doubt(1);
$_->quit foreach ();
my @many = map { psql($local) } 1 .. 5;
$_->start(q{SELECT outcome FROM sessmgr.recover('r1') UNION ALL SELECT outcome FROM sessmgr.recover('r2')})
  foreach @many;
my @results = map { [ $_->finish ] } @many;
is(join(' ', sort map { split(/\n/, $_->[0]) } @results), 'committed committed', 'five at a time');
is(join('', map { $_->[2] } @results), '', 'none fails');
$_->quit foreach @many;
is(recovered(), '', 'five at a time: nothing is left');
is(decisions(), 0, 'five at a time: no row is left');
committed('five at a time', '1 1 1');

# other people's, which look like ours
my $oid = $admin->value(q{SELECT oid FROM pg_database WHERE datname = 'postgres'});
my $future = $admin->value('SELECT pg_current_xact_id()::text::int8 + 1000000');
my %foreign = (
	'another database here' => "${system}_1_3_1_0123456789abcdef",
	'another system' => "sessmgr_1_${oid}_3_1_0123456789abcdef",
	'an id that this server has not come to' => "${system}_${oid}_${future}_1_0123456789abcdef",
	'no transaction' => "${system}_${oid}_0_1_0123456789abcdef",
	'no number' => "${system}_${oid}_3_1_mine",
	'nothing more' => "${system}_${oid}_");
$there[0]->value("BEGIN; CREATE TABLE x$_ (); PREPARE TRANSACTION '$foreign{(sort keys %foreign)[$_]}'")
  foreach 0 .. keys(%foreign) - 1;
$remote[0]->safe_psql('postgres', 'CREATE DATABASE elsewhere');
my $elsewhere = psql($remote[0], db => 'elsewhere');
$elsewhere->value("BEGIN; CREATE TABLE x (); PREPARE TRANSACTION '${system}_${oid}_3_2_0123456789abcdef'");
is(recovered(), 'left alone', 'they are left alone');
is($there[0]->value('SELECT count(*) FROM pg_prepared_xacts'), 1 + keys %foreign, 'all of them');
$elsewhere->value("ROLLBACK PREPARED '${system}_${oid}_3_2_0123456789abcdef'");
$elsewhere->quit;
$there[0]->value("ROLLBACK PREPARED '$_'") foreach values %foreign;
$there[0]->value("BEGIN; CREATE TABLE y (); PREPARE TRANSACTION '${system}_${oid}_3_2_0123456789abcdef'");
is(recovered(), 'rolled back', 'but one of ours is ours');

# ---- a target that does not answer

# Stops a target's process that this backend is connected to
sub stop_target
{
	my $pid = $psql->value(q{SELECT remote_pid FROM sessmgr.connections WHERE dburi = 'r1'});
	stop_process($pid);
	return $pid;
}

foreach my $how ('commit_timeout', 'cancel', 'statement_timeout', 'terminate', 'client')
{
	my $sql = 'COMMIT';
	my $logged = -s $local->logfile;
	my $timeout = $how eq 'commit_timeout' || $how eq 'client' ? 5 : 60;
	$admin->value("ALTER SERVER r$_ OPTIONS (SET commit_timeout '${timeout}s')") foreach 1, 2;
	$psql->value('SELECT sessmgr.reset()');
	$psql->value('BEGIN; SELECT all_add(1)');
	if ($how eq 'statement_timeout')
	{
		# only in a procedure does it run until the end
		$psql->value('ROLLBACK');
		$psql->value(q{CREATE PROCEDURE timed() LANGUAGE plpgsql AS
			$$ BEGIN PERFORM all_add(1), pg_advisory_xact_lock(1); COMMIT; END $$; SET statement_timeout = '10s'});
		$admin->value('SELECT pg_advisory_lock(1)');
		$sql = 'CALL timed()';
	}
	my $stopped;
	if ($how eq 'statement_timeout')
	{
		$psql->start($sql);
		wait_for(sub { $there[1]->value(q{SELECT count(*) FROM pg_stat_activity
				WHERE application_name = 'sessmgr' AND query LIKE 'INSERT%'}) });
		($stopped) = split(/\n/, $there[0]->value(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'sessmgr'
			AND state = 'idle in transaction' AND query LIKE 'INSERT%'}));
		stop_process($stopped);
		$admin->value('SELECT pg_advisory_unlock(1)');
	}
	else
	{
		$stopped = stop_target();
		$psql->start($sql);
	}
	wait_for(sub { $there[1]->value('SELECT count(*) FROM pg_prepared_xacts') });
	$admin->value("SELECT pg_cancel_backend($psql->{pid})") if $how eq 'cancel';
	$admin->value("SELECT pg_terminate_backend($psql->{pid})") if $how eq 'terminate';
	if ($how eq 'client')
	{
		$psql->kill_client;
	}
	else
	{
		my ($out, $err, $state) = $psql->finish;
		note("$how: $err");
		is($state, $how eq 'terminate' ? '57P01' : '08006', "PREPARE is not answered, $how: nothing was done");
		cmp_ok($psql->{seconds}, '<', 40, "$how: bounded");
	}
	if ($how eq 'terminate' || $how eq 'client')
	{
		wait_for(sub { !$admin->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $psql->{pid}") });
		$psql = psql($local);
	}
	is($there[1]->value('SELECT count(*) FROM pg_prepared_xacts'), 0, "$how: the other one is rolled back");
	ok( wait_for(sub { log_since($local, $logged) =~ /may still be prepared on "r1"/ }),
		"$how: what is in doubt is in the log");
	continue_process($stopped);
	# until it has ended, it may still read the PREPARE that waits on its socket
	wait_for(sub { !$there[0]->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $stopped") });
	quiet();
	like(recovered(), qr/^(?:rolled back)?$/, "$how: recovered");
	committed("PREPARE is not answered, $how", '- - -');
	$psql->value('RESET statement_timeout');
}
is(decisions(), 0, 'no row is left by any of them');
$admin->value("ALTER SERVER r$_ OPTIONS (SET commit_timeout '60s')") foreach 1, 2;

$psql->value('BEGIN; SELECT all_add(1)');
stop_commit('all prepared');
my ($prepared) = $there[0]->value(q{SELECT pid FROM pg_stat_activity WHERE query LIKE '%PREPARE TRANSACTION%'
	AND application_name = 'sessmgr'});
stop_process($prepared);
my (undef, $err, $state) = go_on();
is($state, '', 'COMMIT PREPARED is not answered: the local COMMIT has succeeded');
is(() = $err =~ /WARNING/g, 1, 'with one warning');
cmp_ok($psql->{seconds}, '<', 40, 'bounded');
is(decisions(), 2, 'the row is there');
continue_process($prepared);
quiet();
note('recovered: ' . recovered());
is(decisions(), 0, 'recovered, no row is left');
committed('COMMIT PREPARED is not answered', '1 1 1');

# ---- an ordinary role

$there[0]->value(q{SET password_encryption = 'scram-sha-256'; CREATE ROLE app LOGIN PASSWORD 'app-secret';
	GRANT ALL ON t TO app});
unlink($remote[0]->data_dir . '/pg_hba.conf');
$remote[0]->append_conf('pg_hba.conf', "local all app scram-sha-256\nlocal all,replication all trust\n");
$remote[0]->reload;
$admin->value(q{
	CREATE ROLE app LOGIN;
	GRANT ALL ON t TO app;
	GRANT USAGE ON SCHEMA sessmgr TO app;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO app;
	GRANT USAGE ON FOREIGN SERVER r1 TO app;
	CREATE USER MAPPING FOR app SERVER r1 OPTIONS (user 'app', password 'app-secret')});
my $app = psql($local, user => 'app');
$app->value(q{BEGIN; INSERT INTO t VALUES (1); SELECT add('r1', 1); COMMIT});
committed('an ordinary role', '1 1 -');
$app->fails('SELECT * FROM sessmgr.two_phase', '42501', 'which may not look at the rows');
$app->is(q{SELECT * FROM sessmgr.recover('r1')}, '', 'but recover');
is(decisions(), 0, 'which deletes its row');
($psql, $app) = ($app, $psql);
$psql->value(q{BEGIN; SELECT add('r1', 1)});
stop_commit('committed');
$there[0]->value(q{SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
	WHERE application_name = 'sessmgr'});
go_on();
$psql->is(q{SELECT outcome FROM sessmgr.recover('r1')}, 'committed', 'it recovers what is its own');
($psql, $app) = ($app, $psql);
committed('recovered by an ordinary role', '- 1 -');
leave_in_doubt(1);
$app->is(q{SELECT outcome FROM sessmgr.recover('r1')}, 'not permitted', 'but not what is not');
is(decisions(), 2, 'and no row goes');
is(recovered(), 'committed committed', 'which the other does');
committed('not permitted', '1 1 1');
$app->quit;

# ---- on a standby

$local->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($local, 'copy', has_streaming => 1);
$standby->start;
my $there = psql($standby);
$there->fails(q{SELECT * FROM sessmgr.recover('r1')}, '25006', 'recover() on a standby');
$there->quit;
$standby->stop('immediate');

# a target's standby shows nothing that is prepared on the target
leave_in_doubt(1);
$remote[0]->backup('copy');
$standby = PostgreSQL::Test::Cluster->new('standby_of_r1');
$standby->init_from_backup($remote[0], 'copy', has_streaming => 1);
$standby->start;
new_server($local, $standby, 'standby', q{transaction 'two_phase'});
$psql->fails(q{SELECT * FROM sessmgr.recover('standby')}, '55000', "recover() of a target's standby");
is(decisions(), 2, 'which deletes no row');
is(recovered(), 'committed committed', 'that is needed');
committed("a target's standby", '1 1 1');

# BEGIN travels with the first statement: if it fails there is no transaction
$psql->value(q{
	CREATE FUNCTION read_write() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		s sessmgr.session := sessmgr.session_factory('standby', '{"transaction": "manual", "read_only": "off"}');
		said text;
	BEGIN
		BEGIN
			PERFORM sessmgr.execute(s, 'SELECT 1');
		EXCEPTION WHEN OTHERS THEN
			said := SQLERRM;
		END;
		RETURN concat_ws(', ', said, sessmgr.in_transaction(s), (SELECT string_agg(state, ' ') FROM sessmgr.connections WHERE dburi = 'standby'));
	END $$});
$psql->is('SELECT read_write()', 'cannot set transaction read-write mode during recovery, f, idle', 'a BEGIN that fails');
$psql->value('SELECT sessmgr.reset()');
$standby->stop('immediate');

# ---- under load, with recover() all the time

my $script = PostgreSQL::Test::Utils::tempdir . '/load.sql';
append_to_file($script, "SELECT all_add(nextval('n')::int);\n");
$admin->value(q{CREATE SEQUENCE n});
my $clients = 4;
my $load = fork();
die "could not fork: $!" unless defined $load;
if ($load == 0)
{
	open(STDOUT, '>', "$script.out");
	open(STDERR, '>&', \*STDOUT);
	exec('pgbench', '-n', '-f', $script, '-c', $clients, '-T', 6, '-d', $local->connstr('postgres'));
}
my (%outcomes, $rounds);
for ($rounds = 0; waitpid($load, POSIX::WNOHANG()) == 0; $rounds++)
{
	$outcomes{$_}++ foreach split(/ /, recovered() =~ s/rolled back/rolled_back/gr);
}
is($?, 0, 'no transaction has failed') or diag(slurp_file("$script.out"));
note("$rounds rounds of recover(); " . join(', ', map { "$_: $outcomes{$_}" } sort keys %outcomes));
is($outcomes{rolled_back} // 0, 0, 'none was rolled back');
recovered();
is(decisions(), 0, 'no row is left after the last');
my @sums = map { $_->value('SELECT count(*), sum(a) FROM t') } $admin, @there;
note($sums[0]);
is("$sums[1] $sums[2]", "$sums[0] $sums[0]", 'everything is the same everywhere');
is(join(' ', map { $_->value('SELECT count(*) FROM pg_prepared_xacts') } @there), '0 0', 'nothing is prepared');

$_->quit foreach $psql, $other, $admin, @there;
$_->stop foreach $local, @remote, $none;
done_testing();

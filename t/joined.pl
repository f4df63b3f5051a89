# Mode joined on two remote servers: they are lost, stopped, or slow, before the
# local COMMIT and during it.  What is reported is true, and of several targets
# none commits if one is known not to.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;

my @remote = map { new_node("remote$_", "restart_after_crash = on\n") } 1, 2;
my $local = new_node('local');
my $quick = "commit_timeout '2s', cleanup_timeout '2s'";

$_->safe_psql('postgres', q{
	CREATE TABLE t (a int, nap float8 DEFAULT 0);
	CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN
			-- for a while, or, if less than 0, until the test lets it go on
			PERFORM pg_sleep(new.nap), CASE WHEN new.nap < 0 THEN pg_advisory_xact_lock(1) END;
			RETURN NULL;
		END $$;
	CREATE CONSTRAINT TRIGGER nap AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (new.nap <> 0) EXECUTE FUNCTION nap()}) foreach @remote, $local;
$local->safe_psql('postgres', q{
	CREATE EXTENSION sessmgr;
	CREATE FUNCTION add(target text, n int, nap float8 DEFAULT 0) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.execute(target, 'INSERT INTO t VALUES ($1, $2)', n, nap) $$});
foreach my $n (1, 2)
{
	new_server($local, $remote[ $n - 1 ], "r$n", q{transaction 'joined'});
	new_server($local, $remote[ $n - 1 ], "quick$n", "transaction 'joined', $quick");
	new_server($local, $remote[ $n - 1 ], "late$n", q{transaction 'joined', commit_timeout '2s'});
}

my $psql = psql($local);
my $admin = psql($local);

# What is committed here, on r1 and on r2
sub committed
{
	my ($name, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @found = map {
		$_->safe_psql('postgres', q{WITH d AS (DELETE FROM t RETURNING a)
			SELECT coalesce(string_agg(a::text, ',' ORDER BY a), '-') FROM d})
	} $local, @remote;
	is("@found", $expected, "$name: here, there and there");
}

# Work here and on both targets
sub work
{
	my ($n, $nap1, $nap2, $kind) = @_;
	$kind //= 'r';
	$psql->value("BEGIN; INSERT INTO t VALUES ($n); SELECT add('${kind}1', $n, $nap1), add('${kind}2', $n, $nap2)");
	return map {
		$psql->value("SELECT remote_pid FROM sessmgr.sessions WHERE dburi = '$kind$_'")
	} 1, 2;
}

# One of the targets' backends ends
sub gone
{
	my ($pid, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(wait_for(sub { !grep { $_ == $pid } map { remote_backends($_) } @remote }), $name);
}

# Wait until a target works on COMMIT
sub committing { my ($remote) = @_; return wait_for(sub { remote_running($remote, 'COMMIT') }); }

sub ends_well
{
	my ($name) = @_;
	work(9, 0, 0);
	$psql->value('COMMIT');
	committed("$name, then works again", '9 9 9');
}

# ---- all targets at a time

my @holders = map { psql($_) } @remote;
$_->value('SELECT pg_advisory_lock(1)') foreach @holders;
work(1, -1, -1);
$psql->start('COMMIT');
ok(committing($_), 'targets commit at the same time: one') foreach @remote;
ok(remote_running($_, 'COMMIT'), 'targets commit at the same time: both') foreach @remote;
$_->quit foreach @holders;
$psql->finish;
committed('both slow', '1 1 1');

my @pids = work(1, 0, 0, 'quick');
stop_process(@pids);
$psql->value('ROLLBACK');
note(sprintf('ROLLBACK with two stopped targets, cleanup_timeout 2 s: %.2f s', $psql->{seconds}));
cmp_ok($psql->{seconds}, '<', 30, 'bounded');
continue_process(@pids);
gone($_, 'stopped targets end') foreach @pids;
committed('both stopped', '- - -');

# ---- lost before COMMIT

foreach my $mode ('fast', 'immediate')
{
	work(1, 0, 0);
	$remote[0]->stop($mode);
	$remote[0]->start;
	$psql->fails('COMMIT', '08006', "a target restarted ($mode)");
	committed("a target restarted ($mode)", '- - -');
	work(1, 0, 0);
	$remote[1]->stop($mode);
	$remote[1]->start;
	$psql->run(q{SELECT add('r2', 1)});
	isnt($psql->{last_state}, '', "a statement on a target restarted ($mode): $psql->{last_state}");
	$psql->run('COMMIT');
	committed("a statement on it ($mode)", '- - -');
}
ends_well('restarted');

work(1, 0, 0);
$remote[0]->stop('fast');
$psql->fails('COMMIT', '08006', 'a target that is gone');
$psql->fails(q{SELECT add('r1', 1)}, '08001', 'and stays so');
$remote[0]->start;
committed('a target that is gone', '- - -');
ends_well('gone');

# ---- lost during COMMIT

foreach my $signal ('TERM', 'KILL')
{
	@pids = work(1, 600, 600);
	$psql->start('COMMIT');
	committing($_) foreach @remote;
	kill($signal, $pids[0]);
	my (undef, $err, $state) = $psql->finish;
	note($err);
	like($state, qr/^08007$/, "SIG$signal during COMMIT: $state");
	like($err, qr/"r1": unknown.*"r2": rolled back/s, "SIG$signal: what became of each is said");
	crashed_and_back($remote[0], $pids[0]);
	committed("SIG$signal during COMMIT", '- - -');
	$psql->value("BEGIN; INSERT INTO t VALUES (1); SELECT add('r1', 1, 600)");
	my $pid = $psql->value(q{SELECT remote_pid FROM sessmgr.sessions WHERE dburi = 'r1'});
	$psql->start('COMMIT');
	committing($remote[0]);
	kill($signal, $pid);
	$psql->fails(undef, '08007', "SIG$signal during COMMIT of a single target");
	crashed_and_back($remote[0], $pid);
	committed("SIG$signal during COMMIT of a single target", '- - -');
}
ends_well('killed');

# ---- given up during COMMIT

work(1, 600, 0);
$psql->start('COMMIT');
committing($remote[0]);
$admin->value("SELECT pg_cancel_backend($psql->{pid})");
(undef, my $err, my $state) = $psql->finish;
note($err);
my ($there) = map { $_->safe_psql('postgres', 'SELECT count(*) FROM t') } $remote[1];
is($state, $there ? '08007' : '57014', 'canceled: true of the target that may have been faster');
$_->safe_psql('postgres', 'DELETE FROM t') foreach $remote[1];
committed('canceled', '- - -');

work(1, 600, 600);
$psql->start('COMMIT');
committing($_) foreach @remote;
$admin->value("SELECT pg_cancel_backend($psql->{pid})");
$psql->fails(undef, '57014', 'canceled: nothing was done anywhere');
committed('canceled in both', '- - -');

work(1, 600, 600, 'late');
$psql->fails('COMMIT', '57014', 'commit_timeout, and both can be canceled');
committed('commit_timeout', '- - -');

foreach my $how ('commit_timeout', 'cancel')
{
	$psql->value("BEGIN; INSERT INTO t VALUES (1); SELECT add('quick1', 1)");
	my $pid = $psql->value(q{SELECT remote_pid FROM sessmgr.sessions WHERE dburi = 'quick1'});
	stop_process($pid);
	$psql->start('COMMIT');
	if ($how eq 'cancel')
	{
		wait_for(sub { $admin->value("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $psql->{pid}") eq 't' });
		$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	}
	$psql->fails(undef, '08007', "COMMIT is not answered, $how: nobody knows");
	cmp_ok($psql->{seconds}, '<', 30, "$how: bounded");
	continue_process($pid);
	# it may not have read it yet
	gone($pid, "COMMIT is not answered, $how: what was dropped ends there");
	$remote[0]->safe_psql('postgres', 'DELETE FROM t');
	committed("COMMIT is not answered, $how", '- - -');
}
ends_well('given up');

# ---- the local end goes away

work(1, 0, 0);
$psql->kill_client;
gone_soon($_, '', 'the client was killed: no connection is left') foreach @remote;
committed('the client was killed', '- - -');

$psql = psql($local);
work(1, 600, 600);
$psql->start('COMMIT');
committing($_) foreach @remote;
$psql->kill_client;
$admin->value("SELECT pg_terminate_backend($psql->{pid})");
gone_soon($_, '', 'terminated during COMMIT: no connection is left') foreach @remote;
committed('terminated during COMMIT', '- - -');

$psql = psql($local);
work(1, 0, 0);
$psql->value(q{SET idle_in_transaction_session_timeout = '1s'});
gone_soon($_, '', 'idle in transaction for too long: no connection is left') foreach @remote;
$psql->run('COMMIT');
like($psql->{last_err}, qr/25P03|terminat/, 'and the session is ended');
committed('idle in transaction for too long', '- - -');

$admin->quit;
$_->stop foreach $local, @remote;
done_testing();

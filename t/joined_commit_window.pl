# Between the COMMIT of joined sessions and the local commit nothing may come
# that can be spared: no cancel, no lock_timeout, no wait for a target.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;
use Time::HiRes qw(time);

my ($library, $why) = test_library();
plan(skip_all => $why) unless $library;

my ($local, $remote) = new_pair(
	local => "wal_level = replica\nmax_wal_senders = 3", options => q{transaction 'joined'});
my $targets = 5;
my $timeout = 8;
new_server($local, $remote, "discard$_",
	"transaction 'joined', pool_reset_on_return 'discard', cleanup_timeout '${timeout}s'")
  foreach 1 .. $targets;
$_->safe_psql('postgres', 'CREATE TABLE t (a int); CREATE TABLE others (a int)') foreach $local, $remote;
use_test_library($local, $library);

my ($psql, $other, $admin) = map { psql($local) } 1 .. 3;

sub counts
{
	return join(' ', map { $_->safe_psql('postgres', 'SELECT count(*) FROM t') } $local, $remote);
}

sub waiting
{
	my ($pid, $event) = @_;
	return wait_for(sub {
		$admin->value("SELECT wait_event FROM pg_stat_activity WHERE pid = $pid") eq $event }, 30);
}

# ---- the lock that NOTIFY takes at COMMIT, held by a commit that lasts

$local->append_conf('postgresql.conf', q{synchronous_standby_names = 'nobody'});
$local->reload;
$_->value("SET synchronous_commit = 'local'") foreach $psql, $admin;

foreach my $name (qw(lock_timeout cancel terminate))
{
	$local->safe_psql('postgres', q{SET synchronous_commit = 'local'; TRUNCATE t});
	$remote->safe_psql('postgres', 'TRUNCATE t');
	$other->start('BEGIN; INSERT INTO others VALUES (1); NOTIFY sessmgr; COMMIT');
	ok(waiting($other->{pid}, 'SyncRep'), "$name: a commit that lasts") or BAIL_OUT('not reached');

	$psql->value("SET lock_timeout = '200ms'") if $name eq 'lock_timeout';
	$psql->value('BEGIN; INSERT INTO t VALUES (1); NOTIFY sessmgr');
	$psql->value(q{SELECT sessmgr.execute('remote', 'INSERT INTO t VALUES (1)')});
	$psql->start('COMMIT');
	ok(waiting($psql->{pid}, 'object'), "$name: COMMIT waits for it") or BAIL_OUT('not reached');
	is(counts(), '0 1', "$name: when the target has committed");
	if ($name eq 'terminate')
	{
		$admin->value("SELECT pg_terminate_backend($psql->{pid}, 60000)");
	}
	else
	{
		# what comes in vain leaves no trace: give it the time to come
		$admin->value("SELECT pg_cancel_backend($psql->{pid})") if $name eq 'cancel';
		$admin->value('SELECT pg_sleep(1)');
	}
	$admin->value("SELECT pg_cancel_backend($other->{pid})");
	$other->finish;
	my ($out, $err, $state) = $psql->finish;
	if ($name eq 'terminate')
	{
		is($state, '57P01', 'terminate: nothing holds that up');
		is(counts(), '0 1', 'terminate: that is the window');
	}
	else
	{
		is(counts(), '1 1', "$name: the commit was not stopped") or diag($err);
		$psql->is('SELECT 1', 1, "$name: nor what comes after it");
		$psql->value('RESET lock_timeout');
	}
}
$local->append_conf('postgresql.conf', q{synchronous_standby_names = ''});
$local->reload;
$psql = psql($local);

# ---- targets that do not answer when their connections are given back

$_->safe_psql('postgres', 'TRUNCATE t') foreach $local, $remote;
$psql->value('BEGIN; INSERT INTO t VALUES (1)');
$psql->value("SELECT sessmgr.execute('discard$_', 'INSERT INTO t VALUES (1)')") foreach 1 .. $targets;
$psql->value(q{SET sessmgr.injection_point = 'joined committed'});
$psql->start('COMMIT');
ok(stops($psql->{pid}), 'the targets have committed') or BAIL_OUT('not reached');
my @pids = remote_backends($remote);
stop_process(@pids);
my $start = time();
continue_process($psql->{pid});
ok(wait_for(sub { $local->safe_psql('postgres', 'SELECT count(*) FROM t') == 1 }), 'the local commit');
is($admin->value("SELECT state FROM pg_stat_activity WHERE pid = $psql->{pid}"), 'active',
	'does not wait for the targets');
my ($out, $err, $state) = $psql->finish;
my $seconds = time() - $start;
note(sprintf('%.1f s', $seconds));
is($state, '', 'success');
cmp_ok($seconds, '<', $timeout * $targets * 0.75, 'one deadline for all of them');
continue_process(@pids);
is(counts(), "1 $targets", 'here and there');
$psql->value('RESET sessmgr.injection_point');
$psql->is(q{SELECT sessmgr.scalar('discard1', 'SELECT count(*) FROM t')}, $targets, 'and works again');

$_->quit foreach $psql, $other, $admin;
$local->stop;
$remote->stop;
done_testing();

# Crashes of two-phase transactions.  A transaction moves an amount from here to
# two targets; at each step of the protocol the local backend, the local server
# or a target is killed.  After recover() the sum over all three is as before,
# nothing is prepared, and no decision is left.  Then the same with kills at
# random moments under load.
#
# The servers run without fsync: a killed process loses nothing that it has
# given to the operating system.  What it has not written is lost, and to have
# as much of that as possible, commits are asynchronous and the WAL writer
# sleeps.
#
# SESSMGR_CRASH_ROUNDS: so many rounds under load, and all kinds of crash at each
# step (otherwise each in its turn); dev/crash-test sets it.  SESSMGR_CRASH_SEED: the
# kills of that run again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use POSIX ();
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;
use Time::HiRes qw(sleep time);

my ($library, $why) = test_library();
plan(skip_all => $why) unless $library;

my $conf = q{
synchronous_commit = off
wal_writer_delay = 10s
restart_after_crash = on
max_prepared_transactions = 50
max_connections = 30
shared_buffers = 16MB
max_wal_size = 1GB
checkpoint_timeout = 1h
};
my $all = defined $ENV{SESSMGR_CRASH_ROUNDS};
my $rounds = $ENV{SESSMGR_CRASH_ROUNDS} // 4;
my %node = map { $_ => new_node($_, $conf) } 'local', 'r1', 'r2';
my @targets = ('r1', 'r2');
my ($local, @remote) = @node{ 'local', @targets };

$_->safe_psql('postgres', 'CREATE TABLE ledger (amount int); CREATE TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)')
  foreach values %node;
$local->safe_psql('postgres', q{
	CREATE EXTENSION sessmgr;
	CREATE FUNCTION transfer(amount int) RETURNS void LANGUAGE sql AS $$
		INSERT INTO ledger VALUES (-2 * amount);
		SELECT sessmgr.execute(target, 'INSERT INTO ledger VALUES ($1)', amount)
		FROM unnest('{r1,r2}'::text[]) AS target $$;
	-- its COMMIT fails when the others are prepared
	CREATE FUNCTION fail() RETURNS void LANGUAGE sql AS $$
		SELECT sessmgr.execute(s, 'INSERT INTO once VALUES (1), (1)')
		FROM (SELECT sessmgr.open((sessmgr.create_session('r1',
			options => '{"transaction": "joined"}')).factory) AS s OFFSET 0) AS opened $$});
use_test_library($local, $library);
new_server($local, $node{$_}, $_, "transaction 'two_phase', cleanup_timeout '5s', commit_timeout '10s'")
  foreach @targets;
# all of that has to survive
$_->safe_psql('postgres', 'CHECKPOINT') foreach values %node;

# The server answers
sub answers
{
	my ($node) = @_;
	my $dsn = $node->connstr('postgres');
	return wait_for(sub { system("psql -XAtq -d '$dsn' -c 'SELECT 1' >/dev/null 2>&1") == 0 });
}

# Nothing of sessmgr's runs on the targets any more: what was on its way there
# when its client died has arrived.
sub settled_down
{
	foreach my $node (@remote)
	{
		wait_for(
			sub {
				$node->safe_psql('postgres',
					q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sessmgr'}) == 0;
			}) or return 0;
	}
	return 1;
}

# Recovers, and tests what must be true then; returns the outcomes.
sub recover
{
	my ($name) = @_;
	my (@outcomes, @wrong);

	answers($_) or push @wrong, $_->name . ' does not answer' foreach values %node;
	settled_down() or push @wrong, 'the targets are still at work';
	foreach my $target (@targets)
	{
		push @outcomes, split(/\n/,
			$local->safe_psql('postgres', "SELECT outcome FROM sessmgr.recover('$target')"));
	}
	my @sums = map { $_->safe_psql('postgres', 'SELECT coalesce(sum(amount), 0) FROM ledger') } $local, @remote;
	push @wrong, "sums @sums" if $sums[0] + $sums[1] + $sums[2] != 0 || $sums[1] != $sums[2];
	foreach my $node (@remote)
	{
		my $n = $node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts');
		push @wrong, "$n prepared on " . $node->name if $n;
	}
	foreach my $target (@targets)
	{
		my $again = $local->safe_psql('postgres', "SELECT * FROM sessmgr.recover('$target')");
		push @wrong, "again on $target: $again" if $again ne '';
	}
	my $rows = $local->safe_psql('postgres', 'SELECT count(*) FROM sessmgr.two_phase');
	push @wrong, "$rows rows of decisions" if $rows;
	is(join('; ', @wrong), '', $name) or diag($name);
	my %count;
	$count{$_}++ foreach @outcomes;
	return join(', ', map { "$count{$_} $_" } sort keys %count);
}

# ---- a crash at each step

my $working = 'BEGIN; SET sessmgr.test_point = %2$s; SELECT transfer(%1$d); COMMIT';
my $commit = 'BEGIN; SELECT transfer(%1$d); SET sessmgr.test_point = %2$s; COMMIT';
my $failing = 'BEGIN; SELECT transfer(%1$d); SELECT fail(); SET sessmgr.test_point = %2$s; COMMIT';
my $recovering = q{SET sessmgr.test_point = %2$s; SELECT * FROM sessmgr.recover('r1'), transfer(%1$d)};
my @steps = (
	[ $working, 'row written', 'row written 2' ],
	[ $commit, 'before prepare', 'command sent 1', 'commands sent', 'command finished 1', 'command finished 2',
		'all prepared', 'committed', 'settle sent 1', 'settle sent 2', 'settle answered 1',
		'settle answered 2', 'commit prepared' ],
	[ $failing, 'aborting', 'settle sent 2', 'settle sent 3', 'settle answered 1', 'aborted' ],
	[ $recovering, 'recover listed', 'recover waited', 'recover finished one 1', 'recover finished one 2',
		'recover finished', 'recover deleted' ]);
my $amount = 0;

# Two transactions in doubt on both targets, for recover() to be killed at
sub leave_in_doubt
{
	foreach (1, 2)
	{
		my $psql = psql($local);
		$psql->start(sprintf($commit, ++$amount, "'committed'"));
		stops($psql->{pid}) or return 0;
		$_->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
			WHERE application_name = 'sessmgr' AND query LIKE 'PREPARE TRANSACTION%'}) foreach @remote;
		SessmgrTest::continue_process($psql->{pid});
		$psql->finish;
		$psql->quit;
	}
	return 1;
}

sub crash
{
	my ($sql, $point, $whom) = @_;
	my $name = ($sql eq $failing ? 'failing, ' : '') . "$point: $whom killed";
	my $start = time();

	leave_in_doubt() or BAIL_OUT('could not leave anything in doubt') if $sql eq $recovering;
	my $psql = psql($local);
	# the library, so that it knows the setting
	$psql->value('SELECT sessmgr.forked()');
	$psql->start(sprintf($sql, ++$amount, "'$point'"));
	stops($psql->{pid}) or BAIL_OUT("$name: not reached");
	if ($whom eq 'backend')
	{
		kill('KILL', $psql->{pid});
	}
	elsif ($whom eq 'server')
	{
		kill_server($local);
		$local->start;
	}
	else
	{
		kill_server($remote[0]);
		$remote[0]->start;
		SessmgrTest::continue_process($psql->{pid});
	}
	my (undef, undef, $state) = $psql->finish;
	$psql->quit;
	wait_for(sub { !-e "/proc/$psql->{pid}" });
	my $outcomes = recover($name);
	note(sprintf('%s; %s, %.1f s', $state || 'success', $outcomes || 'nothing to do', time() - $start));
}

my $turn = 0;
foreach my $step (@steps)
{
	my ($sql, @points) = @$step;
	foreach my $point (@points)
	{
		my @kinds = ('backend', 'server', 'target');

		# the whole of it takes too long for every day
		@kinds = $kinds[ $turn++ % 3 ] unless $all;
		crash($sql, $point, $_) foreach @kinds;
	}
}

# ---- kills at random moments

my $seed = $ENV{SESSMGR_CRASH_SEED} // int(rand(1e9));
my $dir = PostgreSQL::Test::Utils::tempdir;
my $clients = 10;
my %seen;

note("SESSMGR_CRASH_SEED=$seed");
srand($seed);
append_to_file("$dir/load.sql", "\\set n random(1, 100)\nSELECT transfer(:n);\n");
append_to_file("$dir/recover.sql",
	join('', map { "SELECT count(*) FROM sessmgr.recover('$_');\n" } @targets));

# Starts a pgbench; what it does is ended by a kill, or by its time.
sub load
{
	my ($file, $n) = @_;
	my $pid = fork();

	die "could not fork: $!" unless defined $pid;
	return $pid if $pid;
	open(STDOUT, '>>', "$dir/load.out");
	open(STDERR, '>&', \*STDOUT);
	{ exec('pgbench', '-n', '-f', $file, '-c', $n, '-T', 2, '-d', $local->connstr('postgres')) }
	POSIX::_exit(1);
}

# Backends of one kind on a server
sub backends
{
	my ($node, $where) = @_;
	return split(/\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $where"));
}

my %kill = (
	'the server' => sub { kill_server($local) },
	'r1' => sub { kill_server($remote[0]) },
	'r2' => sub { kill_server($remote[1]) },
	'both targets' => sub { kill_server($_) foreach @remote },
	'all' => sub { kill_server($_) foreach values %node },
	'a backend' => sub { kill('KILL', (backends($local, q{application_name = 'pgbench'}))[0] // ()) },
	'a backend of r1' => sub { kill('KILL', (backends($remote[0], q{application_name = 'sessmgr'}))[0] // ()) },
	'backends, politely' => sub { kill('TERM', backends($local, q{application_name = 'pgbench'})) },
	'statements' => sub { kill('INT', backends($local, q{application_name = 'pgbench'})) });

foreach my $round (1 .. $rounds)
{
	my $whom = (sort keys %kill)[ rand(keys %kill) ];
	my @load = (load("$dir/load.sql", $clients), load("$dir/recover.sql", 1));

	sleep(0.3 + rand(1.2));
	$kill{$whom}->();
	waitpid($_, 0) foreach @load;
	foreach my $node (values %node)
	{
		$node->start unless defined $node->{_pid};
	}
	my $outcomes = recover("round $round: $whom killed");
	$seen{$whom}++;
	note(sprintf('%s; %s transfers so far', $outcomes || 'nothing to do',
			$local->safe_psql('postgres', 'SELECT count(*) FROM ledger')));
}
note("$_ killed: $seen{$_}") foreach sort keys %seen;

$_->stop foreach values %node;
done_testing();

# Crashes of two-phase transactions.  A transaction moves an amount from here to
# two targets; at each step of the protocol the local backend, the local server,
# its postmaster alone, or a target is killed.  After recover() the sum over all
# three is as before, nothing is prepared, no decision is left, and what the client
# was told is true: what was a success is there, and of what was not, nothing is.
# Then the same with kills at random moments under load.
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
use List::Util ();
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

$_->safe_psql('postgres', q{CREATE TABLE ledger (amount int); CREATE TABLE aside (amount int);
	CREATE TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)}) foreach values %node;
$local->safe_psql('postgres', q{
	CREATE EXTENSION sessmgr;
	CREATE FUNCTION transfer(amount int) RETURNS void LANGUAGE sql AS $$
		INSERT INTO ledger VALUES (-2 * amount);
		SELECT sessmgr.execute(target, 'INSERT INTO ledger VALUES ($1)', amount)
		FROM unnest('{r1,r2}'::text[]) AS target $$;
	CREATE FUNCTION joined(sql text) RETURNS void LANGUAGE sql AS $$
		SELECT sessmgr.execute(s, sql) FROM (SELECT sessmgr.open((sessmgr.create_session('r1',
			options => '{"transaction": "joined"}')).factory) AS s OFFSET 0) AS opened $$;
	-- its COMMIT fails when the others are prepared
	CREATE FUNCTION fail() RETURNS void LANGUAGE sql AS
		$$ SELECT joined('INSERT INTO once VALUES (1), (1)') $$;
	-- its COMMIT succeeds, and a crash there does not lose it
	CREATE FUNCTION put_aside(amount int) RETURNS void LANGUAGE sql AS $$
		SELECT joined(format('INSERT INTO aside SELECT %s FROM set_config(''synchronous_commit'', ''on'', true)',
			amount)) $$});
use_test_library($local, $library);
new_server($local, $node{$_}, $_, "transaction 'two_phase', cleanup_timeout '5s', commit_timeout '10s'")
  foreach @targets;
# all of that has to survive
$_->safe_psql('postgres', 'CHECKPOINT') foreach values %node;

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

# Recovers, and tests what must be true then.  $expected: for amounts whether they
# must have arrived, '' for either.  Returns the outcomes, and how many transfers
# there are.
sub recover
{
	my ($name, $expected) = @_;
	my @amounts = sort { $a <=> $b } keys %{ $expected // {} };
	my (@outcomes, @wrong, @sums, @counts, @found);

	answers($_) or push @wrong, $_->name . ' does not answer' foreach values %node;
	settled_down() or push @wrong, 'the targets are still at work';
	foreach my $target (@targets)
	{
		push @outcomes, split(/\n/,
			$local->safe_psql('postgres', "SELECT outcome FROM sessmgr.recover('$target')"));
	}
	foreach my $node ($local, @remote)
	{
		my $part = $node == $local ? -2 : 1;
		my ($sum, $count, @there) = split(' ', $node->safe_psql('postgres', qq{
			SELECT concat_ws(' ', coalesce(sum(amount), 0), count(*),
				string_agg((amount / $part)::text, ' ') FILTER (WHERE amount / $part = ANY ('{@{[ join(',', @amounts) ]}}')))
			FROM ledger}));
		push @sums, $sum;
		push @counts, $count;
		$found[$_]{ $node->name } = join(' ', @there) =~ /\b$amounts[$_]\b/ ? 1 : 0 foreach 0 .. $#amounts;
	}
	push @wrong, "sums @sums" if $sums[0] + $sums[1] + $sums[2] != 0 || $sums[1] != $sums[2];
	push @wrong, "transfers @counts" if grep { $_ != $counts[0] } @counts;
	foreach my $i (0 .. $#amounts)
	{
		my $is = join('', map { $found[$i]{ $_->name } } $local, @remote);
		my $wanted = $expected->{ $amounts[$i] };
		push @wrong, "the transfer of $amounts[$i] is $is, not $wanted"
		  unless $is eq '111' && $wanted ne 0 || $is eq '000' && $wanted ne 1;
	}
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
	is(join('; ', @wrong), '', $name);
	my %count;
	$count{$_}++ foreach @outcomes;
	return (join(', ', map { "$count{$_} $_" } sort keys %count), $counts[0]);
}

# ---- a crash at each step

my $working = 'BEGIN; SET sessmgr.injection_point = %2$s; SELECT transfer(%1$d); COMMIT';
my $commit = 'BEGIN; SELECT transfer(%1$d); SET sessmgr.injection_point = %2$s; COMMIT';
my $mixed = 'BEGIN; SELECT transfer(%1$d), put_aside(%1$d); SET sessmgr.injection_point = %2$s; COMMIT';
my $failing = 'BEGIN; SELECT transfer(%1$d); SELECT fail(); SET sessmgr.injection_point = %2$s; COMMIT';
my $recovering = q{SET sessmgr.injection_point = %2$s; SELECT * FROM sessmgr.recover('r1'), transfer(%1$d)};
my @steps = (
	[ $mixed, 'joined committed' ],
	[ $working, 'row written', 'row written 2' ],
	[ $commit, 'before prepare', 'command sent 1', 'commands sent', 'command finished 1', 'command finished 2',
		'all prepared', 'committed', 'cleanup sent 1', 'cleanup sent 2', 'cleanup answered 1',
		'cleanup answered 2', 'commit prepared' ],
	[ $failing, 'aborting', 'cleanup sent 2', 'cleanup sent 3', 'cleanup answered 1', 'aborted' ],
	[ $recovering, 'recover listed', 'recover waited', 'recover finished one 1', 'recover finished one 2',
		'recover finished', 'recover deleted' ]);

# Points of $commit: a target that is killed there makes it fail, or cannot any more;
# the local transaction has committed; and what a crash here leaves to recover().
my %too_early = map { $_ => 1 } 'row written 2', 'before prepare';
my %decided = map { $_ => 1 } 'committed', 'cleanup sent 1', 'cleanup sent 2', 'cleanup answered 1',
	'cleanup answered 2', 'commit prepared';
my %too_late = (%decided, map { $_ => 1 } 'command finished 2', 'all prepared', 'joined committed');
my %leaves = (
	'row written' => '', 'row written 2' => '', 'before prepare' => '',
	'command finished 2' => '2 rolled back', 'all prepared' => '2 rolled back', 'joined committed' => '2 rolled back',
	'committed' => '2 committed', 'cleanup answered 2' => '', 'commit prepared' => '');
my @kinds = ('backend', 'r2', 'server', 'r1 for long', 'postmaster', 'backend of r1', 'r1');
my $amount = 0;
my %told_count;

# Two transactions in doubt on both targets, for recover() to be killed at; returns
# their amounts.
sub leave_in_doubt
{
	my @amounts;
	foreach (1, 2)
	{
		my $psql = psql($local);
		$psql->start(sprintf($commit, ++$amount, "'committed'"));
		stops($psql->{pid}) or BAIL_OUT('could not leave anything in doubt');
		$_->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
			WHERE application_name = 'sessmgr' AND query LIKE '%PREPARE TRANSACTION%'}) foreach @remote;
		SessmgrTest::continue_process($psql->{pid});
		my (undef, $err, $state) = $psql->finish;
		BAIL_OUT("not a success: $err") if $psql->{lost} || $state ne '';
		push @amounts, $amount;
		$psql->quit;
	}
	return @amounts;
}

# Kill what is to be killed while a local process is stopped, and let that go on
# if it lives.  Returns what is to be done when it has ended.
sub strike
{
	my ($whom, $pid) = @_;
	my $later = sub { };

	if ($whom eq 'backend')
	{
		kill('KILL', $pid);
		return $later;
	}
	if ($whom eq 'server')
	{
		kill_server($local);
		$local->start;
		return $later;
	}
	if ($whom eq 'postmaster')
	{
		my @children = kill_postmaster($local);
		BAIL_OUT('the backend has not survived its postmaster') unless grep { $_ == $pid } @children;
		$later = sub { start_again($local, @children) or BAIL_OUT('the server does not start again') };
	}
	elsif ($whom eq 'backend of r1')
	{
		my ($victim) = remote_backends($remote[0]) or BAIL_OUT('there is no backend of r1');
		kill('KILL', $victim);
		crashed_and_back($remote[0], $victim);
	}
	else
	{
		my ($node) = $whom eq 'r2' ? $remote[1] : $remote[0];
		kill_server($node);
		$later = sub { $node->start };
		if ($whom !~ /for long/)
		{
			$later->();
			$later = sub { };
		}
	}
	SessmgrTest::continue_process($pid);
	return $later;
}

sub crash
{
	my ($sql, $point, $whom) = @_;
	my $name = ($sql eq $failing ? 'failing, ' : '') . "$point: $whom killed";
	my $start = time();
	my $local_crash = $whom eq 'backend' || $whom eq 'server';
	my %expected = map { $_ => 1 } $sql eq $recovering ? leave_in_doubt() : ();
	my $psql = psql($local);

	# the library, so that it knows the setting
	$psql->value('SELECT sessmgr.forked()');
	$psql->start(sprintf($sql, ++$amount, "'$point'"));
	stops($psql->{pid}) or BAIL_OUT("$name: not reached");
	my $later = strike($whom, $psql->{pid});
	my (undef, $err) = $psql->finish;
	# a backend that has told its client may say FATAL after that
	my $told = $psql->{lost} ? 'nothing' : $err =~ /ERROR:/ ? 'failure' : 'success';
	$psql->quit;
	wait_for(sub { !-e "/proc/$psql->{pid}" });
	$later->();

	my $decided = $sql eq $failing || $sql eq $recovering ? 0 : $decided{$point} // 0;
	$expected{$amount} = $told eq 'success' ? 1 : $told eq 'failure' ? 0 :
	  $decided || $local_crash ? $decided : '';
	my ($outcomes) = recover($name, \%expected);
	note($err) if $err ne '';
	note(sprintf('%s; %s, %.1f s', $told, $outcomes || 'nothing to do', time() - $start));
	$told_count{$told}++;

	# what the client must have been told
	if ($whom eq 'postmaster')
	{
		isnt($told, 'success', "$name: no success") if $sql eq $failing;
		isnt($told, 'failure', "$name: no failure") if $decided;
	}
	elsif ($local_crash)
	{
		is($told, 'nothing', "$name: the client is told nothing");
		is($outcomes, $leaves{$point}, "$name: left to recover()")
		  if $sql ne $failing && $sql ne $recovering && exists $leaves{$point};
	}
	elsif ($sql eq $failing || $sql ne $recovering && $too_early{$point})
	{
		is($told, 'failure', "$name: failed");
	}
	elsif ($sql ne $recovering && $too_late{$point})
	{
		is($told, 'success', "$name: a success");
	}
	else
	{
		isnt($told, 'nothing', "$name: the client is told the truth");
	}
	# what was joined has committed by then, whatever becomes of the rest
	is($remote[0]->safe_psql('postgres', "SELECT count(*) FROM aside WHERE amount = $amount"), 1,
		"$name: the joined transaction")
	  if $point eq 'joined committed';
}

my $turn = 0;
foreach my $step (@steps)
{
	my ($sql, @points) = @$step;
	foreach my $point (@points)
	{
		# the whole of it takes too long for every day
		crash($sql, $point, $_) foreach $all ? @kinds : $kinds[ $turn++ % @kinds ];
	}
}
note("the client was told $_: $told_count{$_}") foreach sort keys %told_count;

# ---- kills at random moments

my $seed = $ENV{SESSMGR_CRASH_SEED} // int(rand(1e9));
my $dir = PostgreSQL::Test::Utils::tempdir;
my $clients = 10;
my (%seen, %recovered);

note("SESSMGR_CRASH_SEED=$seed");
srand($seed);
append_to_file("$dir/load.sql", "\\set n random(1, 100)\nSELECT transfer(:n);\n");
append_to_file("$dir/recover.sql",
	join('', map { "SELECT count(*) FROM sessmgr.recover('$_');\n" } @targets));

# Starts a pgbench; what it does is ended by a kill.
sub load
{
	my ($file, $n, @options) = @_;
	my $pid = fork();

	die "could not fork: $!" unless defined $pid;
	return $pid if $pid;
	open(STDOUT, '>>', "$dir/load.out");
	open(STDERR, '>&', \*STDOUT);
	$ENV{PGAPPNAME} = 'pgbench';
	{ exec('pgbench', '-n', '-f', $file, '-c', $n, '-T', 600, @options, '-d', $local->connstr('postgres')) }
	POSIX::_exit(1);
}

# A query that may fail, as servers are down; undef then.
sub try
{
	my ($sql) = @_;
	my $dsn = $local->connstr('postgres');
	my $out = qx{psql -XAtq -d '$dsn' -c "$sql" 2>/dev/null};
	return $? == 0 ? $out : undef;
}

# Waits until pgbench has ended, and ends whatever a kill has left of it.
sub end_load
{
	my %running = map { $_ => 1 } @_;
	my $done = wait_for(
		sub {
			waitpid($_, POSIX::WNOHANG) == $_ and delete $running{$_} foreach keys %running;
			return 1 unless %running;
			try(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbench'})
			  if defined $local->{_pid};
			return 0;
		});
	kill('KILL', keys %running);
	return $done;
}

# How many transactions pgbench was told to have succeeded; it logs each.
sub told_success
{
	my @logs = glob("$dir/told.*");
	my $n = 0;

	$n += grep { !/failed/ } split(/\n/, slurp_file($_)) foreach @logs;
	unlink(@logs);
	return $n;
}

# Backends of one kind on a server
sub backends
{
	my ($node, $where) = @_;
	return split(/\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $where"));
}

# Kills one of them; its server knows before this returns.
sub kill_one
{
	my @which = @_;
	my $pid;
	return wait_for(sub { ($pid) = backends(@which) and kill('KILL', $pid) })
	  && wait_for(sub { !-e "/proc/$pid" });
}

# What is killed; the value: how many processes that were.
my @orphans;
my %kill = (
	'the server' => sub { kill_server($local) },
	'the postmaster' => sub { @orphans = kill_postmaster($local); 1 },
	'r1' => sub { kill_server($remote[0]) },
	'r2' => sub { kill_server($remote[1]) },
	'both targets' => sub { my $n = 0; $n += kill_server($_) foreach @remote; $n },
	'all' => sub { my $n = 0; $n += kill_server($_) foreach values %node; $n },
	'a backend' => sub { kill_one($local, q{application_name = 'pgbench'}) },
	'a backend of r1' => sub { kill_one($remote[0], q{application_name = 'sessmgr'}) },
	'a backend of r2' => sub { kill_one($remote[1], q{application_name = 'sessmgr'}) },
	'backends, politely' => sub { kill('TERM', backends($local, q{application_name = 'pgbench'})) },
	'statements' => sub { kill('INT', backends($local, q{application_name = 'pgbench'})) });
my @left;
my $transfers = $local->safe_psql('postgres', 'SELECT count(*) FROM ledger');
my $before_all = $transfers;

foreach my $round (1 .. $rounds)
{
	# each of them once before any comes again
	@left = List::Util::shuffle(sort keys %kill) unless @left;
	my $whom = shift @left;
	my $name = "round $round: $whom killed";
	my $moment = rand(1.2);
	my @load = (load("$dir/load.sql", $clients, '-l', "--log-prefix=$dir/told"),
		load("$dir/recover.sql", 1));

	ok(wait_for(sub { (try('SELECT count(*) FROM ledger') // 0) >= $transfers + $clients }),
		"$name: under load");
	sleep($moment);
	@orphans = ();
	cmp_ok($kill{$whom}->(), '>', 0, "$name: it was there");
	ok(end_load(@load), "$name: the load has ended");
	foreach my $node (values %node)
	{
		start_again($node, $node == $local ? @orphans : ()) or BAIL_OUT($node->name . ' does not start again')
		  unless defined $node->{_pid};
	}
	my ($outcomes, $now) = recover($name);
	my $told = told_success();

	# each client may have lost the answer to its last one
	cmp_ok($now - $transfers, '>=', $told, "$name: no success is lost");
	cmp_ok($now - $transfers, '<=', $told + $clients, "$name: and no failure is there");
	note(sprintf('%s; %d transfers, %d told, %d so far', $outcomes || 'nothing to do', $now - $transfers, $told, $now));
	$transfers = $now;
	$seen{$whom}++;
	$recovered{$1}++ while $outcomes =~ /\d+ ([a-z ]+)/g;
}
note("$_ killed: $seen{$_}") foreach sort keys %seen;
note("rounds that left something to be $_: $recovered{$_}") foreach sort keys %recovered;
cmp_ok($transfers - $before_all, '>=', $rounds * $clients, 'there were transfers in each round');
if ($rounds >= 100)
{
	is(keys %seen, keys %kill, 'every kind of kill');
	# in which of them is chance
	cmp_ok($recovered{$_} // 0, '>', 0, "some rounds have left something to be $_") foreach 'committed', 'rolled back';
}

$_->stop foreach values %node;
# a process that has ended by itself, and not by one of these kills
foreach my $node (values %node)
{
	my @bad = log_since($node) =~ /^(.*(?:PANIC|TRAP):.*|.*terminated by signal (?!9\b).*)$/mg;
	is(join("\n", @bad), '', 'no crash of its own: ' . $node->name);
}
done_testing();

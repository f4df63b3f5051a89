# idle_timeout: connections that have been idle for too long are closed, also
# while their backend is idle, whatever else has happened in between.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;
use Time::HiRes qw(sleep time);

my ($local, $remote) = new_pair(remote => "log_connections = on\nlog_disconnections = on\n");
my $admin = psql($remote);
my $n = 0;
my %timeout;

# what a noisy machine may take in addition to a timeout, in seconds
my $slack = 10;

# A server of its own for each case, by whose name its connections are known
sub target
{
	my ($timeout, $options) = @_;
	my $name = 'case' . ++$n;
	# those without one get it later
	$timeout{$name} = ($timeout // '1s') =~ s/s$//r;
	$timeout = defined $timeout ? ", idle_timeout '$timeout'" : '';
	$options = $options ? ", $options" : '';
	new_server($local, $remote, $name, "application_name '$name'$timeout$options");
	return $name;
}

sub open_on
{
	my ($target) = @_;
	return $admin->value("SELECT count(*) FROM pg_stat_activity WHERE application_name = '$target'");
}

sub call { return "SELECT sessmgr.scalar('$_[0]', 'SELECT pg_backend_pid()')"; }

# The connection goes by itself, and in time; this asks the remote server alone.
sub closes
{
	my ($target, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $start = time();
	ok(wait_for(sub { open_on($target) == 0 }, $timeout{$target} + $slack), "$name: closed");
	note(sprintf('%s: after another %.1f s', $name, time() - $start));
}

# What the server's own timeout has ended was neither too early nor too late
sub on_time
{
	my ($seconds, $timeout, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	note(sprintf('%s: after %.1f s', $name, $seconds));
	cmp_ok($seconds, '>=', $timeout, "$name: not too early");
	cmp_ok($seconds, '<=', $timeout + $slack, "$name: not too late");
}

# Long after it is due
sub stays
{
	my ($target, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	sleep(2.5);
	is(open_on($target), 1, "$name: stays open");
}

# ---- in an idle backend

{
	my $psql = psql($local);
	my ($target, $never) = (target('1s'), target('0'));
	my $default = target();

	# all that a first use opens
	$psql->value(call($_)) foreach $target, $never, $default;
	$psql->value('SELECT sessmgr.reset()');
	my $before = descriptors($psql->{pid});

	my $start = time();
	$psql->value(call($target));
	closes($target, 'idle backend');
	cmp_ok(time() - $start, '>=', 1, 'idle backend: not too early');
	ok(wait_for(sub { descriptors($psql->{pid}) == $before }), 'idle backend: no descriptor is left');
	$psql->is('SELECT count(*) FROM sessmgr.connections', 0, 'idle backend: the view knows');
	$psql->is('SELECT connects, idle FROM sessmgr.engines', '1|0', 'idle backend: the engine, too');

	# and again, beside others
	$psql->value(call($_)) foreach $never, $target, $default;
	closes($target, 'beside others');
	is(open_on($never), 1, 'idle_timeout 0: stays open');
	is(open_on($default), 1, 'idle_timeout of ten minutes: stays open');
	$psql->is(q{SHOW sessmgr.idle_timeout}, '10min', 'the default');
	$psql->quit;
}

# ---- different times

{
	my $psql = psql($local);
	my ($slow, $quick) = (target('3s'), target('1s'));

	$psql->value(call($slow));
	$psql->value(call($quick));
	foreach my $lifo ('on', 'off')
	{
		my $several = target('1s', "pool_use_lifo '$lifo'");
		$psql->value(qq{DO \$\$ DECLARE s sessmgr.session[]; BEGIN
			FOR i IN 1..4 LOOP s[i] := sessmgr.session_factory('$several'); PERFORM sessmgr.begin(s[i]); END LOOP;
			FOR i IN 1..4 LOOP PERFORM sessmgr.close(s[i]), pg_sleep(0.05); END LOOP; END \$\$});
		closes($several, "pool_use_lifo $lifo: several connections");
		$psql->is("SELECT connects, idle FROM sessmgr.engines WHERE dburi = '$several'", '4|0',
			"pool_use_lifo $lifo: there were four");
	}
	closes($quick, 'a shorter time that came later');
	closes($slow, 'a longer time');
	$psql->quit;
}

# ---- the surplus goes, what is in use stays

{
	my $psql = psql($local);
	my $target = target('3s');

	$psql->value(qq{DO \$\$ DECLARE s sessmgr.session[]; BEGIN
		FOR i IN 1..4 LOOP s[i] := sessmgr.session_factory('$target'); PERFORM sessmgr.begin(s[i]); END LOOP;
		FOR i IN 1..4 LOOP PERFORM sessmgr.close(s[i]); END LOOP; END \$\$});
	my $pid = $psql->value(call($target));
	my ($same, $longest, $last) = (1, 0, time());
	ok( wait_for(
			sub {
				$same &&= $psql->value(call($target)) == $pid;
				$longest = time() - $last if time() - $last > $longest;
				$last = time();
				open_on($target) == 1;
			}),
		'pool_use_lifo: the connections not needed are closed');
	SKIP: {
		left_out(sprintf('this machine was too slow: %.1f s between two calls', $longest), 1) if $longest > 2;
		ok($same, 'pool_use_lifo: the one in use is kept');
	}

	# one call after the other in one transaction, for longer than the time
	my ($pids, $gap) = split(/\|/, $psql->value(qq{
		CREATE FUNCTION pg_temp.many(OUT pids int, OUT gap float) LANGUAGE plpgsql AS \$\$
		DECLARE seen text[]; start timestamptz := clock_timestamp(); previous timestamptz := start;
		BEGIN
			gap := 0;
			WHILE clock_timestamp() < start + interval '5 s' LOOP
				seen := seen || sessmgr.scalar('$target', 'SELECT pg_backend_pid()');
				seen := ARRAY(SELECT DISTINCT unnest(seen));
				gap := greatest(gap, extract(epoch FROM clock_timestamp() - previous));
				previous := clock_timestamp();
			END LOOP;
			pids := cardinality(seen);
		END \$\$;
		SELECT * FROM pg_temp.many()}));
	SKIP: {
		left_out("this machine was too slow: $gap s between two calls", 1) if $gap > 2;
		is($pids, 1, 'a loop of calls keeps its connection');
	}
	closes($target, 'after the loop');
	$psql->quit;
}

# ---- transactions

{
	my $psql = psql($local);
	my $target = target('1s');

	# the end of a transaction block, in each way
	foreach my $end ('COMMIT', 'ROLLBACK', 'COMMIT AND CHAIN')
	{
		$psql->value('BEGIN');
		$psql->value(call($target));
		stays($target, "$end: idle in transaction");
		$psql->value($end);
		closes($target, $end);
		$psql->value('ROLLBACK') if $end =~ /CHAIN/;
	}

	# a transaction block that has failed: before the time, and after it
	$psql->value('BEGIN');
	$psql->value(call($target));
	$psql->fails('SELECT 1/0', '22012', 'an error in a block');
	$psql->value('ROLLBACK');
	closes($target, 'a block that has failed');

	foreach my $end ('ROLLBACK', 'COMMIT')
	{
		# in one message: the error, which ends the transaction, is before the time
		$psql->fails('BEGIN \; ' . call($target) . ' \; SELECT 1/0', '22012', 'an error in a block');
		stays($target, "$end: idle in a failed transaction");
		$psql->value($end);
		closes($target, "$end: of a block that had failed before");
	}

	# an error after the time
	$psql->value('BEGIN');
	$psql->value(call($target));
	stays($target, 'a block that is about to fail');
	$psql->fails('SELECT 1/0', '22012', 'an error in a block that has lasted');
	closes($target, 'a block that has just failed');
	$psql->value('ROLLBACK');

	# more errors in it: no callback comes after them
	$psql->value(call($target));
	$psql->value('BEGIN');
	$psql->fails('SELECT 1/0', '22012', 'an error in a block');
	$psql->fails('SELECT 1', '25P02', 'another one') foreach 1 .. 3;
	$psql->value('ROLLBACK');
	closes($target, 'a block that has failed several times');

	# subtransactions
	$psql->value('BEGIN; SAVEPOINT a');
	$psql->value(call($target));
	$psql->fails('SELECT 1/0', '22012', 'an error in a subtransaction');
	$psql->fails('SELECT 1', '25P02', 'another one');
	$psql->value('ROLLBACK TO a');
	stays($target, 'after ROLLBACK TO');
	$psql->value('COMMIT');
	closes($target, 'a subtransaction that has failed');

	# closed, not used again, where the timer could do nothing
	$psql->value('BEGIN');
	my $pid = $psql->value(call($target));
	$psql->value('SELECT pg_sleep(1.5)');
	isnt($psql->value(call($target)), $pid, 'idle for too long in a transaction: not used again');
	$psql->value('COMMIT');

	# the backend is busy when the time comes
	$psql->value(call($target));
	$psql->value('SELECT pg_sleep(1.5)');
	$psql->is('SELECT count(*) FROM sessmgr.connections', 0, 'busy with something else: closed afterwards');
	$psql->value(qq{DO \$\$ BEGIN PERFORM sessmgr.scalar('$target', 'SELECT 1'); COMMIT;
		PERFORM pg_sleep(1.5); COMMIT;
		IF EXISTS (SELECT FROM sessmgr.connections) THEN RAISE 'still there'; END IF; END \$\$});
	is($psql->{last_state}, '', 'busy in a procedure: closed by its COMMIT');
	$psql->quit;
}

# ---- connections in use

{
	my $psql = psql($local);
	my $target = target('1s');

	$psql->is("SELECT sessmgr.scalar('$target', 'SELECT pg_sleep(2.5)::text || 1')", 1, 'a long statement');
	closes($target, 'after a long statement');

	$psql->open('s', $target);
	$psql->value(q{SELECT sessmgr.execute(:'s'::sessmgr.session, 'CREATE TEMP TABLE t (id int)')});
	stays($target, 'held in a transaction');
	$psql->is(q{SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO t VALUES (1)')}, 1, 'and works');
	$psql->value(q{SELECT sessmgr.commit(:'s')});
	closes($target, 'held, after its commit');
	$psql->is(q{SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 2')}, 2, 'the session works on');
	$psql->value(q{SELECT sessmgr.close(:'s')});
	$psql->quit;
}

# ---- errors, which disable all timers of a backend

{
	my $psql = psql($local);
	my $target = target('1s');
	my %error = (
		'a local error' => sub { $psql->fails('SELECT 1/0', '22012', $_[0]) },
		'two local errors' => sub { $psql->fails('SELECT 1/0', '22012', $_[0]) foreach 1, 2 },
		'a remote error' =>
		  sub { $psql->fails("SELECT sessmgr.execute('$target', 'SELECT 1/0')", '22012', $_[0]) },
		'an error after one that was caught' => sub {
			$psql->fails(q{DO $$ BEGIN BEGIN PERFORM 1/0; EXCEPTION WHEN OTHERS THEN END; PERFORM 1/0; END $$},
				'22012', $_[0]);
		},
		'an error that was caught' => sub {
			$psql->value(q{DO $$ BEGIN PERFORM 1/0; EXCEPTION WHEN OTHERS THEN END $$});
		},
		'a syntax error' => sub { $psql->fails('SELEC', '42601', $_[0]) },
		'a cancel' => sub {
			$psql->start('SELECT pg_sleep(600)');
			wait_for(
				sub { $local->safe_psql('postgres', "SELECT pg_cancel_backend($psql->{pid})
					FROM pg_stat_activity WHERE pid = $psql->{pid} AND wait_event = 'PgSleep'") });
			$psql->fails(undef, '57014', $_[0]);
		},);

	foreach my $name (sort keys %error)
	{
		$psql->value(call($target));
		$error{$name}->($name);
		closes($target, $name);
	}
	$psql->quit;
}

# An error outside a transaction: the client refers to a prepared statement
# that is not there.  psql cannot do that.
{
	my $target = target('1s');
	my $socket = IO::Socket::UNIX->new(Peer => $local->host . '/.s.PGSQL.' . $local->port)
	  or die "could not connect: $!";
	my $reply = sub {
		my $seen = '';
		my $read = sub {
			my ($want, $data) = ($_[0], '');
			while (length($data) < $want)
			{
				sysread($socket, $data, $want - length($data), length($data)) or die 'connection lost';
			}
			return $data;
		};
		until ($seen =~ /Z$/)
		{
			my ($type, $length) = unpack('aN', $read->(5));
			$read->($length - 4);
			$seen .= $type;
		}
		return $seen;
	};
	my $message = sub { return pack('aN', $_[0], length($_[1]) + 4) . $_[1]; };
	my $user = $local->safe_psql('postgres', 'SELECT current_user');
	my $startup = pack('N', 196608) . "user\0$user\0database\0postgres\0\0";

	syswrite($socket, pack('N', length($startup) + 4) . $startup);
	$reply->();
	syswrite($socket, $message->('Q', call($target) . "\0"));
	is($reply->(), 'TDCZ', 'a client without psql');
	foreach (1, 2)
	{
		# Bind and Sync
		syswrite($socket, $message->('B', "\0nowhere\0" . pack('nnn', 0, 0, 0)) . $message->('S', ''));
		is($reply->(), 'EZ', 'an error outside a transaction');
	}
	closes($target, 'an error outside a transaction');
	close($socket);
}

# ---- other timeouts

{
	my $psql = psql($local);
	my $target = target('1s');
	my $other = psql($local);
	$local->safe_psql('postgres', 'CREATE TABLE locked (id int)');

	# before it, and after it
	foreach my $time (0.3, 2)
	{
		$psql->value("SET statement_timeout = '${time}s'");
		$psql->value(call($target));
		$psql->fails('SELECT pg_sleep(600)', '57014', "statement_timeout $time");
		on_time($psql->{seconds}, $time, "statement_timeout $time");
		closes($target, "statement_timeout $time");
		$psql->value('RESET statement_timeout');

		$other->value('BEGIN; LOCK TABLE locked');
		$psql->value("SET lock_timeout = '${time}s'");
		$psql->value(call($target));
		$psql->fails('SELECT * FROM locked', '55P03', "lock_timeout $time");
		on_time($psql->{seconds}, $time, "lock_timeout $time");
		closes($target, "lock_timeout $time");
		$psql->value('RESET lock_timeout');
		$other->value('COMMIT');
	}

	# the server's own deadlock check, with ours on its way
	$psql->value("SET deadlock_timeout = '1500ms'");
	$other->value('BEGIN; LOCK TABLE locked');
	$local->safe_psql('postgres', 'CREATE TABLE locked2 (id int)');
	$psql->value(call($target));
	$psql->value('BEGIN; LOCK TABLE locked2');
	$other->value("SET deadlock_timeout = '1h'");
	$other->start('LOCK TABLE locked2');
	wait_for(sub { $local->safe_psql('postgres', "SELECT cardinality(pg_blocking_pids($other->{pid}))") == 1 });
	$psql->fails('LOCK TABLE locked', '40P01', 'deadlock_timeout');
	on_time($psql->{seconds}, 1.5, 'deadlock_timeout');
	$psql->value('ROLLBACK');
	closes($target, 'deadlock_timeout');
	$other->finish;
	$other->quit;
	$psql->quit;

	# those that end the backend: before ours, and after it
	my $ended = sub {
		my ($pid, $limit) = @_;
		return wait_for(
			sub { $local->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") == 0 },
			$limit);
	};
	my @ends = ([ 'idle_session_timeout', '' ], [ 'idle_in_transaction_session_timeout', 'BEGIN' ]);
	push @ends, [ 'transaction_timeout', 'BEGIN' ]
	  if $local->safe_psql('postgres', 'SHOW server_version_num') >= 170000;
	foreach my $case (map { ([ @$_, 0.3 ], [ @$_, 3 ]) } @ends)
	{
		my ($setting, $begin, $time) = @$case;
		my $name = "$setting $time";
		my $offset = -s $local->logfile;

		$psql = psql($local);
		# our timer is set at the end of a transaction
		$psql->value(call($target));
		$psql->value($begin) if $begin;
		$psql->run(call($target) . "; SET $setting = '${time}s'");
		my $start = time();
		closes($target, $name) if $time == 3 && !$begin;
		ok($ended->($psql->{pid}, $start + $time + $slack - time()), "$name: the backend has ended");
		note(sprintf('%s: after %.1f s', $name, time() - $start));
		like(log_since($local, $offset), qr/FATAL:  terminating connection due to (?:idle-.*|transaction )timeout/,
			"$name: as it should");
		closes($target, $name);
		$psql->kill_client;
	}

	# the server's look for its client, while our time comes
	$psql = psql($local);
	$psql->value("SET client_connection_check_interval = '200ms'");
	$psql->value(call($target));
	$psql->start('SELECT pg_sleep(600)');
	sleep(1.5);
	$psql->kill_client;
	ok($ended->($psql->{pid}, $slack), 'client_connection_check_interval: the backend has ended');
	closes($target, 'client_connection_check_interval');
}

# ---- options that change, DISCARD ALL

{
	my $psql = psql($local);
	my $target = target();

	$psql->value(call($target));
	$local->safe_psql('postgres', "ALTER SERVER $target OPTIONS (ADD idle_timeout '1s')");
	$psql->value(call($target));
	closes($target, 'ALTER SERVER');
	$local->safe_psql('postgres', "ALTER SERVER $target OPTIONS (SET idle_timeout '1h')");
	$psql->value(call($target));
	$psql->value("SELECT sessmgr.invalidate('$target')");
	$psql->value("SELECT sessmgr.get_engine('$target', '{\"idle_timeout\": \"1s\"}')");
	$psql->value(call($target));
	closes($target, 'given in the call');

	my $set = target();
	$psql->value(call($set));
	$psql->value(q{SET sessmgr.idle_timeout = '1s'});
	$psql->value(call($set));
	closes($set, 'SET');

	foreach my $end ('DISCARD ALL', 'SELECT sessmgr.reset()', "SELECT sessmgr.invalidate('$set')")
	{
		$psql->value(q{SET sessmgr.idle_timeout = '1s'});
		$psql->value(call($set));
		$psql->value($end);
		sleep(1.5);
		$psql->is('SELECT 1', 1, "$end: the time comes");
		$psql->value(q{SET sessmgr.idle_timeout = '1s'});
		$psql->value(call($set));
		closes($set, "used again after $end");
	}
	$psql->quit;
}

# ---- no timer, and timers of another process

SKIP:
{
	my ($failed, undef, $why) = $local->psql('postgres', q{
		CREATE FUNCTION fork_and_run(sql text, callbacks boolean) RETURNS text
			AS '$libdir/forktest' LANGUAGE c STRICT;
		CREATE FUNCTION take_timers(n int) RETURNS void AS '$libdir/forktest' LANGUAGE c STRICT});
	left_out("t/forktest is not installed: $why", 7) if $failed;

	my $target = target('1s');
	my $psql = psql($local);
	$psql->value('SELECT take_timers(9)');
	$psql->value(call($target));
	closes($target, 'the last timer');
	$psql->quit;

	$psql = psql($local);
	$psql->value(q{LOAD '$libdir/forktest'});
	$psql->value(call($target));
	$psql->value('BEGIN');
	$psql->value(call($target));
	$psql->is(qq{SELECT fork_and_run('SELECT sessmgr.scalar(''$target'', ''SELECT pg_sleep(2.5)::text || 1'')', true)},
		1, 'a forked child, while the time comes');
	$psql->value('COMMIT');
	closes($target, 'the parent of a forked child');
	$psql->quit;
}

# ---- system calls

SKIP:
{
	my $psql = psql($local);
	my $target = target('1s');
	my $trace = PostgreSQL::Test::Utils::tempdir() . '/trace';
	my $calls = 5000;

	left_out('there is no strace: install the package of that name', 2) if system('strace -V >/dev/null 2>&1') != 0;
	$psql->value(call($target));
	my $strace = fork() // die "fork: $!";
	if ($strace == 0)
	{
		open(STDERR, '>', "$trace.err");
		exec('strace', '-p', $psql->{pid}, '-e', 'trace=setitimer,sendto', '-o', $trace) or exit(127);
	}
	wait_for(sub { -s "$trace.err" });
	my $said = slurp_file("$trace.err");
	if ($said !~ /attached/)
	{
		kill('TERM', $strace);
		waitpid($strace, 0);
		left_out("strace may not look at a backend: $said", 2);
	}
	$psql->value(qq{DO \$\$ BEGIN FOR i IN 1..$calls LOOP
		PERFORM sessmgr.scalar('$target', 'SELECT 1'); COMMIT; END LOOP; END \$\$});
	kill('INT', $strace);
	waitpid($strace, 0);
	my $timers = () = slurp_file($trace) =~ /^setitimer/mg;
	my $sent = () = slurp_file($trace) =~ /^sendto/mg;
	note(sprintf('%d calls in %.1f s: %d of setitimer, %d of sendto', $calls, $psql->{seconds}, $timers, $sent));
	cmp_ok($sent, '>=', $calls, 'strace sees the calls');
	cmp_ok($timers, '<', $calls / 10, 'a transaction does not set the timer');
	$psql->quit;
}

$admin->quit;
$local->stop;
foreach my $node ($local, $remote)
{
	unlike(log_since($node), qr/PANIC|TRAP|terminated by signal|cannot add more timeout/,
		$node->name . ': nothing has crashed');
}
unlike(log_since($remote), qr/unexpected EOF|connection to client lost|Connection reset/,
	'all connections ended properly');
$remote->stop;
done_testing();

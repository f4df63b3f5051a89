# The clean-up of many connections whose targets answer at once, late, with
# nonsense, without end or not at all: it takes about one cleanup_timeout, those
# that answer are rolled back and kept, and all others are dropped.  And the same
# at every step of a transaction that is bound to the local one, where whatever
# comes after the local commit must be no error.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use SessmgrTest;
use Test::More;
use Time::HiRes qw(sleep time);

# cleanup_timeout, and what a clean-up of 8 targets that do not answer may take
# on a noisy machine; one after another they would take 40 s
my $timeout = 5;
my $bound = 30;

my ($local, $remote) =
  new_pair(remote => "max_connections = 200\nmax_prepared_transactions = 60\n", options => "cleanup_timeout '${timeout}s'");
my $frozen = new_node('frozen');
new_server($local, $remote, 'stopped', "cleanup_timeout '${timeout}s'");
new_server($local, $remote, 'dead', "cleanup_timeout '${timeout}s'");
new_server($local, $frozen, 'frozen', "cleanup_timeout '${timeout}s'");

# ---- proxies, which answer a ROLLBACK or DISCARD ALL in some way of their own, or
# another command in another way if a statement before it says so: a comment has
# the command, how to answer, and a number for that; "answered" if the target is
# to carry out the command all the same

my $fields = join('', map { "$_\0" } 'SNOTICE', 'C00000', 'Mflood') . "\0";
my $notices = (pack('aN', 'N', 4 + length($fields)) . $fields) x 100;

# true: goes on as if nothing had happened, but for what it has sent itself
my %answer = (
	well => sub { return 1 },
	# late by so many ms, unless nobody waits any longer
	delay => sub { return !IO::Select->new($_[0])->can_read($_[1] / 1000) },
	# the backend behind it is stopped or terminated
	stop => sub { return kill('STOP', $_[1]) },
	dead => sub { return kill('TERM', $_[1]) },
	hangup => sub { POSIX::_exit(0) },
	mute => sub { return 0 },
	# late
	slow => sub { sleep(0.3); return 1 },
	late => sub { sleep(2); return 1 },
	# no message at all
	garbage => sub { syswrite($_[0], join('', map { chr($_ * 37 % 251) } 1 .. 5000)); return 0 },
	# a result that never ends
	half => sub { syswrite($_[0], pack('aN', 'T', 20000) . 'abc'); return 0 },
	# notices without end: as many as can be read, or some now and then
	flood => sub { flood($_[0]); return 0 },
	chatter => sub { while (syswrite($_[0], $notices)) { sleep(0.01) } return 0 });
my $target = $remote->host . '/.s.PGSQL.' . $remote->port;
# "told" and "limited" are the ones that are told
my %listener = map { $_ => IO::Socket::INET->new(Listen => 100, LocalAddr => '127.0.0.1') }
  qw(slow late garbage half flood told limited);

# As many notices as can be read at first, and when the timeout comes; in between
# some, as nothing else would get the processor for as long as that.
sub flood
{
	my ($client) = @_;
	my $start = time();
	while (syswrite($client, $notices))
	{
		my $since = time() - $start;
		sleep(0.01) if $since > 0.3 && $since < $timeout - 0.7;
	}
	return;
}

# What the target answers to a command
sub carry_out
{
	my ($server, $command) = @_;
	my $data = '';
	syswrite($server, $command);
	until ($data =~ /Z\0\0\0\x05.\z/s)
	{
		sysread($server, $data, 65536, length($data)) or last;
	}
	return $data;
}

sub serve
{
	my ($client, $mode) = @_;
	my $server = IO::Socket::UNIX->new(Peer => $target) or return;
	my $select = IO::Select->new($client, $server);
	my ($at, $how, $number, $answered) = (qr/ROLLBACK|DISCARD ALL/, $mode, 0, 0);
	$at = undef if $mode =~ /^(?:told|limited)$/;
	while (1)
	{
		foreach my $from ($select->can_read)
		{
			sysread($from, my $data, 65536) or return;
			my $to = $from == $client ? $server : $client;
			if ($from == $client && defined $at && $data =~ $at)
			{
				($to, $data) = ($client, carry_out($server, $data)) if $answered;
				$at = undef if $how ne $mode;
				if (!$answer{$how}->($client, $number))
				{
					# says no more, and waits until it is hung up on
					while (sysread($client, $data, 65536)) { }
					return;
				}
			}
			elsif ($from == $client && $data =~ m{/\* at ([A-Z ]+): (\w+)( answered)? (\d+) \*/})
			{
				($at, $how, $answered, $number) = (qr/Q.{4}(?:SET CONSTRAINTS [A-Z ]+; RESET ROLE; )?$1/s, $2, $3, $4);
			}
			syswrite($to, $data) or return;
		}
	}
}

my $proxy = fork();
die "could not fork: $!" unless defined $proxy;
if ($proxy == 0)
{
	my $select = IO::Select->new(values %listener);
	$SIG{CHLD} = 'IGNORE';
	$SIG{PIPE} = 'IGNORE';
	while (my @ready = $select->can_read)
	{
		foreach my $listener (@ready)
		{
			my $client = $listener->accept or next;
			next if fork();
			serve($client, grep { $listener{$_} == $listener } keys %listener);
			POSIX::_exit(0);
		}
	}
	POSIX::_exit(0);
}
END { my $status = $?; kill('TERM', $proxy) if $proxy; $? = $status; }
foreach my $mode (keys %listener)
{
	my $port = $listener{$mode}->sockport;
	my $limit = $mode eq 'late' ? 60 : $mode eq 'limited' ? 3 : $timeout;
	my $commit = $mode eq 'limited' ? "commit_timeout '${timeout}s'," : '';
	my $discard = $mode eq 'late' ? q{, pool_reset_on_return 'discard'} : '';
	# what is bound to the local transaction shares a connection for each server
	my @names = $mode =~ /^(?:told|limited)$/ ? map { "$mode$_" } 0 .. 17 : ($mode);
	$local->safe_psql('postgres', join('', map { qq{
		CREATE SERVER $_ FOREIGN DATA WRAPPER sessmgr
			OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres', sslmode 'disable',
				pool_size '30', $commit cleanup_timeout '${limit}s'$discard);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $_;} } @names));
	close($listener{$mode});
}

$_->safe_psql('postgres', q{
	CREATE TABLE t (id text);
	CREATE FUNCTION stubborn() RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_sleep(600);
		EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(0.5); RAISE; END $$})
  foreach $remote, $frozen;

my $admin = psql($local);
my $there = psql($remote);
my $there2 = psql($frozen);

# ---- the connections of one transaction

# name of the session and of its server; those that will not answer stand before
# and behind those that will
my @sessions = (
	[ stopped1 => 'stopped' ], [ frozen1 => 'frozen' ], [ half => 'half' ],
	[ a1 => 'remote' ], [ a2 => 'remote' ], [ slow => 'slow' ],
	[ dead => 'dead' ], [ garbage => 'garbage' ], [ flood => 'flood' ],
	[ stopped2 => 'stopped' ], [ stopped3 => 'stopped' ],
	[ frozen2 => 'frozen' ], [ frozen3 => 'frozen' ]);
my %pid;

sub in_session
{
	my ($session, $sql) = @_;
	return "SELECT sessmgr.execute(:'$session'::sessmgr.session, '$sql')";
}

sub open_all
{
	my ($psql) = @_;
	foreach (@sessions)
	{
		my ($name, $server) = @$_;
		$psql->open($name, $server, '{}');
		$psql->value(in_session($name, 'INSERT INTO t VALUES (1)'));
		$pid{$name} = $psql->value(
			"SELECT remote_pid FROM sessmgr.sessions WHERE session::text = :'$name'");
	}
	return;
}

# Breaks all but a1, a2 and slow; the sessions of %except are let be.
my @halted;
sub break_all
{
	my (%except) = @_;
	$there->value("SELECT pg_terminate_backend($pid{dead})");
	@halted = (map { $pid{$_} } grep { /^(?:stopped|frozen)/ && !$except{$_} } keys %pid);
	stop_process(@halted, $frozen->{_pid});
	push @halted, $frozen->{_pid};
}

sub mend_all { continue_process(@halted); return; }

# What is open on a remote server, but for these
sub others_there
{
	my ($psql, @pids) = @_;
	my $list = join(',', 0, @pids);
	return $psql->value(qq{SELECT count(*) FROM pg_stat_activity
		WHERE application_name = 'sessmgr' AND pid NOT IN ($list)});
}

# Nothing is left but what was kept, on either side.
sub check_rest
{
	my ($name, @kept) = @_;
	my $list = join(',', 0, @kept);
	is( $there->value(qq{SELECT count(*) FROM pg_stat_activity a
			WHERE pid IN ($list) AND (state <> 'idle' OR xact_start IS NOT NULL OR
				EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid))}),
		0, "$name: what was kept is idle, and out of its transaction");
	mend_all();
	ok(wait_for(sub { others_there($there, @kept) == 0 && others_there($there2) == 0 }),
		"$name: what was dropped ends there");
	is($_->value('SELECT count(*) FROM t'), 0, "$name: all is rolled back") foreach $there, $there2;
	return;
}

# Tests the time of what has ended, and what it has left behind.
sub check
{
	my ($name, $psql, $seconds, @kept) = @_;
	my @pids = @pid{@kept};
	note(sprintf('%s: %.1f s', $name, $seconds));
	cmp_ok($seconds, '<', $bound, "$name: takes about one cleanup_timeout");
	$psql->value('ROLLBACK') if $psql->{last_state} ne '';
	is( $psql->value('SELECT string_agg(remote_pid::text, $$,$$ ORDER BY remote_pid) FROM sessmgr.connections'),
		join(',', sort { $a <=> $b } @pids), "$name: those that answer are kept");
	is($psql->value(q{SELECT count(*) FROM sessmgr.connections WHERE state <> 'idle'}),
		0, "$name: in their pools");
	check_rest($name, @pids);
	return;
}

my $psql = psql($local);
my @healthy = ('a1', 'a2', 'slow');
$psql->value("SELECT sessmgr.scalar('$_', 'SELECT 1')") foreach 'remote', 'frozen';
$psql->value('SELECT sessmgr.reset()');
my $descriptors = descriptors($psql->{pid});

# ---- without a statement on its way

my %ending = (
	rollback => 'ROLLBACK',
	'rollback to savepoint' => 'ROLLBACK TO a',
	error => 'SELECT 1 / 0',
	commit => 'COMMIT',
	reset => 'SELECT sessmgr.reset()');
foreach my $name (sort keys %ending)
{
	$psql->value('BEGIN; SAVEPOINT a');
	open_all($psql);
	break_all();
	$psql->run($ending{$name});
	check($name, $psql, $psql->{seconds}, $name eq 'reset' ? () : @healthy);
	$psql->run('ROLLBACK');
	$psql->value('SELECT sessmgr.reset()');
	is(descriptors($psql->{pid}), $descriptors, "$name: no descriptor is left open");
}

# ---- a statement is canceled: one that takes its time, and one whose server
# does not even take the request

$psql->value('BEGIN');
open_all($psql);
$psql->start(in_session('a1', 'SELECT stubborn()'));
ok(wait_for(sub { remote_running($remote, 'stubborn()') }), 'cancel: it runs');
break_all();
my $start = time();
$admin->value("SELECT pg_cancel_backend($psql->{pid})");
$psql->fails(undef, '57014', 'cancel: canceled');
check('cancel', $psql, time() - $start, @healthy);
$psql->run('ROLLBACK');
$psql->value('SELECT sessmgr.reset()');

$psql->value('BEGIN');
open_all($psql);
$psql->start(in_session('frozen1', 'SELECT stubborn()'));
ok(wait_for(sub { remote_running($frozen, 'stubborn()') }), 'cancel not taken: it runs');
break_all(frozen1 => 1);
$start = time();
$admin->value("SELECT pg_cancel_backend($psql->{pid})");
$psql->fails(undef, '57014', 'cancel not taken: canceled');
check('cancel not taken', $psql, time() - $start, @healthy);
$psql->run('ROLLBACK');
$psql->value('SELECT sessmgr.reset()');
is(descriptors($psql->{pid}), $descriptors, 'cancel: no descriptor is left open');

# ---- a request to cancel for which there is no descriptor

SKIP:
{
	my ($prlimit) = grep { -x } map { "$_/prlimit" } split(/:/, $ENV{PATH});
	left_out('there is no prlimit', 5) unless $prlimit;
	$psql->value(q{SELECT sessmgr.scalar('remote', 'SELECT 1')});
	$psql->value('BEGIN');
	$psql->open('a1', 'remote', '{}');
	$psql->open('a2', 'remote', '{}');
	$psql->value(in_session('a2', 'INSERT INTO t VALUES (1)'));
	$psql->start(in_session('a1', 'SELECT stubborn() /* starved */'));
	ok(wait_for(sub { remote_running($remote, 'starved') }), 'starved: it runs');
	system($prlimit, '--pid', $psql->{pid}, '--nofile=5:') == 0 or die 'prlimit failed';
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', 'starved: canceled');
	system($prlimit, '--pid', $psql->{pid}, '--nofile=1000:') == 0 or die 'prlimit failed';
	$psql->value('ROLLBACK');
	$psql->is('SELECT state FROM sessmgr.connections', 'idle',
		'starved: the connection was dropped, the other one was kept');
	gone_soon($remote, 'starved', 'starved: and ends there');
	is($there->value('SELECT count(*) FROM t'), 0, 'starved: all is rolled back');
	$psql->value('SELECT sessmgr.reset()');
}

# ---- a plan that is stale: its transaction is to begin anew, and the target does
# not answer the ROLLBACK

$there->value('CREATE TABLE stale (a int)');
$psql->open('h', 'half');
foreach (1 .. 3)
{
	$psql->value(in_session('h', 'SELECT * FROM stale'));
	$psql->value(q{SELECT sessmgr.commit(:'h')});
}
$there->value('ALTER TABLE stale ADD b int');
$psql->fails(in_session('h', 'SELECT * FROM stale'), '08006', 'stale: the connection is given up');
$psql->is(q{SELECT count(*) FROM sessmgr.connections}, 0, 'stale: nothing is left');
$psql->value('SELECT sessmgr.reset()');

# ---- DISCARD ALL is part of it: one after another it would take 32 s

$psql->value('BEGIN');
foreach my $i (1 .. 8)
{
	$psql->open("s$i", 'late', '{}');
	$psql->value(in_session("s$i", "SELECT pg_advisory_lock($i)"));
	$psql->value(in_session("s$i", 'CREATE TEMP TABLE temporary ()'));
}
my $pids = 'SELECT string_agg(remote_pid::text, $$,$$ ORDER BY remote_pid) FROM sessmgr.connections';
my $before = $psql->value($pids);
$psql->value('ROLLBACK');
note(sprintf('discard: %.1f s', $psql->{seconds}));
cmp_ok($psql->{seconds}, '<', 25, 'discard: at the same time');
$psql->is($pids, $before, 'discard: all are kept');
is( $there->value(
		"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid IN ($before)"),
	0, 'discard: and are as new');
$psql->value('SELECT sessmgr.reset()');

# ---- what is bound to the local transaction: each step of it, with targets that
# answer in all these ways

# those that are waited for until a timeout; one after another, eight take 40 s
my @never = qw(stop mute half chatter);
my @badly = qw(garbage hangup dead);
my @well = qw(delay well);
# by then the target has carried it out
my @answered = map { "$_ answered" } qw(mute half garbage hangup);

$_->safe_psql('postgres', q{
	CREATE TABLE b (name text, who text);
	CREATE TABLE u (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)}) foreach $local, $remote;
$local->safe_psql('postgres', q{
	CREATE FUNCTION opened(server text, mode text) RETURNS sessmgr.session LANGUAGE sql AS $$
		SELECT sessmgr.open((sessmgr.create_session(server,
			options => jsonb_build_object('transaction', mode))).factory) $$;
	CREATE FUNCTION work(s sessmgr.session, name text, who text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM sessmgr.execute(s, 'INSERT INTO b VALUES ($1, $2)', name, who);
	END $$;
	-- works, and tells the proxy how to answer; returns the process there
	CREATE FUNCTION tell(s sessmgr.session, name text, who text, at text, how text) RETURNS int
		LANGUAGE plpgsql AS $$
	DECLARE pid int := sessmgr.scalar(s, 'SELECT pg_backend_pid()');
	BEGIN
		PERFORM work(s, name, who);
		PERFORM sessmgr.execute(s, format('SELECT 1 /* at %s: %s %s */', at, how,
			CASE WHEN how ~ 'delay' THEN substring(who FROM '\d+')::int ELSE pid END));
		RETURN pid;
	END $$;
	-- both in a block that fails
	CREATE FUNCTION work_in_block(sessions sessmgr.session[], name text) RETURNS void
		LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM work(s, name, 'in the block') FROM unnest(sessions) s;
		RAISE no_data_found;
	EXCEPTION WHEN no_data_found THEN NULL;
	END $$;
	CREATE FUNCTION tell_in_block(sessions sessmgr.session[], name text, who text[], at text, how text[])
		RETURNS text LANGUAGE plpgsql AS $$
	DECLARE pids int[];
	BEGIN
		FOR i IN 1 .. cardinality(sessions) LOOP
			pids := pids || tell(sessions[i], name, who[i], at, how[i]);
		END LOOP;
		RAISE no_data_found;
	EXCEPTION WHEN no_data_found THEN RETURN array_to_string(pids, '|');
	END $$;
	-- what each session says when it is used once more
	CREATE FUNCTION further(sessions sessmgr.session[], name text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE said text[];
	BEGIN
		FOR i IN 1 .. cardinality(sessions) LOOP
			BEGIN
				PERFORM work(sessions[i], name, 'further');
				said := said || 'works'::text;
			EXCEPTION WHEN OTHERS THEN said := said || SQLSTATE::text;
			END;
		END LOOP;
		RETURN array_to_string(said, ' ');
	END $$});

# Cases run side by side, each in a psql of its own.
my (@cases, @told);
END { my $status = $?; continue_process(@told); $? = $status; }

sub new_case
{
	my ($name) = @_;
	my $case = { name => $name, psql => psql($local) };

	push @cases, $case;
	$case->{psql}->value(q{SELECT sessmgr.scalar('remote', 'SELECT 1')});
	$case->{psql}->value('SELECT sessmgr.reset()');
	$case->{descriptors} = descriptors($case->{psql}{pid});
	$case->{psql}->value("BEGIN; INSERT INTO b VALUES ('$name', 'local'); SAVEPOINT outermost");
	return $case;
}

# Opens a session for each mode and kind of answer, each on a server of its own;
# delays are multiples of so many s
sub open_bound
{
	my ($case, $server, $modes, $kinds, $s) = @_;
	my ($n, $delay) = (0, 0);

	foreach my $how (@$kinds)
	{
		foreach my $mode (@$modes)
		{
			my $session = "s$n";
			my $who = "$mode, $how";
			$who .= ' ' . 1000 * ($delay += $s // 0.3) if $how =~ /delay/;
			$case->{psql}->value("SELECT opened('$server$n', '$mode') AS $session \\gset");
			push @{ $case->{sessions} }, { handle => ":'$session'::sessmgr.session", how => $how, who => $who };
			$n++;
		}
	}
	$case->{handles} = 'ARRAY[' . join(',', map { $_->{handle} } @{ $case->{sessions} }) . ']';
	return $case;
}

# Which processes there may have to be mended, and which connections will stay
sub note_told
{
	my ($case, $pids) = @_;
	my @pids = split(/\|/, $pids);
	foreach my $session (@{ $case->{sessions} })
	{
		my $pid = shift @pids or last;
		push @told, $pid if $session->{how} eq 'stop';
		push @{ $case->{kept} }, $pid if $session->{how} =~ /^(?:delay|well)$/;
	}
	return $case;
}

# Works with all of them, and says how that command is to be answered
sub tell_all
{
	my ($case, $at) = @_;
	my @calls = map { "tell($_->{handle}, '$case->{name}', '$_->{who}', '$at', '$_->{how}')" }
	  @{ $case->{sessions} };
	return note_told($case, $case->{psql}->value('SELECT ' . join(', ', @calls)));
}

# What is started ends with this SQLSTATE and so many warnings, in time
sub ends
{
	my ($case, $state, $warnings) = @_;
	my ($name, $psql) = @$case{qw(name psql)};
	my ($out, $err, $found) = $psql->finish;
	my ($ms) = $out =~ /^Time: ([\d.]+) ms/m;

	note(sprintf('%s: %.1f s; %s', $name, $ms / 1000, $err =~ s/\n/ /gr));
	is($found, $state, "$name: what is reported") || diag($err);
	is(scalar(() = $err =~ /WARNING:  08007/g), $warnings, "$name: and what is left in doubt")
	  if defined $warnings;
	cmp_ok($ms / 1000, '<', $bound, "$name: takes about one timeout");
	$psql->value('\timing off');
	return $out;
}

# Starts it, and has psql take the time
sub start_timed
{
	my ($case, $sql) = @_;
	$case->{psql}->value('\timing on');
	$case->{psql}->start($sql);
	return;
}

sub keeps
{
	my ($case) = @_;
	$case->{psql}->is(q{SELECT string_agg(remote_pid || ' ' || state, ',' ORDER BY remote_pid) FROM sessmgr.connections},
		join(',', map { "$_ idle" } sort { $a <=> $b } @{ $case->{kept} }),
		"$case->{name}: those that answer are kept");
	return;
}

sub rows
{
	my ($psql, $case) = @_;
	return $psql->value("SELECT coalesce(string_agg(who, '; ' ORDER BY who COLLATE \"C\"), '-')
		FROM b WHERE name = '$case->{name}'");
}

my @both = qw(joined two_phase);
my @all = (@never, @badly, @well);
my @prepared = (@never, @never, @badly, @well, @answered);
my $in_doubt = @prepared - @well;

# what is done in a savepoint that is rolled back, or in a block that fails, and
# a block that has the first use of the sessions in it
my $rollback = tell_all(open_bound(new_case('ROLLBACK'), 'told', \@both, \@all), 'ROLLBACK');
my $savepoint = tell_all(open_bound(new_case('ROLLBACK TO'), 'told', \@both, \@all), 'ROLLBACK TO');
$savepoint->{psql}->value("SAVEPOINT a; SELECT work(s, 'ROLLBACK TO', 'in it') FROM unnest($savepoint->{handles}) s");
my $block = tell_all(open_bound(new_case('block'), 'told', \@both, \@all), 'ROLLBACK TO');
my $begun = open_bound(new_case('begun in a block'), 'told', \@both, \@all);
my $whos = join(',', map { "'$_->{who}'" } @{ $begun->{sessions} });
my $hows = join(',', map { "'$_->{how}'" } @{ $begun->{sessions} });

my $commit_prepared =
  tell_all(open_bound(new_case('COMMIT PREPARED'), 'told', ['two_phase'], \@prepared), 'COMMIT PREPARED');
my $rollback_prepared =
  tell_all(open_bound(new_case('ROLLBACK PREPARED'), 'told', ['two_phase'], \@prepared), 'ROLLBACK PREPARED');
# when all the others are prepared, this one fails
$rollback_prepared->{psql}->open('joined', 'remote', '{"transaction": "joined"}');
$rollback_prepared->{psql}->value(in_session('joined', 'INSERT INTO u VALUES (1), (1)'));
push @{ $rollback_prepared->{kept} },
  $rollback_prepared->{psql}->value(q{SELECT sessmgr.scalar(:'joined'::sessmgr.session, 'SELECT pg_backend_pid()')});

# each alone, as one that fails ends the wait for the others
my (%commit, %prepare);
foreach my $how (@never, 'flood', @badly, @answered)
{
	my $server = $how =~ /garbage|hangup|dead/ ? 'told' : 'limited';
	$commit{$how} = tell_all(open_bound(new_case("COMMIT, $how"), $server, ['joined'], [$how]), 'COMMIT');
	$prepare{$how} = tell_all(open_bound(new_case("PREPARE, $how"), $server, ['two_phase'], [$how]), 'PREPARE');
}
# they answer 4 s after each other: with a commit_timeout for each of them it would
# take 48 s, and with a cleanup_timeout for each of those left by then 38 s
my @many = ('delay answered') x 12;
my $commit_many = tell_all(open_bound(new_case('COMMIT of many'), 'limited', ['joined'], \@many, 4), 'COMMIT');
my $prepare_many = tell_all(open_bound(new_case('PREPARE of many'), 'limited', ['two_phase'], \@many, 4), 'PREPARE');

start_timed($rollback, 'ROLLBACK');
start_timed($savepoint, 'ROLLBACK TO a');
start_timed($block, "SELECT work_in_block($block->{handles}, 'block')");
start_timed($begun, "SELECT tell_in_block($begun->{handles}, 'begun in a block', ARRAY[$whos], 'ROLLBACK', ARRAY[$hows])");
start_timed($_, 'COMMIT') foreach $commit_prepared, $rollback_prepared, values %commit, values %prepare,
  $commit_many, $prepare_many;

ends($_, '', 0) foreach $rollback, $savepoint, $block;
my ($pids_begun) = ends($begun, '', 0) =~ /^([\d|]+)$/m;
ends($commit_prepared, '', $in_doubt);
ends($rollback_prepared, '23505', $in_doubt);
ends($commit{$_}, '08007', 0) foreach sort keys %commit;
ends($prepare{$_}, '08006', 1) foreach sort keys %prepare;
ends($commit_many, '08007', 0);
ends($prepare_many, '08006');

# a transaction there that has lost its savepoint is lost, and the local one with it
my $lost = join(' ', map { $_->{how} =~ /^(?:delay|well)$/ ? 'works' : '25P02' } @{ $savepoint->{sessions} });
foreach my $case ($savepoint, $block)
{
	$case->{psql}->is("SELECT further($case->{handles}, '$case->{name}')", $lost,
		"$case->{name}: what did not answer is lost");
}
$savepoint->{psql}->fails('COMMIT', '08006', 'ROLLBACK TO: and cannot commit');
$block->{psql}->value("ROLLBACK TO outermost; INSERT INTO b VALUES ('block', 'local, too')");
$block->{psql}->value('COMMIT');
# one that was begun in it begins anew
note_told($begun, $pids_begun);
$begun->{psql}->is("SELECT further($begun->{handles}, '$begun->{name}')",
	$lost =~ s/25P02/works/gr, "$begun->{name}: all begin anew");
$begun->{psql}->value('COMMIT');

keeps($_) foreach $rollback, $savepoint, $block, $commit_prepared, $rollback_prepared;

# what is here, and what is there by now and when what was left has been recovered
sub who { my ($case, $how) = @_; return map { $_->{who} } grep { $_->{how} =~ $how } @{ $case->{sessions} }; }

my %expected = map { $_->{name} => [ '-', '-', '-' ] } @cases;
my @begun = ('further') x @{ $begun->{sessions} };
my @whos = sort(who($commit_prepared, qr/./));
$expected{ $block->{name} }[0] = 'local; local, too';
$expected{ $begun->{name} } = [ 'local', (join('; ', @begun)) x 2 ];
$expected{ $commit_prepared->{name} } =
  [ 'local', join('; ', sort(who($commit_prepared, qr/answered|delay|well/))), join('; ', @whos) ];
foreach my $how (@answered) { $expected{"COMMIT, $how"} = [ '-', ("joined, $how") x 2 ]; }
# nobody can tell what it does when it goes on
$expected{'COMMIT, stop'}[2] = qr/^(?:-|joined, stop)$/;
$expected{ $commit_many->{name} }[$_] = join('; ', sort(who($commit_many, qr/./))) foreach 1, 2;

foreach my $case (@cases)
{
	my ($name, $psql) = @$case{qw(name psql)};
	is(rows($admin, $case), $expected{$name}[0], "$name: here");
	is(rows($there, $case), $expected{$name}[1], "$name: there");
	$psql->is('SELECT pg_backend_pid()', $psql->{pid}, "$name: it is still the same backend");
	$psql->value("SELECT work(opened('remote', 'joined'), 'afterwards', '$name')");
	$psql->value('SELECT sessmgr.reset()');
	is(descriptors($psql->{pid}), $case->{descriptors}, "$name: no descriptor is left open");
	$psql->quit;
}
is($there->value(q{SELECT count(*) FROM b WHERE name = 'afterwards'}), scalar(@cases), 'bound: all work again');
continue_process(@told);
ok(wait_for(sub { others_there($there) == 0 }), 'bound: what was dropped ends there');
cmp_ok($there->value('SELECT count(*) FROM pg_prepared_xacts'), '>', 0, 'bound: some are still prepared');
$admin->is(q{SELECT string_agg(DISTINCT outcome, ', ' ORDER BY outcome) FROM sessmgr.recover('remote')},
	'committed, rolled back', 'bound: they are recovered');
is($there->value('SELECT count(*) FROM pg_prepared_xacts'), 0, 'bound: all of them');
$admin->is('SELECT count(*) FROM sessmgr.two_phase', 0, 'bound: and nothing is left to do');
foreach my $case (@cases)
{
	my ($name, $expected) = ($case->{name}, $expected{ $case->{name} }[2]);
	like(rows($there, $case), ref($expected) ? $expected : qr/^\Q$expected\E$/, "$name: there, at last");
}
$admin->value('SELECT sessmgr.reset()');
unlike(log_since($local), qr/PANIC|terminated by signal|crash of another server process/,
	'bound: the local server has seen no crash');

# ---- the backend ends, while statements run on several connections: one reads
# rows, and the check of their type runs the next statement

$local->safe_psql('postgres', q{
	CREATE FUNCTION nest(n int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$;
	CREATE DOMAIN nested AS int CHECK (nest(VALUE));
	CREATE OR REPLACE FUNCTION nest(n int) RETURNS bool LANGUAGE plpgsql AS $$
	DECLARE servers text[] := '{remote,frozen,stopped,frozen,remote}';
	BEGIN
		IF n > cardinality(servers) THEN
			PERFORM sessmgr.execute('remote', 'SELECT stubborn() /* innermost */');
		ELSE
			PERFORM count(*) FROM sessmgr.query(servers[n],
				'SELECT $1 + 0 * generate_series(1, 1000000000) /* nested */', n + 1)
				AS (x nested);
		END IF;
		RETURN true;
	END $$});
foreach my $how ('cancel', 'terminate')
{
	$psql->value('SELECT sessmgr.reset()');
	$psql->value('BEGIN');
	open_all($psql);
	$psql->start('SELECT nest(1)');
	ok(wait_for(sub { remote_running($remote, 'innermost') }), "$how, nested: it runs");
	is(remote_running($remote, '/* nested'), 3, "$how, nested: three are being read");
	is(remote_running($frozen, '/* nested'), 2, "$how, nested: and two where nothing will answer");
	my @kept = $how eq 'cancel' ? (@pid{@healthy}, remote_backends($remote, "query LIKE '%innermost%'"),
		remote_backends($remote, "query LIKE '%/* nested%'")) : ();
	break_all();
	$start = time();
	$admin->value("SELECT pg_${how}_backend($psql->{pid})");
	# nobody knows what those have done that do not answer
	$psql->fails(undef, $how eq 'cancel' ? '08007' : '57P01', "$how, nested: ended");
	wait_for(sub { $admin->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $psql->{pid}") == 0 })
	  if $how eq 'terminate';
	my $seconds = time() - $start;
	note(sprintf('%s, nested: %.1f s', $how, $seconds));
	cmp_ok($seconds, '<', $bound, "$how, nested: takes about one cleanup_timeout");
	ok(wait_for(sub { !remote_running($remote, 'innermost') && !remote_running($remote, '/* nested') }),
		"$how, nested: nothing runs there");
	if ($how eq 'cancel')
	{
		$psql->value('ROLLBACK');
		is( $psql->value('SELECT string_agg(remote_pid::text, $$,$$ ORDER BY remote_pid) FROM sessmgr.connections'),
			join(',', sort { $a <=> $b } @kept), "$how, nested: those that answer are kept");
	}
	check_rest("$how, nested", @kept);
}
$psql->kill_client;
$_->quit foreach $admin, $there, $there2;
$_->stop foreach $local, $remote, $frozen;
done_testing();

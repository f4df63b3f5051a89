# The clean-up of many connections whose targets answer at once, late, with
# nonsense, without end or not at all: it takes about one cleanup_timeout, those
# that answer are rolled back and kept, and all others are dropped.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use SessmgrTest qw(:DEFAULT left_out);
use Test::More;
use Time::HiRes qw(sleep time);

# cleanup_timeout, and what a clean-up of 8 targets that do not answer may take
# on a noisy machine; one after another they would take 40 s
my $timeout = 5;
my $bound = 30;

my ($local, $remote) =
  new_pair(remote => "max_connections = 60\n", options => "cleanup_timeout '${timeout}s'");
my $frozen = new_node('frozen');
new_server($local, $remote, 'stopped', "cleanup_timeout '${timeout}s'");
new_server($local, $remote, 'dead', "cleanup_timeout '${timeout}s'");
new_server($local, $frozen, 'frozen', "cleanup_timeout '${timeout}s'");

# ---- proxies, which answer a ROLLBACK or DISCARD ALL in some way of their own

my %answer = (
	# late
	slow => sub { sleep(0.3); return 1 },
	late => sub { sleep(2); return 1 },
	# no message at all
	garbage => sub { syswrite($_[0], join('', map { chr($_ * 37 % 251) } 1 .. 5000)); return 0 },
	# a result that never ends
	half => sub { syswrite($_[0], pack('aN', 'T', 20000) . 'abc'); return 0 },
	# notices without end
	flood => sub {
		my $fields = join('', map { "$_\0" } 'SNOTICE', 'C00000', 'Mflood') . "\0";
		my $message = pack('aN', 'N', 4 + length($fields)) . $fields;
		while (syswrite($_[0], $message x 100)) { }
		return 0;
	});
my $target = $remote->host . '/.s.PGSQL.' . $remote->port;
my %listener = map { $_ => IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1') } keys %answer;

sub serve
{
	my ($client, $mode) = @_;
	my $server = IO::Socket::UNIX->new(Peer => $target) or return;
	my $select = IO::Select->new($client, $server);
	while (1)
	{
		foreach my $from ($select->can_read)
		{
			sysread($from, my $data, 65536) or return;
			if ($from == $client && $data =~ /ROLLBACK|DISCARD ALL/ && !$answer{$mode}->($client))
			{
				# says no more, and waits until it is hung up on
				while (sysread($client, $data, 65536)) { }
				return;
			}
			syswrite($from == $client ? $server : $client, $data) or return;
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
	my $limit = $mode eq 'late' ? 60 : $timeout;
	my $discard = $mode eq 'late' ? q{, pool_reset_on_return 'discard'} : '';
	$local->safe_psql('postgres', qq{
		CREATE SERVER $mode FOREIGN DATA WRAPPER sessmgr
			OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres', sslmode 'disable',
				pool_size '10', cleanup_timeout '${limit}s'$discard);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $mode});
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

# ---- a statement is cancelled: one that takes its time, and one whose server
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
	$psql->fails(undef, $how eq 'cancel' ? '57014' : '57P01', "$how, nested: ended");
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

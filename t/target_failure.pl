# The target goes away: between statements, during one, during COMMIT, in a
# transaction; stopped, restarted, or not there in the first place.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Socket::INET;
use SessmgrTest;
use Test::More;

my ($local, $remote) = new_pair(remote => "max_connections = 20\nrestart_after_crash = on\n");
new_server($local, $remote, 'patient', "statement_timeout '3s', cleanup_timeout '2s'");
$remote->safe_psql('postgres', q{
	CREATE TABLE t (id text);
	CREATE TABLE slow (id text);
	CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER nap AFTER INSERT ON slow
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nap()});

my $pid_of = q{SELECT sessmgr.scalar('%s', 'SELECT pg_backend_pid()')};
my $s = q{:'s'::sessmgr.session};
my $psql = psql($local);

sub rows_there
{
	my ($id, $table) = @_;
	return $remote->safe_psql('postgres',
		'SELECT count(*) FROM ' . ($table // 't') . " WHERE id = '$id'");
}

# Ends a remote backend, and waits until it is gone.
sub terminate
{
	my ($pid) = @_;
	$remote->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	return wait_for(sub { !grep { $_ == $pid } remote_backends($remote) });
}

# What was started ends with an unknown outcome, and that is explained.
sub unknown
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$psql->fails(undef, '08007', $name);
	like($psql->{last_err},
		qr/^DETAIL:  The connection was lost while it was on its way: \w.*^HINT:  Look at the target before you repeat it\.$/ms,
		"$name: detail and hint");
}

# Does a write afterwards, which must work with a new connection.
sub works_again
{
	my ($name, $dburi) = @_;
	$dburi //= 'remote';
	$psql->is("SELECT sessmgr.execute('$dburi', 'INSERT INTO t VALUES (''again'')')",
		1, "$name: works again");
}

# ---- between statements: a new connection, no error, and siblings go too

$psql->value(q{SELECT set_config('sessmgr.pool_size', '5', false)});
$psql->value(
	q{DO $$ DECLARE f sessmgr.sessionmaker := (sessmgr.create_session('remote')).factory;
			a sessmgr.session := sessmgr.open(f); b sessmgr.session := sessmgr.open(f);
	BEGIN PERFORM sessmgr.begin(a); PERFORM sessmgr.begin(b); END $$});
$psql->is('SELECT idle FROM sessmgr.engines', 2, 'two connections in the pool');
terminate($_) foreach remote_backends($remote);
works_again('terminated while idle');
$psql->is('SELECT idle, connects FROM sessmgr.engines', '1|3',
	'one dead connection takes its siblings along; one new connect');

# ---- during a statement

my $pid = $psql->value(sprintf($pid_of, 'remote'));
$psql->start(q{SELECT sessmgr.execute('remote', 'INSERT INTO t SELECT ''during'' FROM pg_sleep(600)')});
wait_for(sub { remote_running($remote, 'during') });
terminate($pid);
$psql->fails(undef, '08006', 'terminated during a statement');
is(rows_there('during'), 0, 'and it had no effect');
works_again('terminated during a statement');

# ---- during COMMIT, of an autocommit statement and of a session

$pid = $psql->value(sprintf($pid_of, 'remote'));
$psql->start(q{SELECT sessmgr.execute('remote', 'INSERT INTO slow VALUES (''call'')')});
wait_for(sub { remote_backends($remote, "wait_event = 'PgSleep'") });
terminate($pid);
unknown('terminated while an autocommit statement commits');
is(rows_there('call', 'slow'), 0, 'it was not committed');

$psql->open('s', 'remote');
$psql->value("SELECT sessmgr.execute($s, 'INSERT INTO slow VALUES (''session'')')");
$psql->start("SELECT sessmgr.commit($s)");
wait_for(sub { remote_running($remote, 'COMMIT') });
terminate($_) foreach remote_backends($remote, "state = 'active'");
unknown('terminated during COMMIT');
is(rows_there('session', 'slow'), 0, 'it was not committed');
$psql->is("SELECT sessmgr.in_transaction($s)", 'f', 'the transaction is over');
$psql->is("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (''later'')')", 1, 'the session is usable');
$psql->value("SELECT sessmgr.commit($s)");
is(rows_there('later'), 1, 'and commits');
$psql->value("SELECT sessmgr.close($s)");

# ---- in a session's transaction: lost until it is rolled back

$psql->value('BEGIN');
$psql->open('s', 'remote', '{}');
$psql->value("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (''lost'')')");
$pid = $psql->value('SELECT remote_pid FROM sessmgr.sessions');
$psql->value('SAVEPOINT a');
terminate($pid);
$psql->fails("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (''lost'')')", '08006',
	'terminated in a transaction');
$psql->value('ROLLBACK TO a');
$psql->is('SELECT state FROM sessmgr.sessions', 'lost', 'the session says so');
$psql->fails("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (''lost'')')", '25P02',
	'nothing is done without the transaction');
$psql->value('ROLLBACK TO a');
$psql->fails("SELECT sessmgr.begin_nested($s)", '25P02', 'nor a savepoint set');
$psql->value('ROLLBACK TO a');
$psql->value("SELECT sessmgr.rollback($s)");
$psql->is("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (''found'')')", 1, 'after rollback it goes on');
terminate($_) foreach remote_backends($remote, "state = 'idle in transaction'");
$psql->fails("SELECT sessmgr.commit($s)", '25P02', 'terminated before COMMIT: surely rolled back');
$psql->value('ROLLBACK');
is(rows_there('lost') + rows_there('found'), 0, 'none of it was committed');

# ---- restarted

foreach my $mode ('fast', 'immediate')
{
	$psql->value(sprintf($pid_of, 'remote'));
	$psql->open('s', 'remote');
	$psql->value("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (''restart'')')");
	$remote->stop($mode);
	$psql->fails(q{SELECT sessmgr.scalar('remote', 'SELECT 1')}, '08001', "$mode: down");
	$remote->start;
	works_again("restarted, $mode");
	$psql->run("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (''restart'')')");
	like($psql->{last_state}, qr/^08006$/, "restarted, $mode: the transaction is gone");
	$psql->value("SELECT sessmgr.close($s)");
	is(rows_there('restart'), 0, "restarted, $mode: and had no effect");

	$psql->start(q{SELECT sessmgr.execute('remote', 'INSERT INTO t SELECT ''running'' FROM pg_sleep(600)')});
	wait_for(sub { remote_running($remote, 'running') });
	$remote->restart if $mode eq 'fast';
	if ($mode eq 'immediate')
	{
		$remote->stop('immediate');
		$remote->start;
	}
	unknown("$mode during a statement") if $mode eq 'immediate';
	$psql->fails(undef, '08006', "$mode during a statement") if $mode eq 'fast';
	is(rows_there('running'), 0, "$mode during a statement: no effect");
	works_again("$mode during a statement");
}

# ---- stopped: the backend alone, then all of the server

foreach my $whole (0, 1)
{
	foreach my $case (
		[ 'read in a session', "SELECT sessmgr.execute($s, 'SELECT 1')", '57014' ],
		[ 'autocommit write', q{SELECT sessmgr.execute('patient', 'INSERT INTO t VALUES (''stopped'')')}, '08007' ])
	{
		my ($name, $sql, $expected) = @$case;
		my @stopped;
		$name .= $whole ? ', server stopped' : ', backend stopped';

		if ($expected eq '57014')
		{
			$psql->open('s', 'patient');
			$psql->value("SELECT sessmgr.begin($s)");
			@stopped = ($psql->value('SELECT remote_pid FROM sessmgr.sessions WHERE remote_pid > 0'));
		}
		else
		{
			@stopped = ($psql->value(sprintf($pid_of, 'patient')));
		}
		push @stopped, $remote->{_pid} if $whole;
		stop_process(@stopped);
		$psql->fails($sql, $expected, $name);
		cmp_ok($psql->{seconds}, '<', 30, "$name: bounded");
		is($psql->value(qq{SELECT count(*) FROM sessmgr.connections WHERE remote_pid = $stopped[0]}),
			0, "$name: the connection was dropped");
		continue_process(@stopped);
		works_again($name, 'patient');
		$psql->value("SELECT sessmgr.close($s)") if $expected eq '57014';
	}
}

# ---- not there

my $closed = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1');
my $port = $closed->sockport;
close($closed);
$psql->fails("SELECT sessmgr.scalar('host=127.0.0.1 port=$port', 'SELECT 1')", '08001', 'refused');
$psql->fails("SELECT sessmgr.scalar('host=/nowhere', 'SELECT 1')", '08001', 'no such socket');

my @held = map { psql($remote) } 1 .. 3;
$remote->safe_psql('postgres', 'CREATE ROLE few LOGIN CONNECTION LIMIT 1');
my $few = psql($remote, user => 'few');
my ($host, $rport) = ($remote->host, $remote->port);
$psql->fails("SELECT sessmgr.scalar('host=$host port=$rport user=few dbname=postgres', 'SELECT 1')",
	'08001', 'too many connections of the role');
like($psql->{last_err}, qr/too many connections for role "few"/, 'which is said');
$few->quit;
ok(wait_for(
		sub {
			$psql->run("SELECT sessmgr.scalar('host=$host port=$rport user=few dbname=postgres', 'SELECT 1')");
			$psql->{last_state} eq '';
		}), 'and works when there is room');
$_->quit foreach @held;
works_again('after all of it');
$psql->is(q{SELECT count(*) FROM sessmgr.connections WHERE state <> 'idle'}, 0, 'none is left checked out');
$psql->quit;

# ---- while a query runs here whose rows are long in coming

foreach my $call ("sessmgr.push('remote', '%s', 't')", "sessmgr.execute_many('remote', 'INSERT INTO t VALUES (\$1)', '%s')")
{
	my ($function) = $call =~ /(\w+)\(/;
	my $slow = sprintf($call, 'SELECT pg_sleep(600)::text');
	my $caller = psql($local);

	$caller->start("SELECT $slow");
	ok(wait_for(sub { remote_running($remote, $function eq 'push' ? 'COPY' : '%') || remote_backends($remote, "state LIKE 'idle in transaction%'") }), "$function: it runs");
	$remote->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sessmgr'});
	$caller->fails(undef, '08006', "$function: the target goes away");
	like($caller->{last_err}, qr/^DETAIL:  FATAL 57P01: terminating connection/m, '... and its last words are shown');
	$caller->is("SELECT sessmgr.scalar('remote', 'SELECT 1')", 1, "$function: and it goes on");
	# one that ends before anybody looks
	$caller->is('SELECT ' . sprintf($call, 'SELECT 1::text FROM pg_sleep(1.5)'), 1, "$function: nothing is wrong");

	$caller->start("SELECT $slow");
	wait_for(sub { remote_backends($remote, "state <> 'idle'") });
	$caller->kill_client;
	ok(wait_for(sub { !-e "/proc/$caller->{pid}" }), "$function: the client goes away");
	gone_soon($remote, '', "$function: and what it had over there");
}

$local->stop;
$remote->stop;
done_testing();

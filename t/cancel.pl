# Statements that are given up, by a timeout or a cancel, at each step of a
# statement.  The remote statement must end, and what is reported must be true.
# The end of the client or backend is in orphaned_work.pl.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my ($local, $remote) = new_pair();
new_server($local, $remote, 'limited', "statement_timeout '3s'");
$remote->safe_psql('postgres', 'CREATE TABLE t (id text, big text)');
my $admin = psql($local);
my $endless = 'SELECT count(*) FROM pg_sleep(600)';

# Cancels what $psql has running, once it shows up on the remote server.
sub cancel_when_running
{
	my ($psql, $text) = @_;
	ok(wait_for(sub { remote_running($remote, $text) }), "$text: runs there");
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
}

# After a cancel: it is gone there, and the connection is as good as before.
sub usable_again
{
	my ($psql, $text, $pid, $dburi) = @_;
	gone_soon($remote, $text, "$text: gone there");
	$psql->is("SELECT sessmgr.scalar('$dburi', 'SELECT pg_backend_pid()')",
		$pid, "$text: the same connection is in use again");
}

# ---- while the statement is executed

foreach my $how ('timeout', 'option', 'cancel')
{
	my $dburi = $how eq 'option' ? 'limited' : 'remote';
	my $psql = psql($local);
	my $pid = $psql->value("SELECT sessmgr.scalar('$dburi', 'SELECT pg_backend_pid()')");

	foreach my $kind ('call', 'session')
	{
		my $text = "executing_${how}_$kind";
		my $target = "'$dburi'";

		if ($kind eq 'session')
		{
			$psql->open('s', $dburi);
			$target = ":'s'::sessmgr.session";
			$psql->value("SELECT sessmgr.execute($target, 'INSERT INTO t VALUES (''$text'')')");
		}
		$psql->value("SET statement_timeout = '1s'") if $how eq 'timeout';
		$psql->start("SELECT sessmgr.execute($target, '$endless AS $text')");
		cancel_when_running($psql, $text) if $how eq 'cancel';
		$psql->fails(undef, '57014', "$text: canceled");
		$psql->value('RESET statement_timeout');
		if ($kind eq 'session')
		{
			$psql->fails("SELECT sessmgr.commit($target)", '25P02',
				"$text: the local abort has rolled back what an earlier transaction did");
			$psql->is("SELECT sessmgr.scalar($target, 'SELECT count(*) FROM t')", 0,
				"$text: the session is usable");
			$psql->value("SELECT sessmgr.close($target)");
		}
		usable_again($psql, $text, $pid, $dburi);
	}
	$psql->quit;
}

# ---- before the statement has begun: a server ignores a request to cancel while
# it waits for a message, so that another one must follow

foreach my $case (
	[ 'ROLLBACK', 'ROLLBACK', '' ],
	[ 'cancel', q{SELECT sessmgr.cancel(:'s')}, 't' ],
	[ 'execute_all', q{SELECT sqlstate FROM sessmgr.execute_all('{limited}', 'SELECT pg_sleep(600) /* ignored */')}, '57014' ])
{
	my ($name, $sql, $expected) = @$case;
	my $psql = psql($local);
	my $pid = $psql->value(q{SELECT sessmgr.scalar('limited', 'SELECT pg_backend_pid()')});

	if ($name ne 'execute_all')
	{
		$psql->value('BEGIN');
		$psql->open('s', 'limited', '{}');
		$psql->is(q{SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT pg_backend_pid()')}, $pid,
			"$name: the connection is in use");
	}
	# of one that is stopped, what is pending can be seen
	stop_process($pid);
	$psql->value(q{SELECT sessmgr.send(:'s', 'SELECT pg_sleep(600) /* ignored */')}) if $name ne 'execute_all';
	$psql->start($sql);
	ok( wait_for(
			sub {
				my ($pending) = slurp_file("/proc/$pid/status") =~ /^ShdPnd:\s*([0-9a-f]+)/m;
				hex($pending) & 1 << POSIX::SIGINT - 1;
			}),
		"$name: the request comes first");
	continue_process($pid);
	my ($out, $err) = $psql->finish;
	is($out, $expected, "$name: and is followed by another one") or diag($err);
	is($err, '', "$name: nothing is said of it");
	$psql->run('ROLLBACK');
	ok(!remote_running($remote, 'ignored'), "$name: the statement has ended");
	$psql->is(q{SELECT state, remote_pid FROM sessmgr.connections}, "idle|$pid", "$name: the connection is kept");
	$psql->quit;
}

# ---- while rows are received

{
	my $psql = psql($local);
	my $pid = $psql->value(q{SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')});
	my $query = q{SELECT count(*) FROM sessmgr.query('remote',
		'SELECT repeat(''x'', 100) AS %s FROM generate_series(1, 100000000)') AS (x text)};

	$psql->value("SET statement_timeout = '1s'");
	$psql->fails(sprintf($query, 'receiving_timeout'), '57014', 'receiving: timeout');
	$psql->value('RESET statement_timeout');
	usable_again($psql, 'receiving_timeout', $pid, 'remote');
	$psql->start(sprintf($query, 'receiving_cancel'));
	cancel_when_running($psql, 'receiving_cancel');
	$psql->fails(undef, '57014', 'receiving: canceled');
	usable_again($psql, 'receiving_cancel', $pid, 'remote');
	$psql->quit;
}

# ---- while a parameter is sent, more than the sockets hold

foreach my $kind ('call', 'session')
{
	my $psql = psql($local);
	my $pid = $psql->value(q{SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')});
	my $target = $kind eq 'call' ? q{'remote'} : q{:'s'::sessmgr.session};

	if ($kind eq 'session')
	{
		$psql->open('s', 'remote');
		$psql->value("SELECT sessmgr.execute($target, 'INSERT INTO t VALUES (''before'')')");
	}
	stop_process($pid);
	$psql->start("SELECT sessmgr.execute($target, 'INSERT INTO t VALUES (''sending'', \$1)', repeat('x', 30000000))");
	ok( wait_for(
			sub {
				$local->safe_psql('postgres',
					"SELECT wait_event_type FROM pg_stat_activity WHERE pid = $psql->{pid}") eq 'Extension';
			}),
		"sending, $kind: the sockets are full");
	$local->safe_psql('postgres', "SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', "sending, $kind: canceled, and surely without effect");
	continue_process($pid);
	ok(wait_for(sub { !grep { $_ == $pid } remote_backends($remote) }),
		"sending, $kind: the connection was dropped");
	$psql->is("SELECT sessmgr.scalar('remote', 'SELECT count(*) FROM t')", 0,
		"sending, $kind: no effect, and the target is usable");
	$psql->quit;
}

# ---- while a session is rolled back on a target that does not answer: that is
# given up together with its connection, long before cleanup_timeout

new_server($local, $remote, 'patient', "cleanup_timeout '10min'");
foreach my $case (
	[ rollback => q{SELECT sessmgr.rollback(:'s')} ],
	[ close => q{SELECT sessmgr.close(:'s')} ],
	[ reset => 'SELECT sessmgr.reset()' ],
	[ COMMIT => 'COMMIT' ])
{
	my ($name, $sql) = @$case;
	my $psql = psql($local);

	$psql->value('BEGIN');
	$psql->open('s', 'patient', '{}');
	$psql->value(q{SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO t VALUES (''ends'')')});
	my $pid = $psql->value('SELECT remote_pid FROM sessmgr.sessions');
	stop_process($pid);
	$psql->start($sql);
	ok( wait_for(
			sub {
				$admin->value(
					"SELECT wait_event_type FROM pg_stat_activity WHERE pid = $psql->{pid}") eq 'Extension';
			}),
		"$name: it waits");
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	my (undef, $err, $state) = $psql->finish;
	# the local COMMIT may not look for a cancel any more
	like($state, $name eq 'COMMIT' ? qr/^(?:57014)?$/ : qr/^57014$/, "$name: ends");
	$psql->run('ROLLBACK');
	$psql->is('SELECT count(*) FROM sessmgr.connections', 0, "$name: the connection was dropped");
	continue_process($pid);
	ok(wait_for(sub { !grep { $_ == $pid } remote_backends($remote) }), "$name: and ends there");
	is($remote->safe_psql('postgres', q{SELECT count(*) FROM t WHERE id = 'ends'}), 0, "$name: rolled back");
	$psql->quit;
}

# ---- while connecting

{
	my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1')
	  or die "could not listen: $!";
	my $port = $silent->sockport;
	my $uri = "postgresql://127.0.0.1:$port/postgres?sslmode=disable";
	my $psql = psql($local);

	$psql->value("SET statement_timeout = '1s'");
	$psql->fails("SELECT sessmgr.scalar('$uri', 'SELECT 1')", '57014', 'connecting: timeout');
	$psql->value('RESET statement_timeout');
	$psql->start("SELECT sessmgr.scalar('$uri', 'SELECT 1')");
	ok( wait_for(
			sub {
				$admin->value(
					"SELECT state FROM pg_stat_activity WHERE pid = $psql->{pid}") eq 'active';
			}),
		'connecting: it waits');
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', 'connecting: canceled');
	$psql->fails("SELECT sessmgr.scalar('$uri&connect_timeout=1', 'SELECT 1')",
		'08001', 'connecting: connect_timeout');
	$psql->is("SELECT count(*) FROM sessmgr.connections", 0, 'connecting: nothing is left');
	$psql->quit;
}

# ---- caught

{
	my $psql = psql($local);
	$psql->is(
		qq{
		CREATE FUNCTION caught() RETURNS text LANGUAGE plpgsql AS \$\$
		DECLARE
			s sessmgr.session := sessmgr.open((sessmgr.create_session('limited')).factory);
			savepoint int;
			result text := '';
		BEGIN
			PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES (''caught'')');
			savepoint := sessmgr.begin_nested(s);
			BEGIN
				PERFORM sessmgr.execute(s, '$endless');
			EXCEPTION WHEN query_canceled THEN
				result := result || 'canceled,';
			END;
			BEGIN
				PERFORM sessmgr.execute(s, 'SELECT');
			EXCEPTION WHEN in_failed_sql_transaction THEN
				result := result || 'failed,';
			END;
			PERFORM sessmgr.rollback_to(s, savepoint);
			PERFORM sessmgr.commit(s);
			BEGIN
				PERFORM sessmgr.execute('limited', '$endless');
			EXCEPTION WHEN query_canceled THEN
				result := result || 'canceled,';
			END;
			RETURN result || sessmgr.scalar('limited', 'SELECT count(*) FROM t');
		END \$\$;
		SELECT caught()},
		'canceled,failed,canceled,1', 'a cancel is caught; the session goes on from its savepoint');
	$psql->is('SELECT connects FROM sessmgr.engines', 1, 'caught: no connection was lost');
	$psql->quit;
	$remote->safe_psql('postgres', 'TRUNCATE t');
}

$local->stop;
$remote->stop;
done_testing();

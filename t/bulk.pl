# execute_many, pull and push between two servers: memory, cancels, timeouts,
# lost connections, encodings, another major version.
#
# With SESSMGR_OTHER_PG, the prefix of an installation of another major version
# of PostgreSQL, the last part uses a server of that.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my $shared = "shared_buffers = '16MB'\nwal_level = minimal\nmax_wal_senders = 0\n";
my ($local, $remote) = new_pair(
	local => $shared,
	remote => $shared);
new_server($local, $remote, 'limited', "statement_timeout '1s'");
$_->safe_psql('postgres', 'CREATE TABLE t (i int, v text)') foreach $local, $remote;
my $psql = psql($local);
my $admin = psql($local);
my $there = psql($remote);

# The call of a bulk function on a target.
sub call
{
	my ($function, $target, $query) = @_;
	return "SELECT sessmgr.pull($target, \$q\$$query\$q\$, 't')" if $function eq 'pull';
	return "SELECT sessmgr.push($target, \$q\$$query\$q\$, 't')" if $function eq 'push';
	return "SELECT sessmgr.execute_many($target, 'INSERT INTO t VALUES (\$1, \$2)', \$q\$$query\$q\$)";
}

# A query for so many rows, which come at once: a function in FROM is run to its
# end first.
sub many { return "SELECT generate_series(1, $_[0]), 'some text of no great length'"; }

# How many rows have come, here and there
sub counts
{
	return $admin->value('SELECT count(*) FROM t') . ' ' . $there->value('SELECT count(*) FROM t');
}

# The remote backend at work
sub worker
{
	my @pids;
	wait_for(sub { @pids = remote_backends($remote, q{state = 'active' AND (query LIKE 'COPY%' OR query LIKE 'INSERT INTO t VALUES ($1%')}) });
	return $pids[0];
}

my @functions = ('pull', 'push', 'execute_many');

# ---- constant memory

foreach my $function (@functions)
{
	my $n = $function eq 'execute_many' ? 200_000 : 1_000_000;

	$psql->is(call($function, q('remote'), many(50_000)), 50_000, "$function: 50,000 rows");
	my $before = rss_kb($psql->{pid});
	my $remote_before = rss_kb((remote_backends($remote))[0]);
	$psql->is(call($function, q('remote'), many($n)), $n, "$function: $n rows");
	my $growth = rss_kb($psql->{pid}) - $before;
	my $remote_growth = rss_kb((remote_backends($remote))[0]) - $remote_before;
	note("$function: grew by $growth kB here, $remote_growth kB there");
	grew_less($growth, 32 * 1024, "$function: memory is constant");
	$_->value('TRUNCATE t') foreach $psql, $there;
}

# ---- one row of many megabytes is not slow, nor does it stay in memory

foreach my $function ('pull', 'push')
{
	my $before = rss_kb($psql->{pid});
	$psql->is(call($function, q('remote'), q(SELECT i, repeat('x', 100000000) FROM generate_series(1, 2) i)),
		2, "$function: two rows of 100 MB");
	note(sprintf('%s: %.1f s, grew by %d kB', $function, $psql->{seconds}, rss_kb($psql->{pid}) - $before));
	grew_less(rss_kb($psql->{pid}) - $before, 200 * 1024, "$function: and is given back");
	$_->value('TRUNCATE t') foreach $psql, $there;
}

# ---- progress, as other backends see it

foreach my $function ('pull', 'push')
{
	my $command = $function eq 'pull' ? 'COPY FROM' : 'COPY TO';

	$psql->start(call($function, q('remote'), many('1000000000')));
	ok( wait_for(
			sub {
				$admin->value("SELECT count(*) FROM pg_stat_progress_copy WHERE pid = $psql->{pid}
					AND command = '$command' AND tuples_processed > 10000 AND bytes_processed > 100000");
			}),
		"$function: shows its progress");
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', "$function: is canceled");
	$admin->is('SELECT count(*) FROM pg_stat_progress_copy', 0, "$function: no progress is left");
	gone_soon($remote, 'COPY', "$function: gone there");
	is(counts(), '0 0', "$function: nothing has remained");
}

# ---- given up in the middle

foreach my $function (@functions)
{
	my $endless = many('1000000000');
	my $pid = $psql->value(q(SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')));

	# a cancel, in a one-liner and in a session
	$psql->start(call($function, q('remote'), $endless));
	ok(worker(), "$function: runs");
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', "$function: canceled");
	is(counts(), '0 0', "$function, canceled: nothing has remained");
	$psql->is(q(SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')),
		$pid, "$function, canceled: the connection is in use again");

	$psql->open('s', 'remote');
	$psql->value(q(SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO t VALUES (0)')));
	$psql->value(q(SELECT sessmgr.begin_nested(:'s') AS p \gset));
	$psql->start('BEGIN; SAVEPOINT a; ' . call($function, q(:'s'::sessmgr.session), $endless));
	ok(worker(), "$function: runs in a session");
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', "$function: canceled in a session");
	$psql->run('ROLLBACK TO a');
	$psql->fails(call($function, q(:'s'::sessmgr.session), many(1)),
		'25P02', "$function: the transaction has failed");
	$psql->run('ROLLBACK TO a');
	$psql->value(q(SELECT sessmgr.rollback_to(:'s', :p)));
	$psql->is(call($function, q(:'s'::sessmgr.session), many(1)), 1, "$function: goes on from its savepoint");
	$psql->value(q(SELECT sessmgr.commit(:'s'); SELECT sessmgr.close(:'s'); ROLLBACK));
	is(counts(), $function eq 'pull' ? '0 1' : '0 2', "$function: what was committed is there");
	$there->value('TRUNCATE t');

	# its deadline, while rows flow and while the target is at work
	$psql->fails(call($function, q('limited'), $endless), '57014', "$function: option statement_timeout");
	cmp_ok($psql->{seconds}, '<', 30, "$function: in time");
	$psql->value("SET statement_timeout = '1s'");
	$psql->fails(call($function, q('remote'), $endless), '57014', "$function: setting statement_timeout");
	$psql->value('RESET statement_timeout');
	is(counts(), '0 0', "$function, timeout: nothing has remained");

	# an error of this side in the middle
	my $bad = q(SELECT i, (1 / (400000 - i))::text FROM (SELECT generate_series(1, 1000000000) AS i) n);
	$psql->value(q(ALTER TABLE t ADD CHECK (i < 400000))) if $function eq 'pull';
	$psql->fails(call($function, q('remote'), $function eq 'pull' ? $endless : $bad),
		$function eq 'pull' ? '23514' : '22012', "$function: a local error in the middle");
	is(counts(), '0 0', "$function, local error: nothing has remained");
	$psql->value(q(ALTER TABLE t DROP CONSTRAINT t_i_check)) if $function eq 'pull';

	# an error of the other side in the middle
	$there->value(q(ALTER TABLE t ADD CHECK (i < 400000)));
	$psql->fails(call($function, q('remote'), $function eq 'pull' ? $bad : many(500_000)),
		$function eq 'pull' ? '22012' : '23514', "$function: a remote error in the middle");
	like($psql->{last_err}, qr/row 400000 of the parameter query/, "$function: tells the row")
	  if $function eq 'execute_many';
	$there->value(q(ALTER TABLE t DROP CONSTRAINT t_i_check));
	is(counts(), '0 0', "$function, remote error: nothing has remained");
	$psql->is(q(SELECT count(*) FROM sessmgr.connections WHERE state <> 'idle'), 0, "$function: all is given back");

	# the remote backend ends
	$psql->start(call($function, q('remote'), $endless));
	$pid = worker();
	$there->value("SELECT pg_terminate_backend($pid, 60000)");
	$psql->finish;
	like($psql->{last_state}, qr/^(?:57P01|08006)$/, "$function: the remote backend is terminated");
	is(counts(), '0 0', "$function, terminated: nothing has remained");
	$psql->is(call($function, q('remote'), many(3)), 3, "$function: works again");
	$_->value('TRUNCATE t') foreach $psql, $there;

	# the remote backend stops
	$psql->start(call($function, q('remote'), $endless));
	$pid = worker();
	stop_process($pid);
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', "$function: canceled while the remote backend is stopped");
	continue_process($pid);
	wait_for(sub { $there->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") == 0 });
	is(counts(), '0 0', "$function, stopped: nothing has remained");

	# the local backend is terminated
	my $victim = psql($local);
	$victim->start(call($function, q('remote'), $endless));
	worker();
	$admin->value("SELECT pg_terminate_backend($victim->{pid})");
	$victim->fails(undef, '57P01', "$function: the local backend is terminated");
	ok(wait_for(sub { !remote_backends($remote, 'xact_start IS NOT NULL') }), "$function: nothing runs there");
	is(counts(), '0 0', "$function, terminated here: nothing has remained");
	$victim->quit;
}

# ---- an execution on the target that does not read is canceled, too

$there->value(q{
	CREATE TABLE slow (i int);
	CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$;
	CREATE TRIGGER sleep BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION sleep()});
foreach my $call (
	q(SELECT sessmgr.push('remote', 'SELECT 1 FROM generate_series(1, 1000000)', 'slow')),
	q(SELECT sessmgr.execute_many('remote', 'INSERT INTO slow VALUES ($1)', 'SELECT 1 FROM generate_series(1, 1000000)')),
	q(SELECT sessmgr.pull('remote', 'SELECT 1, NULL FROM pg_sleep(600)', 't')))
{
	my $pid = $psql->value(q(SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')));
	$psql->start($call);
	ok( wait_for(sub { remote_backends($remote, "wait_event = 'PgSleep'") }), 'sleeps there');
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', 'canceled while the target sleeps');
	ok(wait_for(sub { !remote_backends($remote, "wait_event = 'PgSleep'") }), 'it sleeps no longer');
	$psql->is(q(SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')), $pid, 'the connection is in use again');
}

# ---- the connection is cut

my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1') or die "could not listen: $!";
my $uri = 'postgresql://127.0.0.1:' . $listener->sockport . '/postgres?sslmode=disable&gssencmode=disable';

# Passes everything on for one connection, until it is killed.
sub pass_on
{
	my ($client) = @_;
	my $server = IO::Socket::UNIX->new(Peer => $remote->host . '/.s.PGSQL.' . $remote->port) or return;
	my $select = IO::Select->new($client, $server);
	while (1)
	{
		foreach my $from ($select->can_read)
		{
			my $to = $from == $client ? $server : $client;
			my $n = sysread($from, my $data, 65536) or return;
			while (length($data)) { substr($data, 0, syswrite($to, $data) // return, ''); }
		}
	}
}

foreach my $function (@functions)
{
	my $proxy = fork();
	die "could not fork: $!" unless defined $proxy;
	if ($proxy == 0)
	{
		$SIG{PIPE} = 'IGNORE';
		pass_on($listener->accept);
		POSIX::_exit(0);
	}
	$psql->start(call($function, "'$uri'", many('1000000000')));
	ok(worker(), "$function: runs through the proxy");
	sleep(1);
	kill('KILL', $proxy);
	waitpid($proxy, 0);
	$psql->fails(undef, '08006', "$function: the connection is cut");
	ok(wait_for(sub { !remote_backends($remote, 'xact_start IS NOT NULL') }), "$function, cut: nothing runs there");
	is(counts(), '0 0', "$function, cut: nothing has remained");
	$psql->value('SELECT sessmgr.reset()');
}

# ---- two_phase and joined

$_->append_conf('postgresql.conf', 'max_prepared_transactions = 10') foreach $remote;
$_->quit foreach $psql, $there;
$remote->restart;
($psql, $there) = (psql($local), psql($remote));
foreach my $mode ('joined', 'two_phase')
{
	foreach my $end ('COMMIT', 'ROLLBACK')
	{
		$psql->value('BEGIN');
		$psql->open('s', 'remote', qq({"transaction": "$mode"}));
		$psql->value(call('push', q(:'s'::sessmgr.session), many(3)));
		$psql->value(call('execute_many', q(:'s'::sessmgr.session), many(4)));
		$psql->value(q(SELECT sessmgr.pull(:'s'::sessmgr.session, 'SELECT * FROM t', 't')));
		$psql->value($end);
		is(counts(), $end eq 'COMMIT' ? '7 7' : '0 0', "$mode: $end");
		$_->value('TRUNCATE t') foreach $psql, $there;
	}
}

# ---- encodings

$local->safe_psql('postgres', q(CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0));
$remote->safe_psql('postgres', q(CREATE DATABASE utf ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0));
$local->safe_psql('latin', q(CREATE EXTENSION sessmgr; CREATE TABLE t (i int, v text)));
$remote->safe_psql('utf', q(CREATE TABLE t (i int, v text)));
my ($host, $port) = ($remote->host, $remote->port);
$local->safe_psql('latin', qq{
	CREATE SERVER remote FOREIGN DATA WRAPPER sessmgr OPTIONS (host '$host', port '$port', dbname 'utf');
	CREATE USER MAPPING FOR CURRENT_USER SERVER remote});
my $latin = psql($local, db => 'latin');
foreach my $client ('LATIN1', 'UTF8')
{
	$latin->value("SET client_encoding = '$client'");
	$latin->value(q(SELECT sessmgr.push('remote', 'SELECT 1, chr(228)', 't')));
	$latin->value(q(SELECT sessmgr.execute_many('remote', 'INSERT INTO t VALUES ($1, $2)', 'SELECT 2, chr(228)')));
	is($remote->safe_psql('utf', q(SELECT string_agg(i || ' ' || ascii(v), ', ' ORDER BY i) FROM t)),
		'1 228, 2 228', "LATIN1 to UTF8, client $client");
	$latin->value(q(SELECT sessmgr.pull('remote', 'SELECT * FROM t', 't')));
	$latin->is(q(SELECT string_agg(i || ' ' || ascii(v), ', ' ORDER BY i) FROM t),
		'1 228, 2 228', "UTF8 to LATIN1, client $client");
	$latin->fails(q(SELECT sessmgr.pull('remote', 'SELECT 3, chr(8364)', 't')),
		'22P05', "a character that LATIN1 does not have, client $client");
	$latin->value('TRUNCATE t');
	$remote->safe_psql('utf', 'TRUNCATE t');
}
$latin->quit;

# ---- another major version

SKIP:
{
	my $prefix = $ENV{SESSMGR_OTHER_PG};
	skip('set SESSMGR_OTHER_PG to the directory that has bin/ of another major version', 1) unless $prefix;
	my $other = PostgreSQL::Test::Cluster->new('other', install_path => $prefix);
	$other->init;
	$other->append_conf('postgresql.conf', "fsync = off\n");
	$other->start;
	new_server($local, $other, 'other', "echo 'true'");
	my $types = 'b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, t text, v varchar(9), c char(9), '
	  . 'y bytea, d date, ts timestamp, tz timestamptz, ti time, u uuid, j json, jb jsonb, ip inet, a int[], ta text[], '
	  . 'r int4range, bi bit(3), vb varbit, pt point, o oid, na name, lsn pg_lsn, tv tsvector';
	my $value = q~(true, 1, 2, 3, 1.5, 2.5, 12345.6789, 'text', 'varchar', 'char', '\x00ff', '2024-02-29',
		'2024-02-29 12:00', '2024-02-29 12:00+00', '12:34:56.789', '0f7b5a3c-0000-4000-8000-000000000001',
		'{"a": [1]}', '{"b": null}', '10.0.0.0/8', '{1,NULL,3}', '{a,"b c",NULL}', '[1,5)', '101', '1',
		'(1,2)', 4294967295, 'name', '16/B374D848', 'a:1 b:2')~;
	$_->safe_psql('postgres', "CREATE TABLE every ($types)") foreach $local, $other;
	$local->safe_psql('postgres', 'INSERT INTO every VALUES ' . $value);
	$psql->run(q(SELECT sessmgr.push('other', 'SELECT * FROM every', 'every')));
	like($psql->{last_err}, qr/FORMAT binary/, 'push to another major version is binary');
	$psql->run(q(SELECT sessmgr.pull('other', 'SELECT * FROM every', 'every')));
	like($psql->{last_err}, qr/FORMAT binary/, 'pull from another major version is binary');
	$psql->is(q(SELECT count(*), count(DISTINCT every::text) FROM every), '2|1', 'and every type came back as it was');
	$other->stop;
}

$_->quit foreach $psql, $admin, $there;
$local->stop;
$remote->stop;
done_testing();

# stream between two servers: memory, early ends, cancels, timeouts, lost
# connections, and that nothing is left behind, here or there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my $shared = "shared_buffers = '16MB'\nwal_level = minimal\nmax_wal_senders = 0\n";
my ($local, $remote) = new_pair(
	local => $shared . "work_mem = '1MB'\nlog_temp_files = 0\ndeadlock_timeout = '200ms'\n",
	remote => $shared . "max_prepared_transactions = 10\n",
	options => "cleanup_timeout '3s'");
new_server($local, $remote, 'limited', "statement_timeout '1s', cleanup_timeout '3s'");
my $psql = psql($local);
my $admin = psql($local);
my $there = psql($remote);
$there->value('CREATE TABLE t AS SELECT i FROM generate_series(1, 100000) i');

my $busy = q(SELECT count(*) FROM sessmgr.connections WHERE state <> 'idle');

# A stream of i and, if there is one, t, as it stands in FROM.
sub stream
{
	my ($target, $query) = @_;
	return "sessmgr.stream($target, \$q\$$query\$q\$) AS s(i int, t text)";
}

# So many rows, which are made as they are sent (a function in FROM would be run
# to its end first).
sub many { return "SELECT generate_series(1, $_[0]), 'some text of no great length'"; }

my $session = q(:'s'::sessmgr.session);
my %target = ('one-liner' => q('remote'), 'session' => $session);
my @kinds = ('one-liner', 'session');

# A transaction there that goes on
sub open_session
{
	$psql->open('s', 'remote', $_[0]);
	$psql->value(q(SELECT sessmgr.begin(:'s')));
}

sub close_session { $psql->value(q(SELECT sessmgr.close(:'s'))); }

# Nothing of a stream goes on there, nor waits for more
sub nothing_there
{
	my ($name) = @_;
	ok(wait_for(sub { !remote_backends($remote, q(state <> 'idle')) }), "$name: nothing goes on there");
}

# Waits until a stream is at work there, and not only the transaction that it is
# in: what comes next is for it.  Returns the process.
sub at_work
{
	my ($name) = @_;
	my @pids;
	ok( wait_for(
			sub {
				@pids = remote_backends($remote,
					q(state <> 'idle' AND (query LIKE '%generate_series%' OR query LIKE 'FETCH%' OR query LIKE '%pg_sleep%')));
			}),
		"$name: runs");
	return $pids[0];
}

# ---- constant memory, here and there, and no temporary files

foreach my $kind (@kinds)
{
	open_session() if $kind eq 'session';
	$psql->is('SELECT count(*) FROM ' . stream($target{$kind}, many(100_000)), 100_000, "$kind: 100,000 rows");
	my $before = rss_kb($psql->{pid});
	my $remote_before = rss_kb((remote_backends($remote))[0]);
	my $offset = -s $local->logfile;
	$psql->is('SELECT count(*) FROM ' . stream($target{$kind}, many(2_000_000)), 2_000_000, "$kind: 2,000,000 rows");
	my $growth = rss_kb($psql->{pid}) - $before;
	my $remote_growth = rss_kb((remote_backends($remote))[0]) - $remote_before;
	note("$kind: grew by $growth kB here, $remote_growth kB there");
	grew_less($growth, 16 * 1024, "$kind: memory is constant");
	grew_less($remote_growth, 16 * 1024, "$kind: there, too");
	unlike(log_since($local, $offset), qr/temporary file/, "$kind: no temporary files");

	# rows of a megabyte
	$before = rss_kb($psql->{pid});
	$psql->is('SELECT sum(length(t)) FROM ' . stream($target{$kind}, q(SELECT i, repeat('x', 1000000) FROM generate_series(1, 200) i)),
		200_000_000, "$kind: rows of a megabyte");
	$growth = rss_kb($psql->{pid}) - $before;
	note("$kind: grew by $growth kB");
	grew_less($growth, 100 * 1024, "$kind: not all of them are kept");
	close_session() if $kind eq 'session';
}

# put aside, they go to the disk
open_session();
$psql->value(q(
	CREATE FUNCTION put_aside(s sessmgr.session) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		r record;
		n bigint := 0;
	BEGIN
		FOR r IN SELECT * FROM sessmgr.stream(s, 'SELECT generate_series(1, 300000), ''some text of no great length''') AS s(i int, t text) LOOP
			n := n + 1;
			IF n = 5 THEN PERFORM sessmgr.execute(s, 'SELECT 1'); END IF;
			IF r.i <> n THEN RAISE 'row % is %', n, r.i; END IF;
		END LOOP;
		RETURN n;
	END $$));
my $before = rss_kb($psql->{pid});
my $offset = -s $local->logfile;
$psql->is(qq(SELECT put_aside($session)), 300_000, 'put aside: all rows are there');
grew_less(rss_kb($psql->{pid}) - $before, 16 * 1024, 'put aside: memory is bounded');
like(log_since($local, $offset), qr/temporary file/, 'put aside: in a temporary file');
is(join(' ', glob($local->data_dir . '/base/pgsql_tmp/*')), '', 'put aside: which is gone');
close_session();

# ---- an early end

my $pid = $psql->value(q(SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')));
$psql->is('SELECT count(*) FROM (SELECT * FROM ' . stream(q('remote'), many('1000000000')) . ' LIMIT 10) x', 10, 'the first ten of many');
note(sprintf('%.1f ms', 1000 * $psql->{seconds}));
nothing_there('ten of many');
$psql->is(q(SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')), $pid, 'ten of many: the connection is in use again');
$psql->is('SELECT i FROM ' . stream(q('remote'), many(12)) . ' OFFSET 5 LIMIT 1', 6, 'one of twelve');
$psql->is(q(SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')), $pid, 'one of twelve: the connection is in use again');
open_session();
$psql->is('SELECT count(*) FROM (SELECT * FROM ' . stream($session, many('1000000000')) . ' LIMIT 10) x', 10, 'in a session');
$psql->is(q(SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) FROM pg_cursors WHERE name <> ''''')), 0, 'in a session: its cursor is closed');
$psql->is('SELECT count(*) FROM (SELECT * FROM ' . stream($session, many('1000000000')) . ' LIMIT 10) x', 10, 'in a session, again');
$psql->value(q(SELECT sessmgr.commit(:'s')));
nothing_there('in a session, after commit');
close_session();

# a slow target is not waited for when its rows are not wanted any more
$psql->is('SELECT i FROM ' . stream(q('remote'), q(SELECT i, pg_sleep(CASE WHEN i > 1000 THEN 600 ELSE 0 END)::text FROM generate_series(1, 2000) i)) . ' LIMIT 1',
	1, 'the target has begun to sleep');
cmp_ok($psql->{seconds}, '<', 60, 'and is not waited for');
nothing_there('a slow target');

# ---- given up in the middle

foreach my $kind (@kinds)
{
	my $query = 'SELECT sum(i) FROM ' . stream($target{$kind}, many('1000000000'));
	my $sleep = 'SELECT sum(i) FROM ' . stream($target{$kind}, 'SELECT 1, NULL FROM pg_sleep(600)');
	my $begin = sub { open_session() if $kind eq 'session'; };
	my $end = sub { close_session() if $kind eq 'session'; };

	# a cancel while rows flow, and while the target is at work
	foreach my $statement ($query, $sleep)
	{
		$begin->();
		$psql->start($statement);
		at_work("$kind, canceled");
		$admin->value("SELECT pg_cancel_backend($psql->{pid})");
		$psql->fails(undef, '57014', "$kind: canceled");
		$end->();
		nothing_there("$kind, canceled");
		$psql->is($busy, 0, "$kind, canceled: all is given back");
	}

	# what the target takes counts for the option, what the reader takes does not
	my $limited = $kind eq 'session' ? $session : q('limited');
	$psql->open('s', 'limited') if $kind eq 'session';
	$psql->is('SELECT count(*) FROM (SELECT pg_sleep(0.02) FROM ' . stream($limited, many(100)) . ') x', 100, "$kind: a slow reader is no timeout");
	$psql->fails('SELECT sum(i) FROM ' . stream($limited, 'SELECT 1, NULL FROM pg_sleep(600)'), '57014', "$kind: option statement_timeout");
	cmp_ok($psql->{seconds}, '<', 60, "$kind: in time");
	$end->();
	nothing_there("$kind, timeout");

	# the setting counts all
	$begin->();
	$psql->value("SET statement_timeout = '1s'");
	$psql->fails($query, '57014', "$kind: setting statement_timeout");
	$psql->value('RESET statement_timeout');
	$end->();
	nothing_there("$kind, setting");

	# an error of this side, an error of the other
	$begin->();
	$psql->fails('SELECT sum(1 / (100000 - i)) FROM ' . stream($target{$kind}, many('1000000000')), '22012', "$kind: a local error");
	$psql->value("SELECT sessmgr.rollback($session)") if $kind eq 'session';
	$psql->is('SELECT count(*) FROM ' . stream($target{$kind}, many(5)), 5, "$kind, local error: goes on");
	$psql->fails('SELECT sum(i) FROM ' . stream($target{$kind}, q(SELECT 1 / (100000 - i), NULL FROM (SELECT generate_series(1, 1000000000) AS i) x)),
		'22012', "$kind: a remote error");
	$end->();
	nothing_there("$kind, errors");
	$psql->is($busy, 0, "$kind, errors: all is given back");

	# the remote backend ends, or stops
	$begin->();
	$psql->start($query);
	my $pid = at_work("$kind, terminated");
	$there->value("SELECT pg_terminate_backend($pid)");
	$psql->finish;
	like($psql->{last_state}, qr/^(?:57P01|08006)$/, "$kind: the remote backend is terminated");
	$end->();
	$psql->is($busy, 0, "$kind, terminated: all is given back");

	$begin->();
	$psql->start($query);
	$pid = at_work("$kind, stopped");
	stop_process($pid);
	$admin->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', "$kind: canceled while the remote backend is stopped");
	continue_process($pid);
	$end->();
	nothing_there("$kind, stopped");
	$psql->is($busy, 0, "$kind, stopped: all is given back");

	# the local backend is terminated, or ends with an open cursor
	my $victim = psql($local);
	$victim->open('s', 'remote') if $kind eq 'session';
	$victim->start($query);
	at_work("$kind, terminated here");
	$admin->value("SELECT pg_terminate_backend($victim->{pid})");
	$victim->fails(undef, '57P01', "$kind: the local backend is terminated");
	nothing_there("$kind, terminated here");
	$victim->quit;

	$victim = psql($local);
	$victim->open('s', 'remote') if $kind eq 'session';
	$victim->value("BEGIN; DECLARE c CURSOR FOR SELECT i FROM " . stream($target{$kind}, many('1000000000')));
	$victim->is('FETCH 2 FROM c', "1\n2", "$kind: a cursor");
	$victim->quit;
	nothing_there("$kind, the backend has ended");

	# 100 early ends leave nothing
	$begin->();
	$psql->value('SELECT i FROM ' . stream($target{$kind}, many(1000)) . ' LIMIT 1') for 1 .. 3;
	my $descriptors = descriptors($psql->{pid});
	my $rss = rss_kb($psql->{pid});
	$psql->value(
		'DO $$ DECLARE n int; BEGIN FOR k IN 1 .. 100 LOOP SELECT i INTO n FROM '
		  . stream($kind eq 'session' ? q(current_setting('my.s')::sessmgr.session) : $target{$kind}, many(100_000))
		  . '; END LOOP; END $$')
	  if $kind ne 'session' || $psql->value(q(SELECT set_config('my.s', :'s', false)));
	is(descriptors($psql->{pid}), $descriptors, "$kind: no descriptor is left");
	grew_less(rss_kb($psql->{pid}) - $rss, 8 * 1024, "$kind: nor memory");
	$end->();
	nothing_there("$kind, early ends");
}

# ---- a connection that is lost between two rows

$psql->value('BEGIN; DECLARE c CURSOR FOR SELECT i FROM ' . stream(q('remote'), many('1000000000')));
$psql->is('FETCH 1 FROM c', 1, 'a cursor');
$there->value("SELECT pg_terminate_backend($_)") foreach remote_backends($remote, q(state <> 'idle'));
$psql->run('MOVE ALL FROM c');
like($psql->{last_state}, qr/^(?:57P01|08006)$/, 'lost between two rows');
$psql->value('ROLLBACK');
open_session();
$psql->value("BEGIN; DECLARE c CURSOR FOR SELECT i FROM " . stream($session, many('1000000000')));
$psql->is('FETCH 1 FROM c', 1, 'a cursor in a session');
$there->value("SELECT pg_terminate_backend($_)") foreach remote_backends($remote, q(state <> 'idle'));
$psql->run('MOVE ALL FROM c');
like($psql->{last_state}, qr/^(?:57P01|08006)$/, 'in a session: lost between two rows');
$psql->value('ROLLBACK');
close_session();
$psql->is($busy, 0, 'lost: all is given back');

# ---- it is read only, and one transaction

$psql->is('SELECT count(DISTINCT i) FROM ' . stream(q('remote'), q(SELECT i, txid_current_if_assigned()::text FROM t)), 100_000, 'a table');
$psql->is(q(SELECT * FROM sessmgr.stream('remote', $$SELECT current_setting('transaction_read_only')$$) AS s(t text)), 'on', 'it is read only');
$psql->is(q(SELECT sessmgr.scalar('remote', $$SELECT current_setting('transaction_read_only')$$)), 'off', 'and only it');

# ---- bound to the local transaction

foreach my $mode ('joined', 'two_phase')
{
	$there->value('CREATE TABLE written (i int)');
	$psql->value('CREATE TABLE IF NOT EXISTS here (i int)');
	$psql->value('BEGIN; INSERT INTO here VALUES (1)');
	$psql->open('s', 'remote', qq({"transaction": "$mode"}));
	$psql->value(q(SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO written VALUES (1)')));
	$psql->value("DECLARE c CURSOR FOR SELECT i FROM " . stream($session, many('1000000000')));
	$psql->is('FETCH 1 FROM c', 1, "$mode: a cursor is open");
	$psql->run('COMMIT');
	is($psql->{last_state}, '', "$mode: commits");
	$there->is('SELECT count(*) FROM written', 1, "$mode: has committed");
	nothing_there($mode);
	$there->value('DROP TABLE written');
}

# what is fetched ahead, and wanted no more, delays a commit no longer than that may take
new_server($local, $remote, 'bound', "transaction 'joined', commit_timeout '1s', cleanup_timeout '3s'");
my $slow = q(SELECT i, CASE WHEN i > 20 THEN pg_sleep(600)::text END FROM generate_series(1, 100) i);
$psql->is('BEGIN; SELECT i FROM ' . stream(q('bound'), $slow) . ' LIMIT 1', 1, 'one row of a slow stream');
$psql->fails('COMMIT', '57014', 'commit_timeout counts');
nothing_there('commit_timeout');
# and is canceled by a rollback
$psql->is('BEGIN; SELECT i FROM ' . stream(q('bound'), $slow) . ' LIMIT 1', 1, 'one row of a slow stream, again');
$psql->value('ROLLBACK');
cmp_ok($psql->{seconds}, '<', 60, 'a rollback does not wait for it');
nothing_there('rollback');

# ---- nobody waits for ever for what the same backend holds

my ($host, $port) = ($local->host, $local->port);
$local->safe_psql('postgres', qq{
	CREATE TABLE mine AS SELECT i FROM generate_series(1, 1000000) i;
	CREATE SERVER self FOREIGN DATA WRAPPER sessmgr OPTIONS (host '$host', port '$port', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER self});
$psql->fails(q(BEGIN; LOCK TABLE mine; SELECT count(*) FROM sessmgr.stream('self', 'SELECT i FROM mine') AS s(i int)),
	'40P01', 'a stream that waits for its own backend is a deadlock');
$psql->value('ROLLBACK');
$psql->value(q(BEGIN; DECLARE c CURSOR FOR SELECT i FROM sessmgr.stream('self', 'SELECT i FROM mine') AS s(i int)));
like($psql->value('FETCH 1 FROM c'), qr/^\d+$/, 'a stream that is open');
$psql->fails(q(SELECT sessmgr.execute('self', 'ALTER TABLE mine ADD j int')),
	'40P01', 'to wait for one that waits to be read is a deadlock');
$psql->value('ROLLBACK');
$psql->open('s', 'self');
$psql->value(q(SELECT sessmgr.execute(:'s'::sessmgr.session, 'LOCK TABLE mine')));
$psql->value(q(BEGIN; DECLARE c CURSOR FOR SELECT i FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT i FROM mine') AS s(i int)));
like($psql->value('FETCH 1 FROM c'), qr/^\d+$/, 'a stream that is open in a session');
$psql->fails(q(SELECT sessmgr.execute('self', 'DELETE FROM mine')), '40P01', 'the same in a session');
$psql->value('ROLLBACK');
close_session();

$_->quit foreach $psql, $admin, $there;
done_testing();

# On another cluster, a connection of a backend that waits for what another
# connection of the same backend has locked waits for ever: a deadlock, which is
# found by asking there.  Every other wait is left alone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;
use Time::HiRes qw(time);

# deadlock_timeout in seconds, and what a noisy machine may need beyond it and the
# second that finding may take
my $quick = 0.2;
my $slack = 8;

my ($local, $remote) = new_pair(
	local => "max_prepared_transactions = 5\n",
	remote => "listen_addresses = '127.0.0.1'\nmax_prepared_transactions = 5\n");
my ($host, $port) = ($remote->host, $remote->port);
$remote->safe_psql('postgres', q{
	CREATE TABLE acc (id int PRIMARY KEY, v int NOT NULL DEFAULT 0);
	INSERT INTO acc SELECT generate_series(1, 50);
	CREATE TABLE part (id int REFERENCES acc DEFERRABLE INITIALLY DEFERRED);
	CREATE ROLE app LOGIN;
	GRANT SELECT, UPDATE ON acc TO app});
new_server($local, $remote, 'joined', q{transaction 'joined'});
new_server($local, $remote, 'two_phase', q{transaction 'two_phase'});
new_server($local, $remote, 'small', q{pool_size '2', max_overflow '0'});
$local->safe_psql('postgres', qq{
	CREATE TABLE here (id int PRIMARY KEY, v int);
	CREATE SERVER by_tcp FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER by_tcp;
	CREATE SERVER as_app FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER as_app OPTIONS (user 'app')});

my $there = psql($remote);
my $admin = psql($remote);

sub update { return "UPDATE acc SET v = v + 1 WHERE id = $_[0]"; }
sub through { return "SELECT sessmgr.execute('$_[0]', '$_[1]')"; }
sub in_session { return "SELECT sessmgr.execute(:'$_[0]'::sessmgr.session, '$_[1]')"; }

# A psql whose waits are looked at soon, with sessions that are held.
sub quick
{
	my (%sessions) = @_;
	my $psql = psql($local);
	$psql->value("SET deadlock_timeout = '${quick}s'");
	$psql->value("SELECT sessmgr.session_factory('$sessions{$_}', '{\"hold\": true, \"transaction\": \"manual\"}') AS $_ \\gset")
	  foreach sort keys %sessions;
	return $psql;
}

# backends of the remote server that are clients' but those of this test itself
sub backends
{
	return $admin->value(qq{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
		AND pid NOT IN ($there->{pid}, $admin->{pid})});
}

# Is the psql left with as many connections as it knows of?
sub nothing_left
{
	my ($psql, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$psql->value('ROLLBACK');
	my $known = $psql->value('SELECT count(*) FROM sessmgr.connections');
	ok(wait_for(sub { backends() == $known }), "$name: no connection is left behind");
}

sub deadlock
{
	my ($psql, $sql, $name, $since) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$psql->fails($sql, '40P01', $name);
	like($psql->{last_err}, qr/deadlock detected while waiting for/, "$name: found here");
	like($psql->{last_err}, qr/waits, directly or through others, for process \d+/, "$name: the detail");
	my $seconds = time() - ($since // $psql->{started});
	note(sprintf('%s: after %.1f s', $name, $seconds));
	cmp_ok($seconds, '<', $quick + 1 + $slack, "$name: in time");
	nothing_left($psql, $name);
}

sub quit { $_[0]->run('\q'); ok(wait_for(sub { backends() == 0 }), 'all is closed'); }

sub waits
{
	my ($text, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok( wait_for(sub { $admin->value(qq{SELECT count(*) FROM pg_stat_activity
			WHERE cardinality(pg_blocking_pids(pid)) > 0 AND query LIKE '%$text%'}) > 0 }),
		$name);
}

# ---- two sessions of one engine, and a one-liner
{
	my $psql = quick(s => 'remote', t => 'remote');
	$psql->value(in_session('s', update(1)));
	deadlock($psql, in_session('t', update(1)), 'two sessions');
	$psql->is("SELECT state FROM sessmgr.sessions WHERE session OPERATOR(sessmgr.=) :'s'::sessmgr.session",
		'in transaction', 'the other one was not used, and goes on');
	deadlock($psql, through('remote', update(1)), 'a one-liner');
	$psql->value(q{SELECT sessmgr.commit(:'s'::sessmgr.session)});
	$psql->is(through('remote', update(1)), 1, 'afterwards');
	$psql->value(in_session('s', update(1)));
	$psql->value(q{SELECT sessmgr.rollback(:'s'::sessmgr.session)});
	quit($psql);
}

# ---- another dburi, and another role there
foreach my $pair (['remote', 'by_tcp'], ['remote', 'as_app'], ['as_app', 'remote'], ['by_tcp', 'as_app'])
{
	my ($one, $two) = @$pair;
	my $psql = quick(s => $one, t => $two);
	$psql->value(in_session('s', update(2)));
	deadlock($psql, in_session('t', update(2)), "$one and $two");
	quit($psql);
}

# ---- through another client
{
	my $psql = quick(s => 'remote', t => 'by_tcp');
	$psql->value(in_session('s', update(3)));
	$there->value('BEGIN;' . update(4));
	$there->start(update(3));
	waits('id = 3', 'another client waits for the session');
	deadlock($psql, in_session('t', update(4)), 'through another client');
	$psql->value(q{SELECT sessmgr.rollback(:'s'::sessmgr.session)});
	$there->finish;
	$there->value('ROLLBACK');

	# the cycle is closed while it waits
	$psql->value(in_session('s', update(3)));
	$there->value('BEGIN;' . update(4));
	$psql->start(in_session('t', update(4)));
	waits('id = 4', 'the session waits for another client');
	sleep(2);
	$there->start(update(3));
	deadlock($psql, undef, 'closed later', time());
	$psql->value(q{SELECT sessmgr.rollback(:'s'::sessmgr.session)});
	$there->finish;
	$there->value('ROLLBACK');
	quit($psql);
}

# ---- what else waits
{
	my $psql = quick(s => 'remote', t => 'remote', a => 'by_tcp');
	$psql->value(in_session('s', update(5)));
	$psql->value(in_session('s', 'INSERT INTO acc VALUES (100)'));
	$psql->value('INSERT INTO here VALUES (100, 0)');
	deadlock($psql, q{SELECT sessmgr.push('remote', 'SELECT * FROM here', 'acc')}, 'push');
	deadlock($psql, q{SELECT sessmgr.pull('remote', 'SELECT id, v FROM acc WHERE id = 5 FOR UPDATE', 'here')}, 'pull');
	deadlock($psql, q{SELECT sessmgr.execute_many('remote', 'UPDATE acc SET v = 1 WHERE id = $1', 'SELECT 5')}, 'execute_many');
	deadlock($psql, q{SELECT * FROM sessmgr.stream(:'t'::sessmgr.session, 'SELECT id FROM acc WHERE id = 5 FOR UPDATE') AS x(id int)}, 'stream');
	$psql->value(q{SELECT sessmgr.rollback(:'t'::sessmgr.session)});
	deadlock($psql, q{SELECT * FROM sessmgr.query_all(ARRAY['remote', 'by_tcp'], 'UPDATE acc SET v = v + 1 WHERE id = 6 RETURNING id') AS x(target text, id int)}, 'two targets that are one');
	$psql->is(q{SELECT string_agg(target || ' ' || coalesce(sqlstate, 'done'), ', ' ORDER BY target)
		FROM sessmgr.execute_all(ARRAY['by_tcp', 'remote'], 'UPDATE acc SET v = v + 1 WHERE id = 5')},
		'by_tcp 40P01, remote 40P01', 'execute_all');
	nothing_left($psql, 'execute_all');

	# sent, and received later
	$psql->value(q{SELECT sessmgr.rollback(:'t'::sessmgr.session)});
	deadlock($psql, "BEGIN; SELECT sessmgr.send(:'t'::sessmgr.session, '" . update(5)
		  . "'); SELECT * FROM sessmgr.receive(:'t'::sessmgr.session) AS x(n bigint)", 'receive');
	$psql->value('ROLLBACK');
	deadlock($psql, "BEGIN; SELECT sessmgr.send(:'t'::sessmgr.session, '" . update(5)
		  . "'), sessmgr.send(:'a'::sessmgr.session, '" . update(5)
		  . "'); SELECT sessmgr.wait_any(ARRAY[:'t', :'a']::sessmgr.session[])", 'wait_any: all of them');
	$psql->value('ROLLBACK');
	$psql->is("BEGIN; SELECT sessmgr.send(:'t'::sessmgr.session, '" . update(5)
		  . "'), sessmgr.send(:'a'::sessmgr.session, 'SELECT pg_sleep(3)'); "
		  . "SELECT sessmgr.wait_any(ARRAY[:'t', :'a']::sessmgr.session[]) OPERATOR(sessmgr.=) :'a'", "|\nt", 'wait_any: one goes on');
	$psql->value('ROLLBACK');
	$psql->value(q{SELECT sessmgr.rollback(:'s'::sessmgr.session)});
	quit($psql);
}

# ---- COMMIT and PREPARE TRANSACTION
foreach my $mode ('joined', 'two_phase')
{
	my $psql = quick(s => 'remote');
	$psql->value('BEGIN;' . through($mode, 'INSERT INTO part VALUES (7)'));
	$psql->value('INSERT INTO here VALUES (7, 7)');
	$psql->value(in_session('s', 'DELETE FROM acc WHERE id = 7'));
	deadlock($psql, 'COMMIT', "$mode: at the local COMMIT");
	$psql->is('SELECT count(*) FROM here WHERE id = 7', 0, "$mode: nothing is committed here");
	$psql->value(q{SELECT sessmgr.rollback(:'s'::sessmgr.session)});
	quit($psql);
}
is($admin->value('SELECT count(*) FROM part'), 0, 'nor there');

# ---- what an idle connection has kept
{
	my $psql = quick();
	$psql->value(through('remote', 'SELECT pg_advisory_lock(1)'));
	deadlock($psql, through('joined', 'SELECT pg_advisory_lock(1)'), 'of an idle connection');
	quit($psql);
}

# ---- waits that end
{
	my $psql = quick(s => 'remote', t => 'by_tcp');
	$psql->value(in_session('s', update(10)));
	$there->value('BEGIN;' . update(11));
	$psql->start(in_session('t', update(11)));
	waits('id = 11', 'it waits for another client');
	ok(wait_for(sub { backends() == 3 }), 'which is asked about');
	sleep(2);
	$there->value('COMMIT');
	$psql->finish;
	is($psql->{last_state}, '', 'and ends');
	nothing_left($psql, 'a wait that ended');
	$psql->is(in_session('t', 'SELECT pg_sleep(2)'), 1, 'a long statement');
	nothing_left($psql, 'a long statement');

	# nobody to ask: a wait's own deadline counts
	$psql->value(q{SELECT sessmgr.rollback(:'s'::sessmgr.session), sessmgr.rollback(:'t'::sessmgr.session)});
	quit($psql);
	$psql = quick(s => 'small', t => 'small');
	$psql->value(in_session('s', update(12)));
	$psql->fails("SET statement_timeout = '3s';" . in_session('t', update(12)), '57014', 'no place in the pool');
	nothing_left($psql, 'no place in the pool');
	quit($psql);

	# a cancel while it is being asked
	$psql = quick(s => 'remote', t => 'by_tcp');
	$there->value('BEGIN;' . update(13));
	$psql->value(in_session('s', update(14)));
	$psql->fails("SET statement_timeout = '2s';" . in_session('t', update(13)), '57014', 'a timeout');
	nothing_left($psql, 'a timeout');
	$there->value('ROLLBACK');
	quit($psql);
}

done_testing();

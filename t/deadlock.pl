# A session on this same cluster that waits for a lock of its own backend, by
# whatever way, is a deadlock; every other wait is left alone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;
use Time::HiRes qw(sleep time);

# What quick() sets, in seconds.  A deadlock is found within deadlock_timeout and
# a second more; the slack is for a noisy machine.
my $quick = 0.2;
my $slack = 4;

my ($local, $remote) = new_pair(
	local => "listen_addresses = '127.0.0.1'\nmax_prepared_transactions = 5\n"
	  . "restart_after_crash = on\n",
	remote => "max_prepared_transactions = 5\n");
my ($socket, $port) = ($local->host, $local->port);
foreach my $node ($local, $remote)
{
	$node->safe_psql('postgres', q{
		CREATE TABLE acc (id int PRIMARY KEY, v int NOT NULL DEFAULT 0);
		INSERT INTO acc SELECT generate_series(1, 50)});
}
$local->safe_psql('postgres', qq{
	CREATE TABLE part (id int REFERENCES acc DEFERRABLE INITIALLY DEFERRED);
	CREATE TABLE model (id int);
	SELECT sessmgr.add_model('model');
	CREATE ROLE app LOGIN;
	GRANT SELECT, UPDATE ON acc TO app;
	GRANT USAGE ON SCHEMA sessmgr TO app;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO app;
	CREATE SERVER by_tcp FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres');
	CREATE SERVER by_socket FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '$socket', port '$port', dbname 'postgres');
	GRANT USAGE ON FOREIGN SERVER by_socket TO app;
	CREATE USER MAPPING FOR CURRENT_USER SERVER by_tcp;
	CREATE USER MAPPING FOR CURRENT_USER SERVER by_socket;
	CREATE USER MAPPING FOR app SERVER by_socket OPTIONS (user 'app', password_required 'false');
	CREATE SERVER joined FOREIGN DATA WRAPPER sessmgr
		OPTIONS (loopback 'true', dbname 'postgres', transaction 'joined');
	CREATE SERVER two_phase FOREIGN DATA WRAPPER sessmgr
		OPTIONS (loopback 'true', dbname 'postgres', transaction 'two_phase')});

my $admin = psql($local);
my $published = 'SELECT count(*) FROM pg_locks WHERE locktype = \'advisory\' AND objsubid = 21331';

# A psql whose waits are looked at soon.
sub quick
{
	my $psql = psql($local);
	$psql->value("SET deadlock_timeout = '${quick}s'");
	return $psql;
}

sub update { return "UPDATE acc SET v = v + 1 WHERE id = $_[0]"; }
sub through { return "SELECT sessmgr.execute('$_[0]', '$_[1]')"; }
sub in_session { return "SELECT sessmgr.execute(:'$_[0]'::sessmgr.session, '$_[1]')"; }

# Does this process wait for a lock?
sub waits
{
	my ($pid, $name) = @_;
	ok(wait_for(sub { $admin->value("SELECT cardinality(pg_blocking_pids($pid)) > 0") eq 't' }),
		$name);
}

# Does a connection of this psql wait for a lock, long enough to be looked at?
sub waits_remotely
{
	my ($psql, $name) = @_;
	ok( wait_for(sub { $admin->value(qq{
			SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 21331
				AND classid = 1 AND pid = $psql->{pid}}) == 1 }),
		$name);
}

# The error of what was started, or of a statement: ours and not the server's.
# options: since when there is a deadlock, if that is later than the statement's
# begin, and the deadlock_timeout
sub deadlock
{
	my ($psql, $sql, $name, %option) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$psql->fails($sql, '40P01', $name);
	like($psql->{last_err}, qr/deadlock detected while waiting for/, "$name: found here");
	in_time($option{since} // $psql->{started}, $name, $option{timeout});
	nothing_left($name);
}

# To be called at the end of a deadlock
sub in_time
{
	my ($since, $name, $timeout) = @_;
	my $seconds = time() - $since;
	note(sprintf('%s: after %.1f s', $name, $seconds));
	cmp_ok($seconds, '<', ($timeout // $quick) + 1 + $slack, "$name: in time");
}

sub nothing_left
{
	my ($name) = @_;
	ok(wait_for(sub { $admin->value($published) == 0 }), "$name: nothing is left in pg_locks");
}

# Of several that are to commit afterwards exactly one fails, and names them all.
sub one_victim
{
	my ($name, @psqls) = @_;
	my ($failed, $good, $named, $since) = (0, 0, '', 0);
	foreach my $psql (@psqls)
	{
		my (undef, $err, $state) = $psql->finish;
		note("$name: $err") if $state;
		if ($state eq '40P01' && $err =~ /while waiting for/)
		{
			$failed++;
			$named = join(' ', grep { $err =~ /\b$_\b/ } map { $_->{pid} } @psqls);
		}
		$good++ if $state eq '';
		$since = $psql->{started} if $psql->{started} > $since;
	}
	in_time($since, $name);
	is($failed, 1, "$name: one fails");
	is($named, join(' ', map { $_->{pid} } @psqls), "$name: and names all");
	is($good, @psqls - 1, "$name: nobody else does");
	nothing_left($name);
}

# ---- directly, over each kind of connection

foreach my $dburi ('loopback:', "host=$socket port=$port dbname=postgres", 'by_socket', 'by_tcp',
	"postgresql://127.0.0.1:$port/postgres?sslmode=disable")
{
	my $psql = quick();
	my $pid = $psql->value("SELECT sessmgr.scalar('$dburi', 'SELECT pg_backend_pid()')");

	$psql->value('BEGIN;' . update(1));
	deadlock($psql, through($dburi, update(1)), "row lock, $dburi");
	like($psql->{last_err},
		qr/Process $psql->{pid} waits for its connection's process $pid\.\n.*Process $pid waits for ShareLock on transaction \d+; blocked by process $psql->{pid}\./,
		"row lock, $dburi: the detail");
	like($psql->{last_err}, qr/HINT: .*CONTEXT:  statement on/s, "row lock, $dburi: hint and context");
	$psql->value('ROLLBACK');
	$psql->is(through($dburi, update(1)), 1, "row lock, $dburi: works now");
	$psql->is("SELECT sessmgr.scalar('$dburi', 'SELECT pg_backend_pid()')",
		$pid, "row lock, $dburi: with the same connection");
	$psql->quit;
}

# ---- kinds of locks

{
	my $psql = quick();
	my $index = 'CREATE INDEX CONCURRENTLY acc_v ON acc (v)';

	foreach my $case (
		[ 'table lock', 'LOCK TABLE acc', 'SELECT FROM acc' ],
		[ 'DDL', 'ALTER TABLE acc ADD COLUMN x int', 'SELECT FROM acc' ],
		[ 'DDL over there', 'SELECT FROM acc', 'ALTER TABLE acc ADD COLUMN x int' ],
		[ 'advisory lock', 'SELECT pg_advisory_xact_lock(7)', 'SELECT pg_advisory_xact_lock(7)' ],
		[ 'tuple', 'SELECT FROM acc WHERE id = 3 FOR UPDATE', 'DELETE FROM acc WHERE id = 3' ],
		[ 'unique key', 'INSERT INTO acc VALUES (100)', 'INSERT INTO acc VALUES (100)' ],
		[ 'subtransaction', 'SAVEPOINT a;' . update(1) . '; SAVEPOINT b', update(1) ],
		[ 'released subtransaction', 'SAVEPOINT a;' . update(1) . '; RELEASE a', update(1) ],
		[ 'the transaction itself', update(1), $index ])
	{
		my ($name, $here, $there) = @$case;
		$psql->value("BEGIN; $here");
		deadlock($psql, through('loopback:', $there), $name);
		$psql->value('ROLLBACK');
		$psql->value('DROP INDEX IF EXISTS acc_v');
		$psql->is("SELECT sessmgr.scalar('loopback:', 'SELECT count(*) FROM acc')", 50,
			"$name: works afterwards");
	}

	$psql->value('SELECT pg_advisory_lock(8)');
	deadlock($psql, through('loopback:', 'SELECT pg_advisory_lock(8)'), 'lock of the backend');
	$psql->is('SELECT pg_advisory_unlock_all()', '', 'lock of the backend: can be given up');

	$psql->value('BEGIN ISOLATION LEVEL SERIALIZABLE;' . update(1));
	$psql->open('s', 'loopback:',
		'{"isolation_level": "SERIALIZABLE", "read_only": true, "deferrable": true}');
	deadlock($psql, in_session('s', 'SELECT FROM acc'), 'safe snapshot');
	like($psql->{last_err}, qr/waits for a safe snapshot; blocked by process $psql->{pid}/,
		'safe snapshot: the detail');
	$psql->value('ROLLBACK');

	# its lock on the target, which is this database
	$psql->is(q{SELECT sessmgr.prepare_models(sessmgr.get_engine('loopback:'))}, 0, 'models: nothing to make');
	$psql->value('SELECT sessmgr.reset()');
	$psql->is(q{SELECT sessmgr.scalar('loopback:', 'SELECT 1')}, 1, 'models: connected before');
	$psql->value('BEGIN; LOCK TABLE pg_namespace');
	deadlock($psql, q{SELECT sessmgr.prepare_models(sessmgr.get_engine('loopback:'))}, 'models');
	unlike($psql->{last_err}, qr/given up after/, 'models: another attempt would find the same');
	$psql->value('ROLLBACK');
	$psql->quit;
}

# ---- sessions

{
	my $psql = quick();

	$psql->open('s', 'loopback:');
	$psql->open('other', 'loopback:');
	$psql->value(in_session('s', update(2)));
	$psql->value('BEGIN;' . update(1));
	deadlock($psql, in_session('s', update(1)), 'session');
	$psql->value('ROLLBACK');
	$psql->is(q{SELECT state FROM sessmgr.sessions WHERE session OPERATOR(sessmgr.=) :'s'::sessmgr.session}, 'lost',
		'session: rolled back, as it was used in the local transaction');
	$psql->value(q{SELECT sessmgr.rollback(:'s'::sessmgr.session)});
	$psql->is(in_session('s', update(1)), 1, 'session: usable');

	# between two of one backend
	deadlock($psql, in_session('other', update(1)), 'two sessions');
	like($psql->{last_err}, qr/waits for the next statement of process $psql->{pid}/,
		'two sessions: the detail');
	$psql->value(q{SELECT sessmgr.commit(:'s'::sessmgr.session)});
	$psql->is(in_session('other', update(1)), 1, 'two sessions: usable');
	$psql->value(q{SELECT sessmgr.rollback(:'other'::sessmgr.session)});

	# COMMIT waits: it surely did nothing
	$psql->value(in_session('s', 'INSERT INTO part VALUES (5)'));
	$psql->value('BEGIN; SELECT FROM acc WHERE id = 5 FOR UPDATE');
	deadlock($psql, q{SELECT sessmgr.commit(:'s'::sessmgr.session)}, 'commit');
	$psql->value('ROLLBACK');
	$psql->is('SELECT count(*) FROM part', 0, 'commit: nothing was done');
	$psql->value(in_session('s', 'INSERT INTO part VALUES (5)'));
	$psql->value(q{SELECT sessmgr.commit(:'s'::sessmgr.session)});
	$psql->is('SELECT count(*) FROM part', 1, 'commit: done now');
	$psql->quit;
}

# ---- caught

{
	my $psql = quick();
	$psql->is(
		q{
		CREATE FUNCTION caught() RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			s sessmgr.session := sessmgr.session_factory('loopback:');
			savepoint int;
			result text := '';
		BEGIN
			UPDATE acc SET v = -1 WHERE id = 10;
			PERFORM sessmgr.execute(s, 'UPDATE acc SET v = -2 WHERE id = 11');
			savepoint := sessmgr.begin_nested(s);
			FOR i IN 1..3 LOOP
				BEGIN
					PERFORM sessmgr.execute(s, 'UPDATE acc SET v = -2 WHERE id = 10');
				EXCEPTION WHEN deadlock_detected THEN
					result := result || 'session,';
				END;
				PERFORM sessmgr.rollback_to(s, savepoint);
				BEGIN
					PERFORM sessmgr.execute('loopback:', 'UPDATE acc SET v = -2 WHERE id = 10');
				EXCEPTION WHEN deadlock_detected THEN
					result := result || 'call,';
				END;
			END LOOP;
			PERFORM sessmgr.commit(s);
			RETURN result || (SELECT count(*) FROM pg_locks WHERE objsubid = 21331);
		END $$;
		SELECT caught()},
		'session,call,session,call,session,call,0', 'caught, again and again');
	$psql->is('SELECT v FROM acc WHERE id IN (10, 11) ORDER BY id', "-1\n-2",
		'caught: both transactions go on and commit');
	$psql->is('SELECT connects FROM sessmgr.engines', 2, 'caught: no connection was lost');
	nothing_left('caught');
	$psql->quit;
}

# ---- an ordinary role

{
	$admin->value("ALTER ROLE app SET deadlock_timeout = '200ms'");
	my $psql = psql($local, user => 'app');
	$psql->value('BEGIN;' . update(1));
	deadlock($psql, through('by_socket', update(1)), 'ordinary role');
	$psql->value('ROLLBACK');
	$psql->quit;
}

# ---- through a third backend

{
	my ($psql, $third) = (quick(), psql($local));

	$psql->value('BEGIN;' . update(1));
	$third->value('BEGIN;' . update(2));
	$third->start(update(1));
	waits($third->{pid}, 'third backend: waits for the first');
	deadlock($psql, through('loopback:', update(2)), 'third backend');
	like($psql->{last_err},
		qr/blocked by process $third->{pid}\.\n.*Process $third->{pid} waits for ShareLock on transaction \d+; blocked by process $psql->{pid}/,
		'third backend: the detail names it');
	$third->finish;
	is($third->{last_state}, '', 'third backend: goes on');
	$third->value('COMMIT');
	$psql->value('ROLLBACK');
	$psql->is(through('loopback:', update(2)), 1, 'third backend: all is usable');

	# it has nothing yet, but is first in the queue
	$psql->value('BEGIN; SELECT FROM acc');
	$third->start('BEGIN; ALTER TABLE acc ADD COLUMN x int');
	waits($third->{pid}, 'queue: waits for the first');
	deadlock($psql, through('loopback:', 'SELECT FROM acc'), 'queue');
	$third->finish;
	is($third->{last_state}, '', 'queue: goes on');
	$third->value('ROLLBACK');
	$psql->value('ROLLBACK');

	# the circle closes late
	$third->value('BEGIN;' . update(2));
	$psql->value('BEGIN;' . update(1));
	$psql->start(through('loopback:', update(2)));
	waits_remotely($psql, 'late: an ordinary wait at first');
	sleep(3);
	$third->start(update(1));
	deadlock($psql, undef, 'late', since => $third->{started});
	cmp_ok($psql->{seconds}, '>', 3, 'late: not before it was one');
	$third->finish;
	is($third->{last_state}, '', 'late: the other goes on');
	$third->value('COMMIT');
	$psql->value('ROLLBACK');

	# through two that wait
	my $fourth = psql($local);
	my $pid = $psql->value(q{SELECT sessmgr.scalar('loopback:', 'SELECT pg_backend_pid()')});
	$psql->value('BEGIN;' . update(1));
	$third->value('BEGIN;' . update(2));
	$fourth->value('BEGIN;' . update(3));
	$third->start(update(1));
	$fourth->start(update(2));
	waits($_->{pid}, 'two others: one waits') foreach ($third, $fourth);
	deadlock($psql, through('loopback:', update(3)), 'two others');
	my @waiting = ($pid, $fourth->{pid}, $third->{pid}, $psql->{pid});
	my $chain = join('\n', map {
		"Process $waiting[$_] waits for ShareLock on transaction \\d+; blocked by process $waiting[$_ + 1]\\."
	} 0 .. 2);
	like($psql->{last_err}, qr/Process $psql->{pid} waits for its connection's process $pid\.\n$chain\n/,
		'two others: the detail names all, in the order of the circle');
	foreach my $other ($third, $fourth)
	{
		$psql->value('ROLLBACK');
		$other->finish;
		is($other->{last_state}, '', 'two others: they go on');
		$other->value('COMMIT');
	}
	$psql->is(through('loopback:', update(3)), 1, 'two others: all is usable');
	$_->quit foreach ($psql, $third, $fourth);
}

# ---- work that is part of the local transaction, which waits for that itself

foreach my $mode ('joined', 'two_phase')
{
	my ($psql, $other, $third) = (quick(), quick(), psql($local));
	my $after = $mode eq 'joined' ? 'COMMIT' : 'PREPARE TRANSACTION';
	my $here = 'INSERT INTO model VALUES (1)';
	# what waits at its end for a lock of this row of acc
	my $part = sub { return through($mode, "INSERT INTO part VALUES ($_[0])"); };
	my $lock = sub { return "SELECT FROM acc WHERE id = $_[0] FOR UPDATE"; };
	my $nothing = sub {
		my ($name) = @_;
		$admin->is(q{SELECT (SELECT count(*) FROM part WHERE id > 5), (SELECT count(*) FROM model),
			(SELECT count(*) FROM pg_prepared_xacts)}, '0|0|0', "$name: nothing was done");
	};

	$admin->value('UPDATE acc SET v = 0; TRUNCATE part, model');

	# a statement
	$psql->value('BEGIN;' . update(1));
	$psql->value(through($mode, update(2)));
	$psql->value('SAVEPOINT a');
	deadlock($psql, through($mode, update(1)), "$mode, statement");
	$psql->value('ROLLBACK TO a');
	$psql->is(through($mode, update(3)), 1, "$mode, statement: goes on after ROLLBACK TO");
	$psql->value('COMMIT');
	$admin->is('SELECT string_agg(id::text, \',\' ORDER BY id) FROM acc WHERE v = 1', '1,2,3',
		"$mode, statement: all of it is committed");

	# the local COMMIT
	$psql->value("BEGIN; $here;" . $part->(6) . ';' . $lock->(6));
	deadlock($psql, 'COMMIT', "$mode, $after");
	like($psql->{last_err},
		qr/Process $psql->{pid} waits for its connection's process (\d+)\.\nProcess \g1 waits for ShareLock on transaction \d+; blocked by process $psql->{pid}\.\n/,
		"$mode, $after: the detail");
	like($psql->{last_err}, qr/CONTEXT:  statement on "$mode": (?:.*; )?$after/, "$mode, $after: the context");
	$nothing->("$mode, $after");

	# through a third backend
	$third->value('BEGIN;' . $lock->(7));
	$psql->value("BEGIN; $here;" . update(1) . ';' . $part->(7));
	$third->start(update(1));
	waits($third->{pid}, "$mode, third backend: waits for the first");
	deadlock($psql, 'COMMIT', "$mode, third backend");
	like($psql->{last_err},
		qr/blocked by process $third->{pid}\.\nProcess $third->{pid} waits for ShareLock on transaction \d+; blocked by process $psql->{pid}\./,
		"$mode, third backend: the detail names it");
	$third->finish;
	is($third->{last_state}, '', "$mode, third backend: goes on");
	$third->value('ROLLBACK');
	$nothing->("$mode, third backend");

	# the COMMITs of two
	$psql->value("BEGIN; $here;" . $lock->(8) . ';' . $part->(9));
	$other->value("BEGIN; $here;" . $lock->(9) . ';' . $part->(8));
	$_->start('COMMIT') foreach $psql, $other;
	one_victim("$mode, two of them", $psql, $other);
	$admin->is('SELECT (SELECT count(*) FROM part WHERE id > 5), (SELECT count(*) FROM model)', '1|1',
		"$mode, two of them: one has committed");

	# somebody else's lock
	$third->value('BEGIN;' . $lock->(10));
	$psql->value("BEGIN; $here;" . $part->(10));
	$psql->start('COMMIT');
	waits_remotely($psql, "$mode, somebody else: it waits");
	sleep(1.5);
	is($admin->value($published), 1, "$mode, somebody else: it still does");
	$third->value('COMMIT');
	$psql->finish;
	is($psql->{last_state}, '', "$mode, somebody else: it succeeds");
	$admin->is('SELECT (SELECT count(*) FROM part WHERE id > 5), (SELECT count(*) FROM model)', '2|2',
		"$mode, somebody else: it is committed");
	nothing_left("$mode, somebody else");
	$_->quit foreach ($psql, $other, $third);
}

# ---- COMMITs on several targets: one that waits for this transaction, beside one
# that takes its time

{
	$remote->safe_psql('postgres', q{
		CREATE TABLE slow (id int);
		CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM pg_advisory_xact_lock(5);
			RETURN new;
		END $$;
		CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON slow
			DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gate()});
	foreach my $mode ('joined', 'two_phase')
	{
		my ($psql, $there) = (quick(), psql($remote));
		new_server($local, $remote, "far_$mode", "transaction '$mode'");
		foreach my $order ('before', 'after')
		{
			my $name = "$mode, a slow target $order it";
			my @calls = (through("far_$mode", 'INSERT INTO slow VALUES (1)'),
				through($mode, 'INSERT INTO part VALUES (20)'));
			$there->value('SELECT pg_advisory_lock(5)');
			$psql->value('BEGIN; SELECT FROM acc WHERE id = 20 FOR UPDATE;'
				  . join(';', $order eq 'before' ? @calls : reverse @calls));
			deadlock($psql, 'COMMIT', $name);
			$there->value('SELECT pg_advisory_unlock(5)');
			$there->is('SELECT count(*) FROM slow', 0, "$name: nothing was done");
		}
		$_->quit foreach $psql, $there;
	}
}

# ---- another database of this cluster: what they share are catalogs and their rows

{
	$local->safe_psql('postgres', 'CREATE DATABASE elsewhere');
	$local->safe_psql('elsewhere', 'CREATE TABLE acc AS SELECT generate_series(1, 3) AS id, 0 AS v');
	my ($psql, $third) = (quick(), psql($local, db => 'elsewhere'));
	my $comment = q{COMMENT ON DATABASE elsewhere IS 'x'};
	my $target = 'loopback:elsewhere';

	$psql->value('BEGIN; LOCK TABLE pg_shdescription');
	deadlock($psql, "SELECT sessmgr.execute('$target', \$\$$comment\$\$)", 'another database');
	like($psql->{last_err}, qr/waits for RowExclusiveLock on relation 2396 of database 0; blocked by process $psql->{pid}\./,
		'another database: the detail');
	$psql->value("ROLLBACK; $comment; BEGIN; $comment");
	deadlock($psql, "SELECT sessmgr.execute('$target', \$\$$comment\$\$)", 'another database, a row');
	$psql->value("ROLLBACK; BEGIN; $comment");
	$third->value('BEGIN;' . update(2));
	$third->start($comment);
	waits($third->{pid}, 'another database: a third backend waits');
	deadlock($psql, through($target, update(2)), 'another database, third backend');
	like($psql->{last_err}, qr/blocked by process $third->{pid}\.\nProcess $third->{pid} waits for .*; blocked by process $psql->{pid}\./,
		'another database, third backend: the detail names it');
	$psql->value('ROLLBACK');
	$third->finish;
	$third->value('ROLLBACK');
	$psql->is(through($target, update(2)), 1, 'another database: usable');

	# the same name is not the same lock
	$psql->value('BEGIN; SELECT pg_advisory_xact_lock(7)');
	$psql->is("SELECT sessmgr.scalar('$target', 'SELECT pg_advisory_xact_lock(7)::text || 1')", 1,
		'another database: an advisory lock of the same number is another one');
	$psql->value('ROLLBACK');
	$_->quit foreach ($psql, $third);
}

# ---- several backends that wait for their connections

{
	my @psqls = map { quick() } 1 .. 3;

	# often, as they then look at the same moment
	foreach my $n ((2) x 15, (3) x 5)
	{
		my @some = @psqls[ 0 .. $n - 1 ];
		$some[$_]->value('BEGIN;' . update($_ + 1)) foreach 0 .. $n - 1;
		$some[$_]->start(through($_ ? 'loopback:' : 'by_tcp', update(($_ + 1) % $n + 1)) . '; COMMIT')
		  foreach 0 .. $n - 1;
		one_victim("$n backends", @some);
		is($admin->value('SELECT count(*) FROM pg_locks WHERE NOT granted'), 0,
			"$n backends: nobody waits any more");
	}

	# two wait already, and look at much the same moments, when the circle closes
	foreach (1 .. 10)
	{
		$psqls[$_]->value('BEGIN;' . update($_ + 1)) foreach 0 .. 2;
		$psqls[$_]->start(through('loopback:', update($_ + 2)) . '; COMMIT') foreach 0, 1;
		waits_remotely($_, 'closed by a third: waits') foreach @psqls[ 0, 1 ];
		$psqls[2]->start(update(1) . '; COMMIT');
		one_victim('closed by a third', @psqls);
	}

	# each has locked with one session and waits with another
	foreach my $i (0, 1)
	{
		$psqls[$i]->open('s', 'loopback:');
		$psqls[$i]->value('BEGIN');
		$psqls[$i]->value(in_session('s', update($i + 1)));
	}
	$psqls[$_]->start(through('loopback:', update(2 - $_)) . '; SELECT sessmgr.reset(); COMMIT') foreach 0, 1;
	one_victim('sessions of two', @psqls[ 0, 1 ]);

	# one of them waits by itself
	$psqls[0]->open('s', 'loopback:');
	$psqls[0]->value('BEGIN');
	$psqls[0]->value(in_session('s', update(1)));
	$psqls[1]->value('BEGIN;' . update(2));
	$psqls[1]->start(update(1));
	waits($psqls[1]->{pid}, 'local wait: for the session of the other');
	deadlock($psqls[0], through('loopback:', update(2)), 'local wait');
	$psqls[1]->finish;
	is($psqls[1]->{last_state}, '', 'local wait: goes on');
	$_->value('ROLLBACK') foreach @psqls;
	$_->quit foreach @psqls;
}

# ---- the server's own deadlocks stay the server's

{
	my ($psql, $third) = (quick(), psql($local));

	$third->value("SET deadlock_timeout = '10min'; BEGIN;" . update(2));
	$psql->open('s', 'loopback:');
	$psql->value(in_session('s', update(1)));
	$third->start(update(1));
	waits($third->{pid}, 'of the server: the third waits');
	$psql->fails(in_session('s', update(2)), '40P01', 'of the server');
	unlike($psql->{last_err}, qr/while waiting for/, 'of the server: its own words');
	$third->finish;
	is($third->{last_state}, '', 'of the server: the other goes on');
	$_->value('ROLLBACK') foreach ($psql, $third);
	$_->quit foreach ($psql, $third);
}

# ---- waits for somebody else

{
	my ($psql, $third) = (quick(), psql($local));

	$third->value('BEGIN;' . update(2));
	$psql->open('idle', 'loopback:');
	$psql->value(in_session('idle', update(3)));
	$psql->value('BEGIN;' . update(1));
	$psql->start(through('loopback:', update(2)));
	waits_remotely($psql, 'somebody else: it waits');
	is($admin->value($published), 2, 'somebody else: what it waits for, and what waits for it');
	sleep(2.5);
	is($admin->value($published), 2, 'somebody else: it still does');
	$third->value('COMMIT');
	is(($psql->finish)[0], 1, 'somebody else: it succeeds');
	nothing_left('somebody else');
	$psql->value('COMMIT');

	# and other ends of such a wait
	foreach my $how ('timeout', 'option', 'cancel', 'caught')
	{
		my $sql = through('loopback:', update(2));
		$third->value('BEGIN;' . update(2));
		if ($how eq 'caught')
		{
			$psql->is(
				q{
				SET statement_timeout = 0;
				DO $$ BEGIN
					PERFORM sessmgr.get_engine('by_socket', '{"statement_timeout": "1500ms"}');
					BEGIN
						PERFORM sessmgr.execute('by_socket', 'UPDATE acc SET v = 0 WHERE id = 2');
					EXCEPTION WHEN query_canceled THEN
						RAISE NOTICE 'caught';
					END;
					ASSERT (SELECT count(*) FROM pg_locks WHERE objsubid = 21331) = 0;
				END $$}, '', "$how: no lock is left inside the transaction");
			like($psql->{last_err}, qr/caught/, "$how: it was");
		}
		elsif ($how eq 'cancel')
		{
			$psql->start($sql);
			waits_remotely($psql, "$how: it waits");
			$admin->value("SELECT pg_cancel_backend($psql->{pid})");
			$psql->fails(undef, '57014', $how);
		}
		elsif ($how eq 'timeout')
		{
			$psql->value("SET statement_timeout = '1500ms'");
			$psql->fails($sql, '57014', $how);
			$psql->value('RESET statement_timeout');
		}
		else
		{
			$psql->value(q{SELECT sessmgr.get_engine('by_tcp', '{"statement_timeout": "1500ms"}')});
			$psql->fails(through('by_tcp', update(2)), '57014', $how);
		}
		nothing_left($how);
		$third->value('ROLLBACK');
		$psql->is(through('loopback:', update(2)), 1, "$how: usable");
	}

	# a prepared transaction has no process
	$third->value('BEGIN;' . update(2) . "; PREPARE TRANSACTION 'p'");
	$psql->value('BEGIN;' . update(1));
	$psql->start(through('loopback:', update(2)));
	waits_remotely($psql, 'prepared transaction: it waits');
	sleep(1);
	$third->value("COMMIT PREPARED 'p'");
	is(($psql->finish)[0], 1, 'prepared transaction: it succeeds');
	$psql->value('ROLLBACK');

	foreach my $how ('terminated', 'killed')
	{
		my $gone = quick();
		$third->value('BEGIN;' . update(2));
		$gone->start(through('loopback:', update(2)));
		waits_remotely($gone, "$how: it waits");
		if ($how eq 'terminated')
		{
			$admin->value("SELECT pg_terminate_backend($gone->{pid})");
			$gone->fails(undef, '57P01', $how);
			nothing_left($how);
		}
		else
		{
			kill('KILL', $gone->{pid});
			$_->kill_client foreach ($admin, $psql, $third);
			ok(crashed_and_back($local, $gone->{pid}), "$how: up again");
			$admin = psql($local);
			nothing_left($how);
		}
		$third->value('ROLLBACK') if $how eq 'terminated';
		$gone->kill_client;
	}
}

# ---- afterwards a backend can do what its locks might have been in the way of

{
	my $psql = quick();
	$psql->value('BEGIN;' . update(1));
	deadlock($psql, through('loopback:', update(1)), 'before others');
	$psql->value('ROLLBACK; BEGIN;' . update(1));
	$psql->is(q{SELECT pg_advisory_unlock_all(); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'; DISCARD ALL},
		'', 'then PREPARE TRANSACTION and DISCARD ALL');
	unlike($psql->{last_err}, qr/WARNING/, 'without a warning');
	$psql->quit;
}

# ---- another cluster

my ($rsocket, $rport) = ($remote->host, $remote->port);

my $liar;

sub stop_liar
{
	return unless $liar;
	kill('KILL', $liar);
	waitpid($liar, 0);
	undef $liar;
}

END
{
	my $status = $?;
	stop_liar();
	$? = $status;
}

# A proxy to the other cluster that pretends its backend's process id to be
# $pid.  Serves one connection.
sub liar
{
	my ($listener, $pid) = @_;
	$liar = fork();
	die "could not fork: $!" unless defined $liar;
	return if $liar;

	open(STDOUT, '>', '/dev/null');
	open(STDERR, '>', '/dev/null');
	my $client = $listener->accept or POSIX::_exit(1);
	my $server = IO::Socket::UNIX->new(Peer => "$rsocket/.s.PGSQL.$rport") or POSIX::_exit(1);
	my $select = IO::Select->new($client, $server);
	my ($head, $told) = ('', 0);
	while (1)
	{
		foreach my $from ($select->can_read)
		{
			my $to = $from == $client ? $server : $client;
			sysread($from, my $data, 65536) or POSIX::_exit(0);
			if ($from == $server && !$told)
			{
				# the server's answer to the start-up message, as far as its end
				$head .= $data;
				next unless $head =~ /Z\0\0\0\x05I\z/;
				$head =~ s/K\0\0\0\x0c\K..../pack('N', $pid)/se;
				($data, $told) = ($head, 1);
			}
			syswrite($to, $data);
		}
	}
}

{
	my ($psql, $third, $there) = (quick(), psql($local), psql($remote));
	my $dir = PostgreSQL::Test::Utils::tempdir_short;
	my %liars = (
		'by a socket' => [ IO::Socket::UNIX->new(Local => "$dir/.s.PGSQL.$port", Listen => 1),
			"host=$dir port=$port dbname=postgres" ],
		'by TCP' => [ IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) ],
		'by TCP, and our port' =>
		  [ IO::Socket::INET->new(LocalAddr => '127.0.0.2', LocalPort => $port, Listen => 1),
			"host=127.0.0.2 port=$port dbname=postgres sslmode=disable gssencmode=disable" ]);
	my $user = $admin->value('SELECT current_user');

	$liars{'by TCP'}[1] = 'host=127.0.0.1 port=' . $liars{'by TCP'}[0]->sockport
	  . ' dbname=postgres sslmode=disable gssencmode=disable';

	# a backend here that is blocked by this one
	$psql->value('BEGIN;' . update(1));
	$third->start(update(1));
	waits($third->{pid}, 'another cluster: somebody here waits');

	$there->value('BEGIN;' . update(1));
	$psql->start(through('remote', update(1)));
	ok(wait_for(sub { $remote->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted') > 0 }),
		'another cluster: a wait there');
	sleep(2.5);
	is($admin->value($published), 0, 'another cluster: it is not looked at');
	$there->value('COMMIT');
	is(($psql->finish)[0], 1, 'another cluster: it succeeds');

	foreach my $name (sort keys %liars)
	{
		my ($listener, $dburi) = @{ $liars{$name} };
		liar($listener, $third->{pid});
		$there->value('BEGIN;' . update(1));
		$psql->start(through("$dburi user=$user", update(1)));
		ok(wait_for(sub { $remote->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted') > 0 }),
			"liar $name: a wait there");
		sleep(1.5);
		is($admin->value($published), 0, "liar $name: is not believed");
		$there->value('COMMIT');
		is(($psql->finish)[0], 1, "liar $name: it succeeds");
		stop_liar();
	}
	$psql->value('COMMIT');
	$third->finish;
	$_->quit foreach ($psql, $third, $there);
}

# ---- many at once, looked at all the time

foreach my $order ('ascending', 'random')
{
	my @psqls = map { psql($local) } 1 .. 4;
	my ($first, $second) = $order eq 'ascending' ? ('least(a, b)', 'greatest(a, b)') : ('a', 'b');

	foreach my $psql (@psqls)
	{
		$psql->value("SET deadlock_timeout = '1ms'; SET client_min_messages = error");
		$psql->start(qq{
			DO \$\$
			DECLARE
				a int;
				b int;
				deadlocks int := 0;
			BEGIN
				FOR i IN 1..60 LOOP
					a := 1 + floor(random() * 6);
					b := 1 + (a + floor(random() * 5)::int) % 6;
					BEGIN
						UPDATE acc SET v = v + 1 WHERE id = $first;
						PERFORM pg_sleep(0.005);
						PERFORM sessmgr.execute('loopback:', 'UPDATE acc SET v = v + 1 WHERE id = \$1', $second);
					EXCEPTION WHEN deadlock_detected THEN
						deadlocks := deadlocks + 1;
					END;
					COMMIT;
				END LOOP;
				RAISE EXCEPTION '% deadlocks', deadlocks USING ERRCODE = 'SM001';
			END \$\$});
	}
	my $deadlocks = 0;
	foreach my $psql (@psqls)
	{
		my (undef, $err, $state) = $psql->finish;
		is($state, 'SM001', "$order: came to its end") or diag($err);
		$deadlocks += $1 if $err =~ /(\d+) deadlocks/;
	}
	note("$order: $deadlocks deadlocks");
	is($deadlocks, 0, "$order: no deadlock") if $order eq 'ascending';
	nothing_left($order);
	$_->quit foreach @psqls;
}

# ---- with the server's own deadlock_timeout, and what it counts

{
	my $psql = psql($local);
	$psql->value('BEGIN;' . update(1));
	deadlock($psql, through('loopback:', update(1)), 'by default', timeout => 1);
	cmp_ok($psql->{seconds}, '>=', 1, 'by default: after deadlock_timeout');
	$psql->quit;
	ok(wait_for(sub { $admin->value('SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = current_database()') eq 't' }),
		'they are counted');
}

$local->stop;
$remote->stop;
done_testing();

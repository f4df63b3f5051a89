# Mode two_phase in what surrounds a statement here: triggers, deferred ones
# that are the first to use a target at COMMIT, loops with COMMIT inside, cursors
# WITH HOLD; and PREPARE TRANSACTION here, with sessions of each mode.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;

my @remote = map { new_node("remote$_", "max_prepared_transactions = 10\n") } 1, 2;
my $local = new_node('local', "max_prepared_transactions = 5\n");

$_->safe_psql('postgres', 'CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)') foreach @remote, $local;
$local->safe_psql('postgres', q{
	CREATE EXTENSION sessmgr;
	CREATE FUNCTION add(target text, n int) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.execute(target, 'INSERT INTO t VALUES ($1)', n) $$;
	CREATE FUNCTION add(s sessmgr.session, n int) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.execute(s, 'INSERT INTO t VALUES ($1)', n) $$;
	CREATE FUNCTION sessions() RETURNS text LANGUAGE sql AS $$
		SELECT coalesce(string_agg(dburi || ' ' || state, ', ' ORDER BY dburi), 'none') FROM sessmgr.sessions $$});
foreach (1, 2)
{
	new_server($local, $remote[ $_ - 1 ], "r$_", "transaction 'two_phase'");
	new_server($local, $remote[ $_ - 1 ], "j$_", "transaction 'joined'");
	new_server($local, $remote[ $_ - 1 ], "m$_");
}

my $psql = psql($local);
my $admin = psql($local);
my @there = map { psql($_) } @remote;
my $s = q{:'s'::sessmgr.session};

# What is committed here, on the first target and on the second; nothing may be
# prepared on them, or left behind in this backend
sub committed
{
	my ($expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @found = map {
		$_->value(q{WITH d AS (DELETE FROM t RETURNING a)
			SELECT coalesce(string_agg(a::text, ',' ORDER BY a), '-') FROM d})
	} $admin, @there;
	push @found, map { $_->value('SELECT count(*) FROM pg_prepared_xacts') } @there;
	push @found, $psql->value(q{SELECT sessions() FROM (SELECT) AS x
		WHERE NOT EXISTS (SELECT FROM sessmgr.connections WHERE state <> 'idle')});
	is("@found", "$expected 0 0 none", "$name: here, there and there");
}

# How many decisions are written; then none
sub decisions
{
	my $n = $admin->value('SELECT count(*) FROM sessmgr.two_phase');
	$admin->value("SELECT count(*) FROM sessmgr.recover('r$_')") foreach 1, 2;
	return $n;
}

# ---- triggers

$admin->value(q{
	CREATE TABLE tr (a int);
	CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM add(tg_argv[0], new.a);
			INSERT INTO t VALUES (new.a);
			RETURN new;
		END $$;
	CREATE FUNCTION copy_all() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM add(tg_argv[0], a) FROM new_rows;
			RETURN NULL;
		END $$;
	CREATE TRIGGER before BEFORE INSERT ON tr FOR EACH ROW EXECUTE FUNCTION copy('r1');
	CREATE TRIGGER after AFTER INSERT ON tr REFERENCING NEW TABLE AS new_rows
		FOR EACH STATEMENT EXECUTE FUNCTION copy_all('r2')});
$psql->value('INSERT INTO tr VALUES (1), (2)');
committed('1,2 1,2 1,2', 'triggers');
$psql->value('BEGIN; INSERT INTO tr VALUES (1); SAVEPOINT a; INSERT INTO tr VALUES (2); ROLLBACK TO a; INSERT INTO tr VALUES (3); COMMIT');
committed('1,3 1,3 1,3', 'triggers and a savepoint');
$psql->value('BEGIN; INSERT INTO tr VALUES (1), (2); ROLLBACK');
committed('- - -', 'triggers and a rollback');
$psql->fails('INSERT INTO tr VALUES (1), (1)', '23505', 'a constraint there');
committed('- - -', 'a constraint there');
decisions();

# ---- deferred triggers: nothing of the target has been used before COMMIT

$admin->value(q{
	CREATE TABLE late (a int);
	CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM add('r1', new.a);
			INSERT INTO t VALUES (new.a);
			IF new.a = 10 THEN
				RAISE EXCEPTION 'an error in the trigger';
			ELSIF new.a = 11 THEN
				PERFORM sessmgr.execute('r1', 'SELECT 1 / 0');
			ELSIF new.a = 12 THEN
				PERFORM add('r1', 12);
			ELSIF new.a = 13 THEN
				BEGIN
					PERFORM add('r1', 14), sessmgr.execute('r1', 'SELECT 1 / 0');
				EXCEPTION WHEN division_by_zero THEN
					PERFORM add('r1', 15);
				END;
			ELSIF new.a >= 20 THEN
				PERFORM add('j2', new.a);
				IF new.a = 21 THEN PERFORM add('r1', 21); END IF;
				IF new.a = 22 THEN PERFORM add('j2', 22); END IF;
				IF new.a = 23 THEN PERFORM add(sessmgr.open((sessmgr.create_session('r2')).factory), 24); END IF;
			END IF;
			RETURN new;
		END $$;
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION late()});

# Runs a transaction with a row for the trigger, whose COMMIT is to end like this
sub late
{
	my ($n, $state, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$psql->value("BEGIN; INSERT INTO late VALUES ($n)");
	$psql->is(q{SELECT sessions(), (SELECT count(*) FROM sessmgr.two_phase)}, 'none|0', "$name: nothing before COMMIT");
	my $xid = $psql->value('SELECT pg_current_xact_id()');
	$psql->fails('COMMIT', $state, "$name: COMMIT");
	unlike($psql->{last_err}, qr/WARNING/, "$name: nothing is in doubt");
	is($admin->value(q{SELECT count(*) FROM sessmgr.two_phase}),
		$admin->value(qq{SELECT count(*) FROM sessmgr.two_phase WHERE gid ~ '^sessmgr_\\d+_\\d+_${xid}_\\d+_[0-9a-f]+\$'}),
		"$name: the rows are of this transaction");
	committed($expected, $name);
}

late(1, '', '1 1 -', 'a deferred trigger');
is(decisions(), 1, 'it has written a row');
late(10, 'P0001', '- - -', 'a deferred trigger that fails');
late(11, '22012', '- - -', 'a deferred trigger with an error there');
late(12, '23505', '- - -', 'a deferred trigger, and PREPARE fails');
# without BEGIN: after it, the server's own assertions do not know of that
$psql->value('INSERT INTO late VALUES (13)');
committed('13 13,15 -', 'a deferred trigger with an exception block');
is(decisions(), 1, 'one row for all of them');
late(20, '', '20 20 20', 'with a joined target');
is(decisions(), 1, 'which has no row');
late(21, '23505', '- - -', 'with a joined target, and PREPARE fails');
late(22, '23505', '- - -', 'with a joined target whose COMMIT fails');
late(23, '', '23 23 23,24', 'with a joined target and a session that nobody closes');
is(decisions(), 2, 'both two-phase ones have a row');
$psql->fails('BEGIN; INSERT INTO late VALUES (1); SET TRANSACTION READ ONLY; COMMIT', '25006',
	'the transaction has become read only');
committed('- - -', 'read only');
$psql->value('BEGIN; INSERT INTO late VALUES (1); SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK');
committed('- - -', 'not deferred any longer, and rolled back');
is(decisions(), 0, 'no row is left of those that failed');

# ---- cursors

foreach my $how ('query', 'stream')
{
	my $rows = q{'SELECT i FROM generate_series(1, 2500) i') AS q(a int)};
	$psql->value(qq{BEGIN; SELECT add('r1', 1);
		DECLARE h CURSOR WITH HOLD FOR SELECT * FROM sessmgr.$how('r1', $rows; FETCH 10 FROM h; SELECT add('r1', 2); COMMIT});
	committed('- 1,2 -', "$how WITH HOLD");
	$psql->value('MOVE 2488 FROM h');
	$psql->is('FETCH ALL FROM h', "2499\n2500", "$how WITH HOLD: its rows");
	$psql->value('CLOSE h');
	is(decisions(), 1, "$how WITH HOLD: a row");

	# nothing has asked for a row before COMMIT, nor has the transaction an id
	$psql->value("BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT * FROM sessmgr.$how('r1', $rows");
	$psql->is('SELECT sessions(), pg_current_xact_id_if_assigned()', 'none|', "$how WITH HOLD: unused");
	$psql->value('COMMIT');
	committed('- - -', "$how WITH HOLD that nobody has read");
	$psql->value('MOVE 2498 FROM h');
	$psql->is('FETCH ALL FROM h', "2499\n2500", "$how WITH HOLD that nobody has read: its rows");
	$psql->value('CLOSE h');
	is(decisions(), 1, "$how WITH HOLD that nobody has read: a row");

	# an error with rows that only COMMIT asks for
	$psql->value(qq{BEGIN; INSERT INTO t VALUES (1); SELECT add('r2', 1);
		DECLARE h CURSOR WITH HOLD FOR SELECT * FROM sessmgr.$how('r1', 'SELECT 1 / (i - 2500) FROM generate_series(1, 2500) i') AS q(a int)});
	$psql->fails('COMMIT', '22012', "$how WITH HOLD fails at COMMIT");
	committed('- - -', "$how WITH HOLD fails at COMMIT");

	# loops of procedures go on with what is kept of the cursor
	$psql->value(qq{
		CREATE PROCEDURE by_$how(fails int DEFAULT NULL) LANGUAGE plpgsql AS \$\$
		DECLARE
			r record;
			n int := 0;
		BEGIN
			FOR r IN SELECT * FROM sessmgr.$how('r1', $rows LOOP
				n := n + r.a;
				CONTINUE WHEN r.a % 500 <> 0;
				INSERT INTO t VALUES (r.a);
				PERFORM add('r1', r.a), add('r2', r.a);
				IF r.a = fails THEN RAISE EXCEPTION 'at %', r.a; END IF;
				IF r.a = 1000 THEN ROLLBACK; ELSE COMMIT; END IF;
			END LOOP;
			RAISE NOTICE 'sum %', n;
		END \$\$});
	$psql->value("CALL by_$how()");
	like($psql->{last_err}, qr/sum 3126250/, "a loop over $how has had all rows");
	committed(join(' ', ('500,1500,2000,2500') x 3), "a loop over $how with COMMIT");
	$psql->fails("CALL by_$how(2000)", 'P0001', "a loop over $how that fails");
	committed(join(' ', ('500,1500') x 3), "a loop over $how that fails");
	is(decisions() > 0, 1, "a loop over $how: rows");
}

# ---- PREPARE TRANSACTION here

# Whatever is prepared here is committed
sub commit_here
{
	my ($state, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $err) = $psql->run(q{PREPARE TRANSACTION 'here'});
	is($psql->{last_state}, $state, "PREPARE TRANSACTION: $name") or diag($err);
	$admin->value(q{COMMIT PREPARED 'here'}) if $state eq '';
	return $err;
}

my $warning = qr/WARNING:  25005: uncommitted work of a session on "m1" is rolled back/;

$psql->value('BEGIN; INSERT INTO t VALUES (1)');
$psql->open('s', 'm1', '{}');
$psql->value("SELECT add($s, 1)");
like(commit_here('', 'a manual session with uncommitted work'), $warning, 'which is rolled back with a warning');
committed('1 - -', 'a manual session with uncommitted work');
$psql->fails("SELECT sessmgr.scalar($s, 'SELECT 1')", '55000', 'the session is closed');

$psql->value('BEGIN; INSERT INTO t VALUES (1)');
$psql->open('s', 'm1', '{}');
$psql->value("SELECT add($s, 1), sessmgr.commit($s)");
unlike(commit_here('', 'a manual session that has committed'), qr/WARNING/, 'no warning');
committed('1 1 -', 'a manual session that has committed');

$psql->value('BEGIN; INSERT INTO t VALUES (1)');
$psql->open('s', 'm1');
$psql->value("SELECT add($s, 1)");
unlike(commit_here('', 'a held manual session'), qr/WARNING/, 'no warning');
$psql->is("SELECT sessmgr.in_transaction($s)", 't', 'its transaction stays open');
$psql->value("SELECT add($s, 2), sessmgr.commit($s), sessmgr.close($s)");
committed('1 1,2 -', 'a held manual session');

$psql->value(q{BEGIN; INSERT INTO t VALUES (1); SELECT add('m1', 1)});
unlike(commit_here('', 'an autocommit one-liner'), qr/WARNING/, 'no warning');
committed('1 1 -', 'an autocommit one-liner');

foreach my $mode ('j1', 'r1')
{
	$psql->value('BEGIN; INSERT INTO t VALUES (1)');
	$psql->open('s', $mode, '{}');
	unlike(commit_here('', "$mode: a session that was not used"), qr/WARNING/, 'no warning');
	committed('1 - -', "$mode: a session that was not used");
	$psql->fails("SELECT add($s, 1)", '55000', "$mode: it is closed");

	$psql->value('BEGIN; INSERT INTO t VALUES (1)');
	$psql->open('s', $mode);
	unlike(commit_here('', "$mode: a held session that was not used"), qr/WARNING/, 'no warning');
	$psql->value("SELECT add($s, 1), sessmgr.close($s)");
	committed('1 1 -', "$mode: a held session that was not used can be used later");

	$psql->value("BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a; SELECT add('$mode', 1); ROLLBACK TO a");
	unlike(commit_here('', "$mode: what was done there is rolled back to a savepoint"), qr/WARNING/, 'no warning');
	committed('1 - -', "$mode: rolled back to a savepoint");

	$psql->value("BEGIN; INSERT INTO t VALUES (1); SELECT add('$mode', 1)");
	like(commit_here('0A000', "$mode: work there"), qr/cannot PREPARE a transaction that a transaction on "$mode" is part of/,
		'which is refused');
	committed('- - -', "$mode: work there");

	$psql->value('BEGIN; INSERT INTO t VALUES (1)');
	$psql->open('s', $mode, '{}');
	$psql->value("SELECT add($s, 1), sessmgr.close($s)");
	commit_here('0A000', "$mode: work of a session that is closed");
	committed('- - -', "$mode: work of a session that is closed");

	$psql->value("BEGIN; CREATE TEMPORARY TABLE x (a int)");
	$psql->value("SELECT add('$mode', 1)");
	commit_here('0A000', "$mode: refused for two reasons");
	committed('- - -', "$mode: refused for two reasons");

	# first used by a trigger that PREPARE TRANSACTION runs
	$psql->value('BEGIN; INSERT INTO late VALUES (' . ($mode eq 'r1' ? 1 : 20) . ')');
	commit_here('0A000', "$mode: used by a deferred trigger");
	committed('- - -', "$mode: used by a deferred trigger");
}
is($admin->value('SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is prepared here');
decisions();
is(decisions(), 0, 'no row is left');

$_->quit foreach $psql, $admin, @there;
$_->stop foreach $local, @remote;
done_testing();

--
-- Mode joined: what is done on the target is part of the local transaction.
--
SELECT current_database() AS db, current_user AS me \gset
SET lock_timeout = '20s';
CREATE SCHEMA jo;
CREATE TABLE jo.t (id serial PRIMARY KEY, a integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE jo.here (a integer);
CREATE SERVER joined FOREIGN DATA WRAPPER sessmgr
    OPTIONS (loopback 'true', dbname :'db', transaction 'joined');
CREATE USER MAPPING FOR CURRENT_USER SERVER joined OPTIONS (user :'me');
CREATE SERVER joined2 FOREIGN DATA WRAPPER sessmgr
    OPTIONS (loopback 'true', dbname :'db', transaction 'joined');
CREATE USER MAPPING FOR CURRENT_USER SERVER joined2 OPTIONS (user :'me');
CREATE FUNCTION jo.add(n integer, target text DEFAULT 'joined') RETURNS bigint LANGUAGE sql AS
    $$ SELECT sessmgr.execute(target, 'INSERT INTO jo.t (a) VALUES ($1)', n) $$;
CREATE FUNCTION jo.add(s sessmgr.session, n integer) RETURNS bigint LANGUAGE sql AS
    $$ SELECT sessmgr.execute(s, 'INSERT INTO jo.t (a) VALUES ($1)', n) $$;
CREATE FUNCTION jo.open(options jsonb DEFAULT '{}', target text DEFAULT 'joined') RETURNS sessmgr.session LANGUAGE sql AS
    $$ SELECT sessmgr.open(factory) FROM sessmgr.create_session(target, options => options) $$;
-- what is committed; then nothing
CREATE FUNCTION jo.committed() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    rows text;
BEGIN
    WITH d AS (DELETE FROM jo.t RETURNING a) SELECT string_agg(a::text, ',' ORDER BY a) INTO rows FROM d;
    RETURN coalesce(rows, 'nothing');
END $$;
-- how this backend's sessions and connections are
CREATE FUNCTION jo.sessions() RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(format('%s %s %s savepoints %s', dburi, transaction, state, savepoints), ', '
                               ORDER BY dburi, state, savepoints), 'none') FROM sessmgr.sessions $$;
CREATE FUNCTION jo.connections() RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(dburi || ' ' || state, ', ' ORDER BY dburi, state), 'none') FROM sessmgr.connections $$;
\pset format unaligned
\pset tuples_only on

--
-- One-liners
--
SELECT 'a statement is a transaction', jo.add(1);
SELECT jo.committed(), jo.connections();
BEGIN;
SELECT jo.add(1), jo.add(2), jo.sessions(), jo.connections();
SELECT 'seen there', sessmgr.scalar('joined', 'SELECT count(*) FROM jo.t'), 'here', (SELECT count(*) FROM jo.t);
COMMIT;
SELECT jo.committed(), jo.sessions(), jo.connections();
BEGIN;
SELECT jo.add(3);
ROLLBACK;
SELECT jo.committed(), jo.sessions(), jo.connections();
BEGIN;
SELECT jo.add(4);
SELECT 1 / 0;
COMMIT;
SELECT jo.committed(), jo.sessions(), jo.connections();
-- two targets
BEGIN;
SELECT jo.add(5), jo.add(6, 'joined2'), jo.sessions();
COMMIT;
SELECT jo.committed();
BEGIN;
SELECT jo.add(5), jo.add(6, 'joined2');
ROLLBACK;
SELECT jo.committed(), jo.connections();
-- with an autocommit one beside it
BEGIN;
SELECT jo.add(7), jo.add(8, 'loop');
ROLLBACK;
SELECT jo.committed();
-- a remote error ends all of it
BEGIN;
SELECT jo.add(9);
SELECT sessmgr.execute('joined', 'SELECT 1 / 0');
COMMIT;
SELECT jo.committed();

--
-- Savepoints
--
BEGIN;
SELECT jo.add(1);
SAVEPOINT a;
SELECT jo.add(2), jo.sessions();
SAVEPOINT b;
SELECT jo.add(3), jo.sessions();
ROLLBACK TO a;
SELECT jo.sessions(), sessmgr.query_json('joined', 'SELECT a FROM jo.t ORDER BY a');
SELECT jo.add(4), jo.sessions();
RELEASE a;
SELECT jo.add(5), jo.sessions();
COMMIT;
SELECT jo.committed();
-- begun inside one
BEGIN;
SAVEPOINT a;
SAVEPOINT b;
SELECT jo.add(1), jo.sessions();
ROLLBACK TO b;
SELECT jo.sessions(), jo.add(2), jo.sessions();
RELEASE b;
RELEASE a;
SELECT jo.add(3), jo.sessions();
COMMIT;
SELECT jo.committed();
BEGIN;
SAVEPOINT a;
SELECT jo.add(1);
ROLLBACK;
SELECT jo.committed();
-- released ones that nothing follows, and others that something follows
BEGIN;
SELECT jo.add(1);
SAVEPOINT a;
SELECT jo.add(2);
RELEASE a;
SELECT jo.add(3);
SAVEPOINT b;
ROLLBACK TO b;
SAVEPOINT c;
SELECT jo.add(4), jo.sessions();
ROLLBACK TO b;
SELECT jo.add(5), jo.sessions();
COMMIT;
SELECT jo.committed();
-- to any depth
CREATE FUNCTION jo.deep(n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jo.add(n);
    IF n > 0 THEN
        BEGIN
            PERFORM jo.deep(n - 1);
            -- what the block inside has done is undone with it
            IF n % 10 = 3 THEN RAISE EXCEPTION USING MESSAGE = 'back'; END IF;
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
    END IF;
END $$;
SELECT jo.deep(40);
SELECT jo.committed();
-- EXCEPTION blocks in a loop: every third fails there, every fifth here
CREATE FUNCTION jo.some(n integer, target text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    caught integer := 0;
BEGIN
    FOR i IN 1..n LOOP
        BEGIN
            PERFORM jo.add(i, target);
            IF i % 3 = 0 THEN PERFORM sessmgr.execute(target, 'SELECT 1 / 0'); END IF;
            IF i % 5 = 0 THEN RAISE division_by_zero; END IF;
        EXCEPTION WHEN division_by_zero THEN caught := caught + 1;
        END;
    END LOOP;
    RETURN caught;
END $$;
SELECT jo.some(20, 'joined'), jo.sessions();
SELECT jo.committed();
BEGIN;
SELECT jo.add(0);
SELECT jo.some(20, 'joined'), jo.sessions();
COMMIT;
SELECT jo.committed();
-- an error that nothing catches takes all
SELECT jo.add(1), jo.some(3, 'joined'), 1 / (SELECT count(*) FROM jo.here);
SELECT jo.committed(), jo.connections();

--
-- Sessions
--
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.open('{"transaction": "manual"}') AS m \gset
SELECT jo.add(:'s', 1), jo.add(:'m', 2), jo.add(3), jo.sessions();
SELECT 'shared', sessmgr.scalar(:'s'::sessmgr.session, 'SELECT string_agg(a::text, '','') FROM jo.t'),
    sessmgr.scalar('joined', 'SELECT string_agg(a::text, '','') FROM jo.t'), sessmgr.in_transaction(:'s');
SELECT 'commit', try(format('SELECT sessmgr.commit(%L)', :'s'));
SELECT 'rollback', try(format('SELECT sessmgr.rollback(%L)', :'s'));
SELECT 'begin_nested', try(format('SELECT sessmgr.begin_nested(%L)', :'s'));
SELECT 'release', try(format('SELECT sessmgr.release(%L, 1)', :'s'));
SELECT 'rollback_to', try(format('SELECT sessmgr.rollback_to(%L, 1)', :'s'));
SELECT 'begin', try(format('SELECT sessmgr.begin(%L)', :'s'));
COMMIT;
SELECT jo.committed(), jo.sessions();
-- closed before the end: its work stays
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.add(:'s', 1), sessmgr.close(:'s'), jo.sessions();
SELECT 'closed', try(format('SELECT jo.add(%L::sessmgr.session, 2)', :'s')), sessmgr.close(:'s');
COMMIT;
SELECT jo.committed(), jo.sessions(), jo.connections();
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.add(:'s', 1), sessmgr.close(:'s');
ROLLBACK;
SELECT jo.committed(), jo.sessions(), jo.connections();
BEGIN;
SELECT jo.open() AS s \gset
SELECT sessmgr.close(:'s'), jo.sessions();
COMMIT;
-- held: one session, many local transactions
SELECT jo.open('{"hold": true}') AS h \gset
BEGIN;
SELECT jo.add(:'h', 1), jo.sessions();
COMMIT;
SELECT jo.committed(), jo.sessions(), sessmgr.in_transaction(:'h');
BEGIN;
SELECT jo.add(:'h', 2);
ROLLBACK;
SELECT jo.committed(), jo.sessions();
SELECT jo.add(:'h', 3);
BEGIN;
SELECT jo.add(:'h', 4);
SAVEPOINT a;
SELECT jo.add(:'h', 5), sessmgr.close(:'h');
ROLLBACK TO a;
SELECT jo.sessions();
COMMIT;
SELECT jo.committed(), jo.sessions();
-- opened in a subtransaction that aborts
BEGIN;
SAVEPOINT a;
SELECT jo.open() AS s \gset
SELECT jo.add(:'s', 1);
ROLLBACK TO a;
SELECT jo.sessions(), try(format('SELECT jo.add(%L::sessmgr.session, 2)', :'s'));
SAVEPOINT b;
SELECT jo.open() AS s \gset
RELEASE b;
SELECT jo.add(:'s', 3), jo.sessions();
COMMIT;
SELECT jo.committed(), jo.connections();
-- begin() begins it there and then
BEGIN;
SELECT jo.open() AS s \gset
SELECT sessmgr.begin(:'s'), jo.sessions();
SAVEPOINT a;
SELECT jo.add(:'s', 1);
COMMIT;
SELECT jo.committed();
-- in mode autocommit on a joined engine
BEGIN;
SELECT jo.open('{"transaction": "autocommit"}') AS s \gset
SELECT jo.add(:'s', 1);
ROLLBACK;
SELECT jo.committed();

--
-- One transaction there, whoever is part of it
--
CREATE FUNCTION jo.of_this_backend() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(DISTINCT remote_pid) FROM sessmgr.connections WHERE dburi = 'joined' AND state <> 'idle' $$;
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.open() AS t \gset
SELECT jo.add(:'s', 1), jo.sessions(), sessmgr.in_transaction(:'s'), sessmgr.in_transaction(:'t');
SELECT 'they touch one row', sessmgr.execute(:'t'::sessmgr.session, 'UPDATE jo.t SET a = a + 10'),
    sessmgr.execute('joined', 'UPDATE jo.t SET a = a + 100'), sessmgr.execute(:'s'::sessmgr.session, 'UPDATE jo.t SET a = a + 1000');
SELECT jo.sessions(), jo.of_this_backend(), sessmgr.in_transaction(:'t');
SELECT count(DISTINCT remote_pid), sum(statements) FILTER (WHERE session IS NOT NULL), sum(statements) FILTER (WHERE session IS NULL)
    FROM sessmgr.sessions WHERE remote_pid IS NOT NULL;
SELECT sessmgr.close(:'s'), sessmgr.execute(:'t'::sessmgr.session, 'UPDATE jo.t SET a = a + 10000'), jo.sessions();
COMMIT;
SELECT jo.committed(), jo.sessions();
-- savepoints are the transaction's, not each session's
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.add(:'s', 1);
SAVEPOINT a;
SELECT jo.open() AS t \gset
SELECT jo.add(:'t', 2), jo.add(:'s', 3), jo.add(4), jo.sessions();
SAVEPOINT b;
SELECT jo.add(5);
ROLLBACK TO b;
SELECT jo.add(:'t', 6), jo.sessions();
ROLLBACK TO a;
SELECT jo.sessions(), jo.add(:'s', 7), try(format('SELECT jo.add(%L::sessmgr.session, 8)', :'t'));
COMMIT;
SELECT jo.committed(), jo.sessions();
-- opened outside, first used in what is rolled back: it is out of the transaction again
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.add(1);
SAVEPOINT a;
SELECT jo.add(:'s', 2), sessmgr.in_transaction(:'s');
ROLLBACK TO a;
SELECT sessmgr.in_transaction(:'s'), jo.sessions(), sessmgr.begin(:'s'), sessmgr.in_transaction(:'s');
SELECT try(format('SELECT sessmgr.begin(%L)', :'s'));
COMMIT;
SELECT jo.committed();
-- a held one beside others
SELECT jo.open('{"hold": true}') AS h \gset
BEGIN;
SELECT jo.add(1), jo.add(:'h', 2), jo.sessions(), jo.of_this_backend();
COMMIT;
SELECT jo.sessions(), sessmgr.in_transaction(:'h');
BEGIN;
SELECT jo.add(5), 'not its own', sessmgr.in_transaction(:'h');
SELECT jo.add(:'h', 3), jo.add(4), jo.of_this_backend(), sessmgr.in_transaction(:'h');
ROLLBACK;
BEGIN;
SELECT jo.add(6), 'not its own', sessmgr.in_transaction(:'h');
COMMIT;
SELECT jo.sessions(), sessmgr.begin(:'h');
SELECT sessmgr.close(:'h'), jo.committed(), jo.sessions();
-- a session for each row: one connection
CREATE FUNCTION jo.each() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    s sessmgr.session := jo.open();
BEGIN
    PERFORM sessmgr.begin(s);
    PERFORM sessmgr.execute(s, 'UPDATE jo.t SET a = a + 1 WHERE $1 % 100 = 0', new.i);
    RETURN new;
END $$;
CREATE TABLE jo.rows (i integer);
CREATE TRIGGER each AFTER INSERT ON jo.rows FOR EACH ROW EXECUTE FUNCTION jo.each();
BEGIN;
SELECT jo.add(0);
INSERT INTO jo.rows SELECT generate_series(1, 10000);
SELECT jo.of_this_backend(), count(*) FROM sessmgr.sessions;
COMMIT;
SELECT jo.committed(), jo.sessions();
DO $$
DECLARE
    s sessmgr.session;
BEGIN
    FOR i IN 1..1000 LOOP
        BEGIN
            s := jo.open();
            PERFORM jo.add(s, i);
            IF i % 100 <> 0 THEN RAISE division_by_zero; END IF;
            PERFORM sessmgr.close(s);
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
    RAISE NOTICE '% connection, %', jo.of_this_backend(), jo.sessions();
END $$;
SELECT jo.committed(), jo.sessions();
-- what differs from how it began
BEGIN;
SELECT jo.add(1);
SELECT o, try(format('SELECT jo.add(jo.open(%L), 2)', o)) FROM unnest(ARRAY[
    '{"isolation_level": "SERIALIZABLE"}', '{"read_only": true}', '{"deferrable": true}',
    '{"isolation_level": "READ COMMITTED", "read_only": false, "deferrable": false}',
    '{"isolation_level": "READ UNCOMMITTED"}', '{"hold": true}']) o;
SELECT 'another mode', jo.add(jo.open('{"transaction": "manual", "isolation_level": "SERIALIZABLE"}'), 3);
ROLLBACK;
BEGIN;
SELECT jo.open('{"read_only": true}') AS r \gset
SELECT sessmgr.begin(:'r'), jo.add(4);
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT sessmgr.scalar(jo.open('{"read_only": true}'), 'SHOW transaction_read_only');
ROLLBACK TO a;
SELECT 'begun anew', jo.add(5);
COMMIT;
SELECT jo.committed();
-- one statement at a time, whoever sends it
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.open() AS t \gset
SELECT sessmgr.send(:'s', 'SELECT 1'), jo.sessions();
SELECT sessmgr.is_busy(:'t'), sessmgr.cancel(:'t'), sessmgr.wait_any(ARRAY[:'t', :'s']::sessmgr.session[]) OPERATOR(sessmgr.=) :'s';
SELECT try(format('SELECT jo.add(%L::sessmgr.session, 2)', :'t')), try('SELECT jo.add(2)');
SELECT try(format('SELECT * FROM sessmgr.receive(%L) AS t(a integer)', :'t'));
SELECT sessmgr.close(:'t');
SELECT * FROM sessmgr.receive(:'s') AS t(a integer);
SELECT jo.add(2);
-- given up by who sent it
SELECT sessmgr.send(:'s', 'SELECT pg_sleep(100)'), sessmgr.close(:'s'), jo.sessions();
ROLLBACK;
-- a subtransaction ends the one that has sent it
BEGIN;
SELECT jo.add(1);
SAVEPOINT a;
SELECT sessmgr.send(jo.open(), 'INSERT INTO jo.t (a) VALUES (2)');
ROLLBACK TO a;
SELECT jo.add(3), jo.sessions();
COMMIT;
SELECT jo.committed(), jo.sessions();
-- streams and bulk functions
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.add(i) FROM generate_series(1, 3) i \g /dev/null
SELECT x.a, jo.add(x.a + 10), jo.add(jo.open(), x.a + 100)
    FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT a FROM jo.t WHERE a < 10 ORDER BY a') AS x(a integer);
SELECT sessmgr.push(:'s'::sessmgr.session, 'SELECT 1000 + i FROM generate_series(1, 2) i', 'jo.t', ARRAY['a']),
    sessmgr.execute_many('joined', 'UPDATE jo.t SET a = a + 1000 WHERE a = $1', 'SELECT 1001'),
    sessmgr.pull(:'s'::sessmgr.session, 'SELECT a FROM jo.t', 'jo.here'), jo.of_this_backend();
SELECT try(format('SELECT sessmgr.push(%L::sessmgr.session, ''SELECT jo.add(jo.open(), i::int) FROM generate_series(1, 2) i'', ''jo.t'', ARRAY[''a''])', :'s'));
SELECT sum(a) FROM sessmgr.query_all(ARRAY['joined', 'joined'], 'SELECT count(*) FROM jo.t') AS q(target text, a bigint);
SELECT target, rows, sqlstate FROM sessmgr.execute_all(ARRAY['joined', 'joined'], 'UPDATE jo.t SET a = a + 5000');
ROLLBACK;
SELECT jo.committed(), jo.sessions();
-- transaction control in one is the loss of all
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.add(1);
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''ROLLBACK'')', :'s')), jo.sessions();
SELECT try('SELECT jo.add(2)'), sessmgr.in_transaction(:'s');
COMMIT;
-- a transaction for each mode
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.add(:'s', 1);
SELECT jo.open('{"transaction": "two_phase"}') AS p \gset
SELECT jo.add(jo.open(), 2), jo.sessions();
ROLLBACK;
SELECT jo.committed(), jo.sessions();
-- the engine invalidated: what is under way goes on for those who are in it
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.open() AS t \gset
SELECT jo.add(:'s', 1), sessmgr.invalidate('joined'), jo.add(:'t', 2), jo.sessions();
COMMIT;
SELECT jo.committed(), jo.sessions();

--
-- What the transaction there is like
--
CREATE FUNCTION jo.level(target text DEFAULT 'joined') RETURNS text LANGUAGE sql AS $$
    SELECT sessmgr.scalar(target, $q$SELECT concat_ws(' ', current_setting('transaction_isolation'),
        current_setting('transaction_read_only'), current_setting('transaction_deferrable'))$q$) $$;
CREATE FUNCTION jo.level(s sessmgr.session) RETURNS text LANGUAGE sql AS $$
    SELECT sessmgr.scalar(s, $q$SELECT concat_ws(' ', current_setting('transaction_isolation'),
        current_setting('transaction_read_only'), current_setting('transaction_deferrable'))$q$) $$;
SELECT jo.level();
BEGIN ISOLATION LEVEL READ UNCOMMITTED;
SELECT jo.level();
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT jo.level(), jo.level(jo.open('{"isolation_level": "READ COMMITTED"}')),
    jo.level(jo.open('{"isolation_level": "REPEATABLE READ", "read_only": false, "deferrable": false}'));
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT jo.level(jo.open('{"isolation_level": "SERIALIZABLE", "read_only": true}'));
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;
SELECT jo.level(), jo.level(jo.open('{"read_only": true, "deferrable": true, "isolation_level": "READ COMMITTED"}'));
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;
SELECT jo.level(jo.open('{"read_only": false, "deferrable": false, "isolation_level": "READ COMMITTED"}'));
COMMIT;
BEGIN READ ONLY;
SELECT jo.level(), try('SELECT jo.add(1)');
COMMIT;
SELECT jo.level(jo.open('{"isolation_level": "REPEATABLE READ"}'));
-- one snapshot, as here
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT sessmgr.scalar('joined', 'SELECT count(*) FROM jo.t');
SELECT sessmgr.execute('loop', 'INSERT INTO jo.t (a) VALUES (1)');
SELECT sessmgr.scalar('joined', 'SELECT count(*) FROM jo.t');
COMMIT;
SELECT jo.committed();

--
-- Errors at the end
--
-- a deferred constraint there: nothing is committed, here either
BEGIN;
INSERT INTO jo.here VALUES (1);
SELECT jo.add(1), jo.add(1);
COMMIT;
SELECT jo.committed(), (SELECT count(*) FROM jo.here), jo.sessions(), jo.connections();
-- of two targets, whose commits are sent at the same time: what each did is said
BEGIN;
INSERT INTO jo.here VALUES (1);
SELECT jo.add(1), jo.add(2, 'joined2'), jo.add(2, 'joined2');
COMMIT;
\echo :SQLSTATE
SELECT jo.committed(), (SELECT count(*) FROM jo.here), jo.sessions(), jo.connections();
-- a transaction that is lost cannot be committed
CREATE FUNCTION jo.kill() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    pid integer := remote_pid FROM sessmgr.connections WHERE state = 'in transaction';
BEGIN
    PERFORM pg_terminate_backend(pid, 20000);
    PERFORM sessmgr.execute('joined', 'SELECT 1');
    RETURN 'still there';
EXCEPTION WHEN connection_failure OR admin_shutdown THEN
    RETURN 'gone';
END $$;
BEGIN;
SELECT jo.add(1);
SELECT jo.kill(), jo.sessions(), jo.connections();
SELECT try('SELECT jo.add(2)');
COMMIT;
\echo :SQLSTATE
SELECT jo.committed(), jo.sessions(), jo.connections();
BEGIN;
SELECT jo.add(1);
SELECT pg_terminate_backend(remote_pid, 20000) FROM sessmgr.connections WHERE state = 'in transaction';
COMMIT;
SELECT jo.committed(), jo.sessions(), jo.connections();
-- but if it began in what is rolled back, nothing is lost
BEGIN;
INSERT INTO jo.here VALUES (1);
SELECT jo.open() AS s \gset
SAVEPOINT a;
SELECT jo.add(:'s', 1), jo.add(2);
SELECT count(pg_terminate_backend(remote_pid, 20000)) FROM sessmgr.connections WHERE state = 'in transaction';
SELECT jo.add(:'s', 3);
ROLLBACK TO a;
SELECT jo.sessions(), jo.add(:'s', 4), jo.add(5);
COMMIT;
SELECT jo.committed(), (SELECT count(*) FROM jo.here), jo.sessions();
TRUNCATE jo.here;
-- transaction control as text
BEGIN;
INSERT INTO jo.here VALUES (1);
SELECT jo.add(1);
SELECT try($$SELECT sessmgr.execute('joined', 'ROLLBACK')$$), jo.sessions();
SELECT try('SELECT jo.add(1)');
COMMIT;
SELECT jo.committed(), (SELECT count(*) FROM jo.here), jo.sessions();

--
-- Procedures, DO, triggers, cursors
--
CREATE PROCEDURE jo.steps() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jo.add(1);
    COMMIT;
    PERFORM jo.add(2);
    ROLLBACK;
    PERFORM jo.add(3);
    COMMIT;
    PERFORM jo.add(4);
    RAISE EXCEPTION 'the end';
END $$;
CALL jo.steps();
SELECT jo.committed(), jo.sessions();
DO $$ BEGIN PERFORM jo.add(1); END $$;
SELECT jo.committed();
CREATE FUNCTION jo.copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jo.add(new.a);
    RETURN new;
END $$;
CREATE TRIGGER at_once AFTER INSERT ON jo.here FOR EACH ROW WHEN (new.a < 100) EXECUTE FUNCTION jo.copy();
CREATE CONSTRAINT TRIGGER at_end AFTER INSERT ON jo.here DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (new.a >= 100) EXECUTE FUNCTION jo.copy();
BEGIN;
INSERT INTO jo.here VALUES (10), (100);
SELECT jo.sessions(), sessmgr.query_json('joined', 'SELECT a FROM jo.t');
COMMIT;
SELECT jo.committed(), jo.sessions();
BEGIN;
INSERT INTO jo.here VALUES (11), (101);
ROLLBACK;
SELECT jo.committed();
-- a deferred trigger that is the first to use the target, at COMMIT
TRUNCATE jo.here;
BEGIN;
INSERT INTO jo.here VALUES (100), (101);
SELECT jo.sessions();
COMMIT;
SELECT jo.committed(), (SELECT string_agg(a::text, ',' ORDER BY a) FROM jo.here), jo.sessions(), jo.connections();
-- an error there, one of the trigger's own, and one of the target's deferred constraint
CREATE FUNCTION jo.fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jo.add(new.a);
    IF new.a = 1000 THEN
        RAISE EXCEPTION 'an error in the trigger';
    ELSIF new.a = 1001 THEN
        PERFORM sessmgr.execute('joined', 'SELECT 1 / 0');
    ELSIF new.a = 1002 THEN
        PERFORM jo.add(new.a);
    ELSIF new.a = 1003 THEN
        BEGIN
            PERFORM jo.add(1), sessmgr.execute('joined', 'SELECT 1 / 0');
        EXCEPTION WHEN division_by_zero THEN
            PERFORM jo.add(2);
        END;
    ELSE
        -- nobody closes it
        PERFORM jo.add(jo.open(), 3);
    END IF;
    RETURN new;
END $$;
DROP TRIGGER at_end ON jo.here;
CREATE CONSTRAINT TRIGGER at_end AFTER INSERT ON jo.here DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (new.a >= 1000) EXECUTE FUNCTION jo.fail();
TRUNCATE jo.here;
BEGIN;
INSERT INTO jo.here VALUES (1000);
COMMIT;
SELECT jo.committed(), (SELECT count(*) FROM jo.here), jo.sessions(), jo.connections();
BEGIN;
INSERT INTO jo.here VALUES (1001);
COMMIT;
SELECT jo.committed(), (SELECT count(*) FROM jo.here), jo.sessions(), jo.connections();
BEGIN;
INSERT INTO jo.here VALUES (1002);
COMMIT;
SELECT jo.committed(), (SELECT count(*) FROM jo.here), jo.sessions(), jo.connections();
-- without BEGIN: after it, the server's own assertions do not know of an error
-- that a deferred trigger catches
INSERT INTO jo.here VALUES (1003), (1004);
SELECT jo.committed(), (SELECT count(*) FROM jo.here), jo.sessions(), jo.connections();
-- loops over rows from there, with COMMIT and ROLLBACK inside: the loop goes on
-- with what is kept of the cursor, and each part ends by itself
CREATE PROCEDURE jo.by_query() LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM sessmgr.query('joined', 'SELECT i FROM generate_series(1, 5) i') AS q(a integer) LOOP
        PERFORM jo.add(r.a);
        IF r.a = 3 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
END $$;
CALL jo.by_query();
SELECT jo.committed(), jo.sessions(), jo.connections();
-- more rows than a stream in a session fetches at a time
CREATE PROCEDURE jo.by_stream(fails integer DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    r record;
    n integer := 0;
BEGIN
    FOR r IN SELECT * FROM sessmgr.stream('joined', 'SELECT i FROM generate_series(1, 5000) i') AS q(a integer) LOOP
        n := n + r.a;
        CONTINUE WHEN r.a % 1000 <> 500;
        PERFORM jo.add(r.a);
        IF r.a = fails THEN RAISE EXCEPTION 'at %', r.a; END IF;
        IF r.a = 2500 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
    RAISE NOTICE 'sum %', n;
END $$;
CALL jo.by_stream();
SELECT jo.committed(), jo.sessions(), jo.connections();
CALL jo.by_stream(3500);
SELECT jo.committed(), jo.sessions(), jo.connections();
-- a cursor that is no loop's ends with the COMMIT
CREATE PROCEDURE jo.by_cursor() LANGUAGE plpgsql AS $$
DECLARE
    c CURSOR FOR SELECT * FROM sessmgr.stream('joined', 'SELECT i FROM generate_series(1, 5000) i') AS q(a integer);
    a integer;
BEGIN
    OPEN c;
    FETCH c INTO a;
    PERFORM jo.add(a);
    COMMIT;
    RAISE NOTICE '%', jo.sessions();
    PERFORM jo.add(2);
    BEGIN
        FETCH c INTO a;
    EXCEPTION WHEN invalid_cursor_name THEN
        RAISE NOTICE 'it is gone';
    END;
END $$;
CALL jo.by_cursor();
SELECT jo.committed(), jo.sessions(), jo.connections();
-- cursors
BEGIN;
SELECT jo.add(i) FROM generate_series(1, 3) i;
DECLARE c CURSOR FOR SELECT * FROM sessmgr.query('joined', 'SELECT a FROM jo.t ORDER BY a') AS q(a integer);
FETCH 1 FROM c;
SAVEPOINT a;
SELECT jo.add(4);
ROLLBACK TO a;
FETCH 1 FROM c;
DECLARE h CURSOR WITH HOLD FOR SELECT * FROM sessmgr.query('joined', 'SELECT a FROM jo.t ORDER BY a') AS q(a integer);
COMMIT;
FETCH ALL FROM h;
CLOSE h;
SELECT jo.committed(), jo.sessions();
-- first asked for a row at COMMIT
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT * FROM sessmgr.stream('joined', 'SELECT i FROM generate_series(1, 2500) i') AS q(a integer);
SELECT jo.sessions();
COMMIT;
SELECT jo.sessions(), jo.connections();
MOVE 2498 FROM h;
FETCH ALL FROM h;
CLOSE h;

--
-- Beside other things
--
-- the target altered, and the engine invalidated, while it is in use
BEGIN;
SELECT jo.add(1);
ALTER SERVER joined OPTIONS (ADD application_name 'other');
SELECT jo.add(2), jo.sessions();
SELECT sessmgr.invalidate('joined');
SELECT jo.sessions();
SELECT jo.add(3), jo.sessions();
COMMIT;
SELECT jo.committed(), jo.sessions();
-- reset() does not take away what is to be committed
BEGIN;
SELECT jo.add(1);
SELECT try('SELECT sessmgr.reset()'), jo.sessions();
COMMIT;
SELECT jo.committed(), sessmgr.reset(), jo.sessions(), jo.connections();
-- each role its own; the commit needs no privilege
BEGIN;
CREATE USER MAPPING FOR regress_sm_user SERVER joined OPTIONS (user :'me', password_required 'false');
GRANT USAGE ON FOREIGN SERVER joined TO regress_sm_user;
GRANT USAGE ON SCHEMA jo TO regress_sm_user;
COMMIT;
BEGIN;
SELECT jo.add(1);
SET LOCAL ROLE regress_sm_user;
SELECT jo.add(2), jo.sessions();
RESET ROLE;
SELECT jo.sessions();
SET LOCAL ROLE regress_sm_none;
COMMIT;
SELECT jo.committed(), jo.sessions();
-- this backend's own target is part of the transaction anyway
SELECT sessmgr.execute(jo.open('{"transaction": "joined"}', 'spi:'), 'INSERT INTO jo.t (a) VALUES (1)');
SELECT jo.committed();
SELECT try($$SELECT jo.open('{"transaction": "two_phase"}', 'spi:')$$);
SELECT try($$SELECT jo.open('{"transaction": "join"}')$$);
SELECT try($$SELECT jo.open('{"transaction": "joined", "isolation_level": "AUTOCOMMIT"}')$$);
-- models are prepared in a transaction of their own all the same
SELECT sessmgr.prepare_models(sessmgr.get_engine('joined'));
-- the local transaction prepared: nobody would be there to end the remote one
BEGIN;
SELECT jo.open() AS s \gset
SELECT jo.add(:'s', 1), sessmgr.close(:'s');
PREPARE TRANSACTION 'sessmgr_test';
SELECT jo.committed(), jo.sessions();
-- refused before it is sent, and with it BEGIN and the savepoint that would travel with it
CREATE FUNCTION jo.misfit() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM sessmgr.query('joined', 'SELECT 1, 2') AS t(a integer);
    RETURN 'no error';
EXCEPTION WHEN datatype_mismatch THEN
    RETURN SQLERRM;
END $$;
BEGIN;
SELECT jo.misfit();
SELECT 'described with the BEGIN that it belonged to', jo.sessions();
SELECT jo.misfit();
SELECT 'not even sent', jo.sessions();
SELECT jo.add(1);
SELECT jo.misfit(), jo.sessions();
SELECT jo.add(2);
COMMIT;
SELECT jo.committed(), jo.sessions(), jo.connections();
BEGIN;
SELECT jo.open() AS s \gset
SAVEPOINT a;
SELECT jo.misfit();
SAVEPOINT b;
SELECT jo.add(:'s', 3);
ROLLBACK TO b;
SELECT jo.misfit(), jo.add(:'s', 4), jo.sessions();
COMMIT;
SELECT jo.committed(), jo.sessions(), jo.connections();
-- two-phase: what can be refused here (the rest is tested on two servers)
BEGIN READ ONLY;
SELECT jo.open('{"transaction": "two_phase"}') AS s \gset
SELECT try(format('SELECT jo.add(%L::sessmgr.session, 1)', :'s'));
SELECT try($$SELECT sessmgr.recover('joined')$$);
COMMIT;
SELECT try('SELECT sessmgr.recover(NULL)'), try($$SELECT sessmgr.recover('spi:')$$);
-- DISCARD ALL
BEGIN;
SELECT jo.add(1);
COMMIT;
DISCARD ALL;
SELECT jo.committed(), jo.sessions(), jo.connections();
SET client_min_messages = warning;
DROP SCHEMA jo CASCADE;
DROP SERVER joined CASCADE;
DROP SERVER joined2 CASCADE;

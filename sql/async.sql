--
-- Statements that are sent now and received later.
--
SET lock_timeout = '20s';
CREATE SCHEMA ay;
CREATE TABLE ay.t (a integer);
CREATE FUNCTION ay.open(options jsonb DEFAULT '{}', target text DEFAULT 'loop') RETURNS sessmgr.session LANGUAGE sql AS $$
    SELECT sessmgr.open(factory) FROM sessmgr.create_session(target, options => options)
$$;
CREATE FUNCTION ay.committed() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    rows text;
BEGIN
    WITH d AS (DELETE FROM ay.t RETURNING a) SELECT string_agg(a::text, ',' ORDER BY a) INTO rows FROM d;
    RETURN coalesce(rows, 'nothing');
END $$;
-- what this backend's sessions are doing, and how many connections are out
CREATE FUNCTION ay.state() RETURNS text LANGUAGE sql AS $$
    SELECT format('%s, %s out', coalesce((SELECT string_agg(state, ', ' ORDER BY opened_at) FROM sessmgr.sessions), 'no sessions'),
                  (SELECT sum(checked_out) FROM sessmgr.engines))
$$;
-- whether a statement with this text is running on the target, given time to change
CREATE FUNCTION ay.runs(what text, expected boolean) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    found boolean;
BEGIN
    FOR i IN 1 .. 1000 LOOP
        PERFORM pg_stat_clear_snapshot();
        found := EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%' || what AND pid <> pg_backend_pid());
        EXIT WHEN found = expected;
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN found;
END $$;
-- a statement's error, also if it is a cancel
CREATE FUNCTION ay.err(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'ok';
EXCEPTION WHEN OTHERS OR query_canceled THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
-- until something can be received
CREATE FUNCTION ay.settle(s sessmgr.session) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    WHILE sessmgr.is_busy(s) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN sessmgr.is_busy(s);
END $$;
\pset format unaligned
\pset tuples_only on

SELECT ay.open('{"hold": true}') AS s, ay.open('{"hold": true}') AS s2, ay.open('{"hold": true, "transaction": "autocommit"}') AS a \gset

--
-- Rows, counts, errors
--
SELECT sessmgr.send(:'s', 'SELECT k, v FROM kv WHERE k = ANY ($1) OR v = $2 ORDER BY k', ARRAY[1, 2], 'v3');
SELECT ay.state();
SELECT ay.settle(:'s');
SELECT * FROM sessmgr.receive(:'s') AS t(k integer, v text);
SELECT sessmgr.in_transaction(:'s'), ay.state(), sessmgr.rollback(:'s');
SELECT sessmgr.send(:'s', 'SELECT repeat($1, 10) || n FROM generate_series(1, 50000) n', 'x');
SELECT count(*), count(DISTINCT r), max(r) FROM sessmgr.receive(:'s') AS t(r text);
-- how many rows a statement has affected
SELECT sessmgr.send(:'s', 'INSERT INTO ay.t VALUES (1), (2)');
SELECT * FROM sessmgr.receive(:'s') AS t(rows bigint);
SELECT sessmgr.send(:'s', 'SELECT a::bigint FROM ay.t WHERE a < 0');
SELECT * FROM sessmgr.receive(:'s') AS t(rows bigint);
SELECT sessmgr.send(:'s', 'UPDATE ay.t SET a = a + 1');
SELECT try(format('SELECT * FROM sessmgr.receive(%L) AS t(a integer)', :'s'));
SELECT sessmgr.in_transaction(:'s'), sessmgr.rollback(:'s'), ay.committed();
-- an error is the statement's, and fails the transaction
SELECT sessmgr.send(:'s', 'SELECT 1 / $1', 0);
SELECT ay.settle(:'s');
SELECT * FROM sessmgr.receive(:'s') AS t(a integer);
SELECT ay.state(), sessmgr.rollback(:'s');
SELECT sessmgr.send(:'s', 'SELECT 1 / $1', 0);
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a integer)', :'s')), ay.state();
SELECT sessmgr.send(:'s', 'SELECT 1');
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a integer)', :'s')), sessmgr.rollback(:'s');
SELECT sessmgr.send(:'s', 'SELECT ''x'' FROM generate_series(1, 100000)');
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a integer)', :'s')), sessmgr.rollback(:'s');
SELECT sessmgr.send(:'s', f), try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(rows bigint)', :'s')), sessmgr.rollback(:'s'), ay.state() FROM unnest('{"",COMMIT,COPY kv TO STDOUT,"SELECT 1, 2"}'::text[]) f;
-- again and again: an entry of the cache that is gone is found out
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 42') FROM generate_series(1, 3);
SELECT sessmgr.commit(:'s'), sessmgr.execute(:'a'::sessmgr.session, 'SELECT 42');
SELECT sessmgr.execute('loop', 'DEALLOCATE ALL');
SELECT sessmgr.send(:'s', 'SELECT 42');
SELECT * FROM sessmgr.receive(:'s') AS t(a integer);
SELECT sessmgr.commit(:'s');
-- values are copied
DO $$
DECLARE
    s sessmgr.session := ay.open();
    big text;
    r text;
BEGIN
    big := repeat('y', 3000000);
    PERFORM sessmgr.send(s, 'SELECT length($1) || $2::text || ($3 IS NULL) || $4', big, ARRAY[1, 2], NULL::integer, 'z');
    big := repeat('n', 3000000);
    SELECT a INTO r FROM sessmgr.receive(s) AS t(a text);
    RAISE NOTICE '%', r;
END $$;

--
-- Between send and receive
--
SELECT sessmgr.send(:'s', 'INSERT INTO ay.t VALUES ($1) RETURNING a', 3);
SELECT f, try('SELECT sessmgr.' || replace(f, '@', quote_literal(:'s') || '::sessmgr.session')) FROM unnest('{begin(@),commit(@),begin_nested(@),"release(@, 1)","rollback_to(@, 1)","execute(@, ''SELECT 1'')","send(@, ''SELECT 1'')","scalar(@, ''SELECT 1'')","execute_many(@, ''SELECT $1'', ''SELECT 1'')",in_transaction(@)}'::text[]) f;
SELECT * FROM sessmgr.receive(:'s') AS t(a integer);
SELECT sessmgr.commit(:'s'), ay.committed();
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a integer)', :'s'));
SELECT sessmgr.is_busy(:'s'), sessmgr.cancel(:'s');
-- rollback and close give it up
SELECT sessmgr.send(:'s', 'INSERT INTO ay.t SELECT 4 FROM pg_sleep(600) --rolled back'), ay.runs('--rolled back', true);
SELECT sessmgr.rollback(:'s'), ay.runs('--rolled back', false), ay.state();
SELECT sessmgr.send(:'s2', 'INSERT INTO ay.t SELECT 4 FROM pg_sleep(600) --closed'), ay.runs('--closed', true);
SELECT sessmgr.close(:'s2'), ay.runs('--closed', false), ay.state();
SELECT ay.committed();
-- no other way to get at it
SELECT try($$SELECT sessmgr.send(NULL, 'SELECT 1')$$), try(format('SELECT sessmgr.send(%L, NULL)', :'s'));
SELECT f, try('SELECT 1 FROM sessmgr.' || f) FROM unnest('{is_busy(NULL),cancel(NULL),receive(NULL) AS t(a int),wait_any(NULL)}'::text[]) f;
SELECT f, try('SELECT 1 FROM sessmgr.' || replace(f, '$', quote_literal(:'s2'))) FROM unnest('{"send($, ''SELECT 1'')",is_busy($),cancel($),receive($) AS t(a int),wait_any(ARRAY[$]::sessmgr.session[])}'::text[]) f;
SELECT try(format('SELECT sessmgr.receive(%L)', :'s'));
BEGIN;
SELECT ay.open(target => 'spi:') AS spi \gset
SELECT try(format('SELECT sessmgr.send(%L, ''SELECT 1'')', :'spi'));
SELECT sessmgr.is_busy(:'spi'), sessmgr.cancel(:'spi');
COMMIT;
SET ROLE regress_sm_user;
SELECT try(format('SELECT sessmgr.send(%L, ''SELECT 1'')', :'s')), try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a int)', :'s')), try(format('SELECT sessmgr.wait_any(%L)', ARRAY[:'s']));
RESET ROLE;

--
-- cancel
--
SELECT sessmgr.send(:'s', 'SELECT pg_sleep(600) --canceled'), ay.runs('--canceled', true);
SELECT sessmgr.is_busy(:'s'), sessmgr.cancel(:'s'), sessmgr.is_busy(:'s');
SELECT ay.err(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a text)', :'s')), ay.state();
SELECT sessmgr.rollback(:'s');
-- too late: it has ended, and can be received
SELECT sessmgr.send(:'s', 'INSERT INTO ay.t VALUES (5)');
SELECT ay.settle(:'s'), sessmgr.cancel(:'s');
SELECT * FROM sessmgr.receive(:'s') AS t(rows bigint);
SELECT sessmgr.commit(:'s'), ay.committed();
-- while its rows are on their way
SELECT sessmgr.send(:'s', 'SELECT n, pg_sleep(CASE WHEN n > 1000 THEN 600 END) FROM generate_series(1, 100000) n');
SELECT ay.settle(:'s'), sessmgr.cancel(:'s');
SELECT ay.err(format('SELECT 1 FROM sessmgr.receive(%L) AS t(n integer, x text)', :'s')), sessmgr.rollback(:'s');

--
-- Mode autocommit
--
SELECT sessmgr.send(:'a', 'INSERT INTO ay.t VALUES ($1)', 6), ay.state();
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', :'a')), sessmgr.in_transaction(:'a');
SELECT * FROM sessmgr.receive(:'a') AS t(rows bigint);
SELECT ay.state(), ay.committed();
SELECT sessmgr.send(:'a', 'SELECT 1 / 0');
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a integer)', :'a')), ay.state();
SELECT sessmgr.send(:'a', f), try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(rows bigint)', :'a')), ay.state() FROM unnest('{"",BEGIN,COPY kv TO STDOUT}'::text[]) f;
SELECT sessmgr.send(:'a', 'SELECT pg_sleep(600) --alone'), ay.runs('--alone', true);
SELECT sessmgr.cancel(:'a'), ay.err(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a text)', :'a')), ay.state();
-- given up: nothing to tell if it had no effect, a warning if it had
SELECT sessmgr.send(:'a', 'INSERT INTO ay.t SELECT 7 FROM pg_sleep(600) --alone'), ay.runs('--alone', true);
SELECT sessmgr.rollback(:'a'), ay.runs('--alone', false), ay.state(), ay.committed();
SELECT sessmgr.send(:'a', 'INSERT INTO ay.t VALUES (8)');
SELECT ay.settle(:'a'), sessmgr.rollback(:'a'), ay.state(), ay.committed();
-- its answer is not what was asked for
SELECT sessmgr.send(:'a', 'INSERT INTO ay.t VALUES (9) RETURNING a, a');
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a integer)', :'a')), ay.state(), ay.committed();
SELECT sessmgr.send(:'a', 'INSERT INTO ay.t VALUES (10) RETURNING ''x''');
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a integer)', :'a')), ay.state(), ay.committed();
SELECT sessmgr.send(:'a', 'INSERT INTO ay.t VALUES (11)');
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a text)', :'a')), ay.state(), ay.committed();
-- options of its transactions
SELECT sessmgr.close(:'a'), ay.open('{"hold": true, "transaction": "autocommit", "read_only": true}') AS a \gset
SELECT sessmgr.send(:'a', 'INSERT INTO ay.t VALUES (12)');
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(rows bigint)', :'a'));
SELECT sessmgr.close(:'a');

--
-- wait_any
--
SELECT ay.open('{"hold": true}') AS w1, ay.open('{"hold": true}') AS w2, ay.open('{"hold": true}') AS w3 \gset
SELECT sessmgr.wait_any('{}'), sessmgr.wait_any(ARRAY[:'w1', :'w2']::sessmgr.session[]);
SELECT try(format('SELECT sessmgr.wait_any(ARRAY[%L, NULL]::sessmgr.session[])', :'w1'));
SELECT sessmgr.send(:'w1', 'SELECT 1 FROM pg_sleep(600) --waits'), sessmgr.send(:'w2', 'SELECT 2 FROM pg_sleep(0.1)'), sessmgr.send(:'w3', 'SELECT 3 FROM pg_sleep(600) --waits');
SELECT sessmgr.wait_any(ARRAY[:'w1', :'w2', :'w3']::sessmgr.session[])::text = :'w2';
SELECT sessmgr.wait_any(ARRAY[:'w1', :'w3']::sessmgr.session[], '0.1s'), sessmgr.wait_any(ARRAY[:'w1', :'w3']::sessmgr.session[], '0s'), sessmgr.wait_any(ARRAY[:'w1', :'w3']::sessmgr.session[], '-1s');
-- named twice
SELECT sessmgr.wait_any(ARRAY[:'w1', :'w3', :'w1', :'w1']::sessmgr.session[], '0.1s'), sessmgr.wait_any(ARRAY[:'w1', :'w1', :'w2', :'w2']::sessmgr.session[])::text = :'w2';
SELECT sessmgr.wait_any(ARRAY[:'w1', :'w2', :'w3']::sessmgr.session[], '-1s')::text = :'w2';
SELECT * FROM sessmgr.receive(:'w2') AS t(a integer);
-- a local timeout ends the wait, not the statements
BEGIN;
SET LOCAL statement_timeout = '100ms';
SELECT sessmgr.wait_any(ARRAY[:'w1', :'w3']::sessmgr.session[]);
ROLLBACK;
SELECT ay.runs('--waits', true);
SELECT sessmgr.cancel(:'w3');
SELECT sessmgr.wait_any(ARRAY[:'w1', :'w2', :'w3']::sessmgr.session[])::text = :'w3';
SELECT sessmgr.close(:'w1'), sessmgr.close(:'w2'), sessmgr.close(:'w3'), ay.runs('--waits', false), ay.state();
-- a statement's own timeout is for receive to raise
SELECT sessmgr.reset();
SELECT sessmgr.get_engine('loop', '{"statement_timeout": "100ms"}') IS NOT NULL;
BEGIN;
SELECT ay.open() AS w1 \gset
SELECT sessmgr.send(:'w1', 'SELECT 1 FROM pg_sleep(600)');
SELECT sessmgr.wait_any(ARRAY[:'w1']::sessmgr.session[])::text = :'w1', sessmgr.is_busy(:'w1');
SELECT ay.err(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a integer)', :'w1'));
COMMIT;
SELECT sessmgr.reset();

--
-- The end of the local transaction
--
BEGIN;
SELECT ay.open() AS x, ay.open('{"hold": true}') AS h, ay.open('{"transaction": "autocommit"}') AS a \gset
SELECT sessmgr.send(:'x', 'INSERT INTO ay.t SELECT 20 FROM pg_sleep(600) --commit'), ay.runs('--commit', true);
SELECT sessmgr.send(:'a', 'INSERT INTO ay.t SELECT 21 FROM pg_sleep(600) --alone'), ay.runs('--alone', true);
SELECT sessmgr.send(:'h', 'INSERT INTO ay.t VALUES (22)');
COMMIT;
SELECT ay.runs('--commit', false), ay.runs('--alone', false), ay.state();
-- what a held session has sent goes on, whatever becomes of transactions that do not use it
BEGIN;
ROLLBACK;
BEGIN;
SAVEPOINT s;
ROLLBACK TO s;
COMMIT;
SELECT * FROM sessmgr.receive(:'h') AS t(rows bigint);
SELECT sessmgr.commit(:'h'), ay.committed();
-- an abort
BEGIN;
SELECT ay.open() AS x \gset
SELECT sessmgr.send(:'x', 'INSERT INTO ay.t SELECT 23 FROM pg_sleep(600) --abort'), sessmgr.send(:'h', 'INSERT INTO ay.t SELECT 24 FROM pg_sleep(600) --abort');
SELECT ay.runs('--abort', true);
ROLLBACK;
SELECT ay.runs('--abort', false), ay.state(), ay.committed();
-- a subtransaction
BEGIN;
SELECT ay.open() AS x, ay.open('{"transaction": "autocommit"}') AS a \gset
SELECT sessmgr.execute(:'x'::sessmgr.session, 'INSERT INTO ay.t VALUES (25)');
SAVEPOINT s;
SELECT sessmgr.send(:'x', 'INSERT INTO ay.t SELECT 26 FROM pg_sleep(600) --sub'), sessmgr.send(:'a', 'INSERT INTO ay.t SELECT 27 FROM pg_sleep(600) --sub');
SELECT ay.runs('--sub', true);
ROLLBACK TO s;
SELECT ay.runs('--sub', false), ay.state();
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(a integer)', :'x'));
SELECT sessmgr.rollback(:'x');
-- received in one that fails: gone
SELECT sessmgr.send(:'x', 'SELECT 1 FROM pg_sleep(600)');
SAVEPOINT s;
SET LOCAL statement_timeout = '100ms';
SELECT * FROM sessmgr.receive(:'x') AS t(a integer);
ROLLBACK TO s;
SELECT ay.state();
-- sent in one that is released: kept
SELECT sessmgr.rollback(:'x');
SAVEPOINT s;
SELECT sessmgr.send(:'x', 'SELECT 28');
RELEASE s;
SAVEPOINT s;
ROLLBACK TO s;
SELECT * FROM sessmgr.receive(:'x') AS t(a integer);
COMMIT;
SELECT ay.state(), ay.committed();
-- reset and DISCARD ALL
SELECT sessmgr.send(:'h', 'SELECT pg_sleep(600) --reset'), ay.runs('--reset', true);
SELECT sessmgr.reset(), ay.runs('--reset', false);
SELECT ay.open('{"hold": true, "transaction": "autocommit"}') AS h \gset
SELECT sessmgr.send(:'h', 'SELECT pg_sleep(600) --discard'), ay.runs('--discard', true);
DISCARD ALL;
SELECT ay.runs('--discard', false);

--
-- Part of the local transaction
--
BEGIN;
SELECT ay.open('{"transaction": "joined"}') AS j \gset
SELECT sessmgr.send(:'j', 'INSERT INTO ay.t VALUES (30) RETURNING a');
SELECT * FROM sessmgr.receive(:'j') AS t(a integer);
SAVEPOINT s;
SELECT sessmgr.send(:'j', 'INSERT INTO ay.t SELECT 31 FROM pg_sleep(600) --joined'), ay.runs('--joined', true);
ROLLBACK TO s;
SELECT ay.runs('--joined', false);
SELECT sessmgr.send(:'j', 'INSERT INTO ay.t VALUES (32) RETURNING a');
SELECT * FROM sessmgr.receive(:'j') AS t(a integer);
COMMIT;
SELECT ay.committed();
-- it must be received before the commit
BEGIN;
SELECT ay.open('{"transaction": "joined"}') AS j \gset
SELECT sessmgr.send(:'j', 'INSERT INTO ay.t VALUES (33)');
COMMIT;
SELECT ay.state(), ay.committed();
-- closed, it is canceled, and the transaction cannot be committed any more
BEGIN;
SELECT ay.open('{"transaction": "joined"}') AS j \gset
SELECT sessmgr.send(:'j', 'INSERT INTO ay.t SELECT 34 FROM pg_sleep(600) --joined'), ay.runs('--joined', true);
SELECT sessmgr.close(:'j'), ay.runs('--joined', false);
COMMIT;
SELECT ay.state(), ay.committed();

--
-- Deadlocks
--
BEGIN;
SET LOCAL deadlock_timeout = '100ms';
LOCK TABLE ay.t;
SELECT ay.open() AS x, ay.open() AS y \gset
SELECT sessmgr.send(:'x', 'INSERT INTO ay.t VALUES (40)');
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(rows bigint)', :'x')) ~ '^40P01', sessmgr.rollback(:'x');
SELECT sessmgr.send(:'x', 'INSERT INTO ay.t VALUES (40)');
SELECT try(format('SELECT sessmgr.wait_any(ARRAY[%L]::sessmgr.session[])', :'x')) ~ '^40P01';
SELECT sessmgr.send(:'y', 'INSERT INTO ay.t VALUES (41)');
SELECT try(format('SELECT sessmgr.wait_any(ARRAY[%L, %L]::sessmgr.session[])', :'x', :'y')) ~ '^40P01';
-- one of them is not blocked
SELECT sessmgr.rollback(:'y'), sessmgr.send(:'y', 'SELECT 42 FROM pg_sleep(1)');
SELECT sessmgr.wait_any(ARRAY[:'x', :'y']::sessmgr.session[])::text = :'y';
ROLLBACK;
-- what one has locked, and has been received or not, another waits for
CREATE TABLE ay.u ();
BEGIN;
SET LOCAL deadlock_timeout = '100ms';
SELECT ay.open() AS x, ay.open() AS y \gset
SELECT sessmgr.send(:'x', 'LOCK TABLE ay.u'), ay.settle(:'x');
SELECT sessmgr.send(:'y', 'LOCK TABLE ay.u');
SELECT try(format('SELECT 1 FROM sessmgr.receive(%L) AS t(rows bigint)', :'y')) ~ '^40P01';
SELECT * FROM sessmgr.receive(:'x') AS t(rows bigint);
ROLLBACK;
SELECT ay.state();
SET client_min_messages = warning;
DROP SCHEMA ay CASCADE;

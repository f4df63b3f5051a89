--
-- What fails in a statement, or at its end, is told truly and breaks nothing
-- that comes later.
--
SET lock_timeout = '10s';
CREATE SCHEMA hd;
CREATE TABLE hd.t (a integer PRIMARY KEY, parent integer REFERENCES hd.t DEFERRABLE INITIALLY DEFERRED);
SELECT current_database() AS db, current_user AS me \gset
CREATE SERVER hd FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db');
CREATE USER MAPPING FOR CURRENT_USER SERVER hd OPTIONS (user :'me');

--
-- A statement that ends the session's transaction and fails: the session is
-- lost until it is rolled back, and does not go on in autocommit.
--
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('hd', options => '{"hold": true}') \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO hd.t VALUES (1, 99)');
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, %L)', :'s', 'COMMIT')) LIKE '23503:%' AS commit_failed;
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, %L)', :'s', 'INSERT INTO hd.t VALUES (2)'));
SELECT try(format('SELECT sessmgr.commit(%L)', :'s'));
SELECT sessmgr.in_transaction(:'s');
SELECT count(*) FROM hd.t;
-- the same, and commit at once: it must not report success
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO hd.t VALUES (1, 99)');
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, %L)', :'s', 'COMMIT')) LIKE '23503:%' AS commit_failed;
SELECT try(format('SELECT sessmgr.commit(%L)', :'s'));
SELECT count(*) FROM hd.t;

--
-- COMMIT on a connection that is dead already is no unknown outcome.
--
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO hd.t VALUES (3)');
SELECT pg_terminate_backend(remote_pid, 10000) FROM sessmgr.sessions WHERE session OPERATOR(sessmgr.=) :'s';
SELECT try(format('SELECT sessmgr.commit(%L)', :'s'));
SELECT count(*) FROM hd.t;
SELECT sessmgr.close(:'s');

--
-- A plan that is stale inside a function, after rows were read, is that
-- function's error, and nothing is run twice.
--
CREATE FUNCTION hd.rows_then_fail() RETURNS SETOF integer LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT 1;
    RETURN NEXT 2;
    RAISE EXCEPTION 'no such statement' USING ERRCODE = '26000';
END $$;
CREATE SEQUENCE hd.calls;
CREATE FUNCTION hd.count_then_fail() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('hd.calls');
    RAISE EXCEPTION 'no such statement' USING ERRCODE = '26000';
END $$;
DO $$
BEGIN
    FOR i IN 1..3 LOOP
        BEGIN
            PERFORM sessmgr.scalar('hd', 'SELECT hd.count_then_fail()');
        EXCEPTION WHEN invalid_sql_statement_name THEN NULL;
        END;
    END LOOP;
END $$;
SELECT last_value AS calls FROM hd.calls;
SELECT try($$SELECT count(*) FROM sessmgr.query('hd', 'SELECT hd.rows_then_fail()') AS t(a integer)$$);

--
-- Prepared statements that vanished on the target do not poison the
-- connection once the cache is full.
--
ALTER SERVER hd OPTIONS (ADD statement_cache_size '2');
DO $$
BEGIN
    FOR n IN 1..2 LOOP
        FOR i IN 1..2 LOOP
            PERFORM sessmgr.scalar('hd', 'SELECT ' || n);
        END LOOP;
    END LOOP;
END $$;
SELECT sessmgr.execute('hd', $$DO 'BEGIN EXECUTE ''DEALLOCATE ALL''; END'$$);
SELECT string_agg(sessmgr.scalar('hd', 'SELECT ' || n), ' ' ORDER BY n) FROM generate_series(1, 6) n;
-- in the middle of a transaction there may be no room: the statement runs
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('hd', options => '{"hold": true}') \gset
DO $$
DECLARE s sessmgr.session := (SELECT session FROM sessmgr.sessions);
BEGIN
    FOR n IN 1..6 LOOP
        FOR i IN 1..3 LOOP
            PERFORM sessmgr.scalar(s, 'SELECT ' || n);
        END LOOP;
    END LOOP;
END $$;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) <= 2 FROM pg_prepared_statements') AS bounded;
SELECT sessmgr.close(:'s');
ALTER SERVER hd OPTIONS (DROP statement_cache_size);

--
-- Notices that cannot be shown do not fail what they belong to.
--
CREATE FUNCTION hd.say() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'snowman: %', chr(9731);
    RAISE NOTICE 'plain';
    INSERT INTO hd.t VALUES (10);
    RETURN 1;
END $$;
SET client_encoding = 'LATIN1';
SELECT sessmgr.scalar('hd', 'SELECT hd.say()');
RESET client_encoding;
SELECT count(*) FROM hd.t WHERE a = 10;

--
-- A COPY to the client is refused; what its query did is said.
--
SELECT try($$SELECT sessmgr.execute('hd', 'COPY (SELECT 1) TO STDOUT')$$);
SELECT try($$SELECT sessmgr.execute('hd', 'COPY hd.t FROM STDIN')$$);

--
-- A SELECT given to execute is not collected in memory.
--
DO $$
DECLARE before bigint := anonymous_kb();
BEGIN
    PERFORM sessmgr.execute('hd', 'SELECT repeat(''x'', 1000) FROM generate_series(1, 100000)');
    RAISE NOTICE 'less than 20 MB more: %', coalesce(anonymous_kb() - before < 20000, true);
END $$;

SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP SERVER hd CASCADE;
DROP SCHEMA hd CASCADE;

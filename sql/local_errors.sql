--
-- An error of this backend's own, after a statement that commits by itself was
-- sent: it keeps its state, and its context says what became of the statement.
--
SELECT current_database() AS db, current_user AS me \gset
CREATE SCHEMA ef;
CREATE TABLE ef.t (a integer, filler text);
CREATE DOMAIN ef.small AS integer CHECK (VALUE < 3);
CREATE TABLE ef.pulled (a integer CHECK (a < 3));
-- the error that a statement ends with: its state, and what its context says of
-- statements on targets
CREATE FUNCTION ef.err(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    context text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RETURN SQLSTATE || ' ' || (SELECT string_agg(substr(line, 1, 80), ' | ' ORDER BY n)
        FROM regexp_split_to_table(context, '\n') WITH ORDINALITY AS l (line, n)
        WHERE line ~ '"loop"|target');
END $$;
CREATE FUNCTION ef.there() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    DELETE FROM ef.t;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;
CREATE FUNCTION ef.session(mode text) RETURNS sessmgr.session LANGUAGE sql AS $$
    SELECT sessmgr.open(factory) FROM sessmgr.create_session('loop', options => jsonb_build_object('transaction', mode))
$$;
\pset tuples_only on
\pset format unaligned

-- storing the rows
SET temp_file_limit = '100kB';
SET work_mem = '64kB';
SELECT ef.err($$SELECT count(*) FROM sessmgr.query('loop', 'INSERT INTO ef.t SELECT i, repeat(''x'', 1000) FROM generate_series(1, 500) i RETURNING *') AS r(a integer, b text)$$) AS told \gset
-- whether the cancel came in time or not, it is told
SELECT split_part(:'told', ' ', 1), (ef.there(), :'told' LIKE '% are committed', :'told' LIKE '% it was canceled') IN ((500, true, false), (0, false, true));
-- all or nothing: what cannot be stored is not committed
SELECT ef.err($$SELECT count(*) FROM sessmgr.query_all('{loop, loop}', 'INSERT INTO ef.t SELECT i, repeat(''x'', 100) FROM generate_series(1, 600) i RETURNING *') AS r(target text, a integer, b text)$$);
SELECT ef.there();
RESET work_mem;
RESET temp_file_limit;

-- reading them
SELECT ef.err($$SELECT sessmgr.scalar_as(NULL::integer, 'loop', 'INSERT INTO ef.t VALUES (1, ''x'') RETURNING filler')$$);
SELECT ef.there();
SELECT ef.err($$SELECT sessmgr.scalar_as(NULL::ef.small, 'loop', 'INSERT INTO ef.t VALUES (7) RETURNING a')$$);
SELECT ef.there();
SELECT ef.err($$SELECT * FROM sessmgr.query_as(NULL::ef.small, 'loop', 'INSERT INTO ef.t VALUES (1), (2), (3) RETURNING a')$$);
SELECT ef.there();
SELECT ef.err($$SELECT * FROM sessmgr.query(ef.session('autocommit'), 'INSERT INTO ef.t VALUES (1, ''x'') RETURNING filler') AS r(a integer)$$);
SELECT ef.there();
-- in a transaction nothing lasts, and there is nothing to tell
SELECT ef.err($$SELECT * FROM sessmgr.query(ef.session('manual'), 'INSERT INTO ef.t VALUES (1, ''x'') RETURNING filler') AS r(a integer)$$);
SELECT ef.there();

-- stopped in time: it was still running
CREATE FUNCTION ef.one(i integer) RETURNS text LANGUAGE sql VOLATILE AS $$
    INSERT INTO ef.t VALUES (i) RETURNING 'x'
$$;
SELECT ef.err($$SELECT * FROM sessmgr.query('loop', 'SELECT CASE WHEN i < 5000 THEN ef.one(i) ELSE pg_sleep(60)::text END FROM generate_series(1, 5000) i') AS r(a integer)$$);
SELECT ef.there();

-- sent, and received later
CREATE FUNCTION ef.receive(sql text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s sessmgr.session := ef.session('autocommit');
BEGIN
    PERFORM sessmgr.send(s, sql);
    PERFORM * FROM sessmgr.receive(s) AS r(a integer);
END $$;
SELECT ef.err($$SELECT ef.receive('INSERT INTO ef.t VALUES (1, ''x'') RETURNING filler')$$);
SELECT ef.there();
SELECT ef.err($$SELECT ef.receive('INSERT INTO ef.t VALUES (1) RETURNING a, a')$$);
SELECT ef.there();

-- bulk functions have a transaction of their own, which is not committed then
SELECT ef.err($$SELECT sessmgr.pull('loop', 'INSERT INTO ef.t VALUES (1), (5) RETURNING a', 'ef.pulled')$$);
SELECT ef.there();
SELECT ef.err($$SELECT sessmgr.execute_many('loop', 'INSERT INTO ef.t VALUES ($1)', 'SELECT 1 / (i - 3) FROM generate_series(1, 5) i')$$);
SELECT ef.there();
SELECT ef.err($$SELECT sessmgr.push('loop', 'SELECT 1 / (i - 3) FROM generate_series(1, 5) i', 'ef.t', '{a}')$$);
SELECT ef.there();

-- the target's own errors say it themselves
SELECT ef.err($$SELECT sessmgr.execute('loop', 'INSERT INTO ef.t VALUES (1 / 0)')$$);
-- what is known to be wrong before it is sent has no effect to be told
SELECT ef.err($$SELECT * FROM sessmgr.query('loop', 'INSERT INTO ef.t VALUES (1) RETURNING a, a') AS r(a integer)$$);
SELECT ef.there();

-- in execute_all, an error of the local statement is not that of a target
CREATE FUNCTION ef.fail(how text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF how = 'lock_timeout' THEN
        PERFORM set_config('lock_timeout', '100ms', true);
        LOCK TABLE ef.t;
    END IF;
    RAISE SQLSTATE '53100' USING MESSAGE = how;
END $$;
CREATE SERVER loop2 FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db');
CREATE USER MAPPING FOR CURRENT_USER SERVER loop2 OPTIONS (user :'me');
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('loop2', options => '{"hold": true}') \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'LOCK TABLE ef.t IN SHARE MODE');
\set VERBOSITY terse
SELECT * FROM sessmgr.execute_all('{spi:, spi:}', 'SELECT ef.fail(''lock_timeout'')');
-- one that a user's code raises is its own, whatever its state
SELECT * FROM sessmgr.execute_all('{spi:, loop}', 'SELECT ef.fail(''as it likes'')');
\set VERBOSITY default
SELECT sessmgr.close(:'s'::sessmgr.session);
SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP SERVER loop2 CASCADE;
DROP SCHEMA ef CASCADE;

--
-- A statement on many targets at the same time: query_all, execute_all.
-- Dead, slow and many targets are in t/fan_out.pl.
--
SET lock_timeout = '20s';
CREATE SCHEMA ga;
CREATE TABLE ga.t (target integer, a integer);
-- what it refuses at the commit it refuses whoever else is about to commit, as the targets are one database
CREATE TABLE ga.checked_at_end (k integer REFERENCES kv DEFERRABLE INITIALLY DEFERRED);
-- servers a, b, c lead here, too; the statement can tell which it is on
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['a', 'b', 'c', 'small'] LOOP
        EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback ''true'', dbname %L, application_name %L)', name, current_database(), name);
        EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I OPTIONS (user %L)', name, current_user);
    END LOOP;
END $$;
ALTER SERVER small OPTIONS (pool_size '1', max_overflow '1');
CREATE FUNCTION ga.committed() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    rows text;
BEGIN
    WITH d AS (DELETE FROM ga.t RETURNING a) SELECT string_agg(a::text, ',' ORDER BY a) INTO rows FROM d;
    RETURN coalesce(rows, 'nothing');
END $$;
CREATE FUNCTION ga.out() RETURNS bigint LANGUAGE sql AS $$ SELECT sum(checked_out) FROM sessmgr.engines $$;
-- fails on c alone
CREATE FUNCTION ga.fail_on_c(a integer) RETURNS integer LANGUAGE sql AS $$ SELECT a / (current_setting('application_name') <> 'c')::integer $$;
\pset format unaligned
\pset tuples_only on

--
-- query_all: the rows of each target, in the order of the array
--
SELECT * FROM sessmgr.query_all('{a,b,a,c}', 'SELECT k, v FROM kv WHERE k < 3 ORDER BY k') AS t(target text, k integer, v text);
SELECT * FROM sessmgr.query_all('{c,b}', 'SELECT k, v FROM kv WHERE k = ANY ($1) OR v = $2 ORDER BY k', ARRAY[3, 4], 'v5') AS t(t text, k bigint, v varchar(2));
SELECT count(*), count(DISTINCT target), sum(n) FROM sessmgr.query_all('{a,b,c}', 'SELECT n, repeat(''x'', 100) FROM generate_series(1, 20000) n') AS t(target text, n integer, x text);
SELECT * FROM sessmgr.query_all('{}', 'SELECT 1') AS t(target text, a integer);
SELECT * FROM sessmgr.query_all(ARRAY['a'], 'SELECT $1 + $2', VARIADIC ARRAY[1, 2]) AS t(target text, a integer);
-- the target is all there is
SELECT * FROM sessmgr.query_all('{a,b}', 'SELECT FROM generate_series(1, 2)') AS t(target text);
-- spi: is one of them
SELECT * FROM sessmgr.query_all('{a,spi:,b}', 'SELECT pg_backend_pid() = $1', pg_backend_pid()) AS t(target text, here boolean);
-- each in a transaction of its own, which all commit
SELECT * FROM sessmgr.query_all('{a,b,spi:}', 'INSERT INTO ga.t VALUES (1, $1) RETURNING a', 1) AS t(target text, a integer);
SELECT ga.committed();
-- all or none: a statement fails on one
SELECT try($$SELECT count(*) FROM sessmgr.query_all('{a,b,spi:,c}', 'INSERT INTO ga.t VALUES (1, ga.fail_on_c($1)) RETURNING a', 1) AS t(target text, a integer)$$);
SELECT ga.committed();
-- ... or at the commit
SELECT try($$SELECT count(*) FROM sessmgr.query_all('{a,b}', 'INSERT INTO ga.checked_at_end VALUES (0) RETURNING k') AS t(target text, k integer)$$);
-- ... or its values cannot be read
SELECT try($$SELECT count(*) FROM sessmgr.query_all('{a,b}', 'INSERT INTO ga.t VALUES (1, 2) RETURNING ''x''') AS t(target text, a integer)$$);
SELECT ga.committed(), ga.out();
-- the context tells which
SELECT * FROM sessmgr.query_all('{a,c}', 'SELECT ga.fail_on_c(1)') AS t(target text, a integer);
SELECT * FROM sessmgr.query_all('{a,nosuch}', 'SELECT 1') AS t(target text, a integer);
-- shapes
SELECT try($$SELECT * FROM sessmgr.query_all('{a}', 'SELECT 1')$$);
SELECT try($$SELECT 1 FROM sessmgr.query_all('{a}', 'SELECT 1') AS t(a integer)$$);
SELECT try($$SELECT 1 FROM sessmgr.query_all('{a}', 'INSERT INTO ga.t VALUES (1, 3) RETURNING 1, 2') AS t(target text, a integer)$$);
SELECT try($$SELECT 1 FROM sessmgr.query_all('{a}', 'INSERT INTO ga.t VALUES (1, 3)') AS t(target text, a integer)$$);
SELECT try($$SELECT sessmgr.query_all('{a}', 'SELECT 1')$$);
SELECT ga.committed();
-- arguments
SELECT f, try('SELECT 1 FROM sessmgr.' || f) FROM unnest(ARRAY['query_all(NULL, ''SELECT 1'') AS t(target text, a int)',
    'query_all(''{a}'', NULL) AS t(target text, a int)', 'query_all(''{a,NULL}'', ''SELECT 1'') AS t(target text, a int)',
    'execute_all(NULL, ''SELECT 1'')', 'execute_all(''{a}'', NULL)', 'execute_all(''{NULL}'', ''SELECT 1'')']) f;

--
-- execute_all: each target's own end
--
SELECT * FROM sessmgr.execute_all('{a,b,a,spi:}', 'INSERT INTO ga.t VALUES (1, $1), (2, $1)', 5);
SELECT ga.committed();
SELECT * FROM sessmgr.execute_all('{}', 'SELECT 1');
-- what fails says so in its row, and what does not lasts
SELECT target, rows, sqlstate, split_part(error, E'\n', 1) FROM sessmgr.execute_all(
    ARRAY['a', 'nosuch', 'spi:', 'b', 'x:y', 'postgresql://u:secret@h:x/', 'host=/nosuch password=secret user=u', 'spi:'],
    'INSERT INTO ga.t VALUES (1, $1)', 6);
SELECT ga.committed(), ga.out();
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,c,spi:,b}', 'INSERT INTO ga.t VALUES (1, ga.fail_on_c($1))', 6);
SELECT ga.committed();
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,spi:,b}', 'SELECT 1 / $1', 0);
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,spi:,b}', 'INSERT INTO nosuch VALUES (1)');
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,b}', '');
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,spi:}', 'BEGIN');
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,b}', 'COPY kv TO STDOUT');
SELECT ga.out();
-- an error of spi: is rolled back, what came before it is not
BEGIN;
INSERT INTO ga.t VALUES (1, 7);
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{spi:,spi:}', 'WITH i AS (INSERT INTO ga.t VALUES (1, 8) RETURNING a) SELECT 1 / (i.a - 8) FROM i');
COMMIT;
SELECT ga.committed();
-- notices of all of them
SELECT * FROM sessmgr.execute_all('{a,b}', 'DO $d$ BEGIN RAISE NOTICE ''hello''; END $d$');
-- timeouts are each target's own
ALTER SERVER b OPTIONS (statement_timeout '100ms');
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,b,c}', 'INSERT INTO ga.t SELECT 1, 9 FROM pg_sleep(CASE current_setting(''application_name'') WHEN ''b'' THEN 60 ELSE 0 END)');
SELECT ga.committed(), ga.out();
ALTER SERVER b OPTIONS (DROP statement_timeout);
-- more than the pool has: one after the other
SELECT count(*), sum(rows), min(error) FROM sessmgr.execute_all(array_fill('small'::text, ARRAY[7]), 'SELECT 1');
-- ... and if they take too long, an error of those that wait
ALTER SERVER small OPTIONS (pool_timeout '0.2');
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all(array_fill('small'::text, ARRAY[4]), 'SELECT pg_sleep(2)');
-- query_all keeps all of them
SELECT try($$SELECT count(*) FROM sessmgr.query_all('{small,small}', 'SELECT 1') AS t(target text, a integer)$$);
SELECT try($$SELECT count(*) FROM sessmgr.query_all('{small,small,small}', 'SELECT 1') AS t(target text, a integer)$$);
SELECT ga.out();
-- settings of the session that statements have changed, and options of transactions
SELECT sessmgr.execute('a', 'SET datestyle = german'), sessmgr.execute('b', 'SET default_transaction_read_only = on');
SELECT * FROM sessmgr.query_all('{a,b,c}', 'SELECT ''2020-01-02''::date::text, current_setting(''transaction_read_only'')') AS t(target text, d text, ro text);
SELECT sessmgr.execute('a', 'SET datestyle = german'), sessmgr.execute('b', 'SET default_transaction_read_only = on');
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,b,c}', 'INSERT INTO ga.t VALUES (1, 11)');
ALTER SERVER c OPTIONS (read_only 'true', isolation_level 'serializable');
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,b,c}', 'INSERT INTO ga.t VALUES (1, 12)');
SELECT * FROM sessmgr.query_all('{b,c}', 'SELECT current_setting(''transaction_read_only''), current_setting(''transaction_isolation'')') AS t(target text, ro text, i text);
ALTER SERVER c OPTIONS (DROP read_only, DROP isolation_level);
SELECT ga.committed();
-- a statement that the server does not have any more
SELECT count(*) FROM (SELECT sessmgr.execute_all('{a,b}', 'SELECT 42 AS x') FROM generate_series(1, 3)) t;
SELECT * FROM sessmgr.execute_all('{a,b}', 'DEALLOCATE ALL') WHERE error IS NOT NULL;
SELECT count(*), min(t::text) FROM (SELECT sessmgr.execute_all('{a,b}', 'SELECT 42 AS x') AS t FROM generate_series(1, 3)) t WHERE (t).error IS NOT NULL;
SELECT * FROM sessmgr.query_all('{a,b}', 'SELECT * FROM kv WHERE k = 1') AS t(target text, k integer, v text);
ALTER TABLE kv ADD w integer;
SELECT try($$SELECT 1 FROM sessmgr.query_all('{a}', 'SELECT * FROM kv WHERE k = 1') AS t(target text, k integer, v text)$$);
ALTER TABLE kv DROP w;
SELECT * FROM sessmgr.query_all('{a,b}', 'SELECT * FROM kv WHERE k = 1') AS t(target text, k integer, v text);
-- pool_pre_ping: a dead connection is replaced
ALTER SERVER a OPTIONS (pool_pre_ping 'true');
SELECT count(*) FROM sessmgr.execute_all('{a,a,b}', 'SELECT 1') WHERE error IS NULL;
SELECT count(pg_terminate_backend(remote_pid, 10000)) FROM sessmgr.connections WHERE dburi = 'a';
SELECT * FROM sessmgr.execute_all('{a,a,b}', 'SELECT 1');
ALTER SERVER a OPTIONS (DROP pool_pre_ping);

--
-- Part of the local transaction
--
ALTER SERVER a OPTIONS (transaction 'joined');
ALTER SERVER b OPTIONS (transaction 'joined');
BEGIN;
SELECT * FROM sessmgr.execute_all('{a,b,c,a}', 'INSERT INTO ga.t VALUES (1, 13)');
SELECT dburi, state, transaction FROM sessmgr.sessions ORDER BY 1;
SELECT * FROM sessmgr.query_all('{a,c}', 'SELECT count(*) FROM ga.t') AS t(target text, n bigint);
ROLLBACK;
SELECT ga.committed(), ga.out();
BEGIN;
SELECT * FROM sessmgr.query_all('{b,a,b}', 'INSERT INTO ga.t VALUES (1, 14) RETURNING a') AS t(target text, a integer);
SAVEPOINT s;
SELECT * FROM sessmgr.execute_all('{a,b}', 'INSERT INTO ga.t VALUES (1, 15)');
ROLLBACK TO s;
COMMIT;
SELECT ga.committed(), ga.out();
-- one that has failed cannot be committed
BEGIN;
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,b}', 'INSERT INTO ga.t SELECT 1, 16 / (1 - count(*)) FROM ga.t');
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,a,b}', 'INSERT INTO ga.t SELECT 1, 16 / (1 - count(*)) FROM ga.t');
COMMIT;
SELECT ga.committed(), ga.out();
-- but it can go on from a savepoint set before, also where more was nested in that
BEGIN;
SELECT * FROM sessmgr.execute_all('{a,b}', 'INSERT INTO ga.t VALUES (1, 20)');
SAVEPOINT s;
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,b}', 'INSERT INTO ga.t VALUES (1, 21 / 0)');
SELECT try($$SELECT sessmgr.execute('a', 'INSERT INTO ga.t VALUES (1, 22)')$$);
ROLLBACK TO s;
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,b}', 'INSERT INTO ga.t VALUES (1, 23)');
COMMIT;
SELECT ga.committed(), ga.out();
-- in an EXCEPTION block all is as before
BEGIN;
SELECT * FROM sessmgr.execute_all('{a,b}', 'INSERT INTO ga.t VALUES (1, 17)');
SELECT try($$SELECT 1 FROM sessmgr.query_all('{a,b}', 'INSERT INTO ga.t VALUES (1, 1 / 0) RETURNING a') AS t(target text, a integer)$$);
COMMIT;
SELECT ga.committed(), ga.out();
ALTER SERVER a OPTIONS (SET transaction 'autocommit');
ALTER SERVER b OPTIONS (SET transaction 'autocommit');

--
-- Rights are each target's own
--
SET ROLE regress_sm_user;
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,loop,spi:,loopback:}', 'SELECT 1');
SELECT try($$SELECT 1 FROM sessmgr.query_all('{loop,a}', 'SELECT 1') AS t(target text, a integer)$$);
SET ROLE regress_sm_none;
SELECT try($$SELECT 1 FROM sessmgr.execute_all('{a}', 'SELECT 1')$$);
RESET ROLE;

--
-- User's code in between
--
CREATE FUNCTION ga.callback(engine sessmgr.engine) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ga.t VALUES (1, 18);
    RAISE EXCEPTION 'not this one';
END $$;
SELECT sessmgr.reset();
SELECT sessmgr.get_engine('a') IS NOT NULL;
SET sessmgr.engine_callback = 'ga.callback';
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{b,a,c}', 'SELECT 1');
RESET sessmgr.engine_callback;
SELECT ga.committed();
-- forgetting what is in use
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,spi:,b}', $$SELECT sessmgr.invalidate('a'), sessmgr.invalidate('b')$$);
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,spi:}', 'SELECT sessmgr.reset()');
SELECT try($$SELECT count(*) FROM sessmgr.query_all('{a,spi:}', 'SELECT sessmgr.reset()::text') AS t(target text, r text)$$);
SELECT ga.out();
-- one in another
SELECT target, rows, error FROM sessmgr.execute_all('{a,spi:}', $$SELECT * FROM sessmgr.execute_all('{a,b}', 'SELECT 1')$$);
-- a lock that this backend holds
BEGIN;
SET LOCAL deadlock_timeout = '100ms';
LOCK TABLE ga.t;
SELECT target, rows, sqlstate, split_part(error, E'\n', 1) FROM sessmgr.execute_all('{a,b}', 'INSERT INTO ga.t VALUES (1, 19)');
SELECT target, rows, sqlstate, error FROM sessmgr.execute_all('{a,b}', 'SELECT 1');
SELECT try($$SELECT 1 FROM sessmgr.query_all('{a,b}', 'INSERT INTO ga.t VALUES (1, 19) RETURNING a') AS t(target text, a integer)$$) ~ '^40P01';
COMMIT;
SELECT ga.committed(), ga.out();
-- canceled while a parameter is made ready for a connection that is closed then;
-- its type's output function is one that takes long.  (A server with assertions
-- overwrites what is freed, so that a look at it shows.)
SET client_min_messages = warning;
CREATE TYPE ga.slow;
CREATE FUNCTION ga.slow_in(cstring) RETURNS ga.slow LANGUAGE internal IMMUTABLE STRICT AS 'float8in';
CREATE FUNCTION ga.slow_out(ga.slow) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'pg_sleep';
CREATE TYPE ga.slow (INPUT = ga.slow_in, OUTPUT = ga.slow_out, LIKE = float8);
RESET client_min_messages;
ALTER SERVER a OPTIONS (ADD poolclass 'NullPool');
SET statement_timeout = '200ms';
SELECT count(*) FROM sessmgr.execute_all('{a,b,c}', 'SELECT $1', '600'::ga.slow);
RESET statement_timeout;
SELECT ga.out();
SET client_min_messages = warning;
DROP SCHEMA ga CASCADE;
DROP SERVER a CASCADE;
DROP SERVER b CASCADE;
DROP SERVER c CASCADE;
DROP SERVER small CASCADE;

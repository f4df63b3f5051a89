--
-- execute, query, query_as, query_json, scalar and scalar_as, on sessions and
-- as one-liners: what they return, and what they refuse.
--
SET lock_timeout = '20s';
CREATE SCHEMA st;
CREATE TABLE st.t (a integer, b text);
CREATE TABLE st.effects (n integer);

-- the error of a statement, on one line; it runs in a subtransaction
CREATE FUNCTION pg_temp.err(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' / ', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;

SELECT sessmgr.open(factory) AS s
  FROM sessmgr.create_session('loop', options => '{"hold": true}') \gset
SELECT sessmgr.open(factory) AS a
  FROM sessmgr.create_session('loop', options => '{"hold": true, "transaction": "autocommit"}') \gset

--
-- execute: the number of rows affected or returned
--
\pset format unaligned
\pset tuples_only on
SELECT 'insert', sessmgr.execute('loop', $$INSERT INTO st.t VALUES (1, 'one'), (2, 'two'), (3, NULL)$$);
SELECT 'update', sessmgr.execute('loop', 'UPDATE st.t SET a = a WHERE a > 1');
SELECT 'update of nothing', sessmgr.execute('loop', 'UPDATE st.t SET a = a WHERE false');
SELECT 'delete', sessmgr.execute('loop', 'DELETE FROM st.t WHERE a = 3');
SELECT 'select', sessmgr.execute('loop', 'SELECT * FROM kv');
SELECT 'select of nothing', sessmgr.execute('loop', 'SELECT * FROM kv WHERE false');
SELECT 'returning', sessmgr.execute('loop', $$INSERT INTO st.t VALUES (3, NULL) RETURNING *$$);
SELECT 'merge', sessmgr.execute('loop',
    'MERGE INTO st.t USING (VALUES (1), (9)) s(x) ON s.x = t.a WHEN MATCHED THEN UPDATE SET b = b WHEN NOT MATCHED THEN DO NOTHING');
SELECT 'values', sessmgr.execute('loop', 'VALUES (1), (2)');
SELECT 'with', sessmgr.execute('loop', 'WITH w AS (UPDATE st.t SET a = a RETURNING *) SELECT * FROM w WHERE a = 1');
SELECT 'ddl', sessmgr.execute('loop', 'CREATE TABLE st.u (x integer)');
SELECT 'create table as', sessmgr.execute('loop', 'CREATE TABLE st.v AS SELECT * FROM kv');
SELECT 'do', sessmgr.execute('loop', 'DO $x$ BEGIN PERFORM 1; END $x$');
SELECT 'show', sessmgr.execute('loop', 'SHOW datestyle');
SELECT 'trailing semicolon', sessmgr.execute('loop', 'DROP TABLE st.u, st.v;');
SELECT 'session', sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO st.t VALUES (4, $1)', 'four');
SELECT 'seen in it', sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) FROM st.t'), 'here', count(*) FROM st.t;
SELECT 'undone', sessmgr.rollback(:'s'::sessmgr.session), sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) FROM st.t');
SELECT sessmgr.rollback(:'s'::sessmgr.session);
SELECT 'autocommit session', sessmgr.execute(:'a'::sessmgr.session, 'INSERT INTO st.t VALUES (4, $1)', 'four');
SELECT 'seen here', count(*) FROM st.t;
\pset format aligned
\pset tuples_only off

--
-- query
--
SELECT * FROM sessmgr.query('loop', 'SELECT a, b FROM st.t ORDER BY a') AS t(a integer, b text);
SELECT * FROM sessmgr.query(:'a'::sessmgr.session, 'SELECT a, b FROM st.t WHERE a < $1 ORDER BY a', 3) AS t(x bigint, y varchar(4));
SELECT * FROM sessmgr.query(:'s'::sessmgr.session, 'SELECT a, b FROM st.t WHERE a < $1 ORDER BY a', 3) AS t(a integer, b text);
SELECT * FROM sessmgr.query('loop', 'SELECT a, b FROM st.t WHERE false') AS t(a integer, b text);
-- two columns of one name, one of no name, and a name that only quotes can write
SELECT * FROM sessmgr.query('loop', 'SELECT 1 AS a, 2 AS a, 3, 4 AS "?""x"') AS t(w integer, x integer, y integer, z integer);
-- in a join, once for each row
SELECT k, r.* FROM kv, sessmgr.query('loop', 'SELECT $1 * 10, v FROM kv WHERE k = $1', k) AS r(ten integer, v text)
 WHERE k <= 3 ORDER BY k;
-- the statement runs to its end, however little is read
SELECT * FROM sessmgr.query('loop', 'INSERT INTO st.effects SELECT generate_series(1, 100) RETURNING n') AS t(n integer) LIMIT 1;
SELECT count(*) FROM st.effects;
TRUNCATE st.effects;
-- many rows, wide rows
SELECT count(*), sum(i), max(length(t)) FROM sessmgr.query('loop',
    $$SELECT i, repeat('x', i % 100) FROM generate_series(1, 50000) i$$) AS t(i integer, t text);
DO $$
DECLARE
    list text := (SELECT string_agg(i::text, ', ') FROM generate_series(1, 1600) i);
    columns text := (SELECT string_agg('c' || i || ' integer', ', ') FROM generate_series(1, 1600) i);
    c integer;
BEGIN
    EXECUTE format('SELECT c1600 FROM sessmgr.query(''loop'', %L) AS t(%s)', 'SELECT ' || list, columns) INTO c;
    RAISE INFO 'column 1600 is %', c;
END $$;
-- without a column definition list
SELECT sessmgr.query('loop', 'SELECT 1');
\echo :SQLSTATE
SELECT * FROM sessmgr.query('loop', 'SELECT 1');

--
-- query_as
--
CREATE DOMAIN st.positive AS integer CHECK (VALUE > 0);
CREATE TABLE st.typed (gone1 integer, k st.positive, gone2 text, v varchar(5) NOT NULL DEFAULT 'x', gone3 integer);
ALTER TABLE st.typed DROP COLUMN gone1;
ALTER TABLE st.typed DROP COLUMN gone2;
ALTER TABLE st.typed DROP COLUMN gone3;
CREATE TYPE st.pair AS (a integer, b text);
CREATE DOMAIN st.pair_domain AS st.pair;
CREATE TABLE st.none ();

SELECT * FROM sessmgr.query_as(NULL::kv, 'loop', 'SELECT * FROM kv WHERE k < 3 ORDER BY k');
SELECT * FROM sessmgr.query_as(NULL::kv, :'s'::sessmgr.session, 'SELECT * FROM kv WHERE k = $1', 3);
SELECT * FROM sessmgr.query_as(NULL::kv, :'a'::sessmgr.session, 'SELECT * FROM kv WHERE k = $1', 4);
SELECT * FROM sessmgr.query_as(NULL::kv, 'loop', 'SELECT * FROM kv WHERE false');
SELECT k, v, pg_typeof(k) FROM sessmgr.query_as(NULL::st.typed, 'loop', $$SELECT 1, 'one' UNION ALL SELECT 2, NULL ORDER BY 1$$);
-- a domain's check is made, a column's NOT NULL is the table's business
SELECT * FROM sessmgr.query_as(NULL::st.typed, 'loop', $$SELECT 0, 'zero'$$);
\echo :SQLSTATE
-- a declared length is an error, not a cut
SELECT * FROM sessmgr.query_as(NULL::st.typed, 'loop', $$SELECT 1, 'longer'$$);
\echo :SQLSTATE
SELECT (sessmgr.query_as(NULL::st.pair, 'loop', $$SELECT 1, 'one'$$)).*;
SELECT t FROM sessmgr.query_as(NULL::st.pair, 'loop', $$SELECT 1, 'one'$$) t;
SELECT count(*) FROM sessmgr.query_as(NULL::st.none, 'loop', 'SELECT FROM kv');
-- scalar types
SELECT * FROM sessmgr.query_as(NULL::integer, 'loop', 'SELECT k FROM kv WHERE k < 3 ORDER BY k');
SELECT * FROM sessmgr.query_as(NULL::text, :'s'::sessmgr.session, 'SELECT v FROM kv WHERE k < $1 ORDER BY k', 3) AS v;
SELECT sessmgr.query_as(NULL::integer[], 'loop', 'SELECT ARRAY[1, NULL, 3]');
SELECT * FROM sessmgr.query_as(NULL::st.positive, 'loop', 'SELECT 7') AS p;
SELECT * FROM sessmgr.query_as(NULL::st.positive, 'loop', 'SELECT -7') AS p;
-- the value of the first argument is of no interest
SELECT * FROM sessmgr.query_as(ROW(1, 'x')::st.pair, 'loop', $$SELECT 2, 'two'$$);
SELECT * FROM sessmgr.query_as(0, 'loop', 'SELECT 5') AS n;
-- what is no type for rows
SELECT * FROM sessmgr.query_as(NULL, 'loop', 'SELECT 1');
SELECT * FROM sessmgr.query_as(NULL::record, 'loop', 'SELECT 1') AS t(a integer);
\echo :SQLSTATE
SELECT * FROM sessmgr.query_as(NULL::st.pair_domain, 'loop', $$SELECT 1, 'x'$$);
\echo :SQLSTATE
-- a row type that changes between two calls from one place
CREATE FUNCTION pg_temp.read() RETURNS SETOF st.pair LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM sessmgr.query_as(NULL::st.pair, 'loop', 'SELECT 1, ''x''' ||
        CASE WHEN (SELECT count(*) FROM pg_attribute WHERE attrelid = 'st.pair'::regclass) = 3 THEN ', 2.5' ELSE '' END);
END $$;
SELECT * FROM pg_temp.read();
ALTER TYPE st.pair ADD ATTRIBUTE c numeric;
SELECT * FROM pg_temp.read();

--
-- query_json
--
SELECT * FROM sessmgr.query_json('loop', 'SELECT a, b FROM st.t ORDER BY a');
SELECT * FROM sessmgr.query_json(:'s'::sessmgr.session, 'SELECT a, b FROM st.t WHERE a = $1', 1);
SELECT * FROM sessmgr.query_json('loop', 'SELECT a, b FROM st.t WHERE false');
SELECT * FROM sessmgr.query_json('loop', 'SELECT FROM kv WHERE k < 3');
SELECT * FROM sessmgr.query_json('loop', $$SELECT 1 AS i, 1.50 AS n, true AS b, NULL AS "null", ARRAY[1, 2] AS "array",
    '{"x": [1]}'::jsonb AS j, 'infinity'::float8 AS f, date '2024-02-29' AS d, 'q"\' AS "q""", ROW(1, 'x', 2.5)::st.pair AS pair$$);
-- two columns of one name would be one
SELECT * FROM sessmgr.query_json('loop', 'INSERT INTO st.effects VALUES (1) RETURNING n AS a, n AS a');
\echo :SQLSTATE

--
-- scalar and scalar_as: the first column of the first row
--
SELECT sessmgr.scalar('loop', 'SELECT v, k FROM kv ORDER BY k') AS first,
       sessmgr.scalar('loop', 'SELECT v FROM kv WHERE false') IS NULL AS no_row,
       sessmgr.scalar('loop', 'SELECT NULL') IS NULL AS "null",
       sessmgr.scalar('loop', 'SELECT FROM kv') IS NULL AS no_column,
       sessmgr.scalar('loop', $$SELECT ''$$) = '' AS empty;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT v FROM kv WHERE k = $1', 5);
SELECT sessmgr.scalar_as(NULL::integer, 'loop', 'SELECT k FROM kv WHERE v = $1', 'v6') + 1 AS seven;
SELECT sessmgr.scalar_as(NULL::numeric(10,1), :'s'::sessmgr.session, 'SELECT 1.25') AS n;
SELECT (sessmgr.scalar_as(NULL::kv, :'a'::sessmgr.session, 'SELECT kv FROM kv WHERE k = $1', 2)).v;
SELECT sessmgr.scalar_as(NULL::st.positive, 'loop', 'SELECT NULL::integer') IS NULL AS "null",
       sessmgr.scalar_as(NULL::text[], 'loop', $$SELECT ARRAY['a', NULL]$$);
SELECT sessmgr.scalar_as(NULL::integer, 'loop', $$SELECT 'x'$$);
\echo :SQLSTATE
SELECT sessmgr.rollback(:'s'::sessmgr.session);

--
-- A shape that is not the declared one is found before a statement that
-- commits by itself takes effect: in each form, the first time and when the
-- statement is prepared already, with a cache of statements and without.
--
CREATE SERVER loop_no_cache FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', statement_cache_size '0');
SELECT current_database() AS db \gset
ALTER SERVER loop_no_cache OPTIONS (ADD dbname :'db');

\pset format unaligned
\pset tuples_only on
SELECT target, call, pg_temp.err(format('SELECT * FROM sessmgr.' || call,
       CASE target WHEN 'session' THEN quote_literal(:'a') || '::sessmgr.session' ELSE quote_literal(target) END)) AS error
  FROM unnest(ARRAY['loop', 'loop_no_cache', 'session']) WITH ORDINALITY AS g(target, nr),
       unnest(ARRAY['query(%s, ''INSERT INTO st.effects VALUES (1) RETURNING n, n'') AS t(n integer)',
                    'query(%s, ''INSERT INTO st.effects VALUES (1) RETURNING n, n'') AS t(n integer)',
                    'query(%s, ''INSERT INTO st.effects VALUES (1) RETURNING n, n'') AS t(a integer, b integer, c integer)',
                    'query(%s, ''INSERT INTO st.effects VALUES (1)'') AS t(n integer)',
                    'query(%s, ''INSERT INTO st.effects SELECT 1 RETURNING (SELECT n FROM (VALUES (1)) v(n)), 2'') AS t(n integer)',
                    'query_as(NULL::kv, %s, ''INSERT INTO st.effects VALUES (1) RETURNING n'')',
                    'query_as(NULL::integer, %s, ''INSERT INTO st.effects VALUES (1) RETURNING n, n'')',
                    'query_as(NULL::integer, %s, ''DROP TABLE st.effects'')',
                    'query_as(NULL::st.none, %s, ''INSERT INTO st.effects VALUES (1) RETURNING n'')'])
       WITH ORDINALITY AS c(call, nr2)
 ORDER BY nr, nr2;
SELECT 'effects:', count(*) FROM st.effects;
-- in a session it is found after the fact, and the transaction can go on or be rolled back
SELECT pg_temp.err(format('SELECT * FROM sessmgr.query(%L::sessmgr.session, ''INSERT INTO st.effects VALUES (1) RETURNING n, n'') AS t(n integer)', :'s'));
SELECT sessmgr.rollback(:'s'::sessmgr.session);
SELECT 'effects:', count(*) FROM st.effects;
\pset format aligned
\pset tuples_only off
-- a type that differs is converted through text, or is a clear error
SELECT * FROM sessmgr.query('loop', $$SELECT '17', 3, true, '2024-02-29'$$) AS t(i integer, t text, v varchar, d date);
SELECT * FROM sessmgr.query('loop', $$SELECT 1, 'seventeen'$$) AS t(a integer, i integer);
\echo :SQLSTATE

--
-- What is no SELECT, in each function.  Without RETURNING there are no rows.
--
SELECT count(*) FROM sessmgr.query('loop', 'INSERT INTO st.effects VALUES (1) RETURNING n') AS t(n integer);
SELECT count(*) FROM sessmgr.query_as(NULL::st.effects, 'loop', 'UPDATE st.effects SET n = 2 RETURNING *');
SELECT count(*) FROM sessmgr.query_json('loop', 'UPDATE st.effects SET n = n + 1');
SELECT sessmgr.query_json('loop', 'UPDATE st.effects SET n = n + 1 RETURNING *');
SELECT sessmgr.scalar('loop', 'UPDATE st.effects SET n = n + 1') IS NULL AS "null";
SELECT sessmgr.scalar_as(NULL::integer, 'loop', 'UPDATE st.effects SET n = n + 1 RETURNING n');
SELECT sessmgr.scalar('loop', 'CREATE TABLE st.u ()') IS NULL AS "null", sessmgr.scalar('loop', 'DROP TABLE st.u') IS NULL AS "null";
SELECT * FROM sessmgr.query('loop', 'SHOW client_encoding') AS t(encoding text);
SELECT * FROM sessmgr.query('loop', 'EXPLAIN (COSTS off) SELECT 1') AS t(plan text);
SELECT sessmgr.scalar('loop', 'TABLE st.effects');
TRUNCATE st.effects;

--
-- What is refused
--
\pset format unaligned
\pset tuples_only on
SELECT function || ' ' || quote_literal(sql) AS call, pg_temp.err(format(function, sql)) AS error
  FROM unnest(ARRAY['SELECT sessmgr.execute(''loop'', %L)', 'SELECT * FROM sessmgr.query(''loop'', %L) AS t(a text)',
                    'SELECT sessmgr.query_json(''loop'', %L)', 'SELECT sessmgr.scalar(''loop'', %L)']) WITH ORDINALITY AS f(function, nr),
       unnest(ARRAY['', ' ', ';', ' ; ', '-- nothing', E'/* nothing /* at all */ */\n', 'SELECT 1; SELECT 2',
                    'INSERT INTO st.effects VALUES (1); INSERT INTO st.effects VALUES (1)',
                    'COPY kv TO STDOUT', 'COPY st.effects FROM STDIN']) WITH ORDINALITY AS s(sql, nr2)
 ORDER BY nr, nr2;
SELECT 'effects:', count(*) FROM st.effects;
SELECT 'usable:', sessmgr.scalar('loop', 'SELECT 1');
-- in a session too; a COPY costs it its transaction
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO st.effects VALUES (1)');
SELECT pg_temp.err(format('SELECT sessmgr.execute(%L::sessmgr.session, %L)', :'s', ''));
SELECT 'in the same transaction:', sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) FROM st.effects');
SELECT pg_temp.err(format('SELECT sessmgr.execute(%L::sessmgr.session, %L)', :'s', 'COPY kv TO STDOUT'));
SELECT pg_temp.err(format('SELECT sessmgr.commit(%L::sessmgr.session)', :'s'));
SELECT 'effects:', count(*) FROM st.effects;
SELECT 'usable:', sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1');
SELECT sessmgr.rollback(:'s'::sessmgr.session);

-- NULL where a value must be
SELECT pg_temp.err(call) FROM unnest(ARRAY[
    'SELECT sessmgr.execute(NULL::text, ''SELECT 1'')', 'SELECT sessmgr.execute(NULL::sessmgr.session, ''SELECT 1'')',
    'SELECT sessmgr.execute(''loop'', NULL)', 'SELECT sessmgr.scalar(''loop'', NULL, 1)',
    'SELECT sessmgr.scalar_as(NULL::integer, ''loop'', NULL)', 'SELECT sessmgr.scalar_as(NULL::integer, NULL::text, ''SELECT 1'')',
    'SELECT sessmgr.query_json(NULL::sessmgr.session, NULL)', 'SELECT sessmgr.query_as(NULL::integer, ''loop'', NULL)',
    'SELECT * FROM sessmgr.query(NULL::text, ''SELECT 1'') AS t(a integer)']) AS call;
-- a handle that lost its type is no target, and not shown as if it were one
SELECT pg_temp.err('SELECT sessmgr.execute(''session/0/0'', ''SELECT 1'')');
-- what the server itself refuses
SELECT pg_temp.err('SELECT sessmgr.scalar(''loop'', ''SELEKT 1'')');
SELECT pg_temp.err('SELECT sessmgr.scalar(''loop'', ''SELECT $1'')');
SELECT pg_temp.err('SELECT sessmgr.scalar(''loop'', ''SELECT * FROM st.nowhere'')');
SELECT pg_temp.err('SELECT sessmgr.execute(''loop'', ''VACUUM st.effects'')');
\pset format aligned
\pset tuples_only off

-- a very long statement and a very long value
SELECT sessmgr.scalar('loop', 'SELECT length(''' || repeat('x', 20000000) || ''')');
SELECT length(sessmgr.scalar('loop', 'SELECT repeat($1, 5000000)', 'xyzt'));
SELECT pg_temp.err('SELECT sessmgr.scalar(''loop'', ''SELECT /* ' || repeat('x', 2000) || ' */ 1/0'')');

--
-- LISTEN and NOTIFY pass through; nobody reads what comes
--
SELECT sessmgr.execute('loop', 'LISTEN sm_channel');
SELECT sessmgr.execute('loop', $$SELECT pg_notify('sm_channel', i::text) FROM generate_series(1, 100) i$$);
SELECT sessmgr.execute('loop', $$NOTIFY sm_channel, 'x'$$), sessmgr.scalar('loop', 'SELECT 2');
SELECT sessmgr.execute('loop', 'UNLISTEN *');

--
-- Notices
--
CREATE FUNCTION st.speak(quiet integer, loud integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. quiet LOOP RAISE DEBUG 'not shown'; END LOOP;
    FOR i IN 1 .. loud LOOP RAISE NOTICE 'number %', i; END LOOP;
    RETURN loud;
END $$;
CREATE FUNCTION st.levels() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'a notice' USING DETAIL = 'its detail', HINT = 'its hint';
    RAISE WARNING 'a warning' USING ERRCODE = '01234';
    RAISE INFO 'an info, %%s';
    RAISE LOG 'not for clients';
    RETURN 1;
END $$;
SELECT sessmgr.scalar('loop', 'SELECT st.levels()');
SELECT * FROM sessmgr.query(:'a'::sessmgr.session, 'SELECT st.speak(0, 2) FROM generate_series(1, 2)') AS t(i integer);
-- before an error too
SELECT sessmgr.scalar('loop', 'SELECT st.speak(0, 1) / 0');
-- 1,000 are kept (of these the target sends the first as DEBUG, which is not shown here), the rest counted
\set SHOW_CONTEXT never
SELECT sessmgr.execute(:'a'::sessmgr.session, 'SET client_min_messages = debug1');
SELECT sessmgr.scalar(:'a'::sessmgr.session, 'SELECT st.speak(999, 1)');
SELECT sessmgr.scalar(:'a'::sessmgr.session, 'SELECT st.speak(999, 3)');
SELECT sessmgr.scalar(:'a'::sessmgr.session, 'SELECT st.speak(1000, 12345)');
-- and the next statement begins anew
SELECT sessmgr.scalar(:'a'::sessmgr.session, 'SELECT st.speak(1, 1)');
SELECT sessmgr.execute(:'a'::sessmgr.session, 'RESET client_min_messages');
\set SHOW_CONTEXT errors

--
-- Errors keep all that the server said of them
--
CREATE TABLE st.strict (id integer CONSTRAINT strict_pk PRIMARY KEY, p st.positive, q integer NOT NULL CONSTRAINT strict_q CHECK (q < 10));
INSERT INTO st.strict VALUES (1, 1, 1);
CREATE FUNCTION st.fail() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the message, 100 %%' USING ERRCODE = 'SM123', DETAIL = 'the detail', HINT = 'the hint, %s',
        COLUMN = 'the column', CONSTRAINT = 'the constraint', DATATYPE = 'the type', TABLE = 'the table', SCHEMA = 'the schema';
END $$;
CREATE FUNCTION pg_temp.diagnose(target text, sql text, params integer[] DEFAULT '{4711}') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    d text[];
    d1 text; d2 text; d3 text; d4 text; d5 text; d6 text; d7 text; d8 text; d9 text; d10 text;
BEGIN
    PERFORM sessmgr.execute(target, sql, VARIADIC params);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d1 = RETURNED_SQLSTATE, d2 = MESSAGE_TEXT, d3 = PG_EXCEPTION_DETAIL, d4 = PG_EXCEPTION_HINT,
        d5 = SCHEMA_NAME, d6 = TABLE_NAME, d7 = COLUMN_NAME, d8 = PG_DATATYPE_NAME, d9 = CONSTRAINT_NAME,
        d10 = PG_EXCEPTION_CONTEXT;
    d := ARRAY[d1, d2, d3, d4, d5, d6, d7, d8, d9, regexp_replace(d10, E'(^|\n)SQL statement.*', '')];
    RETURN QUERY SELECT what || ': ' || said
                   FROM unnest(ARRAY['sqlstate', 'message', 'detail', 'hint', 'schema', 'table', 'column', 'type', 'constraint', 'context'], d) AS x(what, said)
                  WHERE said <> '';
END $$;
\pset format unaligned
\pset tuples_only on
SELECT pg_temp.diagnose('loop', 'SELECT st.fail(), $1');
SELECT pg_temp.diagnose('loop', 'INSERT INTO st.strict VALUES (1, 1, 1) RETURNING $1');
SELECT pg_temp.diagnose('loop', 'INSERT INTO st.strict VALUES (2, 1, 11) RETURNING $1');
SELECT pg_temp.diagnose('loop', 'INSERT INTO st.strict VALUES (2, 1, NULL) RETURNING $1');
SELECT pg_temp.diagnose('loop', 'INSERT INTO st.strict VALUES (2, -$1, 1)');
-- hide_parameters: neither statement nor parameters are told
CREATE SERVER loop_hide FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', hide_parameters 'true', dbname :'db');
SELECT pg_temp.diagnose('loop_hide', 'SELECT st.fail(), $1');
SELECT pg_temp.diagnose('loop_hide', 'COPY kv TO STDOUT', '{}');
SELECT pg_temp.err('SELECT * FROM sessmgr.query(''loop_hide'', ''SELECT 1, 2'') AS t(a integer)');
\pset format aligned
\pset tuples_only off
SELECT * FROM sessmgr.query('loop_hide', 'SELECT 1, 2') AS t(a integer);
SELECT * FROM sessmgr.query('loop_hide', $$SELECT 'a secret'$$) AS t(a integer);

--
-- echo
--
CREATE SERVER loop_echo FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', echo 'true', dbname :'db');
SELECT sessmgr.scalar('loop_echo', 'SELECT 1');
SELECT sessmgr.scalar('loop_echo', 'SELECT $1 || $2 || $3', 'a''b', NULL, repeat('x', 200)) IS NULL AS "null";
CREATE SERVER loop_echo_hide FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', echo 'true', hide_parameters 'true', dbname :'db');
SELECT sessmgr.scalar('loop_echo_hide', 'SELECT $1', 'a secret');

--
-- Transaction control is no statement: as a one-liner, in a session in mode
-- autocommit, and in a transaction.  Afterwards nothing is left of it.
--
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
SELECT sql, pg_temp.err(format('SELECT sessmgr.execute(''loop'', %L)', sql)) AS error,
       (SELECT count(*) FROM sessmgr.connections c JOIN pg_stat_activity a ON a.pid = c.remote_pid WHERE a.state LIKE '%in transaction%') AS open
  FROM unnest(ARRAY['BEGIN', 'START TRANSACTION READ ONLY', 'COMMIT', 'END', 'ROLLBACK', 'ABORT', 'COMMIT AND CHAIN', 'SAVEPOINT x',
                    'RELEASE x', 'ROLLBACK TO x']) WITH ORDINALITY AS s(sql, nr)
 ORDER BY nr;
SELECT sql, pg_temp.err(format('SELECT sessmgr.execute(%L::sessmgr.session, %L)', :'a', sql)) AS error, sessmgr.in_transaction(:'a'::sessmgr.session)
  FROM unnest(ARRAY['BEGIN', 'COMMIT', 'COMMIT AND CHAIN', 'SAVEPOINT x']) WITH ORDINALITY AS s(sql, nr) ORDER BY nr;
SELECT sql, sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO st.effects VALUES ($1)', nr),
       pg_temp.err(format('SELECT sessmgr.execute(%L::sessmgr.session, %L)', :'s', sql)) AS error, sessmgr.in_transaction(:'s'::sessmgr.session)
  FROM unnest(ARRAY['BEGIN', 'COMMIT', 'COMMIT AND CHAIN', 'END', 'ROLLBACK', 'ROLLBACK AND CHAIN', 'SAVEPOINT x',
                    'RELEASE x']) WITH ORDINALITY AS s(sql, nr) ORDER BY nr;
-- what was rolled back with an error of the server is a failed transaction
SELECT pg_temp.err(format('SELECT sessmgr.commit(%L::sessmgr.session)', :'s'));
SELECT sessmgr.rollback(:'s'::sessmgr.session);
RESET client_min_messages;
-- only what COMMIT itself has committed is there
SELECT n FROM st.effects ORDER BY n;
TRUNCATE st.effects;
-- PREPARE TRANSACTION is told too (where the server has it); what is prepared stays
DO $$
DECLARE
    s sessmgr.session := (SELECT sessmgr.open(factory) FROM sessmgr.create_session('loop'));
BEGIN
    IF current_setting('max_prepared_transactions')::integer = 0 THEN
        RETURN;
    END IF;
    PERFORM sessmgr.execute(s, 'INSERT INTO st.effects VALUES (1)');
    BEGIN
        PERFORM sessmgr.execute(s, 'PREPARE TRANSACTION ''sm_regress''');
        RAISE EXCEPTION 'PREPARE TRANSACTION was not refused';
    EXCEPTION WHEN invalid_transaction_termination THEN
        NULL;
    END;
    IF sessmgr.in_transaction(s) OR NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = 'sm_regress') THEN
        RAISE EXCEPTION 'PREPARE TRANSACTION was not carried out';
    END IF;
    PERFORM sessmgr.execute('loop', 'ROLLBACK PREPARED ''sm_regress''');
END $$;
SELECT 'effects:', count(*) FROM st.effects;

--
-- First contact: where an error is, and what to write instead
--
\pset format unaligned
\pset tuples_only on
SELECT sessmgr.scalar('loop', 'SELECT nope FROM kv');
SELECT sessmgr.execute('loop', 'UPDATE kv
   SET v = ''ä'' || ''ö'', nope = 1
 WHERE k = 1');
SELECT sessmgr.scalar('loop', 'SELECT "größe" || ärger FROM (SELECT ''x'' AS "größe") t');
-- in whatever way it is sent, and with what
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('loop', options => '{"hold": true}') \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SELECT nope');
SELECT sessmgr.rollback(:'s'::sessmgr.session);
SELECT * FROM sessmgr.query(:'s'::sessmgr.session, 'SELECT nope') AS t(a text);
SELECT sessmgr.rollback(:'s'::sessmgr.session);
SELECT t.* FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT nope') AS t(a text);
SELECT sessmgr.rollback(:'s'::sessmgr.session);
SELECT t.* FROM sessmgr.stream(:'s'::sessmgr.session, 'WITH w AS (DELETE FROM st.effects RETURNING n) SELECT * FROM w') AS t(a text);
SELECT sessmgr.rollback(:'s'::sessmgr.session);
SELECT t.* FROM sessmgr.stream('loop', 'SELECT nope') AS t(a text);
SELECT sessmgr.send(:'s'::sessmgr.session, 'SELECT nope');
SELECT * FROM sessmgr.receive(:'s'::sessmgr.session) AS t(a text);
SELECT sessmgr.close(:'s'::sessmgr.session);
SELECT sessmgr.execute_many('loop', 'SELECT nope, $1', 'SELECT 1');
SELECT sessmgr.pull('loop', 'SELECT nope', 'st.effects');
SELECT * FROM sessmgr.query_all('{loop,loop}', 'SELECT nope') AS t(target text, a text);
-- in a function of the target
CREATE FUNCTION st.nested() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT nope FROM kv LIMIT 1); END $$;
SELECT sessmgr.scalar('loop', 'SELECT st.nested()');
-- not where the statement is not to be shown, nor in a very long one
SELECT sessmgr.scalar('loop_hide', 'SELECT nope');
SELECT sessmgr.scalar('loop_hide', 'SELECT st.nested()');
\set VERBOSITY terse
SELECT sessmgr.scalar('loop', 'SELECT nope /* ' || repeat('x', 10000) || ' */');
\set VERBOSITY default
-- parameters as in other languages
CREATE FUNCTION pg_temp.hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ': ' || hint;
END $$;
SELECT v, pg_temp.hint(format('SELECT sessmgr.scalar(''loop'', %L)', v)), pg_temp.hint(format('SELECT sessmgr.scalar(''loop'', %L, 1)', v))
  FROM unnest(ARRAY['SELECT v FROM kv WHERE k = ?', 'SELECT v FROM kv WHERE k=? AND true', 'INSERT INTO kv VALUES (?, ?)', 'SELECT v FROM kv WHERE k = %s', 'SELECT v FROM kv WHERE k = %(key)s',
    'SELECT v FROM kv WHERE k = :key', 'SELECT v FROM kv WHERE k = $key', 'SELECT v FROM kv WHERE k = {key}', 'SELECT v FROM kv WHERE k = ${key}', 'SELECT v FROM kv WHERE k = :1',
    'UPDATE kv SET v=%s', 'SELECT v FROM kv WHERE k=%(key)s', 'SELECT v FROM kv WHERE k = @key', 'SELECT v FROM kv WHERE k=@key', 'SELECT ?::integer, ''é'' || ?']) v;
SELECT sessmgr.scalar('spi:', 'SELECT v FROM kv WHERE k = ?');
SELECT sessmgr.scalar('spi:', 'SELECT v FROM kv WHERE k=@key');
-- no hint where they are something else
SELECT v, pg_temp.hint(format('SELECT sessmgr.scalar(''loop'', %L)', v))
  FROM unnest(ARRAY['SELECT ''{"a": 1}''::jsonb ? ''a''', 'SELECT (ARRAY[1, 2])[1:2]', 'SELECT 5 % 3', 'SELECT ''?'' 1 2', 'SELECT 1 -- :key
  2 3', 'SELECT ''a''::text 1', 'SELECT ''{}''::jsonb ? ''é'' 1', 'SELECT (''{}''::jsonb ?| ''{a}''', 'SELECT ''{}''::jsonb @? ''$'' 1', 'SELECT (ARRAY[1])[1:key FROM kv', 'SELECT 5 % s FROM kv',
    'SELECT ''{}''::jsonb ? nothing', 'SELECT 5 <@nothing', 'SELECT @ nothing', 'SELECT v FROM kv WHERE k = ''%s'' 1']) v;
SELECT pg_temp.hint('SELECT sessmgr.scalar(''spi:'', ''SELECT ''''{}''''::jsonb ? ''''a'''' 1'')');
-- the type of a parameter
SELECT sessmgr.scalar('loop', 'SELECT $1 IS NULL', NULL);
SELECT pg_temp.hint('SELECT sessmgr.scalar(''spi:'', ''SELECT pg_typeof($1)'', ''x'')');
-- a hint of the target's own is kept
SELECT sessmgr.scalar('loop', 'SELECT key_ FROM (SELECT 1 AS key1) t');
-- the columns of a result, to be pasted
CREATE TYPE st.mood AS ENUM ('ok');
CREATE TABLE st.wide (id bigint, "Name" varchar(20), price numeric(10, 2), "select" date, tags text[], mood st.mood, at timestamptz(3), c regclass);
SELECT * FROM sessmgr.query('loop', 'SELECT *, 1, 2 AS id, count(*) OVER () FROM st.wide') AS t(id bigint);
SELECT * FROM sessmgr.query('loop', 'SELECT *, 1, 2 AS id, count(*) OVER () FROM st.wide') AS t(id bigint, "Name" character varying(20), price numeric(10,2), "select" date, tags text[], mood text, at timestamp(3) with time zone, c text, column9 integer, column10 integer, count bigint);
SELECT * FROM sessmgr.query('spi:', 'SELECT * FROM st.wide') AS t(id bigint);
SELECT t.* FROM sessmgr.stream('loop', 'SELECT k, v FROM kv') AS t(id bigint);
SELECT * FROM sessmgr.query_all('{loop}', 'SELECT k, v FROM kv') AS t(target text, id bigint);
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('loop', options => '{"hold": true}') \gset
SELECT sessmgr.send(:'s'::sessmgr.session, 'SELECT k, v FROM kv');
SELECT * FROM sessmgr.receive(:'s'::sessmgr.session) AS t(a text);
SELECT sessmgr.rollback(:'s'::sessmgr.session);
SELECT t.* FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT k, v FROM kv') AS t(a text);
SELECT sessmgr.close(:'s'::sessmgr.session);
SELECT pg_temp.hint('SELECT * FROM sessmgr.query(''loop'', ''SELECT ' || string_agg(i::text, ', ') || ''') AS t(a integer)') FROM generate_series(1, 101) i;
-- no rows
SELECT * FROM sessmgr.query('loop', 'UPDATE kv SET v = v') AS t(id bigint);
SELECT * FROM sessmgr.query('loop', ' copy kv TO STDOUT') AS t(id bigint);
SELECT sessmgr.execute('loop', 'COPY kv FROM STDIN');
SELECT pg_temp.hint('SELECT sessmgr.execute(''spi:'', ''COPY kv TO STDOUT'')');

-- nothing is left in a transaction
SELECT a.state, count(*) > 0 FROM sessmgr.connections c JOIN pg_stat_activity a ON a.pid = c.remote_pid GROUP BY 1;
SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP SCHEMA st CASCADE;
DROP SERVER loop_no_cache;
DROP SERVER loop_hide;
DROP SERVER loop_echo;
DROP SERVER loop_echo_hide;

--
-- The target spi:, which is this very backend.
--
SET lock_timeout = '20s';
CREATE SCHEMA si;
CREATE TABLE si.t (a integer, b text);
GRANT USAGE ON SCHEMA si TO regress_sm_user;
CREATE FUNCTION si.err(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('spi:', options => '{"hold": true}') \gset
\pset format unaligned
\pset tuples_only on

-- results
SELECT 'insert', sessmgr.execute('spi:', $$INSERT INTO si.t VALUES (1, 'one'), (2, $1), (3, NULL)$$, 'two');
SELECT 'update', sessmgr.execute(:'s'::sessmgr.session, 'UPDATE si.t SET a = a WHERE a > $1', 1);
SELECT 'select', sessmgr.execute('spi:', 'SELECT * FROM si.t'), sessmgr.execute('spi:', 'SELECT * FROM si.t WHERE false');
SELECT 'returning', sessmgr.execute('spi:', 'INSERT INTO si.t VALUES (4) RETURNING *'), 'ddl', sessmgr.execute('spi:', 'CREATE TABLE si.u ()');
SELECT 'show', sessmgr.scalar('spi:', 'SHOW server_encoding'), 'explain', sessmgr.scalar('spi:', 'EXPLAIN (COSTS off) SELECT 1');
SELECT 'query', * FROM sessmgr.query('spi:', 'SELECT a, b FROM si.t ORDER BY a') AS t(a integer, b text);
SELECT 'converted', * FROM sessmgr.query(:'s'::sessmgr.session, 'SELECT a, b FROM si.t WHERE a = $1', '1') AS t(a text, b varchar(3));
SELECT 'no rows', count(*) FROM sessmgr.query('spi:', 'SELECT a, b FROM si.t WHERE false') AS t(a integer, b text);
SELECT 'query_as', * FROM sessmgr.query_as(NULL::si.t, 'spi:', 'SELECT * FROM si.t WHERE a = 1');
SELECT 'scalars', sessmgr.query_as(0, 'spi:', 'SELECT a FROM si.t ORDER BY a LIMIT 2');
SELECT 'json', sessmgr.query_json('spi:', 'SELECT *, NULL AS n FROM si.t WHERE a < 3 ORDER BY a');
SELECT 'scalar', sessmgr.scalar('spi:', 'SELECT b, a FROM si.t ORDER BY a'), sessmgr.scalar('spi:', 'SELECT FROM si.t') IS NULL, sessmgr.scalar('spi:', 'SELECT 1 WHERE false') IS NULL;
SELECT 'scalar_as', sessmgr.scalar_as(NULL::integer, 'spi:', 'SELECT a FROM si.t WHERE b = $1', 'two') + 1;
SELECT 'row', (sessmgr.scalar_as(NULL::si.t, 'spi:', 'SELECT t FROM si.t t WHERE a = 1')).b;
SELECT 'all run', sessmgr.scalar('spi:', 'INSERT INTO si.t SELECT 10 FROM generate_series(1, 100) RETURNING a'), count(*) FROM si.t;
SELECT 'and then', count(*) FROM si.t;
DELETE FROM si.t WHERE a = 10;
SELECT 'large', count(*), sum(length(b)) FROM sessmgr.query('spi:', 'SELECT i, repeat(''x'', 100) FROM generate_series(1, 20000) i') AS t(a integer, b text);
-- parameters: the types of literals are found from their use
SELECT 'inferred', sessmgr.scalar('spi:', 'SELECT $1 + 1', '41'), sessmgr.scalar('spi:', 'SELECT $1', 'x'), sessmgr.scalar('spi:', 'SELECT a FROM si.t WHERE b = $1 AND a = $2', 'one', '1'),
       sessmgr.scalar('spi:', 'SELECT $1::text IS NULL', NULL), sessmgr.scalar('spi:', 'SELECT concat($1, $2)', VARIADIC ARRAY[1, NULL]);
SELECT si.err('SELECT sessmgr.scalar(''spi:'', ''SELECT pg_typeof($1)'', ''x'')');
SELECT si.err('SELECT sessmgr.scalar(''spi:'', ''SELECT 1'', ''x'')');
SELECT si.err('SELECT sessmgr.scalar(''spi:'', ''SELECT $1 + 1'', ''x'')');
SELECT si.err('SELECT sessmgr.scalar(''spi:'', ''SELECT $2::integer'', 1)');
SELECT si.err('SELECT sessmgr.scalar(''spi:'', ''SELECT $1'')');
-- what does not fit
SELECT si.err('SELECT * FROM sessmgr.query(''spi:'', ''SELECT 1, 2'') AS t(a integer)');
SELECT si.err('SELECT * FROM sessmgr.query(''spi:'', ''SELECT 1'') AS t(a integer, b integer)');
SELECT si.err('SELECT * FROM sessmgr.query(''spi:'', ''INSERT INTO si.t VALUES (11)'') AS t(a integer)');
SELECT si.err('SELECT * FROM sessmgr.query(''spi:'', ''CREATE TABLE si.v ()'') AS t(a integer)');
SELECT si.err('SELECT * FROM sessmgr.query(''spi:'', ''SELECT 1, $1'', ''x'') AS t(a integer, b integer)');
SELECT si.err('SELECT sessmgr.query_json(''spi:'', ''SELECT 1 AS a, 2 AS a'')');
SELECT 'nothing of it is left', count(*), to_regclass('si.v') FROM si.t WHERE a = 11;
-- what is refused
SELECT sql, si.err(format('SELECT sessmgr.execute(''spi:'', %L)', sql)), si.err(format('SELECT sessmgr.execute(%L::sessmgr.session, %L)', :'s', sql))
  FROM unnest(ARRAY['', ' ; ', '-- nothing', 'SELECT 1; SELECT 2', 'INSERT INTO si.t VALUES (11); DELETE FROM si.t', 'BEGIN', 'COMMIT', 'ROLLBACK', 'SAVEPOINT x', 'COMMIT AND CHAIN',
                    'PREPARE TRANSACTION ''x''', 'COPY si.t TO STDOUT', 'COPY si.t FROM STDIN', 'VACUUM si.t', 'SELEKT']) sql;
SELECT si.err(format('SELECT sessmgr.execute(%L::sessmgr.session, %L)', :'s', 'SELECT * FROM si.nowhere'));
SELECT 'untouched', count(*) FROM si.t;
-- a transaction of its own it has not
SELECT 'in transaction', sessmgr.in_transaction(:'s'), sessmgr.begin(:'s'), sessmgr.begin(:'s'), sessmgr.commit(:'s'), sessmgr.commit(:'s');
SELECT si.err(format('SELECT sessmgr.rollback(%L)', :'s'));
BEGIN;
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO si.t VALUES (11)'), sessmgr.execute('spi:', 'INSERT INTO si.t VALUES (12)'), sessmgr.commit(:'s');
ROLLBACK;
SELECT 'rolled back', count(*) FROM si.t WHERE a > 10;
DO $$
BEGIN
    PERFORM sessmgr.execute('spi:', 'INSERT INTO si.t VALUES (11)');
    BEGIN
        PERFORM sessmgr.execute('spi:', 'INSERT INTO si.t VALUES (12)');
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        PERFORM sessmgr.execute('spi:', 'INSERT INTO si.t VALUES (13)');
    END;
END $$;
SELECT 'subtransaction', a FROM si.t WHERE a > 10 ORDER BY a;
SELECT o, si.err(format('SELECT sessmgr.create_session(''spi:'', options => %L)', o))
  FROM unnest('{"{\"isolation_level\": \"SERIALIZABLE\"}","{\"read_only\": true}","{\"deferrable\": true}"}'::text[]) o;
-- and no connection
SELECT 'connections', count(*) FROM sessmgr.connections;

-- nested
SELECT 'nested', sessmgr.scalar('spi:', $$SELECT sessmgr.scalar('spi:', 'SELECT sessmgr.scalar(''spi:'', ''SELECT $1 + 1'', $1)', $1)$$, 1);
SELECT 'through a connection', sessmgr.scalar('spi:', $$SELECT sessmgr.scalar('loop', 'SELECT sessmgr.scalar(''spi:'', ''SELECT 7'')')$$);
-- a session is one thing at a time
SELECT si.err(format('SELECT sessmgr.scalar(%1$L::sessmgr.session, %2$L)', :'s', format('SELECT sessmgr.%s', replace(f, '$', quote_literal(:'s')))))
  FROM unnest(ARRAY['scalar($::sessmgr.session, ''SELECT 1'')', 'close($)', 'commit($)', 'begin($)', 'rollback($)', 'reset()']) f;
SELECT 'usable', sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1');
-- also for one-liners, which have no session to be in the way of
SELECT si.err('SELECT sessmgr.scalar(''spi:'', ''SELECT sessmgr.reset()'')');

-- the caller's role and search_path
SET search_path = si;
SELECT 'search_path', sessmgr.scalar('spi:', 'SELECT count(*) FROM t'), sessmgr.scalar('spi:', 'SHOW search_path');
RESET search_path;
SET ROLE regress_sm_user;
SELECT 'role', sessmgr.scalar('spi:', 'SELECT current_user');
SELECT sessmgr.scalar('spi:', 'SELECT count(*) FROM si.t');
\echo :SQLSTATE
\set VERBOSITY terse
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1');
\set VERBOSITY default
RESET ROLE;
CREATE FUNCTION si.definer() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = si AS $$ SELECT sessmgr.scalar('spi:', 'SELECT current_user || '' '' || current_schema()') $$;
ALTER FUNCTION si.definer() OWNER TO regress_sm_user;
SELECT 'definer', si.definer();
-- a read-only transaction
BEGIN READ ONLY;
SELECT sessmgr.execute('spi:', 'INSERT INTO si.t VALUES (1)');
\echo :SQLSTATE
ROLLBACK;
-- errors come as they are
CREATE FUNCTION si.fail() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it failed' USING ERRCODE = 'SM001', DETAIL = 'detail', HINT = 'hint'; END $$;
SELECT sessmgr.scalar('spi:', 'SELECT si.fail()');
\echo :SQLSTATE
SELECT 'canceled early', * FROM sessmgr.query('spi:', 'SELECT generate_series(1, 3)') AS t(a integer) LIMIT 1;
SELECT sessmgr.close(:'s'), sessmgr.close(:'s');
\set VERBOSITY sqlstate
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1');
\set VERBOSITY default
SET client_min_messages = warning;
DROP SCHEMA si CASCADE;

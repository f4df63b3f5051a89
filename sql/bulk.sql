--
-- execute_many, pull, push
--
SELECT current_database() AS db, current_user AS me \gset
SELECT sessmgr.reset();
CREATE SCHEMA bulk;
SET search_path = bulk, public;

-- everything that may go wrong with a text
CREATE TABLE source (id int, t text, n numeric, ts timestamptz, b bytea, a text[], j jsonb);
INSERT INTO source VALUES
    (1, 'plain', 1.50, '2024-02-29 12:00+00', '\x00ff', '{a,NULL,"NULL",""}', '{"a": 1}'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL),
    (3, '', 'NaN', 'infinity', '', '{}', 'null'),
    (4, E'tab\there\nnewline\r\\backslash \\N \\. "quotes" ''single''', -1e-10, '0044-03-15 BC', '\x5c2e0a', E'{"\\t","a\nb"}', '"\\"'),
    (5, E'\\.', 0, 'epoch', '\x', NULL, '[]'),
    (6, U&'\00e4\20ac\+01F600', 1e30, '-infinity', '\x0a', '{ä}', '{"ä": "€"}'),
    (7, '\N', 7, '9999-12-31', '\x5c4e', '{{1,2},{3,4}}', '7');
CREATE TABLE sink (LIKE source);
CREATE FUNCTION same() RETURNS boolean LANGUAGE sql AS
    $$ SELECT count(*) = 7 AND bool_and(s::text = k::text) FROM source s JOIN sink k USING (id) $$;

-- all three take it there and back, in binary and as text
SELECT sessmgr.pull('loop', 'SELECT * FROM bulk.source', 'sink');
SELECT same();
TRUNCATE sink;
SELECT sessmgr.push('loop', 'SELECT * FROM source', 'bulk.sink');
SELECT same();
TRUNCATE sink;
SELECT sessmgr.execute_many('loop', 'INSERT INTO bulk.sink VALUES ($1, $2, $3, $4, $5, $6, $7)', 'SELECT * FROM source');
SELECT same();
TRUNCATE sink;
SET client_encoding = 'LATIN1';
SELECT sessmgr.pull('loop', 'SELECT * FROM bulk.source', 'sink');
SELECT same();
TRUNCATE sink;
SELECT sessmgr.push('loop', 'SELECT * FROM source', 'bulk.sink');
RESET client_encoding;
SELECT same();
TRUNCATE sink;

-- whatever the settings
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SET array_nulls = off;
SET extra_float_digits = -15;
CREATE TABLE odd (d date, i interval, f float8, a text[], m money);
INSERT INTO odd VALUES ('2024-02-01', '-1 mon +2 days 03:04:05', 1 / 3.0::float8, ARRAY['a', NULL], '12.34');
CREATE TABLE odd_copy (LIKE odd);
SELECT sessmgr.pull('loop', 'SELECT * FROM bulk.odd', 'odd_copy');
SELECT sessmgr.push('loop', 'SELECT * FROM odd', 'bulk.odd_copy');
SELECT sessmgr.execute_many('loop', 'INSERT INTO bulk.odd_copy VALUES ($1, $2, $3, $4, $5)', 'SELECT * FROM odd');
SELECT count(*) FROM odd JOIN odd_copy USING (d, i, f, a, m);
RESET datestyle;
RESET intervalstyle;
RESET array_nulls;
RESET extra_float_digits;

-- types that only text can carry, and types that differ
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE TABLE own (m mood, s small, c regclass, r source, x xml, arr mood[], v varchar(5), ch char(5), bits bit(3));
INSERT INTO own VALUES ('sad', 5, 'bulk.source', ROW(1, 'x', 1, NULL, NULL, NULL, NULL), '<a/>', '{glad,sad}', 'v', 'c', '101');
CREATE TABLE own_copy (LIKE own);
SELECT sessmgr.pull('loop', 'SELECT m, s, c::oid::regclass, r, x, arr, v, ch, bits FROM bulk.own', 'own_copy');
SELECT sessmgr.push('loop', 'SELECT * FROM own', 'bulk.own_copy');
SELECT sessmgr.execute_many('loop', 'INSERT INTO bulk.own_copy VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)', 'SELECT * FROM own');
SELECT * FROM own_copy;
CREATE TABLE wide (a bigint, b text, c numeric);
SELECT sessmgr.pull('loop', 'SELECT 1::smallint, 2::int, 3::float8', 'wide');
SELECT sessmgr.push('loop', 'SELECT 4::smallint, 5::int, 6::float8', 'bulk.wide');
SELECT * FROM wide;
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 200', 'own_copy', '{s}')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 200', 'bulk.own_copy', '{s}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT ''x''', 'wide', '{a}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT ''too long''::varchar', 'own_copy', '{v}')$$);

-- which format: echo shows what is sent
CREATE SERVER echo FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', echo 'true');
CREATE USER MAPPING FOR CURRENT_USER SERVER echo OPTIONS (user :'me');
CREATE TABLE mixed (i int, t text, v varchar(9), n numeric, s small, a int[], m mood);
SELECT sessmgr.pull('echo', 'SELECT 1, ''a''::varchar, ''b''::text, 1.5, 2, ''{3}''::int[]', 'mixed', '{i,t,v,n,s,a}');
SELECT sessmgr.push('echo', 'SELECT 1, ''a''::varchar, ''b''::text, 1.5, 2, ''{3}''::int[]', 'bulk.mixed', '{i,t,v,n,s,a}');
SELECT sessmgr.pull('echo', 'SELECT 1::bigint', 'mixed', '{i}'), sessmgr.push('echo', 'SELECT 1::bigint', 'bulk.mixed', '{i}');
SELECT sessmgr.pull('echo', 'SELECT ''sad''::bulk.mood', 'mixed', '{m}'), sessmgr.push('echo', 'SELECT ''sad''::mood', 'bulk.mixed', '{m}');
SELECT sessmgr.execute_many('echo', 'SELECT $1', 'VALUES (1), (2)');
SET client_encoding = 'LATIN1';
SELECT sessmgr.pull('echo', 'SELECT 1', 'mixed', '{i}'), sessmgr.push('echo', 'SELECT 1', 'bulk.mixed', '{i}');
RESET client_encoding;
SELECT * FROM mixed;

-- nothing to do
SELECT sessmgr.pull('loop', 'SELECT * FROM bulk.source WHERE false', 'sink'),
       sessmgr.pull('loop', 'SELECT t, ''sad''::bulk.mood FROM bulk.source WHERE false', 'own_copy', '{v,m}'),
       sessmgr.push('loop', 'SELECT * FROM source WHERE false', 'bulk.sink'),
       sessmgr.push('loop', 'SELECT t, m FROM source, own WHERE false', 'bulk.own_copy', '{v,m}'),
       sessmgr.execute_many('loop', 'INSERT INTO bulk.sink (id) VALUES ($1)', 'SELECT 1 WHERE false');
-- rows without columns
CREATE TABLE nothing ();
SELECT sessmgr.pull('loop', 'SELECT FROM generate_series(1, 3)', 'nothing'),
       sessmgr.push('loop', 'SELECT FROM generate_series(1, 4)', 'bulk.nothing'),
       sessmgr.execute_many('loop', 'INSERT INTO bulk.nothing DEFAULT VALUES', 'SELECT FROM generate_series(1, 5)');
SELECT count(*) FROM nothing;
-- many rows, so that buffers fill; and large ones
CREATE TABLE numbers (i int, t text);
SELECT sessmgr.pull('loop', 'SELECT i, repeat(''x'', i % 100) FROM generate_series(1, 20000) i', 'numbers');
SELECT sessmgr.push('loop', 'SELECT i, repeat(''x'', i % 100) FROM generate_series(1, 20000) i', 'bulk.numbers');
SELECT sessmgr.execute_many('loop', 'INSERT INTO bulk.numbers VALUES ($1, $2)', 'SELECT i, repeat(''x'', i % 100) FROM generate_series(1, 20000) i');
SELECT sessmgr.execute_many('loop', 'SELECT repeat(''y'', 1000) FROM generate_series(1, $1)', 'SELECT 1000 FROM generate_series(1, 10)');
SELECT count(*), sum(i), sum(length(t)) FROM numbers;
TRUNCATE numbers;
SELECT sessmgr.pull('loop', 'SELECT i, repeat(''x'', 3000000) FROM generate_series(1, 3) i', 'numbers'),
       sessmgr.push('loop', 'SELECT i, repeat(''x'', 3000000) FROM generate_series(1, 3) i', 'bulk.numbers'),
       sessmgr.execute_many('loop', 'INSERT INTO bulk.numbers VALUES ($1, $2)', 'SELECT i, repeat(''x'', 3000000) FROM generate_series(1, 3) i');
SELECT count(*), sum(length(t)) FROM numbers;
TRUNCATE numbers;

--
-- Columns
--
CREATE TABLE filled (
    id int GENERATED ALWAYS AS IDENTITY,
    "a ""b" int DEFAULT 7,
    gone int,
    twice int GENERATED ALWAYS AS ("a ""b" * 2) STORED,
    "select" text DEFAULT 'none'
);
ALTER TABLE filled DROP COLUMN gone;
SELECT sessmgr.pull('loop', 'SELECT 1, 2, ''x''', 'filled');
SELECT sessmgr.push('loop', 'SELECT 10, 20, ''y''', 'bulk.filled');
SELECT sessmgr.pull('loop', 'SELECT 3', 'filled', '{"a \"b"}');
SELECT sessmgr.push('loop', 'SELECT ''z'', 4', 'bulk.filled', '{select, "a \"b"}');
SELECT * FROM filled ORDER BY 2;
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'filled')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 1', 'bulk.filled')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 1, 2', 'bulk.filled', '{id}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'filled', '{none}')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 1', 'bulk.filled', '{none}')$$);
-- no column is named so, not even the one that a name cut off would be
SELECT c, try(format('SELECT sessmgr.push(''loop'', ''SELECT 1'', ''bulk.filled'', %L)', ARRAY[c])) AS push,
       try(format('SELECT sessmgr.pull(''loop'', ''SELECT 1'', ''filled'', %L)', ARRAY[c])) AS pull
  FROM unnest(ARRAY['', ' ', 'di', 'ID', '"id"', 'ctid', repeat('x', 70)]) c;
-- nor a table
SELECT t, try(format('SELECT sessmgr.push(''loop'', ''SELECT 1'', %L)', t)) AS all_columns,
       try(format('SELECT sessmgr.push(''loop'', ''SELECT 1'', %L, ''{a}'')', t)) AS some
  FROM unnest(ARRAY['nowhere', 'bulk.nowhere', 'nowhere.filled', 'bulk."Filled"', 'other_db.bulk.filled']) t;
DO $$
DECLARE
    context text;
BEGIN
    PERFORM sessmgr.push('loop', 'SELECT 1', 'bulk.nowhere');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RAISE NOTICE '% %', SQLERRM, context ~ 'pg_';
END $$;
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'filled', '{twice}')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 1', 'bulk.filled', '{twice}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1, 2', 'filled', '{id,id}')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 1, 2', 'bulk.filled', '{id,id}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'filled', '{}')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 1', 'bulk.filled', '{NULL}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'filled', '{gone}')$$);
SELECT count(*) FROM filled;

--
-- Arguments
--
SELECT try('SELECT sessmgr.execute_many(NULL::text, ''x'', ''x'')');
SELECT try('SELECT sessmgr.execute_many(NULL::sessmgr.session, ''x'', ''x'')');
SELECT try('SELECT sessmgr.execute_many(''loop'', NULL, ''x'')');
SELECT try('SELECT sessmgr.execute_many(''loop'', ''x'', NULL)');
SELECT try('SELECT sessmgr.pull(target => ''loop''::text, query => NULL, into_table => ''sink'')');
SELECT try('SELECT sessmgr.pull(''loop'', ''SELECT 1'', NULL)');
SELECT try('SELECT sessmgr.pull(''loop'', ''SELECT 1'', 0)');
SELECT try('SELECT sessmgr.push(target => ''loop''::text, query => NULL, into_table => ''sink'', columns => NULL)');
SELECT try('SELECT sessmgr.push(''loop'', ''SELECT 1'', NULL)');

-- the local query: one query that returns rows
SELECT try(format('SELECT sessmgr.execute_many(''loop'', ''SELECT $1::int'', %L)', q)),
       try(format('SELECT sessmgr.push(''loop'', %L, ''bulk.wide'', ''{a}'')', q)) FROM unnest(ARRAY[
    '', 'SELECT 1; SELECT 2', 'DELETE FROM wide', 'COMMIT', 'COPY wide TO STDOUT', 'SELECT $1', 'SELEC 1',
    'SELECT 1/0', 'SELECT * FROM absent', 'SET work_mem = ''1MB''']) q;
-- may have effects
SELECT sessmgr.push('loop', 'WITH d AS (DELETE FROM wide RETURNING a) SELECT a + 100 FROM d', 'bulk.wide', '{a}');
SELECT sessmgr.push('loop', 'INSERT INTO numbers VALUES (1, ''one'') RETURNING i', 'bulk.wide', '{a}');
SELECT sessmgr.push('loop', 'SHOW search_path', 'bulk.wide', '{b}');
SELECT a, b FROM wide ORDER BY a;
TRUNCATE wide, numbers;

-- the table's name
CREATE TABLE "a.b ""c" (i int);
CREATE TABLE "Wide" (a int);
SELECT sessmgr.push('loop', 'SELECT 1', 'bulk."a.b ""c"'), sessmgr.push('loop', 'SELECT 1', ' BULK . Wide ', '{a}'),
       sessmgr.push('loop', 'SELECT 1', 'bulk."Wide"');
SELECT count(*) FROM "a.b ""c";
SELECT try(format('SELECT sessmgr.push(''loop'', ''SELECT 1'', %L)', t)) FROM unnest(ARRAY[
    '', 'wide; DROP TABLE wide', 'wide (a) FROM PROGRAM ''x''; --', '"wide', 'a.b.c.d', 'bulk.absent', 'absent',
    'wide"; DROP TABLE wide', '"bulk.wide"', 'bulk.kv_seq)']) t;

-- the query of pull stays inside its parentheses
SELECT try(format('SELECT sessmgr.pull(''loop'', %L, ''wide'', ''{a}'')', q)) FROM unnest(ARRAY[
    'SELECT 1) TO PROGRAM ''touch /tmp/sessmgr_bulk''; --',
    'SELECT 1) TO PROGRAM ''touch /tmp/sessmgr_bulk'' --',
    'SELECT 1) TO PROGRAM ''touch /tmp/sessmgr_bulk'' /*',
    'SELECT 1) TO STDOUT; DROP TABLE bulk.wide; COPY (SELECT 1',
    'SELECT 1) TO STDOUT (FORMAT text',
    'SELECT 1; DROP TABLE bulk.wide',
    'bulk.wide', '(SELECT 1', 'SELECT (1', 'SELECT ''1', 'SELECT $$1', 'SELECT 1 /* 2', '', ';', '--',
    'DELETE FROM bulk.wide', 'SHOW search_path', 'EXPLAIN SELECT 1', 'COPY bulk.wide TO STDOUT', 'COMMIT', 'SELECT $1::int',
    'SELECT 1/0', 'SELECT 1 INTO bulk.x']) q;
SELECT pg_stat_file('/tmp/sessmgr_bulk', true) IS NULL AS nothing_ran;
SELECT sessmgr.pull('loop', q, 'wide', '{a}') FROM unnest(ARRAY[
    'SELECT 1 -- a comment', 'SELECT 1; ', '(SELECT 2)', 'VALUES (3)', 'TABLE bulk."Wide"', 'SELECT 4 /* ) TO */',
    'INSERT INTO bulk."Wide" VALUES (5) RETURNING a', 'WITH a AS (SELECT 6) SELECT * FROM a;;']) q;
SELECT array_agg(a ORDER BY a) FROM wide;
TRUNCATE wide;

--
-- What COPY FROM does, pull does
--
CREATE TABLE log (line text);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF tg_level = 'STATEMENT' THEN
        INSERT INTO bulk.log SELECT format('%s: %s, rows %s', tg_when, state, rows) FROM sessmgr.connections WHERE state = 'active';
        RETURN NULL;
    END IF;
    IF NEW.a = 7 THEN
        INSERT INTO bulk.log SELECT format('row 7: rows %s, bytes %s', rows >= 7, bytes > rows) FROM sessmgr.connections WHERE state = 'active';
    END IF;
    RETURN CASE WHEN NEW.a % 2 = 0 THEN NEW END;
END $$;
CREATE TRIGGER a BEFORE INSERT ON wide FOR EACH STATEMENT EXECUTE FUNCTION watch();
CREATE TRIGGER b BEFORE INSERT ON wide FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER c AFTER INSERT ON wide FOR EACH STATEMENT EXECUTE FUNCTION watch();
SELECT sessmgr.pull('loop', 'SELECT i FROM generate_series(1, 50000) i', 'wide', '{a}');
SELECT count(*), sum(a) FROM wide;
SELECT line FROM log;
DROP TRIGGER a ON wide;
DROP TRIGGER b ON wide;
DROP TRIGGER c ON wide;
TRUNCATE wide, log;
-- push sees its connection from inside the query
CREATE FUNCTION look(i int) RETURNS text LANGUAGE sql VOLATILE AS
    $$ SELECT format('%s: %s, rows %s', i, state, rows) FROM sessmgr.connections WHERE state = 'active' $$;
SELECT sessmgr.push('loop', 'SELECT look(i) FROM generate_series(1, 3) i', 'bulk.log');
SELECT sessmgr.execute_many('loop', 'INSERT INTO bulk.log VALUES ($1)', 'SELECT look(i) FROM generate_series(4, 5) i');
SELECT * FROM log;

-- constraints; nothing remains of what failed
CREATE TABLE strict (id int PRIMARY KEY, v int NOT NULL CHECK (v > 0), ref int REFERENCES strict DEFERRABLE);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT i / 2, 1, NULL FROM generate_series(1, 5000) i', 'strict')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT i, 3000 - i, NULL::int FROM generate_series(1, 5000) i', 'strict')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT i, 1, i + 1 FROM generate_series(1, 5) i', 'strict')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT i, 1 / (i - 4000), NULL::int FROM generate_series(4000, 5000) i', 'strict')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT i / 2, 1, NULL::int FROM generate_series(1, 5000) i', 'bulk.strict')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT i, 1 / (i - 4000), NULL::int FROM generate_series(4000, 5000) i', 'bulk.strict')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT i, 1, i + 1 FROM generate_series(1, 5) i', 'bulk.strict')$$);
SELECT count(*) FROM strict;
SELECT sessmgr.push('loop', 'SELECT i / 2, 1, NULL FROM generate_series(1, 5000) i', 'bulk.strict');
SELECT sessmgr.pull('loop', 'SELECT i / 2, 1, NULL FROM generate_series(1, 5000) i', 'strict');

-- which row failed
SELECT try($$SELECT sessmgr.execute_many('loop', 'INSERT INTO bulk.strict VALUES ($1, $2)', 'SELECT i, 17 - i FROM generate_series(1, 5000) i')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'INSERT INTO bulk.strict VALUES ($1, $2)', 'SELECT i, 4999 - i FROM generate_series(1, 5000) i')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'SELECT 1 / $1', 'SELECT 3 - i FROM generate_series(1, 3) i')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'SELECT $1::int', 'SELECT ''x'' FROM generate_series(1, 3) i')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'INSERT INTO bulk.strict VALUES ($1, $2)', 'SELECT i, 10 / (i - 5) FROM generate_series(5, 50) i')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'SELECT $1::int', 'SELECT 1, 2')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'SELECT $1::int, $2::int', 'SELECT 1')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'SELEC $1', 'SELECT 1')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', '', 'SELECT')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'SELECT 1; SELECT 2', 'SELECT')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'COPY bulk.strict TO STDOUT', 'SELECT FROM generate_series(1, 3)')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'COPY bulk.strict FROM STDIN', 'SELECT FROM generate_series(1, 3)')$$);
SET client_min_messages = error;
SELECT try($$SELECT sessmgr.execute_many('loop', 'COMMIT', 'SELECT FROM generate_series(1, 3)')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'SAVEPOINT a', 'SELECT FROM generate_series(1, 3)')$$);
RESET client_min_messages;
SELECT count(*) FROM strict;
-- rows that it returns are counted, others affected are, too
SELECT sessmgr.execute_many('loop', 'INSERT INTO bulk.strict SELECT i, 1 FROM generate_series($1, $2) i', 'VALUES (1, 10), (11, 30), (5, 4)');
SELECT sessmgr.execute_many('loop', 'SELECT FROM bulk.strict WHERE id <= $1', 'VALUES (1), (10)');
SELECT sessmgr.execute_many('loop', 'UPDATE bulk.strict SET v = $2 WHERE id = $1 RETURNING *', 'VALUES (1, 5), (99, 5), (2, 5)');
-- settings that it changes are put right again
SELECT sessmgr.execute_many('loop', 'SET datestyle = ''SQL''', 'SELECT');
SELECT sessmgr.scalar('loop', 'SELECT $1', '2024-02-01'::date);
SELECT sessmgr.execute_many('loop', 'DEALLOCATE ALL', 'SELECT');
SELECT sessmgr.scalar('loop', 'SELECT $1', '2024-02-01'::date);
-- notices
SELECT sessmgr.execute_many('loop', 'DO $$ BEGIN RAISE NOTICE ''hello''; END $$', 'SELECT FROM generate_series(1, 2)');
CREATE FUNCTION noisy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'row %', NEW.i; RETURN NEW; END $$;
CREATE TRIGGER noisy BEFORE INSERT ON numbers FOR EACH ROW EXECUTE FUNCTION noisy();
SELECT sessmgr.push('loop', 'VALUES (1), (2)', 'bulk.numbers', '{i}');
SELECT sessmgr.pull('loop', 'VALUES (3), (4)', 'numbers', '{i}');
DROP TRIGGER noisy ON numbers;
TRUNCATE strict, numbers;

--
-- Kinds of relations
--
CREATE TABLE part (i int, t text) PARTITION BY RANGE (i);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 (t text, i int);
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20);
CREATE VIEW simple AS SELECT * FROM numbers;
CREATE VIEW viewed AS SELECT i FROM numbers;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO bulk.numbers VALUES (NEW.i, 'instead'); RETURN NEW; END $$;
CREATE TRIGGER instead INSTEAD OF INSERT ON viewed FOR EACH ROW EXECUTE FUNCTION instead();
CREATE MATERIALIZED VIEW stored AS SELECT 1 AS i, 2 AS j;
CREATE SEQUENCE seq;
CREATE INDEX idx ON numbers (i);
CREATE TEMP TABLE passing (i int);
SELECT sessmgr.pull('loop', 'SELECT i, ''p'' || i FROM generate_series(8, 12) i', 'part');
SELECT sessmgr.push('loop', 'SELECT i, ''q'' || i FROM generate_series(8, 12) i', 'bulk.part');
SELECT tableoid::regclass, count(*), min(t), max(t) FROM part GROUP BY 1 ORDER BY 1;
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 99, ''x''', 'part')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 99, ''x''', 'bulk.part')$$);
SELECT sessmgr.pull('loop', 'SELECT 1', 'viewed'), sessmgr.push('loop', 'SELECT 2', 'bulk.viewed'), sessmgr.pull('loop', 'SELECT 3', 'passing');
SELECT * FROM numbers;
SELECT * FROM passing;
SELECT try(format('SELECT sessmgr.pull(''loop'', ''SELECT 1, 2'', %L)', r)), try(format('SELECT sessmgr.push(''loop'', ''SELECT 1, 2'', %L)', 'bulk.' || r))
    FROM unnest(ARRAY['simple', 'stored']) r;
SELECT left(try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'idx')$$), 5);
SELECT left(try($$SELECT sessmgr.push('loop', 'SELECT 1', 'bulk.idx')$$), 5);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 0)$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1, 2, true', 'seq')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 1, 2, true', 'bulk.seq')$$);
-- a foreign table
SET client_min_messages = warning;
CREATE EXTENSION postgres_fdw SCHEMA public;
RESET client_min_messages;
CREATE SERVER back FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname :'db');
CREATE USER MAPPING FOR CURRENT_USER SERVER back;
DO $$ BEGIN EXECUTE format('ALTER SERVER back OPTIONS (host %L, port %L)', sockdir(), current_setting('port')); END $$;
CREATE FOREIGN TABLE abroad (i int, t text) SERVER back OPTIONS (schema_name 'bulk', table_name 'numbers');
SELECT sessmgr.pull('loop', 'SELECT 4, ''abroad''', 'abroad');
SELECT * FROM numbers;
TRUNCATE numbers;

-- a transaction that only reads
BEGIN READ ONLY;
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'numbers', '{i}')$$);
SELECT sessmgr.pull('loop', 'SELECT 1', 'passing');
ROLLBACK;
SELECT sessmgr.open((sessmgr.create_session('loop', options => '{"hold": true, "read_only": true}')).factory) AS r \gset
SELECT sessmgr.pull(:'r'::sessmgr.session, 'SELECT 1', 'passing');
SELECT try(format('SELECT sessmgr.push(%L::sessmgr.session, ''SELECT 1'', ''bulk.numbers'', ''{i}'')', :'r'));
SELECT sessmgr.rollback(:'r');
SELECT try(format('SELECT sessmgr.execute_many(%L::sessmgr.session, ''INSERT INTO bulk.numbers VALUES ($1)'', ''SELECT 1'')', :'r'));
SELECT sessmgr.close(:'r');

--
-- Privileges: those of the current role
--
GRANT USAGE ON SCHEMA bulk TO regress_sm_user, regress_sm_other;
GRANT SELECT ON source TO regress_sm_user;
CREATE TABLE guarded (a int, b int);
CREATE TABLE policed (a int);
ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_it ON policed USING (true);
GRANT INSERT (a) ON guarded TO regress_sm_user;
GRANT INSERT ON policed TO regress_sm_user;
SET ROLE regress_sm_user;
SELECT sessmgr.pull('loop', 'SELECT 1', 'guarded', '{a}');
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'guarded', '{b}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1, 2', 'guarded')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'policed')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'numbers', '{i}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'pg_catalog.pg_am', '{oid}')$$);
-- the local query, too; on the target it is the mapping's role
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 1 FROM numbers', 'bulk.numbers', '{i}')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'SELECT $1::int', 'SELECT i FROM numbers')$$);
SELECT sessmgr.push('loop', 'SELECT id FROM source', 'bulk.numbers', '{i}');
RESET ROLE;
GRANT CREATE ON SCHEMA bulk TO regress_sm_user;
ALTER TABLE policed OWNER TO regress_sm_user;
SET ROLE regress_sm_user;
SELECT sessmgr.pull('loop', 'SELECT 1', 'policed');
RESET ROLE;
ALTER TABLE policed FORCE ROW LEVEL SECURITY;
SET ROLE regress_sm_user;
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'policed')$$);
-- without a right to the target, or to the functions
SET ROLE regress_sm_other;
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 1', 'policed')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 1', 'policed')$$);
SELECT try($$SELECT sessmgr.execute_many('loop', 'SELECT $1', 'SELECT 1')$$);
RESET ROLE;
SELECT p.oid::regprocedure FROM pg_proc p, LATERAL aclexplode(proacl) a
    WHERE pronamespace = 'sessmgr'::regnamespace AND grantee = 0 AND proname IN ('execute_many', 'pull', 'push');
SELECT a, b FROM guarded;
TRUNCATE numbers;

--
-- Sessions and modes
--
CREATE FUNCTION counts() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(i || coalesce(t, ''), ' ' ORDER BY i, t) FROM bulk.numbers $$;
SELECT sessmgr.open((sessmgr.create_session('loop', options => '{"hold": true}')).factory) AS s \gset
SELECT sessmgr.push(:'s'::sessmgr.session, 'SELECT 1', 'bulk.numbers', '{i}');
SELECT sessmgr.execute_many(:'s'::sessmgr.session, 'INSERT INTO bulk.numbers VALUES ($1)', 'VALUES (2), (3)');
TRUNCATE passing;
SELECT sessmgr.pull(:'s'::sessmgr.session, 'SELECT i FROM bulk.numbers', 'passing');
SELECT counts(), array_agg(i) FROM passing;
-- a savepoint takes back a failure
SELECT sessmgr.begin_nested(:'s') AS p \gset
SELECT try(format('SELECT sessmgr.execute_many(%L::sessmgr.session, ''SELECT 1 / $1'', ''VALUES (1), (0)'')', :'s'));
SELECT try(format('SELECT sessmgr.push(%L::sessmgr.session, ''SELECT 1'', ''bulk.numbers'', ''{i}'')', :'s'));
SELECT sessmgr.rollback_to(:'s', :p);
SELECT try(format('SELECT sessmgr.push(%L::sessmgr.session, ''SELECT 1 / (i - 20000), 1 FROM generate_series(1, 30000) i'', ''bulk.strict'', ''{id,v}'')', :'s'));
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', :'s'));
SELECT sessmgr.rollback_to(:'s', :p);
SELECT sessmgr.push(:'s'::sessmgr.session, 'SELECT 5', 'bulk.numbers', '{i}');
SELECT sessmgr.commit(:'s');
SELECT counts();
-- transaction control ends it
SET client_min_messages = error;
SELECT try(format('SELECT sessmgr.execute_many(%L::sessmgr.session, ''SAVEPOINT x'', ''SELECT'')', :'s'));
SELECT try(format('SELECT sessmgr.execute_many(%L::sessmgr.session, ''ROLLBACK'', ''SELECT'')', :'s'));
RESET client_min_messages;
SELECT sessmgr.in_transaction(:'s');
-- the local query may use sessmgr, but not the same session
CREATE FUNCTION nested(s sessmgr.session) RETURNS SETOF int LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT sessmgr.scalar_as(NULL::int, 'loop', 'SELECT $1', i) FROM generate_series(6, 7) i;
    BEGIN
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RAISE INFO '%', public.try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', s));
    RAISE INFO '%', public.try(format('SELECT sessmgr.push(%L::sessmgr.session, ''SELECT 1'', ''x'')', s));
    RAISE INFO '%', public.try(format('SELECT sessmgr.commit(%L::sessmgr.session)', s));
    RAISE INFO '%', public.try(format('SELECT sessmgr.close(%L::sessmgr.session)', s));
    RAISE INFO '%', public.try('SELECT sessmgr.reset()');
    RETURN NEXT 8;
END $$;
SELECT sessmgr.execute_many(:'s'::sessmgr.session, 'INSERT INTO bulk.numbers VALUES ($1)', format('SELECT nested(%L)', :'s'));
SELECT sessmgr.push(:'s'::sessmgr.session, format('SELECT nested(%L), ''again''', :'s'), 'bulk.numbers');
SELECT sessmgr.commit(:'s');
SELECT counts();
TRUNCATE numbers;
-- pull in a trigger of a pull
CREATE FUNCTION pull_more() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sessmgr.pull('loop', format('SELECT %s * 10 + i FROM generate_series(1, 2) i', NEW.i), 'bulk.numbers', '{i}');
    BEGIN
        PERFORM sessmgr.pull('loop', 'SELECT 1 / 0', 'bulk.numbers', '{i}');
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RETURN NEW;
END $$;
CREATE TRIGGER more BEFORE INSERT ON passing FOR EACH ROW EXECUTE FUNCTION pull_more();
TRUNCATE passing;
SELECT sessmgr.pull('loop', 'SELECT i FROM generate_series(1, 3) i', 'passing');
SELECT array_agg(i) FROM passing;
SELECT counts();
DROP TRIGGER more ON passing;
TRUNCATE numbers;

-- mode autocommit: all or nothing still
SELECT sessmgr.open((sessmgr.create_session('loop', options => '{"hold": true, "transaction": "autocommit"}')).factory) AS a \gset
SELECT sessmgr.push(:'a'::sessmgr.session, 'SELECT 1', 'bulk.numbers', '{i}');
SELECT try(format('SELECT sessmgr.execute_many(%L::sessmgr.session, ''INSERT INTO bulk.numbers SELECT 1 / $1'', ''VALUES (1), (0)'')', :'a'));
SELECT counts(), sessmgr.in_transaction(:'a');
SELECT sessmgr.close(:'a');
-- mode joined: with the local transaction
BEGIN;
SELECT sessmgr.open((sessmgr.create_session('loop', options => '{"transaction": "joined"}')).factory) AS j \gset
SELECT sessmgr.push(:'j'::sessmgr.session, 'SELECT 2', 'bulk.numbers', '{i}');
SAVEPOINT x;
SELECT sessmgr.execute_many(:'j'::sessmgr.session, 'INSERT INTO bulk.numbers VALUES ($1)', 'VALUES (3), (4)');
ROLLBACK TO x;
SELECT sessmgr.execute_many(:'j'::sessmgr.session, 'INSERT INTO bulk.numbers VALUES ($1)', 'VALUES (5), (6)');
SELECT sessmgr.pull(:'j'::sessmgr.session, 'SELECT i, ''pulled'' FROM bulk.numbers', 'numbers');
COMMIT;
SELECT counts();
BEGIN;
SELECT sessmgr.open((sessmgr.create_session('loop', options => '{"transaction": "joined"}')).factory) AS j \gset
SELECT sessmgr.push(:'j'::sessmgr.session, 'SELECT 7', 'bulk.numbers', '{i}');
ROLLBACK;
SELECT counts();
CREATE SERVER joined_loop FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', transaction 'joined');
CREATE USER MAPPING FOR CURRENT_USER SERVER joined_loop OPTIONS (user :'me');
BEGIN;
SELECT sessmgr.push('joined_loop', 'SELECT 8', 'bulk.numbers', '{i}');
SELECT try($$SELECT sessmgr.execute_many('joined_loop', 'INSERT INTO bulk.numbers VALUES ($1)', 'SELECT sessmgr.scalar_as(NULL::int, ''joined_loop'', ''SELECT 1'')')$$);
ROLLBACK;
SELECT sessmgr.push('joined_loop', 'SELECT 9', 'bulk.numbers', '{i}');
SELECT counts();
SET client_min_messages = warning;
DROP SERVER joined_loop CASCADE;
RESET client_min_messages;
TRUNCATE numbers;

--
-- spi:
--
SELECT sessmgr.execute_many('spi:', 'INSERT INTO numbers VALUES ($1, $2)', 'SELECT i, ''t'' || i FROM generate_series(1, 3) i');
SELECT sessmgr.execute_many('spi:', 'SELECT $1 FROM generate_series(1, 2)', 'VALUES (1), (2)');
SELECT counts();
SELECT sessmgr.execute_many('spi:', 'SELECT 1 / $1', 'VALUES (1), (0)');
SELECT try($$SELECT sessmgr.execute_many('spi:', 'COMMIT', 'SELECT')$$);
SELECT try($$SELECT sessmgr.execute_many('spi:', '', 'SELECT')$$);
SELECT try($$SELECT sessmgr.execute_many('spi:', 'SELECT 1; SELECT 2', 'SELECT')$$);
SELECT try($$SELECT sessmgr.execute_many('spi:', 'COPY numbers TO STDOUT', 'SELECT')$$);
SELECT try($$SELECT sessmgr.execute_many('spi:', 'SELECT $2', 'VALUES (1)')$$);
SELECT try($$SELECT sessmgr.pull('spi:', 'SELECT 1', 'numbers')$$);
SELECT try($$SELECT sessmgr.push('spi:', 'SELECT 1', 'numbers')$$);

-- nothing is left checked out
SELECT sessmgr.close(:'s');
SELECT dburi, state, rows, bytes FROM sessmgr.connections WHERE state <> 'idle';
SET client_min_messages = warning;
DROP SCHEMA bulk CASCADE;
DROP EXTENSION postgres_fdw CASCADE;
DROP SERVER echo CASCADE;

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
SELECT count(*) FROM own_copy c WHERE c::text = (SELECT own::text FROM own);
CREATE TABLE wide (a bigint, b text, c numeric);
SELECT sessmgr.pull('loop', 'SELECT 1::smallint, 2::int, 3::float8', 'wide');
SELECT sessmgr.push('loop', 'SELECT 4::smallint, 5::int, 6::float8', 'bulk.wide');
SELECT * FROM wide;
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT 200', 'own_copy', '{s}')$$);
SELECT try($$SELECT sessmgr.push('loop', 'SELECT 200', 'bulk.own_copy', '{s}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT ''x''', 'wide', '{a}')$$);
SELECT try($$SELECT sessmgr.pull('loop', 'SELECT ''too long''::varchar', 'own_copy', '{v}')$$);

-- nothing to do
SELECT sessmgr.pull('loop', 'SELECT * FROM bulk.source WHERE false', 'sink'),
       sessmgr.pull('loop', 'SELECT t, ''x''::bulk.mood FROM bulk.source WHERE false', 'own_copy', '{v,m}'),
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

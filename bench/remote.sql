-- what bench/run makes on the remote server; :table_rows is how many rows it reads at most
CREATE TABLE kv (k integer PRIMARY KEY, v text);
INSERT INTO kv SELECT i, md5(i::text) FROM generate_series(1, 20000) i;

CREATE UNLOGGED TABLE numbers AS
    SELECT i, i / 7.0::float8 AS f, 'some text, row ' || i AS t,
           timestamptz '2026-01-01' + i * interval '1 s' AS ts
    FROM generate_series(1, :table_rows) i;

CREATE UNLOGGED TABLE source AS
    SELECT i, 'some text of no great length' AS v FROM generate_series(1, :source_rows) i;

-- what is written to
CREATE UNLOGGED TABLE t (i integer, v text);

CREATE VIEW nap AS SELECT 1 AS x FROM pg_sleep(0.1);

-- for PL/Proxy, which calls functions
CREATE FUNCTION insert_plproxy(i integer, v text) RETURNS integer LANGUAGE sql AS
    'INSERT INTO t VALUES (i, v) RETURNING i';

VACUUM ANALYZE;

--
-- Every base, range and multirange type of pg_catalog, and its arrays, there
-- and back.  A type without a sample here fails, so that none is forgotten.
--
SET lock_timeout = '20s';
CREATE SCHEMA ty;
CREATE TABLE ty.samples (name name PRIMARY KEY, text text);
INSERT INTO ty.samples VALUES
    ('aclitem', '=r/' || current_user), ('bit', '1'), ('bool', 't'), ('box', '(3,4),(1,2)'), ('bpchar', 'ab '), ('bytea', '\x00ff'), ('char', 'x'),
    ('cid', '7'), ('cidr', '10.1.0.0/16'), ('circle', '<(1,2),3>'), ('date', '2024-02-29'), ('float4', '3.1415927'), ('float8', '3.141592653589793'),
    ('gtsvector', NULL), ('inet', '10.1.2.3/16'), ('int2', '-32768'), ('int2vector', '1 2 3'), ('int4', '-2147483648'), ('int8', '-9223372036854775808'),
    ('interval', '1 mon -2 days 03:04:05.678'), ('json', '{"a": 1}'), ('jsonb', '{"a": 1}'), ('jsonpath', '$."a"'), ('line', '{1,2,3}'), ('lseg', '[(1,2),(3,4)]'),
    ('macaddr', '08:00:2b:01:02:03'), ('macaddr8', '08:00:2b:01:02:03:04:05'), ('money', '1.50'), ('name', 'a name'), ('numeric', '-1.50'), ('oid', '4294967295'),
    ('oidvector', '1 2'), ('path', '[(1,2),(3,4)]'), ('pg_lsn', '1/2'), ('pg_snapshot', '10:20:10,14'), ('point', '(1,2)'), ('polygon', '((1,2),(3,4),(5,6))'),
    ('refcursor', 'a cursor'), ('regclass', 'pg_class'), ('regcollation', '"C"'), ('regconfig', 'simple'), ('regdictionary', 'simple'), ('regnamespace', 'pg_catalog'),
    ('regoper', '||/'), ('regoperator', '+(integer,integer)'), ('regproc', 'now'), ('regprocedure', 'abs(integer)'), ('regrole', 'pg_monitor'), ('regtype', 'integer'),
    ('text', 'a "text"'), ('tid', '(1,2)'), ('time', '12:34:56.789'), ('timestamp', '2024-02-29 12:34:56.789'), ('timestamptz', '2024-02-29 12:34:56.789+00'),
    ('timetz', '12:34:56.789+02'), ('tsquery', '''a'' & ''b'''), ('tsvector', '''a'':1 ''b'':2'), ('txid_snapshot', '10:20:10,14'), ('uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
    ('varbit', '101'), ('varchar', 'x'), ('xid', '3'), ('xid8', '18446744073709551615'), ('xml', '<a/>'),
    ('int4range', '[1,5)'), ('int8range', '[1,5)'), ('numrange', '(1.5,2]'), ('daterange', '[2024-01-01,2024-02-01)'), ('tsrange', '["2024-01-01 00:00:00",)'), ('tstzrange', 'empty'),
    ('int4multirange', '{[1,5),[7,8)}'), ('int8multirange', '{}'), ('nummultirange', '{(1.5,2]}'), ('datemultirange', '{[2024-01-01,2024-02-01)}'),
    ('tsmultirange', '{["2024-01-01 00:00:00",)}'), ('tstzmultirange', '{(,)}');

-- what is meant here by "the same": the text of both, in a form that loses nothing
CREATE FUNCTION ty.check(type text, value text, target text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    EXECUTE format($x$
        WITH v AS MATERIALIZED (SELECT CAST(%1$L AS %2$s) AS v)
        SELECT concat_ws(', ',
               CASE WHEN sessmgr.scalar_as(NULL::%2$s, %3$L, 'SELECT $1', v)::text IS DISTINCT FROM v::text THEN 'scalar_as' END,
               CASE WHEN sessmgr.scalar_as(NULL::%2$s, %3$L, 'SELECT $1::%2$s', %1$L)::text IS DISTINCT FROM v::text THEN 'literal' END,
               CASE WHEN (SELECT q FROM sessmgr.query_as(NULL::%2$s, %3$L, 'SELECT $1', v) q)::text IS DISTINCT FROM v::text THEN 'query_as' END,
               CASE WHEN (SELECT q FROM sessmgr.query(%3$L, 'SELECT $2, $1', v, 1) AS q(i integer, q %2$s))::text IS DISTINCT FROM v::text THEN 'query' END,
               CASE WHEN sessmgr.scalar(%3$L, 'SELECT pg_typeof($1)', v) IS DISTINCT FROM pg_typeof(v)::text THEN 'type' END,
               CASE WHEN sessmgr.scalar(%3$L, 'SELECT pg_typeof($1) || ($1 IS NULL)::text', NULL::%2$s) IS DISTINCT FROM pg_typeof(v) || 'true' THEN 'null' END,
               CASE WHEN %2$L !~ '^reg' AND (SELECT j FROM sessmgr.query_json(%3$L, 'SELECT $1 AS q', v) j) IS DISTINCT FROM jsonb_build_object('q', v) THEN 'query_json' END)
          FROM v$x$, value, type, target) INTO wrong;
    RETURN nullif(wrong, '');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION ty.readable(type text, value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT CAST(%L AS %s)', value, type);
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END $$;

SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET bytea_output = 'hex';
CREATE TEMP TABLE wanted AS
SELECT t.oid, t.typname, format_type(t.oid, NULL) AS type, t.typarray, s.text, s.name
  FROM pg_type t LEFT JOIN ty.samples s ON s.name = t.typname
 WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm') AND t.typisdefined
       AND NOT (t.typcategory = 'A' AND t.typelem <> 0 AND t.typlen = -1 AND t.typsubscript = 'array_subscript_handler'::regproc)
       -- written by the server alone
       AND t.typname NOT IN ('pg_node_tree', 'pg_ndistinct', 'pg_dependencies', 'pg_mcv_list', 'pg_brin_bloom_summary', 'pg_brin_minmax_multi_summary');
UPDATE wanted SET type = CASE typname WHEN 'char' THEN '"char"' WHEN 'bit' THEN 'bit(1)' WHEN 'bpchar' THEN 'bpchar' ELSE type END;
SELECT count(*) > 70 AS enough FROM wanted;
SELECT typname AS "no sample" FROM wanted WHERE name IS NULL AND typname NOT IN ('oid8', 'regdatabase');
SELECT typname AS "sample cannot be read" FROM wanted WHERE text IS NOT NULL AND typname <> 'xml' AND NOT ty.readable(type, text);
DELETE FROM wanted WHERE text IS NULL OR typname = 'xml' AND NOT ty.readable(type, text);
SELECT typname, target, ty.check(type, text, target) FROM wanted, unnest('{loop,spi:}'::text[]) target WHERE ty.check(type, text, target) IS NOT NULL ORDER BY 1, 2;
-- arrays: with a NULL, of two dimensions, with bounds of their own
SELECT typname, target, ty.check(type || '[]', format('[2:3][0:1]={{%1$s,NULL},{%1$s,%1$s}}', '"' || replace(replace(text, '\', '\\'), '"', '\"') || '"'), target)
  FROM wanted, unnest('{loop,spi:}'::text[]) target
 WHERE typarray <> 0 AND typname NOT IN ('box') AND
       ty.check(type || '[]', format('[2:3][0:1]={{%1$s,NULL},{%1$s,%1$s}}', '"' || replace(replace(text, '\', '\\'), '"', '\"') || '"'), target) IS NOT NULL
 ORDER BY 1, 2;
-- the delimiter of this one is another
SELECT ty.check('box[]', '{(3,4),(1,2);NULL}', 'loop') AS box;
-- a length that was declared holds
SELECT length(sessmgr.scalar_as(NULL::bpchar, 'loop', 'SELECT $1::char(5)', 'ab') || '|'), octet_length(sessmgr.scalar('loop', 'SELECT $1::char(5)', 'ab'));
SELECT * FROM sessmgr.query('loop', 'SELECT $1, $2', 1.25, 'abc') AS t(n numeric(10,1), c char(5));
SET client_min_messages = warning;
DROP SCHEMA ty CASCADE;

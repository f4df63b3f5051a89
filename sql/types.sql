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
-- the same through an engine that has text only, and extreme values both ways
SELECT current_database() AS db, current_user AS me \gset
CREATE SERVER textonly FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', binary 'off');
CREATE USER MAPPING FOR CURRENT_USER SERVER textonly OPTIONS (user :'me');
SELECT typname, ty.check(type, text, 'textonly') FROM wanted WHERE ty.check(type, text, 'textonly') IS NOT NULL ORDER BY 1;
CREATE TYPE ty.colour AS ENUM ('red', 'gr"een');
CREATE TYPE ty.pair AS (a int, b text, c ty.colour);
CREATE DOMAIN ty.small AS int CHECK (VALUE < 10);
CREATE DOMAIN ty.smalls AS int[] CHECK (VALUE[1] < 10);
CREATE TYPE ty.textrange AS RANGE (subtype = text, collation = "C");
CREATE TEMP TABLE extreme AS
SELECT type, unnest(texts) AS text FROM (VALUES
    ('bool', ARRAY['f']), ('int2', ARRAY['32767', '0']), ('int4', ARRAY['2147483647', '-1']), ('int8', ARRAY['9223372036854775807', '-1']),
    ('oid', ARRAY['0']), ('xid8', ARRAY['0']), ('"char"', ARRAY['', '\200', '"']), ('name', ARRAY['', repeat('n', 63), 'ä']),
    ('float4', ARRAY['NaN', 'Infinity', '-Infinity', '-0', '1e-45', '3.4028235e+38']), ('float8', ARRAY['NaN', 'Infinity', '-Infinity', '-0', '5e-324', '1.7976931348623157e+308', '0.1']),
    ('numeric', ARRAY['NaN', 'Infinity', '-Infinity', '0.000', '-0', '1' || repeat('0', 1000), '0.' || repeat('0', 1000) || '1', '12345678901234567890.1234567890']),
    ('numeric(6,2)', ARRAY['1234.565', '-0.005', 'NaN']), ('text', ARRAY['', ' ', 'NULL', '\N', E'\n\t\\"''', 'ä€😀', repeat('x', 1000000)]), ('varchar(5)', ARRAY['', 'abc', 'äöüß€']),
    ('bpchar', ARRAY['', '  ']), ('char(5)', ARRAY['', 'ab']), ('bytea', ARRAY['\x', '\x00', '\x' || repeat('ff00', 100000)]),
    ('bit(3)', ARRAY['000', '101']), ('varbit', ARRAY['', '1', repeat('10', 100)]), ('uuid', ARRAY['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff']),
    ('date', ARRAY['infinity', '-infinity', '4713-01-01 BC', '5874897-12-31', '1999-12-31']), ('time', ARRAY['00:00:00', '24:00:00']), ('timetz', ARRAY['00:00:00+15:59', '24:00:00-15:59']),
    ('timestamp', ARRAY['infinity', '-infinity', '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999', '2000-01-01 00:00:00']),
    ('timestamptz', ARRAY['infinity', '-infinity', '4713-01-02 00:00:00+00 BC', '294276-12-31 00:00:00.999999+00', '1900-01-01 00:00:00+00']), ('timestamp(2)', ARRAY['2000-01-01 00:00:00.987654', 'infinity']),
    ('interval', ARRAY['00:00:00', '178000000 years', '-178000000 years', '-1 mons +1 day -00:00:00.000001']), ('interval(0)', ARRAY['1.7 s']), ('interval year to month', ARRAY['14 mon']),
    ('json', ARRAY['null', '{"a":  [1, "\u00e4"]}', '""']), ('jsonb', ARRAY['null', '{}', '[]', '{"a": [1, 2.50, "ä", null, true, {"b": {}}]}', '1e1000', to_jsonb(repeat('y', 100000))::text]),
    ('jsonpath', ARRAY['strict $.a[*] ? (@ > 1)', '$']), ('inet', ARRAY['::1', 'ffff::/16', '0.0.0.0/0', '10.0.0.1']), ('cidr', ARRAY['::/0', '10/8', '2001:db8::/32']),
    ('point', ARRAY['(NaN,Infinity)']), ('path', ARRAY['((1,2),(3,4))', '[(0,0)]']), ('tsvector', ARRAY['', '''a'':1A,2B,16383 ''b c'' ''ä''']), ('tsquery', ARRAY['', '!(''a'':*AB | ''b'') <3> ''c''']),
    ('int4range', ARRAY['empty', '(,)', '[-2147483648,2147483646)']), ('numrange', ARRAY['[NaN,)', '(,Infinity]']), ('tstzrange', ARRAY['[-infinity,infinity]']), ('daterange', ARRAY['[2024-01-01,)']),
    ('int4multirange', ARRAY['{}', '{(,)}']), ('datemultirange', ARRAY['{(,2024-01-01),[2024-02-01,)}']), ('int4[]', ARRAY['{}', '{NULL}', '{{{1}}}', '[-5:-4]={1,2}', '{2147483647,-2147483648}']),
    ('text[]', ARRAY['{"",NULL,"NULL","a,b","{}","\\","\""}', '{{a,b},{c,d}}']), ('bytea[]', ARRAY['{"\\x00",NULL}']), ('interval[]', ARRAY['{1 day,NULL}']), ('jsonb[]', ARRAY['{"{\"a\": 1}"}']),
    ('numrange[]', ARRAY['{"[1,2)",empty,NULL}']), ('oidvector', ARRAY['']), ('int2vector', ARRAY['']), ('pg_lsn', ARRAY['0/0', 'FFFFFFFF/FFFFFFFF']), ('tid', ARRAY['(4294967295,65535)']),
    ('money', ARRAY['-92233720368547758.08', '0.01'])
    ) AS v (type, texts);
SELECT count(*) AS samples FROM extreme;
SET client_min_messages = warning;	-- an empty tsquery is worth a notice
SELECT type, left(text, 50) AS text, target, ty.check(type, text, target)
  FROM extreme, unnest('{loop,textonly,spi:}'::text[]) target WHERE ty.check(type, text, target) IS NOT NULL ORDER BY 1, 2, 3;
RESET client_min_messages;
-- types of one's own, whose parameters have no type until the statement gives them one
CREATE FUNCTION ty.check_own(type text, value text, target text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    EXECUTE format($x$
        WITH v AS MATERIALIZED (SELECT CAST(%1$L AS %2$s) AS v)
        SELECT concat_ws(', ',
               CASE WHEN sessmgr.scalar_as(NULL::%2$s, %3$L, 'SELECT $1::%2$s', v)::text IS DISTINCT FROM v::text THEN 'scalar_as' END,
               CASE WHEN sessmgr.scalar(%3$L, 'SELECT $1::%2$s', v) IS DISTINCT FROM v::text THEN 'scalar' END,
               CASE WHEN (SELECT q FROM sessmgr.query(%3$L, 'SELECT 1, $1::%2$s', v) AS q(i integer, q %2$s))::text IS DISTINCT FROM v::text THEN 'query' END,
               CASE WHEN (SELECT j ->> 'q' FROM sessmgr.query_json(%3$L, 'SELECT $1::%2$s::text AS q', v) j) IS DISTINCT FROM v::text THEN 'query_json' END)
          FROM v$x$, value, type, target) INTO wrong;
    RETURN nullif(wrong, '');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT type, text, target, ty.check_own(type, text, target)
  FROM (VALUES ('ty.colour', ARRAY['gr"een']), ('ty.colour[]', ARRAY['{}', '{red,NULL,"gr\"een"}']), ('ty.pair', ARRAY['(1,"x y","gr""een")', '(,,)', '(,"",)']),
               ('ty.pair[]', ARRAY['{"(1,b,red)",NULL}']), ('ty.textrange', ARRAY['[a,"b c")', 'empty', '("",)']), ('ty.small', ARRAY['-1']), ('ty.smalls', ARRAY['{1,NULL}', '{}'])) AS v (type, texts),
       unnest(texts) text, unnest('{loop,textonly,spi:}'::text[]) target
 WHERE ty.check_own(type, text, target) IS NOT NULL ORDER BY 1, 2, 3;
-- what a declared type makes of a value, or says to it, is the same either way
SELECT type, sql, target, try(format('SELECT a FROM sessmgr.query(%L, %L) AS t(a %s)', target, sql, type))
  FROM (VALUES ('ty.small', 'SELECT 9'), ('ty.small', 'SELECT 10'), ('ty.smalls', 'SELECT ARRAY[9,11]'), ('ty.smalls', 'SELECT ARRAY[10]'), ('varchar(2)', 'SELECT ''ab  ''::text'), ('varchar(2)', 'SELECT ''abc''::text'),
               ('char(4)', 'SELECT ''ab''::text'), ('numeric(3,1)', 'SELECT 12.36'), ('numeric(3,1)', 'SELECT 123.4'), ('int4', 'SELECT 2147483648'), ('int2', 'SELECT 70000'), ('bit(2)', 'SELECT B''101''::varbit'),
               ('bit(3)', 'SELECT B''101'''), ('bit(2)', 'SELECT B''101'''), ('timestamp(1)', 'SELECT timestamp ''2000-01-01 00:00:00.96'''), ('ty.colour', 'SELECT ''blue''::text'), ('date', 'SELECT ''x''::text')) AS v (type, sql),
       unnest('{loop,textonly,spi:}'::text[]) target ORDER BY type, sql, target;
-- a length that was declared holds
SELECT length(sessmgr.scalar_as(NULL::bpchar, 'loop', 'SELECT $1::char(5)', 'ab') || '|'), octet_length(sessmgr.scalar('loop', 'SELECT $1::char(5)', 'ab'));
SELECT * FROM sessmgr.query('loop', 'SELECT $1, $2', 1.25, 'abc') AS t(n numeric(10,1), c char(5));
SET client_min_messages = warning;
DROP SERVER textonly CASCADE;
DROP SCHEMA ty CASCADE;

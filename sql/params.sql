--
-- Parameters: every shape of a call finds the right function, and every value
-- arrives as what it was, whatever the settings here are.
--
SET lock_timeout = '20s';
CREATE SCHEMA pa;
CREATE EXTENSION citext SCHEMA pa;
CREATE EXTENSION hstore SCHEMA pa;
CREATE TYPE pa.mood AS ENUM ('sad', 'it''s', 'hap"py');
CREATE DOMAIN pa.positive AS integer CHECK (VALUE > 0);
CREATE TYPE pa.pair AS (a integer, b text);
CREATE TYPE pa.nested AS (p pa.pair, q pa.pair[], t timestamptz, f float8);
CREATE TYPE pa.floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE FUNCTION pa.err(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT sessmgr.open(factory) AS s
  FROM sessmgr.create_session('loop', options => '{"hold": true}') \gset

--
-- Shapes of calls
--
\pset format unaligned
\pset tuples_only on
SELECT 'literal', sessmgr.scalar('loop', 'SELECT $1', 'x');
SELECT 'literals', sessmgr.scalar('loop', 'SELECT concat_ws('','', $1::text, $2::integer, $3::date, $4::boolean)', 'x', '5', '2024-02-29', 'on');
SELECT 'numbers', sessmgr.scalar('loop', 'SELECT pg_typeof($1) || '','' || pg_typeof($2) || '','' || pg_typeof($3)', 1, 3000000000, 1.5);
SELECT 'null', sessmgr.scalar('loop', 'SELECT $1::text IS NULL', NULL);
-- the target must be able to tell what a literal is
SELECT pa.err('SELECT sessmgr.scalar(''loop'', ''SELECT $1 IS NULL'', NULL)');
SELECT 'typed null', sessmgr.scalar('loop', 'SELECT pg_typeof($1) || ($1 IS NULL)::text', NULL::date);
SELECT 'null among others', sessmgr.scalar('loop', 'SELECT concat_ws('','', $1::text, $2::text, $3::text)', 'a', NULL, 'c');
SELECT 'text', sessmgr.scalar('loop', 'SELECT $1', 'x'::text), sessmgr.scalar('loop'::text, 'SELECT $1'::text, 'x'::varchar);
SELECT 'name as target', sessmgr.scalar('loop'::name, 'SELECT 1');
SELECT 'expression', sessmgr.scalar('lo' || 'op', 'SELECT ' || '$1', 1 + 1);
SELECT 'named', sessmgr.scalar(target => 'loop', sql => 'SELECT 1'), sessmgr.scalar(sql => 'SELECT 2', target => 'loop');
SELECT 'named session', sessmgr.scalar(target => :'s'::sessmgr.session, sql => 'SELECT 1');
SELECT 'named variadic', sessmgr.scalar(target => 'loop', sql => 'SELECT $1 || $2', VARIADIC params => ARRAY['a', 'b']);
SELECT 'mixed', sessmgr.scalar_as(NULL::integer, target => 'loop', sql => 'SELECT 3'), sessmgr.scalar_as(rowtype => 0, sql => 'SELECT 4', target => :'s'::sessmgr.session);
SELECT 'variadic', sessmgr.scalar('loop', 'SELECT $1 + $2', VARIADIC ARRAY[1, 2]);
SELECT 'variadic session', sessmgr.scalar(:'s'::sessmgr.session, 'SELECT $1 || $2', VARIADIC ARRAY['x', 'y']);
SELECT 'variadic null', sessmgr.scalar('loop', 'SELECT 1', VARIADIC NULL::text[]);
SELECT 'variadic empty', sessmgr.scalar('loop', 'SELECT 1', VARIADIC '{}'::integer[]);
SELECT 'variadic with null', sessmgr.scalar('loop', 'SELECT concat_ws('','', $1, $2 IS NULL, $3)', VARIADIC ARRAY['a', NULL, 'c']);
SELECT 'variadic of two dimensions', sessmgr.scalar('loop', 'SELECT concat_ws('','', $1, $2, $3, $4)', VARIADIC ARRAY[[1, 2], [3, 4]]);
SELECT 'array, not variadic', sessmgr.scalar('loop', 'SELECT $1[2]', ARRAY[1, 2]);
SELECT 'session', sessmgr.scalar(:'s'::sessmgr.session, 'SELECT $1', 'x');
SELECT 'session from a query', (SELECT sessmgr.scalar(session, 'SELECT $1 + 1', 1) FROM sessmgr.sessions);
SELECT 'execute', sessmgr.execute('loop', 'SELECT $1::integer', 1), sessmgr.execute(:'s'::sessmgr.session, 'SELECT FROM kv WHERE k = ANY ($1)', ARRAY[1, 2]);
SELECT 'query', * FROM sessmgr.query('loop', 'SELECT $1, $2', 1, 'x') AS t(a integer, b text);
SELECT 'query_as', * FROM sessmgr.query_as(NULL::kv, 'loop', 'SELECT * FROM kv WHERE k = $1 AND v = $2', 1, 'v1');
SELECT 'query_json', sessmgr.query_json('loop', 'SELECT $1 AS a', 1);
-- what was prepared here, with types and without
PREPARE typed(text, text, integer, date) AS SELECT sessmgr.scalar($1, $2, $3, $4);
EXECUTE typed('loop', 'SELECT concat_ws('','', pg_typeof($1), $1, pg_typeof($2), to_char($2, ''YYYY-MM-DD''))', 5, '2024-02-29');
EXECUTE typed('loop', 'SELECT concat_ws('','', $1 IS NULL, $2 IS NULL)', NULL, NULL);
PREPARE typed_session(sessmgr.session, integer) AS SELECT sessmgr.scalar($1, 'SELECT $1 * 2', $2);
EXECUTE typed_session(:'s', 21);
PREPARE untyped AS SELECT sessmgr.scalar($1, $2);
EXECUTE untyped('loop', 'SELECT 7');
PREPARE untyped_params AS SELECT sessmgr.scalar($1, $2, $3);
PREPARE cast_params AS SELECT sessmgr.scalar($1, $2, $3::integer);
EXECUTE cast_params('loop', 'SELECT $1 + 1', '8');
DEALLOCATE ALL;
-- PL/pgSQL: variables, loops, and one call site with values of many types
DO $$
DECLARE
    target text := 'loop';
    statement text := 'SELECT $1 * $2';
    n integer := 6;
    m bigint := 7;
    nothing text;
    r record;
    s sessmgr.session := (SELECT session FROM sessmgr.sessions);
BEGIN
    RAISE INFO 'variables %, in a session %', sessmgr.scalar(target, statement, n, m), sessmgr.scalar(s, statement, n, m);
    RAISE INFO 'null variable %', sessmgr.scalar(target, 'SELECT $1 IS NULL', nothing);
    FOR r IN SELECT * FROM (VALUES (1, 'a'), (2, NULL), (3, 'c')) v(i, t) LOOP
        RAISE INFO 'record %', sessmgr.scalar(target, 'SELECT concat($1, $2)', r.i, r.t);
    END LOOP;
    EXECUTE 'SELECT sessmgr.scalar($1, $2, $3, $4)' INTO nothing USING target, statement, n, m;
    RAISE INFO 'dynamic %', nothing;
END $$;

--
-- How many
--
SELECT string_agg('$' || i, ', ') AS places FROM generate_series(1, 97) i \gset
SELECT sessmgr.scalar('loop', 'SELECT (ARRAY[' || :'places' || '])[97] + $1', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
    28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64,
    65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97);
SELECT sessmgr.scalar('loop', 'SELECT (ARRAY[' || string_agg('$' || i, ', ') || '])[65535] + $1', VARIADIC array_agg(i)) FROM generate_series(1, 65535) i;
SELECT pa.err('SELECT sessmgr.scalar(''loop'', ''SELECT $1'', VARIADIC array_agg(i)) FROM generate_series(1, 65536) i');
-- it must be those that the statement uses, and is found out before it runs
CREATE TABLE pa.tellers (id integer, balance integer);
INSERT INTO pa.tellers VALUES (1, 1), (2, 2);
CREATE FUNCTION pa.count_err(target text, sql text, VARIADIC params integer[] DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    PERFORM sessmgr.execute(target, sql, VARIADIC params);
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ': ' || SQLERRM || coalesce(' (' || nullif(hint, '') || ')', '');
END $$;
SELECT t, pa.count_err(t, 'UPDATE pa.tellers SET balance = $1', 0, 5) AS too_many, pa.count_err(t, 'UPDATE pa.tellers SET balance = $2', 1, 0) AS gap,
       pa.count_err(t, 'UPDATE pa.tellers SET balance = 0', 5) AS none, pa.count_err(t, 'UPDATE pa.tellers SET balance = $1 WHERE id = $2', 0) AS too_few,
       pa.count_err(t, 'UPDATE pa.tellers SET balance = $1 WHERE id = $2') AS no_params, pa.count_err(t, 'UPDATE pa.tellers SET balance = $1 + $3', 1, 2) AS both
  FROM unnest('{loop,spi:}'::text[]) t;
-- each time, whatever is kept of the statement
SELECT pa.count_err('loop', 'UPDATE pa.tellers SET balance = $1', 0, 5) FROM generate_series(1, 3);
SELECT pa.count_err('loop', 'UPDATE pa.tellers SET balance = $1 WHERE id = 0', 0), pa.count_err('loop', 'UPDATE pa.tellers SET balance = $1 WHERE id = 0', 0, 5) FROM generate_series(1, 2);
-- by every way
SELECT pa.err('SELECT * FROM sessmgr.query(''loop'', ''UPDATE pa.tellers SET balance = $1 RETURNING id'', 0, 5) AS t(id integer)');
SELECT pa.err('SELECT sessmgr.query_json(''loop'', ''UPDATE pa.tellers SET balance = $1 RETURNING id'', 0, 5)');
SELECT pa.err('SELECT t.* FROM sessmgr.stream(''loop'', ''SELECT $1'', 0, 5) AS t(id integer)');
SELECT pa.err('SELECT * FROM sessmgr.query_all(''{loop,spi:}'', ''UPDATE pa.tellers SET balance = $1 RETURNING id'', 0, 5) AS t(target text, id integer)');
SELECT * FROM sessmgr.execute_all('{loop,spi:}', 'UPDATE pa.tellers SET balance = $1', 0, 5);
SELECT pa.err(format('SELECT sessmgr.execute_many(%L, ''UPDATE pa.tellers SET balance = $1'', ''SELECT 0, 5'')', t)), pa.err(format('SELECT sessmgr.execute_many(%L, ''UPDATE pa.tellers SET balance = $1 WHERE id = $2'', ''SELECT 0'')', t))
  FROM unnest('{loop,spi:}'::text[]) t;
SELECT pa.err(format('SELECT sessmgr.execute(%L::sessmgr.session, ''UPDATE pa.tellers SET balance = $1'', 0, 5)', :'s'));
SELECT pa.err(format('SELECT sessmgr.send(%L::sessmgr.session, ''UPDATE pa.tellers SET balance = $1'', 0, 5)', :'s'));
SELECT pa.err(format('SELECT t.* FROM sessmgr.stream(%L::sessmgr.session, ''SELECT $1'', 0, 5) AS t(a integer)', :'s'));
SELECT sessmgr.execute(:'s'::sessmgr.session, 'UPDATE pa.tellers SET balance = $1 WHERE id = $2', 1, 1), sessmgr.rollback(:'s'::sessmgr.session);
SELECT * FROM pa.tellers ORDER BY id;
-- what is a parameter, and not what only looks like one
SELECT t, pa.count_err(t, 'SELECT $1, ''$2'', E''\''$4'', $a$ $5 $a$, /* $6 /* $7 */ $8 */ U&''$9'', "$3" -- $10' || chr(10) || 'FROM (SELECT 1 AS "$3") x', 1) AS quoted,
       pa.count_err(t, 'SELECT $1 AS a$2', 1) AS in_name, pa.count_err(t, 'DO $do$ BEGIN PERFORM $$ $1 $$; END $do$') AS in_body, pa.count_err(t, 'SELECT $1::text || ''$2', 1) AS unterminated,
       pa.count_err(t, 'SELECT $0', 1) AS zero, pa.count_err(t, 'SELECT $01', 1) AS leading_zero, pa.count_err(t, 'EXPLAIN SELECT $1', 1) AS explained,
       pa.count_err(t, 'CREATE OR REPLACE FUNCTION pa.own(integer) RETURNS integer LANGUAGE sql RETURN $1') AS of_function, pa.count_err(t, 'CREATE PROCEDURE pa.own_too(integer) BEGIN ATOMIC SELECT $1; END') AS of_procedure
  FROM unnest('{loop}'::text[]) t;
DROP FUNCTION pa.own;
DROP PROCEDURE pa.own_too;
SELECT t, pa.count_err(t, '; PREPARE own(integer) AS SELECT $1'), pa.count_err(t, 'DEALLOCATE own') FROM unnest('{loop,spi:}'::text[]) t;
SELECT sessmgr.execute('loop', 'SET standard_conforming_strings = off'), pa.count_err('loop', 'SELECT ''\'' $2 ''', 1), sessmgr.execute('loop', 'RESET standard_conforming_strings');
-- an empty statement, whatever is wanted of it
SELECT pa.err(v) FROM unnest(ARRAY['SELECT * FROM sessmgr.query(''loop'', ''-- none'') AS t(a integer)', 'SELECT sessmgr.query_as(NULL::integer, ''loop'', '';'')', 'SELECT sessmgr.query_json(''loop'', '''')',
    'SELECT sessmgr.scalar(''loop'', '''')', 'SELECT t.* FROM sessmgr.stream(''loop'', '''') AS t(a integer)', 'SELECT * FROM sessmgr.query_all(''{loop}'', '''') AS t(target text, a integer)',
    'SELECT sessmgr.pull(''loop'', '''', ''pa.tellers'')', format('SELECT * FROM sessmgr.query(%L::sessmgr.session, '''') AS t(a integer)', :'s')]) v;
-- and its parameters are
SELECT t, v, p, pa.err(format('SELECT sessmgr.execute(%L, %L, %s)', t, v, p)) FROM unnest('{loop,spi:}'::text[]) t, unnest(ARRAY['', ' ; -- nothing']) v, unnest('{1,''x'',"NULL",''sad''::pa.mood}'::text[]) p;
SELECT pa.err(format('SELECT sessmgr.execute_many(%L, '''', ''SELECT ''''sad''''::pa.mood'')', t)) FROM unnest('{loop,spi:}'::text[]) t;
SELECT pa.err('SELECT sessmgr.scalar(''loop'', ''SELECT $1::integer'', ''1'', ''2'')');
SELECT pa.err('SELECT sessmgr.scalar(''loop'', ''SELECT $1 + 1'', ''x'')');
SELECT pa.err('SELECT sessmgr.scalar(''loop'', ''SELECT 1'', VARIADIC 5)');
-- a record without a name of its own means nothing elsewhere
SELECT pa.err('SELECT sessmgr.scalar(''loop'', ''SELECT $1'', ROW(1, 2))');

--
-- Values: each there and back, as a parameter and as a result, under every
-- style of text.  Silence means that all were equal.
--
CREATE TABLE pa.samples (nr serial, type regtype, text text);
INSERT INTO pa.samples (type, text) VALUES
    ('integer', '-2147483648'), ('bigint', '9223372036854775807'), ('smallint', '-1'), ('boolean', 't'), ('oid', '4294967295'),
    ('numeric', '123456789012345678901234567890.123456789'), ('numeric', '-0.000000000000000000001'), ('numeric', 'NaN'), ('numeric', 'Infinity'), ('numeric', '1.500'),
    ('float8', '3.141592653589793'), ('float8', '1e-307'), ('float8', 'NaN'), ('float8', '-Infinity'), ('float8', '-0'), ('float8', '0.1'),
    ('float4', '3.1415927'), ('float4', '1.17549435e-38'), ('float4', 'NaN'), ('float4', 'Infinity'),
    ('text', ''), ('text', 'O''Reilly \ "quoted" $1 %s %'), ('text', E'\\\\server\\x\n\r\t\x01'), ('text', 'grüße, 日本語, 🐘, e' || U&'\0301'), ('text', 'NULL'), ('text', '{}'),
    ('char(5)', 'ab'), ('varchar', 'x  '), ('"char"', 'x'), ('name', 'a"b'), ('uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
    ('bytea', '\x'), ('bytea', '\x00ff5c27'), ('json', '{"a":  1, "a": [null, "\u00e9\\"]}'), ('jsonb', '{"a": 1.50, "b": [null, true, "\\\""]}'), ('jsonb', 'null'), ('jsonpath', '$."a"[*] ? (@ > 1)'),
    ('date', '2024-02-29'), ('date', '0044-03-15 BC'), ('date', 'infinity'), ('time', '23:59:59.999999'), ('timetz', '12:00:00+05:30'),
    ('timestamp', '2024-07-01 12:34:56.789012'), ('timestamp', '-infinity'), ('timestamp', '0044-03-15 00:00:00 BC'),
    ('timestamptz', '2024-07-01 12:34:56.789012+00'), ('timestamptz', '1066-10-14 09:00:00+00'), ('timestamptz', '2024-10-27 00:30:00+00'), ('timestamptz', '2024-10-27 01:30:00+00'),
    ('interval', '1 year 2 mons -3 days 04:05:06.789'), ('interval', '-1 mons'), ('interval', '-00:00:01.5'), ('interval', '-1 years +2 days -03:00:00'), ('interval', '0'),
    ('integer[]', '{1,NULL,-3}'), ('integer[]', '[0:1][2:3]={{1,2},{3,4}}'), ('integer[]', '{}'), ('text[]', '{"",NULL,"NULL","a,b","{","\\","\""}'), ('float8[]', '{0.1,NaN,3.141592653589793}'),
    ('date[]', '{2024-02-29,infinity}'), ('interval[]', '{"-1 days","1 mon"}'), ('bytea[]', '{"\\x00","\\xff"}'), ('jsonb[]', '{"{\"a\": [1]}"}'),
    ('point', '(0.1,-2e-300)'), ('inet', '::1/64'), ('cidr', '10.0.0.0/8'), ('macaddr', '08:00:2b:01:02:03'), ('bit(3)', '101'), ('varbit', ''), ('tsvector', '''a'':1A ''b''''c'''), ('tsquery', '''a'' & !''b'''),
    ('int4range', '[1,10)'), ('int4range', 'empty'), ('numrange', '(,1.5]'), ('daterange', '[2024-02-28,2024-03-01)'), ('tstzrange', '["2024-07-01 00:00:00+00",infinity)'), ('int4range[]', '{"[1,3)",empty}'),
    ('int4multirange', '{[1,3),[5,7)}'), ('datemultirange', '{[2024-01-01,2024-02-01)}'), ('tstzmultirange', '{}'),
    ('regclass', 'pa.samples'), ('regclass', 'pg_class'), ('regtype', 'pa.mood'), ('regtype', 'timestamp with time zone'), ('regproc', 'pa.err'), ('regprocedure', 'pa.err(text)'), ('regclass[]', '{pa.samples,pg_class}'),
    ('pg_lsn', '16/B374D848'), ('xid8', '18446744073709551615'), ('money', '12.34'),
    -- those whose ids differ from database to database
    ('pa.mood', 'hap"py'), ('pa.mood[]', '{sad,it''s,NULL,"hap\"py"}'), ('pa.positive', '7'), ('pa.positive[]', '{7,8}'), ('pa.pair', '(1,"a ""b"", \\ c")'), ('pa.pair', '(,)'), ('pa.pair[]', '{"(1,x)",NULL}'),
    ('pa.nested', '("(1,""a b"")","{""(2,x)"",NULL}","2024-07-01 12:00:00+00",3.141592653589793)'), ('kv', '(1,x)'),
    ('pa.floatrange', '[0.1,3.141592653589793)'), ('pa.floatmultirange', '{[0.1,0.2)}'), ('pa.citext', 'MiXed'), ('pa.citext[]', '{A,b}'), ('pa.hstore', '"a"=>NULL, "b\"c"=>"\\\\"'),
    ('information_schema.cardinal_number', '5');
-- xml, where PostgreSQL was built with it
DO $$
BEGIN
    INSERT INTO pa.samples (type, text) SELECT 'xml', '<a b="c">&amp;' || text || '</a>' FROM (VALUES ('é')) v(text) WHERE '<a/>'::xml IS NOT NULL;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END $$;

CREATE PROCEDURE pa.check_all(what text, targets text[]) LANGUAGE plpgsql AS $$
DECLARE
    s pa.samples;
    target text;
    ok boolean;
    type text;
BEGIN
    FOR s IN SELECT * FROM pa.samples ORDER BY nr LOOP
        FOREACH target IN ARRAY targets LOOP
            type := s.type::regtype::text;
            BEGIN
                EXECUTE format('WITH v AS MATERIALIZED (SELECT CAST(%1$L AS %2$s) AS v)
                                SELECT v IS NOT DISTINCT FROM sessmgr.scalar_as(v, %3$L, ''SELECT $1::%2$s'', v)
                                   AND v IS NOT DISTINCT FROM (SELECT x FROM sessmgr.query(%3$L, ''SELECT $1::%2$s, 1'', v) AS t(x %2$s, y integer))
                                   AND v IS NOT DISTINCT FROM (SELECT x FROM sessmgr.query(%3$L, ''SELECT 1, CAST($1 AS %2$s)'', %1$L) AS t(y integer, x %2$s))
                                   AND sessmgr.scalar_as(NULL::%2$s, %3$L, ''SELECT $1::%2$s'', NULL::%2$s) IS NULL
                                  FROM v', s.text, s.type::regtype, target) INTO ok;
            EXCEPTION WHEN undefined_function THEN
                -- json, point and xml have no equality
                EXECUTE format('SELECT CAST(%1$L AS %2$s)::text = sessmgr.scalar_as(NULL::%2$s, %3$L, ''SELECT $1::%2$s'', CAST(%1$L AS %2$s))::text',
                               s.text, s.type::regtype, target) INTO ok;
            END;
            IF ok IS NOT TRUE THEN
                RAISE WARNING '% on %: % ''%'' came back as another', what, target, type, s.text;
            END IF;
        END LOOP;
    END LOOP;
END $$;

SET client_min_messages = warning;
SET search_path = public, pg_catalog;
CALL pa.check_all('plain', '{loop,spi:}');
DO $$
DECLARE
    style text;
    istyle text;
BEGIN
    FOREACH style IN ARRAY '{"ISO, MDY","ISO, DMY","SQL, DMY","SQL, MDY","Postgres, DMY","Postgres, MDY","German, DMY","ISO, YMD"}'::text[] LOOP
        FOREACH istyle IN ARRAY '{postgres,postgres_verbose,sql_standard,iso_8601}'::text[] LOOP
            PERFORM set_config('datestyle', 'ISO, YMD', true), set_config('intervalstyle', 'postgres', true);
            -- the samples above are written in ISO: read them before the style changes
            CREATE TEMP TABLE v AS SELECT timestamptz '2024-07-01 12:34:56.789012+00' AS tz, timestamp '2024-02-03 04:05:06' AS ts, date '0044-03-04 BC' AS d,
                interval '-1 years +2 days -03:00:00' AS i, ARRAY[date '2024-02-03'] AS da, ROW(ROW(1, 'x'), NULL, '2024-02-03 04:05:06+00', 1)::pa.nested AS n,
                '[2024-02-03,2024-04-05)'::daterange AS dr;
            PERFORM set_config('datestyle', style, true), set_config('intervalstyle', istyle, true);
            IF NOT (SELECT v = t
                      FROM v, LATERAL sessmgr.query_as(NULL::v, 'loop', 'SELECT $1, $2, $3, $4, $5, $6::pa.nested, $7', tz, ts, d, v.i, da, n, dr) t) THEN
                RAISE WARNING 'another value under DateStyle %, IntervalStyle %', style, istyle;
            END IF;
            DROP TABLE v;
        END LOOP;
    END LOOP;
END $$;
SET extra_float_digits = -15;
SET TimeZone = 'Asia/Kathmandu';
SET bytea_output = 'escape';
SET standard_conforming_strings = off;
SET quote_all_identifiers = on;
SET intervalstyle = 'sql_standard';
CALL pa.check_all('odd settings', '{loop,spi:}');
-- digits that are not shown here are not lost on the way
SELECT sessmgr.scalar('loop', 'SELECT $1 = 3.141592653589793::float8 AND $2 = 3.1415927::float4 AND $3 = ARRAY[0.1::float8, 1e-307]', 3.141592653589793::float8, 3.1415927::float4, ARRAY[0.1, 1e-307]::float8[]);
SELECT sessmgr.scalar_as(NULL::float8, 'loop', 'SELECT pi()') = pi();
RESET extra_float_digits;
RESET TimeZone;
RESET bytea_output;
RESET standard_conforming_strings;
RESET quote_all_identifiers;
RESET intervalstyle;
-- settings of the target that its statements have changed
SELECT sessmgr.execute('loop', 'SET datestyle = ''German''');
SELECT sessmgr.execute('loop', 'SET intervalstyle = ''sql_standard''');
CALL pa.check_all('changed style', '{loop}');
SELECT sessmgr.execute('loop', 'SET extra_float_digits = -15');
SELECT sessmgr.scalar_as(NULL::float8, 'loop', 'SELECT pi()') = pi();
SELECT sessmgr.execute('loop', 'SET array_nulls = off');
SELECT sessmgr.scalar('loop', 'SELECT ($1::pa.mood[])[2] IS NULL', '{sad,NULL}'::pa.mood[]);
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SET extra_float_digits = -15');
SELECT sessmgr.scalar_as(NULL::float8, :'s'::sessmgr.session, 'SELECT pi()') = pi();
SELECT sessmgr.rollback(:'s'::sessmgr.session), sessmgr.scalar_as(NULL::float8, :'s'::sessmgr.session, 'SELECT pi()') = pi();
SELECT sessmgr.rollback(:'s'::sessmgr.session);
SELECT sessmgr.execute('loop', 'RESET ALL');
SELECT sessmgr.execute('loop', 'SET client_encoding = LATIN1'), sessmgr.scalar('loop', 'SELECT $1 || ''é''', 'ü');
SELECT sessmgr.execute('loop', 'SET client_encoding = LATIN1'), sessmgr.rollback(:'s'::sessmgr.session), sessmgr.scalar(:'s'::sessmgr.session, 'SELECT $1 || ''é''', 'ü');
SELECT sessmgr.rollback(:'s'::sessmgr.session);
-- names of objects under a search_path that hides and shows others
CREATE TABLE pa.kv ();
CREATE FUNCTION pa.textcat(text, text) RETURNS text LANGUAGE sql AS 'SELECT ''wrong''';
CREATE OPERATOR pa.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4ne);
SET search_path = pa;
SELECT sessmgr.scalar('loop', 'SELECT $1::text', 'kv'::regclass), sessmgr.scalar('loop', 'SELECT $1::text', 'public.kv'::regclass),
       sessmgr.scalar('loop', 'SELECT $1::text', ARRAY['kv', 'public.kv']::regclass[]), sessmgr.scalar('loop', 'SELECT $1::text', 'err'::regproc);
SELECT sessmgr.scalar('loop', 'SELECT $1 = 1', 1), sessmgr.scalar('spi:', 'SELECT $1 OPERATOR(pg_catalog.=) 1', 1);
RESET search_path;

-- text of values is the same whatever the styles here are
SET datestyle = 'German';
SET intervalstyle = 'sql_standard';
SELECT sessmgr.scalar('loop', 'SELECT date ''2024-02-29'''), sessmgr.scalar('loop', 'SELECT interval ''-1 day'''), sessmgr.scalar('loop', 'SELECT $1::text', date '2024-02-29');
SHOW datestyle;
-- and whatever the target is
SET extra_float_digits = -15;
SET bytea_output = 'escape';
SELECT x, sessmgr.scalar('spi:', x) = sessmgr.scalar('loop', x) AS same, sessmgr.scalar('spi:', x),
       (SELECT a FROM sessmgr.query('spi:', x) AS t(a text)) AS query, (SELECT t FROM sessmgr.query_as(NULL::text, 'spi:', x) t) AS query_as,
       (SELECT a FROM sessmgr.stream('spi:', x) AS t(a text)) AS stream, sessmgr.query_json('spi:', x),
       (SELECT count(DISTINCT a) FROM sessmgr.query_all('{loop,spi:}', x) AS t(target text, a text)) AS of_all
  FROM (VALUES (1, 'SELECT date ''2024-02-29'' AS v'), (2, 'SELECT timestamptz ''2024-02-29 00:00Z'' AT TIME ZONE ''UTC'' AS v'), (3, 'SELECT make_interval(days => -1, hours => 2) AS v'),
         (4, 'SELECT pi() AS v'), (5, 'SELECT 0.1::float4 AS v'), (6, 'SELECT ARRAY[pi(), NULL] AS v'), (7, 'SELECT ''\x00ff''::bytea AS v'), (8, 'SELECT 12.34::money AS v'),
         (9, 'SELECT ROW(date ''2024-02-29'', pi()) AS v'), (10, 'SELECT daterange(''2024-02-29'', NULL) AS v')) v(nr, x) ORDER BY nr;
SELECT sessmgr.query_json('loop', 'SELECT make_interval(days => -1, hours => 2) AS i, pi() AS f, ''\x00ff''::bytea AS b') = sessmgr.query_json('spi:', 'SELECT make_interval(days => -1, hours => 2) AS i, pi() AS f, ''\x00ff''::bytea AS b');
SELECT a, b FROM sessmgr.query('spi:', 'SELECT ''2024-02-29'', date ''2024-02-29''') AS t(a date, b varchar(10));
SHOW datestyle;
RESET extra_float_digits;
RESET bytea_output;
-- the target's own setting does not show, either
SELECT sessmgr.execute('loop', 'SET bytea_output = escape'), sessmgr.scalar('loop', 'SELECT ''\x00ff''::bytea');
-- an error on the way leaves the style as it was
SELECT pa.err('SELECT sessmgr.scalar(''loop'', ''SELECT 1 / ($1 - $1)'', 1)');
SELECT pa.err('SELECT sessmgr.scalar_as(NULL::date, ''loop'', ''SELECT $1'', ''no date'')');
SHOW datestyle;
SHOW intervalstyle;
RESET datestyle;
RESET intervalstyle;
-- a domain is what it is over, in every kind of target: the statement never
-- sees it as a literal of unknown type
CREATE DOMAIN pa.price AS numeric;
CREATE DOMAIN pa.cheap AS pa.price CHECK (VALUE < 100);
CREATE DOMAIN pa.prices AS pa.price[];
CREATE DOMAIN pa.span AS numrange;
CREATE DOMAIN pa.feeling AS pa.mood;
CREATE TYPE pa.priced AS (what text, price pa.price);
CREATE DOMAIN pa.offer AS pa.priced;
CREATE TABLE pa.bought (price pa.cheap, all_prices pa.cheap[]);
SELECT t, sessmgr.scalar(t, 'SELECT $1 / 2', 5::pa.price) AS domain, sessmgr.scalar(t, 'SELECT $1 / 2', 5::pa.cheap) AS nested,
       sessmgr.scalar(t, 'SELECT $1[1] / 2', ARRAY[5]::pa.price[]) AS of_array, sessmgr.scalar(t, 'SELECT $1[1] / 2', ARRAY[5]::pa.prices) AS over_array,
       sessmgr.scalar(t, 'SELECT upper($1) / 2', '[1,5]'::pa.span) AS over_range, sessmgr.scalar(t, 'SELECT $2 / $1', VARIADIC ARRAY[2, 5]::pa.price[]) AS variadic,
       sessmgr.scalar(t, 'SELECT $1 < ''hap"py''::pa.mood', 'sad'::pa.feeling) AS over_enum, sessmgr.scalar(t, 'SELECT ($1::pa.offer).price / 2', ROW('x', 5)::pa.offer) AS over_composite,
       sessmgr.scalar(t, 'SELECT pg_typeof($1) || '' '' || pg_typeof($2)', 5::pa.cheap, ARRAY[NULL, 5]::pa.prices) AS types,
       sessmgr.scalar(t, 'SELECT $1 || 1 || ARRAY[2.0]', ARRAY[NULL, 5]::pa.cheap[]) AS whole, sessmgr.scalar(t, 'SELECT $1 IS NULL', NULL::pa.prices) AS nothing
  FROM unnest('{loop,spi:}'::text[]) t;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT $1 / 2', 5::pa.price);
SELECT sessmgr.send(:'s'::sessmgr.session, 'SELECT $1 / 2, $2[1] / 2', 5::pa.price, ARRAY[5]::pa.price[]);
SELECT * FROM sessmgr.receive(:'s'::sessmgr.session) AS t(a pa.price, b pa.cheap);
SELECT t.* FROM sessmgr.stream('loop', 'SELECT $1 / 2', 5::pa.price) AS t(a pa.price);
SELECT count(*) FROM sessmgr.query_all('{loop,spi:}', 'SELECT $1 / 2', 5::pa.price) AS t(target text, a numeric) WHERE a = 2.5;
SELECT sum(rows) FROM sessmgr.execute_all('{loop,spi:}', 'INSERT INTO pa.bought SELECT $1 / 2', 5::pa.price);
SELECT sessmgr.execute_many(t, 'INSERT INTO pa.bought SELECT $1 / 2, $2 || 1', 'SELECT 5::pa.price, ARRAY[2, 3]::pa.cheap[]') FROM unnest('{loop,spi:}'::text[]) t;
SELECT sessmgr.push('loop', 'SELECT 2.5::pa.price, ARRAY[2, 3, 1]::pa.price[]', 'pa.bought'), sessmgr.pull('loop', 'SELECT 2.5, ARRAY[2, 3, 1]::numeric[]', 'pa.bought');
SELECT *, count(*) FROM pa.bought GROUP BY 1, 2;
-- what comes back as a domain is checked
SELECT pa.err(format('SELECT * FROM sessmgr.query(%L, ''SELECT %s'') AS t(a %s)', t, value, type))
  FROM unnest('{loop,spi:}'::text[]) t, (VALUES ('100::numeric', 'pa.cheap'), ('100', 'pa.cheap'), ('ARRAY[100::numeric]', 'pa.cheap[]')) v(value, type);
SELECT pa.err($$SELECT sessmgr.pull('loop', 'SELECT 100::numeric, NULL::numeric[]', 'pa.bought')$$);
SELECT pa.err($$SELECT sessmgr.push('loop', 'SELECT 100::pa.price, NULL::pa.price[]', 'pa.bought')$$);
SELECT sessmgr.rollback(:'s'::sessmgr.session);
-- a name inside of a value is that of the same object, too
CREATE TYPE pa.named AS (c regclass);
CREATE DOMAIN pa.name_of AS regclass;
SET search_path = pa;
SELECT sessmgr.scalar('loop', 'SELECT (($1::pa.named).c = ''pa.kv''::regclass)::text || ($2 = ''pa.kv''::regclass)', ROW('kv')::named, 'kv'::name_of);
RESET search_path;
-- domains are checked where they belong, enums are known by name
SELECT pa.err('SELECT sessmgr.scalar(''loop'', ''SELECT $1::pa.positive'', -1)');
SELECT pa.err('SELECT sessmgr.scalar_as(NULL::pa.positive, ''loop'', ''SELECT -1'')');
SELECT pa.err('SELECT sessmgr.scalar_as(NULL::pa.mood, ''loop'', ''SELECT ''''angry'''''')');
SELECT sessmgr.scalar('loop', 'SELECT $1 < ''hap"py''::pa.mood', 'sad'::pa.mood), sessmgr.scalar('loop', 'SELECT ($1::pa.pair).b', ROW(1, 'b')::pa.pair);
-- a NUL cannot be in a text, and so is an error of the target
SELECT pa.err($$SELECT sessmgr.scalar('loop', 'SELECT convert_from($1, ''UTF8'')', '\x00'::bytea)$$);

SELECT sessmgr.close(:'s'::sessmgr.session);
DROP SCHEMA pa CASCADE;

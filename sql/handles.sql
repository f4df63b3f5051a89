--
-- The handle types engine, sessionmaker and session
--

-- text form: one way to write each
SELECT 'engine/0000abcd/7'::sessmgr.engine, 'sessionmaker/ffffffff/4294967295'::sessmgr.sessionmaker,
       'session/00000000/0'::sessmgr.session, NULL::sessmgr.session IS NULL AS "null";
SELECT v AS input, try(format('SELECT %L::sessmgr.session', v)) AS outcome
  FROM unnest(ARRAY['session/0000abcd/7', '', 'session', 'session/', 'session/0000abcd',
                    'session/0000abcd/', 'session//7', 'session/0000abcd/7/', 'session/0000abcd/7 ',
                    ' session/0000abcd/7', 'Session/0000abcd/7', 'engine/0000abcd/7',
                    'sessionmaker/0000abcd/7', 'session/0000ABCD/7', 'session/abcd/7',
                    'session/0000abcd/07', 'session/0000abcd/-7', 'session/0000abcd/+7',
                    'session/0x00abcd/7', 'session/0000abcdef/7', 'session/0000abcd/a',
                    'session/0000abcd/4294967296', 'session/0000abcd/4294967303',
                    'session/0000abcd/9999999999', 'session/0000abcd/99999999999', '42']) v;
SELECT try('SELECT ''session/0000abcd/7''::sessmgr.engine');
SELECT try('SELECT ''engine/0000abcd/7''::sessmgr.sessionmaker');

-- conversions: from and to text, and no others
SELECT 'session/0000abcd/7'::text::sessmgr.session::text;
SELECT v AS conversion, try('SELECT ' || v) AS outcome
  FROM unnest(ARRAY['''session/0000abcd/7''::sessmgr.session::bigint',
                    '7::bigint::sessmgr.session',
                    '''session/0000abcd/7''::sessmgr.session::sessmgr.engine',
                    '''session/0000abcd/7''::sessmgr.session = ''engine/0000abcd/7''::sessmgr.engine']) v;

-- operators; they live in schema sessmgr
SELECT 'session/0000abcd/7'::sessmgr.session OPERATOR(sessmgr.=) 'session/0000abcd/7' AS eq;
SET search_path = public, sessmgr;
SELECT a, b, a = b AS eq, a <> b AS ne
  FROM (VALUES ('session/00000001/2'::sessmgr.session, 'session/00000001/2'::sessmgr.session),
               ('session/00000001/2', 'session/00000001/10'),
               ('session/00000002/1', 'session/00000001/10'),
               ('session/00000001/2', NULL)) v (a, b);

-- but no order, as there is no meaning in it
SELECT try($$SELECT 'session/0000abcd/7'::sessmgr.session < 'session/0000abcd/8'$$);
SELECT try($$SELECT v::sessmgr.session FROM unnest('{session/0000abcd/7}'::text[]) v ORDER BY 1$$);

-- grouping, hashing, an index: for each of the three types
CREATE FUNCTION handle_type(kind text) RETURNS TABLE (what text, result text) LANGUAGE plpgsql AS $$
DECLARE
    plan text;
    n bigint;
BEGIN
    EXECUTE format('CREATE TEMP TABLE h (id int, h sessmgr.%I)', kind);
    EXECUTE format('INSERT INTO h SELECT i, format(''%s/%%s/%%s'', to_char(i %% 10, ''FM00000000''), i %% 100)::sessmgr.%I
                      FROM generate_series(1, 1000) i', kind, kind);
    INSERT INTO h VALUES (0, NULL);
    ANALYZE h;
    RETURN QUERY SELECT kind || ': distinct', count(*)::text FROM (SELECT DISTINCT h.h FROM h) d;
    RETURN QUERY SELECT 'groups of 10', count(*)::text FROM (SELECT h.h FROM h GROUP BY 1 HAVING count(*) = 10) d;
    SET LOCAL enable_mergejoin = off; SET LOCAL enable_nestloop = off;
    RETURN QUERY SELECT 'hash join', count(*)::text FROM h a JOIN h b USING (h);
    SET LOCAL enable_nestloop = on; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
    CREATE INDEX h_hash ON h USING hash (h);
    FOR plan IN EXECUTE format('EXPLAIN (COSTS off) SELECT id FROM h WHERE h.h = ''%s/00000003/13''', kind) LOOP
        RETURN QUERY SELECT 'hash', plan;
    END LOOP;
    EXECUTE format('SELECT count(*) FROM h WHERE h.h = ''%s/00000003/13''', kind) INTO n;
    RETURN QUERY SELECT 'hash', n::text;
    DROP INDEX h_hash;
    DROP TABLE h;
END $$;
SELECT * FROM handle_type('engine');
SELECT * FROM handle_type('sessionmaker');
SELECT * FROM handle_type('session');
RESET search_path;
-- binary form
SELECT sessmgr.session_send('session/0000abcd/7'), sessmgr.engine_send('engine/ffffffff/1'),
       sessmgr.sessionmaker_send('sessionmaker/00000000/0');
CREATE TEMP TABLE b (e sessmgr.engine, f sessmgr.sessionmaker, s sessmgr.session);
INSERT INTO b VALUES ('engine/0000abcd/7', 'sessionmaker/ffffffff/4294967295', 'session/00000000/1'), (NULL, NULL, NULL);
\copy b TO 'results/handles.bin' (FORMAT binary)
TRUNCATE b;
\copy b FROM 'results/handles.bin' (FORMAT binary)
TABLE b;

--
-- Use: only what this backend made and has kept is valid
--

-- how to call each function that takes a handle of a kind
CREATE FUNCTION calls(kind text, handle text) RETURNS TABLE (name text, call text)
LANGUAGE sql STABLE AS $$
    SELECT f.oid::regprocedure::text, format(CASE WHEN f.prorettype = 'record'::regtype
                                       THEN 'SELECT a FROM sessmgr.%I(%s) AS (a int)'
                                       ELSE 'SELECT sessmgr.%I(%s)::text' END, f.proname, a.args)
      FROM pg_proc f,
           LATERAL (SELECT string_agg(CASE t.type::regtype::text
                                          WHEN 'sessmgr.' || kind THEN format('%s::sessmgr.%I', handle, kind)
                                          WHEN 'text' THEN '''SELECT 1'''
                                          WHEN 'anyelement' THEN 'NULL::int'
                                          WHEN 'integer' THEN '1'
                                          WHEN 'name' THEN '''default'''
                                          WHEN 'regclass' THEN '''public.kv'''
                                          WHEN 'text[]' THEN 'NULL::text[]'
                                          ELSE '1' END, ', ' ORDER BY t.n) AS args
                      FROM unnest(f.proargtypes) WITH ORDINALITY t (type, n)) a
     WHERE f.pronamespace = 'sessmgr'::regnamespace
       AND ('sessmgr.' || kind)::regtype = ANY (f.proargtypes)
       AND f.proname !~ ('^' || kind || '_')
$$;

-- a foreign one, by a kind's stamp and number
SELECT name, try(call) AS outcome
  FROM unnest(ARRAY['engine', 'sessionmaker', 'session']) kind, calls(kind, quote_literal(kind || '/00000000/1'))
 ORDER BY name COLLATE "C";
-- none
SELECT name, try(call) AS outcome
  FROM unnest(ARRAY['engine', 'sessionmaker', 'session']) kind, calls(kind, 'NULL')
 ORDER BY name COLLATE "C";

-- another backend's
SELECT try(format('SELECT sessmgr.dispose(%L)', sessmgr.scalar('loop', 'SELECT sessmgr.get_engine(''spi:'')')));
SELECT try(format('SELECT sessmgr.open(%L)', sessmgr.scalar('loop', 'SELECT factory FROM sessmgr.create_session(''spi:'')')));
SELECT try(format('SELECT sessmgr.begin(%L)', sessmgr.scalar('loop', 'SELECT sessmgr.session_factory(''spi:'')')));

-- a literal without its type is a dburi
SELECT try($$SELECT sessmgr.scalar('session/0000abcd/7', 'SELECT 1')$$);

-- of another kind, of a number not given out yet, and closed
BEGIN;
SELECT sessmgr.get_engine('spi:') AS e, factory AS f, sessmgr.open(factory) AS s
  FROM sessmgr.create_session('spi:') \gset
SELECT try(format('SELECT sessmgr.in_transaction(%L)', :'s')) AS valid;
SELECT try(format('SELECT sessmgr.in_transaction(%L)', replace(:'e', 'engine', 'session'))) AS engine;
SELECT try(format('SELECT sessmgr.dispose(%L)', replace(:'s', 'session', 'engine'))) AS session;
SELECT try(format('SELECT sessmgr.open(%L)', replace(:'e', 'engine', 'sessionmaker'))) AS engine;
SELECT try(format('SELECT sessmgr.close(%L)', regexp_replace(:'s', '\d+$', '4294967295'))) AS future;
SELECT try(format('SELECT sessmgr.close(%L)', regexp_replace(:'s', '\d+$', '0'))) AS zero;
SELECT sessmgr.close(:'s');
SELECT name, try(call) AS closed FROM calls('session', quote_literal(:'s')) ORDER BY name COLLATE "C";
SELECT sessmgr.invalidate('spi:');
SELECT name, try(call) AS gone FROM calls('engine', quote_literal(:'e')) ORDER BY name COLLATE "C";
SELECT name, try(call) AS gone FROM calls('sessionmaker', quote_literal(:'f')) ORDER BY name COLLATE "C";
COMMIT;

-- a session ends with its transaction, and the error says what helps
SELECT sessmgr.session_factory('spi:') AS s \gset
SELECT try(format('SELECT sessmgr.begin(%L)', :'s'));

-- stored in a table, a handle is worth nothing to others, and nothing after a reset
CREATE TABLE stored (e sessmgr.engine);
INSERT INTO stored SELECT sessmgr.get_engine('loop');
SELECT try('SELECT sessmgr.dispose(e) FROM stored') AS here;
SELECT try($$SELECT sessmgr.scalar('loop', 'SELECT sessmgr.dispose(e) FROM stored')$$) AS there;
SELECT sessmgr.reset();
SELECT try('SELECT sessmgr.dispose(e) FROM stored') AS here;
DROP TABLE stored;

-- a new number for what is made anew
SELECT sessmgr.get_engine('spi:') AS e1 \gset
SELECT sessmgr.invalidate('spi:');
SELECT sessmgr.get_engine('spi:') AS e2 \gset
SELECT :'e1' = :'e2' AS same, :'e2' = sessmgr.get_engine('spi:')::text AS cached;

DROP FUNCTION handle_type, calls;
SELECT sessmgr.reset();

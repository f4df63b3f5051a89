--
-- stream and stream_as: rows that are read as they are asked for.
--
\set VERBOSITY terse
CREATE TABLE public.numbers AS SELECT i, 'n' || i AS t FROM generate_series(1, 5000) i;

-- the plan of a statement, without what may differ from version to version
CREATE FUNCTION public.plan(sql text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || sql LOOP
        RETURN NEXT public.hide(line);
    END LOOP;
END $$;

-- how: "Custom" for a scan that streams, "Function" for one that does not
CREATE FUNCTION public.how(sql text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(DISTINCT substring(line FROM '(Custom|Function) Scan'), ' ') FROM plan(sql) AS line $$;

-- connections that are checked out, and cursors that are open in a session
CREATE FUNCTION public.busy() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM sessmgr.connections WHERE state <> 'idle' $$;
CREATE FUNCTION public.cursors(s sessmgr.session) RETURNS text LANGUAGE sql AS $$
    SELECT sessmgr.scalar(s, 'SELECT count(*) FROM pg_cursors WHERE name <> ''''') $$;

--
-- Where it streams, and where not
--
SELECT plan($$SELECT i FROM sessmgr.stream('loop', 'SELECT i FROM numbers') AS s(i int) WHERE i > 5$$);
SELECT plan($$SELECT * FROM sessmgr.stream_as(NULL::numbers, 'loop', 'SELECT * FROM numbers WHERE i > $1', 7) LIMIT 1$$);
-- a secret is not shown, whatever it is written as
SELECT plan($$SELECT * FROM sessmgr.stream('postgresql://u:secret@h/d', 'SELECT 1') AS s(i int)$$);
SELECT plan($$SELECT * FROM sessmgr.stream('host=h password=secret', 'SELECT 1') AS s(i int)$$);
SELECT plan($$SELECT * FROM sessmgr.stream('postgresql://u:secret@' || current_setting('port') || '/d', 'SELECT 1') AS s(i int)$$);
PREPARE p(text, text) AS SELECT * FROM sessmgr.stream($1, $2) AS s(i int);
SET plan_cache_mode = force_generic_plan;
SELECT plan($$EXECUTE p('postgresql://u:secret@h/d', 'SELECT 1')$$);
RESET plan_cache_mode;
-- nothing of it has connected
SELECT count(*) FROM sessmgr.connections;

SELECT how($$SELECT * FROM $$ || f) || CASE WHEN f ~ 'WITH ORD' THEN ' with ordinality' ELSE '' END AS how, left(f, 60) AS of
FROM unnest(ARRAY[
    $$sessmgr.stream('loop', 'SELECT 1') AS s(i int)$$,
    $$(SELECT * FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int) LIMIT 3) AS sub$$,
    $$(SELECT * FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int) UNION SELECT 2) AS sub$$,
    $$sessmgr.stream_as(NULL::int, 'loop', 'SELECT 1') AS i$$,
    $$sessmgr.stream_as(NULL::int, 'loop', 'SELECT 1') WITH ORDINALITY$$,
    $$ROWS FROM (sessmgr.stream_as(NULL::int, 'loop', 'SELECT 1'), generate_series(1, 2))$$,
    $$kv, sessmgr.stream('loop', 'SELECT 1') AS s(i int)$$,
    $$kv, LATERAL sessmgr.stream('loop', 'SELECT $1', k) AS s(i int)$$,
    $$kv, (SELECT * FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int) OFFSET 0) AS sub$$,
    $$sessmgr.stream('loop', 'SELECT 1', (SELECT max(k) FROM kv)) AS s(i int)$$,
    $$kv WHERE EXISTS (SELECT FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int))$$,
    $$kv WHERE (SELECT count(*) FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int) WHERE i = k) = 1$$,
    $$kv WHERE k NOT IN (SELECT * FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int))$$
]) WITH ORDINALITY AS u(f, n) ORDER BY n;
SELECT how($$WITH x AS MATERIALIZED (SELECT * FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int)) SELECT * FROM kv, x$$);
SELECT how($$SELECT i + 1 FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int) UNION ALL (SELECT i FROM sessmgr.stream('loop', 'SELECT 1') AS t(i int, j int) UNION ALL SELECT * FROM sessmgr.stream('loop', 'SELECT 1') AS u(i int))$$);
SELECT how($$SELECT * FROM kv, (SELECT i FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int) UNION ALL SELECT i FROM sessmgr.stream('loop', 'SELECT 1') AS t(i int)) u$$);
SELECT how($$SELECT * FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int) WHERE false$$) IS NULL AS nothing;
SELECT how($$SELECT s FROM sessmgr.stream('loop', 'SELECT 1, 2') AS s(i int, j int)$$);
SELECT how($$INSERT INTO numbers SELECT * FROM sessmgr.stream('loop', 'SELECT 1, 2') AS s(i int, j text)$$);
SELECT how($$WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT r.i + 1 FROM r WHERE i < (SELECT count(*) FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int))) SELECT * FROM r$$);

-- the same rows, by either path
SELECT * FROM sessmgr.stream('loop', 'SELECT $1 + 1', (SELECT max(k) FROM kv)) AS s(i int);
SELECT * FROM sessmgr.stream('loop', 'SELECT i, t FROM numbers ORDER BY i LIMIT $1', 3) AS s(i int, t text);
SELECT s FROM sessmgr.stream('loop', 'SELECT i, t FROM numbers ORDER BY i LIMIT $1', 3) AS s(i int, t text);
SELECT sessmgr.stream_as(NULL::numbers, 'loop', 'SELECT i, t FROM numbers ORDER BY i LIMIT $1', 3);
SELECT count(*), sum(i), min(t) FROM sessmgr.stream('loop', 'SELECT * FROM numbers') AS s(i int, t text);
SELECT count(*), sum(s.i), min(t) FROM sessmgr.stream('loop', 'SELECT * FROM numbers') AS s(i int, t text), (VALUES (1)) v;
SELECT i FROM sessmgr.stream_as(NULL::int, 'loop', 'SELECT i FROM numbers ORDER BY i') AS i WHERE i % 1000 = 0;
SELECT k, (SELECT max(i) FROM sessmgr.stream('loop', 'SELECT i FROM numbers') AS s(i int) WHERE i < k) FROM kv WHERE k < 4 ORDER BY k;
SELECT k FROM kv WHERE k NOT IN (SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers WHERE i > 2') AS s(i int)) ORDER BY k;
SET work_mem = '64kB';
SET enable_hashagg = off;
-- not hashed: it is looked at again and again, and read once
SELECT k FROM kv WHERE k <> ALL (SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers WHERE i > 2') AS s(i int)) ORDER BY k;
SELECT k FROM kv WHERE k < ANY (SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers WHERE i < 4') AS s(i int)) ORDER BY k;
SET enable_material = off;
SELECT k FROM kv WHERE k < ANY (SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers WHERE i < 4') AS s(i int)) ORDER BY k;
RESET enable_material;
RESET enable_hashagg;
RESET work_mem;
SELECT i + 1, 'a' AS t FROM sessmgr.stream('loop', 'SELECT i, t FROM numbers WHERE i < 3 ORDER BY i') AS s(i int, t text)
UNION ALL (SELECT i, t FROM sessmgr.stream('loop', 'SELECT i, t FROM numbers ORDER BY i') AS s(i int, t text) WHERE i > 4 LIMIT 2)
UNION ALL SELECT i, t FROM sessmgr.stream('loop', 'SELECT i, t FROM numbers WHERE i < 3 ORDER BY i') AS s(i int, t text) WHERE i > 1;
WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT r.i + 1 FROM r WHERE i < (SELECT max(i) FROM sessmgr.stream('loop', 'SELECT generate_series(1, 5)') AS s(i int))) SELECT count(*) FROM r;
-- values in text form, too, and NULLs, dropped columns, no rows
CREATE TYPE public.color AS ENUM ('red', 'green');
CREATE TABLE public.mixed (a int, gone int, c color, n numeric, d date);
ALTER TABLE mixed DROP COLUMN gone;
SET DateStyle = 'German, DMY';
SELECT * FROM sessmgr.stream_as(NULL::mixed, 'loop', $$VALUES (1, 'red', 1.50, '2024-02-01'), (NULL, NULL, NULL, NULL)$$);
SELECT m.* FROM sessmgr.stream_as(NULL::mixed, 'loop', $$VALUES (1, 'red', 1.50, '2024-02-01'), (NULL, NULL, NULL, NULL)$$) m, (VALUES (1)) v;
RESET DateStyle;
SELECT * FROM sessmgr.stream('loop', 'SELECT 1 WHERE false') AS s(i int);
SELECT * FROM sessmgr.stream('loop', 'SHOW search_path') AS s(t text);
SELECT busy();

-- parameters, also as an array, and a plan that is kept
SELECT * FROM sessmgr.stream('loop', 'SELECT $1 + 1, $2', 1, 'x') AS s(i int, t text);
SELECT * FROM sessmgr.stream('loop', 'SELECT $1 + $2', VARIADIC ARRAY[1, 2]) AS s(i int);
SET plan_cache_mode = force_generic_plan;
EXECUTE p('loop', 'SELECT 1');
EXECUTE p('loop', 'SELECT 2');
EXECUTE p('spi:', 'SELECT 3');
EXECUTE p(NULL, 'SELECT 2');
EXECUTE p('loop', NULL);
RESET plan_cache_mode;

-- early ends: nothing stays behind, and the connection is in use again
SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers ORDER BY i') AS s(i int) LIMIT 2;
SELECT EXISTS (SELECT FROM sessmgr.stream('loop', 'SELECT i FROM numbers, pg_sleep(0)') AS s(i int));
SELECT * FROM sessmgr.stream('loop', 'SELECT generate_series(1, 100000000)') AS s(i int) LIMIT 2;
SELECT count(*), busy() FROM sessmgr.connections;
DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM sessmgr.stream('loop', 'SELECT i, t FROM numbers ORDER BY i') AS s(i int, t text) LOOP
        EXIT WHEN r.i = 3;
        RAISE NOTICE '% % %', r.i, r.t, public.busy();
    END LOOP;
    RAISE NOTICE '%', public.busy();
    SELECT * INTO r FROM sessmgr.stream('loop', 'SELECT i, t FROM numbers ORDER BY i') AS s(i int, t text);
    RAISE NOTICE '% %', r.i, public.busy();
    -- several at a time
    FOR r IN SELECT * FROM sessmgr.stream('loop', 'SELECT i, t FROM numbers ORDER BY i') AS s(i int, t text) LOOP
        EXIT WHEN r.i = 2;
        FOR r IN SELECT * FROM sessmgr.stream('loop', 'SELECT -i, t FROM numbers ORDER BY i') AS s(i int, t text) LOOP
            EXIT WHEN r.i = -2;
            RAISE NOTICE '% %', r.i, public.busy();
        END LOOP;
    END LOOP;
END $$;

-- it is for reading
SELECT try($$SELECT * FROM sessmgr.stream('loop', 'INSERT INTO numbers VALUES (0) RETURNING i') AS s(i int)$$);
SELECT try($$SELECT s FROM sessmgr.stream('loop', 'INSERT INTO numbers VALUES (0) RETURNING i') AS s(i int)$$);
SELECT try($$SELECT * FROM sessmgr.stream('loop', 'DELETE FROM numbers') AS s(i int)$$);
SELECT count(*) FROM numbers WHERE i = 0;

-- errors
SELECT try($$SELECT * FROM sessmgr.stream('loop', 'SELECT 1, 2') AS s(i int)$$);
SELECT try($$SELECT * FROM sessmgr.stream('loop', '') AS s(i int)$$);
SELECT try($$SELECT * FROM sessmgr.stream('loop', 'SELEC 1') AS s(i int)$$);
SELECT try($$SELECT * FROM sessmgr.stream('loop', 'SELECT 1; SELECT 2') AS s(i int)$$);
SELECT try($$SELECT * FROM sessmgr.stream('loop', 'COPY numbers TO STDOUT') AS s(i int)$$);
SELECT try($$SELECT * FROM sessmgr.stream('loop', 'COMMIT') AS s(i int)$$);
SELECT try($$SELECT sum(i) FROM sessmgr.stream('loop', 'SELECT 1 / (4000 - i) FROM numbers ORDER BY i') AS s(i int)$$);
SELECT try($$SELECT sum(i) FROM sessmgr.stream('loop', 'SELECT t FROM numbers') AS s(i int)$$);
SELECT try($$SELECT sessmgr.stream('loop', 'SELECT 1')$$);
SELECT try($$SELECT * FROM sessmgr.stream_as(NULL::record, 'loop', 'SELECT 1') AS s(i int)$$);
SELECT try($$SELECT * FROM sessmgr.stream('nowhere', 'SELECT 1') AS s(i int)$$);
SELECT try($$SELECT * FROM sessmgr.stream(NULL::text, 'SELECT 1') AS s(i int)$$);
SELECT busy();

-- as part of other statements
CREATE TABLE public.copied AS SELECT * FROM sessmgr.stream('loop', 'SELECT * FROM numbers') AS s(i int, t text);
INSERT INTO copied SELECT -i, t FROM sessmgr.stream('loop', 'SELECT * FROM numbers') AS s(i int, t text);
SELECT count(*), sum(i) FROM copied;
CREATE VIEW public.far WITH (security_barrier) AS SELECT * FROM sessmgr.stream('loop', 'SELECT * FROM numbers') AS s(i int, t text);
CREATE VIEW public.near AS SELECT * FROM sessmgr.stream('loop', 'SELECT * FROM numbers') AS s(i int, t text);
SELECT how('SELECT * FROM far WHERE i = 7'), how('SELECT * FROM near WHERE i = 7');
SELECT * FROM far WHERE i = 7 UNION ALL SELECT * FROM near WHERE i = 8;
WITH x AS MATERIALIZED (SELECT * FROM near) SELECT count(*) FROM x JOIN x y USING (i);

--
-- Local cursors
--
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers ORDER BY i') AS s(i int);
FETCH 2 FROM c;
SAVEPOINT a;
FETCH 1 FROM c;
ROLLBACK TO a;
FETCH 1 FROM c;
SELECT busy();
CLOSE c;
SELECT busy();
DECLARE c SCROLL CURSOR FOR SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers ORDER BY i') AS s(i int);
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
DECLARE h CURSOR WITH HOLD FOR SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers ORDER BY i') AS s(i int) WHERE i < 5;
FETCH 2 FROM h;
SELECT busy();
COMMIT;
SELECT busy();
FETCH 5 FROM h;
CLOSE h;
-- the part of the local transaction that it began in ends
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers ORDER BY i') AS s(i int);
SAVEPOINT a;
FETCH 1 FROM c;
ROLLBACK TO a;
SELECT busy();
FETCH 1 FROM c;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers ORDER BY i') AS s(i int);
FETCH 1 FROM c;
ROLLBACK;
SELECT busy();

--
-- In a session
--
BEGIN;
SELECT sessmgr.session_factory('loop') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'CREATE TEMPORARY TABLE mine AS SELECT i, ''m'' || i AS t FROM generate_series(1, 3000) i');
SELECT how(format('SELECT * FROM sessmgr.stream(%L::sessmgr.session, ''SELECT i FROM mine'') AS s(i int)', :'s'));
SELECT count(*), sum(i), min(t) FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT * FROM mine WHERE i > $1', 5) AS s(i int, t text);
SELECT count(*), sum(s.i), min(t) FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT * FROM mine WHERE i > $1', 5) AS s(i int, t text), (VALUES (1)) v;
SELECT * FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT i FROM mine ORDER BY i') AS s(i int) LIMIT 2;
SELECT cursors(:'s');
-- wide rows, and values in text form
SELECT count(*), sum(length(t)) FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT repeat(t, 20000) FROM mine WHERE i <= 100') AS s(t text);
SELECT * FROM sessmgr.stream(:'s'::sessmgr.session, $$SELECT 'red'::public.color, NULL::int$$) AS s(c color, i int);
SELECT * FROM sessmgr.stream(:'s'::sessmgr.session, $$SELECT 1 WHERE false$$) AS s(i int);
SELECT * FROM sessmgr.stream(:'s'::sessmgr.session, $$-- a comment
SELECT 1 -- and one more$$) AS s(i int);
-- another statement while it is read, and several streams
CREATE FUNCTION public.read_on(s sessmgr.session, what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
    n int := 0;
    total bigint := 0;
BEGIN
    FOR r IN SELECT * FROM sessmgr.stream(s, 'SELECT i FROM mine ORDER BY i') AS s(i int) LOOP
        n := n + 1;
        total := total + r.i;
        IF n = 40 THEN
            EXECUTE what USING s;
        END IF;
    END LOOP;
    RETURN n || ' rows, sum ' || total;
END $$;
SELECT read_on(:'s', 'SELECT sessmgr.execute($1, ''INSERT INTO mine VALUES (0)'')');
SELECT read_on(:'s', 'SELECT sessmgr.execute($1, ''DELETE FROM mine WHERE i = 0'')');
SELECT read_on(:'s', 'SELECT count(*) FROM sessmgr.stream($1, ''SELECT i FROM mine ORDER BY i'') AS s(i int)');
SELECT read_on(:'s', 'SELECT read_on($1, ''SELECT read_on($1, ''''SELECT sessmgr.scalar($1, ''''''''SELECT 1'''''''')'''')'')');
SELECT read_on(:'s', 'SELECT sessmgr.begin_nested($1)');
SELECT read_on(:'s', 'SELECT sessmgr.send($1, ''SELECT 7'')');
SELECT try(format('SELECT read_on(%L, '''')', :'s'));
SELECT * FROM sessmgr.receive(:'s') AS r(i int);
SELECT cursors(:'s');
-- errors of the stream, and of others
SELECT sessmgr.begin_nested(:'s') AS a \gset
SELECT try(format('SELECT sum(i) FROM sessmgr.stream(%L::sessmgr.session, ''SELECT 1 / (2000 - i) FROM mine ORDER BY i'') AS s(i int)', :'s'));
SELECT sessmgr.rollback_to(:'s', :a);
SELECT try(format('SELECT sum(i) FROM sessmgr.stream(%L::sessmgr.session, ''INSERT INTO mine VALUES (1) RETURNING i'') AS s(i int)', :'s'));
SELECT sessmgr.rollback_to(:'s', :a);
SELECT try(format('SELECT sum(i) FROM sessmgr.stream(%L::sessmgr.session, ''SELEC 1'') AS s(i int)', :'s'));
SELECT sessmgr.rollback_to(:'s', :a);
SELECT try(format('SELECT sum(i) FROM sessmgr.stream(%L::sessmgr.session, ''SELECT 1; SELECT 2'') AS s(i int)', :'s'));
SELECT sessmgr.rollback_to(:'s', :a);
SELECT try(format('SELECT sum(i) FROM sessmgr.stream(%L::sessmgr.session, ''WITH x AS (DELETE FROM mine RETURNING i) SELECT * FROM x'') AS s(i int)', :'s'));
SELECT sessmgr.rollback_to(:'s', :a);
SELECT try(format('SELECT sum(i) FROM sessmgr.stream(%L::sessmgr.session, ''SELECT 1, 2'') AS s(i int)', :'s'));
SELECT cursors(:'s');
-- an error of the reader leaves the session's transaction alone
SELECT try(format('SELECT sum(1 / (i - 2500)) FROM sessmgr.stream(%L::sessmgr.session, ''SELECT i FROM mine ORDER BY i'') AS s(i int)', :'s'));
SELECT try(format('SELECT read_on(%L, ''SELECT 1/0'')', :'s'));
SELECT cursors(:'s');
-- rows that could not be put aside are not left out silently
CREATE FUNCTION public.read_bad(s sessmgr.session) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
    n int := 0;
BEGIN
    FOR r IN SELECT * FROM sessmgr.stream(s, 'SELECT 1 / (2000 - i) FROM generate_series(1, 3000) i') AS s(i int) LOOP
        n := n + 1;
        IF n = 20 THEN
            BEGIN
                PERFORM sessmgr.execute(s, 'SELECT 1');
            EXCEPTION WHEN division_by_zero THEN
                RAISE NOTICE 'caught';
            END;
        END IF;
    END LOOP;
END $$;
SELECT sessmgr.begin_nested(:'s') AS b \gset
SELECT try(format('SELECT read_bad(%L)', :'s'));
SELECT sessmgr.rollback_to(:'s', :b);
-- while a row is being made, the session is not for other things
CREATE FUNCTION public.use_session() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN sessmgr.scalar(current_setting('my.session')::sessmgr.session, 'SELECT true');
END $$;
CREATE DOMAIN public.busy_int AS int CHECK (use_session());
SELECT set_config('my.session', :'s', true) IS NULL AS hidden;
SELECT try(format('SELECT sum(i) FROM sessmgr.stream(%L::sessmgr.session, ''SELECT i FROM mine ORDER BY i'') AS s(i busy_int)', :'s'));
SELECT try(format('SELECT sum(i) FROM sessmgr.stream(%L::sessmgr.session, ''SELECT i FROM mine ORDER BY i'') AS s(i int)', :'s'));
-- what ends it under its reader
SELECT try(format('SELECT read_on(%L, %L)', :'s', format('SELECT sessmgr.rollback_to($1, %s)', :a)));
CREATE FUNCTION public.savepoint_and_back(s sessmgr.session) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    a int := sessmgr.begin_nested(s);
    c refcursor;
    r record;
BEGIN
    OPEN c FOR SELECT * FROM sessmgr.stream(s, 'SELECT i FROM mine ORDER BY i') AS s(i int);
    FETCH c INTO r;
    PERFORM sessmgr.rollback_to(s, a);
    FETCH c INTO r;
    RETURN r;
END $$;
SELECT try(format('SELECT savepoint_and_back(%L)', :'s'));
-- released, it goes on
CREATE FUNCTION public.savepoint_and_on(s sessmgr.session) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    a int := sessmgr.begin_nested(s);
    b int := sessmgr.begin_nested(s);
    c refcursor;
    r record;
BEGIN
    OPEN c FOR SELECT * FROM sessmgr.stream(s, 'SELECT i FROM mine ORDER BY i') AS s(i int);
    FETCH c INTO r;
    PERFORM sessmgr.release(s, b);
    MOVE RELATIVE 2998 FROM c;
    FETCH c INTO r;
    RETURN r;
END $$;
SELECT try(format('SELECT savepoint_and_on(%L)', :'s'));
SELECT read_on(:'s', 'SELECT sessmgr.commit($1)');
SELECT try(format('SELECT read_on(%L, ''SELECT sessmgr.rollback($1)'')', :'s'));
SELECT try(format('SELECT read_on(%L, ''SELECT sessmgr.close($1)'')', :'s'));
SELECT try(format('SELECT read_on(%L, ''SELECT 1'')', :'s'));
COMMIT;
SELECT busy();

-- held over the local transaction's end
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
BEGIN;
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO mine VALUES (3001)');
DECLARE h CURSOR WITH HOLD FOR SELECT * FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT i FROM mine ORDER BY i') AS s(i int) WHERE i % 1000 = 0;
DECLARE c CURSOR FOR SELECT * FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT i FROM mine ORDER BY i') AS s(i int);
FETCH 20 FROM c \g /dev/null
FETCH 1 FROM h;
COMMIT;
FETCH 3 FROM h;
CLOSE h;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT max(i) FROM mine');
SELECT sessmgr.in_transaction(:'s'), busy();
SELECT cursors(:'s');
-- the local transaction aborts
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT i FROM mine ORDER BY i') AS s(i int);
FETCH 20 FROM c \g /dev/null
ROLLBACK;
SELECT sessmgr.in_transaction(:'s'), busy(), sessmgr.rollback(:'s');
-- a procedure that commits while it reads
CREATE PROCEDURE public.read_and_commit(target text, s sessmgr.session) LANGUAGE plpgsql AS $$
DECLARE
    r record;
    n int := 0;
BEGIN
    FOR r IN SELECT * FROM sessmgr.stream(target, 'SELECT i FROM numbers WHERE i <= 300') AS s(i int) LOOP
        n := n + 1;
        IF n % 100 = 0 THEN COMMIT; END IF;
    END LOOP;
    FOR r IN SELECT * FROM sessmgr.stream(s, 'SELECT i FROM mine WHERE i <= 300') AS s(i int) LOOP
        n := n + 1;
        IF n % 100 = 0 THEN COMMIT; END IF;
    END LOOP;
    RAISE NOTICE '% rows, % busy', n, public.busy();
END $$;
CALL read_and_commit('loop', :'s');
SELECT sessmgr.close(:'s');
-- in mode autocommit it is like a one-liner
SELECT sessmgr.session_factory('loop', '{"transaction": "autocommit", "hold": true}') AS s \gset
SELECT * FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT i FROM numbers ORDER BY i') AS s(i int) LIMIT 1;
SELECT try(format('SELECT * FROM sessmgr.stream(%L::sessmgr.session, ''INSERT INTO numbers VALUES (0) RETURNING i'') AS s(i int)', :'s'));
SELECT sessmgr.in_transaction(:'s'), busy();
SELECT sessmgr.close(:'s');

--
-- Part of the local transaction
--
ALTER SERVER loop OPTIONS (ADD transaction 'joined');
BEGIN;
SELECT count(*) FROM sessmgr.stream('loop', 'SELECT i FROM mine') AS s(i int);
DO $$
DECLARE
    r record;
    n int := 0;
BEGIN
    FOR r IN SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM mine ORDER BY i') AS s(i int) LOOP
        n := n + 1;
        BEGIN
            IF n % 1000 = 0 THEN
                PERFORM sessmgr.execute('loop', 'DELETE FROM mine WHERE i = $1', n);
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
    RAISE NOTICE '% rows, then %', n, sessmgr.scalar('loop', 'SELECT count(*) FROM mine');
END $$;
-- the savepoint that it was opened in is rolled back to
DECLARE c CURSOR FOR SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM mine ORDER BY i') AS s(i int);
SAVEPOINT a;
FETCH 1 FROM c;
ROLLBACK TO a;
SAVEPOINT b;
FETCH 1 FROM c;
ROLLBACK TO b;
SELECT sessmgr.scalar('loop', 'SELECT count(*) FROM mine');
DECLARE d CURSOR FOR SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM mine ORDER BY i') AS s(i int);
FETCH 1 FROM d;
SAVEPOINT e;
FETCH 30 FROM d \g /dev/null
ROLLBACK TO e;
FETCH 1 FROM d;
COMMIT;
SELECT busy();
ALTER SERVER loop OPTIONS (DROP transaction);

--
-- spi:
--
SELECT * FROM sessmgr.stream('spi:', 'SELECT i FROM numbers WHERE i <= $1 ORDER BY i', 2) AS s(i int);
SELECT * FROM sessmgr.stream('spi:', 'SELECT i FROM numbers ORDER BY i') AS s(i int) LIMIT 1;
SELECT * FROM sessmgr.stream('spi:', 'SELECT i FROM numbers WHERE false') AS s(i int);
SELECT s FROM sessmgr.stream('spi:', 'SELECT i FROM numbers WHERE i = $1', 3) AS s(i int);
SELECT try($$SELECT * FROM sessmgr.stream('spi:', 'SELECT 1, 2') AS s(i int)$$);

--
-- Who may
--
CREATE FUNCTION public.definer_cursor() RETURNS refcursor LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    c refcursor := 'definers';
BEGIN
    OPEN c FOR SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers ORDER BY i') AS s(i int);
    RETURN c;
END $$;
CREATE FUNCTION public.definer_rows() RETURNS SETOF int LANGUAGE sql SECURITY DEFINER AS $$
    SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers ORDER BY i') AS s(i int) LIMIT 2 $$;
GRANT SELECT ON near TO regress_sm_none, regress_sm_other;
SET ROLE regress_sm_user;
SELECT * FROM sessmgr.stream('loop', 'SELECT i FROM numbers ORDER BY i') AS s(i int) LIMIT 1;
SET ROLE regress_sm_other;
SELECT try($$SELECT * FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int)$$);
SELECT try($$SELECT * FROM near$$);
SELECT try($$SELECT * FROM sessmgr.stream('loopback:', 'SELECT 1') AS s(i int)$$);
RESET ROLE;
GRANT USAGE ON SCHEMA sessmgr TO regress_sm_none;
SET ROLE regress_sm_none;
SELECT try($$SELECT * FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int)$$);
SELECT try($$SELECT s FROM sessmgr.stream('loop', 'SELECT 1') AS s(i int)$$);
SELECT try($$SELECT * FROM near$$);
SELECT try($$EXPLAIN SELECT * FROM near$$);
SELECT * FROM definer_rows();
BEGIN;
SELECT definer_cursor();
FETCH 1 FROM definers;
ROLLBACK;
RESET ROLE;
REVOKE USAGE ON SCHEMA sessmgr FROM regress_sm_none;
SELECT busy();

-- values mean the same when the client's encoding is another one meanwhile
BEGIN;
DECLARE accents CURSOR FOR
    SELECT a = repeat(chr(233), 2)::varchar AS a, b = ARRAY[chr(233)] AS b
      FROM sessmgr.stream('loop', 'SELECT repeat(chr(233), 2)::varchar, ARRAY[chr(233)] FROM generate_series(1, 50)') AS s(a varchar, b text[]);
FETCH 1 FROM accents;
SET LOCAL client_encoding = 'LATIN1';
FETCH 1 FROM accents;
SHOW client_encoding;
SELECT sessmgr.scalar('loop', 'SELECT 1');
FETCH 1 FROM accents;
COMMIT;

DROP VIEW far, near;
DROP DOMAIN busy_int;
DROP FUNCTION definer_cursor, definer_rows, read_on, read_bad, use_session, savepoint_and_back, savepoint_and_on, plan, how, busy, cursors;
DROP PROCEDURE read_and_commit;
DROP TABLE copied, mixed, numbers;
DROP TYPE color;
SELECT sessmgr.reset();

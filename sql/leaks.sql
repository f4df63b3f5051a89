--
-- Many calls leave nothing behind: no memory of PostgreSQL's, of libpq's, and
-- no descriptor.
--
SET lock_timeout = '20s';
SET client_min_messages = warning;
CREATE SCHEMA lo;
CREATE TABLE lo.t (a integer, b text);
CREATE TABLE lo.measured (nr serial, contexts bigint, ours bigint, rss bigint, descriptors bigint, handles bigint, sessions bigint);
CREATE PROCEDURE lo.measure() LANGUAGE sql AS $$
    INSERT INTO lo.measured (contexts, ours, rss, descriptors, handles, sessions)
    SELECT (SELECT sum(total_bytes) FROM pg_backend_memory_contexts),
           (SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'sessmgr%'),
           anonymous_kb() * 1024,
           (SELECT count(*) FROM pg_ls_dir('/proc/self/fd', true, false)),
           (SELECT count(*) FROM sessmgr.connections), (SELECT count(*) FROM sessmgr.sessions)
$$;
CREATE PROCEDURE lo.one_liners(n integer) LANGUAGE plpgsql AS $$
DECLARE
    v text;
    r record;
BEGIN
    FOR i IN 1 .. n LOOP
        CASE i % 8
            WHEN 0 THEN v := sessmgr.scalar('loop', 'SELECT v FROM kv WHERE k = $1', 1 + i % 10);
            WHEN 1 THEN PERFORM sessmgr.execute('loop', 'UPDATE kv SET v = v WHERE k = $1 AND v = $2', i, v);
            WHEN 2 THEN PERFORM * FROM sessmgr.query('loop', 'SELECT k, v FROM kv WHERE k < $1', 5) AS t(k integer, v text);
            WHEN 3 THEN PERFORM sessmgr.query_as(NULL::kv, 'loop', 'SELECT * FROM kv WHERE k = $1', 1);
            WHEN 4 THEN PERFORM sessmgr.query_json('loop', 'SELECT * FROM kv WHERE k = $1', 1);
            WHEN 5 THEN PERFORM sessmgr.scalar_as(NULL::integer, 'spi:', 'SELECT $1 + 1', i);
            WHEN 6 THEN PERFORM sessmgr.scalar_as(NULL::integer[], 'loop', 'SELECT $1', ARRAY[i, NULL]);
            ELSE v := sessmgr.scalar('loop', 'SELECT ' || i % 500);
        END CASE;
        -- errors of each kind
        IF i % 40 = 0 THEN
            BEGIN
                CASE i % 160
                    WHEN 0 THEN PERFORM sessmgr.scalar('loop', 'SELECT 1 / 0');
                    WHEN 40 THEN PERFORM * FROM sessmgr.query('loop', 'SELECT 1, 2') AS t(a integer);
                    WHEN 80 THEN PERFORM sessmgr.scalar_as(NULL::integer, 'loop', 'SELECT ''x'' FROM generate_series(1, 10)');
                    ELSE PERFORM sessmgr.execute('loop', 'DO $x$ BEGIN RAISE NOTICE ''x''; RAISE EXCEPTION ''y''; END $x$');
                END CASE;
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
        END IF;
    END LOOP;
END $$;
CREATE PROCEDURE lo.sessions(n integer) LANGUAGE plpgsql AS $$
DECLARE
    s sessmgr.session;
    p integer;
BEGIN
    FOR i IN 1 .. n LOOP
        SELECT sessmgr.open(factory) INTO s FROM sessmgr.create_session('loop', i % 10 = 0, CASE i % 3 WHEN 0 THEN '{}' WHEN 1 THEN '{"hold": true}' ELSE '{"transaction": "autocommit"}' END::jsonb);
        PERFORM sessmgr.execute(s, 'UPDATE kv SET v = v WHERE k = $1', i % 10);
        p := sessmgr.begin_nested(s);
        PERFORM sessmgr.scalar(s, 'SELECT 1'), sessmgr.rollback_to(s, p);
        IF i % 2 = 0 THEN PERFORM sessmgr.commit(s); END IF;
        IF i % 5 = 0 THEN
            BEGIN
                PERFORM sessmgr.open(factory) FROM sessmgr.create_session('loop');
                PERFORM sessmgr.scalar(s, 'SELECT 1 / 0');
            EXCEPTION WHEN division_by_zero THEN
                NULL;
            END;
        END IF;
        PERFORM sessmgr.close(s);
    END LOOP;
END $$;
CREATE PROCEDURE lo.engines(n integer) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n LOOP
        PERFORM sessmgr.scalar('loop', 'SELECT 1'), sessmgr.invalidate('loop');
    END LOOP;
END $$;
-- the first round makes what is kept, the others must add nothing to it
CALL lo.one_liners(2000);
CALL lo.sessions(200);
CALL lo.engines(20);
CALL lo.one_liners(2000);
CALL lo.measure();
CALL lo.one_liners(10000);
CALL lo.sessions(500);
CALL lo.engines(50);
CALL lo.one_liners(2000);
CALL lo.measure();
CALL lo.one_liners(10000);
CALL lo.sessions(500);
CALL lo.engines(50);
CALL lo.one_liners(2000);
CALL lo.measure();
SELECT CASE WHEN b.contexts - a.contexts < 50000 THEN 'no growth' ELSE format('%s more bytes', b.contexts - a.contexts) END AS contexts,
       CASE WHEN b.ours <= a.ours THEN 'no growth' ELSE format('%s more bytes', b.ours - a.ours) END AS "sessmgr's",
       CASE WHEN b.rss - a.rss > 500000 THEN format('%s more bytes', b.rss - a.rss) ELSE 'no growth' END AS process,
       -- the server closes files of its own now and then
       greatest(b.descriptors - a.descriptors, 0) AS descriptors, b.handles AS connections, b.sessions
  FROM lo.measured a, lo.measured b WHERE a.nr = 2 AND b.nr = 3;
SELECT sessmgr.reset();
-- without any connection there is nothing of ours
SELECT name, count(*) FROM pg_backend_memory_contexts WHERE name LIKE 'sessmgr%' AND name NOT IN ('sessmgr engines', 'sessmgr handles') GROUP BY 1 ORDER BY 1;
DROP SCHEMA lo CASCADE;

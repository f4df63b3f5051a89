-- What bench/run makes on the local server: names for the remote one, whose
-- socket is in :host, and the loops that it measures.
CREATE EXTENSION sessmgr;
CREATE EXTENSION dblink;
CREATE EXTENSION postgres_fdw;

ALTER DATABASE postgres SET bench.remote = :'remote';
SET bench.remote = :'remote';

CREATE UNLOGGED TABLE t (i integer, v text);
CREATE UNLOGGED TABLE source AS
    SELECT i, 'some text of no great length' AS v FROM generate_series(1, :source_rows) i;
ANALYZE source;

--
-- Names.  Targets of a fan-out are many servers by name, though one in fact.
--
CREATE PROCEDURE make_server(name text, wrapper text, options text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER %I OPTIONS (%s)', name, wrapper, options);
    EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I OPTIONS (user %L)', name, 'postgres');
END $$;

SELECT format('host %L, port ''5432'', dbname ''postgres''', :'host') AS there \gset

CALL make_server('remote', 'sessmgr', :'there');
CALL make_server('remote_closed', 'sessmgr', :'there' || $$, poolclass 'NullPool'$$);
CALL make_server('fdw', 'postgres_fdw', :'there');
CALL make_server('fdw_tuned', 'postgres_fdw', :'there' || $$, fetch_size '10000', batch_size '1000', use_remote_estimate 'true'$$);
CALL make_server('fdw_closed', 'postgres_fdw', :'there' || $$, keep_connections 'off'$$);
SELECT format('CALL make_server(%L, %L, %L)', 'target' || i, 'sessmgr', :'there') FROM generate_series(1, 64) i \gexec
SELECT format('CALL make_server(%L, %L, %L)', 'fdw_target' || i, 'postgres_fdw', :'there' || $$, async_capable 'true'$$)
    FROM generate_series(1, :targets) i \gexec

CREATE FOREIGN TABLE kv_fdw (k integer, v text) SERVER fdw OPTIONS (table_name 'kv');
CREATE FOREIGN TABLE kv_fdw_tuned (k integer, v text) SERVER fdw_tuned OPTIONS (table_name 'kv');
CREATE FOREIGN TABLE kv_fdw_closed (k integer, v text) SERVER fdw_closed OPTIONS (table_name 'kv');
CREATE FOREIGN TABLE numbers_fdw (i integer, f float8, t text, ts timestamptz) SERVER fdw OPTIONS (table_name 'numbers');
CREATE FOREIGN TABLE numbers_fdw_tuned (i integer, f float8, t text, ts timestamptz) SERVER fdw_tuned OPTIONS (table_name 'numbers');
CREATE FOREIGN TABLE source_fdw (i integer, v text) SERVER fdw OPTIONS (table_name 'source');
CREATE FOREIGN TABLE source_fdw_tuned (i integer, v text) SERVER fdw_tuned OPTIONS (table_name 'source');
CREATE FOREIGN TABLE t_fdw (i integer, v text) SERVER fdw OPTIONS (table_name 't');
CREATE FOREIGN TABLE t_fdw_tuned (i integer, v text) SERVER fdw_tuned OPTIONS (table_name 't');

CREATE TABLE naps (x integer);
SELECT format('CREATE FOREIGN TABLE nap%s () INHERITS (naps) SERVER fdw_target%1$s OPTIONS (table_name ''nap'')', i)
    FROM generate_series(1, :targets) i \gexec

--
-- Measuring
--

-- Milliseconds that a statement takes with n in place of @n, after it has run
-- with warm there, so that connections are open and statements prepared.
CREATE FUNCTION measure(statement text, n bigint, warm bigint) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz;
BEGIN
    EXECUTE replace(statement, '@n', warm::text);
    start := clock_timestamp();
    EXECUTE replace(statement, '@n', n::text);
    RETURN round(extract(epoch FROM clock_timestamp() - start) * 1000, 3);
END $$;

-- Bytes of this process: what it has in memory now (VmRSS), or had at most (VmHWM).
CREATE FUNCTION process_bytes(what text) RETURNS bigint LANGUAGE sql AS $$
    SELECT substring(pg_read_file('/proc/self/status') FROM what || ':\s+(\d+) kB')::bigint * 1024 $$;

-- All of these must be n, so that nobody is fast by reading less.
CREATE FUNCTION expect(n bigint, VARIADIC counts bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    ASSERT n = ALL (counts), format('%s rows instead of %s', counts, n);
END $$;

-- Makes loop_NAME(n): the statement for i from 1 to n, which leaves the value of
-- key i in x.
CREATE PROCEDURE make_loop(name text, statement text, declarations text DEFAULT '',
                           at_end text DEFAULT 'ASSERT x = md5(n::text);') LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE FUNCTION loop_%s(n integer) RETURNS void LANGUAGE plpgsql AS %L', name,
        format('DECLARE x text; %s BEGIN FOR i IN 1..n LOOP %s; END LOOP; %s END', declarations, statement, at_end));
END $$;

--
-- One row by key
--
CREATE FUNCTION dblink_open(name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF name = ANY (dblink_get_connections()) THEN
        RETURN name;
    END IF;
    PERFORM dblink_connect(name, current_setting('bench.remote'));
    RETURN name;
END $$;

CALL make_loop('scalar', $$x := sessmgr.scalar('remote', 'SELECT v FROM kv WHERE k = $1', i)$$);
CALL make_loop('scalar_as', $$x := sessmgr.scalar_as(NULL::text, 'remote', 'SELECT v FROM kv WHERE k = $1', i)$$);
CALL make_loop('session_scalar', $$x := sessmgr.scalar(s, 'SELECT v FROM kv WHERE k = $1', i)$$,
    $$s sessmgr.session := sessmgr.session_factory('remote');$$, $$PERFORM sessmgr.commit(s);$$);
CALL make_loop('session_scalar_as', $$x := sessmgr.scalar_as(NULL::text, s, 'SELECT v FROM kv WHERE k = $1', i)$$,
    $$s sessmgr.session := sessmgr.session_factory('remote');$$, $$PERFORM sessmgr.commit(s);$$);
CALL make_loop('dblink', $$x := (SELECT v FROM dblink(c, 'SELECT v FROM kv WHERE k = ' || i) AS r(v text))$$,
    $$c text := dblink_open('c');$$);
CALL make_loop('fdw', $$x := (SELECT v FROM kv_fdw WHERE k = i)$$);
CALL make_loop('fdw_tuned', $$x := (SELECT v FROM kv_fdw_tuned WHERE k = i)$$);

-- For pgbench, whose every statement finds the connection that the first one made.
CREATE FUNCTION by_key_dblink(k integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT v FROM dblink(dblink_open('c'), 'SELECT v FROM kv WHERE k = ' || k) AS r(v text));
END $$;

--
-- Without a kept connection
--
CALL make_loop('scalar_closed', $$x := sessmgr.scalar('remote_closed', 'SELECT v FROM kv WHERE k = $1', i)$$);
CALL make_loop('scalar_reset',
    $$x := sessmgr.scalar('remote', 'SELECT v FROM kv WHERE k = $1', i); PERFORM sessmgr.reset()$$);
CALL make_loop('dblink_closed', $$x := (SELECT v FROM dblink(c, 'SELECT v FROM kv WHERE k = ' || i) AS r(v text))$$,
    $$c text := current_setting('bench.remote');$$);

-- postgres_fdw closes its connections at the end of a transaction, or of never.
CREATE PROCEDURE loop_fdw_closed(n integer, INOUT milliseconds numeric DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz;
    x text;
BEGIN
    x := (SELECT v FROM kv_fdw_closed WHERE k = 1);
    COMMIT;
    start := clock_timestamp();
    FOR i IN 1..n LOOP
        x := (SELECT v FROM kv_fdw_closed WHERE k = i);
        COMMIT;
    END LOOP;
    milliseconds := round(extract(epoch FROM clock_timestamp() - start) * 1000, 3);
END $$;

--
-- Inserts with parameters
--
CALL make_loop('insert_dblink',
    $$PERFORM dblink_exec(c, format('INSERT INTO t VALUES (%s, %L)', i, 'some text of no great length'))$$,
    $$c text := dblink_open('c');$$, '');

CREATE FUNCTION insert_dblink(n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dblink_exec(dblink_open('c'), 'BEGIN');
    PERFORM loop_insert_dblink(n);
    PERFORM dblink_exec('c', 'COMMIT');
END $$;

--
-- Many targets
--
CREATE FUNCTION targets(n integer) RETURNS text[] LANGUAGE sql AS
    $$SELECT array_agg('target' || i ORDER BY i) FROM generate_series(1, n) i$$;

CREATE FUNCTION gather_dblink(n integer, statement text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..n LOOP
        PERFORM dblink_send_query(dblink_open('c' || i), statement);
    END LOOP;
    FOR i IN 1..n LOOP
        PERFORM * FROM dblink_get_result('c' || i) AS r(x text);
        PERFORM * FROM dblink_get_result('c' || i) AS r(x text);    -- their end
    END LOOP;
END $$;

-- A statement on each of n targets, which opens a connection to each.
CREATE FUNCTION connect_sessmgr(n integer) RETURNS void LANGUAGE sql AS
    $$SELECT sessmgr.scalar('target' || i, 'SELECT 1') FROM generate_series(1, n) i$$;
CREATE FUNCTION connect_dblink(n integer) RETURNS void LANGUAGE sql AS
    $$SELECT x FROM generate_series(1, n) i, dblink(dblink_open('c' || i), 'SELECT 1') AS r(x integer)$$;

-- Bytes a connection, of n; the first one loads what all share.
CREATE FUNCTION connection_bytes(connect regproc, n integer) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    before bigint;
BEGIN
    EXECUTE format('SELECT %s(1)', connect);
    before := process_bytes('VmRSS');
    EXECUTE format('SELECT %s(%s)', connect, n + 1);
    RETURN round((process_bytes('VmRSS') - before)::numeric / n);
END $$;

--
-- Engines that nothing connects to
--
CREATE FUNCTION engine_names(engines integer) RETURNS text[] LANGUAGE sql AS
    $$SELECT array_agg('host=/nowhere dbname=database' || i) FROM generate_series(1, engines) i$$;

CREATE FUNCTION loop_get_engine(engines integer, n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text[] := engine_names(engines);
    name text;
    x sessmgr.engine;
BEGIN
    FOR i IN 1..n / engines LOOP
        FOREACH name IN ARRAY names LOOP
            x := sessmgr.get_engine(name);
        END LOOP;
    END LOOP;
END $$;

-- The same with a function that does nothing to speak of.
CREATE FUNCTION loop_nothing(engines integer, n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text[] := engine_names(engines);
    name text;
    x integer;
BEGIN
    FOR i IN 1..n / engines LOOP
        FOREACH name IN ARRAY names LOOP
            x := octet_length(name);
        END LOOP;
    END LOOP;
END $$;

CREATE FUNCTION context_bytes() RETURNS numeric LANGUAGE sql AS
    $$SELECT sum(total_bytes) FROM pg_backend_memory_contexts$$;

CREATE FUNCTION engine_bytes(engines integer) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    before numeric;
BEGIN
    PERFORM loop_get_engine(1, 1), context_bytes();
    before := context_bytes();
    PERFORM loop_get_engine(engines, engines);
    RETURN round((context_bytes() - before) / engines);
END $$;

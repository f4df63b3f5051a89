--
-- An engine's connections
--
SELECT current_database() AS db, current_user AS me \gset
SELECT sessmgr.reset();
CREATE SERVER pl FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db');
CREATE USER MAPPING FOR CURRENT_USER SERVER pl OPTIONS (user :'me');
CREATE FUNCTION pid(dburi text DEFAULT 'pl') RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT sessmgr.scalar(dburi, 'SELECT pg_backend_pid()')::int $$;
CREATE FUNCTION pid(s sessmgr.session) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT sessmgr.scalar(s, 'SELECT pg_backend_pid()')::int $$;
CREATE FUNCTION pool() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT format('%s connects, %s checkouts, %s idle, %s out', connects, checkouts, idle, checked_out) FROM sessmgr.engines WHERE dburi = 'pl'
$$;
CREATE FUNCTION fresh(options jsonb) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT sessmgr.invalidate('pl'); SELECT sessmgr.get_engine('pl', options); SELECT;
$$;
-- a number of sessions that hold a connection each, closed again in the order of opening
CREATE FUNCTION spread(n int) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    s sessmgr.session[];
    pids int[];
BEGIN
    FOR i IN 1..n LOOP s[i] := sessmgr.session_factory('pl'); pids[i] := pid(s[i]); END LOOP;
    FOR i IN 1..n LOOP PERFORM sessmgr.close(s[i]); END LOOP;
    RETURN pids;
END $$;

--
-- Reuse
--
SELECT pid() = pid() AS same, pid() <> pg_backend_pid() AS another;
SELECT pool();
-- a session has none until it needs one, and keeps it for its transaction
BEGIN;
SELECT sessmgr.session_factory('pl') AS s \gset
SELECT pool();
SELECT pid(:'s'::sessmgr.session) = pid(:'s'::sessmgr.session) AS same, pid(:'s'::sessmgr.session) = pid() AS shared;
SELECT pool();
SELECT sessmgr.commit(:'s');
SELECT pool();
COMMIT;
-- several roles never share one
SET ROLE regress_sm_user;
SELECT sessmgr.scalar('loop', 'SELECT pg_backend_pid()') AS theirs \gset
RESET ROLE;
SELECT sessmgr.scalar('loop', 'SELECT pg_backend_pid()') = :'theirs' AS shared;
-- an error in a statement does not cost the connection
SELECT try($$SELECT sessmgr.scalar('pl', 'SELECT 1/0')$$);
SELECT try($$SELECT sessmgr.scalar('pl', 'SELEC')$$);
SELECT pool();

--
-- pool_size, max_overflow, pool_timeout
--
SELECT fresh('{"pool_size": 2, "max_overflow": 1, "pool_timeout": "20ms"}');
BEGIN;
SELECT sessmgr.session_factory('pl') AS s1, sessmgr.session_factory('pl') AS s2, sessmgr.session_factory('pl') AS s3, sessmgr.session_factory('pl') AS s4 \gset
SELECT pid(:'s1'::sessmgr.session) NOT IN (pid(:'s2'::sessmgr.session), pid(:'s3'::sessmgr.session)) AS different;
SELECT pool();
SELECT try(format('SELECT pid(%L::sessmgr.session)', :'s4'));
SELECT try('SELECT pid()');
SELECT pool();
-- a place becomes free
SELECT sessmgr.rollback(:'s2');
SELECT try(format('SELECT pid(%L::sessmgr.session) > 0', :'s4'));
-- those beyond pool_size are not kept
SELECT sessmgr.close(:'s1'), sessmgr.close(:'s2'), sessmgr.close(:'s3'), sessmgr.close(:'s4');
SELECT pool();
COMMIT;
-- there is nobody to wait for
SELECT fresh('{"pool_size": 1, "max_overflow": 0, "pool_timeout": "1h"}');
BEGIN;
SELECT pid(sessmgr.session_factory('pl')) > 0 AS holds;
SET LOCAL statement_timeout = '60s';
SELECT try('SELECT pid()');
ROLLBACK;
SELECT pool();
SELECT pid() > 0 AS works;
-- no limit at all
SELECT fresh('{"pool_size": 1, "max_overflow": 0, "pool_timeout": 0}');
BEGIN;
SELECT pid(sessmgr.session_factory('pl')) > 0 AS holds;
SELECT try('SELECT pid()');
ROLLBACK;
SELECT fresh('{"pool_size": 1, "max_overflow": -1, "pool_timeout": 0}');
SELECT (SELECT count(DISTINCT p) FROM unnest(spread(20)) p);
SELECT pool();

--
-- NullPool
--
SELECT fresh('{"poolclass": "NullPool", "pool_size": 1, "max_overflow": 0, "pool_timeout": 0}');
SELECT pid() = pid() AS same;
SELECT pool();
SELECT (SELECT count(DISTINCT p) FROM unnest(spread(3)) p);
SELECT pool();
BEGIN;
SELECT sessmgr.session_factory('pl') AS s \gset
SELECT pid(:'s'::sessmgr.session) = pid(:'s'::sessmgr.session) AS same_in_transaction;
ROLLBACK;
SELECT pool();

--
-- pool_use_lifo: the last one used, or the one that waits longest
--
SELECT fresh('{"pool_use_lifo": true}');
SELECT spread(3) AS p \gset
SELECT array_position(:'p', pid()) AS a, array_position(:'p', pid()) AS b, array_position(:'p', pid()) AS c, array_position(:'p', pid()) AS d;
SELECT fresh('{"pool_use_lifo": false}');
SELECT spread(3) AS p \gset
SELECT array_position(:'p', pid()) AS a, array_position(:'p', pid()) AS b, array_position(:'p', pid()) AS c, array_position(:'p', pid()) AS d;
SELECT pool();

--
-- pool_recycle
--
SELECT fresh('{"pool_recycle": "1h"}');
SELECT pid() = pid() AS same;
SELECT recycle_at - connected_at BETWEEN '54 min' AND '60 min' AS in_time FROM sessmgr.connections WHERE dburi = 'pl';
-- not all at the same time
SELECT spread(5) IS NOT NULL AS spread;
SELECT count(DISTINCT recycle_at - connected_at) > 1 AS random FROM sessmgr.connections WHERE dburi = 'pl';
SELECT fresh('{"pool_recycle": "50ms"}');
SELECT pid() AS p \gset
SELECT pg_sleep(0.1);
SELECT pid() = :p AS same;
SELECT fresh('{"pool_recycle": 0}');
SELECT pid() = pid() AS same;
SELECT fresh('{}');
SELECT pid() = pid() AS same;
SELECT recycle_at FROM sessmgr.connections WHERE dburi = 'pl';

--
-- Dead connections are found without a round trip; their siblings go; one connect
--
SELECT fresh('{}');
SELECT spread(3) AS p \gset
SELECT pool();
SELECT pg_terminate_backend((:'p'::int[])[3], 10000) AS killed;
SELECT pid() = ANY (:'p') AS reused;
SELECT pool();
-- the oldest was killed: the others live, are younger and stay
SELECT fresh('{"pool_use_lifo": false}');
SELECT spread(3) AS p \gset
SELECT pg_terminate_backend((:'p'::int[])[1], 10000) AS killed;
SELECT array_position(:'p', pid()) AS a, array_position(:'p', pid()) AS b;
SELECT pool();
-- all were killed
SELECT fresh('{}');
SELECT spread(4) AS p \gset
SELECT bool_and(pg_terminate_backend(p, 10000)) AS killed FROM unnest(:'p'::int[]) p;
SELECT sessmgr.scalar('pl', 'SELECT ''first try''');
SELECT pool();
-- killed while a session is in a transaction: the truth, and nothing is tried again
BEGIN;
SELECT sessmgr.session_factory('pl') AS s \gset
SELECT pg_terminate_backend(pid(:'s'::sessmgr.session), 10000) AS killed;
SELECT left(try(format('SELECT pid(%L::sessmgr.session)', :'s')), 5) IN ('57P01', '08006') AS lost;
SELECT split_part(try(format('SELECT pid(%L::sessmgr.session)', :'s')), ' |', 1) AS again;
SELECT sessmgr.rollback(:'s');
SELECT pid(:'s'::sessmgr.session) > 0 AS works;
SELECT pool();
ROLLBACK;

--
-- pool_pre_ping: a round trip before each reuse
--
SELECT fresh('{"pool_pre_ping": false}');
SELECT pid() = pid() AS same;
SELECT statements FROM sessmgr.connections WHERE dburi = 'pl' \gset
SELECT pid() > 0 AS used;
SELECT statements - :statements AS without_ping FROM sessmgr.connections WHERE dburi = 'pl';
SELECT fresh('{"pool_pre_ping": true}');
SELECT pid() = pid() AS same;
SELECT statements FROM sessmgr.connections WHERE dburi = 'pl' \gset
SELECT pid() > 0 AS used;
SELECT statements - :statements AS with_ping FROM sessmgr.connections WHERE dburi = 'pl';
SELECT pg_terminate_backend(pid(), 10000) AS killed;
SELECT pid() > 0 AS works;
SELECT pool();

--
-- pool_reset_on_return
--
CREATE FUNCTION left_behind() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sessmgr.execute('pl', 'SET work_mem = ''123kB''');
    PERFORM sessmgr.execute('pl', 'CREATE TEMP TABLE left_behind (a int)');
    RETURN concat_ws(', ', sessmgr.scalar('pl', 'SHOW work_mem'), sessmgr.scalar('pl', 'SELECT to_regclass(''left_behind'')'),
                     sessmgr.scalar('pl', 'SELECT count(*) FROM pg_prepared_statements') || ' statements');
END $$;
SELECT fresh('{}');
SELECT left_behind() AS rollback;
SELECT fresh('{"pool_reset_on_return": "none"}');
SELECT left_behind() AS none;
SELECT fresh('{"pool_reset_on_return": "discard"}');
SELECT left_behind() <> '123kB, left_behind' AS discard, sessmgr.scalar('pl', 'SELECT to_regclass(''left_behind'')') IS NULL AS no_table,
       sessmgr.scalar('pl', 'SHOW work_mem') <> '123kB' AS no_setting;
SELECT pool();
-- what sessmgr relies on is set up anew, and prepared statements work
SELECT sessmgr.scalar('pl', 'SELECT $1::interval || '' '' || current_setting(''IntervalStyle'') || '' '' || current_setting(''DateStyle'')', '1 day'::interval),
       sessmgr.scalar('pl', 'SELECT $1::int + 1', 1), sessmgr.scalar('pl', 'SELECT $1::int + 1', 2);
-- whatever the mode, no transaction is left open
CREATE FUNCTION leaves_open(mode text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    s sessmgr.session;
BEGIN
    PERFORM fresh(jsonb_build_object('pool_reset_on_return', mode));
    s := sessmgr.session_factory('pl');
    PERFORM sessmgr.execute(s, 'CREATE TABLE left_open (a int)');
    PERFORM sessmgr.close(s), pg_stat_clear_snapshot();
    RETURN concat_ws(', ', pool(), sessmgr.scalar('pl', 'SELECT to_regclass(''left_open'')'),
                     (SELECT string_agg(state, ' ') FROM pg_stat_activity WHERE pid IN (SELECT remote_pid FROM sessmgr.connections WHERE dburi = 'pl')));
END $$;
SELECT mode, leaves_open(mode) FROM unnest(ARRAY['rollback', 'discard', 'none']) mode;
DROP FUNCTION leaves_open;
DROP FUNCTION left_behind;

--
-- A connection that was checked out when its engine changed or went is not kept
--
SELECT fresh('{}');
BEGIN;
SELECT sessmgr.session_factory('pl') AS s \gset
SELECT pid(:'s'::sessmgr.session) AS p \gset
ALTER SERVER pl OPTIONS (ADD application_name 'changed');
SELECT sessmgr.get_engine('pl') IS NOT NULL AS looked;
SELECT sessmgr.commit(:'s');
SELECT pid() = :p AS reused;
SELECT sessmgr.close(:'s');
COMMIT;
SELECT pool();

-- dispose
SELECT sessmgr.get_engine('pl') AS e \gset
SELECT spread(2) AS p \gset
SELECT sessmgr.dispose(:'e');
DO $$
BEGIN
    FOR i IN 1..1000 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'changed');
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP;
END $$;
SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (:'p');
SELECT pid() = ANY (:'p') AS reused;
SELECT pool();
-- smaller limits for an engine that has connections already
SELECT fresh('{}');
SELECT spread(4) IS NOT NULL AS spread;
ALTER SERVER pl OPTIONS (ADD pool_size '1', ADD max_overflow '0', ADD pool_timeout '0');
SELECT pid() > 0 AS works;
SELECT pool();
SELECT try('SELECT spread(5)');
SELECT pool();

SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP SERVER pl CASCADE;
RESET client_min_messages;
DROP FUNCTION pid(text), pid(sessmgr.session), pool, fresh, spread;

--
-- The manager: engines, factories and sessions, kept for (role, dburi)
--
SET search_path = public, sessmgr;	-- for the operators of handles
SELECT sessmgr.reset();

SELECT sessmgr.forked();

--
-- get_engine
--
SELECT sessmgr.get_engine('loop') AS e \gset
SELECT sessmgr.get_engine('loop') = :'e' AS same, sessmgr.get_engine(dburi => 'loop', options => '{}') = :'e' AS same,
       sessmgr.get_engine('loopback:') = :'e' AS other, sessmgr.get_engine('spi:') = :'e' AS other;
SELECT dburi, driver, hits, connects, checkouts, idle, checked_out, pool_size, max_overflow, prepared
  FROM sessmgr.engines ORDER BY dburi COLLATE "C";

-- the same target for another role is another engine
SET ROLE regress_sm_user;
SELECT sessmgr.get_engine('loop') = :'e' AS same;
RESET ROLE;
SELECT role = 'regress_sm_user' AS users, count(*) FROM sessmgr.engines WHERE dburi = 'loop' GROUP BY 1 ORDER BY 1;

-- nothing connects before it must
SELECT sum(connects) FROM sessmgr.engines;

-- NULL, wrong options; none of them leaves an engine behind
SELECT call, try('SELECT sessmgr.' || call) AS outcome
  FROM unnest(ARRAY['get_engine(NULL)', 'get_engine(''spi:'', NULL)', 'get_engine('''')',
                    'create_session(NULL)', 'create_session(''spi:'', NULL)', 'create_session(''spi:'', false, NULL)',
                    'session_factory(NULL)', 'session_factory(''spi:'', NULL)', 'invalidate(NULL)',
                    'invalidate('''')', 'invalidate(''postgresql://'')',
                    'open(NULL)', 'dispose(NULL)', 'prepared(NULL)', 'prepare_models(NULL)',
                    'get_engine(''none'')', 'session_factory(''none'')', 'create_session(''none'')',
                    'get_engine(''spi:'', ''[]'')', 'get_engine(''spi:'', ''1'')', 'get_engine(''spi:'', ''null'')',
                    'get_engine(''loopback:x'', ''{"pool_size": 0}'')', 'create_session(''loopback:x'', false, ''{"pool_size": 0}'')',
                    'create_session(''loopback:x'', false, ''{"hold": 7}'')']) call;
SELECT try('SELECT sessmgr.get_engine(''loopback:y'', ''[]'')') AS not_cached;
SELECT dburi, count(*) FROM sessmgr.engines GROUP BY dburi ORDER BY dburi COLLATE "C";

--
-- A call that contradicts an engine
--
SELECT options, try(format('SELECT sessmgr.get_engine(''loop'', %L) = %L', options, :'e')) AS outcome
  FROM unnest(ARRAY['{}', '{"pool_size": 5}', '{"pool_size": "5", "max_overflow": 10}', '{"pool_size": 6}',
                    '{"pool_timeout": "30s"}', '{"pool_timeout": 30}', '{"pool_timeout": 31}', '{"poolclass": "NullPool"}',
                    '{"statement_timeout": "1min"}', '{"connect_args": {}}',
                    '{"connect_args": {"application_name": "a"}}']) options;
SELECT options, try(format('SELECT engine = %L FROM sessmgr.create_session(''loop'', options => %L)', :'e', options)) AS outcome
  FROM unnest(ARRAY['{"pool_size": 6}', '{"pool_size": 6, "hold": true}', '{"hold": true}', '{"pool_size": 5, "hold": true}']) options;
SELECT try('SELECT sessmgr.session_factory(''loop'', ''{"pool_size": 6}'')');
-- after invalidate it is made as asked for, and keeps that
SELECT sessmgr.invalidate('loop');
SELECT sessmgr.get_engine('loop', '{"pool_size": 6, "connect_args": {"application_name": "a"}}') = :'e' AS same;
SELECT options, try(format('SELECT sessmgr.get_engine(''loop'', %L) = sessmgr.get_engine(''loop'')', options)) AS outcome
  FROM unnest(ARRAY['{}', '{"pool_size": 6}', '{"pool_size": 5}', '{"connect_args": {"application_name": "a"}}',
                    '{"connect_args": {"application_name": "b"}}', '{"connect_args": {}}',
                    '{"connect_args": {"application_name": "a", "keepalives": 1}}']) options;
SELECT sessmgr.scalar('loop', 'SHOW application_name');

--
-- create_session
--
SELECT engine AS e, factory AS f FROM sessmgr.create_session('loop') \gset
SELECT engine = :'e' AS engine, factory = :'f' AS factory FROM sessmgr.create_session('loop', options => '{}');
SELECT engine = sessmgr.get_engine('loop') AS engine FROM sessmgr.create_session('loop');
-- session options make another factory on the same engine; the same options the same
SELECT factory AS h FROM sessmgr.create_session('loop', options => '{"hold": true}') \gset
SELECT engine = :'e' AS engine, factory = :'f' AS plain, factory = :'h' AS hold
  FROM sessmgr.create_session('loop', options => '{"hold": true}');
SELECT factory = :'f' AS plain FROM sessmgr.create_session('loop', options => '{"hold": false, "read_only": "default"}');
SELECT factory = :'h' AS hold FROM sessmgr.create_session('loop', options => '{"hold": 1}');
SELECT factory NOT IN (:'f', :'h') AS another FROM sessmgr.create_session('loop', options => '{"read_only": true}');

-- short-lived: never the cached one, and the cached one stays
BEGIN;
SELECT engine = :'e' AS engine, factory = :'f' AS cached, factory AS s1 FROM sessmgr.create_session('loop', true) \gset
SELECT :'engine' AS engine, :'cached' AS cached;
SELECT factory AS s2 FROM sessmgr.create_session('loop', short_lived_sessions => true) \gset
SELECT :'s1' = :'s2' AS same;
SELECT factory = :'f' AS cached FROM sessmgr.create_session('loop');
SELECT sessmgr.scalar(sessmgr.open(:'s1'), 'SELECT 1');
SELECT sessmgr.scalar(sessmgr.open(:'f'), 'SELECT 2');
SELECT sessmgr.scalar(sessmgr.open(:'s1'), 'SELECT 3');
ROLLBACK;
SELECT try(format('SELECT sessmgr.open(%L)', :'s1'));
SELECT try(format('SELECT sessmgr.open(%L) IS NOT NULL', :'f'));
SELECT factory AS s3 FROM sessmgr.create_session('loop', true) \gset
SELECT try(format('SELECT sessmgr.open(%L)', :'s3'));
-- its options are its own
BEGIN;
SELECT factory AS s4 FROM sessmgr.create_session('loop', true, '{"read_only": true}') \gset
SELECT sessmgr.scalar(sessmgr.open(:'s4'), 'SHOW transaction_read_only') AS short_lived,
       sessmgr.scalar(sessmgr.open(:'f'), 'SHOW transaction_read_only') AS cached;
ROLLBACK;

--
-- session_factory opens a session, each time another
--
BEGIN;
SELECT sessmgr.session_factory('loop') = sessmgr.session_factory('loop') AS same;
SELECT sessmgr.session_factory('loop', '{"hold": true, "transaction": "autocommit"}') AS s \gset
SELECT state, transaction, hold, count(*) FROM sessmgr.sessions GROUP BY 1, 2, 3 ORDER BY hold;
COMMIT;
SELECT state, transaction, hold FROM sessmgr.sessions;
SELECT sessmgr.close(:'s');
SELECT count(*) FROM sessmgr.sessions;
SELECT sessmgr.prepared(sessmgr.get_engine('loop')) AS by_session_factory;
SELECT sessmgr.prepared(sessmgr.get_engine('loop'), 'nothing') AS others;

--
-- invalidate
--
SELECT sessmgr.invalidate('nowhere'), sessmgr.invalidate('loop'), sessmgr.invalidate('loop');
-- only the current role's
SELECT sessmgr.get_engine('loop') AS e, factory AS f FROM sessmgr.create_session('loop') \gset
SET ROLE regress_sm_user;
SELECT sessmgr.get_engine('loop') IS NOT NULL AS made, sessmgr.invalidate('loop'), sessmgr.invalidate('loop');
RESET ROLE;
SELECT sessmgr.get_engine('loop') = :'e' AS mine_is_there;
-- a session in a transaction may finish it, no other may go on
BEGIN;
SELECT sessmgr.open(:'f') AS busy \gset
SELECT sessmgr.open(:'f') AS idle \gset
SELECT sessmgr.execute(:'busy'::sessmgr.session, 'INSERT INTO kv VALUES (100, ''busy'')');
SELECT sessmgr.invalidate('loop');
SELECT try(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT 1'')', :'idle')) AS idle;
SELECT try(format('SELECT sessmgr.begin(%L)', :'idle')) AS idle;
SELECT try(format('SELECT sessmgr.open(%L)', :'f')) AS factory;
SELECT try(format('SELECT sessmgr.dispose(%L)', :'e')) AS engine;
SELECT sessmgr.scalar(:'busy'::sessmgr.session, 'SELECT v FROM kv WHERE k = 100');
-- a new engine does not disturb it
SELECT sessmgr.scalar('loop', 'SELECT count(*) FROM kv WHERE k = 100') AS not_yet;
SELECT sessmgr.commit(:'busy');
SELECT try(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT 1'')', :'busy')) AS busy;
SELECT sessmgr.scalar('loop', 'SELECT count(*) FROM kv WHERE k = 100') AS now;
SELECT sessmgr.close(:'busy'), sessmgr.close(:'idle');
COMMIT;
DELETE FROM kv WHERE k = 100;
-- from within its own statement
SELECT try($$SELECT sessmgr.scalar('spi:', 'SELECT sessmgr.invalidate(''spi:'')')$$);
SELECT try($$SELECT sessmgr.scalar('spi:', 'SELECT sessmgr.invalidate(''spi:'')')$$);

--
-- dispose
--
SELECT sessmgr.reset();
BEGIN;
SELECT sessmgr.execute(sessmgr.session_factory('loop'), 'SELECT 1'), sessmgr.execute(sessmgr.session_factory('loop'), 'SELECT 1');
SELECT sessmgr.dispose(sessmgr.get_engine('loop')) AS none_idle;
ROLLBACK;
SELECT connects, idle, checked_out FROM sessmgr.engines;
SELECT sessmgr.dispose(sessmgr.get_engine('loop'));
SELECT sessmgr.dispose(sessmgr.get_engine('loop'));
SELECT connects, idle, checked_out FROM sessmgr.engines;
SELECT sessmgr.scalar('loop', 'SELECT 1');
SELECT connects, idle, checked_out FROM sessmgr.engines;
SELECT sessmgr.dispose(sessmgr.get_engine('spi:'));

--
-- reset, DISCARD ALL
--
CREATE FUNCTION kept() RETURNS text LANGUAGE sql AS $$
    SELECT format('%s engines, %s sessions, %s connections', (SELECT count(*) FROM sessmgr.engines),
                  (SELECT count(*) FROM sessmgr.sessions), (SELECT count(*) FROM sessmgr.connections))
$$;
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO kv VALUES (100, ''lost'')');
SELECT kept();
SELECT sessmgr.reset();
SELECT kept();
SELECT try(format('SELECT sessmgr.commit(%L)', :'s'));
SELECT sessmgr.close(:'s');
SELECT count(*) FROM kv WHERE k = 100;

SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1');
DISCARD TEMP;
DISCARD PLANS;
SELECT kept();
BEGIN;
DISCARD ALL;
ROLLBACK;
SELECT kept() AS refused_in_transaction;
DISCARD ALL;
SELECT public.kept();
SET search_path = public, sessmgr;
-- in the middle of a transaction, and while a statement is running
BEGIN;
SELECT sessmgr.execute(sessmgr.session_factory('loop'), 'INSERT INTO kv VALUES (100, ''lost'')');
SELECT try($$SELECT sessmgr.scalar('spi:', 'SELECT sessmgr.reset()')$$) AS running;
SELECT kept();
SELECT sessmgr.reset();
SELECT kept();
COMMIT;
SELECT count(*) FROM kv WHERE k = 100;
SELECT sessmgr.reset(), sessmgr.reset();

--
-- engine_callback
--
CREATE SCHEMA sm_app;
GRANT USAGE ON SCHEMA sm_app TO regress_sm_user;
CREATE TABLE sm_app.made (n int GENERATED ALWAYS AS IDENTITY, dburi text, as_user boolean);
GRANT ALL ON sm_app.made TO PUBLIC;
CREATE FUNCTION sm_app.on_engine(e sessmgr.engine) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sm_app.made (dburi, as_user)
        SELECT dburi, role = current_user FROM sessmgr.engines x WHERE x.engine OPERATOR(sessmgr.=) e;
END $$;
SET sessmgr.engine_callback = 'sm_app.on_engine';
SHOW sessmgr.engine_callback;
SELECT sessmgr.scalar('loop', 'SELECT 1'), sessmgr.get_engine('loop') IS NOT NULL AS one;
SELECT sessmgr.session_factory('spi:') IS NOT NULL AS another;
SELECT count(*) FROM sessmgr.create_session('loop', true);
TABLE sm_app.made;
-- again after invalidate and reset
SELECT sessmgr.invalidate('loop');
SELECT sessmgr.get_engine('loop') IS NOT NULL AS again;
SELECT sessmgr.reset();
SELECT sessmgr.get_engine('loop') IS NOT NULL AS again;
SET ROLE regress_sm_user;
SELECT sessmgr.get_engine('loop') IS NOT NULL AS for_the_role;
RESET ROLE;
TABLE sm_app.made;
-- what it does is part of the local transaction, the engine is not
SELECT sessmgr.reset();
BEGIN;
SELECT sessmgr.get_engine('spi:') IS NOT NULL AS made;
ROLLBACK;
SELECT dburi FROM sessmgr.engines;
SELECT count(*) FROM sm_app.made;

-- functions that make no engine: each tried twice, and then the cache is as before
CREATE FUNCTION sm_app.fails(e sessmgr.engine) RETURNS void LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = 'check_violation', DETAIL = 'Because.'; END $$;
CREATE FUNCTION sm_app.recurses(e sessmgr.engine) RETURNS void LANGUAGE plpgsql AS $$
BEGIN PERFORM sessmgr.get_engine('loopback:'); END $$;
CREATE FUNCTION sm_app.same(e sessmgr.engine) RETURNS void LANGUAGE plpgsql AS $$
BEGIN PERFORM sessmgr.scalar('loop', 'SELECT 1'); END $$;
CREATE FUNCTION sm_app.wrong_argument(e text) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION sm_app.set(e sessmgr.engine) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION sm_app.not_superusers(e sessmgr.engine) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
ALTER FUNCTION sm_app.not_superusers OWNER TO regress_sm_user;
CREATE FUNCTION sm_app.divides(e sessmgr.engine) RETURNS int LANGUAGE sql AS 'SELECT 1 / count(*)::int FROM sm_app.made WHERE dburi = ''loop:''';
CREATE PROCEDURE sm_app.procedure(e sessmgr.engine) LANGUAGE sql AS '';
CREATE FUNCTION with_callback(name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    first text;
BEGIN
    PERFORM set_config('sessmgr.engine_callback', name, true);
    first := try('SELECT sessmgr.get_engine(''loop'') IS NOT NULL');
    RETURN concat_ws(' / ', first, nullif(try('SELECT sessmgr.scalar(''loop'', ''SELECT true'')'), first), kept());
END $$;
SELECT sessmgr.reset();
SELECT name, with_callback(name) FROM unnest(ARRAY['sm_app.absent', 'nowhere.absent', 'sm_app.fails', 'sm_app.recurses', 'sm_app.same',
    'sm_app.wrong_argument', 'sm_app.set', 'sm_app.not_superusers', 'sm_app.divides', 'sm_app.procedure']) name;
-- those that do make one: whatever they return, and in any spelling
CREATE FUNCTION sm_app.sql_void(e sessmgr.engine) RETURNS void LANGUAGE sql AS 'INSERT INTO sm_app.made (dburi) VALUES (''sql'')';
CREATE FUNCTION sm_app.returns_null(e sessmgr.engine) RETURNS int LANGUAGE sql AS 'SELECT NULL::int';
CREATE FUNCTION sm_app."On Engine"(e sessmgr.engine) RETURNS int LANGUAGE sql AS 'SELECT 7';
SELECT with_callback('sm_app.sql_void');
SELECT sessmgr.reset();
SELECT with_callback('sm_app.returns_null');
SELECT sessmgr.reset();
SELECT with_callback('SM_app."On Engine"');
SELECT sessmgr.reset();
SELECT with_callback('');
SELECT sessmgr.reset();
-- the callback may look at its engine and use the others, but not remove it
CREATE FUNCTION sm_app.uses(e sessmgr.engine) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'prepared: %, disposed: %', sessmgr.prepared(e), sessmgr.dispose(e);
    RAISE NOTICE 'invalidated itself: %', sessmgr.invalidate('loop');
    RAISE NOTICE 'conflict: %', try('SELECT sessmgr.get_engine(''loop'', ''{"pool_size": 7}'')');
    RAISE NOTICE 'another: %', sessmgr.scalar('spi:', 'SELECT 1');
    RAISE NOTICE 'reset: %', try('SELECT sessmgr.reset()');
END $$;
SELECT sessmgr.get_engine('spi:') IS NOT NULL AS made;
SET sessmgr.engine_callback = 'sm_app.uses';
SELECT try('SELECT sessmgr.get_engine(''loop'') IS NOT NULL');
SELECT kept();
-- not a schema-qualified name; not a superuser's to set; not theirs to run
SET sessmgr.engine_callback = 'on_engine';
SET sessmgr.engine_callback = 'a.b.c';
SET sessmgr.engine_callback = '.';
SET sessmgr.engine_callback = 'sm_app.fails';
SET ROLE regress_sm_user;
SELECT sessmgr.reset();
SET sessmgr.engine_callback = '';
RESET sessmgr.engine_callback;
SELECT set_config('sessmgr.engine_callback', '', false);
SHOW sessmgr.engine_callback;
SELECT try('SELECT sessmgr.get_engine(''spi:'')');
RESET ROLE;
SET sessmgr.engine_callback = 'sm_app.on_engine';
REVOKE EXECUTE ON FUNCTION sm_app.on_engine FROM PUBLIC;
SET ROLE regress_sm_user;
SELECT try('SELECT sessmgr.get_engine(''spi:'')');
RESET ROLE;
GRANT EXECUTE ON FUNCTION sm_app.on_engine TO PUBLIC;
REVOKE USAGE ON SCHEMA sm_app FROM regress_sm_user;
SET ROLE regress_sm_user;
SELECT try('SELECT sessmgr.get_engine(''spi:'')');
SELECT kept();
RESET ROLE;


-- the handle of an engine that was not made is a stale one
CREATE FUNCTION sm_app.leaks(e sessmgr.engine) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sessmgr.scalar('loopback:', format('INSERT INTO sm_app.made (dburi) VALUES (%L)', e));
    RAISE EXCEPTION 'no';
END $$;
SELECT sessmgr.get_engine('loopback:') IS NOT NULL AS made;
SET sessmgr.engine_callback = 'sm_app.leaks';
SELECT try('SELECT sessmgr.get_engine(''spi:'')');
SELECT try(format('SELECT sessmgr.dispose(%L)', dburi)) FROM sm_app.made WHERE dburi LIKE 'engine/%';

-- what a mapping says is gone again when the engine is made: its password, here a
-- long one, is in no memory of the call that made it
CREATE FUNCTION sm_app.measures(e sessmgr.engine) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('sm_app.memory', (SELECT sum(used_bytes) FROM pg_backend_memory_contexts)::text, false);
END $$;
CREATE FUNCTION sm_app.memory(target text) RETURNS bigint LANGUAGE sql AS $$
    SELECT sessmgr.invalidate(target);
    SELECT CASE WHEN sessmgr.get_engine(target) IS NOT NULL THEN current_setting('sm_app.memory')::bigint END $$;
CREATE SERVER sm_short FOREIGN DATA WRAPPER sessmgr OPTIONS (host '/nosuch');
CREATE SERVER sm_long FOREIGN DATA WRAPPER sessmgr OPTIONS (host '/nosuch');
CREATE USER MAPPING FOR CURRENT_USER SERVER sm_short OPTIONS (password 'x');
DO $$ BEGIN EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER sm_long OPTIONS (password %L)', repeat('x', 1000000)); END $$;
SET sessmgr.engine_callback = 'sm_app.measures';
SELECT count(sm_app.memory(t)) FROM unnest('{sm_short,sm_long,sm_short,sm_long}'::text[]) t;
SELECT sm_app.memory('sm_long') - sm_app.memory('sm_short') < 500000 AS kept_nowhere;

RESET sessmgr.engine_callback;
SET client_min_messages = warning;
DROP SERVER sm_short CASCADE;
DROP SERVER sm_long CASCADE;
DROP SCHEMA sm_app CASCADE;
RESET client_min_messages;
DROP FUNCTION kept, with_callback;
SELECT sessmgr.reset();

--
-- Security-restricted operations: REFRESH MATERIALIZED VIEW, and functions of
-- indexes that somebody else's command calls.  Only foreign servers can be used
-- there, as the owner of the relation.
--
SELECT current_database() AS db, current_user AS me \gset
SELECT sessmgr.reset();
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA re;
GRANT ALL ON SCHEMA re TO PUBLIC;
CREATE SERVER re_joined FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', transaction 'joined');
CREATE USER MAPPING FOR regress_sm_user SERVER re_joined OPTIONS (user :'me', password_required 'false');
GRANT USAGE ON FOREIGN SERVER re_joined TO regress_sm_user;
-- a server of the superuser's only
CREATE SERVER re_other FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db');
CREATE TABLE re.log (a text);
GRANT ALL ON re.log TO PUBLIC;
CREATE FUNCTION re.cached() RETURNS text LANGUAGE sql AS $$
    SELECT hide(coalesce(string_agg(format('%s of role "%s"', dburi, role), ', ' ORDER BY dburi, role), 'nothing')) FROM sessmgr.engines $$;

SET ROLE regress_sm_user;
CREATE MATERIALIZED VIEW re.kv AS
    SELECT k, v FROM sessmgr.query('loop', 'SELECT k, v FROM kv') AS t(k integer, v text) WITH NO DATA;
CREATE UNIQUE INDEX ON re.kv (k);
CREATE MATERIALIZED VIEW re.streamed AS
    SELECT k, v FROM sessmgr.stream('loop', 'SELECT k, v FROM kv WHERE k > $1', 8) AS t(k integer, v text) WITH NO DATA;
CREATE MATERIALIZED VIEW re.joined AS
    SELECT sessmgr.scalar('re_joined', 'SELECT count(*) FROM kv') AS n, sessmgr.execute('re_joined', 'INSERT INTO re.log VALUES (''refreshed'')') WITH NO DATA;
CREATE FUNCTION re.say(target text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% as %: %', target, public.hide(format('role "%s"', current_user)), public.try(format('SELECT sessmgr.scalar(%L, ''SELECT 42'')', target));
    RETURN target;
END $$;
RESET ROLE;

--
-- In a backend that has not used anything yet, by a superuser
--
\c -
REFRESH MATERIALIZED VIEW re.kv;
SELECT count(*) FROM re.kv;
SELECT re.cached();
REFRESH MATERIALIZED VIEW CONCURRENTLY re.kv;
SELECT count(*) FROM re.kv;
REFRESH MATERIALIZED VIEW re.streamed;
SELECT * FROM re.streamed ORDER BY k;
-- joined: with the local transaction
BEGIN;
REFRESH MATERIALIZED VIEW re.joined;
SELECT n FROM re.joined;
ROLLBACK;
SELECT count(*) FROM re.log;
REFRESH MATERIALIZED VIEW re.joined;
SELECT n FROM re.joined;
SELECT count(*) FROM re.log;
-- by the owner, in a fresh backend, too
\c -
SET ROLE regress_sm_user;
REFRESH MATERIALIZED VIEW re.kv;
SELECT count(*) FROM re.kv;
-- what he may not use is no more his because of who refreshes it
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER loop FROM regress_sm_user;
REFRESH MATERIALIZED VIEW re.kv;
GRANT USAGE ON FOREIGN SERVER loop TO regress_sm_user;

--
-- Indexes
--
\c -
SET ROLE regress_sm_user;
CREATE TABLE re.t (a text);
INSERT INTO re.t VALUES ('loop');
RESET ROLE;
CREATE INDEX t_say ON re.t (re.say(a));
REINDEX TABLE re.t;
ANALYZE re.t;
CLUSTER re.t USING t_say;
-- an insert is not restricted
INSERT INTO re.t VALUES ('re_joined');
DROP TABLE re.t;
SELECT re.cached();

--
-- What cannot be used, whatever is cached
--
SELECT hide(uri()) = 'x' AS no, format('postgresql:///%s?host=%s&port=%s&user=%s', :'db', sockdir(), current_setting('port'), :'me') AS uri,
       format('dbname=%s host=%s port=%s user=%s', :'db', sockdir(), current_setting('port'), :'me') AS string \gset
ALTER ROLE regress_sm_user SUPERUSER;
SET ROLE regress_sm_user;
CREATE TABLE re.targets (n integer, target text);
INSERT INTO re.targets VALUES (1, 'loop'), (2, 'loopback:'), (3, :'uri'), (4, :'string'), (5, 'spi:'), (6, 're_other'), (7, 'nothing'), (8, '');
-- outside, all of them but the last can be used, and are cached then
SELECT target IN (:'uri', :'string') OR try(format('SELECT sessmgr.scalar(%L, ''SELECT 42'')', target)) IS NULL, n,
       try(format('SELECT sessmgr.scalar(%L, ''SELECT 42'')', target)) FROM re.targets ORDER BY n;
CREATE MATERIALIZED VIEW re.uses AS
    SELECT n, try(format('SELECT sessmgr.scalar(%L, ''SELECT 42'')', target)) FROM re.targets WITH NO DATA;
RESET ROLE;
REFRESH MATERIALIZED VIEW re.uses;
SELECT * FROM re.uses ORDER BY n;
-- the same in a backend where nothing is
\c -
REFRESH MATERIALIZED VIEW re.uses;
SELECT * FROM re.uses ORDER BY n;
SELECT re.cached();
ALTER ROLE regress_sm_user NOSUPERUSER;
-- handles: of the session around it, or made there; and what ends all that is open
SET ROLE regress_sm_user;
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s, sessmgr.get_engine('loop') AS e \gset
SELECT factory AS f FROM sessmgr.create_session('loop') \gset
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1');
CREATE TABLE re.calls (n serial, call text);
INSERT INTO re.calls (call) VALUES
    (format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT 1'')', :'s')), (format('SELECT sessmgr.close(%L)', :'s')),
    (format('SELECT sessmgr.commit(%L)', :'s')), (format('SELECT sessmgr.wait_any(ARRAY[%L::sessmgr.session])', :'s')),
    (format('SELECT sessmgr.dispose(%L)', :'e')), (format('SELECT sessmgr.prepare_models(%L)', :'e')), (format('SELECT sessmgr.open(%L)', :'f')),
    ('SELECT sessmgr.session_factory(''loop'')'), ('SELECT engine FROM sessmgr.create_session(''loop'')'), ('SELECT sessmgr.reset()'),
    ('SELECT sessmgr.scalar(''loop'', ''SELECT 42'')'), ('SELECT sessmgr.dispose(sessmgr.get_engine(''loop''))'),
    ('SELECT sessmgr.get_engine(''loop'', ''{"connect_args": {"host": "/nowhere"}}'')'),
    ('SELECT string_agg(r::text, '' '') FROM sessmgr.query_all(''{loop,re_joined}'', ''SELECT 1'') AS r(target text, n integer)'),
    ('SELECT string_agg(sqlstate, '' '') FROM sessmgr.execute_all(''{loop,loopback:,spi:}'', ''SELECT 1'')');
CREATE MATERIALIZED VIEW re.handles AS SELECT n, split_part(call, '(', 1) AS call, try(call) FROM re.calls WITH NO DATA;
RESET ROLE;
REFRESH MATERIALIZED VIEW re.handles;
SELECT * FROM re.handles ORDER BY n;
SET ROLE regress_sm_user;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 2'), sessmgr.close(:'s');
RESET ROLE;
-- an engine callback is the superuser's: it has the new engine's handle
CREATE FUNCTION re.callback(e sessmgr.engine) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'callback: % as %', sessmgr.dispose(e), current_user; END $$;
\c -
LOAD 'sessmgr';
SET sessmgr.engine_callback = 're.callback';
REFRESH MATERIALIZED VIEW re.kv;
RESET sessmgr.engine_callback;

SET client_min_messages = warning;
DROP SCHEMA re CASCADE;
DROP SERVER re_joined CASCADE;
DROP SERVER re_other CASCADE;
SELECT sessmgr.reset();

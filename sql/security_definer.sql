--
-- What the caller of a SECURITY DEFINER function can change of what it does, and
-- what is shown to him of it
--
SELECT current_database() AS db, current_user AS me \gset
SELECT sessmgr.reset();
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA de;
GRANT USAGE ON SCHEMA de TO PUBLIC;
CREATE TABLE de.log (a text);
CREATE SERVER de_quiet FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', hide_parameters 'on');
CREATE USER MAPPING FOR regress_sm_user SERVER de_quiet OPTIONS (user :'me', password_required 'false');
GRANT USAGE ON FOREIGN SERVER de_quiet TO regress_sm_user;
-- the functions are regress_sm_user's, the caller is regress_sm_other
GRANT CREATE ON SCHEMA de TO regress_sm_user;
SET ROLE regress_sm_user;
CREATE FUNCTION de.log(t text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
    $$ SELECT sessmgr.execute('loop', 'INSERT INTO de.log VALUES ($1)', t) $$;
-- a session: without commit(), its work goes
CREATE FUNCTION de.session(t text, finish boolean) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s sessmgr.session := sessmgr.session_factory('loop');
    properties text := sessmgr.scalar(s, $q$SELECT concat_ws(' ', current_setting('transaction_isolation'),
        current_setting('transaction_read_only'), current_setting('transaction_deferrable'))$q$);
BEGIN
    PERFORM sessmgr.execute(s, 'INSERT INTO de.log VALUES ($1)', t);
    IF finish THEN
        PERFORM sessmgr.commit(s);
    END IF;
    RETURN properties;
END $$;
-- state of the remote session is there, or not, whatever the caller thinks of it
CREATE FUNCTION de.state() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM sessmgr.execute('loop', 'SET de.state = ''kept''');
    RETURN sessmgr.scalar('loop', 'SELECT current_setting(''de.state'', true)');
END $$;
CREATE FUNCTION de.fail(secret text, target text DEFAULT 'loop') RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
    $$ BEGIN RETURN sessmgr.scalar(target, format('SELECT 1 / 0 /* %s */', secret)); END $$;
-- an error that has a place in the statement
CREATE FUNCTION de.mistake(secret text, target text DEFAULT 'loop') RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
    $$ BEGIN RETURN sessmgr.scalar(target, format('SELECT nothing /* %s */', secret)); END $$;
CREATE FUNCTION de.shape() RETURNS integer LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
    $$ SELECT a FROM sessmgr.query('loop', 'SELECT 1 AS secret, 2') AS t(a integer) $$;
CREATE FUNCTION de.context(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    context text;
BEGIN
    EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RETURN SQLERRM || ': ' || split_part(context, E'\n', 1);
END $$;
RESET ROLE;
CREATE FUNCTION de.logged() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    rows text;
BEGIN
    WITH d AS (DELETE FROM de.log RETURNING a) SELECT string_agg(a, ',' ORDER BY a) INTO rows FROM d;
    RETURN coalesce(rows, 'nothing');
END $$;

--
-- Settings
--
-- what changes a statement's meaning is none
SELECT string_agg(name, ', ' ORDER BY name COLLATE "C") FROM sessmgr.options() WHERE setting IS NULL;
SELECT count(*) FROM pg_settings WHERE name ~ '^sessmgr\.(transaction|isolation_level|read_only|deferrable|hold|pool_reset_on_return|poolclass)$';
SET ROLE regress_sm_other;
SELECT name, try(format('SET %s = %s', name, value))
  FROM (VALUES ('sessmgr.transaction', 'joined'), ('sessmgr.isolation_level', 'serializable'), ('sessmgr.read_only', 'on'),
               ('sessmgr."deferrable"', 'on'), ('sessmgr.hold', 'on'), ('sessmgr.pool_reset_on_return', 'none'),
               ('sessmgr."Read_Only"', 'on'), ('sessmgr.poolclass', 'NullPool'), ('sessmgr.engine_callback', '''de.log''')) v (name, value);
-- also where they were set before the library was loaded
\c -
SET ROLE regress_sm_other;
SET sessmgr.transaction = 'joined';
BEGIN;
SET LOCAL sessmgr.read_only = 'on';
SET LOCAL sessmgr.hold = 'on';
-- a warning for each of them, in any order
SET LOCAL client_min_messages = error;
SELECT de.log('one-liner');
ROLLBACK;
SHOW sessmgr.transaction;
SELECT de.logged();
SELECT de.session('kept', true);
SELECT de.session('gone', false);
SELECT de.logged(), (SELECT count(*) FROM sessmgr.sessions);
-- those that are left
SELECT name, try(format('SET %s = %L', replace(name, 'binary', '"binary"'), CASE WHEN vartype = 'bool' THEN CASE setting WHEN 'on' THEN 'off' ELSE 'on' END
                                                  WHEN vartype = 'enum' THEN (SELECT max(e) FROM unnest(enumvals) e WHERE e <> setting)
                                                  ELSE '10' END))
  FROM pg_settings WHERE name LIKE 'sessmgr.%' AND context = 'user' AND name NOT LIKE '%timeout' AND name <> 'sessmgr.echo' ORDER BY name COLLATE "C";
BEGIN;
SELECT de.log('one-liner');
SELECT de.session('kept', true);
SELECT de.session('gone', false);
ROLLBACK;
SELECT de.logged();
RESET ALL;

--
-- The transaction around it
--
BEGIN READ ONLY;
SELECT de.log('read only');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT de.session('serializable', true);
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT de.log('subtransaction');
ROLLBACK TO a;
COMMIT;
SELECT de.logged();
-- and other calls
SELECT sessmgr.invalidate('loop'), (SELECT count(*) FROM sessmgr.engines);
SELECT de.state();
SELECT sessmgr.reset();
SELECT de.state();

--
-- What is shown
--
-- to others than the functions' owner
SET sessmgr.echo = on;
SET sessmgr.hide_parameters = off;
SELECT de.log('secret');
SELECT de.session('secret', true);
SELECT de.fail('secret');
\echo :LAST_ERROR_MESSAGE
SELECT de.mistake('secret');
SELECT de.shape();
SELECT de.context($$SELECT de.fail('secret')$$);
SELECT count(*) FROM sessmgr.engines;
SELECT count(*) FROM sessmgr.connections;
-- to himself
RESET ROLE;
SET ROLE regress_sm_user;
SELECT de.log('secret');
SELECT de.context($$SELECT de.fail('secret')$$);
SELECT de.mistake('secret');
SELECT de.shape();
-- to a member of the role, as long as he is one
RESET ROLE;
GRANT regress_sm_user TO regress_sm_other;
SET ROLE regress_sm_other;
SELECT de.context($$SELECT de.fail('secret')$$);
RESET ROLE;
REVOKE regress_sm_user FROM regress_sm_other;
SET ROLE regress_sm_other;
SELECT de.context($$SELECT de.fail('secret')$$);
-- to a superuser, but for what the server hides
RESET ROLE;
SELECT de.log('secret');
SELECT de.context($$SELECT de.fail('secret')$$);
SELECT de.context($$SELECT de.fail('secret', 'de_quiet')$$);
SELECT de.mistake('secret', 'de_quiet');
-- to who is SET ROLE to another role, whatever his session's user could see
SET ROLE regress_sm_none;
SELECT de.context($$SELECT de.fail('secret')$$);
RESET ROLE;
-- to the session's user who has become a caller in the middle of a session
SET ROLE regress_sm_user;
CREATE FUNCTION de.open() RETURNS sessmgr.session LANGUAGE sql SECURITY DEFINER AS $$ SELECT sessmgr.session_factory('loop', '{"hold": true}') $$;
CREATE FUNCTION de.use(s sessmgr.session, statement text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT sessmgr.execute(s, statement) $$;
SELECT de.open() AS s \gset
SELECT de.use(:'s', 'SELECT 1');
SET ROLE regress_sm_other;
SELECT de.context(format('SELECT de.use(%L, %L)', :'s', 'SELECT 1 / 0 /* secret */'));
SET ROLE regress_sm_user;
SELECT sessmgr.close(:'s');
-- what is sent and received later, bulk functions and streams
RESET sessmgr.echo;
CREATE FUNCTION de.rest(what text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    s sessmgr.session;
BEGIN
    CASE what
        WHEN 'receive' THEN
            s := sessmgr.session_factory('loop');
            PERFORM sessmgr.send(s, 'SELECT 1 / 0 /* secret */');
            PERFORM FROM sessmgr.receive(s) AS t(a integer);
        WHEN 'execute_many' THEN
            PERFORM sessmgr.execute_many('loop', 'SELECT 1 / $1 /* secret */', 'SELECT 0');
        WHEN 'pull' THEN
            PERFORM sessmgr.pull('loop', 'SELECT 1 / 0 /* secret */', 'pg_temp.de_t');
        WHEN 'push' THEN
            PERFORM sessmgr.push('loop', 'SELECT ''secret''', 'public.kv', ARRAY['nothing']);
        WHEN 'stream' THEN
            PERFORM FROM sessmgr.stream('loop', 'SELECT 1 / 0 /* secret */') AS t(a integer);
        WHEN 'query_all' THEN
            PERFORM FROM sessmgr.query_all('{loop,loop}', 'SELECT 1 / 0 /* secret */') AS t(target text, a integer);
        WHEN 'columns' THEN
            PERFORM FROM sessmgr.query('loop', 'SELECT 1, 2 /* secret */') AS t(a integer);
    END CASE;
END $$;
CREATE TEMP TABLE de_t (a integer);
RESET ROLE;
SET ROLE regress_sm_other;
SELECT what, replace(de.context(format('SELECT de.rest(%L)', what)), 'secret', 'SECRET')
  FROM unnest('{receive,execute_many,pull,push,stream,query_all,columns}'::text[]) what;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA de CASCADE;
DROP SERVER de_quiet CASCADE;
DROP TABLE de_t;
SELECT sessmgr.reset();

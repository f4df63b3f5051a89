--
-- DROP EXTENSION leaves nothing behind, here and on targets, and in a backend
-- that goes on
--
SELECT current_database() AS db, current_user AS me, sockdir() AS dir, current_setting('port') AS port \gset
\pset format unaligned
\pset tuples_only on
CREATE DATABASE regress_sm_ext TEMPLATE template0;
-- this database is the target
CREATE TABLE ex_t (a integer);
\c regress_sm_ext
CREATE EXTENSION sessmgr;
SELECT format('postgresql:///%s?host=%s&port=%s&user=%s&application_name=ex_held', :'db', :'dir', :'port', :'me') AS uri \gset
-- how many connections it has there, as soon as they are as many as expected
CREATE FUNCTION connected(expected bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    FOR i IN 1 .. 600 LOOP
        PERFORM pg_stat_clear_snapshot();
        SELECT count(*) INTO found FROM pg_stat_activity WHERE application_name = 'ex_held';
        EXIT WHEN found = expected;
        PERFORM pg_sleep(0.05);
    END LOOP;
    RETURN found;
END $$;
SELECT extname, nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'sessmgr';
SELECT sessmgr.session_factory(:'uri', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO ex_t VALUES (1)');
SELECT sessmgr.scalar(:'uri', 'SELECT 1');
SELECT connected(2);
-- rolled back: nothing has happened
BEGIN;
DROP EXTENSION sessmgr;
SELECT 1;
ROLLBACK;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) FROM ex_t'), connected(2);
BEGIN;
SAVEPOINT a;
DROP EXTENSION sessmgr;
ROLLBACK TO a;
COMMIT;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) FROM ex_t'), connected(2);
-- other schemas come and go
CREATE SCHEMA other;
DROP SCHEMA other;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) FROM ex_t'), connected(2);
-- committed
DROP EXTENSION sessmgr;
SELECT connected(0);
SELECT count(*) FROM pg_namespace WHERE nspname ~ 'sessmgr';
SELECT count(*) FROM pg_proc WHERE probin ~ 'sessmgr';
SELECT count(*) FROM pg_event_trigger;
SELECT count(*) FROM pg_cast WHERE oid >= 16384;
-- anew, in the same backend
CREATE EXTENSION sessmgr;
\set VERBOSITY sqlstate
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1');
\set VERBOSITY default
SELECT count(*) FROM sessmgr.engines;
SELECT sessmgr.scalar(:'uri', 'SELECT count(*) FROM ex_t');
SELECT * FROM sessmgr.stream(:'uri', 'SELECT 42') AS t(a integer);
SELECT sessmgr.session_factory(:'uri', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO ex_t VALUES (2)');
-- dropped and created in one transaction: the handles are of another type
BEGIN;
DROP EXTENSION sessmgr;
CREATE EXTENSION sessmgr;
COMMIT;
SELECT connected(0);
SELECT sessmgr.scalar(:'uri', 'SELECT count(*) FROM ex_t');
-- in joined mode, in the same transaction: that is committed with it
BEGIN;
SELECT sessmgr.execute(sessmgr.session_factory(:'uri', '{"transaction": "joined"}'), 'INSERT INTO ex_t VALUES (3)');
DROP EXTENSION sessmgr;
COMMIT;
SELECT connected(0);
-- by another backend: at the end of the next transaction here
CREATE EXTENSION sessmgr;
SELECT sessmgr.session_factory(:'uri', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO ex_t VALUES (4)');
CREATE EXTENSION dblink;
SELECT dblink_exec(format('dbname=regress_sm_ext host=%s port=%s user=%s', :'dir', :'port', :'me'), 'DROP EXTENSION sessmgr');
SELECT 1;
SELECT connected(0);
-- a setting stays one, and no other name with the prefix is taken
SET sessmgr.pool_size = 3;
SET sessmgr.anything = 3;
-- a schema of the name that is somebody else's is not taken over
CREATE SCHEMA sessmgr;
\set VERBOSITY terse
CREATE EXTENSION sessmgr;
\set VERBOSITY default
\c :db
SELECT a FROM ex_t;
DROP TABLE ex_t;
DROP DATABASE regress_sm_ext;

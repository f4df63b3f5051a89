--
-- What dblink gets wrong, each with the opposite outcome.
--
SET lock_timeout = '20s';
CREATE SCHEMA db;
CREATE TABLE db.t (a integer);
GRANT USAGE ON SCHEMA db TO PUBLIC;
GRANT ALL ON db.t TO PUBLIC;
SELECT current_database() AS db \gset
CREATE SERVER loop_hurry FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', statement_timeout '500ms');
-- run a statement that must fail; how, how long, and what goes on on the target after it
CREATE FUNCTION db.in_time(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
    took interval;
    said text := 'no error';
BEGIN
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN query_canceled THEN
        said := SQLSTATE || ': ' || SQLERRM;
    END;
    took := clock_timestamp() - start;
    PERFORM pg_stat_clear_snapshot();
    RETURN concat_ws(', ', said, CASE WHEN took < '15 s' THEN 'in time' ELSE 'late: ' || took END,
                     (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sessmgr' AND datname = current_database() AND state = 'active') || ' still running');
END $$;
\pset format unaligned
\pset tuples_only on

--
-- dblink: a dblink_exec that timed out commits all the same, and the timeout
-- is noticed when the statement is done
--
SET statement_timeout = '1s';
SELECT db.in_time($$SELECT sessmgr.execute('loop', 'INSERT INTO db.t SELECT 1 FROM pg_sleep(60)')$$);
SELECT db.in_time($$SELECT sessmgr.scalar('loop', 'SELECT pg_sleep(60)')$$);
SELECT db.in_time($$SELECT * FROM sessmgr.query('loop', 'SELECT 1 FROM pg_sleep(60)') AS t(a integer)$$);
SELECT db.in_time($$SELECT sessmgr.scalar('loop', 'SELECT count(*) FROM generate_series(1, 100000000000)')$$);
-- at the top, without a handler
SELECT sessmgr.execute('loop', 'INSERT INTO db.t SELECT 2 FROM pg_sleep(60)');
\echo :SQLSTATE
RESET statement_timeout;
-- by the option
SELECT db.in_time($$SELECT sessmgr.execute('loop_hurry', 'INSERT INTO db.t SELECT 3 FROM pg_sleep(60)')$$);
-- in a session: its transaction is what fails
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('loop_hurry', options => '{"hold": true}') \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO db.t VALUES (4)');
SELECT db.in_time(format('SELECT sessmgr.execute(%L::sessmgr.session, ''INSERT INTO db.t SELECT 5 FROM pg_sleep(60)'')', :'s'));
SELECT sessmgr.rollback(:'s'), sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1');
SELECT sessmgr.close(:'s');
-- waiting for a lock that is held here, which nobody but a timeout could end
BEGIN;
LOCK TABLE db.t;
SELECT db.in_time($$SELECT sessmgr.execute('loop_hurry', 'INSERT INTO db.t VALUES (6)')$$);
COMMIT;
-- none of them has had an effect, also later
SELECT sessmgr.scalar('loop', 'SELECT pg_sleep(0.5)');
SELECT count(*) FROM db.t;
SELECT 'usable', sessmgr.scalar('loop', 'SELECT 1'), sessmgr.scalar('loop_hurry', 'SELECT 1');

--
-- dblink: a connection that a SECURITY DEFINER function has opened is there
-- for its caller
--
CREATE FUNCTION db.definer() RETURNS sessmgr.session LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    s sessmgr.session;
BEGIN
    SELECT sessmgr.open(factory) INTO s FROM sessmgr.create_session('loop', options => '{"hold": true}');
    PERFORM sessmgr.execute(s, 'INSERT INTO db.t VALUES (7)');
    RETURN s;
END $$;
ALTER FUNCTION db.definer() OWNER TO regress_sm_user;
SET ROLE regress_sm_other;
SELECT db.definer() AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SELECT 1');
SELECT sessmgr.commit(:'s');
SELECT sessmgr.close(:'s');
SELECT * FROM sessmgr.query(:'s'::sessmgr.session, 'SELECT 1') AS t(a integer);
SELECT sessmgr.execute('loop', 'SELECT 1');
SELECT (SELECT count(*) FROM sessmgr.sessions) AS sessions, (SELECT count(*) FROM sessmgr.connections) AS connections;
RESET ROLE;
SET ROLE regress_sm_user;
SELECT 'its owner', sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) FROM db.t');
SELECT sessmgr.rollback(:'s'), sessmgr.close(:'s');
RESET ROLE;

--
-- dblink: work on its connection stays whatever becomes of the local
-- transaction.  Here it stays where that was asked for.
--
BEGIN;
SELECT 'one-liner', sessmgr.execute('loop', 'INSERT INTO db.t VALUES (10)');
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('loop') \gset
SELECT 'committed', sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO db.t VALUES (11)'), sessmgr.commit(:'s');
SELECT 'not committed', sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO db.t VALUES (12)');
SELECT sessmgr.open(factory) AS h FROM sessmgr.create_session('loop', options => '{"hold": true}') \gset
SELECT 'held', sessmgr.execute(:'h'::sessmgr.session, 'INSERT INTO db.t VALUES (13)');
SELECT sessmgr.open(factory) AS a FROM sessmgr.create_session('loop', options => '{"transaction": "autocommit"}') \gset
SELECT 'autocommit', sessmgr.execute(:'a'::sessmgr.session, 'INSERT INTO db.t VALUES (14)');
SELECT 'spi:', sessmgr.execute('spi:', 'INSERT INTO db.t VALUES (15)');
ROLLBACK;
SELECT a FROM db.t ORDER BY a;
SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP SERVER loop_hurry;
DROP SCHEMA db CASCADE;

--
-- What surrounds a statement here: the current role, settings, local LISTEN,
-- prepared transactions, parallel plans; and what stays on a connection there.
--
SELECT current_database() AS db, current_user AS me \gset
SELECT sessmgr.reset();
CREATE SERVER su FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', transaction 'joined');
CREATE USER MAPPING FOR CURRENT_USER SERVER su OPTIONS (user :'me');
CREATE USER MAPPING FOR regress_sm_user SERVER su OPTIONS (user :'me', password_required 'false');
GRANT USAGE ON FOREIGN SERVER su TO regress_sm_user;
CREATE TABLE su_t (a integer);
CREATE FUNCTION su_add(n integer, dburi text DEFAULT 'su') RETURNS bigint LANGUAGE sql AS
    $$ SELECT sessmgr.execute(dburi, 'INSERT INTO su_t VALUES ($1)', n) $$;
-- what is committed; then nothing
CREATE FUNCTION su_committed() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    rows text;
BEGIN
    WITH d AS (DELETE FROM su_t RETURNING a) SELECT string_agg(a::text, ',' ORDER BY a) INTO rows FROM d;
    RETURN coalesce(rows, 'nothing');
END $$;
CREATE FUNCTION su_sessions() RETURNS text LANGUAGE sql AS $$
    SELECT hide(coalesce(string_agg(format('%s of role "%s": %s %s', dburi, role, transaction, state), ', '
                                    ORDER BY dburi, role, transaction, state), 'none')) FROM sessmgr.sessions $$;
CREATE FUNCTION su_connections() RETURNS text LANGUAGE sql AS $$
    SELECT hide(coalesce(string_agg(format('%s of role "%s" %s', dburi, role, state), ', '
                                    ORDER BY dburi, role, state), 'none')) FROM sessmgr.connections $$;
\pset format unaligned
\pset tuples_only on

--
-- SET ROLE: one-liners are those of the current role; a session stays its maker's
--
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO su_t VALUES (1)');
SET ROLE regress_sm_user;
SELECT try(format('SELECT sessmgr.scalar(%L::sessmgr.session, %L)', :'s', 'SELECT 1'));
SELECT try(format('SELECT sessmgr.commit(%L)', :'s'));
SELECT sessmgr.scalar('loop', 'SELECT 1'), su_sessions(), su_connections();
RESET ROLE;
SELECT sessmgr.commit(:'s'), sessmgr.close(:'s');
SELECT su_committed(), su_connections();
-- a member of the role may use what is the role's
SET ROLE regress_sm_user;
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
RESET ROLE;
GRANT regress_sm_user TO regress_sm_other;
SET ROLE regress_sm_other;
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO su_t VALUES (2)'), sessmgr.commit(:'s'), su_sessions();
RESET ROLE;
REVOKE regress_sm_user FROM regress_sm_other;
SET ROLE regress_sm_other;
SELECT try(format('SELECT sessmgr.close(%L)', :'s'));
RESET ROLE;
SELECT sessmgr.close(:'s'), su_committed(), su_sessions();

--
-- Joined: every role has its own transaction there, all end with the local one,
-- whoever is the current role then
--
BEGIN;
SELECT su_add(1);
SET LOCAL ROLE regress_sm_user;
SELECT su_add(2);
SELECT su_add(3), sessmgr.scalar('su', 'SELECT count(*) FROM su_t');
RESET ROLE;
SELECT su_sessions();
SET LOCAL SESSION AUTHORIZATION regress_sm_none;
COMMIT;
SELECT su_committed(), su_sessions();
-- a savepoint takes the role back, and what was done
BEGIN;
SELECT su_add(1);
SAVEPOINT a;
SET LOCAL ROLE regress_sm_user;
SELECT su_add(2);
ROLLBACK TO a;
SELECT current_user = :'me' AS me_again, su_sessions();
COMMIT;
SELECT su_committed();
-- in a SECURITY DEFINER function it is the owner's
CREATE FUNCTION su_definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT su_add(4) $$;
BEGIN;
SET LOCAL SESSION AUTHORIZATION regress_sm_user;
SELECT su_definer(), su_add(5);
RESET SESSION AUTHORIZATION;
SELECT su_sessions();
COMMIT;
SELECT su_committed();

--
-- SET SESSION AUTHORIZATION
--
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SET SESSION AUTHORIZATION regress_sm_user;
SELECT left(try(format('SELECT sessmgr.rollback(%L)', :'s')), 5), sessmgr.scalar('loop', 'SELECT 1');
SELECT su_sessions(), (SELECT count(*) FROM sessmgr.connections WHERE dburi = 'loop');
RESET SESSION AUTHORIZATION;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 2'), sessmgr.close(:'s');

--
-- RESET ALL takes back settings, not what is open
--
SET sessmgr.idle_timeout = '1ms';
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SELECT sessmgr.begin(:'s');
RESET ALL;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1'), su_sessions();
SELECT sessmgr.rollback(:'s');
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 2'), sessmgr.close(:'s');
SELECT su_connections();
-- a joined transaction stays one when the option that made it so goes
BEGIN;
SELECT su_add(1);
ALTER SERVER su OPTIONS (DROP transaction);
SELECT su_add(2), su_sessions();
ROLLBACK;
-- which has brought the option back, too
SELECT su_add(3);
SELECT su_committed();
-- the other DISCARDs leave all open; DISCARD ALL closes it
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO su_t VALUES (1)');
DISCARD PLANS;
DISCARD SEQUENCES;
DISCARD TEMP;
SELECT su_sessions();
DISCARD ALL;
SELECT su_sessions(), su_connections(), su_committed();
SELECT try(format('SELECT sessmgr.commit(%L)', :'s'));
BEGIN;
SELECT su_add(1);
DISCARD ALL;
ROLLBACK;

--
-- LISTEN and NOTIFY here
--
LISTEN su_channel;
BEGIN;
SELECT su_add(1);
SELECT sessmgr.execute('su', $$NOTIFY su_nobody$$);
NOTIFY su_nobody;
COMMIT;
SELECT su_committed(), pg_listening_channels();
UNLISTEN *;

--
-- LISTEN there: nobody could receive anything, and the connection is not used again
--
SELECT sessmgr.reset();
CREATE FUNCTION su_listening() RETURNS text LANGUAGE sql AS
    $$ SELECT sessmgr.scalar('loop', 'SELECT coalesce(string_agg(c, '',''), ''none'') FROM pg_listening_channels() c') $$;
SELECT sessmgr.execute('loop', 'LISTEN su_channel'), su_connections();
SELECT su_listening(), su_connections();
-- in a session: when its transaction ends
BEGIN;
SELECT sessmgr.session_factory('loop') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'LISTEN su_channel'), sessmgr.execute(:'s'::sessmgr.session, 'NOTIFY su_channel');
SELECT sessmgr.commit(:'s'), su_connections();
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1'), sessmgr.close(:'s'), su_listening();
COMMIT;
BEGIN;
SELECT sessmgr.execute('su', 'LISTEN su_channel'), su_add(1);
COMMIT;
SELECT su_committed(), su_connections();
-- a function there that listens is found out by the first notification
CREATE FUNCTION su_listen() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'LISTEN su_channel'; END $$;
SELECT sessmgr.scalar('loop', 'SELECT su_listen()'), su_listening();
SELECT sessmgr.execute('loop', 'NOTIFY su_channel'), su_connections();
SELECT su_listening();

--
-- What else stays on a connection there, until DISCARD ALL
--
CREATE FUNCTION su_left() RETURNS text LANGUAGE sql AS $$
    SELECT format('%s temporary, %s prepared, %s cursors, %s advisory locks, work_mem %s',
        (SELECT count(*) FROM pg_class WHERE relname = 'su_temporary' AND relpersistence = 't' AND pg_table_is_visible(oid)),
        (SELECT count(*) FROM pg_prepared_statements WHERE name = 'su_prepared'),
        (SELECT count(*) FROM pg_cursors WHERE name = 'su_cursor'),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        current_setting('work_mem')) $$;
CREATE FUNCTION su_leave(dburi text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sessmgr.execute(dburi, 'CREATE TEMPORARY TABLE su_temporary (a integer)');
    PERFORM sessmgr.execute(dburi, 'PREPARE su_prepared AS SELECT 1');
    PERFORM sessmgr.execute(dburi, 'DECLARE su_cursor CURSOR WITH HOLD FOR SELECT 1');
    PERFORM sessmgr.execute(dburi, 'SELECT pg_advisory_lock(4711)');
    PERFORM sessmgr.execute(dburi, 'SET work_mem = ''1MB''');
    RETURN sessmgr.scalar(dburi, 'SELECT su_left()');
END $$;
SELECT sessmgr.reset();
SELECT su_leave('loop');
SELECT sessmgr.scalar('loop', 'SELECT su_left()');
SELECT sessmgr.execute('loop', 'DISCARD ALL'), sessmgr.scalar('loop', 'SELECT su_left()');
-- in a joined transaction: its rollback takes back what a rollback does
BEGIN;
SELECT su_leave('su');
ROLLBACK;
SELECT sessmgr.scalar('su', 'SELECT su_left()');
-- and DISCARD ALL all of it
SELECT sessmgr.invalidate('su'), sessmgr.get_engine('su', '{"pool_reset_on_return": "discard"}') IS NOT NULL;
BEGIN;
SELECT su_leave('su');
COMMIT;
SELECT sessmgr.scalar('su', 'SELECT su_left()'), su_connections();

--
-- PREPARE TRANSACTION here: not with what is bound to the local transaction
--
BEGIN;
SELECT su_add(1);
PREPARE TRANSACTION 'su';
SELECT su_committed(), su_sessions();
BEGIN;
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('su', options => '{"transaction": "two_phase"}') \gset
SELECT sessmgr.in_transaction(:'s'), su_sessions();
ROLLBACK;

--
-- AND CHAIN; properties of the local transaction that change on the way
--
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT su_add(1);
COMMIT AND CHAIN;
SELECT su_add(2), su_sessions(), sessmgr.scalar('su', 'SHOW transaction_isolation');
ROLLBACK AND CHAIN;
SELECT su_sessions(), su_add(3);
COMMIT;
SELECT su_committed();
-- the transaction there is like the local one was when it began
BEGIN;
SELECT su_add(1);
SET TRANSACTION READ ONLY;
SELECT sessmgr.scalar('su', 'SHOW transaction_read_only'), sessmgr.scalar(sessmgr.session_factory('loop', '{"transaction": "joined"}'), 'SHOW transaction_read_only');
COMMIT;
SELECT su_committed();

--
-- Parallel plans: a query that uses sessmgr is not made parallel, as its
-- functions are parallel unsafe (t/parallel.pl tests those that say otherwise)
--
CREATE TABLE su_big AS SELECT i FROM generate_series(1, 1000) i;
ANALYZE su_big;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE FUNCTION su_gathers(sql text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || sql LOOP
        IF line ~ 'Gather' THEN RETURN true; END IF;
    END LOOP;
    RETURN false;
END $$;
SELECT su_gathers('SELECT count(*) FROM su_big'),
    su_gathers($$SELECT count(sessmgr.scalar('loop', 'SELECT $1', i)) FROM su_big$$),
    su_gathers($$SELECT count(*) FROM su_big WHERE i IN (SELECT * FROM sessmgr.query('loop', 'SELECT 1') AS q(i integer))$$);
-- a function changes what the text of the values beside it depends on (the column c is what makes them text)
CREATE FUNCTION su_drift(target text, value text, columns text DEFAULT 'a text, b date, c text') RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT t FROM sessmgr.query(%s, %L) AS t(%s)', target,
                      format('SELECT set_config(''DateStyle'', ''SQL, DMY'', false), %s, ''pg_class''::regclass', value), columns)) $$;
SELECT su_drift($$'loop'$$, $$date '2020-02-01'$$);
SELECT su_drift($$'loop'$$, $$'only strings'$$, 'a text, b text, c text');
SELECT * FROM sessmgr.query('loop', $$SELECT date '2020-02-01', 'pg_class'::regclass$$) AS t(b date, c text);
BEGIN;
SELECT sessmgr.session_factory('loop') AS s \gset
SELECT su_drift(format('%L::sessmgr.session', :'s'), $$date '2020-02-01'$$);
SELECT sessmgr.scalar_as(NULL::date, :'s'::sessmgr.session, $$SELECT date '2020-02-01'$$), sessmgr.rollback(:'s'::sessmgr.session);
COMMIT;
RESET ALL;
SET client_min_messages = warning;
SELECT sessmgr.reset();
DROP SERVER su CASCADE;
DROP TABLE su_t, su_big;
DROP FUNCTION su_add, su_committed, su_sessions, su_connections, su_definer, su_listening, su_listen, su_left, su_leave, su_gathers, su_drift;

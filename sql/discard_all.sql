--
-- DISCARD ALL here: sessions and engines go, idle connections stay, and forget
-- what was done on them before they are used again
--
SET lock_timeout = '20s';
\pset format unaligned
\pset tuples_only on
CREATE TABLE dis (a integer);
CREATE SERVER dis_ro FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', read_only 'on', transaction 'autocommit', isolation_level 'SERIALIZABLE');
CREATE SERVER dis_joined FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', transaction 'joined');
CREATE SERVER dis_reset FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', pool_reset_on_return 'discard');
-- what is there of a connection's session on the target: things of its own, and
-- what sessmgr sets
CREATE FUNCTION dis_state() RETURNS text LANGUAGE sql AS $$
    SELECT format('temp %s, locks %s, own %s, prepared %s, %s %s %s, read only %s, %s',
        (SELECT count(*) FROM pg_class WHERE relname = 'dis_temp'),
        (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
        coalesce(current_setting('dis.own', true), ''),
        (SELECT count(*) FROM pg_prepared_statements WHERE name = 'dis_own'),
        current_setting('datestyle'), current_setting('intervalstyle'), current_setting('client_connection_check_interval'),
        current_setting('default_transaction_read_only'), current_setting('transaction_isolation')) $$;
-- is it the same connection as the last time?
CREATE TABLE dis_pids (target text PRIMARY KEY, pid int);
CREATE FUNCTION dis_same(target text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    now int := (SELECT remote_pid FROM sessmgr.connections WHERE dburi = target);
    was int := (SELECT pid FROM dis_pids p WHERE p.target = dis_same.target);
BEGIN
    INSERT INTO dis_pids VALUES (target, now) ON CONFLICT ON CONSTRAINT dis_pids_pkey DO UPDATE SET pid = now;
    RETURN CASE WHEN was IS NULL THEN 'new' WHEN was = now THEN 'same' ELSE 'another' END;
END $$;
CREATE FUNCTION dis_leave(target text) RETURNS void LANGUAGE sql AS $$
    SELECT sessmgr.execute(target, 'CREATE TEMP TABLE dis_temp (a int)');
    SELECT sessmgr.execute(target, 'SELECT pg_advisory_lock(1)');
    SELECT sessmgr.execute(target, 'SET dis.own = ''left''');
    SELECT sessmgr.execute(target, 'PREPARE dis_own AS SELECT 1') $$;

SELECT dis_leave('loop'), sessmgr.scalar('loop', 'SELECT dis_state()'), dis_same('loop');
SELECT sessmgr.scalar('loop', 'SELECT 1'), sessmgr.scalar('loop', 'SELECT 1');
SELECT engine AS e FROM sessmgr.engines WHERE dburi = 'loop' \gset
SELECT sessmgr.open((sessmgr.create_session('loop', options => '{"hold": true}')).factory) AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO dis VALUES (0)'), (SELECT count(*) FROM sessmgr.connections);
DISCARD ALL;
SELECT (SELECT count(*) FROM sessmgr.engines), (SELECT count(*) FROM sessmgr.sessions), string_agg(dburi || ' ' || state, ', ') FROM sessmgr.connections;
SELECT try(format('SELECT sessmgr.prepared(%L::sessmgr.engine)', :'e'));
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', :'s'));
SELECT count(*) FROM dis;
-- each kind of a first use after it
SELECT sessmgr.scalar('loop', 'SELECT dis_state()'), dis_same('loop');
SELECT connects, hits, prepared FROM sessmgr.engines;
SELECT dis_leave('loop');
DISCARD ALL;
SELECT x FROM sessmgr.query('loop', 'SELECT dis_state()') AS q(x text);
SELECT dis_leave('loop');
DISCARD ALL;
SELECT x FROM sessmgr.stream('loop', 'SELECT dis_state()') AS q(x text);
SELECT dis_leave('loop');
DISCARD ALL;
SELECT sessmgr.execute('loop', 'VACUUM dis');
SELECT sessmgr.scalar('loop', 'SELECT dis_state()'), dis_same('loop');
SELECT dis_leave('loop');
DISCARD ALL;
SELECT sessmgr.execute_many('loop', 'INSERT INTO dis VALUES ($1)', 'SELECT generate_series(1, 3)'), dis_same('loop');
SELECT sessmgr.scalar('loop', 'SELECT dis_state()');
SELECT dis_leave('loop');
DISCARD ALL;
SELECT sessmgr.execute('loop', 'SELECT 1/0');
SELECT sessmgr.scalar('loop', 'SELECT dis_state()'), dis_same('loop');
SELECT dis_leave('loop');
DISCARD ALL;
SELECT target, x FROM sessmgr.query_all(ARRAY['loop'], 'SELECT dis_state()') AS q(target text, x text);
SELECT dis_leave('loop');
DISCARD ALL;
SELECT rows, error FROM sessmgr.execute_all(ARRAY['loop', 'dis_ro'], 'SELECT dis_state()');
SELECT sessmgr.scalar('loop', 'SELECT dis_state()'), dis_same('loop');
-- in a session: also where its transaction is rolled back
SELECT dis_leave('loop');
DISCARD ALL;
SELECT sessmgr.open((sessmgr.create_session('loop', options => '{"hold": true, "isolation_level": "SERIALIZABLE"}')).factory) AS s \gset
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT dis_state()'), dis_same('loop');
SELECT sessmgr.rollback(:'s'::sessmgr.session);
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT dis_state()'), dis_same('loop');
SELECT sessmgr.rollback(:'s'::sessmgr.session), sessmgr.scalar('loop', 'SELECT dis_state()'), dis_same('loop');
SELECT dis_leave('loop');
DISCARD ALL;
SELECT sessmgr.open((sessmgr.create_session('loop', options => '{"hold": true}')).factory) AS s \gset
SELECT sessmgr.begin(:'s'::sessmgr.session), sessmgr.scalar(:'s'::sessmgr.session, 'SELECT dis_state()'), sessmgr.commit(:'s'::sessmgr.session);
SELECT sessmgr.scalar('loop', 'SELECT dis_state()'), dis_same('loop');
-- in a transaction that is joined, and a subtransaction of it that fails
SELECT dis_leave('dis_joined'), dis_same('dis_joined');
DISCARD ALL;
BEGIN;
SAVEPOINT a;
SELECT sessmgr.execute('dis_joined', 'SELECT 1/0');
ROLLBACK TO a;
SELECT sessmgr.execute('dis_joined', 'INSERT INTO dis VALUES (10)');
COMMIT;
SELECT sessmgr.scalar('dis_joined', 'SELECT dis_state()'), dis_same('dis_joined');
-- defaults that an engine wants
SELECT sessmgr.scalar('dis_ro', 'SELECT dis_state()'), dis_same('dis_ro');
DISCARD ALL;
SELECT sessmgr.scalar('dis_ro', 'SELECT dis_state()'), dis_same('dis_ro');
DISCARD ALL;
SELECT sessmgr.execute('dis_ro', 'INSERT INTO dis VALUES (11)');
SELECT sessmgr.scalar('dis_ro', 'SELECT dis_state()'), dis_same('dis_ro');
-- sent and received
SELECT dis_leave('loop');
DISCARD ALL;
SELECT sessmgr.open((sessmgr.create_session('loop', options => '{"hold": true, "transaction": "autocommit"}')).factory) AS s \gset
SELECT sessmgr.send(:'s'::sessmgr.session, 'SELECT dis_state()');
SELECT x FROM sessmgr.receive(:'s'::sessmgr.session) AS q(x text);
DISCARD ALL;
SELECT sessmgr.open((sessmgr.create_session('dis_ro', options => '{"hold": true}')).factory) AS s \gset
SELECT sessmgr.send(:'s'::sessmgr.session, 'SELECT dis_state()');
SELECT x FROM sessmgr.receive(:'s'::sessmgr.session) AS q(x text);
-- a pool that does so after each use has nothing more to do
SELECT sessmgr.scalar('dis_reset', 'SELECT dis_state()'), dis_same('dis_reset');
DISCARD ALL;
SELECT sessmgr.scalar('dis_reset', 'SELECT dis_state()'), dis_same('dis_reset');
-- what the target of the same name is now decides, and reset() leaves nothing
SELECT sessmgr.scalar('loop', 'SELECT 1'), dis_same('loop');
DISCARD ALL;
DISCARD ALL;
SELECT sessmgr.scalar('loop', 'SELECT 1'), dis_same('loop');
DISCARD ALL;
ALTER SERVER loop OPTIONS (ADD application_name 'other');
SELECT sessmgr.scalar('loop', 'SHOW application_name'), dis_same('loop');
ALTER SERVER loop OPTIONS (DROP application_name);
SELECT sessmgr.scalar('loop', 'SELECT 1'), dis_same('loop');
DISCARD ALL;
SELECT sessmgr.invalidate('loop'), count(*) FROM sessmgr.connections WHERE dburi = 'loop';
SELECT sessmgr.invalidate('loop'), count(*) FROM sessmgr.connections WHERE dburi = 'loop';
SELECT sessmgr.scalar('loop', 'SELECT 1');
DISCARD ALL;
SELECT sessmgr.reset();
SELECT count(*) FROM sessmgr.connections;
DROP SERVER dis_ro, dis_joined, dis_reset CASCADE;
DROP TABLE dis, dis_pids;
DROP FUNCTION dis_state, dis_same, dis_leave;

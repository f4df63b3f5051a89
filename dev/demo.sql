-- What dev/demo shows; needs the servers that it starts.  psql prints every
-- statement before its result.  The checks, which are not printed, make the
-- demo fail if something is not as it is told here.

\pset footer off
\set QUIET on

\echo
\echo '=== 1. A target is named once: a foreign server, and a user mapping with a password'
\echo
CREATE EXTENSION sessmgr;
CREATE SERVER reports FOREIGN DATA WRAPPER sessmgr
    OPTIONS (host :'reports_socket', dbname 'reports', pool_size '2');
CREATE ROLE app LOGIN PASSWORD 'app-secret';
CREATE USER MAPPING FOR app SERVER reports OPTIONS (user 'reporter', password 'reporter-secret');
GRANT USAGE ON FOREIGN SERVER reports TO app;
GRANT USAGE ON SCHEMA sessmgr TO app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO app;
GRANT CREATE ON SCHEMA public TO app;

-- for step 4: this same server, through its own socket
CREATE SERVER own_server FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true');
CREATE USER MAPPING FOR app SERVER own_server OPTIONS (user 'app', password 'app-secret');
GRANT USAGE ON FOREIGN SERVER own_server TO app;

\c app app
\echo
\echo '=== 2. Typed reads with parameters; from here on as the role app, which is not a superuser'
\echo
SELECT sessmgr.scalar_as(NULL::bigint, 'reports', 'SELECT count(*) FROM pgbench_accounts');

SELECT * FROM sessmgr.query('reports',
    'SELECT aid, abalance FROM pgbench_accounts WHERE aid = ANY ($1) ORDER BY aid',
    ARRAY[1, 42, 4711]) AS account(aid int, abalance int);

CREATE TYPE teller AS (tid int, tbalance int);
SELECT * FROM sessmgr.query_as(NULL::teller, 'reports',
    'SELECT tid, tbalance FROM pgbench_tellers WHERE bid = $1 ORDER BY tbalance DESC LIMIT $2', 1, 3);

SELECT * FROM sessmgr.query_json('reports',
    'SELECT count(*) AS movements, max(delta) AS highest FROM pgbench_history WHERE mtime > $1',
    current_date - 1);

\set ECHO none
DO $$
BEGIN
    ASSERT sessmgr.scalar_as(NULL::bigint, 'reports', 'SELECT count(*) FROM pgbench_accounts') = 100000,
        'pgbench has 100000 accounts';
    ASSERT sessmgr.scalar_as(NULL::int, 'reports', 'SELECT count(*) FROM pgbench_history WHERE mtime > $1',
        current_date - 1) = 2000, 'pgbench made 2000 movements';
END $$;
\set ECHO queries

\echo
\echo '=== 3. A transaction of the other server: committed, or rolled back'
\echo
CREATE FUNCTION transfer(amount int, from_account int, to_account int) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    s sessmgr.session := sessmgr.session_factory('reports');
    move text := 'UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2 RETURNING abalance';
BEGIN
    PERFORM sessmgr.execute(s, move, amount, to_account);
    IF sessmgr.scalar_as(NULL::int, s, move, -amount, from_account) < -1000000 THEN
        PERFORM sessmgr.rollback(s);
        RETURN 'rolled back: the account would be overdrawn';
    END IF;
    PERFORM sessmgr.commit(s);
    RETURN 'committed';
END $$;

\set ECHO none
CREATE FUNCTION balances() RETURNS int[] LANGUAGE sql AS $$
    SELECT array_agg(abalance ORDER BY aid) FROM sessmgr.query('reports',
        'SELECT aid, abalance FROM pgbench_accounts WHERE aid IN (1, 2)') AS t(aid int, abalance int) $$;
SELECT balances() AS before \gset
\set ECHO queries
SELECT transfer(100, from_account => 1, to_account => 2);
SELECT transfer(2000000, from_account => 1, to_account => 2);
SELECT * FROM sessmgr.query('reports', 'SELECT aid, abalance FROM pgbench_accounts WHERE aid IN ($1, $2) ORDER BY aid',
    1, 2) AS account(aid int, abalance int);

\set ECHO none
SELECT set_config('demo.before', :'before', false) \g /dev/null
DO $$
DECLARE
    before int[] := current_setting('demo.before');
BEGIN
    ASSERT balances() = ARRAY[before[1] - 100, before[2] + 100], 'one transfer was committed and one was not';
END $$;
\set ECHO queries

\echo
\echo '=== 4. An autonomous log line outlives the rollback of the local transaction'
\echo
CREATE TABLE orders (item text);
CREATE TABLE audit (who text DEFAULT current_user, line text);
BEGIN;
INSERT INTO orders VALUES ('three bolts');
SELECT sessmgr.execute('own_server', 'INSERT INTO audit (line) VALUES ($1)', 'tried to order three bolts');
ROLLBACK;
SELECT (SELECT count(*) FROM orders) AS orders, who, line FROM audit;

\set ECHO none
DO $$
BEGIN
    ASSERT (SELECT count(*) FROM orders) = 0, 'the order was rolled back';
    ASSERT (SELECT count(*) FROM audit) = 1, 'the log line is there';
END $$;
\set ECHO queries

\echo
\echo '=== 5. Models: the two result tables of Celery are made on the reporting server when they are needed'
\echo
CREATE SEQUENCE task_id_sequence;
CREATE TABLE celery_taskmeta (
    id integer NOT NULL,
    task_id varchar(155),
    status varchar(50),
    result bytea,
    date_done timestamp without time zone,
    traceback text,
    name varchar(155),
    args bytea,
    kwargs bytea,
    worker varchar(155),
    retries integer,
    queue varchar(155),
    PRIMARY KEY (id),
    UNIQUE (task_id)
);
CREATE SEQUENCE taskset_id_sequence;
CREATE TABLE celery_tasksetmeta (
    id integer NOT NULL,
    taskset_id varchar(155),
    result bytea,
    date_done timestamp without time zone,
    PRIMARY KEY (id),
    UNIQUE (taskset_id)
);
SELECT count(sessmgr.add_model(relation)) AS models FROM unnest(ARRAY['task_id_sequence', 'celery_taskmeta',
    'taskset_id_sequence', 'celery_tasksetmeta']::regclass[]) AS relation;
SELECT sessmgr.prepare_models(sessmgr.get_engine('reports')) AS tables_made,
       sessmgr.prepared(sessmgr.get_engine('reports'));
SELECT sessmgr.prepare_models(sessmgr.get_engine('reports')) AS tables_made_now;
SELECT * FROM sessmgr.query('reports',
    'SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)
     FROM pg_constraint WHERE conrelid::regclass::text LIKE $1 AND contype IN (''p'', ''u'') ORDER BY 1, 2',
    'celery%') AS t("table" text, "constraint" text, definition text);
SELECT sessmgr.execute('reports',
    'INSERT INTO celery_taskmeta (id, task_id, status) VALUES (nextval(''task_id_sequence''), $1, $2)',
    gen_random_uuid()::text, 'SUCCESS');

\set ECHO none
DO $$
BEGIN
    ASSERT sessmgr.scalar_as(NULL::int, 'reports', 'SELECT count(*) FROM pg_attribute
        WHERE attnum > 0 AND attrelid IN (''celery_taskmeta''::regclass, ''celery_tasksetmeta''::regclass)') = 16,
        'the two tables have their sixteen columns';
    ASSERT sessmgr.prepare_models(sessmgr.get_engine('reports')) = 0, 'they are made once';
END $$;
SELECT remote_pid AS old_pid FROM sessmgr.connections WHERE dburi = 'reports' \gset
\set ECHO queries

\echo
\echo '=== 6. An administrator of the reporting server ends our connection; the next statement has a new one'
\echo
SELECT dburi, state, remote_pid FROM sessmgr.connections WHERE dburi = 'reports';
\set ECHO none
\setenv KILL :kill
\! echo "administrator: $($KILL) connection terminated"; echo
\set ECHO queries
SELECT sessmgr.scalar_as(NULL::bigint, 'reports', 'SELECT count(*) FROM pgbench_accounts');
SELECT dburi, state, remote_pid FROM sessmgr.connections WHERE dburi = 'reports';

\set ECHO none
SELECT set_config('demo.old_pid', :'old_pid', false) \g /dev/null
DO $$
BEGIN
    ASSERT (SELECT remote_pid <> current_setting('demo.old_pid')::int FROM sessmgr.connections WHERE dburi = 'reports'),
        'the connection is another one';
END $$;
\set ECHO queries

\echo
\echo '=== 7. invalidate: all that was cached for a target goes, and is made anew when it is used again'
\echo
SELECT sessmgr.invalidate('reports') AS was_cached;
SELECT sessmgr.invalidate('reports') AS was_cached;
SELECT count(*) AS connections FROM sessmgr.connections WHERE dburi = 'reports';
SELECT sessmgr.scalar('reports', 'SELECT current_user') AS connected_again_as;

\echo 'Shown: typed reads with parameters, a transaction committed and one rolled back, a log line that outlived a rollback, two models made on another server, a killed connection replaced, and an engine invalidated.'

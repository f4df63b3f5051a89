--
-- Sessions: their transactions, and their life beside the local transaction.
--
SET lock_timeout = '20s';
CREATE SCHEMA se;
CREATE TABLE se.t (a integer);
CREATE FUNCTION se.err(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(' / ', SQLSTATE || ': ' || SQLERRM, nullif(hint, '')), 'session/\w+/\d+', 'session/#');
END $$;
CREATE FUNCTION se.open(options jsonb DEFAULT '{}', target text DEFAULT 'loop') RETURNS sessmgr.session LANGUAGE sql AS $$
    SELECT sessmgr.open(factory) FROM sessmgr.create_session(target, options => options)
$$;
CREATE FUNCTION se.add(s sessmgr.session, n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT sessmgr.execute(s, 'INSERT INTO se.t VALUES ($1)', n) $$;
-- what is committed; then nothing
CREATE FUNCTION se.committed() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    rows text;
BEGIN
    WITH d AS (DELETE FROM se.t RETURNING a) SELECT string_agg(a::text, ',' ORDER BY a) INTO rows FROM d;
    RETURN coalesce(rows, 'nothing');
END $$;
-- how this backend's connections appear on the target
CREATE FUNCTION se.states() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RETURN (SELECT string_agg(DISTINCT a.state, ', ') FROM sessmgr.connections c JOIN pg_stat_activity a ON a.pid = c.remote_pid);
END $$;
\pset format unaligned
\pset tuples_only on

--
-- Mode manual
--
SELECT se.open('{"hold": true}') AS s \gset
SELECT 'new', sessmgr.in_transaction(:'s'), state, transaction, remote_pid IS NULL FROM sessmgr.sessions;
SELECT 'autobegin', se.add(:'s', 1), sessmgr.in_transaction(:'s'), se.states();
SELECT 'held', state, remote_pid IS NULL, statements FROM sessmgr.sessions;
SELECT 'begin in it', se.err(format('SELECT sessmgr.begin(%L)', :'s')), sessmgr.in_transaction(:'s');
SELECT 'commit', sessmgr.commit(:'s'), sessmgr.in_transaction(:'s'), se.states();
SELECT se.committed();
SELECT 'commit again', sessmgr.commit(:'s'), sessmgr.commit(:'s'), 'rollback', sessmgr.rollback(:'s');
SELECT 'begin', sessmgr.begin(:'s'), sessmgr.in_transaction(:'s');
SELECT 'begin twice', se.err(format('SELECT sessmgr.begin(%L)', :'s'));
SELECT 'rollback', se.add(:'s', 2), sessmgr.rollback(:'s'), sessmgr.in_transaction(:'s');
SELECT se.committed();
-- a failed transaction
SELECT 'before', se.add(:'s', 3);
SELECT 'failure', se.err(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT 1 / 0'')', :'s')), sessmgr.in_transaction(:'s');
SELECT 'then', se.err(format('SELECT se.add(%L, 4)', :'s'));
SELECT 'commit', se.err(format('SELECT sessmgr.commit(%L)', :'s')), sessmgr.in_transaction(:'s');
SELECT 'usable', se.add(:'s', 5), sessmgr.commit(:'s');
SELECT se.committed();
-- a constraint that is checked at COMMIT
CREATE TABLE se.deferred (a integer PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO se.deferred VALUES (1), (1)');
SELECT 'at commit', se.err(format('SELECT sessmgr.commit(%L)', :'s')), sessmgr.in_transaction(:'s'), se.states();
SELECT 'usable', se.add(:'s', 6), sessmgr.rollback(:'s');
-- close: what was not committed is rolled back
SELECT 'close', se.add(:'s', 7), sessmgr.close(:'s'), sessmgr.close(:'s');
SELECT se.committed();
SELECT f, se.err(format('SELECT sessmgr.%s', replace(f, '$', quote_literal(:'s')))) FROM unnest('{begin($),commit($),rollback($),in_transaction($),begin_nested($),"execute($::sessmgr.session, ''SELECT 1'')"}'::text[]) f;
SELECT f, se.err('SELECT sessmgr.' || f) FROM unnest('{begin(NULL),commit(NULL),rollback(NULL),close(NULL),in_transaction(NULL),open(NULL)}'::text[]) f;

--
-- Mode autocommit
--
SELECT se.open('{"hold": true, "transaction": "autocommit"}') AS a \gset
SELECT 'autocommit', se.add(:'a', 1), sessmgr.in_transaction(:'a'), se.states();
SELECT se.committed();
SELECT 'nothing to do', sessmgr.commit(:'a'), sessmgr.rollback(:'a');
SELECT 'explicit begin', sessmgr.begin(:'a'), se.add(:'a', 2), sessmgr.in_transaction(:'a'), se.err(format('SELECT sessmgr.begin(%L)', :'a'));
SELECT sessmgr.rollback(:'a');
SELECT se.committed();
SELECT 'and back', sessmgr.begin(:'a'), se.add(:'a', 3), sessmgr.commit(:'a'), sessmgr.in_transaction(:'a');
SELECT se.committed();
SELECT se.open('{"hold": true, "isolation_level": "AUTOCOMMIT"}') AS o \gset
SELECT 'the other spelling', transaction, sessmgr.close(:'o') FROM sessmgr.sessions WHERE session OPERATOR(sessmgr.=) :'o';
SELECT 'both, disagreeing', split_part(se.err('SELECT se.open(''{"isolation_level": "AUTOCOMMIT", "transaction": "manual"}'')'), ':', 1);

--
-- isolation_level, read_only, deferrable, as the target shows them: for
-- sessions of both modes and for one-liners, and for no later user of the
-- connection
--
SELECT current_database() AS db \gset
CREATE SERVER loop_options FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', pool_size '1', max_overflow '0', pool_timeout '0',
    isolation_level 'REPEATABLE READ', read_only 'true');
CREATE SERVER loop_one FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', pool_size '1', max_overflow '0', pool_timeout '0');
CREATE FUNCTION se.shown(s sessmgr.session) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(', ', sessmgr.scalar(s, 'SHOW transaction_isolation'), sessmgr.scalar(s, 'SHOW transaction_read_only'), sessmgr.scalar(s, 'SHOW transaction_deferrable'),
                     sessmgr.rollback(s)::text)
$$;
CREATE FUNCTION se.shown(target text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(', ', sessmgr.scalar(target, 'SHOW transaction_isolation'), sessmgr.scalar(target, 'SHOW transaction_read_only'), sessmgr.scalar(target, 'SHOW transaction_deferrable'))
$$;
SELECT o, se.shown(se.open(o, 'loop_one')), se.shown(se.open(o || '{"transaction": "autocommit"}', 'loop_one')), se.shown('loop_one'), se.shown(se.open('{}', 'loop_one'))
  FROM unnest(ARRAY['{}', '{"isolation_level": "SERIALIZABLE"}', '{"isolation_level": "repeatable read"}', '{"isolation_level": "READ_COMMITTED"}', '{"isolation_level": "READ UNCOMMITTED"}',
                    '{"read_only": true}', '{"read_only": false}', '{"deferrable": true}', '{"isolation_level": "SERIALIZABLE", "read_only": true, "deferrable": true}']::jsonb[]) o;
SELECT 'of the server', se.shown(se.open('{}', 'loop_options')), se.shown('loop_options'), se.shown(se.open('{"read_only": false}', 'loop_options')), se.shown('loop_options');
SELECT 'read only', se.err(format('SELECT sessmgr.execute(%s, ''INSERT INTO se.t VALUES (1)'')', t)) FROM unnest(ARRAY['''loop_options''', 'se.open(''{"read_only": true}'')', 'se.open(''{"read_only": true, "transaction": "autocommit"}'')']) t;
SELECT 'one connection each', dburi, connects FROM sessmgr.engines WHERE dburi LIKE 'loop\_o%' ORDER BY dburi;
-- what a repeatable read sees
SELECT se.open('{"hold": true, "isolation_level": "REPEATABLE READ"}') AS r \gset
SELECT sessmgr.scalar(:'r'::sessmgr.session, 'SELECT count(*) FROM se.t');
INSERT INTO se.t VALUES (1);
SELECT sessmgr.scalar(:'r'::sessmgr.session, 'SELECT count(*) FROM se.t'), sessmgr.commit(:'r'), sessmgr.scalar(:'r'::sessmgr.session, 'SELECT count(*) FROM se.t'), sessmgr.close(:'r');
SELECT se.committed();
-- no place for a second session
SELECT 'pool full', sessmgr.begin(se.open('{}', 'loop_one')), split_part(se.err('SELECT sessmgr.begin(se.open(''{}'', ''loop_one''))'), '/', 1);

--
-- A session without hold ends with the local transaction
--
SELECT sessmgr.reset();
BEGIN;
SELECT se.open() AS s \gset
SELECT se.add(:'s', 1), sessmgr.commit(:'s');
COMMIT;
SELECT se.committed();
SELECT se.err(format('SELECT se.add(%L, 2)', :'s'));
-- uncommitted work: a warning
BEGIN;
SELECT se.open() AS s \gset
SELECT se.add(:'s', 1);
COMMIT;
SELECT se.committed(), se.states(), count(*) FROM sessmgr.sessions;
SELECT 'in one statement', se.add(se.open(), 1);
-- none where there is nothing to lose
SELECT 'read only', sessmgr.scalar(se.open('{"read_only": true}'), 'SELECT 1'), sessmgr.begin(se.open());
SELECT 'nothing', se.states(), count(*) FROM sessmgr.sessions;
-- local abort
BEGIN;
SELECT se.open() AS s \gset
SELECT se.add(:'s', 1), sessmgr.commit(:'s'), se.add(:'s', 2);
ROLLBACK;
SELECT se.committed(), se.states(), count(*) FROM sessmgr.sessions;
SELECT se.err(format('SELECT se.add(%L, 2)', :'s'));

--
-- With hold it survives the commit, not the abort, of the transaction that opened it
--
BEGIN;
SELECT se.open('{"hold": true}') AS s \gset
SELECT se.add(:'s', 1);
COMMIT;
SELECT 'goes on', se.add(:'s', 2), se.states();
SELECT 'and on', sessmgr.commit(:'s');
SELECT se.committed();
BEGIN;
SELECT se.open('{"hold": true}') AS h \gset
SELECT se.add(:'h', 1);
ROLLBACK;
SELECT se.committed(), se.err(format('SELECT se.add(%L, 2)', :'h'));
-- a later abort of a transaction that has used it takes what earlier ones did in it: it has failed until rollback
SELECT se.add(:'s', 1);
BEGIN;
SELECT se.add(:'s', 2);
ROLLBACK;
SELECT sessmgr.in_transaction(:'s'), se.states(), state FROM sessmgr.sessions WHERE session OPERATOR(sessmgr.=) :'s';
SELECT se.err(format('SELECT se.add(%L, 3)', :'s'));
SELECT se.err(format('SELECT sessmgr.begin(%L)', :'s'));
SELECT se.err(format('SELECT sessmgr.begin_nested(%L)', :'s'));
SELECT se.err(format('SELECT sessmgr.rollback_to(%L, 1)', :'s'));
SELECT se.err(format('SELECT sessmgr.send(%L, ''SELECT 1'')', :'s'));
-- another abort, and a commit here, end nothing of that
BEGIN;
SELECT se.err(format('SELECT se.add(%L, 4)', :'s'));
ROLLBACK;
SELECT se.err(format('SELECT se.add(%L, 5)', :'s'));
SELECT sessmgr.rollback(:'s'), sessmgr.in_transaction(:'s'), se.add(:'s', 6), sessmgr.commit(:'s');
SELECT se.committed();
-- an error at the top is an abort; commit says what became of it, and the session is free again
SELECT se.add(:'s', 1);
SELECT se.add(:'s', 2) / 0;
SELECT sessmgr.commit(:'s');
SELECT sessmgr.in_transaction(:'s'), se.add(:'s', 3), sessmgr.commit(:'s'), se.committed();
-- a read is a use, a begin is a transaction
SELECT se.add(:'s', 1);
BEGIN;
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) FROM se.t');
ROLLBACK;
SELECT se.err(format('SELECT sessmgr.commit(%L)', :'s')), se.committed();
SELECT sessmgr.begin(:'s');
SELECT se.add(:'s', 1) / 0;
SELECT se.err(format('SELECT se.add(%L, 2)', :'s')), sessmgr.rollback(:'s');
-- savepoints go with it
SELECT se.add(:'s', 1), sessmgr.begin_nested(:'s') AS sp \gset
SELECT se.add(:'s', 2) / 0;
SELECT se.err(format('SELECT sessmgr.release(%L, %s)', :'s', :sp)), sessmgr.rollback(:'s');
-- its own error, caught: that is the target's to say
SELECT se.add(:'s', 1);
SELECT se.err(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT 1/0'')', :'s'));
SELECT se.err(format('SELECT se.add(%L, 2)', :'s'));
SELECT 'not caught', sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 1');
SELECT se.err(format('SELECT se.add(%L, 3)', :'s')), se.err(format('SELECT sessmgr.commit(%L)', :'s'));
-- its connection broken before: that lasts, too
SELECT se.add(:'s', 1);
SELECT pg_terminate_backend(remote_pid, 20000) FROM sessmgr.sessions WHERE remote_pid IS NOT NULL;
SELECT se.err(format('SELECT se.add(%L, 2)', :'s')) <> 'no error';
\set VERBOSITY sqlstate
SELECT 'not caught', se.add(:'s', 3);
\set VERBOSITY default
SELECT split_part(se.err(format('SELECT se.add(%L, 4)', :'s')), '/', 1), sessmgr.rollback(:'s');
-- what began in the transaction that aborts is no more than that
BEGIN;
SELECT se.add(:'s', 1);
ROLLBACK;
SELECT sessmgr.in_transaction(:'s'), se.add(:'s', 2), sessmgr.commit(:'s'), se.committed();
SELECT se.add(:'s', 1);
BEGIN;
SELECT sessmgr.commit(:'s'), se.add(:'s', 2);
ROLLBACK;
SELECT sessmgr.in_transaction(:'s'), se.add(:'s', 3), sessmgr.commit(:'s'), se.committed();
-- one that was not used stays as it is
SELECT se.add(:'s', 3);
BEGIN;
SELECT 'not used';
ROLLBACK;
SELECT sessmgr.in_transaction(:'s'), sessmgr.commit(:'s');
SELECT se.committed();
-- a failed one can be closed
SELECT se.open('{"hold": true}') AS f \gset
SELECT se.add(:'f', 1);
SELECT se.add(:'f', 2) / 0;
SELECT sessmgr.close(:'f'), se.committed(), se.err(format('SELECT se.add(%L, 3)', :'f')) LIKE '55000%';

--
-- Subtransactions
--
BEGIN;
SELECT se.open() AS o \gset
SELECT se.add(:'o', 1);
SAVEPOINT here;
SELECT se.open() AS i \gset
SELECT se.open('{"hold": true}') AS h \gset
SELECT se.add(:'o', 2), se.add(:'i', 3), se.add(:'h', 4);
ROLLBACK TO here;
SELECT 'inner', se.err(format('SELECT se.add(%L, 5)', :'i')), 'inner with hold', split_part(se.err(format('SELECT se.add(%L, 5)', :'h')), '/', 1);
SELECT 'outer', se.add(:'o', 6), sessmgr.commit(:'o');
COMMIT;
SELECT se.committed();
-- opened in one that was released: it is its parent's
BEGIN;
SAVEPOINT one;
SAVEPOINT two;
SELECT se.open() AS i \gset
RELEASE two;
SELECT se.add(:'i', 1);
ROLLBACK TO one;
SELECT se.err(format('SELECT se.add(%L, 2)', :'i'));
COMMIT;
SELECT se.committed();
-- exception blocks
DO $$
DECLARE
    s sessmgr.session := se.open();
    i sessmgr.session;
BEGIN
    PERFORM se.add(s, 1);
    BEGIN
        PERFORM se.add(s, 2);
        i := se.open();
        PERFORM se.add(i, 3);
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        RAISE INFO 'after a local error: %', sessmgr.scalar(s, 'SELECT count(*) FROM se.t');
    END;
    RAISE INFO 'opened in the block: %', se.err(format('SELECT se.add(%L, 4)', i));
    BEGIN
        PERFORM sessmgr.scalar(s, 'SELECT 1 / 0');
    EXCEPTION WHEN division_by_zero THEN
        RAISE INFO 'after a remote error: %', se.err(format('SELECT se.add(%L, 4)', s));
    END;
    PERFORM sessmgr.rollback(s), se.add(s, 5);
    -- an error while its rows are read
    BEGIN
        PERFORM * FROM sessmgr.query(s, 'SELECT CASE WHEN i < 50000 THEN ''1'' ELSE ''x'' END FROM generate_series(1, 100000) i') AS t(a integer);
    EXCEPTION WHEN invalid_text_representation THEN
        RAISE INFO 'after an error among the rows: %', se.err(format('SELECT se.add(%L, 6)', s)) <> 'no error';
    END;
    PERFORM sessmgr.rollback(s), se.add(s, 7), sessmgr.commit(s);
    -- one-liners
    BEGIN
        PERFORM * FROM sessmgr.query('loop', 'SELECT CASE WHEN i < 50000 THEN ''1'' ELSE ''x'' END FROM generate_series(1, 100000) i') AS t(a integer);
    EXCEPTION WHEN invalid_text_representation THEN
        NULL;
    END;
    BEGIN
        PERFORM sessmgr.execute('loop', 'INSERT INTO se.t VALUES (8)');
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
    PERFORM sessmgr.execute('loop', 'INSERT INTO se.t VALUES (9)');
END $$;
SELECT se.committed(), se.states();

--
-- Procedures that commit
--
CREATE PROCEDURE se.local() LANGUAGE plpgsql AS $$
DECLARE
    s sessmgr.session := se.open();
    h sessmgr.session := se.open('{"hold": true}');
BEGIN
    PERFORM se.add(s, 1), se.add(h, 2);
    COMMIT;
    RAISE INFO 'without hold: %', se.err(format('SELECT se.add(%L, 3)', s));
    PERFORM se.add(h, 4);
    COMMIT;
    PERFORM sessmgr.commit(h), se.add(h, 5);
    ROLLBACK;
    RAISE INFO 'after a rollback: %', sessmgr.in_transaction(h);
    FOR i IN 6 .. 8 LOOP
        PERFORM sessmgr.execute('loop', 'INSERT INTO se.t VALUES ($1)', i);
        COMMIT;
    END LOOP;
    PERFORM sessmgr.close(h);
END $$;
CALL se.local();
SELECT se.committed();
CREATE PROCEDURE se.remote() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO se.t VALUES (1);
    COMMIT;
    INSERT INTO se.t VALUES (2);
    ROLLBACK;
    INSERT INTO se.t VALUES (3);
END $$;
SELECT 'one-liner', sessmgr.execute('loop', 'CALL se.remote()');
SELECT se.committed();
SELECT 'autocommit', sessmgr.execute(se.open('{"transaction": "autocommit"}'), 'CALL se.remote()');
SELECT se.committed();
SELECT 'session', se.err('SELECT sessmgr.execute(se.open(), ''CALL se.remote()'')');
SELECT se.committed();

--
-- A lost connection
--
SELECT se.add(:'s', 1);
SELECT pg_terminate_backend(remote_pid, 10000) FROM sessmgr.sessions WHERE session OPERATOR(sessmgr.=) :'s';
SELECT 'lost', split_part(se.err(format('SELECT se.add(%L, 2)', :'s')), ':', 1);
SELECT 'still', se.err(format('SELECT se.add(%L, 2)', :'s')), sessmgr.in_transaction(:'s');
SELECT 'commit', se.err(format('SELECT sessmgr.commit(%L)', :'s'));
SELECT 'usable', se.add(:'s', 3), sessmgr.commit(:'s');
SELECT se.committed();
SELECT se.add(:'s', 1);
SELECT pg_terminate_backend(remote_pid, 10000) FROM sessmgr.sessions WHERE session OPERATOR(sessmgr.=) :'s';
-- lost or perhaps not: it must not be said to be committed, and is not
SELECT 'commit of a lost one', split_part(se.err(format('SELECT sessmgr.commit(%L)', :'s')), ':', 1) IN ('25P02', '08006', '08007'), sessmgr.rollback(:'s'), sessmgr.in_transaction(:'s');
SELECT se.committed();

--
-- reset() and DISCARD ALL
--
SELECT se.add(:'s', 1);
SELECT sessmgr.reset();
SELECT se.committed(), (SELECT count(*) FROM sessmgr.sessions) AS sessions, (SELECT count(*) FROM sessmgr.engines) AS engines, (SELECT count(*) FROM sessmgr.connections) AS connections;
SELECT se.err(format('SELECT se.add(%L, 2)', :'s'));
SELECT sessmgr.close(:'s'), sessmgr.reset(), sessmgr.reset();
SELECT se.open('{"hold": true}') AS s \gset
SELECT se.add(:'s', 1);
DISCARD ALL;
SET lock_timeout = '20s';
SELECT (SELECT count(*) FROM sessmgr.sessions) AS sessions, (SELECT count(*) FROM sessmgr.engines) AS engines, (SELECT count(*) FROM sessmgr.connections) AS connections;
SELECT split_part(se.err(format('SELECT se.add(%L, 2)', :'s')), ':', 1);
SELECT se.committed();
-- after reset() the connections are gone on the target too, and nothing is left in a transaction
SELECT sessmgr.reset();
DO $$
BEGIN
    FOR i IN 1 .. 200 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'sessmgr' AND datname = current_database());
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sessmgr' AND datname = current_database();
SET client_min_messages = warning;
DROP SERVER loop_options;
DROP SERVER loop_one;
DROP SCHEMA se CASCADE;

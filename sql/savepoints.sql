--
-- begin_nested, release and rollback_to
--
SET lock_timeout = '20s';
CREATE SCHEMA sp;
CREATE TABLE sp.t (a integer);
CREATE FUNCTION sp.err(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || regexp_replace(SQLERRM, 'sessmgr_[0-9a-f]{16}_', 'sessmgr_');
END $$;
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('loop', options => '{"hold": true}') \gset
SELECT sessmgr.open(factory) AS a FROM sessmgr.create_session('loop', options => '{"hold": true, "transaction": "autocommit"}') \gset
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION sp.add(s sessmgr.session, n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT sessmgr.execute(s, 'INSERT INTO sp.t VALUES ($1)', n) $$;
CREATE FUNCTION sp.seen(s sessmgr.session) RETURNS text LANGUAGE sql AS $$ SELECT sessmgr.scalar(s, 'SELECT string_agg(a::text, '','' ORDER BY a) FROM sp.t') $$;

-- it begins the transaction
SELECT sessmgr.in_transaction(:'s'::sessmgr.session), sessmgr.begin_nested(:'s'::sessmgr.session), sessmgr.in_transaction(:'s'::sessmgr.session);
SELECT sp.add(:'s', 1), sessmgr.rollback_to(:'s', 1), sp.seen(:'s') IS NULL;
-- the savepoint stays
SELECT sp.add(:'s', 2), sessmgr.rollback_to(:'s', 1), sp.add(:'s', 3), sp.seen(:'s');
-- nested: each number once
SELECT sessmgr.begin_nested(:'s'), sp.add(:'s', 4), sessmgr.begin_nested(:'s'), sp.add(:'s', 5), sessmgr.begin_nested(:'s'), sp.add(:'s', 6);
SELECT savepoints FROM sessmgr.sessions WHERE transaction = 'manual';
SELECT sessmgr.rollback_to(:'s', 3), sp.seen(:'s');
-- those set after it are gone
SELECT sp.err(format('SELECT sessmgr.rollback_to(%L, 4)', :'s'));
SELECT sp.err(format('SELECT sessmgr.release(%L, 4)', :'s'));
-- release keeps the work, and releases those set after it
SELECT sessmgr.begin_nested(:'s'), sp.add(:'s', 7), sessmgr.release(:'s', 2), sp.seen(:'s');
SELECT sp.err(format('SELECT sessmgr.%s(%L, %s)', f, :'s', n)) FROM unnest('{release,rollback_to}'::text[]) f, unnest('{2,3,5,0,-1,99,2147483647,NULL}'::integer[]) n WHERE n IS NOT NULL;
SELECT sp.err(format('SELECT sessmgr.release(%L, NULL)', :'s'));
-- wrong numbers do not hurt the transaction
SELECT sp.seen(:'s'), sessmgr.begin_nested(:'s');
SELECT sessmgr.commit(:'s');
SELECT a FROM sp.t ORDER BY a;
-- stale numbers: of a transaction that is over
SELECT sp.err(format('SELECT sessmgr.release(%L, 1)', :'s')), sessmgr.in_transaction(:'s');
SELECT sessmgr.begin(:'s'), sp.err(format('SELECT sessmgr.rollback_to(%L, 1)', :'s')), sessmgr.begin_nested(:'s');
SELECT sessmgr.rollback(:'s');
TRUNCATE sp.t;
-- after a failure
SELECT sp.add(:'s', 1), sessmgr.begin_nested(:'s'), sp.add(:'s', 2);
SELECT sp.err(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT 1 / 0'')', :'s'));
SELECT sp.err(format('SELECT sp.seen(%L)', :'s'));
SELECT sp.err(format('SELECT sessmgr.begin_nested(%L)', :'s'));
SELECT sp.err(format('SELECT sessmgr.release(%L, 1)', :'s'));
SELECT sessmgr.rollback_to(:'s', 1), sp.seen(:'s'), sp.add(:'s', 3), sessmgr.release(:'s', 1);
SELECT sessmgr.commit(:'s');
SELECT a FROM sp.t ORDER BY a;
TRUNCATE sp.t;
-- what failed was not numbered: a savepoint in a failed transaction
SELECT sp.err(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT 1 / 0'')', :'s'));
SELECT sp.err(format('SELECT sessmgr.begin_nested(%L)', :'s'));
SELECT sp.err(format('SELECT sessmgr.rollback_to(%L, 1)', :'s'));
SELECT sessmgr.rollback(:'s');
-- many
DO $$
DECLARE
    s sessmgr.session := (SELECT session FROM sessmgr.sessions WHERE transaction = 'manual');
BEGIN
    FOR i IN 1 .. 200 LOOP
        IF sessmgr.begin_nested(s) <> i THEN RAISE EXCEPTION 'another number than %', i; END IF;
        PERFORM sp.add(s, i);
    END LOOP;
    PERFORM sessmgr.rollback_to(s, 101), sessmgr.release(s, 50), sessmgr.commit(s);
END $$;
SELECT count(*), max(a) FROM sp.t;
TRUNCATE sp.t;
-- local exception handlers and savepoints here are of another transaction
BEGIN;
SELECT sessmgr.begin_nested(:'s'), sp.add(:'s', 1);
SAVEPOINT here;
SELECT sp.add(:'s', 2);
ROLLBACK TO here;
SELECT sp.seen(:'s'), sessmgr.rollback_to(:'s', 1), sp.seen(:'s') IS NULL, sessmgr.rollback(:'s');
COMMIT;
-- in mode autocommit a savepoint begins a transaction, which needs its commit
SELECT sp.add(:'a', 1), sessmgr.in_transaction(:'a'), sessmgr.begin_nested(:'a'), sessmgr.in_transaction(:'a');
SELECT sp.add(:'a', 2), sessmgr.rollback_to(:'a', 1), sp.add(:'a', 3);
SELECT 'before', a FROM sp.t ORDER BY a;
SELECT sessmgr.commit(:'a'), sessmgr.in_transaction(:'a'), sp.add(:'a', 4);
SELECT 'after', a FROM sp.t ORDER BY a;
SELECT sp.err(format('SELECT sessmgr.rollback_to(%L, 1)', :'a'));
-- spi: has none
SELECT sessmgr.open(factory) AS i FROM sessmgr.create_session('spi:', options => '{"hold": true}') \gset
SELECT sp.err(format('SELECT sessmgr.%s', replace(f, '$', quote_literal(:'i')))) FROM unnest('{begin_nested($),"release($, 1)","rollback_to($, 1)"}'::text[]) f;
-- NULL
SELECT sp.err('SELECT sessmgr.' || f) FROM unnest('{begin_nested(NULL),"release(NULL, 1)","rollback_to(NULL, 1)"}'::text[]) f;
SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP SCHEMA sp CASCADE;

--
-- Prepared statements: kept with their connection, bounded, prepared again
-- when the target no longer takes them.
--
SET lock_timeout = '20s';
CREATE SCHEMA pr;
CREATE TABLE pr.t (a integer);
INSERT INTO pr.t VALUES (1);
SELECT current_database() AS db \gset
CREATE SERVER loop_three FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', statement_cache_size '3', pool_size '1');
CREATE SERVER loop_none FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', statement_cache_size '0');
-- what the connection of a target keeps prepared; itself takes one place
CREATE FUNCTION pr.kept(target text) RETURNS text LANGUAGE sql AS $$
    SELECT sessmgr.scalar(target, 'SELECT string_agg(statement, '' | '' ORDER BY statement) FROM pg_prepared_statements WHERE statement NOT LIKE ''%pg_prepared%''')
$$;
CREATE FUNCTION pr.err(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
\pset format unaligned
\pset tuples_only on

-- seen once it is not worth it, seen twice it is
SELECT sessmgr.scalar('loop_three', 'SELECT 1'), pr.kept('loop_three');
SELECT sessmgr.scalar('loop_three', 'SELECT 1'), pr.kept('loop_three');
-- the same text with other types is another statement
SELECT sessmgr.scalar('loop', 'SELECT $1', 1), sessmgr.scalar('loop', 'SELECT $1', 'a'), sessmgr.scalar('loop', 'SELECT $1', 1.5), sessmgr.scalar('loop', 'SELECT $1', 2),
       sessmgr.scalar('loop', 'SELECT $1', 'b'), sessmgr.scalar('loop', 'SELECT $1', 2.5);
SELECT sessmgr.scalar('loop', 'SELECT string_agg(parameter_types::text, '','' ORDER BY parameter_types::text) FROM pg_prepared_statements WHERE statement = ''SELECT $1''');
-- where the shape must be known it is prepared at once
SELECT * FROM sessmgr.query('loop_three', 'SELECT 2') AS t(a integer);
SELECT pr.kept('loop_three');
-- what was not used the longest goes
SELECT sessmgr.scalar('loop_three', 'SELECT 3') FROM generate_series(1, 2);
SELECT pr.kept('loop_three');
SELECT sessmgr.scalar('loop_three', 'SELECT 2'), sessmgr.scalar('loop_three', 'SELECT 4'), sessmgr.scalar('loop_three', 'SELECT 4');
SELECT pr.kept('loop_three');
DO $$
BEGIN
    FOR i IN 1 .. 100 LOOP
        PERFORM sessmgr.scalar('loop_three', 'SELECT 1000 + ' || i / 2);
    END LOOP;
END $$;
SELECT sessmgr.scalar('loop_three', 'SELECT count(*) <= 3 FROM pg_prepared_statements') FROM generate_series(1, 2);
-- a session, with a failed transaction in which nothing can be deallocated
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('loop_three', options => '{"hold": true}') \gset
SELECT pr.err(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT 1 / 0'')', :'s'));
SELECT pr.err(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT %s'')', :'s', i / 2)) FROM generate_series(1, 8) i;
SELECT sessmgr.rollback(:'s'::sessmgr.session), sessmgr.scalar(:'s'::sessmgr.session, 'SELECT count(*) <= 3 FROM pg_prepared_statements');
SELECT sessmgr.rollback(:'s'::sessmgr.session);
-- none kept
SELECT sessmgr.scalar('loop_none', 'SELECT 1'), sessmgr.scalar('loop_none', 'SELECT 1'), pr.kept('loop_none') IS NULL, pr.kept('loop_none') IS NULL;
SELECT *, pr.kept('loop_none') IS NULL FROM sessmgr.query('loop_none', 'SELECT 1') AS t(a integer);

--
-- "cached plan must not change result type"
--
SELECT sessmgr.query_json('loop', 'SELECT * FROM pr.t') FROM generate_series(1, 3);
ALTER TABLE pr.t ADD COLUMN b text DEFAULT 'x';
SELECT sessmgr.query_json('loop', 'SELECT * FROM pr.t') FROM generate_series(1, 2);
-- a statement with effects has them once
SELECT sessmgr.query_json('loop', 'INSERT INTO pr.t VALUES (2) RETURNING *') FROM generate_series(1, 2);
ALTER TABLE pr.t ADD COLUMN c integer;
SELECT sessmgr.query_json('loop', 'INSERT INTO pr.t VALUES (3) RETURNING *');
SELECT a, count(*) FROM pr.t GROUP BY a ORDER BY a;
-- a declared shape that no longer fits: before the effect
SELECT count(*) FROM sessmgr.query('loop', 'INSERT INTO pr.t VALUES (4) RETURNING *') AS t(a integer, b text, c integer);
ALTER TABLE pr.t DROP COLUMN c;
SELECT pr.err('SELECT * FROM sessmgr.query(''loop'', ''INSERT INTO pr.t VALUES (4) RETURNING *'') AS t(a integer, b text, c integer)');
SELECT * FROM sessmgr.query('loop', 'INSERT INTO pr.t VALUES (4) RETURNING *') AS t(a integer, b text);
SELECT count(*) FROM pr.t WHERE a = 4;
-- in a session: later in a transaction it costs that transaction, and no more
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('loop', options => '{"hold": true}') \gset
SELECT sessmgr.query_json(:'s'::sessmgr.session, 'SELECT * FROM pr.t WHERE a = 1') FROM generate_series(1, 2);
SELECT sessmgr.commit(:'s'::sessmgr.session);
ALTER TABLE pr.t ADD COLUMN d integer;
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO pr.t VALUES (5)');
SELECT pr.err(format('SELECT sessmgr.query_json(%L::sessmgr.session, ''SELECT * FROM pr.t WHERE a = 1'')', :'s'));
SELECT pr.err(format('SELECT sessmgr.commit(%L::sessmgr.session)', :'s'));
SELECT sessmgr.query_json(:'s'::sessmgr.session, 'SELECT * FROM pr.t WHERE a = 1');
SELECT sessmgr.commit(:'s'::sessmgr.session);
SELECT count(*) FROM pr.t WHERE a = 5;
-- as the first statement it costs none
SELECT sessmgr.query_json(:'s'::sessmgr.session, 'SELECT * FROM pr.t WHERE a = 1');
SELECT sessmgr.commit(:'s'::sessmgr.session);
ALTER TABLE pr.t DROP COLUMN d;
SELECT sessmgr.query_json(:'s'::sessmgr.session, 'SELECT * FROM pr.t WHERE a = 1');
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO pr.t VALUES (6)'), sessmgr.commit(:'s'::sessmgr.session);
SELECT count(*) FROM pr.t WHERE a = 6;

--
-- Types that are dropped and made again: a statement that is refused for one
-- before it runs is prepared once more
--
CREATE EXTENSION IF NOT EXISTS citext SCHEMA pr;
CREATE FUNCTION pr.make() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS pr.m;
    DROP TYPE IF EXISTS pr.pair, pr.span, pr.mood;
    DROP DOMAIN IF EXISTS pr.price;
    DROP EXTENSION citext;
    CREATE TYPE pr.mood AS ENUM ('sad', 'ok');
    CREATE TYPE pr.pair AS (a integer, m pr.mood);
    CREATE TYPE pr.span AS RANGE (subtype = float8);
    CREATE DOMAIN pr.price AS numeric CHECK (VALUE > 0);
    CREATE EXTENSION citext SCHEMA pr;
    CREATE TABLE pr.m (m pr.mood DEFAULT 'sad', p pr.price, c pr.citext, t text);
    INSERT INTO pr.m VALUES ('ok', 1, 'X', 'x');
END $$;
CREATE TABLE pr.cases (nr serial, sql text, param text);
INSERT INTO pr.cases (sql, param) VALUES
    ('SELECT $1::pr.mood', 'ok'), ('SELECT $1::pr.mood::text', 'ok'), ('SELECT $1::pr.mood[]', '{ok}'), ('SELECT m FROM pr.m WHERE m = $1', 'ok'),
    ('SELECT m FROM pr.m WHERE m = ANY ($1)', '{ok}'), ('UPDATE pr.m SET m = $1 RETURNING m', 'ok'), ('SELECT $1::pr.price', '5'), ('UPDATE pr.m SET p = $1 RETURNING p', '5'),
    ('SELECT $1::pr.pair', '(1,ok)'), ('SELECT ($1::pr.pair).m', '(1,ok)'), ('SELECT $1::pr.span', '[1,2]'), ('SELECT c FROM pr.m WHERE t = $1::pr.citext', 'x'),
    ('SELECT $1, ''ok''::pr.mood', 'ok'), ('SELECT t || $1 || ''ok''::pr.mood FROM pr.m', 'x'), ('SELECT $1, (''(1,ok)''::pr.pair).m, ARRAY[''ok'']::pr.mood[]', 'ok');
CREATE FUNCTION pr.run(target text, sql text, param text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    value text;
BEGIN
    EXECUTE format('SELECT sessmgr.scalar(%L, %L, %L)', target, sql, param) INTO value;
    EXECUTE format('SELECT %L || '' '' || sessmgr.query_json(%L, %L, %L)', value, target, sql, param) INTO value;
    RETURN value;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || regexp_replace(SQLERRM, 'type \d+', 'type N');
END $$;
SET client_min_messages = warning;
SELECT pr.make();
SELECT count(*) FROM (SELECT pr.run('loop', sql, param) FROM pr.cases, generate_series(1, 3)) x;
SELECT pr.make();
SELECT sql, pr.run('loop', sql, param) FROM pr.cases ORDER BY nr;
-- no function, operator or table with it: the constants of a plan stay what they were
CREATE TYPE pr.alone AS ENUM ('sad', 'ok');
SELECT pr.run('loop', v, 'ok') FROM unnest('{SELECT $1::pr.alone,"SELECT $1, ''ok''::pr.alone::text","SELECT $1 || ''ok''::pr.alone","SELECT $1::text, ''ok''::pr.alone","SELECT $1::text, ARRAY[''ok'']::pr.alone[]"}'::text[]) v, generate_series(1, 2);
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
SELECT pr.run('loop', v, 'ok') FROM unnest('{SELECT $1::pr.alone,"SELECT $1, ''ok''::pr.alone::text","SELECT $1 || ''ok''::pr.alone","SELECT $1::text, ''ok''::pr.alone","SELECT $1::text, ARRAY[''ok'']::pr.alone[]"}'::text[]) v;
-- but in the body of a function that became a part of the plan it costs that call
SELECT pr.run('loop', 'SELECT $1 || ''ok''::pr.alone', 'ok');
-- the same of a composite type and a domain
CREATE TYPE pr.lone_row AS (a integer);
CREATE DOMAIN pr.lone_int AS integer CHECK (VALUE > 0);
CREATE VIEW pr.lone AS SELECT * FROM unnest('{"SELECT $1, ROW(1)::pr.lone_row","SELECT $1, (ROW(1)::pr.lone_row).a","SELECT $1, ARRAY[ROW(1)::pr.lone_row]","SELECT $1, 5::pr.lone_int","SELECT $1::integer::pr.lone_int","SELECT $1, ARRAY[5]::pr.lone_int[]"}'::text[]) WITH ORDINALITY v(sql, nr);
SELECT count(pr.run('loop', sql, '5')) FROM pr.lone, generate_series(1, 2);
DROP TYPE pr.lone_row;
DROP DOMAIN pr.lone_int;
CREATE TYPE pr.lone_row AS (a integer);
CREATE DOMAIN pr.lone_int AS integer CHECK (VALUE > 0);
SELECT pr.run('loop', sql, '5') FROM pr.lone ORDER BY nr;
-- another type of column
CREATE TABLE pr.n (a integer, b integer);
INSERT INTO pr.n VALUES (1, 1);
SELECT pr.run('loop', 'SELECT b FROM pr.n WHERE a = $1', '1'), pr.run('loop', 'UPDATE pr.n SET a = $1 RETURNING a', '1') FROM generate_series(1, 2);
ALTER TABLE pr.n ALTER a TYPE text;
SELECT pr.run('loop', 'SELECT b FROM pr.n WHERE a = $1', 'one'), pr.run('loop', 'UPDATE pr.n SET a = $1 RETURNING a', 'one');
-- every way
SELECT sessmgr.scalar('loop', 'SELECT $1::pr.alone', 'ok'::pr.alone), sessmgr.execute('loop', 'UPDATE pr.m SET m = $1', 'ok'::pr.mood) FROM generate_series(1, 2);
SELECT sessmgr.send(:'s'::sessmgr.session, 'SELECT $1::pr.alone', 'ok') FROM generate_series(1, 1);
SELECT * FROM sessmgr.receive(:'s'::sessmgr.session) AS t(a text);
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT $1::pr.alone', 'ok') FROM generate_series(1, 2);
SELECT sessmgr.commit(:'s'::sessmgr.session);
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
SELECT pr.make();
SELECT sessmgr.scalar('loop', 'SELECT $1::pr.alone', 'ok'::pr.alone);
SELECT * FROM sessmgr.execute_all('{loop}', 'UPDATE pr.m SET m = $1', 'ok'::pr.mood);
-- as the first statement of a session's transaction it costs nothing, later that transaction and no more
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT $1::pr.alone', 'ok') FROM generate_series(1, 2);
SELECT sessmgr.commit(:'s'::sessmgr.session);
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
SELECT sessmgr.send(:'s'::sessmgr.session, 'SELECT $1::pr.alone', 'ok');
SELECT * FROM sessmgr.receive(:'s'::sessmgr.session) AS t(a text);
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT $1::pr.alone', 'ok') FROM generate_series(1, 2);
SELECT sessmgr.commit(:'s'::sessmgr.session);
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO pr.n VALUES (2)');
SELECT regexp_replace(pr.err(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT $1::pr.alone'', ''ok'')', :'s')), '\d+$', 'N');
SELECT sessmgr.rollback(:'s'::sessmgr.session), sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO pr.n VALUES (2)'), sessmgr.scalar(:'s'::sessmgr.session, 'SELECT $1::pr.alone', 'ok'), sessmgr.rollback(:'s'::sessmgr.session);
-- where one is stale, others are not run in a transaction before they are known to be good: it is lost once, or not at all
CREATE FUNCTION pr.several(s sessmgr.session) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(sessmgr.scalar(s, 'SELECT $1::pr.alone::text || ' || i, 'ok'), ' ' ORDER BY i) FROM generate_series(1, 3) i
$$;
SELECT pr.several(:'s') FROM generate_series(1, 2);
SELECT sessmgr.commit(:'s'::sessmgr.session);
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
SELECT pr.several(:'s'), sessmgr.commit(:'s'::sessmgr.session);
SELECT pr.several(:'s') FROM generate_series(1, 2);
SELECT sessmgr.commit(:'s'::sessmgr.session);
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO pr.n VALUES (2)');
SELECT regexp_replace(pr.err(format('SELECT pr.several(%L)', :'s')), '\d+$', 'N');
SELECT sessmgr.rollback(:'s'::sessmgr.session), sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO pr.n VALUES (2)'), pr.several(:'s'), sessmgr.rollback(:'s'::sessmgr.session);
-- in a transaction that is joined
BEGIN;
SELECT sessmgr.open(factory) AS j FROM sessmgr.create_session('loop', options => '{"transaction": "joined"}') \gset
SELECT sessmgr.scalar(:'j'::sessmgr.session, 'SELECT $1::pr.alone', 'ok') FROM generate_series(1, 2);
COMMIT;
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
BEGIN;
SELECT sessmgr.open(factory) AS j FROM sessmgr.create_session('loop', options => '{"transaction": "joined"}') \gset
SELECT sessmgr.scalar(:'j'::sessmgr.session, 'SELECT $1::pr.alone', 'ok');
COMMIT;
-- on many targets
SELECT count(*) FROM generate_series(1, 2), LATERAL sessmgr.query_all('{loop,loop_none}', 'SELECT $1::pr.alone', 'ok') AS t(target text, a text);
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
SELECT * FROM sessmgr.query_all('{loop,loop_none}', 'SELECT $1::pr.alone', 'ok') AS t(target text, a text);
-- and the target keeps nothing of what it was
SELECT sessmgr.scalar('loop_three', 'SELECT $1::pr.alone', 'ok') FROM generate_series(1, 2);
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
SELECT sessmgr.scalar('loop_three', 'SELECT $1::pr.alone', 'ok') FROM generate_series(1, 2);
DROP TYPE pr.alone;
CREATE TYPE pr.alone AS ENUM ('ok', 'sad');
SELECT sessmgr.scalar('loop_three', 'SELECT $1::pr.alone', 'ok') FROM generate_series(1, 2);
SELECT sessmgr.scalar('loop_three', 'SELECT count(*) FROM pg_prepared_statements WHERE statement = ''SELECT $1::pr.alone''');
-- what is refused for good is refused, and stays prepared
SELECT pr.err('SELECT sessmgr.scalar(''loop'', ''SELECT $1::pr.alone'', ''angry'')') FROM generate_series(1, 4);
SELECT sessmgr.scalar('loop', 'SELECT count(*) FROM pg_prepared_statements WHERE statement = ''SELECT $1::pr.alone'' AND parameter_types = ''{pr.alone}''');
SELECT pr.err('SELECT sessmgr.scalar(''loop'', ''SELECT b FROM pr.gone'')') FROM generate_series(1, 2);
-- what has run is not run again, whatever it says
CREATE SEQUENCE pr.runs;
CREATE FUNCTION pr.fail(code text, message text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('pr.runs');
    IF code <> '' THEN
        RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message;
    END IF;
    RETURN 1;
END $$;
SELECT sessmgr.scalar('loop', 'SELECT pr.fail($1, $2)', '', '') FROM generate_series(1, 2);
SELECT pr.err(format('SELECT sessmgr.scalar(''loop'', ''SELECT pr.fail($1, $2)'', %L, %L)', code, message))
  FROM (VALUES ('XX000', 'cache lookup failed for type 4711'), ('42704', 'type with OID 25 does not exist'), ('42883', 'operator does not exist'), ('0A000', 'cached plan must not change result type'), ('26000', 'no'), ('22P02', 'parameter $1')) v(code, message);
SELECT last_value FROM pr.runs;
SELECT sessmgr.scalar('loop', 'SELECT nextval(''pr.runs'') / ($1 - 1)', 2) FROM generate_series(1, 2);
SELECT pr.err('SELECT sessmgr.scalar(''loop'', ''SELECT nextval(''''pr.runs'''') / ($1 - 1)'', 1)');
SELECT last_value FROM pr.runs;
RESET client_min_messages;

--
-- Statements that the target was told to forget, as text
--
SELECT sessmgr.scalar('loop', 'SELECT 10') FROM generate_series(1, 3);
SELECT sessmgr.execute('loop', 'DEALLOCATE ALL');
SELECT sessmgr.scalar('loop', 'SELECT 10'), pr.kept('loop') IS NULL;
SELECT sessmgr.scalar('loop', 'SELECT 10') FROM generate_series(1, 2);
SELECT sessmgr.execute('loop', 'DISCARD ALL');
SELECT sessmgr.scalar('loop', 'SELECT 10') FROM generate_series(1, 2);
-- and no session has to pay for it
SELECT sessmgr.execute('loop', 'DISCARD ALL');
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SELECT 11'), sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 10'), sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 10');
SELECT sessmgr.execute(:'s'::sessmgr.session, 'DEALLOCATE ALL'), sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 10'), sessmgr.commit(:'s'::sessmgr.session);
-- one by one behind the back of the cache
SELECT sessmgr.scalar('loop', 'SELECT 12') FROM generate_series(1, 3);
SELECT sessmgr.scalar('loop', 'SELECT name FROM pg_prepared_statements WHERE statement = ''SELECT 12''') AS name \gset
SELECT sessmgr.execute('loop', 'DEALLOCATE ' || :'name'), sessmgr.scalar('loop', 'SELECT 12'), sessmgr.scalar('loop', 'SELECT 12');
-- a pool that discards keeps none, but the connection
CREATE SERVER loop_discard FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db', pool_reset_on_return 'discard');
SELECT sessmgr.scalar('loop_discard', 'SELECT 1') FROM generate_series(1, 3);
SELECT pr.kept('loop_discard') IS NULL, connects FROM sessmgr.engines WHERE dburi = 'loop_discard';
SELECT sessmgr.scalar('loop_discard', 'SHOW client_connection_check_interval');
SELECT sessmgr.close(:'s'::sessmgr.session), sessmgr.reset();
SET client_min_messages = warning;
DROP SERVER loop_three;
DROP SERVER loop_none;
DROP SERVER loop_discard;
DROP SCHEMA pr CASCADE;

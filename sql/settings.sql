--
-- Settings that values and transactions depend on, here and on the target: they
-- are put right after whatever has changed them.
--
SET lock_timeout = '10s';
CREATE SCHEMA hd;
SELECT current_database() AS db, current_user AS me \gset
CREATE SERVER hd FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db');
CREATE USER MAPPING FOR CURRENT_USER SERVER hd OPTIONS (user :'me');

--
-- Transaction defaults survive what a statement sets or resets.
--
ALTER SERVER hd OPTIONS (ADD read_only 'true', ADD isolation_level 'REPEATABLE READ');
SELECT sessmgr.scalar('hd', 'SHOW transaction_read_only'), sessmgr.scalar('hd', 'SHOW transaction_isolation');
SELECT sessmgr.execute('hd', 'RESET ALL');
SELECT sessmgr.scalar('hd', 'SHOW transaction_read_only'), sessmgr.scalar('hd', 'SHOW transaction_isolation');
SELECT sessmgr.execute('hd', 'SET default_transaction_read_only = off');
SELECT sessmgr.scalar('hd', 'SHOW transaction_read_only'), sessmgr.scalar('hd', 'SHOW transaction_isolation');
ALTER SERVER hd OPTIONS (DROP read_only, DROP isolation_level);
SELECT sessmgr.scalar('hd', 'SHOW transaction_read_only'), sessmgr.scalar('hd', 'SHOW transaction_isolation');

--
-- The form of values is put right again after a savepoint was rolled back.
--
SELECT sessmgr.open(factory) AS s FROM sessmgr.create_session('hd', options => '{"hold": true}') \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SET extra_float_digits = -15');
SELECT sessmgr.begin_nested(:'s') AS n \gset
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 0.1::float8 + 0.2');
SELECT sessmgr.rollback_to(:'s', :n);
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SELECT 0.1::float8 + 0.2');
SELECT sessmgr.close(:'s');
-- also after an EXCEPTION block that a joined session was in
SELECT (sessmgr.create_session('hd', options => '{"transaction": "joined"}')).factory AS f \gset
BEGIN;
SELECT sessmgr.open(:'f') AS j \gset
SELECT sessmgr.execute(:'j'::sessmgr.session, 'SET extra_float_digits = -15');
SAVEPOINT a;
SELECT sessmgr.scalar(:'j'::sessmgr.session, 'SELECT 0.1::float8 + 0.2');
ROLLBACK TO a;
SELECT sessmgr.scalar(:'j'::sessmgr.session, 'SELECT 0.1::float8 + 0.2');
ROLLBACK;

--
-- Local settings that change how values are read or written.
--
SET array_nulls = off;
SELECT (a)[1] IS NULL AS first_is_null, a FROM sessmgr.query('hd', 'SELECT ARRAY[NULL, $1]', 'x') AS t(a text[]);
SELECT sessmgr.scalar('hd', 'SELECT ($1::text[])[1] IS NULL', ARRAY[NULL, 'x']);
RESET array_nulls;
SET lc_monetary = 'C.UTF-8';
SELECT m, m::numeric FROM sessmgr.query('hd', 'SELECT $1::money', 1234.5::numeric::money) AS t(m money);
RESET lc_monetary;
-- a name that the target does not qualify is no name of ours
CREATE TABLE hd.twice (a integer);
CREATE TABLE public.twice (a integer);
SET search_path = hd, public;
SELECT try($$SELECT sessmgr.scalar_as(NULL::regclass, 'hd', 'SELECT ''public.twice''::regclass')$$);
SELECT sessmgr.scalar_as(NULL::regclass, 'hd', 'SELECT ''hd.twice''::regclass') = 'hd.twice'::regclass AS qualified;
SELECT sessmgr.scalar_as(NULL::regclass, 'hd', 'SELECT ''pg_class''::regclass');
SELECT sessmgr.scalar('hd', 'SELECT $1::regclass::oid = $2', 'hd.twice'::regclass, 'hd.twice'::regclass::oid) AS parameter;
RESET search_path;
DROP TABLE public.twice;

SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP SERVER hd CASCADE;
DROP SCHEMA hd CASCADE;

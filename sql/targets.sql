--
-- dburi: every form, as section "dburi" of the documentation has it
--
SELECT current_database() AS db, current_user AS me \gset
\pset format unaligned
SELECT sessmgr.reset();

-- what a target is, told by the connection to it (a server that pg_regress has
-- started has its PGAPPNAME)
CREATE FUNCTION reach(dburi text) RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT concat_ws('', '', %s) FROM (SELECT sessmgr.scalar(%L, %L) AS r) x', 'r', dburi,
        'SELECT concat_ws('', '', CASE current_database() WHEN ''' || current_database() || ''' THEN ''this database'' ELSE current_database() END,
                          CASE current_user WHEN ''' || session_user || ''' THEN ''superuser'' ELSE current_user::text END,
                          CASE pg_backend_pid() WHEN ' || pg_backend_pid() || ' THEN ''this backend'' ELSE ''another backend'' END,
                          replace(current_setting(''application_name''), ''pg_regress'', ''sessmgr''))'))
$$;

-- URIs in all spellings
SELECT spelling, reach(uri(spelling)) AS outcome
  FROM unnest(ARRAY['postgresql', 'postgres', 'postgresql+psycopg2', 'postgresql+asyncpg', 'postgresql+psycopg2cffi', 'postgres+pg8000',
                    'db+postgresql', 'db+postgres', 'db+postgresql+psycopg2', 'postgresql+my-driver.2_x']) spelling;
SELECT spelling, reach(uri(spelling)) AS outcome
  FROM unnest(ARRAY['PostgreSQL', 'POSTGRES', 'Db+postgresql', 'mysql', 'db+mysql', 'redis', 'http', 'postgresqls', 'postgresql+', 'db+', 'db',
                    'cache+postgresql', 'jdbc:postgresql', 'postgresql ', ' postgresql', '']) spelling;
-- user, password, parameters, percent-encoding, several hosts
SELECT form, reach(replace(replace(replace(replace(form, 'ME', current_user), 'DB', current_database()), 'DIR', sockdir()),
                           'PORT', current_setting('port'))) AS outcome
  FROM unnest(ARRAY['postgresql://ME@/DB?host=DIR&port=PORT', 'postgresql://ME:pw@/DB?host=DIR&port=PORT',
                    'postgresql://ME:p%40%2F%3A%3F%25w@/DB?host=DIR&port=PORT', 'postgresql://ME@:PORT/DB?host=DIR',
                    'postgresql:///?user=ME&dbname=DB&host=DIR&port=PORT&application_name=a%20b',
                    'postgresql:///DB?host=DIR&port=PORT&user=ME&options=-c%20application_name%3Dc',
                    'postgresql:///DB?host=/nowhere,DIR&port=PORT,PORT&user=ME', 'postgresql:///postgres?host=DIR&port=PORT&user=ME',
                    'postgresql:///DB?user=ME&host=DIR&port=PORT&', 'postgresql:///DB?user=ME&host=DIR&port=PORT&fallback_application_name=x',
                    'postgresql:///DB?user=ME&host=DIR&port=PORT&client_encoding=utf8', 'postgresql:///DB?user=ME&host=DIR&port=PORT&client_encoding=LATIN1']) form;
-- keyword strings
SELECT form, reach(replace(replace(replace(replace(form, 'ME', current_user), 'DB', current_database()), 'DIR', sockdir()),
                           'PORT', current_setting('port'))) AS outcome
  FROM unnest(ARRAY['host=DIR port=PORT dbname=DB user=ME', '  host = DIR  port=PORT dbname = ''DB'' user=ME application_name=''a b'' ',
                    'host=DIR port=PORT dbname=DB user=ME application_name=it\''s', 'user=ME host=DIR port=PORT dbname=DB application_name=''''',
                    'host=DIR port=PORT dbname=postgres dbname=DB user=ME', 'host=DIR port=PORT dbname=DB user=ME connect_timeout=10',
                    'host=DIR port=PORT dbname=DB user=ME client_encoding=auto']) form;
-- the user is never the operating system's, but the role's
SELECT reach(format('postgresql:///%s?host=%s&port=%s', current_database(), sockdir(), current_setting('port'))) AS as_the_role;
CREATE ROLE regress_sm_super SUPERUSER LOGIN;
CREATE SERVER sm_anyone FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'on');
CREATE USER MAPPING FOR PUBLIC SERVER sm_anyone;
SELECT format('postgresql:///%s?host=%s&port=%s', current_database(), sockdir(), current_setting('port')) AS uri \gset
SELECT format('host=%s port=%s dbname=%s', sockdir(), current_setting('port'), current_database()) AS kw \gset
SET ROLE regress_sm_super;
SELECT reach(d) AS as_the_role FROM unnest(ARRAY[:'uri', :'kw', 'loopback:', 'sm_anyone', 'spi:']) d;
RESET ROLE;
SELECT sessmgr.reset();
DROP SERVER sm_anyone CASCADE;
-- this backend, this cluster
SELECT form, reach(replace(form, 'DB', current_database())) AS outcome
  FROM unnest(ARRAY['spi:', 'spi:x', 'spi', 'SPI:', 'loopback:', 'loopback:DB', 'loopback:postgres', 'loopback:template0', 'loopback:nowhere',
                    'loopback', 'Loopback:', 'loopback:/', 'loopback:a=b', 'loopback://']) form;
SELECT try(format('SELECT sessmgr.scalar(%L, ''SELECT 1'')', 'loopback:' || repeat('x', 63))) AS long,
       try(format('SELECT sessmgr.scalar(%L, ''SELECT 1'')', 'loopback:' || repeat('x', 64))) AS too_long;
-- a database whose name looks like a dburi
CREATE DATABASE "sm=x;postgresql://h" TEMPLATE template0;
SELECT reach('loopback:sm=x;postgresql://h');
DROP ROLE regress_sm_super;
SELECT sessmgr.reset();
DROP DATABASE "sm=x;postgresql://h";

--
-- Foreign servers
--
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION dblink;
SELECT sockdir() AS dir, current_setting('port') AS port \gset
CREATE SERVER sm_own FOREIGN DATA WRAPPER sessmgr OPTIONS (host :'dir', port :'port', dbname :'db', application_name 'own');
CREATE SERVER sm_pgfdw FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host :'dir', port :'port', dbname :'db', application_name 'pgfdw', fetch_size '50', extensions 'plpgsql', async_capable 'on', updatable 'off', connect_timeout '7');
CREATE SERVER sm_dblink FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host :'dir', port :'port', dbname :'db', application_name 'dblink');
CREATE FOREIGN DATA WRAPPER sm_other_fdw;
CREATE SERVER sm_other FOREIGN DATA WRAPPER sm_other_fdw;
CREATE SERVER "Sm Odd.Name" FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'on');
-- no user mapping
SELECT server, reach(server) AS outcome
  FROM unnest(ARRAY['sm_own', 'sm_pgfdw', 'sm_dblink', 'sm_other', 'Sm Odd.Name', 'sm odd.name', 'SM_OWN', 'sm_ow', 'sm_own ', 'sm_onw', 'sm_pgwfd',
                    'sm_dlbink', '"sm_own"', '''sm_own''', '"Sm Odd.Name"', '"nothing"', '"', '""', 'sm_othre', 'lopback', '"loopback"', 'so_mwn', repeat('x', 100)]) server;
-- nothing that the role may not use is proposed
SET ROLE regress_sm_user;
SELECT try('SELECT sessmgr.get_engine(''sm_onw'')'), try('SELECT sessmgr.get_engine(''lopo'')');
RESET ROLE;
CREATE USER MAPPING FOR CURRENT_USER SERVER sm_own OPTIONS (user :'me');
CREATE USER MAPPING FOR PUBLIC SERVER sm_pgfdw OPTIONS (user :'me');
CREATE USER MAPPING FOR CURRENT_USER SERVER sm_dblink OPTIONS (user :'me', password 'x');
SELECT server, reach(server) AS outcome FROM unnest(ARRAY['sm_own', 'sm_pgfdw', 'sm_dblink']) server;
-- a longer name than any does not find the one it begins with
CREATE SERVER sm_345678901234567890123456789012345678901234567890123456789012 FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'on');
SELECT reach('sm_' || substr('34567890123456789012345678901234567890123456789012345678901234', 1, 60)) AS exact,
       reach('sm_34567890123456789012345678901234567890123456789012345678901234') AS longer;
DROP SERVER sm_345678901234567890123456789012345678901234567890123456789012;
-- a role's own mapping goes before that of PUBLIC
CREATE USER MAPPING FOR CURRENT_USER SERVER sm_pgfdw OPTIONS (user 'regress_sm_nobody');
SELECT reach('sm_pgfdw') ~ '^08001: could not connect to "sm_pgfdw" \| .*role "regress_sm_nobody" does not exist$' AS refused;
DROP USER MAPPING FOR CURRENT_USER SERVER sm_pgfdw;
SELECT reach('sm_pgfdw');
-- pooling options are read for servers of the own wrapper alone
SELECT dburi, driver, pool_size, connects FROM sessmgr.engines WHERE dburi LIKE 'sm\_%' ORDER BY 1;

--
-- What changes in the catalogs is seen at the next use, without a new session
--
CREATE FUNCTION remote_app(dburi text) RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT sessmgr.scalar(%L, ''SHOW application_name'')', dburi))
$$;
SELECT sessmgr.get_engine('sm_own') AS e \gset
SELECT remote_app('sm_own');
ALTER SERVER sm_own OPTIONS (SET application_name 'own 2');
SELECT remote_app('sm_own'), sessmgr.get_engine('sm_own')::text = :'e' AS same_engine;
SELECT connects, idle FROM sessmgr.engines WHERE dburi = 'sm_own';
-- an option that does not matter to the connection keeps it
ALTER SERVER sm_own OPTIONS (ADD pool_size '3');
SELECT remote_app('sm_own');
SELECT connects, idle, pool_size FROM sessmgr.engines WHERE dburi = 'sm_own';
ALTER SERVER sm_own OPTIONS (DROP pool_size);
-- a change that is rolled back
BEGIN;
ALTER SERVER sm_own OPTIONS (SET application_name 'own 3');
SELECT remote_app('sm_own');
ROLLBACK;
SELECT remote_app('sm_own');
-- a session in a transaction keeps its connection, its next transaction has a new one
BEGIN;
SELECT sessmgr.session_factory('sm_own') AS s \gset
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SHOW application_name');
ALTER SERVER sm_own OPTIONS (SET application_name 'own 4');
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SHOW application_name');
SELECT sessmgr.commit(:'s');
SELECT sessmgr.scalar(:'s'::sessmgr.session, 'SHOW application_name');
SELECT sessmgr.close(:'s');
COMMIT;
-- by another backend
SELECT sessmgr.execute('loop', 'ALTER SERVER sm_own OPTIONS (SET application_name ''own 5'')');
SELECT remote_app('sm_own');
-- the user mapping
ALTER USER MAPPING FOR CURRENT_USER SERVER sm_own OPTIONS (SET user 'regress_sm_nobody');
SELECT reach('sm_own') LIKE '08001: could not connect to "sm_own" | %role "regress_sm_nobody" does not exist' AS refused;
ALTER USER MAPPING FOR CURRENT_USER SERVER sm_own OPTIONS (SET user :'me');
SELECT remote_app('sm_own');
DROP USER MAPPING FOR CURRENT_USER SERVER sm_own;
SELECT remote_app('sm_own');
SELECT try(format('SELECT sessmgr.dispose(%L)', :'e'));
CREATE USER MAPPING FOR CURRENT_USER SERVER sm_own OPTIONS (user :'me');
SELECT remote_app('sm_own');
-- wrappers of others
ALTER SERVER sm_pgfdw OPTIONS (SET application_name 'pgfdw 2');
SELECT remote_app('sm_pgfdw');
-- renamed, dropped, made anew
ALTER SERVER sm_own RENAME TO sm_renamed;
SELECT remote_app('sm_own'), remote_app('sm_renamed');
SET client_min_messages = warning;
DROP SERVER sm_renamed CASCADE;
RESET client_min_messages;
SELECT remote_app('sm_own'), remote_app('sm_renamed');
SELECT try('SELECT sessmgr.get_engine(''sm_own'')');
SELECT try(format('SELECT sessmgr.dispose(%L)', :'e'));
SELECT sessmgr.invalidate('sm_own'), sessmgr.invalidate('sm_own'), sessmgr.invalidate('sm_renamed');
CREATE SERVER sm_own FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', application_name 'anew');
SELECT remote_app('sm_own');
-- privileges
GRANT USAGE ON FOREIGN SERVER sm_own TO regress_sm_user;
CREATE USER MAPPING FOR regress_sm_user SERVER sm_own OPTIONS (user :'me', password_required 'false');
SET ROLE regress_sm_user;
SELECT remote_app('sm_own');
SELECT sessmgr.session_factory('sm_own', '{"hold": true}') AS s \gset
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER sm_own FROM regress_sm_user;
SET ROLE regress_sm_user;
SELECT remote_app('sm_own');
SELECT try(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT 1'')', :'s')) AS session;
RESET ROLE;
GRANT regress_sm_other TO regress_sm_user;
GRANT USAGE ON FOREIGN SERVER sm_own TO regress_sm_other;
SET ROLE regress_sm_user;
SELECT remote_app('sm_own') AS as_member;
RESET ROLE;
REVOKE regress_sm_other FROM regress_sm_user;
SET ROLE regress_sm_user;
SELECT remote_app('sm_own') AS no_member;
SELECT sessmgr.close(:'s');
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER sm_own FROM regress_sm_other;

--
-- No answer
--
SELECT form, regexp_replace(reach(form), ' \| .*', ' | ...') AS outcome
  FROM unnest(ARRAY['postgresql:///x?host=/nowhere', 'host=/nowhere dbname=x', 'postgresql://127.0.0.1:1/x?connect_timeout=5',
                    'postgresql://user:secret@127.0.0.1:1/x', 'postgresql://[::1]:1/x',
                    'host=127.0.0.1 port=1 password=secret']) form;
SELECT count(*) FROM sessmgr.connections WHERE state <> 'idle';

--
-- Malformed: one error, and nothing is kept
--
SELECT sessmgr.reset();
SELECT form, try(format('SELECT sessmgr.get_engine(%L)', form)) AS outcome
  FROM unnest(ARRAY['', ' ', ':', '/', 'a:b', 'a/b', 'C:\x', '//host/db', 'host:5432', 'postgresql:', 'postgresql:/x', 'postgresql:///x?',
                    'postgresql://h:0/', 'postgresql://h:65536/', 'postgresql://h:5x/', 'postgresql://h:123456789012/',
                    'postgresql://[::1/', 'postgresql://[]/', 'postgresql://[::1]x/', 'postgresql://h/%zz', 'postgresql://h/%00', 'postgresql://h/%',
                    'postgresql://h/a b', 'postgresql://h/?x', 'postgresql://h/?hots=x', 'postgresql://h/?=x', 'postgresql://h/?a=b=c',
                    'postgresql://h/?host=a&host=b', 'postgresql://h/?sslmode=x&ssl=true', 'postgresql://h/?zzzzz=1', 'postgresql://h/?a%20b=1',
                    'postgresql://u:pw@h/d?sslmod=require', 'postgresql://u:pw@h/d?pool_size=5', 'postgresql://h/?database=d', 'postgresql://h/?autocommit=1',
                    'postgresql://h/?timeout=5', 'postgresql://h/?password=x&sslmod=require', 'host=h password=x sslmod=require', 'host=h database=d',
                    'host', 'host=', 'host=h port', 'hots=h', 'host = ''h', 'host=h password', 'host=h =x', '=', '==', 'host=h dbname= user=x']) form;
SELECT left(form, 40) AS form, try(format('SELECT sessmgr.get_engine(%L)', form)) AS outcome
  FROM unnest(ARRAY[repeat('x', 9000), 'postgresql://' || repeat('h', 8180), 'postgresql://h/' || repeat('x', 2000) || '%', repeat('é', 50), E'a\nb',
                    'host=' || repeat('x', 10000)]) form;
SELECT try('SELECT sessmgr.get_engine(NULL)'), try('SELECT sessmgr.scalar(NULL::text, ''SELECT 1'')');
-- only the well-formed ones are there
SELECT dburi FROM sessmgr.engines ORDER BY dburi COLLATE "C";

--
-- Secrets
--
CREATE FUNCTION tells(dburi text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text := try(format('SELECT NULL FROM (SELECT sessmgr.get_engine(%L)) x', dburi));
    shown text;
BEGIN
    SELECT e.dburi INTO shown FROM sessmgr.engines e ORDER BY created_at DESC LIMIT 1;
    outcome := replace(outcome, 'NULL', 'made') || coalesce(' -> ' || shown, '');
    PERFORM sessmgr.reset();
    RETURN outcome || CASE WHEN outcome ~* 's3cr|cr3t' THEN '  <-- LEAKS' ELSE '' END;
END $$;
SELECT sessmgr.reset();
SELECT form, hide(tells(form)) AS outcome
  FROM unnest(ARRAY['postgresql://u:s3cr3t@h/d', 'postgresql://u:s3cr3t@h:1/d?sslmode=disable', 'postgresql+psycopg2://u:s3cr3t@h/d', 'db+postgresql://u:s3cr3t@h/d',
                    'postgresql://:s3cr3t@h/d', 'postgresql://u:@h/d', 'postgresql://u:s3c%40r3t@h/d', 'postgresql://u:s3c:r3t@h/d', 'postgresql://h/d?user=u&password=s3cr3t',
                    'postgresql://h/d?sslpassword=s3cr3t&user=u', 'postgresql://h/d?password=s3cr3t&application_name=a',
                    'password=s3cr3t host=h', 'host=h password = ''s3cr3t x'' user=u', 'host=h password=s3cr\ 3t user=u', 'host=h sslpassword=s3cr3t',
                    'host=h options=''-c app.password=s3cr3t''', 'postgresql://h/d?options=-c%20app.secret%3Ds3cr3t',
                    'postgresql://u:s3cr@3t@h/d', 'postgresql://u:s3cr/3t@h/d', 'postgresql://u:s3cr?3t@h/d', 'postgresql://u:s3cr#3t@h/d', 'postgresql://u:s3cr%3t@h/d',
                    'postgresql://u:s3cr 3t@h/d', 'postgresql://u:s3cr[3t@h/d', 'postgresql://u:s3cr=3t@h/d', 'postgresql://u:s3cr&3t@h/d', 'postgresql://u:p@w?s3cr3t=1@h/d', 'postgresql://u:p@w/d?s3cr3t=x@h/d',
                    'postgresql://h/d?password=s3cr&3t', 'postgresql://h/d?password=s3cr=3t', 'postgresql://h/d?password=s3cr%3t', 'postgresql://h/d?passwd=s3cr3t',
                    'postgresql://h/d&password=s3cr3t', 'postgresql://h/dpassword=s3cr3t', 'password=s3cr 3t host=h', 'password=''s3cr3t', 'password=s3cr''3t'' host=h',
                    'passwort=s3cr3t', 'host=h;password=s3cr3t', 'host=h,password=s3cr3t', 'host=password=s3cr3t', 'host= password=s3cr3t', 'pasword=s3cr3t host=h',
                    'mysql://u:s3cr3t@h/d', 'PostgreSQL://u:s3cr3t@h/d', 'postgresql:/u:s3cr3t@h/d', 'postgresql:u:s3cr3t@h/d', 'u:s3cr3t@h/d', '//u:s3cr3t@h/d',
                    ' postgresql://u:s3cr3t@h/d', 'loopback://u:s3cr3t@h/d', 'spi:s3cr3t', 'postgresql://u:s3cr3t@h:port/d', 'postgresql://u:s3cr3t@[h/d']) form;
-- in errors of connecting and of statements, and in what the views show
SELECT uri('postgresql', '&password=s3cr3t') AS with_secret \gset
SELECT sessmgr.scalar(:'with_secret', 'SELECT 1');
DO $$
DECLARE
    context text;
BEGIN
    PERFORM sessmgr.scalar(uri('postgresql', '&password=s3cr3t'), 'SELECT 1/0');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RAISE NOTICE '%', hide(substring(context from '^statement on [^\n]*'));
END $$;
SELECT bool_or(e::text ~ 's3cr3t') AS engines FROM sessmgr.engines e;
SELECT bool_or(c::text ~ 's3cr3t') AS connections FROM sessmgr.connections c;
BEGIN;
SELECT sessmgr.execute(sessmgr.session_factory(:'with_secret'), 'SELECT 1');
SELECT bool_or(s::text ~ 's3cr3t') AS sessions FROM sessmgr.sessions s;
SELECT bool_or(a.query ~ 's3cr3t') AS activity FROM pg_stat_activity a WHERE pid IN (SELECT remote_pid FROM sessmgr.connections);
ROLLBACK;

SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP EXTENSION postgres_fdw CASCADE;
DROP EXTENSION dblink CASCADE;
DROP SERVER sm_own CASCADE;
DROP SERVER "Sm Odd.Name" CASCADE;
DROP FOREIGN DATA WRAPPER sm_other_fdw CASCADE;
RESET client_min_messages;
DROP FUNCTION reach, remote_app, tells;

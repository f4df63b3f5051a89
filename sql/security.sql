--
-- Security: each rule, and attempts to break it
--
SELECT current_database() AS db, current_user AS me, sockdir() AS dir, current_setting('port') AS port \gset
\pset format unaligned
SELECT sessmgr.reset();
GRANT CREATE ON SCHEMA public TO regress_sm_user, regress_sm_other;
CREATE FUNCTION calls(kind text, handle text) RETURNS TABLE (name text, call text)
LANGUAGE sql STABLE AS $$
    SELECT f.oid::regprocedure::text, format(CASE WHEN f.prorettype = 'record'::regtype
                                       THEN 'SELECT a FROM sessmgr.%I(%s) AS (a int)'
                                       ELSE 'SELECT sessmgr.%I(%s)::text' END, f.proname, a.args)
      FROM pg_proc f,
           LATERAL (SELECT string_agg(CASE t.type::regtype::text
                                          WHEN 'sessmgr.' || kind THEN format('%s::sessmgr.%I', handle, kind)
                                          WHEN 'text' THEN '''SELECT 1'''
                                          WHEN 'anyelement' THEN 'NULL::int'
                                          WHEN 'integer' THEN '1'
                                          WHEN 'name' THEN '''default'''
                                          WHEN 'regclass' THEN '''public.kv'''
                                          WHEN 'text[]' THEN 'NULL::text[]'
                                          ELSE '1' END, ', ' ORDER BY t.n) AS args
                      FROM unnest(f.proargtypes) WITH ORDINALITY t (type, n)) a
     WHERE f.pronamespace = 'sessmgr'::regnamespace
       AND ('sessmgr.' || kind)::regtype = ANY (f.proargtypes)
       AND f.proname !~ ('^' || kind || '_')
$$;

--
-- 1. What a role made is for that role
--
-- a SECURITY DEFINER function that hands its handles to its caller
SET ROLE regress_sm_user;
CREATE FUNCTION leak_session() RETURNS sessmgr.session SECURITY DEFINER LANGUAGE sql AS $$ SELECT sessmgr.session_factory('loop') $$;
CREATE FUNCTION leak_engine() RETURNS sessmgr.engine SECURITY DEFINER LANGUAGE sql AS $$ SELECT sessmgr.get_engine('loop') $$;
CREATE FUNCTION leak_factory() RETURNS sessmgr.sessionmaker SECURITY DEFINER LANGUAGE sql AS $$ SELECT factory FROM sessmgr.create_session('loop') $$;
-- what it does itself is its own business
CREATE FUNCTION lookup(k int) RETURNS text SECURITY DEFINER LANGUAGE sql AS $$ SELECT sessmgr.scalar('loop', 'SELECT v FROM kv WHERE k = $1', k) $$;
SET ROLE regress_sm_other;
BEGIN;
SELECT leak_session() AS s, leak_engine() AS e, leak_factory() AS f \gset
SELECT name, try(call) AS outcome
  FROM (VALUES ('session', :'s'), ('engine', :'e'), ('sessionmaker', :'f')) h (kind, handle), calls(kind, quote_literal(handle))
 ORDER BY name COLLATE "C";
SELECT lookup(3);
SELECT count(*) FROM sessmgr.engines;
SELECT count(*) FROM sessmgr.sessions;
SELECT count(*) FROM sessmgr.connections;
-- its dburi is not a way in either
SELECT try('SELECT sessmgr.scalar(''loop'', ''SELECT 1'')');
ROLLBACK;
RESET ROLE;
-- the superuser's connection by a definer's function, used by its caller: not that either
CREATE FUNCTION leak_super() RETURNS sessmgr.session SECURITY DEFINER LANGUAGE sql AS $$ SELECT sessmgr.session_factory('loopback:', '{"hold": true}') $$;
SET ROLE regress_sm_user;
SELECT leak_super() AS s \gset
SELECT try(format('SELECT sessmgr.scalar(%L::sessmgr.session, ''SELECT current_user'')', :'s'));
SELECT try(format('SELECT sessmgr.close(%L)', :'s'));
RESET ROLE;
SELECT sessmgr.close(:'s');
-- the role changes between calls
SET ROLE regress_sm_user;
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SELECT 1');
SET ROLE regress_sm_other;
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', :'s')) AS other;
RESET ROLE;
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', :'s')) AS superuser;
GRANT regress_sm_user TO regress_sm_other;
SET ROLE regress_sm_other;
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', :'s')) AS member;
SELECT role, state FROM sessmgr.sessions;
RESET ROLE;
REVOKE regress_sm_user FROM regress_sm_other;
ALTER ROLE regress_sm_other NOINHERIT;
GRANT regress_sm_user TO regress_sm_other;
SET ROLE regress_sm_other;
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', :'s')) AS member_without_privileges;
SELECT role, state FROM sessmgr.sessions;
RESET ROLE;
REVOKE regress_sm_user FROM regress_sm_other;
ALTER ROLE regress_sm_other INHERIT;
SELECT sessmgr.close(:'s');
-- a role that is gone
CREATE ROLE regress_sm_gone;
GRANT USAGE ON SCHEMA sessmgr TO regress_sm_gone;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO regress_sm_gone;
SET ROLE regress_sm_gone;
SELECT sessmgr.session_factory('spi:', '{"hold": true}') AS s \gset
RESET ROLE;
REVOKE ALL ON SCHEMA sessmgr FROM regress_sm_gone;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA sessmgr FROM regress_sm_gone;
DROP ROLE regress_sm_gone;
SELECT role, dburi FROM sessmgr.sessions;
SET ROLE regress_sm_user;
SELECT try(format('SELECT sessmgr.close(%L)', :'s'));
RESET ROLE;
SELECT sessmgr.close(:'s');
SELECT sessmgr.reset();

--
-- 2. Who may name a target
--
SET ROLE regress_sm_other;
SELECT dburi, try(format('SELECT sessmgr.scalar(%L, ''SELECT 1'')', replace(dburi, 'DB', :'db'))) AS outcome
  FROM unnest(ARRAY['loop', 'postgresql://u:pw@h/d', 'host=h password=pw', 'db+postgresql://u:pw@h/d', 'loopback:', 'loopback:DB', 'spi:']) dburi;
SET ROLE regress_sm_none;
SELECT try(call) FROM unnest(ARRAY['SELECT sessmgr.scalar(''spi:'', ''SELECT 1'')', 'SELECT count(*) FROM sessmgr.engines']) call;
RESET ROLE;
GRANT USAGE ON SCHEMA sessmgr TO regress_sm_none;
SET ROLE regress_sm_none;
SELECT try(call) FROM unnest(ARRAY['SELECT sessmgr.scalar(''spi:'', ''SELECT 1'')', 'SELECT sessmgr.get_engine(''spi:'')', 'SELECT sessmgr.reset()',
    'SELECT count(*) FROM sessmgr.engines', 'SELECT sessmgr.forked()', 'SELECT count(*) > 10 FROM sessmgr.options()']) call;
RESET ROLE;
REVOKE USAGE ON SCHEMA sessmgr FROM regress_sm_none;
-- USAGE on the wrapper is the right to name any; it can be taken back at any time
GRANT USAGE ON FOREIGN DATA WRAPPER sessmgr TO regress_sm_other;
SELECT format('postgresql://%s@/%s?host=%s&port=%s', :'me', :'db', :'dir', :'port') AS uri \gset
SET ROLE regress_sm_other;
SELECT try(format('SELECT sessmgr.get_engine(%L)', :'uri'));
RESET ROLE;
REVOKE USAGE ON FOREIGN DATA WRAPPER sessmgr FROM regress_sm_other;
SET ROLE regress_sm_other;
SELECT try(format('SELECT sessmgr.get_engine(%L)', :'uri'));
RESET ROLE;
GRANT USAGE ON FOREIGN DATA WRAPPER sessmgr TO regress_sm_other;

--
-- 3. Passwords, and options for superusers
--
-- none is given: refused before anything is connected to (nothing listens there)
CREATE SERVER sec FOREIGN DATA WRAPPER sessmgr OPTIONS (host '/nowhere', dbname :'db');
GRANT USAGE ON FOREIGN SERVER sec TO regress_sm_other;
CREATE USER MAPPING FOR regress_sm_other SERVER sec OPTIONS (user :'me');
SET ROLE regress_sm_other;
SELECT try('SELECT sessmgr.scalar(''sec'', ''SELECT 1'')') AS server;
SELECT try(format('SELECT sessmgr.scalar(%L, ''SELECT 1'')', dburi)) AS literal
  FROM unnest(ARRAY['postgresql://u@h/d', 'postgresql://u:@h/d', 'postgresql:///?password=', 'host=/nowhere', 'host=/nowhere password=''''']) dburi;
SELECT sessmgr.invalidate('host=/nowhere');
SELECT sessmgr.get_engine('host=/nowhere', '{"connect_args": {"password": ""}}') IS NOT NULL AS made;
SELECT try('SELECT sessmgr.scalar(''host=/nowhere'', ''SELECT 1'')') AS empty;
RESET ROLE;
-- one is given: it must also have been used
ALTER USER MAPPING FOR regress_sm_other SERVER sec OPTIONS (ADD password 's3cr3t');
SET ROLE regress_sm_other;
SELECT left(try('SELECT sessmgr.scalar(''sec'', ''SELECT 1'')'), 40) AS it_tries;
RESET ROLE;
ALTER SERVER sec OPTIONS (SET host :'dir', ADD port :'port');
SET ROLE regress_sm_other;
SELECT try('SELECT sessmgr.scalar(''sec'', ''SELECT 1'')') AS trusting_server;
SELECT try(format('SELECT sessmgr.scalar(%L, ''SELECT 1'')', :'uri' || '&password=s3cr3t')) AS trusting_uri;
SELECT count(*) FROM sessmgr.connections;
-- only a superuser can do without, and only in the user mapping
SELECT try('ALTER USER MAPPING FOR CURRENT_USER SERVER sec OPTIONS (ADD password_required ''false'')');
SELECT try('SELECT sessmgr.get_engine(''sec'', ''{"password_required": false}'')');
SELECT try('SELECT sessmgr.get_engine(''host=h'', ''{"connect_args": {"password_required": false}}'')');
RESET ROLE;
ALTER USER MAPPING FOR regress_sm_other SERVER sec OPTIONS (ADD password_required 'false');
SET ROLE regress_sm_other;
SELECT sessmgr.scalar('sec', 'SELECT 1');
RESET ROLE;
-- and when that changes, it counts for connections that are there already
ALTER USER MAPPING FOR regress_sm_other SERVER sec OPTIONS (SET password_required 'true');
SET ROLE regress_sm_other;
SELECT try('SELECT sessmgr.scalar(''sec'', ''SELECT 1'')') AS no_longer;
RESET ROLE;
ALTER USER MAPPING FOR regress_sm_other SERVER sec OPTIONS (DROP password);
ALTER ROLE regress_sm_other SUPERUSER LOGIN;
SET ROLE regress_sm_other;
SELECT sessmgr.scalar('sec', 'SELECT 1') AS superuser, sessmgr.scalar('loopback:', 'SELECT session_user') AS never_another_user;
SELECT sessmgr.session_factory('sec', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SELECT 1');
RESET ROLE;
ALTER ROLE regress_sm_other NOSUPERUSER NOLOGIN;
SET ROLE regress_sm_other;
SELECT try('SELECT sessmgr.scalar(''sec'', ''SELECT 1'')') AS server, try('SELECT sessmgr.scalar(''loopback:'', ''SELECT 1'')') AS loopback;
-- a transaction under way may be finished
SELECT sessmgr.rollback(:'s');
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', :'s'));
SELECT sessmgr.close(:'s');
RESET ROLE;

-- what only superusers may set, wherever it stands
CREATE SERVER sec_own FOREIGN DATA WRAPPER sessmgr OPTIONS (host 'h');
ALTER SERVER sec_own OWNER TO regress_sm_other;
SET ROLE regress_sm_other;
CREATE USER MAPPING FOR CURRENT_USER SERVER sec_own;
SELECT keyword, try(format('ALTER SERVER sec_own OPTIONS (ADD %I ''x'')', keyword)) AS server,
       try(format('ALTER USER MAPPING FOR CURRENT_USER SERVER sec_own OPTIONS (ADD %I ''x'')', keyword)) AS mapping,
       try(format('SELECT sessmgr.get_engine(%L)', 'postgresql://u:pw@h/d?' || keyword || '=x')) AS uri,
       try(format('SELECT sessmgr.get_engine(%L)', 'host=h password=pw ' || keyword || '=x')) AS keywords,
       try(format('SELECT sessmgr.get_engine(%L, %L)', 'host=h password=' || keyword, jsonb_build_object('connect_args', jsonb_build_object(keyword, 'x')))) AS connect_args
  FROM unnest(ARRAY['passfile', 'service', 'sslcert', 'sslkey', 'sslrootcert', 'sslcrl', 'sslcrldir', 'krbsrvname']) keyword;
RESET ROLE;
-- in the server of another wrapper that lets its owner
CREATE EXTENSION dblink;
CREATE SERVER sec_dblink FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host 'h', service 'admin');
ALTER SERVER sec_dblink OWNER TO regress_sm_other;
SET ROLE regress_sm_other;
CREATE USER MAPPING FOR CURRENT_USER SERVER sec_dblink OPTIONS (user 'u', password 'pw');
SELECT try('SELECT sessmgr.get_engine(''sec_dblink'')');
ALTER SERVER sec_dblink OPTIONS (DROP service);
SELECT try('SELECT sessmgr.get_engine(''sec_dblink'')');
RESET ROLE;

-- connect_args lead nobody's named server, with its password, elsewhere
CREATE SERVER sec_named FOREIGN DATA WRAPPER sessmgr OPTIONS (host 'h', sslmode 'verify-full');
GRANT USAGE ON FOREIGN SERVER sec_named TO PUBLIC;
CREATE USER MAPPING FOR PUBLIC SERVER sec_named OPTIONS (user 'u', password 's3cr3t');
SET ROLE regress_sm_other;
SELECT args, try(format('SELECT sessmgr.get_engine(''sec_named'', %L)', jsonb_build_object('connect_args', args))) AS outcome, sessmgr.invalidate('sec_named') AS made
  FROM unnest(ARRAY['{"host": "evil"}', '{"hostaddr": "10.0.0.1"}', '{"port": 1}', '{"dbname": "d"}', '{"dbname": "postgresql://evil/d"}', '{"user": "v"}', '{"password": "p"}',
                    '{"sslmode": "disable"}', '{"gssencmode": "disable"}', '{"channel_binding": "disable"}', '{"requirepeer": "v"}', '{"service": "s"}', '{"sslcert": "c"}',
                    '{"application_name": "a", "keepalives": 0, "options": "-c geqo=off", "target_session_attrs": "any"}']::jsonb[]) args;
-- dbname is a name, not a connection string
SELECT regexp_replace(try(format('SELECT sessmgr.scalar(%L, ''SELECT 1'')', 'postgresql:///host%3Devil?host=/nowhere&password=p')), ' \| .*', '');
RESET ROLE;
SELECT regexp_replace(try('SELECT sessmgr.scalar(''loopback:host=evil'', ''SELECT 1'')'), '^.*FATAL: *', '');

--
-- 4. Secrets: see also test targets
--
SET ROLE regress_sm_other;
SELECT try('SELECT sessmgr.get_engine(''sec_named'')');
SELECT hide(dburi) AS dburi FROM sessmgr.engines ORDER BY dburi COLLATE "C";
SELECT count(*) FROM sessmgr.engines e WHERE e::text ~ 's3cr3t';
SELECT umoptions FROM pg_user_mappings WHERE srvname = 'sec_named';
RESET ROLE;

--
-- 5. Names that others have made do not get into the extension's own SQL
--
SELECT sessmgr.reset();
-- a schema full of traps: operators, functions, tables and types with the names
-- of those of pg_catalog
CREATE FUNCTION traps() RETURNS text LANGUAGE sql AS $traps$ SELECT $do$
DO $$
DECLARE
    t text;
    f text;
BEGIN
    CREATE SCHEMA sm_attack;
    GRANT USAGE ON SCHEMA sm_attack TO PUBLIC;
    CREATE FUNCTION sm_attack.attack() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''attacked''; END';
    FOREACH t IN ARRAY ARRAY['name', 'text', 'oid', 'int4', '"char"', 'regclass', 'bool', 'int8', 'int2'] LOOP
        EXECUTE format('CREATE FUNCTION sm_attack.op(%s, %s) RETURNS boolean LANGUAGE sql AS ''SELECT sm_attack.attack()''', t, t);
        FOREACH f IN ARRAY ARRAY['=', '<>', '<', '>', '||', '~', '!~', '~~', '+', '&'] LOOP
            EXECUTE format('CREATE OPERATOR sm_attack.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = sm_attack.op)', f, t, t);
        END LOOP;
    END LOOP;
    FOR f IN SELECT format('CREATE FUNCTION sm_attack.%I(%s) RETURNS %s LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION ''''attacked by %s''''; END''',
                           proname, pg_get_function_identity_arguments(oid), pg_get_function_result(oid), proname)
               FROM pg_proc
              WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
                AND proname ~ '^(pg_get_.*|pg_has_role|pg_table_is_visible|pg_advisory.*lock.*|format|format_type|quote_.*|obj_description|col_description|array_to_string|current_setting|set_config|to_reg.*|has_.*_privilege|regexp_.*|string_to_array|lower|length|concat.*|hashtext.*|pg_sequence.*|pg_backend_pid|version|array_length|replace|position|strpos|substr.*|pg_relation_.*|pg_collation_.*|pg_type_is_visible|acldefault|aclexplode|array_position|generate_series|nextval|setval)$'
                AND prorettype NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p' AND typname NOT IN ('record', 'void'))
                AND NOT EXISTS (SELECT FROM unnest(proargtypes) a JOIN pg_type t ON t.oid = a AND t.typtype = 'p')
    LOOP
        EXECUTE f;
    END LOOP;
    FOREACH t IN ARRAY ARRAY['pg_class', 'pg_namespace', 'pg_attribute', 'pg_proc', 'pg_type', 'pg_constraint', 'pg_index', 'pg_sequence', 'pg_collation',
                             'model_registry', 'engines'] LOOP
        EXECUTE format('CREATE TABLE sm_attack.%I ()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['text', 'name', 'oid', 'regclass', 'regtype', 'int4', 'int8'] LOOP
        EXECUTE format('CREATE DOMAIN sm_attack.%I AS pg_catalog.point', t);
    END LOOP;
END $$
$do$ $traps$;
DO $$ BEGIN EXECUTE public.traps(); END $$;
CREATE DATABASE sm_target TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
SELECT sessmgr.execute('loopback:sm_target', traps());
SELECT sessmgr.execute('loopback:sm_target', 'ALTER DATABASE sm_target SET search_path = sm_attack, pg_catalog, public');
SELECT sessmgr.reset();
SELECT count(*) > 100 AS armed FROM pg_proc WHERE pronamespace = 'sm_attack'::regnamespace;
CREATE SCHEMA sm_model;
CREATE TABLE sm_model.parent (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE CHECK (length(name) > 2));
CREATE TABLE sm_model.child (id serial, parent int NOT NULL REFERENCES sm_model.parent ON DELETE CASCADE,
                             label text DEFAULT lower('X' || 'Y'), upper text GENERATED ALWAYS AS ('u' || 5::text) STORED);
CREATE INDEX ON sm_model.child (lower(label)) WHERE parent > 0;
COMMENT ON TABLE sm_model.child IS 'a child';
SELECT sessmgr.add_model('sm_model.parent', 'attack'), sessmgr.add_model('sm_model.child', 'attack');

SET search_path = sm_attack, pg_catalog, public;
-- the trap works, here and there
SELECT 1 = 1;
SELECT sessmgr.scalar('loopback:sm_target', 'SELECT 1 = 1');
SELECT relation, metadata, kind FROM sessmgr.models WHERE metadata OPERATOR(pg_catalog.=) 'attack'::pg_catalog.name ORDER BY relation DESC;
BEGIN;
SELECT sessmgr.session_factory('loopback:sm_target') AS s \gset
SELECT sessmgr.prepare_models(sessmgr.get_engine('loopback:sm_target'), 'attack'), sessmgr.prepared(sessmgr.get_engine('loopback:sm_target'), 'attack');
SELECT sessmgr.begin(:'s'), sessmgr.begin_nested(:'s'), sessmgr.rollback_to(:'s', 1), sessmgr.release(:'s', 1), sessmgr.commit(:'s');
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO sm_model.parent (name) VALUES ($1)', 'three'::pg_catalog.text);
SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT INTO sm_model.child (parent) SELECT id FROM sm_model.parent');
SELECT sessmgr.query_json(:'s'::sessmgr.session, 'TABLE sm_model.child');
SELECT * FROM sessmgr.query(:'s'::sessmgr.session, 'TABLE sm_model.child') AS (id pg_catalog.int4, parent pg_catalog.int4, label pg_catalog.text, upper pg_catalog.text);
SELECT sessmgr.scalar_as(NULL::pg_catalog.int8, :'s'::sessmgr.session, 'SELECT id FROM sm_model.child');
SELECT sessmgr.rollback(:'s'), sessmgr.in_transaction(:'s'), sessmgr.close(:'s');
SELECT sessmgr.query_json('loopback:sm_target', 'SELECT $1 AS a', 1);
SELECT sessmgr.scalar('spi:', 'SELECT $1', 1), sessmgr.query_json('spi:', 'SELECT $1 AS a', 1);
SELECT hits, prepared FROM sessmgr.engines;
SELECT state FROM sessmgr.sessions;
COMMIT;
SELECT sessmgr.invalidate('loopback:sm_target'), sessmgr.dispose(sessmgr.get_engine('loopback:sm_target'));
-- spi: runs the caller's SQL as the caller would
SELECT sessmgr.scalar('spi:', 'SELECT 1 = 1');
SELECT sessmgr.drop_model('sm_model.child'), sessmgr.drop_model('sm_model.parent');
RESET search_path;
SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP DATABASE sm_target WITH (FORCE);
DROP SCHEMA sm_attack, sm_model CASCADE;
RESET client_min_messages;
DROP FUNCTION traps;

SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP EXTENSION dblink CASCADE;
DROP SERVER sec CASCADE;
DROP SERVER sec_own CASCADE;
DROP SERVER sec_named CASCADE;
RESET client_min_messages;
DROP FUNCTION calls, leak_session, leak_engine, leak_factory, leak_super, lookup;
REVOKE USAGE ON FOREIGN DATA WRAPPER sessmgr FROM regress_sm_other;
REVOKE CREATE ON SCHEMA public FROM regress_sm_user, regress_sm_other;

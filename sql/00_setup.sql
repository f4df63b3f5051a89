--
-- What all tests use: the extension, a server that leads back to this database,
-- roles without and with rights, and functions that keep what differs from run
-- to run out of the output.
--
SELECT current_database() AS db, current_user AS me \gset

-- left behind by an earlier run on this cluster
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_sm_user, regress_sm_other, regress_sm_none;
RESET client_min_messages;

CREATE EXTENSION sessmgr;

-- "loop" leads to this database, over its own socket
CREATE SERVER loop FOREIGN DATA WRAPPER sessmgr
    OPTIONS (loopback 'true', dbname :'db');
CREATE USER MAPPING FOR CURRENT_USER SERVER loop OPTIONS (user :'me');

CREATE ROLE regress_sm_user;
CREATE ROLE regress_sm_other;
CREATE ROLE regress_sm_none;

-- the one GRANT recipe of the documentation
GRANT USAGE ON SCHEMA sessmgr TO regress_sm_user, regress_sm_other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO regress_sm_user, regress_sm_other;
GRANT USAGE ON FOREIGN SERVER loop TO regress_sm_user;

-- regress_sm_user comes back as the superuser, without a password, because a
-- superuser said so
CREATE USER MAPPING FOR regress_sm_user SERVER loop
    OPTIONS (user :'me', password_required 'false');

-- a table on the target
CREATE TABLE public.kv (k integer PRIMARY KEY, v text);
INSERT INTO kv SELECT i, 'v' || i FROM generate_series(1, 10) i;
GRANT ALL ON kv TO PUBLIC;

-- this cluster's socket directory (or host) and port, as a client names them
CREATE FUNCTION public.sockdir() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN coalesce(nullif(split_part(current_setting('unix_socket_directories'), ',', 1), ''),
                    'localhost');

-- a text without what differs from run to run: handles, socket directory, port,
-- the name of the superuser
CREATE FUNCTION public.hide(t text) RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    me text := regexp_replace(session_user, '(\W)', '\\\1', 'g');
BEGIN
    t := replace(t, public.sockdir(), 'SOCKDIR');
    t := regexp_replace(t, '\m' || current_setting('port') || '\M', 'PORT', 'g');
    t := regexp_replace(t, '(user=|://|user "|role ")' || me || '\M', '\1ME', 'g');
    RETURN regexp_replace(t, '\m(engine|sessionmaker|session)/[0-9a-f]{8}/[0-9]+', '\1/#', 'g');
END $$;

-- what the system has given this process of memory, in kB; null where the system
-- does not say, and with AddressSanitizer, which keeps what was freed
CREATE FUNCTION public.anonymous_kb() RETURNS bigint LANGUAGE sql AS $$
    SELECT (regexp_match(pg_read_file('/proc/self/status', 0, 100000, true), 'RssAnon:\s+(\d+)'))[1]::bigint
     WHERE NOT EXISTS (SELECT FROM pg_config WHERE name = 'CFLAGS' AND setting LIKE '%-fsanitize=%') $$;

-- a statement's value, "ok", or its error: SQLSTATE: message | detail | hint
CREATE FUNCTION public.try(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    value text;
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    IF sql ~* '^\s*(select|values|table|show)\M' THEN
        EXECUTE sql INTO value;
        RETURN coalesce(public.hide(value), 'NULL');
    END IF;
    EXECUTE sql;
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN public.hide(state || ': ' || message ||
                       CASE WHEN detail <> '' THEN ' | ' || detail ELSE '' END ||
                       CASE WHEN hint <> '' THEN ' | ' || hint ELSE '' END);
END $$;

-- a URI that leads back to this database as this user
CREATE FUNCTION public.uri(scheme text DEFAULT 'postgresql', extra text DEFAULT '')
    RETURNS text LANGUAGE sql STABLE
    RETURN format('%s:///%s?host=%s&port=%s&user=%s%s', scheme, current_database(),
                  public.sockdir(), current_setting('port'), current_user, extra);

SELECT sessmgr.scalar('loop', 'SELECT 1');
SELECT try('SELECT 1/0'), try('SELECT ''a'''), try('SELECT NULL'), try('ANALYZE kv');
SELECT hide(format('session/0123abcd/12 at %s port %s for postgresql://%s@h', sockdir(), current_setting('port'), current_user));

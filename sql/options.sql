--
-- Options: what each takes, where it may stand, and which place wins
--
SELECT current_database() AS db, current_user AS me \gset
\pset format unaligned
SELECT sessmgr.reset();
SELECT name, contexts, belongs_to, type, unit, default_value, setting IS NOT NULL AS setting, superuser_only
  FROM sessmgr.options();
-- each has a description, and a setting of the same default where it has one
SELECT name FROM sessmgr.options() WHERE description !~ '^[A-Z].*\.$';
SELECT o.name, o.setting, s.boot_val, s.unit, o.default_value, s.short_desc = o.description AS same_description
  FROM sessmgr.options() o LEFT JOIN pg_settings s ON s.name = o.setting
 WHERE o.setting IS NOT NULL ORDER BY o.name COLLATE "C";
SELECT name FROM pg_settings WHERE name LIKE 'sessmgr.%' EXCEPT SELECT setting FROM sessmgr.options() ORDER BY 1;

CREATE SERVER opt FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname :'db');
CREATE USER MAPPING FOR CURRENT_USER SERVER opt OPTIONS (user :'me');

-- the list of libpq's options differs between its versions
CREATE FUNCTION brief(t text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(t, '(context are: pool_size, max_overflow, ).*\.$', '\1...')
$$;
-- an option's outcome in each place
CREATE FUNCTION in_server(name text, value text) RETURNS text LANGUAGE sql AS $$
    SELECT brief(try(format('SELECT sessmgr.sessmgr_fdw_validator(ARRAY[%L], ''pg_foreign_server''::regclass)', name || '=' || value)))
$$;
CREATE FUNCTION in_mapping(name text, value text) RETURNS text LANGUAGE sql AS $$
    SELECT brief(try(format('SELECT sessmgr.sessmgr_fdw_validator(ARRAY[%L], ''pg_user_mapping''::regclass)', name || '=' || value)))
$$;
CREATE FUNCTION in_call(name text, value jsonb) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    result text;
BEGIN
    PERFORM sessmgr.invalidate('opt');
    result := try(format('SELECT NULL FROM (SELECT sessmgr.get_engine(''opt'', %L)) x', jsonb_build_object(name, value)));
    PERFORM sessmgr.invalidate('opt');
    RETURN brief(regexp_replace(result, '^NULL$', ''));
END $$;

-- every option with good, bad and extreme values; what server, mapping and call
-- say must be the same
CREATE TEMP TABLE tried (n int GENERATED ALWAYS AS IDENTITY, name text, value text);
INSERT INTO tried (name, value)
    SELECT name, value
      FROM sessmgr.options() o,
           unnest(CASE
               WHEN o.type LIKE 'integer%' THEN
                   ARRAY['-2', '-1', '0', '1', '7', '10000', '10001', '2147483648', '99999999999999999999', '1e3', '1.5', '1.0', '0x10',
                         '', ' ', '5 ', ' 5', '5s', 'five', 'NaN', 'Infinity', 'on']
               WHEN o.type LIKE 'time%' THEN
                   ARRAY['-2', '-1', '-1s', '-0.5', '0', '0s', '1', '1.5', '15', '500ms', '1us', '0.1ms', '1s', '1.5s', '2min', '1h', '24d',
                         '25d', '2147483', '2147483s', '2147484', '2147484s', '1e9', '', ' ', '5 s', '5S', '5sec', 'five', 'NaN', 'Infinity', 'on']
               WHEN o.type = 'boolean' THEN
                   ARRAY['on', 'off', 'true', 'false', 'yes', 'no', '1', '0', 't', 'F', 'ON', '', ' ', '2', '-1', 'maybe', 'o', 'default']
               ELSE
                   ARRAY['', ' ', '1', 'nonsense', 'on', 'off', 'default', 'DEFAULT', 'rollback', 'Discard', 'none', 'QueuePool', 'nullpool',
                         'manual', 'autocommit', 'AUTOCOMMIT', 'joined', 'two_phase', 'READ COMMITTED', 'read committed', 'READ_COMMITTED',
                         'READ  COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE', 'read uncommitted', 'tRuE', 'session', 'Transaction']
               END) value
     WHERE o.contexts = 'server, user mapping, call';
SELECT name, string_agg(format('"%s"', value), ' ' ORDER BY n) FILTER (WHERE outcome = '') AS taken,
       string_agg(format('"%s"', value), ' ' ORDER BY n) FILTER (WHERE outcome LIKE '22023: invalid value for option%') AS refused,
       string_agg(outcome, E'\n' ORDER BY n) FILTER (WHERE outcome <> '' AND outcome NOT LIKE '22023: invalid value for option%') AS other
  FROM (SELECT *, in_server(name, value) AS outcome FROM tried) t GROUP BY name ORDER BY name COLLATE "C";
SELECT * FROM (SELECT name, value, in_server(name, value) AS server, in_mapping(name, value) AS mapping, in_call(name, to_jsonb(value)) AS call FROM tried) t
 WHERE server <> mapping OR server <> call;

-- what the refusals say
SELECT name, left(value, 12) AS value, in_server(name, value)
  FROM (VALUES ('pool_size', '0'), ('pool_size', 'many'), ('max_overflow', '-2'), ('pool_timeout', '-1'), ('pool_timeout', '5 parsecs'),
               ('pool_recycle', '-2'), ('connect_timeout', '0'), ('statement_timeout', '500'), ('statement_timeout', '-1s'),
               ('commit_timeout', '0'), ('commit_timeout', '30'), ('cleanup_timeout', '25d'), ('pool_pre_ping', 'perhaps'),
               ('pool_reset_on_return', 'commit'), ('poolclass', 'StaticPool'), ('isolation_level', 'SNAPSHOT'), ('transaction', 'join'),
               ('read_only', 'sometimes'), ('pool_size', repeat('9', 1000)), ('hold', repeat('é', 100))) v (name, value);

-- JSON values
SELECT name, value, in_call(name, value)
  FROM (VALUES ('pool_size', '7'::jsonb), ('pool_size', '"7"'), ('pool_size', '7.0'), ('pool_size', '7.5'), ('pool_size', '1e1'),
               ('pool_size', 'true'), ('pool_size', 'null'), ('pool_size', '[7]'), ('pool_size', '{"a": 7}'), ('pool_size', '-3'),
               ('pool_timeout', '0.5'), ('pool_timeout', '"500ms"'), ('statement_timeout', '500'), ('statement_timeout', '0'),
               ('hold', 'true'), ('hold', '"yes"'), ('hold', '1'), ('hold', 'null'), ('read_only', 'false'), ('read_only', '"default"'),
               ('isolation_level', 'true'), ('poolclass', '"NullPool"'), ('connect_args', '{}'), ('connect_args', '[]'), ('connect_args', '"host=x"'),
               ('connect_args', 'null'), ('connect_args', '{"keepalives": true}'), ('connect_args', '{"keepalives": null}'),
               ('connect_args', '{"options": {"a": 1}}'), ('connect_args', '{"application_name": "é"}')) v (name, value);
-- the last of two wins in JSON, in a server there cannot be two
SELECT try('SELECT NULL FROM (SELECT sessmgr.get_engine(''opt'', ''{"pool_size": 0, "pool_size": 3}'')) x');
SELECT pool_size FROM sessmgr.engines WHERE dburi = 'opt';

--
-- Names that are wrong, or in the wrong place
--
SELECT name, in_server(name, '1') AS server, in_mapping(name, '1') AS mapping
  FROM unnest(ARRAY['pol_size', 'poolsize', 'pool-size', 'Pool_Size', 'isolation', 'pool_recyle', 'hst', 'usr', 'loopback', 'password_required',
                    'connect_args', 'user', 'password', 'host', 'sslcert', 'client_encoding', 'replication', 'fallback_application_name']) name;
SELECT name, in_call(name, '1') AS call
  FROM unnest(ARRAY['pol_size', 'Pool_Size', '', 'pool_resycle', 'host', 'password', 'user', 'loopback', 'password_required', 'service', 'client_encoding']) name;
-- two letters that changed places are one mistake
SELECT name, in_server(name, '1') AS server, in_call(name, '1') AS call
  FROM unnest(ARRAY['hots', 'prot', 'ehco', 'HOTS', 'pool_szie', 'statement_timeuot', 'dbnaem', 'isolatoin_level', 'usre', 'hodl']) name;
-- what it is called elsewhere
SELECT name, in_server(name, '1') AS server, in_mapping(name, '1') AS mapping, in_call(name, '1') AS call
  FROM unnest(ARRAY['database', 'DATABASE', 'Database_Name', 'username', 'autocommit', 'auto_commit', 'two_phase', 'two-phase', 'timeout', 'passwd', 'ssl', 'search_path', 'max_size']) name;
-- nothing is near
SELECT in_server('zzz', '1'), in_mapping('zzz', '1'), in_call('zzz', '1');
SELECT in_server(repeat('x', 200), '1');
-- by DDL
CREATE SERVER bad FOREIGN DATA WRAPPER sessmgr OPTIONS (pool_sise '3');
CREATE SERVER bad FOREIGN DATA WRAPPER sessmgr OPTIONS (pool_size 'three');
ALTER SERVER opt OPTIONS (ADD isolation_level 'SNAPSHOT');
ALTER USER MAPPING FOR CURRENT_USER SERVER opt OPTIONS (ADD host 'example.com');
ALTER FOREIGN DATA WRAPPER sessmgr OPTIONS (ADD pool_size '3');
CREATE FOREIGN TABLE bad (a int) SERVER opt OPTIONS (pool_size '3');
SELECT srvname, srvoptions[1] FROM pg_foreign_server WHERE srvname IN ('bad', 'opt');

--
-- Options that contradict each other
--
SELECT options, try(format('SELECT sessmgr.sessmgr_fdw_validator(%L, ''pg_foreign_server''::regclass)', options)) AS outcome
  FROM (VALUES (ARRAY['isolation_level=AUTOCOMMIT']), (ARRAY['isolation_level=AUTOCOMMIT', 'transaction=autocommit']),
               (ARRAY['isolation_level=AUTOCOMMIT', 'transaction=manual']), (ARRAY['transaction=manual', 'isolation_level=autocommit']),
               (ARRAY['isolation_level=SERIALIZABLE', 'transaction=autocommit']), (ARRAY['loopback=true', 'host=db2']),
               (ARRAY['hostaddr=10.0.0.1', 'loopback=on']), (ARRAY['loopback=on', 'port=1']), (ARRAY['loopback=on', 'service=x']),
               (ARRAY['loopback=off', 'host=db2']), (ARRAY['loopback=maybe']), (ARRAY['loopback=on', 'dbname=other', 'application_name=a'])) v (options);
SELECT options, try(format('SELECT NULL FROM (SELECT sessmgr.create_session(''opt'', options => %L)) x', options)) AS outcome
  FROM unnest(ARRAY['{"isolation_level": "AUTOCOMMIT", "transaction": "manual"}', '{"isolation_level": "AUTOCOMMIT", "transaction": "autocommit"}']) options;

--
-- Precedence: call over mapping over server over setting over built-in
--
-- what an engine has, by asking it for something else
CREATE FUNCTION has(dburi text, option text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    other text := CASE WHEN option IN ('pool_size', 'max_overflow', 'statement_cache_size') THEN '9999'
                       WHEN option ~ '_timeout$|_recycle$' THEN '77h'
                       WHEN option = 'pool_reset_on_return' THEN 'none'
                       WHEN option = 'poolclass' THEN 'NullPool'
                       WHEN option = 'isolation_level' THEN 'READ UNCOMMITTED'
                       WHEN option = 'transaction' THEN 'autocommit'
                       WHEN option = 'binary' THEN 'off'
                       WHEN option = 'pooler' THEN 'session'
                       ELSE 'on' END;
    outcome text;
BEGIN
    PERFORM sessmgr.get_engine(dburi);
    LOOP
        outcome := try(format('SELECT NULL FROM (SELECT sessmgr.get_engine(%L, %L)) x', dburi, jsonb_build_object(option, other)));
        IF outcome <> 'NULL' THEN
            RETURN coalesce(substring(outcome from 'The engine has (.*), the call asks for'), outcome);
        END IF;
        other := CASE option WHEN 'transaction' THEN 'manual' ELSE 'off' END;	-- it has the first guess
    END LOOP;
END $$;
SELECT name, default_value, has('opt', name) AS engine
  FROM sessmgr.options() WHERE contexts = 'server, user mapping, call' ORDER BY name COLLATE "C";

SELECT sessmgr.invalidate('opt');
SELECT has('opt', 'pool_size') AS built_in;
SET sessmgr.pool_size = 11;
SELECT has('opt', 'pool_size') AS setting;
ALTER SERVER opt OPTIONS (ADD pool_size '12');
SELECT has('opt', 'pool_size') AS server;
ALTER USER MAPPING FOR CURRENT_USER SERVER opt OPTIONS (ADD pool_size '13');
SELECT has('opt', 'pool_size') AS mapping;
SELECT sessmgr.invalidate('opt');
SELECT sessmgr.get_engine('opt', '{"pool_size": 14}') IS NOT NULL AS call;
SELECT has('opt', 'pool_size') AS call;
SET sessmgr.pool_size = 15;
ALTER SERVER opt OPTIONS (SET pool_size '16');
ALTER USER MAPPING FOR CURRENT_USER SERVER opt OPTIONS (SET pool_size '17');
SELECT has('opt', 'pool_size') AS still_the_calls;
SELECT sessmgr.invalidate('opt');
SELECT has('opt', 'pool_size') AS mapping;
ALTER USER MAPPING FOR CURRENT_USER SERVER opt OPTIONS (DROP pool_size);
SELECT has('opt', 'pool_size') AS server;
ALTER SERVER opt OPTIONS (DROP pool_size);
SELECT has('opt', 'pool_size') AS setting;
RESET sessmgr.pool_size;
SELECT has('opt', 'pool_size') AS built_in;
-- a setting that is rolled back
BEGIN;
SET LOCAL sessmgr.pool_size = 18;
SELECT has('opt', 'pool_size') AS inside;
ROLLBACK;
SELECT has('opt', 'pool_size') AS after;
-- the same for session options, which have no settings
ALTER SERVER opt OPTIONS (ADD read_only 'off');
SELECT sessmgr.scalar(sessmgr.session_factory('opt', '{"transaction": "autocommit"}'), 'SHOW transaction_read_only') AS server;
ALTER USER MAPPING FOR CURRENT_USER SERVER opt OPTIONS (ADD read_only 'on');
SELECT sessmgr.scalar(sessmgr.session_factory('opt', '{"transaction": "autocommit"}'), 'SHOW transaction_read_only') AS mapping;
SELECT sessmgr.scalar('opt', 'SHOW transaction_read_only') AS mapping_one_liner;
SELECT sessmgr.scalar(sessmgr.session_factory('opt', '{"transaction": "autocommit", "read_only": false}'), 'SHOW transaction_read_only') AS call;
ALTER USER MAPPING FOR CURRENT_USER SERVER opt OPTIONS (DROP read_only);
ALTER SERVER opt OPTIONS (DROP read_only);
SELECT sessmgr.scalar('opt', 'SHOW transaction_read_only') AS built_in;
-- AUTOCOMMIT in one place and a transaction mode in a stronger one
ALTER SERVER opt OPTIONS (ADD isolation_level 'AUTOCOMMIT');
SELECT sessmgr.session_factory('opt', '{"hold": true}') AS s1 \gset
SELECT sessmgr.session_factory('opt', '{"hold": true, "transaction": "manual"}') AS s2 \gset
SELECT transaction FROM sessmgr.sessions ORDER BY opened_at;
SELECT sessmgr.close(:'s1'), sessmgr.close(:'s2');
ALTER SERVER opt OPTIONS (DROP isolation_level);

--
-- Units
--
CREATE FUNCTION pool_timeout(value text, OUT by_setting text, OUT by_call text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('sessmgr.pool_timeout', value, true), sessmgr.invalidate('opt');
    by_setting := has('opt', 'pool_timeout');
    PERFORM set_config('sessmgr.pool_timeout', '99', true), sessmgr.invalidate('opt');
    PERFORM sessmgr.get_engine('opt', jsonb_build_object('pool_timeout', value));
    by_call := has('opt', 'pool_timeout');
    PERFORM set_config('sessmgr.pool_timeout', '30', true);
END $$;
SELECT value, by_setting, by_call
  FROM unnest(ARRAY['0', '1', '0.5', '0.0001', '1.9999', '90', '500ms', '1us', '1500ms', '2min', '1h', '1d']) value, pool_timeout(value);
DROP FUNCTION pool_timeout;
SELECT sessmgr.invalidate('opt');
RESET sessmgr.pool_timeout;
-- settings
SET sessmgr.pool_timeout = '500ms';
SHOW sessmgr.pool_timeout;
SET sessmgr.pool_timeout = 2;
SHOW sessmgr.pool_timeout;
SELECT left(try('SET sessmgr.pool_timeout = -1'), 5), left(try('SET sessmgr.pool_size = 0'), 5), left(try('SET sessmgr.connect_timeout = 0'), 5);
SET sessmgr.pool_recycle = -1;
SHOW sessmgr.pool_recycle;
SET sessmgr.statement_timeout = '1min';
SHOW sessmgr.statement_timeout;
SET sessmgr."binary" = 'on';
SET sessmgr."binary" = 'OFF';
SHOW sessmgr."binary";
SET sessmgr.loopback = 'true';
SET sessmgr.pool_sise = 1;
RESET ALL;
-- roles without any rights may set them for themselves
SET ROLE regress_sm_none;
SET sessmgr.pool_size = 3;
RESET ROLE;
RESET sessmgr.pool_size;

--
-- connect_args
--
SELECT sessmgr.invalidate('opt');
SELECT sessmgr.get_engine('opt', '{"connect_args": {"application_name": "my app", "options": "-c work_mem=123kB -c geqo=off"}}') IS NOT NULL AS made;
SELECT sessmgr.scalar('opt', $$SELECT concat_ws(', ', current_setting('application_name'), current_setting('work_mem'), current_setting('geqo'))$$);
SELECT args, in_call('connect_args', args)
  FROM unnest(ARRAY['{"host": "/nowhere", "port": 1}', '{"hostt": "x"}', '{"nothing_like_it": "x"}', '{"": "x"}', '{"connect_timeout": 3}',
                    '{"client_encoding": "LATIN1"}', '{"replication": "database"}', '{"fallback_application_name": "x"}', '{"Application_Name": "x"}',
                    '{"pool_size": 3}', '{"hots": "x"}', '{"database": "x"}', '{"autocommit": true}', '{"application_name": null}', '{"application_name": ["x"]}', '{"password": "verysecret", "passwort": "verysecret"}']::jsonb[]) args;
SELECT try('SELECT sessmgr.get_engine(''spi:'', ''{"connect_args": {"application_name": "x"}}'')');
SELECT name, try(format('SELECT sessmgr.get_engine(''spi:'', %L)', jsonb_build_object(name, value)))
  FROM (VALUES ('isolation_level', 'SERIALIZABLE'), ('read_only', 'on'), ('deferrable', 'off')) v (name, value);

--
-- Who may set what
--
CREATE SERVER opt_user FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true');
ALTER SERVER opt_user OWNER TO regress_sm_user;
SET ROLE regress_sm_user;
CREATE USER MAPPING FOR CURRENT_USER SERVER opt_user OPTIONS (password_required 'false');
CREATE USER MAPPING FOR CURRENT_USER SERVER opt_user OPTIONS (password_required 'true');
ALTER USER MAPPING FOR CURRENT_USER SERVER opt_user OPTIONS (SET password_required 'off');
ALTER USER MAPPING FOR CURRENT_USER SERVER opt_user OPTIONS (ADD user 'x', ADD password 'y', ADD pool_size '3');
ALTER SERVER opt_user OPTIONS (ADD pool_size '4', ADD application_name 'a');
RESET ROLE;
SET client_min_messages = warning;
DROP SERVER opt_user CASCADE;

DROP SERVER opt CASCADE;
RESET client_min_messages;
DROP FUNCTION in_server, in_mapping, in_call, brief, has;
SELECT sessmgr.reset();

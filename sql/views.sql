--
-- The views, and the extension's objects as a reference
--
SELECT current_database() AS db, current_user AS me \gset
SELECT sessmgr.reset();

\d sessmgr.engines
\d sessmgr.sessions
\d sessmgr.connections
\d sessmgr.models

--
-- What they show
--
CREATE FUNCTION engines() RETURNS TABLE (dburi text, driver text, hits bigint, connects bigint, checkouts bigint, idle int, checked_out int, prepared text[])
    LANGUAGE sql VOLATILE AS $$ SELECT dburi, driver, hits, connects, checkouts, idle, checked_out, prepared FROM sessmgr.engines ORDER BY created_at $$;
CREATE FUNCTION sessions() RETURNS TABLE (dburi text, state text, transaction text, hold bool, savepoints int, statements bigint, has_pid bool)
    LANGUAGE sql VOLATILE AS $$ SELECT dburi, state, transaction, hold, savepoints, statements, remote_pid IS NOT NULL FROM sessmgr.sessions ORDER BY opened_at $$;
CREATE FUNCTION connections() RETURNS TABLE (dburi text, state text, has_session bool)
    LANGUAGE sql VOLATILE AS $$ SELECT dburi, state, session IS NOT NULL FROM sessmgr.connections ORDER BY state, dburi $$;

-- nothing yet
SELECT * FROM engines();
SELECT * FROM sessions();
SELECT * FROM connections();

BEGIN;
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SELECT * FROM engines();
SELECT * FROM sessions();
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SELECT 1'), sessmgr.begin_nested(:'s'), sessmgr.begin_nested(:'s');
SELECT * FROM engines();
SELECT * FROM sessions();
SELECT * FROM connections();
-- joined, they tell who does what on the target
SELECT s.state, c.state, a.state AS remote_state, a.datname = current_database() AS here, s.session::text = :'s' AS handle, e.dburi
  FROM sessmgr.sessions s JOIN sessmgr.connections c ON c.remote_pid = s.remote_pid AND c.session::text = s.session::text
  JOIN pg_stat_activity a ON a.pid = s.remote_pid JOIN sessmgr.engines e ON e.dburi = s.dburi;
SELECT e.role = current_user AS role, e.created_at <= s.opened_at AND s.opened_at <= c.connected_at AND c.connected_at <= c.state_change AND c.state_change <= clock_timestamp() AS in_order
  FROM sessmgr.engines e, sessmgr.sessions s, sessmgr.connections c;
SELECT try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1/0'')', :'s'));
SELECT state, savepoints, statements FROM sessions();
SELECT sessmgr.rollback_to(:'s', 1);
SELECT state, savepoints, statements FROM sessions();
SELECT pg_terminate_backend(remote_pid, 10000) FROM sessmgr.sessions;
SELECT left(try(format('SELECT sessmgr.execute(%L::sessmgr.session, ''SELECT 1'')', :'s')), 5) IN ('57P01', '08006') AS lost;
SELECT * FROM sessions();
SELECT * FROM connections();
SELECT sessmgr.rollback(:'s');
SELECT * FROM sessions();
COMMIT;
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SELECT 1');
SELECT sessmgr.commit(:'s'), sessmgr.close(:'s');
SELECT * FROM sessions();
SELECT * FROM connections();
SELECT * FROM engines();

-- from inside a statement: a one-liner's connection, and this backend itself
SELECT sessmgr.scalar('spi:', 'SELECT string_agg(dburi || '' '' || checked_out, '', '' ORDER BY dburi) FROM sessmgr.engines');
SELECT sessmgr.scalar('spi:', 'SELECT string_agg(concat_ws('' '', dburi, state), '', '' ORDER BY dburi) FROM sessmgr.connections');
SELECT * FROM engines();
-- to another backend they show nothing of this one
SELECT sessmgr.scalar('loop', 'SELECT count(*) FROM sessmgr.engines');

--
-- Whose rows
--
SELECT sessmgr.reset();
SELECT sessmgr.scalar('loop', 'SELECT 1');
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SET ROLE regress_sm_user;
SELECT sessmgr.scalar('loop', 'SELECT 1');
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS u \gset
RESET ROLE;
CREATE FUNCTION seen() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(string_agg(what || ' of ' || CASE WHEN role = 'regress_sm_user' THEN 'user' ELSE 'superuser' END, ', ' ORDER BY what, role <> 'regress_sm_user'), 'nothing')
      FROM (SELECT 'engines' AS what, role FROM sessmgr.engines UNION ALL SELECT 'sessions', role FROM sessmgr.sessions
            UNION ALL SELECT 'connections', role FROM sessmgr.connections) s
$$;
SELECT seen() AS superuser;
SET ROLE regress_sm_user;
SELECT seen() AS "user";
SET ROLE regress_sm_other;
SELECT seen() AS other;
RESET ROLE;
GRANT regress_sm_user TO regress_sm_other;
SET ROLE regress_sm_other;
SELECT seen() AS member;
RESET ROLE;
REVOKE regress_sm_user FROM regress_sm_other;
GRANT pg_monitor, pg_read_all_stats TO regress_sm_other;
SET ROLE regress_sm_other;
SELECT seen() AS monitor;
RESET ROLE;
REVOKE pg_monitor, pg_read_all_stats FROM regress_sm_other;
SET ROLE regress_sm_none;
SELECT try('SELECT seen()') AS none;
RESET ROLE;
SELECT sessmgr.reset();
DROP FUNCTION engines, sessions, connections, seen;

--
-- The objects
--
-- as \dx+ has them, but for the types of arrays and rows, which not all versions list
CREATE TEMP VIEW members AS
    SELECT classid, objid, pg_describe_object(classid, objid, 0) AS object
      FROM pg_depend
     WHERE NOT (classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t WHERE t.oid = objid AND (t.typelem <> 0 OR t.typrelid <> 0)))
       AND refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sessmgr') AND deptype = 'e';
SELECT object FROM members ORDER BY object COLLATE "C";

-- each has a comment
SELECT object FROM members
 WHERE NOT EXISTS (SELECT FROM pg_description d WHERE d.classoid = classid AND d.objoid = objid AND d.objsubid = 0 AND d.description <> '')
 ORDER BY object COLLATE "C";
-- and each column, too
SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN members ON classid = 'pg_class'::regclass AND objid = a.attrelid
 WHERE attnum > 0 AND NOT attisdropped AND coalesce(col_description(attrelid, attnum), '') = '';
-- overloads can be told apart by theirs
SELECT proname, d FROM pg_proc p JOIN members ON classid = 'pg_proc'::regclass AND objid = p.oid, obj_description(objid, 'pg_proc') d
 WHERE proname !~ '^(engine|sessionmaker|session|model_relation)_' GROUP BY 1, 2 HAVING count(*) > 1;
SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'sessmgr';
-- every argument has a name, the I/O and operator functions aside
SELECT p.oid::regprocedure FROM pg_proc p JOIN members ON classid = 'pg_proc'::regclass AND objid = p.oid
 WHERE pronargs > 0 AND (proargnames IS NULL OR '' = ANY (proargnames))
   AND proname !~ '^(engine|sessionmaker|session|model_relation)_(in|out|recv|send|eq|ne|lt|le|gt|ge|cmp|hash|hash_extended)$';
-- the same function has the same names in every overload
SELECT proname, array_agg(DISTINCT n) FROM pg_proc p JOIN members ON classid = 'pg_proc'::regclass AND objid = p.oid, unnest(proargnames[:3]) WITH ORDINALITY a (n, i)
 WHERE proname IN ('execute', 'query', 'query_as', 'query_json', 'scalar', 'scalar_as', 'stream', 'stream_as') GROUP BY proname ORDER BY proname COLLATE "C";

-- who may execute what: PUBLIC only what reaches and changes nothing
SELECT p.oid::regprocedure, p.provolatile, p.proparallel
  FROM pg_proc p JOIN members ON classid = 'pg_proc'::regclass AND objid = p.oid
 WHERE has_function_privilege('regress_sm_none', p.oid, 'EXECUTE')
   AND proname !~ '^(engine|sessionmaker|session|model_relation)_(in|out|recv|send|eq|ne|lt|le|gt|ge|cmp|hash|hash_extended)$'
 ORDER BY p.oid::regprocedure::text COLLATE "C";
-- parallel safe and not volatile are only those that look at nothing that is kept
SELECT p.oid::regprocedure, p.provolatile, p.proparallel, p.proisstrict
  FROM pg_proc p JOIN members ON classid = 'pg_proc'::regclass AND objid = p.oid
 WHERE (proparallel <> 'u' OR provolatile <> 'v')
   AND proname !~ '^(engine|sessionmaker|session|model_relation)_(out|send|eq|ne|lt|le|gt|ge|cmp|hash|hash_extended)$'
 ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT DISTINCT provolatile, proparallel, proisstrict
  FROM pg_proc p JOIN members ON classid = 'pg_proc'::regclass AND objid = p.oid
 WHERE proname ~ '^(engine|sessionmaker|session)_(out|send|eq|ne|lt|le|gt|ge|cmp|hash|hash_extended)$';
-- none is leakproof but the comparisons, none is security definer, only streams have a support function
SELECT p.oid::regprocedure FROM pg_proc p JOIN members ON classid = 'pg_proc'::regclass AND objid = p.oid
 WHERE prosecdef OR prosupport <> 0 OR proleakproof AND proname !~ '_(eq|ne|lt|le|gt|ge|cmp|hash|hash_extended)$';
-- strict functions would swallow a NULL that is to be an error
SELECT p.oid::regprocedure FROM pg_proc p JOIN members ON classid = 'pg_proc'::regclass AND objid = p.oid
 WHERE proisstrict AND pronargs > 0 AND proname !~ '^(engine|sessionmaker|session|model_relation)_|_validator$';
-- relations: read by everybody or by nobody, written by nobody
SELECT c.relname, c.relkind, has_table_privilege('regress_sm_none', c.oid, 'SELECT') AS read,
       has_table_privilege('regress_sm_none', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES') AS write
  FROM pg_class c WHERE relnamespace = 'sessmgr'::regnamespace AND relkind IN ('r', 'v', 'm', 'S', 'f') ORDER BY relname COLLATE "C";
SELECT has_schema_privilege('regress_sm_none', 'sessmgr', 'USAGE') AS usage, has_schema_privilege('regress_sm_user', 'sessmgr', 'CREATE') AS "create";
SELECT fdwname, fdwhandler, has_foreign_data_wrapper_privilege('regress_sm_user', oid, 'USAGE') AS usage FROM pg_foreign_data_wrapper WHERE fdwname = 'sessmgr';
-- not relocatable, not trusted, in its own schema
SELECT extrelocatable, extnamespace::regnamespace, superuser, trusted, relocatable, schema
  FROM pg_extension JOIN pg_available_extension_versions v ON name = extname AND version = extversion WHERE extname = 'sessmgr';

/* sessmgr--0.1.sql */

-- complain if the script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION sessmgr" to load this file. \quit

-- A schema that the script makes is a part of the extension and goes with it;
-- one that the control file names is not.
CREATE SCHEMA sessmgr;
COMMENT ON SCHEMA sessmgr IS 'Engines, pooled sessions and models';
SET LOCAL search_path = sessmgr, pg_temp;

--
-- Handle types
--
-- 64-bit values that mean something only in the backend that made them.  Input
-- checks the form alone; their use finds out whether they are valid.
--

CREATE TYPE engine;

CREATE FUNCTION engine_in(cstring) RETURNS engine
    AS 'MODULE_PATHNAME', 'sm_engine_in' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION engine_out(engine) RETURNS cstring
    AS 'MODULE_PATHNAME', 'sm_engine_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION engine_recv(internal) RETURNS engine
    AS 'MODULE_PATHNAME', 'sm_handle_recv' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION engine_send(engine) RETURNS bytea
    AS 'MODULE_PATHNAME', 'sm_handle_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE engine (
    INPUT = engine_in, OUTPUT = engine_out, RECEIVE = engine_recv, SEND = engine_send,
    LIKE = pg_catalog.int8
);

COMMENT ON FUNCTION engine_in(cstring) IS 'I/O of type sessmgr.engine';
COMMENT ON FUNCTION engine_out(engine) IS 'I/O of type sessmgr.engine';
COMMENT ON FUNCTION engine_recv(internal) IS 'I/O of type sessmgr.engine';
COMMENT ON FUNCTION engine_send(engine) IS 'I/O of type sessmgr.engine';
COMMENT ON TYPE engine IS 'An engine: what is known of one target for one role. Valid only in the backend that made it.';

CREATE FUNCTION engine_eq(engine, engine) RETURNS boolean
    AS 'int8eq' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION engine_ne(engine, engine) RETURNS boolean
    AS 'int8ne' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION engine_hash(engine) RETURNS integer
    AS 'hashint8' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;

CREATE OPERATOR = (
    LEFTARG = engine, RIGHTARG = engine, FUNCTION = engine_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
CREATE OPERATOR <> (
    LEFTARG = engine, RIGHTARG = engine, FUNCTION = engine_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);

CREATE OPERATOR CLASS engine_ops DEFAULT FOR TYPE engine USING hash AS
    OPERATOR 1 =,
    FUNCTION 1 engine_hash(engine);

COMMENT ON FUNCTION engine_eq(engine, engine) IS 'implementation of = operator';
COMMENT ON OPERATOR = (engine, engine) IS 'equal';
COMMENT ON FUNCTION engine_ne(engine, engine) IS 'implementation of <> operator';
COMMENT ON OPERATOR <> (engine, engine) IS 'not equal';
COMMENT ON FUNCTION engine_hash(engine) IS 'hash';
COMMENT ON OPERATOR CLASS engine_ops USING hash IS 'hash operators of sessmgr.engine';
COMMENT ON OPERATOR FAMILY engine_ops USING hash IS 'hash operators of sessmgr.engine';

CREATE TYPE sessionmaker;

CREATE FUNCTION sessionmaker_in(cstring) RETURNS sessionmaker
    AS 'MODULE_PATHNAME', 'sm_sessionmaker_in' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION sessionmaker_out(sessionmaker) RETURNS cstring
    AS 'MODULE_PATHNAME', 'sm_sessionmaker_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION sessionmaker_recv(internal) RETURNS sessionmaker
    AS 'MODULE_PATHNAME', 'sm_handle_recv' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION sessionmaker_send(sessionmaker) RETURNS bytea
    AS 'MODULE_PATHNAME', 'sm_handle_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE sessionmaker (
    INPUT = sessionmaker_in, OUTPUT = sessionmaker_out, RECEIVE = sessionmaker_recv, SEND = sessionmaker_send,
    LIKE = pg_catalog.int8
);

COMMENT ON FUNCTION sessionmaker_in(cstring) IS 'I/O of type sessmgr.sessionmaker';
COMMENT ON FUNCTION sessionmaker_out(sessionmaker) IS 'I/O of type sessmgr.sessionmaker';
COMMENT ON FUNCTION sessionmaker_recv(internal) IS 'I/O of type sessmgr.sessionmaker';
COMMENT ON FUNCTION sessionmaker_send(sessionmaker) IS 'I/O of type sessmgr.sessionmaker';
COMMENT ON TYPE sessionmaker IS 'A factory that opens sessions on one engine with fixed options. Valid only in the backend that made it.';

CREATE FUNCTION sessionmaker_eq(sessionmaker, sessionmaker) RETURNS boolean
    AS 'int8eq' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION sessionmaker_ne(sessionmaker, sessionmaker) RETURNS boolean
    AS 'int8ne' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION sessionmaker_hash(sessionmaker) RETURNS integer
    AS 'hashint8' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;

CREATE OPERATOR = (
    LEFTARG = sessionmaker, RIGHTARG = sessionmaker, FUNCTION = sessionmaker_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
CREATE OPERATOR <> (
    LEFTARG = sessionmaker, RIGHTARG = sessionmaker, FUNCTION = sessionmaker_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);

CREATE OPERATOR CLASS sessionmaker_ops DEFAULT FOR TYPE sessionmaker USING hash AS
    OPERATOR 1 =,
    FUNCTION 1 sessionmaker_hash(sessionmaker);

COMMENT ON FUNCTION sessionmaker_eq(sessionmaker, sessionmaker) IS 'implementation of = operator';
COMMENT ON OPERATOR = (sessionmaker, sessionmaker) IS 'equal';
COMMENT ON FUNCTION sessionmaker_ne(sessionmaker, sessionmaker) IS 'implementation of <> operator';
COMMENT ON OPERATOR <> (sessionmaker, sessionmaker) IS 'not equal';
COMMENT ON FUNCTION sessionmaker_hash(sessionmaker) IS 'hash';
COMMENT ON OPERATOR CLASS sessionmaker_ops USING hash IS 'hash operators of sessmgr.sessionmaker';
COMMENT ON OPERATOR FAMILY sessionmaker_ops USING hash IS 'hash operators of sessmgr.sessionmaker';

CREATE TYPE session;

CREATE FUNCTION session_in(cstring) RETURNS session
    AS 'MODULE_PATHNAME', 'sm_session_in' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION session_out(session) RETURNS cstring
    AS 'MODULE_PATHNAME', 'sm_session_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION session_recv(internal) RETURNS session
    AS 'MODULE_PATHNAME', 'sm_handle_recv' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION session_send(session) RETURNS bytea
    AS 'MODULE_PATHNAME', 'sm_handle_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE session (
    INPUT = session_in, OUTPUT = session_out, RECEIVE = session_recv, SEND = session_send,
    LIKE = pg_catalog.int8
);

COMMENT ON FUNCTION session_in(cstring) IS 'I/O of type sessmgr.session';
COMMENT ON FUNCTION session_out(session) IS 'I/O of type sessmgr.session';
COMMENT ON FUNCTION session_recv(internal) IS 'I/O of type sessmgr.session';
COMMENT ON FUNCTION session_send(session) IS 'I/O of type sessmgr.session';
COMMENT ON TYPE session IS 'A session: a unit of work on one engine. Valid only in the backend that made it.';

CREATE FUNCTION session_eq(session, session) RETURNS boolean
    AS 'int8eq' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION session_ne(session, session) RETURNS boolean
    AS 'int8ne' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION session_hash(session) RETURNS integer
    AS 'hashint8' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;

CREATE OPERATOR = (
    LEFTARG = session, RIGHTARG = session, FUNCTION = session_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
CREATE OPERATOR <> (
    LEFTARG = session, RIGHTARG = session, FUNCTION = session_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);

CREATE OPERATOR CLASS session_ops DEFAULT FOR TYPE session USING hash AS
    OPERATOR 1 =,
    FUNCTION 1 session_hash(session);

COMMENT ON FUNCTION session_eq(session, session) IS 'implementation of = operator';
COMMENT ON OPERATOR = (session, session) IS 'equal';
COMMENT ON FUNCTION session_ne(session, session) IS 'implementation of <> operator';
COMMENT ON OPERATOR <> (session, session) IS 'not equal';
COMMENT ON FUNCTION session_hash(session) IS 'hash';
COMMENT ON OPERATOR CLASS session_ops USING hash IS 'hash operators of sessmgr.session';
COMMENT ON OPERATOR FAMILY session_ops USING hash IS 'hash operators of sessmgr.session';

--
-- Targets
--
CREATE FUNCTION sessmgr_fdw_validator(options text[], catalog oid) RETURNS void
    AS 'MODULE_PATHNAME', 'sessmgr_fdw_validator' LANGUAGE C STRICT PARALLEL SAFE;
COMMENT ON FUNCTION sessmgr_fdw_validator(text[], oid) IS
    'Checks the options of servers and user mappings of wrapper sessmgr';

CREATE FOREIGN DATA WRAPPER sessmgr VALIDATOR sessmgr_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER sessmgr IS
    'Names targets of sessmgr. USAGE on it is the right to name a target by a literal URI.';

CREATE FUNCTION options(
    OUT name text, OUT contexts text, OUT belongs_to text, OUT type text, OUT unit text,
    OUT default_value text, OUT setting text, OUT superuser_only boolean, OUT description text
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'sm_options_list' LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 20;
COMMENT ON FUNCTION options() IS 'All options: where each may stand, its type, unit and default';

--
-- The manager
--

CREATE FUNCTION get_engine(dburi text, options jsonb DEFAULT '{}')
    RETURNS engine AS 'MODULE_PATHNAME', 'sm_get_engine'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION get_engine(text, jsonb) IS
    'The engine of a target for the current role, made if there is none yet; opens no connection';

CREATE FUNCTION create_session(dburi text, short_lived_sessions boolean DEFAULT false, options jsonb DEFAULT '{}',
    OUT engine engine, OUT factory sessionmaker)
    AS 'MODULE_PATHNAME', 'sm_create_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION create_session(text, boolean, jsonb) IS
    'The engine of a target, and a factory of sessions on it: the cached one, or with short_lived_sessions a new one that ends with the local transaction';

CREATE FUNCTION session_factory(dburi text, options jsonb DEFAULT '{}')
    RETURNS session AS 'MODULE_PATHNAME', 'sm_session_factory'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION session_factory(text, jsonb) IS
    'Prepares the models of metadata default on a target, then opens a session';

CREATE FUNCTION invalidate(dburi text)
    RETURNS boolean AS 'MODULE_PATHNAME', 'sm_invalidate'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION invalidate(text) IS
    'Forgets the current role''s engine of a target, its factories and its idle connections; true if there was one';

CREATE FUNCTION prepare_models(engine engine, metadata name DEFAULT 'default')
    RETURNS integer AS 'MODULE_PATHNAME', 'sm_prepare_models'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION prepare_models(engine, name) IS
    'Creates the registered models that are missing on the target; returns how many tables it created';

CREATE FUNCTION prepared(engine engine, metadata name DEFAULT 'default')
    RETURNS boolean AS 'MODULE_PATHNAME', 'sm_prepared'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION prepared(engine, name) IS
    'Have the registered models been prepared on this engine, and has none been registered or dropped since?';

CREATE FUNCTION forked()
    RETURNS boolean AS 'MODULE_PATHNAME', 'sm_is_forked'
    LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION forked() IS
    'Was this process forked from a postmaster? Only then are engines and connections kept';

CREATE FUNCTION dispose(engine engine)
    RETURNS integer AS 'MODULE_PATHNAME', 'sm_dispose'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dispose(engine) IS
    'Closes the idle connections of an engine, which stays usable; returns how many';

CREATE FUNCTION open(factory sessionmaker)
    RETURNS session AS 'MODULE_PATHNAME', 'sm_open'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION open(sessionmaker) IS
    'Opens a session with the options of a factory; it has no connection until its first statement';

CREATE FUNCTION reset()
    RETURNS void AS 'MODULE_PATHNAME', 'sm_reset_all'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION reset() IS
    'Closes all sessions and forgets all engines and connections';

--
-- The session
--

CREATE FUNCTION begin(session session)
    RETURNS void AS 'MODULE_PATHNAME', 'sm_begin'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION begin(session) IS
    'Begins a transaction on the target; a session does so by itself with its first statement';

CREATE FUNCTION commit(session session)
    RETURNS void AS 'MODULE_PATHNAME', 'sm_commit'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION commit(session) IS
    'Commits the session''s transaction, if there is one';

CREATE FUNCTION rollback(session session)
    RETURNS void AS 'MODULE_PATHNAME', 'sm_rollback'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rollback(session) IS
    'Rolls the session''s transaction back, if there is one';

CREATE FUNCTION close(session session)
    RETURNS void AS 'MODULE_PATHNAME', 'sm_close'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION close(session) IS
    'Closes the session, rolling back what was not committed';

CREATE FUNCTION in_transaction(session session)
    RETURNS boolean AS 'MODULE_PATHNAME', 'sm_in_transaction'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION in_transaction(session) IS
    'Is the session in a transaction?';

CREATE FUNCTION begin_nested(session session)
    RETURNS integer AS 'MODULE_PATHNAME', 'sm_begin_nested'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION begin_nested(session) IS
    'Sets a savepoint in the session''s transaction, begun if there is none; returns its number for release() and rollback_to()';

CREATE FUNCTION release(session session, savepoint integer)
    RETURNS void AS 'MODULE_PATHNAME', 'sm_release'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION release(session, integer) IS
    'Releases a savepoint and those set after it, keeping their work';

CREATE FUNCTION rollback_to(session session, savepoint integer)
    RETURNS void AS 'MODULE_PATHNAME', 'sm_rollback_to'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rollback_to(session, integer) IS
    'Undoes what the session has done since a savepoint, which stays; those set after it go';

--
-- Statements
--
-- "target" is a session, or a dburi for a statement that commits by itself.
-- VARIADIC "any" wants at least one argument, so each form without parameters
-- is a function of its own.
--

CREATE FUNCTION execute(target session, sql text)
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_execute_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION execute(session, text) IS
    'Runs a statement in a session; returns the number of rows affected or returned';

CREATE FUNCTION execute(target session, sql text, VARIADIC params "any")
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_execute_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION execute(session, text, VARIADIC "any") IS
    'Runs a statement with bind parameters in a session; returns the number of rows affected or returned';

CREATE FUNCTION execute(target text, sql text)
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_execute_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION execute(text, text) IS
    'Runs a statement on the target of a dburi; returns the number of rows affected or returned';

CREATE FUNCTION execute(target text, sql text, VARIADIC params "any")
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_execute_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION execute(text, text, VARIADIC "any") IS
    'Runs a statement with bind parameters on the target of a dburi; returns the number of rows affected or returned';

CREATE FUNCTION query(target session, sql text)
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_query_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query(session, text) IS
    'Runs a statement in a session and returns its rows, in the columns of a column definition list';

CREATE FUNCTION query(target session, sql text, VARIADIC params "any")
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_query_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query(session, text, VARIADIC "any") IS
    'Runs a statement with bind parameters in a session and returns its rows, in the columns of a column definition list';

CREATE FUNCTION query(target text, sql text)
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_query_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query(text, text) IS
    'Runs a statement on the target of a dburi and returns its rows, in the columns of a column definition list';

CREATE FUNCTION query(target text, sql text, VARIADIC params "any")
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_query_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query(text, text, VARIADIC "any") IS
    'Runs a statement with bind parameters on the target of a dburi and returns its rows, in the columns of a column definition list';

CREATE FUNCTION query_as(rowtype anyelement, target session, sql text)
    RETURNS SETOF anyelement AS 'MODULE_PATHNAME', 'sm_query_as_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query_as(anyelement, session, text) IS
    'Runs a statement in a session and returns its rows as a row type or a scalar type';

CREATE FUNCTION query_as(rowtype anyelement, target session, sql text, VARIADIC params "any")
    RETURNS SETOF anyelement AS 'MODULE_PATHNAME', 'sm_query_as_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query_as(anyelement, session, text, VARIADIC "any") IS
    'Runs a statement with bind parameters in a session and returns its rows as a row type or a scalar type';

CREATE FUNCTION query_as(rowtype anyelement, target text, sql text)
    RETURNS SETOF anyelement AS 'MODULE_PATHNAME', 'sm_query_as_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query_as(anyelement, text, text) IS
    'Runs a statement on the target of a dburi and returns its rows as a row type or a scalar type';

CREATE FUNCTION query_as(rowtype anyelement, target text, sql text, VARIADIC params "any")
    RETURNS SETOF anyelement AS 'MODULE_PATHNAME', 'sm_query_as_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query_as(anyelement, text, text, VARIADIC "any") IS
    'Runs a statement with bind parameters on the target of a dburi and returns its rows as a row type or a scalar type';

CREATE FUNCTION query_json(target session, sql text)
    RETURNS SETOF jsonb AS 'MODULE_PATHNAME', 'sm_query_json_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query_json(session, text) IS
    'Runs a statement in a session and returns each row as a JSON object';

CREATE FUNCTION query_json(target session, sql text, VARIADIC params "any")
    RETURNS SETOF jsonb AS 'MODULE_PATHNAME', 'sm_query_json_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query_json(session, text, VARIADIC "any") IS
    'Runs a statement with bind parameters in a session and returns each row as a JSON object';

CREATE FUNCTION query_json(target text, sql text)
    RETURNS SETOF jsonb AS 'MODULE_PATHNAME', 'sm_query_json_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query_json(text, text) IS
    'Runs a statement on the target of a dburi and returns each row as a JSON object';

CREATE FUNCTION query_json(target text, sql text, VARIADIC params "any")
    RETURNS SETOF jsonb AS 'MODULE_PATHNAME', 'sm_query_json_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION query_json(text, text, VARIADIC "any") IS
    'Runs a statement with bind parameters on the target of a dburi and returns each row as a JSON object';

CREATE FUNCTION stream_support(request internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'sm_stream_support' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION stream_support(internal) IS
    'Planner support of stream and stream_as: loads the library';

CREATE FUNCTION stream(target session, sql text)
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_stream_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 SUPPORT stream_support;
COMMENT ON FUNCTION stream(session, text) IS
    'Runs a statement for reading and returns its rows as they are asked for, in the columns of a column definition list, in a session';

CREATE FUNCTION stream(target session, sql text, VARIADIC params "any")
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_stream_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 SUPPORT stream_support;
COMMENT ON FUNCTION stream(session, text, VARIADIC "any") IS
    'Runs a statement for reading and returns its rows as they are asked for, in the columns of a column definition list, in a session, with bind parameters';

CREATE FUNCTION stream(target text, sql text)
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_stream_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 SUPPORT stream_support;
COMMENT ON FUNCTION stream(text, text) IS
    'Runs a statement for reading and returns its rows as they are asked for, in the columns of a column definition list, on a target, in a read-only transaction of its own';

CREATE FUNCTION stream(target text, sql text, VARIADIC params "any")
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_stream_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 SUPPORT stream_support;
COMMENT ON FUNCTION stream(text, text, VARIADIC "any") IS
    'Runs a statement for reading and returns its rows as they are asked for, in the columns of a column definition list, on a target, in a read-only transaction of its own, with bind parameters';

CREATE FUNCTION stream_as(rowtype anyelement, target session, sql text)
    RETURNS SETOF anyelement AS 'MODULE_PATHNAME', 'sm_stream_as_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 SUPPORT stream_support;
COMMENT ON FUNCTION stream_as(anyelement, session, text) IS
    'Runs a statement for reading and returns its rows as they are asked for, as a row type or a scalar type, in a session';

CREATE FUNCTION stream_as(rowtype anyelement, target session, sql text, VARIADIC params "any")
    RETURNS SETOF anyelement AS 'MODULE_PATHNAME', 'sm_stream_as_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 SUPPORT stream_support;
COMMENT ON FUNCTION stream_as(anyelement, session, text, VARIADIC "any") IS
    'Runs a statement for reading and returns its rows as they are asked for, as a row type or a scalar type, in a session, with bind parameters';

CREATE FUNCTION stream_as(rowtype anyelement, target text, sql text)
    RETURNS SETOF anyelement AS 'MODULE_PATHNAME', 'sm_stream_as_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 SUPPORT stream_support;
COMMENT ON FUNCTION stream_as(anyelement, text, text) IS
    'Runs a statement for reading and returns its rows as they are asked for, as a row type or a scalar type, on a target, in a read-only transaction of its own';

CREATE FUNCTION stream_as(rowtype anyelement, target text, sql text, VARIADIC params "any")
    RETURNS SETOF anyelement AS 'MODULE_PATHNAME', 'sm_stream_as_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 SUPPORT stream_support;
COMMENT ON FUNCTION stream_as(anyelement, text, text, VARIADIC "any") IS
    'Runs a statement for reading and returns its rows as they are asked for, as a row type or a scalar type, on a target, in a read-only transaction of its own, with bind parameters';

CREATE FUNCTION scalar(target session, sql text)
    RETURNS text AS 'MODULE_PATHNAME', 'sm_scalar_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION scalar(session, text) IS
    'Runs a statement in a session and returns the first column of its first row as text';

CREATE FUNCTION scalar(target session, sql text, VARIADIC params "any")
    RETURNS text AS 'MODULE_PATHNAME', 'sm_scalar_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION scalar(session, text, VARIADIC "any") IS
    'Runs a statement with bind parameters in a session and returns the first column of its first row as text';

CREATE FUNCTION scalar(target text, sql text)
    RETURNS text AS 'MODULE_PATHNAME', 'sm_scalar_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION scalar(text, text) IS
    'Runs a statement on the target of a dburi and returns the first column of its first row as text';

CREATE FUNCTION scalar(target text, sql text, VARIADIC params "any")
    RETURNS text AS 'MODULE_PATHNAME', 'sm_scalar_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION scalar(text, text, VARIADIC "any") IS
    'Runs a statement with bind parameters on the target of a dburi and returns the first column of its first row as text';

CREATE FUNCTION scalar_as(rowtype anyelement, target session, sql text)
    RETURNS anyelement AS 'MODULE_PATHNAME', 'sm_scalar_as_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION scalar_as(anyelement, session, text) IS
    'Runs a statement in a session and returns the first column of its first row as the type of the first argument';

CREATE FUNCTION scalar_as(rowtype anyelement, target session, sql text, VARIADIC params "any")
    RETURNS anyelement AS 'MODULE_PATHNAME', 'sm_scalar_as_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION scalar_as(anyelement, session, text, VARIADIC "any") IS
    'Runs a statement with bind parameters in a session and returns the first column of its first row as the type of the first argument';

CREATE FUNCTION scalar_as(rowtype anyelement, target text, sql text)
    RETURNS anyelement AS 'MODULE_PATHNAME', 'sm_scalar_as_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION scalar_as(anyelement, text, text) IS
    'Runs a statement on the target of a dburi and returns the first column of its first row as the type of the first argument';

CREATE FUNCTION scalar_as(rowtype anyelement, target text, sql text, VARIADIC params "any")
    RETURNS anyelement AS 'MODULE_PATHNAME', 'sm_scalar_as_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION scalar_as(anyelement, text, text, VARIADIC "any") IS
    'Runs a statement with bind parameters on the target of a dburi and returns the first column of its first row as the type of the first argument';

--
-- Many rows
--

CREATE FUNCTION execute_many(target session, sql text, param_query text)
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_execute_many_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION execute_many(session, text, text) IS
    'Runs a statement in a session once for each row of a local query, whose columns are its parameters; returns the number of rows affected or returned';

CREATE FUNCTION execute_many(target text, sql text, param_query text)
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_execute_many_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION execute_many(text, text, text) IS
    'Runs a statement on the target of a dburi once for each row of a local query, whose columns are its parameters; returns the number of rows affected or returned';

CREATE FUNCTION pull(target session, query text, into_table regclass, columns text[] DEFAULT NULL)
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_pull_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pull(session, text, regclass, text[]) IS
    'Copies the rows of a query in a session into a local table, as COPY does; returns how many';

CREATE FUNCTION pull(target text, query text, into_table regclass, columns text[] DEFAULT NULL)
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_pull_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pull(text, text, regclass, text[]) IS
    'Copies the rows of a query on the target of a dburi into a local table, as COPY does; returns how many';

CREATE FUNCTION push(target session, query text, into_table text, columns text[] DEFAULT NULL)
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_push_session'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION push(session, text, text, text[]) IS
    'Copies the rows of a local query into a table of a session''s target, as COPY does; returns how many';

CREATE FUNCTION push(target text, query text, into_table text, columns text[] DEFAULT NULL)
    RETURNS bigint AS 'MODULE_PATHNAME', 'sm_push_text'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION push(text, text, text, text[]) IS
    'Copies the rows of a local query into a table of the target of a dburi, as COPY does; returns how many';

--
-- Many targets
--

CREATE FUNCTION query_all(targets text[], sql text)
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_query_all'
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    ROWS 1000;
COMMENT ON FUNCTION query_all(text[], text) IS
    'Runs a statement on many targets at the same time and returns its rows, each behind its target; all of them take effect, or none';

CREATE FUNCTION query_all(targets text[], sql text, VARIADIC params "any")
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_query_all'
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    ROWS 1000;
COMMENT ON FUNCTION query_all(text[], text, VARIADIC "any") IS
    'Runs a statement on many targets at the same time and returns its rows, each behind its target; all of them take effect, or none, with bind parameters';

CREATE FUNCTION execute_all(targets text[], sql text)
    RETURNS TABLE (target text, rows bigint, sqlstate text, error text) AS 'MODULE_PATHNAME', 'sm_execute_all'
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    ROWS 10;
COMMENT ON FUNCTION execute_all(text[], text) IS
    'Runs a statement on many targets at the same time, on each as a transaction of its own; returns for each how many rows it affected or returned, or its error';

CREATE FUNCTION execute_all(targets text[], sql text, VARIADIC params "any")
    RETURNS TABLE (target text, rows bigint, sqlstate text, error text) AS 'MODULE_PATHNAME', 'sm_execute_all'
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    ROWS 10;
COMMENT ON FUNCTION execute_all(text[], text, VARIADIC "any") IS
    'Runs a statement on many targets at the same time, on each as a transaction of its own; returns for each how many rows it affected or returned, or its error, with bind parameters';

--
-- Statements that are sent now and received later
--

CREATE FUNCTION send(session session, sql text)
    RETURNS void AS 'MODULE_PATHNAME', 'sm_send'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION send(session, text) IS
    'Sends a statement in a session without waiting for its answer, which receive() gets';

CREATE FUNCTION send(session session, sql text, VARIADIC params "any")
    RETURNS void AS 'MODULE_PATHNAME', 'sm_send'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION send(session, text, VARIADIC "any") IS
    'Sends a statement in a session without waiting for its answer, which receive() gets, with bind parameters';

CREATE FUNCTION is_busy(session session)
    RETURNS boolean AS 'MODULE_PATHNAME', 'sm_is_busy'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION is_busy(session) IS
    'Would receive() have to wait for the first row, or the end, of what was sent in a session?';

CREATE FUNCTION wait_any(sessions session[], timeout interval DEFAULT NULL)
    RETURNS session AS 'MODULE_PATHNAME', 'sm_wait_any'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION wait_any(session[], interval) IS
    'Waits until something can be received in one of these sessions, and returns it; NULL after the timeout, or if nothing was sent in any';

CREATE FUNCTION receive(session session)
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_receive'
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    ROWS 1000;
COMMENT ON FUNCTION receive(session) IS
    'Waits for the rows of what was sent in a session and returns them; of a statement that returns none, how many it affected';

CREATE FUNCTION cancel(session session)
    RETURNS boolean AS 'MODULE_PATHNAME', 'sm_cancel'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cancel(session) IS
    'Cancels what was sent in a session, if it has not ended yet';

--
-- Models
--

-- A regclass that can also be read where there is no such relation, and is 0
-- then: a dump may have the registry without all that is registered in it.
CREATE TYPE model_relation;
CREATE FUNCTION model_relation_in(cstring) RETURNS model_relation
    AS 'MODULE_PATHNAME', 'sm_model_relation_in' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION model_relation_out(model_relation) RETURNS cstring
    AS 'regclassout' LANGUAGE internal STABLE STRICT PARALLEL SAFE;
CREATE TYPE model_relation (
    INPUT = model_relation_in, OUTPUT = model_relation_out, LIKE = pg_catalog.oid
);
CREATE CAST (model_relation AS pg_catalog.oid) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (model_relation AS pg_catalog.regclass) WITHOUT FUNCTION;
CREATE CAST (pg_catalog.regclass AS model_relation) WITHOUT FUNCTION AS ASSIGNMENT;
COMMENT ON FUNCTION model_relation_in(cstring) IS 'I/O of type sessmgr.model_relation';
COMMENT ON FUNCTION model_relation_out(model_relation) IS 'I/O of type sessmgr.model_relation';
COMMENT ON TYPE model_relation IS 'A relation in the registry of models; like regclass, but none where it is not there';
COMMENT ON CAST (model_relation AS pg_catalog.oid) IS 'The number of a relation in the registry';
COMMENT ON CAST (model_relation AS pg_catalog.regclass) IS 'A relation in the registry';
COMMENT ON CAST (pg_catalog.regclass AS model_relation) IS 'A relation for the registry';

-- Written only by the functions below, which run as its owner.  Relations that
-- are gone have no place in a dump: their numbers would mean another one there.
-- Several rows of a dump may have lost theirs, so there is no primary key.
CREATE TABLE model_registry (
    relation model_relation NOT NULL,
    metadata pg_catalog.name NOT NULL
);
CREATE UNIQUE INDEX model_registry_key ON model_registry (relation, metadata)
    WHERE relation <> 0;
ALTER TABLE model_registry REPLICA IDENTITY FULL;
COMMENT ON TABLE model_registry IS
    'The registered models; written by sessmgr.add_model() and drop_model(), read through view sessmgr.models';
COMMENT ON COLUMN model_registry.relation IS 'The table or sequence';
COMMENT ON COLUMN model_registry.metadata IS 'The name under which it is prepared';
REVOKE ALL ON TABLE model_registry FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('model_registry',
    'WHERE EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = relation)');

CREATE VIEW models WITH (security_barrier) AS
    SELECT m.relation::pg_catalog.regclass AS relation,
           m.metadata,
           pg_catalog.pg_get_userbyid(c.relowner) AS owner,
           CASE c.relkind WHEN 'r' THEN 'table'
                          WHEN 'S' THEN 'sequence'
                          WHEN 'p' THEN 'partitioned table'
                          WHEN 'f' THEN 'foreign table'
                          ELSE 'other' END AS kind,
           pg_catalog.obj_description(c.oid, 'pg_class') AS description
      FROM model_registry AS m
      JOIN pg_catalog.pg_class AS c ON c.oid = m.relation
     WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW models IS
    'The registered models that belong to roles whose privileges the current role has';
COMMENT ON COLUMN models.relation IS 'The table or sequence';
COMMENT ON COLUMN models.metadata IS 'The name under which sessmgr.prepare_models() makes it';
COMMENT ON COLUMN models.owner IS 'Its owner: only roles with the owner''s privileges prepare it';
COMMENT ON COLUMN models.kind IS 'table or sequence';
COMMENT ON COLUMN models.description IS 'Its comment';
GRANT SELECT ON models TO PUBLIC;

CREATE FUNCTION add_model(relation regclass, metadata name DEFAULT 'default')
    RETURNS void AS 'MODULE_PATHNAME', 'sm_add_model'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION add_model(regclass, name) IS
    'Registers a table or sequence of the current role as a model, which prepare_models() then makes where it is missing';

CREATE FUNCTION drop_model(relation regclass)
    RETURNS boolean AS 'MODULE_PATHNAME', 'sm_drop_model'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION drop_model(regclass) IS
    'Takes a model out of the registry, whatever its metadata; true if it was there. Targets keep what they have';

CREATE FUNCTION models_dropped()
    RETURNS event_trigger AS 'MODULE_PATHNAME', 'sm_models_dropped'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION models_dropped() IS
    'Takes dropped tables and sequences out of the registry of models';

CREATE EVENT TRIGGER sessmgr_models_dropped ON sql_drop
    EXECUTE FUNCTION models_dropped();
COMMENT ON EVENT TRIGGER sessmgr_models_dropped IS
    'Takes dropped tables and sequences out of the registry of models';

--
-- Two-phase transactions
--
CREATE TABLE two_phase (
    gid pg_catalog.text PRIMARY KEY,
    remote pg_catalog.text NOT NULL,
    target pg_catalog.text NOT NULL,
    written_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE two_phase IS
    'Decisions: a transaction prepared on a target under this id is to be committed. Written by two-phase sessions, not dumped; rows go when their target is settled';
COMMENT ON COLUMN two_phase.gid IS 'The global id: sessmgr_SYSTEM_DATABASE_TRANSACTION_N_RANDOM';
COMMENT ON COLUMN two_phase.remote IS 'System identifier and database oid of the target';
COMMENT ON COLUMN two_phase.target IS 'The target, without secrets';
COMMENT ON COLUMN two_phase.written_at IS 'Start of the transaction that decided';
REVOKE ALL ON TABLE two_phase FROM PUBLIC;

CREATE FUNCTION recover(dburi text, OUT gid text, OUT outcome text)
    RETURNS SETOF record AS 'MODULE_PATHNAME', 'sm_recover'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION recover(text) IS
    'Finishes what two-phase transactions of this database have left prepared on a target: committed, rolled back, left alone or not permitted';

--
-- Views of this backend
--
CREATE FUNCTION engines_list(
    OUT engine engine, OUT dburi text, OUT role name, OUT driver text,
    OUT created_at timestamptz, OUT hits bigint, OUT connects bigint, OUT checkouts bigint,
    OUT idle integer, OUT checked_out integer, OUT pool_size integer, OUT max_overflow integer,
    OUT prepared text[]
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'sm_engines_list' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION engines_list() IS 'Rows of view sessmgr.engines';

CREATE FUNCTION sessions_list(
    OUT session session, OUT dburi text, OUT role name, OUT state text, OUT transaction text,
    OUT hold boolean, OUT savepoints integer, OUT statements bigint, OUT remote_pid integer,
    OUT opened_at timestamptz
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'sm_sessions_list' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION sessions_list() IS 'Rows of view sessmgr.sessions';

CREATE FUNCTION connections_list(
    OUT dburi text, OUT role name, OUT state text, OUT remote_pid integer, OUT session session,
    OUT connected_at timestamptz, OUT state_change timestamptz, OUT recycle_at timestamptz,
    OUT statements bigint, OUT rows bigint, OUT bytes bigint, OUT pooler text
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'sm_connections_list' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION connections_list() IS 'Rows of view sessmgr.connections';

CREATE VIEW engines AS SELECT * FROM engines_list();
CREATE VIEW sessions AS SELECT * FROM sessions_list();
CREATE VIEW connections AS SELECT * FROM connections_list();
COMMENT ON VIEW engines IS
    'The engines of this backend that belong to roles whose privileges the current role has';
COMMENT ON VIEW sessions IS
    'The sessions of this backend that belong to roles whose privileges the current role has';
COMMENT ON VIEW connections IS
    'The connections of this backend that belong to roles whose privileges the current role has';
COMMENT ON COLUMN engines.engine IS 'Its handle';
COMMENT ON COLUMN engines.dburi IS 'The target, without secrets';
COMMENT ON COLUMN engines.role IS 'The role that made it and may use it';
COMMENT ON COLUMN engines.driver IS 'How the target is reached: libpq (a connection) or spi (this backend)';
COMMENT ON COLUMN engines.created_at IS 'When it was made';
COMMENT ON COLUMN engines.hits IS 'How often get_engine() or a one-liner found it';
COMMENT ON COLUMN engines.connects IS 'Connections made so far';
COMMENT ON COLUMN engines.checkouts IS 'Connections taken out of the pool so far, new ones included';
COMMENT ON COLUMN engines.idle IS 'Connections waiting in the pool now';
COMMENT ON COLUMN engines.checked_out IS 'Connections in use now';
COMMENT ON COLUMN engines.pool_size IS 'Idle connections kept at most';
COMMENT ON COLUMN engines.max_overflow IS 'Connections beyond pool_size in use at most; -1: no limit';
COMMENT ON COLUMN engines.prepared IS 'Metadata whose models have been prepared';
COMMENT ON COLUMN sessions.session IS 'Its handle; null: closed while its work awaits the local commit, or the session of one-liners';
COMMENT ON COLUMN sessions.dburi IS 'The target, without secrets';
COMMENT ON COLUMN sessions.role IS 'The role that opened it and may use it';
COMMENT ON COLUMN sessions.state IS 'idle, in transaction, in failed transaction, prepared, or lost';
COMMENT ON COLUMN sessions.transaction IS 'Its mode: manual, autocommit, joined or two_phase';
COMMENT ON COLUMN sessions.hold IS 'Does it survive the commit of the transaction that opened it?';
COMMENT ON COLUMN sessions.savepoints IS 'Savepoints that are set now';
COMMENT ON COLUMN sessions.statements IS 'Statements run so far';
COMMENT ON COLUMN sessions.remote_pid IS 'Process on the target while in a transaction';
COMMENT ON COLUMN sessions.opened_at IS 'When it was opened';
COMMENT ON COLUMN connections.dburi IS 'The target, without secrets';
COMMENT ON COLUMN connections.role IS 'The role that it was made for';
COMMENT ON COLUMN connections.state IS 'idle (in the pool), checked out, in transaction, active or dead';
COMMENT ON COLUMN connections.remote_pid IS 'Process on the target';
COMMENT ON COLUMN connections.session IS 'The session that holds it';
COMMENT ON COLUMN connections.connected_at IS 'When it was made';
COMMENT ON COLUMN connections.state_change IS 'When it was last checked out or given back';
COMMENT ON COLUMN connections.recycle_at IS 'When it will be too old to be reused; null: never';
COMMENT ON COLUMN connections.statements IS 'Commands sent so far';
COMMENT ON COLUMN connections.rows IS 'While a bulk function runs on it: rows sent or received so far';
COMMENT ON COLUMN connections.bytes IS 'While a bulk function runs on it: bytes of data sent or received so far';
COMMENT ON COLUMN connections.pooler IS 'What was found before the target: none, session, transaction, or "transaction, prepared statements" where it keeps their names';
GRANT SELECT ON engines, sessions, connections TO PUBLIC;

--
-- Who may use it: nobody, until granted.  The views, forked() and options() are
-- for everybody.
--

REVOKE EXECUTE ON FUNCTION get_engine(text, jsonb) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION create_session(text, boolean, jsonb) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION session_factory(text, jsonb) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION invalidate(text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION prepare_models(engine, name) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION recover(text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION prepared(engine, name) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION dispose(engine) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION open(sessionmaker) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION reset() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION begin(session) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION commit(session) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION rollback(session) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION close(session) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION in_transaction(session) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION begin_nested(session) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION release(session, integer) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION rollback_to(session, integer) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION execute(session, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION execute(session, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION execute(text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION execute(text, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query(session, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query(session, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query(text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query(text, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_as(anyelement, session, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_as(anyelement, session, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_as(anyelement, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_as(anyelement, text, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_json(session, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_json(session, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_json(text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_json(text, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stream_support(internal) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stream(session, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stream(session, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stream(text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stream(text, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stream_as(anyelement, session, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stream_as(anyelement, session, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stream_as(anyelement, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stream_as(anyelement, text, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION scalar(session, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION scalar(session, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION scalar(text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION scalar(text, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION scalar_as(anyelement, session, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION scalar_as(anyelement, session, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION scalar_as(anyelement, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION scalar_as(anyelement, text, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION execute_many(session, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION execute_many(text, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION pull(session, text, regclass, text[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION pull(text, text, regclass, text[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION push(session, text, text, text[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION push(text, text, text, text[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_all(text[], text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_all(text[], text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION execute_all(text[], text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION execute_all(text[], text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION send(session, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION send(session, text, VARIADIC "any") FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION is_busy(session) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION wait_any(session[], interval) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION receive(session) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION cancel(session) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION add_model(regclass, name) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION drop_model(regclass) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION models_dropped() FROM PUBLIC;

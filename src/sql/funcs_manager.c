/*-------------------------------------------------------------------------
 *
 * funcs_manager.c
 *		SQL functions of the manager: engines, sessionmakers, reset, recovery.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sm_get_engine);
PG_FUNCTION_INFO_V1(sm_create_session);
PG_FUNCTION_INFO_V1(sm_session_factory);
PG_FUNCTION_INFO_V1(sm_invalidate);
PG_FUNCTION_INFO_V1(sm_is_forked);
PG_FUNCTION_INFO_V1(sm_dispose);
PG_FUNCTION_INFO_V1(sm_open);
PG_FUNCTION_INFO_V1(sm_reset_all);
PG_FUNCTION_INFO_V1(sm_recover);

/* get_engine(dburi text, options jsonb) returns engine */
Datum
sm_get_engine(PG_FUNCTION_ARGS)
{
	sm_enter();
	sm_arg_check(fcinfo, 0, "dburi");
	sm_arg_check(fcinfo, 1, "options");
	return UInt64GetDatum(sm_arg_dburi(fcinfo, 0, PG_GETARG_JSONB_P(1), false)->id);
}

/*
 * create_session(dburi text, short_lived_sessions boolean, options jsonb,
 *				  OUT engine engine, OUT sessionmaker sessionmaker)
 */
Datum
sm_create_session(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	Jsonb	   *options;
	SmEngine   *engine;
	bool		short_lived;

	sm_enter();
	sm_arg_check(fcinfo, 0, "dburi");
	sm_arg_check(fcinfo, 1, "short_lived_sessions");
	sm_arg_check(fcinfo, 2, "options");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	options = PG_GETARG_JSONB_P(2);
	engine = sm_arg_dburi(fcinfo, 0, options, true);
	short_lived = PG_GETARG_BOOL(1) || engine->transient;
	values[0] = UInt64GetDatum(engine->id);
	values[1] = UInt64GetDatum(sm_sessionmaker_get(engine, options, short_lived)->id);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* session_factory(dburi text, options jsonb) returns session */
Datum
sm_session_factory(PG_FUNCTION_ARGS)
{
	Jsonb	   *options;
	SmEngine   *engine;
	SmSessionmaker *sessionmaker;

	sm_enter();
	sm_arg_check(fcinfo, 0, "dburi");
	sm_arg_check(fcinfo, 1, "options");
	options = PG_GETARG_JSONB_P(1);
	engine = sm_arg_dburi(fcinfo, 0, options, true);
	sessionmaker = sm_sessionmaker_get(engine, options, engine->transient);
	(void) sm_models_prepare(engine, "default");
	return UInt64GetDatum(sm_session_open(sessionmaker->engine, &sessionmaker->options)->id);
}

/* open(sessionmaker) returns session */
Datum
sm_open(PG_FUNCTION_ARGS)
{
	SmSessionmaker *sessionmaker;

	sm_enter();
	sm_arg_check(fcinfo, 0, "factory");
	sessionmaker = sm_sessionmaker_from_handle((uint64) PG_GETARG_INT64(0));
	return UInt64GetDatum(sm_session_open(sessionmaker->engine, &sessionmaker->options)->id);
}

/* invalidate(dburi text) returns boolean */
Datum
sm_invalidate(PG_FUNCTION_ARGS)
{
	text	   *dburi;

	sm_enter();
	sm_arg_check(fcinfo, 0, "dburi");
	dburi = PG_GETARG_TEXT_PP(0);
	PG_RETURN_BOOL(sm_engine_invalidate(VARDATA_ANY(dburi), VARSIZE_ANY_EXHDR(dburi)));
}

/* forked() returns boolean */
Datum
sm_is_forked(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(sm_forked());
}

/* dispose(engine) returns integer */
Datum
sm_dispose(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(sm_pool_dispose(sm_arg_engine(fcinfo, false)));
}

/* reset() returns void */
Datum
sm_reset_all(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	sm_check_restricted_use("sessmgr.reset()");
	sm_enter();
	sm_reset(false);
	PG_RETURN_VOID();
}

static void
put_recovered(void *arg, const char *gid, const char *outcome)
{
	Datum		values[2];
	bool		nulls[2] = {false, false};

	values[0] = CStringGetTextDatum(gid);
	values[1] = CStringGetTextDatum(outcome);
	sm_store_put((FunctionCallInfo) arg, values, nulls);
}

/* recover(dburi text, OUT gid text, OUT outcome text) returns setof record */
Datum
sm_recover(PG_FUNCTION_ARGS)
{
	sm_enter();
	sm_arg_check(fcinfo, 0, "dburi");
	InitMaterializedSRF(fcinfo, 0);
	sm_twophase_recover(sm_arg_dburi(fcinfo, 0, NULL, false), put_recovered, fcinfo);
	return (Datum) 0;
}

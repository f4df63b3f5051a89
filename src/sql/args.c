/*-------------------------------------------------------------------------
 *
 * args.c
 *		The arguments of SQL functions, and statements that they run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Throws 22004 for a NULL argument. */
void
sm_arg_check(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (unlikely(PG_ARGISNULL(arg)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

/* The engine that the first argument is a handle of. */
SmEngine *
sm_arg_engine(FunctionCallInfo fcinfo, bool check)
{
	sm_enter();
	sm_arg_check(fcinfo, 0, "engine");
	return sm_engine_from_handle((uint64) PG_GETARG_INT64(0), check);
}

char *
sm_arg_text(FunctionCallInfo fcinfo, int arg)
{
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* The elements of an array, of this type and size; none may be NULL. */
int
sm_arg_array(FunctionCallInfo fcinfo, int arg, const char *name, Oid type, Datum **values)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(arg);
	bool	   *nulls;
	int			n;

	if (type == TEXTOID)
		deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, values, &nulls, &n);
	else
		deconstruct_array(array, ARR_ELEMTYPE(array), sizeof(int64), true, TYPALIGN_DOUBLE,
						  values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not have a null element", name)));
	}
	return n;
}

/* The first argument, a session's handle; NULL for a stale one if missing_ok. */
SmSession *
sm_arg_session(FunctionCallInfo fcinfo, bool missing_ok)
{
	sm_enter();
	sm_arg_check(fcinfo, 0, "session");
	return sm_session_from_handle((uint64) PG_GETARG_INT64(0), missing_ok);
}

/* The engine for a dburi, made if it is new. */
SmEngine *
sm_arg_dburi(FunctionCallInfo fcinfo, int arg, Jsonb *options, bool for_session)
{
	text	   *dburi = PG_GETARG_TEXT_PP(arg);

	return sm_engine_get(VARDATA_ANY(dburi), VARSIZE_ANY_EXHDR(dburi), options, for_session);
}

/* What a function is called on. */
void
sm_args_target(SmArgs *args, FunctionCallInfo fcinfo, int arg, SmTargetArg kind)
{
	args->session = NULL;
	args->engine = NULL;
	if (kind == SM_ARG_SESSION)
		args->session = sm_session_from_handle((uint64) PG_GETARG_INT64(arg), false);
	else
		args->engine = sm_arg_dburi(fcinfo, arg, NULL, false);
}

/* The parameters from argument "first" on; what they are is kept for the call site. */
void
sm_args_params(SmArgs *args, FunctionCallInfo fcinfo, int first)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;

	if (unlikely(flinfo->fn_extra == NULL))
		flinfo->fn_extra = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(SmCallSite));
	args->site = (SmCallSite *) flinfo->fn_extra;
	args->params = sm_params_from_call(fcinfo, first, &args->site->params);
}

/* The arguments from "first" on: target, sql, params. */
void
sm_args_statement(SmArgs *args, FunctionCallInfo fcinfo, int first, SmTargetArg kind)
{
	sm_enter();
	sm_arg_check(fcinfo, first, "target");
	sm_arg_check(fcinfo, first + 1, "sql");
	args->sql = sm_arg_text(fcinfo, first + 1);
	sm_args_params(args, fcinfo, first + 2);
	sm_args_target(args, fcinfo, first, kind);
}

/* Run the statement of sm_args_statement(). */
uint64
sm_args_run(const SmArgs *args, SmSink *sink)
{
	if (args->session != NULL)
		return sm_session_execute(args->session, args->sql, args->params, sink);
	return sm_engine_execute(args->engine, args->sql, args->params, sink);
}

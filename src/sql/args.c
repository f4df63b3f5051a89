/*-------------------------------------------------------------------------
 *
 * args.c
 *		A call of a function that runs a statement: decoded, and run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "utils/builtins.h"

static void
report_null(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("argument \"%s\" must not be null", name)));
}

/*
 * The arguments from "first" on: target, sql, params.  *kept is the call site's
 * memory of the parameters, NULL at first.
 */
void
sm_args_decode(SmArgs *call, FunctionCallInfo fcinfo, int first, SmTargetArg kind,
			   SmParams **kept)
{
	sm_enter();
	if (PG_ARGISNULL(first))
		report_null("target");
	if (PG_ARGISNULL(first + 1))
		report_null("sql");

	call->sql = text_to_cstring(PG_GETARG_TEXT_PP(first + 1));
	call->params = sm_params_from_call(fcinfo, first + 2, kept);
	call->session = NULL;
	call->engine = NULL;
	if (kind == SM_ARG_SESSION)
		call->session = sm_session_from_handle((uint64) PG_GETARG_INT64(first), false);
	else
	{
		text	   *dburi = PG_GETARG_TEXT_PP(first);

		call->engine = sm_engine_get(VARDATA_ANY(dburi), VARSIZE_ANY_EXHDR(dburi),
									 NULL, false);
	}
}

uint64
sm_args_run(const SmArgs *call, SmSink *sink)
{
	if (call->session != NULL)
		return sm_session_execute(call->session, call->sql, call->params, sink);
	return sm_engine_execute(call->engine, call->sql, call->params, sink);
}

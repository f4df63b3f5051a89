/*-------------------------------------------------------------------------
 *
 * funcs_bulk.c
 *		SQL functions that move many rows: execute_many, pull, push.
 *
 * Each has two C symbols, one for a session and one for a dburi.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sm_execute_many_session);
PG_FUNCTION_INFO_V1(sm_execute_many_text);
PG_FUNCTION_INFO_V1(sm_pull_session);
PG_FUNCTION_INFO_V1(sm_pull_text);
PG_FUNCTION_INFO_V1(sm_push_session);
PG_FUNCTION_INFO_V1(sm_push_text);

/* The first three arguments, of which the others but the target have these names. */
static void
decode_call(SmArgs *args, FunctionCallInfo fcinfo, SmTargetArg kind, const char *sql,
			const char *last)
{
	sm_enter();
	sm_arg_check(fcinfo, 0, "target");
	sm_arg_check(fcinfo, 1, sql);
	sm_arg_check(fcinfo, 2, last);
	args->sql = sm_arg_text(fcinfo, 1);
	sm_args_target(args, fcinfo, 0, kind);
}

/* Names of columns, exactly as they are; NIL for a NULL array. */
static List *
decode_columns(FunctionCallInfo fcinfo, int arg)
{
	List	   *columns = NIL;
	Datum	   *values;
	int			n;

	if (PG_ARGISNULL(arg))
		return NIL;
	n = sm_arg_array(fcinfo, arg, "columns", TEXTOID, &values);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"columns\" must not be empty"),
				 errhint("Leave it out for all columns.")));
	for (int i = 0; i < n; i++)
		columns = lappend(columns, TextDatumGetCString(values[i]));
	return columns;
}

static Datum
do_execute_many(FunctionCallInfo fcinfo, SmTargetArg kind)
{
	SmArgs		args;

	decode_call(&args, fcinfo, kind, "sql", "param_query");
	PG_RETURN_INT64((int64) sm_bulk_execute_many(args.session, args.engine,
												 args.sql, sm_arg_text(fcinfo, 2)));
}

/* execute_many(target session, sql text, param_query text) returns bigint */
Datum
sm_execute_many_session(PG_FUNCTION_ARGS)
{
	return do_execute_many(fcinfo, SM_ARG_SESSION);
}

/* execute_many(target text, sql text, param_query text) returns bigint */
Datum
sm_execute_many_text(PG_FUNCTION_ARGS)
{
	return do_execute_many(fcinfo, SM_ARG_DBURI);
}

static Datum
do_pull(FunctionCallInfo fcinfo, SmTargetArg kind)
{
	SmArgs		args;

	decode_call(&args, fcinfo, kind, "query", "into_table");
	PG_RETURN_INT64((int64) sm_bulk_pull(args.session, args.engine, args.sql,
										 PG_GETARG_OID(2), decode_columns(fcinfo, 3)));
}

/* pull(target session, query text, into_table regclass, columns text[]) returns bigint */
Datum
sm_pull_session(PG_FUNCTION_ARGS)
{
	return do_pull(fcinfo, SM_ARG_SESSION);
}

/* pull(target text, query text, into_table regclass, columns text[]) returns bigint */
Datum
sm_pull_text(PG_FUNCTION_ARGS)
{
	return do_pull(fcinfo, SM_ARG_DBURI);
}

static Datum
do_push(FunctionCallInfo fcinfo, SmTargetArg kind)
{
	SmArgs		args;

	decode_call(&args, fcinfo, kind, "query", "into_table");
	PG_RETURN_INT64((int64) sm_bulk_push(args.session, args.engine, args.sql,
										 PG_GETARG_TEXT_PP(2), decode_columns(fcinfo, 3)));
}

/* push(target session, query text, into_table text, columns text[]) returns bigint */
Datum
sm_push_session(PG_FUNCTION_ARGS)
{
	return do_push(fcinfo, SM_ARG_SESSION);
}

/* push(target text, query text, into_table text, columns text[]) returns bigint */
Datum
sm_push_text(PG_FUNCTION_ARGS)
{
	return do_push(fcinfo, SM_ARG_DBURI);
}

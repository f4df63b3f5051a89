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
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sm_execute_many_session);
PG_FUNCTION_INFO_V1(sm_execute_many_text);
PG_FUNCTION_INFO_V1(sm_pull_session);
PG_FUNCTION_INFO_V1(sm_pull_text);
PG_FUNCTION_INFO_V1(sm_push_session);
PG_FUNCTION_INFO_V1(sm_push_text);

typedef enum TargetArg
{
	TARGET_SESSION,
	TARGET_DBURI
} TargetArg;

/* What the function is called on: a session, or an engine. */
typedef struct On
{
	SmSession  *session;
	SmEngine   *engine;
} On;

static void
check_arguments(FunctionCallInfo fcinfo, const char *const names[], int n)
{
	for (int i = 0; i < n; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null", names[i])));
	}
}

static On
decode_target(FunctionCallInfo fcinfo, TargetArg kind)
{
	On			on = {NULL, NULL};

	if (kind == TARGET_SESSION)
		on.session = sm_session_from_handle((uint64) PG_GETARG_INT64(0), false);
	else
	{
		text	   *dburi = PG_GETARG_TEXT_PP(0);

		on.engine = sm_engine_get(VARDATA_ANY(dburi), VARSIZE_ANY_EXHDR(dburi), NULL, false);
	}
	return on;
}

static char *
decode_text(FunctionCallInfo fcinfo, int arg)
{
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* Names of columns, exactly as they are; NIL for a NULL array. */
static List *
decode_columns(FunctionCallInfo fcinfo, int arg)
{
	List	   *columns = NIL;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(arg))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"columns\" must not be empty"),
				 errhint("Leave it out for all columns.")));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"columns\" must not have a null element")));
		columns = lappend(columns, TextDatumGetCString(values[i]));
	}
	return columns;
}

static Datum
do_execute_many(FunctionCallInfo fcinfo, TargetArg kind)
{
	static const char *const names[] = {"target", "sql", "param_query"};
	On			on;

	sm_enter();
	check_arguments(fcinfo, names, lengthof(names));
	on = decode_target(fcinfo, kind);
	PG_RETURN_INT64((int64) sm_bulk_execute_many(on.session, on.engine,
												 decode_text(fcinfo, 1),
												 decode_text(fcinfo, 2)));
}

/* execute_many(target session, sql text, param_query text) returns bigint */
Datum
sm_execute_many_session(PG_FUNCTION_ARGS)
{
	return do_execute_many(fcinfo, TARGET_SESSION);
}

/* execute_many(target text, sql text, param_query text) returns bigint */
Datum
sm_execute_many_text(PG_FUNCTION_ARGS)
{
	return do_execute_many(fcinfo, TARGET_DBURI);
}

static Datum
do_pull(FunctionCallInfo fcinfo, TargetArg kind)
{
	static const char *const names[] = {"target", "query", "into_table"};
	On			on;

	sm_enter();
	check_arguments(fcinfo, names, lengthof(names));
	on = decode_target(fcinfo, kind);
	PG_RETURN_INT64((int64) sm_bulk_pull(on.session, on.engine, decode_text(fcinfo, 1),
										 PG_GETARG_OID(2), decode_columns(fcinfo, 3)));
}

/* pull(target session, query text, into_table regclass, columns text[]) returns bigint */
Datum
sm_pull_session(PG_FUNCTION_ARGS)
{
	return do_pull(fcinfo, TARGET_SESSION);
}

/* pull(target text, query text, into_table regclass, columns text[]) returns bigint */
Datum
sm_pull_text(PG_FUNCTION_ARGS)
{
	return do_pull(fcinfo, TARGET_DBURI);
}

static Datum
do_push(FunctionCallInfo fcinfo, TargetArg kind)
{
	static const char *const names[] = {"target", "query", "into_table"};
	On			on;

	sm_enter();
	check_arguments(fcinfo, names, lengthof(names));
	on = decode_target(fcinfo, kind);
	PG_RETURN_INT64((int64) sm_bulk_push(on.session, on.engine, decode_text(fcinfo, 1),
										 PG_GETARG_TEXT_PP(2), decode_columns(fcinfo, 3)));
}

/* push(target session, query text, into_table text, columns text[]) returns bigint */
Datum
sm_push_session(PG_FUNCTION_ARGS)
{
	return do_push(fcinfo, TARGET_SESSION);
}

/* push(target text, query text, into_table text, columns text[]) returns bigint */
Datum
sm_push_text(PG_FUNCTION_ARGS)
{
	return do_push(fcinfo, TARGET_DBURI);
}

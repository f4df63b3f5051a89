/*-------------------------------------------------------------------------
 *
 * funcs_session.c
 *		SQL functions on a session: transactions and savepoints.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

PG_FUNCTION_INFO_V1(sm_begin);
PG_FUNCTION_INFO_V1(sm_commit);
PG_FUNCTION_INFO_V1(sm_rollback);
PG_FUNCTION_INFO_V1(sm_close);
PG_FUNCTION_INFO_V1(sm_in_transaction);
PG_FUNCTION_INFO_V1(sm_begin_nested);
PG_FUNCTION_INFO_V1(sm_release);
PG_FUNCTION_INFO_V1(sm_rollback_to);

static SmSession *
session_from_arg(FunctionCallInfo fcinfo, bool missing_ok)
{
	sm_enter();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "session")));
	return sm_session_from_handle((uint64) PG_GETARG_INT64(0), missing_ok);
}

static int
savepoint_from_arg(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "savepoint")));
	return PG_GETARG_INT32(1);
}

/* begin(session) returns void */
Datum
sm_begin(PG_FUNCTION_ARGS)
{
	sm_session_begin(session_from_arg(fcinfo, false));
	PG_RETURN_VOID();
}

/* commit(session) returns void */
Datum
sm_commit(PG_FUNCTION_ARGS)
{
	sm_session_commit(session_from_arg(fcinfo, false));
	PG_RETURN_VOID();
}

/* rollback(session) returns void */
Datum
sm_rollback(PG_FUNCTION_ARGS)
{
	sm_session_rollback(session_from_arg(fcinfo, false));
	PG_RETURN_VOID();
}

/* close(session) returns void; closing twice is closing once */
Datum
sm_close(PG_FUNCTION_ARGS)
{
	SmSession  *session = session_from_arg(fcinfo, true);

	if (session != NULL)
		sm_session_close(session);
	PG_RETURN_VOID();
}

/* in_transaction(session) returns boolean */
Datum
sm_in_transaction(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(sm_session_in_transaction(session_from_arg(fcinfo, false)));
}

/* begin_nested(session) returns integer */
Datum
sm_begin_nested(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(sm_session_begin_nested(session_from_arg(fcinfo, false)));
}

/* release(session, savepoint integer) returns void */
Datum
sm_release(PG_FUNCTION_ARGS)
{
	SmSession  *session = session_from_arg(fcinfo, false);

	sm_session_release(session, savepoint_from_arg(fcinfo));
	PG_RETURN_VOID();
}

/* rollback_to(session, savepoint integer) returns void */
Datum
sm_rollback_to(PG_FUNCTION_ARGS)
{
	SmSession  *session = session_from_arg(fcinfo, false);

	sm_session_rollback_to(session, savepoint_from_arg(fcinfo));
	PG_RETURN_VOID();
}

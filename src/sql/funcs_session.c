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

static int
savepoint_from_arg(FunctionCallInfo fcinfo)
{
	sm_arg_check(fcinfo, 1, "savepoint");
	return PG_GETARG_INT32(1);
}

/* begin(session) returns void */
Datum
sm_begin(PG_FUNCTION_ARGS)
{
	sm_session_begin(sm_arg_session(fcinfo, false));
	PG_RETURN_VOID();
}

/* commit(session) returns void */
Datum
sm_commit(PG_FUNCTION_ARGS)
{
	sm_session_commit(sm_arg_session(fcinfo, false));
	PG_RETURN_VOID();
}

/* rollback(session) returns void */
Datum
sm_rollback(PG_FUNCTION_ARGS)
{
	sm_session_rollback(sm_arg_session(fcinfo, false));
	PG_RETURN_VOID();
}

/* close(session) returns void; closing twice is closing once */
Datum
sm_close(PG_FUNCTION_ARGS)
{
	SmSession  *session = sm_arg_session(fcinfo, true);

	if (session != NULL)
		sm_session_close(session);
	PG_RETURN_VOID();
}

/* in_transaction(session) returns boolean */
Datum
sm_in_transaction(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(sm_session_in_transaction(sm_arg_session(fcinfo, false)));
}

/* begin_nested(session) returns integer */
Datum
sm_begin_nested(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(sm_session_begin_nested(sm_arg_session(fcinfo, false)));
}

/* release(session, savepoint integer) returns void */
Datum
sm_release(PG_FUNCTION_ARGS)
{
	SmSession  *session = sm_arg_session(fcinfo, false);

	sm_session_release(session, savepoint_from_arg(fcinfo));
	PG_RETURN_VOID();
}

/* rollback_to(session, savepoint integer) returns void */
Datum
sm_rollback_to(PG_FUNCTION_ARGS)
{
	SmSession  *session = sm_arg_session(fcinfo, false);

	sm_session_rollback_to(session, savepoint_from_arg(fcinfo));
	PG_RETURN_VOID();
}

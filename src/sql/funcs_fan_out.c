/*-------------------------------------------------------------------------
 *
 * funcs_fan_out.c
 *		SQL functions for many targets (query_all, execute_all) and for
 *		statements that are sent and received later (send, is_busy, cancel,
 *		receive, wait_any).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(sm_query_all);
PG_FUNCTION_INFO_V1(sm_execute_all);
PG_FUNCTION_INFO_V1(sm_send);
PG_FUNCTION_INFO_V1(sm_is_busy);
PG_FUNCTION_INFO_V1(sm_receive);
PG_FUNCTION_INFO_V1(sm_cancel);
PG_FUNCTION_INFO_V1(sm_wait_any);

/* ----------
 * Many targets
 * ----------
 */

/* The arguments of both: targets, sql, params. */
static void
decode_fan_out(SmFanOut *fan_out, FunctionCallInfo fcinfo)
{
	SmArgs		args;
	Datum	   *targets;

	sm_enter();
	sm_arg_check(fcinfo, 0, "targets");
	sm_arg_check(fcinfo, 1, "sql");
	memset(fan_out, 0, sizeof(*fan_out));
	fan_out->sql = sm_arg_text(fcinfo, 1);
	sm_args_params(&args, fcinfo, 2);
	fan_out->params = args.params;
	fan_out->n = sm_arg_array(fcinfo, 0, "targets", TEXTOID, &targets);
	fan_out->branches = palloc0(Max(fan_out->n, 1) * sizeof(SmBranch));
	for (int i = 0; i < fan_out->n; i++)
		fan_out->branches[i].dburi = TextDatumGetCString(targets[i]);
}

/* Each target's rows are kept apart until all are there. */
static SmStoreSink *
make_sinks(SmFanOut *fan_out, TupleDesc desc)
{
	SmStoreSink *sinks = palloc0(Max(fan_out->n, 1) * sizeof(SmStoreSink));

	for (int i = 0; i < fan_out->n; i++)
	{
		SmBranch   *branch = &fan_out->branches[i];

		sm_store_sink(&sinks[i],
					  tuplestore_begin_heap(false, false, Max(work_mem / fan_out->n, 64)),
					  desc, &branch->label);
		sinks[i].base.before = "target text, ";
		branch->sink = &sinks[i].base;
	}
	return sinks;
}

/* What joins the rows that were kept apart. */
typedef struct RowsJoin
{
	const SmFanOut *fan_out;
	SmStoreSink *sinks;
	Tuplestorestate *result;
} RowsJoin;

/*
 * The rows of all targets, in the order of the array.  Before anything is
 * committed, as there may be no room for them.
 */
static void
join_stores(void *arg)
{
	const RowsJoin *join = (const RowsJoin *) arg;
	TupleTableSlot *slot;

	if (join->fan_out->n == 0)
		return;
	slot = MakeSingleTupleTableSlot(join->sinks[0].desc, &TTSOpsMinimalTuple);
	for (int i = 0; i < join->fan_out->n; i++)
	{
		while (tuplestore_gettupleslot(join->sinks[i].store, true, false, slot))
			tuplestore_puttupleslot(join->result, slot);
		tuplestore_end(join->sinks[i].store);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* query_all(targets text[], sql text, params) returns setof record */
Datum
sm_query_all(PG_FUNCTION_ARGS)
{
	TupleDesc	desc = sm_store_declared(fcinfo, "query_all", "t(target text, a integer, b text)");
	SmFanOut	fan_out;
	RowsJoin	join = {.fan_out = &fan_out};

	if (desc->natts == 0 || TupleDescAttr(desc, 0)->atttypid != TEXTOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the first column of sessmgr.query_all() must be of type text"),
				 errdetail("It tells the target that a row is from.")));
	decode_fan_out(&fan_out, fcinfo);
	sm_store_begin(fcinfo, desc);
	join.result = ((ReturnSetInfo *) fcinfo->resultinfo)->setResult;
	join.sinks = make_sinks(&fan_out, desc);
	fan_out.together = true;
	fan_out.before_commit = join_stores;
	fan_out.arg = &join;
	sm_fan_out_run(&fan_out);
	return (Datum) 0;
}

/* An error in one column: the message, and in a line of its own its detail. */
static char *
error_text(const ErrorData *error)
{
	return error->detail ? psprintf("%s\n%s", error->message, error->detail) :
		error->message;
}

/* Whatever fails now, this is done. */
static void
lasting_context(void *arg)
{
	const SmFanOut *fan_out = (const SmFanOut *) arg;

	for (int i = 0; i < fan_out->n; i++)
	{
		if (fan_out->branches[i].lasts)
			errcontext("the statement's effects on target %d of %d, \"%s\", are committed",
					   i + 1, fan_out->n, fan_out->branches[i].label);
	}
}

/* execute_all(targets text[], sql text, params) returns table (target, rows, sqlstate, error) */
Datum
sm_execute_all(PG_FUNCTION_ARGS)
{
	SmFanOut	fan_out;
	ErrorContextCallback callback = {
		.callback = lasting_context,.arg = &fan_out,.previous = error_context_stack
	};

	decode_fan_out(&fan_out, fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	sm_fan_out_run(&fan_out);
	error_context_stack = &callback;
	for (int i = 0; i < fan_out.n; i++)
	{
		const SmBranch *branch = &fan_out.branches[i];
		Datum		values[4] = {CStringGetTextDatum(branch->label)};
		bool		nulls[4] = {false, true, true, true};

		if (branch->error == NULL)
		{
			values[1] = Int64GetDatum((int64) branch->count);
			nulls[1] = false;
		}
		else
		{
			values[2] = CStringGetTextDatum(unpack_sql_state(branch->error->sqlerrcode));
			values[3] = CStringGetTextDatum(error_text(branch->error));
			nulls[2] = nulls[3] = false;
		}
		sm_store_put(fcinfo, values, nulls);
	}
	error_context_stack = callback.previous;
	return (Datum) 0;
}

/* ----------
 * Send and receive
 * ----------
 */
/* send(session, sql text, params) returns void */
Datum
sm_send(PG_FUNCTION_ARGS)
{
	SmSession  *session = sm_arg_session(fcinfo, false);
	SmArgs		args;

	sm_arg_check(fcinfo, 1, "sql");
	sm_args_params(&args, fcinfo, 2);
	sm_session_send(session, sm_arg_text(fcinfo, 1), args.params);
	PG_RETURN_VOID();
}

/* is_busy(session) returns boolean */
Datum
sm_is_busy(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(sm_session_is_busy(sm_arg_session(fcinfo, false)));
}

/* cancel(session) returns boolean */
Datum
sm_cancel(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(sm_session_cancel(sm_arg_session(fcinfo, false)));
}

/* receive(session) returns setof record */
Datum
sm_receive(PG_FUNCTION_ARGS)
{
	TupleDesc	desc = sm_store_declared(fcinfo, "receive", "t(a integer, b text)");
	SmSession  *session = sm_arg_session(fcinfo, false);
	SmStoreSink sink;
	uint64		count;
	bool		rows = false;

	sm_store_sink_result(&sink, fcinfo, desc);
	/* the place for how many rows a statement has affected */
	sink.base.counts = desc->natts == 1 && TupleDescAttr(desc, 0)->atttypid == INT8OID;
	count = sm_session_receive(session, &sink.base, &rows);
	if (!rows)
	{
		Datum		value = Int64GetDatum((int64) count);
		bool		isnull = false;

		sm_store_put(fcinfo, &value, &isnull);
	}
	return (Datum) 0;
}

/* wait_any(sessions session[], timeout interval) returns session */
Datum
sm_wait_any(PG_FUNCTION_ARGS)
{
	TimestampTz deadline = SM_NO_DEADLINE;
	SmSession **sessions;
	Datum	   *handles;
	int			n;
	SmSession  *found;

	sm_enter();
	sm_arg_check(fcinfo, 0, "sessions");
	n = sm_arg_array(fcinfo, 0, "sessions", INT8OID, &handles);
	if (!PG_ARGISNULL(1))
		deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														   TimestampTzGetDatum(GetCurrentTimestamp()),
														   PG_GETARG_DATUM(1)));
	sessions = palloc(Max(n, 1) * sizeof(SmSession *));
	for (int i = 0; i < n; i++)
		sessions[i] = sm_session_from_handle((uint64) DatumGetInt64(handles[i]), false);
	found = sm_sessions_wait_any(sessions, n, deadline);
	if (found == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) found->id);
}

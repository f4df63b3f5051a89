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
#include "utils/array.h"
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

/* Rows on their way into a tuplestore, perhaps with the target in front. */
typedef struct RowsSink
{
	SmSink		base;
	Tuplestorestate *store;
	TupleDesc	desc;
	const SmBranch *branch;		/* the first column is its label, or NULL */
	Datum	   *values;
	bool	   *nulls;
} RowsSink;

static void
check_not_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

static bool
put_row(SmSink *sink, Datum *values, bool *nulls)
{
	RowsSink   *self = (RowsSink *) sink;

	if (self->branch != NULL)
	{
		int			n = self->desc->natts - 1;

		self->values[0] = CStringGetTextDatum(self->branch->label);
		memcpy(self->values + 1, values, n * sizeof(Datum));
		memcpy(self->nulls + 1, nulls, n * sizeof(bool));
		values = self->values;
		nulls = self->nulls;
	}
	tuplestore_putvalues(self->store, self->desc, values, nulls);
	return true;
}

/* The statement's own columns: all but the first of the declared ones. */
static TupleDesc
columns_of_statement(TupleDesc desc)
{
	TupleDesc	rest = CreateTemplateTupleDesc(desc->natts - 1);

	for (int i = 1; i < desc->natts; i++)
		TupleDescCopyEntry(rest, i, desc, i + 1);
	return rest;
}

/* What the caller's column definition list says. */
static TupleDesc
declared_columns(FunctionCallInfo fcinfo, const char *name, const char *example)
{
	ReturnSetInfo *rsinfo = sm_check_set_context(fcinfo);

	if (rsinfo->expectedDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the columns of sessmgr.%s() are not known here", name),
				 errhint("Use it in FROM with a column definition list: FROM sessmgr.%s(...) AS %s.",
						 name, example)));
	return rsinfo->expectedDesc;
}

/* The parameters; what they are is kept for the call site. */
static SmParams *
params_from(FunctionCallInfo fcinfo, int first)
{
	SmParams   *kept = fcinfo->flinfo->fn_extra;
	SmParams   *params = sm_params_from_call(fcinfo, first, &kept);

	fcinfo->flinfo->fn_extra = kept;
	return params;
}

/* ----------
 * Many targets
 * ----------
 */

/* The arguments of both: targets, sql, params. */
static void
decode_fan_out(SmFanOut *fan_out, FunctionCallInfo fcinfo)
{
	Datum	   *targets;
	bool	   *nulls;

	sm_enter();
	check_not_null(fcinfo, 0, "targets");
	check_not_null(fcinfo, 1, "sql");
	memset(fan_out, 0, sizeof(*fan_out));
	fan_out->sql = text_to_cstring(PG_GETARG_TEXT_PP(1));
	fan_out->params = params_from(fcinfo, 2);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT,
					  &targets, &nulls, &fan_out->n);
	fan_out->branches = palloc0(Max(fan_out->n, 1) * sizeof(SmBranch));
	for (int i = 0; i < fan_out->n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"targets\" must not have a null element")));
		fan_out->branches[i].dburi = TextDatumGetCString(targets[i]);
	}
}

/* Each target's rows are kept apart until all are there. */
static RowsSink *
make_sinks(SmFanOut *fan_out, TupleDesc desc)
{
	RowsSink   *sinks = palloc0(Max(fan_out->n, 1) * sizeof(RowsSink));
	SmReader   *reader = sm_reader_make(columns_of_statement(desc));

	for (int i = 0; i < fan_out->n; i++)
	{
		RowsSink   *sink = &sinks[i];

		sink->base.reader = reader;
		sink->base.row = put_row;
		sink->base.before = "target text, ";
		sink->store = tuplestore_begin_heap(false, false, Max(work_mem / fan_out->n, 64));
		sink->desc = desc;
		sink->branch = &fan_out->branches[i];
		sink->values = palloc0(desc->natts * sizeof(Datum));
		sink->nulls = palloc0(desc->natts * sizeof(bool));
		fan_out->branches[i].sink = &sink->base;
	}
	return sinks;
}

/* What joins the rows that were kept apart. */
typedef struct RowsJoin
{
	const SmFanOut *fan_out;
	RowsSink   *sinks;
	Tuplestorestate *result;
} RowsJoin;

/*
 * The rows of all targets, in the order of the array.  Before anything is
 * committed, as there may be no room for them.
 */
static void
join_stores(void *arg)
{
	const SmFanOut *fan_out = ((RowsJoin *) arg)->fan_out;
	RowsSink   *sinks = ((RowsJoin *) arg)->sinks;
	Tuplestorestate *result = ((RowsJoin *) arg)->result;
	TupleTableSlot *slot;

	if (fan_out->n == 0)
		return;
	slot = MakeSingleTupleTableSlot(sinks[0].desc, &TTSOpsMinimalTuple);
	for (int i = 0; i < fan_out->n; i++)
	{
		while (tuplestore_gettupleslot(sinks[i].store, true, false, slot))
			tuplestore_puttupleslot(result, slot);
		tuplestore_end(sinks[i].store);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* query_all(targets text[], sql text, params) returns setof record */
Datum
sm_query_all(PG_FUNCTION_ARGS)
{
	TupleDesc	desc = declared_columns(fcinfo, "query_all", "t(target text, a integer, b text)");
	SmFanOut	fan_out;
	RowsJoin	join = {.fan_out = &fan_out};

	if (desc->natts == 0 || TupleDescAttr(desc, 0)->atttypid != TEXTOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the first column of sessmgr.query_all() must be of type text"),
				 errdetail("It tells the target that a row is from.")));
	decode_fan_out(&fan_out, fcinfo);
	join.result = sm_make_store(fcinfo, &desc);
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
	ReturnSetInfo *rsinfo;
	SmFanOut	fan_out;
	ErrorContextCallback callback = {
		.callback = lasting_context,.arg = &fan_out,.previous = error_context_stack
	};

	decode_fan_out(&fan_out, fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
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
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	error_context_stack = callback.previous;
	return (Datum) 0;
}

/* ----------
 * Send and receive
 * ----------
 */
static SmSession *
session_from_arg(FunctionCallInfo fcinfo)
{
	sm_enter();
	check_not_null(fcinfo, 0, "session");
	return sm_session_from_handle((uint64) PG_GETARG_INT64(0), false);
}

/* send(session, sql text, params) returns void */
Datum
sm_send(PG_FUNCTION_ARGS)
{
	SmSession  *session = session_from_arg(fcinfo);

	check_not_null(fcinfo, 1, "sql");
	sm_session_send(session, text_to_cstring(PG_GETARG_TEXT_PP(1)),
					params_from(fcinfo, 2));
	PG_RETURN_VOID();
}

/* is_busy(session) returns boolean */
Datum
sm_is_busy(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(sm_session_is_busy(session_from_arg(fcinfo)));
}

/* cancel(session) returns boolean */
Datum
sm_cancel(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(sm_session_cancel(session_from_arg(fcinfo)));
}

/* receive(session) returns setof record */
Datum
sm_receive(PG_FUNCTION_ARGS)
{
	TupleDesc	desc = declared_columns(fcinfo, "receive", "t(a integer, b text)");
	SmSession  *session = session_from_arg(fcinfo);
	RowsSink	sink = {.desc = desc};
	uint64		count;
	bool		rows = false;

	sink.store = sm_make_store(fcinfo, &sink.desc);
	sink.base.row = put_row;
	sink.base.reader = sm_reader_make(sink.desc);
	/* the place for how many rows a statement has affected */
	sink.base.counts = desc->natts == 1 && TupleDescAttr(desc, 0)->atttypid == INT8OID;
	count = sm_session_receive(session, &sink.base, &rows);
	if (!rows)
	{
		Datum		value = Int64GetDatum((int64) count);
		bool		isnull = false;

		tuplestore_putvalues(sink.store, sink.desc, &value, &isnull);
	}
	return (Datum) 0;
}

/* wait_any(sessions session[], timeout interval) returns session */
Datum
sm_wait_any(PG_FUNCTION_ARGS)
{
	ArrayType  *array;
	TimestampTz deadline = SM_NO_DEADLINE;
	SmSession **sessions;
	Datum	   *handles;
	bool	   *nulls;
	int			n;
	SmSession  *found;

	sm_enter();
	check_not_null(fcinfo, 0, "sessions");
	array = PG_GETARG_ARRAYTYPE_P(0);
	deconstruct_array(array, ARR_ELEMTYPE(array), sizeof(int64), true, TYPALIGN_DOUBLE,
					  &handles, &nulls, &n);
	if (!PG_ARGISNULL(1))
		deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														   TimestampTzGetDatum(GetCurrentTimestamp()),
														   PG_GETARG_DATUM(1)));
	sessions = palloc(Max(n, 1) * sizeof(SmSession *));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"sessions\" must not have a null element")));
		sessions[i] = sm_session_from_handle((uint64) DatumGetInt64(handles[i]), false);
	}
	found = sm_sessions_wait_any(sessions, n, deadline);
	if (found == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) found->id);
}

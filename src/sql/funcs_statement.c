/*-------------------------------------------------------------------------
 *
 * funcs_statement.c
 *		SQL functions that run a statement: execute, query, query_as,
 *		query_json, scalar, scalar_as, stream, stream_as.
 *
 * Each has two C symbols, one for a session and one for a dburi; the form with
 * parameters and the one without share them, as they differ only in how many
 * parameters there are.
 *
 * What is looked up for a call site (its parameters' types, how to read its
 * result) is kept in fn_extra.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(sm_execute_session);
PG_FUNCTION_INFO_V1(sm_execute_text);
PG_FUNCTION_INFO_V1(sm_query_session);
PG_FUNCTION_INFO_V1(sm_query_text);
PG_FUNCTION_INFO_V1(sm_query_as_session);
PG_FUNCTION_INFO_V1(sm_query_as_text);
PG_FUNCTION_INFO_V1(sm_stream_session);
PG_FUNCTION_INFO_V1(sm_stream_text);
PG_FUNCTION_INFO_V1(sm_stream_as_session);
PG_FUNCTION_INFO_V1(sm_stream_as_text);
PG_FUNCTION_INFO_V1(sm_query_json_session);
PG_FUNCTION_INFO_V1(sm_query_json_text);
PG_FUNCTION_INFO_V1(sm_scalar_session);
PG_FUNCTION_INFO_V1(sm_scalar_text);
PG_FUNCTION_INFO_V1(sm_scalar_as_session);
PG_FUNCTION_INFO_V1(sm_scalar_as_text);

/* ----------
 * execute
 * ----------
 */
static Datum
do_execute(FunctionCallInfo fcinfo, SmTargetArg kind)
{
	SmArgs		args;

	sm_args_statement(&args, fcinfo, 0, kind);
	PG_RETURN_INT64((int64) sm_args_run(&args, NULL));
}

/* execute(target session, sql text, params) returns bigint */
Datum
sm_execute_session(PG_FUNCTION_ARGS)
{
	return do_execute(fcinfo, SM_ARG_SESSION);
}

/* execute(target text, sql text, params) returns bigint */
Datum
sm_execute_text(PG_FUNCTION_ARGS)
{
	return do_execute(fcinfo, SM_ARG_DBURI);
}

/* ----------
 * scalar, scalar_as: the first column of the first row
 * ----------
 */
typedef struct ScalarSink
{
	SmSink		base;
	const SmCallSite *site;
	MemoryContext cxt;
	Datum		value;
	bool		isnull;
} ScalarSink;

static bool
scalar_row(SmSink *sink, Datum *values, bool *nulls)
{
	ScalarSink *self = (ScalarSink *) sink;

	self->isnull = nulls[0];
	self->value = values[0];
	if (!nulls[0] && CurrentMemoryContext != self->cxt)
	{
		MemoryContext old = MemoryContextSwitchTo(self->cxt);

		self->value = datumCopy(values[0], self->site->typbyval, self->site->typlen);
		MemoryContextSwitchTo(old);
	}
	return false;
}

static void
learn_scalar(SmCallSite *site, FmgrInfo *flinfo, Oid type)
{
	MemoryContext old = MemoryContextSwitchTo(flinfo->fn_mcxt);
	TupleDesc	desc;

	desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(desc, 1, "value", type, -1, 0);
	site->reader = sm_reader_make(desc);
	get_typlenbyval(type, &site->typlen, &site->typbyval);
	MemoryContextSwitchTo(old);
}

static Datum
do_scalar(FunctionCallInfo fcinfo, int first, SmTargetArg kind)
{
	SmArgs		args;
	ScalarSink	sink = {0};

	sm_args_statement(&args, fcinfo, first, kind);
	if (args.site->reader == NULL)
		learn_scalar(args.site, fcinfo->flinfo,
					 first == 0 ? TEXTOID : get_fn_expr_argtype(fcinfo->flinfo, 0));
	sink.base.reader = args.site->reader;
	sink.base.first_column = true;
	sink.base.row = scalar_row;
	sink.site = args.site;
	sink.cxt = CurrentMemoryContext;
	sink.isnull = true;
	(void) sm_args_run(&args, &sink.base);
	if (sink.isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(sink.value);
}

/* scalar(target session, sql text, params) returns text */
Datum
sm_scalar_session(PG_FUNCTION_ARGS)
{
	return do_scalar(fcinfo, 0, SM_ARG_SESSION);
}

/* scalar(target text, sql text, params) returns text */
Datum
sm_scalar_text(PG_FUNCTION_ARGS)
{
	return do_scalar(fcinfo, 0, SM_ARG_DBURI);
}

/* scalar_as(rowtype anyelement, target session, sql text, params) returns anyelement */
Datum
sm_scalar_as_session(PG_FUNCTION_ARGS)
{
	return do_scalar(fcinfo, 1, SM_ARG_SESSION);
}

/* scalar_as(rowtype anyelement, target text, sql text, params) returns anyelement */
Datum
sm_scalar_as_text(PG_FUNCTION_ARGS)
{
	return do_scalar(fcinfo, 1, SM_ARG_DBURI);
}

/* ----------
 * query, query_as
 * ----------
 */
static void
store_result(const SmArgs *args, FunctionCallInfo fcinfo, TupleDesc desc)
{
	SmStoreSink sink;

	sm_store_sink_result(&sink, fcinfo, desc);
	(void) sm_args_run(args, &sink.base);
}

static Datum
do_query(FunctionCallInfo fcinfo, SmTargetArg kind)
{
	TupleDesc	desc = sm_store_declared(fcinfo, "query", "t(a integer, b text)");
	SmArgs		args;

	sm_args_statement(&args, fcinfo, 0, kind);
	store_result(&args, fcinfo, desc);
	return (Datum) 0;
}

/* query(target session, sql text, params) returns setof record */
Datum
sm_query_session(PG_FUNCTION_ARGS)
{
	return do_query(fcinfo, SM_ARG_SESSION);
}

/* query(target text, sql text, params) returns setof record */
Datum
sm_query_text(PG_FUNCTION_ARGS)
{
	return do_query(fcinfo, SM_ARG_DBURI);
}

/* The shape that the first argument of query_as or stream_as names. */
static TupleDesc
shape_of_rowtype(FunctionCallInfo fcinfo, const char *otherwise)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	TupleDesc	desc;

	if (type == RECORDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("\"rowtype\" must be of a named row type or a scalar type"),
				 errhint("Use sessmgr.%s() with a column definition list.", otherwise)));
	if (get_typtype(type) == TYPTYPE_DOMAIN && type_is_rowtype(type))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"rowtype\" must not be a domain over a row type")));
	if (type_is_rowtype(type))
		return lookup_rowtype_tupdesc_copy(type, -1);

	desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(desc, 1, "query_as", type, -1, 0);
	return desc;
}

static Datum
do_query_as(FunctionCallInfo fcinfo, SmTargetArg kind)
{
	SmArgs		args;

	sm_store_check(fcinfo);
	sm_args_statement(&args, fcinfo, 1, kind);
	store_result(&args, fcinfo, shape_of_rowtype(fcinfo, "query"));
	return (Datum) 0;
}

/* query_as(rowtype anyelement, target session, sql text, params) returns setof anyelement */
Datum
sm_query_as_session(PG_FUNCTION_ARGS)
{
	return do_query_as(fcinfo, SM_ARG_SESSION);
}

/* query_as(rowtype anyelement, target text, sql text, params) returns setof anyelement */
Datum
sm_query_as_text(PG_FUNCTION_ARGS)
{
	return do_query_as(fcinfo, SM_ARG_DBURI);
}

/* ----------
 * stream, stream_as where they are called like any function
 *
 * The planner puts a scan in their place where it can (scan.c).  Where it
 * cannot, the rows are the same, read in the same way, but all at once.
 * ----------
 */
static void
store_stream(const SmArgs *args, FunctionCallInfo fcinfo, TupleDesc desc)
{
	SmStoreSink sink;
	SmStream   *stream;
	MemoryContext rowcxt;
	MemoryContext old;
	Datum	   *values;
	bool	   *nulls;

	sm_store_sink_result(&sink, fcinfo, desc);
	values = palloc(Max(sink.base.reader->desc->natts, 1) * sizeof(Datum));
	nulls = palloc(Max(sink.base.reader->desc->natts, 1) * sizeof(bool));
	rowcxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr row",
								   ALLOCSET_DEFAULT_SIZES);
	stream = sm_stream_open(args, sink.base.reader, false);
	old = MemoryContextSwitchTo(rowcxt);
	while (sm_stream_next(stream, values, nulls))
	{
		(void) sink.base.row(&sink.base, values, nulls);
		MemoryContextReset(rowcxt);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(old);
	sm_stream_close(stream);
}

static Datum
do_stream(FunctionCallInfo fcinfo, SmTargetArg kind)
{
	TupleDesc	desc = sm_store_declared(fcinfo, "stream", "t(a integer, b text)");
	SmArgs		args;

	sm_args_statement(&args, fcinfo, 0, kind);
	store_stream(&args, fcinfo, desc);
	return (Datum) 0;
}

/* stream(target session, sql text, params) returns setof record */
Datum
sm_stream_session(PG_FUNCTION_ARGS)
{
	return do_stream(fcinfo, SM_ARG_SESSION);
}

/* stream(target text, sql text, params) returns setof record */
Datum
sm_stream_text(PG_FUNCTION_ARGS)
{
	return do_stream(fcinfo, SM_ARG_DBURI);
}

static Datum
do_stream_as(FunctionCallInfo fcinfo, SmTargetArg kind)
{
	SmArgs		args;

	sm_store_check(fcinfo);
	sm_args_statement(&args, fcinfo, 1, kind);
	store_stream(&args, fcinfo, shape_of_rowtype(fcinfo, "stream"));
	return (Datum) 0;
}

/* stream_as(rowtype anyelement, target session, sql text, params) returns setof anyelement */
Datum
sm_stream_as_session(PG_FUNCTION_ARGS)
{
	return do_stream_as(fcinfo, SM_ARG_SESSION);
}

/* stream_as(rowtype anyelement, target text, sql text, params) returns setof anyelement */
Datum
sm_stream_as_text(PG_FUNCTION_ARGS)
{
	return do_stream_as(fcinfo, SM_ARG_DBURI);
}

/* ----------
 * query_json: each row as an object
 * ----------
 */

typedef struct JsonSink
{
	SmSink		base;
	FunctionCallInfo fcinfo;
	FmgrInfo	to_jsonb;
} JsonSink;

/* Two columns of one name would silently become one. */
static void
json_describe(SmSink *sink, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		for (int j = 0; j < i; j++)
		{
			if (strcmp(name, NameStr(TupleDescAttr(desc, j)->attname)) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("two columns of the result are named \"%s\"", name),
						 errhint("Give each column a name of its own with AS.")));
		}
	}
	sink->reader = sm_reader_make(BlessTupleDesc(CreateTupleDescCopy(desc)));
}

static bool
json_row(SmSink *sink, Datum *values, bool *nulls)
{
	JsonSink   *self = (JsonSink *) sink;
	HeapTuple	tuple = heap_form_tuple(sink->reader->desc, values, nulls);
	Datum		json = FunctionCall1(&self->to_jsonb, HeapTupleGetDatum(tuple));
	bool		isnull = false;

	sm_store_put(self->fcinfo, &json, &isnull);
	return true;
}

static Datum
do_query_json(FunctionCallInfo fcinfo, SmTargetArg kind)
{
	SmArgs		args;
	JsonSink	sink = {.fcinfo = fcinfo};
	TupleDesc	desc = CreateTemplateTupleDesc(1);
	FuncExpr   *expr;

	sm_store_check(fcinfo);
	sm_args_statement(&args, fcinfo, 0, kind);

	TupleDescInitEntry(desc, 1, "query_json", JSONBOID, -1, 0);
	sm_store_begin(fcinfo, desc);
	sink.base.describe = json_describe;
	sink.base.row = json_row;

	/* to_jsonb(anyelement) looks up its argument's type in the call */
	expr = makeFuncExpr(F_TO_JSONB, JSONBOID,
						list_make1(makeNullConst(RECORDOID, -1, InvalidOid)),
						InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	fmgr_info(F_TO_JSONB, &sink.to_jsonb);
	fmgr_info_set_expr((Node *) expr, &sink.to_jsonb);

	(void) sm_args_run(&args, &sink.base);
	return (Datum) 0;
}

/* query_json(target session, sql text, params) returns setof jsonb */
Datum
sm_query_json_session(PG_FUNCTION_ARGS)
{
	return do_query_json(fcinfo, SM_ARG_SESSION);
}

/* query_json(target text, sql text, params) returns setof jsonb */
Datum
sm_query_json_text(PG_FUNCTION_ARGS)
{
	return do_query_json(fcinfo, SM_ARG_DBURI);
}

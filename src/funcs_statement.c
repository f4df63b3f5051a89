/*-------------------------------------------------------------------------
 *
 * funcs_statement.c
 *		SQL functions that run a statement: execute, query, query_as,
 *		query_json, scalar, scalar_as.
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

#include "sessmgr.h"

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
PG_FUNCTION_INFO_V1(sm_query_json_session);
PG_FUNCTION_INFO_V1(sm_query_json_text);
PG_FUNCTION_INFO_V1(sm_scalar_session);
PG_FUNCTION_INFO_V1(sm_scalar_text);
PG_FUNCTION_INFO_V1(sm_scalar_as_session);
PG_FUNCTION_INFO_V1(sm_scalar_as_text);

typedef enum TargetArg
{
	TARGET_SESSION,
	TARGET_DBURI
} TargetArg;

/* What is kept for a call site. */
typedef struct CallSite
{
	SmParams   *params;
	SmReader   *reader;			/* of a scalar */
	int16		typlen;
	bool		typbyval;
} CallSite;

/* A call, decoded. */
typedef struct Call
{
	CallSite   *site;
	SmSession  *session;		/* or NULL: a one-liner on engine */
	SmEngine   *engine;
	const char *sql;
	SmParams   *params;
} Call;

static void
report_null(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("argument \"%s\" must not be null", name)));
}

/* The arguments from "first" on: target, sql, params. */
static void
decode_call(Call *call, FunctionCallInfo fcinfo, int first, TargetArg kind)
{
	sm_enter();
	if (PG_ARGISNULL(first))
		report_null("target");
	if (PG_ARGISNULL(first + 1))
		report_null("sql");

	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt,
														  sizeof(CallSite));
	call->site = fcinfo->flinfo->fn_extra;
	call->sql = text_to_cstring(PG_GETARG_TEXT_PP(first + 1));
	call->params = sm_params_from_call(fcinfo, first + 2, &call->site->params);
	call->session = NULL;
	call->engine = NULL;
	if (kind == TARGET_SESSION)
		call->session = sm_session_from_handle((uint64) PG_GETARG_INT64(first), false);
	else
	{
		text	   *dburi = PG_GETARG_TEXT_PP(first);

		call->engine = sm_engine_get(VARDATA_ANY(dburi), VARSIZE_ANY_EXHDR(dburi),
									 NULL, false);
	}
}

static uint64
run_call(const Call *call, SmSink *sink)
{
	if (call->session != NULL)
		return sm_session_execute(call->session, call->sql, call->params, sink);
	return sm_engine_execute(call->engine, call->sql, call->params, sink);
}

/* ----------
 * execute
 * ----------
 */
static Datum
do_execute(FunctionCallInfo fcinfo, TargetArg kind)
{
	Call		call;

	decode_call(&call, fcinfo, 0, kind);
	PG_RETURN_INT64((int64) run_call(&call, NULL));
}

/* execute(target session, sql text, params) returns bigint */
Datum
sm_execute_session(PG_FUNCTION_ARGS)
{
	return do_execute(fcinfo, TARGET_SESSION);
}

/* execute(target text, sql text, params) returns bigint */
Datum
sm_execute_text(PG_FUNCTION_ARGS)
{
	return do_execute(fcinfo, TARGET_DBURI);
}

/* ----------
 * scalar, scalar_as: the first column of the first row
 * ----------
 */
typedef struct ScalarSink
{
	SmSink		base;
	const CallSite *site;
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
learn_scalar(CallSite *site, FmgrInfo *flinfo, Oid type)
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
do_scalar(FunctionCallInfo fcinfo, int first, TargetArg kind)
{
	Call		call;
	ScalarSink	sink = {0};

	decode_call(&call, fcinfo, first, kind);
	if (call.site->reader == NULL)
		learn_scalar(call.site, fcinfo->flinfo,
					 first == 0 ? TEXTOID : get_fn_expr_argtype(fcinfo->flinfo, 0));
	sink.base.reader = call.site->reader;
	sink.base.first_column = true;
	sink.base.row = scalar_row;
	sink.site = call.site;
	sink.cxt = CurrentMemoryContext;
	sink.isnull = true;
	(void) run_call(&call, &sink.base);
	if (sink.isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(sink.value);
}

/* scalar(target session, sql text, params) returns text */
Datum
sm_scalar_session(PG_FUNCTION_ARGS)
{
	return do_scalar(fcinfo, 0, TARGET_SESSION);
}

/* scalar(target text, sql text, params) returns text */
Datum
sm_scalar_text(PG_FUNCTION_ARGS)
{
	return do_scalar(fcinfo, 0, TARGET_DBURI);
}

/* scalar_as(rowtype anyelement, target session, sql text, params) returns anyelement */
Datum
sm_scalar_as_session(PG_FUNCTION_ARGS)
{
	return do_scalar(fcinfo, 1, TARGET_SESSION);
}

/* scalar_as(rowtype anyelement, target text, sql text, params) returns anyelement */
Datum
sm_scalar_as_text(PG_FUNCTION_ARGS)
{
	return do_scalar(fcinfo, 1, TARGET_DBURI);
}

/* ----------
 * query, query_as: rows into a tuplestore
 *
 * A function in FROM is always run to its end, so its statement's effects do
 * not depend on how many rows the caller reads.
 * ----------
 */
typedef struct StoreSink
{
	SmSink		base;
	Tuplestorestate *store;
	TupleDesc	desc;			/* of the tuplestore */
	int		   *columns;		/* of desc, for each of the row; NULL: equal */
	Datum	   *values;
	bool	   *nulls;
	FmgrInfo	to_jsonb;
} StoreSink;

static bool
store_row(SmSink *sink, Datum *values, bool *nulls)
{
	StoreSink  *self = (StoreSink *) sink;

	if (self->columns != NULL)
	{
		for (int i = 0; i < sink->reader->desc->natts; i++)
		{
			self->values[self->columns[i]] = values[i];
			self->nulls[self->columns[i]] = nulls[i];
		}
		values = self->values;
		nulls = self->nulls;
	}
	tuplestore_putvalues(self->store, self->desc, values, nulls);
	return true;
}

/*
 * Make the tuplestore for a result of shape desc, in the query's memory, and
 * tell the executor.
 */
static Tuplestorestate *
make_store(FunctionCallInfo fcinfo, TupleDesc *desc)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	Tuplestorestate *store;

	store = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
								  false, work_mem);
	*desc = CreateTupleDescCopy(*desc);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = store;
	rsinfo->setDesc = *desc;
	MemoryContextSwitchTo(old);
	return store;
}

static ReturnSetInfo *
check_set_context(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	return rsinfo;
}

/* A row type may have dropped columns, of which the target knows nothing. */
static TupleDesc
skip_dropped_columns(StoreSink *sink)
{
	TupleDesc	all = sink->desc;
	TupleDesc	live;
	int			n = 0;

	sink->columns = palloc(Max(all->natts, 1) * sizeof(int));
	for (int i = 0; i < all->natts; i++)
	{
		if (!TupleDescAttr(all, i)->attisdropped)
			sink->columns[n++] = i;
	}
	if (n == all->natts)
	{
		sink->columns = NULL;
		return all;
	}
	live = CreateTemplateTupleDesc(n);
	for (int i = 0; i < n; i++)
		TupleDescCopyEntry(live, i + 1, all, sink->columns[i] + 1);
	sink->values = palloc0(all->natts * sizeof(Datum));
	sink->nulls = palloc(all->natts * sizeof(bool));
	memset(sink->nulls, true, all->natts * sizeof(bool));
	return live;
}

static void
store_result(const Call *call, FunctionCallInfo fcinfo, TupleDesc desc)
{
	StoreSink	sink = {0};

	sink.desc = desc;
	sink.store = make_store(fcinfo, &sink.desc);
	sink.base.row = store_row;
	sink.base.reader = sm_reader_make(skip_dropped_columns(&sink));
	(void) run_call(call, &sink.base);
}

static Datum
do_query(FunctionCallInfo fcinfo, TargetArg kind)
{
	ReturnSetInfo *rsinfo = check_set_context(fcinfo);
	Call		call;

	if (rsinfo->expectedDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the columns of sessmgr.query() are not known here"),
				 errhint("Use it in FROM with a column definition list: FROM sessmgr.query(...) AS t(a integer, b text).")));
	decode_call(&call, fcinfo, 0, kind);
	store_result(&call, fcinfo, rsinfo->expectedDesc);
	return (Datum) 0;
}

/* query(target session, sql text, params) returns setof record */
Datum
sm_query_session(PG_FUNCTION_ARGS)
{
	return do_query(fcinfo, TARGET_SESSION);
}

/* query(target text, sql text, params) returns setof record */
Datum
sm_query_text(PG_FUNCTION_ARGS)
{
	return do_query(fcinfo, TARGET_DBURI);
}

/* The shape that the first argument of query_as names. */
static TupleDesc
shape_of_rowtype(FunctionCallInfo fcinfo)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	TupleDesc	desc;

	if (type == RECORDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("\"rowtype\" must be of a named row type or a scalar type"),
				 errhint("Use sessmgr.query() with a column definition list.")));
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
do_query_as(FunctionCallInfo fcinfo, TargetArg kind)
{
	Call		call;

	(void) check_set_context(fcinfo);
	decode_call(&call, fcinfo, 1, kind);
	store_result(&call, fcinfo, shape_of_rowtype(fcinfo));
	return (Datum) 0;
}

/* query_as(rowtype anyelement, target session, sql text, params) returns setof anyelement */
Datum
sm_query_as_session(PG_FUNCTION_ARGS)
{
	return do_query_as(fcinfo, TARGET_SESSION);
}

/* query_as(rowtype anyelement, target text, sql text, params) returns setof anyelement */
Datum
sm_query_as_text(PG_FUNCTION_ARGS)
{
	return do_query_as(fcinfo, TARGET_DBURI);
}

/* ----------
 * query_json: each row as an object
 * ----------
 */

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
	StoreSink  *self = (StoreSink *) sink;
	HeapTuple	tuple = heap_form_tuple(sink->reader->desc, values, nulls);
	Datum		json = FunctionCall1(&self->to_jsonb, HeapTupleGetDatum(tuple));
	bool		isnull = false;

	tuplestore_putvalues(self->store, self->desc, &json, &isnull);
	return true;
}

static Datum
do_query_json(FunctionCallInfo fcinfo, TargetArg kind)
{
	Call		call;
	StoreSink	sink = {0};
	FuncExpr   *expr;

	(void) check_set_context(fcinfo);
	decode_call(&call, fcinfo, 0, kind);

	sink.desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(sink.desc, 1, "query_json", JSONBOID, -1, 0);
	sink.store = make_store(fcinfo, &sink.desc);
	sink.base.describe = json_describe;
	sink.base.row = json_row;

	/* to_jsonb(anyelement) looks up its argument's type in the call */
	expr = makeFuncExpr(F_TO_JSONB, JSONBOID,
						list_make1(makeNullConst(RECORDOID, -1, InvalidOid)),
						InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	fmgr_info(F_TO_JSONB, &sink.to_jsonb);
	fmgr_info_set_expr((Node *) expr, &sink.to_jsonb);

	(void) run_call(&call, &sink.base);
	return (Datum) 0;
}

/* query_json(target session, sql text, params) returns setof jsonb */
Datum
sm_query_json_session(PG_FUNCTION_ARGS)
{
	return do_query_json(fcinfo, TARGET_SESSION);
}

/* query_json(target text, sql text, params) returns setof jsonb */
Datum
sm_query_json_text(PG_FUNCTION_ARGS)
{
	return do_query_json(fcinfo, TARGET_DBURI);
}

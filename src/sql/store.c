/*-------------------------------------------------------------------------
 *
 * store.c
 *		Rows for the caller of a set-returning function, in a tuplestore.
 *
 * A function in FROM is always run to its end, so its statement's effects do
 * not depend on how many rows the caller reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "miscadmin.h"
#include "utils/builtins.h"

/* Throws 0A000 where no set can be returned. */
void
sm_store_check(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
}

/* The columns that the caller of a function that returns records declares. */
TupleDesc
sm_store_declared(FunctionCallInfo fcinfo, const char *name, const char *example)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	sm_store_check(fcinfo);
	if (rsinfo->expectedDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the columns of sessmgr.%s() are not known here", name),
				 errhint("Use it in FROM with a column definition list: FROM sessmgr.%s(...) AS %s.",
						 name, example)));
	return rsinfo->expectedDesc;
}

/*
 * Make the tuplestore for a result of this shape, in the query's memory, and
 * tell the executor.  InitMaterializedSRF() does so for functions whose columns
 * are OUT parameters; it knows no other shape than the function's declared row
 * type, and query_as() has that of an argument, query_json() no row type.
 */
void
sm_store_begin(FunctionCallInfo fcinfo, TupleDesc desc)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);

	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
											  false, work_mem);
	rsinfo->setDesc = CreateTupleDescCopy(desc);
	MemoryContextSwitchTo(old);
}

/* A row of the result itself. */
void
sm_store_put(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static bool
store_row(SmSink *sink, Datum *values, bool *nulls)
{
	SmStoreSink *self = (SmStoreSink *) sink;

	if (self->columns != NULL)
	{
		for (int i = 0; i < sink->reader->desc->natts; i++)
		{
			self->values[self->columns[i]] = values[i];
			self->nulls[self->columns[i]] = nulls[i];
		}
		if (self->label != NULL)
			self->values[0] = CStringGetTextDatum(*self->label);
		values = self->values;
		nulls = self->nulls;
	}
	tuplestore_putvalues(self->store, self->desc, values, nulls);
	return true;
}

/*
 * A sink for rows that are to go into a tuplestore of this shape.  Not all of
 * its columns are the statement's: a row type may have dropped ones, of which
 * the target knows nothing, and with label the first one is that.
 */
void
sm_store_sink(SmStoreSink *sink, Tuplestorestate *store, TupleDesc desc,
			  const char *const *label)
{
	int			first = label != NULL ? 1 : 0;
	TupleDesc	own = desc;
	int			n = 0;

	memset(sink, 0, sizeof(*sink));
	sink->base.row = store_row;
	sink->store = store;
	sink->desc = desc;
	sink->label = label;
	sink->columns = palloc(Max(desc->natts, 1) * sizeof(int));
	for (int i = first; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			sink->columns[n++] = i;
	}
	if (n == desc->natts)
		sink->columns = NULL;
	else
	{
		own = CreateTemplateTupleDesc(n);
		for (int i = 0; i < n; i++)
			TupleDescCopyEntry(own, i + 1, desc, sink->columns[i] + 1);
		sink->values = palloc0(desc->natts * sizeof(Datum));
		sink->nulls = palloc(desc->natts * sizeof(bool));
		memset(sink->nulls, true, desc->natts * sizeof(bool));
		if (label != NULL)
			sink->nulls[0] = false;
	}
	sink->base.reader = sm_reader_make(own);
}

/* A sink for the result itself. */
void
sm_store_sink_result(SmStoreSink *sink, FunctionCallInfo fcinfo, TupleDesc desc)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	sm_store_begin(fcinfo, desc);
	sm_store_sink(sink, rsinfo->setResult, rsinfo->setDesc, NULL);
}

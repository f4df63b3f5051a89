/*-------------------------------------------------------------------------
 *
 * execute_many.c
 *		execute_many on a connection: the rows of a local query are the
 *		parameters of a statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "utils/memutils.h"

typedef struct Many
{
	SmPipeline	pipeline;
	SmParams   *params;
	SmEncodedParams encoded;
	MemoryContext rowcxt;
} Many;

static void
send_row(TupleTableSlot *slot, void *arg)
{
	Many	   *many = (Many *) arg;
	MemoryContext old = MemoryContextSwitchTo(many->rowcxt);

	many->params->values = slot->tts_values;
	many->params->nulls = slot->tts_isnull;
	sm_params_encode(&many->encoded, many->params, &many->pipeline.conn->remote.peer);
	sm_pipeline_row(&many->pipeline, &many->encoded);
	MemoryContextSwitchTo(old);
	MemoryContextReset(many->rowcxt);
}

/* See SmDriver's execute_many. */
uint64
sm_execute_many_run(SmConn *conn, const SmExecuteMany *many, SmStatementKind *kind)
{
	Many		run = {.params = sm_params_from_desc(many->rows->desc)};
	uint64		affected;

	sm_params_encode_init(&run.encoded, run.params);
	sm_statement_check_params(conn, many->sql, run.encoded.n);
	run.rowcxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr row",
									   ALLOCSET_DEFAULT_SIZES);
	sm_report_echo(conn->endpoint, many->sql);
	sm_pipeline_begin(&run.pipeline, conn, many->sql, &run.encoded);
	(void) sm_watched_query_run(conn, many->rows, send_row, &run, many->sql);
	affected = sm_pipeline_end(&run.pipeline);
	*kind = sm_statement_ended(conn, run.pipeline.tag);
	MemoryContextDelete(run.rowcxt);
	return affected;
}

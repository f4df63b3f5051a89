/*-------------------------------------------------------------------------
 *
 * local_query.c
 *		The rows of a query of this database, one by one.
 *
 * The query is the user's own: it runs through SPI as the current role and
 * under the caller's search_path.  Its rows go straight from the executor to
 * the function given, so that none is kept.  That function may wait for a
 * connection, and may throw.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "value/value_private.h"

#include "executor/spi.h"
#include "tcop/dest.h"
#include "utils/plancache.h"

typedef struct RowReceiver
{
	DestReceiver pub;
	const SmLocalQuery *rows;
	SmRowFunction function;
	void	   *arg;
	uint64		n;
} RowReceiver;

static void
report_not_a_query(const SmLocalQuery *rows)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("argument \"%s\" must be one query that returns rows",
					rows->argument)));
}

/*
 * Parse and plan the query and learn its shape, without running it.  Connects
 * to SPI, which sm_local_query_close() or the end of the transaction undoes.
 */
void
sm_local_query_open(SmLocalQuery *rows, const char *argument, const char *sql)
{
	List	   *sources;

	rows->argument = argument;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rows->plan = SPI_prepare(sql, 0, NULL);
	if (rows->plan == NULL)
		report_not_a_query(rows);
	sources = SPI_plan_get_plan_sources(rows->plan);
	if (list_length(sources) != 1)
		report_not_a_query(rows);
	rows->desc = ((CachedPlanSource *) linitial(sources))->resultDesc;
	if (rows->desc == NULL)
		report_not_a_query(rows);
	/* the plan's own may go when it is made anew */
	rows->desc = CreateTupleDescCopy(rows->desc);
}

static void
receiver_startup(DestReceiver *pub, int operation, TupleDesc typeinfo)
{
	const RowReceiver *self = (const RowReceiver *) pub;
	TupleDesc	desc = self->rows->desc;
	bool		same = typeinfo->natts == desc->natts;

	(void) operation;
	for (int i = 0; same && i < desc->natts; i++)
		same = TupleDescAttr(typeinfo, i)->atttypid == TupleDescAttr(desc, i)->atttypid;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the columns of argument \"%s\" have changed meanwhile",
						self->rows->argument)));
}

static bool
receiver_slot(TupleTableSlot *slot, DestReceiver *pub)
{
	RowReceiver *self = (RowReceiver *) pub;

	slot_getallattrs(slot);
	self->n++;
	self->function(slot, self->arg);
	return true;
}

static void
receiver_ignore(DestReceiver *self)
{
	(void) self;
}

/*
 * Run the query and give each row to the function, in a slot of the shape
 * rows->desc with all columns there.  Returns how many there were.
 */
uint64
sm_local_query_run(const SmLocalQuery *rows, SmRowFunction function, void *arg)
{
	SPIExecuteOptions options = {0};
	RowReceiver receiver;
	int			result;

	memset(&receiver, 0, sizeof(receiver));
	receiver.pub.rStartup = receiver_startup;
	receiver.pub.receiveSlot = receiver_slot;
	receiver.pub.rShutdown = receiver_ignore;
	receiver.pub.rDestroy = receiver_ignore;
	/* not DestNone, for which SPI takes a SELECT for something else */
	receiver.pub.mydest = DestTuplestore;
	receiver.rows = rows;
	receiver.function = function;
	receiver.arg = arg;

	options.dest = &receiver.pub;
	result = SPI_execute_plan_extended(rows->plan, &options);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(result));
	return receiver.n;
}

void
sm_local_query_close(SmLocalQuery *rows)
{
	rows->plan = NULL;
	SPI_finish();
}

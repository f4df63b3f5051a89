/*-------------------------------------------------------------------------
 *
 * driver_spi.c
 *		The driver of the target "spi:": this very backend.
 *
 * Statements run through SPI as the current role inside the caller's
 * transaction and under the caller's search_path.  There is nothing to
 * connect to, nothing to keep, and no transaction to end: begin and commit do
 * nothing, and what would have to undo something is refused, because a
 * subtransaction cannot outlive a function call.
 *
 * A statement runs under the settings of this session; what becomes text of its
 * results does not depend on them, as with any other target.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "parser/parse_param.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

/* Parameter types while a statement is parsed; literals' are inferred. */
typedef struct ParamTypes
{
	Oid		   *types;
	int			n;
} ParamTypes;

/* Receives the rows of a statement and hands them to the sink. */
typedef struct SinkReceiver
{
	DestReceiver pub;
	SmSink	   *sink;
	const SmEndpoint *endpoint;
	bool		started;
	bool		full;
	bool		same;			/* row types agree: no conversion */
	bool		has_money;		/* text of some value depends on lc_monetary */
	FmgrInfo   *outputs;
	MemoryContext rowcxt;
	Datum	   *row;
	bool	   *nulls;
} SinkReceiver;

static void
setup_parser(ParseState *pstate, void *arg)
{
	ParamTypes *params = (ParamTypes *) arg;

	setup_parse_variable_parameters(pstate, &params->types, &params->n);
}

/* ----------
 * Rows
 * ----------
 */
static bool
same_types(TupleDesc returned, TupleDesc declared)
{
	for (int i = 0; i < declared->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(returned, i);
		Form_pg_attribute b = TupleDescAttr(declared, i);

		/* a declared length or a dropped column is for the input function */
		if (a->atttypid != b->atttypid || b->attisdropped ||
			(b->atttypmod >= 0 && a->atttypmod != b->atttypmod))
			return false;
	}
	return true;
}

static void
start_rows(SinkReceiver *self, TupleDesc have)
{
	SmSink	   *sink = self->sink;
	int			natts;

	if (sink->reader == NULL)
		sink->describe(sink, have);
	natts = sink->reader->desc->natts;
	if (sink->first_column ? have->natts < natts : have->natts != natts)
	{
		/* a first column that is not there has no rows either */
		self->full = true;
		if (!sink->first_column)
			sm_report_shape(self->endpoint, NULL, have->natts, natts,
							sm_report_columns(have, sink->before));
	}
	self->started = true;
	if (self->full)
		return;

	self->same = same_types(have, sink->reader->desc);
	self->has_money = sink->reader->has_money;
	self->row = palloc0(Max(natts, 1) * sizeof(Datum));
	self->nulls = palloc0(Max(natts, 1) * sizeof(bool));
	self->rowcxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr row",
										 ALLOCSET_DEFAULT_SIZES);
	if (self->same)
		return;

	self->outputs = palloc0(natts * sizeof(FmgrInfo));
	for (int i = 0; i < natts; i++)
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(TupleDescAttr(have, i)->atttypid, &output, &is_varlena);
		fmgr_info(output, &self->outputs[i]);
		self->has_money |= sm_type_has_money(TupleDescAttr(have, i)->atttypid);
	}
}

static void
sink_receiver_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	(void) operation;
	start_rows((SinkReceiver *) self, typeinfo);
}

static bool
sink_receiver_slot(TupleTableSlot *slot, DestReceiver *pub)
{
	SinkReceiver *self = (SinkReceiver *) pub;
	SmReader   *reader = self->sink->reader;
	MemoryContext old;
	int			level;

	if (self->full)
		return true;
	slot_getallattrs(slot);
	MemoryContextReset(self->rowcxt);
	old = MemoryContextSwitchTo(self->rowcxt);
	level = sm_transmission_modes_begin(false, self->has_money);
	for (int i = 0; i < reader->desc->natts; i++)
	{
		self->nulls[i] = slot->tts_isnull[i];
		self->row[i] = slot->tts_values[i];
		if (!self->same)
		{
			char	   *text = self->nulls[i] ? NULL :
				OutputFunctionCall(&self->outputs[i], slot->tts_values[i]);

			self->row[i] = InputFunctionCall(&reader->columns[i].input, text,
											 reader->columns[i].ioparam,
											 reader->columns[i].typmod);
		}
	}
	if (!self->sink->row(self->sink, self->row, self->nulls))
		self->full = true;
	sm_transmission_modes_end(level);
	MemoryContextSwitchTo(old);

	/* not false: that would stop a statement that has effects half-way */
	return true;
}

static void
sink_receiver_ignore(DestReceiver *self)
{
	(void) self;
}

static bool
receiver_drop_slot(TupleTableSlot *slot, DestReceiver *self)
{
	(void) slot;
	(void) self;
	return true;
}

static void
receiver_drop_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	(void) self;
	(void) operation;
	(void) typeinfo;
}

/* ----------
 * Statements
 * ----------
 */

/* The parameters in the types that parsing has determined. */
static ParamListInfo
bind_params(const SmParams *params, const ParamTypes *types)
{
	ParamListInfo list;

	if (params == NULL)
		return NULL;
	list = makeParamList(params->n);
	for (int i = 0; i < params->n; i++)
	{
		ParamExternData *prm = &list->params[i];
		Oid			type = i < types->n ? types->types[i] : InvalidOid;

		prm->pflags = PARAM_FLAG_CONST;
		prm->isnull = params->nulls[i];
		prm->ptype = params->types[i];
		if (params->types[i] != UNKNOWNOID)
		{
			prm->value = prm->isnull ? (Datum) 0 : sm_params_value(params, i);
			continue;
		}

		/* a literal: read it as what the statement wants */
		if (!OidIsValid(type) || type == UNKNOWNOID)
			ereport(ERROR,
					(errcode(ERRCODE_INDETERMINATE_DATATYPE),
					 errmsg("could not determine data type of parameter $%d", i + 1),
					 errhint(SM_HINT_CAST)));
		prm->ptype = type;
		if (!prm->isnull)
		{
			Oid			input;
			Oid			ioparam;

			getTypeInputInfo(type, &input, &ioparam);
			prm->value = OidInputFunctionCall(input, DatumGetCString(params->values[i]),
											  ioparam, -1);
		}
	}
	return list;
}

static void
check_result(int result, const SinkReceiver *receiver, SmStatementKind *kind)
{
	const SmSink *sink = receiver->sink;

	switch (result)
	{
		case SPI_ERROR_TRANSACTION:
			*kind = SM_KIND_TRANSACTION_CONTROL;
			return;
		case SPI_ERROR_COPY:
			sm_report_copy(receiver->endpoint, false);
			break;
		default:
			if (result < 0)
				elog(ERROR, "SPI_execute_plan_extended failed: %s",
					 SPI_result_code_string(result));
			break;
	}
	/* it returns no rows at all: for a declared shape a mismatch */
	if (sink != NULL && !receiver->started && sink->reader != NULL &&
		!sink->first_column && sink->reader->desc->natts > 0)
		sm_report_shape(receiver->endpoint, NULL, 0, sink->reader->desc->natts, NULL);
}

/* SPI_prepare_extended(), with our hint where an error has none. */
static SPIPlanPtr
prepare_plan(const SmConn *conn, const char *sql, const SPIPrepareOptions *options)
{
	MemoryContext cxt = CurrentMemoryContext;
	SPIPlanPtr volatile plan = NULL;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		plan = SPI_prepare_extended(sql, options);
	}
	PG_CATCH();
	{
		error = sm_error_catch(cxt);
	}
	PG_END_TRY();
	if (error != NULL)
	{
		const char *hint = sm_statement_hint(conn, sql, error->sqlerrcode, error->internalpos);

		if (error->hint == NULL && hint != NULL)
			error->hint = pstrdup(hint);
		sm_error_rethrow(error);
	}
	return plan;
}

/* The text must be one statement, as on a connection. */
static void
check_single(SPIPlanPtr plan, const SmEndpoint *endpoint)
{
	int			n = list_length(SPI_plan_get_plan_sources(plan));

	if (n == 0)
		sm_report_empty(endpoint);
	if (n > 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("statement for \"%s\" is more than one", endpoint->label)));
}

/* SPI would find it out by itself, but only when it runs it. */
static bool
plan_is_transaction_control(SPIPlanPtr plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));

	return source->raw_parse_tree != NULL &&
		IsA(source->raw_parse_tree->stmt, TransactionStmt);
}

static void
init_receiver(SinkReceiver *receiver, SmSink *sink, const SmEndpoint *endpoint)
{
	memset(receiver, 0, sizeof(*receiver));
	receiver->pub.rStartup = sink ? sink_receiver_startup : receiver_drop_startup;
	receiver->pub.receiveSlot = sink ? sink_receiver_slot : receiver_drop_slot;
	receiver->pub.rShutdown = sink_receiver_ignore;
	receiver->pub.rDestroy = sink_receiver_ignore;
	/* not DestNone, for which SPI takes a SELECT for something else */
	receiver->pub.mydest = DestTuplestore;
	receiver->sink = sink;
	receiver->endpoint = endpoint;
}

static uint64
spi_execute(SmConn *conn, SmStatement *statement, SmSink *sink, SmStatementKind *kind)
{
	const SmParams *params = statement->params;
	ParamTypes	types = {NULL, 0};
	SPIPrepareOptions prepare = {0};
	SPIExecuteOptions execute = {0};
	SinkReceiver receiver;
	SPIPlanPtr	plan;
	uint64		count;
	int			result;

	if (params != NULL)
	{
		types.n = params->n;
		types.types = palloc(params->n * sizeof(Oid));
		memcpy(types.types, params->types, params->n * sizeof(Oid));
	}
	init_receiver(&receiver, sink, conn->endpoint);
	conn->statements++;
	*kind = SM_KIND_ORDINARY;

	sm_statement_check_params(conn, statement->sql, types.n);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	prepare.parserSetup = setup_parser;
	prepare.parserSetupArg = &types;
	plan = prepare_plan(conn, statement->sql, &prepare);
	if (plan == NULL && SPI_result == SPI_ERROR_TRANSACTION)
		*kind = SM_KIND_TRANSACTION_CONTROL;
	else if (plan == NULL)
		elog(ERROR, "SPI_prepare_extended failed: %s",
			 SPI_result_code_string(SPI_result));
	if (*kind == SM_KIND_ORDINARY)
	{
		check_single(plan, conn->endpoint);
		execute.params = bind_params(params, &types);
		execute.dest = &receiver.pub;
		result = SPI_execute_plan_extended(plan, &execute);
		check_result(result, &receiver, kind);
	}
	count = SPI_processed;
	SPI_finish();
	return count;
}

/* ----------
 * execute_many
 * ----------
 */
typedef struct Many
{
	const SmEndpoint *endpoint;
	SPIPlanPtr	plan;
	SmParams   *params;
	const ParamTypes *types;
	uint64		row;			/* being run */
	uint64		affected;
} Many;

static void
row_context(void *arg)
{
	const Many *many = (const Many *) arg;

	if (many->row > 0)
		errcontext("row " UINT64_FORMAT " of the parameter query", many->row);
}

/* Run the statement for one row, in an SPI level of its own. */
static void
many_row(TupleTableSlot *slot, void *arg)
{
	Many	   *many = (Many *) arg;
	SPIExecuteOptions execute = {0};
	SinkReceiver receiver;
	SmStatementKind kind = SM_KIND_ORDINARY;
	ErrorContextCallback callback = {
		.callback = row_context,.arg = many,.previous = error_context_stack
	};

	error_context_stack = &callback;
	many->row++;
	many->params->values = slot->tts_values;
	many->params->nulls = slot->tts_isnull;
	init_receiver(&receiver, NULL, many->endpoint);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute.params = bind_params(many->params, many->types);
	execute.dest = &receiver.pub;
	check_result(SPI_execute_plan_extended(many->plan, &execute), &receiver, &kind);
	many->affected += SPI_processed;
	SPI_finish();
	error_context_stack = callback.previous;
}

/* The parameter query's plan is SPI's current one: so is, then, this one. */
static uint64
spi_bulk(SmConn *conn, const SmBulkRequest *request, SmStatementKind *kind)
{
	const SmExecuteMany *what = &request->of.many;
	Many		many = {.endpoint = conn->endpoint};
	ParamTypes	types;
	SPIPrepareOptions prepare = {0};

	Assert(request->function == SM_BULK_EXECUTE_MANY);
	many.params = sm_params_from_desc(what->rows->desc);
	types.n = many.params->n;
	types.types = palloc(Max(types.n, 1) * sizeof(Oid));
	memcpy(types.types, many.params->types, types.n * sizeof(Oid));
	many.types = &types;
	sm_statement_check_params(conn, what->sql, types.n);
	conn->statements++;

	prepare.parserSetup = setup_parser;
	prepare.parserSetupArg = &types;
	many.plan = prepare_plan(conn, what->sql, &prepare);
	if (many.plan == NULL)
		elog(ERROR, "SPI_prepare_extended failed: %s", SPI_result_code_string(SPI_result));
	check_single(many.plan, conn->endpoint);
	if (plan_is_transaction_control(many.plan))
		*kind = SM_KIND_TRANSACTION_CONTROL;
	else
		(void) sm_local_query_run(what->rows, many_row, &many);
	return many.affected;
}

/* ----------
 * The rest of the interface
 * ----------
 */
static SmConn *
spi_connect(SmEndpoint *endpoint)
{
	SmConn	   *conn = MemoryContextAllocZero(TopMemoryContext, sizeof(SmConn));

	sm_conn_set_endpoint(conn, endpoint);
	conn->state = SM_CONN_READY;
	conn->connected_at = GetCurrentTimestamp();
	return conn;
}

static bool
spi_establish(SmConn *conn, bool wait)
{
	(void) conn;
	(void) wait;
	return true;
}

static bool
spi_alive(SmConn *conn)
{
	(void) conn;
	return true;
}

static SmReuse
spi_reset(SmConn *conn, SmResetMode mode)
{
	(void) conn;
	(void) mode;
	return SM_REUSE_AT_ONCE;
}

static bool
spi_reset_poll(SmConn *conn, bool wait, TimestampTz deadline)
{
	(void) conn;
	(void) wait;
	(void) deadline;
	return true;
}

static void
spi_close(SmConn *conn, bool inherited)
{
	(void) inherited;
	sm_conn_set_endpoint(conn, NULL);
	pfree(conn);
}

static void
spi_begin(SmConn *conn, const SmSessionOptions *options, List *then)
{
	(void) conn;
	(void) options;
	(void) then;
}

static void
spi_command_send(SmConn *conn, const char *sql, SmCommand kind, TimestampTz deadline)
{
	(void) conn;
	(void) deadline;
	if (kind == SM_COMMAND_COMMIT)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"spi:\" cannot do %s", sql),
			 errdetail("Its statements run inside the transaction of their caller."),
			 errhint("Use \"loopback:\" for a transaction of its own.")));
}

static void
spi_command_finish(SmConn *conn, const char *sql, SmCommand kind, TimestampTz deadline)
{
	(void) conn;
	(void) sql;
	(void) kind;
	(void) deadline;
}

static SmTransactionStatus
spi_status(SmConn *conn)
{
	(void) conn;
	return SM_TRANSACTION_OPEN;
}

static void
spi_cleanup(dlist_head *conns, TimestampTz deadline)
{
	(void) conns;
	(void) deadline;
}

const SmDriver sm_driver_spi = {
	.name = "spi",
	.remote = false,
	.copies = false,
	.connect = spi_connect,
	.establish = spi_establish,
	.alive = spi_alive,
	.status = spi_status,
	.reset = spi_reset,
	.reset_poll = spi_reset_poll,
	.cleanup = spi_cleanup,
	.close = spi_close,
	.begin = spi_begin,
	.command_send = spi_command_send,
	.command_finish = spi_command_finish,
	.execute = spi_execute,
	.bulk = spi_bulk,
};

/*-------------------------------------------------------------------------
 *
 * statement.c
 *		Statements on a libpq connection: prepared-statement cache, parameters,
 *		results.
 *
 * A statement that is seen on a connection for the second time is prepared
 * there and from then on costs one round trip and no parsing.  The first time
 * it goes out unprepared, also in one round trip; but where not every shape of
 * the rows will do and the statement would commit by itself, its shape is
 * asked for and looked at first: a mismatch must not be found after the fact.
 *
 * The cache is keyed by text and parameter types, bounded by the option
 * statement_cache_size, and lives as long as its connection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Room for parameters, so that a few of them need no allocation. */
typedef struct Few
{
	Oid			types[8];
	const char *values[8];
} Few;

/* A statement on its way: what the steps below hand to each other. */
typedef struct Run
{
	SmConn	   *conn;
	const SmStatement *statement;
	SmSink	   *sink;
	SmStatementEntry *entry;		/* or NULL: not cached */
	TimestampTz deadline;
	int			nparams;
	Oid		   *types;			/* as declared to the server */
	const char **values;		/* as text, or NULL */
	/* reading */
	TupleDesc	shape;			/* as the server describes it */
	AttInMetadata *input;
	MemoryContext rowcxt;		/* or NULL: one row at most, where we are */
	Datum	   *row;
	bool	   *nulls;
	Datum		one_value;
	bool		one_null;
	int			column;			/* being converted, for the error context */
	bool		full;			/* the sink wants no more rows */
	bool		copied;			/* it was a COPY that sent something */
	bool		forget_all;		/* the server has forgotten all statements */
	uint64		count;
	PGresult   *error;
	SmOdd		odd;
} Run;

/* ----------
 * Parameters
 * ----------
 */

/*
 * The type to declare to the server: only types with a fixed id mean the same
 * on both sides; for the others, as for literals, the server infers it.
 */
Oid
sm_wire_type(Oid type)
{
	if (type == UNKNOWNOID || type >= FirstGenbkiObjectId)
		return InvalidOid;
	return type;
}

static void
encode_params(Run *run, Few *few)
{
	const SmParams *params = run->statement->params;

	run->nparams = params ? params->n : 0;
	if (run->nparams > 65535)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ARGUMENTS),
				 errmsg("a statement can have at most 65535 parameters")));
	run->types = few->types;
	run->values = few->values;
	if (run->nparams > (int) lengthof(few->values))
	{
		run->types = palloc(run->nparams * sizeof(Oid));
		run->values = palloc(run->nparams * sizeof(char *));
	}
	for (int i = 0; i < run->nparams; i++)
		run->types[i] = sm_wire_type(params->types[i]);
	if (run->nparams > 0)
		sm_textmode_params(params, run->values);
}

static void
echo(const Run *run)
{
	const SmEngine *engine = run->conn->engine;
	StringInfoData buf;

	if (likely(!engine->options.echo))
		return;
	initStringInfo(&buf);
	if (!engine->options.hide_parameters)
	{
		for (int i = 0; i < run->nparams; i++)
		{
			const char *value = run->values[i];

			appendStringInfo(&buf, "%s$%d = ", i > 0 ? ", " : "", i + 1);
			if (value == NULL)
				appendStringInfoString(&buf, "NULL");
			else
				appendStringInfo(&buf, "'%.*s'%s",
								 pg_mbcliplen(value, strlen(value), 100), value,
								 strlen(value) > 100 ? "..." : "");
		}
	}
	ereport(INFO,
			(errmsg_internal("%s: %s", engine->label, run->statement->sql),
			 buf.len > 0 ? errdetail_internal("%s", buf.data) : 0));
}

/* ----------
 * Preparing
 * ----------
 */

static TupleDesc describe_result(const PGresult *res);

/* Read a command's results to the end; the last good one decides nothing. */
static void
finish_or_raise(Run *run, SmStatementEntry *entry)
{
	PGresult   *res;

	while ((res = sm_remote_next(run->conn, run->statement->sql, run->deadline)) != NULL)
	{
		if (PQresultStatus(res) == PGRES_COMMAND_OK)
		{
			if (entry != NULL)
			{
				entry->nfields = PQnfields(res);
				if (run->sink->desc == NULL)
					run->shape = describe_result(res);
			}
		}
		else
			sm_remote_keep_error(run->conn, &run->error);
	}
	sm_notices_report(run->conn);
	if (run->error != NULL)
	{
		PGresult   *error = run->error;

		run->error = NULL;
		sm_remote_raise(run->conn, error, run->statement->sql, false);
	}
}

static void
prepare(Run *run, SmStatementEntry *entry)
{
	PGconn	   *pg = run->conn->pg;

	if (run->entry != NULL)
		sm_statement_name(run->conn, entry);
	sm_remote_begin(run->conn, false);
	sm_remote_sent(run->conn,
				   PQsendPrepare(pg, entry->name, run->statement->sql, run->nparams,
								 run->types),
				   run->statement->sql, run->deadline);
	finish_or_raise(run, NULL);
	entry->prepared = true;
}

/* Ask for the statement's shape, and show it to a sink that wants to see it. */
static void
describe(Run *run, SmStatementEntry *entry)
{
	SmSink	   *sink = run->sink;

	sm_remote_begin(run->conn, false);
	sm_remote_sent(run->conn, PQsendDescribePrepared(run->conn->pg, entry->name),
				   run->statement->sql, run->deadline);
	finish_or_raise(run, entry);
	entry->described = true;
	if (sink->desc == NULL)
	{
		sink->describe(sink, run->shape);
		entry->accepted = true;
	}
}

static void
check_shape(const Run *run, int nfields)
{
	int			wanted = run->sink->desc->natts;

	if (nfields != wanted)
		sm_report_shape(run->conn->engine, run->statement->sql, nfields, wanted);
}

/*
 * Prepare the statement if that is worth it, or needed because its shape must
 * be known before it takes effect.
 */
static void
prepare_if_useful(Run *run, SmStatementEntry *unnamed)
{
	SmSink	   *sink = run->sink;
	bool		shape = run->statement->autocommit && sink != NULL &&
		!sink->first_column;
	bool		seen;

	run->entry = sm_statement_find(run->conn, run->statement->sql, run->nparams,
								   run->types, run->deadline, &seen);
	if (run->entry == NULL && shape)
	{
		memset(unnamed, 0, sizeof(*unnamed));
		prepare(run, unnamed);
		describe(run, unnamed);
		check_shape(run, unnamed->nfields);
		return;
	}
	if (run->entry == NULL)
		return;
	if (!run->entry->prepared && (seen || shape))
		prepare(run, run->entry);
	if (shape)
	{
		if (!run->entry->described || (sink->desc == NULL && !run->entry->accepted))
			describe(run, run->entry);
		if (sink->desc != NULL)
			check_shape(run, run->entry->nfields);
	}
}

/* ----------
 * Results
 * ----------
 */

/*
 * The local type to read a column as when the caller declared none: its own if
 * it surely is the same here, text otherwise.
 */
Oid
sm_shared_type(Oid type)
{
	Oid			element;

	if (type >= FirstGenbkiObjectId)
		return TEXTOID;
	element = get_element_type(type);
	switch (OidIsValid(element) ? element : type)
	{
			/* ids and names of objects over there */
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGCOLLATIONOID:
			/* no input function that takes anything */
		case PG_NODE_TREEOID:
			/* depends on settings */
		case CASHOID:
		case PG_NDISTINCTOID:
		case PG_DEPENDENCIESOID:
		case PG_MCV_LISTOID:
		case PG_BRIN_BLOOM_SUMMARYOID:
		case PG_BRIN_MINMAX_MULTI_SUMMARYOID:
			return TEXTOID;
		default:
			break;
	}
	if (get_typtype(type) != TYPTYPE_BASE && get_typtype(type) != TYPTYPE_RANGE &&
		get_typtype(type) != TYPTYPE_MULTIRANGE)
		return TEXTOID;
	return type;
}

static TupleDesc
describe_result(const PGresult *res)
{
	int			n = PQnfields(res);
	TupleDesc	desc;

	if (n > MaxTupleAttributeNumber)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("a row can have at most %d columns", MaxTupleAttributeNumber)));
	desc = CreateTemplateTupleDesc(n);
	for (int i = 0; i < n; i++)
	{
		Oid			type = sm_shared_type(PQftype(res, i));

		TupleDescInitEntry(desc, i + 1, PQfname(res, i), type,
						   type == TEXTOID ? -1 : PQfmod(res, i), 0);
	}
	return BlessTupleDesc(desc);
}

/* The first result with rows, or with the news that there are none. */
static void
begin_rows(Run *run, const PGresult *res)
{
	SmSink	   *sink = run->sink;
	int			nfields = PQnfields(res);

	if (sink->desc == NULL)
		sink->describe(sink, describe_result(res));
	if (!sink->first_column)
		check_shape(run, nfields);

	run->input = sink->input;
	if (run->input == NULL)
		run->input = TupleDescGetAttInMetadata(sink->desc);
	if (sink->first_column)
	{
		run->row = &run->one_value;
		run->nulls = &run->one_null;
	}
	else
	{
		run->row = palloc0(Max(sink->desc->natts, 1) * sizeof(Datum));
		run->nulls = palloc0(Max(sink->desc->natts, 1) * sizeof(bool));
		run->rowcxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr row",
											ALLOCSET_DEFAULT_SIZES);
	}
	/* a first column that is not there has no rows either */
	if (nfields == 0 && sink->desc->natts > 0)
		run->full = true;
}

static void
convert_row(Run *run, const PGresult *res)
{
	AttInMetadata *input = run->input;
	MemoryContext old = CurrentMemoryContext;

	if (run->rowcxt != NULL)
	{
		MemoryContextReset(run->rowcxt);
		MemoryContextSwitchTo(run->rowcxt);
	}
	for (int i = 0; i < run->sink->desc->natts; i++)
	{
		char	   *value = PQgetisnull(res, 0, i) ? NULL : PQgetvalue(res, 0, i);

		run->column = i;
		if (value != NULL && run->conn->verify)
			(void) pg_verifymbstr(value, strlen(value), false);
		run->nulls[i] = (value == NULL);
		run->row[i] = InputFunctionCall(&input->attinfuncs[i], value,
										input->attioparams[i], input->atttypmods[i]);
	}
	run->column = -1;
	if (!run->sink->row(run->sink, run->row, run->nulls) || run->rowcxt == NULL)
		run->full = true;
	MemoryContextSwitchTo(old);
}

static void
row_context(void *arg)
{
	Run		   *run = (Run *) arg;

	if (run->column < 0)
		return;
	errcontext("column %d of a statement on \"%s\"%s", run->column + 1,
			   run->conn->engine->label,
			   run->conn->commits ? ", which may have taken effect" : "");
}

/* Transaction control cannot be given as text: its command tag tells. */
static bool
is_transaction_control(const char *tag)
{
	static const char *const tags[] = {
		"BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE",
		"PREPARE TRANSACTION"
	};

	for (size_t i = 0; i < lengthof(tags); i++)
	{
		if (strcmp(tag, tags[i]) == 0)
			return true;
	}
	return false;
}

/*
 * Does the command change what is known of the remote session?  A prepared
 * statement that is gone would cost some later transaction, a setting would
 * change values on their way.
 */
static void
note_reset(Run *run, const char *tag)
{
	if (strcmp(tag, "DISCARD ALL") == 0 || strcmp(tag, "DEALLOCATE ALL") == 0)
		run->forget_all = true;
	if (strcmp(tag, "DISCARD ALL") == 0 || strcmp(tag, "SET") == 0 ||
		strcmp(tag, "RESET") == 0)
	{
		run->conn->defaults_unknown = true;
		run->conn->set_up = false;
	}
	/* whoever gets the connection next would be sent what nobody reads */
	if (strcmp(tag, "LISTEN") == 0)
		run->conn->listens = true;
}

/*
 * The same for a statement that was run in another way, and has ended with
 * this command tag.
 */
SmOdd
sm_statement_ended(SmConn *conn, const char *tag)
{
	Run			run = {.conn = conn};

	note_reset(&run, tag);
	if (run.forget_all)
		sm_statement_forget_all(conn);
	return is_transaction_control(tag) ? SM_ODD_TRANSACTION_CONTROL : SM_ODD_NONE;
}

static void
take_end(Run *run, PGresult *res)
{
	const char *tag = PQcmdStatus(res);
	bool		query = strncmp(tag, "SELECT ", 7) == 0;

	run->conn->completed = true;
	run->count = 0;
	for (const char *p = query ? tag + 7 : PQcmdTuples(res); *p >= '0' && *p <= '9'; p++)
		run->count = run->count * 10 + (*p - '0');
	if (likely(query))
		return;
	note_reset(run, tag);
	if (is_transaction_control(tag))
		run->odd = SM_ODD_TRANSACTION_CONTROL;
}

static void
take_result(Run *run, PGresult *res)
{
	switch (PQresultStatus(res))
	{
		case PGRES_SINGLE_TUPLE:
		case PGRES_TUPLES_OK:
			if (run->sink != NULL && run->input == NULL)
				begin_rows(run, res);
			if (PQresultStatus(res) == PGRES_TUPLES_OK)
				take_end(run, res);
			else if (run->sink != NULL && !run->full)
				convert_row(run, res);
			break;
		case PGRES_COMMAND_OK:
			take_end(run, res);
			/* it returns no rows at all: for a declared shape a mismatch */
			if (run->sink != NULL && run->sink->desc != NULL && !run->sink->first_column)
				check_shape(run, 0);
			break;
		case PGRES_EMPTY_QUERY:
			run->odd = SM_ODD_EMPTY;
			break;
		case PGRES_COPY_IN:
		case PGRES_COPY_OUT:
		case PGRES_COPY_BOTH:
			run->odd = SM_ODD_COPY;
			run->copied = (PQresultStatus(res) != PGRES_COPY_IN);
			(void) sm_remote_settle(run->conn,
									sm_deadline(run->conn->engine->options.cleanup_timeout));
			break;
		default:
			sm_remote_keep_error(run->conn, &run->error);
			break;
	}
}

static void
read_results(Run *run)
{
	ErrorContextCallback callback;

	callback.callback = row_context;
	callback.arg = run;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	run->column = -1;

	while (run->conn->state == SM_CONN_BUSY)
	{
		PGresult   *res = sm_remote_next(run->conn, run->statement->sql, run->deadline);

		if (res != NULL)
			take_result(run, res);
	}
	error_context_stack = callback.previous;
}

/* ----------
 * Running
 * ----------
 */
static void
send(Run *run)
{
	PGconn	   *pg = run->conn->pg;
	const char *sql = run->statement->sql;
	int			sent;

	sm_remote_begin(run->conn, run->statement->autocommit);
	if (run->entry != NULL && run->entry->prepared)
		sent = PQsendQueryPrepared(pg, run->entry->name, run->nparams, run->values,
								   NULL, NULL, 0);
	else
		sent = PQsendQueryParams(pg, sql, run->nparams, run->types, run->values,
								 NULL, NULL, 0);
	if (sent)
		(void) PQsetSingleRowMode(pg);
	sm_remote_sent(run->conn, sent, sql, run->deadline);
}

/*
 * Does the error say that the server no longer takes the prepared statement,
 * before it has done anything?
 */
static bool
must_prepare_again(const Run *run)
{
	const char *code;
	const char *function;

	/* with rows, or from inside a function, it is about something else */
	if (run->entry == NULL || !run->entry->prepared || run->error == NULL ||
		run->input != NULL || PQresultErrorField(run->error, PG_DIAG_CONTEXT) != NULL)
		return false;
	code = PQresultErrorField(run->error, PG_DIAG_SQLSTATE);
	function = PQresultErrorField(run->error, PG_DIAG_SOURCE_FUNCTION);
	if (code == NULL)
		return false;
	return strcmp(code, "26000") == 0 ||
		(strcmp(code, "0A000") == 0 && function != NULL &&
		 strcmp(function, "RevalidateCachedQuery") == 0);
}

static void
run_once(Run *run)
{
	SmStatementEntry unnamed;

	PG_TRY();
	{
		prepare_if_useful(run, &unnamed);
		send(run);
		read_results(run);
	}
	PG_CATCH();
	{
		PQclear(run->error);
		run->error = NULL;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
raise_odd(const Run *run)
{
	switch (run->odd)
	{
		case SM_ODD_EMPTY:
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("statement for \"%s\" is empty", run->conn->engine->label)));
			break;
		case SM_ODD_COPY:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("COPY from or to the client cannot be used on \"%s\"",
							run->conn->engine->label),
					 run->copied && run->statement->autocommit ?
					 errdetail("What its query does may have been done.") : 0));
			break;
		case SM_ODD_NONE:
		case SM_ODD_TRANSACTION_CONTROL:
		case SM_ODD_STALE:
			break;
	}
}

/* Fix the settings that reading rows of the declared shape depends on. */
static int
begin_reading(const SmSink *sink)
{
	bool		names_objects = false;
	bool		has_money = false;

	if (sink != NULL && sink->desc != NULL)
	{
		for (int i = 0; i < sink->desc->natts; i++)
		{
			Oid			type = TupleDescAttr(sink->desc, i)->atttypid;

			names_objects |= sm_type_names_objects(type);
			has_money |= (type == CASHOID);
		}
	}
	return sm_textmode_begin(names_objects, has_money);
}

/*
 * Run a statement and feed its rows, if it has any and sink is not NULL, to
 * sink.  Returns the number of rows it affected or returned.  Throws what the
 * server says, 42804 for a shape that is not the declared one, 42601 for an
 * empty statement, 0A000 for COPY, and what sm_remote_next() throws.  *odd
 * tells the caller, who knows about transactions, about transaction control.
 */
uint64
sm_statement_execute(SmConn *conn, const SmStatement *statement, SmSink *sink,
					 SmOdd *odd)
{
	Run			run = {0};
	Few			few;
	bool		retried = false;
	int			level;

	run.conn = conn;
	run.statement = statement;
	run.sink = sink;
	run.deadline = sm_deadline(conn->engine->options.statement_timeout);
	encode_params(&run, &few);
	echo(&run);

	level = begin_reading(sink);
	for (;;)
	{
		run_once(&run);
		if (retried || !statement->autocommit || !must_prepare_again(&run))
			break;

		/* the server has done nothing but refuse: prepare it once more */
		PQclear(run.error);
		run.error = NULL;
		sm_statement_forget(conn, run.entry);
		retried = true;
	}
	sm_textmode_end(level);
	if (run.forget_all)
	{
		run.entry = NULL;
		sm_statement_forget_all(conn);
	}

	sm_notices_report(conn);
	if (run.error != NULL && run.odd != SM_ODD_COPY)
	{
		/* in a transaction it is too late for this time, not for the next */
		if (must_prepare_again(&run))
		{
			sm_statement_forget(conn, run.entry);
			if (statement->first && conn->state == SM_CONN_READY)
			{
				PQclear(run.error);
				*odd = SM_ODD_STALE;
				return 0;
			}
		}
		sm_remote_raise(conn, run.error, statement->sql, false);
	}
	PQclear(run.error);
	raise_odd(&run);
	if (run.rowcxt != NULL)
		MemoryContextDelete(run.rowcxt);
	*odd = run.odd;
	return run.count;
}

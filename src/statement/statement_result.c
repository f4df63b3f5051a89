/*-------------------------------------------------------------------------
 *
 * statement_result.c
 *		What the answers to a statement say: rows, counts, changes of what is
 *		known of the remote session.
 *
 * A result is taken as it comes; an error is only kept, until all has been
 * read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "access/htup_details.h"
#include "utils/memutils.h"

/* ----------
 * Rows
 * ----------
 */

/* The columns of a result, in types that are known here. */
static TupleDesc
result_columns(const PGresult *res)
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
	return desc;
}

/* The shape of a result for a caller that declared none. */
TupleDesc
sm_result_shape(const PGresult *res)
{
	return BlessTupleDesc(result_columns(res));
}

/*
 * The values of one row of a result, in the current memory context.  The result
 * has at least the columns of the reader's shape.  Throws what sm_reader_row()
 * throws.
 */
void
sm_result_row(SmReader *reader, const SmConn *conn, const PGresult *res, int row,
			  Datum *values, bool *nulls)
{
	for (int i = 0; i < reader->desc->natts; i++)
	{
		SmField    *field = &reader->fields[i];

		field->value = PQgetisnull(res, row, i) ? NULL : PQgetvalue(res, row, i);
		field->len = PQgetlength(res, row, i);
	}
	sm_reader_row(reader, &conn->remote.peer, PQbinaryTuples(res), values, nulls);
}

/* Must the shape of the rows fit, or be shown to the sink? */
bool
sm_run_needs_shape(const SmRun *run)
{
	return run->sink != NULL && !run->sink->first_column;
}

/*
 * Has the result the shape that is declared?  Throws 42804, or 42601 where there
 * is no statement.  columns: those of the result, for the hint, or NULL.
 */
void
sm_run_check_shape(const SmRun *run, int nfields, const char *columns)
{
	int			wanted = run->sink->reader->desc->natts;

	if (nfields == wanted)
		return;
	if (nfields == 0 && sm_statement_is_empty(run->statement->sql))
		sm_report_empty(run->conn->endpoint);
	sm_report_shape(run->conn->endpoint, run->statement->sql, nfields, wanted, columns);
}

/* The columns of a result that are not the declared ones, for that. */
static const char *
other_columns(const SmRun *run, const PGresult *res)
{
	const SmSink *sink = run->sink;

	if (!sm_run_needs_shape(run) || sink->reader == NULL ||
		PQnfields(res) == sink->reader->desc->natts || PQnfields(res) > MaxTupleAttributeNumber)
		return NULL;
	return sm_report_columns(result_columns(res), sink->before);
}

/* The first result with rows, or with the news that there are none. */
static void
begin_rows(SmRun *run, const PGresult *res)
{
	MemoryContext old = MemoryContextSwitchTo(run->cxt);
	SmSink	   *sink = run->sink;
	int			nfields = PQnfields(res);
	int			natts = sink->reader->desc->natts;

	run->rows.begun = true;
	run->rows.as_text = PQnfields(res) > 0 && !PQbinaryTuples(res);
	if (sink->first_column)
	{
		run->rows.values = &run->rows.one_value;
		run->rows.nulls = &run->rows.one_null;
	}
	else
	{
		sm_run_check_shape(run, nfields, other_columns(run, res));
		run->rows.values = palloc0(Max(natts, 1) * sizeof(Datum));
		run->rows.nulls = palloc0(Max(natts, 1) * sizeof(bool));
		run->rows.cxt = AllocSetContextCreate(run->cxt, "sessmgr row",
											  ALLOCSET_DEFAULT_SIZES);
	}
	/* a first column that is not there has no rows either */
	if (nfields == 0 && natts > 0)
		run->rows.full = true;
	MemoryContextSwitchTo(old);
}

static void
take_row(SmRun *run, const PGresult *res)
{
	MemoryContext old = MemoryContextSwitchTo(run->rows.cxt ? run->rows.cxt : run->cxt);

	if (run->rows.cxt != NULL)
		MemoryContextReset(run->rows.cxt);
	sm_result_row(run->sink->reader, run->conn, res, 0, run->rows.values, run->rows.nulls);
	if (!run->sink->row(run->sink, run->rows.values, run->rows.nulls) || run->rows.cxt == NULL)
		run->rows.full = true;
	MemoryContextSwitchTo(old);
}

/* ----------
 * Ends
 * ----------
 */

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
note_reset(SmRun *run, const char *tag)
{
	if (strcmp(tag, "DISCARD ALL") == 0 || strcmp(tag, "DEALLOCATE ALL") == 0)
		run->effects.forget_all = true;
	if (strcmp(tag, "DISCARD ALL") == 0 || strcmp(tag, "SET") == 0 ||
		strcmp(tag, "RESET") == 0)
	{
		run->conn->remote.defaults_unknown = true;
		run->conn->remote.set_up = SM_SET_UP_NEEDED;
	}
	/* whoever gets the connection next would be sent what nobody reads */
	if (strcmp(tag, "LISTEN") == 0)
		run->conn->not_for_reuse = true;
}

/*
 * A statement that was run in another way has ended with this command tag: note
 * what it has changed; returns what it was.
 */
SmStatementKind
sm_statement_ended(SmConn *conn, const char *tag)
{
	SmRun		run = {.conn = conn};

	note_reset(&run, tag);
	if (run.effects.forget_all)
		sm_statement_forget_all(conn);
	return is_transaction_control(tag) ? SM_KIND_TRANSACTION_CONTROL : SM_KIND_ORDINARY;
}

static void
take_end(SmRun *run, PGresult *res)
{
	const char *tag = PQcmdStatus(res);
	bool		query = strncmp(tag, "SELECT ", 7) == 0;

	run->conn->command.completed = true;
	run->rows.count = 0;
	for (const char *p = query ? tag + 7 : PQcmdTuples(res); *p >= '0' && *p <= '9'; p++)
		run->rows.count = run->rows.count * 10 + (*p - '0');
	if (likely(query))
		return;
	note_reset(run, tag);
	if (is_transaction_control(tag))
		run->kind = SM_KIND_TRANSACTION_CONTROL;
}

/* A stream reads the rows: it only has to be told that there are some. */
static void
take_rows(SmRun *run, PGresult *res)
{
	if (!run->rows.begun)
		sm_run_check_shape(run, PQnfields(res), other_columns(run, res));
	run->rows.begun = true;
	run->rows.as_text = PQnfields(res) > 0 && !PQbinaryTuples(res);
	run->rows.present = PQntuples(res) > 0;
	if (PQresultStatus(res) == PGRES_TUPLES_OK)
		take_end(run, res);
}

/* Take an error aside, and note whether it is the statement's own text that it is about. */
static void
keep_error(SmRun *run)
{
	SmConn	   *conn = run->conn;
	int			last = run->step == SM_RUN_RUNNING ? run->nbefore : run->describing;

	if (conn->error == NULL)
		conn->command.error_elsewhere = run->step == SM_RUN_SETTING_UP ||
			conn->command.ended < run->nbefore || conn->command.ended > last;
	sm_remote_keep_error(conn, &conn->error);
}

static void
take_result(SmRun *run, PGresult *res)
{
	if (run->sink != NULL && run->sink->stream != NULL && sm_has_rows(res))
	{
		take_rows(run, res);
		return;
	}
	switch (PQresultStatus(res))
	{
		case PGRES_SINGLE_TUPLE:
		case PGRES_TUPLES_OK:
			if (run->sink != NULL && !run->rows.begun)
				begin_rows(run, res);
			if (PQresultStatus(res) == PGRES_TUPLES_OK)
				take_end(run, res);
			else if (run->sink != NULL && !run->rows.full)
				take_row(run, res);
			break;
		case PGRES_COMMAND_OK:
			take_end(run, res);
			/* it returns no rows at all: for a declared shape a mismatch */
			if (sm_run_needs_shape(run) && !run->sink->counts)
				sm_run_check_shape(run, 0, NULL);
			break;
		case PGRES_EMPTY_QUERY:
			run->kind = SM_KIND_EMPTY;
			break;
		case PGRES_COPY_IN:
		case PGRES_COPY_OUT:
		case PGRES_COPY_BOTH:
			run->kind = SM_KIND_COPY;
			run->effects.copied = (PQresultStatus(res) != PGRES_COPY_IN);
			(void) sm_remote_cleanup(run->conn,
									 sm_deadline(run->conn->endpoint->options.cleanup_timeout));
			break;
		default:
			keep_error(run);
			break;
	}
}

/* Take a result of a round trip, which belongs to one of its commands. */
void
sm_run_take(SmRun *run, PGresult *res)
{
	bool		good = PQresultStatus(res) == PGRES_COMMAND_OK;

	if (run->step == SM_RUN_RUNNING && run->conn->command.ended == run->nbefore)
		take_result(run, res);
	else if (!good)
		keep_error(run);
	else if (run->step == SM_RUN_VERIFYING && run->conn->command.ended == run->describing)
		run->changed = !sm_statement_same(run->entry, res);
	else if (run->step == SM_RUN_PREPARING && run->conn->command.ended == run->describing)
	{
		MemoryContext old = MemoryContextSwitchTo(run->cxt);

		run->described = true;
		run->columns = other_columns(run, res);
		sm_statement_described(run->conn, run->entry, res,
							   sm_run_needs_shape(run) && run->sink->reader == NULL);
		MemoryContextSwitchTo(old);
	}
}

/*-------------------------------------------------------------------------
 *
 * stream_reader.c
 *		The rows of a statement on a libpq connection, read as they are wanted.
 *
 * There are two kinds.  A stream in its own transaction has its connection and a
 * read-only transaction there for itself: the statement's rows are taken from
 * the socket one by one (libpq's single-row mode, or by the chunk).  In the
 * transaction of a session it is a cursor, for there giving up a statement would
 * cost the transaction: rows come by FETCH, the next one always on its way while
 * the last one's rows are read.
 *
 * Invariants:
 *
 * - Streams that are read from a connection are in its list, in which several
 *	 cursors may be.  One FETCH at most is on the wire, and conn->streams.fetching is
 *	 whose it is; then the connection is BUSY although nobody waits for it.
 *	 Before anything else is done with it, sm_streams_buffer() puts the rest of
 *	 each stream in a tuplestore and closes the cursors.
 * - A reader that has had enough only leaves (sm_stream_forget()): its cursor is
 *	 closed before the next statement, or ends with the transaction.
 * - Rows are never left out: a stream that may have lost some is LOST, and an
 *	 error for its reader.
 * - What waiting for the target takes counts against statement_timeout; the time
 *	 that the reader takes does not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"

/* rows of a FETCH: so many at first, and then more up to this, or this size */
#define FIRST_FETCH		16
#define MAX_FETCH		1000
#define MAX_FETCH_BYTES	(1024 * 1024)

/* What the reader's memory context has of a stream: it tells when that ends. */
struct SmStreamReader
{
	MemoryContextCallback callback;
	SmStream   *stream;			/* NULL: it is gone */
};

/* ----------
 * Beginning and end
 * ----------
 */
static void
forget_results(SmStream *stream)
{
	if (!stream->own_transaction)
		PQclear(stream->rows);
	stream->rows = NULL;
	PQclear(stream->ahead);
	stream->ahead = NULL;
	stream->row = stream->nrows = 0;
}

/* Its reader is gone.  Never throws, nor uses the reader's memory. */
static void
leave(SmStream *stream)
{
	forget_results(stream);
	stream->by = NULL;
	stream->sql = "FETCH";		/* its own goes with the reader */
	if (stream->conn == NULL)
		pfree(stream);
}

static void
reader_ends(void *arg)
{
	struct SmStreamReader *by = (struct SmStreamReader *) arg;

	if (by->stream != NULL)
		leave(by->stream);
	by->stream = NULL;
}

/* The connection has nothing to do with the stream any more. */
static void
detach(SmStream *stream)
{
	if (stream->conn->streams.fetching == &stream->link)
		stream->conn->streams.fetching = NULL;
	dlist_delete(&stream->link.node);
	stream->conn = NULL;
	if (stream->by == NULL)
	{
		forget_results(stream);
		pfree(stream);
	}
}

static void
lose(SmStream *stream)
{
	if (stream->link.state == SM_STREAM_READING)
		stream->link.state = SM_STREAM_LOST;
	forget_results(stream);
}

static void open_store(SmStream *stream);

/* For drivers that cannot do better: all rows are put aside at once. */
static bool
put_row(SmSink *sink, Datum *values, bool *nulls)
{
	SmStream   *stream = sink->stream;

	if (stream->store == NULL)
		open_store(stream);
	stream->link.state = SM_STREAM_BUFFERED;
	tuplestore_putvalues(stream->store, sink->reader->desc, values, nulls);
	return true;
}

/*
 * A stream for a statement's rows, whose shape is the reader's.  It is good as
 * long as the current memory context, or until sm_stream_forget().  rewind: all
 * rows are to be kept.
 */
SmStream *
sm_stream_make(SmReader *reader, const char *sql, bool rewind)
{
	struct SmStreamReader *by = palloc0(sizeof(struct SmStreamReader));
	SmStream   *stream = MemoryContextAllocZero(TopMemoryContext, sizeof(SmStream));

	stream->by = by;
	stream->rewind = rewind;
	stream->sink.reader = reader;
	stream->sink.stream = stream;
	stream->sink.row = put_row;
	stream->cxt = CurrentMemoryContext;
	stream->owner = CurrentResourceOwner;
	by->stream = stream;
	by->callback.func = reader_ends;
	by->callback.arg = by;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &by->callback);
	stream->sql = pstrdup(sql);
	return stream;
}

/* Where the statement's rows are to go. */
SmSink *
sm_stream_sink(SmStream *stream)
{
	return &stream->sink;
}

/* Its connection and the transaction there are to be just for it. */
void
sm_stream_set_own_transaction(SmStream *stream)
{
	stream->own_transaction = true;
}

/* The connection that is just for it, and not given back yet, or NULL. */
SmConn *
sm_stream_own_conn(const SmStream *stream)
{
	return stream->own_transaction ? stream->conn : NULL;
}

/* Do rows still come from the connection? */
bool
sm_stream_is_reading(const SmStream *stream)
{
	return stream->link.state == SM_STREAM_READING;
}

/* All rows again: of a stream that keeps them. */
void
sm_stream_rewind(SmStream *stream)
{
	Assert(stream->rewind);
	if (stream->link.state == SM_STREAM_BUFFERED)
		tuplestore_rescan(stream->store);
}

/* The reader wants no more rows.  The stream is gone for it. */
void
sm_stream_forget(SmStream *stream)
{
	if (stream->slot != NULL)
		ExecDropSingleTupleTableSlot(stream->slot);
	if (stream->store != NULL)
		tuplestore_end(stream->store);
	stream->by->stream = NULL;
	leave(stream);
}

/* ----------
 * Waiting
 * ----------
 */
static void
wait_for(SmStream *stream, SmConn *conn)
{
	uint32		events = WL_SOCKET_READABLE | (conn->command.unsent ? WL_SOCKET_WRITEABLE : 0);

	if (!stream->timed)
	{
		sm_remote_wait(conn, events, stream->sql, stream->until);
		return;
	}
	if (stream->since == 0)
		stream->since = GetCurrentTimestamp();
	sm_remote_wait(conn, events, stream->sql,
				   Min(stream->since + Max(stream->left, 0), stream->until));
}

/*
 * What was waited for is there.  What has come in between was the target's time,
 * too, if it was not that.
 */
static void
end_wait(SmStream *stream)
{
	if (stream->since == 0)
		return;
	stream->left -= GetCurrentTimestamp() - stream->since;
	stream->since = 0;
}

/* ----------
 * Alone: the statement's own rows
 * ----------
 */
static void
start_in_own_transaction(SmConn *conn, SmStatement *statement, SmStream *stream)
{
	stream->statement = *statement;
	stream->statement.sql = stream->sql;
	sm_run_start(&stream->run, conn, &stream->statement, &stream->sink, false);
}

/* False at the end. */
static bool
more_of_own_transaction(SmStream *stream)
{
	SmStatementKind kind;

	for (;;)
	{
		switch (sm_run_pull(&stream->run))
		{
			case SM_PROGRESS_WAIT:
				wait_for(stream, stream->conn);
				break;
			case SM_PROGRESS_ROWS:
				end_wait(stream);
				stream->rows = stream->conn->result;
				stream->row = 0;
				stream->nrows = PQntuples(stream->rows);
				return true;
			case SM_PROGRESS_END:
				forget_results(stream);
				(void) sm_run_finish(&stream->run, &kind);
				stream->link.state = SM_STREAM_ENDED;
				return false;
		}
	}
}

/* ----------
 * A cursor
 * ----------
 */

/*
 * Read what is on the wire, a FETCH, and keep its rows for their stream.
 * Throws the target's error, or what waiting throws.
 */
static void
read_fetch(SmConn *conn)
{
	SmStream   *stream = (SmStream *) ((char *) conn->streams.fetching - offsetof(SmStream, link));
	PGresult   *error;

	for (;;)
	{
		while (!sm_remote_take(conn))
			wait_for(stream, conn);
		if (conn->result == NULL)
			break;
		if (PQresultStatus(conn->result) == PGRES_TUPLES_OK)
		{
			PQclear(stream->ahead);
			stream->ahead = conn->result;
			conn->result = NULL;
		}
		else
			sm_remote_keep_error(conn, &conn->error);
	}
	end_wait(stream);
	conn->streams.fetching = NULL;
	error = conn->error;
	if (error != NULL || conn->state == SM_CONN_DEAD)
		lose(stream);
	sm_notices_report(conn);
	if (error != NULL)
	{
		conn->error = NULL;
		conn->command.error_elsewhere = true;	/* it was FETCH that failed */
		sm_remote_raise(conn, error, stream->sql, false);
	}
	if (conn->state == SM_CONN_DEAD)
		sm_report_lost(conn, stream->sql);
}

static void
send_fetch(SmStream *stream)
{
	SmConn	   *conn = stream->conn;
	char		sql[SM_NAME_SIZE + 64];

	if (conn->streams.fetching != NULL)
		read_fetch(conn);
	snprintf(sql, sizeof(sql), "FETCH FORWARD %d FROM %s", stream->size, stream->name);
	stream->asked = stream->size;
	sm_remote_begin(conn, false);
	conn->streams.fetching = &stream->link;
	sm_remote_sent(conn, PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL,
										   stream->binary),
				   false, stream->sql, SM_NO_DEADLINE);
}

/*
 * The statement is right by itself, but DECLARE does not take it: say so more
 * clearly than "syntax error".
 */
static void
check_declared(const SmRun *run)
{
	const SmConn *conn = run->conn;
	const char *code;

	if (conn->error == NULL || run->unnamed.fields == NULL)
		return;
	code = PQresultErrorField(conn->error, PG_DIAG_SQLSTATE);
	if (code != NULL && strcmp(code, "42601") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("this statement cannot be read as a stream in a transaction on \"%s\"",
						conn->endpoint->label),
				 errdetail("It is not SELECT, VALUES, TABLE or WITH."),
				 errhint("Use sessmgr.query()."),
				 sm_report_context(conn->endpoint, run->statement->sql)));
}

static void
start_cursor(SmConn *conn, SmStatement *statement, SmStream *stream, SmStatementKind *kind)
{
	SmReader   *reader = stream->sink.reader;
	SmRun		run;
	char		name[SM_NAME_SIZE];

	statement->cursor = sm_remote_name(name, conn, "cursor_", ++conn->remote.cursors);
	sm_run_start(&run, conn, statement, &stream->sink, true);
	(void) sm_run_advance(&run);
	check_declared(&run);
	(void) sm_run_finish(&run, kind);
	strcpy(stream->name, name);
	stream->depth = statement->depth;
	if (run.unnamed.nfields != reader->desc->natts)
		sm_report_shape(conn->endpoint, stream->sql, run.unnamed.nfields,
						reader->desc->natts, run.columns);
	stream->fields = run.unnamed.fields;
	stream->binary = sm_reader_wants_binary(reader, &conn->remote.peer, run.unnamed.nfields,
											run.unnamed.fields);
	stream->size = FIRST_FETCH;
	send_fetch(stream);
}

/* What comes must be what was described. */
static void
check_fields(SmStream *stream)
{
	int			natts = stream->sink.reader->desc->natts;
	bool		same = PQnfields(stream->rows) == natts;

	for (int i = 0; same && i < natts; i++)
		same = PQftype(stream->rows, i) == stream->fields[i];
	if (same)
		return;
	lose(stream);
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("the columns of a stream on \"%s\" have changed meanwhile",
					stream->label)));
}

/* As many rows next time as it takes to make the way there cheap, and no more. */
static void
adapt_size(SmStream *stream)
{
	size_t		bytes = PQresultMemorySize(stream->rows) / stream->nrows;

	stream->size = Min(stream->size * 4, MAX_FETCH);
	stream->size = Max(1, Min(stream->size, (int) (MAX_FETCH_BYTES / Max(bytes, 1))));
}

/* False at the end. */
static bool
more_of_cursor(SmStream *stream)
{
	SmConn	   *conn = stream->conn;

	if (stream->last)
	{
		forget_results(stream);
		stream->link.state = SM_STREAM_ENDED;
		return false;
	}
	if (stream->ahead == NULL)
	{
		if (conn->streams.fetching != &stream->link)
			send_fetch(stream);
		read_fetch(conn);
	}
	PQclear(stream->rows);
	stream->rows = stream->ahead;
	stream->ahead = NULL;
	stream->row = 0;
	stream->nrows = PQntuples(stream->rows);
	check_fields(stream);
	stream->last = stream->nrows < stream->asked;
	if (!stream->last)
	{
		adapt_size(stream);
		send_fetch(stream);
	}
	return true;
}

/* ----------
 * Both
 * ----------
 */

/*
 * Begin to read a statement's rows from a READY connection, on which, unless
 * it has its own transaction, one is open or begins with it.  See
 * sm_run_finish() for what it throws.
 */
void
sm_stream_start(SmConn *conn, SmStatement *statement, SmStream *stream, SmStatementKind *kind)
{
	MemoryContext old = MemoryContextSwitchTo(stream->cxt);
	int			timeout = conn->endpoint->options.statement_timeout;

	Assert(stream->link.state == SM_STREAM_NEW);
	*kind = SM_KIND_ORDINARY;
	stream->label = pstrdup(conn->endpoint->label);
	stream->timed = timeout > 0;
	stream->left = (int64) timeout * 1000;
	stream->until = SM_NO_DEADLINE;
	stream->conn = conn;
	stream->link.state = SM_STREAM_READING;
	dlist_push_tail(&conn->streams.open, &stream->link.node);
	if (stream->own_transaction)
		start_in_own_transaction(conn, statement, stream);
	else
		start_cursor(conn, statement, stream, kind);
	MemoryContextSwitchTo(old);
}

static void
report_end(const SmStream *stream)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_CURSOR_STATE),
			 errmsg("the rest of a stream on \"%s\" is lost", stream->label),
			 errdetail("The transaction there that it belonged to, or the part of it since a savepoint, has ended or failed.")));
}

/* Text that has arrived is read as it was written. */
static int
begin_text(const SmReader *reader)
{
	if (reader->names_objects)
		return sm_transmission_modes_begin(true, reader->has_money);
	return sm_transmission_modes_begin_reading(reader->has_money);
}

static void
make_row(SmStream *stream, Datum *values, bool *nulls)
{
	int			level = -1;

	if (unlikely(!PQbinaryTuples(stream->rows)))
		level = begin_text(stream->sink.reader);
	sm_result_row(stream->sink.reader, stream->conn, stream->rows, stream->row++,
				  values, nulls);
	sm_transmission_modes_end(level);
}

static bool
read_row(SmStream *stream, Datum *values, bool *nulls)
{
	while (stream->row >= stream->nrows)
	{
		if (!(stream->own_transaction ? more_of_own_transaction(stream) : more_of_cursor(stream)))
			return false;
	}
	stream->busy = true;
	PG_TRY();
	{
		make_row(stream, values, nulls);
	}
	PG_CATCH();
	{
		stream->busy = false;
		lose(stream);
		PG_RE_THROW();
	}
	PG_END_TRY();
	stream->busy = false;
	return true;
}

/* A row that was put aside; it is good until the next one is read. */
static bool
stored_row(SmStream *stream, Datum *values, bool *nulls)
{
	int			natts = stream->sink.reader->desc->natts;

	/* what comes from a file belongs to the slot */
	MemoryContext old = MemoryContextSwitchTo(stream->cxt);
	bool		found = tuplestore_gettupleslot(stream->store, true, false, stream->slot);

	MemoryContextSwitchTo(old);
	if (!found)
		return false;
	slot_getallattrs(stream->slot);
	memcpy(values, stream->slot->tts_values, natts * sizeof(Datum));
	memcpy(nulls, stream->slot->tts_isnull, natts * sizeof(bool));
	return true;
}

static void buffer(SmStream *stream);

/*
 * The next row, in the current memory context; false at the end.  Throws the
 * target's errors, what waiting and reading values throw, and 24000 if the rest
 * has been lost.
 */
bool
sm_stream_row(SmStream *stream, Datum *values, bool *nulls)
{
	if (unlikely(stream->rewind && stream->link.state == SM_STREAM_READING))
		buffer(stream);
	switch (stream->link.state)
	{
		case SM_STREAM_READING:
			return read_row(stream, values, nulls);
		case SM_STREAM_BUFFERED:
			return stored_row(stream, values, nulls);
		case SM_STREAM_LOST:
			report_end(stream);
			break;
		case SM_STREAM_NEW:
		case SM_STREAM_ENDED:
			break;
	}
	return false;
}

/* ----------
 * Putting aside
 * ----------
 */

/* The reader's, although somebody else may be at work. */
static void
open_store(SmStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(stream->cxt);
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = stream->owner;
	stream->store = tuplestore_begin_heap(false, false, work_mem);
	if (stream->rewind)
		tuplestore_set_eflags(stream->store, EXEC_FLAG_REWIND);
	CurrentResourceOwner = owner;
	stream->slot = MakeSingleTupleTableSlot(stream->sink.reader->desc,
											&TTSOpsMinimalTuple);
	MemoryContextSwitchTo(old);
}

static void
store_rows(SmStream *stream)
{
	TupleDesc	desc = stream->sink.reader->desc;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr stream",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	MemoryContext rowcxt = AllocSetContextCreate(cxt, "sessmgr row",
												 ALLOCSET_DEFAULT_SIZES);
	Datum	   *values = palloc(Max(desc->natts, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(desc->natts, 1) * sizeof(bool));

	MemoryContextSwitchTo(rowcxt);
	while (read_row(stream, values, nulls))
	{
		tuplestore_putvalues(stream->store, desc, values, nulls);
		MemoryContextReset(rowcxt);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
}

/* Read the rest of the stream and put it aside; if this throws, it is lost. */
static void
buffer(SmStream *stream)
{
	open_store(stream);
	PG_TRY();
	{
		store_rows(stream);
	}
	PG_CATCH();
	{
		lose(stream);
		PG_RE_THROW();
	}
	PG_END_TRY();
	stream->link.state = SM_STREAM_BUFFERED;
}

/* Is any stream read from this connection? */
bool
sm_streams_any(SmConn *conn)
{
	return !dlist_is_empty(&conn->streams.open);
}

/* Is a FETCH on the wire? */
bool
sm_streams_fetching(const SmConn *conn)
{
	return conn->streams.fetching != NULL;
}

/*
 * Something else is to be done in the transaction on this connection: put the
 * rest of its streams aside, by the deadline, and close their cursors.  Throws
 * what reading rows throws.
 */
void
sm_streams_buffer(SmConn *conn, TimestampTz deadline)
{
	StringInfoData commands;
	dlist_mutable_iter iter;

	if (likely(dlist_is_empty(&conn->streams.open)))
		return;
	dlist_foreach_modify(iter, &conn->streams.open)
	{
		SmStream   *stream = dlist_container(SmStream, link.node, iter.cur);

		stream->until = deadline;
		/* an input function, of a domain say, is what brings us here */
		if (stream->busy)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("a statement of this session on \"%s\" is still running",
							conn->endpoint->label)));
	}
	if (conn->streams.fetching != NULL)
		read_fetch(conn);
	initStringInfo(&commands);
	dlist_foreach_modify(iter, &conn->streams.open)
	{
		SmStream   *stream = dlist_container(SmStream, link.node, iter.cur);

		if (stream->by != NULL && stream->link.state == SM_STREAM_READING)
			buffer(stream);
		if (stream->name[0] != '\0')
			appendStringInfo(&commands, "%sCLOSE %s", commands.len > 0 ? "; " : "",
							 stream->name);
		detach(stream);
	}
	if (commands.len > 0 && conn->state == SM_CONN_READY &&
		PQtransactionStatus(conn->pg) == PQTRANS_INTRANS)
	{
		deadline = Min(deadline, sm_deadline(conn->endpoint->options.statement_timeout));
		sm_remote_command_send(conn, commands.data, false, deadline);
		sm_remote_command_finish(conn, commands.data, false, deadline);
	}
}

/*
 * The savepoints of the connection's session from this place on are about to
 * be rolled back to or over: cursors declared since are no more.
 */
void
sm_streams_lose(SmConn *conn, int depth)
{
	dlist_iter	iter;

	dlist_foreach(iter, &conn->streams.open)
	{
		SmStream   *stream = dlist_container(SmStream, link.node, iter.cur);

		if (stream->depth <= depth)
			continue;
		lose(stream);
		stream->name[0] = '\0';
	}
}

/* The savepoints from this place on are released: their cursors belong to what is below. */
void
sm_streams_release(SmConn *conn, int depth)
{
	dlist_iter	iter;

	dlist_foreach(iter, &conn->streams.open)
	{
		SmStream   *stream = dlist_container(SmStream, link.node, iter.cur);

		stream->depth = Min(stream->depth, depth);
	}
}

/*
 * The transaction has ended, or the connection: nothing more comes from it.
 * Never throws.
 */
void
sm_streams_end(SmConn *conn)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &conn->streams.open)
	{
		SmStream   *stream = dlist_container(SmStream, link.node, iter.cur);

		lose(stream);
		detach(stream);
	}
}

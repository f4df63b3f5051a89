/*-------------------------------------------------------------------------
 *
 * statement.c
 *		Statements on a libpq connection: their way there and back.
 *
 * A statement goes in one or two round trips of messages, each of them one round
 * trip.  What is to be done before it, BEGIN and savepoints, is part of the
 * first one.
 *
 * A statement that is seen on a connection for the second time is prepared
 * there, and described: two round trips this once, and from then on one and no
 * parsing.  The first time it goes out unprepared.  But where rows of a shape
 * are asked for, it is prepared at once: whether the shape fits must be known
 * before the statement takes effect, and in which form to ask for its values
 * before it is sent.
 *
 * sm_run_advance() goes as far as it can, or, if told to wait, to the end; so
 * several statements can be under way at a time, on a connection each.  What
 * is on the wire when something throws is cleaned up with its connection.
 *
 * Where a stream is to read the rows, sm_run_pull() goes on to the next ones,
 * and leaves them to its caller.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

/* results in one go, for those who do not wait */
#define MAX_AT_ONCE		1000

static void
echo(const SmRun *run)
{
	const SmEndpoint *endpoint = run->conn->endpoint;
	StringInfoData buf;

	if (likely(!sm_report_echoes(endpoint)))
		return;
	initStringInfo(&buf);
	if (!endpoint->options.hide_parameters)
	{
		for (int i = 0; i < run->encoded.n; i++)
		{
			const char *value = sm_param_show(run->statement->params, i);

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
			(errmsg_internal("%s: %s", endpoint->label, run->statement->sql),
			 buf.len > 0 ? errdetail_internal("%s", buf.data) : 0));
}

/* The statement must use its parameters: asked once of an entry, or of a run. */
static void
check_params(SmRun *run)
{
	if (!run->counted)
		sm_statement_check_params(run->conn, run->statement->sql, run->encoded.n);
	run->counted = true;
}

/*
 * May the connection be asked for a statement that was prepared in an earlier
 * transaction?  Not behind a pooler, unless that sees to it.
 */
static bool
may_keep(const SmRun *run)
{
	const SmConn *conn = run->conn;

	return conn->remote.pooler != SM_BEHIND_TRANSACTION ||
		(conn->remote.maps_statements && (run->statement->around == NIL || run->enclosed != SM_ENCLOSED_NOT));
}

/*
 * Is all that is to be known of its rows known from an earlier time?  Behind a
 * pooler it may be another session of the server that is asked this time, and
 * another plan.
 */
static bool
is_described(const SmRun *run)
{
	if (!sm_run_needs_shape(run))
		return true;
	return run->conn->remote.pooler != SM_BEHIND_TRANSACTION &&
		(run->sink->reader != NULL || run->entry->shape != NULL);
}

/* Find the statement in the cache and decide what its first round trip is for. */
static void
choose_step(SmRun *run)
{
	bool		seen = false;

	if (run->sink != NULL && run->sink->stream != NULL)
	{
		/* not worth keeping: the way there is the least of a stream */
		check_params(run);
		memset(&run->unnamed, 0, sizeof(run->unnamed));
		run->entry = &run->unnamed;
		run->step = SM_RUN_PREPARING;
		return;
	}
	/* what would cost a round trip to make room is not kept, then */
	run->entry = NULL;
	if (likely(may_keep(run)))
		run->entry = sm_statement_find(run->conn, run->statement->sql, run->encoded.n,
									   run->encoded.types, run->wait ? run->deadline : 0,
									   &seen);
	if (run->entry == NULL || unlikely(!run->entry->counted))
	{
		check_params(run);
		if (run->entry != NULL)
			run->entry->counted = true;
	}
	if (run->entry != NULL && unlikely(run->entry->spoiled))
		run->entry = NULL;
	if (run->statement->one_round_trip && run->entry != NULL &&
		(!run->entry->prepared || run->entry->suspect))
		run->entry = NULL;
	if (run->entry == NULL && sm_run_needs_shape(run))
	{
		memset(&run->unnamed, 0, sizeof(run->unnamed));
		run->entry = &run->unnamed;
	}
	if (run->entry == NULL)
		run->step = SM_RUN_RUNNING;
	else if (unlikely(run->entry->suspect))
		run->step = SM_RUN_VERIFYING;
	else if (run->entry->prepared && is_described(run))
		run->step = SM_RUN_RUNNING;
	else
		run->step = (seen || sm_run_needs_shape(run)) ? SM_RUN_PREPARING : SM_RUN_RUNNING;
}

/* ----------
 * Sending
 * ----------
 */
static bool
send_declare(SmRun *run)
{
	const SmEncodedParams *encoded = &run->encoded;

	return PQsendQueryParams(run->conn->pg,
							 psprintf("DECLARE %s NO SCROLL CURSOR FOR\n%s",
									  run->statement->cursor, run->statement->sql),
							 encoded->n, encoded->types, encoded->values, encoded->lengths,
							 encoded->formats, 0);
}

static bool
send_prepare(SmRun *run)
{
	SmStatementEntry *entry = run->entry;

	run->describing = run->nbefore;
	if (!entry->prepared)
	{
		if (entry != &run->unnamed)
			sm_statement_name(run->conn, entry);
		run->describing++;
		if (!PQsendPrepare(run->conn->pg, entry->name, run->statement->sql, run->encoded.n,
						   run->encoded.types))
			return false;
	}
	return PQsendDescribePrepared(run->conn->pg, entry->name) &&
		(run->statement->cursor == NULL || send_declare(run));
}

/* Have it described as if it were prepared now. */
static bool
send_verify(SmRun *run)
{
	run->describing = run->nbefore + 1;
	return PQsendPrepare(run->conn->pg, "", run->statement->sql, run->encoded.n,
						 run->encoded.types) &&
		PQsendDescribePrepared(run->conn->pg, "");
}

static bool
send_statement(SmRun *run)
{
	const SmEncodedParams *encoded = &run->encoded;
	const SmStatementEntry *entry = run->entry;
	bool		binary;

	if (entry == NULL || !entry->prepared)
		return PQsendQueryParams(run->conn->pg, run->statement->sql, encoded->n, encoded->types,
								 encoded->values, encoded->lengths, encoded->formats, 0);
	binary = run->sink != NULL && run->sink->reader != NULL &&
		(run->described || run->conn->remote.pooler != SM_BEHIND_TRANSACTION) &&
		sm_reader_wants_binary(run->sink->reader, &run->conn->remote.peer, entry->nfields, entry->fields);
	return PQsendQueryPrepared(run->conn->pg, entry->name, encoded->n, encoded->values,
							   encoded->lengths, encoded->formats, binary);
}

/* What the driver wants to be done in a round trip of its own. */
static void
send_set_up(SmRun *run)
{
	const char *sql = run->statement->set_up;

	run->step = SM_RUN_SETTING_UP;
	if (unlikely(run->statement->prelude != NIL))
	{
		sm_remote_commands_send(run->conn, run->statement->prelude, run->wait, run->deadline);
		return;
	}
	sm_remote_begin(run->conn, false);
	sm_remote_sent(run->conn, sm_remote_send_commands(run->conn, sql), run->wait, sql, run->deadline);
}

/* Send what the present step is for, and what is to be done before it. */
static void
send_round_trip(SmRun *run)
{
	SmConn	   *conn = run->conn;
	List	   *before = run->statement->before;
	bool		running = (run->step == SM_RUN_RUNNING);
	const char *after = running ? run->statement->after : NULL;
	bool		several = !running || before != NIL || after != NULL;
	bool		sent;
	ListCell   *lc;

	sm_remote_begin(conn, run->statement->autocommit && running);
	run->statement->before = NIL;	/* whatever comes, it may have been done */
	run->nbefore = 0;
	sent = !several || PQenterPipelineMode(conn->pg);
	foreach(lc, before)
	{
		sent = sent && PQsendQueryParams(conn->pg, lfirst(lc), 0, NULL, NULL, NULL, NULL, 0);
		run->nbefore++;
	}
	sent = sent && (running ? send_statement(run) :
					run->step == SM_RUN_VERIFYING ? send_verify(run) : send_prepare(run));
	if (running)
	{
		conn->command.copy = run->nbefore;
		conn->command.expected = run->nbefore + 1 + (after != NULL);
	}
	else
		conn->command.expected = run->describing + 1 +
			(run->step == SM_RUN_PREPARING && run->statement->cursor != NULL);
	if (after != NULL)
	{
		/* where it is the first of this round trip; otherwise its turn comes */
		if (run->nbefore == 0 && run->sink != NULL && run->sink->stream != NULL)
			(void) sm_set_rows_mode(conn->pg);
		else if (run->nbefore == 0)
			(void) PQsetSingleRowMode(conn->pg);
		sent = sent && PQsendQueryParams(conn->pg, after, 0, NULL, NULL, NULL, NULL, 0);
	}
	if (several)
	{
		sent = sent && PQpipelineSync(conn->pg);
		conn->command.syncs = 1;
	}
	else if (sent)
		(void) PQsetSingleRowMode(conn->pg);
	sm_remote_sent(conn, sent, run->wait, run->statement->sql, run->deadline);
}

/* ----------
 * In a transaction of its own, behind a pooler
 * ----------
 */

/*
 * Can the statement go without a transaction around it, in one round trip?  Then
 * its meaning must depend on none of the settings that would travel with it.
 */
static bool
may_be_bare(const SmRun *run)
{
	const SmEncodedParams *encoded = &run->encoded;

	if (run->sink != NULL || !run->statement->plain)
		return false;
	for (int i = 0; i < encoded->n; i++)
	{
		if (encoded->values[i] != NULL && encoded->formats[i] == 0 &&
			OidIsValid(encoded->types[i]) && encoded->types[i] != TEXTOID)
			return false;
	}
	return true;
}

static void
enclose(SmRun *run, SmEnclosure how)
{
	MemoryContext old = MemoryContextSwitchTo(run->cxt);

	run->statement->before = list_copy(run->statement->around);
	MemoryContextSwitchTo(old);
	run->statement->after = "COMMIT";
	run->enclosed = how;
}

static void
unenclose(SmRun *run)
{
	run->statement->before = NIL;
	run->statement->after = NULL;
	run->enclosed = SM_ENCLOSED_NOT;
}

/* Has the server refused to run it together with others, and done nothing? */
static bool
is_refused(const SmRun *run)
{
	const PGresult *error = run->conn->error;
	const char *code;
	const char *function;

	if (error == NULL || run->rows.begun || run->conn->state != SM_CONN_READY ||
		PQresultErrorField(error, PG_DIAG_CONTEXT) != NULL)
		return false;
	code = PQresultErrorField(error, PG_DIAG_SQLSTATE);
	function = PQresultErrorField(error, PG_DIAG_SOURCE_FUNCTION);
	return code != NULL && strcmp(code, "25001") == 0 &&
		function != NULL && strcmp(function, "PreventInTransactionBlock") == 0;
}

/* What it was in has failed: end that, before it is run again. */
static void
send_rollback(SmRun *run)
{
	static const char sql[] = "ROLLBACK";

	run->step = SM_RUN_ROLLING_BACK;
	sm_remote_begin(run->conn, false);
	sm_remote_sent(run->conn, PQsendQuery(run->conn->pg, sql), run->wait, sql, run->deadline);
}

/* ----------
 * From round trip to round trip
 * ----------
 */

/* Does the statement return what the sink's reader is for? */
static bool
fits(const SmRun *run)
{
	int			nfields = run->entry->nfields;

	return nfields == run->sink->reader->desc->natts || (nfields == 0 && run->sink->counts);
}

/*
 * Send the next round trip.  Where the shape of the rows matters, it is known
 * before the statement itself goes: it must be the declared one, or the sink
 * has to accept it.
 */
static void
launch(SmRun *run)
{
	SmSink	   *sink = run->sink;

	if (run->step == SM_RUN_RUNNING && sm_run_needs_shape(run) && sink->reader != NULL &&
		!run->described && !fits(run))
	{
		/* so it was when it was prepared: is it still so? */
		sm_run_forget_stale(run);
		choose_step(run);
	}
	if (run->step == SM_RUN_RUNNING && sm_run_needs_shape(run))
	{
		if (sink->reader == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(run->cxt);

			sink->describe(sink, run->entry->shape);
			MemoryContextSwitchTo(old);
		}
		if (!fits(run))
			sm_run_check_shape(run, run->entry->nfields, run->columns);
	}
	send_round_trip(run);
}

/*
 * Have the server forget a statement that is forgotten here, where that can
 * fail without loss.  Otherwise it stays there as long as the connection.
 */
static void
close_forgotten(SmRun *run, const char *name)
{
	SmConn	   *conn = run->conn;

	if (run->entry == NULL && name[0] != '\0' && run->wait &&
		conn->remote.pooler != SM_BEHIND_TRANSACTION && conn->state == SM_CONN_READY &&
		PQtransactionStatus(conn->pg) == PQTRANS_IDLE)
	{
		PQclear(sm_remote_close_statement(conn, name, run->deadline));
		if (conn->state != SM_CONN_READY)
			sm_report_lost(conn, run->statement->sql);
	}
}

/* A round trip has done what it was for: choose what the next one is for. */
static void
choose_next_step(SmRun *run, const char *name)
{
	switch (run->step)
	{
		case SM_RUN_SETTING_UP:
			sm_remote_is_set_up(run->conn, run->statement->defaults);
			choose_step(run);
			break;
		case SM_RUN_VERIFYING:
			run->entry->suspect = false;
			if (run->changed)
				sm_run_forget_stale(run);
			close_forgotten(run, name);
			choose_step(run);
			break;
		case SM_RUN_PREPARING:
			run->entry->prepared = true;
			run->step = run->statement->cursor != NULL ? SM_RUN_DONE : SM_RUN_RUNNING;
			break;
		case SM_RUN_ROLLING_BACK:
			choose_step(run);
			break;
		case SM_RUN_RUNNING:
		case SM_RUN_DONE:
			run->step = SM_RUN_DONE;
			break;
	}
}

/*
 * A round trip has failed.  Where the server has done nothing but refuse, the
 * statement is run once more in another way.
 */
static void
run_again_or_end(SmRun *run, const char *name)
{
	const SmStatement *statement = run->statement;
	bool		running = run->step == SM_RUN_RUNNING;

	if ((running || run->step == SM_RUN_PREPARING) && statement->autocommit &&
		!run->retried && run->conn->state == SM_CONN_READY && sm_run_must_prepare_again(run))
	{
		run->retried = true;
		close_forgotten(run, name);
		if (run->enclosed != SM_ENCLOSED_NOT)
		{
			enclose(run, run->enclosed);
			send_rollback(run);
			return;
		}
		choose_step(run);
		sm_notices_report(run->conn);
		launch(run);
	}
	else if (running && run->enclosed == SM_ENCLOSED_UNTIL_REFUSED && is_refused(run))
	{
		unenclose(run);
		send_rollback(run);
	}
	else if (running && statement->autocommit && statement->prelude != NIL && is_refused(run))
		/* then what was to come before it goes before it by itself */
		send_set_up(run);
	else
		run->step = SM_RUN_DONE;
}

/* All of a round trip was read: what is next? */
static void
end_round_trip(SmRun *run)
{
	SmConn	   *conn = run->conn;
	char		name[SM_NAME_SIZE];
	bool		good = conn->error == NULL && conn->state == SM_CONN_READY;

	name[0] = '\0';
	if (unlikely(!good || run->step == SM_RUN_VERIFYING) &&
		run->entry != NULL && run->entry != &run->unnamed)
		strcpy(name, run->entry->name);

	if (unlikely(!good))
	{
		run_again_or_end(run, name);
		return;
	}
	if (unlikely(run->statement->prelude != NIL))
	{
		sm_remote_is_discarded(conn, run->statement->defaults);
		run->statement->prelude = NIL;
	}
	choose_next_step(run, name);
	if (run->step == SM_RUN_DONE)
		return;
	sm_notices_report(conn);
	launch(run);
}

/* ----------
 * The whole
 * ----------
 */

/*
 * Begin a statement on a READY connection.  What the caller gave must live
 * until its end, as must the current memory context.  wait: the caller will
 * not do anything else meanwhile.  If this throws, statement->before tells
 * whether what was to be done before it may have been.
 */
void
sm_run_start(SmRun *run, SmConn *conn, SmStatement *statement, SmSink *sink, bool wait)
{
	/* but for the room that it has for a few parameters */
	memset(run, 0, offsetof(SmRun, encoded));
	run->conn = conn;
	run->statement = statement;
	run->sink = sink;
	run->declared = (sink != NULL && sink->reader != NULL);
	run->wait = wait;
	run->cxt = CurrentMemoryContext;
	run->deadline = sm_deadline(conn->endpoint->options.statement_timeout);
	sm_params_encode_init(&run->encoded, statement->params);
	sm_params_encode(&run->encoded, statement->params, &conn->remote.peer);
	if (unlikely(statement->around != NIL))
	{
		bool		bare = may_be_bare(run);

		if (!bare || statement->one_round_trip || !sm_statement_may_commit(statement->sql))
			enclose(run, bare ? SM_ENCLOSED_UNTIL_REFUSED : SM_ENCLOSED);
	}
	echo(run);
	if (unlikely(statement->set_up != NULL))
	{
		check_params(run);
		send_set_up(run);
	}
	else
	{
		choose_step(run);
		launch(run);
	}
}

/* Room for one, in the current memory context. */
SmRun *
sm_run_make(void)
{
	return palloc0(sizeof(SmRun));
}

TimestampTz
sm_run_deadline(const SmRun *run)
{
	return run->deadline;
}

/* It may take until then. */
void
sm_run_extend(SmRun *run, TimestampTz deadline)
{
	run->deadline = Max(run->deadline, deadline);
}

/* Now that it is sent, its caller does something else until sm_run_attach(). */
void
sm_run_leave(SmRun *run)
{
	run->wait = false;
}

/* Its rows are for this sink, of a declared shape, and it is waited for. */
void
sm_run_attach(SmRun *run, SmSink *sink)
{
	run->sink = sink;
	run->declared = true;
	run->wait = true;
}

/*
 * Without taking anything of it away: has the statement come so far that
 * sm_run_advance() has its first row, or its end?  What is done before it is.
 */
bool
sm_run_peek(SmRun *run)
{
	SmConn	   *conn = run->conn;

	while (!run->peeked && run->step != SM_RUN_DONE && conn->state == SM_CONN_BUSY)
	{
		if (!sm_remote_take(conn))
			return false;
		if (conn->result == NULL ||
			(run->step == SM_RUN_RUNNING && conn->command.ended >= run->nbefore))
		{
			run->peeked = true;
			/* whoever cleans it up instead of reading it is to know this, too */
			if (PQresultErrorField(conn->result, PG_DIAG_SQLSTATE) != NULL)
				conn->command.failed = true;
		}
		else
			sm_run_take(run, conn->result);
	}
	return true;
}

/* After sm_run_peek() was true: is what has arrived rows? */
bool
sm_run_has_rows(const SmRun *run)
{
	return PQresultStatus(run->conn->result) == PGRES_SINGLE_TUPLE;
}

/* After sm_run_peek() was true: is it that the statement was canceled? */
bool
sm_run_is_canceled(const SmRun *run)
{
	const char *code = PQresultErrorField(run->conn->result, PG_DIAG_SQLSTATE);

	return code != NULL && strcmp(code, "57014") == 0;
}

/* Is the statement itself on its way, as a whole? */
bool
sm_run_is_sent(const SmRun *run)
{
	return run->step == SM_RUN_RUNNING && !run->conn->command.unsent;
}

/* After sm_run_advance() was false: could it have gone on? */
bool
sm_run_has_more(const SmRun *run)
{
	return run->more;
}

/* Has it returned rows, or none of them? */
bool
sm_run_had_rows(const SmRun *run)
{
	return run->rows.begun;
}

/*
 * Go on with a statement as far as what has arrived allows, or, if that was
 * said at its start, to its end.  True: it has ended.  A caller who has others
 * to look after, too, gets back after so many results; sm_run_has_more()
 * then tells that no arrival is to be waited for.
 */
bool
sm_run_advance(SmRun *run)
{
	const SmReader *reader = run->sink ? run->sink->reader : NULL;
	int			level = reader == NULL ? sm_transmission_modes_begin(false, false) :
		sm_transmission_modes_begin(reader->names_objects, reader->has_money);
	bool		established = true;
	int			n = 0;

	run->more = false;
	while (established && run->step != SM_RUN_DONE)
	{
		SmConn	   *conn = run->conn;

		if (!run->wait && ++n > MAX_AT_ONCE)
		{
			run->more = true;
			established = false;
			break;
		}

		if (conn->state == SM_CONN_BUSY || run->peeked)
		{
			if (unlikely(run->peeked))
				run->peeked = false;
			else if (run->wait)
				(void) sm_remote_next(conn, run->statement->sql, run->deadline);
			else
				established = sm_remote_take(conn);
			if (conn->result != NULL)
				sm_run_take(run, conn->result);
		}
		if (conn->state != SM_CONN_BUSY)
			end_round_trip(run);
	}
	sm_transmission_modes_end(level);
	return established;
}

/*
 * Go on with a statement whose rows a stream reads, until there are some, or
 * as far as what has arrived allows.
 */
SmProgress
sm_run_pull(SmRun *run)
{
	SmConn	   *conn = run->conn;

	while (run->step != SM_RUN_DONE)
	{
		if (conn->state == SM_CONN_BUSY)
		{
			if (!sm_remote_take(conn))
				return SM_PROGRESS_WAIT;
			if (conn->result != NULL)
				sm_run_take(run, conn->result);
			if (run->rows.present)
			{
				run->rows.present = false;
				return SM_PROGRESS_ROWS;
			}
		}
		if (conn->state != SM_CONN_BUSY)
			end_round_trip(run);
	}
	return SM_PROGRESS_END;
}

static void
refuse_kind(const SmRun *run)
{
	switch (run->kind)
	{
		case SM_KIND_EMPTY:
			sm_report_empty(run->conn->endpoint);
			break;
		case SM_KIND_COPY:
			if (run->statement->autocommit && run->conn->cleanup.outcome == SM_OUTCOME_UNKNOWN)
				sm_report_unknown(run->conn, run->statement->sql,
								  "It began a COPY, which did not come to its end in time.");
			sm_report_copy(run->conn->endpoint, run->effects.copied && run->statement->autocommit);
			break;
		case SM_KIND_ORDINARY:
		case SM_KIND_TRANSACTION_CONTROL:
		case SM_KIND_STALE:
			break;
	}
}

/*
 * A statement may have changed settings that the text of its own values depends
 * on, by a function: then these may have been misread.
 */
static void
check_drifted(const SmRun *run)
{
	const SmConn *conn = run->conn;
	const SmEndpoint *endpoint = conn->endpoint;

	if (likely(!run->rows.as_text || !sm_remote_drifted(conn)))
		return;
	/* they were the transaction's, which has ended with the statement */
	if (run->enclosed != SM_ENCLOSED_NOT)
		return;
	/* a string is what it is in every style, though not in every encoding */
	if (run->sink->reader->only_text && PQclientEncoding(conn->pg) == conn->remote.encoding)
		return;
	ereport(ERROR,
			(run->statement->autocommit ? errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN) :
			 errcode(ERRCODE_CANT_CHANGE_RUNTIME_PARAM),
			 errmsg("a statement on \"%s\" has changed settings that its own values depend on",
					endpoint->label),
			 errdetail("DateStyle, IntervalStyle or client_encoding.%s",
					   run->statement->autocommit ? " What it did has been done." : ""),
			 errhint("Change settings in a statement of its own."),
			 sm_report_context(endpoint, run->statement->sql)));
}

/*
 * The end of a statement that has ended: its notices, and its error if it has
 * one.  Returns the number of rows it affected or returned.  Throws what the
 * server says, 42601 for an empty statement, 0A000 for COPY, 08006 and 08007.
 * *kind tells the caller, who knows about transactions, about transaction
 * control and about a first statement that has to be run again.
 */
uint64
sm_run_finish(SmRun *run, SmStatementKind *kind)
{
	SmConn	   *conn = run->conn;
	PGresult   *error = conn->error;

	if (run->effects.forget_all)
	{
		run->entry = NULL;
		sm_statement_forget_all(conn);
	}
	sm_notices_report(conn);
	if (error != NULL && run->kind != SM_KIND_COPY)
	{
		/* in a transaction it is too late for this time, not for the next */
		if (sm_run_must_prepare_again(run) && run->statement->first && conn->state == SM_CONN_READY)
		{
			*kind = SM_KIND_STALE;
			return 0;
		}
		conn->error = NULL;
		sm_remote_raise(conn, error, run->statement->sql, false);
	}
	/* a pipeline may end without a word */
	if (conn->state == SM_CONN_DEAD && !conn->command.completed && run->kind == SM_KIND_ORDINARY)
	{
		if (conn->fault.broken && conn->command.commits)
			sm_report_unknown(conn, run->statement->sql,
							  "Memory is out, and its answer could not be read.");
		sm_report_lost(conn, run->statement->sql);
	}
	check_drifted(run);
	refuse_kind(run);
	if (run->rows.cxt != NULL)
		MemoryContextDelete(run->rows.cxt);
	*kind = run->kind;
	return run->rows.count;
}

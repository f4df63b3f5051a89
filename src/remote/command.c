/*-------------------------------------------------------------------------
 *
 * command.c
 *		Talking to a server: send, wait, read.
 *
 * Together with connect.c, cleanup.c and cancel.c this is
 * the only place that waits for a socket.  Every wait has a deadline or answers
 * interrupts; those that may throw do both.  Invariants:
 *
 * - A command is on the wire exactly while the connection is BUSY.  Whoever
 *	 throws meanwhile leaves it BUSY, and sm_remote_cleanup() brings it out of that.
 * - conn->result is the only PGresult of a connection, and freed on every way
 *	 out.
 * - An error says truly what happened.  While conn->command.commits is set, a command
 *	 that may have taken effect although it is given up is reported as 08007.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include "tcop/dest.h"
#include "utils/memutils.h"

/* How long reads after a deadline may take in all (ms). */
#define MAX_LATE_MS		250

/* Raise 08001, or 53200; message is libpq's, or one of ours. */
void
sm_report_connect_failure(SmConn *conn, const char *message)
{
	ereport(ERROR,
			(errcode(sm_is_no_memory(message) ? ERRCODE_OUT_OF_MEMORY :
					 ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("could not connect to \"%s\"", conn->endpoint->label),
			 errdetail_internal("%s", sm_report_text(message))));
}

static void
report_connect_timeout(SmConn *conn)
{
	sm_report_connect_failure(conn,
							  psprintf("No answer within connect_timeout (%d ms).",
									   conn->endpoint->options.connect_timeout));
}

/* What became of a command that was given up, in words. */
static const char *
outcome_words(SmOutcome outcome)
{
	if (outcome == SM_OUTCOME_DONE)
		return "It was to be canceled, but the cancel came too late: it has been done.";
	return "It was to be canceled, but the target did not answer in time.";
}

/*
 * The last command on the wire was given up for the reason given, and has been
 * cleaned up.
 * Raises 08007 if it commits by itself and cannot be shown to have had no
 * effect.
 */
void
sm_remote_given_up(SmConn *conn, const char *sql, const char *reason)
{
	SmOutcome	outcome = conn->cleanup.outcome;

	if (conn->command.commits && outcome != SM_OUTCOME_NONE)
		sm_report_unknown(conn, sql, psprintf("%s %s", reason, outcome_words(outcome)));
}

/*
 * Give up the command on the wire for the reason given.  Raises 08007 if it
 * commits by itself and cannot be shown to have had no effect; otherwise the
 * caller is to raise what made it give up.
 */
static void
give_up(SmConn *conn, const char *sql, const char *reason)
{
	/* a connection that is only being set up is simply closed */
	if (conn->connected_at == 0)
		return;
	(void) sm_remote_cleanup(conn, sm_deadline(conn->endpoint->options.cleanup_timeout));
	sm_remote_given_up(conn, sql, reason);
}

/*
 * CHECK_FOR_INTERRUPTS() while a command is on the wire, and, with a watch, the
 * deadlock check: if one throws, the command is cleaned up first.  An
 * interrupt that ends the backend does not come back here; the exit callback
 * does that then.
 */
static void
check_interrupts(SmConn *conn, SmWatch *watch, const char *sql)
{
	MemoryContext cxt = CurrentMemoryContext;
	ErrorData  *volatile edata = NULL;

	PG_TRY();
	{
		CHECK_FOR_INTERRUPTS();
		if (watch != NULL)
			sm_deadlock_check(conn, watch, sql);
	}
	PG_CATCH();
	{
		edata = sm_error_catch(cxt);
	}
	PG_END_TRY();

	if (edata != NULL)
	{
		if (watch != NULL)
			sm_deadlock_end(watch);
		give_up(conn, sql, psprintf("%s.", edata->message ? edata->message : "interrupted"));
		sm_error_rethrow(edata);
	}
}

static void
report_timeout(SmConn *conn, const char *sql)
{
	if (conn->connected_at == 0)
		report_connect_timeout(conn);
	give_up(conn, sql, "Its timeout came.");
	sm_report_timeout(conn, sql);
}

/* The command was given up for its timeout, and had no effect. */
void
sm_report_timeout(SmConn *conn, const char *sql)
{
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("canceling statement on \"%s\" due to its timeout",
					conn->endpoint->label),
			 sm_report_context(conn->endpoint, sql)));
}

/* Its deadline has come: has all been read that had arrived by then? */
static bool
is_late(SmConn *conn)
{
	TimestampTz now = GetCurrentTimestamp();

	if (conn->command.late_reads++ == 0)
		conn->command.late_since = now;
	return conn->command.late_reads > SM_MAX_LATE ||
		TimestampDifferenceExceeds(conn->command.late_since, now, MAX_LATE_MS);
}

/*
 * Wait until the socket is ready.  Throws for interrupts and deadlocks; false:
 * the deadline came.
 *
 * Whoever comes after the deadline may find an answer that came in time, and
 * reads on as long as there is something, but not for ever.
 */
static bool
wait_ready(SmConn *conn, uint32 events, const char *sql, TimestampTz deadline)
{
	WaitEvent	event;
	SmWatch		watch = {0};
	bool		ready = false;
	long		timeout = sm_remaining(deadline);

	if (unlikely(timeout == 0) && is_late(conn))
		return false;
	sm_set_wait_events(conn, events);
	for (;; timeout = sm_remaining(deadline))
	{
		long		round = sm_client_round(sm_deadlock_round(conn, &watch, timeout));
		int			n = WaitEventSetWait(conn->waitset, round, &event, 1, sm_wait_command);

		sm_client_check();
		ready = n == 1 && (event.events & WL_LATCH_SET) == 0;
		if (ready)
			break;
		if (n == 1)
			ResetLatch(MyLatch);
		check_interrupts(conn, &watch, sql);
		/* but the latch may be the only event that was reported */
		if (timeout == 0 && n == 0)
			break;
	}
	sm_deadlock_end(&watch);
	return ready;
}

/* Wait until the socket is ready; false: the deadline came. */
bool
sm_remote_wait_ready(SmConn *conn, uint32 events, const char *sql, TimestampTz deadline)
{
	return wait_ready(conn, events, sql, deadline);
}

static void
wait_socket(SmConn *conn, uint32 events, const char *sql, TimestampTz deadline)
{
	if (!wait_ready(conn, events, sql, deadline))
		report_timeout(conn, sql);
}

/*
 * For those who read and write the connection in other ways than below: wait
 * for one of the events, or, if there is none, only check the deadline.
 */
void
sm_remote_wait(SmConn *conn, uint32 events, const char *sql, TimestampTz deadline)
{
	if (events != 0)
		wait_socket(conn, events, sql, deadline);
	else if (sm_remaining(deadline) == 0)
		report_timeout(conn, sql);
}

/*
 * A command is about to be sent.  commits: it takes effect for good by itself,
 * so that losing sight of it must be told.
 */
void
sm_remote_begin(SmConn *conn, bool commits)
{
	if (conn->state == SM_CONN_DEAD)
	{
		/* a clean-up just before has dropped it, perhaps for an interrupt */
		CHECK_FOR_INTERRUPTS();
		if (conn->fault.fatal_message != NULL || conn->fault.violation != NULL ||
			PQstatus(conn->pg) != CONNECTION_OK)
			sm_report_lost(conn, NULL);
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("connection to \"%s\" was lost", conn->endpoint->label),
				 errdetail("The target did not answer in time when its transaction was rolled back.")));
	}
	if (conn->state != SM_CONN_READY)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a statement on \"%s\" is still being read",
						conn->endpoint->label),
				 errhint("Use another session, or read all rows first.")));
	conn->command.commits = commits;
	if (conn->remote.discard == SM_DISCARD_USELESS)
		conn->remote.discard = SM_DISCARD_USEFUL;
	conn->command.completed = false;
	conn->command.answered = false;
	conn->command.failed = false;
	conn->command.answers_left = 1;
	conn->command.ended = 0;
	conn->command.expected = 1;
	conn->command.copy = -1;
	conn->command.late_reads = 0;
	PQclear(conn->error);
	conn->error = NULL;
	conn->command.unsent = true;
	conn->command.error_elsewhere = false;
	conn->command.simple_copy = false;
	conn->bulk.active = false;
	conn->checkout.subid = GetCurrentSubTransactionId();
	conn->statements++;
	sm_conn_set_state(conn, SM_CONN_BUSY);
}

/*
 * After PQsend... calls, whose result is "sent": get all of it onto the wire,
 * or, with wait false, as much of it as goes now.
 */
void
sm_remote_sent(SmConn *conn, int sent, bool wait, const char *sql, TimestampTz deadline)
{
	int			left;

	if (!sent)
	{
		/* libpq refused, perhaps with half of the messages in its buffer */
		sm_conn_set_state(conn, SM_CONN_DEAD);
		if (PQstatus(conn->pg) != CONNECTION_OK)
			sm_report_lost(conn, sql);
		ereport(ERROR,
				(errcode(sm_is_no_memory(PQerrorMessage(conn->pg)) ? ERRCODE_OUT_OF_MEMORY :
						 ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("could not send a statement to \"%s\"", conn->endpoint->label),
				 errdetail_internal("%s", sm_report_text(PQerrorMessage(conn->pg)))));
	}

	while ((left = PQflush(conn->pg)) == 1 && wait)
	{
		/* the server may want to be heard before it goes on reading */
		wait_socket(conn, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, sql, deadline);
		if (!PQconsumeInput(conn->pg))
			break;
	}

	/* after a failure libpq reports what it last heard when results are read */
	conn->command.unsent = (left != 0);
}

/* Nobody here wants notifications, but libpq keeps them until they are taken. */
static void
drop_notifications(SmConn *conn)
{
	PGnotify   *notify;

	while ((notify = PQnotifies(conn->pg)) != NULL)
	{
		PQfreemem(notify);
		conn->not_for_reuse = true;
	}
}

/* The command on the wire, or the last one of a pipeline, was read to its end. */
static void
end_command(SmConn *conn, bool good)
{
	drop_notifications(conn);
	sm_conn_set_state(conn, good && PQstatus(conn->pg) == CONNECTION_OK ?
					  SM_CONN_READY : SM_CONN_DEAD);
	/* what has come after it must not be taken for the next answer */
	if (conn->state == SM_CONN_READY && (PQisBusy(conn->pg) || conn->fault.ending))
		sm_conn_set_state(conn, SM_CONN_DEAD);
}

/*
 * The target has broken the protocol: nothing more is read from it.  An error
 * without a state says so to whoever reads the command on the wire.
 */
static void
end_violated(SmConn *conn, const char *how)
{
	/* what libpq had no memory for is missing, too */
	if (sm_is_no_memory(PQerrorMessage(conn->pg)))
		conn->fault.broken = true;
	if (!conn->fault.broken)
		conn->fault.violation = how;
	PQclear(conn->result);
	conn->result = PQmakeEmptyPGresult(conn->pg, PGRES_BAD_RESPONSE);
	sm_conn_set_state(conn, SM_CONN_DEAD);
}

/*
 * May this result come next?  A command has one answer (several in one message
 * have theirs), and after it an error at most, as when its commit fails.
 */
static bool
is_legal(SmConn *conn)
{
	switch (PQresultStatus(conn->result))
	{
		case PGRES_COMMAND_OK:
		case PGRES_TUPLES_OK:
		case PGRES_EMPTY_QUERY:
			if (conn->command.answers_left-- <= 0)
			{
				end_violated(conn, "It has answered twice.");
				return false;
			}
			conn->command.answered = true;
			return true;
		case PGRES_COPY_IN:
		case PGRES_COPY_OUT:
			if (conn->command.ended == conn->command.copy && !conn->command.answered)
				return true;
			end_violated(conn, "It began a COPY that was not asked for.");
			return false;
		case PGRES_COPY_BOTH:
			end_violated(conn, "It began a COPY that was not asked for.");
			return false;
		case PGRES_FATAL_ERROR:
		case PGRES_BAD_RESPONSE:
		case PGRES_PIPELINE_ABORTED:
			conn->command.answered = true;
			return true;
		default:
			/* a row of the answer */
			if (conn->command.answers_left > 0)
				return true;
			end_violated(conn, "It has answered twice.");
			return false;
	}
}

/*
 * libpq has read a command's last result.  In a pipeline that is the end of
 * one of several: on to the next, if there is one.
 */
static bool
next_of_pipeline(SmConn *conn)
{
	if (PQpipelineStatus(conn->pg) == PQ_PIPELINE_OFF || conn->command.syncs == 0 ||
		PQstatus(conn->pg) != CONNECTION_OK)
		return false;
	conn->command.ended++;
	conn->command.answered = false;
	conn->command.answers_left = 1;
	(void) PQsetSingleRowMode(conn->pg);
	return true;
}

/*
 * Is conn->result an error of libpq's own, on a connection that is not lost?
 * Memory is out, then, and it may stand for anything that was read: a sync of a
 * pipeline that would be waited for in vain, or what ends a command.
 */
bool
sm_remote_is_broken(SmConn *conn)
{
	if (PQresultStatus(conn->result) == PGRES_FATAL_ERROR &&
		PQresultErrorField(conn->result, PG_DIAG_SQLSTATE) == NULL &&
		PQstatus(conn->pg) == CONNECTION_OK)
		conn->fault.broken = true;
	return conn->fault.broken;
}

/*
 * Is libpq busy with what it has already read, and had no memory for?  It would
 * wait for that for ever.
 */
bool
sm_remote_is_stuck(SmConn *conn)
{
	const char *error = PQerrorMessage(conn->pg);

	if (unlikely(error[0] != '\0') && sm_is_no_memory(error))
		conn->fault.broken = true;
	return conn->fault.broken;
}

/* conn->result is the sync of a pipeline.  False: there is another one to come. */
static bool
take_sync(SmConn *conn)
{
	PQclear(conn->result);
	conn->result = NULL;
	if (--conn->command.syncs > 0)
		return false;
	if (conn->command.ended != conn->command.expected)
	{
		end_violated(conn, "It is ready for more, and has not answered.");
		return true;
	}
	conn->fault.broken = !PQexitPipelineMode(conn->pg) && PQstatus(conn->pg) == CONNECTION_OK;
	end_command(conn, !conn->fault.broken);
	return true;
}

/*
 * PQgetResult(), which would wait while libpq is busy.  If its socket is closed,
 * what has happened is the last result.
 */
static bool
take(SmConn *conn, bool readable)
{
	PGconn	   *pg = conn->pg;

	PQclear(conn->result);
	conn->result = NULL;
	/* nothing more is to be heard from who has broken the protocol */
	if (unlikely(conn->state == SM_CONN_DEAD))
		return true;
	if (unlikely(conn->fault.broken))
	{
		end_command(conn, false);
		return true;
	}
	for (;;)
	{
		if (PQisBusy(pg) && readable && PQsocket(pg) != PGINVALID_SOCKET)
		{
			drop_notifications(conn);
			if (!sm_remote_is_stuck(conn))
				return false;
			end_command(conn, false);
			return true;
		}
		if (unlikely(PQsocket(pg) == PGINVALID_SOCKET && PQisBusy(pg)))
		{
			/* PQgetResult() would only add that it has no socket to wait for */
			conn->result = PQmakeEmptyPGresult(pg, PGRES_FATAL_ERROR);
			end_command(conn, false);
			return true;
		}
		/* in a pipeline libpq forgets that it had no memory for an answer */
		if (conn->command.syncs > 0 && !conn->command.answered)
			(void) sm_remote_is_stuck(conn);
		conn->result = PQgetResult(pg);
		if (likely(conn->result != NULL))
		{
			ExecStatusType status = PQresultStatus(conn->result);

			if (likely(status == PGRES_SINGLE_TUPLE && !conn->command.answered))
				return true;
			if (status != PGRES_PIPELINE_SYNC)
			{
				if (unlikely(status == PGRES_FATAL_ERROR))
					(void) sm_remote_is_broken(conn);
				(void) is_legal(conn);
				return true;
			}
			if (take_sync(conn))
				return true;
			continue;
		}
		if (next_of_pipeline(conn))
		{
			if (likely(conn->command.ended <= conn->command.expected))
				continue;
			end_violated(conn, "It has answered twice.");
			return true;
		}
		if (PQpipelineStatus(pg) == PQ_PIPELINE_OFF && !conn->command.answered &&
			PQstatus(pg) == CONNECTION_OK)
			end_violated(conn, "It is ready for more, and has not answered.");
		else
			end_command(conn, PQpipelineStatus(pg) == PQ_PIPELINE_OFF);
		return true;
	}
}

/*
 * Take the next result of what is on the wire, if it has arrived: false if
 * not.  It is conn->result, owned by the connection until the next call, or
 * NULL at the end, and the connection is READY then, or DEAD.  A lost
 * connection appears as an error result, as in libpq.  Of a pipeline, the
 * results of its commands come one after the other, and conn->command.ended says of
 * which they are.  Also sends what could not be sent so far, and reads what
 * the socket has.
 */
bool
sm_remote_take(SmConn *conn)
{
	if (unlikely(conn->command.unsent))
		conn->command.unsent = (PQflush(conn->pg) != 0);
	if (take(conn, true))
		return true;
	return take(conn, PQconsumeInput(conn->pg));
}

/*
 * Take the next result as sm_remote_take() does, but wait for it.  Throws for
 * interrupts and the deadline, after the command was cleaned up.
 */
PGresult *
sm_remote_next(SmConn *conn, const char *sql, TimestampTz deadline)
{
	bool		readable = true;

	if (unlikely(InterruptPending))
	{
		PQclear(conn->result);
		conn->result = NULL;
		check_interrupts(conn, NULL, sql);
	}
	while (!take(conn, readable))
	{
		wait_socket(conn, WL_SOCKET_READABLE, sql, deadline);
		readable = PQconsumeInput(conn->pg);
	}
	return conn->result;
}

/*
 * Take the current result, an error, aside: the command's end is still to be
 * read before it can be raised.  *error keeps the most telling one.
 */
void
sm_remote_keep_error(SmConn *conn, PGresult **error)
{
	sm_keep_fatal_message(conn, conn->result);
	/* with a state: the server's word that nothing was done */
	if (PQresultErrorField(conn->result, PG_DIAG_SQLSTATE) != NULL &&
		!sm_error_is_fatal(conn->result))
		conn->command.failed = true;
	sm_chain_failed(conn, PQresultErrorField(conn->result, PG_DIAG_SQLSTATE));
	if (*error == NULL ||
		PQresultErrorField(*error, PG_DIAG_SQLSTATE) == NULL)
	{
		PQclear(*error);
		*error = conn->result;
		conn->result = NULL;
	}
}

/*
 * A command ended with an error result: raise it, and tell truly what may have
 * become of the command.  Frees error.
 *
 * A server that ends a session says why (57P01 and the like) and then closes.
 * An autocommit statement commits after its CommandComplete was put in line;
 * so, unless that was seen, a session that the server itself has ended in this
 * way has not committed (but for what a procedure has committed by itself).  A
 * crashing server (57P02) says it at any point, and promises nothing; nor does a
 * proxy.  An error without a state is libpq's own, or about a breach of the
 * protocol: the statement may still be running.
 */
void
sm_remote_raise(SmConn *conn, PGresult *error, const char *sql, bool is_commit)
{
	const char *code = PQresultErrorField(error, PG_DIAG_SQLSTATE);
	bool		lost = PQstatus(conn->pg) != CONNECTION_OK || sm_error_is_fatal(error);
	bool		ended = lost || conn->state == SM_CONN_DEAD;

	if (ended && conn->state != SM_CONN_DEAD)
		sm_conn_set_state(conn, SM_CONN_DEAD);
	if (conn->command.commits && !conn->command.unsent &&
		(code == NULL ||
		 (ended && (conn->command.completed || !sm_error_promises(error, is_commit)))))
	{
		char	   *why = sm_report_cause(conn, error);

		PQclear(error);
		sm_conn_set_state(conn, SM_CONN_DEAD);
		sm_report_unknown(conn, sql,
						  psprintf("%s while it was on its way: %s",
								   lost ? "The connection was lost" : "Its answer was lost",
								   why));
	}
	if (code == NULL)
	{
		PQclear(error);
		if (lost)
			sm_report_lost(conn, sql);
		sm_report_violation(conn, sql);
	}
	sm_report_result(conn, error, sql,
					 sm_statement_hint(conn, sql, sm_sqlstate(code), sm_error_position(conn, error)));
}

/* Several commands as one message has them. */
char *
sm_commands_join(const List *commands)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, commands)
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? "; " : "", (const char *) lfirst(lc));
	return buf.data;
}

/*
 * Send commands that return nothing, each in a message of its own, as DISCARD
 * ALL must be, but all at once.
 */
void
sm_remote_commands_send(SmConn *conn, const List *commands, bool wait, TimestampTz deadline)
{
	bool		sent;
	ListCell   *lc;

	sm_remote_begin(conn, false);
	sent = PQenterPipelineMode(conn->pg);
	foreach(lc, commands)
		sent = sent && PQsendQueryParams(conn->pg, lfirst(lc), 0, NULL, NULL, NULL, NULL, 0);
	sent = sent && PQpipelineSync(conn->pg);
	conn->command.syncs = 1;
	conn->command.expected = list_length(commands);
	sm_remote_sent(conn, sent, wait, linitial(commands), deadline);
}

/* Have libpq send commands in one message; each may have an answer. */
int
sm_remote_send_commands(SmConn *conn, const char *sql)
{
	for (const char *p = sql; (p = strchr(p, ';')) != NULL; p++)
		conn->command.answers_left++;
	return PQsendQuery(conn->pg, sql);
}

/* Send one or more commands that return nothing, in one message. */
void
sm_remote_command_send(SmConn *conn, const char *sql, bool commits, TimestampTz deadline)
{
	sm_remote_begin(conn, commits);
	sm_remote_sent(conn, sm_remote_send_commands(conn, sql), true, sql, deadline);
}

/*
 * What a transaction ends with must say so: COMMIT is not done because something
 * else is.  A transaction that has failed answers to it with ROLLBACK.
 */
static void
check_ended(SmConn *conn, const char *sql, const char *tag)
{
	if (sm_is_tag_of(tag, sql) && PQtransactionStatus(conn->pg) == PQTRANS_IDLE)
		return;
	if (strcmp(tag, "ROLLBACK") == 0 && PQtransactionStatus(conn->pg) == PQTRANS_IDLE)
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction on \"%s\" had failed and was rolled back",
						conn->endpoint->label),
				 sm_report_context(conn->endpoint, sql)));
	sm_conn_set_state(conn, SM_CONN_DEAD);
	sm_report_unknown(conn, sql, "Its answer was lost while it was on its way: "
					  "It has answered something else.");
}

/*
 * Read what they say; returns the error result, the caller's to free, if any, and
 * else the last one's tag, for which there is room of COMPLETION_TAG_BUFSIZE.
 */
static PGresult *
read_command(SmConn *conn, const char *sql, char *tag, TimestampTz deadline)
{
	PGresult   *volatile error = NULL;

	PG_TRY();
	{
		PGresult   *res;
		PGresult   *kept = NULL;

		while ((res = sm_remote_next(conn, sql, deadline)) != NULL)
		{
			if (PQresultStatus(res) != PGRES_COMMAND_OK &&
				PQresultStatus(res) != PGRES_TUPLES_OK &&
				PQresultStatus(res) != PGRES_EMPTY_QUERY)
				sm_remote_keep_error(conn, &kept);
			else
				snprintf(tag, COMPLETION_TAG_BUFSIZE, "%s", PQcmdStatus(res));
			error = kept;
		}
	}
	PG_CATCH();
	{
		PQclear(error);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return error;
}

/* The end of sm_remote_command_send(): raises the error and the notices. */
void
sm_remote_command_finish(SmConn *conn, const char *sql, bool commits, TimestampTz deadline)
{
	char		tag[COMPLETION_TAG_BUFSIZE] = "";
	PGresult   *error = read_command(conn, sql, tag, deadline);

	sm_notices_report(conn);
	if (error != NULL)
		sm_remote_raise(conn, error, sql, commits);
	if (commits)
		check_ended(conn, sql, tag);
}

/* Make the server forget a prepared statement; returns the error result, too. */
PGresult *
sm_remote_close_statement(SmConn *conn, const char *name, TimestampTz deadline)
{
	const char *sql = psprintf("DEALLOCATE %s", name);
	char		tag[COMPLETION_TAG_BUFSIZE];

	sm_remote_begin(conn, false);
	sm_remote_sent(conn, sm_send_close(conn->pg, name), true, sql, deadline);
	return read_command(conn, sql, tag, deadline);
}

/*
 * An empty statement there and back: begin.  Throws nothing; the connection may
 * be DEAD afterwards.
 */
void
sm_remote_ping(SmConn *conn, TimestampTz deadline)
{
	sm_remote_begin(conn, false);
	conn->attempt.deadline = deadline;
	if (!PQsendQuery(conn->pg, ""))
		sm_conn_set_state(conn, SM_CONN_DEAD);
}

/*
 * Go on with it, and wait for its end if told so.  True: it is READY, or DEAD
 * because the connection was lost or has not answered in time.  Throws only
 * for interrupts.
 */
bool
sm_remote_ping_poll(SmConn *conn, bool wait)
{
	for (int i = 0; conn->state == SM_CONN_BUSY; i++)
	{
		if (i < SM_MAX_UNASKED && sm_remote_take(conn))
			continue;
		if (i >= SM_MAX_UNASKED || sm_remaining(conn->attempt.deadline) == 0 ||
			(wait && !wait_ready(conn, WL_SOCKET_READABLE, "", conn->attempt.deadline)))
			sm_conn_set_state(conn, SM_CONN_DEAD);
		else if (!wait)
			return false;
	}
	sm_notices_forget(conn);
	return true;
}

/*-------------------------------------------------------------------------
 *
 * async.c
 *		Statements that are sent now and received later.
 *
 * A session has at most one, session->sent, and meanwhile nothing else can be
 * done in it but to receive it, to cancel it, or to give it up.  All that it
 * needs is a copy in a memory context of its own; its rows stay with the
 * target until they are received.
 *
 * Where the session has no transactions, the statement is alone: it commits by
 * itself, on a connection that the session holds only until it is received.
 *
 * Whatever ends the session's transaction stops the statement, too (xact.c,
 * session.c); sm_session_forget_sent() then frees it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "miscadmin.h"
#include "utils/memutils.h"

/* Check a connection out for it, send it, and leave it there. */
static void
send_it(SmSession *session, SmSent *sent)
{
	SmStatement *statement = &sent->xstmt.statement;
	SmConn	   *conn;

	statement->one_round_trip = true;
	if (sent->own_transaction)
	{
		conn = sm_pool_checkout(session->engine);
		statement->autocommit = true;
		statement->defaults = &session->options;
	}
	else
	{
		sm_xact_statement_enter(session, &sent->xstmt, NULL);
		conn = session->conn;
	}
	session->engine->driver->start(sent->run, conn, statement, NULL, true);
	sm_run_leave(sent->run);
	if (sent->own_transaction)
	{
		sm_checkout(conn)->session = session;
		session->conn = conn;
	}
}

static void
send_in(SmSession *session, uint64 sender, const char *sql, const SmParams *params)
{
	MemoryContext cxt;
	MemoryContext old;
	SmSent	   *sent;

	if (session->engine->driver->start == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("statements cannot be sent to \"%s\" and received later",
						session->engine->endpoint.label),
				 errdetail("This target runs inside the caller's transaction.")));
	cxt = AllocSetContextCreate(TopMemoryContext, "sessmgr sent statement",
								ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	sent = palloc0(sizeof(SmSent));
	sent->cxt = cxt;
	sent->run = sm_run_make();
	sent->sender = sender;
	sent->own_transaction = sm_session_begins_none(session);
	session->running++;
	PG_TRY();
	{
		sent->xstmt.statement.sql = pstrdup(sql);
		sent->xstmt.statement.params = sm_params_copy(params);
		send_it(session, sent);
	}
	PG_CATCH();
	{
		session->running--;
		if (!sent->own_transaction)
			sm_xact_statement_failed(session, &sent->xstmt);
		MemoryContextDelete(cxt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	session->running--;
	sm_session_set_sent(session, sent);
}

/*
 * Send a statement without waiting for its answer.  The parameters are not
 * needed any more when this returns.
 */
void
sm_session_send(SmSession *session, const char *sql, const SmParams *params)
{
	send_in(sm_session_enter(session), session->id, sql, params);
}

/* ----------
 * Looking and waiting
 * ----------
 */

/*
 * Would receiving it have to wait?  Not if its first row or its end is there,
 * nor if its time is over.
 */
static bool
busy(SmSession *session)
{
	SmSent	   *sent = session->sent;

	return sent != NULL && !sm_run_peek(sent->run) && sm_remaining(sm_run_deadline(sent->run)) != 0;
}

bool
sm_session_is_busy(SmSession *session)
{
	return busy(sm_session_unit_of_sent(session));
}

/* The first of these sessions that has something to receive, or -1. */
static int
find_ready(SmSession **sessions, int n, bool *any)
{
	*any = false;
	for (int i = 0; i < n; i++)
	{
		*any |= sessions[i]->sent != NULL;
		if (sessions[i]->sent != NULL && !busy(sessions[i]))
			return i;
	}
	return -1;
}

/*
 * Raise 40P01 if none of them can ever be ready.  If there are several, it
 * takes all of them to keep this backend waiting, so that others cannot be
 * told that it waits for each.
 */
static void
check_sent_for_deadlock(SmSession **sessions, int n, SmWatch *watch)
{
	char	   *detail = NULL;
	SmSession  *blocked = NULL;

	if (!sm_deadlock_due(watch))
		return;
	for (int i = 0; i < n; i++)
	{
		if (sessions[i]->sent == NULL)
			continue;
		detail = sm_deadlock_find(sessions[i]->conn, watch, n == 1);
		if (detail == NULL)
			return;
		blocked = sessions[i];
	}
	sm_deadlock_end(watch);
	sm_deadlock_report(blocked->conn, detail, blocked->sent->xstmt.statement.sql);
}

/*
 * Wait until one of the sessions has something to receive: which one, or -1 if
 * the deadline comes, or if none has been sent anything.  Throws for interrupts
 * and deadlocks; what was sent goes on.
 */
static int
wait_for_any_sent(SmSession **sessions, int n, TimestampTz deadline, SmWaits *waits,
				  SmWatch *watch)
{
	int			found;
	bool		any;

	while ((found = find_ready(sessions, n, &any)) < 0 && any)
	{
		TimestampTz until = deadline;
		long		timeout;

		sm_waits_clear(waits);
		for (int i = 0; i < n; i++)
		{
			SmSession  *session = sessions[i];

			if (session->sent == NULL)
				continue;
			until = Min(until, sm_run_deadline(session->sent->run));
			sm_waits_add(waits, i, sm_remote_socket(session->conn), sm_remote_events(session->conn));
		}
		timeout = sm_remaining(until);
		if (timeout == 0)
		{
			if (until == deadline)
				break;
			continue;
		}
		sm_waits_wait(waits, sm_client_round(sm_deadlock_wait(watch, timeout)), sm_wait_command);
		sm_client_check();
		CHECK_FOR_INTERRUPTS();
		check_sent_for_deadlock(sessions, n, watch);
	}
	sm_deadlock_end(watch);
	return found;
}

/* wait_for_any_sent(), with the set of sockets that it needs. */
static int
wait_in_set(SmSession **sessions, int n, TimestampTz deadline)
{
	SmWaits		waits;
	SmWatch		watch = {0};
	volatile int found = -1;

	sm_waits_init(&waits, n);
	PG_TRY();
	{
		found = wait_for_any_sent(sessions, n, deadline, &waits, &watch);
	}
	PG_FINALLY();
	{
		sm_waits_free(&waits);
	}
	PG_END_TRY();
	return found;
}

/* One that is named twice is waited for once: a wait set has each socket once. */
static int
leave_out_repeated(SmSession **sessions, int n)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		bool		seen = false;

		for (int j = 0; j < kept && !seen; j++)
			seen = sessions[j] == sessions[i];
		if (!seen)
			sessions[kept++] = sessions[i];
	}
	return kept;
}

/*
 * Wait until one of the sessions has something to receive.  Returns it, or NULL
 * as above; changes the array.
 */
SmSession *
sm_sessions_wait_any(SmSession **sessions, int n, TimestampTz deadline)
{
	SmSession **units = palloc(Max(n, 1) * sizeof(SmSession *));
	int			found;

	n = leave_out_repeated(sessions, n);
	for (int i = 0; i < n; i++)
		units[i] = sm_session_unit_of_sent(sessions[i]);
	found = wait_in_set(units, n, deadline);
	return found < 0 ? NULL : sessions[found];
}

/* ----------
 * Receiving
 * ----------
 */

/* It was received, or cannot be: the session is free again.  Never throws. */
static void
forget_received(SmSession *session)
{
	SmSent	   *sent = session->sent;

	sm_session_set_sent(session, NULL);
	MemoryContextDelete(sent->cxt);
}

/*
 * In PG_CATCH(): receiving it has failed, and the session is free again.  If it is
 * alone, and the error is not about the statement itself, tells what became of it.
 */
static void
failed(SmSession *session, MemoryContext cxt)
{
	SmSent	   *sent = session->sent;
	SmEngine   *engine = session->engine;
	const char *sql = MemoryContextStrdup(cxt, sent->xstmt.statement.sql);
	SmOutcome	outcome;
	bool		tell = sm_effects_learn(session->conn, &outcome);

	sm_session_set_sent(session, NULL);
	if (sent->own_transaction)
		sm_session_forget_transaction(session, SM_FROM_NOW);
	else
	{
		sm_xact_statement_failed(session, &sent->xstmt);
		sm_session_note_loss(session);
	}
	MemoryContextDelete(sent->cxt);
	if (tell)
		sm_effects_tell(engine, sql, outcome, cxt);
}

/* Run it to its end; *rows: it has returned rows, or none of them. */
static uint64
receive_it(SmSession *session, SmSink *sink, SmStatementKind *kind, bool *rows)
{
	SmSent	   *sent = session->sent;
	SmRun	   *run = sent->run;
	uint64		count;

	sm_run_attach(run, sink);
	(void) sm_run_advance(run);
	count = sm_run_finish(run, kind);
	if (*kind == SM_KIND_STALE)
	{
		MemoryContext old = MemoryContextSwitchTo(sent->cxt);

		sm_xact_statement_again(session, &sent->xstmt);
		session->engine->driver->start(run, session->conn, &sent->xstmt.statement, sink,
									   true);
		MemoryContextSwitchTo(old);
		(void) sm_run_advance(run);
		count = sm_run_finish(run, kind);
	}
	*rows = sm_run_had_rows(run);
	return count;
}

static void
check_sent(const SmSession *session)
{
	if (session->sent == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nothing was sent in this session on \"%s\"",
						session->engine->endpoint.label),
				 errhint("Call sessmgr.send() first. What was sent in a local subtransaction that was rolled back is gone.")));
	if (session->running > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a statement of this session on \"%s\" is still running",
						session->engine->endpoint.label)));
}

static uint64
receive_in(SmSession *session, SmSink *sink, bool *rows)
{
	MemoryContext cxt = CurrentMemoryContext;
	SmConn	   *conn;
	SmStatementKind kind = SM_KIND_ORDINARY;
	volatile uint64 count = 0;
	bool		own_transaction;

	check_sent(session);
	conn = session->conn;
	own_transaction = session->sent->own_transaction;
	session->used = true;
	/* whatever is given up from here on belongs to this subtransaction */
	sm_checkout(conn)->subid = GetCurrentSubTransactionId();
	session->running++;
	PG_TRY();
	{
		count = receive_it(session, sink, &kind, rows);
	}
	PG_CATCH();
	{
		session->running--;
		failed(session, cxt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	session->running--;
	forget_received(session);
	if (own_transaction)
	{
		session->conn = NULL;
		sm_checkout(conn)->session = NULL;
		sm_own_transaction_ended(conn, kind);
	}
	else
		sm_session_check_transaction(session, kind);
	return count;
}

/*
 * Wait for what was sent and feed its rows to sink, whose shape is declared.
 * Returns how many rows it affected or returned; *rows tells whether it is a
 * statement that returns rows.  Throws its error.
 */
uint64
sm_session_receive(SmSession *session, SmSink *sink, bool *rows)
{
	return receive_in(sm_session_unit_of_sent(session), sink, rows);
}

/* ----------
 * Canceling
 * ----------
 */

/* It has not even answered that: nothing more is known of it. */
static void
report_no_answer(SmSession *session)
{
	SmSent	   *sent = session->sent;
	SmConn	   *conn = session->conn;
	SmEngine   *engine = session->engine;
	char	   *sql = pstrdup(sent->xstmt.statement.sql);
	bool		own_transaction = sent->own_transaction;

	forget_received(session);
	sm_conn_set_state(conn, SM_CONN_DEAD);
	if (own_transaction)
		sm_session_forget_transaction(session, SM_FROM_NOW);
	else
		sm_session_note_loss(session);
	ereport(ERROR,
			(errcode(own_transaction ? ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN : ERRCODE_CONNECTION_FAILURE),
			 own_transaction ?
			 errmsg("the outcome of a statement on \"%s\" is not known", engine->endpoint.label) :
			 errmsg("connection to \"%s\" was dropped", engine->endpoint.label),
			 errdetail("The target has not answered a cancel within cleanup_timeout."),
			 sm_report_context(&engine->endpoint, sql)));
}

/*
 * Cancel what was sent, if it has not ended yet.  True: it was canceled, and
 * receiving it raises 57014; or its rows are already on their way, and so it
 * does unless all of them were sent.
 */
bool
sm_session_cancel(SmSession *session)
{
	SmSent	   *sent;
	SmConn	   *conn;
	TimestampTz deadline;
	bool		asked;
	bool		answered;

	session = sm_session_unit_of_sent(session);
	sent = session->sent;
	conn = session->conn;

	if (sent == NULL)
		return false;
	check_sent(session);
	session->used = true;
	if (sm_run_peek(sent->run) &&
		(sm_conn_state(conn) != SM_CONN_BUSY || !sm_run_has_rows(sent->run)))
		return false;

	deadline = sm_deadline(session->engine->endpoint.options.cleanup_timeout);
	/* its own timeout must not come before the answer */
	sm_run_extend(sent->run, deadline);
	do
	{
		asked = sm_remote_cancel(conn, deadline);
		answered = asked &&
			sm_sessions_wait_any(&session, 1, sm_cancel_patience(deadline)) != NULL;
	} while (asked && !answered && sm_remaining(deadline) != 0);
	if (!answered || !sm_run_peek(sent->run))
		report_no_answer(session);
	return sm_run_has_rows(sent->run) || sm_run_is_canceled(sent->run);
}

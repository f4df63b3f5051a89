/*-------------------------------------------------------------------------
 *
 * commit.c
 *		What is bound to the local transaction commits with it.
 *
 * Before the local commit, two-phase sessions are prepared, and only when all
 * of them are, joined ones commit; each step on all targets at a time.  An
 * error here aborts the local transaction, and xact.c then rolls back what is
 * still to be rolled back.  After the local commit, what was prepared commits,
 * and nothing may fail any more.
 *
 * Errors tell the truth about joined transactions: if some have committed, or
 * may have, and others have not, that is 08007, whatever the first error was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/predicate.h"
#include "utils/timeout.h"

/* A session whose transaction is to end with a command. */
typedef struct Ending
{
	SmSession  *session;
	ErrorData  *error;
	SmOutcome	outcome;		/* of the command */
	bool		stopped;		/* because another one failed */
} Ending;

typedef void (*Step) (SmSession *session, TimestampTz deadline);

/* Joined sessions have committed, and the local transaction has not yet. */
static bool cancels_held = false;

/* ----------
 * Before the local commit
 * ----------
 */

/* The transaction of a session that is to commit must still be there. */
static void
check_ready(SmSession *session)
{
	const SmDriver *driver = session->engine->driver;

	if (session->sent != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a statement that is part of this transaction was sent to \"%s\" and is not received yet",
						session->engine->endpoint.label)));
	if (session->state == SM_SESSION_ACTIVE && sm_conn_state(session->conn) != SM_CONN_DEAD)
		sm_streams_buffer(session->conn,
						  sm_deadline(session->engine->endpoint.options.commit_timeout));
	/* on a dead connection COMMIT would leave an unknown outcome behind */
	if (session->state == SM_SESSION_ACTIVE && sm_conn_state(session->conn) == SM_CONN_READY &&
		!driver->alive(session->conn))
		sm_conn_set_state(session->conn, SM_CONN_DEAD);
	sm_session_note_loss(session);
	if (session->state == SM_SESSION_LOST)
		ereport(ERROR,
				(errcode(session->ended ? ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN :
						 ERRCODE_CONNECTION_FAILURE),
				 errmsg("the transaction on \"%s\" that is part of this one is lost",
						session->engine->endpoint.label),
				 errdetail_internal("%s", sm_session_loss(session))));
	if (session->state == SM_SESSION_ACTIVE &&
		driver->status(session->conn) == SM_TRANSACTION_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction on \"%s\" that is part of this one has failed",
						session->engine->endpoint.label)));
}

/* The sessions of a mode that have a transaction. */
static int
collect_endings(SmTxnMode mode, Ending **endings)
{
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &sm_sessions)
		n++;
	*endings = palloc0(Max(n, 1) * sizeof(Ending));
	n = 0;
	dlist_foreach(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (sm_session_bound(session) && session->options.transaction == (int) mode &&
			session->state == SM_SESSION_ACTIVE)
			(*endings)[n++].session = session;
	}
	return n;
}

/* When the slowest of them must have ended. */
static TimestampTz
commit_deadline(const Ending *endings, int n)
{
	int			timeout = 1;

	for (int i = 0; i < n; i++)
		timeout = Max(timeout, endings[i].session->engine->endpoint.options.commit_timeout);
	return sm_deadline(timeout);
}

/* Do one step, keeping its error; false if there was one. */
static bool
attempt(Ending *ending, Step step, TimestampTz deadline)
{
	MemoryContext cxt = CurrentMemoryContext;

	PG_TRY();
	{
		step(ending->session, deadline);
	}
	PG_CATCH();
	{
		ending->error = sm_error_catch(cxt);
	}
	PG_END_TRY();
	return ending->error == NULL;
}

static void
send_step(SmSession *session, TimestampTz deadline)
{
	session->engine->driver->command_send(session->conn, session->command,
										  SM_COMMAND_COMMIT, deadline);
}

static void
finish_step(SmSession *session, TimestampTz deadline)
{
	session->engine->driver->command_finish(session->conn, session->command,
											SM_COMMAND_COMMIT, deadline);
}

/* One has failed: the others shall not commit either, if that can be helped. */
static void
stop_others(Ending *endings, int n)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);

	for (int i = 0; i < n; i++)
	{
		SmConn	   *conn = endings[i].session->conn;

		endings[i].stopped = sm_conn_state(conn) == SM_CONN_BUSY;
		if (endings[i].stopped)
			sm_cleanup_add(&conns, conn, NULL);
	}
	(void) sm_conns_clean(&conns);
	for (int i = 0; i < n; i++)
	{
		if (endings[i].stopped)
			endings[i].outcome = sm_conn_outcome(endings[i].session->conn);
	}
}

/*
 * Run each session's command on all targets at a time.  Returns the ending
 * that failed first, or NULL.
 */
static Ending *
run_endings(Ending *endings, int n)
{
	TimestampTz deadline = commit_deadline(endings, n);
	Ending	   *failed = NULL;
	int			sent = 0;

	while (sent < n && failed == NULL)
	{
		/* a deadlock is to be found on any of them, whichever we wait for */
		sm_checkout(endings[sent].session->conn)->awaited = true;
		if (!attempt(&endings[sent++], send_step, deadline))
			failed = &endings[sent - 1];
		SM_INJECTION_POINT("command sent");
	}
	SM_INJECTION_POINT("commands sent");
	for (int i = 0; i < sent && failed == NULL; i++)
	{
		if (attempt(&endings[i], finish_step, deadline))
			endings[i].outcome = SM_OUTCOME_DONE;
		else
			failed = &endings[i];
		SM_INJECTION_POINT("command finished");
	}
	for (int i = 0; i < sent; i++)
		sm_checkout(endings[i].session->conn)->awaited = false;
	if (failed == NULL)
		return NULL;
	if (failed->error->sqlerrcode == ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN)
		failed->outcome = SM_OUTCOME_UNKNOWN;
	stop_others(endings, sent);
	return failed;
}

static void
prepare_all(void)
{
	Ending	   *endings;
	int			n = collect_endings(SM_TXN_TWO_PHASE, &endings);
	Ending	   *failed;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		sm_twophase_check(endings[i].session);
	sm_twophase_harden();
	SM_INJECTION_POINT("before prepare");
	for (int i = 0; i < n; i++)
	{
		SmSession  *session = endings[i].session;

		/*
		 * Only the role that has prepared it may end it.  A role that was set
		 * in the transaction does what is deferred, but no more.
		 */
		snprintf(session->command, sizeof(session->command),
				 "SET CONSTRAINTS ALL IMMEDIATE; RESET ROLE; PREPARE TRANSACTION '%s'",
				 session->gid);
		session->state = SM_SESSION_PREPARED;
	}
	failed = run_endings(endings, n);
	if (failed == NULL)
	{
		SM_INJECTION_POINT("all prepared");
		return;
	}

	for (int i = 0; i < n; i++)
	{
		if (endings[i].outcome == SM_OUTCOME_NONE)
			endings[i].session->state = SM_SESSION_ACTIVE;
	}
	/* whatever became of it: without our decision it will be rolled back */
	if (failed->outcome == SM_OUTCOME_UNKNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not prepare the transaction on \"%s\"",
						failed->session->engine->endpoint.label),
				 errdetail_internal("%s", failed->error->detail ? failed->error->detail :
									failed->error->message),
				 errhint("The transaction is rolled back. If it was prepared there, sessmgr.recover() rolls it back, too.")));
	sm_error_rethrow(failed->error);
}

/* Not all did the same: say what each did. */
static void
report_split(const Ending *endings, int n, bool joined)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		const Ending *e = &endings[i];

		appendStringInfo(&buf, "%s\"%s\": %s", i > 0 ? "\n" : "", e->session->engine->endpoint.label,
						 e->outcome == SM_OUTCOME_DONE ? "committed" :
						 e->outcome == SM_OUTCOME_UNKNOWN ? "unknown" : "rolled back");
		if (e->error != NULL)
			appendStringInfo(&buf, " (%s)", e->error->message);
	}
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 joined ?
			 errmsg("a joined transaction has not ended in the same way on all of its targets") :
			 errmsg("a statement has not ended in the same way on all of its targets"),
			 errdetail_internal("%s", buf.data),
			 errhint("Transaction mode \"two_phase\" makes several targets agree.")));
}

/* Throws if not all have committed. */
static void
commit_endings(Ending *endings, int n, bool joined)
{
	Ending	   *failed;
	int			lasting = 0;

	for (int i = 0; i < n; i++)
		strcpy(endings[i].session->command, "COMMIT");
	failed = run_endings(endings, n);
	if (failed != NULL)
	{
		for (int i = 0; i < n; i++)
			lasting += (endings[i].outcome != SM_OUTCOME_NONE);
		if (lasting == 0 || n == 1)
			sm_error_rethrow(failed->error);
		report_split(endings, n, joined);
	}
}

/*
 * Nothing shall come between this and the local commit: the connections are
 * given back after it, and cancels and timeouts wait for it.  (An error in
 * between, which ends that, is an abort.)
 */
static void
commit_all(void)
{
	Ending	   *endings;
	int			n = collect_endings(SM_TXN_JOINED, &endings);

	if (n == 0)
		return;
	commit_endings(endings, n, true);
	HOLD_CANCEL_INTERRUPTS();
	cancels_held = true;
	SM_INJECTION_POINT("joined committed");
}

/*
 * Commit the transactions of these sessions, which are in mode manual, on all
 * targets at a time.  Throws what has made one of them fail, and nothing was
 * committed then; 08007 if something was, or may have been.
 */
void
sm_sessions_commit(SmSession **sessions, int n)
{
	Ending	   *endings = palloc0(Max(n, 1) * sizeof(Ending));
	dlist_head	conns = DLIST_STATIC_INIT(conns);
	TimestampTz deadline;

	for (int i = 0; i < n; i++)
	{
		check_ready(sessions[i]);
		endings[i].session = sessions[i];
	}
	if (n == 0)
		return;
	commit_endings(endings, n, false);
	for (int i = 0; i < n; i++)
		sm_cleanup_add(&conns, sessions[i]->conn, NULL);
	deadline = sm_conns_clean(&conns);
	for (int i = 0; i < n; i++)
		sm_session_forget_transaction(sessions[i], deadline);
}

/*
 * The local transaction is about to commit.  Throws if something that is part
 * of it cannot; the caller's transaction is then aborted.
 */
void
sm_bound_before_commit(void)
{
	dlist_iter	iter;
	bool		any = false;

	dlist_foreach(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (!sm_session_bound(session))
			continue;
		check_ready(session);
		any |= (session->state == SM_SESSION_ACTIVE);
	}

	/*
	 * The local commit would find out that this transaction cannot be
	 * serialized only when all is committed elsewhere.  From here on it is as
	 * if prepared: others fail in its place.
	 */
	if (any)
		PreCommit_CheckForSerializationFailure();
	prepare_all();
	commit_all();
}

/* PREPARE TRANSACTION: nobody would be there to end what is bound to it. */
void
sm_bound_refuse_prepare(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (sm_session_bound(session) && session->state != SM_SESSION_IDLE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that a transaction on \"%s\" is part of",
							session->engine->endpoint.label)));
	}
}

/* ----------
 * After the local commit or abort
 * ----------
 */

/* Tell of a transaction that stays prepared, with the command that would end it. */
static void
warn_in_doubt(const void *arg, bool named)
{
	const SmSession *session = arg;

	ereport(WARNING,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 named ?
			 errmsg("a transaction may still be prepared on \"%s\"", session->engine->endpoint.label) :
			 errmsg("a transaction may still be prepared on a target"),
			 errdetail("\"%s\" is to be %s.", session->gid,
					   session->command[0] == 'C' ? "committed" : "rolled back"),
			 errhint("Call sessmgr.recover() for this target.")));
}

/*
 * The command that takes back a session's transaction when the local one
 * aborts; valid until the session's next use.
 */
const char *
sm_bound_abort_command(SmSession *session)
{
	if (session->state != SM_SESSION_PREPARED)
		return "ROLLBACK";
	snprintf(session->command, sizeof(session->command), "ROLLBACK PREPARED '%s'",
			 session->gid);
	return session->command;
}

/* That command has been run, or could not be. */
void
sm_bound_aborted(const SmSession *session)
{
	if (session->state == SM_SESSION_PREPARED && !sm_cleanup_ok(session->conn))
		(void) sm_ereport_nothrow(warn_in_doubt, session);
}

/*
 * The local transaction has committed: commit what was prepared, and give the
 * connections back, by one deadline.  Never throws.
 */
void
sm_bound_after_commit(void)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);
	TimestampTz deadline;
	dlist_iter	iter;

	if (cancels_held)
	{
		RESUME_CANCEL_INTERRUPTS();
		/* the lock that was waited for too long is there now */
		if (get_timeout_indicator(LOCK_TIMEOUT, true) &&
			!get_timeout_indicator(STATEMENT_TIMEOUT, false))
			QueryCancelPending = false;
		cancels_held = false;
	}
	dlist_foreach(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (!sm_session_bound(session) || session->conn == NULL)
			continue;
		if (session->state == SM_SESSION_PREPARED)
			snprintf(session->command, sizeof(session->command), "COMMIT PREPARED '%s'",
					 session->gid);
		else
			strcpy(session->command, "ROLLBACK");
		sm_cleanup_add(&conns, session->conn, session->command);
	}
	SM_INJECTION_POINT("committed");
	deadline = sm_conns_clean(&conns);
	SM_INJECTION_POINT("commit prepared");
	dlist_foreach(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (!sm_session_bound(session) || session->conn == NULL)
			continue;
		if (session->state == SM_SESSION_PREPARED && sm_cleanup_ok(session->conn))
			sm_twophase_resolved(session->gid);
		else if (session->state == SM_SESSION_PREPARED)
			(void) sm_ereport_nothrow(warn_in_doubt, session);
		sm_session_forget_transaction(session, deadline);
	}
}

/* The local transaction aborts; the error has ended what held cancels back. */
void
sm_bound_at_abort(void)
{
	cancels_held = false;
}

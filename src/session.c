/*-------------------------------------------------------------------------
 *
 * session.c
 *		Sessions: a unit of work on one engine, and one-liners without one.
 *
 * A session holds a connection exactly while it is ACTIVE, in a transaction on
 * its target.  States:
 *
 *	IDLE -> ACTIVE		begin, or the first statement
 *	ACTIVE -> IDLE		commit, rollback, close, the end of the local transaction
 *	ACTIVE -> LOST		the connection broke, was dropped by a clean-up, or has
 *						no transaction any more
 *	LOST -> IDLE		rollback, or commit (which says that it was none)
 *
 * A session in mode autocommit leaves IDLE only by an explicit begin or
 * savepoint.  On a driver without transactions of its own (remote is false) a
 * session is always IDLE and has a connection only during a statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"
#include "src/compat.h"

#include "utils/memutils.h"

dlist_head	sm_sessions = DLIST_STATIC_INIT(sm_sessions);

/* ----------
 * Opening, looking up, closing
 * ----------
 */
SmSession *
sm_session_open(SmEngine *engine, const SmSessionOptions *options)
{
	SmSession  *session;

	sm_engine_check(engine);
	session = MemoryContextAllocZero(TopMemoryContext, sizeof(SmSession));
	session->engine = engine;
	session->options = *options;
	session->state = SM_SESSION_IDLE;
	session->subid = GetCurrentSubTransactionId();
	session->opened_at = GetCurrentTimestamp();
	session->used = true;
	session->id = sm_handle_new(SM_HANDLE_SESSION, session);
	engine->users++;
	dlist_push_tail(&sm_sessions, &session->node);
	return session;
}

/*
 * The session behind a handle, if the current role may use it; NULL if it is
 * closed and missing_ok.
 */
SmSession *
sm_session_from_handle(uint64 id, bool missing_ok)
{
	SmSession  *session = sm_handle_get(id, SM_HANDLE_SESSION, missing_ok);

	if (session != NULL)
		sm_check_role(session->engine->key.roleid, "session");
	return session;
}

static void
check_not_running(const SmSession *session)
{
	if (session->running > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a statement of this session on \"%s\" is still running",
						session->engine->label)));
}

/* Forget all savepoints but the first n. */
static void
truncate_savepoints(SmSession *session, int n)
{
	if (n == 0)
	{
		/* list_truncate() would leave an empty list behind */
		list_free(session->savepoints);
		session->savepoints = NIL;
	}
	else
		session->savepoints = list_truncate(session->savepoints, n);
}

/* The transaction is over, one way or the other: give the connection back. */
static void
end_transaction(SmSession *session, TimestampTz deadline)
{
	SmConn	   *conn = session->conn;

	session->conn = NULL;
	session->state = SM_SESSION_IDLE;
	truncate_savepoints(session, 0);
	session->next_savepoint = 0;
	session->in_this = 0;
	if (conn != NULL)
		sm_pool_checkin(conn, deadline);
}

/*
 * After an error: is the session's transaction still there?  It is lost if its
 * connection did not survive, or if a statement ended it and then failed, as a
 * COMMIT given as text does when a deferred constraint is violated.
 */
void
sm_session_note_loss(SmSession *session)
{
	SmConn	   *conn = session->conn;

	if (session->state == SM_SESSION_ACTIVE &&
		(conn->state == SM_CONN_DEAD ||
		 (conn->state == SM_CONN_READY &&
		  session->engine->driver->status(conn) == PQTRANS_IDLE)))
	{
		end_transaction(session, SM_FROM_NOW);
		session->state = SM_SESSION_LOST;
	}
}

/* Roll back what is under way; never throws. */
void
sm_session_abandon_transaction(SmSession *session, TimestampTz deadline)
{
	if (session->conn != NULL)
		sm_conn_cleanup(session->conn, "ROLLBACK", deadline);
	end_transaction(session, deadline);
}

static TimestampTz
cleanup_deadline(const SmSession *session)
{
	return sm_deadline(session->engine->options.cleanup_timeout);
}

/* End a session by the deadline, rolling back what is under way; never throws. */
void
sm_session_end(SmSession *session, TimestampTz deadline)
{
	sm_session_abandon_transaction(session, deadline);
	dlist_delete(&session->node);
	sm_handle_forget(session->id);
	session->engine->users--;
	pfree(session);
	sm_engine_sweep();
}

void
sm_session_close(SmSession *session)
{
	check_not_running(session);
	sm_session_end(session, cleanup_deadline(session));
}

/* ----------
 * Transactions
 * ----------
 */
static void
check_not_lost(const SmSession *session)
{
	if (session->state == SM_SESSION_LOST)
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction of this session on \"%s\" is lost",
						session->engine->label),
				 errdetail("Its connection broke, or one of its statements ended it."),
				 errhint("Call sessmgr.rollback() before the session is used again.")));
}

/* Before any use that may begin something. */
static void
check_usable(SmSession *session)
{
	check_not_running(session);
	sm_session_note_loss(session);
	check_not_lost(session);
	/* a transaction under way may be finished whatever became of the engine */
	if (session->state != SM_SESSION_ACTIVE ||
		session->engine->state != SM_ENGINE_INVALIDATED)
		sm_engine_check(session->engine);
	session->used = true;
}

static void
start_transaction(SmSession *session)
{
	SmEngine   *engine = session->engine;
	SmConn	   *conn = sm_pool_checkout(engine);

	engine->driver->begin(conn, &session->options);
	conn->session = session;
	session->conn = conn;
	session->state = SM_SESSION_ACTIVE;
}

void
sm_session_begin(SmSession *session)
{
	check_usable(session);
	if (!session->engine->driver->remote)
		return;
	if (session->state == SM_SESSION_ACTIVE)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("this session on \"%s\" is already in a transaction",
						session->engine->label),
				 errhint("A session begins one by itself with its first statement.")));
	start_transaction(session);
}

/*
 * COMMIT.  However it ends, the transaction is over: if the error does not say
 * 08007, it was rolled back.
 */
static void
send_commit(SmSession *session)
{
	PG_TRY();
	{
		session->engine->driver->command(session->conn, "COMMIT", SM_COMMAND_COMMIT);
	}
	PG_CATCH();
	{
		if (session->conn->state != SM_CONN_BUSY)
			end_transaction(session, SM_FROM_NOW);
		PG_RE_THROW();
	}
	PG_END_TRY();
	end_transaction(session, SM_FROM_NOW);
}

void
sm_session_commit(SmSession *session)
{
	check_not_running(session);
	/* on a dead connection COMMIT would leave an unknown outcome behind */
	if (session->state == SM_SESSION_ACTIVE && session->conn->state == SM_CONN_READY &&
		!session->engine->driver->alive(session->conn))
		sm_conn_set_state(session->conn, SM_CONN_DEAD);
	sm_session_note_loss(session);
	session->used = true;
	if (session->state == SM_SESSION_LOST ||
		(session->state == SM_SESSION_ACTIVE &&
		 session->engine->driver->status(session->conn) == PQTRANS_INERROR))
	{
		sm_session_abandon_transaction(session, cleanup_deadline(session));
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction of this session on \"%s\" had failed and was rolled back",
						session->engine->label)));
	}
	if (session->state == SM_SESSION_ACTIVE)
		send_commit(session);
}

/*
 * Rolling back cannot fail: a connection that does not obey is dropped, and
 * the target rolls back for want of a client.
 */
void
sm_session_rollback(SmSession *session)
{
	check_not_running(session);
	if (!session->engine->driver->remote)
		session->engine->driver->command(NULL, "ROLLBACK", SM_COMMAND_PLAIN);
	sm_session_abandon_transaction(session, cleanup_deadline(session));
}

bool
sm_session_in_transaction(SmSession *session)
{
	return !session->engine->driver->remote || session->state != SM_SESSION_IDLE;
}

/* ----------
 * Savepoints
 *
 * A number is used once in a transaction, so that a stale one is told apart.
 * ----------
 */
static void
savepoint_command(SmSession *session, const char *verb, int savepoint, SmCommand kind)
{
	char		sql[64];

	snprintf(sql, sizeof(sql), "%s sessmgr_%d", verb, savepoint);
	session->engine->driver->command(session->conn, sql, kind);
}

int
sm_session_begin_nested(SmSession *session)
{
	MemoryContext old;
	int			savepoint = session->next_savepoint + 1;

	check_usable(session);
	if (!session->engine->driver->remote)
		savepoint_command(session, "SAVEPOINT", savepoint, SM_COMMAND_PLAIN);
	if (session->state == SM_SESSION_IDLE)
		start_transaction(session);

	/*
	 * Remembered first: after the command nothing may fail.  If the command
	 * fails, nobody gets to know the number.
	 */
	old = MemoryContextSwitchTo(TopMemoryContext);
	session->savepoints = lappend_int(session->savepoints, savepoint);
	MemoryContextSwitchTo(old);
	session->next_savepoint = savepoint;
	savepoint_command(session, "SAVEPOINT", savepoint, SM_COMMAND_PLAIN);
	return savepoint;
}

/* The place of a savepoint in the session's list. */
static int
find_savepoint(SmSession *session, int savepoint)
{
	if (session->state == SM_SESSION_ACTIVE)
	{
		for (int i = 0; i < list_length(session->savepoints); i++)
		{
			if (list_nth_int(session->savepoints, i) == savepoint)
				return i;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_S_E_INVALID_SPECIFICATION),
			 errmsg("savepoint %d does not exist in this session on \"%s\"",
					savepoint, session->engine->label)));
	return 0;					/* keep compiler quiet */
}

void
sm_session_release(SmSession *session, int savepoint)
{
	int			place;

	check_usable(session);
	if (!session->engine->driver->remote)
		savepoint_command(session, "RELEASE SAVEPOINT", savepoint, SM_COMMAND_PLAIN);
	place = find_savepoint(session, savepoint);
	savepoint_command(session, "RELEASE SAVEPOINT", savepoint, SM_COMMAND_PLAIN);
	truncate_savepoints(session, place);
}

/* The savepoint stays, those set after it go. */
void
sm_session_rollback_to(SmSession *session, int savepoint)
{
	int			place;

	check_usable(session);
	if (!session->engine->driver->remote)
		savepoint_command(session, "ROLLBACK TO SAVEPOINT", savepoint, SM_COMMAND_ROLLBACK_TO);
	place = find_savepoint(session, savepoint);
	savepoint_command(session, "ROLLBACK TO SAVEPOINT", savepoint, SM_COMMAND_ROLLBACK_TO);
	truncate_savepoints(session, place + 1);
}

/* ----------
 * Statements
 * ----------
 */
static void
report_transaction_control(const SmEngine *engine)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
			 errmsg("transaction control cannot be given to \"%s\" as a statement",
					engine->label),
			 engine->driver->remote ?
			 errdetail("It has been carried out, and whatever transaction was open after it was rolled back.") : 0,
			 errhint("Use sessmgr.begin(), commit(), rollback(), begin_nested(), release() and rollback_to().")));
}

/* A statement that is its own transaction, on a connection just for it. */
static uint64
execute_alone(SmEngine *engine, const SmSessionOptions *options, const char *sql,
			  const SmParams *params, SmSink *sink)
{
	SmStatement statement;
	SmOdd		odd;
	SmConn	   *conn = sm_pool_checkout(engine);
	uint64		count;

	statement.sql = sql;
	statement.params = params;
	statement.autocommit = true;
	statement.first = false;
	statement.defaults = options;
	count = engine->driver->execute(conn, &statement, sink, &odd);
	if (odd == SM_ODD_NONE && engine->driver->remote &&
		engine->driver->status(conn) != PQTRANS_IDLE)
		odd = SM_ODD_TRANSACTION_CONTROL;
	sm_pool_checkin(conn, SM_FROM_NOW);
	if (odd == SM_ODD_TRANSACTION_CONTROL)
		report_transaction_control(engine);
	return count;
}

static uint64
execute_in_transaction(SmSession *session, const char *sql, const SmParams *params,
					   SmSink *sink)
{
	SmStatement statement;
	SmEngine   *engine = session->engine;
	SmOdd		odd;
	uint64		count;

	if (session->state == SM_SESSION_IDLE)
		start_transaction(session);
	statement.sql = sql;
	statement.params = params;
	statement.autocommit = false;
	statement.defaults = NULL;
	statement.first = (session->in_this++ == 0 && session->savepoints == NIL);
	count = engine->driver->execute(session->conn, &statement, sink, &odd);
	if (odd == SM_ODD_STALE)
	{
		/* no transaction is lost by beginning it once more */
		sm_conn_cleanup(session->conn, "ROLLBACK", cleanup_deadline(session));
		engine->driver->begin(session->conn, &session->options);
		statement.first = false;
		count = engine->driver->execute(session->conn, &statement, sink, &odd);
	}
	if (odd == SM_ODD_TRANSACTION_CONTROL ||
		engine->driver->status(session->conn) == PQTRANS_IDLE)
	{
		sm_session_abandon_transaction(session, cleanup_deadline(session));
		report_transaction_control(engine);
	}
	return count;
}

/*
 * Run a statement in a session.  Returns the number of rows affected or
 * returned.
 */
uint64
sm_session_execute(SmSession *session, const char *sql, const SmParams *params,
				   SmSink *sink)
{
	uint64		count = 0;

	check_usable(session);
	session->statements++;
	session->running++;
	PG_TRY();
	{
		if (session->state == SM_SESSION_IDLE &&
			(session->options.transaction == SM_TXN_AUTOCOMMIT ||
			 !session->engine->driver->remote))
			count = execute_alone(session->engine, &session->options, sql, params, sink);
		else
			count = execute_in_transaction(session, sql, params, sink);
	}
	PG_CATCH();
	{
		session->running--;
		PG_RE_THROW();
	}
	PG_END_TRY();
	session->running--;
	return count;
}

/* Run a one-liner: a statement without a session. */
uint64
sm_engine_execute(SmEngine *engine, const char *sql, const SmParams *params, SmSink *sink)
{
	return execute_alone(engine, &engine->session, sql, params, sink);
}

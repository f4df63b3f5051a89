/*-------------------------------------------------------------------------
 *
 * execute.c
 *		Statements and other work on an engine: in a session's transaction, or
 *		alone, in a transaction just for it.
 *
 * A statement begins the session's transaction if there is none, and sets the
 * savepoints that are missing, on its own way to the target (SmXactStatement).  They
 * count as done from when the statement is on its way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

/* ----------
 * Statements
 * ----------
 */
static void
report_transaction_control(const SmEngine *engine, bool bound)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
			 errmsg("transaction control cannot be given to \"%s\" as a statement",
					engine->endpoint.label),
			 sm_engine_is_remote(engine) ?
			 errdetail("It has been carried out, and whatever transaction was open after it was rolled back.") : 0,
			 bound ? errhint("The transaction there ends with the local one.") :
			 errhint("Use sessmgr.begin(), commit(), rollback(), begin_nested(), release() and rollback_to().")));
}

/*
 * A stream in a transaction just for it, on a connection that stays with it.
 * Read only: as its reader may stop early, it must have no effect.
 */
static void
start_stream(SmEngine *engine, const SmSessionOptions *options, const char *sql,
			 const SmParams *params, SmSink *sink)
{
	SmSessionOptions begin = *options;
	SmStatement statement = {
		.sql = sql,.params = params,.begin = &begin,.after = "COMMIT"
	};
	SmStatementKind kind;

	begin.read_only = SM_ON;
	sm_stream_set_own_transaction(sink->stream);
	(void) engine->driver->execute(sm_pool_checkout(engine), &statement, sink, &kind);
}

static bool
controlled_transaction(SmConn *conn, SmStatementKind kind)
{
	const SmDriver *driver = sm_conn_engine(conn)->driver;

	return kind == SM_KIND_TRANSACTION_CONTROL ||
		(kind == SM_KIND_ORDINARY && driver->remote &&
		 driver->status(conn) != SM_TRANSACTION_NONE);
}

/* A statement that is its own transaction has ended: was it anything else? */
void
sm_own_transaction_check(SmConn *conn, SmStatementKind kind)
{
	if (controlled_transaction(conn, kind))
		report_transaction_control(sm_conn_engine(conn), false);
}

/* Check the connection in after that, and then see whether it was. */
void
sm_own_transaction_ended(SmConn *conn, SmStatementKind kind)
{
	SmEngine   *engine = sm_conn_engine(conn);
	bool		controlled = controlled_transaction(conn, kind);

	sm_pool_checkin(conn, SM_FROM_NOW);
	if (controlled)
		report_transaction_control(engine, false);
}

/*
 * In PG_CATCH(): an error of this backend's own came while a statement that
 * commits by itself was on the wire, which has been stopped for it.  The error
 * keeps its state, and its context tells what became of the statement; but that
 * of a cancel would promise that nothing has: where that is not so, throws 08007.
 */
void
sm_effects_tell(const SmEngine *engine, const char *sql, SmOutcome outcome, MemoryContext cxt)
{
	if (geterrcode() == ERRCODE_QUERY_CANCELED && outcome != SM_OUTCOME_NONE)
	{
		ErrorData  *error = sm_error_catch(cxt);

		ereport(ERROR,
				(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
				 errmsg("the outcome of a statement on \"%s\" is not known", engine->endpoint.label),
				 outcome == SM_OUTCOME_DONE ?
				 errdetail("%s. It has been done.", error->message) :
				 errdetail("%s. The target did not answer a cancel in time.", error->message),
				 errhint("Look at the target before you repeat it."),
				 sm_report_context(&engine->endpoint, sql)));
	}
	sm_report_context(&engine->endpoint, sql);
	switch (outcome)
	{
		case SM_OUTCOME_NONE:
			errcontext("it has no effects on \"%s\", as it was canceled", engine->endpoint.label);
			break;
		case SM_OUTCOME_DONE:
			errcontext("its effects on \"%s\" are committed", engine->endpoint.label);
			break;
		case SM_OUTCOME_UNKNOWN:
			errcontext("its effects on \"%s\" are not known, as it did not answer a cancel in time",
					   engine->endpoint.label);
			break;
	}
}

/*
 * In PG_CATCH(), before that: stop what is on the wire, and learn what became of
 * it.  False: the error is about the statement itself, and says all, or it does not
 * commit by itself.
 */
bool
sm_effects_learn(SmConn *conn, SmOutcome *outcome)
{
	const SmEngine *engine = sm_conn_engine(conn);
	bool		commits = sm_conn_commits(conn);

	if (!sm_engine_is_remote(engine))
		return false;
	if (sm_conn_state(conn) == SM_CONN_BUSY)
	{
		sm_conn_cleanup(conn, NULL, sm_deadline(engine->endpoint.options.cleanup_timeout));
		*outcome = sm_conn_outcome(conn);
		return commits;
	}
	*outcome = SM_OUTCOME_DONE;
	return sm_conn_has_committed(conn) && geterrcode() != ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN;
}

/* A statement that is its own transaction, on a connection just for it. */
static uint64
execute_in_own_transaction(SmEngine *engine, const SmSessionOptions *options, const char *sql,
						   const SmParams *params, SmSink *sink)
{
	SmStatement statement = {
		.sql = sql,.params = params,.autocommit = true,.defaults = options
	};
	MemoryContext cxt = CurrentMemoryContext;
	SmStatementKind kind;
	SmConn	   *conn;
	uint64		count = 0;

	if (sink != NULL && sink->stream != NULL && sm_engine_is_remote(engine))
	{
		start_stream(engine, options, sql, params, sink);
		return 0;
	}
	conn = sm_pool_checkout(engine);
	PG_TRY();
	{
		count = engine->driver->execute(conn, &statement, sink, &kind);
	}
	PG_CATCH();
	{
		SmOutcome	outcome;

		if (sm_effects_learn(conn, &outcome))
			sm_effects_tell(engine, sql, outcome, cxt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	sm_own_transaction_ended(conn, kind);
	return count;
}

/* The transaction begins on the way of the statement, and then these commands. */
static void
begin_with(SmXactStatement *xstmt, List *then)
{
	xstmt->statement.before = then;
	xstmt->statement.begin = &xstmt->begin;
	xstmt->begins = true;
}

/*
 * Have a transaction, and a savepoint for each local subtransaction in it;
 * where they are missing, they are made on the way of the statement.  The
 * connection, if there is none yet, is one that was checked out for it, or
 * NULL.
 */
void
sm_xact_statement_enter(SmSession *session, SmXactStatement *xstmt, SmConn *conn)
{
	if (session->state == SM_SESSION_IDLE &&
		session->options.transaction == SM_TXN_TWO_PHASE)
		sm_session_start(session, conn);
	else if (session->state == SM_SESSION_IDLE)
	{
		if (conn == NULL)
			conn = sm_pool_checkout(session->engine);
		begin_with(xstmt, sm_session_beginning(session, conn, &xstmt->begin));
		sm_session_activate(session, conn);
	}
	else if (sm_session_bound(session))
	{
		xstmt->nsavepoints = list_length(session->savepoints);
		xstmt->statement.before = sm_mirror_nest(session);
	}
	xstmt->statement.first = (session->in_this++ == 0 &&
							  (session->savepoints == NIL || sm_session_bound(session)));
	xstmt->statement.depth = list_length(session->savepoints);
}

/* SM_KIND_STALE: no transaction is lost by beginning it once more. */
void
sm_xact_statement_again(SmSession *session, SmXactStatement *xstmt)
{
	sm_conn_cleanup(session->conn, "ROLLBACK", sm_session_cleanup_deadline(session));
	begin_with(xstmt, sm_session_bound(session) ?
			   sm_mirror_begin_again(session, &xstmt->begin) :
			   sm_session_beginning(session, session->conn, &xstmt->begin));
	xstmt->statement.first = false;
	xstmt->statement.depth = list_length(session->savepoints);
}

/*
 * The statement has failed.  What was to be done before it and was not even
 * sent, or a BEGIN that failed, must not count as done.  The connection is
 * left to the end of the (sub)transaction.  Never throws.
 */
void
sm_xact_statement_failed(SmSession *session, const SmXactStatement *xstmt)
{
	SmConn	   *conn = session->conn;
	bool		unsent = xstmt->statement.begin != NULL || xstmt->statement.before != NIL;

	if (session->state != SM_SESSION_ACTIVE)
		return;
	if (xstmt->begins &&
		(unsent || (sm_conn_state(conn) == SM_CONN_READY &&
					session->engine->driver->status(conn) == SM_TRANSACTION_NONE)))
	{
		sm_checkout(conn)->session = NULL;
		session->conn = NULL;
		sm_session_forget_transaction(session, SM_FROM_NOW);
		/* it was sent at a level above, which must not go on without it */
		if (sm_session_bound(session) && session->began < GetCurrentTransactionNestLevel())
			session->state = SM_SESSION_LOST;
	}
	else if (unsent)
		sm_mirror_unsent(session, xstmt->nsavepoints);
}

/* Begin the transaction, or its savepoints, at once: for work that is more than a statement. */
static void
enter_transaction(SmSession *session)
{
	List	   *commands = NIL;

	if (session->state == SM_SESSION_IDLE)
		sm_session_start(session, NULL);
	else if (sm_session_bound(session))
		commands = sm_mirror_nest(session);
	if (commands != NIL)
		sm_driver_command(session->engine->driver, session->conn, sm_commands_join(commands),
						  SM_COMMAND_PLAIN);
}

/* After a statement: it must not have ended the transaction. */
void
sm_session_check_transaction(SmSession *session, SmStatementKind kind)
{
	if (kind == SM_KIND_TRANSACTION_CONTROL ||
		session->engine->driver->status(session->conn) == SM_TRANSACTION_NONE)
	{
		sm_session_abandon_transaction(session, sm_session_cleanup_deadline(session));
		/* the local transaction must not go on as if nothing was lost */
		if (sm_session_bound(session))
		{
			session->state = SM_SESSION_LOST;
			session->ended = true;
			/* and going back to a savepoint takes nothing of it back */
			session->began = 1;
		}
		report_transaction_control(session->engine, sm_session_bound(session));
	}
}

static uint64
execute_in_transaction(SmSession *session, SmXactStatement *xstmt, SmSink *sink)
{
	SmStatement *statement = &xstmt->statement;
	SmEngine   *engine = session->engine;
	SmStatementKind kind;
	uint64		count;

	sm_xact_statement_enter(session, xstmt, NULL);
	count = engine->driver->execute(session->conn, statement, sink, &kind);
	if (kind == SM_KIND_STALE)
	{
		sm_xact_statement_again(session, xstmt);
		count = engine->driver->execute(session->conn, statement, sink, &kind);
	}
	sm_session_check_transaction(session, kind);
	return count;
}

/* Does a statement of the session, which is in no transaction, begin one? */
bool
sm_session_begins_none(const SmSession *session)
{
	return session->state == SM_SESSION_IDLE &&
		(session->options.transaction == SM_TXN_AUTOCOMMIT ||
		 !sm_engine_is_remote(session->engine));
}

/*
 * Run a statement in a session.  Returns the number of rows affected or
 * returned.
 */
uint64
sm_session_execute(SmSession *session, const char *sql, const SmParams *params,
				   SmSink *sink)
{
	SmXactStatement xstmt = {.statement = {.sql = sql,.params = params}};
	uint64		count = 0;

	session = sm_session_enter(session);
	session->running++;
	PG_TRY();
	{
		if (sm_session_begins_none(session))
			count = execute_in_own_transaction(session->engine, &session->options, sql, params, sink);
		else
			count = execute_in_transaction(session, &xstmt, sink);
	}
	PG_CATCH();
	{
		session->running--;
		sm_xact_statement_failed(session, &xstmt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	session->running--;
	return count;
}

/*
 * Run a one-liner: a statement without a session, which commits by itself
 * unless the engine's mode binds it to the local transaction.
 */
uint64
sm_engine_execute(SmEngine *engine, const char *sql, const SmParams *params, SmSink *sink)
{
	if (sm_engine_binds(engine, engine->endpoint.session.transaction))
		return sm_session_execute(sm_session_shared(engine, &engine->endpoint.session), sql,
								  params, sink);
	return execute_in_own_transaction(engine, &engine->endpoint.session, sql, params, sink);
}

/* ----------
 * Other work
 * ----------
 */

/*
 * In PG_CATCH(): has something failed here, and not there, while data was on its
 * way or after it had come?  What stops a statement says itself that it has no effect.
 */
static bool
is_ours(SmConn *conn)
{
	return sm_conn_in_bulk(conn) &&
		(sm_conn_state(conn) == SM_CONN_BUSY ||
		 (geterrcode() != ERRCODE_QUERY_CANCELED &&
		  geterrcode() != ERRCODE_T_R_DEADLOCK_DETECTED));
}

/* In a transaction just for it; as with COMMIT, only 08007 leaves it in doubt. */
static uint64
work_in_own_transaction(SmEngine *engine, const SmSessionOptions *options, SmWork work, void *arg)
{
	const SmDriver *driver = engine->driver;
	SmConn	   *conn = sm_pool_checkout(engine);
	SmStatementKind kind = SM_KIND_ORDINARY;
	uint64		count = 0;

	driver->begin(conn, options, NIL);
	PG_TRY();
	{
		count = work(conn, arg, &kind);
	}
	PG_CATCH();
	{
		if (is_ours(conn))
			errcontext("what was done on \"%s\" is rolled back", engine->endpoint.label);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (kind == SM_KIND_TRANSACTION_CONTROL || driver->status(conn) == SM_TRANSACTION_NONE)
	{
		sm_pool_checkin(conn, SM_FROM_NOW);
		report_transaction_control(engine, false);
	}
	/* on a dead connection COMMIT would leave an unknown outcome behind */
	if (!driver->alive(conn))
	{
		sm_conn_set_state(conn, SM_CONN_DEAD);
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("connection to \"%s\" was lost", engine->endpoint.label),
				 errdetail_internal("%s COMMIT was not sent.", sm_report_loss(conn))));
	}
	sm_driver_command(driver, conn, "COMMIT", SM_COMMAND_COMMIT);
	sm_pool_checkin(conn, SM_FROM_NOW);
	return count;
}

static uint64
work_in_transaction(SmSession *session, SmWork work, void *arg)
{
	SmStatementKind kind = SM_KIND_ORDINARY;
	uint64		count;

	enter_transaction(session);
	session->in_this++;
	count = work(session->conn, arg, &kind);
	sm_session_check_transaction(session, kind);
	return count;
}

/*
 * Do something else than a single statement in a session's transaction, or
 * where it would have none, in one of its own.  Meanwhile the session can be
 * used for nothing else.
 */
uint64
sm_session_work(SmSession *session, SmWork work, void *arg)
{
	uint64		count = 0;

	session = sm_session_enter(session);
	session->running++;
	PG_TRY();
	{
		if (sm_session_begins_none(session))
			count = work_in_own_transaction(session->engine, &session->options, work, arg);
		else
			count = work_in_transaction(session, work, arg);
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

/* sm_session_work() without a session: as a one-liner. */
uint64
sm_engine_work(SmEngine *engine, SmWork work, void *arg)
{
	if (sm_engine_binds(engine, engine->endpoint.session.transaction))
		return sm_session_work(sm_session_shared(engine, &engine->endpoint.session), work, arg);
	return work_in_own_transaction(engine, &engine->endpoint.session, work, arg);
}

/*-------------------------------------------------------------------------
 *
 * session.c
 *		Sessions: a unit of work on one engine.
 *
 * A session holds a connection exactly while it is ACTIVE, in a transaction on
 * its target.  States:
 *
 *	IDLE -> ACTIVE		begin, or the first statement
 *	ACTIVE -> IDLE		commit, rollback, close, the end of the local transaction
 *	ACTIVE -> LOST		the connection broke, was dropped by a clean-up, or has
 *						no transaction any more
 *	ACTIVE -> PREPARED	two-phase, when the local transaction commits (commit.c)
 *	PREPARED -> IDLE	the end of the local transaction
 *	LOST -> IDLE		rollback, or commit (which says that it was none); the
 *						abort of the local (sub)transaction that it belonged to
 *
 * A transaction of a held session that is older than the local one goes to LOST
 * when that aborts, as what it did before is gone without its user's doing.
 *
 * A session in mode autocommit leaves IDLE only by an explicit begin or
 * savepoint.  What is bound to the local transaction (savepoint_mirror.c) is ended by that
 * alone, and there is one transaction of an engine and mode: a session without
 * a handle, which the engine's one-liners and all bound sessions share.  These
 * are handles for it and nothing else, always IDLE; what is done in one is done in
 * its unit (sm_session_unit()).  On a driver without
 * transactions of its own (remote is false) a session is always IDLE and has a
 * connection only during a statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "utils/memutils.h"

dlist_head	sm_sessions = DLIST_STATIC_INIT(sm_sessions);

/* ----------
 * Opening, looking up, closing
 * ----------
 */
static SmSession *
new_session(SmEngine *engine, const SmSessionOptions *options)
{
	SmSession  *session;

	session = MemoryContextAllocZero(TopMemoryContext, sizeof(SmSession));
	session->engine = engine;
	session->options = *options;
	session->state = SM_SESSION_IDLE;
	session->subid = GetCurrentSubTransactionId();
	session->opened_at = GetCurrentTimestamp();
	session->used = true;
	engine->users++;
	dlist_push_tail(&sm_sessions, &session->node);
	return session;
}

SmSession *
sm_session_open(SmEngine *engine, const SmSessionOptions *options)
{
	SmSession  *session;

	sm_engine_check(engine);
	session = new_session(engine, options);
	/* if this fails, the session ends with the transaction */
	session->id = sm_handle_new(SM_HANDLE_SESSION, session);
	return session;
}

/*
 * The transaction of an engine that is bound to the local one in the way that
 * these options say.  It begins as they say with its first use; throws 25001 if
 * it has begun otherwise.
 */
SmSession *
sm_session_shared(SmEngine *engine, const SmSessionOptions *options)
{
	SmSession **place = &engine->shared[options->transaction - SM_TXN_JOINED];
	SmSession  *shared = *place;

	if (shared == NULL)
	{
		*place = shared = new_session(engine, options);

		/*
		 * what becomes of its work at the end of a subtransaction,
		 * savepoint_mirror.c says
		 */
		shared->subid = TopSubTransactionId;
	}
	else if (shared->state == SM_SESSION_IDLE && shared->running == 0)
		shared->options = *options;
	else if (shared->state == SM_SESSION_ACTIVE && !sm_mirror_suits(shared, options))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the transaction on \"%s\" that is part of the local one has begun with other properties",
						engine->endpoint.label),
				 errdetail("All sessions and one-liners of an engine that are part of the local transaction share one transaction there: \"isolation_level\", \"read_only\" and \"deferrable\" must be the same."),
				 errhint("Use another local transaction, or a session with transaction 'manual'.")));
	shared->options.hold = false;
	return shared;
}

/* The session that does what this one is asked to do: itself, or the one that it shares. */
SmSession *
sm_session_unit(SmSession *session)
{
	SmSession  *shared;

	if (likely(!sm_mirror_shares(session)))
		return session;
	shared = session->engine->shared[session->options.transaction - SM_TXN_JOINED];
	return shared != NULL ? shared : session;
}

/* The session that has what was sent in this one: its unit, or itself. */
SmSession *
sm_session_unit_of_sent(SmSession *session)
{
	SmSession  *unit = sm_session_unit(session);

	return unit->sent != NULL && unit->sent->sender == session->id ? unit : session;
}

/* It is about to be used: its unit, which is usable. */
static SmSession *
enter_unit(SmSession *session)
{
	SmSession  *unit = session;

	if (unlikely(sm_mirror_shares(session)))
		unit = sm_session_shared(session->engine, &session->options);
	sm_session_check_usable(unit);
	if (unlikely(unit != session) && session->began == 0)
		session->began = GetCurrentTransactionNestLevel();
	return unit;
}

/* It is about to run a statement: its unit, which is usable. */
SmSession *
sm_session_enter(SmSession *session)
{
	SmSession  *unit = enter_unit(session);

	unit->statements++;
	if (unit != session)
		session->statements++;
	return unit;
}

/*
 * The session behind a handle, if the current role may use it; NULL if it is
 * closed and missing_ok.
 */
SmSession *
sm_session_from_handle(uint64 id, bool missing_ok)
{
	SmSession  *session = sm_handle_get(id, SM_HANDLE_SESSION, missing_ok);

	sm_check_restricted_use("a handle");
	if (session != NULL)
		sm_check_role(session->engine->endpoint.roleid, "session");
	return session;
}

/* The session of one target's part of a work on many, in manual mode. */
SmSession *
sm_session_of_work(SmEngine *engine)
{
	SmSessionOptions options = engine->endpoint.session;

	if (sm_engine_binds(engine, options.transaction))
		return sm_session_shared(engine, &options);
	options.hold = false;
	options.transaction = SM_TXN_MANUAL;
	return new_session(engine, &options);
}

static void
check_not_running(const SmSession *session)
{
	if (session->running > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a statement of this session on \"%s\" is still running",
						session->engine->endpoint.label)));
}

/* Nothing but receive, cancel and what gives it up may follow a send. */
static void
check_not_sent(const SmSession *session)
{
	if (unlikely(session->sent != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a statement was sent in this session on \"%s\" and is not received yet",
						session->engine->endpoint.label),
				 errhint("Call sessmgr.receive(), or give it up with sessmgr.rollback() or close().")));
}

/* Tell that what was sent could not be stopped in time. */
static void
warn_sent(const void *arg, bool named)
{
	const SmSession *session = arg;

	ereport(WARNING,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 named ?
			 errmsg("a statement that was sent to \"%s\" and not received could not be canceled",
					session->engine->endpoint.label) :
			 errmsg("a statement that was sent and not received could not be canceled"),
			 sm_conn_outcome(session->conn) == SM_OUTCOME_DONE ?
			 errdetail("It has been done.") :
			 errdetail("The target did not answer in time: it may have been done."),
			 named ? sm_report_context(&session->engine->endpoint, session->sent->xstmt.statement.sql) : 0));
}

/* It has sent this, and not received the answer; NULL: nothing.  Never throws. */
void
sm_session_set_sent(SmSession *session, SmSent *sent)
{
	session->sent = sent;
	if (session->conn != NULL)
		sm_checkout(session->conn)->unreceived = (sent != NULL);
}

/*
 * What was sent and not received has been stopped, with cleanup_outcome: forget
 * it, and tell if that came too late.  Never throws.
 */
void
sm_session_forget_sent(SmSession *session)
{
	SmSent	   *sent = session->sent;

	if (likely(sent == NULL))
		return;
	if (sent->own_transaction && session->conn != NULL && sm_conn_outcome(session->conn) != SM_OUTCOME_NONE)
		(void) sm_ereport_nothrow(warn_sent, session);
	sm_session_set_sent(session, NULL);
	MemoryContextDelete(sent->cxt);
}

/*
 * The transaction is over, one way or the other: give the connection back.
 * Never throws.
 */
void
sm_session_forget_transaction(SmSession *session, TimestampTz deadline)
{
	SmConn	   *conn = session->conn;

	sm_session_forget_sent(session);
	session->conn = NULL;
	session->state = SM_SESSION_IDLE;
	session->ended = false;
	session->older = false;
	session->torn = false;
	free(session->loss);
	session->loss = NULL;
	sm_savepoints_truncate(session, 0);
	session->next_savepoint = 0;
	session->stale = 0;
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
		(sm_conn_state(conn) == SM_CONN_DEAD ||
		 (sm_conn_state(conn) == SM_CONN_READY &&
		  session->engine->driver->status(conn) == SM_TRANSACTION_NONE)))
	{
		char	   *loss = sm_conn_state(conn) == SM_CONN_DEAD ? sm_take_fatal_message(conn) : NULL;
		bool		older = session->older;
		bool		torn = session->torn;

		sm_session_forget_transaction(session, SM_FROM_NOW);
		session->state = SM_SESSION_LOST;
		session->loss = loss;
		session->older = older;
		session->torn = torn;
	}
}

/* How a transaction that is LOST was lost, for an error's detail. */
char *
sm_session_loss(const SmSession *session)
{
	if (session->torn)
		return pstrdup(_("A local transaction that used it was rolled back, and with it what earlier ones had done in it."));
	if (session->ended)
		return pstrdup(_("Transaction control given as a statement ended it: what it did may be committed there."));
	if (session->loss != NULL)
		return psprintf(_("Its connection ended, and so it was rolled back: %s"),
						sm_report_text(session->loss));
	return pstrdup(_("Its connection broke, or one of its statements ended it; what it did was rolled back."));
}

/* Roll back what is under way; never throws. */
void
sm_session_abandon_transaction(SmSession *session, TimestampTz deadline)
{
	if (session->conn != NULL)
		sm_conn_cleanup(session->conn, "ROLLBACK", deadline);
	sm_session_forget_transaction(session, deadline);
}

/*
 * The local transaction aborts, and a session that survives it was used in it.
 * If a part of what is under way was done in an earlier local transaction,
 * nobody who only sees this one undone would know that it is gone: so the session
 * has failed until it is rolled back.  Called before the connections are cleaned
 * up.  Never throws.
 */
void
sm_session_tear(SmSession *session)
{
	if (session->older && session->state == SM_SESSION_ACTIVE)
		session->torn = true;
}

/* After connections were cleaned up: roll back what is under way.  Never throws. */
void
sm_session_torn(SmSession *session, TimestampTz deadline)
{
	bool		torn = session->torn;

	if (session->older && session->state == SM_SESSION_LOST)
		return;
	sm_session_abandon_transaction(session, deadline);
	if (torn)
	{
		session->state = SM_SESSION_LOST;
		session->older = true;
		session->torn = true;
	}
}

/* When a clean-up that begins now must have ended. */
TimestampTz
sm_session_cleanup_deadline(const SmSession *session)
{
	return sm_deadline(session->engine->endpoint.options.cleanup_timeout);
}

/* End a session by the deadline, rolling back what is under way; never throws. */
void
sm_session_end(SmSession *session, TimestampTz deadline)
{
	SmSession  *unit = sm_session_unit_of_sent(session);

	if (unit != session)
	{
		/* the transaction stays, but nobody is left to receive this */
		sm_conn_cleanup(unit->conn, NULL, deadline);
		sm_session_forget_sent(unit);
		sm_session_note_loss(unit);
	}
	sm_session_abandon_transaction(session, deadline);
	dlist_delete(&session->node);
	if (session->id != 0)
		sm_handle_forget(session->id, session->end);
	for (int i = 0; i < (int) lengthof(session->engine->shared); i++)
	{
		if (session->engine->shared[i] == session)
			session->engine->shared[i] = NULL;
	}
	session->engine->users--;
	pfree(session);
	sm_engine_sweep();
}

void
sm_session_close(SmSession *session)
{
	check_not_running(sm_session_unit_of_sent(session));
	session->end = SM_END_CLOSE;
	sm_session_end(session, sm_session_cleanup_deadline(session));
}

/* ----------
 * Transactions
 * ----------
 */
static void
check_not_lost(const SmSession *session)
{
	if (session->state == SM_SESSION_PREPARED)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("the transaction of this session on \"%s\" is being committed",
						session->engine->endpoint.label)));
	if (session->state == SM_SESSION_LOST)
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction of this session on \"%s\" is lost",
						session->engine->endpoint.label),
				 errdetail_internal("%s", sm_session_loss(session)),
				 sm_session_bound(session) ?
				 errhint("Roll the local transaction back, which it belongs to.") :
				 errhint("Call sessmgr.rollback() before the session is used again.")));
}

/* Only the local transaction ends what is bound to it. */
static void
check_unbound(const SmSession *session)
{
	if (sm_session_bound(session))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("the transaction of this session on \"%s\" is part of the local one",
						session->engine->endpoint.label),
				 errhint("End the local transaction, or use local savepoints or EXCEPTION blocks.")));
}

/* Before any use that may begin something. */
void
sm_session_check_usable(SmSession *session)
{
	check_not_running(session);
	check_not_sent(session);
	sm_session_note_loss(session);
	check_not_lost(session);
	if (session->state == SM_SESSION_ACTIVE)
		sm_streams_buffer(session->conn, SM_NO_DEADLINE);
	/* a transaction under way may be finished whatever became of the engine */
	if (session->state != SM_SESSION_ACTIVE ||
		session->engine->state != SM_ENGINE_INVALIDATED)
		sm_engine_check(session->engine);
	session->used = true;
}

/* What the session's transaction, about to begin on conn, is to begin with. */
List *
sm_session_beginning(SmSession *session, const SmConn *conn, SmSessionOptions *options)
{
	if (sm_session_bound(session))
		return sm_mirror_begin(session, conn, options);
	*options = session->options;
	return NIL;
}

/* Its transaction is beginning on this connection. */
void
sm_session_activate(SmSession *session, SmConn *conn)
{
	sm_checkout(conn)->session = session;
	session->conn = conn;
	session->state = SM_SESSION_ACTIVE;
}

/*
 * Begin a transaction now, in a round trip of its own, on a connection that was
 * checked out for it, or NULL.
 */
void
sm_session_start(SmSession *session, SmConn *conn)
{
	SmSessionOptions options;
	List	   *then;

	if (conn == NULL)
		conn = sm_pool_checkout(session->engine);
	then = sm_session_beginning(session, conn, &options);
	session->engine->driver->begin(conn, &options, then);
	sm_session_activate(session, conn);
	if (session->options.transaction == SM_TXN_TWO_PHASE)
		sm_twophase_register(session);
}

void
sm_session_begin(SmSession *session)
{
	bool		again = sm_session_in_transaction(session);
	SmSession  *unit = enter_unit(session);

	if (!sm_engine_is_remote(session->engine))
		return;
	if (again)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("this session on \"%s\" is already in a transaction",
						session->engine->endpoint.label),
				 errhint("A session begins one by itself with its first statement.")));
	/* one that others have begun is this one's, too */
	if (unit->state == SM_SESSION_IDLE)
		sm_session_start(unit, NULL);
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
		sm_driver_command(session->engine->driver, session->conn, "COMMIT", SM_COMMAND_COMMIT);
	}
	PG_CATCH();
	{
		if (sm_conn_state(session->conn) != SM_CONN_BUSY)
			sm_session_forget_transaction(session, SM_FROM_NOW);
		PG_RE_THROW();
	}
	PG_END_TRY();
	sm_session_forget_transaction(session, SM_FROM_NOW);
}

void
sm_session_commit(SmSession *session)
{
	check_not_running(session);
	check_unbound(session);
	check_not_sent(session);
	if (session->state == SM_SESSION_ACTIVE && sm_conn_state(session->conn) != SM_CONN_DEAD)
		sm_streams_buffer(session->conn, SM_NO_DEADLINE);
	/* on a dead connection COMMIT would leave an unknown outcome behind */
	if (session->state == SM_SESSION_ACTIVE && sm_conn_state(session->conn) == SM_CONN_READY &&
		!session->engine->driver->alive(session->conn))
		sm_conn_set_state(session->conn, SM_CONN_DEAD);
	sm_session_note_loss(session);
	session->used = true;
	if (session->state == SM_SESSION_LOST ||
		(session->state == SM_SESSION_ACTIVE &&
		 session->engine->driver->status(session->conn) == SM_TRANSACTION_FAILED))
	{
		char	   *loss = session->state == SM_SESSION_LOST ? sm_session_loss(session) : NULL;

		sm_session_abandon_transaction(session, sm_session_cleanup_deadline(session));
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction of this session on \"%s\" had failed and was rolled back",
						session->engine->endpoint.label),
				 loss != NULL ? errdetail_internal("%s", loss) : 0));
	}
	if (session->state == SM_SESSION_ACTIVE)
		send_commit(session);
}

/* There is no transaction but the caller's: the driver says that it cannot. */
static void
refuse_command(SmSession *session, const char *command)
{
	session->engine->driver->command_send(NULL, command, SM_COMMAND_PLAIN, SM_NO_DEADLINE);
}

/*
 * Rolling back cannot fail: a connection that does not obey is dropped, and
 * the target rolls back for want of a client.
 */
void
sm_session_rollback(SmSession *session)
{
	check_not_running(session);
	check_unbound(session);
	if (!sm_engine_is_remote(session->engine))
		refuse_command(session, "ROLLBACK");
	sm_session_abandon_transaction(session, sm_session_cleanup_deadline(session));
}

bool
sm_session_in_transaction(SmSession *session)
{
	const SmSession *unit = sm_session_unit(session);

	return !sm_engine_is_remote(session->engine) ||
		(unit->state != SM_SESSION_IDLE && (unit == session || session->began != 0));
}

/* ----------
 * Savepoints
 *
 * A number is used once in a transaction, so that a stale one is told apart.
 * ----------
 */
static char *
savepoint_text(const SmSession *session, const char *verb, int savepoint)
{
	char		name[SM_NAME_SIZE];

	return psprintf("%s %s", verb, sm_remote_name(name, session->conn, "", savepoint));
}

static void
savepoint_command(SmSession *session, const char *verb, int savepoint, SmCommand kind)
{
	sm_driver_command(session->engine->driver, session->conn,
					  savepoint_text(session, verb, savepoint), kind);
}

int
sm_session_begin_nested(SmSession *session)
{
	MemoryContext old;
	int			savepoint = session->next_savepoint + 1;

	check_unbound(session);
	sm_session_check_usable(session);
	if (!sm_engine_is_remote(session->engine))
		refuse_command(session, savepoint_text(session, "SAVEPOINT", savepoint));
	if (session->state == SM_SESSION_IDLE)
		sm_session_start(session, NULL);

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
					savepoint, session->engine->endpoint.label)));
	return 0;					/* keep compiler quiet */
}

void
sm_session_release(SmSession *session, int savepoint)
{
	int			place;

	check_unbound(session);
	sm_session_check_usable(session);
	if (!sm_engine_is_remote(session->engine))
		refuse_command(session, savepoint_text(session, "RELEASE SAVEPOINT", savepoint));
	place = find_savepoint(session, savepoint);
	savepoint_command(session, "RELEASE SAVEPOINT", savepoint, SM_COMMAND_PLAIN);
	sm_savepoints_truncate(session, place);
}

/* The savepoint stays, those set after it go. */
void
sm_session_rollback_to(SmSession *session, int savepoint)
{
	int			place;

	check_unbound(session);
	check_not_sent(session);
	if (session->state == SM_SESSION_ACTIVE)
		sm_streams_lose(session->conn, find_savepoint(session, savepoint));
	sm_session_check_usable(session);
	if (!sm_engine_is_remote(session->engine))
		refuse_command(session, savepoint_text(session, "ROLLBACK TO SAVEPOINT", savepoint));
	place = find_savepoint(session, savepoint);
	savepoint_command(session, "ROLLBACK TO SAVEPOINT", savepoint, SM_COMMAND_ROLLBACK_TO);
	sm_savepoints_truncate(session, place + 1);
}

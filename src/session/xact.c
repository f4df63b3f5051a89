/*-------------------------------------------------------------------------
 *
 * xact.c
 *		The one pair of transaction callbacks, the exit callback, and reset.
 *
 * Nothing here throws but sm_reset() and what is done at pre-commit.
 *
 * Each clean-up first collects all connections it deals with, and has them
 * cleaned up at the same time, by one deadline: the longest of the engines
 * concerned.  A connection that does not obey by then is dropped: for its
 * target that is a rollback.  What follows, sessions' ends and check-ins,
 * finds nothing left to wait for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "catalog/namespace.h"
#include "storage/ipc.h"
#include "utils/inval.h"
#include "utils/syscache.h"

static bool exit_registered = false;
static bool exited = false;		/* everything is closed for good */

/*
 * The extension's schema as it was when something was first kept here, and
 * whether that may be another one now, or none: without the extension nobody
 * could end what is open any more.  The callback may look at nothing.  So the
 * end of a transaction looks, and the commit acts on it.
 */
static Oid	schema_seen = InvalidOid;
static bool schemas_changed = false;
static bool extension_gone = false;

static bool
nothing_to_do(void)
{
	return exited || !sm_engine_owned();
}

/*
 * What a session's connection is to run when this (sub)transaction aborts, or
 * NULL.  InvalidSubTransactionId: it is the whole transaction.
 */
static const char *
abort_command(SmSession *session, SubTransactionId subid)
{
	if (subid == InvalidSubTransactionId)
		return !session->survives || session->used ? sm_bound_abort_command(session) : NULL;
	if (!session->survives && session->subid == subid)
		return "ROLLBACK";
	if (sm_session_bound(session))
		return sm_mirror_subabort(session, GetCurrentTransactionNestLevel());
	return NULL;
}

/*
 * Was what runs on this connection begun in the (sub)transaction that aborts?
 * A statement that was sent in a held session before is none of its business.
 */
static bool
concerns(const SmConn *conn, SubTransactionId subid)
{
	if (subid == InvalidSubTransactionId)
		return sm_checkout(conn)->session == NULL || !sm_checkout(conn)->session->survives || sm_checkout(conn)->session->used;
	return sm_checkout(conn)->subid == subid;
}

/* What a session was doing may have been stopped: what is left of it? */
static void
note_stopped(SmSession *session, TimestampTz deadline)
{
	if (session->sent != NULL && sm_conn_state(session->conn) != SM_CONN_BUSY)
	{
		bool		own_transaction = session->sent->own_transaction;

		sm_session_forget_sent(session);
		if (own_transaction)
			sm_session_forget_transaction(session, deadline);
	}
	sm_session_note_loss(session);
}

/*
 * An error has ended a (sub)transaction.  Connections that were checked out
 * for a call inside it go back, those of sessions take back what belongs to it
 * or, at least, stop what they were doing.  What then becomes of the sessions
 * is left to the caller.
 */
static TimestampTz
clean_up_connections(SubTransactionId subid)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);
	TimestampTz deadline;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &sm_checked_out)
	{
		SmConn	   *conn = sm_conn_of(iter.cur);
		bool		inside = concerns(conn, subid);
		const char *command = sm_checkout(conn)->session != NULL ? abort_command(sm_checkout(conn)->session, subid) :
			inside ? "ROLLBACK" : NULL;

		/*
		 * a FETCH that nobody waits for: to cancel it would cost the
		 * transaction
		 */
		if (command == NULL && sm_streams_fetching(conn))
			continue;
		if (inside || command != NULL)
			sm_cleanup_add(&conns, conn, command);
	}
	deadline = sm_conns_clean(&conns);
	dlist_foreach_modify(iter, &sm_checked_out)
	{
		SmConn	   *conn = sm_conn_of(iter.cur);

		if (sm_checkout(conn)->session != NULL)
			note_stopped(sm_checkout(conn)->session, deadline);
		else if (subid == InvalidSubTransactionId || sm_checkout(conn)->subid == subid)
			sm_pool_checkin(conn, deadline);
	}
	return deadline;
}

/*
 * End all sessions and forget all engines, with their connections, unless
 * those that are idle are to be kept.  Nothing may be running.  Never throws.
 */
static void
close_everything(bool keep_connections)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);
	TimestampTz deadline;
	dlist_iter	iter;

	dlist_foreach(iter, &sm_checked_out)
		sm_cleanup_add(&conns, sm_conn_of(iter.cur), "ROLLBACK");
	deadline = sm_conns_clean(&conns);
	while (!dlist_is_empty(&sm_sessions))
	{
		SmSession  *session = dlist_head_element(SmSession, node, &sm_sessions);

		sm_session_forget_sent(session);
		session->end = SM_END_RESET;
		sm_session_end(session, deadline);
	}
	if (keep_connections)
	{
		sm_engine_forget_all();
		return;
	}
	sm_engine_drop_all(false);
	sm_idle_stop();
}

/* ----------
 * The local transaction
 * ----------
 */

/* Streams that were left open by whoever read them. */
static void
end_streams(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &sm_checked_out)
	{
		SmConn	   *conn = sm_conn_of(iter.cur);

		if (sm_checkout(conn)->session == NULL && sm_streams_any(conn))
		{
			sm_conn_cleanup(conn, "ROLLBACK", sm_deadline(sm_conn_engine(conn)->endpoint.options.cleanup_timeout));
			sm_pool_checkin(conn, SM_FROM_NOW);
		}
	}
}

static void
warn_uncommitted(const void *arg, bool named)
{
	const SmSession *session = arg;

	ereport(WARNING,
			(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION_FOR_BRANCH_TRANSACTION),
			 named ?
			 errmsg("uncommitted work of a session on \"%s\" is rolled back",
					session->engine->endpoint.label) :
			 errmsg("uncommitted work of a session is rolled back"),
			 errhint("Call sessmgr.commit() or sessmgr.rollback() before the local transaction ends.")));
}

static void
before_commit(void)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);
	TimestampTz deadline;
	dlist_mutable_iter iter;

	if (!dlist_is_empty(&sm_checked_out))
		end_streams();
	if (dlist_is_empty(&sm_sessions))
		return;
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (session->options.hold || sm_session_bound(session))
			continue;
		if (session->in_this > 0 && session->options.read_only != SM_ON &&
			session->state == SM_SESSION_ACTIVE)
			(void) sm_ereport_nothrow(warn_uncommitted, session);
		if (session->conn != NULL)
			sm_cleanup_add(&conns, session->conn, "ROLLBACK");
	}
	deadline = sm_conns_clean(&conns);
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (session->options.hold || sm_session_bound(session))
			continue;
		sm_session_forget_sent(session);
		sm_session_end(session, deadline);
	}
	/* last, as close to the local commit as can be */
	sm_bound_before_commit();
}

static void
note_schema_change(Datum arg, int cacheid, uint32 hashvalue)
{
	(void) arg;
	(void) cacheid;
	(void) hashvalue;
	schemas_changed = true;
}

/* Does this transaction leave the extension as it was? */
static void
look_for_extension(void)
{
	if (likely(!schemas_changed))
		return;
	schemas_changed = false;
	extension_gone = get_namespace_oid("sessmgr", true) != schema_seen;
}

/* It does not: close all, as at the start of the backend. */
static void
forget_extension(void)
{
	if (likely(!extension_gone))
		return;
	extension_gone = false;
	close_everything(false);
	/* let the next use see which schema there is then */
	schema_seen = InvalidOid;
}

static void
after_commit(void)
{
	dlist_mutable_iter iter;

	sm_bound_after_commit();
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (!session->options.hold)
		{
			sm_session_end(session, SM_FROM_NOW);
			continue;
		}
		session->survives = true;
		session->used = false;
		session->began = 0;
		session->older = session->state != SM_SESSION_IDLE;
	}
}

static void
after_abort(void)
{
	TimestampTz deadline;
	dlist_mutable_iter iter;

	if (dlist_is_empty(&sm_sessions) && dlist_is_empty(&sm_checked_out))
		return;
	SM_INJECTION_POINT("aborting");
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (session->survives && session->used)
			sm_session_tear(session);
	}
	deadline = clean_up_connections(InvalidSubTransactionId);
	SM_INJECTION_POINT("aborted");
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		sm_bound_aborted(session);
		if (!session->survives)
		{
			session->end = SM_END_ROLLBACK;
			sm_session_end(session, deadline);
			continue;
		}
		if (session->used)
			sm_session_torn(session, deadline);
		session->used = false;
		session->began = 0;
	}
}

static void
at_end(bool committed)
{
	sm_twophase_at_end(committed);
	sm_sessionmakers_at_end();
	if (!sm_forked())
		sm_engine_drop_all(true);
	sm_engine_sweep();
	sm_idle_at_end();
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (nothing_to_do())
		return;
	sm_deadlock_ask_end();
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			before_commit();
			look_for_extension();
			break;
		case XACT_EVENT_PRE_PREPARE:
			sm_bound_refuse_prepare();
			before_commit();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			after_commit();
			at_end(true);
			forget_extension();
			break;
		case XACT_EVENT_ABORT:
			schemas_changed |= extension_gone;
			extension_gone = false;
			sm_bound_at_abort();
			after_abort();
			at_end(false);
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
}

/* ----------
 * Local subtransactions
 * ----------
 */

/* A joined session's savepoint, or all of its transaction, was rolled back. */
static void
joined_subabort(SmSession *session, TimestampTz deadline)
{
	SmConn	   *conn = session->conn;

	if (sm_mirror_shares(session))
	{
		/*
		 * its first use in what is left of the transaction may be still to
		 * come
		 */
		if (session->began >= GetCurrentTransactionNestLevel())
			session->began = 0;
		return;
	}
	if (session->state == SM_SESSION_IDLE)
		return;
	if (session->began >= GetCurrentTransactionNestLevel())
		sm_session_abandon_transaction(session, deadline);
	else if (conn != NULL && sm_cleanup_failed(conn, session->command))
	{
		sm_conn_set_state(conn, SM_CONN_DEAD);
		sm_session_note_loss(session);
	}
}

static void
subxact_abort(SubTransactionId subid)
{
	TimestampTz deadline;
	dlist_mutable_iter iter;

	if (dlist_is_empty(&sm_sessions) && dlist_is_empty(&sm_checked_out))
		return;
	deadline = clean_up_connections(subid);
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (!session->survives && session->subid == subid)
		{
			session->end = SM_END_ROLLBACK;
			sm_session_end(session, deadline);
		}
		else if (sm_session_bound(session))
			joined_subabort(session, deadline);
	}
}

static void
subxact_commit(SubTransactionId subid, SubTransactionId parent)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sm_checked_out)
	{
		SmConn	   *conn = sm_conn_of(iter.cur);

		if (sm_checkout(conn)->subid == subid)
			sm_checkout(conn)->subid = parent;
	}
	dlist_foreach(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (session->subid == subid)
			session->subid = parent;
		if (sm_session_bound(session))
			sm_mirror_subcommit(session, GetCurrentTransactionNestLevel());
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid,
				 SubTransactionId parent, void *arg)
{
	(void) arg;
	if (nothing_to_do())
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		sm_deadlock_ask_end();
		subxact_abort(subid);
		sm_twophase_subxact_end(subid, InvalidSubTransactionId);
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		subxact_commit(subid, parent);
		sm_twophase_subxact_end(subid, parent);
	}
}

/* ----------
 * The end of the backend
 * ----------
 */

/*
 * Runs before the transaction's abort callbacks do, and leaves them nothing:
 * what runs is canceled, everything is closed.
 */
static void
at_exit(int code, Datum arg)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);
	dlist_mutable_iter iter;

	(void) code;
	(void) arg;
	if (nothing_to_do())
		return;
	exited = true;
	sm_deadlock_ask_end();
	sm_idle_stop();
	dlist_foreach_modify(iter, &sm_checked_out)
	{
		SmConn	   *conn = sm_conn_of(iter.cur);
		bool		prepared = sm_checkout(conn)->session != NULL &&
			sm_checkout(conn)->session->state == SM_SESSION_PREPARED;

		/* closing rolls back everything else */
		sm_cleanup_add(&conns, conn,
					   prepared ? sm_bound_abort_command(sm_checkout(conn)->session) : NULL);
	}
	(void) sm_conns_clean(&conns);
	dlist_foreach_modify(iter, &sm_checked_out)
	{
		SmConn	   *conn = sm_conn_of(iter.cur);

		/* the log is where this is looked for */
		if (sm_checkout(conn)->session != NULL)
			sm_bound_aborted(sm_checkout(conn)->session);
		dlist_delete(&sm_checkout(conn)->node);
		sm_conn_engine(conn)->driver->close(conn, false);
	}
	dlist_foreach_modify(iter, &sm_engines)
		(void) sm_pool_dispose(dlist_container(SmEngine, node, iter.cur));
}

void
sm_xact_init(void)
{
	static bool half = false;	/* see _PG_init() */

	if (!half)
		RegisterXactCallback(xact_callback, NULL);
	half = true;
	RegisterSubXactCallback(subxact_callback, NULL);
	CacheRegisterSyscacheCallback(NAMESPACEOID, note_schema_change, (Datum) 0);
}

/* Is anything in use, or was a session used, in this local transaction? */
static bool
is_any_used(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sm_checked_out)
	{
		if (sm_checkout(sm_conn_of(iter.cur))->session == NULL)
			return true;
	}

	dlist_foreach(iter, &sm_sessions)
	{
		const SmSession *session = dlist_container(SmSession, node, iter.cur);

		if (session->used || session->running > 0)
			return true;
	}
	return sm_fan_outs > 0 || sm_engine_creating();
}

/*
 * The extension may be another one than that which was used last: then nothing of
 * the old one's is left to the new one.  Where the old one was used in this same
 * transaction, that waits for its end.
 */
static void
see_extension(void)
{
	Oid			schema = get_namespace_oid("sessmgr", true);

	if (OidIsValid(schema_seen) && schema != schema_seen && sm_engine_owned())
	{
		if (is_any_used())
			return;
		close_everything(false);
	}
	schemas_changed = false;
	schema_seen = schema;
}

/*
 * To be called first by every SQL function that looks at or changes what is
 * kept here.
 */
void
sm_enter(void)
{
	bool		inherited;

	if (likely(sm_engine_owned() && OidIsValid(schema_seen) && !schemas_changed))
		return;
	see_extension();
	if (sm_engine_owned())
		return;
	inherited = sm_engine_take_over();
	if (inherited)
	{
		dlist_init(&sm_sessions);
		sm_sessionmakers_abandon();
		sm_deadlock_ask_abandon();
		sm_fan_outs = 0;
		exit_registered = false;
	}
	exited = false;
	if (!exit_registered)
		before_shmem_exit(at_exit, (Datum) 0);
	exit_registered = true;
	sm_idle_start(inherited);
}

/*
 * Close all sessions and forget all engines, as at the start of the backend.
 * keep_connections: those that are idle may be of use again; whoever has them
 * next will find nothing of what was done on them.  Throws 55006, and does
 * nothing, while a statement or an engine callback is running.
 */
void
sm_reset(bool keep_connections)
{
	dlist_iter	iter;

	if (nothing_to_do())
		return;
	if (sm_engine_creating())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot reset while an engine callback is running")));
	if (sm_fan_outs > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot reset while a statement is running")));
	dlist_foreach(iter, &sm_checked_out)
	{
		if (sm_checkout(sm_conn_of(iter.cur))->session == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot reset while a statement is running")));
	}
	dlist_foreach(iter, &sm_sessions)
	{
		const SmSession *session = dlist_container(SmSession, node, iter.cur);

		if (session->running > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot reset while a statement is running")));
		if (sm_session_bound(session) && session->state != SM_SESSION_IDLE)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot reset while a transaction on \"%s\" is part of the local one",
							session->engine->endpoint.label)));
	}
	close_everything(keep_connections);
}

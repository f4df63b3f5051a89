/*-------------------------------------------------------------------------
 *
 * xact.c
 *		The one pair of transaction callbacks, the exit callback, and reset.
 *
 * Nothing here throws but sm_reset() and, at pre-commit, the WARNINGs.
 *
 * Each clean-up first gathers all connections it deals with, and has them
 * cleaned up at the same time, by one deadline: the longest of the engines
 * concerned.  A connection that does not obey by then is dropped: for its
 * target that is a rollback.  What follows, sessions' ends and check-ins,
 * finds nothing left to wait for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"
#include "src/compat.h"

#include "storage/ipc.h"

static bool exit_registered = false;
static bool exited = false;		/* everything is closed for good */

static bool
nothing_to_do(void)
{
	return exited || !sm_engine_owned();
}

/* A connection is to be cleaned up together with others, and to run sql then. */
static void
gather(dlist_head *conns, SmConn *conn, const char *sql)
{
	conn->settle_sql = sql;
	dlist_push_tail(conns, &conn->settle_node);
}

/*
 * Clean up what was gathered.  Returns the deadline for that; by then nothing
 * should be left to wait for.
 */
static TimestampTz
clean_up(dlist_head *conns)
{
	TimestampTz deadline;
	int			timeout = 1;
	dlist_iter	iter;

	dlist_foreach(iter, conns)
		timeout = Max(timeout,
					  dlist_container(SmConn, settle_node, iter.cur)->engine->options.cleanup_timeout);
	deadline = sm_deadline(timeout);
	sm_conns_cleanup(conns, deadline);
	return deadline;
}

/* Is a session's transaction rolled back when this (sub)transaction aborts? */
static bool
ends_with(const SmSession *session, SubTransactionId subid)
{
	if (subid == InvalidSubTransactionId)
		return !session->survives || session->used;
	return !session->survives && session->subid == subid;
}

/*
 * An error has ended a (sub)transaction; InvalidSubTransactionId: the whole of
 * it.  Connections that were checked out for a call inside it go back, those
 * of sessions that end with it roll back, and those of others stop what they
 * were doing.  The sessions are left to the caller.
 */
static TimestampTz
settle_connections(SubTransactionId subid)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);
	TimestampTz deadline;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &sm_checked_out)
	{
		SmConn	   *conn = dlist_container(SmConn, node, iter.cur);
		bool		inside = subid == InvalidSubTransactionId || conn->subid == subid;

		if (conn->session == NULL ? inside : ends_with(conn->session, subid))
			gather(&conns, conn, "ROLLBACK");
		else if (inside)
			gather(&conns, conn, NULL);
	}
	deadline = clean_up(&conns);
	dlist_foreach_modify(iter, &sm_checked_out)
	{
		SmConn	   *conn = dlist_container(SmConn, node, iter.cur);

		if (subid != InvalidSubTransactionId && conn->subid != subid)
			continue;
		if (conn->session == NULL)
			sm_pool_checkin(conn, deadline);
		else
			sm_session_note_loss(conn->session);
	}
	return deadline;
}

/* ----------
 * The local transaction
 * ----------
 */
static void
warn_uncommitted(const SmSession *session)
{
	if (session->in_this > 0 && session->options.read_only != SM_ON &&
		session->state == SM_SESSION_ACTIVE)
		ereport(WARNING,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION_FOR_BRANCH_TRANSACTION),
				 errmsg("uncommitted work of a session on \"%s\" is rolled back",
						session->engine->label),
				 errhint("Call sessmgr.commit() or sessmgr.rollback() before the local transaction ends.")));
}

static void
before_commit(void)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);
	TimestampTz deadline;
	dlist_mutable_iter iter;

	if (dlist_is_empty(&sm_sessions))
		return;
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (session->options.hold)
			continue;
		warn_uncommitted(session);
		if (session->conn != NULL)
			gather(&conns, session->conn, "ROLLBACK");
	}
	deadline = clean_up(&conns);
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (!session->options.hold)
			sm_session_end(session, deadline);
	}
}

static void
after_commit(void)
{
	dlist_iter	iter;

	/* what is left was opened with hold */
	dlist_foreach(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		session->survives = true;
		session->used = false;
	}
}

static void
after_abort(void)
{
	TimestampTz deadline;
	dlist_mutable_iter iter;

	if (dlist_is_empty(&sm_sessions) && dlist_is_empty(&sm_checked_out))
		return;
	deadline = settle_connections(InvalidSubTransactionId);
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (!session->survives)
		{
			sm_session_end(session, deadline);
			continue;
		}
		if (session->used)
			sm_session_abandon_transaction(session, deadline);
		session->used = false;
	}
}

static void
at_end(void)
{
	sm_factories_at_end();
	if (!sm_forked())
		sm_engine_drop_all(true);
	sm_engine_sweep();
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (nothing_to_do())
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			before_commit();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			after_commit();
			at_end();
			break;
		case XACT_EVENT_ABORT:
			after_abort();
			at_end();
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
static void
subxact_abort(SubTransactionId subid)
{
	TimestampTz deadline;
	dlist_mutable_iter iter;

	if (dlist_is_empty(&sm_sessions) && dlist_is_empty(&sm_checked_out))
		return;
	deadline = settle_connections(subid);
	dlist_foreach_modify(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (ends_with(session, subid))
			sm_session_end(session, deadline);
	}
}

static void
subxact_commit(SubTransactionId subid, SubTransactionId parent)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sm_checked_out)
	{
		SmConn	   *conn = dlist_container(SmConn, node, iter.cur);

		if (conn->subid == subid)
			conn->subid = parent;
	}
	dlist_foreach(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);

		if (session->subid == subid)
			session->subid = parent;
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
		subxact_abort(subid);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		subxact_commit(subid, parent);
}

/* ----------
 * The end of the backend
 * ----------
 */

/*
 * Runs before the transaction's abort callbacks do, and leaves them nothing:
 * what runs is cancelled, everything is closed.
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
	dlist_foreach_modify(iter, &sm_checked_out)
		gather(&conns, dlist_container(SmConn, node, iter.cur), NULL);
	(void) clean_up(&conns);
	dlist_foreach_modify(iter, &sm_checked_out)
	{
		SmConn	   *conn = dlist_container(SmConn, node, iter.cur);

		dlist_delete(&conn->node);
		conn->engine->driver->close(conn);
	}
	dlist_foreach_modify(iter, &sm_engines)
		(void) sm_pool_dispose(dlist_container(SmEngine, node, iter.cur));
}

void
sm_xact_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

/*
 * To be called first by every SQL function that looks at or changes what is
 * kept here.
 */
void
sm_enter(void)
{
	if (likely(sm_engine_owned()))
		return;
	if (sm_engine_take_over())
	{
		dlist_init(&sm_sessions);
		sm_factories_abandon();
		exit_registered = false;
	}
	exited = false;
	if (!exit_registered)
		before_shmem_exit(at_exit, (Datum) 0);
	exit_registered = true;
}

/*
 * Close all sessions and forget all engines, as at the start of the backend.
 * Throws 55006, and does nothing, while a statement or an engine callback is
 * running.
 */
void
sm_reset(void)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);
	TimestampTz deadline;
	dlist_iter	iter;

	if (nothing_to_do())
		return;
	if (sm_engine_creating())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot reset while an engine callback is running")));
	dlist_foreach(iter, &sm_checked_out)
	{
		if (dlist_container(SmConn, node, iter.cur)->session == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot reset while a statement is running")));
	}
	dlist_foreach(iter, &sm_sessions)
	{
		if (dlist_container(SmSession, node, iter.cur)->running > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot reset while a statement is running")));
	}
	dlist_foreach(iter, &sm_checked_out)
		gather(&conns, dlist_container(SmConn, node, iter.cur), "ROLLBACK");
	deadline = clean_up(&conns);
	while (!dlist_is_empty(&sm_sessions))
		sm_session_end(dlist_head_element(SmSession, node, &sm_sessions), deadline);
	sm_engine_drop_all(false);
}

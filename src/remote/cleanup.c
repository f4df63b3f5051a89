/*-------------------------------------------------------------------------
 *
 * cleanup.c
 *		Ending what is on the wire after an error, on many connections at once.
 *
 * This runs in transaction callbacks and at the backend's exit, with
 * interrupts held: nothing here throws or allocates in PostgreSQL's memory,
 * and everything ends at its deadline.  Elsewhere an interrupt may end it, too,
 * which the caller leaves to be served afterwards.
 *
 * Each connection goes its own way through the steps of SmCleanupStep, and one
 * poll() waits for all of them, so that one which does not answer takes no
 * time from the others.  poll() rather than a wait set, as making one may fail
 * for want of a descriptor.  Nothing here waits for the latch: whatever sets it
 * meanwhile is found by the next wait elsewhere.  The array that poll() needs
 * is made large enough when a connection is made, as memory may be out later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <poll.h>

#include "miscadmin.h"
#include "utils/memutils.h"

/*
 * The longest wait, in ms: nothing that is overlooked takes longer, and what is
 * canceled again is so not much later than it is due.
 */
#define SLICE 250

/* A connection's places in the array for poll(). */
#define SLOTS_EACH 2
#define SLOT_CONN 0
#define SLOT_CANCEL 1

static struct pollfd *slots = NULL;
static int	nslots = 0;
static int	nreserved = 0;		/* connections there are */

/*
 * A connection is about to be made: make sure that it can be cleaned up together
 * with all others.  Throws when memory is out.
 */
void
sm_cleanup_reserve(SmConn *conn)
{
	int			needed = SLOTS_EACH * (nreserved + 1);

	Assert(!conn->cleanup.reserved);
	if (needed > nslots)
	{
		int			n = Max(needed, Max(16, nslots * 2));

		if (slots == NULL)
			slots = MemoryContextAlloc(TopMemoryContext, n * sizeof(struct pollfd));
		else
			slots = repalloc(slots, n * sizeof(struct pollfd));
		nslots = n;
	}
	nreserved++;
	conn->cleanup.reserved = true;
}

/* The connection is no more. */
void
sm_cleanup_release(SmConn *conn)
{
	if (conn->cleanup.reserved)
		nreserved--;
	conn->cleanup.reserved = false;
}

/* ----------
 * Reading
 * ----------
 */

/*
 * Is this the command tag of the last one of these commands, which are ours and
 * have no semicolon in what they quote?
 */
bool
sm_is_tag_of(const char *tag, const char *sql)
{
	const char *last = strrchr(sql, ';');
	size_t		len = strlen(tag);

	last = last != NULL ? last + 1 + strspn(last + 1, " ") : sql;
	return len > 0 && strncmp(last, tag, len) == 0 && (last[len] == '\0' || last[len] == ' ');
}

/*
 * Note what a result says of the command it belongs to.  False: nothing is to
 * be learnt from reading on.
 */
static bool
note_result(SmConn *conn)
{
	switch (PQresultStatus(conn->result))
	{
		case PGRES_COMMAND_OK:
			/* of several, the last one counts */
			conn->command.answered = conn->cleanup.step != SM_CLEANUP_COMMANDING ||
				sm_is_tag_of(PQcmdStatus(conn->result), conn->cleanup.sql);
			return true;
		case PGRES_TUPLES_OK:
		case PGRES_EMPTY_QUERY:
			conn->command.answered = true;
			return true;
		case PGRES_COPY_IN:
			if (conn->command.ended != conn->command.copy && !conn->command.simple_copy)
			{
				/* nobody asked for one: it may have done anything */
				conn->cleanup.reading = SM_OUTCOME_UNKNOWN;
				return false;
			}
			if ((conn->cancel.state != SM_CANCEL_NONE && !conn->command.simple_copy) ||
				conn->command.ended + 1 < conn->command.expected)
			{
				/*
				 * In the extended protocol the end of the COPY brings a Sync
				 * of its own.  Together with a cancel, or with an error that
				 * the COPY has found in the commands after it, nobody can
				 * tell how often the server will then say that it is ready.
				 */
				sm_conn_set_state(conn, SM_CONN_DEAD);
				conn->cleanup.reading = SM_OUTCOME_NONE;
				return false;
			}
			/* once: it must not begin another one */
			conn->command.copy = -1;
			conn->command.simple_copy = false;
			if (PQputCopyEnd(conn->pg, "canceled") == 1)
				return true;
			conn->cleanup.reading = SM_OUTCOME_UNKNOWN;
			return false;
		case PGRES_COPY_BOTH:
			conn->cleanup.reading = SM_OUTCOME_UNKNOWN;
			return false;
		case PGRES_PIPELINE_SYNC:
			if (--conn->command.syncs > 0 || PQexitPipelineMode(conn->pg))
				return true;
			conn->cleanup.reading = SM_OUTCOME_UNKNOWN;
			return false;
		case PGRES_FATAL_ERROR:
		case PGRES_BAD_RESPONSE:
			sm_keep_fatal_message(conn, conn->result);
			conn->command.answered = true;
			/* with a state: the server's word that nothing was done */
			conn->cleanup.reading =
				(PQresultErrorField(conn->result, PG_DIAG_SQLSTATE) != NULL &&
				 !sm_error_is_fatal(conn->result)) ?
				SM_OUTCOME_NONE : SM_OUTCOME_UNKNOWN;
			/* what libpq reads after an error of its own cannot be relied on */
			return conn->cleanup.reading == SM_OUTCOME_NONE;
		default:
			return true;
	}
}

/*
 * Read the data of a COPY TO STDOUT away: 0 when there is more to come, -1 at
 * its end, -2 when it failed.
 */
static int
read_copy(SmConn *conn)
{
	char	   *buf;
	int			n;

	while ((n = PQgetCopyData(conn->pg, &buf, 1)) > 0)
		PQfreemem(buf);
	return n;
}

/*
 * Read away what has arrived of the command on the wire.  False: there is more
 * to come; otherwise cleanup_reading says what became of it.
 *
 * While libpq is busy PQgetResult() would wait, unless it has closed the
 * socket: then it says what happened.
 */
static bool
read_on(SmConn *conn)
{
	bool		established = PQconsumeInput(conn->pg);

	/* that it was read says what became of it, even if nothing follows */
	if (PQresultStatus(conn->result) == PGRES_COPY_IN && !note_result(conn))
		return true;
	for (;;)
	{
		if (PQresultStatus(conn->result) == PGRES_COPY_OUT)
		{
			int			n = read_copy(conn);

			if (n == 0 && established)
				return false;
			if (n == 0 || n == -2)
				break;
		}
		PQclear(conn->result);
		conn->result = NULL;
		if (PQisBusy(conn->pg) && PQsocket(conn->pg) != PGINVALID_SOCKET)
		{
			if (established)
				return false;
			break;
		}
		conn->result = PQgetResult(conn->pg);
		if (conn->result == NULL)
		{
			if (PQstatus(conn->pg) != CONNECTION_OK)
				conn->cleanup.reading = SM_OUTCOME_UNKNOWN;
			/* in a pipeline it is the end of one command of many */
			else if (PQpipelineStatus(conn->pg) != PQ_PIPELINE_OFF)
				continue;
			/* it is ready for more, and has not said what became of this */
			else if (!conn->command.answered)
				conn->cleanup.reading = SM_OUTCOME_UNKNOWN;
			return true;
		}
		if (!note_result(conn))
			return true;
	}

	/* libpq cannot go on: memory is out, or what came makes no sense */
	conn->cleanup.reading = SM_OUTCOME_UNKNOWN;
	return true;
}

/* ----------
 * A connection's steps
 * ----------
 */
static bool
is_rollback(const SmConn *conn)
{
	return strcmp(conn->cleanup.sql, "ROLLBACK") == 0;
}

static bool
in_transaction(const SmConn *conn)
{
	return PQtransactionStatus(conn->pg) != PQTRANS_IDLE;
}

static bool
canceling(const SmConn *conn)
{
	return conn->cancel.state == SM_CANCEL_WRITING ||
		conn->cancel.state == SM_CANCEL_READING;
}

/* The command on the wire has ended: the connection is READY now, or DEAD. */
static void
end_cleanup_command(SmConn *conn)
{
	bool		good = conn->cleanup.reading != SM_OUTCOME_UNKNOWN;

	switch (conn->cleanup.step)
	{
		case SM_CLEANUP_STOPPING:
			conn->cleanup.outcome = conn->cleanup.reading;
			/* nobody may commit what was given up, if its transaction goes on */
			if (conn->cleanup.reading == SM_OUTCOME_DONE && !conn->command.commits &&
				!conn->cleanup.fetch && conn->cleanup.sql == NULL)
				good = false;
			break;
		case SM_CLEANUP_COMMANDING:
			SM_INJECTION_POINT("cleanup answered");
			conn->cleanup.ok = (conn->cleanup.reading == SM_OUTCOME_DONE);
			if (is_rollback(conn) && in_transaction(conn))
				good = conn->cleanup.ok = false;
			break;
		default:
			good = (conn->cleanup.reading == SM_OUTCOME_DONE);
			break;
	}
	PQclear(conn->result);
	conn->result = NULL;
	PQclear(conn->error);
	conn->error = NULL;
	sm_notices_forget(conn);
	if (conn->state != SM_CONN_DEAD)
		sm_conn_set_state(conn, good ? SM_CONN_READY : SM_CONN_DEAD);
}

static void
send_command(SmConn *conn, const char *sql)
{
	/* rows one by one: whatever is sent in answer is not to be kept */
	if (!PQsendQuery(conn->pg, sql) || !PQsetSingleRowMode(conn->pg))
	{
		sm_conn_set_state(conn, SM_CONN_DEAD);
		return;
	}
	conn->command.commits = false;
	conn->command.unsent = false;
	conn->command.failed = false;
	conn->command.answered = false;
	conn->command.copy = -1;
	conn->command.simple_copy = false;
	if (conn->remote.discard == SM_DISCARD_USELESS)
		conn->remote.discard = SM_DISCARD_USEFUL;
	conn->cleanup.reading = SM_OUTCOME_DONE;
	sm_conn_set_state(conn, SM_CONN_BUSY);
}

/* What was to be done in this step has been: on to the next. */
static void
next_step(SmConn *conn)
{
	switch (conn->cleanup.step)
	{
		case SM_CLEANUP_STOPPING:
			/* a request that is still out may hit what comes next */
			if (conn->cancel.state == SM_CANCEL_FAILED)
				sm_conn_set_state(conn, SM_CONN_DEAD);
			sm_cancel_end(conn);
			conn->cleanup.step = SM_CLEANUP_COMMANDING;
			if (conn->state == SM_CONN_READY && conn->cleanup.sql != NULL)
			{
				if (is_rollback(conn) && !in_transaction(conn))
					conn->cleanup.ok = true;
				else
					send_command(conn, conn->cleanup.sql);
				SM_INJECTION_POINT("cleanup sent");
			}
			break;
		case SM_CLEANUP_COMMANDING:
			conn->cleanup.step = SM_CLEANUP_DISCARDING;
			if (conn->state == SM_CONN_READY && conn->cleanup.discard &&
				!in_transaction(conn))
				send_command(conn, "DISCARD ALL");
			break;
		default:
			conn->cleanup.step = SM_CLEANUP_DONE;
			break;
	}
}

/* Go as far as it goes without waiting. */
static void
cleanup_advance(SmConn *conn)
{
	while (conn->cleanup.step != SM_CLEANUP_DONE)
	{
		if (conn->state == SM_CONN_BUSY)
		{
			if (!read_on(conn))
				return;
			end_cleanup_command(conn);
		}
		if (conn->state == SM_CONN_READY && canceling(conn))
			return;
		next_step(conn);
	}
}

/* The end for a connection that will do no more. */
static void
drop(SmConn *conn)
{
	if (conn->cleanup.step == SM_CLEANUP_STOPPING && conn->state == SM_CONN_BUSY)
		conn->cleanup.outcome = SM_OUTCOME_UNKNOWN;
	sm_cancel_end(conn);
	PQclear(conn->result);
	conn->result = NULL;
	PQclear(conn->error);
	conn->error = NULL;
	sm_notices_forget(conn);
	sm_conn_set_state(conn, SM_CONN_DEAD);
	conn->cleanup.step = SM_CLEANUP_DONE;
}

static bool
start_cancel(SmConn *conn)
{
	conn->cancel.due = sm_cancel_patience(SM_NO_DEADLINE);
	return sm_cancel_start(conn);
}

/* Has the server taken a request, and may have ignored it? */
static bool
may_cancel_again(const SmConn *conn)
{
	return conn->cleanup.step == SM_CLEANUP_STOPPING && conn->state == SM_CONN_BUSY &&
		conn->cancel.state == SM_CANCEL_TAKEN;
}

/* Ask once more, if it is time to; what cannot be canceled is not waited for. */
static void
cancel_again(SmConn *conn)
{
	if (!may_cancel_again(conn) || sm_remaining(conn->cancel.due) != 0)
		return;
	sm_cancel_end(conn);
	if (!start_cancel(conn))
		drop(conn);
}

/*
 * Nothing more will be sent in the pipeline that the connection is in, if any,
 * but its end.  A cancel may come between two of its commands and have no
 * effect, and nobody may commit some of them: so the last one is an error.
 */
static bool
end_pipeline(SmConn *conn)
{
	if (PQpipelineStatus(conn->pg) == PQ_PIPELINE_OFF || conn->command.syncs > 0)
		return true;
	conn->command.syncs = 1;
	return PQsendQueryParams(conn->pg, "ROLLBACK TO SAVEPOINT sessmgr_canceled",
							 0, NULL, NULL, NULL, NULL, 0) &&
		PQpipelineSync(conn->pg);
}

/*
 * Begin.  A statement that cannot be canceled is not waited for: the server
 * ends it when it finds its client gone.
 */
static void
start_cleanup(SmConn *conn)
{
	bool		canceled = true;
	bool		again = conn->cancel.state != SM_CANCEL_NONE;

	conn->cleanup.step = SM_CLEANUP_STOPPING;
	conn->cleanup.ok = false;
	conn->cleanup.outcome = SM_OUTCOME_NONE;
	/* nothing was done on one that is only being made */
	if (conn->connected_at == 0)
		sm_conn_set_state(conn, SM_CONN_DEAD);
	conn->cleanup.fetch = (conn->streams.fetching != NULL);
	if (conn->cleanup.fetch)
	{
		/* nobody will see the rows that are on the wire */
		conn->streams.fetching->state = SM_STREAM_LOST;
		conn->streams.fetching = NULL;
	}
	if (conn->state == SM_CONN_BUSY && conn->command.unsent)
	{
		/* half a message: the server has not begun, and never will */
		sm_conn_set_state(conn, SM_CONN_DEAD);
	}
	if (conn->state == SM_CONN_BUSY && !end_pipeline(conn))
		sm_conn_set_state(conn, SM_CONN_DEAD);
	/* what was begun by sm_cleanup_start() only goes on */
	if (conn->state == SM_CONN_BUSY && !again)
	{
		conn->cleanup.reading = conn->command.failed ? SM_OUTCOME_NONE : SM_OUTCOME_DONE;
		if (PQtransactionStatus(conn->pg) == PQTRANS_ACTIVE &&
			(PQresultStatus(conn->result) != PGRES_COPY_IN || conn->command.simple_copy))
			canceled = start_cancel(conn);
	}
	cleanup_advance(conn);
	if (!canceled && conn->cleanup.step == SM_CLEANUP_STOPPING)
		drop(conn);
}

/* ----------
 * One of them, for those who have more to wait for
 * ----------
 */

/*
 * Begin to stop the command on the wire, if any, and then to run sql, if it is
 * not NULL, and DISCARD ALL, if that is to be; never throws.
 */
void
sm_cleanup_start(SmConn *conn, const char *sql, bool discard)
{
	conn->cleanup.sql = sql;
	conn->cleanup.discard = discard;
	start_cleanup(conn);
}

/* What to wait for on its own socket. */
uint32
sm_cleanup_events(SmConn *conn)
{
	if (conn->state != SM_CONN_BUSY)
		return 0;
	return PQflush(conn->pg) == 1 ? WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE;
}

/* What to wait for on that of its request to cancel. */
uint32
sm_cleanup_cancel_events(const SmConn *conn)
{
	if (!canceling(conn))
		return 0;
	return conn->cancel.state == SM_CANCEL_WRITING ? WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE;
}

/* When sm_cleanup_poll() is to be called at the latest. */
TimestampTz
sm_cleanup_due(const SmConn *conn)
{
	return may_cancel_again(conn) ? conn->cancel.due : SM_NO_DEADLINE;
}

/*
 * Go on with it; cancel: the request's socket is ready; over: there is no time
 * left.  True: it is cleaned up, with its outcome, and READY or DEAD.
 */
bool
sm_cleanup_poll(SmConn *conn, bool cancel, bool over)
{
	if (conn->cleanup.step != SM_CLEANUP_DONE && cancel && canceling(conn))
		sm_cancel_poll(conn);
	if (conn->cleanup.step != SM_CLEANUP_DONE)
		cleanup_advance(conn);
	cancel_again(conn);
	if (conn->cleanup.step != SM_CLEANUP_DONE && over)
		drop(conn);
	return conn->cleanup.step == SM_CLEANUP_DONE;
}

/* ----------
 * All of them
 * ----------
 */

/* The connection is to be cleaned up together with others, and to run sql then. */
void
sm_cleanup_add(dlist_head *conns, SmConn *conn, const char *sql)
{
	conn->cleanup.sql = sql;
	dlist_push_tail(conns, &conn->cleanup.node);
}

/* The connection that a list of these refers to. */
SmConn *
sm_cleanup_conn(dlist_node *node)
{
	return dlist_container(SmConn, cleanup.node, node);
}

/* Was what was to be run done when the connection was cleaned up? */
bool
sm_cleanup_ok(const SmConn *conn)
{
	return conn->cleanup.ok;
}

/* Was it this, and not done? */
bool
sm_cleanup_failed(const SmConn *conn, const char *sql)
{
	return conn->cleanup.sql == sql && !conn->cleanup.ok;
}

/*
 * Wait until something can be done.  False: there is nothing to wait for any
 * more, or no time.
 */
static bool
wait_for_any_cleanup(dlist_head *conns, TimestampTz deadline, int *nready)
{
	long		timeout = sm_remaining(deadline);
	int			n = 0;
	bool		any = false;
	dlist_iter	iter;

	dlist_foreach(iter, conns)
	{
		SmConn	   *conn = dlist_container(SmConn, cleanup.node, iter.cur);
		struct pollfd *slot = &slots[n];

		n += SLOTS_EACH;
		Assert(n <= nslots);
		/* poll() leaves those out that are negative */
		slot[SLOT_CONN].fd = slot[SLOT_CANCEL].fd = -1;
		slot[SLOT_CONN].events = slot[SLOT_CANCEL].events = 0;
		if (conn->cleanup.step == SM_CLEANUP_DONE)
			continue;
		any = true;
		if (conn->state == SM_CONN_BUSY)
		{
			slot[SLOT_CONN].fd = PQsocket(conn->pg);
			slot[SLOT_CONN].events = POLLIN | (PQflush(conn->pg) == 1 ? POLLOUT : 0);
		}
		if (canceling(conn))
		{
			slot[SLOT_CANCEL].fd = sm_cancel_socket(conn);
			slot[SLOT_CANCEL].events =
				conn->cancel.state == SM_CANCEL_WRITING ? POLLOUT : POLLIN;
		}
	}
	if (!any || timeout == 0)
		return false;
	*nready = poll(slots, n, timeout < 0 ? SLICE : (int) Min(timeout, SLICE));
	return *nready >= 0 || errno == EINTR;
}

/*
 * Does nobody want to wait any longer?  Not where interrupts are held, as in
 * transaction callbacks, nor while it is still to be learnt what became of a
 * command.
 */
static bool
interrupted(dlist_head *conns)
{
	dlist_iter	iter;

	if (!InterruptPending || !(QueryCancelPending || ProcDiePending) ||
		!INTERRUPTS_CAN_BE_PROCESSED())
		return false;
	dlist_foreach(iter, conns)
	{
		if (dlist_container(SmConn, cleanup.node, iter.cur)->cleanup.step == SM_CLEANUP_STOPPING)
			return false;
	}
	return true;
}

/* Wait until all of them are done, or for the deadline; none is left behind. */
static void
finish_all(dlist_head *conns, TimestampTz deadline)
{
	dlist_iter	iter;
	int			nready;

	pgstat_report_wait_start(sm_wait_cleanup);
	while (!interrupted(conns) && wait_for_any_cleanup(conns, deadline, &nready))
	{
		struct pollfd *slot = slots;

		if (nready < 0)
			continue;
		dlist_foreach(iter, conns)
		{
			SmConn	   *conn = dlist_container(SmConn, cleanup.node, iter.cur);

			if (slot[SLOT_CANCEL].revents != 0)
				sm_cancel_poll(conn);
			/* after a whole slice look at all: TLS may have kept some back */
			if (nready == 0 || slot[SLOT_CONN].revents != 0 ||
				slot[SLOT_CANCEL].revents != 0)
				cleanup_advance(conn);
			cancel_again(conn);
			slot += SLOTS_EACH;
		}
	}
	pgstat_report_wait_end();

	dlist_foreach(iter, conns)
	{
		SmConn	   *conn = dlist_container(SmConn, cleanup.node, iter.cur);

		if (conn->cleanup.step != SM_CLEANUP_DONE)
			drop(conn);
	}
}

/*
 * Clean up these connections, all by the deadline: cancel what is on the wire
 * and read it to its end, then run what sm_cleanup_add() was given, then
 * DISCARD ALL if that is to be and no transaction is open.  See the
 * driver's cleanup in statement.h.
 *
 * A command that could not be stopped although its transaction goes on makes
 * its connection DEAD, unless what is run then takes it back: nobody may commit
 * what was given up.  An interrupt makes those DEAD that have not come to their end.
 */
void
sm_remote_cleanup_all(dlist_head *conns, TimestampTz deadline)
{
	dlist_iter	iter;

	dlist_foreach(iter, conns)
		start_cleanup(dlist_container(SmConn, cleanup.node, iter.cur));
	finish_all(conns, deadline);
}

/* Go on with what sm_cleanup_start() has begun, to its end. */
void
sm_cleanup_finish(SmConn *conn, TimestampTz deadline)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);

	dlist_push_tail(&conns, &conn->cleanup.node);
	finish_all(&conns, deadline);
}

/* Stop the command on the wire, if any, of one connection. */
SmOutcome
sm_remote_cleanup(SmConn *conn, TimestampTz deadline)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);

	conn->cleanup.sql = NULL;
	conn->cleanup.discard = false;
	dlist_push_tail(&conns, &conn->cleanup.node);
	sm_remote_cleanup_all(&conns, deadline);
	return conn->cleanup.outcome;
}

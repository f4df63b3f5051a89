/*-------------------------------------------------------------------------
 *
 * remote_settle.c
 *		Waits that must not throw: ending what is on the wire after an error.
 *
 * These run in transaction callbacks and at the backend's exit, with
 * interrupts held: nothing here throws, allocates in PostgreSQL's memory or
 * opens a descriptor, and every wait ends at a deadline.  Interrupts stay
 * pending, and the latch is left set if it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"
#include "src/compat.h"

#include <poll.h>

/* positions in a connection's wait set */
#define WAIT_SOCKET		0

uint32		sm_wait_connect = 0;
uint32		sm_wait_command = 0;
uint32		sm_wait_cleanup = 0;
uint32		sm_wait_pool = 0;

/* Give our waits names in pg_stat_activity, where that can be done. */
void
sm_name_waits(void)
{
	if (sm_wait_connect != 0)
		return;
	sm_wait_pool = sm_NewWaitEvent("SessmgrPool");
	sm_wait_cleanup = sm_NewWaitEvent("SessmgrCleanup");
	sm_wait_command = sm_NewWaitEvent("SessmgrCommand");
	sm_wait_connect = sm_NewWaitEvent("SessmgrConnect");
}

/* Absolute time of a timeout that begins now; 0 and less mean none. */
TimestampTz
sm_deadline(int timeout_ms)
{
	if (timeout_ms <= 0)
		return SM_NO_DEADLINE;
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
}

/* Milliseconds to a deadline as the wait functions want it; 0: it is past. */
long
sm_remaining(TimestampTz deadline)
{
	if (deadline == SM_NO_DEADLINE)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
}

void
sm_conn_set_state(SmConn *conn, SmConnState state)
{
	switch (state)
	{
		case SM_CONN_CONNECTING:
			Assert(false);
			break;
		case SM_CONN_READY:
			Assert(conn->state != SM_CONN_DEAD);
			break;
		case SM_CONN_IDLE:
		case SM_CONN_BUSY:
			Assert(conn->state == SM_CONN_READY);
			break;
		case SM_CONN_DEAD:
			break;
	}
	conn->state = state;
}

/* What the connection's wait set is to wait for on the socket. */
void
sm_set_wait_events(SmConn *conn, uint32 events)
{
	if ((uint32) conn->waitset_events == events)
		return;
	ModifyWaitEvent(conn->waitset, WAIT_SOCKET, events, NULL);
	conn->waitset_events = events;
}

/* Wait until the connection's socket is ready.  False: the deadline came. */
static bool
wait_socket_quiet(SmConn *conn, uint32 events, TimestampTz deadline)
{
	WaitEvent	event;
	bool		latched = false;
	bool		ready = false;

	sm_set_wait_events(conn, events);
	for (;;)
	{
		long		timeout = sm_remaining(deadline);

		if (timeout == 0)
			break;
		if (WaitEventSetWait(conn->waitset, timeout, &event, 1, sm_wait_cleanup) == 0)
			continue;
		if (event.events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			latched = true;
			continue;
		}
		ready = true;
		break;
	}
	if (latched)
		SetLatch(MyLatch);
	return ready;
}

/* Read away the data of a COPY TO STDOUT; false: not all of it in time. */
static bool
drain_copy(SmConn *conn, TimestampTz deadline)
{
	char	   *buf;
	int			n;

	while ((n = PQgetCopyData(conn->pg, &buf, 1)) >= 0)
	{
		if (n > 0)
			PQfreemem(buf);
		else if (!wait_socket_quiet(conn, WL_SOCKET_READABLE, deadline) ||
				 !PQconsumeInput(conn->pg))
			return false;
	}
	return true;
}

/* Read away what is left of a command, and how it ended. */
static SmOutcome
drain(SmConn *conn, bool cancelled, TimestampTz deadline)
{
	SmOutcome	outcome = conn->failed ? SM_OUTCOME_NONE : SM_OUTCOME_DONE;
	bool		copying = false;

	for (;;)
	{
		PQclear(conn->result);
		conn->result = NULL;
		while (PQisBusy(conn->pg))
		{
			if (!wait_socket_quiet(conn, WL_SOCKET_READABLE, deadline))
				return SM_OUTCOME_UNKNOWN;
			if (!PQconsumeInput(conn->pg))
				break;
		}
		conn->result = PQgetResult(conn->pg);
		if (conn->result == NULL)
			break;
		switch (PQresultStatus(conn->result))
		{
			case PGRES_COPY_OUT:
				if (!drain_copy(conn, deadline))
					return SM_OUTCOME_UNKNOWN;
				break;
			case PGRES_COPY_IN:
				if (cancelled)
				{
					/*
					 * The end of the COPY brings a Sync of its own.  Together
					 * with a cancel nobody can tell how often the server will
					 * then say that it is ready.
					 */
					sm_conn_set_state(conn, SM_CONN_DEAD);
					return SM_OUTCOME_NONE;
				}
				if (copying || PQputCopyEnd(conn->pg, "canceled") != 1)
					return SM_OUTCOME_UNKNOWN;
				copying = true;
				(void) PQflush(conn->pg);
				break;
			case PGRES_COPY_BOTH:
				return SM_OUTCOME_UNKNOWN;
			case PGRES_COMMAND_OK:
			case PGRES_TUPLES_OK:
			case PGRES_SINGLE_TUPLE:
			case PGRES_EMPTY_QUERY:
				break;
			default:
				/* with a state: the server's word that nothing was done */
				outcome = (PQresultErrorField(conn->result, PG_DIAG_SQLSTATE) != NULL) ?
					SM_OUTCOME_NONE : SM_OUTCOME_UNKNOWN;
				break;
		}
	}
	if (PQstatus(conn->pg) != CONNECTION_OK)
		return SM_OUTCOME_UNKNOWN;
	return outcome;
}

/*
 * Stop the command on the wire, if any, by the deadline: cancel it and read
 * what is left.  Afterwards the connection is READY, or DEAD if it did not
 * obey.  A command that could not be stopped although its transaction goes on
 * makes it DEAD too: nobody may commit what was given up.
 */
SmOutcome
sm_remote_settle(SmConn *conn, TimestampTz deadline)
{
	SmOutcome	outcome;
	bool		cancel;

	if (conn->state != SM_CONN_BUSY)
		return SM_OUTCOME_NONE;

	if (conn->unsent)
	{
		/* half a message: the server has not begun, and never will */
		sm_conn_set_state(conn, SM_CONN_DEAD);
		return SM_OUTCOME_NONE;
	}

	cancel = PQtransactionStatus(conn->pg) == PQTRANS_ACTIVE &&
		PQresultStatus(conn->result) != PGRES_COPY_IN;
	if (cancel)
		(void) sm_cancel_send(conn, deadline);
	outcome = drain(conn, cancel, deadline);
	PQclear(conn->result);
	conn->result = NULL;
	sm_notices_forget(conn);

	if (conn->state == SM_CONN_DEAD || outcome == SM_OUTCOME_UNKNOWN ||
		(outcome == SM_OUTCOME_DONE && !conn->commits))
		sm_conn_set_state(conn, SM_CONN_DEAD);
	else
		sm_conn_set_state(conn, SM_CONN_READY);
	return outcome;
}

/*
 * Run a command that returns nothing without ever throwing: false if it
 * failed, and the connection may be DEAD then.
 */
bool
sm_remote_quiet_command(SmConn *conn, const char *sql, TimestampTz deadline)
{
	bool		ok = true;

	if (conn->state != SM_CONN_READY || !PQsendQuery(conn->pg, sql))
	{
		sm_conn_set_state(conn, SM_CONN_DEAD);
		return false;
	}
	conn->commits = false;
	conn->unsent = false;
	conn->failed = false;
	sm_conn_set_state(conn, SM_CONN_BUSY);
	while (PQflush(conn->pg) == 1)
	{
		if (!wait_socket_quiet(conn, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, deadline) ||
			!PQconsumeInput(conn->pg))
			break;
	}
	switch (drain(conn, false, deadline))
	{
		case SM_OUTCOME_DONE:
			sm_conn_set_state(conn, SM_CONN_READY);
			break;
		case SM_OUTCOME_NONE:
			sm_conn_set_state(conn, SM_CONN_READY);
			ok = false;
			break;
		case SM_OUTCOME_UNKNOWN:
			sm_conn_set_state(conn, SM_CONN_DEAD);
			ok = false;
			break;
	}
	sm_notices_forget(conn);
	return ok;
}

/*
 * Wait for another socket than the connection's, for remote_cancel.c.  Without
 * a wait set, as making one may fail for want of a descriptor.  False: the
 * deadline came.
 */
bool
sm_wait_raw_quiet(pgsocket sock, bool writing, TimestampTz deadline)
{
	struct pollfd pfd;
	long		timeout;

	pfd.fd = sock;
	pfd.events = writing ? POLLOUT : POLLIN;
	while ((timeout = sm_remaining(deadline)) != 0)
	{
		int			n = poll(&pfd, 1, timeout < 0 ? 1000 : (int) Min(timeout, 1000));

		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
	return false;
}

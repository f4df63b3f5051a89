/*-------------------------------------------------------------------------
 *
 * remote_wait.c
 *		Deadlines, a connection's state, and waits that do not throw.
 *
 * The waits are for clean-up: they open no descriptor, and end when the socket
 * is ready or the deadline comes.  Interrupts stay pending, and the latch is
 * left set if it was.
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
bool
sm_wait_quiet(SmConn *conn, uint32 events, TimestampTz deadline)
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

/*-------------------------------------------------------------------------
 *
 * remote_wait.c
 *		What all waits have in common: names, deadlines, a connection's state.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"
#include "src/compat.h"

/* positions in a connection's wait set */
#define WAIT_SOCKET		0

/* kept by pool.c and engine.c, but those below them look at them, too */
dlist_head	sm_checked_out = DLIST_STATIC_INIT(sm_checked_out);
dlist_head	sm_engines = DLIST_STATIC_INIT(sm_engines);

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

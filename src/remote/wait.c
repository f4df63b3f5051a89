/*-------------------------------------------------------------------------
 *
 * wait.c
 *		What all waits have in common: names, deadlines, the check whether the
 *		client is still there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <unistd.h>

#include "storage/fd.h"
#include "storage/proc.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"

/* How often to check whether the client is still there (ms). */
#define CLIENT_CHECK_EVERY	1000

/* asked for at once */
#define MAX_DESCRIPTORS	2

/* positions in a connection's wait set */
#define WAIT_SOCKET		0

uint32		sm_wait_connect = 0;
uint32		sm_wait_command = 0;
uint32		sm_wait_cleanup = 0;

/* Give our waits names in pg_stat_activity, where that can be done. */
void
sm_name_waits(void)
{
	if (sm_wait_connect != 0)
		return;
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

/*
 * The server does not look by itself whether its client is still there while a
 * statement runs, but for client_connection_check_interval, which is off by
 * default; and nobody would then end what runs on the target for a client that
 * is gone.  So waits for a target look themselves where the server does not.
 */
bool
sm_checks_client(void)
{
	return client_connection_check_interval == 0 && MyProcPort != NULL &&
		whereToSendOutput == DestRemote && WaitEventSetCanReportClosed();
}

/*
 * How long a round of a wait may last so that sm_client_check() comes in time,
 * given how long it may last otherwise (-1: for ever).
 */
long
sm_client_round(long timeout)
{
	if (!sm_checks_client())
		return timeout;
	return timeout < 0 ? CLIENT_CHECK_EVERY : Min(timeout, CLIENT_CHECK_EVERY);
}

/*
 * Look whether the client is still there, if it is time to.  If it is not, the
 * next CHECK_FOR_INTERRUPTS() ends the backend, as when the server has looked.
 * May reset the latch: the caller is to look at everything again.
 */
void
sm_client_check(void)
{
	static TimestampTz next = 0;
	TimestampTz now;

	if (!sm_checks_client())
		return;
	now = GetCurrentTimestamp();
	/* the clock may have been set back */
	if (now < next && next <= TimestampTzPlusMilliseconds(now, CLIENT_CHECK_EVERY))
		return;
	next = TimestampTzPlusMilliseconds(now, CLIENT_CHECK_EVERY);

	/*
	 * a forked process shares the epoll set, whose owner must not see it
	 * change
	 */
	if (MyProc == NULL || MyProc->pid != getpid() || pq_check_connection())
		return;
	ClientConnectionLost = true;
	InterruptPending = true;
}

/*
 * Can so many descriptors be opened, by the server's count and by the system's?
 * To be asked before the server makes a wait set, which fails without a proper
 * SQLSTATE, and before libpq makes a socket, which does not say why it failed.
 */
bool
sm_descriptors_left(int n)
{
	int			counted = 0;
	int			opened = 0;
	int			fds[MAX_DESCRIPTORS];
	bool		enough;

	Assert(n <= MAX_DESCRIPTORS);
	while (counted < n && AcquireExternalFD())
		counted++;
	while (opened < counted && (fds[opened] = dup(STDERR_FILENO)) >= 0)
		opened++;
	enough = opened == n;
	while (opened > 0)
		close(fds[--opened]);
	while (counted-- > 0)
		ReleaseExternalFD();
	return enough;
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

/*-------------------------------------------------------------------------
 *
 * wait_many.c
 *		Waiting for many connections at a time, and for a cancel alone.
 *
 * A wait set cannot lose a socket.  So what is to be waited for is said anew
 * before each wait, and a new set is made when it is not what the last one was
 * for.  A socket may have been closed, and another one opened under its
 * number: whoever does that says so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <poll.h>


/* Idempotent; must be called on every way out. */
void
sm_waits_free(SmWaits *waits)
{
	if (waits->set != NULL)
		FreeWaitEventSet(waits->set);
	waits->set = NULL;
}

static void
make_set(SmWaits *waits)
{
	sm_waits_free(waits);
	if (!sm_descriptors_left(1))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("too many files are open in this backend to wait for several targets"),
				 errhint("Raise the server's max_files_per_process and its system's limits, or keep fewer connections.")));
	waits->set = sm_CreateWaitEventSet(waits->room + 2);
	AddWaitEventToSet(waits->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(waits->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < waits->room; i++)
	{
		const SmWanted *wanted = &waits->wanted[i];

		if (wanted->sock != PGINVALID_SOCKET)
			AddWaitEventToSet(waits->set, wanted->events, wanted->sock, NULL,
							  &waits->ready[i]);
	}
	memcpy(waits->present, waits->wanted, waits->room * sizeof(SmWanted));
	waits->stale = false;
}

/*
 * Room for the sockets of "room" slots, in the current memory context.  Takes a
 * descriptor at once, so that connections made later cannot take the last one;
 * throws 53000 if there is none.
 */
void
sm_waits_init(SmWaits *waits, int room)
{
	memset(waits, 0, sizeof(*waits));
	waits->room = room;
	waits->wanted = palloc0(Max(room, 1) * sizeof(SmWanted));
	waits->present = palloc0(Max(room, 1) * sizeof(SmWanted));
	waits->ready = palloc0(Max(room, 1) * sizeof(bool));
	waits->came = palloc(Max(room + 2, 1) * sizeof(WaitEvent));
	sm_name_waits();
	sm_waits_clear(waits);
	make_set(waits);
}

/* Nothing is to be waited for, until it is said. */
void
sm_waits_clear(SmWaits *waits)
{
	for (int i = 0; i < waits->room; i++)
	{
		waits->wanted[i].sock = PGINVALID_SOCKET;
		waits->wanted[i].events = 0;
	}
}

void
sm_waits_want(SmWaits *waits, int slot, pgsocket sock, uint32 events)
{
	Assert(slot < waits->room);
	waits->wanted[slot].sock = sock;
	waits->wanted[slot].events = events;
}

/* Sockets may have been closed, and others opened under the same numbers. */
void
sm_waits_renew(SmWaits *waits)
{
	waits->stale = true;
}

/*
 * Wait until something that is wanted is ready, which waits->ready then tells,
 * or the latch is set, or for timeout ms (-1: for ever).  The caller looks
 * after interrupts.  False: the latch was set, and may be all that was looked at.
 */
bool
sm_waits_wait(SmWaits *waits, long timeout, uint32 wait_event)
{
	bool		looked = true;
	int			n;

	if (waits->set == NULL || waits->stale ||
		memcmp(waits->present, waits->wanted, waits->room * sizeof(SmWanted)) != 0)
		make_set(waits);
	memset(waits->ready, 0, waits->room * sizeof(bool));
	n = WaitEventSetWait(waits->set, timeout, waits->came, waits->room + 2, wait_event);
	for (int i = 0; i < n; i++)
	{
		if (waits->came[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			looked = false;
		}
		else if (waits->came[i].user_data != NULL)
			*(bool *) waits->came[i].user_data = true;
	}
	return looked;
}

/* ----------
 * A cancel alone
 * ----------
 */

/*
 * Ask the server to cancel what is on the wire, and wait until it has acted on
 * that.  False: it has not by the deadline, and may still do so, so that the
 * connection is of no use any more.  Throws nothing.
 */
bool
sm_remote_cancel(SmConn *conn, TimestampTz deadline)
{
	bool		taken;
	long		timeout;

	if (!sm_cancel_start(conn))
		return false;
	pgstat_report_wait_start(sm_wait_cleanup);
	while ((conn->cancel_state == SM_CANCEL_WRITING ||
			conn->cancel_state == SM_CANCEL_READING) &&
		   (timeout = sm_remaining(deadline)) != 0)
	{
		struct pollfd slot = {
			.fd = sm_cancel_socket(conn),
			.events = conn->cancel_state == SM_CANCEL_WRITING ? POLLOUT : POLLIN
		};

		/* as in cleanup.c, without a wait set */
		if (poll(&slot, 1, timeout < 0 ? -1 : (int) Min(timeout, INT_MAX)) > 0)
			sm_cancel_poll(conn);
	}
	pgstat_report_wait_end();
	taken = conn->cancel_state == SM_CANCEL_TAKEN;
	sm_cancel_end(conn);
	return taken;
}

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
	waits->set = sm_CreateWaitEventSet(waits->capacity + 2);
	AddWaitEventToSet(waits->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(waits->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < waits->capacity; i++)
	{
		const SmWaitSlot *slot = &waits->slots[i];

		if (slot->sock != PGINVALID_SOCKET)
			AddWaitEventToSet(waits->set, slot->events, slot->sock, NULL,
							  &waits->ready[i]);
	}
	memcpy(waits->present, waits->slots, waits->capacity * sizeof(SmWaitSlot));
	waits->stale = false;
}

/*
 * Room for the sockets of this many slots, in the current memory context.  Takes a
 * descriptor at once, so that connections made later cannot take the last one;
 * throws 53000 if there is none.
 */
void
sm_waits_init(SmWaits *waits, int capacity)
{
	memset(waits, 0, sizeof(*waits));
	waits->capacity = capacity;
	waits->slots = palloc0(Max(capacity, 1) * sizeof(SmWaitSlot));
	waits->present = palloc0(Max(capacity, 1) * sizeof(SmWaitSlot));
	waits->ready = palloc0(Max(capacity, 1) * sizeof(bool));
	waits->events = palloc(Max(capacity + 2, 1) * sizeof(WaitEvent));
	sm_name_waits();
	sm_waits_clear(waits);
	make_set(waits);
}

/* Nothing is to be waited for, until it is said. */
void
sm_waits_clear(SmWaits *waits)
{
	for (int i = 0; i < waits->capacity; i++)
	{
		waits->slots[i].sock = PGINVALID_SOCKET;
		waits->slots[i].events = 0;
	}
}

void
sm_waits_add(SmWaits *waits, int slot, pgsocket sock, uint32 events)
{
	Assert(slot < waits->capacity);
	waits->slots[slot].sock = sock;
	waits->slots[slot].events = events;
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
		memcmp(waits->present, waits->slots, waits->capacity * sizeof(SmWaitSlot)) != 0)
		make_set(waits);
	memset(waits->ready, 0, waits->capacity * sizeof(bool));
	n = WaitEventSetWait(waits->set, timeout, waits->events, waits->capacity + 2, wait_event);
	for (int i = 0; i < n; i++)
	{
		if (waits->events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			looked = false;
		}
		else if (waits->events[i].user_data != NULL)
			*(bool *) waits->events[i].user_data = true;
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
	while ((conn->cancel.state == SM_CANCEL_WRITING ||
			conn->cancel.state == SM_CANCEL_READING) &&
		   (timeout = sm_remaining(deadline)) != 0)
	{
		struct pollfd slot = {
			.fd = sm_cancel_socket(conn),
			.events = conn->cancel.state == SM_CANCEL_WRITING ? POLLOUT : POLLIN
		};

		/* as in cleanup.c, without a wait set */
		if (poll(&slot, 1, timeout < 0 ? -1 : (int) Min(timeout, INT_MAX)) > 0)
			sm_cancel_poll(conn);
	}
	pgstat_report_wait_end();
	taken = conn->cancel.state == SM_CANCEL_TAKEN;
	sm_cancel_end(conn);
	return taken;
}

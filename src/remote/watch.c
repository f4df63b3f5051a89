/*-------------------------------------------------------------------------
 *
 * watch.c
 *		Looking after the target and the client while a query runs here.
 *
 * push and execute_many run a query of this database, and its rows may be long
 * in coming.  Nobody waits for a socket then, so that nobody would see that the
 * target has gone.  A timer looks once in a while.  It does so in its signal
 * handler, without reading anything, and asks for an interrupt; so it costs
 * nothing for a row.  Without a timer the next wait finds out.  The client is
 * the server's to look after, which is told to do so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <poll.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* How often to check (ms). */
#define CHECK_EVERY		1000

/* Without it, a socket that is closed is seen only when all was read. */
#ifndef POLLRDHUP
#define POLLRDHUP		0
#endif

static TimeoutId timer;
static bool registered = false; /* in this process, or in one that it was
								 * forked from */
static int	watching_process = 0;
static volatile pgsocket watched = PGINVALID_SOCKET;
static volatile sig_atomic_t gone = false;

/* The signal handler */
static void
check_watched(void)
{
	int			saved_errno = errno;

	if (watching_process == MyProcPid && watched != PGINVALID_SOCKET)
	{
		struct pollfd slot = {.fd = watched,.events = POLLRDHUP};

		/* it is closed; what there is to be read is not asked for */
		if (poll(&slot, 1, 0) > 0)
		{
			gone = QueryCancelPending = InterruptPending = true;
			SetLatch(MyLatch);
		}
	}
	errno = saved_errno;
}

static void
watch(pgsocket sock)
{
	watched = sock;
	if (sock == PGINVALID_SOCKET)
		disable_timeout(timer, false);
	else
		enable_timeout_every(timer,
							 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CHECK_EVERY),
							 CHECK_EVERY);
}

/* Have the server look after its client, until the end of the level returned. */
static int
watch_client(void)
{
	int			level = NewGUCNestLevel();

	if (sm_checks_client())
	{
		(void) set_config_option("client_connection_check_interval",
								 CppAsString2(CHECK_EVERY), PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		enable_timeout_after(CLIENT_CONNECTION_CHECK_TIMEOUT, CHECK_EVERY);
	}
	return level;
}

/*
 * sm_local_query_run() for what is sent on a connection, which is BUSY: 08006 if its
 * target goes away meanwhile.
 */
uint64
sm_watched_query_run(SmConn *conn, const SmLocalQuery *rows, SmRowFunction function, void *arg,
					 const char *sql)
{
	MemoryContext cxt = CurrentMemoryContext;
	pgsocket	outer = watched;	/* of a call in whose query this one is */
	volatile uint64 n = 0;
	int			level = watch_client();

	if (!registered)
		timer = RegisterTimeout(USER_TIMEOUT, check_watched);
	registered = true;
	watching_process = MyProcPid;
	PG_TRY();
	{
		gone = false;
		watch(PQsocket(conn->pg));
		n = sm_local_query_run(rows, function, arg);
		watch(outer);
		/* it may be too late for the query to have heard of it */
		if (gone)
			CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		watch(outer);
		if (gone)
			QueryCancelPending = false;
		if (gone && geterrcode() == ERRCODE_QUERY_CANCELED)
		{
			MemoryContextSwitchTo(cxt);
			FlushErrorState();
			/* which reads what it may have said last */
			(void) sm_remote_cleanup(conn, sm_deadline(conn->endpoint->options.cleanup_timeout));
			sm_conn_set_state(conn, SM_CONN_DEAD);
			sm_report_lost(conn, sql);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
	AtEOXact_GUC(true, level);
	return n;
}

/*-------------------------------------------------------------------------
 *
 * idle.c
 *		Closing connections that have been idle for idle_timeout, also while
 *		the backend itself is idle.
 *
 * One timer of the server's serves all engines.  It is set for sm_pool_due, a
 * time before which no connection expires.  When it fires in an idle backend,
 * the server is made to run an empty transaction; in a busy one, a transaction
 * is under way.  At the end of either, the transaction callback closes what has
 * expired and sets the timer anew.  So the timer is touched once in a while,
 * and never when a connection is taken or given back.
 *
 * The end of a failed transaction block calls no callback, and any error that
 * reaches the top level disables all timers, also where no callback follows.
 * They are noticed by sm_idle_block_ends() and by watch_errors().
 *
 * Without a timer (in a background worker, or in a process forked from a backend)
 * connections are closed at the end of a transaction alone.
 *
 * Nothing here throws.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "engine/engine_private.h"

#include <signal.h>

#include "storage/sinval.h"

/* However many connections expire one after another: not more often (ms). */
#define SHORTEST_WAIT	100

static TimeoutId timer;
static bool have_timer = false;
static TimestampTz armed_for = SM_NO_DEADLINE;	/* or sm_pool_due when it was */
static volatile sig_atomic_t fired = false; /* and nothing was done about it
											 * yet */

/* ----------
 * The timer
 * ----------
 */

/*
 * Runs in a signal handler.  The server takes it for a request to read
 * invalidation messages, for which it runs a transaction as soon as it is idle
 * outside one.  A forked child may have inherited our timer; it is not its own.
 */
static void
timer_fired(void)
{
	if (!have_timer || !sm_engine_owned())
		return;
	fired = true;
	HandleCatchupInterrupt();
}

static void
arm(TimestampTz now)
{
	TimestampTz earliest = TimestampTzPlusMilliseconds(now, SHORTEST_WAIT);

	armed_for = sm_pool_due;
	enable_timeout_at(timer, Max(armed_for, earliest));
}

/* ----------
 * Errors that disable the timer
 * ----------
 */

/*
 * While the timer is set, error_over() waits for the data of an error to be
 * freed.  The error may have been caught, or the timer may be disabled only
 * afterwards; so it leaves it to message_over() to look at the timer, when
 * MessageContext is reset: before the next message from the client is waited
 * for.  They register each other, as a callback that registers itself would be
 * called again at once, forever.
 */
static void error_over(void *arg);
static void message_over(void *arg);

static MemoryContextCallback on_error = {.func = error_over};
static MemoryContextCallback on_message = {.func = message_over};
static bool watching = false;	/* one of them is registered */

static void
watch_errors(void)
{
	if (!watching)
		MemoryContextRegisterResetCallback(ErrorContext, &on_error);
	watching = true;
}

static void
error_over(void *arg)
{
	(void) arg;
	MemoryContextRegisterResetCallback(MessageContext, &on_message);
}

static void
message_over(void *arg)
{
	(void) arg;
	watching = false;
	if (!have_timer || !sm_engine_owned() || armed_for == SM_NO_DEADLINE)
		return;
	watch_errors();
	if (!fired && !get_timeout_active(timer))
		arm(GetCurrentTimestamp());
}

/* ----------
 * For the transaction callbacks
 * ----------
 */

/*
 * The first call in this process; what there was before was inherited or not.
 * The timer is taken from the server here, and not when the first connection
 * becomes idle: a server that has none left ends the process, which does no
 * harm here, but must not happen when a transaction has committed.
 */
void
sm_idle_start(bool inherited)
{
	sm_pool_due = armed_for = SM_NO_DEADLINE;
	fired = false;
	/* without a MessageContext this process does not wait for a client */
	have_timer = !inherited && sm_forked() && MessageContext != NULL;
	if (have_timer)
		timer = RegisterTimeout(USER_TIMEOUT, timer_fired);
}

/* There are no idle connections any more. */
void
sm_idle_stop(void)
{
	if (have_timer && get_timeout_active(timer))
		disable_timeout(timer, false);
	sm_pool_due = armed_for = SM_NO_DEADLINE;
	fired = false;
}

/* A transaction has ended: close what has expired, wait for what has not. */
void
sm_idle_at_end(void)
{
	TimestampTz now;

	if (!fired && sm_pool_due >= armed_for)
		return;					/* nothing to do yet, and the timer knows when */
	now = GetCurrentTimestamp();
	if (fired || sm_pool_due <= now)
	{
		fired = false;
		sm_pool_due = armed_for = SM_NO_DEADLINE;
		sm_engine_close_expired(now);
	}
	if (have_timer && sm_pool_due < armed_for)
	{
		watch_errors();
		arm(now);
	}
}

/*
 * A transaction block is about to end, perhaps a failed one.  If the timer
 * fired while the client waited in that, the server has forgotten it.
 */
void
sm_idle_block_ends(void)
{
	if (fired && IsAbortedTransactionBlockState())
		HandleCatchupInterrupt();
}

/*-------------------------------------------------------------------------
 *
 * timer.c
 *		Timers of the server's for uses of ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/core.h"

static void
no_timer_left(void *arg)
{
	(void) arg;
	PG_RE_THROW();
}

/*
 * Get a timer that calls this handler; false if there is none left.  Never
 * throws.
 *
 * The server has ten timers for extensions, which cannot be counted, and ends
 * the backend when there are no more.  To do without is better than that.  A
 * FATAL error calls the error context callbacks before it takes effect, and ours
 * goes to PG_CATCH instead.
 */
bool
sm_timer_register(TimeoutId *timer, timeout_handler_proc handler)
{
	MemoryContext cxt = CurrentMemoryContext;
	volatile bool done = false;
	ErrorContextCallback callback;

	callback.callback = no_timer_left;
	callback.arg = NULL;
	callback.previous = error_context_stack;
	PG_TRY();
	{
		error_context_stack = &callback;
		*timer = RegisterTimeout(USER_TIMEOUT, handler);
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
	}
	PG_END_TRY();
	return done;
}

/*-------------------------------------------------------------------------
 *
 * fan_out.c
 *		A statement on many targets at the same time.
 *
 * Each target is a leg, and each leg a state machine:
 *
 *	HERE		it is not remote: it runs here, when the others are under way
 *	WAITING		for a place in its pool, or for another leg of its session
 *	ARRIVING	its connection is being made, or pinged
 *	RUNNING		the statement is on its way there and back
 *	STOPPING	it is given up: a cancel is on its way
 *	RETURNING	it has its result; its connection is made fit for its pool
 *	ENDED
 *
 * No step of a leg waits, and one wait set waits for all, so that nothing that
 * a target does or does not do holds up another.  (Two exceptions: a two-phase
 * transaction begins in a round trip of its own, and spi: runs here.)  So that
 * what takes time here takes none from the others, a deadline has come only when
 * their sockets were looked at after it, and nothing was there.
 *
 * There are two kinds.  "Together" (query_all): each leg has a transaction, all
 * of which commit when all statements have ended.  The first error is raised,
 * and the end of the local (sub)transaction then cancels and rolls back all
 * legs at the same time.  Otherwise (execute_all) each leg commits by itself,
 * and its error is its own.  An error becomes a leg's own in one of two ways:
 * what runs PostgreSQL's code (privileges, callbacks, output functions, spi:)
 * runs in a local subtransaction, which is rolled back; the steps after that
 * call only code of ours and libpq, whose errors leave nothing behind but what
 * sm_leg_attempt() puts right.  Cancels are looked at between steps, never in one.
 *
 * An engine whose transactions are bound to the local one has one session, so
 * its legs run one after the other, and end with the local transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"

/* Calls under way, whose engines and sessions sm_reset() must leave alone. */
int			sm_gathers = 0;

/* A leg's places among what is waited for. */
#define SLOTS_EACH		2
#define SLOT_CONN(leg, state)	(SLOTS_EACH * ((leg) - (state)->legs))
#define SLOT_CANCEL(leg, state) (SLOT_CONN(leg, state) + 1)

/* ----------
 * All of them
 * ----------
 */
static void
leg_context(void *arg)
{
	const SmGatherLeg *leg = (const SmGatherLeg *) arg;

	errcontext("target %d of %d", (int) (leg->result - leg->gather->legs) + 1,
			   leg->gather->n);
}

/* Whatever is raised from a function on a leg tells which it is. */
static void
with_context(SmGatherState *state, SmGatherLeg *leg, SmLegFunction function)
{
	ErrorContextCallback callback = {
		.callback = leg_context, .arg = leg, .previous = error_context_stack
	};

	error_context_stack = &callback;
	function(state, leg);
	error_context_stack = callback.previous;
}

/*
 * Go on with all without waiting, until nothing changes: the end of one may be what another
 * waits for.  False: all have ended.
 */
static bool
go_on_all(SmGatherState *state)
{
	bool		open;
	bool		changed;

	do
	{
		open = changed = false;
		for (int i = 0; i < state->n; i++)
		{
			SmGatherLeg *leg = &state->legs[i];
			SmLegStep		step = leg->step;

			with_context(state, leg, sm_leg_go_on);
			open |= leg->step != SM_LEG_ENDED;
			changed |= leg->step != step;
		}
	} while (changed);
	return open;
}

/* What a leg waits for; returns until when. */
static TimestampTz
want(SmGatherState *state, SmGatherLeg *leg)
{
	SmConn	   *conn = leg->conn;
	uint32		events;

	switch (leg->step)
	{
		case SM_LEG_ARRIVING:
		case SM_LEG_RUNNING:
			sm_waits_want(&state->waits, SLOT_CONN(leg, state), sm_remote_socket(conn),
						  sm_remote_events(conn));
			break;
		case SM_LEG_STOPPING:
		case SM_LEG_RETURNING:
			if ((events = sm_settle_events(conn)) != 0)
				sm_waits_want(&state->waits, SLOT_CONN(leg, state), sm_remote_socket(conn), events);
			/* after a failure to write there is nothing to wait for */
			leg->more |= events != 0 && sm_remote_socket(conn) == PGINVALID_SOCKET;
			if ((events = sm_settle_cancel_events(conn)) != 0)
				sm_waits_want(&state->waits, SLOT_CANCEL(leg, state), sm_cancel_socket(conn), events);
			return Min(leg->deadline, sm_settle_due(conn));
		case SM_LEG_HERE:
		case SM_LEG_WAITING:
		case SM_LEG_ENDED:
			break;
	}
	return leg->deadline;
}

static void
report_deadlock(SmGatherState *state, SmGatherLeg *leg)
{
	sm_deadlock_report(leg->conn, leg->deadlock, state->gather->sql);
}

static bool
is_awaited(const SmGatherLeg *leg)
{
	return leg->step == SM_LEG_RUNNING && leg->conn->state == SM_CONN_BUSY;
}

/* Is there one that will never end by itself? */
static void
look_for_deadlock(SmGatherState *state)
{
	if (!sm_deadlock_due(&state->watch))
		return;
	for (int i = 0; i < state->n; i++)
	{
		if (is_awaited(&state->legs[i]))
			state->legs[i].conn->awaited = true;
	}
	for (int i = 0; i < state->n; i++)
	{
		SmGatherLeg *leg = &state->legs[i];

		if (!is_awaited(leg))
			continue;
		leg->deadlock = sm_deadlock_find(leg->conn, &state->watch, true);
		if (leg->deadlock != NULL && !sm_leg_attempt(state, leg, report_deadlock))
			sm_leg_stop(state, leg, leg->result->error);
	}
	for (int i = 0; i < state->n; i++)
	{
		if (state->legs[i].conn != NULL)
			state->legs[i].conn->awaited = false;
	}
}

static void
wait_for_any(SmGatherState *state)
{
	TimestampTz until = SM_NO_DEADLINE;
	TimestampTz start;
	long		timeout;
	bool		more = false;

	sm_waits_clear(&state->waits);
	for (int i = 0; i < state->n; i++)
	{
		until = Min(until, want(state, &state->legs[i]));
		more |= state->legs[i].more;
	}
	timeout = more ? 0 : sm_client_round(sm_deadlock_wait(&state->watch, sm_remaining(until)));
	start = GetCurrentTimestamp();
	if (sm_waits_wait(&state->waits, timeout, sm_wait_command))
		state->looked = start;
	sm_client_look();
	for (int i = 0; i < state->n; i++)
	{
		SmGatherLeg *leg = &state->legs[i];

		leg->ready = leg->more || state->waits.ready[SLOT_CONN(leg, state)];
		leg->more = false;
		leg->cancel_ready = state->waits.ready[SLOT_CANCEL(leg, state)];
	}
}

/* All statements have ended: have all transactions, too. */
static void
commit_together(SmGatherState *state)
{
	SmSession **sessions = palloc(Max(state->n, 1) * sizeof(SmSession *));
	int			n = 0;

	for (int i = 0; i < state->n; i++)
	{
		SmGatherLeg *leg = &state->legs[i];

		if (leg->session != NULL && !sm_session_bound(leg->session))
			sessions[n++] = leg->session;
	}
	sm_sessions_commit(sessions, n);
	for (int i = 0; i < n; i++)
		sm_session_end(sessions[i], SM_FROM_NOW);
}

/* Can it do without us, but for the end of what it is waiting for? */
static bool
is_under_way(const SmGatherLeg *leg)
{
	return leg->step == SM_LEG_HERE || leg->step == SM_LEG_ENDED ||
		(leg->step == SM_LEG_RUNNING && leg->run.step == SM_RUN_RUNNING && !leg->conn->unsent);
}

/* Run the next one that is HERE, if all others are under way; false: there is none. */
static bool
run_here(SmGatherState *state)
{
	SmGatherLeg *here = NULL;

	for (int i = state->n - 1; i >= 0; i--)
	{
		if (!is_under_way(&state->legs[i]))
			return false;
		if (state->legs[i].step == SM_LEG_HERE)
			here = &state->legs[i];
	}
	if (here != NULL)
		with_context(state, here, sm_leg_run_here);
	return here != NULL;
}

static void
run_all(SmGatherState *state)
{
	for (int i = 0; i < state->n; i++)
		with_context(state, &state->legs[i], sm_leg_open);
	while (go_on_all(state))
	{
		CHECK_FOR_INTERRUPTS();
		if (run_here(state))
			continue;
		wait_for_any(state);
		CHECK_FOR_INTERRUPTS();
		look_for_deadlock(state);
	}
	if (state->gather->before_commit != NULL)
		state->gather->before_commit(state->gather->arg);
	if (state->gather->together)
		commit_together(state);
}

/* ----------
 * The end
 * ----------
 */

/*
 * Stop all that commits by itself, at the same time.  A connection that has
 * only its pool to go back to is not waited for.
 */
static void
stop_all(SmGatherState *state)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);

	for (int i = 0; i < state->n; i++)
	{
		SmGatherLeg *leg = &state->legs[i];

		if (leg->step == SM_LEG_RETURNING)
			(void) sm_pool_reset_on(leg->conn, true);
		else if (leg->lasts && leg->conn != NULL && leg->conn->state == SM_CONN_BUSY)
			sm_conns_gather(&conns, leg->conn, NULL);
	}
	(void) sm_conns_clean(&conns);
}

/* What has become of a leg, in words; NULL: nothing that lasts. */
static const char *
what_lasts(const SmGatherLeg *leg)
{
	const ErrorData *error = leg->result->error;
	const SmConn *conn = leg->conn;

	if (!leg->lasts)
		return NULL;
	if (leg->step == SM_LEG_ENDED || leg->step == SM_LEG_RETURNING)
		return error == NULL ? "done" :
			error->sqlerrcode == ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN ? "may be done" : NULL;
	if (conn == NULL || !conn->commits || conn->settle_outcome == SM_OUTCOME_NONE)
		return NULL;
	return conn->settle_outcome == SM_OUTCOME_DONE ? "done" : "may be done";
}

/* The call as a whole ends with this error: tell the truth of each leg. */
static void
report_interrupted(SmGatherState *state, ErrorData *error)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < state->n; i++)
	{
		const char *what = what_lasts(&state->legs[i]);

		if (what != NULL)
			appendStringInfo(&buf, "\ntarget %d, \"%s\": %s", i + 1,
							 state->legs[i].result->label, what);
	}
	if (buf.len == 0)
		sm_error_rethrow(error);
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 errmsg("a statement on many targets was interrupted, and lasts on some of them"),
			 errdetail_internal("%s.%s", error->message, buf.data),
			 errhint("Look at the targets before you repeat it.")));
}

/* After an error: nothing of ours must point to what the abort takes away. */
static void
let_go(SmGatherState *state)
{
	sm_deadlock_end(&state->watch);
	sm_waits_free(&state->waits);
	for (int i = 0; i < state->n; i++)
	{
		SmGatherLeg *leg = &state->legs[i];

		sm_leg_unstart(leg);
		if (leg->engine != NULL)
			leg->engine->users--;
		leg->engine = NULL;
	}
}

/*
 * Run a statement on many targets.  Together, it throws the first error of
 * one, and 08007 if they could not all commit; otherwise each leg has its
 * result.  Interrupts are thrown in either case: 08007 if something lasts that
 * committed by itself.
 */
void
sm_gather_run(SmGather *gather)
{
	SmGatherState *state = palloc0(sizeof(SmGatherState));
	ErrorData  *volatile error = NULL;

	state->gather = gather;
	state->n = gather->n;
	state->legs = palloc0(Max(gather->n, 1) * sizeof(SmGatherLeg));
	state->cxt = CurrentMemoryContext;
	state->owner = CurrentResourceOwner;
	sm_waits_init(&state->waits, SLOTS_EACH * gather->n);
	for (int i = 0; i < gather->n; i++)
	{
		state->legs[i].gather = gather;
		state->legs[i].result = &gather->legs[i];
		state->legs[i].step = SM_LEG_ENDED;
		state->legs[i].deadline = SM_NO_DEADLINE;
	}
	sm_gathers++;
	PG_TRY();
	{
		run_all(state);
	}
	PG_CATCH();
	{
		sm_gathers--;
		if (gather->together)
		{
			let_go(state);
			PG_RE_THROW();
		}
		error = sm_error_catch(state->cxt);
		stop_all(state);
		let_go(state);
	}
	PG_END_TRY();
	if (error != NULL)
		report_interrupted(state, error);
	for (int i = 0; i < state->n; i++)
		gather->legs[i].lasts = state->legs[i].lasts && gather->legs[i].error == NULL;
	sm_gathers--;
	sm_waits_free(&state->waits);
}

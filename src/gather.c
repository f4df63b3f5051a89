/*-------------------------------------------------------------------------
 *
 * gather.c
 *		A statement on many targets at the same time.
 *
 * Each target is a leg, and each leg a state machine:
 *
 *	HERE		it is not remote: it runs here, when the others are under way
 *	WAITING		for a place in its pool, or for another leg of its session
 *	ARRIVING	its connection is being made, or pinged
 *	RUNNING		the statement is on its way there and back
 *	STOPPING	it is given up: a cancel is on its way
 *	ENDED
 *
 * No step of a leg waits, and one wait set waits for all, so that nothing that
 * a target does or does not do holds up another.  (Two exceptions: a two-phase
 * transaction begins in a round trip of its own, and spi: runs here.)
 *
 * There are two kinds.  "Together" (query_all): each leg has a transaction, all
 * of which commit when all statements have ended.  The first error is raised,
 * and the end of the local (sub)transaction then cancels and rolls back all
 * legs at the same time.  Otherwise (execute_all) each leg commits by itself,
 * and its error is its own.  An error becomes a leg's own in one of two ways:
 * what runs PostgreSQL's code (privileges, callbacks, output functions, spi:)
 * runs in a local subtransaction, which is rolled back; the steps after that
 * call only code of ours and libpq, whose errors leave nothing behind but what
 * attempt() puts right.  Interrupts are looked at between steps, never in one.
 *
 * An engine whose transactions are bound to the local one has one session, so
 * its legs run one after the other, and end with the local transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

typedef enum LegStep
{
	LEG_HERE,
	LEG_WAITING,
	LEG_ARRIVING,
	LEG_RUNNING,
	LEG_STOPPING,
	LEG_ENDED
} LegStep;

typedef struct Leg
{
	SmGather   *gather;
	SmLeg	   *result;
	LegStep		step;
	SmEngine   *engine;			/* kept by its count of users */
	SmSession  *session;		/* in whose transaction it is, or NULL: alone */
	SmConn	   *conn;			/* while it is checked out for this leg */
	bool		lasts;			/* it commits by itself, and is not read only */
	bool		started;		/* its session is told that it is running */
	SmJourney	journey;
	SmRun		run;
	TimestampTz deadline;		/* of the present step */
	bool		ready;			/* its socket is, or it is not known yet */
	bool		cancel_ready;
	ErrorData  *reason;			/* why it is STOPPING, NULL: its timeout */
	const char *deadlock;		/* the detail, if there is one */
} Leg;

typedef struct State
{
	SmGather   *gather;
	Leg		   *legs;
	int			n;
	MemoryContext cxt;
	ResourceOwner owner;
	SmWaits		waits;
	SmWatch		watch;
} State;

typedef void (*Step) (State *state, Leg *leg);

/* Calls under way, whose engines and sessions sm_reset() must leave alone. */
int			sm_gathers = 0;

/* A leg's places among what is waited for. */
#define SLOTS_EACH		2
#define SLOT_CONN(leg, state)	(SLOTS_EACH * ((leg) - (state)->legs))
#define SLOT_CANCEL(leg, state) (SLOT_CONN(leg, state) + 1)

/* ----------
 * Errors of a leg
 * ----------
 */

/* Whatever it waits for next, its socket may be another one. */
static void
enter_step(State *state, Leg *leg, LegStep step, TimestampTz deadline)
{
	leg->step = step;
	leg->deadline = deadline;
	leg->ready = true;
	sm_waits_renew(&state->waits);
	/* what was published may be about this leg */
	sm_deadlock_end(&state->watch);
}

static void
end_leg(State *state, Leg *leg)
{
	leg->conn = NULL;
	if (leg->engine != NULL && leg->step != LEG_ENDED)
	{
		leg->engine->users--;
		leg->engine = NULL;
		sm_engine_sweep();
	}
	enter_step(state, leg, LEG_ENDED, SM_NO_DEADLINE);
}

/* Keep the error that was just caught as the leg's own. */
static void
keep_error(State *state, Leg *leg)
{
	MemoryContextSwitchTo(state->cxt);
	leg->result->error = CopyErrorData();
	FlushErrorState();
}

/*
 * A step that calls only code of ours and libpq: false if it has thrown, and
 * the error is kept.  Together, it is thrown on.
 */
static bool
attempt(State *state, Leg *leg, Step step)
{
	uint32		holdoff = InterruptHoldoffCount;
	volatile bool done = true;
	int			level;

	if (state->gather->together)
	{
		step(state, leg);
		return true;
	}
	level = NewGUCNestLevel();
	HOLD_INTERRUPTS();
	PG_TRY();
	{
		step(state, leg);
	}
	PG_CATCH();
	{
		keep_error(state, leg);
		done = false;
	}
	PG_END_TRY();
	InterruptHoldoffCount = holdoff;
	AtEOXact_GUC(done, level);
	return done;
}

/* Is it an interrupt of this backend, which is meant for the whole call? */
static bool
is_cancel(const ErrorData *error)
{
	static const char start[] = "canceling statement due to";

	return error->sqlerrcode == ERRCODE_QUERY_CANCELED && error->message_id != NULL &&
		strncmp(error->message_id, start, strlen(start)) == 0;
}

/*
 * The same for a step that may run any code: in a subtransaction, which is
 * rolled back if it throws.
 */
static bool
attempt_inside(State *state, Leg *leg, Step step)
{
	volatile bool done = true;

	if (state->gather->together)
	{
		step(state, leg);
		return true;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(state->cxt);
	PG_TRY();
	{
		step(state, leg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		keep_error(state, leg);
		RollbackAndReleaseCurrentSubTransaction();
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(state->cxt);
	CurrentResourceOwner = state->owner;
	if (!done && is_cancel(leg->result->error))
		ReThrowError(leg->result->error);
	return done;
}

/* ----------
 * Beginning
 * ----------
 */

/* Find the engine, and the session if the leg is to have one. */
static void
open_leg(State *state, Leg *leg)
{
	const char *dburi = leg->result->dburi;
	SmEngine   *engine = sm_engine_get(dburi, strlen(dburi), NULL, false);

	leg->result->label = MemoryContextStrdup(state->cxt, engine->label);
	if (engine->driver->remote &&
		(state->gather->together || engine->session.transaction >= SM_TXN_JOINED))
		leg->session = sm_session_of_work(engine);
	leg->lasts = engine->driver->remote && leg->session == NULL &&
		engine->session.read_only != SM_ON;
	leg->engine = engine;
}

/* Where there is no engine to ask: "***" if the dburi cannot be read. */
static void
redact_label(State *state, Leg *leg)
{
	leg->result->label = MemoryContextStrdup(state->cxt, sm_dburi_redact(leg->result->dburi));
}

static void
open_or_end(State *state, Leg *leg)
{
	ErrorData  *error;

	if (attempt_inside(state, leg, open_leg))
	{
		leg->engine->users++;
		enter_step(state, leg, leg->engine->driver->remote ? LEG_WAITING : LEG_HERE,
				   SM_NO_DEADLINE);
		return;
	}
	leg->session = NULL;
	leg->engine = NULL;
	leg->lasts = false;
	leg->step = LEG_ENDED;
	if (leg->result->label != NULL)
		return;
	error = leg->result->error;
	if (!attempt_inside(state, leg, redact_label))
		leg->result->label = SM_HIDDEN;
	leg->result->error = error;
}

static void
execute_here(State *state, Leg *leg)
{
	leg->result->count = sm_engine_execute(leg->engine, state->gather->sql,
										   state->gather->params, leg->result->sink);
}

/* HERE: all at once. */
static void
run_here(State *state, Leg *leg)
{
	(void) attempt_inside(state, leg, execute_here);
	end_leg(state, leg);
}

/* Does another leg use the session now? */
static bool
session_taken(const State *state, const Leg *leg)
{
	for (int i = 0; leg->session != NULL && i < state->n; i++)
	{
		const Leg  *other = &state->legs[i];

		if (other != leg && other->session == leg->session && other->step != LEG_WAITING &&
			other->step != LEG_ENDED)
			return true;
	}
	return false;
}

static void
check_session(State *state, Leg *leg)
{
	(void) state;
	if (leg->session != NULL)
		sm_session_check_usable(leg->session);
	else
		sm_engine_check(leg->engine);
}

static void
check_out(State *state, Leg *leg)
{
	check_session(state, leg);
	if (leg->session == NULL || leg->session->state == SM_SESSION_IDLE)
		leg->conn = sm_pool_begin(leg->engine);
}

static void
report_full(State *state, Leg *leg)
{
	(void) state;
	sm_pool_report_full(leg->engine);
}

/* WAITING: try to go on. */
static void
try_to_begin(State *state, Leg *leg)
{
	bool		needs_conn = leg->session == NULL || leg->session->state == SM_SESSION_IDLE;

	if (session_taken(state, leg))
		return;
	if (!needs_conn || sm_pool_has_place(leg->engine))
	{
		if (!attempt_inside(state, leg, check_out))
		{
			leg->conn = NULL;
			end_leg(state, leg);
			return;
		}
		if (leg->conn != NULL || !needs_conn)
		{
			enter_step(state, leg, LEG_ARRIVING, leg->conn ? leg->conn->deadline : 0);
			/* what is being made waits for its socket first */
			leg->ready = leg->conn == NULL || leg->conn->state == SM_CONN_READY;
			return;
		}
	}
	if (leg->deadline == SM_NO_DEADLINE)
		leg->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													leg->engine->options.pool_timeout);
	else if (sm_remaining(leg->deadline) == 0)
	{
		(void) attempt(state, leg, report_full);
		end_leg(state, leg);
	}
}

/* Send the statement, on leg->conn or its session's. */
static void
start(State *state, Leg *leg)
{
	SmStatement *statement = &leg->journey.statement;

	memset(&leg->journey, 0, sizeof(leg->journey));
	statement->sql = state->gather->sql;
	statement->params = state->gather->params;
	if (leg->session != NULL)
	{
		leg->session->statements++;
		leg->session->running++;
		leg->started = true;
		sm_journey_enter(leg->session, &leg->journey, leg->conn);
		leg->conn = leg->session->conn;
	}
	else
	{
		statement->autocommit = true;
		statement->defaults = &leg->engine->session;
	}
	leg->engine->driver->start(&leg->run, leg->conn, statement, leg->result->sink, false);
}

/* The statement of a leg has failed: its session is not running it any more. */
static void
unstart(Leg *leg)
{
	if (!leg->started)
		return;
	leg->started = false;
	leg->session->running--;
	sm_journey_failed(leg->session, &leg->journey);
}

/* The same, for attempt_inside(). */
static void
start_inside(State *state, Leg *leg)
{
	/* if this throws, the end of the subtransaction takes it back */
	if (leg->conn != NULL)
		leg->conn->subid = GetCurrentSubTransactionId();
	PG_TRY();
	{
		start(state, leg);
	}
	PG_CATCH();
	{
		unstart(leg);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* A step of its connection's way; if that throws, there is none any more. */
static void
connect_step(State *state, Leg *leg)
{
	SmConn	   *conn = leg->conn;

	if (conn == NULL)
		return;
	if (!leg->ready && !conn->pinged && sm_remaining(leg->deadline) == 0)
		sm_report_connect_timeout(conn);
	leg->conn = NULL;
	switch (sm_pool_go_on(conn, false))
	{
		case SM_NOT_ARRIVED:
			leg->conn = conn;
			leg->ready = false;
			sm_waits_renew(&state->waits);
			break;
		case SM_ARRIVED:
			leg->conn = conn;
			leg->ready = true;
			break;
		case SM_GONE:
			enter_step(state, leg, LEG_WAITING, SM_NO_DEADLINE);
			break;
	}
}

/* ARRIVING: when its connection is READY the statement begins. */
static void
arrive(State *state, Leg *leg)
{
	if (!leg->ready && sm_remaining(leg->deadline) != 0)
		return;
	if (!attempt(state, leg, connect_step))
	{
		if (leg->conn != NULL)
			sm_pool_give_up(leg->conn);
		end_leg(state, leg);
		return;
	}
	if (leg->step != LEG_ARRIVING || !leg->ready)
		return;
	if (!attempt_inside(state, leg, start_inside))
	{
		/* its session may have gone with the subtransaction, too */
		leg->session = NULL;
		end_leg(state, leg);
		return;
	}
	enter_step(state, leg, LEG_RUNNING, leg->run.deadline);
}

/* ----------
 * Running
 * ----------
 */
static void
advance(State *state, Leg *leg)
{
	(void) state;
	/* not ready: come again */
	leg->ready = sm_run_advance(&leg->run);
}

/* Its end has been read: the count, or the error. */
static void
finish(State *state, Leg *leg)
{
	SmOdd		odd;
	SmConn	   *conn = leg->conn;

	(void) state;
	leg->result->count = sm_run_finish(&leg->run, &odd);
	if (odd == SM_ODD_STALE)
	{
		sm_journey_again(leg->session, &leg->journey);
		leg->engine->driver->start(&leg->run, conn, &leg->journey.statement,
								   leg->result->sink, false);
		leg->ready = false;
		return;
	}
	leg->ready = true;
	leg->conn = NULL;
	if (leg->session != NULL)
	{
		leg->started = false;
		leg->session->running--;
		sm_session_check_transaction(leg->session, odd);
	}
	else
		sm_alone_ended(conn, odd);
}

/* Begin to give up what is on the wire. */
static void
stop(State *state, Leg *leg, ErrorData *reason)
{
	leg->reason = reason;
	leg->result->error = NULL;
	sm_settle_start(leg->conn);
	enter_step(state, leg, LEG_STOPPING,
			   sm_deadline(leg->engine->options.cleanup_timeout));
	leg->cancel_ready = false;
}

/* After an error: the connection goes back, if it is only this leg's. */
static void
leg_failed(State *state, Leg *leg)
{
	if (leg->conn != NULL && leg->conn->state == SM_CONN_BUSY)
	{
		stop(state, leg, leg->result->error);
		return;
	}
	unstart(leg);
	/* no end of the local transaction follows that would give it back */
	if (leg->conn != NULL && leg->conn->session == NULL)
		sm_pool_checkin(leg->conn, SM_FROM_NOW);
	else if (leg->session != NULL)
		sm_session_note_loss(leg->session);
	end_leg(state, leg);
}

static void
report_run_timeout(State *state, Leg *leg)
{
	(void) state;
	sm_report_timeout(leg->conn, leg->gather->sql);
}

static void
run(State *state, Leg *leg)
{
	if (leg->ready)
	{
		if (!attempt(state, leg, advance) ||
			(leg->ready && !attempt(state, leg, finish)))
		{
			leg_failed(state, leg);
			return;
		}
		if (leg->ready)
		{
			end_leg(state, leg);
			return;
		}
		leg->deadline = leg->run.deadline;
	}
	if (sm_remaining(leg->deadline) != 0)
		return;
	if (state->gather->together)
		report_run_timeout(state, leg);
	stop(state, leg, NULL);
}

static void
report_stopped(State *state, Leg *leg)
{
	sm_remote_given_up(leg->conn, state->gather->sql,
					   leg->reason ? psprintf("%s.", leg->reason->message) :
					   "Its timeout came.");
	if (leg->reason != NULL)
		ReThrowError(leg->reason);
	sm_report_timeout(leg->conn, state->gather->sql);
}

/* STOPPING: is it settled? */
static void
settle(State *state, Leg *leg)
{
	bool		over = sm_remaining(leg->deadline) == 0;
	bool		cancel_ready = leg->cancel_ready;

	leg->cancel_ready = false;
	sm_waits_renew(&state->waits);
	if (!sm_settle_go_on(leg->conn, cancel_ready, over))
		return;
	(void) attempt(state, leg, report_stopped);
	leg_failed(state, leg);
}

/* ----------
 * All of them
 * ----------
 */
static void
leg_context(void *arg)
{
	const Leg  *leg = (const Leg *) arg;

	errcontext("target %d of %d", (int) (leg->result - leg->gather->legs) + 1,
			   leg->gather->n);
}

/* Whatever is raised from a function on a leg tells which it is. */
static void
with_context(State *state, Leg *leg, Step function)
{
	ErrorContextCallback callback = {
		.callback = leg_context, .arg = leg, .previous = error_context_stack
	};

	error_context_stack = &callback;
	function(state, leg);
	error_context_stack = callback.previous;
}

/* Go as far as it goes without waiting. */
static void
go_on(State *state, Leg *leg)
{
	LegStep		step;

	do
	{
		step = leg->step;
		if (step == LEG_WAITING)
			try_to_begin(state, leg);
		else if (step == LEG_ARRIVING)
			arrive(state, leg);
		else if (step == LEG_RUNNING)
			run(state, leg);
		else if (step == LEG_STOPPING)
			settle(state, leg);
	} while (leg->step != step);
}

/*
 * The same for all, until nothing changes: the end of one may be what another
 * waits for.  False: all have ended.
 */
static bool
go_on_all(State *state)
{
	bool		open;
	bool		changed;

	do
	{
		open = changed = false;
		for (int i = 0; i < state->n; i++)
		{
			Leg		   *leg = &state->legs[i];
			LegStep		step = leg->step;

			with_context(state, leg, go_on);
			open |= leg->step != LEG_ENDED;
			changed |= leg->step != step;
		}
	} while (changed);
	return open;
}

/* What a leg waits for; returns until when. */
static TimestampTz
want(State *state, Leg *leg)
{
	SmConn	   *conn = leg->conn;
	uint32		events;

	switch (leg->step)
	{
		case LEG_ARRIVING:
		case LEG_RUNNING:
			sm_waits_want(&state->waits, SLOT_CONN(leg, state), PQsocket(conn->pg),
						  sm_remote_events(conn));
			break;
		case LEG_STOPPING:
			if ((events = sm_settle_events(conn)) != 0)
				sm_waits_want(&state->waits, SLOT_CONN(leg, state), PQsocket(conn->pg), events);
			if ((events = sm_settle_cancel_events(conn)) != 0)
				sm_waits_want(&state->waits, SLOT_CANCEL(leg, state), sm_cancel_socket(conn), events);
			break;
		case LEG_HERE:
		case LEG_WAITING:
		case LEG_ENDED:
			break;
	}
	return leg->deadline;
}

static void
report_deadlock(State *state, Leg *leg)
{
	sm_deadlock_report(leg->conn, leg->deadlock, state->gather->sql);
}

static bool
is_awaited(const Leg *leg)
{
	return leg->step == LEG_RUNNING && leg->conn->state == SM_CONN_BUSY;
}

/* Is there one that will never end by itself? */
static void
look_for_deadlock(State *state)
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
		Leg		   *leg = &state->legs[i];

		if (!is_awaited(leg))
			continue;
		leg->deadlock = sm_deadlock_find(leg->conn, &state->watch, true);
		if (leg->deadlock != NULL && !attempt(state, leg, report_deadlock))
			stop(state, leg, leg->result->error);
	}
	for (int i = 0; i < state->n; i++)
	{
		if (state->legs[i].conn != NULL)
			state->legs[i].conn->awaited = false;
	}
}

static void
wait_for_any(State *state)
{
	TimestampTz until = SM_NO_DEADLINE;
	long		timeout;

	sm_waits_clear(&state->waits);
	for (int i = 0; i < state->n; i++)
		until = Min(until, want(state, &state->legs[i]));
	timeout = sm_deadlock_wait(&state->watch, sm_remaining(until));
	sm_waits_wait(&state->waits, timeout, sm_wait_command);
	for (int i = 0; i < state->n; i++)
	{
		Leg		   *leg = &state->legs[i];

		leg->ready = state->waits.ready[SLOT_CONN(leg, state)];
		leg->cancel_ready = state->waits.ready[SLOT_CANCEL(leg, state)];
	}
}

/* All statements have ended: have all transactions, too. */
static void
commit_together(State *state)
{
	SmSession **sessions = palloc(Max(state->n, 1) * sizeof(SmSession *));
	int			n = 0;

	for (int i = 0; i < state->n; i++)
	{
		Leg		   *leg = &state->legs[i];

		if (leg->session != NULL && !sm_session_bound(leg->session))
			sessions[n++] = leg->session;
	}
	sm_sessions_commit(sessions, n);
	for (int i = 0; i < n; i++)
		sm_session_end(sessions[i], SM_FROM_NOW);
}

static void
run_all(State *state)
{
	for (int i = 0; i < state->n; i++)
		with_context(state, &state->legs[i], open_or_end);
	/* what takes no time here is under way while spi: runs */
	(void) go_on_all(state);
	for (int i = 0; i < state->n; i++)
	{
		Leg		   *leg = &state->legs[i];

		if (leg->step == LEG_HERE)
			with_context(state, leg, run_here);
	}
	while (go_on_all(state))
	{
		CHECK_FOR_INTERRUPTS();
		wait_for_any(state);
		CHECK_FOR_INTERRUPTS();
		look_for_deadlock(state);
	}
	if (state->gather->together)
		commit_together(state);
}

/* ----------
 * The end
 * ----------
 */

/* Stop all that commits by itself, at the same time. */
static void
stop_all(State *state)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);

	for (int i = 0; i < state->n; i++)
	{
		Leg		   *leg = &state->legs[i];

		if (leg->lasts && leg->conn != NULL && leg->conn->state == SM_CONN_BUSY)
			sm_conns_gather(&conns, leg->conn, NULL);
	}
	(void) sm_conns_clean(&conns);
}

/* What has become of a leg, in words; NULL: nothing that lasts. */
static const char *
what_lasts(const Leg *leg)
{
	const ErrorData *error = leg->result->error;
	const SmConn *conn = leg->conn;

	if (!leg->lasts)
		return NULL;
	if (leg->step == LEG_ENDED)
		return error == NULL ? "done" :
			error->sqlerrcode == ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN ? "may be done" : NULL;
	if (conn == NULL || !conn->commits || conn->settle_outcome == SM_OUTCOME_NONE)
		return NULL;
	return conn->settle_outcome == SM_OUTCOME_DONE ? "done" : "may be done";
}

/* The call as a whole ends with this error: tell the truth of each leg. */
static void
report_interrupted(State *state, ErrorData *error)
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
		ReThrowError(error);
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 errmsg("a statement on many targets was interrupted, and lasts on some of them"),
			 errdetail_internal("%s.%s", error->message, buf.data),
			 errhint("Look at the targets before you repeat it.")));
}

/* After an error: nothing of ours must point to what the abort takes away. */
static void
let_go(State *state)
{
	sm_waits_free(&state->waits);
	for (int i = 0; i < state->n; i++)
	{
		Leg		   *leg = &state->legs[i];

		unstart(leg);
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
	State	   *state = palloc0(sizeof(State));
	ErrorData  *volatile error = NULL;

	state->gather = gather;
	state->n = gather->n;
	state->legs = palloc0(Max(gather->n, 1) * sizeof(Leg));
	state->cxt = CurrentMemoryContext;
	state->owner = CurrentResourceOwner;
	sm_waits_init(&state->waits, SLOTS_EACH * gather->n);
	for (int i = 0; i < gather->n; i++)
	{
		state->legs[i].gather = gather;
		state->legs[i].result = &gather->legs[i];
		state->legs[i].step = LEG_ENDED;
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
		MemoryContextSwitchTo(state->cxt);
		error = CopyErrorData();
		FlushErrorState();
		stop_all(state);
		let_go(state);
	}
	PG_END_TRY();
	if (error != NULL)
		report_interrupted(state, error);
	sm_gathers--;
	sm_waits_free(&state->waits);
}

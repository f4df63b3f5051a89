/*-------------------------------------------------------------------------
 *
 * fan_out_branch.c
 *		One target of a statement on many: its steps, none of which waits.
 *
 * See fan_out.c for what they are, and for how an error becomes a leg's own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* ----------
 * Errors of a leg
 * ----------
 */

/* Has its deadline come, and was all looked at since then? */
static bool
is_over(const SmGatherState *state, const SmGatherLeg *leg)
{
	return leg->deadline <= state->looked;
}

/* Whatever it waits for next, its socket may be another one. */
static void
enter_step(SmGatherState *state, SmGatherLeg *leg, SmLegStep step, TimestampTz deadline)
{
	leg->step = step;
	leg->deadline = deadline;
	leg->late = 0;
	leg->ready = true;
	sm_waits_renew(&state->waits);
	/* what was published may be about this leg */
	sm_deadlock_end(&state->watch);
}

static void
end_leg(SmGatherState *state, SmGatherLeg *leg)
{
	leg->conn = NULL;
	if (leg->engine != NULL && leg->step != SM_LEG_ENDED)
	{
		leg->engine->users--;
		leg->engine = NULL;
		sm_engine_sweep();
	}
	enter_step(state, leg, SM_LEG_ENDED, SM_NO_DEADLINE);
}

/*
 * Is it an error of the local statement, which ends the whole call whatever leg
 * was at work when it came?  That is what stops this backend (a cancel, a timeout,
 * also lock_timeout, a conflict with recovery), what its transaction cannot go on
 * after or would only meet again (a deadlock, a conflict with others under a
 * strict isolation level), and what is missing or broken here (memory, disk, a
 * file).  What a target says, or code here in the name of one, has no message id
 * of the server's own.
 */
static bool
is_local(const ErrorData *error)
{
	static const char stopped[] = "canceling statement due to";
	const char *id = error->message_id;

	if (id == NULL || strcmp(id, "%s") == 0)
		return false;
	switch (error->sqlerrcode)
	{
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
		case ERRCODE_OUT_OF_MEMORY:
		case ERRCODE_DISK_FULL:
		case ERRCODE_CONFIGURATION_LIMIT_EXCEEDED:
			return true;
		case ERRCODE_T_R_DEADLOCK_DETECTED:
			/* not one through a connection, which the leg is given up for */
			return !sm_deadlock_found_here(error);
		default:
			return strncmp(id, stopped, strlen(stopped)) == 0 ||
				ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_SYSTEM_ERROR ||
				ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR;
	}
}

/*
 * A step that calls only code of ours and libpq: false if it has thrown, and
 * the error is kept.  Together, it is thrown on.
 */
bool
sm_leg_attempt(SmGatherState *state, SmGatherLeg *leg, SmLegFunction step)
{
	uint32		holdoff = InterruptHoldoffCount;
	uint32		cancel_holdoff = QueryCancelHoldoffCount;
	volatile bool done = true;
	int			level;

	if (state->gather->together)
	{
		step(state, leg);
		return true;
	}
	level = NewGUCNestLevel();

	/*
	 * A cancel is not for the leg to catch.  But where a notice is shown to a
	 * client that does not read, the backend must be possible to terminate.
	 */
	HOLD_CANCEL_INTERRUPTS();
	PG_TRY();
	{
		step(state, leg);
	}
	PG_CATCH();
	{
		leg->result->error = sm_error_catch(state->cxt);
		done = false;
	}
	PG_END_TRY();
	InterruptHoldoffCount = holdoff;
	QueryCancelHoldoffCount = cancel_holdoff;
	AtEOXact_GUC(done, level);
	if (!done && is_local(leg->result->error))
		sm_error_rethrow(leg->result->error);
	return done;
}

/*
 * The same for a step that may run any code: in a subtransaction, which is
 * rolled back if it throws.
 */
static bool
attempt_inside(SmGatherState *state, SmGatherLeg *leg, SmLegFunction step)
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
		leg->result->error = sm_error_catch(state->cxt);
		/* the abort gives its connection back, or closes it */
		leg->conn = NULL;
		RollbackAndReleaseCurrentSubTransaction();
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(state->cxt);
	CurrentResourceOwner = state->owner;
	if (!done && is_local(leg->result->error))
		sm_error_rethrow(leg->result->error);
	return done;
}

/* ----------
 * Beginning
 * ----------
 */

/* Find the engine, and the session if the leg is to have one. */
static void
open_leg(SmGatherState *state, SmGatherLeg *leg)
{
	const char *dburi = leg->result->dburi;
	SmEngine   *engine = sm_engine_get(dburi, strlen(dburi), NULL, false);

	leg->result->label = MemoryContextStrdup(state->cxt, engine->endpoint.label);
	if (engine->endpoint.remote &&
		(state->gather->together || engine->endpoint.session.transaction >= SM_TXN_JOINED))
		leg->session = sm_session_of_work(engine);
	leg->lasts = engine->endpoint.remote && leg->session == NULL &&
		engine->endpoint.session.read_only != SM_ON;
	leg->engine = engine;
}

/* Where there is no engine to ask: "***" if the dburi cannot be read. */
static void
redact_label(SmGatherState *state, SmGatherLeg *leg)
{
	leg->result->label = MemoryContextStrdup(state->cxt, sm_dburi_redact(leg->result->dburi));
}

void
sm_leg_open(SmGatherState *state, SmGatherLeg *leg)
{
	ErrorData  *error;

	if (attempt_inside(state, leg, open_leg))
	{
		leg->engine->users++;
		enter_step(state, leg, leg->engine->endpoint.remote ? SM_LEG_WAITING : SM_LEG_HERE,
				   SM_NO_DEADLINE);
		return;
	}
	leg->session = NULL;
	leg->engine = NULL;
	leg->lasts = false;
	leg->step = SM_LEG_ENDED;
	if (leg->result->label != NULL)
		return;
	error = leg->result->error;
	if (!attempt_inside(state, leg, redact_label))
		leg->result->label = SM_HIDDEN;
	leg->result->error = error;
}

static void
execute_here(SmGatherState *state, SmGatherLeg *leg)
{
	leg->result->count = sm_engine_execute(leg->engine, state->gather->sql,
										   state->gather->params, leg->result->sink);
}

/* HERE: all at once. */
void
sm_leg_run_here(SmGatherState *state, SmGatherLeg *leg)
{
	(void) attempt_inside(state, leg, execute_here);
	end_leg(state, leg);
}

/* Does another leg use the session now? */
static bool
session_taken(const SmGatherState *state, const SmGatherLeg *leg)
{
	for (int i = 0; leg->session != NULL && i < state->n; i++)
	{
		const SmGatherLeg *other = &state->legs[i];

		if (other != leg && other->session == leg->session && other->step != SM_LEG_WAITING &&
			other->step != SM_LEG_ENDED)
			return true;
	}
	return false;
}

static void
check_session(SmGatherState *state, SmGatherLeg *leg)
{
	(void) state;
	if (leg->session != NULL)
		sm_session_check_usable(leg->session);
	else
		sm_engine_check(leg->engine);
}

static void
check_out(SmGatherState *state, SmGatherLeg *leg)
{
	check_session(state, leg);
	if (leg->session == NULL || leg->session->state == SM_SESSION_IDLE)
		leg->conn = sm_pool_begin(leg->engine);
}

static void
report_full(SmGatherState *state, SmGatherLeg *leg)
{
	(void) state;
	sm_pool_report_full(leg->engine);
}

/* WAITING: try to go on. */
static void
try_to_begin(SmGatherState *state, SmGatherLeg *leg)
{
	bool		needs_conn = leg->session == NULL || leg->session->state == SM_SESSION_IDLE;

	if (session_taken(state, leg))
		return;
	if (!needs_conn || sm_pool_has_place(leg->engine))
	{
		if (!attempt_inside(state, leg, check_out))
		{
			end_leg(state, leg);
			return;
		}
		if (leg->conn != NULL || !needs_conn)
		{
			enter_step(state, leg, SM_LEG_ARRIVING, leg->conn ? leg->conn->deadline : 0);
			/* what is being made waits for its socket first */
			leg->ready = leg->conn == NULL || (leg->conn->state != SM_CONN_CONNECTING &&
											   leg->conn->state != SM_CONN_BUSY);
			return;
		}
	}
	if (leg->deadline == SM_NO_DEADLINE)
		leg->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													leg->engine->endpoint.options.pool_timeout);
	else if (is_over(state, leg))
	{
		(void) sm_leg_attempt(state, leg, report_full);
		end_leg(state, leg);
	}
}

/* Send the statement, on leg->conn or its session's. */
static void
start(SmGatherState *state, SmGatherLeg *leg)
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
		statement->defaults = &leg->engine->endpoint.session;
	}
	leg->engine->driver->start(&leg->run, leg->conn, statement, leg->result->sink, false);
}

/* The statement of a leg has failed: its session is not running it any more. */
void
sm_leg_unstart(SmGatherLeg *leg)
{
	if (!leg->started)
		return;
	leg->started = false;
	leg->session->running--;
	sm_journey_failed(leg->session, &leg->journey);
}

/* The same, for attempt_inside(). */
static void
start_inside(SmGatherState *state, SmGatherLeg *leg)
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
		sm_leg_unstart(leg);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* A step of its connection's way; if that throws, there is none any more. */
static void
connect_step(SmGatherState *state, SmGatherLeg *leg)
{
	SmConn	   *conn = leg->conn;

	if (conn == NULL)
		return;
	leg->conn = NULL;
	switch (sm_pool_go_on(conn, false))
	{
		case SM_NOT_ARRIVED:
			leg->conn = conn;
			leg->deadline = conn->deadline;
			leg->ready = false;
			sm_waits_renew(&state->waits);
			break;
		case SM_ARRIVED:
			leg->conn = conn;
			leg->ready = true;
			break;
		case SM_GONE:
			enter_step(state, leg, SM_LEG_WAITING, SM_NO_DEADLINE);
			break;
	}
}

/* ARRIVING: when its connection is READY the statement begins. */
static void
arrive(SmGatherState *state, SmGatherLeg *leg)
{
	if (!leg->ready && !is_over(state, leg))
		return;
	if (!sm_leg_attempt(state, leg, connect_step))
	{
		if (leg->conn != NULL)
			sm_pool_give_up(leg->conn);
		end_leg(state, leg);
		return;
	}
	if (leg->step != SM_LEG_ARRIVING || !leg->ready)
		return;
	if (!attempt_inside(state, leg, start_inside))
	{
		/* its session may have gone with the subtransaction, too */
		leg->session = NULL;
		end_leg(state, leg);
		return;
	}
	enter_step(state, leg, SM_LEG_RUNNING, leg->run.deadline);
}

/* ----------
 * Running
 * ----------
 */
static void
advance(SmGatherState *state, SmGatherLeg *leg)
{
	(void) state;
	/* not ready: come again */
	leg->ready = sm_run_advance(&leg->run);
}

/* Its end has been read: the count, or the error. */
static void
finish(SmGatherState *state, SmGatherLeg *leg)
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
	if (leg->session != NULL)
	{
		leg->conn = NULL;
		leg->started = false;
		leg->session->running--;
		sm_session_check_transaction(leg->session, odd);
	}
	else
		sm_alone_check(conn, odd);
}

/* The leg has its result. */
static void
check_in(SmGatherState *state, SmGatherLeg *leg)
{
	if (leg->conn != NULL)
		sm_pool_checkin(leg->conn, SM_FROM_NOW);
	end_leg(state, leg);
}

/* The same, but its connection, if it is only this leg's, goes back first. */
static void
give_back(SmGatherState *state, SmGatherLeg *leg)
{
	if (leg->conn != NULL && sm_pool_reset_start(leg->conn))
		enter_step(state, leg, SM_LEG_RETURNING,
				   sm_deadline(leg->engine->endpoint.options.cleanup_timeout));
	else
		check_in(state, leg);
}

/* RETURNING: can it be checked in? */
static void
come_back(SmGatherState *state, SmGatherLeg *leg)
{
	if (sm_pool_reset_on(leg->conn, is_over(state, leg)))
		check_in(state, leg);
}

/* Begin to give up what is on the wire. */
void
sm_leg_stop(SmGatherState *state, SmGatherLeg *leg, ErrorData *reason)
{
	leg->reason = reason;
	leg->result->error = NULL;
	sm_settle_start(leg->conn, NULL, false);
	enter_step(state, leg, SM_LEG_STOPPING,
			   sm_deadline(leg->engine->endpoint.options.cleanup_timeout));
	leg->cancel_ready = false;
}

/* After an error: the connection goes back, if it is only this leg's. */
static void
leg_failed(SmGatherState *state, SmGatherLeg *leg)
{
	if (leg->conn != NULL && leg->conn->state == SM_CONN_BUSY)
	{
		sm_leg_stop(state, leg, leg->result->error);
		return;
	}
	sm_leg_unstart(leg);
	/* no end of the local transaction follows that would give it back */
	if (leg->conn != NULL && leg->conn->session == NULL)
	{
		give_back(state, leg);
		return;
	}
	if (leg->session != NULL)
		sm_session_note_loss(leg->session);
	end_leg(state, leg);
}

static void
report_run_timeout(SmGatherState *state, SmGatherLeg *leg)
{
	(void) state;
	sm_report_timeout(leg->conn, leg->gather->sql);
}

static void
run(SmGatherState *state, SmGatherLeg *leg)
{
	if (leg->ready)
	{
		if (!sm_leg_attempt(state, leg, advance) ||
			(leg->ready && !sm_leg_attempt(state, leg, finish)))
		{
			leg_failed(state, leg);
			return;
		}
		if (leg->ready)
		{
			give_back(state, leg);
			return;
		}
		leg->deadline = leg->run.deadline;
		leg->more = leg->run.more;
	}
	/* what has come in time is read, but not for ever if more keeps coming */
	if (!is_over(state, leg) || (leg->more && leg->late++ < SM_MAX_LATE))
		return;
	if (state->gather->together)
		report_run_timeout(state, leg);
	sm_leg_stop(state, leg, NULL);
}

static void
report_stopped(SmGatherState *state, SmGatherLeg *leg)
{
	sm_remote_given_up(leg->conn, state->gather->sql,
					   leg->reason ? psprintf("%s.", leg->reason->message) :
					   "Its timeout came.");
	if (leg->reason != NULL)
		sm_error_rethrow(leg->reason);
	sm_report_timeout(leg->conn, state->gather->sql);
}

/* STOPPING: is it settled? */
static void
settle(SmGatherState *state, SmGatherLeg *leg)
{
	bool		over = is_over(state, leg);
	bool		cancel_ready = leg->cancel_ready;

	leg->cancel_ready = false;
	sm_waits_renew(&state->waits);
	if (!sm_settle_go_on(leg->conn, cancel_ready, over))
		return;
	(void) sm_leg_attempt(state, leg, report_stopped);
	leg_failed(state, leg);
}

/* Go as far as it goes without waiting. */
void
sm_leg_go_on(SmGatherState *state, SmGatherLeg *leg)
{
	SmLegStep		step;

	do
	{
		step = leg->step;
		if (step == SM_LEG_WAITING)
			try_to_begin(state, leg);
		else if (step == SM_LEG_ARRIVING)
			arrive(state, leg);
		else if (step == SM_LEG_RUNNING)
			run(state, leg);
		else if (step == SM_LEG_STOPPING)
			settle(state, leg);
		else if (step == SM_LEG_RETURNING)
			come_back(state, leg);
	} while (leg->step != step);
}

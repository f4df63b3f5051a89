/*-------------------------------------------------------------------------
 *
 * fan_out_branch.c
 *		One target of a statement on many: its steps, none of which waits.
 *
 * See fan_out.c for what they are, and for how an error becomes a branch's own.
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
 * Errors of a branch
 * ----------
 */

/* Has its deadline come, and were all sockets checked since then? */
static bool
is_over(const SmFanOutState *state, const SmBranchRun *branch)
{
	return branch->deadline <= state->checked;
}

/* Whatever it waits for next, its socket may be another one. */
static void
enter_step(SmFanOutState *state, SmBranchRun *branch, SmBranchStep step, TimestampTz deadline)
{
	branch->step = step;
	branch->deadline = deadline;
	branch->late = 0;
	branch->ready = true;
	sm_waits_renew(&state->waits);
	/* what was published may be about this branch */
	sm_deadlock_end(&state->watch);
}

static void
end_branch(SmFanOutState *state, SmBranchRun *branch)
{
	branch->conn = NULL;
	if (branch->engine != NULL && branch->step != SM_BRANCH_ENDED)
	{
		branch->engine->users--;
		branch->engine = NULL;
		sm_engine_sweep();
	}
	enter_step(state, branch, SM_BRANCH_ENDED, SM_NO_DEADLINE);
}

/*
 * Is it an error of the local statement, which ends the whole call whatever branch
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
			/* not one through a connection, which the branch is given up for */
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
sm_branch_attempt(SmFanOutState *state, SmBranchRun *branch, SmBranchFunction step)
{
	uint32		holdoff = InterruptHoldoffCount;
	uint32		cancel_holdoff = QueryCancelHoldoffCount;
	volatile bool done = true;
	int			level;

	if (state->fan_out->together)
	{
		step(state, branch);
		return true;
	}
	level = NewGUCNestLevel();

	/*
	 * A cancel is not for the branch to catch.  But where a notice is shown
	 * to a client that does not read, the backend must be possible to
	 * terminate.
	 */
	HOLD_CANCEL_INTERRUPTS();
	PG_TRY();
	{
		step(state, branch);
	}
	PG_CATCH();
	{
		branch->result->error = sm_error_catch(state->cxt);
		done = false;
	}
	PG_END_TRY();
	InterruptHoldoffCount = holdoff;
	QueryCancelHoldoffCount = cancel_holdoff;
	AtEOXact_GUC(done, level);
	if (!done && is_local(branch->result->error))
		sm_error_rethrow(branch->result->error);
	return done;
}

/*
 * Attempt a step that may run any code: in a subtransaction, which is rolled
 * back if it throws.
 */
static bool
attempt_inside(SmFanOutState *state, SmBranchRun *branch, SmBranchFunction step)
{
	volatile bool done = true;

	if (state->fan_out->together)
	{
		step(state, branch);
		return true;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(state->cxt);
	PG_TRY();
	{
		step(state, branch);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		branch->result->error = sm_error_catch(state->cxt);
		/* the abort gives its connection back, or closes it */
		branch->conn = NULL;
		RollbackAndReleaseCurrentSubTransaction();
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(state->cxt);
	CurrentResourceOwner = state->owner;
	if (!done && is_local(branch->result->error))
		sm_error_rethrow(branch->result->error);
	return done;
}

/* ----------
 * Beginning
 * ----------
 */

/* Find the engine, and the session if the branch is to have one. */
static void
open_branch(SmFanOutState *state, SmBranchRun *branch)
{
	const char *dburi = branch->result->dburi;
	SmEngine   *engine = sm_engine_get(dburi, strlen(dburi), NULL, false);

	branch->result->label = MemoryContextStrdup(state->cxt, engine->endpoint.label);
	if (sm_engine_is_remote(engine) &&
		(state->fan_out->together || engine->endpoint.session.transaction >= SM_TXN_JOINED))
		branch->session = sm_session_of_work(engine);
	branch->lasts = sm_engine_is_remote(engine) && branch->session == NULL &&
		engine->endpoint.session.read_only != SM_ON;
	branch->engine = engine;
}

/* Where there is no engine to ask: "***" if the dburi cannot be read. */
static void
redact_label(SmFanOutState *state, SmBranchRun *branch)
{
	branch->result->label = MemoryContextStrdup(state->cxt, sm_dburi_redact(branch->result->dburi));
}

void
sm_branch_open(SmFanOutState *state, SmBranchRun *branch)
{
	ErrorData  *error;

	if (attempt_inside(state, branch, open_branch))
	{
		branch->engine->users++;
		enter_step(state, branch, sm_engine_is_remote(branch->engine) ? SM_BRANCH_WAITING : SM_BRANCH_HERE,
				   SM_NO_DEADLINE);
		return;
	}
	branch->session = NULL;
	branch->engine = NULL;
	branch->lasts = false;
	branch->step = SM_BRANCH_ENDED;
	if (branch->result->label != NULL)
		return;
	error = branch->result->error;
	if (!attempt_inside(state, branch, redact_label))
		branch->result->label = SM_HIDDEN;
	branch->result->error = error;
}

static void
execute_here(SmFanOutState *state, SmBranchRun *branch)
{
	branch->result->count = sm_engine_execute(branch->engine, state->fan_out->sql,
											  state->fan_out->params, branch->result->sink);
}

/* HERE: all at once. */
void
sm_branch_run_here(SmFanOutState *state, SmBranchRun *branch)
{
	(void) attempt_inside(state, branch, execute_here);
	end_branch(state, branch);
}

/* Does another branch use the session now? */
static bool
session_taken(const SmFanOutState *state, const SmBranchRun *branch)
{
	for (int i = 0; branch->session != NULL && i < state->n; i++)
	{
		const SmBranchRun *other = &state->branches[i];

		if (other != branch && other->session == branch->session && other->step != SM_BRANCH_WAITING &&
			other->step != SM_BRANCH_ENDED)
			return true;
	}
	return false;
}

static void
check_session(SmFanOutState *state, SmBranchRun *branch)
{
	(void) state;
	if (branch->session != NULL)
		sm_session_check_usable(branch->session);
	else
		sm_engine_check(branch->engine);
}

static void
check_out_for_branch(SmFanOutState *state, SmBranchRun *branch)
{
	check_session(state, branch);
	if (branch->session == NULL || branch->session->state == SM_SESSION_IDLE)
		branch->conn = sm_pool_begin(branch->engine);
}

/*
 * Will another branch give a connection of the same engine back?  Nobody else
 * can.
 */
static bool
is_worth_waiting(const SmFanOutState *state, const SmBranchRun *branch)
{
	for (int i = 0; !state->fan_out->together && i < state->n; i++)
	{
		const SmBranchRun *other = &state->branches[i];

		if (other->engine == branch->engine && other->session == NULL && other->conn != NULL)
			return true;
	}
	return false;
}

static void
report_full(SmFanOutState *state, SmBranchRun *branch)
{
	(void) state;
	sm_pool_report_full(branch->engine,
						branch->deadline == SM_NO_DEADLINE ? 0 :
						branch->engine->endpoint.options.pool_timeout);
}

/* WAITING: try to go on. */
static void
try_to_begin(SmFanOutState *state, SmBranchRun *branch)
{
	bool		needs_conn = branch->session == NULL || branch->session->state == SM_SESSION_IDLE;

	if (session_taken(state, branch))
		return;
	if (!needs_conn || sm_pool_has_capacity(branch->engine))
	{
		if (!attempt_inside(state, branch, check_out_for_branch))
		{
			end_branch(state, branch);
			return;
		}
		if (branch->conn != NULL || !needs_conn)
		{
			enter_step(state, branch, SM_BRANCH_CONNECTING, branch->conn ? sm_conn_deadline(branch->conn) : 0);
			/* what is being made waits for its socket first */
			branch->ready = branch->conn == NULL || (sm_conn_state(branch->conn) != SM_CONN_CONNECTING &&
													 sm_conn_state(branch->conn) != SM_CONN_BUSY);
			return;
		}
	}
	if (!is_worth_waiting(state, branch) || is_over(state, branch))
	{
		(void) sm_branch_attempt(state, branch, report_full);
		end_branch(state, branch);
	}
	else if (branch->deadline == SM_NO_DEADLINE)
		branch->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   branch->engine->endpoint.options.pool_timeout);
}

/* Send the statement, on branch->conn or its session's. */
static void
start_statement(SmFanOutState *state, SmBranchRun *branch)
{
	SmStatement *statement = &branch->xstmt.statement;

	memset(&branch->xstmt, 0, sizeof(branch->xstmt));
	statement->sql = state->fan_out->sql;
	statement->params = state->fan_out->params;
	if (branch->session != NULL)
	{
		branch->session->statements++;
		branch->session->running++;
		branch->started = true;
		sm_xact_statement_enter(branch->session, &branch->xstmt, branch->conn);
		branch->conn = branch->session->conn;
	}
	else
	{
		statement->autocommit = true;
		statement->defaults = &branch->engine->endpoint.session;
	}
	branch->engine->driver->start(branch->run, branch->conn, statement, branch->result->sink, false);
}

/* The statement of a branch has failed: its session is not running it any more. */
void
sm_branch_unstart(SmBranchRun *branch)
{
	if (!branch->started)
		return;
	branch->started = false;
	branch->session->running--;
	sm_xact_statement_failed(branch->session, &branch->xstmt);
}

/* start_statement() for attempt_inside(). */
static void
start_inside(SmFanOutState *state, SmBranchRun *branch)
{
	/* if this throws, the end of the subtransaction takes it back */
	if (branch->conn != NULL)
		sm_checkout(branch->conn)->subid = GetCurrentSubTransactionId();
	PG_TRY();
	{
		start_statement(state, branch);
	}
	PG_CATCH();
	{
		sm_branch_unstart(branch);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* A step of its connection's way; if that throws, there is none any more. */
static void
poll_checkout(SmFanOutState *state, SmBranchRun *branch)
{
	SmConn	   *conn = branch->conn;

	if (conn == NULL)
		return;
	branch->conn = NULL;
	switch (sm_pool_poll(conn, false))
	{
		case SM_CHECKOUT_PENDING:
			branch->conn = conn;
			branch->deadline = sm_conn_deadline(conn);
			branch->ready = false;
			sm_waits_renew(&state->waits);
			break;
		case SM_CHECKOUT_DONE:
			branch->conn = conn;
			branch->ready = true;
			break;
		case SM_CHECKOUT_RETRY:
			enter_step(state, branch, SM_BRANCH_WAITING, SM_NO_DEADLINE);
			break;
	}
}

/* ARRIVING: when its connection is READY the statement begins. */
static void
establish(SmFanOutState *state, SmBranchRun *branch)
{
	if (!branch->ready && !is_over(state, branch))
		return;
	if (!sm_branch_attempt(state, branch, poll_checkout))
	{
		if (branch->conn != NULL)
			sm_pool_give_up(branch->conn);
		end_branch(state, branch);
		return;
	}
	if (branch->step != SM_BRANCH_CONNECTING || !branch->ready)
		return;
	if (!attempt_inside(state, branch, start_inside))
	{
		/* its session may have gone with the subtransaction, too */
		branch->session = NULL;
		end_branch(state, branch);
		return;
	}
	enter_step(state, branch, SM_BRANCH_RUNNING, sm_run_deadline(branch->run));
}

/* ----------
 * Running
 * ----------
 */
static void
advance_statement(SmFanOutState *state, SmBranchRun *branch)
{
	(void) state;
	/* not ready: come again */
	branch->ready = sm_run_advance(branch->run);
}

/* Its end has been read: the count, or the error. */
static void
finish_statement(SmFanOutState *state, SmBranchRun *branch)
{
	SmStatementKind kind;
	SmConn	   *conn = branch->conn;

	(void) state;
	branch->result->count = sm_run_finish(branch->run, &kind);
	if (kind == SM_KIND_STALE)
	{
		sm_xact_statement_again(branch->session, &branch->xstmt);
		branch->engine->driver->start(branch->run, conn, &branch->xstmt.statement,
									  branch->result->sink, false);
		branch->ready = false;
		return;
	}
	branch->ready = true;
	if (branch->session != NULL)
	{
		branch->conn = NULL;
		branch->started = false;
		branch->session->running--;
		sm_session_check_transaction(branch->session, kind);
	}
	else
		sm_own_transaction_check(conn, kind);
}

/* The branch has its result. */
static void
check_in(SmFanOutState *state, SmBranchRun *branch)
{
	if (branch->conn != NULL)
		sm_pool_checkin(branch->conn, SM_FROM_NOW);
	end_branch(state, branch);
}

/* End the branch, after its connection, if it is only this branch's, went back. */
static void
give_back(SmFanOutState *state, SmBranchRun *branch)
{
	if (branch->conn != NULL && sm_pool_reset_start(branch->conn))
		enter_step(state, branch, SM_BRANCH_RETURNING,
				   sm_deadline(branch->engine->endpoint.options.cleanup_timeout));
	else
		check_in(state, branch);
}

/* RETURNING: can it be checked in? */
static void
come_back(SmFanOutState *state, SmBranchRun *branch)
{
	if (sm_pool_reset_poll(branch->conn, is_over(state, branch)))
		check_in(state, branch);
}

/* Begin to give up what is on the wire. */
void
sm_branch_stop(SmFanOutState *state, SmBranchRun *branch, ErrorData *reason)
{
	branch->reason = reason;
	branch->result->error = NULL;
	sm_cleanup_start(branch->conn, NULL, false);
	enter_step(state, branch, SM_BRANCH_STOPPING,
			   sm_deadline(branch->engine->endpoint.options.cleanup_timeout));
	branch->cancel_ready = false;
}

/* After an error: the connection goes back, if it is only this branch's. */
static void
branch_failed(SmFanOutState *state, SmBranchRun *branch)
{
	if (branch->conn != NULL && sm_conn_state(branch->conn) == SM_CONN_BUSY)
	{
		sm_branch_stop(state, branch, branch->result->error);
		return;
	}
	sm_branch_unstart(branch);
	/* no end of the local transaction follows that would give it back */
	if (branch->conn != NULL && sm_checkout(branch->conn)->session == NULL)
	{
		give_back(state, branch);
		return;
	}
	if (branch->session != NULL)
		sm_session_note_loss(branch->session);
	end_branch(state, branch);
}

static void
report_run_timeout(SmFanOutState *state, SmBranchRun *branch)
{
	(void) state;
	sm_report_timeout(branch->conn, branch->fan_out->sql);
}

static void
run(SmFanOutState *state, SmBranchRun *branch)
{
	if (branch->ready)
	{
		if (!sm_branch_attempt(state, branch, advance_statement) ||
			(branch->ready && !sm_branch_attempt(state, branch, finish_statement)))
		{
			branch_failed(state, branch);
			return;
		}
		if (branch->ready)
		{
			give_back(state, branch);
			return;
		}
		branch->deadline = sm_run_deadline(branch->run);
		branch->more = sm_run_has_more(branch->run);
	}
	/* what has come in time is read, but not for ever if more keeps coming */
	if (!is_over(state, branch) || (branch->more && branch->late++ < SM_MAX_LATE))
		return;
	if (state->fan_out->together)
		report_run_timeout(state, branch);
	sm_branch_stop(state, branch, NULL);
}

static void
report_stopped(SmFanOutState *state, SmBranchRun *branch)
{
	sm_remote_given_up(branch->conn, state->fan_out->sql,
					   branch->reason ? psprintf("%s.", branch->reason->message) :
					   "Its timeout came.");
	if (branch->reason != NULL)
		sm_error_rethrow(branch->reason);
	sm_report_timeout(branch->conn, state->fan_out->sql);
}

/* STOPPING: is it cleaned up? */
static void
clean_up_branch(SmFanOutState *state, SmBranchRun *branch)
{
	bool		over = is_over(state, branch);
	bool		cancel_ready = branch->cancel_ready;

	branch->cancel_ready = false;
	sm_waits_renew(&state->waits);
	if (!sm_cleanup_poll(branch->conn, cancel_ready, over))
		return;
	(void) sm_branch_attempt(state, branch, report_stopped);
	branch_failed(state, branch);
}

/* Go as far as it goes without waiting. */
void
sm_branch_poll(SmFanOutState *state, SmBranchRun *branch)
{
	SmBranchStep step;

	do
	{
		step = branch->step;
		if (step == SM_BRANCH_WAITING)
			try_to_begin(state, branch);
		else if (step == SM_BRANCH_CONNECTING)
			establish(state, branch);
		else if (step == SM_BRANCH_RUNNING)
			run(state, branch);
		else if (step == SM_BRANCH_STOPPING)
			clean_up_branch(state, branch);
		else if (step == SM_BRANCH_RETURNING)
			come_back(state, branch);
	} while (branch->step != step);
}

/*-------------------------------------------------------------------------
 *
 * fan_out.c
 *		A statement on many targets at the same time.
 *
 * Each target is a branch, and each branch a state machine:
 *
 *	HERE		it is not remote: it runs here, when the others are under way
 *	WAITING		for a place in its pool, or for another branch of its session
 *	ARRIVING	its connection is being made, or pinged
 *	RUNNING		the statement is on its way there and back
 *	STOPPING	it is given up: a cancel is on its way
 *	RETURNING	it has its result; its connection is made fit for its pool
 *	ENDED
 *
 * No step of a branch waits, and one wait set waits for all, so that nothing that
 * a target does or does not do holds up another.  (Two exceptions: a two-phase
 * transaction begins in a round trip of its own, and spi: runs here.)  So that
 * what takes time here takes none from the others, a deadline has come only when
 * their sockets were checked after it, and nothing was there.
 *
 * There are two kinds.  "Together" (query_all): each branch has a transaction, all
 * of which commit when all statements have ended.  The first error is raised,
 * and the end of the local (sub)transaction then cancels and rolls back all
 * branches at the same time.  Otherwise (execute_all) each branch commits by itself,
 * and its error is its own.  An error becomes a branch's own in one of two ways:
 * what runs PostgreSQL's code (privileges, callbacks, output functions, spi:)
 * runs in a local subtransaction, which is rolled back; the steps after that
 * call only code of ours and libpq, whose errors leave nothing behind but what
 * sm_branch_attempt() puts right.  Cancels are looked at between steps, never in one.
 *
 * An engine whose transactions are bound to the local one has one session, so
 * its branches run one after the other, and end with the local transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"

/* Calls under way, whose engines and sessions sm_reset() must leave alone. */
int			sm_fan_outs = 0;

/* A branch's places among what is waited for. */
#define SLOTS_EACH		2
#define SLOT_CONN(branch, state)	(SLOTS_EACH * ((branch) - (state)->branches))
#define SLOT_CANCEL(branch, state) (SLOT_CONN(branch, state) + 1)

/* ----------
 * All of them
 * ----------
 */
static void
branch_context(void *arg)
{
	const SmBranchRun *branch = (const SmBranchRun *) arg;

	errcontext("target %d of %d", (int) (branch->result - branch->fan_out->branches) + 1,
			   branch->fan_out->n);
}

/* Whatever is raised from a function on a branch tells which it is. */
static void
with_context(SmFanOutState *state, SmBranchRun *branch, SmBranchFunction function)
{
	ErrorContextCallback callback = {
		.callback = branch_context,.arg = branch,.previous = error_context_stack
	};

	error_context_stack = &callback;
	function(state, branch);
	error_context_stack = callback.previous;
}

/*
 * Go on with all without waiting, until nothing changes: the end of one may be what another
 * waits for.  False: all have ended.
 */
static bool
poll_all(SmFanOutState *state)
{
	bool		open;
	bool		changed;

	do
	{
		open = changed = false;
		for (int i = 0; i < state->n; i++)
		{
			SmBranchRun *branch = &state->branches[i];
			SmBranchStep step = branch->step;

			with_context(state, branch, sm_branch_poll);
			open |= branch->step != SM_BRANCH_ENDED;
			changed |= branch->step != step;
		}
	} while (changed);
	return open;
}

/* What a branch waits for; returns until when. */
static TimestampTz
add_waits(SmFanOutState *state, SmBranchRun *branch)
{
	SmConn	   *conn = branch->conn;
	uint32		events;

	switch (branch->step)
	{
		case SM_BRANCH_CONNECTING:
		case SM_BRANCH_RUNNING:
			sm_waits_add(&state->waits, SLOT_CONN(branch, state), sm_remote_socket(conn),
						 sm_remote_events(conn));
			break;
		case SM_BRANCH_STOPPING:
		case SM_BRANCH_RETURNING:
			if ((events = sm_cleanup_events(conn)) != 0)
				sm_waits_add(&state->waits, SLOT_CONN(branch, state), sm_remote_socket(conn), events);
			/* after a failure to write there is nothing to wait for */
			branch->more |= events != 0 && sm_remote_socket(conn) == PGINVALID_SOCKET;
			if ((events = sm_cleanup_cancel_events(conn)) != 0)
				sm_waits_add(&state->waits, SLOT_CANCEL(branch, state), sm_cancel_socket(conn), events);
			return Min(branch->deadline, sm_cleanup_due(conn));
		case SM_BRANCH_HERE:
		case SM_BRANCH_WAITING:
		case SM_BRANCH_ENDED:
			break;
	}
	return branch->deadline;
}

static void
report_deadlock(SmFanOutState *state, SmBranchRun *branch)
{
	sm_deadlock_report(branch->conn, branch->deadlock, state->fan_out->sql);
}

static bool
is_awaited(const SmBranchRun *branch)
{
	return branch->step == SM_BRANCH_RUNNING && sm_conn_state(branch->conn) == SM_CONN_BUSY;
}

/* Is there one that will never end by itself? */
static void
check_branches_for_deadlock(SmFanOutState *state)
{
	if (!sm_deadlock_due(&state->watch))
		return;
	for (int i = 0; i < state->n; i++)
	{
		if (is_awaited(&state->branches[i]))
			sm_checkout(state->branches[i].conn)->awaited = true;
	}
	for (int i = 0; i < state->n; i++)
	{
		SmBranchRun *branch = &state->branches[i];

		if (!is_awaited(branch))
			continue;
		branch->deadlock = sm_deadlock_find(branch->conn, &state->watch, true);
		if (branch->deadlock != NULL && !sm_branch_attempt(state, branch, report_deadlock))
			sm_branch_stop(state, branch, branch->result->error);
	}
	for (int i = 0; i < state->n; i++)
	{
		if (state->branches[i].conn != NULL)
			sm_checkout(state->branches[i].conn)->awaited = false;
	}
}

static void
wait_for_any_branch(SmFanOutState *state)
{
	TimestampTz until = SM_NO_DEADLINE;
	TimestampTz start;
	long		timeout;
	bool		more = false;

	sm_waits_clear(&state->waits);
	for (int i = 0; i < state->n; i++)
	{
		until = Min(until, add_waits(state, &state->branches[i]));
		more |= state->branches[i].more;
	}
	timeout = more ? 0 : sm_client_round(sm_deadlock_wait(&state->watch, sm_remaining(until)));
	start = GetCurrentTimestamp();
	if (sm_waits_wait(&state->waits, timeout, sm_wait_command))
		state->checked = start;
	sm_client_check();
	for (int i = 0; i < state->n; i++)
	{
		SmBranchRun *branch = &state->branches[i];

		branch->ready = branch->more || state->waits.ready[SLOT_CONN(branch, state)];
		branch->more = false;
		branch->cancel_ready = state->waits.ready[SLOT_CANCEL(branch, state)];
	}
}

/* All statements have ended: have all transactions, too. */
static void
commit_together(SmFanOutState *state)
{
	SmSession **sessions = palloc(Max(state->n, 1) * sizeof(SmSession *));
	int			n = 0;

	for (int i = 0; i < state->n; i++)
	{
		SmBranchRun *branch = &state->branches[i];

		if (branch->session != NULL && !sm_session_bound(branch->session))
			sessions[n++] = branch->session;
	}
	sm_sessions_commit(sessions, n);
	for (int i = 0; i < n; i++)
		sm_session_end(sessions[i], SM_FROM_NOW);
}

/* Can it do without us, but for the end of what it is waiting for? */
static bool
is_under_way(const SmBranchRun *branch)
{
	return branch->step == SM_BRANCH_HERE || branch->step == SM_BRANCH_ENDED ||
		(branch->step == SM_BRANCH_RUNNING && sm_run_is_sent(branch->run));
}

/* Run the next one that is HERE, if all others are under way; false: there is none. */
static bool
run_here(SmFanOutState *state)
{
	SmBranchRun *here = NULL;

	for (int i = state->n - 1; i >= 0; i--)
	{
		if (!is_under_way(&state->branches[i]))
			return false;
		if (state->branches[i].step == SM_BRANCH_HERE)
			here = &state->branches[i];
	}
	if (here != NULL)
		with_context(state, here, sm_branch_run_here);
	return here != NULL;
}

static void
run_branches(SmFanOutState *state)
{
	for (int i = 0; i < state->n; i++)
		with_context(state, &state->branches[i], sm_branch_open);
	while (poll_all(state))
	{
		CHECK_FOR_INTERRUPTS();
		if (run_here(state))
			continue;
		wait_for_any_branch(state);
		CHECK_FOR_INTERRUPTS();
		check_branches_for_deadlock(state);
	}
	if (state->fan_out->before_commit != NULL)
		state->fan_out->before_commit(state->fan_out->arg);
	if (state->fan_out->together)
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
stop_all(SmFanOutState *state)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);

	for (int i = 0; i < state->n; i++)
	{
		SmBranchRun *branch = &state->branches[i];

		if (branch->step == SM_BRANCH_RETURNING)
			(void) sm_pool_reset_poll(branch->conn, true);
		else if (branch->lasts && branch->conn != NULL && sm_conn_state(branch->conn) == SM_CONN_BUSY)
			sm_cleanup_add(&conns, branch->conn, NULL);
	}
	(void) sm_conns_clean(&conns);
}

/* What has become of a branch, in words; NULL: nothing that lasts. */
static const char *
what_lasts(const SmBranchRun *branch)
{
	const ErrorData *error = branch->result->error;
	const SmConn *conn = branch->conn;

	if (!branch->lasts)
		return NULL;
	if (branch->step == SM_BRANCH_ENDED || branch->step == SM_BRANCH_RETURNING)
		return error == NULL ? "done" :
			error->sqlerrcode == ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN ? "may be done" : NULL;
	if (conn == NULL || !sm_conn_commits(conn) || sm_conn_outcome(conn) == SM_OUTCOME_NONE)
		return NULL;
	return sm_conn_outcome(conn) == SM_OUTCOME_DONE ? "done" : "may be done";
}

/* The call as a whole ends with this error: tell the truth of each branch. */
static void
report_interrupted(SmFanOutState *state, ErrorData *error)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < state->n; i++)
	{
		const char *what = what_lasts(&state->branches[i]);

		if (what != NULL)
			appendStringInfo(&buf, "\ntarget %d, \"%s\": %s", i + 1,
							 state->branches[i].result->label, what);
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
let_go(SmFanOutState *state)
{
	sm_deadlock_end(&state->watch);
	sm_waits_free(&state->waits);
	for (int i = 0; i < state->n; i++)
	{
		SmBranchRun *branch = &state->branches[i];

		sm_branch_unstart(branch);
		if (branch->engine != NULL)
			branch->engine->users--;
		branch->engine = NULL;
	}
}

/*
 * Run a statement on many targets.  Together, it throws the first error of
 * one, and 08007 if they could not all commit; otherwise each branch has its
 * result.  Interrupts are thrown in either case: 08007 if something lasts that
 * committed by itself.
 */
void
sm_fan_out_run(SmFanOut *fan_out)
{
	SmFanOutState *state = palloc0(sizeof(SmFanOutState));
	ErrorData  *volatile error = NULL;

	state->fan_out = fan_out;
	state->n = fan_out->n;
	state->branches = palloc0(Max(fan_out->n, 1) * sizeof(SmBranchRun));
	state->cxt = CurrentMemoryContext;
	state->owner = CurrentResourceOwner;
	sm_waits_init(&state->waits, SLOTS_EACH * fan_out->n);
	for (int i = 0; i < fan_out->n; i++)
	{
		state->branches[i].fan_out = fan_out;
		state->branches[i].result = &fan_out->branches[i];
		state->branches[i].step = SM_BRANCH_ENDED;
		state->branches[i].run = sm_run_make();
		state->branches[i].deadline = SM_NO_DEADLINE;
	}
	sm_fan_outs++;
	PG_TRY();
	{
		run_branches(state);
	}
	PG_CATCH();
	{
		sm_fan_outs--;
		if (fan_out->together)
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
		fan_out->branches[i].lasts = state->branches[i].lasts && fan_out->branches[i].error == NULL;
	sm_fan_outs--;
	sm_waits_free(&state->waits);
}

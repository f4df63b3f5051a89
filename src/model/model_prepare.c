/*-------------------------------------------------------------------------
 *
 * model_prepare.c
 *		prepare_models(): attempts until one succeeds, and what is remembered
 *		of it.
 *
 * Each attempt (see model_attempt.c) runs in a local subtransaction whose
 * abort cleans its connection up.  Those who call prepare_models() wait for each
 * other by a lock on the target.  Against others, who know nothing of that, an
 * error that a race can give is answered by another attempt, which finds what
 * they have made.
 *
 * Invariant: an engine's "prepared" names a metadata only if everything that
 * was registered under it was seen on the target by, or made in, a committed
 * transaction, and the registry has not changed since (see models.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "model/model_private.h"

#include "common/pg_prng.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#define MAX_RETRIES		10
#define FIRST_DELAY_MS	10
#define MAX_DELAY_MS	1000

/* How long all attempts together wait for others who are making models there. */
#define LOCK_WAIT_MS	30000

/* What an attempt is given. */
typedef struct Task
{
	SmEngine   *engine;
	const char *metadata;
	List	   *tables;			/* of SmModel *, in the order of their making */
	List	   *sequences;		/* of SmModel * */
	int			lock_wait;		/* how long to wait for others, and until when */
	TimestampTz lock_deadline;
} Task;

/*
 * Is this an error that a race or a lost connection gives?  (What ends the remote
 * session is class 08, whatever the server calls it.)  A connection that was
 * refused for a reason, or timed out, is not: whoever waits for it has waited
 * once; nor is an answer that makes no sense.  When the outcome of COMMIT is
 * unknown (08007), the next attempt will tell.
 */
static bool
may_be_retried(const Task *task, const ErrorData *error)
{
	/* with a lock of this very transaction, which another attempt finds again */
	if (sm_deadlock_found_here(error))
		return false;
	switch (error->sqlerrcode)
	{
		case ERRCODE_DUPLICATE_TABLE:
		case ERRCODE_DUPLICATE_OBJECT:
		case ERRCODE_DUPLICATE_SCHEMA:
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_LOCK_NOT_AVAILABLE:
			return true;
		case ERRCODE_UNIQUE_VIOLATION:
			return error->schema_name != NULL && strcmp(error->schema_name, "pg_catalog") == 0;
		case ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION:
			return task->engine->endpoint.unavailable;
		case ERRCODE_PROTOCOL_VIOLATION:
			return false;
		default:
			return ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_CONNECTION_EXCEPTION;
	}
}

/*
 * Exponential backoff with full jitter, so that those who collided once do not
 * do it again.  Interruptible.
 */
static void
back_off(int retry)
{
	static uint32 wait_event = 0;
	int			limit = Min(MAX_DELAY_MS, FIRST_DELAY_MS << retry);
	int			delay = (int) (pg_prng_double(&pg_global_prng_state) * (limit + 1));
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay);

	if (wait_event == 0)
		wait_event = sm_NewWaitEvent("SessmgrModelsRetry");
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		CHECK_FOR_INTERRUPTS();
		if (left <= 0)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 left, wait_event);
		ResetLatch(MyLatch);
	}
}

/*
 * An attempt in a subtransaction; its error or NULL.  The error is a copy in
 * the caller's memory context.
 */
static ErrorData *
attempt_safely(const Task *task, int *made)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		*made = sm_models_attempt(task->engine, task->metadata, task->tables,
								  task->sequences, task->lock_deadline);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		error = sm_error_catch(cxt);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * The time to wait for others is over: 55P03 if one of them still keeps us
 * waiting.
 */
static void
check_lock_holder(const Task *task)
{
	char	   *holder = sm_models_lock_holder(task->engine);

	if (holder == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("models cannot be made on \"%s\" while somebody else is making some there",
					task->engine->endpoint.label),
			 errdetail("Waited %d ms for the advisory lock (1936028531, 7169906) of the target's database, held there by %s.",
					   task->lock_wait, holder),
			 errhint("Wait until its transaction has ended, or end it with pg_terminate_backend().")));
}

static int
attempt_until_done(const Task *task)
{
	for (int retry = 0;; retry++)
	{
		int			made = 0;
		ErrorData  *error = attempt_safely(task, &made);

		if (error == NULL)
			return made;
		if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE &&
			sm_remaining(task->lock_deadline) == 0)
			check_lock_holder(task);
		if (!may_be_retried(task, error))
			sm_error_rethrow(error);
		if (retry == MAX_RETRIES)
		{
			char	   *note = psprintf("models of metadata \"%s\", given up after %d retries",
										task->metadata, MAX_RETRIES);

			error->context = error->context ? psprintf("%s\n%s", error->context, note) : note;
			sm_error_rethrow(error);
		}
		ereport(DEBUG1,
				(errmsg_internal("preparing models on \"%s\": retry %d after: %s",
								 task->engine->endpoint.label, retry + 1, error->message)));
		FreeErrorData(error);
		back_off(retry);
	}
}

static bool
is_prepared(const SmEngine *engine, const char *metadata)
{
	ListCell   *lc;

	foreach(lc, engine->prepared)
	{
		if (strcmp(lfirst(lc), metadata) == 0)
			return true;
	}
	return false;
}

/* The list belongs to the engine, and ends with it. */
static void
mark_prepared(SmEngine *engine, const char *metadata)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (!is_prepared(engine, metadata))
		engine->prepared = lappend(engine->prepared, pstrdup(metadata));
	MemoryContextSwitchTo(old);
}

/*
 * Make the models of this metadata that the engine's target lacks; returns how
 * many tables that were.  Only models whose owner's privileges the engine's
 * role has: nobody else's table may say what that role's connection runs.  The
 * caller has checked that the current role may use the engine.
 *
 * Throws 0A000 for a model that cannot be reproduced, before anything is sent
 * if that can be seen here, and errors of the target.
 */
int
sm_models_prepare(SmEngine *engine, const char *metadata)
{
	Task		task = {.engine = engine,.metadata = metadata};
	List	   *relids;
	int			made = 0;

	if (metadata[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be empty", "metadata")));
	if (sm_models_prepared(engine, metadata))
		return 0;

	relids = sm_models_registered(engine->endpoint.roleid, metadata, NULL);
	/* a target that is this very backend has its own tables already */
	if (sm_engine_is_remote(engine) && relids != NIL)
	{
		task.tables = sm_models_describe(relids, &task.sequences);
		/* a statement's own limit is not to come first, and without a reason */
		task.lock_wait = engine->endpoint.options.statement_timeout > 0 ?
			(int) Min(LOCK_WAIT_MS, engine->endpoint.options.statement_timeout * INT64CONST(3) / 4) :
			LOCK_WAIT_MS;
		task.lock_deadline = sm_deadline(Max(task.lock_wait, 1));
		made = attempt_until_done(&task);
	}
	mark_prepared(engine, metadata);
	return made;
}

bool
sm_models_prepared(SmEngine *engine, const char *metadata)
{
	sm_models_notice_changes();
	return is_prepared(engine, metadata);
}

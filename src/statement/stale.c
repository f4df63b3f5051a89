/*-------------------------------------------------------------------------
 *
 * stale.c
 *		What an error of the server says of a prepared statement: that it is
 *		gone, or is not what it was when it was prepared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

/* Has a context, as the server writes it, been left at the binding of a parameter? */
static bool
is_binding(const char *context)
{
	const char *last = strrchr(context, '\n');

	/* in every language: "unnamed portal parameter $1" */
	for (const char *p = last ? last : context; *p; p++)
	{
		if (p[0] == '$' && p[1] >= '1' && p[1] <= '9')
			return true;
	}
	return false;
}

/*
 * Is something gone that a plan refers to?  The first of these messages is never
 * translated; the other one is told by the function that says it of a type.
 */
static bool
is_failed_lookup(const char *code, const char *message, const char *function)
{
	static const char start[] = "cache lookup failed for ";

	if (strcmp(code, "XX000") == 0)
		return strncmp(message, start, strlen(start)) == 0;
	return strcmp(code, "42704") == 0 && function != NULL &&
		strcmp(function, "lookup_type_cache") == 0;
}

/*
 * What does the error say of the prepared statement?  It is STALE, or may be
 * (SUSPECT), only where the server has refused it before it did anything: while
 * it bound a parameter, or analyzed the text once more, as the position in it
 * tells, or looked for what it had when it was prepared.  From inside of
 * a function the last of these may as well be about another plan, and comes too
 * late (DOUBTFUL).
 */
typedef enum Suspicion
{
	NOT_SUSPECT,
	SUSPECT,
	STALE,
	DOUBTFUL
} Suspicion;

static Suspicion
suspicion(const SmRun *run)
{
	const PGresult *error = run->conn->error;
	const char *code;
	const char *context;
	const char *message;
	const char *function;

	if (run->entry == NULL || error == NULL || run->rows.begun ||
		!(run->entry->prepared || (run->conn->remote.maps_statements && run->entry->name[0] != '\0')))
		return NOT_SUSPECT;
	code = PQresultErrorField(error, PG_DIAG_SQLSTATE);
	message = PQresultErrorField(error, PG_DIAG_MESSAGE_PRIMARY);
	context = PQresultErrorField(error, PG_DIAG_CONTEXT);
	function = PQresultErrorField(error, PG_DIAG_SOURCE_FUNCTION);
	if (code == NULL || message == NULL)
		return NOT_SUSPECT;
	if (context != NULL && !is_binding(context))
		return is_failed_lookup(code, message, function) ? DOUBTFUL : NOT_SUSPECT;
	if (strcmp(code, "26000") == 0 && context == NULL)
		return STALE;
	if (strcmp(code, "0A000") == 0 && function != NULL &&
		strcmp(function, "RevalidateCachedQuery") == 0)
		return STALE;
	/* what was prepared just now is what it is */
	if (run->described || !run->entry->prepared)
		return NOT_SUSPECT;
	if (is_failed_lookup(code, message, function))
		return STALE;
	return context != NULL || PQresultErrorField(error, PG_DIAG_STATEMENT_POSITION) != NULL ?
		SUSPECT : NOT_SUSPECT;
}

/* Forget a statement that the server does not take any more, and its shape. */
void
sm_run_forget_stale(SmRun *run)
{
	if (sm_run_needs_shape(run) && !run->declared)
		run->sink->reader = NULL;
	/* a pooler would only take it for the one it knows already */
	if (run->conn->remote.pooler == SM_BEHIND_TRANSACTION)
		run->entry->spoiled = true;
	else if (run->entry != &run->unnamed)
		sm_statement_forget(run->conn, run->entry);
	run->entry = NULL;
}

/*
 * Note what the error says of the prepared statement: whether it is to be
 * prepared once more, or at least to be verified, before it is run the next
 * time.  True: that may be now.  In a transaction, which each stale statement
 * would cost, others are not to be run either before they are known to be good.
 */
bool
sm_run_must_prepare_again(SmRun *run)
{
	Suspicion	what = suspicion(run);

	if ((what == STALE || what == DOUBTFUL) && !run->statement->autocommit)
		sm_statement_suspect_all(run->conn);
	switch (what)
	{
		case STALE:
			sm_run_forget_stale(run);
			return true;
		case SUSPECT:
			run->entry->suspect = true;
			return true;
		case DOUBTFUL:
			sm_run_forget_stale(run);
			break;
		case NOT_SUSPECT:
			break;
	}
	return false;
}

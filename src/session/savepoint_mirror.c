/*-------------------------------------------------------------------------
 *
 * savepoint_mirror.c
 *		What is bound to the local transaction: how the transaction on the target
 *		follows it.
 *
 * In modes joined and two_phase an engine has one transaction on the target for
 * each local transaction and mode, which sessions and one-liners share.  It
 * begins with its first use, and each local subtransaction in which it is
 * used gets a savepoint on the target: session->savepoints has those of the
 * local nesting levels from 2 on.  When a subtransaction commits, its
 * savepoint only becomes stale: what is done next belongs to the level above
 * either way, and the RELEASE travels with the next savepoint, or is spared by
 * the end of the transaction.  No number is used twice in a transaction, so
 * that nothing can go back to another savepoint than was meant.
 *
 * "began" is the nesting level that the transaction as a whole belongs to:
 * when that level aborts, so does all of it, and nothing of it is left to lose.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "lib/stringinfo.h"
#include "utils/memutils.h"

/* Does this session's work end with the local transaction? */
bool
sm_session_bound(const SmSession *session)
{
	return sm_engine_binds(session->engine, session->options.transaction);
}

/* Is it a handle for the transaction that its engine's bound sessions share? */
bool
sm_mirror_shares(const SmSession *session)
{
	return sm_session_bound(session) && session->id != 0;
}

/* Forget all savepoints but the first n; never throws. */
void
sm_savepoints_truncate(SmSession *session, int n)
{
	if (session->conn != NULL)
		sm_streams_release(session->conn, n);
	if (n == 0)
	{
		/* list_truncate() would leave an empty list behind */
		list_free(session->savepoints);
		session->savepoints = NIL;
	}
	else
		session->savepoints = list_truncate(session->savepoints, n);
}

/*
 * What the transaction is to be like: as its options say, but never weaker
 * than the local one.  A second snapshot would break what a repeatable read
 * transaction promises.
 */
static SmSessionOptions
begin_options(const SmSessionOptions *asked)
{
	SmSessionOptions options = *asked;

	if (XactIsoLevel == XACT_SERIALIZABLE)
		options.isolation_level = SM_ISOLATION_SERIALIZABLE;
	else if (XactIsoLevel == XACT_REPEATABLE_READ)
		options.isolation_level = Max(options.isolation_level,
									  SM_ISOLATION_REPEATABLE_READ);
	if (options.read_only == SM_UNSET && XactReadOnly)
		options.read_only = SM_ON;
	if (options.deferrable == SM_UNSET && XactDeferrable)
		options.deferrable = SM_ON;
	return options;
}

/*
 * Is the transaction, which has begun, as one with these options would be?  What
 * is left to the target's defaults counts as what these usually are.
 */
bool
sm_mirror_suits(const SmSession *shared, const SmSessionOptions *options)
{
	SmSessionOptions has = begin_options(&shared->options);
	SmSessionOptions asks = begin_options(options);

	return Max(has.isolation_level, SM_ISOLATION_READ_COMMITTED) ==
		Max(asks.isolation_level, SM_ISOLATION_READ_COMMITTED) &&
		(has.read_only == SM_ON) == (asks.read_only == SM_ON) &&
		(has.deferrable == SM_ON) == (asks.deferrable == SM_ON);
}

/* The local nesting level of the innermost savepoint. */
static int
mirrored_level(const SmSession *session)
{
	return list_length(session->savepoints) + 1;
}

/*
 * Appends to "commands" what sets the savepoints that are missing up to a local
 * level.  They count from now on: if a command then fails half-way, going back
 * to one will show whether it is there.  Where nothing is sent at all,
 * sm_mirror_unsent() takes that back.
 */
static List *
add_savepoints(SmSession *session, const SmConn *conn, List *commands, int level)
{
	char		name[SM_NAME_SIZE];

	while (mirrored_level(session) < level)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		session->savepoints = lappend_int(session->savepoints, ++session->next_savepoint);
		MemoryContextSwitchTo(old);
		commands = lappend(commands,
						   psprintf("SAVEPOINT %s",
									sm_remote_name(name, conn, "", session->next_savepoint)));
	}
	return commands;
}

/*
 * The session's transaction is about to begin on a connection just checked
 * out: like this, and then with these commands.
 */
List *
sm_mirror_begin(SmSession *session, const SmConn *conn, SmSessionOptions *options)
{
	*options = begin_options(&session->options);
	sm_savepoints_truncate(session, 0);
	session->began = GetCurrentTransactionNestLevel();
	return add_savepoints(session, conn, NIL, session->began);
}

/*
 * The session's transaction, in which nothing was done, is about to begin once
 * more.  It belongs to the level that it did, and so does its first statement:
 * that may be deeper now, where it is received.
 */
List *
sm_mirror_begin_again(SmSession *session, SmSessionOptions *options)
{
	int			level = mirrored_level(session);

	*options = begin_options(&session->options);
	sm_savepoints_truncate(session, 0);
	session->stale = 0;
	return add_savepoints(session, session->conn, NIL, level);
}

/*
 * What is to be done before a statement, so that the target has a savepoint
 * for each local subtransaction.
 */
List *
sm_mirror_nest(SmSession *session)
{
	List	   *commands = NIL;
	char		name[SM_NAME_SIZE];

	if (likely(mirrored_level(session) >= GetCurrentTransactionNestLevel()))
		return NIL;
	/* it has failed at a level above: there is none to set, nor to go back to */
	if (session->engine->driver->status(session->conn) == SM_TRANSACTION_FAILED)
		return NIL;
	if (session->stale != 0)
		commands = list_make1(psprintf("RELEASE SAVEPOINT %s",
									   sm_remote_name(name, session->conn, "", session->stale)));
	session->stale = 0;
	return add_savepoints(session, session->conn, commands, GetCurrentTransactionNestLevel());
}

/* What sm_mirror_nest() returned was not sent, and there were n savepoints. */
void
sm_mirror_unsent(SmSession *session, int n)
{
	sm_savepoints_truncate(session, n);
}

/* The local subtransaction at "level" commits: its work is its parent's now. */
void
sm_mirror_subcommit(SmSession *session, int level)
{
	session->began = Min(session->began, level - 1);
	if (mirrored_level(session) < level)
		return;
	session->stale = list_nth_int(session->savepoints, level - 2);
	sm_savepoints_truncate(session, level - 2);
}

/*
 * The local subtransaction at "level" aborts.  Returns the command that takes
 * back what was done in it, valid until the session's next use, or NULL if
 * nothing was.  Never throws.
 */
const char *
sm_mirror_subabort(SmSession *session, int level)
{
	int			savepoint;
	char		name[SM_NAME_SIZE];

	if (session->began >= level)
		return "ROLLBACK";
	if (mirrored_level(session) < level)
		return NULL;
	savepoint = list_nth_int(session->savepoints, level - 2);
	if (session->conn != NULL)
		sm_streams_lose(session->conn, level - 2);
	sm_savepoints_truncate(session, level - 2);
	session->stale = 0;
	(void) sm_remote_name(name, session->conn, "", savepoint);
	snprintf(session->command, sizeof(session->command),
			 "ROLLBACK TO SAVEPOINT %s; RELEASE SAVEPOINT %s", name, name);
	return session->command;
}

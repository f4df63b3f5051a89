/*-------------------------------------------------------------------------
 *
 * driver_libpq.c
 *		The driver of engines whose target is reached by a connection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "lib/stringinfo.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

static SmConn *
libpq_connect(SmEndpoint *endpoint)
{
	MemoryContext cxt;
	MemoryContext old;
	SmTarget   *target;
	SmConn	   *conn;

	/* the target holds secrets: not longer than it takes to connect */
	cxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr connect",
								ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	target = sm_target_resolve(endpoint->roleid, endpoint->dburi,
							   endpoint->call_options);
	conn = sm_remote_connect(endpoint, target);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return conn;
}

static SmTransactionStatus
libpq_status(SmConn *conn)
{
	if (conn->state == SM_CONN_DEAD)
		return SM_TRANSACTION_UNKNOWN;
	switch (PQtransactionStatus(conn->pg))
	{
		case PQTRANS_IDLE:
			return SM_TRANSACTION_NONE;
		case PQTRANS_INTRANS:
			return SM_TRANSACTION_OPEN;
		case PQTRANS_INERROR:
			return SM_TRANSACTION_FAILED;
		case PQTRANS_ACTIVE:
		case PQTRANS_UNKNOWN:
			break;
	}
	return SM_TRANSACTION_UNKNOWN;
}

static bool
libpq_establish(SmConn *conn, bool wait)
{
	if (conn->connected_at == 0)
		return sm_remote_connect_poll(conn, wait);
	if (conn->state == SM_CONN_READY)
		sm_remote_ping(conn, sm_deadline(conn->endpoint->options.connect_timeout));
	return sm_remote_ping_poll(conn, wait);
}

static void
libpq_close(SmConn *conn, bool inherited)
{
	if (inherited)
	{
		sm_remote_abandon(conn);
		return;
	}
	sm_streams_end(conn);
	sm_statement_forget_all(conn);
	sm_remote_close(conn);
}

/* Going back to a savepoint undoes what has put settings right since then. */
static void
note_rollback_to(SmConn *conn)
{
	if (conn->remote.set_up == SM_SET_UP_IN_TRANSACTION)
		conn->remote.set_up = SM_SET_UP_NEEDED;
}

/*
 * Is there anything that DISCARD ALL would undo, and is that wanted?  Behind a
 * pooler nothing of ours was left, and what there is may be others'.
 */
static bool
wants_discard(const SmConn *conn)
{
	return conn->remote.discard != SM_DISCARD_USELESS && conn->remote.pooler != SM_BEHIND_TRANSACTION &&
		conn->endpoint->options.pool_reset_on_return == SM_RESET_DISCARD;
}

/* It was cleaned up: note what DISCARD ALL has done. */
static void
note_discarded(SmConn *conn)
{
	if (!conn->cleanup.discard || libpq_status(conn) != SM_TRANSACTION_NONE)
		return;
	sm_statement_forget_all(conn);
	memset(&conn->remote.defaults, 0, sizeof(conn->remote.defaults));
	conn->remote.defaults_unknown = false;
	conn->remote.set_up = SM_SET_UP_NEEDED;
	conn->remote.discard = SM_DISCARD_USELESS;
}

/*
 * DISCARD ALL is a round trip of its own, as it cannot run in one message with
 * ROLLBACK.  It is made here, where all connections make it at the same time,
 * for those that will go back to their pools: at check-in each would wait in
 * its turn.  When the backend ends, all are closed.
 */
static void
libpq_cleanup(dlist_head *conns, TimestampTz deadline)
{
	dlist_iter	iter;

	dlist_foreach(iter, conns)
	{
		SmConn	   *conn = dlist_container(SmConn, cleanup.node, iter.cur);

		conn->cleanup.discard = !proc_exit_inprogress && wants_discard(conn);
		if (conn->cleanup.sql != NULL && strncmp(conn->cleanup.sql, "ROLLBACK TO", 11) == 0)
			note_rollback_to(conn);
	}
	sm_remote_cleanup_all(conns, deadline);
	dlist_foreach(iter, conns)
		note_discarded(dlist_container(SmConn, cleanup.node, iter.cur));
}

static SmReuse
libpq_reset(SmConn *conn, SmResetMode mode)
{
	bool		discard = wants_discard(conn);

	if (libpq_status(conn) == SM_TRANSACTION_NONE && !discard)
		return SM_REUSE_AT_ONCE;
	if (mode == SM_RESET_NONE)
		return SM_REUSE_NEVER;
	sm_cleanup_start(conn, "ROLLBACK", discard);
	return SM_REUSE_AFTER_RESET;
}

static bool
libpq_reset_poll(SmConn *conn, bool wait, TimestampTz deadline)
{
	if (!sm_cleanup_poll(conn, false, false))
	{
		if (!wait)
			return false;
		sm_cleanup_finish(conn, deadline);
	}
	note_discarded(conn);
	return true;
}

/* ----------
 * Transactions
 * ----------
 */
static void
libpq_command_send(SmConn *conn, const char *sql, SmCommand kind, TimestampTz deadline)
{
	if (kind == SM_COMMAND_ROLLBACK_TO)
		note_rollback_to(conn);
	sm_remote_command_send(conn, sql, kind == SM_COMMAND_COMMIT, deadline);
}

static void
libpq_command_finish(SmConn *conn, const char *sql, SmCommand kind, TimestampTz deadline)
{
	sm_remote_command_finish(conn, sql, kind == SM_COMMAND_COMMIT, deadline);
	/* what was set up in the transaction is there to stay */
	if (kind == SM_COMMAND_COMMIT)
		conn->remote.set_up_until_rollback = false;
}

static const char *const isolation_names[] = {
	NULL, "read uncommitted", "read committed", "repeatable read", "serializable"
};

static List *
append_default(List *commands, const char *name, const char *value)
{
	return lappend(commands, psprintf("SET default_transaction_%s = %s", name, value));
}

static const char *
tristate_value(int value)
{
	return value == SM_UNSET ? "DEFAULT" : value == SM_ON ? "on" : "off";
}

static List *
append_defaults(List *commands, const SmSessionOptions *have, const SmSessionOptions *wanted)
{
	if (have->isolation_level != wanted->isolation_level)
		commands = append_default(commands, "isolation",
								  wanted->isolation_level == SM_ISOLATION_DEFAULT ? "DEFAULT" :
								  psprintf("'%s'", isolation_names[wanted->isolation_level]));
	if (have->read_only != wanted->read_only)
		commands = append_default(commands, "read_only", tristate_value(wanted->read_only));
	if (have->deferrable != wanted->deferrable)
		commands = append_default(commands, "deferrable", tristate_value(wanted->deferrable));
	return commands;
}

static bool
is_set_up(const SmConn *conn)
{
	return conn->remote.set_up != SM_SET_UP_NEEDED && !sm_remote_drifted(conn);
}

/*
 * What puts right what statements have changed of the remote session, and makes
 * what an autocommit statement's transaction is to be like its default (NULL:
 * whatever it is), or NULL if nothing is to be done.  It is an extra round
 * trip, before a transaction rather than in it, whose end might undo it.
 */
static char *
set_up_commands(SmConn *conn, const SmSessionOptions *defaults)
{
	const SmSessionOptions *have = &conn->remote.defaults;
	List	   *commands = NIL;

	if (unlikely(conn->remote.pooler == SM_BEHIND_TRANSACTION))
	{
		/* it comes with each BEGIN, and is to be renewed only within it */
		if (libpq_status(conn) != SM_TRANSACTION_OPEN ||
			is_set_up(conn))
			return NULL;
		return sm_commands_join(sm_remote_setup_commands(conn));
	}
	if (unlikely(conn->remote.set_up_until_rollback) && libpq_status(conn) == SM_TRANSACTION_NONE)
	{
		conn->remote.set_up = SM_SET_UP_NEEDED;
		conn->remote.set_up_until_rollback = false;
	}
	if (likely(is_set_up(conn) && !conn->remote.defaults_unknown) &&
		likely(defaults == NULL ||
			   (have->isolation_level == defaults->isolation_level &&
				have->read_only == defaults->read_only &&
				have->deferrable == defaults->deferrable)))
		return NULL;
	if (unlikely(conn->remote.defaults_unknown))
		memset(&conn->remote.defaults, -1, sizeof(conn->remote.defaults));
	if (!is_set_up(conn) &&
		libpq_status(conn) != SM_TRANSACTION_FAILED)
		commands = sm_remote_setup_commands(conn);
	if (defaults != NULL)
		commands = append_defaults(commands, have, defaults);
	return commands != NIL ? sm_commands_join(commands) : NULL;
}

/* Run set_up_commands(). */
static void
set_up(SmConn *conn, const SmSessionOptions *defaults)
{
	char	   *sql = set_up_commands(conn, defaults);

	if (likely(sql == NULL))
		return;
	sm_driver_command(&sm_driver_libpq, conn, sql, SM_COMMAND_PLAIN);
	sm_remote_is_set_up(conn, defaults);
}

/* A transaction says in its BEGIN what it is like, and must find no default. */
static const SmSessionOptions no_defaults = {0};

static char *
begin_command(const SmSessionOptions *options)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "BEGIN");
	if (options->isolation_level != SM_ISOLATION_DEFAULT)
		appendStringInfo(&buf, " ISOLATION LEVEL %s",
						 isolation_names[options->isolation_level]);
	if (options->read_only != SM_UNSET)
		appendStringInfoString(&buf, options->read_only == SM_ON ?
							   " READ ONLY" : " READ WRITE");
	if (options->deferrable != SM_UNSET)
		appendStringInfoString(&buf, options->deferrable == SM_ON ?
							   " DEFERRABLE" : " NOT DEFERRABLE");
	return buf.data;
}

/*
 * What begins a transaction.  Behind a pooler the settings that statements rely
 * on come with it, and go with it.
 */
static List *
begin_commands(SmConn *conn, const SmSessionOptions *options)
{
	List	   *commands = list_make1(begin_command(options));

	if (conn->remote.set_up == SM_SET_UP_IN_TRANSACTION)
		conn->remote.set_up = SM_SET_UP_DONE;
	if (likely(conn->remote.pooler != SM_BEHIND_TRANSACTION))
		return commands;
	conn->remote.set_up = SM_SET_UP_DONE;
	return list_concat(commands, sm_remote_setup_commands(conn));
}

/*
 * Is the connection to forget first what was done on it before DISCARD ALL here?
 * Then these commands do that and set it up anew.  What is known of it is
 * forgotten at once, but that it is to be done only when it has been.
 */
static List *
discard_commands(SmConn *conn, const SmSessionOptions *defaults)
{
	List	   *commands;

	if (likely(conn->remote.discard != SM_DISCARD_FIRST) || libpq_status(conn) != SM_TRANSACTION_NONE)
		return NIL;
	sm_statement_forget_all(conn);
	memset(&conn->remote.defaults, 0, sizeof(conn->remote.defaults));
	conn->remote.defaults_unknown = false;
	conn->remote.set_up = SM_SET_UP_NEEDED;
	commands = lcons("DISCARD ALL", sm_remote_setup_commands(conn));
	if (defaults != NULL)
		commands = append_defaults(commands, &conn->remote.defaults, defaults);
	return commands;
}

static void
run_commands(SmConn *conn, const List *commands)
{
	TimestampTz deadline = sm_deadline(conn->endpoint->options.statement_timeout);

	sm_remote_commands_send(conn, commands, true, deadline);
	sm_remote_command_finish(conn, sm_commands_join(commands), false, deadline);
}

static void
libpq_begin(SmConn *conn, const SmSessionOptions *options, List *then)
{
	List	   *prelude = discard_commands(conn, &no_defaults);

	if (unlikely(prelude != NIL))
	{
		run_commands(conn, list_concat(prelude,
									   list_concat(begin_commands(conn, options), then)));
		sm_remote_is_discarded(conn, &no_defaults);
		return;
	}
	set_up(conn, &no_defaults);
	sm_driver_command(&sm_driver_libpq, conn, sm_commands_join(list_concat(begin_commands(conn, options), then)),
					  SM_COMMAND_PLAIN);
}

/* Do the options leave a transaction as the target has it? */
static bool
is_plain(const SmSessionOptions *options)
{
	return options->isolation_level == SM_ISOLATION_DEFAULT &&
		options->read_only == SM_UNSET && options->deferrable == SM_UNSET;
}

/*
 * Have the connection discarded on the way of the statement.  All commands of a
 * round trip are one transaction, to which a new default of transactions would come
 * too late: that makes a round trip of its own.
 */
static void
prepend_prelude(SmConn *conn, SmStatement *statement, bool at_once)
{
	if (statement->defaults == NULL || is_plain(statement->defaults))
		statement->before = list_concat(list_copy(statement->prelude), statement->before);
	else if (!at_once)
		statement->set_up = linitial(statement->prelude);
	else
	{
		run_commands(conn, statement->prelude);
		sm_remote_is_discarded(conn, statement->defaults);
		statement->prelude = NIL;
	}
}

/*
 * Have what the statement needs before it: at once, or as statement->set_up in
 * its first round trip.
 */
static void
make_ready(SmConn *conn, SmStatement *statement, bool at_once)
{
	const SmSessionOptions *defaults = statement->autocommit ? statement->defaults : NULL;

	if (statement->begin != NULL)
	{
		defaults = &no_defaults;
		statement->before = list_concat(begin_commands(conn, statement->begin),
										statement->before);
		statement->begin = NULL;
	}
	statement->around = NIL;
	if (unlikely(conn->remote.pooler == SM_BEHIND_TRANSACTION))
	{
		if (defaults != NULL && statement->autocommit)
		{
			statement->plain = is_plain(defaults);
			statement->around = begin_commands(conn, defaults);
		}
		defaults = NULL;
	}
	statement->defaults = defaults;
	statement->set_up = NULL;
	statement->prelude = discard_commands(conn, defaults);
	if (unlikely(statement->prelude != NIL))
		prepend_prelude(conn, statement, at_once);
	else if (at_once)
		set_up(conn, defaults);
	else
		statement->set_up = set_up_commands(conn, defaults);
}

static void
libpq_start(SmRun *run, SmConn *conn, SmStatement *statement, SmSink *sink, bool wait)
{
	make_ready(conn, statement, statement->one_round_trip);
	sm_run_start(run, conn, statement, sink, wait);
}

static uint64
libpq_execute(SmConn *conn, SmStatement *statement, SmSink *sink, SmStatementKind *kind)
{
	SmRun		run;

	if (sink != NULL && sink->stream != NULL)
	{
		make_ready(conn, statement, true);
		sm_stream_start(conn, statement, sink->stream, kind);
		return 0;
	}
	libpq_start(&run, conn, statement, sink, true);
	(void) sm_run_advance(&run);
	return sm_run_finish(&run, kind);
}

static uint64
libpq_bulk(SmConn *conn, const SmBulkRequest *request, SmStatementKind *kind)
{
	set_up(conn, NULL);
	switch (request->function)
	{
		case SM_BULK_EXECUTE_MANY:
			return sm_execute_many_run(conn, &request->of.many, kind);
		case SM_BULK_PULL:
			return sm_pull_run(conn, &request->of.pull);
		case SM_BULK_PUSH:
			return sm_push_run(conn, &request->of.push);
	}
	return 0;					/* keep compiler quiet */
}

const SmDriver sm_driver_libpq = {
	.name = "libpq",
	.remote = true,
	.copies = true,
	.connect = libpq_connect,
	.establish = libpq_establish,
	.alive = sm_remote_alive,
	.status = libpq_status,
	.reset = libpq_reset,
	.reset_poll = libpq_reset_poll,
	.cleanup = libpq_cleanup,
	.close = libpq_close,
	.begin = libpq_begin,
	.command_send = libpq_command_send,
	.command_finish = libpq_command_finish,
	.execute = libpq_execute,
	.start = libpq_start,
	.bulk = libpq_bulk,
};

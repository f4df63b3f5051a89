/*-------------------------------------------------------------------------
 *
 * driver_libpq.c
 *		The driver of engines whose target is reached by a connection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"

#include "lib/stringinfo.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

static SmConn *
libpq_connect(SmEngine *engine)
{
	MemoryContext cxt;
	MemoryContext old;
	SmTarget   *target;
	SmConn	   *conn;

	/* the target holds secrets: not longer than it takes to connect */
	cxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr connect",
								ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	target = sm_target_resolve(engine->key.roleid, engine->key.dburi,
							   engine->call_options);
	conn = sm_remote_connect(engine, target);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return conn;
}

static PGTransactionStatusType
libpq_status(SmConn *conn)
{
	if (conn->state == SM_CONN_DEAD)
		return PQTRANS_UNKNOWN;
	return PQtransactionStatus(conn->pg);
}

static bool
libpq_ping(SmConn *conn)
{
	return sm_remote_ping(conn, sm_deadline(conn->engine->options.connect_timeout));
}

static void
libpq_close(SmConn *conn)
{
	sm_streams_end(conn);
	sm_statement_forget_all(conn);
	sm_remote_close(conn);
}

/* Going back to a savepoint undoes what has put settings right since then. */
static void
note_rollback_to(SmConn *conn)
{
	if (conn->set_up_late)
		conn->set_up = false;
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
		SmConn	   *conn = dlist_container(SmConn, settle_node, iter.cur);

		conn->settle_discard = !proc_exit_inprogress && !conn->fresh &&
			conn->engine->options.pool_reset_on_return == SM_RESET_DISCARD;
		if (conn->settle_sql != NULL && strncmp(conn->settle_sql, "ROLLBACK TO", 11) == 0)
			note_rollback_to(conn);
	}
	sm_remote_settle_all(conns, deadline);
	dlist_foreach(iter, conns)
	{
		SmConn	   *conn = dlist_container(SmConn, settle_node, iter.cur);

		if (!conn->settle_discard || libpq_status(conn) != PQTRANS_IDLE)
			continue;
		sm_statement_forget_all(conn);
		memset(&conn->defaults, 0, sizeof(conn->defaults));
		conn->defaults_unknown = false;
		conn->set_up = false;
		conn->fresh = true;
	}
}

static bool
libpq_reset(SmConn *conn, SmResetMode mode, TimestampTz deadline)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);

	if (conn->state != SM_CONN_READY)
		return false;
	if (libpq_status(conn) == PQTRANS_IDLE && (mode != SM_RESET_DISCARD || conn->fresh))
		return true;
	if (mode == SM_RESET_NONE)
		return false;

	if (deadline == SM_FROM_NOW)
		deadline = sm_deadline(conn->engine->options.cleanup_timeout);
	conn->settle_sql = "ROLLBACK";
	dlist_push_tail(&conns, &conn->settle_node);
	libpq_cleanup(&conns, deadline);
	return conn->state == SM_CONN_READY;
}

static int
libpq_pid(SmConn *conn)
{
	return PQbackendPID(conn->pg);
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
}

static void
libpq_command(SmConn *conn, const char *sql, SmCommand kind)
{
	const SmEngineOptions *options = &conn->engine->options;
	TimestampTz deadline = sm_deadline(kind == SM_COMMAND_COMMIT ?
									   options->commit_timeout : options->statement_timeout);

	libpq_command_send(conn, sql, kind, deadline);
	libpq_command_finish(conn, sql, kind, deadline);
}

static const char *const isolation_names[] = {
	NULL, "read uncommitted", "read committed", "repeatable read", "serializable"
};

static void
append_default(StringInfo buf, const char *name, const char *value)
{
	appendStringInfo(buf, "%sSET default_transaction_%s = %s",
					 buf->len > 0 ? "; " : "", name, value);
}

static const char *
tristate_value(int value)
{
	return value == SM_UNSET ? "DEFAULT" : value == SM_ON ? "on" : "off";
}

/*
 * Make what an autocommit statement's transaction is to be like the remote
 * session's default, if it is not already: an extra round trip, but only when
 * it changes.  A session's transaction says it in its BEGIN, and must find no
 * default left behind.
 */
static void
set_defaults(SmConn *conn, const SmSessionOptions *wanted)
{
	SmSessionOptions *have = &conn->defaults;
	StringInfoData buf;

	if (unlikely(conn->defaults_unknown))
		memset(have, -1, sizeof(*have));
	if (likely(have->isolation_level == wanted->isolation_level &&
			   have->read_only == wanted->read_only &&
			   have->deferrable == wanted->deferrable))
		return;

	initStringInfo(&buf);
	if (have->isolation_level != wanted->isolation_level)
		append_default(&buf, "isolation",
					   wanted->isolation_level == SM_ISOLATION_DEFAULT ? "DEFAULT" :
					   psprintf("'%s'", isolation_names[wanted->isolation_level]));
	if (have->read_only != wanted->read_only)
		append_default(&buf, "read_only", tristate_value(wanted->read_only));
	if (have->deferrable != wanted->deferrable)
		append_default(&buf, "deferrable", tristate_value(wanted->deferrable));
	libpq_command(conn, buf.data, SM_COMMAND_PLAIN);
	*have = *wanted;
	conn->defaults_unknown = false;
}

/*
 * Put right what statements have changed of the remote session.  Before a
 * transaction rather than in it, whose end might undo it.
 */
static void
ensure_set_up(SmConn *conn)
{
	if (likely(conn->set_up && !sm_remote_drifted(conn)) ||
		libpq_status(conn) == PQTRANS_INERROR)
		return;
	sm_remote_setup(conn, sm_deadline(conn->engine->options.statement_timeout));
	conn->set_up = true;
	conn->set_up_late = libpq_status(conn) != PQTRANS_IDLE;
}

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

/* A transaction is about to begin: it must find no default left behind. */
static void
ensure_plain(SmConn *conn)
{
	static const SmSessionOptions none = {0};

	ensure_set_up(conn);
	conn->set_up_late = false;
	set_defaults(conn, &none);
}

static void
libpq_begin(SmConn *conn, const SmSessionOptions *options, List *then)
{
	ensure_plain(conn);
	libpq_command(conn, sm_commands_join(lcons(begin_command(options), then)),
				  SM_COMMAND_PLAIN);
}

static uint64
libpq_execute(SmConn *conn, SmStatement *statement, SmSink *sink, SmOdd *odd)
{
	if (statement->begin != NULL)
	{
		ensure_plain(conn);
		statement->before = lcons(begin_command(statement->begin), statement->before);
		statement->begin = NULL;
	}
	else
		ensure_set_up(conn);
	if (statement->autocommit)
		set_defaults(conn, statement->defaults);
	if (sink != NULL && sink->stream != NULL)
	{
		sm_stream_start(conn, statement, sink->stream, odd);
		return 0;
	}
	return sm_statement_execute(conn, statement, sink, odd);
}

static uint64
libpq_execute_many(SmConn *conn, const SmMany *many, SmOdd *odd)
{
	ensure_set_up(conn);
	return sm_many_run(conn, many, odd);
}

static uint64
libpq_pull(SmConn *conn, const SmPull *pull)
{
	ensure_set_up(conn);
	return sm_pull_run(conn, pull);
}

static uint64
libpq_push(SmConn *conn, const SmPush *push)
{
	ensure_set_up(conn);
	return sm_push_run(conn, push);
}

const SmDriver sm_driver_libpq = {
	.name = "libpq",
	.remote = true,
	.connect = libpq_connect,
	.alive = sm_remote_alive,
	.ping = libpq_ping,
	.reset = libpq_reset,
	.close = libpq_close,
	.abandon = sm_remote_abandon,
	.begin = libpq_begin,
	.command = libpq_command,
	.command_send = libpq_command_send,
	.command_finish = libpq_command_finish,
	.execute = libpq_execute,
	.execute_many = libpq_execute_many,
	.pull = libpq_pull,
	.push = libpq_push,
	.status = libpq_status,
	.cleanup = libpq_cleanup,
	.pid = libpq_pid,
};

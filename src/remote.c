/*-------------------------------------------------------------------------
 *
 * remote.c
 *		Talking to a server: connect, send, wait, settle, close.
 *
 * Together with remote_cancel.c this is the only place that waits for a
 * socket.  Every wait has a deadline or answers interrupts; those that may
 * throw do both.  Invariants:
 *
 * - A command is on the wire exactly while the connection is BUSY.  Whoever
 *	 throws meanwhile leaves it BUSY, and sm_remote_settle() settles it.
 * - conn->result is the only PGresult of a connection, and freed on every way
 *	 out.
 * - An error says truly what happened.  While conn->commits is set, a command
 *	 that may have taken effect although it is given up is reported as 08007.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"
#include "src/compat.h"

#include <sys/socket.h>
#include <unistd.h>

#include "common/pg_prng.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

/* positions in a connection's wait set */
#define WAIT_SOCKET		0

static PGresult *run_command(SmConn *conn, const char *sql, bool commits,
							 TimestampTz deadline);

static uint32 wait_connect = 0;
static uint32 wait_command = 0;
static uint32 wait_cleanup = 0;

/* Absolute time of a timeout that begins now; 0 and less mean none. */
TimestampTz
sm_deadline(int timeout_ms)
{
	if (timeout_ms <= 0)
		return SM_NO_DEADLINE;
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
}

/* Milliseconds to a deadline as the wait functions want it; 0: it is past. */
long
sm_remaining(TimestampTz deadline)
{
	if (deadline == SM_NO_DEADLINE)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
}

void
sm_conn_set_state(SmConn *conn, SmConnState state)
{
	switch (state)
	{
		case SM_CONN_CONNECTING:
			Assert(false);
			break;
		case SM_CONN_READY:
			Assert(conn->state != SM_CONN_DEAD);
			break;
		case SM_CONN_IDLE:
		case SM_CONN_BUSY:
			Assert(conn->state == SM_CONN_READY);
			break;
		case SM_CONN_DEAD:
			break;
	}
	conn->state = state;
}

/* ----------
 * Connecting
 * ----------
 */
static void
name_waits(void)
{
	if (wait_connect != 0)
		return;
	wait_cleanup = sm_NewWaitEvent("SessmgrCleanup");
	wait_command = sm_NewWaitEvent("SessmgrCommand");
	wait_connect = sm_NewWaitEvent("SessmgrConnect");
}

static void
report_connect_failure(SmConn *conn, const char *message)
{
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("could not connect to \"%s\"", conn->engine->label),
			 errdetail_internal("%s", sm_report_text(message))));
}

static void
report_connect_timeout(SmConn *conn)
{
	report_connect_failure(conn,
						   psprintf("No answer within connect_timeout (%d ms).",
									conn->engine->options.connect_timeout));
}

/* Drive the connection to its end or throw. */
static void
poll_connection(SmConn *conn, TimestampTz deadline)
{
	PostgresPollingStatusType poll = PGRES_POLLING_WRITING;

	while (poll != PGRES_POLLING_OK)
	{
		long		timeout = sm_remaining(deadline);
		int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

		if (timeout == 0)
			report_connect_timeout(conn);
		if (timeout > 0)
			events |= WL_TIMEOUT;
		events |= (poll == PGRES_POLLING_READING) ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;

		/* the socket may be another one after each step */
		events = WaitLatchOrSocket(MyLatch, events, PQsocket(conn->pg), timeout,
								   wait_connect);
		if (events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		if ((events & WL_SOCKET_MASK) == 0)
			continue;

		poll = PQconnectPoll(conn->pg);
		if (poll == PGRES_POLLING_FAILED)
			report_connect_failure(conn, PQerrorMessage(conn->pg));
	}
}

static void
start_connection(SmConn *conn, const SmTarget *target)
{
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not connect to \"%s\"", conn->engine->label),
				 errdetail("Too many files are open in this backend."),
				 errhint("Raise the server's max_files_per_process and its system's limits, or keep fewer connections.")));
	conn->fd_acquired = true;

	conn->pg = PQconnectStartParams(target->keywords, target->values, false);
	if (conn->pg == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	PQsetNoticeReceiver(conn->pg, sm_notice_receiver, conn);
	if (PQstatus(conn->pg) == CONNECTION_BAD)
		report_connect_failure(conn, PQerrorMessage(conn->pg));
}

/* The wait set is kept as long as the connection: making one costs syscalls. */
static void
make_waitset(SmConn *conn)
{
	conn->waitset = sm_CreateWaitEventSet(3);
	conn->waitset_events = WL_SOCKET_READABLE;
	AddWaitEventToSet(conn->waitset, WL_SOCKET_READABLE, PQsocket(conn->pg), NULL, NULL);
	AddWaitEventToSet(conn->waitset, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(conn->waitset, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
}

/* What sessmgr relies on in the remote session while values travel as text. */
#define TEXT_FORM \
	"SET datestyle = 'ISO, YMD'; SET intervalstyle = postgres; " \
	"SET extra_float_digits = 3"

/*
 * Set up a remote session, or put right what its statements have changed.  Not
 * with start-up parameters: PgBouncer refuses those it does not know.
 */
void
sm_remote_setup(SmConn *conn, TimestampTz deadline)
{
	char	   *encoding = psprintf("SET client_encoding = '%s'; " TEXT_FORM,
									GetDatabaseEncodingName());
	PGresult   *error;

	/*
	 * A remote statement must not outlive us for long if we are killed.  Not
	 * every platform can look after its client; then it must do without.
	 */
	if (PQserverVersion(conn->pg) >= 140000)
	{
		error = run_command(conn,
							psprintf("%s; SET client_connection_check_interval = '2s'",
									 encoding),
							false, deadline);
		if (error == NULL)
			return;
		PQclear(error);
	}
	if (conn->state == SM_CONN_READY)
		sm_remote_command(conn, encoding, false, deadline);
	else
		report_connect_failure(conn, PQerrorMessage(conn->pg));
}

/* Has a statement changed what sm_remote_setup() did? */
bool
sm_remote_drifted(const SmConn *conn)
{
	const char *datestyle = PQparameterStatus(conn->pg, "DateStyle");
	const char *interval = PQparameterStatus(conn->pg, "IntervalStyle");

	return PQclientEncoding(conn->pg) != conn->encoding ||
		(datestyle != NULL && strncmp(datestyle, "ISO", 3) != 0) ||
		(interval != NULL && strcmp(interval, "postgres") != 0);
}

static void
connect_steps(SmConn *conn, const SmTarget *target)
{
	TimestampTz deadline = sm_deadline(conn->engine->options.connect_timeout);
	const char *encoding;

	start_connection(conn, target);
	sm_cancel_learn_start(conn);
	poll_connection(conn, deadline);
	sm_cancel_learn_end(conn);

	if (sm_password_must_be_used(target) && !PQconnectionUsedPassword(conn->pg))
		ereport(ERROR,
				(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
				 errmsg("password is required to connect to \"%s\"",
						conn->engine->label),
				 errdetail("The target did not ask for the password, so anybody on this machine could connect in its place."),
				 errhint("Change the target's authentication method, or let a superuser set password_required 'false' in the user mapping.")));
	if (PQsetnonblocking(conn->pg, 1) != 0)
		report_connect_failure(conn, PQerrorMessage(conn->pg));

	make_waitset(conn);
	sm_conn_set_state(conn, SM_CONN_READY);
	sm_remote_setup(conn, deadline);
	conn->set_up = true;
	sm_notices_report(conn);

	/* a server that does not check encodings may send anything */
	encoding = PQparameterStatus(conn->pg, "server_encoding");
	conn->encoding = PQclientEncoding(conn->pg);
	conn->verify = GetDatabaseEncoding() != PG_SQL_ASCII &&
		(encoding == NULL || strcmp(encoding, "SQL_ASCII") == 0);
}

static TimestampTz
recycle_time(TimestampTz now, int recycle_ms)
{
	double		early;

	if (recycle_ms < 0)
		return SM_NO_DEADLINE;
	/* up to 10 % earlier, so that a pool's connections do not end together */
	early = 0.1 * pg_prng_double(&pg_global_prng_state);
	return TimestampTzPlusMilliseconds(now, (int64) (recycle_ms * (1.0 - early)));
}

/*
 * A new connection, READY and in no list; the caller owns it.  Throws 08001
 * when it cannot be made, 2F003 when the security rules forbid it, 53000 when
 * descriptors are out; then nothing is left of it.
 */
SmConn *
sm_remote_connect(SmEngine *engine, const SmTarget *target)
{
	SmConn	   *conn;

	name_waits();
	sm_check_before_connect(target, engine->label);

	conn = MemoryContextAllocZero(TopMemoryContext, sizeof(SmConn));
	conn->engine = engine;
	conn->state = SM_CONN_CONNECTING;
	conn->generation = engine->pool.generation;
	conn->subid = GetCurrentSubTransactionId();
	PG_TRY();
	{
		connect_steps(conn, target);
	}
	PG_CATCH();
	{
		sm_remote_close(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();

	conn->connected_at = conn->since = GetCurrentTimestamp();
	conn->recycle_at = recycle_time(conn->connected_at, engine->options.pool_recycle);
	return conn;
}

/* Release everything a connection holds.  Never throws. */
void
sm_remote_close(SmConn *conn)
{
	PQclear(conn->result);
	conn->result = NULL;
	sm_cancel_learn_end(conn);
	sm_notices_forget(conn);
	sm_statement_forget_all(conn);
	if (conn->waitset != NULL)
		FreeWaitEventSet(conn->waitset);
	if (conn->pg != NULL)
		PQfinish(conn->pg);
	if (conn->fd_acquired)
		ReleaseExternalFD();
	pfree(conn);
}

/*
 * In a process forked from the one that made the connection: give up our copy
 * of the descriptor, and nothing else.  PQfinish would end the session that
 * the parent still uses, and the epoll set is shared with it.
 */
void
sm_remote_abandon(SmConn *conn)
{
	if (conn->pg != NULL && PQsocket(conn->pg) >= 0)
		close(PQsocket(conn->pg));
}

/*
 * Does the connection look alive?  Looks at what has arrived on the socket,
 * without waiting; for an idle connection that is a message about its end, a
 * parameter's new value, or nothing.
 */
bool
sm_remote_alive(SmConn *conn)
{
	char		byte;
	ssize_t		n;

	for (;;)
	{
		n = recv(PQsocket(conn->pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		if (n == 0 || !PQconsumeInput(conn->pg))
			return false;
		/* makes libpq act on what has arrived */
		(void) PQisBusy(conn->pg);
		if (PQstatus(conn->pg) != CONNECTION_OK)
			return false;
	}
}

/* ----------
 * Commands
 * ----------
 */

/* What became of a command that was given up, in words. */
static const char *
outcome_words(SmOutcome outcome)
{
	if (outcome == SM_OUTCOME_DONE)
		return "It was to be cancelled, but the cancel came too late: it has been done.";
	return "It was to be cancelled, but the target did not answer in time.";
}

/*
 * Give up the command on the wire for the reason given.  Raises 08007 if it
 * commits by itself and cannot be shown to have had no effect; otherwise the
 * caller is to raise what made it give up.
 */
static void
give_up(SmConn *conn, const char *sql, const char *reason)
{
	SmOutcome	outcome;

	/* a connection that is only being set up is simply closed */
	if (conn->connected_at == 0)
		return;
	outcome = sm_remote_settle(conn,
							   sm_deadline(conn->engine->options.cleanup_timeout));
	if (conn->commits && outcome != SM_OUTCOME_NONE)
		sm_report_unknown(conn, sql, psprintf("%s %s", reason, outcome_words(outcome)));
}

/*
 * CHECK_FOR_INTERRUPTS() while a command is on the wire: if an interrupt
 * throws, the command is settled first.  One that ends the backend does not
 * come back here; the exit callback settles the command then.
 */
static void
check_interrupts(SmConn *conn, const char *sql)
{
	MemoryContext cxt = CurrentMemoryContext;
	ErrorData  *volatile edata = NULL;

	PG_TRY();
	{
		CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();

	if (edata != NULL)
	{
		give_up(conn, sql, psprintf("%s.", edata->message ? edata->message : "interrupted"));
		ReThrowError(edata);
	}
}

static void
report_timeout(SmConn *conn, const char *sql)
{
	if (conn->connected_at == 0)
		report_connect_timeout(conn);
	give_up(conn, sql, "Its timeout came.");
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("canceling statement on \"%s\" due to its timeout",
					conn->engine->label),
			 sm_report_context(conn, sql)));
}

static void
set_wait_events(SmConn *conn, uint32 events)
{
	if ((uint32) conn->waitset_events == events)
		return;
	ModifyWaitEvent(conn->waitset, WAIT_SOCKET, events, NULL);
	conn->waitset_events = events;
}

/* Wait until the socket is ready; throws for interrupts and the deadline. */
static void
wait_socket(SmConn *conn, uint32 events, const char *sql, TimestampTz deadline)
{
	WaitEvent	event;

	set_wait_events(conn, events);
	for (;;)
	{
		long		timeout = sm_remaining(deadline);

		if (timeout == 0)
			report_timeout(conn, sql);
		if (WaitEventSetWait(conn->waitset, timeout, &event, 1, wait_command) == 0)
			continue;
		if (event.events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			if (InterruptPending)
				check_interrupts(conn, sql);
		}
		else
			return;
	}
}

/*
 * The same for clean-up, when nothing may throw and interrupts stay pending.
 * False: the deadline came.
 */
static bool
wait_socket_quiet(SmConn *conn, uint32 events, TimestampTz deadline)
{
	WaitEvent	event;
	bool		latched = false;
	bool		ready = false;

	set_wait_events(conn, events);
	for (;;)
	{
		long		timeout = sm_remaining(deadline);

		if (timeout == 0)
			break;
		if (WaitEventSetWait(conn->waitset, timeout, &event, 1, wait_cleanup) == 0)
			continue;
		if (event.events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			latched = true;
			continue;
		}
		ready = true;
		break;
	}
	if (latched)
		SetLatch(MyLatch);
	return ready;
}

/*
 * A command is about to be sent.  commits: it takes effect for good by itself,
 * so that losing sight of it must be told.
 */
void
sm_remote_begin(SmConn *conn, bool commits)
{
	if (conn->state != SM_CONN_READY)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a statement on \"%s\" is still being read",
						conn->engine->label),
				 errhint("Use another session, or read all rows first.")));
	conn->commits = commits;
	conn->completed = false;
	conn->unsent = true;
	conn->subid = GetCurrentSubTransactionId();
	conn->statements++;
	sm_conn_set_state(conn, SM_CONN_BUSY);
}

/*
 * After a PQsend... call, whose result is "sent": get all of it onto the wire.
 */
void
sm_remote_sent(SmConn *conn, int sent, const char *sql, TimestampTz deadline)
{
	int			left;

	if (!sent)
	{
		/* libpq refused: nothing was sent, and libpq holds the reason */
		if (PQstatus(conn->pg) != CONNECTION_OK)
		{
			sm_conn_set_state(conn, SM_CONN_DEAD);
			sm_report_lost(conn, sql);
		}
		sm_conn_set_state(conn, SM_CONN_READY);
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("could not send a statement to \"%s\"", conn->engine->label),
				 errdetail_internal("%s", sm_report_text(PQerrorMessage(conn->pg)))));
	}

	while ((left = PQflush(conn->pg)) == 1)
	{
		/* the server may want to be heard before it goes on reading */
		wait_socket(conn, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, sql, deadline);
		if (!PQconsumeInput(conn->pg))
			break;
	}

	/* after a failure libpq reports what it last heard when results are read */
	conn->unsent = (left != 0);
}

/*
 * The next result of the command on the wire, owned by the connection until
 * the next call; NULL at its end, and the connection is READY then, or DEAD.
 * A lost connection appears as an error result, as in libpq.
 */
PGresult *
sm_remote_next(SmConn *conn, const char *sql, TimestampTz deadline)
{
	PQclear(conn->result);
	conn->result = NULL;

	if (unlikely(InterruptPending))
		check_interrupts(conn, sql);

	while (PQisBusy(conn->pg))
	{
		wait_socket(conn, WL_SOCKET_READABLE, sql, deadline);
		if (!PQconsumeInput(conn->pg))
			break;
	}

	conn->result = PQgetResult(conn->pg);
	if (conn->result == NULL)
	{
		PGnotify   *notify;

		/* nobody here listens, but libpq keeps them until they are taken */
		while ((notify = PQnotifies(conn->pg)) != NULL)
			PQfreemem(notify);
		sm_conn_set_state(conn, PQstatus(conn->pg) == CONNECTION_OK ?
						  SM_CONN_READY : SM_CONN_DEAD);
	}
	return conn->result;
}

/*
 * Take the current result, an error, aside: the command's end is still to be
 * read before it can be raised.  *error keeps the most telling one.
 */
void
sm_remote_keep_error(SmConn *conn, PGresult **error)
{
	if (*error == NULL ||
		PQresultErrorField(*error, PG_DIAG_SQLSTATE) == NULL)
	{
		PQclear(*error);
		*error = conn->result;
		conn->result = NULL;
	}
}

/*
 * A command ended with an error result: raise it, and tell truly what may have
 * become of the command.  Frees error.
 *
 * A server that ends a session says why (57P01 and the like) and then closes.
 * An autocommit statement commits after its CommandComplete was put in line;
 * so, unless that was seen, a session ended in this way has not committed.  A
 * crashing server (57P02) says it at any point, and promises nothing.
 */
void
sm_remote_raise(SmConn *conn, PGresult *error, const char *sql, bool is_commit)
{
	const char *code = PQresultErrorField(error, PG_DIAG_SQLSTATE);
	bool		lost = PQstatus(conn->pg) != CONNECTION_OK;

	if (lost && conn->commits && !conn->unsent &&
		(is_commit || conn->completed || code == NULL ||
		 strcmp(code, "57P02") == 0))
	{
		char	   *why = sm_report_text(PQresultErrorMessage(error));

		PQclear(error);
		sm_report_unknown(conn, sql,
						  psprintf("The connection was lost while it was on its way: %s", why));
	}
	if (code == NULL)
	{
		PQclear(error);
		if (lost)
			sm_report_lost(conn, sql);
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("unexpected answer from \"%s\"", conn->engine->label),
				 errdetail_internal("%s", sm_report_text(PQerrorMessage(conn->pg)))));
	}
	sm_report_result(conn, error, sql);
}

/*
 * Run one or more commands that return nothing, in one message, and return the
 * error result, the caller's to free, if there was one.
 */
static PGresult *
run_command(SmConn *conn, const char *sql, bool commits, TimestampTz deadline)
{
	PGresult   *error = NULL;

	sm_remote_begin(conn, commits);
	sm_remote_sent(conn, PQsendQuery(conn->pg, sql), sql, deadline);
	PG_TRY();
	{
		PGresult   *res;

		while ((res = sm_remote_next(conn, sql, deadline)) != NULL)
		{
			if (PQresultStatus(res) != PGRES_COMMAND_OK &&
				PQresultStatus(res) != PGRES_TUPLES_OK &&
				PQresultStatus(res) != PGRES_EMPTY_QUERY)
				sm_remote_keep_error(conn, &error);
		}
	}
	PG_CATCH();
	{
		PQclear(error);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return error;
}

/* The same, raising the error and the notices. */
void
sm_remote_command(SmConn *conn, const char *sql, bool commits, TimestampTz deadline)
{
	PGresult   *error = run_command(conn, sql, commits, deadline);

	sm_notices_report(conn);
	if (error != NULL)
		sm_remote_raise(conn, error, sql, commits);
}

/* ----------
 * Clean-up: nothing below throws
 * ----------
 */

/* Read away the data of a COPY TO STDOUT; false: not all of it in time. */
static bool
drain_copy(SmConn *conn, TimestampTz deadline)
{
	char	   *buf;
	int			n;

	while ((n = PQgetCopyData(conn->pg, &buf, 1)) >= 0)
	{
		if (n > 0)
			PQfreemem(buf);
		else if (!wait_socket_quiet(conn, WL_SOCKET_READABLE, deadline) ||
				 !PQconsumeInput(conn->pg))
			return false;
	}
	return true;
}

/* Read away what is left of a command, and how it ended. */
static SmOutcome
drain(SmConn *conn, TimestampTz deadline)
{
	SmOutcome	outcome = SM_OUTCOME_DONE;
	bool		copying = false;

	for (;;)
	{
		PQclear(conn->result);
		conn->result = NULL;
		while (PQisBusy(conn->pg))
		{
			if (!wait_socket_quiet(conn, WL_SOCKET_READABLE, deadline))
				return SM_OUTCOME_UNKNOWN;
			if (!PQconsumeInput(conn->pg))
				break;
		}
		conn->result = PQgetResult(conn->pg);
		if (conn->result == NULL)
			break;
		switch (PQresultStatus(conn->result))
		{
			case PGRES_COPY_OUT:
				if (!drain_copy(conn, deadline))
					return SM_OUTCOME_UNKNOWN;
				break;
			case PGRES_COPY_IN:
				if (copying || PQputCopyEnd(conn->pg, "canceled") != 1)
					return SM_OUTCOME_UNKNOWN;
				copying = true;
				(void) PQflush(conn->pg);
				break;
			case PGRES_COPY_BOTH:
				return SM_OUTCOME_UNKNOWN;
			case PGRES_COMMAND_OK:
			case PGRES_TUPLES_OK:
			case PGRES_SINGLE_TUPLE:
			case PGRES_EMPTY_QUERY:
				break;
			default:
				/* with a state: the server's word that nothing was done */
				outcome = (PQresultErrorField(conn->result, PG_DIAG_SQLSTATE) != NULL) ?
					SM_OUTCOME_NONE : SM_OUTCOME_UNKNOWN;
				break;
		}
	}
	if (PQstatus(conn->pg) != CONNECTION_OK)
		return SM_OUTCOME_UNKNOWN;
	return outcome;
}

/*
 * Stop the command on the wire, if any, by the deadline: cancel it and read
 * what is left.  Afterwards the connection is READY, or DEAD if it did not
 * obey.  A command that could not be stopped although its transaction goes on
 * makes it DEAD too: nobody may commit what was given up.
 */
SmOutcome
sm_remote_settle(SmConn *conn, TimestampTz deadline)
{
	SmOutcome	outcome;

	if (conn->state != SM_CONN_BUSY)
		return SM_OUTCOME_NONE;

	if (conn->unsent)
	{
		/* half a message: the server has not begun, and never will */
		sm_conn_set_state(conn, SM_CONN_DEAD);
		return SM_OUTCOME_NONE;
	}

	if (PQtransactionStatus(conn->pg) == PQTRANS_ACTIVE)
		(void) sm_cancel_send(conn, deadline);
	outcome = drain(conn, deadline);
	PQclear(conn->result);
	conn->result = NULL;
	sm_notices_forget(conn);

	if (outcome == SM_OUTCOME_UNKNOWN ||
		(outcome == SM_OUTCOME_DONE && !conn->commits))
		sm_conn_set_state(conn, SM_CONN_DEAD);
	else
		sm_conn_set_state(conn, SM_CONN_READY);
	return outcome;
}

/*
 * Run a command that returns nothing without ever throwing: false if it
 * failed, and the connection may be DEAD then.
 */
bool
sm_remote_quiet_command(SmConn *conn, const char *sql, TimestampTz deadline)
{
	bool		ok = true;

	if (conn->state != SM_CONN_READY || !PQsendQuery(conn->pg, sql))
	{
		sm_conn_set_state(conn, SM_CONN_DEAD);
		return false;
	}
	conn->commits = false;
	conn->unsent = false;
	sm_conn_set_state(conn, SM_CONN_BUSY);
	while (PQflush(conn->pg) == 1)
	{
		if (!wait_socket_quiet(conn, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, deadline) ||
			!PQconsumeInput(conn->pg))
			break;
	}
	switch (drain(conn, deadline))
	{
		case SM_OUTCOME_DONE:
			sm_conn_set_state(conn, SM_CONN_READY);
			break;
		case SM_OUTCOME_NONE:
			sm_conn_set_state(conn, SM_CONN_READY);
			ok = false;
			break;
		case SM_OUTCOME_UNKNOWN:
			sm_conn_set_state(conn, SM_CONN_DEAD);
			ok = false;
			break;
	}
	sm_notices_forget(conn);
	return ok;
}

/*
 * Wait for another socket than the connection's, for remote_cancel.c.  False:
 * the deadline came.
 */
bool
sm_wait_raw_quiet(pgsocket sock, int events, TimestampTz deadline)
{
	bool		latched = false;
	bool		ready = false;

	for (;;)
	{
		long		timeout = sm_remaining(deadline);
		int			got;

		if (timeout == 0)
			break;
		got = WaitLatchOrSocket(MyLatch,
								events | WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
								(timeout > 0 ? WL_TIMEOUT : 0),
								sock, timeout, wait_cleanup);
		if (got & WL_SOCKET_MASK)
		{
			ready = true;
			break;
		}
		if (got & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			latched = true;
		}
	}
	if (latched)
		SetLatch(MyLatch);
	return ready;
}

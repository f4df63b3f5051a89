/*-------------------------------------------------------------------------
 *
 * remote_connect.c
 *		A connection's beginning and end.
 *
 * A connection that cannot be made, or may not be, leaves nothing behind.  Its
 * end never throws.
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
			sm_report_connect_timeout(conn);
		if (timeout > 0)
			events |= WL_TIMEOUT;
		events |= (poll == PGRES_POLLING_READING) ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;

		/* the socket may be another one after each step */
		events = WaitLatchOrSocket(MyLatch, events, PQsocket(conn->pg), timeout,
								   sm_wait_connect);
		if (events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		if ((events & WL_SOCKET_MASK) == 0)
			continue;

		poll = PQconnectPoll(conn->pg);
		if (poll == PGRES_POLLING_FAILED)
			sm_report_connect_failure(conn, PQerrorMessage(conn->pg));
	}
}

static void
start_connection(SmConn *conn, const SmTarget *target)
{
	conn->fd_acquired = AcquireExternalFD();
	/* each wait set takes another one, but fails without a proper SQLSTATE */
	if (!conn->fd_acquired || !AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not connect to \"%s\"", conn->engine->label),
				 errdetail("Too many files are open in this backend."),
				 errhint("Raise the server's max_files_per_process and its system's limits, or keep fewer connections.")));
	ReleaseExternalFD();

	conn->pg = PQconnectStartParams(target->keywords, target->values, false);
	if (conn->pg == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	PQsetNoticeReceiver(conn->pg, sm_notice_receiver, conn);
	if (PQstatus(conn->pg) == CONNECTION_BAD)
		sm_report_connect_failure(conn, PQerrorMessage(conn->pg));
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
	"SET extra_float_digits = 3; SET lc_monetary = 'C'"

/*
 * Set up a remote session, or put right what its statements have changed.  Not
 * with start-up parameters: PgBouncer refuses those it does not know.
 */
void
sm_remote_setup(SmConn *conn, TimestampTz deadline)
{
	char	   *commands = psprintf("SET client_encoding = '%s'; " TEXT_FORM,
									GetDatabaseEncodingName());
	PGresult   *error;

	/*
	 * A remote statement must not outlive us for long if we are killed.  Not
	 * every platform can look after its client; then it must do without.
	 */
	if (PQserverVersion(conn->pg) >= 140000 && !conn->no_client_check)
	{
		error = sm_remote_run(conn,
							  psprintf("%s; SET client_connection_check_interval = '2s'",
									   commands),
							  false, deadline);
		if (error == NULL)
			return;
		conn->no_client_check = true;
		if (conn->state != SM_CONN_READY || conn->connected_at != 0)
			sm_remote_raise(conn, error, commands, false);
		PQclear(error);
	}
	sm_remote_command_send(conn, commands, false, deadline);
	sm_remote_command_finish(conn, commands, false, deadline);
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
	const char *datetimes;

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
		sm_report_connect_failure(conn, PQerrorMessage(conn->pg));

	make_waitset(conn);
	sm_conn_set_state(conn, SM_CONN_READY);
	sm_remote_setup(conn, deadline);
	conn->set_up = true;
	sm_notices_report(conn);

	/* a server that does not check encodings may send anything */
	encoding = PQparameterStatus(conn->pg, "server_encoding");
	conn->encoding = PQclientEncoding(conn->pg);
	datetimes = PQparameterStatus(conn->pg, "integer_datetimes");
	conn->integer_datetimes = (datetimes == NULL || strcmp(datetimes, "on") == 0);
	conn->same_major = PQserverVersion(conn->pg) / 10000 == PG_VERSION_NUM / 10000;
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

	sm_name_waits();
	sm_check_before_connect(target, engine->label);

	conn = MemoryContextAllocZero(TopMemoryContext, sizeof(SmConn));
	conn->engine = engine;
	conn->state = SM_CONN_CONNECTING;
	conn->generation = engine->pool.generation;
	conn->subid = GetCurrentSubTransactionId();
	PG_TRY();
	{
		sm_settle_reserve(conn);
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
	PQclear(conn->error);
	conn->error = NULL;
	sm_settle_release(conn);
	sm_cancel_end(conn);
	sm_cancel_learn_end(conn);
	sm_notices_forget(conn);
	if (conn->waitset != NULL)
		FreeWaitEventSet(conn->waitset);
	if (conn->pg != NULL)
		PQfinish(conn->pg);
	if (conn->fd_acquired)
		ReleaseExternalFD();
	if (conn->identity != NULL)
		pfree(conn->identity);
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

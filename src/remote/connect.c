/*-------------------------------------------------------------------------
 *
 * connect.c
 *		A connection's beginning and end.
 *
 * A connection is made in steps that do not wait, so that several can be made
 * at a time.  Until connected_at is set nothing has been done on it, and if it
 * cannot be made, or may not be, it is simply closed.  Its end never throws.
 *
 * Where there are several hosts or addresses, one after the other is attempted
 * (hosts.c), each within connect_timeout, until one is ready for use.  As
 * with libpq, a server that refuses the connection for a reason of its own ends
 * that; one that is not there, or not of the wanted kind, does not, nor does one
 * that is lost before it is ready.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <ctype.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/pg_prng.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

/* The greatest of a server's process ids anywhere. */
#define MAX_PROCESS_ID	4194304

static void
report_no_descriptor(const SmConn *conn)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not connect to \"%s\"", conn->endpoint->label),
			 errdetail("Too many files are open in this backend."),
			 errhint("Raise the server's max_files_per_process and its system's limits, or keep fewer connections.")));
}

/* The wait set is kept as long as the connection: making one costs syscalls. */
static void
make_waitset(SmConn *conn)
{
	/* others that are being made at the same time may have taken it */
	if (!sm_descriptors_left(1))
		report_no_descriptor(conn);
	conn->waitset = sm_CreateWaitEventSet(3);
	conn->waitset_events = WL_SOCKET_READABLE;
	AddWaitEventToSet(conn->waitset, WL_SOCKET_READABLE, PQsocket(conn->pg), NULL, NULL);
	AddWaitEventToSet(conn->waitset, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(conn->waitset, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
}

/* ----------
 * What the remote session is like
 *
 * Not start-up parameters: PgBouncer refuses those it does not know.
 * ----------
 */
typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

#define MAX_SETTINGS	9

static void
add_setting(Setting *settings, int *n, const char *name, const char *value)
{
	settings[*n].name = name;
	settings[*n].value = value;
	(*n)++;
}

/*
 * What sessmgr relies on: the encoding, and what the text of values depends on.
 * And a remote statement must not outlive us for long if we are killed; but not
 * every platform can look after its client, and then must do without.
 */
static int
list_settings(const SmConn *conn, Setting *settings)
{
	int			n = 0;

	add_setting(settings, &n, "client_encoding", GetDatabaseEncodingName());
	add_setting(settings, &n, "datestyle", "ISO, YMD");
	add_setting(settings, &n, "intervalstyle", "postgres");
	add_setting(settings, &n, "extra_float_digits", "3");
	add_setting(settings, &n, "bytea_output", "hex");
	add_setting(settings, &n, "array_nulls", "on");
	add_setting(settings, &n, "lc_monetary", "C");
	if (PQserverVersion(conn->pg) >= 140000 && !conn->attempt.no_client_check)
		add_setting(settings, &n, "client_connection_check_interval", "2s");
	if (conn->deadlock.backend > 0)
		add_setting(settings, &n, SM_CHAIN_SETTING, psprintf("%d", sm_chain_next()));
	return n;
}

/*
 * What puts right what statements have changed of the remote session; behind a
 * pooler, what makes it right for one transaction.
 */
List *
sm_remote_setup_commands(const SmConn *conn)
{
	Setting		settings[MAX_SETTINGS];
	int			n = list_settings(conn, settings);
	List	   *commands = NIL;

	for (int i = 0; i < n; i++)
		commands = lappend(commands,
						   psprintf("SET %s%s = '%s'",
									conn->remote.pooler == SM_BEHIND_TRANSACTION ? "LOCAL " : "",
									settings[i].name, settings[i].value));
	return commands;
}

/*
 * A name for something in the remote session that nobody else gives to
 * anything: whoever gets to another one by mistake is not to find it there.  buf
 * has room for SM_NAME_SIZE bytes; returns it.
 */
const char *
sm_remote_name(char *buf, const SmConn *conn, const char *kind, uint64 n)
{
	if (conn == NULL)
		snprintf(buf, SM_NAME_SIZE, "sessmgr_%s" UINT64_FORMAT, kind, n);
	else
		snprintf(buf, SM_NAME_SIZE, "sessmgr_%s%08x%08x_" UINT64_FORMAT, kind,
				 (uint32) (conn->remote.tag >> 32), (uint32) conn->remote.tag, n);
	return buf;
}

/*
 * Those commands, and those that make the defaults of transactions what they
 * are to be (NULL: none were among them), have been run.
 */
void
sm_remote_is_set_up(SmConn *conn, const SmSessionOptions *defaults)
{
	conn->remote.set_up = PQtransactionStatus(conn->pg) == PQTRANS_IDLE ?
		SM_SET_UP_DONE : SM_SET_UP_IN_TRANSACTION;
	if (defaults == NULL)
		return;
	conn->remote.defaults = *defaults;
	conn->remote.defaults_unknown = false;
}

/*
 * DISCARD ALL and then those commands have been run, perhaps in a transaction
 * that was begun after them and whose end may undo them.
 */
void
sm_remote_is_discarded(SmConn *conn, const SmSessionOptions *defaults)
{
	conn->remote.discard = SM_DISCARD_USEFUL;
	sm_remote_is_set_up(conn, defaults);
	conn->remote.set_up_until_rollback = conn->remote.set_up == SM_SET_UP_IN_TRANSACTION;
}

/* Has a statement changed what was set up? */
bool
sm_remote_drifted(const SmConn *conn)
{
	const char *datestyle = PQparameterStatus(conn->pg, "DateStyle");
	const char *interval = PQparameterStatus(conn->pg, "IntervalStyle");

	return PQclientEncoding(conn->pg) != conn->remote.encoding ||
		(datestyle != NULL && strncmp(datestyle, "ISO", 3) != 0) ||
		(interval != NULL && strcmp(interval, "postgres") != 0);
}

/* ----------
 * Attempts
 * ----------
 */

/* Much more than a server has to say before its first statement (bytes). */
#define MAX_BYTES_RECEIVED		(1024 * 1024)

/*
 * What the target has said so far is counted, as libpq keeps of it what it
 * pleases the target to say.  Returns how much there is to be read now, or -1.
 */
static int
hear(SmConn *conn)
{
	int			n = 0;

	if (ioctl(PQsocket(conn->pg), FIONREAD, &n) != 0)
		return -1;
	conn->attempt.bytes_received += n;
	return n;
}

/* Release what an attempt holds.  Never throws. */
static void
end_attempt(SmConn *conn)
{
	PQclear(conn->result);
	conn->result = NULL;
	PQclear(conn->error);
	conn->error = NULL;
	sm_cancel_end(conn);
	sm_cancel_learn_end(conn);
	sm_notices_forget(conn);
	free(conn->fault.fatal_message);
	conn->fault.fatal_message = NULL;
	conn->fault.violation = NULL;
	conn->fault.ending = false;
	if (conn->waitset != NULL)
		FreeWaitEventSet(conn->waitset);
	conn->waitset = NULL;
	if (conn->pg != NULL)
		PQfinish(conn->pg);
	conn->pg = NULL;
}

/*
 * A copy of libpq's message about a failed attempt.  It was asked to be verbose,
 * as that is how it tells an SQLSTATE: this is taken out ("" if there is none),
 * with what else is in it that usually is not.
 */
static char *
read_failure(const char *message, char *sqlstate)
{
	char	   *text = pchomp(message);
	char	   *line;

	sqlstate[0] = '\0';
	for (char *p = text; (p = strstr(p, ":  ")) != NULL; p++)
	{
		if (strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 ||
			strncmp(p + 8, ": ", 2) != 0)
			continue;
		memcpy(sqlstate, p + 3, 5);
		sqlstate[5] = '\0';
		memmove(p + 3, p + 10, strlen(p + 10) + 1);
		break;
	}
	if (sqlstate[0] == '\0')
		return text;

	/* the last line is where in the server's source that was */
	line = strrchr(text, '\n');
	if (line != NULL)
	{
		size_t		len = strlen(line);
		size_t		digits = 0;

		while (isdigit((unsigned char) line[len - digits - 1]))
			digits++;
		if (digits > 0 && line[len - digits - 1] == ':' && strstr(line, ":  ") != NULL)
			*line = '\0';
	}
	return text;
}

/* Begin an attempt.  False: it has failed already. */
static bool
begin_attempt(SmConn *conn, const SmTarget *target)
{
	const char *host = sm_options_keyword(target, "host");
	const char *address = sm_options_keyword(target, "hostaddr");
	const char *message;

	sm_conn_set_state(conn, SM_CONN_CONNECTING);
	conn->attempt.deadline = sm_deadline(conn->endpoint->options.connect_timeout);
	conn->attempt.bytes_received = 0;
	conn->attempt.no_client_check = conn->fault.ending = conn->not_for_reuse = false;
	conn->remote.maps_statements = conn->attempt.probing = false;
	conn->remote.pooler = SM_BEHIND_NONE;
	conn->command.syncs = 0;
	conn->cancel.pid = 0;
	conn->deadlock.backend = 0;
	conn->attempt.polling = PGRES_POLLING_WRITING;
	conn->pg = sm_libpq_start(target->keywords, target->values);
	if (conn->pg == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	PQsetNoticeReceiver(conn->pg, sm_notice_receiver, conn);
	if (PQstatus(conn->pg) != CONNECTION_BAD)
	{
		(void) PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE);
		sm_cancel_learn_start(conn);
		return true;
	}

	/* what is not about where it leads to is about how it is to be made */
	message = PQerrorMessage(conn->pg);
	conn->endpoint->unavailable |=
		strstr(message, address ? address : host ? host : ".s.PGSQL.") != NULL;
	sm_hosts_note_failure(conn->attempt.hosts, message);
	end_attempt(conn);
	return false;
}

/* Whoever has waited for a target once is not to do so again. */
static void
report_failure(SmConn *conn)
{
	if (conn->attempt.timed_out)
		conn->endpoint->unavailable = false;
	sm_report_connect_failure(conn, sm_hosts_failures(conn->attempt.hosts));
}

/* Begin the next attempt; 08001 if there is none left. */
static void
next_attempt(SmConn *conn)
{
	const SmTarget *target;

	while ((target = sm_hosts_next(conn->attempt.hosts)) != NULL)
	{
		if (begin_attempt(conn, target))
			return;
	}
	report_failure(conn);
}

/*
 * The attempt has failed for this reason.  On to the next one, if others are to
 * be tried; throws 08001 otherwise, or if there is none.
 */
static void
fail_attempt(SmConn *conn, const char *reason, bool others)
{
	sm_hosts_note_failure(conn->attempt.hosts, reason);
	end_attempt(conn);
	if (!others)
		report_failure(conn);
	next_attempt(conn);
}

static void
fail_late(SmConn *conn)
{
	conn->attempt.timed_out = true;
	fail_attempt(conn,
				 psprintf("%sNo answer within connect_timeout (%d ms).",
						  sm_hosts_label(conn->attempt.hosts),
						  conn->endpoint->options.connect_timeout),
				 true);
}

/* PQconnectPoll() has failed; that much was there to be read before. */
static void
fail_poll(SmConn *conn, ConnStatusType status, int available)
{
	char		sqlstate[6];
	char	   *reason = read_failure(PQerrorMessage(conn->pg), sqlstate);
	bool		others = status == CONNECTION_STARTED || status == CONNECTION_NEEDED;

	if (sqlstate[0] != '\0')
		others = strcmp(sqlstate, "57P03") == 0;
	else if (available == 0)
		others = true;
	conn->endpoint->unavailable |= others;
	fail_attempt(conn, reason,
				 others || (sqlstate[0] == '\0' && sm_hosts_choosy(conn->attempt.hosts)));
}

/*
 * It was connected to, and is gone before it was of use.  If it has said why, in
 * an error, that is the reason.
 */
static void
fail_set_up(SmConn *conn, PGresult *error)
{
	char	   *reason;

	reason = sm_report_cause(conn, error);
	PQclear(error);
	conn->endpoint->unavailable = true;
	fail_attempt(conn, psprintf("%s%s", sm_hosts_label(conn->attempt.hosts), reason), true);
}

/* ----------
 * The steps of a new connection: connect, check, set up
 * ----------
 */
static void
check_password_used(const SmConn *conn)
{
	if (conn->attempt.password_must_be_used && !PQconnectionUsedPassword(conn->pg))
		ereport(ERROR,
				(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
				 errmsg("password is required to connect to \"%s\"",
						conn->endpoint->label),
				 errdetail("The target did not ask for the password, so anybody on this machine could connect in its place."),
				 errhint("Change the target's authentication method, or let a superuser set password_required 'false' in the user mapping.")));
}

/*
 * The statement that sets up the session of a connection just made, and tells
 * whether it is ours: a pooler gives its clients other process ids than the
 * server's.  What is set in one that is not ours ends with the statement.
 */
static char *
setup_query(const SmConn *conn)
{
	int			mode = conn->endpoint->options.pooler;
	Setting		settings[MAX_SETTINGS];
	int			n = list_settings(conn, settings);
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT pg_catalog.pg_backend_pid()");
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(&buf, ", pg_catalog.set_config('%s', '%s', ",
						 settings[i].name, settings[i].value);
		if (mode == SM_POOLER_AUTO)
			appendStringInfo(&buf, "pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.<>) %d)",
							 PQbackendPID(conn->pg));
		else
			appendStringInfoString(&buf, mode == SM_POOLER_SESSION ? "false)" : "true)");
	}
	return buf.data;
}

/* The commands of a set-up that probes. */
enum
{
	PROBE_SET_UP,
	PROBE_PREPARE,
	PROBE_ASK,
	PROBE_CLOSE
};

/*
 * Is it worth a probe whether names of prepared statements are kept true?  Not
 * where it seems to be a server: a pooler's process ids are at random, and few
 * of them could be one.
 */
static bool
wants_probe(const SmConn *conn)
{
	int			pid = PQbackendPID(conn->pg);

	return conn->endpoint->options.pooler == SM_POOLER_TRANSACTION ||
		(conn->endpoint->options.pooler == SM_POOLER_AUTO && (pid <= 0 || pid > MAX_PROCESS_ID));
}

/*
 * Prepare a statement, look whether the server knows it by the name that we gave
 * it, and close it.  All of it is one message to the server, and nothing is left
 * behind.
 */
static bool
send_probe(SmConn *conn)
{
	char		name[SM_NAME_SIZE];
	const char *value = sm_remote_name(name, conn, "", ++conn->remote.statements);

	return PQsendPrepare(conn->pg, name, "SELECT 1", 0, NULL) &&
		PQsendQueryParams(conn->pg,
						  "SELECT FROM pg_catalog.pg_prepared_statements"
						  " WHERE name OPERATOR(pg_catalog.=) $1::pg_catalog.text",
						  1, NULL, &value, NULL, NULL, 0) &&
		sm_send_close(conn->pg, name);
}

/* False: the connection is lost, and another attempt has begun. */
static bool
send_setup(SmConn *conn)
{
	const char *sql = setup_query(conn);
	bool		sent;

	sm_remote_begin(conn, false);
	conn->remote.pooler = conn->endpoint->options.pooler == SM_POOLER_TRANSACTION ?
		SM_BEHIND_TRANSACTION : SM_BEHIND_NONE;
	conn->attempt.probing = wants_probe(conn);
	if (conn->attempt.probing)
	{
		conn->remote.maps_statements = true;	/* unless it is found there */
		sent = PQenterPipelineMode(conn->pg) &&
			PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0) &&
			send_probe(conn) && PQpipelineSync(conn->pg);
		conn->command.syncs = 1;
		conn->command.expected = PROBE_CLOSE + 1;
	}
	else
		sent = PQsendQuery(conn->pg, sql);
	if (!sent && PQstatus(conn->pg) != CONNECTION_OK)
	{
		fail_set_up(conn, NULL);
		return false;
	}
	sm_remote_sent(conn, sent, false, sql, conn->attempt.deadline);
	return true;
}

/* What a result of the set-up says. */
static void
take_setup(SmConn *conn)
{
	const PGresult *res = conn->result;
	bool		rows = PQresultStatus(res) == PGRES_TUPLES_OK ||
		PQresultStatus(res) == PGRES_SINGLE_TUPLE;

	if (!rows && PQresultStatus(res) != PGRES_COMMAND_OK)
	{
		/* where it has another name, there is nothing to close under ours */
		if (conn->command.ended == PROBE_SET_UP || conn->remote.pooler != SM_BEHIND_TRANSACTION)
			sm_remote_keep_error(conn, &conn->error);
		else if (conn->command.ended != PROBE_CLOSE)
			conn->remote.maps_statements = false;
	}
	else if (rows && PQntuples(res) > 0 && conn->command.ended == PROBE_ASK)
		conn->remote.maps_statements = false;
	else if (conn->command.ended == PROBE_SET_UP &&
			 (!rows || PQntuples(res) != 1 || PQnfields(res) < 1 || PQgetisnull(res, 0, 0)))
		sm_report_connect_failure(conn, "Its answer is none to what it was asked.");
	else if (conn->command.ended == PROBE_SET_UP &&
			 strtol(PQgetvalue(res, 0, 0), NULL, 10) != PQbackendPID(conn->pg))
		conn->remote.pooler = conn->endpoint->options.pooler == SM_POOLER_SESSION ?
			SM_BEHIND_SESSION : SM_BEHIND_TRANSACTION;
}

/* Its socket is ready: on with the handshake.  True: it is connected. */
static bool
poll_connection(SmConn *conn, int available)
{
	ConnStatusType status = PQstatus(conn->pg);

	conn->attempt.polling = sm_libpq_poll(conn->pg);
	if (conn->attempt.polling == PGRES_POLLING_FAILED)
	{
		fail_poll(conn, status, available);
		return false;
	}
	if (conn->attempt.polling != PGRES_POLLING_OK)
		return false;
	(void) PQsetErrorVerbosity(conn->pg, PQERRORS_DEFAULT);
	sm_cancel_learn_end(conn);
	check_password_used(conn);
	sm_chain_check(conn);
	if (PQsetnonblocking(conn->pg, 1) != 0)
		sm_report_connect_failure(conn, PQerrorMessage(conn->pg));
	make_waitset(conn);
	sm_conn_set_state(conn, SM_CONN_READY);
	return true;
}

/* Read what it says to being set up.  True: it is. */
static bool
read_setup(SmConn *conn)
{
	PGresult   *error;

	for (int i = 0; conn->state == SM_CONN_BUSY; i++)
	{
		if (!sm_remote_take(conn))
			return false;
		if (i > SM_MAX_UNASKED)
			sm_report_connect_failure(conn, "It answers more than it was asked.");
		if (conn->result != NULL)
			take_setup(conn);
	}
	error = conn->error;
	conn->error = NULL;
	if (conn->state != SM_CONN_READY)
	{
		fail_set_up(conn, error);
		return false;
	}
	if (error == NULL)
		return true;
	if (!conn->attempt.no_client_check)
	{
		PQclear(error);
		conn->attempt.no_client_check = true;
		(void) send_setup(conn);
		return false;
	}
	sm_remote_raise(conn, error, setup_query(conn), false);
}

static void
learn_parameters(SmConn *conn)
{
	const char *encoding = PQparameterStatus(conn->pg, "server_encoding");
	const char *datetimes = PQparameterStatus(conn->pg, "integer_datetimes");

	conn->remote.encoding = PQclientEncoding(conn->pg);
	if (conn->remote.pooler == SM_BEHIND_TRANSACTION)
	{
		/* but for what was set for the moment */
		conn->remote.encoding = GetDatabaseEncoding();
		conn->remote.set_up = SM_SET_UP_NEEDED;
	}
	else
		conn->remote.maps_statements = false;
	conn->remote.peer.integer_datetimes = (datetimes == NULL || strcmp(datetimes, "on") == 0);
	conn->remote.peer.same_major = PQserverVersion(conn->pg) / 10000 == SM_OUR_MAJOR_VERSION;
	/* a server that does not check encodings may send anything */
	conn->remote.peer.verify = GetDatabaseEncoding() != PG_SQL_ASCII &&
		(encoding == NULL || strcmp(encoding, "SQL_ASCII") == 0);
}

/* Its socket is ready: do what can be done.  True: it is READY for use. */
static bool
connect_step(SmConn *conn)
{
	int			available = hear(conn);

	if (conn->attempt.bytes_received > MAX_BYTES_RECEIVED)
	{
		fail_attempt(conn, psprintf("%sIt says more than belongs to the beginning of a connection.",
									sm_hosts_label(conn->attempt.hosts)), true);
		return false;
	}
	if (conn->state == SM_CONN_CONNECTING)
	{
		if (!poll_connection(conn, available))
			return false;
		if (!send_setup(conn))
			return false;
	}
	if (!read_setup(conn))
		return false;
	sm_hosts_free(conn->attempt.hosts);
	conn->attempt.hosts = NULL;
	sm_remote_is_set_up(conn, NULL);
	sm_notices_report(conn);
	learn_parameters(conn);
	conn->connected_at = GetCurrentTimestamp();
	return true;
}

/* Wait until the next step can be done; false: the deadline came. */
static bool
wait_for_step(SmConn *conn)
{
	long		timeout;
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (int) sm_remote_events(conn);

	if (conn->state != SM_CONN_CONNECTING)
		return sm_remote_wait_ready(conn, sm_remote_events(conn), NULL, conn->attempt.deadline);
	while ((timeout = sm_remaining(conn->attempt.deadline)) != 0)
	{
		long		round = sm_client_round(timeout);
		int			occurred;

		/* the socket may be another one after each step: a wait set for each */
		if (!sm_descriptors_left(1))
			report_no_descriptor(conn);
		occurred = WaitLatchOrSocket(MyLatch, events | (round >= 0 ? WL_TIMEOUT : 0),
									 PQsocket(conn->pg), round, sm_wait_connect);
		if (occurred & WL_LATCH_SET)
			ResetLatch(MyLatch);
		sm_client_check();
		CHECK_FOR_INTERRUPTS();
		if (occurred & WL_SOCKET_MASK)
			return true;
	}
	return false;
}

/* For those who do not wait: the deadline has come, and there is nothing new. */
static bool
attempt_is_late(const SmConn *conn)
{
	uint32		events = sm_remote_events(conn);
	struct pollfd slot = {
		.fd = PQsocket(conn->pg),
		.events = (events & WL_SOCKET_READABLE ? POLLIN : 0) |
		(events & WL_SOCKET_WRITEABLE ? POLLOUT : 0)
	};

	return sm_remaining(conn->attempt.deadline) == 0 && poll(&slot, 1, 0) == 0;
}

/*
 * Begin to make a connection, which is CONNECTING and in no list; the caller
 * owns it.  Throws 2F003 when the security rules forbid it, 53000 when
 * descriptors are out, 08001; then nothing is left of it.
 */
SmConn *
sm_remote_connect(SmEndpoint *endpoint, const SmTarget *target)
{
	SmConn	   *conn;

	sm_name_waits();
	sm_check_before_connect(target, endpoint->label);

	conn = MemoryContextAllocZero(TopMemoryContext, sizeof(SmConn));
	dlist_push_tail(&sm_connections, &conn->open_node);
	sm_conn_set_endpoint(conn, endpoint);
	conn->state = SM_CONN_CONNECTING;
	conn->attempt.password_must_be_used = sm_password_must_be_used(target);
	if (!pg_strong_random(&conn->remote.tag, sizeof(conn->remote.tag)))
		conn->remote.tag = pg_prng_uint64(&pg_global_prng_state);
	endpoint->unavailable = false;
	PG_TRY();
	{
		sm_cleanup_reserve(conn);
		/* for its socket, and what waits for it */
		if (!sm_descriptors_left(2))
			report_no_descriptor(conn);
		conn->fd_acquired = AcquireExternalFD();
		conn->attempt.hosts = sm_hosts_make(target);
		next_attempt(conn);
	}
	PG_CATCH();
	{
		sm_remote_close(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return conn;
}

/*
 * Go on with it: with wait to its end, else one step, when its socket is ready
 * for sm_remote_events() or conn->attempt.deadline has come; both may be others after
 * it.  True: it is READY.  Throws 08001 when it cannot be made, 2F003 when it
 * may not.
 */
bool
sm_remote_connect_poll(SmConn *conn, bool wait)
{
	bool		ready = false;

	do
	{
		if (wait ? !wait_for_step(conn) : attempt_is_late(conn))
			fail_late(conn);
		else
			ready = connect_step(conn);
	} while (wait && !ready);
	return ready;
}

/* Release everything a connection holds.  Never throws. */
void
sm_remote_close(SmConn *conn)
{
	dlist_delete(&conn->open_node);
	sm_cleanup_release(conn);
	end_attempt(conn);
	sm_hosts_free(conn->attempt.hosts);
	if (conn->fd_acquired)
		ReleaseExternalFD();
	if (conn->checkout.identity != NULL)
		pfree(conn->checkout.identity);
	sm_conn_set_endpoint(conn, NULL);
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
	dlist_delete(&conn->open_node);
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

	/* one that has ever more to say is not idle */
	for (int i = 0; i < SM_MAX_UNASKED; i++)
	{
		n = recv(PQsocket(conn->pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		/* it may take the server a moment from its last word to the end */
		if (n < 0)
			return (errno == EAGAIN || errno == EWOULDBLOCK) && !conn->fault.ending;
		/* at its end, libpq is to know of it, too */
		if (!PQconsumeInput(conn->pg) || n == 0)
			return false;
		/* makes libpq act on what has arrived */
		(void) PQisBusy(conn->pg);
		if (PQstatus(conn->pg) != CONNECTION_OK)
			return false;
	}
	return false;
}

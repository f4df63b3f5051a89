/*-------------------------------------------------------------------------
 *
 * remote_cancel.c
 *		Asking a server to cancel a statement, with a deadline.
 *
 * libpq 17 can send a cancel request without blocking.  In older libpq it
 * blocks without any bound while the server's postmaster does not answer, and
 * keeps the key it needs to itself.  The one public way to that key is libpq's
 * protocol trace (libpq 14): it is switched on while the connection starts,
 * into memory, and the request is then sent from here.  The request is not
 * encrypted, as PQcancel's is not.
 *
 * Nothing here throws, but for sm_cancel_learn_start() when memory is out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"
#include "src/compat.h"

#ifdef SM_ASYNC_CANCEL

void
sm_cancel_learn_start(SmConn *conn)
{
	(void) conn;
}

void
sm_cancel_learn_end(SmConn *conn)
{
	(void) conn;
}

/*
 * Send a cancel request and wait until the server has taken it, so that it
 * cannot hit a later statement.  False: it could not be delivered in time.
 */
bool
sm_cancel_send(SmConn *conn, TimestampTz deadline)
{
	PGcancelConn *cancel = PQcancelCreate(conn->pg);
	PostgresPollingStatusType poll = PGRES_POLLING_FAILED;

	if (cancel != NULL && PQcancelStart(cancel))
	{
		poll = PGRES_POLLING_WRITING;
		while (poll == PGRES_POLLING_READING || poll == PGRES_POLLING_WRITING)
		{
			if (!sm_wait_raw_quiet(PQcancelSocket(cancel),
								   poll == PGRES_POLLING_WRITING, deadline))
				break;
			poll = PQcancelPoll(cancel);
		}
	}
	PQcancelFinish(cancel);
	return poll == PGRES_POLLING_OK;
}

#else							/* !SM_ASYNC_CANCEL */

#include <sys/socket.h>
#include <unistd.h>

#include "libpq/pqcomm.h"
#include "port/pg_bswap.h"

/* Start to listen for the key; libpq must not yet have read anything. */
void
sm_cancel_learn_start(SmConn *conn)
{
	conn->trace = open_memstream(&conn->trace_text, &conn->trace_len);
	if (conn->trace == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	PQtrace(conn->pg, conn->trace);
	PQsetTraceFlags(conn->pg, PQTRACE_SUPPRESS_TIMESTAMPS);
}

/*
 * The connection is there, or given up.  Without a key (a proxy may give none)
 * statements cannot be cancelled, and connections are dropped instead.
 */
void
sm_cancel_learn_end(SmConn *conn)
{
	static const char tag[] = "\tBackendKeyData\t";
	char	   *at = NULL;

	if (conn->trace == NULL)
		return;
	PQuntrace(conn->pg);
	fclose(conn->trace);
	conn->trace = NULL;
	if (conn->trace_text == NULL)
		return;

	/* the last one: what comes before may quote anything */
	for (char *p = conn->trace_text; (p = strstr(p, tag)) != NULL; p++)
		at = p;
	if (at == NULL ||
		sscanf(at + strlen(tag), "%d %d", &conn->cancel_pid, &conn->cancel_key) != 2)
		conn->cancel_pid = 0;

	/* it has seen the password go by */
	explicit_bzero(conn->trace_text, conn->trace_len);
	free(conn->trace_text);
	conn->trace_text = NULL;
}

/* A socket connected, or connecting, to where the connection's leads. */
static pgsocket
connect_alike(PGconn *pg)
{
	struct sockaddr_storage addr;
	socklen_t	len = sizeof(addr);
	pgsocket	sock;

	if (getpeername(PQsocket(pg), (struct sockaddr *) &addr, &len) != 0)
		return PGINVALID_SOCKET;
	sock = socket(addr.ss_family, SOCK_STREAM, 0);
	if (sock == PGINVALID_SOCKET)
		return PGINVALID_SOCKET;
	if (!pg_set_noblock(sock) ||
		(connect(sock, (struct sockaddr *) &addr, len) != 0 &&
		 errno != EINPROGRESS && errno != EINTR))
	{
		close(sock);
		return PGINVALID_SOCKET;
	}
	return sock;
}

bool
sm_cancel_send(SmConn *conn, TimestampTz deadline)
{
	uint32		packet[4];
	char		byte;
	pgsocket	sock;
	bool		taken = false;

	if (conn->cancel_pid == 0)
		return false;
	sock = connect_alike(conn->pg);
	if (sock == PGINVALID_SOCKET)
		return false;

	packet[0] = pg_hton32(sizeof(packet));
	packet[1] = pg_hton32(CANCEL_REQUEST_CODE);
	packet[2] = pg_hton32((uint32) conn->cancel_pid);
	packet[3] = pg_hton32((uint32) conn->cancel_key);

	/* the server closes the connection when the request has been carried out */
	if (sm_wait_raw_quiet(sock, true, deadline) &&
		send(sock, packet, sizeof(packet), MSG_NOSIGNAL) == sizeof(packet) &&
		sm_wait_raw_quiet(sock, false, deadline))
		taken = recv(sock, &byte, 1, MSG_DONTWAIT) == 0;
	close(sock);
	return taken;
}

#endif							/* SM_ASYNC_CANCEL */

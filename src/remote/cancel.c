/*-------------------------------------------------------------------------
 *
 * cancel.c
 *		Asking a server to cancel a statement, in steps that do not wait.
 *
 * sm_cancel_start() begins a request; false: it could not, and the server has
 * not heard of it.  While its state is WRITING or READING, sm_cancel_poll() is
 * to be called whenever its socket is ready for that.  It is TAKEN when it can
 * no longer hit a later statement.  sm_cancel_end() releases what it holds, at
 * any time and as often as one likes.
 *
 * libpq 17 can send a cancel request without blocking.  In older libpq it
 * blocks without any bound while the server's postmaster does not answer, and
 * keeps the key it needs to itself.  The one public way to that key is libpq's
 * protocol trace (libpq 14): it is switched on while the connection starts, and
 * the request is then sent from here.  Of the trace, which grows as the server
 * likes and has the password in it, nothing is kept but the line being written.  The request is not
 * encrypted, as PQcancel's is not.
 *
 * A server ignores a request that comes while it waits for the next message,
 * as before a statement that is still on its way.  So one has to ask again, until
 * the statement has ended (sm_cancel_patience()).
 *
 * Nothing here throws, but for sm_cancel_learn_start() when memory is out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

/* How long a statement may take to end before it is canceled again (ms). */
#define CANCEL_AGAIN_AFTER	500

/* Until when to wait for the end of what is canceled now, before asking again. */
TimestampTz
sm_cancel_patience(TimestampTz deadline)
{
	return Min(deadline, sm_deadline(CANCEL_AGAIN_AFTER));
}

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

bool
sm_cancel_start(SmConn *conn)
{
	Assert(conn->cancel.request == NULL);
	conn->cancel.request = PQcancelCreate(conn->pg);
	if (conn->cancel.request == NULL || !PQcancelStart(conn->cancel.request))
	{
		sm_cancel_end(conn);
		return false;
	}
	conn->cancel.state = SM_CANCEL_WRITING;
	return true;
}

pgsocket
sm_cancel_socket(const SmConn *conn)
{
	return PQcancelSocket(conn->cancel.request);
}

void
sm_cancel_poll(SmConn *conn)
{
	switch (PQcancelPoll(conn->cancel.request))
	{
		case PGRES_POLLING_READING:
			conn->cancel.state = SM_CANCEL_READING;
			break;
		case PGRES_POLLING_WRITING:
			conn->cancel.state = SM_CANCEL_WRITING;
			break;
		case PGRES_POLLING_OK:
			conn->cancel.state = SM_CANCEL_TAKEN;
			break;
		default:
			conn->cancel.state = SM_CANCEL_FAILED;
			break;
	}
}

void
sm_cancel_end(SmConn *conn)
{
	PQcancelFinish(conn->cancel.request);
	conn->cancel.request = NULL;
	conn->cancel.state = SM_CANCEL_NONE;
}

#else							/* !SM_ASYNC_CANCEL */

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/ip.h"
#include "libpq/pqcomm.h"
#include "port/pg_bswap.h"

/* A line of the trace: is it the key? */
static void
learn_from_line(SmConn *conn)
{
	static const char tag[] = "\tBackendKeyData\t";
	char	   *at;

	conn->cancel.trace_line[conn->cancel.trace_used] = '\0';
	at = strstr(conn->cancel.trace_line, tag);
	/* the last one counts: what comes before may quote anything */
	if (at != NULL &&
		sscanf(at + strlen(tag), "%d %d", &conn->cancel.pid, &conn->cancel.key) != 2)
		conn->cancel.pid = 0;
}

/* What the trace is written to.  Of a line that is too long, the rest is lost. */
static ssize_t
take_trace(void *cookie, const char *data, size_t n)
{
	SmConn	   *conn = cookie;

	for (size_t i = 0; i < n; i++)
	{
		if (data[i] == '\n')
		{
			learn_from_line(conn);
			conn->cancel.trace_used = 0;
		}
		else if (conn->cancel.trace_used < (int) sizeof(conn->cancel.trace_line) - 1)
			conn->cancel.trace_line[conn->cancel.trace_used++] = data[i];
	}
	return (ssize_t) n;
}

#ifdef __APPLE__
static int
take_trace_int(void *cookie, const char *data, int n)
{
	return (int) take_trace(cookie, data, (size_t) n);
}

#define open_trace(conn) funopen((conn), NULL, take_trace_int, NULL, NULL)
#else
#define open_trace(conn) \
	fopencookie((conn), "w", (cookie_io_functions_t) {.write = take_trace})
#endif

/* Start to listen for the key; libpq must not yet have read anything. */
void
sm_cancel_learn_start(SmConn *conn)
{
	conn->cancel.trace_used = 0;
	conn->cancel.trace = open_trace(conn);
	if (conn->cancel.trace == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	/* in a buffer of the stream something would stay behind */
	setvbuf(conn->cancel.trace, NULL, _IONBF, 0);
	PQtrace(conn->pg, conn->cancel.trace);
	PQsetTraceFlags(conn->pg, PQTRACE_SUPPRESS_TIMESTAMPS);
}

/*
 * The connection is there, or given up.  Without a key (a proxy may give none)
 * statements cannot be canceled, and connections are dropped instead.
 */
void
sm_cancel_learn_end(SmConn *conn)
{
	if (conn->cancel.trace == NULL)
		return;
	PQuntrace(conn->pg);
	fclose(conn->cancel.trace);
	conn->cancel.trace = NULL;
	/* it has seen the password go by */
	explicit_bzero(conn->cancel.trace_line, sizeof(conn->cancel.trace_line));
}

/*
 * Where the connection was made to.  Of a Unix socket the name of the other end
 * is what the server called it, which need not lead there from here: that its
 * directory is mounted elsewhere, or was renamed, is known to libpq alone.
 */
static bool
get_address(PGconn *pg, struct sockaddr_storage *addr, socklen_t *len)
{
	struct addrinfo hint = {.ai_family = AF_UNIX,.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	const char *port = PQport(pg);
	char		path[MAXPGPATH];
	bool		ok;

	*len = sizeof(*addr);
	if (getpeername(PQsocket(pg), (struct sockaddr *) addr, len) != 0)
		return false;
	if (addr->ss_family != AF_UNIX)
		return true;

	snprintf(path, sizeof(path), "%s/.s.PGSQL.%s", PQhost(pg), *port ? port : DEF_PGPORT_STR);
	ok = pg_getaddrinfo_all(NULL, path, &hint, &found) == 0;
	if (ok)
	{
		memcpy(addr, found->ai_addr, found->ai_addrlen);
		*len = found->ai_addrlen;
	}
	if (found != NULL)
		pg_freeaddrinfo_all(AF_UNIX, found);
	return ok;
}

/* A socket connected, or connecting, to where the connection's leads. */
static pgsocket
connect_alike(PGconn *pg)
{
	struct sockaddr_storage addr;
	socklen_t	len;
	pgsocket	sock;

	if (!get_address(pg, &addr, &len))
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
sm_cancel_start(SmConn *conn)
{
	Assert(conn->cancel.state == SM_CANCEL_NONE);
	if (conn->cancel.pid == 0)
		return false;
	conn->cancel.socket = connect_alike(conn->pg);
	if (conn->cancel.socket == PGINVALID_SOCKET)
		return false;
	conn->cancel.state = SM_CANCEL_WRITING;
	return true;
}

pgsocket
sm_cancel_socket(const SmConn *conn)
{
	return conn->cancel.socket;
}

void
sm_cancel_poll(SmConn *conn)
{
	uint32		packet[4];
	char		byte;
	ssize_t		n;

	if (conn->cancel.state == SM_CANCEL_WRITING)
	{
		packet[0] = pg_hton32(sizeof(packet));
		packet[1] = pg_hton32(CANCEL_REQUEST_CODE);
		packet[2] = pg_hton32((uint32) conn->cancel.pid);
		packet[3] = pg_hton32((uint32) conn->cancel.key);
		n = send(conn->cancel.socket, packet, sizeof(packet), MSG_NOSIGNAL);
		conn->cancel.state = (n == sizeof(packet)) ? SM_CANCEL_READING : SM_CANCEL_FAILED;
		return;
	}

	/* the server closes the connection when the request has been carried out */
	n = recv(conn->cancel.socket, &byte, 1, MSG_DONTWAIT);
	if (n == 0)
		conn->cancel.state = SM_CANCEL_TAKEN;
	else if (n > 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		conn->cancel.state = SM_CANCEL_FAILED;
}

void
sm_cancel_end(SmConn *conn)
{
	if (conn->cancel.state != SM_CANCEL_NONE)
		close(conn->cancel.socket);
	conn->cancel.state = SM_CANCEL_NONE;
}

#endif							/* SM_ASYNC_CANCEL */

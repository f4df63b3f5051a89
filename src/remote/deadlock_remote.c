/*-------------------------------------------------------------------------
 *
 * deadlock_remote.c
 *		Deadlocks between connections of this backend on another cluster.
 *
 * A connection to another cluster may wait there for what a second one of this
 * backend has locked, which does nothing before we go on, and we wait for the
 * first.  The server there sees no deadlock, since its part of the cycle has an
 * end.  So during a wait that lasts longer than deadlock_timeout it is asked, by
 * a third connection, for whom the first one's backend waits, directly or
 * through others.
 *
 * That connection is made with what the first one was made with, to the very
 * address that this is connected to.  It has no part in the pool, but is not
 * made where the pool has no place for one more.  It is made and read in steps
 * that never wait; whoever waits comes by again soon (sm_deadlock_wait()).  There
 * is one at a time, it ends with the wait, and whatever goes wrong with it only
 * means that nothing is found.
 *
 * Invariants:
 * - Only process ids that the server itself has confirmed are compared: behind
 *	 a pooler nothing is asked.
 * - Two connections lead to one server if they are connected to the same address,
 *	 or if both find the same start of its postmaster (to the microsecond).
 * - What is read edge by edge need not have been there at one time.  But the end
 *	 of the chain stands still, and so does all that is once seen to wait for it.
 *	 So two answers in a row must say the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "storage/fd.h"

/* How often a connection that waits is asked about. */
#define ASK_EVERY_MS	500

/* How long connecting, or an answer, may take, and what may be said in it. */
#define ASK_FOR_MS		5000
#define MAX_ROWS		1000
#define MAX_STEPS		10		/* of connecting, without a look at anything
								 * else */

/* An answer that is older says nothing about now. */
#define TRUE_FOR_MS		1500

typedef enum AskStep
{
	ASK_CONNECTING,
	ASK_READY,
	ASK_WAITING					/* for the answer */
} AskStep;

/* A connection that asks. */
typedef struct Asker
{
	PGconn	   *pg;				/* or NULL: there is none */
	AskStep		step;
	PostgresPollingStatusType polling;
	TimestampTz deadline;		/* of the step */
	const SmEndpoint *endpoint; /* of the connection that it was made for */
	struct sockaddr_storage peer;	/* where that is connected to */
	int			pid;			/* the backend that it is asked about */
	uint64		statement;		/* and that one's statement */
	int64		server;			/* the start of the postmaster, or 0 */
	PGresult   *answer;			/* while its end is not read, or NULL */
	bool		password_must_be_used;
} Asker;

/* about those who wait, and about the server of those who may block them */
static Asker waiters = {0};
static Asker blockers = {0};

/* ----------
 * Connections
 * ----------
 */
static bool
get_peer(const SmConn *conn, struct sockaddr_storage *peer)
{
	socklen_t	len = sizeof(*peer);

	memset(peer, 0, sizeof(*peer));
	return getpeername(PQsocket(conn->pg), (struct sockaddr *) peer, &len) == 0;
}

static bool
same_peer(const SmConn *conn, const struct sockaddr_storage *peer)
{
	struct sockaddr_storage other;

	return get_peer(conn, &other) && memcmp(&other, peer, sizeof(other)) == 0;
}

/* Is it connected to another cluster, and known which process it has there? */
static bool
is_known_answer(const SmConn *conn)
{
	return conn->pg != NULL && conn->connected_at != 0 && conn->deadlock.backend < 0 &&
		conn->remote.pooler == SM_BEHIND_NONE && PQbackendPID(conn->pg) > 0 &&
		conn->state != SM_CONN_DEAD;
}

/*
 * Does its backend do nothing before we do?  *reading: only if it waits for its
 * client there, too.
 */
static bool
answer_stands(SmConn *conn, bool *reading)
{
	PGTransactionStatusType status = PQtransactionStatus(conn->pg);

	*reading = false;
	if (status == PQTRANS_INTRANS || status == PQTRANS_INERROR)
		return true;
	if (status == PQTRANS_IDLE)
		return sm_remote_alive(conn);
	*reading = conn->checkout.unreceived || !dlist_is_empty(&conn->streams.open);
	return *reading;
}

/* ----------
 * Who may block it
 * ----------
 */
/* Connections of this backend that may have locked something, and stand still. */
static List *
candidates(SmConn *waited)
{
	List	   *list = NIL;
	struct sockaddr_storage peer;
	dlist_iter	iter;

	if (!get_peer(waited, &peer))
		return NIL;
	dlist_foreach(iter, &sm_connections)
	{
		SmConn	   *conn = dlist_container(SmConn, open_node, iter.cur);
		bool		reading;

		if (conn == waited || conn->pg == NULL)
			continue;

		/*
		 * what an idle one has locked is rare: nobody is asked far away for
		 * that
		 */
		if (is_known_answer(conn) && answer_stands(conn, &reading) &&
			(conn->state != SM_CONN_IDLE || same_peer(conn, &peer)))
			list = lappend(list, conn);
	}
	return list;
}

/* ----------
 * Asking
 * ----------
 */
static void
close_asker(Asker *asker)
{
	if (asker->pg == NULL)
		return;
	PQclear(asker->answer);
	PQfinish(asker->pg);
	ReleaseExternalFD();
	memset(asker, 0, sizeof(*asker));
}

/* libpq's notices: nobody is to see these. */
static void
ignore_notice(void *arg, const PGresult *res)
{
	(void) arg;
	(void) res;
}

static bool
pool_has_capacity(const SmEndpoint *endpoint)
{
	const SmEngineOptions *options = &endpoint->options;

	return options->max_overflow < 0 ||
		endpoint->connections < options->pool_size + options->max_overflow;
}

/*
 * Begin to connect to where this one is connected to, as it was.  libpq neither
 * looks for a name nor chooses among hosts then.
 */
static void
connect_like(Asker *asker, const SmConn *conn)
{
	PQconninfoOption *options;
	const char **keywords;
	const char **values;
	int			n = 0;

	if (!pool_has_capacity(conn->endpoint) || !get_peer(conn, &asker->peer) || !AcquireExternalFD())
		return;
	options = PQconninfo(conn->pg);
	if (options == NULL)
	{
		ReleaseExternalFD();
		return;
	}
	while (options[n].keyword != NULL)
		n++;
	keywords = palloc0((n + 1) * sizeof(char *));
	values = palloc0((n + 1) * sizeof(char *));
	n = 0;
	for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
	{
		const char *value = option->val;

		if (strcmp(option->keyword, "host") == 0)
			value = PQhost(conn->pg);
		else if (strcmp(option->keyword, "hostaddr") == 0)
			value = asker->peer.ss_family == AF_UNIX ? NULL : PQhostaddr(conn->pg);
		else if (strcmp(option->keyword, "port") == 0)
			value = PQport(conn->pg);
		else if (strcmp(option->keyword, "target_session_attrs") == 0 ||
				 strcmp(option->keyword, "load_balance_hosts") == 0 ||
				 strcmp(option->keyword, "service") == 0)
			value = NULL;
		if (value == NULL || value[0] == '\0')
			continue;
		keywords[n] = option->keyword;
		values[n++] = value;
	}
	asker->pg = sm_libpq_start(keywords, values);
	PQconninfoFree(options);
	pfree(keywords);
	pfree(values);
	if (asker->pg == NULL)
	{
		ReleaseExternalFD();
		return;
	}
	PQsetNoticeReceiver(asker->pg, ignore_notice, NULL);
	asker->endpoint = conn->endpoint;
	asker->password_must_be_used = conn->attempt.password_must_be_used;
	asker->step = ASK_CONNECTING;
	asker->polling = PGRES_POLLING_WRITING;
	asker->deadline = sm_deadline(ASK_FOR_MS);
	if (PQstatus(asker->pg) == CONNECTION_BAD)
		close_asker(asker);
}

/* Is its socket ready for the next step? */
static bool
socket_ready(const Asker *asker)
{
	struct pollfd fd = {.fd = PQsocket(asker->pg)};

	fd.events = asker->step == ASK_CONNECTING && asker->polling == PGRES_POLLING_WRITING ?
		POLLOUT : POLLIN;
	return poll(&fd, 1, 0) > 0;
}

/* Go on until it would have to wait; closed if it fails, or takes too long. */
static void
poll_once(Asker *asker)
{
	for (int i = 0; i < MAX_STEPS && asker->step == ASK_CONNECTING && socket_ready(asker); i++)
	{
		asker->polling = sm_libpq_poll(asker->pg);
		if (asker->polling == PGRES_POLLING_OK)
			asker->step = ASK_READY;
		if (asker->polling == PGRES_POLLING_FAILED ||
			(asker->polling == PGRES_POLLING_OK &&
			 ((asker->password_must_be_used && !PQconnectionUsedPassword(asker->pg)) ||
			  PQsetnonblocking(asker->pg, 1) != 0)))
		{
			close_asker(asker);
			return;
		}
	}
	if (asker->step == ASK_READY)
		return;
	if (sm_remaining(asker->deadline) == 0 ||
		(asker->step == ASK_WAITING &&
		 (PQflush(asker->pg) < 0 || !PQconsumeInput(asker->pg))))
		close_asker(asker);
}

/*
 * Ask for whom this backend waits in the end among these, and when the server
 * was started.  That backend must be there, and of our role and database.
 */
static void
ask(Asker *asker, int pid, const List *blocking)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "WITH RECURSIVE chain (pid) AS (SELECT %d UNION SELECT u.pid FROM chain,"
					 " LATERAL pg_catalog.unnest(pg_catalog.array_cat("
					 "pg_catalog.pg_blocking_pids(chain.pid),"
					 " pg_catalog.pg_safe_snapshot_blocking_pids(chain.pid))) AS u (pid))"
					 " SELECT (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())"
					 " OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8)::pg_catalog.int8,"
					 " c.pid, (SELECT a.wait_event_type FROM pg_catalog.pg_stat_activity a"
					 " WHERE a.pid OPERATOR(pg_catalog.=) c.pid)"
					 " FROM (SELECT NULL::pg_catalog.int4 AS pid UNION ALL SELECT pid FROM chain) c"
					 " WHERE (c.pid IS NULL OR c.pid OPERATOR(pg_catalog.=) ANY ('{0",
					 pid);
	foreach(lc, blocking)
		appendStringInfo(&sql, ",%d", PQbackendPID(((SmConn *) lfirst(lc))->pg));
	appendStringInfo(&sql,
					 "}'::pg_catalog.int4[])) AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity a"
					 " WHERE a.pid OPERATOR(pg_catalog.=) %d"
					 " AND a.usename OPERATOR(pg_catalog.=) SESSION_USER"
					 " AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
					 pid);
	asker->pid = pid;
	asker->deadline = sm_deadline(ASK_FOR_MS);
	asker->step = ASK_WAITING;
	if (!PQsendQuery(asker->pg, sql.data))
		close_asker(asker);
	pfree(sql.data);
}

/* Its answer, to be freed by the caller, if it is there; else NULL. */
static PGresult *
take_answer(Asker *asker)
{
	PGresult   *answer;

	if (asker->pg != NULL)
		poll_once(asker);
	/* libpq would wait for the rest */
	while (asker->pg != NULL && asker->step == ASK_WAITING)
	{
		PGresult   *res;

		if (PQisBusy(asker->pg))
			return NULL;
		res = PQgetResult(asker->pg);
		if (res == NULL && asker->answer != NULL)
			asker->step = ASK_READY;
		else if (asker->answer == NULL && PQresultStatus(res) == PGRES_TUPLES_OK &&
				 PQntuples(res) <= MAX_ROWS && PQnfields(res) == 3)
			asker->answer = res;
		else
		{
			PQclear(res);
			close_asker(asker);
		}
	}
	if (asker->pg == NULL || asker->answer == NULL)
		return NULL;
	answer = asker->answer;
	asker->answer = NULL;
	if (PQntuples(answer) > 0)
		asker->server = strtoll(PQgetvalue(answer, 0, 0), NULL, 10);
	return answer;
}

/* Get one that can be asked at the server of this connection; false: not yet, or never. */
static bool
ready_for(Asker *asker, const SmConn *conn, bool *pending)
{
	if (asker->pg != NULL && (asker->endpoint != conn->endpoint || !same_peer(conn, &asker->peer)))
	{
		/* it is busy with another one, whose turn ends soon */
		if (asker->step != ASK_READY)
		{
			poll_once(asker);
			*pending |= asker->pg != NULL;
			return false;
		}
		close_asker(asker);
	}
	if (asker->pg == NULL)
		connect_like(asker, conn);
	if (asker->pg != NULL)
		poll_once(asker);
	*pending |= asker->pg != NULL && asker->step != ASK_READY;
	return asker->pg != NULL && asker->step == ASK_READY;
}

/* ----------
 * Answers
 * ----------
 */

/* Does this connection lead to the server that has answered about another one? */
static bool
same_server(SmConn *conn, const Asker *answered, bool *pending)
{
	PGresult   *answer;
	int			pid = PQbackendPID(conn->pg);

	if (same_peer(conn, &answered->peer))
		return true;
	answer = take_answer(&blockers);
	PQclear(answer);
	if (blockers.pg != NULL && blockers.step == ASK_READY && blockers.server != 0 &&
		blockers.pid == pid && blockers.endpoint == conn->endpoint &&
		same_peer(conn, &blockers.peer))
		return blockers.server == answered->server;
	if (blockers.pg != NULL && blockers.step == ASK_WAITING)
		*pending = true;
	else if (ready_for(&blockers, conn, pending))
	{
		blockers.server = 0;
		ask(&blockers, pid, NIL);
		*pending = true;
	}
	return false;
}

/* Whose end of the chain is it?  NULL: none of ours, as far as is known. */
static SmConn *
find_blocker(const PGresult *answer, const List *list, bool *pending)
{
	for (int i = 0; i < PQntuples(answer); i++)
	{
		ListCell   *lc;

		if (PQgetisnull(answer, i, 1))
			continue;
		foreach(lc, list)
		{
			SmConn	   *conn = lfirst(lc);
			bool		reading;

			if (PQbackendPID(conn->pg) != atoi(PQgetvalue(answer, i, 1)) ||
				!answer_stands(conn, &reading))
				continue;
			if (reading && strcmp(PQgetvalue(answer, i, 2), "Client") != 0)
				continue;
			if (same_server(conn, &waiters, pending))
				return conn;
		}
	}
	return NULL;
}

static char *
in_words(const SmConn *conn)
{
	return psprintf(_("Process %d there waits, directly or through others, for process %d, which is that of another connection of this backend, and waits for its next statement."),
					PQbackendPID(conn->pg), conn->deadlock.blocker);
}

/*
 * Does a connection to another cluster wait for one of ours, as far as is known
 * by now?  The detail for the report, or NULL.  *pending: it has been asked, and
 * will be known soon.
 */
char *
sm_deadlock_ask(SmConn *conn, bool *pending)
{
	TimestampTz now = GetCurrentTimestamp();
	int			pid = PQbackendPID(conn->pg);
	List	   *list;
	PGresult   *answer = NULL;

	if (!is_known_answer(conn))
		return NULL;
	if (conn->deadlock.asked_for != conn->statements)
	{
		/* what was said of an earlier statement is not true of this one */
		conn->deadlock.asked_for = conn->statements;
		conn->deadlock.asked_at = 0;
		conn->deadlock.blocker = 0;
		conn->deadlock.blocked = false;
	}
	list = candidates(conn);
	if (list == NIL)
		return NULL;
	if (waiters.pg != NULL && waiters.pid == pid && waiters.endpoint == conn->endpoint &&
		waiters.statement == conn->statements && waiters.step == ASK_WAITING)
	{
		answer = take_answer(&waiters);
		if (answer == NULL)
		{
			*pending |= waiters.pg != NULL;
			return NULL;
		}
	}
	if (answer != NULL)
	{
		bool		verifying = false;
		SmConn	   *blocker = find_blocker(answer, list, &verifying);
		int			found = blocker != NULL ? PQbackendPID(blocker->pg) : 0;
		bool		again = found != 0 && found != conn->deadlock.blocker;

		PQclear(answer);
		conn->deadlock.blocked = found != 0 && !again;
		conn->deadlock.blocker = found;
		conn->deadlock.asked_at = now;
		if (conn->deadlock.blocked)
			return in_words(conn);
		*pending |= verifying;
		if (!again && !verifying)
			return NULL;
	}
	else if (conn->deadlock.blocked &&
			 !TimestampDifferenceExceeds(conn->deadlock.asked_at, now, TRUE_FOR_MS))
		return in_words(conn);
	else if (!TimestampDifferenceExceeds(conn->deadlock.asked_at, now, ASK_EVERY_MS))
		return NULL;
	if (ready_for(&waiters, conn, pending))
	{
		ask(&waiters, pid, list);
		waiters.statement = conn->statements;
		*pending |= waiters.pg != NULL;
	}
	else if (waiters.pg == NULL)
		conn->deadlock.asked_at = now;
	return NULL;
}

/* The wait is over, or an error has ended it.  Never throws. */
void
sm_deadlock_ask_end(void)
{
	close_asker(&waiters);
	close_asker(&blockers);
}

/* In a forked child: give up our copies, and leave the parent's sessions alone. */
void
sm_deadlock_ask_abandon(void)
{
	if (waiters.pg != NULL)
		close(PQsocket(waiters.pg));
	if (blockers.pg != NULL)
		close(PQsocket(blockers.pg));
	memset(&waiters, 0, sizeof(waiters));
	memset(&blockers, 0, sizeof(blockers));
}

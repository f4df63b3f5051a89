/*-------------------------------------------------------------------------
 *
 * deadlock.c
 *		The deadlock check: deadlocks that run through a connection to this same
 *		cluster; those on another one are deadlock_remote.c's.
 *
 * A backend that waits for a connection waits on a socket, which the server's
 * own deadlock detector cannot see.  So a wait that lasts longer than
 * deadlock_timeout is checked here, and again twice a second.  If the backend
 * at the other end is one of this cluster's and waits for another one, and that
 * one waits in the end for this backend, it is a deadlock, and ends with 40P01.
 *
 * What waits for whom:
 * - a backend for another one by a lock, or for a safe snapshot: the server
 *	 says so;
 * - a backend for that of its connection (EDGE_WAITS), and one that is idle, in
 *	 a transaction or a pool, for the backend whose connection it is (EDGE_OWNED):
 *	 only the backend that has the connections knows.  While it waits it publishes
 *	 this by holding advisory locks that no SQL function can take.  They belong to
 *	 the transaction, so that no way out leaves them behind.
 *
 * Invariants:
 * - A backend is known to be of this cluster by its socket, never by its process
 *	 id alone.
 * - Edges that are read one after the other need not be true together.  So a
 *	 cycle is read once more, backwards from this backend: it stands still
 *	 here; then who waits for it stands still, and so on.
 * - One deadlock has one victim: it withdraws what it has published while it
 *	 holds a lock that all who check for a cycle need.
 * - Whatever is done here is done while a command is on the wire.  The caller
 *	 cleans the command up if it throws.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "libpq/pqcomm.h"
#include "pgstat.h"
#include "postmaster/postmaster.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/fmgrprotos.h"

#define CHECK_EVERY_MS	500
#define ASK_STEP_MS		20		/* between the steps of asking another cluster */

/* The fourth field of our locks' tags; SQL's functions use 1 and 2. */
#define LOCK_CLASS		0x5353

/* The second field: what the lock says of the process in the third. */
#define EDGE_WAITS		1		/* its holder waits for that process */
#define EDGE_OWNED		2		/* that process waits for the holder */
#define LOCK_VERDICT	3		/* the holder finds out if it is the victim */

/* What backends have published. */
typedef struct Edge
{
	int			kind;
	int			from;
	int			to;
} Edge;

typedef struct Edges
{
	LockData   *locks;
	Edge	   *edges;
	int			n;
} Edges;

/* One end of a TCP connection. */
typedef struct Endpoint
{
	sa_family_t family;
	in_port_t	port;			/* in network order */
	struct in6_addr addr;		/* or an IPv4 address, and zeros */
} Endpoint;

static const char message[] = gettext_noop("deadlock detected while waiting for \"%s\"");

/* ----------
 * Whose backend is it?
 * ----------
 */

/* Is this cluster's postmaster what listens at the other end? */
static bool
is_our_postmaster(int sock)
{
#ifdef __linux__
	struct ucred peer;
	socklen_t	len = sizeof(peer);

	/* for the end that connected, these are the credentials of listen() */
	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
		len == sizeof(peer) && peer.pid == PostmasterPid;
#else
	(void) sock;
	return false;
#endif
}

/* False if it is not of TCP. */
static bool
get_endpoint(const struct sockaddr_storage *addr, Endpoint *end)
{
	memset(end, 0, sizeof(*end));
	end->family = addr->ss_family;
	if (addr->ss_family == AF_INET)
	{
		const struct sockaddr_in *in = (const struct sockaddr_in *) addr;

		end->port = in->sin_port;
		memcpy(&end->addr, &in->sin_addr, sizeof(in->sin_addr));
		return true;
	}
	if (addr->ss_family == AF_INET6)
	{
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) addr;

		end->port = in6->sin6_port;
		end->addr = in6->sin6_addr;
		return true;
	}
	return false;
}

static bool
same_address(const Endpoint *a, const Endpoint *b)
{
	return a->family == b->family && memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0;
}

/* Does this backend of ours serve the client at that end? */
static bool
serves(int pid, const Endpoint *client)
{
	int			n;

	/* what the transaction has seen before may be older than the connection */
	pgstat_clear_backend_activity_snapshot();
	n = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= n; i++)
	{
		const PgBackendStatus *status = &sm_local_beentry(i)->backendStatus;
		Endpoint	end;

		if (status->st_procpid == pid)
			return get_endpoint(&status->st_clientaddr.addr, &end) &&
				same_address(&end, client) && end.port == client->port;
	}
	return false;
}

/*
 * Is the connection's server this cluster, and which process is it?  A
 * connection by TCP must go from an address to the same one, so that it does
 * not leave this machine, and to our port, and the backend must be connected to
 * its other end.  A pooler or proxy between them is not seen through.
 */
static int
backend_of(const SmConn *conn)
{
	struct sockaddr_storage here = {0};
	struct sockaddr_storage there = {0};
	socklen_t	here_len = sizeof(here);
	socklen_t	there_len = sizeof(there);
	int			sock = PQsocket(conn->pg);
	int			pid = PQbackendPID(conn->pg);
	Endpoint	local;
	Endpoint	peer;

	if (!IsUnderPostmaster || pid <= 0 || conn->remote.pooler != SM_BEHIND_NONE ||
		getsockname(sock, (struct sockaddr *) &here, &here_len) != 0 ||
		getpeername(sock, (struct sockaddr *) &there, &there_len) != 0)
		return -1;
	if (there.ss_family == AF_UNIX)
		return is_our_postmaster(sock) ? pid : -1;
	if (get_endpoint(&here, &local) && get_endpoint(&there, &peer) &&
		same_address(&local, &peer) && peer.port == htons(PostPortNumber) &&
		serves(pid, &local))
		return pid;
	return -1;
}

static void
identify(SmConn *conn)
{
	if (conn->deadlock.backend == 0)
		conn->deadlock.backend = backend_of(conn);
}

/* Does the connection lead to a backend of this cluster, with nobody between? */
bool
sm_is_of_this_cluster(SmConn *conn)
{
	identify(conn);
	return conn->deadlock.backend > 0;
}

/* ----------
 * Who waits for whom
 * ----------
 */
static void
set_tag(LOCKTAG *tag, int kind, int pid)
{
	SET_LOCKTAG_ADVISORY(*tag, 0, (uint32) kind, (uint32) pid, LOCK_CLASS);
}

/* Without waiting, or an error when the lock table is full. */
static bool
take_lock(int kind, int pid)
{
	LOCKTAG		tag;

	set_tag(&tag, kind, pid);
	return sm_LockAcquireQuietly(&tag, ExclusiveLock) != LOCKACQUIRE_NOT_AVAIL;
}

static void
release_lock(int kind, int pid)
{
	LOCKTAG		tag;

	set_tag(&tag, kind, pid);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/*
 * Does a connection's backend do nothing before we do?  It does not between two
 * statements, of a transaction or not (its session may have kept locks), nor when
 * it has rows of a stream, or of what was sent and is not received, for us that
 * we do not take, or has sent them.
 */
static bool
stands_still(SmConn *conn)
{
	PGTransactionStatusType status = PQtransactionStatus(conn->pg);
	bool		between = status == PQTRANS_INTRANS || status == PQTRANS_INERROR ||
		(status == PQTRANS_IDLE && sm_remote_alive(conn));
	const PGPROC *proc;

	if (!between && !conn->checkout.unreceived && dlist_is_empty(&conn->streams.open))
		return false;
	identify(conn);
	if (conn->deadlock.backend <= 0)
		return false;
	if (between)
		return true;
	proc = BackendPidGetProc(conn->deadlock.backend);
	return proc != NULL && (proc->wait_event_info == WAIT_EVENT_CLIENT_READ ||
							proc->wait_event_info == WAIT_EVENT_CLIENT_WRITE);
}

/*
 * Publish it, unless it is published.  The watch remembers it, as the connection
 * may be gone before the watch ends.
 */
static void
publish_edge(int kind, int pid, List **published)
{
	MemoryContext old;

	if (list_member_int(*published, pid) || !take_lock(kind, pid))
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	*published = lappend_int(*published, pid);
	MemoryContextSwitchTo(old);
}

static bool
is_connected(const SmConn *conn)
{
	return conn->pg != NULL && conn->connected_at != 0;
}

static void
publish_one(SmConn *conn, const SmConn *waited, SmWatch *watch)
{
	if (!is_connected(conn))
		return;
	identify(conn);
	if (conn->deadlock.backend <= 0)
		return;
	if (conn == waited || conn->checkout.awaited)
		publish_edge(EDGE_WAITS, conn->deadlock.backend, &watch->waits);
	if (conn != waited && stands_still(conn))
		publish_edge(EDGE_OWNED, conn->deadlock.backend, &watch->owned);
}

/*
 * Let others know that we wait for this connection (NULL: for none in
 * particular), and for all that are awaited, and that all others of ours that
 * may have locks wait for us, as far as they do so by now.  Whoever is left out
 * for want of room is not seen by others, but sees them.
 */
static void
publish(const SmConn *waited, SmWatch *watch)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sm_connections)
		publish_one(dlist_container(SmConn, open_node, iter.cur), waited, watch);
}

/* What is published, and all locks, as they were at one moment. */
static void
read_edges(Edges *edges)
{
	LockData   *locks = GetLockStatusData();

	edges->locks = locks;
	edges->edges = palloc(Max(locks->nelements, 1) * sizeof(Edge));
	edges->n = 0;
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];
		const LOCKTAG *tag = &lock->locktag;
		Edge	   *edge = &edges->edges[edges->n];

		if (tag->locktag_type != LOCKTAG_ADVISORY || tag->locktag_field4 != LOCK_CLASS ||
			tag->locktag_field1 != 0 || lock->holdMask == 0)
			continue;
		edge->kind = (int) tag->locktag_field2;
		if (edge->kind == EDGE_WAITS)
		{
			edge->from = lock->pid;
			edge->to = (int) tag->locktag_field3;
			edges->n++;
		}
		else if (edge->kind == EDGE_OWNED)
		{
			edge->from = (int) tag->locktag_field3;
			edge->to = lock->pid;
			edges->n++;
		}
	}
}

static List *
add_pids(List *pids, PGFunction function, int pid)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(function, Int32GetDatum(pid)));
	const int32 *elements = (const int32 *) ARR_DATA_PTR(array);
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	for (int i = 0; i < n; i++)
		pids = lappend_int(pids, elements[i]);
	return pids;
}

/* Whom the server says that a process waits for. */
static List *
blockers(int pid)
{
	List	   *pids = add_pids(NIL, pg_blocking_pids, pid);

	return add_pids(pids, pg_safe_snapshot_blocking_pids, pid);
}

/* Whom a process waits for, one way or another. */
static List *
successors(int pid, const Edges *edges)
{
	List	   *pids = blockers(pid);

	for (int i = 0; i < edges->n; i++)
	{
		if (edges->edges[i].from == pid)
			pids = lappend_int(pids, edges->edges[i].to);
	}
	return pids;
}

/* ----------
 * Circles
 * ----------
 */

/* A shortest way from a process to this one, both included, or NIL. */
static List *
find_path(int start, const Edges *edges)
{
	List	   *pids = list_make1_int(start);
	List	   *from = list_make1_int(-1);	/* indexes into pids */

	for (int i = 0; i < list_length(pids); i++)
	{
		ListCell   *lc;

		foreach(lc, successors(list_nth_int(pids, i), edges))
		{
			if (list_member_int(pids, lfirst_int(lc)))
				continue;
			pids = lappend_int(pids, lfirst_int(lc));
			from = lappend_int(from, i);
			if (lfirst_int(lc) == MyProcPid)
			{
				List	   *path = NIL;

				for (int at = list_length(pids) - 1; at >= 0; at = list_nth_int(from, at))
					path = lcons_int(list_nth_int(pids, at), path);
				return path;
			}
		}
	}
	return NIL;
}

/* Read the path again, backwards: is all of it true now? */
static bool
still_true(const List *path)
{
	for (int i = list_length(path) - 2; i >= 0; i--)
	{
		int			from = list_nth_int(path, i);
		int			to = list_nth_int(path, i + 1);
		Edges		edges;

		if (list_member_int(blockers(from), to))
			continue;
		read_edges(&edges);
		if (!list_member_int(successors(from, &edges), to))
			return false;
	}
	return true;
}

/* ----------
 * In words
 * ----------
 */

/* The lock that a process, or one of its parallel workers, waits for. */
static const LockInstanceData *
awaited_lock(const LockData *locks, int pid)
{
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (lock->leaderPid == pid && lock->waitLockMode != NoLock)
			return lock;
	}
	return NULL;
}

static void
describe(StringInfo buf, int from, int to, const Edges *edges)
{
	const LockInstanceData *lock = awaited_lock(edges->locks, from);

	if (lock != NULL)
	{
		StringInfoData object;

		initStringInfo(&object);
		DescribeLockTag(&object, &lock->locktag);
		appendStringInfo(buf, _("Process %d waits for %s on %s; blocked by process %d."),
						 from,
						 GetLockmodeName(lock->locktag.locktag_lockmethodid, lock->waitLockMode),
						 object.data, to);
		return;
	}
	for (int i = 0; i < edges->n; i++)
	{
		const Edge *edge = &edges->edges[i];

		if (edge->from != from || edge->to != to)
			continue;
		appendStringInfo(buf, edge->kind == EDGE_WAITS ?
						 _("Process %d waits for its connection's process %d.") :
						 _("Process %d waits for the next statement of process %d, whose connection's process it is."),
						 from, to);
		return;
	}
	appendStringInfo(buf, _("Process %d waits for a safe snapshot; blocked by process %d."),
					 from, to);
}

/* The whole cycle, in words. */
static char *
describe_all(const List *path)
{
	Edges		edges;
	StringInfoData buf;

	read_edges(&edges);
	initStringInfo(&buf);
	appendStringInfo(&buf, _("Process %d waits for its connection's process %d."),
					 MyProcPid, linitial_int(path));
	for (int i = 0; i < list_length(path) - 1; i++)
	{
		appendStringInfoChar(&buf, '\n');
		describe(&buf, list_nth_int(path, i), list_nth_int(path, i + 1), &edges);
	}
	return buf.data;
}

/* ----------
 * During a wait
 * ----------
 */

/*
 * How long a round of the wait may last so that sm_deadlock_check() comes in
 * time, given how long it may last otherwise (-1: for ever).  The first round
 * does not read the clock.
 */
long
sm_deadlock_round(const SmConn *conn, const SmWatch *watch, long timeout)
{
	if (conn->remote.pooler != SM_BEHIND_NONE || conn->connected_at == 0)
		return timeout;
	return sm_deadlock_wait(watch, timeout);
}

/* How long a round of a wait for several connections may last. */
long
sm_deadlock_wait(const SmWatch *watch, long timeout)
{
	long		round = watch->next == 0 ? DeadlockTimeout : sm_remaining(watch->next);

	return timeout < 0 ? round : Min(timeout, round);
}

/*
 * Is it time to look, and may there be something to see?  If a round was cut
 * short, the wait's begin is not known: the local statement's begin is then
 * taken for it.  Looking early does no harm.
 */
bool
sm_deadlock_due(SmWatch *watch)
{
	TimestampTz now;

	if (!IsTransactionState())
		return false;
	now = GetCurrentTimestamp();
	if (watch->next == 0)
		watch->next = TimestampTzPlusMilliseconds(GetCurrentStatementStartTimestamp(),
												  DeadlockTimeout);
	if (now < watch->next)
		return false;
	watch->next = TimestampTzPlusMilliseconds(now, CHECK_EVERY_MS);
	return true;
}

/*
 * The detail for the report if the connection's backend waits for this one, and
 * this one is to be the victim; NULL otherwise.  The victim withdraws what it
 * has published: for others the deadlock is over.
 */
static char *
find_deadlock(SmConn *conn, SmWatch *watch, bool tell)
{
	Edges		edges;
	List	   *path;
	char	   *detail = NULL;

	/* it may wait for a connection of its own, and has published that by then */
	read_edges(&edges);
	if (successors(conn->deadlock.backend, &edges) == NIL)
		return NULL;
	publish(tell ? conn : NULL, watch);
	read_edges(&edges);
	path = find_path(conn->deadlock.backend, &edges);
	if (path == NIL || !take_lock(LOCK_VERDICT, 0))
		return NULL;
	if (still_true(path))
	{
		detail = describe_all(path);
		sm_deadlock_end(watch);
	}
	release_lock(LOCK_VERDICT, 0);
	return detail;
}

/* A deadlock through a connection to another cluster, which has to be asked. */
static char *
find_elsewhere(SmConn *conn, SmWatch *watch)
{
	bool		pending = false;
	char	   *detail;
	dlist_iter	iter;

	dlist_foreach(iter, &sm_connections)
	{
		SmConn	   *other = dlist_container(SmConn, open_node, iter.cur);

		if (is_connected(other))
			identify(other);
	}
	detail = sm_deadlock_ask(conn, &pending);
	if (pending)
		watch->next = Min(watch->next,
						  TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ASK_STEP_MS));
	return detail;
}

/*
 * Will what is awaited from this connection never end by itself?  The detail
 * for sm_deadlock_report(), or NULL.  tell: others may know that this backend
 * waits for it.
 */
char *
sm_deadlock_find(SmConn *conn, SmWatch *watch, bool tell)
{
	MemoryContext cxt;
	MemoryContext old;
	char	   *detail;

	/* a connection that is being made has its own deadline */
	if (conn->connected_at == 0)
		return NULL;
	identify(conn);
	cxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr deadlock",
								ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	detail = conn->deadlock.backend > 0 ? find_deadlock(conn, watch, tell) : find_elsewhere(conn, watch);
	MemoryContextSwitchTo(old);
	if (detail != NULL)
		detail = pstrdup(detail);
	MemoryContextDelete(cxt);
	return detail;
}

void
sm_deadlock_report(SmConn *conn, const char *detail, const char *sql)
{
	if (conn->deadlock.backend > 0)
		pgstat_report_deadlock();
	ereport(ERROR,
			(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
			 errmsg(message, conn->endpoint->label),
			 errdetail_internal("%s", detail),
			 conn->deadlock.backend > 0 ?
			 errhint("A connection to this same cluster must not wait for what the local transaction has locked.") :
			 errhint("Do both in one session, or end the other one's transaction before."),
			 sm_report_context(conn->endpoint, sql)));
}

/*
 * To be called after each round of a wait in which nothing came.  Throws 40P01,
 * while the command is still on the wire, if it will never end by itself, or
 * that of another connection that is awaited as well.
 */
void
sm_deadlock_check(SmConn *conn, SmWatch *watch, const char *sql)
{
	char	   *detail;
	dlist_iter	iter;

	if (!sm_deadlock_due(watch))
		return;
	detail = sm_deadlock_find(conn, watch, true);
	if (detail != NULL)
		sm_deadlock_report(conn, detail, sql);
	dlist_foreach(iter, &sm_checked_out)
	{
		SmConn	   *other = dlist_container(SmConn, checkout.node, iter.cur);

		if (!other->checkout.awaited || other == conn || other->state != SM_CONN_BUSY)
			continue;
		detail = sm_deadlock_find(other, watch, true);
		if (detail != NULL)
			sm_deadlock_report(other, detail, NULL);
	}
}

static void
withdraw(int kind, List **published)
{
	ListCell   *lc;

	foreach(lc, *published)
		release_lock(kind, lfirst_int(lc));
	list_free(*published);
	*published = NIL;
}

/* The wait is over: nobody needs to know of it any more. */
void
sm_deadlock_end(SmWatch *watch)
{
	if (unlikely(watch->waits != NIL))
		withdraw(EDGE_WAITS, &watch->waits);
	if (unlikely(watch->owned != NIL))
		withdraw(EDGE_OWNED, &watch->owned);
	if (unlikely(watch->next != 0))
		sm_deadlock_ask_end();
}

/* Is this an error of sm_deadlock_check(), and not of a target? */
bool
sm_deadlock_found_here(const ErrorData *error)
{
	return error->message_id != NULL && strcmp(error->message_id, message) == 0;
}

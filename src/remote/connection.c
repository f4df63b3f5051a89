/*-------------------------------------------------------------------------
 *
 * connection.c
 *		A connection as those see it who do not know what it is made of: its
 *		state, and what became of what was sent on it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include "miscadmin.h"

StaticAssertDecl(offsetof(SmConn, checkout) == 0, "sm_checkout() relies on it");

/* kept by connect.c */
dlist_head	sm_connections = DLIST_STATIC_INIT(sm_connections);

/* kept by pool.c, but those below it look at it, too */
dlist_head	sm_checked_out = DLIST_STATIC_INIT(sm_checked_out);

void
sm_conn_set_state(SmConn *conn, SmConnState state)
{
	switch (state)
	{
		case SM_CONN_CONNECTING:
			Assert(conn->connected_at == 0);
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

/* The connection is for this engine's target from now on. */
void
sm_conn_set_endpoint(SmConn *conn, SmEndpoint *endpoint)
{
	if (conn->endpoint != NULL)
		conn->endpoint->connections--;
	conn->endpoint = endpoint;
	conn->remote.peer.endpoint = endpoint;
	if (endpoint != NULL)
		endpoint->connections++;
}

SmConnState
sm_conn_state(const SmConn *conn)
{
	return conn->state;
}

SmEndpoint *
sm_conn_endpoint(const SmConn *conn)
{
	return conn->endpoint;
}

/* When it was connected; 0: it is only being made. */
TimestampTz
sm_conn_connected_at(const SmConn *conn)
{
	return conn->connected_at;
}

/* While it is being made, or pinged: until when. */
TimestampTz
sm_conn_deadline(const SmConn *conn)
{
	return conn->attempt.deadline;
}

/* Does its pool's next user find nothing of this one's? */
bool
sm_conn_is_reusable(const SmConn *conn)
{
	return conn->state == SM_CONN_READY && !conn->not_for_reuse;
}

/*
 * The session there is to be discarded before its next use, unless it is as
 * new, or, behind a pooler, others' as well.
 */
void
sm_conn_discard_first(SmConn *conn)
{
	if (conn->remote.discard == SM_DISCARD_USEFUL && conn->remote.pooler != SM_BEHIND_TRANSACTION)
		conn->remote.discard = SM_DISCARD_FIRST;
}

/* ----------
 * The last command
 * ----------
 */

/* Does it take effect for good by itself? */
bool
sm_conn_commits(const SmConn *conn)
{
	return conn->command.commits;
}

/* It has, and was read to its end. */
bool
sm_conn_has_committed(const SmConn *conn)
{
	return conn->command.commits && conn->state == SM_CONN_READY &&
		conn->command.completed && !conn->command.failed;
}

/* What became of it when it was given up. */
SmOutcome
sm_conn_outcome(const SmConn *conn)
{
	return conn->cleanup.outcome;
}

/* Is it a bulk function's, and has the target had nothing to say against it? */
bool
sm_conn_in_bulk(const SmConn *conn)
{
	return conn->bulk.active && !conn->command.failed && conn->state != SM_CONN_DEAD;
}

/* ----------
 * Looking at it
 * ----------
 */
void
sm_conn_status(const SmConn *conn, SmConnStatus *status)
{
	status->state = conn->state;
	status->pid = conn->endpoint->remote ? PQbackendPID(conn->pg) : MyProcPid;
	status->connected_at = conn->connected_at;
	status->pooler = conn->remote.pooler;
	status->maps_statements = conn->remote.maps_statements;
	status->statements = conn->statements;
	status->bulk = conn->bulk.active && conn->state == SM_CONN_BUSY;
	status->bulk_rows = conn->bulk.rows;
	status->bulk_bytes = conn->bulk.bytes;
}

/* Its socket, or PGINVALID_SOCKET. */
pgsocket
sm_remote_socket(const SmConn *conn)
{
	return PQsocket(conn->pg);
}

/* What a connection that is CONNECTING or BUSY waits for on its socket. */
uint32
sm_remote_events(const SmConn *conn)
{
	if (conn->state == SM_CONN_CONNECTING)
		return conn->attempt.polling == PGRES_POLLING_READING ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
	return conn->command.unsent ? WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE;
}

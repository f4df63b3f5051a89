/*-------------------------------------------------------------------------
 *
 * remote_settle.c
 *		Ending what is on the wire after an error.
 *
 * This runs in transaction callbacks and at the backend's exit, with
 * interrupts held: nothing here throws or allocates in PostgreSQL's memory,
 * and everything ends at its deadline.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"
#include "src/compat.h"

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
		else if (!sm_wait_quiet(conn, WL_SOCKET_READABLE, deadline) ||
				 !PQconsumeInput(conn->pg))
			return false;
	}
	return true;
}

/* Read away what is left of a command, and how it ended. */
static SmOutcome
drain(SmConn *conn, bool cancelled, TimestampTz deadline)
{
	SmOutcome	outcome = conn->failed ? SM_OUTCOME_NONE : SM_OUTCOME_DONE;
	bool		copying = false;

	for (;;)
	{
		PQclear(conn->result);
		conn->result = NULL;
		while (PQisBusy(conn->pg))
		{
			if (!sm_wait_quiet(conn, WL_SOCKET_READABLE, deadline))
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
				if (cancelled)
				{
					/*
					 * The end of the COPY brings a Sync of its own.  Together
					 * with a cancel nobody can tell how often the server will
					 * then say that it is ready.
					 */
					sm_conn_set_state(conn, SM_CONN_DEAD);
					return SM_OUTCOME_NONE;
				}
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
	bool		cancel;

	if (conn->state != SM_CONN_BUSY)
		return SM_OUTCOME_NONE;

	if (conn->unsent)
	{
		/* half a message: the server has not begun, and never will */
		sm_conn_set_state(conn, SM_CONN_DEAD);
		return SM_OUTCOME_NONE;
	}

	cancel = PQtransactionStatus(conn->pg) == PQTRANS_ACTIVE &&
		PQresultStatus(conn->result) != PGRES_COPY_IN;
	if (cancel)
		(void) sm_cancel_send(conn, deadline);
	outcome = drain(conn, cancel, deadline);
	PQclear(conn->result);
	conn->result = NULL;
	sm_notices_forget(conn);

	if (conn->state == SM_CONN_DEAD || outcome == SM_OUTCOME_UNKNOWN ||
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
	conn->failed = false;
	sm_conn_set_state(conn, SM_CONN_BUSY);
	while (PQflush(conn->pg) == 1)
	{
		if (!sm_wait_quiet(conn, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, deadline) ||
			!PQconsumeInput(conn->pg))
			break;
	}
	switch (drain(conn, false, deadline))
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

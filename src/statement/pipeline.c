/*-------------------------------------------------------------------------
 *
 * pipeline.c
 *		One statement, run again and again in libpq's pipeline mode.
 *
 * The connection is BUSY from sm_pipeline_begin() to the end, and whoever
 * throws meanwhile leaves it BUSY and in the pipeline; the clean-up sends the
 * sync that ends it.  The caller has begun a transaction.
 *
 * Neither side's buffers fill up, for results are read whenever something is
 * sent: our own buffer is emptied each FLUSH_SIZE bytes or FLUSH_ROWS rows, and
 * there are never more than MAX_OPEN rows whose results have not been read.
 * So that waiting for these always ends, the server is asked to send what it
 * has after each FLUSH_ROWS rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "storage/latch.h"

#define FLUSH_SIZE	65536
#define FLUSH_ROWS	256
#define MAX_OPEN	2048

/* libpq would not send: the connection is lost, or memory is out.  Throws. */
static void
report_unsent(SmPipeline *p)
{
	sm_remote_sent(p->conn, 0, true, p->sql, p->deadline);
}

/* ----------
 * Reading
 * ----------
 */
static void
take_affected(SmPipeline *p, PGresult *res)
{
	const char *affected = PQcmdTuples(res);

	if (p->ended == 0)
		return;
	if (p->ended == 1)
		snprintf(p->tag, sizeof(p->tag), "%s", PQcmdStatus(res));
	if (affected[0] != '\0')
		p->affected += strtoull(affected, NULL, 10);
}

/*
 * Take conn->result.  The first error goes to p->error.  Throws for COPY, from
 * which libpq has no way back to the pipeline.
 */
static void
take_pipeline_result(SmPipeline *p)
{
	SmConn	   *conn = p->conn;

	switch (PQresultStatus(conn->result))
	{
		case PGRES_COMMAND_OK:
		case PGRES_TUPLES_OK:
			take_affected(p, conn->result);
			break;
		case PGRES_SINGLE_TUPLE:
		case PGRES_PIPELINE_ABORTED:
		case PGRES_PIPELINE_SYNC:
			break;
		case PGRES_EMPTY_QUERY:
			p->empty = true;
			break;
		case PGRES_COPY_IN:
		case PGRES_COPY_OUT:
		case PGRES_COPY_BOTH:
			if (p->ended == 0 || PQresultStatus(conn->result) == PGRES_COPY_BOTH)
			{
				conn->fault.violation = "It began a COPY that was not asked for.";
				sm_report_violation(conn, p->sql);
			}
			sm_conn_set_state(conn, SM_CONN_DEAD);
			sm_report_copy(conn->endpoint, false);
			break;
		default:
			if (p->error == NULL)
				p->error_row = p->ended;
			sm_remote_keep_error(conn, &p->error);
			break;
	}
}

/*
 * Read the next result, which must have arrived, and take it.  True: it was
 * the sync.
 */
static bool
read_result(SmPipeline *p)
{
	SmConn	   *conn = p->conn;
	bool		synced = false;

	PQclear(conn->result);
	conn->result = PQgetResult(conn->pg);
	if (conn->result != NULL)
	{
		(void) sm_remote_is_broken(conn);
		synced = PQresultStatus(conn->result) == PGRES_PIPELINE_SYNC;
		if (synced && (conn->command.syncs == 0 || p->ended != p->sent + 1) && p->error == NULL)
		{
			conn->fault.violation = "It is ready for more, and has not answered.";
			sm_report_violation(conn, p->sql);
		}
		p->reading = !synced;
		take_pipeline_result(p);
	}
	else if (p->reading)
	{
		p->reading = false;
		p->ended++;
		/* rows one by one: whatever is sent in answer is not to be kept */
		(void) PQsetSingleRowMode(conn->pg);
	}
	else
	{
		/* no results, and no end of them */
		sm_conn_set_state(conn, SM_CONN_DEAD);
		if (PQstatus(conn->pg) != CONNECTION_OK)
			sm_report_lost(conn, p->sql);
		sm_report_violation(conn, p->sql);
	}
	return synced;
}

/* Wait until libpq can read, and also write if it has something left. */
static bool
wait_for_input(SmPipeline *p, bool left)
{
	if (sm_remote_is_stuck(p->conn))
		return false;
	sm_remote_wait(p->conn, WL_SOCKET_READABLE | (left ? WL_SOCKET_WRITEABLE : 0),
				   p->sql, p->deadline);
	return PQconsumeInput(p->conn->pg) == 1;
}

/* End the pipeline: the connection is READY then, or DEAD. */
static void
read_to_sync(SmPipeline *p)
{
	SmConn	   *conn = p->conn;
	bool		synced = false;
	int			left;

	if (!conn->fault.broken && PQpipelineSync(conn->pg))
	{
		conn->command.syncs++;
		while (!synced && PQstatus(conn->pg) == CONNECTION_OK && !conn->fault.broken)
		{
			/* after a failure there is no socket to wait for */
			while (PQisBusy(conn->pg) && (left = PQflush(conn->pg)) >= 0 &&
				   wait_for_input(p, left == 1))
				continue;
			synced = !conn->fault.broken && read_result(p);
		}
	}
	if (synced && --conn->command.syncs == 0 && PQexitPipelineMode(conn->pg))
		sm_conn_set_state(conn, SM_CONN_READY);
	else
		sm_conn_set_state(conn, SM_CONN_DEAD);
	PQclear(conn->result);
	conn->result = NULL;
}

/*
 * Read the pipeline to its end.  Returns how many rows were affected, or
 * returned, in all; raises the first error, with the row that it belongs to.
 */
uint64
sm_pipeline_end(SmPipeline *p)
{
	SmConn	   *conn = p->conn;

	PG_TRY();
	{
		read_to_sync(p);
	}
	PG_CATCH();
	{
		PQclear(p->error);
		p->error = NULL;
		PG_RE_THROW();
	}
	PG_END_TRY();

	sm_notices_report(conn);
	if (p->error != NULL)
	{
		if (conn->state == SM_CONN_READY)
			conn->command.error_row = p->error_row;
		sm_remote_raise(conn, p->error, p->sql, false);
	}
	if (conn->state == SM_CONN_DEAD)
		report_unsent(p);
	if (p->empty)
		sm_report_empty(conn->endpoint);
	return p->affected;
}

/* ----------
 * Sending
 * ----------
 */

/* Send what libpq has, and read until not too much is open. */
static void
pump(SmPipeline *p)
{
	SmConn	   *conn = p->conn;
	bool		established = true;

	if (p->since_flush >= FLUSH_ROWS)
	{
		if (!PQsendFlushRequest(conn->pg))
			report_unsent(p);
		p->since_flush = 0;
	}
	for (;;)
	{
		int			left = PQflush(conn->pg);

		established = established && left >= 0 && PQconsumeInput(conn->pg);
		while (p->ended <= p->sent && !PQisBusy(conn->pg) && p->error == NULL)
			(void) read_result(p);
		/* nothing of what is still to come would have an effect */
		if (p->error != NULL)
			(void) sm_pipeline_end(p);
		if (!established)
			report_unsent(p);
		if (left == 0 && p->sent + 1 - p->ended < MAX_OPEN)
			break;
		established = wait_for_input(p, left == 1);
	}
	p->unflushed = 0;
	sm_remote_wait(conn, 0, p->sql, p->deadline);
}

/* Begin a pipeline, and prepare the statement in it. */
void
sm_pipeline_begin(SmPipeline *p, SmConn *conn, const char *sql, const SmEncodedParams *encoded)
{
	memset(p, 0, sizeof(*p));
	p->conn = conn;
	p->sql = sql;
	p->deadline = sm_deadline(conn->endpoint->options.statement_timeout);
	sm_remote_begin(conn, false);
	/* what is not on the wire is whole messages, which the clean-up sends */
	conn->command.unsent = false;
	conn->command.syncs = 0;
	conn->bulk.active = true;
	conn->bulk.rows = conn->bulk.bytes = 0;
	if (!PQenterPipelineMode(conn->pg) ||
		!PQsendPrepare(conn->pg, "", sql, encoded->n, encoded->types))
		report_unsent(p);
}

static size_t
encoded_size(const SmEncodedParams *encoded, int i)
{
	if (encoded->values[i] == NULL)
		return 0;
	return encoded->formats[i] ? (size_t) encoded->lengths[i] : strlen(encoded->values[i]);
}

/* Run the statement with these values. */
void
sm_pipeline_row(SmPipeline *p, const SmEncodedParams *encoded)
{
	PGconn	   *pg = p->conn->pg;
	size_t		size = 0;

	if (!PQsendQueryPrepared(pg, "", encoded->n, encoded->values, encoded->lengths,
							 encoded->formats, 0))
		report_unsent(p);
	/* where it is the only one, its results are the next to be read */
	if (p->ended == ++p->sent)
		(void) PQsetSingleRowMode(pg);
	for (int i = 0; i < encoded->n; i++)
		size += encoded_size(encoded, i);
	p->since_flush++;
	p->unflushed += size;
	p->conn->bulk.rows++;
	p->conn->bulk.bytes += size;
	if (p->since_flush >= FLUSH_ROWS || p->unflushed >= FLUSH_SIZE)
		pump(p);
}

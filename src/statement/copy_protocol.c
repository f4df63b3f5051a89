/*-------------------------------------------------------------------------
 *
 * copy_protocol.c
 *		COPY on a connection: data out of it and into it.
 *
 * As in command.c, whoever throws leaves the connection BUSY, and the clean-up
 * ends the COPY.  COPY FROM STDIN goes by the simple protocol, in which a
 * cancel and the COPY's end do not get in each other's way; COPY TO STDOUT,
 * whose text is in part the user's, by the extended protocol, which takes one
 * statement and no more.
 *
 * libpq looks at an error of the target during COPY FROM STDIN only at its
 * end; the server throws away what is still sent to it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "storage/latch.h"

/* The most that is given to libpq at once, in bytes: it moves what is left. */
#define PUT_SIZE 65536

/* Always in quotes: the target may have keywords that are not known here. */
void
sm_append_quoted(StringInfo buf, const char *identifier)
{
	appendStringInfoChar(buf, '"');
	for (const char *p = identifier; *p; p++)
	{
		if (*p == '"')
			appendStringInfoChar(buf, '"');
		appendStringInfoChar(buf, *p);
	}
	appendStringInfoChar(buf, '"');
}

/*
 * Read a command to its end.  Returns its last result of that status, which
 * is the connection's until its next command; raises its error, if any.
 */
static PGresult *
finish_copy(SmConn *conn, ExecStatusType wanted, const char *sql, TimestampTz deadline)
{
	PGresult   *volatile good = NULL;
	PGresult   *volatile error = NULL;

	PG_TRY();
	{
		PGresult   *res;
		PGresult   *kept = NULL;

		while ((res = sm_remote_next(conn, sql, deadline)) != NULL)
		{
			ExecStatusType status = PQresultStatus(res);

			if (status == wanted)
			{
				PQclear(good);
				good = res;
				conn->result = NULL;
			}
			else if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE)
			{
				sm_remote_keep_error(conn, &kept);
				error = kept;
			}
		}
	}
	PG_CATCH();
	{
		PQclear(good);
		PQclear(error);
		PG_RE_THROW();
	}
	PG_END_TRY();

	conn->result = good;
	sm_notices_report(conn);
	if (error != NULL)
		sm_remote_raise(conn, error, sql, false);
	if (good == NULL)
		sm_report_violation(conn, sql);
	return good;
}

/*
 * The types of a query's columns, of which there are as many as is returned;
 * a statement that returns no rows has none.  The query must be one statement.
 * Inside a transaction the relations that it names are locked by this, so that
 * their columns stay as they are.
 */
int
sm_copy_describe(SmConn *conn, const char *sql, Oid **types, TimestampTz deadline)
{
	PGresult   *res;
	int			n;

	sm_remote_begin(conn, false);
	sm_remote_sent(conn, PQsendPrepare(conn->pg, "", sql, 0, NULL), true, sql, deadline);
	(void) finish_copy(conn, PGRES_COMMAND_OK, sql, deadline);
	sm_remote_begin(conn, false);
	sm_remote_sent(conn, PQsendDescribePrepared(conn->pg, ""), true, sql, deadline);
	res = finish_copy(conn, PGRES_COMMAND_OK, sql, deadline);
	n = PQnfields(res);
	*types = palloc(Max(n, 1) * sizeof(Oid));
	for (int i = 0; i < n; i++)
		(*types)[i] = PQftype(res, i);
	return n;
}

/*
 * The columns of a table, as char *: those that COPY FROM fills where none are
 * named, or generated ones as well.  Error 42P01 if there is no such table.
 */
List *
sm_copy_columns(SmConn *conn, const char *table, bool generated, TimestampTz deadline)
{
	static const char sql[] =
		"SELECT t.oid, a.attname"
		" FROM (SELECT pg_catalog.to_regclass($1) AS oid) AS t"
		" LEFT JOIN pg_catalog.pg_attribute AS a"
		" ON a.attrelid OPERATOR(pg_catalog.=) t.oid AND a.attnum OPERATOR(pg_catalog.>) 0"
		" AND NOT a.attisdropped"
		" AND ($2::pg_catalog.bool OR a.attgenerated OPERATOR(pg_catalog.=) '')"
		" ORDER BY a.attnum";
	const char *const values[] = {table, generated ? "t" : "f"};

	/* an error's context is to show what is wanted, not how it is found out */
	char	   *shown = psprintf("COPY %s FROM STDIN", table);
	List	   *columns = NIL;
	PGresult   *res;

	sm_remote_begin(conn, false);
	sm_remote_sent(conn, PQsendQueryParams(conn->pg, sql, lengthof(values), NULL, values,
										   NULL, NULL, 0),
				   true, shown, deadline);
	res = finish_copy(conn, PGRES_TUPLES_OK, shown, deadline);
	if (PQnfields(res) != 2)
		sm_report_violation(conn, shown);
	if (PQntuples(res) == 0 || PQgetisnull(res, 0, 0))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s does not exist on \"%s\"", table, conn->endpoint->label)));
	for (int i = 0; i < PQntuples(res); i++)
	{
		if (!PQgetisnull(res, i, 1))
			columns = lappend(columns, pstrdup(PQgetvalue(res, i, 1)));
	}
	return columns;
}

/* Read the first result of a COPY, which must say that it has begun. */
static void
copy_begun(SmConn *conn, ExecStatusType wanted, const char *sql, TimestampTz deadline)
{
	PGresult   *res;
	PGresult   *error = NULL;

	conn->command.copy = 0;
	res = sm_remote_next(conn, sql, deadline);
	conn->command.copy = -1;
	if (res != NULL && PQresultStatus(res) == wanted)
	{
		conn->bulk.active = true;
		conn->bulk.rows = conn->bulk.bytes = 0;
		return;
	}
	if (res != NULL && (PQresultStatus(res) == PGRES_FATAL_ERROR ||
						PQresultStatus(res) == PGRES_BAD_RESPONSE))
	{
		/* before the TRY, in which it does not change */
		sm_remote_keep_error(conn, &error);
		PG_TRY();
		{
			while (sm_remote_next(conn, sql, deadline) != NULL)
				continue;
		}
		PG_CATCH();
		{
			PQclear(error);
			PG_RE_THROW();
		}
		PG_END_TRY();
		sm_notices_report(conn);
		sm_remote_raise(conn, error, sql, false);
	}
	sm_report_violation(conn, sql);
}

/* ----------
 * COPY TO STDOUT
 * ----------
 */

/* Begin the COPY TO STDOUT in sql. */
void
sm_copy_out_begin(SmConn *conn, const char *sql, TimestampTz deadline)
{
	sm_remote_begin(conn, false);
	sm_remote_sent(conn, PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0),
				   true, sql, deadline);
	copy_begun(conn, PGRES_COPY_OUT, sql, deadline);
}

/*
 * The next piece of data, mostly a row: its length, and *data is the caller's
 * to PQfreemem.  0: nothing has arrived, and the caller would not wait.  -1:
 * that was all, and the COPY has ended well; otherwise its error is raised.
 */
int
sm_copy_out_next(SmConn *conn, char **data, bool wait, const char *sql,
				 TimestampTz deadline)
{
	int			n;

	while ((n = PQgetCopyData(conn->pg, data, 1)) == 0)
	{
		if (!wait)
			return 0;
		sm_remote_wait(conn, WL_SOCKET_READABLE, sql, deadline);
		if (!PQconsumeInput(conn->pg))
			break;
	}
	if (n > 0)
	{
		conn->bulk.bytes += n;
		return n;
	}
	if (n == -2 && PQstatus(conn->pg) == CONNECTION_OK)
	{
		/*
		 * libpq has no memory for it, and would say for ever that there is
		 * more
		 */
		conn->fault.broken = true;
		sm_conn_set_state(conn, SM_CONN_DEAD);
		sm_report_violation(conn, sql);
	}
	/* if the connection is lost, that is the result now */
	(void) finish_copy(conn, PGRES_COMMAND_OK, sql, deadline);
	return -1;
}

/* ----------
 * COPY FROM STDIN
 * ----------
 */

/* Begin the COPY FROM STDIN in sql, which must surely be one statement. */
void
sm_copy_in_begin(SmConn *conn, const char *sql, TimestampTz deadline)
{
	sm_remote_begin(conn, false);
	conn->command.simple_copy = true;
	sm_remote_sent(conn, PQsendQuery(conn->pg, sql), true, sql, deadline);
	copy_begun(conn, PGRES_COPY_IN, sql, deadline);
}

/*
 * A write has failed: what libpq last heard from the target says why.  Its
 * error is raised.
 */
static void
raise_failed_write(SmConn *conn, const char *sql, TimestampTz deadline)
{
	/* if it is not lost, memory is out, and the target waits for the rest */
	if (PQstatus(conn->pg) == CONNECTION_OK)
		sm_remote_sent(conn, 0, true, sql, deadline);
	(void) finish_copy(conn, PGRES_COMMAND_OK, sql, deadline);
	sm_conn_set_state(conn, SM_CONN_DEAD);
	sm_report_lost(conn, sql);
}

/* Get all that libpq has onto the wire. */
static void
flush(SmConn *conn, const char *sql, TimestampTz deadline)
{
	int			left;

	while ((left = PQflush(conn->pg)) == 1)
	{
		/* the server may want to be heard before it goes on reading */
		sm_remote_wait(conn, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, sql, deadline);
		if (!PQconsumeInput(conn->pg))
		{
			left = -1;
			break;
		}
	}
	if (left < 0 || PQstatus(conn->pg) != CONNECTION_OK)
		raise_failed_write(conn, sql, deadline);
	sm_remote_wait(conn, 0, sql, deadline);
}

/* Send data, in pieces that do not depend on where its rows end. */
void
sm_copy_in_put(SmConn *conn, const char *data, size_t len, const char *sql,
			   TimestampTz deadline)
{
	while (len > 0)
	{
		size_t		n = Min(len, PUT_SIZE);

		if (PQputCopyData(conn->pg, data, n) != 1)
			raise_failed_write(conn, sql, deadline);
		flush(conn, sql, deadline);
		conn->bulk.bytes += n;
		data += n;
		len -= n;
	}
}

/* The end of the data.  Returns how many rows the target says there were. */
uint64
sm_copy_in_end(SmConn *conn, const char *sql, TimestampTz deadline)
{
	PGresult   *res;

	if (PQputCopyEnd(conn->pg, NULL) != 1)
		raise_failed_write(conn, sql, deadline);
	/* from now on there is no COPY that a clean-up would have to end */
	PQclear(conn->result);
	conn->result = NULL;
	flush(conn, sql, deadline);
	res = finish_copy(conn, PGRES_COMMAND_OK, sql, deadline);
	return strtoull(PQcmdTuples(res), NULL, 10);
}

/*-------------------------------------------------------------------------
 *
 * pull.c
 *		pull on a connection: the rows of a query there go into a table here.
 *
 * COPY (query) TO STDOUT there is read by COPY FROM here, whose machinery asks
 * for data by a callback that has no argument: "source" is the innermost COPY
 * under way, as a trigger may pull, too.
 *
 * The query is the user's text, and must stay what it is inside of COPY's
 * parentheses.  It is first prepared by itself: so it is one whole statement,
 * in which every quote, comment and parenthesis is closed, but for a comment
 * to the end of the line, after which the line ends.  The COPY as a whole is
 * then prepared as one statement, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "access/xact.h"
#include "commands/copy.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* What the local COPY reads. */
typedef struct Source
{
	SmConn	   *conn;
	const char *sql;
	TimestampTz deadline;
	bool		binary;
	char	   *data;			/* the piece being read, libpq's memory, or
								 * NULL */
	int			len;
	int			used;
	bool		ended;
} Source;

static Source *source = NULL;

/* True if there is data to be used; if not, it has not arrived or has ended. */
static bool
fill(Source *src, bool wait)
{
	if (src->used < src->len)
		return true;
	if (src->ended)
		return false;
	PQfreemem(src->data);
	src->data = NULL;
	src->used = 0;
	src->len = sm_copy_out_next(src->conn, &src->data, wait, src->sql, src->deadline);
	if (src->len < 0)
	{
		src->ended = true;
		src->len = 0;
	}
	/* a piece is a row, but for the binary format's last one */
	if (src->len > 0 && !(src->binary && src->len == sizeof(int16)))
		src->conn->bulk.rows++;
	return src->len > 0;
}

/*
 * COPY's callback: at least minread bytes, unless the data ends.  An error of
 * the target is raised here, never taken for the end of the data.
 */
static int
read_source(void *outbuf, int minread, int maxread)
{
	Source	   *src = source;
	int			n = 0;

	sm_remote_wait(src->conn, 0, src->sql, src->deadline);
	while (n < maxread && fill(src, n < minread))
	{
		int			some = Min(maxread - n, src->len - src->used);

		memcpy((char *) outbuf + n, src->data + src->used, some);
		src->used += some;
		n += some;
	}
	return n;
}

/* May the rows travel in binary form? */
static bool
is_binary(const SmPull *pull, const SmConn *conn, const Oid *types)
{
	TupleDesc	desc = RelationGetDescr(pull->rel);
	int			n = 0;
	ListCell   *lc;

	if (!sm_binary_possible(&conn->remote.peer))
		return false;
	foreach(lc, pull->attnums)
	{
		Oid			type = TupleDescAttr(desc, lfirst_int(lc) - 1)->atttypid;

		if (!sm_types_agree(type, types[n++], &conn->remote.peer))
			return false;
	}
	return true;
}

/* Is there a column whose text depends on lc_monetary? */
static bool
has_money(const SmPull *pull)
{
	TupleDesc	desc = RelationGetDescr(pull->rel);
	ListCell   *lc;

	foreach(lc, pull->attnums)
	{
		if (sm_type_has_money(TupleDescAttr(desc, lfirst_int(lc) - 1)->atttypid))
			return true;
	}
	return false;
}

/* Copy what the source has into the relation, as COPY FROM does. */
static uint64
load(const SmPull *pull, bool binary)
{
	CopyFromState copy;
	List	   *options;
	uint64		count;
	int			level;

	if (binary)
		options = list_make1(makeDefElem("format", (Node *) makeString("binary"), -1));
	else
		options = list_make1(makeDefElem("encoding",
										 (Node *) makeString(pstrdup(GetDatabaseEncodingName())),
										 -1));
	level = sm_transmission_modes_begin_reading(!binary && has_money(pull));

	/* a command of its own: it sees what was done before, and is seen after */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	copy = BeginCopyFrom(pull->pstate, pull->rel, NULL, NULL, false, read_source,
						 pull->columns, options);
	count = CopyFrom(copy);
	/* the end of the data has been read, but perhaps not that of the COPY */
	while (fill(source, true))
		source->used = source->len;
	EndCopyFrom(copy);
	PopActiveSnapshot();
	CommandCounterIncrement();
	sm_transmission_modes_end(level);
	return count;
}

/* The query without the semicolon that may end it. */
static char *
trim_query(const char *query)
{
	char	   *copy = pstrdup(query);
	size_t		len = strlen(copy);

	while (len > 0 && strchr(" \t\n\r\f;", copy[len - 1]) != NULL)
		copy[--len] = '\0';
	return copy;
}

/* See SmDriver's pull. */
uint64
sm_pull_run(SmConn *conn, const SmPull *pull)
{
	Source		src = {.conn = conn};
	Source	   *outer = source;
	char	   *query = trim_query(pull->query);
	int			wanted = list_length(pull->attnums);
	uint64		count = 0;
	Oid		   *types;
	int			n;

	src.deadline = sm_deadline(conn->endpoint->options.statement_timeout);
	n = sm_copy_describe(conn, query, &types, src.deadline);
	if (n == 0 && sm_statement_is_empty(query))
		sm_report_empty(conn->endpoint);
	if (n != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg_plural("query on \"%s\" returns %d column, table \"%s\" takes %d",
							   "query on \"%s\" returns %d columns, table \"%s\" takes %d",
							   n, conn->endpoint->label, n,
							   RelationGetRelationName(pull->rel), wanted),
				 sm_report_context(conn->endpoint, pull->query)));
	src.binary = is_binary(pull, conn, types);
	src.sql = psprintf("COPY (\n%s\n) TO STDOUT%s", query,
					   src.binary ? " (FORMAT binary)" : "");
	sm_report_echo(conn->endpoint, src.sql);
	sm_copy_out_begin(conn, src.sql, src.deadline);
	source = &src;
	PG_TRY();
	{
		count = load(pull, src.binary);
	}
	PG_FINALLY();
	{
		source = outer;
		PQfreemem(src.data);
	}
	PG_END_TRY();
	return count;
}

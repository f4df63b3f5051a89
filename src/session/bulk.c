/*-------------------------------------------------------------------------
 *
 * bulk.c
 *		The bulk functions: execute_many, pull, push.
 *
 * What can be wrong here is found before anything is sent: the local query is
 * planned, and the local table opened and checked, first.  Then the driver
 * does the work in a session's transaction, or in one of its own.
 *
 * While it does, the user's own code runs here (queries, triggers) and may use
 * sessmgr, too, on other connections than this one: a session that is running
 * cannot be used, and a connection without a session is nobody else's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "commands/copy.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_relation.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/varlena.h"

static uint64
work(SmConn *conn, void *arg, SmStatementKind *kind)
{
	return sm_conn_engine(conn)->driver->bulk(conn, (const SmBulkRequest *) arg, kind);
}

/* The function is called on a session, or on an engine if that is NULL. */
static uint64
do_bulk(SmSession *session, SmEngine *engine, SmBulkRequest *request)
{
	if (session != NULL)
		return sm_session_work(session, work, request);
	return sm_engine_work(engine, work, request);
}

static void
check_copies(const SmEngine *engine, const char *function)
{
	if (!engine->driver->copies)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" cannot do %s", engine->endpoint.label, function),
				 errhint("It is this database: use INSERT ... SELECT.")));
}

/* ----------
 * execute_many
 * ----------
 */
/*
 * Run a statement for each row of a local query, whose columns are its
 * parameters.  Returns how many rows were affected, or returned, in all.
 */
uint64
sm_bulk_execute_many(SmSession *session, SmEngine *engine, const char *sql,
					 const char *param_query)
{
	SmLocalQuery rows;
	SmBulkRequest request = {
		.function = SM_BULK_EXECUTE_MANY,.of.many = {.sql = sql,.rows = &rows}
	};
	uint64		count;

	sm_local_query_open(&rows, "param_query", param_query);
	count = do_bulk(session, engine, &request);
	sm_local_query_close(&rows);
	return count;
}

/* ----------
 * pull
 * ----------
 */
/* All that COPY FROM checks before it begins. */
static void
check_may_copy(SmPull *pull)
{
	ParseNamespaceItem *nsitem;
	ListCell   *lc;

	if (!pull->rel->rd_islocaltemp)
		PreventCommandIfReadOnly("sessmgr.pull()");
	PreventCommandIfParallelMode("sessmgr.pull()");
	nsitem = addRangeTableEntryForRelation(pull->pstate, pull->rel, RowExclusiveLock,
										   NULL, false, false);
	sm_permissions(nsitem)->requiredPerms = ACL_INSERT;
	foreach(lc, pull->attnums)
		sm_permissions(nsitem)->insertedCols =
		bms_add_member(sm_permissions(nsitem)->insertedCols,
					   lfirst_int(lc) - FirstLowInvalidHeapAttributeNumber);
	sm_check_permissions(pull->pstate, nsitem);
	if (check_enable_rls(RelationGetRelid(pull->rel), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("sessmgr.pull() is not supported with row-level security"),
				 errhint("Use INSERT ... SELECT with sessmgr.query().")));
}

/*
 * Copy the rows of a query of the target into a table here.  columns is a list
 * of char *, or NIL for all that COPY fills.  Returns how many rows COPY
 * counts: those that a trigger leaves out are not among them.
 */
uint64
sm_bulk_pull(SmSession *session, SmEngine *engine, const char *query, Oid into_table,
			 List *columns)
{
	SmBulkRequest request = {.function = SM_BULK_PULL,.of.pull = {.query = query}};
	SmPull	   *pull = &request.of.pull;
	uint64		count;
	ListCell   *lc;

	if (session != NULL)
		engine = session->engine;
	check_copies(engine, "sessmgr.pull()");
	foreach(lc, columns)
		pull->columns = lappend(pull->columns, makeString(lfirst(lc)));
	pull->rel = try_table_open(into_table, RowExclusiveLock);
	if (pull->rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table with OID %u", into_table)));
	pull->attnums = CopyGetAttnums(RelationGetDescr(pull->rel), pull->rel, pull->columns);
	pull->pstate = make_parsestate(NULL);
	check_may_copy(pull);
	count = do_bulk(session, engine, &request);
	free_parsestate(pull->pstate);
	table_close(pull->rel, NoLock);
	return count;
}

/* ----------
 * push
 * ----------
 */
/* A table's name as SQL has it, each part of it quoted. */
static char *
quote_table(text *name)
{
	List	   *parts = textToQualifiedNameList(name);
	StringInfoData buf;
	ListCell   *lc;

	if (list_length(parts) > 3)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("improper qualified name (too many dotted names)")));
	initStringInfo(&buf);
	foreach(lc, parts)
	{
		if (buf.len > 0)
			appendStringInfoChar(&buf, '.');
		sm_append_quoted(&buf, strVal(lfirst(lc)));
	}
	return buf.data;
}

/*
 * Copy the rows of a local query into a table of the target.  columns is a
 * list of char *, or NIL for all that COPY fills.  Returns how many rows the
 * target counts.
 */
uint64
sm_bulk_push(SmSession *session, SmEngine *engine, const char *query, text *into_table,
			 List *columns)
{
	SmLocalQuery rows;
	SmBulkRequest request = {
		.function = SM_BULK_PUSH,.of.push = {.rows = &rows,.columns = columns}
	};
	uint64		count;

	if (session != NULL)
		engine = session->engine;
	check_copies(engine, "sessmgr.push()");
	request.of.push.table = quote_table(into_table);
	sm_local_query_open(&rows, "query", query);
	count = do_bulk(session, engine, &request);
	sm_local_query_close(&rows);
	return count;
}

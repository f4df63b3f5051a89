/*-------------------------------------------------------------------------
 *
 * twophase.c
 *		Two-phase transactions: their global ids, the decision, recovery.
 *
 * The decision whether what was prepared on a target is committed is the fate
 * of a row in sessmgr.two_phase, which the local transaction writes when it
 * first uses the target.  Whoever finds a prepared transaction of this database
 * waits until the local one has ended, and then looks for the row: if it is
 * there, the transaction is committed, and otherwise rolled back.  Nothing else
 * decides.  For that to hold
 *
 * - the row is on disk before anything is prepared (sm_twophase_harden()), so
 *	 that no crash gives the transaction's id to another one, and the local
 *	 commit is on disk before anything that was prepared is committed;
 * - a global id is never used twice, whatever becomes of transaction ids: it
 *	 ends in a random number;
 * - the row goes only when nothing is prepared under its id any more.  The
 *	 backend that saw it committed deletes it with its next row; sm_recover()
 *	 deletes what was left.
 *
 * A global id is sessmgr_SYSTEM_DATABASE_TRANSACTION_N_RANDOM, where the first
 * two are this cluster's system identifier and this database's oid, and
 * TRANSACTION is the local transaction's full id.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/session_private.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define DECISION_TABLE	"two_phase"

/* The columns of sessmgr.two_phase that are read here. */
#define COLUMN_GID		1
#define COLUMN_REMOTE	2

/* Ids whose rows can go, and how many of them the present one deletes. */
static char (*resolved)[SM_GID_SIZE] = NULL;
static int	nresolved = 0;
static int	resolved_capacity = 0;
static int	ndeleted = 0;

/* the subtransaction that deletes them */
static SubTransactionId deleted_by = InvalidSubTransactionId;
static int	nregistered = 0;	/* in this local transaction */

/* ----------
 * The target
 * ----------
 */
typedef struct TextSink
{
	SmSink		sink;
	MemoryContext cxt;
	List	   *rows;			/* of char **, a text for each column */
	bool		nonsense;		/* there was a NULL, which no query here
								 * returns */
} TextSink;

static bool
keep_texts(SmSink *sink, Datum *values, bool *nulls)
{
	TextSink   *self = (TextSink *) sink;
	MemoryContext old = MemoryContextSwitchTo(self->cxt);
	int			n = sink->reader->desc->natts;
	char	  **row = palloc(n * sizeof(char *));

	for (int i = 0; i < n; i++)
	{
		self->nonsense |= nulls[i];
		row[i] = nulls[i] ? NULL : TextDatumGetCString(values[i]);
	}
	self->rows = lappend(self->rows, row);
	MemoryContextSwitchTo(old);
	return true;
}

/* The rows of a query with columns of type text and no NULLs, inside a transaction. */
static List *
query_texts(SmConn *conn, const char *sql, int ncolumns)
{
	TextSink	sink = {.sink.row = keep_texts,.cxt = CurrentMemoryContext};
	SmStatement statement = {.sql = sql};
	TupleDesc	desc = CreateTemplateTupleDesc(ncolumns);
	SmStatementKind kind;

	for (int i = 1; i <= ncolumns; i++)
		TupleDescInitEntry(desc, i, "text", TEXTOID, -1, 0);
	sink.sink.reader = sm_reader_make(desc);
	(void) sm_conn_engine(conn)->driver->execute(conn, &statement, &sink.sink, &kind);
	if (sink.nonsense)
		sm_report_nonsense(conn, sql);
	return sink.rows;
}

/*
 * Learn once per connection which database it leads to, whatever name it was
 * given, and that it can prepare transactions.  Throws 55000 if it cannot.  A
 * standby has its primary's identity, but does not show what is prepared there:
 * whoever believed it would delete decisions that are still needed.
 */
static void
learn_identity(SmConn *conn)
{
	static const char sql[] =
		"SELECT pg_catalog.current_setting('max_prepared_transactions'), "
		"(SELECT system_identifier::text FROM pg_catalog.pg_control_system()), "
		"(SELECT oid::text FROM pg_catalog.pg_database "
		"WHERE datname = pg_catalog.current_database()), "
		"pg_catalog.pg_is_in_recovery()::text";
	SmConnStatus status;
	List	   *rows;
	char	  **row;

	if (sm_checkout(conn)->identity != NULL)
		return;
	sm_conn_status(conn, &status);
	/* COMMIT PREPARED may go to another server than what it is to commit */
	if (status.pooler == SM_BEHIND_TRANSACTION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("two-phase transactions cannot be used on \"%s\"", sm_conn_engine(conn)->endpoint.label),
				 errdetail("It is reached through a pooler that may give each transaction another server."),
				 errhint("Connect to the server itself, or, if the pooler keeps a client's session, say so with option pooler 'session'.")));
	rows = query_texts(conn, sql, 4);
	if (list_length(rows) != 1)
		sm_report_nonsense(conn, sql);
	row = linitial(rows);
	if (strcmp(row[3], "true") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot prepare transactions", sm_conn_engine(conn)->endpoint.label),
				 errdetail("It is a standby.")));
	if (strcmp(row[0], "0") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot prepare transactions", sm_conn_engine(conn)->endpoint.label),
				 errdetail("Its setting max_prepared_transactions is 0."),
				 errhint("Set it there to at least the number of two-phase sessions at a time, or use transaction 'joined'.")));
	sm_checkout(conn)->identity = MemoryContextStrdup(TopMemoryContext,
													  psprintf("%s/%s", row[1], row[2]));
}

/* ----------
 * The decision
 * ----------
 */
static Oid
decision_table(void)
{
	Oid			table = sm_extension_table(DECISION_TABLE);

	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table sessmgr.%s does not exist", DECISION_TABLE)));
	return table;
}

/*
 * Look for the row of one id by SnapshotSelf, which is no part of the
 * transaction's snapshot: under a strict isolation level this neither fails
 * nor makes others fail.
 */
static SysScanDesc
scan_row(Relation rel, Oid index, const char *gid)
{
	ScanKeyData key;

	ScanKeyInit(&key, COLUMN_GID, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(gid));
	key.sk_collation = DEFAULT_COLLATION_OID;
	return systable_beginscan(rel, index, true, SnapshotSelf, 1, &key);
}

/* Delete the row of one id, unless somebody else does that at this moment. */
static void
delete_row(Relation rel, Oid index, const char *gid)
{
	SysScanDesc scan = scan_row(rel, index, gid);
	HeapTuple	tuple;
	TM_FailureData failure;

	while ((tuple = systable_getnext(scan)) != NULL)
		(void) table_tuple_delete(rel, &tuple->t_self, GetCurrentCommandId(true),
								  SnapshotSelf, InvalidSnapshot, false, &failure, false);
	systable_endscan(scan);
}

/*
 * Delete the rows of what is resolved, remembering for which subtransaction:
 * if that is rolled back, they are still there.
 */
static void
delete_resolved(void)
{
	Relation	rel;

	if (nresolved == ndeleted)
		return;
	rel = table_open(decision_table(), RowExclusiveLock);
	for (int i = ndeleted; i < nresolved; i++)
		delete_row(rel, sm_primary_key_index(rel), resolved[i]);
	table_close(rel, NoLock);
	ndeleted = nresolved;
	deleted_by = GetCurrentSubTransactionId();
}

/* Room for the ids of this transaction, as there will be no way to fail then. */
static void
reserve_resolved(void)
{
	int			capacity = nresolved + nregistered + 1;

	if (capacity <= resolved_capacity)
		return;
	capacity = Max(16, 2 * capacity);
	resolved = resolved == NULL ? MemoryContextAlloc(TopMemoryContext, capacity * SM_GID_SIZE) :
		repalloc(resolved, capacity * SM_GID_SIZE);
	resolved_capacity = capacity;
}

static void
write_row(const SmSession *session)
{
	Oid			types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3];

	values[0] = CStringGetTextDatum(session->gid);
	values[1] = CStringGetTextDatum(sm_checkout(session->conn)->identity);
	values[2] = CStringGetTextDatum(session->engine->endpoint.label);
	(void) sm_extension_table_write(decision_table(),
									"INSERT INTO sessmgr." DECISION_TABLE
									" (gid, remote, target) VALUES ($1, $2, $3)",
									3, types, values);
}

/* What the ids of this database begin with. */
static char *
gid_prefix(void)
{
	return psprintf("sessmgr_" UINT64_FORMAT "_%u_", GetSystemIdentifier(), MyDatabaseId);
}

/*
 * A two-phase session's transaction has begun on its target: give it its
 * global id, and have the local transaction write its row.  Throws 25006 if
 * that is read only, 55000 if the target cannot prepare transactions.
 */
void
sm_twophase_register(SmSession *session)
{
	uint32		random[2];

	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a two-phase session on \"%s\" cannot be used in a read-only transaction",
						session->engine->endpoint.label),
				 errdetail("The local transaction must write down what it decides.")));
	learn_identity(session->conn);
	reserve_resolved();
	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	snprintf(session->gid, sizeof(session->gid),
			 "%s" UINT64_FORMAT "_%d_%08x%08x", gid_prefix(),
			 U64FromFullTransactionId(GetTopFullTransactionId()), ++nregistered,
			 random[0], random[1]);
	delete_resolved();
	write_row(session);
	SM_INJECTION_POINT("row written");
}

/*
 * Before anything is prepared: the local transaction must not have taken its
 * decision away, as by DROP EXTENSION.
 */
void
sm_twophase_check(const SmSession *session)
{
	Relation	rel = table_open(decision_table(), AccessShareLock);
	SysScanDesc scan = scan_row(rel, sm_primary_key_index(rel), session->gid);

	if (systable_getnext(scan) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the row for \"%s\" in sessmgr.%s is gone", session->engine->endpoint.label,
						DECISION_TABLE),
				 errdetail("It is to say that the transaction there commits.")));
	systable_endscan(scan);
	table_close(rel, NoLock);
}

/*
 * Before the first PREPARE: everything that recovery depends on must survive a
 * crash.
 */
void
sm_twophase_harden(void)
{
	XLogFlush(XactLastRecEnd);
	ForceSyncCommit();
}

/* Nothing is prepared under this id any more; never throws. */
void
sm_twophase_resolved(const char *gid)
{
	if (nresolved < resolved_capacity)
		snprintf(resolved[nresolved++], SM_GID_SIZE, "%s", gid);
}

/* A local subtransaction has ended; parent: only if it has committed. */
void
sm_twophase_subxact_end(SubTransactionId subid, SubTransactionId parent)
{
	if (deleted_by != subid)
		return;
	if (parent == InvalidSubTransactionId)
		ndeleted = 0;
	deleted_by = parent;
}

/* The local transaction has ended; never throws. */
void
sm_twophase_at_end(bool committed)
{
	if (committed && ndeleted > 0)
	{
		nresolved -= ndeleted;
		memmove(resolved, resolved[ndeleted], nresolved * SM_GID_SIZE);
	}
	ndeleted = 0;
	deleted_by = InvalidSubTransactionId;
	nregistered = 0;
}

/* ----------
 * Recovery
 * ----------
 */

/* A transaction found on a target. */
typedef struct Found
{
	char	   *gid;
	bool		ours;			/* may be finished by our role there */
	bool		ended;			/* and so may be finished */
	bool		resolved;
} Found;

/*
 * Wait until the local transaction behind an id has ended.  False: leave it
 * alone, it is our own, or of no transaction that this cluster has had (as
 * after a restore from an old backup, when the original may still run).
 */
static bool
wait_for_local(const char *gid)
{
	uint64		full = strtoull(gid + strlen(gid_prefix()), NULL, 10);
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	TransactionId xid = (TransactionId) full;

	if (!TransactionIdIsNormal(xid) || full >= next ||
		TransactionIdIsCurrentTransactionId(xid))
		return false;
	/* the short id of one that is very old belongs to another by now */
	if (next - full < ((uint64) 1 << 31))
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
	return true;
}

/*
 * The ids of the decisions about this remote database, as of now.  What this
 * transaction has written is none yet.
 */
static List *
read_decisions(const char *remote)
{
	Relation	rel = table_open(decision_table(), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	List	   *gids = NIL;
	HeapTuple	tuple;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, COLUMN_REMOTE, RelationGetDescr(rel), &isnull);

		if (strcmp(TextDatumGetCString(value), remote) != 0 ||
			TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)))
			continue;
		value = heap_getattr(tuple, COLUMN_GID, RelationGetDescr(rel), &isnull);
		gids = lappend(gids, TextDatumGetCString(value));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return gids;
}

static bool
has_gid(List *gids, const char *gid)
{
	ListCell   *lc;

	foreach(lc, gids)
	{
		if (strcmp(lfirst(lc), gid) == 0)
			return true;
	}
	return false;
}

/* What this database has prepared on the connection's. */
static List *
list_prepared(SmConn *conn)
{
	char	   *prefix = gid_prefix();
	List	   *rows;
	List	   *found = NIL;
	ListCell   *lc;

	rows = query_texts(conn,
					   psprintf("SELECT gid, CASE WHEN owner = current_user OR "
								"(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) "
								"THEN 't' ELSE 'f' END FROM pg_catalog.pg_prepared_xacts "
								"WHERE database = pg_catalog.current_database() "
								"AND gid ~ '^%s[1-9][0-9]*_[1-9][0-9]*_[0-9a-f]{16}$' ORDER BY prepared, gid",
								prefix), 2);
	foreach(lc, rows)
	{
		char	  **row = lfirst(lc);
		Found	   *f = palloc0(sizeof(Found));

		f->gid = row[0];
		f->ours = row[1][0] == 't';
		found = lappend(found, f);
	}
	return found;
}

/*
 * Finish one.  False: somebody else has just done it, or is doing it.
 */
static bool
finish_prepared(SmConn *conn, const char *gid, bool commit)
{
	MemoryContext cxt = CurrentMemoryContext;
	char	   *sql = psprintf("%s PREPARED %s", commit ? "COMMIT" : "ROLLBACK",
							   quote_literal_cstr(gid));
	volatile bool done = true;

	PG_TRY();
	{
		sm_driver_command(sm_conn_engine(conn)->driver, conn, sql, SM_COMMAND_COMMIT);
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		if (sm_conn_state(conn) != SM_CONN_READY ||
			(code != ERRCODE_UNDEFINED_OBJECT && code != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE))
			PG_RE_THROW();
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		done = false;
	}
	PG_END_TRY();
	return done;
}

/*
 * Delete the rows of what was finished here, and of what was decided before the
 * target was asked and is not prepared there: somebody has finished it.
 */
static void
delete_decided(List *before, List *found)
{
	Relation	rel = table_open(decision_table(), RowExclusiveLock);
	Oid			index = sm_primary_key_index(rel);
	ListCell   *lc;
	ListCell   *f;

	foreach(lc, before)
	{
		bool		prepared = false;

		foreach(f, found)
			prepared |= strcmp(((Found *) lfirst(f))->gid, lfirst(lc)) == 0;
		if (!prepared)
			delete_row(rel, index, lfirst(lc));
	}
	foreach(f, found)
	{
		if (((Found *) lfirst(f))->resolved)
			delete_row(rel, index, ((Found *) lfirst(f))->gid);
	}
	table_close(rel, NoLock);
}

/*
 * Finish what local transactions of this database have left prepared on the
 * engine's target, waiting for those that have not ended, and call report() for
 * each.  Throws 25006 in a read-only transaction, and what
 * talking to the target throws; it can then be called again.
 */
void
sm_twophase_recover(SmEngine *engine,
					void (*report) (void *arg, const char *gid, const char *outcome),
					void *arg)
{
	SmSessionOptions options = {0};
	SmConn	   *conn;
	List	   *before;
	List	   *found;
	List	   *decisions;
	ListCell   *lc;

	/* a standby does not know yet what its primary has decided */
	PreventCommandIfReadOnly("sessmgr.recover()");
	if (!sm_engine_is_remote(engine))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" has no prepared transactions to recover", engine->endpoint.label)));
	conn = sm_pool_checkout(engine);
	engine->driver->begin(conn, &options, NIL);
	learn_identity(conn);
	/* in this order: what is decided by then and not found has been resolved */
	before = read_decisions(sm_checkout(conn)->identity);
	found = list_prepared(conn);
	sm_driver_command(engine->driver, conn, "COMMIT", SM_COMMAND_PLAIN);
	SM_INJECTION_POINT("recover listed");

	foreach(lc, found)
	{
		Found	   *f = lfirst(lc);

		f->ended = f->ours && wait_for_local(f->gid);
	}
	SM_INJECTION_POINT("recover waited");
	decisions = read_decisions(sm_checkout(conn)->identity);
	foreach(lc, found)
	{
		Found	   *f = lfirst(lc);
		bool		commit = has_gid(decisions, f->gid);

		if (!f->ended)
		{
			report(arg, f->gid, f->ours ? "left alone" : "not permitted");
			continue;
		}
		f->resolved = finish_prepared(conn, f->gid, commit);
		if (f->resolved)
			report(arg, f->gid, commit ? "committed" : "rolled back");
		SM_INJECTION_POINT("recover finished one");
	}
	SM_INJECTION_POINT("recover finished");
	sm_pool_checkin(conn, SM_FROM_NOW);
	delete_decided(before, found);
	SM_INJECTION_POINT("recover deleted");
}

/*-------------------------------------------------------------------------
 *
 * session.h
 *		Sessions, and statements in and out of transactions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_SESSION_H
#define SESSMGR_SESSION_H

#include "engine/engine.h"

typedef enum SmSessionState
{
	SM_SESSION_IDLE,			/* no transaction, no connection */
	SM_SESSION_ACTIVE,			/* in a transaction, holds a connection */
	SM_SESSION_PREPARED,		/* its transaction may be prepared on the
								 * target, and awaits the end of the local one */
	SM_SESSION_LOST				/* its transaction went with its connection */
} SmSessionState;

/* Room for the global id of a two-phase transaction, see src/session/twophase.c. */
#define SM_GID_SIZE		128

/* A statement in a transaction, with what travels before it. */
typedef struct SmXactStatement
{
	SmStatement statement;
	SmSessionOptions begin;		/* what statement.begin points to */
	bool		begins;			/* the transaction begins with it */
	int			nsavepoints;	/* that there were before */
} SmXactStatement;

/* A statement that was sent, and whose answer is not received yet (async.c). */
typedef struct SmSent
{
	MemoryContext cxt;			/* that it lives in, with all it needs */
	uint64		sender;			/* handle of the session that it was sent in */
	bool		own_transaction;	/* commits by itself, on a connection just
									 * for it */
	SmXactStatement xstmt;
	SmRun	   *run;
} SmSent;

struct SmSession
{
	uint64		id;				/* its handle; 0: it has none, as a
								 * transaction that bound sessions share */
	SmSessionEnd end;			/* when it ends: by what */
	dlist_node	node;			/* in the list of all sessions */
	SmEngine   *engine;
	SmSessionOptions options;
	SmSessionState state;
	bool		ended;			/* while LOST: a statement has ended its
								 * transaction, and may have committed it */
	bool		torn;			/* while LOST: the abort of a later local
								 * transaction took it */
	bool		older;			/* its transaction is older than the local one */
	char	   *loss;			/* while LOST: what the target said to it, in
								 * malloc's memory, or NULL */
	SmConn	   *conn;			/* while ACTIVE or PREPARED, or while a
								 * statement that was sent alone is not
								 * received */
	SmSent	   *sent;			/* or NULL */
	int			running;		/* calls under way: may not be closed */
	bool		used;			/* in this local transaction */
	bool		survives;		/* opened with hold in an earlier transaction */
	SubTransactionId subid;		/* that opened it, unless it survives */
	TimestampTz opened_at;
	uint64		statements;
	int			in_this;		/* statements in this transaction */
	int			next_savepoint;
	List	   *savepoints;		/* of int, outermost first; of a bound
								 * session: of the local levels from 2 on */

	/*
	 * of a session bound to the local transaction, see
	 * src/session/savepoint_mirror.c
	 */
	int			began;			/* local nesting level of what its transaction
								 * belongs to; of a handle: of its first use
								 * of the one that it shares, or 0 */
	int			stale;			/* savepoint that is to be released, or 0 */
	char		gid[SM_GID_SIZE];	/* of a two-phase transaction */
	char		command[SM_GID_SIZE + 80];	/* what is to end it, or a part of
											 * it */
};

/*
 * Something to be done on a connection in a transaction; returns a number of
 * rows.  *kind is SM_KIND_ORDINARY before.
 */
typedef uint64 (*SmWork) (SmConn *conn, void *arg, SmStatementKind *kind);

/* A statement on many targets (see src/session/fan_out.c), and what became of it. */
typedef struct SmBranch
{
	const char *dburi;
	SmSink	   *sink;			/* or NULL */
	const char *label;			/* the dburi without secrets, as soon as it is
								 * known; for row() it is */
	uint64		count;
	ErrorData  *error;			/* or NULL: it was done */
	bool		lasts;			/* and that by itself, whatever fails here
								 * later */
} SmBranch;

typedef struct SmFanOut
{
	const char *sql;
	const SmParams *params;
	bool		together;		/* all or none: an error is raised, and they
								 * commit together */
	void		(*before_commit) (void *arg);	/* then: may still fail; or
												 * NULL */
	void	   *arg;
	int			n;
	SmBranch   *branches;
} SmFanOut;

/* twophase.c */
extern void sm_twophase_recover(SmEngine *engine,
								void (*report) (void *arg, const char *gid, const char *outcome),
								void *arg);

/* session.c */
extern dlist_head sm_sessions;
extern SmSession *sm_session_open(SmEngine *engine, const SmSessionOptions *options);
extern SmSession *sm_session_from_handle(uint64 id, bool missing_ok);
extern SmSession *sm_session_unit(SmSession *session);
extern SmSession *sm_session_unit_of_sent(SmSession *session);
extern void sm_session_begin(SmSession *session);
extern void sm_session_commit(SmSession *session);
extern void sm_session_rollback(SmSession *session);
extern void sm_session_close(SmSession *session);
extern int	sm_session_begin_nested(SmSession *session);
extern void sm_session_release(SmSession *session, int savepoint);
extern void sm_session_rollback_to(SmSession *session, int savepoint);
extern bool sm_session_in_transaction(SmSession *session);

/* execute.c */
extern uint64 sm_session_execute(SmSession *session, const char *sql,
								 const SmParams *params, SmSink *sink);
extern uint64 sm_engine_execute(SmEngine *engine, const char *sql,
								const SmParams *params, SmSink *sink);

/* async.c */
extern void sm_session_send(SmSession *session, const char *sql, const SmParams *params);
extern bool sm_session_is_busy(SmSession *session);
extern SmSession *sm_sessions_wait_any(SmSession **sessions, int n, TimestampTz deadline);
extern uint64 sm_session_receive(SmSession *session, SmSink *sink, bool *rows);
extern bool sm_session_cancel(SmSession *session);

/* fan_out.c */
extern void sm_fan_out_run(SmFanOut *fan_out);

/* xact.c */
extern void sm_xact_init(void);
extern void sm_enter(void);
extern void sm_reset(bool keep_connections);

/* bulk.c */
extern uint64 sm_bulk_execute_many(SmSession *session, SmEngine *engine, const char *sql,
								   const char *param_query);
extern uint64 sm_bulk_pull(SmSession *session, SmEngine *engine, const char *query,
						   Oid into_table, List *columns);
extern uint64 sm_bulk_push(SmSession *session, SmEngine *engine, const char *query,
						   text *into_table, List *columns);

#endif							/* SESSMGR_SESSION_H */

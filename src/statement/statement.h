/*-------------------------------------------------------------------------
 *
 * statement.h
 *		One statement on one connection, and the interface of drivers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_STATEMENT_H
#define SESSMGR_STATEMENT_H

#include "remote/remote.h"

/* A statement that a connection has seen (see src/statement/statement_cache.c). */
typedef struct SmStatementKey
{
	const char *sql;
	size_t		len;
	int			nparams;
	const Oid  *types;			/* as declared to the server */
	uint32		hash;
} SmStatementKey;

typedef struct SmStatementEntry
{
	SmStatementKey key;			/* hash key; what it points to is owned here */
	dlist_node	node;			/* most recently used first */
	bool		counted;		/* its parameters are those that it uses */
	bool		prepared;
	bool		suspect;		/* it may not be what it was when prepared */
	bool		spoiled;		/* a pooler's: not to be asked for any more */
	int			nparams;		/* known when it is prepared, as the next ones */
	Oid		   *params;			/* their types as the server sees them */
	int			nfields;		/* of its rows */
	Oid		   *fields;			/* their types */
	TupleDesc	shape;			/* the same for a sink's describe(), or NULL */
	char		name[SM_NAME_SIZE];
} SmStatementEntry;

/*
 * Where the rows of a statement go.
 *
 * "reader" is for the shape that the caller declared.  If it is NULL,
 * describe() is called once before the first row (also when there will be
 * none) with the statement's own shape, in which only types that this database
 * surely has in common with the target keep their type and all others are
 * text; it sets reader.  row() gets one row of that shape in a context that is
 * reset after it, and returns false when it wants no more: the rest is then
 * thrown away.
 * first_column: the shape has one column, and only the first column of the
 * first row is wanted; row() may get it in the context that the statement was
 * called in, where it stays.
 */
typedef struct SmSink
{
	SmReader   *reader;
	bool		first_column;
	SmStream   *stream;			/* where not NULL: the rows are read later,
								 * through it, and go to row() only where the
								 * driver cannot do that */
	bool		counts;			/* a statement without rows fits any shape */
	const char *before;			/* what stands before its columns in the
								 * caller's column definition list, or NULL */
	void		(*describe) (struct SmSink *sink, TupleDesc desc);
	bool		(*row) (struct SmSink *sink, Datum *values, bool *nulls);
} SmSink;

/* A statement on its way to a connection. */
typedef struct SmStatement
{
	const char *sql;
	const SmParams *params;
	bool		autocommit;		/* not inside a transaction of a session */
	bool		first;			/* nothing has been done in that transaction */
	const SmSessionOptions *defaults;	/* of an autocommit statement */
	bool		one_round_trip; /* must have left when sm_run_start() returns */
	const char *set_up;			/* commands for a round trip of their own
								 * before all else, which are the driver's; or
								 * NULL */

	/*
	 * Behind a pooler an autocommit statement is in a transaction that begins
	 * with these commands, or NIL; plain: it asks for nothing that would have
	 * to begin a transaction.  The driver's.
	 */
	List	   *around;
	bool		plain;
	List	   *prelude;		/* the first commands of "before", which
								 * discard the session's state and set it up;
								 * or NIL */
	/* what is to be done before it, in one way with it; gone when it is sent: */
	const SmSessionOptions *begin;	/* begin a transaction like this, or NULL */
	List	   *before;			/* of char *, commands that return nothing */
	const char *after;			/* the same to be done after it, or NULL */
	const char *cursor;			/* declare this for it instead of running it,
								 * or NULL */
	int			depth;			/* savepoints that there are then */
} SmStatement;

/* Statements that are not for a statement function. */
typedef enum SmStatementKind
{
	SM_KIND_ORDINARY,
	SM_KIND_EMPTY,
	SM_KIND_COPY,
	SM_KIND_TRANSACTION_CONTROL,
	SM_KIND_STALE				/* prepared no longer; the entry is gone, and
								 * the same statement will be prepared anew */
} SmStatementKind;

typedef enum SmRunStep
{
	SM_RUN_SETTING_UP,			/* the connection is set up anew */
	SM_RUN_VERIFYING,			/* is what was prepared still what it was? */
	SM_RUN_PREPARING,			/* it is prepared or described */
	SM_RUN_RUNNING,
	SM_RUN_ROLLING_BACK,		/* it has failed, and is to be run again */
	SM_RUN_DONE
} SmRunStep;

/* A statement on its way there and back (see src/statement/statement.c). */
typedef struct SmRun
{
	SmConn	   *conn;
	SmStatement *statement;
	SmSink	   *sink;			/* or NULL */
	bool		declared;		/* it came with a shape */
	bool		wait;			/* to its end */
	MemoryContext cxt;
	TimestampTz deadline;
	SmStatementEntry *entry;	/* or NULL: not cached, and not prepared */
	SmRunStep	step;
	int			nbefore;		/* commands of this round trip that come
								 * before it */
	int			describing;		/* the command that describes it */
	bool		counted;		/* as in an entry */
	bool		retried;
	bool		enclosed;		/* in statement->around and COMMIT */
	bool		may_be_bare;	/* it need not be */
	bool		described;		/* by this run */
	bool		changed;		/* it is not what was prepared */
	const char *columns;		/* that it returns, where the declared ones
								 * differ */
	/* reading */
	bool		reading;		/* a result with rows, or none, has come */
	bool		as_text;		/* and its values are text */
	MemoryContext rowcxt;		/* or NULL: one row at most, in cxt */
	Datum	   *row;
	bool	   *nulls;
	Datum		one_value;
	bool		one_null;
	bool		full;			/* the sink wants no more rows */
	bool		peeked;			/* conn->result is still to be looked at */
	bool		more;			/* sm_run_advance() had to stop, and can go on */
	bool		copied;			/* it was a COPY that sent something */
	bool		forget_all;		/* the server has forgotten all statements */
	bool		rows;			/* for a stream: conn->result has some */
	uint64		count;
	SmStatementKind kind;
	SmEncodedParams encoded;
	SmStatementEntry unnamed;	/* prepared, but not cached */
} SmRun;

/* How far sm_run_pull() has come. */
typedef enum SmProgress
{
	SM_PROGRESS_WAIT,			/* nothing has arrived */
	SM_PROGRESS_ROWS,			/* rows have, in conn->result */
	SM_PROGRESS_END
} SmProgress;

/*
 * The rows of a statement, read as they are wanted (see src/statement/stream_reader.c).
 * Its reader and its connection each refer to it, and either may go first: it
 * is freed by the last.  What the reader's context has goes with the reader.
 */
struct SmStream
{
	SmConnStream link;
	SmConn	   *conn;			/* NULL: it is in no list */
	struct SmStreamReader *by;	/* NULL: nobody wants its rows any more */
	bool		own_transaction;	/* its transaction is just for it */
	bool		rewind;			/* all is buffered at once, to be read again */
	bool		busy;			/* a row is being made of what was read */
	SmSink		sink;
	const char *sql;
	const char *label;			/* the engine's */
	MemoryContext cxt;			/* the reader's, as the next */
	ResourceOwner owner;
	int64		left;			/* time that it may still wait, in us */
	bool		timed;			/* is there a limit? */
	TimestampTz since;			/* when it began to wait for what it waits
								 * for, or 0 */
	TimestampTz until;			/* while it is put aside: the deadline for
								 * that */
	PGresult   *rows;			/* being read: its own, or the connection's */
	int			row;
	int			nrows;
	Tuplestorestate *store;
	TupleTableSlot *slot;		/* for rows of the store */
	/* alone: */
	SmStatement statement;
	SmRun		run;
	/* a cursor: */
	char		name[SM_NAME_SIZE]; /* or empty: there is none to be closed */
	int			depth;			/* savepoints that it was declared in */
	int			size;			/* of the next FETCH */
	int			asked;			/* of the last one */
	bool		last;			/* "rows" are the last ones */
	bool		binary;
	Oid		   *fields;
	PGresult   *ahead;			/* fetched, but not looked at, or NULL */
};

/* execute_many: a statement to be run for each row. */
typedef struct SmExecuteMany
{
	const char *sql;
	const SmLocalQuery *rows;
} SmExecuteMany;

/* pull: a query of the target and a relation here, open and checked. */
typedef struct SmPull
{
	const char *query;
	Relation	rel;
	struct ParseState *pstate;
	List	   *columns;		/* of String, or NIL */
	List	   *attnums;		/* of those columns, or of all that COPY fills */
} SmPull;

/* push: a query here and a relation of the target. */
typedef struct SmPush
{
	const SmLocalQuery *rows;
	const char *table;			/* its name, qualified and quoted */
	List	   *columns;		/* of char *, or NIL */
} SmPush;

/* Is a connection in a transaction? */
typedef enum SmTransactionStatus
{
	SM_TRANSACTION_NONE,
	SM_TRANSACTION_OPEN,
	SM_TRANSACTION_FAILED,		/* all it can do is end */
	SM_TRANSACTION_UNKNOWN		/* the connection is busy, or dead */
} SmTransactionStatus;

/* What a transaction command does, for the truth of its errors. */
typedef enum SmCommand
{
	SM_COMMAND_PLAIN,			/* nothing lasts if it fails */
	SM_COMMAND_ROLLBACK_TO,		/* a savepoint: settings go back, too */
	SM_COMMAND_COMMIT			/* something lasts, perhaps also if it fails;
								 * PREPARE TRANSACTION is one of these */
} SmCommand;

/*
 * How an engine reaches its target.  Functions that may throw leave a
 * connection BUSY or DEAD behind when they do; the transaction callbacks then
 * settle it.
 */
typedef struct SmDriver
{
	const char *name;
	bool		remote;			/* has connections to keep, and transactions
								 * of its own */
	/* begin to make a connection; throws 08001 and the like */
	SmConn	   *(*connect) (SmEndpoint *endpoint);
	/* does it look alive?  No round trip, never throws */
	bool		(*alive) (SmConn *conn);
	/* begin the same with a round trip */
	void		(*ping) (SmConn *conn);

	/*
	 * go on with connect or ping, to the end or without waiting: true when it
	 * is READY, or DEAD because the ping has failed; throws 08001 and the
	 * like, for a ping only interrupts
	 */
	bool		(*establish) (SmConn *conn, bool wait);
	/* bring it back to a fresh state for reuse; false if it must be closed */
	bool		(*reset) (SmConn *conn, SmResetMode mode, TimestampTz deadline);

	/*
	 * begin the same, on a READY connection; false: there is nothing to wait
	 * for.  Go on with it without waiting, for the last time if it is over:
	 * true when nothing is left for reset.  They never throw.  NULL where
	 * connections are not kept
	 */
	bool		(*reset_start) (SmConn *conn, SmResetMode mode);
	bool		(*reset_poll) (SmConn *conn, bool over);
	/* release everything; never throws, idempotent */
	void		(*close) (SmConn *conn);
	/* in a process forked from the one that made it: give up our copy */
	void		(*abandon) (SmConn *conn);
	/* begin a transaction as the options say, and then run these commands */
	void		(*begin) (SmConn *conn, const SmSessionOptions *options, List *then);
	/* run a command that returns nothing: SAVEPOINT, COMMIT ... */
	void		(*command) (SmConn *conn, const char *sql, SmCommand kind);
	/* the same in two halves, so that several targets can work at a time */
	void		(*command_send) (SmConn *conn, const char *sql, SmCommand kind,
								 TimestampTz deadline);
	void		(*command_finish) (SmConn *conn, const char *sql, SmCommand kind,
								   TimestampTz deadline);

	/*
	 * run a statement; returns the number of rows affected or returned.  *odd
	 * is up to the caller: SM_KIND_TRANSACTION_CONTROL if it was that,
	 * SM_KIND_STALE if a "first" one has to be run again in a new transaction
	 */
	uint64		(*execute) (SmConn *conn, SmStatement *statement, SmSink *sink,
							SmStatementKind *kind);

	/*
	 * the beginning of the same, see sm_run_start(); sm_run_advance() and
	 * sm_run_finish() are the rest.  NULL where the driver can only do all at
	 * once
	 */
	void		(*start) (SmRun *run, SmConn *conn, SmStatement *statement, SmSink *sink,
						  bool wait);

	/*
	 * The bulk functions, in a transaction.  Each returns a number of rows.
	 * NULL where the driver cannot do it.
	 */
	uint64		(*execute_many) (SmConn *conn, const SmExecuteMany *many, SmStatementKind *kind);
	uint64		(*pull) (SmConn *conn, const SmPull *pull);
	uint64		(*push) (SmConn *conn, const SmPush *push);
	/* is it in a transaction, and has that failed? */
	SmTransactionStatus (*status) (SmConn *conn);

	/*
	 * Clean up the connections of this driver that are linked by
	 * cleanup_node, all at the same time: stop what runs, and then run
	 * cleanup_sql where the connection is READY.  "ROLLBACK" is left out
	 * where no transaction is open, and what is still in one after it is
	 * DEAD; anything else is run in any case, and may fail.  A connection
	 * that is out of a transaction afterwards is ready to go back to its
	 * pool, without a further round trip.  Sets cleanup_ok and
	 * cleanup_outcome.  Afterwards each connection is READY, or DEAD, as is
	 * one that has not answered by the deadline.  Never throws, nor allocates
	 * in PostgreSQL's memory.
	 */
	void		(*cleanup) (dlist_head *conns, TimestampTz deadline);
	/* process id on the other side, 0 if unknown or none */
	int			(*pid) (SmConn *conn);
} SmDriver;

/* copy_protocol.c */
extern void sm_append_quoted(StringInfo buf, const char *identifier);

/* statement.c */
extern bool sm_run_peek(SmRun *run);
extern bool sm_run_has_rows(const SmRun *run);
extern bool sm_run_is_canceled(const SmRun *run);
extern bool sm_run_advance(SmRun *run);
extern uint64 sm_run_finish(SmRun *run, SmStatementKind *kind);

/* stream_reader.c */
extern SmStream *sm_stream_make(SmReader *reader, const char *sql, bool rewind);
extern bool sm_stream_row(SmStream *stream, Datum *values, bool *nulls);
extern void sm_stream_rewind(SmStream *stream);
extern void sm_stream_forget(SmStream *stream);
extern void sm_streams_buffer(SmConn *conn, TimestampTz deadline);
extern void sm_streams_lose(SmConn *conn, int depth);
extern void sm_streams_release(SmConn *conn, int depth);
extern void sm_streams_end(SmConn *conn);

/* driver_libpq.c */
extern const SmDriver sm_driver_libpq;

/* driver_spi.c */
extern const SmDriver sm_driver_spi;

#endif							/* SESSMGR_STATEMENT_H */

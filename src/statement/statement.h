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

/* What a bulk function wants of a driver. */
typedef struct SmBulkRequest
{
	enum
	{
		SM_BULK_EXECUTE_MANY,
		SM_BULK_PULL,
		SM_BULK_PUSH
	}			function;
	union
	{
		SmExecuteMany many;
		SmPull		pull;
		SmPush		push;
	}			of;
} SmBulkRequest;

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

/* Can a connection go back to its pool? */
typedef enum SmReuse
{
	SM_REUSE_AT_ONCE,			/* as it is */
	SM_REUSE_AFTER_RESET,		/* which has been begun */
	SM_REUSE_NEVER
} SmReuse;

/*
 * How an engine reaches its target.  Functions that may throw leave a
 * connection BUSY or DEAD behind when they do; the transaction callbacks then
 * clean it up.  What may have to wait is begun by one function and gone on with
 * by another, so that several connections can be at it at a time.
 */
typedef struct SmDriver
{
	const char *name;
	bool		remote;			/* has connections to keep, and transactions
								 * of its own */
	bool		copies;			/* can pull and push */

	/* begin to make a connection; throws 08001 and the like */
	SmConn	   *(*connect) (SmEndpoint *endpoint);

	/*
	 * Go on with that, or, on a connection that is READY, begin to see by a
	 * round trip whether it is alive and then go on with that: to the end or
	 * without waiting.  True when it is READY, or DEAD because it is not
	 * alive.  Throws 08001 and the like; for one that was READY only
	 * interrupts
	 */
	bool		(*establish) (SmConn *conn, bool wait);
	/* does it look alive?  No round trip, never throws */
	bool		(*alive) (SmConn *conn);
	/* is it in a transaction, and has that failed? */
	SmTransactionStatus (*status) (SmConn *conn);

	/*
	 * Begin to bring a READY connection back to a fresh state for reuse, and
	 * go on with that: without waiting, or to the end by a deadline.  True
	 * when it is READY or DEAD.  They never throw.
	 */
	SmReuse		(*reset) (SmConn *conn, SmResetMode mode);
	bool		(*reset_poll) (SmConn *conn, bool wait, TimestampTz deadline);

	/*
	 * Clean up the connections of this driver that were gathered with
	 * sm_cleanup_add(), all at the same time: stop what runs, and then run
	 * what is given where the connection is READY.  "ROLLBACK" is skipped
	 * where no transaction is open, and what is still in one after it is
	 * DEAD; anything else is run in any case, and may fail.  A connection
	 * that is out of a transaction afterwards is ready to go back to its
	 * pool, without a further round trip.  Afterwards each connection is
	 * READY, or DEAD, as is one that has not answered by the deadline; see
	 * sm_cleanup_ok() and sm_conn_outcome().  Never throws, nor allocates in
	 * PostgreSQL's memory.
	 */
	void		(*cleanup) (dlist_head *conns, TimestampTz deadline);

	/*
	 * Release everything.  inherited: it is that of the process which this
	 * one was forked from; only our copy of it is given up.  Never throws
	 */
	void		(*close) (SmConn *conn, bool inherited);
	/* begin a transaction as the options say, and then run these commands */
	void		(*begin) (SmConn *conn, const SmSessionOptions *options, List *then);
	/* send a command that returns nothing: SAVEPOINT, COMMIT ... */
	void		(*command_send) (SmConn *conn, const char *sql, SmCommand kind,
								 TimestampTz deadline);
	/* and read its answer */
	void		(*command_finish) (SmConn *conn, const char *sql, SmCommand kind,
								   TimestampTz deadline);

	/*
	 * Run a statement; returns the number of rows affected or returned. *kind
	 * is up to the caller: SM_KIND_TRANSACTION_CONTROL if it was that,
	 * SM_KIND_STALE if a "first" one has to be run again in a new transaction
	 */
	uint64		(*execute) (SmConn *conn, SmStatement *statement, SmSink *sink,
							SmStatementKind *kind);

	/*
	 * Begin to, see sm_run_start(); sm_run_advance() and sm_run_finish() are
	 * the rest.  NULL where the driver can only do all at once
	 */
	void		(*start) (SmRun *run, SmConn *conn, SmStatement *statement, SmSink *sink,
						  bool wait);
	/* do a bulk function's work, in a transaction; returns a number of rows */
	uint64		(*bulk) (SmConn *conn, const SmBulkRequest *request, SmStatementKind *kind);
} SmDriver;

/* driver.c */
extern void sm_driver_command(const SmDriver *driver, SmConn *conn, const char *sql,
							  SmCommand kind);

/* copy_protocol.c */
extern void sm_append_quoted(StringInfo buf, const char *identifier);

/* statement.c */
extern SmRun *sm_run_make(void);
extern TimestampTz sm_run_deadline(const SmRun *run);
extern void sm_run_extend(SmRun *run, TimestampTz deadline);
extern void sm_run_leave(SmRun *run);
extern void sm_run_attach(SmRun *run, SmSink *sink);
extern bool sm_run_peek(SmRun *run);
extern bool sm_run_has_rows(const SmRun *run);
extern bool sm_run_is_canceled(const SmRun *run);
extern bool sm_run_is_sent(const SmRun *run);
extern bool sm_run_has_more(const SmRun *run);
extern bool sm_run_had_rows(const SmRun *run);
extern bool sm_run_advance(SmRun *run);
extern uint64 sm_run_finish(SmRun *run, SmStatementKind *kind);

/* stream_reader.c */
extern SmStream *sm_stream_make(SmReader *reader, const char *sql, bool rewind);
extern SmSink *sm_stream_sink(SmStream *stream);
extern void sm_stream_set_own_transaction(SmStream *stream);
extern SmConn *sm_stream_own_conn(const SmStream *stream);
extern bool sm_stream_is_reading(const SmStream *stream);
extern bool sm_streams_any(SmConn *conn);
extern bool sm_streams_fetching(const SmConn *conn);
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

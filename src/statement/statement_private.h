/*-------------------------------------------------------------------------
 *
 * statement_private.h
 *		What only the files of src/statement share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_STATEMENT_PRIVATE_H
#define SESSMGR_STATEMENT_PRIVATE_H

#include "remote/connection.h"
#include "statement/statement.h"

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

typedef enum SmRunStep
{
	SM_RUN_SETTING_UP,			/* the connection is set up anew */
	SM_RUN_VERIFYING,			/* is what was prepared still what it was? */
	SM_RUN_PREPARING,			/* it is prepared or described */
	SM_RUN_RUNNING,
	SM_RUN_ROLLING_BACK,		/* it has failed, and is to be run again */
	SM_RUN_DONE
} SmRunStep;

/* Is an autocommit statement in statement->around and COMMIT? */
typedef enum SmEnclosure
{
	SM_ENCLOSED_NOT,
	SM_ENCLOSED,
	SM_ENCLOSED_UNTIL_REFUSED	/* it can do without */
} SmEnclosure;

/* What it has done besides, which is to be acted upon at its end. */
typedef struct SmRunEffects
{
	bool		copied;			/* it was a COPY that sent something */
	bool		forget_all;		/* the server has forgotten all statements */
} SmRunEffects;

/* The rows of a statement, on their way to the sink. */
typedef struct SmRunRows
{
	bool		begun;			/* a result with rows, or none, has come */
	bool		as_text;		/* and its values are text */
	bool		full;			/* the sink wants no more rows */
	bool		present;		/* for a stream: conn->result has some */
	bool		one_null;
	MemoryContext cxt;			/* or NULL: one row at most, in the run's */
	Datum	   *values;			/* of one row: */
	bool	   *nulls;
	Datum		one_value;
	uint64		count;
} SmRunRows;

/* A statement on its way there and back (see src/statement/statement.c). */
struct SmRun
{
	SmConn	   *conn;
	SmStatement *statement;
	SmSink	   *sink;			/* or NULL */
	MemoryContext cxt;
	TimestampTz deadline;
	SmStatementEntry *entry;	/* or NULL: not cached, and not prepared */
	SmRunStep	step;
	SmEnclosure enclosed;
	SmStatementKind kind;
	int			nbefore;		/* commands of this round trip that come
								 * before it */
	int			describing;		/* the command that describes it */
	const char *columns;		/* that it returns, where the declared ones
								 * differ */
	SmRunRows	rows;
	/* how it is run: */
	bool		declared;		/* it came with a shape */
	bool		wait;			/* to its end */
	bool		peeked;			/* conn->result is still to be looked at */
	bool		more;			/* sm_run_advance() had to stop, and can go on */
	/* what is known of it: */
	bool		counted;		/* as in an entry */
	bool		described;		/* by this run */
	bool		changed;		/* it is not what was prepared */
	bool		retried;
	SmRunEffects effects;
	SmEncodedParams encoded;
	SmStatementEntry unnamed;	/* prepared, but not cached */
};

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
	/* in its own transaction: */
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

/* A statement that is run again and again in pipeline mode. */
typedef struct SmPipeline
{
	SmConn	   *conn;
	const char *sql;
	TimestampTz deadline;
	uint64		sent;			/* rows */
	uint64		ended;			/* commands whose results were read; the first
								 * one prepares the statement */
	bool		reading;		/* in the middle of a command's results */
	int			since_flush;	/* rows sent since a flush was requested */
	size_t		unflushed;		/* bytes, roughly, since our buffer was empty */
	uint64		affected;
	char		tag[64];		/* of the first row's command */
	bool		empty;			/* there is no statement */
	PGresult   *error;			/* the first one, while it is read to its end */
	uint64		error_row;
} SmPipeline;

/* copy_protocol.c */
extern int	sm_copy_describe(SmConn *conn, const char *sql, Oid **types,
							 TimestampTz deadline);
extern List *sm_copy_columns(SmConn *conn, const char *table, bool generated,
							 TimestampTz deadline);
extern void sm_copy_out_begin(SmConn *conn, const char *sql, TimestampTz deadline);
extern int	sm_copy_out_next(SmConn *conn, char **data, bool wait, const char *sql,
							 TimestampTz deadline);
extern void sm_copy_in_begin(SmConn *conn, const char *sql, TimestampTz deadline);
extern void sm_copy_in_put(SmConn *conn, const char *data, size_t len, const char *sql,
						   TimestampTz deadline);
extern uint64 sm_copy_in_end(SmConn *conn, const char *sql, TimestampTz deadline);

/* pipeline.c */
extern void sm_pipeline_begin(SmPipeline *pipeline, SmConn *conn, const char *sql,
							  const SmEncodedParams *encoded);
extern void sm_pipeline_row(SmPipeline *pipeline, const SmEncodedParams *encoded);
extern uint64 sm_pipeline_end(SmPipeline *pipeline);

/* statement_cache.c */
extern SmStatementEntry *sm_statement_find(SmConn *conn, const char *sql, int nparams,
										   const Oid *types, TimestampTz deadline,
										   bool *seen);
extern void sm_statement_name(SmConn *conn, SmStatementEntry *entry);
extern void sm_statement_described(SmConn *conn, SmStatementEntry *entry,
								   const PGresult *res, bool shape);
extern bool sm_statement_same(const SmStatementEntry *entry, const PGresult *res);
extern void sm_statement_suspect_all(SmConn *conn);
extern void sm_statement_forget(SmConn *conn, SmStatementEntry *entry);
extern void sm_statement_forget_all(SmConn *conn);

/* statement_result.c */
extern TupleDesc sm_result_shape(const PGresult *res);
extern void sm_result_row(SmReader *reader, const SmConn *conn, const PGresult *res, int row,
						  Datum *values, bool *nulls);
extern bool sm_run_needs_shape(const SmRun *run);
extern void sm_run_check_shape(const SmRun *run, int nfields, const char *columns);
extern void sm_run_take(SmRun *run, PGresult *res);
extern SmStatementKind sm_statement_ended(SmConn *conn, const char *tag);

/* stale.c */
extern void sm_run_forget_stale(SmRun *run);
extern bool sm_run_must_prepare_again(SmRun *run);

/* statement.c */
extern void sm_run_start(SmRun *run, SmConn *conn, SmStatement *statement, SmSink *sink,
						 bool wait);
extern SmProgress sm_run_pull(SmRun *run);

/* stream_reader.c */
extern void sm_stream_start(SmConn *conn, SmStatement *statement, SmStream *stream,
							SmStatementKind *kind);

/* execute_many.c */
extern uint64 sm_execute_many_run(SmConn *conn, const SmExecuteMany *many, SmStatementKind *kind);

/* pull.c */
extern uint64 sm_pull_run(SmConn *conn, const SmPull *pull);

/* push.c */
extern uint64 sm_push_run(SmConn *conn, const SmPush *push);

#endif							/* SESSMGR_STATEMENT_PRIVATE_H */

/*-------------------------------------------------------------------------
 *
 * statement_private.h
 *		What only the files of src/statement share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_STATEMENT_PRIVATE_H
#define SESSMGR_STATEMENT_PRIVATE_H

#include "statement/statement.h"

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

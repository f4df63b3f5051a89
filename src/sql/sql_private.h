/*-------------------------------------------------------------------------
 *
 * sql_private.h
 *		What only the files of src/sql share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_SQL_PRIVATE_H
#define SESSMGR_SQL_PRIVATE_H

#include "model/model.h"

/* What a function's target is given as. */
typedef enum SmTargetArg
{
	SM_ARG_SESSION,
	SM_ARG_DBURI
} SmTargetArg;

/* A call of a function that runs a statement, decoded. */
typedef struct SmArgs
{
	SmSession  *session;		/* or NULL: a one-liner on engine */
	SmEngine   *engine;
	const char *sql;
	SmParams   *params;
} SmArgs;

/* args.c */
extern void sm_args_decode(SmArgs *call, FunctionCallInfo fcinfo, int first,
						   SmTargetArg kind, SmParams **kept);
extern uint64 sm_args_run(const SmArgs *call, SmSink *sink);

/* stream.c */
extern SmStream *sm_stream_open(const SmArgs *call, SmReader *reader, bool rewind);
extern bool sm_stream_next(SmStream *stream, Datum *values, bool *nulls);
extern void sm_stream_close(SmStream *stream);

/* scan.c */
extern void sm_scan_init(void);

/* funcs_statement.c */
extern struct Tuplestorestate *sm_make_store(FunctionCallInfo fcinfo, TupleDesc *desc);
extern ReturnSetInfo *sm_check_set_context(FunctionCallInfo fcinfo);

#endif							/* SESSMGR_SQL_PRIVATE_H */

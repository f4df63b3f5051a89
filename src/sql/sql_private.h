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

/* What is kept for a call site, in fn_extra. */
typedef struct SmCallSite
{
	SmParams   *params;
	SmReader   *reader;			/* of a scalar */
	int16		typlen;
	bool		typbyval;
} SmCallSite;

/* The arguments of a function that runs a statement. */
typedef struct SmArgs
{
	SmSession  *session;		/* or NULL: a one-liner on engine */
	SmEngine   *engine;
	const char *sql;
	SmParams   *params;
	SmCallSite *site;
} SmArgs;

/* A sink that puts rows into a tuplestore. */
typedef struct SmStoreSink
{
	SmSink		base;
	Tuplestorestate *store;
	TupleDesc	desc;			/* of the tuplestore */
	int		   *columns;		/* of desc, for each of the row; NULL: equal */
	const char *const *label;	/* what goes to the first column, or NULL */
	Datum	   *values;
	bool	   *nulls;
} SmStoreSink;

/* args.c */
extern void sm_arg_check(FunctionCallInfo fcinfo, int arg, const char *name);
extern SmEngine *sm_arg_engine(FunctionCallInfo fcinfo, bool check);
extern char *sm_arg_text(FunctionCallInfo fcinfo, int arg);
extern int	sm_arg_array(FunctionCallInfo fcinfo, int arg, const char *name, Oid type,
						 Datum **values);
extern SmSession *sm_arg_session(FunctionCallInfo fcinfo, bool missing_ok);
extern SmEngine *sm_arg_dburi(FunctionCallInfo fcinfo, int arg, Jsonb *options,
							  bool for_session);
extern void sm_args_target(SmArgs *args, FunctionCallInfo fcinfo, int arg, SmTargetArg kind);
extern void sm_args_params(SmArgs *args, FunctionCallInfo fcinfo, int first);
extern void sm_args_statement(SmArgs *args, FunctionCallInfo fcinfo, int first,
							  SmTargetArg kind);
extern uint64 sm_args_run(const SmArgs *args, SmSink *sink);

/* store.c */
extern void sm_store_check(FunctionCallInfo fcinfo);
extern TupleDesc sm_store_declared(FunctionCallInfo fcinfo, const char *name,
								   const char *example);
extern void sm_store_begin(FunctionCallInfo fcinfo, TupleDesc desc);
extern void sm_store_put(FunctionCallInfo fcinfo, Datum *values, bool *nulls);
extern void sm_store_sink(SmStoreSink *sink, Tuplestorestate *store, TupleDesc desc,
						  const char *const *label);
extern void sm_store_sink_result(SmStoreSink *sink, FunctionCallInfo fcinfo, TupleDesc desc);

/* stream.c */
extern SmStream *sm_stream_open(const SmArgs *args, SmReader *reader, bool rewind);
extern bool sm_stream_next(SmStream *stream, Datum *values, bool *nulls);
extern void sm_stream_close(SmStream *stream);

/* scan.c */
extern void sm_scan_init(void);

#endif							/* SESSMGR_SQL_PRIVATE_H */

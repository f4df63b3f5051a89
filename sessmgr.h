/*-------------------------------------------------------------------------
 *
 * sessmgr.h
 *		Shared types and prototypes of sessmgr.
 *
 * What all of it shares: the server's headers, and conventions.  Each folder of
 * src/ is a subsystem with one public header of its own name, and perhaps one,
 * ..._private.h, for its own files.  From the bottom up:
 *
 *	core	  what everything else stands on
 *	target	  options, connection strings, who may use what
 *	value	  values on their way to a target and back
 *	remote	  connections: whatever touches a PGconn
 *	statement one statement on one connection; the drivers
 *	engine	  engines and their pools
 *	session	  sessions; statements in and out of transactions
 *	model	  tables that are made on a target
 *	sql		  the functions that SQL calls
 *
 * A file includes the header of its own folder, which includes those below; what
 * is above it does not see (dev/check-layers).
 *
 * All times are milliseconds unless a name says otherwise; -1 or 0 mean "none"
 * where the option's description says so.  A TimestampTz named "deadline" is
 * absolute; SM_NO_DEADLINE never comes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_H
#define SESSMGR_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* 18 has pg_noreturn instead, in another place of the declaration. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/*
 * Known by name alone where nothing needs to be known of what is in them.
 */
typedef struct SmConn SmConn;
typedef struct SmEngine SmEngine;
typedef struct SmRun SmRun;
typedef struct SmSession SmSession;
typedef struct SmStatementCache SmStatementCache;
typedef struct SmStream SmStream;

#endif							/* SESSMGR_H */

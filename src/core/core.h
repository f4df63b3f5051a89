/*-------------------------------------------------------------------------
 *
 * core.h
 *		What everything else stands on: handles, errors that are kept, timers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_CORE_H
#define SESSMGR_CORE_H

#include "sessmgr.h"

#include "core/compat.h"

/*
 * Where a test may stop this process to look at, or kill, whatever it likes.
 * Compiled only for tests.
 */
#ifdef SM_INJECTION_POINTS
#define SM_INJECTION_POINT(name)		sm_injection_point(name)
#else
#define SM_INJECTION_POINT(name)		((void) 0)
#endif

/* What closed a session, for whoever uses it afterwards. */
typedef enum SmSessionEnd
{
	SM_END_TRANSACTION,			/* the local transaction that opened it has
								 * ended */
	SM_END_ROLLBACK,			/* the same, or a part of it, was rolled back */
	SM_END_CLOSE,				/* close() */
	SM_END_RESET				/* reset() or DISCARD ALL */
} SmSessionEnd;

/* A connection option as libpq knows it. */
typedef struct SmLibpqOption
{
	const char *keyword;		/* NULL: there are no more */
	const char *value;			/* NULL: it was given none */
	bool		secret;
	bool		debug;			/* for libpq's developers */
} SmLibpqOption;

typedef enum SmHandleKind
{
	SM_HANDLE_ENGINE,
	SM_HANDLE_SESSIONMAKER,
	SM_HANDLE_SESSION
} SmHandleKind;

/* injection_point.c */
extern void sm_injection_point_init(void);
extern void sm_injection_point(const char *name);

/* errors.c */
extern ErrorData *sm_error_catch(MemoryContext cxt);
extern void sm_error_rethrow(const ErrorData *error) pg_attribute_noreturn();

/* libpq.c */
extern bool sm_is_no_memory(const char *message);
extern SmLibpqOption *sm_conninfo_parse(const char *conninfo);

/* handle.c */
extern uint64 sm_handle_new(SmHandleKind kind, void *object);
extern void *sm_handle_get(uint64 id, SmHandleKind kind, bool missing_ok);
extern void sm_handle_forget(uint64 id, SmSessionEnd end);
extern void sm_handle_reset(void);

/* extension_table.c */
extern Oid	sm_extension_table(const char *name);
extern uint64 sm_extension_table_write(Oid table, const char *sql, int nargs, Oid *types,
									   Datum *values);

#endif							/* SESSMGR_CORE_H */

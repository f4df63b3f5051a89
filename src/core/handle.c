/*-------------------------------------------------------------------------
 *
 * handle.c
 *		The handles that SQL holds: engine, sessionmaker, session.
 *
 * A handle is 64 bits: the upper half is a random stamp of this backend, the
 * lower half a serial number.  It is a claim, not a pointer: whoever gets one
 * looks it up here, and a handle of another backend, of another kind, a made
 * up one, or one whose object is gone is told apart and refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/core.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct HandleEntry
{
	uint64		id;				/* hash key */
	SmHandleKind kind;
	void	   *object;
} HandleEntry;

static const char *const kind_names[] = {"engine", "sessionmaker", "session"};

/* So many sessions that were closed last are told apart by what closed them. */
#define MAX_CLOSED		256

typedef struct ClosedSession
{
	uint64		id;
	SmSessionEnd end;
} ClosedSession;

static ClosedSession closed[MAX_CLOSED];

static HTAB *handles = NULL;
static HandleEntry *latest = NULL;	/* of handles, found last */
static uint32 stamp = 0;
static uint32 last_serial = 0;

/*
 * Forget all handles and take a new stamp, so that none given out before is
 * ever valid again.
 */
void
sm_handle_reset(void)
{
	HASHCTL		ctl;

	if (!pg_strong_random(&stamp, sizeof(stamp)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random handle stamp")));

	if (handles != NULL)
		hash_destroy(handles);
	handles = NULL;
	latest = NULL;
	last_serial = 0;

	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(HandleEntry);
	ctl.hcxt = TopMemoryContext;
	handles = hash_create("sessmgr handles", 64, &ctl,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Register an object; throws only for lack of memory, and then did nothing. */
uint64
sm_handle_new(SmHandleKind kind, void *object)
{
	HandleEntry *entry;
	uint64		id;
	bool		found;

	do
	{
		if (++last_serial == 0)
			last_serial = 1;
		id = ((uint64) stamp << 32) | last_serial;
		entry = hash_search(handles, &id, HASH_ENTER, &found);
	} while (found);

	entry->kind = kind;
	entry->object = object;
	return id;
}

static void
format_handle(uint64 id, SmHandleKind kind, char *buf, size_t size)
{
	snprintf(buf, size, "%s/%08x/%u", kind_names[kind],
			 (uint32) (id >> 32), (uint32) id);
}

/* For an ereport: what closed a session, as far as it is remembered. */
static int
hint_of_closed(uint64 id)
{
	const ClosedSession *found = &closed[(uint32) id % MAX_CLOSED];

	if (found->id == id)
	{
		switch (found->end)
		{
			case SM_END_ROLLBACK:
				return errhint("The transaction that opened it was rolled back, or the part of it since a savepoint, which closes it also with the option \"hold\".");
			case SM_END_CLOSE:
				return errhint("It was closed by sessmgr.close().");
			case SM_END_RESET:
				return errhint("All sessions were closed by sessmgr.reset() or DISCARD ALL, those with the option \"hold\", too.");
			case SM_END_TRANSACTION:
				break;
		}
	}
	return errhint("A session ends with the transaction that opened it, unless it was opened with the option \"hold\".");
}

static void
report_gone(uint64 id, SmHandleKind kind)
{
	char		name[64];

	format_handle(id, kind, name, sizeof(name));
	if (kind == SM_HANDLE_SESSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("session \"%s\" is closed", name),
				 hint_of_closed(id)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s \"%s\" no longer exists", kind_names[kind], name),
			 kind == SM_HANDLE_ENGINE ?
			 errdetail("Its target was invalidated, or everything was reset.") :
			 errdetail("Its target was invalidated, or it was short-lived and its transaction has ended."),
			 errhint("Get a new one with sessmgr.%s().",
					 kind == SM_HANDLE_ENGINE ? "get_engine" : "create_session")));
}

/*
 * The object behind a handle, or NULL if it was one of this kind and is gone
 * and missing_ok is given.  Everything else that is not a valid handle is an
 * error.
 */
void *
sm_handle_get(uint64 id, SmHandleKind kind, bool missing_ok)
{
	HandleEntry *entry = latest;
	char		name[64];

	/* in a loop it is mostly the same handle as the last time */
	if (entry == NULL || entry->id != id)
		entry = hash_search(handles, &id, HASH_FIND, NULL);
	if (likely(entry != NULL && entry->kind == kind))
	{
		latest = entry;
		return entry->object;
	}

	if (entry == NULL && (uint32) (id >> 32) == stamp &&
		(uint32) id != 0 && (uint32) id <= last_serial)
	{
		if (!missing_ok)
			report_gone(id, kind);
		return NULL;
	}

	format_handle(id, kind, name, sizeof(name));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" was not made by this backend", kind_names[kind], name),
			 errdetail("A handle is valid only in the backend that made it, and cannot be stored or made up.")));
	return NULL;				/* keep compiler quiet */
}

/* Its object ends; "end" is for that of a session.  Never throws. */
void
sm_handle_forget(uint64 id, SmSessionEnd end)
{
	ClosedSession *slot = &closed[(uint32) id % MAX_CLOSED];

	slot->id = id;
	slot->end = end;
	/* its entry may be given to another handle */
	latest = NULL;
	hash_search(handles, &id, HASH_REMOVE, NULL);
}

/*
 * Input and output.  Input checks only the form: whether the handle means
 * anything is for its use to find out.
 */
static Datum
handle_in(const char *str, SmHandleKind kind)
{
	size_t		namelen = strlen(kind_names[kind]);
	unsigned int in_stamp = 0;
	unsigned int in_serial = 0;
	uint64		id = 0;
	char		name[64] = "";

	if (strncmp(str, kind_names[kind], namelen) == 0 &&
		sscanf(str + namelen, "/%8x/%10u", &in_stamp, &in_serial) == 2)
	{
		id = ((uint64) in_stamp << 32) | in_serial;
		format_handle(id, kind, name, sizeof(name));
	}
	/* there is one way to write a handle */
	if (strcmp(str, name) != 0 || name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"",
						kind_names[kind], str),
				 kind == SM_HANDLE_SESSION ?
				 errhint("A session is what sessmgr.session_factory(dburi) or sessmgr.open(sessionmaker) returns.") :
				 errhint("It is what sessmgr.%s(dburi) returns.",
						 kind == SM_HANDLE_ENGINE ? "get_engine" : "create_session")));

	return UInt64GetDatum(id);
}

static Datum
handle_out(uint64 id, SmHandleKind kind)
{
	char		name[64];

	format_handle(id, kind, name, sizeof(name));
	return CStringGetDatum(pstrdup(name));
}

PG_FUNCTION_INFO_V1(sm_engine_in);
PG_FUNCTION_INFO_V1(sm_engine_out);
PG_FUNCTION_INFO_V1(sm_sessionmaker_in);
PG_FUNCTION_INFO_V1(sm_sessionmaker_out);
PG_FUNCTION_INFO_V1(sm_session_in);
PG_FUNCTION_INFO_V1(sm_session_out);
PG_FUNCTION_INFO_V1(sm_handle_recv);
PG_FUNCTION_INFO_V1(sm_handle_send);

Datum
sm_engine_in(PG_FUNCTION_ARGS)
{
	return handle_in(PG_GETARG_CSTRING(0), SM_HANDLE_ENGINE);
}

Datum
sm_engine_out(PG_FUNCTION_ARGS)
{
	return handle_out((uint64) PG_GETARG_INT64(0), SM_HANDLE_ENGINE);
}

Datum
sm_sessionmaker_in(PG_FUNCTION_ARGS)
{
	return handle_in(PG_GETARG_CSTRING(0), SM_HANDLE_SESSIONMAKER);
}

Datum
sm_sessionmaker_out(PG_FUNCTION_ARGS)
{
	return handle_out((uint64) PG_GETARG_INT64(0), SM_HANDLE_SESSIONMAKER);
}

Datum
sm_session_in(PG_FUNCTION_ARGS)
{
	return handle_in(PG_GETARG_CSTRING(0), SM_HANDLE_SESSION);
}

Datum
sm_session_out(PG_FUNCTION_ARGS)
{
	return handle_out((uint64) PG_GETARG_INT64(0), SM_HANDLE_SESSION);
}

/* One binary form for all three: drivers that speak binary need it. */
Datum
sm_handle_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);

	PG_RETURN_INT64(pq_getmsgint64(buf));
}

Datum
sm_handle_send(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint64(&buf, PG_GETARG_INT64(0));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

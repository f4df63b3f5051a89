/*-------------------------------------------------------------------------
 *
 * engine.c
 *		The registry of engines: lookup, creation, invalidation, fork stamp.
 *
 * An engine is found by (effective role, dburi).  Catalog and settings changes
 * only move sm_generation; an engine that was checked at another generation
 * resolves its target and its privileges again before its next use.
 *
 * A forgotten engine (DISCARD ALL) is out of the registry, too, and only its idle
 * connections are left of it, for the next one of its role and dburi, or until
 * they expire.
 *
 * An invalidated engine is out of the registry at once, but its memory stays
 * until no session, call or checked-out connection refers to it.
 *
 * In a process that was not forked from a postmaster nothing is cached: every
 * engine is transient and ends with the local transaction.  In a process that
 * was forked from the one that filled the registry, the registry is given up
 * as it is; what it holds belongs to the parent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "engine/engine_private.h"

#include <pthread.h>

#include "access/parallel.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "parser/parse_func.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

dlist_head	sm_engines = DLIST_STATIC_INIT(sm_engines);
static dlist_head invalidated = DLIST_STATIC_INIT(invalidated);
static HTAB *registry = NULL;
static SmEngine *latest = NULL; /* of the registry, found last */
static int	owner_pid = 0;		/* whose all of this is */
static bool forked_child = false;
static int	nforgotten = 0;		/* engines that are FORGOTTEN */
static bool creating = false;	/* an engine_callback is running */
static char *engine_callback = NULL;

static void drop_engine(SmEngine *engine);

typedef struct RegistryEntry
{
	SmEngineKey key;
	SmEngine   *engine;
} RegistryEntry;

/* ----------
 * Process start, fork
 * ----------
 */
static void
flag_change(Datum arg, int cacheid, uint32 hashvalue)
{
	(void) arg;
	(void) cacheid;
	(void) hashvalue;
	sm_generation++;
}

static void
note_fork(void)
{
	forked_child = true;
}

static bool
check_engine_callback(char **newval, void **extra, GucSource source)
{
	char	   *copy;
	List	   *names;

	(void) extra;
	(void) source;
	if (**newval == '\0')
		return true;
	copy = pstrdup(*newval);
	if (!SplitIdentifierString(copy, '.', &names) || list_length(names) != 2)
	{
		GUC_check_errdetail("A function name with its schema is expected, such as \"app.on_engine\".");
		return false;
	}
	return true;
}

void
sm_engine_init(void)
{
	if (sm_setting_missing("sessmgr.engine_callback"))
		DefineCustomStringVariable("sessmgr.engine_callback",
								   "Function that is called with each engine that is made.",
								   "Schema-qualified, taking sessmgr.engine, owned by a superuser. Empty: none.",
								   &engine_callback, "", PGC_SUSET, 0,
								   check_engine_callback, NULL, NULL);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, flag_change, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, flag_change, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, flag_change, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, flag_change, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, flag_change, (Datum) 0);
	pthread_atfork(NULL, NULL, note_fork);
}

/* Does the state in memory belong to this process? */
bool
sm_engine_owned(void)
{
	return owner_pid == MyProcPid && !forked_child;
}

/* Leave everything that was inherited to the process that made it. */
static void
abandon_inherited(void)
{
	dlist_head *const lists[] = {&sm_engines, &invalidated};
	dlist_iter	i;
	dlist_iter	j;

	for (size_t n = 0; n < lengthof(lists); n++)
	{
		dlist_foreach(i, lists[n])
		{
			SmEngine   *engine = dlist_container(SmEngine, node, i.cur);

			dlist_foreach(j, &engine->pool.idle)
				engine->driver->close(sm_conn_of(j.cur), true);
		}
		dlist_init(lists[n]);
	}
	dlist_foreach(j, &sm_checked_out)
	{
		SmConn	   *conn = sm_conn_of(j.cur);

		sm_conn_engine(conn)->driver->close(conn, true);
	}
	dlist_init(&sm_checked_out);
	registry = NULL;
	latest = NULL;
	nforgotten = 0;
	creating = false;
}

static uint32
engine_key_hash(const void *key, Size keysize)
{
	(void) keysize;
	return ((const SmEngineKey *) key)->hash;
}

static bool
same_target(const SmEngineKey *a, const SmEngineKey *b)
{
	return a->roleid == b->roleid && a->len == b->len &&
		memcmp(a->dburi, b->dburi, a->len) == 0;
}

static int
engine_key_match(const void *key1, const void *key2, Size keysize)
{
	(void) keysize;
	return !same_target(key1, key2);
}

static void *
engine_key_copy(void *dest, const void *src, Size keysize)
{
	return memcpy(dest, src, keysize);
}

/*
 * The first call in this process.  Returns true if state was inherited from
 * another one, and is given up now.
 */
bool
sm_engine_take_over(void)
{
	bool		inherited = owner_pid != 0;
	HASHCTL		ctl;

	if (IsParallelWorker())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("sessmgr cannot be used in a parallel worker")));
	if (PostmasterPid != 0 && MyProcPid == PostmasterPid)
		elog(ERROR, "sessmgr cannot be used in the postmaster");

	if (inherited)
		abandon_inherited();
	sm_handle_reset();

	ctl.keysize = sizeof(SmEngineKey);
	ctl.entrysize = sizeof(RegistryEntry);
	ctl.hash = engine_key_hash;
	ctl.match = engine_key_match;
	ctl.keycopy = engine_key_copy;
	ctl.hcxt = TopMemoryContext;
	registry = hash_create("sessmgr engines", 32, &ctl,
						   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_KEYCOPY |
						   HASH_CONTEXT);
	owner_pid = MyProcPid;
	forked_child = false;
	return inherited;
}

/* ----------
 * Creation
 * ----------
 */

/* The function in sessmgr.engine_callback, checked, or InvalidOid. */
static Oid
find_callback(void)
{
	List	   *names;
	List	   *func = NIL;
	ListCell   *lc;
	Oid			argtype;
	Oid			funcid;
	HeapTuple	tuple;
	Oid			owner;

	if (engine_callback == NULL || engine_callback[0] == '\0')
		return InvalidOid;

	if (!SplitIdentifierString(pstrdup(engine_callback), '.', &names))
		elog(ERROR, "invalid sessmgr.engine_callback");
	foreach(lc, names)
		func = lappend(func, makeString(lfirst(lc)));

	argtype = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
							  CStringGetDatum("engine"),
							  ObjectIdGetDatum(get_namespace_oid("sessmgr", false)));
	funcid = LookupFuncName(func, 1, &argtype, false);

	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", funcid);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	if (((Form_pg_proc) GETSTRUCT(tuple))->proretset)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("engine callback \"%s\" must not return a set", engine_callback)));
	ReleaseSysCache(tuple);

	if (!superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("engine callback \"%s\" must be owned by a superuser",
						engine_callback)));
	if (sm_function_aclcheck(funcid, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for engine callback \"%s\"", engine_callback),
				 errhint("GRANT EXECUTE on it to the roles that make engines.")));
	return funcid;
}

static void
free_engine(SmEngine *engine)
{
	Assert(engine->users == 0 && engine->pool.nbusy == 0 && engine->pool.nidle == 0);
	list_free_deep(engine->prepared);
	if (engine->endpoint.call_options != NULL)
		pfree(engine->endpoint.call_options);
	pfree(unconstify(char *, engine->endpoint.label));
	pfree(unconstify(char *, engine->key.dburi));
	pfree(engine);
}

/* Take what was resolved; true if connections made before are no good now. */
static bool
take_target(SmEngine *engine, const SmTarget *target, uint64 generation)
{
	bool		changed = engine->fingerprint != target->fingerprint ||
		engine->endpoint.options.pooler != target->engine.pooler;

	engine->endpoint.options = target->engine;
	engine->endpoint.session = target->session;
	engine->serverid = target->serverid;
	engine->fingerprint = target->fingerprint;
	engine->checked = generation;
	sm_audience_look(&engine->endpoint);
	return changed;
}

/*
 * Take over the idle connections of a forgotten engine of the same kind, if
 * they are what this one would make; if not, they are closed.
 */
static void
inherit(SmEngine *engine)
{
	dlist_mutable_iter iter;
	dlist_mutable_iter iter2;

	if (nforgotten == 0)
		return;
	dlist_foreach_modify(iter, &sm_engines)
	{
		SmEngine   *other = dlist_container(SmEngine, node, iter.cur);

		if (other->state != SM_ENGINE_FORGOTTEN || !same_target(&other->key, &engine->key))
			continue;
		if (other->fingerprint == engine->fingerprint &&
			other->endpoint.options.pooler == engine->endpoint.options.pooler)
		{
			dlist_foreach_modify(iter2, &other->pool.idle)
			{
				SmConn	   *conn = sm_conn_of(iter2.cur);

				if (engine->pool.nidle >= engine->endpoint.options.pool_size)
					break;
				dlist_delete(&sm_checkout(conn)->node);
				other->pool.nidle--;
				sm_conn_set_endpoint(conn, &engine->endpoint);
				sm_checkout(conn)->generation = engine->pool.generation;
				dlist_push_tail(&engine->pool.idle, &sm_checkout(conn)->node);
				engine->pool.nidle++;
			}
		}
		drop_engine(other);
		break;
	}
	/* its idle_timeout may be another one */
	sm_pool_close_expired(engine, GetCurrentTimestamp());
}

static SmEngine *
make_engine(const SmEngineKey *key, Jsonb *options)
{
	/* the target holds secrets, and so may the dburi: not longer than needed */
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr target",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(cxt);
	SmEngine   *engine;
	SmTarget   *target;
	uint64		generation = sm_generation;
	char	   *dburi = pnstrdup(key->dburi, key->len);
	char	   *label = sm_dburi_redact(dburi);

	target = sm_target_resolve(key->roleid, dburi, options);
	sm_check_restricted_target(OidIsValid(target->serverid));

	MemoryContextSwitchTo(TopMemoryContext);
	engine = palloc0(sizeof(SmEngine));
	engine->key = *key;
	engine->key.dburi = engine->endpoint.dburi = pstrdup(dburi);
	engine->endpoint.roleid = key->roleid;
	engine->endpoint.label = pstrdup(label);
	if (options != NULL && JB_ROOT_COUNT(options) > 0)
	{
		engine->endpoint.call_options = palloc(VARSIZE(options));
		memcpy(engine->endpoint.call_options, options, VARSIZE(options));
	}
	MemoryContextSwitchTo(caller);

	engine->state = SM_ENGINE_NEW;
	engine->driver = (target->kind == SM_TARGET_SPI) ? &sm_driver_spi : &sm_driver_libpq;
	engine->endpoint.remote = engine->driver->remote;
	engine->transient = !sm_forked();
	engine->created_at = GetCurrentTimestamp();
	dlist_init(&engine->sessionmakers);
	sm_pool_init(&engine->pool);
	(void) take_target(engine, target, generation);
	engine->id = sm_handle_new(SM_HANDLE_ENGINE, engine);
	inherit(engine);
	dlist_push_tail(&sm_engines, &engine->node);
	MemoryContextDelete(cxt);
	return engine;
}

/* Whatever the callback returns, even NULL, is of no interest. */
static void
call_callback(Oid callback, const SmEngine *engine)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	flinfo;

	fmgr_info(callback, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = UInt64GetDatum(engine->id);
	fcinfo->args[0].isnull = false;
	(void) FunctionCallInvoke(fcinfo);
}

/* Show a new engine to the callback, if there is one, then to everybody. */
static void
introduce(SmEngine *engine, Oid callback)
{
	PG_TRY();
	{
		if (OidIsValid(callback))
		{
			creating = true;
			call_callback(callback, engine);
			creating = false;
		}
		if (!engine->transient)
			((RegistryEntry *) hash_search(registry, &engine->key, HASH_ENTER, NULL))->engine = engine;
		engine->state = SM_ENGINE_ACTIVE;
	}
	PG_CATCH();
	{
		creating = false;
		drop_engine(engine);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Make an engine and register it.  The callback runs before anything can find
 * it but by its handle; if that throws, there is no engine.
 */
static SmEngine *
create_engine(const SmEngineKey *key, Jsonb *options)
{
	SmEngine   *engine;
	Oid			callback;

	if (creating)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("an engine callback cannot make engines"),
				 errdetail("\"%s\" is running for another engine.", engine_callback)));
	callback = find_callback();
	engine = make_engine(key, options);
	introduce(engine, callback);
	return engine;
}

/* ----------
 * Lookup
 * ----------
 */
static void
recheck(SmEngine *engine)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext,
											  "sessmgr target",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	uint64		generation = sm_generation;
	SmTarget   *target = sm_target_resolve(engine->key.roleid, engine->key.dburi,
										   engine->endpoint.call_options);

	if (take_target(engine, target, generation))
	{
		engine->pool.generation++;
		(void) sm_pool_dispose(engine);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
}

/*
 * To be called before each use of an engine that may begin something: it must
 * be there, and its target and privileges must still be what they were.
 */
void
sm_engine_check(SmEngine *engine)
{
	if (unlikely(engine->state == SM_ENGINE_INVALIDATED))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("engine \"%s\" was invalidated", engine->endpoint.label),
				 errhint("Close this session and open a new one.")));
	sm_check_restricted_target(OidIsValid(engine->serverid));
	if (unlikely(engine->checked != sm_generation))
		recheck(engine);
	else if (unlikely(engine->endpoint.audience != GetOuterUserId()))
		sm_audience_look(&engine->endpoint);
}

/*
 * The registered engine of the key's role and dburi, or NULL, and then the
 * key's hash is filled in.  In a loop it is mostly the one found last.
 */
static SmEngine *
find_engine(SmEngineKey *key)
{
	RegistryEntry *entry;

	if (latest != NULL && same_target(&latest->key, key))
		return latest;
	key->hash = hash_bytes((const unsigned char *) key->dburi, key->len) ^ key->roleid;
	entry = hash_search(registry, key, HASH_FIND, NULL);
	latest = entry ? entry->engine : NULL;
	return latest;
}

/*
 * The current role's engine for dburi (of len bytes), made if there is none.
 * options may be NULL; those given must be those it was made with.
 */
SmEngine *
sm_engine_get(const char *dburi, int len, Jsonb *options, bool for_session)
{
	SmEngineKey key = {.roleid = GetUserId(),.dburi = dburi,.len = len};
	SmEngine   *engine = find_engine(&key);

	if (options != NULL && for_session)
		options = sm_options_engine_part(options);
	if (engine == NULL)
		return create_engine(&key, options);

	sm_engine_check(engine);
	if (options != NULL)
		sm_options_check_same(options, &engine->endpoint);
	engine->hits++;
	return engine;
}

/*
 * The engine behind a handle, if the current role may use it.  Without check
 * nothing may be begun on it, and its target may be gone.
 */
SmEngine *
sm_engine_from_handle(uint64 id, bool check)
{
	SmEngine   *engine = sm_handle_get(id, SM_HANDLE_ENGINE, false);

	/* an engine callback has the handle from us */
	if (engine->state != SM_ENGINE_NEW)
		sm_check_restricted_use("a handle");
	sm_check_role(engine->key.roleid, "engine");
	if (check)
		sm_engine_check(engine);
	return engine;
}

/* ----------
 * The end
 * ----------
 */

/* Free invalidated engines that nothing refers to any more. */
void
sm_engine_sweep(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &invalidated)
	{
		SmEngine   *engine = dlist_container(SmEngine, node, iter.cur);

		if (engine->users == 0 && engine->pool.nbusy == 0)
		{
			dlist_delete(&engine->node);
			free_engine(engine);
		}
	}
}

/* Take an engine out of the registry; never throws. */
static void
drop_engine(SmEngine *engine)
{
	RegistryEntry *entry;

	if (latest == engine)
		latest = NULL;
	entry = hash_search(registry, &engine->key, HASH_FIND, NULL);
	if (entry != NULL && entry->engine == engine)
		hash_search(registry, &engine->key, HASH_REMOVE, NULL);
	if (engine->state == SM_ENGINE_FORGOTTEN)
		nforgotten--;
	else
		sm_handle_forget(engine->id, SM_END_TRANSACTION);
	engine->state = SM_ENGINE_INVALIDATED;
	sm_sessionmakers_drop(engine);
	(void) sm_pool_dispose(engine);
	dlist_delete(&engine->node);
	dlist_push_tail(&invalidated, &engine->node);
	sm_engine_sweep();
}

/* True if the current role had an engine for dburi, which is gone now. */
bool
sm_engine_invalidate(const char *dburi, int len)
{
	dlist_mutable_iter iter;
	bool		found = false;

	/* there are two of a kind only where nothing is cached */
	dlist_foreach_modify(iter, &sm_engines)
	{
		SmEngine   *engine = dlist_container(SmEngine, node, iter.cur);

		if (engine->key.roleid == GetUserId() && engine->key.len == len &&
			memcmp(engine->key.dburi, dburi, len) == 0 &&
			engine->state != SM_ENGINE_NEW)
		{
			found |= engine->state == SM_ENGINE_ACTIVE;
			drop_engine(engine);
		}
	}
	return found;
}

void
sm_engine_drop_all(bool only_transient)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &sm_engines)
	{
		SmEngine   *engine = dlist_container(SmEngine, node, iter.cur);

		if (!only_transient || engine->transient)
			drop_engine(engine);
	}
	sm_engine_sweep();
}

/*
 * Forget all engines but for their idle connections, whose sessions on their
 * targets are to forget everything, too, before they are used again.
 */
void
sm_engine_forget_all(void)
{
	dlist_mutable_iter iter;
	dlist_iter	iter2;

	dlist_foreach_modify(iter, &sm_engines)
	{
		SmEngine   *engine = dlist_container(SmEngine, node, iter.cur);

		if (engine->state == SM_ENGINE_FORGOTTEN)
			continue;
		if (engine->pool.nidle == 0 || engine->transient)
		{
			drop_engine(engine);
			continue;
		}
		dlist_foreach(iter2, &engine->pool.idle)
			sm_conn_discard_first(sm_conn_of(iter2.cur));
		if (latest == engine)
			latest = NULL;
		hash_search(registry, &engine->key, HASH_REMOVE, NULL);
		sm_handle_forget(engine->id, SM_END_TRANSACTION);
		sm_sessionmakers_drop(engine);
		engine->state = SM_ENGINE_FORGOTTEN;
		nforgotten++;
	}
	sm_engine_sweep();
}

/* Close what has been idle for too long, of all engines. */
void
sm_engine_close_expired(TimestampTz now)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &sm_engines)
	{
		SmEngine   *engine = dlist_container(SmEngine, node, iter.cur);

		sm_pool_close_expired(engine, now);
		if (engine->state == SM_ENGINE_FORGOTTEN && engine->pool.nidle == 0)
			drop_engine(engine);
	}
}

/* Forget that models were prepared: those of metadata, or all if it is NULL. */
void
sm_engine_forget_prepared(const char *metadata)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sm_engines)
	{
		SmEngine   *engine = dlist_container(SmEngine, node, iter.cur);
		ListCell   *lc;

		foreach(lc, engine->prepared)
		{
			if (metadata == NULL || strcmp(lfirst(lc), metadata) == 0)
			{
				pfree(lfirst(lc));
				engine->prepared = foreach_delete_current(engine->prepared, lc);
			}
		}
	}
}

/* Is an engine_callback running?  Its engine must stay until it returns. */
bool
sm_engine_creating(void)
{
	return creating;
}

/* Is this process one that keeps what it makes? */
bool
sm_forked(void)
{
	return IsUnderPostmaster;
}

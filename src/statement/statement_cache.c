/*-------------------------------------------------------------------------
 *
 * statement_cache.c
 *		The statements that a connection has seen, and prepared.
 *
 * Keyed by text and declared parameter types, least recently used first out,
 * bounded by the option statement_cache_size.  An entry is first only the news
 * that the statement was seen.  The cache ends with its connection, or when
 * the server has forgotten everything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* so many of the last used are looked at before anything is hashed */
#define MAX_RECENT	4

/* texts longer than this, in bytes, are run but not kept */
#define MAX_CACHED_LENGTH	16384

struct SmStatementCache
{
	MemoryContext cxt;
	HTAB	   *entries;
	dlist_head	lru;
	int			n;
};

static uint32
key_hash(const void *key, Size keysize)
{
	(void) keysize;
	return ((const SmStatementKey *) key)->hash;
}

/* Are they the same statement?  Their hashes are not looked at. */
static bool
same_statement(const SmStatementKey *a, const SmStatementKey *b)
{
	return a->len == b->len && a->nparams == b->nparams &&
		memcmp(a->sql, b->sql, a->len) == 0 &&
		memcmp(a->types, b->types, a->nparams * sizeof(Oid)) == 0;
}

static int
key_match(const void *key1, const void *key2, Size keysize)
{
	const SmStatementKey *a = key1;
	const SmStatementKey *b = key2;

	(void) keysize;
	return !(a->hash == b->hash && same_statement(a, b));
}

static void *
key_copy(void *dest, const void *src, Size keysize)
{
	return memcpy(dest, src, keysize);
}

static SmStatementCache *
make_cache(void)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext,
											  "sessmgr statements",
											  ALLOCSET_SMALL_SIZES);
	SmStatementCache *cache = MemoryContextAllocZero(cxt, sizeof(SmStatementCache));
	HASHCTL		ctl;

	ctl.keysize = sizeof(SmStatementKey);
	ctl.entrysize = sizeof(SmStatementEntry);
	ctl.hash = key_hash;
	ctl.match = key_match;
	ctl.keycopy = key_copy;
	ctl.hcxt = cxt;
	cache->cxt = cxt;
	cache->entries = hash_create("sessmgr statements", 8, &ctl,
								 HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
								 HASH_KEYCOPY | HASH_CONTEXT);
	dlist_init(&cache->lru);
	return cache;
}

/* Forget all statements of a connection, without telling the server. */
void
sm_statement_forget_all(SmConn *conn)
{
	if (conn->cache == NULL)
		return;
	MemoryContextDelete(conn->cache->cxt);
	conn->cache = NULL;
}

/* Forget what the server has said of a statement. */
static void
forget_description(SmStatementEntry *entry)
{
	if (entry->fields != NULL)
	{
		pfree(entry->fields);
		pfree(entry->params);
	}
	if (entry->shape != NULL)
		pfree(entry->shape);
	entry->fields = entry->params = NULL;
	entry->shape = NULL;
}

static void
forget_entry(SmStatementCache *cache, SmStatementEntry *entry)
{
	const char *sql = entry->key.sql;
	const Oid  *types = entry->key.types;

	forget_description(entry);
	dlist_delete(&entry->node);
	cache->n--;
	hash_search(cache->entries, &entry->key, HASH_REMOVE, NULL);
	pfree(unconstify(char *, sql));
	pfree(unconstify(Oid *, types));
}

/*
 * Make room for one more statement; false: there is none now.
 *
 * The server has to forget what it prepared.  In a transaction that is not
 * tried, as it may fail and would take the transaction with it; outside of one
 * a failure means that the server does not have the statement anyway.  Nor is
 * it tried without a deadline (0), by those who cannot wait, nor by DEALLOCATE
 * behind a pooler, whose server knows another name than ours.
 */
static bool
reserve_capacity(SmConn *conn, int limit, TimestampTz deadline)
{
	SmStatementCache *cache = conn->cache;

	while (cache->n >= limit)
	{
		SmStatementEntry *entry = dlist_tail_element(SmStatementEntry, node, &cache->lru);

		if (entry->prepared)
		{
			if (PQtransactionStatus(conn->pg) != PQTRANS_IDLE || deadline == 0 ||
				(conn->remote.pooler == SM_BEHIND_TRANSACTION && !SM_CLOSES_STATEMENTS))
				return false;
			PQclear(sm_remote_close_statement(conn, entry->name, deadline));
			if (conn->state != SM_CONN_READY)
				return false;
		}
		forget_entry(cache, entry);
	}
	return true;
}

/*
 * The entry of a statement, or NULL, and then the key's hash is filled in.  A
 * loop has mostly the same few statements, which are worth no hashing.
 */
static SmStatementEntry *
find_entry(SmStatementCache *cache, SmStatementKey *key)
{
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &cache->lru)
	{
		SmStatementEntry *entry = dlist_container(SmStatementEntry, node, iter.cur);

		if (same_statement(&entry->key, key))
			return entry;
		if (++n == MAX_RECENT)
			break;
	}
	key->hash = hash_bytes((const unsigned char *) key->sql, key->len) ^
		hash_bytes((const unsigned char *) key->types, key->nparams * sizeof(Oid));
	return hash_search(cache->entries, key, HASH_FIND, NULL);
}

/*
 * The entry of a statement; *seen tells whether it was there before.  NULL if
 * it is not kept: the cache is off, the text is too long to be worth it, or
 * there is no room in the middle of a transaction.
 */
SmStatementEntry *
sm_statement_find(SmConn *conn, const char *sql, int nparams, const Oid *types,
				  TimestampTz deadline, bool *seen)
{
	int			limit = conn->endpoint->options.statement_cache_size;
	SmStatementCache *cache;
	SmStatementEntry *entry;
	SmStatementKey key;

	*seen = false;
	key.len = strlen(sql);
	if (limit <= 0 || key.len > MAX_CACHED_LENGTH)
		return NULL;
	if (conn->cache == NULL)
		conn->cache = make_cache();
	cache = conn->cache;

	key.sql = sql;
	key.nparams = nparams;
	key.types = types;
	entry = find_entry(cache, &key);
	if (entry != NULL)
	{
		*seen = true;
		dlist_move_head(&cache->lru, &entry->node);
		return entry;
	}

	if (!reserve_capacity(conn, limit, deadline))
		return NULL;
	key.sql = MemoryContextStrdup(cache->cxt, sql);
	key.types = memcpy(MemoryContextAlloc(cache->cxt, Max(nparams, 1) * sizeof(Oid)),
					   types, nparams * sizeof(Oid));
	entry = hash_search(cache->entries, &key, HASH_ENTER, NULL);
	entry->counted = false;
	entry->prepared = false;
	entry->suspect = false;
	entry->nparams = entry->nfields = 0;
	entry->params = entry->fields = NULL;
	entry->spoiled = false;
	entry->shape = NULL;
	entry->name[0] = '\0';
	dlist_push_head(&cache->lru, &entry->node);
	cache->n++;
	return entry;
}

/* Give the entry a name that the server does not know yet. */
void
sm_statement_name(SmConn *conn, SmStatementEntry *entry)
{
	(void) sm_remote_name(entry->name, conn, "", ++conn->remote.statements);
}

/*
 * Note what the server says of a statement's parameters and rows; shape: also
 * as a sink is to see these.  What is noted of a statement that is not kept is
 * in the current memory context.
 */
void
sm_statement_described(SmConn *conn, SmStatementEntry *entry, const PGresult *res,
					   bool shape)
{
	int			n = PQnfields(res);
	TupleDesc	desc = shape ? sm_result_shape(res) : NULL;
	MemoryContext old = CurrentMemoryContext;

	/* another session of the server may have prepared it in its turn */
	bool		changing = conn->remote.pooler == SM_BEHIND_TRANSACTION;

	if (entry->key.sql != NULL)
		MemoryContextSwitchTo(conn->cache->cxt);
	if (changing)
		forget_description(entry);
	if (desc != NULL && entry->shape == NULL)
		entry->shape = CreateTupleDescCopy(desc);
	if (entry->fields == NULL)
	{
		entry->params = palloc(Max(PQnparams(res), 1) * sizeof(Oid));
		for (int i = 0; i < PQnparams(res); i++)
			entry->params[i] = PQparamtype(res, i);
		entry->nparams = PQnparams(res);
		entry->fields = palloc(Max(n, 1) * sizeof(Oid));
		for (int i = 0; i < n; i++)
			entry->fields[i] = PQftype(res, i);
		entry->nfields = n;
	}
	MemoryContextSwitchTo(old);
}

/* Does the server say the same as when the statement was prepared? */
bool
sm_statement_same(const SmStatementEntry *entry, const PGresult *res)
{
	if (PQnparams(res) != entry->nparams || PQnfields(res) != entry->nfields)
		return false;
	for (int i = 0; i < entry->nparams; i++)
	{
		if (PQparamtype(res, i) != entry->params[i])
			return false;
	}
	for (int i = 0; i < entry->nfields; i++)
	{
		if (PQftype(res, i) != entry->fields[i])
			return false;
	}
	return true;
}

/*
 * What has made one prepared statement stale may have done so to others: each
 * is to be verified before it is run the next time.
 */
void
sm_statement_suspect_all(SmConn *conn)
{
	dlist_iter	iter;

	if (conn->cache == NULL)
		return;
	dlist_foreach(iter, &conn->cache->lru)
	{
		SmStatementEntry *entry = dlist_container(SmStatementEntry, node, iter.cur);

		entry->suspect |= entry->prepared;
	}
}

/* Forget one statement, without telling the server. */
void
sm_statement_forget(SmConn *conn, SmStatementEntry *entry)
{
	forget_entry(conn->cache, entry);
}

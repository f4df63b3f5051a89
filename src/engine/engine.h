/*-------------------------------------------------------------------------
 *
 * engine.h
 *		Engines, their pools, and makers of sessions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_ENGINE_H
#define SESSMGR_ENGINE_H

#include "statement/statement.h"

/* How far a checkout has come (see src/engine/pool.c). */
typedef enum SmCheckoutState
{
	SM_CHECKOUT_PENDING,
	SM_CHECKOUT_DONE,
	SM_CHECKOUT_RETRY			/* it was found dead: begin once more */
} SmCheckoutState;

/* ----------
 * Engines, sessionmakers, sessions
 * ----------
 */
typedef struct SmPool
{
	dlist_head	idle;			/* the last one given back first */
	int			nidle;
	int			nbusy;			/* checked out */
	uint32		generation;		/* older connections are not reused */
	uint64		connects;
	uint64		checkouts;
} SmPool;

typedef struct SmEngineKey
{
	Oid			roleid;
	uint32		hash;			/* of the others */
	const char *dburi;
	int			len;			/* of dburi */
} SmEngineKey;

typedef enum SmEngineState
{
	SM_ENGINE_NEW,				/* its callback is running */
	SM_ENGINE_ACTIVE,
	SM_ENGINE_FORGOTTEN,		/* only its idle connections are still of use,
								 * to the next engine of its kind */
	SM_ENGINE_INVALIDATED		/* out of the registry, waits for its users */
} SmEngineState;

/* A sessionmaker of sessions with fixed options. */
typedef struct SmSessionmaker
{
	uint64		id;
	dlist_node	node;			/* in its engine's list */
	SmEngine   *engine;
	SmSessionOptions options;
} SmSessionmaker;

struct SmEngine
{
	uint64		id;				/* its handle */
	SmEngineKey key;
	SmEngineState state;
	const SmDriver *driver;
	SmEndpoint	endpoint;
	Oid			serverid;
	uint64		fingerprint;
	uint64		checked;		/* sm_generation that it was checked at */
	int			users;			/* sessions */
	SmSession  *shared[2];		/* its transactions that are bound to the
								 * local one, as joined and as two_phase, or
								 * NULL */
	bool		transient;		/* ends with the local transaction */
	TimestampTz created_at;
	uint64		hits;
	dlist_head	sessionmakers;
	dlist_node	node;			/* in the list of all engines */
	SmPool		pool;
	List	   *prepared;		/* of char *, names of metadata */
};

/* the engine that a connection was made for */
static inline SmEngine *
sm_conn_engine(const SmConn *conn)
{
	return (SmEngine *) ((char *) sm_conn_endpoint(conn) - offsetof(SmEngine, endpoint));
}

/* Has it connections of its own, with transactions apart from the caller's? */
static inline bool
sm_engine_is_remote(const SmEngine *engine)
{
	return engine->driver->remote;
}

/* Is a session in this mode part of the local transaction, and ends with it? */
static inline bool
sm_engine_binds(const SmEngine *engine, int transaction)
{
	return transaction >= SM_TXN_JOINED && sm_engine_is_remote(engine);
}

/* pool.c */
extern void sm_pool_report_full(const SmEngine *engine, int waited) pg_attribute_noreturn();
extern bool sm_pool_has_capacity(const SmEngine *engine);
extern SmConn *sm_pool_begin(SmEngine *engine);
extern void sm_pool_give_up(SmConn *conn);
extern SmCheckoutState sm_pool_poll(SmConn *conn, bool wait);
extern SmConn *sm_pool_checkout(SmEngine *engine);
extern bool sm_pool_reset_start(SmConn *conn);
extern bool sm_pool_reset_poll(SmConn *conn, bool over);
extern void sm_pool_checkin(SmConn *conn, TimestampTz deadline);
extern TimestampTz sm_conns_clean(dlist_head *conns);
extern void sm_conn_cleanup(SmConn *conn, const char *sql, TimestampTz deadline);
extern int	sm_pool_dispose(SmEngine *engine);

/* sessionmaker.c */
extern SmSessionmaker *sm_sessionmaker_get(SmEngine *engine, Jsonb *options, bool short_lived);
extern SmSessionmaker *sm_sessionmaker_from_handle(uint64 id);
extern void sm_sessionmakers_at_end(void);
extern void sm_sessionmakers_abandon(void);

/* engine.c */
extern dlist_head sm_engines;	/* but for those invalidated */
extern void sm_engine_init(void);
extern bool sm_engine_owned(void);
extern bool sm_engine_take_over(void);
extern bool sm_engine_creating(void);
extern bool sm_forked(void);
extern SmEngine *sm_engine_get(const char *dburi, int len, Jsonb *options, bool for_session);
extern SmEngine *sm_engine_from_handle(uint64 id, bool check);
extern void sm_engine_check(SmEngine *engine);
extern bool sm_engine_invalidate(const char *dburi, int len);
extern void sm_engine_drop_all(bool only_transient);
extern void sm_engine_forget_all(void);
extern void sm_engine_sweep(void);
extern void sm_engine_forget_prepared(const char *metadata);

/* idle.c */
extern void sm_idle_start(bool inherited);
extern void sm_idle_stop(void);
extern void sm_idle_at_end(void);
extern void sm_idle_block_ends(void);

#endif							/* SESSMGR_ENGINE_H */

/*-------------------------------------------------------------------------
 *
 * pool.c
 *		An engine's open connections: checkout, check-in, ageing.
 *
 * A connection is either idle in its engine's pool, the one given back last
 * first, or checked out and then in the list sm_checked_out of all engines,
 * which the transaction callbacks go through.  It returns by sm_pool_checkin()
 * alone, which never throws and decides whether it is kept.
 *
 * The last of the idle list has been idle for the longest time, whichever end
 * connections are taken from.  Whenever one becomes idle or a pool is checked
 * for expired ones, sm_pool_due is lowered to when the last one expires; only a
 * check of all pools (src/engine/idle.c) raises it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "engine/engine_private.h"

#include "common/pg_prng.h"
#include "pgstat.h"

TimestampTz sm_pool_due = SM_NO_DEADLINE;

void
sm_pool_init(SmPool *pool)
{
	memset(pool, 0, sizeof(*pool));
	dlist_init(&pool->idle);
}

/* Close an idle connection. */
static void
close_idle(SmEngine *engine, SmConn *conn)
{
	dlist_delete(&sm_checkout(conn)->node);
	engine->pool.nidle--;
	engine->driver->close(conn, false);
}

/* Close the engine's connections that have been idle for too long. */
void
sm_pool_close_expired(SmEngine *engine, TimestampTz now)
{
	dlist_head *idle = &engine->pool.idle;
	int			timeout = engine->endpoint.options.idle_timeout;

	while (timeout > 0 && !dlist_is_empty(idle))
	{
		SmConn	   *oldest = sm_conn_of(dlist_tail_node(idle));
		TimestampTz due = TimestampTzPlusMilliseconds(sm_checkout(oldest)->since, timeout);

		if (due > now)
		{
			sm_pool_due = Min(sm_pool_due, due);
			break;
		}
		close_idle(engine, oldest);
	}
}

/*
 * A connection was found dead.  What killed it may have killed its siblings
 * that are as old, and they would each cost a look: discard them too.
 */
static void
discard_older(SmEngine *engine, TimestampTz connected_at)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &engine->pool.idle)
	{
		SmConn	   *conn = sm_conn_of(iter.cur);

		if (sm_conn_connected_at(conn) <= connected_at)
			close_idle(engine, conn);
	}
}

static bool
may_be_reused(const SmConn *conn)
{
	const SmEngine *engine = sm_conn_engine(conn);

	return engine->state != SM_ENGINE_INVALIDATED && !engine->transient &&
		sm_checkout(conn)->generation == engine->pool.generation &&
		(sm_checkout(conn)->recycle_at == SM_NO_DEADLINE ||
		 sm_checkout(conn)->recycle_at > GetCurrentTimestamp());
}

static void
check_out(SmEngine *engine, SmConn *conn, TimestampTz now)
{
	sm_checkout(conn)->session = NULL;
	sm_checkout(conn)->subid = GetCurrentSubTransactionId();
	sm_checkout(conn)->since = now;
	sm_checkout(conn)->step = SM_CHECKOUT_COMPLETE;
	sm_checkout(conn)->awaited = sm_checkout(conn)->unreceived = false;
	dlist_push_head(&sm_checked_out, &sm_checkout(conn)->node);
	engine->pool.nbusy++;
	engine->pool.checkouts++;
}

/* It goes, and if it was found dead, with it its older siblings. */
static void
discard(SmConn *conn, bool siblings)
{
	SmEngine   *engine = sm_conn_engine(conn);

	if (siblings)
		discard_older(engine, sm_conn_connected_at(conn));
	sm_conn_set_state(conn, SM_CONN_DEAD);
	sm_pool_checkin(conn, SM_NO_DEADLINE);
}

/* When a connection is too old to be used once more. */
static TimestampTz
recycle_time(TimestampTz connected_at, int recycle_ms)
{
	double		early;

	if (recycle_ms < 0)
		return SM_NO_DEADLINE;
	/* up to 10 % earlier, so that a pool's connections do not end together */
	early = 0.1 * pg_prng_double(&pg_global_prng_state);
	return TimestampTzPlusMilliseconds(connected_at, (int64) (recycle_ms * (1.0 - early)));
}

/* An idle connection that looks alive, checked out, or NULL. */
static SmConn *
take_idle(SmEngine *engine)
{
	SmPool	   *pool = &engine->pool;
	TimestampTz now;

	if (dlist_is_empty(&pool->idle))
		return NULL;

	/* their time may have come in a transaction, where no timer closes them */
	now = GetCurrentTimestamp();
	sm_pool_close_expired(engine, now);
	while (!dlist_is_empty(&pool->idle))
	{
		SmConn	   *conn = engine->endpoint.options.pool_use_lifo ?
			sm_conn_of(dlist_head_node(&pool->idle)) :
			sm_conn_of(dlist_tail_node(&pool->idle));
		bool		reuse = may_be_reused(conn);
		bool		alive = reuse && engine->driver->alive(conn);

		dlist_delete(&sm_checkout(conn)->node);
		pool->nidle--;
		sm_conn_set_state(conn, SM_CONN_READY);
		check_out(engine, conn, now);
		if (alive)
			return conn;
		discard(conn, reuse);
	}
	return NULL;
}

/* May the engine have one more connection? */
static bool
may_connect(const SmEngine *engine)
{
	const SmEngineOptions *options = &engine->endpoint.options;

	return options->poolclass == SM_POOL_NULL || options->max_overflow < 0 ||
		!sm_engine_is_remote(engine) || engine->transient ||
		engine->pool.nbusy + engine->pool.nidle < options->pool_size + options->max_overflow;
}

/* Is there any use in trying to check out a connection? */
bool
sm_pool_has_capacity(const SmEngine *engine)
{
	return engine->pool.nidle > 0 || may_connect(engine);
}

/* Raise 53300: the pool's limit is reached, and was for this long (ms). */
void
sm_pool_report_full(const SmEngine *engine, int waited)
{
	const SmEngineOptions *options = &engine->endpoint.options;

	ereport(ERROR,
			(errcode(ERRCODE_TOO_MANY_CONNECTIONS),
			 errmsg("connection limit of \"%s\" reached", engine->endpoint.label),
			 waited > 0 ?
			 errdetail("pool_size is %d, max_overflow is %d, connections checked out: %d; waited %d ms (pool_timeout).",
					   options->pool_size, options->max_overflow, engine->pool.nbusy, waited) :
			 errdetail("pool_size is %d, max_overflow is %d, connections checked out: %d.",
					   options->pool_size, options->max_overflow, engine->pool.nbusy),
			 errhint("Commit, roll back or close sessions that are no longer needed, or raise the limits.")));
}

/*
 * Begin to check a connection out: it is an idle one, READY or being pinged, or
 * one that is being made.  NULL: the pool's limit is reached.  Throws what
 * beginning to connect throws.
 */
SmConn *
sm_pool_begin(SmEngine *engine)
{
	SmConn	   *conn = take_idle(engine);

	if (conn != NULL)
	{
		if (engine->endpoint.options.pool_pre_ping)
			sm_checkout(conn)->step = SM_CHECKOUT_PINGING;
	}
	else if (may_connect(engine))
	{
		conn = engine->driver->connect(&engine->endpoint);
		sm_checkout(conn)->generation = engine->pool.generation;
		check_out(engine, conn, GetCurrentTimestamp());
		sm_checkout(conn)->step = SM_CHECKOUT_CONNECTING;
		sm_checkout(conn)->recycle_at = SM_NO_DEADLINE;
	}
	return conn;
}

/* Give up what sm_pool_begin() returned before it can be used; never throws. */
void
sm_pool_give_up(SmConn *conn)
{
	if (sm_checkout(conn)->step == SM_CHECKOUT_CONNECTING)
		sm_conn_engine(conn)->pool.checkouts--;
	discard(conn, false);
}

/*
 * Go on with what sm_pool_begin() returned: to its end, or without waiting,
 * when its socket is ready.  Throws what connecting throws, and the connection
 * is gone then.
 */
SmCheckoutState
sm_pool_poll(SmConn *conn, bool wait)
{
	SmEngine   *engine = sm_conn_engine(conn);
	bool		established = true;

	if (likely(sm_checkout(conn)->step == SM_CHECKOUT_COMPLETE))
		return SM_CHECKOUT_DONE;
	PG_TRY();
	{
		established = engine->driver->establish(conn, wait);
	}
	PG_CATCH();
	{
		sm_pool_give_up(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!established)
		return SM_CHECKOUT_PENDING;
	if (sm_conn_state(conn) == SM_CONN_DEAD)
	{
		discard(conn, true);
		return SM_CHECKOUT_RETRY;
	}
	if (sm_checkout(conn)->step == SM_CHECKOUT_CONNECTING)
	{
		engine->pool.connects++;
		sm_checkout(conn)->since = sm_conn_connected_at(conn);
		sm_checkout(conn)->recycle_at = recycle_time(sm_conn_connected_at(conn),
													 engine->endpoint.options.pool_recycle);
	}
	sm_checkout(conn)->step = SM_CHECKOUT_COMPLETE;
	return SM_CHECKOUT_DONE;
}

/*
 * A connection of the engine, READY and checked out by the current
 * subtransaction.  It must be given back with sm_pool_checkin(); if an error
 * prevents that, the transaction callbacks do it.
 *
 * Throws 53300 when the pool's limit is reached, and what connecting throws.
 */
SmConn *
sm_pool_checkout(SmEngine *engine)
{
	SmConn	   *conn;

	do
	{
		conn = sm_pool_begin(engine);
		/* all that fill it are this backend's, so to wait would be of no use */
		if (conn == NULL)
			sm_pool_report_full(engine, 0);
	} while (sm_pool_poll(conn, true) == SM_CHECKOUT_RETRY);
	return conn;
}

static bool
may_be_kept(const SmConn *conn)
{
	const SmEngine *engine = sm_conn_engine(conn);

	return sm_conn_is_reusable(conn) && sm_engine_is_remote(engine) &&
		engine->endpoint.options.poolclass == SM_POOL_QUEUE &&
		engine->pool.nidle < engine->endpoint.options.pool_size && may_be_reused(conn);
}

static SmReuse
begin_reset(SmConn *conn)
{
	const SmEngine *engine = sm_conn_engine(conn);

	return engine->driver->reset(conn, engine->endpoint.options.pool_reset_on_return);
}

/*
 * For those who must not wait: begin what a check-in would wait for.  False:
 * there is nothing.  Otherwise sm_pool_reset_poll() is to be called whenever its
 * socket is ready, until that is true; then sm_pool_checkin() does not wait.
 * Never throws.
 */
bool
sm_pool_reset_start(SmConn *conn)
{
	sm_streams_end(conn);
	return may_be_kept(conn) && begin_reset(conn) == SM_REUSE_AFTER_RESET;
}

/* over: there is no time left. */
bool
sm_pool_reset_poll(SmConn *conn, bool over)
{
	return sm_conn_engine(conn)->driver->reset_poll(conn, over, 0);
}

/* Bring it back to a fresh state; false: it must be closed. */
static bool
reset(SmConn *conn, TimestampTz deadline)
{
	const SmEngine *engine = sm_conn_engine(conn);

	switch (begin_reset(conn))
	{
		case SM_REUSE_AT_ONCE:
			return true;
		case SM_REUSE_NEVER:
			return false;
		case SM_REUSE_AFTER_RESET:
			break;
	}
	if (deadline == SM_FROM_NOW)
		deadline = sm_deadline(engine->endpoint.options.cleanup_timeout);
	(void) engine->driver->reset_poll(conn, true, deadline);
	return sm_conn_state(conn) == SM_CONN_READY;
}

/*
 * Give a connection back: it is kept for reuse or closed.  Any transaction in
 * it is rolled back, by the deadline.  Never throws.
 */
void
sm_pool_checkin(SmConn *conn, TimestampTz deadline)
{
	SmEngine   *engine = sm_conn_engine(conn);
	bool		keep;

	sm_streams_end(conn);
	keep = may_be_kept(conn) && reset(conn, deadline);

	dlist_delete(&sm_checkout(conn)->node);
	engine->pool.nbusy--;
	sm_checkout(conn)->session = NULL;
	if (!keep)
	{
		engine->driver->close(conn, false);
		return;
	}
	sm_checkout(conn)->since = GetCurrentTimestamp();
	sm_conn_set_state(conn, SM_CONN_IDLE);
	dlist_push_head(&engine->pool.idle, &sm_checkout(conn)->node);
	engine->pool.nidle++;
	sm_pool_close_expired(engine, sm_checkout(conn)->since);
}

/* ----------
 * Clean-up
 * ----------
 */

/* Have the connections cleaned up by their drivers (see SmDriver). */
static void
clean_up(dlist_head *conns, TimestampTz deadline)
{
	while (!dlist_is_empty(conns))
	{
		const SmDriver *driver =
			sm_conn_engine(sm_cleanup_conn(dlist_head_node(conns)))->driver;
		dlist_head	same = DLIST_STATIC_INIT(same);
		dlist_mutable_iter iter;

		dlist_foreach_modify(iter, conns)
		{
			if (sm_conn_engine(sm_cleanup_conn(iter.cur))->driver != driver)
				continue;
			dlist_delete(iter.cur);
			dlist_push_tail(&same, iter.cur);
		}
		driver->cleanup(&same, deadline);
	}
}

/*
 * Clean up these connections, all at the same time, by one deadline: the
 * longest of the engines concerned, which is returned.  What then follows
 * should find nothing left to wait for.  Never throws.
 */
TimestampTz
sm_conns_clean(dlist_head *conns)
{
	TimestampTz deadline;
	int			timeout = 1;
	dlist_iter	iter;

	dlist_foreach(iter, conns)
	{
		const SmConn *conn = sm_cleanup_conn(iter.cur);

		timeout = Max(timeout, sm_conn_engine(conn)->endpoint.options.cleanup_timeout);
	}
	deadline = sm_deadline(timeout);
	clean_up(conns, deadline);
	return deadline;
}

/* Clean up one connection, and with it nothing else, by this deadline.  Never throws. */
void
sm_conn_cleanup(SmConn *conn, const char *sql, TimestampTz deadline)
{
	dlist_head	conns = DLIST_STATIC_INIT(conns);

	sm_cleanup_add(&conns, conn, sql);
	clean_up(&conns, deadline);
}

/* Close all idle connections; returns how many there were. */
int
sm_pool_dispose(SmEngine *engine)
{
	int			n = 0;

	while (!dlist_is_empty(&engine->pool.idle))
	{
		close_idle(engine, sm_conn_of(dlist_head_node(&engine->pool.idle)));
		n++;
	}
	return n;
}

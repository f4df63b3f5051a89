/*-------------------------------------------------------------------------
 *
 * sessionmaker.c
 *		Factories of sessions (sessionmaker): an engine and session options.
 *
 * A cached sessionmaker lives as long as its engine; there is one for each set of
 * options.  A short-lived one is never in that cache and lives until the local
 * transaction ends; so do all where nothing is cached.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "engine/engine_private.h"

#include "utils/memutils.h"

static dlist_head short_lived_ones = DLIST_STATIC_INIT(short_lived_ones);

static void
drop_sessionmaker(SmSessionmaker *sessionmaker)
{
	dlist_delete(&sessionmaker->node);
	sm_handle_forget(sessionmaker->id, SM_END_TRANSACTION);
	pfree(sessionmaker);
}

/*
 * The engine's sessionmaker for these session options (NULL: none), made if there
 * is none or if it is to be short-lived.
 */
SmSessionmaker *
sm_sessionmaker_get(SmEngine *engine, Jsonb *options, bool short_lived)
{
	SmSessionOptions wanted = engine->endpoint.session;
	SmSessionmaker *sessionmaker;
	dlist_iter	iter;

	sm_check_restricted_use("sessions");
	if (options != NULL)
		sm_options_apply_session(options, &wanted);
	if (!sm_engine_is_remote(engine))
		sm_options_check_spi(&wanted);

	if (!short_lived)
	{
		dlist_foreach(iter, &engine->sessionmakers)
		{
			sessionmaker = dlist_container(SmSessionmaker, node, iter.cur);
			if (memcmp(&sessionmaker->options, &wanted, sizeof(wanted)) == 0)
				return sessionmaker;
		}
	}

	sessionmaker = MemoryContextAllocZero(TopMemoryContext, sizeof(SmSessionmaker));
	sessionmaker->engine = engine;
	sessionmaker->options = wanted;
	sessionmaker->id = sm_handle_new(SM_HANDLE_SESSIONMAKER, sessionmaker);
	dlist_push_tail(short_lived ? &short_lived_ones : &engine->sessionmakers,
					&sessionmaker->node);
	return sessionmaker;
}

/* The sessionmaker behind a handle, if the current role may use it. */
SmSessionmaker *
sm_sessionmaker_from_handle(uint64 id)
{
	SmSessionmaker *sessionmaker = sm_handle_get(id, SM_HANDLE_SESSIONMAKER, false);

	sm_check_restricted_use("a handle");
	sm_check_role(sessionmaker->engine->endpoint.roleid, "sessionmaker");
	return sessionmaker;
}

/* An engine goes, and its sessionmakers with it. */
void
sm_sessionmakers_drop(SmEngine *engine)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &engine->sessionmakers)
		drop_sessionmaker(dlist_container(SmSessionmaker, node, iter.cur));
	dlist_foreach_modify(iter, &short_lived_ones)
	{
		SmSessionmaker *sessionmaker = dlist_container(SmSessionmaker, node, iter.cur);

		if (sessionmaker->engine == engine)
			drop_sessionmaker(sessionmaker);
	}
}

/* The local transaction has ended. */
void
sm_sessionmakers_at_end(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &short_lived_ones)
		drop_sessionmaker(dlist_container(SmSessionmaker, node, iter.cur));
}

/* In a forked process: the parent's are not ours. */
void
sm_sessionmakers_abandon(void)
{
	dlist_init(&short_lived_ones);
}

/*-------------------------------------------------------------------------
 *
 * sessionmaker.c
 *		Factories of sessions (sessionmaker): an engine and session options.
 *
 * A cached factory lives as long as its engine; there is one for each set of
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
drop_factory(SmFactory *factory)
{
	dlist_delete(&factory->node);
	sm_handle_forget(factory->id, SM_END_TRANSACTION);
	pfree(factory);
}

/*
 * The engine's factory for these session options (NULL: none), made if there
 * is none or if it is to be short-lived.
 */
SmFactory *
sm_factory_get(SmEngine *engine, Jsonb *options, bool short_lived)
{
	SmSessionOptions wanted = engine->endpoint.session;
	SmFactory  *factory;
	dlist_iter	iter;

	sm_check_restricted_use("sessions");
	if (options != NULL)
		sm_options_apply_session(options, &wanted);
	if (!engine->endpoint.remote)
		sm_options_check_spi(&wanted);

	if (!short_lived)
	{
		dlist_foreach(iter, &engine->factories)
		{
			factory = dlist_container(SmFactory, node, iter.cur);
			if (memcmp(&factory->options, &wanted, sizeof(wanted)) == 0)
				return factory;
		}
	}

	factory = MemoryContextAllocZero(TopMemoryContext, sizeof(SmFactory));
	factory->engine = engine;
	factory->options = wanted;
	factory->id = sm_handle_new(SM_HANDLE_FACTORY, factory);
	dlist_push_tail(short_lived ? &short_lived_ones : &engine->factories,
					&factory->node);
	return factory;
}

/* The factory behind a handle, if the current role may use it. */
SmFactory *
sm_factory_from_handle(uint64 id)
{
	SmFactory  *factory = sm_handle_get(id, SM_HANDLE_FACTORY, false);

	sm_check_restricted_use("a handle");
	sm_check_role(factory->engine->endpoint.roleid, "sessionmaker");
	return factory;
}

/* An engine goes, and its factories with it. */
void
sm_factories_drop(SmEngine *engine)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &engine->factories)
		drop_factory(dlist_container(SmFactory, node, iter.cur));
	dlist_foreach_modify(iter, &short_lived_ones)
	{
		SmFactory  *factory = dlist_container(SmFactory, node, iter.cur);

		if (factory->engine == engine)
			drop_factory(factory);
	}
}

/* The local transaction has ended. */
void
sm_factories_at_end(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &short_lived_ones)
		drop_factory(dlist_container(SmFactory, node, iter.cur));
}

/* In a forked process: the parent's are not ours. */
void
sm_factories_abandon(void)
{
	dlist_init(&short_lived_ones);
}

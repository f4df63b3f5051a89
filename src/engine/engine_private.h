/*-------------------------------------------------------------------------
 *
 * engine_private.h
 *		What only the files of src/engine share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_ENGINE_PRIVATE_H
#define SESSMGR_ENGINE_PRIVATE_H

#include "engine/engine.h"

/* pool.c */
extern TimestampTz sm_pool_due; /* no idle connection expires before this */
extern void sm_pool_init(SmPool *pool);
extern void sm_pool_close_expired(SmEngine *engine, TimestampTz now);

/* sessionmaker.c */
extern void sm_sessionmakers_drop(SmEngine *engine);

/* engine.c */
extern void sm_engine_close_expired(TimestampTz now);

#endif							/* SESSMGR_ENGINE_PRIVATE_H */

/*-------------------------------------------------------------------------
 *
 * model.h
 *		Models: tables that are made on a target.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_MODEL_H
#define SESSMGR_MODEL_H

#include "session/session.h"

/* models.c */
extern void sm_models_add(Oid relid, Name metadata);
extern bool sm_models_drop(Oid relid);
extern void sm_models_forget_dropped(void);
extern void sm_models_tell_none(Oid roleid, const char *metadata);

/* model_prepare.c */
extern int	sm_models_prepare(SmEngine *engine, const char *metadata);
extern bool sm_models_prepared(SmEngine *engine, const char *metadata);

#endif							/* SESSMGR_MODEL_H */

/*-------------------------------------------------------------------------
 *
 * core_private.h
 *		What only the files of src/core share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_CORE_PRIVATE_H
#define SESSMGR_CORE_PRIVATE_H

#include "core/core.h"

/* injection_point.c */
extern void sm_injection_point(const char *name);

#endif							/* SESSMGR_CORE_PRIVATE_H */

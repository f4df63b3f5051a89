/*-------------------------------------------------------------------------
 *
 * value_private.h
 *		What only the files of src/value share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_VALUE_PRIVATE_H
#define SESSMGR_VALUE_PRIVATE_H

#include "value/value.h"

/* types.c */
extern Oid	sm_base_type(Oid type, Oid *element);
extern Oid	sm_sent_type(Oid type);
extern SmForm sm_type_form(Oid type);

#endif							/* SESSMGR_VALUE_PRIVATE_H */

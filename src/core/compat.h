/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between the supported PostgreSQL and libpq versions.
 *
 * This is the only file with conditionals on PG_VERSION_NUM or LIBPQ_HAS_*.
 * Everything else is written against the names defined here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_COMPAT_H
#define SESSMGR_COMPAT_H

#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_proc.h"
#include "libpq-fe.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

#define SM_OUR_MAJOR_VERSION	(PG_VERSION_NUM / 10000)

#if PG_VERSION_NUM < 150000
#error "sessmgr needs PostgreSQL 15 or later"
#endif

/* Wait sets outlive transactions: no resource owner, and their own memory. */
#if PG_VERSION_NUM >= 170000
#define sm_CreateWaitEventSet(nevents) CreateWaitEventSet(NULL, (nevents))
#else
#define sm_CreateWaitEventSet(nevents) CreateWaitEventSet(TopMemoryContext, (nevents))
#endif

/* Since 17 an extension can name its waits in pg_stat_activity. */
#if PG_VERSION_NUM >= 170000
#define sm_NewWaitEvent(name) WaitEventExtensionNew(name)
#else
#define sm_NewWaitEvent(name) ((void) (name), PG_WAIT_EXTENSION)
#endif

/* Since 18 it may be told to take one that is deferrable. */
#if PG_VERSION_NUM >= 180000
#define sm_primary_key_index(rel) RelationGetPrimaryKeyIndex((rel), false)
#else
#define sm_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* libpq/libpq.h has it, but wants GSSAPI's headers, which may not be installed. */
extern bool pq_check_connection(void);

/* object_aclcheck() replaced one function for each kind of object in 16. */
#if PG_VERSION_NUM >= 160000
#define sm_server_aclcheck(oid, role, mode) \
	object_aclcheck(ForeignServerRelationId, (oid), (role), (mode))
#define sm_wrapper_aclcheck(oid, role, mode) \
	object_aclcheck(ForeignDataWrapperRelationId, (oid), (role), (mode))
#define sm_function_aclcheck(oid, role, mode) \
	object_aclcheck(ProcedureRelationId, (oid), (role), (mode))
#define sm_class_ownercheck(oid, role) \
	object_ownercheck(RelationRelationId, (oid), (role))
#else
#define sm_server_aclcheck(oid, role, mode) \
	pg_foreign_server_aclcheck((oid), (role), (mode))
#define sm_wrapper_aclcheck(oid, role, mode) \
	pg_foreign_data_wrapper_aclcheck((oid), (role), (mode))
#define sm_function_aclcheck(oid, role, mode) \
	pg_proc_aclcheck((oid), (role), (mode))
#define sm_class_ownercheck(oid, role) \
	pg_class_ownercheck((oid), (role))
#endif

/*
 * The server's list of connection options that are safe for its extensions
 * came in a minor release and has no macro of its own: the Makefile looks for
 * it in the headers.
 */
#ifdef HAVE_LIBPQSRV_CHECK_PROXY_CONNINFO
#include "libpq/libpq-be-fe-helpers.h"
#define sm_check_proxy_option(keyword) libpqsrv_is_valid_proxy_option(keyword)
#else
#define sm_check_proxy_option(keyword) ((void) (keyword), true)
#endif

/* A parameter more in 18: whether to log that the lock was not available. */
#if PG_VERSION_NUM >= 180000
#define sm_LockAcquireQuietly(tag, mode) \
	LockAcquireExtended((tag), (mode), false, true, false, NULL, false)
#else
#define sm_LockAcquireQuietly(tag, mode) \
	LockAcquireExtended((tag), (mode), false, true, false, NULL)
#endif

/* Another name in 16. */
#if PG_VERSION_NUM >= 160000
#define sm_local_beentry(i) pgstat_get_local_beentry_by_index(i)
#else
#define sm_local_beentry(i) pgstat_fetch_stat_local_beentry(i)
#endif

/* libpq 17 can send a cancel request without blocking (see cancel.c). */
#ifdef LIBPQ_HAS_ASYNC_CANCEL
#define SM_ASYNC_CANCEL 1
#endif

/* libpq 17 can close a prepared statement, which is no error if it is not there. */
#ifdef LIBPQ_HAS_CLOSE_PREPARED
#define SM_CLOSES_STATEMENTS true
#define sm_send_close(pg, name) PQsendClosePrepared((pg), (name))
#else
#define SM_CLOSES_STATEMENTS false
#define sm_send_close(pg, name) \
	PQsendQueryParams((pg), psprintf("DEALLOCATE %s", (name)), 0, NULL, NULL, NULL, NULL, 0)
#endif

/* Since 18 OLD and NEW of RETURNING are told apart. */
#if PG_VERSION_NUM >= 180000
#define sm_expandRTE(rte, rti, names, vars) \
	expandRTE((rte), (rti), 0, VAR_RETURNING_DEFAULT, -1, false, (names), (vars))
#else
#define sm_expandRTE(rte, rti, names, vars) \
	expandRTE((rte), (rti), 0, -1, false, (names), (vars))
#endif

/* libpq 17 can hand out rows by the chunk instead of one by one. */
#ifdef LIBPQ_HAS_CHUNK_MODE
#define sm_set_rows_mode(pg) PQsetChunkedRowsMode((pg), 32)
#define sm_has_rows(res) \
	(PQresultStatus(res) == PGRES_SINGLE_TUPLE || \
	 PQresultStatus(res) == PGRES_TUPLES_CHUNK || \
	 PQresultStatus(res) == PGRES_TUPLES_OK)
#else
#define sm_set_rows_mode(pg) PQsetSingleRowMode(pg)
#define sm_has_rows(res) \
	(PQresultStatus(res) == PGRES_SINGLE_TUPLE || \
	 PQresultStatus(res) == PGRES_TUPLES_OK)
#endif

/* Since 16 what a query may do to a relation is not kept in its RTE. */
#if PG_VERSION_NUM >= 160000
#define sm_permissions(nsitem) ((nsitem)->p_perminfo)
#define sm_check_permissions(pstate, nsitem) \
	ExecCheckPermissions((pstate)->p_rtable, list_make1((nsitem)->p_perminfo), true)
#else
#define sm_permissions(nsitem) ((nsitem)->p_rte)
#define sm_check_permissions(pstate, nsitem) \
	ExecCheckRTPerms((pstate)->p_rtable, true)
#endif

/* Catalog values of 18, which no catalog of an older server contains. */
#ifndef CONSTRAINT_NOTNULL
#define CONSTRAINT_NOTNULL 'n'
#endif
#ifndef ATTRIBUTE_GENERATED_VIRTUAL
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#endif

#endif							/* SESSMGR_COMPAT_H */

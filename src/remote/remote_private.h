/*-------------------------------------------------------------------------
 *
 * remote_private.h
 *		What only the files of src/remote share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_REMOTE_PRIVATE_H
#define SESSMGR_REMOTE_PRIVATE_H

#include "remote/connection.h"

#define SM_CHAIN_SETTING	"sessmgr.loopback_depth"

/* results and messages that a target may have to say that nobody asked for */
#define SM_MAX_UNASKED 100

/* environment.c */
extern PGconn *sm_libpq_start(const char *const *keywords, const char *const *values);
extern PostgresPollingStatusType sm_libpq_poll(PGconn *pg);

/* report.c */
extern int	sm_sqlstate(const char *code);
extern void sm_notice_receiver(void *arg, const PGresult *res);
extern bool sm_error_is_fatal(const PGresult *res);
extern int	sm_error_position(const SmConn *conn, const PGresult *res);
extern bool sm_error_promises(const PGresult *res, bool is_commit);
extern void sm_keep_fatal_message(SmConn *conn, const PGresult *res);
extern void sm_notices_forget(SmConn *conn);
extern void sm_report_result(SmConn *conn, PGresult *res, const char *sql,
							 const char *hint) pg_attribute_noreturn();

/* connection.c */
extern dlist_head sm_connections;	/* of SmConn: all that may have a socket */

/* wait.c */
extern void sm_name_waits(void);
extern uint32 sm_wait_connect;
extern uint32 sm_wait_cleanup;
extern bool sm_checks_client(void);
extern bool sm_descriptors_left(int n);
extern void sm_set_wait_events(SmConn *conn, uint32 events);

/* cancel.c */
extern void sm_cancel_learn_start(SmConn *conn);
extern void sm_cancel_learn_end(SmConn *conn);
extern bool sm_cancel_start(SmConn *conn);
extern void sm_cancel_poll(SmConn *conn);
extern void sm_cancel_end(SmConn *conn);

/* cleanup.c */
extern bool sm_is_tag_of(const char *tag, const char *sql);
extern void sm_cleanup_reserve(SmConn *conn);
extern void sm_cleanup_release(SmConn *conn);

/* deadlock_remote.c */
extern char *sm_deadlock_ask(SmConn *conn, bool *pending);

/* deadlock.c */
extern long sm_deadlock_round(const SmConn *conn, const SmWatch *watch, long timeout);
extern void sm_deadlock_check(SmConn *conn, SmWatch *watch, const char *sql);
extern bool sm_is_of_this_cluster(SmConn *conn);

/* chain.c */
extern int	sm_chain_next(void);
extern char *sm_chain_options(const char *options);
extern void sm_chain_check(SmConn *conn);
extern void sm_chain_failed(SmConn *conn, const char *sqlstate);

/* command.c */
extern void sm_report_connect_failure(SmConn *conn, const char *message);
extern bool sm_remote_wait_ready(SmConn *conn, uint32 events, const char *sql,
								 TimestampTz deadline);

/* hosts.c */
extern SmHosts *sm_hosts_make(const SmTarget *target);
extern const SmTarget *sm_hosts_next(SmHosts *hosts);
extern void sm_hosts_note_failure(SmHosts *hosts, const char *reason);
extern const char *sm_hosts_failures(const SmHosts *hosts);
extern bool sm_hosts_choosy(const SmHosts *hosts);
extern char *sm_hosts_label(const SmHosts *hosts);
extern void sm_hosts_free(SmHosts *hosts);

#endif							/* SESSMGR_REMOTE_PRIVATE_H */

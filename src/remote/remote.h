/*-------------------------------------------------------------------------
 *
 * remote.h
 *		Connections: whatever touches a PGconn.
 *
 * Here is what all may know of a connection.  Of what it is made of,
 * connection.h tells src/remote and src/statement alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_REMOTE_H
#define SESSMGR_REMOTE_H

#include "value/value.h"

#define SM_NO_DEADLINE		DT_NOEND
#define SM_MAX_LATE			64	/* reads after a deadline, of what has arrived */
#define SM_FROM_NOW			((TimestampTz) 0)	/* the engine's
												 * cleanup_timeout, counted
												 * from when it is needed */

/*
 * A connection's life.  The transitions are made by sm_conn_set_state() and
 * nowhere else; whatever is not listed there is an assertion failure.
 *
 *	CONNECTING -> READY (connected, checked out) or DEAD
 *	READY <-> IDLE (in the pool)
 *	READY <-> BUSY (a command is on its way)
 *	any -> DEAD (to be closed at check-in)
 *
 * but that one that was not ready for use yet may begin again at CONNECTING.
 */
typedef enum SmConnState
{
	SM_CONN_CONNECTING,
	SM_CONN_IDLE,
	SM_CONN_READY,
	SM_CONN_BUSY,
	SM_CONN_DEAD
} SmConnState;

/* What became of a command that was given up. */
typedef enum SmOutcome
{
	SM_OUTCOME_NONE,			/* it had no effect */
	SM_OUTCOME_DONE,			/* it was done nevertheless */
	SM_OUTCOME_UNKNOWN			/* one or the other */
} SmOutcome;

/* What stands between a connection and its server, as far as it matters. */
typedef enum SmPooler
{
	SM_BEHIND_NONE,
	SM_BEHIND_SESSION,			/* a pooler, but the server's session is ours */
	SM_BEHIND_TRANSACTION		/* each transaction may have another session */
} SmPooler;

/* How far a checkout is from a connection that can be used. */
typedef enum SmCheckoutStep
{
	SM_CHECKOUT_COMPLETE,
	SM_CHECKOUT_PINGING,		/* taken from the pool, and has not answered */
	SM_CHECKOUT_CONNECTING		/* made for it */
} SmCheckoutStep;

/* What the pool, and the session that holds it, keep with a connection. */
typedef struct SmCheckout
{
	dlist_node	node;			/* in its pool's idle list, or sm_checked_out */
	SmSession  *session;		/* that holds it, if any */
	SmCheckoutStep step;
	SubTransactionId subid;		/* of the checkout or the last command */
	uint32		generation;		/* the pool's when it was connected */
	TimestampTz since;			/* when it became idle or was checked out */
	TimestampTz recycle_at;		/* or SM_NO_DEADLINE */
	char	   *identity;		/* of the remote database, for two-phase, or
								 * NULL */
	bool		unreceived;		/* a statement was sent on it, and the answer
								 * is for later */
	bool		awaited;		/* this backend waits for it, and for others */
} SmCheckout;

/* A connection begins with it. */
static inline SmCheckout *
sm_checkout(const SmConn *conn)
{
	return (SmCheckout *) conn;
}

/* The connection that a pool's list of idle ones or sm_checked_out refers to. */
static inline SmConn *
sm_conn_of(dlist_node *node)
{
	return (SmConn *) dlist_container(SmCheckout, node, node);
}

/* What there is to be seen of a connection. */
typedef struct SmConnStatus
{
	SmConnState state;
	int			pid;			/* of the server's process, 0 if unknown */
	TimestampTz connected_at;	/* 0: it is only being made */
	SmPooler	pooler;
	bool		maps_statements;	/* a pooler, which keeps names of prepared
									 * statements true */
	bool		bulk;			/* a bulk function is under way, and so far: */
	uint64		bulk_rows;
	uint64		bulk_bytes;
	uint64		statements;		/* sent so far */
} SmConnStatus;

/* Sockets to be waited for at the same time (see src/remote/wait_many.c). */
typedef struct SmWaitSlot
{
	pgsocket	sock;			/* or PGINVALID_SOCKET */
	uint32		events;
} SmWaitSlot;

typedef struct SmWaits
{
	int			capacity;
	SmWaitSlot *slots;			/* what is to be waited for */
	SmWaitSlot *present;		/* what the set was made for */
	bool	   *ready;
	bool		stale;
	struct WaitEventSet *set;
	struct WaitEvent *events;
} SmWaits;

/* The deadlock checks during one wait for a connection (src/remote/deadlock.c). */
typedef struct SmWatch
{
	TimestampTz next;			/* when to check; 0: deadlock_timeout from the
								 * wait's begin */
	List	   *waits;			/* others can see that we wait for these
								 * processes */
	List	   *owned;			/* others can see that these wait for us */
} SmWatch;

/* Room for a name of sm_remote_name(). */
#define SM_NAME_SIZE	48

typedef void (*SmRaise) (const void *arg, bool named);

/* report.c */
extern bool sm_ereport_nothrow(SmRaise raise, const void *arg);
extern char *sm_take_fatal_message(SmConn *conn);
extern char *sm_report_loss(const SmConn *conn);
extern char *sm_report_text(const char *message);
extern int	sm_report_context(const SmEndpoint *endpoint, const char *sql);
extern void sm_report_nonsense(SmConn *conn, const char *sql) pg_attribute_noreturn();

/* connection.c */
extern dlist_head sm_checked_out;	/* of SmConn, of all engines */
extern void sm_conn_set_state(SmConn *conn, SmConnState state);
extern void sm_conn_set_endpoint(SmConn *conn, SmEndpoint *endpoint);
extern SmConnState sm_conn_state(const SmConn *conn);
extern SmEndpoint *sm_conn_endpoint(const SmConn *conn);
extern TimestampTz sm_conn_connected_at(const SmConn *conn);
extern TimestampTz sm_conn_deadline(const SmConn *conn);
extern SmOutcome sm_conn_outcome(const SmConn *conn);
extern bool sm_conn_is_reusable(const SmConn *conn);
extern void sm_conn_discard_first(SmConn *conn);
extern bool sm_conn_commits(const SmConn *conn);
extern bool sm_conn_has_committed(const SmConn *conn);
extern bool sm_conn_in_bulk(const SmConn *conn);
extern void sm_conn_status(const SmConn *conn, SmConnStatus *status);
extern pgsocket sm_remote_socket(const SmConn *conn);
extern uint32 sm_remote_events(const SmConn *conn);

/* wait.c */
extern uint32 sm_wait_command;
extern TimestampTz sm_deadline(int timeout_ms);
extern long sm_remaining(TimestampTz deadline);
extern long sm_client_round(long timeout);
extern void sm_client_check(void);

/* cancel.c */
extern pgsocket sm_cancel_socket(const SmConn *conn);
extern TimestampTz sm_cancel_patience(TimestampTz deadline);

/* cleanup.c */
extern void sm_cleanup_add(dlist_head *conns, SmConn *conn, const char *sql);
extern SmConn *sm_cleanup_conn(dlist_node *node);
extern bool sm_cleanup_ok(const SmConn *conn);
extern bool sm_cleanup_failed(const SmConn *conn, const char *sql);
extern void sm_cleanup_start(SmConn *conn, const char *sql, bool discard);
extern uint32 sm_cleanup_events(SmConn *conn);
extern uint32 sm_cleanup_cancel_events(const SmConn *conn);
extern TimestampTz sm_cleanup_due(const SmConn *conn);
extern void sm_cleanup_finish(SmConn *conn, TimestampTz deadline);
extern bool sm_cleanup_poll(SmConn *conn, bool cancel, bool over);

/* deadlock_remote.c */
extern void sm_deadlock_ask_end(void);
extern void sm_deadlock_ask_abandon(void);

/* deadlock.c */
extern bool sm_deadlock_due(SmWatch *watch);
extern long sm_deadlock_wait(const SmWatch *watch, long timeout);
extern char *sm_deadlock_find(SmConn *conn, SmWatch *watch, bool tell);
extern void sm_deadlock_report(SmConn *conn, const char *detail, const char *sql) pg_attribute_noreturn();
extern void sm_deadlock_end(SmWatch *watch);
extern bool sm_deadlock_found_here(const ErrorData *error);

/* chain.c */
extern void sm_chain_init(void);

/* command.c */
extern void sm_remote_given_up(SmConn *conn, const char *sql, const char *reason);
extern void sm_report_timeout(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern bool sm_remote_take(SmConn *conn);
extern char *sm_commands_join(const List *commands);

/* connect.c */
extern const char *sm_remote_name(char *buf, const SmConn *conn, const char *kind, uint64 n);

/* wait_many.c */
extern void sm_waits_init(SmWaits *waits, int capacity);
extern void sm_waits_clear(SmWaits *waits);
extern void sm_waits_add(SmWaits *waits, int slot, pgsocket sock, uint32 events);
extern void sm_waits_renew(SmWaits *waits);
extern bool sm_waits_wait(SmWaits *waits, long timeout, uint32 wait_event);
extern void sm_waits_free(SmWaits *waits);
extern bool sm_remote_cancel(SmConn *conn, TimestampTz deadline);

#endif							/* SESSMGR_REMOTE_H */

/*-------------------------------------------------------------------------
 *
 * remote.h
 *		Connections: whatever touches a PGconn.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_REMOTE_H
#define SESSMGR_REMOTE_H

#include "value/value.h"

#define SM_NO_DEADLINE		DT_NOEND
#define SM_MAX_LATE			64	/* reads after a deadline, of what has arrived */
#define SM_MAX_LATE_MS		250 /* and how long they may take in all */
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

/* What cleanup.c is doing to a connection, in this order. */
typedef enum SmCleanupStep
{
	SM_CLEANUP_STOPPING,		/* cancels what runs, and reads it to its end */
	SM_CLEANUP_COMMANDING,		/* runs cleanup_sql */
	SM_CLEANUP_DISCARDING,		/* runs DISCARD ALL */
	SM_CLEANUP_DONE
} SmCleanupStep;

/* How far a request to cancel has come. */
typedef enum SmCancelState
{
	SM_CANCEL_NONE,				/* there is none */
	SM_CANCEL_WRITING,			/* its socket is to become writable */
	SM_CANCEL_READING,			/* or readable */
	SM_CANCEL_TAKEN,			/* the server has acted on it */
	SM_CANCEL_FAILED			/* and here it may do so at any time, or never */
} SmCancelState;

typedef struct SmHosts SmHosts;

typedef enum SmStreamState
{
	SM_STREAM_NEW,
	SM_STREAM_READING,			/* rows come from the connection */
	SM_STREAM_BUFFERED,			/* the rest is in "store" */
	SM_STREAM_ENDED,			/* all have been read */
	SM_STREAM_LOST				/* what it was read from is gone */
} SmStreamState;

/* A stream as its connection knows it (see src/statement/stream_reader.c). */
typedef struct SmConnStream
{
	dlist_node	node;			/* in the connection's list */
	SmStreamState state;
} SmConnStream;

struct SmConn
{
	dlist_node	node;			/* in its pool's idle list, or sm_checked_out */
	dlist_node	open_node;		/* in sm_connections */
	SmEndpoint *endpoint;		/* its engine's */
	SmConnState state;
	uint32		generation;		/* the pool's when it was connected */
	TimestampTz connected_at;
	TimestampTz since;			/* when its state became what it is */
	TimestampTz recycle_at;		/* or SM_NO_DEADLINE */
	uint64		statements;		/* sent so far */
	SmSession  *session;		/* that holds it, if any */
	bool		unreceived;		/* a statement was sent on it, and the answer
								 * is for later */
	SubTransactionId subid;		/* of the checkout or the last command */
	bool		made;			/* for this checkout, not taken from the pool */
	bool		pinged;			/* for it, and has not answered yet */
	TimestampTz deadline;		/* of being made, or pinged */

	/* for SmDriver's cleanup */
	dlist_node	cleanup_node;	/* in the list given to it */
	const char *cleanup_sql;	/* to be run after settling, or NULL */
	bool		cleanup_ok;		/* it was done */
	SmOutcome	cleanup_outcome;	/* of what was running */

	/* what follows is the libpq driver's */
	PGconn	   *pg;
	SmHosts    *hosts;			/* until it is ready for use: what else to try */
	PostgresPollingStatusType polling;	/* while it is CONNECTING */
	uint64		bytes_received; /* bytes, until it is ready for use */
	bool		timed_out;		/* an attempt to make it */
	bool		password_must_be_used;
	PGresult   *result;			/* the one being read, freed on any way out */
	PGresult   *error;			/* that of the command being read, the same */
	dlist_head	streams;		/* that are read from it
								 * (src/statement/stream_reader.c) */
	SmConnStream *fetching;		/* whose FETCH is on the wire, or NULL */
	uint64		tag;			/* in its names for objects of the session,
								 * which nobody else uses */
	uint64		named;			/* prepared statements so far */
	uint32		cursors;		/* the same */
	SmPooler	pooler;
	bool		maps_statements;	/* it keeps names of prepared statements
									 * true */
	bool		probing;		/* it is being found out, while it is set up */
	struct WaitEventSet *waitset;
	int			waitset_events; /* what it waits for on the socket */
	bool		fd_acquired;	/* counted with AcquireExternalFD */
	bool		commits;		/* what is on its way commits by itself */
	bool		completed;		/* a CommandComplete of it was seen */
	bool		answered;		/* the same, or an error, or that it is empty */
	int			answers_left;	/* that it may still have: more than one only
								 * for a message of several commands */
	int			commands;		/* of a pipeline: to be ended before its sync */
	int			copy_command;	/* which of them, or 0, may be a COPY; -1:
								 * none */
	bool		unsent;			/* not all of it has left this process */
	bool		failed;			/* an error of the server was read for it */
	bool		fresh;			/* nothing was sent since DISCARD ALL */
	bool		discard;		/* DISCARD ALL is to come before anything else */
	bool		simple_copy;	/* it is a COPY FROM STDIN of the simple
								 * protocol */
	int			syncs;			/* of a pipeline: sent, and not yet read */
	int			ended;			/* commands of a pipeline read to their end */
	int			late_looks;		/* at its socket, after the deadline */
	TimestampTz late_since;		/* the first of them */
	uint64		error_row;		/* that the error about to be raised belongs
								 * to */
	bool		error_elsewhere;	/* and its position is not one in the
									 * statement */
	bool		bulk;			/* it is a bulk function's; how far that is: */
	uint64		bulk_rows;
	uint64		bulk_bytes;
	bool		cleanup_fetch;	/* a FETCH was running: it may be done */
	bool		cleanup_reserved;	/* counted with sm_cleanup_reserve() */
	bool		cleanup_discard;	/* DISCARD ALL is to end the settling */
	SmCleanupStep cleanup_step;
	SmOutcome	cleanup_reading;	/* of what is being read, as far as it is
									 * known */
	bool		set_up;			/* sm_remote_setup_commands() hold */
	bool		set_up_late;	/* since they were run inside a transaction */
	bool		set_up_lent;	/* and this will end them, for what we know */
	char	   *identity;		/* of the remote database, for two-phase, or
								 * NULL */
	bool		no_client_check;	/* it cannot look after its client */
	bool		listens;		/* to notifications: not for reuse */
	bool		broken;			/* libpq has lost count of what it reads */
	bool		ending;			/* the server has said that it ends the
								 * session */
	char	   *fatal_message;	/* how it has said so, in malloc's memory, or
								 * NULL */
	const char *violation;		/* of the protocol, by what it has said, or
								 * NULL */
	int			encoding;		/* what it was connected with */
	SmPeer		peer;
	SmSessionOptions defaults;	/* the default_transaction_* set on it */
	bool		defaults_unknown;	/* a statement may have changed them */
	int			backend;		/* its process id if it is of this cluster, 0:
								 * not known yet, -1: it is not (deadlock.c) */
	bool		chain_failed;	/* a chain that it is part of: not for reuse */
	bool		awaited;		/* this backend waits for it, and for others */
	TimestampTz asked_at;		/* when its server last told about it, and
								 * what */
	int			blocker;		/* (deadlock_remote.c): the backend of ours
								 * that it */
	bool		blocked;		/* waits for, or 0; said twice */
	uint64		asked_for;		/* its statement then: "statements" */
	SmStatementCache *cache;
	struct SmNotice *notices;	/* queued by libpq, newest first */
	int			nnotices;
	size_t		notice_bytes;
	uint64		dropped_notices;
	/* for cancel.c */
	SmCancelState cancel_state;
	TimestampTz cancel_due;		/* when to ask once more */
	struct pg_cancel_conn *cancel_request;
	/* the same, where libpq cannot cancel without blocking */
	pgsocket	cancel_socket;
	int			cancel_pid;
	int			cancel_key;
	FILE	   *trace;
	char		trace_line[80];
	int			trace_used;
};

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

/* The looks for a deadlock during one wait for a connection (src/remote/deadlock.c). */
typedef struct SmWatch
{
	TimestampTz next;			/* when to look; 0: deadlock_timeout from the
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
extern char *sm_report_cause(const SmConn *conn, const PGresult *res);
extern void sm_notices_report(SmConn *conn);
extern char *sm_report_text(const char *message);
extern int	sm_report_context(const SmEndpoint *endpoint, const char *sql);
extern bool sm_report_echoes(const SmEndpoint *endpoint);
extern void sm_report_echo(const SmEndpoint *endpoint, const char *sql);
extern char *sm_report_columns(TupleDesc desc, const char *before);
extern void sm_report_shape(const SmEndpoint *endpoint, const char *sql, int returned,
							int declared, const char *columns) pg_attribute_noreturn();
extern void sm_report_copy(const SmEndpoint *endpoint, bool done) pg_attribute_noreturn();
extern void sm_report_empty(const SmEndpoint *endpoint) pg_attribute_noreturn();
extern void sm_report_lost(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern void sm_report_violation(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern void sm_report_nonsense(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern void sm_report_unknown(SmConn *conn, const char *sql, const char *why) pg_attribute_noreturn();

/* wait.c */
extern dlist_head sm_connections;	/* of SmConn: all that may have a socket */
extern dlist_head sm_checked_out;	/* of SmConn, of all engines */
extern uint32 sm_wait_command;
extern void sm_name_waits(void);
extern TimestampTz sm_deadline(int timeout_ms);
extern long sm_remaining(TimestampTz deadline);
extern long sm_client_round(long timeout);
extern void sm_client_look(void);
extern void sm_conn_set_state(SmConn *conn, SmConnState state);

/* cancel.c */
extern pgsocket sm_cancel_socket(const SmConn *conn);
extern TimestampTz sm_cancel_patience(TimestampTz deadline);

/* cleanup.c */
extern void sm_cleanup_start(SmConn *conn, const char *sql, bool discard);
extern uint32 sm_cleanup_events(SmConn *conn);
extern uint32 sm_cleanup_cancel_events(const SmConn *conn);
extern TimestampTz sm_cleanup_due(const SmConn *conn);
extern bool sm_cleanup_poll(SmConn *conn, bool cancel, bool over);
extern void sm_remote_cleanup_all(dlist_head *conns, TimestampTz deadline);
extern SmOutcome sm_remote_cleanup(SmConn *conn, TimestampTz deadline);

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
extern void sm_remote_wait(SmConn *conn, uint32 events, const char *sql,
						   TimestampTz deadline);
extern void sm_remote_begin(SmConn *conn, bool commits);
extern void sm_remote_sent(SmConn *conn, int sent, bool wait, const char *sql,
						   TimestampTz deadline);
extern bool sm_remote_take(SmConn *conn);
extern PGresult *sm_remote_next(SmConn *conn, const char *sql, TimestampTz deadline);
extern bool sm_remote_is_broken(SmConn *conn);
extern bool sm_remote_is_stuck(SmConn *conn);
extern void sm_remote_keep_error(SmConn *conn, PGresult **error);
extern void sm_remote_raise(SmConn *conn, PGresult *error, const char *sql,
							bool is_commit) pg_attribute_noreturn();
extern char *sm_commands_join(const List *commands);
extern void sm_remote_commands_send(SmConn *conn, const List *commands, bool wait,
									TimestampTz deadline);
extern int	sm_remote_send_commands(SmConn *conn, const char *sql);
extern void sm_remote_command_send(SmConn *conn, const char *sql, bool commits,
								   TimestampTz deadline);
extern void sm_remote_command_finish(SmConn *conn, const char *sql, bool commits,
									 TimestampTz deadline);
extern PGresult *sm_remote_close_statement(SmConn *conn, const char *name,
										   TimestampTz deadline);
extern void sm_remote_ping(SmConn *conn, TimestampTz deadline);
extern bool sm_remote_ping_poll(SmConn *conn, bool wait);

/* watch.c */
extern uint64 sm_watched_query_run(SmConn *conn, const SmLocalQuery *rows, SmRowFunction function,
								   void *arg, const char *sql);

/* connect.c */
extern List *sm_remote_setup_commands(const SmConn *conn);
extern const char *sm_remote_name(char *buf, const SmConn *conn, const char *kind, uint64 n);
extern void sm_remote_is_set_up(SmConn *conn, const SmSessionOptions *defaults);
extern void sm_remote_is_discarded(SmConn *conn, const SmSessionOptions *defaults);
extern bool sm_remote_drifted(const SmConn *conn);
extern pgsocket sm_remote_socket(const SmConn *conn);
extern uint32 sm_remote_events(const SmConn *conn);
extern SmConn *sm_remote_connect(SmEndpoint *endpoint, const SmTarget *target);
extern bool sm_remote_connect_poll(SmConn *conn, bool wait);
extern void sm_conn_set_endpoint(SmConn *conn, SmEndpoint *endpoint);
extern void sm_remote_close(SmConn *conn);
extern void sm_remote_abandon(SmConn *conn);
extern bool sm_remote_alive(SmConn *conn);

/* wait_many.c */
extern void sm_waits_init(SmWaits *waits, int capacity);
extern void sm_waits_clear(SmWaits *waits);
extern void sm_waits_add(SmWaits *waits, int slot, pgsocket sock, uint32 events);
extern void sm_waits_renew(SmWaits *waits);
extern bool sm_waits_wait(SmWaits *waits, long timeout, uint32 wait_event);
extern void sm_waits_free(SmWaits *waits);
extern bool sm_remote_cancel(SmConn *conn, TimestampTz deadline);

#define SM_HINT_CAST "Cast it here, as in NULL::integer or 'a'::text, or in the statement, as in $1::text."

/* statement_text.c */
extern bool sm_statement_may_commit(const char *sql);
extern bool sm_statement_is_empty(const char *sql);
extern void sm_statement_check_params(const SmConn *conn, const char *sql, int given);
extern const char *sm_statement_hint(const SmConn *conn, const char *sql, int sqlstate,
									 int position);

#endif							/* SESSMGR_REMOTE_H */

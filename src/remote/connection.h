/*-------------------------------------------------------------------------
 *
 * connection.h
 *		What a connection is made of, and how commands go over it: for
 *		src/remote and src/statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_CONNECTION_H
#define SESSMGR_CONNECTION_H

#include "remote/remote.h"

#define SM_HINT_CAST "Cast it here, as in NULL::integer or 'a'::text, or in the statement, as in $1::text."

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

/* A connection that is being made, or pinged. */
typedef struct SmAttempt
{
	SmHosts    *hosts;			/* what else to try, or NULL */
	PostgresPollingStatusType polling;	/* while it is CONNECTING */
	TimestampTz deadline;
	uint64		bytes_received; /* until it is ready for use */
	bool		timed_out;		/* an attempt before this one */
	bool		password_must_be_used;	/* or the connection is refused */
	bool		probing;		/* whether a pooler keeps names of prepared
								 * statements true is being found out */
	bool		no_client_check;	/* the server cannot look after its client */
} SmAttempt;

/* The command on the wire, or the last one. */
typedef struct SmWireCommand
{
	bool		commits;		/* it takes effect for good by itself */
	bool		unsent;			/* not all of it has left this process */
	bool		answered;		/* it has an answer: a CommandComplete, an
								 * error, or that it is empty */
	bool		completed;		/* a statement's CommandComplete was seen */
	bool		failed;			/* an error of the server was read for it */
	bool		simple_copy;	/* it is a COPY FROM STDIN of the simple
								 * protocol */
	bool		error_elsewhere;	/* the position of its error is not one in
									 * the statement */
	int			answers_left;	/* that it may still have: more than one only
								 * for a message of several commands */
	int			expected;		/* commands of a pipeline: to be ended before
								 * its sync */
	int			ended;			/* of them, read to their end */
	int			syncs;			/* of a pipeline: sent, and not yet read */
	int			copy;			/* which of them, or 0, may be a COPY; -1:
								 * none */
	int			late_reads;		/* of its socket, after the deadline */
	TimestampTz late_since;		/* the first of them */
	uint64		error_row;		/* that the error about to be raised belongs
								 * to */
} SmWireCommand;

/* Are the settings that sessmgr relies on made in the remote session? */
typedef enum SmSetUp
{
	SM_SET_UP_NEEDED,
	SM_SET_UP_DONE,
	SM_SET_UP_IN_TRANSACTION	/* and going back to a savepoint undoes that */
} SmSetUp;

/* What DISCARD ALL would find in the remote session. */
typedef enum SmDiscard
{
	SM_DISCARD_USEFUL,			/* something was sent since the last one */
	SM_DISCARD_USELESS,
	SM_DISCARD_FIRST			/* it is to come before anything else */
} SmDiscard;

/* What is known of the session at the other end. */
typedef struct SmRemoteSession
{
	SmPooler	pooler;
	SmSetUp		set_up;
	SmDiscard	discard;
	SmPeer		peer;
	int			encoding;		/* what it was connected with */
	SmSessionOptions defaults;	/* the default_transaction_* set in it */
	bool		defaults_unknown;	/* a statement may have changed them */
	bool		set_up_until_rollback;	/* the transaction's end may undo it */
	bool		maps_statements;	/* a pooler, which keeps names of prepared
									 * statements true */
	uint64		tag;			/* in our names for its objects, which nobody
								 * else uses */
	uint64		statements;		/* prepared so far */
	uint32		cursors;		/* declared so far */
} SmRemoteSession;

/* A request to cancel (see src/remote/cancel.c). */
typedef struct SmCancelRequest
{
	SmCancelState state;
	TimestampTz due;			/* when to ask once more */
	struct pg_cancel_conn *request;
	/* where libpq cannot cancel without blocking: */
	pgsocket	socket;
	int			pid;
	int			key;
	FILE	   *trace;
	char		trace_line[80];
	int			trace_used;
} SmCancelRequest;

/* Cleaning up (see src/remote/cleanup.c). */
typedef struct SmCleanup
{
	dlist_node	node;			/* in the list given to it */
	const char *sql;			/* to be run when nothing is on the wire any
								 * more, or NULL */
	SmCleanupStep step;
	SmOutcome	outcome;		/* of what was on the wire */
	SmOutcome	reading;		/* of what is being read, as far as it is
								 * known */
	bool		ok;				/* "sql" was done */
	bool		discard;		/* DISCARD ALL is to follow it */
	bool		fetch;			/* a FETCH was on the wire: it may be done */
	bool		reserved;		/* counted with sm_cleanup_reserve() */
} SmCleanup;

/* How far a bulk function is. */
typedef struct SmBulk
{
	bool		active;			/* the last command is one's */
	uint64		rows;
	uint64		bytes;
} SmBulk;

/* The streams that are read from it (see src/statement/stream_reader.c). */
typedef struct SmConnStreams
{
	dlist_head	open;
	SmConnStream *fetching;		/* whose FETCH is on the wire, or NULL */
} SmConnStreams;

/* Notices that are not reported yet (see src/remote/report.c). */
typedef struct SmNotices
{
	struct SmNotice *queue;		/* newest first */
	int			count;
	size_t		bytes;
	uint64		dropped;
} SmNotices;

/* Deadlocks through connections (see src/remote/deadlock.c). */
typedef struct SmDeadlock
{
	int			backend;		/* its process id if it is of this cluster, 0:
								 * not known yet, -1: it is not */
	TimestampTz asked_at;		/* when its server last told about it */
	uint64		asked_for;		/* its statement then: "statements" */
	int			blocker;		/* and the backend of ours that it waited for,
								 * or 0 */
	bool		blocked;		/* said twice */
} SmDeadlock;

/* Why it is DEAD, or soon will be. */
typedef struct SmFault
{
	bool		broken;			/* libpq has lost count of what it reads */
	bool		ending;			/* the server has said that it ends the
								 * session */
	char	   *fatal_message;	/* how it has said so, in malloc's memory, or
								 * NULL */
	const char *violation;		/* of the protocol, by what it has said, or
								 * NULL */
} SmFault;

struct SmConn
{
	SmCheckout	checkout;
	SmEndpoint *endpoint;		/* its engine's */
	SmConnState state;
	TimestampTz connected_at;	/* 0: it is only being made */
	uint64		statements;		/* sent so far */
	SmCleanup	cleanup;

	/* what follows is the libpq driver's */
	dlist_node	open_node;		/* in sm_connections */
	PGconn	   *pg;
	PGresult   *result;			/* the one being read, freed on any way out */
	PGresult   *error;			/* that of the command being read, the same */
	struct WaitEventSet *waitset;
	int			waitset_events; /* what it waits for on the socket */
	bool		fd_acquired;	/* counted with AcquireExternalFD */
	bool		not_for_reuse;	/* it listens to notifications, or is part of
								 * a chain of backends that has failed */
	SmAttempt	attempt;
	SmWireCommand command;
	SmRemoteSession remote;
	SmStatementCache *cache;
	SmConnStreams streams;
	SmBulk		bulk;
	SmNotices	notices;
	SmCancelRequest cancel;
	SmDeadlock	deadlock;
	SmFault		fault;
};

/* report.c */
extern char *sm_report_cause(const SmConn *conn, const PGresult *res);
extern void sm_notices_report(SmConn *conn);
extern bool sm_report_echoes(const SmEndpoint *endpoint);
extern void sm_report_echo(const SmEndpoint *endpoint, const char *sql);
extern char *sm_report_columns(TupleDesc desc, const char *before);
extern void sm_report_shape(const SmEndpoint *endpoint, const char *sql, int returned,
							int declared, const char *columns) pg_attribute_noreturn();
extern void sm_report_copy(const SmEndpoint *endpoint, bool done) pg_attribute_noreturn();
extern void sm_report_empty(const SmEndpoint *endpoint) pg_attribute_noreturn();
extern void sm_report_lost(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern void sm_report_violation(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern void sm_report_unknown(SmConn *conn, const char *sql, const char *why) pg_attribute_noreturn();

/* cleanup.c */
extern void sm_remote_cleanup_all(dlist_head *conns, TimestampTz deadline);
extern SmOutcome sm_remote_cleanup(SmConn *conn, TimestampTz deadline);

/* command.c */
extern void sm_remote_wait(SmConn *conn, uint32 events, const char *sql,
						   TimestampTz deadline);
extern void sm_remote_begin(SmConn *conn, bool commits);
extern void sm_remote_sent(SmConn *conn, int sent, bool wait, const char *sql,
						   TimestampTz deadline);
extern PGresult *sm_remote_next(SmConn *conn, const char *sql, TimestampTz deadline);
extern bool sm_remote_is_broken(SmConn *conn);
extern bool sm_remote_is_stuck(SmConn *conn);
extern void sm_remote_keep_error(SmConn *conn, PGresult **error);
extern void sm_remote_raise(SmConn *conn, PGresult *error, const char *sql,
							bool is_commit) pg_attribute_noreturn();
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
extern void sm_remote_is_set_up(SmConn *conn, const SmSessionOptions *defaults);
extern void sm_remote_is_discarded(SmConn *conn, const SmSessionOptions *defaults);
extern bool sm_remote_drifted(const SmConn *conn);
extern SmConn *sm_remote_connect(SmEndpoint *endpoint, const SmTarget *target);
extern bool sm_remote_connect_poll(SmConn *conn, bool wait);
extern void sm_remote_close(SmConn *conn);
extern void sm_remote_abandon(SmConn *conn);
extern bool sm_remote_alive(SmConn *conn);

/* statement_text.c */
extern bool sm_statement_may_commit(const char *sql);
extern bool sm_statement_is_empty(const char *sql);
extern void sm_statement_check_params(const SmConn *conn, const char *sql, int given);
extern const char *sm_statement_hint(const SmConn *conn, const char *sql, int sqlstate,
									 int position);

#endif							/* SESSMGR_CONNECTION_H */

/*-------------------------------------------------------------------------
 *
 * sessmgr.h
 *		Shared types and prototypes of sessmgr.
 *
 * The prototypes are grouped by the file that defines the function, in the
 * order of the layers: a file calls those above it in this header and none
 * below.
 *
 * All times are milliseconds unless a name says otherwise; -1 or 0 mean "none"
 * where the option's description says so.  A TimestampTz named "deadline" is
 * absolute; SM_NO_DEADLINE never comes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_H
#define SESSMGR_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "libpq-fe.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* 18 has pg_noreturn instead, in another place of the declaration. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

#define SM_NO_DEADLINE		DT_NOEND
#define SM_MAX_LATE			64	/* reads after a deadline, of what has arrived */
#define SM_MAX_LATE_MS		250 /* and how long they may take in all */
#define SM_FROM_NOW			((TimestampTz) 0)	/* the engine's cleanup_timeout,
												 * counted from when it is needed */

/* ----------
 * Options
 * ----------
 */
typedef enum SmTristate
{
	SM_UNSET,					/* as the target has it */
	SM_OFF,
	SM_ON
} SmTristate;

typedef enum SmResetMode
{
	SM_RESET_ROLLBACK,
	SM_RESET_DISCARD,
	SM_RESET_NONE
} SmResetMode;

typedef enum SmPoolClass
{
	SM_POOL_QUEUE,
	SM_POOL_NULL
} SmPoolClass;

typedef enum SmBinaryMode
{
	SM_BINARY_AUTO,
	SM_BINARY_OFF
} SmBinaryMode;

typedef enum SmPoolerMode
{
	SM_POOLER_AUTO,
	SM_POOLER_SESSION,
	SM_POOLER_TRANSACTION
} SmPoolerMode;

typedef enum SmTxnMode
{
	SM_TXN_MANUAL,
	SM_TXN_AUTOCOMMIT,
	/* from here on bound to the local transaction: see sm_session_bound() */
	SM_TXN_JOINED,
	SM_TXN_TWO_PHASE
} SmTxnMode;

typedef enum SmIsolation
{
	SM_ISOLATION_DEFAULT,
	SM_ISOLATION_READ_UNCOMMITTED,
	SM_ISOLATION_READ_COMMITTED,
	SM_ISOLATION_REPEATABLE_READ,
	SM_ISOLATION_SERIALIZABLE,
	SM_ISOLATION_AUTOCOMMIT		/* only while options are read: becomes
								 * SM_TXN_AUTOCOMMIT */
} SmIsolation;

/*
 * Each option's value lives in one of these two structs, as an int whatever
 * its type is, so that the option table can point at it with an offset.
 */
typedef struct SmEngineOptions
{
	int			pool_size;
	int			max_overflow;	/* -1: no limit */
	int			pool_timeout;
	int			pool_recycle;	/* -1: never */
	int			pool_pre_ping;
	int			pool_use_lifo;
	int			pool_reset_on_return;	/* SmResetMode */
	int			poolclass;		/* SmPoolClass */
	int			idle_timeout;	/* 0: none */
	int			connect_timeout;
	int			statement_timeout;	/* 0: none */
	int			commit_timeout;
	int			cleanup_timeout;
	int			statement_cache_size;
	int			binary;			/* SmBinaryMode */
	int			pooler;			/* SmPoolerMode */
	int			echo;
	int			hide_parameters;
} SmEngineOptions;

typedef struct SmSessionOptions
{
	int			transaction;	/* SmTxnMode */
	int			isolation_level;	/* SmIsolation */
	int			read_only;		/* SmTristate */
	int			deferrable;		/* SmTristate */
	int			hold;
} SmSessionOptions;

typedef enum SmTargetKind
{
	SM_TARGET_CONNINFO,			/* a libpq URI or keyword string */
	SM_TARGET_SERVER,			/* a foreign server */
	SM_TARGET_LOOPBACK,			/* this cluster, through its own socket */
	SM_TARGET_SPI				/* this very backend */
} SmTargetKind;

/* Where an option may stand, as bits. */
#define SM_IN_SERVER	1
#define SM_IN_MAPPING	2
#define SM_IN_CALL		4
#define SM_IN_SETTING	8

/*
 * What changes the meaning of a statement has no setting: the caller of a
 * SECURITY DEFINER function could set it and so reach into that function.
 */
#define SM_EXPLICIT		(SM_IN_SERVER | SM_IN_MAPPING | SM_IN_CALL)
#define SM_EVERYWHERE	(SM_EXPLICIT | SM_IN_SETTING)

typedef enum SmOptionOwner
{
	SM_OPTION_ENGINE,			/* offset is into SmEngineOptions */
	SM_OPTION_SESSION,			/* offset is into SmSessionOptions */
	SM_OPTION_TARGET			/* of the target itself, read by name */
} SmOptionOwner;

typedef enum SmOptionType
{
	SM_TYPE_INT,
	SM_TYPE_BOOL,
	SM_TYPE_TRISTATE,
	SM_TYPE_ENUM,
	SM_TYPE_SECONDS,			/* a time; a bare number means seconds */
	SM_TYPE_TIME,				/* a time; needs its unit */
	SM_TYPE_OBJECT				/* a JSON object */
} SmOptionType;

/* One line of the option table in src/target/options.c. */
typedef struct SmOption
{
	const char *name;
	int			contexts;		/* SM_IN_... */
	SmOptionOwner owner;
	int			offset;
	SmOptionType type;
	int			min;
	int			max;
	int			preset;			/* the built-in default */
	const struct config_enum_entry *values;
	bool		superuser_only;
	const char *description;
} SmOption;

/* Who may give a keyword of libpq. */
typedef enum SmKeywordClass
{
	SM_KEYWORD_UNKNOWN,			/* libpq does not know it */
	SM_KEYWORD_NEVER,			/* nobody: we set it, or it is for debugging */
	SM_KEYWORD_SUPERUSER,		/* superusers */
	SM_KEYWORD_ANY				/* everybody */
} SmKeywordClass;

/* What an option or keyword of another name was probably meant to be. */
typedef struct SmAlias
{
	const char *name;
	const char *meant;			/* an option, or a keyword of libpq */
	const char *value;			/* with this value, or NULL */
	const char *other;			/* or else this one, or NULL */
} SmAlias;

/*
 * Where a test may stop this process to look at, or kill, whatever it likes.
 * Compiled only for tests.
 */
#ifdef SM_TEST_POINTS
#define SM_TEST_POINT(name)		sm_test_point(name)
#else
#define SM_TEST_POINT(name)		((void) 0)
#endif

/* What is shown in place of a secret. */
#define SM_HIDDEN		"***"

/*
 * The state of a walk over a connection URI or keyword string.  The first
 * problem ends it.
 */
typedef struct SmWalk
{
	const char *start;			/* the dburi */
	const char *rest;			/* of a URI: behind the "://" */
	StringInfoData shown;		/* what was read, without secrets */
	bool		secret;			/* a secret has been read */
	bool		doubtful;		/* well-formed, but was it meant so? */
	List	   *seen;			/* names of query parameters */

	const char *problem;		/* NULL: none */
	const char *at;				/* where it is, or NULL */
	char	   *name;			/* that it is about, or NULL */
	const char *hint;
} SmWalk;

/* A parsed dburi (see src/target/dburi.c). */
typedef struct SmDburi
{
	SmTargetKind kind;
	char	   *name;			/* server or database name, or NULL */
	char	   *conninfo;		/* for SM_TARGET_CONNINFO: as libpq reads it */
} SmDburi;

/*
 * All that is known of a target for one role, after the options of the call,
 * the user mapping, the server and the settings were put together.  Lives in
 * the memory context current when it was made, and holds secrets: free it (or
 * the context) as soon as the connection was started.
 */
typedef struct SmTarget
{
	SmTargetKind kind;
	Oid			roleid;
	Oid			serverid;		/* or InvalidOid */
	SmEngineOptions engine;
	SmSessionOptions session;
	/* libpq keywords, ended by NULL in both arrays; none for spi: */
	const char **keywords;
	const char **values;
	bool		password_given; /* a non-empty password is among them */
	bool		password_required;	/* unless the role is superuser */
	bool		loopback;		/* the server's option: this same cluster */
	uint64		fingerprint;	/* of keywords and values */
} SmTarget;

/* ----------
 * Connections
 * ----------
 */
typedef struct SmEngine SmEngine;
typedef struct SmSession SmSession;
typedef struct SmStatementCache SmStatementCache;
typedef struct SmStream SmStream;
typedef struct SmHosts SmHosts;

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
typedef enum SmSettleStep
{
	SM_SETTLE_STOPPING,			/* cancels what runs, and reads it to its end */
	SM_SETTLE_COMMANDING,		/* runs settle_sql */
	SM_SETTLE_DISCARDING,		/* runs DISCARD ALL */
	SM_SETTLE_DONE
} SmSettleStep;

/* How far a request to cancel has come. */
typedef enum SmCancelState
{
	SM_CANCEL_NONE,				/* there is none */
	SM_CANCEL_WRITING,			/* its socket is to become writable */
	SM_CANCEL_READING,			/* or readable */
	SM_CANCEL_TAKEN,			/* the server has acted on it */
	SM_CANCEL_FAILED			/* and here it may do so at any time, or never */
} SmCancelState;

typedef struct SmConn
{
	dlist_node	node;			/* in its pool's idle list, or sm_checked_out */
	SmEngine   *engine;
	SmConnState state;
	uint32		generation;		/* the pool's when it was connected */
	TimestampTz connected_at;
	TimestampTz since;			/* when its state became what it is */
	TimestampTz recycle_at;		/* or SM_NO_DEADLINE */
	uint64		statements;		/* sent so far */
	SmSession  *session;		/* that holds it, if any */
	SubTransactionId subid;		/* of the checkout or the last command */
	bool		made;			/* for this checkout, not taken from the pool */
	bool		pinged;			/* for it, and has not answered yet */
	TimestampTz deadline;		/* of being made, or pinged */

	/* for SmDriver's cleanup */
	dlist_node	settle_node;	/* in the list given to it */
	const char *settle_sql;		/* to be run after settling, or NULL */
	bool		settle_ok;		/* it was done */
	SmOutcome	settle_outcome; /* of what was running */

	/* what follows is the libpq driver's */
	PGconn	   *pg;
	SmHosts    *hosts;			/* until it is ready for use: what else to try */
	PostgresPollingStatusType polling;	/* while it is CONNECTING */
	uint64		heard;			/* bytes, until it is ready for use */
	bool		timed_out;		/* an attempt to make it */
	bool		password_must_be_used;
	PGresult   *result;			/* the one being read, freed on any way out */
	PGresult   *error;			/* that of the command being read, the same */
	dlist_head	streams;		/* that are read from it (src/statement/stream_reader.c) */
	SmStream   *fetching;		/* whose FETCH is on the wire, or NULL */
	uint64		tag;			/* in its names for objects of the session, which
								 * nobody else uses */
	uint64		named;			/* prepared statements so far */
	uint32		cursors;		/* the same */
	SmPooler	pooler;
	bool		maps_statements;	/* it keeps names of prepared statements true */
	bool		probing;		/* it is being found out, while it is set up */
	struct WaitEventSet *waitset;
	int			waitset_events; /* what it waits for on the socket */
	bool		fd_acquired;	/* counted with AcquireExternalFD */
	bool		commits;		/* what is on its way commits by itself */
	bool		completed;		/* a CommandComplete of it was seen */
	bool		answered;		/* the same, or an error, or that it is empty */
	int			answers_left;	/* that it may still have: more than one only for
								 * a message of several commands */
	int			commands;		/* of a pipeline: to be ended before its sync */
	int			copy_command;	/* which of them, or 0, may be a COPY; -1: none */
	bool		unsent;			/* not all of it has left this process */
	bool		failed;			/* an error of the server was read for it */
	bool		fresh;			/* nothing was sent since DISCARD ALL */
	bool		discard;		/* DISCARD ALL is to come before anything else */
	bool		simple_copy;	/* it is a COPY FROM STDIN of the simple protocol */
	int			syncs;			/* of a pipeline: sent, and not yet read */
	int			ended;			/* commands of a pipeline read to their end */
	int			late_looks;		/* at its socket, after the deadline */
	TimestampTz late_since;		/* the first of them */
	uint64		error_row;		/* that the error about to be raised belongs to */
	bool		error_elsewhere;	/* and its position is not one in the statement */
	bool		bulk;			/* it is a bulk function's; how far that is: */
	uint64		bulk_rows;
	uint64		bulk_bytes;
	bool		settle_fetch;	/* a FETCH was running: it may be done */
	bool		settle_reserved;	/* counted with sm_settle_reserve() */
	bool		settle_discard; /* DISCARD ALL is to end the settling */
	SmSettleStep settle_step;
	SmOutcome	settle_reading; /* of what is being read, as far as it is known */
	bool		set_up;			/* sm_remote_setup_commands() hold */
	bool		set_up_late;	/* since they were run inside a transaction */
	bool		set_up_lent;	/* and this will end them, for what we know */
	char	   *identity;		/* of the remote database, for two-phase, or NULL */
	bool		no_client_check;	/* it cannot look after its client */
	bool		listens;		/* to notifications: not for reuse */
	bool		broken;			/* libpq has lost count of what it reads */
	bool		ending;			/* the server has said that it ends the session */
	char	   *last_words;		/* how it has said so, in malloc's memory, or NULL */
	const char *violation;		/* of the protocol, by what it has said, or NULL */
	int			encoding;		/* what it was connected with */
	bool		verify;			/* values may not be valid in our encoding */
	bool		integer_datetimes;	/* its binary form of times is ours */
	bool		same_major;		/* it is of our own major version */
	SmSessionOptions defaults;	/* the default_transaction_* set on it */
	bool		defaults_unknown;	/* a statement may have changed them */
	int			backend;		/* its process id if it is of this cluster, 0:
								 * not known yet, -1: it is not (deadlock.c) */
	bool		chain_failed;	/* a chain that it is part of: not for reuse */
	bool		awaited;		/* this backend waits for it, and for others */
	TimestampTz asked_at;		/* when its server last told about it, and what */
	int			blocker;		/* (deadlock_remote.c): the backend of ours that it */
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
} SmConn;

/* Sockets to be waited for at the same time (see src/remote/wait_many.c). */
typedef struct SmWanted
{
	pgsocket	sock;			/* or PGINVALID_SOCKET */
	uint32		events;
} SmWanted;

typedef struct SmWaits
{
	int			room;			/* slots */
	SmWanted   *wanted;			/* by slot */
	SmWanted   *present;		/* what the set was made for */
	bool	   *ready;
	bool		stale;
	struct WaitEventSet *set;
	struct WaitEvent *came;
} SmWaits;

/* The looks for a deadlock during one wait for a connection (src/remote/deadlock.c). */
typedef struct SmWatch
{
	TimestampTz next;			/* when to look; 0: deadlock_timeout from the
								 * wait's begin */
	List	   *waits;			/* others can see that we wait for these processes */
	List	   *owned;			/* others can see that these wait for us */
} SmWatch;

/* How far a checkout has come (see src/engine/pool.c). */
typedef enum SmArrival
{
	SM_NOT_ARRIVED,
	SM_ARRIVED,
	SM_GONE						/* it was found dead: begin once more */
} SmArrival;

/* Room for a name of sm_remote_name(). */
#define SM_NAME_SIZE	48

/* A statement that a connection has seen (see src/statement/statement_cache.c). */
typedef struct SmStatementKey
{
	const char *sql;
	size_t		len;
	int			nparams;
	const Oid  *types;			/* as declared to the server */
	uint32		hash;
} SmStatementKey;

typedef struct SmStatementEntry
{
	SmStatementKey key;			/* hash key; what it points to is owned here */
	dlist_node	node;			/* most recently used first */
	bool		counted;		/* its parameters are those that it uses */
	bool		prepared;
	bool		suspect;		/* it may not be what it was when prepared */
	bool		spoiled;		/* a pooler's: not to be asked for any more */
	int			nparams;		/* known when it is prepared, as the next ones */
	Oid		   *params;			/* their types as the server sees them */
	int			nfields;		/* of its rows */
	Oid		   *fields;			/* their types */
	TupleDesc	shape;			/* the same for a sink's describe(), or NULL */
	char		name[SM_NAME_SIZE];
} SmStatementEntry;

/* In which form values of a type may travel. */
typedef enum SmForm
{
	SM_FORM_TEXT,
	SM_FORM_SAME_MAJOR,			/* binary between servers of one major version */
	SM_FORM_BINARY
} SmForm;

/* Bind parameters of one call, as the caller's datums. */
typedef struct SmParams
{
	int			n;
	Oid		   *types;			/* UNKNOWNOID: a literal, value is a cstring; no
								 * domain, see sm_base_type() */
	Oid		   *elements;		/* of arrays of domains */
	Datum	   *values;
	bool	   *nulls;
	SmForm	   *forms;
	FmgrInfo   *outputs;		/* the types' output functions */
	FmgrInfo   *sends;			/* and send functions, but for text only */
	bool		names_objects;	/* some type's output depends on search_path */
	bool		has_money;		/* and some on lc_monetary */
} SmParams;

/* Parameters as libpq takes them (see src/value/param_encode.c). */
typedef struct SmWire
{
	int			n;
	Oid		   *types;			/* as declared to the server */
	const char **values;
	int		   *lengths;
	int		   *formats;		/* 0: text, 1: binary */
	uint64	   *fixed;			/* room for short values */
	struct
	{
		Oid			types[8];
		const char *values[8];
		int			lengths[8];
		int			formats[8];
		uint64		fixed[8];
	}			few;
} SmWire;

/* A column of rows to be read (see src/value/row_decode.c). */
typedef struct SmColumn
{
	Oid			type;
	int32		typmod;
	Oid			ioparam;
	FmgrInfo	input;
	/* binary form, for the type of the target seen last: */
	Oid			remote;
	bool		same_major;
	bool		agrees;
	FmgrInfo	receive;
} SmColumn;

/* Reads rows of one shape. */
typedef struct SmReader
{
	TupleDesc	desc;
	MemoryContext cxt;
	bool		names_objects;	/* reading text depends on search_path */
	bool		has_money;		/* or on lc_monetary */
	bool		only_text;		/* or on nothing at all */
	SmColumn	columns[FLEXIBLE_ARRAY_MEMBER];
} SmReader;

/*
 * Where the rows of a statement go.
 *
 * "reader" is for the shape that the caller declared.  If it is NULL,
 * describe() is called once before the first row (also when there will be
 * none) with the statement's own shape, in which only types that this database
 * surely has in common with the target keep their type and all others are
 * text; it sets reader.  row() gets one row of that shape in a context that is
 * reset after it, and returns false when it wants no more: the rest is then
 * thrown away.
 * first_column: the shape has one column, and only the first column of the
 * first row is wanted; row() may get it in the context that the statement was
 * called in, where it stays.
 */
typedef struct SmSink
{
	SmReader   *reader;
	bool		first_column;
	SmStream   *stream;			/* where not NULL: the rows are read later,
								 * through it, and go to row() only where the
								 * driver cannot do that */
	bool		counts;			/* a statement without rows fits any shape */
	const char *before;			/* what stands before its columns in the caller's
								 * column definition list, or NULL */
	void		(*describe) (struct SmSink *sink, TupleDesc desc);
	bool		(*row) (struct SmSink *sink, Datum *values, bool *nulls);
} SmSink;

/* A statement on its way to a connection. */
typedef struct SmStatement
{
	const char *sql;
	const SmParams *params;
	bool		autocommit;		/* not inside a transaction of a session */
	bool		first;			/* nothing has been done in that transaction */
	const SmSessionOptions *defaults;	/* of an autocommit statement */
	bool		one_flight;		/* must have left when sm_run_start() returns */
	const char *set_up;			/* commands for a flight of their own before all
								 * else, which are the driver's; or NULL */
	/*
	 * Behind a pooler an autocommit statement is in a transaction that begins
	 * with these commands, or NIL; plain: it asks for nothing that would have
	 * to begin a transaction.  The driver's.
	 */
	List	   *around;
	bool		plain;
	List	   *prelude;		/* the first commands of "before", which discard the
								 * session's state and set it up; or NIL */
	/* what is to be done before it, in one way with it; gone when it is sent: */
	const SmSessionOptions *begin;	/* begin a transaction like this, or NULL */
	List	   *before;			/* of char *, commands that return nothing */
	const char *after;			/* the same to be done after it, or NULL */
	const char *cursor;			/* declare this for it instead of running it, or
								 * NULL */
} SmStatement;

/* Statements that are not for a statement function. */
typedef enum SmOdd
{
	SM_ODD_NONE,
	SM_ODD_EMPTY,
	SM_ODD_COPY,
	SM_ODD_TRANSACTION_CONTROL,
	SM_ODD_STALE				/* prepared no longer; the entry is gone, and the
								 * same statement will be prepared anew */
} SmOdd;

typedef enum SmRunStep
{
	SM_RUN_SETTING_UP,			/* the connection is set up anew */
	SM_RUN_VERIFYING,			/* is what was prepared still what it was? */
	SM_RUN_PREPARING,			/* it is prepared or described */
	SM_RUN_RUNNING,
	SM_RUN_ROLLING_BACK,		/* it has failed, and is to be run again */
	SM_RUN_DONE
} SmRunStep;

/* A statement on its way there and back (see src/statement/statement.c). */
typedef struct SmRun
{
	SmConn	   *conn;
	SmStatement *statement;
	SmSink	   *sink;			/* or NULL */
	bool		declared;		/* it came with a shape */
	bool		wait;			/* to its end */
	MemoryContext cxt;
	TimestampTz deadline;
	SmStatementEntry *entry;	/* or NULL: not cached, and not prepared */
	SmRunStep	step;
	int			nbefore;		/* commands of this flight that come before it */
	int			describing;		/* the command that describes it */
	bool		counted;		/* as in an entry */
	bool		retried;
	bool		enclosed;		/* in statement->around and COMMIT */
	bool		may_be_bare;	/* it need not be */
	bool		described;		/* by this run */
	bool		changed;		/* it is not what was prepared */
	const char *columns;		/* that it returns, where the declared ones differ */
	/* reading */
	bool		reading;		/* a result with rows, or none, has come */
	bool		as_text;		/* and its values are text */
	MemoryContext rowcxt;		/* or NULL: one row at most, in cxt */
	Datum	   *row;
	bool	   *nulls;
	Datum		one_value;
	bool		one_null;
	bool		full;			/* the sink wants no more rows */
	bool		peeked;			/* conn->result is still to be looked at */
	bool		more;			/* sm_run_advance() had to stop, and can go on */
	bool		copied;			/* it was a COPY that sent something */
	bool		forget_all;		/* the server has forgotten all statements */
	bool		rows;			/* for a stream: conn->result has some */
	uint64		count;
	SmOdd		odd;
	SmWire		wire;
	SmStatementEntry unnamed;	/* prepared, but not cached */
} SmRun;

/* How far sm_run_pull() has come. */
typedef enum SmProgress
{
	SM_PROGRESS_WAIT,			/* nothing has arrived */
	SM_PROGRESS_ROWS,			/* rows have, in conn->result */
	SM_PROGRESS_END
} SmProgress;

typedef enum SmStreamState
{
	SM_STREAM_NEW,
	SM_STREAM_READING,			/* rows come from the connection */
	SM_STREAM_BUFFERED,			/* the rest is in "store" */
	SM_STREAM_ENDED,			/* all have been read */
	SM_STREAM_LOST				/* what it was read from is gone */
} SmStreamState;

/*
 * The rows of a statement, read as they are wanted (see src/statement/stream_reader.c).
 * Its reader and its connection each refer to it, and either may go first: it
 * is freed by the last.  What the reader's context has goes with the reader.
 */
struct SmStream
{
	dlist_node	node;			/* in its connection's list */
	SmConn	   *conn;			/* NULL: it is in no list */
	struct SmStreamReader *by;	/* NULL: nobody wants its rows any more */
	SmStreamState state;
	bool		alone;			/* its transaction is just for it */
	bool		rewind;			/* all is buffered at once, to be read again */
	bool		busy;			/* a row is being made of what was read */
	SmSink		sink;
	const char *sql;
	const char *label;			/* the engine's */
	MemoryContext cxt;			/* the reader's, as the next */
	ResourceOwner owner;
	int64		left;			/* time that it may still wait, in us */
	bool		timed;			/* is there a limit? */
	TimestampTz since;			/* when it began to wait for what it waits for, or 0 */
	TimestampTz until;			/* while it is put aside: the deadline for that */
	PGresult   *rows;			/* being read: its own, or the connection's */
	int			row;
	int			nrows;
	Tuplestorestate *store;
	TupleTableSlot *slot;		/* for rows of the store */
	/* alone: */
	SmStatement statement;
	SmRun		run;
	/* a cursor: */
	char		name[SM_NAME_SIZE]; /* or empty: there is none to be closed */
	int			depth;			/* savepoints that it was declared in */
	int			size;			/* of the next FETCH */
	int			asked;			/* of the last one */
	bool		last;			/* "rows" are the last ones */
	bool		binary;
	Oid		   *fields;
	PGresult   *ahead;			/* fetched, but not looked at, or NULL */
};

/* A statement that is run again and again in pipeline mode. */
typedef struct SmPipeline
{
	SmConn	   *conn;
	const char *sql;
	TimestampTz deadline;
	uint64		sent;			/* rows */
	uint64		ended;			/* commands whose results were read; the first
								 * one prepares the statement */
	bool		reading;		/* in the middle of a command's results */
	int			since_flush;	/* rows sent since a flush was requested */
	size_t		unflushed;		/* bytes, roughly, since our buffer was empty */
	uint64		affected;
	char		tag[64];		/* of the first row's command */
	bool		empty;			/* there is no statement */
	PGresult   *error;			/* the first one, while it is read to its end */
	uint64		error_row;
} SmPipeline;

/* A query of this database whose rows are to be sent, see src/value/local_query.c. */
typedef struct SmRows
{
	const char *argument;		/* that its text was given in */
	struct _SPI_plan *plan;
	TupleDesc	desc;
} SmRows;

typedef void (*SmRowFunction) (TupleTableSlot *slot, void *arg);

/* execute_many: a statement to be run for each row. */
typedef struct SmMany
{
	const char *sql;
	const SmRows *rows;
} SmMany;

/* pull: a query of the target and a relation here, open and checked. */
typedef struct SmPull
{
	const char *query;
	Relation	rel;
	struct ParseState *pstate;
	List	   *columns;		/* of String, or NIL */
	List	   *attnums;		/* of those columns, or of all that COPY fills */
} SmPull;

/* push: a query here and a relation of the target. */
typedef struct SmPush
{
	const SmRows *rows;
	const char *table;			/* its name, qualified and quoted */
	List	   *columns;		/* of char *, or NIL */
} SmPush;

/* What a transaction command does, for the truth of its errors. */
typedef enum SmCommand
{
	SM_COMMAND_PLAIN,			/* nothing lasts if it fails */
	SM_COMMAND_ROLLBACK_TO,		/* a savepoint: settings go back, too */
	SM_COMMAND_COMMIT			/* something lasts, perhaps also if it fails;
								 * PREPARE TRANSACTION is one of these */
} SmCommand;

/*
 * How an engine reaches its target.  Functions that may throw leave a
 * connection BUSY or DEAD behind when they do; the transaction callbacks then
 * settle it.
 */
typedef struct SmDriver
{
	const char *name;
	bool		remote;			/* has connections to keep, and transactions of
								 * its own */
	/* begin to make a connection; throws 08001 and the like */
	SmConn	   *(*connect) (SmEngine *engine);
	/* does it look alive?  No round trip, never throws */
	bool		(*alive) (SmConn *conn);
	/* begin the same with a round trip */
	void		(*ping) (SmConn *conn);
	/*
	 * go on with connect or ping, to the end or without waiting: true when it
	 * is READY, or DEAD because the ping has failed; throws 08001 and the like,
	 * for a ping only interrupts
	 */
	bool		(*arrive) (SmConn *conn, bool wait);
	/* bring it back to a fresh state for reuse; false if it must be closed */
	bool		(*reset) (SmConn *conn, SmResetMode mode, TimestampTz deadline);
	/*
	 * begin the same, on a READY connection; false: there is nothing to wait
	 * for.  Go on with it without waiting, for the last time if it is over:
	 * true when nothing is left for reset.  They never throw.  NULL where
	 * connections are not kept
	 */
	bool		(*reset_start) (SmConn *conn, SmResetMode mode);
	bool		(*reset_on) (SmConn *conn, bool over);
	/* release everything; never throws, idempotent */
	void		(*close) (SmConn *conn);
	/* in a process forked from the one that made it: give up our copy */
	void		(*abandon) (SmConn *conn);
	/* begin a transaction as the options say, and then run these commands */
	void		(*begin) (SmConn *conn, const SmSessionOptions *options, List *then);
	/* run a command that returns nothing: SAVEPOINT, COMMIT ... */
	void		(*command) (SmConn *conn, const char *sql, SmCommand kind);
	/* the same in two halves, so that several targets can work at a time */
	void		(*command_send) (SmConn *conn, const char *sql, SmCommand kind,
								 TimestampTz deadline);
	void		(*command_finish) (SmConn *conn, const char *sql, SmCommand kind,
								   TimestampTz deadline);
	/*
	 * run a statement; returns the number of rows affected or returned.  *odd
	 * is up to the caller: SM_ODD_TRANSACTION_CONTROL if it was that,
	 * SM_ODD_STALE if a "first" one has to be run again in a new transaction
	 */
	uint64		(*execute) (SmConn *conn, SmStatement *statement, SmSink *sink,
							SmOdd *odd);
	/*
	 * the beginning of the same, see sm_run_start(); sm_run_advance() and
	 * sm_run_finish() are the rest.  NULL where the driver can only do all at
	 * once
	 */
	void		(*start) (SmRun *run, SmConn *conn, SmStatement *statement, SmSink *sink,
						  bool wait);
	/*
	 * The bulk functions, in a transaction.  Each returns a number of rows.
	 * NULL where the driver cannot do it.
	 */
	uint64		(*execute_many) (SmConn *conn, const SmMany *many, SmOdd *odd);
	uint64		(*pull) (SmConn *conn, const SmPull *pull);
	uint64		(*push) (SmConn *conn, const SmPush *push);
	/* is it in a transaction, and has that failed? */
	PGTransactionStatusType (*status) (SmConn *conn);
	/*
	 * Clean up the connections of this driver that are linked by settle_node,
	 * all at the same time: stop what runs, and then run settle_sql where the
	 * connection is READY.  "ROLLBACK" is left out where no transaction is
	 * open, and what is still in one after it is DEAD; anything else is run in
	 * any case, and may fail.  A connection that is out of a transaction
	 * afterwards is ready to go back to its pool, without a further round
	 * trip.  Sets settle_ok and settle_outcome.  Afterwards each connection is
	 * READY, or DEAD, as is one that has not answered by the deadline.  Never
	 * throws, nor allocates in PostgreSQL's memory.
	 */
	void		(*cleanup) (dlist_head *conns, TimestampTz deadline);
	/* process id on the other side, 0 if unknown or none */
	int			(*pid) (SmConn *conn);
} SmDriver;

/* ----------
 * Engines, factories, sessions
 * ----------
 */
typedef struct SmPool
{
	dlist_head	idle;			/* the last one given back first */
	int			nidle;
	int			nbusy;			/* checked out */
	uint32		generation;		/* older connections are not reused */
	uint64		connects;
	uint64		checkouts;
} SmPool;

typedef struct SmEngineKey
{
	Oid			roleid;
	uint32		hash;			/* of the others */
	const char *dburi;
	int			len;			/* of dburi */
} SmEngineKey;

typedef enum SmEngineState
{
	SM_ENGINE_NEW,				/* its callback is running */
	SM_ENGINE_ACTIVE,
	SM_ENGINE_FORGOTTEN,		/* only its idle connections are still of use, to the
								 * next engine of its kind */
	SM_ENGINE_INVALIDATED		/* out of the registry, waits for its users */
} SmEngineState;

/* A factory of sessions with fixed options. */
typedef struct SmFactory
{
	uint64		id;
	dlist_node	node;			/* in its engine's list */
	SmEngine   *engine;
	SmSessionOptions options;
} SmFactory;

struct SmEngine
{
	uint64		id;				/* its handle */
	SmEngineKey key;
	SmEngineState state;
	const SmDriver *driver;
	const char *label;			/* the dburi without secrets */
	Jsonb	   *call_options;	/* given when it was made, or NULL */
	SmEngineOptions options;
	SmSessionOptions session;	/* defaults of its sessions */
	Oid			serverid;
	uint64		fingerprint;
	uint64		checked;		/* sm_generation that it was checked at */
	Oid			audience;		/* who was seen to read this backend's messages */
	bool		audience_entitled;	/* and has the role's privileges */
	int			users;			/* sessions */
	bool		unavailable;	/* its last connect that failed may not do so if
								 * tried again soon */
	SmSession  *shared[2];		/* its transactions that are bound to the local one,
								 * as joined and as two_phase, or NULL */
	bool		transient;		/* ends with the local transaction */
	TimestampTz created_at;
	uint64		hits;
	dlist_head	factories;
	dlist_node	node;			/* in the list of all engines */
	SmPool		pool;
	List	   *prepared;		/* of char *, names of metadata */
};

/* What closed a session, for whoever uses it afterwards. */
typedef enum SmSessionEnd
{
	SM_END_TRANSACTION,			/* the local transaction that opened it has ended */
	SM_END_ROLLBACK,			/* the same, or a part of it, was rolled back */
	SM_END_CLOSE,				/* close() */
	SM_END_RESET				/* reset() or DISCARD ALL */
} SmSessionEnd;

typedef enum SmSessionState
{
	SM_SESSION_IDLE,			/* no transaction, no connection */
	SM_SESSION_ACTIVE,			/* in a transaction, holds a connection */
	SM_SESSION_PREPARED,		/* its transaction may be prepared on the target,
								 * and awaits the end of the local one */
	SM_SESSION_LOST				/* its transaction went with its connection */
} SmSessionState;

/* Room for the global id of a two-phase transaction, see src/session/twophase.c. */
#define SM_GID_SIZE		128

/* A statement in a transaction, with what travels before it. */
typedef struct SmJourney
{
	SmStatement statement;
	SmSessionOptions begin;		/* what statement.begin points to */
	bool		begins;			/* the transaction begins with it */
	int			nsavepoints;	/* that there were before */
} SmJourney;

/* A statement that was sent, and whose answer is not received yet (async.c). */
typedef struct SmSent
{
	MemoryContext cxt;			/* that it lives in, with all it needs */
	uint64		sender;			/* handle of the session that it was sent in */
	bool		alone;			/* commits by itself, on a connection just for it */
	SmJourney	journey;
	SmRun		run;
} SmSent;

struct SmSession
{
	uint64		id;				/* its handle; 0: it has none, as a transaction that
								 * bound sessions share */
	SmSessionEnd end;			/* when it ends: by what */
	dlist_node	node;			/* in the list of all sessions */
	SmEngine   *engine;
	SmSessionOptions options;
	SmSessionState state;
	bool		ended;			/* while LOST: a statement has ended its transaction,
								 * and may have committed it */
	bool		torn;			/* while LOST: the abort of a later local
								 * transaction took it */
	bool		older;			/* its transaction is older than the local one */
	char	   *loss;			/* while LOST: what the target said to it, in
								 * malloc's memory, or NULL */
	SmConn	   *conn;			/* while ACTIVE or PREPARED, or while a statement
								 * that was sent alone is not received */
	SmSent	   *sent;			/* or NULL */
	int			running;		/* calls under way: may not be closed */
	bool		used;			/* in this local transaction */
	bool		survives;		/* opened with hold in an earlier transaction */
	SubTransactionId subid;		/* that opened it, unless it survives */
	TimestampTz opened_at;
	uint64		statements;
	int			in_this;		/* statements in this transaction */
	int			next_savepoint;
	List	   *savepoints;		/* of int, outermost first; of a bound session:
								 * of the local levels from 2 on */

	/* of a session bound to the local transaction, see src/session/savepoint_mirror.c */
	int			began;			/* local nesting level of what its transaction
								 * belongs to; of a handle: of its first use of
								 * the one that it shares, or 0 */
	int			stale;			/* savepoint that is to be released, or 0 */
	char		gid[SM_GID_SIZE];	/* of a two-phase transaction */
	char		command[SM_GID_SIZE + 80];	/* what is to end it, or a part of it */
};

/*
 * Something to be done on a connection in a transaction; returns a number of
 * rows.  *odd is SM_ODD_NONE before.
 */
typedef uint64 (*SmWork) (SmConn *conn, void *arg, SmOdd *odd);

/* What a function's target is given as. */
typedef enum SmTargetArg
{
	SM_ARG_SESSION,
	SM_ARG_DBURI
} SmTargetArg;

/* A call of a function that runs a statement, decoded. */
typedef struct SmCall
{
	SmSession  *session;		/* or NULL: a one-liner on engine */
	SmEngine   *engine;
	const char *sql;
	SmParams   *params;
} SmCall;

/* A statement on many targets (see src/session/fan_out.c), and what became of it. */
typedef struct SmLeg
{
	const char *dburi;
	SmSink	   *sink;			/* or NULL */
	const char *label;			/* the dburi without secrets, as soon as it is
								 * known; for row() it is */
	uint64		count;
	ErrorData  *error;			/* or NULL: it was done */
	bool		lasts;			/* and that by itself, whatever fails here later */
} SmLeg;

typedef struct SmGather
{
	const char *sql;
	const SmParams *params;
	bool		together;		/* all or none: an error is raised, and they
								 * commit together */
	void		(*before_commit) (void *arg);	/* then: may still fail; or NULL */
	void	   *arg;
	int			n;
	SmLeg	   *legs;
} SmGather;

/* The steps of a leg (see src/session/fan_out.c). */
typedef enum SmLegStep
{
	SM_LEG_HERE,
	SM_LEG_WAITING,
	SM_LEG_ARRIVING,
	SM_LEG_RUNNING,
	SM_LEG_STOPPING,
	SM_LEG_RETURNING,
	SM_LEG_ENDED
} SmLegStep;

typedef struct SmGatherLeg
{
	SmGather   *gather;
	SmLeg	   *result;
	SmLegStep	step;
	SmEngine   *engine;			/* kept by its count of users */
	SmSession  *session;		/* in whose transaction it is, or NULL: alone */
	SmConn	   *conn;			/* while it is checked out for this leg */
	bool		lasts;			/* it commits by itself, and is not read only */
	bool		started;		/* its session is told that it is running */
	SmJourney	journey;
	SmRun		run;
	TimestampTz deadline;		/* of the present step */
	bool		ready;			/* its socket is, or it is not known yet */
	bool		more;			/* it has not done all that it can */
	int			late;			/* how often it went on after the deadline */
	bool		cancel_ready;
	ErrorData  *reason;			/* why it is STOPPING, NULL: its timeout */
	const char *deadlock;		/* the detail, if there is one */
} SmGatherLeg;

typedef struct SmGatherState
{
	SmGather   *gather;
	SmGatherLeg *legs;
	int			n;
	MemoryContext cxt;
	struct ResourceOwnerData *owner;
	SmWaits		waits;
	TimestampTz looked;			/* when all that is waited for was looked at */
	SmWatch		watch;
} SmGatherState;

typedef void (*SmLegFunction) (SmGatherState *state, SmGatherLeg *leg);

/* ----------
 * Models
 * ----------
 */

/*
 * A name that a model has or takes on the target, and what stands there under
 * it.  An empty name stands for the schema alone.
 */
typedef struct SmModelName
{
	const char *schema;
	const char *name;
	bool		schema_exists;
	char		relkind;		/* on the target, or '\0' */
} SmModelName;

/* A column's type, which the target must have. */
typedef struct SmModelType
{
	const char *column;
	const char *type;
	Oid			row_of;			/* the relation it is the row type of, if any */
} SmModelType;

/*
 * A table or sequence, and the statements that make it on a target where it
 * is missing.  "create" makes it without regard to other models, except for
 * the sequences and row types that it names; "finish" is for when all tables
 * are there.
 */
typedef struct SmModel
{
	Oid			relid;
	char		relkind;		/* RELKIND_RELATION or RELKIND_SEQUENCE */
	bool		registered;		/* or only a sequence that a table needs */
	bool		wanted;			/* is to be made in this attempt */
	const char *label;			/* its qualified name, quoted */
	SmModelName self;
	Oid			owned_by;		/* of a sequence: the table it belongs to */
	List	   *sequences;		/* of SmModel *: owned, or used in a default */
	List	   *names;			/* of SmModelName *: what is made with it */
	List	   *references;		/* of SmModelName *: what foreign keys need */
	List	   *types;			/* of SmModelType * */
	List	   *constraints;	/* of HeapTuple, by name */
	List	   *create;			/* of char * */
	List	   *finish;			/* of char * */
} SmModel;

typedef enum SmHandleKind
{
	SM_HANDLE_ENGINE,
	SM_HANDLE_FACTORY,
	SM_HANDLE_SESSION
} SmHandleKind;

/* ----------
 * Functions, by file, lowest layer first
 * ----------
 */

/* in src/core/injection_point.c, only for tests */
extern void sm_test_point_init(void);
extern void sm_test_point(const char *name);

/* in src/core/errors.c */
extern ErrorData *sm_error_catch(MemoryContext cxt);
extern void sm_error_rethrow(const ErrorData *error) pg_attribute_noreturn();

/* in src/core/timer.c */
extern bool sm_timer_register(TimeoutId *timer, timeout_handler_proc handler);

/* in src/core/libpq_memory.c */
extern bool sm_is_no_memory(const char *message);
extern PQconninfoOption *sm_conninfo_parse(const char *conninfo);

/* in src/core/handle.c */
extern uint64 sm_handle_new(SmHandleKind kind, void *object);
extern void *sm_handle_get(uint64 id, SmHandleKind kind, bool missing_ok);
extern void sm_handle_forget(uint64 id, SmSessionEnd end);
extern void sm_handle_reset(void);

/* in src/target/keywords.c */
extern SmKeywordClass sm_keyword_class(const char *keyword, const char *value);
extern bool sm_keyword_is_secret(const char *keyword);
extern int	sm_keyword_contexts(const char *keyword);
extern void sm_keyword_check(const char *keyword, const char *value, Oid roleid);
extern bool sm_keyword_harmless(const char *keyword);
extern List *sm_keyword_names(int context);
extern void sm_options_set_keyword(SmTarget *target, const char *keyword, const char *value);
extern const char *sm_options_keyword(const SmTarget *target, const char *keyword);
extern const SmAlias *sm_alias_find(const char *name);
extern const char *sm_closest_match(const char *name, List *candidates);

/* in src/remote/environment.c */
extern PGconn *sm_libpq_start(const char *const *keywords, const char *const *values);
extern PostgresPollingStatusType sm_libpq_poll(PGconn *pg);

/* in src/core/extension_table.c */
extern Oid	sm_own_table(const char *name);
extern uint64 sm_own_table_write(Oid table, const char *sql, int nargs, Oid *types,
								 Datum *values);

/* in src/target/options.c */
extern uint64 sm_generation;	/* moves whenever something that an engine was
								 * made from may have changed */
extern const SmOption sm_option_table[];
extern const int sm_option_count;
extern bool sm_setting_missing(const char *name);
extern void sm_options_init(void);
extern void sm_options_defaults(SmEngineOptions *engine, SmSessionOptions *session);
extern const SmOption *sm_option_find(const char *name);
extern char *sm_keyword_hint(const char *name);
extern int	sm_option_parse(const SmOption *option, const char *value);
extern char *sm_option_format(const SmOption *option, int value);
extern char *sm_option_contexts(int contexts);
extern int	sm_option_libpq_timeout(const char *value);
extern char *sm_option_clip(const char *value);

/* in src/target/options_apply.c */
extern void sm_options_apply_catalog(List *defelems, Oid context, bool only_libpq,
									 SmTarget *target);
extern void sm_options_apply_call(Jsonb *call, SmTarget *target);
extern Jsonb *sm_options_engine_part(Jsonb *call);
extern void sm_options_apply_session(Jsonb *call, SmSessionOptions *session);
extern void sm_options_check_same(Jsonb *call, const SmEngine *engine);

/* in src/target/conninfo.c */
extern bool sm_walk_uri(SmWalk *walk);
extern bool sm_walk_keywords(SmWalk *walk);

/* in src/target/dburi.c */
extern SmDburi *sm_dburi_parse(const char *dburi);
extern char *sm_dburi_redact(const char *dburi);

/* in src/target/security.c */
extern void sm_check_restricted_target(bool is_server);
extern void sm_check_restricted_use(const char *what);
extern bool sm_role_entitled(Oid roleid);
extern void sm_check_role(Oid roleid, const char *what);
extern void sm_audience_look(SmEngine *engine);
extern bool sm_audience_entitled(const SmEngine *engine);
extern void sm_check_usage(Oid roleid, const SmDburi *uri, Oid serverid, Oid wrapperid);
extern void sm_check_before_connect(const SmTarget *target, const char *label);
extern bool sm_password_must_be_used(const SmTarget *target);

/* in src/target/target.c */
extern void sm_options_check_spi(const SmSessionOptions *session);
extern SmTarget *sm_target_resolve(Oid roleid, const char *dburi, Jsonb *call);

/* in src/value/types.c */
extern Oid	sm_base_type(Oid type, Oid *element);
extern Oid	sm_wire_type(Oid type);
extern Oid	sm_shared_type(Oid type);
extern bool sm_type_names_objects(Oid type);
extern bool sm_type_has_money(Oid type);
extern bool sm_binary_possible(const SmConn *conn);
extern SmForm sm_type_form(Oid type);
extern bool sm_types_agree(Oid here, Oid there, const SmConn *conn);

/* in src/value/params.c */
extern SmParams *sm_params_of_types(int n, const Oid *types);
extern Datum sm_params_value(const SmParams *params, int i);
extern SmParams *sm_params_from_desc(TupleDesc desc);
extern SmParams *sm_params_copy(const SmParams *params);
extern SmParams *sm_params_from_call(FunctionCallInfo fcinfo, int first, SmParams **kept);

/* in src/value/transmission_modes.c */
extern int	sm_textmode_begin(bool names_objects, bool has_money);
extern int	sm_textmode_begin_reading(bool has_money);
extern void sm_textmode_end(int level);

/* in src/value/param_encode.c */
extern void sm_wire_init(SmWire *wire, const SmParams *params);
extern void sm_wire_encode(SmWire *wire, const SmParams *params, const SmConn *conn);
extern const char *sm_wire_show(const SmParams *params, int i);

/* in src/value/row_decode.c */
extern TupleDesc sm_result_columns(const PGresult *res);
extern TupleDesc sm_result_shape(const PGresult *res);
extern SmReader *sm_reader_make(TupleDesc desc);
extern bool sm_reader_wants_binary(SmReader *reader, const SmConn *conn, int n,
								   const Oid *types);
extern void sm_reader_row(SmReader *reader, const SmConn *conn, const PGresult *res,
						  int row, Datum *values, bool *nulls);

/* in src/value/local_query.c */
extern void sm_rows_open(SmRows *rows, const char *argument, const char *sql);
extern uint64 sm_rows_run(const SmRows *rows, SmRowFunction function, void *arg);
extern void sm_rows_close(SmRows *rows);

/* in src/remote/report.c */
extern int	sm_sqlstate(const char *code);
extern void sm_notice_receiver(void *arg, const PGresult *res);
typedef void (*SmRaise) (const void *arg, bool named);

extern bool sm_report_softly(SmRaise raise, const void *arg);
extern bool sm_error_is_fatal(const PGresult *res);
extern int	sm_error_position(const SmConn *conn, const PGresult *res);
extern bool sm_error_promises(const PGresult *res, bool is_commit);
extern void sm_note_last_words(SmConn *conn, const PGresult *res);
extern char *sm_take_last_words(SmConn *conn);
extern char *sm_report_cause(const SmConn *conn, const PGresult *res);
extern void sm_notices_report(SmConn *conn);
extern void sm_notices_forget(SmConn *conn);
extern char *sm_report_text(const char *message);
extern int	sm_report_context(const SmEngine *engine, const char *sql);
extern bool sm_report_echoes(const SmEngine *engine);
extern void sm_report_echo(const SmEngine *engine, const char *sql);
extern char *sm_report_columns(TupleDesc desc, const char *before);
extern void sm_report_shape(const SmEngine *engine, const char *sql, int returned,
							int declared, const char *columns) pg_attribute_noreturn();
extern void sm_report_copy(const SmEngine *engine, bool done) pg_attribute_noreturn();
extern void sm_report_empty(const SmEngine *engine) pg_attribute_noreturn();
extern void sm_report_result(SmConn *conn, PGresult *res, const char *sql,
							 const char *hint) pg_attribute_noreturn();
extern void sm_report_lost(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern void sm_report_violation(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern void sm_report_nonsense(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern void sm_report_unknown(SmConn *conn, const char *sql, const char *why) pg_attribute_noreturn();

/* in src/value/statement_text.c */
#define SM_HINT_CAST "Cast it here, as in NULL::integer or 'a'::text, or in the statement, as in $1::text."
extern bool sm_statement_may_commit(const char *sql);
extern bool sm_statement_is_empty(const char *sql);
extern void sm_statement_check_params(const SmConn *conn, const char *sql, int given);
extern const char *sm_statement_hint(const SmConn *conn, const char *sql, int sqlstate,
									 int position);

/* in src/remote/wait.c */
extern dlist_head sm_checked_out;	/* of SmConn, of all engines */
extern dlist_head sm_engines;	/* but for those invalidated */
extern uint32 sm_wait_connect;
extern uint32 sm_wait_command;
extern uint32 sm_wait_cleanup;
extern uint32 sm_wait_pool;
extern void sm_name_waits(void);
extern TimestampTz sm_deadline(int timeout_ms);
extern long sm_remaining(TimestampTz deadline);
extern bool sm_looks_for_client(void);
extern long sm_client_round(long timeout);
extern void sm_client_look(void);
extern bool sm_descriptors_left(int n);
extern void sm_conn_set_state(SmConn *conn, SmConnState state);
extern void sm_set_wait_events(SmConn *conn, uint32 events);

/* in src/remote/cancel.c */
extern void sm_cancel_learn_start(SmConn *conn);
extern void sm_cancel_learn_end(SmConn *conn);
extern bool sm_cancel_start(SmConn *conn);
extern pgsocket sm_cancel_socket(const SmConn *conn);
extern void sm_cancel_poll(SmConn *conn);
extern void sm_cancel_end(SmConn *conn);
extern TimestampTz sm_cancel_patience(TimestampTz deadline);

/* in src/remote/cleanup.c */
extern bool sm_is_tag_of(const char *tag, const char *sql);
extern void sm_settle_reserve(SmConn *conn);
extern void sm_settle_release(SmConn *conn);
extern void sm_settle_start(SmConn *conn, const char *sql, bool discard);
extern uint32 sm_settle_events(SmConn *conn);
extern uint32 sm_settle_cancel_events(const SmConn *conn);
extern TimestampTz sm_settle_due(const SmConn *conn);
extern bool sm_settle_go_on(SmConn *conn, bool cancel, bool over);
extern void sm_remote_settle_all(dlist_head *conns, TimestampTz deadline);
extern SmOutcome sm_remote_settle(SmConn *conn, TimestampTz deadline);

/* in src/remote/deadlock_remote.c */
extern char *sm_deadlock_ask(SmConn *conn, bool *pending);
extern void sm_deadlock_ask_end(void);
extern void sm_deadlock_ask_abandon(void);

/* in src/remote/deadlock.c */
extern long sm_deadlock_round(const SmConn *conn, const SmWatch *watch, long timeout);
extern bool sm_deadlock_due(SmWatch *watch);
extern long sm_deadlock_wait(const SmWatch *watch, long timeout);
extern char *sm_deadlock_find(SmConn *conn, SmWatch *watch, bool tell);
extern void sm_deadlock_report(SmConn *conn, const char *detail, const char *sql) pg_attribute_noreturn();
extern void sm_deadlock_look(SmConn *conn, SmWatch *watch, const char *sql);
extern void sm_deadlock_end(SmWatch *watch);
extern bool sm_is_of_this_cluster(SmConn *conn);
extern bool sm_deadlock_found_here(const ErrorData *error);

/* in src/remote/chain.c */

/* how deep a backend is, as the one that connects to it says */
#define SM_CHAIN_SETTING	"sessmgr.loopback_depth"

extern void sm_chain_init(void);
extern int	sm_chain_next(void);
extern char *sm_chain_options(const char *options);
extern void sm_chain_check(SmConn *conn);
extern void sm_chain_failed(SmConn *conn, const char *sqlstate);

/* in src/remote/command.c */
extern void sm_report_connect_failure(SmConn *conn, const char *message);
extern void sm_report_connect_timeout(SmConn *conn);
extern void sm_remote_given_up(SmConn *conn, const char *sql, const char *reason);
extern void sm_report_timeout(SmConn *conn, const char *sql) pg_attribute_noreturn();
extern void sm_remote_wait(SmConn *conn, uint32 events, const char *sql,
						   TimestampTz deadline);
extern bool sm_remote_wait_ready(SmConn *conn, uint32 events, const char *sql,
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
extern bool sm_remote_ping_on(SmConn *conn, bool wait);

/* in src/statement/copy_protocol.c */
extern void sm_append_quoted(StringInfo buf, const char *identifier);
extern int	sm_copy_describe(SmConn *conn, const char *sql, Oid **types,
							 TimestampTz deadline);
extern List *sm_copy_columns(SmConn *conn, const char *table, bool generated,
							 TimestampTz deadline);
extern void sm_copy_out_begin(SmConn *conn, const char *sql, TimestampTz deadline);
extern int	sm_copy_out_next(SmConn *conn, char **data, bool wait, const char *sql,
							 TimestampTz deadline);
extern void sm_copy_in_begin(SmConn *conn, const char *sql, TimestampTz deadline);
extern void sm_copy_in_put(SmConn *conn, const char *data, size_t len, const char *sql,
						   TimestampTz deadline);
extern uint64 sm_copy_in_end(SmConn *conn, const char *sql, TimestampTz deadline);

/* in src/statement/pipeline.c */
extern void sm_pipeline_begin(SmPipeline *pipeline, SmConn *conn, const char *sql,
							  const SmWire *wire);
extern void sm_pipeline_row(SmPipeline *pipeline, const SmWire *wire);
extern uint64 sm_pipeline_end(SmPipeline *pipeline);

/* in src/remote/hosts.c */
extern SmHosts *sm_hosts_make(const SmTarget *target);
extern const SmTarget *sm_hosts_next(SmHosts *hosts);
extern void sm_hosts_note_failure(SmHosts *hosts, const char *reason);
extern const char *sm_hosts_failures(const SmHosts *hosts);
extern bool sm_hosts_choosy(const SmHosts *hosts);
extern char *sm_hosts_label(const SmHosts *hosts);
extern void sm_hosts_free(SmHosts *hosts);

/* in src/remote/watch.c */
extern uint64 sm_watched_rows_run(SmConn *conn, const SmRows *rows, SmRowFunction function,
								  void *arg, const char *sql);

/* in src/remote/connect.c */
extern List *sm_remote_setup_commands(const SmConn *conn);
extern const char *sm_remote_name(char *buf, const SmConn *conn, const char *kind, uint64 n);
extern void sm_remote_is_set_up(SmConn *conn, const SmSessionOptions *defaults);
extern void sm_remote_is_discarded(SmConn *conn, const SmSessionOptions *defaults);
extern bool sm_remote_drifted(const SmConn *conn);
extern uint32 sm_remote_events(const SmConn *conn);
extern SmConn *sm_remote_connect(SmEngine *engine, const SmTarget *target);
extern bool sm_remote_connect_on(SmConn *conn, bool wait);
extern void sm_remote_close(SmConn *conn);
extern void sm_remote_abandon(SmConn *conn);

/* results and messages that a target may have to say that nobody asked for */
#define SM_MAX_UNASKED 100

extern bool sm_remote_alive(SmConn *conn);

/* in src/remote/wait_many.c */
extern void sm_waits_init(SmWaits *waits, int room);
extern void sm_waits_clear(SmWaits *waits);
extern void sm_waits_want(SmWaits *waits, int slot, pgsocket sock, uint32 events);
extern void sm_waits_renew(SmWaits *waits);
extern bool sm_waits_wait(SmWaits *waits, long timeout, uint32 wait_event);
extern void sm_waits_free(SmWaits *waits);
extern bool sm_remote_cancel(SmConn *conn, TimestampTz deadline);

/* in src/statement/statement_cache.c */
extern SmStatementEntry *sm_statement_find(SmConn *conn, const char *sql, int nparams,
										   const Oid *types, TimestampTz deadline,
										   bool *seen);
extern void sm_statement_name(SmConn *conn, SmStatementEntry *entry);
extern void sm_statement_described(SmConn *conn, SmStatementEntry *entry,
								   const PGresult *res, bool shape);
extern bool sm_statement_same(const SmStatementEntry *entry, const PGresult *res);
extern void sm_statement_suspect_all(SmConn *conn);
extern void sm_statement_forget(SmConn *conn, SmStatementEntry *entry);
extern void sm_statement_forget_all(SmConn *conn);

/* in src/statement/statement_result.c */
extern bool sm_run_needs_shape(const SmRun *run);
extern void sm_run_check_shape(const SmRun *run, int nfields, const char *columns);
extern void sm_run_take(SmRun *run, PGresult *res);
extern SmOdd sm_statement_ended(SmConn *conn, const char *tag);

/* in src/statement/statement.c */
extern void sm_run_start(SmRun *run, SmConn *conn, SmStatement *statement, SmSink *sink,
						 bool wait);
extern bool sm_run_peek(SmRun *run);
extern bool sm_run_advance(SmRun *run);
extern SmProgress sm_run_pull(SmRun *run);
extern uint64 sm_run_finish(SmRun *run, SmOdd *odd);

/* in src/statement/stream_reader.c */
extern SmStream *sm_stream_make(SmReader *reader, const char *sql, bool rewind);
extern void sm_stream_start(SmConn *conn, SmStatement *statement, SmStream *stream,
							SmOdd *odd);
extern bool sm_stream_row(SmStream *stream, Datum *values, bool *nulls);
extern void sm_stream_rewind(SmStream *stream);
extern void sm_stream_forget(SmStream *stream);
extern void sm_streams_buffer(SmConn *conn, TimestampTz deadline);
extern void sm_streams_lose(SmConn *conn, int depth);
extern void sm_streams_release(SmConn *conn, int depth);
extern void sm_streams_end(SmConn *conn);

/* in src/statement/execute_many.c */
extern uint64 sm_many_run(SmConn *conn, const SmMany *many, SmOdd *odd);

/* in src/statement/pull.c */
extern uint64 sm_pull_run(SmConn *conn, const SmPull *pull);

/* in src/statement/push.c */
extern uint64 sm_push_run(SmConn *conn, const SmPush *push);

/* in src/statement/driver_libpq.c and src/statement/driver_spi.c */
extern const SmDriver sm_driver_libpq;
extern const SmDriver sm_driver_spi;

/* in src/engine/pool.c */
extern TimestampTz sm_pool_due; /* no idle connection expires before this */
extern void sm_pool_init(SmPool *pool);
extern void sm_pool_report_full(const SmEngine *engine) pg_attribute_noreturn();
extern bool sm_pool_has_place(const SmEngine *engine);
extern SmConn *sm_pool_begin(SmEngine *engine);
extern void sm_pool_give_up(SmConn *conn);
extern SmArrival sm_pool_go_on(SmConn *conn, bool wait);
extern SmConn *sm_pool_checkout(SmEngine *engine);
extern bool sm_pool_reset_start(SmConn *conn);
extern bool sm_pool_reset_on(SmConn *conn, bool over);
extern void sm_pool_checkin(SmConn *conn, TimestampTz deadline);
extern void sm_conns_gather(dlist_head *conns, SmConn *conn, const char *sql);
extern TimestampTz sm_conns_clean(dlist_head *conns);
extern void sm_conn_cleanup(SmConn *conn, const char *sql, TimestampTz deadline);
extern void sm_pool_close_expired(SmEngine *engine, TimestampTz now);
extern int	sm_pool_dispose(SmEngine *engine);

/* in src/engine/sessionmaker.c */
extern SmFactory *sm_factory_get(SmEngine *engine, Jsonb *options, bool short_lived);
extern SmFactory *sm_factory_from_handle(uint64 id);
extern void sm_factories_drop(SmEngine *engine);
extern void sm_factories_at_end(void);
extern void sm_factories_abandon(void);

/* in src/engine/engine.c */
extern void sm_engine_init(void);
extern bool sm_engine_owned(void);
extern bool sm_engine_take_over(void);
extern bool sm_engine_creating(void);
extern bool sm_forked(void);
extern SmEngine *sm_engine_get(const char *dburi, int len, Jsonb *options, bool for_session);
extern SmEngine *sm_engine_from_handle(uint64 id, bool check);
extern void sm_engine_check(SmEngine *engine);
extern bool sm_engine_invalidate(const char *dburi, int len);
extern void sm_engine_drop_all(bool only_transient);
extern void sm_engine_forget_all(void);
extern void sm_engine_close_expired(TimestampTz now);
extern void sm_engine_sweep(void);
extern void sm_engine_forget_prepared(const char *metadata);

/* in src/session/twophase.c */
extern void sm_twophase_register(SmSession *session);
extern void sm_twophase_check(const SmSession *session);
extern void sm_twophase_harden(void);
extern void sm_twophase_settled(const char *gid);
extern void sm_twophase_subxact_end(SubTransactionId subid, SubTransactionId parent);
extern void sm_twophase_at_end(bool committed);
extern void sm_twophase_recover(SmEngine *engine,
								void (*report) (void *arg, const char *gid, const char *outcome),
								void *arg);

/* in src/session/savepoint_mirror.c */
extern bool sm_session_bound(const SmSession *session);
extern bool sm_joined_shares(const SmSession *session);
extern bool sm_joined_suits(const SmSession *shared, const SmSessionOptions *options);
extern void sm_savepoints_truncate(SmSession *session, int n);
extern List *sm_joined_begin(SmSession *session, const SmConn *conn,
							 SmSessionOptions *options);
extern List *sm_joined_begin_again(SmSession *session, SmSessionOptions *options);
extern List *sm_joined_nest(SmSession *session);
extern void sm_joined_unsent(SmSession *session, int n);
extern void sm_joined_subcommit(SmSession *session, int level);
extern const char *sm_joined_subabort(SmSession *session, int level);
/* in src/engine/idle.c */
extern void sm_idle_start(bool inherited);
extern void sm_idle_stop(void);
extern void sm_idle_at_end(void);
extern void sm_idle_block_ends(void);

/* in src/session/session.c */
extern dlist_head sm_sessions;
extern SmSession *sm_session_open(SmEngine *engine, const SmSessionOptions *options);
extern SmSession *sm_session_from_handle(uint64 id, bool missing_ok);
extern SmSession *sm_session_shared(SmEngine *engine, const SmSessionOptions *options);
extern SmSession *sm_session_unit(SmSession *session);
extern SmSession *sm_session_unit_of_sent(SmSession *session);
extern SmSession *sm_session_enter(SmSession *session);
extern SmSession *sm_session_of_work(SmEngine *engine);
extern void sm_session_begin(SmSession *session);
extern void sm_session_commit(SmSession *session);
extern void sm_session_rollback(SmSession *session);
extern void sm_session_close(SmSession *session);
extern int	sm_session_begin_nested(SmSession *session);
extern void sm_session_release(SmSession *session, int savepoint);
extern void sm_session_rollback_to(SmSession *session, int savepoint);
extern bool sm_session_in_transaction(SmSession *session);
extern void sm_session_check_usable(SmSession *session);
extern List *sm_session_beginning(SmSession *session, const SmConn *conn,
								  SmSessionOptions *options);
extern void sm_session_activate(SmSession *session, SmConn *conn);
extern void sm_session_start(SmSession *session, SmConn *conn);
extern TimestampTz sm_session_cleanup_deadline(const SmSession *session);
extern void sm_session_note_loss(SmSession *session);
extern char *sm_session_loss(const SmSession *session);
extern void sm_session_tear(SmSession *session);
extern void sm_session_torn(SmSession *session, TimestampTz deadline);
extern void sm_session_forget_sent(SmSession *session);
extern void sm_session_forget_transaction(SmSession *session, TimestampTz deadline);
extern void sm_session_abandon_transaction(SmSession *session, TimestampTz deadline);
extern void sm_session_end(SmSession *session, TimestampTz deadline);

/* in src/session/execute.c */
extern bool sm_session_begins_none(const SmSession *session);
extern void sm_session_check_transaction(SmSession *session, SmOdd odd);
extern void sm_journey_enter(SmSession *session, SmJourney *journey, SmConn *conn);
extern void sm_journey_again(SmSession *session, SmJourney *journey);
extern void sm_journey_failed(SmSession *session, const SmJourney *journey);
extern bool sm_effects_learn(SmConn *conn, SmOutcome *outcome);
extern void sm_effects_tell(const SmEngine *engine, const char *sql, SmOutcome outcome,
							MemoryContext cxt);
extern void sm_alone_check(SmConn *conn, SmOdd odd);
extern void sm_alone_ended(SmConn *conn, SmOdd odd);
extern uint64 sm_session_execute(SmSession *session, const char *sql,
								 const SmParams *params, SmSink *sink);
extern uint64 sm_engine_execute(SmEngine *engine, const char *sql,
								const SmParams *params, SmSink *sink);
extern uint64 sm_session_work(SmSession *session, SmWork work, void *arg);
extern uint64 sm_engine_work(SmEngine *engine, SmWork work, void *arg);

/* in src/session/async.c */
extern void sm_session_send(SmSession *session, const char *sql, const SmParams *params);
extern bool sm_session_is_busy(SmSession *session);
extern SmSession *sm_sessions_wait_any(SmSession **sessions, int n, TimestampTz deadline);
extern uint64 sm_session_receive(SmSession *session, SmSink *sink, bool *rows);
extern bool sm_session_cancel(SmSession *session);

/* in src/session/commit.c */
extern void sm_bound_refuse_prepare(void);
extern void sm_bound_before_commit(void);
extern void sm_bound_after_commit(void);
extern void sm_bound_at_abort(void);
extern void sm_sessions_commit(SmSession **sessions, int n);
extern const char *sm_bound_abort_command(SmSession *session);
extern void sm_bound_aborted(const SmSession *session);

/* in src/session/fan_out_branch.c */
extern bool sm_leg_attempt(SmGatherState *state, SmGatherLeg *leg, SmLegFunction step);
extern void sm_leg_open(SmGatherState *state, SmGatherLeg *leg);
extern void sm_leg_run_here(SmGatherState *state, SmGatherLeg *leg);
extern void sm_leg_unstart(SmGatherLeg *leg);
extern void sm_leg_stop(SmGatherState *state, SmGatherLeg *leg, ErrorData *reason);
extern void sm_leg_go_on(SmGatherState *state, SmGatherLeg *leg);

/* in src/session/fan_out.c */
extern int	sm_gathers;
extern void sm_gather_run(SmGather *gather);

/* in src/session/xact.c */
extern void sm_xact_init(void);
extern void sm_enter(void);
extern void sm_reset(bool keep_connections);

/* in src/model/model_ddl.c */
extern int	sm_model_enter_settings(void);
extern char *sm_model_remote_settings(void);
extern SmModelName *sm_model_name(const char *schema, const char *name);
extern SmModel *sm_model_new(Relation rel);
extern void sm_model_add_create(SmModel *model, char *statement);
extern void sm_model_add_comment(List **list, const char *object, Oid classid,
								 Oid objid, int subid);
extern char *sm_model_relation_options(Oid relid, const char *prefix);
extern char *sm_model_column_options(Oid relid, AttrNumber attnum);
extern int	sm_model_statistics_target(Oid relid, AttrNumber attnum);
extern char *sm_model_sequence_options(Oid relid, Oid *type);
extern SmModel *sm_model_sequence(List **sequences, Oid relid);
extern List *sm_model_column_sequences(Oid relid, AttrNumber attnum, char kind);
extern void sm_model_add_sequences(SmModel *model, Relation rel, List **sequences);

/* in src/model/model_index.c */
extern void sm_model_read_constraints(SmModel *model);
extern void sm_model_add_constraints(SmModel *model, bool foreign);
extern void sm_model_add_indexes(SmModel *model, Relation rel);
extern void sm_model_add_statistics(SmModel *model, Relation rel);

/* in src/model/model_table.c */
extern void sm_model_describe_table(SmModel *model, Relation rel);

/* in src/model/models.c */
extern void sm_models_notice_changes(void);
extern List *sm_models_registered(Oid roleid, const char *metadata, List **others);
extern void sm_models_tell_none(Oid roleid, const char *metadata);
extern List *sm_models_describe(List *relids, List **sequences);

/* in src/model/model_attempt.c */
extern char *sm_models_lock_holder(SmEngine *engine);
extern int	sm_models_attempt(SmEngine *engine, const char *metadata, List *tables,
							  List *sequences, TimestampTz lock_deadline);

/* in src/model/model_prepare.c */
extern int	sm_models_prepare(SmEngine *engine, const char *metadata);
extern bool sm_models_prepared(SmEngine *engine, const char *metadata);

/* in src/session/bulk.c */
extern uint64 sm_bulk_execute_many(SmSession *session, SmEngine *engine, const char *sql,
								   const char *param_query);
extern uint64 sm_bulk_pull(SmSession *session, SmEngine *engine, const char *query,
						   Oid into_table, List *columns);
extern uint64 sm_bulk_push(SmSession *session, SmEngine *engine, const char *query,
						   text *into_table, List *columns);

/* in src/sql/args.c */
extern void sm_call_decode(SmCall *call, FunctionCallInfo fcinfo, int first,
						   SmTargetArg kind, SmParams **kept);
extern uint64 sm_call_run(const SmCall *call, SmSink *sink);

/* in src/sql/stream.c */
extern SmStream *sm_stream_open(const SmCall *call, SmReader *reader, bool rewind);
extern bool sm_stream_next(SmStream *stream, Datum *values, bool *nulls);
extern void sm_stream_close(SmStream *stream);

/* in src/sql/scan.c */
extern void sm_scan_init(void);

/* in src/sql/funcs_statement.c */
extern struct Tuplestorestate *sm_make_store(FunctionCallInfo fcinfo, TupleDesc *desc);
extern ReturnSetInfo *sm_check_set_context(FunctionCallInfo fcinfo);

#endif							/* SESSMGR_H */

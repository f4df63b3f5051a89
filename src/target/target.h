/*-------------------------------------------------------------------------
 *
 * target.h
 *		Targets: options, connection strings, who may use what.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_TARGET_H
#define SESSMGR_TARGET_H

#include "core/core.h"

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

/* One line of the option table. */
typedef struct SmOption SmOption;

/* What is shown in place of a secret. */
#define SM_HIDDEN		"***"

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

/*
 * One end of connections: a target as a role sees it.  It is what connections,
 * statements, and messages about them, need of their engine, which owns it.
 */
typedef struct SmEndpoint
{
	Oid			roleid;
	const char *dburi;
	const char *label;			/* the dburi without secrets */
	bool		remote;			/* it has connections to keep, and
								 * transactions of its own: it is not this
								 * very backend */
	Jsonb	   *call_options;	/* given when the engine was made, or NULL */
	SmEngineOptions options;
	SmSessionOptions session;	/* defaults of its sessions */
	Oid			audience;		/* who was seen to read this backend's
								 * messages */
	bool		audience_entitled;	/* and has the role's privileges */
	bool		unavailable;	/* its last connect that failed may not do so
								 * if tried again soon */
	int			connections;	/* that are open */
} SmEndpoint;

/* keywords.c */
extern void sm_options_set_keyword(SmTarget *target, const char *keyword, const char *value);
extern const char *sm_options_keyword(const SmTarget *target, const char *keyword);
extern const char *sm_closest_match(const char *name, List *candidates);

/* options.c */
extern uint64 sm_generation;	/* moves whenever something that an engine was
								 * made from may have changed */
extern bool sm_setting_missing(const char *name);
extern void sm_options_init(void);
extern const SmOption *sm_option_find(const char *name);
extern char *sm_option_format(const SmOption *option, int value);

/* options_apply.c */
extern Jsonb *sm_options_engine_part(Jsonb *call);
extern void sm_options_apply_session(Jsonb *call, SmSessionOptions *session);
extern void sm_options_check_same(Jsonb *call, const SmEndpoint *endpoint);

/* dburi.c */
extern char *sm_dburi_redact(const char *dburi);

/* security.c */
extern void sm_check_restricted_target(bool is_server);
extern void sm_check_restricted_use(const char *what);
extern bool sm_role_entitled(Oid roleid);
extern void sm_check_role(Oid roleid, const char *what);
extern void sm_audience_look(SmEndpoint *endpoint);
extern bool sm_audience_entitled(const SmEndpoint *endpoint);
extern void sm_check_before_connect(const SmTarget *target, const char *label);
extern bool sm_password_must_be_used(const SmTarget *target);

/* target.c */
extern void sm_options_check_spi(const SmSessionOptions *session);
extern SmTarget *sm_target_resolve(Oid roleid, const char *dburi, Jsonb *call);

#endif							/* SESSMGR_TARGET_H */

/*-------------------------------------------------------------------------
 *
 * target_private.h
 *		What only the files of src/target share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_TARGET_PRIVATE_H
#define SESSMGR_TARGET_PRIVATE_H

#include "target/target.h"

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
struct SmOption
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
};

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

/* keywords.c */
extern SmKeywordClass sm_keyword_class(const char *keyword, const char *value);
extern bool sm_keyword_is_secret(const char *keyword);
extern int	sm_keyword_contexts(const char *keyword);
extern void sm_keyword_check(const char *keyword, const char *value, Oid roleid);
extern bool sm_keyword_harmless(const char *keyword);
extern List *sm_keyword_names(int context);
extern const SmAlias *sm_alias_find(const char *name);

/* options.c */
extern const SmOption sm_option_table[];
extern const int sm_option_count;
extern void sm_options_defaults(SmEngineOptions *engine, SmSessionOptions *session);
extern char *sm_keyword_hint(const char *name);
extern int	sm_option_parse(const SmOption *option, const char *value);
extern char *sm_option_contexts(int contexts);
extern int	sm_option_libpq_timeout(const char *value);
extern char *sm_option_clip(const char *value);

/* options_apply.c */
extern void sm_options_apply_catalog(List *defelems, Oid context, bool only_libpq,
									 SmTarget *target);
extern void sm_options_apply_call(Jsonb *call, SmTarget *target);

/* conninfo.c */
extern bool sm_walk_uri(SmWalk *walk);
extern bool sm_walk_keywords(SmWalk *walk);

/* dburi.c */
extern SmDburi *sm_dburi_parse(const char *dburi);

/* security.c */
extern void sm_check_usage(Oid roleid, const SmDburi *uri, Oid serverid, Oid wrapperid);

#endif							/* SESSMGR_TARGET_PRIVATE_H */

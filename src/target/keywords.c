/*-------------------------------------------------------------------------
 *
 * keywords.c
 *		libpq's connection keywords: which there are, and who may give them.
 *
 * The names come from the libpq that is loaded, the judgement from the lists
 * below.  It fails closed: a keyword that a later libpq invents is for
 * superusers until somebody has looked at it and put it on a list.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "target/target_private.h"

static SmLibpqOption *keywords = NULL;
static int	nkeywords = 0;

/*
 * What any role may give.  None of these makes libpq read a file of this
 * machine, use an identity other than the given user and password, or write
 * anywhere but to the connection.
 */
static const char *const open_keywords[] = {
	"application_name", "channel_binding", "connect_timeout", "dbname",
	"gssencmode", "host", "hostaddr", "keepalives", "keepalives_count",
	"keepalives_idle", "keepalives_interval", "load_balance_hosts",
	"max_protocol_version", "min_protocol_version", "options", "password",
	"port", "require_auth", "requirepeer", "ssl_max_protocol_version",
	"ssl_min_protocol_version", "sslcompression", "sslmode", "sslnegotiation",
	"sslsni", "target_session_attrs", "tcp_user_timeout", "user"
};

/*
 * What any role may give for a target that somebody else defined: it leads
 * the connection, and the password of the mapping, nowhere else and protects
 * it no less.
 */
static const char *const harmless_keywords[] = {
	"application_name", "keepalives", "keepalives_count", "keepalives_idle",
	"keepalives_interval", "load_balance_hosts", "options",
	"target_session_attrs", "tcp_user_timeout"
};

/* What we set ourselves, or what makes the connection something else. */
static const char *const reserved_keywords[] = {
	"client_encoding", "fallback_application_name", "replication"
};

static bool
is_in(const char *name, const char *const *list, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(name, list[i]) == 0)
			return true;
	}
	return false;
}

/*
 * Copy the names out of libpq, once in the life of the backend.  What it knows
 * is what it finds in a string that says nothing; its defaults it would take
 * from the environment, and perhaps a file.
 */
static void
load_keywords(void)
{
	MemoryContext old;

	if (keywords != NULL)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	keywords = sm_conninfo_parse("");
	MemoryContextSwitchTo(old);
	while (keywords[nkeywords].keyword != NULL)
		nkeywords++;
}

static const SmLibpqOption *
find_keyword(const char *name)
{
	load_keywords();
	for (int i = 0; i < nkeywords; i++)
	{
		if (strcmp(keywords[i].keyword, name) == 0)
			return &keywords[i];
	}
	return NULL;
}

/*
 * Who may give this keyword, with this value?  (The value matters for one
 * keyword only; NULL means any.)
 */
SmKeywordClass
sm_keyword_class(const char *keyword, const char *value)
{
	const SmLibpqOption *known = find_keyword(keyword);

	if (known == NULL)
		return SM_KEYWORD_UNKNOWN;
	if (known->debug || is_in(keyword, reserved_keywords, lengthof(reserved_keywords)))
		return SM_KEYWORD_NEVER;
	if (is_in(keyword, open_keywords, lengthof(open_keywords)))
		return SM_KEYWORD_ANY;

	/* the system's certificate store is nobody's file */
	if (strcmp(keyword, "sslrootcert") == 0 && value != NULL &&
		strcmp(value, "system") == 0)
		return SM_KEYWORD_ANY;
	return SM_KEYWORD_SUPERUSER;
}

/*
 * Must its value never be shown?  True for everything that libpq marks, and
 * for names that sound like it: better one too many.
 */
bool
sm_keyword_is_secret(const char *keyword)
{
	const SmLibpqOption *known = find_keyword(keyword);

	if (known != NULL && (known->secret || known->debug))
		return true;
	return strstr(keyword, "password") != NULL || strstr(keyword, "secret") != NULL;
}

/*
 * Where in the catalogs may it stand?  Identity and secrets belong to the
 * user mapping, all else to the server, as in postgres_fdw.
 */
int
sm_keyword_contexts(const char *keyword)
{
	if (strcmp(keyword, "sslcert") == 0 || strcmp(keyword, "sslkey") == 0)
		return SM_IN_SERVER | SM_IN_MAPPING;
	if (strcmp(keyword, "user") == 0 || sm_keyword_is_secret(keyword))
		return SM_IN_MAPPING;
	return SM_IN_SERVER;
}

/*
 * Raise an error unless the role may give this keyword (which libpq knows).
 * The value is not shown.
 */
void
sm_keyword_check(const char *keyword, const char *value, Oid roleid)
{
	SmKeywordClass class = sm_keyword_class(keyword, value);

	if (class == SM_KEYWORD_NEVER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("connection option \"%s\" cannot be set", keyword),
				 strcmp(keyword, "client_encoding") == 0 ?
				 errdetail("The client encoding is always the encoding of this database.") : 0,
				 strcmp(keyword, "fallback_application_name") == 0 ?
				 errhint("Use \"application_name\".") : 0));
	if (class != SM_KEYWORD_ANY && !superuser_arg(roleid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set connection option \"%s\"", keyword),
				 errdetail("Only superusers may set it.")));
	if (!sm_check_proxy_option(keyword))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set connection option \"%s\"", keyword),
				 errdetail("This PostgreSQL server does not let its extensions use it.")));
}

/*
 * May a role that is not superuser add this keyword to a target that is not
 * its own, such as a named server?
 */
bool
sm_keyword_harmless(const char *keyword)
{
	return is_in(keyword, harmless_keywords, lengthof(harmless_keywords));
}

/*
 * The keywords that may stand in a context (SM_IN_...), for hints.  In a call
 * that is inside connect_args.
 */
List *
sm_keyword_names(int context)
{
	List	   *names = NIL;

	load_keywords();
	for (int i = 0; i < nkeywords; i++)
	{
		const char *name = keywords[i].keyword;

		if (sm_keyword_class(name, NULL) == SM_KEYWORD_NEVER)
			continue;

		/* outside of URIs this one is an option of ours */
		if (context != SM_IN_CALL && strcmp(name, "connect_timeout") == 0)
			continue;
		if (context == SM_IN_CALL || (sm_keyword_contexts(name) & context) != 0)
			names = lappend(names, unconstify(char *, keywords[i].keyword));
	}
	return names;
}

/*
 * Give the target a keyword, in place of an earlier value.  The value is
 * copied into the current memory context, which must be the target's.  An
 * empty value is to libpq as none.
 */
void
sm_options_set_keyword(SmTarget *target, const char *keyword, const char *value)
{
	const SmLibpqOption *known = find_keyword(keyword);
	int			n = 0;

	if (known == NULL)
		elog(ERROR, "libpq does not know connection option \"%s\"", keyword);

	if (target->keywords == NULL)
	{
		target->keywords = palloc0((nkeywords + 1) * sizeof(char *));
		target->values = palloc0((nkeywords + 1) * sizeof(char *));
	}
	while (target->keywords[n] != NULL && target->keywords[n] != known->keyword)
		n++;
	target->keywords[n] = known->keyword;
	target->values[n] = pstrdup(value);

	if (strcmp(keyword, "password") == 0)
		target->password_given = (value[0] != '\0');
}

/* The target's value of a keyword, or NULL if it has none or an empty one. */
const char *
sm_options_keyword(const SmTarget *target, const char *keyword)
{
	if (target->keywords == NULL)
		return NULL;
	for (int i = 0; target->keywords[i] != NULL; i++)
	{
		if (strcmp(target->keywords[i], keyword) == 0)
			return target->values[i][0] != '\0' ? target->values[i] : NULL;
	}
	return NULL;
}

/* ----------
 * What was meant
 * ----------
 */

/* What other programs call it, or what a value is taken for an option. */
static const SmAlias aliases[] = {
	{"address", "hostaddr", NULL, NULL},
	{"app_name", "application_name", NULL, NULL},
	{"appname", "application_name", NULL, NULL},
	{"auto_commit", "transaction", "autocommit", NULL},
	{"autocommit", "transaction", "autocommit", NULL},
	{"command_timeout", "statement_timeout", NULL, NULL},
	{"database", "dbname", NULL, NULL},
	{"database_name", "dbname", NULL, NULL},
	{"db", "dbname", NULL, NULL},
	{"debug", "echo", NULL, NULL},
	{"hostname", "host", NULL, NULL},
	{"ip", "hostaddr", NULL, NULL},
	{"isolation", "isolation_level", NULL, NULL},
	{"joined", "transaction", "joined", NULL},
	{"keepalive", "keepalives", NULL, NULL},
	{"login", "user", NULL, NULL},
	{"max_lifetime", "pool_recycle", NULL, NULL},
	{"max_pool_size", "pool_size", NULL, "max_overflow"},
	{"max_size", "pool_size", NULL, "max_overflow"},
	{"pass", "password", NULL, NULL},
	{"passwd", "password", NULL, NULL},
	{"pool", "pool_size", NULL, "poolclass"},
	{"pre_ping", "pool_pre_ping", NULL, NULL},
	{"prepare_threshold", "statement_cache_size", NULL, NULL},
	{"prepared_statement_cache_size", "statement_cache_size", NULL, NULL},
	{"pwd", "password", NULL, NULL},
	{"query_timeout", "statement_timeout", NULL, NULL},
	{"recycle", "pool_recycle", NULL, NULL},
	{"role", "user", NULL, NULL},
	{"schema", "options", "-c search_path=...", NULL},
	{"search_path", "options", "-c search_path=...", NULL},
	{"server", "host", NULL, NULL},
	{"ssl", "sslmode", NULL, NULL},
	{"ssl_mode", "sslmode", NULL, NULL},
	{"timeout", "connect_timeout", NULL, "statement_timeout"},
	{"tls", "sslmode", NULL, NULL},
	{"two-phase", "transaction", "two_phase", NULL},
	{"two_phase", "transaction", "two_phase", NULL},
	{"twophase", "transaction", "two_phase", NULL},
	{"user_name", "user", NULL, NULL},
	{"username", "user", NULL, NULL},
};

/* The alias of this name, or NULL; case does not count. */
const SmAlias *
sm_alias_find(const char *name)
{
	for (size_t i = 0; i < lengthof(aliases); i++)
	{
		if (pg_strcasecmp(aliases[i].name, name) == 0)
			return &aliases[i];
	}
	return NULL;
}

/*
 * How many mistakes make one name of the other: characters left out, added,
 * taken for others, or two that changed places.  (The server's own function
 * counts the last as two.)  Neither is longer than a name can be.
 */
static int
mistakes(const char *a, const char *b)
{
	int			rows[3][NAMEDATALEN];
	int		   *earlier = rows[0];
	int		   *last = rows[1];
	int		   *row = rows[2];
	int			blen = strlen(b);

	for (int j = 0; j <= blen; j++)
		last[j] = j;
	for (int i = 1; a[i - 1] != '\0'; i++)
	{
		int		   *unused = earlier;

		row[0] = i;
		for (int j = 1; j <= blen; j++)
		{
			int			n = last[j - 1] + (a[i - 1] != b[j - 1]);

			n = Min(n, Min(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				n = Min(n, earlier[j - 2] + 1);
			row[j] = n;
		}
		earlier = last;
		last = row;
		row = unused;
	}
	return last[blen];
}

static char *
folded(const char *name)
{
	char	   *copy = pstrdup(name);

	for (char *p = copy; *p; p++)
		*p = pg_ascii_tolower((unsigned char) *p);
	return copy;
}

/*
 * Which candidate did the user mean?  NULL if none is near: no more than four
 * mistakes, and in no more than half of the name.  Case does not count.
 */
const char *
sm_closest_match(const char *name, List *candidates)
{
	int			len = strlen(name);
	int			best = Min(4, len / 2) + 1;
	const char *match = NULL;
	char	   *wanted;
	ListCell   *lc;

	if (len == 0 || len >= NAMEDATALEN)
		return NULL;

	wanted = folded(name);
	foreach(lc, candidates)
	{
		const char *candidate = lfirst(lc);
		int			n;

		if (strlen(candidate) >= NAMEDATALEN)
			continue;
		n = mistakes(wanted, folded(candidate));
		if (n < best)
		{
			best = n;
			match = candidate;
		}
	}
	return match;
}

/*-------------------------------------------------------------------------
 *
 * dburi.c
 *		The grammar of a dburi, and a dburi without its secrets.
 *
 * What kind of target a dburi names is decided by its form alone, in the order
 * of classify().  URIs and keyword strings are then walked by scanners of our
 * own, which follow libpq's grammar, for two reasons: libpq's messages quote
 * what they could not read, and that may be a password; and the same walk
 * writes the copy that may be shown.
 *
 * A dburi that the scanners refuse has no copy that may be shown.  A message
 * about it says what is wrong and where, and quotes a name only if it cannot
 * be a part of a password: see may_show().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "sessmgr.h"
#include "src/compat.h"

#define MAX_DBURI		8192
#define HIDDEN			"***"

typedef enum Form
{
	FORM_URI,
	FORM_SPI,
	FORM_LOOPBACK,
	FORM_KEYWORDS,
	FORM_SERVER,
	FORM_WRONG
} Form;

/*
 * The state of a walk over a dburi.  The first problem ends it.
 */
typedef struct Walk
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
} Walk;

#define HINT_FORMS	"A dburi is a connection URI (postgresql://...), a libpq keyword string, " \
					"the name of a foreign server, \"spi:\", or \"loopback:\"."
#define HINT_ENCODE	"In user, password and database name of a URI write \"@\" as %40, " \
					"\"/\" as %2F, \":\" as %3A, \"?\" as %3F and \"%\" as %25."

/* Note a problem; false, so that a scanner can return it. */
static bool
fail(Walk *walk, const char *problem, const char *at, const char *hint)
{
	walk->problem = problem;
	walk->at = at;
	walk->hint = hint;
	return false;
}

/* ----------
 * Forms
 * ----------
 */

/*
 * The length of "word://" at the start of the string, or 0.
 */
static int
scheme_length(const char *dburi)
{
	const char *p = dburi;

	if (!isalpha((unsigned char) *p) || IS_HIGHBIT_SET(*p))
		return 0;
	while ((isalnum((unsigned char) *p) && !IS_HIGHBIT_SET(*p)) ||
		   (*p != '\0' && strchr("+-._", *p) != NULL))
		p++;
	return strncmp(p, "://", 3) == 0 ? p - dburi + 3 : 0;
}

/*
 * Is the scheme one of ours: [db+]postgresql[+driver] or with postgres?
 */
static bool
scheme_is_ours(const char *dburi, bool (*same) (const char *, const char *, size_t))
{
	const char *p = dburi;

	if (same(p, "db+", 3))
		p += 3;
	if (same(p, "postgresql", 10))
		p += 10;
	else if (same(p, "postgres", 8))
		p += 8;
	else
		return false;
	return strncmp(p, "://", 3) == 0 || (p[0] == '+' && p[1] != ':');
}

static bool
same_exactly(const char *a, const char *b, size_t n)
{
	return strncmp(a, b, n) == 0;
}

static bool
same_folded(const char *a, const char *b, size_t n)
{
	return pg_strncasecmp(a, b, n) == 0;
}

static Form
classify(Walk *walk, const char *dburi)
{
	int			scheme = scheme_length(dburi);

	memset(walk, 0, sizeof(*walk));
	walk->start = dburi;

	if (dburi[0] == '\0')
		fail(walk, "It is empty", NULL, HINT_FORMS);
	else if (strlen(dburi) > MAX_DBURI)
		fail(walk, "It is longer than 8192 bytes", NULL, NULL);
	else if (scheme > 0 && scheme_is_ours(dburi, same_exactly))
	{
		walk->rest = dburi + scheme;
		return FORM_URI;
	}
	else if (scheme > 0 && scheme_is_ours(dburi, same_folded))
		fail(walk, "The scheme of a URI must be in lower case", dburi, NULL);
	else if (scheme > 0)
		fail(walk, "The scheme of the URI is not supported", dburi,
			 "Write postgresql://user:password@host:port/database.");
	else if (strncmp(dburi, "spi:", 4) == 0)
	{
		if (dburi[4] == '\0')
			return FORM_SPI;
		fail(walk, "Nothing may follow \"spi:\"", dburi + 4, NULL);
	}
	else if (strncmp(dburi, "loopback:", 9) == 0)
	{
		if (strlen(dburi + 9) < NAMEDATALEN)
			return FORM_LOOPBACK;
		fail(walk, "The database name is too long", dburi + 9, NULL);
	}
	else if (strchr(dburi, '=') != NULL)
		return FORM_KEYWORDS;
	else if (strpbrk(dburi, ":/") == NULL)
		return FORM_SERVER;
	else
		fail(walk, "It has none of the known forms", NULL, HINT_FORMS);
	return FORM_WRONG;
}

/* ----------
 * Pieces
 * ----------
 */

/*
 * May the name of an unknown option be shown?  Not after a secret: what looks
 * like a name may be the rest of a password with a character that should have
 * been quoted.  And it must look like a name.
 */
static bool
may_show(const Walk *walk, const char *name)
{
	if (walk->secret || walk->doubtful || !isalpha((unsigned char) name[0]) || strlen(name) >= NAMEDATALEN)
		return false;
	for (const char *p = name; *p; p++)
	{
		if (IS_HIGHBIT_SET(*p) || !(isalnum((unsigned char) *p) || *p == '_'))
			return false;
	}
	return true;
}

/* An option that libpq does not know. */
static bool
unknown_keyword(Walk *walk, char *name, const char *at)
{
	const char *match;

	if (!may_show(walk, name))
		return fail(walk, "There is an unknown connection option", at, NULL);

	walk->name = name;
	match = sm_closest_match(name, sm_keyword_names(SM_IN_CALL));
	return fail(walk, "There is the unknown connection option", at,
				match ? psprintf("Perhaps you meant the option \"%s\".", match) : NULL);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Decode a part of a URI; NULL and a problem noted if it cannot be.  Blanks
 * are refused because versions of libpq differ in what they make of them.
 * A secret may be any bytes; all else is text that messages may show.
 */
static char *
decode(Walk *walk, const char *from, const char *to, bool secret)
{
	char	   *decoded = palloc(to - from + 1);
	char	   *d = decoded;

	for (const char *p = from; p < to; p++)
	{
		if ((unsigned char) *p <= ' ' || *p == 0x7f)
		{
			fail(walk, "There is an unescaped blank or control character", p,
				 "In a URI write a blank as %20.");
			return NULL;
		}
		if (*p != '%')
		{
			*d++ = *p;
			continue;
		}
		if (to - p < 3 || hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0)
		{
			fail(walk, "There is an invalid percent-encoding", p, HINT_ENCODE);
			return NULL;
		}
		*d = (char) (hex_digit(p[1]) << 4 | hex_digit(p[2]));
		if (*d++ == '\0')
		{
			fail(walk, "There is a zero byte (%00)", p, NULL);
			return NULL;
		}
		p += 2;
	}
	*d = '\0';
	if (!secret && !pg_verifymbstr(decoded, d - decoded, true))
	{
		fail(walk, "There is a percent-encoded character that is not valid in this database's encoding",
			 from, NULL);
		return NULL;
	}
	return decoded;
}

/*
 * Is this piece of a URI one that holds no secret?  With an "@" in it, it may
 * be the rest of a password with a character that should have been escaped,
 * and with a "=" the query of a URI whose "?" was forgotten.
 */
static bool
plain(Walk *walk, const char *from, const char *to)
{
	if (memchr(from, '@', to - from) != NULL)
		return fail(walk, "There is an unescaped \"@\"", NULL, HINT_ENCODE);
	if (memchr(from, '=', to - from) != NULL)
		return fail(walk, "There is an unescaped \"=\"", NULL,
					"Parameters follow a \"?\"; in a name write \"=\" as %3D.");
	return decode(walk, from, to, false) != NULL;
}

/*
 * Does a value that is no secret itself speak of one, as in
 * "-c app.password=x" or in "host;password=x"?
 */
static bool
mentions_secret(const char *value)
{
	for (const char *p = value; *p; p++)
	{
		if ((pg_strncasecmp(p, "passw", 5) == 0 || pg_strncasecmp(p, "pwd", 3) == 0 ||
			 pg_strncasecmp(p, "secret", 6) == 0) && strchr(p, '=') != NULL)
			return true;
	}
	return false;
}

/* Take over a piece of the dburi as it is. */
static void
show(Walk *walk, const char *from, const char *to)
{
	appendBinaryStringInfo(&walk->shown, from, to - from);
}

/* ----------
 * URIs
 * ----------
 */

/*
 * [user[:password]@]  Like libpq, take the first "@" before any slash.  On
 * success *pos is behind it.
 */
static bool
scan_userinfo(Walk *walk, const char **pos)
{
	const char *start = *pos;
	const char *end = start + strcspn(start, "@/");
	const char *query;
	const char *colon;

	if (*end != '@')
		return true;

	/* host?password=a@b would have everything before the "@" as user */
	query = memchr(start, '?', end - start);
	if (query != NULL && memchr(query, '=', end - query) != NULL)
		return fail(walk, "There is an unescaped \"?\" or \"@\"", NULL, HINT_ENCODE);

	colon = start + strcspn(start, ":@");
	if (decode(walk, start, colon, false) == NULL)
		return false;
	show(walk, start, colon);
	if (*colon == ':')
	{
		walk->secret = true;
		if (decode(walk, colon + 1, end, true) == NULL)
			return false;
		appendStringInfoString(&walk->shown, ":" HIDDEN);
	}
	appendStringInfoChar(&walk->shown, '@');
	*pos = end + 1;
	return true;
}

static bool
port_is_valid(const char *from, const char *to)
{
	int			port = 0;

	for (const char *p = from; p < to; p++)
	{
		if (*p < '0' || *p > '9' || p - from >= 6)
			return false;
		port = port * 10 + (*p - '0');
	}
	return from == to || (port >= 1 && port <= 65535);
}

/* host[:port], where host may be [address]; *pos ends behind it. */
static bool
scan_host(Walk *walk, const char **pos)
{
	const char *start = *pos;
	const char *p = start;

	if (*p == '[')
	{
		p += strcspn(p, "]");
		if (*p == '\0')
			return fail(walk, "The \"]\" of an IPv6 address is missing", start, NULL);
		if (p == start + 1)
			return fail(walk, "An IPv6 address is empty", start, NULL);
		p++;
		if (*p != '\0' && strchr(":/?,", *p) == NULL)
			return fail(walk, "An unexpected character follows an IPv6 address", p, NULL);
	}
	else
		p += strcspn(p, ":/?,");

	if (!plain(walk, start, p))
		return false;

	if (*p == ':')
	{
		const char *port = p + 1;

		p = port + strcspn(port, "/?,");
		if (!port_is_valid(port, p))
			return fail(walk, "The port is not a number from 1 to 65535", port, HINT_ENCODE);
	}
	show(walk, start, p);
	*pos = p;
	return true;
}

/* One name=value of the query. */
static bool
scan_parameter(Walk *walk, const char *from, const char *to)
{
	const char *equals = memchr(from, '=', to - from);
	char	   *name;
	char	   *value;
	ListCell   *lc;

	if (equals == NULL)
		return fail(walk, "A query parameter has no \"=\"", from, NULL);
	if (memchr(equals + 1, '=', to - equals - 1) != NULL)
		return fail(walk, "A query parameter has a second \"=\"", from,
					"Inside a value write \"=\" as %3D.");
	name = decode(walk, from, equals, false);
	value = name ? decode(walk, equals + 1, to, sm_keyword_is_secret(name)) : NULL;
	if (value == NULL)
		return false;

	/* libpq takes this one from JDBC */
	if (strcmp(name, "ssl") == 0 && strcmp(value, "true") == 0)
		name = pstrdup("sslmode");
	else if (sm_keyword_class(name, value) == SM_KEYWORD_UNKNOWN)
		return unknown_keyword(walk, name, from);

	foreach(lc, walk->seen)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return fail(walk, "A query parameter is given twice", from,
						strcmp(name, "host") == 0 ?
						"Write several hosts as host1:port1,host2:port2." : NULL);
	}
	walk->seen = lappend(walk->seen, name);

	show(walk, from, equals + 1);
	if (sm_keyword_is_secret(name) || mentions_secret(value))
	{
		walk->secret = true;
		appendStringInfoString(&walk->shown, HIDDEN);
	}
	else
		show(walk, equals + 1, to);
	return true;
}

/* What is behind the "?". */
static bool
scan_query(Walk *walk, const char *p)
{
	while (*p)
	{
		const char *end = p + strcspn(p, "&");

		if (!scan_parameter(walk, p, end))
			return false;
		if (*end == '&')
		{
			appendStringInfoChar(&walk->shown, '&');
			end++;
		}
		p = end;
	}
	return true;
}

/*
 * Walk through a URI; true if it is well-formed.  An "@" in the query of a URI
 * without user may well be part of a user's name there, but also the end of a
 * password with unescaped slash and question mark.
 */
static bool
scan_uri(Walk *walk)
{
	const char *p = walk->rest;

	show(walk, walk->start, p);
	if (!scan_userinfo(walk, &p))
		return false;
	if (p == walk->rest && strchr(p, '@') != NULL)
		walk->doubtful = true;

	for (;;)
	{
		if (!scan_host(walk, &p))
			return false;
		if (*p != ',')
			break;
		show(walk, p, p + 1);
		p++;
	}

	if (*p == '/')
	{
		const char *end = p + strcspn(p, "?");

		if (!plain(walk, p + 1, end))
			return false;
		show(walk, p, end);
		p = end;
	}

	if (*p != '?')
		return true;
	show(walk, p, p + 1);
	return scan_query(walk, p + 1);
}

/* ----------
 * Keyword strings
 * ----------
 */

static const char *
skip_blanks(const char *p)
{
	while (isspace((unsigned char) *p))
		p++;
	return p;
}

/*
 * The end of a value that starts at p, by libpq's quoting rules; NULL if its
 * quote is not closed.
 */
static const char *
value_end(const char *p)
{
	bool		quoted = (*p == '\'');

	if (quoted)
		p++;
	for (;; p++)
	{
		if (*p == '\0')
			return quoted ? NULL : p;
		if (quoted && *p == '\'')
			return p + 1;
		if (!quoted && isspace((unsigned char) *p))
			return p;
		if (*p == '\\' && p[1] != '\0')
			p++;
	}
}

/* Does "keyword=" stand here? */
static bool
at_keyword(const char *p)
{
	const char *start = p;

	while (*p == '_' || (isalnum((unsigned char) *p) && !IS_HIGHBIT_SET(*p)))
		p++;
	return p > start && *p == '=';
}

/* keyword = value; *pos ends behind it. */
static bool
scan_setting(Walk *walk, const char **pos)
{
	const char *start = *pos;
	const char *p = start;
	const char *value;
	char	   *name;
	bool		mentions;

	while (*p && *p != '=' && !isspace((unsigned char) *p))
		p++;
	name = pnstrdup(start, p - start);
	p = skip_blanks(p);
	if (*p != '=')
		return fail(walk, "A \"=\" is missing after a keyword", start,
					"Write a value with blanks in single quotes.");
	if (sm_keyword_class(name, NULL) == SM_KEYWORD_UNKNOWN)
		return unknown_keyword(walk, name, start);

	/* libpq would take "host= password=x" for a host of that name */
	value = skip_blanks(p + 1);
	if (value > p + 1 && at_keyword(value))
		return fail(walk, "A value is missing after a keyword", start,
					"Write an empty value as two single quotes.");
	if (sm_keyword_is_secret(name))
		walk->secret = true;
	p = value_end(value);
	if (p == NULL)
		return fail(walk, "The closing quote of a value is missing", value, NULL);

	mentions = mentions_secret(pnstrdup(value, p - value));
	if (mentions && *value != '\'' && !sm_keyword_is_secret(name))
		return fail(walk, "A value seems to hold the next keyword", value,
					"Separate keywords with blanks, or write the value in single quotes.");

	if (sm_keyword_is_secret(name) || mentions)
	{
		show(walk, start, value);
		appendStringInfoString(&walk->shown, HIDDEN);
		if (*p != '\0' && !isspace((unsigned char) *p))
			appendStringInfoChar(&walk->shown, ' ');
	}
	else
		show(walk, start, p);
	*pos = p;
	return true;
}

/* Walk through a keyword string; true if it is well-formed. */
static bool
scan_keywords(Walk *walk)
{
	const char *p = walk->start;

	for (;;)
	{
		const char *next = skip_blanks(p);

		show(walk, p, next);
		p = next;
		if (*p == '\0')
			return true;
		if (!scan_setting(walk, &p))
			return false;
	}
}

/* ----------
 * Entry points
 * ----------
 */

/* Raise the problem that was noted. */
static void pg_attribute_noreturn()
report(const Walk *walk)
{
	StringInfoData detail;

	initStringInfo(&detail);
	appendStringInfoString(&detail, walk->problem);
	if (walk->name)
		appendStringInfo(&detail, " \"%s\"", walk->name);
	if (walk->at)
		appendStringInfo(&detail, ", at character %d",
						 pg_mbstrlen_with_len(walk->start, walk->at - walk->start) + 1);
	appendStringInfoChar(&detail, '.');
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("malformed dburi"),
			 errdetail_internal("%s", detail.data),
			 walk->hint ? errhint("%s", walk->hint) : 0));
}

/*
 * The last word is libpq's.  Its message is not: it may quote a secret.
 */
static void
check_with_libpq(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);

	if (options == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("malformed dburi"),
				 errdetail("libpq cannot read it.")));
	PQconninfoFree(options);
}

/*
 * Parse a dburi; 22023 if it is malformed.  The result is in the current
 * memory context and may hold secrets.
 */
SmDburi *
sm_dburi_parse(const char *dburi)
{
	SmDburi    *result = palloc0(sizeof(SmDburi));
	Walk		walk;
	Form		form = classify(&walk, dburi);

	initStringInfo(&walk.shown);
	if (form == FORM_WRONG ||
		(form == FORM_URI && !scan_uri(&walk)) ||
		(form == FORM_KEYWORDS && !scan_keywords(&walk)))
		report(&walk);

	switch (form)
	{
		case FORM_URI:
			result->kind = SM_TARGET_CONNINFO;
			result->conninfo = psprintf("postgresql://%s", walk.rest);
			break;
		case FORM_KEYWORDS:
			result->kind = SM_TARGET_CONNINFO;
			result->conninfo = pstrdup(dburi);
			break;
		case FORM_SERVER:
			result->kind = SM_TARGET_SERVER;
			result->name = pstrdup(dburi);
			break;
		case FORM_LOOPBACK:
			result->kind = SM_TARGET_LOOPBACK;
			result->name = dburi[9] != '\0' ? pstrdup(dburi + 9) : NULL;
			break;
		case FORM_SPI:
		case FORM_WRONG:
			result->kind = SM_TARGET_SPI;
			break;
	}
	if (result->conninfo != NULL)
		check_with_libpq(result->conninfo);
	return result;
}

/*
 * The dburi as it may be shown, in the current memory context: complete but
 * for its secrets if it is well-formed, otherwise next to nothing.  No error
 * is raised but for lack of memory.
 */
char *
sm_dburi_redact(const char *dburi)
{
	Walk		walk;
	Form		form = classify(&walk, dburi);

	initStringInfo(&walk.shown);
	switch (form)
	{
		case FORM_SPI:
		case FORM_LOOPBACK:
		case FORM_SERVER:
			return pstrdup(dburi);
		case FORM_URI:
			if (scan_uri(&walk) && !walk.doubtful)
				return walk.shown.data;
			return pstrdup("postgresql://" HIDDEN);
		case FORM_KEYWORDS:
			if (scan_keywords(&walk))
				return walk.shown.data;
			break;
		case FORM_WRONG:
			break;
	}
	return pstrdup(HIDDEN);
}

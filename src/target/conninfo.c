/*-------------------------------------------------------------------------
 *
 * conninfo.c
 *		Walks over connection URIs and keyword strings.
 *
 * They follow libpq's grammar, for two reasons: libpq's messages quote what
 * they could not read, and that may be a password; and the same walk writes
 * the copy that may be shown.
 *
 * A string that a walk refuses has no copy that may be shown.  Its problem
 * says what is wrong and where, and has a name only if that cannot be a part
 * of a password: see may_show().  Here and there a walk refuses what libpq
 * would take for something that nobody means, with a password in a place that
 * is shown: a host "a;password=x", say.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"

#include "target/target_private.h"

#define HINT_ENCODE	"In user, password and database name of a URI write \"@\" as %40, " \
					"\"/\" as %2F, \":\" as %3A, \"?\" as %3F and \"%\" as %25."

/* Note a problem; false, so that a scanner can return it. */
static bool
fail(SmWalk *walk, const char *problem, const char *at, const char *hint)
{
	walk->problem = problem;
	walk->at = at;
	walk->hint = hint;
	return false;
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
may_show(const SmWalk *walk, const char *name)
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

/*
 * An option that libpq does not know.  Where its name may not be shown, what it
 * was probably meant to be may: that is one of libpq's own names.
 */
static bool
unknown_keyword(SmWalk *walk, char *name, const char *at)
{
	const char *hint = sm_keyword_hint(name);

	if (!may_show(walk, name))
		return fail(walk, "There is an unknown connection option", at, hint);

	walk->name = name;
	return fail(walk, "There is the unknown connection option", at, hint);
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
decode(SmWalk *walk, const char *from, const char *to, bool secret)
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
plain(SmWalk *walk, const char *from, const char *to)
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
show(SmWalk *walk, const char *from, const char *to)
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
scan_userinfo(SmWalk *walk, const char **pos)
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
		/* without another "@", this is where the password ends */
		walk->secret = strchr(end + 1, '@') != NULL;
		if (decode(walk, colon + 1, end, true) == NULL)
			return false;
		appendStringInfoString(&walk->shown, ":" SM_HIDDEN);
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
scan_host(SmWalk *walk, const char **pos)
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
scan_parameter(SmWalk *walk, const char *from, const char *to)
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
		appendStringInfoString(&walk->shown, SM_HIDDEN);
	}
	else
		show(walk, equals + 1, to);
	return true;
}

/* What is behind the "?". */
static bool
scan_query(SmWalk *walk, const char *p)
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
 * SmWalk through a URI; true if it is well-formed.  An "@" in the query of a URI
 * without user may well be part of a user's name there, but also the end of a
 * password with unescaped slash and question mark.
 */
bool
sm_walk_uri(SmWalk *walk)
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
scan_setting(SmWalk *walk, const char **pos)
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
		appendStringInfoString(&walk->shown, SM_HIDDEN);
		if (*p != '\0' && !isspace((unsigned char) *p))
			appendStringInfoChar(&walk->shown, ' ');
	}
	else
		show(walk, start, p);
	*pos = p;
	return true;
}

/* SmWalk through a keyword string; true if it is well-formed. */
bool
sm_walk_keywords(SmWalk *walk)
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

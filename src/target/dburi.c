/*-------------------------------------------------------------------------
 *
 * dburi.c
 *		The grammar of a dburi, and a dburi without its secrets.
 *
 * What kind of target a dburi names is decided by its form alone, in the order
 * of classify().  URIs and keyword strings are then walked through: see
 * conninfo.c for why and how.  No message quotes a dburi that is malformed,
 * because a password may be anywhere in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"

#include "target/target_private.h"

#define MAX_DBURI		8192

typedef enum Form
{
	FORM_URI,
	FORM_SPI,
	FORM_LOOPBACK,
	FORM_KEYWORDS,
	FORM_SERVER,
	FORM_WRONG
} Form;

#define HINT_FORMS	"A dburi is a connection URI (postgresql://...), a libpq keyword string, " \
					"the name of a foreign server, \"spi:\", or \"loopback:\"."

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

/* Note why it is refused. */
static void
refuse(SmWalk *walk, const char *problem, const char *at, const char *hint)
{
	walk->problem = problem;
	walk->at = at;
	walk->hint = hint;
}

/* Decide the form; for a wrong one, note what is wrong. */
static Form
classify(SmWalk *walk, const char *dburi)
{
	int			scheme = scheme_length(dburi);

	memset(walk, 0, sizeof(*walk));
	walk->start = dburi;

	if (dburi[0] == '\0')
		refuse(walk, "It is empty", NULL, HINT_FORMS);
	else if (strlen(dburi) > MAX_DBURI)
		refuse(walk, "It is longer than 8192 bytes", NULL, NULL);
	else if (scheme > 0 && scheme_is_ours(dburi, same_exactly))
	{
		walk->rest = dburi + scheme;
		return FORM_URI;
	}
	else if (scheme > 0 && scheme_is_ours(dburi, same_folded))
		refuse(walk, "The scheme of a URI must be in lower case", dburi, NULL);
	else if (scheme > 0)
		refuse(walk, "The scheme of the URI is not supported", dburi,
			   "Write postgresql://user:password@host:port/database.");
	else if (strncmp(dburi, "spi:", 4) == 0)
	{
		if (dburi[4] == '\0')
			return FORM_SPI;
		refuse(walk, "Nothing may follow \"spi:\"", dburi + 4, NULL);
	}
	else if (strncmp(dburi, "loopback:", 9) == 0)
	{
		if (strlen(dburi + 9) < NAMEDATALEN)
			return FORM_LOOPBACK;
		refuse(walk, "The database name is too long", dburi + 9, NULL);
	}
	else if (strchr(dburi, '=') != NULL)
		return FORM_KEYWORDS;
	else if (strpbrk(dburi, ":/") == NULL)
		return FORM_SERVER;
	else if (strncmp(dburi, "session/", 8) == 0)
		refuse(walk, "It looks like the text of a session", NULL,
			   "Cast it to sessmgr.session.");
	else
		refuse(walk, "It has none of the known forms", NULL, HINT_FORMS);
	return FORM_WRONG;
}

/* ----------
 * Entry points
 * ----------
 */

/* Raise the problem that was noted. */
static void
pg_attribute_noreturn()
report(const SmWalk *walk)
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
	if (sm_conninfo_parse(conninfo) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("malformed dburi"),
				 errdetail("libpq cannot read it.")));
}

/*
 * Parse a dburi; 22023 if it is malformed.  The result is in the current
 * memory context and may hold secrets.
 */
SmDburi *
sm_dburi_parse(const char *dburi)
{
	SmDburi    *result = palloc0(sizeof(SmDburi));
	SmWalk		walk;
	Form		form = classify(&walk, dburi);

	initStringInfo(&walk.shown);
	if (form == FORM_WRONG ||
		(form == FORM_URI && !sm_walk_uri(&walk)) ||
		(form == FORM_KEYWORDS && !sm_walk_keywords(&walk)))
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
	SmWalk		walk;
	Form		form = classify(&walk, dburi);

	initStringInfo(&walk.shown);
	switch (form)
	{
		case FORM_SPI:
		case FORM_LOOPBACK:
		case FORM_SERVER:
			return pstrdup(dburi);
		case FORM_URI:
			if (sm_walk_uri(&walk) && !walk.doubtful)
				return walk.shown.data;
			return pstrdup("postgresql://" SM_HIDDEN);
		case FORM_KEYWORDS:
			if (sm_walk_keywords(&walk))
				return walk.shown.data;
			break;
		case FORM_WRONG:
			break;
	}
	return pstrdup(SM_HIDDEN);
}

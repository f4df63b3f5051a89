/*-------------------------------------------------------------------------
 *
 * statement_text.c
 *		What the text of a statement says by itself: which parameters it uses,
 *		whether they are written as in other languages, and whether it may commit
 *		by itself.
 *
 * A server takes parameters that a statement does not use, as long as it is
 * told their types: UPDATE t SET a = $1 with two of them, its WHERE forgotten,
 * changes all rows.  So they are counted here, by the server's own scanner, to
 * which comments, strings and quoted names are what they are to a server.  What
 * it cannot read is left to the target to refuse.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <ctype.h>

#include "common/keywords.h"
#include "mb/pg_wchar.h"
#include "parser/parser.h"
#include "parser/scanner.h"
#include "utils/memutils.h"

/* The most parameters that the protocol can number. */
#define MAX_PARAMETERS	65535

/* What was found. */
typedef struct Usage
{
	bool		empty;			/* there is no statement */
	int			highest;		/* parameter used; 0: none */
	int			unused;			/* the first one given that is not; 0: none */
	bool		foreign;		/* the error is at what looks like a parameter
								 * elsewhere */
} Usage;

/* ----------
 * Scanning
 * ----------
 */
static core_yyscan_t
begin_scan(const char *sql, bool standard_strings, core_yy_extra_type *extra)
{
	core_yyscan_t scanner = scanner_init(sql, extra, &ScanKeywords, ScanKeywordTokens);

	/* as the target reads strings, and without warnings of ours */
	extra->standard_conforming_strings = standard_strings;
	extra->backslash_quote = BACKSLASH_QUOTE_ON;
	extra->escape_string_warning = false;
	return scanner;
}

/* The token of "$1": its number is in a header that not every release installs. */
static int
parameter_token(void)
{
	static int	token = 0;

	if (unlikely(token == 0))
	{
		core_yy_extra_type extra;
		core_yyscan_t scanner = begin_scan("$1", true, &extra);
		core_YYSTYPE value;
		YYLTYPE		location;

		token = core_yylex(&value, &location, scanner);
		scanner_finish(scanner);
	}
	return token;
}

static bool
is_keyword(int token, const char *name)
{
	return token == ScanKeywordTokens[ScanKeywordLookup(name, &ScanKeywords)];
}

/*
 * Does a statement that begins like this have a body with parameters of its
 * own?  n tokens are known.
 */
static bool
has_own_parameters(const int *tokens, int n)
{
	int			last = tokens[n - 1];

	if (n == 1)
		return is_keyword(last, "prepare");
	return is_keyword(tokens[0], "create") &&
		(n == 2 || (n == 4 && is_keyword(tokens[1], "or"))) &&
		(is_keyword(last, "function") || is_keyword(last, "procedure"));
}

/*
 * Is the token at this place, which is not in a string or a comment, or a part
 * of it, what other languages write for a parameter: ?, %s, %(name)s, :name,
 * $name, ${name}, {name}?
 */
static bool
is_foreign(const char *place)
{
	const char *end = place + strspn(place, "~!@#^&|`?+-*/%<>=");

	if (*place == '{')
		return true;
	if (*place == ':' || *place == '$')
		return isalnum((unsigned char) place[1]) || place[1] == '_' || place[1] == '{';
	if (end == place)
		return false;
	return memchr(place, '?', end - place) != NULL ||
		(end[-1] == '%' && (*end == '(' || (*end == 's' && !isalnum((unsigned char) end[1]))));
}

/* Is this name the one in %s, @name or %(name)s, as what is before it tells? */
static bool
is_foreign_name(const char *sql, const char *name)
{
	bool		is_s = name[0] == 's' && !isalnum((unsigned char) name[1]);

	if (name == sql)
		return false;
	if (name[-1] == '@')
		/* but no operator that ends like this, such as <@ */
		return name - sql == 1 || strchr("=(, \t\n", name[-2]) != NULL;
	return is_s && (name[-1] == '%' || name[-1] == ')');
}

/*
 * Throws what the scanner throws, and 42601 for a number that cannot be; then
 * usage has what was found before.  error: where a syntax error is, or NULL.  An
 * operator that is none shows as one only at the next token.
 */
static void
scan(const char *sql, int given, bool standard_strings, const char *error, Usage *usage)
{
	bool	   *used = palloc0((given + 1) * sizeof(bool));
	int			parameter = parameter_token();
	core_yy_extra_type extra;
	core_yyscan_t scanner = begin_scan(sql, standard_strings, &extra);
	core_YYSTYPE value;
	YYLTYPE		location;
	int			first[4];
	const char *before = NULL;
	int			n = 0;
	int			token;

	usage->empty = true;
	usage->foreign = false;
	usage->highest = usage->unused = 0;
	do
	{
		token = core_yylex(&value, &location, scanner);
		if (sql + location == error)
			usage->foreign = is_foreign(error) || (before != NULL && is_foreign(before)) ||
				is_foreign_name(sql, error);
		before = sql + location;
		if (token != ';' && token != 0)
			usage->empty = false;
		if (!usage->empty && n < (int) lengthof(first))
		{
			first[n++] = token;
			if (has_own_parameters(first, n))
				break;
		}
		if (token != parameter)
			continue;
		if (value.ival < 1 || value.ival > MAX_PARAMETERS)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("there is no parameter $%d", value.ival)));
		usage->highest = Max(usage->highest, value.ival);
		if (value.ival <= given)
			used[value.ival] = true;
	} while (token != 0);
	scanner_finish(scanner);
	for (int i = given; i > 0; i--)
	{
		if (!used[i])
			usage->unused = i;
	}
}

/* False if the text cannot be read. */
static bool
find_usage(const char *sql, int given, bool standard_strings, const char *error, Usage *usage)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr scan",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	volatile bool done = true;

	PG_TRY();
	{
		scan(sql, given, standard_strings, error, usage);
	}
	PG_CATCH();
	{
		if (geterrcode() == ERRCODE_OUT_OF_MEMORY)
			PG_RE_THROW();
		FlushErrorState();
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return done;
}

/*
 * May it commit what it has done so far and go on?  CALL and DO may, which a
 * transaction around them would prevent.
 */
bool
sm_statement_may_commit(const char *sql)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr scan",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	volatile bool may = false;

	PG_TRY();
	{
		core_yy_extra_type extra;
		core_yyscan_t scanner = begin_scan(sql, true, &extra);
		core_YYSTYPE value;
		YYLTYPE		location;
		int			token;

		do
			token = core_yylex(&value, &location, scanner);
		while (token == ';');
		may = is_keyword(token, "call") || is_keyword(token, "do");
		scanner_finish(scanner);
	}
	PG_CATCH();
	{
		if (geterrcode() == ERRCODE_OUT_OF_MEMORY)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return may;
}

/* Is there no statement in it? */
bool
sm_statement_is_empty(const char *sql)
{
	Usage		usage;

	return find_usage(sql, 0, true, NULL, &usage) && usage.empty;
}

/* ----------
 * Checking
 * ----------
 */

/* Is a backslash in a string there nothing but a backslash? */
static bool
has_standard_strings(const SmConn *conn)
{
	const char *value;

	if (!conn->endpoint->remote)
		return standard_conforming_strings;
	value = PQparameterStatus(conn->pg, "standard_conforming_strings");
	return value == NULL || strcmp(value, "on") == 0;
}

static const char placeholders[] = "The places of parameters in a statement are $1, $2 and so on.";

static void
report_count(const SmEndpoint *endpoint, const char *sql, int needed, int given)
{
	const char *missing = "Is a part of the statement missing, such as its WHERE?";

	ereport(ERROR,
			(given < needed ? errcode(ERRCODE_UNDEFINED_PARAMETER) : errcode(ERRCODE_SYNTAX_ERROR),
			 needed == 0 ?
			 errmsg("statement needs no parameters, %d %s given", given,
					given == 1 ? "was" : "were") :
			 errmsg("statement needs %d parameter%s, %d %s given", needed,
					needed == 1 ? "" : "s", given, given == 1 ? "was" : "were"),
			 given < needed ? 0 : errhint("%s", needed == 0 ? placeholders : missing),
			 sm_report_context(endpoint, sql)));
}

/*
 * Are all of these parameters used by the statement, and no others?  Throws
 * 42P02 if it needs more, 42601 if it does not use one, and for an empty
 * statement with parameters, which no server can take.
 */
void
sm_statement_check_params(const SmConn *conn, const char *sql, int given)
{
	const SmEndpoint *endpoint = conn->endpoint;
	Usage		usage;

	if (given == 0 && strchr(sql, '$') == NULL)
		return;
	if (!find_usage(sql, given, has_standard_strings(conn), NULL, &usage))
		return;
	if (usage.empty)
		sm_report_empty(endpoint);
	if (usage.highest != given)
		report_count(endpoint, sql, usage.highest, given);
	if (usage.unused > 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("statement does not use parameter $%d", usage.unused),
				 errhint("Number the parameters without a gap. Is a part of the statement missing?"),
				 sm_report_context(endpoint, sql)));
}

/*
 * What to say of an error of this state, at this position in the statement (in
 * characters, 0: at none), where the server has no hint of its own, or NULL.
 */
const char *
sm_statement_hint(const SmConn *conn, const char *sql, int sqlstate, int position)
{
	Usage		usage = {0};
	const char *error = NULL;

	if (sql == NULL)
		return NULL;
	if (position > 0)
		error = sql + pg_mbcharcliplen(sql, strlen(sql), position - 1);
	switch (sqlstate)
	{
		case ERRCODE_SYNTAX_ERROR:
			(void) find_usage(sql, 0, has_standard_strings(conn), error, &usage);
			return usage.foreign ? placeholders : NULL;
		case ERRCODE_UNDEFINED_COLUMN:
			return error != NULL && is_foreign_name(sql, error) ? placeholders : NULL;
		case ERRCODE_INDETERMINATE_DATATYPE:
			(void) find_usage(sql, 0, has_standard_strings(conn), NULL, &usage);
			return usage.highest > 0 ? SM_HINT_CAST : NULL;
		default:
			return NULL;
	}
}

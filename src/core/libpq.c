/*-------------------------------------------------------------------------
 *
 * libpq.c
 *		What is asked of libpq without a connection: its options, and whether
 *		what it has failed for is memory.
 *
 * libpq allocates its memory by itself, and that there is none left it tells
 * only in words: its own, in the language of the server's messages, or the
 * system's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/core.h"

#include <netdb.h>
#ifdef ENABLE_NLS
#include <libintl.h>
#endif

/* How libpq itself says it; more may follow. */
static const char *const words[] = {
	"out of memory",
	"out of memory\n",
	"out of memory for query result",
	"out of memory for query result\n",
	"cannot allocate memory for input buffer",
	"cannot allocate memory for input buffer\n",
	"cannot allocate memory for output buffer\n",
	"insufficient memory to complete authentication",
};

static const char *
translated(const char *text)
{
#ifdef ENABLE_NLS
	char		domain[32];

	snprintf(domain, sizeof(domain), "libpq5-%d", PQlibVersion() / 10000);
	return dgettext(domain, text);
#else
	return text;
#endif
}

/* Does this message of libpq say that there is no memory?  NULL does. */
bool
sm_is_no_memory(const char *message)
{
	if (message == NULL)
		return true;
	for (size_t i = 0; i < lengthof(words); i++)
	{
		if (strstr(message, words[i]) != NULL ||
			strstr(message, translated(words[i])) != NULL)
			return true;
	}
	return strstr(message, strerror(ENOMEM)) != NULL ||
		strstr(message, gai_strerror(EAI_MEMORY)) != NULL;
}

static SmLibpqOption *
copy_options(const PQconninfoOption *options)
{
	SmLibpqOption *copy;
	int			n = 0;

	while (options[n].keyword != NULL)
		n++;
	copy = palloc0((n + 1) * sizeof(SmLibpqOption));
	for (int i = 0; i < n; i++)
	{
		copy[i].keyword = pstrdup(options[i].keyword);
		copy[i].value = options[i].val ? pstrdup(options[i].val) : NULL;
		copy[i].secret = strchr(options[i].dispchar, '*') != NULL;
		copy[i].debug = strchr(options[i].dispchar, 'D') != NULL;
	}
	return copy;
}

/*
 * All options that libpq knows, with the values that this URI or keyword string
 * gives them; the last one has no keyword.  NULL if libpq cannot read it: its
 * message is not for showing, as it may quote a secret.  In the current memory
 * context, secrets and all.
 */
SmLibpqOption *
sm_conninfo_parse(const char *conninfo)
{
	char	   *problem = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &problem);
	bool		no_memory = options == NULL && sm_is_no_memory(problem);
	SmLibpqOption *volatile copy;

	PQfreemem(problem);
	if (no_memory)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	if (options == NULL)
		return NULL;
	PG_TRY();
	{
		copy = copy_options(options);
	}
	PG_FINALLY();
	{
		PQconninfoFree(options);
	}
	PG_END_TRY();
	return copy;
}

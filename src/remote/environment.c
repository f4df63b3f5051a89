/*-------------------------------------------------------------------------
 *
 * environment.c
 *		Calls of libpq that do not see its environment variables.
 *
 * libpq takes what a connection string does not say from the environment
 * (PGHOST, PGSERVICE, PGOPTIONS and many more), and a backend's environment is
 * its postmaster's: a connection would lead, or be made, otherwise after the
 * server was started by somebody else.  So those calls that look there find an
 * environment without these variables.  The variables themselves stay, as they
 * may be meant for others in this process.
 *
 * Invariant: between hiding and showing only libpq runs, which does not throw,
 * as does nothing that it calls back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include "utils/memutils.h"

extern char **environ;

/* the environment that libpq sees, and room in it */
static char **visible = NULL;
static int	visible_capacity = 0;

/*
 * All names of libpq's own variables begin with PG.  The one that only tells
 * where translated messages are decides nothing; the server sets it itself.
 * Passwords and certificates are found in the home directory of the server's
 * operating system user, and not in that of whoever has started it.
 */
static bool
is_hidden(const char *variable)
{
	return strncmp(variable, "HOME=", 5) == 0 ||
		(strncmp(variable, "PG", 2) == 0 && strncmp(variable, "PGLOCALEDIR=", 12) != 0);
}

/* Hide them; returns what is to be given to show_variables(). */
static char **
hide(void)
{
	char	  **all = environ;
	int			n = 0;
	int			shown = 0;

	while (all != NULL && all[n] != NULL)
		n++;
	if (n >= visible_capacity)
	{
		char	  **larger = MemoryContextAlloc(TopMemoryContext, (n + 1) * sizeof(char *));

		if (visible != NULL)
			pfree(visible);
		visible = larger;
		visible_capacity = n + 1;
	}
	for (int i = 0; i < n; i++)
	{
		if (!is_hidden(all[i]))
			visible[shown++] = all[i];
	}
	visible[shown] = NULL;
	environ = visible;
	return all;
}

static void
show_variables(char **all)
{
	environ = all;
}

/* PQconnectStartParams(), with these keywords and libpq's own defaults alone. */
PGconn *
sm_libpq_start(const char *const *keywords, const char *const *values)
{
	char	  **all = hide();
	PGconn	   *pg = PQconnectStartParams(keywords, values, false);

	show_variables(all);
	return pg;
}

/* PQconnectPoll(), which sends some variables to the server as settings. */
PostgresPollingStatusType
sm_libpq_poll(PGconn *pg)
{
	char	  **all = hide();
	PostgresPollingStatusType polling = PQconnectPoll(pg);

	show_variables(all);
	return polling;
}

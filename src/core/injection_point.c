/*-------------------------------------------------------------------------
 *
 * injection_point.c
 *		Places where a test can stop a process.
 *
 * Only in a library that was built for tests, with -DSM_INJECTION_POINTS: where
 * SM_INJECTION_POINT(name) stands and the setting sessmgr.injection_point has that name,
 * the process stops itself with SIGSTOP.  The test then kills what it wants to
 * see killed there, or lets the process go on.  "name 3" is the third time
 * since the setting was made, and a name alone the first time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/core.h"

#ifdef SM_INJECTION_POINTS

#include <ctype.h>
#include <signal.h>

#include "utils/guc.h"

static char *injection_point = NULL;
static int	passed = 0;

static void
assign_injection_point(const char *newval, void *extra)
{
	(void) newval;
	(void) extra;
	passed = 0;
}

void
sm_injection_point_init(void)
{
	DefineCustomStringVariable("sessmgr.injection_point",
							   "Where this process stops itself, for tests.",
							   NULL, &injection_point, "", PGC_USERSET, 0,
							   NULL, assign_injection_point, NULL);
}

void
sm_injection_point(const char *name)
{
	size_t		len = strlen(name);
	const char *rest;

	if (injection_point == NULL || strncmp(injection_point, name, len) != 0)
		return;
	rest = injection_point + len;
	if (*rest != '\0' && (*rest != ' ' || !isdigit((unsigned char) rest[1])))
		return;
	if (++passed == (*rest == '\0' ? 1 : atoi(rest)))
		raise(SIGSTOP);
}

#endif							/* SM_INJECTION_POINTS */

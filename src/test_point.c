/*-------------------------------------------------------------------------
 *
 * test_point.c
 *		Places where a test can stop a process.
 *
 * Only in a library that was built for tests, with -DSM_TEST_POINTS: where
 * SM_TEST_POINT(name) stands and the setting sessmgr.test_point has that name,
 * the process stops itself with SIGSTOP.  The test then kills what it wants to
 * see killed there, or lets the process go on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"

#ifdef SM_TEST_POINTS

#include <signal.h>

#include "utils/guc.h"

static char *test_point = NULL;

void
sm_test_point_init(void)
{
	DefineCustomStringVariable("sessmgr.test_point",
							   "Where this process stops itself, for tests.",
							   NULL, &test_point, "", PGC_USERSET, 0,
							   NULL, NULL, NULL);
}

void
sm_test_point(const char *name)
{
	if (test_point != NULL && strcmp(test_point, name) == 0)
		raise(SIGSTOP);
}

#endif							/* SM_TEST_POINTS */

/*-------------------------------------------------------------------------
 *
 * forktest.c
 *		Forks a backend and runs SQL in the child, for t/fork.pl, and uses up its
 *		timers, for t/idle.pl.
 *
 * The child shares its parent's PGPROC, so its SQL must need no lock that the
 * parent's transaction does not hold already: the test runs it there first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"


#include <sys/wait.h>
#include <unistd.h>

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/timeout.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

PG_FUNCTION_INFO_V1(fork_and_run);
PG_FUNCTION_INFO_V1(take_timers);

static bool in_child = false;

/*
 * Runs after the exit callbacks of whatever was first used later than this
 * module was loaded, and before the server's own, which must not run in the
 * child.
 */
static void
end_child(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (in_child)
		_exit(0);
}

void
_PG_init(void)
{
	before_shmem_exit(end_child, (Datum) 0);
}

/* The first column of the first row, or the error, as text. */
static char *
run(const char *sql)
{
	MemoryContext cxt = CurrentMemoryContext;
	char	   *volatile result = NULL;

	PG_TRY();
	{
		SPI_connect();
		SPI_execute(sql, false, 1);
		if (SPI_processed > 0)
			result = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		result = MemoryContextStrdup(cxt, result ? result : "");
		SPI_finish();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		result = psprintf("%s: %s", unpack_sql_state(edata->sqlerrcode), edata->message);
	}
	PG_END_TRY();
	return result;
}

static void
child(int fd, const char *sql, bool callbacks)
{
	static Latch latch;
	char	   *result;

	in_child = true;
	MyProcPid = getpid();
	InitLatch(&latch);
	MyLatch = &latch;
	whereToSendOutput = DestNone;

	result = run(sql);
	if (write(fd, result, strlen(result)) < 0)
		_exit(1);
	if (callbacks)
		shmem_exit(0);			/* ends in end_child() */
	_exit(0);
}

/* fork_and_run(sql text, callbacks boolean) returns text */
Datum
fork_and_run(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char		buf[4096];
	size_t		len = 0;
	ssize_t		n;
	int			fds[2];
	int			status;
	pid_t		pid;

	if (pipe(fds) != 0)
		elog(ERROR, "pipe failed: %m");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		elog(ERROR, "fork failed: %m");
	if (pid == 0)
	{
		close(fds[0]);
		child(fds[1], sql, PG_GETARG_BOOL(1));
	}

	close(fds[1]);
	while (len < sizeof(buf) &&
		   ((n = read(fds[0], buf + len, sizeof(buf) - len)) > 0 || (n < 0 && errno == EINTR)))
		len += Max(n, 0);
	close(fds[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		elog(ERROR, "child ended with status %d", status);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(buf, len));
}

static void
ignore_timer(void)
{
}

/* take_timers(n int) returns void: of those that are there for extensions */
Datum
take_timers(PG_FUNCTION_ARGS)
{
	for (int i = 0; i < PG_GETARG_INT32(0); i++)
		(void) RegisterTimeout(USER_TIMEOUT, ignore_timer);
	PG_RETURN_VOID();
}

/*
 * bulk.c
 *		The limit for many parameterised statements: libpq's pipeline mode.
 *
 * Usage: bulk CONNINFO ROWS; prints milliseconds.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* Read one command's results and their end. */
static void
take(PGconn *conn)
{
	PGresult   *res;

	while ((res = PQgetResult(conn)) != NULL)
	{
		if (PQresultStatus(res) != PGRES_COMMAND_OK)
		{
			fprintf(stderr, "%s", PQerrorMessage(conn));
			exit(1);
		}
		PQclear(res);
	}
}

int
main(int argc, char **argv)
{
	const Oid	types[2] = {23, 25};
	PGconn	   *conn = PQconnectdb(argv[1]);
	int			rows = argc > 2 ? atoi(argv[2]) : 20000;
	int			taken = 0;
	double		start = now();

	PQclear(PQexec(conn, "BEGIN"));
	PQclear(PQprepare(conn, "p", "INSERT INTO t VALUES ($1, $2)", 2, types));
	PQsetnonblocking(conn, 1);
	PQenterPipelineMode(conn);
	for (int i = 1; i <= rows; i++)
	{
		char		key[16];
		const char *values[2] = {key, "some text of no great length"};

		snprintf(key, sizeof(key), "%d", i);
		PQsendQueryPrepared(conn, "p", 2, values, NULL, NULL, 0);
		if (i % 256 == 0)
		{
			PQsendFlushRequest(conn);
			PQflush(conn);
			PQconsumeInput(conn);
			while (taken < i && !PQisBusy(conn))
			{
				take(conn);
				taken++;
			}
		}
	}
	PQsetnonblocking(conn, 0);
	PQpipelineSync(conn);
	for (; taken < rows; taken++)
		take(conn);
	PQclear(PQgetResult(conn));
	PQexitPipelineMode(conn);
	PQclear(PQexec(conn, "COMMIT"));
	printf("%.1f\n", now() - start);
	PQfinish(conn);
	return 0;
}

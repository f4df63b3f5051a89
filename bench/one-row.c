/*
 * one-row.c
 *		The limit for one row by key: a loop of PQexecPrepared.
 *
 * Usage: one-row CONNINFO CALLS; prints microseconds a call.
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
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void
run(PGconn *conn, int calls)
{
	for (int i = 1; i <= calls; i++)
	{
		char		key[16];
		const char *values[1] = {key};
		PGresult   *res;

		snprintf(key, sizeof(key), "%d", i);
		res = PQexecPrepared(conn, "p", 1, values, NULL, NULL, 0);
		if (PQntuples(res) != 1)
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
	const Oid	types[1] = {23};
	PGconn	   *conn = PQconnectdb(argv[1]);
	int			calls = argc > 2 ? atoi(argv[2]) : 10000;
	double		start;

	PQclear(PQprepare(conn, "p", "SELECT v FROM kv WHERE k = $1", 1, types));
	run(conn, 500);
	start = now();
	run(conn, calls);
	printf("%.2f\n", (now() - start) / calls);
	PQfinish(conn);
	return 0;
}

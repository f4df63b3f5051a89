/*
 * limit.c
 *		What bench/run measures everything else against: the same works by libpq
 *		in plain C, each in the fastest way that libpq has for it.
 *
 * Usage: limit WORK ARGUMENT...; see works[].  Prints one number: milliseconds,
 * or what the work's comment says.  Any error ends it.
 */
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INT4OID 23
#define TEXTOID 25
#define TEXT "some text of no great length"

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void
fail(PGconn *conn)
{
	fprintf(stderr, "limit: %s", PQerrorMessage(conn));
	exit(1);
}

static PGconn *
connect_to(const char *conninfo)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		fail(conn);
	return conn;
}

/* Frees a result, which must be of the expected status. */
static void
done(PGconn *conn, PGresult *res, ExecStatusType expected)
{
	if (PQresultStatus(res) != expected)
		fail(conn);
	PQclear(res);
}

static void
command(PGconn *conn, const char *sql)
{
	done(conn, PQexec(conn, sql), PGRES_COMMAND_OK);
}

/* Reads what is left of a command or a COPY; it must have gone well. */
static void
finish(PGconn *conn)
{
	PGresult   *res;

	while ((res = PQgetResult(conn)) != NULL)
		done(conn, res, PGRES_COMMAND_OK);
}

static void
rows_by_key(PGconn *conn, int calls)
{
	for (int i = 1; i <= calls; i++)
	{
		char		key[16];
		const char *values[1] = {key};
		PGresult   *res;

		snprintf(key, sizeof(key), "%d", i);
		res = PQexecPrepared(conn, "p", 1, values, NULL, NULL, 0);
		if (PQntuples(res) != 1)
			fail(conn);
		done(conn, res, PGRES_TUPLES_OK);
	}
}

/* row CONNINFO CALLS: one row by key, on a connection that is open */
static double
row(char **argv)
{
	const Oid	types[1] = {INT4OID};
	PGconn	   *conn = connect_to(argv[0]);
	double		start;

	done(conn, PQprepare(conn, "p", "SELECT v FROM kv WHERE k = $1", 1, types), PGRES_COMMAND_OK);
	rows_by_key(conn, 500);
	start = now();
	rows_by_key(conn, atoi(argv[1]));
	return now() - start;
}

/* reconnect CONNINFO CALLS: one row by key, on a connection of its own */
static double
reconnect(char **argv)
{
	const Oid	types[1] = {INT4OID};
	const char *values[1] = {"1"};
	int			calls = atoi(argv[1]);
	double		start = now();

	for (int i = 0; i < calls; i++)
	{
		PGconn	   *conn = connect_to(argv[0]);

		done(conn, PQexecParams(conn, "SELECT v FROM kv WHERE k = $1", 1, types, values,
								NULL, NULL, 0), PGRES_TUPLES_OK);
		PQfinish(conn);
	}
	return now() - start;
}

/* Reads so many rows one at a time, in binary. */
static double
read_once(PGconn *conn, const char *statement, const char *limit)
{
	char		sql[1000];
	PGresult   *res;
	double		start = now();

	snprintf(sql, sizeof(sql), "%s LIMIT %s", statement, limit);
	if (!PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 1) ||
		!PQsetSingleRowMode(conn))
		fail(conn);
	while ((res = PQgetResult(conn)) != NULL)
		done(conn, res, PQntuples(res) == 1 ? PGRES_SINGLE_TUPLE : PGRES_TUPLES_OK);
	return now() - start;
}

/* read CONNINFO STATEMENT ROWS: after one of them has been read */
static double
read_rows(char **argv)
{
	PGconn	   *conn = connect_to(argv[0]);

	read_once(conn, argv[1], "1");
	return read_once(conn, argv[1], argv[2]);
}

/* Appends a row (int, text) to what COPY in binary wants; returns its end. */
static char *
put_row(char *p, int number)
{
	const uint8_t fields[] = {
		0, 2,					/* columns */
		0, 0, 0, 4, number >> 24, number >> 16, number >> 8, number,
		0, 0, 0, sizeof(TEXT) - 1
	};

	memcpy(p, fields, sizeof(fields));
	memcpy(p + sizeof(fields), TEXT, sizeof(TEXT) - 1);
	return p + sizeof(fields) + sizeof(TEXT) - 1;
}

/* copy_in CONNINFO ROWS: rows (int, text) made up in memory, by COPY into t */
static double
copy_in(char **argv)
{
	char		buffer[65536];
	char	   *p = buffer;
	int			rows = atoi(argv[1]);
	PGconn	   *conn = connect_to(argv[0]);
	double		start = now();

	done(conn, PQexec(conn, "COPY t FROM STDIN (FORMAT binary)"), PGRES_COPY_IN);
	memcpy(p, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
	p += 19;
	for (int i = 1; i <= rows; i++)
	{
		p = put_row(p, i);
		if (p > buffer + sizeof(buffer) - 128)
		{
			if (PQputCopyData(conn, buffer, p - buffer) != 1)
				fail(conn);
			p = buffer;
		}
	}
	memcpy(p, "\377\377", 2);
	if (PQputCopyData(conn, buffer, p + 2 - buffer) != 1 || PQputCopyEnd(conn, NULL) != 1)
		fail(conn);
	finish(conn);
	return now() - start;
}

/* copy_through FROM TO QUERY: by COPY from one server into t on another */
static double
copy_through(char **argv)
{
	PGconn	   *from = connect_to(argv[0]);
	PGconn	   *to = connect_to(argv[1]);
	char		sql[1000];
	char	   *data;
	int			length;
	double		start = now();

	snprintf(sql, sizeof(sql), "COPY (%s) TO STDOUT (FORMAT binary)", argv[2]);
	done(from, PQexec(from, sql), PGRES_COPY_OUT);
	done(to, PQexec(to, "COPY t FROM STDIN (FORMAT binary)"), PGRES_COPY_IN);
	while ((length = PQgetCopyData(from, &data, 0)) > 0)
	{
		if (PQputCopyData(to, data, length) != 1)
			fail(to);
		PQfreemem(data);
	}
	if (PQputCopyEnd(to, NULL) != 1)
		fail(to);
	finish(from);
	finish(to);
	return now() - start;
}

/* pipeline CONNINFO ROWS: an INSERT for each, in libpq's pipeline mode */
static double
pipeline(char **argv)
{
	const Oid	types[2] = {INT4OID, TEXTOID};
	int			rows = atoi(argv[1]);
	int			taken = 0;
	PGconn	   *conn = connect_to(argv[0]);
	double		start = now();

	command(conn, "BEGIN");
	done(conn, PQprepare(conn, "p", "INSERT INTO t VALUES ($1, $2)", 2, types), PGRES_COMMAND_OK);
	PQsetnonblocking(conn, 1);
	PQenterPipelineMode(conn);
	for (int i = 1; i <= rows; i++)
	{
		char		key[16];
		const char *values[2] = {key, TEXT};

		snprintf(key, sizeof(key), "%d", i);
		if (!PQsendQueryPrepared(conn, "p", 2, values, NULL, NULL, 0))
			fail(conn);
		if (i % 256 == 0)
		{
			PQsendFlushRequest(conn);
			PQflush(conn);
			PQconsumeInput(conn);
			for (; taken < i && !PQisBusy(conn); taken++)
				finish(conn);
		}
	}
	PQsetnonblocking(conn, 0);
	PQpipelineSync(conn);
	for (; taken < rows; taken++)
		finish(conn);
	done(conn, PQgetResult(conn), PGRES_PIPELINE_SYNC);
	PQexitPipelineMode(conn);
	command(conn, "COMMIT");
	return now() - start;
}

static double
ask_all(PGconn **conns, int count, const char *sql)
{
	double		start = now();

	for (int i = 0; i < count; i++)
	{
		if (!PQsendQueryParams(conns[i], sql, 0, NULL, NULL, NULL, NULL, 0))
			fail(conns[i]);
	}
	for (int i = 0; i < count; i++)
	{
		done(conns[i], PQgetResult(conns[i]), PGRES_TUPLES_OK);
		PQclear(PQgetResult(conns[i]));
	}
	return now() - start;
}

/* gather CONNINFO TARGETS STATEMENT: on as many connections at once */
static double
gather(char **argv)
{
	int			count = atoi(argv[1]);
	PGconn	  **conns = calloc(count, sizeof(PGconn *));

	for (int i = 0; i < count; i++)
		conns[i] = connect_to(argv[0]);
	ask_all(conns, count, argv[2]);
	return ask_all(conns, count, argv[2]);
}

/* kB of this process that are in memory */
static double
resident(void)
{
	char		line[256];
	double		kb = 0;
	FILE	   *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "VmRSS: %lf", &kb);
	if (file)
		fclose(file);
	return kb;
}

/* memory CONNINFO CONNECTIONS: bytes for each of them after a statement */
static double
memory(char **argv)
{
	int			count = atoi(argv[1]);
	double		before = 0;

	for (int i = 0; i <= count; i++)
	{
		PGconn	   *conn = connect_to(argv[0]);

		done(conn, PQexec(conn, "SELECT 1"), PGRES_TUPLES_OK);
		if (i == 0)
			before = resident();	/* the first one loads what all share */
	}
	return (resident() - before) * 1024 / count;
}

/* version: of libpq, as a number */
static double
version(char **argv)
{
	(void) argv;
	return PQlibVersion();
}

static const struct
{
	const char *name;
	int			arguments;
	double		(*run) (char **argv);
}			works[] = {
	{"row", 2, row},
	{"reconnect", 2, reconnect},
	{"read", 3, read_rows},
	{"copy_in", 2, copy_in},
	{"copy_through", 3, copy_through},
	{"pipeline", 2, pipeline},
	{"gather", 3, gather},
	{"memory", 2, memory},
	{"version", 0, version},
};

int
main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++)
	{
		if (argc == works[i].arguments + 2 && strcmp(argv[1], works[i].name) == 0)
		{
			printf("%.3f\n", works[i].run(argv + 2));
			return 0;
		}
	}
	fprintf(stderr, "usage: limit WORK ARGUMENT...\n");
	return 1;
}

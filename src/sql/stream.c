/*-------------------------------------------------------------------------
 *
 * stream.c
 *		A stream: the rows of a call, one by one, from its begin to its end.
 *
 * What is read, and how, is stream_reader.c's; here a stream that has its
 * connection for itself gets it, and gives it back as soon as all is read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

/* results that may have arrived, and are read away before a cancel is tried */
#define MAX_LEFT	64

/*
 * Run the statement of a call so that its rows can be read one by one, in the
 * reader's shape.  The stream is good as long as the current memory context;
 * sm_stream_close() ends it, or the end of that context together with that of
 * the (sub)transaction.  rewind: see sm_stream_make().
 */
SmStream *
sm_stream_open(const SmArgs *args, SmReader *reader, bool rewind)
{
	SmStream   *stream = sm_stream_make(reader, args->sql, rewind);

	(void) sm_args_run(args, sm_stream_sink(stream));
	return stream;
}

/*
 * Give back the connection of a stream that has it for itself.  What is still
 * to come is canceled, unless the end of it is here already.
 */
static void
release(SmStream *stream)
{
	SmConn	   *conn = sm_stream_own_conn(stream);

	for (int i = 0; i < MAX_LEFT && sm_conn_state(conn) == SM_CONN_BUSY; i++)
	{
		if (!sm_remote_take(conn))
			break;
	}
	if (sm_conn_state(conn) != SM_CONN_DEAD)
		sm_conn_cleanup(conn, "ROLLBACK",
						sm_deadline(sm_conn_engine(conn)->endpoint.options.cleanup_timeout));
	sm_pool_checkin(conn, SM_FROM_NOW);
}

/* The next row, see sm_stream_row(). */
bool
sm_stream_next(SmStream *stream, Datum *values, bool *nulls)
{
	bool		found = sm_stream_row(stream, values, nulls);

	if (unlikely(sm_stream_own_conn(stream) != NULL && !sm_stream_is_reading(stream)))
		release(stream);
	return found;
}

/* Its reader has had enough.  Never throws. */
void
sm_stream_close(SmStream *stream)
{
	if (sm_stream_own_conn(stream) != NULL)
		release(stream);
	sm_stream_forget(stream);
}

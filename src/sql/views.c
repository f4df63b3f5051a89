/*-------------------------------------------------------------------------
 *
 * views.c
 *		What this backend keeps, as rows: engines, sessions, connections.
 *
 * A role sees what was made by roles whose privileges it has.  No column holds
 * a secret: targets appear in their redacted form.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(sm_engines_list);
PG_FUNCTION_INFO_V1(sm_sessions_list);
PG_FUNCTION_INFO_V1(sm_connections_list);

#define MAX_COLUMNS		16

/* A row being put together, column by column. */
typedef struct Row
{
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
	int			n;
} Row;

static void
add(Row *row, Datum value)
{
	Assert(row->n < MAX_COLUMNS);
	row->values[row->n] = value;
	row->nulls[row->n++] = false;
}

static void
add_null(Row *row)
{
	Assert(row->n < MAX_COLUMNS);
	row->values[row->n] = (Datum) 0;
	row->nulls[row->n++] = true;
}

static void
add_text(Row *row, const char *value)
{
	if (value == NULL)
		add_null(row);
	else
		add(row, CStringGetTextDatum(value));
}

static void
add_role(Row *row, Oid roleid)
{
	const char *name = GetUserNameFromId(roleid, true);

	if (name == NULL)
		add_null(row);
	else
		add(row, DirectFunctionCall1(namein, CStringGetDatum(name)));
}

static void
put(FunctionCallInfo fcinfo, Row *row)
{
	Assert(row->n == ((ReturnSetInfo *) fcinfo->resultinfo)->setDesc->natts);
	sm_store_put(fcinfo, row->values, row->nulls);
}

static const char *
txn_mode_name(int mode)
{
	return sm_option_format(sm_option_find("transaction"), mode);
}

/* A session's handle; none if it is closed, or belongs to one-liners */
static void
add_session(Row *row, const SmSession *session)
{
	if (session == NULL || session->id == 0)
		add_null(row);
	else
		add(row, UInt64GetDatum(session->id));
}

static Datum
name_array(const List *names)
{
	Datum	   *elems = palloc(Max(list_length(names), 1) * sizeof(Datum));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, names)
		elems[n++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(elems, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* the engines of this backend */
Datum
sm_engines_list(PG_FUNCTION_ARGS)
{
	dlist_iter	iter;

	sm_enter();
	InitMaterializedSRF(fcinfo, 0);
	dlist_foreach(iter, &sm_engines)
	{
		const SmEngine *engine = dlist_container(SmEngine, node, iter.cur);
		Row			row = {.n = 0};

		if (!sm_role_entitled(engine->endpoint.roleid) || engine->state == SM_ENGINE_FORGOTTEN)
			continue;
		add(&row, UInt64GetDatum(engine->id));
		add_text(&row, engine->endpoint.label);
		add_role(&row, engine->endpoint.roleid);
		add_text(&row, engine->driver->name);
		add(&row, TimestampTzGetDatum(engine->created_at));
		add(&row, Int64GetDatum((int64) engine->hits));
		add(&row, Int64GetDatum((int64) engine->pool.connects));
		add(&row, Int64GetDatum((int64) engine->pool.checkouts));
		add(&row, Int32GetDatum(engine->pool.nidle));
		add(&row, Int32GetDatum(engine->pool.nbusy));
		add(&row, Int32GetDatum(engine->endpoint.options.pool_size));
		add(&row, Int32GetDatum(engine->endpoint.options.max_overflow));
		add(&row, name_array(engine->prepared));
		put(fcinfo, &row);
	}
	return (Datum) 0;
}

static const char *
session_state_name(SmSessionState state)
{
	switch (state)
	{
		case SM_SESSION_IDLE:
			return "idle";
		case SM_SESSION_ACTIVE:
			return "in transaction";
		case SM_SESSION_PREPARED:
			return "prepared";
		case SM_SESSION_LOST:
			return "lost";
	}
	return NULL;
}

/* the sessions of this backend */
Datum
sm_sessions_list(PG_FUNCTION_ARGS)
{
	dlist_iter	iter;

	sm_enter();
	InitMaterializedSRF(fcinfo, 0);
	dlist_foreach(iter, &sm_sessions)
	{
		SmSession  *session = dlist_container(SmSession, node, iter.cur);
		const SmEngine *engine = session->engine;
		const SmSession *unit = sm_session_in_transaction(session) ?
			sm_session_unit(session) : session;
		const char *state = session_state_name(unit->state);
		Row			row = {.n = 0};

		if (!sm_role_entitled(engine->endpoint.roleid))
			continue;
		/* kept for the next statement, but nothing is shared yet */
		if (session->id == 0 && session->state == SM_SESSION_IDLE)
			continue;
		if (unit->conn != NULL &&
			engine->driver->status(unit->conn) == SM_TRANSACTION_FAILED)
			state = "in failed transaction";
		if (sm_session_unit_of_sent(session)->sent != NULL)
			state = "sent";
		add_session(&row, session);
		add_text(&row, engine->endpoint.label);
		add_role(&row, engine->endpoint.roleid);
		add_text(&row, state);
		add_text(&row, txn_mode_name(session->options.transaction));
		add(&row, BoolGetDatum(session->options.hold));
		add(&row, Int32GetDatum(list_length(unit->savepoints)));
		add(&row, Int64GetDatum((int64) session->statements));
		if (unit->conn != NULL)
		{
			SmConnStatus status;

			sm_conn_status(unit->conn, &status);
			add(&row, Int32GetDatum(status.pid));
		}
		else
			add_null(&row);
		add(&row, TimestampTzGetDatum(session->opened_at));
		put(fcinfo, &row);
	}
	return (Datum) 0;
}

static const char *
connection_state_name(const SmConn *conn)
{
	switch (sm_conn_state(conn))
	{
		case SM_CONN_IDLE:
			return "idle";
		case SM_CONN_BUSY:
			return "active";
		case SM_CONN_READY:
			return sm_checkout(conn)->session != NULL ? "in transaction" : "checked out";
		case SM_CONN_DEAD:
			return "dead";
		case SM_CONN_CONNECTING:
			return "connecting";
	}
	return NULL;
}

/* What stands before the target; NULL: it is not known yet, or is this backend. */
static const char *
pooler_name(const SmConn *conn, const SmConnStatus *status)
{
	if (status->connected_at == 0 || !sm_engine_is_remote(sm_conn_engine(conn)))
		return NULL;
	switch (status->pooler)
	{
		case SM_BEHIND_NONE:
			return "none";
		case SM_BEHIND_SESSION:
			return "session";
		case SM_BEHIND_TRANSACTION:
			return status->maps_statements ? "transaction, prepared statements" : "transaction";
	}
	return NULL;
}

static void
put_connection(FunctionCallInfo fcinfo, SmConn *conn)
{
	const SmEngine *engine = sm_conn_engine(conn);
	SmConnStatus status;
	Row			row = {.n = 0};

	if (!sm_role_entitled(engine->endpoint.roleid))
		return;
	sm_conn_status(conn, &status);
	add_text(&row, engine->endpoint.label);
	add_role(&row, engine->endpoint.roleid);
	add_text(&row, connection_state_name(conn));
	add(&row, Int32GetDatum(status.pid));
	add_session(&row, sm_checkout(conn)->session);
	add(&row, TimestampTzGetDatum(status.connected_at));
	add(&row, TimestampTzGetDatum(sm_checkout(conn)->since));
	if (sm_checkout(conn)->recycle_at == SM_NO_DEADLINE)
		add_null(&row);
	else
		add(&row, TimestampTzGetDatum(sm_checkout(conn)->recycle_at));
	add(&row, Int64GetDatum((int64) status.statements));
	if (status.bulk)
	{
		add(&row, Int64GetDatum((int64) status.bulk_rows));
		add(&row, Int64GetDatum((int64) status.bulk_bytes));
	}
	else
	{
		add_null(&row);
		add_null(&row);
	}
	add_text(&row, pooler_name(conn, &status));
	put(fcinfo, &row);
}

/* the connections of this backend */
Datum
sm_connections_list(PG_FUNCTION_ARGS)
{
	dlist_iter	i;
	dlist_iter	j;

	sm_enter();
	InitMaterializedSRF(fcinfo, 0);
	dlist_foreach(i, &sm_engines)
	{
		SmEngine   *engine = dlist_container(SmEngine, node, i.cur);

		dlist_foreach(j, &engine->pool.idle)
			put_connection(fcinfo, sm_conn_of(j.cur));
	}
	dlist_foreach(j, &sm_checked_out)
		put_connection(fcinfo, sm_conn_of(j.cur));
	return (Datum) 0;
}

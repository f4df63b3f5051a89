/*-------------------------------------------------------------------------
 *
 * push.c
 *		push on a connection: the rows of a query here go into a table there.
 *
 * The rows are written in one of COPY's formats as the local query returns
 * them, into a buffer that is sent whenever it is large enough.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

#include "catalog/pg_type.h"
#include "commands/progress.h"
#include "lib/stringinfo.h"
#include "pgstat.h"
#include "port/pg_bswap.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* The buffer is sent when it has so many bytes. */
#define SEND_SIZE 65536

/* What a COPY in binary form begins with: signature, flags, no extension. */
static const char binary_header[19] = "PGCOPY\n\377\r\n";

typedef struct Push
{
	SmConn	   *conn;
	const char *sql;
	TimestampTz deadline;
	TupleDesc	desc;
	bool		binary;
	Oid		   *types;			/* of our columns, a domain's what it is over */
	FmgrInfo   *functions;		/* send or output functions */
	bool		names_objects;
	bool		has_money;
	MemoryContext rowcxt;
	StringInfoData buf;
} Push;

/* ----------
 * Names
 * ----------
 */

static char *
column_list(List *columns)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, columns)
	{
		if (buf.len > 0)
			appendStringInfoString(&buf, ", ");
		sm_append_quoted(&buf, lfirst(lc));
	}
	return buf.data;
}

/* ----------
 * Rows
 * ----------
 */
static void
send_buffer(Push *push)
{
	sm_copy_in_put(push->conn, push->buf.data, push->buf.len, push->sql, push->deadline);
	resetStringInfo(&push->buf);
	pgstat_progress_update_param(PROGRESS_COPY_BYTES_PROCESSED, push->conn->bulk.bytes);
	pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED, push->conn->bulk.rows);
}

/* Append to a buffer that has been enlarged for it. */
static void
put_bytes(StringInfo buf, const void *data, int len)
{
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
}

static void
put_int32(StringInfo buf, int32 value)
{
	uint32		n = pg_hton32((uint32) value);

	put_bytes(buf, &n, sizeof(n));
}

static void
append_int16(StringInfo buf, int16 value)
{
	uint16		n = pg_hton16((uint16) value);

	enlargeStringInfo(buf, sizeof(n));
	put_bytes(buf, &n, sizeof(n));
}

/* A value in binary form, with its length before it. */
static void
append_value(StringInfo buf, Datum value, Oid type, FmgrInfo *send)
{
	bytea	   *bytes;
	uint64		n;

	switch (type)
	{
			/* these are the most frequent ones, and need no function */
		case INT4OID:
			enlargeStringInfo(buf, 2 * sizeof(int32));
			put_int32(buf, sizeof(int32));
			put_int32(buf, DatumGetInt32(value));
			return;
		case INT8OID:
			n = pg_hton64((uint64) DatumGetInt64(value));
			enlargeStringInfo(buf, sizeof(int32) + sizeof(n));
			put_int32(buf, sizeof(n));
			put_bytes(buf, &n, sizeof(n));
			return;
		default:
			break;
	}
	bytes = sm_value_send(send, type, value);
	enlargeStringInfo(buf, sizeof(int32) + VARSIZE_ANY_EXHDR(bytes));
	put_int32(buf, VARSIZE_ANY_EXHDR(bytes));
	put_bytes(buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

static void
append_binary(Push *push, const TupleTableSlot *slot)
{
	StringInfo	buf = &push->buf;

	append_int16(buf, push->desc->natts);
	for (int i = 0; i < push->desc->natts; i++)
	{
		if (slot->tts_isnull[i])
		{
			enlargeStringInfo(buf, sizeof(int32));
			put_int32(buf, -1);
		}
		else
			append_value(buf, slot->tts_values[i], push->types[i], &push->functions[i]);
	}
}

/* No encoding of a database has these bytes inside of a character. */
static void
append_escaped(StringInfo buf, const char *text)
{
	static const char special[] = "\\\t\n\r";
	static const char letters[] = "\\tnr";

	for (;;)
	{
		size_t		plain = strcspn(text, special);

		appendBinaryStringInfo(buf, text, plain);
		text	  +=plain;

		if (*text == '\0')
			break;
		appendStringInfoChar(buf, '\\');
		appendStringInfoChar(buf, letters[strchr(special, *text) - special]);
		text	  ++;
	}
}

static void
append_text(Push *push, const TupleTableSlot *slot)
{
	StringInfo	buf = &push->buf;
	int			level = sm_transmission_modes_begin(push->names_objects, push->has_money);

	for (int i = 0; i < push->desc->natts; i++)
	{
		if (i > 0)
			appendStringInfoChar(buf, '\t');
		if (slot->tts_isnull[i])
			appendStringInfoString(buf, "\\N");
		else
			append_escaped(buf, OutputFunctionCall(&push->functions[i],
												   slot->tts_values[i]));
	}
	appendStringInfoChar(buf, '\n');
	sm_transmission_modes_end(level);
}

static void
push_row(TupleTableSlot *slot, void *arg)
{
	Push	   *push = (Push *) arg;
	MemoryContext old = MemoryContextSwitchTo(push->rowcxt);

	if (push->binary)
		append_binary(push, slot);
	else
		append_text(push, slot);
	push->conn->bulk.rows++;
	if (push->buf.len >= SEND_SIZE)
		send_buffer(push);
	MemoryContextSwitchTo(old);
	MemoryContextReset(push->rowcxt);
}

/* ----------
 * The whole
 * ----------
 */
static void
choose_format(Push *push, const Oid *types)
{
	push->binary = sm_binary_possible(&push->conn->remote.peer);
	for (int i = 0; push->binary && i < push->desc->natts; i++)
		push->binary = sm_types_agree(TupleDescAttr(push->desc, i)->atttypid,
									  types[i], &push->conn->remote.peer);
}

static void
look_up_functions(Push *push)
{
	push->types = palloc(Max(push->desc->natts, 1) * sizeof(Oid));
	push->functions = palloc0(Max(push->desc->natts, 1) * sizeof(FmgrInfo));
	for (int i = 0; i < push->desc->natts; i++)
	{
		Oid			type = TupleDescAttr(push->desc, i)->atttypid;
		Oid			function;
		bool		is_varlena;

		if (push->binary)
			getTypeBinaryOutputInfo(type, &function, &is_varlena);
		else
			getTypeOutputInfo(type, &function, &is_varlena);
		fmgr_info(function, &push->functions[i]);
		push->types[i] = getBaseType(type);
		push->names_objects |= sm_type_names_objects(type);
		push->has_money |= sm_type_has_money(type);
	}
}

/*
 * The columns that were asked for, as they are called: the target would take
 * one that is too long for another one that begins with it.
 */
static void
check_columns(const Push *push, const SmPush *what, List *existing)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, what->columns)
	{
		const char *column = lfirst(lc);
		const char *match;
		bool		found = false;

		foreach(lc2, existing)
			found |= strcmp(lfirst(lc2), column) == 0;
		if (found)
			continue;
		match = sm_closest_match(column, existing);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table %s on \"%s\" does not exist", column,
						what->table, push->conn->endpoint->label),
				 match ? errhint("Perhaps you meant the column \"%s\".", match) : 0));
	}
}

/* Learn the target's columns and decide how to send ours. */
static void
prepare(Push *push, const SmPush *what)
{
	List	   *columns;
	char	   *list;
	Oid		   *types;

	columns = sm_copy_columns(push->conn, what->table, what->columns != NIL, push->deadline);
	if (what->columns != NIL)
	{
		check_columns(push, what, columns);
		columns = what->columns;
	}
	if (list_length(columns) != push->desc->natts)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg_plural("query returns %d column, table %s on \"%s\" takes %d",
							   "query returns %d columns, table %s on \"%s\" takes %d",
							   push->desc->natts, push->desc->natts, what->table,
							   push->conn->endpoint->label, list_length(columns))));
	list = column_list(columns);
	(void) sm_copy_describe(push->conn, psprintf("SELECT %s FROM %s", list, what->table),
							&types, push->deadline);
	choose_format(push, types);
	look_up_functions(push);
	push->sql = psprintf("COPY %s %s%s%s FROM STDIN%s", what->table,
						 columns != NIL ? "(" : "", list, columns != NIL ? ")" : "",
						 push->binary ? " (FORMAT binary)" : "");
}

static void
start_progress(void)
{
	const int	index[] = {PROGRESS_COPY_COMMAND, PROGRESS_COPY_TYPE};
	const int64 value[] = {PROGRESS_COPY_COMMAND_TO, PROGRESS_COPY_TYPE_CALLBACK};

	pgstat_progress_start_command(PROGRESS_COMMAND_COPY, InvalidOid);
	pgstat_progress_update_multi_param(lengthof(index), index, value);
}

/* See SmDriver's push. */
uint64
sm_push_run(SmConn *conn, const SmPush *what)
{
	Push		push = {.conn = conn,.desc = what->rows->desc};
	uint64		count;

	push.deadline = sm_deadline(conn->endpoint->options.statement_timeout);
	prepare(&push, what);
	sm_report_echo(conn->endpoint, push.sql);
	initStringInfo(&push.buf);
	push.rowcxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr row",
										ALLOCSET_DEFAULT_SIZES);
	start_progress();
	sm_copy_in_begin(conn, push.sql, push.deadline);
	if (push.binary)
		appendBinaryStringInfo(&push.buf, binary_header, sizeof(binary_header));
	(void) sm_watched_query_run(conn, what->rows, push_row, &push, push.sql);
	if (push.binary)
		append_int16(&push.buf, -1);
	send_buffer(&push);
	count = sm_copy_in_end(conn, push.sql, push.deadline);
	pgstat_progress_end_command();
	MemoryContextDelete(push.rowcxt);
	return count;
}

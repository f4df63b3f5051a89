/*-------------------------------------------------------------------------
 *
 * row_decode.c
 *		Rows of a result, as libpq has them, into datums of a declared shape.
 *
 * A reader belongs to a shape and can be kept as long as that: what it looks
 * up, it looks up once.  Values come as text or in binary form, all columns of
 * a result alike; which of the two is asked for when the statement is sent,
 * and the result says it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "value/value_private.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* What is on its way into a datum, for the context of an error. */
typedef struct Place
{
	const SmPeer *peer;
	int			column;
} Place;

/*
 * A reader of rows of this shape, without dropped columns, which must live as
 * long.  In the current memory context.
 */
SmReader *
sm_reader_make(TupleDesc desc)
{
	SmReader   *reader;

	reader = palloc0(offsetof(SmReader, columns) + desc->natts * sizeof(SmColumn));
	reader->fields = palloc(Max(desc->natts, 1) * sizeof(SmField));
	reader->desc = desc;
	reader->cxt = CurrentMemoryContext;
	reader->only_text = true;
	for (int i = 0; i < desc->natts; i++)
	{
		SmColumn   *column = &reader->columns[i];
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Oid			input;

		column->type = att->atttypid;
		column->typmod = att->atttypmod;
		getTypeInputInfo(column->type, &input, &column->ioparam);
		fmgr_info(input, &column->input);
		reader->names_objects |= sm_type_names_objects(column->type);
		reader->has_money |= sm_type_has_money(column->type);
		reader->only_text &= (column->type == TEXTOID);
	}
	return reader;
}

static void
learn_binary(SmReader *reader, SmColumn *column, Oid remote, const SmPeer *peer)
{
	column->remote = remote;
	column->same_major = peer->same_major;
	column->agrees = sm_types_agree(column->type, remote, peer);
	if (column->agrees && !OidIsValid(column->receive.fn_oid))
	{
		Oid			receive;
		Oid			ioparam;

		getTypeBinaryInputInfo(column->type, &receive, &ioparam);
		Assert(ioparam == column->ioparam);
		fmgr_info_cxt(receive, &column->receive, reader->cxt);
	}
}

/*
 * Is a result whose n columns have these types of the target to be asked for
 * in binary form?  Only if all of them agree with the shape: libpq has but one
 * form for all.
 */
bool
sm_reader_wants_binary(SmReader *reader, const SmPeer *peer, int n, const Oid *types)
{
	if (n != reader->desc->natts || !sm_binary_possible(peer))
		return false;
	for (int i = 0; i < n; i++)
	{
		SmColumn   *column = &reader->columns[i];

		if (column->remote != types[i] || column->same_major != peer->same_major)
			learn_binary(reader, column, types[i], peer);
		if (!column->agrees)
			return false;
	}
	return true;
}

/* ----------
 * Values
 * ----------
 */
static void
report_length(int len)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("incorrect binary data format"),
			 errdetail("The value has %d bytes.", len)));
}

static inline uint32
get_uint32(const char *value, int len)
{
	uint32		n;

	if (unlikely(len != sizeof(n)))
		report_length(len);
	memcpy(&n, value, sizeof(n));
	return pg_ntoh32(n);
}

static inline uint64
get_uint64(const char *value, int len)
{
	uint64		n;

	if (unlikely(len != sizeof(n)))
		report_length(len);
	memcpy(&n, value, sizeof(n));
	return pg_ntoh64(n);
}

/*
 * The functions that read binary values convert strings from the encoding of
 * this backend's client.  It is the database's when binary form is asked for,
 * but may be another one before all rows are read: then set it while reading.
 */
static Datum
call_receive(SmColumn *column, StringInfo buf)
{
	int			encoding = pg_get_client_encoding();
	Datum		datum;

	if (likely(encoding == GetDatabaseEncoding()))
		return ReceiveFunctionCall(&column->receive, buf, column->ioparam, column->typmod);
	(void) SetClientEncoding(GetDatabaseEncoding());
	PG_TRY();
	{
		datum = ReceiveFunctionCall(&column->receive, buf, column->ioparam, column->typmod);
	}
	PG_FINALLY();
	{
		(void) SetClientEncoding(encoding);
	}
	PG_END_TRY();
	return datum;
}

static Datum
receive_value(SmColumn *column, char *value, int len)
{
	StringInfoData buf;
	Datum		datum;

	switch (column->type)
	{
			/* these are the most frequent ones, and need no function */
		case INT4OID:
			return Int32GetDatum((int32) get_uint32(value, len));
		case INT8OID:
			return Int64GetDatum((int64) get_uint64(value, len));
		case FLOAT8OID:
			{
				uint64		n = get_uint64(value, len);
				float8		f;

				memcpy(&f, &n, sizeof(f));
				return Float8GetDatum(f);
			}
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			if (len == sizeof(Timestamp) && column->typmod < 0)
			{
				Timestamp	t = (Timestamp) get_uint64(value, len);

				if (IS_VALID_TIMESTAMP(t) || TIMESTAMP_NOT_FINITE(t))
					return TimestampGetDatum(t);
			}
			break;
		case TEXTOID:
			(void) pg_verifymbstr(value, len, false);
			return PointerGetDatum(cstring_to_text_with_len(value, len));
		default:
			break;
	}

	/* a target may use a form that it was not asked for */
	if (unlikely(!OidIsValid(column->receive.fn_oid)))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("unexpected binary value")));

	/*
	 * libpq has a zero byte after each value, as there is after a
	 * StringInfo's
	 */
	buf.data = value;
	buf.len = buf.maxlen = len;
	buf.cursor = 0;
	datum = call_receive(column, &buf);
	if (buf.cursor != buf.len)
		report_length(len);
	return datum;
}

static Datum
read_value(SmColumn *column, char *value, const SmPeer *peer)
{
	/* most columns of most targets need no more than this */
	if (column->input.fn_oid == F_TEXTIN && !peer->verify)
		return PointerGetDatum(cstring_to_text(value));
	if (peer->verify)
		(void) pg_verifymbstr(value, strlen(value), false);
	return InputFunctionCall(&column->input, value, column->ioparam, column->typmod);
}

static void
value_context(void *arg)
{
	const Place *place = (const Place *) arg;

	errcontext("column %d of a statement on \"%s\"", place->column + 1,
			   place->peer->endpoint->label);
}

/*
 * The values of one row, whose fields are in reader->fields, in the current
 * memory context.  Throws what input functions throw, with the column in the
 * context.
 */
void
sm_reader_row(SmReader *reader, const SmPeer *peer, bool binary, Datum *values, bool *nulls)
{
	Place		place = {.peer = peer};
	ErrorContextCallback callback = {
		.callback = value_context,.arg = &place,.previous = error_context_stack
	};

	error_context_stack = &callback;
	for (int i = 0; i < reader->desc->natts; i++)
	{
		SmColumn   *column = &reader->columns[i];
		const SmField *field = &reader->fields[i];

		place.column = i;
		nulls[i] = (field->value == NULL);
		if (nulls[i])
			/* a domain may not take it */
			values[i] = column->input.fn_strict ? (Datum) 0 :
				InputFunctionCall(&column->input, NULL, column->ioparam, column->typmod);
		else if (binary)
			values[i] = receive_value(column, field->value, field->len);
		else
			values[i] = read_value(column, field->value, peer);
	}
	error_context_stack = callback.previous;
}

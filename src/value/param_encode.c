/*-------------------------------------------------------------------------
 *
 * param_encode.c
 *		Parameters in the form in which they travel.
 *
 * Each is sent in binary form where its type and the connection allow it (see
 * types.c), as text otherwise.  What is encoded is good as long as the memory
 * context that was current then, and the parameters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "value/value_private.h"

#include "catalog/pg_type.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"

/*
 * Get ready for parameters of these types; throws 54023 if they are too many.
 * A few of them need no memory of their own.
 */
void
sm_params_encode_init(SmEncodedParams *encoded, const SmParams *params)
{
	int			n = params ? params->n : 0;

	if (n > 65535)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ARGUMENTS),
				 errmsg("a statement can have at most 65535 parameters")));
	encoded->n = n;
	if (n <= (int) lengthof(encoded->few.types))
	{
		encoded->types = encoded->few.types;
		encoded->values = encoded->few.values;
		encoded->lengths = encoded->few.lengths;
		encoded->formats = encoded->few.formats;
		encoded->fixed = encoded->few.fixed;
	}
	else
	{
		encoded->types = palloc(n * sizeof(Oid));
		encoded->values = palloc(n * sizeof(char *));
		encoded->lengths = palloc(n * sizeof(int));
		encoded->formats = palloc(n * sizeof(int));
		encoded->fixed = palloc(n * sizeof(uint64));
	}
	for (int i = 0; i < n; i++)
		encoded->types[i] = sm_sent_type(params->types[i]);
}

/* The binary form of a value, where its type has one. */
bytea *
sm_value_send(FmgrInfo *send, Oid type, Datum value)
{
	switch (type)
	{
			/* what is sent is what is stored */
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case BYTEAOID:
			return DatumGetByteaPP(value);
		default:
			return SendFunctionCall(send, value);
	}
}

static void
encode_binary(SmEncodedParams *encoded, const SmParams *params, int i)
{
	Datum		value = sm_params_value(params, i);
	uint64	   *fixed = &encoded->fixed[i];
	bytea	   *bytes;

	encoded->values[i] = (const char *) fixed;
	switch (params->types[i])
	{
			/* these are the most frequent ones, and need no function */
		case INT4OID:
			*(uint32 *) fixed = pg_hton32((uint32) DatumGetInt32(value));
			encoded->lengths[i] = sizeof(uint32);
			return;
		case INT8OID:
			*fixed = pg_hton64((uint64) DatumGetInt64(value));
			encoded->lengths[i] = sizeof(uint64);
			return;
		default:
			break;
	}
	bytes = sm_value_send(&params->sends[i], params->types[i], value);
	encoded->values[i] = VARDATA_ANY(bytes);
	encoded->lengths[i] = VARSIZE_ANY_EXHDR(bytes);
}

static bool
goes_binary(const SmParams *params, int i, const SmPeer *peer, bool possible)
{
	return possible && (params->forms[i] == SM_FORM_BINARY ||
						(params->forms[i] == SM_FORM_SAME_MAJOR && peer->same_major));
}

static const char *
encode_text(const SmParams *params, int i)
{
	if (params->types[i] == UNKNOWNOID)
		return DatumGetCString(params->values[i]);
	return OutputFunctionCall(&params->outputs[i], sm_params_value(params, i));
}

/* The parameters' present values. */
void
sm_params_encode(SmEncodedParams *encoded, const SmParams *params, const SmPeer *peer)
{
	bool		possible;
	int			level;

	if (encoded->n == 0)
		return;
	possible = sm_binary_possible(peer);
	level = sm_transmission_modes_begin(params->names_objects, params->has_money);
	for (int i = 0; i < encoded->n; i++)
	{
		encoded->lengths[i] = 0;
		encoded->formats[i] = 0;
		encoded->values[i] = NULL;
		if (params->nulls[i])
			continue;
		encoded->formats[i] = goes_binary(params, i, peer, possible);
		if (encoded->formats[i])
			encode_binary(encoded, params, i);
		else
			encoded->values[i] = encode_text(params, i);
	}
	sm_transmission_modes_end(level);
}

/* For those who show them: a parameter's value as text, NULL for SQL NULL. */
const char *
sm_param_show(const SmParams *params, int i)
{
	const char *text;
	int			level;

	if (params->nulls[i])
		return NULL;
	level = sm_transmission_modes_begin(params->names_objects, params->has_money);
	text = encode_text(params, i);

	sm_transmission_modes_end(level);
	return text;
}

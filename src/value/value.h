/*-------------------------------------------------------------------------
 *
 * value.h
 *		Values on their way to a target and back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_VALUE_H
#define SESSMGR_VALUE_H

#include "target/target.h"

/* What values that come from or go to a target depend on. */
typedef struct SmPeer
{
	const SmEndpoint *endpoint;
	bool		verify;			/* values may not be valid in our encoding */
	bool		integer_datetimes;	/* its binary form of times is ours */
	bool		same_major;		/* it is of our own major version */
} SmPeer;

/* In which form values of a type may travel. */
typedef enum SmForm
{
	SM_FORM_TEXT,
	SM_FORM_SAME_MAJOR,			/* binary between servers of one major version */
	SM_FORM_BINARY
} SmForm;

/* Bind parameters of one call, as the caller's datums. */
typedef struct SmParams
{
	int			n;
	Oid		   *types;			/* UNKNOWNOID: a literal, value is a cstring;
								 * no domain, see sm_base_type() */
	Oid		   *elements;		/* of arrays of domains */
	Datum	   *values;
	bool	   *nulls;
	SmForm	   *forms;
	FmgrInfo   *outputs;		/* the types' output functions */
	FmgrInfo   *sends;			/* and send functions, but for text only */
	bool		names_objects;	/* some type's output depends on search_path */
	bool		has_money;		/* and some on lc_monetary */
} SmParams;

/* Parameters as libpq takes them (see src/value/param_encode.c). */
typedef struct SmEncodedParams
{
	int			n;
	Oid		   *types;			/* as declared to the server */
	const char **values;
	int		   *lengths;
	int		   *formats;		/* 0: text, 1: binary */
	uint64	   *fixed;			/* room for short values */
	struct
	{
		Oid			types[8];
		const char *values[8];
		int			lengths[8];
		int			formats[8];
		uint64		fixed[8];
	}			few;
} SmEncodedParams;

/* A column of rows to be read (see src/value/row_decode.c). */
typedef struct SmColumn
{
	Oid			type;
	int32		typmod;
	Oid			ioparam;
	FmgrInfo	input;
	/* binary form, for the type of the target seen last: */
	Oid			remote;
	bool		same_major;
	bool		agrees;
	FmgrInfo	receive;
} SmColumn;

/* A field of a row as it has come. */
typedef struct SmField
{
	char	   *value;			/* NULL: the value is NULL */
	int			len;			/* in bytes, without the zero byte behind it */
} SmField;

/* Reads rows of one shape. */
typedef struct SmReader
{
	TupleDesc	desc;
	MemoryContext cxt;
	bool		names_objects;	/* reading text depends on search_path */
	bool		has_money;		/* or on lc_monetary */
	bool		only_text;		/* or on nothing at all */
	SmField    *fields;			/* of the row to be read, as many as columns */
	SmColumn	columns[FLEXIBLE_ARRAY_MEMBER];
} SmReader;

/* A query of this database whose rows are to be sent, see src/value/local_query.c. */
typedef struct SmLocalQuery
{
	const char *argument;		/* that its text was given in */
	struct _SPI_plan *plan;
	TupleDesc	desc;
} SmLocalQuery;

typedef void (*SmRowFunction) (TupleTableSlot *slot, void *arg);

/* types.c */
extern Oid	sm_shared_type(Oid type);
extern bool sm_type_names_objects(Oid type);
extern bool sm_type_has_money(Oid type);
extern bool sm_binary_possible(const SmPeer *peer);
extern bool sm_types_agree(Oid here, Oid there, const SmPeer *peer);

/* params.c */
extern SmParams *sm_params_of_types(int n, const Oid *types);
extern Datum sm_params_value(const SmParams *params, int i);
extern SmParams *sm_params_from_desc(TupleDesc desc);
extern SmParams *sm_params_copy(const SmParams *params);
extern SmParams *sm_params_from_call(FunctionCallInfo fcinfo, int first, SmParams **kept);

/* transmission_modes.c */
extern int	sm_transmission_modes_begin(bool names_objects, bool has_money);
extern int	sm_transmission_modes_begin_reading(bool has_money);
extern void sm_transmission_modes_end(int level);

/* param_encode.c */
extern bytea *sm_value_send(FmgrInfo *send, Oid type, Datum value);
extern void sm_params_encode_init(SmEncodedParams *encoded, const SmParams *params);
extern void sm_params_encode(SmEncodedParams *encoded, const SmParams *params, const SmPeer *peer);
extern const char *sm_param_show(const SmParams *params, int i);

/* row_decode.c */
extern SmReader *sm_reader_make(TupleDesc desc);
extern bool sm_reader_wants_binary(SmReader *reader, const SmPeer *peer, int n,
								   const Oid *types);
extern void sm_reader_row(SmReader *reader, const SmPeer *peer, bool binary,
						  Datum *values, bool *nulls);

/* local_query.c */
extern void sm_local_query_open(SmLocalQuery *rows, const char *argument, const char *sql);
extern uint64 sm_local_query_run(const SmLocalQuery *rows, SmRowFunction function, void *arg);
extern void sm_local_query_close(SmLocalQuery *rows);

#endif							/* SESSMGR_VALUE_H */

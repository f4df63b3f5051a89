/*-------------------------------------------------------------------------
 *
 * model_attempt.c
 *		One attempt to make on a target what is missing there.
 *
 * An attempt is one transaction on a connection of its own.  It first looks
 * without locking anything, as most find that all is there; only one that has
 * something to make takes the lock by which those who call prepare_models()
 * wait for each other, and looks again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "model/model_private.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/*
 * The key of the advisory lock on the target: "sess" and "mgr" in ASCII.  Part
 * of the documentation, so that it can be recognized in pg_locks.  One for all
 * metadata, as they may share schemas and sequences.
 */
#define LOCK_COMMAND	"SELECT pg_catalog.pg_advisory_xact_lock(1936028531, 7169906)"

/* How long to wait for it, unless there is a shorter limit already. */
#define LIMIT_COMMAND \
	"SELECT pg_catalog.set_config('lock_timeout', '%d', true) FROM pg_catalog.pg_settings " \
	"WHERE name = 'lock_timeout' AND setting::int4 NOT BETWEEN 1 AND %d"
#define UNLIMIT_COMMAND	"SET LOCAL lock_timeout TO DEFAULT"

/* Who has it. */
#define HOLDER_QUERY \
	"SELECT pg_catalog.concat('process ', pid, ', user ', usename, " \
	"', application_name \"', application_name, '\", ', state) " \
	"FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid) " \
	"WHERE locktype = 'advisory' AND granted AND classid = 1936028531 AND objid = 7169906 " \
	"AND objsubid = 2 AND database = (SELECT oid FROM pg_catalog.pg_database " \
	"WHERE datname = pg_catalog.current_database()) AND pid <> pg_catalog.pg_backend_pid()"

/* What is where on the target.  The names arrive as two arrays. */
#define INSPECT_QUERY \
	"SELECT o.i::int4, n.oid IS NOT NULL, c.relkind " \
	"FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS o(s, r, i) " \
	"LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = o.s " \
	"LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = o.r"

/* The first type that the target does not have. */
#define TYPES_QUERY \
	"SELECT o.i::int4 FROM unnest($1::text[]) WITH ORDINALITY AS o(t, i) " \
	"WHERE pg_catalog.to_regtype(o.t) IS NULL ORDER BY 1 LIMIT 1"

typedef struct Attempt
{
	SmEngine   *engine;
	SmConn	   *conn;
	const char *metadata;
	List	   *tables;			/* of SmModel *, in the order of their making */
	List	   *sequences;		/* of SmModel * */
	List	   *names;			/* of SmModelName *: all there is to look for */
	List	   *schemas;		/* of char *: made in this attempt */
} Attempt;

/* ----------
 * Talking to the target
 * ----------
 */

static void
model_context(void *arg)
{
	if (geterrcode() == ERRCODE_READ_ONLY_SQL_TRANSACTION)
		errhint("The model is missing on the target, which is read only. Call sessmgr.prepare_models() for its primary.");
	errcontext("model %s", ((SmModel *) arg)->label);
}

/* Errors name the model. */
static void
run_statements(Attempt *a, SmModel *model, List *statements)
{
	ErrorContextCallback callback;
	ListCell   *lc;

	callback.callback = model_context;
	callback.arg = model;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	foreach(lc, statements)
		sm_driver_command(a->engine->driver, a->conn, lfirst(lc), SM_COMMAND_PLAIN);
	error_context_stack = callback.previous;
}

static Datum
text_array(List *strings)
{
	Datum	   *elements = palloc(Max(list_length(strings), 1) * sizeof(Datum));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, strings)
		elements[n++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* A query whose parameters are "nargs" arrays of text. */
static void
query(Attempt *a, const char *sql, int nargs, List **lists, SmSink *sink)
{
	static const Oid types[2] = {TEXTARRAYOID, TEXTARRAYOID};
	SmParams   *params = sm_params_of_types(nargs, types);
	SmStatement statement = {.sql = sql,.params = params};
	SmStatementKind kind;

	for (int i = 0; i < nargs; i++)
		params->values[i] = text_array(lists[i]);
	(void) a->engine->driver->execute(a->conn, &statement, sink, &kind);
}

typedef struct LookSink
{
	SmSink		sink;
	List	   *names;
	bool		nonsense;		/* a row was about none of them */
} LookSink;

static bool
look_row(SmSink *sink, Datum *values, bool *nulls)
{
	LookSink   *self = (LookSink *) sink;
	SmModelName *name;
	int			i = nulls[0] ? 0 : DatumGetInt32(values[0]);

	if (i < 1 || i > list_length(self->names) || nulls[1])
	{
		self->nonsense = true;
		return true;
	}
	name = list_nth(self->names, i - 1);
	name->schema_exists = DatumGetBool(values[1]);
	name->relkind = nulls[2] ? '\0' : DatumGetChar(values[2]);
	return true;
}

/* Learn for each name what stands under it on the target. */
static void
inspect(Attempt *a)
{
	LookSink	sink = {.sink.row = look_row,.names = a->names};
	List	   *lists[2] = {NIL, NIL};
	TupleDesc	desc;
	ListCell   *lc;

	foreach(lc, a->names)
	{
		SmModelName *name = lfirst(lc);

		lists[0] = lappend(lists[0], unconstify(char *, name->schema));
		lists[1] = lappend(lists[1], unconstify(char *, name->name));
	}
	desc = CreateTemplateTupleDesc(3);
	TupleDescInitEntry(desc, 1, "i", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 2, "schema_exists", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, 3, "relkind", CHAROID, -1, 0);
	sink.sink.reader = sm_reader_make(desc);
	query(a, INSPECT_QUERY, 2, lists, &sink.sink);
	if (sink.nonsense)
		sm_report_nonsense(a->conn, INSPECT_QUERY);
}

/*
 * Wait for those who are making models there, but not beyond the deadline: then
 * it is 55P03.
 */
static void
lock_target(Attempt *a, TimestampTz deadline)
{
	const SmDriver *driver = a->engine->driver;
	int			limit = (int) Max(sm_remaining(deadline), 1);

	sm_driver_command(driver, a->conn, psprintf(LIMIT_COMMAND, limit, limit), SM_COMMAND_PLAIN);
	sm_driver_command(driver, a->conn, LOCK_COMMAND, SM_COMMAND_PLAIN);
	sm_driver_command(driver, a->conn, UNLIMIT_COMMAND, SM_COMMAND_PLAIN);
}

typedef struct HolderSink
{
	SmSink		sink;
	MemoryContext cxt;
	char	   *holder;
} HolderSink;

static bool
holder_row(SmSink *sink, Datum *values, bool *nulls)
{
	HolderSink *holder = (HolderSink *) sink;
	MemoryContext old = MemoryContextSwitchTo(holder->cxt);

	holder->holder = nulls[0] ? NULL : TextDatumGetCString(values[0]);
	MemoryContextSwitchTo(old);
	return false;
}

/* Who keeps others from making models on the target, in words, or NULL. */
char *
sm_models_lock_holder(SmEngine *engine)
{
	Attempt		a = {.engine = engine};
	HolderSink	sink = {.sink.row = holder_row,.cxt = CurrentMemoryContext};
	SmSessionOptions options = {.isolation_level = SM_ISOLATION_READ_COMMITTED};
	TupleDesc	desc = CreateTemplateTupleDesc(1);

	TupleDescInitEntry(desc, 1, "holder", TEXTOID, -1, 0);
	sink.sink.reader = sm_reader_make(desc);
	a.conn = sm_pool_checkout(engine);
	engine->driver->begin(a.conn, &options, NIL);
	query(&a, HOLDER_QUERY, 0, NULL, &sink.sink);
	sm_driver_command(engine->driver, a.conn, "COMMIT", SM_COMMAND_COMMIT);
	sm_pool_checkin(a.conn, SM_FROM_NOW);
	return sink.holder;
}

/* ----------
 * What is missing
 * ----------
 */

static const char *
qualified(const SmModelName *name)
{
	return quote_qualified_identifier(name->schema, name->name);
}

static bool
is_table(char relkind)
{
	return relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE;
}

static const char *
relkind_name(char relkind)
{
	switch (relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			return "a table";
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			return "an index";
		case RELKIND_SEQUENCE:
			return "a sequence";
		case RELKIND_VIEW:
			return "a view";
		case RELKIND_MATVIEW:
			return "a materialized view";
		case RELKIND_COMPOSITE_TYPE:
			return "a composite type";
		case RELKIND_FOREIGN_TABLE:
			return "a foreign table";
		default:
			return "something else";
	}
}

static void
report_taken(Attempt *a, const SmModel *model, const SmModelName *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("model %s cannot be made on \"%s\"", model->label, a->engine->endpoint.label),
			 errdetail("%s is %s there.", qualified(name), relkind_name(name->relkind))));
}

/*
 * Mark what is to be made; was there anything?  What stands there under the
 * name of a model and is of its kind is taken for it, whatever it looks like.
 */
static bool
mark_slots(Attempt *a)
{
	bool		any = false;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, a->sequences)
	{
		SmModel    *sequence = lfirst(lc);

		sequence->to_create = sequence->registered;
	}
	foreach(lc, a->tables)
	{
		SmModel    *table = lfirst(lc);

		if (table->self.relkind != '\0' && !is_table(table->self.relkind))
			report_taken(a, table, &table->self);
		table->to_create = (table->self.relkind == '\0');
		if (!table->to_create)
			continue;
		any = true;
		foreach(lc2, table->sequences)
			((SmModel *) lfirst(lc2))->to_create = true;
	}
	foreach(lc, a->sequences)
	{
		SmModel    *sequence = lfirst(lc);

		if (!sequence->to_create)
			continue;
		if (sequence->self.relkind != '\0' && sequence->self.relkind != RELKIND_SEQUENCE)
			report_taken(a, sequence, &sequence->self);
		sequence->to_create = (sequence->self.relkind == '\0');
		any |= sequence->to_create;
	}
	return any;
}

/* The table of this name among the models, or NULL. */
static SmModel *
find_table(Attempt *a, const SmModelName *name)
{
	ListCell   *lc;

	foreach(lc, a->tables)
	{
		SmModel    *table = lfirst(lc);

		if (strcmp(table->self.schema, name->schema) == 0 &&
			strcmp(table->self.name, name->name) == 0)
			return table;
	}
	return NULL;
}

static bool
is_row_type_of_model(Attempt *a, const SmModelType *type)
{
	ListCell   *lc;

	if (!OidIsValid(type->row_of))
		return false;
	foreach(lc, a->tables)
	{
		if (((SmModel *) lfirst(lc))->relid == type->row_of)
			return true;
	}
	return false;
}

/*
 * The names that a table's indexes and identity sequences will have must be
 * free, and the tables that it refers to must be there or be models.  The
 * server would find that too, but with an error that also a race could give,
 * or one that does not say what can be done.
 */
static void
check_names_of(Attempt *a, SmModel *table)
{
	ListCell   *lc;

	foreach(lc, table->names)
	{
		SmModelName *name = lfirst(lc);

		if (name->relkind != '\0')
			report_taken(a, table, name);
	}
	foreach(lc, table->references)
	{
		SmModelName *name = lfirst(lc);

		if (is_table(name->relkind) || find_table(a, name) != NULL)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("model %s cannot be made on \"%s\"", table->label, a->engine->endpoint.label),
				 errdetail("It has a foreign key to %s, which is not there and is not a model of \"%s\".",
						   qualified(name), a->metadata),
				 errhint("Add it with sessmgr.add_model().")));
	}
}

static void
check_names(Attempt *a)
{
	ListCell   *lc;

	foreach(lc, a->tables)
	{
		if (((SmModel *) lfirst(lc))->to_create)
			check_names_of(a, lfirst(lc));
	}
}

typedef struct TypeSink
{
	SmSink		sink;
	int			missing;		/* counted from 1, or 0 */
} TypeSink;

static bool
type_row(SmSink *sink, Datum *values, bool *nulls)
{
	((TypeSink *) sink)->missing = nulls[0] ? 0 : DatumGetInt32(values[0]);
	return true;
}

/* The target must have the types of all columns that are to be made. */
static void
check_types(Attempt *a)
{
	TypeSink	sink = {.sink.row = type_row};
	List	   *names = NIL;
	List	   *types = NIL;
	List	   *models = NIL;
	SmModelType *type;
	TupleDesc	desc;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, a->tables)
	{
		SmModel    *table = lfirst(lc);

		if (!table->to_create)
			continue;
		foreach(lc2, table->types)
		{
			type = lfirst(lc2);
			if (is_row_type_of_model(a, type))
				continue;
			names = lappend(names, unconstify(char *, type->type));
			types = lappend(types, type);
			models = lappend(models, table);
		}
	}
	desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(desc, 1, "i", INT4OID, -1, 0);
	sink.sink.reader = sm_reader_make(desc);
	query(a, TYPES_QUERY, 1, &names, &sink.sink);
	if (sink.missing == 0)
		return;
	if (sink.missing < 0 || sink.missing > list_length(types))
		sm_report_nonsense(a->conn, TYPES_QUERY);

	type = list_nth(types, sink.missing - 1);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("model %s cannot be made on \"%s\"",
					((SmModel *) list_nth(models, sink.missing - 1))->label,
					a->engine->endpoint.label),
			 errdetail("Column %s is of type %s, which is not there.",
					   quote_identifier(type->column), type->type),
			 errhint("Types, functions and extensions must be created on the target beforehand.")));
}

/* ----------
 * Making it
 * ----------
 */

static void
make_schema(Attempt *a, SmModel *model, SmModelName *name)
{
	ListCell   *lc;

	if (name->schema_exists)
		return;
	foreach(lc, a->schemas)
	{
		if (strcmp(lfirst(lc), name->schema) == 0)
			return;
	}
	run_statements(a, model, list_make1(psprintf("CREATE SCHEMA IF NOT EXISTS %s",
												 quote_identifier(name->schema))));
	a->schemas = lappend(a->schemas, unconstify(char *, name->schema));
}

static void
make(Attempt *a, SmModel *model)
{
	ListCell   *lc;

	make_schema(a, model, &model->self);
	foreach(lc, model->names)
		make_schema(a, model, lfirst(lc));
	run_statements(a, model, model->create);
}

/* Is this the table of a sequence, made in this attempt? */
static bool
owner_is_made(Attempt *a, const SmModel *sequence)
{
	ListCell   *lc;

	foreach(lc, a->tables)
	{
		SmModel    *table = lfirst(lc);

		if (table->to_create && table->relid == sequence->owned_by)
			return true;
	}
	return false;
}

/* Make all that is marked; returns the number of tables. */
static int
make_slots(Attempt *a)
{
	int			made = 0;
	ListCell   *lc;

	a->schemas = NIL;
	foreach(lc, a->sequences)
	{
		if (((SmModel *) lfirst(lc))->to_create)
			make(a, lfirst(lc));
	}
	foreach(lc, a->tables)
	{
		if (((SmModel *) lfirst(lc))->to_create)
		{
			make(a, lfirst(lc));
			made++;
		}
	}
	foreach(lc, a->sequences)
	{
		SmModel    *sequence = lfirst(lc);

		if (sequence->to_create && owner_is_made(a, sequence))
			run_statements(a, sequence, sequence->finish);
	}
	foreach(lc, a->tables)
	{
		SmModel    *table = lfirst(lc);

		if (table->to_create)
			run_statements(a, table, table->finish);
	}
	return made;
}

/* All names to look for. */
static List *
collect_names(const List *tables, const List *sequences)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, tables)
	{
		SmModel    *table = lfirst(lc);

		names = lappend(names, &table->self);
		names = list_concat(names, table->names);
		names = list_concat(names, table->references);
	}
	foreach(lc, sequences)
		names = lappend(names, &((SmModel *) lfirst(lc))->self);
	return names;
}

static bool
look_for_missing(Attempt *a)
{
	inspect(a);
	return mark_slots(a);
}

/*
 * Make those of the tables and sequences that the engine's target lacks;
 * returns the number of tables made.  From checkout to check-in: when it
 * throws, the end of the subtransaction cleans the connection up, and nothing
 * remains.  READ COMMITTED, since each query must see what is there at that
 * moment.
 */
int
sm_models_attempt(SmEngine *engine, const char *metadata, List *tables, List *sequences,
				  TimestampTz lock_deadline)
{
	Attempt		a = {
		.engine = engine,.metadata = metadata,.tables = tables,.sequences = sequences
	};
	const SmDriver *driver = engine->driver;
	SmSessionOptions options = {.isolation_level = SM_ISOLATION_READ_COMMITTED};
	int			made = 0;

	a.names = collect_names(tables, sequences);
	a.conn = sm_pool_checkout(engine);
	driver->begin(a.conn, &options, NIL);
	sm_driver_command(driver, a.conn, sm_model_remote_settings(), SM_COMMAND_PLAIN);
	if (look_for_missing(&a))
	{
		lock_target(&a, lock_deadline);
		if (look_for_missing(&a))
		{
			check_names(&a);
			check_types(&a);
			made = make_slots(&a);
		}
	}
	sm_driver_command(driver, a.conn, "COMMIT", SM_COMMAND_COMMIT);
	sm_pool_checkin(a.conn, SM_FROM_NOW);
	return made;
}

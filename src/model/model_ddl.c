/*-------------------------------------------------------------------------
 *
 * model_ddl.c
 *		The statements that make a local table or sequence elsewhere: what both
 *		have in common, and sequences.  Tables are in model_table.c.
 *
 * Nothing here talks to a target.
 *
 * Invariants: every name in a statement is quoted, and qualified unless it is
 * of pg_catalog; constants are written so that they mean the same on any
 * server that runs with the settings of sm_model_remote_settings().
 *
 * Left to the target on purpose: owner, privileges, tablespace, security
 * labels and publications, which belong to a database and not to a table's
 * definition, and the position of sequences.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "model/model_private.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "nodes/nodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

/*
 * Settings under which expressions are written here and read there.  What
 * pg_dump sets, for the same reason: a constant's text form depends on them.
 */
static const struct
{
	const char *name;
	const char *value;
}			plain_settings[] =

{
	{"search_path", "pg_catalog, pg_temp"},
	{"datestyle", "ISO, YMD"},
	{"intervalstyle", "postgres"},
	{"extra_float_digits", "3"},
	{"bytea_output", "hex"},
	{"lc_monetary", "C"},
	{"standard_conforming_strings", "on"}
};

/* Until AtEOXact_GUC() is called with the result, or the transaction aborts. */
int
sm_model_enter_settings(void)
{
	int			level = NewGUCNestLevel();

	for (int i = 0; i < (int) lengthof(plain_settings); i++)
		(void) set_config_option(plain_settings[i].name, plain_settings[i].value,
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	return level;
}

/*
 * These settings for the transaction on the target, as one string of commands.  A
 * table whose access method is not the built-in one is an obstacle here, so
 * the target's default must not step in.
 */
char *
sm_model_remote_settings(void)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < (int) lengthof(plain_settings); i++)
		appendStringInfo(&buf, "SET LOCAL %s = %s; ", plain_settings[i].name,
						 i == 0 ? plain_settings[i].value
						 : quote_literal_cstr(plain_settings[i].value));
	appendStringInfoString(&buf,
						   "SET LOCAL default_table_access_method = heap; "
						   "SET LOCAL client_min_messages = warning");
	return buf.data;
}

/* ----------
 * Small pieces
 * ----------
 */

SmModelName *
sm_model_name(const char *schema, const char *name)
{
	SmModelName *result = palloc0(sizeof(SmModelName));

	result->schema = schema;
	result->name = name;
	return result;
}

SmModel *
sm_model_new(Relation rel)
{
	SmModel    *model = palloc0(sizeof(SmModel));

	model->relid = RelationGetRelid(rel);
	model->relkind = rel->rd_rel->relkind;
	model->self.schema = get_namespace_name(RelationGetNamespace(rel));
	model->self.name = pstrdup(RelationGetRelationName(rel));
	model->label = quote_qualified_identifier(model->self.schema, model->self.name);
	return model;
}

void
sm_model_add_create(SmModel *model, char *statement)
{
	model->create = lappend(model->create, statement);
}

/* To *list, unless the object has no comment; "object" is as COMMENT ON has it. */
void
sm_model_add_comment(List **list, const char *object, Oid classid, Oid objid, int subid)
{
	char	   *comment = GetComment(objid, classid, subid);

	if (comment != NULL)
		*list = lappend(*list, psprintf("COMMENT ON %s IS %s", object,
										quote_literal_cstr(comment)));
}

/* ----------
 * Options
 * ----------
 */

/*
 * An array of "name=value" as "name='value', ...", or NULL if nothing is left
 * of it.  Options that "documented" does not know stay behind: a server may
 * keep notes of its own among them (pg_attver in attoptions is one), which no
 * other server accepts.
 */
static char *
options_text(Datum options, const char *prefix, bool (*documented) (const char *name))
{
	StringInfoData buf;
	Datum	   *elements;
	int			n;

	initStringInfo(&buf);
	deconstruct_array(DatumGetArrayTypeP(options), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *name = TextDatumGetCString(elements[i]);
		char	   *value = strchr(name, '=');

		if (value == NULL)
			continue;
		*value++ = '\0';
		if (documented != NULL && !documented(name))
			continue;
		appendStringInfo(&buf, "%s%s%s=%s", buf.len > 0 ? ", " : "", prefix,
						 quote_identifier(name), quote_literal_cstr(value));
	}
	return buf.len > 0 ? buf.data : NULL;
}

static bool
documented_table_option(const char *name)
{
	static const char *const prefixes[] = {"autovacuum_", "log_autovacuum_", "vacuum_"};
	static const char *const names[] = {
		"fillfactor", "toast_tuple_target", "parallel_workers", "user_catalog_table"
	};

	for (int i = 0; i < (int) lengthof(prefixes); i++)
	{
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	}
	for (int i = 0; i < (int) lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

static bool
documented_column_option(const char *name)
{
	return strcmp(name, "n_distinct") == 0 || strcmp(name, "n_distinct_inherited") == 0;
}

/* Of a table, or its TOAST table with prefix "toast.", or an index. */
char *
sm_model_relation_options(Oid relid, const char *prefix)
{
	HeapTuple	tuple;
	Datum		options;
	bool		isnull;
	char	   *result = NULL;

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	options = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	if (!isnull)
		result = options_text(options, prefix,
							  get_rel_relkind(relid) == RELKIND_INDEX ?
							  NULL : documented_table_option);
	ReleaseSysCache(tuple);
	return result;
}

char *
sm_model_column_options(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple;
	Datum		options;
	bool		isnull;
	char	   *result = NULL;

	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for column %d of relation %u",
			 attnum, relid);
	options = SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attoptions, &isnull);
	if (!isnull)
		result = options_text(options, "", documented_column_option);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * A column's statistics target, or -1 for the default.  The catalog has had
 * both -1 and NULL for that, and two widths of integer.
 */
int
sm_model_statistics_target(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple;
	Datum		target;
	bool		isnull;

	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for column %d of relation %u", attnum, relid);
	target = SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attstattarget, &isnull);
	ReleaseSysCache(tuple);
	return isnull ? -1 : DatumGetInt16(target);
}

/* ----------
 * Sequences
 * ----------
 */

/* The options that an identity column's sequence and a plain one share. */
char *
sm_model_sequence_options(Oid relid, Oid *type)
{
	HeapTuple	tuple;
	Form_pg_sequence seq;
	char	   *result;

	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", relid);
	seq = (Form_pg_sequence) GETSTRUCT(tuple);
	result = psprintf("INCREMENT BY " INT64_FORMAT " MINVALUE " INT64_FORMAT
					  " MAXVALUE " INT64_FORMAT " START WITH " INT64_FORMAT
					  " CACHE " INT64_FORMAT "%s",
					  seq->seqincrement, seq->seqmin, seq->seqmax, seq->seqstart,
					  seq->seqcache, seq->seqcycle ? " CYCLE" : " NO CYCLE");
	if (type != NULL)
		*type = seq->seqtypid;
	ReleaseSysCache(tuple);
	return result;
}

static char *
set_owner(const SmModel *model, Oid table, AttrNumber column)
{
	const char *schema = get_namespace_name(get_rel_namespace(table));

	return psprintf("ALTER SEQUENCE %s OWNED BY %s.%s", model->label,
					quote_qualified_identifier(schema, get_rel_name(table)),
					quote_identifier(get_attname(table, column, false)));
}

static SmModel *
describe_sequence(Relation rel)
{
	SmModel    *model = sm_model_new(rel);
	bool		unlogged = rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED;
	Oid			type;
	char	   *options = sm_model_sequence_options(model->relid, &type);
	int32		column;

	sm_model_add_create(model, psprintf("CREATE %sSEQUENCE %s AS %s %s",
										unlogged ? "UNLOGGED " : "", model->label,
										format_type_be(type), options));
	sm_model_add_comment(&model->create, psprintf("SEQUENCE %s", model->label),
						 RelationRelationId, model->relid, 0);
	if (sequenceIsOwned(model->relid, DEPENDENCY_AUTO, &model->owned_by, &column))
		model->finish = list_make1(set_owner(model, model->owned_by, column));
	return model;
}

/* The sequence's model among *sequences, put there if need be; NULL if gone. */
SmModel *
sm_model_sequence(List **sequences, Oid relid)
{
	Relation	rel;
	SmModel    *model;
	ListCell   *lc;

	foreach(lc, *sequences)
	{
		model = lfirst(lc);
		if (model->relid == relid)
			return model;
	}
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return NULL;
	model = describe_sequence(rel);
	relation_close(rel, AccessShareLock);
	*sequences = lappend(*sequences, model);
	return model;
}

/* What pg_depend has under this key of one of its indexes: of FormData_pg_depend. */
static List *
find_dependencies(Oid index, ScanKeyData *key, int nkeys)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(depend, index, true, NULL, nkeys, key);
	HeapTuple	tuple;
	List	   *result = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		FormData_pg_depend *copy = palloc(sizeof(FormData_pg_depend));

		*copy = *(Form_pg_depend) GETSTRUCT(tuple);
		result = lappend(result, copy);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return result;
}

/*
 * The sequences that belong to a column: those of kind DEPENDENCY_AUTO are its
 * "serial" ones, DEPENDENCY_INTERNAL is the one behind an identity column.
 */
List *
sm_model_column_sequences(Oid relid, AttrNumber attnum, char kind)
{
	ScanKeyData key[3];
	List	   *result = NIL;
	ListCell   *lc;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	ScanKeyInit(&key[2], Anum_pg_depend_refobjsubid, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(attnum));
	foreach(lc, find_dependencies(DependReferenceIndexId, key, 3))
	{
		const		FormData_pg_depend *dep = lfirst(lc);

		if (dep->classid == RelationRelationId && dep->objsubid == 0 &&
			dep->deptype == kind && get_rel_relkind(dep->objid) == RELKIND_SEQUENCE)
			result = lappend_oid(result, dep->objid);
	}
	return result;
}

/* The sequences that a column's default names. */
static List *
default_sequences(Oid relid, AttrNumber attnum)
{
	Oid			attrdef = GetAttrDefaultOid(relid, attnum);
	ScanKeyData key[2];
	List	   *result = NIL;
	ListCell   *lc;

	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(AttrDefaultRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(attrdef));
	foreach(lc, find_dependencies(DependDependerIndexId, key, 2))
	{
		const		FormData_pg_depend *dep = lfirst(lc);

		if (dep->refclassid == RelationRelationId &&
			get_rel_relkind(dep->refobjid) == RELKIND_SEQUENCE)
			result = lappend_oid(result, dep->refobjid);
	}
	return result;
}

/*
 * Notes in the model of a table which sequences must be there before it, and
 * describes those that are not among *sequences yet.
 */
void
sm_model_add_sequences(SmModel *model, Relation rel, List **sequences)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		List	   *relids;
		ListCell   *lc;

		if (att->attisdropped)
			continue;
		relids = sm_model_column_sequences(model->relid, att->attnum, DEPENDENCY_AUTO);
		if (att->atthasdef)
			relids = list_concat(relids, default_sequences(model->relid, att->attnum));
		foreach(lc, relids)
		{
			SmModel    *sequence = sm_model_sequence(sequences, lfirst_oid(lc));

			if (sequence != NULL)
				model->sequences = list_append_unique_ptr(model->sequences, sequence);
		}
	}
}

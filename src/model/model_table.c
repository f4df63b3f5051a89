/*-------------------------------------------------------------------------
 *
 * model_table.c
 *		The statements that make a local table elsewhere: the table with its
 *		columns and comments; the rest of it comes from model_index.c.
 *
 * Nothing of a table's definition is left out silently: what these functions
 * have no words for is an obstacle that models.c reports before they are
 * called.  The invariants of model_ddl.c hold here too.
 *
 * All but foreign keys is in the model's "create", in an order in which it can
 * be run on an empty schema; foreign keys are in "finish".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "model/model_private.h"

#include "access/htup_details.h"
#include "access/toast_compression.h"
#include "catalog/dependency.h"
#include "catalog/pg_type.h"
#include "nodes/nodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

/* ----------
 * Columns
 * ----------
 */

/* The column's default or generation expression, or NULL. */
static char *
default_expression(SmModel *model, Relation rel, AttrNumber attnum)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_defval; i++)
	{
		if (constr->defval[i].adnum == attnum)
			return deparse_expression(stringToNode(constr->defval[i].adbin),
									  deparse_context_for(RelationGetRelationName(rel),
														  model->relid),
									  false, false);
	}
	return NULL;
}

static void
append_identity(StringInfo buf, SmModel *model, Form_pg_attribute att)
{
	List	   *sequences = sm_model_column_sequences(model->relid, att->attnum,
													  DEPENDENCY_INTERNAL);
	Oid			sequence;
	char	   *name;

	if (list_length(sequences) != 1)
		elog(ERROR, "identity column %s of %s has %d sequences",
			 NameStr(att->attname), model->label, list_length(sequences));
	sequence = linitial_oid(sequences);
	name = get_rel_name(sequence);
	model->names = lappend(model->names, sm_model_name(model->self.schema, name));
	appendStringInfo(buf, " GENERATED %s AS IDENTITY (SEQUENCE NAME %s %s)",
					 att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS ? "ALWAYS" : "BY DEFAULT",
					 quote_qualified_identifier(model->self.schema, name),
					 sm_model_sequence_options(sequence, NULL));
}

/* The column a not-null constraint is about. */
static AttrNumber
not_null_column(SmModel *model, HeapTuple tuple)
{
	Datum		conkey;
	bool		isnull;
	ArrayType  *array;

	conkey = SysCacheGetAttr(CONSTROID, tuple, Anum_pg_constraint_conkey, &isnull);
	if (isnull)
		elog(ERROR, "not-null constraint of %s has no column", model->label);
	array = DatumGetArrayTypeP(conkey);
	return ((int16 *) ARR_DATA_PTR(array))[0];
}

/*
 * NOT NULL with the name it has since 18; older servers accept the name and
 * forget it.  One that is not valid cannot be said here, it is added later.
 */
static void
append_not_null(StringInfo buf, SmModel *model, Form_pg_attribute att)
{
	ListCell   *lc;

	foreach(lc, model->constraints)
	{
		HeapTuple	tuple = lfirst(lc);
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT(tuple);

		if (con->contype != CONSTRAINT_NOTNULL || not_null_column(model, tuple) != att->attnum)
			continue;
		if (con->convalidated)
			appendStringInfo(buf, " CONSTRAINT %s NOT NULL%s",
							 quote_identifier(NameStr(con->conname)),
							 con->connoinherit ? " NO INHERIT" : "");
		return;
	}
	if (att->attnotnull)
		appendStringInfoString(buf, " NOT NULL");
}

static void
append_column(StringInfo buf, SmModel *model, Relation rel, Form_pg_attribute att)
{
	char	   *expression = default_expression(model, rel, att->attnum);

	appendStringInfo(buf, "%s %s", quote_identifier(NameStr(att->attname)),
					 format_type_with_typemod(att->atttypid, att->atttypmod));
	if (OidIsValid(att->attcollation) &&
		att->attcollation != get_typcollation(att->atttypid))
		appendStringInfo(buf, " COLLATE %s", generate_collation_name(att->attcollation));

	if (att->attgenerated != '\0')
		appendStringInfo(buf, " GENERATED ALWAYS AS (%s) %s", expression,
						 att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL ?
						 "VIRTUAL" : "STORED");
	else if (att->attidentity != '\0')
		append_identity(buf, model, att);
	else if (expression != NULL)
		appendStringInfo(buf, " DEFAULT %s", expression);

	append_not_null(buf, model, att);
}

/* The relation whose row type this is, perhaps inside arrays and domains. */
static Oid
row_type_relation(Oid type)
{
	for (;;)
	{
		Oid			element;

		type = getBaseType(type);
		element = get_element_type(type);
		if (!OidIsValid(element))
			return get_typ_typrelid(type);
		type = element;
	}
}

static void
note_type(SmModel *model, Form_pg_attribute att)
{
	SmModelType *type = palloc0(sizeof(SmModelType));

	type->column = pstrdup(NameStr(att->attname));
	type->type = format_type_be(att->atttypid);
	type->row_of = row_type_relation(att->atttypid);
	model->types = lappend(model->types, type);
}

static void
append_storage_parameters(StringInfo buf, SmModel *model, Relation rel)
{
	char	   *own = sm_model_relation_options(model->relid, "");
	Oid			toastid = rel->rd_rel->reltoastrelid;
	char	   *toast = NULL;

	if (OidIsValid(toastid))
		toast = sm_model_relation_options(toastid, "toast.");
	if (own != NULL || toast != NULL)
		appendStringInfo(buf, " WITH (%s%s%s)", own ? own : "",
						 own && toast ? ", " : "", toast ? toast : "");
}

static void
create_table(SmModel *model, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		first = true;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "CREATE %sTABLE %s (",
					 rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED ?
					 "UNLOGGED " : "", model->label);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (!first)
			appendStringInfoString(&buf, ", ");
		first = false;
		append_column(&buf, model, rel, att);
		note_type(model, att);
	}
	appendStringInfoChar(&buf, ')');
	append_storage_parameters(&buf, model, rel);
	sm_model_add_create(model, buf.data);
}

/* One more action of the ALTER TABLE in buf. */
static void
append_action(StringInfo buf, Form_pg_attribute att, const char *action)
{
	appendStringInfo(buf, "%s ALTER COLUMN %s SET %s", buf->len > 0 ? "," : "",
					 quote_identifier(NameStr(att->attname)), action);
}

static void
append_column_settings(StringInfo buf, Form_pg_attribute att)
{
	int			target = sm_model_statistics_target(att->attrelid, att->attnum);
	char	   *options = sm_model_column_options(att->attrelid, att->attnum);

	if (att->attstorage != get_typstorage(att->atttypid))
		append_action(buf, att,
					  att->attstorage == TYPSTORAGE_PLAIN ? "STORAGE PLAIN" :
					  att->attstorage == TYPSTORAGE_EXTERNAL ? "STORAGE EXTERNAL" :
					  att->attstorage == TYPSTORAGE_MAIN ? "STORAGE MAIN" :
					  "STORAGE EXTENDED");
	if (CompressionMethodIsValid(att->attcompression))
		append_action(buf, att, psprintf("COMPRESSION %s",
										 GetCompressionMethodName(att->attcompression)));
	if (target >= 0)
		append_action(buf, att, psprintf("STATISTICS %d", target));
	if (options != NULL)
		append_action(buf, att, psprintf("(%s)", options));
}

/* What CREATE TABLE has no words for, or only since a recent release. */
static void
alter_columns(SmModel *model, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			append_column_settings(&buf, att);
	}
	if (buf.len > 0)
		sm_model_add_create(model, psprintf("ALTER TABLE %s%s", model->label, buf.data));
}

/*
 * An identity column's sequence is as durable as the table unless somebody
 * changed one of them since.
 */
static void
alter_identity_sequence(SmModel *model, Relation rel, Oid relid)
{
	const char *name = quote_qualified_identifier(model->self.schema, get_rel_name(relid));
	char		persistence = get_rel_persistence(relid);

	if (persistence != rel->rd_rel->relpersistence)
		sm_model_add_create(model, psprintf("ALTER SEQUENCE %s SET %s", name,
											persistence == RELPERSISTENCE_UNLOGGED ?
											"UNLOGGED" : "LOGGED"));
	sm_model_add_comment(&model->create, psprintf("SEQUENCE %s", name),
						 RelationRelationId, relid, 0);
}

static void
add_table_comments(SmModel *model, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	sm_model_add_comment(&model->create, psprintf("TABLE %s", model->label),
						 RelationRelationId, model->relid, 0);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		ListCell   *lc;

		if (att->attisdropped)
			continue;
		sm_model_add_comment(&model->create,
							 psprintf("COLUMN %s.%s", model->label,
									  quote_identifier(NameStr(att->attname))),
							 RelationRelationId, model->relid, att->attnum);
		foreach(lc, sm_model_column_sequences(model->relid, att->attnum,
											  DEPENDENCY_INTERNAL))
			alter_identity_sequence(model, rel, lfirst_oid(lc));
	}
}

/*
 * Fills in the model of a table that has no obstacles.  The caller holds a
 * lock on it, and runs under the settings of sm_model_enter_settings().
 */
void
sm_model_describe_table(SmModel *model, Relation rel)
{
	sm_model_read_constraints(model);
	create_table(model, rel);
	alter_columns(model, rel);
	sm_model_add_constraints(model, false);
	sm_model_add_indexes(model, rel);
	sm_model_add_statistics(model, rel);
	add_table_comments(model, rel);
	sm_model_add_constraints(model, true);
}

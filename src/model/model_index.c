/*-------------------------------------------------------------------------
 *
 * model_index.c
 *		The parts of a model's table that have names of their own: constraints,
 *		indexes and extended statistics.
 *
 * The invariants of model_ddl.c hold here too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "model/model_private.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_index.h"
#include "catalog/pg_statistic_ext.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/*
 * One of the pg_get_...def() functions.  Some of them look with the snapshot
 * of the transaction where we look at the newest catalogs, so in a transaction
 * older than the definition there may be nothing for them to see.
 */
static char *
definition(PGFunction function, Oid oid, const SmModel *model)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(oid);
	fcinfo->args[0].isnull = false;
	result = function(fcinfo);
	if (fcinfo->isnull)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the definition of model %s changed after this transaction began",
						model->label)));
	return TextDatumGetCString(result);
}

/* ----------
 * Constraints
 * ----------
 */

/*
 * The table's constraints in the order of their names, into model->constraints.
 */
void
sm_model_read_constraints(SmModel *model)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(model->relid));
	scan = systable_beginscan(rel, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		/* a foreign key to a partitioned table has one for each partition */
		if (!OidIsValid(((Form_pg_constraint) GETSTRUCT(tuple))->conparentid))
			model->constraints = lappend(model->constraints, heap_copytuple(tuple));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* A foreign key's other table, unless it is the table itself. */
static void
note_reference(SmModel *model, Oid relid)
{
	const char *schema = get_namespace_name(get_rel_namespace(relid));

	if (relid != model->relid)
		model->references = lappend(model->references,
									sm_model_name(schema, get_rel_name(relid)));
}

/*
 * Constraints by name, indexes and checks first.  A separate ALTER TABLE for
 * each: CREATE TABLE would quietly call one valid that is not.
 */
void
sm_model_add_constraints(SmModel *model, bool foreign)
{
	ListCell   *lc;

	foreach(lc, model->constraints)
	{
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT((HeapTuple) lfirst(lc));
		List	  **list = foreign ? &model->finish : &model->create;
		const char *name = quote_identifier(NameStr(con->conname));

		if ((con->contype == CONSTRAINT_FOREIGN) != foreign)
			continue;
		if (con->contype != CONSTRAINT_NOTNULL || !con->convalidated)
			*list = lappend(*list, psprintf("ALTER TABLE %s ADD CONSTRAINT %s %s",
											model->label, name,
											definition(pg_get_constraintdef, con->oid, model)));
		if (foreign)
			note_reference(model, con->confrelid);
		sm_model_add_comment(list, psprintf("CONSTRAINT %s ON %s", name, model->label),
							 ConstraintRelationId, con->oid, 0);
	}
}

/* The constraint that the index is behind, or NULL. */
static Form_pg_constraint
index_constraint(SmModel *model, Oid indexid)
{
	ListCell   *lc;

	foreach(lc, model->constraints)
	{
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT((HeapTuple) lfirst(lc));

		/* a foreign key only refers to the other table's index */
		if (con->conindid == indexid && con->contype != CONSTRAINT_FOREIGN)
			return con;
	}
	return NULL;
}

/* ----------
 * Indexes and statistics
 * ----------
 */

static void
alter_index(SmModel *model, Oid indexid, Form_pg_index index, const char *qualified)
{
	const char *name = quote_identifier(get_rel_name(indexid));

	for (AttrNumber i = 1; i <= index->indnatts; i++)
	{
		int			target = sm_model_statistics_target(indexid, i);

		if (target >= 0)
			sm_model_add_create(model, psprintf("ALTER INDEX %s ALTER COLUMN %d SET STATISTICS %d",
												qualified, i, target));
	}
	if (index->indisclustered)
		sm_model_add_create(model, psprintf("ALTER TABLE %s CLUSTER ON %s", model->label, name));
	if (index->indisreplident)
		sm_model_add_create(model, psprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s",
											model->label, name));
	sm_model_add_comment(&model->create, psprintf("INDEX %s", qualified),
						 RelationRelationId, indexid, 0);
}

/*
 * The index itself, unless a constraint made it: then only its storage
 * parameters, which pg_get_constraintdef() leaves out for all but exclusion
 * constraints.
 */
static void
add_index(SmModel *model, Oid indexid)
{
	Form_pg_constraint con = index_constraint(model, indexid);
	const char *name = get_rel_name(indexid);
	const char *qualified = quote_qualified_identifier(model->self.schema, name);
	HeapTuple	tuple;
	Form_pg_index index;

	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", indexid);
	index = (Form_pg_index) GETSTRUCT(tuple);

	/* what a failed CREATE INDEX CONCURRENTLY left is no part of the table */
	if (index->indisvalid)
	{
		model->names = lappend(model->names,
							   sm_model_name(model->self.schema, name));
		if (con == NULL)
			sm_model_add_create(model, definition(pg_get_indexdef, indexid, model));
		else if (con->contype != CONSTRAINT_EXCLUSION)
		{
			char	   *options = sm_model_relation_options(indexid, "");

			if (options != NULL)
				sm_model_add_create(model, psprintf("ALTER INDEX %s SET (%s)", qualified, options));
		}
		alter_index(model, indexid, index, qualified);
	}
	ReleaseSysCache(tuple);
}

/* With the table's replica identity, which may be one of them. */
void
sm_model_add_indexes(SmModel *model, Relation rel)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
		add_index(model, lfirst_oid(lc));

	if (rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		sm_model_add_create(model, psprintf("ALTER TABLE %s REPLICA IDENTITY FULL",
											model->label));
	else if (rel->rd_rel->relreplident == REPLICA_IDENTITY_NOTHING)
		sm_model_add_create(model, psprintf("ALTER TABLE %s REPLICA IDENTITY NOTHING",
											model->label));
}

/* An extended statistics object, which may stand in another schema. */
static void
add_statistics_object(SmModel *model, Oid oid)
{
	HeapTuple	tuple;
	Form_pg_statistic_ext stats;
	const char *schema;
	const char *name;
	Datum		target;
	bool		isnull;

	tuple = SearchSysCache1(STATEXTOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for statistics object %u", oid);
	stats = (Form_pg_statistic_ext) GETSTRUCT(tuple);
	schema = get_namespace_name(stats->stxnamespace);
	name = quote_qualified_identifier(schema, NameStr(stats->stxname));

	model->names = lappend(model->names, sm_model_name(schema, ""));
	sm_model_add_create(model, definition(pg_get_statisticsobjdef, oid, model));
	target = SysCacheGetAttr(STATEXTOID, tuple, Anum_pg_statistic_ext_stxstattarget, &isnull);
	if (!isnull && DatumGetInt16(target) >= 0)
		sm_model_add_create(model, psprintf("ALTER STATISTICS %s SET STATISTICS %d", name,
											DatumGetInt16(target)));
	sm_model_add_comment(&model->create, psprintf("STATISTICS %s", name),
						 StatisticExtRelationId, oid, 0);
	ReleaseSysCache(tuple);
}

/* The extended statistics objects of a table. */
void
sm_model_add_statistics(SmModel *model, Relation rel)
{
	ListCell   *lc;

	foreach(lc, RelationGetStatExtList(rel))
		add_statistics_object(model, lfirst_oid(lc));
}

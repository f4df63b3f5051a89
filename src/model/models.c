/*-------------------------------------------------------------------------
 *
 * models.c
 *		The registry of models: which tables and sequences prepare_models()
 *		makes on a target, and what they look like.
 *
 * The registry is the table sessmgr.model_registry.  Its rows are written only
 * here, as the table's owner and after the check that the current role owns
 * the relation.  Whoever reads it must expect rows whose relation is gone: the
 * event trigger that removes them does not run in single-user mode, for one.
 *
 * Every change invalidates the registry's relcache entry.  That is how all
 * backends, this one included, learn that what they have prepared may no
 * longer be all; an aborted change is made known in the same way.  The
 * callback only sets a flag.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "model/model_private.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "rewrite/prs2lock.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#define REGISTRY_SCHEMA	"sessmgr"
#define REGISTRY_TABLE	"model_registry"


/* The registry as last looked up, for the callback, which may look up nothing. */
static Oid	registry_oid = InvalidOid;
static bool registry_changed = false;

static void
registry_callback(Datum arg, Oid relid)
{
	(void) arg;
	if (relid == registry_oid || relid == InvalidOid)
		registry_changed = true;
}

/*
 * The registry's oid, or InvalidOid if the extension is on its way out.  The
 * callback is registered with the first lookup: before that nothing can have
 * been prepared that it would have to forget.
 */
static Oid
find_registry(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(registry_callback, (Datum) 0);
		registered = true;
	}
	registry_oid = sm_extension_table(REGISTRY_TABLE);
	return registry_oid;
}

/*
 * Forget what engines have prepared if the registry has changed since.  To be
 * called before the registry is read, so that a change after that is noticed
 * the next time.
 */
void
sm_models_notice_changes(void)
{
	AcceptInvalidationMessages();
	if (!registry_changed)
		return;
	registry_changed = false;
	sm_engine_forget_prepared(NULL);
}

/*
 * The relations registered under this name whose owner's privileges the role
 * has, as a list of oids in ascending order.  Read with a snapshot of now,
 * however old the transaction is: what is missed here would stay missed.  If
 * "others" is not NULL it gets the names, as char *, under which there are more.
 */
List *
sm_models_registered(Oid roleid, const char *metadata, List **others)
{
	Oid			registry = find_registry();
	Relation	rel;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;
	List	   *result = NIL;

	if (!OidIsValid(registry))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s.%s does not exist", REGISTRY_SCHEMA, REGISTRY_TABLE)));
	rel = table_open(registry, AccessShareLock);
	slot = table_slot_create(rel, NULL);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		const char *name;
		bool		wanted;
		Oid			relid;
		HeapTuple	tuple;

		slot_getallattrs(slot);
		name = NameStr(*DatumGetName(slot->tts_values[1]));
		wanted = strcmp(name, metadata) == 0;
		if (!wanted && others == NULL)
			continue;
		relid = DatumGetObjectId(slot->tts_values[0]);
		tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
		if (!HeapTupleIsValid(tuple))
			continue;
		if (has_privs_of_role(roleid, ((Form_pg_class) GETSTRUCT(tuple))->relowner))
		{
			if (wanted)
				result = lappend_oid(result, relid);
			else
				*others = lappend(*others, pstrdup(name));
		}
		ReleaseSysCache(tuple);
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);
	list_sort(result, list_oid_cmp);
	return result;
}

/*
 * Tell if nothing is registered under this name that the role could prepare:
 * it may be misspelt.
 */
void
sm_models_tell_none(Oid roleid, const char *metadata)
{
	List	   *others = NIL;
	const char *match;

	if (sm_models_registered(roleid, metadata, &others) != NIL)
		return;
	match = sm_closest_match(metadata, others);
	ereport(NOTICE,
			(errmsg("nothing to prepare is registered under metadata \"%s\"", metadata),
			 errdetail("Models count whose owner's privileges the engine's role has."),
			 match ? errhint("Perhaps you meant the metadata \"%s\".", match) :
			 errhint("Register tables and sequences with sessmgr.add_model().")));
}

/* ----------
 * What cannot be a model
 * ----------
 */

/* For reasons that are there to stay; NULL if there are none. */
static const char *
lasting_obstacle(Relation rel)
{
	Oid			table;
	int32		column;

	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
			break;
		case RELKIND_SEQUENCE:
			if (sequenceIsOwned(RelationGetRelid(rel), DEPENDENCY_INTERNAL, &table, &column))
				return "It is the sequence of an identity column, and comes with its table.";
			break;
		case RELKIND_PARTITIONED_TABLE:
			return "It is a partitioned table.";
		case RELKIND_FOREIGN_TABLE:
			return "It is a foreign table.";
		default:
			return "It is neither a table nor a sequence.";
	}
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		return "It is temporary.";
	return NULL;
}

/* Are there policies, in force or not? */
static bool
has_policies(Oid relid)
{
	Relation	rel = table_open(PolicyRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, PolicyPolrelidPolnameIndexId, true, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static bool
has_user_triggers(Relation rel)
{
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		if (!rel->trigdesc->triggers[i].tgisinternal)
			return true;
	}
	return false;
}

/*
 * Why the relation could not be made elsewhere as it is here, or NULL.  The
 * caller holds a lock on it.
 */
static const char *
find_obstacle(Relation rel)
{
	const char *lasting = lasting_obstacle(rel);
	Oid			relid = RelationGetRelid(rel);

	if (lasting != NULL || rel->rd_rel->relkind == RELKIND_SEQUENCE)
		return lasting;
	if (rel->rd_rel->relispartition)
		return "It is a partition.";
	if (has_superclass(relid))
		return "It inherits from another table.";
	if (find_inheritance_children(relid, NoLock) != NIL)
		return "Another table inherits from it.";
	if (OidIsValid(rel->rd_rel->reloftype))
		return "It is a typed table.";
	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		return "Its access method is not the built-in one.";
	if (rel->rd_rel->relrowsecurity || rel->rd_rel->relforcerowsecurity || has_policies(relid))
		return "It has row-level security.";
	if (has_user_triggers(rel))
		return "It has triggers.";
	if (rel->rd_rules != NULL && rel->rd_rules->numLocks > 0)
		return "It has rules.";
	return NULL;
}

static void
report_obstacle(Relation rel, const char *obstacle)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("model %s cannot be reproduced on a target",
					quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
											   RelationGetRelationName(rel))),
			 errdetail_internal("%s", obstacle)));
}

/* ----------
 * What models look like
 * ----------
 */

/*
 * A table goes behind those whose row types its columns have.  That has no
 * circles, as no type can contain itself.
 */
static void
place(SmModel *model, List *tables, List **ordered)
{
	ListCell   *lc;

	if (list_member_ptr(*ordered, model))
		return;
	foreach(lc, model->types)
	{
		Oid			row_of = ((SmModelType *) lfirst(lc))->row_of;
		ListCell   *lc2;

		if (!OidIsValid(row_of))
			continue;
		foreach(lc2, tables)
		{
			SmModel    *other = lfirst(lc2);

			if (other->relid == row_of && other != model)
				place(other, tables, ordered);
		}
	}
	*ordered = lappend(*ordered, model);
}

static SmModel *
describe_table(Relation rel, List **sequences)
{
	SmModel    *model = sm_model_new(rel);

	sm_model_add_sequences(model, rel, sequences);
	sm_model_describe_table(model, rel);
	return model;
}

/*
 * The tables among the relations, in an order in which they can be made, and
 * in *sequences the sequences among them or needed by them.  A relation that
 * is gone by now is skipped; one that cannot be reproduced is an error.
 *
 * The locks are released at once: what was read is one state of the table, and
 * holding on to it while a target is waited for would help nobody.
 */
List *
sm_models_describe(List *relids, List **sequences)
{
	int			level = sm_model_enter_settings();
	List	   *tables = NIL;
	List	   *ordered = NIL;
	ListCell   *lc;

	*sequences = NIL;
	foreach(lc, relids)
	{
		Relation	rel = try_relation_open(lfirst_oid(lc), AccessShareLock);
		const char *obstacle;
		SmModel    *model;

		CHECK_FOR_INTERRUPTS();
		if (rel == NULL)
			continue;
		obstacle = find_obstacle(rel);
		if (obstacle != NULL)
			report_obstacle(rel, obstacle);
		if (rel->rd_rel->relkind == RELKIND_SEQUENCE)
			model = sm_model_sequence(sequences, RelationGetRelid(rel));
		else
		{
			model = describe_table(rel, sequences);
			tables = lappend(tables, model);
		}
		model->registered = true;
		relation_close(rel, AccessShareLock);
	}
	AtEOXact_GUC(true, level);

	foreach(lc, tables)
		place(lfirst(lc), tables, &ordered);
	return ordered;
}

/* ----------
 * Changes of the registry
 * ----------
 */

/* Run a statement on the registry; returns the number of rows written. */
static uint64
write_registry(const char *sql, int nargs, Oid *types, Datum *values)
{
	Oid			registry = find_registry();
	uint64		written = sm_extension_table_write(registry, sql, nargs, types, values);

	if (written > 0)
	{
		CacheInvalidateRelcacheByRelid(registry);
		/* so that the rest of this statement knows it too */
		CommandCounterIncrement();
	}
	return written;
}

/* May the current role register this relation, or take it out? */
static void
check_owner(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!sm_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), name);
}

static void
check_kind(Relation rel)
{
	const char *obstacle;

	if (RelationGetRelid(rel) < FirstNormalObjectId || IsSystemRelation(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a system catalog", RelationGetRelationName(rel))));
	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_SEQUENCE:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_FOREIGN_TABLE:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is neither a table nor a sequence",
							RelationGetRelationName(rel)),
					 errdetail_relkind_not_supported(rel->rd_rel->relkind)));
	}
	obstacle = lasting_obstacle(rel);
	if (obstacle != NULL)
		report_obstacle(rel, obstacle);
}

/*
 * Register a relation; that it already is makes no difference.  The lock stays
 * until the transaction ends, so that a concurrent DROP waits and then sees the
 * row that it has to remove.
 */
void
sm_models_add(Oid relid, Name metadata)
{
	Oid			types[] = {REGCLASSOID, NAMEOID};
	Datum		values[2];
	Relation	rel;

	check_owner(relid);
	rel = try_relation_open(relid, AccessShareLock);
	check_owner(relid);
	check_kind(rel);
	relation_close(rel, NoLock);

	values[0] = ObjectIdGetDatum(relid);
	values[1] = NameGetDatum(metadata);
	(void) write_registry("INSERT INTO " REGISTRY_SCHEMA "." REGISTRY_TABLE
						  " (relation, metadata) VALUES ($1, $2) ON CONFLICT DO NOTHING",
						  2, types, values);
}

/* Take a relation out of every metadata; was it in any? */
bool
sm_models_drop(Oid relid)
{
	Oid			types[] = {REGCLASSOID};
	Datum		values[1];

	check_owner(relid);
	values[0] = ObjectIdGetDatum(relid);
	return write_registry("DELETE FROM " REGISTRY_SCHEMA "." REGISTRY_TABLE
						  " WHERE relation = $1",
						  1, types, values) > 0;
}

/*
 * In an event trigger on sql_drop: remove the rows of what is dropped, and of
 * what a dump named that is not here.  If the registry is itself gone there is
 * nothing to do.
 */
void
sm_models_forget_dropped(void)
{
	if (OidIsValid(find_registry()))
		(void) write_registry("DELETE FROM " REGISTRY_SCHEMA "." REGISTRY_TABLE " AS m"
							  " USING pg_event_trigger_dropped_objects() AS d"
							  " WHERE m.relation = 0"
							  " OR d.classid = 'pg_class'::regclass AND d.objsubid = 0"
							  " AND m.relation = d.objid",
							  0, NULL, NULL);
}

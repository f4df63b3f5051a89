/*-------------------------------------------------------------------------
 *
 * funcs_model.c
 *		SQL functions of models: the registry, and what is made on a target.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "catalog/namespace.h"
#include "commands/event_trigger.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(sm_add_model);
PG_FUNCTION_INFO_V1(sm_drop_model);
PG_FUNCTION_INFO_V1(sm_model_relation_in);
PG_FUNCTION_INFO_V1(sm_models_dropped);
PG_FUNCTION_INFO_V1(sm_prepare_models);
PG_FUNCTION_INFO_V1(sm_prepared);

/* add_model(relation regclass, metadata name) returns void */
Datum
sm_add_model(PG_FUNCTION_ARGS)
{
	Name		metadata;

	sm_arg_check(fcinfo, 0, "relation");
	sm_arg_check(fcinfo, 1, "metadata");
	metadata = PG_GETARG_NAME(1);
	if (NameStr(*metadata)[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be empty", "metadata")));
	sm_models_add(PG_GETARG_OID(0), metadata);
	PG_RETURN_VOID();
}

/* drop_model(relation regclass) returns boolean */
Datum
sm_drop_model(PG_FUNCTION_ARGS)
{
	sm_arg_check(fcinfo, 0, "relation");
	PG_RETURN_BOOL(sm_models_drop(PG_GETARG_OID(0)));
}

/*
 * Input of type model_relation, which a dump has as a qualified name: the oid
 * of the relation, or 0.  It neither locks nor needs privileges, as nothing is
 * done with the relation, and only what is no name is an error.
 */
Datum
sm_model_relation_in(PG_FUNCTION_ARGS)
{
	const char *name = PG_GETARG_CSTRING(0);
	List	   *names;
	Oid			schema;

	/* what output makes of a relation that is gone */
	if (strcmp(name, "-") == 0 || strspn(name, "0123456789") == strlen(name))
		PG_RETURN_OID(InvalidOid);
	if (!SplitIdentifierString(pstrdup(name), '.', &names) ||
		list_length(names) < 1 || list_length(names) > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "model_relation", name)));
	if (list_length(names) == 1)
		PG_RETURN_OID(RelnameGetRelid(linitial(names)));
	schema = get_namespace_oid(linitial(names), true);
	PG_RETURN_OID(OidIsValid(schema) ? get_relname_relid(lsecond(names), schema) : InvalidOid);
}

/*
 * The event trigger on sql_drop.  Whoever drops a table has its row removed,
 * without privileges on the registry.
 */
Datum
sm_models_dropped(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function %s was not called as an event trigger",
						"sessmgr.models_dropped()")));
	sm_models_forget_dropped();
	PG_RETURN_NULL();
}

/* prepare_models(engine, metadata name) returns integer */
Datum
sm_prepare_models(PG_FUNCTION_ARGS)
{
	SmEngine   *engine = sm_arg_engine(fcinfo, true);
	Oid			roleid = engine->endpoint.roleid;
	const char *metadata;
	int			made;

	sm_arg_check(fcinfo, 1, "metadata");
	metadata = NameStr(*PG_GETARG_NAME(1));
	made = sm_models_prepare(engine, metadata);
	if (made == 0)
		sm_models_tell_none(roleid, metadata);
	PG_RETURN_INT32(made);
}

/* prepared(engine, metadata name) returns boolean */
Datum
sm_prepared(PG_FUNCTION_ARGS)
{
	SmEngine   *engine = sm_arg_engine(fcinfo, true);

	sm_arg_check(fcinfo, 1, "metadata");
	PG_RETURN_BOOL(sm_models_prepared(engine, NameStr(*PG_GETARG_NAME(1))));
}

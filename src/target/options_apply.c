/*-------------------------------------------------------------------------
 *
 * options_apply.c
 *		Options where they are given: in the catalogs and in a call.
 *
 * All options of one place (a server, a user mapping, a call) are read first
 * and applied together, so that their order does not matter and two that
 * contradict each other are noticed.  The caller applies the places in the
 * order of their precedence, the weakest first.
 *
 * No message shows the value of a connection option of libpq.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "target/target_private.h"

PG_FUNCTION_INFO_V1(sessmgr_fdw_validator);

#define MAX_OPTIONS		32

/* What was given in one place. */
typedef struct Given
{
	bool		set[MAX_OPTIONS];	/* by position in sm_option_table */
	int			value[MAX_OPTIONS];
	List	   *connect_args;	/* of Pair *, or NIL */
	bool		has_connect_args;
} Given;

/* A member of a JSON object. */
typedef struct Pair
{
	char	   *name;
	JsonbValue	value;
} Pair;

static void
give(Given *given, const SmOption *option, const char *value)
{
	int			i = option - sm_option_table;

	Assert(sm_option_count <= MAX_OPTIONS);
	given->value[i] = sm_option_parse(option, value);
	given->set[i] = true;
}

/*
 * isolation_level 'AUTOCOMMIT' is another way to say transaction
 * 'autocommit'.  Saying 'manual' beside it makes no sense.
 */
static void
clean_up_autocommit(Given *given)
{
	int			isolation = sm_option_find("isolation_level") - sm_option_table;
	int			transaction = sm_option_find("transaction") - sm_option_table;

	if (!given->set[isolation] || given->value[isolation] != SM_ISOLATION_AUTOCOMMIT)
		return;
	if (given->set[transaction] && given->value[transaction] != SM_TXN_AUTOCOMMIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"%s\" and \"%s\" contradict each other",
						"isolation_level", "transaction"),
				 errdetail("Isolation level AUTOCOMMIT means transaction \"autocommit\", but \"%s\" was given.",
						   sm_option_format(&sm_option_table[transaction],
											given->value[transaction]))));
	given->value[isolation] = SM_ISOLATION_DEFAULT;
	given->value[transaction] = SM_TXN_AUTOCOMMIT;
	given->set[transaction] = true;
}

/*
 * Apply what was given to the engine's and the session's options, or to those
 * of the two that are not NULL.
 *
 * Written out, because gcc 12.2 drops calls of this function when the choice
 * of the struct is in a function that returns the place or NULL.
 */
static void
apply_given(const Given *given, SmEngineOptions *engine, SmSessionOptions *session)
{
	for (int i = 0; i < sm_option_count; i++)
	{
		const SmOption *option = &sm_option_table[i];

		if (!given->set[i])
			continue;
		if (option->owner == SM_OPTION_ENGINE && engine != NULL)
			*(int *) ((char *) engine + option->offset) = given->value[i];
		else if (option->owner == SM_OPTION_SESSION && session != NULL)
			*(int *) ((char *) session + option->offset) = given->value[i];
	}
}

/* ----------
 * Wrong names
 * ----------
 */

/* The names of all options, those that may stand in a context before the others. */
static List *
all_names(int context)
{
	List	   *here = NIL;
	List	   *elsewhere = NIL;

	for (int i = 0; i < sm_option_count; i++)
	{
		char	   *name = unconstify(char *, sm_option_table[i].name);

		if (sm_option_table[i].contexts & context)
			here = lappend(here, name);
		else
			elsewhere = lappend(elsewhere, name);
	}
	if (context != SM_IN_CALL)
		here = list_concat(here, sm_keyword_names(context));
	return list_concat(list_concat(here, elsewhere),
					   sm_keyword_names(SM_IN_SERVER | SM_IN_MAPPING));
}

/* Where an option that cannot stand here belongs, for a hint. */
static char *
where_it_belongs(const char *name, int context)
{
	const SmOption *option = sm_option_find(name);

	if (option != NULL)
		return psprintf("This option belongs here: %s.", sm_option_contexts(option->contexts));
	if (context == SM_IN_CALL)
		return pstrdup("Connection options of libpq go into \"connect_args\".");
	return psprintf("This option belongs here: %s.",
					sm_option_contexts(sm_keyword_contexts(name)));
}

static bool
may_stand(const char *name, int context)
{
	const SmOption *option = sm_option_find(name);

	if (option != NULL)
		return (option->contexts & context) != 0;
	return context != SM_IN_CALL && (sm_keyword_contexts(name) & context) != 0;
}

/* What an unknown option was probably meant to be, as a hint. */
static char *
what_was_meant(const char *name, int context)
{
	const SmAlias *alias = sm_alias_find(name);
	const char *meant = alias ? alias->meant : sm_closest_match(name, all_names(context));
	StringInfoData hint;

	if (sm_keyword_class(name, NULL) == SM_KEYWORD_NEVER)
		return psprintf("Leave it out: %s.",
						strcmp(name, "client_encoding") == 0 ?
						"the client encoding is always the encoding of this database" :
						"it cannot be set");
	if (meant == NULL)
		return psprintf("\"SELECT * FROM sessmgr.options()\" lists the options%s.",
						context == SM_IN_CALL ? "" : "; those of libpq can stand here, too");

	initStringInfo(&hint);
	appendStringInfo(&hint, "Perhaps you meant the option \"%s\"", meant);
	if (alias != NULL && alias->value != NULL)
		appendStringInfo(&hint, " with the value \"%s\"", alias->value);
	if (alias != NULL && alias->other != NULL)
		appendStringInfo(&hint, " or \"%s\"", alias->other);
	appendStringInfoChar(&hint, '.');
	if (!may_stand(meant, context))
		appendStringInfo(&hint, " %s", where_it_belongs(meant, context));
	return hint.data;
}

/*
 * There is no such option, or not here: say where it belongs, or what was
 * probably meant.
 */
static void
pg_attribute_noreturn()
unknown_option(const char *name, int context)
{
	SmKeywordClass class = sm_keyword_class(name, NULL);
	bool		misplaced = sm_option_find(name) != NULL ||
		class == SM_KEYWORD_ANY || class == SM_KEYWORD_SUPERUSER;

	ereport(ERROR,
			(errcode(context == SM_IN_CALL ?
					 ERRCODE_INVALID_PARAMETER_VALUE : ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", sm_option_clip(name)),
			 errhint("%s", misplaced ? where_it_belongs(name, context) :
					 what_was_meant(name, context))));
}

/* ----------
 * The catalogs
 * ----------
 */

static bool
parse_flag(const SmOption *option, DefElem *def)
{
	return sm_option_parse(option, defGetString(def)) != 0;
}

/* One option of a server or a mapping, as CREATE or ALTER has it. */
static void
validate_option(DefElem *def, int context, Given *given)
{
	const SmOption *option = sm_option_find(def->defname);
	SmKeywordClass class;

	if (option != NULL && (option->contexts & context) != 0)
	{
		give(given, option, defGetString(def));

		/* switching password_required on is no privilege */
		if (option->superuser_only && !superuser() && !parse_flag(option, def))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set option \"%s\"", option->name),
					 errdetail("Only superusers may switch it off.")));
		return;
	}

	class = sm_keyword_class(def->defname, defGetString(def));
	if (option != NULL || class == SM_KEYWORD_UNKNOWN || class == SM_KEYWORD_NEVER ||
		(sm_keyword_contexts(def->defname) & context) == 0)
		unknown_option(def->defname, context);
	sm_keyword_check(def->defname, defGetString(def), GetUserId());
}

/* A loopback server has its address already. */
static void
validate_loopback(List *defelems)
{
	bool		loopback = false;
	const char *address = NULL;
	ListCell   *lc;

	foreach(lc, defelems)
	{
		DefElem    *def = lfirst(lc);

		if (strcmp(def->defname, "loopback") == 0)
			loopback = parse_flag(sm_option_find("loopback"), def);
		else if (strcmp(def->defname, "host") == 0 ||
				 strcmp(def->defname, "hostaddr") == 0 ||
				 strcmp(def->defname, "port") == 0 ||
				 strcmp(def->defname, "service") == 0)
			address = def->defname;
	}
	if (loopback && address != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"%s\" and \"%s\" contradict each other",
						"loopback", address),
				 errdetail("A loopback server is this same cluster, reached through its own socket.")));
}

/* The validator of the foreign-data wrapper sessmgr. */
Datum
sessmgr_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *defelems = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	Given		given = {0};
	ListCell   *lc;

	foreach(lc, defelems)
	{
		DefElem    *def = lfirst(lc);

		if (catalog != ForeignServerRelationId && catalog != UserMappingRelationId)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", sm_option_clip(def->defname)),
					 errhint("There are no valid options in this context.")));
		validate_option(def,
						catalog == ForeignServerRelationId ? SM_IN_SERVER : SM_IN_MAPPING,
						&given);
	}
	clean_up_autocommit(&given);
	validate_loopback(defelems);
	PG_RETURN_VOID();
}

/*
 * Take from another wrapper's server or mapping what libpq understands; the
 * rest is that wrapper's own business.
 */
static void
apply_foreign_option(DefElem *def, SmTarget *target)
{
	const char *name = def->defname;
	const char *value = defGetString(def);
	SmKeywordClass class = sm_keyword_class(name, value);

	if (strcmp(name, "password_required") == 0)
		target->password_required = defGetBoolean(def);
	else if (strcmp(name, "connect_timeout") == 0)
		target->engine.connect_timeout = sm_option_libpq_timeout(value);
	else if (class == SM_KEYWORD_ANY || class == SM_KEYWORD_SUPERUSER)
		sm_options_set_keyword(target, name, value);
}

/*
 * Apply the options of a foreign server or a user mapping ("context" is the
 * catalog's oid).  only_libpq: it belongs to another wrapper.
 */
void
sm_options_apply_catalog(List *defelems, Oid context, bool only_libpq, SmTarget *target)
{
	int			place = context == ForeignServerRelationId ? SM_IN_SERVER : SM_IN_MAPPING;
	Given		given = {0};
	ListCell   *lc;

	foreach(lc, defelems)
	{
		DefElem    *def = lfirst(lc);
		const SmOption *option = sm_option_find(def->defname);

		if (only_libpq)
			apply_foreign_option(def, target);
		else if (option != NULL && (option->contexts & place) != 0)
		{
			if (strcmp(option->name, "loopback") == 0)
				target->loopback = parse_flag(option, def);
			else if (strcmp(option->name, "password_required") == 0)
				target->password_required = parse_flag(option, def);
			else
				give(&given, option, defGetString(def));
		}
		else if (sm_keyword_class(def->defname, NULL) == SM_KEYWORD_ANY ||
				 sm_keyword_class(def->defname, NULL) == SM_KEYWORD_SUPERUSER)
			sm_options_set_keyword(target, def->defname, defGetString(def));
		else
			unknown_option(def->defname, place);
	}
	clean_up_autocommit(&given);
	apply_given(&given, &target->engine, &target->session);
}

/* ----------
 * Calls
 * ----------
 */

/* The members of a JSON object, in its own (sorted) order. */
static List *
object_members(JsonbContainer *object)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	v;
	Pair	   *pair = NULL;
	List	   *members = NIL;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			pair = palloc(sizeof(Pair));
			pair->name = pnstrdup(v.val.string.val, v.val.string.len);
		}
		else if (token == WJB_VALUE)
		{
			pair->value = v;
			members = lappend(members, pair);
		}
	}
	return members;
}

/*
 * A member's value as text: a string, a number or a boolean, the latter as
 * "yes" or "no" are to say.
 */
static char *
member_text(const Pair *pair, const char *yes, const char *no)
{
	switch (pair->value.type)
	{
		case jbvString:
			return pnstrdup(pair->value.val.string.val, pair->value.val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(pair->value.val.numeric)));
		case jbvBool:
			return pstrdup(pair->value.val.boolean ? yes : no);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\"", sm_option_clip(pair->name)),
					 errdetail("The value must be a JSON string, number or boolean."),
					 pair->value.type == jbvNull ?
					 errhint("Leave the option out to have its default.") : 0));
	}
	return NULL;
}

static void
read_connect_args(const Pair *pair, Given *given)
{
	if (pair->value.type != jbvBinary ||
		!JsonContainerIsObject(pair->value.val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", pair->name),
				 errdetail("The value must be a JSON object with connection options of libpq.")));
	given->connect_args = object_members(pair->value.val.binary.data);
	given->has_connect_args = true;
}

/*
 * Read the options of a call, which may be NULL.  False if there are none.
 */
static bool
read_call(Jsonb *call, Given *given)
{
	List	   *members;
	ListCell   *lc;

	memset(given, 0, sizeof(*given));
	if (call == NULL)
		return false;
	if (!JB_ROOT_IS_OBJECT(call))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object"),
				 errhint("Write them as in '{\"pool_size\": 10}'.")));
	if (JB_ROOT_COUNT(call) == 0)
		return false;

	members = object_members(&call->root);
	foreach(lc, members)
	{
		const Pair *pair = lfirst(lc);
		const SmOption *option = sm_option_find(pair->name);

		if (option == NULL || (option->contexts & SM_IN_CALL) == 0)
			unknown_option(pair->name, SM_IN_CALL);
		if (option->type == SM_TYPE_OBJECT)
			read_connect_args(pair, given);
		else
			give(given, option, member_text(pair, "true", "false"));
	}
	clean_up_autocommit(given);
	return true;
}

/* May this role give this keyword in a call for this target? */
static void
check_connect_arg(const Pair *pair, const char *value, const SmTarget *target)
{
	const char *name = pair->name;

	if (strcmp(name, "connect_timeout") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" cannot be set in \"%s\"", name, "connect_args"),
				 errhint("Use the option \"connect_timeout\".")));
	if (sm_keyword_class(name, NULL) == SM_KEYWORD_UNKNOWN)
	{
		const char *hint = sm_keyword_hint(name);

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid connection option \"%s\"", sm_option_clip(name)),
				 hint != NULL ? errhint("%s", hint) : 0));
	}
	sm_keyword_check(name, value, target->roleid);
	if (target->kind != SM_TARGET_CONNINFO && !sm_keyword_harmless(name) &&
		!superuser_arg(target->roleid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set connection option \"%s\"", name),
				 errdetail("Only superusers may set it for a foreign server or a loopback connection.")));
}

/* Nothing of what an engine's options are about exists in this very backend. */
static void
refuse_engine_options(const Given *given)
{
	const char *option = given->connect_args != NIL ? "connect_args" : NULL;

	for (int i = 0; i < sm_option_count; i++)
	{
		if (given->set[i] && sm_option_table[i].owner == SM_OPTION_ENGINE)
			option = sm_option_table[i].name;
	}
	if (option != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"%s\" cannot be used with \"spi:\"", option),
				 errdetail("This target has no connection.")));
}

/*
 * Apply the options of a call to the target.  Its kind and role decide what
 * is allowed in connect_args.
 */
void
sm_options_apply_call(Jsonb *call, SmTarget *target)
{
	Given		given;
	ListCell   *lc;

	if (!read_call(call, &given))
		return;
	for (int i = 0; i < sm_option_count; i++)
	{
		if (given.set[i] && sm_option_table[i].superuser_only &&
			!superuser_arg(target->roleid))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set option \"%s\"",
							sm_option_table[i].name)));
	}
	if (target->kind == SM_TARGET_SPI)
		refuse_engine_options(&given);
	apply_given(&given, &target->engine, &target->session);

	foreach(lc, given.connect_args)
	{
		const Pair *pair = lfirst(lc);
		char	   *value = member_text(pair, "1", "0");

		check_connect_arg(pair, value, target);
		sm_options_set_keyword(target, pair->name, value);
	}
}

/*
 * Apply the session options of a call.  Its engine options are not looked at,
 * as they were applied when the engine was made, or compared with it since.
 */
void
sm_options_apply_session(Jsonb *call, SmSessionOptions *session)
{
	Given		given;

	if (read_call(call, &given))
		apply_given(&given, NULL, session);
}

/*
 * The options of a call without those of sessions, after all of them were
 * found to be valid.
 */
Jsonb *
sm_options_engine_part(Jsonb *call)
{
	Given		given;
	Datum		rest = JsonbPGetDatum(call);

	if (!read_call(call, &given))
		return call;
	for (int i = 0; i < sm_option_count; i++)
	{
		if (sm_option_table[i].owner == SM_OPTION_SESSION)
			rest = DirectFunctionCall2(jsonb_delete, rest,
									   CStringGetTextDatum(sm_option_table[i].name));
	}
	return DatumGetJsonbP(rest);
}

/* Are these the same keywords, with the same values? */
static bool
same_connect_args(List *a, List *b)
{
	ListCell   *la;
	ListCell   *lb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(la, a, lb, b)
	{
		const Pair *pa = lfirst(la);
		const Pair *pb = lfirst(lb);

		if (strcmp(pa->name, pb->name) != 0 ||
			strcmp(member_text(pa, "1", "0"), member_text(pb, "1", "0")) != 0)
			return false;
	}
	return true;
}

static void
pg_attribute_noreturn()
not_the_same(const char *label, const char *option, const char *has, const char *asked)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("engine \"%s\" exists with another value of option \"%s\"",
					label, option),
			 has != NULL ?
			 errdetail("The engine has %s, the call asks for %s.", has, asked) : 0,
			 errhint("Call sessmgr.invalidate() first to make the engine anew.")));
}

/*
 * The call's options must not contradict an engine that exists already.  Only
 * those given are compared.
 */
void
sm_options_check_same(Jsonb *call, const SmEndpoint *endpoint)
{
	Given		given;
	Given		made;

	if (!read_call(call, &given))
		return;
	if (!endpoint->remote)
		refuse_engine_options(&given);
	for (int i = 0; i < sm_option_count; i++)
	{
		const SmOption *option = &sm_option_table[i];
		int			has;

		if (!given.set[i])
			continue;
		if (option->owner == SM_OPTION_ENGINE)
			has = *(const int *) ((const char *) &endpoint->options + option->offset);
		else if (option->owner == SM_OPTION_SESSION)
			has = *(const int *) ((const char *) &endpoint->session + option->offset);
		else
			continue;
		if (has != given.value[i])
			not_the_same(endpoint->label, option->name,
						 sm_option_format(option, has),
						 sm_option_format(option, given.value[i]));
	}

	if (!given.has_connect_args)
		return;
	read_call(endpoint->call_options, &made);
	if (!same_connect_args(given.connect_args, made.connect_args))
		not_the_same(endpoint->label, "connect_args", NULL, NULL);
}

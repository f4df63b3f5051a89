/*-------------------------------------------------------------------------
 *
 * options.c
 *		The table of all options, and what follows from it alone: reading and
 *		printing a value, the settings, and the list for the documentation.
 *
 * Every option has one line in sm_option_table and is described nowhere else.
 * What is done with options given in a call or in the catalogs is in
 * options_apply.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "target/target_private.h"

PG_FUNCTION_INFO_V1(sm_options_list);

uint64		sm_generation = 1;

/* about as long as an int has milliseconds for, and easy to read */
#define MAX_DAYS		24
#define MAX_SECONDS		(MAX_DAYS * SECS_PER_DAY)
#define MAX_TIME		(MAX_SECONDS * 1000)

static const struct config_enum_entry reset_modes[] = {
	{"rollback", SM_RESET_ROLLBACK, false},
	{"discard", SM_RESET_DISCARD, false},
	{"none", SM_RESET_NONE, false},
	{NULL, 0, false}
};

static const struct config_enum_entry pool_classes[] = {
	{"QueuePool", SM_POOL_QUEUE, false},
	{"NullPool", SM_POOL_NULL, false},
	{NULL, 0, false}
};

static const struct config_enum_entry binary_modes[] = {
	{"auto", SM_BINARY_AUTO, false},
	{"off", SM_BINARY_OFF, false},
	{NULL, 0, false}
};

static const struct config_enum_entry pooler_modes[] = {
	{"auto", SM_POOLER_AUTO, false},
	{"session", SM_POOLER_SESSION, false},
	{"transaction", SM_POOLER_TRANSACTION, false},
	{NULL, 0, false}
};

static const struct config_enum_entry transaction_modes[] = {
	{"manual", SM_TXN_MANUAL, false},
	{"autocommit", SM_TXN_AUTOCOMMIT, false},
	{"joined", SM_TXN_JOINED, false},
	{"two_phase", SM_TXN_TWO_PHASE, false},
	{NULL, 0, false}
};

static const struct config_enum_entry isolation_levels[] = {
	{"default", SM_ISOLATION_DEFAULT, false},
	{"READ UNCOMMITTED", SM_ISOLATION_READ_UNCOMMITTED, false},
	{"READ_UNCOMMITTED", SM_ISOLATION_READ_UNCOMMITTED, true},
	{"READ COMMITTED", SM_ISOLATION_READ_COMMITTED, false},
	{"READ_COMMITTED", SM_ISOLATION_READ_COMMITTED, true},
	{"REPEATABLE READ", SM_ISOLATION_REPEATABLE_READ, false},
	{"REPEATABLE_READ", SM_ISOLATION_REPEATABLE_READ, true},
	{"SERIALIZABLE", SM_ISOLATION_SERIALIZABLE, false},
	{"AUTOCOMMIT", SM_ISOLATION_AUTOCOMMIT, false},
	{NULL, 0, false}
};

/* To be shown; what is read is whatever parse_bool() takes, too. */
static const struct config_enum_entry tristates[] = {
	{"default", SM_UNSET, false},
	{"on", SM_ON, false},
	{"off", SM_OFF, false},
	{NULL, 0, false}
};

#define in_engine(field)	SM_OPTION_ENGINE, offsetof(SmEngineOptions, field)
#define in_session(field)	SM_OPTION_SESSION, offsetof(SmSessionOptions, field)
#define TARGET			SM_OPTION_TARGET, 0

/*
 * name, contexts, owner and place; type, least, greatest and default value,
 * named values; superuser only; description
 */
const SmOption sm_option_table[] = {
	{"pool_size", SM_EVERYWHERE, in_engine(pool_size),
		SM_TYPE_INT, 1, 10000, 5, NULL, false,
	"How many idle connections of the engine are kept for reuse."},
	{"max_overflow", SM_EVERYWHERE, in_engine(max_overflow),
		SM_TYPE_INT, -1, 10000, 10, NULL, false,
	"How many connections may be open beyond pool_size at a time; -1 means any number."},
	{"pool_timeout", SM_EVERYWHERE, in_engine(pool_timeout),
		SM_TYPE_SECONDS, 0, MAX_TIME, 30000, NULL, false,
	"How long execute_all waits for a connection when the pool's limit is reached."},
	{"pool_recycle", SM_EVERYWHERE, in_engine(pool_recycle),
		SM_TYPE_SECONDS, -1, MAX_TIME, -1, NULL, false,
	"Connections older than this (or up to 10 % less, at random) are not reused; -1 means they never age."},
	{"pool_pre_ping", SM_EVERYWHERE, in_engine(pool_pre_ping),
		SM_TYPE_BOOL, 0, 1, false, NULL, false,
	"Test an idle connection with a round trip before it is reused."},
	{"pool_use_lifo", SM_EVERYWHERE, in_engine(pool_use_lifo),
		SM_TYPE_BOOL, 0, 1, true, NULL, false,
	"Reuse the idle connection that was used last, rather than the one that has waited longest."},
	{"pool_reset_on_return", SM_EXPLICIT, in_engine(pool_reset_on_return),
		SM_TYPE_ENUM, 0, 0, SM_RESET_ROLLBACK, reset_modes, false,
	"How a connection is cleaned when it goes back to the pool."},
	{"poolclass", SM_EXPLICIT, in_engine(poolclass),
		SM_TYPE_ENUM, 0, 0, SM_POOL_QUEUE, pool_classes, false,
	"QueuePool keeps connections for reuse; NullPool closes each after its use."},
	{"idle_timeout", SM_EVERYWHERE, in_engine(idle_timeout),
		SM_TYPE_TIME, 0, MAX_TIME, 600000, NULL, false,
	"How long a connection may be idle before it is closed; 0 means any time."},
	{"connect_timeout", SM_EVERYWHERE, in_engine(connect_timeout),
		SM_TYPE_SECONDS, 1, MAX_TIME, 15000, NULL, false,
	"How long connecting may take."},
	{"statement_timeout", SM_EVERYWHERE, in_engine(statement_timeout),
		SM_TYPE_TIME, 0, MAX_TIME, 0, NULL, false,
	"How long a statement may take before it is canceled; 0 means any time."},
	{"commit_timeout", SM_EVERYWHERE, in_engine(commit_timeout),
		SM_TYPE_TIME, 1, MAX_TIME, 60000, NULL, false,
	"How long to wait for the answer to a COMMIT."},
	{"cleanup_timeout", SM_EVERYWHERE, in_engine(cleanup_timeout),
		SM_TYPE_TIME, 1, MAX_TIME, 10000, NULL, false,
	"How long canceling and rolling back after an error may take, for all connections together."},
	{"statement_cache_size", SM_EVERYWHERE, in_engine(statement_cache_size),
		SM_TYPE_INT, 0, 10000, 100, NULL, false,
	"How many prepared statements a connection keeps."},
	{"binary", SM_EVERYWHERE, in_engine(binary),
		SM_TYPE_ENUM, 0, 0, SM_BINARY_AUTO, binary_modes, false,
	"Whether values travel in binary form: auto, where both sides surely have the same; off, never."},
	{"pooler", SM_EXPLICIT, in_engine(pooler),
		SM_TYPE_ENUM, 0, 0, SM_POOLER_AUTO, pooler_modes, false,
	"What a connection pooler before the target, such as PgBouncer, keeps for a client: its session, or only each transaction; auto finds out whether there is one, and then takes it for the latter."},
	{"echo", SM_EVERYWHERE, in_engine(echo),
		SM_TYPE_BOOL, 0, 1, false, NULL, false,
	"Show every statement with its parameters, as a message of level INFO, before it is sent."},
	{"hide_parameters", SM_EVERYWHERE, in_engine(hide_parameters),
		SM_TYPE_BOOL, 0, 1, false, NULL, false,
	"Leave statements out of error contexts, and parameters out of what echo shows."},
	{"transaction", SM_EXPLICIT, in_session(transaction),
		SM_TYPE_ENUM, 0, 0, SM_TXN_MANUAL, transaction_modes, false,
	"What a session's statements are part of: a transaction until it is ended (manual), each one of its own (autocommit), or the local transaction (joined, two_phase)."},
	{"isolation_level", SM_EXPLICIT, in_session(isolation_level),
		SM_TYPE_ENUM, 0, 0, SM_ISOLATION_DEFAULT, isolation_levels, false,
	"Isolation level of a session's transactions; AUTOCOMMIT is another way to say transaction 'autocommit'."},
	{"read_only", SM_EXPLICIT, in_session(read_only),
		SM_TYPE_TRISTATE, 0, 0, SM_UNSET, tristates, false,
	"Whether a session's transactions are read only."},
	{"deferrable", SM_EXPLICIT, in_session(deferrable),
		SM_TYPE_TRISTATE, 0, 0, SM_UNSET, tristates, false,
	"Whether a session's serializable read-only transactions wait for a safe snapshot."},
	{"hold", SM_EXPLICIT, in_session(hold),
		SM_TYPE_BOOL, 0, 1, false, NULL, false,
	"Keep a session open beyond the commit of the transaction that opened it."},
	{"connect_args", SM_IN_CALL, TARGET,
		SM_TYPE_OBJECT, 0, 0, 0, NULL, false,
	"Connection options of libpq, as a JSON object."},
	{"loopback", SM_IN_SERVER, TARGET,
		SM_TYPE_BOOL, 0, 1, false, NULL, false,
	"The server is this same cluster, reached through its own socket."},
	{"password_required", SM_IN_MAPPING, TARGET,
		SM_TYPE_BOOL, 0, 1, true, NULL, true,
	"Roles that are not superuser must connect with a password; switching it off is for superusers."},
};

const int	sm_option_count = lengthof(sm_option_table);

/* The settings' variables, one for each line of the table. */
typedef union Setting
{
	bool		b;
	int			i;
	double		r;
} Setting;

static Setting settings[lengthof(sm_option_table)];

/* ----------
 * Values
 * ----------
 */

const SmOption *
sm_option_find(const char *name)
{
	for (int i = 0; i < sm_option_count; i++)
	{
		if (strcmp(sm_option_table[i].name, name) == 0)
			return &sm_option_table[i];
	}
	return NULL;
}

/*
 * A hint about what libpq does not know as a connection option, or NULL: what
 * it was probably meant to be, or where it belongs if it is an option of ours.
 */
char *
sm_keyword_hint(const char *name)
{
	const SmAlias *alias = sm_alias_find(name);
	const char *match = alias ? alias->meant : name;

	if (sm_option_find(match) != NULL && sm_keyword_class(match, NULL) == SM_KEYWORD_UNKNOWN)
		return psprintf("\"%s\" is an option of sessmgr, and belongs here: %s.", match,
						sm_option_contexts(sm_option_find(match)->contexts));
	if (alias == NULL)
		match = sm_closest_match(name, sm_keyword_names(SM_IN_CALL));
	return match != NULL ? psprintf("Perhaps you meant the option \"%s\".", match) : NULL;
}

/* A value or name from the user, short enough for a message. */
char *
sm_option_clip(const char *value)
{
	int			len = strlen(value);

	if (len < NAMEDATALEN)
		return pstrdup(value);
	return psprintf("%.*s...", pg_mbcliplen(value, len, NAMEDATALEN - 1), value);
}

/* Where an option may stand, in words. */
char *
sm_option_contexts(int contexts)
{
	return psprintf("%s%s%s%s%s",
					contexts & SM_IN_SERVER ? "server" : "",
					(contexts & SM_IN_SERVER) && (contexts & SM_IN_MAPPING) ? ", " : "",
					contexts & SM_IN_MAPPING ? "user mapping" : "",
					(contexts & SM_IN_CALL) && contexts != SM_IN_CALL ? ", " : "",
					contexts & SM_IN_CALL ? "call" : "");
}

/* The values that an option takes, in words. */
static char *
valid_values(const SmOption *option)
{
	StringInfoData buf;

	initStringInfo(&buf);
	switch (option->type)
	{
		case SM_TYPE_INT:
			appendStringInfo(&buf, "%d to %d", option->min, option->max);
			break;
		case SM_TYPE_BOOL:
			appendStringInfoString(&buf, "on, off");
			break;
		case SM_TYPE_SECONDS:
		case SM_TYPE_TIME:
			Assert(option->max == MAX_TIME);
			appendStringInfo(&buf, "%s to %d days",
							 option->min < 0 ? "-1, or 0" : option->min == 0 ? "0" : "1 ms",
							 MAX_DAYS);
			break;
		case SM_TYPE_OBJECT:
			appendStringInfoString(&buf, "a JSON object");
			break;
		case SM_TYPE_TRISTATE:
		case SM_TYPE_ENUM:
			for (const struct config_enum_entry *e = option->values; e->name; e++)
			{
				if (!e->hidden)
					appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", e->name);
			}
			break;
	}
	return buf.data;
}

static void
pg_attribute_noreturn()
invalid_value(const SmOption *option, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"",
					option->name, sm_option_clip(value)),
			 errdetail("Valid values: %s.", valid_values(option)),
			 hint ? errhint("%s", hint) : 0));
}

static int
parse_integer(const SmOption *option, const char *value)
{
	double		number;

	if (!parse_real(value, &number, 0, NULL) || rint(number) != number ||
		number < option->min || number > option->max)
		invalid_value(option, value, NULL);
	return (int) number;
}

/*
 * A time in milliseconds.  What is more than nothing must not become 0, which
 * is something else.
 */
static int
parse_time(const SmOption *option, const char *value)
{
	double		number;

	/* does it say a unit? */
	if (parse_real(value, &number, 0, NULL))
	{
		if (number == -1 && option->min == -1)
			return -1;
		if (option->type == SM_TYPE_SECONDS)
			number *= 1000;
		else if (number != 0)
			invalid_value(option, value,
						  "Give the time a unit, as in \"500ms\", \"2s\" or \"1min\".");
	}
	else if (!parse_real(value, &number, GUC_UNIT_MS, NULL))
		invalid_value(option, value,
					  "Valid units are \"us\", \"ms\", \"s\", \"min\", \"h\" and \"d\".");

	if (number > 0 && number < 1)
		number = 1;
	number = rint(number);
	if (number < Max(option->min, 0) || number > option->max)
		invalid_value(option, value, NULL);
	return (int) number;
}

static int
parse_enum(const SmOption *option, const char *value)
{
	for (const struct config_enum_entry *e = option->values; e->name; e++)
	{
		if (pg_strcasecmp(value, e->name) == 0)
			return e->val;
	}
	invalid_value(option, value, NULL);
}

/* A value as it stands in a call or in the catalogs; errors are 22023. */
int
sm_option_parse(const SmOption *option, const char *value)
{
	bool		flag;

	switch (option->type)
	{
		case SM_TYPE_INT:
			return parse_integer(option, value);
		case SM_TYPE_SECONDS:
		case SM_TYPE_TIME:
			return parse_time(option, value);
		case SM_TYPE_ENUM:
			return parse_enum(option, value);
		case SM_TYPE_TRISTATE:
			if (pg_strcasecmp(value, "default") == 0)
				return SM_UNSET;
			if (parse_bool(value, &flag))
				return flag ? SM_ON : SM_OFF;
			break;
		case SM_TYPE_BOOL:
			if (parse_bool(value, &flag))
				return flag;
			break;
		case SM_TYPE_OBJECT:
			break;
	}
	invalid_value(option, value, NULL);
}

/*
 * libpq's own connect_timeout, from a URI or another wrapper's server: whole
 * seconds, and "no limit" if not positive.
 */
int
sm_option_libpq_timeout(const char *value)
{
	double		seconds;

	if (!parse_real(value, &seconds, 0, NULL) || rint(seconds) != seconds)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for connection option \"%s\": \"%s\"",
						"connect_timeout", sm_option_clip(value)),
				 errdetail("It must be a whole number of seconds.")));
	if (seconds <= 0 || seconds > MAX_SECONDS)
		return MAX_TIME;
	return (int) seconds * 1000;
}

/* A value in the form that a person would write. */
char *
sm_option_format(const SmOption *option, int value)
{
	switch (option->type)
	{
		case SM_TYPE_INT:
			break;
		case SM_TYPE_BOOL:
			return pstrdup(value ? "on" : "off");
		case SM_TYPE_SECONDS:
		case SM_TYPE_TIME:
			if (value <= 0)
				break;
			return value % 1000 == 0 ? psprintf("%ds", value / 1000) : psprintf("%dms", value);
		case SM_TYPE_OBJECT:
			return pstrdup("{}");
		case SM_TYPE_TRISTATE:
		case SM_TYPE_ENUM:
			for (const struct config_enum_entry *e = option->values; e->name; e++)
			{
				if (e->val == value)
					return pstrdup(e->name);
			}
			break;
	}
	return psprintf("%d", value);
}

/* ----------
 * Settings
 * ----------
 */

/* Engines were made with the settings of their time: let them look again. */
static void
assign_bool(bool newval, void *extra)
{
	(void) newval;
	(void) extra;
	sm_generation++;
}

static void
assign_int(int newval, void *extra)
{
	(void) newval;
	(void) extra;
	sm_generation++;
}

static void
assign_real(double newval, void *extra)
{
	(void) newval;
	(void) extra;
	sm_generation++;
}

static bool
has_setting(const SmOption *option)
{
	return (option->contexts & SM_IN_SETTING) != 0;
}

static void
define_setting(const SmOption *option, Setting *setting)
{
	char	   *name = psprintf("sessmgr.%s", option->name);
	GucContext	context = option->superuser_only ? PGC_SUSET : PGC_USERSET;

	if (!sm_setting_missing(name))
		return;
	switch (option->type)
	{
		case SM_TYPE_BOOL:
			DefineCustomBoolVariable(name, option->description, NULL, &setting->b,
									 option->preset, context, 0,
									 NULL, assign_bool, NULL);
			break;
		case SM_TYPE_ENUM:
			DefineCustomEnumVariable(name, option->description, NULL, &setting->i,
									 option->preset, option->values, context, 0,
									 NULL, assign_int, NULL);
			break;
		case SM_TYPE_INT:
		case SM_TYPE_TIME:
			DefineCustomIntVariable(name, option->description, NULL, &setting->i,
									option->preset, option->min, option->max, context,
									option->type == SM_TYPE_TIME ? GUC_UNIT_MS : 0,
									NULL, assign_int, NULL);
			break;
		case SM_TYPE_SECONDS:

			/* a real number, so that "500ms" is not rounded to 0 or 1 s */
			DefineCustomRealVariable(name, option->description, NULL, &setting->r,
									 option->preset < 0 ? -1 : option->preset / 1000.0,
									 option->min < 0 ? -1 : option->min / 1000.0,
									 MAX_SECONDS, context, GUC_UNIT_S,
									 NULL, assign_real, NULL);
			break;
		case SM_TYPE_TRISTATE:
		case SM_TYPE_OBJECT:
			Assert(false);
			break;
	}
	pfree(name);
}

/* Is there none yet, but for what was set under this name before there was one? */
bool
sm_setting_missing(const char *name)
{
	return GetConfigOption(name, true, false) == NULL ||
		(GetConfigOptionFlags(name, true) & GUC_CUSTOM_PLACEHOLDER) != 0;
}

/*
 * Define the settings "sessmgr.<option>".  The prefix is reserved after them,
 * so all other settings of ours must have been defined before.
 */
void
sm_options_init(void)
{
	for (int i = 0; i < sm_option_count; i++)
	{
		if (has_setting(&sm_option_table[i]))
			define_setting(&sm_option_table[i], &settings[i]);
	}
	MarkGUCPrefixReserved("sessmgr");
}

static int
setting_value(const SmOption *option, const Setting *setting)
{
	if (option->type == SM_TYPE_BOOL)
		return setting->b;
	if (option->type != SM_TYPE_SECONDS)
		return setting->i;
	if (setting->r < 0)
		return -1;
	if (setting->r > 0 && setting->r < 0.001)
		return 1;
	return (int) rint(setting->r * 1000);
}

/* Fill both structs from the settings, and where there is none as built in. */
void
sm_options_defaults(SmEngineOptions *engine, SmSessionOptions *session)
{
	for (int i = 0; i < sm_option_count; i++)
	{
		const SmOption *option = &sm_option_table[i];
		int			value;

		value = has_setting(option) ? setting_value(option, &settings[i]) : option->preset;
		if (option->owner == SM_OPTION_ENGINE)
			*(int *) ((char *) engine + option->offset) = value;
		else if (option->owner == SM_OPTION_SESSION)
			*(int *) ((char *) session + option->offset) = value;
	}
}

/* ----------
 * The list for the documentation
 * ----------
 */

static const char *
type_name(const SmOption *option)
{
	switch (option->type)
	{
		case SM_TYPE_INT:
			return psprintf("integer, %s", valid_values(option));
		case SM_TYPE_BOOL:
			return "boolean";
		case SM_TYPE_TRISTATE:
		case SM_TYPE_ENUM:
			return valid_values(option);
		case SM_TYPE_SECONDS:
		case SM_TYPE_TIME:
			return option->min < 0 ? "time, or -1" : "time";
		case SM_TYPE_OBJECT:
			return "object";
	}
	return NULL;
}

/*
 * sessmgr.options(): name, contexts, belongs_to, type, unit (of a bare number;
 * "required" if there must be one), default_value, setting, superuser_only,
 * description.
 */
Datum
sm_options_list(PG_FUNCTION_ARGS)
{
	static const char *const owners[] = {"engine", "session", "target"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < sm_option_count; i++)
	{
		const SmOption *option = &sm_option_table[i];
		Datum		values[9];
		bool		nulls[9] = {0};

		values[0] = CStringGetTextDatum(option->name);
		values[1] = CStringGetTextDatum(sm_option_contexts(option->contexts));
		values[2] = CStringGetTextDatum(owners[option->owner]);
		values[3] = CStringGetTextDatum(type_name(option));
		nulls[4] = option->type != SM_TYPE_SECONDS && option->type != SM_TYPE_TIME;
		values[4] = CStringGetTextDatum(option->type == SM_TYPE_SECONDS ? "s" : "required");
		values[5] = CStringGetTextDatum(sm_option_format(option, option->preset));
		nulls[6] = !has_setting(option);
		values[6] = CStringGetTextDatum(psprintf("sessmgr.%s", option->name));
		values[7] = BoolGetDatum(option->superuser_only);
		values[8] = CStringGetTextDatum(option->description);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

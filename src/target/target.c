/*-------------------------------------------------------------------------
 *
 * target.c
 *		From a dburi to all that is needed to reach its target.
 *
 * The places where options stand are applied from the weakest to the
 * strongest: settings, server (or URI), user mapping, call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "postmaster/postmaster.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "target/target_private.h"

#define WRAPPER		"sessmgr"

/* ----------
 * Named servers
 * ----------
 */

/* What a name could be taken for: built-in targets, and servers that the role may use. */
static List *
target_names(Oid roleid)
{
	static const char *const wrappers[] = {WRAPPER, "postgres_fdw", "dblink_fdw"};
	List	   *names = list_make2("loopback:", "spi:");
	Relation	rel = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_server server = (Form_pg_foreign_server) GETSTRUCT(tuple);

		for (size_t i = 0; i < lengthof(wrappers); i++)
		{
			if (server->srvfdw == get_foreign_data_wrapper_oid(wrappers[i], true) &&
				sm_server_aclcheck(server->oid, roleid, ACL_USAGE) == ACLCHECK_OK)
				names = lappend(names, pstrdup(NameStr(server->srvname)));
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return names;
}

/* The name without quotes around it, where it has some. */
static char *
without_quotes(const char *name)
{
	size_t		len = strlen(name);

	if (len > 2 && strchr("\"'`", name[0]) != NULL && name[len - 1] == name[0])
		return pnstrdup(name + 1, len - 2);
	return pstrdup(name);
}

static void
pg_attribute_noreturn()
report_no_server(const char *name, Oid roleid)
{
	char	   *plain = without_quotes(name);
	bool		quoted = strcmp(plain, name) != 0;
	const char *match = sm_closest_match(plain, target_names(roleid));

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("server \"%s\" does not exist", name),
			 quoted && match ? errhint("Perhaps you meant \"%s\", written without quotes of its own.", match) :
			 quoted ? errhint("The name of a server is written without quotes of its own.") :
			 match ? errhint("Perhaps you meant \"%s\".", match) : 0));
}

/*
 * The server of this name, exactly.  A longer name than any must not find the
 * one that begins with it.
 */
static ForeignServer *
get_server(const char *name, Oid roleid)
{
	ForeignServer *server = NULL;

	if (strlen(name) < NAMEDATALEN)
		server = GetForeignServerByName(name, true);
	if (server == NULL)
		report_no_server(name, roleid);
	return server;
}

/*
 * Is it a server of another wrapper whose connection options are libpq's?
 * Error 42809 if it is of a wrapper that we cannot read.
 */
static bool
is_foreign_server(const ForeignServer *server)
{
	const char *wrapper = GetForeignDataWrapper(server->fdwid)->fdwname;

	if (strcmp(wrapper, WRAPPER) == 0)
		return false;
	if (strcmp(wrapper, "postgres_fdw") == 0 || strcmp(wrapper, "dblink_fdw") == 0)
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("server \"%s\" is not a PostgreSQL server", server->servername),
			 errdetail("It belongs to foreign-data wrapper \"%s\".", wrapper),
			 errhint("Use a server of wrapper sessmgr, postgres_fdw or dblink_fdw.")));
}

/*
 * Another wrapper may let the owner of a server set what we keep for
 * superusers, such as files of this machine.  Then its owner must be one.
 */
static void
check_foreign_server(const ForeignServer *server)
{
	ListCell   *lc;

	if (superuser_arg(server->owner))
		return;
	foreach(lc, server->options)
	{
		DefElem    *def = lfirst(lc);

		if (sm_keyword_class(def->defname, strVal(def->arg)) == SM_KEYWORD_SUPERUSER)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("connection option \"%s\" of server \"%s\" cannot be used",
							def->defname, server->servername),
					 errdetail("Only superusers may set it, but the server's owner is not superuser.")));
	}
}

/* The role's user mapping, or the one for PUBLIC; NULL if there is none. */
static UserMapping *
get_mapping(Oid roleid, Oid serverid)
{
	if (!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(roleid), ObjectIdGetDatum(serverid)) &&
		!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(serverid)))
		return NULL;
	return GetUserMapping(roleid, serverid);
}

/* This cluster's own address, and the current database unless another is given. */
static void
set_loopback(SmTarget *target, const char *dbname)
{
	char	   *directories = pstrdup(Unix_socket_directories);
	List	   *list = NIL;
	const char *host = "localhost";

	if (SplitDirectoriesString(directories, ',', &list) && list != NIL)
		host = linitial(list);
	sm_options_set_keyword(target, "host", host);
	sm_options_set_keyword(target, "port", psprintf("%d", PostPortNumber));

	if (dbname == NULL)
		dbname = get_database_name(MyDatabaseId);
	sm_options_set_keyword(target, "dbname", dbname);
}

/* A loopback server has no other address. */
static void
set_server_loopback(SmTarget *target, const char *name)
{
	if (sm_options_keyword(target, "host") || sm_options_keyword(target, "hostaddr") ||
		sm_options_keyword(target, "port") || sm_options_keyword(target, "service"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("server \"%s\" is a loopback server but has an address of its own",
						name)));
	set_loopback(target, sm_options_keyword(target, "dbname"));
}

/* Apply the options of a named server and its user mapping. */
static void
resolve_server(SmTarget *target, const SmDburi *uri)
{
	ForeignServer *server = get_server(uri->name, target->roleid);
	UserMapping *mapping;
	bool		foreign;

	sm_check_usage(target->roleid, uri, server->serverid, server->fdwid);
	foreign = is_foreign_server(server);
	if (foreign)
		check_foreign_server(server);

	target->serverid = server->serverid;
	sm_options_apply_catalog(server->options, ForeignServerRelationId, foreign, target);

	mapping = get_mapping(target->roleid, server->serverid);
	if (mapping != NULL)
		sm_options_apply_catalog(mapping->options, UserMappingRelationId, foreign, target);
	else if (!target->loopback || !superuser_arg(target->roleid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("user mapping not found for user \"%s\", server \"%s\"",
						GetUserNameFromId(target->roleid, false), server->servername),
				 errhint("Use CREATE USER MAPPING to say as whom to connect.")));

	if (target->loopback)
		set_server_loopback(target, server->servername);
}

/* ----------
 * Literal targets
 * ----------
 */

/* Apply what a URI or a keyword string says. */
static void
resolve_conninfo(SmTarget *target, const char *conninfo)
{
	const SmLibpqOption *option = sm_conninfo_parse(conninfo);

	if (option == NULL)
		elog(ERROR, "libpq cannot read a dburi that it has read before");
	for (; option->keyword != NULL; option++)
	{
		/* client_encoding changes nothing: it is ours in any case */
		if (option->value == NULL || strcmp(option->keyword, "client_encoding") == 0)
			continue;
		sm_keyword_check(option->keyword, option->value, target->roleid);
		if (strcmp(option->keyword, "connect_timeout") == 0)
			target->engine.connect_timeout = sm_option_libpq_timeout(option->value);
		else
			sm_options_set_keyword(target, option->keyword, option->value);
	}
}

/*
 * spi: runs inside the caller's transaction, whose properties are fixed.
 */
void
sm_options_check_spi(const SmSessionOptions *session)
{
	const char *option = NULL;

	if (session->isolation_level != SM_ISOLATION_DEFAULT)
		option = "isolation_level";
	else if (session->read_only != SM_UNSET)
		option = "read_only";
	else if (session->deferrable != SM_UNSET)
		option = "deferrable";
	else if (session->transaction != SM_TXN_MANUAL && session->transaction != SM_TXN_JOINED)
		option = "transaction";
	if (option != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"%s\" cannot be used with \"spi:\"", option),
				 errdetail("This target runs inside the caller's transaction.")));
}

/* ----------
 * Everything together
 * ----------
 */

static void
set_default(SmTarget *target, const char *keyword, const char *value)
{
	if (sm_options_keyword(target, keyword) == NULL)
		sm_options_set_keyword(target, keyword, value);
}

/*
 * What is the same for all connections.  The user is never libpq's default,
 * which is the operating system user of the server.  A peer that vanishes
 * without a word is noticed in half a minute.
 */
static void
set_common_keywords(SmTarget *target)
{
	const char *keepalives = sm_options_keyword(target, "keepalives");

	set_default(target, "user", GetUserNameFromId(target->roleid, false));
	if (keepalives == NULL || strcmp(keepalives, "0") != 0)
	{
		set_default(target, "keepalives_idle", "30");
		set_default(target, "keepalives_interval", "10");
		set_default(target, "keepalives_count", "3");
	}
	set_default(target, "tcp_user_timeout", "30000");
	sm_options_set_keyword(target, "client_encoding", GetDatabaseEncodingName());
	sm_options_set_keyword(target, "fallback_application_name", "sessmgr");
}

/* A hash of all keywords and values, whatever their order. */
static uint64
keywords_hash(const SmTarget *target)
{
	uint64		sum = 0;

	for (int i = 0; target->keywords != NULL && target->keywords[i] != NULL; i++)
	{
		const char *keyword = target->keywords[i];
		const char *value = target->values[i];
		uint64		seed = hash_bytes_extended((const unsigned char *) keyword,
											   strlen(keyword), 0);

		sum += hash_bytes_extended((const unsigned char *) value, strlen(value), seed);
	}
	return sum;
}

/*
 * Find out all about a dburi for a role: parse it, check that the role may use
 * it, and put the options of all places together.  "call" may be NULL.  The
 * result is in the current memory context and holds secrets.
 *
 * Errors: 22023 for what is malformed, 42704 for a server or user mapping that
 * is not there, 42809 for a server of an unknown wrapper, 42501 for what the
 * role may not do, 0A000 for options that spi: cannot have.
 */
SmTarget *
sm_target_resolve(Oid roleid, const char *dburi, Jsonb *call)
{
	SmDburi    *uri = sm_dburi_parse(dburi);
	SmTarget   *target = palloc0(sizeof(SmTarget));

	target->kind = uri->kind;
	target->roleid = roleid;
	target->password_required = true;
	sm_options_defaults(&target->engine, &target->session);

	switch (uri->kind)
	{
		case SM_TARGET_SERVER:
			resolve_server(target, uri);
			break;
		case SM_TARGET_CONNINFO:
			sm_check_usage(roleid, uri, InvalidOid,
						   get_foreign_data_wrapper_oid(WRAPPER, true));
			resolve_conninfo(target, uri->conninfo);
			break;
		case SM_TARGET_LOOPBACK:
			sm_check_usage(roleid, uri, InvalidOid, InvalidOid);
			set_loopback(target, uri->name);
			break;
		case SM_TARGET_SPI:
			sm_check_usage(roleid, uri, InvalidOid, InvalidOid);
			break;
	}

	sm_options_apply_call(call, target);
	if (target->kind == SM_TARGET_SPI)
		sm_options_check_spi(&target->session);
	else
		set_common_keywords(target);

	/* a connection made without a password is none for who now needs one */
	target->fingerprint = keywords_hash(target) + sm_password_must_be_used(target);
	return target;
}

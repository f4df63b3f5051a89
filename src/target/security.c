/*-------------------------------------------------------------------------
 *
 * security.c
 *		Who may use what, before and after connecting.
 *
 * The role that counts is the one that an engine belongs to, given as an oid;
 * only sm_role_entitled() and sm_check_role() ask who is calling, and the
 * sm_audience functions who reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "utils/acl.h"

#include "target/target_private.h"

/*
 * In a security-restricted operation, such as REFRESH MATERIALIZED VIEW or an
 * index expression evaluated by a maintenance command, code of the relation's
 * owner runs as the owner, but in somebody else's session.  There only foreign
 * servers can be used: somebody has granted the owner USAGE on each of them,
 * and who it is to the target his user mapping says.  What is cached for that
 * belongs to the owner.  A literal target could be made up from what the code
 * gets to see, and a handle could have come from the session around it.
 *
 * Nor is this for spi:, as its statements can be run without it.
 */
void
sm_check_restricted_target(bool is_server)
{
	if (unlikely(InSecurityRestrictedOperation()) && !is_server)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot use this target within security-restricted operation"),
				 errdetail("Only foreign servers can be used there.")));
}

/* What would use a handle, or reach what others have open, is refused there. */
void
sm_check_restricted_use(const char *what)
{
	if (unlikely(InSecurityRestrictedOperation()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot use %s within security-restricted operation", what),
				 errdetail("Only foreign servers can be used there, by their names.")));
}

/*
 * Does the current role have the privileges of this one?  What a role made is
 * for itself and for whoever could become it; superusers can.
 */
bool
sm_role_entitled(Oid roleid)
{
	return GetUserId() == roleid || has_privs_of_role(GetUserId(), roleid);
}

/*
 * Error 42501 unless the current role is entitled to what belongs to the role.
 * "what" says what that is: "session", "engine" ...
 */
void
sm_check_role(Oid roleid, const char *what)
{
	char	   *owner;

	if (sm_role_entitled(roleid))
		return;

	owner = GetUserNameFromId(roleid, true);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for %s", what),
			 owner != NULL ?
			 errdetail("It belongs to role \"%s\", whose privileges the current role does not have.",
					   owner) :
			 errdetail("It belongs to a role that does not exist any more.")));
}

/*
 * Messages go to whoever called: inside a SECURITY DEFINER function that is not
 * the current role but the outer one, which SET ROLE has chosen.  Statements and
 * parameters are shown to it only if it has the privileges of the engine's role.
 *
 * Messages are also made where no catalog can be read, as at the end of a
 * transaction.  So this is called before an engine is used, whenever the
 * answer may have become another one.
 */
void
sm_audience_look(SmEndpoint *endpoint)
{
	endpoint->audience = GetOuterUserId();
	endpoint->audience_entitled = has_privs_of_role(endpoint->audience, endpoint->roleid);
}

/* May statements and parameters be shown?  Never throws. */
bool
sm_audience_entitled(const SmEndpoint *endpoint)
{
	return endpoint->audience_entitled && endpoint->audience == GetOuterUserId();
}

/*
 * May the role name this target at all?  serverid is for a named server,
 * wrapperid for a literal one: the wrapper sessmgr, or InvalidOid if there is
 * none.
 */
void
sm_check_usage(Oid roleid, const SmDburi *uri, Oid serverid, Oid wrapperid)
{
	switch (uri->kind)
	{
		case SM_TARGET_SPI:
			break;
		case SM_TARGET_SERVER:
			if (sm_server_aclcheck(serverid, roleid, ACL_USAGE) != ACLCHECK_OK)
				aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FOREIGN_SERVER, uri->name);
			break;
		case SM_TARGET_CONNINFO:
			if (superuser_arg(roleid))
				break;
			if (!OidIsValid(wrapperid) ||
				sm_wrapper_aclcheck(wrapperid, roleid, ACL_USAGE) != ACLCHECK_OK)
				ereport(ERROR,
						(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						 errmsg("permission denied for foreign-data wrapper %s", "sessmgr"),
						 errdetail("Naming a target by its URI needs USAGE on this wrapper."),
						 errhint("Use a foreign server instead.")));
			break;
		case SM_TARGET_LOOPBACK:
			if (!superuser_arg(roleid))
				ereport(ERROR,
						(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						 errmsg("permission denied to use \"loopback:\""),
						 errdetail("Only superusers may connect without a password."),
						 errhint("Use a foreign server with option \"loopback\" and a user mapping with a password.")));
			break;
	}
}

/*
 * Error 2F003 if the target must not be connected to as it is: a role that is
 * not superuser has to bring a password of its own, lest the server's operating
 * system user, password file or certificate speak for it.
 */
void
sm_check_before_connect(const SmTarget *target, const char *label)
{
	if (!sm_password_must_be_used(target) || target->password_given)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
			 errmsg("password is required to connect to \"%s\"", label),
			 errdetail("Non-superusers must provide a password in the %s.",
					   target->kind == SM_TARGET_SERVER ? "user mapping" : "connection string"),
			 target->kind == SM_TARGET_SERVER ?
			 errhint("Set option \"password\" of the user mapping, or have a superuser set \"password_required\" to \"false\".") : 0));
}

/*
 * Must the server have asked for the password that was given?  If it let the
 * role in without, then for who the connection came from.
 */
bool
sm_password_must_be_used(const SmTarget *target)
{
	return target->kind != SM_TARGET_SPI && target->password_required &&
		!superuser_arg(target->roleid);
}

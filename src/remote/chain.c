/*-------------------------------------------------------------------------
 *
 * chain.c
 *		Chains of backends on this same cluster.
 *
 * A trigger that writes to its own table through a connection to its own cluster
 * does so again in the backend at the other end, and so on, until the cluster has
 * no connections left.  So a chain ends at a depth.
 *
 * Who connects tells the other end how deep it is then, by a setting in the
 * message that sets up the session.  This is done only where the connection is
 * known to lead to a backend of this cluster, with nobody in between who could
 * give the session to somebody else.  A backend that is the end of such a
 * connection is so for all its life: so whatever happens to the setting, what
 * counts is the greatest value that it ever had.  Until this library is loaded
 * there, nobody minds what becomes of it; so a target that surely is this cluster
 * is told in the start of the session, too, which nothing can change later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include "utils/guc.h"

static int	max_depth = 16;
static int	depth_setting = 0;

/* of this backend: how many connections there are before it in the chain */
static int	depth = 0;

static void
assign_depth(int value, void *extra)
{
	(void) extra;
	depth = Max(depth, value);
}

/*
 * What this backend was told when it was started: before the library is loaded
 * the setting is a string that anybody may change, but not what it is reset to.
 */
static int
depth_at_start(void)
{
	const char *told = NULL;

	if (GetConfigOption(SM_CHAIN_SETTING, true, false) != NULL)
		told = GetConfigOptionResetString(SM_CHAIN_SETTING);
	return told != NULL ? (int) strtol(told, NULL, 10) : 0;
}

void
sm_chain_init(void)
{
	depth = Max(depth, depth_at_start());
	if (sm_setting_missing("sessmgr.max_loopback_depth"))
		DefineCustomIntVariable("sessmgr.max_loopback_depth",
								"How many backends of this cluster may be connected to one another in a chain.",
								NULL, &max_depth, 16, 1, 1000, PGC_SUSET, 0, NULL, NULL, NULL);
	if (sm_setting_missing(SM_CHAIN_SETTING))
		DefineCustomIntVariable(SM_CHAIN_SETTING,
								"How many connections within this cluster lead to this backend; set by who connects.",
								NULL, &depth_setting, 0, 0, 1000, PGC_USERSET,
								GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
								NULL, assign_depth, NULL);
}

/* How deep the backends are that this one is connected to. */
int
sm_chain_next(void)
{
	return depth + 1;
}

/*
 * The setting as one of libpq's options, for a target that is this cluster, in
 * addition to those that the target has (or NULL).
 */
char *
sm_chain_options(const char *options)
{
	return psprintf("%s%s-c " SM_CHAIN_SETTING "=%d", options ? options : "",
					options ? " " : "", sm_chain_next());
}

/*
 * The connection has just been made: throws 54001 if it leads to this cluster,
 * and the chain would be too deep with it.
 */
void
sm_chain_check(SmConn *conn)
{
	if (!sm_is_of_this_cluster(conn) || depth < max_depth)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
			 errmsg("too many backends of this cluster in a chain, of which the next would be \"%s\"",
					conn->endpoint->label),
			 errdetail("Each was connected to by the one before; this one is number %d, which is the limit (sessmgr.max_loopback_depth).",
					   depth),
			 errhint("A trigger or function that runs itself through a connection never comes to an end.")));
}

/*
 * A statement on the connection has failed with this SQLSTATE (NULL: with none).
 * Where a chain has come to its end, by its limit or for want of something, what
 * it has opened is of no use: closing this connection ends the backend there,
 * which closes its own, and so on.
 */
void
sm_chain_failed(SmConn *conn, const char *sqlstate)
{
	if (conn->deadlock.backend > 0 && sqlstate != NULL &&
		(strcmp(sqlstate, "54001") == 0 || strncmp(sqlstate, "53", 2) == 0 ||
		 strncmp(sqlstate, "08", 2) == 0))
		conn->not_for_reuse = true;
}

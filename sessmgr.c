/*-------------------------------------------------------------------------
 *
 * sessmgr.c
 *		Engines, pooled sessions and models for SQL functions: the module.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "nodes/parsenodes.h"
#include "tcop/utility.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static ProcessUtility_hook_type previous_ProcessUtility = NULL;

/*
 * DISCARD ALL brings a backend back to its first state, and what is kept here
 * with it.  And the end of a failed transaction block calls no transaction
 * callback.
 */
static void
watch_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	bool		discard_all = IsA(pstmt->utilityStmt, DiscardStmt) &&
		((DiscardStmt *) pstmt->utilityStmt)->target == DISCARD_ALL;

	if (IsA(pstmt->utilityStmt, TransactionStmt))
		sm_idle_block_ends();
	if (previous_ProcessUtility)
		previous_ProcessUtility(pstmt, queryString, readOnlyTree, context, params,
								queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params,
								queryEnv, dest, qc);
	if (discard_all)
		sm_reset(true);
}

static void
watch_utility_init(void)
{
	previous_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
}

/*
 * When this throws, for want of memory, the library stays in this process and
 * its next use calls this again.  What was done is then not done once more, and
 * the step that threw must be possible to begin again.
 */
void
_PG_init(void)
{
	static void (*const steps[]) (void) = {
		/* the first before the names that begin with ours are reserved */
		sm_chain_init, sm_engine_init, sm_options_init, sm_xact_init, sm_scan_init,
#ifdef SM_INJECTION_POINTS
		sm_injection_point_init,
#endif
		watch_utility_init
	};
	static size_t done = 0;

	while (done < lengthof(steps))
	{
		steps[done] ();
		done++;
	}
}

/*-------------------------------------------------------------------------
 *
 * sessmgr.c
 *		Engines, pooled sessions and models for SQL functions: the module.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"

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

void
_PG_init(void)
{
	/* before the names that begin with ours are reserved */
	sm_chain_init();
	sm_engine_init();
	sm_options_init();
	sm_xact_init();
	sm_scan_init();
#ifdef SM_TEST_POINTS
	sm_test_point_init();
#endif

	previous_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
}

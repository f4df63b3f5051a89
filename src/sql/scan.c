/*-------------------------------------------------------------------------
 *
 * scan.c
 *		stream and stream_as as a scan that reads its rows as they are asked for.
 *
 * FunctionScan runs a function to its end before it returns the first row.  So
 * where nothing can ask for the rows a second time, the planner is given a
 * custom scan in its place: where the function is the only relation of a query
 * that is run once.  Everywhere else the function is called as such.
 *
 * The hook must be there before the first query is planned that has the
 * function.  Its support function, which the planner calls, sees to that: it
 * loads this library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sql/sql_private.h"

#include "access/sysattr.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(sm_stream_support);

/* The functions, by their C symbols. */
typedef struct Kind
{
	const char *symbol;
	int			first;			/* argument that is the target */
	SmTargetArg target;
} Kind;

static const Kind kinds[] = {
	{"sm_stream_session", 0, SM_ARG_SESSION},
	{"sm_stream_text", 0, SM_ARG_DBURI},
	{"sm_stream_as_session", 1, SM_ARG_SESSION},
	{"sm_stream_as_text", 1, SM_ARG_DBURI},
};

typedef struct StreamScan
{
	CustomScanState css;
	const Kind *kind;
	FuncExpr   *call;
	List	   *args;			/* of ExprState */
	Oid			checked;		/* the role that may call the function */
	bool		rewind;
	SmReader   *reader;			/* made for the first row */
	SmStream   *stream;			/* NULL: not begun yet */
} StreamScan;

static set_rel_pathlist_hook_type previous_set_rel_pathlist = NULL;

/* Knows nothing of the functions that the planner could use. */
Datum
sm_stream_support(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_POINTER(NULL);
}

/* ----------
 * Planning
 * ----------
 */

/* Which of our functions is it?  -1 for any other. */
static int
kind_of(Oid funcid)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	Form_pg_proc proc;
	int			kind = -1;

	if (!HeapTupleIsValid(tuple))
		return -1;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	/* with settings or another role of its own it is to be called as such */
	if (proc->prolang == ClanguageId && OidIsValid(proc->prosupport) && !proc->prosecdef &&
		heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL))
	{
		bool		isnull;
		Datum		prosrc = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
		char	   *symbol = TextDatumGetCString(prosrc);

		for (int i = 0; i < (int) lengthof(kinds); i++)
		{
			if (strcmp(symbol, kinds[i].symbol) == 0)
				kind = i;
		}
		pfree(symbol);
	}
	ReleaseSysCache(tuple);
	return kind;
}

/* Does the query read nothing but this one relation? */
static bool
is_only_relation(const Query *query, Index rti)
{
	const Node *item;

	if (list_length(query->jointree->fromlist) != 1)
		return false;
	item = linitial(query->jointree->fromlist);
	return IsA(item, RangeTblRef) &&
		(rti == 0 || ((const RangeTblRef *) item)->rtindex == (int) rti);
}

/* The relation that stands in FROM: a member of UNION ALL is in another one. */
static Index
top_relation(const PlannerInfo *root, Index rti)
{
	while (root->append_rel_array != NULL && root->append_rel_array[rti] != NULL)
		rti = root->append_rel_array[rti]->parent_relid;
	return rti;
}

/*
 * Is the query run once, whatever it is part of?  It is if nothing in it
 * depends on a query around it, and
 * - it is the outermost one,
 * - or a sublink or a CTE, which are planned before the query around them has
 *	 any relations: these are kept, if they may be looked at twice,
 * - or it is in the FROM of a query that has nothing else there, or one of the
 *	 members of UNION and the like, and that is run once.
 */
static bool
is_run_once(const PlannerInfo *root)
{
	for (const PlannerInfo *r = root->parent_root; r != NULL; r = r->parent_root)
	{
		if (r->plan_params != NIL)
			return false;
	}
	for (;;)
	{
		const PlannerInfo *parent = root->parent_root;

		if (root->hasRecursion)
			return false;
		if (parent == NULL || parent->simple_rel_array == NULL)
			return true;
		if (parent->parse->setOperations == NULL && !is_only_relation(parent->parse, 0))
			return false;
		root = parent;
	}
}

/* Is a row as a whole asked for?  A scan like this has only its columns. */
static bool
needs_whole_row(const RelOptInfo *rel)
{
	Bitmapset  *attrs = NULL;
	ListCell   *lc;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &attrs);
	foreach(lc, rel->baserestrictinfo)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause, rel->relid, &attrs);
	return bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, attrs);
}

/* Has the function a shape that a scan can have?  If not, calling it tells. */
static bool
has_shape(const FuncExpr *call, const Kind *kind, const RangeTblFunction *function)
{
	Oid			type;

	if (kind->first == 0)
		return function->funccolnames != NIL;
	type = exprType(linitial(call->args));
	if (type == RECORDOID)
		return false;
	return !(get_typtype(type) == TYPTYPE_DOMAIN && type_is_rowtype(type));
}

static Plan *plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
					   List *clauses, List *custom_plans);
static Node *make_scan(CustomScan *cscan);

static const CustomPathMethods path_methods = {
	.CustomName = "SessmgrStream",
	.PlanCustomPath = plan_scan,
};

static const CustomScanMethods scan_methods = {
	.CustomName = "SessmgrStream",
	.CreateCustomScanState = make_scan,
};

/*
 * If the relation is a call of one of our functions that can be a scan, make it
 * one.  Costs are as for any function: there is no other way to compare with.
 */
static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	RangeTblFunction *function;
	FuncExpr   *call;
	CustomPath *path;
	int			kind;

	if (previous_set_rel_pathlist)
		previous_set_rel_pathlist(root, rel, rti, rte);
	if (rte->rtekind != RTE_FUNCTION ||
		(rel->reloptkind != RELOPT_BASEREL && rel->reloptkind != RELOPT_OTHER_MEMBER_REL) ||
		list_length(rte->functions) != 1 || rte->funcordinality || rel->pathlist == NIL ||
		IS_DUMMY_REL(rel))
		return;
	function = linitial_node(RangeTblFunction, rte->functions);
	call = (FuncExpr *) function->funcexpr;
	if (!IsA(call, FuncExpr) || (kind = kind_of(call->funcid)) < 0)
		return;
	if (!is_only_relation(root->parse, top_relation(root, rti)) || !is_run_once(root) ||
		!bms_is_empty(rel->lateral_relids) || contain_var_clause((Node *) call) ||
		expression_returns_set((Node *) call->args) ||
		needs_whole_row(rel) || !has_shape(call, &kinds[kind], function))
		return;

	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.rows = rel->rows;
	path->path.startup_cost = ((Path *) linitial(rel->pathlist))->startup_cost;
	path->path.total_cost = ((Path *) linitial(rel->pathlist))->total_cost;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom_private = list_make1_int(kind);
	path->methods = &path_methods;
	rel->pathlist = NIL;
	add_path(rel, &path->path);
}

/* All columns of the function, as what the scan returns. */
static List *
scan_columns(PlannerInfo *root, Index rti)
{
	List	   *names;
	List	   *vars;
	List	   *tlist = NIL;
	ListCell   *lc;
	ListCell   *name;

	sm_expandRTE(planner_rt_fetch(rti, root), rti, &names, &vars);
	forboth(lc, vars, name, names)
		tlist = lappend(tlist, makeTargetEntry(lfirst(lc), list_length(tlist) + 1,
											   pstrdup(strVal(lfirst(name))), false));
	return tlist;
}

static Plan *
plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
		  List *clauses, List *custom_plans)
{
	CustomScan *scan = makeNode(CustomScan);
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	RangeTblFunction *function = linitial_node(RangeTblFunction, rte->functions);

	(void) custom_plans;
	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->scan.scanrelid = 0;
	scan->flags = path->flags;
	scan->custom_scan_tlist = scan_columns(root, rel->relid);
	scan->custom_exprs = list_make1(function->funcexpr);
	scan->custom_private = path->custom_private;
	scan->methods = &scan_methods;
	return &scan->scan.plan;
}

/* ----------
 * Execution
 * ----------
 */

/* The function is not called, so nobody else asks whether it may be. */
static void
check_may_call(StreamScan *self)
{
	AclResult	result;

	if (self->checked == GetUserId())
		return;
	result = sm_function_aclcheck(self->call->funcid, GetUserId(), ACL_EXECUTE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(self->call->funcid));
	InvokeFunctionExecuteHook(self->call->funcid);
	self->checked = GetUserId();
}

static void
begin_stream_scan(CustomScanState *node, EState *estate, int eflags)
{
	StreamScan *self = (StreamScan *) node;

	(void) estate;
	check_may_call(self);
	self->args = ExecInitExprList(self->call->args, &node->ss.ps);
	/* a subquery that is looked at again and again, but run once */
	self->rewind = (eflags & EXEC_FLAG_REWIND) != 0;
}

/* Evaluate the arguments, in the current memory context. */
static void
evaluate(StreamScan *self, FunctionCallInfo fcinfo)
{
	ExprContext *econtext = self->css.ss.ps.ps_ExprContext;
	int			i = 0;
	ListCell   *lc;

	foreach(lc, self->args)
	{
		fcinfo->args[i].value = ExecEvalExpr((ExprState *) lfirst(lc), econtext,
											 &fcinfo->args[i].isnull);
		i++;
	}
}

/* As if the function was called, but for its rows. */
static void
start_scan(StreamScan *self)
{
	MemoryContext cxt = self->css.ss.ps.state->es_query_cxt;
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FunctionCallInfo fcinfo = palloc0(SizeForFunctionCallInfo(list_length(self->args)));
	FmgrInfo	flinfo;
	SmArgs		args;

	/* a cursor may be opened by one role and read by another */
	check_may_call(self);
	fmgr_info(self->call->funcid, &flinfo);
	fmgr_info_set_expr((Node *) self->call, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, list_length(self->args),
							 self->call->inputcollid, NULL, NULL);
	evaluate(self, fcinfo);
	sm_args_statement(&args, fcinfo, self->kind->first, self->kind->target);
	self->reader = sm_reader_make(self->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor);
	self->stream = sm_stream_open(&args, self->reader, self->rewind);
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *
next_row(ScanState *node)
{
	StreamScan *self = (StreamScan *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	MemoryContext old;
	bool		found;

	if (unlikely(self->stream == NULL))
		start_scan(self);
	ExecClearTuple(slot);
	/* reset before the next row */
	old = MemoryContextSwitchTo(node->ps.ps_ExprContext->ecxt_per_tuple_memory);
	found = sm_stream_next(self->stream, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
	return found ? ExecStoreVirtualTuple(slot) : slot;
}

static bool
recheck_row(ScanState *node, TupleTableSlot *slot)
{
	(void) node;
	(void) slot;
	return true;
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

static void
end_scan(CustomScanState *node)
{
	StreamScan *self = (StreamScan *) node;

	if (self->stream != NULL)
		sm_stream_close(self->stream);
	self->stream = NULL;
}

/* The planner sees to it that this is only asked for where all rows are kept. */
static void
rescan(CustomScanState *node)
{
	StreamScan *self = (StreamScan *) node;

	if (self->stream == NULL)
		return;
	if (!self->rewind)
		elog(ERROR, "a stream cannot be read twice");
	ExecScanReScan(&node->ss);
	sm_stream_rewind(self->stream);
}

/* ----------
 * EXPLAIN
 * ----------
 */

/* Is the value of an argument known before the query runs? */
static bool
is_known_expression(const StreamScan *self, const Node *arg)
{
	if (IsA(arg, Const))
		return true;
	return IsA(arg, Param) && ((const Param *) arg)->paramkind == PARAM_EXTERN &&
		self->css.ss.ps.state->es_param_list_info != NULL;
}

/* May an expression be shown?  A text in it may be a part of a secret. */
static bool
has_text(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Const) && ((Const *) node)->consttype != BOOLOID &&
		((Const *) node)->consttype != INT4OID)
		return true;
	return expression_tree_walker(node, has_text, context);
}

static char *
show_argument(StreamScan *self, int i, bool secret, List *ancestors, ExplainState *es)
{
	Node	   *arg = list_nth(self->call->args, i);
	List	   *context;

	if (is_known_expression(self, arg) && exprType(arg) == TEXTOID)
	{
		bool		isnull;
		Datum		value = ExecEvalExpr((ExprState *) list_nth(self->args, i),
										 self->css.ss.ps.ps_ExprContext, &isnull);
		char	   *shown = isnull ? pstrdup("NULL") : TextDatumGetCString(value);

		return secret ? sm_dburi_redact(shown) : shown;
	}
	if (secret && has_text(arg, NULL))
		return pstrdup(SM_HIDDEN);
	context = set_deparse_context_plan(es->deparse_cxt, self->css.ss.ps.plan, ancestors);
	return deparse_expression(arg, context, false, false);
}

static void
explain_scan(CustomScanState *node, List *ancestors, ExplainState *es)
{
	StreamScan *self = (StreamScan *) node;
	int			first = self->kind->first;

	ExplainPropertyText("Target",
						show_argument(self, first, self->kind->target == SM_ARG_DBURI,
									  ancestors, es), es);
	ExplainPropertyText("Remote SQL", show_argument(self, first + 1, false, ancestors, es), es);
}

static const CustomExecMethods exec_methods = {
	.CustomName = "SessmgrStream",
	.BeginCustomScan = begin_stream_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = explain_scan,
};

static Node *
make_scan(CustomScan *cscan)
{
	StreamScan *self = (StreamScan *) newNode(sizeof(StreamScan), T_CustomScanState);

	self->css.methods = &exec_methods;
	self->kind = &kinds[linitial_int(cscan->custom_private)];
	self->call = linitial_node(FuncExpr, cscan->custom_exprs);
	return (Node *) self;
}

void
sm_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	previous_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
}

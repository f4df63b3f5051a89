/*-------------------------------------------------------------------------
 *
 * session_private.h
 *		What only the files of src/session share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_SESSION_PRIVATE_H
#define SESSMGR_SESSION_PRIVATE_H

#include "session/session.h"

/* The steps of a branch (see src/session/fan_out.c). */
typedef enum SmBranchStep
{
	SM_BRANCH_HERE,
	SM_BRANCH_WAITING,
	SM_BRANCH_CONNECTING,
	SM_BRANCH_RUNNING,
	SM_BRANCH_STOPPING,
	SM_BRANCH_RETURNING,
	SM_BRANCH_ENDED
} SmBranchStep;

typedef struct SmBranchRun
{
	SmFanOut   *fan_out;
	SmBranch   *result;
	SmBranchStep step;
	SmEngine   *engine;			/* kept by its count of users */
	SmSession  *session;		/* in whose transaction it is, or NULL: in its
								 * own */
	SmConn	   *conn;			/* while it is checked out for this branch */
	bool		lasts;			/* it commits by itself, and is not read only */
	bool		started;		/* its session is told that it is running */
	SmXactStatement xstmt;
	SmRun	   *run;
	TimestampTz deadline;		/* of the present step */
	bool		ready;			/* its socket is, or it is not known yet */
	bool		more;			/* it has not done all that it can */
	int			late;			/* how often it went on after the deadline */
	bool		cancel_ready;
	ErrorData  *reason;			/* why it is STOPPING, NULL: its timeout */
	const char *deadlock;		/* the detail, if there is one */
} SmBranchRun;

typedef struct SmFanOutState
{
	SmFanOut   *fan_out;
	SmBranchRun *branches;
	int			n;
	MemoryContext cxt;
	struct ResourceOwnerData *owner;
	SmWaits		waits;
	TimestampTz checked;		/* when all sockets were checked */
	SmWatch		watch;
} SmFanOutState;

typedef void (*SmBranchFunction) (SmFanOutState *state, SmBranchRun *branch);

/* twophase.c */
extern void sm_twophase_register(SmSession *session);
extern void sm_twophase_check(const SmSession *session);
extern void sm_twophase_harden(void);
extern void sm_twophase_resolved(const char *gid);
extern void sm_twophase_subxact_end(SubTransactionId subid, SubTransactionId parent);
extern void sm_twophase_at_end(bool committed);

/* savepoint_mirror.c */
extern bool sm_session_bound(const SmSession *session);
extern bool sm_mirror_shares(const SmSession *session);
extern bool sm_mirror_suits(const SmSession *shared, const SmSessionOptions *options);
extern void sm_savepoints_truncate(SmSession *session, int n);
extern List *sm_mirror_begin(SmSession *session, const SmConn *conn,
							 SmSessionOptions *options);
extern List *sm_mirror_begin_again(SmSession *session, SmSessionOptions *options);
extern List *sm_mirror_nest(SmSession *session);
extern void sm_mirror_unsent(SmSession *session, int n);
extern void sm_mirror_subcommit(SmSession *session, int level);
extern const char *sm_mirror_subabort(SmSession *session, int level);

/* session.c */
extern void sm_session_set_sent(SmSession *session, SmSent *sent);
extern SmSession *sm_session_shared(SmEngine *engine, const SmSessionOptions *options);
extern SmSession *sm_session_enter(SmSession *session);
extern SmSession *sm_session_of_work(SmEngine *engine);
extern void sm_session_check_usable(SmSession *session);
extern List *sm_session_beginning(SmSession *session, const SmConn *conn,
								  SmSessionOptions *options);
extern void sm_session_activate(SmSession *session, SmConn *conn);
extern void sm_session_start(SmSession *session, SmConn *conn);
extern TimestampTz sm_session_cleanup_deadline(const SmSession *session);
extern void sm_session_note_loss(SmSession *session);
extern char *sm_session_loss(const SmSession *session);
extern void sm_session_tear(SmSession *session);
extern void sm_session_torn(SmSession *session, TimestampTz deadline);
extern void sm_session_forget_sent(SmSession *session);
extern void sm_session_forget_transaction(SmSession *session, TimestampTz deadline);
extern void sm_session_abandon_transaction(SmSession *session, TimestampTz deadline);
extern void sm_session_end(SmSession *session, TimestampTz deadline);

/* execute.c */
extern bool sm_session_begins_none(const SmSession *session);
extern void sm_session_check_transaction(SmSession *session, SmStatementKind kind);
extern void sm_xact_statement_enter(SmSession *session, SmXactStatement *xstmt, SmConn *conn);
extern void sm_xact_statement_again(SmSession *session, SmXactStatement *xstmt);
extern void sm_xact_statement_failed(SmSession *session, const SmXactStatement *xstmt);
extern bool sm_effects_learn(SmConn *conn, SmOutcome *outcome);
extern void sm_effects_tell(const SmEngine *engine, const char *sql, SmOutcome outcome,
							MemoryContext cxt);
extern void sm_own_transaction_check(SmConn *conn, SmStatementKind kind);
extern void sm_own_transaction_ended(SmConn *conn, SmStatementKind kind);
extern uint64 sm_session_work(SmSession *session, SmWork work, void *arg);
extern uint64 sm_engine_work(SmEngine *engine, SmWork work, void *arg);

/* commit.c */
extern void sm_bound_refuse_prepare(void);
extern void sm_bound_before_commit(void);
extern void sm_bound_after_commit(void);
extern void sm_bound_at_abort(void);
extern void sm_sessions_commit(SmSession **sessions, int n);
extern const char *sm_bound_abort_command(SmSession *session);
extern void sm_bound_aborted(const SmSession *session);

/* fan_out_branch.c */
extern bool sm_branch_attempt(SmFanOutState *state, SmBranchRun *branch, SmBranchFunction step);
extern void sm_branch_open(SmFanOutState *state, SmBranchRun *branch);
extern void sm_branch_run_here(SmFanOutState *state, SmBranchRun *branch);
extern void sm_branch_unstart(SmBranchRun *branch);
extern void sm_branch_stop(SmFanOutState *state, SmBranchRun *branch, ErrorData *reason);
extern void sm_branch_poll(SmFanOutState *state, SmBranchRun *branch);

/* fan_out.c */
extern int	sm_fan_outs;

#endif							/* SESSMGR_SESSION_PRIVATE_H */

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

/* The steps of a leg (see src/session/fan_out.c). */
typedef enum SmLegStep
{
	SM_LEG_HERE,
	SM_LEG_WAITING,
	SM_LEG_ARRIVING,
	SM_LEG_RUNNING,
	SM_LEG_STOPPING,
	SM_LEG_RETURNING,
	SM_LEG_ENDED
} SmLegStep;

typedef struct SmGatherLeg
{
	SmGather   *gather;
	SmLeg	   *result;
	SmLegStep	step;
	SmEngine   *engine;			/* kept by its count of users */
	SmSession  *session;		/* in whose transaction it is, or NULL: alone */
	SmConn	   *conn;			/* while it is checked out for this leg */
	bool		lasts;			/* it commits by itself, and is not read only */
	bool		started;		/* its session is told that it is running */
	SmJourney	journey;
	SmRun		run;
	TimestampTz deadline;		/* of the present step */
	bool		ready;			/* its socket is, or it is not known yet */
	bool		more;			/* it has not done all that it can */
	int			late;			/* how often it went on after the deadline */
	bool		cancel_ready;
	ErrorData  *reason;			/* why it is STOPPING, NULL: its timeout */
	const char *deadlock;		/* the detail, if there is one */
} SmGatherLeg;

typedef struct SmGatherState
{
	SmGather   *gather;
	SmGatherLeg *legs;
	int			n;
	MemoryContext cxt;
	struct ResourceOwnerData *owner;
	SmWaits		waits;
	TimestampTz looked;			/* when all that is waited for was looked at */
	SmWatch		watch;
} SmGatherState;

typedef void (*SmLegFunction) (SmGatherState *state, SmGatherLeg *leg);

/* twophase.c */
extern void sm_twophase_register(SmSession *session);
extern void sm_twophase_check(const SmSession *session);
extern void sm_twophase_harden(void);
extern void sm_twophase_settled(const char *gid);
extern void sm_twophase_subxact_end(SubTransactionId subid, SubTransactionId parent);
extern void sm_twophase_at_end(bool committed);

/* savepoint_mirror.c */
extern bool sm_session_bound(const SmSession *session);
extern bool sm_joined_shares(const SmSession *session);
extern bool sm_joined_suits(const SmSession *shared, const SmSessionOptions *options);
extern void sm_savepoints_truncate(SmSession *session, int n);
extern List *sm_joined_begin(SmSession *session, const SmConn *conn,
							 SmSessionOptions *options);
extern List *sm_joined_begin_again(SmSession *session, SmSessionOptions *options);
extern List *sm_joined_nest(SmSession *session);
extern void sm_joined_unsent(SmSession *session, int n);
extern void sm_joined_subcommit(SmSession *session, int level);
extern const char *sm_joined_subabort(SmSession *session, int level);

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
extern void sm_session_check_transaction(SmSession *session, SmOdd odd);
extern void sm_journey_enter(SmSession *session, SmJourney *journey, SmConn *conn);
extern void sm_journey_again(SmSession *session, SmJourney *journey);
extern void sm_journey_failed(SmSession *session, const SmJourney *journey);
extern bool sm_effects_learn(SmConn *conn, SmOutcome *outcome);
extern void sm_effects_tell(const SmEngine *engine, const char *sql, SmOutcome outcome,
							MemoryContext cxt);
extern void sm_alone_check(SmConn *conn, SmOdd odd);
extern void sm_alone_ended(SmConn *conn, SmOdd odd);
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
extern bool sm_leg_attempt(SmGatherState *state, SmGatherLeg *leg, SmLegFunction step);
extern void sm_leg_open(SmGatherState *state, SmGatherLeg *leg);
extern void sm_leg_run_here(SmGatherState *state, SmGatherLeg *leg);
extern void sm_leg_unstart(SmGatherLeg *leg);
extern void sm_leg_stop(SmGatherState *state, SmGatherLeg *leg, ErrorData *reason);
extern void sm_leg_go_on(SmGatherState *state, SmGatherLeg *leg);

/* fan_out.c */
extern int	sm_gathers;

#endif							/* SESSMGR_SESSION_PRIVATE_H */

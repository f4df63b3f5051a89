/*-------------------------------------------------------------------------
 *
 * model_private.h
 *		What only the files of src/model share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSMGR_MODEL_PRIVATE_H
#define SESSMGR_MODEL_PRIVATE_H

#include "model/model.h"

/*
 * A name that a model has or takes on the target, and what stands there under
 * it.  An empty name stands for the schema alone.
 */
typedef struct SmModelName
{
	const char *schema;
	const char *name;
	bool		schema_exists;
	char		relkind;		/* on the target, or '\0' */
} SmModelName;

/* A column's type, which the target must have. */
typedef struct SmModelType
{
	const char *column;
	const char *type;
	Oid			row_of;			/* the relation it is the row type of, if any */
} SmModelType;

/*
 * A table or sequence, and the statements that make it on a target where it
 * is missing.  "create" makes it without regard to other models, except for
 * the sequences and row types that it names; "finish" is for when all tables
 * are there.
 */
typedef struct SmModel
{
	Oid			relid;
	char		relkind;		/* RELKIND_RELATION or RELKIND_SEQUENCE */
	bool		registered;		/* or only a sequence that a table needs */
	bool		to_create;		/* is to be made in this attempt */
	const char *label;			/* its qualified name, quoted */
	SmModelName self;
	Oid			owned_by;		/* of a sequence: the table it belongs to */
	List	   *sequences;		/* of SmModel *: owned, or used in a default */
	List	   *names;			/* of SmModelName *: what is made with it */
	List	   *references;		/* of SmModelName *: what foreign keys need */
	List	   *types;			/* of SmModelType * */
	List	   *constraints;	/* of HeapTuple, by name */
	List	   *create;			/* of char * */
	List	   *finish;			/* of char * */
} SmModel;

/* model_ddl.c */
extern int	sm_model_enter_settings(void);
extern char *sm_model_remote_settings(void);
extern SmModelName *sm_model_name(const char *schema, const char *name);
extern SmModel *sm_model_new(Relation rel);
extern void sm_model_add_create(SmModel *model, char *statement);
extern void sm_model_add_comment(List **list, const char *object, Oid classid,
								 Oid objid, int subid);
extern char *sm_model_relation_options(Oid relid, const char *prefix);
extern char *sm_model_column_options(Oid relid, AttrNumber attnum);
extern int	sm_model_statistics_target(Oid relid, AttrNumber attnum);
extern char *sm_model_sequence_options(Oid relid, Oid *type);
extern SmModel *sm_model_sequence(List **sequences, Oid relid);
extern List *sm_model_column_sequences(Oid relid, AttrNumber attnum, char kind);
extern void sm_model_add_sequences(SmModel *model, Relation rel, List **sequences);

/* model_index.c */
extern void sm_model_read_constraints(SmModel *model);
extern void sm_model_add_constraints(SmModel *model, bool foreign);
extern void sm_model_add_indexes(SmModel *model, Relation rel);
extern void sm_model_add_statistics(SmModel *model, Relation rel);

/* model_table.c */
extern void sm_model_describe_table(SmModel *model, Relation rel);

/* models.c */
extern void sm_models_notice_changes(void);
extern List *sm_models_registered(Oid roleid, const char *metadata, List **others);
extern List *sm_models_describe(List *relids, List **sequences);

/* model_attempt.c */
extern char *sm_models_lock_holder(SmEngine *engine);
extern int	sm_models_attempt(SmEngine *engine, const char *metadata, List *tables,
							  List *sequences, TimestampTz lock_deadline);

#endif							/* SESSMGR_MODEL_PRIVATE_H */

/*-------------------------------------------------------------------------
 *
 * textmode.c
 *		Values as text, in a form that does not depend on anybody's settings.
 *
 * While text travels, DateStyle, IntervalStyle, extra_float_digits and, for
 * types whose values name objects, search_path are fixed on this end.  The
 * other end is fixed in remote.c when a connection is made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/guc.h"

static void
fix(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Fix the settings; the result is for sm_textmode_end(), and an error undoes
 * it like any change of a setting in an aborted function.  With settings as
 * they usually are this does nothing and costs nothing.
 */
int
sm_textmode_begin(bool names_objects)
{
	int			level;

	if (likely(DateStyle == USE_ISO_DATES && IntervalStyle == INTSTYLE_POSTGRES &&
			   extra_float_digits > 0 && !names_objects))
		return -1;

	level = NewGUCNestLevel();
	if (DateStyle != USE_ISO_DATES)
		fix("datestyle", "ISO");
	if (IntervalStyle != INTSTYLE_POSTGRES)
		fix("intervalstyle", "postgres");
	if (extra_float_digits <= 0)
		fix("extra_float_digits", "3");
	if (names_objects)
		fix("search_path", "pg_catalog");
	return level;
}

void
sm_textmode_end(int level)
{
	if (level >= 0)
		AtEOXact_GUC(true, level);
}

/* The parameters as text: values[i] is NULL for SQL NULL. */
void
sm_textmode_params(const SmParams *params, const char **values)
{
	int			level = sm_textmode_begin(params->names_objects);

	for (int i = 0; i < params->n; i++)
	{
		if (params->nulls[i])
			values[i] = NULL;
		else if (params->types[i] == UNKNOWNOID)
			values[i] = DatumGetCString(params->values[i]);
		else
			values[i] = OutputFunctionCall(&params->outputs[i], params->values[i]);
	}
	sm_textmode_end(level);
}

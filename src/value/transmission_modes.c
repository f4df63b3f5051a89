/*-------------------------------------------------------------------------
 *
 * transmission_modes.c
 *		Values as text, in a form that does not depend on anybody's settings.
 *
 * While text travels, DateStyle, IntervalStyle, extra_float_digits,
 * bytea_output, array_nulls and, for the types that depend on them, search_path
 * and lc_monetary are fixed on this end.  The other end is fixed in
 * connect.c when a connection is made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "value/value_private.h"

#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"

static void
fix(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Fix the settings; the result is for sm_transmission_modes_end(), and an error undoes
 * it like any change of a setting in an aborted function.  With settings as
 * they usually are this does nothing and costs nothing.
 */
int
sm_transmission_modes_begin(bool names_objects, bool has_money)
{
	int			level;

	if (likely(DateStyle == USE_ISO_DATES && IntervalStyle == INTSTYLE_POSTGRES &&
			   extra_float_digits > 0 && bytea_output == BYTEA_OUTPUT_HEX && Array_nulls &&
			   !names_objects && !has_money))
		return -1;

	level = NewGUCNestLevel();
	if (DateStyle != USE_ISO_DATES)
		fix("datestyle", "ISO");
	if (IntervalStyle != INTSTYLE_POSTGRES)
		fix("intervalstyle", "postgres");
	if (extra_float_digits <= 0)
		fix("extra_float_digits", "3");
	if (bytea_output != BYTEA_OUTPUT_HEX)
		fix("bytea_output", "hex");
	if (!Array_nulls)
		fix("array_nulls", "on");
	if (names_objects)
		fix("search_path", "pg_catalog, pg_temp");
	if (has_money)
		fix("lc_monetary", "C");
	return level;
}

/*
 * Fix what reading text in sm_remote_setup_commands()'s form needs, and no more,
 * as the user's own code runs meanwhile, too.  Dates in ISO form and intervals
 * in PostgreSQL's are read alike whatever the style.
 */
int
sm_transmission_modes_begin_reading(bool has_money)
{
	int			level;

	if (likely(Array_nulls && !has_money))
		return -1;
	level = NewGUCNestLevel();
	if (!Array_nulls)
		fix("array_nulls", "on");
	if (has_money)
		fix("lc_monetary", "C");
	return level;
}

void
sm_transmission_modes_end(int level)
{
	if (level >= 0)
		AtEOXact_GUC(true, level);
}

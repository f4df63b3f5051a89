/*-------------------------------------------------------------------------
 *
 * extension_table.c
 *		Writing to the tables of this extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/core.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* The table of that name, or InvalidOid if the extension is on its way out. */
Oid
sm_extension_table(const char *name)
{
	Oid			schema = get_namespace_oid("sessmgr", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/*
 * Run a statement on one of our tables as its owner, so that nobody needs or
 * has privileges on it; returns the number of rows written.
 */
uint64
sm_extension_table_write(Oid table, const char *sql, int nargs, Oid *types, Datum *values)
{
	int			level = NewGUCNestLevel();
	Oid			userid;
	int			context;
	HeapTuple	tuple;
	uint64		written;

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("a table of extension sessmgr does not exist")));
	GetUserIdAndSecContext(&userid, &context);
	SetUserIdAndSecContext(((Form_pg_class) GETSTRUCT(tuple))->relowner,
						   context | SECURITY_LOCAL_USERID_CHANGE);
	ReleaseSysCache(tuple);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0) < 0)
		elog(ERROR, "SPI_execute_with_args failed");
	written = SPI_processed;
	SPI_finish();

	AtEOXact_GUC(true, level);
	SetUserIdAndSecContext(userid, context);
	return written;
}

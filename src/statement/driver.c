/*-------------------------------------------------------------------------
 *
 * driver.c
 *		What is the same for all drivers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statement/statement_private.h"

/* Run a command that returns nothing; throws what the target says. */
void
sm_driver_command(const SmDriver *driver, SmConn *conn, const char *sql, SmCommand kind)
{
	const SmEngineOptions *options = &sm_conn_endpoint(conn)->options;
	TimestampTz deadline = sm_deadline(kind == SM_COMMAND_COMMIT ?
									   options->commit_timeout : options->statement_timeout);

	driver->command_send(conn, sql, kind, deadline);
	driver->command_finish(conn, sql, kind, deadline);
}

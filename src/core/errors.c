/*-------------------------------------------------------------------------
 *
 * errors.c
 *		Errors that are caught, kept, and thrown again.
 *
 * The server keeps only pointers to what an error has from its place in the
 * source: its file, its function, its message's id and domains.  Those are
 * constants in the program, but not in an error that was kept: CopyErrorData()
 * copies them, as the program's part that they are in may be unloaded, and
 * ReThrowError() throws pointers to the copies.  The memory with the copies
 * ends before the error is sent, as a PL and a portal free theirs on the way
 * there.  So whatever is thrown again goes through here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/core.h"

#include "utils/memutils.h"

/*
 * In PG_CATCH(): take the error that was caught, as a copy in cxt, which is
 * current then.
 */
ErrorData *
sm_error_catch(MemoryContext cxt)
{
	ErrorData  *error;

	MemoryContextSwitchTo(cxt);
	error = CopyErrorData();
	FlushErrorState();
	return error;
}

static const char *
keep(const char *text)
{
	return text ? MemoryContextStrdup(ErrorContext, text) : NULL;
}

/*
 * Throw an error that was kept.  ErrorContext has what is thrown for as long as
 * it is an error; the copy stays the caller's.
 */
void
sm_error_rethrow(const ErrorData *error)
{
	ErrorData	thrown = *error;

	thrown.filename = keep(error->filename);
	thrown.funcname = keep(error->funcname);
	thrown.domain = keep(error->domain);
	thrown.context_domain = keep(error->context_domain);
	thrown.message_id = keep(error->message_id);
	ReThrowError(&thrown);
}

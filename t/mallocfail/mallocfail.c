/*-------------------------------------------------------------------------
 *
 * mallocfail.c
 *		Lets one allocation of one library or program fail, for t/out_of_memory.pl.
 *
 * It is preloaded, so that all allocations go through it, and the server's
 * functions in it tell which one is to fail.  Other programs that inherit the
 * preloading load it as well; therefore it uses nothing of the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dlfcn.h>

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(mallocfail_set);
PG_FUNCTION_INFO_V1(mallocfail_end);

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static char object[64];			/* a part of the caller's file name */
static int	left = 0;			/* that many more until one fails; 0: none
								 * does */
static bool has_failed = false;

static bool
fails(void *caller)
{
	Dl_info		info;

	if (left == 0 || dladdr(caller, &info) == 0 || strstr(info.dli_fname, object) == NULL)
		return false;
	if (--left > 0)
		return false;
	has_failed = true;
	errno = ENOMEM;
	return true;
}

PGDLLEXPORT void *
malloc(size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

PGDLLEXPORT void *
calloc(size_t n, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

PGDLLEXPORT void *
realloc(void *p, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, size);
}

#undef strdup
PGDLLEXPORT char *
strdup(const char *s)
{
	size_t		size = strlen(s) + 1;
	char	   *copy = fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);

	return copy ? memcpy(copy, s, size) : NULL;
}

/* mallocfail_set(object cstring, n integer) */
Datum
mallocfail_set(PG_FUNCTION_ARGS)
{
	strncpy(object, PG_GETARG_CSTRING(0), sizeof(object) - 1);
	has_failed = false;
	left = PG_GETARG_INT32(1);
	PG_RETURN_VOID();
}

/* mallocfail_end() returns boolean: has it failed? */
Datum
mallocfail_end(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	left = 0;
	PG_RETURN_BOOL(has_failed);
}

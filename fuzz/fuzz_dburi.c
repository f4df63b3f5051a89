/*-------------------------------------------------------------------------
 *
 * fuzz_dburi.c
 *		A libFuzzer target for the parser and the redaction of dburis.
 *
 * Built by fuzz/run: conninfo.c, dburi.c and keywords.c run outside a server,
 * on the frontend's palloc (which is malloc, so that the sanitizers see every
 * byte) and the few stand-ins below.  Looked for, apart from what the
 * sanitizers find: a dburi that is accepted, and whose copy that may be shown
 * does not hide every secret that libpq reads in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>

#include "mb/pg_wchar.h"
#include "nodes/pg_list.h"
#include "utils/varlena.h"

#include "target/target_private.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

/* ---------- stand-ins for the server ---------- */

sigjmp_buf *PG_exception_stack = NULL;
ErrorContextCallback *error_context_stack = NULL;
MemoryContext TopMemoryContext = NULL;
MemoryContext CurrentMemoryContext = NULL;
static bool may_fail;

bool
errstart(int elevel, const char *domain)
{
	(void) domain;
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	(void) filename;
	(void) lineno;
	(void) funcname;
	if (!may_fail)
		abort();
	siglongjmp(*PG_exception_stack, 1);
}

void
pg_re_throw(void)
{
	siglongjmp(*PG_exception_stack, 1);
}

int
errcode(int sqlerrcode)
{
	return sqlerrcode;
}

#define MESSAGE(name) \
int name(const char *fmt,...) { (void) fmt; return 0; }
MESSAGE(errmsg)
MESSAGE(errmsg_internal)
MESSAGE(errdetail)
MESSAGE(errdetail_internal)
MESSAGE(errhint)

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	(void) context;
	return palloc(size);
}

char *
MemoryContextStrdup(MemoryContext context, const char *string)
{
	(void) context;
	return pstrdup(string);
}

List *
lappend(List *list, void *datum)
{
	if (list == NULL)
	{
		list = palloc0(sizeof(List));
		list->elements = NULL;
	}
	if (list->length % 64 == 0)
		list->elements = realloc(list->elements, (list->length + 64) * sizeof(ListCell));
	list->elements[list->length++].ptr_value = datum;
	return list;
}

bool
pg_verifymbstr(const char *mbstr, int len, bool noError)
{
	(void) noError;
	return pg_encoding_verifymbstr(PG_UTF8, mbstr, len) == len;
}

int
pg_mbstrlen_with_len(const char *mbstr, int len)
{
	(void) mbstr;
	return len;
}

/* but for the options of sessmgr */
char *
sm_keyword_hint(const char *name)
{
	const char *match = sm_closest_match(name, sm_keyword_names(SM_IN_CALL));

	return match ? pstrdup(match) : NULL;
}

bool
superuser_arg(Oid roleid)
{
	return roleid != InvalidOid;
}

bool
libpqsrv_is_valid_proxy_option(const char *keyword)
{
	return keyword[0] != '\0';
}

/* ---------- the target ---------- */

static void
check_copy(const char *conninfo, const char *shown)
{
	PQconninfoOption *real = PQconninfoParse(conninfo, NULL);
	PQconninfoOption *copy;

	if (strcmp(shown, "postgresql://***") == 0 || real == NULL)
	{
		PQconninfoFree(real);
		return;
	}
	if (strncmp(conninfo, "postgresql://", 13) == 0)
		shown = psprintf("postgresql://%s", strstr(shown, "://") + 3);
	copy = PQconninfoParse(shown, NULL);
	if (copy == NULL)
		abort();
	for (int i = 0; real[i].keyword; i++)
	{
		if (real[i].val != NULL && strchr(real[i].dispchar, '*') &&
			copy[i].val != NULL && strcmp(copy[i].val, SM_HIDDEN) != 0)
			abort();
	}
	PQconninfoFree(real);
	PQconninfoFree(copy);
}

/* Nothing frees what palloc gave: some kB are lost with each call. */
int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	char	   *dburi = pnstrdup((const char *) data, size);
	char	   *volatile shown;
	sigjmp_buf	here;

	may_fail = false;
	shown = sm_dburi_redact(dburi);

	may_fail = true;
	PG_exception_stack = &here;
	if (sigsetjmp(here, 0) == 0)
	{
		SmDburi    *parsed = sm_dburi_parse(dburi);

		if (parsed->conninfo != NULL)
			check_copy(parsed->conninfo, shown);
	}
	return 0;
}

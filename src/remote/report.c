/*-------------------------------------------------------------------------
 *
 * report.c
 *		What the other side says, as ereport: errors and notices.
 *
 * Errors keep their SQLSTATE, message, detail, hint, context and object names;
 * the context adds which engine it was and which statement, unless the engine
 * has hide_parameters or the caller has not its role's privileges.  Notices
 * arrive in the middle of libpq, which an ereport could leave by longjmp: they
 * are queued there, without any palloc, and raised after libpq has returned.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <ctype.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* a statement's notices beyond these are counted, not kept */
#define MAX_NOTICES		1000
#define MAX_NOTICE_BYTES (8 * 1024 * 1024)

/* of a text from the other side, in bytes: it says as much as it likes */
#define MAX_TEXT		(256 * 1024)

/* of a statement in a context line, in bytes */
#define MAX_STATEMENT_SHOWN 1000

/* a longer one is not shown for the sake of a position in it */
#define MAX_QUERY_SHOWN 10000

#define HINT_COPY "Use sessmgr.pull() to get rows, and sessmgr.push() to send them."

/* columns of a column definition list that is shown in a hint */
#define MAX_COLUMNS_SHOWN 100

typedef struct SmNotice
{
	struct SmNotice *next;
	int			elevel;
	int			sqlstate;
	char	   *message;
	char	   *detail;
	char	   *hint;
	char	   *context;
} SmNotice;

/* The fields of an error, copied so that the PGresult can be freed first. */
typedef struct RemoteError
{
	int			sqlstate;
	char	   *message;
	char	   *detail;
	char	   *hint;
	char	   *context;
	char	   *schema;
	char	   *table;
	char	   *column;
	char	   *datatype;
	char	   *constraint;
	int			position;		/* in query */
	const char *query;			/* or NULL */
} RemoteError;

/* An SQLSTATE of five characters as the server has it, 0 if it is none. */
int
sm_sqlstate(const char *code)
{
	if (code == NULL || strlen(code) != 5)
		return 0;
	return MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]);
}

static int
sqlstate_of(const char *code, int otherwise)
{
	int			sqlstate = sm_sqlstate(code);

	return sqlstate ? sqlstate : otherwise;
}

/*
 * A palloc'd copy, of bounded length, in which nothing offends the local
 * encoding: before client_encoding is agreed on, a server speaks in its own.
 */
static char *
clean_copy(const char *str)
{
	size_t		len;
	char	   *copy;

	if (str == NULL)
		return NULL;
	len = strnlen(str, MAX_TEXT + 1);
	if (len > MAX_TEXT)
		copy = psprintf("%.*s...", pg_mbcliplen(str, len, MAX_TEXT), str);
	else
		copy = pchomp(str);
	if (!pg_verifymbstr(copy, strlen(copy), true))
	{
		for (char *p = copy; *p; p++)
		{
			if (IS_HIGHBIT_SET(*p))
				*p = '?';
		}
	}
	return copy;
}

/* May the text of an engine's statements be shown to whoever reads our messages? */
static bool
may_show_statements(const SmEndpoint *endpoint)
{
	return !endpoint->options.hide_parameters && sm_audience_entitled(endpoint);
}

/*
 * For an ereport: the context that tells which engine it was and, if it is
 * known and may be shown, which statement.
 */
int
sm_report_context(const SmEndpoint *endpoint, const char *sql)
{
	if (sql == NULL || !may_show_statements(endpoint))
		errcontext("statement on \"%s\"", endpoint->label);
	else
	{
		int			len = strlen(sql);
		int			shown = pg_mbcliplen(sql, len, MAX_STATEMENT_SHOWN);

		errcontext("statement on \"%s\": %.*s%s", endpoint->label, shown, sql,
				   shown < len ? "..." : "");
	}
	return 0;
}

/* ----------
 * The end of a remote session
 * ----------
 */

/* the most of what the target says of it, in bytes */
#define MAX_FATAL_MESSAGE	1000

static const char *
severity_of(const PGresult *res)
{
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);

	/* proxies, and servers before 9.6, send it in one form only */
	if (severity == NULL)
		severity = PQresultErrorField(res, PG_DIAG_SEVERITY);
	return severity != NULL ? severity : "";
}

/* Does whoever sent this end the session with it, and not just a statement? */
bool
sm_error_is_fatal(const PGresult *res)
{
	const char *severity = severity_of(res);

	return strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0;
}

/*
 * Would our own client take this code for the end of its connection to us?
 * What has ended there is another one.
 */
static bool
is_of_session(const char *code)
{
	return code != NULL && (strncmp(code, "57P", 3) == 0 || strcmp(code, "25P03") == 0 ||
							strcmp(code, "25P04") == 0);
}

/*
 * A connection has ended with this error: does it promise that what was on its
 * way had no effect?  PostgreSQL's own errors do, and of what ends a session,
 * what its main loop says while it serves interrupts: until the end of an
 * autocommit statement is in line, and while it waits for a statement.  At other
 * places it may have committed.  A proxy says what it likes while the server goes
 * on; it does not say in which function it does so.
 */
bool
sm_error_promises(const PGresult *res, bool is_commit)
{
	const char *code = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *function = PQresultErrorField(res, PG_DIAG_SOURCE_FUNCTION);

	if (code == NULL || function == NULL)
		return false;
	if (!sm_error_is_fatal(res))
		return !is_commit;
	if (strcmp(function, "ProcessInterrupts") != 0 &&
		strcmp(function, "ProcessRecoveryConflictInterrupt") != 0 &&
		strcmp(function, "report_recovery_conflict") != 0)
		return false;
	/* these are said to who has not said anything */
	return !is_commit || strcmp(code, "25P03") == 0 || strcmp(code, "57P05") == 0;
}

/*
 * What has come says that the session ends, or may be the last to come before
 * it does: a server that crashes has time only for a warning.  No palloc, no
 * ereport.
 */
void
sm_keep_fatal_message(SmConn *conn, const PGresult *res)
{
	const char *code = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	bool		fatal = sm_error_is_fatal(res);

	if (!fatal && !is_of_session(code))
		return;
	conn->fault.ending |= fatal;
	free(conn->fault.fatal_message);
	conn->fault.fatal_message = malloc(MAX_FATAL_MESSAGE);
	if (conn->fault.fatal_message != NULL)
		snprintf(conn->fault.fatal_message, MAX_FATAL_MESSAGE, "%s %s: %s", severity_of(res),
				 code ? code : "", message ? message : "");
}

/*
 * Why a connection that is DEAD has ended, as far as that is known: the target's
 * last words, or libpq's.  In malloc's memory, the caller's to free; or NULL.
 */
char *
sm_take_fatal_message(SmConn *conn)
{
	char	   *words = conn->fault.fatal_message;
	const char *message = conn->fault.violation;

	conn->fault.fatal_message = NULL;
	if (words != NULL)
		return words;
	if (message == NULL && conn->pg != NULL && PQstatus(conn->pg) != CONNECTION_OK)
		message = PQerrorMessage(conn->pg);
	return message != NULL && message[0] != '\0' ? strdup(message) : NULL;
}

/*
 * Text from libpq about the loss of a connection, fit for an error message.  When
 * its socket is closed already, libpq ends by complaining about that.
 */
static char *
loss_text(const char *message)
{
	static const char complaint[] = "invalid socket";
	char	   *text = clean_copy(message);
	char	   *at = strstr(text, complaint);

	if (at != NULL && at[strlen(complaint)] == '\0')
	{
		while (at > text &&isspace((unsigned char) at[-1]))
			at--;
		*at = '\0';
	}
	return text[0] != '\0' ? text : pstrdup("The target has closed it.");
}

/*
 * Why a connection was lost, in words: the error it ended with (or NULL) if that
 * is the target's, its last words, or what libpq says.
 */
char *
sm_report_cause(const SmConn *conn, const PGresult *res)
{
	const char *code = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *message;

	if (code != NULL && (conn->fault.fatal_message == NULL || !sm_error_is_fatal(res)))
		return psprintf("%s %s: %s", severity_of(res), code,
						clean_copy(PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)));
	if (conn->fault.fatal_message != NULL)
		return clean_copy(conn->fault.fatal_message);
	if (conn->fault.violation != NULL)
		return pstrdup(conn->fault.violation);
	message = PQresultErrorMessage(res);
	if (message[0] == '\0')
		message = PQerrorMessage(conn->pg);
	return PQstatus(conn->pg) != CONNECTION_OK ? loss_text(message) : clean_copy(message);
}

/* Why a connection was lost, where no command's error is at hand. */
char *
sm_report_loss(const SmConn *conn)
{
	return sm_report_cause(conn, NULL);
}

static int
remote_context(const SmConn *conn, const char *sql, const char *remote)
{
	if (remote != NULL)
		errcontext("%s", remote);
	return sm_report_context(conn->endpoint, sql);
}

static int
number_of(const char *field)
{
	return field ? atoi(field) : 0;
}

/* Where an error is in the text of the statement, in characters; 0: it is not in that. */
int
sm_error_position(const SmConn *conn, const PGresult *res)
{
	return conn->command.error_elsewhere ? 0 :
		number_of(PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION));
}

/*
 * Where the error is: in the statement, or in one that a function there ran, if
 * that may be shown.
 */
static void
take_position(RemoteError *err, const SmConn *conn, const PGresult *res, const char *sql)
{
	const char *inner = PQresultErrorField(res, PG_DIAG_INTERNAL_QUERY);

	err->query = NULL;
	err->position = sm_error_position(conn, res);
	if (!may_show_statements(conn->endpoint))
		return;
	if (err->position > 0 && sql != NULL)
		err->query = sql;
	else if (inner != NULL)
	{
		err->position = number_of(PQresultErrorField(res, PG_DIAG_INTERNAL_POSITION));
		err->query = clean_copy(inner);
	}
	if (err->query != NULL && (err->position <= 0 || strlen(err->query) > MAX_QUERY_SHOWN))
		err->query = NULL;
}

/*
 * Raise the error in res, which must be an error result of the server (with an
 * SQLSTATE).  The hint, or NULL, is for where the server has none.  Frees res,
 * also if it is the connection's current one.
 * What ends the remote session is 08006.
 */
void
sm_report_result(SmConn *conn, PGresult *res, const char *sql, const char *hint)
{
	RemoteError err;

	err.sqlstate = sqlstate_of(PQresultErrorField(res, PG_DIAG_SQLSTATE),
							   ERRCODE_CONNECTION_FAILURE);
	err.message = clean_copy(PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
	if (err.message == NULL)
		err.message = clean_copy(PQresultErrorMessage(res));
	err.detail = clean_copy(PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL));
	if (sm_error_is_fatal(res) || is_of_session(PQresultErrorField(res, PG_DIAG_SQLSTATE)))
	{
		/*
		 * under its own code a client would take it for the end of its
		 * session
		 */
		err.detail = psprintf("%s%s%s", sm_report_cause(conn, res), err.detail ? "\n" : "",
							  err.detail ? err.detail : "");
		err.sqlstate = ERRCODE_CONNECTION_FAILURE;
		err.message = psprintf(sm_error_is_fatal(res) ? "connection to \"%s\" was lost" :
							   "\"%s\" reports the end of a session", conn->endpoint->label);
	}
	if (conn->command.error_row > 0)
		err.detail = psprintf("%s%srow " UINT64_FORMAT " of the parameter query",
							  err.detail ? err.detail : "", err.detail ? "\n" : "",
							  conn->command.error_row);
	conn->command.error_row = 0;
	err.hint = clean_copy(PQresultErrorField(res, PG_DIAG_MESSAGE_HINT));
	if (err.hint == NULL && hint != NULL)
		err.hint = pstrdup(hint);
	err.context = clean_copy(PQresultErrorField(res, PG_DIAG_CONTEXT));
	err.schema = clean_copy(PQresultErrorField(res, PG_DIAG_SCHEMA_NAME));
	err.table = clean_copy(PQresultErrorField(res, PG_DIAG_TABLE_NAME));
	err.column = clean_copy(PQresultErrorField(res, PG_DIAG_COLUMN_NAME));
	err.datatype = clean_copy(PQresultErrorField(res, PG_DIAG_DATATYPE_NAME));
	err.constraint = clean_copy(PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME));
	take_position(&err, conn, res, sql);
	conn->command.error_elsewhere = false;

	if (conn->result == res)
		conn->result = NULL;
	PQclear(res);

	ereport(ERROR,
			(errcode(err.sqlstate),
			 errmsg_internal("%s", err.message),
			 err.detail ? errdetail_internal("%s", err.detail) : 0,
			 err.hint ? errhint("%s", err.hint) : 0,
			 err.schema ? err_generic_string(PG_DIAG_SCHEMA_NAME, err.schema) : 0,
			 err.table ? err_generic_string(PG_DIAG_TABLE_NAME, err.table) : 0,
			 err.column ? err_generic_string(PG_DIAG_COLUMN_NAME, err.column) : 0,
			 err.datatype ? err_generic_string(PG_DIAG_DATATYPE_NAME, err.datatype) : 0,
			 err.constraint ? err_generic_string(PG_DIAG_CONSTRAINT_NAME, err.constraint) : 0,
			 err.query ? internalerrquery(err.query) : 0,
			 err.query ? internalerrposition(err.position) : 0,
			 remote_context(conn, sql, err.context)));
}

/* Is what is sent to be shown, as option echo asks for? */
bool
sm_report_echoes(const SmEndpoint *endpoint)
{
	return unlikely(endpoint->options.echo) && sm_audience_entitled(endpoint);
}

/* With the option echo: what is sent, but for values. */
void
sm_report_echo(const SmEndpoint *endpoint, const char *sql)
{
	if (sm_report_echoes(endpoint))
		ereport(INFO,
				(errmsg_internal("%s: %s", endpoint->label, sql)));
}

/* The connection is gone, and what was under way surely had no effect. */
void
sm_report_lost(SmConn *conn, const char *sql)
{
	char	   *why = sm_report_cause(conn, NULL);

	ereport(ERROR,
			(errcode(conn->fault.broken || sm_is_no_memory(why) ? ERRCODE_OUT_OF_MEMORY : ERRCODE_CONNECTION_FAILURE),
			 errmsg("connection to \"%s\" was lost", conn->endpoint->label),
			 errdetail_internal("%s", why),
			 remote_context(conn, sql, NULL)));
}

/*
 * An answer that surely had no effect makes no sense, or libpq has no memory to
 * read it: the connection is of no use any more.
 */
void
sm_report_violation(SmConn *conn, const char *sql)
{
	const char *words = PQerrorMessage(conn->pg);
	char	   *why;

	sm_conn_set_state(conn, SM_CONN_DEAD);
	/* without memory there may be no words either */
	if (conn->fault.violation == NULL &&
		(sm_is_no_memory(words) || (conn->fault.broken && words[0] == '\0')))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("The answer of \"%s\" could not be read.", conn->endpoint->label),
				 remote_context(conn, sql, NULL)));
	why = sm_report_cause(conn, NULL);
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("unexpected answer from \"%s\"", conn->endpoint->label),
			 why[0] ? errdetail_internal("%s", why) : 0,
			 remote_context(conn, sql, NULL)));
}

/*
 * What a query of our own returned is nothing that a server can answer to it.
 * Whoever reads such rows looks for that first: anybody may be on the other side.
 */
void
sm_report_nonsense(SmConn *conn, const char *sql)
{
	conn->fault.violation = "Its answer is none to what it was asked.";
	sm_report_violation(conn, sql);
}

/* What was under way may have had its effect, or has had it: why says which. */
void
sm_report_unknown(SmConn *conn, const char *sql, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 errmsg("the outcome of a statement on \"%s\" is not known",
					conn->endpoint->label),
			 errdetail_internal("%s", why),
			 errhint("Look at the target before you repeat it."),
			 remote_context(conn, sql, NULL)));
}

/* Is the name that of a column before this one? */
static bool
is_taken(TupleDesc desc, int column, const char *name)
{
	for (int i = 0; i < column; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return true;
	}
	return false;
}

/*
 * A column definition list for these columns, as it is written after a function
 * in FROM, or NULL if it would be too long to help.  before: what comes first,
 * or NULL.
 */
char *
sm_report_columns(TupleDesc desc, const char *before)
{
	StringInfoData buf;

	if (desc->natts == 0 || desc->natts > MAX_COLUMNS_SHOWN)
		return NULL;
	initStringInfo(&buf);
	appendStringInfo(&buf, "AS t(%s", before ? before : "");
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *name = NameStr(att->attname);

		/* not what an expression is called, nor one name twice */
		if (strcmp(name, "?column?") == 0 || is_taken(desc, i, name))
			name = psprintf("column%d", i + 1);
		appendStringInfo(&buf, "%s%s %s", i > 0 ? ", " : "", quote_identifier(name),
						 format_type_with_typemod(att->atttypid, att->atttypmod));
	}
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

static bool
is_copy(const char *sql)
{
	return sql != NULL && pg_strncasecmp(sql + strspn(sql, " \t\r\n"), "copy", 4) == 0;
}

/*
 * A statement does not return the columns that its caller declared.  columns:
 * what would be right, from sm_report_columns(), or NULL.
 */
void
sm_report_shape(const SmEndpoint *endpoint, const char *sql, int returned, int declared,
				const char *columns)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg_plural("statement on \"%s\" returns %d column, not the declared %d",
						   "statement on \"%s\" returns %d columns, not the declared %d",
						   returned, endpoint->label, returned, declared),
			 returned > 0 ?
			 (columns && sm_audience_entitled(endpoint) ?
			  errhint("Its column definition list is %s.", columns) : 0) :
			 is_copy(sql) ? errhint(HINT_COPY) :
			 errhint("Add RETURNING to get rows of INSERT, UPDATE or DELETE, or use sessmgr.execute()."),
			 sm_report_context(endpoint, sql)));
}

/* COPY from or to the client; done: what its query does may have been done. */
void
sm_report_copy(const SmEndpoint *endpoint, bool done)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("COPY from or to the client cannot be used on \"%s\"", endpoint->label),
			 done ? errdetail("What its query does may have been done.") : 0,
			 endpoint->remote ?
			 errhint(HINT_COPY) : 0));
}

/* There is no statement in the text. */
void
sm_report_empty(const SmEndpoint *endpoint)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("statement for \"%s\" is empty", endpoint->label)));
}

/* Text from libpq, fit for an error message. */
char *
sm_report_text(const char *message)
{
	return clean_copy(message);
}

/* ----------
 * What is told where nothing may fail
 * ----------
 */

/* False if raise() has thrown. */
static bool
try_raise(SmRaise raise, const void *arg, bool named)
{
	MemoryContext cxt = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;
	uint32		cancel_holdoff = QueryCancelHoldoffCount;
	volatile bool shown = true;

	/*
	 * A cancel is not for this to catch.  But a backend whose client does not
	 * read what it is told must be possible to terminate.
	 */
	HOLD_CANCEL_INTERRUPTS();
	PG_TRY();
	{
		raise(arg, named);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		shown = false;
	}
	PG_END_TRY();
	InterruptHoldoffCount = holdoff;
	QueryCancelHoldoffCount = cancel_holdoff;
	return shown;
}

/*
 * Raise a message below ERROR where nothing may be thrown, as what it tells of
 * is done: after the local commit a throw would be a PANIC.  Every message that
 * has a target's name or statement in it can throw, as the client's encoding
 * may have no characters for them; raise() is then called again, to tell it
 * without them, and without a context.  (The server's log has it in full.)
 * False if that cannot be shown either.
 */
bool
sm_ereport_nothrow(SmRaise raise, const void *arg)
{
	ErrorContextCallback *context = error_context_stack;
	bool		shown;

	if (try_raise(raise, arg, true))
		return true;
	error_context_stack = NULL;
	shown = try_raise(raise, arg, false);
	error_context_stack = context;
	return shown;
}

/* ----------
 * Notices
 * ----------
 */
static int
notice_level(const char *severity)
{
	if (strcmp(severity, "WARNING") == 0)
		return WARNING;
	if (strcmp(severity, "INFO") == 0)
		return INFO;
	if (strncmp(severity, "DEBUG", 5) == 0)
		return DEBUG1;
	return NOTICE;
}

static void
free_notice(SmNotice *notice)
{
	free(notice->message);
	free(notice->detail);
	free(notice->hint);
	free(notice->context);
	free(notice);
}

/*
 * A malloc'd copy, NULL for NULL; *ok becomes false when memory is out, or there
 * is no room for it among the connection's notices.
 */
static char *
copy_field(SmConn *conn, const PGresult *res, int field, bool *ok)
{
	const char *value = PQresultErrorField(res, field);
	size_t		len;
	char	   *copy;

	if (value == NULL)
		return NULL;
	len = strlen(value) + 1;
	copy = conn->notices.bytes + len <= MAX_NOTICE_BYTES ? strdup(value) : NULL;
	if (copy == NULL)
		*ok = false;
	else
		conn->notices.bytes += len;
	return copy;
}

/*
 * libpq calls this with each notice.  It runs inside libpq: no palloc, no
 * ereport.
 */
void
sm_notice_receiver(void *arg, const PGresult *res)
{
	SmConn	   *conn = (SmConn *) arg;
	const char *code = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	SmNotice   *notice;
	bool		ok = true;

	/* where nothing is on the wire, libpq takes the last word for a notice */
	sm_keep_fatal_message(conn, res);
	if (sm_error_is_fatal(res))
		return;
	/* and of what else comes then, it says itself "message type 0x..." */
	if (code == NULL && conn->state != SM_CONN_CONNECTING && message != NULL &&
		strstr(message, "0x") != NULL)
	{
		conn->fault.ending = true;
		conn->fault.violation = "It has answered what it was not asked.";
		return;
	}
	if (conn->notices.count >= MAX_NOTICES ||
		(notice = calloc(1, sizeof(SmNotice))) == NULL)
	{
		conn->notices.dropped++;
		return;
	}
	notice->elevel = notice_level(severity_of(res));
	notice->sqlstate = is_of_session(code) ? 0 : sqlstate_of(code, 0);
	notice->message = copy_field(conn, res, PG_DIAG_MESSAGE_PRIMARY, &ok);
	notice->detail = copy_field(conn, res, PG_DIAG_MESSAGE_DETAIL, &ok);
	notice->hint = copy_field(conn, res, PG_DIAG_MESSAGE_HINT, &ok);
	notice->context = copy_field(conn, res, PG_DIAG_CONTEXT, &ok);
	if (!ok || notice->message == NULL)
	{
		free_notice(notice);
		conn->notices.dropped++;
		return;
	}
	notice->next = conn->notices.queue;
	conn->notices.queue = notice;
	conn->notices.count++;
}

/* Take the queue, oldest first. */
static SmNotice *
take_notices(SmConn *conn)
{
	SmNotice   *list = NULL;

	while (conn->notices.queue != NULL)
	{
		SmNotice   *notice = conn->notices.queue;

		conn->notices.queue = notice->next;
		notice->next = list;
		list = notice;
	}
	conn->notices.count = 0;
	conn->notices.bytes = 0;
	return list;
}

/* With its context only if the connection is given. */
static void
raise_notice(const SmConn *conn, const SmNotice *notice)
{
	char	   *message = clean_copy(notice->message);
	char	   *detail = clean_copy(notice->detail);
	char	   *hint = clean_copy(notice->hint);
	char	   *context = clean_copy(notice->context);

	ereport(notice->elevel,
			(notice->sqlstate ? errcode(notice->sqlstate) : 0,
			 errmsg_internal("%s", message),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0,
			 conn ? remote_context(conn, NULL, context) : 0));
}

static void
free_notices(SmNotice *list)
{
	while (list != NULL)
	{
		SmNotice   *next = list->next;

		free_notice(list);
		list = next;
	}
}

/* A notice and where it came from */
typedef struct SmShownNotice
{
	const SmConn *conn;
	const SmNotice *notice;
} SmShownNotice;

static void
raise_shown_notice(const void *arg, bool named)
{
	const SmShownNotice *shown = arg;

	raise_notice(named ? shown->conn : NULL, shown->notice);
}

/* How many notices could not be kept or shown */
typedef struct SmLostNotices
{
	const SmConn *conn;
	uint64		n;
} SmLostNotices;

static void
raise_lost_notices(const void *arg, bool named)
{
	const SmLostNotices *lost = arg;
	unsigned long n = (unsigned long) lost->n;

	if (named)
		ereport(NOTICE,
				(errmsg_plural("%lu more notice from \"%s\" was not kept",
							   "%lu more notices from \"%s\" were not kept",
							   n, n, lost->conn->endpoint->label)));
	else
		ereport(NOTICE,
				(errmsg_plural("%lu more notice of a target was not kept",
							   "%lu more notices of a target were not kept", n, n)));
}

/*
 * Raise the queued notices; to be called when nothing is on the wire.  Never
 * throws, as what the notices belong to is done: one that cannot be shown is
 * counted instead.
 */
void
sm_notices_report(SmConn *conn)
{
	SmNotice   *list;
	SmLostNotices lost = {conn, conn->notices.dropped};

	if (likely(conn->notices.queue == NULL && lost.n == 0))
		return;

	list = take_notices(conn);
	conn->notices.dropped = 0;
	for (const SmNotice *notice = list; notice != NULL; notice = notice->next)
	{
		SmShownNotice shown = {conn, notice};

		if (!sm_ereport_nothrow(raise_shown_notice, &shown))
			lost.n++;
	}
	free_notices(list);
	if (lost.n > 0)
		(void) sm_ereport_nothrow(raise_lost_notices, &lost);
}

/* Drop the queue unseen. */
void
sm_notices_forget(SmConn *conn)
{
	free_notices(take_notices(conn));
	conn->notices.dropped = 0;
}

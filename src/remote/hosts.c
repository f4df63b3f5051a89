/*-------------------------------------------------------------------------
 *
 * hosts.c
 *		The hosts and addresses that a connection may be made to, in turn.
 *
 * libpq goes through lists of hosts, and all addresses of each, by itself; but
 * with the functions that do not wait it gives none of them a time limit, and
 * cannot be told to go on to the next.  So it is given one address at a time, as
 * host and hostaddr, and the rest of what it does with several is done here:
 * names are looked up when their turn comes, load_balance_hosts shuffles, and
 * target_session_attrs=prefer-standby is a round for standbys and then one for
 * any server.
 *
 * What is not to be read as a list, or not by its rules, is given to libpq as it
 * is, which then says what is wrong with it.
 *
 * Invariant: all of it, with the target's secrets, is in one memory context,
 * which goes as soon as there is a connection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "remote/remote_private.h"

#include <netdb.h>
#include <sys/socket.h>

#include "common/ip.h"
#include "common/pg_prng.h"
#include "utils/memutils.h"

/* A host as it was given. */
typedef struct Host
{
	char	   *name;			/* a name, an address, a directory, or empty */
	char	   *address;		/* hostaddr, or empty */
	char	   *port;
} Host;

struct SmHosts
{
	MemoryContext cxt;
	SmTarget	target;			/* with what is to be given to libpq now */
	bool		as_given;		/* libpq gets all of it at once */
	bool		shuffled;
	const char *attrs;			/* target_session_attrs, or NULL */
	bool		prefers_standby;
	bool		again;			/* the second round, for any server */
	int			nhosts;
	Host	   *hosts;
	int			host;			/* whose turn it is */
	int			naddresses;		/* that it has, 0: not looked up */
	char	  **addresses;
	int			address;		/* whose turn it is */
	StringInfoData failures;
	char	   *last_failure;
};

static bool
is_directory(const char *name)
{
	return name[0] == '\0' || name[0] == '/' || name[0] == '@';
}

/* A list as libpq reads it: split at commas, and nothing else. */
static List *
split(const char *list)
{
	List	   *elements = NIL;

	if (list == NULL)
		return NIL;
	for (;;)
	{
		size_t		len = strcspn(list, ",");

		elements = lappend(elements, pnstrdup(list, len));
		if (list[len] == '\0')
			return elements;
		list += len + 1;
	}
}

static void
shuffle(const SmHosts *hosts, void *items, int n, size_t size)
{
	char	   *bytes = items;
	char	   *swap = palloc(size);

	for (int i = n - 1; hosts->shuffled && i > 0; i--)
	{
		int			j = (int) (pg_prng_double(&pg_global_prng_state) * (i + 1));

		memcpy(swap, bytes + i * size, size);
		memcpy(bytes + i * size, bytes + j * size, size);
		memcpy(bytes + j * size, swap, size);
	}
	pfree(swap);
}

static void
read_lists(SmHosts *hosts)
{
	List	   *names = split(sm_options_keyword(&hosts->target, "host"));
	List	   *addresses = split(sm_options_keyword(&hosts->target, "hostaddr"));
	List	   *ports = split(sm_options_keyword(&hosts->target, "port"));
	int			n = Max(list_length(addresses) > 0 ? list_length(addresses) : list_length(names), 1);

	hosts->as_given = (names != NIL && list_length(names) != n) ||
		(list_length(ports) > 1 && list_length(ports) != n);
	hosts->nhosts = hosts->as_given ? 1 : n;
	hosts->hosts = palloc(hosts->nhosts * sizeof(Host));
	for (int i = 0; i < hosts->nhosts && !hosts->as_given; i++)
	{
		Host	   *host = &hosts->hosts[i];

		host->name = names ? list_nth(names, i) : "";
		host->address = addresses ? list_nth(addresses, i) : "";
		host->port = ports == NIL ? "" : list_nth(ports, list_length(ports) > 1 ? i : 0);
	}
	shuffle(hosts, hosts->hosts, hosts->nhosts, sizeof(Host));
}

/*
 * Where a connection to this target may be made to.  Takes a copy of the
 * target's keywords; sm_hosts_free() releases all.
 */
SmHosts *
sm_hosts_make(const SmTarget *target)
{
	/*
	 * the caller's until all is in it, so that an error leaves no secrets
	 * behind
	 */
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "sessmgr hosts",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	SmHosts    *hosts = palloc0(sizeof(SmHosts));
	const char *balance;

	hosts->cxt = cxt;
	for (int i = 0; target->keywords[i] != NULL; i++)
		sm_options_set_keyword(&hosts->target, target->keywords[i], target->values[i]);
	if (target->kind == SM_TARGET_LOOPBACK || target->loopback)
		sm_options_set_keyword(&hosts->target, "options",
							   sm_chain_options(sm_options_keyword(&hosts->target, "options")));
	balance = sm_options_keyword(&hosts->target, "load_balance_hosts");
	hosts->shuffled = balance != NULL && strcmp(balance, "random") == 0;
	hosts->attrs = sm_options_keyword(&hosts->target, "target_session_attrs");
	hosts->prefers_standby = hosts->attrs != NULL && strcmp(hosts->attrs, "prefer-standby") == 0;
	initStringInfo(&hosts->failures);
	read_lists(hosts);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(cxt, TopMemoryContext);
	return hosts;
}

void
sm_hosts_free(SmHosts *hosts)
{
	if (hosts != NULL)
		MemoryContextDelete(hosts->cxt);
}

/* libpq calls a host by the address that it got for it: put its name there. */
static char *
with_name(const SmHosts *hosts, char *text)
{
	const char *name = sm_options_keyword(&hosts->target, "host");
	const char *address = sm_options_keyword(&hosts->target, "hostaddr");
	char	   *at = name && address && strcmp(name, address) != 0 ?
		strstr(text, psprintf("\"%s\"", address)) : NULL;

	if (at == NULL)
		return text;

	*at = '\0';
	return psprintf("%s\"%s\" (%s)%s", text, name, address, at + strlen(address) + 2);
}

/* An attempt has failed for this reason, in libpq's words or ours. */
void
sm_hosts_note_failure(SmHosts *hosts, const char *reason)
{
	MemoryContext old = MemoryContextSwitchTo(hosts->cxt);
	char	   *text = with_name(hosts, sm_report_text(reason));

	/* what is wrong with all of them is said once */
	if (hosts->last_failure == NULL || strcmp(hosts->last_failure, text) != 0)
	{
		if (hosts->failures.len > 0)
			appendStringInfoChar(&hosts->failures, '\n');
		appendStringInfoString(&hosts->failures, text);
		hosts->last_failure = text;
	}
	MemoryContextSwitchTo(old);
}

/* Why all attempts have failed so far, a line or more for each. */
const char *
sm_hosts_failures(const SmHosts *hosts)
{
	return hosts->failures.data;
}

/* Must the server be of some kind, which an attempt finds out last? */
bool
sm_hosts_choosy(const SmHosts *hosts)
{
	return hosts->attrs != NULL && strcmp(hosts->attrs, "any") != 0 && !hosts->again;
}

/*
 * Which host and port an attempt was for, for a message; empty where there was
 * never a choice.
 */
char *
sm_hosts_label(const SmHosts *hosts)
{
	const char *name = sm_options_keyword(&hosts->target, "host");
	const char *address = sm_options_keyword(&hosts->target, "hostaddr");
	const char *port = sm_options_keyword(&hosts->target, "port");

	if (hosts->as_given || (hosts->nhosts == 1 && hosts->naddresses <= 1))
		return pstrdup("");
	return psprintf("\"%s\"%s%s%s, port %s: ", name ? name : address ? address : "",
					name && address && strcmp(name, address) != 0 ? " (" : "",
					name && address && strcmp(name, address) != 0 ? address : "",
					name && address && strcmp(name, address) != 0 ? ")" : "",
					port ? port : DEF_PGPORT_STR);
}

/*
 * Look a name up.  Blocks as long as the system's resolver does.  False: it has
 * no address.
 */
static bool
look_up(SmHosts *hosts, const Host *host)
{
	struct addrinfo hint = {.ai_family = AF_UNSPEC,.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int			rc = pg_getaddrinfo_all(host->name, NULL, &hint, &found);
	int			n = 0;

	for (struct addrinfo *at = found; at != NULL; at = at->ai_next)
		n++;
	hosts->addresses = palloc(Max(n, 1) * sizeof(char *));
	hosts->naddresses = 0;
	for (struct addrinfo *at = found; rc == 0 && at != NULL; at = at->ai_next)
	{
		char text[	NI_MAXHOST];

		if (getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof(text), NULL, 0,
						NI_NUMERICHOST) == 0)
			hosts->addresses[hosts->naddresses++] = pstrdup(text);
	}
	if (found != NULL)
		pg_freeaddrinfo_all(hint.ai_family, found);
	if (hosts->naddresses == 0)
		sm_hosts_note_failure(hosts, psprintf("could not translate host name \"%s\" to address: %s",
											  host->name, gai_strerror(rc)));
	shuffle(hosts, hosts->addresses, hosts->naddresses, sizeof(char *));
	return hosts->naddresses > 0;
}

/* The next address of the host whose turn it is; false: it has no more. */
static bool
next_address(SmHosts *hosts)
{
	const Host *host = &hosts->hosts[hosts->host];
	const char *address = host->address;
	bool		by_name = address[0] == '\0' && !is_directory(host->name);

	if (by_name)
	{
		if (hosts->naddresses == 0 && !look_up(hosts, host))
			return false;
		if (hosts->address >= hosts->naddresses)
			return false;
		address = hosts->addresses[hosts->address++];
	}
	else if (hosts->address++ > 0)
		return false;
	sm_options_set_keyword(&hosts->target, "host", host->name);
	sm_options_set_keyword(&hosts->target, "hostaddr", address);
	sm_options_set_keyword(&hosts->target, "port", host->port);
	return true;
}

/* One more address in this round. */
static bool
next_of_round(SmHosts *hosts)
{
	for (; hosts->host < hosts->nhosts; hosts->host++)
	{
		if (hosts->as_given ? hosts->address++ == 0 : next_address(hosts))
			return true;
		hosts->address = hosts->naddresses = 0;
	}
	return false;
}

/*
 * What libpq is to be given for the next attempt, or NULL: there is none.  What
 * is returned is good until the next call.
 */
const SmTarget *
sm_hosts_next(SmHosts *hosts)
{
	MemoryContext old = MemoryContextSwitchTo(hosts->cxt);
	bool		found;

	if (hosts->prefers_standby)
		sm_options_set_keyword(&hosts->target, "target_session_attrs",
							   hosts->again ? "any" : "standby");
	found = next_of_round(hosts);
	if (!found && hosts->prefers_standby && !hosts->again)
	{
		hosts->again = true;
		hosts->host = hosts->address = hosts->naddresses = 0;
		sm_options_set_keyword(&hosts->target, "target_session_attrs", "any");
		found = next_of_round(hosts);
	}
	MemoryContextSwitchTo(old);
	return found ? &hosts->target : NULL;
}

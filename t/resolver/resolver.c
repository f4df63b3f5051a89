/*-------------------------------------------------------------------------
 *
 * resolver.c
 *		Names with several addresses, for t/connect.pl.
 *
 * It is preloaded, so that names are looked up here.  One that ends with .test
 * has the addresses that it is made of: 127.0.0.2-127.0.0.1.test has two.  It uses
 * nothing of the server, as other programs that inherit the preloading load it, too.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

typedef int (*Lookup) (const char *, const char *, const struct addrinfo *,
					   struct addrinfo **);

/* modules hide their functions from PostgreSQL 16 on */
__attribute__((visibility("default")))
int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
			struct addrinfo **found)
{
	Lookup		look_up = (Lookup) dlsym(RTLD_NEXT, "getaddrinfo");
	const char *suffix = name ? strstr(name, ".test") : NULL;
	char	   *addresses;
	int			rc = 0;

	if (suffix == NULL || suffix[5] != '\0')
		return look_up(name, service, hints, found);
	addresses = strndup(name, suffix - name);
	/* whoever frees the first frees all that follow it */
	for (char *address = strtok(addresses, "-"); address && rc == 0; address = strtok(NULL, "-"))
	{
		rc = look_up(address, service, hints, found);
		while (rc == 0 && *found != NULL)
			found = &(*found)->ai_next;
	}
	free(addresses);
	return rc;
}

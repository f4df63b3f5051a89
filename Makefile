# sessmgr: engines, pooled sessions and models for SQL functions.
#
#	make [PG_CONFIG=...] && make install && make installcheck
#
# "make installcheck" needs a running server with the extension installed;
# dev/test sets up everything, on servers of its own.

EXTENSION = sessmgr
EXTVERSION = 0.1
DATA = sessmgr--$(EXTVERSION).sql
MODULE_big = sessmgr
PGFILEDESC = "sessmgr - engines, pooled sessions and models for SQL functions"

SRCS = sessmgr.c $(sort $(wildcard src/*/*.c))
OBJS = $(SRCS:.c=.o)

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --encoding=UTF8
ISOLATION = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
TAP_TESTS = 1

PG_CONFIG ?= pg_config
INCLUDEDIR_SERVER := $(shell $(PG_CONFIG) --includedir-server)

# The server's headers as system headers: -Wextra is for our own code.
PG_CPPFLAGS = -I$(srcdir) -I$(srcdir)/src -isystem $(INCLUDEDIR_SERVER) -isystem $(shell $(PG_CONFIG) --includedir)
ifneq ($(shell grep -l libpqsrv_is_valid_proxy_option $(INCLUDEDIR_SERVER)/libpq/libpq-be-fe-helpers.h 2>/dev/null),)
PG_CPPFLAGS += -DHAVE_LIBPQSRV_CHECK_PROXY_CONNINFO
endif
PG_CFLAGS = $(CFLAGS_EXTRA)
SHLIB_LINK = -L$(shell $(PG_CONFIG) --libdir) -lpq

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Every object depends on all headers: rebuilding all of it takes seconds.
$(OBJS): sessmgr.h $(wildcard src/*/*.h)

# Helpers shared by the scripts in dev/; sourced, not run.
#
# The scripts build and run in a private directory, $work: a copy of the
# sources, and a copy of the PostgreSQL installation (which finds its files
# relative to its programs), so that nothing is installed on the machine and
# several runs never meet.  PostgreSQL refuses to run as root: for root all of
# it belongs to, and runs as, the user nobody.

set -euo pipefail
umask 022

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
me=${0##*/}
supported='18 17 16 15'		# newest first
warnings='-Wall -Wextra -Werror'

given_pg_config=${PG_CONFIG:-}
unset PG_CONFIG
unset ${!PG@}				# PGHOST and the like are not for private servers
export LC_ALL=C.UTF-8 TMPDIR=/tmp	# a socket's path must be short
export MAKEFLAGS='' PAGER=cat

say() { printf '%s\n' "$@"; }
die() { printf '%s: %s\n' "$me" "$*" >&2; exit 1; }

# pg_major PG_CONFIG: its major version
pg_major() { "$1" --version 2>/dev/null | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'; }

# pg_usable PG_CONFIG: a supported server, with all that building for it needs
pg_usable() {
	local major bindir
	[ -x "$1" ] || return 1
	major=$(pg_major "$1")
	[[ " $supported " == *" $major "* ]] || return 1
	bindir=$("$1" --bindir)
	[ -x "$bindir/initdb" ] && [ -x "$bindir/postgres" ] && [ -x "$bindir/pgbench" ] &&
		[ -r "$("$1" --pgxs)" ] && [ -r "$("$1" --includedir)/libpq-fe.h" ] &&
		[ -r "$("$1" --includedir-server)/postgres.h" ] &&
		pg_same_minor "$1"
}

# pg_same_minor PG_CONFIG: do headers and server come from one release?  (Where
# the headers do not say in the usual place, they are believed to.)
pg_same_minor() {
	local header
	header=$(sed -n 's/^#define PG_VERSION "\(.*\)"/\1/p' \
		"$("$1" --includedir-server)/pg_config.h" 2>/dev/null)
	[ -z "$header" ] || [ "$("$("$1" --bindir)/postgres" --version)" = "postgres (PostgreSQL) $header" ]
}

# find_pg_config: prints the pg_config to use, or fails.  In this order: the
# one given in $PG_CONFIG, the newest in Debian's places, the one in the PATH.
find_pg_config() {
	local major config
	if [ -n "$given_pg_config" ]; then
		config=$(command -v "$given_pg_config") && real_pg_config "$config"
		return
	fi
	for major in $supported; do
		config=/usr/lib/postgresql/$major/bin/pg_config
		if pg_usable "$config"; then say "$config"; return; fi
	done
	config=$(command -v pg_config) && real_pg_config "$config"
}

# real_pg_config FILE: Debian's pg_config in the PATH is a wrapper, which does
# not know where it is
real_pg_config() {
	local config
	config=$("$1" --bindir)/pg_config
	[ -x "$config" ] || config=$1
	pg_usable "$config" && say "$config"
}

work_parent=/tmp

# plenty_of_memory: is there enough for a work directory of some gigabytes in /dev/shm?
plenty_of_memory() {
	[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] &&
		[ "$(df --output=avail -m /dev/shm | tail -n 1)" -ge 8000 ] &&
		[ "$(sed -nE 's/^MemAvailable: +([0-9]+) kB/\1/p' /proc/meminfo)" -ge 12000000 ]
}

# as_user COMMAND...: run it in $work as an ordinary user
as_user() (
	cd "$work"
	if [ "$(id -u)" -ne 0 ]; then
		exec "$@"
	fi
	export HOME=$work USER=nobody LOGNAME=nobody
	export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	if command -v setpriv >/dev/null; then
		exec setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups -- "$@"
	fi
	exec runuser -u nobody -- "$@"
)

# make_work: creates $work in $work_parent, which is removed at exit
make_work() {
	work=$(mktemp -d "$work_parent/sessmgr.XXXXXX")
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	trap clean_up EXIT
	give_work
}

# give_work: lets the user that as_user runs as have all of $work
give_work() {
	if [ "$(id -u)" -eq 0 ]; then
		chown -hR "nobody:$(id -g nobody)" "$work"
	fi
}

# stop_servers: ends every server with a data directory in $work, and nothing else
stop_servers() {
	local file pid
	while read -r file; do
		pid=$(head -n 1 "$file" 2>/dev/null) || continue
		kill -QUIT "$pid" 2>/dev/null || continue
		timeout 10 tail --pid="$pid" -f /dev/null || kill -KILL "$pid" 2>/dev/null || true
	done < <(find "$work" -name postmaster.pid 2>/dev/null)
}

clean_up() {
	local status=$?
	trap - EXIT
	cd /
	stop_servers
	rm -rf "$work"
	exit "$status"
}

# private_pg PG_CONFIG: copies that installation to $work and sets $pg_config
# and $bindir to the copy's.  Only the programs must really be copied.
private_pg() {
	local root=$work/pg dir
	bindir=$root$("$1" --bindir)
	mkdir -p "$bindir"
	cp -L "$("$1" --bindir)"/* "$bindir"
	for dir in "$("$1" --pkglibdir)" "$("$1" --sharedir)"; do
		mkdir -p "$root$dir"
		cp -rs "$dir/." "$root$dir"
	done
	for dir in "$("$1" --includedir)" "$("$1" --pkgincludedir)" "$("$1" --includedir-server)"; do
		# one inside of another is there already: never write through its link
		[ -e "$root$dir" ] && continue
		[ -e "$dir" ] || die "$dir, which $1 names, is not there"
		mkdir -p "$root${dir%/*}"
		ln -s "$dir" "$root$dir"
	done
	mkdir -p "$root$("$1" --libdir)"
	for dir in "$("$1" --libdir)"/libpq.*; do
		[ -e "$dir" ] && ln -sf "$dir" "$root$dir"
	done
	pg_config=$bindir/pg_config
	[ "$("$pg_config" --sharedir)" = "$root$("$1" --sharedir)" ] ||
		die "a copy of the PostgreSQL of $1 does not find its own files"
}

# build [MAKE_ARGUMENT...]: copies the sources to $build, builds them for
# $pg_config and installs them there
build() {
	local log=$work/build.log module
	build=$work/sessmgr
	mkdir "$build"
	tar -C "$top" -cf "$work/source.tar" --exclude=./.git --exclude='*.o' --exclude='*.so' \
		--exclude='*.bc' --exclude=./tmp_check --exclude=./results . || [ $? -eq 1 ]
	tar -C "$build" -xf "$work/source.tar"
	rm "$work/source.tar"
	give_work
	for module in "$build" "$build"/t/*/; do
		[ -f "$module/Makefile" ] || continue
		if ! as_user make -s -j"$(nproc)" -C "$module" PG_CONFIG="$pg_config" with_llvm=no \
			"$@" all install >"$log" 2>&1; then
			cat "$log" >&2
			die 'the build failed'
		fi
		# warnings are worth seeing even where they are not errors
		if grep -q 'warning:' "$log"; then cat "$log" >&2; fi
	done
}

# prepare WHAT [MAKE_ARGUMENT...]: all of the above, for the demo or for tests
prepare() {
	local original
	PG_CONFIG=$given_pg_config "$top/dev/install-deps" "$1"
	original=$(find_pg_config) || die "no usable PostgreSQL (wanted: one of $supported with its headers)"
	make_work
	private_pg "$original"
	say "Building sessmgr for $("$pg_config" --version) ..."
	build "${@:2}"
}

# The two servers of bench/run, and what runs on them; sourced, not run.

# A socket in $work/NAME each.  What differs from PostgreSQL's defaults is also
# what bench/lib/page.sh says.
start_servers() {
	local name dir
	for name in local remote; do
		dir=$work/$name
		as_user mkdir "$dir"
		as_user "$bindir/initdb" -D "$dir/data" -U postgres -A trust --no-sync --encoding=UTF8 >"$dir.log" 2>&1 ||
			die "initdb failed: $(cat "$dir.log")"
		as_user "$bindir/pg_ctl" -D "$dir/data" -l "$dir.server.log" -w -s -o "-c listen_addresses='' \
			-c unix_socket_directories=$dir -c port=5432 -c max_connections=300 -c fsync=off \
			-c max_wal_size=8GB -c shared_buffers=256MB -c autovacuum=off -c jit=off" start ||
			die "the server did not start: $(tail "$dir.server.log")"
	done
	remote="host=$work/remote port=5432 dbname=postgres user=postgres"
	here="host=$work/local port=5432 dbname=postgres user=postgres"
}

# fill_servers: tables, servers and functions of the works, on both
fill_servers() {
	local sizes=(-v host="$work/remote" -v remote="$remote" -v table_rows="$table_rows"
		-v source_rows="$source_rows" -v targets="$targets")
	on remote "${sizes[@]}" -f "$build/bench/remote.sql" >/dev/null
	on local "${sizes[@]}" -f "$build/bench/local.sql" >/dev/null
	functions=" $(on local -c "SELECT string_agg(DISTINCT proname, ' ') FROM pg_proc WHERE pronamespace = 'sessmgr'::regnamespace") "
	peers=' '
	if has_extension plproxy; then
		on local "${sizes[@]}" -f "$build/bench/plproxy.sql" >/dev/null
		peers+='PL/Proxy '
	fi
	if has_extension plpython3u; then
		on local "${sizes[@]}" -f "$build/bench/python.sql" >/dev/null
		if has_module psycopg2; then
			peers+='psycopg2 '
			if has_module celery.backends.database.session; then peers+='Celery '; fi
		fi
	fi
}

has_extension() { [ "$(on local -c "SELECT count(*) FROM pg_available_extensions WHERE name = '$1'")" = 1 ]; }
has_module() { on local -c "DO 'import $1' LANGUAGE plpython3u" 2>/dev/null; }

# why_absent LABEL: why something cannot be measured here; nothing if it can
why_absent() {
	local name
	case $1 in
		sessmgr.*)
			name=${1#sessmgr.}
			name=${name%%[!a-z_]*}
			[[ $functions == *" $name "* ]] || say 'not there yet'
			;;
		PL/Proxy* | psycopg2* | Celery*)
			name=${1%%[!a-zA-Z0-9/]*}
			[[ $peers == *" $name "* ]] || say 'not installed here'
			;;
	esac
}

# build_limit: with the libpq of that PostgreSQL; or the system's, if that of a
# dev/pg-prefix is for another system
build_limit() {
	local libdir command
	libdir=$("$pg_config" --libdir)
	command=(cc -O2 -Wall -I"$("$pg_config" --includedir)" -o "$work/limit" "$top/bench/limit.c")
	"${command[@]}" -L"$libdir" -Wl,-rpath,"$libdir" -lpq 2>/dev/null || "${command[@]}" -lpq
}

# find_cpus: sets $serial to one of the CPUs that this process may use, and
# $streams to two
find_cpus() {
	local all
	mapfile -t all < <(taskset -cp $$ | sed 's/.*: //' | tr , '\n' |
		awk -F- '{ for (i = $1; i <= $NF; i++) print i }')
	serial=${all[0]} streams=${all[0]}${all[1]:+,${all[1]}} cpus=$streams
}

# pin CPUS: where servers and clients run from now on: on $serial, so that waking
# another CPU is in nobody's figures, or on $streams
pin() {
	local name pid
	cpus=$1
	for name in local remote; do
		for pid in $(head -n 1 "$work/$name/data/postmaster.pid") $(on "$name" -c 'SELECT pid FROM pg_stat_activity'); do
			taskset -cp "$cpus" "$pid" >/dev/null 2>&1 || true	# it may be gone
		done
	done
}

# client SERVER PROGRAM ARGUMENT...: one of PostgreSQL's, for that server
client() { as_user env PGHOST="$work/$1" PGPORT=5432 PGUSER=postgres taskset -c "$cpus" "$bindir/$2" "${@:3}"; }

# on SERVER PSQL_ARGUMENT...
on() { client "$1" psql -XqAt -v ON_ERROR_STOP=1 -d postgres "${@:2}" </dev/null; }

# limit WORK ARGUMENT...: milliseconds of bench/limit.c
limit() { as_user taskset -c "$cpus" "$work/limit" "$@"; }

# ms STATEMENT N WARM: milliseconds of the statement, on the local server; see
# measure() in bench/local.sql
ms() { on local -c "SELECT measure(\$statement\$$1\$statement\$, $2, $3)"; }

# each N COMMAND...: microseconds, where COMMAND says milliseconds of N calls
each() { "${@:2}" | awk -v n="$1" '{ printf "%.4f\n", $1 * 1000 / n }'; }

# scaled FACTOR COMMAND...: what COMMAND says, times that
scaled() { "${@:2}" | awk -v f="$1" '{ printf "%.3f\n", $1 * f }'; }

# into_empty ROWS COMMAND...: the command, which is to write so many rows (or one
# more) to the table t of one of the servers; nothing is in them before
into_empty() {
	local server rows=0
	for server in local remote; do on "$server" -c 'TRUNCATE t' || return; done
	"${@:2}" || return
	for server in local remote; do rows=$((rows + $(on "$server" -c 'SELECT count(*) FROM t'))); done
	[ $((rows - $1)) -eq 0 ] || [ $((rows - $1)) -eq 1 ] || { say "$rows rows instead of $1" >&2 && return 1; }
}

# loop NAME N: microseconds a call of loop_NAME()
loop() { each "$2" ms "SELECT loop_$1(@n)" "$2" "$((calls < 500 ? calls : 500))"; }

# tps SERVER CLIENTS STATEMENT: transactions a second by pgbench, :k being a key
tps() {
	printf '\\set k random(1, 20000)\n%s;\n' "$3" | as_user tee "$work/pgbench.sql" >/dev/null
	client "$1" pgbench -n -M prepared -c "$2" -j "$(($2 < 2 ? 1 : 2))" -T "$seconds" -f "$work/pgbench.sql" postgres \
		>"$work/pgbench.log" && sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$work/pgbench.log"
}

# temporary_bytes: what the local server has ever written to temporary files, as
# far as backends have ended
temporary_bytes() {
	local i
	for ((i = 0; i < 100; i++)); do
		[ "$(on local -c "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")" -gt 1 ] || break
		sleep 0.1
	done
	on local -c "SELECT pg_stat_get_db_temp_bytes(oid) FROM pg_database WHERE datname = 'postgres'"
}

# footprint STATEMENT N: megabytes that a new backend has in memory at most, and
# writes to temporary files, for the statement
footprint() {
	local before memory
	before=$(temporary_bytes)
	memory=$(on local -c "SELECT measure(\$statement\$$1\$statement\$, $2, 1)" -c "SELECT process_bytes('VmHWM')" | tail -n 1)
	awk -v m="$memory" -v a="$(temporary_bytes)" -v b="$before" 'BEGIN { printf "%.2f\n", (m + a - b) / 1048576 }'
}

# footprint_growth STATEMENT FROM TO: how much more that is for more rows
footprint_growth() {
	local few many
	few=$(footprint "$1" "$2") && many=$(footprint "$1" "$3") &&
		awk -v a="$few" -v b="$many" 'BEGIN { printf "%.2f\n", b - a }'
}

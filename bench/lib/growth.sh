# What bench/run measures as something grows; sourced, not run.  For each plot:
# its axes, title and explanation, and the function that runs a round.

plot rows xy 'rows' 'ms' 'Reading rows of (integer, float8, text, timestamptz)' \
	'As in the table above. On two CPUs.'
plot_rows() {
	pin "$streams"
	for x in $(powers 10 "$table_rows"); do
		try 'C, libpq' limit read "$remote" 'SELECT * FROM numbers' "$x"
		try 'sessmgr.query' ms "$count sessmgr.query('remote', 'SELECT * FROM numbers LIMIT @n') $columns" "$x" 1
		try 'sessmgr.stream' ms "$count sessmgr.stream('remote', 'SELECT * FROM numbers LIMIT @n') $columns" "$x" 1
		try 'dblink' ms "$count dblink(dblink_open('c'), 'SELECT * FROM numbers LIMIT @n') $columns" "$x" 1
		try 'postgres_fdw, fetch_size 10000' ms "$count (SELECT * FROM numbers_fdw_tuned LIMIT @n) r" "$x" 1
	done
}

plot footprint xy 'rows' 'MB' 'Memory and temporary files to read them' \
	'What the backend has in memory at most, shared memory that it touched included, and what it writes to temporary files.'
plot_footprint() {
	pin "$streams"
	[ "$round" -eq 1 ] || return 0	# it does not vary
	for x in $(powers 10 "$table_rows"); do
		try 'sessmgr.query' footprint "$count sessmgr.query('remote', 'SELECT * FROM numbers LIMIT @n') $columns" "$x"
		try 'sessmgr.stream' footprint "$count sessmgr.stream('remote', 'SELECT * FROM numbers LIMIT @n') $columns" "$x"
		try 'dblink' footprint "$count dblink(dblink_open('c'), 'SELECT * FROM numbers LIMIT @n') $columns" "$x"
		try 'postgres_fdw, fetch_size 10000' footprint "$count (SELECT * FROM numbers_fdw_tuned LIMIT @n) r" "$x"
	done
}

plot width xy 'bytes a row' 'MB/s' 'Reading wide rows' \
	'Rows of one text value, 64 MB together, or 100000 rows where those are less. On two CPUs.'
plot_width() {
	local rows text
	pin "$streams"
	for x in $(powers 10 "$max_width"); do
		rows=$((67108864 / x < 100000 ? 67108864 / x : 100000))
		text="SELECT repeat(''x'', $x) FROM generate_series(1, @n)"	# stands in a string
		try 'C, libpq' speed "$rows" limit read "$remote" "SELECT repeat('x', $x) FROM generate_series(1, $rows)" "$rows"
		try 'sessmgr.query' speed "$rows" ms "SELECT count(v) FROM sessmgr.query('remote', '$text') AS r(v text)" "$rows" 1
		try 'sessmgr.stream' speed "$rows" ms "SELECT count(v) FROM sessmgr.stream('remote', '$text') AS r(v text)" "$rows" 1
		try 'dblink' speed "$rows" ms "SELECT count(v) FROM dblink(dblink_open('c'), '$text') AS r(v text)" "$rows" 1
	done
}

# speed ROWS COMMAND...: MB/s, where COMMAND says milliseconds of ROWS rows of $x bytes
speed() { "${@:2}" | awk -v bytes="$(($1 * x))" '{ printf "%.3f\n", bytes / 1048576 / ($1 / 1000) }'; }

plot engines x 'engines' 'µs a call' 'get_engine: a hit, with many engines in the cache' \
	'Beside octet_length() in the same loop. On one CPU.'
plot_engines() {
	local n=$((engines * 10))
	pin "$serial"
	for x in $(powers 10 "$engines"); do
		try 'a function that does nothing' each "$n" ms "SELECT loop_nothing($x, @n)" "$n" "$x"
		try 'sessmgr.get_engine' each "$n" ms "SELECT loop_get_engine($x, @n)" "$n" "$x"
	done
}

plot targets x 'targets' 'ms' 'One statement of 10 ms on many targets' \
	'Connections are open. On two CPUs.'
plot_targets() {
	pin "$streams"
	for x in $(powers 2 "$max_targets"); do
		try 'C, libpq' limit gather "$remote" "$x" 'SELECT 1 FROM pg_sleep(0.01)'
		try 'sessmgr.execute_all' ms "SELECT expect(@n, count(*) FILTER (WHERE error IS NULL)) FROM sessmgr.execute_all(targets(@n), 'SELECT 1 FROM pg_sleep(0.01)')" "$x" "$x"
		try 'dblink, asynchronous' ms "SELECT gather_dblink(@n, 'SELECT 1 FROM pg_sleep(0.01)')" "$x" "$x"
	done
}

plot backends xy 'backends' 'rows a second' 'One row by key, from many backends' \
	'pgbench with as many clients; the limit is pgbench on the remote server itself. Clients and servers share two CPUs.'
plot_backends() {
	pin "$streams"
	for x in $(powers 2 "$max_backends"); do
		try 'pgbench, directly' tps remote "$x" 'SELECT v FROM kv WHERE k = :k'
		try 'sessmgr.scalar' tps local "$x" "SELECT sessmgr.scalar('remote', 'SELECT v FROM kv WHERE k = \$1', :k::integer)"
		try 'dblink' tps local "$x" 'SELECT by_key_dblink(:k)'
		try 'PL/Proxy' tps local "$x" 'SELECT by_key_plproxy(:k)'
		try 'postgres_fdw' tps local "$x" 'SELECT v FROM kv_fdw WHERE k = :k'
	done
}

# What bench/run measures beside a limit; sourced, not run.  For each work: its
# unit, title and explanation, its goals, and the function that runs a round.

columns='AS r(i integer, f float8, t text, ts timestamptz)'
count='SELECT expect(@n, count(i), count(f), count(t), count(ts)) FROM'

work row 'µs a row' 'One row by key, in a PL/pgSQL loop' \
	'The limit is a loop of PQexecPrepared. All on one CPU.'
goal row ratio 1.2 'sessmgr.scalar' 'sessmgr.scalar_as' 'sessmgr.scalar in a session' 'sessmgr.scalar_as in a session'
work_row() {
	pin "$serial"
	try 'C, libpq' each "$calls" limit row "$remote" "$calls"
	try 'sessmgr.scalar' loop scalar "$calls"
	try 'sessmgr.scalar_as' loop scalar_as "$calls"
	try 'sessmgr.scalar in a session' loop session_scalar "$calls"
	try 'sessmgr.scalar_as in a session' loop session_scalar_as "$calls"
	try 'dblink' loop dblink "$calls"
	try 'PL/Proxy' loop plproxy "$calls"
	try 'psycopg2 in PL/Python' loop psycopg2 "$calls"
	try 'postgres_fdw' loop fdw "$calls"
	try 'postgres_fdw, use_remote_estimate' loop fdw_tuned "$calls"
	try "Celery's SessionManager in PL/Python" loop celery "$calls"
}

work reconnect 'µs a row' 'The same without a connection that is kept' \
	'The limit connects for each row, and so do the others but sessmgr with its pool, forked Celery, and PL/Proxy, which can do no other. All on one CPU.'
goal reconnect ratio 0.01 'sessmgr.scalar, pooled'
work_reconnect() {
	pin "$serial"
	try 'C, libpq' each "$connects" limit reconnect "$remote" "$connects"
	try 'sessmgr.scalar, pooled' loop scalar "$calls"
	try 'sessmgr.scalar, NullPool' loop scalar_closed "$connects"
	try 'dblink with a connection string' loop dblink_closed "$connects"
	try 'PL/Proxy' loop plproxy "$calls"
	try 'psycopg2 in PL/Python' loop psycopg2_closed "$connects"
	try 'postgres_fdw, keep_connections off' each "$connects" on local -c "CALL loop_fdw_closed($connects)"
	try "Celery's SessionManager in PL/Python, forked" loop celery "$calls"
	try "Celery's SessionManager in PL/Python, not forked" loop celery_closed "$connects"
}

work connect 'µs' 'First connection and statement' \
	'sessmgr forgets all it has after each row (reset), so that the next one makes the engine and connects. All on one CPU.'
goal connect ratio 1.05 'sessmgr.scalar, reset'
work_connect() {
	pin "$serial"
	try 'C, libpq' each "$connects" limit reconnect "$remote" "$connects"
	try 'sessmgr.scalar, reset' loop scalar_reset "$connects"
	try 'dblink with a connection string' loop dblink_closed "$connects"
	try 'postgres_fdw, keep_connections off' each "$connects" on local -c "CALL loop_fdw_closed($connects)"
}

work read 'ms' "Read $(number "$read_rows") rows of (integer, float8, text, timestamptz)" \
	'The limit takes them from libpq one by one in binary (single-row mode) and looks at none. The others count the values of each column. On two CPUs.'
goal read ratio 2.2 'sessmgr.query'
goal read ratio 1.5 'sessmgr.stream' 'sessmgr.stream in a session'
work_read() {
	pin "$streams"
	try 'C, libpq' limit read "$remote" 'SELECT * FROM numbers' "$read_rows"
	try 'sessmgr.query' ms "$count sessmgr.query('remote', 'SELECT * FROM numbers LIMIT @n') $columns" "$read_rows" 1
	try 'sessmgr.stream' ms "$count sessmgr.stream('remote', 'SELECT * FROM numbers LIMIT @n') $columns" "$read_rows" 1
	try 'sessmgr.stream in a session' ms "$count sessmgr.stream(sessmgr.session_factory('remote', '{\"read_only\": true}'), 'SELECT * FROM numbers LIMIT @n') $columns" "$read_rows" 1
	try 'dblink' ms "$count dblink(dblink_open('c'), 'SELECT * FROM numbers LIMIT @n') $columns" "$read_rows" 1
	try 'PL/Proxy' ms "$count numbers_plproxy(@n)" "$read_rows" 1
	try 'postgres_fdw' ms "$count (SELECT * FROM numbers_fdw LIMIT @n) r" "$read_rows" 1
	try 'postgres_fdw, fetch_size 10000' ms "$count (SELECT * FROM numbers_fdw_tuned LIMIT @n) r" "$read_rows" 1
	try 'psycopg2 in PL/Python' ms "$count numbers_psycopg2(@n)" "$read_rows" 1
	try "Celery's SessionManager in PL/Python" ms "$count numbers_celery(@n)" "$read_rows" 1
}

work first 'ms' "The first 10 of $(number "$table_rows") rows" \
	'A local LIMIT 10 around all rows of a table. The limit stops there by itself. postgres_fdw sends the LIMIT to the target. Not run: psycopg2 and Celery, which read all rows before the first. In three rounds; on two CPUs.'
goal first value 10 'sessmgr.stream'
work_first() {
	pin "$streams"
	[ "$round" -le 3 ] || return 0	# it takes long
	try 'C, libpq' limit read "$remote" 'SELECT * FROM numbers' 10
	try 'sessmgr.stream' ms "SELECT * FROM sessmgr.stream('remote', 'SELECT * FROM numbers LIMIT @n') $columns LIMIT 10" "$table_rows" 10
	try 'sessmgr.query' ms "SELECT * FROM sessmgr.query('remote', 'SELECT * FROM numbers LIMIT @n') $columns LIMIT 10" "$table_rows" 10
	try 'dblink' ms "SELECT * FROM dblink(dblink_open('c'), 'SELECT * FROM numbers LIMIT @n') $columns LIMIT 10" "$table_rows" 10
	try 'PL/Proxy' ms "SELECT * FROM numbers_plproxy(@n) LIMIT 10" "$table_rows" 10
	try 'postgres_fdw' ms 'SELECT * FROM numbers_fdw LIMIT 10' 1 1
}

work constant 'MB' "Memory and temporary files, from $(number "$read_rows") to $(number "$table_rows") rows" \
	'How much more a backend has in memory at most, and writes to temporary files, to count the rows. On two CPUs.'
goal constant value 16 'sessmgr.stream'
work_constant() {
	pin "$streams"
	[ "$round" -eq 1 ] || return 0	# it does not vary
	try 'sessmgr.stream' footprint_growth "$count sessmgr.stream('remote', 'SELECT * FROM numbers LIMIT @n') $columns" "$read_rows" "$table_rows"
	try 'sessmgr.query' footprint_growth "$count sessmgr.query('remote', 'SELECT * FROM numbers LIMIT @n') $columns" "$read_rows" "$table_rows"
	try 'dblink' footprint_growth "$count dblink(dblink_open('c'), 'SELECT * FROM numbers LIMIT @n') $columns" "$read_rows" "$table_rows"
	try 'PL/Proxy' footprint_growth "$count numbers_plproxy(@n)" "$read_rows" "$table_rows"
	try 'postgres_fdw, fetch_size 10000' footprint_growth "$count (SELECT * FROM numbers_fdw_tuned LIMIT @n) r" "$read_rows" "$table_rows"
}

work push 'ms' "Push $(number "$source_rows") rows of (integer, text)" \
	'The limit makes them up in memory and sends them by COPY in binary; the others read them from a local table. Those marked so did a twentieth of the rows, times 20. On two CPUs.'
goal push ratio 1.4 'sessmgr.push'
work_push() {
	local some=$((source_rows / 20))
	pin "$streams"
	try 'C, libpq' into_empty "$source_rows" limit copy_in "$remote" "$source_rows"
	try 'sessmgr.push' into_empty "$source_rows" ms "SELECT sessmgr.push('remote', 'SELECT * FROM source LIMIT @n', 't')" "$source_rows" 1
	try 'postgres_fdw (1/20)' into_empty "$some" scaled 20 ms 'INSERT INTO t_fdw SELECT * FROM source LIMIT @n' "$some" 1
	try 'postgres_fdw, batch_size 1000' into_empty "$source_rows" ms 'INSERT INTO t_fdw_tuned SELECT * FROM source LIMIT @n' "$source_rows" 1
	try 'dblink (1/20)' into_empty "$some" scaled 20 ms 'SELECT insert_dblink(@n)' "$some" 1
	try 'PL/Proxy (1/20)' into_empty "$some" scaled 20 ms 'SELECT loop_insert_plproxy(@n)' "$some" 1
	try 'psycopg2 in PL/Python, copy_expert' into_empty "$source_rows" ms 'SELECT push_psycopg2(@n)' "$source_rows" 1
}

work pull 'ms' "Pull $(number "$source_rows") rows of (integer, text)" \
	'The limit is a program that passes on to a COPY what another gives it; being a third process beside the servers, it can be beaten. On two CPUs.'
work_pull() {
	pin "$streams"
	try 'C, libpq' into_empty "$source_rows" limit copy_through "$remote" "$here" "SELECT * FROM source"
	try 'sessmgr.pull' into_empty "$source_rows" ms "SELECT sessmgr.pull('remote', 'SELECT * FROM source LIMIT @n', 't')" "$source_rows" 1
	try 'postgres_fdw' into_empty "$source_rows" ms 'INSERT INTO t SELECT * FROM (SELECT * FROM source_fdw LIMIT @n) r' "$source_rows" 1
	try 'postgres_fdw, fetch_size 10000' into_empty "$source_rows" ms 'INSERT INTO t SELECT * FROM (SELECT * FROM source_fdw_tuned LIMIT @n) r' "$source_rows" 1
	try 'dblink' into_empty "$source_rows" ms "INSERT INTO t SELECT * FROM dblink(dblink_open('c'), 'SELECT * FROM source LIMIT @n') AS r(i integer, v text)" "$source_rows" 1
	try 'PL/Proxy' into_empty "$source_rows" ms 'INSERT INTO t SELECT * FROM source_plproxy(@n)' "$source_rows" 1
}

work many 'µs a statement' "$(number "$inserts") inserts with parameters" \
	'The limit is the pipeline mode of libpq. With batch_size, postgres_fdw sends other statements: an INSERT of 1000 rows at a time. Those that can are in one transaction on the target. On two CPUs.'
goal many ratio 2 'sessmgr.execute_many'
work_many() {
	local bulk="SELECT sessmgr.execute_many('remote', 'INSERT INTO t VALUES (\$1, \$2)', 'SELECT * FROM source LIMIT @n')"
	pin "$streams"
	try 'C, libpq' into_empty "$inserts" each "$inserts" limit pipeline "$remote" "$inserts"
	try 'sessmgr.execute_many' into_empty "$inserts" each "$inserts" ms "$bulk" "$inserts" 1
	try 'dblink' into_empty "$inserts" each "$inserts" ms 'SELECT insert_dblink(@n)' "$inserts" 1
	try 'PL/Proxy' into_empty "$inserts" each "$inserts" ms 'SELECT loop_insert_plproxy(@n)' "$inserts" 1
	try 'postgres_fdw' into_empty "$inserts" each "$inserts" ms 'INSERT INTO t_fdw SELECT * FROM source LIMIT @n' "$inserts" 1
	try 'postgres_fdw, batch_size 1000' into_empty "$inserts" each "$inserts" ms 'INSERT INTO t_fdw_tuned SELECT * FROM source LIMIT @n' "$inserts" 1
	try 'psycopg2 in PL/Python' into_empty "$inserts" each "$inserts" ms 'SELECT insert_psycopg2(@n)' "$inserts" 1
	try "Celery's SessionManager in PL/Python" into_empty "$inserts" each "$inserts" ms 'SELECT insert_celery(@n)' "$inserts" 1
}

work gather 'ms' "One statement of 100 ms on $targets targets" \
	'Connections are open. On two CPUs.'
goal gather ratio 1.15 'sessmgr.execute_all' 'sessmgr.query_all'
work_gather() {
	pin "$streams"
	try 'C, libpq' limit gather "$remote" "$targets" 'SELECT * FROM nap'
	try 'sessmgr.execute_all' ms "SELECT expect(@n, count(*) FILTER (WHERE error IS NULL)) FROM sessmgr.execute_all(targets(@n), 'SELECT * FROM nap')" "$targets" "$targets"
	try 'sessmgr.query_all' ms "SELECT expect(@n, count(x)) FROM sessmgr.query_all(targets(@n), 'SELECT * FROM nap') AS r(target text, x integer)" "$targets" "$targets"
	try 'dblink, asynchronous' ms "SELECT gather_dblink(@n, 'SELECT * FROM nap')" "$targets" "$targets"
	try 'PL/Proxy, RUN ON ALL' ms 'SELECT expect(@n, count(*)) FROM nap_plproxy()' "$targets" "$targets"
	try 'postgres_fdw, async_capable' ms 'SELECT expect(@n, count(x)) FROM naps' "$targets" "$targets"
}

work engine 'µs a call' "get_engine with $(number "$engines") engines in the cache" \
	'A hit, beside octet_length() in the same loop. On one CPU.'
goal engine over 1 "sessmgr.get_engine, $(number "$engines") engines"
work_engine() {
	local n=$((engines * 10))
	pin "$serial"
	try 'a function that does nothing' each "$n" ms "SELECT loop_nothing($engines, @n)" "$n" "$engines"
	try 'sessmgr.get_engine, one engine' each "$n" ms 'SELECT loop_get_engine(1, @n)' "$n" "$engines"
	try "sessmgr.get_engine, $(number "$engines") engines" each "$n" ms "SELECT loop_get_engine($engines, @n)" "$n" "$engines"
}

work memory 'bytes' 'Memory of an engine' \
	"What each of $(number "$engines") adds to the memory contexts of the backend."
goal memory value 2048 'sessmgr.get_engine'
work_memory() {
	try 'sessmgr.get_engine' on local -c "SELECT engine_bytes($engines)"
}

work idle 'bytes' 'Memory of an idle connection' \
	'What each of 50 adds to the memory of the process, with one statement run on it. sessmgr has an engine for each.'
work_idle() {
	try 'C, libpq' limit memory "$remote" 50
	try 'sessmgr.scalar' on local -c "SELECT connection_bytes('connect_sessmgr', 50)"
	try 'dblink' on local -c "SELECT connection_bytes('connect_dblink', 50)"
}

work calls 'calls' 'System calls for one row by key' \
	'Of the client, counted by strace over 1000 rows.'
goal calls value 4 'sessmgr.scalar' 'sessmgr.scalar_as' 'sessmgr.scalar in a session' 'sessmgr.scalar_as in a session'
work_calls() {
	pin "$serial"
	[ "$round" -eq 1 ] || return 0	# they do not vary
	try 'C, libpq' limit_calls
	try 'sessmgr.scalar' backend_calls scalar
	try 'sessmgr.scalar_as' backend_calls scalar_as
	try 'sessmgr.scalar in a session' backend_calls session_scalar
	try 'sessmgr.scalar_as in a session' backend_calls session_scalar_as
	try 'dblink' backend_calls dblink
	try 'PL/Proxy' backend_calls plproxy
	try 'psycopg2 in PL/Python' backend_calls psycopg2
	try 'postgres_fdw' backend_calls fdw
	try "Celery's SessionManager in PL/Python" backend_calls celery
}

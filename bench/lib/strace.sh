# Counting system calls for bench/run; sourced, not run.

# sum_calls FILE: all calls in what strace -c has written
sum_calls() { awk '$NF == "total" { print $1 }' "$1"; }

# Both exit with 77 if this machine does not let strace look.

# limit_calls: system calls for one row of the loop in C, start and end taken off
limit_calls() {
	local calls
	for calls in 1000 2000; do
		as_user strace -f -c -U calls,name -o "$work/strace.$calls" "$work/limit" row "$remote" "$calls" >/dev/null || return 77
	done
	echo $(($(sum_calls "$work/strace.2000") - $(sum_calls "$work/strace.1000"))) | awk '{ printf "%.1f\n", $1 / 1000 }'
}

# backend_calls NAME: system calls of a backend for one call of loop_NAME()
backend_calls() {
	local backend tracer _
	coproc SESSION { client local psql -XqAt -v ON_ERROR_STOP=1 -d postgres; }
	local in=${SESSION[1]} out=${SESSION[0]} session=$SESSION_PID
	echo "SELECT count(loop_$1(500)); SELECT pg_backend_pid();" >&"$in"
	read -r _ <&"$out" && read -r backend <&"$out" || return
	strace -c -U calls,name -p "$backend" -o "$work/strace" >&2 &
	tracer=$!
	until grep -q '^TracerPid:\s*[1-9]' "/proc/$backend/status"; do
		kill -0 "$tracer" 2>/dev/null || return 77
		sleep 0.05
	done
	echo "SELECT count(loop_$1(1000));" >&"$in"
	read -r _ <&"$out" || return
	kill -INT "$tracer"
	wait "$tracer" || true
	exec {in}>&-
	wait "$session" || true
	sum_calls "$work/strace" | awk '{ printf "%.1f\n", $1 / 1000 }'
}

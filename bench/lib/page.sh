# The page that a full run of bench/run writes; sourced, not run.

# What the machine and the programs are.
print_surroundings() {
	local versions
	versions=$(on local -c "SELECT string_agg(extname || ' ' || extversion, ', ' ORDER BY extname)
		FROM pg_extension WHERE extname IN ('sessmgr', 'dblink', 'postgres_fdw', 'plproxy', 'plpython3u')")
	say '| | |' '| --- | --- |' \
		"| date | $(date -u +%F) |" \
		"| processor | $(lscpu | sed -n 's/^Model name: *//p'), $(nproc) CPUs |" \
		"| system | $(. /etc/os-release && say "$PRETTY_NAME"), Linux $(uname -r) |" \
		"| server | $("$pg_config" --version | sed 's/ (.*//') |" \
		"| libpq | $(limit version | awk '{ printf "%d.%d\n", $1 / 10000, $1 % 10000 }') |" \
		"| extensions | $versions |"
	/usr/bin/python3 -c 'import psycopg2, sqlalchemy, celery, sys
print("| in PL/Python | Python %s, psycopg2 %s, SQLAlchemy %s, Celery %s |" % (
	sys.version.split()[0], psycopg2.__version__.split()[0], sqlalchemy.__version__, celery.__version__))' 2>/dev/null || true
}

# Each plot with its explanation.
print_plots() {
	local name title explanation _
	while IFS=$'\t' read -r name _ _ _ title explanation; do
		say "### $title" '' "$explanation" '' "![$title](benchmarks/$name.svg)" ''
	done <"$results/plots"
}

print_page() {
	cat <<-PAGE
		# Benchmarks

		This page and its figures are written by \`bench/run\`, which you can run as well:
		it takes about 20 minutes, and two private servers that are gone afterwards.

		$(print_surroundings)

		## The goals

		$(cat "$work/goals")

		## How to read it

		- **The limit** of a work is a program in C that does it with libpq, in the fastest
		  way that libpq has, and nothing else. It is the black line of the plots. A figure
		  below it is chance, or another way of doing the work, which the text then names.
		- **× the limit** is what carries over to another machine. Microseconds do not.
		- A figure is the **median** of $rounds rounds (of $plot_rounds in the plots); the
		  **least and most** tell how far to trust it.
		- All peers are those that Debian ships, and in the same run.

		## How it was measured

		- Two servers on this machine, with Unix sockets, and PostgreSQL's settings but for
		  \`shared_buffers\` 256 MB, \`max_wal_size\` 8 GB, \`max_connections\` 300, and off: \`fsync\`,
		  \`autovacuum\`, \`jit\`. Tables that are written to are unlogged. What you see is the cost of
		  moving statements and rows, not of disks and networks: beside those it is less.
		- Rounds are interleaved: each round measures everyone once, so that what the
		  machine does besides falls on all alike.
		- Waking another CPU costs more than a statement. So what goes to and fro runs on
		  one CPU, servers, clients and limit alike, and what streams on two.
		- Times are taken inside: in C with the program's own clock, in SQL around the
		  statement. Connections are open and statements prepared before, where they are kept.
		- \`postgres_fdw\` runs as it comes, and with what its documentation advises for the
		  work: \`fetch_size\` 10000, \`batch_size\` 1000, \`use_remote_estimate\`.
		- psycopg2 and Celery's \`SessionManager\` run in PL/Python and keep their
		  connections for the backend's life; Celery's as in a forked worker.

		## The works

		$(cat "$work/works")

		## Growth

		Axes are logarithmic where they say 1, 10, 100.

		$(print_plots)
	PAGE
}

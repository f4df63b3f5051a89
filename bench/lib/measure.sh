# How bench/run measures, and what it writes down; sourced, not run.
#
# Files in $results, their fields separated by tabs, which bench/lib/report.pl reads:
#	works		name, unit, title, explanation
#	goals		work, kind (ratio, value or over), maximum, label
#	plots		name, logarithmic axes, x axis, y axis, title, explanation
#	values		work or plot, label, x (a plot's), value; one a round
#	absent		work or plot, label, why it was not measured
#	failed		work or plot, label

write() { local IFS=$'\t'; say "${*:2}" >>"$results/$1"; }

# work NAME UNIT TITLE EXPLANATION: something to measure, by the function work_NAME
work() { all_works+=("$1"); write works "$@"; }

# goal WORK KIND MAXIMUM LABEL...: what these are to reach, by their medians:
# ratio: as a multiple of the work's first label; over: more than that; value
goal() { local label; for label in "${@:4}"; do write goals "$1" "$2" "$3" "$label"; done; }

# plot NAME AXES X Y TITLE EXPLANATION: growth, by the function plot_NAME
plot() { all_plots+=("$1"); write plots "$@"; }

# try LABEL COMMAND...: runs it if it can be there, and writes the number down that
# it prints, at $x.  An exit status of 77 says that it cannot be measured here, and
# standard error why.  Goes on after a failure.
try() {
	local label=$1 value='' why status=0
	why=$(why_absent "$label")
	if [ -z "$why" ]; then
		value=$("${@:2}" 2>"$work/stderr") || status=$?
		if [ "$status" -eq 77 ]; then why=$(tail -n 1 "$work/stderr"); fi
	fi
	if [ -n "$why" ]; then
		if ! grep -qxF "$current"$'\t'"$label"$'\t'"$why" "$results/absent"; then
			write absent "$current" "$label" "$why"
		fi
	elif [ "$status" -eq 0 ] && [[ $value =~ ^-?[0-9]+(\.[0-9]+)?$ ]]; then
		write values "$current" "$label" "$x" "$value"
	else
		write failed "$current" "$label"
		say "FAILED: $current, $label${x:+ at $x}: ${value:-no number}" "$(cat "$work/stderr")" >&2
	fi
}

# run_rounds FUNCTION NAME ROUNDS: calls it so often
run_rounds() {
	current=$2 x=
	say "$(date +%T) $current"
	for ((round = 1; round <= $3; round++)); do "$1"; done
}

# powers BASE MAXIMUM: 1, BASE, BASE^2 ... MAXIMUM
powers() { local i; for ((i = 1; i <= $2; i *= $1)); do echo "$i"; done; }

# number N: 10,000,000
number() { sed -E ':again; s/([0-9])([0-9]{3})(,|$)/\1,\2\3/; t again' <<<"$1"; }

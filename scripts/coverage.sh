#!/usr/bin/env bash
# Prints the statement coverage of each package from a profile that covers the
# whole module, and fails if one is below 80 %, unless it is named after the
# profile: that one is judged elsewhere.
set -euo pipefail
awk -v later="${2:--}" -F'[ :]' 'NR > 1 {
	file = $1; n = $(NF-1); hit = $NF; key = $1 ":" $2
	sub(/\/[^\/]*$/, "", file)
	stmts[key] = n; pkg[key] = file; if (hit > 0) seen[key] = 1
}
END {
	for (k in stmts) { total[pkg[k]] += stmts[k]; if (k in seen) done[pkg[k]] += stmts[k] }
	bad = 0
	for (p in total) {
		c = 100 * done[p] / total[p]
		printf "%6.1f %%  %s\n", c, p | "sort -k3"
		if (c < 80 && p !~ later"$" && p !~ /cmd\/mlopsctl$/ && p !~ /\/cassette$/ && p !~ /\/(examples|bench)\//) { low = low "\n  " p; bad = 1 }
	}
	close("sort -k3")
	if (bad) { print "below 80 %:" low; exit 1 }
}' "$1"

#!/usr/bin/env bash
# What it costs to write and to read the listing of a directory, from a thousand
# files to a million: a table on stdout and a plot in listing.svg, or in the file
# named. Both axes of the plot are logarithmic; a straight line that rises with
# the diagonal is a cost that grows as the number of files does.
set -euo pipefail
out=$(realpath "${1:-listing.svg}")
cd "$(dirname "$0")/../../dvc"
for n in 1000 10000 100000 1000000; do # each in its own process, for its own peak
	go test -run '^$' -bench "^BenchmarkListing/$n\$" -benchtime 3x . | grep '^Benchmark' | tr '/-' '  ' |
		awk '{ for (i = 3; i < NF; i++) { if ($(i+1) == "ns" && $(i+2) == "op") s = $i / 1e9; if ($(i+1) == "ns" && $(i+2) == "file") f = $i; if ($(i+1) == "peak") m = $i }
			print $2, s, f, m }'
done | awk -v out="$out" '
function x(n) { return 60 + (log(n) / log(10) - 3) * 140 }
function y(s) { return 320 - (log(s) / log(10) + 4) * 60 }
BEGIN {
	printf "%10s %12s %10s %9s\n", "files", "seconds", "us/file", "peak MB"
	svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"540\" height=\"360\" font-family=\"sans-serif\" font-size=\"12\">\n"
	for (e = 3; e <= 6; e++) svg = svg sprintf("<text x=\"%d\" y=\"345\">10^%d</text><path d=\"M%d 20V325\" stroke=\"#ddd\"/>\n", x(10^e) - 12, e, x(10^e))
	for (e = -3; e <= 1; e++) svg = svg sprintf("<text x=\"8\" y=\"%d\">10^%d s</text><path d=\"M60 %dH500\" stroke=\"#ddd\"/>\n", y(10^e) + 4, e, y(10^e))
}
{
	printf "%10d %12.4f %10.2f %9.0f\n", $1, $2, $3 / 1000, $4
	line = line sprintf("%.1f,%.1f ", x($1), y($2))
	svg = svg sprintf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", x($1), y($2))
}
END { print svg "<polyline points=\"" line "\" fill=\"none\" stroke=\"#36c\"/>\n<text x=\"200\" y=\"14\">write and read a listing, by files in it</text>\n</svg>" > out }'

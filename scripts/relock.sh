#!/bin/sh
# Resolves compose/locks/*.in anew and writes the hashed locks beside them, one
# for all platforms and for Python 3.10 to 3.13. With names, only those:
#
#   scripts/relock.sh mlflow ray
#
# A lock whose .in says "-c other.txt" is a supplement: it holds only what the
# images of the Docker runtime install beside the other.
#
# It needs uv. The index is the one that uv is set to; the locks do not name it.
set -eu
cd "$(dirname "$0")/../compose/locks"
if [ $# -eq 0 ]; then # supplements after what they supplement
	set -- $(grep -L '^-c ' *.in) $(grep -l '^-c ' *.in)
fi
for name in "$@"; do
	name=${name%.in}
	uv pip compile --quiet --upgrade --universal --python-version 3.10 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
		--output-file "$name.txt" "$name.in"
	base=$(sed -n 's/^-c //p' "$name.in")
	if [ -n "$base" ]; then
		awk 'NR == FNR { if (/==/) known[$0] = 1; next } /==/ { mine = !($0 in known) } mine' "$base" "$name.txt" >"$name.new"
		mv "$name.new" "$name.txt"
	fi
	if grep -n -i -e '://' -e '--index' -e '--find-links' "$name.txt"; then
		echo "relock: $name.txt names an address" >&2
		exit 1
	fi
	echo "$name: $(grep -c '==' "$name.txt") distributions"
done

#!/bin/sh
# Resolves compose/locks/*.in anew and writes the hashed locks beside them, one
# for all platforms and for Python 3.10 to 3.13. With names, only those:
#
#   scripts/relock.sh mlflow ray
#
# It needs uv. The index is the one that uv is set to; the locks do not name it.
set -eu
cd "$(dirname "$0")/../compose/locks"
[ $# -gt 0 ] || set -- *.in
for name in "$@"; do
	name=${name%.in}
	uv pip compile --quiet --upgrade --universal --python-version 3.10 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
		--output-file "$name.txt" "$name.in"
	if grep -n -i -e '://' -e '--index' -e '--find-links' "$name.txt"; then
		echo "relock: $name.txt names an address" >&2
		exit 1
	fi
	echo "$name: $(grep -c '==' "$name.txt") distributions"
done

#!/bin/sh
# Compares adding many small files with ours and with real dvc, in alternating
# order, and prints seconds and their ratio.
#
#   MLOPS_DVC=…/bin/dvc bench/dvc/add.sh [files] [rounds]
set -eu
files=${1:-2000} rounds=${2:-3}
here=$(cd "$(dirname "$0")/../.." && pwd)
dvc=${MLOPS_DVC:-${MLOPS_HOME:-$HOME/.mlops}/venvs/dvc/bin/dvc}
work=$(mktemp -d) gocache=$(go env GOCACHE) gomod=$(go env GOMODCACHE)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export HOME="$work" DVC_SITE_CACHE_DIR="$work/site" DVC_GLOBAL_CONFIG_DIR="$work/global" DVC_NO_ANALYTICS=1
export GOCACHE="$gocache" GOMODCACHE="$gomod"
(cd "$here" && go build -o "$work/ours" ./cmd/mlopsctl)
i=1
mkdir "$work/data"
while [ "$i" -le "$files" ]; do
	d="$work/data/$((i / 100))"
	mkdir -p "$d"
	head -c 4096 /dev/urandom >"$d/$i"
	i=$((i + 1))
done
one() { # tool
	repo="$work/repo"
	rm -rf "$repo" "$work/site"
	mkdir "$repo"
	(cd "$repo" && git init -q && "$work/ours" dvc-init && cp -R ../data data)
	sync
	begin=$(date +%s.%N)
	case $1 in
	ours) (cd "$repo" && "$work/ours" --quiet dvc-add data >/dev/null) ;;
	dvc) (cd "$repo" && "$dvc" add -q data) ;;
	esac
	end=$(date +%s.%N)
	cp "$repo/data.dvc" "$work/$1.dvc"
	chmod -R u+w "$repo"
	echo "$begin $end" | awk '{printf "%.3f\n", $2-$1}'
}
n=1
while [ "$n" -le "$rounds" ]; do
	if [ $((n % 2)) = 1 ]; then a=$(one ours) b=$(one dvc); else b=$(one dvc) a=$(one ours); fi
	cmp "$work/ours.dvc" "$work/dvc.dvc"
	echo "$files files: ours $a s, dvc $b s, ratio $(echo "$a $b" | awk '{printf "%.1f", $2/$1}')"
	n=$((n + 1))
done

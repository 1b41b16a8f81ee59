#!/bin/bash
# Compares push, push again, and pull of many small files with ours and with
# real dvc, on one S3 server of its own (versitygw), in alternating order, and
# prints seconds, seconds of processor, MiB of memory, and ratios.
#
#   MLOPS_DVC=…/bin/dvc VERSITYGW=…/versitygw bench/dvc/remote.sh [files] [rounds] [bytes per file]
set -eu
files=${1:-10000} rounds=${2:-3} size=${3:-4096}
here=$(cd "$(dirname "$0")/../.." && pwd)
home=${MLOPS_HOME:-$HOME/.mlops}
dvc=${MLOPS_DVC:-$home/venvs/dvc/bin/dvc}
gateway=${VERSITYGW:-$home/tools/versitygw-v1.8.0/versitygw}
port=${MLOPS_BENCH_PORT:-15173}
work=$(mktemp -d) gocache=$(go env GOCACHE) gomod=$(go env GOMODCACHE) server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; wait 2>/dev/null; chmod -R u+w "$work"; rm -rf "$work"' EXIT
export HOME="$work" DVC_SITE_CACHE_DIR="$work/site" DVC_GLOBAL_CONFIG_DIR="$work/global" DVC_NO_ANALYTICS=1
export GOCACHE="$gocache" GOMODCACHE="$gomod" GIT_CONFIG_NOSYSTEM=1
(cd "$here" && go build -trimpath -ldflags '-s -w' -o "$work/ours" ./cmd/mlopsctl)
python3 - "$work/data" "$files" "$size" <<'P'
import os, sys
root, n, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for i in range(n):
    d = f"{root}/{i // 100}"
    os.makedirs(d, exist_ok=True)
    with open(f"{d}/{i}", "wb") as f:
        for _ in range(max(1, size >> 20)):
            f.write(os.urandom(min(size, 1 << 20)))
P
mkdir -p "$work/s3/bucket"
export ROOT_ACCESS_KEY=bench ROOT_SECRET_KEY=bench-secret
"$gateway" --quiet --port "127.0.0.1:$port" posix "$work/s3" >"$work/log" 2>&1 &
server=$!
repo="$work/repo"
mkdir "$repo"
cd "$repo"
git init -q
"$work/ours" --quiet dvc-init >/dev/null
mv "$work/data" data
"$work/ours" --quiet dvc add data >/dev/null
mv .dvc/cache "$work/cache"
rm -rf data

# one TOOL VERB: prints "wall cpu rss" of what is timed.
one() {
	local tool=$1 verb=$2
	case $tool in
	ours) set -- "$work/ours" --quiet dvc "$verb" ;;
	dvc) set -- "$dvc" "$verb" -q ;;
	esac
	sync
	python3 - "$@" <<'P'
import os, resource, subprocess, sys, time
begin = time.perf_counter()
p = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
wall = time.perf_counter() - begin
r = resource.getrusage(resource.RUSAGE_CHILDREN)
if p.returncode:
    sys.exit(f"{sys.argv[1:]} exits {p.returncode}")
print(f"{wall:.3f} {r.ru_utime + r.ru_stime:.3f} {r.ru_maxrss / 1024:.0f}")
P
}
n=1
while [ "$n" -le "$rounds" ]; do
	if [ $((n % 2)) -eq 1 ]; then order="ours dvc"; else order="dvc ours"; fi
	for tool in $order; do
		prefix="$tool-$n"
		printf '[core]\n    remote = s\n['"'"'remote "s"'"'"']\n    url = s3://bucket/%s\n    endpointurl = http://127.0.0.1:%s\n    access_key_id = bench\n    secret_access_key = bench-secret\n    region = us-east-1\n' "$prefix" "$port" >.dvc/config.local
		rm -rf .dvc/cache .dvc/tmp "$work/site" data
		cp -a "$work/cache" .dvc/cache
		for step in push again pull; do
			verb=$step
			[ "$step" != again ] || verb=push
			if [ "$step" = pull ]; then
				chmod -R u+w .dvc/cache
				rm -rf .dvc/cache .dvc/tmp "$work/site"
			fi
			one "$tool" "$verb" >"$work/out"
			echo "round $n $tool $step: $(cat "$work/out")"
			cat "$work/out" >>"$work/$tool.$step"
		done
		chmod -R u+w .dvc/cache
		rm -rf "$work/s3/bucket/$prefix"
	done
	n=$((n + 1))
done
for step in push again pull; do
	for column in 1 2 3; do
		for tool in ours dvc; do
			cut -d ' ' -f $column "$work/$tool.$step" | sort -n | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'
		done
	done | paste -sd ' ' | awk -v s="$step" -v f="$files" '{printf "%s, %d files, medians: ours %.2f s, %.2f s of processor, %d MiB; dvc %.2f s, %.2f s, %d MiB; ratio %.1f, of processor %.1f\n", s, f, $1, $3, $5, $2, $4, $6, $2/$1, $4/$3}'
done

#!/bin/sh
# Compares logging a directory of many small files with ours and with MLflow's
# Python client, against one server of its own, in alternating order, and
# prints seconds and their ratio. The server has MLflow's default of 4 workers.
# With one worker it is the server that takes 4 to 5 ms of processor per file,
# whoever sends it.
#
#   MLOPS_PYTHON_MLFLOW=…/bin/python bench/mlflow/artifacts.sh [files] [rounds]
set -eu
files=${1:-1000} rounds=${2:-5}
here=$(cd "$(dirname "$0")/../.." && pwd)
python=${MLOPS_PYTHON_MLFLOW:-${MLOPS_HOME:-$HOME/.mlops}/venvs/mlflow/bin/python}
port=${MLOPS_BENCH_PORT:-15149}
work=$(mktemp -d) server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export MLFLOW_TRACKING_URI="http://127.0.0.1:$port"
(cd "$here" && go build -o "$work/ours" ./bench/mlflow/artifacts)
i=1
while [ "$i" -le "$files" ]; do
	d="$work/data/$((i / 100))"
	mkdir -p "$d"
	head -c 4096 /dev/urandom >"$d/$i.bin"
	i=$((i + 1))
done
(cd "$work" && exec "$python" -m mlflow server --host 127.0.0.1 --port "$port" --workers "${MLOPS_BENCH_WORKERS:-4}" \
	--backend-store-uri "sqlite:///$work/db" --serve-artifacts --artifacts-destination "$work/artifacts" >"$work/log" 2>&1) &
server=$!
n=0
until curl -sf "$MLFLOW_TRACKING_URI/version" >/dev/null; do
	n=$((n + 1))
	[ "$n" -lt 600 ] || { cat "$work/log" >&2; exit 1; }
	sleep 0.2
done
# Both tell what the call took, without start-up, and the processor's time.
cat >"$work/theirs.py" <<'P'
import resource, sys, time
import mlflow
c = mlflow.MlflowClient()
run = c.create_run("0").info.run_id
c.list_artifacts(run)  # the connection is there
before = resource.getrusage(resource.RUSAGE_SELF)
begin = time.perf_counter()
c.log_artifacts(run, sys.argv[1])
took = time.perf_counter() - begin
after = resource.getrusage(resource.RUSAGE_SELF)
print(f"{took:.3f} {after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.3f}")
P
n=1
while [ "$n" -le "$rounds" ]; do
	if [ $((n % 2)) -eq 1 ]; then order="ours python"; else order="python ours"; fi
	for who in $order; do
		case $who in
		ours) "$work/ours" "$work/data" ;;
		python) "$python" -W ignore "$work/theirs.py" "$work/data" ;;
		esac >"$work/out"
		read -r took cpu <"$work/out"
		echo "round $n $who: $took s, $cpu s of processor"
		echo "$took" >>"$work/$who.times"
	done
	n=$((n + 1))
done
median() { sort -n "$1" | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
awk -v o="$(median "$work/ours.times")" -v p="$(median "$work/python.times")" -v f="$files" \
	'BEGIN {printf "%d files of 4 KiB: ours %.2f s (%.0f files/s), Python %.2f s (%.0f files/s), ratio %.2f\n", f, o, f/o, p, f/p, p/o}'

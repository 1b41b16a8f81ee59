#!/usr/bin/env bash
# Runs the mlflow suite against a real server of MLflow's 2.x line, from the
# environment mlflow2 of MLOPS_HOME (mlopsctl setup mlflow2). MLFLOW2_BIN names
# the folder of another release's programs. What 2.x lacks is skipped and named.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${MLFLOW2_BIN:-${MLOPS_HOME:?}/venvs/mlflow2/bin}
dir=$(mktemp -d)
set -m # the server and its workers are a process group

port=$("$bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
PATH=$bin:$PATH "$bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 --backend-store-uri "sqlite:///$dir/db" \
	--serve-artifacts --artifacts-destination "$dir/artifacts" >"$dir/log" 2>&1 &
server=$!
trap 'kill -- -$server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

for _ in $(seq 120); do
	kill -0 $server 2>/dev/null || break
	if "$bin/python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/version', timeout=5)" 2>/dev/null; then
		MLOPS_LIVE=1 MLOPS_LIVE_MLFLOW=http://127.0.0.1:$port MLOPS_LIVE_PYTHON_MLFLOW=$bin/python \
			go test -short -count=1 -timeout 5m -v ./mlflow | grep -E '^(ok|FAIL|--- (FAIL|SKIP)|panic)|(do|does) not have' || exit 1
		exit "${PIPESTATUS[0]}"
	fi
	sleep 1
done
cat "$dir/log" >&2
echo "mlflow2: the server did not come up" >&2
exit 1

#!/usr/bin/env bash
# Sets up and starts one real stack under MLOPS_HOME, runs all suites against
# it, then the suites that kill servers, and stops it. Any server that does
# not come up is a failure. With MLOPS_RUNTIME=docker the stack is in containers,
# and the suites are those that kill nothing (scripts/docker.sh kills).
set -euo pipefail
cd "$(dirname "$0")/.."
: "${MLOPS_HOME:?}"
if [ "${MLOPS_RUNTIME:-}" = docker ]; then exec scripts/docker.sh live; fi
export MLOPS_HOME
ctl=$PWD/bin/mlopsctl
export PATH=$PWD/bin:$PATH

# Where there is a C compiler, the suite on a stub of Apple's libraries must run.
if command -v cc >/dev/null; then export MLOPS_REQUIRE_CC=1; fi

stop() { "$ctl" stop >/dev/null 2>&1 || true; }
trap stop EXIT
trap 'exit 130' INT TERM

"$ctl" setup
"$ctl" setup train dvc mlflow2 s3
"$ctl" start
"$ctl" status

# One stack, one run: every suite against the real servers.
MLOPS_LIVE=1 go test -race -shuffle=on -count=1 -timeout 30m -p 2 -coverpkg=./... -coverprofile=coverage.out ./...
./scripts/coverage.sh coverage.out compose/stacktest # half of it runs in scripts/docker.sh

# MLflow's 2.x line is spoken too: a server of it for the one package, on SQLite.
scripts/mlflow2.sh

# A module outside of this one, whose two packages test with servers of their
# own at once, on the installations of this home.
(cd examples/stacktest && MLOPS_RUNTIME=process go test -count=1 ./...)

# Bytes from outside, ten seconds for each reader of a journal and of answers;
# make soak takes ten minutes for every fuzz target there is.
for target in internal/spool:FuzzReader mlflow:FuzzReadRecords mlflow:FuzzDecodeError mlflow:FuzzParsePlace airflow:FuzzADeclarationPassesThroughTheFileUnchanged \
	dvc/internal/dvcfile:FuzzDVCFile dvc/internal/dvcfile:FuzzPipeline dvc/internal/dvcfile:FuzzYAMLValueIsReadBack dvc/internal/lock:FuzzRWLock dvc/internal/object:FuzzTree \
	dvc/internal/ini:FuzzConfig dvc/internal/ignore:FuzzIgnorePattern dvc/internal/known:FuzzState \
	drift:FuzzCompareColumn drift/table:FuzzReadCSV; do
	# go test is content with a target that is not there.
	grep -q "^func ${target#*:}(" "${target%:*}"/*_test.go || { echo "there is no fuzz target $target"; exit 1; }
	go test -run '^$' -fuzz "^${target#*:}\$" -fuzztime 10s "./${target%:*}"
done

# The suites that stop, kill and restart this stack have it for themselves.
MLOPS_LIVE=1 MLOPS_LIVE_STACK=1 go test -count=1 -timeout 30m -run '^TestStack' -v ./cli

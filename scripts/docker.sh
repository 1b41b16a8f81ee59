#!/usr/bin/env bash
# Runs the suites of the stack in containers, or the one that is named, and then
# that of compose/stacktest, without a name also its example, on an engine that
# compose/ci/engine.sh makes under MLOPS_HOME; "live" is the suites of
# scripts/live.sh. With MLOPS_TEST_ENGINE=user they run on the engine that docker
# reaches by itself; they remove only what they made. However they end, the engine
# that was made is stopped, and with it all its containers.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${MLOPS_HOME:?}"
export MLOPS_HOME
export PATH=$PWD/bin:$PATH
made=
end() {
	if [ "${live:-}" ]; then mlopsctl stop >/dev/null 2>&1 || true; fi
	if [ "$made" ]; then MLOPS_HOME=$made compose/ci/engine.sh stop; fi
}
trap end EXIT
trap 'exit 130' INT TERM
if [ "${MLOPS_TEST_ENGINE:-}" != user ]; then
	made=$MLOPS_HOME
	compose/ci/engine.sh start
	eval "$(compose/ci/engine.sh env)"
fi

if [ "${1:-}" != live ]; then
	MLOPS_HOME=$MLOPS_HOME/containers MLOPS_LIVE_DOCKER=1 go test -count=1 -timeout 60m -run "^${1:-TestDocker}" -v ./cli
	unset MLOPS_RUNTIME
	if [ $# -eq 0 ]; then # two test binaries at once, which find the engine by themselves
		(cd examples/stacktest && go test -count=1 -v ./...) | tee "$MLOPS_HOME/stacktest.log"
		[ "$(grep -c 'servers are containers: the engine' "$MLOPS_HOME/stacktest.log")" -eq 2 ]
	fi
	# Servers for anybody's tests, and all the ends that a test binary can come to.
	MLOPS_LIVE_DOCKER=1 go test -race -count=1 -timeout 30m -coverprofile=coverage.stacktest.out ./compose/stacktest
	scripts/coverage.sh coverage.stacktest.out
	exit
fi

# The judges, upstream's own clients, and the servers that suites start for
# themselves are those of the process runtime; the stack has a home of its own,
# which remembers that it is in containers.
unset MLOPS_RUNTIME
mlopsctl setup --runtime process
mlopsctl setup --runtime process train dvc s3
own=$MLOPS_HOME/live
mkdir -p "$own"
for part in venvs tools uv; do ln -sfn "$MLOPS_HOME/$part" "$own/$part"; done
export MLOPS_HOME=$own
live=1
mlopsctl setup --runtime docker
mlopsctl start --wait-timeout 15m
mlopsctl status

# One package at a time, for the containers take their share of the machine.
# Their coverage is not counted: what supervises processes does not run here.
# "make live PACKAGES=./airflow" runs those of one.
# shellcheck disable=SC2086
MLOPS_LIVE=1 go test -race -shuffle=on -count=1 -timeout 30m -p 1 ${PACKAGES:-./...}

#!/usr/bin/env bash
# Runs the suites of the stack in containers and, after them, those of
# compose/stacktest and its example, or only the suite that is named, on an
# engine that compose/ci/engine.sh makes under MLOPS_HOME. With
# MLOPS_TEST_ENGINE=user they run on the engine that docker reaches by itself;
# they remove only what they made. However they end, the engine that was made
# is stopped, and with it all its containers.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${MLOPS_HOME:?}"
if [ "${MLOPS_TEST_ENGINE:-}" != user ]; then
	engine=$MLOPS_HOME
	trap 'MLOPS_HOME=$engine compose/ci/engine.sh stop' EXIT
	trap 'exit 130' INT TERM
	compose/ci/engine.sh start
	eval "$(compose/ci/engine.sh env)"
fi
export PATH=$PWD/bin:$PATH
own=$MLOPS_HOME
export MLOPS_HOME=$own/containers
MLOPS_LIVE_DOCKER=1 go test -count=1 -timeout 60m -run "^${1:-TestDocker}" -v ./cli
[ $# -eq 0 ] || exit 0

# Servers for anybody's tests, in containers because an engine answers: two test
# binaries at once, then the ends that a test binary can come to.
(cd examples/stacktest && MLOPS_HOME=$own go test -count=1 -v ./... | tee "$own/stacktest.log")
[ "$(grep -c 'servers are containers: the engine' "$own/stacktest.log")" -eq 2 ]
MLOPS_HOME=$own MLOPS_LIVE_DOCKER=1 go test -race -count=1 -timeout 30m ./compose/stacktest

#!/usr/bin/env bash
# Runs the suites of the stack in containers, or the one that is named, on an
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
export MLOPS_HOME=$MLOPS_HOME/containers
MLOPS_LIVE_DOCKER=1 go test -count=1 -timeout 60m -run "^${1:-TestDocker}" -v ./cli

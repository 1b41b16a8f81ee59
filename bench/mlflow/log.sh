#!/bin/sh
# Compares logging metrics from Go with Python's client, in one run against one
# real MLflow server, in rounds whose order alternates.
#
#   bench/mlflow/log.sh [rounds [contender…]]      9 rounds take six minutes or more;
#                                          contenders are go, bare, sync, async, buffered
#
# The server is the running stack's (MLOPS_HOME, mlopsctl start), or the one at
# MLFLOW_TRACKING_URI with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD
# and, as MLOPS_PYTHON, an interpreter that has mlflow.
#
# How to read what it prints: README.md beside this file.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$here" && go build -o "$work/log" ./log)
rounds=${1:-9}
[ $# -eq 0 ] || shift
"$work/log" compare "$here/log.py" "$rounds" "$@"

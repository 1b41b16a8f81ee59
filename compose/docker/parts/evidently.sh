#!/bin/sh
# Evidently's UI service; its secret guards what changes something.
set -eu
export EVIDENTLY_SECRET="$(cat /run/secrets/evidently)"
mkdir -p /data/workspace
exec evidently ui --host 0.0.0.0 --port 8000 --workspace /data/workspace

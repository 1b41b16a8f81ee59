#!/bin/sh
# Evidently's UI service behind the guard that asks for its secret.
set -eu
export EVIDENTLY_SECRET="$(cat /run/secrets/evidently)"
mkdir -p /data/workspace
exec /opt/venv/bin/python -I /opt/mlops/evidently_ui.py 0.0.0.0 8000 /data/workspace

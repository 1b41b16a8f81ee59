#!/bin/sh
# Makes what compose.yaml needs beside itself, once: the secrets, which nobody
# but you can reach, the folders of DAGs and of projects, and mlopsctl for
# Airflow's tasks.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
for name in $(sed -n 's|^  \([a-z0-9-]*\): { file: "${MLOPS_SECRETS.*|\1|p' compose.yaml); do
	[ -s "secrets/$name" ] || head -c 48 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' >"secrets/$name"
	chmod 444 "secrets/$name" # the folder keeps others out; the containers' users have to read it
done
umask 022
mkdir -p dags projects
if [ ! -x bin/mlopsctl ]; then
	if command -v mlopsctl >/dev/null; then
		cp "$(command -v mlopsctl)" bin/mlopsctl
	else
		echo "init: mlopsctl is not on PATH; DAG tasks that call it will not find it" >&2
	fi
fi

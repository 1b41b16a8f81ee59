#!/bin/sh
# One part of Airflow: api-server, scheduler, dag-processor, triggerer or
# "celery worker". Tasks inherit this environment and may print it, so that it
# names files of secrets and holds none.
set -eu
secret() { cat "/run/secrets/$1"; }
private=/run/mlops
umask 077

printf 'postgresql+psycopg2://mlops:%s@postgres:5432/airflow' "$(secret postgres)" >$private/database
printf 'db+postgresql+psycopg2://mlops:%s@postgres:5432/airflow' "$(secret postgres)" >$private/results
printf 'redis://:%s@redis:6379/0' "$(secret redis)" >$private/broker
printf '{"admin": "%s"}\n' "$(secret airflow)" >$private/passwords.json
/usr/bin/python3 -I -c 'import base64, hashlib, sys
sys.stdout.write(base64.urlsafe_b64encode(hashlib.sha256(sys.stdin.read().strip().encode()).digest()).decode())' \
	</run/secrets/airflow-fernet >$private/fernet
/usr/bin/python3 -I /opt/mlops/stack.py $private/home
date +%s >$private/started

export MLOPS_HOME=$private/home
export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD="cat $private/database"
export AIRFLOW__CELERY__RESULT_BACKEND_CMD="cat $private/results"
export AIRFLOW__CELERY__BROKER_URL_CMD="cat $private/broker"
export AIRFLOW__CORE__FERNET_KEY_CMD="cat $private/fernet"
export AIRFLOW__API__SECRET_KEY_CMD="cat /run/secrets/airflow-session"
export AIRFLOW__API_AUTH__JWT_SECRET_CMD="cat /run/secrets/airflow-jwt"
export AIRFLOW__CORE__EXECUTOR=CeleryExecutor
export AIRFLOW__CORE__DAGS_FOLDER=/opt/airflow/dags
export AIRFLOW__CORE__LOAD_EXAMPLES=False
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://airflow-api-server:8080/execution/
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=admin:admin
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=$private/passwords.json
export AIRFLOW__API__HOST=0.0.0.0
export AIRFLOW__API__PORT=8080
export AIRFLOW__API__WORKERS=1
export AIRFLOW__API__BASE_URL=${AIRFLOW_BASE_URL:-http://127.0.0.1:8080}
export AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT=60
export AIRFLOW__CELERY__WORKER_CONCURRENCY=${AIRFLOW_WORKER_CONCURRENCY:-4}
export AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT=60
export AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL=0 # else a run within 30 s of a change is one of the DAG before it
export AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL=5
export AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL=5
export AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL=2
export AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES=1
export AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False

if [ "$1" = api-server ]; then # all others start after it
	airflow db migrate
fi
exec airflow "$@"

#!/bin/sh
# MLflow's tracking server: tables in PostgreSQL, artifacts in S3, users by its
# basic-auth application. Secrets come from /run/secrets and go to files of this
# container's memory and to the server's own environment.
set -eu
secret() { cat "/run/secrets/$1"; }
private=/run/mlops
umask 077

printf '%s:5432:*:mlops:%s\n' postgres "$(secret postgres)" >$private/pgpass
printf '[default]\naws_access_key_id = mlops\naws_secret_access_key = %s\n' "$(secret s3)" >$private/aws
cat >$private/basic_auth.ini <<EOF
[mlflow]
default_permission = READ
database_uri = postgresql+psycopg2://mlops@postgres:5432/mlflow
admin_username = admin
admin_password = $(secret mlflow)
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
grant_default_workspace_access = false
auth_cache_ttl_seconds = 60
EOF
export PGPASSFILE=$private/pgpass
export AWS_SHARED_CREDENTIALS_FILE=$private/aws
export AWS_DEFAULT_REGION=us-east-1
export MLFLOW_S3_ENDPOINT_URL=http://s3:7070
export MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://mlops@postgres:5432/mlflow
export MLFLOW_AUTH_CONFIG_PATH=$private/basic_auth.ini
export MLFLOW_FLASK_SERVER_SECRET_KEY="$(secret mlflow-session)"
export MLFLOW_SERVER_ALLOWED_HOSTS='mlflow,mlflow:5000,localhost,localhost:*,127.0.0.1,127.0.0.1:*,[::1],[[]::1]:*' # brackets are a pattern there
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=5
export MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW=10
export MLFLOW_DISABLE_TELEMETRY=true

python /opt/mlops/mlflow_prepare.py
exec mlflow server --host 0.0.0.0 --port 5000 --workers "${MLFLOW_WORKERS:-2}" --app-name basic-auth \
	--serve-artifacts --artifacts-destination s3://mlflow

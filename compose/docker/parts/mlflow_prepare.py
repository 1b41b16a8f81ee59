"""Makes or upgrades MLflow's tables and makes its bucket, before the workers
start: each of them would do it, at the same time."""

import os

import boto3
from botocore.exceptions import ClientError
from mlflow.server.auth.db.utils import migrate_if_needed
from mlflow.store.db.utils import _initialize_tables, _upgrade_db, create_sqlalchemy_engine_with_retry
from sqlalchemy import inspect

address = os.environ["MLFLOW_BACKEND_STORE_URI"]
engine = create_sqlalchemy_engine_with_retry(address)
if inspect(engine).has_table("experiments"):
    _upgrade_db(engine)
else:
    _initialize_tables(engine)
migrate_if_needed(engine, "head")

s3 = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
try:
    s3.head_bucket(Bucket="mlflow")
except ClientError as e:
    if e.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
        raise
    s3.create_bucket(Bucket="mlflow")

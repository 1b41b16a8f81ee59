"""Writes the stack file by which mlopsctl, in a task, finds the servers: the
same file as on the host, with the addresses that hold between containers."""

import json
import os
import sys

home = sys.argv[1]
secrets = os.path.join(home, "secrets")
os.makedirs(secrets, mode=0o700, exist_ok=True)


def endpoint(url, secret, user=""):
    # mlopsctl takes a secret only from a file that is its owner's alone.
    file = os.path.join(secrets, secret)
    with open(os.path.join("/run/secrets", secret)) as f, open(file, "w") as out:
        out.write(f.read())
    e = {"url": url, "secret_file": file}
    if user:
        e["username"] = user
    return e


aws = os.path.join(secrets, "s3.aws")
with open("/run/secrets/s3") as f, open(aws, "w") as out:
    out.write(f"[mlops]\naws_access_key_id = mlops\naws_secret_access_key = {f.read().strip()}\n")

stack = {
    "version": 1,
    "runtime": "docker",
    "home": home,
    "endpoints": {
        "mlflow": endpoint("http://mlflow:5000", "mlflow", "admin"),
        "airflow": endpoint("http://airflow-api-server:8080", "airflow", "admin"),
        "ray": endpoint("http://ray-head:8265", "ray"),
        "serve": {"url": "http://ray-head:8000"},
        "evidently": endpoint("http://evidently:8000", "evidently"),
    },
    "dvc_remote": "s3://mlops/dvc",
    "dvc_options": {"endpointurl": "http://s3:7070", "region": "us-east-1", "credentialpath": aws, "profile": "mlops"},
    "dags_folder": "/opt/airflow/dags",
    "pythons": {"train": "/opt/train/bin/python"},
    "serve_dir": "",
    "command": "mlopsctl",
}
with open(os.path.join(home, "stack.json"), "w") as f:
    json.dump(stack, f, indent=2)

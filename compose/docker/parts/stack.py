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
    "dvc_remote": os.environ.get("MLOPS_DVC_REMOTE", ""),
    "dags_folder": "/opt/airflow/dags",
    "pythons": {},
    "serve_dir": "",
    "command": "mlopsctl",
}
with open(os.path.join(home, "stack.json"), "w") as f:
    json.dump(stack, f, indent=2)

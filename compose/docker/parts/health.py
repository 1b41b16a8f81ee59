"""Asks the server of this container who it is: it has to be of the version that
is installed here, refuse a stranger and know our secret. Exit code 0: healthy."""

import glob
import json
import os
import socket
import sys
import urllib.error
import urllib.request


def secret(name):
    with open("/run/secrets/" + name) as f:
        return f.read().strip()


def ask(url, method="GET", headers=None, body=None):
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, b""


def version(distribution):
    (info,) = glob.glob(f"/opt/venv/lib/python*/site-packages/{distribution}-*.dist-info")
    return os.path.basename(info)[len(distribution) + 1 : -len(".dist-info")]


def want(what, got, due):
    if got != due:
        sys.exit(f"{what}: {got!r}, {due!r} was due")


def mlflow():
    import base64

    at = "http://127.0.0.1:5000/version"
    want("MLflow to a stranger", ask(at)[0], 401)
    login = base64.b64encode(("admin:" + secret("mlflow")).encode()).decode()
    want("MLflow", ask(at, headers={"Authorization": "Basic " + login}), (200, version("mlflow").encode()))


def evidently():
    at, ours = "http://127.0.0.1:8000", {"evidently-secret": secret("evidently")}
    status, body = ask(at + "/api/version")
    want("Evidently", (status, json.loads(body)["version"]), (200, version("evidently")))
    nothing = at + "/api/projects/00000000-0000-0000-0000-000000000000"
    for method in ("GET", "DELETE"):  # upstream leaves reading open
        want(f"Evidently to a stranger's {method}", ask(nothing if method == "DELETE" else at + "/api/projects", method)[0], 401)
    want("Evidently to our reading", ask(at + "/api/projects", headers=ours)[0], 200)
    want("Evidently to our change", ask(nothing, "DELETE", ours)[0], 204)


def airflow_api_server():
    at = "http://127.0.0.1:8080"
    status, body = ask(at + "/api/v2/version")
    want("Airflow", (status, json.loads(body)["version"]), (200, version("apache_airflow")))
    login = json.dumps({"username": "admin", "password": secret("airflow")}).encode()
    want("a login", ask(at + "/auth/token", "POST", {"Content-Type": "application/json"}, login)[0], 201)
    # The server builds its execution API at the first request, for up to a
    # minute; tasks that meet it give up and fail.
    warm = urllib.request.urlopen(at + "/execution/health", timeout=110)
    want("the execution API", json.load(warm), {"status": "healthy"})


def beat(part):
    from datetime import datetime

    with open("/run/mlops/started") as f:
        started = float(f.read())
    _, body = ask("http://airflow-api-server:8080/api/v2/monitor/health")
    health = json.loads(body)[part]
    last = health[f"latest_{part}_heartbeat"]
    if health["status"] != "healthy" or datetime.fromisoformat(last.replace("Z", "+00:00")).timestamp() < started:
        sys.exit(f"no heartbeat yet: {health}")


def airflow_worker():
    """The worker answers to its name over the broker."""
    broker = open("/run/mlops/broker").read()
    sys.path[:0] = glob.glob("/opt/venv/lib/python*/site-packages")
    from celery import Celery

    name = "celery@" + socket.gethostname()
    answers = Celery(broker=broker).control.ping(destination=[name], timeout=8)
    want("the worker", answers, [{name: {"ok": "pong"}}])


def ray(at):
    want("Ray to a stranger", ask(at + "/api/version")[0], 401)
    token = {"Authorization": "Bearer " + secret("ray")}
    status, body = ask(at + "/api/version", headers=token)
    want("Ray", (status, json.loads(body)["ray_version"]), (200, version("ray")))
    _, body = ask(at + "/nodes?view=summary", headers=token)
    here = socket.gethostbyname(socket.gethostname())
    alive = [n["raylet"].get("nodeManagerAddress") for n in json.loads(body)["data"]["summary"] if n["raylet"]["state"] == "ALIVE"]
    if here not in alive:
        sys.exit(f"the node {here} is not among those alive: {alive}")
    return token


def ray_head():
    token = ray("http://127.0.0.1:8265")
    _, body = ask("http://127.0.0.1:8265/api/serve/applications/", headers=token)
    want("Serve's port", (json.loads(body).get("http_options") or {}).get("port"), 8000)
    if ask("http://127.0.0.1:8000/-/healthz")[0] not in (200, 503):  # 503: no application yet
        sys.exit("Serve's proxy does not answer")


parts = {
    "mlflow": mlflow,
    "evidently": evidently,
    "airflow-api-server": airflow_api_server,
    "airflow-scheduler": lambda: beat("scheduler"),
    "airflow-dag-processor": lambda: beat("dag_processor"),
    "airflow-triggerer": lambda: beat("triggerer"),
    "airflow-worker": airflow_worker,
    "ray-head": ray_head,
    "ray-worker": lambda: ray("http://ray-head:8265"),
}
try:
    parts[sys.argv[1]]()
except (OSError, ValueError, KeyError) as e:
    sys.exit(f"{sys.argv[1]} does not answer: {e!r}")

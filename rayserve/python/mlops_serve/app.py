"""A registered MLflow model as a Ray Serve application.

The replica answers with MLflow's own scoring server, so requests and answers
are those of "mlflow models serve": POST /invocations, GET /ping, /version.
GET / says which model answers and where.

Credentials for MLflow come from the environment that Ray was started with
(MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD), never from args: the
configuration of an application can be read over REST. They are sent to the
address that stands beside them, MLFLOW_TRACKING_URI, and to no other.
"""

import json
import logging
import os
from urllib.parse import urlsplit

from ray import serve

log = logging.getLogger("ray.serve")


def build(args):
    """Build the application. Runs when Ray Serve applies the configuration.

    args["model_uri"]     models:/NAME/VERSION or runs:/ID/PATH
    args["tracking_uri"]  where MLflow is; absent: the replica's environment
    """
    model_uri = args["model_uri"]
    tracking_uri = args.get("tracking_uri")

    def asgi():  # runs in the replica
        import mlflow
        from mlflow.pyfunc import load_model, scoring_server

        own = os.environ.get("MLFLOW_TRACKING_URI", "")  # set_tracking_uri replaces it
        if not (tracking_uri or own):
            raise RuntimeError("where is MLflow? Start Ray with MLFLOW_TRACKING_URI, or name the address in the deployment")
        bind_credentials(own)
        if tracking_uri and origin(tracking_uri) != origin(own):
            for name in ("USERNAME", "PASSWORD", "TOKEN"):
                os.environ.pop("MLFLOW_TRACKING_" + name, None)
        if tracking_uri:
            mlflow.set_tracking_uri(tracking_uri)
            mlflow.set_registry_uri(tracking_uri)
        app = scoring_server.init(load_model(model_uri))
        hide_traces()
        app.get("/")(lambda: {"model": model_uri, "predict": "POST rows to invocations, below this address"})
        app.add_middleware(Root)
        return app

    @serve.deployment(name="model")
    @serve.ingress(asgi)
    class Model:
        pass

    return Model.bind()


class Root:
    """Let the application's own address answer without a slash at its end."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] == scope.get("root_path"):
            scope = {**scope, "path": scope["path"] + "/"}
        await self.app(scope, receive, send)


def bind_credentials(own):
    """Send MLflow's credentials to the server at own only.

    MLflow itself sends them to any address that a model, a run or the
    arguments name: a version whose source is mlflow-artifacts://host/path makes
    it sign in at that host.
    """
    from mlflow.utils import credentials

    signed_in = credentials.MlflowHostCreds
    secrets = ("username", "password", "token", "auth", "aws_sigv4")

    def bound(host, **given):
        if origin(host) != origin(own):
            given = {k: v for k, v in given.items() if k not in secrets}
        elif mark := os.environ.get("MLOPS_MLFLOW_MARK"):
            confirm(own, mark)
        return signed_in(host=host, **given)

    credentials.MlflowHostCreds = bound


def origin(url):
    """Scheme, host and port; None for what is no address of a server."""
    parts = urlsplit(str(url))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


holder = None  # the process that was found listening last


def confirm(url, mark):
    """Raise unless a process with the stack's mark listens on the port of url.

    Replicas outlive a stop of MLflow, and a stranger may have its port then.
    """
    global holder
    import psutil  # Ray brings it along

    port = urlsplit(url).port

    def holds(p):
        try:
            return p.environ().get("MLOPS_SERVICE") == mark and any(
                c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in p.net_connections("tcp")
            )
        except (psutil.Error, OSError):
            return False  # it has ended, or is another user's

    if holder is None or not holds(holder):
        holder = next((p for p in psutil.process_iter() if holds(p)), None)
    if holder is None:
        raise RuntimeError(f"the stack's MLflow does not listen on {url}, and nothing was sent there; run: mlopsctl start")


def hide_traces():
    """Keep tracebacks, which show the server's paths, in the replica's log."""
    from mlflow.exceptions import MlflowException

    whole = MlflowException.serialize_as_json

    def serialize_as_json(self):
        answer = json.loads(whole(self))
        if trace := answer.pop("stack_trace", None):
            log.error("the model failed on a request:\n%s", trace)
        return json.dumps(answer)

    MlflowException.serialize_as_json = serialize_as_json

"""A registered MLflow model as a Ray Serve application.

The replica answers with MLflow's own scoring server, so requests and answers
are those of "mlflow models serve": POST /invocations, GET /ping, /version.

Credentials for MLflow come from the environment that Ray was started with
(MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD), never from args: the
configuration of an application can be read over REST.
"""

from ray import serve


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

        if tracking_uri:
            mlflow.set_tracking_uri(tracking_uri)
            mlflow.set_registry_uri(tracking_uri)
        return scoring_server.init(load_model(model_uri))

    @serve.deployment(name="model")
    @serve.ingress(asgi)
    class Model:
        pass

    return Model.bind()

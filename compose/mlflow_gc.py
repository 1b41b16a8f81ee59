"""Runs "mlflow gc" for what was chosen of the things that MLflow has deleted.

mlflow gc --run-ids takes all deleted experiments and logged models along, of
whatever project, so that it is shown a store in which nothing else is deleted.
A question and its answer are JSON, on standard input and output. Where the store
is, and the credentials, are in the environment: MLFLOW_BACKEND_STORE_URI,
MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

Written against mlflow 3.17: mlflow/cli/__init__.py and
mlflow/store/tracking/sqlalchemy_store.py.
"""

import contextlib
import json
import os
import sys
import time

ask = json.load(sys.stdin)
answer_to, sys.stdout = sys.stdout, sys.stderr

from mlflow import MlflowClient, cli
from mlflow.entities import ViewType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.entities.paged_list import PagedList

store = cli._get_store(os.environ["MLFLOW_BACKEND_STORE_URI"], None)


def pages(fetch):
    token = None
    while True:
        page = fetch(token)
        yield from page
        token = page.token
        if not token:
            return


def deleted_experiments(more=None):
    return list(pages(lambda t: store.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=more, page_token=t)))


def size(location):
    """The bytes below an artifact location; None if it cannot be listed."""
    repo, total, todo = get_artifact_repository(location), 0, [None]
    try:
        while todo:
            for f in repo.list_artifacts(todo.pop()):
                if f.is_dir:
                    todo.append(f.path)
                else:
                    total += f.file_size or 0
    except Exception:
        return None
    return total


def below(place, location):
    return place == location or place.startswith(location.rstrip("/") + "/")


def own(experiment):
    """Whether the server made the experiment's folder for it alone."""
    return experiment.artifact_location == f"mlflow-artifacts:/{experiment.experiment_id}"


class Registered:
    """What registered models are made of: it must stay."""

    def __init__(self):
        client = MlflowClient()
        self.by = {}
        for v in pages(lambda t: client.search_model_versions(page_token=t)):
            self.by.setdefault(v.source or "", f"{v.name} version {v.version}")
        self.models = {s.removeprefix("models:/"): name for s, name in self.by.items() if s.startswith("models:/")}

    def run(self, run):
        for source, name in self.by.items():
            if below(source, run.info.artifact_uri) or below(source, f"runs:/{run.info.run_id}"):
                return name
        return None

    def model(self, model):
        found = self.models.get(model.model_id)
        return found or next((n for s, n in self.by.items() if below(s, model.artifact_location)), None)


def find():
    """What is deleted, old enough and of the experiments that are asked for."""
    older, only = ask["older_than_ms"], ask.get("experiments")
    registered, kept, out = Registered(), [], []

    def wanted(experiment_id):
        return only is None or experiment_id in only

    def add(kind, id, experiment, name, held, *places):
        if held:
            kept.append({"kind": kind, "id": id, "name": name, "by": held})
            return
        sizes = [size(p) for p in places]
        out.append({"kind": kind, "id": id, "experiment": experiment, "name": name, "bytes": sum(s or 0 for s in sizes), "unknown": None in sizes})

    def models_of(experiment_id):
        return pages(lambda t: store.search_logged_models([experiment_id], page_token=t))

    def runs_of(experiment_id):
        return {r.info.run_id for r in pages(lambda t: store.search_runs([experiment_id], "", ViewType.ALL, page_token=t))}

    more = f"last_update_time < {int(time.time() * 1000) - older}" if older else None
    gone = [e for e in deleted_experiments(more) if wanted(e.experiment_id)]
    runs = {}
    for id in store._get_deleted_runs(older_than=older):
        run = store.get_run(id)
        runs.setdefault(run.info.experiment_id, []).append(run)
    gone = [e for e in gone if runs_of(e.experiment_id) <= {r.info.run_id for r in runs.get(e.experiment_id, [])}]
    held = {}
    for e in gone:
        mine = runs.get(e.experiment_id, [])
        held[e.experiment_id] = next((h for h in [registered.run(r) for r in mine] + [registered.model(m) for m in models_of(e.experiment_id)] if h), None)
    for experiment_id, mine in runs.items():
        if not wanted(experiment_id):
            continue
        for run in mine:
            add("run", run.info.run_id, experiment_id, run.info.run_name, registered.run(run) or held.get(experiment_id), run.info.artifact_uri)
    for id in store._get_deleted_logged_models(older_than=older):
        model = store.get_logged_model(id, allow_deleted=True)
        if wanted(model.experiment_id):
            add("model", id, model.experiment_id, model.name, registered.model(model), model.artifact_location)
    for e in gone:
        places = [m.artifact_location for m in models_of(e.experiment_id)] if own(e) else []
        add("experiment", e.experiment_id, e.experiment_id, e.name, held[e.experiment_id], *places)
    return {"found": out, "kept": kept}


class Chosen:
    """The store, as if nothing but what was chosen were deleted in it."""

    def __init__(self, chosen):
        self.ids = {kind: {c["id"] for c in chosen if c["kind"] == kind} for kind in ("run", "model", "experiment")}

    def __getattr__(self, name):
        return getattr(store, name)

    def _get_deleted_runs(self, older_than=0):
        return [id for id in store._get_deleted_runs(older_than=older_than) if id in self.ids["run"]]

    def _get_deleted_logged_models(self, older_than=0):
        return [id for id in store._get_deleted_logged_models(older_than=older_than) if id in self.ids["model"]]

    def search_experiments(self, **query):
        page = store.search_experiments(**query)
        return PagedList([e for e in page if e.experiment_id in self.ids["experiment"]], page.token)

    def search_runs(self, **query):  # gc asks for the runs of deleted experiments
        page = store.search_runs(**query)
        return PagedList([r for r in page if r.info.run_id in self.ids["run"]], page.token)


def collect():
    """Removes what was chosen and is deleted still; the rest is answered as left."""
    chosen = ask["collect"]
    seen = Chosen(chosen)
    folders = {e.experiment_id: e.artifact_location for e in deleted_experiments() if e.experiment_id in seen.ids["experiment"] and own(e)}
    cli._get_store = lambda *_: seen
    error = None
    try:
        cli.gc.main(args=[], prog_name="mlflow gc", standalone_mode=False)
    except Exception as e:
        error = f"{type(e).__name__}: {e}"
    left = {
        "run": set(store._get_deleted_runs()),
        "model": set(store._get_deleted_logged_models()),
        "experiment": {e.experiment_id for e in deleted_experiments()},
    }
    for id, folder in folders.items():
        if id not in left["experiment"]:
            with contextlib.suppress(FileNotFoundError):
                get_artifact_repository(folder).delete_artifacts()
    return {"found": [c for c in chosen if c["id"] not in left[c["kind"]] and not alive(c)], "error": error}


def alive(c):
    """Whether a thing that is no longer deleted was restored, and so was not removed."""
    with contextlib.suppress(Exception):
        match c["kind"]:
            case "run":
                store.get_run(c["id"])
            case "model":
                store.get_logged_model(c["id"])
            case "experiment":
                store.get_experiment(c["id"])
        return True
    return False


json.dump(collect() if "collect" in ask else find(), answer_to)

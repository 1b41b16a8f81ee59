"""Tries to make mlflow_gc.py, whose path is the argument, remove what is used.

Writes what came of it as JSON, a key for each claim of TestGCNeverTakesWhatIsUsed.
"""

import io
import json
import os
import runpy
import sys
import tempfile
import threading
import time
import uuid

answer_to, sys.stdout = sys.stdout, sys.stderr  # MLflow writes to it

import mlflow
from mlflow import MlflowClient, cli
from mlflow.exceptions import MlflowException
from mlflow.store.artifact import artifact_repository_registry as registry
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.tracking.dbmodels.models import SqlRun

client, get_store, get_repo = MlflowClient(), cli._get_store, registry.get_artifact_repository
store = get_store(os.environ["MLFLOW_BACKEND_STORE_URI"], None)
mark, result = uuid.uuid4().hex, {}
experiment, other = client.create_experiment(f"gc-{mark}"), client.create_experiment(f"gc-other-{mark}")
MINUTE = 60 * 1000


def ask(deployed=(), **question):
    out, streams = io.StringIO(), (sys.stdin, sys.stdout)
    cli._get_store = get_store
    sys.stdin, sys.stdout = io.StringIO(json.dumps({"deployed": list(deployed)} | question)), out
    try:
        runpy.run_path(sys.argv[1])
    finally:
        sys.stdin, sys.stdout = streams
    return json.loads(out.getvalue())


def find(older=0, **more):
    return ask(older_than_ms=older, experiments=[experiment], **more)


def run_with_file(of=experiment, **tags):
    run = client.create_run(of, tags=tags).info.run_id
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "weights")
        with open(path, "w") as f:
            f.write("weights")
        client.log_artifact(run, path)
    return run


def deleted(**tags):
    run = run_with_file(**tags)
    client.delete_run(run)
    return run


def model_of(run):
    model = client.create_logged_model(experiment, source_run_id=run).model_id
    client.finalize_logged_model(model, "READY")
    return model


def register(name, source, **more):
    client.create_registered_model(f"gc-{mark}-{name}")
    client.create_model_version(f"gc-{mark}-{name}", source, **more)


def without_run(name):
    """As older servers keep a version that was made without a run."""
    with store.ManagedSessionMaker(read_only=False) as session:
        session.query(SqlModelVersion).filter(SqlModelVersion.name == f"gc-{mark}-{name}").update({"run_id": None})


def uri(run):
    return store.get_run(run).info.artifact_uri


def files(location):
    return sorted(f.path for f in get_repo(location).list_artifacts())


def touched(run, **values):
    with store.ManagedSessionMaker(read_only=False) as session:
        session.query(SqlRun).filter(SqlRun.run_uuid == run).update(values)


def outcome(answer, run):
    """What came of a run: why it is kept, whether it was removed, or that it can be."""
    for c in answer:
        if c["id"] == run:
            return c.get("kept_for") or ("removed" if c.get("removed") else "free")
    return "not listed"


# What is used in some way, none of it found nor taken.
used = {}
used["the files of a version"] = deleted()
register("files", uri(used["the files of a version"]), run_id=used["the files of a version"])
without_run("files")
used["a file below them"] = deleted()
register("below", uri(used["a file below them"]) + "/weights", run_id=used["a file below them"])
without_run("below")
used["the run of a version"] = deleted()
register("run", "s3://elsewhere/model", run_id=used["the run of a version"])
used["runs:/ of a version"] = deleted()
register("uri", f"runs:/{used['runs:/ of a version']}/weights", run_id=used["runs:/ of a version"])
without_run("uri")
used["a version's logged model"] = run_with_file()
model = model_of(used["a version's logged model"])
register("logged", f"models:/{model}", model_id=model)
client.delete_run(used["a version's logged model"])
client.delete_logged_model(model)
used["a copy of a version that is gone"] = run_with_file()
model = model_of(used["a copy of a version that is gone"])
register("original", f"models:/{model}", model_id=model)
register("copy", f"models:/gc-{mark}-original/1")
client.delete_registered_model(f"gc-{mark}-original")
client.delete_run(used["a copy of a version that is gone"])
client.delete_logged_model(model)
used["a logged model"] = run_with_file()
model_of(used["a logged model"])
client.delete_run(used["a logged model"])
used["a child"] = deleted()
run_with_file(**{"mlflow.parentRunId": used["a child"]})
used["a version's tag"] = deleted()
client.set_model_version_tag(f"gc-{mark}-files", "1", "from", used["a version's tag"])
used["a trace"] = run_with_file()
mlflow.set_experiment(experiment_id=experiment)
with mlflow.start_run(run_id=used["a trace"]), mlflow.start_span("s"):
    pass
mlflow.flush_trace_async_logging()
client.delete_run(used["a trace"])
used["a deployment"] = deleted()
used["a store that is away"] = deleted()
touched(used["a store that is away"], artifact_uri=f"nowhere://bucket/{used['a store that is away']}/artifacts")
used["a folder of others"] = deleted()
touched(used["a folder of others"], artifact_uri=uri(used["a child"]))

plain, beside, foreign, active = deleted(), deleted(), deleted(of=other), run_with_file()
first = find(deployed=[used["a deployment"]])
result["found although used"] = [what for what, run in used.items() if outcome(first, run) in ("free", "not listed")]
result["others' runs and open ones"] = [outcome(first, foreign), outcome(first, active)]
result["younger"] = find(older=MINUTE)

# All that is used is handed over for removal all the same.
forced = [{k: v for k, v in c.items() if k != "kept_for"} for c in first if c["id"] != plain and c["id"] != beside]
answer = ask(deployed=[used["a deployment"]], collect=forced)
result["removed although used"] = [what for what, run in used.items() if outcome(answer, run) in ("removed", "free", "not listed")]
touched(used["a folder of others"], artifact_uri=f"{uri(plain)}".replace(plain, used["a folder of others"]))
result["files lost"] = [what for what, run in used.items() if what != "a store that is away" and files(uri(run)) != ["weights"]]

# What happens between the list and the removal.
late = {what: deleted() for what in ("restored", "deleted anew", "registered")}
listed = find()
client.restore_run(late["restored"])
client.restore_run(late["deleted anew"])
time.sleep(0.01)  # deleted_time is in ms
client.delete_run(late["deleted anew"])
register("late", uri(late["registered"]), run_id=late["registered"])
answer = ask(collect=[c for c in listed if c["id"] in late.values()])
result["removed although changed"] = [what for what, run in late.items() if outcome(answer, run) == "removed" or files(uri(run)) != ["weights"]]

# A run is restored in the midst of its removal: one of the two fails, and files stay with their run.
racing, restorer, said = deleted(), [], []
where = uri(racing)


def restore():
    try:
        get_store(os.environ["MLFLOW_BACKEND_STORE_URI"], None).restore_run(racing)
        said.append("restored")
    except MlflowException:
        said.append("refused")


class Slow:
    def __init__(self, location):
        self.repo = get_repo(location)

    def list_artifacts(self, path=None):
        if not restorer:
            restorer.append(threading.Thread(target=restore))
            restorer[0].start()
            restorer[0].join(1)  # it waits for the row, or is done
        return self.repo.list_artifacts(path)

    def __getattr__(self, name):
        return getattr(self.repo, name)


listed = [c for c in find() if c["id"] == racing]
registry.get_artifact_repository = Slow
answer = ask(collect=listed)
registry.get_artifact_repository = get_repo
restorer[0].join()
left = files(where)
result["restored in the midst"] = (outcome(answer, racing), said, left) in [("removed", ["refused"], []), ("removed", ["restored"], ["weights"])]

# What nobody uses goes, with its files, and nothing beside it.
where, kept = uri(plain), uri(beside)
answer = ask(collect=[c for c in first if c["id"] == plain])
result["plain"] = [outcome(answer, plain), files(where), files(kept), files(uri(active)), files(uri(foreign))]
try:
    store.get_run(plain)
    result["plain"].append("its row is there")
except MlflowException:
    pass
where = uri(beside)


class Stuck(Slow):
    def list_artifacts(self, path=None):
        return self.repo.list_artifacts(path)

    def delete_artifacts(self):
        raise OSError("the store is away now")


registry.get_artifact_repository = Stuck
answer = ask(collect=[c for c in first if c["id"] == beside])
registry.get_artifact_repository = get_repo
result["files that could not go are named"] = where in outcome(answer, beside) and answer[0]["removed"] and files(where) == ["weights"]

json.dump(result, answer_to)

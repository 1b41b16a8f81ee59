"""Lists and removes runs that MLflow has deleted and keeps.

"mlflow gc" removes a run's files first and its row then, so that it takes the files of
a run that is restored meanwhile or that a registered model is made of, and it takes
deleted experiments and logged models of all projects along. Here a run's row goes
first, in a transaction that holds the row and proves that the run is deleted still
and that nothing refers to it. Its files go when the row is gone. What is in doubt
stays, with the reason.

A question and its answer are JSON, on standard input and output. The address of the
database and the credentials are in the environment: MLFLOW_BACKEND_STORE_URI,
MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

Written against mlflow 3.17: SqlAlchemyStore._hard_delete_run in
mlflow/store/tracking/sqlalchemy_store.py, and the tables of
mlflow/store/tracking/dbmodels/models.py and
mlflow/store/model_registry/dbmodels/models.py.
"""

import json
import os
import sys
import time

ask = json.load(sys.stdin)
answer_to, sys.stdout = sys.stdout, sys.stderr

from mlflow import cli
from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag, SqlRegisteredModelTag
from mlflow.store.tracking.dbmodels.models import (
    SqlAssessments,
    SqlExperimentTag,
    SqlInput,
    SqlIssue,
    SqlLoggedModel,
    SqlLoggedModelTag,
    SqlRun,
    SqlTag,
    SqlTraceMetadata,
    SqlTraceTag,
)
from mlflow.store.tracking.sqlalchemy_store import _RUN_DELETE_CASCADE_MODELS
from sqlalchemy import or_

store = cli._get_store(os.environ["MLFLOW_BACKEND_STORE_URI"], None)
unreachable = set()  # artifact stores, by what stands before a run's ID


class Left(Exception):
    """Why a run stays."""


def version_of(session, *texts):
    """A registered version that names one of texts in its source, as "name version 1"."""
    named = [c.contains(t, autoescape=True) for t in texts for c in (SqlModelVersion.source, SqlModelVersion.storage_location)]
    v = session.query(SqlModelVersion).filter(SqlModelVersion.current_stage != STAGE_DELETED_INTERNAL, or_(SqlModelVersion.run_id.in_(texts), *named)).first()
    return v and f"{v.name} version {v.version}"


def models_of(session, id):
    """The IDs of the logged models that came out of a run."""
    made = session.query(SqlLoggedModel.model_id).filter(SqlLoggedModel.source_run_id == id)
    outputs = session.query(SqlInput.destination_id).filter(SqlInput.source_id == id, SqlInput.destination_type == "MODEL_OUTPUT")
    return [m for (m,) in made.union(outputs)]


def holder(session, id):
    """What still refers to a run; None if nothing does."""
    if id in ask["deployed"]:
        return "a deployment"
    models = models_of(session, id)
    if version := version_of(session, id, *models):
        return version
    if m := session.query(SqlLoggedModel).filter(SqlLoggedModel.model_id.in_(models), SqlLoggedModel.lifecycle_stage == LifecycleStage.ACTIVE).first():
        return f"logged model {m.model_id}"
    others = session.query(SqlTag).join(SqlRun, SqlRun.run_uuid == SqlTag.run_uuid).filter(SqlTag.value == id, SqlTag.run_uuid != id, SqlRun.lifecycle_stage == LifecycleStage.ACTIVE)
    if tag := others.first():
        return f"run {tag.run_uuid}, tag {tag.key}"
    for column, what in (
        (SqlModelVersionTag.value, "a model version"),
        (SqlRegisteredModelTag.value, "a registered model"),
        (SqlLoggedModelTag.tag_value, "a logged model"),
        (SqlExperimentTag.value, "an experiment"),
    ):
        if session.query(column).filter(column.contains(id)).first():
            return f"a tag of {what}"
    for column, what in (SqlTraceMetadata.value, "a trace"), (SqlTraceTag.value, "a trace"), (SqlAssessments.run_id, "an assessment"), (SqlIssue.source_run_id, "an issue"):
        if session.query(column).filter(column == id).first():
            return what
    return None


def size(run):
    """The bytes of a run's artifacts."""
    root, own, rest = (run.artifact_uri or "").rpartition(f"/{run.run_uuid}/")
    if not own or rest.strip("/") != "artifacts":
        raise Left(f"its artifacts are at {run.artifact_uri}, where others' may be")
    if root in unreachable:
        raise Left("its artifacts cannot be listed")
    try:
        repo, total, todo = get_artifact_repository(run.artifact_uri), 0, [None]
        while todo:
            for f in repo.list_artifacts(todo.pop()):
                if f.is_dir:
                    todo.append(f.path)
                else:
                    total += f.file_size or 0
        return total
    except Exception as e:
        unreachable.add(root)
        raise Left(f"its artifacts cannot be listed: {type(e).__name__}") from e


def reason(e):
    return str(e) if isinstance(e, Left) else f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"


def described(run):
    return {"id": run.run_uuid, "experiment": str(run.experiment_id), "name": run.name, "deleted": run.deleted_time}


def find():
    """The runs that are deleted, for long enough, and of the experiments that are asked for."""
    out = []
    with store.ManagedSessionMaker() as session:
        q = session.query(SqlRun).filter(SqlRun.lifecycle_stage == LifecycleStage.DELETED, SqlRun.deleted_time <= int(time.time() * 1000) - ask["older_than_ms"])
        if ask["experiments"] is not None:
            q = q.filter(SqlRun.experiment_id.in_([int(e) for e in ask["experiments"]]))
        for run in q.order_by(SqlRun.deleted_time, SqlRun.run_uuid):
            out.append(described(run))
            try:
                if held := holder(session, run.run_uuid):
                    raise Left(held)
                out[-1]["bytes"] = size(run)
            except Left as e:
                out[-1]["kept_for"] = reason(e)
    return out


def claimed(session, c):
    """The run of the list, which only this transaction can change now."""
    q = session.query(SqlRun).filter(SqlRun.run_uuid == c["id"])
    as_listed = q.filter(SqlRun.lifecycle_stage == LifecycleStage.DELETED, SqlRun.deleted_time == c["deleted"])
    if not as_listed.update({"lifecycle_stage": LifecycleStage.DELETED}, synchronize_session=False):
        raise Left("it was restored or removed since it was listed")
    return q.one()


def remove(c):
    with store.ManagedSessionMaker(read_only=False) as session:
        run = claimed(session, c)
        location = run.artifact_uri
        c["bytes"] = size(run)
        if held := holder(session, c["id"]):
            raise Left(held)
        models = models_of(session, c["id"])
        for table in _RUN_DELETE_CASCADE_MODELS:
            session.query(table).filter(table.run_uuid == c["id"]).delete(synchronize_session=False)
        session.query(SqlRun).filter(SqlRun.run_uuid == c["id"]).delete(synchronize_session=False)
    c["removed"] = True
    with store.ManagedSessionMaker() as session:
        if version := version_of(session, c["id"], *models):
            raise Left(f"{version} was registered meanwhile; the files at {location} stay")
    try:
        get_artifact_repository(location).delete_artifacts()
    except FileNotFoundError:
        pass
    except Exception as e:
        raise Left(f"the files at {location} are still there: {reason(e)}") from e


def collect():
    for c in ask["collect"]:
        try:
            remove(c)
        except Exception as e:
            c["kept_for"] = reason(e)
    return ask["collect"]


json.dump(collect() if "collect" in ask else find(), answer_to)

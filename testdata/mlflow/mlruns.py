"""Makes the folder mlruns that the tests import, with MLflow's file store.

    cd testdata/mlflow && rm -rf mlruns
    MLFLOW_ALLOW_FILE_STORE=true MLFLOW_TRACKING_URI=file:./mlruns python mlruns.py

Paths of the machine become /old/mlruns. The IDs are new each time.
"""
import logging
import math
import pathlib

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.tracking import MlflowClient

logging.disable(logging.WARNING)
c = MlflowClient()
e = c.create_experiment("old work", tags={"team": "a"})
first = c.create_run(e, start_time=1700000000000, run_name="first", tags={"k": "v", "mlflow.note.content": "two\nlines"}).info.run_id
for s in range(3):
    c.log_metric(first, "loss", 1.0 / (s + 1), timestamp=1700000001000 + s, step=s)
c.log_metric(first, "odd/nan", math.nan, timestamp=1700000002000, step=0)
c.log_metric(first, "odd/inf", math.inf, timestamp=1700000002000, step=-1)
c.log_param(first, "lr", 0.1)
c.log_param(first, "multi/line", "a\nb")
c.log_param(first, "empty", "")
c.log_text(first, "hello", "notes/hello.txt")
wine = Dataset(name="wine", digest="abc123", source_type="local", source='{"uri": "wine.csv"}', schema="{}", profile="{}")
c.log_inputs(first, datasets=[DatasetInput(wine, [InputTag("mlflow.data.context", "training")])])
c.set_terminated(first, "FINISHED", end_time=1700000009000)

# started before its parent
child = c.create_run(e, start_time=1699999900000, run_name="child", tags={"mlflow.parentRunId": first}).info.run_id
c.log_metric(child, "loss", 5, timestamp=1700000101000, step=7)
c.set_terminated(child, "FAILED", end_time=1700000109000)

gone = c.create_run(e, start_time=1700000200000, run_name="gone").info.run_id
c.set_terminated(gone, "KILLED", end_time=1700000209000)
c.delete_run(gone)

c.create_run(e, start_time=1700000300000, run_name="still going")

e2 = c.create_experiment("thrown away")
d = c.create_run(e2, start_time=1700000400000, run_name="in the bin").info.run_id
c.set_terminated(d, "FINISHED", end_time=1700000409000)
c.delete_experiment(e2)

c.create_registered_model("wine")
c.create_logged_model(e, name="net")

root = pathlib.Path("mlruns")
here = root.resolve().as_uri()
for f in root.rglob("meta.yaml"):
    f.write_text(f.read_text().replace(here, "file:///old/mlruns").replace(str(root.resolve()), "/old/mlruns"))

"""Trains a classifier on data/train.csv. It knows no tracking server: it writes
out/params.json, out/metrics.ndjson (a line per epoch) and out/model/model.skops."""
import json
import pathlib

import pandas as pd
import skops.io
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PARAMS = {"alpha": 0.001, "epochs": 30, "loss": "log_loss", "random_state": 7}

frame = pd.read_csv("data/train.csv")
x, y = frame.drop(columns="target"), frame["target"]
x_fit, x_val, y_fit, y_val = train_test_split(x, y, test_size=0.2, stratify=y, random_state=PARAMS["random_state"])

scale = StandardScaler().fit(x_fit)
model = SGDClassifier(loss=PARAMS["loss"], alpha=PARAMS["alpha"], random_state=PARAMS["random_state"])

out = pathlib.Path("out")
(out / "model").mkdir(parents=True, exist_ok=True)
with open(out / "metrics.ndjson", "w") as metrics:
    for epoch in range(PARAMS["epochs"]):
        model.partial_fit(scale.transform(x_fit), y_fit, classes=[0, 1])
        seen = scale.transform(x_val)
        line = {
            "step": epoch,
            "loss": float(log_loss(y_fit, model.predict_proba(scale.transform(x_fit)))),
            "val_loss": float(log_loss(y_val, model.predict_proba(seen))),
            "val_accuracy": float(model.score(seen, y_val)),
        }
        metrics.write(json.dumps(line) + "\n")

(out / "params.json").write_text(json.dumps(PARAMS))
skops.io.dump(make_pipeline(scale, model), out / "model" / "model.skops")

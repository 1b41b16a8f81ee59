# Run by the DAG within "mlopsctl run exec", which starts the run, samples the
# machine while this goes on, and ends the run as this ends.
set -eu
"$TRAIN_PYTHON" train.py
mlopsctl param log --file out/params.json
mlopsctl metric log --file out/metrics.ndjson
mlopsctl model log out/model --name "$MODEL_NAME" --sklearn model.skops --venv "$TRAIN_PYTHON" --columns data/train.csv --target target

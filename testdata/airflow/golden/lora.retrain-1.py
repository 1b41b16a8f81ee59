# DAG lora.retrain-1 mlops-sha:afddf6319a6f project:
# Written by mlops from a declaration. The next write replaces it.
import json
from importlib import import_module

import mlops_dag_9c379790

SPEC = json.loads(r'''
{
 "format": 2,
 "id": "lora.retrain-1",
 "description": "'\u0027' \"\"\" it'\u0027s \\ \\n {{ run_id }} {% raw %} \u00fc \u2192 \ud83e\uddca \u2028 </script> %s $(exit 9)'",
 "schedule": "30 2 * * *",
 "start": "2026-03-01T00:00:00Z",
 "tags": [
  "lora",
  "nightly"
 ],
 "max_active_runs": 1,
 "paused": true,
 "default_args": {
  "owner": "ada"
 },
 "tasks": [
  {
   "id": "pull",
   "bash": "mlopsctl dvc-pull",
   "env": {
    "A": "1",
    "B": "2"
   },
   "retries": 2,
   "retry_delay": 90000000000,
   "timeout": 3600000000000,
   "pool": "mlops.lora",
   "pool_slots": 1,
   "dir": "/srv/lora"
  },
  {
   "id": "train",
   "bash": "set -e\n'\u0027' \"\"\" it'\u0027s \\ \\n {{ run_id }} {% raw %} \u00fc \u2192 \ud83e\uddca \u2028 </script> %s $(exit 9)'\n./train.sh",
   "env": {
    "A": "1",
    "B": "'\u0027'"
   },
   "after": [
    "pull"
   ],
   "retry_delay": 90000000000,
   "pool": "gpu",
   "pool_slots": 2,
   "dir": "/"
  }
 ]
}
''')

dag = mlops_dag_9c379790.build(SPEC, "afddf6319a6f", lambda name: import_module("airflow." + name))

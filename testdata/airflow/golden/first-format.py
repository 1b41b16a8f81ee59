# DAG lora.retrain-1 mlops-sha:d75e8e6debd0 project:
# Written by mlops from a declaration in Go. The next write replaces it.
import json

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, literal

import mlops_dag_0a7c68e1

SPEC = json.loads(r'''
{
 "id": "lora.retrain-1",
 "description": "'\u0027' \"\"\" it'\u0027s \\ \\n {{ run_id }} {% raw %} \u00fc \u2192 \ud83e\uddca \u2028 </script> %s $(exit 9)'",
 "schedule": "30 2 * * *",
 "start": "2026-03-01T00:00:00+00:00",
 "tags": [
  "lora",
  "nightly"
 ],
 "max_active_runs": 1,
 "paused": true,
 "owner": "ada",
 "tasks": [
  {
   "id": "pull",
   "bash": "mlopsctl dvc-pull",
   "env": {
    "A": "1",
    "B": "2"
   },
   "retries": 2,
   "retry_delay": 90,
   "timeout": 3600,
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
   "retries": 0,
   "retry_delay": 90,
   "pool": "gpu",
   "pool_slots": 2,
   "dir": "/"
  }
 ]
}
''')

dag = mlops_dag_0a7c68e1.build(SPEC, "d75e8e6debd0", DAG, BashOperator, literal)

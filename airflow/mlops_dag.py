"""Makes a DAG of a declaration that mlops wrote. Not to be edited: each DAG
file names the very version of this module that it was written for.

What it needs is handed in, so that the server, which looks into every file for
certain words, does not take this one for a DAG file.
"""
import json
import tempfile
from datetime import datetime, timedelta

CONTEXT = {
    "MLOPS_DAG_ID": "{{ dag.dag_id }}",
    "MLOPS_RUN_ID": "{{ run_id }}",
    "MLOPS_TASK_ID": "{{ ti.task_id }}",
    "MLOPS_TRY": "{{ ti.try_number }}",
    "MLOPS_CONF_JSON": "{% set conf = (dag_run.conf or {}) | tojson %}{{ conf if conf | length <= 65536 else '' }}",
}


def build(spec, sha, DAG, BashOperator, literal):
    """Returns the DAG. An error names the version of the declaration."""
    try:
        dag = DAG(**dag_args(spec, sha))
        Task = with_conf_file(BashOperator)
        tasks = {}
        for task in spec["tasks"]:
            tasks[task["id"]] = Task(dag=dag, **task_args(task, literal))
        for task in spec["tasks"]:
            for before in task.get("after", ()):
                tasks[task["id"]].set_upstream(tasks[before])
        return dag
    except Exception as exc:
        raise ValueError(f"mlops-sha:{sha} mlops-project:{spec.get('project', '')}: {type(exc).__name__}: {exc}") from exc


def with_conf_file(operator):
    """Returns the operator with MLOPS_CONF_FILE in its tasks' environment."""

    class Task(operator):
        def execute(self, context):
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="mlops-conf-", suffix=".json") as file:
                json.dump(context["dag_run"].conf or {}, file)
                file.flush()
                self.env = {**self.env, "MLOPS_CONF_FILE": file.name}
                return super().execute(context)

    Task.__name__ = Task.__qualname__ = operator.__name__  # as Airflow shows it
    return Task


def dag_args(spec, sha):
    args = {
        "dag_id": spec["id"],
        "description": spec.get("description"),
        "schedule": spec.get("schedule"),
        "catchup": False,
        "tags": [*spec.get("tags", ()), f"mlops-sha:{sha}"],
        "is_paused_upon_creation": spec.get("paused", False),
        "default_args": {"owner": spec["owner"]} if "owner" in spec else {},
    }
    if "start" in spec:
        args["start_date"] = datetime.fromisoformat(spec["start"])
    if "max_active_runs" in spec:
        args["max_active_runs"] = spec["max_active_runs"]
    return args


def task_args(task, literal):
    env = dict(CONTEXT)
    env.update((name, literal(value)) for name, value in task.get("env", {}).items())
    args = {
        "task_id": task["id"],
        # literal: no template is expanded. The newline keeps a command that
        # ends in .sh from being taken for the name of a file.
        "bash_command": literal(task["bash"] + "\n"),
        "env": env,
        "append_env": True,
        "retries": task["retries"],
        "pool": task["pool"],
        "pool_slots": task["pool_slots"],
        # Pools share the machine; weights would starve somebody.
        "weight_rule": "absolute",
    }
    if "dir" in task:
        args["cwd"] = literal(task["dir"])
    if "retry_delay" in task:
        args["retry_delay"] = timedelta(seconds=task["retry_delay"])
    if "timeout" in task:
        args["execution_timeout"] = timedelta(seconds=task["timeout"])
    return args

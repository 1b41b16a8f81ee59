"""Makes a DAG of a declaration that mlops wrote. Not to be edited: each DAG
file names the very version of this module that it was written for.

The server takes each file that holds a certain word for one of DAGs, and reads it
again and again. This one does without the word: load(name) imports a module of
the server's.
"""
import glob
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import urllib.request
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

MOST = 64 * 1024  # bytes of a value in the environment; Linux takes 128 KiB
LONGEST = 600  # seconds of a callback
RULES = {"setup": "as_setup", "teardown": "as_teardown"}


def build(spec, sha, load):
    """Returns the DAG. An error names the version of the declaration."""
    try:
        return Maker(spec, sha, load).dag
    except Exception as exc:
        raise ValueError(f"mlops-sha:{sha} mlops-project:{spec.get('project', '')}: {type(exc).__name__}: {exc}") from exc


class Maker:
    """Makes the tasks of a DAG, each after those whose values it takes."""

    def __init__(self, spec, sha, load):
        self.load, self.sdk = load, load("sdk")
        self.logs = load("configuration").conf.get("logging", "base_log_folder")
        self.specs = {task["id"]: task for task in spec["tasks"]}
        self.dag = self.sdk.DAG(**self.dag_args(spec, sha))
        self.classes, self.groups, self.tasks = {}, {}, {}
        for id in self.specs:
            self.task(id)
        for id, task in self.specs.items():
            for before in [*task.get("after", ()), *task.get("inputs", {}).values()]:
                self.tasks[id].set_upstream(self.tasks[before] if before in self.tasks else self.groups[before])

    def task(self, id):
        if id in self.tasks:
            return self.tasks[id]
        task = self.specs[id]
        make, args = self.kind(task)
        args.update(self.task_args(task), dag=self.dag)
        if "each_of" in task:
            made = make.partial(**args).expand(item=self.task(task["each_of"]).output)
        elif "each" in task:
            made = make.partial(**args).expand(item=task["each"])
        else:
            made = make(**args)
        if task.get("role") in RULES:
            getattr(made, RULES[task["role"]])()
        self.tasks[id] = made
        return made

    def group(self, name):
        if name not in self.groups:
            parent = self.group(name.rpartition(".")[0]) if "." in name else self.dag.task_group
            self.groups[name] = self.sdk.TaskGroup(name.replace(".", "__"), prefix_group_id=False, parent_group=parent, dag=self.dag)
        return self.groups[name]

    def kind(self, task):
        """Returns the class of a task and what it takes beside task_args."""
        literal = self.sdk.literal
        if "wait" in task:
            wait = task["wait"]
            if "asset" not in wait:
                return self.cached("wait", waiting), {"wait": wait}
            asset = self.asset(wait["asset"])
            return self.cached("event", events), {
                "asset": asset, "inlets": [asset], "mode": "reschedule", "poke_interval": span(wait.get("every", 60 * 10**9)).total_seconds(),
                "timeout": span(wait.get("timeout", 7 * 86400 * 10**9)).total_seconds()}
        if "decision" in task:
            return self.decision(task["decision"])
        # literal: no template is expanded. The newline keeps a command that
        # ends in .sh from being taken for the name of a file.
        inputs = task.get("inputs", {})
        args = {
            "bash_command": literal(command(task) + "\n"), "append_env": True,
            "env": {name: literal(value) for name, value in task.get("env", {}).items()},
            "inputs": inputs, "lists": [of for of in inputs.values() if {"each", "each_of"} & self.specs[of].keys()],
        }
        if "dir" in task:
            args["cwd"] = literal(task["dir"])
        role = task.get("role")
        return self.cached(role if role in FOLLOW else "command", commands), args

    def decision(self, asked):
        hitl = self.load("providers.standard.operators.hitl")
        args = {"subject": asked["subject"], "body": asked.get("body"), "defaults": asked.get("defaults")}
        if "timeout" in asked:
            args["response_timeout"] = span(asked["timeout"])
        if not asked.get("options"):
            return plain(hitl.ApprovalOperator), args
        args.update(options=asked["options"], multiple=asked.get("multiple", False))
        if "next" in asked:
            return plain(hitl.HITLBranchOperator), {**args, "options_mapping": asked["next"]}
        return plain(hitl.HITLOperator), args

    def cached(self, name, make):
        if name not in self.classes:
            self.classes[name] = make(self.load, self.sdk, name)
        return self.classes[name]

    def asset(self, asset):
        return self.sdk.Asset(**{name: asset[name] for name in ("name", "uri") if name in asset})

    def assets(self, rule):
        if "asset" in rule:
            return self.asset(rule["asset"])
        of = self.sdk.AssetAll if "all" in rule else self.sdk.AssetAny
        return of(*map(self.assets, rule.get("all") or rule["any"]))

    def schedule(self, spec):
        zone, cron = spec.get("time_zone", "UTC"), spec.get("schedule")
        every = span(spec["every"]) if "every" in spec else None
        if "assets" not in spec:
            return cron or every
        assets = self.assets(spec["assets"])
        if cron:
            return self.sdk.AssetOrTimeSchedule(timetable=self.sdk.CronTriggerTimetable(cron, timezone=zone), assets=assets)
        if every:
            return self.sdk.AssetOrTimeSchedule(timetable=self.sdk.DeltaTriggerTimetable(every), assets=assets)
        return assets

    def dag_args(self, spec, sha):
        args = {
            "dag_id": spec["id"],
            "description": spec.get("description"),
            "schedule": self.schedule(spec),
            "catchup": spec.get("catchup", False),
            "tags": [*spec.get("tags", ()), *spec.get("project_tags", ()), f"mlops-sha:{sha}"],
            "is_paused_upon_creation": spec.get("paused", False),
            "default_args": spec.get("default_args", {}),
        }
        if "start" in spec:
            args["start_date"] = datetime.fromisoformat(spec["start"].replace("Z", "+00:00")).astimezone(ZoneInfo(spec.get("time_zone", "UTC")))
        for name in ("max_active_runs", "max_active_tasks"):
            if name in spec:
                args[name] = spec[name]
        if "timeout" in spec:
            args["dagrun_timeout"] = span(spec["timeout"])
        if "params" in spec:
            args["params"] = {name: self.param(schema) for name, schema in spec["params"].items()}
        args.update(callbacks(spec.get("on", {}), of_run, self.logs))
        if "deadline" in spec:
            args["deadline"] = self.sdk.DeadlineAlert(
                reference=self.sdk.DeadlineReference.DAGRUN_QUEUED_AT, interval=span(spec["deadline"]["after"]),
                callback=self.sdk.SyncCallback(missed, kwargs={"hook": spec["deadline"]["call"], "logs": self.logs}))
        return args

    def param(self, schema):
        schema = dict(schema)
        given = {"default": schema.pop("default")} if "default" in schema else {}
        return self.sdk.Param(**given, description=schema.pop("description", None), schema=schema)

    def task_args(self, task):
        args = {
            "task_id": task["id"],
            "retries": task.get("retries", 0),
            "pool": task["pool"],
            "pool_slots": task["pool_slots"],
            # Pools share the machine; weights would starve somebody.
            "weight_rule": "absolute",
            "retry_exponential_backoff": task.get("retry_backoff", 0),
            "outlets": [self.asset(asset) for asset in task.get("outlets", ())],
        }
        if "group" in task:
            args["task_group"] = self.group(task["group"])
        if "trigger_rule" in task:
            args["trigger_rule"] = task["trigger_rule"]
        if "max_active" in task:
            args["max_active_tis_per_dagrun"] = task["max_active"]
        for name, ours in {"retry_delay": "retry_delay", "max_retry_delay": "max_retry_delay", "execution_timeout": "timeout"}.items():
            if ours in task:
                args[name] = span(task[ours])
        args.update(callbacks(task.get("on", {}), facts, self.logs))
        return args


def span(ns):
    return timedelta(microseconds=ns / 1000)


def command(task):
    """Returns what bash is to run."""
    if "go" in task:
        return "exec " + shlex.join([task["go"]["program"], "task", task["go"]["task"]])
    if "python" in task:
        python = task["python"]
        program = ["-m", python["module"]] if "module" in python else [python["file"]]
        return "exec " + shlex.join([python.get("interpreter", "python3"), "-u", *program, *python.get("args", ())])
    return task["bash"]


def plain(operator):
    """Returns the operator without templates."""
    return type(operator.__name__, (operator,), {"template_fields": (), "__module__": operator.__module__})


def text(value):
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def short(value):
    """Returns the value if the environment takes it, or else nothing."""
    return value if len(value.encode()) <= MOST and "\x00" not in value else ""


def yes(value):
    """Reports whether a task's value lets the tasks after it run."""
    return str(value if value is not None else "").strip().lower() not in ("", "0", "false", "no", "none", "null", "[]", "{}")


def names(value):
    """Returns the tasks that a value names: one, a list, or words."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = value.split()
    return value if isinstance(value, list) else [str(value)] if value else None


def branch(task, context, value):
    task.do_branch(context, names(value))


def short_circuit(task, context, value):
    if not yes(value):
        task.skip(context["ti"], [t for t in context["task"].get_flat_relatives(upstream=False) if not t.is_teardown])


FOLLOW = {"branch": branch, "short_circuit": short_circuit}
NOTHING = object()


def commands(load, sdk, role):
    """Returns the operator of commands, which know their conf and inputs."""
    bash = load("providers.standard.operators.bash").BashOperator
    bases = (bash, sdk.BranchMixIn) if role in FOLLOW else (bash,)

    class Task(*bases):
        inherits_from_skipmixin = role in FOLLOW

        def __init__(self, *, inputs, lists, item=NOTHING, **kwargs):
            super().__init__(**kwargs)
            self.inputs, self.lists, self.item = inputs, lists, item

        def execute(self, context):
            with tempfile.TemporaryDirectory(prefix="mlops-task-") as folder:
                self.env = {**self.env, **facts(context), **self.values(folder, context)}
                value = super().execute(context)
                with open(self.env["MLOPS_RETURN_FILE"], encoding="utf-8") as file:
                    returned = file.read()
            if returned.strip():
                value = json.loads(returned)
            if role in FOLLOW:
                context["ti"].xcom_push(key="return_value", value=value)  # skipping ends the task at once
                FOLLOW[role](self, context, value)
            return value

        def values(self, folder, context):
            conf = {**context.get("params", {}), **(context["dag_run"].conf or {})}
            given = {name: self.returned(context["ti"], task) for name, task in self.inputs.items()}
            env = {name: short(text(value)) for name, value in given.items()}
            env["MLOPS_CONF_JSON"] = short(json.dumps(conf))
            env["MLOPS_CONF_FILE"] = put(folder, "conf", json.dumps(conf))
            env["MLOPS_INPUTS_FILE"] = put(folder, "inputs", json.dumps(given, default=str))
            env["MLOPS_RETURN_FILE"] = put(folder, "return", "")
            if self.item is not NOTHING:
                env["MLOPS_ITEM"] = short(text(self.item))
                env["MLOPS_ITEM_FILE"] = put(folder, "item", json.dumps(self.item, default=str))
            return env

        def returned(self, ti, task):
            """Returns the value of a task, of one with items the list of its values."""
            if task in self.lists:  # as a text, a single value would come without its list
                return [plain_value(value) for value in ti.xcom_pull(task_ids=[task]) if value is not None]
            return plain_value(ti.xcom_pull(task_ids=task))

    Task.__name__ = Task.__qualname__ = bash.__name__  # as the server shows it
    return Task


def plain_value(value):
    """Returns what another task returned as JSON knows it."""
    return value if value is None or isinstance(value, (str, int, float, bool, dict)) else list(value)


def put(folder, name, content):
    path = os.path.join(folder, name + ".json")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
    return path


def waiting(load, sdk, name):
    """Returns the operator that waits without a worker."""

    class Wait(sdk.BaseOperator):
        def __init__(self, *, wait, **kwargs):
            super().__init__(**kwargs)
            self.wait = wait

        def execute(self, context):
            if self.over():
                return  # without the detour, in which what ends very soon can fail
            limit = span(self.wait["timeout"]) if "timeout" in self.wait else None
            self.defer(trigger=self.trigger(context), method_name="resume", timeout=limit)

        def trigger(self, context):
            every = span(self.wait.get("every", 60 * 10**9)).total_seconds()
            if "file" in self.wait:
                return load("providers.standard.triggers.file").FileTrigger(self.wait["file"], poke_interval=every)
            if "task" in self.wait:
                of = self.wait["task"]
                date = context.get("logical_date") or context["dag_run"].run_after
                return load("providers.standard.triggers.external_task").WorkflowTrigger(
                    of["dag"], logical_dates=[date], external_task_ids=[of["task"]] if "task" in of else None,
                    allowed_states=["success"], failed_states=["failed", "upstream_failed", "removed"] if "task" in of else ["failed"],
                    skipped_states=["skipped"] if "task" in of else None, poke_interval=every)
            moment = self.until() if "until" in self.wait else datetime.now(timezone.utc) + span(self.wait["for"])
            return load("providers.standard.triggers.temporal").DateTimeTrigger(moment)

        def until(self):
            return datetime.fromisoformat(self.wait["until"].replace("Z", "+00:00"))

        def over(self):
            if "until" in self.wait:
                return self.until() <= datetime.now(timezone.utc)
            return any(os.path.isfile(path) or any(files for _, _, files in os.walk(path)) for path in glob.glob(self.wait.get("file", "")))

        def resume(self, context, event=None):
            status = event.get("status", "success") if isinstance(event, dict) else "success"
            if status == "skipped":
                raise getattr(load("sdk.exceptions"), "Air" "flowSkipException")("what the task waited for was skipped")
            if status != "success":
                raise RuntimeError(f"what the task waited for has {status}: {json.dumps(self.wait['task'])}")

    return Wait


def events(load, sdk, name):
    """Returns the sensor that waits for an event of an asset."""

    class Wait(sdk.BaseSensorOperator):
        def __init__(self, *, asset, **kwargs):
            super().__init__(**kwargs)
            self.asset = asset

        def poke(self, context):
            return len(context["inlet_events"][self.asset].after(context["dag_run"].run_after)) > 0

    return Wait


def of_run(context):
    """Returns which run it is, for the environment."""
    run = context.get("dag_run") or context
    run = run if isinstance(run, dict) else {name: getattr(run, name, None) for name in ("dag_id", "run_id")}
    dag = run.get("dag_id") or getattr(context.get("dag"), "dag_id", None)
    return {"MLOPS_DAG_ID": str(dag), "MLOPS_RUN_ID": str(run.get("run_id") or run.get("dag_run_id"))}


def facts(context):
    """Returns which task of which run it is."""
    ti = context["ti"]
    return {**of_run(context), "MLOPS_TASK_ID": ti.task_id, "MLOPS_TRY": str(ti.try_number), "MLOPS_MAP_INDEX": str(ti.map_index)}


def callbacks(on, about, logs):
    """Returns the callbacks of a DAG or a task."""
    return {f"on_{event}_callback": caller(hook, event, about, logs) for event, hook in on.items()}


def caller(hook, event, about, logs):
    def call(context):
        notify(hook, event, about(context), logs)

    return call


def missed(hook, logs, context=None):
    """Is called for a run that has not ended at its deadline."""
    notify(hook, "deadline", of_run(context or {}), logs)


def notify(hook, event, about, logs):
    """Starts the callback and does not wait for it: the processor of DAG files
    runs the callbacks of runs, one after another, and reads no file meanwhile.
    """
    about = {"MLOPS_EVENT": event, **about}
    with open(log_of(about, logs), "ab") as log:
        child = subprocess.Popen([sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
    with child.stdin:
        child.stdin.write(json.dumps([hook, about]).encode())


def log_of(about, logs):
    """Returns the log of a callback, beside the logs of what it is about."""
    folder = os.path.join(logs, "dag_id=" + about["MLOPS_DAG_ID"], "run_id=" + about["MLOPS_RUN_ID"])
    name = "callback-" + about["MLOPS_EVENT"]
    if "MLOPS_TASK_ID" in about:
        folder = os.path.join(folder, "task_id=" + about["MLOPS_TASK_ID"])
        name += f"-{about['MLOPS_MAP_INDEX']}-{about['MLOPS_TRY']}"
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, name + ".log")


def call(hook, about):
    """Makes the call of a callback, in a process and a session of its own."""
    if "webhook" in hook:
        body = json.dumps({name.removeprefix("MLOPS_").lower(): value for name, value in about.items()}).encode()
        request = urllib.request.Request(hook["webhook"], body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()
        return
    try:
        subprocess.run(["bash", "-c", hook["bash"]], env={**os.environ, **about}, stdin=subprocess.DEVNULL, check=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        print(f"ended after {LONGEST} s", file=sys.stderr, flush=True)
        os.killpg(0, signal.SIGKILL)  # with all that the command started


if __name__ == "__main__":
    call(*json.load(sys.stdin))

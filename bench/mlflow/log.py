"""One Python contender of log.sh: logs points to a run of its own and prints
one line of JSON. Arguments: sync, async or buffered; points; experiment ID."""

import json
import os
import resource
import sys
import time

import mlflow

KEYS = ["loss", "accuracy", "grad_norm", "lr", "tokens_per_s"]


def cpu():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


def main():
    mode, points, experiment = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    synchronous = mode == "sync"
    run = mlflow.start_run(experiment_id=experiment, run_name="bench " + mode)
    mlflow.log_metric(KEYS[0], 0.5, step=0, synchronous=synchronous)
    start = time.time() - int(os.environ["BENCH_BEGIN"]) / 1e9
    if not synchronous:
        mlflow.flush_async_logging()

    took = []
    used, begin = cpu(), time.perf_counter()
    for i in range(5, points + 5):
        at = time.perf_counter_ns()
        mlflow.log_metric(KEYS[i % 5], 1 / i, step=i // 5, synchronous=synchronous)
        took.append(time.perf_counter_ns() - at)
    if not synchronous:
        mlflow.flush_async_logging()
    seconds, used = time.perf_counter() - begin, cpu() - used
    mlflow.end_run()

    took.sort()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "run": run.info.run_id,
        "logged": points + 1,
        "rate": points / seconds,
        "p50": took[len(took) // 2] / 1e3,
        "p99": took[len(took) * 99 // 100] / 1e3,
        "max": took[-1] / 1e3,
        "cpu": used / points * 1e6,
        "rss": rss / 1024 if sys.platform != "darwin" else rss / 1048576,
        "start": start * 1e3,
    }))


main()

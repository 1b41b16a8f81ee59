"""Reads a DAG file as Airflow's DAG processor does, and writes what is wrong
with it, "" if nothing is, as JSON into a file: judge.py <DAG file> <verdict>.
"""
import json
import os
import sys


def fault(path):
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    sys.path.insert(0, os.path.dirname(path))
    bag = DagBag(dag_folder=path, safe_mode=False, load_op_links=False)
    if bag.import_errors:
        return "\n".join(bag.import_errors.values())
    if len(bag.dags) != 1:
        return f"the file holds {len(bag.dags)} DAGs, 1 was due"
    try:
        for dag in bag.dags.values():
            DagSerialization.from_dict(DagSerialization.to_dict(dag))
    except Exception as exc:
        cause = exc.__cause__ or exc
        return f"{type(cause).__name__}: {cause}"
    return ""


if __name__ == "__main__":
    verdict = fault(sys.argv[1])
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump(verdict, out)

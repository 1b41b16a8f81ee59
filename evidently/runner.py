"""The worker behind evidently.Runner.

It reads one JSON request per line on standard input and writes one JSON answer
per line on what was standard output when it started. Whatever libraries print
goes to standard error. It ends when its input does.
"""

import os
import sys

answers = os.fdopen(os.dup(1), "wb")
requests = os.fdopen(os.dup(0), "rb")
os.dup2(2, 1)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.environ["DO_NOT_TRACK"] = "1"

import json
import math
import queue
import threading
import traceback
import warnings

warnings.simplefilter("ignore", RuntimeWarning)  # of a division by nothing scipy warns line by line

def answer(**fields):
    answers.write(json.dumps(fields, allow_nan=False).encode() + b"\n")
    answers.flush()


lines = queue.Queue()


def read():
    """Hands on requests; at the end of input nobody waits for an answer."""
    for line in requests:
        lines.put(line)
    os._exit(0)


threading.Thread(target=read, daemon=True).start()

try:
    import evidently
    import numpy as np
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.core.datasets import infer_column_type
    from evidently.legacy.calculations.stattests.registry import _registered_stat_tests as METHODS
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset
except Exception as error:
    answer(id=0, error={"kind": "environment", "message": f"{type(error).__name__}: {error}"})
    sys.exit(3)

# What a request may name. Nothing else is ever looked up.
METRICS = {"DataDriftPreset": DataDriftPreset}

JUDGED = ("num", "cat", "text")  # the column types that have drift methods


class Refused(Exception):
    """The request can never succeed as it is."""


def why(error):
    """One line about an exception, without its type where the text is enough."""
    text = " ".join(str(error).split())
    if isinstance(error, ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def load(path, side, header, separator):
    """Reads a CSV or Parquet file. With header, the names in a CSV file's first
    line as they stand there, pandas' own (a, a.1, Unnamed: 2) are not used; the
    caller has left out those that no column can be told by: they are null."""
    try:
        if path.lower().endswith((".parquet", ".pq")):
            frame = pd.read_parquet(path)
        else:
            # In a file of one column an empty line is a missing value.
            frame = pd.read_csv(path, sep=separator or ",", index_col=False, skip_blank_lines=not header or len(header) > 1)
            if header and len(header) == len(frame.columns):
                frame.columns = header
                frame = frame.loc[:, [c is not None for c in header]]
    except MemoryError:
        raise
    except pd.errors.EmptyDataError:
        raise Refused(f"the {side} file {path} is empty")
    except Exception as error:
        raise Refused(f"the {side} file {path} cannot be read: {why(error)}")
    frame.columns = [str(c) for c in frame.columns]
    if not frame.columns.is_unique:
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise Refused(f"the {side} file {path} has two columns of one name: {names(twice)}")
    if len(frame) == 0:
        raise Refused(f"the {side} file {path} has no rows")
    return frame


def names(columns):
    """Column names for a sentence."""
    shown = ", ".join(repr(c) for c in columns[:10])
    return shown if len(columns) <= 10 else f"{shown} and {len(columns) - 10} more"


def choose(reference, current, wanted):
    """The columns to compare."""
    if wanted:
        for frame, side in ((reference, "reference"), (current, "current")):
            missing = [c for c in wanted if c not in frame.columns]
            if missing:
                raise Refused(f"the {side} file has no column {names(missing)}")
        return list(dict.fromkeys(wanted))
    common = [c for c in reference.columns if c in current.columns]
    if not common:
        raise Refused("the reference and the current file have no column in common")
    only_reference = [c for c in reference.columns if c not in current.columns]
    only_current = [c for c in current.columns if c not in reference.columns]
    if only_reference or only_current:
        sides = []
        if only_reference:
            sides.append(f"only the reference has {names(only_reference)}")
        if only_current:
            sides.append(f"only the current file has {names(only_current)}")
        raise Refused("the two files have different columns: " + "; ".join(sides) + "; name the columns to compare")
    return common


def plain(series):
    """Takes a column of a type that Evidently does not know, unsigned or
    nullable numbers, to the nearest one that it does."""
    dtype = series.dtype
    if pd.api.types.is_bool_dtype(dtype) and dtype.name != "bool":
        return series.astype("object") if series.isna().any() else series.astype("bool")
    if pd.api.types.is_integer_dtype(dtype) and not dtype.name.startswith("int"):
        if series.isna().any() or series.max() > 2**63 - 1:
            return series.astype("float64")
        return series.astype("int64")
    if pd.api.types.is_float_dtype(dtype) and not dtype.name.startswith("float"):
        return series.astype("float64")
    return series


def numbers(series):
    """The column as numbers, and how many of its cells are none."""
    if pd.api.types.is_bool_dtype(series.dtype):
        return series.astype("float64"), 0
    if pd.api.types.is_numeric_dtype(series.dtype):
        return series, 0
    parsed = pd.to_numeric(series, errors="coerce")
    return parsed, int((series.notna() & parsed.isna()).sum())


def kind_of(series):
    """The type of a column, by the reference alone: that of numbers with a few
    cells that do not parse is numerical."""
    if series.dtype.name in ("object", "str", "string") and series.notna().any():
        parsed, bad = numbers(series)
        if bad <= 0.1 * series.notna().sum():
            series = parsed
    return infer_column_type(series).value


def label(cell):
    """A category as text; 1, 1.0 and "1" are one."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return str(cell)
    if isinstance(cell, (bool, np.bool_)) or not math.isfinite(number):
        return str(cell)
    return str(int(number)) if number == int(number) else repr(number)


def alike(a, b):
    """Two columns of categories whose values can be compared."""
    if a.dtype == b.dtype or pd.api.types.is_numeric_dtype(a.dtype) and pd.api.types.is_numeric_dtype(b.dtype):
        return a, b
    return tuple(s.map(label, na_action="ignore").astype("object") for s in (a, b))


def drift(request):
    preset = METRICS.get(request["metric"])
    if preset is None:
        raise Refused(f"metric {request['metric']!r} is not one of {names(sorted(METRICS))}")
    params = request["params"]
    asked = [params.get("method"), *(params.get("per_column_method") or {}).values()]
    unknown = [m for m in asked if m and m not in METHODS]
    if unknown:
        raise Refused(f"Evidently has no drift method {names(unknown)}; it has {', '.join(sorted(METHODS))}")

    reference = load(request["reference"], "reference", request["reference_header"], request["separator"])
    current = load(request["current"], "current", request["current_header"], request["separator"])
    rows = [len(reference), len(current)]
    columns = choose(reference, current, request["columns"])
    most = request["max_columns"]
    if most and len(columns) > most:
        raise Refused(f"{len(columns)} columns are more than the {most} whose snapshot the service takes; name fewer columns to compare")
    for kind in ("numerical", "categorical"):
        missing = [c for c in request[kind] if c not in columns]
        if missing:
            raise Refused(f"{names(missing)}, to be {kind}, is not among the columns")
    missing = [c for c in (params.get("per_column_method") or {}) if c not in columns]
    if missing:
        raise Refused(f"{names(missing)}, given a method, is not among the columns")
    reference = reference[columns].apply(plain)
    current = current[columns].apply(plain)

    types, skipped, missing, unparsed = {}, {}, {}, {}
    for c in columns:
        types[c] = kind_of(reference[c])
        if c in request["numerical"]:
            types[c] = "num"
        if c in request["categorical"]:
            types[c] = "cat"
        if types[c] == "num":
            reference[c], bad_reference = numbers(reference[c])
            current[c], bad_current = numbers(current[c])
            if bad_reference or bad_current:
                unparsed[c] = [bad_reference, bad_current]
        elif types[c] == "cat":
            reference[c], current[c] = alike(reference[c], current[c])
        if types[c] not in JUDGED:
            skipped[c] = f"Evidently has no drift method for a column of type {types[c]}"
        for frame, side in ((reference, "reference"), (current, "current")):
            if frame[c].isna().all():
                skipped[c] = f"it has no value in the {side} file"
        missing[c] = [int(reference[c].isna().sum()), int(current[c].isna().sum())]

    def run(metrics, chosen):
        definition = DataDefinition(
            numerical_columns=[c for c in chosen if types[c] == "num"],
            categorical_columns=[c for c in chosen if types[c] == "cat"],
            text_columns=[c for c in chosen if types[c] == "text"],
            datetime_columns=[],
            unknown_columns=[],
            list_columns=[],
        )
        return Report(metrics, include_tests=True).run(
            Dataset.from_pandas(current[chosen], data_definition=definition),
            Dataset.from_pandas(reference[chosen], data_definition=definition),
            name=request["name"] or None,
            timestamp=pd.Timestamp(request["timestamp"]).to_pydatetime(),
            metadata=request["metadata"],
            tags=request["tags"],
        )

    def whole(chosen):
        # Without a list of columns the metric's identity is the same from one
        # comparison to the next, and so its history is one line.
        return run([preset(**params)], chosen)

    def alone(c):
        method = (params.get("per_column_method") or {}).get(c, params.get("method"))
        run([ValueDrift(column=c, method=method, threshold=params.get("threshold"))], [c])

    good = [c for c in columns if c not in skipped]
    try:
        snapshot = whole(good) if good else None
    except Exception as error:
        for c in good:
            try:
                alone(c)
            except Exception as bad:
                skipped[c] = why(bad)
        if not any(c in skipped for c in good):
            raise error  # each column is fine alone
        good = [c for c in good if c not in skipped]
        snapshot = whole(good) if good else None
    if snapshot:
        numberless = [
            m["config"]["column"]
            for m in snapshot.dict()["metrics"]
            if m["config"]["type"].endswith(":ValueDrift") and not math.isfinite(m["value"])
        ]
        for c in numberless:
            skipped[c] = "its drift method gave no number"
        good = [c for c in good if c not in skipped]
        if numberless:
            snapshot = whole(good) if good else None
    return {
        "result": strict(snapshot.json()) if snapshot else {"metrics": [], "tests": []},
        "snapshot": strict(snapshot.dumps()) if snapshot else None,
        "columns": good,
        "order": columns,
        "types": types,
        "missing": missing,
        "unparsed": unparsed,
        "skipped": [{"column": c, "reason": skipped[c]} for c in columns if c in skipped],
        "rows": rows,
    }


def strict(text):
    """JSON without NaN and infinities, which stand in the data of charts."""
    return json.loads(text, parse_constant=lambda _: None)


def memory():
    """Resident bytes of this process."""
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


answer(id=0, evidently=evidently.__version__)
while True:
    request = json.loads(lines.get())
    try:
        fields = drift(request)
    except Refused as error:
        fields = {"error": {"kind": "invalid", "message": str(error)}}
    except BaseException as error:  # Evidently has exceptions outside Exception
        traceback.print_exc()
        fields = {"error": {"kind": "failed", "message": f"{type(error).__name__}: {' '.join(str(error).split())}"}}
    answer(id=request["id"], rss=memory(), **fields)

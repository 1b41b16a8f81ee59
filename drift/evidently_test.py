"""Answers of the installed Evidently for drift's TestEvidentlyGivesTheSameNumbers.

Reads one case per line: {"type", "reference", "current", "methods"}; null is a
missing value. Writes per case an object from method to [value, drifted] or to
the error; "" stands for the method that Evidently chooses, with its name.
"""
import json
import math
import sys
import warnings

warnings.simplefilter("ignore")
import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests import get_stattest
from evidently.legacy.core import ColumnType
from scipy.stats import rankdata
from scipy.stats._hypotests import _pval_cvm_2samp_exact

# What a number becomes in JSON.
NUMBERS = {"Infinity": math.inf, "-Infinity": -math.inf}


def series(values, kind):
    values = [NUMBERS.get(v, v) if kind == "num" else v for v in values]
    return pd.Series(values, dtype="object" if kind == "text" else None)


for line in sys.stdin:
    case = json.loads(line)
    kind = case["type"]
    out = {}
    for name in ["", *case["methods"]]:
        sides = []
        for side in ("reference", "current"):
            s = series(case[side], kind)
            s = s.replace([-np.inf, np.inf], np.nan).dropna() if kind == "num" or s.isna().any() else s
            sides.append(s)
        feature = ColumnType.Numerical if kind == "num" else ColumnType.Categorical
        try:
            test = get_stattest(sides[0], sides[1], feature, name or None)
            got = test(sides[0].copy(), sides[1].copy(), feature, None)
            value = float(got.drift_score)
            out[name] = [value if math.isfinite(value) else None, bool(got.drifted)]
            if not name:
                out[name].append(test.name)
        except Exception as error:
            if name == "cramer_von_mises" and "UFuncTypeError" in type(error).__name__:
                # Its copy of scipy's function for up to 20 rows does not run with
                # today's numpy; scipy's own does, in integers so small that the
                # quotient has three digits.
                m, n = len(sides[0]), len(sides[1])
                ranks = rankdata(np.concatenate([np.sort(sides[0]), np.sort(sides[1])]))
                u = m * np.sum((ranks[:m] - np.arange(1, m + 1)) ** 2) + n * np.sum((ranks[m:] - np.arange(1, n + 1)) ** 2)
                np.min_scalar_type = lambda _: np.dtype(np.int64)
                p = float(_pval_cvm_2samp_exact(u, m, n))
                out[name] = [p, p <= 0.1]
                continue
            out[name] = type(error).__name__
    print(json.dumps(out), flush=True)

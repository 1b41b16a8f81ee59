# Prints str() of each value in the list pyValues of mlflow/unit_test.go, one a
# line: python pystring.py > pystring.txt
import datetime as d
import math
import sys

u = d.timezone.utc
inf = math.inf
values = [
    1.0, 0.0, -0.0, 1e16, 9999999999999998.0, 1e15, 123456789012345680.0, 1e-4, 1e-5, 0.00012345, 1e22, 1e100, 5e-324, sys.float_info.max,
    0.1, 1.0 / 3, 100000.0, 1e6, 2.5e-8, -1.5, -1e-7, math.nan, inf, -inf,
    0, 1, -7, 2**63 - 1, -(2**63), 2**64 - 1,
    True, False, None, "", "plain", "é", "it's",
    [], [1, "a"], [1.0, 1e-5], [True, None], ["it's", 'q"', "b'\"", "n\nt\t", "back\\", "é", "\x00\x7f", "\u200b", "\u00a0", "😀"],
    {}, {"a": 1.0}, {"a": [1], "b": None}, [[1], []],
    b"a'\x00\xff", b"", {1: "x"}, [True],
    d.datetime(2026, 1, 2, 3, 4, 5, 0, u), d.datetime(2026, 1, 2, 3, 4, 5, 678, u), "1.50", [1, 2],
    0.1, 16777216.0, 1e21, 123456.789, 4.35, 1e-323,
]
for v in values:
    print(str(v))

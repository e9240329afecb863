"""The functions of the math dialect in f32, as vectors and as scalars, against float64: accuracy, NaN, infinities, domains."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
from xdsl.dialects import math

from mlc.ir.kernel.kernel import Buffer, Kernel
from mlc.ir.kernel.schedule import Scalar, Schedule, Vector
from mlc.ir.kernel.target import cpu_target
from mlc.passes.loops.lower import lower
from tests.kernel.native import RUNNABLE, Native

# op -> exact function, units in the last place that may be wrong
FUNCTIONS = {
    math.ExpOp: (np.exp, 2), math.Exp2Op: (np.exp2, 2), math.ExpM1Op: (np.expm1, 1), math.LogOp: (np.log, 2),
    math.Log2Op: (np.log2, 1), math.Log10Op: (np.log10, 1), math.Log1pOp: (np.log1p, 1), math.TanhOp: (np.tanh, 8),
    math.ErfOp: (np.vectorize(erf), 8), math.SinOp: (np.sin, 2), math.CosOp: (np.cos, 2), math.TanOp: (np.tan, 4),
    math.SqrtOp: (np.sqrt, 1), math.RsqrtOp: (lambda x: 1 / np.sqrt(x), 2), math.CbrtOp: (np.cbrt, 1),
    math.AsinOp: (np.arcsin, 1), math.AcosOp: (np.arccos, 1), math.AtanOp: (np.arctan, 1),
    math.SinhOp: (np.sinh, 1), math.CoshOp: (np.cosh, 1), math.AsinhOp: (np.arcsinh, 1), math.AcoshOp: (np.arccosh, 1),
    math.AtanhOp: (np.arctanh, 1), math.FloorOp: (np.floor, 0), math.CeilOp: (np.ceil, 0), math.RoundEvenOp: (np.round, 0),
    math.TruncOp: (np.trunc, 0), math.AbsFOp: (np.abs, 0),
}  # fmt: skip
SPECIAL = [
    np.nan,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1e-30,
    -1e-30,
    3e38,
    88.7,
    88.8,
    -87.0,
    -150.0,
    1e-5,
    12345.678,
]


def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = [rng.standard_normal(900), rng.standard_normal(300) * 30, np.exp(rng.standard_normal(300) * 8)]
    return np.concatenate([SPECIAL, *drawn]).astype(np.float32)


def function(op, operands: int, size: int) -> Kernel:
    kernel = Kernel("f", {**{f"X{n}": Buffer((size,)) for n in range(operands)}, "Y": Buffer((size,))})
    at = kernel.buffers
    inputs = [(at[f"X{n}"], ("i",)) for n in range(operands)]
    kernel.structured({"i": size}, inputs, (at["Y"], ("i",)), lambda b, *xs: b.insert(op(*xs[:-1])).results[0])
    kernel.return_()
    return kernel


def evaluate(op, leaf, target, *xs: np.ndarray) -> np.ndarray:
    y = np.zeros_like(xs[0])
    native = Native(lower(function(op, len(xs), y.size), Schedule((), leaf)), target=target)
    native({**{f"X{n}": x for n, x in enumerate(xs)}, "Y": y})
    return y


def check(found: np.ndarray, exact: np.ndarray, units: float) -> None:
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    assert np.array_equal(np.isnan(found), np.isnan(rounded))
    infinite = np.isinf(rounded)
    assert np.array_equal(found[infinite], rounded[infinite])
    fine = np.isfinite(rounded)
    unit = np.spacing(np.abs(rounded[fine])).astype(np.float64)
    # what would be denormal may be 0
    assert np.all(np.abs(found[fine] - exact[fine]) <= (units + 0.6) * unit + 2.5e-38)


@pytest.mark.parametrize("op", FUNCTIONS, ids=lambda op: op.name)
def test_functions_are_accurate_in_vectors_and_scalars(op):
    x, (exact, units) = points(), FUNCTIONS[op]
    if op in (math.SinOp, math.CosOp, math.TanOp):  # beyond that no more than bounded
        x[np.abs(x) > 1e14] = np.inf
    with np.errstate(all="ignore"):
        expected = exact(x.astype(np.float64))
    for leaf in (Vector(("i",), cpu_target().lanes, interleave=2), Scalar()):
        check(evaluate(op, leaf, cpu_target(), x), expected, units)


@pytest.mark.parametrize("target", RUNNABLE, ids=str)
def test_narrow_machines_agree(target):
    x = points()
    with np.errstate(all="ignore"):
        expected = np.exp(x.astype(np.float64))
    check(evaluate(math.ExpOp, Vector(("i",), target.lanes), target, x), expected, 3 if target.fma else 100)


def test_powers_of_every_sign():
    special = np.array(
        [np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 2.5, 1e30, -1e30, 1e-30], np.float32
    )
    x, y = (v.ravel() for v in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(np.float64), y.astype(np.float64))
    check(evaluate(math.PowFOp, Vector(("i",), cpu_target().lanes), cpu_target(), x, y), expected, 1)


def test_angles_of_every_quadrant():
    special = np.array([np.inf, -np.inf, 0.0, -0.0, 1, -1, 2, -0.5, 1e30, -1e-30, np.nan], np.float32)
    y, x = (v.ravel() for v in np.meshgrid(special, special))
    expected = np.arctan2(y.astype(np.float64), x.astype(np.float64))
    check(evaluate(math.Atan2Op, Scalar(), cpu_target(), y, x), expected, 1)

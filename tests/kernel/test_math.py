"""The functions of the math dialect in f32, as vectors and as scalars, against float64: accuracy, NaN, infinities, domains."""

from __future__ import annotations

from math import cos, erf, sin, tan

import numpy as np
import pytest
from xdsl.dialects import math

from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.kernel import Buffer, Kernel
from mlc.ir.kernel.scalar_ops import GeluOp, RemainderOp, SoftplusOp, gelu, softplus
from mlc.ir.kernel.schedule import Scalar, Schedule, Vector
from mlc.passes.loops.lower import lower
from tests.kernel.native import RUNNABLE, Native

# op -> exact function, units in the last place that may be wrong
FUNCTIONS = {
    math.ExpOp: (np.exp, 2), math.Exp2Op: (np.exp2, 2), math.ExpM1Op: (np.expm1, 3), math.LogOp: (np.log, 2),
    math.Log2Op: (np.log2, 1), math.Log10Op: (np.log10, 1), math.Log1pOp: (np.log1p, 3), math.TanhOp: (np.tanh, 5),
    math.ErfOp: (np.vectorize(erf), 6), GeluOp: (gelu, 9), SoftplusOp: (softplus, 3), math.SinOp: (np.sin, 2), math.CosOp: (np.cos, 2), math.TanOp: (np.tan, 4),
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
    native = Native(lower(function(op, len(xs), y.size), Schedule((), leaf), target), target=target)
    native({**{f"X{n}": x for n, x in enumerate(xs)}, "Y": y})
    return y


def check(found: np.ndarray, exact: np.ndarray, units: float) -> None:
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    assert np.array_equal(np.isnan(found), np.isnan(rounded))
    zero = exact == 0
    assert np.array_equal(np.signbit(found[zero]), np.signbit(exact[zero]))
    infinite = np.isinf(rounded)
    assert np.array_equal(found[infinite], rounded[infinite])
    fine = np.isfinite(rounded)
    unit = np.spacing(np.abs(rounded[fine])).astype(np.float64)
    # what would be denormal may be 0
    assert np.all(np.abs(found[fine] - exact[fine]) <= (units + 0.6) * unit + 2.5e-38)


@pytest.mark.parametrize("op", FUNCTIONS, ids=lambda op: op.name)
def test_functions_are_accurate_in_vectors_and_scalars(op):
    x, (exact, units) = points(), FUNCTIONS[op]
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


@pytest.mark.parametrize("target", RUNNABLE, ids=str)
@pytest.mark.parametrize("op, exact", [(math.SinOp, sin), (math.CosOp, cos), (math.TanOp, tan)])
def test_angles_are_reduced_on_machines_without_fused_multiply_add_too(op, exact, target):
    x = np.concatenate([np.linspace(-50, 50, 1001), np.arange(1, 300) * np.pi, np.geomspace(100, 1e7, 300)]).astype(
        np.float32
    )
    expected = np.array([exact(v) for v in x.tolist()])
    check(evaluate(op, Vector(("i",), target.lanes), target, x), expected, 4 if exact is tan else 2)


@pytest.mark.parametrize("target", RUNNABLE, ids=str)
def test_gelu_keeps_its_digits_down_to_the_smallest_results(target):
    x = np.concatenate([-np.linspace(0, 13.2, 5001), np.linspace(0, 13.2, 501), -np.geomspace(13.2, 1e38, 50)]).astype(
        np.float32
    )
    y = evaluate(GeluOp, Vector(("i",), target.lanes), target, x)
    check(np.where(y == 0, np.copysign(y, gelu(x)), y), gelu(x.astype(np.float64)), 9 if target.fma else 130)
    assert np.all(np.abs(y[x < -13.2]) < 1e-39)  # a denormal, which a call flushes unless it is to keep them


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


@pytest.mark.parametrize("op, limit", [(math.TanhOp, 9.02), (math.ErfOp, 3.93)], ids=lambda v: getattr(v, "name", ""))
def test_functions_that_end_at_one_reach_it_and_never_pass_it(op, limit):
    x = np.concatenate([np.linspace(-12, 12, 4001), [1e30, -1e30]]).astype(np.float32)
    for leaf in (Vector(("i",), cpu_target().lanes), Scalar()):
        y = evaluate(op, leaf, cpu_target(), x)
        assert np.all(np.abs(y) <= 1)
        assert np.array_equal(y[np.abs(x) >= limit], np.sign(x[np.abs(x) >= limit]))


@pytest.mark.parametrize("op, exact", [(math.SinOp, sin), (math.CosOp, cos), (math.TanOp, tan)])
def test_angles_of_every_size_are_reduced_exactly(op, exact):
    rng = np.random.default_rng(1)
    x = np.exp2(rng.uniform(-20, 127.99, 500)).astype(np.float32) * rng.choice([-1, 1], 500).astype(np.float32)
    near = [16367173 * 2.0**72, 3.4028235e38, 2.0**40, 2.0**100, 1.5707964, 3.1415927, 6381956970095103 * 2.0**70]
    x = np.concatenate([x, np.array(near, np.float32)])
    expected = np.array([exact(v) for v in x.tolist()])  # the C library reduces any f64 exactly
    for leaf in (Vector(("i",), cpu_target().lanes, interleave=2), Scalar()):
        check(evaluate(op, leaf, cpu_target(), x), expected, 4 if exact is tan else 2)


def test_remainders_are_those_of_c():
    rng = np.random.default_rng(2)
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, 0.1, 3.4e38, -3.4e38, 1.2e-38, 7, 1e9, 16777217]
    x, y = (v.ravel() for v in np.meshgrid(special, special))
    drawn = np.exp2(rng.uniform(-120, 127, (2, 2000))) * rng.choice([-1, 1], (2, 2000))
    near = drawn[0] * rng.uniform(0.5, 1e9, 2000) % 1e38
    x = np.concatenate([x, drawn[0], near]).astype(np.float32)
    y = np.concatenate([y, drawn[1], drawn[0]]).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = np.fmod(x, y)
    for leaf in (Vector(("i",), cpu_target().lanes), Scalar()):
        found = evaluate(RemainderOp, leaf, cpu_target(), x, y)
        assert np.array_equal(found, expected, equal_nan=True)
        number = ~np.isnan(expected)
        assert np.array_equal(np.signbit(found[number]), np.signbit(expected[number]))

"""Reductions and running totals of every kind and dtype, at sizes that include none, against sums and products taken element by element."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import DTypeError
from mlc.ir import builder as g
from mlc.ir.types import numpy_dtype
from tests.ir.every_stage import agree, built

FLOATS = ("f32", "f64", "f16", "bf16")
DTYPES = (*FLOATS, "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")
KINDS = ("sum", "prod", "max", "min")


def whole(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Small whole numbers, whose sums and products round nowhere."""
    low = 0 if dtype[0] == "u" else -2
    return rng.integers(low, 3, shape).astype(numpy_dtype(dtype))


def nothing(kind: str, dtype: np.dtype) -> float | int | bool:
    """What a fold over nothing gives."""
    if kind in ("sum", "prod"):
        return int(kind == "prod")
    if dtype.kind == "b":
        return kind == "min"
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min if kind == "max" else np.iinfo(dtype).max)
    return -math.inf if kind == "max" else math.inf


def folded(kind: str, values: list, dtype: np.dtype):  # type: ignore[no-untyped-def, type-arg]
    """In Python's numbers; wrapped to the dtype."""
    total = nothing(kind, dtype)
    for value in values:
        if kind == "sum":
            total = total + value
        elif kind == "prod":
            total = total * value
        elif math.isnan(value) or math.isnan(total):
            total = math.nan
        else:
            total = max(total, value) if kind == "max" else min(total, value)
    if dtype.kind in "iu":
        bits = 8 * dtype.itemsize
        total &= (1 << bits) - 1
        total -= (1 << bits) if dtype.kind == "i" and total >> (bits - 1) else 0
    return total


def reduced(x: np.ndarray, axis: int, kind: str) -> np.ndarray:
    lines = np.moveaxis(x, axis, -1)
    out = np.zeros(lines.shape[:-1], x.dtype)
    for at in np.ndindex(out.shape):
        out[at] = folded(kind, lines[at].tolist(), x.dtype)
    return out


def running(x: np.ndarray, axis: int, kind: str, exclusive: bool, reverse: bool) -> np.ndarray:
    lines = np.moveaxis(x, axis, -1)
    out = np.zeros_like(lines)
    for *at, i in np.ndindex(out.shape):
        line = lines[tuple(at)].tolist()
        seen = line[i + exclusive :] if reverse else line[: i + 1 - exclusive]
        out[(*at, i)] = folded(kind, seen, x.dtype)
    return np.moveaxis(out, -1, axis)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_reduces_every_dtype(dtype: str) -> None:
    rng = np.random.default_rng(0)
    feeds = [[whole(rng, (n, 5), dtype)] for n in (0, 1, 7)]
    build = lambda x: [g.reduce(x, [axis], kind) for kind in KINDS for axis in (0, 1)]
    agree(build, [(("N", 5), dtype)], feeds, lambda x: [reduced(x, axis, kind) for kind in KINDS for axis in (0, 1)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_runs_along_every_dtype(dtype: str) -> None:
    rng = np.random.default_rng(0)
    feeds = [[whole(rng, (n, 5), dtype)] for n in (0, 1, 7)]
    build = lambda x: [g.cumulative(x, axis, kind, bool(axis), not axis) for kind in KINDS for axis in (0, 1)]
    reference = lambda x: [running(x, axis, kind, bool(axis), not axis) for kind in KINDS for axis in (0, 1)]
    agree(build, [(("N", 5), dtype)], feeds, reference)


@settings(max_examples=10)
@given(st.data())
def test_running_totals_along_any_axis_in_all_forms(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 5]), min_size=1, max_size=3))
    axis, kind = data.draw(st.integers(0, len(shape) - 1)), data.draw(st.sampled_from(KINDS))
    forms = [(exclusive, reverse) for exclusive in (False, True) for reverse in (False, True)]
    named = ["N" if a == axis else e for a, e in enumerate(shape)]
    rng = np.random.default_rng(2)
    feeds = [[whole(rng, tuple(n if e == "N" else e for e in named), "f32")] for n in (0, 1, 4)]
    agree(
        lambda x: [g.cumulative(x, axis, kind, *form) for form in forms],
        [(named, "f32")],
        feeds,
        lambda x: [running(x, axis, kind, *form) for form in forms],
    )


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_nan_wins_and_infinities_count(kind: str, dtype: str) -> None:
    x = np.array([[1, np.inf, 0], [-np.inf, 2, np.nan], [3, np.nan, -np.inf]]).astype(numpy_dtype(dtype))
    agree(
        lambda x: [g.reduce(x, [1], kind), g.cumulative(x, 1, kind), g.cumulative(x, 0, kind, True, True)],
        [((3, 3), dtype)],
        [[x]],
        lambda x: [reduced(x, 1, kind), running(x, 1, kind, False, False), running(x, 0, kind, True, True)],
    )


def test_extremes_of_bool() -> None:
    rng = np.random.default_rng(3)
    feeds = [[rng.random((n, 4)) < 0.5] for n in (0, 1, 5)]
    build = lambda x: [y for k in ("max", "min") for y in (g.reduce(x, [0], k), g.cumulative(x, 0, k, True))]
    reference = lambda x: [f for k in ("max", "min") for f in (reduced(x, 0, k), running(x, 0, k, True, False))]
    agree(build, [(("N", 4), "bool")], feeds, reference)


@pytest.mark.parametrize("kind", ["sum", "and", "mean"])
def test_kinds_that_a_dtype_has_not_are_named(kind: str) -> None:
    with pytest.raises(DTypeError, match=f"cumulative: no {kind} of bool"):
        built(lambda x: g.cumulative(x, 0, kind), [((3,), "bool")])


@pytest.mark.parametrize("kind", ["sum", "max", "prod"])
@pytest.mark.parametrize("length", [5, "M"])
def test_a_fold_over_an_axis_that_the_values_do_not_have(kind: str, length: int | str) -> None:
    """The last vector of such a loop is masked by no view of the operand."""

    def build(x, t):  # type: ignore[no-untyped-def]
        return g.reduce(g.broadcast(x, [g.shape_of(t)[0], g.shape_of(x)[0]], [1]), [0], kind)

    def reference(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        folds = {"sum": np.add, "max": np.maximum, "prod": np.multiply}
        return folds[kind].reduce(np.broadcast_to(x, (len(t), len(x))), axis=0)

    lengths = [5] if length == 5 else [1, 3, 17, 40]
    feeds = [[np.linspace(0.9, 1.1, n, dtype=np.float32), np.zeros(m, np.float32)] for n in (1, 2, 33) for m in lengths]
    agree(build, [(("N",), "f32"), ((length,), "f32")], feeds, reference, tolerance=1e-5)

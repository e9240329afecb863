"""Conversions between floats and integers in every lane: saturating from floats, wrapping from integers, as the scalar ones."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.ir import types
from mlc.ir.graph import scalar
from mlc.ir.kernel.kernel import Buffer, Kernel
from mlc.ir.kernel.schedule import Vector
from mlc.passes.kernel.merge import merge_loops
from mlc.passes.kernel.rules.cpu import choose
from tests.kernel.native import RUNNABLE, run

INTEGERS = [d for d in types.DTYPES if types.is_integer(d)]


def converting(dtypes: list[str], size: int | str) -> Kernel:
    """Y = X converted to each dtype in turn."""
    kernel = Kernel("convert", {"X": Buffer((size,), dtypes[0]), "Y": Buffer((size,), dtypes[-1])})
    at = kernel.buffers

    def body(b, x, y):
        for source, target in pairwise(dtypes):
            x = scalar.cast(b, source, target, x)
        return x

    kernel.structured({"i": size}, [(at["X"], ("i",))], (at["Y"], ("i",)), body)
    kernel.return_()
    return kernel


def saturated(x: np.ndarray, dtype: str) -> np.ndarray:
    info = np.iinfo(types.numpy_dtype(dtype))
    whole = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0, posinf=1e30, neginf=-1e30))
    return np.array([min(max(int(value), info.min), info.max) for value in whole], types.numpy_dtype(dtype))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("target", RUNNABLE, ids=str)
def test_floats_become_the_nearest_integer_in_range(target, kind, dtype):
    bits = types.numpy_dtype(dtype).itemsize * 8
    edges = [
        0,
        -0.0,
        0.5,
        -0.9,
        1.99,
        -1.5,
        126.9,
        127.5,
        255.5,
        -128.5,
        300,
        2.0**bits,
        -(2.0**bits),
        2.0 ** (bits - 1),
    ]
    x = np.array([*edges, np.nan, np.inf, -np.inf, *np.linspace(-140, 270, 40)], types.numpy_dtype(kind))
    kernel = converting([kind, dtype], len(x))
    merge_loops(kernel)
    assert isinstance(choose(kernel, target).leaf, Vector)
    found = run(
        converting([kind, dtype], len(x)), {"X": x, "Y": np.zeros(len(x), types.numpy_dtype(dtype))}, "Y", target
    )
    np.testing.assert_array_equal(found, saturated(x, dtype))


@settings(max_examples=30)
@given(
    source=st.sampled_from(INTEGERS),
    middle=st.sampled_from(INTEGERS),
    kind=st.sampled_from(["f32", "f64"]),
    size=st.sampled_from([1, 7, 16, 33]),
    open_size=st.booleans(),
    target=st.sampled_from(RUNNABLE),
)
def test_integers_wrap_and_become_the_nearest_float(source, middle, kind, size, open_size, target):
    info = np.iinfo(types.numpy_dtype(source))
    x = np.random.default_rng(size).integers(info.min, info.max, size, types.numpy_dtype(source), endpoint=True)
    kernel = converting([source, middle, kind], "N" if open_size else size)
    extents = {"N": size} if open_size else {}
    found = run(kernel, {"X": x, "Y": np.zeros(size, types.numpy_dtype(kind))}, "Y", target, **extents)
    np.testing.assert_array_equal(found, x.astype(types.numpy_dtype(middle)).astype(types.numpy_dtype(kind)))

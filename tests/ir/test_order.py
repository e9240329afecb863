"""sort: all of an axis in order, stable, with positions, whatever the dtype."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import ShapeError
from mlc.ir import builder as g
from mlc.ir.types import numpy_dtype
from tests.ir.every_stage import agree, built

DTYPES = ("f32", "f64", "f16", "bf16", "i8", "u8", "i16", "u32", "i64", "bool")


def sorted_by_python(x: np.ndarray, axis: int, descending: bool) -> tuple[np.ndarray, np.ndarray]:
    """NaN is the largest; of equals the first comes first, in both directions."""
    lines = np.moveaxis(x, axis, -1)
    order = np.zeros(lines.shape, np.int64)
    for at in np.ndindex(lines.shape[:-1]):
        line = lines[at].tolist()
        key = lambda i, line=line: (line[i] != line[i], 0 if line[i] != line[i] else line[i])
        if descending:
            ranks = sorted(set(map(key, range(len(line)))))
            order[at] = sorted(range(len(line)), key=lambda i: -ranks.index(key(i)))
        else:
            order[at] = sorted(range(len(line)), key=key)
    order = np.moveaxis(order, -1, axis)
    return np.take_along_axis(x, order, axis), order


def few(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Few values, so that many are equal."""
    values = rng.integers(0, 4, shape)
    array = values.astype(numpy_dtype(dtype))
    if dtype in ("f32", "f64", "f16", "bf16"):
        array[values == 3] = np.nan
    return array


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_sorted(dtype: str) -> None:
    rng = np.random.default_rng(0)
    feeds = [[few(rng, (n, 6), dtype)] for n in (0, 1, 5, 17)]
    build = lambda x: [*g.sort(x, 0), *g.sort(x, 1, descending=True)]
    reference = lambda x: [*sorted_by_python(x, 0, False), *sorted_by_python(x, 1, True)]
    agree(build, [(("N", 6), dtype)], feeds, reference)


@settings(max_examples=12)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 7]), min_size=1, max_size=3), st.data())
def test_any_axis_is_sorted_at_every_size(shape: list[int], data: st.DataObject) -> None:
    axis, descending = data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.booleans())
    named = ["N" if a == axis % len(shape) else e for a, e in enumerate(shape)]
    rng = np.random.default_rng(1)
    feeds = [[few(rng, tuple(n if e == "N" else e for e in named), "f32")] for n in (0, 1, 8, 13)]
    agree(
        lambda x: g.sort(x, axis, descending),
        [(named, "f32")],
        feeds,
        lambda x: sorted_by_python(x, axis % len(shape), descending),
    )


def test_an_axis_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ShapeError, match="sort: axis 2 is not one of the 2 axes"):
        built(lambda x: g.sort(x, 2), [((2, 3), "f32")])

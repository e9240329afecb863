"""Padding on both sides and between elements, of either sign, and windows over elements that stand apart: element by element."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mlc.errors import MlcError, ShapeError
from mlc.ir import builder as g
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype
from mlc.passes.manager import PassManager
from tests.ir.every_stage import agree, built

Edges = list[tuple[int, int, int]]  # before, after, between


def padded(x: np.ndarray, edges: Edges, value: float) -> np.ndarray:
    """Each element to its place, one by one."""
    shape = [lo + (n + (n - 1) * i if n else 0) + hi for n, (lo, hi, i) in zip(x.shape, edges, strict=True)]
    out = np.full(shape, value, x.dtype)
    for at in np.ndindex(x.shape):
        place = [lo + p * (i + 1) for p, (lo, _, i) in zip(at, edges, strict=True)]
        if all(0 <= p < size for p, size in zip(place, shape, strict=True)):
            out[tuple(place)] = x[at]
    return out


def pad(edges: Edges, value: float = 7) -> Callable[..., Any]:
    low, high, between = (list(column) for column in zip(*edges, strict=True))
    return lambda x: g.pad(x, low, high, value, between)


def some(*shape: int, dtype: str = "f32") -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 9, shape).astype(numpy_dtype(dtype))


EDGES = st.tuples(st.integers(-4, 3), st.integers(-4, 3), st.integers(0, 3))


@settings(max_examples=25)
@example([(1, (-1, 0, 0))])
@given(st.lists(st.tuples(st.integers(0, 5), EDGES), min_size=1, max_size=3))
def test_padding_of_fixed_sizes(axes: list[tuple[int, tuple[int, int, int]]]) -> None:
    shape, edges = [n for n, _ in axes], [edge for _, edge in axes]
    x = some(*shape)
    assume(all(lo + (n + (n - 1) * i if n else 0) + hi >= 0 for n, (lo, hi, i) in zip(shape, edges, strict=True)))
    agree(pad(edges), [(shape, "f32")], [[x]], lambda x: padded(x, edges, 7))


@pytest.mark.parametrize(("start", "step"), [(1, 1), (3, 1), (2, -1)])
def test_a_slice_of_nothing_may_begin_behind_the_last_element(start: int, step: int) -> None:
    shape = (3, 4)
    agree(
        lambda x: g.add(g.slice(x, [start, 0], [0, 4], [step, 1]), g.slice(x, [0, 0], [0, 4])),
        [(shape, "f32")],
        [[some(*shape)]],
        lambda x: np.empty((0, 4), np.float32),
    )


@settings(max_examples=12)
@given(EDGES, st.sampled_from([0, 2]))
def test_padding_of_a_symbolic_axis_at_every_size(edge: tuple[int, int, int], level: int) -> None:
    lo, hi, i = edge
    edges = [edge, (0, 1, 0)]
    sizes = [n for n in (0, 1, 2, 3, 5, 8) if lo + (n + (n - 1) * i if n else 0) + hi >= 0]
    feeds = [[some(n, 3)] for n in sizes]
    agree(pad(edges), [(("N", 3), "f32")], feeds, lambda x: padded(x, edges, 7), levels=[level])


def test_edges_that_sizes_decide_have_either_sign() -> None:
    def build(x, a, b):  # type: ignore[no-untyped-def]
        shift = g.shape_of(a)[0] - g.shape_of(b)[0]
        return [g.pad(x, [shift, 0], [0 - shift, 0], 1), g.pad(x, [shift, 0], [3, 0], 1, [2, 0])]

    def reference(x, a, b):  # type: ignore[no-untyped-def]
        shift = len(a) - len(b)
        return [padded(x, [(shift, -shift, 0), (0, 0, 0)], 1), padded(x, [(shift, 3, 2), (0, 0, 0)], 1)]

    feeds = [[some(4, 2), some(a), some(b)] for a, b in ((0, 0), (2, 0), (0, 3), (5, 1), (1, 5), (9, 1), (1, 7))]
    agree(build, [(("N", 2), "f32"), (("A",), "f32"), (("B",), "f32")], feeds, reference)


@pytest.mark.parametrize("dtype", ["f16", "f64", "i8", "u32", "i64", "bool"])
def test_every_dtype_is_padded_between(dtype: str) -> None:
    edges = [(1, -1, 2), (-1, 2, 1)]
    feeds = [[some(n, 4, dtype=dtype)] for n in (1, 3)]
    agree(pad(edges, 1), [(("N", 4), dtype)], feeds, lambda x: padded(x, edges, 1))


def test_the_value_may_be_computed() -> None:
    edges = [(1, 2, 2), (-1, 0, 1)]
    build = lambda x, v: g.pad(x, [1, -1], [2, 0], g.neg(v), [2, 1])
    reference = lambda x, v: padded(x, edges, -v)
    agree(build, [(("N", 3), "f32"), ((), "f32")], [[some(n, 3), np.float32(4)] for n in (0, 1, 4)], reference)


def test_the_result_of_a_product_is_padded_between() -> None:
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    build = lambda x: g.pad(g.relu(g.matmul(x, g.constant(w))), [0, 1], [1, 0], 0, [1, 1])
    agree(
        build,
        [(("N", 2), "f32")],
        [[some(n, 2)] for n in (0, 1, 5)],
        lambda x: padded(x @ w, [(0, 1, 1), (1, 0, 1)], 0),
    )


def test_what_is_taken_away_and_put_back_is_gone() -> None:
    build = lambda x: [
        g.pad(g.pad(x, [-1], [0]), [1], [0]),
        g.pad(g.pad(x, [1], [0]), [-2], [0]),
        g.pad(g.pad(x, [2], [1], 0, [1]), [-3], [1]),
    ]
    reference = lambda x: [
        np.concatenate([[np.float32(0)], x[1:]]),
        x[1:],
        padded(padded(x, [(2, 1, 1)], 0), [(-3, 1, 0)], 0),
    ]
    agree(build, [((5,), "f32")], [[np.arange(1, 6, dtype=np.float32)]], reference)


def test_more_than_there_is_cannot_be_taken_away() -> None:
    with pytest.raises(ShapeError, match=r"pad: -3 before and 1 after take away more than axis 1 of \[4, 1\] has"):
        built(lambda x: g.pad(x, [0, -3], [0, 1]), [((4, 1), "f32")])
    with pytest.raises(ShapeError, match=r"\[-1\] between do not fit"):
        built(lambda x: g.pad(x, [0], [0], 0, [-1]), [((4,), "f32")])
    module = built(lambda x: g.pad(x, [-2], [1]), [(("N",), "f32")])
    np.testing.assert_array_equal(module.run(some(1))[0], [])
    with pytest.raises(MlcError, match="padding of axis 0"):
        module.run(some(0))


# Windows -------------------------------------------------------------------------------------------------------------

IDENTITY = {"sum": 0, "prod": 1, "max": -np.inf, "min": np.inf}
FOLDS: dict[str, Callable[..., Any]] = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}
AXIS = st.tuples(
    st.integers(1, 3), st.integers(1, 3), st.integers(-2, 2), st.integers(-2, 3), st.integers(1, 2), st.integers(1, 3)
)


def windows(x: np.ndarray, kind: str, axes: list[tuple[int, ...]]) -> np.ndarray:
    """window, stride, before, after, dilation and dilation of x per axis."""
    wide = padded(x, [(lo, hi, apart - 1) for _, _, lo, hi, _, apart in axes], IDENTITY[kind])
    shape = [max(0, (n - (w - 1) * d - 1) // s + 1) for n, (w, s, _, _, d, _) in zip(wide.shape, axes, strict=True)]
    out = np.zeros(shape, x.dtype)
    for at in np.ndindex(*shape):
        taps = product(*([p * s + t * d for t in range(w)] for p, (w, s, _, _, d, _) in zip(at, axes, strict=True)))
        out[at] = FOLDS[kind]([wide[place] for place in taps])
    return out


@settings(max_examples=20)
@given(st.sampled_from(sorted(FOLDS)), st.lists(AXIS, min_size=1, max_size=2), st.sampled_from([0, 2]))
def test_windows_over_elements_that_stand_apart(kind: str, axes: list[tuple[int, ...]], level: int) -> None:
    window, strides, low, high, dilations, apart = (list(column) for column in zip(*axes, strict=True))
    pairs = list(zip(low, high, strict=True))

    def fits(sizes: list[int]) -> bool:
        ends = [
            lo + (n + (n - 1) * (apart - 1) if n else 0) + hi
            for n, (_, _, lo, hi, _, apart) in zip(sizes, axes, strict=True)
        ]
        return all(end >= (w - 1) * d + 1 for end, (w, _, _, _, d, _) in zip(ends, axes, strict=True))

    sizes = [[n] + [4] * (len(axes) - 1) for n in (1, 2, 4, 7)]
    sizes = [size for size in sizes if fits(size)]
    assume(sizes)
    build = lambda x: g.reduce_window(x, kind, window, strides, pairs, dilations, apart)
    specs = [(["N"] + [4] * (len(axes) - 1), "f32")]
    agree(build, specs, [[some(*size)] for size in sizes], lambda x: windows(x, kind, axes), levels=[level])


def test_the_gradient_of_a_mean_over_windows_is_one_window_op() -> None:
    """The transpose of sum-pooling, as the rule for it says: dilate by the stride, pad by what is missing, sum with stride 1."""
    n, k, s, lo, hi = 11, 3, 2, 1, 0
    positions = (n + lo + hi - k) // s + 1
    spread = (positions - 1) * s + 1
    back = lambda c: g.reduce_window(c, "sum", [k], [1], [(k - 1 - lo, n + k - 1 - spread - (k - 1 - lo))], [1], [s])

    def reference(c: np.ndarray) -> np.ndarray:
        out = np.zeros(n, c.dtype)
        for p, t in product(range(positions), range(k)):
            if 0 <= p * s + t - lo < n:
                out[p * s + t - lo] += c[p]
        return out

    agree(back, [((positions,), "f32")], [[some(positions)]], reference)


def test_padding_stays_in_front_of_what_it_cannot_join() -> None:
    """A convolution's or window's own padding takes in what only adds."""

    def window(x, low, between):  # type: ignore[no-untyped-def]
        return g.reduce_window(g.pad(x, [low], [1], float("-inf"), [between]), "max", [2])

    def pads(module: Module) -> int:
        return str(PassManager("simplify").run(module)).count("graph.pad ")

    assert [pads(built(lambda x, a=a: window(x, *a), [((8,), "f32")])) for a in ((1, 0), (-1, 0), (1, 1))] == [0, 1, 1]


def test_dilations_below_one_are_named() -> None:
    with pytest.raises(ShapeError, match=r"dilations \[0\] of x too"):
        built(lambda x: g.reduce_window(x, "sum", [2], x_dilation=[0]), [((4,), "f32")])

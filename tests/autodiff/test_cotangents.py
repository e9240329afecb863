"""Cotangents of values that are read in pieces: sums of pieces are what sums of padded pieces are, and no larger than the value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.ir import builder as g
from mlc.ir.graph.parts import ConcatenateOp, PadOp
from mlc.ir.module import Module
from mlc.ir.types import shape_of
from tests.autodiff.derivatives import built, check_derivatives, derived


@st.composite
def pieces(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[int, int, int]]]:
    """A shape, and what is read of it: (axis, start, size), which may overlap, leave gaps and be empty."""
    shape = tuple(draw(st.sampled_from([1, 2, 3, 7, 16])) for _ in range(draw(st.integers(1, 3))))
    found = []
    for _ in range(draw(st.integers(1, 6))):
        axis = draw(st.integers(0, len(shape) - 1))
        start = draw(st.integers(0, shape[axis] - 1))
        found.append((axis, start, draw(st.integers(0, shape[axis] - start))))
    return shape, found


@settings(max_examples=30, deadline=None)
@given(pieces())
def test_the_gradient_of_pieces_is_their_sum(case: tuple[tuple[int, ...], list[tuple[int, int, int]]]) -> None:
    shape, found = case

    def build(x: Any) -> Any:
        total = g.full((), 0, "f64")
        for number, (axis, start, size) in enumerate(found):
            piece = g.slice_axis(x, axis, start, size)
            total = g.add(total, g.reduce(g.mul(g.full_like(piece, number + 1), g.mul(piece, piece)), None, "sum"))
        return total

    x = np.random.default_rng(0).standard_normal(shape)
    expected = np.zeros_like(x)
    for number, (axis, start, size) in enumerate(found):
        at = tuple(slice(start, start + size) if a == axis else slice(None) for a in range(len(shape)))
        expected[at] += 2 * (number + 1) * x[at]
    gradient = derived(built(build, [(shape, "f64")]), ["x0"], "gradient")
    np.testing.assert_allclose(gradient.run(x)[1], expected, rtol=1e-13, atol=1e-13)


def gates(x: Any) -> Any:
    """Four gates of one product, not read in the order that they lie in."""
    i, f, c, o = (g.slice_axis(x, 1, k * 3, 3) for k in (2, 0, 3, 1))
    return g.mul(g.tanh(g.add(g.mul(i, c), f)), g.sigmoid(o))


def count(module: Module, kind: type) -> int:
    return sum(isinstance(op, kind) for op in module.op.walk())


@pytest.mark.parametrize("rows", [0, 1, "N"])
def test_the_cotangents_of_gates_are_one_concatenation(rows: int | str) -> None:
    module = built(lambda x: g.reduce(gates(x), None, "sum"), [((rows, 12), "f64")])
    gradient = derived(module, ["x0"], "gradient")
    assert count(gradient, PadOp) == 0
    assert count(gradient, ConcatenateOp) == 1
    x = np.random.default_rng(0).standard_normal((5 if rows == "N" else rows, 12))
    check_derivatives(module, [x])


def test_an_unrolled_loop_takes_memory_for_its_steps_once() -> None:
    """The gradient of x[0], x[1], ... holds a few times the elements of x, not one x for each step."""
    steps = 40

    def unrolled(x: Any) -> Any:
        h = g.full((3,), 0, "f64")
        for t in range(steps):
            h = g.tanh(g.add(h, g.reshape(g.slice_axis(x, 0, t, 1), (3,))))
        return g.reduce(h, None, "sum")

    gradient = derived(built(unrolled, [((steps, 3), "f64")]), ["x0"], "gradient")
    large = [op for op in gradient.op.walk() if op.results and shape_of(op.results[0]) == (steps, 3)]
    assert len(large) <= 2


def test_a_cotangent_that_two_values_share_stays_where_one_of_them_needs_it_padded() -> None:
    def both(x: Any, y: Any) -> Any:
        z = g.add(x, y)
        return g.add(g.mul(g.slice_axis(z, 0, 0, 2), g.slice_axis(x, 0, 1, 2)), g.slice_axis(z, 0, 2, 2))

    check_derivatives(
        built(both, [((4,), "f64"), ((4,), "f64")]), list(np.random.default_rng(0).standard_normal((2, 4)))
    )

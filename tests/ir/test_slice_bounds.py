"""Slices of IR text that reach outside of their operands are refused; what builders make is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.compiler import parse_text
from mlc.errors import InvalidModel
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.module import Module


def sliced(start: object, size: object, step: int, inside: bool = False) -> Module:
    m = g.module_builder("cut")
    with m.function(inputs=[("x", ("N", 4), "f32")]) as (x,):
        m.outputs([("y", g.slice(x, [start, 0], [size, 4], [step, 1], inside=inside))])
    return m.finish()


def parsed(module: Module) -> None:
    parse_text(str(module).encode(), "text")


N = dims.symbol("N")


@pytest.mark.parametrize(
    ("start", "size", "step", "message"),
    [
        (0, N, 1 << 31, r"at N = 2 it reads elements 0\.\.2147483648 of axis 0, which has 2"),
        (1, N, 1, r"at N = 2 it reads elements 1\.\.2 of axis 0"),
        (N, 1, 1, r"at N = 2 it reads elements 2\.\.2 of axis 0"),
        (N - 3, 3, 1, r"at N = 2 it reads elements -1\.\.1 of axis 0"),
        (N - 1, N + 1, -1, r"at N = 2 it reads elements 1\.\.-1 of axis 0"),
    ],
)
def test_a_slice_that_reaches_outside_is_refused(start: object, size: object, step: int, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        parsed(sliced(start, size, step, inside=True))


def test_checks_and_bounds_forbid_the_sizes_at_which_it_would() -> None:
    module = sliced(2, 3, 1)
    assert module.checks
    parsed(module)
    module.checks = []
    with pytest.raises(InvalidModel, match="at N = 2 it reads elements 2..4"):
        parsed(module)
    module.symbols["N"] = (5, None)
    parsed(module)


@settings(max_examples=60, deadline=None)
@given(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([-3, -1, 1, 2]))
def test_what_the_builder_makes_of_clamped_slices_is_read(start: int, stop: int, step: int) -> None:
    """As NumPy's x[start:stop:step], whatever N is."""
    low, high = (0, N) if step > 0 else (-1, N - 1)
    first, last = (dims.dmin(dims.dmax(N + e if e < 0 else e, low), high) for e in (start, stop))
    size = dims.dmax(dims.ceildiv(last - first, step) if step > 0 else dims.ceildiv(first - last, -step), 0)
    parsed(sliced(first, size, step, inside=True))

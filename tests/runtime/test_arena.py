"""Lifetimes of buffers, and where they lie in the arena."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ArrayAttr

from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.kernel.arena_layout import Layout
from mlc.ir.module import Module
from mlc.passes.kernel.arena import plan_arena


def live_peak(sizes: list[int], lifetimes: list[tuple[int, int]]) -> int:
    steps = range(max((last for _, last in lifetimes), default=-1) + 1)
    return max(
        (sum(size for size, (a, b) in zip(sizes, lifetimes, strict=True) if a <= t <= b) for t in steps), default=0
    )


@st.composite
def buffers(draw) -> tuple[list[int], list[tuple[int, int]]]:
    count = draw(st.integers(0, 40))
    sizes = draw(st.lists(st.integers(0, 50).map(lambda n: n * 64), min_size=count, max_size=count))
    firsts = draw(st.lists(st.integers(0, 60), min_size=count, max_size=count))
    lasts = [first + draw(st.integers(0, 20)) for first in firsts]
    return sizes, list(zip(firsts, lasts, strict=True))


@given(buffers())
@settings(max_examples=150, deadline=None)
def test_buffers_alive_at_the_same_time_do_not_overlap(drawn):
    sizes, lifetimes = drawn
    offsets, top = Layout(lifetimes).offsets(sizes)
    assert top >= live_peak(sizes, lifetimes)
    for i in range(len(sizes)):
        assert offsets[i] + sizes[i] <= top or not sizes[i]
        for j in range(i):
            (a, b), (c, d) = lifetimes[i], lifetimes[j]
            if a <= d and c <= b and sizes[i] and sizes[j]:
                assert offsets[i] + sizes[i] <= offsets[j] or offsets[j] + sizes[j] <= offsets[i]


@pytest.mark.parametrize("tokens", [1, 17, 128, 512])
def test_an_encoder_needs_little_more_than_its_live_peak(tokens):
    """Thirteen layers: q, k, v, scores, attention, projection, sum, two layer norms, wide layer."""
    widths = [768, 768, 768, 12 * tokens, 768, 768, 768, 768, 3072, 768, 768]
    spans = [(0, 3), (1, 3), (2, 4), (3, 4), (4, 5), (5, 6), (6, 7), (7, 10), (8, 9), (9, 10), (10, 11)]
    sizes = [tokens * width * 4 for _ in range(13) for width in widths]
    lifetimes = [(first + 11 * layer, last + 11 * layer) for layer in range(13) for first, last in spans]
    _, top = Layout(lifetimes).offsets(sizes)
    assert top <= 1.2 * live_peak(sizes, lifetimes)


PROGRAM = """
func.func @main(%x: memref<?xf32> {kernel.name = "x", kernel.dims = #graph.dims<N>, kernel.role = "input"}) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = kernel.size "N"
  %a = kernel.buffer 0 dims ["N", "4"] : memref<?x4xf32>
  %b = kernel.buffer 1 dims ["N"] : memref<?xi1>
  %c = kernel.buffer 2 dims ["u", "2"] : memref<?x2xf64>
  %k = kernel.buffer 3 dims ["1"] : memref<1xi64>
  %unused = kernel.buffer 4 dims ["N"] : memref<?xf32>
  %v = kernel.view %a dims ["4*N"] : memref<?x4xf32> to memref<?xf32>
  kernel.call @first(%x, %a) : memref<?xf32>, memref<?x4xf32>
  kernel.call @second(%a, %b, %k) : memref<?x4xf32>, memref<?xi1>, memref<1xi64>
  kernel.count "u" most "3*N" in %k : memref<1xi64>
  scf.for %i = %zero to %n step %one {
    %row = kernel.row %c[%i] : memref<?x2xf64> to memref<2xf64>
    kernel.call @third(%row) : memref<2xf64>
  }
  kernel.call @fourth(%v, %c) : memref<?xf32>, memref<?x2xf64>
  func.return
}
"""


def test_a_buffer_lives_as_long_as_its_views_and_rows():
    main = Module.parse(PROGRAM).main
    lives = plan_arena(main)
    first, loop = lives[0].first, lives[2].first
    assert [(str(life.bytes), life.first - first, life.last - first) for life in lives[:4]] == [
        ("16*N", 0, 4),
        ("N", 1, 1),
        ("48*N", 3, 4),
        ("8", 1, 2),
    ]
    assert loop == first + 3
    assert lives[4].bytes == 0
    assert isinstance(main.attributes["kernel.arena"], ArrayAttr)


def test_numbers_of_buffers_must_be_complete():
    text = PROGRAM.replace("kernel.buffer 4", "kernel.buffer 9")
    with pytest.raises(InternalError, match="not numbered 0 to 4"):
        plan_arena(Module.parse(text).main)


def test_sizes_are_expressions_of_the_symbols():
    lives = plan_arena(Module.parse(PROGRAM).main)
    assert dims.evaluate(lives[2].bytes, {"N": 10}) == 480

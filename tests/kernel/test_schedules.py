"""Schedules as somebody writes them: the grammar, what is refused and in which words, and that whatever is not refused computes the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import MlcError
from mlc.ir.kernel import schedule as grammar
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.interpreter import run_kernel
from mlc.ir.kernel.kernel import Buffer, Kernel, loops_of
from mlc.ir.kernel.schedule import Level, Scalar, Schedule, Stage, Vector
from mlc.ir.kernel.target import Lowering
from mlc.passes.kernel.lowering import lowered
from mlc.passes.kernel.merge import merge_loops
from mlc.passes.loops.lower import lower
from tests.kernel import hand_made
from tests.kernel.native import RUNNABLE, Native, floats

WIDE = CpuTarget("x86-64-v4", "", lanes=16, registers=32)


def transpose(rows, columns) -> Kernel:
    """y[c, r] = 2 x[r, c]"""
    kernel = Kernel("transpose", {"x": Buffer((rows, columns)), "y": Buffer((columns, rows))})
    at = kernel.buffers
    kernel.structured(
        {"c": columns, "r": rows},
        [(at["x"], ("r", "c"))],
        (at["y"], ("c", "r")),
        lambda b, x, out: hand_made.add(b, x, x),
    )
    kernel.return_()
    return kernel


# Any schedule --------------------------------------------------------------------------------------------------------
CASES = {
    "contraction": (lambda: hand_made.gemm(13, 20, 9), {"A": (13, 9), "B": (9, 20), "bias": (20,), "R": (13, 20), "D": (13, 20)}, {}),
    "contraction of any rows": (
        lambda: hand_made.gemm("M", 20, "K", weight=False, epilogue=False),
        {"A": (11, 5), "B": (5, 20), "D": (11, 20)},
        {"M": 11, "K": 5},
    ),
    "contraction over nothing": (lambda: hand_made.gemm(3, 5, 0, epilogue=False), {"A": (3, 0), "B": (0, 5), "D": (3, 5)}, {}),
    "convolution": (lambda: hand_made.conv(6, 7, 3, 10, 3, 1), {"X": (6, 7, 3), "W": (3, 3, 3, 10), "bias": (10,), "Y": (4, 5, 10)}, {}),
    "softmax": (lambda: hand_made.softmax(5, 23, 0.5), {"X": (5, 23), "Y": (5, 23)}, {}),
    "softmax of any width": (lambda: hand_made.softmax("R", "C", 0.5), {"X": (5, 23), "Y": (5, 23)}, {"R": 5, "C": 23}),
    "transpose": (lambda: transpose(9, 17), {"x": (9, 17), "y": (17, 9)}, {}),
    "transpose of any size": (lambda: transpose("R", "C"), {"x": (9, 17), "y": (17, 9)}, {"R": 9, "C": 17}),
}  # fmt: skip
OUTPUTS = {"contraction": "D", "convolution": "Y", "softmax": "Y", "transpose": "y"}
SIZES = st.sampled_from([1, 1, 2, 3, 4, 5, 8, 16])
SLIPS = st.sampled_from([0, -3, 7, 32, 64, 4096])


@st.composite
def schedules(draw, kernel: Kernel, buffers: list[str]) -> Schedule:
    """Mostly of what the kernel has, with a slip now and then."""
    slip = draw(st.integers(0, 3)) == 0
    loops = {n: e for op in kernel.block.ops if "loops" in op.attributes for n, e in loops_of(op).items()}
    names = st.sampled_from([*loops, "q"] if slip else list(loops))
    binds = st.sampled_from(["parallel", "block.x", "thread.y"] if slip else ["parallel"])
    orders = st.sampled_from([(), (), (1, 0), (0, 1), (2, 0, 1), (3, 0, 1, 2)])

    def level() -> Level:
        tiled = draw(st.lists(names, min_size=1, max_size=3, unique=True))
        bound = draw(st.sampled_from([[], [], [], tiled, tiled[:1]]))
        staged = (
            draw(st.lists(st.sampled_from(buffers), max_size=1, unique=True)) if draw(st.integers(0, 2)) == 0 else []
        )
        ahead = draw(st.sampled_from([0, 0, 1, 2, 3, 8]))
        stage = Stage("workgroup" if slip else "panel", draw(orders), 4 if slip and draw(st.booleans()) else 0, ahead)
        kind = draw(st.sampled_from(["=", "=", "=", "~", "<="]))
        block = draw(st.integers(0, 3)) if len(bound) > 1 else 0
        sizes = {name: draw(SIZES | SLIPS if slip else SIZES) for name in tiled}
        if not slip:
            sizes = {n: max(1, min(size, e)) if isinstance(e := loops[n], int) else size for n, size in sizes.items()}
        return Level(
            sizes, {n: draw(binds) for n in bound}, dict.fromkeys(staged, stage), kind == "<=", kind == "~", block
        )

    levels = tuple(level() for _ in range(draw(st.integers(0, 3))))
    if draw(st.integers(0, 2)) == 0:
        return Schedule(levels, Scalar())
    across = tuple(draw(st.lists(names, min_size=1, max_size=2, unique=True)))
    unroll = tuple(draw(st.lists(names, max_size=4, unique=True)))
    lanes = draw(st.sampled_from([1, 4, 8, 8, 8, 16, 12, 512] if slip else [4, 8, 8, 16]))
    return Schedule(
        levels,
        Vector(
            across,
            lanes,
            unroll,
            draw(st.sampled_from([1, 1, 2, 4, *([0] * slip)])),
            draw(st.sampled_from([0, 0, 4, 64])),
        ),
    )


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=6, deadline=None)
@given(data=st.data(), target=st.sampled_from(RUNNABLE), parts=st.integers(1, 3))
def test_any_schedule_is_refused_or_computes_the_same(name, data, target, parts):
    make, shapes, extents = CASES[name]
    kernel = make()
    merge_loops(kernel)
    schedule = data.draw(schedules(kernel, list(shapes)))
    output = OUTPUTS[name.split()[0]]
    arrays = {buffer: floats(*shape) for buffer, shape in shapes.items()}
    want = {**arrays, output: np.zeros(shapes[output], np.float32)}
    run_kernel(kernel, want, extents)
    kernel.schedule = str(schedule)
    kernel.finish()
    try:
        done = lowered(kernel.op, target)
    except MlcError as refused:
        assert refused.message.startswith(("schedule: ", f"kernel '{kernel.name}': ")) and refused.remedy
        return
    found = np.full(shapes[output], np.nan, np.float32)
    run_kernel(done, {**arrays, output: found}, extents, races=True)
    np.testing.assert_allclose(found, want[output], rtol=1e-4, atol=1e-5)
    native = np.full(shapes[output], np.nan, np.float32)
    Native(done, target=target)({**arrays, output: native}, parts, **extents)
    np.testing.assert_allclose(native, want[output], rtol=1e-4, atol=1e-5)


# Refused ---------------------------------------------------------------------------------------------------------------
REFUSED = {
    "Level(q = 4) | Scalar": "Level(q = 4): there is no loop q\n  The loops are m = 13, n = 20, k = 9.",
    "Level(m = 4) | Vector(N x 16)": "Vector(N x 16): there is no loop N\n  Did you mean n? The loops are m = 13, n = 20, k = 9.",
    "Level(m = 0) | Scalar": "schedule: the tile of loop m is 0",
    "Level(m = -2) | Scalar": "schedule: the tile of loop m is -2",
    "Level(n = 4096) | Scalar": "the tile of loop n is 4096, and the loop has 20 elements\n  Write at most 20.",
    "Level(n = 64) | Vector(n x 16)": "the loop has 20 elements\n  Write at most 32, which is whole vectors of 16.",
    "Level(k = 3 parallel) | Scalar": "loop k is reduced over, and the threads that share it would add to the same elements\n  Bind a loop of the result: m, n.",
    "Level(m = 2 parallel) | Level(n = 4 parallel) | Scalar": "an earlier level is parallel already",
    "Level(m = 8) | Level(m = 2 parallel) | Scalar": "loop m is cut by Level(m = 8) already",
    "Level(m = 2 parallel, n = 4 by 2) | Scalar": "'by' is for loops that are all parallel",
    "Level(m = 2 parallel, k = 3) | Scalar": "threads would share a part of the kernel",
    "Level(m = 2 block.x) | Scalar": "x86-64-v4 knows no bind block.x\n  It knows parallel.",
    "Level(m = 2 threads) | Scalar": "schedule: 'threads' is no bind of a loop\n  Did you mean 'thread.z'?",
    "Level(n = 16; B -> workgroup) | Scalar": "x86-64-v4 has no space workgroup\n  It has panel: B -> ...",
    "Level(n = 16; B -> shared) | Scalar": "schedule: 'shared' is no space\n  Choices: panel, workgroup, register.",
    "Level(n = 16; B -> panel+4) | Scalar": "x86-64-v4 pads rows of B to whole vectors itself",
    "Level(n = 16; b -> panel) | Scalar": "no op reads a buffer b\n  Did you mean B? It reads A, B, bias, R.",
    "Level(n = 16; D -> panel) | Scalar": "buffer D is written, and only what is read is staged",
    "Level(n = 16; B -> panel; B -> panel) | Scalar": "stages B twice",
    "Level(n = 16; B -> panel) | Level(n = 4; B -> panel) | Scalar": "B is staged in panel already",
    "Level(n = 16; A -> panel ahead 2) | Scalar": "none of its loops runs through A",
    "Level(m = 2; A -> panel ahead 2) | Vector(n x 16)": "A has no next panel in memory to fetch ahead\n  Leave out 'ahead 2'",
    "Level(n = 16; B -> panel ahead 2) | Scalar": "Scalar fetches nothing ahead\n  Leave out 'ahead 2', or write Vector(...).",
    "Level(n = 16; B -> panel ahead 0) | Vector(n x 16)": "schedule: the number behind 'ahead' is 0",
    "Level(n = 16; B -> panel ahead 32) | Vector(n x 16, unroll n)": "'B' is not fetched ahead",
    "Level(n = 16; B -> panel[0, 2]) | Scalar": "[0, 2] is no order of the 2 axes of B",
    "Level(m = 2; B -> panel) | Scalar": "none of its loops runs through B\n  B is indexed by k, n.",
    "Level(m = 4, n ~ 2) | Scalar": "mixes = and ~",
    "Level(m = 4, m = 2) | Scalar": "tiles loop m twice",
    "Level(m = 4 beside 2 q) | Scalar": "Level(m = 4 beside 2 q): there is no loop q",
    "Level(m = 4 beside 2 n) | Scalar": "loop n stands nowhere in place of m\n  Leave out 'beside 2 n'.",
    "Level(m = 4 beside n) | Scalar": "'m = 4 beside n' is no tile",
    "Level(m = 4 beside 0 n) | Scalar": "schedule: the number behind 'beside' is 0",
    "Level(m = 4)": "ends without a leaf\n  Add one: Level(m = 4) | Scalar",
    "Scalar | Level(m = 4) | Scalar": "the leaf 'Scalar' is followed by 'Level(m = 4)'",
    "Level(m = x) | Scalar": "'m = x' is no tile",
    "Level(m = 4) | Vecto(n x 16)": "'Vecto(n x 16)' is no leaf",
    "Level(; B -> panel) | Scalar": "tiles no loop",
    "Vector(n x 16, unroll m*m)": "loop m is unrolled twice",
    "Vector(n x 12)": "12 lanes are no vector\n  Write a power of two, 16 for x86-64-v4",
    "Vector(n x 16, interleave 0)": "schedule: interleave is 0",
    "Level(m = 13, n = 20) | Vector(n x 4, unroll m*n)": "it keeps 65 vectors of 'acc' in 65 registers, and x86-64-v4 has 32\n  Write smaller tiles of m, n",
    "Level(m = 4) | Vector(m x 16)": "Write another schedule, or leave out kernel.schedule for the one that mlc chooses.",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_a_schedule_that_cannot_be_is_refused_in_the_words_of_the_kernel(text):
    kernel = hand_made.gemm(13, 20, 9)
    kernel.schedule = text
    kernel.finish()
    with pytest.raises(MlcError) as refused:
        lowered(kernel.op, WIDE)
    assert REFUSED[text] in str(refused.value)
    assert refused.value.remedy


def test_code_for_too_many_sizes_is_refused():
    for text, why in {
        "Level(m = 4096) | Scalar": "its tiles need more than 512 copies of the code, most of them for loop m\n  Write smaller tiles of m, or m ~ ...",
        "Level(m = 48, n = 32) | Vector(n x 16, unroll m)": "registers",
    }.items():
        with pytest.raises(MlcError, match=re.escape(why)):
            lower(hand_made.gemm("M", "N", 9, weight=False), Schedule.parse(text), target=WIDE)
    lower(hand_made.gemm("M", "N", 9, weight=False), Schedule.parse("Level(m ~ 4096) | Scalar"), target=WIDE)


@pytest.mark.parametrize(
    "text", ["Level(r ~ 2) | Level(r = 2) | Scalar", "Level(c ~ 8) | Level(c = 4) | Vector(r x 8)"]
)
def test_a_part_of_a_tile_is_not_cut_again(text):
    """Its size is known in front of each tile only, and code for every size would be made in front of all."""
    kernel = transpose("R", "C")
    kernel.schedule = text
    kernel.finish()
    with pytest.raises(MlcError, match="is a partial tile already"):
        lowered(kernel.op, WIDE)


def test_plain_loops_have_no_names_to_tile_by():
    kernel = Kernel("plain", {"x": Buffer((4,))})
    kernel.return_()
    with pytest.raises(
        MlcError,
        match="kernel 'plain': Level.*: its loops have no names: it was written as plain loops\n  Write Scalar.",
    ):
        lower(kernel, Schedule.parse("Level(m = 4) | Scalar"), target=WIDE)


# The grammar -----------------------------------------------------------------------------------------------------------
def test_the_examples_of_the_docstring_are_schedules():
    examples = re.findall(r"GEMM:\s+(.*)", grammar.__doc__)
    assert len(examples) == 2
    for text in examples:
        assert str(Schedule.parse(text)) == text.replace("A, B -> workgroup", "A -> workgroup; B -> workgroup")


@given(schedules(hand_made.gemm(13, 20, 9), ["A", "B"]))
def test_a_schedule_as_text_parses_back_or_is_refused(plan):
    try:
        assert Schedule.parse(str(plan)) == plan
    except MlcError as refused:
        assert refused.message.startswith("schedule: ")


@given(st.text("LeveVctorSa ()|=~<;->,*/xmn123.parl", max_size=40) | st.text(max_size=20))
def test_any_other_text_is_refused(text):
    try:
        Schedule.parse(text)
    except MlcError as refused:
        assert refused.remedy


def test_spaces_are_free():
    loose = "Level( m=4 parallel,n  =  16 ;B->panel[ 1,0 ]ahead  4 )|Vector( n x 16 ,unroll m * n,interleave 2 )"
    tidy = "Level(m = 4 parallel, n = 16; B -> panel[1, 0] ahead 4) | Vector(n x 16, unroll m*n, interleave 2)"
    assert str(Schedule.parse(loose)) == tidy


# Targets are data ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Toy(CpuTarget):
    """A target whose partial tiles are guarded, that keeps nothing on the stack and has functions of its own."""

    lowering: ClassVar[Lowering] = Lowering(("panel",), ("parallel",), False, "guard", 0, "keep")


TOY = Toy("toy", "", lanes=8, registers=16)


@pytest.mark.parametrize(
    "text", ["Level(m = 4 parallel, n = 8) | Scalar", "Level(m = 4) | Level(n = 16) | Vector(n x 8, unroll n)"]
)
def test_a_target_may_guard_partial_tiles(text):
    """13 = 3 * 4 + 1 rows: the last tile is a view of run-time size, in the same code."""
    arrays = {name: floats(*shape) for name, shape in CASES["contraction"][1].items()}
    want = {**arrays, "D": np.zeros((13, 20), np.float32)}
    run_kernel(hand_made.gemm(13, 20, 9), want)
    kernel = hand_made.gemm(13, 20, 9)
    if "Vector" in text:
        with pytest.raises(MlcError, match="loop m ends inside a tile, and does not run across the lanes"):
            kernel.schedule = text
            kernel.finish()
            lowered(kernel.op, TOY)
        return
    done = lower(kernel, Schedule.parse(text), target=TOY)
    assert done.text().count("scf.for %m") < lower(
        hand_made.gemm(13, 20, 9), Schedule.parse(text), target=WIDE
    ).text().count("scf.for %m")
    run_kernel(done, arrays, races=True)
    np.testing.assert_allclose(arrays["D"], want["D"], rtol=1e-5, atol=1e-5)


def test_a_target_says_where_temporaries_live_and_who_writes_functions():
    done = lower(hand_made.softmax(4, 600, 1.0), Schedule((), Scalar()), target=TOY)
    assert "memref.alloca" not in done.text() and done.scratch and "math.exp" in done.text()
    done = lower(hand_made.softmax(4, 600, 1.0), Schedule((), Scalar()), target=WIDE)
    assert "memref.alloca" in done.text() and not done.scratch and "math.exp" not in done.text()

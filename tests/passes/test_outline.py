"""Kernels of groups whose loops are unusual: the program verifies and computes what the graph does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.func import FuncOp

import mlc
from mlc.ir import builder as g
from mlc.ir.interpreter import run
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.ir.samples import random_inputs
from mlc.ir.types import shape_of
from mlc.passes.kernel.outline import outline
from mlc.passes.manager import PassManager


def keeps_its_meaning(module: Module) -> None:
    program = outline(PassManager(["decompose", "expand-padding", "fuse"], verify_each=True).run(module))
    program.verify()
    inputs = random_inputs(module, {}, seed=1)
    for found, want in zip(run_program(program, inputs), run(module, inputs), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 0), (0, 3), (0, 0)])
def test_nothing_may_be_padded_and_joined(shape):
    m = g.module_builder("nothing")
    with m.function(inputs=[("x", shape, "f32"), ("y", shape, "f32")]) as (x, y):
        padded = g.pad(g.add(x, y), [1, 2], [3, 0], 2)
        m.outputs([("padded", padded), ("joined", g.concatenate([x, g.pad(y, [0, 1], [0, 0], 0)], 1))])
    keeps_its_meaning(m.finish())


def test_rows_may_be_read_backwards_only():
    m = g.module_builder("backwards")
    with m.function(inputs=[("x", (5,), "f32")]) as (x,):
        m.outputs([("y", g.softmax(g.reverse(x, [0]), 0))])
    keeps_its_meaning(m.finish())


@st.composite
def joined(draw: st.DrawFn) -> tuple[Module, list[np.ndarray], np.ndarray]:
    """Operands of any sizes joined along an axis, perhaps transposed or computed before and padded behind."""
    rank = draw(st.integers(1, 3))
    axis, count = draw(st.integers(0, rank - 1)), draw(st.integers(2, 3))
    sizes = draw(st.lists(st.sampled_from([1, 2, 5, 16, 17]), min_size=rank, max_size=rank))
    along = draw(st.lists(st.sampled_from([0, 1, 3, 16, 33]), min_size=count, max_size=count))
    shapes = [(*sizes[:axis], size, *sizes[axis + 1 :]) for size in along]
    declared: list[list[int | str]] = [list(shape) for shape in shapes]
    open_axes = draw(st.sets(st.integers(0, rank - 1)))
    for number, shape in enumerate(declared):
        for other in open_axes:
            shape[other] = f"P{number}" if other == axis else f"N{other}"
    edges = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank)] if draw(st.booleans()) else None
    order, doubled = draw(st.permutations(range(rank))), draw(st.booleans())
    m = g.module_builder("joined")
    with m.function(inputs=[(f"x{n}", shape, "f32") for n, shape in enumerate(declared)]) as xs:
        parts = [g.transpose(g.add(x, x) if doubled else x, order) for x in xs]
        y = g.concatenate(parts, order.index(axis))
        if edges:
            y = g.pad(y, [low for low, _ in edges], [high for _, high in edges], 3)
        m.outputs([("y", y)])
    arrays = [np.random.default_rng(n).standard_normal(shape).astype(np.float32) for n, shape in enumerate(shapes)]
    want = np.concatenate([np.transpose(x * 2 if doubled else x, order) for x in arrays], order.index(axis))
    return m.finish(), arrays, np.pad(want, edges, constant_values=3) if edges else want


@settings(max_examples=40)
@given(joined())
def test_pieces_are_written_to_their_places(case):
    module, arrays, want = case
    program = outline(PassManager(["fuse"], verify_each=True).run(module.clone()))
    program.verify()
    np.testing.assert_array_equal(run_program(program, arrays)[0], want)
    np.testing.assert_array_equal(mlc.compile(module, threads=2)(*arrays), want)


def test_a_border_may_be_as_wide_as_an_operand():
    m = g.module_builder("shift")
    with m.function(inputs=[("x", ("N", 5), "f32"), ("y", ("M", 5), "f32"), ("fill", (), "f32")]) as (x, y, fill):
        above = shape_of(y)[0]
        m.outputs([("z", g.pad(x, [above, 0], [1, 2], fill)), ("w", g.pad(x, [0, above], [0, above], 7))])
    module = m.finish()
    x, y, fill = np.arange(15, dtype=np.float32).reshape(3, 5), np.zeros((2, 5), np.float32), np.float32(4)
    wants = [np.pad(x, [(2, 1), (0, 2)], constant_values=4), np.pad(x, [(0, 0), (2, 2)], constant_values=7)]
    program = outline(PassManager(["fuse"], verify_each=True).run(module.clone()))
    program.verify()
    for found in (run_program(program, [x, y, fill]), mlc.compile(module)(x, y, fill)):
        for got, want in zip(found, wants, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("low", [0, 1])
def test_a_product_and_what_writes_it_into_a_border_stand_together(low: int) -> None:
    """What stands between two ops parts the tiles that they would share."""
    m = g.module_builder("padded")
    with m.function(inputs=[("x", (3, 5), "f32"), ("w", (5, 4), "f32")]) as (x, w):
        m.outputs([("y", g.pad(g.matmul(x, w), [low, 0], [2, 0], 0))])
    module = m.finish()
    keeps_its_meaning(module)
    program = outline(PassManager(["fuse"]).run(module))
    (kernel,) = [op for op in program.op.walk() if isinstance(op, FuncOp) and op.sym_name.data == "contraction_0"]
    names = [op.name for op in kernel.body.block.ops]
    first = names.index("linalg.generic")
    assert names[first : first + 3] == ["linalg.generic"] * 3 and "linalg.generic" not in names[first + 3 :]


def test_joining_at_a_place_known_at_run_time_is_vector_code_for_threads():
    m = g.module_builder("cache")
    with m.function(inputs=[("past", ("N", 12, "P", 64), "f32"), ("new", ("N", 12, "S", 64), "f32")]) as (past, new):
        m.outputs([("all", g.concatenate([past, new], 2))])
    executable = mlc.compile(m.finish())
    schedules = [kernel["schedule"] for kernel in executable.report["kernels"]]
    assert len(schedules) == 2 and all("parallel" in text and "Vector" in text for text in schedules)


def test_each_piece_of_a_padded_concatenation_is_copied_once_in_vectors():
    m = g.module_builder("skip")
    with m.function(inputs=[("x", (1, 24, 24, 32), "f32"), ("y", (1, 24, 24, 16), "f32")]) as (x, y):
        m.outputs([("z", g.pad(g.concatenate([x, y], 3), [0, 1, 1, 0], [0, 1, 1, 0], 0))])
    executable = mlc.compile(m.finish())
    schedules = [
        kernel["schedule"] for kernel in executable.report["kernels"] if not kernel["name"].startswith("border")
    ]
    assert len(schedules) == len(executable.plan.steps) - 1 == 2
    assert all("parallel" in schedule and "Vector" in schedule for schedule in schedules)

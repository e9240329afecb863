"""Fusion and outlining: groups are what a schedule can fuse, and every group's kernel computes what the graph says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.ir import Operation

import mlc
from mlc.ir import builder as g
from mlc.ir.graph.control import GroupOp
from mlc.ir.interpreter import run
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.kernel.program import CallOp
from mlc.ir.module import Module
from mlc.ir.samples import random_inputs
from mlc.passes.graph.fuse import Fuse, Fusion, Group
from mlc.passes.kernel.outline import outline
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import BEFORE_FUSION
from tests.ir.examples import EXAMPLES, Example
from tests.ir.test_graph_ops import check


def fused(module: Module) -> Module:
    module = module.clone()
    for kind in (*BEFORE_FUSION, Fuse):
        kind().run(module)
    module.verify()
    return module


def kinds(module: Module) -> list[str]:
    return [op.kind.data for op in module.main.body.block.ops if isinstance(op, GroupOp)]


def model(build: Callable[..., object], *specs: tuple[tuple[int | str, ...], str]) -> Module:
    m = g.module_builder()
    with m.function([(f"x{n}", shape, dtype) for n, (shape, dtype) in enumerate(specs)]) as values:
        found = build(*values)
        m.outputs([(f"y{n}", v) for n, v in enumerate(found if isinstance(found, tuple) else (found,))])  # type: ignore[arg-type]
    return m.finish()


def linear(x, w, b):  # type: ignore[no-untyped-def]
    y = g.matmul(x, w)
    return g.add(y, g.broadcast_to(b, g.shape_of(y)))


LAYER = ((("N", 8), "f32"), ((8, 6), "f32"), ((6,), "f32"))


def test_an_epilogue_joins_its_contraction() -> None:
    assert kinds(fused(model(lambda x, w, b: g.gelu(linear(x, w, b)), *LAYER))) == ["contraction"]


def test_a_view_that_is_memory_for_others_comes_behind_the_group_it_is_a_view_of() -> None:
    def build(x):  # type: ignore[no-untyped-def]
        square = g.mul(x, x)
        cubes, total = g.reduce(g.mul(square, x), [0], "sum"), g.reduce(x, [0], "sum")
        share = g.div(g.div(cubes, total), total)
        inverse = g.reciprocal(total)
        twice, less = g.mul(inverse, inverse), g.div(share, total)
        spread = g.broadcast(inverse, g.shape_of(x), [])
        return square, total, share, twice, less, spread, g.mul(x, spread)

    module, x = model(build, ((2,), "f64")), np.array([1.0, 3.0])
    check(run(fused(module), [x]), run(module, [x]))


def test_the_later_of_two_contractions_takes_their_sum() -> None:
    found = fused(model(lambda x, w, b: g.add(linear(x, w, b), g.matmul(x, w)), *LAYER))
    assert kinds(found) == ["contraction", "contraction"]
    first, second = (op for op in found.main.body.block.ops if isinstance(op, GroupOp))
    assert first.outputs[0] in second.inputs


def test_fuse_stops_at_a_value_that_is_used_outside() -> None:
    def build(x, w, b):  # type: ignore[no-untyped-def]
        y = linear(x, w, b)
        return g.relu(y), g.softmax(y)

    assert sorted(kinds(fused(model(build, *LAYER)))) == ["contraction", "elementwise", "rows"]


def update(p, gradient, mean, square):  # type: ignore[no-untyped-def]
    """A step of Adam: the parameter, and the means that it keeps."""

    def times(x, factor):  # type: ignore[no-untyped-def]
        return g.mul(x, g.full(g.shape_of(x), factor, "f32"))

    mean = g.add(times(mean, 0.9), times(gradient, 0.1))
    square = g.add(times(square, 0.99), times(g.mul(gradient, gradient), 0.01))
    return g.sub(p, g.div(mean, g.add(g.sqrt(square), g.full(g.shape_of(p), 1e-3, "f32")))), mean, square


@pytest.mark.parametrize("extent", ["N", 4099])
def test_what_a_program_gives_and_reads_is_written_once_by_the_kernel_that_reads_it(extent: int | str) -> None:
    m = g.module_builder()
    with m.function([(name, (extent,), "f32") for name in "pgms"]) as values:
        m.outputs(list(zip("xyz", update(*values), strict=True)), {"x": "p", "y": "m", "z": "s"})
    module = m.finish()
    assert kinds(fused(module)) == ["elementwise"]
    executable = mlc.compile(module, threads=2)
    assert len(executable.plan.steps) == 1
    for size in [0, 1, 67, 4099, 20011] if extent == "N" else [4099]:
        arrays = [np.random.default_rng(n).random(size, dtype=np.float32) for n in range(4)]
        p, gradient, mean, square = (a.astype(np.float64) for a in arrays)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        exact = [p - mean / (np.sqrt(square) + 1e-3), mean, square]
        check(executable(*arrays), [a.astype(np.float32) for a in exact], 1e-5)


def test_what_is_read_at_another_place_or_summed_is_written_by_another_kernel() -> None:
    def turned(x):  # type: ignore[no-untyped-def]
        y = g.exp(x)
        return y, g.add(y, g.neg(g.transpose(y, [1, 0])))

    def shared(x):  # type: ignore[no-untyped-def]
        y = g.exp(x)
        return y, g.neg(y), g.softmax(y)

    for build, count in ((turned, 2), (shared, 2)):
        module, x = model(build, ((5, 5), "f32")), np.random.default_rng(0).random((5, 5), dtype=np.float32)
        assert len(kinds(fused(module))) == count
        check(run_program(outline(fused(module)), [x]), run(module, [x]), 1e-5)


def test_softmax_and_layer_norm_are_one_kernel_each() -> None:
    assert kinds(fused(model(lambda x: g.softmax(x, 1), (("N", 9), "f32")))) == ["rows"]
    assert kinds(fused(model(lambda x: g.layer_norm(x, None, None, [1]), (("N", 9), "f32")))) == ["rows"]


def test_a_constant_border_is_written_in_place() -> None:
    def build(x, w):  # type: ignore[no-untyped-def]
        return g.pad(g.relu(g.matmul(x, w)), [1, 2], [0, 3], 0.5)

    module = model(build, *LAYER[:2])
    found = fused(module)
    assert kinds(found) == ["contraction"]
    assert [op.kernel for op in outline(found).main.walk() if isinstance(op, CallOp)] == ["border_0", "contraction_0"]
    arrays = [np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((4, 8), (8, 6))]
    check(run_program(outline(found), arrays), run(module, arrays), 1e-5)


def test_equal_groups_share_a_kernel() -> None:
    def build(x, w):  # type: ignore[no-untyped-def]
        return g.relu(g.matmul(g.relu(g.matmul(x, w)), w))

    program = outline(fused(model(build, (("N", 8), "f32"), ((8, 8), "f32"))))
    assert [op.kernel for op in program.main.walk() if isinstance(op, CallOp)] == ["contraction_0", "contraction_0"]


def test_equal_shapes_of_other_symbols_share_a_kernel() -> None:
    program = outline(fused(model(lambda x, y: (g.exp(x), g.exp(y)), (("N", 8), "f32"), (("M", 8), "f32"))))
    assert [op.kernel for op in program.main.walk() if isinstance(op, CallOp)] == ["elementwise_0", "elementwise_0"]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_program_computes_what_the_graph_says(example: Example) -> None:
    module, arrays = example.module(), example.arrays(2)
    want = run(module, arrays)
    found = fused(module)
    check(run(found, arrays), want, 1e-6)
    program = outline(found)
    program.verify()
    assert Module.parse(str(program), program.weights).text() == str(program)
    check(run_program(program, arrays), want, 1e-5)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_native_code_computes_what_the_graph_says(example: Example) -> None:
    module, arrays = example.module(), example.arrays(3)
    check(
        list(mlc.compile(module, threads=1).run(None, dict(zip(module.input_names, arrays, strict=True)))),
        run(module, arrays),
        1e-5,
    )


def test_the_number_of_channels_of_a_grouped_convolution_may_be_a_symbol() -> None:
    module = model(
        lambda x, w: g.convolution(x, w, "nc0,oc0->no0", padding=[(1, 1)], groups=2),
        ((2, 4, "H"), "f32"),
        (("M", 2, 3), "f32"),
    )
    executable, rng = mlc.compile(module), np.random.default_rng(0)
    for channels, height in ((2, 5), (6, 1), (0, 3), (4, 0)):
        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((2, 4, height), (channels, 2, 3))]
        check([executable(*arrays)], run(module, arrays), 1e-5)
    with pytest.raises(mlc.ShapeError, match="M must be a multiple of 2"):
        executable(np.zeros((2, 4, 5), np.float32), np.zeros((3, 2, 3), np.float32))


def test_a_value_that_a_gather_looks_up_stays_memory() -> None:
    def shifted(x, i):  # type: ignore[no-untyped-def]
        y = g.relu(x)
        return g.sub(y, g.gather(y, i, 0))

    module = model(shifted, ((5, "N"), "f32"), ((5,), "i64"))
    assert kinds(fused(module)) == ["elementwise", "elementwise"]
    x, i = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32), np.array([4, 0, 1, 1, -1])
    y = np.maximum(x, 0)
    np.testing.assert_array_equal(mlc.compile(module)(x, i), y - y[i])


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_line_that_is_wanted_whole_is_sorted(axis: int, largest: bool) -> None:
    """Equal elements in the order in which they come; NaN is the largest."""
    module = model(lambda x: g.top_k(x, g.shape_of(x)[axis], axis, largest), (("N", "M"), "f32"))
    program, native = outline(fused(module)), mlc.compile(module)
    for shape in ((0, 3), (1, 1), (2, 3), (17, 5), (4, 100)):
        x = np.random.default_rng(shape).integers(-9, 9, shape).astype(np.float32)
        x[x == 3] = np.nan
        keys = np.flip(x, axis) if largest else x
        order = np.argsort(keys, axis, kind="stable")
        order = shape[axis] - 1 - np.flip(order, axis) if largest else order
        for values, indices in (native(x), run_program(program, [x])):
            np.testing.assert_array_equal(indices, order)
            np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis))


def test_looking_for_far_readers_grows_with_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """n reductions whose results are read again at the end: whether such a reader may join is asked anew only when that may have changed, and
    no answer takes more than a look at FAR ops."""
    asked: list[Operation] = []
    obstacle = Fusion.obstacle

    def counted(fusion: Fusion, more: list[Operation], group: Group) -> Operation | None:
        asked.extend(more)
        return obstacle(fusion, more, group)

    monkeypatch.setattr(Fusion, "obstacle", counted)
    counts = []
    for length in (60, 120):
        asked.clear()
        m = g.module_builder("far")
        with m.function(inputs=[("x", (4, 4), "f32"), ("w", (4, 4), "f32")]) as (x, w):
            kept = []
            for _ in range(length):
                kept.append(g.sub(x, g.broadcast(g.mean(x, [1]), (4, 4), [0])))
                x = g.matmul(kept[-1], w)
            last = x
            for y in kept:
                x = g.add(x, g.mul(g.add(y, last), y))
            m.outputs([("y", x)])
        PassManager("decompose,simplify,fuse").run(m.finish())
        counts.append(len(asked))
    assert counts[1] <= 2 * counts[0] + 10 and counts[0] < 60 * 10


def test_a_reader_out_of_sight_is_left_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum at the end needs nothing between, but the way there is too long to tell: fused within sight, apart beyond."""

    def groups(sight: int) -> int:
        monkeypatch.setattr("mlc.passes.graph.fuse.FAR", sight)
        m = g.module_builder("sight")
        with m.function(inputs=[("x", (4, 4), "f32"), ("z", (4, 4), "f32")]) as (x, z):
            y = g.sub(x, g.broadcast(g.mean(x, [1]), (4, 4), [0]))
            for _ in range(40):
                z = g.cumulative(z, 0, "sum", False, False)
            m.outputs([("y", g.add(y, z))])
        fused = PassManager("decompose,simplify,fuse").run(m.finish())
        return sum(isinstance(op, GroupOp) for op in fused.main.walk())

    assert groups(1000) + 1 == groups(10)


@pytest.mark.parametrize("reshapes", [1, 2, 3])
def test_a_view_of_a_group_s_own_value_that_others_want_stands_behind_the_group(reshapes: int) -> None:
    """reduce, reshapes, x - x of them: one group; the reshapes are also outputs, and read what it gives."""

    def build(x):
        y = g.reduce(x, [0], "sum")
        for _ in range(reshapes):
            y = g.reshape(y, (1, 2, 3) if len(g.shape_of(y)) == 2 else (2, 3))
        return y, g.sub(g.exp(y), y)

    module = model(build, ((4, 2, 3), "f32"))
    made = fused(module)
    x = np.random.default_rng(0).random((4, 2, 3), np.float32)
    for got, want in zip(run(made, [x]), run(module, [x]), strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(run_program(outline(made), [x]), run(module, [x]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("several", [False, True])
def test_groups_that_wait_for_each_other_by_others_are_not_made(several: bool) -> None:
    """The first rows take what stands behind the mean of all; by the sum of the first it would wait for itself."""

    def f(x):  # type: ignore[no-untyped-def]
        if several:
            for _ in range(3):
                x = mlc.numpy.sin(x - x.mean(axis=0)) * x.sum() + x.std(axis=1, keepdims=True) * x.var()
            return (x * x.sum(axis=0)).sum()
        return x.std(axis=0).sum() * x.var()

    x = np.random.default_rng(0).normal(size=(5, 3))
    module = mlc.jit(mlc.grad(f)).trace(x).module
    found = PassManager("decompose,simplify,cse,dce,fuse").run(module.clone())
    np.testing.assert_allclose(found.run(x)[0], module.run(x)[0], rtol=1e-10)


def gates(product, c):  # type: ignore[no-untyped-def]
    """A cell of four gates that lie side by side in a product."""
    size = g.shape_of(c)[1]
    i, f, new, o = (g.slice_axis(product, 1, k * size, size) for k in range(4))
    after = g.add(g.mul(g.sigmoid(f), c), g.mul(g.sigmoid(i), g.tanh(new)))
    return g.mul(g.sigmoid(o), g.tanh(after)), after


def way_back(dh, dc, i, f):  # type: ignore[no-untyped-def]
    """Two gates' cotangents side by side, of what both need, and what the step before gets."""
    total = g.add(g.mul(dh, g.tanh(dc)), dc)
    both = [g.mul(total, g.sub(g.full_like(gate, 1), gate)) for gate in (i, f)]
    return g.concatenate(both, 1), g.mul(total, f)


@pytest.mark.parametrize("rows", ["N", 3])
@pytest.mark.parametrize("size", [1, 5, 32])
def test_a_cell_and_its_way_back_are_one_kernel_each(rows: int | str, size: int) -> None:
    state = ((rows, size), "f32")
    cell = model(gates, ((rows, 4 * size), "f32"), state)
    back = model(way_back, state, state, state, state)
    for module in (cell, back):
        assert kinds(fused(module)) == ["elementwise"]
        executables = [mlc.compile(module, threads=threads) for threads in (1, 2)]
        assert len(executables[0].plan.steps) == 1
        for batch in (0, 1, 2, 17) if rows == "N" else (3,):
            arrays = random_inputs(module, {"N": batch}, seed=batch)
            found, again = (executable(*arrays) for executable in executables)
            check(found, run(module, arrays), 1e-5)
            assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


@st.composite
def joined(draw: st.DrawFn) -> Module:
    """Element-wise ops over two inputs of one shape; some of them are results, some are put side by side, some are read turned round."""
    extent = st.sampled_from([0, 1, 2, 3, 7, "N"])
    shape = [draw(extent)] * 2 if draw(st.booleans()) else [draw(extent) for _ in range(draw(st.integers(1, 3)))]

    def build(*values):  # type: ignore[no-untyped-def]
        found = list(values)
        for _ in range(draw(st.integers(2, 9))):
            x, y = (draw(st.sampled_from(found[-5:])) for _ in range(2))
            match draw(st.sampled_from(["add", "mul", "tanh", "turned"])):
                case "tanh":
                    found.append(g.tanh(x))
                case "turned" if len(shape) == 2 and shape[0] == shape[1]:
                    found.append(g.add(x, g.transpose(y, [1, 0])))
                case name:
                    found.append((g.mul if name == "mul" else g.add)(x, y))
        axis = draw(st.integers(0, len(shape) - 1))
        pieces = [draw(st.sampled_from(found)) for _ in range(draw(st.integers(2, 4)))]
        return (
            g.concatenate(pieces, axis),
            found[-1],
            *draw(st.lists(st.sampled_from(found[2:]), max_size=2, unique=True)),
        )

    return model(build, (shape, "f32"), (shape, "f32"))  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(joined())
def test_joined_groups_compute_what_the_graph_says(module: Module) -> None:
    program = outline(fused(module))
    for size in (0, 1, 2, 5):
        arrays = random_inputs(module, {"N": size}, seed=size)
        check(run_program(program, arrays), run(module, arrays), 1e-5)

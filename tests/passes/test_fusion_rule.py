"""A group reads its values only where it writes them: every producer beside every view of its own result, with equal extents on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from xdsl.ir import SSAValue
from xdsl.rewriter import Rewriter

import mlc
from mlc.errors import InternalError
from mlc.ir import builder as g
from mlc.ir.graph.shape import TransposeOp
from mlc.ir.interpreter import run
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.ir.types import rank_of, shape_of
from mlc.passes.kernel.outline import outline
from mlc.passes.manager import PassManager
from tests.ir.test_graph_ops import check


def convolution(x: SSAValue, w: SSAValue, groups: int) -> SSAValue:
    """Of an image [1, n, n, n], channels last, with a kernel of 1x1."""
    n = shape_of(x)[0]
    image, kernel = g.reshape(g.broadcast(x, [n, n, n], [0, 1]), [1, n, n, n]), g.reshape(w, [1, 1, n, n])
    if groups != 1:
        kernel = g.slice_axis(kernel, 2, 0, 1)
    return g.reshape(g.convolution(image, kernel, "n01c,01co->n01o", groups=groups), [n, n, n])


def row_sums(x: SSAValue, axis: int) -> SSAValue:
    return g.broadcast(g.reduce(g.exp(x), [axis], "sum"), shape_of(x), [a for a in range(rank_of(x)) if a != axis])


PRODUCERS = {
    "product": lambda x, w: g.matmul(x, w),
    "batched product": lambda x, w: g.matmul(g.broadcast(x, [shape_of(x)[0], *shape_of(x)], [1, 2]), g.matmul(x, w)),
    "convolution": lambda x, w: convolution(x, w, 1),
    "depthwise": lambda x, w: convolution(x, w, shape_of(x)[0]),
    "pooling": lambda x, w: g.reduce_window(x, "max", [3, 3], [1, 1], [(1, 1), (1, 1)]),
    "exp": lambda x, w: g.exp(x),
    "softmax by hand": lambda x, w: g.div(g.exp(x), row_sums(x, 1)),
    "row sums": lambda x, w: g.add(row_sums(x, 1), x),
    "column sums": lambda x, w: g.sub(row_sums(x, 0), x),
    "cube": lambda x, w: row_sums(g.broadcast(x, [shape_of(x)[0], *shape_of(x)], [0, 2]), 2),
}


def first(a: SSAValue, axis: int) -> SSAValue:
    """a[:1] along an axis, repeated."""
    return g.broadcast_to(g.slice_axis(a, axis, 0, 1), shape_of(a))


def sums(a: SSAValue, axis: int, onto: int) -> SSAValue:
    """Sums over an axis, repeated along another: in a square the shapes agree."""
    left = [b for b in range(rank_of(a)) if b != onto]
    return g.broadcast(g.reduce(a, [axis % rank_of(a)], "sum"), shape_of(a), left)


VIEWS = {
    "transpose": lambda a: g.transpose(a, [*range(rank_of(a) - 2), rank_of(a) - 1, rank_of(a) - 2]),
    "turned axes": lambda a: g.transpose(a, [*range(1, rank_of(a)), 0]),
    "first row": lambda a: first(a, rank_of(a) - 2),
    "first column": lambda a: first(a, rank_of(a) - 1),
    "backwards": lambda a: g.reverse(a, [rank_of(a) - 1]),
    "sums of rows along columns": lambda a: sums(a, -1, rank_of(a) - 2),
    "sums of rows along rows": lambda a: sums(a, -1, rank_of(a) - 1),
    "sums of columns along rows": lambda a: sums(a, -2, rank_of(a) - 1),
    "sum of all": lambda a: g.broadcast(g.reduce(a, None, "sum"), shape_of(a), []),
}
COMBINE = {
    "add": lambda a, view: g.add(a, view(a)),
    "two branches": lambda a, view: g.add(g.relu(a), view(g.tanh(a))),
    "sums of products": lambda a, view: g.reduce(g.mul(a, view(a)), [rank_of(a) - 1], "sum"),
    "both ways": lambda a, view: g.mul(g.mul(a, view(a)), g.add(view(view(a)), a)),
}


def squares(size: int) -> list[np.ndarray]:
    """Two squares of positive numbers: no sum of theirs cancels."""
    return [np.random.default_rng(n).uniform(0.1, 0.6, (size, size)).astype(np.float32) for n in (0, 1)]


def module_of(producer: str, view: str, combine: str, shape: tuple) -> Module:
    m = g.module_builder()
    with m.function([("x", shape, "f32"), ("w", shape, "f32")]) as (x, w):
        m.outputs([("y", COMBINE[combine](PRODUCERS[producer](x, w), VIEWS[view]))])
    return m.finish()


@pytest.mark.parametrize("combine", COMBINE)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_a_value_and_a_view_of_it_are_read_where_they_are_written(producer: str, view: str, combine: str) -> None:
    number = [list(table).index(name) for table, name in ((PRODUCERS, producer), (VIEWS, view), (COMBINE, combine))]
    size = (1, 2, 7, 16, 24, 40)[sum(number) % 6] if producer != "cube" else (1, 2, 7, 16)[sum(number) % 4]
    module = module_of(producer, view, combine, (size, size))
    inputs = squares(size)
    want = run(module, inputs)
    fused = PassManager(["decompose", "expand-padding", "fuse"], verify_each=True).run(module)
    check(run_program(outline(fused), inputs), want, 1e-5)
    check([mlc.compile(module, threads=1 + size % 2)(*inputs)], want, 1e-5)


@pytest.mark.parametrize("producer", ["product", "softmax by hand", "pooling"])
def test_views_over_symbolic_squares_are_read_where_they_are_written(producer: str) -> None:
    for view in ("transpose", "first row", "sums of rows along columns"):
        module = module_of(producer, view, "two branches", ("N", "N"))
        executable = mlc.compile(module, threads=2)
        for size in (1, 5, 33):
            inputs = squares(size)
            check([executable(*inputs)], run(module, inputs), 1e-5)


GROUP = """
func.func @main(%x: tensor<4x4xf32>) -> tensor<4xf32> {
  %y = graph.group "rows" (%a = %x : tensor<4x4xf32>) -> tensor<4xf32> {
    %e = graph.exp %a : tensor<4x4xf32>
    %t = graph.neg %e : tensor<4x4xf32>
    %p = graph.mul %e, %t : tensor<4x4xf32>
    %s = graph.reduce %p "sum" {axes = array<i64: 1>} : tensor<4x4xf32> -> tensor<4xf32>
    graph.yield %s : tensor<4xf32>
  }
  func.return %y : tensor<4xf32>
}
"""


def test_a_group_that_reads_its_own_value_elsewhere_is_no_valid_ir_and_makes_no_kernel() -> None:
    module = Module.parse(GROUP)
    outline(module)
    (negated,) = [op for op in module.op.walk() if op.name == "graph.neg"]
    turned = TransposeOp(negated.operands[0], [1, 0])
    Rewriter.replace_op(negated, turned)
    with pytest.raises(mlc.MlcError, match="rows reads graph.exp at another place than where it is written"):
        module.verify()
    with pytest.raises(InternalError, match="reads its own f32"):
        outline(module)

"""Sums over ranks in NumPy source, which is of one rank: a sum is what it sums up."""

from __future__ import annotations

from mlc.codegen.python.numpy_expression import Expr
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, whole
from mlc.ir import dims
from mlc.ir.graph.collective import (
    AllReduceOp,
    AllReduceStartOp,
    AllReduceWaitOp,
    RankOp,
    ReplicateOp,
    bucket_places,
)
from mlc.ir.types import dtype_of, numpy_dtype, shape_of


@form(ReplicateOp, nested=True)
def _replicate(w: Writer, op: ReplicateOp) -> Expr:
    return w.operand(op.x)


@form(AllReduceOp)
def _all_reduce(w: Writer, op: AllReduceOp) -> None:
    for x, output in zip(op.xs, op.outputs, strict=True):
        w.assign(output, whole(output, w.array(x).text))


@form(RankOp)
def _rank(w: Writer, op: RankOp) -> Expr:
    return whole(op.result, "np.uint32(0)")


@form(AllReduceStartOp)
def _start(w: Writer, op: AllReduceStartOp) -> Expr:
    shapes = [shape_of(x) for x in op.xs]
    places, total = bucket_places(shapes)
    parts, dtype = [], numpy_dtype(dtype_of(op.flight))
    for x, shape, start, following in zip(op.xs, shapes, places, [*places[1:], total], strict=True):
        parts.append(f"{w.array(x).atom}.reshape(-1)")
        gap = following - start - dims.prod(list(shape))
        parts += [f"np.zeros({gap}, np.{dtype})"] if gap != 0 else []
    return whole(op.flight, f"np.concatenate([{', '.join(parts)}])")


@form(AllReduceWaitOp)
def _wait(w: Writer, op: AllReduceWaitOp) -> None:
    bucket, shapes = w.array(op.flight).atom, [shape_of(y) for y in op.outputs]
    for output, shape, start in zip(op.outputs, shapes, bucket_places(shapes)[0], strict=True):
        end = w.size(start + dims.prod(list(shape)))
        w.assign(output, whole(output, f"{bucket}[{start}:{end}].reshape({w.shape(shape)})"))

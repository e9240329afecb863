"""Jacobians and Hessians: one product with a row of the identity per step of a loop.

    jacobian(f)(x)[i, j] = d f(x)[i] / d x[j]

The function is traced and differentiated once, with a cotangent (or tangent) as an argument. What depends on it becomes the body of a scan
over the rows of the identity; everything else stands in front of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from itertools import accumulate
from typing import Any, Literal

from xdsl.ir import Block, Operation, SSAValue

from mlc.differentiation import Argnums, DifferentiatedCall, grad
from mlc.errors import DTypeError, MlcError
from mlc.frontends.trace.tensor import Tensor, symbolic
from mlc.frontends.trace.traced import name_of
from mlc.frontends.trace.traced_body import gives, staged, under_way
from mlc.frontends.trace.tracing import user_line
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import building, emit
from mlc.ir.graph.control import ScanOp, YieldOp
from mlc.ir.types import dtype_of, is_float, shape_of, tensor_type, type_text
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.bodies import at_end
from mlc.passes.autodiff.push import push

Mode = Literal["reverse", "forward"]


def jacobian(function: Callable[..., Any], argnums: Argnums = 0, mode: Mode = "reverse") -> Callable[..., Any]:
    """A function that gives the derivatives of each element of the result by each element of the argument `argnums`: tensors of the shape
    result.shape + argument.shape, in the structure of the result, and in it that of the argument (a tuple of those of several).

    mode   "reverse" takes one backward pass per element of the result, "forward" one pass per element of the argument
    """
    if mode not in ("reverse", "forward"):
        raise MlcError(f"jacobian: no mode {mode!r}", file=user_line(), remedy="Modes: reverse, forward.")

    @wraps(function)
    def derived(*args: Any, **kwargs: Any) -> Any:
        return staged(lambda given: compute(*given), name_of(function), (args, kwargs))

    def compute(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = DifferentiatedCall(function, args, kwargs, argnums)
        outs = gives(call.body)
        for y in outs:
            if not is_float(dtype_of(y)):
                raise DTypeError(
                    f"no Jacobian of {call.title}, which returns {type_text(tensor_type(y))}", file=user_line()
                )
        rows = _by_rows(call, outs) if mode == "reverse" else _by_columns(call, outs)
        found = [call.structured(row) for row in rows]
        return call.body.results.unflatten([row[0] if isinstance(argnums, int) else tuple(row) for row in found])

    return derived


def hessian(function: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that gives the second derivatives of one that returns a number, forward over reverse: as `jacobian` of its gradient."""
    return jacobian(grad(function, argnums), argnums, "forward")


Blocks = list[list[Tensor]]  # for each leaf of the result one tensor per leaf of the arguments


def _by_rows(call: DifferentiatedCall, outs: Sequence[SSAValue]) -> Blocks:
    seeds = [call.seed(y) for y in outs]
    gradients = call.pulled(list(zip(outs, seeds, strict=True)))
    stacked = _for_each_row(call, seeds, gradients)
    found = []
    for y, start in zip(outs, _starts(outs), strict=True):
        pieces = [g.slice_axis(rows, 0, start, dims.prod(shape_of(y))) for rows in stacked]
        shapes = [(*shape_of(y), *shape_of(x)) for x in call.sources]
        found.append([_tensor(g.reshape(piece, shape)) for piece, shape in zip(pieces, shapes, strict=True)])
    return found


def _by_columns(call: DifferentiatedCall, outs: Sequence[SSAValue]) -> Blocks:
    sources = call.sources
    seeds = [call.seed(x) for x in sources]
    block = call.body.block
    found = push(block, dict(zip(sources, seeds, strict=True)))
    with at_end(block):
        changes = [algebra.like(y, 0) if t is None else t for y, t in zip(outs, found, strict=True)]
    stacked = _for_each_row(call, seeds, changes)
    result: Blocks = []
    for y, rows in zip(outs, stacked, strict=True):
        result.append([])
        for x, start in zip(sources, _starts(sources), strict=True):
            piece = g.slice_axis(rows, 0, start, dims.prod(shape_of(x)))
            wide = g.reshape(piece, (*shape_of(x), *shape_of(y)))
            first = len(shape_of(x))
            order = [*range(first, first + len(shape_of(y))), *range(first)]
            result[-1].append(_tensor(g.transpose(wide, order)))
    return result


def _starts(values: Sequence[SSAValue]) -> list[Extent]:
    """Where the elements of each begin, all in one row."""
    sizes = [dims.prod(shape_of(v)) for v in values]
    return list(accumulate(sizes[:-1], initial=0)) if values else []


def _tensor(value: SSAValue) -> Tensor:
    return symbolic(value, under_way())


def _for_each_row(call: DifferentiatedCall, seeds: Sequence[SSAValue], results: Sequence[SSAValue]) -> list[SSAValue]:
    """The results, stacked, where all seeds together are one row of the identity after the other."""
    values: dict[SSAValue, SSAValue] = dict(zip(call.body.block.args, call.body.operands, strict=False))
    moving: set[SSAValue] = set(seeds)
    steps: list[Operation] = []
    for op in call.body.block.ops:
        if op is call.body.block.last_op:
            continue
        if any(x in moving for x in op.operands):
            moving.update(op.results)
            steps.append(op)
            continue
        copy = op.clone(value_mapper=values)
        copy.location = op.location
        values.update(zip(op.results, emit(copy), strict=True))
    read = dict.fromkeys(x for x in (*(x for op in steps for x in op.operands), *results) if x not in moving)
    count: Extent = 0
    for seed in seeds:
        count = count + dims.prod(shape_of(seed))
    rows = [_identity(seed, start, count) for seed, start in zip(seeds, _starts(seeds), strict=True)]
    body = Block(arg_types=[x.type for x in (*seeds, *read)])
    inner: dict[SSAValue, SSAValue] = dict(zip((*seeds, *read), body.args, strict=True))
    with building(body, steps=[count]):
        for op in steps:
            copy = op.clone(value_mapper=inner)
            copy.location = op.location
            inner.update(zip(op.results, emit(copy), strict=True))
        emit(YieldOp([inner[y] for y in results]))
    return list(emit(ScanOp([*rows, *(values[x] for x in read)], 0, len(rows), count, False, body)))


def _identity(seed: SSAValue, start: Extent, count: Extent) -> SSAValue:
    """Of each of `count` rows of the identity the elements from `start` on that belong to the seed."""
    size = dims.prod(shape_of(seed))
    row, column = (g.iota((count, size), axis, "i64") for axis in (0, 1))
    shifted = g.add(column, g.broadcast_to(g.dimension(start), (count, size)))
    return g.reshape(g.cast(g.eq(row, shifted), dtype_of(seed)), (count, *shape_of(seed)))

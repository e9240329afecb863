"""Cut long reductions into parts that a GPU takes side by side, and fold what the parts gave. The parts are fixed: a result has the same bits each time.

    sum(x: [3, 1000000])                -> sum(sum(reshape(x, [3, 200, 5000]), 2), 1)
    sum(x: [32, 56, 56, 64]) of pixels  -> sum(sum(x, 2), [0, 1])                                               where an axis ends anyway
    contract(x: [1, 4096], w: [4096, 512], "mk,kn->mn")
                                        -> sum(contract([1, 16, 256], [16, 256, 512], "mpk,pkn->pmn"), 0)       split-k
    cumulative(x: [100000])             -> the same of each part, and before it the running total of the parts
    nonzero(flags: [100000])            -> with the number of flags before each part

For machines that have more threads than one reduction has results. Extents that only the run knows are cut where that needs no remainder.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, isqrt, prod
from operator import mul
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import emit
from mlc.ir.graph.counted import PART, NonZeroOp
from mlc.ir.graph.elementwise import apply
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.reduce import CumulativeOp, ReduceOp, identity
from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_half, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.rewrite import rewrite, rule
from mlc.passes.kernel.rules.by_target import AT_HAND, target_of

# Threads that keep a multiprocessor busy with sums along columns, and blocks with sums along memory
THREADS, BLOCKS = 1024, 4
ROW = 1 << 16  # elements along memory, up to which one block is as fast as several
STEPS = 64  # of a thread one after the other, up to which they are not worth another launch
LEAST = {"row": 4096, "column": 16, "vector": 64, "product": 128}  # elements of a part
LINE = 256  # steps of a running total that one thread takes
FOLDS = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "and": "logical_and", "or": "logical_or"}


@dataclass(frozen=True)
class SplitReductions(Pass):
    """Cut reductions of more steps than results into parts, for the GPU `target`."""

    name: ClassVar[str] = "split-reductions"
    target: str = AT_HAND

    def run(self, module: Module) -> None:
        target = target_of(self.target)
        if isinstance(target, CudaTarget):
            sms = target.sms

            @rule(ReduceOp)
            def reduce(op: ReduceOp, module: Module) -> SSAValue | None:
                return split_reduce(op, sms)

            @rule(ContractOp)
            def contract(op: ContractOp, module: Module) -> SSAValue | None:
                return split_contract(op, sms)

            @rule(CumulativeOp)
            def cumulative(op: CumulativeOp, module: Module) -> SSAValue | None:
                return split_cumulative(op)

            @rule(NonZeroOp)
            def nonzero(op: NonZeroOp, module: Module) -> Sequence[SSAValue] | None:
                return counted_by_parts(op)

            rewrite(module, [reduce, contract, cumulative, nonzero])


def split_reduce(op: ReduceOp, sms: int) -> SSAValue | None:
    x, axes, kind = op.x, list(op.axes.get_values()), op.kind.data
    shape, dtype = shape_of(x), dtype_of(x)
    sizes = [extent for extent in shape if isinstance(extent, int)]
    if len(sizes) != len(shape) or not axes or 0 in sizes:
        return None
    first, last = axes[0], axes[-1]
    before, behind = prod(sizes[:first]), prod(sizes[last + 1 :])
    kept = prod(size for axis, size in enumerate(sizes) if axis not in axes)
    count = prod(sizes[axis] for axis in axes)
    if behind == 1 and (count < ROW or kept >= sms) or behind > 1 and (count <= STEPS or kept >= sms * THREADS // 2):
        return None
    least = LEAST["row" if behind == 1 else "column"]
    parts = min(ceil(sms * (BLOCKS if behind == 1 else THREADS) / kept), count // least)
    if parts < 2:
        return None
    if is_half(dtype):  # what the parts give is not rounded
        return g.cast(g.reduce(g.cast(x, "f32"), axes, kind), dtype)
    if axes != list(range(first, last + 1)):
        inner = next(axis for axis in reversed(axes) if axis - 1 not in axes)
        return g.reduce(
            g.reduce(x, [axis for axis in axes if axis >= inner], kind), [a for a in axes if a < inner], kind
        )
    for axis, outer in zip(axes[:-1], accumulate(sizes[first:last], mul), strict=True):
        if 4 * outer >= parts and count // outer >= least:  # an axis ends there
            return g.reduce(g.reduce(x, list(range(axis + 1, last + 1)), kind), list(range(first, axis + 1)), kind)
    line = g.reshape(x, [before, count, behind])
    cut = max(divisor for divisor in range(1, parts + 1) if count % divisor == 0)
    cut = cut if 4 * cut >= parts else parts
    length = count // cut
    whole = g.reshape(g.slice_axis(line, 1, 0, cut * length), [before, cut, length, behind])
    found = g.reduce(g.reduce(whole, [2], kind), [1], kind)
    if rest := count - cut * length:
        found = apply(FOLDS[kind], found, g.reduce(g.slice_axis(line, 1, cut * length, rest), [1], kind))
    return g.reshape(found, shape_of(op.result))


def split_contract(op: ContractOp, sms: int) -> SSAValue | None:
    """Products of few elements with long sums: each part of the sum is a product of its own."""
    lhs, rhs, out = labels(op.spec.data)
    extents = dict(zip(lhs + rhs, shape_of(op.lhs) + shape_of(op.rhs), strict=True))
    sizes = {name: extent for name, extent in extents.items() if isinstance(extent, int)}
    summed = [name for name in lhs if name in rhs and name not in out]
    if len(sizes) != len(extents) or 0 in sizes.values() or is_half(dtype_of(op.lhs)) or not summed:
        return None
    if any(name not in out and name not in summed for name in sizes):
        return None
    rows, columns = (prod(sizes[n] for n in mine if n not in other) for mine, other in ((lhs, rhs), (rhs, lhs)))
    batch, depth = prod(sizes[n] for n in lhs if n in rhs and n in out), prod(sizes[n] for n in summed)
    if rows == 1 or columns == 1:
        matrix = rhs if rows == 1 else lhs
        if matrix[-1] in summed:  # a warp takes a row of it
            return None
        blocks, wanted, least = batch * ceil(max(rows, columns) / 128), 8 * sms, LEAST["vector"]
    else:
        blocks, wanted, least = batch * ceil(rows / 32) * ceil(columns / 32), sms, LEAST["product"]
    if 4 * blocks > wanted or depth < 4 * least:
        return None
    name = max(summed, key=lambda n: sizes[n])
    parts = min(ceil(wanted / blocks), depth // least)
    cuts = [cut for cut in range(2, parts + 1) if sizes[name] % cut == 0]
    if not cuts:
        return None
    cut = max(cuts, key=lambda cut: (sizes[name] // cut % 4 == 0, cut))  # rows of whole groups of 16 bytes
    part = next(letter for letter in string.ascii_letters if letter not in extents)

    def cut_up(value: SSAValue, mine: str) -> tuple[SSAValue, str]:
        shape = [e for n in mine for e in ([cut, sizes[n] // cut] if n == name else [sizes[n]])]
        return g.reshape(value, shape), mine.replace(name, part + name)

    (x, left), (y, right) = cut_up(op.lhs, lhs), cut_up(op.rhs, rhs)
    return g.reduce(g.contract(x, y, f"{left},{right}->{part}{out}"), [0], "sum")


def split_cumulative(op: CumulativeOp) -> SSAValue | None:
    """In parts as long as there are parts, as far as that is known, and else once; f16 and bf16 totals stay f32."""
    x, axis, kind = op.x, op.axis.value.data, op.kind.data
    exclusive, reverse = bool(op.exclusive.value.data), bool(op.reverse.value.data)
    extent, dtype = shape_of(x)[axis], dtype_of(x)
    if extent <= LINE if isinstance(extent, int) else "//" in str(extent):  # a number of parts
        return None
    if is_half(dtype):
        return g.cast(g.cumulative(g.cast(x, "f32"), axis, kind, exclusive, reverse), dtype)
    return running_totals(x, axis, kind, exclusive, reverse)


def running_totals(x: SSAValue, axis: int, kind: str, exclusive: bool, reverse: bool) -> SSAValue:
    shape, dtype = shape_of(x), dtype_of(x)
    extent = shape[axis]
    length = min(LINE, isqrt(extent - 1) + 1) if isinstance(extent, int) else LINE
    parts = dims.floordiv(extent + (length - 1), length)
    more: list[Extent] = [parts * length - extent if a == axis else 0 for a in range(len(shape))]
    padded = g.pad(x, [0] * len(shape), more, identity(kind, dtype))
    lines = g.reshape(padded, [*shape[:axis], parts, length, *shape[axis + 1 :]])
    inside = g.cumulative(lines, axis + 1, kind, exclusive, reverse)
    before = g.cumulative(g.reduce(lines, [axis + 1], kind), axis, kind, exclusive=True, reverse=reverse)
    spread = g.broadcast(before, shape_of(lines), [a for a in range(len(shape) + 1) if a != axis + 1])
    return g.slice_axis(g.reshape(apply(FOLDS[kind], spread, inside), shape_of(padded)), axis, 0, extent)


def counted_by_parts(op: NonZeroOp) -> Sequence[SSAValue] | None:
    (extent,) = shape_of(op.flags)
    if op.before is not None or isinstance(extent, int) and extent <= PART:
        return None
    parts = dims.floordiv(extent + (PART - 1), PART)
    flags = g.pad(g.cast(op.flags, "i64"), [0], [parts * PART - extent], 0)
    counts = g.reduce(g.reshape(flags, [parts, PART]), [1], "sum")
    before = running_totals(g.pad(counts, [0], [1], 0), 0, "sum", exclusive=True, reverse=False)
    return emit(NonZeroOp(op.flags, before))

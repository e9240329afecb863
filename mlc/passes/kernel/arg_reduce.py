"""The position of an extreme, as a structured op whose body looks at the best element so far.

acc[d] = better(x[d, c], x[d, acc[d]]) ? c : acc[d]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.reduce import ArgReduceOp
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Body
from mlc.ir.types import is_float, shape_of
from mlc.passes.kernel.draft import Context, DraftOp, Memory
from mlc.passes.kernel.scalar_expression import index, place


def arg_reduce(
    op: ArgReduceOp, memory: Mapping[SSAValue, Memory], axes: Sequence[str], folded: Mapping[str, Extent], acc: Memory
) -> DraftOp:
    """acc[d] = the position of the best element so far."""
    x, axis = memory[op.x], op.axis.value.data
    x.pinned = True
    loops = {**dict(zip(axes, shape_of(op.result), strict=True)), **folded}
    (run,) = folded

    def body(context: Context, b: Body, inputs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
        kept = [place(context, b, Affine({n: 1})) for n in axes]
        before = b.insert(arith.IndexCastOp(out, index)).result
        load = lambda at: b.insert(memref.LoadOp.get(context.values[x], [*kept[:axis], at, *kept[axis:]])).results[0]
        better = _better(b, x.dtype, op.kind.data, inputs[0], load(before), bool(op.last.value.data))
        now = b.insert(arith.IndexCastOp(place(context, b, Affine({run: 1})), i64)).result
        return scalar.select(b, better, now, out)

    at = tuple(Affine({n: 1}) for n in axes)
    along = (*at[:axis], Affine({run: 1}), *at[axis:])
    return DraftOp(loops, [(x, along)], (acc, at), body, set(folded), set(loops))


def _better(b: Body, dtype: str, kind: str, candidate: SSAValue, best: SSAValue, ties: bool) -> SSAValue:
    """Does the candidate replace the best so far? A NaN beats every number, and the first NaN stays."""
    greater = ("oge", "sge", "uge") if ties else ("ogt", "sgt", "ugt")
    less = ("ole", "sle", "ule") if ties else ("olt", "slt", "ult")
    found = scalar.compare(*(greater if kind == "max" else less))(b, dtype, candidate, best)
    if not is_float(dtype):
        return found
    nan, had = scalar.is_nan(b, dtype, candidate), scalar.is_nan(b, dtype, best)
    fresh = nan if ties else b.insert(arith.AndIOp(nan, scalar.invert(b, "bool", had))).result
    return b.insert(arith.OrIOp(found, fresh)).result

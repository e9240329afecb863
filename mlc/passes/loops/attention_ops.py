"""Attention among the ops of a kernel: those that mlc/passes/kernel/online_draft.py writes, cut into tiles of rows or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import FloatAttr
from xdsl.dialects.linalg.ops import GenericOp, IndexOp
from xdsl.ir import SSAValue

from mlc.ir.dims import Extent
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Kernel, loops_of
from mlc.passes.loops.tensor_core_leaf import multiplies
from mlc.passes.loops.tile import reduced
from mlc.passes.loops.tile_view import accesses

SGE = arith.CMPI_COMPARISON_OPERATIONS.index("sge")


@dataclass(frozen=True)
class Operand:
    """A buffer, or the tile of one, and where an op stands in it."""

    value: SSAValue
    access: tuple[Affine, ...]


@dataclass(frozen=True)
class AttentionOps:
    """The ops, and the loops of queries (m), keys (t), sizes of queries and keys (d) and of values (e); other loops have no sum."""

    acc: GenericOp
    masked: GenericOp
    mixed: GenericOp
    result: GenericOp
    m: str
    t: str
    d: str
    e: str

    @staticmethod
    def of(kernel: Kernel, ops: Sequence[GenericOp]) -> AttentionOps | None:
        """None for the ops of any other kernel."""
        if len(ops) != 11:
            return None
        _, acc, masked, _, top, p, _, sum, _, mixed, result = ops
        root = kernel.root_of
        made = [root(op.outputs[0]) for op in (acc, masked, top, p, sum, mixed)]
        read = [(masked, 0, acc), (top, 0, masked), (p, 0, masked), (p, 1, top), (sum, 0, p), (mixed, 0, p)]
        read += [(result, 0, mixed), (result, 1, sum)]
        if len({*made}) < len(made) or any(
            len(op.inputs) <= n or root(op.inputs[n]) is not root(of.outputs[0]) for op, n, of in read
        ):
            return None
        bodies = [[inner.name for inner in op.body.block.ops][:-1] for op in (top, p, sum)]
        if bodies != [["arith.maximumf"], ["arith.subf", "math.exp"], ["arith.addf"]]:
            return None
        if not all(multiplies(op) and len(op.inputs) == 2 and len(reduced(op)) == 1 for op in (acc, mixed)):
            return None
        (d,), (t,) = reduced(acc), reduced(mixed)
        if reduced(top) != {t} or reduced(sum) != {t} or reduced(masked) or reduced(p) or reduced(result):
            return None
        inner = [name for name in loops_of(mixed) if name not in loops_of(top)]
        along = [{n for form in access for n in form.terms} for access in accesses(acc)[:2]]
        rows = [name for name in loops_of(acc) if name not in (t, d) and name in along[0] and name not in along[1]]
        if len(inner) != 1 or not rows:
            return None
        return AttentionOps(acc, masked, mixed, result, rows[-1], t, d, inner[0])

    @property
    def outer(self) -> list[str]:
        """The loops of batches and heads."""
        return [name for name in loops_of(self.result) if name not in (self.m, self.e)]

    def extent(self, loop: str) -> Extent:
        return next(loops[loop] for op in (self.acc, self.mixed) if loop in (loops := loops_of(op)))

    @property
    def q(self) -> Operand:
        return Operand(self.acc.inputs[0], accesses(self.acc)[0])

    @property
    def k(self) -> Operand:
        return Operand(self.acc.inputs[1], accesses(self.acc)[1])

    @property
    def v(self) -> Operand:
        return Operand(self.mixed.inputs[1], accesses(self.mixed)[1])

    def causal(self) -> SSAValue | int | None:
        """Where no query of these rows sees keys behind its own place: the place of the first row. None where masks say otherwise, or in another
        way."""
        last = self.masked.body.block.last_op
        assert last is not None
        choice = last.operands[0].owner
        if not isinstance(choice, arith.SelectOp) or not isinstance(test := choice.cond.owner, arith.CmpiOp):
            return None
        other = choice.rhs.owner
        if not isinstance(other, arith.ConstantOp) or not isinstance(other.value, FloatAttr):
            return None
        if other.value.value.data != float("-inf") or test.predicate.value.data != SGE:
            return None
        row: SSAValue = test.lhs
        first: SSAValue | int = 0
        if isinstance(place := row.owner, arith.AddiOp):
            row, first = place.lhs, place.rhs
        names = list(loops_of(self.masked))
        asked = [names[v.owner.dim.value.data] if isinstance(v.owner, IndexOp) else None for v in (row, test.rhs)]
        return first if asked == [self.m, self.t] else None

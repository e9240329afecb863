"""Results that begin with an argument, as the keys and values of a decoder do, say so, and grow at their end in memory.

    func.func @main(%past: [N, H, P, D], ...) -> (%present: [N, H, P + 1, D])       %present = concatenate(%past, %new) along axis 2
->  func.func @main(%past: [P, N, H, D], ...) -> (%present: [P + 1, N, H, D] {graph.front = "past"})

The axis that grows comes first in both, so that the new rows lie behind the old ones. Whoever calls with state then copies nothing that was
there (mlc/runtime/state.py); a call that gives the argument copies it once, as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, StringAttr
from xdsl.ir import BlockArgument, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.errors import MlcError
from mlc.ir.alias import ALIAS, FRONT, names_of
from mlc.ir.graph.base import building
from mlc.ir.graph.parts import ConcatenateOp, concatenate
from mlc.ir.graph.shape import transpose
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, rank_of, shape_of, tensor
from mlc.passes.base import Pass
from mlc.passes.graph.rewrite import before
from mlc.passes.graph.weights_to_arguments import chosen
from mlc.passes.stages import Stage


@dataclass(frozen=True)
class GrowInPlace(Pass):
    """Have `results` that begin with an argument grow in its memory, as in `present.*`; the axis that grows comes first in both."""

    name: ClassVar[str] = "grow-in-place"
    takes: ClassVar[tuple[Stage, ...]] = ("graph",)
    results: str = "*"

    def run(self, module: Module) -> None:
        main, names = module.main, module.output_names
        last = main.body.block.last_op
        assert last is not None
        rows = [dict(row.data) for row in main.res_attrs.data] if main.res_attrs else []
        rows = rows or [{"graph.name": StringAttr(name)} for name in names]
        inputs = names_of(main.arg_attrs, len(main.args), "input")
        taken = {row[key].data for row in rows for key in (ALIAS, FRONT) if key in row}  # type: ignore[attr-defined]
        found = {}
        for number, value in enumerate(last.operands):
            op = value.owner
            begins = isinstance(op, ConcatenateOp) and isinstance(op.xs[0], BlockArgument)
            if begins and inputs[op.xs[0].index] not in taken and not {ALIAS, FRONT} & rows[number].keys():  # type: ignore[union-attr]
                taken.add(inputs[op.xs[0].index])  # type: ignore[union-attr]
                found[names[number]] = number
        wanted = list(found) if self.results == "*" else chosen(self.results, names, "result")
        for name in wanted:
            if name not in found:
                raise MlcError(
                    f"{self.name}: the result '{name}' does not begin with an argument",
                    remedy=f"Results that do: {', '.join(found) or 'none'}.",
                )
            number = found[name]
            op = last.operands[number].owner
            assert isinstance(op, ConcatenateOp)
            argument = op.xs[0]
            assert isinstance(argument, BlockArgument)
            rows[number][FRONT] = StringAttr(inputs[argument.index])
            if op.axis.value.data:
                last.operands[number] = _axis_first(module, op, argument)
        main.properties["res_attrs"] = ArrayAttr([DictionaryAttr(row) for row in rows])
        main.update_function_type()


def _axis_first(module: Module, op: ConcatenateOp, argument: BlockArgument) -> SSAValue:
    """The same concatenation along the first axis; the argument takes the new order, every other reader sees the old one."""
    axis, rank = op.axis.value.data, rank_of(op.result)
    order = [axis, *(a for a in range(rank) if a != axis)]
    back = [order.index(a) for a in range(rank)]
    block, shape = argument.owner, shape_of(argument)
    new = block.insert_arg(tensor([shape[a] for a in order], dtype_of(argument)), argument.index)
    new.name_hint = argument.name_hint
    with building(Builder(InsertPoint.at_start(block)), module.checks):
        seen = transpose(new, back)
    argument.replace_all_uses_with(seen)
    block.erase_arg(argument)
    with before(op, module):
        joined = concatenate([new, *(transpose(x, order) for x in op.xs[1:])], 0)
        whole = transpose(joined, back)
    op.result.replace_all_uses_with(whole)
    op.detach()
    op.erase()
    return joined

"""Weights as arguments of @main, and back: what a run shall be able to change, and what an export shall carry.

    func.func @main(%x) { %w = graph.weight @fc.weight; ... }    <->    func.func @main(%x, %fc.weight {graph.name = "fc.weight"}) { ... }

In front of fold, so that nothing is computed from a weight that is going to change. The numbers stay in the weight store.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.errors import MlcError
from mlc.ir.alias import ALIAS
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.control import ControlOp
from mlc.ir.module import Module
from mlc.ir.spelling import nearest
from mlc.ir.types import dtype_of, is_static, shape_of, tensor_type, type_text
from mlc.passes.base import Pass
from mlc.passes.stages import Stage


@dataclass(frozen=True)
class WeightsToArguments(Pass):
    """Make arguments of the `weights` whose keys fit a pattern, as in `fc.*;conv1.weight`; a semicolon parts several."""

    name: ClassVar[str] = "weights-to-arguments"
    takes: ClassVar[tuple[Stage, ...]] = ("graph",)
    weights: str = "*"

    def run(self, module: Module) -> None:
        uses: dict[str, list[WeightOp]] = {}
        for op in module.main.walk():
            if isinstance(op, WeightOp):
                uses.setdefault(op.weight_key, []).append(op)
        wanted = chosen(self.weights, list(uses), "weight")
        taken = set(module.input_names)
        if clash := [key for key in wanted if key in taken]:
            raise MlcError(f"{self.name}: there is an input '{clash[0]}' already", remedy="Leave this weight out.")
        block, rows = module.main.body.block, _rows(module)
        for key in wanted:
            argument = block.insert_arg(uses[key][0].result.type, len(block.args))
            argument.name_hint = key if key.isidentifier() and key.isascii() else None
            for op in uses[key]:
                Rewriter.replace_op(op, [], [_visible(argument, op)])
        _describe(module.main, [*rows, *(DictionaryAttr({"graph.name": StringAttr(key)}) for key in wanted)])


@dataclass(frozen=True)
class ArgumentsToWeights(Pass):
    """Make weights of the `arguments` whose names fit a pattern; the numbers are those that the weight store has under these names."""

    name: ClassVar[str] = "arguments-to-weights"
    takes: ClassVar[tuple[Stage, ...]] = ("graph",)
    arguments: str = "*"

    def run(self, module: Module) -> None:
        names, main = module.input_names, module.main
        known = [name for name in names if name in module.weights]
        wanted = set(known if self.arguments == "*" else chosen(self.arguments, names, "input"))
        updated = {argument: result for result, argument in module.aliases.items()}
        block, rows = main.body.block, _rows(module)
        for number, (name, argument) in enumerate(zip(names, list(block.args), strict=True)):
            if name not in wanted:
                continue
            if number in updated:
                raise MlcError(
                    f"{self.name}: the result '{module.output_names[updated[number]]}' lives in the input '{name}', and weights are never written",
                    remedy=f"Take {ALIAS} off the result, or the result off the module.",
                )
            if name not in module.weights:
                raise MlcError(
                    f"{self.name}: the weight store has nothing for the input '{name}'",
                    remedy=f"Weights: {', '.join(module.weights) or 'none'}.",
                )
            shape, dtype = module.weights.type_of(name)
            if shape_of(argument) != shape or dtype_of(argument) != dtype:
                raise MlcError(
                    f"{self.name}: the input '{name}' is {type_text(tensor_type(argument))}, the weight {dtype}{list(shape)}"
                )
            assert is_static(shape_of(argument))
            weight = WeightOp(name, shape, dtype)
            first = block.first_op
            assert first is not None
            Rewriter.insert_op(weight, InsertPoint.before(first))
            argument.replace_all_uses_with(weight.result)
            block.erase_arg(argument)
        _describe(main, [row for name, row in zip(names, rows, strict=True) if name not in wanted])


def chosen(patterns: str, names: list[str], what: str) -> list[str]:
    """The names that fit one of the patterns, in order. Raises MlcError for a pattern that none fits."""
    split = [pattern.strip() for pattern in patterns.split(";") if pattern.strip()]
    for pattern in split:
        if not any(fnmatchcase(name, pattern) for name in names) and pattern != "*":
            near = nearest(pattern, names)
            raise MlcError(
                f"there is no {what} '{pattern}'",
                remedy=f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(names[:12]) or 'none'}.",
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in split)]


def _visible(value: SSAValue, op: Operation) -> SSAValue:
    """An argument of @main as an op sees it: in the body of a loop or branch as a constant of that."""
    parent = op.parent_op()
    if not isinstance(parent, ControlOp):
        return value
    outer = _visible(value, parent)
    inside = op.parent
    assert inside is not None
    if outer not in parent.constants:
        parent.add_constant(outer)
    return parent.inside(inside)[parent.constants.index(outer)]


def _rows(module: Module) -> list[DictionaryAttr]:
    """What @main says of its arguments."""
    attrs = module.main.arg_attrs
    return list(attrs.data) if attrs else [DictionaryAttr({"graph.name": StringAttr(n)}) for n in module.input_names]


def _describe(main: FuncOp, rows: list[DictionaryAttr]) -> None:
    main.properties["arg_attrs"] = ArrayAttr(rows)
    main.update_function_type()

"""Write a module's ops into the function being traced, in place of a call: imported models and derivatives become parts of other functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xdsl.dialects.builtin import SymbolRefAttr
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue

from mlc.errors import ShapeError, UnsupportedOp
from mlc.frontends.trace.functions.promotion import value
from mlc.frontends.trace.tensor import Tensor, symbolic, value_in
from mlc.frontends.trace.tracing import current_trace, user_line
from mlc.ir import builder as g
from mlc.ir.graph.base import emit, location_name
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.module import Module
from mlc.ir.types import tensor_type, type_text


def inline(module: Module, inputs: Sequence[Any]) -> list[Tensor]:
    """The outputs of a module for symbolic inputs, in order. Its weights become weights of the module that is traced.

    Raises ShapeError for an input of another type than the module takes, UnsupportedOp for a module in which data decides sizes.
    """
    trace = current_trace()
    assert trace is not None
    if module.counted:
        first = next(op for op in module.main.body.block.ops if isinstance(op, PrefixOp))
        raise UnsupportedOp(
            f"how many elements '{location_name(first) or first.symbol.data}' gives is counted when it runs, and a traced function has no such sizes",
            file=user_line(),
        )
    known: dict[SSAValue, SSAValue] = {}
    for name, argument, given in zip(module.input_names, module.main.args, inputs, strict=True):
        found = value(value_in(trace, given))
        if found.type != argument.type:
            taken, have = (type_text(tensor_type(v)) for v in (argument, found))
            raise ShapeError(f"{name}: the module takes {taken}, and is given {have}", file=user_line())
        known[argument] = found
    keys: dict[str, str] = {}
    for check in module.checks:
        g.require(check)
    for op in module.main.body.block.ops:
        if isinstance(op, ReturnOp):
            return [symbolic(known[y], trace) for y in op.operands]
        copy = op.clone(known)
        copy.location = op.location
        _move_weights(copy, module, keys)
        emit(copy)
    raise AssertionError("a function without an end")


def _move_weights(op: Operation, module: Module, keys: dict[str, str]) -> None:
    """Have the op, and those in its bodies, name weights as the module under construction does."""
    for each in op.walk():
        if isinstance(each, WeightOp):
            key = each.weight_key
            if key not in keys:
                keys[key] = g.shared_weight(module.weights, key)
            each.properties["key"] = SymbolRefAttr(keys[key])

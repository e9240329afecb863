"""Put other extents in the place of those of a module: wherever a type or an attribute states one.

    %y = graph.slice %x ... -> tensor<"min(64, S)" x f32>      with S <= 64
->  %y = graph.slice %x ... -> tensor<S x f32>
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from xdsl.dialects.builtin import StringAttr, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.constants import ConstantOp, DimensionOp
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.module import Module
from mlc.ir.types import DimsAttr, dtype_of_type, extent, shape_of_type, tensor


def put(module: Module, new: Callable[[Extent], Extent]) -> bool:
    """Rewrite the extents of a graph in place: each becomes `new` of it. Bounds and checks of the module stay as they are.

    Whether one became a number: who builds a graph may ask for other ops then. The module verifies afterwards where `new` gives the extents
    that type rules make of new ones, as it does where it replaces symbols.
    """
    substitution = _Substitution(new)
    for op in list(module.op.walk()):
        substitution.put(op)
    for op in module.op.ops:
        if isinstance(op, FuncOp):
            op.update_function_type()
    return substitution.numbers


class _Substitution:
    def __init__(self, new: Callable[[Extent], Extent]):
        self.new = cache(new)
        self.type = cache(self._type)  # a model has few types, of many values
        self.numbers = False

    def put(self, op: Operation) -> None:
        for block in (block for region in op.regions for block in region.blocks):
            self.retype(block.args)
        self.retype(op.results)
        for table in (op.properties, op.attributes):  # ops of others may keep theirs in either
            for name, attribute in table.items():
                if isinstance(attribute, DimsAttr):
                    table[name] = DimsAttr.of(map(self.new, attribute.extents()))
        if isinstance(op, DimensionOp):
            size = self.new(extent(op.extent.data))
            if isinstance(size, Dim):
                op.properties["extent"] = StringAttr(str(size))
            else:
                Rewriter.replace_op(op, ConstantOp(np.array(size, np.int64)))
        elif isinstance(op, ReshapeOp) and op.x.type == op.result.type:  # it only wrote a size in another way
            Rewriter.replace_op(op, (), [op.x])

    def retype(self, values: Sequence[SSAValue]) -> None:
        for value in values:
            if isinstance(value.type, TensorType) and isinstance(value.type.encoding, DimsAttr):
                new = self.type(value.type)
                if new != value.type:
                    Rewriter.replace_value_with_new_type(value, new)

    def _type(self, old: TensorType) -> TensorType:
        before = shape_of_type(old)
        after = [self.new(e) for e in before]
        self.numbers |= any(isinstance(e, int) and isinstance(was, Dim) for e, was in zip(after, before, strict=True))
        return tensor(after, dtype_of_type(old))

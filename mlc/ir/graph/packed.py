"""Elements of two or four bits that share bytes: how such a weight is kept, and the op that reads its elements where they are used.

graph.unpack(weight @w : tensor<6xui8>)  ->  tensor<3x4xi4>        element i is in byte i * bits / 8, the first in the low bits
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir.dtypes import TABLE, unpacked
from mlc.ir.graph.base import Evaluate, GraphOp, emit
from mlc.ir.types import dtype_of, is_static, shape_of, shape_text, tensor


@irdl_op_definition
class UnpackOp(GraphOp):
    """The elements, in row-major order, of a tensor that bytes x hold packed: u8[n] -> a two- or four-bit dtype of any fixed shape.

    Raises DTypeError for other dtypes, ShapeError where x has not as many bytes as the elements need.
    """

    name = "graph.unpack"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue, shape: Sequence[int], dtype: str):
        super().__init__(operands=[x], result_types=[tensor(shape, dtype)])
        self.infer_types()

    def infer_types(self) -> Sequence[TensorType]:
        shape, dtype = shape_of(self.result), dtype_of(self.result)
        if not TABLE[dtype].packed or dtype_of(self.x) != "u8":
            raise DTypeError(f"unpack: {dtype_of(self.x)} does not hold {dtype} packed")
        if not is_static(shape):
            raise ShapeError(f"unpack: the shape {shape_text(shape)} is symbolic")
        count = prod(e for e in shape if isinstance(e, int))
        need = -(-count * TABLE[dtype].bits // 8)
        if shape_of(self.x) != (need,):
            raise ShapeError(
                f"unpack: {dtype}{shape_text(shape)} needs {need} bytes, x has {shape_text(shape_of(self.x))}"
            )
        return [tensor(shape, dtype)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        shape = [at(e) for e in shape_of(self.result)]
        return unpacked(operands[0], TABLE[dtype_of(self.result)], prod(shape)).reshape(shape)


def unpack(x: SSAValue, shape: Sequence[int], dtype: str) -> SSAValue:
    """The tensor whose elements the bytes x hold packed."""
    return emit(UnpackOp(x, shape, dtype))[0]

"""Values that come from nowhere: constants, weights, the value of a dimension, counting along an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, StringAttr, SymbolRefAttr, TensorType, i64
from xdsl.ir import SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, prop_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.ir.dims import Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph.base import Evaluate, GraphOp, emit, shaped
from mlc.ir.types import dtype_name, dtype_of, extent, numpy_dtype, shape_of, shape_text, tensor, tensor_type

IN_TEXT = 16  # elements of a constant that stand in the text; larger ones are weights


@irdl_op_definition
class ConstantOp(GraphOp):
    """A small tensor whose elements stand in the text, row-major: graph.constant "0.5, 1.0" : tensor<2xf32>.

    The text is a string because xDSL prints some floats of dense attributes as integers; Python's shortest spelling is exact.
    """

    name = "graph.constant"
    elements = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$elements attr-dict `:` type($result)"

    def __init__(self, value: np.ndarray):
        dtype = dtype_name(value.dtype)
        text = ", ".join(_spelling(v, dtype) for v in value.reshape(-1).tolist())
        super().__init__(properties={"elements": StringAttr(text)}, result_types=[tensor(value.shape, dtype)])

    @property
    def value(self) -> np.ndarray:
        """Raises KeyError, OverflowError or ValueError where the text does not spell elements of this shape and dtype."""
        dtype = dtype_of(self.result)
        words = [word.strip() for word in self.elements.data.split(",")] if self.elements.data else []
        shape = tuple(int(e) for e in shape_of(self.result))  # type: ignore[arg-type]
        if TABLE[dtype].kind == "float":
            return np.array([float(word) for word in words]).astype(numpy_dtype(dtype)).reshape(shape)
        values = np.array([_TRUTH[word] if dtype == "bool" else int(word) for word in words], object)
        return values.astype(numpy_dtype(dtype)).reshape(shape)  # of objects: NumPy raises where one is out of bounds

    def infer_types(self) -> Sequence[TensorType]:
        shape = shape_of(self.result)
        shaped("constant", all(isinstance(e, int) for e in shape), f"the shape {shape_text(shape)} is symbolic")
        _ = self.value
        return [tensor_type(self.result)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        return self.value


_TRUTH = {"true": True, "false": False}


def _spelling(value: float | bool, dtype: str) -> str:
    if dtype == "bool":
        return "true" if value else "false"
    if TABLE[dtype].kind != "float" or dtype == "f64" or math.isnan(value):
        return repr(value)
    return str(numpy_dtype(dtype).type(value)) if dtype in ("f32", "f16") else repr(float(value))


@irdl_op_definition
class WeightOp(GraphOp):
    """A tensor of the module's weight store, by key. The bytes are never in the IR."""

    name = "graph.weight"
    key = prop_def(SymbolRefAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$key attr-dict `:` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, key: str, shape: Sequence[int], dtype: str):
        super().__init__(properties={"key": SymbolRefAttr(key)}, result_types=[tensor(shape, dtype)])

    @property
    def weight_key(self) -> str:
        return self.key.root_reference.data

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.result)]


@irdl_op_definition
class DimensionOp(GraphOp):
    """The value of a dimension expression, as a scalar i64 tensor."""

    name = "graph.dimension"
    extent = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$extent attr-dict `:` type($result)"

    def __init__(self, value: Extent):
        super().__init__(properties={"extent": StringAttr(str(value))}, result_types=[tensor((), "i64")])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor((), "i64")]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        return np.array(at(extent(self.extent.data)), np.int64)


@irdl_op_definition
class IotaOp(GraphOp):
    """result[i0, i1, ...] = i_axis, in any dtype but bool."""

    name = "graph.iota"
    axis = prop_def(IntegerAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "attr-dict `:` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, shape: Sequence[Extent], axis: int, dtype: str):
        shaped("iota", 0 <= axis < len(shape), f"axis {axis} is not one of the {len(shape)} axes")
        super().__init__(properties={"axis": IntegerAttr(axis, i64)}, result_types=[tensor(shape, dtype)])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.result)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        shape, axis = [at(e) for e in shape_of(self.result)], self.axis.value.data
        line = np.arange(shape[axis]).astype(numpy_dtype(dtype_of(self.result)))
        return np.broadcast_to(line.reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape)


# Builder functions -------------------------------------------------------------------------------------------------------


def dimension(value: Extent) -> SSAValue:
    """A dimension expression (or number) as a scalar i64 tensor."""
    return constant(np.array(value, np.int64)) if isinstance(value, int) else emit(DimensionOp(value))[0]


def constant(value: np.ndarray | float | bool | Sequence[object]) -> SSAValue:
    """A small constant in the text. For larger arrays use builder.constant, which goes to the weight store."""
    array = np.asarray(value)
    if array.size > IN_TEXT:
        raise ValueError(f"a constant of {array.size} elements belongs in the weight store")
    return emit(ConstantOp(array))[0]


def scalar(value: float | bool, dtype: str) -> SSAValue:
    """A scalar tensor."""
    return emit(ConstantOp(np.array(value).astype(numpy_dtype(dtype))))[0]


def iota(shape: Sequence[Extent], axis: int, dtype: str) -> SSAValue:
    return emit(IotaOp(shape, axis, dtype))[0]

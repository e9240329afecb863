"""Tensor types of the graph dialect: element types by name, and shapes whose extents are integers or dimension expressions.

    tensor(("N", 768), "f32")  ->  tensor<?x768xf32, #graph.dims<["N", ""]>>

MLIR's tensor encoding carries one expression per axis; equal text is equal extent (see dims.py). A static tensor has no encoding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    ArrayAttr,
    BFloat16Type,
    Float16Type,
    Float32Type,
    Float64Type,
    IntegerType,
    NoneAttr,
    Signedness,
    StringAttr,
    TensorType,
)
from xdsl.ir import Attribute, ParametrizedAttribute, SSAValue
from xdsl.irdl import irdl_attr_definition, param_def

from mlc.errors import ShapeError
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent

Shape = tuple[Extent, ...]

_ELEMENTS: dict[str, Attribute] = {
    "f64": Float64Type(),
    "f32": Float32Type(),
    "f16": Float16Type(),
    "bf16": BFloat16Type(),
    "i64": IntegerType(64),
    "i32": IntegerType(32),
    "i16": IntegerType(16),
    "i8": IntegerType(8),
    "u64": IntegerType(64, Signedness.UNSIGNED),
    "u32": IntegerType(32, Signedness.UNSIGNED),
    "u16": IntegerType(16, Signedness.UNSIGNED),
    "u8": IntegerType(8, Signedness.UNSIGNED),
    "bool": IntegerType(1),
}
_NAMES = {attr: name for name, attr in _ELEMENTS.items()}
_NUMPY: dict[str, np.dtype] = {
    "f64": np.dtype(np.float64),
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "i64": np.dtype(np.int64),
    "i32": np.dtype(np.int32),
    "i16": np.dtype(np.int16),
    "i8": np.dtype(np.int8),
    "u64": np.dtype(np.uint64),
    "u32": np.dtype(np.uint32),
    "u16": np.dtype(np.uint16),
    "u8": np.dtype(np.uint8),
    "bool": np.dtype(np.bool_),
}
_BY_NUMPY = {dtype: name for name, dtype in _NUMPY.items()}
DTYPES = tuple(_ELEMENTS)
_MOST_ELEMENTS = 1 << 60  # offsets in bytes are 64-bit integers, also along the other axes of a tensor without elements


def element(dtype: str) -> Attribute:
    """The xDSL element type of a dtype name."""
    return _ELEMENTS[dtype]


def numpy_dtype(dtype: str) -> np.dtype:
    return _NUMPY[dtype]


def dtype_name(dtype: object) -> str:
    """The name of a NumPy dtype. Raises KeyError for one that mlc has no name for."""
    return _BY_NUMPY[np.dtype(dtype)]  # type: ignore[call-overload]


def itemsize(dtype: str) -> int:
    """Bytes of one element in memory (bool is one byte)."""
    return _NUMPY[dtype].itemsize


def is_float(dtype: str) -> bool:
    return dtype in ("f64", "f32", "f16", "bf16")


def is_integer(dtype: str) -> bool:
    return dtype[0] in "iu" and dtype != "bool"


def lowest(dtype: str) -> float | int | bool:
    """The identity of a maximum."""
    if is_float(dtype):
        return float("-inf")
    return False if dtype == "bool" else int(np.iinfo(_NUMPY[dtype]).min)


def highest(dtype: str) -> float | int | bool:
    """The identity of a minimum."""
    if is_float(dtype):
        return float("inf")
    return True if dtype == "bool" else int(np.iinfo(_NUMPY[dtype]).max)


@irdl_attr_definition
class DimsAttr(ParametrizedAttribute):
    """One dimension expression per axis, as text. In a tensor's encoding a static axis is the empty string."""

    name = "graph.dims"
    texts: ArrayAttr[StringAttr] = param_def()

    @classmethod
    def of(cls, extents: Iterable[Extent]) -> DimsAttr:
        return cls(ArrayAttr([StringAttr(str(e)) for e in extents]))

    def extents(self) -> Shape:
        return tuple(_parsed(text.data) for text in self.texts.data)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Extent:
    return dims.parse(text)


def extent(value: Extent | str | np.integer) -> Extent:
    """An extent from a number, an expression or its text."""
    if isinstance(value, str):
        return _parsed(value)
    return value if isinstance(value, Dim) else int(value)


def tensor(shape: Sequence[Extent | str], dtype: str) -> TensorType:
    """The type of a tensor; strings in `shape` are parsed as dimension expressions."""
    return _tensor(tuple(extent(e) for e in shape), dtype)


@lru_cache(maxsize=8192)
def _tensor(shape: Shape, dtype: str) -> TensorType:
    for e in shape:
        if isinstance(e, int) and e < 0:
            raise ShapeError(f"a tensor cannot have the shape {shape_text(shape)}: {e} is negative")
    if math.prod(e for e in shape if isinstance(e, int) and e) > _MOST_ELEMENTS:
        raise ShapeError(f"a tensor cannot have the shape {shape_text(shape)}: too many elements")
    if all(isinstance(e, int) for e in shape):
        return TensorType(_ELEMENTS[dtype], shape)  # type: ignore[arg-type]
    texts = ArrayAttr([StringAttr("" if isinstance(e, int) else str(e)) for e in shape])
    return TensorType(_ELEMENTS[dtype], [e if isinstance(e, int) else DYNAMIC_INDEX for e in shape], DimsAttr(texts))


@lru_cache(maxsize=8192)
def shape_of_type(type: TensorType) -> Shape:
    if isinstance(type.encoding, NoneAttr):
        return type.get_shape()
    assert isinstance(type.encoding, DimsAttr)
    texts = type.encoding.texts.data
    return tuple(
        _parsed(text.data) if size == DYNAMIC_INDEX else size
        for size, text in zip(type.get_shape(), texts, strict=True)
    )


def dtype_of_type(type: TensorType) -> str:
    return _NAMES[type.element_type]


def tensor_type(value: SSAValue) -> TensorType:
    assert isinstance(value.type, TensorType), value.type
    return value.type


def shape_of(value: SSAValue) -> Shape:
    """One integer or dimension expression per axis."""
    return shape_of_type(tensor_type(value))


def dtype_of(value: SSAValue) -> str:
    return dtype_of_type(tensor_type(value))


def rank_of(value: SSAValue) -> int:
    return tensor_type(value).get_num_dims()


def is_static(shape: Shape) -> bool:
    return all(isinstance(e, int) for e in shape)


def shape_text(shape: Sequence[Extent]) -> str:
    """As error messages show a shape; a size that is a long expression is cut."""
    texts = [str(e) for e in shape]
    return "[" + ", ".join(text if len(text) <= _LONG else f"{text[:_LONG]}..." for text in texts) + "]"


_LONG = 80


def type_text(type: TensorType) -> str:
    """As error messages show a type: f32[N, 768]."""
    return dtype_of_type(type) + shape_text(shape_of_type(type))

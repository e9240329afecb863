"""Tensor types of the graph dialect: element types by name, and shapes whose extents are integers or dimension expressions.

    tensor(("N", 768), "f32")  ->  tensor<?x768xf32, #graph.dims<["N", ""]>>, in text tensor<N x 768 x f32>

MLIR's tensor encoding carries one expression per axis; equal text is equal extent (see dims.py). A static tensor has no encoding.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    ArrayAttr,
    Builtin,
    IntegerType,
    NoneAttr,
    Signedness,
    StringAttr,
    TensorType,
)
from xdsl.ir import Attribute, ParametrizedAttribute, SSAValue
from xdsl.irdl import irdl_attr_definition, param_def
from xdsl.parser import AttrParser
from xdsl.printer import Printer

from mlc.errors import ShapeError
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.dtypes import BY_NUMPY, TABLE

Shape = tuple[Extent, ...]

_FLOATS = {kind.name: kind for kind in Builtin.attributes}
_ELEMENTS: dict[str, Attribute] = {
    name: _FLOATS[row.mlir]()
    if row.kind == "float"
    else IntegerType(row.bits, Signedness.UNSIGNED if row.kind == "unsigned" else Signedness.SIGNLESS)
    for name, row in TABLE.items()
}
_NAMES = {attr: name for name, attr in _ELEMENTS.items()}
DTYPES = tuple(TABLE)
_MOST_ELEMENTS = 1 << 60  # offsets in bytes are 64-bit integers, also along the other axes of a tensor without elements


def element(dtype: str) -> Attribute:
    """The xDSL element type of a dtype name."""
    return _ELEMENTS[dtype]


def signless(dtype: str) -> Attribute:
    """The element type in kernels: integers have no sign there, for it is in the ops, and a storage type is the byte that holds it."""
    row = TABLE[TABLE[dtype].memory]
    return IntegerType(row.bits) if row.kind == "unsigned" else _ELEMENTS[row.name]


def numpy_dtype(dtype: str) -> np.dtype:
    return TABLE[dtype].numpy


def dtype_name(dtype: object) -> str:
    """The name of a NumPy dtype. Raises KeyError for one that mlc has no name for."""
    return BY_NUMPY[np.dtype(dtype)]  # type: ignore[call-overload]


def numpy_of(element: Attribute) -> np.dtype:
    """The NumPy dtype of a float or integer element type."""
    return TABLE[_NAMES[element]].numpy


def itemsize(dtype: str) -> int:
    """Bytes of one element in memory (bool and the storage types: one)."""
    return TABLE[dtype].numpy.itemsize


def is_float(dtype: str) -> bool:
    """Is arithmetic done in it as on floating-point numbers? Not so for storage types."""
    return TABLE[dtype].kind == "float" and not TABLE[dtype].storage


def is_integer(dtype: str) -> bool:
    """Is arithmetic done in it as on integers? Not so for bool and storage types."""
    return TABLE[dtype].kind in ("signed", "unsigned") and not TABLE[dtype].storage


def is_storage(dtype: str) -> bool:
    """Is nothing computed in it: are its tensors only moved, cast, quantised and dequantised?"""
    return TABLE[dtype].storage


def is_half(dtype: str) -> bool:
    """Is its arithmetic done in f32 and rounded once?"""
    return TABLE[dtype].half


def lowest(dtype: str) -> float | int | bool:
    """The identity of a maximum; the lowest finite number of a storage type."""
    return _limit(dtype, "min", float("-inf"), False)


def highest(dtype: str) -> float | int | bool:
    """The identity of a minimum; the highest finite number of a storage type."""
    return _limit(dtype, "max", float("inf"), True)


def _limit(dtype: str, side: str, infinity: float, truth: bool) -> float | int | bool:
    row = TABLE[dtype]
    if row.kind == "float":
        return float(getattr(ml_dtypes.finfo(row.numpy), side)) if row.storage else infinity
    return truth if row.kind == "bool" else int(getattr(ml_dtypes.iinfo(row.numpy), side))


@irdl_attr_definition
class DimsAttr(ParametrizedAttribute):
    """One dimension expression per axis, as text. In a tensor's encoding a static axis is the empty string."""

    name = "graph.dims"
    texts: ArrayAttr[StringAttr] = param_def()

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Names, numbers and expressions in quotes, as in <N, 768, "2*N + 1">, or a list of texts; anything else is an error at its place."""
        with parser.in_angle_brackets():
            texts = parser.parse_optional_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_str_literal)
            if texts is None:
                texts = parser.parse_comma_separated_list(parser.Delimiter.NONE, partial(parse_extent_text, parser))
        return [ArrayAttr([StringAttr(text) for text in texts])]

    def print_parameters(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            if self.texts.data:
                printer.print_list(self.texts.data, lambda text: print_extent(printer, text.data))
            else:
                printer.print_string("[]")

    @classmethod
    def of(cls, extents: Iterable[Extent]) -> DimsAttr:
        return cls(ArrayAttr([StringAttr(str(e)) for e in extents]))

    def extents(self) -> Shape:
        return tuple(_parsed(text.data) for text in self.texts.data)


def print_extent(printer: Printer, text: str) -> None:
    """A number or a name as it is, else in quotes."""
    if _PLAIN.fullmatch(text):
        printer.print_string(text)
    else:
        printer.print_string_literal(text)


def parse_extent_text(parser: AttrParser) -> str:
    """What print_extent writes."""
    size = parser.parse_optional_integer(allow_boolean=False, allow_negative=False)
    if size is not None:
        return str(size)
    return parser.expect(parser.parse_optional_identifier_or_str_literal, "a size expected: a number, a name or text")


_PLAIN = re.compile(r"[0-9]+|[A-Za-z_][\w.]*", re.ASCII)


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
    if not isinstance(type.encoding, DimsAttr):
        raise TypeError(
            f"the encoding of a tensor is {type.encoding}: write its sizes with names, as in tensor<N x f32>"
        )
    sizes, texts = type.get_shape(), [text.data for text in type.encoding.texts.data]
    _require_sizes(sizes, texts)
    return tuple(_parsed(text) if size == DYNAMIC_INDEX else size for size, text in zip(sizes, texts, strict=True))


def _require_sizes(sizes: Sequence[int], texts: Sequence[str]) -> None:
    """Raises ValueError where the sizes in a type and the texts in its encoding do not tell every axis once."""
    if len(sizes) != len(texts):
        raise ValueError(f"graph.dims holds sizes of {len(texts)} axes, and the tensor has {len(sizes)}")
    for axis, (size, text) in enumerate(zip(sizes, texts, strict=True)):
        if size == DYNAMIC_INDEX and not text:
            raise ValueError(f'axis {axis} is ? and graph.dims gives it no size: write its name, as in "N"')
        if size != DYNAMIC_INDEX and text:
            raise ValueError(
                f'axis {axis} is {size} and graph.dims gives it the size "{text}": leave that empty, as in ""'
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

"""Types and constants of the IR as CUDA C writes them."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    BFloat16Type,
    Float16Type,
    Float32Type,
    Float64Type,
    FloatAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    MemRefType,
    VectorType,
)
from xdsl.ir import Attribute

from mlc.errors import InternalError


def type_text(type: Attribute, index: str) -> str:
    """`index` is what positions are counted in: "int" or "int64_t"."""
    match type:
        case Float32Type():
            return "float"
        case Float64Type():
            return "double"
        case Float16Type() | BFloat16Type():
            return "uint16_t"  # its bits: what is computed of them is f32
        case IndexType():
            return index
        case IntegerType() if type.width.data == 1:
            return "bool"
        case IntegerType():
            return f"int{type.width.data}_t"
        case MemRefType() | VectorType():
            return type_text(type.element_type, index)
    raise InternalError(f"CUDA C has no type for {type}")


def is_half(type: Attribute) -> bool:
    return isinstance(type, Float16Type | BFloat16Type)


def half_name(type: Attribute) -> str:
    return "f16" if isinstance(type, Float16Type) else "bf16"


def width(type: Attribute, index: str) -> int:
    """Bits of an integer or index."""
    if isinstance(type, IntegerType):
        return type.width.data
    assert isinstance(type, IndexType), type
    return 64 if index == "int64_t" else 32


def constant_text(attr: Attribute) -> str:
    if isinstance(attr, IntegerAttr):
        value, type = attr.value.data, attr.type
        if not isinstance(type, IntegerType):
            return str(value)
        return integer_text(value, type.width.data)
    assert isinstance(attr, FloatAttr), attr
    return float_text(attr.value.data, attr.type)


def integer_text(value: int, width: int) -> str:
    if width == 1:
        return "true" if value & 1 else "false"
    value &= (1 << width) - 1
    value -= 1 << width if value >> (width - 1) else 0
    if value == -(1 << (width - 1)) and width >= 32:  # in C the number without its sign has no type of this width
        return f"({value + 1}{'ll' * (width > 32)} - 1)"
    return f"{value}{'ll' * (not -(1 << 31) <= value < 1 << 31)}"


def float_text(value: float, type: Attribute) -> str:
    """The shortest decimal that reads back as the same number; of f16 and bf16 the bits."""
    if is_half(type):
        dtype = np.float16 if isinstance(type, Float16Type) else ml_dtypes.bfloat16
        return f"0x{int(np.array(value, dtype).view(np.uint16)):04x}"
    suffix = "f" if isinstance(type, Float32Type) else ""
    if suffix:
        with np.errstate(over="ignore"):
            value = float(np.float32(value))
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    digits = str(np.float32(value)) if suffix else repr(value)
    return digits + suffix

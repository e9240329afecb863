"""Element types of ONNX that mlc has a dtype for. Strings, complex numbers, 8-bit floats and sub-byte types are not among them."""

from __future__ import annotations

from onnx import TensorProto

DTYPES: dict[int, str] = {
    TensorProto.DOUBLE: "f64",
    TensorProto.FLOAT: "f32",
    TensorProto.FLOAT16: "f16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT64: "i64",
    TensorProto.INT32: "i32",
    TensorProto.INT16: "i16",
    TensorProto.INT8: "i8",
    TensorProto.UINT64: "u64",
    TensorProto.UINT32: "u32",
    TensorProto.UINT16: "u16",
    TensorProto.UINT8: "u8",
    TensorProto.BOOL: "bool",
}
ELEMENT_TYPES = {name: number for number, name in DTYPES.items()}


def element_type_name(element_type: int) -> str:
    """As messages show it: "float8e4m3fn", "string", or the number of one that the onnx package does not know."""
    for name, number in TensorProto.DataType.items():
        if number == element_type:
            return name.lower()
    return str(element_type)

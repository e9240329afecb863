"""Element types of ONNX that mlc has a dtype for. Strings and complex numbers are not among them."""

from __future__ import annotations

from onnx import TensorProto

from mlc.ir.dtypes import TABLE

_NUMBERS = dict(TensorProto.DataType.items())
DTYPES: dict[int, str] = {_NUMBERS[row.onnx]: name for name, row in TABLE.items() if row.onnx in _NUMBERS}
ELEMENT_TYPES = {name: number for number, name in DTYPES.items()}


def element_type_name(element_type: int) -> str:
    """As messages show it: "complex64", "string", or the number of one that the onnx package does not know."""
    for name, number in _NUMBERS.items():
        if number == element_type:
            return name.lower()
    return str(element_type)

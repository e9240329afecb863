"""Kernels in scf, memref, arith, math and vector -> the text of one LLVM IR module. No LLVM dialect in between: text is 12 us per op."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import func

from mlc.codegen.llvm import dot, memref_ops, ops
from mlc.codegen.llvm.function import FunctionPrinter, argument_types
from mlc.codegen.llvm.intrinsics import LIBM
from mlc.ir.kernel.cpu_target import CpuTarget

__all__ = ["argument_types", "attributes_of", "emit", "library_calls"]

_TABLES = (dot, memref_ops, ops)  # importing them fills the table of what each op prints


def emit(functions: Sequence[func.FuncOp], target: CpuTarget) -> str:
    """All functions (kernels and their private leaves) as one module. Raises InternalError for an op that has no text."""
    declared: dict[str, str] = {}
    attributes = attributes_of(target)
    texts = [FunctionPrinter(op, declared, attributes, target.fma, target.dot).text() for op in functions]
    return "\n".join([*texts, *declared.values(), ""])


def attributes_of(target: CpuTarget) -> str:
    """Of every function: vectors as wide as the machine's."""
    bits = 32 * target.lanes
    return f'nounwind "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'


def library_calls(functions: Sequence[func.FuncOp]) -> list[str]:
    """The functions of the C library that the text calls: a linker needs -lm for them."""
    return sorted({LIBM[op.name] for function in functions for op in function.walk() if op.name in LIBM})

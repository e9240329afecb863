"""Kernels whose machine code exists already: lowering them again would give the same, and takes most of the time of a warm compilation.

    func.func @gemm_0(...) attributes {kernel.schedule = ...} { linalg ... }
->  func.func @gemm_0(...) attributes {kernel.known = "7c1f...", kernel.stub} { func.return }

A stub has the signature and the attributes of the lowered kernel, so that everything that only calls it (packing of weights, planning,
the entry) works as with the kernel itself. Stubs stand only on the way to machine code: whoever looks at the IR asks for none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from xdsl.dialects import func
from xdsl.dialects.builtin import StringAttr, UnitAttr
from xdsl.ir import Block, Region

KNOWN = "kernel.known"
STUB = "kernel.stub"


class KnownKernels(Protocol):
    """Where machine code is kept, by what it was made from."""

    def key(self, kernel: str) -> str:
        """Of a kernel (mlc.ir.kernel.kernel.Kernel.key) compiled for the target, by this version of mlc."""

    def find(self, key: str) -> str | None:
        """The text of the stub, where the code is there."""

    def make(self, kernels: Mapping[str, func.FuncOp], lower: Callable[[func.FuncOp], Sequence[func.FuncOp]]) -> None:
        """Make the code of kernels, which are found by their keys from then on. `lower` gives the functions of one as loops, the kernel itself
        last, and may be called in another process."""


def stub_of(function: func.FuncOp, name: str) -> func.FuncOp:
    """The stub of a lowered kernel, under another name."""
    types = [arg.type for arg in function.body.block.args]
    block = Block([func.ReturnOp()], arg_types=types)
    for new, old in zip(block.args, function.body.block.args, strict=True):
        new.name_hint = old.name_hint
    stub = func.FuncOp(name, (types, []), Region(block), arg_attrs=function.arg_attrs)
    stub.attributes.update(function.attributes)
    stub.attributes[STUB] = UnitAttr()
    return stub


def known_as(function: func.FuncOp) -> str | None:
    """The key under which a kernel's machine code is to be kept, or was found."""
    attr = function.attributes.get(KNOWN)
    return attr.data if isinstance(attr, StringAttr) else None


def is_stub(function: func.FuncOp) -> bool:
    return STUB in function.attributes

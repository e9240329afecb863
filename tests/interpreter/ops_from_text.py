"""IR text to functions, for tests that need an op in a function of its own."""

from __future__ import annotations

from xdsl.dialects.func import FuncOp
from xdsl.parser import Parser

from mlc.ir.kernel.vector_ops import dialects


def function(text: str) -> FuncOp:
    """The last function of a module."""
    module = Parser(dialects(), text).parse_module()
    module.verify()
    return [op for op in module.ops if isinstance(op, FuncOp)][-1]

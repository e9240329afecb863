"""Which of its arguments a kernel writes: the kernel's text does not say, its ops do."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Block, BlockArgument, Operation, SSAValue


def written_arguments(
    kernel: func.FuncOp, functions: Mapping[str, func.FuncOp], known: dict[str, frozenset[int]] | None = None
) -> frozenset[int]:
    """The numbers of the arguments that a kernel writes, itself or in functions that it calls, at any stage of its lowering. `known` keeps what
    is found of each function."""
    known = {} if known is None else known
    waiting = [kernel]
    while waiting:  # functions behind those that they call; there is no recursion between them
        function = waiting[-1]
        if function.sym_name.data in known:
            waiting.pop()
            continue
        called = [op.callee.root_reference.data for op in function.walk() if isinstance(op, func.CallOp)]
        if missing := [functions[name] for name in called if name in functions and name not in known]:
            waiting += missing
            continue
        known[function.sym_name.data] = _written(function, known)
        waiting.pop()
    return known[kernel.sym_name.data]


def _written(function: func.FuncOp, known: Mapping[str, frozenset[int]]) -> frozenset[int]:
    found = set()
    for op in function.walk():
        for target in _targets(op, known):
            argument = argument_of(target)
            if argument is not None and argument.block.parent_op() is function:
                found.add(argument.index)
    return frozenset(found)


def _targets(op: Operation, known: Mapping[str, frozenset[int]]) -> list[SSAValue]:
    if isinstance(op, GenericOp):
        return list(op.outputs)
    if isinstance(op, func.CallOp):
        return [op.arguments[number] for number in known.get(op.callee.root_reference.data, ())]
    if op.name == "memref.copy":
        return [op.operands[1]]
    if "store" in op.name or op.name in ("vector.transfer_write", "vector.scatter"):
        return [value for value in op.operands if isinstance(value.type, MemRefType)]
    return []


def argument_of(value: SSAValue) -> BlockArgument | None:
    """The argument that a view of memory shows; None for memory of the function's own."""
    while not isinstance(value.owner, Block):
        views = [operand for operand in value.owner.operands if isinstance(operand.type, MemRefType)]
        if not value.owner.name.startswith("memref.") or not views:
            return None
        value = views[0]
    assert isinstance(value, BlockArgument)
    return value

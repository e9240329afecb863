"""Where fusion stopped, and why: for each group of a fused module, the groups that read its results and what stands between them.

Read off the module after the pass `fuse`, so it says what is, whatever the rules of the pass are.
"""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue

from mlc.ir.graph.base import location_name
from mlc.ir.graph.control import ControlOp, GroupOp, IfOp, YieldOp
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.linear import ContractOp
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.graph.window import ReduceWindowOp
from mlc.ir.graph.winograd import WinogradOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, shape_of, shape_text

Sources = tuple[str, ...]


def boundaries(module: Module) -> dict[Sources, list[str]]:
    """The nodes that a group computes -> one sentence per group, loop or output that reads its results from memory."""
    found: dict[Sources, list[str]] = {}
    for op in module.main.walk():
        if isinstance(op, GroupOp):
            found.setdefault(op.sources, list(dict.fromkeys(_sentences(op))))
    return found


def _sentences(group: GroupOp) -> Iterator[str]:
    for result in group.results:
        readers = list(dict.fromkeys(_readers(result)))
        kernels = [op for op, _, _ in readers if isinstance(op, GroupOp)]
        for op, operand, reshaped in readers:
            yield _sentence(group, result, op, operand, reshaped, len(kernels))


def _readers(value: SSAValue, reshaped: bool = False) -> Iterator[tuple[Operation, SSAValue, bool]]:
    """What reads the memory of a value, through views; the view it reads, and whether that is a reshape."""
    for use in value.uses:
        if isinstance(use.operation, ReshapeOp):
            yield from _readers(use.operation.result, reshaped=True)
        else:
            yield use.operation, value, reshaped


def _sentence(group: GroupOp, result: SSAValue, op: Operation, operand: SSAValue, reshaped: bool, kernels: int) -> str:
    if isinstance(op, ReturnOp):
        return "its result is an output of the model"
    if isinstance(op, YieldOp):
        parent = op.parent_op()
        return (
            "its result is that of a branch"
            if isinstance(parent, IfOp)
            else "its result is carried to the next step of a loop"
        )
    if isinstance(op, IfOp):
        return f"{_name(op)} reads it, in a branch"
    if isinstance(op, ControlOp):
        return f"{_name(op)} reads it step by step, in a loop"
    if not isinstance(op, GroupOp):
        return f"{_name(op)} reads it"
    reader, head = _name(op), _head(op)
    if reader in group.sources:  # both kernels are of one node
        reader = f"the rest of {reader}"
    inside = op.body.block.args[op.operands.index(operand)]
    direct = [use.operation for use in inside.uses]
    if any(isinstance(use, ContractOp | ConvolutionOp | WinogradOp) for use in direct):
        article = "an" if head[0] in "aeiou" else "a"
        return f"not into {reader}: {article} {head} reads each element many times, computed once in memory"
    if any(isinstance(use, ReduceWindowOp) for use in direct):
        return f"not into {reader}: a window needs the neighbourhood, which would be computed again for each"
    if kernels > 1:
        return f"not into {reader}: {kernels} kernels read it, and it is computed once"
    if any(isinstance(use, ReduceOp) for use in direct) and group.kind.data in (
        "contraction",
        "convolution",
        "winograd",
    ):
        return f"not into {reader}: a reduction needs whole rows, a {group.kind.data} makes them tile by tile"
    if reshaped:
        return (
            f"not into {reader}: it is read as {shape_text(shape_of(operand))}, not as {shape_text(shape_of(result))}"
        )
    written = op.results[0]
    if shape_of(written) != shape_of(result):
        return f"not into {reader}: that runs over {shape_text(shape_of(written))}, this over {shape_text(shape_of(result))}"
    if dtype_of(written) != dtype_of(result):
        return f"not into {reader}: that computes {dtype_of(written)}"
    return f"not into {reader}: fusion has no rule that puts this {_head(group)} kernel into a {head} kernel"


def _head(group: GroupOp) -> str:
    return group.kind.data


def _name(op: Operation) -> str:
    if isinstance(op, GroupOp):
        return op.sources[0] if op.sources else f"a {op.kind.data} kernel"
    return location_name(op) or op.name

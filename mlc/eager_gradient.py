"""Pullbacks of single calls, for `loss.backward()`: the autodiff pass on the ops of one function at one signature."""

from __future__ import annotations

from xdsl.ir import Block, SSAValue

from mlc.frontends.trace.eager import EagerCall, GraphFunction
from mlc.frontends.trace.functions.promotion import Operand, value
from mlc.ir.graph.base import building, emit
from mlc.ir.graph.control import YieldOp, inlined, yielded
from mlc.ir.types import dtype_of, is_float
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.bodies import at_end, give
from mlc.passes.autodiff.expansion import write_out
from mlc.passes.autodiff.pull import pull


def pullback(call: EagerCall, active: tuple[int, ...]) -> tuple[GraphFunction, tuple[int, ...]]:
    """(function, reads): a function that gives the cotangents of the `active` arguments of the call's body. Of the arguments, the results and the
    cotangents of those that are floats it takes the ones that it reads, by their numbers. Raises NoDerivative where an op has none."""
    block = Block(arg_types=[argument.type for argument in call.body.args])
    with building(block, checks=[]):
        emit(YieldOp(inlined(call.body, block.args)))
    sources = [block.args[n] for n in active]
    write_out(block, sources)
    outs = yielded(block)
    results = [block.insert_arg(y.type, len(block.args)) for y in outs]
    floats = [y for y in outs if is_float(dtype_of(y))]
    seeds = [block.insert_arg(y.type, len(block.args)) for y in floats]
    with at_end(block):
        found = pull(block, list(zip(floats, seeds, strict=True)), sources)
        cotangents = [algebra.like(x, 0) if c is None else c for x, c in zip(sources, found, strict=True)]
    give(block, cotangents)
    for y, result in zip(outs, results, strict=True):  # what the call gave is at hand
        if y.owner is not block:
            y.replace_all_uses_with(result)
    _erase_unused(block)
    reads = tuple([n for n, argument in enumerate(block.args) if argument.first_use is not None])
    for argument in list(block.args):
        if argument.first_use is None:
            block.erase_arg(argument)

    def function(*values: Operand) -> list[SSAValue]:
        return inlined(block, [value(v) for v in values])

    function.__name__ = f"the gradient of {call.function.__name__}"
    return function, reads


def _erase_unused(block: Block) -> None:
    """From the end to the beginning."""
    for op in reversed(list(block.ops)):
        if op is not block.last_op and all(result.first_use is None for result in op.results):
            op.detach()
            op.erase()

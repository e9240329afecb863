"""Where elements are copied and not computed: kernels that put them in another order or place, and tiles that a schedule copies into panels.

Views cost nothing: slices, transposes and broadcasts are read where they lie, by strides. A copy is made for what is not read so: an output, which is an
array of its own, row-major; parts that a reader has side by side; an order in which a reader would use little of each cache line.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from xdsl.dialects.builtin import StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.dialects.linalg.ops import GenericOp, YieldOp
from xdsl.ir import SSAValue

from mlc.ir.kernel import program
from mlc.ir.kernel.access import read_map
from mlc.ir.kernel.kernel import loops_of, strides_of
from mlc.ir.kernel.schedule import Schedule
from mlc.ir.kernel.writes import argument_of, written_arguments
from mlc.ir.module import Module


class Copies:
    """Of a scheduled module, before its kernels are loops."""

    def __init__(self, module: Module):
        self.main = module.main
        self.kernels = {op.sym_name.data: op for op in module.op.ops if isinstance(op, FuncOp)}
        self._written: dict[str, frozenset[int]] = {}

    def of(self, call: program.CallOp) -> list[str]:
        """A sentence for each copy that a call of a kernel makes, as in 'x' by strides (1, 6) -> output 'y'."""
        function = self.kernels[call.kernel]
        buffers: dict[SSAValue, SSAValue] = dict(zip(function.body.block.args, call.arguments, strict=False))
        return [*self._moves(function, call, buffers), *self._panels(function, buffers)]

    def _moves(self, function: FuncOp, call: program.CallOp, buffers: dict[SSAValue, SSAValue]) -> Iterator[str]:
        """Those of a kernel that computes nothing: its ops give what they read, or fill with a number."""
        ops = [op for op in function.walk() if isinstance(op, GenericOp)]
        if any(op.inputs and not _gives_what_it_reads(op) for op in ops):
            return
        for op in (op for op in ops if op.inputs):
            source, target = _buffer(op.inputs[0], buffers), _buffer(op.outputs[0], buffers)
            if source is not None and target is not None:
                yield f"{self._said(source)}{_strides(op)} -> {self._wanted(target, call)}"

    def _panels(self, function: FuncOp, buffers: dict[SSAValue, SSAValue]) -> Iterator[str]:
        """Tiles that a schedule copies. Weights have their panels from when the model is compiled."""
        schedule = function.attributes.get("kernel.schedule")
        rows = [row.data for row in (function.arg_attrs.data if function.arg_attrs else ())]
        named = {row["kernel.name"]: arg for row, arg in zip(rows, buffers, strict=False) if "kernel.role" not in row}
        levels = Schedule.parse(schedule.data).levels if isinstance(schedule, StringAttr) else ()
        for name, stage in (each for level in levels for each in level.stage.items()):
            if (arg := named.get(StringAttr(name))) is not None:
                yield f"{self._said(buffers[arg])} -> {stage.space}, tile by tile"

    def _said(self, value: SSAValue) -> str:
        """What memory is to the user: an input or output by its name, a weight by its key, else what computed it."""
        memory = program.memory_of(value)
        if isinstance(memory.owner, program.WeightOp):
            return f"weight '{memory.owner.key.data}'"
        if memory.owner is self.main.body.block:
            return f"'{self._names[memory]}'"
        writer = next((call for call in _calls(memory) if self._writes(call, memory)), None)
        return "an intermediate result" if writer is None else f"the result of {_node(writer)}"

    def _wanted(self, value: SSAValue, writer: program.CallOp) -> str:
        """Who a copy is for."""
        memory = program.memory_of(value)
        if memory.owner is self.main.body.block:
            return f"output '{self._names[memory]}'"
        readers = [_node(call) for call in _calls(memory) if call is not writer and not self._writes(call, memory)]
        return f"memory that {', '.join(dict.fromkeys(readers))} reads" if readers else "memory of its own"

    @cached_property
    def _names(self) -> dict[SSAValue, str]:
        rows = self.main.arg_attrs.data if self.main.arg_attrs else ()
        return {
            arg: name.data
            for arg, row in zip(self.main.body.block.args, rows, strict=False)
            if isinstance(name := row.data.get("kernel.name"), StringAttr)
        }

    def _writes(self, call: program.CallOp, memory: SSAValue) -> bool:
        written = written_arguments(self.kernels[call.kernel], self.kernels, self._written)
        return any(program.memory_of(call.arguments[number]) is memory for number in written)


def _gives_what_it_reads(op: GenericOp) -> bool:
    block = op.body.block
    return isinstance(block.last_op, YieldOp) and list(block.last_op.operands) == [block.args[0]]


def _buffer(value: SSAValue, buffers: dict[SSAValue, SSAValue]) -> SSAValue | None:
    """What a call hands in for what a view in its kernel shows."""
    argument = argument_of(value)
    return None if argument is None else buffers.get(argument)


def _strides(op: GenericOp) -> str:
    """How the loops of a copy run through what it reads; nothing where that is one loop, element after element."""
    loops, operand = loops_of(op), op.inputs[0]
    steps = []
    for name in loops:
        terms = zip(read_map(op.indexing_maps.data[0], list(loops)), strides_of(operand), strict=True)
        along = [(form.terms[name], step) for form, step in terms if name in form.terms]
        steps.append("?" if any(step is None for _, step in along) else sum(by * (step or 0) for by, step in along))
    return "" if steps == [1] else f" by strides ({', '.join(map(str, steps))})"


def _calls(memory: SSAValue) -> list[program.CallOp]:
    """The calls that get a memory or a view of it."""
    found, waiting = [], [memory]
    while waiting:
        for use in waiting.pop().uses:
            if isinstance(use.operation, program.CallOp):
                found.append(use.operation)
            elif isinstance(use.operation, program.ViewOp | program.RowOp | program.PartOp):
                waiting.append(use.operation.result)
    return found


def _node(call: program.CallOp) -> str:
    return ", ".join(name.data for name in call.source.data) or f"@{call.kernel}"

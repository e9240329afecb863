"""A kernel before it is written: structured ops over named loops whose extents are still dimension expressions.

Loops that run through whole axes as one become one, and loops of extent 1 vanish (mergeable.py), before the kernel has a signature. Distinct symbolic extents become the index arguments s0, s1, ... of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.ir import SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Body, Buffer, Kernel
from mlc.passes.kernel.mergeable import LoopedOp, MergeableLoops
from mlc.passes.loops.tile_view import subview, visited

Access = tuple[Affine, ...]


@dataclass(eq=False)
class Memory:
    """A buffer or temporary of a draft, or the part of one that begins at `starts`. `pinned`: bodies compute addresses in it, or it is a part,
    so its axes stay as they are. `holds`: along each axis it has every `step`-th element of its value from `first` on, (first, step); all of
    them where it is empty. `values`: of a constant, which code is written for."""

    name: str
    shape: list[Extent]
    dtype: str
    temporary: bool = False
    weight: bool = False
    pinned: bool = False
    whole: Memory | None = None
    starts: Sequence[Extent] = ()
    holds: tuple[tuple[int, int], ...] = ()
    values: np.ndarray | None = None

    def place(self, at: Access) -> Access:
        """Where the memory has the element of its value at `at`."""
        if not self.holds:
            return at
        return tuple((form - first).over(step) for form, (first, step) in zip(at, self.holds, strict=True))

    @property
    def bound(self) -> bool:
        """Does a call of the kernel hand it in?"""
        return not self.temporary and self.whole is None and self.values is None


@dataclass
class DraftOp:
    """One structured op. `body(context, b, inputs, out)` builds the scalar computation."""

    loops: dict[str, Extent]
    inputs: list[tuple[Memory, Access]]
    output: tuple[Memory, Access]
    body: Callable[[Context, Body, Sequence[SSAValue], SSAValue], SSAValue]
    reduce: set[str] = field(default_factory=set)
    indexed: set[str] = field(default_factory=set)  # loops whose position the body asks for

    @property
    def operands(self) -> list[tuple[Memory, Access]]:
        return [*self.inputs, self.output]


@dataclass
class Context:
    """What a body may ask for while the kernel is written."""

    kernel: Kernel
    values: Mapping[Memory, SSAValue]
    names: Mapping[Extent, str]
    loops: Mapping[str, Affine]  # a loop of the draft -> what became of it

    def extent(self, extent: Extent) -> SSAValue:
        return self.kernel.extent(extent if isinstance(extent, int) else dims.symbol(self.names[extent]))


@dataclass
class Draft:
    name: str
    memories: list[Memory] = field(default_factory=list)
    steps: list[DraftOp] = field(default_factory=list)
    extents: list[Extent] = field(default_factory=list)  # symbolic extents that bodies ask for
    names: dict[str, int] = field(default_factory=dict)  # of memories: how often each was asked for

    def memory(
        self, shape: Sequence[Extent], dtype: str, name: str, temporary: bool = False, weight: bool = False
    ) -> Memory:
        memory = Memory(self._unique(name), list(shape), dtype, temporary, weight)
        self.memories.append(memory)
        return memory

    def constant(self, values: np.ndarray, name: str) -> Memory:
        memory = Memory(self._unique(name), list(values.shape), "f32", pinned=True, values=values)
        self.memories.append(memory)
        return memory

    def part(self, whole: Memory, starts: Sequence[Extent], shape: Sequence[Extent]) -> Memory:
        whole.pinned = True
        name = self._unique(f"{whole.name}_part")
        memory = Memory(name, list(shape), whole.dtype, pinned=True, whole=whole, starts=starts)
        self.memories.append(memory)
        return memory

    def _unique(self, name: str) -> str:
        """x, x1, x2, ..."""
        number = self.names[name] = self.names.get(name, -1) + 1
        return f"{name}{number}" if number else name

    # Writing over an operand ---------------------------------------------------------------------------------------------
    def may_overwrite(self, x: Memory, y: Memory) -> bool:
        """May the result y be the memory of the operand x? Where every element of x is read at the very place where y is written, by that
        step or one before it: a tile then reads what it has not overwritten yet (mlc/passes/loops/tiling_rule.py asks again). Steps behind it
        read y there, if at all."""
        if x.pinned or y.pinned or x.weight or x.temporary or (x.shape, x.dtype) != (y.shape, y.dtype):
            return False
        writers = [number for number, step in enumerate(self.steps) if step.output[0] is y]
        if len(writers) != 1 or any(step.output[0] is x for step in self.steps):
            return False
        (last,) = writers
        step = self.steps[last]
        at = step.output[1]
        names = [form.loop() for form in at]
        if None in names or len(set(names)) < len(names) or [step.loops[n or ""] for n in names] != y.shape:
            return False
        return all(
            access == at and (number <= last if memory is x else number > last)
            for number, other in enumerate(self.steps)
            for memory, access in other.inputs
            if memory in (x, y)
        )

    def overwrite(self, x: Memory, y: Memory) -> None:
        """Make the result y the memory of the operand x."""
        there = x in self.memories
        self.memories = [x if m is y else m for m in self.memories if m is not y or not there]
        for step in self.steps:
            step.inputs = [(x if memory is y else memory, access) for memory, access in step.inputs]
            if step.output[0] is y:
                step.output = (x, step.output[1])

    # Simplification -----------------------------------------------------------------------------------------------------
    def simplify(self) -> dict[str, Affine]:
        """Drop unit loops and axes, merge neighbouring loops. Returns what became of the loops that are gone."""
        ops = [
            LoopedOp(dict(s.loops), set(s.reduce), s.indexed, [(m, list(access)) for m, access in s.operands])
            for s in self.steps
        ]
        shapes = {memory: list(memory.shape) for step in self.steps for memory, _ in step.operands}
        loops = MergeableLoops(ops, shapes, {memory for memory in shapes if memory.pinned}, whole=True)
        loops.merge()
        for memory, shape in shapes.items():
            memory.shape = shape
        for step, op in zip(self.steps, ops, strict=True):
            *inputs, output = [tuple(access) for _, access in op.visits]
            step.loops, step.reduce = op.loops, op.folded
            step.inputs = [(memory, access) for (memory, _), access in zip(step.inputs, inputs, strict=True)]
            step.output = (step.output[0], output)
        return {name: Affine() for name in loops.dropped}

    # Writing ------------------------------------------------------------------------------------------------------------
    def write(self) -> tuple[Kernel, list[Extent]]:
        """The kernel, and the dimension expressions that its index arguments stand for, in order."""
        became = self.simplify()
        for step in self.steps:
            self._tell_loops(step)
        names: dict[Extent, str] = {}
        for extent in (
            *(e for m in self.memories for e in (*m.shape, *m.starts)),
            *(e for s in self.steps for e in s.loops.values()),
            *self.extents,
        ):
            if not isinstance(extent, int) and extent not in names:
                names[extent] = f"s{len(names)}"

        def named(extent: Extent) -> Extent:
            return extent if isinstance(extent, int) else dims.symbol(names[extent])

        buffers = {
            m.name: Buffer(tuple(named(e) for e in m.shape), m.dtype, m.weight) for m in self.memories if m.bound
        }
        kernel = Kernel(self.name, buffers, extents=list(names.values()))
        values = {m: kernel.buffers[m.name] for m in self.memories if m.bound}
        for memory in self.memories:
            if memory.temporary:
                values[memory] = kernel.temporary([named(e) for e in memory.shape], memory.dtype, memory.name)
            elif memory.values is not None:
                values[memory] = kernel.constant(memory.values, memory.name)
            elif memory.whole:
                starts, sizes = ([_size(kernel, named(e)) for e in es] for es in (memory.starts, memory.shape))
                values[memory] = subview(kernel.builder, values[memory.whole], starts, sizes)
        loops = {n: became.get(n, Affine({n: 1})) for s in self.steps for n in s.loops} | became
        context = Context(kernel, values, names, loops)
        views = [  # in front of all ops: those with nothing between them are tiled together
            [visited(kernel.builder, values[m], access, step.loops) for m, access in step.operands]
            for step in self.steps
        ]
        for step, (*inputs, output) in zip(self.steps, views, strict=True):
            kernel.structured(
                {n: named(e) for n, e in step.loops.items()},
                [(view, access) for view, (_, access) in zip(inputs, step.inputs, strict=True)],
                (output, step.output[1]),
                lambda b, *scalars, step=step: step.body(context, b, scalars[:-1], scalars[-1]),
                step.reduce,
            )
        kernel.return_()
        kernel.finish()
        order = {name: extent for extent, name in names.items()}
        return kernel, [order[name] for name in kernel.extents]

    def _tell_loops(self, step: DraftOp) -> None:
        """linalg reads the extent of a loop off an operand that the loop alone indexes. The taps of a window, and a loop that runs backwards,
        get one for this: memory that nobody touches."""
        alone = {index.loop() for _, access in step.operands for index in access}
        if others := [name for name in step.loops if name not in alone]:
            memory = self.memory([step.loops[n] for n in others], step.output[0].dtype, "window", temporary=True)
            step.inputs.append((memory, tuple(Affine({n: 1}) for n in others)))


def _size(kernel: Kernel, extent: Extent) -> SSAValue | int:
    return extent if isinstance(extent, int) else kernel.extent(extent)

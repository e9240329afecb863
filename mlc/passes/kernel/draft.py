"""A kernel before it is written: structured ops over named loops whose extents are still dimension expressions.

Loops that run through memory as one become one, with the extent N*S, and loops of extent 1 vanish, whatever is symbolic:

    loops {b: N, s: S, n: 768}   x[b, s, n] : [N, S, 768]      bias[n]
->  loops {b.s: N*S, n: 768}     x[b.s, n]  : [N*S, 768]       bias[n]

Distinct symbolic extents become the index arguments s0, s1, ... of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from xdsl.ir import SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Body, Buffer, Kernel
from mlc.passes.loops.tile_view import subview, visited

Access = tuple[Affine, ...]


@dataclass(eq=False)
class Memory:
    """A buffer or temporary of a draft, or the part of one that begins at `starts`. `pinned`: bodies compute addresses in it, or it is a part,
    so its axes stay as they are. `holds`: along each axis it has every `step`-th element of its value from `first` on, (first, step); all of
    them where it is empty."""

    name: str
    shape: list[Extent]
    dtype: str
    temporary: bool = False
    weight: bool = False
    pinned: bool = False
    whole: Memory | None = None
    starts: Sequence[Extent] = ()
    holds: tuple[tuple[int, int], ...] = ()

    def place(self, at: Access) -> Access:
        """Where the memory has the element of its value at `at`."""
        if not self.holds:
            return at
        return tuple((form - first).over(step) for form, (first, step) in zip(at, self.holds, strict=True))

    @property
    def bound(self) -> bool:
        """Does a call of the kernel hand it in?"""
        return not self.temporary and self.whole is None


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
        """Drop unit loops and axes, merge neighbouring loops. Returns what became of each loop."""
        became: dict[str, Affine] = {}
        for name in list(dict.fromkeys(n for s in self.steps for n in s.loops)):
            if all(s.loops.get(name, 1) == 1 for s in self.steps):
                became[name] = Affine({}, 0)
                for step in self.steps:
                    step.loops.pop(name, None)
                    step.reduce.discard(name)
        if became:
            self._substitute(became)
        self._drop_unit_axes()
        while pair := self._mergeable():
            self._merge(*pair)
        return became

    def _substitute(self, became: Mapping[str, Affine]) -> None:
        for step in self.steps:
            step.inputs = [(m, tuple(_substituted(i, became) for i in access)) for m, access in step.inputs]
            step.output = (step.output[0], tuple(_substituted(i, became) for i in step.output[1]))

    def _drop_unit_axes(self) -> None:
        for memory in self.memories:
            places = [a for s in self.steps for m, a in s.operands if m is memory]
            if memory.pinned or not places:
                continue
            kept = [
                axis
                for axis, extent in enumerate(memory.shape)
                if not (extent == 1 and all(not access[axis].terms and not access[axis].constant for access in places))
            ]
            if len(kept) == len(memory.shape):
                continue
            memory.shape = [memory.shape[axis] for axis in kept]
            for step in self.steps:
                step.inputs = [(m, tuple(a[x] for x in kept) if m is memory else a) for m, a in step.inputs]
                m, a = step.output
                step.output = (m, tuple(a[x] for x in kept) if m is memory else a)

    def _mergeable(self) -> tuple[str, str] | None:
        for step in self.steps:
            names = list(step.loops)
            for outer, inner in pairwise(names):
                if self._may_merge(outer, inner):
                    return outer, inner
        return None

    def _may_merge(self, outer: str, inner: str) -> bool:
        touched: dict[Memory, int] = {}
        for step in self.steps:
            has = (outer in step.loops, inner in step.loops)
            if has == (False, False):
                continue
            names = list(step.loops)
            if has != (True, True) or (outer in step.reduce) != (inner in step.reduce):
                return False
            if names.index(inner) != names.index(outer) + 1 or step.indexed & {outer, inner}:
                return False
            for memory, access in step.operands:
                where = [axis for axis, index in enumerate(access) if index.terms.keys() & {outer, inner}]
                if not where:
                    continue
                if len(where) != 2 or where[1] != where[0] + 1 or memory.pinned:
                    return False
                if access[where[0]].loop() != outer or access[where[1]].loop() != inner:
                    return False
                if [memory.shape[w] for w in where] != [step.loops[outer], step.loops[inner]]:
                    return False
                if touched.setdefault(memory, where[0]) != where[0]:
                    return False
        if not touched:
            return False
        for step in self.steps:
            for memory, access in step.operands:
                if memory in touched and access[touched[memory]].loop() != outer:
                    return False
        return True

    def _merge(self, outer: str, inner: str) -> None:
        name = f"{outer}.{inner}"
        done: set[Memory] = set()
        for step in self.steps:
            if outer not in step.loops:
                continue
            total = step.loops[outer] * step.loops[inner]
            step.loops = {
                (name if n == outer else n): (total if n == outer else e) for n, e in step.loops.items() if n != inner
            }
            if outer in step.reduce:
                step.reduce = (step.reduce - {outer, inner}) | {name}

            def merged(memory: Memory, access: Access) -> Access:
                where = [axis for axis, index in enumerate(access) if outer in index.terms]
                if not where:
                    return access
                axis = where[0]
                if memory not in done:
                    memory.shape[axis : axis + 2] = [memory.shape[axis] * memory.shape[axis + 1]]
                    done.add(memory)
                return (*access[:axis], Affine({name: 1}), *access[axis + 2 :])

            step.inputs = [(m, merged(m, a)) for m, a in step.inputs]
            step.output = (step.output[0], merged(*step.output))

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
            elif memory.whole:
                starts, sizes = ([_size(kernel, named(e)) for e in es] for es in (memory.starts, memory.shape))
                values[memory] = subview(kernel.builder, values[memory.whole], starts, sizes)
        loops = {n: became.get(n, Affine({n: 1})) for s in self.steps for n in s.loops} | became
        context = Context(kernel, values, names, loops)
        for step in self.steps:
            kernel.structured(
                {n: named(e) for n, e in step.loops.items()},
                [(visited(kernel.builder, values[m], a, step.loops), a) for m, a in step.inputs],
                (visited(kernel.builder, values[step.output[0]], step.output[1], step.loops), step.output[1]),
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


def _substituted(index: Affine, became: Mapping[str, Affine]) -> Affine:
    if not index.terms.keys() & became.keys():
        return index
    total = Affine({n: c for n, c in index.terms.items() if n not in became}, index.constant)
    for name, coefficient in index.terms.items():
        if name in became:
            total = total + became[name] * coefficient
    return total

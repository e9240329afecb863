"""The grid leaf: each run of ops with the same parallel loops becomes one scf.parallel, a point of which is a thread of a GPU.

    linalg.generic {loops = {m = 128, n = 768}}          outs(%t)
    linalg.generic {loops = {m = 128, n = 768, k = 768}} ins(%A, %B) outs(%t)
    linalg.generic {loops = {m = 128, n = 768}}          ins(%t, %bias) outs(%D)
->  scf.parallel (%m, %n) = (0, 0) to (128, 768) step (1, 1) {
      %t = memref.alloca() : memref<1x1xf32>             // a register
      ...; scf.for %k = 0 to 768 { ... }; ...
    }

Runs stand one behind the other, and each is over before the next begins: what one hands to another is in the scratch memory of the call. Sums
are taken in a register and stored once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xdsl.dialects import arith, memref, scf
from xdsl.dialects.builtin import IntegerAttr, MemRefType
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.ir.dims import Extent
from mlc.ir.kernel.kernel import Kernel, erase, index, loops_of, strides_of, type_of
from mlc.ir.kernel.located import Builder
from mlc.ir.kernel.schedule import Grid, Level, Scalar
from mlc.ir.kernel.target import Target
from mlc.passes.loops.scalar_leaf import lower_scalar
from mlc.passes.loops.scratch import place_in_scratch
from mlc.passes.loops.tile import TileRun
from mlc.passes.loops.tile_view import Part, accesses
from mlc.passes.loops.tiling_rule import obstacle


def lower_grid(kernel: Kernel, leaf: Grid, target: Target) -> None:
    """Every structured op of the kernel, all of which stand at its top."""
    for run in list(runs(kernel.block)):
        GridRun(kernel, run, target).rewrite()
    lower_scalar(kernel, Scalar(), target)
    allocs = [op for op in kernel.op.walk() if isinstance(op, memref.AllocOp) and op.memref.first_use is not None]
    for op in allocs:
        if op.parent is not kernel.block:
            in_registers(op)
    if shared := [op for op in allocs if op.parent is kernel.block]:
        place_in_scratch(kernel, shared)


def parallel_loops(op: GenericOp) -> dict[str, Extent]:
    kinds = (kind.data for kind in op.iterator_types.data)
    return {
        name: extent
        for (name, extent), kind in zip(loops_of(op).items(), kinds, strict=True)
        if kind is IteratorType.PARALLEL
    }


def runs(block: Block) -> Iterator[list[GenericOp]]:
    """Ops that one thread can take one after the other, point by point."""
    run: list[GenericOp] = []
    for op in block.ops:
        if not isinstance(op, GenericOp):
            continue
        if run and not goes_with(run, op):
            yield run
            run = []
        run = [*run, op]
    if run:
        yield run


def goes_with(run: Sequence[GenericOp], op: GenericOp) -> bool:
    loops = parallel_loops(op)
    if parallel_loops(run[0]) != loops or obstacle([*run, op], list(loops)):
        return False
    written = {root(other.outputs[0]) for other in run}
    read = {root(value) for other in run for value in looked_up(other)}
    return written.isdisjoint(map(root, looked_up(op))) and root(op.outputs[0]) not in read


def looked_up(op: GenericOp) -> list[SSAValue]:
    """Buffers that a body reads at places of its own."""
    return [inner.memref for inner in op.body.walk() if isinstance(inner, memref.LoadOp)]


def root(value: SSAValue) -> SSAValue:
    while isinstance(value.owner, memref.SubviewOp | memref.CollapseShapeOp | memref.CastOp):
        value = value.owner.operands[0]
    return value


class GridRun(TileRun):
    """A run as one scf.parallel: tiles of one element."""

    def __init__(self, kernel: Kernel, run: list[GenericOp], target: Target):
        self.names = order(run)
        super().__init__(kernel, Level(dict.fromkeys(self.names, 1)), {}, target, run)

    def _rewrite(self) -> None:
        const = self.kernel.const
        block = Block(arg_types=[index] * len(self.names))
        inside = Builder(InsertPoint.at_end(block))
        parts = {}
        for name, arg in zip(self.names, block.args, strict=True):
            arg.name_hint = name.replace(".", "_")
            parts[name] = Part(arg, 1, 1, 1)
        self.body(inside, parts)
        take_sums_in_registers(block)
        inside.insert(scf.ReduceOp())
        stops = [self.kernel.extent(self.extents[name]) for name in self.names]
        starts, steps = [const(0)] * len(stops), [const(1)] * len(stops)
        Builder(InsertPoint.before(self.run[0])).insert(scf.ParallelOp(starts, stops, steps, [block]))
        allocs = {value.owner for value in self.temporaries}
        erase([*(op for op in allocs if isinstance(op, Operation)), *self.run])


def order(run: Sequence[GenericOp]) -> list[str]:
    """The parallel loops, that along which the last result lies innermost: neighbouring threads then write neighbouring elements."""
    last = run[-1]
    names = list(parallel_loops(last))
    (*_, access) = accesses(last)
    for form, stride in zip(access, strides_of(last.outputs[0]), strict=True):
        name = form.loop()
        if stride == 1 and name in names:
            return [*(n for n in names if n != name), name]
    return names


def take_sums_in_registers(block: Block) -> None:
    """A result that ops of a thread fold into stays in a register until they are done."""
    ops = [op for op in block.ops if isinstance(op, GenericOp)]
    folding = {op.outputs[0] for op in ops if IteratorType.REDUCTION in (k.data for k in op.iterator_types.data)}
    for place in folding:
        if isinstance(place.owner, memref.AllocOp):
            continue
        touching = [op for op in ops if any(root(value) is root(place) for value in op.operands)]
        if any(root(value) is root(place) and value is not place for op in touching for value in op.operands):
            continue  # seen through two views
        if any(root(value) is root(place) for op in ops for value in looked_up(op)):
            continue
        first = Builder(InsertPoint.before(touching[0]))
        register = first.insert(memref.AllocOp([], [], type_like(place))).memref
        register.name_hint = place.name_hint
        if reads(touching[0], place):
            first.insert(memref.StoreOp.get(first.insert(load(first, place)).results[0], register, zeros(first, place)))
        for op in touching:
            for number, value in enumerate(op.operands):
                if value is place:
                    op.operands[number] = register
        last = Builder(InsertPoint.after(touching[-1]))
        last.insert(memref.StoreOp.get(last.insert(load(last, register)).results[0], place, zeros(last, place)))


def type_like(value: SSAValue) -> MemRefType:
    type = type_of(value)
    return MemRefType(type.element_type, [1] * type.get_num_dims())


def reads(op: GenericOp, value: SSAValue) -> bool:
    arguments = zip(op.operands, op.body.block.args, strict=True)
    return any(operand is value and argument.first_use is not None for operand, argument in arguments)


def load(b: Builder, value: SSAValue) -> memref.LoadOp:
    return memref.LoadOp.get(value, zeros(b, value))


def zeros(b: Builder, value: SSAValue) -> list[SSAValue]:
    return [b.insert(arith.ConstantOp(IntegerAttr(0, index))).result for _ in range(type_of(value).get_num_dims())]


def in_registers(op: memref.AllocOp) -> None:
    """Memory of one thread, where it stands."""
    new = memref.AllocaOp.build(operands=[[], []], result_types=[op.memref.type], properties={})
    Builder(InsertPoint.before(op)).insert(new)
    new.memref.name_hint = op.memref.name_hint
    op.memref.replace_all_uses_with(new.memref)
    Rewriter.erase_op(op)

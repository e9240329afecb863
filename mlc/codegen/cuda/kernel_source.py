"""A kernel as __global__ functions. What a thread is, the kernel says in one of four ways:

scf.parallel at its top     one launch for each: a thread is a point (mlc/passes/loops/grid_leaf.py)
kernel.launch               one launch of that many blocks and threads, whose numbers the kernel asks for (mlc/passes/loops/grid.py)
kernel.tiles                one launch: a thread takes a tile, or a block does, where loops in it have steps that touch elements of their own
                            ("apart", mlc/passes/kernel/nest.py); where each has scratch memory, one tile after the other
none of these               one launch of one thread, or of one block as above: steps that depend on each other
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import DictionaryAttr, IntegerAttr, StringAttr
from xdsl.ir import Attribute, Operation, SSAValue

import mlc.codegen.cuda.control_ops
import mlc.codegen.cuda.memory_ops
import mlc.codegen.cuda.value_ops  # noqa: F401  fill the table of what ops print
from mlc.codegen.cuda import lane_ops, polynomial
from mlc.codegen.cuda.c_function import Function, View, enclosed, is_shared, written_buffers
from mlc.codegen.cuda.launches import Launch, trimmed
from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.cuda_target import STATIC_SHARED
from mlc.ir.kernel.extents import tile_count
from mlc.ir.kernel.kernel import static_bytes
from mlc.ir.kernel.planner import KernelSignature
from mlc.ir.kernel.schedule import Grid, Schedule

TILE_THREADS = 128  # of a block whose threads take tiles
TILE_BLOCK = 64  # threads of a block that takes a tile
SHARES = 1024  # threads that have scratch memory of their own, at most


@dataclass(frozen=True)
class Source:
    """The text of a kernel, its launches, and how many threads have scratch memory of their own."""

    text: str
    launches: tuple[Launch, ...]
    shares: int = 1


def kernel_source(functions: Sequence[func.FuncOp], index: str, nodes: Iterable[str] = ()) -> Source:
    """Of a kernel behind the private functions that it calls. `index`: the type of positions; `nodes`: what it computes of the user's model."""
    return Writer(functions, index, tuple(nodes)).source()


class Writer:
    def __init__(self, functions: Sequence[func.FuncOp], index: str, nodes: Sequence[str]):
        self.leaves, self.op, self.index, self.nodes = list(functions[:-1]), functions[-1], index, nodes
        self.signature = KernelSignature(self.op)
        self.name = self.signature.name
        self.written = written_buffers(self.op)
        self.launches: list[Launch] = []
        self.shares = 1

    def source(self) -> Source:
        grids = [op for op in self.op.body.block.ops if isinstance(op, scf.ParallelOp)]
        launch = self.op.attributes.get("kernel.launch")
        if grids:
            texts = [self.grid(grid, number, len(grids)) for number, grid in enumerate(grids, 1)]
        elif isinstance(launch, DictionaryAttr):
            texts = [self.bound(launch)]
        else:
            texts = [self.tiles()]
        return Source("\n".join([self.heading(), *self.leaf_texts(), *texts]), tuple(self.launches), self.shares)

    # Text around the functions ---------------------------------------------------------------------------------------
    def heading(self) -> str:
        lines = [f"// {self.name}"]
        if self.nodes:
            lines.append(f"//   computes  {', '.join(map(on_one_line, self.nodes))}")
        if schedule := _text(self.op.attributes.get("kernel.schedule")):
            lines.append(f"//   schedule  {schedule}")
        for launch in self.launches:
            grid, block = (", ".join(map(str, trimmed(side))) for side in (launch.grid, launch.block))
            grid, block = (f"dim3({side})" if ", " in side else side for side in (grid, block))
            more = f", {launch.shared}" if launch.shared else ""
            lines.append(f"//   launch    {launch.symbol}<<<{grid}, {block}{more}>>>")
        return "\n".join(lines)

    def leaf_texts(self) -> list[str]:
        texts = []
        for leaf in self.leaves:
            f = Function(self.name, self.index)
            lane_ops.spread_as(f, leaf)
            arguments = f.arguments(leaf.body.block.args, written_buffers(leaf))
            f.block(leaf.body.block)
            head = f"static __device__ __forceinline__ void {leaf.sym_name.data}({', '.join(arguments)}) {{"
            texts.append("\n".join([head, *f.lines, "}\n"]))
        return texts

    def global_text(self, symbol: str, arguments: Sequence[str], threads: int, f: Function, resident: int = 0) -> str:
        bounds = f"__launch_bounds__({threads}{f', {resident}' if resident > 1 else ''})"
        head = f'extern "C" __global__ void {bounds} {symbol}({", ".join(arguments)}) {{'
        return "\n".join([head, *f.lines, "}\n"])

    def function(self) -> tuple[Function, list[str]]:
        """A function that takes the kernel's arguments, but for a range of tiles."""
        f = Function(self.name, self.index)
        values = [
            arg
            for arg, role in zip(self.op.body.block.args, self.signature.roles, strict=True)
            if role not in ("begin", "end")
        ]
        return f, f.arguments(values, self.written)

    # Kinds of kernels ------------------------------------------------------------------------------------------------
    def grid(self, op: scf.ParallelOp, number: int, count: int) -> str:
        """A thread per point of the loops, the last one fastest."""
        symbol = self.name if count == 1 else f"{self.name}_{number}"
        f, arguments = self.function()
        for before in needed(op):
            f.op(before)
        block = op.body.block
        extents = [self.extent_of(stop) for stop in op.upperBound]
        names = [f.fresh(arg.name_hint or "i") for arg in block.args]
        stops = [f.factor(stop) for stop in op.upperBound]
        threads, total = (self.grid_threads() if names else 1), dims.prod(extents)
        thread = thread_number(f.index, threads)
        if len(names) == 1:
            f.line(f"const {f.index} {names[0]} = {thread};")
            f.line(f"if ({names[0]} >= {f.value(op.upperBound[0])}) return;")
        elif names:
            thread_name = f.fresh("thread")
            f.line(f"const {f.index} {thread_name} = {thread};")
            f.line(f"if ({thread_name} >= {' * '.join(stops)}) return;")
            for place, name in enumerate(names):
                behind = " * ".join(stops[place + 1 :])
                behind = f"({behind})" if " * " in behind else behind
                text = f"{thread_name} / {behind}" if behind else thread_name
                text += f" % {stops[place]}" if place else ""
                f.line(f"const {f.index} {name} = {text};")
        for arg, name in zip(block.args, names, strict=True):
            f.positions[arg] = polynomial.name(name)
        f.block(block)
        self.launches.append(Launch(symbol, (_blocks(total, threads), "1", "1"), (threads, 1, 1)))
        return self.global_text(symbol, arguments, threads, f)

    def grid_threads(self) -> int:
        leaf = Schedule.parse(_text(self.op.attributes.get("kernel.schedule"))).leaf
        return leaf.threads if isinstance(leaf, Grid) else TILE_THREADS

    def extent_of(self, value: SSAValue) -> Extent:
        """The expression of the kernel's extents that an index at the entry is."""
        return extent_of(value, dict(zip(self.op.body.block.args, self.signature.names, strict=True)))

    def bound(self, launch: DictionaryAttr) -> str:
        """Blocks and threads are counted by the schedule; its loops ask for their numbers."""
        counts = {bind: dims.parse(_text(count)) for bind, count in launch.data.items()}
        grid = [counts.get(f"block.{axis}", 1) for axis in "xyz"]
        block = [counts.get(f"thread.{axis}", 1) for axis in "xyz"]
        if not all(isinstance(count, int) for count in block):
            raise InternalError(f"kernel '{self.name}': a block of {block} threads")
        threads = prod(count for count in block if isinstance(count, int))
        f, arguments = self.function()
        shared = self.dynamic_memory(f)
        f.block(self.op.body.block)
        resident = self.resident()
        texts = [str(count) for count in grid]
        self.launches.append(Launch(self.name, (texts[0], texts[1], texts[2]), tuple(block), shared))  # type: ignore[arg-type]
        return self.global_text(self.name, arguments, threads, f, resident)

    def dynamic_memory(self, f: Function) -> int:
        """Arrays that a block shares are dynamic memory where they are more than needs no word to the driver: so many bytes of it."""
        arrays = [op for op in self.op.body.block.ops if isinstance(op, memref.AllocOp) and is_shared(op.memref)]
        total = 0
        places: dict[SSAValue, int] = {}
        for array in arrays:
            places[array.memref] = total
            total += -(-(static_bytes(array) or 0) // 16) * 16  # each begins where 16 bytes can be moved at a time
        if total <= STATIC_SHARED:
            return 0
        f.dynamic = places
        f.shared = f.fresh("shared")
        f.line(f"MLC_DYNAMIC_SHARED(unsigned char, {f.shared});")
        return total

    def resident(self) -> int:
        schedule = Schedule.parse(_text(self.op.attributes.get("kernel.schedule")))
        return getattr(schedule, "resident", 1)

    def tiles(self) -> str:
        """A thread per tile, as far as there is scratch memory for each; a kernel without tiles is one thread's."""
        f, arguments = self.function()
        count = self.signature.tiles
        scratch = self.signature.scratch
        together = TILE_BLOCK if scratch == 0 and steps_apart(self.op) else 1
        f.together = together
        if count is None:
            f.block(self.op.body.block)
            self.launches.append(Launch(self.name, ("1", "1", "1"), (together, 1, 1)))
            return self.global_text(self.name, arguments, together, f)
        roles = dict(zip(self.signature.roles, self.op.body.block.args, strict=True))
        tile = f.fresh("tile")
        extents = {name: arg for name, arg in zip(self.signature.names, self.op.body.block.args, strict=True) if name}
        known = {n: f.value(a) for n, a in extents.items() if a in f.positions}
        if together > 1:
            f.line(f"const {f.index} {tile} = blockIdx.x;")
            f.positions[roles["begin"]] = polynomial.name(tile)
            f.positions[roles["end"]] = polynomial.plus(polynomial.name(tile), polynomial.number(1))
            f.block(self.op.body.block)
            self.launches.append(Launch(self.name, (str(count), "1", "1"), (together, 1, 1)))
            return self.global_text(self.name, arguments, together, f)
        tiles = f.fresh("tiles")
        f.line(f"const {f.index} {tiles} = {dim_text(count, known)};")
        thread = thread_number(f.index, TILE_THREADS)
        head = f"if (const {f.index} {tile} = {thread}; {tile} < {tiles})"
        if scratch != 0:
            self.shares = SHARES
            own = f.fresh("own")
            bytes = dim_text(scratch, known)
            f.line(f"int8_t *const {own} = scratch + (int64_t)({thread}) * ({bytes});")
            f.views[roles["scratch"]] = View(own, {}, (polynomial.number(1),))
            head = f"for ({f.index} {tile} = {thread}; {tile} < {tiles}; {tile} += {SHARES})"
        with f.braces(head):
            f.positions[roles["begin"]] = polynomial.name(tile)
            f.positions[roles["end"]] = polynomial.plus(polynomial.name(tile), polynomial.number(1))
            f.block(self.op.body.block)
        blocks: Extent = tile_count(count, TILE_THREADS)
        if self.shares > 1:
            blocks = dims.dmin(blocks, SHARES // TILE_THREADS)
        self.launches.append(Launch(self.name, (str(blocks), "1", "1"), (TILE_THREADS, 1, 1)))
        return self.global_text(self.name, arguments, TILE_THREADS, f)


def steps_apart(op: func.FuncOp) -> bool:
    """Can the threads of a block share a tile: is all that is written written in loops whose steps are apart?"""
    stores = [inner for inner in op.walk() if inner.name in ("memref.store", "vector.store", "vector.maskedstore")]
    return bool(stores) and all(any("apart" in outer.attributes for outer in around(store)) for store in stores)


def around(op: Operation) -> Iterable[Operation]:
    """The ops that hold an op, the innermost first."""
    while (outer := op.parent_op()) is not None:
        yield outer
        op = outer


def thread_number(index: str, threads: int) -> str:
    """Of all blocks of so many threads. CUDA's own numbers have 32 bits and wrap."""
    return f"{'(int64_t)' if index == 'int64_t' else ''}blockIdx.x * {threads} + threadIdx.x"


def on_one_line(name: str) -> str:
    """A user's name in a comment, which a line break would end and a backslash at the end would prolong."""
    return "".join(sign if sign.isprintable() and sign != "\\" else "?" for sign in name)


def needed(op: Operation) -> list[Operation]:
    """The ops at the top of a kernel that one of them stands on, in their order."""
    block, found, waiting = op.parent, set[Operation](), [op]
    while waiting:
        for inner in waiting.pop().walk():
            for value in inner.operands:
                owner = value.owner
                if isinstance(owner, Operation) and owner.parent is block and owner is not op and owner not in found:
                    found.add(owner)
                    waiting.append(owner)
    assert block is not None
    return [before for before in block.ops if before in found]


def extent_of(value: SSAValue, names: Mapping[SSAValue, str]) -> Extent:
    """The expression of the kernel's extents that an index at the entry is: an argument, a number, a sum or product."""
    if value in names:
        return dims.symbol(names[value])
    match value.owner:
        case arith.ConstantOp(value=IntegerAttr() as attr):
            return attr.value.data
        case arith.MuliOp() as op:
            return extent_of(op.lhs, names) * extent_of(op.rhs, names)
        case arith.AddiOp() as op:
            return extent_of(op.lhs, names) + extent_of(op.rhs, names)
        case arith.SubiOp() as op:
            return extent_of(op.lhs, names) - extent_of(op.rhs, names)
        case arith.DivUIOp() as op:
            return dims.floordiv(extent_of(op.lhs, names), extent_of(op.rhs, names))
    raise InternalError(f"a grid of %{value.name_hint} blocks, which is no extent")


def dim_text(extent: Extent, names: Mapping[str, str]) -> str:
    """An expression of extents in C. Its divisions are of numbers that are not negative."""
    if isinstance(extent, int):
        return str(extent)
    terms = []
    for monomial, coefficient in extent.terms:
        factors = [str(coefficient)] if coefficient != 1 or not monomial else []
        for atom in monomial:
            if isinstance(atom, str):
                factors.append(names[atom])
                continue
            args = [dim_text(arg, names) for arg in atom.args]
            if atom.op == "//":
                factors.append(f"({' / '.join(map(enclosed, args))})")
            else:
                folded = args[0]
                for arg in args[1:]:
                    folded = f"{atom.op}({folded}, {arg})"
                factors.append(folded)
        terms.append(" * ".join(factors))
    return " + ".join(terms)


def _blocks(total: Extent, threads: int) -> str:
    return str(tile_count(total, threads))


def _text(attr: Attribute | None) -> str:
    return attr.data if isinstance(attr, StringAttr) else ""

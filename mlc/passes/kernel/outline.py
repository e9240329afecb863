"""Outline: groups become kernels, and @main the planned function that calls them (mlc/ir/kernel/program.py).

    %y = graph.group(%x, %w) {...}      ->   func.func @contraction_0(%x, %w, %y) { linalg ... }
    return %y                                func.func @main(%x, %y) { kernel.call @contraction_0(%x, %w, %y) }

Equal kernels are one function. Results that leave the function are written where the caller wants them, over an argument where they live
in one (placement.py); reshapes are views.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from xdsl.builder import Builder
from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IndexType, IntegerAttr, ModuleOp, StringAttr
from xdsl.ir import Block, BlockArgument, Operation, Region, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.errors import InternalError, InvalidModel, UnsupportedOp
from mlc.ir import dims, work
from mlc.ir.alias import KERNEL_ALIAS, KERNEL_FRONT, fronts_of
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import GraphOp, location_file, location_name
from mlc.ir.graph.collective import AllReduceOp, AllReduceStartOp, AllReduceWaitOp, RankOp, bucket_places
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.control import ControlOp, GroupOp, IfOp, ScanOp, WhileOp, YieldOp, source_of, yielded
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.graph.index import ScatterOp
from mlc.ir.graph.parts import ConcatenateOp, PadOp, SliceOp
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.graph.views import has_fixed_offsets
from mlc.ir.kernel import all_reduce, program
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.module import Module
from mlc.ir.types import DimsAttr, dtype_of, shape_of, signless
from mlc.passes.kernel.group_draft import Part, Starts, draft_group, parts_of
from mlc.passes.kernel.nest import Written
from mlc.passes.kernel.placement import place
from mlc.passes.kernel.plain import overwrites_alone, plain_op, write_border, write_plain
from mlc.passes.kernel.scatter import scatter_copy

index = IndexType()


def outline(module: Module) -> Module:
    """The program of a fused module: kernels as functions on memrefs, and @main in the kernel dialect. Shares the weight store."""
    return Outline(module, Drafts()).run()


def outlined_main(module: Module, drafts: Drafts) -> func.FuncOp:
    """@main alone, with buffers and calls as `outline` makes them. `drafts` are those of modules of the same groups, and take what is new."""
    return Outline(module, drafts).main()


@dataclass(frozen=True)
class Made:
    """A kernel as calls see it: its name, which memory each buffer is and with which extents, and its index arguments."""

    callee: str
    order: list[int]
    shapes: list[tuple[Extent, ...]]
    extents: list[Extent]
    spare: list[tuple[tuple[Extent, ...], str]]


@dataclass
class Drafts:
    """The kernels that were made of groups so far.

    kernels     by their structure
    names       how many there are of each kind
    made        by the structure of a group, and what it overwrites
    overwrites  may the kernel of a group write a result over an operand: by its structure and both
    """

    kernels: dict[str, Kernel] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    made: dict[Hashable, list[Made]] = field(default_factory=dict)
    overwrites: dict[Hashable, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class _Bucket:
    """Memory that is summed up over ranks in one piece, the slot of that, and where its members lie."""

    memory: SSAValue
    slot: int
    members: list[SSAValue]


MANY = 32  # kernels that differ in where they begin to read; where there are more, that is an argument of one


def cuts(group: GroupOp) -> list[SliceOp]:
    """The slices of operands, in one piece, at fixed places."""
    found = [op for op in group.body.block.ops if isinstance(op, SliceOp) and isinstance(op.x.owner, Block)]
    return [op for op in found if has_fixed_offsets(op) and all(step == 1 for step in op.steps.get_values())]


def structure(group: GroupOp, anywhere: Sequence[Operation] = ()) -> Hashable:
    """Equal for groups that do the same to operands of the same types, wherever the slices of `anywhere` begin."""
    numbers: dict[SSAValue, int] = {arg: n for n, arg in enumerate(group.body.block.args)}
    rows: list[Hashable] = [
        group.kind.data,
        *((value.type, isinstance(source_of(value).owner, WeightOp)) for value in group.inputs),
    ]
    for op in group.body.block.ops:
        operands = tuple(numbers[v] for v in op.operands)
        properties = tuple((k, v) for k, v in op.properties.items() if k != "starts" or op not in anywhere)
        rows.append((type(op), operands, properties, tuple(r.type for r in op.results)))
        for result in op.results:
            numbers[result] = len(numbers)
    return tuple(rows)


class Outline:
    def __init__(self, module: Module, drafts: Drafts):
        self.module = module
        self.kernels, self.names, self.made, self.overwrites = (
            drafts.kernels,
            drafts.names,
            drafts.made,
            drafts.overwrites,
        )
        self.buffers = 0
        self.values: dict[SSAValue, SSAValue] = {}  # a tensor -> the memref that holds it
        self.shapes: dict[SSAValue, tuple[Extent, ...]] = {}  # a memref -> its extents
        self.sizes: dict[Extent, SSAValue] = {}
        self.counted = module.counted.keys()
        self.weights: dict[str, SSAValue] = {}
        self.places: dict[Hashable, set[Hashable]] = {}  # where the slices of groups begin that have else one structure
        self.buckets: dict[Operation, _Bucket] = {}  # by the op that starts to sum it up
        self.start = "start"  # of the names of such places in kernels, and of no symbol
        while any(symbol.startswith(self.start) for symbol in module.symbols):
            self.start += "_"

    def run(self) -> Module:
        function = self.main()
        kernels = [kernel.op for kernel in self.kernels.values()]
        made = Module(
            ModuleOp([*kernels, function], sym_name=StringAttr(self.module.name)),
            self.module.weights,
            self.module.symbols,
            self.module.checks,
        )
        made.source, made.nodes = self.module.source, self.module.nodes
        return made

    def main(self) -> func.FuncOp:
        main, names, aliases = self.module.main, self.module.output_names, self.module.aliases
        _require_alone(self.module.op, main)
        results = list(main.body.block.last_op.operands) if main.body.block.last_op else []
        inputs = [
            (n, shape_of(a), dtype_of(a), "input") for n, a in zip(self.module.input_names, main.args, strict=True)
        ]
        outputs = [(n, shape_of(v), dtype_of(v), "output") for n, v in zip(names, results, strict=True)]
        signature = [*inputs, *outputs]
        self.block = Block(arg_types=[program.memref_type(s, signless(d)) for _, s, d, _ in signature])
        self.b = Builder(InsertPoint.at_end(self.block))
        self.top = self.b
        for arg, (name, shape, _, _) in zip(self.block.args, signature, strict=True):
            arg.name_hint = re.sub(r"\W", "_", name) if re.match(r"[A-Za-z_]", name) else None
            self.shapes[arg] = shape
        self.values.update(zip(main.args, self.block.args, strict=False))
        for op in main.walk():
            if isinstance(op, GroupOp) and (cut := cuts(op)):
                self.places.setdefault(structure(op, cut), set()).add(tuple(c.starts for c in cut))
        self.groups = {op: number for number, op in enumerate(o for o in main.walk() if isinstance(o, GroupOp))}
        own = self.block.args[len(inputs) :]
        places = [self.block.args[aliases[n]] if n in aliases else arg for n, arg in enumerate(own)]
        placement = place(main, self._overwrites)
        self.fronts: dict[SSAValue, BlockArgument] = {
            own[n]: self.block.args[argument] for n, argument in fronts_of(main).items()
        }
        self.found_there: set[SSAValue] = set()  # results of which kernels write what is behind an argument
        self.targets: dict[SSAValue, SSAValue] = {value: places[n] for value, n in placement.direct.items()}
        for op in main.body.block.ops:
            if isinstance(op, AllReduceOp | AllReduceStartOp):
                self.buckets[op] = self._bucket(op)
        late = {move.result for move in placement.late}
        saved: dict[int, SSAValue] = {}
        for item in placement.order:
            if isinstance(item, Operation):
                work.on(item)
                self.op(item)
            elif item.result in late:
                saved[item.result] = self._copied(self.values[item.value])
            elif self._root(self.values[item.value]) is not places[item.result]:
                self._copy(self.values[item.value], places[item.result])
        for move in placement.late:
            self._copy(saved.get(move.result, self.values[move.value]), places[move.result])
        self.b.insert(func.ReturnOp())
        self._hoist()
        function = func.FuncOp("main", ([a.type for a in self.block.args], []), Region(self.block))
        taken = {len(inputs) + result: inputs[argument][0] for result, argument in aliases.items()}
        fronts = {arg: inputs[self.fronts[arg].index][0] for arg in self.found_there}
        function.properties["arg_attrs"] = ArrayAttr(
            [
                _attributes(*row, taken.get(n), fronts.get(arg))
                for n, (row, arg) in enumerate(zip(signature, self.block.args, strict=True))
            ]
        )
        return function

    # One op -------------------------------------------------------------------------------------------------------------
    def op(self, op: Operation) -> None:
        match op:
            case WeightOp():
                self.values[op.result] = self._weight(op.weight_key, op.result)
            case ConstantOp():
                key = self.module.weights.add(op.value, "constant")
                self.values[op.result] = self._weight(key, op.result)
            case ReshapeOp():
                self.values[op.result] = self._view(self.values[op.x], shape_of(op.result))
            case PrefixOp():
                self.b.insert(program.CountOp(op.symbol.data, op.most, self.values[op.count]))
                for x, result in zip(op.xs, op.outputs, strict=True):
                    self.values[result] = self._view(self.values[x], shape_of(result))
            case GroupOp():
                self.group(op)
            case AllReduceOp():
                self.start_sum(op)
                self.wait_for_sum(self.buckets[op], op.outputs)
            case AllReduceStartOp():
                self.start_sum(op)
            case AllReduceWaitOp() if isinstance(op.flight.owner, AllReduceStartOp):
                self.wait_for_sum(self.buckets[op.flight.owner], op.outputs)
            case RankOp():
                self.b.insert(all_reduce.RankOp(self._result(op.result)))
            case ScanOp():
                self.scan(op)
            case WhileOp():
                self.while_loop(op)
            case IfOp():
                self.branches(op)
            case YieldOp() | func.ReturnOp():
                return
            case _:
                raise InternalError(f"outline: {op.name} is in no group; run fuse first")

    def group(self, op: GroupOp) -> None:
        outputs = [self._result(value) for value in op.outputs]
        operands = [self.values[v] for v in op.inputs]
        roots = {self._root(memory): number for number, memory in enumerate(operands)}
        over = {n: roots[root] for n, memory in enumerate(outputs) if (root := self._root(memory)) in roots}
        cut = cuts(op)
        group = structure(op, cut)
        if cut and len(self.places[group]) <= MANY:
            cut, group = [], structure(op)
        given = [extent for c in cut for extent in c.starts.extents()]
        names: list[Extent] = [dims.symbol(f"{self.start}{n}") for n in range(len(given))]
        first = 1 if len(outputs) == 1 and self._is_there(op, self._root(outputs[0]), operands) else 0
        key = (group, tuple(over.items()), first)
        if key not in self.made:
            left = iter(names)
            self.made[key] = self._make(op, over, first, {c: [next(left) for _ in c.starts.extents()] for c in cut})
        for made in self.made[key]:
            self._call(made, operands, outputs, op, dict(zip(names, given, strict=True)))

    def _call(
        self,
        made: Made,
        operands: list[SSAValue],
        outputs: list[SSAValue],
        group: GroupOp,
        given: Mapping[Extent, Extent],
    ) -> None:
        spare = [self._buffer(shape, dtype) for shape, dtype in made.spare]
        memories = [*operands, *outputs, *spare]
        roots = [self._root(memories[n]) for n in made.order]  # kernels are compiled for arguments that do not overlap
        if any(roots.count(written) > 1 for written in {self._root(memory) for memory in (*outputs, *spare)}):
            raise InternalError(f"outline: kernel '{made.callee}' would take memory twice that it writes")
        views = [self._view(memories[n], shape) for n, shape in zip(made.order, made.shapes, strict=True)]
        extents = [self._size(given.get(e, e)) for e in made.extents]
        call = program.CallOp(made.callee, [*views, *extents], group.sources)
        call.location = program.group_location(self.groups[group])
        self.b.insert(call)

    def _is_there(self, op: GroupOp, result: SSAValue, operands: Sequence[SSAValue]) -> bool:
        """Whether the first piece of a result is the argument that it begins with, so that nothing has to be copied."""
        (value,) = yielded(op.body.block)
        front = self.fronts.get(result)
        if front is None or not isinstance(value.owner, ConcatenateOp) or value.owner.axis.value.data != 0:
            return False
        first = value.owner.xs[0]
        there = isinstance(first, BlockArgument) and first.owner is op.body.block and operands[first.index] is front
        if there:
            self.found_there.add(result)
        return there

    def _overwrites(self, op: GroupOp, result: int, operand: int) -> bool:
        """Whether the kernel of a group may write a result over an operand: it reads that nowhere but where it writes."""
        key = (structure(op), result, operand)
        if key not in self.overwrites:
            if (alone := plain_op(op)) is not None:
                found = overwrites_alone(alone, op.body.block.args[operand])
            elif parts_of(op):
                found = False
            else:
                draft, arguments, written = draft_group(op, self._fresh(op.kind.data))
                x = arguments[operand]
                found = x is not None and draft.may_overwrite(x, written[result])
            self.overwrites[key] = found
        return self.overwrites[key]

    def _make(self, op: GroupOp, over: Mapping[int, int], first: int, starts: Starts) -> list[Made]:
        """The kernels of a group: one, and before it one for the border of a padded result, or for what a scatter leaves as it is. `over`:
        results written over operands. `first`: the first of the pieces that have to be written. `starts`: where slices begin, as arguments."""
        kernels = []
        if isinstance(alone := plain_op(op), ScatterOp) and not over:
            kernels.append(self._made(op, alone, scatter_copy(alone, self._fresh("copy"))))
        for number, value in enumerate(yielded(op.body.block)):
            pad = value.owner
            if isinstance(pad, PadOp) and isinstance(pad.value.owner, ConstantOp):
                kernel, extents = write_border(pad, self._fresh("border"))
                by_name = dict(zip(kernel.extents, extents, strict=True))
                shape = tuple(dims.substitute(e, by_name) for e in kernel.shapes[kernel.buffers["y0"]])
                kernels.append(Made(self._shared(kernel), [len(op.inputs) + number], [shape], extents, []))
        parts: Sequence[Part | None] = parts_of(op) or [None]
        return [*kernels, *filter(None, (self._make_main(op, part, over, starts) for part in parts[first:]))]

    def _make_main(self, op: GroupOp, part: Part | None, over: Mapping[int, int], starts: Starts) -> Made | None:
        """The kernel of a group or of a piece of its result, and which memory of a call (operands, results, spare results) each of its buffers
        is. None where there is nothing to compute."""
        if (alone := plain_op(op)) is not None:
            return self._made(op, alone, write_plain(alone, self._fresh(alone.name.removeprefix("graph."))))
        draft, arguments, written = draft_group(op, self._fresh(op.kind.data), part, starts)
        if not draft.steps:
            return None
        for result, operand in over.items():
            x = arguments[operand]
            assert x is not None
            draft.overwrite(x, written[result])
        kernel, extents = draft.write()
        memories = [*arguments, *written]
        bound = [m for m in draft.memories if m.bound]
        order = [memories.index(m) for m in bound]
        return self._placed(kernel, extents, [kernel.buffers[m.name] for m in bound], order, [])

    def _made(self, op: GroupOp, alone: GraphOp, written: Written) -> Made:
        """The kernel of plain loops of an op that is alone in its group."""
        kernel, extents, wanted = written
        results = yielded(op.body.block)
        spare: list[tuple[tuple[Extent, ...], str]] = []
        numbers: dict[SSAValue, int] = {arg: n for n, arg in enumerate(op.body.block.args)}
        numbers |= {value: len(op.inputs) + n for n, value in enumerate(results)}
        for value in alone.results:  # a result that nobody reads is written all the same
            if value not in numbers:
                numbers[value] = len(op.inputs) + len(results) + len(spare)
                spare.append((shape_of(value), dtype_of(value)))
        held = {f"x{n}": v for n, v in enumerate(alone.operands)} | {f"y{n}": v for n, v in enumerate(alone.results)}
        order = [numbers[held[name]] for name in wanted]
        return self._placed(kernel, extents, [kernel.buffers[name] for name in wanted], order, spare)

    def _placed(
        self,
        kernel: Kernel,
        extents: list[Extent],
        buffers: list[SSAValue],
        order: list[int],
        spare: list[tuple[tuple[Extent, ...], str]],
    ) -> Made:
        by_name = dict(zip(kernel.extents, extents, strict=True))
        shapes = [tuple(dims.substitute(e, by_name) for e in kernel.shapes[buffer]) for buffer in buffers]
        return Made(self._shared(kernel), order, shapes, extents, spare)

    # Sums over ranks ----------------------------------------------------------------------------------------------------
    def _bucket(self, op: AllReduceOp | AllReduceStartOp) -> _Bucket:
        """Memory for a bucket. Who computes a member for it alone writes it there."""
        shapes = [shape_of(x) for x in op.xs]
        memory = self._buffer((bucket_places(shapes)[1],), dtype_of(op.xs[0]))
        members: list[SSAValue] = []
        for x, shape, start in zip(op.xs, shapes, bucket_places(shapes)[0], strict=True):
            root = _unshaped(x)
            own = isinstance(root.owner, GroupOp) and root not in self.targets and _read_by(root, op)
            shown = shape_of(root) if own else shape
            part = self.top.insert(program.PartOp(memory, start, shown)).result
            self.shapes[part] = shown
            if own:
                self.targets[root] = part
            members.append(self._view(part, shape))
        return _Bucket(memory, len(self.buckets), members)

    def start_sum(self, op: AllReduceOp | AllReduceStartOp) -> None:
        bucket = self.buckets.get(op)
        if bucket is None:
            raise UnsupportedOp(
                "a sum over the ranks in a loop or branch: the ranks may not take the same way",
                node=location_name(op),
                file=location_file(op),
                remedy="Take it out of the loop or branch.",
            )
        for x, member in zip(op.xs, bucket.members, strict=True):
            if self._root(self.values[x]) is not self._root(member):
                self._copy(self.values[x], member)
        self.b.insert(all_reduce.AllReduceStartOp(bucket.memory, bucket.slot))

    def wait_for_sum(self, bucket: _Bucket, results: Sequence[SSAValue]) -> None:
        self.b.insert(all_reduce.AllReduceWaitOp(bucket.memory, bucket.slot))
        self.values.update(zip(results, bucket.members, strict=True))

    # Loops and branches -------------------------------------------------------------------------------------------------
    def scan(self, op: ScanOp) -> None:
        """Carries live in buffers that each step overwrites; a step's slices are rows of the sequences."""
        carried, first = op.carried.value.data, op.first_constant()
        outer = [self.values[v] for v in op.inputs]
        carries = self._started(op.outputs[:carried], outer)
        stacks = [self._result(v) for v in op.outputs[carried:]]
        length = self._size(op.extent)
        loop = Block(arg_types=[index])
        loop.args[0].name_hint = "t"
        with self._within(loop):
            t: SSAValue = loop.args[0]
            if op.reverse.value.data:
                last = self.b.insert(arith.SubiOp(length, self._index(1))).result
                t = self.b.insert(arith.SubiOp(last, t)).result
            rows = [self._row(x, t) for x in outer[carried:first]]
            self.values.update(zip(op.body.block.args, [*carries, *rows, *outer[first:]], strict=True))
            self._step(op.body.block, carries, [], [self._row(stack, t) for stack in stacks])
            self.b.insert(scf.YieldOp())
        self.b.insert(scf.ForOp(self._index(0), length, self._index(1), [], loop))

    def while_loop(self, op: WhileOp) -> None:
        """As a scan, with a buffer for the condition, which is looked at before each step."""
        carried, most = op.carried.value.data, None if op.extent is None else self._size(op.extent)
        outer = [self.values[v] for v in op.inputs]
        carries = self._started(op.outputs[:carried], outer)
        stacks = [self._result(v) for v in op.outputs[carried:]]
        flag = self._buffer((), "bool")
        self._copy(self.values[op.condition], flag)
        test, body = Block(arg_types=[index]), Block(arg_types=[index])
        with self._within(test):
            goes_on = self.b.insert(memref.LoadOp.get(flag, [])).res
            if most is not None:
                below = self.b.insert(arith.CmpiOp(test.args[0], most, "slt")).result
                goes_on = self.b.insert(arith.AndIOp(goes_on, below)).result
            self.b.insert(scf.ConditionOp(goes_on, test.args[0]))
        with self._within(body):
            t = body.args[0]
            t.name_hint = "t"
            self.values.update(zip(op.body.block.args, [*carries, *outer[carried:]], strict=True))
            self._step(op.body.block, carries, [flag], [self._row(stack, t) for stack in stacks])
            self.b.insert(scf.YieldOp(self.b.insert(arith.AddiOp(t, self._index(1))).result))
        self.b.insert(scf.WhileOp([self._index(0)], [index], Region(test), Region(body)))

    def branches(self, op: IfOp) -> None:
        """Both bodies write the same buffers."""
        results = [self._result(v) for v in op.outputs]
        flag = self.b.insert(memref.LoadOp.get(self.values[op.condition], [])).res
        constants, made = [self.values[v] for v in op.inputs], []
        for body in op.blocks:
            block = Block()
            with self._within(block):
                self.values.update(zip(body.args, constants, strict=True))
                self._body(body, list(zip(yielded(body), results, strict=True)))
                self.b.insert(scf.YieldOp())
            made.append(Region(block))
        then, otherwise = made
        self.b.insert(scf.IfOp(flag, [], then, otherwise))

    @contextmanager
    def _within(self, block: Block) -> Iterator[None]:
        """Ops go to the end of a block of a loop or branch."""
        before, self.b = self.b, Builder(InsertPoint.at_end(block))
        yield
        self.b = before

    def _started(self, results: Sequence[SSAValue], starts: Sequence[SSAValue]) -> list[SSAValue]:
        """The buffers of the carries, which hold what the loop begins with."""
        carries = [self._result(v) for v in results]
        for start, carry in zip(starts, carries, strict=False):
            if self._root(start) is not self._root(carry):  # else it begins as what it overwrites
                self._copy(start, carry)
        return carries

    def _step(
        self, body: Block, carries: Sequence[SSAValue], flags: Sequence[SSAValue], rows: Sequence[SSAValue]
    ) -> None:
        """One step of a loop whose body gives flags, carries and rows. Carries are overwritten last, since the step reads them."""
        results = yielded(body)
        first, last = len(flags), len(flags) + len(carries)
        following = results[first:last]
        written = [*zip(results[:first], flags, strict=True), *zip(results[last:], rows, strict=True)]
        self._body(body, written)
        new = [self.values[value] for value in following]
        if any(self._root(n) in carries and self._root(n) is not c for n, c in zip(new, carries, strict=True)):
            new = [self._copied(n) for n in new]
        for value, carry in zip(new, carries, strict=True):
            if self._root(value) is not carry:
                self._copy(value, carry)

    def _body(self, body: Block, written: Sequence[tuple[SSAValue, SSAValue]]) -> None:
        """The ops of a body, and what it gives written to these places: by the kernel that computes it where it has no other place."""
        placed = set()
        for number, (value, target) in enumerate(written):
            root = _unshaped(value)
            if isinstance(root.owner, GroupOp | ControlOp) and root not in self.targets:
                self.targets[root] = target
                placed.add(number)
        for inner in body.ops:
            self.op(inner)
        for number, (value, target) in enumerate(written):
            if number not in placed:
                self._copy(self.values[value], target)

    # Memory -------------------------------------------------------------------------------------------------------------
    def _result(self, value: SSAValue) -> SSAValue:
        """Where a group's result goes: the caller's buffer, or one of the arena."""
        if value in self.targets:
            memory = self._view(self.targets[value], shape_of(value))
        else:
            memory = self._buffer(shape_of(value), dtype_of(value))
        self.values[value] = memory
        return memory

    def _buffer(self, shape: Sequence[Extent], dtype: str) -> SSAValue:
        op = self.top.insert(program.BufferOp(self.buffers, tuple(shape), signless(dtype)))
        self.buffers += 1
        self.shapes[op.result] = tuple(shape)
        return op.result

    def _view(self, memory: SSAValue, shape: Sequence[Extent]) -> SSAValue:
        if self.shapes[memory] == tuple(shape):
            return memory
        if isinstance(memory.owner, program.ViewOp):
            return self._view(memory.owner.base, shape)
        op = self.b.insert(program.ViewOp(memory, tuple(shape)))
        self.shapes[op.result] = tuple(shape)
        return op.result

    def _row(self, memory: SSAValue, position: SSAValue) -> SSAValue:
        op = self.b.insert(program.RowOp(memory, position))
        self.shapes[op.result] = self.shapes[memory][1:]
        return op.result

    def _root(self, memory: SSAValue) -> SSAValue:
        while isinstance(memory.owner, program.ViewOp):
            memory = memory.owner.base
        return memory

    def _copy(self, source: SSAValue, target: SSAValue) -> None:
        shape = self.shapes[target]
        self.b.insert(memref.CopyOp(*(self._cut(self._view(memory, shape)) for memory in (source, target))))

    def _cut(self, memory: SSAValue) -> SSAValue:
        """As much of a buffer as has been counted: what is reserved may be more."""
        shape = self.shapes[memory]
        if self.counted.isdisjoint(s for e in shape if isinstance(e, Dim) for s in e.symbols()):
            return memory
        return (
            memory if isinstance(memory.owner, program.ViewOp) else self.b.insert(program.ViewOp(memory, shape)).result
        )

    def _copied(self, source: SSAValue) -> SSAValue:
        op = self.top.insert(
            program.BufferOp(self.buffers, self.shapes[source], program.memref_of(source).element_type)
        )
        self.buffers += 1
        self.shapes[op.result] = self.shapes[source]
        self._copy(source, op.result)
        return op.result

    def _weight(self, key: str, value: SSAValue) -> SSAValue:
        if key not in self.weights:
            kind = program.memref_type(shape_of(value), signless(dtype_of(value)))
            self.weights[key] = self.top.insert(program.WeightOp(key, kind)).result
            self.shapes[self.weights[key]] = shape_of(value)
        return self.weights[key]

    def _size(self, extent: Extent) -> SSAValue:
        if extent not in self.sizes:
            size = self.top.insert(program.SizeOp(extent)).result if isinstance(extent, Dim) else self._index(extent)
            self.sizes[extent] = size
        return self.sizes[extent]

    def _index(self, value: int) -> SSAValue:
        return self.top.insert(arith.ConstantOp(IntegerAttr(value, index))).result

    def _hoist(self) -> None:
        """Sizes, constants and weights to the front, where they are visible in every loop."""
        first = self.block.first_op
        assert first is not None
        fixed = (program.SizeOp, program.WeightOp, program.BufferOp, arith.ConstantOp)
        for op in [op for op in self.block.ops if isinstance(op, fixed)]:
            if isinstance(op, program.SizeOp) and isinstance(op.extent, Dim) and op.extent.symbols() & self.counted:
                continue  # stands behind the count
            op.detach()
            if op is first:
                first = self.block.first_op
                assert first is not None
            self.block.insert_op_before(op, first)

    # Kernels ------------------------------------------------------------------------------------------------------------
    def _fresh(self, kind: str) -> str:
        return f"{kind}_{self.names.get(kind, 0)}"

    def _shared(self, kernel: Kernel) -> str:
        """The name of the function that computes what this kernel does."""
        key = kernel.key()
        if key not in self.kernels:
            self.kernels[key] = kernel
            kind = kernel.name.rsplit("_", 1)[0]
            self.names[kind] = self.names.get(kind, 0) + 1
        return self.kernels[key].name


def _unshaped(value: SSAValue) -> SSAValue:
    """The value whose memory this is a view of."""
    while isinstance(value.owner, ReshapeOp):
        value = value.owner.x
    return value


def _read_by(value: SSAValue, reader: Operation) -> bool:
    """Whether an op, and nothing else, reads a value, once, views looked through."""
    uses = list(value.uses)
    while len(uses) == 1 and isinstance(uses[0].operation, ReshapeOp):
        uses = list(uses[0].operation.result.uses)
    return len(uses) == 1 and uses[0].operation is reader


def _require_alone(module: ModuleOp, main: func.FuncOp) -> None:
    """Nothing calls a function beside @main here, so that it would vanish. Raises MlcError."""
    for op in module.ops:
        if op is not main:
            name = f"function @{op.sym_name.data}" if isinstance(op, func.FuncOp) else op.name
            raise InvalidModel(
                f"the module has the {name} beside @main, and only @main is compiled",
                remedy="Take it out, or compile it as @main of a module of its own.",
            )


def _attributes(
    name: str, shape: Sequence[Extent], dtype: str, role: str, alias: str | None = None, front: str | None = None
) -> DictionaryAttr:
    texts = {"kernel.name": name, "kernel.role": role, "kernel.dtype": dtype}
    if alias is not None:
        texts[KERNEL_ALIAS] = alias
    if front is not None:
        texts[KERNEL_FRONT] = front
    return DictionaryAttr({**{k: StringAttr(v) for k, v in texts.items()}, "kernel.dims": DimsAttr.of(shape)})

"""Fuse: gather ops into groups that become one kernel each.

    %a = graph.contract %x, %w         %g = graph.group(%x, %w, %b) {kind = "contraction"}: contract, broadcast, add, relu
    %b = graph.add %a, broadcast       ->
    %c = graph.relu %b

Attention that is arranged for it (mlc/passes/graph/attention_blocks.py) is one group. Contractions, convolutions and pooling take the
element-wise ops behind them; reductions grow into row groups (softmax, layer norm); what is left fuses with the only readers it has, and then with all that read it place by place, so that a cell of many gates, or a step of an
optimiser, is one kernel of several results. Values that cost nothing (constants, broadcasts, transposes, static slices) are copied into each
group that reads them. Reshapes stay outside: they are views of a buffer.
Whether an op may join where others are computed is one question, asked wherever a group grows: mlc.ir.graph.fusion_rule.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue

from mlc.ir import work
from mlc.ir.graph.attention import AttentionOp
from mlc.ir.graph.collective import CollectiveOp
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.control import ControlOp, GroupOp, YieldOp
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.graph.elementwise import PointwiseOp
from mlc.ir.graph.fusion_rule import Frame, misplaced
from mlc.ir.graph.index import GatherOp
from mlc.ir.graph.linear import ContractOp
from mlc.ir.graph.packed import UnpackOp
from mlc.ir.graph.parts import ConcatenateOp, PadOp, SliceOp
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.graph.views import has_fixed_offsets, is_view, reads_through
from mlc.ir.graph.window import ReduceWindowOp
from mlc.ir.graph.winograd import WinogradOp
from mlc.ir.module import Module
from mlc.ir.types import rank_of, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.attention_blocks import Attention


@dataclass(frozen=True)
class Fuse(Pass):
    """Gather ops into groups that become one kernel each, of at most max_ops ops. `online`: attention is one, with a softmax along with its keys."""

    name = "fuse"
    takes = ("graph", "groups")
    gives = "groups"
    max_ops: int = 64
    online: bool = False

    def run(self, module: Module) -> None:
        for op in list(module.op.walk()):
            if isinstance(op, (FuncOp, ControlOp)):
                for region in op.regions:
                    fuse_block(region.block, self.max_ops, self.online)


@dataclass(eq=False)
class Group:
    kind: str
    frame: Frame
    ops: list[Operation] = field(default_factory=list)
    first: int = sys.maxsize  # the numbers of its first and last op
    last: int = -1
    refused: dict[Operation, Operation] = field(default_factory=dict)  # a reader -> what must join before it may


# What an op is to fusion -----------------------------------------------------------------------------------------------


def is_stored(op: Operation) -> bool:
    """A constant with axes is memory, as a weight is."""
    return isinstance(op, ConstantOp) and rank_of(op.result) > 0


def is_map(op: Operation | Block | None) -> bool:
    """One element of the result per point, from elements of the operands."""
    return isinstance(op, (PointwiseOp, GatherOp, SliceOp, UnpackOp)) or is_view(op)


def reads_memory(op: Operation, operand: SSAValue) -> bool:
    """Must this operand be memory: does the kernel compute addresses in it, or not look through views of it?"""
    match op:
        case PointwiseOp() | ReduceOp() | ConcatenateOp() | PadOp() | AttentionOp():
            return False
        case GatherOp():
            return operand is op.x
        case SliceOp():
            return not is_view(op)
    return not is_view(op)


def takes_epilogue(op: Operation) -> bool:
    return isinstance(op, (ContractOp, ConvolutionOp, WinogradOp, ReduceWindowOp))


# Ops that are looked at to learn whether a group needs itself by way of others: a reader that is farther away is left where it is.
FAR = 1000

KIND: tuple[tuple[type[Operation], str], ...] = (
    (ContractOp, "contraction"),
    (ConvolutionOp, "convolution"),
    (WinogradOp, "winograd"),
    (ReduceWindowOp, "window"),
)


# One block --------------------------------------------------------------------------------------------------------------


def fuse_block(block: Block, max_ops: int, online: bool = False) -> None:
    """Replace the ops of a block by groups. Loops, branches, weights and reshapes that are views stay."""
    fusion = Fusion(block, max_ops)
    fusion.attentions(online)
    fusion.epilogues()
    fusion.rows()
    fusion.chains()
    fusion.joins()
    fusion.rest()
    fusion.rewrite()


class Fusion:
    def __init__(self, block: Block, max_ops: int):
        self.block, self.max_ops = block, max_ops
        self.ops = [op for op in block.ops if op is not block.last_op]
        self.order = {op: number for number, op in enumerate(block.ops)}
        self.group_of: dict[Operation, Group] = {}
        self.groups: list[Group] = []
        self.crossed = bytearray(
            len(self.order) + 1
        )  # 1 where a group has ops in front of the op of this number, and it or ops behind
        self.readers_of: dict[Operation, list[Operation]] = {}
        self.memory_views: dict[Operation, bool] = {}  # is a view needed as memory
        for op in reversed(self.ops):  # readers first: chains of views are as long as the model likes
            work.on(op)
            self.readers_of[op] = self._readers(op)
            if is_view(op) or isinstance(op, ReshapeOp):
                self.memory_views[op] = any(
                    self.wants_memory(self.in_block(use.operation), v) for v in op.results for use in v.uses
                )

    # Queries ------------------------------------------------------------------------------------------------------------
    def readers(self, op: Operation) -> list[Operation]:
        """The ops that use the results; views are looked through, since each reader gets its own copy."""
        return self.readers_of[op]

    def _readers(self, op: Operation) -> list[Operation]:
        found: dict[Operation, None] = {}
        for result in op.results:
            for use in result.uses:
                reader = self.in_block(use.operation)
                if is_view(reader):
                    behind = self.readers_of[reader]
                    found.update(dict.fromkeys(behind))
                    if behind and not self.escapes(reader):
                        continue
                found[reader] = None
        return list(found)

    def in_block(self, op: Operation) -> Operation:
        while op.parent is not self.block:
            parent = op.parent_op()
            assert parent is not None
            op = parent
        return op

    def escapes(self, op: Operation) -> bool:
        """Is a view needed as memory of its own, by something that does not look through it?"""
        return any(reads_memory(self.in_block(u.operation), v) for v in op.results for u in v.uses)

    def sources(self, op: Operation) -> Iterator[Operation]:
        """The ops behind the operands that may be computed where they are read, views looked through."""
        for operand in op.operands:
            reader, owner = op, operand.owner
            while isinstance(owner, Operation) and not reads_memory(reader, operand) and owner in self.order:
                if not is_view(owner):
                    yield owner
                    break
                if not owner.operands:
                    break
                reader, operand = owner, owner.operands[0]
                owner = operand.owner

    def obstacle(self, more: list[Operation], group: Group) -> Operation | None:
        """Where these ops need a result of the group, or of each other, by a way that leaves both: the op outside that reads it. What is too
        far away to tell is taken for one."""
        members = {*group.ops, *more}
        # In front of this op nothing waits for the group: no other group has ops on both sides of it.
        first = self.crossed.rfind(0, 0, min(self.order[m] for m in group.ops) + 1)
        seen: set[Operation] = set()
        waiting = [(v, op) for op in more for v in op.operands if not self.inside(v, members)]
        while waiting:
            value, reader = waiting.pop()
            owner = value.owner
            if (
                not isinstance(owner, Operation)
                or owner not in self.order
                or self.order[owner] < first
                or owner in seen
            ):
                continue
            if owner in members:
                return reader
            together = self.group_of[owner].ops if owner in self.group_of else [owner]
            seen.update(together)
            if len(seen) > FAR:
                return owner
            waiting += [(v, o) for o in together for v in o.operands]
        return None

    def inside(self, value: SSAValue, members: set[Operation]) -> bool:
        """Is the value computed in the group, or a view of such a value?"""
        while value.owner not in members:
            if not reads_through(value.owner):
                return False
            value = value.owner.operands[0]
        return True

    def in_place(self, more: list[Operation], group: Group) -> bool:
        """With these ops in the group, is each of its values read where it is written?"""
        members = {*group.ops, *more}
        touched = dict.fromkeys([*more, *(r for op in more for r in self.readers(op) if r in members)])
        return misplaced(touched, members, group.frame) is None

    def add(self, group: Group, op: Operation) -> None:
        group.ops.append(op)
        self.group_of[op] = group
        low, high = min(group.first, self.order[op]), max(group.last, self.order[op])
        self.crossed[low + 1 : high + 1] = bytes([1]) * (high - low)
        group.first, group.last = low, high

    def new(self, kind: str, op: Operation) -> Group:
        group = Group(kind, Frame.of(op))
        self.groups.append(group)
        self.add(group, op)
        return group

    def free(self, op: Operation) -> bool:
        return op in self.order and op not in self.group_of and op is not self.block.last_op and not is_view(op)

    # Growing groups -----------------------------------------------------------------------------------------------------
    def attentions(self, online: bool) -> None:
        """Attention whose scores are laid out for it is one kernel; where softmax goes along with the keys (`online`), also one whose are not."""
        for op in self.ops:
            found = Attention.of(op)
            if (
                found is None
                or len(found.ops) > self.max_ops
                or not (found.arranged or online and found.fits_registers)
            ):
                continue
            if all(self.free(member) for member in found.ops):
                group = self.new("attention" if found.arranged else "online_attention", found.product)
                for member in found.ops[1:]:
                    self.add(group, member)

    def epilogues(self) -> None:
        """Contractions take the chain of element-wise ops behind them; the last producer of an add takes it."""
        for op in reversed(self.ops):
            if not takes_epilogue(op) or op in self.group_of:
                continue
            work.on(op)
            group = self.new(next(kind for cls, kind in KIND if isinstance(op, cls)), op)
            tip = op
            while len(group.ops) < self.max_ops:
                readers = self.readers(tip)
                if not readers or not all(self.extends(r, tip) for r in readers):
                    break
                if len(readers) > 1 and not (last := self.rejoin(tip, readers)):
                    break
                more = [readers[0]] if len(readers) == 1 else last
                if len(group.ops) + len(more) > self.max_ops or not self.in_place(more, group):
                    break
                if self.obstacle(more, group):
                    break
                for reader in more:
                    self.add(group, reader)
                tip = more[-1]
            if not (isinstance(op, ConvolutionOp) and op.is_spread):  # that has a kernel for each of its phases
                self.take_border(group, tip)

    def take_border(self, group: Group, tip: Operation) -> None:
        """A constant border around the result is written in place: the padded buffer is the group's result."""
        match self.readers(tip):
            case [PadOp() as pad] if (
                self.free(pad)
                and has_fixed_offsets(pad)
                and not any(pad.between)
                and isinstance(pad.value.owner, ConstantOp)
            ):
                if pad.x.owner is tip:
                    self.add(group, pad)

    def extends(self, reader: Operation, tip: Operation) -> bool:
        if not self.free(reader) or not isinstance(reader, PointwiseOp):
            return False
        return shape_of(reader.results[0]) == shape_of(tip.results[0]) and tip.results[0] in reader.operands

    def rejoin(self, tip: Operation, readers: list[Operation]) -> list[Operation]:
        """A small diamond of element-wise ops behind `tip` that ends in one op (x * sigmoid(x), gelu): its ops in order."""
        shape = shape_of(tip.results[0])
        members: dict[Operation, None] = dict.fromkeys(readers)
        for _ in range(24):
            tails = [m for m in members if not self.readers(m) or any(r not in members for r in self.readers(m))]
            if len(tails) == 1 and (len(members) > 1):
                return sorted(members, key=self.order.__getitem__)
            tail = min(tails, key=self.order.__getitem__)
            after = self.readers(tail)
            fits = [r for r in after if self.free(r) and isinstance(r, PointwiseOp)]
            if not after or len(fits) < len(after) or any(shape_of(r.results[0]) != shape for r in fits):
                return []
            members.update(dict.fromkeys(fits))
        return []

    def rows(self) -> None:
        """A reduction, what feeds it alone, and what follows over the same rows."""
        for op in self.ops:
            if not isinstance(op, ReduceOp) or op in self.group_of:
                continue
            work.on(op)
            group = self.new("rows", op)
            changed = True
            while changed and len(group.ops) < self.max_ops:
                changed = self.grow(group)

    def fits_rows(self, op: Operation, frame: Frame) -> bool:
        if isinstance(op, ReduceOp):
            return Frame.of(op) == frame
        return isinstance(op, PointwiseOp) and frame.place(op.results[0]) is not None

    def grow(self, group: Group) -> bool:
        """Take producers that only the group reads, and consumers that keep the group convex."""

        def fits(op: Operation) -> bool:
            return self.free(op) and self.fits_rows(op, group.frame) and self.in_place([op], group)

        for member in list(group.ops):
            for source in self.sources(member):
                if all(self.group_of.get(r) is group for r in self.readers(source)) and fits(source):
                    self.add(group, source)
                    return True
        for member in list(group.ops):
            for reader in self.readers(member):
                waits = reader in group.refused and self.group_of.get(group.refused[reader]) is not group
                if waits or not fits(reader):
                    continue
                if (obstacle := self.obstacle([reader], group)) is not None:
                    group.refused[reader] = obstacle
                    continue
                self.add(group, reader)
                return True
        return False

    def chains(self) -> None:
        """What is left: element-wise ops and gathers fuse with readers of the same shape, if nobody else reads them."""
        for op in reversed(self.ops):
            if not self.free(op) or not is_map(op):
                continue
            work.on(op)
            group = self.new("elementwise", op)
            shape = shape_of(op.results[0])
            changed = True
            while changed and len(group.ops) < self.max_ops:
                changed = False
                for member in list(group.ops):
                    for source in self.sources(member):
                        if not self.free(source) or not is_map(source) or shape_of(source.results[0]) != shape:
                            continue
                        if isinstance(source, GatherOp) and len(group.ops) > 8:
                            continue
                        if any(self.group_of.get(r) is not group for r in self.readers(source)):
                            continue
                        if not self.escapes(source):  # else a gather in the group looks elements up in it
                            self.add(group, source)
                            changed = True

    def joins(self) -> None:
        """Element-wise groups of one shape become one where the one reads the other place by place. A concatenation of equal pieces joins the
        groups that compute them."""
        for op in self.ops:
            work.on(op)
            group = self.group_of.get(op)
            if group is not None and group.kind == "elementwise" and self.order[op] == group.last:
                for source in [source for member in group.ops for source in self.sources(member)]:
                    if source in self.group_of:
                        self.joined(self.group_of[source], self.group_of[op])
            elif group is None and isinstance(op, ConcatenateOp) and (makers := self.makers(op)):
                first, *others = makers
                if all(self.joined(first, other) for other in others) and self.fits(first, [op]):
                    self.add(first, op)
        self.groups = [group for group in self.groups if group.ops]

    def joined(self, first: Group, second: Group) -> bool:
        """Whether the second group is a part of the first, or can be made one."""
        if first is second:
            return True
        alike = first.kind == second.kind == "elementwise" and first.frame == second.frame
        if not alike or not self.fits(first, second.ops) or self.obstacle(first.ops, second):
            return False
        for op in second.ops:
            self.add(first, op)
        second.ops = []
        return True

    def fits(self, group: Group, more: list[Operation]) -> bool:
        """May these ops share what an element-wise group computes, and it theirs?"""
        ops = [*group.ops, *more]
        return (
            len(ops) <= self.max_ops
            and all(isinstance(op, PointwiseOp | ConcatenateOp) for op in ops)
            and self.in_place(ops, group)
            and self.obstacle(more, group) is None
        )

    def makers(self, op: ConcatenateOp) -> list[Group]:
        """The groups that compute the pieces of a concatenation, if these are equal and all computed element by element. One whose border is
        written with it stays apart."""
        owners = [x.owner for x in op.xs]
        found = dict.fromkeys(self.group_of[o] for o in owners if isinstance(o, PointwiseOp) and o in self.group_of)
        computed = all(isinstance(o, PointwiseOp) and o in self.group_of for o in owners)
        equal = len({shape_of(x) for x in op.xs}) == 1 and all(group.kind == "elementwise" for group in found)
        return list(found) if computed and equal and not any(isinstance(r, PadOp) for r in self.readers(op)) else []

    def rest(self) -> None:
        """Views that somebody needs as memory become copies; every other op is a kernel of its own."""
        for op in self.ops:
            if (
                op in self.group_of
                or isinstance(op, (WeightOp, ControlOp, GroupOp, PrefixOp, CollectiveOp))
                or is_stored(op)
            ):
                continue
            if is_view(op):
                if isinstance(op, ReshapeOp) or not self.needed_as_memory(op):
                    continue
                self.new("elementwise", op)
            elif not isinstance(op, ReshapeOp):
                group = self.new("online_attention" if isinstance(op, AttentionOp) else "single", op)
                if isinstance(op, ConcatenateOp):
                    self.take_border(group, op)

    def needed_as_memory(self, op: Operation) -> bool:
        """Does something outside groups, or a kernel that does not look through it, read this view?"""
        return self.memory_views[op]

    def wants_memory(self, reader: Operation, value: SSAValue) -> bool:
        if reader is self.block.last_op or isinstance(reader, ControlOp):
            return True
        if isinstance(reader, ReshapeOp):
            return self.reshape_needed(reader)
        return reads_memory(reader, value)

    def reshape_needed(self, op: ReshapeOp) -> bool:
        """A reshape that readers look through does not need its operand as memory."""
        return not is_view(op) or self.needed_as_memory(op)

    # Rewriting ----------------------------------------------------------------------------------------------------------
    def rewrite(self) -> None:
        last = self.block.last_op
        assert last is not None
        values: dict[SSAValue, SSAValue] = {arg: arg for arg in self.block.args}
        placed: list[Operation] = []
        for item in self.sorted_items():
            if isinstance(item, Group):
                made = self.build(item, values)
                placed.append(made)
            else:
                item.operands = [values.get(v, v) for v in item.operands]
                item.detach()
                placed.append(item)
                values.update((r, r) for r in item.results)
        last.operands = [values.get(v, v) for v in last.operands]
        for op in reversed([op for op in self.block.ops if op is not last]):
            op.detach()
            op.drop_all_references()
        for op in placed:
            self.block.insert_op_before(op, last)

    def sorted_items(self) -> list[Group | Operation]:
        """Groups and lone ops, each after what it needs; near their original order."""
        lone = [op for op in self.ops if op not in self.group_of and (not is_view(op) or self.stays(op))]
        items: list[Group | Operation] = [*self.groups, *lone]
        done: set[object] = set()
        result: list[Group | Operation] = []
        key = {
            id(item): max(self.order[o] for o in (item.ops if isinstance(item, Group) else [item])) for item in items
        }
        holder: dict[Operation, Group | Operation] = {
            o: i for i in items for o in (i.ops if isinstance(i, Group) else [i])
        }

        kept = {op for op in lone if is_view(op)}

        def needs(item: Group | Operation) -> Iterator[Group | Operation]:
            """What must stand before an item; views that are copied into it are looked through, and those of a group's own values stand behind it."""
            ops = sorted(item.ops, key=self.order.__getitem__) if isinstance(item, Group) else [item]
            members = set(ops)
            waiting = [
                v.owner
                for op in reversed(ops)
                for v in reversed(op.operands)
                if not (v.owner in kept and self.inside(v, members))
            ]
            seen: set[Operation] = set()
            while waiting:
                owner = waiting.pop()
                if not isinstance(owner, Operation) or owner not in self.order or owner in seen:
                    continue
                seen.add(owner)
                if owner not in holder or (isinstance(item, Group) and self.rests_on(owner, item)):
                    waiting += [v.owner for v in reversed(owner.operands)]
                elif holder[owner] is not item:
                    yield holder[owner]

        def visit(item: Group | Operation) -> None:
            path = [(item, needs(item))]
            done.add(id(item))
            while path:
                top, missing = path[-1]
                need = next((n for n in missing if id(n) not in done), None)
                if need is None:
                    result.append(top)
                    path.pop()
                else:
                    done.add(id(need))
                    path.append((need, needs(need)))

        for item in sorted(items, key=lambda i: key[id(i)]):
            if id(item) not in done:
                visit(item)
        return result

    def rests_on(self, op: Operation, group: Group) -> bool:
        """A view of what the group computes: the group copies it, and what makes memory of it for others comes behind the group."""
        while is_view(op) and op.operands:
            source = op.operands[0].owner
            if not isinstance(source, Operation):
                return False
            if self.group_of.get(source) is group:
                return True
            op = source
        return False

    def stays(self, op: Operation) -> bool:
        """A reshape that is a view of a buffer, wanted by something outside any group."""
        return isinstance(op, ReshapeOp) and self.reshape_needed(op)

    def build(self, group: Group, values: dict[SSAValue, SSAValue]) -> GroupOp:
        """The group op; `values` maps the block's old values to new ones and learns the group's results."""
        members = set(group.ops)
        inputs: dict[SSAValue, SSAValue] = {}
        body = Block()
        inner: dict[SSAValue, SSAValue] = {}

        def lookup(value: SSAValue) -> SSAValue:
            """The value inside; a view of another group's value is copied, with the views that it is made of."""
            chain: list[Operation] = []
            at = value
            while at not in inner:
                owner = at.owner
                copied = isinstance(owner, Operation) and owner in self.order and is_view(owner) and at not in values
                if not copied or owner in members:
                    outer = values[at]
                    if outer not in inputs:
                        inputs[outer] = body.insert_arg(at.type, len(body.args))
                        inputs[outer].name_hint = at.name_hint
                    inner[at] = inputs[outer]
                    break
                assert isinstance(owner, Operation)
                chain.append(owner)
                if not owner.operands:
                    break
                at = owner.operands[0]
            for view in reversed(chain):
                copy(view, {v: inner[v] for v in view.operands})
            return inner[value]

        def copy(op: Operation, mapped: dict[SSAValue, SSAValue]) -> None:
            clone = op.clone(value_mapper=dict(mapped))
            clone.location = op.location
            body.add_op(clone)
            inner.update(zip(op.results, clone.results, strict=True))

        for op in sorted(group.ops, key=self.order.__getitem__):
            if not all(r in inner for r in op.results) or not op.results:
                copy(op, {v: lookup(v) for v in op.operands})
        outputs = [
            r
            for op in sorted(group.ops, key=self.order.__getitem__)
            for r in op.results
            if any(self.leaves(u.operation, members) for u in r.uses)
        ]
        body.add_op(YieldOp([inner[r] for r in outputs]))
        made = GroupOp(list(inputs), group.kind, body)
        made.location = max(group.ops, key=self.order.__getitem__).location
        values.update(zip(outputs, made.outputs, strict=True))
        return made

    def leaves(self, reader: Operation, members: set[Operation]) -> bool:
        """Is a value read by anything outside the group (views are copied into their readers)?"""
        waiting, seen = [self.in_block(reader)], set[Operation]()
        while waiting:
            reader = waiting.pop()
            if reader in members or reader in seen:
                continue
            seen.add(reader)
            if not is_view(reader) or reader in self.group_of or self.stays(reader):
                return True
            waiting += [self.in_block(u.operation) for v in reader.results for u in v.uses]
        return False

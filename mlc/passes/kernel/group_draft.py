"""A fused group as a draft of its kernel: which values are materialised, and the structured ops that compute them.

    softmax over [r, c]:  fill top; top[r] = max x[r, c]; e[r, c] = exp(x - top); fill sum; sum[r] += e; y[r, c] = e * (1 / sum)

Reductions and contractions accumulate in a temporary that starts from a fill; group results are written by a last element-wise op.
Loops of different steps that visit the same axis have the same name: that is how a schedule fuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from types import MappingProxyType

from xdsl.dialects import arith
from xdsl.dialects.builtin import i64
from xdsl.ir import Block, Operation, SSAValue

from mlc.errors import InternalError
from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.control import GroupOp, source_of, yielded
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.elementwise import ElementwiseOp, PointwiseOp
from mlc.ir.graph.fusion_rule import misplaced_in, shares
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.parts import ConcatenateOp, PadOp, SliceOp, dilated
from mlc.ir.graph.pick import WindowPlaceOp
from mlc.ir.graph.reduce import ArgReduceOp, ReduceOp, identity
from mlc.ir.graph.window import ReduceWindowOp
from mlc.ir.graph.winograd import WinogradOp
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Body
from mlc.ir.types import dtype_of, is_float, is_half, rank_of, shape_of
from mlc.passes.kernel.arg_reduce import arg_reduce
from mlc.passes.kernel.attention_draft import part_keys, queries_last
from mlc.passes.kernel.draft import Access, Context, Draft, DraftOp, Memory
from mlc.passes.kernel.online_draft import draft_online
from mlc.passes.kernel.phases import Every, Phase, phases
from mlc.passes.kernel.scalar_expression import Expression, place, widen
from mlc.passes.kernel.winograd_draft import Band, Blocks, bands

COPIES = (PadOp, ConcatenateOp)  # written piece by piece, each piece at an offset
ACCUMULATES = (ReduceOp, ContractOp, ConvolutionOp, ReduceWindowOp, WindowPlaceOp, ArgReduceOp, WinogradOp)


@dataclass
class Node:
    """A value that is materialised: its loops, one per axis, and those it folds."""

    value: SSAValue
    axes: list[str]
    folded: dict[str, Extent] = field(default_factory=dict)


Piece = tuple[SSAValue, list[Extent]]
Part = Piece | Phase | Band  # what one of several kernels of a group computes
Starts = Mapping[Operation, Sequence[Extent]]


def draft_group(
    group: GroupOp, name: str, part: Part | None = None, starts: Starts | None = None
) -> tuple[Draft, list[Memory | None], list[Memory]]:
    """The draft, and the memories of the group's operands and results, in order; None for an operand that it has no need of.

    What is joined has a kernel for each `part`, as parts_of gives them. `starts` stand in for those of slices of operands.
    """
    if group.kind.data == "online_attention":
        return draft_online(group, name, starts or {})
    return GroupDraft(group, name, part, starts or {}).build()


def pieces(value: SSAValue) -> list[Piece]:
    """What a concatenation or padded tensor is copied from, and the offset of each copy."""
    match value.owner:
        case ConcatenateOp(axis=axis, xs=xs):
            along = axis.value.data
            starts: Iterable[Extent] = accumulate((shape_of(x)[along] for x in xs[:-1]), initial=0)
            return [(x, [s if a == along else 0 for a in range(rank_of(x))]) for x, s in zip(xs, starts, strict=True)]
        case PadOp(x=x, low=low):
            inner = (
                pieces(x)
                if isinstance(x.owner, ConcatenateOp) and not any(value.owner.between)
                else [(x, [0] * rank_of(x))]
            )
            return [(piece, [a + b for a, b in zip(start, low.extents(), strict=True)]) for piece, start in inner]
    return [(value, [])]


def parts_of(group: GroupOp) -> Sequence[Part]:
    """What a group's result is copied from by a kernel each, or the phases or bands of a convolution; nothing where one kernel computes it."""
    if group.kind.data == "elementwise":
        return []
    if (winograd := _winograd(group)) is not None:
        return bands(winograd)
    convolution = _convolution(group)
    if convolution is not None and convolution.is_spread:
        return phases(convolution)
    copied = [pieces(value) for value in yielded(group.body.block) if isinstance(value.owner, COPIES)]
    return max(copied, key=len, default=[])


def _shared(block: Block) -> set[SSAValue]:
    """The floats that an element-wise group computes for several of its steps: a step is a result, a piece of one, or such a value."""
    last, kept = block.last_op, set[SSAValue]()
    assert last is not None
    steps: dict[SSAValue, set[object]] = {}  # in which a value is computed, unless it is a step itself
    for op in reversed([op for op in block.ops if op is not last]):
        for value in op.results:
            found = steps[value] = set[object]()
            for use in value.uses:
                if isinstance(use.operation, ConcatenateOp):
                    found.add((use.operation, use.index))
                elif use.operation is not last:
                    (result,) = use.operation.results
                    found |= {result} if result in last.operands or result in kept else steps[result]
            if (
                len(found) > 1
                and value not in last.operands
                and isinstance(op, PointwiseOp)
                and is_float(dtype_of(value))
            ):
                kept.add(value)
    return kept


def _convolution(group: GroupOp) -> ConvolutionOp | None:
    return next((op for op in group.body.block.ops if isinstance(op, ConvolutionOp)), None)


def _winograd(group: GroupOp) -> WinogradOp | None:
    return next((op for op in group.body.block.ops if isinstance(op, WinogradOp)), None)


class GroupDraft:
    def __init__(self, group: GroupOp, name: str, part: Part | None, starts: Starts):
        self.group, self.block = group, group.body.block
        self.piece = part if isinstance(part, tuple) else None
        self.convolution, self.phase = _convolution(group), part if isinstance(part, Mapping) else {}
        if self.convolution is not None and not self.phase:
            (self.phase,) = phases(self.convolution)
        self.blocks = Blocks(winograd, part) if isinstance(part, Band) and (winograd := _winograd(group)) else None
        if (value := misplaced_in(group.kind.data, group.body.block)) is not None:
            raise InternalError(
                f"outline: a group reads its own {dtype_of(value)}{list(shape_of(value))} at another place"
            )
        self.attends = group.kind.data == "attention"
        self.draft = Draft(name)
        self.memory: dict[SSAValue, Memory] = {}
        self.arguments: list[Memory | None] = []
        needed = self._needed()
        for arg, outer in zip(self.block.args, group.inputs, strict=True):
            if needed is not None and arg not in needed:
                self.arguments.append(None)
                continue
            weight = isinstance(source_of(outer).owner, WeightOp)
            memory = self.draft.memory(shape_of(arg), dtype_of(arg), "w" if weight else "x", weight=weight)
            self.memory[arg] = memory
            self.arguments.append(memory)
        for op, begin in starts.items():
            assert isinstance(op, SliceOp)
            self.memory[op.result] = self.draft.part(self.memory[op.x], begin, shape_of(op.result))
        self.results = list(dict.fromkeys(yielded(self.block)))
        self.shared = _shared(self.block) if group.kind.data == "elementwise" and shares(self.block) else set()
        self.nodes = [Node(v, self._axes(v, n), self._folded(v, n)) for n, v in enumerate(self._materialised())]

    def _needed(self) -> set[SSAValue] | None:
        """The operands that a piece is copied from, so that equal pieces have equal kernels; None for all."""
        if self.piece is None or self.group.kind.data != "single":
            return None
        waiting, found = [self.piece[0]], set[SSAValue]()
        waiting += [op.value for op in self.block.ops if isinstance(op, PadOp) and self._fills(op)]
        while waiting:
            value = waiting.pop()
            if isinstance(value.owner, Operation):
                waiting += value.owner.operands
            else:
                found.add(value)
        return found

    # What is materialised -----------------------------------------------------------------------------------------------
    def _materialised(self) -> list[SSAValue]:
        found = []
        for op in self.block.ops:
            for value in op.results:
                if isinstance(op, ConcatenateOp) and value not in self.results:
                    continue  # its pieces go straight into the padded tensor
                if isinstance(op, (*ACCUMULATES, *COPIES)) or value in self.results or self._worth_keeping(op, value):
                    found.append(value)
        return found

    def _worth_keeping(self, op: Operation, value: SSAValue) -> bool:
        """Read by several results of one kernel; or more than once across reductions, and dear enough not to be computed twice; or folded, as
        scores of attention and their exponentials are."""
        if value in self.shared:
            return True
        if self.attends:
            return any(isinstance(use.operation, (ReduceOp, ContractOp)) for use in value.uses)
        if self.group.kind.data != "rows" or not isinstance(op, ElementwiseOp):
            return False
        readers = {use.operation for use in value.uses}
        return len(readers) > 1 and self._dear(value)

    def _dear(self, value: SSAValue) -> bool:
        """Would computing the value again repeat a dear op?"""
        waiting, seen = [value.owner], set[object]()
        while waiting:
            op = waiting.pop()
            if op in seen or not isinstance(op, PointwiseOp):
                continue
            if isinstance(op, ElementwiseOp) and op.ROW.dear:
                return True
            seen.add(op)
            waiting += [v.owner for v in op.operands]
        return False

    def _axes(self, value: SSAValue, number: int) -> list[str]:
        match value.owner:
            case ContractOp() as op:
                return [f"{label}@{number}" for label in labels(op.spec.data)[2]]
            case ConvolutionOp() as op:
                return [f"{_POSITIONS.get(c, c)}@{number}" for c in op.labels[2]]
            case WinogradOp():
                return [f"{name}@{number}" for name in ("n", "oh", "ow", "oc")]
        return [f"d{axis}@{number}" for axis in range(len(shape_of(value)))]

    def _folded(self, value: SSAValue, number: int) -> dict[str, Extent]:
        match value.owner:
            case ContractOp() as op:
                extents = _label_extents(op)
                return {f"{c}@{number}": e for c, e in extents.items() if c not in labels(op.spec.data)[2]}
            case ReduceOp() as op:
                return {f"c{a}@{number}": shape_of(op.x)[a] for a in op.axes.get_values()}
            case ArgReduceOp() as op:
                axis = op.axis.value.data
                return {f"c{axis}@{number}": shape_of(op.x)[axis]}
            case (ReduceWindowOp() | WindowPlaceOp()) as op:
                return {f"w{a}@{number}": w for a, w in enumerate(op.window.get_values()) if w > 1}
            case ConvolutionOp() as op:
                extents = dict(zip(op.labels[1], shape_of(op.weight), strict=True))
                extents |= {c: along.taps.number for c, along in self.phase.items()}
                return {f"{_TAPS.get(c, c)}@{number}": extents[c] for c in op.folded}
        return {}

    # Names of loops -----------------------------------------------------------------------------------------------------
    def _name_loops(self) -> None:
        """Loops that visit the same axis of a temporary get one name."""
        parent: dict[str, str] = {n: n for node in self.nodes for n in (*node.axes, *node.folded)}

        def find(name: str) -> str:
            while parent[name] != name:
                name = parent[name]
            return name

        members: dict[str, set[int]] = {}
        for number, node in enumerate(self.nodes):
            for name in (*node.axes, *node.folded):
                members[name] = {number}

        def unite(a: str, b: str) -> None:
            a, b = find(a), find(b)
            if a != b and not members[a] & members[b]:
                first, second = (a, b) if parent_order[a] < parent_order[b] else (b, a)
                parent[second] = first
                members[first] |= members[second]

        # the contraction, or the reduced value, gives its names
        leading = sorted(self.nodes, key=lambda node: not isinstance(node.value.owner, ACCUMULATES))
        parent_order = {n: k for k, n in enumerate(n for node in leading for n in (*node.axes, *node.folded))}
        by_value = {node.value: node for node in self.nodes}
        inputs_read: list[dict[tuple[int, int], str]] = []
        temporary = {node.value: Memory("", [], "", temporary=True) for node in self.nodes}
        for node in self.nodes:
            visible = {**self.memory, **{v: m for v, m in temporary.items() if v is not node.value}}
            expression = Expression(visible)
            for value, at in self._sources(node):
                expression.collect(value, at)
            owners = {id(m): v for v, m in temporary.items()}
            per_input: dict[tuple[int, int], str] = {}
            for memory, at in expression.reads:
                for axis, where in enumerate(at):
                    loop = where.loop()
                    if loop is None:
                        continue
                    if id(memory) in owners:
                        unite(by_value[owners[id(memory)]].axes[axis], loop)
                    else:
                        per_input.setdefault((id(memory), axis), loop)
            inputs_read.append(per_input)
        # inputs read along whole axes tie steps together where temporaries do not (mean of x, then x itself)
        if self.group.kind.data == "rows":
            first: dict[tuple[int, int], str] = {}
            for per_input in inputs_read:
                for key, loop in per_input.items():
                    if key in first:
                        unite(first[key], loop)
                    else:
                        first[key] = loop
        taken: dict[str, str] = {}
        for node in self.nodes:
            for name in (*node.axes, *node.folded):
                root = find(name)
                if root not in taken:
                    base = root.split("@")[0]
                    used = set(taken.values())
                    taken[root] = (
                        base
                        if base not in used
                        else next(f"{base}_{i}" for i in range(2, 999) if f"{base}_{i}" not in used)
                    )
        for node in self.nodes:
            node.axes = [taken[find(n)] for n in node.axes]
            node.folded = {taken[find(n)]: e for n, e in node.folded.items()}
        if self.attends:
            part_keys(self.nodes)

    def _sources(self, node: Node) -> list[tuple[SSAValue, Access]]:
        """What a node's step reads, and where."""
        at = tuple(Affine({n: 1}) for n in node.axes)
        match node.value.owner:
            case ContractOp() as op:
                loops = dict(zip(labels(op.spec.data)[2], at, strict=True))
                loops |= {c: Affine({n: 1}) for c, n in zip(_folded_labels(op), node.folded, strict=True)}
                left, right, _ = labels(op.spec.data)
                return [(op.lhs, tuple(loops[c] for c in left)), (op.rhs, tuple(loops[c] for c in right))]
            case ReduceOp() as op:
                return [(op.x, _woven(at, [Affine({n: 1}) for n in node.folded], op.axes.get_values()))]
            case ConvolutionOp() as op:
                return _conv_places(op, self.phase, node.axes, list(node.folded))
            case ReduceWindowOp() as op:
                return [(op.x, _tapped(op, at, list(node.folded)))]
            case WindowPlaceOp() as op:
                return [(op.x, _tapped(op, at, list(node.folded))), (op.y, at)]
            case ConcatenateOp() as op if self.piece is None:
                return [(x, at) for x in op.xs]
            case PadOp() | ConcatenateOp():
                return [(self._piece(node)[0], at)]
            case ArgReduceOp() | WinogradOp():
                return []
            case GraphOp() as op if isinstance(op, PointwiseOp) or op.results:
                return [(node.value, at)]
        raise AssertionError(node.value.owner)

    # Steps --------------------------------------------------------------------------------------------------------------
    def build(self) -> tuple[Draft, list[Memory | None], list[Memory]]:
        self._name_loops()
        outputs: dict[SSAValue, Memory] = {}
        for node in self.nodes:
            outputs_here = node.value in self.results
            accumulates = isinstance(node.value.owner, ACCUMULATES)
            if isinstance(node.value.owner, WinogradOp):
                op = node.value.owner
                assert self.blocks is not None
                memory = self.blocks.steps(self.draft, self.memory[op.x], self.memory[op.weight], node.axes)
                self.memory[node.value] = memory
                if outputs_here:
                    outputs[node.value] = self._write(node, node.value)
            elif accumulates:
                positions = self._positions(node)
                shape = [every.number for every in positions]
                memory = self.draft.memory(shape, _accumulator(node.value), "acc", temporary=True)
                if any(every.step != 1 for every in positions):
                    memory.holds = tuple((every.first, every.step) for every in positions)
                self._accumulate(node, memory)
                self.memory[node.value] = memory
                if self.attends and any(isinstance(use.operation, ReduceOp) for use in node.value.uses):
                    self.memory[node.value] = self._kept(node)
                if outputs_here:
                    outputs[node.value] = self._write(node, node.value)
            elif isinstance(node.value.owner, ConcatenateOp) and self.piece is None:
                outputs[node.value] = self._join(node, node.value.owner)
            elif isinstance(node.value.owner, COPIES):
                memory = self.draft.memory(shape_of(node.value), dtype_of(node.value), "y")
                self._pieces(node, memory)
                self.memory[node.value] = outputs[node.value] = memory
            elif outputs_here:
                outputs[node.value] = self._write(node, node.value)
                self.memory[node.value] = outputs[node.value]
            else:
                self.memory[node.value] = self._kept(node)
        self._forget_other_pieces()
        return self.draft, self.arguments, [outputs[v] for v in yielded(self.block)]

    def _forget_other_pieces(self) -> None:
        used = {memory for step in self.draft.steps for memory, _ in step.operands}
        used |= {memory.whole for memory in used if memory.whole}
        self.draft.memories = [m for m in self.draft.memories if m in used or m.pinned or m.temporary]

    def _write(self, node: Node, value: SSAValue) -> Memory:
        memory = self.draft.memory(shape_of(value), dtype_of(value), "y")
        self._elementwise(node, value, memory)
        return memory

    def _kept(self, node: Node) -> Memory:
        """A temporary that holds a value for the steps behind."""
        memory = self.draft.memory(shape_of(node.value), dtype_of(node.value), "t", temporary=True)
        self._elementwise(node, node.value, memory)
        return memory

    def _loops(self, node: Node) -> dict[str, Extent]:
        if self.blocks is not None:
            return self.blocks.loops(node.axes)
        return dict(zip(node.axes, [every.number for every in self._positions(node)], strict=True))

    def _at(self, node: Node) -> Access:
        """Where the loops of a node stand in its value."""
        if self.blocks is not None:
            return self.blocks.at(node.axes)
        return tuple(Affine({n: e.step}, e.first) for n, e in zip(node.axes, self._positions(node), strict=True))

    def _positions(self, node: Node) -> list[Every]:
        """Of the value that this kernel computes, along each axis: a phase's, or all."""
        found = [Every(0, 1, e) for e in shape_of(node.value)]
        if self.convolution is not None:
            for axis, c in enumerate(self.convolution.labels[2]):
                found[axis] = self.phase[c].positions if c in self.phase else found[axis]
        return found

    def _elementwise(self, node: Node, value: SSAValue, memory: Memory) -> None:
        """memory[d] = value at d."""
        at = self._at(node)
        self._compute(value, at, self._loops(node), memory, at)

    def _compute(self, value: SSAValue, at: Access, loops: dict[str, Extent], memory: Memory, target: Access) -> None:
        """memory[target] = value at `at`, for every position of the loops."""
        expression = Expression(dict(self.memory))
        expression.collect(value, at)
        self.draft.extents += expression.extents

        def body(context: Context, b: Body, inputs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
            return expression.build(context, b, inputs, value, at)

        self.draft.steps.append(
            DraftOp(loops, list(expression.reads), (memory, target), body, indexed=set(expression.indexed))
        )

    def _join(self, node: Node, op: ConcatenateOp) -> Memory:
        """y[..., k, d, ...] = piece k at [..., d, ...]: equal pieces side by side, by the loops of one."""
        axis, shape = op.axis.value.data, list(shape_of(op.xs[0]))
        memory = self.draft.memory([*shape[:axis], len(op.xs), *shape[axis:]], dtype_of(op.result), "y")
        at = tuple(Affine({n: 1}) for n in node.axes)
        for number, x in enumerate(op.xs):
            target = (*at[:axis], Affine({}, number), *at[axis:])
            self._compute(x, at, dict(zip(node.axes, shape, strict=True)), memory, target)
        return memory

    def _pieces(self, node: Node, memory: Memory) -> None:
        """One piece at its offset."""
        op = node.value.owner
        if isinstance(op, PadOp) and self._fills(op):
            self._copy(node, memory, op.value, shape_of(node.value), [0] * len(node.axes), scalar_source=True)
        x, offsets = self._piece(node)
        fixed = [e for e in offsets if isinstance(e, int)]
        if len(fixed) < len(offsets):
            between = op.between if isinstance(op, PadOp) else [0] * len(offsets)
            extents = [dilated(e, i + 1) for e, i in zip(shape_of(x), between, strict=True)]
            memory, fixed = self.draft.part(memory, offsets, extents), [0] * len(offsets)
        between = op.between if isinstance(op, PadOp) else [0] * len(fixed)
        self._copy(node, memory, x, shape_of(x), fixed, names=node.axes, steps=[i + 1 for i in between])

    def _fills(self, op: PadOp) -> bool:
        """Whether this kernel fills the padded tensor first. A constant border has a kernel of its own; else the kernel of the first piece does
        it, for the pieces behind it would be lost to another fill."""
        return not isinstance(op.value.owner, ConstantOp) and (
            self.piece is None or self.piece[1] == [*op.low.extents()]
        )

    def _piece(self, node: Node) -> Piece:
        return self.piece if self.piece is not None else pieces(node.value)[0]

    def _copy(
        self,
        node: Node,
        memory: Memory,
        value: SSAValue,
        shape: Sequence[Extent],
        offsets: Sequence[int],
        scalar_source: bool = False,
        names: Sequence[str] | None = None,
        steps: Sequence[int] | None = None,
    ) -> None:
        """memory[d * steps + offsets] = value[d] over `shape`. Nothing to copy is no step: the offsets would lie outside of the memory."""
        if 0 in shape:
            return
        if self.blocks is not None:
            at, loops = self.blocks.at(node.axes), self.blocks.loops(node.axes)
        else:
            names = names or [f"{n}_p{len(self.draft.steps)}" for n in node.axes]
            at, loops = tuple(Affine({n: 1}) for n in names), dict(zip(names, shape, strict=True))
        steps = steps or [1] * len(at)
        target = tuple(where * step + by for where, step, by in zip(at, steps, offsets, strict=True))
        self._compute(value, () if scalar_source else at, loops, memory, target)

    def _fill(self, node: Node, memory: Memory, value: float | bool) -> None:
        """memory[d] = value; in front of all other steps of attention, whose sums go on while scores are computed."""
        at = tuple(Affine({n: 1}) for n in node.axes)
        fill = DraftOp(
            self._loops(node), [], (memory, at), lambda c, b, inputs, out: scalar.constant(b, memory.dtype, value)
        )
        first = self.attends and node is not self.nodes[0]
        self.draft.steps.insert(0 if first else len(self.draft.steps), fill)

    def _accumulate(self, node: Node, memory: Memory) -> None:
        op = node.value.owner
        dtype = memory.dtype
        match op:
            case ReduceOp():
                kind = op.kind.data if dtype != "bool" else {"max": "or", "min": "and"}.get(op.kind.data, op.kind.data)
                fold, _ = scalar.reduction(kind)
                self._fill(node, memory, identity(op.kind.data, dtype_of(op.x)))
                self._fold(node, memory, lambda b, out, xs: fold(b, dtype, out, xs[0]))
            case ContractOp() if self.attends and node is self.nodes[0]:
                at = queries_last(
                    self.draft, self.memory, op, node.axes, dict(zip(_folded_labels(op), node.folded, strict=True))
                )
                self._fill(node, memory, 0)
                self._fold(node, memory, _multiply_add(dtype), at)
            case ContractOp():
                self._fill(node, memory, 0)
                self._fold(node, memory, _multiply_add(dtype))
            case ConvolutionOp():
                self._fill(node, memory, 0)
                if 0 not in node.folded.values():  # some positions between elements of x see no tap
                    self._fold(node, memory, _multiply_add(dtype))
            case ReduceWindowOp():
                fold, _ = scalar.reduction(op.kind.data)
                if any(e != 0 for pair in op.padding for e in pair) or max(op.apart, default=1) > 1:
                    raise InternalError("outline: a window reaches into padding; run expand-padding first")
                self._fill(node, memory, identity(op.kind.data, dtype_of(op.x)))
                self._fold(node, memory, lambda b, out, xs: fold(b, dtype, out, xs[0]))
            case WindowPlaceOp():
                if any(e != 0 for pair in op.padding for e in pair):
                    raise InternalError("outline: a window reaches into padding; run expand-padding first")
                self._fill(node, memory, prod(op.window.get_values()) - 1)
                self._first_equal(node, op, memory)
            case ArgReduceOp():
                self._fill(node, memory, 0)
                self.draft.steps.append(arg_reduce(op, self.memory, node.axes, node.folded, memory))

    def _fold(
        self,
        node: Node,
        memory: Memory,
        combine: Callable[..., SSAValue],
        copied: Mapping[SSAValue, tuple[Memory, Access]] = MappingProxyType({}),
    ) -> None:
        """memory[d] = combine(memory[d], sources) over the folded loops. Some sources may be read where they are `copied`."""
        at = tuple(Affine({n: 1}) for n in node.axes)
        expression = Expression({**self.memory, **{value: memory for value, (memory, _) in copied.items()}})
        sources = [(v, copied[v][1] if v in copied else where) for v, where in self._sources(node)]
        for value, where in sources:
            expression.collect(value, where)
        self.draft.extents += expression.extents

        def body(context: Context, b: Body, inputs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
            xs = [
                widen(b, expression.build(context, b, inputs, value, where), dtype_of(value), memory.dtype)
                for value, where in sources
            ]
            return combine(b, out, xs)

        loops = {**self._loops(node), **node.folded}
        self.draft.steps.append(
            DraftOp(loops, list(expression.reads), (memory, at), body, set(node.folded), set(expression.indexed))
        )

    def _first_equal(self, node: Node, op: WindowPlaceOp, memory: Memory) -> None:
        """memory[d] = min(memory[d], the number of the tap) where x there equals y[d] or is NaN."""
        dtype, expression, (x, y) = dtype_of(op.x), Expression(dict(self.memory)), self._sources(node)
        for value, where in (x, y):
            expression.collect(value, where)
        self.draft.extents += expression.extents
        tap = Affine({}, 0)
        for name, size in node.folded.items():
            tap = tap * int(size) + Affine({name: 1})  # type: ignore[arg-type]

        def body(context: Context, b: Body, inputs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
            left, right = (expression.build(context, b, inputs, value, where) for value, where in (x, y))
            equal = scalar.compare("oeq", "eq", "eq")(b, dtype, left, right)
            if is_float(dtype):
                equal = b.insert(arith.OrIOp(equal, scalar.widened(scalar.is_nan)(b, dtype, left))).result
            number = scalar.cast(b, "i64", "i32", b.insert(arith.IndexCastOp(place(context, b, tap), i64)).result)
            return b.insert(arith.MinSIOp(out, scalar.select(b, equal, number, out))).result

        at, folded = tuple(Affine({n: 1}) for n in node.axes), set(node.folded)
        loops = {**self._loops(node), **node.folded}
        indexed = folded | expression.indexed
        self.draft.steps.append(DraftOp(loops, list(expression.reads), (memory, at), body, folded, indexed))


_CHANNELS = {"o": "oc", "c": "ic"}
_POSITIONS = _CHANNELS | {"0": "oh", "1": "ow"} | {f"{d}": f"o{d}" for d in range(2, 10)}
_TAPS = _CHANNELS | {"0": "kh", "1": "kw"} | {f"{d}": f"k{d}" for d in range(2, 10)}


def _accumulator(value: SSAValue) -> str:
    """The dtype that a value is folded in."""
    if isinstance(value.owner, WindowPlaceOp):
        return "i32"
    return "f32" if is_half(dtype_of(value)) else dtype_of(value)


def _multiply_add(dtype: str) -> Callable[..., SSAValue]:
    multiply, add = (arith.MulfOp, arith.AddfOp) if is_float(dtype) else (arith.MuliOp, arith.AddiOp)
    return lambda b, out, xs: b.insert(add(out, b.insert(multiply(xs[0], xs[1])).results[0])).results[0]


def _label_extents(op: ContractOp) -> dict[str, Extent]:
    left, right, _ = labels(op.spec.data)
    return {**dict(zip(right, shape_of(op.rhs), strict=True)), **dict(zip(left, shape_of(op.lhs), strict=True))}


def _folded_labels(op: ContractOp) -> list[str]:
    return [c for c in _label_extents(op) if c not in labels(op.spec.data)[2]]


def _woven(kept: Access, folded: Sequence[Affine], axes: Sequence[int]) -> Access:
    """Positions along all axes: those of the kept ones and of the folded ones, in their places."""
    rest, inner = iter(kept), iter(folded)
    return tuple(next(inner) if a in axes else next(rest) for a in range(len(kept) + len(folded)))


def _tapped(op: ReduceWindowOp | WindowPlaceOp, at: Access, folded: Sequence[str]) -> Access:
    taps = iter(folded)
    found = []
    for where, window, stride, dilation in zip(
        at, op.window.get_values(), op.strides.get_values(), op.dilations.get_values(), strict=True
    ):
        found.append(where * stride + (Affine({next(taps): 1}) * dilation if window > 1 else 0))
    return tuple(found)


def _conv_places(
    op: ConvolutionOp, phase: Phase, axes: Sequence[str], folded: Sequence[str]
) -> list[tuple[SSAValue, Access]]:
    x, weight, result = op.labels
    positions = {c: Affine({n: 1}) for c, n in zip(result, axes, strict=True)}
    taps = {c: Affine({n: 1}) for c, n in zip(op.folded, folded, strict=True)}
    letters = {**positions, **taps}
    under = {c: positions[c] * along.by_position + taps[c] * along.by_tap + along.first for c, along in phase.items()}
    tapped = {c: taps[c] * along.taps.step + along.taps.first for c, along in phase.items()}
    return [
        (op.x, tuple(under[c] if c in under else letters[c] for c in x)),
        (op.weight, tuple(tapped[c] if c in tapped else letters[c] for c in weight)),
    ]

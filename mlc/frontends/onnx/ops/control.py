"""If. A branch that is known at import is built alone; of an open If both are built, as the bodies of one op that runs the one that is taken.

Each branch asks of sizes what it needs only where it is taken. One that does not fit the sizes of the model, whatever they are, is left out, and
a call that would take it is refused. Where sizes decide the condition, and the branches give results of different ranks, the answer is
asked of the caller. Where data decides it, and they give results of different extents, both fill the larger, of which as much counts as
the branch that ran has given.

Where data decides a size in a branch, both are built in place and one result is selected: such a size is counted once per run. Every op is
defined for all inputs, so that building the branch not taken does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import GraphProto
from xdsl.builder import Builder
from xdsl.ir import Block, BlockArgument
from xdsl.rewriter import InsertPoint

from mlc.errors import MlcError, ShapeError, UnsupportedOp
from mlc.frontends.onnx.closed import Surroundings, kind_of, restored, tidy
from mlc.frontends.onnx.node import NeedsSize, NeedsValue, Node, Question
from mlc.frontends.onnx.table import Absent, Content, Items, Value, flattened, handles
from mlc.ir import builder as g
from mlc.ir.dims import Dim, Extent, dmax
from mlc.ir.graph.base import building, emit
from mlc.ir.graph.control import IfOp, YieldOp
from mlc.ir.types import dtype_of, rank_of, shape_of, shape_text

_NAMES = ("then_branch", "else_branch")
_RELATIONS = {"Equal": "==", "Less": "<", "LessOrEqual": "<=", "Greater": ">", "GreaterOrEqual": ">="}


@handles("If", since=(1, 11, 13, 16, 19, 21, 23, 24, 25))
def if_(node: Node, condition: Value) -> Sequence[Content]:
    if node.constant(0) is not None:
        return node.inline(node.graph("then_branch" if node.number(0, "condition") else "else_branch"))
    question = _question(node)
    if question is not None and (answer := node.scope.answer(question)) is not None:
        _assume(node, question, answer)
        return node.inline(node.graph(_NAMES[not answer]))
    condition = g.reshape(condition, ())
    try:
        with node.scope.trial(g.CountedInBody):
            return _run_one(node, condition, question)
    except g.CountedInBody:
        return _run_both(node, condition)


# Conditions that sizes decide


def _question(node: Node) -> Question | None:
    """The condition as an expression of sizes; None where data decides it."""
    entries = node.entries(0)
    if entries is None or entries.size != 1 or not isinstance(truth := entries.item(), Dim):
        return None
    relation = _relation(node)
    text = f"{relation[0]} {relation[1]} {relation[2]}" if relation else f"'{node.inputs[0]}' holds"
    return Question(truth, text)


def _relation(node: Node) -> tuple[Extent, str, Extent] | None:
    """The two extents that the condition compares, and how, where the node that makes it is at hand."""
    maker = node.scope.maker(node.inputs[0])
    if maker is None or maker.op_type not in _RELATIONS:
        return None
    sides = [node.scope.entries(name) for name in maker.input]
    if any(side is None or side.size != 1 for side in sides):
        return None
    lhs, rhs = (side.item() for side in sides if side is not None)
    return (lhs, _RELATIONS[maker.op_type], rhs) if all(isinstance(e, int | Dim) for e in (lhs, rhs)) else None


def _assume(node: Node, question: Question, answer: bool) -> None:
    """Leave to the module the check that the condition is what it was taken to be."""
    relation = _relation(node)
    if answer and relation and relation[1] == "==":
        g.require_equal(relation[0], relation[2], f"{node.title}: its then_branch was compiled")
        return
    branch = _NAMES[not answer]
    g.require(
        g.Check(question.truth, int(answer), f"{node.title}: the {branch} was compiled, for {_said(question, answer)}")
    )


def _said(question: Question, answer: bool) -> str:
    return question.text if answer else f"not {question.text}"


# Branches


@dataclass
class _Branch:
    """A branch as the body of an op, and what it needs of sizes."""

    block: Block
    contents: list[Content]
    checks: list[g.Check]

    def take_shapes_of(self, other: _Branch) -> None:
        """Write the extents of results as another branch does, where this one needs them to be equal."""
        equal = [{check.lhs, check.rhs} for check in self.checks]
        for i, (x, y) in enumerate(zip(self.contents, other.contents, strict=False)):
            if isinstance(x, Items | Absent) or isinstance(y, Items | Absent) or x.type == y.type:
                continue
            pairs = list(zip(shape_of(x), shape_of(y), strict=False))
            if rank_of(x) == rank_of(y) and all(a == b or {a, b} in equal for a, b in pairs):
                with building(self.block, self.checks):
                    self.contents[i] = g.reshape(x, shape_of(y))


def _branch(node: Node, around: Surroundings, graph: GraphProto, size_decides: bool) -> _Branch | MlcError:
    """A branch that stands by itself; the error of one that does not fit the sizes. Where sizes decide which is taken, one that mlc does not
    support need not stand in the way of the other either."""
    fallible = (ShapeError, UnsupportedOp) if size_decides else (ShapeError,)
    block = Block(arg_types=[value.type for value in around.constants])
    try:
        with node.scope.trial(*fallible), g.checks_apart() as checks, building(block, checks):
            arguments: Sequence[BlockArgument] = block.args
            contents = around.body(graph, [], arguments)
    except (NeedsSize, NeedsValue, g.CountedInBody):
        raise
    except fallible as error:
        return error
    return _Branch(block, contents, checks)


def _run_one(node: Node, condition: Value, question: Question | None) -> list[Content]:
    graphs = [node.graph(name) for name in _NAMES]
    around = Surroundings.of(node, *graphs)
    branches = [_branch(node, around, graph, question is not None) for graph in graphs]
    fitting = [branch for branch in branches if isinstance(branch, _Branch)]
    if len(fitting) < 2:
        return _only_one(node, condition, question, branches)
    chosen, other = fitting
    if question is not None and [kind_of(x) for x in chosen.contents] != [kind_of(x) for x in other.contents]:
        raise node.needs_sizes(f"whether {question.text} decides what the outputs are", [question])
    chosen.take_shapes_of(other)
    other.take_shapes_of(chosen)
    cuts = _cuts(chosen.contents, other.contents)
    if cuts:
        g.require_countable()
        for branch, contents in ((chosen, other.contents), (other, chosen.contents)):
            with building(branch.block, branch.checks):
                branch.contents = _filled(node, branch.contents, contents)
    _require_alike(node, chosen.contents, other.contents)
    for branch in fitting:
        with building(branch.block):
            emit(YieldOp(flattened(branch.contents)))
    results = emit(IfOp(condition, around.constants, chosen.block, other.block))
    _require_where_taken(node, results, condition, question, chosen.checks, other.checks)
    tidy(results)
    return restored(chosen.contents, _cut(condition, results, cuts))


def _only_one(
    node: Node, condition: Value, question: Question | None, branches: Sequence[_Branch | MlcError]
) -> list[Content]:
    """The branch that fits. A call that would take the other is refused."""
    errors = [branch for branch in branches if isinstance(branch, MlcError)]
    if len(errors) > 1:
        raise errors[0]
    taken = isinstance(branches[0], _Branch)
    if question is not None:
        _assume(node, question, taken)
    else:
        try:
            truth = g.counted_truth(condition)
        except g.CountedInBody:
            raise errors[0] from None  # nothing could refuse the call
        left_out = f"the {_NAMES[taken]} does not fit these sizes, and its condition takes it: {errors[0].message}"
        g.require(g.Check(truth, int(taken), f"{node.title}: {left_out}"))
    return node.inline(node.graph(_NAMES[not taken]))


def _require_where_taken(
    node: Node,
    results: Sequence[Value],
    condition: Value,
    question: Question | None,
    first: Sequence[g.Check],
    second: Sequence[g.Check],
) -> None:
    """Leave the checks of the branches to the module: those of both as they are, the others for calls that take the branch."""
    common = [check for check in first if any({check.lhs, check.rhs} == {c.lhs, c.rhs} for c in second)]
    for check in common:
        g.require(check)
    rest = [
        [c for c in checks if not any({c.lhs, c.rhs} == {d.lhs, d.rhs} for d in common)] for checks in (first, second)
    ]
    if not any(rest):
        return
    truth: Extent
    if question is not None:
        truth = question.truth
    else:
        owner = results[0].owner
        assert isinstance(owner, IfOp)
        try:
            with building(Builder(InsertPoint.before(owner))):
                truth = g.counted_truth(condition)
        except g.CountedInBody:  # an If in the body of another, or of a loop: its checks are those of what is around it
            for check in (*rest[0], *rest[1]):
                g.require(check)
            return
    for name, taken, checks in zip(_NAMES, (truth, 1 - truth), rest, strict=True):
        for check in checks:
            asked = g.Check(check.lhs, check.rhs, f"{node.title}, whose {name} is taken: {check.message}")
            g.require(asked.where(taken))


def _run_both(node: Node, condition: Value) -> list[Content]:
    chosen, other = node.inline(node.graph("then_branch")), node.inline(node.graph("else_branch"))
    cuts = _cuts(chosen, other)
    if cuts and g.is_countable():
        chosen, other = _filled(node, chosen, other), _filled(node, other, chosen)
    try:
        _require_alike(node, chosen, other)
    except UnsupportedOp as error:
        if not cuts or isinstance(error, NeedsValue):
            raise
        raise g.CountedInBody(
            error.message, node=error.node, file=error.file
        ) from error  # an If around this one may do
    pairs = zip(flattened(chosen), flattened(other), strict=True)
    selected = [g.select(g.broadcast(condition, shape_of(x), []), x, y) for x, y in pairs]
    return restored(chosen, _cut(condition, selected, cuts))


# Results of different extents


@dataclass(frozen=True)
class _Cut:
    """An axis of a result along which the branches give different extents."""

    result: int
    axis: int
    extents: tuple[Extent, Extent]


def _cuts(chosen: Sequence[Content], other: Sequence[Content]) -> list[_Cut]:
    """Of results that differ in nothing but extents; none where a result differs in more."""
    found: list[_Cut] = []
    pairs = list(zip(flattened(chosen), flattened(other), strict=False))
    for number, (x, y) in enumerate(pairs):
        if dtype_of(x) != dtype_of(y) or rank_of(x) != rank_of(y):
            return []
        both = enumerate(zip(shape_of(x), shape_of(y), strict=True))
        found += [_Cut(number, axis, (a, b)) for axis, (a, b) in both if a != b]
    return found


def _filled(node: Node, contents: Sequence[Content], others: Sequence[Content]) -> list[Content]:
    """Tensors with zeros behind them, up to the extents of those of the other branch where they are larger."""
    values = []
    for x, y in zip(flattened(contents), flattened(others), strict=False):
        high = [node.simplify(dmax(a, b)) - a for a, b in zip(shape_of(x), shape_of(y), strict=True)]
        values.append(g.pad(x, [0] * len(high), high) if any(e != 0 for e in high) else x)
    return restored(contents, [*values, *flattened(contents)[len(values) :]])


def _cut(condition: Value, results: Sequence[Value], cuts: Sequence[_Cut]) -> list[Value]:
    """The part of results that the branch which ran has given: the extents are counted. Equal ones of several results have one symbol."""
    found = list(results)
    left = list(cuts)
    while left:
        extents = left[0].extents
        together: dict[int, _Cut] = {}  # one axis of each result
        for cut in left:
            if cut.extents == extents:
                together.setdefault(cut.result, cut)
        left = [cut for cut in left if together.get(cut.result) is not cut]
        count = g.select(condition, *(g.dimension(extent) for extent in extents))
        fronts = [_moved(found[cut.result], cut.axis, 0) for cut in together.values()]
        for cut, rows in zip(together.values(), g.prefix(count, *fronts), strict=True):
            found[cut.result] = _moved(rows, 0, cut.axis)
    return found


def _moved(x: Value, axis: int, to: int) -> Value:
    """numpy.moveaxis."""
    order = [a for a in range(rank_of(x)) if a != axis]
    order.insert(to, axis)
    return x if order == sorted(order) else g.transpose(x, order)


def _require_alike(node: Node, chosen: Sequence[Content], other: Sequence[Content]) -> None:
    """The branches give values of the same types."""
    if len(chosen) != len(other):
        raise node.invalid(f"one branch has {len(chosen)} outputs, the other {len(other)}")
    for i, (x, y) in enumerate(zip(chosen, other, strict=True)):
        if kind_of(x) != kind_of(y):
            raise _difference(node, i, x, y)


def _difference(node: Node, i: int, x: Content, y: Content) -> MlcError:
    at_run_time = "and which one is taken is known only at run time"
    if isinstance(x, Items | Absent) or isinstance(y, Items | Absent):
        texts = [_text(content) for content in (x, y)]
        return node.decided_by(0, f"output {i} is {texts[0]} in one branch and {texts[1]} in the other, {at_run_time}")
    if dtype_of(x) != dtype_of(y):
        return node.invalid(f"output {i} is {dtype_of(x)} in one branch and {dtype_of(y)} in the other")
    shapes = f"{shape_text(shape_of(x))} and {shape_text(shape_of(y))}"
    return node.decided_by(0, f"the branches give output {i} the shapes {shapes}, {at_run_time}")


def _text(content: Content) -> str:
    if isinstance(content, Items):
        return "a sequence of " + (", ".join(f"{dtype_of(x)}{shape_text(shape_of(x))}" for x in content) or "nothing")
    return "an empty optional value" if isinstance(content, Absent) else "a tensor"

"""If. A branch that is known at import is built alone; of an open If both are built, as the bodies of one op that runs the one that is taken.

Where data decides a size in a branch, both are built in place and one result is selected: such a size is counted once per run. Every op is
defined for all inputs, so that building the branch not taken does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.errors import MlcError
from mlc.frontends.onnx.closed import Surroundings, kind_of, restored, tidy
from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Absent, Content, Items, Value, flattened, handles
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, shape_of, shape_text


@handles("If", since=(1, 11, 13, 16, 19, 21, 23, 24, 25))
def if_(node: Node, condition: Value) -> Sequence[Content]:
    if node.constant(0) is not None:
        return node.inline(node.graph("then_branch" if node.number(0, "condition") else "else_branch"))
    condition = g.reshape(condition, ())
    try:
        with node.scope.trial(g.CountedInBody):
            return _run_one(node, condition)
    except g.CountedInBody:
        return _run_both(node, condition)


def _run_one(node: Node, condition: Value) -> list[Content]:
    then, otherwise = node.graph("then_branch"), node.graph("else_branch")
    around = Surroundings.of(node, then, otherwise)
    chosen: list[Content] = []

    def first(*constants: Value) -> list[Value]:
        chosen.extend(around.body(then, [], constants))
        return flattened(chosen)

    def second(*constants: Value) -> list[Value]:
        other = around.body(otherwise, [], constants)
        _require_alike(node, chosen, other)
        return flattened(other)

    results = g.cond(condition, first, second, around.constants)
    tidy(results)
    return restored(chosen, results)


def _run_both(node: Node, condition: Value) -> list[Content]:
    chosen, other = node.inline(node.graph("then_branch")), node.inline(node.graph("else_branch"))
    _require_alike(node, chosen, other)
    pairs = zip(flattened(chosen), flattened(other), strict=True)
    return restored(chosen, [g.select(g.broadcast(condition, shape_of(x), []), x, y) for x, y in pairs])


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

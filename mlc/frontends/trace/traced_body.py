"""A function traced into a closed body, inside of the trace that is under way: what derivatives and calls are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.ir import Attribute, Block, SSAValue

from mlc.errors import MlcError
from mlc.frontends.trace.functions.promotion import value
from mlc.frontends.trace.pytree import Tree, flatten
from mlc.frontends.trace.tensor import Tensor, array_of, symbolic, value_in, wrap
from mlc.frontends.trace.traced import trace
from mlc.frontends.trace.tracing import Trace, current_trace, tracing, user_line
from mlc.ir.graph.base import emit
from mlc.ir.graph.control import YieldOp, inlined, yielded


@dataclass
class TracedBody:
    """`block` has an argument for each of the tensors, and then for each value from outside that the function uses; `operands` are these in the
    trace around. What the block gives are the leaves of `results`."""

    block: Block
    scope: Trace
    tensors: list[SSAValue]
    results: Tree

    @property
    def operands(self) -> list[SSAValue]:
        return [*self.tensors, *self.scope.lifted]

    def inline(self, *more: SSAValue) -> list[Tensor]:
        """The ops of the body in the trace around; what it gives. `more` are for arguments that were added."""
        outer = under_way()
        return [symbolic(v, outer) for v in inlined(self.block, [*self.operands, *more])]


def under_way() -> Trace:
    found = current_trace()
    assert found is not None
    return found


def body_of(function: Callable[[list[Tensor]], Any], title: str, tensors: Sequence[Tensor]) -> TracedBody:
    """function(tensors) as a body in the trace under way."""
    outer = under_way()
    operands = [value(value_in(outer, x)) for x in tensors]
    return body_for(function, title, operands, [v.type for v in operands])


def body_for(
    function: Callable[[list[Tensor]], Any],
    title: str,
    operands: Sequence[SSAValue],
    types: Sequence[Attribute],
    take: Iterable[SSAValue] = (),
) -> TracedBody:
    """function(tensors of these types) as a body; `take` are values from outside that have arguments whether it uses them or not."""
    block = Block(arg_types=types)
    own = list(block.args)
    with tracing(title, block) as scope:
        scope.take(take)
        found, results = flatten(function([symbolic(v, scope) for v in own]))
        emit(YieldOp([value(value_in(scope, as_tensor(leaf, title))) for leaf in found]))
    return TracedBody(block, scope, list(operands), results)


def gives(body: TracedBody) -> tuple[SSAValue, ...]:
    return yielded(body.block)


def is_tensor(leaf: Any) -> bool:
    """Whether a leaf is traced; other leaves (names, flags, whole numbers of Python) stay what they are."""
    return isinstance(leaf, Tensor | np.ndarray | np.generic) or type(leaf) is float or hasattr(leaf, "__dlpack__")


def as_tensor(leaf: Any, title: str) -> Tensor:
    if isinstance(leaf, Tensor):
        return leaf
    try:
        return wrap(array_of(leaf, None, copy=False))
    except MlcError as error:
        raise MlcError(f"{title} returns {type(leaf).__name__}, and no tensor", file=user_line()) from error


def staged(function: Callable[..., Any], title: str, tree: Any) -> Any:
    """function(tree) where its tensors are symbolic: in the trace under way, or else in one of its own that is run at once."""
    leaves, structure = flatten(tree)
    places = [n for n, leaf in enumerate(leaves) if is_tensor(leaf)]

    def call(*tensors: Tensor) -> Any:
        for n, x in zip(places, tensors, strict=True):
            leaves[n] = x
        return function(structure.unflatten(leaves))

    given = [as_tensor(leaves[n], title) for n in places]
    if current_trace() is not None:
        return call(*given)
    call.__name__ = title
    traced = trace(call, *given)
    return traced.results.unflatten([wrap(y) for y in traced.module.run(*(x.data for x in given))])

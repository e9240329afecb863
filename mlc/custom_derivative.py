"""What a user says of derivatives: of a function of their own, of what counts as a constant, and of what is computed again instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import update_wrapper, wraps
from typing import Any

from xdsl.ir import SSAValue

from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.pytree import difference, flatten, tree_map
from mlc.frontends.trace.tensor import Tensor, bind, symbolic
from mlc.frontends.trace.traced import name_of, signature_of
from mlc.frontends.trace.traced_body import TracedBody, as_tensor, body_for, body_of, gives, is_tensor, under_way
from mlc.frontends.trace.tracing import current_trace, user_line, user_location
from mlc.ir import builder as g
from mlc.ir.graph import composites
from mlc.ir.graph.base import emit
from mlc.ir.graph.control import CallOp
from mlc.ir.graph.custom import CustomOp
from mlc.ir.types import dtype_of, dtype_of_type, is_float, shape_of, tensor_type, type_text

# A rule may call its function, which is then differentiated by the rule too: in derivatives up to this order, and behind it as it stands.
_DEPTH = 2
_within: ContextVar[tuple[CustomFunction, ...]] = ContextVar("within", default=())


class Arguments:
    """The arguments of a call, whose tensors may be exchanged."""

    def __init__(self, args: Any):
        self.leaves, self.tree = flatten(args)
        self.places = [n for n, leaf in enumerate(self.leaves) if self.exchanged(leaf)]

    @staticmethod
    def exchanged(leaf: Any) -> bool:
        return is_tensor(leaf)

    @property
    def tensors(self) -> list[Tensor]:
        return [as_tensor(self.leaves[n], "argument") for n in self.places]

    def of(self, tensors: Sequence[Any]) -> Any:
        """The arguments with other tensors."""
        leaves = list(self.leaves)
        for n, x in zip(self.places, tensors, strict=True):
            leaves[n] = x
        return self.tree.unflatten(leaves)


class Residuals(Arguments):
    """What a forward rule keeps for the backward one: tensors, and Python numbers, flags and names, which stay what they are."""

    @staticmethod
    def exchanged(leaf: Any) -> bool:
        return is_tensor(leaf) and type(leaf) is not float


def checkpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, of whose values derivatives keep the arguments alone: the others are computed again on the way back."""

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if current_trace() is None:
            return function(*args, **kwargs)
        given, title = Arguments((args, kwargs)), name_of(function)

        def again(tensors: list[Tensor]) -> Any:
            args, kwargs = given.of(tensors)
            return function(*args, **kwargs)

        body = body_of(again, title, given.tensors)
        with g.location(user_location()):
            return _unflattened(body, emit(CallOp(body.operands, title, body.block, checkpoint=True)))

    return called


def stop_gradient(x: Any) -> Any:
    """x, a tensor or a pytree of them, as a constant to derivatives."""
    return tree_map(lambda leaf: bind(composites.stop_gradient, (leaf,)) if is_tensor(leaf) else leaf, x)


def _unflattened(body: TracedBody, values: Sequence[SSAValue]) -> Any:
    outer = under_way()
    return body.results.unflatten([symbolic(v, outer) for v in values[: body.results.size]])


class CustomFunction:
    """A function with a derivative of its own. Called outside of traces it is the function as it stands."""

    rule = ""  # the method that states the derivative

    def __init__(self, function: Callable[..., Any]):
        update_wrapper(self, function)
        self.function, self.title = function, name_of(function)
        self.stated: tuple[Callable[..., Any], ...] = ()

    def __call__(self, *args: Any, **named: Any) -> Any:
        within = _within.get()
        if current_trace() is None or within.count(self) == _DEPTH:
            return self.function(*args, **named)
        if not self.stated:
            raise MlcError(
                f"{self.title} has no derivative yet", file=user_line(), remedy=f"Write {self.title}.{self.rule}."
            )
        given = Arguments(self._by_position(args, named))
        body = body_of(lambda tensors: self.function(*given.of(tensors)), self.title, given.tensors)
        bodies = [body]
        token = _within.set((*within, self))
        try:
            for rule in self.rules(given, body):
                bodies.append(rule(_lifted(bodies)))
        finally:
            _within.reset(token)
        for each in bodies:
            each.scope.take(_lifted(bodies))
        op = CustomOp(body.operands, self.title, len(given.places), body.block, [each.block for each in bodies[1:]])
        with g.location(user_location()):
            return _unflattened(body, emit(op))

    def _by_position(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """The arguments of a call, those left to their defaults too, in the order in which the rules take them. Raises MlcError."""
        try:
            bound = signature_of(self.function).bind(*args, **named)
        except TypeError as error:
            raise MlcError(f"{self.title}: {error}", file=user_line()) from error
        bound.apply_defaults()
        if bound.kwargs:
            raise MlcError(
                f"{self.title} takes {', '.join(bound.kwargs)} by name alone, and its rules by position",
                file=user_line(),
                remedy=f"Leave the star out of the arguments of {self.title}.",
            )
        return bound.args

    def rules(self, given: Arguments, body: TracedBody) -> Sequence[Callable[[list[SSAValue]], TracedBody]]:
        """What makes the bodies of the rules, given the values from outside that those before take."""
        raise NotImplementedError


def _lifted(bodies: Sequence[TracedBody]) -> list[SSAValue]:
    return list(dict.fromkeys(v for body in bodies for v in body.scope.lifted))


class custom_vjp(CustomFunction):
    """A function whose cotangents the user computes:

    @mlc.custom_vjp
    def f(x, y): ...
    f.defvjp(forward, backward)

    forward(x, y) gives (f(x, y), residuals), and backward(residuals, cotangent) a tuple with a cotangent for each argument, None where it is zero.
    Arguments given by name, and those left to their defaults, reach both by position. Numbers of Python, flags and names among the residuals stay what they are.
    Forward mode through it raises NoDerivative.
    """

    rule = "defvjp(forward, backward)"

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        self.stated = (forward, backward)

    def rules(self, given: Arguments, body: TracedBody) -> Sequence[Callable[[list[SSAValue]], TracedBody]]:
        forward, backward = self.stated
        own = [tensor_type(x) for x in body.block.args[: len(given.places)]]
        outs = [tensor_type(y) for y in gives(body)]
        kept: list[Residuals] = []
        made: list[TracedBody] = []

        def run_forward(tensors: list[Tensor]) -> Any:
            found = forward(*given.of(tensors))
            if not isinstance(found, tuple) or len(found) != 2:
                raise MlcError(f"{name_of(forward)} has to return (result, residuals)", file=user_line())
            result, tree = flatten(found[0])
            if tree != body.results:
                raise MlcError(
                    f"{name_of(forward)} and {self.title} give other structures",
                    file=user_line(),
                    remedy=difference(body.results, tree),
                )
            kept.append(Residuals(found[1]))
            return [*result, *kept[0].tensors]

        def run_backward(tensors: list[Tensor]) -> Any:
            count = len(kept[0].places)
            changes = iter(tensors[count:])
            cotangent = [next(changes) if is_float(dtype_of_type(t)) else None for t in outs]
            found = backward(kept[0].of(tensors[:count]), body.results.unflatten(cotangent))
            return _cotangents(name_of(backward), found, given, body)

        def first(take: list[SSAValue]) -> TracedBody:
            made.append(body_for(run_forward, name_of(forward), body.tensors, own, take))
            _require_types(name_of(forward), [tensor_type(y) for y in gives(made[0])][: len(outs)], outs)
            return made[0]

        def second(take: list[SSAValue]) -> TracedBody:
            residuals = [tensor_type(y) for y in gives(made[0])[len(outs) :]]
            seeds = [t for t in outs if is_float(dtype_of_type(t))]
            found = body_for(run_backward, name_of(backward), (), [*residuals, *seeds], take)
            _require_types(
                name_of(backward),
                [tensor_type(y) for y in gives(found)],
                [t for t in own if is_float(dtype_of_type(t))],
            )
            return found

        return first, second


class custom_jvp(CustomFunction):
    """A function whose tangents the user computes; both modes use them:

    @mlc.custom_jvp
    def f(x, y): ...
    f.defjvp(rule)

    rule((x, y), (tx, ty)) gives (f(x, y), its tangent), with ops that are linear in the tangents.
    """

    rule = "defjvp(rule)"

    def defjvp(self, rule: Callable[..., Any]) -> None:
        self.stated = (rule,)

    def rules(self, given: Arguments, body: TracedBody) -> Sequence[Callable[[list[SSAValue]], TracedBody]]:
        (rule,) = self.stated
        own = [tensor_type(x) for x in body.block.args[: len(given.places)]]
        outs = [tensor_type(y) for y in gives(body) if is_float(dtype_of(y))]

        def run(tensors: list[Tensor]) -> Any:
            changes = iter(tensors[len(own) :])
            moved = [next(changes) if is_float(dtype_of_type(t)) else None for t in own]
            found = rule(given.of(tensors[: len(own)]), given.of(moved))
            if not isinstance(found, tuple) or len(found) != 2:
                raise MlcError(f"{name_of(rule)} has to return (result, tangent)", file=user_line())
            tangents, tree = flatten(found[1])
            if tree != body.results:
                raise MlcError(
                    f"the tangent that {name_of(rule)} gives has another structure than {self.title}",
                    file=user_line(),
                    remedy=difference(body.results, tree),
                )
            return [t for t, y in zip(tangents, gives(body), strict=True) if is_float(dtype_of(y))]

        def only(take: list[SSAValue]) -> TracedBody:
            found = body_for(run, name_of(rule), (), [*own, *(t for t in own if is_float(dtype_of_type(t)))], take)
            _require_types(name_of(rule), [tensor_type(y) for y in gives(found)], outs)
            return found

        return (only,)


def _cotangents(title: str, found: Any, given: Arguments, body: TracedBody) -> list[Any]:
    """The cotangents that a backward function gives, one for each float among the tensors; zeros for None."""
    trees = given.tree.children
    if not isinstance(found, tuple) or len(found) != len(trees):
        raise MlcError(
            f"{title} returns {f'a tuple of {len(found)}' if isinstance(found, tuple) else type(found).__name__}, "
            f"and has to return a tuple of {len(trees)} cotangents, one for each argument",
            file=user_line(),
        )
    result: list[Any] = []
    start = 0
    for number, (tree, cotangent) in enumerate(zip(trees, found, strict=True)):
        leaves, own = flatten(cotangent)
        if cotangent is not None and own != tree:
            raise MlcError(
                f"the cotangent of argument {number} that {title} gives has another structure",
                file=user_line(),
                remedy=difference(tree, own),
            )
        for n in range(start, start + tree.size):
            if n in given.places:
                like = body.block.args[given.places.index(n)]
                if is_float(dtype_of(like)):
                    result.append(_zeros(like) if cotangent is None else leaves[n - start])
        start += tree.size
    return result


def _zeros(like: SSAValue) -> Tensor:
    return symbolic(g.full(shape_of(like), 0, dtype_of(like)), under_way())


def _require_types(title: str, found: Sequence[Any], wanted: Sequence[Any]) -> None:
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if one != other:
            raise ShapeError(
                f"{title} gives {type_text(one)} as value {number}, where {type_text(other)} belongs", file=user_line()
            )

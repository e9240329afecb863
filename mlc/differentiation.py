"""Derivatives of Python functions of tensors, and of modules: `mlc.grad(loss)(params, x)`.

Each of these takes a function of tensors, in pytrees, and gives one. They may be nested, and stand inside or outside of `mlc.jit`: the function
is traced into a body, the body is differentiated (mlc/passes/autodiff), and its ops go into the trace around; where there is none, they are run
at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from xdsl.ir import SSAValue

from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.frontends.trace.functions.promotion import as_dtype
from mlc.frontends.trace.pytree import Tree, difference, flatten
from mlc.frontends.trace.tensor import Tensor, value_in
from mlc.frontends.trace.traced import name_of
from mlc.frontends.trace.traced_body import TracedBody, as_tensor, body_of, gives, is_tensor, staged, under_way
from mlc.frontends.trace.tracing import user_line
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_float, shape_of, tensor_type, type_text
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.bodies import at_end, give
from mlc.passes.autodiff.differentiate import differentiated
from mlc.passes.autodiff.expansion import write_out
from mlc.passes.autodiff.pull import pull
from mlc.passes.autodiff.push import push

Argnums = int | Sequence[int]


class DifferentiatedCall:
    """A call of a function that is to be differentiated: its tensors, those among them that it is differentiated by, and its traced body."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], argnums: Argnums):
        self.title = name_of(function)
        self.leaves, self.structure = flatten((tuple(args), kwargs))
        self.places = [n for n, leaf in enumerate(self.leaves) if is_tensor(leaf)]
        self.argnums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        if not all(isinstance(number, int) for number in self.argnums):
            raise MlcError(
                f"argnums of {self.title} is {argnums!r}",
                file=user_line(),
                remedy="Give the numbers of positional arguments: 0, or (0, 2).",
            )
        self.trees = [self._tree(number, len(args)) for number in self.argnums]
        self.wanted = [self._place(n) for number in self.argnums for n in self._leaves_of(number)]
        self.body: TracedBody = body_of(self._called(function), self.title, [self.leaves[n] for n in self.places])
        for n in self.wanted:
            self._require_float(n)
        write_out(self.body.block, self.sources)

    def _called(self, function: Callable[..., Any]) -> Callable[[list[Tensor]], Any]:
        def call(tensors: list[Tensor]) -> Any:
            leaves = list(self.leaves)
            for n, x in zip(self.places, tensors, strict=True):
                leaves[n] = x
            args, kwargs = self.structure.unflatten(leaves)
            return function(*args, **kwargs)

        return call

    def _tree(self, number: int, count: int) -> Tree:
        if not -count <= number < count:
            raise MlcError(
                f"{self.title} is called with {count} positional arguments, and differentiated by argument {number}",
                file=user_line(),
            )
        return self.structure.children[0].children[number % count]

    def _leaves_of(self, number: int) -> range:
        trees = self.structure.children[0].children
        start = sum(tree.size for tree in trees[: number % len(trees)])
        return range(start, start + trees[number % len(trees)].size)

    def _name(self, leaf: int) -> str:
        return self.structure.paths()[leaf].removeprefix("[0]")

    def _place(self, leaf: int) -> int:
        if leaf not in self.places:
            raise DTypeError(
                f"no gradient of {self.title} by argument{self._name(leaf)}, which is {self.leaves[leaf]!r}, and no tensor of floats",
                file=user_line(),
            )
        return self.places.index(leaf)

    def _require_float(self, n: int) -> None:
        value = self.body.block.args[n]
        if not is_float(dtype_of(value)):
            raise DTypeError(
                f"no gradient of {self.title} by argument{self._name(self.places[n])}, which is {type_text(tensor_type(value))}",
                file=user_line(),
                remedy="Derivatives are by floats: x.astype(...), or another argnums=.",
            )

    @property
    def sources(self) -> list[SSAValue]:
        """What it is differentiated by."""
        return [self.body.block.args[n] for n in self.wanted]

    def seed(self, like: SSAValue) -> SSAValue:
        """One more argument of the body."""
        return self.body.block.insert_arg(like.type, len(self.body.block.args))

    def pulled(self, seeds: Sequence[tuple[SSAValue, SSAValue]]) -> list[SSAValue]:
        """The gradients, in the body."""
        with at_end(self.body.block):
            found = pull(self.body.block, seeds, self.sources)
            return [algebra.like(x, 0) if c is None else c for x, c in zip(self.sources, found, strict=True)]

    def structured(self, gradients: Sequence[Any]) -> Any:
        """In the structure of the arguments: of one, or a tuple of several."""
        left, found = list(gradients), []
        for tree in self.trees:
            found.append(tree.unflatten(left[: tree.size]))
            left = left[tree.size :]
        return found


def _scalar(call: DifferentiatedCall, value: SSAValue) -> SSAValue:
    """The loss. Raises ShapeError, DTypeError where it is none."""
    if not is_float(dtype_of(value)):
        raise DTypeError(
            f"no gradient of {call.title}, which returns {type_text(tensor_type(value))}", file=user_line()
        )
    if shape_of(value):
        raise ShapeError(
            f"a gradient is of one number, and {call.title} returns {type_text(tensor_type(value))}",
            file=user_line(),
            remedy="Return .sum() or .mean() of it; or see mlc.vjp and mlc.jacobian.",
        )
    return value


def _returned(results: Tree, outs: Sequence[SSAValue]) -> str:
    """What a function returns, in words."""
    if results.kind is None:
        return type_text(tensor_type(outs[0]))
    return f"{results.kind.__name__} of {len(results.children)}"


def value_and_grad(function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives (value, gradient) of one that returns a number: the gradient has the structure of the argument `argnums`, or is a
    tuple of those of several. With `has_aux` the function returns (number, anything), and so does the first of the pair.

    Raises ShapeError for a loss that is no scalar, DTypeError for gradients by integers, NoDerivative for ops without one.
    """

    if not callable(function):
        raise MlcError(f"a gradient is of a function, not of {type(function).__name__}", file=user_line())

    @wraps(function)
    def derived(*args: Any, **kwargs: Any) -> Any:
        return staged(lambda given: compute(*given), name_of(function), (args, kwargs))

    def compute(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = DifferentiatedCall(function, args, kwargs, argnums)
        outs, results = gives(call.body), call.body.results
        if not has_aux and results.kind is not None:
            raise MlcError(
                f"{call.title} returns {results.kind.__name__}, and a gradient is of one number",
                file=user_line(),
                remedy="Where it returns (loss, more), say has_aux=True.",
            )
        if has_aux and (len(results.children) != 2 or results.children[0].kind is not None):
            raise MlcError(
                f"{call.title} returns {_returned(results, outs)}, and with has_aux=True a pair, (loss, more)",
                file=user_line(),
            )
        loss = _scalar(call, outs[0])
        with at_end(call.body.block):
            one = algebra.like(loss, 1)
        give(call.body.block, [*outs, *call.pulled([(loss, one)])])
        found = call.body.inline()
        gradients = call.structured(found[len(outs) :])
        value = results.unflatten(found[: len(outs)])
        return value, gradients[0] if isinstance(argnums, int) else tuple(gradients)

    return derived


def grad(function: Any, argnums: Argnums = 0, has_aux: bool = False, *, wrt: str = "*", output: str = "") -> Any:
    """A function that gives the gradient of one that returns a number; see value_and_grad. With `has_aux` (gradient, the rest).

    Of a module: the module with gradients of its `output` (the first, where none is named) by its inputs and weights that fit `wrt`, as further
    outputs gradient.NAME; the weights become inputs.
    """
    if isinstance(function, Module):
        return differentiated(function, wrt, output)
    both = value_and_grad(function, argnums, has_aux)

    @wraps(function)
    def derived(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return derived


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(function(*primals), pullback): pullback(cotangent), of the structure of the result, gives a tuple of the cotangents of the primals."""

    def pullback(cotangent: Any) -> Any:
        def compute(primals: tuple[Any, ...], cotangent: Any) -> Any:
            call = DifferentiatedCall(function, primals, {}, range(len(primals)))
            outs = gives(call.body)
            given = _like_results(call, cotangent, "cotangent")
            pairs = [(y, call.seed(y)) for y in outs if is_float(dtype_of(y))]
            give(call.body.block, call.pulled(pairs))
            seeds = [c for c, y in zip(given, outs, strict=True) if is_float(dtype_of(y))]
            return tuple(call.structured(call.body.inline(*seeds)))

        return staged(lambda given: compute(*given), name_of(function), (primals, cotangent))

    return function(*primals), pullback


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(function(*primals), its change for a small change of the primals by `tangents`, which have their structure)."""

    _require_sequences("jvp", primals, tangents)

    def compute(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        call = DifferentiatedCall(function, primals, {}, range(len(primals)))
        given, tree = flatten(tuple(tangents))
        if tree != call.structure.children[0]:
            raise MlcError(
                "the tangents have another structure than the primals",
                file=user_line(),
                remedy=difference(call.structure.children[0], tree),
            )
        block, outs = call.body.block, gives(call.body)
        pairs: dict[SSAValue, SSAValue] = {x: call.seed(x) for x in call.sources}
        seeds = [_value(t, x, f"tangent {n}") for n, (t, x) in enumerate(zip(given, pairs, strict=True))]
        found = push(block, pairs)
        with at_end(block):
            changes = [algebra.like(y, 0) if t is None else t for y, t in zip(outs, found, strict=True)]
        give(block, [*outs, *changes])
        inlined = call.body.inline(*seeds)
        results = call.body.results
        return results.unflatten(inlined[: len(outs)]), results.unflatten(inlined[len(outs) :])

    return staged(lambda given: compute(*given), name_of(function), (tuple(primals), tuple(tangents)))


def hvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of a function that returns a number times a direction: the change of its gradient (push of pull). For one primal a pytree like
    it, else a tuple."""
    _require_sequences("hvp", primals, tangents)
    gradient = grad(function, 0 if len(primals) == 1 else range(len(primals)))
    return jvp(gradient, primals, tangents)[1]


def _require_sequences(what: str, primals: Any, tangents: Any) -> None:
    """Raises MlcError for an array in place of the list of arguments: its rows would be taken for them."""
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple | list):
            raise MlcError(
                f"{what}: the {name} are one {type(given).__name__}, and no tuple",
                file=user_line(),
                remedy=f"Write {what}(f, (x,), (v,)): one of each for every argument of f.",
            )


def _like_results(call: DifferentiatedCall, cotangent: Any, what: str) -> list[SSAValue]:
    leaves, tree = flatten(cotangent)
    if tree != call.body.results:
        raise MlcError(
            f"the {what} has another structure than what {call.title} returns",
            file=user_line(),
            remedy=difference(call.body.results, tree),
        )
    return [_value(leaf, y, what) for leaf, y in zip(leaves, gives(call.body), strict=True)]


def _value(leaf: Any, like: SSAValue, what: str) -> SSAValue:
    """A tangent or cotangent as a value of the trace around."""
    found = as_dtype(value_in(under_way(), as_tensor(leaf, what)), dtype_of(like))
    if found.type != like.type:
        raise ShapeError(
            f"the {what} is {type_text(tensor_type(found))}, and belongs to {type_text(tensor_type(like))}",
            file=user_line(),
        )
    return found

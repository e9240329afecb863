"""What was done to tensors that require a gradient, in the order in which it happened, and the walk back over it.

A node is one call (eager.py) with the arrays that it was given and gave. Its pullback is a function of the IR like any other: of the call's
operands, its results and their cotangents, derived once per signature and run through `bind`, so that gradients of gradients need nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, Self

import numpy as np

from mlc.errors import InternalError, MlcError, ShapeError
from mlc.frontends.trace.eager import EagerCall, GraphFunction, call_of, evaluate
from mlc.frontends.trace.tracing import user_line
from mlc.ir.types import dtype_name, is_float, shape_text

Derive = Callable[[EagerCall, tuple[int, ...]], tuple[GraphFunction, tuple[int, ...]]]
Hook = Callable[..., Any]  # of a tensor: hook(gradient)

_recording: ContextVar[bool] = ContextVar("recording", default=True)
_derive: list[Derive] = []
_numbers = count()


def use_derivatives(derive: Derive) -> None:
    """Have pullbacks made by this function: derive(call, places) gives (function, reads), as Pullback has them, by these arguments of the call's
    body. Who joins the stages knows one; a frontend knows no passes."""
    _derive[:] = [derive]


class Node:
    """One call: `inputs` are the tensors that require a gradient, of the operands `active`; `data` is all that it was given, `results` what it
    gave. `hooks` are those of its results, by their number."""

    __slots__ = ("active", "call", "data", "hooks", "inputs", "results")

    def __init__(self, call: EagerCall, active: tuple[int, ...], inputs: list[Any], data: list[Any]):
        self.call, self.active, self.inputs = call, active, inputs
        self.data: list[Any] | None = data
        self.results: list[np.ndarray] = []
        self.hooks: dict[int, dict[int, Hook]] | None = None

    def forget(self) -> None:
        """Let go of the arrays: the result that a user keeps would keep all that it was made of."""
        self.data, self.inputs, self.results = None, [], [_NOTHING] * len(self.results)


_NOTHING = np.empty(0)


class Pullback:
    """The pullback of a call by some of its operands, `places` among the arguments of its body. `function` takes those values that it reads, by
    their numbers: first the arguments of the body, then the results, then the cotangents of those that are floats."""

    __slots__ = ("call", "function", "places", "reads")

    def __init__(self, call: EagerCall, active: tuple[int, ...]):
        if not _derive:
            raise InternalError("nothing says how derivatives are made: import mlc.numpy")
        numbers = [*call.operands, *(n for n, _ in call.numbers)]
        self.places = tuple([numbers.index(n) for n in active])
        self.function, self.reads = _derive[0](call, self.places)
        self.call: EagerCall | None = None  # of the function, found when it is run first

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The cotangents of the active operands."""
        if self.call is None:
            signature = [part for array in arrays for part in (array.shape, array.dtype)]
            self.call = call_of((self.function, (), *signature))
        return evaluate(self.call, arrays)


class Handle:
    """Takes a hook off its tensor or module: `handle.remove()`, or at the end of `with x.register_hook(f):`."""

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]):
        self._hooks, self._number = hooks, next(_numbers)
        hooks[self._number] = hook

    def remove(self) -> None:
        """A second time it does nothing."""
        self._hooks.pop(self._number, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def is_recording() -> bool:
    """Whether what is done to tensors that require a gradient is remembered."""
    return _recording.get()


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside, nothing is remembered for gradients: `with mlc.no_grad():`, or a decorator, `@mlc.no_grad()`."""
    with _set(False):
        yield


@contextmanager
def enable_grad() -> Iterator[None]:
    """Inside, gradients are remembered again, also within no_grad."""
    with _set(True):
        yield


@contextmanager
def _set(on: bool) -> Iterator[None]:
    token = _recording.set(on)
    try:
        yield
    finally:
        _recording.reset(token)


def note(call: EagerCall, operands: Sequence[Any], data: list[Any], results: Sequence[Any]) -> None:
    """Remember a call whose operands require gradients; its results that are floats do then."""
    if not call.floats or not _recording.get():
        return
    active = tuple([n for n, x in enumerate(operands) if type(x) not in _NUMBERS and x.requires_grad])
    node = Node(call, active, [operands[n] for n in active], data)
    node.results = [y.data for y in results]
    for place in call.floats:
        y = results[place]
        y.requires_grad, y.node, y.place = True, node, place


_NUMBERS = frozenset((bool, int, float))


class Barrier(Node):
    """A compiled function that uses tensors from outside which require gradients: no way leads back through it."""

    __slots__ = ("name",)

    def __init__(self, name: str, results: Sequence[Any]):
        self.name, self.active, self.inputs, self.data, self.hooks = name, (), [], None, None
        self.results = [y.data for y in results]
        for place, y in enumerate(results):
            if is_float(dtype_name(y.data.dtype)):
                y.requires_grad, y.node, y.place = True, self, place


def hook_on(x: Any, hook: Hook) -> Handle:
    """A hook on the cotangent of a tensor: of a leaf, or of a node's result."""
    if not x.requires_grad:
        raise MlcError("a hook on a tensor that requires no gradient would never be called", file=user_line())
    if x.node is not None:
        x.node.hooks = x.node.hooks or {}
        return Handle(x.node.hooks.setdefault(x.place, {}), hook)
    if x.hooks is None:
        x.hooks = {}
    return Handle(x.hooks, hook)


class Walk:
    """The way back from one result. `bind` and `wrap` are those of tensor.py, `add` its addition."""

    def __init__(self, bind: Callable[..., Any], wrap: Callable[[Any], Any], add: Callable[[Any, Any], Any]):
        self.bind, self.wrap, self.add = bind, wrap, add

    def run(self, y: Any, cotangent: Any, retain_graph: bool, create_graph: bool) -> None:
        """Add to `x.grad` of every leaf x that y was made of. Raises MlcError for a graph that is gone, or a leaf whose numbers were changed."""
        given: dict[int, list[Any]] = {}
        leaves: dict[int, tuple[Any, Any]] = {}
        with _set(create_graph):
            self._arrive(y, cotangent, given, leaves)
            for node in reversed(_order(y)):
                for x, c in zip(node.inputs, self._pulled(node, given.pop(id(node)), create_graph), strict=True):
                    self._arrive(x, c, given, leaves)
                if not (retain_graph or create_graph):
                    node.forget()
            for x, c in leaves.values():
                c = _through(x.hooks, c)
                x.grad = c if x.grad is None else self.add(x.grad, c)

    def _arrive(self, x: Any, c: Any, given: dict[int, list[Any]], leaves: dict[int, tuple[Any, Any]]) -> None:
        """A cotangent comes to a tensor: partial ones add up."""
        if x.node is None:
            leaves[id(x)] = (x, self.add(leaves[id(x)][1], c) if id(x) in leaves else c)
            return
        places = given.setdefault(id(x.node), [None] * len(x.node.results))
        places[x.place] = c if places[x.place] is None else self.add(places[x.place], c)

    def _pulled(self, node: Node, cotangents: list[Any], create_graph: bool) -> Sequence[Any]:
        """The cotangents of the inputs."""
        if isinstance(node, Barrier):
            raise MlcError(
                f"no gradient goes through the compiled function '{node.name}': it uses tensors from outside that require gradients",
                file=user_line(),
                remedy="Pass them as arguments, or differentiate the whole: mlc.value_and_grad, mlc.train_step.",
            )
        if node.data is None:
            raise MlcError(
                "what this result was made of is gone: backward() has been there before",
                file=user_line(),
                remedy="Say backward(retain_graph=True) the first time, or compute the result again.",
            )
        call, results = node.call, node.results
        for n, hooks in (node.hooks or {}).items():
            if cotangents[n] is not None:
                cotangents[n] = _through(hooks, cotangents[n])
        pullback = call.pullbacks.get(node.active)
        if pullback is None:
            pullback = call.pullbacks[node.active] = Pullback(call, node.active)
        arguments = call.arrays(node.data) if call.numbers else node.data
        seeds = [np.zeros_like(results[n]) if cotangents[n] is None else cotangents[n].data for n in call.floats]
        if not create_graph:
            values = [*arguments, *results, *seeds]
            return [self.wrap(array) for array in pullback.run([values[n] for n in pullback.reads])]
        tensors = [self.wrap(array) for array in (*arguments, *results, *seeds)]
        for x, place in zip(node.inputs, pullback.places, strict=True):
            tensors[place] = _unchanged(x, arguments[place])
        for number, place in enumerate(call.floats):
            y = tensors[len(arguments) + place]
            y.requires_grad, y.node, y.place = True, node, place
            if cotangents[place] is not None:
                tensors[len(arguments) + len(results) + number] = cotangents[place]
        return self.bind(pullback.function, [tensors[n] for n in pullback.reads])


def _unchanged(x: Any, recorded: np.ndarray) -> Any:
    if x.data is not recorded:
        raise MlcError(
            f"a tensor {dtype_name(x.dtype)}{shape_text(x.shape)} was given other numbers after it was used",
            file=user_line(),
            remedy="Compute the result again; or leave out create_graph, for gradients at the old numbers.",
        )
    return x


def _through(hooks: dict[int, Hook] | None, cotangent: Any) -> Any:
    """The cotangent, or what hooks make of it."""
    for hook in list((hooks or {}).values()):
        found = hook(cotangent)
        if found is not None:
            if found.shape != cotangent.shape:
                raise ShapeError(
                    f"a hook gives a gradient of shape {shape_text(found.shape)} for {shape_text(cotangent.shape)}",
                    file=user_line(),
                )
            cotangent = found
    return cotangent


def _order(y: Any) -> list[Node]:
    """The nodes below a tensor, each behind those that it was made of. No recursion: a chain may be long."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [] if y.node is None else [(y.node, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(x.node, False) for x in node.inputs if x.node is not None]
    return order

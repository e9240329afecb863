"""Trace a Python function: it runs once on symbolic tensors, and what it does to them becomes a module.

traced = trace(loss, params, x)       params = {"w": ..., "b": ...}
traced.module                         inputs params.b, params.w, x; output result
traced.results                        the structure of what loss returns
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.functions.promotion import DEFAULT, value
from mlc.frontends.trace.parameters import dtype_text
from mlc.frontends.trace.pytree import Tree, flatten, flatten_named
from mlc.frontends.trace.tensor import Tensor, array_of, symbolic, value_in
from mlc.frontends.trace.tracing import tracing, user_line
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import current_block
from mlc.ir.module import Module, Range
from mlc.ir.types import dtype_name, shape_text
from mlc.ir.types import extent as extent_of


class TensorSpec:
    """The shape and dtype of an argument to trace with; extents are numbers, names of sizes and expressions: TensorSpec(("N", 784), "f32").

    `weak` says that it stands for a Python number of this kind.
    """

    def __init__(self, shape: Any, dtype: Any = "f32", weak: type | None = None):
        given = (shape,) if isinstance(shape, int | str | Dim) else shape
        for e in given:
            if not isinstance(e, int | np.integer | str | Dim) or (isinstance(e, int) and e < 0):
                raise ShapeError(
                    f"a shape has the extent {e!r}",
                    file=user_line(),
                    remedy='Extents are whole numbers and sizes, "N".',
                )
        self.shape: tuple[Extent, ...] = tuple(extent_of(e) for e in given)
        self.dtype, self.weak = dtype_text(dtype), weak

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorSpec) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.shape, self.dtype, self.weak

    def __str__(self) -> str:
        return f"{self.dtype}{shape_text(self.shape)}"

    def __repr__(self) -> str:
        return f"TensorSpec({self})"


def spec_of(leaf: Any, name: str = "argument") -> TensorSpec:
    """What an argument is traced as. Raises MlcError for one that is no tensor."""
    if isinstance(leaf, TensorSpec):
        return leaf
    if isinstance(leaf, bool | int | float) and not isinstance(leaf, np.generic):
        kind = bool if isinstance(leaf, bool) else int if isinstance(leaf, int) else float
        return TensorSpec((), "f64" if kind is float else DEFAULT[kind], kind)
    if isinstance(leaf, Tensor):
        return TensorSpec(leaf.shape, dtype_name(leaf.dtype), leaf.weak)
    if not isinstance(leaf, np.ndarray | np.generic) and not hasattr(leaf, "__dlpack__"):
        raise MlcError(
            f"the argument {name} is of type {type(leaf).__name__}, and no tensor",
            file=user_line(),
            remedy=f"Name it in static=[...], where it decides what the code does: mlc.jit(f, static=[{name.split('.')[0].split('[')[0]!r}]).",
        )
    array = array_of(leaf, None, copy=False)
    return TensorSpec(array.shape, dtype_name(array.dtype))


@dataclass(frozen=True)
class Traced:
    """A function as a module: its inputs are the leaves of the arguments in order, its outputs the leaves of what it returns (`results`).

    `captured` are the tensors from outside that are constants in it, with the arrays that they held then.
    """

    name: str
    module: Module
    arguments: Tree
    results: Tree
    specs: tuple[TensorSpec, ...]
    captured: tuple[tuple[Tensor, np.ndarray], ...] = ()

    @property
    def keeps_from_gradients(self) -> bool:
        """Whether a constant requires a gradient, which it cannot get."""
        return any(x.requires_grad for x, _ in self.captured)

    @property
    def is_current(self) -> bool:
        """Whether the tensors from outside hold what they held then: training gives parameters other numbers."""
        return all(x.data is array for x, array in self.captured)


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call: the leaves of those that are traced, their structure and names, and the static ones."""

    leaves: list[Any]
    tree: Tree
    static: tuple[tuple[str, Hashable], ...]
    signature: inspect.Signature

    @property
    def names(self) -> list[str]:
        """What the inputs of the module are called: x, params.w, batch[0]."""
        return [path.lstrip(".") for path in self.tree.paths()]

    def call(self, function: Callable[..., Any], leaves: Sequence[Any]) -> Any:
        """function(...) with other leaves."""
        traced = zip(self.tree.names, self.tree.unflatten(leaves), strict=True)
        given = {**{name[1:]: found for name, found in traced}, **dict(self.static)}
        bound = inspect.BoundArguments(self.signature, {n: given[n] for n in self.signature.parameters if n in given})
        return function(*bound.args, **bound.kwargs)


def arguments_of(
    function: Callable[..., Any],
    static: Sequence[str],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    signature: inspect.Signature | None = None,
) -> Arguments:
    """The arguments of a call, by the names of parameters; those that are left out keep their defaults, which are not traced. Raises MlcError where they do not fit the function, or a static one has no hash."""
    signature = signature or signature_of(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise MlcError(f"{name_of(function)}: {error}", file=user_line()) from error
    given = dict(bound.arguments)
    fixed = tuple((name, given.pop(name)) for name in static if name in given)
    for name, found in fixed:
        try:
            if isinstance(found, Tensor | np.ndarray):
                raise TypeError
            hash(found)
        except TypeError as error:
            raise MlcError(
                f"the argument '{name}' of {name_of(function)} cannot be static: it is of type {type(found).__name__}",
                file=user_line(),
                remedy="Static are numbers, strings, tuples and whatever else has a hash, but tensors.",
            ) from error
    leaves, tree = flatten_named(given)
    return Arguments(leaves, tree, fixed, signature)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise MlcError(f"{function!r} is no Python function that can be traced", file=user_line()) from error


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Traced:
    """The function traced for arguments like these: tensors, arrays, numbers, TensorSpecs, and pytrees of them."""
    return trace_call(function, arguments_of(function, (), args, kwargs), {})


def trace_call(
    function: Callable[..., Any],
    call: Arguments,
    shapes: Mapping[str, Sequence[Extent | str]],
    bounds: Mapping[str, Range] | None = None,
) -> Traced:
    """The function traced for the arguments of a call, whose inputs of these names have these shapes, with symbolic sizes. `bounds` of sizes."""
    names = call.names
    specs = [_reshaped(spec_of(leaf, name), name, shapes) for leaf, name in zip(call.leaves, names, strict=True)]
    if unknown := [name for name in shapes if name not in names]:
        raise MlcError(f"{name_of(function)} has no argument '{unknown[0]}'", remedy=f"Arguments: {', '.join(names)}.")
    title = name_of(function)
    made = g.module_builder(title if title.isidentifier() else "main")
    with made.function([(name, spec.shape, spec.dtype) for name, spec in zip(names, specs, strict=True)]) as inputs:
        block = current_block()
        assert block is not None
        with tracing(title, block) as scope:
            leaves = [symbolic(v, scope, spec.weak) for v, spec in zip(inputs, specs, strict=True)]
            found, results = flatten(call.call(function, leaves))
            outputs = []
            for leaf, path in zip(found, results.paths(), strict=True):
                _require_result(leaf, title, path)
                outputs.append((f"result{path}", value(value_in(scope, _operand(leaf)))))
            made.outputs(outputs)
    for symbol, range_ in (bounds or {}).items():
        made.symbols[symbol] = range_
    module = made.finish()
    return Traced(title, module, call.tree, results, tuple(specs), tuple(scope.captured.values()))


def _reshaped(spec: TensorSpec, name: str, shapes: Mapping[str, Sequence[Extent | str]]) -> TensorSpec:
    if name not in shapes:
        return spec
    wanted = TensorSpec(shapes[name], spec.dtype)
    if len(wanted.shape) != len(spec.shape):
        raise MlcError(f"{name} is {spec}, and shapes gives it {len(wanted.shape)} axes", file=user_line())
    for axis, (extent, size) in enumerate(zip(wanted.shape, spec.shape, strict=True)):
        if isinstance(extent, int) and isinstance(size, int) and extent != size:
            raise MlcError(
                f"axis {axis} of {name} is {size}, and must be {extent}: it is {shape_text(wanted.shape)}",
                file=user_line(),
            )
    return wanted


def _require_result(leaf: Any, title: str, path: str) -> None:
    if not isinstance(leaf, Tensor | np.ndarray | np.generic | bool | int | float | Dim):
        raise MlcError(
            f"{title} returns {type(leaf).__name__} at result{path}, and not a tensor",
            file=user_line(),
            remedy="Return tensors, in dicts, lists, tuples or dataclasses.",
        )


def _operand(leaf: Any) -> Any:
    return leaf if isinstance(leaf, Tensor | bool | int | float | Dim) else Tensor(leaf)


def dim(name: str) -> Dim:
    """A size that is known when the code runs: mlc.dim("N") in a TensorSpec, or in shapes=; arithmetic gives expressions of it."""
    if not isinstance(name, str) or not name:
        raise MlcError(f"a size has a name, and {name!r} is none", file=user_line())
    return dims.symbol(name)

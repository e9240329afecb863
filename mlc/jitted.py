"""Python functions compiled: `@mlc.jit`. Each stage between the function and machine code is an object that can be looked at.

@mlc.jit
def loss(params, x): ...

loss(params, x)                       traced and compiled at the first call with these shapes and dtypes
staged = loss.trace(params, x)        staged.module is the graph
lowered = staged.lower()              lowered.as_text("fuse") is the IR after a pass
compiled = lowered.compile()          compiled(params, x); compiled.executable
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import update_wrapper
from threading import RLock
from types import MethodType
from typing import Any

import numpy as np

from mlc.compiler import Compilation
from mlc.errors import DTypeError, MlcError
from mlc.frontends.trace.pytree import Tree, difference, flatten
from mlc.frontends.trace.tape import Barrier, is_recording
from mlc.frontends.trace.tensor import Tensor, array_of, wrap
from mlc.frontends.trace.traced import Arguments, Traced, arguments_of, name_of, signature_of, spec_of, trace_call
from mlc.frontends.trace.tracing import current_trace, user_line
from mlc.ir.collection import without_collections
from mlc.ir.dims import Extent
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype
from mlc.options import CompileOptions
from mlc.passes.graph.cse import Cse
from mlc.passes.graph.dce import Dce
from mlc.runtime.executable import Executable

_log = logging.getLogger("mlc.trace")
SIGNATURES = 64  # compilations that a function keeps; the one that was not called for longest goes first


class Staged:
    """A function that was traced."""

    def __init__(self, traced: Traced, options: CompileOptions):
        self.traced, self.options = traced, options

    @property
    def module(self) -> Module:
        return self.traced.module

    @property
    def arguments(self) -> Tree:
        """The structure of the arguments, whose leaves are the inputs of the module."""
        return self.traced.arguments

    @property
    def results(self) -> Tree:
        """The structure of what the function returns, whose leaves are the outputs of the module."""
        return self.traced.results

    def lower(self, target: str | None = None) -> Lowered:
        """The function on its way to a target, that of the options where none is named."""
        return Lowered(self.traced, self.options if target is None else replace(self.options, target=target))

    def compile(self) -> Compiled:
        return self.lower().compile()

    def as_text(self, after: str | None = None) -> str:
        """The IR as it was traced, or after a pass."""
        return str(self.module) if after is None else self.lower().as_text(after)

    def __str__(self) -> str:
        return str(self.module)

    def __repr__(self) -> str:
        return f"<{self.traced.name}, traced for {_signature(self.traced)}>"


class Lowered:
    """A function whose module goes through the passes of a target."""

    def __init__(self, traced: Traced, options: CompileOptions):
        self.traced, self.options = traced, options
        self._compilation = Compilation(options)

    def as_text(self, after: str | None = None) -> str:
        """The IR after a pass, as `mlc opt --list-passes` names them, or at the end. Raises MlcError for a pass that is not run."""
        texts: dict[str, str] = {}
        lowered = Compilation(self.options).lower(
            self.traced.module, watch=lambda _, done, changed: texts.update({done.name: str(changed)})
        )
        if after is None:
            return str(lowered)
        if after not in texts:
            raise MlcError(f"the pass '{after}' is not run", remedy=f"Passes: {', '.join(texts)}.")
        return texts[after]

    def compile(self) -> Compiled:
        return Compiled(self.traced, self._compilation.finish(self.traced.module))

    def __repr__(self) -> str:
        return f"<{self.traced.name}, for {self.options.target}, traced for {_signature(self.traced)}>"


class Compiled:
    """A function as native code, for arguments of the shapes it was traced with."""

    def __init__(self, traced: Traced, executable: Executable):
        self.traced, self.executable = traced, executable
        self._dtypes = [numpy_dtype(spec.dtype) for spec in traced.specs]

    def __call__(self, *args: Any) -> Any:
        """What the function returns. Raises MlcError for arguments that it was not traced for."""
        leaves, tree = flatten(args)
        if tree.children != self.traced.arguments.children:
            raise MlcError(
                f"{self.traced.name} was traced for other arguments",
                file=user_line(),
                remedy=difference(self.traced.arguments, tree),
            )
        return self.run(leaves)

    def __repr__(self) -> str:
        return f"<{self.traced.name}, compiled for {_signature(self.traced)}>"

    def run(self, leaves: Sequence[Any]) -> Any:
        """What the function returns, for the leaves of its arguments."""
        arrays = [leaf.data if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        found = self.executable.run(None, dict(zip(self.executable_inputs, self._arrays(arrays), strict=True)))
        results = [wrap(array) for array in found]
        if self.traced.keeps_from_gradients and is_recording():
            Barrier(self.traced.name, results)
        return self.traced.results.unflatten(results)

    @property
    def executable_inputs(self) -> list[str]:
        return self.traced.module.input_names

    def _arrays(self, leaves: Sequence[Any]) -> list[np.ndarray]:
        try:
            return [
                np.array(leaf, dtype) if isinstance(leaf, bool | int | float) else array_of(leaf, None, copy=False)
                for leaf, dtype in zip(leaves, self._dtypes, strict=True)
            ]
        except OverflowError as error:
            raise DTypeError(f"{self.traced.name}: a number is out of the range of i64", file=user_line()) from error


def _signature(traced: Traced) -> str:
    """x f32[2, 3], lr f64[]"""
    rows = zip(traced.module.input_names, traced.specs, strict=True)
    return ", ".join(f"{name} {spec}" for name, spec in rows) or "nothing"


def _kept(leaf: Any) -> tuple[Any, ...]:
    """What a compilation depends on of a leaf: shape and dtype, of a Python number its type; of other arrays what they are traced as."""
    if isinstance(leaf, Tensor | np.ndarray):
        return leaf.shape, leaf.dtype
    if type(leaf) in (bool, int, float):
        return (), type(leaf)
    if isinstance(leaf, np.generic) or hasattr(leaf, "__dlpack__"):
        spec = spec_of(leaf)
        return spec.shape, spec.dtype
    return (type(leaf),)  # which tracing refuses


def traced_call(
    function: Callable[..., Any],
    call: Arguments,
    shapes: Mapping[str, Sequence[Extent | str]],
    bounds: Mapping[str, tuple[int, int | None]],
) -> Traced:
    """The traced function (see trace_call), with nothing that it does not return, and nothing twice: of the values that a function computes its
    gradient needs few, and several rules ask for the same one."""
    with without_collections():
        traced = trace_call(function, call, shapes, bounds)
        Cse().run(traced.module)
        Dce().run(traced.module)
    return traced


class Jitted:
    """See `jit`."""

    def __init__(
        self,
        function: Callable[..., Any],
        static: Sequence[str],
        shapes: Mapping[str, Sequence[Extent | str]],
        options: CompileOptions,
    ):
        update_wrapper(self, function)
        self.function, self.static, self.options = function, tuple(static), options
        self.shapes = known_shapes(shapes)
        self._signature = signature_of(function)
        self._compiled: OrderedDict[Any, Compiled] = OrderedDict()
        self._lock = RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current_trace() is not None:
            return self.function(*args, **kwargs)
        call = arguments_of(self.function, self.static, args, kwargs, self._signature)
        if is_recording() and any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in call.leaves):
            return self.function(*args, **kwargs)  # backward() goes through what it does
        return self._compiled_for(call).run(call.leaves)

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        """As a method: self is the first argument."""
        return self if owner is None else MethodType(self, owner)

    def __repr__(self) -> str:
        return f"<mlc.jit of {name_of(self.function)}, compiled for {len(self._compiled)} signatures>"

    def trace(self, *args: Any, **kwargs: Any) -> Staged:
        """The function traced for arguments like these: tensors, arrays, numbers, mlc.TensorSpec, and pytrees of them."""
        return Staged(
            self._traced(arguments_of(self.function, self.static, args, kwargs, self._signature)), self.options
        )

    def lower(self, *args: Any, target: str | None = None, **kwargs: Any) -> Lowered:
        return self.trace(*args, **kwargs).lower(target)

    def _traced(self, call: Arguments) -> Traced:
        bounds = {symbol: (range.low, range.high) for symbol, range in self.options.dims.items()}
        return traced_call(self.function, call, self.shapes, bounds)

    def _compiled_for(self, call: Arguments) -> Compiled:
        names = call.names if self.shapes else ()
        specs = [
            _kept(leaf) if not self.shapes or names[n] not in self.shapes else (*self.shapes[names[n]], _kept(leaf)[1:])
            for n, leaf in enumerate(call.leaves)
        ]
        key = (call.tree, *[(name, type(found), found) for name, found in call.static], *specs)
        with self._lock:
            found = self._compiled.get(key)
            if found is not None and found.traced.is_current:
                self._compiled.move_to_end(key)
                return found
            traced = self._traced(call)
            shown, number = _signature(traced), len(self._compiled) + 1
            _log.info("%s: compiled for %s (signature %d)", name_of(self.function), shown, number)
            found = self._compiled[key] = Staged(traced, self.options).compile()
            if len(self._compiled) > SIGNATURES:
                while len(self._compiled) > SIGNATURES:
                    self._compiled.popitem(last=False)
                _log.warning(
                    "%s: more than %d signatures, the oldest is compiled again when it comes; symbolic sizes serve many (shapes=)",
                    name_of(self.function),
                    SIGNATURES,
                )
            return found


def known_shapes(shapes: Any) -> dict[str, Sequence[Extent | str]]:
    """What a user says of the shapes of arguments. Raises MlcError unless it is extents by name."""
    rows = shapes.items() if isinstance(shapes, Mapping) else [("shapes", shapes)]
    for name, shape in rows:
        if not isinstance(shapes, Mapping) or not isinstance(shape, tuple | list):
            raise MlcError(
                f"shapes are extents by the names of arguments, and {name} is {shape!r}",
                file=user_line(),
                remedy='Write shapes={"x": ("N", 3)}: "N" is a size that differs from call to call.',
            )
    return dict(shapes)


def jit(
    function: Callable[..., Any] | None = None,
    *,
    static: Sequence[str] = (),
    shapes: Mapping[str, Sequence[Extent | str]] | None = None,
    **options: Any,
) -> Any:
    """Compile a function at its first call for each signature (the shapes and dtypes of its tensors). Also a decorator: @mlc.jit, @mlc.jit(threads=1).

    static   names of arguments that are no tensors and decide what the code does: a call with another value is compiled anew
    shapes   argument (as x, params.w, batch[0]) -> its extents; names among them are symbolic sizes, which one compilation serves all of
    options  those of mlc.CompileOptions: target, threads, dims (bounds of sizes), opt_level, ...

    Arguments and results are tensors, arrays and numbers, in dicts, lists, tuples, named tuples and dataclasses. The function runs once while it is
    traced: what it prints and does besides computing happens then. Tensors from outside that it uses are constants of the code. A module of mlc.nn
    is compiled as a function of its parameters and buffers, which are those of the moment of each call.
    """
    if function is None:
        return lambda given: jit(given, static=static, shapes=shapes, **options)
    if (own := getattr(type(function), "__jit__", None)) is not None:
        return own(function, jit, static=static, shapes=shapes, **options)
    if not callable(function):
        raise MlcError(f"jit takes a function, not {type(function).__name__}", file=user_line())
    names = (static,) if isinstance(static, str) else tuple(static)
    known = list(signature_of(function).parameters)
    if unknown := [name for name in names if name not in known]:
        raise MlcError(
            f"{name_of(function)} has no argument '{unknown[0]}' to be static", remedy=f"Arguments: {', '.join(known)}."
        )
    if other := next((name for name in options if name.startswith("static_arg")), None):
        raise MlcError(
            f"mlc.jit has no argument '{other}'",
            file=user_line(),
            remedy=f"Static arguments go by name: static={known[-1:]}.",
        )
    return Jitted(function, names, shapes or {}, CompileOptions.of(**options))

"""The inputs of a model with their extents: what the file declares, refined by the caller's shapes and dims.

An axis is a number, a symbol or an expression of symbols that the sizes of some axes give ("past + 1", "4*h"). A name that is no
expression, or whose symbols no axis gives, is a symbol of its own; an axis without a name gets one from its input ("x_0").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import GraphProto, ValueInfoProto

from mlc.errors import InvalidModel, MlcError, ShapeError, UnsupportedOp
from mlc.frontends.onnx.element_types import DTYPES, element_type_name
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.module import Range
from mlc.ir.spelling import hint
from mlc.ir.types import Shape, shape_text

_LONGEST = 200  # characters of a declared dimension that are read as an expression
_ANONYMOUS = ("", "?", "None", "none", "unk", "unknown", "-1")  # written by exporters for "any size", on unrelated axes


@dataclass(frozen=True)
class Input:
    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True)
class Signature:
    """Inputs in the order of the file, and the bounds of every symbol in their shapes."""

    inputs: tuple[Input, ...]
    bounds: Mapping[str, Range]

    @property
    def symbols(self) -> list[str]:
        """In the order in which the inputs name them."""
        return list(
            dict.fromkeys(s for i in self.inputs for e in i.shape if isinstance(e, Dim) for s in sorted(e.symbols()))
        )

    @property
    def is_solvable(self) -> bool:
        """Whether the sizes of the inputs give every symbol: it is an axis by itself, or the only symbol of one as in 4*h + 1."""
        extents = [e for i in self.inputs for e in i.shape]
        return {s for e in extents if isinstance(e, Dim) for s in e.symbols()} <= _bound_symbols(extents)

    def replaced(self, symbol: str, extent: Extent) -> Signature:
        """The signature with a symbol replaced; the bounds of a symbol that replaces another one are narrowed to both. Raises ShapeError for a
        number outside of the bounds."""
        low, high = self.bounds[symbol]
        if isinstance(extent, int) and (extent < low or (high is not None and extent > high)):
            most = "" if high is None else f" and at most {high}"
            raise ShapeError(f"{symbol} would be {extent}, but must be at least {low}{most}")
        values = {symbol: extent}
        inputs = tuple(replace(i, shape=tuple(dims.substitute(e, values) for e in i.shape)) for i in self.inputs)
        bounds = {name: limits for name, limits in self.bounds.items() if name != symbol}
        for name in sorted(extent.symbols()) if isinstance(extent, Dim) else ():
            bounds.setdefault(name, (0, None))
        found = Signature(inputs, bounds)
        other = symbol_name(extent)
        return found if other is None else found.narrowed(other, self.bounds[symbol])

    def narrowed(self, symbol: str, limits: Range) -> Signature:
        """The signature with the bounds of a symbol narrowed. Raises ShapeError where no size is left."""
        (a, b), (c, d) = self.bounds[symbol], limits
        low, high = max(a, c), b if d is None else d if b is None else min(b, d)
        if high is not None and low > high:
            raise ShapeError(f"no size suits {symbol}, which must be at least {low} and at most {high}")
        return replace(self, bounds={**self.bounds, symbol: (low, high)})

    def with_values(self, known: Mapping[str, np.ndarray]) -> Signature:
        """The signature with the sizes that the values of some inputs have."""
        found = self
        for name, array in known.items():
            for axis, size in enumerate(np.shape(array)):
                shape = next((i.shape for i in found.inputs if i.name == name), ())
                if axis < len(shape) and (symbol := symbol_name(shape[axis])) is not None:
                    found = found.replaced(symbol, size)
        return found


def open_inputs(graph: GraphProto, named: Iterable[str], file: str | None = None) -> list[ValueInfoProto]:
    """The inputs that a call gives: those without an initializer, and those with one that the caller has `named` to give another value."""
    named = list(named)
    weights = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    inputs = [i.name for i in graph.input]
    if fixed := [name for name in named if name in weights and name not in inputs]:
        raise MlcError(
            f"'{fixed[0]}' is an initializer of the model, not an input",
            file=file,
            remedy="To give it at each call, list it among the graph's inputs too.",
        )
    found = [i for i in graph.input if i.name not in weights or i.name in named]
    _no_strangers("input", named, [i.name for i in found], file)
    return found


def signature(
    declared: Sequence[ValueInfoProto],
    *,
    shapes: Mapping[str, Sequence[int | str | Dim]] | None = None,
    sizes: Mapping[str, int | Range] | None = None,
    file: str | None = None,
) -> Signature:
    """The signature of a model.

    shapes        extents by input, in place of the declared ones; a symbol that they replace is replaced in every input
    sizes         a number that fixes a symbol, or its bounds (low, high)
    """
    shapes, sizes = shapes or {}, sizes or {}
    found = {d.name: _declared_shape(d, file) for d in declared}
    found = _bind_expressions(found)
    for name, shape in shapes.items():
        found = _override(found, name, tuple(shape), file)
    for name, declared_shape in found.items():
        if declared_shape is None:
            raise ShapeError(
                f"input '{name}' has no shape in the model", file=file, remedy=f"Give one: shapes={{'{name}': (...)}}."
            )
    complete = {name: shape for name, shape in found.items() if shape is not None}
    names = _symbols(complete.values())
    _no_strangers("dimension", sizes, names, file)
    inputs = tuple(Input(d.name, complete[d.name], _dtype(d, file)) for d in declared)
    made = Signature(inputs, {symbol: (0, None) for symbol in names})
    try:
        for symbol, size in sizes.items():
            made = made.replaced(symbol, size) if isinstance(size, int) else made.narrowed(symbol, size)
    except dims.DivisionByZero as error:
        raise ShapeError(f"the sizes {dict(sizes)} divide an extent by zero", file=file) from error
    for i in made.inputs:
        if any(isinstance(e, int) and e < 0 for e in i.shape):
            raise ShapeError(f"input '{i.name}' gets the shape {shape_text(i.shape)}", file=file)
    left = set(made.symbols)
    return replace(made, bounds={symbol: limits for symbol, limits in made.bounds.items() if symbol in left})


def _dtype(declared: ValueInfoProto, file: str | None) -> str:
    kind = declared.type.WhichOneof("value")
    if kind is None:
        raise InvalidModel(f"input '{declared.name}' has no type", file=file)
    if kind != "tensor_type":
        raise UnsupportedOp(
            f"input '{declared.name}': {kind.removesuffix('_type')} values are not supported, only tensors", file=file
        )
    dtype = DTYPES.get(declared.type.tensor_type.elem_type)
    if dtype is None:
        raise UnsupportedOp(
            f"input '{declared.name}': element type {element_type_name(declared.type.tensor_type.elem_type)} is not supported",
            file=file,
        )
    return dtype


def _declared_shape(declared: ValueInfoProto, file: str | None) -> tuple[Extent, ...] | None:
    _dtype(declared, file)
    if not declared.type.tensor_type.HasField("shape"):
        return None
    shape: list[Extent] = []
    for axis, dim in enumerate(declared.type.tensor_type.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            shape.append(dim.dim_value)
        elif dim.dim_param.strip() in _ANONYMOUS:
            shape.append(dims.symbol(f"{declared.name}_{axis}"))
        else:
            shape.append(_extent(dim.dim_param.strip()))
    return tuple(shape)


def _extent(text: str) -> Extent:
    """An expression, or a symbol where the text is none; so is one whose powers could write out to millions of terms."""
    if len(text) > _LONGEST or text.count("**") > 1:
        return dims.symbol(text)
    try:
        return dims.parse(text)
    except ValueError:
        return dims.symbol(text)


def _bind_expressions(found: Mapping[str, Shape | None]) -> dict[str, Shape | None]:
    """Expressions over symbols that are no axis by themselves become symbols of their own."""
    bound = _bound_symbols([e for shape in found.values() for e in shape or ()])

    def bind(extent: Extent) -> Extent:
        if isinstance(extent, Dim) and not extent.symbols() <= bound:
            return dims.symbol(str(extent))
        return extent

    return {name: None if shape is None else tuple(bind(e) for e in shape) for name, shape in found.items()}


def _bound_symbols(extents: Iterable[Extent]) -> set[str]:
    """The symbols that a call can solve for."""
    found: set[str] = set()
    for extent in extents:
        if isinstance(extent, Dim) and len(names := extent.symbols()) == 1:
            name = next(iter(names))
            slope = extent - dims.substitute(extent, {name: 0})
            quotient = dims.exact_quotient(slope, dims.symbol(name))
            if isinstance(quotient, int) and quotient > 0:
                found.add(name)
    return found


def symbol_name(extent: Extent) -> str | None:
    """The name of an extent that is one symbol and nothing else."""
    if isinstance(extent, Dim) and len(names := extent.symbols()) == 1:
        name = next(iter(names))
        return name if extent == dims.symbol(name) else None
    return None


def _override(
    found: Mapping[str, Shape | None], name: str, given: Sequence[int | str | Dim], file: str | None
) -> dict[str, Shape | None]:
    shape = tuple(_extent(e) if isinstance(e, str) else e for e in given)
    old = found[name]
    if old is None:
        return {**found, name: shape}
    if len(shape) != len(old):
        raise ShapeError(
            f"input '{name}' has {len(old)} axes, {shape_text(old)}; the shape given has {len(shape)}", file=file
        )
    values: dict[str, Extent] = {}
    for axis, (before, after) in enumerate(zip(old, shape, strict=True)):
        if isinstance(before, int):
            if isinstance(after, int) and before != after:
                raise ShapeError(
                    f"input '{name}': axis {axis} is {before} in the model, {after} in the shape given", file=file
                )
            continue
        symbol = symbol_name(before)
        if symbol is not None and values.setdefault(symbol, after) != after:
            raise ShapeError(
                f"input '{name}': '{symbol}' would be both {values[symbol]} and {after}",
                file=file,
                remedy=f"The model declares {shape_text(old)}: axes of one name have one size.",
            )
    replaced = {n: None if s is None else tuple(dims.substitute(e, values) for e in s) for n, s in found.items()}
    # A fixed axis stays fixed where the caller gives a name: the file knows better.
    replaced[name] = tuple(b if isinstance(b, int) else a for b, a in zip(old, shape, strict=True))
    return replaced


def _symbols(shapes: Iterable[Shape]) -> list[str]:
    return sorted({s for shape in shapes for e in shape if isinstance(e, Dim) for s in e.symbols()})


def _no_strangers(what: str, given: Iterable[str], known: Sequence[str], file: str | None) -> None:
    for name in given:
        if name not in known:
            listed = ", ".join(f"'{k}'" for k in known) or "none"
            raise MlcError(
                f"the model has no {what} '{name}'", file=file, remedy=f"{hint(name, known)}It has: {listed}."
            )

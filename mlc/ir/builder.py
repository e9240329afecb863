"""Build graph modules in Python. Every function takes and returns values and inserts its op at the current position.

    from mlc.ir import builder as g

    m = g.module_builder("mlp")
    with m.function(inputs=[("x", ("N", 64), "f32")]) as (x,):
        with g.location("fc", file="model.onnx", index=0):
            y = g.relu(g.matmul(x, g.constant(weights)))
        m.outputs([("y", y)])
    module = m.finish()

Element-wise functions take equal shapes: `g.lift(x, y)` broadcasts as NumPy does. Shapes are integers and dimension expressions.
"""

# ruff: noqa: F401  (the functions of the op families are offered here under one name)
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region, SSAValue

from mlc.errors import MlcError, ShapeError, UnsupportedOp
from mlc.ir import dims
from mlc.ir.alias import ALIAS
from mlc.ir.dims import Extent
from mlc.ir.dtypes import TABLE, packed
from mlc.ir.graph import constants as _constants
from mlc.ir.graph import elementwise
from mlc.ir.graph.attention import attention
from mlc.ir.graph.base import (
    Check,
    building,
    checks_apart,
    current_block,
    emit,
    location,
    require,
    require_at_least,
    require_equal,
)
from mlc.ir.graph.cells import gru, lstm
from mlc.ir.graph.clip import clip
from mlc.ir.graph.collective import all_reduce, mean_over_ranks, rank, replicate
from mlc.ir.graph.composites import (
    gelu,
    log_of_sum,
    log_softmax,
    silu,
    softmax,
    stop_gradient,
)
from mlc.ir.graph.constants import IN_TEXT, WeightOp, dimension, iota, scalar
from mlc.ir.graph.control import call, cond, scan, while_loop
from mlc.ir.graph.convolution import convolution
from mlc.ir.graph.counted import NonZeroOp, PrefixOp
from mlc.ir.graph.detection import non_max_suppression
from mlc.ir.graph.elementwise import apply_bitcast as bitcast
from mlc.ir.graph.elementwise import apply_cast as cast
from mlc.ir.graph.index import gather, gather_elements, gather_nd, scatter_elements, scatter_nd
from mlc.ir.graph.linear import contract, matmul
from mlc.ir.graph.norms import batch_norm, group_norm, instance_norm, layer_norm, rms_norm, standardized
from mlc.ir.graph.packed import unpack
from mlc.ir.graph.parts import concatenate, extents, pad, reverse, slice, slice_axis, split
from mlc.ir.graph.pick import positions_of, window_pick, window_place, window_put
from mlc.ir.graph.random import random_bits, random_fold_in, random_normal, random_split, random_uniform
from mlc.ir.graph.reduce import arg_max, arg_min, cumulative, mean, reduce, sort, top_k
from mlc.ir.graph.shape import (
    broadcast,
    broadcast_to,
    common_shape,
    fitted,
    full,
    full_like,
    lift,
    reshape,
    squeeze,
    tile,
    transpose,
    unsqueeze,
)
from mlc.ir.graph.window import reduce_window
from mlc.ir.module import Module, Range
from mlc.ir.types import dtype_name, dtype_of, extent, rank_of, shape_of, tensor
from mlc.ir.weights import WeightStore

scalar_like = full_like


def _unary(name: str) -> Callable[[SSAValue], SSAValue]:
    def build(x: SSAValue) -> SSAValue:
        return elementwise.apply(name, x)

    build.__name__, build.__doc__ = name, elementwise.OPS[name].__doc__
    return build


def _binary(name: str) -> Callable[[SSAValue, SSAValue], SSAValue]:
    def build(lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        return elementwise.apply(name, lhs, rhs)

    build.__name__, build.__doc__ = name, elementwise.OPS[name].__doc__
    return build


neg, sign, exp, log, sqrt, rsqrt, reciprocal = map(_unary, ("neg", "sign", "exp", "log", "sqrt", "rsqrt", "reciprocal"))
abs = _unary("abs")
sin, cos, tan, asin, acos, atan = map(_unary, ("sin", "cos", "tan", "asin", "acos", "atan"))
sinh, cosh, tanh, asinh, acosh, atanh = map(_unary, ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"))
expm1, log1p, erf = map(_unary, ("expm1", "log1p", "erf"))
sigmoid, softplus, relu, floor, ceil = map(_unary, ("sigmoid", "softplus", "relu", "floor", "ceil"))
round = _unary("round")
bit_not, logical_not, is_nan, is_inf = map(_unary, ("bit_not", "logical_not", "is_nan", "is_inf"))
add, sub, mul, div, mod, fmod = map(_binary, ("add", "sub", "mul", "div", "mod", "fmod"))
pow = _binary("pow")
maximum, minimum = map(_binary, ("maximum", "minimum"))
bit_and, bit_or, bit_xor, shift_left, shift_right = map(
    _binary, ("bit_and", "bit_or", "bit_xor", "shift_left", "shift_right")
)
logical_and, logical_or, logical_xor = map(_binary, ("logical_and", "logical_or", "logical_xor"))
eq, ne, lt, le, gt, ge = map(_binary, ("eq", "ne", "lt", "le", "gt", "ge"))


def select(condition: SSAValue, x: SSAValue, y: SSAValue) -> SSAValue:
    """x where the condition holds, else y; equal shapes."""
    return elementwise.apply("select", condition, x, y)


def pad_mode(x: SSAValue, low: Sequence[Extent], high: Sequence[Extent], mode: str) -> SSAValue:
    """numpy.pad with mode edge, reflect or wrap: each padded axis is gathered. What is wider than the axis is reflected again and again."""
    for axis, (lo, hi) in enumerate(zip(low, high, strict=True)):
        if isinstance(lo, int) and isinstance(hi, int) and lo == hi == 0:
            continue
        size = shape_of(x)[axis]
        line = (lo + size + hi,)
        require_at_least(size, 1, f"{mode} padding of axis {axis}")
        at = sub(iota(line, 0, "i64"), broadcast(dimension(lo), line, []))
        whole = broadcast(dimension(size), line, [])
        zero, one = full(line, 0, "i64"), full(line, 1, "i64")
        if mode == "edge":
            at = minimum(maximum(at, zero), sub(whole, one))
        elif mode == "wrap":
            at = mod(at, maximum(whole, one))
        elif mode == "reflect":
            last = maximum(sub(whole, one), one)
            at = mod(abs(at), add(last, last))
            at = minimum(at, sub(add(last, last), at))
            at = minimum(at, sub(whole, one))
        else:
            raise ShapeError(f"pad: mode is edge, reflect or wrap, not {mode!r}")
        x = gather(x, at, axis)
    return x


def einsum(equation: str, xs: Sequence[SSAValue]) -> SSAValue:
    """numpy.einsum of any number of operands, with ellipsis and repeated labels, built from contractions."""
    terms, out = _einsum_terms(equation, [rank_of(x) for x in xs])
    operands = []
    for term, x in zip(terms, xs, strict=True):
        while len(set(term)) < len(term):
            name = next(c for c in term if term.count(c) > 1)
            first, second = term.index(name), term.index(name, term.index(name) + 1)
            x, term = _diagonal(x, first, second), term[:second] + term[second + 1 :]
        operands.append((term, x))
    term, x = operands[0]
    for position, (other, y) in enumerate(operands[1:], 1):
        rest = "".join(t for t, _ in operands[position + 1 :]) + out
        kept = "".join(dict.fromkeys(c for c in term + other if c in rest))
        term, x, other, y = _drop_ones(term, x, other, y)
        x, term = contract(x, y, f"{term},{other}->{kept}"), kept
    summed = [a for a, c in enumerate(term) if c not in out]
    x, term = (reduce(x, summed, "sum") if summed else x), "".join(c for c in term if c in out)
    return transpose(x, [term.index(c) for c in out])


def _drop_ones(term: str, x: SSAValue, other: str, y: SSAValue) -> tuple[str, SSAValue, str, SSAValue]:
    """An axis of extent 1 that the other operand has larger (ellipsis broadcasting) is dropped."""
    for name in sorted(set(term) & set(other)):
        a, b = shape_of(x)[term.index(name)], shape_of(y)[other.index(name)]
        if a == 1 and b != 1:
            x, term = squeeze(x, [term.index(name)]), term.replace(name, "")
        elif b == 1 and a != 1:
            y, other = squeeze(y, [other.index(name)]), other.replace(name, "")
    return term, x, other, y


def _einsum_terms(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    text = equation.replace(" ", "")
    left, arrow, out = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ShapeError(f"einsum {equation!r}: {len(terms)} terms for {len(ranks)} operands")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in text]
    dots = max((r - len(t.replace("...", "")) for t, r in zip(terms, ranks, strict=True) if "..." in t), default=0)
    names = "".join(free[:dots])
    for number, (t, r) in enumerate(zip(terms, ranks, strict=True)):
        if "..." in t:
            mine = r - len(t.replace("...", ""))
            terms[number] = t.replace("...", names[dots - mine :])
        if len(terms[number]) != r:
            raise ShapeError(f"einsum {equation!r}: operand {number} has {r} axes")
    everything = "".join(terms)
    if arrow:
        out = out.replace("...", names)
        if strange := set(out) - set(everything):
            raise ShapeError(f"einsum {equation!r}: no operand has the output's {''.join(sorted(strange))}")
        if len(set(out)) < len(out):
            raise ShapeError(f"einsum {equation!r}: the output repeats a label")
    else:
        out = names + "".join(sorted(c for c in set(everything) - set(names) if everything.count(c) == 1))
    return terms, out


def _diagonal(x: SSAValue, first: int, second: int) -> SSAValue:
    """The elements where two axes have the same index; the second axis vanishes."""
    shape = shape_of(x)
    require_equal(shape[first], shape[second], "einsum: repeated label")
    rows = iota([e if a != second else 1 for a, e in enumerate(shape)], first, "i64")
    return squeeze(gather_elements(x, rows, second), [second])


# Modules -----------------------------------------------------------------------------------------------------------------


class ModuleBuilder:
    """Collects functions, weights, symbols and checks of a module under construction."""

    def __init__(self, name: str = "main", weights: WeightStore | None = None):
        self.name = name
        self.weights = WeightStore() if weights is None else weights
        self.symbols: dict[str, Range] = {}
        self.checks: list[Check] = []
        self._functions: list[FuncOp] = []
        self.block: Block | None = None  # of the function under construction
        self.positions: dict[SSAValue, SSAValue] = {}  # of what is not zero, so that one value is counted once
        self._inputs: list[str] = []
        self._counted = 0
        self._results: list[tuple[str, SSAValue]] = []
        self._aliases: dict[str, str] = {}  # result -> the argument that it lives in

    @contextmanager
    def function(
        self, inputs: Sequence[tuple[str, Sequence[Extent | str], str]], name: str = "main"
    ) -> Iterator[tuple[SSAValue, ...]]:
        """A function under construction; `inputs` are (name, shape, dtype), strings in shapes are dimension expressions."""
        block = Block(arg_types=[tensor(shape, dtype) for _, shape, dtype in inputs])
        for (label, shape, _), arg in zip(inputs, block.args, strict=True):
            arg.name_hint = label if label.isidentifier() and label.isascii() else None
            for e in map(extent, shape):
                for symbol in sorted(e.symbols()) if isinstance(e, dims.Dim) else ():
                    self.symbols.setdefault(symbol, (0, None))
        self._results, self._aliases, self.block = [], {}, block
        token = _building.set(self)
        try:
            with building(block, self.checks):
                yield tuple(block.args)
                emit(ReturnOp(*(value for _, value in self._results)))
        finally:
            _building.reset(token)
        function = FuncOp(name, ([a.type for a in block.args], [v.type for _, v in self._results]), Region(block))
        function.properties["arg_attrs"] = _named(label for label, _, _ in inputs)
        function.properties["res_attrs"] = _named((label for label, _ in self._results), self._aliases)
        self._functions.append(function)

    def outputs(self, results: Sequence[tuple[str, SSAValue]], alias: Mapping[str, str] | None = None) -> None:
        """What the function under construction returns, as (name, value). `alias` says which results live in the memory of an argument:
        {"w_new": "w"} has a call overwrite w. Raises MlcError for a result that is not there; finish() for an argument that does not fit."""
        self._results, self._aliases = list(results), dict(alias or {})
        names = [name for name, _ in self._results]
        if unknown := [name for name in self._aliases if name not in names]:
            raise MlcError(f"alias: there is no result '{unknown[0]}'", remedy=f"Results: {', '.join(names)}.")

    def counted(self) -> str:
        """The name of a new symbol, for a size that data decides."""
        names = (f"count{number}" for number in count(self._counted))
        name = next(name for name in names if name not in self.symbols)
        self._counted = int(name.removeprefix("count")) + 1
        return name

    def finish(self) -> Module:
        """The module, verified."""
        module = Module(
            ModuleOp(self._functions, sym_name=StringAttr(self.name)), self.weights, self.symbols, self.checks
        )
        module.verify()
        return module


_building: ContextVar[ModuleBuilder] = ContextVar("building")


def module_builder(name: str = "main", weights: WeightStore | None = None) -> ModuleBuilder:
    """A new module under construction."""
    return ModuleBuilder(name, weights)


def _named(names: Iterable[str], aliases: Mapping[str, str] | None = None) -> ArrayAttr[DictionaryAttr]:
    rows = []
    for name in names:
        alias = {ALIAS: StringAttr(aliases[name])} if aliases and name in aliases else {}
        rows.append(DictionaryAttr({"graph.name": StringAttr(name), **alias}))
    return ArrayAttr(rows)


def constant(value: object, name: str = "constant", dtype: str | None = None) -> SSAValue:
    """A tensor known now: up to 16 elements stand in the text, more go to the weight store of the module under construction."""
    from mlc.ir.types import numpy_dtype

    array = np.asarray(value) if dtype is None else np.asarray(value).astype(numpy_dtype(dtype))
    return _constants.constant(array) if array.size <= IN_TEXT else weight(array, name)


def weight(value: np.ndarray | str, name: str = "weight") -> SSAValue:
    """A tensor of the weight store: an array (stored under `name`, packed where elements share bytes), or the key of one that is stored."""
    builder = _under_construction()
    if not isinstance(value, str) and (row := TABLE[dtype_name(value.dtype)]).packed:
        return unpack(weight(packed(value, row), name), value.shape, row.name)
    key = value if isinstance(value, str) else builder.weights.add(value, name)
    shape, dtype = builder.weights.type_of(key)
    return emit(WeightOp(key, shape, dtype))[0]


def shared_weight(store: WeightStore, key: str) -> str:
    """The key, in the module under construction, of a weight of another store, from which it is read when it is first asked for."""
    return _under_construction().weights.add_lazy(key, *store.type_of(key), lambda: store.get(key))


def _under_construction() -> ModuleBuilder:
    builder = _building.get(None)
    if builder is None:
        raise RuntimeError("weights and counted sizes need a module under construction")
    return builder


class CountedInBody(UnsupportedOp):
    """A size that data decides can be counted once per run only."""


# Sizes that data decides ---------------------------------------------------------------------------------------------------


def is_countable() -> bool:
    """Whether data may decide a size here: not in the body of a loop or branch."""
    return current_block() is _under_construction().block


def require_countable() -> None:
    """Raises CountedInBody where data may decide no size."""
    if not is_countable():
        raise CountedInBody("data decides a size in the body of a loop or branch")


def prefix(size: SSAValue, *xs: SSAValue) -> tuple[SSAValue, ...]:
    """The first `size` (one i64) rows of each x, all of the same rows; the leading extent is a new symbol, counted when the module runs.

    Raises CountedInBody in the body of a loop or branch, which counts more than once, or not at all.
    """
    builder = _under_construction()
    require_countable()
    return emit(PrefixOp(size, xs, builder.counted()))


def counted_truth(condition: SSAValue) -> Extent:
    """1 where a condition that data decides (one bool) holds, else 0: a size that the run counts, before anything behind it runs."""
    (rows,) = prefix(cast(condition, "i64"), iota((1,), 0, "i64"))
    return shape_of(rows)[0]


def nonzero(x: SSAValue) -> SSAValue:
    """The positions of the elements that are not zero, one per row, in row-major order, as numpy.argwhere gives them. i64.

    Asked again for the same x it gives the same value, so that what two reads of a mask keep has one size.
    """
    positions = _under_construction().positions
    if x not in positions:
        positions[x] = _nonzero(x)
    return positions[x]


def _nonzero(x: SSAValue) -> SSAValue:
    shape = shape_of(x)
    flat = reshape(x, [dims.prod(shape)])
    places, found = emit(NonZeroOp(flat if dtype_of(x) == "bool" else ne(flat, scalar_like(flat, 0))))
    places = unsqueeze(prefix(found, places)[0], [1])
    if len(shape) < 2:
        return slice_axis(places, 1, 0, len(shape))
    strides, sizes = extents([dims.prod(shape[axis + 1 :]) for axis in range(len(shape))]), extents(shape)
    return mod(*lift(div(*lift(places, strides)), sizes))

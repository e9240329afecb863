"""For every op of the graph dialect: how to build it, and what it means, said again in NumPy by other means than the op's own.

A row is all that is said of an op outside of its class: values, text, derivatives, fusion and NumPy source are tested on it at its sizes, and
`python -m benchmarks.kernels --row LABEL` measures it at others, its work being what the class states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.ir import Block, SSAValue

from mlc.ir import builder as g
from mlc.ir.dtypes import TABLE, unpacked
from mlc.ir.graph.base import building, emit
from mlc.ir.graph.collective import AllReduceStartOp, AllReduceWaitOp
from mlc.ir.graph.control import YieldOp
from mlc.ir.graph.custom import CustomOp
from mlc.ir.graph.random import PhiloxOp
from mlc.ir.graph.winograd import windows, winograd
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype, tensor_type

Spec = tuple[Sequence[int | str], str]


@dataclass(frozen=True)
class Example:
    """`build` makes the outputs from the inputs; `meaning` gives them for arrays. `sizes` binds symbols of the shapes; those of `fixed` are
    numbers in the module too."""

    op: str
    inputs: Sequence[Spec]
    build: Callable[..., SSAValue | Sequence[SSAValue]]
    meaning: Callable[..., Any]
    sizes: dict[str, int]
    domain: str = "any"
    label: str = ""
    fixed: Collection[str] = ()

    def __str__(self) -> str:
        return self.label or self.op

    def module(
        self,
        sizes: Mapping[str, int] | None = None,
        fixed: Collection[str] | None = None,
        weights: Mapping[int, np.ndarray] | None = None,
    ) -> Module:
        """As the row says, or at other sizes, with other symbols as numbers, with arrays in place of some inputs."""
        known = {name: {**self.sizes, **(sizes or {})}[name] for name in (self.fixed if fixed is None else fixed)}
        weights, m = weights or {}, g.module_builder("example")
        named = [
            (f"x{n}", [known.get(e, e) if isinstance(e, str) else e for e in shape], dtype)
            for n, (shape, dtype) in enumerate(self.inputs)
            if n not in weights
        ]
        with m.function(inputs=named) as values:
            given = iter(values)
            operands = [g.weight(weights[n], f"x{n}") if n in weights else next(given) for n in range(len(self.inputs))]
            found = self.build(*operands)
            outputs = [found] if isinstance(found, SSAValue) else list(found)
            m.outputs([(f"y{n}", value) for n, value in enumerate(outputs)])
        return m.finish()

    def arrays(self, seed: int = 0, sizes: Mapping[str, int] | None = None) -> list[np.ndarray]:
        rng, sizes = np.random.default_rng(seed), {**self.sizes, **(sizes or {})}
        return [
            draw(rng, [sizes[e] if isinstance(e, str) else e for e in shape], dtype, self.domain)
            for shape, dtype in self.inputs
        ]

    def expected(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            found = self.meaning(*arrays)
        return list(found) if isinstance(found, tuple) else [np.asarray(found)]


def draw(rng: np.random.Generator, shape: Sequence[int], dtype: str, domain: str) -> np.ndarray:
    kind = numpy_dtype(dtype)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype[0] in "iu":
        low, high = (0, 5) if dtype[0] == "u" or domain in ("index", "positive") else (-5, 6)
        return rng.integers(low, high, shape).astype(kind)
    values = rng.standard_normal(shape)
    if domain == "positive":
        values = np.abs(values) + 0.1
    elif domain == "unit":
        values = np.tanh(values) * 0.9
    elif domain == "above one":
        values = np.abs(values) + 1.1
    return values.astype(kind)


_ERF = np.vectorize(math.erf, otypes=[np.float64])
_UNARY: dict[str, tuple[Callable[..., Any], str]] = {
    "neg": (lambda x: -x, "any"),
    "abs": (np.fabs, "any"),
    "sign": (lambda x: np.where(x > 0, 1.0, np.where(x < 0, -1.0, x)), "any"),
    "exp": (lambda x: np.expm1(x) + 1, "any"),
    "log": (lambda x: np.log2(x) / np.log2(np.e), "positive"),
    "sqrt": (lambda x: np.power(x, 0.5), "positive"),
    "rsqrt": (lambda x: np.power(x, -0.5), "positive"),
    "reciprocal": (lambda x: np.power(x, -1.0), "positive"),
    "sin": (lambda x: np.imag(np.exp(1j * x)), "any"),
    "cos": (lambda x: np.real(np.exp(1j * x)), "any"),
    "tan": (lambda x: np.sin(x) / np.cos(x), "unit"),
    "asin": (lambda x: np.arctan2(x, np.sqrt(1 - x * x)), "unit"),
    "acos": (lambda x: np.arctan2(np.sqrt(1 - x * x), x), "unit"),
    "atan": (lambda x: np.arctan2(x, 1.0), "any"),
    "sinh": (lambda x: (np.exp(x) - np.exp(-x)) / 2, "any"),
    "cosh": (lambda x: (np.exp(x) + np.exp(-x)) / 2, "any"),
    "asinh": (lambda x: np.log(x + np.sqrt(x * x + 1)), "any"),
    "acosh": (lambda x: np.log(x + np.sqrt(x * x - 1)), "above one"),
    "atanh": (lambda x: 0.5 * np.log((1 + x) / (1 - x)), "unit"),
    "tanh": (lambda x: 1 - 2 / (np.exp(2 * x) + 1), "any"),
    "erf": (_ERF, "any"),
    "softplus": (lambda x: np.log(1 + np.exp(x)), "any"),
    "gelu": (lambda x: x * 0.5 * (1 + _ERF(x / math.sqrt(2))), "any"),
    "expm1": (lambda x: np.exp(x) - 1, "any"),
    "log1p": (lambda x: np.log(1 + x), "positive"),
    "sigmoid": (lambda x: 0.5 * (1 + np.tanh(x / 2)), "any"),
    "relu": (lambda x: np.where(x > 0, x, 0.0), "any"),
    "floor": (lambda x: np.vectorize(math.floor, otypes=[np.float64])(x), "any"),
    "ceil": (lambda x: np.vectorize(math.ceil, otypes=[np.float64])(x), "any"),
    "round": (lambda x: np.vectorize(round, otypes=[np.float64])(x), "any"),
}
_BINARY: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "mod": lambda x, y: x - np.floor(x / y) * y,
    "fmod": lambda x, y: x - np.trunc(x / y) * y,
    "maximum": lambda x, y: np.where(x > y, x, y),
    "minimum": lambda x, y: np.where(x < y, x, y),
}
_INTEGERS: dict[str, Callable[..., Any]] = {
    "div": np.vectorize(lambda x, y: int(x / y) if y else 0, otypes=[np.int64]),
    "mod": np.vectorize(lambda x, y: x % y if y else 0, otypes=[np.int64]),
    "fmod": np.vectorize(lambda x, y: int(math.fmod(x, y)) if y else 0, otypes=[np.int64]),
    "bit_and": np.vectorize(lambda x, y: int(x) & int(y), otypes=[np.int64]),
    "bit_or": np.vectorize(lambda x, y: int(x) | int(y), otypes=[np.int64]),
    "bit_xor": np.vectorize(lambda x, y: int(x) ^ int(y), otypes=[np.int64]),
}
_COMPARE = {"eq": "__eq__", "ne": "__ne__", "lt": "__lt__", "le": "__le__", "gt": "__gt__", "ge": "__ge__"}
_LOGICAL: dict[str, Callable[..., Any]] = {
    "logical_and": lambda x, y: x & y,
    "logical_or": lambda x, y: x | y,
    "logical_xor": lambda x, y: x != y,
}


def _elementwise() -> list[Example]:
    found = []
    wide = lambda f: lambda *xs: f(*(x.astype(np.float64) for x in xs)).astype(xs[-1].dtype)
    for name, (meaning, domain) in _UNARY.items():
        found.append(Example(name, [(("N", 17), "f32")], getattr(g, name), wide(meaning), {"N": 3}, domain))
    for name, meaning in _BINARY.items():
        specs = [(("N", 5), "f32"), (("N", 5), "f32")]
        domain = "positive" if name in ("div", "mod", "fmod") else "any"
        found.append(Example(name, specs, getattr(g, name), wide(meaning), {"N": 7}, domain))
    for name, meaning in _INTEGERS.items():
        for dtype in ("i32", "i64", "u8"):
            specs = [((4, 9), dtype), ((4, 9), dtype)]
            same = lambda x, y, f=meaning: f(x.astype(np.int64), y.astype(np.int64)).astype(x.dtype)
            found.append(Example(name, specs, getattr(g, name), same, {}, label=f"{name} {dtype}"))
    for name, method in _COMPARE.items():
        for dtype in ("f32", "i8", "u16"):
            specs = [((3, 7), dtype), ((3, 7), dtype)]
            found.append(
                Example(
                    name, specs, getattr(g, name), lambda x, y, m=method: getattr(x, m)(y), {}, label=f"{name} {dtype}"
                )
            )
    for name, meaning in _LOGICAL.items():
        found.append(Example(name, [((11,), "bool")] * 2, getattr(g, name), meaning, {}))
    small = lambda f: lambda x, y: f(x.astype(np.int64), y.astype(np.int64)).astype(x.dtype)
    found += [
        Example("logical_not", [((11,), "bool")], g.logical_not, lambda x: ~x, {}),
        Example("bit_not", [((11,), "i32")], g.bit_not, lambda x: -x - 1, {}),
        Example("pow", [((6,), "f32")] * 2, g.pow, wide(lambda x, y: np.exp(y * np.log(x))), {}, "positive"),
        Example(
            "pow",
            [((6,), "i64")] * 2,
            g.pow,
            np.vectorize(lambda x, y: x**y, otypes=[np.int64]),
            {},
            "index",
            "pow i64",
        ),
        Example("shift_left", [((9,), "u8")] * 2, g.shift_left, small(lambda x, y: (x << y) & 255), {}),
        Example("shift_right", [((9,), "u8")] * 2, g.shift_right, small(lambda x, y: x >> y), {}),
        Example("is_nan", [((9,), "f32")], lambda x: g.is_nan(g.log(x)), lambda x: x < 0, {}),
        Example("is_inf", [((9,), "f32")], lambda x: g.is_inf(g.div(x, g.full_like(x, 0))), lambda x: x != 0, {}),
        Example(
            "select",
            [((4, 5), "bool"), ((4, 5), "f32"), ((4, 5), "f32")],
            g.select,
            lambda c, x, y: np.array([a if t else b for t, a, b in zip(c.flat, x.flat, y.flat, strict=True)]).reshape(
                4, 5
            ),
            {},
        ),
    ]
    for source, target in (
        ("f32", "i32"),
        ("i64", "f32"),
        ("f32", "bool"),
        ("bool", "f32"),
        ("u8", "i16"),
        ("f32", "f16"),
        ("f16", "f64"),
    ):
        convert = lambda x, t=target: (
            (x != 0)
            if t == "bool"
            else np.trunc(x).astype(numpy_dtype(t))
            if t[0] in "iu" and x.dtype.kind == "f"
            else x.astype(numpy_dtype(t))
        )
        found.append(
            Example(
                "cast",
                [((3, 5), source)],
                lambda x, t=target: g.cast(x, t),
                convert,
                {},
                label=f"cast {source} {target}",
            )
        )
    for target in ("i4", "u2"):
        row, shape = TABLE[target], (3, 32 // TABLE[target].bits)
        found.append(
            Example(
                "unpack",
                [((12,), "u8")],
                lambda x, d=target, s=shape: g.cast(g.unpack(x, s, d), "i8"),
                lambda x, r=row, s=shape: unpacked(x, r, 3 * s[1]).reshape(s).astype(np.int8),
                {},
                label=f"unpack {target}",
            )
        )
    for source, target in (("f32", "i32"), ("bool", "u8"), ("f16", "u16")):
        found.append(
            Example(
                "bitcast",
                [((3, 5), source)],
                lambda x, t=target: g.bitcast(x, t),
                lambda x, t=target: x.view(numpy_dtype(t)),
                {},
                label=f"bitcast {source} {target}",
            )
        )
    return found


def _loops_matmul(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([sum(row[k] * y[k] for k in range(len(y))) for row in x.astype(np.float64)]).astype(x.dtype)


def _loops_conv(x: np.ndarray, w: np.ndarray, stride: int, pad: int, groups: int = 1) -> np.ndarray:
    n, _, h, width = x.shape
    o, i, kh, kw = w.shape
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((n, o, (h + 2 * pad - kh) // stride + 1, (width + 2 * pad - kw) // stride + 1))
    for b, c, p, q in np.ndindex(out.shape):
        first = c // (o // groups) * i
        part = wide[b, first : first + i, p * stride : p * stride + kh, q * stride : q * stride + kw]
        out[b, c, p, q] = (part * w[c]).sum()
    return out.astype(x.dtype)


def channels_last(window: int, stride: int) -> Example:
    """A convolution with the bias and relu that follow it in networks: a row for each window and stride."""

    def build(x: SSAValue, w: SSAValue, b: SSAValue) -> SSAValue:
        y = g.convolution(x, w, "n01c,01co->n01o", [stride] * 2, [(window // 2,) * 2] * 2)
        return g.relu(g.add(y, g.broadcast_to(b, g.shape_of(y))))

    def meaning(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        y = _loops_conv(np.moveaxis(x, 3, 1), np.transpose(w, (3, 2, 0, 1)), stride, window // 2)
        return np.maximum(np.moveaxis(y, 1, 3) + b, 0)

    shapes = ("N", "H", "W", "C"), (window, window, "C", "O"), ("O",)
    sizes, label = {"N": 2, "H": 5, "W": 7, "C": 3, "O": 4}, f"convolution channels last, {window}x{window}"
    label += f", stride {stride}" if stride > 1 else ""
    return Example("convolution", [(s, "f32") for s in shapes], build, meaning, sizes, label=label, fixed="CO")


def _fewer_products(x: SSAValue, weight: SSAValue) -> SSAValue:
    return winograd(x, windows(weight, 2, 2), 2, crop=(1, 0), rows=3)


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x.astype(np.float64))
    return (e / e.sum(axis, keepdims=True)).astype(x.dtype)


def _normalised(x: np.ndarray, centre: bool) -> np.ndarray:
    wide = x.astype(np.float64)
    shifted = wide - wide.mean(-1, keepdims=True) if centre else wide
    return shifted / np.sqrt((shifted**2).mean(-1, keepdims=True) + 1e-5)


def _structural() -> list[Example]:
    f = "f32"
    conv = lambda s, p, groups=1: (
        lambda x, w: g.convolution(x, w, strides=[s, s], padding=[(p, p), (p, p)], groups=groups)
    )
    return [
        Example("constant", [], lambda: g.constant(np.array([0.5, -np.inf, 1e-30], np.float32)), lambda: np.array([0.5, -np.inf, 1e-30], np.float32), {}),
        Example("weight", [], lambda: g.constant(np.arange(40, dtype=np.float32)), lambda: np.arange(40, dtype=np.float32), {}),
        Example("dimension", [(("N", "M"), f)], lambda x: g.extents([*g.shape_of(x), g.shape_of(x)[0] * 2 + 1]), lambda x: np.array([*x.shape, 2 * len(x) + 1]), {"N": 3, "M": 4}),
        Example("iota", [(("N",), f)], lambda x: g.iota((2, g.shape_of(x)[0]), 1, "i32"), lambda x: np.array([range(len(x))] * 2, np.int32), {"N": 5}),
        Example("broadcast", [(("N",), f)], lambda x: g.broadcast(x, (2, g.shape_of(x)[0], 3), [1]), lambda x: np.tile(x[None, :, None], (2, 1, 3)), {"N": 4}),
        Example("reshape", [(("N", 6), f)], lambda x: g.reshape(x, (g.shape_of(x)[0] * 3, 2)), lambda x: np.array([*x.flat]).reshape(-1, 2), {"N": 5}),
        Example("transpose", [(("N", 3, 5), f)], lambda x: g.transpose(x, [2, 0, 1]), lambda x: np.moveaxis(x, 2, 0), {"N": 4}),
        Example("slice", [((9, "N"), f)], lambda x: g.slice(x, [8, 1], [3, g.shape_of(x)[1] - 2], [-3, 1]), lambda x: x[::-3, 1:-1], {"N": 7}),
        Example("slice", [(("N", 4), f), (("M",), f)], lambda x, m: g.slice(x, [g.shape_of(m)[0], 0], [2, 4]), lambda x, m: x[len(m) : len(m) + 2], {"N": 9, "M": 3}, label="slice at a symbol"),
        Example("pad", [((2, "N"), f)], lambda x: g.pad(x, [1, 0], [0, 3], 7.5), lambda x: np.pad(x, ((1, 0), (0, 3)), constant_values=7.5), {"N": 5}),
        Example("pad", [(("N", 3), f), (("M",), f)], lambda x, m: g.pad(x, [g.shape_of(m)[0], 0], [0, 1]), lambda x, m: np.pad(x, ((len(m), 0), (0, 1))), {"N": 2, "M": 3}, label="pad by a symbol"),
        Example("concatenate", [((2, 3), f), ((2, 5), f)], lambda x, y: g.concatenate([x, y, x], 1), lambda x, y: np.hstack([x, y, x]), {}),
        Example("concatenate", [(("P", 4), f), (("S", 4), f)], lambda x, y: g.concatenate([x, y], 0), lambda x, y: np.vstack([x, y]), {"P": 3, "S": 2}, label="concatenate symbols"),
        Example("contract", [(("M", "K"), f), (("K", "N"), f)], lambda x, y: g.contract(x, y, "mk,kn->mn"), _loops_matmul, {"M": 5, "K": 7, "N": 19}, fixed="KN"),
        Example("contract", [((2, "S", 3, 8), f), ((2, "T", 3, 8), f)], lambda q, k: g.contract(q, k, "bshd,bthd->bhst"), lambda q, k: np.stack([[_loops_matmul(q[b, :, h], k[b, :, h].T) for h in range(3)] for b in range(2)]), {"S": 4, "T": 6}, label="contract heads"),
        Example("contract", [((4, 6), "i32"), ((6, 5), "i32")], lambda x, y: g.contract(x, y, "mk,kn->mn"), _loops_matmul, {}, label="contract i32"),
        Example("contract", [((4, 33), "f16"), ((33, 5), "f16")], lambda x, y: g.contract(x, y, "mk,kn->mn"), _loops_matmul, {}, label="contract f16"),
        Example("convolution", [(("N", 3, "H", 9), f), ((5, 3, 3, 3), f)], conv(2, 1), lambda x, w: _loops_conv(x, w, 2, 1), {"N": 2, "H": 8}),
        channels_last(3, 2),
        Example("convolution", [((1, 6, 7, 7), f), ((6, 1, 3, 3), f)], conv(1, 1, 6), lambda x, w: _loops_conv(x, w, 1, 1, 6), {}, label="convolution depthwise"),
        Example("convolution", [((2, 4, 6, 6), f), ((6, 2, 3, 3), f)], conv(1, 0, 2), lambda x, w: _loops_conv(x, w, 1, 0, 2), {}, label="convolution groups"),
        Example("winograd", [(("N", 10, 10, 2), f), ((3, 3, 2, 4), f)], _fewer_products, lambda x, w: _loops_conv(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), 1, 0).transpose(0, 2, 3, 1)[:, :7], {"N": 2}, "unit"),
        Example("reduce", [(("N", 5, 6), f)], lambda x: [g.reduce(x, [0, 2], k) for k in ("sum", "max", "min")], lambda x: (x.astype(np.float64).sum((0, 2)).astype(np.float32), x.max((0, 2)), x.min((0, 2))), {"N": 4}),
        Example("reduce", [((3, 4), "bool")], lambda x: [g.reduce(x, [1], k) for k in ("and", "or")], lambda x: (x.all(1), x.any(1)), {}, label="reduce bool"),
        Example("reduce", [((3, 4), "i64")], lambda x: g.reduce(x, None, "prod"), lambda x: np.array(math.prod(x.flat)), {}, label="reduce all i64"),
        Example("arg_reduce", [((4, "N"), "i32")], lambda x: [g.arg_max(x, 1), g.arg_min(x, 0, last=True)], lambda x: (np.array([list(r).index(max(r)) for r in x]), np.array([3 - list(c[::-1]).index(min(c)) for c in x.T])), {"N": 9}),
        Example("cumulative", [((3, "N"), f)], lambda x: [g.cumulative(x, 1), g.cumulative(x, 0, exclusive=True, reverse=True)], lambda x: (np.stack([x[:, : i + 1].sum(1) for i in range(x.shape[1])], 1), np.stack([x[i + 1 :].sum(0) for i in range(3)])), {"N": 6}),
        Example("cumulative", [((3, "N"), f)], lambda x: [g.cumulative(x, 1, "max"), g.cumulative(x, 1, "min", reverse=True)], lambda x: (np.stack([x[:, : i + 1].max(1) for i in range(x.shape[1])], 1), np.stack([x[:, i:].min(1) for i in range(x.shape[1])], 1)), {"N": 6}, label="cumulative extremes"),
        Example("top_k", [((2, "N"), "i32")], lambda x: g.top_k(x, 3, 1), lambda x: tuple(np.array([[f(p) for p in sorted(enumerate(r), key=lambda p: (-p[1], p[0]))[:3]] for r in x]).astype(t) for f, t in ((lambda p: p[1], np.int32), (lambda p: p[0], np.int64))), {"N": 8}),
        Example("gather", [(("N", 5), f), ((2, 3), "i64")], lambda x, i: g.gather(x, i, 1), lambda x, i: np.stack([[[row[j] for j in r] for r in i] for row in x]), {"N": 4}, "index"),
        Example("gather", [((5, 5), f), ((5, 2), "i32")], lambda x, i: g.gather_elements(x, i, 1), lambda x, i: np.stack([[row[j] for j in r] for row, r in zip(x, i, strict=True)]), {}, "index", "gather elements"),
        Example("gather", [((5, 5, 2), f), ((4, 2), "i64")], lambda x, i: g.gather_nd(x, i), lambda x, i: np.stack([x[a, b] for a, b in i]), {}, "index", "gather nd"),
        Example("scatter", [((5, 3), f), ((4, 3), "i64"), ((4, 3), f)], lambda x, i, u: g.scatter_elements(x, i, u, 0, "add"), _scattered, {}, "index"),
        Example("scatter", [((5, "N"), f), ((2, 1), "i64"), ((2, "N"), f)], lambda x, i, u: g.scatter_nd(x, i, u), lambda x, i, u: _assigned(x, i, u), {"N": 3}, "index", "scatter nd"),
        Example("nonzero", [(("N", 3), f)], lambda x: g.nonzero(g.relu(x)), lambda x: np.argwhere(np.maximum(x, 0)), {"N": 5}),
        Example("prefix", [(("N", 3), f), (("N",), f), ((), "i64")], lambda x, y, n: g.prefix(n, x, y), lambda x, y, n: (x[: max(n, 0)], y[: max(n, 0)]), {"N": 5}),
        Example("non_max_suppression", [((1, "N", 2), f), ((1, 2, "N"), f), ((1, 2, "N"), "bool")], _suppressed, _suppressed_slowly, {"N": 7}),
        Example("reduce_window", [((1, 2, "H", 8), f)], lambda x: g.reduce_window(x, "max", [1, 1, 3, 3], [1, 1, 2, 2], [(0, 0), (0, 0), (1, 1), (1, 1)]), lambda x: _pooled(x, max), {"H": 7}),
        Example("window_place", [((1, 1, 6, 6), f)], lambda x: g.window_place(x, g.reduce_window(x, "max", *_HALF), *_HALF), lambda x: _largest_of_four(x)[1].astype(np.uint8), {}),
        Example("window_pick", [((1, 1, 6, 6), f)], lambda x: g.window_pick(x, g.window_place(x, g.reduce_window(x, "max", *_HALF), *_HALF), *_HALF), lambda x: _largest_of_four(x)[0], {}),
        Example("window_put", [((1, 1, 6, 6), f)], lambda x: _put_back(x), lambda x: np.where(x == np.kron(_largest_of_four(x)[0], np.ones((2, 2), x.dtype)), x, 0), {}),
        Example("scan", [(("T", 4), f)], _running_product, lambda x: (np.prod(x, 0), np.cumprod(x, 0)), {"T": 5}),
        Example("while", [((4, "N"), f), ((), f)], _doubled, _doubled_slowly, {"N": 3}),
        Example("if", [((), f), (("N", 3), f)], lambda c, x: g.cond(g.lt(c, g.scalar(0, f)), lambda x: [g.exp(x), x], lambda x: [x, g.neg(x)], [x]), lambda c, x: (np.exp(x), x) if c < 0 else (x, -x), {"N": 4}),
        Example("philox", [((3,), "u32")] * 7, lambda *xs: emit(PhiloxOp(*(g.bit_and(x, g.full_like(x, 0)) for x in xs)))[0], lambda *xs: np.full(3, 0x6627E8D5, np.uint32), {}),
        Example("random_bits", [((2,), "u32")], lambda k: g.random_bits(g.bit_and(k, g.full_like(k, 0)), (2, 2)), lambda k: np.array([[0x6627E8D5, 0xE169C58D], [0xBC57AC4C, 0x9B00DBD8]], np.uint32), {}),
        Example("call", [(("N", 3), f)], lambda x: g.call(lambda x: [g.exp(x), g.neg(x)], [x], "both", checkpoint=True), lambda x: (np.exp(x), -x), {"N": 4}),
        Example("clip", [(("N", 3), f)], lambda x: g.clip(x, g.scalar(-0.5, f), g.scalar(0.5, f)), lambda x: np.clip(x, np.float32(-0.5), np.float32(0.5)), {"N": 4}),
        Example("custom", [(("N", 3), f)], _named_function, lambda x: np.exp(x), {"N": 4}),
        Example("stop_gradient", [(("N", 3), f)], g.stop_gradient, lambda x: x, {"N": 4}),
        Example("replicate", [(("N", 3), f)], g.replicate, lambda x: x, {"N": 4}),
        Example("all_reduce", [((3, 5), f)], lambda x: g.neg(g.all_reduce(g.exp(x))), lambda x: -np.exp(x), {}),
        Example("all_reduce_start", [((3, 5), f), ((2,), f)], _on_their_way, lambda x, y: (-x, np.exp(y)), {}),
        Example("all_reduce_wait", [((0, 5), f), ((1,), f)], _on_their_way, lambda x, y: (-x, np.exp(y)), {}),
        Example("rank", [((3,), "u32")], lambda x: g.add(x, g.broadcast(g.rank(), (3,), [])), lambda x: x, {}),
        Example("softmax", [(("M", "K"), f)], lambda x: g.softmax(x, 1), lambda x: _softmax(x, 1), {"M": 4, "K": 9}),
        Example("softmax", [((2, "N", 3), f)], lambda x: g.softmax(x, 1), lambda x: _softmax(x, 1), {"N": 5}, label="softmax of columns"),
        Example("log_softmax", [(("N", 9), f)], lambda x: g.log_softmax(x, -1), lambda x: np.log(_softmax(x.astype(np.float64), -1)).astype(x.dtype), {"N": 4}),
        Example("layer_norm", [(("M", "K"), f), (("K",), f), (("K",), f)], lambda x, s, b: g.layer_norm(x, s, b, [1]), lambda x, s, b: (_normalised(x, True) * s + b).astype(x.dtype), {"M": 4, "K": 11}, fixed="K"),
        Example("rms_norm", [(("N", 11), f), ((11,), f)], lambda x, s: g.rms_norm(x, s, [1]), lambda x, s: (_normalised(x, False) * s).astype(x.dtype), {"N": 4}),
        Example("silu", [(("N", 11), f)], g.silu, lambda x: (x / (1 + np.exp(-x.astype(np.float64)))).astype(x.dtype), {"N": 4}),
        Example("batch_norm", [(("N", 3, 5), f), *[((3,), f)] * 4], lambda x, s, b, m, v: g.batch_norm(x, s, b, m, g.abs(v)), lambda x, s, b, m, v: np.stack([(x[:, c] - m[c]) * (s[c] / np.sqrt(np.float64(abs(v[c])) + 1e-5)) + b[c] for c in range(3)], 1).astype(x.dtype), {"N": 4}),
        Example("instance_norm", [(("N", 3, 5), f), ((3,), f), ((3,), f)], g.instance_norm, lambda x, s, b: (_normalised(x, True) * s[:, None] + b[:, None]).astype(x.dtype), {"N": 4}),
        Example("group_norm", [(("N", 4, 5), f), ((4,), f), ((4,), f)], lambda x, s, b: g.group_norm(x, s, b, 2), lambda x, s, b: (_normalised(x.reshape(-1, 2, 10), True).reshape(x.shape) * s[:, None] + b[:, None]).astype(x.dtype), {"N": 4}),
        Example("attention", [((1, 2, "S", 4), f), ((1, 2, "T", 4), f), ((1, 2, "T", 3), f)], g.attention, lambda q, k, v: (_softmax(q @ k.swapaxes(2, 3) / 2, 3) @ v).astype(q.dtype), {"S": 3, "T": 5}),
        Example("lstm", [(("T", 2, 3), f), ((8, 3), f), ((8, 2), f), ((2, 2), f)], lambda x, w, r, h: g.lstm(x, w, r, h, g.full_like(h, 0)), lambda x, w, r, h: _recurrent(x, w, r, h, 4), {"T": 4}),
        Example("gru", [(("T", 2, 3), f), ((6, 3), f), ((6, 2), f), ((2, 2), f)], lambda x, w, r, h: g.gru(x, w, r, h, linear_before_reset=True), lambda x, w, r, h: _recurrent(x, w, r, h, 3), {"T": 4}),
        Example("gelu_tanh", [(("N", 11), f)], lambda x: g.gelu(x, "tanh"), _gelu_tanh, {"N": 4}),
    ]  # fmt: skip


def _suppressed(corners: SSAValue, scores: SSAValue, candidates: SSAValue) -> SSAValue:
    """Boxes of one size, so that they overlap where they are near."""
    boxes = g.concatenate([corners, g.add(corners, g.full_like(corners, 1.5))], 2)
    return g.non_max_suppression(boxes, scores, candidates, g.scalar(0.2, "f32"), 4)


def _suppressed_slowly(corners: np.ndarray, scores: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    result = np.full((1, 2, 4), -1)
    for c in range(2):
        kept: list[int] = []
        for i in sorted(np.flatnonzero(candidates[0, c]), key=lambda i: -scores[0, c, i]):
            sides = [np.clip(1.5 - np.abs(corners[0, i] - corners[0, j]).astype(np.float64), 0, None) for j in kept]
            if all(s.prod() / (4.5 - s.prod()) <= 0.2 for s in sides):
                kept.append(i)
        result[0, c, : len(kept[:4])] = kept[:4]
    return result


def _scattered(x: np.ndarray, i: np.ndarray, u: np.ndarray) -> np.ndarray:
    y = x.copy()
    for r, c in np.ndindex(i.shape):
        y[i[r, c], c] += u[r, c]
    return y


def _assigned(x: np.ndarray, i: np.ndarray, u: np.ndarray) -> np.ndarray:
    y = x.copy()
    for r in range(len(i)):
        y[i[r, 0]] = u[r]
    return y


def _pooled(x: np.ndarray, fold: Callable[..., Any]) -> np.ndarray:
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    height, width = ((s - 1) // 2 + 1 for s in x.shape[2:])
    out = np.zeros((*x.shape[:2], height, width), x.dtype)
    for n, c, p, q in np.ndindex(out.shape):
        out[n, c, p, q] = fold(wide[n, c, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3].flat)
    return out


_HALF = ([1, 1, 2, 2], [1, 1, 2, 2])


def _largest_of_four(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each 2x2 block the largest element, and its number."""
    blocks = x.reshape(1, 1, 3, 2, 3, 2).swapaxes(3, 4).reshape(1, 1, 3, 3, 4)
    return blocks.max(-1), blocks.argmax(-1)


def _put_back(x: SSAValue) -> SSAValue:
    y = g.reduce_window(x, "max", *_HALF)
    return g.window_put(y, g.window_place(x, y, *_HALF), g.shape_of(x), *_HALF)


def _recurrent(x: np.ndarray, w: np.ndarray, r: np.ndarray, h: np.ndarray, gates: int) -> tuple[np.ndarray, ...]:
    """LSTM (four gates) and GRU (three) without biases, the whole batch at once."""
    ys, c, h = [], np.zeros(h.shape), h.astype(np.float64)
    logistic = lambda v: 0.5 * (1 + np.tanh(v / 2))
    for step in x.astype(np.float64):
        into, inner = (np.split(v, gates, -1) for v in (step @ w.T, h @ r.T))
        if gates == 4:
            i, o, forget, candidate = (a + b for a, b in zip(into, inner, strict=True))
            c = logistic(forget) * c + logistic(i) * np.tanh(candidate)
            h = logistic(o) * np.tanh(c)
        else:
            z, reset = (logistic(a + b) for a, b in zip(into[:2], inner[:2], strict=True))
            h = (1 - z) * np.tanh(into[2] + reset * inner[2]) + z * h
        ys.append(h)
    found = (np.stack(ys), h, c)[: gates - 1]
    return tuple(v.astype(x.dtype) for v in found)


def _on_their_way(x: SSAValue, y: SSAValue) -> list[SSAValue]:
    (flight,) = emit(AllReduceStartOp([x, y]))
    xs, ys = emit(AllReduceWaitOp(flight, [tensor_type(v) for v in (x, y)]))
    return [g.neg(xs), g.exp(ys)]


def _named_function(x: SSAValue) -> SSAValue:
    body = Block(arg_types=[x.type])
    with building(body):
        emit(YieldOp([g.exp(body.args[0])]))
    return emit(CustomOp([x], "f", 1, body, []))[0]


def _running_product(x: SSAValue) -> list[SSAValue]:
    def body(carries: Any, xs: Any, constants: Any) -> Any:
        after = g.mul(carries[0], xs[0])
        return [after], [after]

    (last,), (every,) = g.scan(body, [g.full((4,), 1, "f32")], [x], g.shape_of(x)[0])
    return [last, every]


def _doubled(x: SSAValue, limit: SSAValue) -> list[SSAValue]:
    """Until the sum of squares is above 50 + limit, six times at most."""

    def body(carries: Any, constants: Any) -> Any:
        after = g.add(carries[0], carries[0])
        squares = g.reduce(g.mul(after, after), [0, 1], "sum")
        goes_on = g.lt(squares, g.add(constants[0], g.full_like(squares, 50)))
        return goes_on, [after, g.add(carries[1], g.scalar(1, "i64"))], [squares]

    (last, steps), (sums,) = g.while_loop(body, g.scalar(True, "bool"), [x, g.scalar(0, "i64")], 6, [limit])
    return [last, *g.prefix(steps, sums)]


def _doubled_slowly(x: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sums: list[float] = []
    while len(sums) < 6 and (not sums or sums[-1] < limit + 50):
        x = x + x
        sums.append((x * x).sum())
    return x, np.array(sums, x.dtype)


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    near = wide * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
    return near.astype(x.dtype)


EXAMPLES = [*_elementwise(), *_structural()]

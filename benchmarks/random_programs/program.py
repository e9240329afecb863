"""A program as data: what is drawn, shrunk and printed, and the ONNX model that it stands for.

A program is a list of steps over values 0, 1, ...: first its inputs, then each step's result. Axes that may have any size are "N". Shapes
are often squares and cubes, and many steps combine a value with a view of itself, for that is where fusion can go wrong.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

Extent = int | str
Shape = tuple[Extent, ...]

DTYPES = {
    "f32": TensorProto.FLOAT,
    "f64": TensorProto.DOUBLE,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "i32": TensorProto.INT32,
    "i64": TensorProto.INT64,
}
OPSET = 20
FIRST_VIEWS = ("transpose", "first", "last", "reverse", "keepdims", "reduced", "all", "shift")


class Unfit(Exception):
    """The step does not apply to its operands."""


@dataclass(frozen=True)
class Step:
    op: str
    operands: tuple[int, ...]
    params: dict[str, Any]


@dataclass(frozen=True)
class Program:
    """`sizes`: what N is in turn; `shapes`: of the inputs; `level`, `threads`: how it is compiled."""

    dtype: str
    shapes: tuple[Shape, ...]
    steps: tuple[Step, ...]
    sizes: tuple[int, ...] = (4,)
    level: int = 2
    threads: int = 1

    @property
    def floats(self) -> bool:
        return "f" in self.dtype

    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def parse(text: str) -> Program:
        found = json.loads(text)
        steps = tuple(Step(s["op"], tuple(s["operands"]), s["params"]) for s in found["steps"])
        shapes = tuple(map(tuple, found["shapes"]))
        return Program(found["dtype"], shapes, steps, tuple(found["sizes"]), found["level"], found["threads"])


@dataclass
class Model:
    """The ONNX graph of a program while it is built."""

    dtype: str
    declared: str  # the program's dtype, which decides what is drawn
    nodes: list = field(default_factory=list)
    inits: list = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    @property
    def floats(self) -> bool:
        return "f" in self.declared

    def node(self, op: str, inputs: Sequence[str], shape: Shape, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"{op}_{len(self.nodes)}", **attributes))
        self.shapes[name] = tuple(shape)
        return name

    def numbers(self, values: Sequence[int] | int | np.ndarray) -> str:
        name = f"i{len(self.inits)}"
        self.inits.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def weight(self, seed: int, shape: Sequence[int], scale: float = 1.0) -> str:
        """Small numbers, the same for every dtype up to rounding."""
        rng, name = np.random.default_rng(seed), f"w{len(self.inits)}"
        if self.floats:
            values = np.round(rng.uniform(-1, 1, shape) * scale * 64) / 64
            exact = values.astype(np.float32).ravel().tolist()
        else:
            exact = rng.integers(-2, 3, shape).ravel().tolist()
        self.inits.append(helper.make_tensor(name, DTYPES[self.dtype], shape, exact))
        self.shapes[name] = tuple(shape)
        return name

    def binary(self, op: str, x: str, y: str) -> str:
        return self.node(op, [x, y], broadcast(self.shapes[x], self.shapes[y]))

    def unary(self, op: str, x: str) -> str:
        if not self.floats and op not in ("Abs", "Neg", "Identity"):
            raise Unfit
        return self.node(op, [x], self.shapes[x])

    @property
    def unaries(self) -> tuple[str, ...]:
        return ("Abs", "Neg") if not self.floats else EVERY_FLOAT if self.declared == "bf16" else SOME_FLOATS

    def long_axis(self, x: str, r: random.Random) -> tuple[int, int]:
        """An axis of more than one element, and its extent."""
        places = [(a, e) for a, e in enumerate(self.shapes[x]) if isinstance(e, int) and e > 1]
        if not places:
            raise Unfit
        return r.choice(places)

    def slice(self, x: str, axis: int, start: int, stop: int, step: int, extent: Extent) -> str:
        shape = list(self.shapes[x])
        shape[axis] = extent
        places = [self.numbers([value]) for value in (start, stop, axis, step)]
        return self.node("Slice", [x, *places], tuple(shape))

    def window(self, space: Shape, taps: Sequence[int], r: random.Random) -> tuple[dict[str, Any], Shape]:
        """Strides, dilations and pads of a window over these axes, and what it leaves of them: a symbolic axis keeps its extent."""
        strides, dilations, low, high, left = [], [], [], [], []
        for extent, size in zip(space, taps, strict=True):
            keeps = isinstance(extent, str) or r.random() < 0.5
            strides.append(1 if keeps else r.choice([1, 2, 3]))
            dilations.append(1 if size == 1 else r.choice([1, 1, 2]))
            span = (size - 1) * dilations[-1] + 1
            low.append((span - 1) // 2 if keeps else r.randrange(size))
            high.append(span - 1 - low[-1] if keeps else r.randrange(size))
            if keeps:
                left.append(extent)
            else:
                found = (int(extent) + low[-1] + high[-1] - span) // strides[-1] + 1
                if found < 1:
                    raise Unfit
                left.append(found)
            if max(low[-1], high[-1]) >= size:  # the engines want pads of pooling below its kernel
                raise Unfit
        return {"strides": strides, "dilations": dilations, "pads": low + high}, tuple(left)

    def reduce(self, kind: str, x: str, axes: Sequence[int] | None, keepdims: int) -> str:
        shape = self.shapes[x]
        if kind != "ReduceSum" and any(isinstance(e, str) or not e for e in shape):
            raise Unfit  # of nothing
        if kind == "ReduceMean" and not self.floats:
            raise Unfit
        gone = set(range(len(shape)) if axes is None else axes)
        left = tuple(1 if a in gone else e for a, e in enumerate(shape) if keepdims or a not in gone)
        more = [] if axes is None else [self.numbers(sorted(axes))]
        return self.node(kind, [x, *more], left, keepdims=keepdims)

    def view(self, kind: str, x: str, axis: int) -> str:
        """A view of x, or of sums of it, that broadcasts against x where extents agree or are 1."""
        shape = self.shapes[x]
        rank = len(shape)
        if rank == 0:
            raise Unfit
        axis %= rank
        match kind:
            case "transpose":
                order = [*range(rank)]
                order[axis], order[axis - 1] = order[axis - 1], order[axis]
                return self.node("Transpose", [x], tuple(shape[a] for a in order), perm=order)
            case "shift":
                order = [*range(1, rank), 0]
                return self.node("Transpose", [x], tuple(shape[a] for a in order), perm=order)
            case "first" | "last":
                if shape[axis] == 0 or isinstance(shape[axis], str):
                    raise Unfit
                return self.slice(x, axis, *((0, 1) if kind == "first" else (-1, 2**62)), 1, 1)
            case "reverse":
                return self.slice(x, axis, -1, -(2**62), -1, shape[axis])
            case "keepdims" | "reduced":
                return self.reduce("ReduceSum", x, [axis], int(kind == "keepdims"))
            case "all":
                return self.reduce("ReduceSum", x, None, 0)
        raise Unfit


def broadcast(x: Shape, y: Shape) -> Shape:
    rank = max(len(x), len(y))
    found: list[Extent] = []
    for a, b in zip((1,) * (rank - len(x)) + x, (1,) * (rank - len(y)) + y, strict=True):
        if a != b and 1 not in (a, b):
            raise Unfit
        found.append(b if a == 1 else a)
    return tuple(found)


def known(extents: Sequence[Extent]) -> list[int]:
    """Extents that must be numbers."""
    if any(isinstance(e, str) for e in extents):
        raise Unfit
    return [int(e) for e in extents]


# Steps: how one is drawn for operands of these shapes, and what it adds to the model -----------------------------------------------

Build = Callable[..., str]
BUILD: dict[str, tuple[int, Build]] = {}
EVERY_FLOAT = ("Relu", "Tanh", "Sigmoid", "Abs", "Neg", "Erf", "Identity")  # that ONNX defines for bfloat16 too
SOME_FLOATS = (*EVERY_FLOAT, "Sin", "Softsign", "Softplus", "Elu")
BINARY = ("Add", "Sub", "Mul", "Max", "Min")
BIG = 4096  # elements of a value


def step(operands: int) -> Callable[[Build], Build]:
    def enter(build: Build) -> Build:
        BUILD[build.__name__.removesuffix("_")] = operands, build
        return build

    return enter


@step(1)
def unary(m: Model, x: str, r: random.Random) -> str:
    return m.unary(r.choice(m.unaries), x)


@step(2)
def binary(m: Model, x: str, y: str, r: random.Random) -> str:
    return m.binary(r.choice(BINARY), x, y)


@step(1)
def beside(m: Model, x: str, r: random.Random) -> str:
    """x with a view of itself."""
    here = x if r.random() < 0.5 else m.unary(r.choice(m.unaries), x)
    there = x if r.random() < 0.5 else m.unary(r.choice(m.unaries), x)
    view = m.view(r.choice(FIRST_VIEWS), there, r.randrange(4))
    found = m.binary(r.choice(BINARY), *((here, view) if r.random() < 0.7 else (view, here)))
    return found if r.random() < 0.6 else m.binary(r.choice(BINARY), found, x)


@step(1)
def view(m: Model, x: str, r: random.Random) -> str:
    return m.view(r.choice(FIRST_VIEWS[:6]), x, r.randrange(4))


@step(1)
def bias(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    kept = known([e if r.random() < 0.6 else 1 for e in shape])
    return m.binary(r.choice(BINARY), x, m.weight(r.randrange(99), kept))


@step(1)
def reduction(m: Model, x: str, r: random.Random) -> str:
    rank = len(m.shapes[x])
    axes = None if r.random() < 0.2 else [a for a in range(rank) if r.random() < 0.5]
    if axes == [] or rank == 0:
        raise Unfit
    return m.reduce(
        r.choice(["ReduceSum", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean"]), x, axes, r.randrange(2)
    )


@step(1)
def product(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    if not shape:
        raise Unfit
    (k,) = known(shape[-1:])
    n = k if r.random() < 0.5 else r.choice([1, 3, 8, 17, 33])
    w = m.weight(r.randrange(99), [k, n], 1 / math.sqrt(k + 1))
    return m.node("MatMul", [x, w], (*shape[:-1], n))


@step(1)
def outer(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    if len(shape) < 2:
        raise Unfit
    turned = m.view("transpose", x, len(shape) - 1)
    return m.node("MatMul", [x, turned], (*shape[:-1], shape[-2]))


@step(2)
def inner(m: Model, x: str, y: str, r: random.Random) -> str:
    a, b = m.shapes[x], m.shapes[y]
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2] or a[:-2] != b[:-2]:
        raise Unfit
    return m.node("MatMul", [x, y], (*a[:-1], b[-1]))


@step(1)
def convolution(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    if len(shape) not in (3, 4) or not m.floats or m.declared == "bf16":
        raise Unfit
    (channels,) = known(shape[1:2])
    size, out = r.choice([1, 3]), channels if r.random() < 0.5 else r.choice([1, 4, 16])
    depthwise = r.random() < 0.3
    taps = [size] * (len(shape) - 2)
    w = m.weight(r.randrange(99), [channels if depthwise else out, 1 if depthwise else channels, *taps], 0.3)
    attributes = {"kernel_shape": taps, "group": channels if depthwise else 1}
    if not channels:
        raise Unfit
    window, space = m.window(shape[2:], taps, r)
    return m.node("Conv", [x, w], (shape[0], channels if depthwise else out, *space), **attributes, **window)


@step(1)
def transposed_convolution(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    if len(shape) not in (3, 4) or not m.floats or m.declared == "bf16":
        raise Unfit
    channels, *spatial = known(shape[1:])
    if not channels or 0 in spatial:
        raise Unfit
    size, stride, out = r.choice([1, 2, 3]), r.choice([1, 2]), channels if r.random() < 0.5 else r.choice([1, 4])
    w = m.weight(r.randrange(99), [channels, out, *[size] * len(spatial)], 0.3)
    grown = [(e - 1) * stride + size for e in spatial]
    attributes = {"kernel_shape": [size] * len(spatial), "strides": [stride] * len(spatial)}
    return m.node("ConvTranspose", [x, w], (shape[0], out, *grown), **attributes)


@step(1)
def einsum(m: Model, x: str, r: random.Random) -> str:
    """Products of a value with itself, or its diagonal."""
    shape = m.shapes[x]
    equation, kept = r.choice([("ij,kj->ik", (0, 0)), ("ij,jk->ik", (0, 1)), ("ij,ij->j", (1,)), ("ij,kj->ki", (0, 0))])
    if len(shape) != 2 or m.declared == "bf16" or (equation == "ij,jk->ik" and shape[0] != shape[1]):
        raise Unfit
    return m.node("Einsum", [x, x], tuple(shape[a] for a in kept), equation=equation)


@step(2)
def affine(m: Model, x: str, y: str, r: random.Random) -> str:
    """Gemm with a value of the program as the addend."""
    shape = m.shapes[x]
    if len(shape) != 2 or m.declared == "bf16":
        raise Unfit
    (k,) = known(shape[1:])
    w = m.weight(r.randrange(99), [k, k], 1 / math.sqrt(k + 1))
    if broadcast(m.shapes[y], shape) != shape:
        raise Unfit
    attributes = {"alpha": 0.5, "beta": r.choice([0.0, 1.0, 2.0])} if m.floats else {}
    return m.node("Gemm", [x, w, y], shape, transB=r.randrange(2), **attributes)


@step(1)
def repeated(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    if not shape:
        raise Unfit
    times = [r.choice([1, 1, 2]) if isinstance(e, int) else 1 for e in shape]
    grown = tuple(e if isinstance(e, str) else e * t for e, t in zip(shape, times, strict=True))
    return m.node("Tile", [x, m.numbers(times)], grown)


@step(1)
def halves(m: Model, x: str, r: random.Random) -> str:
    """The sum of two parts of a value."""
    shape = m.shapes[x]
    places = [a for a, e in enumerate(shape) if isinstance(e, int) and e and e % 2 == 0]
    if not places:
        raise Unfit
    axis = r.choice(places)
    (extent,) = known([shape[axis]])
    first = m.slice(x, axis, 0, extent // 2, 1, extent // 2)
    second = m.slice(x, axis, extent // 2, extent, 1, extent // 2)
    return m.binary(r.choice(BINARY), first, second)


@step(1)
def bounded(m: Model, x: str, r: random.Random) -> str:
    if m.declared == "bf16":
        raise Unfit
    return m.node("Clip", [x, m.weight(r.randrange(99), []), m.weight(r.randrange(99), [])], m.shapes[x])


@step(1)
def looked_up(m: Model, x: str, r: random.Random) -> str:
    """Elements along an axis at places that differ from row to row."""
    shape = m.shapes[x]
    if not shape:
        raise Unfit
    sides, axis = known(shape), r.randrange(len(shape))
    if 0 in sides:
        raise Unfit
    places = np.random.default_rng(r.randrange(99)).integers(-sides[axis], sides[axis], sides)
    return m.node("GatherElements", [x, m.numbers(places)], shape, axis=axis)


@step(1)
def pooling(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    if len(shape) not in (3, 4) or m.declared not in ("f32", "f64", "f16") or 0 in shape:
        raise Unfit
    taps = [r.choice([2, 3])] * (len(shape) - 2)
    kind = r.choice(["MaxPool", "AveragePool"])
    window, space = m.window(shape[2:], taps, r)
    if kind == "AveragePool":
        window["count_include_pad"] = r.randrange(2)
    return m.node(kind, [x], (*shape[:2], *space), kernel_shape=taps, **window)


@step(1)
def softmax(m: Model, x: str, r: random.Random) -> str:
    if not m.floats or not m.shapes[x]:
        raise Unfit
    return m.node(r.choice(["Softmax", "LogSoftmax"]), [x], m.shapes[x], axis=r.randrange(len(m.shapes[x])))


@step(1)
def norm(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    if not m.floats or not shape or shape[-1] in (0, 1):
        raise Unfit
    scale = m.weight(r.randrange(99), known(shape[-1:]))
    return m.node("LayerNormalization", [x, scale], shape, axis=-1, epsilon=0.01)


@step(2)
def concatenation(m: Model, x: str, y: str, r: random.Random) -> str:
    a, b = m.shapes[x], m.shapes[y]
    axis = r.randrange(max(1, len(a)))
    if not a or len(a) != len(b) or any(d != e for n, (d, e) in enumerate(zip(a, b, strict=True)) if n != axis):
        raise Unfit
    both = sum(known([a[axis], b[axis]]))
    return m.node("Concat", [x, y], (*a[:axis], both, *a[axis + 1 :]), axis=axis)


@step(1)
def pad(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    low, high = ([r.randrange(2) if isinstance(e, int) else 0 for e in shape] for _ in range(2))
    if not shape:
        raise Unfit
    grown = tuple(e if isinstance(e, str) else e + a + b for e, a, b in zip(shape, low, high, strict=True))
    return m.node("Pad", [x, m.numbers(low + high)], grown)


@step(1)
def part(m: Model, x: str, r: random.Random) -> str:
    axis, extent = m.long_axis(x, r)
    start, by = r.randrange(extent), r.choice([1, 1, 2])
    return m.slice(x, axis, start, extent, by, len(range(start, extent, by)))


@step(1)
def taken(m: Model, x: str, r: random.Random) -> str:
    shape, (axis, extent) = m.shapes[x], m.long_axis(x, r)
    indices = [r.randrange(-extent, extent) for _ in range(r.choice([1, 2, extent]))]
    return m.node("Gather", [x, m.numbers(indices)], (*shape[:axis], len(indices), *shape[axis + 1 :]), axis=axis)


@step(1)
def merged(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    if len(shape) < 2:
        raise Unfit
    axis = r.randrange(len(shape) - 1)
    a, b = known(shape[axis : axis + 2])
    left = [0] * axis if all(e != 0 for e in shape) else known(shape[:axis])
    flat = m.numbers([*left, a * b, *known(shape[axis + 2 :])])
    return m.node("Reshape", [x, flat], (*shape[:axis], a * b, *shape[axis + 2 :]), allowzero=int(0 in shape))


@step(1)
def units(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    ones = [a for a, e in enumerate(shape) if e == 1]
    if ones and r.random() < 0.5:
        axis = r.choice(ones)
        return m.node("Squeeze", [x, m.numbers([axis])], (*shape[:axis], *shape[axis + 1 :]))
    if len(shape) > 4:
        raise Unfit
    axis = r.randrange(len(shape) + 1)
    return m.node("Unsqueeze", [x, m.numbers([axis])], (*shape[:axis], 1, *shape[axis:]))


@step(1)
def cumulative(m: Model, x: str, r: random.Random) -> str:
    if not m.shapes[x] or m.declared in ("f16", "bf16"):
        raise Unfit
    axis = m.numbers(r.randrange(len(m.shapes[x])))
    return m.node("CumSum", [x, axis], m.shapes[x], exclusive=r.randrange(2), reverse=r.randrange(2))


@step(2)
def chosen(m: Model, x: str, y: str, r: random.Random) -> str:
    shape = broadcast(m.shapes[x], m.shapes[y])
    mask, sides = f"w{len(m.inits)}", known([e if r.random() < 0.5 and isinstance(e, int) else 1 for e in shape])
    values = np.random.default_rng(r.randrange(99)).integers(0, 2, sides).astype(bool)
    m.inits.append(numpy_helper.from_array(values, mask))
    return m.node("Where", [mask, x, y], shape)


@step(1)
def resized(m: Model, x: str, r: random.Random) -> str:
    shape = m.shapes[x]
    if len(shape) < 3 or m.declared not in ("f32", "i32") or 0 in shape:
        raise Unfit
    scales = [
        1.0,
        1.0,
        *(r.choice([1.0, 2.0, 2.0, 0.5]) if isinstance(e, int) and e % 2 == 0 else 1.0 for e in shape[2:]),
    ]
    grown = tuple(e if isinstance(e, str) else int(e * s) for e, s in zip(shape, scales, strict=True))
    name = f"w{len(m.inits)}"
    m.inits.append(numpy_helper.from_array(np.array(scales, np.float32), name))
    mode = r.choice(["nearest", "linear"]) if m.floats and len(shape) == 4 else "nearest"
    attributes = {"mode": mode, "coordinate_transformation_mode": r.choice(["asymmetric", "half_pixel"])}
    if mode == "nearest":
        attributes |= {"nearest_mode": "floor"}
    return m.node("Resize", [x, "", name], grown, **attributes)


@step(1)
def ranked(m: Model, x: str, r: random.Random) -> str:
    """The largest or smallest elements along an axis."""
    axis, extent = m.long_axis(x, r)
    if m.declared not in ("f32", "f64", "i64"):
        raise Unfit
    count = r.choice([1, extent // 2 or 1, extent])
    name = m.node(
        "TopK",
        [x, m.numbers([count])],
        tuple(count if a == axis else e for a, e in enumerate(m.shapes[x])),
        axis=axis,
        largest=r.randrange(2),
    )
    m.nodes[-1].output.append(f"{name}_places")
    return name


@step(1)
def pieces(m: Model, x: str, r: random.Random) -> str:
    """Parts of a value in another order, one of them changed."""
    axis, extent = m.long_axis(x, r)
    cut, shape = r.randrange(1, extent), m.shapes[x]
    sizes = [cut, extent - cut]
    first = m.node("Split", [x, m.numbers(sizes)], (*shape[:axis], cut, *shape[axis + 1 :]), axis=axis)
    second = f"{first}_rest"
    m.nodes[-1].output.append(second)
    m.shapes[second] = (*shape[:axis], extent - cut, *shape[axis + 1 :])
    return m.node("Concat", [second, m.unary(r.choice(m.unaries), first)], shape, axis=axis)


@step(2)
def loop(m: Model, x: str, y: str, r: random.Random) -> str:
    """A value that goes around a few times, each time with another one from outside of the loop."""
    shape = m.shapes[x]
    if broadcast(shape, m.shapes[y]) != shape or m.declared == "bf16":
        raise Unfit
    kind, info = DTYPES[m.dtype], helper.make_tensor_value_info
    op, change = r.choice(("Add", "Sub", "Max", "Min")), r.choice(m.unaries)
    number = len(m.nodes)
    state, turn, goes_on = f"s{number}", f"t{number}", f"c{number}"
    nodes = [
        helper.make_node(change, [state], [f"{state}_changed"]),
        helper.make_node(op, [f"{state}_changed", y], [f"{state}_next"]),
        helper.make_node("Identity", [f"{state}_next"], [f"{state}_row"]),
        helper.make_node("Identity", [goes_on], [f"{goes_on}_next"]),
    ]
    inputs = [info(turn, TensorProto.INT64, []), info(goes_on, TensorProto.BOOL, []), info(state, kind, None)]
    outputs = [
        info(f"{goes_on}_next", TensorProto.BOOL, []),
        info(f"{state}_next", kind, None),
        info(f"{state}_row", kind, None),
    ]
    body = helper.make_graph(nodes, f"body{number}", inputs, outputs)
    turns = r.choice([1, 2, 3])
    final = m.node("Loop", [m.numbers(turns), "", x], shape, body=body)
    if r.random() < 0.5 and len(shape) < 4:
        rows = f"{final}_rows"
        m.nodes[-1].output.append(rows)
        m.shapes[rows] = (turns, *shape)
        return m.reduce("ReduceSum", rows, [0], 0)
    return final


# Whole programs ----------------------------------------------------------------------------------------------------------------------

WEIGHTS = {"beside": 5, "binary": 3, "unary": 2, "view": 2, "reduction": 2, "product": 2}


def model_of(program: Program, dtype: str | None = None) -> ModelProto:
    """The ONNX model. Every value that nothing reads is an output. Raises Unfit where a step does not apply."""
    m = Model(dtype or program.dtype, program.dtype)
    values = [f"x{n}" for n in range(len(program.shapes))]
    m.shapes.update(zip(values, program.shapes, strict=True))
    for each in program.steps:
        count, build = BUILD[each.op]
        if len(each.operands) != count or max(each.operands) >= len(values):
            raise Unfit
        made = build(m, *(values[n] for n in each.operands), random.Random(each.params["seed"]))
        if math.prod(e if isinstance(e, int) else 5 for e in m.shapes[made]) > BIG or len(m.shapes[made]) > 5:
            raise Unfit
        values.append(made)
    read = {name for node in m.nodes for name in node.input}
    outputs = [name for name in values[len(program.shapes) :] if name not in read]
    if not outputs:
        raise Unfit
    kind = DTYPES[m.dtype]
    graph = helper.make_graph(
        m.nodes,
        "program",
        [helper.make_tensor_value_info(f"x{n}", kind, shape) for n, shape in enumerate(program.shapes)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        m.inits,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def draw(seed: int) -> Program:
    """Program number `seed`."""
    r = random.Random(seed)
    dtype = r.choice(["f32"] * 5 + ["f64", "f16", "bf16", "i32", "i64"])
    rank = r.choice([1, 2, 2, 2, 3, 3, 4])
    pool: list[Extent] = [1, 2, 3, 5, 7, 8, 0, "N", "N"] if rank > 2 else [1, 2, 5, 8, 16, 17, 24, 33, 40, 0, "N", "N"]
    first = r.choice(pool)
    shape = (first,) * rank if r.random() < 0.5 else tuple(r.choice(pool) for _ in range(rank))
    sizes = (r.choice([0, 1, 2]), r.choice([3, 4, 5, 6])) if rank > 2 else (r.choice([0, 1, 3]), r.choice([8, 13, 33]))
    program = Program(dtype, (shape,) * r.choice([1, 2]), (), sizes, r.choice([0, 1, 2, 2, 2, 3]), r.choice([1, 2]))
    names = list(BUILD)
    weights = [WEIGHTS.get(name, 1) for name in names]
    for _ in range(r.randrange(2, 11)):
        for _ in range(8):
            (op,) = r.choices(names, weights)
            count = len(program.shapes) + len(program.steps)
            operands = tuple(max(0, count - 1 - int(r.expovariate(0.7))) for _ in range(BUILD[op][0]))
            longer = replace(program, steps=(*program.steps, Step(op, operands, {"seed": r.randrange(1 << 30)})))
            try:
                model_of(longer)
            except Unfit:
                continue
            program = longer
            break
    return program if program.steps else draw(seed + 1_000_003)


def smaller(program: Program) -> list[Program]:
    """Programs that are one cut away, the largest cuts first. Not all of them fit."""
    found = []
    for n in reversed(range(len(program.steps))):
        place = len(program.shapes) + n
        for stand_in in dict.fromkeys((*program.steps[n].operands, 0)):

            def moved(operand: int, stand_in: int = stand_in, place: int = place) -> int:
                return stand_in if operand == place else operand - (operand > place)

            rest = [
                replace(s, operands=tuple(map(moved, s.operands))) if k > n else s
                for k, s in enumerate(program.steps)
                if k != n
            ]
            found.append(replace(program, steps=tuple(rest)))
    if len(program.sizes) > 1:
        found += [replace(program, sizes=(size,)) for size in program.sizes]
    if program.threads > 1:
        found.append(replace(program, threads=1))
    for low in (2, 3, 5, 8):
        for extent in dict.fromkeys(e for shape in program.shapes for e in shape):
            if isinstance(extent, str) or extent > low:
                shapes = tuple(tuple(low if e == extent else e for e in shape) for shape in program.shapes)
                found.append(replace(program, shapes=shapes))
    return found

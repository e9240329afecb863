"""The ONNX graph of a program while it is built: nodes, weights, shapes of its values, and views of them.

Axes that may have any size are "N"."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

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
EVERY_FLOAT = ("Relu", "Tanh", "Sigmoid", "Abs", "Neg", "Erf", "Identity")  # that ONNX defines for bfloat16 too
SOME_FLOATS = (*EVERY_FLOAT, "Sin", "Softsign", "Softplus", "Elu")


class Unfit(Exception):
    """The step does not apply to its operands."""


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

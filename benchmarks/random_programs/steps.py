"""The steps of programs: how one is drawn for operands of these shapes, and what it adds to the ONNX graph.

Many combine a value with a view of itself, for that is where fusion can go wrong.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.random_programs.onnx_graph import DTYPES, Model, Unfit, broadcast, known

FIRST_VIEWS = ("transpose", "first", "last", "reverse", "keepdims", "reduced", "all", "shift")
Build = Callable[..., str]
BUILD: dict[str, tuple[int, Build]] = {}
BINARY = ("Add", "Sub", "Mul", "Max", "Min")


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

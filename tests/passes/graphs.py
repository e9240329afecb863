"""Random modules for property tests: a few values of mixed shapes (0, 1, primes, a symbol), combined by ops that passes know."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.dims import Dim
from mlc.ir.module import Module
from mlc.ir.types import rank_of, shape_of

EXTENTS = st.sampled_from([1, 1, 2, 3, 5, 7, 0, "N"])


@st.composite
def modules(draw: st.DrawFn) -> Module:
    """A module of 3 to 12 steps over one or two inputs; every value that nothing reads is an output."""
    rank = draw(st.integers(1, 4))
    shape = [draw(EXTENTS)] * rank if draw(st.booleans()) else [draw(EXTENTS) for _ in range(rank)]  # squares and cubes
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    builder = g.module_builder("random")
    with builder.function(inputs=[("x", shape, "f32"), ("y", shape, "f32")]) as inputs:
        values: list[SSAValue] = list(inputs)
        for number in range(draw(st.integers(3, 12))):
            x = draw(st.sampled_from(values[-4:]))
            with g.location(f"step{number}"):
                step = draw(st.sampled_from(STEPS))
                values += step(draw, rng, x, values)
        loose = [v for v in values[2:] if v.first_use is None] or values[-1:]
        builder.outputs([(f"out{i}", v) for i, v in enumerate(loose[-4:])])
    return builder.finish()


def _weight(rng: np.random.Generator, shape: list[int]) -> SSAValue:
    return g.constant(rng.standard_normal(shape).astype(np.float32), "w")


def _unary(draw, rng, x, values):
    return [getattr(g, draw(st.sampled_from(["neg", "relu", "tanh", "abs", "sigmoid"])))(x)]


def _number(draw, rng, x, values):
    value = draw(st.sampled_from([0.0, -0.0, 1.0, 2.0, 0.5, -1.0, 3.0, float("inf"), float("-inf")]))
    name = draw(st.sampled_from(["add", "sub", "mul", "div", "maximum", "minimum", "pow"]))
    pair = (x, g.full_like(x, value))
    if name != "pow" and draw(st.booleans()):
        pair = pair[::-1]
    return [getattr(g, name)(*pair)]


def _binary(draw, rng, x, values):
    same = [v for v in values if shape_of(v) == shape_of(x)]
    y = draw(st.sampled_from(same))
    return [getattr(g, draw(st.sampled_from(["add", "mul", "sub", "maximum"])))(x, y)]


def _bias(draw, rng, x, values):
    shape = shape_of(x)
    axes = [a for a in range(len(shape)) if isinstance(shape[a], int) and draw(st.booleans())]
    small = _weight(rng, [shape[a] for a in axes])
    return [getattr(g, draw(st.sampled_from(["add", "mul"])))(x, g.broadcast(small, shape, axes))]


def _transpose(draw, rng, x, values):
    return [g.transpose(x, draw(st.permutations(range(rank_of(x)))))]


def _merge(draw, rng, x, values):
    shape = list(shape_of(x))
    if len(shape) < 2:
        return [g.unsqueeze(x, [draw(st.integers(0, len(shape)))])]
    a = draw(st.integers(0, len(shape) - 2))
    return [g.reshape(x, [*shape[:a], shape[a] * shape[a + 1], *shape[a + 2 :]])]


def _split(draw, rng, x, values):
    shape = list(shape_of(x))
    places = [a for a, e in enumerate(shape) if isinstance(e, int) and e % 2 == 0 and e] or [None]
    a = draw(st.sampled_from(places))
    if a is None or len(shape) > 5:
        return []
    return [g.reshape(x, [*shape[:a], 2, shape[a] // 2, *shape[a + 1 :]])]


def _units(draw, rng, x, values):
    shape = list(shape_of(x))
    ones = [a for a, e in enumerate(shape) if e == 1]
    if ones and draw(st.booleans()):
        return [g.squeeze(x, [draw(st.sampled_from(ones))])]
    return [g.unsqueeze(x, [draw(st.integers(0, len(shape)))])] if len(shape) < 5 else []


def _reduce(draw, rng, x, values):
    if not rank_of(x):
        return []
    axes = draw(st.sets(st.integers(0, rank_of(x) - 1), min_size=1, max_size=draw(st.sampled_from([1, 2, rank_of(x)]))))
    kind = draw(st.sampled_from(["sum", "max", "min"]))
    reduced = g.reduce(x, sorted(axes), kind, keepdims=draw(st.booleans()))
    if kind != "sum" and any(e == 0 or isinstance(e, Dim) for e in shape_of(x)):
        reduced = g.maximum(reduced, g.full_like(reduced, -9.0))
    return [reduced]


def _beside(draw, rng, x, values):
    """A value and a view of it: turned, its first row or column, backwards, or its sums along an axis that may be another one."""
    shape, rank = shape_of(x), rank_of(x)
    if not rank:
        return []
    y, axis = draw(st.sampled_from([x, g.tanh(x)])), draw(st.integers(0, rank - 1))
    kind = draw(st.sampled_from(["turned", "first", "reverse", "sums"]))
    if kind == "turned":
        view = g.transpose(y, draw(st.permutations(range(rank))))
    elif kind == "reverse":
        view = g.reverse(y, [axis])
    elif kind == "first" and isinstance(shape[axis], int) and shape[axis]:
        view = g.broadcast_to(g.slice_axis(y, axis, 0, 1), shape)
    else:
        left = [a for a in range(rank) if a != draw(st.integers(0, rank - 1))]
        sums = g.reduce(y, [axis], "sum")
        view = g.broadcast(sums, shape, left) if shape_of(sums) == tuple(shape[a] for a in left) else y
    if shape_of(view) != shape:
        return []
    return [getattr(g, draw(st.sampled_from(["add", "sub", "maximum"])))(g.relu(x), view)]


def _slice(draw, rng, x, values):
    shape = shape_of(x)
    places = [a for a, e in enumerate(shape) if isinstance(e, int) and e > 1]
    if not places:
        return []
    a = draw(st.sampled_from(places))
    size = draw(st.integers(1, shape[a]))
    if draw(st.booleans()):
        return [g.reverse(x, [a])]
    return [g.slice_axis(x, a, draw(st.integers(0, shape[a] - size)), size)]


def _concatenate(draw, rng, x, values):
    if not rank_of(x):
        return []
    same = [v for v in values if shape_of(v) == shape_of(x)]
    return [g.concatenate([x, draw(st.sampled_from(same))], draw(st.integers(0, rank_of(x) - 1)))]


def _pad(draw, rng, x, values):
    low = [draw(st.integers(0, 1)) for _ in range(rank_of(x))]
    high = [draw(st.integers(0, 2)) for _ in range(rank_of(x))]
    return [g.pad(x, low, high, draw(st.sampled_from([0.0, 1.5])))]


def _matmul(draw, rng, x, values):
    if not rank_of(x) or not isinstance(shape_of(x)[-1], int):
        return []
    return [g.matmul(x, _weight(rng, [shape_of(x)[-1], draw(st.sampled_from([1, 2, 6, 20]))]))]


def _outer(draw, rng, x, values):
    if rank_of(x) < 2 or rank_of(x) > 4:
        return []
    return [g.matmul(x, g.transpose(x, [*range(rank_of(x) - 2), rank_of(x) - 1, rank_of(x) - 2]))]


def _composite(draw, rng, x, values):
    if not rank_of(x):
        return []
    if draw(st.booleans()):
        return [g.softmax(x, draw(st.integers(0, rank_of(x) - 1)))]
    return [g.layer_norm(x, None, None, [rank_of(x) - 1])] if shape_of(x)[-1] != 0 else []


def _convolution(draw, rng, x, values):
    shape = shape_of(x)
    if len(shape) not in (3, 4) or not isinstance(shape[1], int) or not shape[1]:
        return []
    spatial = len(shape) - 2
    size = draw(st.sampled_from([1, 3]))
    digits = "01"[:spatial]
    depthwise = draw(st.booleans())
    out = shape[1] if depthwise else draw(st.sampled_from([1, 4]))
    weight = _weight(rng, [out, 1 if depthwise else shape[1], *[size] * spatial])
    y = g.convolution(
        x,
        weight,
        f"nc{digits},oc{digits}->no{digits}",
        padding=[(size // 2, size // 2)] * spatial,
        strides=[draw(st.sampled_from([1, 2]))] * spatial if all(isinstance(e, int) for e in shape[2:]) else None,
        groups=shape[1] if depthwise else 1,
    )
    return [g.relu(g.add(y, g.broadcast(_weight(rng, [out]), shape_of(y), [1])))]


def _pool(draw, rng, x, values):
    shape = shape_of(x)
    if len(shape) != 4 or any(not isinstance(e, int) or e < 2 for e in shape[2:]):
        return []
    window = [1, 1, 2, 2]
    return [g.reduce_window(x, "max", window, window, [(0, 0), (0, 0), (0, 1), (1, 0)])]


def _take(draw, rng, x, values):
    places = [a for a, e in enumerate(shape_of(x)) if isinstance(e, int) and e > 1]
    if not places or rank_of(x) > 4:
        return []
    a = draw(st.sampled_from(places))
    count = draw(st.sampled_from([1, 2, 3, shape_of(x)[a]]))  # as many as there are: the shape stays
    indices = draw(st.lists(st.integers(-2, 1), min_size=count, max_size=count))
    return [g.gather(x, g.constant(np.array(indices, np.int64)), a)]


def _keep(draw, rng, x, values):
    """Some rows: how many, or which, the input decides."""
    if not rank_of(x):
        return []
    positive = g.gt(values[0], g.full_like(values[0], 0))
    if draw(st.booleans()):
        return [g.prefix(g.reduce(g.cast(positive, "i64"), None, "sum"), x)[0]]
    rows = g.reduce(positive, range(1, rank_of(positive)), "or")
    return [g.gather(x, g.squeeze(g.nonzero(rows), [1]), 0)] if shape_of(rows) == shape_of(x)[:1] else []


STEPS = [
    _unary, _number, _binary, _bias, _transpose, _transpose, _merge, _split, _units, _reduce, _slice, _concatenate,
    _pad, _matmul, _outer, _composite, _convolution, _pool, _take, _keep, _beside, _beside,
]  # fmt: skip

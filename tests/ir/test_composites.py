"""Composites that keep their names until they are decomposed, in every stage, against their definitions in float64."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir import builder as g
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import graph_passes
from tests.ir.every_stage import Spec, agree, built

TOLERANCE = {"f64": 1e-12, "f32": 2e-6, "f16": 4e-3, "bf16": 4e-2}
DTYPES = sorted(TOLERANCE)


def some(*shape: int, dtype: str = "f32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(numpy_dtype(dtype))


def names(module: Module) -> list[str]:
    return [op.name.removeprefix("graph.") for op in module.op.walk()]


def wide(*arrays: np.ndarray) -> list[np.ndarray]:
    return [x.astype(np.float64) for x in arrays]


def named_until_decomposed(name: str, module: Module) -> None:
    assert name in names(module) and name not in names(PassManager("decompose", verify_each=True).run(module))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_silu(dtype: str) -> None:
    reference = lambda x: (x.astype(np.float64) * sigmoid(x.astype(np.float64))).astype(x.dtype)
    feeds = [[some(n, 7, dtype=dtype)] for n in (0, 1, 5)]
    named_until_decomposed("silu", agree(g.silu, [(("N", 7), dtype)], feeds, reference, TOLERANCE[dtype]))


# Normalisations ------------------------------------------------------------------------------------------------------


def along(v: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    return v.reshape([-1 if a == axis else 1 for a in range(x.ndim)])


def batch_norm(x: np.ndarray, s: np.ndarray, b: np.ndarray, m: np.ndarray, v: np.ndarray, axis: int = 1) -> np.ndarray:
    y, s, b, m, v = (along(p, x, axis) if p.ndim == 1 else p for p in wide(x, s, b, m, v))
    return ((y - m) / np.sqrt(v + 1e-5) * s + b).astype(x.dtype)


def vectors(channels: int, dtype: str) -> list[np.ndarray]:
    scale, bias, mean, variance = (some(channels, dtype=dtype, seed=seed) for seed in range(1, 5))
    return [scale, bias, mean, np.abs(variance) + np.ones((), variance.dtype)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [1, -1])
def test_batch_norm(dtype: str, axis: int) -> None:
    build = lambda *xs: g.batch_norm(*xs, axis=axis)
    feeds = [[some(n, 3, h, 3, dtype=dtype), *vectors(3, dtype)] for n, h in ((0, 2), (1, 1), (2, 5))]
    specs: list[Spec] = [(("N", 3, "H", 3), dtype), *[((3,), dtype)] * 4]
    found = agree(build, specs, feeds, lambda *xs: batch_norm(*xs, axis=axis % 4), TOLERANCE[dtype])
    named_until_decomposed("batch_norm", found)


def test_statistics_may_be_wider_than_the_value() -> None:
    x, parameters = some(2, 3, 4, dtype="f16"), vectors(3, "f32")
    specs: list[Spec] = [((2, 3, 4), "f16"), *[((3,), "f32")] * 4]
    agree(g.batch_norm, specs, [[x, *parameters]], batch_norm, 2e-3)


@pytest.mark.parametrize("dtypes", [("f32", "f64", "f32", "f16", "f32"), ("f64", "f32", "f64", "bf16", "f32")])
def test_statistics_and_parameters_may_differ_in_dtype(dtypes: tuple[str, ...]) -> None:
    parameters = [v.astype(numpy_dtype(dtype)) for v, dtype in zip(vectors(3, "f32"), dtypes[1:], strict=True)]
    specs: list[Spec] = [((2, 3, 4), dtypes[0]), *[((3,), dtype) for dtype in dtypes[1:]]]
    agree(g.batch_norm, specs, [[some(2, 3, 4, dtype=dtypes[0]), *parameters]], batch_norm, 2e-6)


def test_a_batch_norm_along_another_axis_than_the_weight_has_stays() -> None:
    """The rule gives up when it has built the factor; that must not call for the rule again."""

    def build(x: Any) -> Any:
        y = g.convolution(x, g.constant(some(4, 3, 3, 3), "w"))
        return g.batch_norm(y, *(g.constant(v) for v in vectors(4, "f32")), axis=2)

    module = built(build, [(("N", 3, 6, 6), "f32")])
    after = PassManager("fold-batch-norm", verify_each=True).run(module)
    assert str(after) == str(module)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_batch_norm_behind_a_convolution_goes_into_its_weight(dtype: str, bias: bool) -> None:
    """By its name, before anything is decomposed. In 16 bits the sum is rounded between the two, so they stay apart until CPUs compute both in f32."""

    def build(x: Any) -> Any:
        y = g.convolution(x, g.constant(some(4, 3, 3, 3, dtype=dtype), "w"))
        if bias:
            y = g.add(y, g.broadcast(g.constant(some(4, dtype=dtype), "b"), g.shape_of(y), [1]))
        return g.batch_norm(y, *(g.constant(v) for v in vectors(4, dtype)))

    module = built(build, [(("N", 3, 6, 6), dtype)])
    named = names(PassManager("fold-batch-norm", verify_each=True).run(module))
    assert ("batch_norm" in named) == (dtype == "f16")
    after = PassManager(graph_passes(2), verify_each=True).run(module)
    assert dtype == "f16" or "mul" not in names(after)
    apart = PassManager([p for p in graph_passes(2) if p.name != "widen-floats"], verify_each=True).run(module)
    assert names(apart).count("mul") == (1 if dtype == "f16" else 0)
    x = some(2, 3, 6, 6, dtype=dtype)
    np.testing.assert_allclose(
        *(m.run(x)[0].astype(np.float64) for m in (after, module)), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 4
    )


def group_norm(x: np.ndarray, s: np.ndarray, b: np.ndarray, groups: int) -> np.ndarray:
    y = x.astype(np.float64).reshape(len(x), groups, -1)
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
    y = y.reshape(x.shape).astype(x.dtype).astype(np.float64)
    return (y * along(s, x, 1).astype(np.float64) + along(b, x, 1).astype(np.float64)).astype(x.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_group_norm_and_instance_norm(dtype: str) -> None:
    def build(x: Any, s: Any, b: Any) -> Any:
        return [g.group_norm(x, s, b, 1), g.group_norm(x, s, b, 3), g.instance_norm(x, s, b)]

    scale, bias = some(6, dtype=dtype, seed=1), some(6, dtype=dtype, seed=2)
    feeds = [[some(n, 6, h, 5, dtype=dtype), scale, bias] for n, h in ((1, 1), (2, 7), (3, 5))]
    specs: list[Spec] = [(("N", 6, "H", 5), dtype), ((6,), dtype), ((6,), dtype)]
    reference = lambda x, s, b: [group_norm(x, s, b, groups) for groups in (1, 3, 6)]
    found = agree(build, specs, feeds, reference, TOLERANCE[dtype] * 4)
    named_until_decomposed("group_norm", found)
    named_until_decomposed("instance_norm", found)


def test_groups_that_do_not_divide_symbolic_channels_are_refused_at_the_call() -> None:
    module = built(lambda x, s, b: g.group_norm(x, s, b, 2), [((1, "C", 4), "f32"), (("C",), "f32"), (("C",), "f32")])
    run = lambda c: module.run(some(1, c, 4), some(c), some(c, seed=1))
    np.testing.assert_allclose(run(4)[0], group_norm(some(1, 4, 4), some(4), some(4, seed=1), 2), 1e-5, 1e-5)
    with pytest.raises(ShapeError, match="group_norm: channels in 2 groups"):
        run(5)


def test_normalisations_name_what_does_not_fit() -> None:
    x: Spec = ((2, 4, 3), "f32")
    with pytest.raises(ShapeError, match=r"batch_norm: mean is f32\[3\], axis 1 of \[2, 4, 3\] has the channels"):
        built(lambda x, s, m: g.batch_norm(x, s, s, m, s), [x, ((4,), "f32"), ((3,), "f32")])
    with pytest.raises(ShapeError, match="group_norm: 4 channels cannot form 3 groups"):
        built(lambda x, s: g.group_norm(x, s, s, 3), [x, ((4,), "f32")])
    with pytest.raises(DTypeError, match="instance_norm: dtypes f32 and f16 differ"):
        built(lambda x, s: g.instance_norm(x, s, s), [x, ((4,), "f16")])
    with pytest.raises(DTypeError, match="silu: takes floats, not i32"):
        built(g.silu, [((4,), "i32")])


# Attention ----------------------------------------------------------------------------------------------------------


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None = None, causal: bool = False
) -> np.ndarray:
    """One query at a time."""
    out = np.zeros((*q.shape[:3], v.shape[3]))
    q64, k64, v64 = wide(q, k, v)
    share = q.shape[1] // k.shape[1]
    for b, h, s in np.ndindex(*q.shape[:3]):
        scores = k64[b, h // share] @ q64[b, h, s] / np.sqrt(q.shape[3])
        if mask is not None:
            scores = np.where(mask[b, h, s], scores, -np.inf) if mask.dtype == bool else scores + mask[b, h, s]
        scores = np.where(np.arange(len(scores)) <= s, scores, -np.inf) if causal else scores
        weights = np.exp(scores - scores.max())
        out[b, h, s] = weights / weights.sum() @ v64[b, h // share]
    return out.astype(q.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_attention(dtype: str) -> None:
    specs: list[Spec] = [(("B", 2, "S", 4), dtype), (("B", 2, "T", 4), dtype), (("B", 2, "T", 3), dtype)]
    feeds = [
        [some(b, 2, s, 4, dtype=dtype), some(b, 2, t, 4, dtype=dtype, seed=1), some(b, 2, t, 3, dtype=dtype)]
        for b, s, t in ((0, 2, 3), (1, 1, 1), (2, 5, 7), (1, 8, 3))
    ]
    found = agree(g.attention, specs, feeds, attention, TOLERANCE[dtype] * 8)
    named_until_decomposed("attention", found)
    softmaxes = names(PassManager("decompose").run(found))
    assert softmaxes.count("contract") == 2 and "softmax" not in softmaxes


@settings(max_examples=8)
@given(st.sampled_from([1, 2, 4]), st.sampled_from([None, "bool", "f32", "row"]), st.booleans())
def test_attention_with_groups_masks_and_causality(groups: int, kind: str | None, causal: bool) -> None:
    b, heads, s, t = 2, 4, 5, 6
    rng = np.random.default_rng(0)
    shape = (1, 1, s, t) if kind == "row" else (b, heads, s, t)
    mask = rng.random(shape) < 0.7 if kind == "bool" else rng.standard_normal(shape).astype(np.float32)
    if kind == "bool":
        mask[..., 0] = True  # every query sees a key
    arrays = [some(b, heads, s, 8), some(b, groups, t, 8, seed=1), some(b, groups, t, 3, seed=2)]
    specs: list[Spec] = [(x.shape, "f32") for x in arrays]
    if kind is None:
        build: Any = lambda q, k, v: g.attention(q, k, v, causal=causal)
        agree(build, specs, [arrays], lambda q, k, v: attention(q, k, v, None, causal), 1e-5)
        return
    whole = np.broadcast_to(mask, (b, heads, s, t))
    build = lambda q, k, v, m: g.attention(q, k, v, m, causal=causal)
    specs.append((shape, "bool" if kind == "bool" else "f32"))
    agree(build, specs, [[*arrays, mask]], lambda q, k, v, m: attention(q, k, v, whole, causal), 1e-5)


def test_extents_of_attention_that_may_differ_are_checked_at_the_call() -> None:
    module = built(g.attention, [(("B", 2, "S", 4), "f32"), (("C", 2, "T", 4), "f32"), (("D", 2, "U", 4), "f32")])
    module.run(some(1, 2, 3, 4), some(1, 2, 5, 4), some(1, 2, 5, 4))
    with pytest.raises(ShapeError, match="attention: length of k and v"):
        module.run(some(1, 2, 3, 4), some(1, 2, 5, 4), some(1, 2, 6, 4))
    for shapes, message in (
        ([(1, 3, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)], "3 query heads do not divide into 2 key heads"),
        ([(1, 2, 2, 4), (1, 2, 2, 5), (1, 2, 2, 4)], "attention: size of q and k: 4 and 5 differ"),
        ([(2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)], r"q is f32\[2, 2, 4\], not \[batch, heads, length, size\]"),
    ):
        with pytest.raises(ShapeError, match=message):
            built(g.attention, [(shape, "f32") for shape in shapes])


# Recurrent layers ---------------------------------------------------------------------------------------------------


def lstm(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    h: np.ndarray,
    c: np.ndarray,
    bias: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    reverse: bool = False,
    gates: str = "iofc",
) -> list[np.ndarray]:
    """One row of the batch after another, one step after another."""
    y, last_h, last_c = np.zeros((*x.shape[:2], h.shape[1])), np.array(h, np.float64), np.array(c, np.float64)
    x64, w64, r64 = wide(x, w, r)
    for b in range(x.shape[1]):
        steps = range(len(x) if lengths is None else int(lengths[b]))
        for t in reversed(steps) if reverse else steps:
            total = w64 @ x64[t, b] + r64 @ last_h[b] + (0 if bias is None else bias)
            part = dict(zip(gates, total.reshape(4, -1), strict=True))
            last_c[b] = sigmoid(part["f"]) * last_c[b] + sigmoid(part["i"]) * np.tanh(part["c"])
            last_h[b] = y[t, b] = sigmoid(part["o"]) * np.tanh(last_c[b])
    return [v.astype(x.dtype) for v in (y, last_h, last_c)]


def gru(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    h: np.ndarray,
    bias: np.ndarray | None = None,
    r_bias: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    reverse: bool = False,
    linear: bool = False,
    gates: str = "zrh",
) -> list[np.ndarray]:
    y, last = np.zeros((*x.shape[:2], h.shape[1])), np.array(h, np.float64)
    x64, w64, r64 = wide(x, w, r)
    take = lambda v: dict(zip(gates, v.reshape(3, -1), strict=True))
    b_x, b_h = (take(np.zeros(len(w)) if v is None else v) for v in (bias, r_bias))
    rows_of = dict(zip(gates, np.split(r64, 3), strict=True))
    for b in range(x.shape[1]):
        steps = range(len(x) if lengths is None else int(lengths[b]))
        for t in reversed(steps) if reverse else steps:
            into, h_ = take(w64 @ x64[t, b]), last[b]
            z, s = (sigmoid(into[k] + b_x[k] + rows_of[k] @ h_ + b_h[k]) for k in "zr")
            inner = s * (rows_of["h"] @ h_ + b_h["h"]) if linear else rows_of["h"] @ (s * h_) + b_h["h"]
            last[b] = y[t, b] = (1 - z) * np.tanh(into["h"] + b_x["h"] + inner) + z * h_
    return [v.astype(x.dtype) for v in (y, last)]


def weights(gates: int, dtype: str = "f32") -> list[np.ndarray]:
    """w and r of 3 inputs and a state of 4, and two biases."""
    shapes = ((gates * 4, 3), (gates * 4, 4), (gates * 4,), (gates * 4,))
    return [some(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate(shapes)]


def sequence(t: int, b: int, dtype: str = "f32") -> list[np.ndarray]:
    """x, h, c and lengths, of which one is 0 and one is all steps."""
    lengths = np.array([t if k == 0 else k % (t + 1) for k in range(b)], np.int64)
    return [some(t, b, 3, dtype=dtype), some(b, 4, dtype=dtype), some(b, 4, dtype=dtype, seed=1), lengths]


SEQUENCES = ((0, 2), (1, 1), (4, 0), (5, 3))
STEPS: list[Spec] = [(("T", "B", 3), "f32"), (("B", 4), "f32"), (("B", 4), "f32"), (("B",), "i64")]


@settings(max_examples=8)
@given(st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["iofc", "ifco"]))
def test_lstm(biased: bool, bounded: bool, reverse: bool, gates: str) -> None:
    w, r, bias, _ = weights(4)

    def build(x: Any, h: Any, c: Any, lengths: Any) -> Any:
        b = g.constant(bias) if biased else None
        return g.lstm(x, g.constant(w), g.constant(r), h, c, b, lengths if bounded else None, reverse, gates)

    def reference(x: np.ndarray, h: np.ndarray, c: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        return lstm(x, w, r, h, c, bias if biased else None, lengths if bounded else None, reverse, gates)

    named_until_decomposed("lstm", agree(build, STEPS, [sequence(*s) for s in SEQUENCES], reference, 1e-5))


@settings(max_examples=10)
@given(st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["zrh", "rzh", "hrz"]))
def test_gru(biased: bool, bounded: bool, reverse: bool, linear: bool, gates: str) -> None:
    w, r, *biases = weights(3)

    def build(x: Any, h: Any, c: Any, lengths: Any) -> Any:
        b = [g.constant(v) if biased else None for v in biases]
        return g.gru(x, g.constant(w), g.constant(r), h, *b, lengths if bounded else None, reverse, linear, gates)

    def reference(x: np.ndarray, h: np.ndarray, c: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        given_ = biases if biased else [None, None]
        return gru(x, w, r, h, *given_, lengths if bounded else None, reverse, linear, gates)

    named_until_decomposed("gru", agree(build, STEPS, [sequence(*s) for s in SEQUENCES], reference, 1e-5))


@pytest.mark.parametrize("dtype", ["f64", "f16"])
def test_recurrent_layers_in_other_dtypes(dtype: str) -> None:
    specs: list[Spec] = [(shape, dtype) for shape, _ in STEPS[:3]]
    feeds = [sequence(5, 3, dtype)[:3]]
    w, r, bias, _ = weights(4, dtype)
    build = lambda x, h, c: g.lstm(x, g.constant(w), g.constant(r), h, c, g.constant(bias))
    agree(build, specs, feeds, lambda x, h, c: lstm(x, w, r, h, c, bias), TOLERANCE[dtype] * 8)
    w3, r3, *biases = weights(3, dtype)
    build = lambda x, h, c: g.gru(x, g.constant(w3), g.constant(r3), h, *map(g.constant, biases))
    agree(build, specs, feeds, lambda x, h, c: gru(x, w3, r3, h, *biases), TOLERANCE[dtype] * 8)


def test_recurrent_layers_name_what_does_not_fit() -> None:
    x, state, w, r = ((5, 2, 3), "f32"), ((2, 4), "f32"), ((16, 3), "f32"), ((16, 4), "f32")
    with pytest.raises(ShapeError, match=r"lstm: r is f32\[16, 3\], expected f32\[16, 4\]"):
        built(lambda x, w, h: g.lstm(x, w, w, h, h)[0], [x, w, state])
    with pytest.raises(
        ShapeError, match=r"lstm: x is f32\[2, 4\] and the state f32\[2, 4\], not \[steps, batch, input\]"
    ):
        built(lambda h, w, r: g.lstm(h, w, r, h, h)[0], [state, w, r])
    with pytest.raises(MlcError, match="lstm: the gates 'abcd' are not 'iofc' in some order"):
        built(lambda x, w, r, h: g.lstm(x, w, r, h, h, gates="abcd")[0], [x, w, r, state])
    with pytest.raises(MlcError, match="gru: the candidate is the first or last of the gates, not amid 'zhr'"):
        built(lambda x, w, r, h: g.gru(x, w, r, h, gates="zhr")[0], [x, ((12, 3), "f32"), ((12, 4), "f32"), state])
    with pytest.raises(ShapeError, match=r"gru: lengths are i64\[3\], not one integer for each of 2 rows"):
        built(
            lambda x, w, r, h, n: g.gru(x, w, r, h, lengths=n)[0],
            [x, ((12, 3), "f32"), ((12, 4), "f32"), state, ((3,), "i64")],
        )

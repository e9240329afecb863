"""Attention, positions and blocks of Transformers against NumPy in float64; step after step with a cache as all steps at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc import nn
from tests.nn.calls import check_calls, random


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attended(layer: nn.MultiHeadAttention, query, key, value, keep) -> np.ndarray:
    """keep [batch, length, keys] says which keys are seen."""
    p = {name: np.asarray(x, np.float64) for name, x in layer.named_parameters()}
    size, heads, groups = layer.size, layer.heads, layer.kv_heads
    each = size // heads
    ends = [size, size + groups * each]
    weights, biases = (
        np.split(p["in_proj_weight"], ends),
        np.split(p.get("in_proj_bias", np.zeros(ends[1] + groups * each)), ends),
    )
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), weights, biases, strict=True))
    y = np.zeros((*query.shape[:2], size))
    for b in range(len(q)):
        for h in range(heads):
            of_q = slice(h * each, (h + 1) * each)
            g = h * groups // heads
            of_k = slice(g * each, (g + 1) * each)
            scores = q[b, :, of_q] @ k[b, :, of_k].T / np.sqrt(each)
            y[b, :, of_q] = softmax(np.where(keep[b], scores, -np.inf)) @ v[b, :, of_k]
    return y @ p["out_proj.weight"].T + p.get("out_proj.bias", 0)


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1)]),
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_attention_of_any_sizes(sizes: tuple, heads: tuple, cross: bool, masked: bool, bias: bool) -> None:
    batch, length, keys = sizes
    layer = nn.MultiHeadAttention(2 * heads[0], *heads, bias=bias, dtype="f64")
    for name, parameter in layer.named_parameters():
        parameter.assign(random(parameter.shape, len(name)))
    x, memory = random((batch, length, layer.size)), random((batch, keys, layer.size), 1)
    others = (memory, memory + 1) if cross else (x, x)
    seen = np.random.default_rng(0).random((batch, length, others[0].shape[1])) < 0.6
    seen[..., 0] = True
    keep = seen if masked else np.ones_like(seen)
    expected = attended(layer, x, *others, keep)
    given = others if cross else ()
    found = layer(x, *given, mask=keep[:, None] if masked else None)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9, atol=1e-10)
    added = np.where(keep, 0, -np.inf)[:, None]
    np.testing.assert_allclose(np.asarray(layer(x, *given, mask=added)), expected, rtol=1e-9, atol=1e-10)
    if not cross:
        keep = np.tril(np.ones((length, length), bool)) & (keep if masked else True) | np.eye(length, dtype=bool)
        found = layer(x, mask=keep[:, None] if masked else None, causal=True)
        keep = np.broadcast_to(keep, (batch, length, length))
        np.testing.assert_allclose(np.asarray(found), attended(layer, x, x, x, keep), rtol=1e-9, atol=1e-10)


def test_functions_that_are_one_op_give_a_tensor() -> None:
    x = mlc.Tensor(random((1, 2, 3, 4)))
    for call in (nn.functional.softmax, nn.functional.log_softmax, lambda x: nn.functional.attention(x, x, x)):
        assert isinstance(call(x), mlc.Tensor)


def test_dropout_of_weights_leaves_the_rest_as_it_is() -> None:
    layer, x = nn.MultiHeadAttention(4, 4, 2, dropout=1e-9, dtype="f64"), random((2, 3, 4))
    for options in ({}, {"causal": True}, {"mask": np.tri(3, dtype=bool)}, {"mask": np.tri(3) - 1}):
        found, expected = np.asarray(layer.train()(x, **options)), np.asarray(layer.eval()(x, **options))
        np.testing.assert_allclose(found, expected, rtol=1e-7)
    layer.dropout = nn.Dropout(1.0)
    np.testing.assert_allclose(np.asarray(layer.train()(x)), np.zeros((2, 3, 4)), atol=1e-12)


@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 4), st.booleans())
@settings(max_examples=15, deadline=None)
def test_encodings_of_positions(length: int, start: int, half: int, interleaved: bool) -> None:
    size, x = 2 * half, random((2, length, 2 * half))
    angle = (start + np.arange(length))[:, None] / 100.0 ** (np.arange(half) / half)
    waves = nn.SinusoidalEncoding(size, 8, base=100.0, dtype="f64")
    for first in (start, mlc.Tensor(start)):
        found = np.asarray(waves(x, first)) - x
        np.testing.assert_allclose(found[..., ::2], np.broadcast_to(np.sin(angle), (2, length, half)), atol=1e-12)
        np.testing.assert_allclose(found[..., 1::2], np.broadcast_to(np.cos(angle), (2, length, half)), atol=1e-12)
    rotary = nn.RotaryEncoding(size, 8, base=100.0, interleaved=interleaved, dtype="f64")
    parts = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    turned = (parts[0] + 1j * parts[1]) * np.exp(1j * angle)
    for first in (start, mlc.Tensor(start)):
        found = np.asarray(rotary(x, first))
        parts = (found[..., ::2], found[..., 1::2]) if interleaved else (found[..., :half], found[..., half:])
        np.testing.assert_allclose(parts[0] + 1j * parts[1], turned, atol=1e-12)
    assert list(waves.state_dict()) == list(rotary.state_dict()) == []


def normalized(x: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return y * np.asarray(norm.weight) + np.asarray(norm.bias)


def block_reference(block: nn.Module, x: np.ndarray, memory: np.ndarray | None, keep: np.ndarray) -> np.ndarray:
    def two(x: np.ndarray) -> np.ndarray:
        first, second = block.linear1, block.linear2
        h = np.maximum(x @ np.asarray(first.weight).T + np.asarray(first.bias), 0)
        return h @ np.asarray(second.weight).T + np.asarray(second.bias)

    parts = [lambda x: attended(block.self_attn, x, x, x, keep)]
    if memory is not None:
        seen = np.ones((len(x), x.shape[1], memory.shape[1]), bool)
        parts.append(lambda x: attended(block.multihead_attn, x, memory, memory, seen))
    for number, part in enumerate([*parts, two], 1):
        norm = getattr(block, f"norm{number}")
        x = x + part(normalized(x, norm)) if block.norm_first else normalized(x + part(x), norm)
    return x


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", [nn.TransformerEncoderBlock, nn.TransformerDecoderBlock], ids=lambda k: k.__name__)
def test_blocks(kind, first: bool) -> None:
    block = kind(4, 2, 6, norm_first=first, dtype="f64")
    for name, parameter in block.named_parameters():
        parameter.assign(random(parameter.shape, len(name)))
    x, memory, causal = random((2, 3, 4)), random((2, 5, 4), 1), np.broadcast_to(np.tri(3, dtype=bool), (2, 3, 3))
    cross = kind is nn.TransformerDecoderBlock
    args = (x, memory) if cross else (x,)
    expected = block_reference(block, x, memory if cross else None, causal if cross else np.ones_like(causal))
    if first and cross:
        check_calls(block, expected, *args, tolerance=1e-9)
        parameters, _ = block.values()
        mlc.check_grads(lambda p, x: nn.functional_call(block, p, {}, x, *args[1:])[0], [parameters, x], directions=1)
    else:
        np.testing.assert_allclose(np.asarray(block(*args)), expected, rtol=1e-9, atol=1e-10)


def test_steps_with_a_cache_are_those_of_the_whole_sequence() -> None:
    rotary = nn.RotaryEncoding(4, 16)
    block = nn.TransformerEncoderBlock(8, 2, 8, norm_first=True, kv_heads=1, rotary=rotary)
    x, attention = random((2, 5, 8), dtype="float32"), block.self_attn
    compiled = mlc.jit(attention)
    for module, step in ((block, block), (attention, attention), (attention, compiled)):
        cache, found = attention.empty_cache(2, 6), []
        for begin, end in ((0, 3), (3, 4), (4, 5)):
            y, cache = step(x[:, begin:end], cache=cache)
            found.append(np.asarray(y))
        whole = (compiled if step is compiled else module)(x, causal=True)
        np.testing.assert_allclose(np.concatenate(found, 1), np.asarray(whole), rtol=1e-4, atol=1e-5)
        assert int(cache.length) == 5
    with pytest.raises(mlc.OutOfRange, match=r"MultiHeadAttention 'self_attn': 5 \+ 2 steps in a cache of 6"):
        block(x[:, :2], cache=cache)


def test_one_compilation_serves_every_length() -> None:
    net = nn.Sequential(nn.Embedding(7, 4), nn.SinusoidalEncoding(4), nn.LayerNorm(4), nn.Linear(4, 3))
    call = mlc.jit(lambda ids: net(ids), shapes={"ids": ("N", "T")})
    for shape in ((1, 1), (2, 5)):
        ids = np.random.default_rng(0).integers(0, 7, shape)
        np.testing.assert_allclose(np.asarray(call(ids)), np.asarray(net(ids)), rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_said() -> None:
    x = np.zeros((1, 9, 4), np.float32)
    with pytest.raises(mlc.MlcError, match="a size of 6 does not divide into 4 heads that share 4 keys"):
        nn.MultiHeadAttention(6, 4)
    layer = nn.MultiHeadAttention(6, 2)
    with pytest.raises(
        mlc.ShapeError,
        match=r"MultiHeadAttention: the input of keys is f32\[1, 9, 4\], and must be \[batch, length, 6\]",
    ):
        layer(np.zeros((1, 2, 6), np.float32), x)
    with pytest.raises(mlc.ShapeError, match="MultiHeadAttention: attention"):
        layer(np.zeros((1, 2, 6), np.float32), mask=np.ones((3, 3), bool))
    with pytest.raises(mlc.MlcError, match="causal decides what is computed, and is True or False"):
        mlc.jit(lambda x, causal: layer(x, causal=causal))(np.zeros((1, 2, 6), np.float32), True)
    with pytest.raises(mlc.OutOfRange, match=r"SinusoidalEncoding: positions 0..8, and the table has 8"):
        nn.SinusoidalEncoding(4, 8)(x)
    with pytest.raises(mlc.MlcError, match="a size of 3: sines and cosines come in pairs"):
        nn.RotaryEncoding(3)
    with pytest.raises(mlc.MlcError, match="a mask beside a cache"):
        layer(np.zeros((1, 2, 6), np.float32), mask=np.ones((2, 2), bool), cache=layer.empty_cache(1, 4))
    with pytest.raises(mlc.MlcError, match="an activation is a function, and this is 'gelu'"):
        nn.TransformerEncoderBlock(8, 2, 16, activation="gelu")
    x = mlc.Tensor(np.ones((3, 5, 8), np.float32))
    with pytest.raises(
        mlc.MlcError, match=r"the mask is bool\[3, 5\], and has to broadcast to the scores, \[3, 2, 5, 5\]"
    ) as error:
        nn.MultiHeadAttention(8, 2)(x, mask=np.ones((3, 5), bool))
    assert "mask[:, None, None, :]" in str(error.value) and "test_attention.py" in str(error.value)

"""Normalisation, dropout and embedding against NumPy in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc import nn
from tests.nn.calls import check_calls, random


def normalized(x: np.ndarray, axes: tuple, epsilon: float = 1e-5) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def drawn(module: nn.Module) -> nn.Module:
    """The module with random parameters."""
    module.load_state_dict({n: random(p.shape, k) for k, (n, p) in enumerate(module.named_parameters())}, strict=False)
    return module


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.lists(st.integers(1, 7), min_size=1, max_size=2))
@settings(max_examples=15, deadline=None)
def test_norms_over_the_last_axes(lead: list, shape: list) -> None:
    x, axes = random((*lead, *shape)), tuple(range(len(lead), len(lead) + len(shape)))
    norm = drawn(nn.LayerNorm(shape, dtype="f64"))
    weight, bias = np.asarray(norm.weight), np.asarray(norm.bias)
    np.testing.assert_allclose(np.asarray(norm(x)), normalized(x, axes) * weight + bias, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        np.asarray(nn.LayerNorm(shape, affine=False)(x)), normalized(x, axes), rtol=1e-9, atol=1e-12
    )
    norm = drawn(nn.RMSNorm(shape, dtype="f64"))
    expected = x / np.sqrt((x**2).mean(axes, keepdims=True) + 1e-6) * np.asarray(norm.weight)
    np.testing.assert_allclose(np.asarray(norm(x)), expected, rtol=1e-9, atol=1e-12)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(1, 5), max_size=2))
@settings(max_examples=15, deadline=None)
def test_group_norm(batch: int, groups: int, each: int, spatial: list) -> None:
    x = random((batch, groups * each, *spatial))
    norm = drawn(nn.GroupNorm(groups, groups * each, dtype="f64"))
    y = normalized(x.reshape(batch, groups, -1), (2,)).reshape(x.shape)
    shape = (-1, *[1] * len(spatial))
    expected = y * np.asarray(norm.weight).reshape(shape) + np.asarray(norm.bias).reshape(shape)
    np.testing.assert_allclose(np.asarray(norm(x)), expected, rtol=1e-9, atol=1e-9)


@given(st.integers(2, 5), st.integers(1, 4), st.sampled_from([(), (3,), (2, 3)]), st.sampled_from([0.1, 1.0, None]))
@settings(max_examples=15, deadline=None)
def test_batch_norm_in_training_and_in_use(batch: int, channels: int, spatial: tuple, momentum: float | None) -> None:
    kind = nn.BatchNorm2d if len(spatial) == 2 else nn.BatchNorm1d
    norm = drawn(kind(channels, momentum=momentum, dtype="f64"))
    axes, shape = (0, *range(2, 2 + len(spatial))), (-1, *[1] * len(spatial))
    weight, bias = (np.asarray(p).reshape(shape) for p in (norm.weight, norm.bias))
    mean, variance = np.zeros(channels), np.ones(channels)
    for number in range(2):
        x = 3 * random((batch, channels, *spatial), number) + 1
        np.testing.assert_allclose(np.asarray(norm(x)), normalized(x, axes) * weight + bias, rtol=1e-8, atol=1e-9)
        share = 1 / (number + 1) if momentum is None else momentum
        mean = (1 - share) * mean + share * x.mean(axes)
        variance = (1 - share) * variance + share * x.var(axes, ddof=1)
    np.testing.assert_allclose(np.asarray(norm.running_mean), mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.asarray(norm.running_var), variance, rtol=1e-9)
    assert int(norm.num_batches_tracked) == 2
    norm.eval()
    expected = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-5) * weight + bias
    np.testing.assert_allclose(np.asarray(norm(x)), expected, rtol=1e-8, atol=1e-9)


def test_norms_compile_and_give_new_statistics() -> None:
    net = drawn(nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(3), nn.RMSNorm((2, 3))))
    x = random((3, 4, 2, 3), dtype="float32")
    y = normalized(x.astype(float), (0, 2, 3)) * np.asarray(net[0].weight).reshape(-1, 1, 1)
    y = y + np.asarray(net[0].bias).reshape(-1, 1, 1)
    for layer in list(net)[1:]:
        y = np.asarray(layer(y))
    check_calls(net, y, x, tolerance=1e-4)
    check_calls(net.eval(), np.asarray(net(x)), x, tolerance=1e-4)


def test_gradients_of_norms() -> None:
    net = nn.Sequential(nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm(3), nn.RMSNorm(3)).astype("f64")
    buffers = {name: np.asarray(b) for name, b in net.named_buffers()}
    parameters = {name: random(p.shape, k) for k, (name, p) in enumerate(net.named_parameters())}
    for mode in (True, False):
        net.train(mode)
        mlc.check_grads(
            lambda p, x: nn.functional_call(net, p, buffers, x)[0], [parameters, random((3, 4, 3))], directions=1
        )


def test_dropout_is_the_same_for_a_key_at_once_and_compiled() -> None:
    net, x = nn.Sequential(nn.Dropout(0.25), nn.Dropout(0.25)), np.ones((40, 50), np.float32)
    key = mlc.random.key(5)
    y = np.asarray(nn.functional_call(net, {}, {}, x, key=key)[0])
    assert set(np.unique(y)) == {0, np.float32(16 / 9)}  # the two masks differ
    assert abs((y > 0).mean() - 9 / 16) < 0.05
    check_calls(net, y, x, key=key)
    other = np.asarray(nn.functional_call(net, {}, {}, x, key=mlc.random.key(6))[0])
    assert (other != y).any()
    np.testing.assert_array_equal(np.asarray(net.eval()(x)), x)
    nn.seed(1)
    first, second = np.asarray(net.train()(x)), np.asarray(net(x))
    nn.seed(1)
    np.testing.assert_array_equal(np.asarray(net(x)), first)
    nn.seed(0)
    assert (first != second).any()
    assert not np.asarray(nn.Dropout(1.0)(x)).any()


def test_embedding() -> None:
    table = nn.Embedding(5, 3)
    weight = np.asarray(table.weight)
    for ids in (np.array(4), np.zeros((2, 0), int), np.array([[0, 4], [1, 1]])):
        check_calls(table, weight[ids], ids)
    for wrong in (5, -1):
        with pytest.raises(mlc.OutOfRange, match=rf"Embedding: embedding: x: \[1\] is {wrong}, outside of 0..4"):
            table(np.array([0, wrong]))
        with pytest.raises(mlc.OutOfRange, match=f"is {wrong}, outside of 0..4"):
            mlc.jit(lambda x: table(x))(np.array([0, wrong]))
    grads = mlc.grad(lambda w: (nn.functional_call(table, {"weight": w}, {}, np.array([1, 3, 1]))[0] * 2).sum())(weight)
    np.testing.assert_array_equal(np.asarray(grads), np.array([0, 4, 0, 2, 0])[:, None] * np.ones(3))


class Checkpointed(nn.Module):
    def __init__(self, norm: nn.Module):
        self.norm = norm

    def forward(self, x):
        return mlc.checkpoint(self.norm)(x)


def test_what_does_not_fit_is_said() -> None:
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(mlc.ShapeError, match=r"LayerNorm: x is f32\[2, 3\], and its last axes must be \[4\]"):
        nn.LayerNorm(4)(x)
    with pytest.raises(mlc.ShapeError, match=r"BatchNorm2d: x is f32\[2, 3\], and must have 4 axes"):
        nn.BatchNorm2d(3)(x)
    with pytest.raises(mlc.ShapeError, match=r"BatchNorm1d: x is f32\[2, 3\], and must be \[batch, 4 channels\]"):
        nn.BatchNorm1d(4)(x)
    with pytest.raises(mlc.ShapeError, match="one element per channel has no variance to learn"):
        nn.BatchNorm1d(3)(x[:1])
    with pytest.raises(mlc.MlcError, match="5 channels do not form 2 groups"):
        nn.GroupNorm(2, 5)
    with pytest.raises(mlc.MlcError, match="the random numbers of a traced call come from its key"):
        mlc.jit(lambda x: nn.Dropout()(x))(x)
    inside = Checkpointed(nn.BatchNorm1d(3))
    with pytest.raises(
        mlc.MlcError, match="'num_batches_tracked' is given another value in 'BatchNorm1d', a body of its own"
    ):
        mlc.jit(lambda buffers, x: nn.functional_call(inside, {}, buffers, x))(inside.values()[1], x)
    with pytest.raises(mlc.MlcError, match="the probability 2 is outside of 0 .. 1"):
        nn.Dropout(2)

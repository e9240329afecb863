"""Optimisers around optimisers, and schedules, each against what it stands for written out."""

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import nn
from mlc.errors import MlcError
from mlc.frontends.trace.pytree import leaves_of
from mlc.optim import (
    SGD,
    Accumulate,
    Adam,
    AdamW,
    Averaged,
    Bound,
    ClipByNorm,
    ClipByValue,
    Cosine,
    Groups,
    Muon,
    Nesterov,
    StepDecay,
    Warmup,
)

RNG = np.random.default_rng(0)


def tensors() -> dict:
    return {"w": mnp.asarray(RNG.normal(size=(2, 3))), "b": [mnp.asarray(RNG.normal(size=3))]}


def same(found, wanted) -> None:
    for ours, theirs in zip(leaves_of(found), leaves_of(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_micro_batches_give_one_update_by_their_mean() -> None:
    params, inner = tensors(), Adam(0.1, weight_decay=0.1)
    optimizer = Accumulate(inner, 3)
    state, plain, moved = optimizer.init(params), inner.init(params), params
    for _ in range(2):
        grads = [tensors() for _ in range(3)]
        for number, g in enumerate(grads):
            before = moved
            moved, state = mlc.jit(optimizer.update)(g, state, moved)
            if number < 2:
                same(moved, before)
        mean = {
            "w": sum(g["w"] for g in grads) / 3,
            "b": [sum(g["b"][0] for g in grads) / 3],
        }
        params, plain = inner.update(mean, plain, params)
        same(moved, params)
        same(state["inner"], plain)


def test_the_mean_of_the_parameters_is_kept() -> None:
    params = tensors()
    optimizer = Averaged(SGD(0.1), 0.7)
    state, mean = optimizer.init(params), params["w"].numpy()
    for _ in range(3):
        params, state = optimizer.update(tensors(), state, params)
        mean = 0.7 * mean + 0.3 * params["w"].numpy()
        np.testing.assert_allclose(state["average"]["w"], mean, rtol=1e-12)


def test_gradients_are_clipped_together_or_one_by_one() -> None:
    params = {"w": mnp.zeros(2), "b": mnp.zeros(1)}
    grads = {"w": mnp.array([3.0, 0.0]), "b": mnp.array([-4.0])}
    found, _ = ClipByNorm(SGD(1.0), 1.0).update(grads, SGD(1.0).init(params), params)
    np.testing.assert_allclose(found["w"], [-0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(found["b"], [0.8], rtol=1e-6)
    found, _ = ClipByNorm(SGD(1.0), 6.0).update(grads, SGD(1.0).init(params), params)
    assert found["w"].tolist() == [-3, 0]
    found, _ = ClipByValue(SGD(1.0), 2.0).update(grads, SGD(1.0).init(params), params)
    assert found["w"].tolist() == [-2, 0] and found["b"].tolist() == [2]


def test_parameters_are_bound_to_the_whole() -> None:
    p = mnp.zeros(2)
    optimizer = Bound(ClipByNorm(SGD(1.0), 1.0), [p])
    p.grad = mnp.array([3.0, 4.0])
    optimizer.step()
    np.testing.assert_allclose(p, [-0.6, -0.8], rtol=1e-5)
    with pytest.raises(MlcError, match="ClipByNorm wraps an optimiser, not <SGD"):
        ClipByNorm(SGD([p], lr=1.0), 1.0)


def test_groups_have_optimisers_of_their_own() -> None:
    params = tensors()
    optimizer = Groups({"b.0": SGD(0.5), "*": Nesterov(0.1)})
    state, both = optimizer.init(params), {}
    for name, one in (("w", Nesterov(0.1)), ("b", SGD(0.5))):
        both[name] = (one, one.init(params[name]), params[name])
    for _ in range(3):
        grads = tensors()
        params, state = optimizer.update(grads, state, params)
        for name, (one, own, p) in both.items():
            p, own = one.update(grads[name], own, p)
            both[name] = (one, own, p)
            same(params[name], p)
    same(optimizer.point(state, params)["w"], both["w"][0].point(both["w"][1], params["w"]))
    with pytest.raises(MlcError, match="no group takes the parameter w"):
        Groups({"b*": SGD(0.1)}).init(params)


def test_matrices_and_the_rest_go_apart() -> None:
    params = tensors()
    with pytest.raises(MlcError, match=r"Muon updates matrices, and a parameter is f64\[3\]"):
        Muon().init(params)
    optimizer = Groups({"w": Muon(), "*": AdamW()})
    found, _ = optimizer.update(tensors(), optimizer.init(params), params)
    assert found["w"].shape == (2, 3)


def test_groups_know_the_names_of_a_module() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    step = mlc.train_step(net, "mse", Groups({"0.bias": SGD(0.0), "*.bias": SGD(1.0), "*.weight": Muon(0.1)}))
    x, y = RNG.normal(size=(5, 3)).astype(np.float32), RNG.normal(size=(5, 2)).astype(np.float32)
    step(x, y)
    moved = {name: not np.array_equal(p, dict(net.named_parameters())[name]) for name, p in step.parameters.items()}
    assert moved == {"0.bias": False, "0.weight": True, "2.bias": True, "2.weight": True}


def test_a_step_takes_its_gradient_at_the_point_ahead() -> None:
    """Of p^2 / 2, whose gradient is p."""
    step = mlc.train_step(lambda p: (p["w"] ** 2).sum() / 2, None, Nesterov(0.1, 0.5), {"w": np.array([1.0])})
    p = np.array([1.0])
    v = np.zeros(1)
    for _ in range(4):
        step()
        v = 0.5 * v + 0.1 * (p - 0.5 * v)
        p = p - v
        np.testing.assert_allclose(step.parameters["w"], p, rtol=1e-12)


def test_everything_at_once_is_a_part_of_a_step() -> None:
    """Compiled and at once agree; the rate follows its schedule."""
    optimizer = Averaged(ClipByNorm(Accumulate(AdamW(Warmup(Cosine(0.1, 5, 0.01), 2)), 2), 0.5), 0.9)
    target = RNG.normal(size=(3, 2))
    start = {"w": np.zeros((3, 2))}
    step = mlc.train_step(lambda p: ((p["w"] - target) ** 2).mean(), None, optimizer, start)
    params = {"w": mnp.asarray(start["w"])}
    state = optimizer.init(params)
    for _ in range(6):
        grads = {"w": 2 * (params["w"] - target) / 6}
        params, state = optimizer.update(grads, state, params)
        step()
        np.testing.assert_allclose(step.parameters["w"], params["w"], rtol=1e-10)
        np.testing.assert_allclose(step.optimizer_state["average"]["w"], state["average"]["w"], rtol=1e-10)


def test_a_schedule_counts_updates() -> None:
    rates = [float(StepDecay(1.0, 2, 0.1)(mlc.Tensor(step))) for step in range(5)]
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.01], rtol=1e-12)
    rates = [float(Warmup(StepDecay(1.0, 2, 0.1), 2)(mlc.Tensor(step))) for step in range(6)]
    np.testing.assert_allclose(rates, [0.5, 1, 1, 1, 0.1, 0.1], rtol=1e-12)
    assert float(Cosine(1.0, 4, 0.2)(mlc.Tensor(100))) == pytest.approx(0.2)

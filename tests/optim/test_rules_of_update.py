"""Optimisers against their published formulas in float64, at once and compiled."""

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import MlcError
from mlc.optim import SGD, Accumulate, Adam, AdamW, Averaged, Bound, Groups
from tests.optim.trajectories import CASES, MATRICES, expected, parameters, taken

STEPS = 7


def same(found: list, wanted: list, rtol: float = 1e-12) -> None:
    for step, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], rtol, 1e-13, err_msg=f"{name} after {step + 1} updates")


@pytest.mark.parametrize("name", CASES)
def test_an_optimiser_goes_where_its_formula_goes(name: str) -> None:
    optimizer, rule = CASES[name]
    start = {key: p for key, p in parameters().items() if p.ndim == 2 or name not in MATRICES}
    same(taken(optimizer, STEPS, start), expected(rule, STEPS, start))


def test_a_compiled_update_goes_there_too() -> None:
    optimizer, rule = CASES["Adam with weight decay"]
    same(taken(optimizer, STEPS, parameters(), mlc.jit(optimizer.update)), expected(rule, STEPS, parameters()))


def test_a_rate_may_be_a_function_of_the_number_of_updates() -> None:
    params, rates = {"w": mnp.ones(2, "f64")}, []
    optimizer = SGD(lambda step: 1 / (1 + step))
    state = optimizer.init(params)
    for _ in range(3):
        before = params["w"].numpy()
        params, state = optimizer.update({"w": mnp.ones(2, "f64")}, state, params)
        rates.append((before - params["w"].numpy()).tolist())
    np.testing.assert_allclose(rates, [[1, 1], [1 / 2, 1 / 2], [1 / 3, 1 / 3]], rtol=1e-12)


def test_parameters_keep_their_dtype() -> None:
    for dtype in ("f16", "f32", "f64"):
        params = {"w": mnp.ones((2, 3), dtype), "b": mnp.ones((), "f32")}
        for optimizer in (SGD(0.1, 0.9, 0.5), Adam(0.1), AdamW(lambda step: 0.1 * (step + 1))):
            found, state = optimizer.update(params, optimizer.init(params), params)
            assert found["w"].dtype == params["w"].dtype and found["b"].dtype == np.float32
            kept = np.float32 if dtype == "f16" else params["w"].dtype
            assert all(state[slot]["w"].dtype == kept for slot in optimizer.slots)
            assert state["step"].dtype == np.int64 and int(state["step"]) == 1


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_parameters_of_16_bits_follow_the_formula_to_their_rounding(name: str, dtype: str) -> None:
    optimizer, rule = CASES[name]
    start = {key: p for key, p in parameters().items() if p.ndim == 2 or name not in MATRICES}
    now = {key: mnp.array(p, dtype) for key, p in start.items()}
    update, state = {key: rule(p.numpy().astype("f8")) for key, p in now.items()}, optimizer.init(now)
    wanted = {key: next(u) for key, u in update.items()}
    roundings = 0.0
    for step in range(STEPS):  # gradients of the same numbers, far below what f16 has squares of
        grads = {
            key: mnp.array(np.sin(1.7 * np.arange(p.size).reshape(p.shape) + step + 0.4) * 1e-3, dtype)
            for key, p in start.items()
        }
        now, state = optimizer.update(grads, state, now)
        wanted = {key: update[key].send(grads[key].numpy().astype("f8")) for key in wanted}
        roundings += 2.0 ** (-11 if dtype == "f16" else -8)
        for key, p in now.items():
            assert p.dtype == grads[key].dtype
            scale = np.abs(wanted[key]).max(initial=1.0)
            np.testing.assert_allclose(
                p.numpy().astype("f8"), wanted[key], 0, roundings * scale * 2, err_msg=f"{key} after {step + 1}"
            )


def test_wrappers_count_in_f32_for_parameters_of_16_bits() -> None:
    params = {"w": mnp.full(2, 512.0, "f16")}
    optimizer = Accumulate(SGD(2.0**-12), 2)
    moved, state = params, optimizer.init(params)
    for _ in range(2):  # the sum of both is more than f16 has
        moved, state = optimizer.update({"w": mnp.full(2, 40960.0, "f16")}, state, moved)
    assert moved["w"].tolist() == [502.0, 502.0] and moved["w"].dtype == np.float16
    optimizer = Averaged(SGD(0.0), 0.999)
    state = optimizer.init({"w": mnp.full(2, 511.0, "f16")})
    _, state = optimizer.update(params, state, params)
    np.testing.assert_allclose(state["average"]["w"], np.full(2, 511.001), rtol=1e-7)


def test_options_of_a_compiled_optimiser_stay() -> None:
    inner, free = SGD(0.1), SGD(0.1)
    mlc.train_step(mlc.nn.Linear(2, 2), "mse", Groups({"*": Averaged(inner)}))
    with pytest.raises(MlcError, match=r"lr of SGD\(lr=0.1, .*\) is a constant of a compiled step") as error:
        inner.lr = 0.2
    assert "a schedule" in str(error.value) and "test_rules_of_update.py" in str(error.value)
    free.lr, inner.note = 0.2, "mine"
    assert free.lr == 0.2 and inner.lr == 0.1


def test_a_bound_optimiser_updates_its_parameters_by_their_gradients() -> None:
    for params in ([mnp.ones(3), mnp.ones(2)], iter([mnp.ones(3), mnp.ones(2)])):
        optimizer = SGD(params, lr=0.5)
        assert isinstance(optimizer, Bound)
        first, second = optimizer.params
        first.grad = mnp.full(3, 1.0)
        optimizer.step()
        assert first.tolist() == [0.5] * 3 and second.tolist() == [1.0] * 2
        optimizer.zero_grad()
        optimizer.step()
        assert first.grad is None and first.tolist() == [0.5] * 3


def test_what_does_not_fit_is_refused_in_words() -> None:
    params = {"w": mnp.ones(2)}
    state = Adam().init(params)
    with pytest.raises(MlcError, match="the gradients are not of the structure of the parameters"):
        Adam().update({"v": mnp.ones(2)}, state, params)
    with pytest.raises(MlcError, match="lr is -1, and must be a number of at least 0"):
        SGD(-1)
    with pytest.raises(MlcError, match="beta1 is 1.0, and must be at least 0 and below 1"):
        Adam(betas=(1.0, 0.9))
    with pytest.raises(MlcError, match="betas is 0.9, and must be two numbers"):
        AdamW(betas=0.9)  # type: ignore[arg-type]
    with pytest.raises(MlcError, match="nesterov is True, and must be used with momentum alone"):
        SGD(0.1, nesterov=True)


def test_a_schedule_may_be_asked_for_the_rate_after_a_number_of_updates() -> None:
    for schedule, rate in [
        (mlc.optim.StepDecay(0.1, 10, 0.5), 0.025),
        (mlc.optim.Exponential(0.1, 0.9), 0.1 * 0.9**20),
        (mlc.optim.InverseTime(0.1, 20), 0.05),
        (mlc.optim.Cosine(0.1, 40), 0.05),
        (mlc.optim.Warmup(0.1, 42), 0.05),
    ]:
        np.testing.assert_allclose(np.asarray(schedule(20)), rate, rtol=1e-12)

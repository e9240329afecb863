"""Training steps: against NumPy by hand, at any size of a batch, and what is said where something does not fit."""

import logging

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import MlcError, NoDerivative
from mlc.optim import SGD, Adam

RNG = np.random.default_rng(0)


def model(params, x):
    hidden = mnp.tanh(x @ params["hidden"][0] + params["hidden"][1])
    return hidden @ params["out"]


def squared(prediction, y):
    return ((prediction - y) ** 2).mean()


def parameters(dtype=np.float64) -> dict:
    shapes = {"hidden": [(3, 4), (4,)], "out": (4, 2)}
    make = lambda shape: RNG.normal(size=shape).astype(dtype)
    return {"hidden": [make(s) for s in shapes["hidden"]], "out": make(shapes["out"])}


def batch(rows: int, dtype=np.float64) -> tuple:
    return RNG.normal(size=(rows, 3)).astype(dtype), RNG.normal(size=(rows, 2)).astype(dtype)


def by_hand(params: dict, x, y) -> tuple:
    """Loss and gradients, by the chain rule on paper."""
    hidden = np.tanh(x @ params["hidden"][0] + params["hidden"][1])
    error = hidden @ params["out"] - y
    c = 2 * error / error.size
    d = (c @ params["out"].T) * (1 - hidden**2)
    return (error**2).mean(), {"hidden": [x.T @ d, d.sum(0)], "out": hidden.T @ c}


def test_a_step_is_forward_backward_and_update() -> None:
    params = parameters()
    step = mlc.train_step(model, squared, SGD(0.3, momentum=0.9), params)
    velocity = None
    for rows in (5, 5, 1, 7, 5):
        x, y = batch(rows)
        loss, grads = by_hand(params, x, y)
        np.testing.assert_allclose(float(step(x, y)), loss, rtol=1e-12)
        old = velocity or {"hidden": [0, 0], "out": 0}
        velocity = {
            "hidden": [0.9 * v + g for v, g in zip(old["hidden"], grads["hidden"], strict=True)],
            "out": 0.9 * old["out"] + grads["out"],
        }
        params = {
            "hidden": [p - 0.3 * v for p, v in zip(params["hidden"], velocity["hidden"], strict=True)],
            "out": params["out"] - 0.3 * velocity["out"],
        }
        found = step.parameters
        for got, want in zip([*found["hidden"], found["out"]], [*params["hidden"], params["out"]], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-13)
    assert step.count == 5
    np.testing.assert_allclose(step.evaluate(x), np.tanh(x @ params["hidden"][0] + params["hidden"][1]) @ params["out"])


def test_parameters_lie_in_place() -> None:
    """Each result that follows a part of the state lives in its memory, and none is copied there at the end."""
    step = mlc.train_step(model, squared, Adam(1e-2), parameters())
    step(*batch(4))
    plan = step.executable.plan
    followed = {plan.inputs[source].name for source in plan.aliases.values()}
    assert followed == {spec.name for spec in plan.inputs} - {"x", "y", "key"}


def test_one_compilation_serves_batches_of_every_size() -> None:
    params = parameters()
    apart = mlc.train_step(model, squared, Adam(0.1), params)
    together = mlc.train_step(model, squared, Adam(0.1), params, shapes={"x": ("N", 3), "y": ("N", 2)})
    codes = set()
    for rows in (2, 1, 3):
        x, y = batch(rows)
        np.testing.assert_allclose(float(together(x, y)), float(apart(x, y)), rtol=1e-11)
        codes.add(together.executable)
    assert len(codes) == 1


def test_a_loss_may_bring_more_and_a_model_may_be_its_own_loss() -> None:
    def loss(params, x, y):
        prediction = model(params, x)
        return squared(prediction, y), {"worst": abs(prediction - y).max()}

    step = mlc.train_step(loss, None, SGD(0.1), params := parameters())
    x, y = batch(3)
    value, more = step(x, y)
    assert float(value) == pytest.approx(by_hand(params, x, y)[0])
    assert float(more["worst"]) == pytest.approx(np.abs(model_of(params, x) - y).max())


def model_of(params: dict, x):
    return np.tanh(x @ params["hidden"][0] + params["hidden"][1]) @ params["out"]


def test_a_parameter_without_influence_stays() -> None:
    params = {"used": np.ones(2), "idle": np.ones(3), "none": np.zeros((0, 4))}
    step = mlc.train_step(lambda p, x: (p["used"] * x).sum(), None, SGD(0.5), params)
    step(np.ones(2))
    assert step.parameters["idle"].tolist() == [1, 1, 1] and step.parameters["used"].tolist() == [0.5, 0.5]
    assert step.parameters["none"].shape == (0, 4)


def test_a_key_is_another_in_each_step_and_the_same_again() -> None:
    def noisy(params, key):
        return params["w"].sum() + 0.0 * key[0].astype("f64"), key

    found = []
    for seed in (0, 0, 7):
        step = mlc.train_step(noisy, None, SGD(0.1), {"w": np.ones(2)}, seed=seed)
        found.append([tuple(step()[1].tolist()) for _ in range(3)])
    assert found[0] == found[1] and len({*found[0], *found[2]}) == 6


def test_arguments_may_have_any_names() -> None:
    def loss(params, key_, count, params_, optimizer):
        return (params["w"] * key_).sum() + (count + params_ + optimizer).sum()

    step = mlc.train_step(loss, None, SGD(0.5), {"w": np.ones(2)}, shapes={"optimizer": ("N",)})
    for size in (2, 1):
        step(np.ones(2), np.ones(1), np.ones(1), np.ones(size))
    assert step.parameters["w"].tolist() == [0, 0] and len(step.trace(*[np.ones(2)] * 4).input_names) == 8


def test_a_batch_may_be_given_by_name() -> None:
    (x, y), params = batch(3), parameters()
    first, second = (mlc.train_step(model, squared, SGD(0.1), params) for _ in range(2))
    assert first(x, y).item() == second(y=y, x=x).item() and first(x, y).item() == second(x, y=y).item()
    np.testing.assert_array_equal(first.evaluate(x), second.evaluate(x=x))
    for given, named in (((), {"x": x}), ((x,), {"x": x}), ((x,), {"target": y}), ((x, y), {"y": y})):
        with pytest.raises(MlcError, match="model takes x, y: . by position and (x|y|target) were given"):
            first(*given, **named)


def test_a_batch_of_f64_for_parameters_of_f32_is_told(caplog: pytest.LogCaptureFixture) -> None:
    x, y = batch(3)
    with caplog.at_level(logging.WARNING, "mlc.train"):
        mlc.train_step(model, squared, SGD(0.1), parameters())(x, y)
        mlc.train_step(model, squared, SGD(0.1), parameters(np.float32))(x.astype("f4"), y.astype("f4"))
        assert not caplog.records
        step = mlc.train_step(model, squared, SGD(0.1), parameters(np.float32))
        step(x.astype("f4"), y), step(x.astype("f4"), y)
    assert [record.getMessage().partition(":")[2][:20] for record in caplog.records] == [" y is f64, and the p"]
    assert step.parameters["out"].dtype == np.float32


def test_what_does_not_fit_is_refused_in_words() -> None:
    params = parameters()
    x, y = batch(3)
    with pytest.raises(MlcError, match=r"the loss of model is f64\[3, 2\], and not a tensor of one float") as error:
        mlc.train_step(model, lambda p, y: p - y, SGD(0.1), params)(x, y)
    assert "test_step.py" in str(error.value.file)
    for wrong, shown in ((lambda p, y: None, "None"), (lambda p, y: 1.0, "1.0 of Python"), (lambda p, y: {}, "dict")):
        with pytest.raises(MlcError, match=f"the loss of model is {shown}, and not a tensor of one float"):
            mlc.train_step(model, wrong, SGD(0.1), params)(x, y)
    for wrong in (lambda p, y: (y * y).mean(), lambda p, y: (p > y).astype("f64").mean()):
        with pytest.raises(MlcError, match="the loss of model does not depend on its parameters") as error:
            mlc.train_step(model, wrong, SGD(0.1), params)(x, y)
        assert "test_step.py" in str(error.value.file)
    with pytest.raises(MlcError, match=r"a step of model takes x, y: 1 were given"):
        mlc.train_step(model, squared, SGD(0.1), params)(x)
    with pytest.raises(MlcError, match=r"the parameter n is i64\[2\], and has no gradient"):
        mlc.train_step(lambda p, x: (p["n"] * x).sum(), None, SGD(0.1), {"n": np.arange(2)})
    with pytest.raises(MlcError, match="is no optimiser that can be a part of a step"):
        mlc.train_step(model, squared, SGD([mnp.ones(2)]), params)
    with pytest.raises(MlcError, match=r"params.hidden.0 is float64\[3, 4\], and is given float32\[3, 4\]"):
        mlc.train_step(model, squared, SGD(0.1), params).parameters = parameters(np.float32)
    with pytest.raises(MlcError, match="nothing is compiled before the first step"):
        _ = mlc.train_step(model, squared, SGD(0.1), params).executable
    with pytest.raises(MlcError, match="SGD is a class of optimisers"):
        mlc.train_step(model, squared, SGD, params)
    with pytest.raises(MlcError, match="model has no parameters to train"):
        mlc.train_step(model, squared, SGD(0.1), {"hidden": []})
    with pytest.raises(MlcError, match=r"a batch consists of tensors and numbers, and batch\[1\] is 'mean'"):
        mlc.train_step(lambda p, x, how: (p["out"] * x).sum(), None, SGD(0.1), params)(x, "mean")
    with pytest.raises(
        MlcError, match="<lambda> takes how by name alone, and a step gives what it is given by position"
    ):
        mlc.train_step(lambda p, x, *, how: model(p, x), "mse", SGD(0.1), params)
    with pytest.raises(MlcError, match="the model gives a tuple, and mse_loss takes one tensor") as error:
        mlc.train_step(lambda p, x: (model(p, x), x), "mse", SGD(0.1), params)(x, y)
    assert "test_step.py" in str(error.value.file)
    step = mlc.train_step(model, squared, SGD(0.1), params)
    assert repr(step).startswith("<training step of model: 24 parameters, SGD(lr=0.1")
    with pytest.raises(MlcError, match="a step of model is compiled already, and cannot be a part of"):
        mlc.jit(lambda x, y: step(x, y))(x, y)
    with pytest.raises(NoDerivative, match="while") as error:
        mlc.train_step(doubled_until_large, None, SGD(0.1), {"w": np.ones(2)})()
    assert "test_step.py" in str(error.value)


def doubled_until_large(params):
    return mlc.while_loop(lambda w: w.sum() < 100, lambda w: w * 2, params["w"]).sum()

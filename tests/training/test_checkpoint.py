"""Checkpoints resume bit by bit, and are refused where they are of something else; NaN is traced back to the op that made it."""

import json
from pathlib import Path

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import nn
from mlc.errors import InvalidModel, MlcError
from mlc.frontends.trace.pytree import leaves_of
from mlc.optim import SGD, Adam, Averaged, NAdam

RNG = np.random.default_rng(0)


def noisy(params, x, key):
    kept = mlc.random.bernoulli(key, 0.5, x.shape)
    return mnp.tanh(mnp.where(kept, x, 0) @ params["w"]).sum() * params["scale"]


def step_of(seed: int = 3):
    params = {"w": np.ones((3, 2), np.float32), "scale": np.float32(1)}
    return mlc.train_step(noisy, None, Averaged(NAdam(0.1)), params, seed=seed)


def test_a_checkpoint_resumes_bit_by_bit(tmp_path: Path) -> None:
    batches = [RNG.normal(size=(4, 3)).astype(np.float32) for _ in range(6)]
    whole = step_of()
    losses = [float(whole(x)) for x in batches]
    first = step_of()
    for x in batches[:3]:
        first(x)
    first.save(tmp_path / "a.safetensors")
    second = step_of(seed=0)
    second(batches[5])  # it was somewhere else before
    second.load(tmp_path / "a.safetensors")
    assert second.count == 3
    assert [float(second(x)) for x in batches[3:]] == losses[3:]
    for ours, theirs in zip(
        leaves_of([second.parameters, second.optimizer_state]),
        leaves_of([whole.parameters, whole.optimizer_state]),
        strict=True,
    ):
        assert ours.numpy().tobytes() == theirs.numpy().tobytes()


def test_what_is_in_a_checkpoint_has_plain_names(tmp_path: Path) -> None:
    step = mlc.train_step(nn.Sequential(nn.Linear(2, 1)), "mse", Adam(0.1))
    step.save(tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert {"params.0.weight", "optimizer.mean.0.bias", "optimizer.step", "count", "key"} < header.keys()


def test_a_checkpoint_of_something_else_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    step = step_of()
    step.save(tmp_path / "a.safetensors")
    other = mlc.train_step(noisy, None, SGD(0.1), {"w": np.ones((3, 2), np.float32), "scale": np.float32(1)})
    with pytest.raises(MlcError, match="is of another model or optimiser") as error:
        other.load(tmp_path / "a.safetensors")
    assert "Missing: optimizer.step." in str(error.value.remedy)
    wider = mlc.train_step(
        noisy, None, Averaged(NAdam(0.1)), {"w": np.ones((4, 2), np.float32), "scale": np.float32(1)}
    )
    with pytest.raises(MlcError, match=r"params.w is float32\[3, 2\], and the step has float32\[4, 2\]"):
        wider.load(tmp_path / "a.safetensors")
    assert wider.parameters["w"].shape == (4, 2)
    with pytest.raises(InvalidModel, match="no such file"):
        step.load(tmp_path / "b.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(InvalidModel, match="damaged"):
        step.load(tmp_path / "b.safetensors")


def test_a_nan_is_traced_back_to_its_op() -> None:
    def loss(params, x):
        inside = params["w"] * x
        return mnp.log(inside).sum()

    step = mlc.train_step(loss, None, SGD(0.1), {"w": np.ones(2)}, nan_check=True)
    step(np.ones(2))
    before = step.parameters["w"].numpy()
    with pytest.raises(MlcError, match="the loss has become NaN in step 1: log makes the first one") as error:
        step(-np.ones(2))
    assert f"test_checkpoint.py:{loss.__code__.co_firstlineno + 2}" in str(error.value)
    assert step.parameters["w"].tolist() == before.tolist() and step.count == 1
    with pytest.raises(MlcError, match="the input 'x' has one already"):
        step(np.array([np.nan, 1]))

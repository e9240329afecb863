"""A step as a package goes on as the step itself would."""

from pathlib import Path

import numpy as np

import mlc
from mlc import nn
from mlc.ir import safetensors
from mlc.ir.weights import WeightStore
from mlc.optim import Adam

RNG = np.random.default_rng(0)


def state_in(path: Path) -> dict[str, np.ndarray]:
    store = WeightStore()
    safetensors.add_file(store, path)
    return {key: np.array(store.get(key)) for key in store}


def test_a_package_steps_on_without_the_model(tmp_path: Path) -> None:
    step = mlc.train_step(nn.Sequential(nn.Linear(3, 2)), "mse", Adam(0.1), shapes={"x": ("N", 3), "target": ("N", 2)})
    batches = [
        (RNG.normal(size=(n, 3)).astype(np.float32), RNG.normal(size=(n, 2)).astype(np.float32)) for n in (2, 3, 1)
    ]
    step(*batches[0])
    step.export(tmp_path / "step.mlc", mlc.TensorSpec((2, 3)), mlc.TensorSpec((2, 2)))
    packed = mlc.load_executable(tmp_path / "step.mlc").with_state(initial=state_in(tmp_path / "step.safetensors"))
    assert [spec.name for spec in packed.get_inputs()] == ["x", "target"]
    for x, y in batches[1:]:
        assert packed(x, y).tobytes() == step(x, y).numpy().tobytes()
    np.testing.assert_array_equal(packed.state["params.0.weight"], step.parameters["0.weight"])
    assert packed.state["count"] == 3

"""Optimisers against PyTorch's, step by step in float64, where PyTorch is installed."""

import numpy as np
import pytest

from mlc import optim
from tests.optim.trajectories import gradient, parameters, taken

torch = pytest.importorskip("torch")

STEPS = 12
CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.02}),
    ("Adam", {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.1}),
]


@pytest.mark.parametrize("name, options", CASES)
def test_an_optimiser_goes_where_pytorch_goes(name: str, options: dict) -> None:
    theirs = {key: torch.tensor(value, requires_grad=True) for key, value in parameters().items()}
    other = getattr(torch.optim, name)(theirs.values(), **options)
    for step, ours in enumerate(taken(getattr(optim, name)(**options), STEPS)):
        for p in theirs.values():
            p.grad = torch.from_numpy(np.asarray(gradient(p.detach().numpy(), step)))
        other.step()
        for key, p in theirs.items():
            np.testing.assert_allclose(
                ours[key], p.detach().numpy(), 1e-11, 1e-13, err_msg=f"{key} after {step + 1} updates"
            )

"""Optimisers against PyTorch's, step by step in float64, where PyTorch is installed."""

import numpy as np
import pytest

import mlc
from mlc import optim
from tests.optim.trajectories import gradient, parameters, taken

torch = pytest.importorskip("torch")

STEPS = 12


@pytest.fixture(autouse=True)
def numbers_of_pytorch_in_f64():
    """NAdam's product of momenta has PyTorch's default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.02}),
    ("Adam", {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.1}),
    ("AdaMax", {"weight_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1}),
    ("RAdam", {}),
    ("RAdam", {"betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("AdaGrad", {"lr_decay": 0.1, "weight_decay": 0.1}),
    ("RMSprop", {"weight_decay": 0.1}),
    ("RMSprop", {"alpha": 0.8, "momentum": 0.5, "centered": True, "eps": 1e-3}),
    ("AdaDelta", {"weight_decay": 0.1}),
    ("Rprop", {}),
    ("Adafactor", {"weight_decay": 0.1}),
]
THEIRS = {"AdaMax": "Adamax", "AdaGrad": "Adagrad", "AdaDelta": "Adadelta"}


@pytest.mark.parametrize("name, options", CASES)
def test_an_optimiser_goes_where_pytorch_goes(name: str, options: dict) -> None:
    start = {
        key: p for key, p in parameters().items() if p.size or name != "Adafactor"
    }  # PyTorch's divides by its size
    theirs = {key: torch.tensor(value, requires_grad=True) for key, value in start.items()}
    other = getattr(torch.optim, THEIRS.get(name, name))(theirs.values(), **options)
    for step, ours in enumerate(taken(getattr(optim, name)(**options), STEPS, start)):
        for p in theirs.values():
            p.grad = torch.from_numpy(np.asarray(gradient(p.detach().numpy(), step)))
        other.step()
        for key, p in theirs.items():
            np.testing.assert_allclose(
                ours[key], p.detach().numpy(), 1e-11, 1e-13, err_msg=f"{key} after {step + 1} updates"
            )


SCHEDULES = [
    (optim.StepDecay(0.3, 3, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
    (optim.Exponential(0.3, 0.8), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.8)),
    (optim.Cosine(0.3, 9, 0.1), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 9, 0.1)),
    (optim.InverseTime(0.3, 2), lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t / 2))),
    (optim.Warmup(0.3, 4), lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: min(1, (t + 1) / 4))),
]


@pytest.mark.parametrize("ours, theirs", SCHEDULES)
def test_a_schedule_is_that_of_pytorch(ours, theirs) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = theirs(optimizer)
    for step in range(9):
        assert float(ours(mlc.Tensor(step))) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        schedule.step()


def test_clipping_is_that_of_pytorch() -> None:
    for scale in (1e-3, 1.0, 100.0):
        grads = {name: scale * gradient(p, 1) for name, p in parameters().items()}
        for clip, call in (
            (optim.ClipByNorm(optim.SGD(1.0), 0.7), lambda ps: torch.nn.utils.clip_grad_norm_(ps, 0.7)),
            (optim.ClipByValue(optim.SGD(1.0), 0.2), lambda ps: torch.nn.utils.clip_grad_value_(ps, 0.2)),
        ):
            theirs = {name: torch.zeros(g.shape, dtype=torch.float64) for name, g in grads.items()}
            for name, p in theirs.items():
                p.grad = torch.from_numpy(np.array(grads[name]))
            call(theirs.values())
            for name, found in clip.changed(grads).items():
                np.testing.assert_allclose(found, theirs[name].grad.numpy(), 1e-12)

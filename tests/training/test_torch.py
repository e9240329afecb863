"""Fifty steps of training beside PyTorch's, from equal parameters and on equal batches. PyTorch in float64 is the judge of both.

In float32 the models are smooth. A relu or a max-pool makes a gradient jump where an activation, or the difference of two, is within rounding of 0: whichever
library rounds to the other side is off by 1e-4 from then on, though each single step is right to the last digits. Such models are compared in
float64, in which no activation of these is as near to a kink as rounding is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import mlc
from mlc import nn, optim

torch = pytest.importorskip("torch")

STEPS, ROWS, CLASSES = 50, 16, 5


class Batch(NamedTuple):
    x: np.ndarray
    target: np.ndarray


def batches(shape: tuple[int, ...], dtype: type) -> list[Batch]:
    """Classes that differ in their mean, with noise around it."""
    random = np.random.default_rng(0)
    means = random.normal(size=(CLASSES, *shape))
    found = []
    for _ in range(STEPS):
        labels = random.integers(0, CLASSES, ROWS)
        found.append(Batch((means[labels] + random.normal(size=(ROWS, *shape))).astype(dtype), labels))
    return found


def mlp(layers: Any) -> list[Any]:
    return [layers.Linear(20, 32), layers.Tanh(), layers.Linear(32, 32), layers.GELU(), layers.Linear(32, CLASSES)]


def cnn(layers: Any) -> list[Any]:
    return [
        layers.Conv2d(3, 8, 3, padding=1, bias=False),
        layers.BatchNorm2d(8),
        layers.GELU(),
        layers.AvgPool2d(2),
        layers.Conv2d(8, 16, 3, padding=1),
        layers.Tanh(),
        layers.AvgPool2d(2),
        layers.Flatten(),
        layers.Linear(64, CLASSES),
    ]


def cnn_with_kinks(layers: Any) -> list[Any]:
    return [
        layers.Conv2d(3, 8, 3, padding=1),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Conv2d(8, 16, 3, padding=1),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(64, CLASSES),
    ]


def lstm(layers: Any) -> list[Any]:
    return [layers.LSTM(6, 16, 2, batch_first=True), layers.Linear(16, CLASSES)]


def transformer(layers: Any) -> list[Any]:
    if layers is nn:
        blocks = [nn.TransformerEncoderBlock(16, 4, 32, activation=nn.functional.gelu) for _ in range(2)]
    else:
        blocks = [
            layers.TransformerEncoderLayer(16, 4, 32, dropout=0, activation="gelu", batch_first=True) for _ in range(2)
        ]
    return [layers.Linear(6, 16), *blocks, layers.Linear(16, CLASSES)]


def along(parts: list[Any], x: Any) -> Any:
    """Logits: of the last step in time, where there is one."""
    for part in parts:
        x = part(x)
        x = x[0] if isinstance(x, tuple) else x
    return x[:, -1] if x.ndim == 3 else x


class Ours(nn.Module):
    def __init__(self, parts: list[Any]):
        self.parts = parts

    def forward(self, x: Any) -> Any:
        return along(self.parts, x)


class Model(NamedTuple):
    """Its layers, of PyTorch or ours; the shape of a sample; the learning rate of SGD, of which Adam's is a twentieth."""

    parts: Callable[[Any], list[Any]]
    shape: tuple[int, ...]
    rate: float


MODELS = {
    "mlp": Model(mlp, (20,), 0.05),
    "cnn": Model(cnn, (3, 8, 8), 0.05),
    "lstm": Model(lstm, (7, 6), 0.2),
    "transformer": Model(transformer, (9, 6), 0.05),
    "cnn with kinks": Model(cnn_with_kinks, (3, 8, 8), 0.05),
}
OPTIMIZERS: dict[str, tuple[Callable[[Any, float], Any], Callable[[float], Any]]] = {
    "sgd": (lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9), lambda rate: optim.SGD(rate, momentum=0.9)),
    "adam": (lambda p, rate: torch.optim.Adam(p, lr=rate / 20), lambda rate: optim.Adam(rate / 20)),
}


class Run(NamedTuple):
    losses: np.ndarray
    state: dict[str, np.ndarray]


def with_torch(name: str, optimizer: str, dtype: Any) -> Run:
    """From the parameters of seed 0, as `with_mlc`."""
    model = MODELS[name]
    torch.manual_seed(0)
    parts = torch.nn.ModuleList(model.parts(torch.nn)).to(dtype)
    update, losses = OPTIMIZERS[optimizer][0](parts.parameters(), model.rate), []
    for x, target in batches(model.shape, np.float64 if dtype == torch.float64 else np.float32):
        loss = torch.nn.functional.cross_entropy(along(list(parts), torch.tensor(x)), torch.tensor(target))
        update.zero_grad()
        loss.backward()
        update.step()
        losses.append(loss.item())
    return Run(np.array(losses), {key: value.numpy().astype(float) for key, value in parts.state_dict().items()})


def with_mlc(name: str, optimizer: str, dtype: type) -> Run:
    model = MODELS[name]
    torch.manual_seed(0)
    start = torch.nn.ModuleList(model.parts(torch.nn)).state_dict()
    net = Ours(model.parts(nn)).astype("f64" if dtype is np.float64 else "f32")
    net.load_state_dict(
        {
            f"parts.{key}": value.numpy().astype(dtype if value.is_floating_point() else int)
            for key, value in start.items()
        }
    )
    step = mlc.train_step(net, "cross_entropy", OPTIMIZERS[optimizer][1](model.rate))
    losses = [step(*batch).item() for batch in batches(model.shape, dtype)]
    state = {**step.parameters, **step.buffers}
    return Run(np.array(losses), {key.removeprefix("parts."): np.asarray(value, float) for key, value in state.items()})


def off(found: Run, judge: Run) -> tuple[float, float]:
    """The largest errors: of losses, and of parameters and statistics.

    The biases of keys are left out, the second third of what attention adds to its projections: they move all scores of a row alike, so that their
    gradient is 0 but for rounding, of which Adam makes steps like any other.
    """
    worst = 0.0
    for key, wanted in judge.state.items():
        values = found.state[key]
        if key.endswith("in_proj_bias"):
            third = len(wanted) // 3
            wanted, values = (np.delete(v, np.s_[third : 2 * third]) for v in (wanted, values))
        worst = max(worst, np.abs(values - wanted).max())
    return np.abs(found.losses - judge.losses).max(), worst


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "transformer"])
def test_fifty_steps_in_float32_stay_near_the_exact_ones(name: str, optimizer: str) -> None:
    judge = with_torch(name, optimizer, torch.float64)
    assert judge.losses[-5:].mean() < judge.losses[:5].mean() * 0.8  # there is something to learn
    losses, state = off(with_mlc(name, optimizer, np.float32), judge)
    print(
        f"{name}, {optimizer}: mlc {losses:.1e} {state:.1e}, torch %.1e %.1e"
        % off(with_torch(name, optimizer, torch.float32), judge)
    )
    assert losses < 1e-5 and state < 1e-4


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fifty_steps_of_a_model_with_kinks_in_float64_are_those_of_pytorch(optimizer: str) -> None:
    judge = with_torch("cnn with kinks", optimizer, torch.float64)
    losses, state = off(with_mlc("cnn with kinks", optimizer, np.float64), judge)
    assert losses < 1e-11 and state < 1e-10

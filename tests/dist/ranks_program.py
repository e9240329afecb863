"""What the ranks of a test run: `mpiexec -n 2 python -m mpi4py ranks_program.py SCENARIO FOLDER`. Each rank writes what it found to FOLDER/RANK.json."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc.dist.parallel import digest

BATCH, EPOCHS = 12, 2
RNG = np.random.default_rng(0)
SAMPLES = mlc.data.ArrayDataset(RNG.standard_normal((36, 6)).astype(np.float32), RNG.integers(0, 3, 36))


def model(params, x, key):
    """Two layers; between them the mean over the whole batch is taken away, and some numbers are dropped."""
    hidden = x @ params["w"] + params["b"]
    hidden = hidden - mlc.dist.all_reduce(hidden.sum(0)) / BATCH
    hidden = mnp.where(mlc.random.bernoulli(key, 0.8, hidden.shape), mnp.tanh(hidden), 0)
    return hidden @ params["v"]


def loss(prediction, y):
    """With a penalty on nothing of the batch, and a measure."""
    right = (mnp.argmax(prediction, 1) == y).astype("f32").mean()
    return mlc.nn.cross_entropy(prediction, y), right


def step_of(parallel: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(7)
    shapes = {"w": (6, 20), "b": (20,), "v": (20, 3)}
    params = {name: (rng.standard_normal(shape) / 3).astype(np.float32) for name, shape in shapes.items()}
    optimizer = mlc.optim.ClipByNorm(mlc.optim.Adam(lr=2e-2), 1.0)
    return mlc.train_step(model, loss, optimizer, params, seed=seed, parallel=parallel)


def loader_of(parallel: Any) -> Any:
    return mlc.data.DataLoader(SAMPLES, BATCH, shuffle=True, parallel=parallel)


def run(step: Any, parallel: Any, epochs: int = EPOCHS, loader: Any = None) -> list[list[float]]:
    loader = loader or loader_of(parallel)
    return [[float(x) for x in step(x, y)] for _ in range(epochs) for x, y in loader]


def train(folder: Path) -> dict[str, Any]:
    """Twice with one size of buckets, once with buckets of one gradient, and in one process."""
    found: dict[str, Any] = {}
    for name, size in (("first", 4 << 20), ("again", 4 << 20), ("small", 1)):
        parallel = mlc.dist.data(bucket_bytes=size)
        step = step_of(parallel)
        found[name] = {"losses": run(step, parallel), "state": digest(step._state).hex()}
    alone = mlc.train_step(
        lambda params, x, key: model(params, x, key), loss, mlc.optim.ClipByNorm(mlc.optim.Adam(lr=2e-2), 1.0),
        step_of(None).parameters,
    )  # fmt: skip
    found["alone"] = {"losses": run(alone, None)}
    return found


def save(folder: Path) -> dict[str, Any]:
    """One epoch, a checkpoint, and one more."""
    parallel = mlc.dist.data()
    step, loader = step_of(parallel), loader_of(parallel)
    run(step, parallel, 1, loader)
    step.save(folder / "step.safetensors")
    return {"loader": loader.state_dict(), "losses": run(step, parallel, 1, loader)}


def resume(folder: Path) -> dict[str, Any]:
    parallel = mlc.dist.data()
    step, loader = step_of(parallel, seed=3), loader_of(parallel)
    step.load(folder / "step.safetensors")
    loader.load_state_dict(json.loads((folder / "loader.json").read_text()))
    return {"losses": run(step, parallel, 1, loader)}


def seeds(folder: Path) -> dict[str, Any]:
    """Each rank has a seed of its own."""
    run(step_of(mlc.dist.data(), seed=mlc.dist.rank()), mlc.dist.data())
    return {}


def shapes(folder: Path) -> dict[str, Any]:
    """Each rank has another number of rows."""
    rows = 4 + mlc.dist.rank()
    step_of(mlc.dist.data())(np.zeros((rows, 6), np.float32), np.zeros(rows, np.int64))
    return {}


def error(folder: Path) -> dict[str, Any]:
    """The last rank has an error in the middle of an epoch."""
    step, loader = step_of(mlc.dist.data()), loader_of(mlc.dist.data())
    for number, (x, y) in enumerate(loader):
        if number == 1 and mlc.dist.rank() == mlc.dist.size() - 1:
            raise RuntimeError("no more")
        step(x, y)
    return {}


def killed(folder: Path) -> dict[str, Any]:
    step, loader = step_of(mlc.dist.data()), loader_of(mlc.dist.data())
    for number, (x, y) in enumerate(loader):
        if number == 1 and mlc.dist.rank() == mlc.dist.size() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        step(x, y)
    return {}


def absent(folder: Path) -> dict[str, Any]:
    """The last rank leaves out a step, and is busy for longer than the others wait."""
    step, loader = step_of(mlc.dist.data()), loader_of(mlc.dist.data())
    batches = list(loader)
    step(*batches[0])
    mlc.dist.init("mpi", timeout=1.0)
    if mlc.dist.rank() == mlc.dist.size() - 1:
        time.sleep(60)
    step(*batches[1])
    return {}


if __name__ == "__main__":
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    mlc.dist.init("mpi", timeout=60)
    found = globals()[scenario](folder)
    (folder / f"{mlc.dist.rank()}.json").write_text(json.dumps(found))

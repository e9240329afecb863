"""Whole training steps (forward, backward, update) beside PyTorch: eager, and torch.compile where it has a C++ compiler.

    python -m benchmarks.training                          MLP 784-512-512-10, batch 128, Adam, 1 and 2 threads
    python -m benchmarks.training --models mlp cnn --optimizers sgd adam

All begin with the same parameters and see the same batches. The losses of the first 50 steps are compared with PyTorch's in float64: the largest
difference is a share of the largest loss, and of mlc above --tolerance an error. Then engines are timed in turns in one process; `ratio` is
the best of the others over mlc.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import mlc
from benchmarks.measure import in_turns
from mlc import nn, optim

Step = Callable[[np.ndarray, np.ndarray], float]
CLASSES = 10


def mlp(layers: Any) -> Any:
    return layers.Sequential(
        layers.Linear(784, 512), layers.ReLU(), layers.Linear(512, 512), layers.ReLU(), layers.Linear(512, CLASSES)
    )


def cnn(layers: Any) -> Any:
    return layers.Sequential(
        layers.Conv2d(3, 32, 3, padding=1),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Conv2d(32, 64, 3, padding=1),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(64 * 8 * 8, CLASSES),
    )


MODELS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "mlp": (mlp, (128, 784)),
    "cnn": (cnn, (32, 3, 32, 32)),
}
OPTIMIZERS: dict[str, tuple[Callable[[Any], torch.optim.Optimizer], Callable[[], optim.Optimizer]]] = {
    "sgd": (lambda ps: torch.optim.SGD(ps, lr=0.01, momentum=0.9), lambda: optim.SGD(0.01, momentum=0.9)),
    "adam": (lambda ps: torch.optim.Adam(ps, lr=1e-3), lambda: optim.Adam(1e-3)),
}


def batches(shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Classes that differ in their mean, with noise around it."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(CLASSES, *shape[1:])).astype(np.float32)
    while True:
        labels = rng.integers(0, CLASSES, shape[0])
        yield 0.1 * means[labels] + rng.normal(size=shape).astype(np.float32), labels


def with_mlc(model: str, optimizer: str, threads: int, start: dict[str, np.ndarray]) -> Step:
    net = MODELS[model][0](nn)
    net.load_state_dict(start)
    step = mlc.train_step(net, "cross_entropy", OPTIMIZERS[optimizer][1](), threads=threads)
    return lambda x, y: float(step(x, y))


def with_torch(
    model: str, optimizer: str, start: dict[str, np.ndarray], compiled: bool = False, dtype: torch.dtype = torch.float32
) -> Step:
    net = MODELS[model][0](torch.nn).to(dtype)
    net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in start.items()})
    update = OPTIMIZERS[optimizer][0](net.parameters())

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = torch.nn.functional.cross_entropy(net(x), y)
        update.zero_grad()
        loss.backward()
        update.step()
        return loss

    run = torch.compile(step) if compiled else step
    return lambda x, y: run(torch.from_numpy(x).to(dtype), torch.from_numpy(y)).item()


def compare(model: str, optimizer: str, threads: int, args: argparse.Namespace) -> bool:
    """Print the table of one model; whether the losses agree."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    shape = MODELS[model][1]
    start = {name: p.numpy().copy() for name, p in MODELS[model][0](torch.nn).state_dict().items()}
    steps = {
        "mlc": with_mlc(model, optimizer, threads, start),
        "torch": with_torch(model, optimizer, start),
    }
    if shutil.which("g++") or shutil.which("clang++"):
        steps["torch.compile"] = with_torch(model, optimizer, start, compiled=True)
    exact = with_torch(model, optimizer, start, dtype=torch.float64)
    losses: dict[str, list[float]] = {engine: [] for engine in ("exact", *steps)}
    for (x, y), _ in zip(batches(shape), range(args.steps), strict=False):
        for engine, step in {"exact": exact, **steps}.items():
            losses[engine].append(step(x, y))
    wanted = np.array(losses["exact"])
    differences = {name: np.abs(np.array(losses[name]) - wanted).max() / wanted.max() for name in steps}
    x, y = next(batches(shape))
    times = in_turns({name: lambda step=step: step(x, y) for name, step in steps.items()}, args.rounds, args.seconds)
    best = min(row["median_ms"] for name, row in times.items() if name != "mlc")
    print(f"{model}, {optimizer}, {threads} threads, {args.steps} steps: loss {wanted[0]:.4f} to {wanted[-1]:.4f}")
    for name, row in times.items():
        print(
            f"  {name:14} {row['median_ms']:8.2f} ms   least {row['min_ms']:8.2f}   losses differ by {differences[name]:.1e}"
        )
    print(f"  ratio          {best / times['mlc']['median_ms']:8.2f}", flush=True)
    return bool(differences["mlc"] <= args.tolerance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=["mlp"])
    parser.add_argument("--optimizers", nargs="+", choices=sorted(OPTIMIZERS), default=["adam"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=50, help="whose losses are compared")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="largest difference, as a share of the largest loss"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of an engine's turn")
    args = parser.parse_args()
    cases = [(m, o, t) for m in args.models for o in args.optimizers for t in args.threads]
    results = [compare(*case, args) for case in cases]
    if not all(results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

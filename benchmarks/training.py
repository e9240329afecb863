"""Whole training steps (forward, backward, update) beside PyTorch, eager and by torch.compile where it has a C++ compiler, and JAX where that is installed.

    python -m benchmarks.training                          every network of benchmarks/networks.py, Adam, 1 and 2 threads
    python -m benchmarks.training --networks mlp cnn --optimizers sgd adam
    python -m benchmarks.training --jax-python venv/bin/python      JAX of another environment

All begin with the same parameters and see the same batches. The losses of the first steps are compared with PyTorch's in float64: the largest
difference is a share of the largest loss, and of mlc or JAX above --tolerance, and above twice PyTorch's own in float32, an error. Then engines are timed in
turns, of one thread by its processor time, which leaves out what other programs had of the machine; `ratio` is the best of the others over mlc.
Images are given to PyTorch in both orders of axes. JAX runs in a process of its own, which sleeps while others have their turns.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mlc
from benchmarks.jax_process import JaxSteps, python_with_jax
from benchmarks.measure import alternated, median_turn
from benchmarks.networks import NETWORKS
from benchmarks.run import RESULTS, machine, markdown
from mlc import nn, optim

Step = Callable[[np.ndarray, np.ndarray], float]
PEERS = ("torch", "torch, channels last", "torch.compile", "JAX")
OPTIMIZERS: dict[str, tuple[Callable[[Any], torch.optim.Optimizer], Callable[[], optim.Optimizer]]] = {
    "sgd": (lambda ps: torch.optim.SGD(ps, lr=0.01, momentum=0.9, fused=True), lambda: optim.SGD(0.01, momentum=0.9)),
    "adam": (lambda ps: torch.optim.Adam(ps, lr=1e-3, fused=True), lambda: optim.Adam(1e-3)),
}


def with_mlc(network: str, optimizer: str, threads: int, start: dict[str, np.ndarray]) -> Step:
    net = NETWORKS[network].build(nn)
    net.load_state_dict(start)
    step = mlc.train_step(net, "cross_entropy", OPTIMIZERS[optimizer][1](), threads=threads)
    return lambda x, y: float(step(x, y))


def with_torch(
    network: str,
    optimizer: str,
    start: dict[str, np.ndarray],
    compiled: bool = False,
    dtype: torch.dtype = torch.float32,
    order: torch.memory_format = torch.contiguous_format,
) -> Step:
    net = NETWORKS[network].build(torch.nn)
    net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in start.items()})
    net.to(dtype, memory_format=order)
    update = OPTIMIZERS[optimizer][0](net.parameters())

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = net(x)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten())
        update.zero_grad()
        loss.backward()
        update.step()
        return loss

    run = torch.compile(step) if compiled else step

    def call(x: np.ndarray, y: np.ndarray) -> float:
        given = torch.from_numpy(x)
        given = given.to(dtype, memory_format=order) if given.is_floating_point() else given
        return float(run(given, torch.from_numpy(y)).item())

    return call


def engines(network: str, optimizer: str, threads: int, start: dict[str, np.ndarray]) -> dict[str, Step]:
    images = len(NETWORKS[network].shape) == 4
    found = {"mlc": with_mlc(network, optimizer, threads, start), PEERS[0]: with_torch(network, optimizer, start)}
    if images:
        found[PEERS[1]] = with_torch(network, optimizer, start, order=torch.channels_last)
    if shutil.which("g++") or shutil.which("clang++"):
        order = torch.channels_last if images else torch.contiguous_format
        found[PEERS[2]] = with_torch(network, optimizer, start, compiled=True, order=order)
    return found


def compare(network: str, optimizer: str, threads: int, args: argparse.Namespace) -> tuple[list[str], bool]:
    """The row of one network; whether the losses agree."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    known = NETWORKS[network]
    start = {name: p.numpy().copy() for name, p in known.build(torch.nn).state_dict().items()}
    steps = engines(network, optimizer, threads, start)
    exact = with_torch(network, optimizer, start, dtype=torch.float64)
    losses: dict[str, list[float]] = {engine: [] for engine in ("exact", *steps)}
    batches = list(islice(known.batches(*known.shape), args.steps))
    for x, y in batches:
        for engine, step in {"exact": exact, **steps}.items():
            losses[engine].append(step(x, y))
    x, y = batches[0]
    clock = time.thread_time if threads == 1 else time.perf_counter
    turns = {name: partial(median_turn, partial(step, x, y), clock=clock) for name, step in steps.items()}
    with ExitStack() as stack:
        if python := python_with_jax(args.jax_python):
            jax = stack.enter_context(JaxSteps(python, network, optimizer, threads, start, batches))
            losses[PEERS[3]], turns[PEERS[3]] = jax.losses(), jax.turn
        times = alternated(turns, args.rounds, args.seconds)
    wanted = np.array(losses.pop("exact"))
    differs = {name: float(np.abs(np.array(found) - wanted).max() / wanted.max()) for name, found in losses.items()}
    milliseconds = {name: row["median_ms"] for name, row in times.items()}
    best = min(time for name, time in milliseconds.items() if name != "mlc")
    row = [f"{known.title}, {optimizer}", str(threads)]
    row += [f"{milliseconds[name]:.2f}" if name in milliseconds else "" for name in ("mlc", *PEERS)]
    row += [f"{best / milliseconds['mlc']:.2f}"]
    row += [f"{differs[name]:.1e}" if name in differs else "" for name in ("mlc", PEERS[0], PEERS[3])]
    print(f"{row[0]}, {threads} T, loss {wanted[0]:.4f} to {wanted[-1]:.4f}: {' | '.join(row[2:])}", flush=True)
    most = max(args.tolerance, 2 * differs["torch"])
    return row, all(differs[name] <= most for name in ("mlc", PEERS[3]) if name in differs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=["adam"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=20, help="whose losses are compared")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="largest difference, as a share of the largest loss"
    )
    parser.add_argument(
        "--jax-python", help="an interpreter that has JAX and NumPy; without, this one where it has JAX"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of an engine's turn")
    parser.add_argument("--out", type=Path, default=RESULTS / "training.md", help="where to write the table")
    args = parser.parse_args()
    cases = [(n, o, t) for n in args.networks for o in args.optimizers for t in args.threads]
    rows, agree = zip(*(compare(*case, args) for case in cases), strict=True)
    heads = ["step, ms", "threads", "mlc", *PEERS, "ratio", "loss differs", "torch's differs", "JAX's differs"]
    text = f"{machine()}; load {os.getloadavg()[0]:.1f}. Ratios above 1: faster than the best of the others.\n\n"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text + markdown(heads, list(rows)))
    if not all(agree):
        raise SystemExit("losses differ from PyTorch's in float64")


if __name__ == "__main__":
    main()

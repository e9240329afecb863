"""A step of training on several ranks, one thread each: how long it takes without sums, with buckets of several sizes, with one sum at the end, and by PyTorch.

    mpiexec -n 2 python -m mpi4py -m benchmarks.data_parallel                    an MLP of eight layers of 1024 x 1024, and a CNN
    mpiexec -n 2 python -m mpi4py -m benchmarks.data_parallel --peer             beside torch DDP over gloo

Milliseconds of processes that take turns: rows of the table are measured one after the other, round after round, and the least and the median of
the slowest rank's times are shown. All of it in one machine's memory; a slower network makes more of what overlaps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp

WIDTH, LAYERS = 1024, 8
BUCKETS = {"1 MiB": 1 << 20, "4 MiB": 4 << 20, "16 MiB": 16 << 20, "one at the end": 1 << 40}
TORCH_BUCKETS = (1, 4, 25)  # MB

Step = Callable[[], object]


def mlp_parameters() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (WIDTH, WIDTH)
    return {f"w{n}": (rng.standard_normal(shape) / WIDTH**0.5).astype(np.float32) for n in range(LAYERS)}


def mlp(params: Any, x: Any) -> Any:
    for n in range(LAYERS):
        x = mnp.maximum(x @ params[f"w{n}"], 0)
    return x


def cnn() -> mlc.nn.Module:
    from mlc import nn

    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip


def batch(network: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1 + mlc.dist.rank())
    if network == "mlp":
        return rng.standard_normal((rows, WIDTH)).astype(np.float32), np.zeros((rows, WIDTH), np.float32)
    return rng.standard_normal((rows, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, rows)


def mlc_step(network: str, rows: int, parallel: Any) -> Step:
    options = {"parallel": parallel, "threads": 1}
    sgd = mlc.optim.SGD(1e-3)
    if network == "mlp":
        step = mlc.train_step(mlp, "mse", sgd, mlp_parameters(), **options)
    else:
        mlc.nn.seed(0)
        step = mlc.train_step(cnn(), "cross_entropy", sgd, **options)
    x, y = batch(network, rows)
    return lambda: step(x, y)


def torch_step(network: str, rows: int, megabytes: int | None) -> Step:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if network == "mlp":
        layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH, bias=False), nn.ReLU())]
        model, loss = nn.Sequential(*layers), nn.MSELoss()
    else:
        model, loss = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * 8 * 8, 256), nn.ReLU(), nn.Linear(256, 10),
        ), nn.CrossEntropyLoss()  # fmt: skip
    if megabytes is not None:
        model = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=megabytes, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    x, y = map(torch.from_numpy, batch(network, rows))

    def step() -> None:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()

    return step


def measured(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, of the slowest rank, by turns."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(3):
            step()
    for _ in range(rounds):
        for name, step in steps.items():
            mlc.dist.barrier()
            begin = time.perf_counter()
            step()
            found[name].append(1e3 * _slowest(time.perf_counter() - begin))
    return found


def _slowest(seconds: float) -> float:
    from mpi4py import MPI

    return float(MPI.COMM_WORLD.allreduce(seconds, MPI.MAX))


def _join_torch(folder: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", f"file://{folder}/torch", rank=mlc.dist.rank(), world_size=mlc.dist.size())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="store_true", help="also torch DDP over gloo, where torch is installed")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=64, help="of the batch of each rank")
    parser.add_argument("--network", choices=("mlp", "cnn"), action="append", help="default: both")
    args = parser.parse_args()
    mlc.dist.init("mpi")
    from mpi4py import MPI

    folder = MPI.COMM_WORLD.bcast(tempfile.mkdtemp(prefix="mlc-") if mlc.dist.rank() == 0 else None)
    if hasattr(os, "sched_setaffinity") and mlc.dist.size() <= (os.cpu_count() or 1):
        os.sched_setaffinity(0, {mlc.dist.rank()})
    if args.peer:
        _join_torch(folder)
    for network in args.network or ("mlp", "cnn"):
        steps: dict[str, Step] = {"mlc, no sums": mlc_step(network, args.rows, None)}
        for name, size in BUCKETS.items():
            steps[f"mlc, {name}"] = mlc_step(network, args.rows, mlc.dist.data(bucket_bytes=size))
        if args.peer:
            steps["torch, no sums"] = torch_step(network, args.rows, None)
            for size in TORCH_BUCKETS:
                steps[f"torch DDP, {size} MB"] = torch_step(network, args.rows, size)
        found = measured(steps, args.rounds)
        if mlc.dist.rank() == 0:
            print(f"\n{network}, {args.rows} rows on each of {mlc.dist.size()} ranks: milliseconds, least and median")
            for name, times in found.items():
                print(f"  {name:24} {min(times):8.1f} {statistics.median(times):8.1f}", flush=True)
    if args.peer:
        import torch.distributed as dist

        dist.destroy_process_group()


if __name__ == "__main__":
    main()

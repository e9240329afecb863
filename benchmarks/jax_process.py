"""Steps of training by JAX in a process of its own: XLA takes its number of threads when it starts, and its workers shall not wait in PyTorch's process.

The parent asks by lines on stdin, and reads a line of JSON from stdout for each:

    losses          a step on each batch in turn; their losses
    turn SECONDS    steps on the first batch for so long; the median seconds of one

Of one thread seconds are processor time of the process, of several those of the clock.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np

Batch = tuple[np.ndarray, np.ndarray]


class JaxSteps:
    """The parent's side. `python` is one that has JAX."""

    def __init__(
        self,
        python: str,
        network: str,
        optimizer: str,
        threads: int,
        start: dict[str, np.ndarray],
        batches: Sequence[Batch],
    ):
        self.folder = tempfile.TemporaryDirectory()
        given = Path(self.folder.name) / "given.npz"
        arrays = {f"x{n}": x for n, (x, _) in enumerate(batches)} | {f"y{n}": y for n, (_, y) in enumerate(batches)}
        np.savez(given, **arrays, **{f"start.{name}": value for name, value in start.items()})
        command = [python, "-m", "benchmarks.jax_process", network, optimizer, str(threads), str(given)]
        root = str(Path(__file__).parent.parent)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=root
        )

    def ask(self, line: str) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"JAX ended with status {self.process.wait()}; what it said stands above")
        return json.loads(answer)

    def losses(self) -> list[float]:
        return self.ask("losses")

    def turn(self, seconds: float) -> float:
        return self.ask(f"turn {seconds}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()
        self.folder.cleanup()


def python_with_jax(given: str | None) -> str | None:
    """The interpreter to run JAX with: the one named, or this one where it has JAX."""
    return given or (sys.executable if find_spec("jax") else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, kind in (("network", str), ("optimizer", str), ("threads", int), ("given", Path)):
        parser.add_argument(name, type=kind)
    args = parser.parse_args()
    os.sched_setaffinity(
        0, sorted(os.sched_getaffinity(0))[: args.threads]
    )  # XLA has a worker for each core it may use

    import jax.numpy as jnp

    from benchmarks.jax_networks import step_of
    from benchmarks.measure import median_turn

    with np.load(args.given) as arrays:
        start = {name.removeprefix("start."): arrays[name] for name in arrays if name.startswith("start.")}
        pairs = [(arrays[f"x{n}"], arrays[f"y{n}"]) for n in range(sum(name.startswith("x") for name in arrays))]
    batches = [(jnp.asarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x), jnp.asarray(y)) for x, y in pairs]
    step = step_of(args.network, args.optimizer, start)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    for line in sys.stdin:
        kind, *words = line.split()
        if kind == "losses":
            answer: Any = [float(step(x, y)) for x, y in batches]
        else:
            answer = median_turn(lambda: float(step(*batches[0])), float(words[0]), clock)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

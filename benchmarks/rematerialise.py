"""What a budget of memory saves of a training step, and what it costs: `python -m benchmarks.rematerialise`.

Each step is compiled without a budget and for shares of what it takes then, and exported; a process of its own loads the package, sets the state
and steps. `planned` are the bytes of intermediate results that the plan says, `measured` those that the process grew by at its first step, with the
scratch of threads, which `planned` leaves out, taken off. `more work` is what the plan expects, and `more time` the processor time of steps
over those without a budget. A measured figure off by more than a tenth of the planned one and 2 MiB is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mlc
from benchmarks.memory import MIB, ROUGH
from benchmarks.networks import NETWORKS
from benchmarks.run import RESULTS, machine, markdown
from mlc import nn, optim

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
OFF = 0.1  # of the planned bytes

CHILD = """
import gc, json, sys, time
from pathlib import Path
import numpy as np, mlc
from mlc.ir import safetensors
from mlc.ir.weights import WeightStore

def status(key):
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows[key].split()[0]) << 10

folder, steps = Path(sys.argv[1]), int(sys.argv[2])
store = WeightStore()
safetensors.add_file(store, folder / "step.safetensors")
step = mlc.load_executable(folder / "step.mlc", verify=True).with_state(initial={key: np.array(store.get(key)) for key in store})
batch = [np.load(folder / f"{n}.npy") for n in (0, 1)]
gc.collect()
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
step(*batch)
grown, times = status("VmHWM") - before, []
for _ in range(steps):
    start = time.process_time()
    step(*batch)
    times.append(time.process_time() - start)
use = step.executable.memory_analysis()
print(json.dumps([use.buffers, grown - use.scratch, min(times)]))
"""


def perceptron(**options: Any) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """A step of 32 layers of 512, and a batch."""
    net = nn.Sequential(*(layer for _ in range(32) for layer in (nn.Linear(512, 512), nn.Tanh())))
    x = np.random.default_rng(0).normal(size=(1024, 512)).astype(np.float32)
    return mlc.train_step(net, "mse", optim.SGD(0.01), **options), (x, x)


def transformer(**options: Any) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """The step of benchmarks.training."""
    known = NETWORKS["transformer"]
    return mlc.train_step(known.build(nn), "cross_entropy", optim.Adam(1e-3), **options), next(
        known.batches(*known.shape)
    )


STEPS: dict[str, tuple[str, Callable[..., tuple[Any, tuple[np.ndarray, np.ndarray]]]]] = {
    "mlp": ("32 layers of 512, batch 1024, SGD", perceptron),
    "transformer": ("Transformer, 4 blocks of 256, 8 x 128 tokens, Adam", transformer),
}


@dataclass(frozen=True)
class Measured:
    """Bytes that were planned and that a process grew by, the share of work that the plan adds, and processor seconds of a step."""

    planned: int
    grown: int
    extra: float
    seconds: float

    @property
    def agrees(self) -> bool:
        return abs(self.grown - self.planned) <= max(OFF * self.planned, ROUGH)


def measure(name: str, budget: int | None, steps: int) -> Measured:
    """A step of one thread in a process of its own."""
    step, batch = STEPS[name][1](threads=1, memory_budget=budget)
    with tempfile.TemporaryDirectory() as folder:
        for number, array in enumerate(batch):
            np.save(Path(folder) / f"{number}.npy", array)
        step.export(Path(folder) / "step.mlc", *batch)
        report = mlc.load_executable(Path(folder) / "step.mlc").report.get("memory") or {}
        command = [sys.executable, "-c", CHILD, folder, str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    planned, grown, seconds = json.loads(done.stdout.splitlines()[-1])
    return Measured(planned, grown, report.get("extra", 0.0), seconds)


def rows(name: str, shares: list[float], steps: int) -> tuple[list[list[str]], bool]:
    """Lines of the table of one step; whether all that was measured agrees with what was planned."""
    whole = measure(name, None, steps)
    lines, agree = [], whole.agrees
    for share in (1.0, *shares):
        budget = int(share * whole.planned)
        try:
            found = whole if share == 1 else measure(name, budget, steps)
        except mlc.MlcError as error:
            lines.append([STEPS[name][0], f"{budget / MIB:.1f}", *[""] * 4])
            print(f"{name}: {error}", flush=True)
            break
        agree &= found.agrees
        figures = [f"{bytes / MIB:.1f}" for bytes in (budget, found.planned, found.grown)]
        lines.append([STEPS[name][0], *figures, f"{found.extra:.1%}", f"{found.seconds / whole.seconds - 1:.1%}"])
        print(" | ".join(lines[-1]), flush=True)
    return lines, agree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="which steps of training")
    parser.add_argument(
        "--shares", nargs="+", type=float, default=list(SHARES), help="budgets, of what is needed without"
    )
    parser.add_argument("--repeats", type=int, default=7, help="steps that are timed, of which the quickest counts")
    parser.add_argument("--out", type=Path, default=RESULTS / "rematerialise.md", help="where to write the table")
    args = parser.parse_args()
    found = [rows(name, args.shares, args.repeats) for name in args.steps]
    heads = ["step", "budget, MiB", "planned", "measured", "more work", "more time"]
    text = f"{machine()}; load {os.getloadavg()[0]:.1f}\n\n{markdown(heads, [line for lines, _ in found for line in lines])}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
    if not all(agree for _, agree in found):
        raise SystemExit("what was measured is not what was planned")


if __name__ == "__main__":
    main()

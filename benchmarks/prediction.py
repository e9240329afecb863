"""How long kernels take beside what was predicted: python -m benchmarks.prediction [--model NAME ...]

Every exported model of fixed sizes runs on one thread; a kernel's time is the least of its runs, since whatever disturbs one makes it longer. Of kernels
that are too long to run without a break on a busy machine the time of their thread counts, by a clock that short ones would wait for. A prediction (mlc/insight/prediction.py) is right where it is within a quarter of that. Beside the share of kernels that it is right for stands
the share of the time that these take. Export the models first: python -m benchmarks.models. The table goes to benchmarks/results/<cpu>/.
"""

import argparse
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import mlc
from benchmarks.model_inputs import read
from benchmarks.models import BUILD
from benchmarks.run import RESULTS, machine, markdown
from mlc.codegen.llvm import entry
from mlc.insight.decisions import work_of_calls
from mlc.insight.prediction import core_at_hand, predict
from mlc.runtime.executable import Executable

WITHIN = 1.25
RUNS = 20  # at least
LONG = 50_000  # nanoseconds from which on the time of the thread counts, where that is less
WALL, THREAD = "@clock_gettime(i32 1,", "@clock_gettime(i32 3,"  # of Linux


@dataclass(frozen=True)
class Row:
    """A kernel call; nanoseconds of one turn."""

    kernel: str
    turns: float
    measured: float
    predicted: float | None
    bound: str

    @property
    def ratio(self) -> float:
        return 0.0 if self.predicted is None else self.predicted / self.measured

    @property
    def right(self) -> bool:
        return 1 / WITHIN <= self.ratio <= WITHIN


def compiled(path: Path, clock: str) -> Executable:
    """A model whose kernels are timed by one of the two clocks."""
    before, entry.TIMES = entry.TIMES, entry.TIMES.replace(WALL, clock)
    try:
        made = mlc.compile(path, threads=1, cache=clock == WALL)
    finally:
        entry.TIMES = before
    assert isinstance(made, Executable)
    return made


def measure(path: Path, seconds: float) -> list[Row]:
    """The kernel calls of a model; those for which there is no telling are predicted as None."""
    clocks = {clock: compiled(path, clock) for clock in (WALL, THREAD)}
    executable = clocks[WALL]
    core = core_at_hand(executable.target)
    if core is None:
        raise SystemExit("the rates of this machine are not known: see mlc doctor")
    feeds = read(path.parent)[path.name.split(".")[0]].feeds()
    arrays = [feeds[spec.name] for spec in executable.get_inputs()]
    executable(*arrays)
    least: dict[int, float] = {}
    turns: dict[int, float] = {}
    end, runs = time.perf_counter() + seconds, 0
    while runs < RUNS or time.perf_counter() < end:
        for clock, timed in clocks.items():
            for step in timed.profile(*arrays):
                each = step.nanoseconds / step.turns
                if clock == WALL or each >= LONG:
                    least[step.step] = min(least.get(step.step, each), each)
                turns[step.step] = step.turns
        runs += 1
    work = work_of_calls(executable, [array.shape for array in arrays])
    resident = executable.report["weight_bytes"]
    rows = []
    for number, measured in least.items():
        call, kernel = work[number], executable.plan.steps[number].kernel
        found = None
        if call.cost is not None:
            found = predict(call.cost, core, call.extents, resident, repeated=turns[number] > 1)
        predicted, bound = (None, "") if found is None else (found.nanoseconds, found.bound)
        rows.append(Row(kernel, turns[number], max(measured, 1.0), predicted, bound))
    return rows


def line(name: str, rows: list[Row]) -> list[str]:
    """Of a model: how many kernel calls, for which share of them and of their time the prediction is right, and the sums."""
    spent = sum(row.turns * row.measured for row in rows)
    right = sum(row.turns * row.measured for row in rows if row.right)
    known = [row for row in rows if row.predicted is not None]
    expected = sum(row.turns * (row.predicted or 0.0) for row in known)
    ratios = sorted(row.ratio for row in known) or [0.0]
    bounds = Counter(row.bound for row in known).most_common(2)
    return [
        name,
        str(len(rows)),
        f"{sum(row.right for row in rows) / max(len(rows), 1):.0%}",
        f"{right / max(spent, 1.0):.0%}",
        f"{ratios[len(ratios) // 10]:.2f}, {ratios[len(ratios) // 2]:.2f}, {ratios[9 * len(ratios) // 10]:.2f}",
        f"{expected / 1e6:.2f}",
        f"{spent / 1e6:.2f}",
        ", ".join(f"{bound} {count}" for bound, count in bounds),
    ]


def table(found: dict[str, list[Row]]) -> str:
    heads = [
        "model",
        "kernels",
        "within 25 %",
        "of the time",
        "predicted / measured: p10, median, p90",
        "predicted ms",
        "measured ms",
    ]
    lines = [line(name, rows) for name, rows in found.items()]
    lines.append(line("all", [row for rows in found.values() for row in rows]))
    return markdown([*heads, "bound by"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", metavar="NAME", help="only these, as resnet18")
    parser.add_argument("--folder", type=Path, default=BUILD, help="of the exported models")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of each model, or more for as many runs as are needed"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--kernels", action="store_true", help="print every kernel that is not predicted right")
    args = parser.parse_args()
    paths = [p for p in sorted(args.folder.glob("*.dynamo.onnx")) if ".symbolic." not in p.name]
    paths = [p for p in paths if args.model is None or p.name.split(".")[0] in args.model]
    if not paths:
        raise SystemExit(f"no models in {args.folder}: python -m benchmarks.models writes them")
    found = {}
    for path in paths:
        name = path.name.split(".")[0]
        found[name] = measure(path, args.seconds)
        print("  ".join(line(name, found[name])), flush=True)
        for row in sorted(found[name], key=lambda row: -row.measured) if args.kernels else ():
            if not row.right:
                print(
                    f"    {row.kernel:<22} {row.measured / 1e3:10.1f} us, {row.ratio:.2f} of it predicted, {row.bound}"
                )
    text = f"{machine()}; one thread; load {os.getloadavg()[0]:.1f}\n\n{table(found)}"
    print(text)
    if args.model is None:
        args.results.mkdir(parents=True, exist_ok=True)
        (args.results / "prediction.md").write_text(text)


if __name__ == "__main__":
    main()

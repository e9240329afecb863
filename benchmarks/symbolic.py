"""One native code for every size: results, speed against code for one size, cost of a new size, memory over many sizes.

    python -m benchmarks.symbolic                      five symbolic models, 100 bindings of their miniatures and 5 at full size
    python -m benchmarks.symbolic --model lstm --bindings 20 --large 0 --shapes 1000

agreement   largest error to onnxruntime over random bindings (a past of length 0 included), native compilations after the load
speed       against the module compiled for that one shape, in turns, one thread; the best turn counts, in the thread's own time,
            which leaves out what other programs had of the processor
new sizes   milliseconds to bind sizes that were not met before; microseconds of a call whose kernel takes next to no time
memory      resident after a tenth of some thousands of different shapes, and after all of them

Export first: `python -m benchmarks.models --symbolic`. Miniatures are the same topologies with few channels, from tests/onnx_models.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import mlc
from benchmarks.engines import load_onnxruntime
from benchmarks.model_inputs import Signature, file_name, read
from benchmarks.models import BUILD
from benchmarks.run import RESULTS, TOLERANCE, machine, markdown
from mlc.ir import builder as g
from mlc.runtime.binding import Binder
from mlc.runtime.executable import Executable

MODELS = ("bert", "gpt2_cache", "resnet50", "unet", "lstm")
MINIATURES = Path(__file__).parent.parent / "tests" / "onnx_models"
# Where the speed is compared; other models at the sizes of the fixed export and at random ones.
SIZES: dict[str, list[dict[str, int]]] = {
    "bert": [{"N": 1, "S": 128}, {"N": 1, "S": 37}, {"N": 4, "S": 77}, {"N": 2, "S": 384}],
    "resnet50": [
        {"N": 1, "H": 224, "W": 224},
        {"N": 4, "H": 224, "W": 224},
        {"N": 1, "H": 97, "W": 131},
        {"N": 2, "H": 160, "W": 192},
    ],
}
# Calls are timed on a module without work; what is left is Python, ctypes and one kernel of 20 ns.
TIMED_CALLS, TURNS = 50, 400


def symbolic_file(folder: Path, name: str, signature: Signature) -> Path:
    """The dynamo export, or the legacy one where the dynamo exporter fixes a size."""
    return folder / file_name(name, "legacy" if signature.fixed_in_dynamo else "dynamo", symbolic=True)


def compiled(source: Any, **options: Any) -> Executable:
    executable = mlc.compile(source, **options)
    assert isinstance(executable, Executable)
    return executable


def some_bindings(signature: Signature, count: int) -> list[dict[str, int]]:
    rng = np.random.default_rng(0)
    least = {**signature.sizes, **{symbol: signature.low.get(symbol, 1) for symbol in signature.sizes}}
    return [least, *(signature.random_sizes("legacy", rng) for _ in range(count - 1))]


def agreement(folder: Path, name: str, count: int) -> tuple[float, int]:
    """(largest error relative to the largest reference value, native compilations after the load)."""
    signature = read(folder)[name]
    path = symbolic_file(folder, name, signature)
    executable, reference = compiled(path), load_onnxruntime(path, 1)
    before = executable.native_compilations
    worst = 0.0
    for seed, sizes in enumerate(some_bindings(signature, count)):
        feeds = signature.feeds(sizes, seed)
        for got, want in zip(executable.run(None, feeds), reference(feeds)(), strict=True):
            if got.shape != want.shape:
                raise SystemExit(f"{path.name} at {sizes}: {got.shape}, expected {want.shape}")
            if want.size:
                worst = max(worst, float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30)))
    return worst, executable.native_compilations - before


def relative_speed(path: Path, signature: Signature, sizes: Mapping[str, int], rounds: int) -> tuple[float, float]:
    """(milliseconds with symbolic sizes, speed relative to the module compiled for these sizes alone), 1 thread."""
    feeds = signature.feeds(sizes)
    shapes = {name: array.shape for name, array in feeds.items()}
    both = (compiled(path, threads=1), compiled(path, threads=1, shapes=shapes))
    least = [float("inf")] * 2
    for _ in range(rounds):
        for number, executable in enumerate(both):
            executable.run(None, feeds)
            start = time.thread_time()
            executable.run(None, feeds)
            least[number] = min(least[number], time.thread_time() - start)
    return 1e3 * least[0], least[1] / least[0]


def new_binding(executable: Executable, signature: Signature) -> tuple[int, float]:
    """(buffers of a call, milliseconds to bind sizes not met before): the median."""
    times = []
    binder = Binder(executable.plan, executable.threads)
    for sizes in some_bindings(signature, 60):
        feeds = signature.feeds(sizes)
        shapes = tuple(feeds[spec.name].shape for spec in executable.plan.inputs)
        if shapes in binder.kept:
            continue
        start = time.thread_time()
        binder.bind(shapes)
        times.append(time.thread_time() - start)
    return len(executable.plan.buffers), 1e3 * statistics.median(times)


def call_microseconds(inputs: int) -> tuple[float, float]:
    """Microseconds of a call of (executable(...), executable.run) with that many inputs and next to no work."""
    m = g.module_builder("tiny")
    with m.function(inputs=[(f"x{i}", ("N", 4), "f32") for i in range(inputs)]) as values:
        total = values[0]
        for value in values[1:]:
            total = g.add(total, value)
        m.outputs([("y", g.relu(total))])
    executable = compiled(m.finish(), threads=1)
    arrays = [np.ones((2, 4), np.float32) for _ in range(inputs)]
    named = {f"x{i}": array for i, array in enumerate(arrays)}
    least = [float("inf")] * 2
    for _ in range(TURNS):
        for number, call in enumerate((lambda: executable(*arrays), lambda: executable.run(None, named))):
            start = time.perf_counter()
            for _ in range(TIMED_CALLS):
                call()
            least[number] = min(least[number], 1e6 * (time.perf_counter() - start) / TIMED_CALLS)
    return least[0], least[1]


def memory_over_shapes(name: str, shapes: int) -> tuple[float, float]:
    """(MiB after a tenth of the shapes, MiB after all) of a miniature called at as many different shapes."""
    signature = read(MINIATURES)[name]
    executable = compiled(symbolic_file(MINIATURES, name, signature), threads=1)
    first, second, *_ = signature.symbols("legacy")
    order = np.random.default_rng(0).permutation(shapes)  # so that large ones are among the early
    early = 0.0
    for count, index in enumerate(order):
        sizes = {first: 1 + int(index) // 40, second: 1 + int(index) % 40}
        executable.run(None, signature.feeds(sizes))
        if count == shapes // 10:
            early = _resident_mib()
    return early, _resident_mib()


def _resident_mib() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def agreement_table(models: list[str], folder: Path, small: int, large: int) -> tuple[str, bool]:
    lines, fits = [], True
    for name in models:
        line = [name]
        for where, count in ((MINIATURES, small), (folder, large)):
            error, compilations = agreement(where, name, count) if count else (0.0, 0)
            line += [f"{count}", f"{error:.1e}" if count else "", f"{compilations}" if count else ""]
            fits = fits and error <= TOLERANCE and not compilations
        lines.append(line)
        _tell(line)
    heads = ["model", "bindings, miniature", "error", "compiled", "bindings, full size", "error", "compiled"]
    return markdown(heads, lines), fits


def speed_table(models: list[str], folder: Path, rounds: int) -> str:
    lines = []
    for name in models:
        signature = read(folder)[name]
        path = symbolic_file(folder, name, signature)
        for sizes in SIZES.get(name, [dict(signature.sizes), some_bindings(signature, 2)[1]]):
            milliseconds, relative = relative_speed(path, signature, sizes, rounds)
            text = " ".join(f"{symbol}={size}" for symbol, size in sizes.items())
            lines.append([name, text, f"{milliseconds:.2f}", f"{relative:.2f}"])
            _tell(lines[-1])
    return markdown(["model", "sizes", "ms, 1 T", "relative to one size"], lines)


def binding_table(models: list[str], folder: Path) -> str:
    lines = []
    for name in models:
        signature = read(folder)[name]
        executable = compiled(symbolic_file(folder, name, signature))
        buffers, milliseconds = new_binding(executable, signature)
        lines.append([name, f"{buffers}", f"{milliseconds:.3f}"])
    return markdown(["model", "buffers", "ms per new binding"], lines)


def call_table() -> str:
    lines = [[f"{inputs}", *(f"{each:.2f}" for each in call_microseconds(inputs))] for inputs in (1, 2, 3)]
    return markdown(["inputs", "exe(...), us", "exe.run(None, {...}), us"], lines)


def _tell(line: list[str]) -> None:
    print(" | ".join(line), file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=list(MODELS))
    parser.add_argument("--models", type=Path, default=BUILD, help="folder of exported models")
    parser.add_argument("--bindings", type=int, default=100, help="of each miniature")
    parser.add_argument("--large", type=int, default=5, help="bindings of each model at full size")
    parser.add_argument("--rounds", type=int, default=9, help="turns of the comparison of speed; 0: leave out")
    parser.add_argument("--shapes", type=int, default=10_000, help="different shapes for the memory test; 0: leave out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    args = parser.parse_args()
    answer, fits = agreement_table(args.model, args.models, args.bindings, args.large)
    parts = [f"{machine()}; load {os.getloadavg()[0]:.1f}\n", answer]
    if args.rounds:
        parts.append(speed_table(args.model, args.models, args.rounds))
    parts += [binding_table(args.model, args.models), call_table()]
    if args.shapes:
        early, late = memory_over_shapes("bert", args.shapes)
        counts = f"{args.shapes // 10} and {args.shapes} different shapes"
        parts.append(f"Resident memory, miniature of bert, after {counts}: {early:.1f} and {late:.1f} MiB\n")
    text = "\n".join(parts)
    print(text)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "symbolic.md").write_text(text)
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())

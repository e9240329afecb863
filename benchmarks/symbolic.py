"""One native code for every size: results, speed against code for one size, and memory over many sizes.

    python -m benchmarks.symbolic                      the five symbolic models, 100 bindings each
    python -m benchmarks.symbolic --model lstm --bindings 20 --shapes 1000

Per model: the largest error to onnxruntime over random bindings (a past of length 0 included), native compilations after
the load, and the speed relative to the module compiled for that one shape, in turns. Then the resident memory over
thousands of different shapes of a miniature. Export first: `python -m benchmarks.models --symbolic`.
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import mlc
from benchmarks.engines import load_onnxruntime
from benchmarks.models import BUILD
from benchmarks.signature import Signature, file_name, read

MODELS = ("bert", "gpt2_cache", "resnet50", "unet", "lstm")
MINIATURES = Path(__file__).parent.parent / "tests" / "onnx_models"


def symbolic_file(folder: Path, name: str, signature: Signature) -> Path:
    """The dynamo export, or the legacy one where the dynamo exporter fixes a size."""
    return folder / file_name(name, "legacy" if signature.fixed_in_dynamo else "dynamo", symbolic=True)


def some_bindings(signature: Signature, count: int) -> list[dict[str, int]]:
    rng = np.random.default_rng(0)
    least = {**signature.sizes, **{symbol: signature.low.get(symbol, 1) for symbol in signature.sizes}}
    return [least, *(signature.random_sizes("legacy", rng) for _ in range(count - 1))]


def check(path: Path, signature: Signature, count: int) -> tuple[float, int]:
    """(largest error relative to the largest reference value, native compilations after the load)."""
    executable, reference = mlc.compile(path), load_onnxruntime(path, 2)
    compiled = executable.native_compilations
    worst = 0.0
    for seed, sizes in enumerate(some_bindings(signature, count)):
        feeds = signature.feeds(sizes, seed)
        for got, want in zip(executable.run(None, feeds), reference(feeds)(), strict=True):
            if got.shape != want.shape:
                raise SystemExit(f"{path.name} at {sizes}: {got.shape}, expected {want.shape}")
            if want.size:
                worst = max(worst, float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30)))
    return worst, executable.native_compilations - compiled


def relative_speed(path: Path, signature: Signature, sizes: Mapping[str, int], rounds: int) -> tuple[float, float]:
    """(milliseconds with symbolic sizes, speed relative to the module compiled for these sizes alone), 1 thread."""
    feeds = signature.feeds(sizes)
    shapes = {name: array.shape for name, array in feeds.items()}
    both = (mlc.compile(path, threads=1), mlc.compile(path, threads=1, shapes=shapes))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for executable, spent in zip(both, times, strict=True):
            executable.run(None, feeds)
            start = time.perf_counter()
            executable.run(None, feeds)
            spent.append(time.perf_counter() - start)
    symbolic, fixed = (statistics.median(spent) for spent in times)
    return 1e3 * symbolic, fixed / symbolic


def memory_over_shapes(name: str, shapes: int) -> tuple[float, float]:
    """(MiB after a tenth of the shapes, MiB after all) of a miniature called at as many different shapes."""
    signature = read(MINIATURES)[name]
    executable = mlc.compile(symbolic_file(MINIATURES, name, signature), threads=1)
    first, second, *_ = signature.symbols("legacy")
    early = 0.0
    for index in range(shapes):
        sizes = {first: 1 + index // 40, second: 1 + index % 40}
        executable.run(None, signature.feeds(sizes))
        if index == shapes // 10:
            early = _resident_mib()
    return early, _resident_mib()


def _resident_mib() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=list(MODELS))
    parser.add_argument("--models", type=Path, default=BUILD, help="folder of exported models")
    parser.add_argument("--bindings", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--shapes", type=int, default=10_000, help="different shapes for the memory test; 0: leave out")
    args = parser.parse_args()
    signatures = read(args.models)
    print("| model | bindings | error | compilations after load | sizes | ms | relative to one size |")
    print("| --- | ---: | ---: | ---: | --- | ---: | ---: |")
    for name in args.model:
        signature = signatures[name]
        path = symbolic_file(args.models, name, signature)
        error, compilations = check(path, signature, args.bindings)
        for sizes in (dict(signature.sizes), some_bindings(signature, 2)[1]):
            milliseconds, relative = relative_speed(path, signature, sizes, args.rounds)
            text = " ".join(f"{symbol}={size}" for symbol, size in sizes.items())
            cells = [name, f"{args.bindings}", f"{error:.1e}", f"{compilations}", text, f"{milliseconds:.2f}"]
            print("| " + " | ".join([*cells, f"{relative:.2f}"]) + " |", flush=True)
    if args.shapes:
        early, late = memory_over_shapes("bert", args.shapes)
        print(
            f"\nresident memory of the miniature of bert after {args.shapes // 10} and {args.shapes} shapes:", end=" "
        )
        print(f"{early:.1f} MiB and {late:.1f} MiB")


if __name__ == "__main__":
    main()

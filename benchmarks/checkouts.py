"""Whole models by two checkouts of mlc, side by side: is this one slower than the one before?

    git worktree add ../before REVISION
    python -m benchmarks.checkouts --before ../before
    python -m benchmarks.checkouts --before ../before --model bert resnet50 --threads 1 --rounds 15

Each checkout has a process and a cache of its own; their turns alternate, so that a change of the machine's speed meets both. A row is the
median over rounds of each turn's median, before / now: above 1 is faster than before. Export the models first: `python -m benchmarks.models`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent.parent


def serve() -> None:
    """A measuring process: a line of JSON in, one out. It knows nothing but mlc of the checkout that PYTHONPATH names."""
    import mlc

    run = None
    for line in sys.stdin:
        request = json.loads(line)
        if "model" in request:
            start = time.perf_counter()
            executable = mlc.compile(request["model"], threads=request["threads"])
            seconds = time.perf_counter() - start
            with np.load(request["feeds"]) as file:
                feeds = dict(file)
            outputs = executable.run(None, feeds)
            run = lambda executable=executable, feeds=feeds: executable.run(None, feeds)
            answer = {"compile_s": seconds, "sum": float(sum(np.abs(o.astype(np.float64)).sum() for o in outputs))}
        else:
            assert run is not None
            times, end = [], time.perf_counter() + request["seconds"]
            while not times or time.perf_counter() < end:
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
            answer = {"ms": 1e3 * statistics.median(times)}
        print(json.dumps(answer), flush=True)


class Tree:
    """The measuring process of one checkout."""

    def __init__(self, path: Path, cache: Path):
        environment = {**os.environ, "PYTHONPATH": str(path), "MLC_CACHE_DIR": str(cache)}
        command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # in its folder: processes that it starts with -m look for modules where they are
        self.process = subprocess.Popen(command, env=environment, cwd=path, text=True, **pipes)

    def ask(self, **request: object) -> dict[str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise SystemExit(f"the measuring process ended with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def compare(model: Path, feeds: Path, before: Path, threads: int, rounds: int, seconds: float) -> list[str]:
    """A row of the table."""
    with tempfile.TemporaryDirectory() as cache:
        trees = [Tree(path, Path(cache) / str(number)) for number, path in enumerate((before.resolve(), HERE))]
        try:
            loads = [tree.ask(model=str(model.resolve()), feeds=str(feeds), threads=threads) for tree in trees]
            turns: list[list[float]] = [[], []]
            for number in range(rounds):
                for which in (0, 1) if number % 2 == 0 else (1, 0):
                    time.sleep(0.03)  # workers of the other may still spin
                    turns[which].append(trees[which].ask(seconds=seconds)["ms"])
        finally:
            for tree in trees:
                tree.close()
    ratio = statistics.median(a / b for a, b in zip(*turns, strict=True))
    medians = [f"{statistics.median(times):.2f}" for times in turns]
    compiles = [f"{load['compile_s']:.2f}" for load in loads]
    return [model.name.removesuffix(".onnx"), str(threads), *medians, f"{ratio:.3f}", *compiles]


def main() -> None:
    from benchmarks.model_inputs import read
    from benchmarks.models import BUILD

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--build", type=Path, default=BUILD, help="folder of exported models")
    parser.add_argument("--model", nargs="+", help="names of architectures; all that are exported")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="of one turn")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    signatures = read(options.build)
    paths = [p for p in sorted(options.build.glob("*.dynamo.onnx")) if ".symbolic." not in p.name or "cache" in p.name]
    head = ["model", "threads", "before (ms)", "now (ms)", "before / now", "compile before (s)", "now (s)"]
    lines = [f"| {' | '.join(head)} |", f"| --- {'| ---: ' * (len(head) - 1)}|"]
    print("\n".join(lines), flush=True)
    for path in paths:
        name = path.name.split(".")[0]
        if options.model and name not in options.model:
            continue
        with tempfile.NamedTemporaryFile(suffix=".npz") as feeds:
            np.savez(feeds, **signatures[name].feeds())
            feeds.flush()
            for threads in options.threads:
                row = compare(
                    path, Path(feeds.name), options.before.resolve(), threads, options.rounds, options.seconds
                )
                lines.append(f"| {' | '.join(row)} |")
                print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()

"""Look for programs that mlc compiles wrongly.

    python -m benchmarks.random_programs --minutes 10           as many as fit; a failing one is made small and printed
    python -m benchmarks.random_programs --count 500 --seed 7
    python -m benchmarks.random_programs --guard --count 2000   with pages around every buffer that nobody may touch
    python -m benchmarks.random_programs --program '{...}'      one program, as printed

Each program runs in a worker process, so that a crash or a hang is a result. Exit status 1 if any program failed.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from collections.abc import Iterator

from benchmarks.random_programs.drawing import Program, Unfit, draw, model_of, smaller
from benchmarks.random_programs.worker import Verdict, Worker

FAILED = ("wrong", "internal", "crash", "hang")


def shrink(program: Program, verdict: Verdict, worker: Worker, budget: int = 300) -> tuple[Program, Verdict]:
    """The smallest program found that fails in the same way."""
    progress = True
    while progress and budget > 0:
        progress = False
        for candidate in smaller(program):
            try:
                model_of(candidate)
            except Unfit:
                continue
            budget -= 1
            found = worker.attempt(candidate)
            if found.status == verdict.status:
                program, verdict, progress = candidate, found, True
                break
            if budget <= 0:
                break
    return program, verdict


def programs(seed: int, count: int | None, seconds: float | None) -> Iterator[tuple[int, Program]]:
    end = None if seconds is None else time.monotonic() + seconds
    number = seed
    while (count is None or number < seed + count) and (end is None or time.monotonic() < end):
        yield number, draw(number)
        number += 1


def report(number: int | None, program: Program, verdict: Verdict) -> None:
    import onnx

    name = "this program" if number is None else f"program {number}"
    print(f"\n{name}: {verdict.status}: {verdict.text}")
    print(onnx.printer.to_text(model_of(program)))
    print(f"python -m benchmarks.random_programs --program '{program.text()}'", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help="how many programs")
    parser.add_argument("--minutes", type=float, help="for how long")
    parser.add_argument("--seed", type=int, default=0, help="number of the first program")
    parser.add_argument("--guard", action="store_true", help="put pages that nobody may touch behind every buffer")
    parser.add_argument("--program", help="one program, as it was printed")
    options = parser.parse_args(arguments)
    worker = Worker(options.guard)
    if options.program:
        program = Program.parse(options.program)
        report(None, program, verdict := worker.attempt(program))
        worker.close()
        return int(verdict.status in FAILED)
    count = 500 if options.count is None and options.minutes is None else options.count
    seconds = None if options.minutes is None else 60 * options.minutes
    totals: collections.Counter[str] = collections.Counter()
    refusals: collections.Counter[str] = collections.Counter()
    start = time.monotonic()
    for number, program in programs(options.seed, count, seconds):
        verdict = worker.attempt(program)
        totals[verdict.status] += 1
        if verdict.status == "refused":
            refusals[verdict.text[:110]] += 1
        if verdict.status in FAILED:
            report(number, *shrink(program, verdict, worker))
        if sum(totals.values()) % 500 == 0:
            print(f"{sum(totals.values())} programs: {dict(totals.most_common())}", file=sys.stderr, flush=True)
    worker.close()
    print(f"{sum(totals.values())} programs in {time.monotonic() - start:.0f} s: {dict(totals.most_common())}")
    for text, times in refusals.most_common(20):
        print(f"  {times:5} refused: {text}")
    return int(any(totals[status] for status in FAILED))


if __name__ == "__main__":
    sys.exit(main())

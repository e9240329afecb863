"""Whether compiling, loading and calling leave memory behind: `python -m benchmarks.leaks --count 10000`.

Prints the memory of the process at eleven moments; the last line is what one round of compiling, saving, loading and calling has added to it, from the
fifth moment to the last: before, caches fill and the allocator finds its size, in some hundred rounds, so that a few thousand are
needed. Exit code 1 where it is more than 256 bytes a round.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from pathlib import Path

import numpy as np

import mlc
from mlc.demo import MODEL

ALLOWED = 256  # bytes a round: names that grow by a digit, and pages that the allocator has not returned


def resident() -> int:
    """Bytes of memory that this process alone holds."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) << 10
    raise AssertionError


def round_of(path: Path, compiling: bool) -> None:
    """One model compiled and saved where asked for, loaded and called."""
    if compiling:
        mlc.compile(MODEL, threads=1).save(path)
    exe = mlc.load_executable(path)
    exe(np.zeros((3, 1, 8, 8), np.float32))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--only-load", action="store_true", help="load and call, without compiling")
    args = parser.parse_args()
    moments = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mlc"
        round_of(path, compiling=True)
        for number in range(args.count):
            round_of(path, compiling=not args.only_load)
            if number % max(1, args.count // 10) == 0 or number == args.count - 1:
                gc.collect()
                moments.append((number, resident()))
                print(f"after {number + 1:6} rounds: {moments[-1][1] / 2**20:8.2f} MiB", flush=True)
    (first, before), (last, after) = moments[min(4, len(moments) - 2)], moments[-1]
    slope = (after - before) / (last - first)
    print(f"{slope:.0f} bytes a round")
    return int(slope > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())

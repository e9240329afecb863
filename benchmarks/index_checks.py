"""What testing positions in inputs (token ids) costs of a call: `python -m benchmarks.index_checks [MODEL.onnx ...]`.

The test alone is timed beside whole calls, in turns, at one short and one usual size: the difference of two calls would drown in the noise of the
machine. Without arguments the full-size BERT of `python -m benchmarks.models --model bert --symbolic` is measured. Exit code 1 where the
test takes a hundredth of a call or more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import mlc
from benchmarks.models import BUILD
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.samples import random_inputs
from mlc.runtime.binding import Binder
from mlc.runtime.indices import require_inside

LARGEST_SHARE = 0.01
TESTS = 200  # in one turn, against one call


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", type=Path, default=[BUILD / "bert.symbolic.dynamo.onnx"])
    parser.add_argument("--dim", action="append", metavar="N=1,S=128", help="sizes (N=1,S=8 and N=1,S=128)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--turns", type=int, default=15)
    args = parser.parse_args()
    from mlc.cli.sizes import exactly

    few = True
    for path in args.model:
        module = mlc.load(path)
        exe = mlc.compile(module, threads=args.threads)
        binder = Binder(exe.plan, exe.threads)
        for text in args.dim or ["N=1,S=8", "N=1,S=128"]:
            sizes = sample_binding(module, exactly(text, "--dim"))
            arrays = random_inputs(module, sizes, 0)
            positions = binder.bind(tuple(array.shape for array in arrays)).positions
            exe(*arrays)
            tests, calls = [], []
            for _ in range(args.turns):
                start = time.perf_counter()
                for _ in range(TESTS):
                    require_inside(positions, arrays)
                middle = time.perf_counter()
                exe(*arrays)
                tests.append((middle - start) / TESTS)
                calls.append(time.perf_counter() - middle)
            test, call = statistics.median(tests), statistics.median(calls)
            print(
                f"{path.name}  {text}  {len(positions)} tests of {sum(array.size for array in arrays)} positions: "
                f"{test * 1e6:.1f} us of {call * 1e3:.2f} ms, {test / call:.3%}",
                flush=True,
            )
            few &= test < LARGEST_SHARE * call
    return int(not few)


if __name__ == "__main__":
    sys.exit(main())

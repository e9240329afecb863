"""Check every kernel that the measured architectures have on GPUs: races, bounds, blocks that touch what others write, conflicts of banks.

    python -m benchmarks.cuda_races                        all miniatures of tests/onnx_models
    python -m benchmarks.cuda_races --model bert unet      some

The models are small; their kernels are those of the rules. Kernels of equal text are checked once, as CUDA C that g++ compiles for its sanitizers
(docs/cuda-on-cpu.md). Ends with 1 where something was found, or where a check did not come to its end.
"""

import argparse
import re
import sys
import time
import warnings
from collections import Counter

from tests.onnx_models import PATHS, bindings, signature


def text_of(source: str, kernel: str) -> str:
    """The function in a file, without the numbers of names."""
    found = re.search(rf"__global__ void [^\n]*\b{kernel}\(.*?\n}}\n", source, re.DOTALL)
    assert found is not None, kernel
    return re.sub(r"_\d+", "", found[0])


def main() -> int:
    import mlc
    from mlc.testing import recorded

    names = sorted({path.name.split(".")[0] for path in PATHS})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--exporter", choices=("dynamo", "legacy"), default="dynamo")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    seen: set[str] = set()
    wrong = 0
    print("| model | launches | kernels not seen before | findings | widest conflict of banks | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for path in PATHS:
        name, _, exporter = path.name.split(".")[:3]
        if name not in args.model or exporter != args.exporter:
            continue
        start = time.monotonic()
        exe = mlc.compile(path, target="cuda-on-cpu")
        feeds = signature(path).feeds(bindings(path, count=1)[0])
        launches = recorded(exe, *(feeds[spec.name] for spec in exe.get_inputs()))
        found: Counter[str] = Counter()
        fresh, ways = 0, 0
        for launch in launches:
            text = text_of(launch.module.text, launch.kernel)
            if text in seen:
                continue
            seen.add(text)
            fresh += 1
            accesses = launch.watch()
            ways = max([ways, *(use.ways for use in accesses.shared_uses())])
            if accesses.between_blocks():
                found[f"{launch.kernel}: blocks touch what others write"] += 1
            for report in (launch.check_races(), launch.check_memory()):
                for finding in report.findings or (() if report.clean else ("the check did not come to its end",)):
                    found[f"{launch.kernel}: {finding}"] += 1
        seconds = time.monotonic() - start
        print(f"| {name} | {len(launches)} | {fresh} | {found.total()} | {ways} | {seconds:.0f} |", flush=True)
        for line in found:
            print(f"  {line}", flush=True)
        wrong += found.total()
    print(f"{len(seen)} kernels, {wrong} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Compile ONNX's conformance cases for GPUs, and count. Needs a compiler of CUDA C, and neither a driver nor a GPU.

    python -m benchmarks.cuda_suite                                    the cases that pass on a CPU
    python -m benchmarks.cuda_suite --filter '^test_conv' --jobs 4
    python -m benchmarks.cuda_suite --start 500 --count 250            a part of them: several such runs make one

A case counts where CUDA C of all its kernels is made and compiled, and no kernel spills registers. Kernels of equal text are compiled once, many
in a file. Models that are compiled at their first call (ranks or sequences that the call decides) are compiled for the case's own inputs; what they
compute is the matter of `python -m benchmarks.onnx_suite --backend cuda-on-cpu --list benchmarks/conformance/cuda_sample.txt`.
"""

import argparse
import multiprocessing
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.conformance.backends import import_package
from benchmarks.conformance.suite import Case, feeds, load_cases

PASSING = Path(__file__).parent / "conformance" / "passing.txt"
TOGETHER = 60  # kernels of a file
cases: list[Case] = []  # what forked workers share


def kernels_of(number: int) -> tuple[int, list[str], str]:
    """A case's number, the texts of its kernels, and why there are none."""
    import mlc
    from mlc.codegen.cuda import cuda_generator
    from mlc.codegen.cuda.compiled import Compiled
    from mlc.codegen.cuda.source_files import Sources, sources
    from mlc.errors import TargetUnavailable

    found: dict[str, None] = {}

    def recorded(*arguments: Any) -> Sources:
        made = sources(*arguments)
        found.update(dict.fromkeys(made.texts.values()))
        return made

    def nothing(generator: object, texts: Sequence[str], *_: Any) -> list[Compiled]:
        return [Compiled({}, {}) for _ in texts]

    model, data = cases[number].load()
    with (
        mock.patch.object(cuda_generator, "sources", recorded),
        mock.patch.object(cuda_generator.CudaGenerator, "machine_code", nothing),
    ):
        try:
            exe = mlc.compile(model, target="cuda", cache=False)
            if not found:
                exe.run(None, feeds(model, data[0][0]))
        except TargetUnavailable:
            pass  # there is no GPU to run it
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this case's result
            return number, [], f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return number, list(found), ""


def renamed(text: str, number: int) -> str:
    """A kernel with names of its own, so that many go into one file."""
    symbols = dict.fromkeys(re.findall(r"__global__ void (?:__launch_bounds__\([\d, ]+\) )?(\w+)\(", text))
    symbols |= dict.fromkeys(re.findall(r"__forceinline__ void (\w+)\(", text))
    return re.sub(rf"\b({'|'.join(map(re.escape, symbols))})\b", rf"k{number}_\1", text) if symbols else text


def refused(texts: Sequence[str], numbers: Sequence[int], arch: str) -> Iterator[tuple[int, str]]:
    """The numbers of kernels that the compiler does not take or that spill, as mlc builds them, and what it says. Halves of a file are looked
    at apart."""
    from mlc.codegen.cuda.cuda_generator import without_tight_bounds
    from mlc.codegen.cuda.machine_code import compile_files
    from mlc.codegen.cuda.source_files import file_text
    from mlc.errors import InternalError
    from mlc.ir.kernel.cuda_target import cuda_target

    file = file_text([renamed(texts[n], n) for n in numbers], cuda_target(arch))
    try:
        (code,) = compile_files([file], (arch,), "flush", None)
        if (looser := without_tight_bounds(file, code.resources)) != file:
            (code,) = compile_files([looser], (arch,), "flush", None)
    except InternalError as error:
        if len(numbers) == 1:
            yield numbers[0], str(error)
            return
        half = len(numbers) // 2
        yield from refused(texts, numbers[:half], arch)
        yield from refused(texts, numbers[half:], arch)
        return
    for symbol, by_arch in code.resources.items():
        for taken in by_arch.values():
            if taken.spills:
                yield int(symbol[1:].partition("_")[0]), f"{symbol}: {taken}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, default=PASSING, help="file of cases, one name per line")
    parser.add_argument("--filter", default="", help="regular expression on the case's name")
    parser.add_argument("--start", type=int, default=0, help="number of the first case of those")
    parser.add_argument("--count", type=int, help="how many of them; all behind the first where it is left out")
    parser.add_argument("--arch", default="sm_80")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    wanted = set(args.list.read_text().split())
    chosen = [case for case in load_cases() if case.name in wanted and re.search(args.filter, case.name)]
    if args.start < 0 or (args.count is not None and args.count < 1):
        parser.error(f"--start {args.start} --count {args.count}: the cases are numbered from 0 to {len(chosen) - 1}")
    cases.extend(chosen[args.start :][: args.count])
    import_package("mlc")  # workers share it
    users: dict[str, list[int]] = {}  # text -> the cases that have it
    wrong: dict[int, str] = {}
    with multiprocessing.get_context("fork").Pool(args.jobs, maxtasksperchild=200) as pool:
        for number, texts, why in pool.imap_unordered(kernels_of, range(len(cases))):
            for text in texts:
                users.setdefault(text, []).append(number)
            if why:
                wrong[number] = why
    print(f"{len(cases)} cases, {len(cases) - len(wrong)} become CUDA C: {len(users)} kernels", flush=True)
    texts = list(users)
    files = [range(first, min(first + TOGETHER, len(texts))) for first in range(0, len(texts), TOGETHER)]
    with ThreadPoolExecutor(args.jobs) as threads:
        for found in threads.map(lambda numbers: list(refused(texts, numbers, args.arch)), files):
            for kernel, why in found:
                wrong |= dict.fromkeys(users[texts[kernel]], why)
    for number, why in sorted(wrong.items()):
        print(f"{cases[number].name}: {why}")
    print(f"{len(cases) - len(wrong)} of {len(cases)} cases compile for {args.arch}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Every form that a compiled model can take gives the same answer: the executable, its package, its C library.

    python -m benchmarks.artifacts                       every exported model with fixed sizes
    python -m benchmarks.artifacts --model bert lstm --exporter legacy --symbolic

Per model: the largest error to onnxruntime relative to the largest reference value, whether the package loaded again and a
C program (call_library.c) that runs the library give the very bytes of the executable, and the size of both. Export first:
`python -m benchmarks.models`. Exit status 1 if one differs, or is off by more than 1e-3.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import mlc
from benchmarks.engines import load_onnxruntime
from benchmarks.measure import relative_error
from benchmarks.model_inputs import EXPORTERS, file_name, read
from benchmarks.models import BUILD
from benchmarks.run import RESULTS, TOLERANCE, machine, markdown
from mlc.runtime.binding import Solver
from mlc.runtime.executable import Executable

DRIVER = Path(__file__).parent / "call_library.c"
HEADS = ["model", "error", "package", "C program", "package (MiB)", "library (MiB)", "compile (s)", "load (s)"]


class DriverFailed(Exception):
    """The C program could not be built, or ended with another status than 0."""


def same_bytes(got: list[np.ndarray], want: list[np.ndarray]) -> bool:
    return all(g.shape == w.shape and g.tobytes() == w.tobytes() for g, w in zip(got, want, strict=True))


def through_package(executable: Executable, feeds: dict[str, np.ndarray], path: Path) -> tuple[list[np.ndarray], float]:
    """(outputs of the executable saved to `path` and loaded again, seconds of the load)."""
    executable.save(path)
    start = time.perf_counter()
    again = mlc.load_executable(path, threads=executable.threads)
    seconds = time.perf_counter() - start
    return again.run(None, feeds), seconds


def through_c(
    executable: Executable, feeds: dict[str, np.ndarray], like: list[np.ndarray], work: Path
) -> list[np.ndarray]:
    """Outputs of a C program, linked with the exported library, that reads its inputs from files. `like` gives shapes and dtypes."""
    executable.export_library(work / "libmodel.so", header=work / "model.h")
    options = [
        "-O1",
        "-Wall",
        "-Werror",
        f"-I{work}",
        "-o",
        work / "call",
        DRIVER,
        f"-L{work}",
        "-lmodel",
        "-Wl,-rpath,$ORIGIN",
    ]
    _command(["cc", *map(str, options)])
    inputs = []
    for number, spec in enumerate(executable.plan.inputs):
        inputs.append(work / f"input{number}")
        inputs[-1].write_bytes(np.ascontiguousarray(feeds[spec.name]).tobytes())
    shapes = tuple(feeds[spec.name].shape for spec in executable.plan.inputs)
    solver = Solver(executable.plan.inputs, executable.plan)
    sizes = solver.solve(shapes)
    outputs = [work / f"output{number}" for number in range(len(like))]
    words: list[Any] = [
        work / "call",
        executable.threads,
        *(sizes[name] for name in solver.symbols),
        "--",
        *inputs,
        "--",
    ]
    for path, array in zip(outputs, like, strict=True):
        words += [path, array.nbytes]
    _command([str(word) for word in words])
    read_back = zip(outputs, like, strict=True)
    return [np.frombuffer(path.read_bytes(), array.dtype).reshape(array.shape) for path, array in read_back]


def _command(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DriverFailed(f"{Path(words[0]).name} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")


def check(path: Path, threads: int) -> dict[str, Any]:
    """One model, all forms."""
    feeds = read(path.parent)[path.name.split(".")[0]].feeds()
    start = time.perf_counter()
    executable = mlc.compile(path, threads=threads)
    if not isinstance(executable, Executable):
        raise SystemExit(f"{path.name} has shapes that values decide: it is compiled at each call")
    row: dict[str, Any] = {"compile_s": time.perf_counter() - start}
    here = executable.run(None, feeds)
    row["error"] = relative_error(here, load_onnxruntime(path, threads)(feeds)())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        again, row["load_s"] = through_package(executable, feeds, work / "model.mlc")
        row["package_same"], row["package_bytes"] = same_bytes(again, here), (work / "model.mlc").stat().st_size
        del again
        if shutil.which("cc") is None:
            row["c_same"] = None
            return row
        row["c_same"] = same_bytes(through_c(executable, feeds, here, work), here)
        row["library_bytes"] = (work / "libmodel.so").stat().st_size
    return row


def cells(row: dict[str, Any]) -> list[str]:
    if "failed" in row:
        return [row["model"], row["failed"], *[""] * (len(HEADS) - 2)]
    words = {True: "same bytes", False: "DIFFERS", None: "no cc"}
    sizes = [f"{row.get(key, 0) / 2**20:.1f}" for key in ("package_bytes", "library_bytes")]
    times = [f"{row[key]:.2f}" for key in ("compile_s", "load_s")]
    return [row["model"], f"{row['error']:.1e}", words[row["package_same"]], words[row["c_same"]], *sizes, *times]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", metavar="NAME")
    parser.add_argument("--models", type=Path, default=BUILD, help="folder of exported models")
    parser.add_argument("--exporter", choices=EXPORTERS, default="dynamo")
    parser.add_argument("--symbolic", action="store_true", help="the exports with symbolic sizes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(check(args.one, args.threads)))
        return 0
    rows, bad = [], 0
    for name in args.model or list(read(args.models)):
        path = args.models / file_name(name, args.exporter, args.symbolic)
        if not path.exists():
            continue
        row = _apart(path, args.threads)
        bad += "failed" in row or row["error"] > TOLERANCE or not row["package_same"] or row["c_same"] is False
        rows.append(row)
        print(" | ".join(cells(row)), flush=True)
    table = f"{machine()}; {args.threads} threads\n\n" + markdown(HEADS, [cells(row) for row in rows])
    args.results.mkdir(parents=True, exist_ok=True)
    stem = f"artifacts{'_symbolic' if args.symbolic else ''}{'' if args.exporter == 'dynamo' else '_' + args.exporter}"
    (args.results / f"{stem}.md").write_text(table)
    (args.results / f"{stem}.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{len(rows) - bad} of {len(rows)} models agree in every form")
    return 1 if bad else 0


def _apart(path: Path, threads: int) -> dict[str, Any]:
    """`check` in a process of its own, so that a crash is a row of the table and memory is given back."""
    command = [sys.executable, "-m", "benchmarks.artifacts", "--one", str(path), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row: dict[str, Any] = {"model": path.name.removesuffix(".onnx")}
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return row | {"failed": " ".join(said[-1:])[-200:] or f"exit status {done.returncode}"}
    return row | json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())

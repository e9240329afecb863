"""Time of the first things a user meets: `import mlc`, `mlc --help`, and whole commands that compile, with a cold and a warm cache.

    python -m benchmarks.startup                       of every exported model and a step of training; writes results/<cpu>/startup.md
    python -m benchmarks.startup --model resnet18.dynamo bert.dynamo

Cold is an empty cache; warm the same command again. "s" is the time of the whole command, which grows with whatever else the machine does;
"CPU s" is the processor time that it and its forks took, in parallel where they are several. The bytecode of all modules is there, as where mlc
is installed, also where this process was told to write none.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlc
from benchmarks.models import BUILD
from benchmarks.run import RESULTS
from mlc.demo import MODEL

COMMANDS = {
    "python (nothing imported)": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import mlc": ["-c", "import mlc"],
    "mlc --help": ["-m", "mlc", "--help"],
    "what a warm `mlc compile` imports": ["-c", "import mlc.cli.compile, mlc.compilation_cache, mlc.runtime.package"],
    "import mlc.compiler": ["-c", "import mlc.compiler"],
}
STAGES = ("import", "trace", "optimise", "codegen", "link")
LAYERS, WIDTH, WORDS = 12, 256, 1000


@dataclass
class Run:
    """One command: seconds by the clock and of processors, the largest resident memory, and what it printed."""

    seconds: float
    processor: float
    mebibytes: float
    said: str

    @property
    def stages(self) -> dict[str, float]:
        return json.loads(self.said.splitlines()[-1])["seconds"]


def with_bytecode(folder: str) -> None:
    """Have the commands keep bytecode in a folder, and put it there: of mlc, and of the libraries that compiling imports."""
    os.environ["PYTHONPYCACHEPREFIX"] = folder
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    run(["-m", "compileall", "-q", str(Path(mlc.__file__).parent)])
    with tempfile.TemporaryDirectory() as cache:
        run(["-m", "mlc", "compile", str(MODEL), "-q", "-o", f"{cache}/m.mlc"], Path(cache))


def run(arguments: list[str], cache: Path | None = None) -> Run:
    environment = os.environ | ({} if cache is None else {"MLC_CACHE_DIR": str(cache)})
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            assert process.stderr is not None
            raise SystemExit(f"{' '.join(arguments)}: {process.stderr.read()[-500:]}")
    return Run(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, said)


def step() -> None:
    """Trace, compile and run one step of training of a Transformer; prints the seconds of its stages as the command does."""
    import numpy as np

    from mlc import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS, WIDTH)
            blocks = [nn.TransformerEncoderBlock(WIDTH, 8, 4 * WIDTH, norm_first=True) for _ in range(LAYERS)]
            self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(WIDTH, WORDS)

        def forward(self, x: Any) -> Any:
            return self.head(self.blocks(self.words(x)))

    made = mlc.train_step(Network(), "cross_entropy", mlc.optim.Adam(lr=1e-3), threads=1)
    words = np.zeros((1, 16), np.int64)
    start = time.perf_counter()
    made(words, words)
    took, seconds = time.perf_counter() - start, made.executable.report["seconds"]
    print(json.dumps({"seconds": {"trace": took - sum(seconds.values()), **seconds}}))


def row(name: str, arguments: list[str], file: Path | None, rounds: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        cold = run(arguments, Path(folder))
        warm = [run(arguments, Path(folder)) for _ in range(rounds)]
    size = "" if file is None else f"{file.stat().st_size / 2**20:.0f}"
    stages = " | ".join(f"{cold.stages[stage]:.2f}" if stage in cold.stages else "" for stage in STAGES)
    best = min(warm, key=lambda each: each.processor)
    return (
        f"| {name} | {size} | {cold.seconds:.2f} | {cold.processor:.2f} | {stages} | {cold.mebibytes:.0f} "
        f"| {min(each.seconds for each in warm):.2f} | {best.processor:.2f} | {best.mebibytes:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", nargs="+", help="files of --models, without .onnx; step: that of training")
    parser.add_argument("--models", type=Path, default=BUILD)
    parser.add_argument("--output", type=Path, help="where the table goes that --model chooses the rows of")
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        step()
        return
    with tempfile.TemporaryDirectory() as bytecode:
        with_bytecode(bytecode)
        measure(args)


def measure(args: argparse.Namespace) -> None:
    lines = ["| what | median s | least s | least CPU s |", "| --- | ---: | ---: | ---: |"]
    for name, arguments in COMMANDS.items():
        runs = [run(arguments) for _ in range(args.rounds + 1)][1:]
        times = [each.seconds for each in runs]
        least = min(each.processor for each in runs)
        lines.append(f"| {name} | {statistics.median(times):.3f} | {min(times):.3f} | {least:.3f} |")
        print(lines[-1], flush=True)
    lines += ["", "| `mlc compile` of | MiB | cold s | CPU s | " + " | ".join(STAGES)]
    lines[-1] += " | peak MiB | warm s | CPU s | peak MiB |"
    lines.append("| --- |" + " ---: |" * (len(STAGES) + 7))
    print("\n".join(lines[-2:]))
    files = {path.name.removesuffix(".onnx"): path for path in sorted(args.models.glob("*.onnx"))}
    for name in args.model or [*files, "step"]:
        if name == "step":
            title = f"step of training, {LAYERS} layers"
            lines.append(row(title, ["-m", "benchmarks.startup", "--step"], None, args.rounds))
        else:
            with tempfile.TemporaryDirectory() as folder:
                command = ["-m", "mlc", "compile", str(files[name]), "-o", f"{folder}/m.mlc", "-q", "--json"]
                lines.append(row(name, command, files[name], args.rounds))
        print(lines[-1], flush=True)
    if output := args.output or (None if args.model else RESULTS / "startup.md"):
        output.parent.mkdir(parents=True, exist_ok=True)
        load = (
            f"{os.cpu_count()} processors, {RESULTS.name}, with {os.getloadavg()[1]:.0f} processes at work in the end"
        )
        head = f"# Startup\n\nBy `python -m benchmarks.startup` on {load}.\n\n"
        output.write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Damaged and hostile files through the command line, each in a process of its own with limits.

    python -m benchmarks.hostile --count 5000 --seed 0        a line for each fault, and how often each exit code came
    python -m benchmarks.hostile --seed 0 --only 417 --keep . one of them again; its file stays in a folder

A fault is an exit code that is not documented for what a user gives (0 to 4), a signal, more than 20 s of computing or more than 1 GiB. File number n of a seed
is always the same. Calls have closed pages around their memory, so that an access outside of a buffer ends in a signal. IR text that has been lowered,
and packages with a new digest, are code: they are checked and compiled, not run.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile.mutations import damaged, edited_json, edited_model, edited_text
from benchmarks.hostile.seeds import base_models

SECONDS = 20  # of computing; other work on the machine does not count
PATIENCE = 120  # seconds by the clock: a command that waits for ever
BYTES = 1 << 30
DOCUMENTED = range(5)
_ADDRESS_SPACE = 6 << 30  # a stop for what would else take the whole machine


@dataclass(frozen=True)
class Base:
    """A file that is right, and the verbs that a changed one is given to."""

    name: str
    suffix: str
    data: bytes
    verbs: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Outcome:
    code: int  # negative: the signal that ended it
    seconds: float
    bytes: int
    text: str

    @property
    def fault(self) -> str | None:
        if self.seconds > SECONDS:
            return f"{self.seconds:.0f} s"
        if self.code < 0:
            return signal.Signals(-self.code).name
        if self.code not in DOCUMENTED:
            return f"exit code {self.code}"
        return f"{self.bytes >> 20} MiB" if self.bytes > BYTES else None


def bases(folder: Path) -> list[Base]:
    """Models, and for each its package and its IR text as imported and as lowered; made in a child, so that this process starts no threads."""
    models = base_models()
    child = os.fork()
    if not child:
        try:
            _write_stages(models, folder)
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  whatever it is, the parent is told
            print(f"cannot make the files to start from: {error}", file=sys.stderr)
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise SystemExit(1)
    found = [
        Base(name, ".onnx", data, (("check",), ("compile", "-o", "out.mlc"), ("run",))) for name, data in models.items()
    ]
    for name in models:
        for suffix, verbs in (
            (".mlc", (("check",), ("run",))),
            (".graph.mlir", (("opt", "--passes", "cse,simplify,fold,dce"), ("compile", "-o", "out.mlc"), ("run",))),
            (".loops.mlir", (("opt", "--passes", "dce"), ("compile", "-o", "out.mlc"))),
        ):
            path = folder / f"{name}{suffix}"
            found.append(Base(name, suffix, path.read_bytes(), verbs))
    return found


def _write_stages(models: dict[str, bytes], folder: Path) -> None:
    from mlc.compiler import Compilation
    from mlc.options import CompileOptions

    for name, data in models.items():
        compilation = Compilation(CompileOptions.of(threads=1))
        module = compilation.load(data)
        (folder / f"{name}.graph.mlir").write_text(str(module))
        (folder / f"{name}.loops.mlir").write_text(str(compilation.lower(module)))
        compilation.finish(module).save(folder / f"{name}.mlc")


def case(number: int, seed: int, every: list[Base], operators: list[str]) -> tuple[Base, bytes, tuple[str, ...]]:
    """(what it was made of, the changed file, the command) of one number."""
    rng = random.Random(f"{seed} {number}")
    base = rng.choice(
        [b for b in every if b.suffix == rng.choice((".onnx", ".onnx", ".mlc", ".graph.mlir", ".loops.mlir"))] or every
    )
    data = base.data
    if base.suffix == ".onnx" and rng.random() < 0.75:
        data = edited_model(data, rng, operators)
    elif base.suffix.endswith(".mlir") and rng.random() < 0.75:
        data = edited_text(data.decode(), rng).encode()
    elif base.suffix == ".mlc" and rng.random() < 0.4:
        return base, _resealed(data, rng), ("check",)
    else:
        data = damaged(data, rng)
    return base, data, rng.choice(base.verbs)


def _resealed(data: bytes, rng: random.Random) -> bytes:
    """A package of which one member is changed and whose digest is made anew."""
    from io import BytesIO

    from mlc.runtime.package import DIGEST, digest

    with zipfile.ZipFile(BytesIO(data)) as old:
        members = {name: old.read(name) for name in old.namelist()}
    name = rng.choice([n for n in members if n != DIGEST])
    members[name] = (
        edited_json(members[name].decode(), rng).encode() if name.endswith(".json") else damaged(members[name], rng)
    )
    weights = members.get("weights.safetensors", b"")
    header = weights[: 8 + int.from_bytes(weights[:8], "little")]
    members[DIGEST] = digest({n: c for n, c in members.items() if n != "weights.safetensors"}, header).encode()
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for member, content in members.items():
            new.writestr(member, content)
    return out.getvalue()


def attempt(path: Path, verb: tuple[str, ...], folder: Path) -> Outcome:
    """One command in a child."""
    log = folder / "log"
    start = time.monotonic()
    child = os.fork()
    if not child:
        _command(path, verb, folder, log)
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - start > PATIENCE:
            os.kill(child, signal.SIGKILL)
            pid, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.005)
    code = os.waitstatus_to_exitcode(status)
    seconds = PATIENCE if time.monotonic() - start > PATIENCE else usage.ru_utime + usage.ru_stime
    return Outcome(code, seconds, usage.ru_maxrss << 10, log.read_text(errors="replace"))


def _command(path: Path, verb: tuple[str, ...], folder: Path, log: Path) -> None:
    """Never returns."""
    try:
        os.chdir(folder)
        handle = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from mlc.cli import main

        if verb[0] == "run":
            from benchmarks.random_programs.guard_pages import guard_memory

            guard_memory()
        threads = [] if verb[0] in ("check", "opt") else ["--threads", "1"]
        code = main([verb[0], str(path), *verb[1:], *threads, "-q"])
        sys.stdout.flush()
        os._exit(code)
    except BaseException:  # noqa: BLE001  what main let through is a fault by itself
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first file")
    parser.add_argument("--only", type=int, help="one number, with what the command printed")
    parser.add_argument("--keep", type=Path, help="folder for the files that show a fault")
    args = parser.parse_args()
    from mlc.frontends.onnx import table

    operators = sorted({key.op_type for key in table.load()})
    _warm()
    codes: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLC_CACHE_DIR"] = str(folder / "cache")
        every = bases(folder)
        numbers = [args.only] if args.only is not None else range(args.start, args.start + args.count)
        for number in numbers:
            base, data, verb = case(number, args.seed, every, operators)
            path = folder / f"case{base.suffix}"
            path.write_bytes(data)
            outcome = attempt(path, verb, folder)
            fault = outcome.fault
            codes[fault or str(outcome.code)] += 1
            if fault or args.only is not None:
                last = (outcome.text.strip().splitlines() or [""])[0]
                print(
                    f"{number}: mlc {' '.join(verb)} of {base.name}{base.suffix}: {fault or outcome.code}: {last[:160]}",
                    flush=True,
                )
                if args.only is not None:
                    print(outcome.text)
                if args.keep:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    (args.keep / f"{args.seed}.{number}{base.suffix}").write_bytes(data)
    print(f"{sum(codes.values())} files, by exit code or fault: {dict(sorted(codes.items()))}")
    return int(any(not code.isdigit() or int(code) not in DOCUMENTED for code in codes))


def _warm() -> None:
    """Import what the commands import, once and not in each child."""
    import mlc.cli.check
    import mlc.cli.compile
    import mlc.cli.opt
    import mlc.cli.run
    import mlc.codegen.llvm.build
    import mlc.compiler
    import mlc.passes.pipelines
    import mlc.runtime.package  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())

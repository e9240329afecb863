"""`mlc compile MODEL -o OUT`: a package (.mlc), a shared library, or the result of one of the stages before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlc.backends import backend
from mlc.cli import flags, tune
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.inspection import inspection, looks
from mlc.cli.source import Model, model, options
from mlc.cli.writing import (
    STDOUT,
    files_read,
    is_ours,
    require_module,
    require_outputs,
    weights_beside,
    write_module,
    write_text,
    writing,
)
from mlc.errors import TargetUnavailable
from mlc.options import CompileOptions

if TYPE_CHECKING:
    from mlc.cli.session import Session
    from mlc.compilation_cache import Request
    from mlc.ir.kernel.target import Target

SUFFIX = {
    "package": ".mlc",
    "mlir": ".mlir",
    "so": ".so",
    "python": ".py",
}  # and what the generator of the target writes
_OTHER = {"so": (".dylib", ".dll"), "obj": (".obj",), "asm": (".asm", ".S")}
_KINDS = {
    "package": "a package",
    "mlir": "IR",
    "so": "a shared library",
    "python": "NumPy source",
    "llvm": "LLVM IR",
    "asm": "assembly",
    "obj": "an object",
    "cuda": "CUDA C",
    "ptx": "PTX",
    "cubin": "machine code of a GPU",
}
_BINARY = ("package", "obj", "so", "cubin")


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc compile model.onnx -o model.mlc",
        "mlc compile model.onnx --dim N=1..32 --dump-ir ir",
        "mlc compile model.onnx --emit python -o model.py",
        "mlc compile file.py:function --args f32[N,3] f32[3,4]",
        "mlc compile model.onnx --train cross_entropy --optimizer adam:lr=1e-3 -o step.mlc",
    )
    flags.model(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "-o", "--output", metavar="OUT", help="default: the model's name with another suffix, here; -: standard output"
    )
    group.add_argument(
        "--emit",
        metavar="KIND",
        help="what OUT holds: package, mlir, so, python (NumPy source; also --target python), or for cpu llvm, asm, obj, for cuda cuda, ptx, cubin; guessed from its suffix, else package",
    )
    group.add_argument("--header", metavar="FILE", help="with -o libNAME.so: also write a C header")
    group.add_argument(
        "--tune",
        type=flags.duration,
        metavar="T",
        help="search for faster schedules before, so long (as 60s); with --tune-store what is found goes there",
    )
    flags.verify(group, "run the result and compare")
    flags.trace(group, "the passes and code generation")
    flags.report(group, "the graph after each pass, kernels and memory")
    group = parser.add_argument_group("training")
    group.add_argument(
        "--train",
        metavar="LOSS",
        help="write a step of training (a package, or a library for C): forward, gradient of this loss of mlc.nn (cross_entropy, mse, ...) and update",
    )
    group.add_argument(
        "--optimizer",
        metavar="NAME:OPTIONS",
        help="one of mlc.optim, as adam:lr=1e-3 (default: adam) or sgd:lr=0.1,momentum=0.9",
    )
    group.add_argument("--freeze", metavar="NAMES", help="weights that stay: 'conv1.*;bn*'")
    group.add_argument(
        "--train-statistics", action="store_true", help="batch normalisations use and follow the statistics of batches"
    )
    flags.target(parser)
    flags.ir(parser)
    flags.data(parser)
    flags.tolerance(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    source = model(args.model)
    _as_source(args)
    kind, out = _output(args, source, console)
    if args.train is not None:
        return _train(kind, out, args, source, console)
    if kind == "python" and args.memory_budget:
        raise UsageError("--memory-budget is for machine code, and NumPy source keeps what it computes")
    if args.optimizer or args.freeze or args.train_statistics:
        raise UsageError("--optimizer, --freeze and --train-statistics are of --train LOSS")
    store = None
    if args.tune:
        if kind not in ("package", "so"):
            raise UsageError(f"--tune is for what runs, and this is {_KINDS[kind]}", remedy="Leave --tune out.")
        store = tune.store_to_write(args, source) if args.tune_store else None
    asked = _request(kind, args, source)
    if asked is not None and _from_cache(asked, out, args, source, console):
        return 0
    from mlc.cli.reporting import add_memory, reporting
    from mlc.cli.session import open_session

    with reporting(args, source) as recorder:
        session = open_session(args, console, inspection(args, recorder), packages=False, source=source)
        if args.tune:
            _tune(args, store, session, console)
        written = _compile(kind, out, asked, args, session, console)
        if recorder is not None and kind in ("package", "so"):
            add_memory(recorder, session)
    return _tell(kind, out, written, args, session, console)


def _tune(args: argparse.Namespace, store: str | None, session: Session, console: Console) -> None:
    """Have what is compiled next take the schedules that are found, and keep them in the file `store`."""
    compilation = session.compilation
    assert compilation is not None
    tuned = tune.search(args, args.tune, session, console)
    compilation.options = replace(compilation.options, tune_store=tuned.store)
    if store is not None:
        tuned.store.save(store)
        console.note(f"{'wrote':<10} {store}")


def _compile(
    kind: str, out: Path, asked: Request | None, args: argparse.Namespace, session: Session, console: Console
) -> list[Path]:
    assert session.compilation is not None
    if asked is not None:
        session.compilation.keep_as(asked)
    if kind != "python":
        console.note(_headline(session.compilation.target, session.compilation.options.threads))
    if args.input or args.verify:
        session.feeds(args)  # tells what is wrong with them before the work is done
    return _write(kind, out, args, session, console)


def _tell(
    kind: str, out: Path, written: list[Path], args: argparse.Namespace, session: Session, console: Console
) -> int:
    """What was done; the trace of it."""
    compilation, source = session.compilation, session.source
    assert compilation is not None
    if args.trace:
        from mlc.insight import trace

        spans = trace.compilation(compilation.seconds, compilation.report)
        write_text(args.trace, trace.text(f"mlc compile {source.name}", spans))
        written.append(Path(args.trace))
    if args.report:
        written.append(Path(args.report))
    _written(out, written, args, source, console, kind, compilation.seconds, compilation.report)
    if args.dump_ir:
        console.wrote(Path(args.dump_ir) / "index.html")
    return 0


def _request(kind: str, args: argparse.Namespace, source: Model) -> Request | None:
    """What to ask the cache of whole compilations. Nothing where someone wants to see the way to the package, or values decide shapes."""
    if kind != "package" or not source.is_onnx or args.verify or args.input or args.known or looks(args) or args.tune:
        return None
    from mlc import compilation_cache

    return compilation_cache.request(options(args), source.source)


def _from_cache(asked: Request, out: Path, args: argparse.Namespace, source: Model, console: Console) -> bool:
    """Write the package of a compilation that was done before, if there is one: it takes no pass, and of libraries NumPy alone."""
    from mlc import compilation_cache
    from mlc.progress import stage
    from mlc.runtime import package

    if (found := compilation_cache.find(asked)) is None:
        return False
    record, seconds = found.record, dict[str, float]()
    artifact = replace(record.artifact, weights=record.weights_to_make(), threads=args.threads)
    console.note(_headline(artifact.target, args.threads))
    try:
        with stage("cache", console.progress, seconds) as step, writing(out) as path:
            known = compilation_cache.checksums(asked, record)
            written = package.save(artifact, path, checksums=known)
            if not found.confirm():
                raise _Changed
            if known is None:
                compilation_cache.keep_checksums(asked, record, written)
            step.text = f"warm: {compilation_cache.WARM}; {len(artifact.plan.steps)} kernel calls"
    except _Changed:
        return False
    report = {**artifact.report, "objects": {"compiled": 0, "cached": record.objects}, "seconds": seconds, "passes": []}
    report |= {"warm": compilation_cache.WARM, "sha256": asked.digest()}
    _written(out, [out], args, source, console, "package", seconds, report)
    return True


class _Changed(Exception):
    """The files of a model are not those that a record was made of."""


def _written(
    out: Path,
    written: list[Path],
    args: argparse.Namespace,
    source: Model,
    console: Console,
    kind: str,
    seconds: Mapping[str, float],
    report: Mapping[str, Any],
) -> None:
    size = out.stat().st_size if out.is_file() else None
    console.result(
        "compile",
        model=source.name,
        output=str(out),
        written=[str(path) for path in written],
        emit=kind,
        bytes=size,
        seconds=seconds,
        report=report,
    )
    for path in written:
        following = f"      next: mlc bench {out}" if kind == "package" and path == out else ""
        console.wrote(path, following)


def _train(kind: str, out: Path, args: argparse.Namespace, source: Model, console: Console) -> int:
    from mlc.cli.step_package import write_step

    if args.tune:
        raise UsageError("--tune searches schedules of models, not of steps of training", remedy="Leave --tune out.")
    if kind not in ("package", "so") or args.verify or args.trace or args.dump_ir or str(out) == STDOUT:
        raise UsageError(
            "--train writes a package or a library to a file", remedy="Write -o STEP.mlc or -o libSTEP.so."
        )
    args.optimizer = args.optimizer or "adam"
    if kind == "package":
        require_module(str(out), partial(files_read, args, source), ".safetensors")
    written = write_step(out, args, source, console)
    console.result(
        "compile",
        model=source.name,
        output=str(out),
        written=[str(path) for path in written],
        emit="step",
        train=args.train,
    )
    for path in written:
        console.wrote(path)
    return 0


def _as_source(args: argparse.Namespace) -> None:
    """--target python is --emit python: source that no machine is chosen for."""
    if args.target == "python":
        if args.emit not in (None, "python") or args.stop_after:
            raise UsageError("--target python writes NumPy source", remedy="Leave --emit and --stop-after out.")
        args.target, args.emit = "cpu", "python"


def _write(kind: str, out: Path, args: argparse.Namespace, session: Session, console: Console) -> list[Path]:
    """The stage that was asked for. Returns the files written."""
    from mlc.cli.verification import verify
    from mlc.progress import stage

    compilation, module = session.compilation, session.module
    assert compilation is not None
    if kind in ("package", "so"):
        executable = session.executable
        if args.verify:
            verify(args, session, console)
        with stage("write", console.progress) as step:
            if kind == "package":
                with writing(out) as path:
                    executable.save(path)
            else:
                executable.export_library(out, args.header)
            step.text = "a package" if kind == "package" else "a shared library"
        return [out, *([Path(args.header)] if args.header else [])]
    if kind == "python":
        return _write_source(out, args, session, console)
    lowered = compilation.lower(module)
    if args.verify:
        verify(args, session, console)
    if kind == "mlir":
        written = write_module(out, lowered)
        if str(out) == STDOUT and len(lowered.weights):
            console.note("the weights are not written: they go beside a file, as with -o OUT.mlir")
        return written
    with writing(out) as path:
        generator = compilation.backend.generator
        path.write_bytes(generator.write(kind, lowered, compilation.target, compilation.options.denormals))
    return [out]


def _write_source(out: Path, args: argparse.Namespace, session: Session, console: Console) -> list[Path]:
    """A NumPy program, after the passes that make it short to read or those that --passes names."""
    from mlc import numpy_source
    from mlc.cli.verification import verify
    from mlc.passes.pipelines import parse, readable_passes

    assert session.compilation is not None
    passes = readable_passes() if args.passes is None else parse(args.passes)
    left = [step for step in passes if step.name not in args.disable_pass]
    module = session.compilation.lower(session.module, left)
    if args.verify:
        verify(args, session, console, numpy_source.executed(module))
    beside = weights_beside(out, ".npz")
    if str(out) != STDOUT:
        return numpy_source.write(module, out, beside)
    with writing(out) as path:
        numpy_source.write(module, path, None)
    if len(module.weights):
        console.note("the weights are not written: they go beside a file, as with -o OUT.py")
    return [out]


def _headline(target: Target, threads: int | None) -> str:
    import mlc
    from mlc.ir.processors import thread_count

    return f"mlc {mlc.__version__} | target {target.kind}: {target} | {thread_count(threads)} threads"


def _output(args: argparse.Namespace, source: Model, console: Console) -> tuple[str, Path]:
    """What to write, and where. Raises UsageError or MlcError where that cannot be."""
    suffix_of = SUFFIX
    if args.emit not in (None, *SUFFIX) or Path(args.output or "").suffix not in ("", *SUFFIX.values()):
        suffix_of = {
            **SUFFIX,
            **backend(args.target or CompileOptions.target).generator.emits,
        }  # which loads the generator
    by_suffix = {suffix: kind for kind, suffix in suffix_of.items()}
    kind = args.emit
    if kind is not None and kind not in suffix_of:
        raise UsageError.unknown("kind of output", kind, suffix_of)
    named = by_suffix.get(Path(args.output).suffix) if args.output else None
    if kind is not None and named not in (None, kind):
        raise UsageError(
            f"-o {args.output} is the name of {_KINDS[named]}, and --emit asks for {_KINDS[kind]}",
            remedy=f"Write -o {Path(args.output).with_suffix(suffix_of[kind])}, or leave --emit out.",
        )
    kind = kind or named
    if args.stop_after:
        if kind not in (None, "mlir"):
            raise UsageError("--stop-after writes IR", remedy="Leave --emit out, or write --emit mlir and -o OUT.mlir.")
        kind = "mlir"
    kind = kind or "package"
    if args.header and kind != "so":
        raise UsageError(f"--header is for shared libraries, and this is {kind}", remedy="Add --emit so.")
    if kind == "so" and not (made := backend(args.target or CompileOptions.target)).libraries:
        emits = ", ".join(f"--emit {name}" for name in made.generator.emits)
        raise TargetUnavailable(
            f"target {made.name} writes no shared library",
            remedy=f"It writes packages, which Python loads; and {emits}.",
        )
    stem = Path(source.path.name).stem if source.path else "model"
    target = args.output or stem + suffix_of[kind]
    read = partial(files_read, args, source)
    suffixes = () if kind == "python" else (suffix_of[kind], *_OTHER.get(kind, ()))  # a .py may be anyone's
    require_outputs(
        {"-o": target, "--header": args.header, "--trace": args.trace, "--report": args.report}, read, suffixes
    )
    out = Path(target)
    if target == STDOUT:
        if kind == "so":
            raise UsageError("a shared library needs a name: its functions are called after it", remedy="-o libNAME.so")
        if kind in _BINARY and sys.stdout.isatty():
            raise UsageError(f"-o - would write {kind} to the terminal", remedy="Name a file, or add --emit mlir.")
        console.output_is_stdout()
    elif not args.output and out.exists() and not is_ours(out):
        raise UsageError(f"{out} exists, and mlc did not write it", remedy=f"Add -o {out} to replace it.")
    if kind in ("mlir", "python"):
        require_module(target, read, ".safetensors" if kind == "mlir" else ".npz")
    return kind, out

"""`mlc compile MODEL -o OUT`: a package (.mlc), a shared library, or the result of one of the stages before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mlc.cli.console import Console
from mlc.cli.inspection import inspection
from mlc.cli.parser import (
    Parser,
    UsageError,
    data_flags,
    ir_flags,
    model_flags,
    target_flags,
    tolerance_flags,
    trace_flag,
)
from mlc.cli.source import Model, model, options
from mlc.cli.verification import verify
from mlc.cli.writing import write_bytes, write_module, write_text

if TYPE_CHECKING:
    from mlc.compiler import Compilation
    from mlc.ir.module import Module

SUFFIX = {"package": ".mlc", "mlir": ".mlir", "llvm": ".ll", "asm": ".s", "obj": ".o", "so": ".so"}


def configure(parser: Parser) -> None:
    model_flags(parser)
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--output", metavar="OUT", help="default: the model's name with another suffix, here")
    group.add_argument("--emit", choices=SUFFIX, help="what OUT holds; guessed from its suffix, else package")
    group.add_argument("--header", metavar="FILE", help="with --emit so: also write a C header")
    group.add_argument(
        "--verify",
        nargs="?",
        const="any",
        choices=("any", "onnxruntime", "interpreter"),
        help="run the result and compare with onnxruntime (where installed) or the interpreter",
    )
    trace_flag(group, "the passes and code generation")
    target_flags(parser)
    ir_flags(parser)
    data_flags(parser)
    tolerance_flags(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    source = model(args.model)
    if source.is_package:
        raise UsageError(f"{source.name} is compiled already", remedy=f"mlc run {source.name} runs it.")
    chosen = options(args)
    from mlc.compiler import Compilation

    kind, out = _output(args, source)
    compilation = Compilation(chosen, console.progress, inspection(args))
    console.note(_headline(compilation))
    module = compilation.load(source.source)
    if kind in ("package", "so"):
        executable = compilation.finish(module)
        if args.verify:
            verify(args, source, module, executable, console)
        if kind == "package":
            executable.save(out)
        else:
            executable.export_library(out, args.header)
    else:
        lowered = compilation.lower(module)
        if args.verify:
            verify(args, source, module, compilation.finish(module), console)
        if kind == "mlir":
            write_module(out, lowered)
        else:
            _write_stage(kind, out, compilation, lowered)
    from mlc.insight import trace
    from mlc.insight.text import bytes_text

    if args.trace:
        spans = trace.compilation(compilation.seconds, compilation.report)
        write_text(args.trace, trace.text(f"mlc compile {source.name}", spans))
    size = out.stat().st_size
    console.result(
        "compile",
        model=source.name,
        output=str(out),
        emit=kind,
        bytes=size,
        seconds=compilation.seconds,
        report=compilation.report,
    )
    following = f"      next: mlc bench {out}" if kind == "package" else ""
    console.print(f"{'wrote':<10} {out} ({bytes_text(size)}){following}")
    return 0


def _headline(compilation: Compilation) -> str:
    import mlc
    from mlc.codegen.llvm.threads import thread_count

    threads = thread_count(compilation.options.threads)
    return f"mlc {mlc.__version__} | target cpu: {compilation.target} | {threads} threads"


def _output(args: argparse.Namespace, source: Model) -> tuple[str, Path]:
    """What to write, and where."""
    by_suffix = {suffix: kind for kind, suffix in SUFFIX.items()}
    kind = args.emit
    if kind is None and args.output:
        kind = by_suffix.get(Path(args.output).suffix)
    if args.stop_after:
        if kind not in (None, "mlir"):
            raise UsageError("--stop-after writes IR", remedy="Leave --emit out, or write --emit mlir and -o OUT.mlir.")
        kind = "mlir"
    kind = kind or "package"
    if args.output:
        out = Path(args.output)
    else:
        stem = Path(source.path.name).stem if source.path else "model"
        out = Path(stem + SUFFIX[kind])
    if source.path is not None and out.exists() and out.samefile(source.path):
        raise UsageError(f"{out} is the model itself", remedy="Name another file with -o.")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: there is no folder {out.parent}")
    return kind, out


def _write_stage(kind: str, out: Path, compilation: Compilation, lowered: Module) -> None:
    """LLVM IR, assembly or one object with everything, entry included."""
    from mlc.codegen.llvm.build import module_text
    from mlc.codegen.llvm.object import assembly, compile_text

    text = module_text(lowered, compilation.target)
    optimise = any("kernel.optimise" in op.attributes for op in lowered.op.ops)
    if kind == "llvm":
        write_text(out, text)
    elif kind == "asm":
        write_text(out, assembly(text, compilation.target, optimise))
    else:
        write_bytes(out, compile_text(text, compilation.target, optimise))

"""`mlc reduce MODEL --while COMMAND`: the smallest model on which a command still does what it does on this one."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlc.cli import flags
from mlc.cli.command_line import Parser, UsageError
from mlc.cli.console import Console
from mlc.cli.source import Model, files_of, model
from mlc.cli.writing import require_module, require_outputs, write_module, writing
from mlc.errors import InvalidModel, MlcError

if TYPE_CHECKING:
    from onnx import ModelProto

    from mlc.ir.module import Module

    Reduced = ModelProto | Module

_PLACE = "{}"
_LARGEST = 2**31 - 1  # bytes of a file of protocol buffers
_SHOWN = 2000  # characters of a command's output in an error


def configure(parser: Parser) -> None:
    parser.examples(
        "mlc reduce model.onnx --while 'mlc compare {}' -o small.onnx",
    )
    parser.add_argument("model", metavar="MODEL", help="an .onnx or .mlir file; - reads standard input")
    parser.add_argument(
        "--while",
        dest="command",
        required=True,
        metavar="COMMAND",
        help="what is run on each smaller model, as 'mlc compare {}'; {} is the model's path, put last where it does not stand. "
        "A model is kept if the exit status is that of the first run",
    )
    parser.add_argument("-o", "--output", metavar="OUT", help="the smallest model (NAME.reduced.onnx or .mlir)")
    parser.add_argument("--expect", metavar="TEXT", help="keep a model only if the command prints this too")
    parser.add_argument("--shell", action="store_true", help="give the command to a shell")
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--seconds",
        type=flags.seconds,
        default=600.0,
        metavar="S",
        help="stop after this time with the smallest so far (600)",
    )
    limits.add_argument(
        "--timeout",
        type=flags.seconds,
        default=60.0,
        metavar="S",
        help="end a run after this time, which is a status of its own (60)",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    from mlc.reduction import reduce

    source = model(args.model)
    suffix = ".mlir" if source.kind == ".mlir" else ".onnx"
    target = args.output or f"{Path('model' if source.path is None else source.name).stem}.reduced{suffix}"
    if args.output is None and os.path.exists(target):
        raise UsageError(f"{target} is there already", remedy="Name a file with -o; it is replaced.")
    require_outputs({"-o": target}, lambda: files_of(source), (suffix,))
    if suffix == ".mlir":
        require_module(target, lambda: files_of(source))
    if target == "-":
        console.output_is_stdout()
    whole = _module(source) if suffix == ".mlir" else _proto(source)
    with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
        command = _Command(args.command, Path(folder) / f"candidate{suffix}", args.shell, args.timeout, args.expect)
        first = command.run(whole)
        _require_fault(first, args.expect)
        console.note(f"{'first':<10} {first.text}: {_size(whole)}")
        told = _Told(console, _size(whole))
        found = reduce(whole, lambda candidate: command.run(candidate) == first, args.seconds, told)
    written = _write(target, found.model)
    console.result(
        "reduce",
        model=source.name,
        status=first.text,
        output=target,
        tries=found.tries,
        complete=found.complete,
        before=_facts(whole),
        after=_facts(found.model),
    )
    console.print(f"{'before':<10} {_size(whole)}")
    console.print(f"{'after':<10} {_size(found.model)}")
    stopped = "no smaller one is left to try" if found.complete else "stopped before all were tried"
    console.print(f"{'tries':<10} {found.tries}; {stopped}")
    for path in written:
        console.wrote(path)
    return 0


class _Told:
    """Says how far it has come, where that can be seen in the figures."""

    def __init__(self, console: Console, size: str):
        self.console, self.size = console, size

    def __call__(self, smaller: Reduced, tries: int) -> None:
        if (size := _size(smaller)) != self.size:
            self.size = size
            self.console.note(f"{'smaller':<10} {size}   after {tries} {'try' if tries == 1 else 'tries'}")


# The model -----------------------------------------------------------------------------------------------------------
def _proto(source: Model) -> ModelProto:
    """With the data of its weights, wherever they lie. Raises MlcError for what is no ONNX model."""
    import onnx

    from mlc.frontends.onnx import reader

    if source.function is not None:
        raise UsageError(
            f"{source.name} is a function", remedy=f"mlc trace {source.name} -o m.mlir; mlc reduce m.mlir."
        )
    if source.kind == ".mlc":
        raise UsageError(
            f"{source.name} is a package, and models and IR text are what is reduced",
            remedy="Reduce the model that it was compiled from.",
        )
    read = reader.read(source.source)
    if read.file is None or source.kind == ".onnxtxt" or read.proto.ByteSize() > _LARGEST:
        proto = read.proto
    else:
        proto = read.proto if _is_text(Path(read.file)) else onnx.load(read.file, load_external_data=False)
    if read.folder is not None:
        try:
            onnx.external_data_helper.load_external_data_for_model(proto, str(read.folder))
        except Exception as error:  # it has classes of its own
            raise InvalidModel(f"cannot read the weights of {source.name}: {error}", file=source.name) from error
    if proto.ByteSize() > _LARGEST:
        raise MlcError(f"{source.name} holds {proto.ByteSize()} bytes, a file of one piece {_LARGEST} at most")
    return proto


def _module(source: Model) -> Module:
    """The module in IR text. Raises MlcError for one whose kernels are outlined."""
    from mlc.compiler import load, parse_text

    module = parse_text(source.content or b"", "<stdin>") if source.path is None else load(source.path)
    if module.is_program:
        raise UsageError(
            f"{source.name} holds kernels, and graphs are what is reduced",
            remedy="Reduce the IR as it is before the pass outline, or the model.",
        )
    return module


def _write(target: str | Path, model: Reduced) -> list[Path]:
    """The files written."""
    from mlc.ir.module import Module

    if isinstance(model, Module):
        return write_module(target, model)
    with writing(target) as path:
        path.write_bytes(model.SerializeToString(deterministic=True))
    return [Path(target)]


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b"<")


def _facts(model: Reduced) -> dict[str, int]:
    from mlc.ir.module import Module
    from mlc.passes.graph import cuts

    if isinstance(model, Module):
        numbers = sum(math.prod(model.weights.type_of(key)[0]) for key in cuts.weights_of(model))
        ops = len(cuts.places_of(model))
        return {"nodes": ops, "inputs": len(model.input_names), "outputs": len(model.output_names), "weights": numbers}
    graph = model.graph
    numbers = 0
    for tensor in graph.initializer:
        count = 1
        for size in tensor.dims:
            count *= size
        numbers += count
    return {"nodes": len(graph.node), "inputs": len(graph.input), "outputs": len(graph.output), "weights": numbers}


def _size(model: Reduced) -> str:
    from mlc.ir.module import Module

    facts = _facts(model)
    words = {
        "nodes": "op" if isinstance(model, Module) else "node",
        "inputs": "input",
        "outputs": "output",
        "weights": "number",
    }
    parts = [f"{facts[key]:,} {word}{'s' * (facts[key] != 1)}" for key, word in words.items()]
    return f"{', '.join(parts)} in weights"


# The command ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Outcome:
    """What counts of a run: its exit status (negative: the signal that ended it; None: the time was over), and whether the text was there."""

    status: int | None
    expected: bool
    said: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Outcome) and (self.status, self.expected) == (other.status, other.expected)

    @property
    def text(self) -> str:
        if self.status is None:
            return "the command runs out of its time"
        if self.status < 0:
            return f"the command ends with {signal.Signals(-self.status).name}"
        return f"the command exits with {self.status}"


def _require_fault(first: _Outcome, expect: str | None) -> None:
    if expect is not None and not first.expected:
        raise MlcError(f"the command does not print '{expect}' about the model as it is", remedy=_last(first.said))
    if expect is None and first.status == 0:
        raise MlcError(
            "the command succeeds on the model as it is, so that there is nothing to keep",
            remedy="Give a command that fails, as 'mlc compare {}', or what it prints with --expect.",
        )
    if first.status in (126, 127) and expect is None:
        raise MlcError(f"the command cannot be run: {first.text}", remedy=_last(first.said))


def _last(said: str) -> str:
    return f"It printed: {said[-_SHOWN:].strip()}" if said.strip() else "It printed nothing."


class _Command:
    def __init__(self, text: str, path: Path, shell: bool, timeout: float, expect: str | None):
        self.path, self.timeout, self.expect = path, timeout, expect
        self.words: str | list[str]
        if shell:
            place = shlex.quote(str(path))
            self.words = text.replace(_PLACE, place) if _PLACE in text else f"{text} {place}"
            return
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"--while {text}: {str(error).lower()}") from error
        if not words:
            raise UsageError("--while names no command", remedy="For instance: --while 'mlc compare {}'.")
        if not any(_PLACE in word for word in words):
            words.append(_PLACE)
        self.words = [word.replace(_PLACE, str(path)) for word in words]
        if shutil.which(self.words[0]) is None:
            if self.words[0] != "mlc":
                raise UsageError(
                    f"there is no command '{self.words[0]}'",
                    remedy="The command runs without a shell; --shell gives it to one.",
                )
            self.words = [sys.executable, "-m", "mlc", *self.words[1:]]  # mlc is not on the path: this one

    def run(self, model: Reduced) -> _Outcome:
        """What the command does on a model."""
        _write(self.path, model)
        with tempfile.TemporaryFile() as output:
            # a session of its own, so that all that it starts can be ended with it
            process = subprocess.Popen(
                self.words,
                shell=isinstance(self.words, str),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            status: int | None = None
            try:
                status = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                pass
            finally:
                if status is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            output.seek(0)
            said = output.read().decode(errors="replace")
        return _Outcome(status, self.expect is not None and self.expect in said, said[-_SHOWN:])

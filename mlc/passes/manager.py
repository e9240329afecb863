"""Run passes over a module: print, dump, time, verify and check them on numbers.

    PassManager(["decompose", "simplify", "dce"], print_on_change=True, dump="ir/").run(module)

A pass works on a module in place; the manager works on a copy, so that the caller's module stays as it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
from xdsl.ir import Operation

from mlc.errors import InternalError, MlcError
from mlc.ir import work
from mlc.ir.files import write_text
from mlc.ir.module import Module
from mlc.ir.value_names import ValueNames
from mlc.passes.base import Pass, require_pass
from mlc.passes.dump import file_name, prepare
from mlc.passes.pipelines import parse
from mlc.passes.stages import require_order

Selection = Literal["all"] | Sequence[str]


@dataclass
class PassRecord:
    """What one pass did: seconds, ops before and after, whether the text changed (known where texts were compared)."""

    name: str
    seconds: float
    ops_before: int
    ops_after: int
    changed: bool | None = None
    stops: list[str] = field(default_factory=list)  # on the way through the pass, where a dump has files


@dataclass
class PassManager:
    """Passes in order, as objects or as text (a list of names or one pipeline text).

    print_before, print_after   names of passes, or "all": the module as text, to `stream`
    print_on_change             the module after every pass that changed it
    dump                        a folder for one numbered file per pass: 00-input.mlir, 01-decompose.mlir, ..., and one for each stop on the way
                                through a pass: 18-lower-level-1.mlir
    verify_each                 run the IR verifier after every pass
    check                       "interpreter": run `inputs` (random ones where none are given) after every pass
    rtol                        largest difference that check lets pass, as a share of the largest |reference|
    stop_after                  the name of the last pass to run
    started                     called with the copy of the module that the passes work on, before the first of them
    callback                    called with (number, pass, module) after every pass
    time                        print the seconds of each pass at the end; `records` holds them in any case
    """

    passes: Iterable[Pass | str] | str
    print_before: Selection = ()
    print_after: Selection = ()
    print_on_change: bool = False
    dump: str | Path | None = None
    verify_each: bool = False
    check: Literal["interpreter"] | None = None
    inputs: Sequence[Sequence[np.ndarray]] | None = None
    rtol: float = 1e-4
    stop_after: str | None = None
    started: Callable[[Module], None] | None = None
    callback: Callable[[int, Pass, Module], None] | None = None
    time: bool = False
    stream: TextIO | None = None
    records: list[PassRecord] = field(default_factory=list)
    _names: ValueNames = field(default_factory=ValueNames, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.passes, Iterable):
            raise MlcError(f"{self.passes!r} is no list of passes", remedy="Give text ('simplify,dce') or a list.")
        if self.check not in (None, "interpreter"):
            raise MlcError(f"check is {self.check!r}", remedy='Choices: None, "interpreter".')
        given = [self.passes] if isinstance(self.passes, str) else list(self.passes)
        self.sequence: list[Pass] = []
        for item in given:
            self.sequence += parse(item) if isinstance(item, str) else [require_pass(item)]
        names = {p.name for p in self.sequence}
        for wanted in (
            *_names(self.print_before),
            *_names(self.print_after),
            *([self.stop_after] * bool(self.stop_after)),
        ):
            if wanted not in names:
                raise MlcError(
                    f"pass '{wanted}' is not in the pipeline", remedy=f"It runs {', '.join(map(str, self.sequence))}."
                )

    def run(self, module: Module) -> Module:
        """A changed copy of the module.

        Raises MlcError where the user's model is at fault, NumericMismatch where `check` finds one, InternalError (with the name
        of the pass) for anything else.
        """
        if not isinstance(module, Module):
            raise MlcError(
                f"passes run on a module, and this is of type {type(module).__name__}", remedy="mlc.load makes one."
            )
        require_order(module, self.sequence)
        module = module.clone()
        self.records = []
        self._names = ValueNames()
        checker = None
        if self.check:
            from mlc.passes.check import Checker

            checker = Checker(module, self.inputs, self.rtol)
        if self.dump:
            prepare(Path(self.dump), ["input", *(step.name for step in self.sequence)])
        text = self._text(module)
        self._write(0, "input", text)
        ops = count_ops(module)
        if self.started is not None:
            self.started(module)
        for number, step in enumerate(self.sequence, 1):
            if self._selected(self.print_before, step):
                self._print(f"before {step.name}", module.text(names=self._names))
            record = PassRecord(step.name, 0.0, ops, 0)
            start = time.perf_counter()
            with work.within(step.name, number - 1, len(self.sequence)):
                for stop in run_pass(step, module, watched=bool(self.dump)):
                    record.stops.append(stop)
                    self._write(number, f"{step.name}-{stop}", self._text(module))
            record.seconds = time.perf_counter() - start
            record.ops_after = ops = count_ops(module)
            self.records.append(record)
            if self.verify_each:
                verify_after(step, module)
            if self.print_on_change or self.dump:
                before, text = text, self._text(module)
                record.changed = before != text
                self._write(number, step.name, text)
            if self._selected(self.print_after, step):
                self._print(f"after {step.name}", module.text(names=self._names))
            elif self.print_on_change and record.changed:
                self._print(f"after {step.name} (changed)", module.text(names=self._names))
            if checker is not None:
                checker.after(step.name, module)
            if self.callback is not None:
                self.callback(number, step, module)
            if step.name == self.stop_after:
                break
        if self.time:
            print(self.report(), file=self._out(), end="")
        return module

    def report(self) -> str:
        """Seconds and ops of every pass that ran, as a table."""
        rows = [
            f"{r.name:<24} {r.seconds * 1e3:9.1f} ms  {r.ops_before:6} -> {r.ops_after} ops\n" for r in self.records
        ]
        total = sum(r.seconds for r in self.records)
        return "".join([*rows, f"{'all passes':<24} {total * 1e3:9.1f} ms\n"])

    def _text(self, module: Module) -> str:
        """The module as files of a dump show it, with where each op came from; as the prints do where there is no dump."""
        if not (self.print_on_change or self.dump):
            return ""
        return module.text(bool(self.dump), self._names)

    def _write(self, number: int, name: str, text: str) -> None:
        if self.dump:
            write_text(Path(self.dump) / file_name(number, name), text)

    def _print(self, title: str, text: str) -> None:
        print(f"// -----// IR {title} //----- //\n{text}", file=self._out(), end="")

    def _out(self) -> TextIO:
        return self.stream or sys.stderr

    @staticmethod
    def _selected(selection: Selection, step: Pass) -> bool:
        return selection == "all" or step.name in selection


def _names(selection: Selection) -> Sequence[str]:
    return () if selection == "all" else selection


def run_pass(step: Pass, module: Module, watched: bool = False) -> Iterator[str]:
    """One pass, and the names of its stops where it is watched; an exception that is not about the user's input becomes an InternalError naming
    the pass."""
    try:
        if watched:
            yield from step.stops(module)
        else:
            step.run(module)
    except MlcError:
        raise
    except InternalError as error:
        raise InternalError(error.message, pass_name=step.name) from error
    except Exception as error:
        raise _fault(step, f"{type(error).__name__}: {error}") from error


def verify_after(step: Pass, module: Module) -> None:
    """Raises InternalError naming the pass that left invalid IR."""
    try:
        module.verify()
    except MlcError as error:
        raise _fault(step, f"it leaves invalid IR: {error.message}") from error


def _fault(step: Pass, message: str) -> InternalError | MlcError:
    """A bug of mlc's, or of whoever wrote the pass."""
    kind = type(step)
    if kind.__module__.startswith("mlc."):
        return InternalError(message, pass_name=step.name)
    return MlcError(
        f"in pass {step.name}: {message}", remedy=f"The pass is {kind.__module__}.{kind.__qualname__}, not mlc's."
    )


def count_ops(module: Module) -> int:
    """Ops of all functions, those of bodies included."""
    count = 0
    waiting: list[Operation] = [module.op]
    while waiting:
        for region in waiting.pop().regions:
            for block in region.blocks:
                ops = list(block.ops)
                count += len(ops)
                waiting += [op for op in ops if op.regions]
    return count

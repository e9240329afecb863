"""Which op each line of LLVM IR was printed for, and which of those lines each line of assembly came from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xdsl.dialects import func
from xdsl.ir import Block, Operation

from mlc.codegen.code import Linked, Peaks
from mlc.codegen.llvm.calibration import rates
from mlc.codegen.llvm.function import PRINT, FunctionPrinter
from mlc.codegen.llvm.object import assembly
from mlc.codegen.llvm.printer import attributes_of
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target, last_cache
from mlc.ir.kernel.machine_rates import Core
from mlc.ir.kernel.target import Target

Origins = list[Operation | None]


class LinkedPrinter(FunctionPrinter):
    """A printer that keeps for each line of `lines` and `head` the op it was printed for; inner ops have theirs."""

    def __init__(self, op: func.FuncOp, declared: dict[str, str], attributes: str, fused: bool, dot: str):
        super().__init__(op, declared, attributes, fused, dot)
        self.of_lines: Origins = []
        self.of_head: Origins = []

    def block(self, block: Block) -> None:
        for op in block.ops:
            PRINT[op.name](self, op)
            self.of_lines += [op] * (len(self.lines) - len(self.of_lines))
            self.of_head += [op] * (len(self.head) - len(self.of_head))

    def inside(self, block: Block) -> None:
        around = block.parent_op()
        self.of_lines += [around] * (len(self.lines) - len(self.of_lines))  # what stands in front of a body
        super().inside(block)

    def put(self, place: int, lines: Sequence[str]) -> None:
        self.of_lines[place:place] = [self.of_lines[place - 1]] * len(lines)
        super().put(place, lines)

    def linked(self) -> tuple[str, Origins]:
        """The text, and an op for each of its lines; none for those that only open and close the function."""
        text = self.text()
        origins: Origins = [None, None, *self.of_head, *self.of_lines]
        return text, [*origins, *[None] * (text.count("\n") + 1 - len(origins))]


def emit_linked(functions: Sequence[func.FuncOp], target: CpuTarget) -> tuple[str, Origins]:
    """As printer.emit, with the op of each line."""
    declared: dict[str, str] = {}
    texts, origins = [], []
    for op in functions:
        text, found = LinkedPrinter(op, declared, attributes_of(target), target.fma, target.dot).linked()
        texts.append(text)
        origins += found
    return "\n".join([*texts, *declared.values(), ""]), [*origins, *[None] * (len(declared) + 1)]


class LlvmInspector:
    def linked(self, functions: Sequence[func.FuncOp], target: Target, optimise: bool, assembly: bool) -> Linked:
        assert isinstance(target, CpuTarget)
        code, origins = emit_linked(functions, target)
        lines, numbers = linked_assembly(code, target, optimise) if assembly else ([], [])
        return Linked("LLVM IR", code, origins, lines, numbers)

    def peaks(self, threads: int) -> Peaks:
        measured, vector = rates(), 2 * cpu_target().lanes
        core = measured.memory or measured.l3
        return Peaks(measured.clock * measured.fma * vector * threads, core * threads)

    def core(self, target: Target) -> Core | None:
        return Core(rates(), target.l2, last_cache()) if target == cpu_target() else None


_DIRECTIVE = re.compile(
    r"\s*(\.(cfi|p2align|type|size|globl|file|section|ident|addrsig|text|quad|long|byte|asci|short|uleb|sleb|set|hidden|zero)"
    r"|\.?L(tmp|func|debug|info|cu|line|pub|str|set)\w*[:,])|\s*#|\s*$"
)
_DEBUG = re.compile(r"\s*\.section\s+\.debug_")
_LOC = re.compile(r"\s*\.loc\s+\d+\s+(\d+)")
_LABEL = re.compile(r"([\w.$]+):")
_HEAD = re.compile(r"define [^@]*@([\w.$-]+)\(")


def linked_assembly(text: str, target: CpuTarget, optimise: bool) -> tuple[list[str], list[int]]:
    """The assembly that a text is compiled to, without directives, and for each line the number of the line of LLVM IR it came from, or -1:
    every instruction is marked with its own line as the place in a source. Labels go with what is behind them."""
    heads = {match[1]: row for row, line in enumerate(text.split("\n")) if (match := _HEAD.match(line))}
    lines: list[str] = []
    origins: list[int] = []
    at, labels = -1, 0  # labels that wait for what they stand in front of
    for line in assembly(_located(text), target, optimise).split("\n"):
        if _DEBUG.match(line):
            break
        if place := _LOC.match(line):
            at = int(place[1]) - 1 if place[1] != "0" else at  # 0: LLVM's own, between lines that have a place
            continue
        if _DIRECTIVE.match(line):
            continue
        name, _, rest = line.split("#")[0].strip().partition("\t")
        origins.append(-1)
        if label := _LABEL.match(line):
            lines.append(name)
            at, labels = heads.get(label[1], at), labels + 1  # the frame of a function is of its first line
        else:
            lines.append(f"  {name:<13}{rest}".rstrip())
            origins[-1 - labels :] = [at] * (1 + labels)
            labels = 0
    return lines, origins


def _located(text: str) -> str:
    """The text with a place on each instruction: its line."""
    out: list[str] = []
    places: list[str] = []
    scope = ""
    number = 10
    in_cases = False  # of a switch, which takes several lines
    for row, line in enumerate(text.split("\n"), 1):
        if line.startswith("define "):
            scope, number = f"!{number}", number + 1
            places.append(
                f'{scope} = distinct !DISubprogram(name: "f{number}", file: !2, line: {row}, type: !3, unit: !0, '
                "spFlags: DISPFlagDefinition)"
            )
            line = line.removesuffix("{") + f"!dbg {scope} {{"
        elif line.startswith("  ") and (line.rstrip().endswith("[") or in_cases):
            in_cases = not line.strip().startswith("]")
            if not in_cases:
                line, number = _marked(line, number, row, scope, places)
        elif line.startswith("  "):
            line, number = _marked(line, number, row, scope, places)
        out.append(line)
    return "\n".join([*out, *_UNIT, *places, ""])


def _marked(line: str, number: int, row: int, scope: str, places: list[str]) -> tuple[str, int]:
    places.append(f"!{number} = !DILocation(line: {row}, scope: {scope})")
    return f"{line}, !dbg !{number}", number + 1


_UNIT = (
    "!llvm.dbg.cu = !{!0}",
    "!llvm.module.flags = !{!1}",
    "!0 = distinct !DICompileUnit(language: DW_LANG_C99, file: !2, isOptimized: true, emissionKind: LineTablesOnly)",
    '!1 = !{i32 2, !"Debug Info Version", i32 3}',
    '!2 = !DIFile(filename: "kernel.ll", directory: "")',
    "!3 = !DISubroutineType(types: !4)",
    "!4 = !{null}",
)

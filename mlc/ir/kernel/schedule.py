"""A kernel's schedule: a list of levels and a leaf. The same data drives every target.

    CPU GEMM:  Level(n = 32; B -> panel) | Level(m = 14) | Vector(n x 16, unroll m*n)
    GPU GEMM:  Level(m = 128 block.y, n = 128 block.x) | Level(k = 16; A, B -> workgroup) | Level(m = 8 thread.y, n = 8 thread.x) | Scalar

Loops have names, written on every structured op of the kernel; a level tiles the loops it names in every op that has them, so one list
schedules a whole group (contraction and epilogue, or the stages of a softmax). As text, spaces between words as one likes:

    schedule := (level '|')* leaf ['|' 'resident' number]
    level    := 'Level(' tile (',' tile)* ['by' number] (';' stage)* ')'
    tile     := loop ('=' | '~' | '<=') number [bind] ['beside' number loop]            one sign in a level
    bind     := 'parallel' | 'block.x' | 'block.y' | 'block.z' | 'thread.x' | 'thread.y' | 'thread.z'
    stage    := buffer (',' buffer)* '->' space ['[' axis (',' axis)* ']'] ['+' number] ['ahead' number | 'async' number]
    space    := 'panel' | 'workgroup' | 'register'
    leaf     := 'Scalar' | 'Vector(' loop ('/' loop)* 'x' number (',' option)* ')' | 'Grid(' number ')' | 'Mma(' instruction ')'
              | 'Online(' loop 'x' number [',' instruction] ')'
    instruction := 'm16n8k8_tf32' | 'm16n8k16_bf16' | 'm16n8k16_f16'
    option   := 'unroll' loop ('*' loop)* | 'interleave' number | 'pieces' number

What fits a kernel is another question: fit.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mlc.errors import MlcError
from mlc.ir.spelling import nearest

Space = Literal["panel", "workgroup", "register"]
Binding = Literal["parallel", "block.x", "block.y", "block.z", "thread.x", "thread.y", "thread.z"]
Instruction = Literal["m16n8k8_tf32", "m16n8k16_bf16", "m16n8k16_f16"]
LARGEST = 1 << 24  # elements of a tile, axes of a stage and the like: beyond it a number is a slip


@dataclass(frozen=True)
class Stage:
    """Copy an operand's tile into `space`. `order` permutes its axes there (last = contiguous); `pad` lengthens its rows. `ahead`: while the
    panel of a weight is in use, each of so many tiles of rows fetches its share of the next panel into L2. `buffers`: so many tiles have room at
    a time, and are copied while one of them is in use."""

    space: Space
    order: tuple[int, ...] = ()
    pad: int = 0
    ahead: int = 0
    buffers: int = 1

    def __str__(self) -> str:
        order, pad = str(list(self.order)) if self.order else "", f"+{self.pad}" if self.pad else ""
        more = f" ahead {self.ahead}" if self.ahead else f" async {self.buffers}" if self.buffers > 1 else ""
        return self.space + order + pad + more


@dataclass(frozen=True)
class Level:
    """Tile loops by name; bind tile loops to hardware; stage named buffers at this depth.

    Loops bound to "parallel" are shared among threads: the kernel takes a range of their tiles, the first loop outermost. `fits`: only where
    the whole loop fits in one tile, chosen at run time by a switch over its number of vectors. `ragged`: tiles of a run-time loop keep a
    run-time size, which the leaf loops over, instead of a static tile for every size. `block`: parallel tiles are
    taken in blocks of so many of the last loop with all of the others, so that what the last loop reads stays in a cache meanwhile.
    `beside`: loops that other ops have in place of a tiled one, as {"oh": ("ty", 4)}: to each step of ty belong four of oh, and fewer to the last.
    """

    tiles: Mapping[str, int]
    bind: Mapping[str, Binding] = field(default_factory=dict)
    stage: Mapping[str, Stage] = field(default_factory=dict)
    fits: bool = False
    ragged: bool = False
    block: int = 0
    beside: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def on_grid(self) -> bool:
        """Is a loop of it given to the blocks or threads of a GPU?"""
        return any(bind != "parallel" for bind in self.bind.values())

    def covers(self, loops: Collection[str]) -> bool:
        """Is an op with these loops cut by all tiles of the level?"""
        there = {self.beside[name][0] for name in loops if name in self.beside}
        return all(name in loops or name in there for name in self.tiles)

    def __str__(self) -> str:
        sign = "<=" if self.fits else "~" if self.ragged else "="
        others = {name: f" beside {times} {other}" for other, (name, times) in self.beside.items()}
        loops = ", ".join(
            f"{n} {sign} {t}" + (f" {self.bind[n]}" if n in self.bind else "") + others.get(n, "")
            for n, t in self.tiles.items()
        )
        loops += f" by {self.block}" if self.block else ""
        return f"Level({loops}" + "".join(f"; {name} -> {where}" for name, where in self.stage.items()) + ")"


@dataclass(frozen=True)
class Vector:
    """Leaf: one of `loops` (the one that an op has) runs across `lanes`; loops in `unroll` are unrolled in registers; `interleave`
    vectors per step of a loop over the vector loop itself; sums are taken by `pieces` of so many values per lane (sums.py)."""

    loops: tuple[str, ...]
    lanes: int
    unroll: tuple[str, ...] = ()
    interleave: int = 1
    pieces: int = 0

    def loops_in(self, names: Iterable[str]) -> list[str]:
        """Those of the names that run across the lanes."""
        return [name for name in names if name in self.loops]

    def __str__(self) -> str:
        unroll = f", unroll {'*'.join(self.unroll)}" if self.unroll else ""
        interleave = f", interleave {self.interleave}" if self.interleave != 1 else ""
        pieces = f", pieces {self.pieces}" if self.pieces else ""
        return f"Vector({'/'.join(self.loops)} x {self.lanes}{unroll}{interleave}{pieces})"


@dataclass(frozen=True)
class Scalar:
    """Leaf: plain loops over single elements; on a CPU LLVM vectorises them where it can."""

    def __str__(self) -> str:
        return "Scalar"


@dataclass(frozen=True)
class Mma:
    """Leaf: a warp multiplies its tile of two operands by a tensor-core instruction; what it multiplies is rounded to the type named."""

    instruction: Instruction

    def __str__(self) -> str:
        return f"Mma({self.instruction})"


@dataclass(frozen=True)
class Online:
    """Leaf: attention by `keys` of its loop over keys at a time, whose scores stay in registers: the softmax of a row is that of the keys so far,
    and what was added up is rescaled where a larger score comes. A warp has 16 rows, and computes with `instruction` or, without one, on
    ordinary cores."""

    loop: str
    keys: int
    instruction: Instruction | None = None

    def __str__(self) -> str:
        return f"Online({self.loop} x {self.keys}{f', {self.instruction}' if self.instruction else ''})"


def multiplied(instruction: str) -> str:
    """The type of the numbers that an instruction multiplies: tf32 of m16n8k8_tf32."""
    return instruction.rpartition("_")[2]


@dataclass(frozen=True)
class Grid:
    """Leaf: each point of the parallel loops of an op is a thread of a GPU, `threads` of which are a block."""

    threads: int

    def __str__(self) -> str:
        return f"Grid({self.threads})"


Leaf = Vector | Scalar | Grid | Mma | Online


@dataclass(frozen=True)
class Schedule:
    """`resident`: blocks that should fit on a multiprocessor of a GPU at a time, which bounds the registers of a thread."""

    levels: tuple[Level, ...]
    leaf: Leaf
    resident: int = 1

    @property
    def on_grid(self) -> bool:
        return any(level.on_grid for level in self.levels)

    def __str__(self) -> str:
        resident = (f"resident {self.resident}",) if self.resident > 1 else ()
        return " | ".join(str(part) for part in (*self.levels, self.leaf, *resident))

    @staticmethod
    def parse(text: str) -> Schedule:
        """The schedule that `str` gives, or one written by hand. Raises MlcError saying what of it is no schedule."""
        parts = [part.strip() for part in text.split("|")]
        levels, resident = [], 1
        if len(parts) > 1 and (found := re.fullmatch(r"resident\s+(-?\d+)", parts[-1])):
            resident = _number(found[1], "the number of resident blocks")
            parts.pop()
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if part.startswith("Level"):
                levels.append(_level(part))
                if last:
                    raise _error(f"'{text}' ends without a leaf", f"Add one: {text} | Scalar")
            elif not last:
                _leaf(part)
                raise _error(
                    f"the leaf '{part}' is followed by '{parts[number + 1]}'",
                    "A leaf is the last part, and there is one.",
                )
        return Schedule(tuple(levels), _leaf(parts[-1]), resident)


_NAME = r"[\w.]+"
_LEVEL = re.compile(r"Level\s*\((?P<tiles>[^;()]*)(?P<stages>(?:;[^;()]*)*)\)")
_TILE = re.compile(
    rf"(?P<loop>{_NAME})\s*(?P<sign><=|=|~)\s*(?P<size>-?\d+)(?:\s+(?P<bind>(?!by\b|beside\b){_NAME}))?"
    rf"(?:\s+beside\s+(?P<times>-?\d+)\s+(?P<other>{_NAME}))?(?:\s+by\s+(?P<block>-?\d+))?"
)
_STAGE = re.compile(
    rf"(?P<names>{_NAME}(?:\s*,\s*{_NAME})*)\s*->\s*(?P<space>\w+)\s*(?:\[(?P<order>[\d,\s]*)\])?\s*(?:\+\s*(?P<pad>\d+))?"
    r"(?:\s*\bahead\s+(?P<ahead>-?\d+)|\s*\basync\s+(?P<buffers>-?\d+))?"
)
_MMA = re.compile(r"Mma\s*\(\s*(?P<instruction>\w+)\s*\)")
_ONLINE = re.compile(rf"Online\s*\(\s*(?P<loop>{_NAME})\s+x\s+(?P<keys>-?\d+)\s*(?:,\s*(?P<instruction>\w+)\s*)?\)")
_GRID = re.compile(r"Grid\s*\(\s*(?P<threads>-?\d+)\s*\)")
_VECTOR = re.compile(
    rf"Vector\s*\(\s*(?P<loops>{_NAME}(?:\s*/\s*{_NAME})*)\s+x\s+(?P<lanes>-?\d+)\s*(?P<options>(?:,[^,()]*)*)\)"
)
_OPTION = re.compile(rf"(?P<name>unroll|interleave|pieces)\s+(?P<value>-?\d+|{_NAME}(?:\s*\*\s*{_NAME})*)")


def _level(text: str) -> Level:
    level = _match(_LEVEL, text, "level", "Level(n = 32) or Level(m = 4, n = 32; B -> panel)")
    tiles: dict[str, int] = {}
    bind: dict[str, Binding] = {}
    signs = set()
    beside: dict[str, tuple[str, int]] = {}
    block = 0
    if not level["tiles"].strip():
        raise _error(f"'{text}' tiles no loop", "A level says how at least one loop is cut: Level(n = 32).")
    for part in _parts(level["tiles"], ","):
        tile = _match(_TILE, part, "tile", "n = 32, n ~ 32, n <= 32, or n = 32 parallel")
        if block:
            raise _error(f"'{text}' goes on behind 'by {block}'", "'by' stands behind the last loop of a level.")
        if tile["loop"] in tiles:
            raise _error(
                f"'{text}' tiles loop {tile['loop']} twice", "Tile it in a level of its own to cut it once more."
            )
        tiles[tile["loop"]] = _number(tile["size"], f"the tile of loop {tile['loop']}")
        signs.add(tile["sign"])
        block = _number(tile["block"], "the number behind 'by'") if tile["block"] else 0
        if tile["bind"]:
            bind[tile["loop"]] = _choice(tile["bind"], Binding, "bind of a loop")
        if tile["other"]:
            beside[tile["other"]] = tile["loop"], _number(tile["times"], "the number behind 'beside'")
    if len(signs) > 1:
        raise _error(
            f"'{text}' mixes {' and '.join(sorted(signs))}", "The loops of a level have one sign; write two levels."
        )
    stages: dict[str, Stage] = {}
    for part in list(_parts(level["stages"], ";"))[1:]:
        stage = _match(_STAGE, part, "stage", "B -> panel, A, B -> panel or B -> panel[1, 0]")
        space: Space = _choice(stage["space"], Space, "space")
        order = (
            tuple(_number(axis, "an axis", least=0) for axis in _parts(stage["order"], ",")) if stage["order"] else ()
        )
        for name in _parts(stage["names"], ","):
            if name in stages:
                raise _error(f"'{text}' stages {name} twice", "A level copies a buffer once.")
            pad = _number(stage["pad"] or "0", "the length of '+'", least=0)
            ahead = _number(stage["ahead"], "the number behind 'ahead'") if stage["ahead"] else 0
            buffers = _number(stage["buffers"], "the number behind 'async'", least=2) if stage["buffers"] else 1
            stages[name] = Stage(space, order, pad, ahead, buffers)
    return Level(tiles, bind, stages, "<=" in signs, "~" in signs, block, beside)


def _leaf(text: str) -> Leaf:
    if text == "Scalar":
        return Scalar()
    if mma := _MMA.fullmatch(text):
        return Mma(_choice(mma["instruction"], Instruction, "instruction of a tensor core"))
    if online := _ONLINE.fullmatch(text):
        what = online["instruction"]
        instruction = _choice(what, Instruction, "instruction of a tensor core") if what else None
        return Online(online["loop"], _number(online["keys"], "the number of keys"), instruction)
    if grid := _GRID.fullmatch(text):
        return Grid(_number(grid["threads"], "the number of threads"))
    leaf = _match(
        _VECTOR,
        text,
        "leaf",
        "Scalar, Mma(m16n8k8_tf32), Online(t x 64), Vector(n x 16) or Vector(n x 16, unroll m*n, interleave 2, pieces 64)",
    )
    given: dict[str, str] = {}
    for part in list(_parts(leaf["options"], ","))[1:]:
        option = _match(_OPTION, part, "option of a leaf", "unroll m*n, interleave 2 or pieces 64")
        if option["name"] in given:
            raise _error(f"'{text}' says {option['name']} twice", "Say it once.")
        given[option["name"]] = option["value"]
    unroll = tuple(_parts(given["unroll"], "*")) if "unroll" in given else ()
    counts = {key: _number(given[key], key) for key in ("interleave", "pieces") if key in given}
    return Vector(tuple(_parts(leaf["loops"], "/")), _number(leaf["lanes"], "the number of lanes"), unroll, **counts)


def _parts(text: str, sign: str) -> Iterator[str]:
    yield from (part.strip() for part in text.split(sign))


def _number(text: str, what: str, least: int = 1) -> int:
    digits = text.lstrip("-")
    if not digits.isdecimal():
        raise _error(f"{what} is '{text}'", "It is a number.")
    if len(digits) > 12 or not least <= (value := int(text)) <= LARGEST:
        raise _error(f"{what} is {text}", f"It is at least {least} and at most {LARGEST}.")
    return value


def _choice(text: str, choices: object, what: str) -> Any:
    known = get_args(choices)
    if text not in known:
        near = nearest(text, known)
        raise _error(
            f"'{text}' is no {what}", f"Did you mean '{near[0]}'?" if near else f"Choices: {', '.join(known)}."
        )
    return text


def _match(pattern: re.Pattern[str], text: str, what: str, examples: str) -> re.Match[str]:
    if found := pattern.fullmatch(text):
        return found
    raise _error(f"'{text}' is no {what}", f"Write {examples}.")


def _error(message: str, remedy: str) -> MlcError:
    return MlcError(f"schedule: {message}", remedy=remedy)

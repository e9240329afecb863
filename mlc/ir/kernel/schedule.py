"""A kernel's schedule: a list of levels and a leaf. The same data drives every target.

    CPU GEMM:  Level(n = 32; B -> panel) | Level(m = 14) | Vector(n x 16, unroll m*n)
    GPU GEMM:  Level(m = 128 block.y, n = 128 block.x) | Level(k = 16; A, B -> workgroup) | Level(m = 8 thread.y, n = 8 thread.x) | Scalar

Loops have names, written on every structured op of the kernel; a level tiles the loops it names in every op that has them, so one list
schedules a whole group (contraction and epilogue, or the stages of a softmax).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mlc.errors import MlcError

Space = Literal["panel", "workgroup", "register"]
Binding = Literal["parallel", "block.x", "block.y", "block.z", "thread.x", "thread.y", "thread.z"]


@dataclass(frozen=True)
class Stage:
    """Copy an operand's tile into `space`. `order` permutes its axes there (last = contiguous); `pad` lengthens its rows."""

    space: Space
    order: tuple[int, ...] = ()
    pad: int = 0

    def __str__(self) -> str:
        return self.space + (str(list(self.order)) if self.order else "") + (f"+{self.pad}" if self.pad else "")


@dataclass(frozen=True)
class Level:
    """Tile loops by name; bind tile loops to hardware; stage named buffers at this depth.

    Loops bound to "parallel" are shared among threads: the kernel takes a range of their tiles, the first loop outermost. `fits`: only where
    the whole loop fits in one tile, chosen at run time by a switch over its number of vectors. `ragged`: tiles of a run-time loop keep a
    run-time size, which the leaf loops over, instead of a static tile for every size. `block`: parallel tiles are
    taken in blocks of so many of the last loop with all of the others, so that what the last loop reads stays in a cache meanwhile.
    """

    tiles: Mapping[str, int]
    bind: Mapping[str, Binding] = field(default_factory=dict)
    stage: Mapping[str, Stage] = field(default_factory=dict)
    fits: bool = False
    ragged: bool = False
    block: int = 0

    def __str__(self) -> str:
        sign = "<=" if self.fits else "~" if self.ragged else "="
        loops = ", ".join(
            f"{n} {sign} {t}" + (f" {self.bind[n]}" if n in self.bind else "") for n, t in self.tiles.items()
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

    def __str__(self) -> str:
        pieces = f", pieces {self.pieces}" if self.pieces else ""
        return f"Vector({'/'.join(self.loops)} x {self.lanes}, unroll {'*'.join(self.unroll)}, interleave {self.interleave}{pieces})"


@dataclass(frozen=True)
class Scalar:
    """Leaf: plain loops over single elements; on a CPU LLVM vectorises them where it can."""

    def __str__(self) -> str:
        return "Scalar"


Leaf = Vector | Scalar


@dataclass(frozen=True)
class Schedule:
    levels: tuple[Level, ...]
    leaf: Leaf

    def __str__(self) -> str:
        return " | ".join(str(part) for part in (*self.levels, self.leaf))

    @staticmethod
    def parse(text: str) -> Schedule:
        """The schedule that `str` gives. Raises MlcError for another text."""
        *levels, leaf = [part.strip() for part in text.split(" | ")]
        return Schedule(tuple(_level(part) for part in levels), _leaf(leaf))


_LEVEL = re.compile(r"Level\((?P<tiles>[^;]*)(?P<stages>(; .*)?)\)")
_TILE = re.compile(r"(?P<loop>\S+) (?P<sign><=|=|~) (?P<size>\d+)(?: (?P<bind>(?!by )\S+))?(?: by (?P<block>\d+))?")
_STAGE = re.compile(
    r"(?P<name>\S+) -> (?P<space>panel|workgroup|register)(?:\[(?P<order>[\d, ]*)\])?(?:\+(?P<pad>\d+))?"
)
_VECTOR = re.compile(
    r"Vector\((?P<loops>\S+) x (?P<lanes>\d+), unroll (?P<unroll>\S*), interleave (?P<interleave>\d+)(?:, pieces (?P<pieces>\d+))?\)"
)


def _level(text: str) -> Level:
    level = _match(_LEVEL, text, "level")
    tiles: dict[str, int] = {}
    bind: dict[str, Binding] = {}
    fits = ragged = False
    block = 0
    for part in filter(None, level["tiles"].split(", ")):
        tile = _match(_TILE, part, "tile")
        tiles[tile["loop"]] = int(tile["size"])
        fits |= tile["sign"] == "<="
        ragged |= tile["sign"] == "~"
        block = int(tile["block"] or 0)
        if tile["bind"]:
            bind[tile["loop"]] = tile["bind"]  # type: ignore[assignment]
    stages = {}
    for part in filter(None, level["stages"].split("; ")):
        stage = _match(_STAGE, part, "stage")
        order = tuple(int(axis) for axis in stage["order"].split(",")) if stage["order"] else ()
        stages[stage["name"]] = Stage(stage["space"], order, int(stage["pad"] or 0))  # type: ignore[arg-type]
    return Level(tiles, bind, stages, fits, ragged, block)


def _leaf(text: str) -> Leaf:
    if text == "Scalar":
        return Scalar()
    leaf = _match(_VECTOR, text, "leaf")
    unroll = tuple(filter(None, leaf["unroll"].split("*")))
    interleave, pieces = int(leaf["interleave"]), int(leaf["pieces"] or 0)
    return Vector(tuple(leaf["loops"].split("/")), int(leaf["lanes"]), unroll, interleave, pieces)


def _match(pattern: re.Pattern[str], text: str, what: str) -> re.Match[str]:
    if found := pattern.fullmatch(text):
        return found
    raise MlcError(
        f"schedule: '{text}' is no {what}", remedy="Write it as a printed schedule: Level(n = 32; B -> panel) | Scalar"
    )

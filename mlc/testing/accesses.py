"""What a kernel reads and writes, counted as it runs on this machine.

    seen = watch(module, "saxpy", 4, 256, [x, y, 2.0, n])
    seen.bytes_read(0)                # of argument 0, by all threads: n * 4 where each element is loaded once
    seen.shared_uses()                # per line of the text: how its accesses to shared memory conflict in banks
    seen.global_uses()                # per line: bytes per thread, and sectors moved over the fewest possible
    seen.between_blocks()             # elements that one block writes and another touches

An access is counted as the text has it, once the compiler has taken away what it loads twice for nothing. There are no caches.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import numpy as np

from mlc.errors import MlcError
from mlc.ir.kernel.address_maps import LANES, SECTOR, bank_ways, sectors
from mlc.testing import host_build
from mlc.testing.host_module import HostModule, Order

LIMIT = 20_000_000
_one_meter = Lock()  # the runtime tells one
STATIC, DYNAMIC = -1, -2  # what `array` says of shared memory

_ROW = np.dtype(
    [
        ("place", "u8"),
        ("offset", "i8"),
        ("block", "u4"),
        ("thread", "u2"),
        ("array", "i2"),
        ("bytes", "u4"),
        ("writes", "u1"),
        ("atomic", "u1"),
        ("unused", "u2"),
    ]
)


class _Range(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("begin", "end", "reads", "writes")]


class _Meter(ctypes.Structure):
    _fields_ = [
        ("ranges", ctypes.POINTER(_Range)),
        ("count", ctypes.c_uint64),
        ("static_begin", ctypes.c_uint64),
        ("static_end", ctypes.c_uint64),
        ("dynamic_bytes", ctypes.c_uint64),
        ("accesses", ctypes.c_void_p),
        ("made", ctypes.c_uint64),
        ("room", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
    ]


@dataclass(frozen=True)
class SharedUse:
    """Accesses of one line to shared memory: bytes of each, how many warps made it, and how many ways the banks conflict at worst."""

    line: int
    writes: bool
    bytes: int
    warps: int
    ways: int


@dataclass(frozen=True)
class GlobalUse:
    """Accesses of one line to an argument: bytes per thread, how many warps made it, sectors that they moved and the fewest for those bytes."""

    line: int
    argument: int
    writes: bool
    bytes: int
    warps: int
    sectors: int
    fewest: int


@dataclass(frozen=True)
class Between:
    """An element of an argument that one block writes and another reads or writes, without atomics: what it holds depends on who comes first.
    Its offset in bytes; of both accesses, the writing one first, the block by its linear number, and the line."""

    argument: int
    offset: int
    blocks: tuple[int, int]
    lines: tuple[int, ...]


class Accesses:
    """Of one launch. `table` has a row for each: offset in bytes, array (the number of the argument, STATIC or DYNAMIC), block and thread by their
    linear numbers, bytes, writes, atomic, place in the code."""

    def __init__(self, table: np.ndarray, read: dict[int, int], written: dict[int, int], lines: dict[int, int]):
        self.table = table
        self._read, self._written, self._lines = read, written, lines

    def bytes_read(self, argument: int) -> int:
        """By all threads together; of an array that is given twice, under its first number."""
        return self._read[argument]

    def bytes_written(self, argument: int) -> int:
        return self._written[argument]

    def shared_uses(self) -> list[SharedUse]:
        found: dict[tuple[int, bool, int], SharedUse] = {}
        for line, _, writes, bytes, at in self._warps(self.table["array"] < 0):
            old = found.get((line, writes, bytes), SharedUse(line, writes, bytes, 0, 0))
            ways = max(old.ways, int(bank_ways(at, bytes).max()))
            found[line, writes, bytes] = SharedUse(line, writes, bytes, old.warps + len(at), ways)
        return [found[key] for key in sorted(found)]

    def global_uses(self) -> list[GlobalUse]:
        found: dict[tuple[int, int, bool, int], GlobalUse] = {}
        for line, argument, writes, bytes, at in self._warps(self.table["array"] >= 0):
            key = line, argument, writes, bytes
            old = found.get(key, GlobalUse(*key, 0, 0, 0))
            different = np.array([len(np.unique(row[row >= 0])) for row in at])
            fewest = int((-(-different * bytes // SECTOR)).sum())
            moved = int(sectors(at, bytes).sum())
            found[key] = GlobalUse(*key, old.warps + len(at), old.sectors + moved, old.fewest + fewest)
        return [found[key] for key in sorted(found)]

    def between_blocks(self) -> list[Between]:
        """For each argument that has any: the first such element, with the lines of an access that writes it and of one from another block."""
        found = []
        rows = self.table[(self.table["array"] >= 0) & (self.table["atomic"] == 0)]
        for argument in np.unique(rows["array"]):
            mine = rows[rows["array"] == argument]
            unit = int(
                np.gcd.reduce(np.concatenate([mine["offset"], mine["bytes"]]).astype(np.int64))
            )  # the size of an element
            count = mine["bytes"].astype(np.int64) // unit
            row = np.repeat(np.arange(len(mine)), count)
            element = mine["offset"][row] // unit + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
            size = int(element.max()) + 1
            lowest, highest, written = np.full(size, 1 << 32), np.full(size, -1), np.zeros(size, bool)
            np.minimum.at(lowest, element, mine["block"][row])
            np.maximum.at(highest, element, mine["block"][row])
            written[element[mine["writes"][row] == 1]] = True
            if not (clash := np.flatnonzero(written & (lowest < highest))).size:
                continue
            here = mine[row[element == clash[0]]]
            writer = here[here["writes"] == 1][0]
            other = here[here["block"] != writer["block"]][0]
            places = tuple(self._lines.get(int(each["place"]), 0) for each in (writer, other))
            found.append(
                Between(int(argument), int(clash[0]) * unit, (int(writer["block"]), int(other["block"])), places)
            )
        return found

    def _warps(self, which: np.ndarray) -> Iterator[tuple[int, int, bool, int, np.ndarray]]:
        """Line, array, whether it writes, bytes, and the addresses of the lanes: a row for each time a warp came to an access."""
        rows = self.table[which]
        for place in np.unique(rows["place"]):
            here = rows[rows["place"] == place]
            for array, writes, bytes in sorted(
                set(zip(here["array"].tolist(), here["writes"].tolist(), here["bytes"].tolist(), strict=True))
            ):
                mine = here[(here["array"] == array) & (here["writes"] == writes) & (here["bytes"] == bytes)]
                thread = mine["block"].astype(np.int64) * 1024 + mine["thread"]
                order = np.argsort(thread, kind="stable")
                thread, offset = thread[order], mine["offset"][order]
                first = np.concatenate([[True], thread[1:] != thread[:-1]])
                turn = np.arange(len(thread)) - np.maximum.accumulate(np.where(first, np.arange(len(thread)), 0))
                warps, row = np.unique(np.stack([thread // LANES, turn]), axis=1, return_inverse=True)
                at = np.full((warps.shape[1], LANES), -1, np.int64)
                at[row.reshape(-1), thread % LANES] = offset
                yield self._lines.get(int(place), 0), array, bool(writes), bytes, at


@cache
def _watched(text: str, flush: bool) -> HostModule:
    return HostModule(text, flush=flush, metered=True)


def watch(
    module: HostModule,
    kernel: str,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[Any],
    *,
    shared: int = 0,
    order: Order = Order(),  # noqa: B008 (frozen)
    table: bool = True,
) -> Accesses:
    """Run a kernel as HostModule.launch does, and count. Without `table` bytes are summed alone, which takes no memory.

    Raises MlcError beyond LIMIT accesses.
    """
    watched = _watched(module.text, bool(module.defines))
    arrays: dict[int, tuple[int, np.ndarray]] = {}  # by address: an array that is given twice is one
    for number, arg in enumerate(args):
        if isinstance(arg, np.ndarray) and arg.nbytes:
            arrays.setdefault(arg.ctypes.data, (number, arg))
    numbers = [number for number, _ in arrays.values()]
    ranges = (_Range * (len(arrays) + 1))(*(_Range(at, at + arg.nbytes, 0, 0) for at, (_, arg) in arrays.items()))
    meter = _Meter(ranges, len(arrays), *watched.static_shared(kernel), shared, None, 0, 0, LIMIT if table else 0, 0)
    library = watched.library
    with _one_meter:
        library.mlc_meter_start(ctypes.byref(meter))
        try:
            watched.launch(kernel, grid, block, args, shared=shared, order=order)
            raw = ctypes.string_at(meter.accesses, meter.made * _ROW.itemsize) if meter.made else b""
        finally:
            library.mlc_meter_stop()
            library.mlc_meter_free(ctypes.byref(meter))
    if meter.lost:
        raise MlcError(
            f"kernel '{kernel}': more than {LIMIT} accesses", remedy="Launch fewer blocks, or pass table=False."
        )
    rows = np.frombuffer(raw, _ROW).copy()
    rows["array"] = np.where(rows["array"] >= 0, np.array([*numbers, 0])[rows["array"]], rows["array"])
    read = {number: int(ranges[i].reads) for i, number in enumerate(numbers)}
    written = {number: int(ranges[i].writes) for i, number in enumerate(numbers)}
    return Accesses(rows, read, written, _lines(watched.content, np.unique(rows["place"]).tolist()))


def _lines(library: bytes, places: Sequence[int]) -> dict[int, int]:
    """Of the text, for places in the code behind a call; where a header's function stands there, of who called that. Empty where the machine has no
    addr2line."""
    if not places or not shutil.which("addr2line"):
        return {}
    path = host_build.placed(library, ".so")
    try:
        asked = "\n".join(hex(place - 1) for place in places)
        done = subprocess.run(
            ["addr2line", "-a", "-i", "-e", path], input=asked, capture_output=True, text=True, check=True
        )
    finally:
        os.unlink(path)
    found: dict[int, int] = {}
    place = 0
    for line in done.stdout.splitlines():
        if line.startswith("0x"):
            place = int(line, 16) + 1
        elif (
            place not in found and not line.startswith(str(host_build.HOST)) and (number := re.search(r":(\d+)", line))
        ):
            found[place] = int(number[1])
    return found

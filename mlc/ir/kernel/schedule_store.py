"""Schedules that were measured to be faster than those of the rules, by kernel and machine: readable, mergeable, kept in files.

    {"format": "mlc schedules 1", "entries": [{"target": "cpu znver5: 16 lanes f32, ...", "kernel": "3f2a9c...", "loops": ["[m: 128, n: 768] ..."],
     "schedule": "Level(n = 48 parallel; w -> panel) | ...", "rule": "Level(n = 32 parallel; ...) | ...", "gain": 1.12, "threads": 1}, ...]}

An entry counts for the kernel of its key, on the machine of its target, as long as the rules choose there what it was measured against.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from mlc.errors import MlcError
from mlc.ir.files import write_text
from mlc.ir.kernel.schedule import Schedule
from mlc.ir.kernel.target import Target

FORMAT = "mlc schedules 1"


@dataclass(frozen=True)
class StoredSchedule:
    """One kernel on one machine.

    target    of what kind the machine is, and what schedules ask of it (`machine`)
    kernel    Kernel.key() of the kernel before it had a schedule
    schedule  what to write on it
    rule      what the rules chose, which was measured beside it
    gain      the rule's time by this one's, above 1
    threads   that a call had
    loops     what the kernel computes, and `nodes` what for, where it was found: for readers
    """

    target: str
    kernel: str
    schedule: str
    rule: str
    gain: float
    threads: int = 1
    loops: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


def machine(target: Target) -> str:
    """The text that tells machines with schedules of their own apart."""
    return f"{target.kind} {target}"


@dataclass(frozen=True)
class ScheduleStore:
    """At most one entry for a kernel on a machine, in order; str() is the text of the file."""

    entries: tuple[StoredSchedule, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[StoredSchedule]) -> ScheduleStore:
        """Of several for one kernel on one machine the one that gains most; of equals the last."""
        best: dict[tuple[str, str], StoredSchedule] = {}
        for entry in entries:
            key = (entry.target, entry.kernel)
            if key not in best or entry.gain >= best[key].gain:
                best[key] = entry
        return cls(tuple(best[key] for key in sorted(best)))

    def merged(self, other: ScheduleStore) -> ScheduleStore:
        """The entries of both. One that was measured against another choice of the rules is older, and gives way to `other`'s."""
        newer = {(entry.target, entry.kernel): entry.rule for entry in other.entries}
        kept = [e for e in self.entries if newer.get((e.target, e.kernel), e.rule) == e.rule]
        return ScheduleStore.of([*kept, *other.entries])

    def find(self, target: Target, kernel: str) -> StoredSchedule | None:
        name = machine(target)
        return next((e for e in self.entries if e.kernel == kernel and e.target == name), None)

    def for_machine(self, target: Target) -> int:
        """How many entries are for this machine."""
        return sum(entry.target == machine(target) for entry in self.entries)

    def __str__(self) -> str:
        rows = [json.dumps(asdict(entry), indent=1, ensure_ascii=False) for entry in self.entries]
        return f'{{"format": "{FORMAT}", "entries": [\n' + ",\n".join(rows) + "\n]}\n"

    def save(self, path: str | PathLike[str]) -> None:
        """Raises MlcError where the file cannot be written."""
        write_text(path, str(self))

    @staticmethod
    def read(path: str | PathLike[str]) -> ScheduleStore:
        """Raises MlcError for a file that is not there, or is no store."""
        name = fspath(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise MlcError(
                f"cannot read the store of schedules {name}: {(error.strerror or str(error)).lower()}",
                remedy="mlc tune MODEL --tune-store FILE writes one.",
            ) from error
        except UnicodeDecodeError as error:
            raise _damaged(name, "it is no text") from error
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _damaged(name, f"it is no JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            said = content.get("format") if isinstance(content, dict) else None
            raise _damaged(name, f"its format is {said!r}, not {FORMAT!r}")
        rows = content.get("entries")
        if not isinstance(rows, list):
            raise _damaged(name, "it has no list of entries")
        return ScheduleStore.of(_entry(name, number, row) for number, row in enumerate(rows, 1))

    @staticmethod
    def read_all(paths: Sequence[str | PathLike[str]]) -> ScheduleStore:
        """Several files, merged in their order."""
        found = ScheduleStore()
        for path in paths:
            found = found.merged(ScheduleStore.read(path))
        return found


_NAMES = {each.name for each in fields(StoredSchedule)}
_TEXTS, _LISTS = ("target", "kernel", "schedule", "rule"), ("loops", "nodes")


def _entry(file: str, number: int, row: Any) -> StoredSchedule:
    where = f"entry {number}"
    if not isinstance(row, dict):
        raise _damaged(file, f"{where} is no object")
    if strange := sorted(set(row) - _NAMES):
        raise _damaged(file, f"{where} has a field '{strange[0]}'")
    for name in _TEXTS:
        if not isinstance(row.get(name), str):
            raise _damaged(file, f"{where} has no text '{name}'")
    for name in ("schedule", "rule"):
        try:
            Schedule.parse(row[name])
        except MlcError as error:
            raise _damaged(file, f"{where}: {error.message}") from error
    gain, threads = row.get("gain"), row.get("threads", 1)
    if isinstance(gain, bool) or not isinstance(gain, int | float) or not 0 < gain < float("inf"):
        raise _damaged(file, f"{where} has the gain {gain!r}")
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise _damaged(file, f"{where} has the threads {threads!r}")
    lists = {name: row.get(name, []) for name in _LISTS}
    for name, lines in lists.items():
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise _damaged(file, f"{where} has no list of texts '{name}'")
    target, kernel, schedule, rule = (row[name] for name in _TEXTS)
    return StoredSchedule(
        target, kernel, schedule, rule, float(gain), threads, tuple(lists["loops"]), tuple(lists["nodes"])
    )


def _damaged(file: str, why: str) -> MlcError:
    return MlcError(f"{file} is no store of schedules: {why}", remedy="mlc tune MODEL --tune-store FILE writes one.")

"""What a compilation tells while it runs: `mlc.compile(..., progress=callback)` is called with an Event."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlc.ir.work import Part, watched


@dataclass(frozen=True)
class Event:
    """A stage begins (`text` is empty), is at the node, pass, kernel or weight in `text`, `done` of `total` (0: not counted), or is
    `finished`, with a summary in `text`. `place()` also names the op that a pass is at in the moment of asking, of which no events tell."""

    stage: str
    text: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    finished: bool = False
    part: Part | None = None

    def place(self) -> str:
        from mlc.ir.graph.base import location_name

        op = self.part.op if self.part else None
        name = "" if op is None else location_name(op) or op.name
        return ": ".join(filter(None, (self.text, name)))


Progress = Callable[[Event], None]


class OpenStage:
    """One stage in progress: `at` reports where it stands, `text` is its summary in the end."""

    def __init__(self, stage: str, progress: Progress | None):
        self.stage = stage
        self.text = ""
        self.part = Part()
        self._progress = progress
        self._start = time.perf_counter()
        self.at("")

    def at(self, text: str, done: int = 0, total: int = 0) -> None:
        if self._progress is not None:
            self._progress(Event(self.stage, text, done, total, time.perf_counter() - self._start, part=self.part))

    def finish(self) -> float:
        """Seconds the stage took."""
        seconds = time.perf_counter() - self._start
        if self._progress is not None:
            self._progress(Event(self.stage, self.text, 1, 1, seconds, finished=True))
        return seconds


@contextmanager
def stage(name: str, progress: Progress | None, seconds: dict[str, float] | None = None) -> Iterator[OpenStage]:
    """A stage; its time is added to `seconds` under its name. Of a stage that fails no end is reported."""
    step = OpenStage(name, progress)
    with watched(*((None, None) if progress is None else (step.at, step.part))):
        yield step
    took = step.finish()
    if seconds is not None:
        seconds[name] = seconds.get(name, 0.0) + took

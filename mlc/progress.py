"""What a compilation tells while it runs: `mlc.compile(..., progress=callback)` is called with an Event."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One step of a stage. `finished` events come once per stage, with a summary in `text`; others say `done` of `total`."""

    stage: str
    text: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    finished: bool = False


Progress = Callable[[Event], None]


class Step:
    """One stage in progress: `at` reports where it stands, `text` is its summary in the end."""

    def __init__(self, stage: str, progress: Progress | None):
        self.stage = stage
        self.text = ""
        self._progress = progress
        self._start = time.perf_counter()

    def at(self, done: int, total: int, text: str = "") -> None:
        if self._progress is not None:
            self._progress(Event(self.stage, text, done, total, time.perf_counter() - self._start))

    def finish(self) -> float:
        """Seconds the stage took."""
        seconds = time.perf_counter() - self._start
        if self._progress is not None:
            self._progress(Event(self.stage, self.text, 1, 1, seconds, finished=True))
        return seconds


@contextmanager
def stage(name: str, progress: Progress | None, seconds: dict[str, float] | None = None) -> Iterator[Step]:
    """A stage; its time is added to `seconds` under its name. Nothing is reported of a stage that fails."""
    step = Step(name, progress)
    yield step
    took = step.finish()
    if seconds is not None:
        seconds[name] = seconds.get(name, 0.0) + took

"""What a command writes where: results to standard output, progress to standard error, or one JSON object with --json."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlc.cli.command_line import UsageError

if TYPE_CHECKING:
    from mlc.progress import Event

SCHEMA = 1  # of the JSON objects
REDRAWN = 0.05  # seconds between two pictures of a bar
LONG = 10.0  # seconds of one stage after which it says what it is at


class Console:
    """`print` for text, `result` for JSON: each is silent in the other mode. Progress is one line per stage, with a bar on a terminal."""

    def __init__(self, json: bool = False, verbosity: int = 0):
        self.json = json
        self.verbosity = verbosity
        self._beside = False  # standard output is taken by what the command makes
        self._bar: Any = None  # on the last line of the terminal
        self._drawn = 0.0  # when it was last
        self._at: Event | None = None  # the last of a stage under way
        self._lock = threading.RLock()
        self._clock: threading.Timer | None = None  # until the next word about it

    def quiet(self) -> Console:
        """One that tells nothing of progress."""
        return Console(self.json, min(self.verbosity, -1))

    def output_is_stdout(self) -> None:
        """What a command makes goes to standard output: what it says goes to standard error from here on."""
        if self.json:
            raise UsageError(
                "--json and an output on standard output exclude each other", remedy="Name a file with -o."
            )
        self._beside = True

    def print(self, text: str = "") -> None:
        if not self.json:
            self.close()
            if not self._beside:
                print(text)
            elif self.verbosity >= 0:
                print(text, file=sys.stderr)

    def wrote(self, path: str | Path, following: str = "") -> None:
        """Name a file that is there now."""
        from mlc.ir.byte_counts import bytes_text

        if str(path) != "-":
            size = f" ({bytes_text(Path(path).stat().st_size)})" if Path(path).is_file() else ""
            self.print(f"{'wrote':<10} {path}{size}{following}")

    def result(self, command: str, **fields: Any) -> None:
        if self.json:
            print(json.dumps({"schema": SCHEMA, "command": command, **fields}, default=_plain))

    def note(self, text: str) -> None:
        """A line beside the result; not with -q."""
        if self.verbosity >= 0:
            self.close()
            print(text, file=sys.stderr)

    def progress(self, event: Event) -> None:
        """For the compiler's `progress`."""
        if self.verbosity < 0:
            return
        with self._lock:
            self._progress(event)

    def _progress(self, event: Event) -> None:
        begins = self._at is None or self._at.stage != event.stage
        self._at = event
        if event.finished:
            self.stop()
            took = f"{event.seconds:.2f} s"
            print(f"{event.stage:<10} {event.text:<70} {took:>8}", file=sys.stderr)
        elif begins:
            self._wait(LONG)
        elif sys.stderr.isatty() and event.total:
            if self._bar is None:
                self._bar = _bar(event)
            if self._bar is not None:
                self._bar.n, self._bar.total = event.done, event.total
                self._bar.set_postfix_str(event.text[:60], refresh=False)
                if time.monotonic() - self._drawn > REDRAWN:
                    self._bar.refresh()
                    self._drawn = time.monotonic()

    def _wait(self, seconds: float) -> None:
        """Say after this time what is at work, then after twice as long."""
        if self._clock is not None:
            self._clock.cancel()
        self._clock = threading.Timer(seconds, self._tell, [2 * seconds])
        self._clock.name, self._clock.daemon = "mlc progress", True
        self._clock.start()

    def _tell(self, following: float) -> None:
        with self._lock:
            event = self._at
            if event is None or event.finished:
                return
            self.close()
            count = f", {event.done} of {event.total} done" if event.total else ""
            print(f"{event.stage:<10} is at {event.place() or 'work'}{count}{_advice(event)}", file=sys.stderr)
            self._wait(following)

    def close(self) -> None:
        """Wipe the bar, if there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def stop(self) -> None:
        """No stage is under way any more."""
        with self._lock:
            self.close()
            self._at = None
            if self._clock is not None:
                self._clock.cancel()
                self._clock = None


def _bar(event: Event) -> Any:
    """The bar of a stage; none in an installation that was made without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    tqdm.monitor_interval = 0  # no thread of its own, beside which a compilation would not be shared among processes
    shape = "{desc} [{bar:28}] {n_fmt}/{total_fmt} {elapsed}{postfix}"
    return tqdm(
        total=event.total, desc=f"{event.stage:<10}", bar_format=shape, ascii=" #", leave=False, file=sys.stderr
    )


def _advice(event: Event) -> str:
    """How to do without what takes so long."""
    from mlc.passes.pipelines import graph_passes

    name = event.text.partition(":")[0]
    can = event.stage == "optimise" and any(step.name == name for step in graph_passes()) and name != "decompose"
    return f"; --disable-pass {name} leaves it out" if can else ""


def _plain(value: object) -> object:
    """Numbers of NumPy and whatever else JSON does not know."""
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)

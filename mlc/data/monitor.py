"""What a run of training tells on its way: a progress bar with loss and throughput, and the losses as a picture."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from mlc.errors import MlcError, TargetUnavailable

RECENT = 50  # steps whose mean loss the bar shows


class Monitor:
    """Losses of a run, step by step.

        with Monitor(total=1000, plot="loss.png") as monitor:
            for x, y in batches:
                monitor.update(step(x, y).item(), len(x))

    total  steps of the run
    unit   what is counted beside steps: "samples", "characters"
    bar    True: a progress bar on standard error; False: none; None: one where standard error is a terminal and tqdm is installed. tqdm
           draws it; where that is missing True is an error, and None a line that says so
    plot   a file of matplotlib's kinds (.png, .svg, .pdf) for the picture, written at the end of a run without an error

    `losses` and `counts` have what was given, `rate` is how many per second. Raises TargetUnavailable without tqdm or matplotlib, before anything runs.
    """

    def __init__(
        self,
        total: int,
        *,
        unit: str = "samples",
        bar: bool | None = None,
        plot: str | os.PathLike[str] | None = None,
    ):
        self.unit, self.plot = unit, plot
        self.losses: list[float] = []
        self.counts: list[int] = []
        if plot is not None:
            _require_picture(Path(plot))
        self._bar: Any = None
        if bar is None and sys.stderr.isatty():
            try:
                bar = import_module("tqdm") is not None
            except ImportError:
                print("there is no progress bar without tqdm: pip install tqdm", file=sys.stderr)
        if bar:
            self._bar = _package("tqdm", "a progress bar").tqdm(total=total, unit="step", leave=False)
        self._start = time.perf_counter()

    def update(self, loss: float, count: int = 1) -> None:
        """A step with this loss, of so many samples."""
        self.losses.append(float(loss))
        self.counts.append(count)
        if self._bar is not None:
            recent = self.losses[-RECENT:]
            text = f"loss {sum(recent) / len(recent):.4f}, {self.rate:,.0f} {self.unit}/s"
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()

    @property
    def rate(self) -> float:
        """Samples per second since the run began."""
        return sum(self.counts) / max(time.perf_counter() - self._start, 1e-9)

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        write: Callable[[str], None] = print if self._bar is None else self._bar.write
        write(line)
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None and self.plot is not None:
            self.draw(self.plot)

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Write the picture: each loss, and the mean of those around it. Raises MlcError before the first step."""
        if not self.losses:
            raise MlcError("there are no losses to draw", remedy="Call update with the loss of each step.")
        figures = _package("matplotlib.figure", "a picture of the losses")
        figure = figures.Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot(xlabel="step", ylabel="loss")
        count = len(self.losses)
        axes.plot(range(1, count + 1), self.losses, linewidth=0.5, alpha=0.5, label="each step")
        wide = count // 40
        around = [self.losses[max(0, n - wide) : n + wide + 1] for n in range(count)]
        axes.plot(range(1, count + 1), [sum(part) / len(part) for part in around], label=f"mean of {2 * wide + 1}")
        axes.legend()
        figure.savefig(path)


def _require_picture(path: Path) -> None:
    """Raises MlcError for a file that the picture could not be written to in the end."""
    canvas = _package("matplotlib.backend_bases", "a picture of the losses").FigureCanvasBase
    kinds = sorted(canvas.get_supported_filetypes())
    if path.suffix.removeprefix(".") not in kinds:
        raise MlcError(f"the picture of the losses cannot be '{path.name}'", remedy=f"Kinds: {', '.join(kinds)}.")
    if not path.parent.is_dir():
        raise MlcError(f"there is no folder '{path.parent}' for the picture of the losses", remedy="Make it first.")


def _package(name: str, what: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise TargetUnavailable(
            f"{what} needs {package}, which is not installed", remedy=f"pip install {package}"
        ) from None

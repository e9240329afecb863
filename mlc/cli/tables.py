"""Tables for a terminal: columns as wide as what is in them, numbers to the right."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

CUT = 60  # letters of a last column that goes to a file


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines. A head that begins with > is of numbers; texts of the last column are cut where the terminal ends."""
    right = [head.startswith(">") for head in heads]
    cells = [[head.removeprefix(">") for head in heads], *rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(heads))]
    if not right[-1]:
        widths[-1] = min(widths[-1], room(sum(widths[:-1]) + 2 * (len(heads) - 1)))
    return [
        "  ".join(
            cell.rjust(width) if to_right else cut(cell, width).ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]


def room(taken: int) -> int:
    """Letters left in a line of the terminal; CUT where standard output is none, or too narrow a one."""
    return max(shutil.get_terminal_size().columns - taken, 20) if sys.stdout.isatty() else CUT


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."

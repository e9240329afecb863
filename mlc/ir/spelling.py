"""Names that a user may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

ALIKE = 0.65  # of 1: one letter of three may differ, or two that changed places among six


def hint(name: str, known: Iterable[str]) -> str:
    """The start of a remedy for a name that is not known; empty where none is near."""
    near = nearest(name, known)
    return f"Did you mean '{near[0]}'? " if near else ""


def nearest(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Up to `count` known names that are near, the nearest first: but for upper and lower case, the last part of a path (`Relu` for
    `/head/Relu`), a word of several (`output` for `--save-output`), or spelled alike. None where nothing is."""
    known = list(dict.fromkeys(known))
    low = name.lower()
    last = low.lstrip("/.:")
    found = [item for item in known if item.lower() == low]
    found += [
        item for item in known if re.split(r"[/.:]", item.lower())[-1] == last or item.lower().endswith(f"/{last}")
    ]
    lower: dict[str, list[str]] = {}
    for item in known:
        lower.setdefault(item.lower(), []).append(item)
    for near in difflib.get_close_matches(low, lower, count, ALIKE):
        found += lower[near]
    if len(bare := low.strip("-")) > 2:
        found += [item for item in known if bare in re.split(r"[-_]", item.lower().strip("-"))]
    return list(dict.fromkeys(found))[:count]

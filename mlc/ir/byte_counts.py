"""Bytes as people write and read them: 200MiB, 1.2 GiB."""

from __future__ import annotations

import re

from mlc.errors import MlcError

_UNITS = {"": 1, "B": 1, **{f"{k}{b}": n**p for p, k in enumerate("KMGT", 1) for b, n in (("B", 1000), ("iB", 1024))}}


def bytes_text(number: float) -> str:
    """1234567 -> 1.2 MiB."""
    for power, letter in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if number >= 1 << power:
            return f"{number / (1 << power):.1f} {letter}"
    return f"{number:.0f} bytes"


def bytes_of(text: str) -> int:
    """200MiB -> 209715200. A number alone is of bytes; KB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024. Raises MlcError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    units = {name.lower(): factor for name, factor in _UNITS.items()}
    if match is None or match[2].lower() not in units:
        raise MlcError(f"{text!r} is no number of bytes", remedy="Write a number and a unit: 200MiB, 1.5GiB, 64KB.")
    return int(float(match[1]) * units[match[2].lower()])

"""The grammar of --shape and --dim.

--shape x:1x3x224x224      --shape x:N,3,224,224      --shape 'a:b:8,4' (split at the last colon)
--dim N=8   N=1..32   N=1..   N=8,T=1..64 (several)   N@8 (for every size, and code of its own for 8)   N@8,T@128 (where both hold)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlc.cli.command_line import UsageError
from mlc.ir.variants import Variant, parse
from mlc.options import DimRange

_RANGE = re.compile(r"(\d*)\.\.(\d*)")


def shapes(texts: Sequence[str]) -> dict[str, tuple[int | str, ...]]:
    """Input -> extents. Extents are separated by commas, or by x where there is no comma; a name with an x in it needs commas."""
    found: dict[str, tuple[int | str, ...]] = {}
    for text in texts:
        name, colon, shape = text.rpartition(":")
        if not colon or not name:
            raise UsageError(f"--shape {text}: no input is named", remedy="Write --shape NAME:1x3x224x224.")
        parts = [part.strip() for part in (shape.split(",") if "," in shape else re.split(r"x(?=\d)|(?<=\d)x", shape))]
        if parts[-1] == "":  # a trailing comma, or no axes at all
            parts.pop()
        if "" in parts:
            raise UsageError(f"--shape {text}: an extent is empty", remedy="Write --shape NAME:1x3x224x224.")
        if name in found:
            raise UsageError(f"--shape names the input '{name}' twice")
        found[name] = tuple(int(part) if part.isdecimal() else part for part in parts)
    return found


def dims(texts: Sequence[str]) -> dict[str, DimRange]:
    """Symbol -> bounds, of the flags that state some."""
    ranges: dict[str, DimRange] = {}
    for text in (part for given in texts if not _is_variant(given) for part in _parts(given)):
        name, equals, value = text.rpartition("=")
        if not name:
            missing = "dimension is named" if equals else "size"
            raise UsageError(f"--dim {text}: no {missing}", remedy="Write --dim N=8, --dim N=1..32 or --dim N@8.")
        if name in ranges:
            raise UsageError(f"--dim bounds '{name}' twice")
        ranges[name] = DimRange(*_range(value, text))
    return ranges


def variants(texts: Sequence[str]) -> list[Variant]:
    """The sizes that get code of their own, one set for each flag that states some."""
    return [parse(text) for text in texts if _is_variant(text)]


def usual(texts: Sequence[str]) -> Variant:
    """The sizes that inputs have where nothing else says: those of the first variant."""
    return next(iter(variants(texts)), {})


def fixed(texts: Sequence[str]) -> dict[str, int]:
    """Symbol -> its only size, of the flags that fix one."""
    return {name: bounds.low for name, bounds in dims(texts).items() if bounds.low == bounds.high}


def exactly(text: str, flag: str) -> dict[str, int]:
    """Symbol -> size, as in N=8,T=128, of a flag that takes sizes alone."""
    found = dims([text])
    for name, bounds in found.items():
        if bounds.low != bounds.high:
            raise UsageError(f"{flag} {text}: {name} is a range", remedy=f"Write {flag} {name}={bounds.low}.")
    return {name: bounds.low for name, bounds in found.items()}


def _parts(text: str) -> list[str]:
    """N=8,T=4 is two; a comma in a name is part of it."""
    parts = text.split(",")
    return [part.strip() for part in parts] if all("=" in part for part in parts) else [text]


def _is_variant(text: str) -> bool:
    return "@" in text and "=" not in text


def _range(value: str, text: str) -> tuple[int, int | None]:
    if value.isdecimal():
        return int(value), int(value)
    if match := _RANGE.fullmatch(value):
        low, high = match.groups()
        return int(low or 0), int(high) if high else None
    raise UsageError(
        f"--dim {text}: '{value}' is neither a size nor a range", remedy="Write --dim N=8 or --dim N=1..32."
    )

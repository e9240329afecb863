"""The device functions that a text calls, and those that they call, out of the headers beside this file: an emitted file needs no other.

numbers.cuh  arithmetic in plain C++
device.cuh   what only PTX says; between `#if !defined(MLC_HOST)` and `#endif`, since mlc/testing has its own to run kernels on a CPU
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_NAME = re.compile(r"\b(?:mlc|MLC)_\w+")
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Item:
    """A function, macro or directive of a header with the comment before it: what it defines and what it uses."""

    text: str
    names: frozenset[str]
    uses: frozenset[str]


def prelude(text: str) -> str:
    """What `text` needs in front of it."""
    parts = []
    needed = set(_NAME.findall(text))
    numbers = _taken(_items("numbers.cuh"), needed)
    device = _taken(_items("device.cuh"), needed)
    if device:
        parts.append("#if !defined(MLC_HOST)\n" + "\n".join(item.text for item in device) + "\n#endif\n")
    parts += [item.text + "\n" for item in numbers]
    return "\n".join(parts)


def _taken(items: tuple[Item, ...], needed: set[str]) -> list[Item]:
    """In the order of the header; `needed` grows by what they use."""
    found: set[int] = set()
    growing = True
    while growing:
        growing = False
        for number, item in enumerate(items):
            if number not in found and item.names & needed:
                found.add(number)
                needed |= item.uses
                growing = True
    return [item for number, item in enumerate(items) if number in found]


@cache
def _items(header: str) -> tuple[Item, ...]:
    items: list[Item] = []
    comment: list[str] = []
    lines: list[str] = []
    depth = 0
    for line in (_HERE / header).read_text().splitlines():
        bare = line.partition("//")[0].rstrip()
        if not lines and (not bare or re.match(r"#(pragma|if|endif)", bare)):
            comment = [*comment, line] if line.startswith("//") else []
            continue
        lines.append(line)
        depth += bare.count("{") - bare.count("}")
        macro = lines[0].startswith("#")
        if (macro and not line.endswith("\\")) or (not macro and not depth and bare.endswith(("}", ";", ")"))):
            items.append(_item(comment, lines))
            comment, lines = [], []
    return tuple(items)


def _item(comment: list[str], lines: list[str]) -> Item:
    text = "\n".join(lines)
    names = _NAME.findall(text)
    if text.startswith("#undef"):
        defined = names[0]
    elif text.startswith("#define"):
        defined = text.split()[1].partition("(")[0]
    else:
        defined = next(name for name in names if not name.startswith("MLC_") or name not in _MACROS)
    return Item("\n".join([*comment, text]), frozenset({defined}), frozenset(names))


_MACROS = frozenset({"MLC_DEVICE", "MLC_MMA"})

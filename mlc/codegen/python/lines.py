"""Long statements over several lines: the arguments of the outermost brackets, indented."""

from __future__ import annotations

import re
from itertools import pairwise

WIDTH = 116
_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|.", re.DOTALL)


def wrapped(text: str, margin: str) -> list[str]:
    """The lines of a statement that is one text."""
    if len(margin) + len(text) <= WIDTH or "\n" in text:
        return [margin + line for line in text.split("\n")]
    head, parts, tail = _split(text)
    if not parts:
        return [margin + text]
    inner, lines = margin + "    ", [margin + head]
    line = ""
    for part in parts:
        if line and len(inner) + len(line) + len(part) + 2 > WIDTH:
            lines += _closed(line, inner)
            line = part
        else:
            line = f"{line}, {part}" if line else part
    last = _closed(line, inner)
    if not text.endswith((f",{tail}", f", {tail}")):
        last[-1] = last[-1].removesuffix(",")
    return [*lines, *last, margin + tail]


def _closed(text: str, margin: str) -> list[str]:
    """The lines of some arguments, with a comma behind the last."""
    lines = wrapped(text, margin)
    return [*lines[:-1], f"{lines[-1]},"]


def _split(text: str) -> tuple[str, list[str], str]:
    """What stands up to the last pair of brackets that are nowhere inside of others, the arguments in these, and the rest."""
    depth, start, pairs, commas = 0, 0, [], []  # type: int, int, list[tuple[int, int, list[int]]], list[int]
    for token in _TOKEN.finditer(text):
        sign, place = token[0], token.start()
        if sign in "([{":
            if depth == 0:
                start, commas = place, []
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if depth == 0:
                pairs.append((start, place, commas))
        elif sign == "," and depth == 1:
            commas.append(place)
    if not pairs:
        return text, [], ""
    start, end, commas = max(pairs, key=lambda pair: pair[1] - pair[0])
    marks = [start, *commas, end]
    parts = [text[a + 1 : b].strip() for a, b in pairwise(marks)]
    return text[: start + 1], [part for part in parts if part], text[end:]

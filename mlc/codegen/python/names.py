"""Python names for what a model names: valid, unique, and near to what the model says."""

from __future__ import annotations

import builtins
import keyword
import re

_LONGEST = 32
RESERVED = frozenset(
    {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "ml_dtypes", "math", "Path", "weights"}
)


class Names:
    """Names of one scope, which gives none that it has given, nor any of `others`: sets that may grow. Those it gives go to `record` too."""

    def __init__(self, *others: set[str], record: set[str] | None = None):
        self.taken: set[str] = set()
        self._others, self._record = others, record
        self._numbers: dict[str, int] = {}

    def new(self, text: str) -> str:
        """A name made from a text; with a number behind it where it is taken."""
        base = identifier(text)
        name, number = base, self._numbers.get(base, 0)
        while name in RESERVED or name in self.taken or any(name in names for names in self._others):
            number += 1
            name = f"{base}_{number}"
        self._numbers[base] = number
        self.taken.add(name)
        if self._record is not None:
            self._record.add(name)
        return name


def identifier(text: str) -> str:
    """/layer1/layer1.0/conv1/Conv -> layer1_0_conv1: words, of which one that begins the next is left out."""
    words: list[str] = []
    for part in re.split(r"[/:]+", text):
        word = re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_")
        if not word:
            continue
        if words and word.lower().startswith(words[-1].lower()):
            words.pop()
        if not words or not words[-1].lower().startswith(word.lower()):
            words.append(word)
    while len(words) > 1 and len("_".join(words)) > _LONGEST:
        words.pop(0)
    name = "_".join(words) or "value"
    name = name.lower() if len(words) > 1 else name
    return name if re.match("[A-Za-z]", name) else f"v{name}"


def printable(text: str) -> str:
    """A text of the model as comments and docstrings may have it: on one line, with nothing that ends them."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text)


def quoted(text: str) -> str:
    """A text as the fixed part of an f-string in double quotes."""
    return printable(text).replace("{", "{{").replace("}", "}}")


def literal(text: str) -> str:
    """A string literal."""
    return f'"{text}"' if text == printable(text) else repr(text)

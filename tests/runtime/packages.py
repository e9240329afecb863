"""Packages changed by hand, as someone might who edits one with a zip program."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from mlc.runtime.package import DIGEST, digest

Change = Callable[[str], str]


def rewritten(package: Path, path: Path, changes: Mapping[str, Change], sealed: bool = True) -> Path:
    """A copy of the package whose members are changed, by the start of their names up to a full stop; `sealed` makes a new digest."""
    with zipfile.ZipFile(package) as old:
        members = {name: old.read(name) for name in old.namelist()}
    for name, content in members.items():
        if change := changes.get(name.split(".")[0]):
            members[name] = change(content.decode()).encode()
    weights = members["weights.safetensors"]
    header = weights[: 8 + int.from_bytes(weights[:8], "little")]
    if sealed:
        others = {name: content for name, content in members.items() if name != "weights.safetensors"}
        members[DIGEST] = digest(others, header).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    return path

"""Lines of the user's Python, as pages show them: a page is sent along, and where a model lay on the disk it was exported on says nothing to others."""

from __future__ import annotations

import posixpath
from pathlib import PureWindowsPath
from typing import Any


def relative_lines(nodes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The nodes, their lines without the folder that all their files lie in: /home/me/nets/block.py:12 -> block.py:12."""
    lines = {line for node in nodes.values() if (line := node.get("line"))}
    common = _folder(lines)
    if not common:
        return nodes
    return {
        name: {**node, "line": _slashes(node["line"])[len(common) :]} if node.get("line") else node
        for name, node in nodes.items()
    }


def _folder(lines: set[str]) -> str:
    """The folder, with a slash at its end; nothing where there is none, or where it is the root of the disk."""
    folders = {posixpath.dirname(_slashes(line)) for line in lines}
    try:
        common = posixpath.commonpath(folders) if folders else ""
    except ValueError:  # some are relative
        return ""
    return "" if common in ("", "/") else common + "/"


def _slashes(line: str) -> str:
    return PureWindowsPath(line).as_posix() if "\\" in line else line

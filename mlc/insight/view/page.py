"""The file of a page: its scripts and style first, then one part of data behind the other, so that it is whole at any time.

A part is JSON, packed by gzip and written in base64, which browsers unpack themselves, also of files. The policy in the head forbids
the page to load anything; that it cannot is a fact, and not a promise.
"""

from __future__ import annotations

import base64
import gzip
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

SCRIPTS = (
    "dom.js",
    "layout.js",
    "data.js",
    "pane.js",
    "draw.js",
    "graph.js",
    "verdict.js",
    "kernels.js",
    "plots.js",
    "memory.js",
    "time.js",
    "places.js",
    "main.js",
)
STYLE = "view.css"
MARK = '<meta name="generator" content="mlc view">'
FORMAT = 1
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def head(title: str) -> str:
    """All of a page but its data."""
    folder = files("mlc.insight.view")
    style = folder.joinpath(STYLE).read_text(encoding="utf-8")
    scripts = "\n".join(
        folder.joinpath(name).read_text(encoding="utf-8").replace('"use strict";\n', "", 1) for name in SCRIPTS
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{MARK}\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}: what mlc made of it</title>\n<style>\n{style}</style>\n"
        f'<script>\n"use strict";\n{scripts}</script>\n</head>\n<body>\n'
    )


def part(kind: str, content: Any, side: int = 0, name: str = "") -> str:
    """One part of the data of the compilation `side`; `name` is the kernel's, of a part with its texts."""
    packed = gzip.compress(json.dumps(content, separators=(",", ":")).encode(), 6, mtime=0)
    called = f' data-name="{escape(name)}"' if name else ""
    text = base64.b64encode(packed).decode()
    return f'<script type="application/octet-stream" data-part="{kind}" data-side="{side}"{called}>{text}</script>\n'


class PageFile:
    """A page that is being written. A file that mlc did not write is not replaced: whoever names it tests that before."""

    def __init__(self, path: Path, title: str):
        self.path = path
        path.write_text(head(title), encoding="utf-8")

    def add(self, kind: str, content: Any, side: int = 0, name: str = "") -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(part(kind, content, side, name))

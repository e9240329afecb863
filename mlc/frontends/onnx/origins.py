"""Where the nodes of an ONNX model come from, by what PyTorch's exporter wrote beside them: the modules they are in, and lines of Python.

pkg.torch.onnx.name_scopes   ['', 'layers.0', 'layers.0.conv', 'conv2d_3']              the last is the node's own
pkg.torch.onnx.stack_trace   File "net.py", line 12, in forward ...                      the innermost last
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlc.ir.module import NodeOrigin

if TYPE_CHECKING:
    from onnx import NodeProto

_SCOPES = "pkg.torch.onnx.name_scopes"
_TRACE = "pkg.torch.onnx.stack_trace"
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
LONGEST = 100_000  # letters of what is read: a file may hold anything


def origin_of(proto: NodeProto) -> NodeOrigin | None:
    """What the metadata of a node say; None where they say nothing that is understood."""
    if not proto.metadata_props:
        return None
    said = {entry.key: entry.value for entry in proto.metadata_props if entry.key in (_SCOPES, _TRACE)}
    path, line = _path(said), _line(said)
    return NodeOrigin(path, line) if path or line else None


def _path(said: Mapping[str, str]) -> tuple[str, ...]:
    """['m', 'm.layers.0', 'm.layers.0.conv', 'conv2d_3'] -> m, layers.0, conv."""
    text = said.get(_SCOPES, "")
    if not text.startswith("[") or len(text) > LONGEST:
        return ()
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        return ()
    found, before = [], ""
    for scope in scopes[:-1]:
        if not scope:
            continue
        inner = scope.removeprefix(f"{before}.") if before else scope
        if inner != before:
            found.append(inner)
        before = scope
    return tuple(found)


def _line(said: Mapping[str, str]) -> str:
    """The line that the user wrote: the innermost that is of no installed package."""
    frames = _FRAME.findall(said.get(_TRACE, "")[:LONGEST])
    own = [frame for frame in frames if "site-packages" not in frame[0] and "dist-packages" not in frame[0]]
    file, number = (own or frames or [("", "")])[-1]
    return f"{file}:{number}" if file else ""

"""How a command fails: the message on standard error, the exit code of the error's kind, a reproducer for a bug of mlc."""

from __future__ import annotations

import json as jsons
import sys
from collections.abc import Sequence

from mlc.errors import InternalError, InvalidText, MlcError, UnsupportedOp


def failed(error: Exception, words: Sequence[str], json: bool = False, traceback: bool = False) -> int:
    """Report an error; returns the exit code."""
    if traceback or "-v" in words:
        import traceback as tracebacks

        tracebacks.print_exception(error, file=sys.stderr)
    internal = not isinstance(error, MlcError | MemoryError | OSError)
    code = error.exit_code if isinstance(error, MlcError) else InternalError.exit_code if internal else 1
    text = _text(error)
    if internal:
        text = f"{text}\n{_bug(error, words)}"
    if json or "--json" in words:
        print(jsons.dumps({"schema": 1, "command": words[0], "error": _fields(error, text, code)}))
    else:
        place = f"{error.place}: " if isinstance(error, InvalidText) else ""  # first, as compilers do: editors find it
        shown = error.body() if isinstance(error, InvalidText) else text
        print(f"{place}{'internal error' if internal else 'error'}: {shown}", file=sys.stderr)
    return code


def _text(error: Exception) -> str:
    if isinstance(error, MlcError | InternalError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"out of memory{': ' if str(error) else ''}{error}"
    if isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
        return f"{error.filename}: {reason}" if error.filename else reason
    return f"{type(error).__name__}: {error}"


def _bug(error: Exception, words: Sequence[str]) -> str:
    """Writes what is needed to see the bug again; returns the lines that say where."""
    import platform
    import shlex
    import tempfile
    import traceback as tracebacks

    import mlc

    content = "\n".join(
        [
            f"command: mlc {shlex.join(words)}",
            f"mlc {mlc.__version__}, Python {platform.python_version()}, {platform.platform()}",
            "",
            "".join(tracebacks.format_exception(error)),
        ]
    )
    try:
        with tempfile.NamedTemporaryFile("w", prefix="mlc-bug-", suffix=".txt", delete=False) as file:
            file.write(content)
    except OSError as problem:
        return f"  This is a bug of mlc. A report could not be written: {problem}"
    reproducer = getattr(error, "reproducer", None)
    given = f" and {reproducer}" if reproducer else ""
    return f"  This is a bug of mlc, not of the model. To report it, send {file.name}{given}; -v shows the traceback."


def _fields(error: Exception, text: str, code: int) -> dict[str, object]:
    found: dict[str, object] = {
        "kind": type(error).__name__,
        "message": getattr(error, "message", str(error)),
        "text": text,
    }
    found["exit_code"] = code
    for name in ("node", "file", "line", "column", "remedy"):
        if getattr(error, name, None) is not None:
            found[name] = str(getattr(error, name))
    if isinstance(error, MlcError) and error.shapes:
        found["shapes"] = [list(row) for row in error.shapes]
    if isinstance(error, UnsupportedOp):
        found["unsupported"] = [{"op": k.op, "nodes": list(k.nodes), "reason": k.reason} for k in error.kinds]
    return found

"""IR as text: xDSL's printer, with string literals written at once instead of byte by byte.

Kernels are known by their text, so that printing is on the road of every compilation.
"""

from __future__ import annotations

import re
from io import StringIO

from xdsl.dialects.builtin import UnknownLoc
from xdsl.ir import Attribute, Operation
from xdsl.printer import Printer


def text_of(*ops: Operation, locations: bool = False) -> str:
    """The ops, one below the other; with `locations` each says where it came from."""
    out = StringIO()
    printer = TextPrinter(out, print_debuginfo=locations)
    for op in ops:
        printer.print_op(op)
        out.write("\n")
    return out.getvalue()


class TextPrinter(Printer):
    """Writes what xDSL's printer writes, but nothing of places that are unknown."""

    def print_attribute(self, attribute: Attribute) -> None:
        if isinstance(attribute, UnknownLoc) and isinstance(out := self.stream, StringIO):
            out.seek(out.tell() - 1)
            if out.read(1) == " ":  # behind an op or argument, not inside of another place
                out.seek(out.tell() - 1)
                out.truncate()
                return
        super().print_attribute(attribute)

    def print_string(self, text: str, *, indent: int | None = None) -> None:
        if self.stream is None or "\n" in text:
            super().print_string(text, indent=indent)
        else:
            self._current_column += len(text)
            self.stream.write(text)

    def print_bytes_literal(self, bytestring: bytes) -> None:
        self.print_string(f'"{_ESCAPED.sub(_escape, bytestring.decode("latin-1"))}"')


_ESCAPED = re.compile(r'[^\x20-\x7e]|["\\]')


def _escape(match: re.Match[str]) -> str:
    return r"\\" if match[0] == "\\" else f"\\{ord(match[0]):02X}"

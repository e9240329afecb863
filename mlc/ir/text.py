"""IR as text: what xDSL's printer writes, but for sizes with names, which stand in the type as one says them; and lines that fit a screen.

    tensor<?x768xf32, #graph.dims<["N", ""]>>   ->  tensor<N x 768 x f32>
    tensor<?xf32, #graph.dims<["2*N + 1"]>>     ->  tensor<"2*N + 1" x f32>

`reading.py` reads both forms. String literals are written at once instead of byte by byte: kernels are known by their text, so that printing
is on the road of every compilation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import StringIO

from xdsl.dialects.builtin import DYNAMIC_INDEX, TensorType, UnknownLoc
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.printer import Printer

from mlc.ir.types import DimsAttr, print_extent

Namer = Callable[[SSAValue], str]

WIDTH = 120  # letters of a line that a person reads


def text_of(*ops: Operation, locations: bool = False, namer: Namer | None = None) -> str:
    """The ops, one below the other; with `locations` each says where it came from. `namer` names the values of @main."""
    out = StringIO()
    printer = TextPrinter(out, print_debuginfo=locations)
    printer.namer = namer
    for op in ops:
        printer.print_op(op)
        out.write("\n")
    return out.getvalue()


class TextPrinter(Printer):
    """Writes what xDSL's printer writes, but sizes with their names, and nothing of places that are unknown."""

    namer: Namer | None = None
    _naming = False  # whether @main is being printed

    def print_attribute(self, attribute: Attribute) -> None:
        if isinstance(attribute, TensorType) and isinstance(attribute.encoding, DimsAttr):
            if (extents := _extents(attribute, attribute.encoding)) is not None:
                self._print_tensor(extents, attribute.element_type)
                return
        elif isinstance(attribute, UnknownLoc) and isinstance(out := self.stream, StringIO):
            out.seek(out.tell() - 1)
            if out.read(1) == " ":  # behind an op or argument, not inside of another place
                out.seek(out.tell() - 1)
                out.truncate()
                return
        super().print_attribute(attribute)

    def _print_tensor(self, extents: list[str], element: Attribute) -> None:
        self.print_string("tensor<")
        for extent in extents:
            print_extent(self, extent)
            self.print_string(" x ")
        self.print_attribute(element)
        self.print_string(">")

    def print_op(self, op: Operation) -> None:
        if self.namer is None or not isinstance(op, FuncOp):
            super().print_op(op)
            return
        self._naming = op.sym_name.data == "main"
        super().print_op(op)
        self._naming = False

    def print_ssa_value(self, value: SSAValue) -> str:
        if self._naming and value not in self._ssa_values:
            assert self.namer is not None
            self._ssa_values[value] = self.namer(value)
        return super().print_ssa_value(value)

    def print_string(self, text: str, *, indent: int | None = None) -> None:
        if self.stream is None or "\n" in text:
            super().print_string(text, indent=indent)
        else:
            self._current_column += len(text)
            self.stream.write(text)

    def print_bytes_literal(self, bytestring: bytes) -> None:
        self.print_string(f'"{_ESCAPED.sub(_escape, bytestring.decode("latin-1"))}"')


def _extents(type: TensorType, sizes: DimsAttr) -> list[str] | None:
    """The size of each axis as text; None where type and encoding do not tell each one once."""
    shape, texts = type.get_shape(), [text.data for text in sizes.texts.data]
    if len(shape) != len(texts) or any((size == DYNAMIC_INDEX) != bool(text) for size, text in zip(shape, texts)):  # noqa: B905
        return None
    return [text or str(size) for size, text in zip(shape, texts, strict=True)]


_ESCAPED = re.compile(r'[^\x20-\x7e]|["\\]')


def _escape(match: re.Match[str]) -> str:
    return r"\\" if match[0] == "\\" else f"\\{ord(match[0]):02X}"


# Lines ---------------------------------------------------------------------------------------------------------------

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|->|[<> ]|(?:[^"<> -]|-(?!>))+|.')


def wrapped(text: str, width: int = WIDTH) -> str:
    """The same IR in lines of at most `width` letters, parted at spaces outside of types and string literals: reading it gives the same."""
    return "".join(f"{line}\n" for whole in text.splitlines() for line in _parted(whole, width))


def _parted(line: str, width: int) -> Iterator[str]:
    if len(line) <= width:
        yield line
        return
    indent = " " * (len(line) - len(line.lstrip(" ")))
    first, *others = _words(line.lstrip(" "))
    shown = indent + first
    for word in others:
        if len(shown) + 1 + len(word) > width:
            yield shown
            shown = f"{indent}    {word}"
        else:
            shown = f"{shown} {word}"
    yield shown


def _words(line: str) -> Iterator[str]:
    """What lines may be parted between: `a = b` stays together, and `-> type`, `: type`."""
    held, word, depth = "", "", 0
    for piece in [*_PIECE.findall(line), " "]:
        if piece != " " or depth:
            depth += (piece == "<") - (piece == ">")
            word += piece
            continue
        if held and (word == "=" or held.endswith((" =", "->", ":"))):
            held = f"{held} {word}"
        else:
            if held:
                yield held
            held = word
        word = ""
    yield held

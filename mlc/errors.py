"""What mlc raises. MlcError and its kinds are about the user's input; InternalError is a bug of mlc's own.

An error says where, which two things disagree, and what to do; `str(error)` is the text the command line prints after "error: ":

    Conv 'conv1': weight expects 64 input channels, x has 3
      model.onnx: node 4
        x       'images'         f32[1, 3, 224, 224]   graph input
        weight  'conv1.weight'   f32[128, 64, 3, 3]    initializer
      With group = 1, weight.shape[1] equals the channels of x.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import ClassVar, NamedTuple


class ShapeNote(NamedTuple):
    """One line of an error's table: the operand's role, its name in the user's model, its type as text, where it comes from."""

    role: str
    name: str
    type: str
    origin: str = ""


class MlcError(Exception):
    """The user's input cannot be used as it is.

    message  first line: lower case, no final period, the names and numbers of the user's own model
    node     name of the node (text) or its index in the file (number)
    file     the file, or file:line, the node stands in
    shapes   rows of (role, name, type text, origin), e.g. ("x", "images", "f32[1, 3, 224, 224]", "graph input")
    remedy   sentences that say what would work, one string; it may have several lines
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        node: str | int | None = None,
        file: str | PathLike[str] | None = None,
        shapes: Iterable[ShapeNote | tuple[str, str, str, str] | tuple[str, str, str]] | None = None,
        remedy: str | None = None,
    ):
        super().__init__(message)
        self.message = message
        self.node = node
        self.file = file
        self.shapes = [ShapeNote(*row) for row in shapes or ()]
        self.remedy = remedy

    def details(self) -> list[str]:
        """Lines between the place and the remedy, unindented; kinds of error add their own."""
        return _columns(self.shapes)

    def __str__(self) -> str:
        lines = [self.message]
        named = self.file is not None and str(self.file) in self.message  # once is enough
        if place := _place(None if named else self.file, self.node):
            lines.append(f"  {place}")
        lines += [f"    {line}" for line in self.details()]
        if self.remedy:
            lines += [f"  {line}" for line in self.remedy.splitlines()]
        return "\n".join(lines)


class InvalidModel(MlcError):
    """The file or module is not a well-formed model: truncated, cyclic, a name used twice, missing external data."""


class InvalidText(InvalidModel):
    """IR text that does not parse or verify: `line` and `column` count from 1, `text` is the line, `length` what the caret marks of it."""

    def __init__(
        self,
        message: str,
        *,
        file: str | PathLike[str],
        line: int,
        column: int,
        text: str,
        length: int = 1,
        remedy: str | None = None,
    ):
        super().__init__(message, file=file, remedy=remedy)
        self.line, self.column, self.text, self.length = line, column, text, length

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def excerpt(self) -> list[str]:
        """The line, or what is around the place of a long one, and carets below."""
        start = max(0, self.column - 1 - _SHOWN // 2) if len(self.text) > _SHOWN else 0
        line = self.text[start : start + _SHOWN]
        before = "".join("\t" if c == "\t" else " " for c in line[: self.column - 1 - start])
        return [line, before + "^" * max(1, min(self.length, len(line) - len(before)))]

    def body(self) -> str:
        """Without the place."""
        lines = [self.message, *(f"    {line}" for line in self.excerpt())]
        return "\n".join([*lines, *(f"  {line}" for line in (self.remedy or "").splitlines())])

    def __str__(self) -> str:
        return f"{self.place}: {self.body()}"


_SHOWN = 160  # characters of a line of text in an error


class ShapeError(MlcError):
    """Shapes disagree, at import, in a builder call, or between the arrays of one call."""


class DTypeError(MlcError):
    """An element type is not what the operation or the model's signature takes."""


class OutOfRange(MlcError, IndexError):
    """A value in the array for an input is a position in a tensor that has none there."""


class NoDerivative(MlcError):
    """An op between an input and a result has no derivative rule; the gradient is not taken for zero."""

    def __init__(
        self,
        op: str,
        reason: str = "",
        *,
        node: str | int | None = None,
        file: str | PathLike[str] | None = None,
        remedy: str | None = None,
    ):
        super().__init__(
            f"{op} has no derivative{f': {reason}' if reason else ''}",
            node=node,
            file=file,
            remedy=remedy or "Where its result shall count as a constant, put stop_gradient behind it.",
        )


@dataclass(frozen=True)
class UnsupportedKind:
    """One kind of operator that cannot be compiled: its name with domain, the nodes that are of it, and why."""

    op: str
    nodes: tuple[str, ...]
    reason: str = ""


class UnsupportedOp(MlcError):
    """The model is well formed, and an operator, attribute or element type in it is not supported.

    `kinds` lists everything unsupported in the model, so that one run reports all of it.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        kinds: Sequence[UnsupportedKind] = (),
        node: str | int | None = None,
        file: str | PathLike[str] | None = None,
        shapes: Iterable[ShapeNote | tuple[str, str, str, str] | tuple[str, str, str]] | None = None,
        remedy: str | None = None,
    ):
        super().__init__(message, node=node, file=file, shapes=shapes, remedy=remedy)
        self.kinds = tuple(kinds)

    def details(self) -> list[str]:
        lines = super().details()
        for kind in self.kinds:
            shown = ", ".join(kind.nodes[:4]) + (", ..." if len(kind.nodes) > 4 else "")
            count = f"{len(kind.nodes)} node" + ("s" if len(kind.nodes) != 1 else "")
            lines.append(f"{kind.op}   {count}   {shown}".rstrip())
            if kind.reason:
                lines.append(f"    {kind.reason}")
        return lines


class NumericMismatch(MlcError):
    """Two results that should agree differ by more than the tolerance."""

    exit_code = 3


class TargetUnavailable(MlcError):
    """What was asked for needs a device, a tool or a package that is not here; the remedy says what to install."""

    exit_code = 4


class InternalError(Exception):
    """A bug in mlc: invalid IR after a pass, a kernel that does not compile. Names the pass and, where one was written, the reproducer."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, pass_name: str | None = None, reproducer: str | PathLike[str] | None = None):
        super().__init__(message)
        self.message = message
        self.pass_name = pass_name
        self.reproducer = reproducer

    def __str__(self) -> str:
        lines = [f"in pass {self.pass_name}: {self.message}" if self.pass_name else self.message]
        if self.reproducer is not None:
            lines.append(f"  reproducer: {self.reproducer}")
        return "\n".join(lines)


def _place(file: str | PathLike[str] | None, node: str | int | None) -> str:
    where = "" if node is None else f"node {node}" if isinstance(node, int) else f"node '{node}'"
    return ": ".join(part for part in (str(file or ""), where) if part)


def _columns(rows: Sequence[ShapeNote]) -> list[str]:
    table = [(row.role, f"'{row.name}'" if row.name else "", row.type, row.origin) for row in rows]
    widths = [max((len(row[i]) for row in table), default=0) for i in range(4)]
    gaps = (2, 3, 3, 0)
    return ["".join(cell.ljust(widths[i] + gaps[i]) for i, cell in enumerate(row)).rstrip() for row in table]

"""IR text into ops, with errors as mlir-opt prints them: file:line:column, the line, and a caret below what is wrong.

bad.mlir:4:10: operation graph.nege is not registered
    %0 = graph.nege %x : tensor<2x3xf32> -> tensor<2x3xf32>
         ^^^^^^^^^^
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from xdsl.context import Context
from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    ArrayAttr,
    ModuleOp,
    NoneAttr,
    StringAttr,
    TensorType,
    UnrankedTensorType,
)
from xdsl.ir import Operation
from xdsl.parser import Parser
from xdsl.parser.generic_parser import ParserState
from xdsl.utils.exceptions import ParseError, VerifyException
from xdsl.utils.lexer import Input, Token
from xdsl.utils.mlir_lexer import MLIRLexer, MLIRToken, MLIRTokenKind, StringLiteral

from mlc.errors import InternalError, InvalidText
from mlc.ir.dims import Dim, Extent
from mlc.ir.scope import out_of_scope, require_one_block, scope_error
from mlc.ir.types import DimsAttr, extent, parse_extent_text

_RESULTS = re.compile(r"(?:%[\w$.-]+(?::\d+)?\s*,?\s*)+=\s*")
_NAME = re.compile(r'"?[\w$.-]+"?')
_UNDEFINED = re.compile(r"values used but not defined: \[(%[\w$.-]+)")
# What xDSL's parser raises where an attribute is not what it looks like: it takes them apart before it checks them.
_MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)


class Reader:
    """One text. `places` says where each op stands: the offsets of its name."""

    def __init__(self, text: str, file: str):
        self.text, self.file = text, file
        self.places: dict[Operation, tuple[int, int]] = {}
        self.last = (0, 0)  # the op that was begun last

    def module(self, context: Context) -> ModuleOp:
        """The module, or one around the functions of the text. Raises InvalidText."""
        with self.locating():
            return _Parser(context, self.text, self.file, self).parse_module()

    def make_scalar(self, op: ModuleOp) -> None:
        """Comparisons, selections and conversions of scalars become the ops that passes on kernels look for."""
        from mlc.ir.kernel.vector_ops import scalar

        for inner in list(op.walk()):
            made = scalar(inner)
            if made is not None and inner.parent is not None:
                made.location = inner.location
                for old, new in zip(inner.results, made.results, strict=True):
                    new.name_hint = old.name_hint
                    old.replace_all_uses_with(new)
                inner.parent.insert_op_before(made, inner)
                inner.detach()
                inner.erase()
                self.places[made] = self.places.pop(inner, (0, 0))

    @contextmanager
    def locating(self, op: Operation | None = None) -> Iterator[None]:
        """Errors inside become InvalidText about the op given, or the one begun last."""
        try:
            yield
        except ParseError as error:
            raise self._parse_error(error) from error
        except (VerifyException, InternalError) as error:
            raise self.error(_first_line(error), *self.place_of(op)) from error
        except _MALFORMED as error:
            raise self.error(f"an attribute is malformed: {_first_line(error)}", *self.place_of(op)) from error
        except RecursionError as error:
            raise self.error("it is nested too deeply", *self.place_of(op)) from error

    def verify(self, op: Operation) -> None:
        """Raises InvalidText about the first op, in the order of the text, that breaks a rule of its own."""
        for inner in op.walk():
            with self.locating(inner):
                require_one_block(inner)
                inner.verify(verify_nested_ops=False)
        for user, value in out_of_scope(op):
            raise self.error(scope_error(user, value), *self.place_of(user))

    def place_of(self, op: Operation | None) -> tuple[int, int]:
        return self.last if op is None else self.places.get(op, (0, 0))

    def error(self, message: str, start: int, end: int, remedy: str | None = None) -> InvalidText:
        begin = self.text.rfind("\n", 0, start) + 1
        stop = self.text.find("\n", start)
        line = self.text[begin : len(self.text) if stop < 0 else stop].rstrip("\r")
        message = " ".join(message.split())
        return InvalidText(
            message[:1].lower() + message[1:].rstrip(".!"),
            file=self.file,
            line=self.text.count("\n", 0, start) + 1,
            column=start - begin + 1,
            text=line,
            length=end - start,
            remedy=remedy,
        )

    def _parse_error(self, error: ParseError) -> InvalidText:
        """Some of xDSL's errors name another place than the one to look at, or say less than is known."""
        start, end = error.span.start, error.span.end
        message = error.msg.replace("{first_char}", f"'{self.text[max(0, start - 1) : start]}'")
        message = _LONG_FORM.sub(_short_form, message)
        if found := _UNDEFINED.match(message):  # reported at the end of the text
            use = re.search(re.escape(found[1]) + r"(?![\w$.-])", self.text)
            start, end = use.span() if use else (start, end)
            message = f"{found[1]} is used and nowhere defined"
        elif message.endswith("is not registered"):  # reported behind the name
            start, end = self.last
            message = message.replace("is not registered", "is of no dialect that mlc reads")
        elif not self.text[start:].strip():
            message = f"the text ends in the middle: {message[:1].lower()}{message[1:]}"
        return self.error(message, start, end)


class _Lexer(MLIRLexer):
    # One character at a time: xDSL's takes runs of them in a repetition, and tries every way to part a long string that does not end.
    _unescaped_characters_regex = re.compile(r'"(?:[^"\\\n\v\f]|\\(?:["nt\\]|[0-9A-Fa-f]{2}))*"')

    def _lex_string_literal(self, start_pos: int) -> MLIRToken:
        """Letters outside of ASCII, which are printed as escaped bytes, are text: names of nodes, inputs and files."""
        token = super()._lex_string_literal(start_pos)
        if token.kind is MLIRTokenKind.BYTES_LIT:
            try:
                StringLiteral.from_span(token.span).bytes_contents.decode()
            except UnicodeDecodeError:
                return token
            return Token(MLIRTokenKind.STRING_LIT, token.span)
        return token


# Sizes of a tensor type that has names among them, as text.py writes them, and the start of one whose sizes do not stand apart.
_EXTENT = re.compile(r'(?:\d+|"(?:[^"\\]|\\.)*"|[A-Za-z_][\w.]*)\s+x\s', re.ASCII)
_TOGETHER = re.compile(r"[A-Za-z_]\w*x\w+\s*[>,]", re.ASCII)


class _Parser(Parser):
    _builtin_integer_type_regex = re.compile(
        r"^[su]?i(\d{1,2})$"
    )  # xDSL holds the largest value of a type, however wide

    def __init__(self, context: Context, text: str, file: str, reader: Reader):
        super().__init__(context, "", file)
        self._resume_from(ParserState(_Lexer(Input(text, file))))
        self.reader = reader

    def parse_operation(self) -> Operation:
        text, start = self.reader.text, self._current_token.span.start
        if results := _RESULTS.match(text, start):
            start = results.end()
        name = _NAME.match(text, start)
        place = self.reader.last = name.span() if name else (start, start + 1)
        op = super().parse_operation()
        self.reader.places[op] = place
        return op

    def _parse_tensor_attrs(self) -> TensorType | UnrankedTensorType:
        """Also sizes with names: tensor<N x 768 x f32>, tensor<"2*N + 1" x f32>."""
        extents: list[Extent] = []
        while _EXTENT.match(self.reader.text, self._current_token.span.start):
            extents.append(self._parse_extent())
            self.parse_shape_delimiter()
        if not extents and not _TOGETHER.match(self.reader.text, self._current_token.span.start):
            return super()._parse_tensor_attrs()
        element = self.parse_optional_type()
        if element is None:
            self.raise_error("a size with a name stands apart, as in tensor<N x 8 x f32>")
        sizes = [DYNAMIC_INDEX if isinstance(size, Dim) else size for size in extents]
        texts = [str(size) if isinstance(size, Dim) else "" for size in extents]
        return TensorType(element, sizes, DimsAttr(ArrayAttr(map(StringAttr, texts))) if any(texts) else NoneAttr())

    def _parse_extent(self) -> Extent:
        start = self._current_token.span
        try:
            return extent(parse_extent_text(self))
        except ValueError as error:
            self.raise_error(str(error), start)


# How xDSL shows a type in a message.
_LONG_FORM = re.compile(r"tensor<((?:[\d?]+x)+)(\w+), #graph\.dims<([^<>]*)>>")


def _short_form(type: re.Match[str]) -> str:
    sizes, texts = type[1].split("x")[:-1], re.findall(r'"(?:[^"\\]|\\.)*"|[^, ]+', type[3])
    if len(sizes) != len(texts):
        return type[0]
    return f"tensor<{' x '.join([s if s != '?' else t for s, t in zip(sizes, texts, strict=True)])} x {type[2]}>"


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

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
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.parser import Parser
from xdsl.parser.generic_parser import ParserState
from xdsl.utils.exceptions import ParseError, VerifyException
from xdsl.utils.lexer import Input
from xdsl.utils.mlir_lexer import MLIRLexer

from mlc.errors import InternalError, InvalidText
from mlc.ir.scope import out_of_scope, require_one_block, scope_error

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


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

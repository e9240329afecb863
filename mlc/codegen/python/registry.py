"""The NumPy form of each class of op: a function from a writer and an op to an expression, or one that writes statements.

@form(TransposeOp)
def _transpose(w: Writer, op: TransposeOp) -> Expr: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from xdsl.ir import Operation

Write = TypeVar("Write", bound=Callable[..., Any])


@dataclass(frozen=True)
class Form:
    """`write(writer, op)` gives the Expr of the op's result, or the text of a tuple of all its results, or None where it has written
    statements. What is `nested` goes into the expression that uses it; other results get a name."""

    write: Callable[[Any, Any], Any]
    nested: bool = False


FORMS: dict[type[Operation], Form] = {}


def form(*kinds: type[Operation], nested: bool = False) -> Callable[[Write], Write]:
    """Enter a function as the form of these classes, and of those that derive from them."""

    def enter(write: Write) -> Write:
        for kind in kinds:
            FORMS[kind] = Form(write, nested)
        return write

    return enter


def form_of(op: Operation) -> Form | None:
    """The form of an op's class, or of the nearest that it derives from."""
    return next((FORMS[kind] for kind in type(op).__mro__ if kind in FORMS), None)

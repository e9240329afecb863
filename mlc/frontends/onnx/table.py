"""The table of handlers: (domain, operator, since_version) -> the function that builds it in the graph dialect.

    @handles("Softmax", since=(13,))
    def softmax(node: Node, x: Value) -> Value:
        return g.softmax(x, node.int("axis"))

    @handles("Softmax", since=(1, 11))           # the older meaning: flattens to two axes
    def softmax_flat(node: Node, x: Value) -> Value: ...

`since` lists the exact versions of the schema that the function implements. A version that nobody lists is refused by name; it is never
given to the handler of another version. A handler takes the node and one value per ONNX input, None where the input is omitted (also
trailing ones up to the schema's count), `*xs` for a variadic input. Operators of other domains have no schema: there the handler's own
parameters say what is taken, `Value` what must be there, `Value | None` what may be left out. It returns one value, or a sequence with one value (or None, where
`node.wants(i)` is false) per output; an array stands for a constant. Operands that decide shapes are read from the node: `node.constants(1, "axes")`, `node.extents(1)`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from xdsl.ir import SSAValue

from mlc.errors import MlcError
from mlc.ir import outsiders

Value = SSAValue


class Items(tuple[Value, ...]):
    """A sequence of tensors whose elements are known one by one."""


class Absent:
    """An optional value that is empty."""


ABSENT = Absent()
Content = Value | Items | Absent


def flattened(contents: Iterable[Content]) -> list[Value]:
    """The tensors in values, one by one."""
    found: list[Value] = []
    for content in contents:
        if isinstance(content, Items):
            found.extend(content)
        elif not isinstance(content, Absent):
            found.append(content)
    return found


Result = Value | np.ndarray | Sequence[Value | np.ndarray | Items | Absent | None]
Handler = Callable[..., Result]
Entered = TypeVar("Entered", bound=Handler)

ONNX_DOMAIN = ""  # the standard's operators; files also write "ai.onnx"
MICROSOFT = "com.microsoft"  # onnxruntime's own
# Tools that write these operators forget to import the domain, and onnxruntime takes its only version then.
IMPLIED_OPSETS = {MICROSOFT: 1}


@dataclass(frozen=True, order=True)
class Key:
    domain: str
    op_type: str
    version: int


_handlers: dict[Key, Handler] = {}
_take_sequences: set[Handler] = set()


def handles(
    op_type: str, *, since: Sequence[int], domain: str = ONNX_DOMAIN, sequences: bool = False, replace: bool = False
) -> Callable[[Entered], Entered]:
    """Enter the decorated function for these since-versions of an operator. A version that has a handler gets another one only with
    `replace`; without, that is an MlcError.

    With `sequences` it takes `Items` where an operand is a sequence, and ABSENT for an empty optional; without, such a node is refused.
    """

    def enter(function: Entered) -> Entered:
        if not outsiders.is_own(function):
            load()  # mlc's own come first, so that a handler in place of one of them is seen to be that
        keys = [Key(canonical(domain), op_type, version) for version in since]
        for key in keys:
            if key in _handlers and not replace:
                old = _handlers[key]
                title = f"{key.domain}.{op_type}" if key.domain else op_type
                raise MlcError(
                    f"{title}, version {key.version}, has a handler: {old.__module__}.{old.__qualname__}",
                    remedy="Write @handles(..., replace=True) to put yours in its place.",
                )
        if sequences:
            _take_sequences.add(function)
        _handlers.update(dict.fromkeys(keys, function))
        outsiders.note(f"a handler of {op_type}", function)
        return function

    return enter


def canonical(domain: str) -> str:
    """The standard's domain has two spellings."""
    return ONNX_DOMAIN if domain == "ai.onnx" else domain


def find(domain: str, op_type: str, version: int) -> Handler | None:
    """The handler of exactly this since-version."""
    return load().get(Key(domain, op_type, version))


def takes_sequences(handler: Handler) -> bool:
    return handler in _take_sequences


def versions(domain: str, op_type: str) -> tuple[int, ...]:
    """The since-versions of an operator that have a handler, ascending."""
    return tuple(sorted(key.version for key in load() if (key.domain, key.op_type) == (domain, op_type)))


def newest(domain: str, op_type: str, opset: int) -> int | None:
    """The version that is in force at an opset, of an operator whose schema is known by its handlers alone."""
    return max((version for version in versions(domain, op_type) if version <= opset), default=None)


@dataclass(frozen=True)
class HandlerOperand:
    """What a handler takes at one place."""

    name: str
    required: bool


@functools.cache
def operands(handler: Handler) -> tuple[tuple[HandlerOperand, ...], bool]:
    """The operands of a handler by its parameters after the node, and whether any number may follow."""
    parameters = list(inspect.signature(handler).parameters.values())[1:]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    plain = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return tuple(HandlerOperand(p.name, p.annotation in (Value, "Value")) for p in plain), variadic


@functools.cache
def load() -> dict[Key, Handler]:
    """The whole table. The first call imports every module of `mlc.frontends.onnx.ops`."""
    from mlc.frontends.onnx import ops

    for module in pkgutil.walk_packages(ops.__path__, f"{ops.__name__}."):
        importlib.import_module(module.name)
    return _handlers

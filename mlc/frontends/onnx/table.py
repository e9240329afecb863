"""The table of handlers: (domain, operator, since_version) -> the function that builds it in the graph dialect.

    @handles("Softmax", since=(13,))
    def softmax(node: Node, x: Value) -> Value:
        return g.softmax(x, node.int("axis"))

    @handles("Softmax", since=(1, 11))           # the older meaning: flattens to two axes
    def softmax_flat(node: Node, x: Value) -> Value: ...

`since` lists the exact versions of the schema that the function implements. A version that nobody lists is refused by name; it is never
given to the handler of another version. A handler takes the node and one value per ONNX input, None where the input is omitted (also
trailing ones up to the schema's count), `*xs` for a variadic input. It returns one value, or a sequence with one value (or None, where
`node.wants(i)` is false) per output; an array stands for a constant. Operands that decide shapes are read from the node: `node.constants(1, "axes")`, `node.extents(1)`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

Value = SSAValue


class Items(tuple[Value, ...]):
    """A sequence of tensors whose elements are known one by one."""


class Absent:
    """An optional value that is empty."""


ABSENT = Absent()

Result = Value | np.ndarray | Sequence[Value | np.ndarray | Items | Absent | None]
Handler = Callable[..., Result]

ONNX_DOMAIN = ""  # the standard's operators; files also write "ai.onnx"


@dataclass(frozen=True, order=True)
class Key:
    domain: str
    op_type: str
    version: int


_handlers: dict[Key, Handler] = {}
_take_sequences: set[Handler] = set()


def handles(
    op_type: str, *, since: Sequence[int], domain: str = ONNX_DOMAIN, sequences: bool = False
) -> Callable[[Handler], Handler]:
    """Enter the decorated function for these since-versions of an operator. A version can be entered once.

    With `sequences` it takes `Items` where an operand is a sequence, and ABSENT for an empty optional; without, such a node is refused.
    """

    def enter(function: Handler) -> Handler:
        if sequences:
            _take_sequences.add(function)
        for version in since:
            key = Key(domain, op_type, version)
            if key in _handlers:
                raise ValueError(f"{key} has two handlers: {_handlers[key].__name__} and {function.__name__}")
            _handlers[key] = function
        return function

    return enter


def find(domain: str, op_type: str, version: int) -> Handler | None:
    """The handler of exactly this since-version."""
    return load().get(Key(domain, op_type, version))


def takes_sequences(handler: Handler) -> bool:
    return handler in _take_sequences


def versions(domain: str, op_type: str) -> tuple[int, ...]:
    """The since-versions of an operator that have a handler, ascending."""
    return tuple(sorted(key.version for key in load() if (key.domain, key.op_type) == (domain, op_type)))


@functools.cache
def load() -> dict[Key, Handler]:
    """The whole table. The first call imports every module of `mlc.frontends.onnx.ops`."""
    from mlc.frontends.onnx import ops

    for module in pkgutil.iter_modules(ops.__path__, f"{ops.__name__}."):
        importlib.import_module(module.name)
    return _handlers

"""Run a function of the IR at once: its ops are built for the first operands of a signature, and evaluated with NumPy for all of them.

A signature is the function, its parameters, and the shape and dtype of each operand (of a Python number its type).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextvars import copy_context
from typing import Any

import numpy as np
from xdsl.ir import Block, SSAValue

from mlc.errors import DTypeError
from mlc.frontends.trace.functions.promotion import Operand, Weak
from mlc.ir.dims import Extent
from mlc.ir.graph.base import building, emit
from mlc.ir.graph.control import YieldOp, yielded
from mlc.ir.graph.elementwise import ElementwiseOp
from mlc.ir.graph.evaluation import Evaluation
from mlc.ir.graph.shape import BroadcastOp
from mlc.ir.types import dtype_name, dtype_of, is_float, numpy_dtype, shape_of, tensor

GraphFunction = Callable[..., SSAValue | Sequence[SSAValue]]
_MOST = 4096  # signatures that are kept; the oldest goes first
_calls: dict[Hashable, EagerCall] = {}

# NumPy's error state belongs to the context, since NumPy 2: entering one costs less than setting the state for each call.
_STATE_IN_CONTEXT = int(np.__version__.split(".")[0]) >= 2
with np.errstate(all="ignore"):
    _quiet = copy_context()


class EagerCall:
    """What is known about a function at one signature: its ops as a closed body, and how to run it.

    `body` has an argument for each operand but the Python numbers, which come behind in the order in which the function asked for them;
    `numbers` tells which operand each is and its dtype. `single` says that the result is one tensor, not several.
    """

    __slots__ = ("body", "floats", "function", "numbers", "operands", "params", "pullbacks", "run", "single")

    def __init__(
        self, function: GraphFunction, params: tuple[tuple[str, Any], ...], signature: Sequence[tuple[Any, Any]]
    ):
        self.function, self.params = function, params
        self.pullbacks: dict[tuple[int, ...], Any] = {}  # see tape.py
        self.numbers: list[tuple[int, np.dtype]] = []
        self.operands = [number for number, (shape, _) in enumerate(signature) if shape is not None]
        self.body = Block(arg_types=[tensor(s, dtype_name(d)) for s, d in signature if s is not None])
        arguments = iter(self.body.args)
        values: list[Operand] = [
            next(arguments) if shape is not None else self._number(number, kind)
            for number, (shape, kind) in enumerate(signature)
        ]
        with building(self.body, checks=[]):
            found = function(*values, **dict(params))
            self.single = isinstance(found, SSAValue)
            emit(YieldOp([found] if isinstance(found, SSAValue) else list(found)))
        self.floats = tuple([n for n, y in enumerate(yielded(self.body)) if is_float(dtype_of(y))])
        self.run = self._runner()

    def _number(self, operand: int, kind: type) -> Weak:
        made: dict[str, SSAValue] = {}

        def make(dtype: str) -> SSAValue:
            if dtype not in made:
                made[dtype] = self.body.insert_arg(tensor((), dtype), len(self.body.args))
                self.numbers.append((operand, numpy_dtype(dtype)))
            return made[dtype]

        return Weak(kind, make)

    def _runner(self) -> Callable[..., Any]:
        if (ufunc := self._ufunc()) is not None:
            return ufunc
        evaluation = Evaluation(self.body, _static)
        if self.single and len(evaluation.steps) == 1 and not evaluation.constants:
            (op, only, reads), (result,) = evaluation.steps[0], evaluation.results
            alone = len(op.results) == 1 and not isinstance(only, Evaluation)  # which gives a tuple
            if alone and reads == tuple(range(len(self.body.args))) and result == len(reads):
                return only
        return (lambda *arrays: evaluation(*arrays)[0]) if self.single else evaluation

    def _ufunc(self) -> Callable[..., Any] | None:
        """NumPy's function of the arguments, where the body is that function of them, broadcast as NumPy itself does it."""
        op = yielded(self.body)[0].owner if self.single else None
        if not (isinstance(op, ElementwiseOp) and isinstance(op.of_arrays, np.ufunc)):
            return None
        sources = [x.owner.x if isinstance(x.owner, BroadcastOp) and _trailing(x.owner) else x for x in op.operands]
        shapes = [shape_of(x) for x in sources]
        whole = shape_of(op.results[0])
        if sources != list(self.body.args) or not whole or np.broadcast_shapes(*shapes) != whole:  # type: ignore[arg-type]
            return None
        return op.of_arrays

    def arrays(self, data: Sequence[Any]) -> list[np.ndarray]:
        """The arguments of the body, from arrays and numbers."""
        found = [data[number] for number in self.operands]
        for number, dtype in self.numbers:
            try:
                found.append(np.array(data[number], dtype))
            except OverflowError as error:
                raise DTypeError(f"the number {data[number]} is out of the range of {dtype}") from error
        return found


def _trailing(op: BroadcastOp) -> bool:
    """Whether the axes of the operand are the last ones, in order."""
    rank = len(shape_of(op.result))
    return list(op.axes.get_values()) == list(range(rank - len(shape_of(op.x)), rank))


def _static(extent: Extent) -> int:
    assert isinstance(extent, int)
    return extent


def run(key: tuple[Any, ...], data: Sequence[Any]) -> Any:
    """The result of a call: an array, or a tuple of them. The key is (function, parameters, shape, dtype, shape, dtype, ...), of a Python number
    None and its type; `data` are the arrays and numbers."""
    call = _calls.get(key)
    if call is None:
        call = call_of(key)
    return evaluate(call, call.arrays(data) if call.numbers else data)


def evaluate(call: EagerCall, arguments: Sequence[np.ndarray]) -> Any:
    """The result of the body of a call: an array, or a tuple of them."""
    if _STATE_IN_CONTEXT:
        return _quiet.copy().run(call.run, *arguments)
    with np.errstate(all="ignore"):
        return call.run(*arguments)


def call_of(key: tuple[Any, ...]) -> EagerCall:
    """The call of a signature, made where it is new."""
    found = _calls.get(key)
    if found is None:
        function, params, *signature = key
        found = EagerCall(function, params, list(zip(signature[::2], signature[1::2], strict=True)))
        while len(_calls) >= _MOST:
            _calls.pop(next(iter(_calls)), None)
        _calls[key] = found
    return found

"""Run a closed body with NumPy. What attributes and sizes decide is looked up once; then the body runs any number of times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod

import numpy as np
from xdsl.ir import Block, Operation, SSAValue

from mlc.ir.graph.base import Evaluate, GraphOp
from mlc.ir.types import shape_of

Observe = Callable[[Operation, tuple[np.ndarray, ...]], None]
_observed: ContextVar[Observe | None] = ContextVar("observed", default=None)


@contextmanager
def observing(observe: Observe | None) -> Iterator[None]:
    """Let `observe` see the results of every op in a body that is evaluated inside, in each of its turns."""
    token = _observed.set(observe)
    try:
        yield
    finally:
        _observed.reset(token)


_KEPT = 4096  # elements of a result that are kept between calls


class Evaluation:
    """A body at one binding of its sizes; `at` gives the value of a symbolic extent. Calls take arrays for its arguments.

    Ops without operands are evaluated here, as far as what they give is small; calls share it.
    """

    __slots__ = ("constants", "results", "steps")

    def __init__(self, block: Block, at: Evaluate):
        ops = [op for op in block.ops if op is not block.last_op]
        self.constants: list[tuple[Operation, tuple[np.ndarray, ...]]] = []
        self.steps: list[tuple[Operation, Callable[..., np.ndarray | tuple[np.ndarray, ...]], tuple[int, ...]]] = []
        place: dict[SSAValue, int] = {argument: number for number, argument in enumerate(block.args)}
        kept = set()
        for op in ops:
            if not op.operands and all(prod(map(at, shape_of(result))) <= _KEPT for result in op.results):
                assert isinstance(op, GraphOp), op.name
                kept.add(op)
                self.constants.append((op, _several(op.evaluator(at)())))
                place.update({result: len(place) + number for number, result in enumerate(op.results)})
        for op in ops:
            if op not in kept:
                assert isinstance(op, GraphOp), op.name
                self.steps.append((op, op.evaluator(at), tuple([place[x] for x in op.operands])))
                place.update({result: len(place) + number for number, result in enumerate(op.results)})
        self.results = [place[x] for x in block.last_op.operands] if block.last_op is not None else []

    def __call__(self, *arguments: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the terminator gives."""
        observe = _observed.get()
        values = list(arguments)
        for op, found in self.constants:
            values += found
            if observe is not None:
                observe(op, found)
        for op, evaluate, reads in self.steps:
            result = evaluate(*[values[number] for number in reads])
            if type(result) is tuple:
                values += result
            else:
                values.append(result)  # type: ignore[arg-type]
            if observe is not None:
                observe(op, _several(result))
        return tuple([values[number] for number in self.results])


def _several(result: np.ndarray | tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return result if isinstance(result, tuple) else (result,)

"""The reference interpreter of a program that several ranks run together: all of them in one process, op by op in step.

    first, second = run_ranks(module, [[x[:4], w], [x[4:], w]])

Sums are taken in the order of ranks. A bucket that is on its way holds NaN, or the smallest integer, until it was waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue

from mlc.errors import MlcError, UnsupportedOp
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.collective import AllReduceOp, AllReduceStartOp, AllReduceWaitOp, as_rank
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.interpreter import Runnable, bind, overwrite

Observe = Callable[[int, Operation, tuple[np.ndarray, ...]], None]


def run_ranks(
    module: Runnable, inputs: Sequence[Sequence[np.ndarray]], observe: Observe | None = None
) -> list[list[np.ndarray]]:
    """The outputs of @main on each rank, for the inputs of each. `observe(rank, op, results)` sees all results.

    Raises ShapeError where inputs do not fit the signature, MlcError where what is summed up differs in size, UnsupportedOp for sizes that data
    decides.
    """
    arrays = [[np.asarray(x) for x in given] for given in inputs]
    bindings = [bind(module, given) for given in arrays]
    with np.errstate(all="ignore"):
        found = _Ranks(module, arrays, bindings, observe).run()
    return [overwrite(results, given, module.aliases) for results, given in zip(found, arrays, strict=True)]


class _Ranks:
    def __init__(
        self, module: Runnable, arrays: list[list[np.ndarray]], bindings: list[dict[str, int]], observe: Observe | None
    ):
        self.module, self.bindings, self.observe = module, bindings, observe
        args = module.main.body.block.args
        self.values: list[dict[SSAValue, np.ndarray]] = [dict(zip(args, given, strict=True)) for given in arrays]
        self.flights: dict[SSAValue, np.ndarray] = {}

    def run(self) -> list[list[np.ndarray]]:
        for op in self.module.main.body.block.ops:
            if isinstance(op, ReturnOp):
                return [[values[x] for x in op.operands] for values in self.values]
            self.op(op)
        return [[] for _ in self.values]

    def op(self, op: Operation) -> None:
        match op:
            case AllReduceOp():
                totals = [self.total([values[x] for values in self.values]) for x in op.xs]
                found = [tuple(totals)] * len(self.values)
            case AllReduceStartOp():
                made = [self.evaluated(number, op) for number in range(len(self.values))]
                self.flights[op.flight] = self.total([bucket for (bucket,) in made])
                found = [(_unread(bucket),) for (bucket,) in made]
            case AllReduceWaitOp():
                for values in self.values:
                    values[op.flight] = self.flights[op.flight]
                found = [self.evaluated(number, op) for number in range(len(self.values))]
            case WeightOp():
                found = [(self.module.weights.get(op.weight_key),)] * len(self.values)
            case PrefixOp():
                raise UnsupportedOp("sizes that data decides may differ from rank to rank")
            case GraphOp():
                found = [self.evaluated(number, op) for number in range(len(self.values))]
            case _:
                raise UnsupportedOp(f"the graph interpreter does not run {op.name}")
        for number, (values, results) in enumerate(zip(self.values, found, strict=True)):
            values.update(zip(op.results, results, strict=True))
            if self.observe is not None:
                self.observe(number, op, results)

    def evaluated(self, number: int, op: GraphOp) -> tuple[np.ndarray, ...]:
        def at(extent: Extent) -> int:
            return dims.evaluate(extent, self.bindings[number])

        with as_rank(number):
            result = op.evaluate(at, *(self.values[number][x] for x in op.operands))
        return result if isinstance(result, tuple) else (result,)

    def total(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        if len({part.shape for part in parts}) > 1:
            raise MlcError(f"the ranks sum up {' and '.join(str(list(part.shape)) for part in parts)}")
        return np.asarray(reduce(np.add, parts))


def _unread(bucket: np.ndarray) -> np.ndarray:
    """What a bucket holds while it is on its way."""
    low = np.nan if bucket.dtype.kind == "f" else np.iinfo(bucket.dtype).min
    return np.full_like(bucket, low)

"""Sizes that data decides: an extent is a symbol whose value an op gives while the program runs.

    %places, %n = graph.nonzero %flags : tensor<N x i1> -> tensor<N x i64>, tensor<i64>
    %kept = graph.prefix %n of %places as "count0" : tensor<i64>, tensor<N x i64> -> tensor<count0 x i64>

An op with a result of open size fills the front of one that is large enough, and counts; `graph.prefix` cuts. From there on the symbol is an
extent like any other. Memory is reserved for the extent that is cut, so that the prefix is a view.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import StringAttr, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import Evaluate, GraphOp
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.types import dtype_of, rank_of, shape_of, shape_text, tensor


@irdl_op_definition
class PrefixOp(GraphOp):
    """The first `count` rows of each x, which have the same number of rows. From here on `symbol` is that count, clamped to 0 and the rows.

    Not pure: the symbol stands in the types of ops that use no result. It belongs into the body of a function, where it runs once.
    """

    name = "graph.prefix"
    count = operand_def(TensorType)
    xs = var_operand_def(TensorType)
    symbol = prop_def(StringAttr)
    outputs = var_result_def(TensorType)
    assembly_format = "$count `of` $xs `as` $symbol attr-dict `:` type($count) `,` type($xs) `->` type($outputs)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, count: SSAValue, xs: Sequence[SSAValue], symbol: str):
        super().__init__(
            operands=[count, list(xs)],
            properties={"symbol": StringAttr(symbol)},
            result_types=[self.infer(count, xs, symbol)],
        )

    @property
    def most(self) -> Extent:
        """What the symbol is at most."""
        return shape_of(self.xs[0])[0]

    def source_of(self, output: SSAValue) -> SSAValue:
        """What a result is the front of."""
        return next(x for x, result in zip(self.xs, self.outputs, strict=True) if result is output)

    @staticmethod
    def infer(count: SSAValue, xs: Sequence[SSAValue], symbol: str) -> list[TensorType]:
        if dtype_of(count) != "i64" or rank_of(count):
            raise DTypeError(f"prefix: the count is {dtype_of(count)}{shape_text(shape_of(count))}, not one i64")
        if not xs or any(shape_of(x)[:1] != shape_of(xs[0])[:1] or not rank_of(x) for x in xs):
            raise ShapeError(f"prefix: {', '.join(shape_text(shape_of(x)) for x in xs)} do not have the same rows")
        return [tensor((dims.symbol(symbol), *shape_of(x)[1:]), dtype_of(x)) for x in xs]

    def infer_types(self) -> Sequence[TensorType]:
        return self.infer(self.count, self.xs, self.symbol.data)

    def verify_(self) -> None:
        super().verify_()
        parent = self.parent_op()
        if parent is not None and not isinstance(parent, FuncOp):
            raise VerifyException(f"{self.name}: a size is counted once per run, not in {parent.name}")

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        count, *xs = operands
        return tuple(x[: max(0, int(count))] for x in xs)

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        """The front of the tangents: the size is known by now."""
        return [
            None if t is None else g.slice(t, [0] * rank_of(t), shape_of(front))
            for t, front in zip(tangents[1:], self.outputs, strict=True)
        ]


PART = 64  # flags of which NonZeroOp may be told how many are true before them


@irdl_op_definition
class NonZeroOp(GraphOp):
    """The positions of the true elements of a vector in ascending order, with zeros behind them, and how many there are. i64.

    `before`, where it is given: how many of the flags are true before each part of PART of them, and last of all how many are; so that parts need
    not wait for each other.
    """

    name = "graph.nonzero"
    flags = operand_def(TensorType)
    before = opt_operand_def(TensorType)
    places = result_def(TensorType)
    count = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$flags (`before` $before^)? attr-dict `:` type($flags) (`,` type($before)^)? `->` type($places) `,` type($count)"

    def __init__(self, flags: SSAValue, before: SSAValue | None = None):
        super().__init__(operands=[flags, before], result_types=self.infer(flags, before))

    @staticmethod
    def infer(flags: SSAValue, before: SSAValue | None = None) -> list[TensorType]:
        if dtype_of(flags) != "bool" or rank_of(flags) != 1:
            raise DTypeError(f"nonzero: {dtype_of(flags)}{shape_text(shape_of(flags))} is no vector of bool")
        if before is not None:
            wanted = [dims.floordiv(shape_of(flags)[0] + (PART - 1), PART) + 1]
            if dtype_of(before) != "i64" or list(shape_of(before)) != wanted:
                raise ShapeError(
                    f"nonzero: counts are {dtype_of(before)}{shape_text(shape_of(before))}, not i64{shape_text(wanted)}"
                )
        return [tensor(shape_of(flags), "i64"), tensor((), "i64")]

    def infer_types(self) -> Sequence[TensorType]:
        return self.infer(self.flags, self.before)

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        flags = operands[0]
        found = np.flatnonzero(flags)
        return np.pad(found, (0, len(flags) - len(found))), np.array(len(found))

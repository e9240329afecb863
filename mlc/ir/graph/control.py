"""Ops that hold a body: scan (a recurrence over axis 0) and group (what becomes one kernel). Bodies are closed: all they use are arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from xdsl.dialects.builtin import BoolAttr, IntegerAttr, StringAttr, TensorType, i64
from xdsl.ir import Block, BlockArgument, Region, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    prop_def,
    region_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import IsolatedFromAbove, IsTerminator, Pure, SingleBlockImplicitTerminator
from xdsl.utils.exceptions import VerifyException

from mlc.errors import ShapeError
from mlc.ir.dims import Extent
from mlc.ir.graph.base import Evaluate, GraphOp, building, emit, run_block
from mlc.ir.graph.places import misplaced_in
from mlc.ir.types import DimsAttr, dtype_of, numpy_dtype, shape_of, shape_of_type, tensor, tensor_type, type_text


@irdl_op_definition
class YieldOp(GraphOp):
    """The results of a body."""

    name = "graph.yield"
    values = var_operand_def(TensorType)
    traits = traits_def(IsTerminator())
    assembly_format = "$values attr-dict (`:` type($values)^)?"

    def __init__(self, values: Sequence[SSAValue] = ()):
        super().__init__(operands=[list(values)])

    def infer_types(self) -> Sequence[TensorType]:
        return []


def yielded(block: Block) -> tuple[SSAValue, ...]:
    """What the terminator of a body gives."""
    assert block.last_op is not None
    return tuple(block.last_op.operands)


@irdl_op_definition
class ScanOp(GraphOp):
    """for t in range(length): carries, ys[t] = body(carries, xs[t], constants); results: final carries, then ys stacked on axis 0.

    Operands: `carried` initial carries, `scanned` tensors with leading extent `length`, then constants. With `reverse`, t runs from
    the last to the first, and ys[t] stays in place t.
    """

    name = "graph.scan"
    inputs = var_operand_def(TensorType)
    carried = prop_def(IntegerAttr)
    scanned = prop_def(IntegerAttr)
    length = prop_def(DimsAttr)
    reverse = prop_def(BoolAttr)
    body = region_def("single_block")
    outputs = var_result_def(TensorType)
    traits = traits_def(Pure(), IsolatedFromAbove(), SingleBlockImplicitTerminator(YieldOp))
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(
        self, inputs: Sequence[SSAValue], carried: int, scanned: int, length: Extent, reverse: bool, body: Block
    ):
        super().__init__(
            operands=[list(inputs)],
            properties={
                "carried": IntegerAttr(carried, i64),
                "scanned": IntegerAttr(scanned, i64),
                "length": DimsAttr.of([length]),
                "reverse": IntegerAttr.from_bool(reverse),
            },
            regions=[Region(body)],
            result_types=[self.infer(inputs, carried, scanned, length, body)],
        )

    @property
    def extent(self) -> Extent:
        return self.length.extents()[0]

    @staticmethod
    def infer(inputs: Sequence[SSAValue], carried: int, scanned: int, length: Extent, body: Block) -> list[TensorType]:
        results = [tensor_type(value) for value in yielded(body)]
        for number, (value, after) in enumerate(zip(inputs[:carried], results[:carried], strict=True)):
            if value.type != after:
                raise ShapeError(
                    f"scan: carry {number} is {type_text(tensor_type(value))} before and {type_text(after)} after a step"
                )
        for number, value in enumerate(inputs[carried : carried + scanned]):
            if shape_of(value)[:1] != (length,):
                raise ShapeError(
                    f"scan: sequence {number} is {type_text(tensor_type(value))}, there are {length} steps"
                )
        stacked = [
            tensor((length, *shape_of_type(t)), dtype_of(v)) for t, v in zip(results, yielded(body), strict=True)
        ]
        return [*results[:carried], *stacked[carried:]]

    def infer_types(self) -> Sequence[TensorType]:
        return self.infer(self.inputs, self.carried.value.data, self.scanned.value.data, self.extent, self.body.block)

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        carried, scanned, length = self.carried.value.data, self.scanned.value.data, at(self.extent)
        carries, xs, constants = (
            operands[:carried],
            operands[carried : carried + scanned],
            operands[carried + scanned :],
        )
        steps = range(length)
        ys = [np.zeros([at(e) for e in shape_of(r)], numpy_dtype(dtype_of(r))) for r in self.outputs[carried:]]
        for t in reversed(steps) if self.reverse.value.data else steps:
            results = run_block(self.body.block, [*carries, *(x[t] for x in xs), *constants], at)
            carries = results[:carried]
            for y, value in zip(ys, results[carried:], strict=True):
                y[t] = value
        return (*carries, *ys)


@irdl_op_definition
class GroupOp(GraphOp):
    """Ops that become one kernel. `kind` says what the schedule may expect: elementwise, contraction, convolution, rows, ..."""

    name = "graph.group"
    inputs = var_operand_def(TensorType)
    kind = prop_def(StringAttr)
    body = region_def("single_block")
    outputs = var_result_def(TensorType)
    traits = traits_def(Pure(), IsolatedFromAbove(), SingleBlockImplicitTerminator(YieldOp))
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, inputs: Sequence[SSAValue], kind: str, body: Block):
        super().__init__(
            operands=[list(inputs)],
            properties={"kind": StringAttr(kind)},
            regions=[Region(body)],
            result_types=[[value.type for value in yielded(body)]],
        )

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(value) for value in yielded(self.body.block)]

    def verify_(self) -> None:
        super().verify_()
        if (value := misplaced_in(self.kind.data, self.body.block)) is not None:
            raise VerifyException(
                f"graph.group: {self.kind.data} reads {value.owner.name} at another place than where it is written"  # type: ignore[union-attr]
            )

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        return run_block(self.body.block, operands, at)


def source_of(value: SSAValue) -> SSAValue:
    """The value that a constant of a scan is in every step; any other value itself."""
    while isinstance(value, BlockArgument):
        scan = value.owner.parent_op()
        if not isinstance(scan, ScanOp) or value.index < scan.carried.value.data + scan.scanned.value.data:
            break
        value = scan.inputs[value.index]
    return value


# Builder functions -------------------------------------------------------------------------------------------------------


def scan(
    body: Callable[
        [tuple[SSAValue, ...], tuple[SSAValue, ...], tuple[SSAValue, ...]],
        tuple[Sequence[SSAValue], Sequence[SSAValue]],
    ],
    init: Sequence[SSAValue],
    xs: Sequence[SSAValue],
    length: Extent,
    constants: Sequence[SSAValue] = (),
    reverse: bool = False,
) -> tuple[tuple[SSAValue, ...], tuple[SSAValue, ...]]:
    """(final carries, stacked ys) of `carries, ys = body(carries, x_slices, constants)` over axis 0 of xs.

    The body builds ops from its arguments alone; values from outside are passed as `constants`.
    """
    slices = [tensor(shape_of(x)[1:], dtype_of(x)) for x in xs]
    block = Block(arg_types=[*(v.type for v in init), *slices, *(v.type for v in constants)])
    first, second = len(init), len(init) + len(xs)
    with building(block):
        carries, ys = body(tuple(block.args[:first]), tuple(block.args[first:second]), tuple(block.args[second:]))
        emit(YieldOp([*carries, *ys]))
    results = emit(ScanOp([*init, *xs, *constants], len(init), len(xs), length, reverse, block))
    return results[: len(init)], results[len(init) :]

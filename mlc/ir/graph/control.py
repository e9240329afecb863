"""Ops that hold bodies: scan (a recurrence over axis 0), while (a recurrence that its condition ends), if (one of two bodies), call (a body that
stays apart) and group (what becomes one kernel). Bodies are closed: all they use are arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
from xdsl.dialects.builtin import BoolAttr, IntegerAttr, StringAttr, TensorType, UnitAttr, i64
from xdsl.ir import Block, BlockArgument, Region, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    region_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, IsTerminator, Pure, SingleBlockImplicitTerminator
from xdsl.utils.exceptions import VerifyException

from mlc.errors import DTypeError, ShapeError
from mlc.ir.dims import Extent, dmax
from mlc.ir.graph.base import Evaluate, GraphOp, building, emit, flops_in, location_name
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.evaluation import Evaluation
from mlc.ir.graph.fusion_rule import misplaced_in
from mlc.ir.graph.short_form import parse_bound, parse_types, print_bound, print_types
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


class ControlOp(GraphOp):
    """An op that runs its bodies step by step or not at all; each is a program of its own, in which every op becomes a part of a kernel.

    The last operands are constants: what they are is the same in every step, and they are the last arguments of every body.
    """

    def first_constant(self) -> int:
        """The number of the first operand that is a constant. Those behind it are constants too."""
        raise NotImplementedError(self.name)

    @property
    def blocks(self) -> list[Block]:
        return [region.block for region in self.regions]

    @property
    def constants(self) -> list[SSAValue]:
        return list(self.operands[self.first_constant() :])

    def inside(self, block: Block) -> tuple[BlockArgument, ...]:
        """What the constants are in a body."""
        return tuple(block.args[len(block.args) - len(self.constants) :])

    def add_constant(self, value: SSAValue) -> None:
        """One more constant; each body gets an argument for it."""
        self.operands = [*self.operands, value]
        for block in self.blocks:
            block.insert_arg(value.type, len(block.args))

    def drop_unused_constants(self) -> None:
        """Leave out the constants that no body uses."""
        first = self.first_constant()
        for number in reversed(range(len(self.constants))):
            arguments = [self.inside(block)[number] for block in self.blocks]
            if all(argument.first_use is None for argument in arguments):
                self.operands = [v for n, v in enumerate(self.operands) if n != first + number]
                for argument in arguments:
                    argument.owner.erase_arg(argument)


@irdl_op_definition
class ScanOp(ControlOp):
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

    def first_constant(self) -> int:
        return self.carried.value.data + self.scanned.value.data

    @staticmethod
    def infer(inputs: Sequence[SSAValue], carried: int, scanned: int, length: Extent, body: Block) -> list[TensorType]:
        _require_parts("scan", len(inputs), carried, scanned)
        results = [tensor_type(value) for value in yielded(body)]
        _require_stable("scan", inputs[:carried], results[:carried])
        for number, value in enumerate(inputs[carried : carried + scanned]):
            if shape_of(value)[:1] != (length,):
                raise ShapeError(
                    f"scan: sequence {number} is {type_text(tensor_type(value))}, there are {length} steps"
                )
        pieces = [tensor(shape_of(x)[1:], dtype_of(x)) for x in inputs[carried : carried + scanned]]
        types = [tensor_type(value) for value in inputs]
        _require_arguments("scan", body, [*types[:carried], *pieces, *types[carried + scanned :]])
        stacked = [
            tensor((length, *shape_of_type(t)), dtype_of(v)) for t, v in zip(results, yielded(body), strict=True)
        ]
        return [*results[:carried], *stacked[carried:]]

    def infer_types(self) -> Sequence[TensorType]:
        return self.infer(self.inputs, self.carried.value.data, self.scanned.value.data, self.extent, self.body.block)

    @property
    def flops(self) -> Extent:
        return self.extent * flops_in(self.body.block)

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        carried, scanned, length = self.carried.value.data, self.scanned.value.data, at(self.extent)
        carries, xs, constants = (
            operands[:carried],
            operands[carried : carried + scanned],
            operands[carried + scanned :],
        )
        steps = range(length)
        ys = [np.zeros([at(e) for e in shape_of(r)], numpy_dtype(dtype_of(r))) for r in self.outputs[carried:]]
        step = Evaluation(self.body.block, at)
        for t in reversed(steps) if self.reverse.value.data else steps:
            results = step(*carries, *(x[t] for x in xs), *constants)
            carries = results[:carried]
            for y, value in zip(ys, results[carried:], strict=True):
                y[t] = value
        return (*carries, *ys)


def _require_parts(op: str, inputs: int, *counts: int) -> None:
    """The operands hold what the counts say, and constants behind it."""
    if min(counts) < 0 or sum(counts) > inputs:
        raise ShapeError(f"{op}: {inputs} operands do not hold {' and '.join(map(str, counts))} values of its steps")


def _require_arguments(op: str, body: Block, types: Sequence[TensorType]) -> None:
    """A body takes values of the types that it is given."""
    taken = [argument.type for argument in body.args]
    if taken != list(types):
        texts = (
            ", ".join(type_text(t) if isinstance(t, TensorType) else str(t) for t in row) for row in (taken, types)
        )
        raise ShapeError("{}: it takes {}, and is given {}".format(op, *texts))


def _require_stable(op: str, before: Sequence[SSAValue], after: Sequence[TensorType]) -> None:
    """A step gives each carry the type that it takes."""
    for number, (value, type) in enumerate(zip(before, after, strict=True)):
        if value.type != type:
            raise ShapeError(
                f"{op}: carry {number} is {type_text(tensor_type(value))} before and {type_text(type)} after a step"
            )


def _require_flag(op: str, condition: SSAValue) -> None:
    if dtype_of(condition) != "bool" or shape_of(condition):
        raise DTypeError(f"{op}: the condition is {type_text(tensor_type(condition))}, not one bool")


@irdl_op_definition
class WhileOp(ControlOp):
    """t = 0; while condition and t < most: condition, carries, ys[t] = body(carries, constants); t += 1.

    Operands: the first condition, one bool; `carried` initial carries; constants. Results: the final carries, then ys stacked on axis 0, which
    have `most` rows. Those behind the last step mean nothing: a carry that counts tells prefix how many to keep. Without `most` there are no
    ys, and what ends the loop is the condition alone; one that always holds never ends.
    """

    name = "graph.while"
    condition = operand_def(TensorType)
    inputs = var_operand_def(TensorType)
    carried = prop_def(IntegerAttr)
    most = opt_prop_def(DimsAttr)
    body = region_def("single_block")
    outputs = var_result_def(TensorType)
    traits = traits_def(Pure(), IsolatedFromAbove(), SingleBlockImplicitTerminator(YieldOp))
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, condition: SSAValue, inputs: Sequence[SSAValue], carried: int, most: Extent | None, body: Block):
        super().__init__(
            operands=[condition, list(inputs)],
            properties={
                "carried": IntegerAttr(carried, i64),
                "most": None if most is None else DimsAttr.of([most]),
            },
            regions=[Region(body)],
            result_types=[self.infer(condition, inputs, carried, most, body)],
        )

    @property
    def extent(self) -> Extent | None:
        return None if self.most is None else self.most.extents()[0]

    def first_constant(self) -> int:
        return 1 + self.carried.value.data

    @staticmethod
    def infer(
        condition: SSAValue, inputs: Sequence[SSAValue], carried: int, most: Extent | None, body: Block
    ) -> list[TensorType]:
        _require_parts("while", len(inputs), carried)
        following, *results = yielded(body)
        for flag in (condition, following):
            _require_flag("while", flag)
        final = [tensor_type(value) for value in results[:carried]]
        _require_stable("while", inputs[:carried], final)
        _require_arguments("while", body, [tensor_type(value) for value in inputs])
        if most is None and len(results) > carried:
            raise ShapeError("while: rows are stacked, and nothing says how many there are at most")
        stacked = [] if most is None else [tensor((most, *shape_of(y)), dtype_of(y)) for y in results[carried:]]
        return [*final, *stacked]

    def infer_types(self) -> Sequence[TensorType]:
        return self.infer(self.condition, self.inputs, self.carried.value.data, self.extent, self.body.block)

    @property
    def flops(self) -> Extent:
        """Of the most steps that there may be; of one where nothing bounds them."""
        return (1 if self.extent is None else self.extent) * flops_in(self.body.block)

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        carried, most = self.carried.value.data, None if self.extent is None else at(self.extent)
        condition, *inputs = operands
        carries, constants, t = tuple(inputs[:carried]), inputs[carried:], 0
        ys = [np.zeros([at(e) for e in shape_of(r)], numpy_dtype(dtype_of(r))) for r in self.outputs[carried:]]
        step = Evaluation(self.body.block, at)
        while condition and (most is None or t < most):
            condition, *results = step(*carries, *constants)
            carries = tuple(results[:carried])
            for y, value in zip(ys, results[carried:], strict=True):
                y[t] = value
            t += 1
        return (*carries, *ys)


@irdl_op_definition
class IfOp(ControlOp):
    """What one of two bodies gives: the first where the condition holds, else the second. Only that one is run.

    Operands: the condition, one bool; constants, which both bodies take. Both give results of the same types.
    """

    name = "graph.if"
    condition = operand_def(TensorType)
    inputs = var_operand_def(TensorType)
    then = region_def("single_block")
    otherwise = region_def("single_block")
    outputs = var_result_def(TensorType)
    traits = traits_def(Pure(), IsolatedFromAbove(), SingleBlockImplicitTerminator(YieldOp))

    def __init__(self, condition: SSAValue, inputs: Sequence[SSAValue], then: Block, otherwise: Block):
        super().__init__(
            operands=[condition, list(inputs)],
            regions=[Region(then), Region(otherwise)],
            result_types=[self.infer(condition, inputs, then, otherwise)],
        )

    def first_constant(self) -> int:
        return 1

    @staticmethod
    def infer(condition: SSAValue, inputs: Sequence[SSAValue], then: Block, otherwise: Block) -> list[TensorType]:
        _require_flag("if", condition)
        for block in (then, otherwise):
            _require_arguments("if", block, [tensor_type(value) for value in inputs])
        first, second = ([tensor_type(value) for value in yielded(block)] for block in (then, otherwise))
        if first != second:
            texts = (", ".join(map(type_text, types)) or "nothing" for types in (first, second))
            raise ShapeError("if: one body gives {}, the other {}".format(*texts))
        return first

    def infer_types(self) -> Sequence[TensorType]:
        return self.infer(self.condition, self.inputs, self.then.block, self.otherwise.block)

    @property
    def flops(self) -> Extent:
        """Of the dearer body."""
        return dmax(*map(flops_in, self.blocks))

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        condition, *inputs = operands
        return Evaluation((self.then if condition else self.otherwise).block, at)(*inputs)


@irdl_op_definition
class CallOp(ControlOp):
    """What a body gives for the operands, which are its arguments: a function that is called where it stands.

    Its ops stay apart from those around it, so that a rule of its own can be found for the whole (a derivative), until `decompose` writes them
    out. With `checkpoint` they stay apart until equal values have been merged for the last time: what such a body computes is computed
    again by an equal body elsewhere, and not kept. `callee` is the function's name, as errors say it.
    """

    name = "graph.call"
    inputs = var_operand_def(TensorType)
    callee = prop_def(StringAttr)
    checkpoint = opt_prop_def(UnitAttr)
    body = region_def("single_block")
    outputs = var_result_def(TensorType)
    traits = traits_def(Pure(), IsolatedFromAbove(), SingleBlockImplicitTerminator(YieldOp))

    def __init__(self, inputs: Sequence[SSAValue], callee: str, body: Block, checkpoint: bool = False):
        super().__init__(
            operands=[list(inputs)],
            properties={"callee": StringAttr(callee), "checkpoint": UnitAttr() if checkpoint else None},
            regions=[Region(body)],
            result_types=[self.infer(inputs, callee, body)],
        )

    def first_constant(self) -> int:
        return 0

    @staticmethod
    def infer(inputs: Sequence[SSAValue], callee: str, body: Block) -> list[TensorType]:
        _require_arguments(f"call of {callee}", body, [tensor_type(value) for value in inputs])
        return [tensor_type(value) for value in yielded(body)]

    def infer_types(self) -> Sequence[TensorType]:
        return self.infer(self.inputs, self.callee.data, self.body.block)

    @property
    def flops(self) -> Extent:
        return flops_in(self.body.block)

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        return Evaluation(self.body.block, at)(*operands)


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

    def print(self, printer: Printer) -> None:
        """%y = graph.group "rows" (%a = %x : tensor<8xf32>) -> tensor<8xf32> { ... }"""
        printer.print_string(" ")
        printer.print_string_literal(self.kind.data)
        printer.print_string(" ")
        print_bound(printer, self.body.block.args, self.inputs)
        printer.print_string(" -> ")
        print_types(printer, self.result_types)
        printer.print_op_attributes(self.attributes, print_keyword=True)
        printer.print_string(" ")
        printer.print_region(self.body, print_entry_block_args=False)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        kind = StringAttr(parser.parse_str_literal())
        arguments, values = parse_bound(parser)
        parser.parse_punctuation("->")
        types = parse_types(parser)
        attributes = parser.parse_optional_attr_dict_with_keyword()
        body = parser.parse_region(arguments)
        return cls.create(
            operands=values,
            result_types=types,
            properties={"kind": kind},
            attributes={} if attributes is None else attributes.data,
            regions=[body],
        )

    def infer_types(self) -> Sequence[TensorType]:
        _require_arguments("group", self.body.block, [tensor_type(value) for value in self.inputs])
        return [tensor_type(value) for value in yielded(self.body.block)]

    def verify_(self) -> None:
        super().verify_()
        if (value := misplaced_in(self.kind.data, self.body.block)) is not None:
            raise VerifyException(
                f"graph.group: {self.kind.data} reads {value.owner.name} at another place than where it is written"  # type: ignore[union-attr]
            )

    @property
    def flops(self) -> Extent:
        return flops_in(self.body.block)

    @property
    def sources(self) -> tuple[str, ...]:
        """The nodes of the user's model that it computes, in order. What depends on constants alone names it only where nothing else does: equal
        constants of several nodes are one op, which has the name of the first."""
        ops = [(op, name) for op in self.body.block.ops if (name := location_name(op)) is not None]
        moving = {a for a, x in zip(self.body.block.args, self.inputs, strict=True) if not _is_constant(x)}
        for op in self.body.block.ops:
            if not moving.isdisjoint(op.operands):
                moving.update(op.results)
        computed = [name for op, name in ops if not moving.isdisjoint(op.results)]
        return tuple(dict.fromkeys(computed or [name for _, name in ops]))

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        return Evaluation(self.body.block, at)(*operands)


def _is_constant(value: SSAValue) -> bool:
    return isinstance(value.owner, WeightOp | ConstantOp)


def source_of(value: SSAValue) -> SSAValue:
    """The value that a constant of a body is in every step; any other value itself."""
    while isinstance(value, BlockArgument):
        op = value.owner.parent_op()
        if not isinstance(op, ControlOp) or value not in (inside := op.inside(value.owner)):
            break
        value = op.constants[inside.index(value)]
    return value


def inlined(block: Block, arguments: Sequence[SSAValue]) -> list[SSAValue]:
    """The ops of a body at the current position; what it gives."""
    values: dict[SSAValue, SSAValue] = dict(zip(block.args, arguments, strict=True))
    for op in block.ops:
        if op is not block.last_op:
            copy = op.clone(value_mapper=values)
            copy.location = op.location
            values.update(zip(op.results, emit(copy), strict=True))
    return [values[value] for value in yielded(block)]


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
    with building(block, steps=[length]):
        carries, ys = body(tuple(block.args[:first]), tuple(block.args[first:second]), tuple(block.args[second:]))
        emit(YieldOp([*carries, *ys]))
    results = emit(ScanOp([*init, *xs, *constants], len(init), len(xs), length, reverse, block))
    return results[: len(init)], results[len(init) :]


def while_loop(
    body: Callable[
        [tuple[SSAValue, ...], tuple[SSAValue, ...]],
        tuple[SSAValue, Sequence[SSAValue], Sequence[SSAValue]],
    ],
    condition: SSAValue,
    init: Sequence[SSAValue],
    most: Extent | None = None,
    constants: Sequence[SSAValue] = (),
) -> tuple[tuple[SSAValue, ...], tuple[SSAValue, ...]]:
    """(final carries, stacked ys) of `condition, carries, ys = body(carries, constants)`, while the condition holds, `most` times at most.

    The body builds ops from its arguments alone. The ys have `most` rows, of which those behind the last step mean nothing.
    """
    block = Block(arg_types=[v.type for v in (*init, *constants)])
    with building(block):
        following, carries, ys = body(tuple(block.args[: len(init)]), tuple(block.args[len(init) :]))
        emit(YieldOp([following, *carries, *ys]))
    results = emit(WhileOp(condition, [*init, *constants], len(init), most, block))
    return results[: len(init)], results[len(init) :]


def cond(
    condition: SSAValue,
    then: Callable[..., Sequence[SSAValue]],
    otherwise: Callable[..., Sequence[SSAValue]],
    constants: Sequence[SSAValue] = (),
) -> tuple[SSAValue, ...]:
    """then(*constants) where the condition, one bool, holds, else otherwise(*constants); only that one is computed.

    Both build ops from their arguments alone, and give results of the same types.
    """
    blocks = []
    for body in (then, otherwise):
        block = Block(arg_types=[v.type for v in constants])
        with building(block):
            emit(YieldOp(body(*block.args)))
        blocks.append(block)
    return emit(IfOp(condition, constants, *blocks))


def call(
    body: Callable[..., Sequence[SSAValue]], inputs: Sequence[SSAValue], callee: str, checkpoint: bool = False
) -> tuple[SSAValue, ...]:
    """body(*inputs), as one op; see CallOp. The body builds ops from its arguments alone."""
    block = Block(arg_types=[v.type for v in inputs])
    with building(block):
        emit(YieldOp(body(*block.args)))
    return emit(CallOp(inputs, callee, block, checkpoint))

"""The scalar body of a structured op, evaluated on vectors: values that are the same in all lanes stay scalars until they meet a vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xdsl.dialects import arith, math, vector
from xdsl.dialects.builtin import VectorType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Operation, SSAValue

from mlc.ir.kernel import vector_ops as lanewise
from mlc.ir.kernel.located import Builder
from mlc.passes.loops.lanes import Lanes, constant_of
from mlc.passes.loops.math import expand, expansion
from mlc.passes.loops.refused import Refused


class BodyOps:
    """The ops of a body in order, products that are only added to something contracted into fma."""

    def __init__(self, op: GenericOp):
        self.block = op.body.block
        last = self.block.last_op
        assert last is not None
        self.result = last.operands[0]
        self.steps = list(_contracted(op))
        moving: set[SSAValue] = set(self.block.args)
        for step, addend in self.steps:
            same = isinstance(step, arith.IndexCastOp) and not moving.intersection(step.operands)  # of extents
            if not lanewise.works_in_lanes(step) and not same and expansion(step) is None:
                raise Refused(f"the vector leaf has no {step.name}")
            if addend is not None or moving.intersection(step.operands):
                moving.update(step.results)

    def factors(self) -> list[SSAValue]:
        """The arguments that are multiplied by each other and added to the last one, where that is all there is to it."""
        if [addend for _, addend in self.steps] != [self.block.args[-1]]:
            return []
        (product,) = (v.owner for v in self.steps[0][0].operands if v is not self.block.args[-1])
        assert isinstance(product, arith.MulfOp)
        return [product.lhs, product.rhs]

    def evaluate(
        self, b: Builder, lanes: Lanes, arguments: Mapping[SSAValue, SSAValue], captured: Mapping[SSAValue, SSAValue]
    ) -> SSAValue:
        """The yielded value; a scalar where no operand is a vector."""
        values = dict(arguments)
        for op, addend in self.steps:
            if isinstance(op, arith.ConstantOp):
                values[op.result] = lanes.function.number(op.value)  # type: ignore[arg-type]
            elif addend is not None:
                values[op.results[0]] = _multiply_add(b, lanes, op, addend, values)
            else:
                operands = [values[v] if v in values else _captured(lanes, v, captured) for v in op.operands]
                values[op.results[0]] = apply(b, lanes, op, operands)
        return values[self.result]


def _captured(lanes: Lanes, value: SSAValue, captured: Mapping[SSAValue, SSAValue]) -> SSAValue:
    """What a body reads from around it: a value that the leaf was given, or a constant of the kernel (the index of a loop of one turn)."""
    if value not in captured and isinstance(value.owner, arith.ConstantOp):
        return lanes.function.number(value.owner.value)  # type: ignore[arg-type]
    return captured[value]


def apply(b: Builder, lanes: Lanes, op: Operation, operands: list[SSAValue]) -> SSAValue:
    """One op on scalars, or on vectors where any operand is one."""
    wide = any(isinstance(v.type, VectorType) for v in operands)
    if wide:
        operands = [lanes.broadcast(b, v) for v in operands]
    if expansion(op) is not None and not lanes.over_threads:
        return expand(b, lanes, op, operands)
    if op.name == "arith.select":
        return b.insert(lanewise.Select(*operands)).result
    if op.name in ("arith.cmpf", "arith.cmpi"):
        kind = lanewise.CompareFloats if op.name == "arith.cmpf" else lanewise.CompareIntegers
        result = lanewise.truth_type(operands[0].type)
        return b.insert(kind.create(operands=operands, result_types=[result], properties=op.properties)).results[0]
    types = [lanes.type(r.type) if wide else r.type for r in op.results]
    if wide and op.name in lanewise.CONVERSIONS:
        return b.insert(lanewise.CONVERSIONS[op.name](operands[0], types[0])).result
    return b.insert(type(op).create(operands=operands, result_types=types, properties=op.properties)).results[0]


def _multiply_add(
    b: Builder, lanes: Lanes, op: Operation, addend: SSAValue, values: Mapping[SSAValue, SSAValue]
) -> SSAValue:
    product = next(v.owner for v in op.operands if v is not addend)
    assert isinstance(product, arith.MulfOp)
    x, y, z = values[product.lhs], values[product.rhs], values[addend]
    if (simple := _known_factor(b, lanes, x, y, z)) is not None:
        return simple
    if any(isinstance(v.type, VectorType) for v in (x, y, z)):
        x, y, z = (lanes.broadcast(b, v) for v in (x, y, z))
        return b.insert(vector.FMAOp.create(operands=[x, y, z], result_types=[z.type])).results[0]
    return b.insert(math.FmaOp.create(operands=[x, y, z], result_types=[z.type])).results[0]


def _known_factor(b: Builder, lanes: Lanes, factor: SSAValue, x: SSAValue, addend: SSAValue) -> SSAValue | None:
    """addend + factor * x where the factor is a constant 0, 1 or -1, or the addend is 0: no fma is needed."""
    c, start = constant_of(factor), constant_of(addend)
    if c is None or not isinstance(x.type, VectorType):
        return None
    if c == 0:
        return addend
    if start == 0 and c == 1:
        return x
    kind: type[arith.AddfOp | arith.MulfOp | arith.SubfOp]
    if start == 0:
        kind, operands = arith.MulfOp, [lanes.broadcast(b, factor), x]
    elif c in (1, -1):
        kind, operands = arith.AddfOp if c == 1 else arith.SubfOp, [lanes.broadcast(b, addend), x]
    else:
        return None
    return b.insert(kind.create(operands=operands, result_types=[x.type])).results[0]


def _contracted(op: GenericOp) -> Iterator[tuple[Operation, SSAValue | None]]:
    """Each op of the body with the addend, if it is the sum of that and of a product that is used nowhere else."""
    ops = list(op.body.block.ops)[:-1]
    products = {
        o
        for o in ops
        if isinstance(o, arith.MulfOp)
        and o.result.has_one_use()
        and isinstance(next(iter(o.result.uses)).operation, arith.AddfOp)
    }
    for o in ops:  # of a sum of two products one is computed first
        behind = [v.owner for v in o.operands if v.owner in products]
        products -= set(behind[1:])
    for o in ops:
        if o in products:
            continue
        added = [v for v in o.operands if v.owner in products]
        yield o, next(v for v in reversed(o.operands) if v is not added[0]) if added else None

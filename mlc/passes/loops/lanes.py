"""Vectors of the leaf: their types, constants, masks, and the folding of lanes into one value."""

from __future__ import annotations

from functools import cache

from xdsl.dialects import arith, vector
from xdsl.dialects.builtin import DenseArrayBase, FloatAttr, IntegerAttr, IntegerType, VectorType, i1, i64
from xdsl.ir import Attribute, Operation, SSAValue

from mlc.ir.kernel import vector_ops as lanewise
from mlc.ir.kernel.kernel import Kernel, float_attr
from mlc.ir.kernel.located import Builder


class Lanes:
    """`width` lanes of `element`, for the function that a leaf fills. Constants are made once, at its entry."""

    def __init__(self, function: Kernel, element: Attribute, width: int, over_threads: bool = False):
        """`over_threads`: of a GPU, which have exp and the like, and any vector of which may end early."""
        self.function, self.element, self.width, self.over_threads = function, element, width, over_threads
        self._numbers: dict[str, SSAValue] = {}

    def type(self, element: Attribute | None = None, each: int = 1) -> VectorType:
        """A vector of the lanes, of `each` elements in every lane."""
        return vector_type(element or self.element, self.width * each)

    def constant(self, b: Builder, attr: FloatAttr | IntegerAttr, type: Attribute) -> SSAValue:
        """A constant of the type, made once. Not `dense<...>`: xDSL 0.74 prints some floats there in hexadecimal and parses them back as
        integers."""
        one = self.function.number(attr)
        return self.everywhere(one) if isinstance(type, VectorType) else one

    def number(self, value: float) -> SSAValue:
        """A constant, made once. By its text, because 0.0 equals -0.0."""
        text = repr(value)
        if (found := self._numbers.get(text)) is None:
            found = self._numbers[text] = self.function.number(float_attr(value, self.element))
        return found

    def splat(self, value: float) -> SSAValue:
        """A constant in every lane."""
        return self.everywhere(self.number(value))

    def everywhere(self, one: SSAValue, each: int = 1) -> SSAValue:
        type = self.type(one.type, each)
        return self.function.shared(
            (one, self.width * each), lambda: vector.BroadcastOp.create(operands=[one], result_types=[type])
        )

    def nothing(self, element: Attribute, each: int = 1) -> SSAValue:
        """Zero, or false, in every lane: what a masked load gives where it does not read."""
        attr = IntegerAttr(0, element) if isinstance(element, IntegerType) else float_attr(0.0, element)
        return self.everywhere(self.function.number(attr), each)

    def broadcast(self, b: Builder, value: SSAValue) -> SSAValue:
        """A value in every lane; constants at the entry."""
        if isinstance(value.type, VectorType):
            return value
        type = self.type(value.type)
        if isinstance(value.owner, arith.ConstantOp) and isinstance(
            attr := value.owner.value, (FloatAttr, IntegerAttr)
        ):
            return self.constant(b, attr, type)
        return b.insert(vector.BroadcastOp.create(operands=[value], result_types=[type])).results[0]

    def mask(self, valid: int | SSAValue, each: int = 1) -> SSAValue:
        """The first `valid` of the elements of a vector."""
        count = self.function.const(valid) if isinstance(valid, int) else valid
        return self.function.shared(("mask", valid, each), lambda: vector.CreateMaskOp([count], self.type(i1, each)))

    def blend(self, b: Builder, first: SSAValue, rest: SSAValue, valid: int | SSAValue) -> SSAValue:
        """The first `valid` lanes of one vector, the others of another."""
        if isinstance(valid, int) and not self.over_threads:
            order = DenseArrayBase.from_list(i64, [*range(valid), *range(self.width + valid, 2 * self.width)])
            return b.insert(vector.ShuffleOp(first, rest, order, result_type=first.type)).result  # type: ignore[arg-type]
        return b.insert(lanewise.Select(self.mask(valid), first, rest)).result

    def horizontal(self, b: Builder, value: SSAValue, combine: Operation) -> SSAValue:
        """All lanes folded by the op that combines two values."""
        kind = vector.CombiningKindAttr(vector.CombiningKindFlag(KIND[type(combine)]))
        # xDSL 0.74's constructor gives the vector's type to the result
        op = vector.ReductionOp.build(operands=[value, None], result_types=[self.element], properties={"kind": kind})
        if "fastmath" in combine.properties:
            op.properties["fastmath"] = combine.properties["fastmath"]
        return b.insert(op).results[0]


NEUTRAL: dict[type[Operation], float] = {
    arith.AddfOp: 0.0,
    arith.MulfOp: 1.0,
    arith.MaximumfOp: float("-inf"),
    arith.MinimumfOp: float("inf"),
}
KIND: dict[type[Operation], str] = {
    arith.AddfOp: "add",
    arith.MulfOp: "mul",
    arith.MaximumfOp: "maximumf",
    arith.MinimumfOp: "minimumf",
}


@cache
def vector_type(element: Attribute, lanes: int) -> VectorType:
    return VectorType(element, [lanes])


def constant_of(value: SSAValue) -> float | None:
    """The number that a scalar, or every lane, is known to be."""
    if isinstance(value.owner, vector.BroadcastOp):
        value = value.owner.source
    if not isinstance(value.owner, arith.ConstantOp) or not isinstance(value.owner.value, (FloatAttr, IntegerAttr)):
        return None
    return value.owner.value.value.data

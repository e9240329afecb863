"""What a rule sees of a kernel: loops, what runs along them, and how each operand moves. Nothing here knows a target."""

from __future__ import annotations

from collections.abc import KeysView
from functools import cached_property

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import IntegerType
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Operation, SSAValue

from mlc.ir.dims import Extent
from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Kernel, loops_of, strides_of, type_of
from mlc.passes.loops.byte_products import byte_factors, quad_of
from mlc.passes.loops.tile_view import accesses
from mlc.passes.loops.verify import not_for_vectors


class OperandFacts:
    """A buffer as one op reads or writes it."""

    def __init__(self, value: SSAValue, access: tuple[Affine, ...]):
        self.value, self.access = value, access
        self.loops = dict.fromkeys(name for form in access for name in form.terms).keys()
        self.strides = strides_of(value)

    def step(self, loop: str) -> int | None:
        """Elements that one step of a loop moves by; 0 where it does not, None where only the run knows."""
        total = 0
        for form, stride in zip(self.access, self.strides, strict=True):
            if c := form.terms.get(loop, 0):
                if stride is None:
                    return None
                total += c * stride
        return total


class LoopFacts:
    """The structured ops of a kernel."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.ops = [op for op in kernel.block.ops if isinstance(op, GenericOp)]
        self.operands = [
            [OperandFacts(value, access) for value, access in zip(op.operands, accesses(op), strict=True)]
            for op in self.ops
        ]
        self.loops: dict[str, Extent] = {name: extent for op in self.ops for name, extent in loops_of(op).items()}
        self.reduced: set[str] = set()
        for op in self.ops:
            kinds = zip(loops_of(op), op.iterator_types.data, strict=True)
            self.reduced |= {name for name, kind in kinds if kind.data is IteratorType.REDUCTION}

    def fixed(self, loop: str) -> int | None:
        extent = self.loops[loop]
        return extent if isinstance(extent, int) else None

    @cached_property
    def common(self) -> KeysView[str]:
        """Loops of every op, in the order of the first one: what is chosen among them must not depend on how text is hashed."""
        every = [loops_of(op) for op in self.ops]
        return {name: None for name in (every[0] if every else ()) if all(name in loops for loops in every)}.keys()

    @cached_property
    def main(self) -> int:
        """The op with most loops; of equals the last, which reads what the others made."""
        return max(range(len(self.ops)), key=lambda n: (len(loops_of(self.ops[n])), n))

    @cached_property
    def results(self) -> list[OperandFacts]:
        """What leaves the kernel."""
        return [ops[-1] for ops in self.operands if self.kernel.is_argument(ops[-1].value)]

    def strange_code(self) -> str | None:
        """What is in the kernel beside structured ops on buffers."""
        plain = (GenericOp, memref.AllocOp, memref.CollapseShapeOp, memref.SubviewOp, arith.ConstantOp, arith.MuliOp)
        for op in self.kernel.block.ops:
            if not isinstance(op, plain) and op.name != "func.return":
                return f"the kernel holds {op.name}"
        return None if self.ops else "the kernel has no structured op"

    def not_for_vectors(self) -> str | None:
        """Why the vector leaf cannot compute these ops."""
        return not_for_vectors(self.ops)

    def used(self, number: int) -> list[OperandFacts]:
        """The operands of an op, without memory that only gives a loop its extent."""
        arguments = zip(self.operands[number], self.ops[number].body.block.args, strict=True)
        return [operand for operand, argument in arguments if argument.first_use is not None]

    def is_product(self, number: int) -> bool:
        """Does the op add products of two operands, floats?"""
        op = self.ops[number]
        last = op.body.block.last_op
        assert last is not None
        total = last.operands[0].owner
        if not isinstance(total, arith.AddfOp) or op.body.block.args[-1] not in total.operands:
            return False
        return any(isinstance(v.owner, arith.MulfOp) for v in total.operands)

    def quad(self, number: int) -> str | None:
        """The loop of an op whose products are four to an instruction."""
        return quad_of(self.ops[number])

    def is_product_of_bytes(self, number: int) -> bool:
        return byte_factors(self.ops[number]) is not None

    @cached_property
    def folds_bytes(self) -> bool:
        """Does an op add up products of bytes?"""
        return any(self.is_product_of_bytes(number) for number in range(len(self.ops)))

    @cached_property
    def integers_alone(self) -> bool:
        """Is no operand a float?"""
        types = (type_of(operand.value).element_type for operands in self.operands for operand in operands)
        return all(isinstance(type, IntegerType) for type in types)

    def steps_by_one(self, loop: str) -> bool:
        """Does every operand that moves with a loop step by one along it?"""
        steps = [o.step(loop) for operands in self.operands for o in operands if loop in o.loops]
        return bool(steps) and all(step == 1 for step in steps)

    def kept_along(self, loop: str) -> int:
        """How many temporaries have an element for each step of a loop."""
        values = {o.value for operands in self.operands for o in operands if loop in o.loops}
        return sum(not self.kernel.is_argument(value) for value in values)

    def has(self, kind: type[Operation]) -> bool:
        """Is an op of this kind in a body?"""
        return any(isinstance(inner, kind) for op in self.ops for inner in op.body.walk())

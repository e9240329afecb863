"""Contractions, two-operand einsums: bilinear ops given by maps, closed under transposition. contract(x, w, "bmk,kn->bmn")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from xdsl.dialects.builtin import StringAttr, TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, GraphOp, as_array, emit, require_equal, shaped, widened
from mlc.ir.graph.derivative import Algebra, Tangent
from mlc.ir.types import dtype_of, numpy_dtype, shape_of, shape_text, tensor


def labels(spec: str) -> tuple[str, str, str]:
    """The axis labels of both operands and the result of "bmk,kn->bmn"."""
    operands, arrow, result = spec.partition("->")
    lhs, comma, rhs = operands.partition(",")
    if not arrow or not comma:
        raise ShapeError(f"'{spec}' does not name the axes of two operands and a result, as in bmk,kn->bmn")
    return lhs, rhs, result


def is_matmul(spec: str) -> bool:
    """Whether numpy.matmul computes it: "mk,kn->mn", with the same leading axes on both operands and the result, or on none but the first."""
    lhs, rhs, result = labels(spec)
    lead = result[:-2]
    return (
        len(lhs) == len(result) >= 2
        and len(rhs) in (2, len(result))
        and lhs == lead + result[-2] + lhs[-1]
        and rhs == (lead if len(rhs) > 2 else "") + lhs[-1] + result[-1]
        and lhs[-1] not in result
    )


@irdl_op_definition
class ContractOp(GraphOp):
    """numpy.einsum of two operands. Labels are letters, at most once per operand and in the result; every result label is in an operand.

    Labels that are not in the result are summed over. f16 and bf16 accumulate in f32; integers in their own type, wrapping. Where the result
    is i32, operands may be bytes, i8 or u8 each: these are widened first, and the sum wraps as i32 does.
    """

    name = "graph.contract"
    lhs = operand_def(TensorType)
    rhs = operand_def(TensorType)
    spec = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$lhs `,` $rhs $spec attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)"

    def __init__(self, lhs: SSAValue, rhs: SSAValue, spec: str, dtype: str | None = None):
        super().__init__(
            operands=[lhs, rhs], properties={"spec": StringAttr(spec)}, result_types=[self.infer(lhs, rhs, spec, dtype)]
        )

    @staticmethod
    def infer(lhs: SSAValue, rhs: SSAValue, spec: str, dtype: str | None = None) -> TensorType:
        left, right, out = labels(spec)
        extents: dict[str, Extent] = {}
        for names, value, role in ((left, lhs, "lhs"), (right, rhs, "rhs")):
            shape = shape_of(value)
            if len(names) != len(shape) or len(set(names)) != len(names):
                raise ShapeError(f"contract {spec}: {role} has the shape {shape_text(shape)}")
            for name, e in zip(names, shape, strict=True):
                if extents.setdefault(name, e) != e:
                    raise ShapeError(
                        f"contract {spec}: '{name}' is {extents[name]} in lhs {shape_text(shape_of(lhs))}"
                        f" and {e} in rhs {shape_text(shape)}"
                    )
        shaped("contract", len(set(out)) == len(out) and set(out) <= extents.keys(), f"{spec} has no such result")
        return tensor([extents[name] for name in out], product_dtype(f"contract {spec}", lhs, rhs, dtype))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.lhs, self.rhs, self.spec.data, dtype_of(self.result))]

    @property
    def of_bytes(self) -> bool:
        """Is it a sum in i32 of products of bytes?"""
        return dtype_of(self.lhs) != dtype_of(self.result)

    def on(self, lhs: SSAValue, rhs: SSAValue, spec: str) -> SSAValue:
        """The same contraction of other operands, or with other labels."""
        return contract(lhs, rhs, spec, dtype_of(self.result))

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:
        dtype, spec = numpy_dtype(dtype_of(self.result)), self.spec.data
        product = np.matmul if is_matmul(spec) else partial(np.einsum, spec, optimize=True)
        if self.of_bytes:
            return lambda lhs, rhs: product(lhs.astype(np.int32), rhs.astype(np.int32))
        return lambda lhs, rhs: as_array(product(widened(lhs), widened(rhs)), dtype)

    @property
    def flops(self) -> Extent:
        """A multiplication and an addition per term."""
        left, right, _ = labels(self.spec.data)
        extents = dict(zip(left + right, shape_of(self.lhs) + shape_of(self.rhs), strict=True))
        return 2 * dims.prod(list(extents.values()))

    @property
    def linear(self) -> tuple[int, ...]:
        return (0, 1)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        """The same op with its maps exchanged; along an axis that this operand alone had, which was summed, the cotangent repeats."""
        left, right, out = labels(self.spec.data)
        mine, theirs = (left, right) if position == 0 else (right, left)
        kept = "".join(name for name in mine if name in out or name in theirs)
        if position == 0:
            found = g.contract(cotangent, self.rhs, f"{out},{right}->{kept}")
        else:
            found = g.contract(self.lhs, cotangent, f"{left},{out}->{kept}")
        return g.broadcast(found, shape_of(self.operands[position]), [mine.index(name) for name in kept])


def product_dtype(what: str, lhs: SSAValue, rhs: SSAValue, dtype: str | None) -> str:
    """Of sums of products: the operands' own, or i32 of bytes where that is asked for. Raises DTypeError."""
    found = dtype_of(lhs), dtype_of(rhs)
    if dtype == "i32" and {*found} <= {"i8", "u8"}:
        return dtype
    if found[0] != found[1] or found[0] == "bool":
        raise DTypeError(f"{what}: dtypes {found[0]} and {found[1]}")
    return found[0]


# Builder functions -------------------------------------------------------------------------------------------------------


def contract(lhs: SSAValue, rhs: SSAValue, spec: str, dtype: str | None = None) -> SSAValue:
    """A two-operand einsum, e.g. "bmk,bkn->bmn". Extents that cannot be proved equal become checks. `dtype` i32 is of operands that are bytes."""
    left, right, _ = labels(spec)
    seen = dict(zip(left, shape_of(lhs), strict=False))
    wanted = [
        require_equal(seen[name], e, f"contract {spec}: '{name}'") if name in seen else e
        for name, e in zip(right, shape_of(rhs), strict=False)
    ]
    for name, e in zip(right, wanted, strict=False):
        seen[name] = e
    if len(left) == len(shape_of(lhs)) and len(right) == len(shape_of(rhs)):
        lhs = shapes.reshape(lhs, [seen[name] for name in left])
        rhs = shapes.reshape(rhs, wanted)
    return emit(ContractOp(lhs, rhs, spec, dtype))[0]


def matmul(x: SSAValue, y: SSAValue) -> SSAValue:
    """numpy.matmul: the last two axes are matrices, the leading ones broadcast, a 1-d operand is a row or a column."""
    first, second = shape_of(x), shape_of(y)
    if not first or not second:
        raise ShapeError(f"matmul: shapes {shape_text(first)} and {shape_text(second)}; scalars have no matrix product")
    left, right = ("k" if len(first) == 1 else "mk"), ("k" if len(second) == 1 else "kn")
    inner = first[-1], second[0] if len(second) == 1 else second[-2]
    if isinstance(inner[0], int) and isinstance(inner[1], int) and inner[0] != inner[1]:
        raise ShapeError(f"matmul: inner dimensions differ, {inner[0]} and {inner[1]}")
    batch = shapes.common_shape([first[:-2], second[:-2]], "matmul: batch")
    letters = "abcdefghij"[: len(batch)]
    specs = []
    operands = []
    for value, shape, matrix in ((x, first, left), (y, second, right)):
        lead = shape[: len(shape) - len(matrix)]
        names = letters[len(letters) - len(lead) :]
        # an axis of extent 1 that the other operand repeats is dropped instead of repeated
        dropped = [a for a, e in enumerate(lead) if e == 1 and batch[len(batch) - len(lead) + a] != 1]
        operands.append(shapes.squeeze(value, dropped) if dropped else value)
        specs.append("".join(n for a, n in enumerate(names) if a not in dropped) + matrix)
    covered = set(specs[0] + specs[1])
    out = "".join(n for n in letters if n in covered) + left.replace("k", "") + right.replace("k", "")
    result = contract(operands[0], operands[1], f"{specs[0]},{specs[1]}->{out}")
    wanted = (*batch, *(first[-2:-1] if len(first) > 1 else ()), *(second[-1:] if len(second) > 1 else ()))
    return shapes.reshape(result, wanted)

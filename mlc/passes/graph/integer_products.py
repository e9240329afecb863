"""Products of quantised tensors on their bytes: integer contractions and convolutions whose operands were widened, centred or dequantised before.

    contract(i32(x: u8) - zx, i32(w: i8))                        ->  contract(x, w): i32 - zx * sums of w's columns
    contract(f32(i32(x: u8) - zx) * sx, f32(w: i8) * broadcast sw)
                                                                  ->  f32(contract(x, w): i32 - zx * sums of w) * (sx * sw)

The first is exact: integers wrap alike whatever the order. The second computes the sum of products exactly, where the model as written rounds
every operand, product and partial sum to f32, so the result differs from it by those roundings and is nearer to real numbers; quantised again
it is the same integer but where the model's own value lies within its rounding of a tie. It is done where scales do not change along what is
summed, zero points are bytes, and a sum fits in 31 bits.

The left operand of a product becomes unsigned and the right one signed (x + 128 and z + 128 in place of x and z), and what is summed is cut
into quads of neighbouring bytes, the form that processors multiply:

    contract(x, w, "mk,kn->mn")  ->  contract(x: [m, k / 4, 4], w: [k / 4, n, 4], "mkr,knr->mn"), both with zeros behind the last k

A weight is arranged once, at compile time.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.elementwise import OPS, CastOp
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.parts import SliceOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp, TransposeOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, rank_of, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.facts import axis_groups, constant_array, made_by, number
from mlc.passes.graph.rewrite import rewrite, rule

QUAD = 4
LONGEST = (1 << 31) // (255 * 255)  # sums of so many products of centred bytes fit in an i32
BYTES = ("i8", "u8")


@dataclass(frozen=True)
class IntegerProducts(Pass):
    """Multiply bytes as bytes; `dequantised`: also where the model multiplies the numbers that they stand for."""

    name: ClassVar[str] = "integer-products"
    dequantised: bool = True

    def run(self, module: Module) -> None:
        kinds = ("i32", "f32") if self.dequantised else ("i32",)

        @rule(ContractOp, ConvolutionOp)
        def on_bytes(op: ContractOp | ConvolutionOp, module: Module) -> SSAValue | None:
            """A product of numbers that bytes stand for -> of the bytes"""
            if dtype_of(op.result) not in kinds or dtype_of(op.operands[0]) in BYTES:
                return None
            if isinstance(op, ConvolutionOp):
                return convolution(op)
            return without_unit_axes(op) or contraction(op)

        rewrite(module, [on_bytes])


# What stands behind a product's operand: found first, built when it is needed -------------------------------------------
@dataclass(frozen=True)
class Along:
    """broadcast(make(), shape, axes) for a shape that is known elsewhere."""

    make: Callable[[], SSAValue]
    axes: tuple[int, ...]

    @staticmethod
    def of(value: SSAValue) -> Along:
        op = made_by(value, BroadcastOp)
        x, axes = (op.x, op.axes.get_values()) if op is not None else (value, range(rank_of(value)))
        return Along(lambda: x, tuple(axes))

    def through(self, op: ReshapeOp | TransposeOp) -> Along | None:
        """Of what `op` makes of a tensor that this is of; None where a reshape mixes its axes with others."""
        if isinstance(op, TransposeOp):
            places = [list(op.permutation.get_values()).index(a) for a in self.axes]
            order = sorted(range(len(places)), key=places.__getitem__)
            return Along(lambda: g.transpose(self.make(), order), tuple(sorted(places)))
        source, target = shape_of(op.x), shape_of(op.result)
        axes: list[int] = []
        groups = axis_groups(source, target)
        for group in groups or ():
            held = [a for a in group.source if a in self.axes]
            if held and any(a not in held and source[a] != 1 for a in group.source):
                return None
            axes += group.target if held else ()
        if groups is None and self.axes:
            return None
        return Along(lambda: g.reshape(self.make(), [target[a] for a in axes]), tuple(axes))


@dataclass(frozen=True)
class Quantised:
    """(bytes - zero) * scale: no zero is 0, no scale 1. The zero is i32, the scale f32; `near` says that the zero is known to be a byte too."""

    bytes: Callable[[], SSAValue]
    dtype: str
    constant: bool
    zero: Along | None = None
    scale: Along | None = None
    near: bool = True

    def through(self, op: ReshapeOp | TransposeOp) -> Quantised | None:
        zero, scale = (part and part.through(op) for part in (self.zero, self.scale))
        if (zero is None) != (self.zero is None) or (scale is None) != (self.scale is None):
            return None

        def bytes() -> SSAValue:
            if isinstance(op, TransposeOp):
                return g.transpose(self.bytes(), op.permutation.get_values())
            return g.reshape(self.bytes(), shape_of(op.result))

        return replace(self, bytes=bytes, zero=zero, scale=scale)

    def shifted(self) -> Quantised:
        """The same numbers in bytes of the other sign."""
        dtype, by = ("u8", 128) if self.dtype == "i8" else ("i8", -128)

        def bytes() -> SSAValue:
            cast = g.cast(self.bytes(), dtype)
            return g.bit_xor(cast, g.full_like(cast, by))

        zero = self.zero or Along(lambda: g.scalar(0, "i32"), ())

        def moved() -> SSAValue:
            value = zero.make()
            known = number(value)
            return g.full_like(value, by) if known == 0 else g.add(value, g.full_like(value, by))

        return replace(self, bytes=bytes, dtype=dtype, zero=Along(moved, zero.axes))


def quantised(value: SSAValue) -> Quantised | None:
    """The bytes that a value of i32 or f32 stands for: behind conversions, a subtraction, a product with scales, and changes of shape."""
    steps: list[tuple[str, ReshapeOp | TransposeOp | Along]] = []
    near = True
    while dtype_of(value) not in BYTES:
        op, dtype = value.owner, dtype_of(value)
        if isinstance(op, ReshapeOp | TransposeOp):
            steps.append(("view", op))
            value = op.x
        elif isinstance(op, CastOp) and dtype_of(op.x) in (*BYTES, "i32"):
            value = op.x
        elif isinstance(op, OPS["mul"]) and dtype == "f32":
            steps.append(("scale", Along.of(op.operands[1])))
            value = op.operands[0]
        elif isinstance(op, OPS["sub"]) and dtype == "i32":
            if number(op.operands[1]) != 0:
                steps.append(("zero", Along.of(op.operands[1])))
                near = near and is_byte(op.operands[1])
            value = op.operands[0]
        else:
            return None
    bytes, source = value, value
    while isinstance(source.owner, ReshapeOp | TransposeOp | SliceOp):
        source = source.owner.x
    found: Quantised | None
    found = Quantised(lambda: bytes, dtype_of(value), isinstance(source.owner, WeightOp | ConstantOp), near=near)
    for kind, step in reversed(steps):
        if isinstance(step, Along):
            if found.scale is not None or (kind == "zero" and found.zero is not None):
                return None
            found = replace(found, zero=step) if kind == "zero" else replace(found, scale=step)
        elif (found := found.through(step)) is None:
            return None
    return found


def is_byte(value: SSAValue) -> bool:
    """Is an i32 known to be what i8 or u8 hold?"""
    while isinstance(value.owner, BroadcastOp | ReshapeOp | TransposeOp | SliceOp):
        value = value.owner.x
    if isinstance(value.owner, CastOp):
        return dtype_of(value.owner.x) in BYTES
    known = constant_array(value)
    return known is not None and bool(known.size) and known.min() >= -128 and known.max() <= 255


# The product ------------------------------------------------------------------------------------------------------------
def operands_of(op: ContractOp | ConvolutionOp) -> tuple[Quantised, Quantised] | None:
    """Both operands, one of them unsigned and the other signed; what is known at compile time is shifted first."""
    lhs, rhs = (quantised(v) for v in op.operands)
    if lhs is None or rhs is None:
        return None
    names = labels(op.spec.data)
    for x, mine in zip((lhs, rhs), names, strict=False):
        if any(part and any(mine[a] not in names[2] for a in part.axes) for part in (x.zero, x.scale)):
            return None
    summed = [c for c in names[0] if c not in names[2]] if isinstance(op, ContractOp) else op.folded
    extents = dict(zip(names[1], shape_of(op.operands[1]), strict=True))
    if any(c not in extents for c in summed) or any(c not in names[0] and c not in names[2] for c in names[1]):
        return None
    length = dims.prod(extents[c] for c in summed)
    if dtype_of(op.result) == "f32" and not (isinstance(length, int) and length <= LONGEST and lhs.near and rhs.near):
        return None
    if lhs.dtype == rhs.dtype == "u8":
        return (lhs.shifted(), rhs) if lhs.constant else (lhs, rhs.shifted())
    if lhs.dtype == rhs.dtype:
        return (lhs, rhs.shifted()) if lhs.constant else (lhs.shifted(), rhs)
    return lhs, rhs


def without_unit_axes(op: ContractOp) -> SSAValue | None:
    """contract(x: [m, 1, k], w, "mak,kn->mn") -> contract(reshape(x), w, "mk,kn->mn")"""
    *names, out = labels(op.spec.data)
    left = [[a for a, c in enumerate(mine) if c in theirs or c in out] for mine, theirs in (names, names[::-1])]
    operands = [(v, [shape_of(v)[a] for a in kept]) for v, kept in zip(op.operands, left, strict=True)]
    if all(len(kept) == len(mine) for kept, mine in zip(left, names, strict=True)):
        return None
    if any(quantised(v) is None for v in op.operands):
        return None
    if any(dims.prod(shape) != dims.prod(shape_of(v)) for v, shape in operands):
        return None  # they are summed
    lhs, rhs = (g.reshape(v, shape) for v, shape in operands)
    names = ["".join(mine[a] for a in kept) for mine, kept in zip(names, left, strict=True)]
    return op.on(lhs, rhs, f"{names[0]},{names[1]}->{out}")


def contraction(op: ContractOp) -> SSAValue | None:
    found = operands_of(op)
    if found is None:
        return None
    values = [x.bytes() for x in found]
    *names, out = labels(op.spec.data)
    total = _contract_quads(values, names, out, 0 if found[0].constant else 1)

    def summed(side: int, zero: Along | None) -> Labelled:
        axes = [a for a, c in enumerate(names[side]) if c not in out]
        kept = "".join(c for c in names[side] if c in out)
        return g.reduce(_less(values[side], zero), axes, "sum"), kept

    centred = _centred(total, found, (names[0], names[1]), out, [partial(summed, 0), partial(summed, 1)])
    return _real(op, centred, found, (names[0], names[1]), out)


def convolution(op: ConvolutionOp) -> SSAValue | None:
    found = operands_of(op)
    if found is None or op.is_spread or (found[0].zero is not None and found[0].zero.axes):
        return None
    x, weight = found[0].bytes(), found[1].bytes()
    names = op.labels
    zero = g.scalar(0, found[0].dtype) if found[0].zero is None else g.cast(found[0].zero.make(), found[0].dtype)
    places = {c: pair for c, pair in zip(op.spatial, op.padding, strict=True)}
    x, total = _convolve_quads(op, x, weight, zero, places)

    def of_weight(z: Along | None) -> Labelled:
        axes = [a for a, c in enumerate(names[1]) if c.isdigit() or c not in names[2]]
        kept = "".join(c for c in names[1] if not c.isdigit() and c in names[2])
        return g.reduce(_less(weight, z), axes, "sum"), kept

    def of_x(z: Along | None) -> Labelled:
        axes = [a for a, c in enumerate(names[0]) if not c.isdigit() and c not in names[2]]
        kept = "".join(c for c in names[0] if c.isdigit() or c in names[2])
        taps = dict(zip(names[1], shape_of(weight), strict=True))
        steps = {
            c: pair for c, *pair in zip(op.spatial, op.strides.get_values(), op.dilations.get_values(), strict=True)
        }
        window = [int(taps[c]) if c.isdigit() else 1 for c in kept]  # type: ignore[arg-type]
        strides, dilations = ([steps[c][n] if c.isdigit() else 1 for c in kept] for n in (0, 1))
        summed = g.reduce(_less(x, z), axes, "sum")
        return g.reduce_window(summed, "sum", window, strides, [(0, 0)] * len(kept), dilations), kept

    centred = _centred(total, found, (names[0], names[1]), names[2], [of_x, of_weight])
    return _real(op, centred, found, (names[0], names[1]), names[2])


def _less(bytes: SSAValue, zero: Along | None) -> SSAValue:
    value = g.cast(bytes, "i32")
    return value if zero is None else g.sub(value, g.broadcast(zero.make(), shape_of(value), list(zero.axes)))


Labelled = tuple[SSAValue, str]  # a value and the labels of its axes


def _product(factors: Sequence[Labelled], out: str, like: SSAValue) -> SSAValue:
    """The product of values with some of the result's axes, computed on those that they have between them and repeated to the result's shape."""
    kept = [a for a, c in enumerate(out) if any(c in names for _, names in factors)]
    shape = [shape_of(like)[a] for a in kept]
    found: SSAValue | None = None
    for value, names in factors:
        order = sorted(range(len(names)), key=lambda a: out.index(names[a]))
        places = [kept.index(out.index(names[a])) for a in order]
        whole = g.broadcast(g.transpose(value, order), shape, places)
        found = whole if found is None else g.mul(found, whole)
    assert found is not None
    return g.broadcast(found, shape_of(like), kept)


def _centred(
    total: SSAValue,
    found: tuple[Quantised, Quantised],
    names: tuple[str, str],
    out: str,
    sums: Sequence[Callable[[Along | None], Labelled]],
) -> SSAValue:
    """sum (x - a)(y - b) = sum x y - a sum (y - b) - b sum x, where the zero points are not 0."""
    for side, x in enumerate(found):
        if x.zero is None:
            continue
        zero = x.zero.make()
        if number(zero) == 0:
            continue
        other = found[1 - side].zero if side == 0 else None
        labelled = zero, "".join(names[side][a] for a in x.zero.axes)
        total = g.sub(total, _product([labelled, sums[1 - side](other)], out, total))
    return total


def _real(
    op: ContractOp | ConvolutionOp,
    total: SSAValue,
    found: tuple[Quantised, Quantised],
    names: tuple[str, str],
    out: str,
) -> SSAValue:
    """The numbers that the sums stand for, where the model computes in these."""
    total = g.reshape(total, shape_of(op.result))
    if dtype_of(op.result) == "i32":
        return total
    sides = zip(found, names, strict=True)
    factors = [(x.scale.make(), "".join(mine[a] for a in x.scale.axes)) for x, mine in sides if x.scale is not None]
    real = g.cast(total, "f32")
    return g.mul(real, _product(factors, out, total)) if factors else real


# Quads ------------------------------------------------------------------------------------------------------------------
def _contract_quads(values: Sequence[SSAValue], names: Sequence[str], out: str, weight: int) -> SSAValue:
    """The contraction with a label that is summed cut in quads, where its extent is known, and an axis of `weight` or, where it has none of its
    own, of the other operand last in the result."""
    plain = f"{names[0]},{names[1]}->{out}"
    found = ((s, c) for s in (weight, 1 - weight) for c in reversed(out) if c in names[s] and c not in names[1 - s])
    side, column = next(found, (0, ""))
    if not column:
        return g.contract(values[0], values[1], plain, "i32")
    across, other = names[side], names[1 - side]
    summed = [c for c in other if c not in out]
    k = other[-1] if other[-1:] in summed else summed[-1] if summed else ""
    quad = _free(plain)
    if not k or not isinstance(shape_of(values[side])[across.index(k)], int):
        return g.contract(values[0], values[1], plain, "i32")
    lies = "".join(c for c in other if c != k) + k
    x = g.transpose(values[1 - side], [other.index(c) for c in lies])
    shared = [c for c in across if c in other and c != k]
    result = out.replace(column, "") + column
    order = "".join([*shared, k, *(c for c in result if c in across and c not in shared)])
    y = g.transpose(values[side], [across.index(c) for c in order])
    parts = {1 - side: (_in_quads(x, len(lies) - 1), lies + quad), side: (_quads_last(y, order.index(k)), order + quad)}
    total = g.contract(parts[0][0], parts[1][0], f"{parts[0][1]},{parts[1][1]}->{result}", "i32")
    return g.transpose(total, [result.index(c) for c in out])


def _convolve_quads(
    op: ConvolutionOp, x: SSAValue, weight: SSAValue, zero: SSAValue, padding: dict[str, tuple[Extent, Extent]]
) -> tuple[SSAValue, SSAValue]:
    """x padded with its zero point, and the convolution of it: over channels in quads, where these are innermost."""
    mine, theirs, out = op.labels
    letters = [c for c in op.folded if not c.isdigit()]
    channels = shape_of(x)[-1]
    quads = letters == [mine[-1]] and out[-1] in theirs and out[-1] not in mine and isinstance(channels, int)
    low = [padding[c][0] if c in padding else 0 for c in mine]
    high = [padding[c][1] if c in padding else 0 for c in mine]
    padded = g.pad(x, low, high, zero)

    def convolve(x: SSAValue, weight: SSAValue, spec: str) -> SSAValue:
        lists = [p.get_values() for p in (op.strides, op.dilations)]
        return g.convolution(x, weight, spec, lists[0], None, lists[1], dtype="i32")

    if not quads:
        return padded, convolve(padded, weight, op.spec.data)
    assert isinstance(channels, int)
    high[-1] = -channels % QUAD
    quad = _free(op.spec.data)
    whole = _cut(g.pad(x, low, high, zero), rank_of(x) - 1)
    spec = f"{mine}{quad},{theirs}{quad}->{out}"
    return padded, convolve(whole, _quads_last(weight, theirs.index(mine[-1])), spec)


def _free(spec: str) -> str:
    return next(c for c in string.ascii_letters if c not in spec)


def _in_quads(x: SSAValue, axis: int) -> SSAValue:
    """[.., k, ..] -> [.., k / 4, 4, ..], with zeros behind the last k."""
    extent = shape_of(x)[axis]
    assert isinstance(extent, int)
    high = [-extent % QUAD if a == axis else 0 for a in range(rank_of(x))]
    return _cut(g.pad(x, [0] * rank_of(x), high, g.scalar(0, dtype_of(x))), axis)


def _cut(x: SSAValue, axis: int) -> SSAValue:
    shape = shape_of(x)
    return g.reshape(x, [*shape[:axis], dims.floordiv(shape[axis], QUAD), QUAD, *shape[axis + 1 :]])


def _quads_last(x: SSAValue, axis: int) -> SSAValue:
    cut = _in_quads(x, axis)
    return g.transpose(cut, [*(a for a in range(rank_of(cut)) if a != axis + 1), axis + 1])

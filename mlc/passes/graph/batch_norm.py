"""Fold batch normalisation, and what else is a factor per channel, into the weight in front of it.

    batch_norm(convolution(x, w))                        -> add(convolution(x, w * factor), offset)
    mul(convolution(x, w), broadcast(factor))            -> convolution(x, w * factor)
    mul(add(convolution(x, w), broadcast(b)), factor)    -> add(convolution(x, w * factor), b * factor)
    add(add(y, broadcast(b)), broadcast(offset))         -> add(y, b + offset)

The same for contractions. Weight, factor and offset are known at compile time; products of weights round once more than before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.graph.base import location
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.elementwise import OPS, ElementwiseOp
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.norms import BatchNormOp
from mlc.ir.graph.shape import BroadcastOp, ReshapeOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_float, is_half, shape_of
from mlc.passes.base import Pass
from mlc.passes.graph.facts import behind, made_by
from mlc.passes.graph.rewrite import rewrite, rule


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Multiply batch normalisations, and other factors per channel, into weights."""

    name: ClassVar[str] = "fold-batch-norm"

    def run(self, module: Module) -> None:
        rewrite(module, [normalised_product, scale_weight, scale_sum])
        rewrite(module, [add_offsets])


_FEW = 64  # ops that make a factor of a weight; batch normalisation has four
Scale = tuple[BroadcastOp, SSAValue]


@rule(BatchNormOp)
def normalised_product(op: BatchNormOp, module: Module) -> SSAValue | None:
    """batch_norm(y) and batch_norm(add(y, broadcast(b))) -> add(y * factor, broadcast(offset)) where y is a product with a weight, and all
    that the normalisation knows of its channels is known"""
    _, *vectors = op.operands
    if is_half(dtype_of(op.x)) or not all(map(_known, vectors)) or not op.x.has_one_use():
        return None
    axis, shape = op.axis.value.data, shape_of(op.x)
    inner = made_by(op.x, OPS["add"])
    bias = None if inner is None else _per_channel(inner)
    y = op.x if bias is None else bias[1]
    if not isinstance(y.owner, ConvolutionOp | ContractOp) or not y.has_one_use():
        return None
    if bias is not None and list(bias[0].axes.get_values()) != [axis]:
        return None
    factor, offset = (g.cast(v, dtype_of(op.x)) for v in op.factor_and_offset(*vectors))
    spread = g.broadcast(factor, shape, [axis]).owner
    assert isinstance(spread, BroadcastOp)
    scaled = _scaled(y.owner, spread)
    if scaled is None:
        return None
    if bias is not None:
        offset = g.add(g.mul(bias[0].x, factor), offset)
    return g.add(scaled, g.broadcast(offset, shape, [axis]))


@rule(OPS["mul"])
def scale_weight(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """mul(convolution(x, w), broadcast(factor)) -> convolution(x, mul(w, broadcast(factor)))"""
    found = _per_channel(op)
    if found is None:
        return None
    factor, y = found
    product = y.owner
    if not isinstance(product, ConvolutionOp | ContractOp) or not y.has_one_use():
        return None
    return _scaled(product, factor)


@rule(OPS["mul"])
def scale_sum(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """mul(add(y, broadcast(b)), broadcast(factor)) -> add(mul(y, factor), broadcast(b * factor)) where y is a product with a weight"""
    found = _per_channel(op)
    if found is None:
        return None
    factor, total = found
    inner = made_by(total, OPS["add"])
    bias = _per_channel(inner) if inner is not None and total.has_one_use() else None
    if bias is None or bias[0].axes != factor.axes:
        return None
    y = bias[1]
    if not isinstance(y.owner, ConvolutionOp | ContractOp) or not y.has_one_use() or _scaled(y.owner, factor) is None:
        return None
    shape = shape_of(op.results[0])
    scaled = g.mul(y, g.broadcast(factor.x, shape, factor.axes.get_values()))
    return g.add(scaled, g.broadcast(g.mul(bias[0].x, factor.x), shape, factor.axes.get_values()))


@rule(OPS["add"])
def add_offsets(op: ElementwiseOp, module: Module) -> SSAValue | None:
    """add(add(y, broadcast(b)), broadcast(offset)) -> add(y, broadcast(b + offset)) where y is a product with a weight"""
    found = _per_channel(op)
    if found is None:
        return None
    offset, total = found
    inner = made_by(total, OPS["add"])
    bias = _per_channel(inner) if inner is not None and total.has_one_use() else None
    if bias is None or bias[0].axes != offset.axes or not isinstance(bias[1].owner, ConvolutionOp | ContractOp):
        return None
    summed = g.add(bias[0].x, offset.x)
    return g.add(bias[1], g.broadcast(summed, shape_of(op.results[0]), offset.axes.get_values()))


def _per_channel(op: ElementwiseOp) -> Scale | None:
    """(broadcast of a known tensor, the other operand) of a float op with one of each."""
    if not is_float(dtype_of(op.operands[0])):
        return None
    for this, other in (op.operands, tuple(reversed(op.operands))):
        broadcast = made_by(this, BroadcastOp)
        if broadcast is not None and len(broadcast.axes) and _known(broadcast.x):
            return broadcast, other
    return None


def _known(value: SSAValue) -> bool:
    """The value depends on weights and constants alone, by few ops, and is as small as they are."""
    return all(
        isinstance(op, WeightOp | ConstantOp) for op in behind(value, (ReshapeOp, ElementwiseOp, BroadcastOp), _FEW)
    )


def _scaled(op: ConvolutionOp | ContractOp, factor: BroadcastOp) -> SSAValue | None:
    """The product with the factor in its weight, if the factor's axes are the weight's. It comes from where the product came from."""
    with location(op.location):
        return _with_factor(op, factor)


def _with_factor(op: ConvolutionOp | ContractOp, factor: BroadcastOp) -> SSAValue | None:
    axes = factor.axes.get_values()
    if isinstance(op, ConvolutionOp):
        _, letters, made = op.labels
        spots = [letters.find(made[a]) for a in axes]
        if not _known(op.weight) or any(made[a].isdigit() for a in axes) or -1 in spots or spots != sorted(spots):
            return None
        return op.on(op.x, g.mul(op.weight, g.broadcast(factor.x, shape_of(op.weight), spots)))
    *names, out = labels(op.spec.data)
    for side in (1, 0):
        places = [names[side].find(out[a]) for a in axes]
        if _known(op.operands[side]) and -1 not in places and places == sorted(places):
            operands = list(op.operands)
            operands[side] = g.mul(operands[side], g.broadcast(factor.x, shape_of(operands[side]), places))
            return g.contract(operands[0], operands[1], op.spec.data)
    return None

"""Normalisations, in the common dtype of what is normalised and of scale and bias."""

from __future__ import annotations

from xdsl.ir import SSAValue

from mlc.frontends.trace.functions.promotion import Operand, promoted
from mlc.ir import builder as g


def layer_norm(x: Operand, *parameters: Operand, axes: tuple[int, ...], epsilon: float) -> SSAValue:
    """Over trailing axes; the parameters are none, scale, or scale and bias, of these axes."""
    data, *given = promoted(x, *parameters)
    scale, bias = [*given, None, None][:2]
    return g.layer_norm(data, scale, bias, axes, epsilon)


def rms_norm(x: Operand, *scale: Operand, axes: tuple[int, ...], epsilon: float) -> SSAValue:
    data, *given = promoted(x, *scale)
    return g.rms_norm(data, given[0] if given else None, axes, epsilon)


def group_norm(x: Operand, scale: Operand, bias: Operand, groups: int, epsilon: float) -> SSAValue:
    data, factor, offset = promoted(x, scale, bias)
    return g.group_norm(data, factor, offset, groups, epsilon)


def batch_norm(
    x: Operand, scale: Operand, bias: Operand, mean: Operand, variance: Operand, epsilon: float, axis: int
) -> SSAValue:
    """With given statistics."""
    data, factor, offset, centre, square = promoted(x, scale, bias, mean, variance)
    return g.batch_norm(data, factor, offset, centre, square, epsilon, axis)

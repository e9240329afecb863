"""Products of vectors, matrices and tensors, and convolution."""

from __future__ import annotations

from string import ascii_letters

from xdsl.ir import SSAValue

from mlc.errors import DTypeError, ShapeError
from mlc.frontends.trace.functions.promotion import Operand, promoted
from mlc.ir import builder as g
from mlc.ir.graph.shape import normal_axis
from mlc.ir.types import dtype_of, rank_of, shape_of, shape_text


def _numbers(what: str, *xs: Operand) -> list[SSAValue]:
    found = promoted(*xs)
    if dtype_of(found[0]) == "bool":
        raise DTypeError(f"{what} of bools", remedy="Cast them: x.astype(int).")
    return found


def matmul(x: Operand, y: Operand) -> SSAValue:
    """The last two axes are matrices, the leading ones broadcast, a one-dimensional operand is a row or a column."""
    lhs, rhs = _numbers("matmul", x, y)
    return g.matmul(lhs, rhs)


def dot(x: Operand, y: Operand) -> SSAValue:
    """The sum over the last axis of x and the second-to-last of y; with a scalar, the product."""
    lhs, rhs = _numbers("dot", x, y)
    first, second = rank_of(lhs), rank_of(rhs)
    if not first or not second:
        return g.mul(*g.lift(lhs, rhs))
    return _tensordot(lhs, rhs, [first - 1], [max(0, second - 2)])


def tensordot(x: Operand, y: Operand, axes: int | tuple[tuple[int, ...], tuple[int, ...]] = 2) -> SSAValue:
    """The sum over axes of x and as many of y: the last and the first so many, or those named."""
    lhs, rhs = _numbers("tensordot", x, y)
    if isinstance(axes, int):
        if axes > min(rank_of(lhs), rank_of(rhs)):
            raise ShapeError(f"tensordot: {axes} axes of {shape_text(shape_of(lhs))} and {shape_text(shape_of(rhs))}")
        left, right = tuple(range(rank_of(lhs) - axes, rank_of(lhs))), tuple(range(axes))
    else:
        left, right = axes
    if len(left) != len(right):
        raise ShapeError(f"tensordot: {len(left)} axes of x and {len(right)} of y")
    normal = [[normal_axis(a, rank_of(v), "tensordot") for a in named] for v, named in ((lhs, left), (rhs, right))]
    return _tensordot(lhs, rhs, *normal)


def _tensordot(lhs: SSAValue, rhs: SSAValue, left: list[int], right: list[int]) -> SSAValue:
    letters = iter(ascii_letters)
    first = [next(letters) for _ in range(rank_of(lhs))]
    second = [first[left[right.index(a)]] if a in right else next(letters) for a in range(rank_of(rhs))]
    kept = [c for a, c in enumerate(first) if a not in left] + [c for a, c in enumerate(second) if a not in right]
    return g.contract(lhs, rhs, f"{''.join(first)},{''.join(second)}->{''.join(kept)}")


def outer(x: Operand, y: Operand) -> SSAValue:
    lhs, rhs = (g.reshape(v, [g.dims.prod(shape_of(v))]) for v in _numbers("outer", x, y))
    return g.contract(lhs, rhs, "a,b->ab")


def einsum(*xs: Operand, equation: str) -> SSAValue:
    return g.einsum(equation, _numbers(f"einsum {equation!r}", *xs))


def convolution(
    x: Operand,
    weight: Operand,
    strides: tuple[int, ...] | None = None,
    padding: tuple[tuple[int, int], ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> SSAValue:
    """Cross-correlation of x [n, c, *spatial] with weight [o, c / groups, *spatial], as deep-learning frameworks define it."""
    data, kernel = _numbers("convolution", x, weight)
    spatial = "".join(str(a) for a in range(rank_of(data) - 2))
    spec = f"nc{spatial},oc{spatial}->no{spatial}"
    return g.convolution(data, kernel, spec, strides, padding, dilations, None, groups)


def transposed_convolution(
    x: Operand,
    weight: Operand,
    strides: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilations: tuple[int, ...],
    groups: int = 1,
) -> SSAValue:
    """The transpose of a convolution from o to c channels, of x [n, c, *spatial] and weight [c, o / groups, *kernel].

    As a convolution of x with zeros between its elements and the kernel turned around; `padding` is cut off at both ends.
    """
    data, kernel = _numbers("transposed_convolution", x, weight)
    channels, outputs, *taps = shape_of(kernel)
    spatial = list(range(2, rank_of(kernel)))
    turned = g.reverse(kernel, spatial)
    parted = g.reshape(turned, [groups, g.dims.floordiv(channels, groups), outputs, *taps])
    swapped = g.transpose(parted, [0, 2, 1, *(axis + 1 for axis in spatial)])
    turned = g.reshape(swapped, [groups * outputs, g.dims.floordiv(channels, groups), *taps])
    reach = [(k - 1) * d for k, d in zip(taps, dilations, strict=True)]
    ends = [(r - p, r - p + more) for r, p, more in zip(reach, padding, output_padding, strict=True)]
    names = "".join(str(a - 2) for a in spatial)
    return g.convolution(data, turned, f"nc{names},oc{names}->no{names}", None, ends, dilations, strides, groups)

"""Convolution: a bilinear op given by maps, closed under transposition.

    convolution(x, w, "nc01,oc01->no01")          batch n, channels c in and o out, spatial axes 0 and 1
    convolution(x, w, "n01gc,01gco->n01go")       channels last, in groups g
    convolution(x, w, "ng01,g01->ng01")           depthwise

Digits are the spatial axes, which windows run over. A letter that the result lacks is summed, as in a contraction: so both gradients of a
convolution are convolutions, with the same three maps in another order. Any letters will do; that n is the batch is all that layouts go by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

import numpy as np
from xdsl.dialects.builtin import DenseArrayBase, StringAttr, TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import ShapeError
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph import parts
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, GraphOp, emit, ints, require_at_least, require_equal, widened
from mlc.ir.graph.derivative import Algebra, Padding, Tangent
from mlc.ir.graph.linear import labels, product_dtype
from mlc.ir.graph.parts import padded
from mlc.ir.types import DimsAttr, dtype_of, numpy_dtype, shape_of, shape_text, tensor


@irdl_op_definition
class ConvolutionOp(GraphOp):
    """Cross-correlation over any number of spatial axes, as deep-learning frameworks define it.

    result[.., p] = sum over letters that the result lacks, and taps t, of x[.., p * strides + t * dilations - low] * weight[.., t]

    where `x_dilation` puts zeros between the elements of x first, and outside of x stands 0. The labels of `spec` name the axes of x, weight
    and result: digits 0, 1, ... the spatial ones, which all three have; a letter is in two of them (batch, summed, output) or in all (groups).
    `padding` low and high, in dimension expressions, before striding; negative padding takes elements away. f16 and bf16 accumulate in f32; bytes,
    i8 or u8 each, in i32 where the result is i32, wrapping.
    """

    name = "graph.convolution"
    x = operand_def(TensorType)
    weight = operand_def(TensorType)
    spec = prop_def(StringAttr)
    strides = prop_def(DenseArrayBase)
    low = prop_def(DimsAttr)
    high = prop_def(DimsAttr)
    dilations = prop_def(DenseArrayBase)
    x_dilation = prop_def(DenseArrayBase)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $weight $spec attr-dict `:` type($x) `,` type($weight) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(
        self,
        x: SSAValue,
        weight: SSAValue,
        spec: str,
        strides: Sequence[int],
        padding: Padding,
        dilations: Sequence[int],
        x_dilation: Sequence[int],
        dtype: str | None = None,
    ):
        super().__init__(
            operands=[x, weight],
            properties={
                "spec": StringAttr(spec),
                "strides": ints(strides),
                "low": DimsAttr.of(lo for lo, _ in padding),
                "high": DimsAttr.of(hi for _, hi in padding),
                "dilations": ints(dilations),
                "x_dilation": ints(x_dilation),
            },
            result_types=[self.infer(x, weight, spec, strides, padding, dilations, x_dilation, dtype)],
        )

    @property
    def labels(self) -> tuple[str, str, str]:
        """Of the axes of x, weight and result."""
        return labels(self.spec.data)

    @property
    def spatial(self) -> str:
        """The labels of the spatial axes, in order."""
        return spatial(self.labels[0])

    @property
    def padding(self) -> list[tuple[Extent, Extent]]:
        return list(zip(self.low.extents(), self.high.extents(), strict=True))

    @property
    def is_spread(self) -> bool:
        """Do elements of x stand apart, with zeros between them?"""
        return any(d != 1 for d in self.x_dilation.get_values())

    @property
    def flops(self) -> Extent:
        """A multiplication and an addition per term."""
        extents = dict(zip(self.labels[1], shape_of(self.weight), strict=True))
        return 2 * dims.prod([*shape_of(self.result), *(extents[c] for c in self.folded)])

    @property
    def folded(self) -> list[str]:
        """The labels that are summed over, in the order of the weight: letters, and taps for digits."""
        return [c for c in self.labels[1] if c.isdigit() or c not in self.labels[2]]

    def on(self, x: SSAValue, weight: SSAValue, spec: str | None = None, padding: Padding | None = None) -> SSAValue:
        """The same convolution of other operands, whose axes may be in another order, or x padded otherwise."""
        return convolution(
            x,
            weight,
            spec or self.spec.data,
            self.strides.get_values(),
            self.padding if padding is None else padding,
            self.dilations.get_values(),
            self.x_dilation.get_values(),
            dtype=dtype_of(self.result),
        )

    @staticmethod
    def infer(
        x: SSAValue,
        weight: SSAValue,
        spec: str,
        strides: Sequence[int],
        padding: Padding,
        dilations: Sequence[int],
        x_dilation: Sequence[int],
        dtype: str | None = None,
    ) -> TensorType:
        names = labels(spec)
        digits = spatial(names[0])
        every = "".join(names)
        if (
            any(len(set(text)) < len(text) or spatial(text) != digits for text in names)
            or digits != "".join(map(str, range(len(digits))))
            or any(every.count(c) < 2 for c in every)
        ):
            raise ShapeError(
                f"convolution: spec {spec}: digits from 0 on name the spatial axes of all three, a letter stands in two of them or in all"
            )
        for text, value, role in zip(names, (x, weight), ("x", "weight"), strict=False):
            if len(shape_of(value)) != len(text):
                raise ShapeError(f"convolution {spec}: {role} has the shape {shape_text(shape_of(value))}")
        if not len(strides) == len(padding) == len(dilations) == len(x_dilation) == len(digits):
            raise ShapeError(
                f"convolution: {len(digits)} spatial axes, but strides {list(strides)}, dilations {list(dilations)}"
            )
        if min((*strides, *dilations, *x_dilation, 1)) < 1:
            raise ShapeError("convolution: strides and dilations must be positive")
        xs, ws = dict(zip(names[0], shape_of(x), strict=True)), dict(zip(names[1], shape_of(weight), strict=True))
        for c in names[0]:
            if not c.isdigit() and xs[c] != ws.get(c, xs[c]):
                raise ShapeError(
                    f"convolution: weight expects {ws[c]} input channels, x has {xs[c]}"
                    if c == "c"
                    else f"convolution {spec}: '{c}' is {xs[c]} in x {shape_text(shape_of(x))} and {ws[c]} in weight {shape_text(shape_of(weight))}"
                )
        found = product_dtype("convolution", x, weight, dtype)
        out = {**ws, **xs}
        for d, c in enumerate(digits):
            whole = reach(xs[c], x_dilation[d]) + padding[d][0] + padding[d][1]
            size = (whole - reach(ws[c], dilations[d])) // strides[d] + 1
            out[c] = max(size, 0) if isinstance(size, int) else size
        return tensor([out[c] for c in names[2]], found)

    def infer_types(self) -> Sequence[TensorType]:
        strides, dilations, apart = (p.get_values() for p in (self.strides, self.dilations, self.x_dilation))
        spec, dtype = self.spec.data, dtype_of(self.result)
        return [self.infer(self.x, self.weight, spec, strides, self.padding, dilations, apart, dtype)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        """One einsum per tap, or per position of the result where these are fewer."""
        strides, dilations, apart = (p.get_values() for p in (self.strides, self.dilations, self.x_dilation))
        names, digits = self.labels, self.spatial
        if dtype_of(self.x) != dtype_of(self.result):
            operands = tuple(v.astype(np.int32) for v in operands)
        x, w = (
            np.moveaxis(widened(v), [text.index(c) for c in digits], range(len(digits)))
            for v, text in zip(operands, names, strict=False)
        )
        lhs, rhs, out = ("".join(c for c in text if not c.isdigit()) for text in names)
        sizes = dict(zip(names[2], (max(0, at(e)) for e in shape_of(self.result)), strict=True))
        taps, positions = w.shape[: len(digits)], tuple(sizes[c] for c in digits)
        low = [at(e) for e in self.low.extents()]
        high = [
            max(0, (p - 1) * s + (t - 1) * d + 1 - (n and (n - 1) * e + 1) - lo)
            for p, s, t, d, n, e, lo in zip(positions, strides, taps, dilations, x.shape, apart, low, strict=False)
        ]
        rest = [0] * len(lhs)
        wide = padded(x, 0, [*low, *rest], [*high, *rest], [*apart, *(1 for _ in rest)])
        result = np.zeros((*positions, *(sizes[c] for c in out)), x.dtype)
        along = ("ABCDEFGHIJ"[: len(digits)], [*lhs, *rhs])
        assert not set(along[0]) & set(along[1])
        if prod(taps) <= prod(positions):
            for tap in product(*map(range, taps)):
                window = wide[_run(tap, dilations, positions, strides)]
                result += np.einsum(f"{along[0]}{lhs},{rhs}->{along[0]}{out}", window, w[tap], optimize=True)
        else:
            for position in product(*map(range, positions)):
                window = wide[_run(position, strides, taps, dilations)]
                result[position] = np.einsum(f"{along[0]}{lhs},{along[0]}{rhs}->{out}", window, w, optimize=True)
        order = [*digits, *out]
        dtype = numpy_dtype(dtype_of(self.result))
        return result.astype(dtype, copy=False).transpose([order.index(c) for c in names[2]])

    @property
    def linear(self) -> tuple[int, ...]:
        return (0, 1)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        """The same op with its maps exchanged."""
        return self.gradient_of_x(cotangent) if position == 0 else self.gradient_of_weight(cotangent)

    def gradient_of_x(self, c: SSAValue) -> SSAValue:
        """The transpose of x -> convolution(x, weight), applied to c: a convolution of c with the weight turned around. What strides left out
        are zeros between the elements of c; the high padding holds the rest that they did not reach, and may take away."""
        x, weight, result = self.labels
        turned = parts.reverse(self.weight, [a for a, name in enumerate(weight) if name.isdigit()])
        padding = [
            (taps - 1 - low, whole + low - out)
            for (whole, taps, out), (low, _) in zip(self._reaches(), self.padding, strict=True)
        ]
        strides, dilations, apart = (p.get_values() for p in (self.strides, self.dilations, self.x_dilation))
        made = convolution(c, turned, f"{result},{weight}->{x}", apart, padding, dilations, strides)
        return shapes.reshape(made, shape_of(self.x))

    def gradient_of_weight(self, c: SSAValue) -> SSAValue:
        """The transpose of weight -> convolution(x, weight), applied to c: a convolution of x with c, which sums over the batch."""
        x, weight, result = self.labels
        padding = [
            (low, out - whole + taps - 1 - low)
            for (whole, taps, out), (low, _) in zip(self._reaches(), self.padding, strict=True)
        ]
        strides, dilations, apart = (p.get_values() for p in (self.strides, self.dilations, self.x_dilation))
        made = convolution(self.x, c, f"{x},{result}->{weight}", dilations, padding, strides, apart)
        return shapes.reshape(made, shape_of(self.weight))

    def _reaches(self) -> Iterator[tuple[Extent, Extent, Extent]]:
        """Along each spatial axis: how far x, the window, and the positions of the result reach."""
        steps = zip(self.x_dilation.get_values(), self.dilations.get_values(), self.strides.get_values(), strict=True)
        for c, by in zip(self.spatial, steps, strict=True):
            x, taps, out = (
                reach(shape_of(value)[names.index(c)], step)
                for value, names, step in zip((self.x, self.weight, self.result), self.labels, by, strict=True)
            )
            yield x, taps, out


def spatial(text: str) -> str:
    return "".join(sorted(c for c in text if c.isdigit()))


def reach(extent: Extent, by: int) -> Extent:
    """From the first to the last of elements that stand `by` apart."""
    return extent if by == 1 else (extent - 1) * by + 1


def _run(place: Sequence[int], by: Sequence[int], counts: Sequence[int], steps: Sequence[int]) -> tuple[slice, ...]:
    """`counts` elements from place * by on, `steps` apart, along each axis."""
    found = zip((p * b for p, b in zip(place, by, strict=True)), counts, steps, strict=True)
    return tuple(slice(start, start + (count and (count - 1) * step + 1), step) for start, count, step in found)


# Builder functions -------------------------------------------------------------------------------------------------------


def convolution(
    x: SSAValue,
    weight: SSAValue,
    spec: str = "nc01,oc01->no01",
    strides: Sequence[int] | None = None,
    padding: Padding | None = None,
    dilations: Sequence[int] | None = None,
    x_dilation: Sequence[int] | None = None,
    groups: int = 1,
    dtype: str | None = None,
) -> SSAValue:
    """See ConvolutionOp. Defaults: stride 1, no padding, no dilation. Extents that cannot be proved equal become checks.

    With `groups`, the axis c of x and the axis o of weight and result hold that many groups, one behind the other, as frameworks have it;
    the op gets an axis g for them.
    """
    if groups != 1:
        return _in_groups(x, weight, spec, groups, (strides, padding, dilations, x_dilation), dtype)
    lhs, rhs, _ = labels(spec)
    ones = [1] * len(spatial(lhs))
    if len(shape_of(x)) == len(lhs) and len(shape_of(weight)) == len(rhs):
        xs, ws = dict(zip(lhs, shape_of(x), strict=True)), dict(zip(rhs, shape_of(weight), strict=True))
        for c in (c for c in lhs if c in ws and not c.isdigit()):
            extent = xs[c] if isinstance(xs[c], int) and isinstance(ws[c], Dim) else ws[c]
            x, weight = _with_extent(x, lhs.index(c), extent), _with_extent(weight, rhs.index(c), extent)
    op = ConvolutionOp(
        x, weight, spec, strides or ones, [(0, 0) for _ in ones] if padding is None else padding, dilations or ones, x_dilation or ones, dtype
    )  # fmt: skip
    require_windows(shape_of(op.result))
    return emit(op)[0]


def require_windows(positions: Sequence[Extent]) -> None:
    """Windows have no negative number of positions: x is large enough where it is not empty."""
    for axis, extent in enumerate(positions):
        require_at_least(extent, 0, f"axis {axis} holds windows")


def _in_groups(
    x: SSAValue,
    weight: SSAValue,
    spec: str,
    groups: int,
    window: tuple[Sequence[int] | None, Padding | None, Sequence[int] | None, Sequence[int] | None],
    dtype: str | None,
) -> SSAValue:
    """With the axes of channels cut in two; those of one channel per group have no letter left, so that depthwise is its own form."""
    lhs, rhs, out = labels(spec)
    for text, value, role in ((lhs, x, "x"), (rhs, weight, "weight")):
        if len(shape_of(value)) != len(text):
            raise ShapeError(f"convolution {spec}: {role} has the shape {shape_text(shape_of(value))}")
    if groups < 1:
        raise ShapeError(f"convolution: {groups} groups")
    channels, inputs = shape_of(x)[lhs.index("c")], shape_of(weight)[rhs.index("c")]
    if isinstance(channels, int) and isinstance(inputs, Dim):
        inputs = channels // groups
    if isinstance(channels, int) and channels != inputs * groups:
        raise ShapeError(
            f"convolution: weight expects {inputs * groups} input channels, x has {channels} (groups = {groups})"
        )
    outputs = shape_of(weight)[rhs.index("o")]
    if isinstance(outputs, int) and outputs % groups:
        raise ShapeError(f"convolution: {outputs} output channels do not divide into {groups} groups")
    each = dims.floordiv(outputs, groups)
    require_equal(outputs, each * groups, f"convolution: output channels in {groups} groups")
    weight = _with_extent(weight, rhs.index("c"), inputs)
    x = _with_extent(x, lhs.index("c"), inputs * groups)
    inner, outer = ("g" if inputs == 1 else "gc"), ("g" if each == 1 else "go")
    names = lhs.replace("c", inner), rhs.replace("c", inner[1:]).replace("o", outer), out.replace("o", outer)
    sizes = {"g": groups, "c": inputs, "o": each}
    parted: list[SSAValue] = []
    for value, whole, text in ((x, lhs, names[0]), (weight, rhs, names[1])):
        extents = dict(zip(whole, shape_of(value), strict=True)) | sizes
        parted.append(shapes.reshape(value, [extents[c] for c in text]))
    y = convolution(parted[0], parted[1], f"{names[0]},{names[1]}->{names[2]}", *window, dtype=dtype)
    extents = dict(zip(names[2], shape_of(y), strict=True)) | {"o": outputs}
    return shapes.reshape(y, [extents[c] for c in out])


def _with_extent(x: SSAValue, axis: int, extent: Extent) -> SSAValue:
    """x with an extent that an axis must have."""
    return shapes.fitted(x, [extent if a == axis else e for a, e in enumerate(shape_of(x))], "convolution")

"""Contractions and convolutions: bilinear ops given by maps, closed under transposition.

    contract(x, w, "bmk,kn->bmn")      a two-operand einsum
    convolution(x, w, ..., x_layout="nc01", weight_layout="oi01", result_layout="nc01")

Layout strings name each axis: n batch, c channels, o and i output and input channels, digits the spatial axes in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, IntegerAttr, StringAttr, TensorType, i64
from xdsl.ir import SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, GraphOp, emit, ints, require_equal, shaped, widened
from mlc.ir.graph.derivative import Algebra, Tangent
from mlc.ir.types import DimsAttr, dtype_of, numpy_dtype, shape_of, shape_text, tensor


def labels(spec: str) -> tuple[str, str, str]:
    """The axis labels of both operands and the result of "bmk,kn->bmn"."""
    operands, result = spec.split("->")
    lhs, rhs = operands.split(",")
    return lhs, rhs, result


def _is_matmul(spec: str) -> bool:
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

    Labels that are not in the result are summed over. f16 and bf16 accumulate in f32; integers in their own type, wrapping.
    """

    name = "graph.contract"
    lhs = operand_def(TensorType)
    rhs = operand_def(TensorType)
    spec = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$lhs `,` $rhs $spec attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)"

    def __init__(self, lhs: SSAValue, rhs: SSAValue, spec: str):
        super().__init__(
            operands=[lhs, rhs], properties={"spec": StringAttr(spec)}, result_types=[self.infer(lhs, rhs, spec)]
        )

    @staticmethod
    def infer(lhs: SSAValue, rhs: SSAValue, spec: str) -> TensorType:
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
        if dtype_of(lhs) != dtype_of(rhs) or dtype_of(lhs) == "bool":
            raise DTypeError(f"contract {spec}: dtypes {dtype_of(lhs)} and {dtype_of(rhs)}")
        return tensor([extents[name] for name in out], dtype_of(lhs))

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.lhs, self.rhs, self.spec.data)]

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:
        dtype, spec = numpy_dtype(dtype_of(self.result)), self.spec.data
        product = np.matmul if _is_matmul(spec) else partial(np.einsum, spec, optimize=True)
        return lambda lhs, rhs: np.asarray(product(widened(lhs), widened(rhs))).astype(dtype, copy=False)

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


@irdl_op_definition
class ConvolutionOp(GraphOp):
    """Cross-correlation over any number of spatial axes, as deep-learning frameworks define it.

    result[n, o, p] = sum over i, t of x_dilated_padded[n, g(o) * I + i, p * strides + t * dilations] * weight[o, i, t];
    `x_dilation` puts zeros between the elements of x first (transposed convolution). `groups` divide the channels of x and of the
    result; weight has channels / groups input channels. `padding` low and high, in dimension expressions, before striding.
    """

    name = "graph.convolution"
    x = operand_def(TensorType)
    weight = operand_def(TensorType)
    strides = prop_def(DenseArrayBase)
    low = prop_def(DimsAttr)
    high = prop_def(DimsAttr)
    dilations = prop_def(DenseArrayBase)
    x_dilation = prop_def(DenseArrayBase)
    groups = prop_def(IntegerAttr)
    layouts = prop_def(ArrayAttr[StringAttr])
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $weight attr-dict `:` type($x) `,` type($weight) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(
        self,
        x: SSAValue,
        weight: SSAValue,
        strides: Sequence[int],
        padding: Sequence[tuple[Extent, Extent]],
        dilations: Sequence[int],
        x_dilation: Sequence[int],
        groups: int,
        layouts: tuple[str, str, str],
    ):
        super().__init__(
            operands=[x, weight],
            properties={
                "strides": ints(strides),
                "low": DimsAttr.of(lo for lo, _ in padding),
                "high": DimsAttr.of(hi for _, hi in padding),
                "dilations": ints(dilations),
                "x_dilation": ints(x_dilation),
                "groups": IntegerAttr(groups, i64),
                "layouts": ArrayAttr([StringAttr(text) for text in layouts]),
            },
            result_types=[self.infer(x, weight, strides, padding, dilations, x_dilation, groups, layouts)],
        )

    @property
    def layout(self) -> tuple[str, str, str]:
        """Axis names of x, weight and result."""
        x, weight, result = (text.data for text in self.layouts.data)
        return x, weight, result

    @property
    def padding(self) -> list[tuple[Extent, Extent]]:
        return list(zip(self.low.extents(), self.high.extents(), strict=True))

    @staticmethod
    def infer(
        x: SSAValue,
        weight: SSAValue,
        strides: Sequence[int],
        padding: Sequence[tuple[Extent, Extent]],
        dilations: Sequence[int],
        x_dilation: Sequence[int],
        groups: int,
        layouts: tuple[str, str, str],
    ) -> TensorType:
        spatial = "".join(sorted(c for c in layouts[0] if c.isdigit()))
        places = (shape_of(x), shape_of(weight))
        for text, names, shape in zip(layouts, ("nc", "oi", "nc"), (*places, None), strict=True):
            if sorted(text) != sorted(names + spatial) or (shape is not None and len(shape) != len(text)):
                raise ShapeError(
                    f"convolution: layouts {layouts} do not fit x {shape_text(places[0])}, weight {shape_text(places[1])}"
                )
        if not len(strides) == len(padding) == len(dilations) == len(x_dilation) == len(spatial):
            raise ShapeError(
                f"convolution: {len(spatial)} spatial axes, but strides {list(strides)}, dilations {list(dilations)}"
            )
        if min((*strides, *dilations, *x_dilation, groups, 1)) < 1:
            raise ShapeError("convolution: strides, dilations and groups must be positive")
        xs, ws = dict(zip(layouts[0], places[0], strict=True)), dict(zip(layouts[1], places[1], strict=True))
        if xs["c"] != ws["i"] * groups:
            raise ShapeError(
                f"convolution: weight expects {ws['i'] * groups} input channels, x has {xs['c']} (groups = {groups})"
            )
        if isinstance(ws["o"], int) and ws["o"] % groups:
            raise ShapeError(f"convolution: {ws['o']} output channels do not divide into {groups} groups")
        if dtype_of(x) != dtype_of(weight) or dtype_of(x) == "bool":
            raise DTypeError(f"convolution: dtypes {dtype_of(x)} and {dtype_of(weight)}")
        out: dict[str, Extent] = {"n": xs["n"], "c": ws["o"]}
        for d, name in enumerate(spatial):
            reach = (ws[name] - 1) * dilations[d] + 1
            whole = (xs[name] - 1) * x_dilation[d] + 1 + padding[d][0] + padding[d][1]
            size = (whole - reach) // strides[d] + 1
            if isinstance(size, int) and size < 0:
                size = 0
            out[name] = size
        return tensor([out[name] for name in layouts[2]], dtype_of(x))

    def infer_types(self) -> Sequence[TensorType]:
        return [
            self.infer(
                self.x,
                self.weight,
                self.strides.get_values(),
                self.padding,
                self.dilations.get_values(),
                self.x_dilation.get_values(),
                self.groups.value.data,
                self.layout,
            )
        ]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        x_layout, w_layout, out_layout = self.layout
        spatial = sorted(c for c in x_layout if c.isdigit())
        x = operands[0].transpose([x_layout.index(c) for c in ("n", "c", *spatial)])
        w = operands[1].transpose([w_layout.index(c) for c in ("o", "i", *spatial)])
        dtype = numpy_dtype(dtype_of(self.result))
        x, w = widened(x), widened(w)
        padding = [(at(lo), at(hi)) for lo, hi in self.padding]
        result = _convolve(
            x,
            w,
            self.strides.get_values(),
            padding,
            self.dilations.get_values(),
            self.x_dilation.get_values(),
            self.groups.value.data,
        )
        order = ("n", "c", *spatial)
        return result.astype(dtype, copy=False).transpose([order.index(c) for c in out_layout])


def _convolve(
    x: np.ndarray,
    w: np.ndarray,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    x_dilation: Sequence[int],
    groups: int,
) -> np.ndarray:
    """x [n, c, *spatial], w [o, c / groups, *spatial]; one einsum per tap."""
    n, c, *size = x.shape
    o, per_group, *taps = w.shape
    bordered = [(s - 1) * d + 1 + lo + hi for s, d, (lo, hi) in zip(size, x_dilation, padding, strict=True)]
    wide = np.zeros((n, c, *[max(b, 0) for b in bordered]), x.dtype)
    inside = [
        slice(lo, lo + (s - 1) * d + 1 if s else lo, d) for s, d, (lo, _) in zip(size, x_dilation, padding, strict=True)
    ]
    wide[(slice(None), slice(None), *inside)] = x
    out = [
        max(0, (b - ((t - 1) * d + 1)) // s + 1) for b, t, d, s in zip(bordered, taps, dilations, strides, strict=True)
    ]
    result = np.zeros((n, groups, o // groups, *out), x.dtype)
    kernel = w.reshape(groups, o // groups, per_group, *taps)
    for tap in product(*(range(t) for t in taps)):
        window = tuple(
            slice(t * d, t * d + (e - 1) * s + 1 if e else t * d, s)
            for t, d, e, s in zip(tap, dilations, out, strides, strict=True)
        )
        part = wide[:, :, *window].reshape(n, groups, per_group, *out)
        weight = np.moveaxis(kernel, (0, 1, 2), (-3, -2, -1))[tap]
        result += np.einsum("ngi...,goi->ngo...", part, weight, optimize=True)
    return result.reshape(n, o, *out)


# Builder functions -------------------------------------------------------------------------------------------------------


def contract(lhs: SSAValue, rhs: SSAValue, spec: str) -> SSAValue:
    """A two-operand einsum, e.g. "bmk,bkn->bmn". Extents that cannot be proved equal become checks."""
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
    return emit(ContractOp(lhs, rhs, spec))[0]


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


def _with_extent(x: SSAValue, axis: int, extent: Extent) -> SSAValue:
    """x with an extent that an axis must have."""
    return shapes.fitted(x, [extent if a == axis else e for a, e in enumerate(shape_of(x))], "convolution")


def convolution(
    x: SSAValue,
    weight: SSAValue,
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[Extent, Extent]] | None = None,
    dilations: Sequence[int] | None = None,
    x_dilation: Sequence[int] | None = None,
    groups: int = 1,
    x_layout: str = "nc01",
    weight_layout: str = "oi01",
    result_layout: str = "nc01",
) -> SSAValue:
    """See ConvolutionOp. Defaults: stride 1, no padding, no dilation."""
    rank = len(x_layout) - 2
    ones = [1] * rank
    layouts = (x_layout, weight_layout, result_layout)
    padding = [(0, 0)] * rank if padding is None else padding
    if len(shape_of(x)) == len(x_layout) and len(shape_of(weight)) == len(weight_layout) and groups > 0:
        channels, inputs = shape_of(x)[x_layout.index("c")], shape_of(weight)[weight_layout.index("i")]
        if isinstance(channels, int) and isinstance(inputs, Dim):
            inputs = channels // groups
        weight = _with_extent(weight, weight_layout.index("i"), inputs)
        x = _with_extent(x, x_layout.index("c"), inputs * groups)
    op = ConvolutionOp(x, weight, strides or ones, padding, dilations or ones, x_dilation or ones, groups, layouts)
    outputs = shape_of(weight)[weight_layout.index("o")]
    require_equal(outputs, dims.floordiv(outputs, groups) * groups, f"convolution: output channels in {groups} groups")
    return emit(op)[0]

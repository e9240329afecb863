"""Convolutions of 3 x 3 windows in fewer products (Winograd's minimal filtering; Lavin and Gray 2016).

    y = winograd(x, u) {tile = 4}        u = windows(w): each window g becomes G g Gt, 6 x 6 numbers

m x m outputs depend on a x a inputs d, with a = m + 2. They are At [ (G g Gt) * (Bt d B) ] A, where * multiplies element by element: a * a
products instead of 9 * m * m. Summed over input channels before the last step, that is a * a products of matrices, tiles x channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, TensorType, i64
from xdsl.ir import SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, GraphOp, emit
from mlc.ir.graph.constants import ConstantOp
from mlc.ir.graph.linear import contract
from mlc.ir.types import DimsAttr, dtype_of, shape_of, shape_text, tensor

TAPS = 3
TILES = (2, 4)  # outputs along one axis of a tile

# Bt and At as products of two matrices, the right one first: what rows have in common is added up once.
_BT = {
    2: [[[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]],
    4: [
        [
            [1, 0, 0, 0, 0, 0],
            [0, 1, 1, 0, 0, 0],
            [0, 1, -1, 0, 0, 0],
            [0, 0, 0, 1, 2, 0],
            [0, 0, 0, 1, -2, 0],
            [0, 0, 0, 0, 0, 1],
        ],
        [
            [4, 0, -5, 0, 1, 0],
            [0, 0, -4, 0, 1, 0],
            [0, -4, 0, 1, 0, 0],
            [0, 0, -1, 0, 1, 0],
            [0, -1, 0, 1, 0, 0],
            [0, 4, 0, -5, 0, 1],
        ],
    ],
}
_G = {
    2: [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    4: [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
}
_AT = {
    2: [[[1, 1, 1, 0], [0, 1, -1, -1]]],
    4: [
        [[1, 1, 0, 1, 0, 0], [0, 0, 1, 0, 2, 0], [0, 1, 0, 4, 0, 0], [0, 0, 1, 0, 8, 1]],
        [
            [1, 0, 0, 0, 0, 0],
            [0, 1, 1, 0, 0, 0],
            [0, 1, -1, 0, 0, 0],
            [0, 0, 0, 1, 1, 0],
            [0, 0, 0, 1, -1, 0],
            [0, 0, 0, 0, 0, 1],
        ],
    ],
}


@cache
def matrices(tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bt [a, a], G [a, 3] and At [m, a] in float64, for tiles of m x m outputs."""
    there, back = (reduce(np.matmul, factors) for factors in transforms(tile))
    return there, np.array(_G[tile], np.float64), back


@cache
def transforms(tile: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Bt and At as products, the last factor first."""
    return tuple([np.array(factor, np.float64) for factor in table[tile]] for table in (_BT, _AT))  # type: ignore[return-value]


@irdl_op_definition
class WinogradOp(GraphOp):
    """A convolution of stride 1 with 3 x 3 windows, from transformed windows: f32 x [n, m Y + 2, m X + 2, c], weight [panels, a * a, c, o] -> [n,
    h, w, panels * o], where h and w are m Y and m X without `crop`, which takes away less than a tile.

    tile     m: 2 or 4
    images   of a batch, which it divides, and
    rows     of tiles, whose transforms a kernel keeps at a time; 1 where h or w is symbolic, and schedules say how many
    shares   in which threads take the panels of one such block; each transforms its x anew

    The result differs from a convolution's by rounding alone: for m = 2 as the convolution's own errors, for m = 4 some ten times that. What is
    infinite or NaN in x reaches its whole tile.
    """

    name = "graph.winograd"
    x = operand_def(TensorType)
    weight = operand_def(TensorType)
    tile = prop_def(IntegerAttr)
    images = prop_def(IntegerAttr)
    rows = prop_def(IntegerAttr)
    shares = prop_def(IntegerAttr)
    crop = prop_def(DimsAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $weight attr-dict `:` type($x) `,` type($weight) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(
        self,
        x: SSAValue,
        weight: SSAValue,
        tile: int,
        crop: Sequence[Extent] = (0, 0),
        images: int = 1,
        rows: int = 1,
        shares: int = 1,
    ):
        numbers = {"tile": tile, "images": images, "rows": rows, "shares": shares}
        super().__init__(
            operands=[x, weight],
            properties={**{k: IntegerAttr(v, i64) for k, v in numbers.items()}, "crop": DimsAttr.of(crop)},
            result_types=[self.infer(x, weight, crop, **numbers)],
        )

    @staticmethod
    def infer(
        x: SSAValue, weight: SSAValue, crop: Sequence[Extent], tile: int, images: int, rows: int, shares: int
    ) -> TensorType:
        xs, ws = shape_of(x), shape_of(weight)
        if tile not in TILES:
            raise ShapeError(f"winograd: tiles of {tile} x {tile} outputs, and there are those of 2 and 4")
        if dtype_of(x) != "f32" or dtype_of(weight) != "f32":
            raise DTypeError(f"winograd: takes f32, not {dtype_of(x)} and {dtype_of(weight)}")
        a = tile + TAPS - 1
        if len(xs) != 4 or len(ws) != 4 or ws[1] != a * a or ws[2] != xs[3] or len(crop) != 2:
            raise ShapeError(
                f"winograd: x {shape_text(xs)} and transformed windows {shape_text(ws)}, not [panels, {a * a}, c, o]"
            )
        if (
            min(images, rows, shares) < 1
            or not all(isinstance(e, int) for e in (xs[3], *ws))
            or not isinstance(ws[0], int)
            or ws[0] % shares
            or (max(images, rows) > 1 and not all(isinstance(e, int) for e in xs[1:3]))
        ):
            raise ShapeError(
                f"winograd: {images} images, {rows} rows of tiles, {shares} shares of {shape_text(ws[:1])} panels"
            )
        if images > 1 and (not isinstance(xs[0], int) or xs[0] % images):
            raise ShapeError(f"winograd: {images} images do not divide a batch of {xs[0]}")
        height, width = (size - (TAPS - 1) - less for size, less in zip(xs[1:3], crop, strict=True))
        for size, kept in ((xs[1], height), (xs[2], width)):
            if dims.ceildiv(kept, tile) * tile != size - (TAPS - 1) or (isinstance(kept, int) and kept < 0):
                raise ShapeError(
                    f"winograd: {size} inputs are no whole tiles of {tile} outputs and a border of 2, for {kept} outputs"
                )
        return tensor([xs[0], height, width, ws[0] * ws[3]], "f32")

    def infer_types(self) -> Sequence[TensorType]:
        numbers = {k: getattr(self, k).value.data for k in ("tile", "images", "rows", "shares")}
        return [self.infer(self.x, self.weight, self.crop.extents(), **numbers)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        """In f32: the transforms, a product per element of a tile, and back."""
        m = self.tile.value.data
        bt, _, out = (matrix.astype(np.float32) for matrix in matrices(m))
        x, weight = operands
        n, height, width, _ = (at(e) for e in shape_of(self.result))
        tall, wide = ((size - (TAPS - 1)) // m for size in x.shape[1:3])
        if 0 in (tall, wide):
            return np.zeros([at(e) for e in shape_of(self.result)], np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(x, (m + TAPS - 1,) * 2, (1, 2))[:, ::m, ::m][:, :tall, :wide]
        v = np.einsum("ia,nyxcab,jb->ijnyxc", bt, windows, bt, optimize=True)
        product = np.einsum(
            "ijnyxc,pijco->ijnyxpo", v, weight.reshape(len(weight), *v.shape[:2], *weight.shape[2:]), optimize=True
        )
        y = np.einsum("ui,ijnyxpo,vj->nyuxvpo", out, product, out, optimize=True)
        return np.ascontiguousarray(y.reshape(n, tall * m, wide * m, -1)[:, :height, :width])

    @property
    def flops(self) -> Extent:
        """Of the products; transforms are few for many channels."""
        m = self.tile.value.data
        n, tall, wide, c = shape_of(self.x)
        tiles = dims.floordiv(tall - (TAPS - 1), m) * dims.floordiv(wide - (TAPS - 1), m)
        return n * tiles * (2 * (m + TAPS - 1) ** 2 * c * shape_of(self.result)[3])


# Builder functions -------------------------------------------------------------------------------------------------------


def windows(weight: SSAValue, tile: int, width: int) -> SSAValue:
    """3 x 3 windows [3, 3, c, o] transformed for tiles of `tile` outputs, in panels of `width` of their o columns: [o / width, a * a, c, width]."""
    _, _, c, o = shape_of(weight)
    if not isinstance(o, int) or o % width:
        raise ShapeError(f"winograd: {o} output channels do not part into panels of {width}")
    (g,) = emit(ConstantOp(matrices(tile)[1].astype(np.float32)))
    both = shapes.reshape(contract(g, g, "ai,bj->abij"), [(tile + TAPS - 1) ** 2, TAPS**2])
    return contract(both, shapes.reshape(weight, [TAPS**2, c, o // width, width]), "tk,kcpo->ptco")


def winograd(
    x: SSAValue,
    weight: SSAValue,
    tile: int,
    crop: Sequence[Extent] = (0, 0),
    images: int = 1,
    rows: int = 1,
    shares: int = 1,
) -> SSAValue:
    """See WinogradOp."""
    return emit(WinogradOp(x, weight, tile, crop, images, rows, shares))[0]

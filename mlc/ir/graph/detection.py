"""Choosing among boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir.dims import Extent
from mlc.ir.graph.base import Evaluate, GraphOp, emit
from mlc.ir.types import DimsAttr, dtype_of, extent, shape_of, shape_text, tensor


@irdl_op_definition
class NonMaxSuppressionOp(GraphOp):
    """Per batch and class the candidates in descending order of score, each dropped that overlaps a better one: up to `limit` numbers of boxes, -1
    behind them.

    boxes [batch, n, 4] are corners (y0, x0, y1, x1); scores and candidates (flags) are [batch, classes, n]; boxes overlap whose intersection is
    more than `overlap` of their union. Of equal scores the first box is better. Result i64 [batch, classes, limit].
    """

    name = "graph.non_max_suppression"
    boxes = operand_def(TensorType)
    scores = operand_def(TensorType)
    candidates = operand_def(TensorType)
    overlap = operand_def(TensorType)
    limit = prop_def(DimsAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = (
        "$boxes `,` $scores `,` $candidates `,` $overlap attr-dict "
        "`:` type($boxes) `,` type($scores) `,` type($candidates) `,` type($overlap) `->` type($result)"
    )
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, boxes: SSAValue, scores: SSAValue, candidates: SSAValue, overlap: SSAValue, limit: Extent):
        operands = [boxes, scores, candidates, overlap]
        super().__init__(
            operands=operands,
            properties={"limit": DimsAttr.of([limit])},
            result_types=[self.infer(operands, limit)],
        )

    @staticmethod
    def infer(operands: Sequence[SSAValue], limit: Extent) -> TensorType:
        dtypes = [dtype_of(v) for v in operands]
        if dtypes != ["f32", "f32", "bool", "f32"]:
            raise DTypeError(f"non_max_suppression: operands are {', '.join(dtypes)}, not f32, f32, bool, f32")
        boxes, scores, candidates, overlap = (shape_of(v) for v in operands)
        if len(scores) != 3 or boxes != (scores[0], scores[2], 4) or candidates != scores or overlap:
            shapes = ", ".join(shape_text(shape) for shape in (boxes, scores, candidates, overlap))
            raise ShapeError(f"non_max_suppression: {shapes} are not [b, n, 4], [b, c, n], [b, c, n], []")
        return tensor([*scores[:2], limit], "i64")

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(list(self.operands), self.limit.extents()[0])]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        boxes, scores, candidates, overlap = operands
        result = np.full((*scores.shape[:2], at(self.limit.extents()[0])), -1)
        for b, c in np.ndindex(*scores.shape[:2]):
            left = np.flatnonzero(candidates[b, c])
            for slot in range(result.shape[2] if left.size else 0):
                best = left[np.argmax(scores[b, c, left])]
                result[b, c, slot] = best
                left = left[(left != best) & ~_overlap(boxes[b, best], boxes[b, left], overlap)]
                if not left.size:
                    break
        return result


def _overlap(box: np.ndarray, others: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Whether a box overlaps each of the others; boxes without an area overlap nothing."""
    with np.errstate(all="ignore"):
        sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        shared = sides[:, 0] * sides[:, 1]
        own, their = (box[2] - box[0]) * (box[3] - box[1]), np.prod(others[:, 2:] - others[:, :2], axis=1)
        union = own + their - shared
        real = (sides > 0).all(axis=1) & (shared > 0) & (own > 0) & (their > 0) & (union > 0)
        return real & (shared / union > limit)


# Builder functions -------------------------------------------------------------------------------------------------------


def non_max_suppression(
    boxes: SSAValue, scores: SSAValue, candidates: SSAValue, overlap: SSAValue, limit: Extent
) -> SSAValue:
    """The numbers of the boxes that are kept, [batch, classes, limit], -1 behind the last of a class."""
    return emit(NonMaxSuppressionOp(boxes, scores, candidates, overlap, extent(limit)))[0]

"""NonMaxSuppression."""

from __future__ import annotations

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import dmin
from mlc.ir.types import rank_of, shape_of


@handles("NonMaxSuppression", since=(10, 11))
def non_max_suppression(
    node: Node,
    boxes: Value,
    scores: Value,
    most: Value | None = None,
    overlap: Value | None = None,
    threshold: Value | None = None,
) -> Value:
    """Rows (batch, class, box) of the boxes that are kept. No limit per class means none is."""
    if rank_of(boxes) == 3:
        boxes = g.fitted(boxes, [*shape_of(boxes)[:2], 4], f"{node.title}: corners of boxes")
    if rank_of(boxes) != 3 or rank_of(scores) != 3 or shape_of(boxes)[2] != 4:
        raise node.error("boxes are not [batches, boxes, 4], or scores not [batches, classes, boxes]")
    batches = g.require_equal(shape_of(boxes)[0], shape_of(scores)[0], "batches of boxes and scores")
    number = g.require_equal(shape_of(boxes)[1], shape_of(scores)[2], "number of boxes and of scores")
    boxes, scores = g.reshape(boxes, [batches, number, 4]), g.reshape(scores, [batches, shape_of(scores)[1], number])
    candidates = g.full(shape_of(scores), True, "bool")
    if threshold is not None:
        candidates = g.gt(scores, g.broadcast(g.reshape(threshold, []), shape_of(scores), []))
    overlap = g.scalar(0, "f32") if overlap is None else g.reshape(overlap, [])
    counted = most is not None and node.constant(2) is None
    limit = number if counted else 0 if most is None else max(0, int(node.number(2, "max_output_boxes_per_class")))
    limit = node.simplify(dmin(number, limit))
    kept = g.non_max_suppression(_corners(node, boxes), scores, candidates, overlap, limit)
    chosen = g.ge(kept, like(kept, 0))
    if most is not None and counted:
        within = g.lt(g.iota(shape_of(kept), 2, "i64"), g.broadcast(g.reshape(most, []), shape_of(kept), []))
        chosen = g.logical_and(chosen, within)
    places = g.nonzero(chosen)
    box = g.unsqueeze(g.gather_nd(kept, places), [1])
    return g.concatenate([g.slice_axis(places, 1, 0, 2), box], 1)


def _corners(node: Node, boxes: Value) -> Value:
    """Each box as (y0, x0, y1, x1). The file has any two opposite corners, or (x, y, width, height) around the centre."""
    first, second = (g.slice_axis(boxes, 2, start, 2) for start in (0, 2))
    if not node.int("center_point_box", 0):
        return g.concatenate([g.minimum(first, second), g.maximum(first, second)], 2)
    half = g.div(second, like(second, 2))
    return g.concatenate([g.sub(first, half), g.add(first, half)], 2)

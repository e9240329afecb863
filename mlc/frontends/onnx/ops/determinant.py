"""Det by Gaussian elimination with the largest element of a column as pivot (Golub, Van Loan, Matrix Computations, 3.4)."""

from __future__ import annotations

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import in_f32, like
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.dims import prod
from mlc.ir.types import dtype_of, rank_of, shape_of, shape_text


@handles("Det", since=(11, 22))
def det(node: Node, x: Value) -> Value:
    """The determinant of each matrix of x [..., m, m]; 1 for matrices without elements."""
    if rank_of(x) < 2:
        raise node.error(f"X has {rank_of(x)} axes, expected 2 or more")
    *batch, rows, columns = shape_of(x)
    if isinstance(rows, int) and isinstance(columns, int) and rows != columns:
        raise node.error(f"the matrices are not square: X has shape {shape_text(shape_of(x))}")
    size = g.require_equal(rows, columns, "rows and columns of a square matrix")
    count = prod(batch)
    return g.reshape(in_f32(determinants, g.reshape(x, [count, size, size])), batch)


def determinants(matrices: Value) -> Value:
    """[n, m, m] -> [n]. Step k brings the row with the largest element of column k to place k, takes multiples of it from those below, and
    multiplies the determinant by that element, or by its opposite where two rows were exchanged."""
    count, size, _ = shape_of(matrices)
    dtype = dtype_of(matrices)

    def step(
        states: tuple[Value, ...], slices: tuple[Value, ...], _: tuple[Value, ...]
    ) -> tuple[list[Value], list[Value]]:
        (left, product), (number,) = states, slices
        rows = g.iota([count, size], 1, "i64")
        here = g.broadcast(number, [count, size], [])
        column = g.squeeze(g.gather_elements(left, g.broadcast(number, [count, size, 1], []), 2), [2])
        open_rows = g.ge(rows, here)
        found = g.arg_max(g.select(open_rows, g.abs(column), like(column, -1)), 1)
        pivot_row = g.squeeze(g.gather_elements(left, g.broadcast(found, [count, 1, size], [0]), 1), [1])
        this_row = g.squeeze(g.gather_elements(left, g.broadcast(number, [count, 1, size], []), 1), [1])
        pivot = g.squeeze(g.gather_elements(column, g.unsqueeze(found, [1]), 1), [1])
        exchanged = g.ne(found, g.broadcast(number, [count], []))
        factor = g.select(exchanged, g.neg(pivot), pivot)
        wide = (count, size, size)
        moved = g.broadcast(g.eq(rows, g.broadcast(found, [count, size], [0])), wide, [0, 1])
        below = g.select(moved, g.broadcast(this_row, wide, [0, 2]), left)
        head = g.squeeze(g.gather_elements(below, g.broadcast(number, [count, size, 1], []), 2), [2])
        safe = g.select(
            g.eq(pivot, like(pivot, 0)), like(pivot, 1), pivot
        )  # a column of zeros has nothing to take away
        ratio = g.div(head, g.broadcast(safe, [count, size], [0]))
        after = g.sub(below, g.mul(g.broadcast(ratio, wide, [0, 1]), g.broadcast(pivot_row, wide, [0, 2])))
        return [after, g.mul(product, factor)], []

    (_, product), _ = g.scan(step, [matrices, g.full([count], 1, dtype)], [g.iota([size], 0, "i64")], size)
    return product

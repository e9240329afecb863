"""What onnxruntime's graph optimiser merges: products and convolutions with what follows, activations with their bias."""

from __future__ import annotations

from collections.abc import Callable

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import activation, clipped_line, times
from mlc.frontends.onnx.ops.linear import conv, gemm
from mlc.frontends.onnx.ops.microsoft import contributed
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.dims import prod
from mlc.ir.types import rank_of, shape_of


@contributed("FusedMatMul")
@contributed("TransposeMatMul")
def fused_matmul(node: Node, a: Value, b: Value) -> Value:
    """alpha * a' b'. transA swaps the last two axes; transBatchA says that the rows come before the batch: [m, batch..., k]."""
    a, b = (turned(node, x, side) for x, side in ((a, "A"), (b, "B")))
    return times(g.matmul(a, b), node.float("alpha", 1.0))


def turned(node: Node, x: Value, side: str) -> Value:
    rank = rank_of(x)
    if rank < 2:
        return x
    order = list(range(rank))
    if node.int(f"transBatch{side}", 0):
        order = [*order[1:-1], 0, rank - 1]
    if node.int(f"trans{side}", 0):
        order[-2:] = [order[-1], order[-2]]
    return x if order == list(range(rank)) else g.transpose(x, order)


@contributed("FusedGemm")
def fused_gemm(node: Node, a: Value, b: Value, c: Value | None) -> Value:
    """Gemm and an activation."""
    given = [node.float(f"activation_{name}", None) for name in ("alpha", "beta")]
    return activated(node, gemm(node.standing_for("Gemm", 13), a, b, c), *given)


@contributed("FusedConv")
def fused_conv(node: Node, x: Value, weight: Value, bias: Value | None, z: Value | None) -> Value:
    """Conv, plus z where it is given, and an activation."""
    y = conv(node.standing_for("Conv", 11), x, weight, bias)
    if z is not None:
        y = g.add(y, g.broadcast_to(z, shape_of(y)))
    alpha, beta = [*(node.floats("activation_params", None) or []), None, None][:2]
    return activated(node, y, alpha, beta)


def activated(node: Node, x: Value, alpha: float | None, beta: float | None) -> Value:
    """The activation that the node names, if any; `Clip` has its bounds for alpha and beta."""
    name = node.string("activation", "")
    match name:
        case "":
            return x
        case "Clip":
            low, high = (None if v is None else g.scalar_like(x, v) for v in (alpha, beta))
            return g.clip(x, low, high)
        case "HardSwish":
            return g.mul(x, clipped_line(x, 1 / 6 if alpha is None else alpha, 0.5 if beta is None else beta))
    return activation(node, name, alpha, beta, x)


def _with_bias(op_type: str, function: Callable[[Node, Value], Value]) -> None:
    def handler(node: Node, x: Value, bias: Value | None) -> Value:
        return function(node, x if bias is None else g.add(x, g.broadcast_to(bias, shape_of(x))))

    contributed(op_type)(handler)


_with_bias("BiasGelu", lambda node, x: g.gelu(x))
_with_bias("FastGelu", lambda node, x: g.gelu(x, "tanh"))


@contributed("Gelu")
def gelu(node: Node, x: Value) -> Value:
    return g.gelu(x)


@contributed("QuickGelu")
def quick_gelu(node: Node, x: Value) -> Value:
    """x * sigmoid(alpha * x)."""
    alpha = node.float("alpha", 1.702)
    return g.silu(x) if alpha == 1 else g.mul(x, g.sigmoid(times(x, alpha)))


@contributed("BiasSoftmax")
def bias_softmax(node: Node, x: Value, bias: Value) -> Value:
    """softmax(x + bias) over all axes from `axis` on. The bias repeats within the rows' batch (inner) or as NumPy has it (outer)."""
    axis, shape = node.axis(node.int("axis", 1), rank_of(x)), shape_of(x)
    if node.int("is_inner_broadcast") and rank_of(bias) != rank_of(x):
        raise node.unsupported("an inner broadcast of a bias with fewer axes")
    y = g.add(x, g.broadcast_to(bias, shape))
    rows = g.reshape(y, [*shape[:axis], prod(shape[axis:])])
    return g.reshape(g.softmax(rows, axis), shape)


@contributed("ExpandDims")
def expand_dims(node: Node, x: Value, axis: Value) -> Value:
    """A new axis of extent 1 at a place known at import."""
    at = int(node.number(1, "axis"))
    return g.unsqueeze(x, [node.axis(at, rank_of(x) + 1)])


@contributed("CDist")
def cdist(node: Node, a: Value, b: Value) -> Value:
    """Distances between the rows of a [m, k] and b [n, k]: [m, n]."""
    metric = node.string("metric")
    if metric not in ("euclidean", "sqeuclidean"):
        raise node.unsupported(f"metric '{metric}'")
    if rank_of(a) != 2 or rank_of(b) != 2:
        raise node.error(f"A has {rank_of(a)} axes and B has {rank_of(b)}, expected 2")
    shape = (shape_of(a)[0], *shape_of(b))
    difference = g.sub(g.broadcast(a, shape, [0, 2]), g.broadcast(b, shape, [1, 2]))
    squares = g.reduce(g.mul(difference, difference), [2], "sum")
    return squares if metric == "sqeuclidean" else g.sqrt(squares)

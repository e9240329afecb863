"""Contractions and convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from mlc.codegen.python.forms.reduce import narrowed, widened
from mlc.codegen.python.forms.shape import may_crop
from mlc.codegen.python.names import literal
from mlc.codegen.python.numpy_expression import PRODUCT, Expr
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, whole
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.winograd import WinogradOp, matrices
from mlc.ir.types import dtype_of, is_half, shape_of


@form(ContractOp)
def _contract(w: Writer, op: ContractOp) -> Expr:
    dtype, spec = dtype_of(op.result), op.spec.data
    x, y = (_factor(w, v, dtype) for v in op.operands)
    if (turned := _product(spec)) is None:
        text = f"np.einsum({literal(spec)}, {x.text}, {y.text}, optimize=True)"
        return whole(op.result, narrowed(w, text, dtype))
    left, right = turned
    text = f"{x.atom}{left} @ {y.atom}{right}" if left else f"{x.at(PRODUCT)} @ {y.atom}{right}"
    return whole(op.result, narrowed(w, f"({text})", dtype)) if is_half(dtype) else whole(op.result, text, PRODUCT)


def _factor(w: Writer, value: SSAValue, dtype: str) -> Expr:
    """An operand as it is multiplied: halves in f32, bytes in i32 where the sum is."""
    e = w.array(value)
    return widened(e, dtype) if dtype_of(value) == dtype else e.of(f"{e.atom}.astype({w.dtype(dtype)})")


def _product(spec: str) -> tuple[str, str] | None:
    """What makes a contraction a matrix product, x @ y: how x and y are turned; None where it is none."""
    lhs, rhs, out = labels(spec)
    summed = set(lhs) & set(rhs) - set(out)
    if len(summed) != 1 or set(lhs) | set(rhs) != set(out) | summed:
        return None
    (k,) = summed
    if len(rhs) == 1 or len(lhs) == 1:  # a vector, and what it is multiplied with
        plain = lhs == out + k if len(rhs) == 1 else rhs == k + out and len(out) == 1
        return ("", "") if plain else None
    batch, m, n = out[:-2], out[-2:-1], out[-1:]
    left, right = _turn(lhs, batch, m, k), _turn(rhs, batch, k, n)
    right = _turn(rhs, "", k, n) if right is None else right
    return None if left is None or right is None else (left, right)


def _turn(operand: str, batch: str, row: str, column: str) -> str | None:
    """What makes an operand a (batch of a) matrix with these rows and columns; None where nothing does."""
    if operand == batch + row + column:
        return ""
    return (".swapaxes(-1, -2)" if batch else ".T") if operand == batch + column + row else None


@form(ConvolutionOp)
def _convolution(w: Writer, op: ConvolutionOp) -> Expr:
    dtype = dtype_of(op.result)
    x, weight = (_factor(w, v, dtype).text for v in op.operands)
    x, padding = _bordered(w, op, x)
    strides, dilations = (_unless_ones(p.get_values()) for p in (op.strides, op.dilations))
    text = w.call("conv", x, weight, literal(op.spec.data), strides=strides, padding=padding, dilations=dilations)
    return whole(op.result, narrowed(w, text, dtype))


@form(WinogradOp)
def _winograd(w: Writer, op: WinogradOp) -> Expr:
    x, weight = (w.array(v).text for v in op.operands)
    there, _, back = (str(matrix.astype(int).tolist()) for matrix in matrices(op.tile.value.data))
    return whole(op.result, w.call("winograd", x, weight, there, back, w.shape(shape_of(op.result)[1:3])))


def _bordered(w: Writer, op: ConvolutionOp, x: str) -> tuple[str, str | None]:
    """x and its padding; where that may take away, or something lies between the elements of x, x with all of it and no padding."""
    if may_crop(op.padding) or op.is_spread:
        names, apart = op.labels[0], op.x_dilation.get_values()
        between = (
            f"({', '.join(str(apart[int(c)] - 1 if c.isdigit() else 0) for c in names)},)" if op.is_spread else None
        )
        low, high = ([side[int(c)] if c.isdigit() else 0 for c in names] for side in zip(*op.padding, strict=True))
        return w.call("pad", x, w.shape(low), w.shape(high), between=between), None
    edges = ", ".join(f"({w.size(lo)}, {w.size(hi)})" for lo, hi in op.padding)
    return x, f"[{edges}]" if any(e != 0 for pair in op.padding for e in pair) else None


def _unless_ones(numbers: Sequence[int]) -> str | None:
    return f"[{', '.join(map(str, numbers))}]" if any(n != 1 for n in numbers) else None

"""Contractions and convolutions."""

from __future__ import annotations

from mlc.codegen.python.forms.reduce import narrowed, widened
from mlc.codegen.python.numpy_expression import PRODUCT, Expr
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, whole
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.types import dtype_of, is_half


@form(ContractOp)
def _contract(w: Writer, op: ContractOp) -> Expr:
    dtype, spec = dtype_of(op.result), op.spec.data
    lhs, rhs = (w.array(v) for v in op.operands)
    x, y = (widened(e.atom, dtype) if is_half(dtype) else e.atom for e in (lhs, rhs))
    if (product := _product(spec)) is not None:
        text = f"{x} @ {y}{product}"
        if not is_half(dtype):
            return whole(op.result, text, PRODUCT)
        return whole(op.result, narrowed(w, f"({text})", dtype))
    x, y = (widened(e.atom, dtype) if is_half(dtype) else e.text for e in (lhs, rhs))
    return whole(op.result, narrowed(w, f'np.einsum("{spec}", {x}, {y}, optimize=True)', dtype))


def _product(spec: str) -> str | None:
    """What makes a contraction a matrix product, x @ y: how y is turned; None where it is none."""
    lhs, rhs, out = labels(spec)
    if len(lhs) < 2 or len(rhs) < 2 or len(out) != len(lhs):
        return None
    batch, m, k = lhs[:-2], lhs[-2], lhs[-1]
    if out[:-1] != batch + m or k in out:
        return None
    n, front = out[-1], rhs[:-2]
    if n in lhs or front not in ("", batch):
        return None
    if rhs[-2:] == k + n:
        return ""
    return (".swapaxes(-1, -2)" if front else ".T") if rhs[-2:] == n + k else None


@form(ConvolutionOp)
def _convolution(w: Writer, op: ConvolutionOp) -> Expr:
    dtype = dtype_of(op.result)
    x, weight = (widened(w.array(v).atom, dtype) for v in op.operands)
    text = w.call("conv", x, weight, f'"{op.spec.data}"', **_steps(w, op))
    return whole(op.result, narrowed(w, text, dtype))


def _steps(w: Writer, op: ConvolutionOp) -> dict[str, str | None]:
    named: dict[str, str | None] = {}
    for name, values in (("strides", op.strides), ("dilations", op.dilations), ("x_dilation", op.x_dilation)):
        numbers = values.get_values()
        named[name] = None if list(numbers) == [1] * len(op.spatial) else f"[{', '.join(map(str, numbers))}]"
    edges = ", ".join(f"({w.size(lo)}, {w.size(hi)})" for lo, hi in op.padding)
    named["padding"] = f"[{edges}]" if any(e != 0 for pair in op.padding for e in pair) else None
    return {name: named[name] for name in ("strides", "padding", "dilations", "x_dilation")}

"""Pooling, and the places of the largest elements of windows."""

from __future__ import annotations

from mlc.codegen.python.forms.reduce import UFUNCS, narrowed, start_of, widened
from mlc.codegen.python.numpy_expression import Expr
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, whole
from mlc.ir.graph.pick import WindowPickOp, WindowPlaceOp, WindowPutOp
from mlc.ir.graph.window import ReduceWindowOp, WindowsOp
from mlc.ir.types import dtype_of, shape_of


def _geometry(w: Writer, op: WindowsOp) -> dict[str, str | None]:
    found: dict[str, str | None] = {"window": _list(op.window.get_values())}
    for name, values in (("strides", op.strides), ("dilations", op.dilations)):
        numbers = values.get_values()
        found[name] = _list(numbers) if any(n != 1 for n in numbers) else None
    if any(e != 0 for pair in op.padding for e in pair):
        found["padding"] = f"[{', '.join(f'({w.size(lo)}, {w.size(hi)})' for lo, hi in op.padding)}]"
    return {name: found[name] for name in ("window", "strides", "padding", "dilations") if name in found}


def _list(numbers: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


@form(ReduceWindowOp)
def _pool(w: Writer, op: ReduceWindowOp) -> Expr:
    dtype, kind = dtype_of(op.x), op.kind.data
    x = widened(w.array(op.x).atom, dtype)
    apart = _list(tuple(op.apart)) if any(d != 1 for d in op.apart) else None
    text = w.call("pool", UFUNCS[kind], x, f"fill={start_of(kind, dtype)}", **_geometry(w, op), x_dilation=apart)
    return whole(op.result, narrowed(w, text, dtype))


@form(WindowPlaceOp)
def _place(w: Writer, op: WindowPlaceOp) -> Expr:
    dtype = dtype_of(op.x)
    x, y = (widened(w.array(v).atom, dtype) for v in (op.x, op.y))
    text = w.call("window_place", x, y, f"fill={start_of('max', dtype)}", **_geometry(w, op))
    return whole(op.result, f"{text}.astype({w.dtype(dtype_of(op.result))})")


@form(WindowPickOp)
def _pick(w: Writer, op: WindowPickOp) -> Expr:
    x, places = (w.array(v).text for v in (op.x, op.places))
    return whole(op.result, w.call("window_pick", x, places, **_geometry(w, op)))


@form(WindowPutOp)
def _put(w: Writer, op: WindowPutOp) -> Expr:
    dtype, shape = dtype_of(op.values), f"shape={w.shape(shape_of(op.result))}"
    values = widened(w.array(op.operands[0]).atom, dtype)
    text = w.call("window_put", values, w.array(op.places).text, shape, **_geometry(w, op))
    return whole(op.result, narrowed(w, text, dtype))

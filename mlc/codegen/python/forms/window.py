"""Pooling, and the places of the largest elements of windows."""

from __future__ import annotations

from mlc.codegen.python.forms.reduce import UFUNCS, narrowed, start_of, widened
from mlc.codegen.python.forms.shape import may_crop
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
    x, geometry = _bordered(w, op, widened(w.array(op.x), dtype).text, start_of(kind, dtype))
    if kind == "max" and start_of(kind, dtype) == "-np.inf":
        return whole(op.result, narrowed(w, w.call("max_pool", x, **geometry), dtype))
    fill = start_of(kind, dtype) if "padding" in geometry and kind != "sum" else None
    return whole(op.result, narrowed(w, w.call("pool", UFUNCS[kind], x, **geometry, fill=fill), dtype))


def _bordered(w: Writer, op: WindowsOp, x: str, fill: str) -> tuple[str, dict[str, str | None]]:
    """x and the windows over it; where padding may take away, or something lies between the elements of x, x with all of it."""
    geometry = _geometry(w, op)
    if may_crop(op.padding) or any(by != 1 for by in op.apart):
        geometry.pop("padding", None)
        between = f"({', '.join(str(by - 1) for by in op.apart)},)" if any(by != 1 for by in op.apart) else None
        x = w.call("pad", x, w.shape(op.low.extents()), w.shape(op.high.extents()), fill, between=between)
    return x, geometry


@form(WindowPlaceOp)
def _place(w: Writer, op: WindowPlaceOp) -> Expr:
    dtype, fill = dtype_of(op.x), start_of("max", dtype_of(op.x))
    x, y = (widened(w.array(v), dtype).text for v in (op.x, op.y))
    x, geometry = _bordered(w, op, x, fill)
    text = w.call("window_place", x, y, **geometry, fill=fill if "padding" in geometry else None)
    return whole(op.result, f"{text}.astype({w.dtype(dtype_of(op.result))})")


@form(WindowPickOp)
def _pick(w: Writer, op: WindowPickOp) -> Expr:
    x, places = (w.array(v).text for v in (op.x, op.places))
    return whole(op.result, w.call("window_pick", x, places, **_geometry(w, op)))


@form(WindowPutOp)
def _put(w: Writer, op: WindowPutOp) -> Expr:
    dtype, shape = dtype_of(op.values), f"shape={w.shape(shape_of(op.result))}"
    values = widened(w.array(op.operands[0]), dtype).text
    text = w.call("window_put", values, w.array(op.places).text, shape, **_geometry(w, op))
    return whole(op.result, narrowed(w, text, dtype))

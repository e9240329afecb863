"""Reductions, running folds, places of extremes, order."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.codegen.python.numpy_expression import Expr, number
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, whole
from mlc.ir.dims import Extent, bounds_of
from mlc.ir.graph.reduce import ArgReduceOp, CumulativeOp, ReduceOp, TopKOp, identity
from mlc.ir.types import dtype_of, is_half, is_integer, shape_of

UFUNCS = {"sum": "np.add", "prod": "np.multiply", "max": "np.maximum", "min": "np.minimum"}
_METHODS = {"and": "all", "or": "any"}


def widened(e: Expr, dtype: str) -> Expr:
    """16-bit floats in 32 bits, in which they are added up."""
    return e.of(f"{e.atom}.astype(np.float32)") if is_half(dtype) else e


def narrowed(w: Writer, text: str, dtype: str) -> str:
    """Back in 16 bits."""
    return f"{text}.astype({w.dtype(dtype)})" if is_half(dtype) else text


def start_of(kind: str, dtype: str) -> str:
    """What a fold over nothing gives."""
    return number(identity(kind, dtype))


def may_be_empty(extents: Sequence[Extent]) -> bool:
    lows = [bounds_of(e, {})[0] for e in extents]
    return any(low is None or low < 1 for low in lows)


@form(ReduceOp)
def _reduce(w: Writer, op: ReduceOp) -> Expr:
    axes, kind, dtype, shape = op.axes.get_values(), op.kind.data, dtype_of(op.x), shape_of(op.x)
    over = [] if len(axes) == len(shape) and axes else [f"axis={axes[0] if len(axes) == 1 else tuple(axes)}"]
    if kind in ("max", "min") and may_be_empty([shape[a] for a in axes]):
        over.append(f"initial={start_of(kind, dtype)}")
    if kind in ("sum", "prod") and is_integer(dtype) and dtype != "i64":
        over.append(f"dtype={w.dtype(dtype)}")
    text = f"{widened(w.array(op.x), dtype).atom}.{_METHODS.get(kind, kind)}({', '.join(over)})"
    return whole(op.result, narrowed(w, text, dtype))


@form(ArgReduceOp)
def _arg_reduce(w: Writer, op: ArgReduceOp) -> Expr:
    axis, kind, dtype = op.axis.value.data, op.kind.data, dtype_of(op.x)
    x = widened(w.array(op.x), dtype)
    if op.last.value.data or may_be_empty([shape_of(op.x)[axis]]):
        function = "arg_last" if op.last.value.data else "arg_first"
        return whole(op.result, w.call(function, x.text, f"axis={axis}", f"largest={kind == 'max'}"))
    return whole(op.result, f"{x.atom}.arg{kind}(axis={axis})")


@form(CumulativeOp)
def _cumulative(w: Writer, op: CumulativeOp) -> Expr:
    axis, kind, dtype = op.axis.value.data, op.kind.data, dtype_of(op.x)
    x = widened(w.array(op.x), dtype).text
    flags = [name for name, flag in (("exclusive", op.exclusive), ("reverse", op.reverse)) if flag.value.data]
    if flags:
        start = start_of(kind, dtype)
        text = w.call("running", UFUNCS[kind], x, f"axis={axis}", f"start={start}", **dict.fromkeys(flags, "True"))
    elif kind in ("sum", "prod"):
        counted = f", dtype={w.dtype(dtype)}" if is_integer(dtype) and dtype != "i64" else ""
        text = f"np.cum{kind}({x}, axis={axis}{counted})"
    else:
        text = f"{UFUNCS[kind]}.accumulate({x}, axis={axis})"
    return whole(op.result, narrowed(w, text, dtype))


@form(TopKOp)
def _top_k(w: Writer, op: TopKOp) -> str:
    keys = "np.float32" if is_half(dtype_of(op.x)) else None
    k, axis = w.size(op.k.extents()[0]), f"axis={op.axis.value.data}"
    smallest = None if op.largest.value.data else "False"
    return w.call("top_k", w.array(op.x).text, k, axis, largest=smallest, keys=keys)

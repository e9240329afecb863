"""Looking up and writing by position, sizes that data decides."""

from __future__ import annotations

from mlc.codegen.python.forms.reduce import UFUNCS, narrowed, widened
from mlc.codegen.python.numpy_expression import Expr
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import Writer, whole
from mlc.ir.graph.constants import ConstantOp
from mlc.ir.graph.counted import NonZeroOp, PrefixOp
from mlc.ir.graph.detection import NonMaxSuppressionOp
from mlc.ir.graph.index import GatherOp, ScatterOp
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.types import dtype_of, shape_of

_FOLDS = {"add": UFUNCS["sum"], "mul": UFUNCS["prod"], "max": UFUNCS["max"], "min": UFUNCS["min"]}


def _list(numbers: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


@form(GatherOp)
def _gather(w: Writer, op: GatherOp) -> Expr:
    loops, axes = list(op.loops.get_values()), list(op.axes.get_values())
    x = w.array(op.x).atom
    if (place := _place(op, axes)) is not None:
        return whole(op.result, f"{x}[{place}]")
    if (axis := _axis_of_take(loops, axes)) is not None:
        return whole(op.result, w.call("take", x, _column(w, op), f"axis={axis}"))
    text = w.call("gather", x, w.array(op.indices).text, f"loops={_list(loops)}", f"axes={_list(axes)}")  # type: ignore[arg-type]
    return whole(op.result, text)


def _axis_of_take(loops: list[int], axes: list[int]) -> int | None:
    """The axis where a gather replaces one axis by those of the indices."""
    if axes.count(-1) != 1:
        return None
    axis, more = axes.index(-1), len(loops)
    taken = [*range(axis), -1, *range(axis + more, len(axes) - 1 + more)]
    return axis if axes == taken and loops == list(range(axis, axis + more)) else None


def _place(op: GatherOp, axes: list[int]) -> str | None:
    """The index where one number says it all: the first, the last, or another that is there for sure."""
    source = op.indices.owner.x.owner if isinstance(op.indices.owner, ReshapeOp) else op.indices.owner
    if not isinstance(source, ConstantOp) or shape_of(op.indices) != (1,) or len(axes) == 0:
        return None
    axis, number = axes.index(-1), int(source.value.reshape(()))
    size = shape_of(op.x)[axis]
    inside = number in (0, -1) or (isinstance(size, int) and -size <= number < size)
    return ", ".join([*[":"] * axis, str(number)]) if inside else None


def _column(w: Writer, op: GatherOp) -> str:
    """The indices without their last axis, which is 1."""
    source = op.indices.owner
    if isinstance(source, ReshapeOp) and (*shape_of(source.x), 1) == shape_of(op.indices):
        return w.array(source.x).text
    return f"{w.array(op.indices).atom}[..., 0]"


@form(ScatterOp)
def _scatter(w: Writer, op: ScatterOp) -> Expr:
    kind, dtype = op.kind.data, dtype_of(op.x)
    x, indices, updates = (w.array(v) for v in op.operands)
    maps = [f"loops={_list(op.loops.get_values())}", f"axes={_list(op.axes.get_values())}"]
    if kind == "set":
        return whole(op.result, w.call("scatter", x.text, indices.text, updates.text, *maps))
    texts = [widened(x, dtype).text, indices.text, widened(updates, dtype).text]
    return whole(op.result, narrowed(w, w.call("scatter", *texts, *maps, f"fold={_FOLDS[kind]}"), dtype))


@form(NonZeroOp)
def _nonzero(w: Writer, op: NonZeroOp) -> str:
    return w.call("nonzero", w.array(op.flags).text)


@form(PrefixOp)
def _prefix(w: Writer, op: PrefixOp) -> None:
    count = w.array(op.count).text
    symbol = w.program.symbol(op.symbol.data)
    for number, (x, output) in enumerate(zip(op.xs, op.outputs, strict=True)):
        stop = symbol if number else f"max(0, int({count}))"
        w.assign(output, whole(output, f"{w.array(x).atom}[:{stop}]"))
        if not number:
            w.line(f"{symbol} = len({w.values[output].text})")
    w.counted(op.symbol.data)


@form(NonMaxSuppressionOp)
def _non_max_suppression(w: Writer, op: NonMaxSuppressionOp) -> Expr:
    operands = [w.array(v).text for v in op.operands]
    return whole(op.result, w.call("non_max_suppression", *operands, w.size(op.limit.extents()[0])))

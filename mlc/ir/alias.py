"""Results that live in an argument's memory.

    func.func @main(%w: tensor<8xf32> {graph.name = "w"}, %g: tensor<8xf32> {graph.name = "g"})
        -> (tensor<8xf32> {graph.name = "w_new", graph.alias = "w"})

A result that begins with an argument, which grows, may find it there: `graph.front = "past"` says that the caller keeps both in one piece of
memory, the argument at its front. Shapes are those of the rows that follow:

    func.func @main(%past: tensor<?x8xf32, ["P", ""]>, ...) -> (tensor<?x8xf32, ["P + 1", ""]> {graph.name = "present", graph.front = "past"})

The program stays a pure function: ops read the old value of the argument wherever they stand. When it is overwritten, and whether that takes
a copy, is for outline to find. In a planned program the argument that stands for the result says `kernel.alias`, and no op touches it; or `kernel.front`,
where the kernels write nothing but what is behind the argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, MemRefType, StringAttr, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, SSAValue
from xdsl.utils.exceptions import VerifyException

from mlc.ir.types import DimsAttr, Shape, dtype_of_type, shape_of_type, shape_text

ALIAS, FRONT = "graph.alias", "graph.front"
KERNEL_ALIAS, KERNEL_FRONT = "kernel.alias", "kernel.front"


def names_of(attrs: ArrayAttr[DictionaryAttr] | None, count: int, role: str) -> list[str]:
    """What arguments or results of a graph are called: graph.name, or their role and number."""
    named = [a.data.get("graph.name") for a in attrs.data] if attrs else [None] * count
    return [n.data if isinstance(n, StringAttr) else f"{role}{number}" for number, n in enumerate(named)]


@dataclass(frozen=True)
class _Value:
    """An argument or result of @main, with what it says of its place."""

    name: str
    dtype: str
    shape: Shape
    row: Mapping[str, Attribute]
    value: SSAValue | None = None  # of an argument

    @property
    def text(self) -> str:
        return self.dtype + shape_text(self.shape)


def aliases_of(main: FuncOp, key: str = ALIAS) -> dict[int, int]:
    """Number of a result -> number of the argument whose memory it takes (or, by the key FRONT, which it begins with); of outputs and inputs,
    in a planned program."""
    said = {name for row in (*(main.res_attrs or ()), *(main.arg_attrs or ())) for name in row.data}
    if said.isdisjoint((ALIAS, FRONT, KERNEL_ALIAS, KERNEL_FRONT)):
        return {}
    inputs, outputs, key = _signature(main, key)
    names = [value.name for value in inputs]
    return {n: names.index(_text(value.row, key)) for n, value in enumerate(outputs) if key in value.row}


def fronts_of(main: FuncOp) -> dict[int, int]:
    """Number of a result -> number of the argument that its memory begins with."""
    return aliases_of(main, FRONT)


def verify_aliases(main: FuncOp) -> None:
    """Raises VerifyException for the place of a result in no argument, in one that is taken, or in one of another type."""
    taken: dict[str, str] = {}
    for kind in (ALIAS, FRONT):
        inputs, outputs, key = _signature(main, kind)
        names = [value.name for value in inputs]
        for result in outputs:
            if key not in result.row:
                continue
            attr, name = result.row[key], result.name
            if not isinstance(attr, StringAttr):
                raise VerifyException(f"{key} of the result '{name}' is {attr}: it is the name of an argument")
            wanted, how = attr.data, "lives in" if kind == ALIAS else "begins with"
            if names.count(wanted) != 1:
                have = f"there are {names.count(wanted)}" if wanted in names else f"arguments are {', '.join(names)}"
                raise VerifyException(f"the result '{name}' {how} the argument '{wanted}', and {have}")
            if wanted in taken:
                raise VerifyException(
                    f"the results '{taken[wanted]}' and '{name}' live in the same argument '{wanted}'"
                )
            taken[wanted] = name
            there = inputs[names.index(wanted)]
            same = result.shape == there.shape if kind == ALIAS else 0 < len(there.shape) == len(result.shape)
            if not same or result.dtype != there.dtype or result.shape[1:] != there.shape[1:]:
                raise VerifyException(
                    f"the result '{name}' is {result.text}, and the argument '{wanted}' it {how} {there.text}"
                )
            if kind == ALIAS and result.value is not None and result.value.first_use is not None:
                raise VerifyException(f"the result '{name}' lives in an argument, and an op uses its own memory")


def _signature(main: FuncOp, key: str) -> tuple[list[_Value], list[_Value], str]:
    """Arguments and results, of a graph or of a planned program, and the key as it is called there."""
    attrs = _rows(main.arg_attrs, len(main.args))
    if any(isinstance(arg.type, MemRefType) for arg in main.args):
        every = [
            (
                _text(row, "kernel.role"),
                _Value(_text(row, "kernel.name"), _text(row, "kernel.dtype"), _dims(row), row, arg),
            )
            for arg, row in zip(main.args, attrs, strict=True)
        ]
        inputs = [value for role, value in every if role == "input"]
        outputs = [value for role, value in every if role == "output"]
        return inputs, outputs, {ALIAS: KERNEL_ALIAS, FRONT: KERNEL_FRONT}[key]
    types = main.function_type
    rows = _rows(main.res_attrs, len(types.outputs.data))
    sides = []
    for role, described, values in (("input", attrs, types.inputs.data), ("output", rows, types.outputs.data)):
        names = names_of(main.arg_attrs if role == "input" else main.res_attrs, len(values), role)
        sides.append([_of_graph(*item) for item in zip(names, values, described, strict=True)])
    return sides[0], sides[1], key


def _rows(attrs: ArrayAttr[DictionaryAttr] | None, count: int) -> list[Mapping[str, Attribute]]:
    return [row.data for row in attrs.data] if attrs else [{}] * count


def _of_graph(name: str, type: Attribute, row: Mapping[str, Attribute]) -> _Value:
    if not isinstance(type, TensorType):
        return _Value(name, str(type), (), row)
    return _Value(name, dtype_of_type(type), shape_of_type(type), row)


def _dims(row: Mapping[str, Attribute]) -> Shape:
    extents = row.get("kernel.dims")
    return extents.extents() if isinstance(extents, DimsAttr) else ()


def _text(row: Mapping[str, Attribute], key: str) -> str:
    attr = row.get(key)
    return attr.data if isinstance(attr, StringAttr) else ""

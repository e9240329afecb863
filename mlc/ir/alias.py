"""Results that live in an argument's memory.

    func.func @main(%w: tensor<8xf32> {graph.name = "w"}, %g: tensor<8xf32> {graph.name = "g"})
        -> (tensor<8xf32> {graph.name = "w_new", graph.alias = "w"})

The program stays a pure function: ops read the old value of the argument wherever they stand. When it is overwritten, and whether that takes
a copy, is for outline to find. In a planned program the argument that stands for the result says `kernel.alias`, and no op touches it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, MemRefType, StringAttr, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute
from xdsl.utils.exceptions import VerifyException

from mlc.ir.types import DimsAttr, type_text

ALIAS = "graph.alias"
KERNEL_ALIAS = "kernel.alias"


def names_of(attrs: ArrayAttr[DictionaryAttr] | None, count: int, role: str) -> list[str]:
    """What arguments or results of a graph are called: graph.name, or their role and number."""
    named = [a.data.get("graph.name") for a in attrs.data] if attrs else [None] * count
    return [n.data if isinstance(n, StringAttr) else f"{role}{number}" for number, n in enumerate(named)]


def aliases_of(main: FuncOp) -> dict[int, int]:
    """Number of a result -> number of the argument whose memory it takes; of outputs and inputs, in a planned program."""
    if any(isinstance(arg.type, MemRefType) for arg in main.args):
        rows = [row.data for row in main.arg_attrs.data] if main.arg_attrs else []
        inputs = [_text(row, "kernel.name") for row in rows if _text(row, "kernel.role") == "input"]
        outputs = [row for row in rows if _text(row, "kernel.role") == "output"]
        return {n: inputs.index(_text(row, KERNEL_ALIAS)) for n, row in enumerate(outputs) if KERNEL_ALIAS in row}
    names = names_of(main.arg_attrs, len(main.args), "input")
    rows = [row.data for row in main.res_attrs.data] if main.res_attrs else []
    return {n: names.index(_text(row, ALIAS)) for n, row in enumerate(rows) if ALIAS in row}


def verify_aliases(main: FuncOp) -> None:
    """Raises VerifyException for an alias of no argument, of one that is taken, or of another type."""
    if any(isinstance(arg.type, MemRefType) for arg in main.args):
        _verify_program(main)
        return
    names = names_of(main.arg_attrs, len(main.args), "input")
    results = main.function_type.outputs.data
    rows = [row.data for row in main.res_attrs.data] if main.res_attrs else []
    _verify(
        [(name, _type_text(arg.type), arg.type) for name, arg in zip(names, main.args, strict=True)],
        [
            (name, _type_text(type), type, row[ALIAS])
            for name, type, row in zip(names_of(main.res_attrs, len(results), "output"), results, rows, strict=False)
            if ALIAS in row
        ],
        ALIAS,
    )


def _verify_program(main: FuncOp) -> None:
    inputs: list[tuple[str, str, object]] = []
    outputs: list[tuple[str, str, object, Attribute]] = []
    for arg, attrs in zip(main.args, main.arg_attrs.data if main.arg_attrs else (), strict=False):
        row = attrs.data
        name, extents = _text(row, "kernel.name"), row.get("kernel.dims")
        shape = [str(e) for e in extents.extents()] if isinstance(extents, DimsAttr) else []
        text = f"{_text(row, 'kernel.dtype')}[{', '.join(shape)}]"
        if _text(row, "kernel.role") == "input":
            inputs.append((name, text, text))
        elif KERNEL_ALIAS in row:
            outputs.append((name, text, text, row[KERNEL_ALIAS]))
            if arg.first_use is not None:
                raise VerifyException(f"the result '{name}' lives in an argument, and an op uses its own memory")
    _verify(inputs, outputs, KERNEL_ALIAS)


def _verify(
    arguments: Sequence[tuple[str, str, object]], results: Sequence[tuple[str, str, object, Attribute]], key: str
) -> None:
    """Arguments as (name, text of the type, type), results with what they say of their alias besides."""
    taken: dict[str, str] = {}
    names = [name for name, _, _ in arguments]
    for name, text, type, alias in results:
        wanted = alias.data if isinstance(alias, StringAttr) else None
        if wanted is None:
            raise VerifyException(f"{key} of the result '{name}' is {alias}: it is the name of an argument")
        if names.count(wanted) != 1:
            have = f"there are {names.count(wanted)}" if wanted in names else f"arguments are {', '.join(names)}"
            raise VerifyException(f"the result '{name}' lives in the argument '{wanted}', and {have}")
        if wanted in taken:
            raise VerifyException(f"the results '{taken[wanted]}' and '{name}' live in the same argument '{wanted}'")
        taken[wanted] = name
        _, text_there, type_there = arguments[names.index(wanted)]
        if type != type_there:
            raise VerifyException(
                f"the result '{name}' is {text}, and the argument '{wanted}' it lives in {text_there}"
            )


def _type_text(type: Attribute) -> str:
    return type_text(type) if isinstance(type, TensorType) else str(type)


def _text(row: Mapping[str, Attribute], key: str) -> str:
    attr = row.get(key)
    return attr.data if isinstance(attr, StringAttr) else ""

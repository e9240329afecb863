"""Slices of IR text that reach outside of their operands at sizes that the module allows.

A builder proves that a slice stays inside, or leaves a check to the module. Text may have lost that check, or never had it: a size at which
all checks of the text hold, and a slice reads what is not there, is an error. Some small sizes are tried, so what is found is a fault, and
finding none is no proof.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from xdsl.dialects.func import FuncOp

from mlc.errors import InvalidModel
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import location_name
from mlc.ir.graph.parts import SliceOp
from mlc.ir.module import Module
from mlc.ir.types import shape_of

_SIZES = (2, 1, 3, 5, 8, 17, 64)  # of all symbols at once
_DRAWN = 16  # sets of different sizes
_LARGEST = 9  # of a drawn size, above its lower bound


def verify_slices(module: Module) -> None:
    """Raises InvalidModel naming the slice, the axis, the element and the sizes. Those in bodies of loops and branches, which may never run,
    and of sizes that a run counts, are left alone."""
    mains = [op for op in module.op.ops if isinstance(op, FuncOp) and op.sym_name.data == "main" and op.body.blocks]
    slices = [op for main in mains for op in main.body.block.ops if isinstance(op, SliceOp) and _is_open(op)]
    if not slices:
        return
    for sizes in _bindings(module):
        for op in slices:
            rows = zip(op.starts.extents(), shape_of(op.result), op.steps.get_values(), shape_of(op.x), strict=True)
            for axis, (start, size, step, whole) in enumerate(rows):
                if not all(_symbols(e) <= sizes.keys() for e in (start, size, whole)):
                    continue
                first, count, extent = (dims.evaluate(e, sizes) for e in (start, size, whole))
                last = first + (count - 1) * step
                if count > 0 and not (0 <= first < extent and 0 <= last < extent):
                    at = ", ".join(f"{name} = {value}" for name, value in sizes.items())
                    place = f" of node '{name}'" if (name := location_name(op)) else ""
                    raise InvalidModel(
                        f"graph.slice{place}: at {at} it reads elements {first}..{last} of axis {axis}, which has {extent}",
                        remedy="Correct the slice, or write a check of the sizes into graph.checks.",
                    )


def _is_open(op: SliceOp) -> bool:
    return any(isinstance(e, Dim) for e in (*op.starts.extents(), *shape_of(op.result), *shape_of(op.x)))


def _symbols(extent: Extent) -> set[str]:
    return set(extent.symbols()) if isinstance(extent, Dim) else set()


def _bindings(module: Module) -> Iterator[dict[str, int]]:
    """Sizes within their bounds at which the checks hold."""
    limits = {name: bounds for name, bounds in module.symbols.items() if name not in module.counted}
    rng = random.Random(0)
    drawn = [[rng.randrange(_LARGEST) for _ in limits] for _ in range(_DRAWN)]
    for number in range(len(_SIZES) + _DRAWN):
        sizes = {}
        for at, (name, (low, high)) in enumerate(limits.items()):
            wanted = _SIZES[number] if number < len(_SIZES) else low + drawn[number - len(_SIZES)][at]
            sizes[name] = max(low, wanted if high is None else min(wanted, high))
        known = [c for c in module.checks if _symbols(c.lhs) | _symbols(c.rhs) <= sizes.keys()]
        try:
            if all(dims.evaluate(c.lhs, sizes) == dims.evaluate(c.rhs, sizes) for c in known):
                yield sizes
        except ArithmeticError:
            continue

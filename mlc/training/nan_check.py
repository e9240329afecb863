"""Where a NaN came from: the graph of a step is run op by op by the reference interpreter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from xdsl.ir import Operation, SSAValue

from mlc.errors import MlcError
from mlc.ir.graph.base import location_file, location_name
from mlc.ir.interpreter import run, unshared
from mlc.ir.module import Module
from mlc.ir.types import tensor_type, type_text


def has_nan(array: np.ndarray) -> bool:
    return array.dtype.kind not in "iub" and bool(
        np.isnan(array.astype(np.float32) if array.dtype.itemsize < 4 else array).any()
    )


def first_nan(module: Module, inputs: Mapping[str, np.ndarray], what: str) -> MlcError:
    """The error that names the input that is NaN, or else the first op that makes one of numbers. `what` has become NaN."""
    for name, array in inputs.items():
        if has_nan(array):
            return MlcError(f"{what}: the input '{name}' has one already")
    found: list[Operation] = []

    def observe(op: Operation, results: tuple[np.ndarray, ...]) -> None:
        if not found and any(has_nan(array) for array in results):
            found.append(op)

    run(module, unshared(module, [inputs[name] for name in module.input_names]), observe)
    if not found:
        return MlcError(
            f"{what}, and not where its ops are run one by one",
            remedy="Rounding decides here: a number is near a limit.",
        )
    op = found[0]
    rows = [(f"operand {n}", "", _text(x)) for n, x in enumerate(op.operands)]
    place = location_file(op)
    return MlcError(
        f"{what}: {op.name.removeprefix('graph.')} makes the first one",
        node=None if place else location_name(op),
        file=place or location_name(op),
        shapes=rows,
    )


def _text(value: SSAValue) -> str:
    return type_text(tensor_type(value))

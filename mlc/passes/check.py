"""Check passes on numbers: the interpreter runs the module after every pass and compares with the module before all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import Operation

from mlc.errors import NumericMismatch
from mlc.ir.graph.base import location_name
from mlc.ir.interpreter import run, unshared
from mlc.ir.module import Module
from mlc.ir.samples import random_inputs

Trace = dict[str, list[np.ndarray]]


class Checker:
    """Holds the inputs and what the module gave for them at first; `after` raises NumericMismatch for the first pass that differs."""

    def __init__(self, module: Module, inputs: Sequence[Sequence[np.ndarray]] | None, rtol: float):
        self.inputs = [random_inputs(module)] if inputs is None else [list(arrays) for arrays in inputs]
        self.rtol = rtol
        self.names = module.output_names
        self.before: Module = module.clone()
        self.expected = [run(module, unshared(module, arrays)) for arrays in self.inputs]

    def after(self, name: str, module: Module) -> None:
        """Compare; `name` is the pass that ran last. Raises NumericMismatch naming pass, output, largest error and the op."""
        for arrays, expected in zip(self.inputs, self.expected, strict=True):
            for label, want, got in zip(self.names, expected, run(module, unshared(module, arrays)), strict=True):
                error = relative_error(got, want)
                if not error <= self.rtol:
                    op = first_difference(self.before, module, arrays, self.rtol)
                    raise NumericMismatch(
                        f"pass {name} changes output '{label}': max rel err {error:.2g} (tolerance {self.rtol:g})",
                        node=op,
                        remedy="Leave the pass out with --disable-pass, and report the model.",
                    )
        self.before = module.clone()


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """max |got - want| / max |want| over finite elements; infinite where shapes, dtypes, NaNs or infinities disagree."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return float("inf")
    if got.size == 0:
        return 0.0
    x, y = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return float("inf")
    scale = float(np.max(np.abs(y[finite]), initial=0.0))
    worst = float(np.max(np.abs(x[finite] - y[finite]), initial=0.0))
    return float("inf") if np.isnan(worst) else worst / scale if scale else worst


def first_difference(before: Module, after: Module, arrays: Sequence[np.ndarray], rtol: float) -> str | None:
    """The origin of the first op whose results no longer contain what the ops of the same origin ended in before."""
    old, new = trace(before, arrays), trace(after, arrays)
    for origin, values in new.items():
        if origin not in old:
            continue
        target = old[origin][-1]
        same = [v for v in values if v.size == target.size]
        if same and not any(relative_error(np.sort(v, None), np.sort(target, None)) <= rtol for v in same):
            return origin
    return None


def trace(module: Module, arrays: Sequence[np.ndarray]) -> Trace:
    """Every op's results by origin, in program order."""
    found: Trace = {}

    def observe(op: Operation, results: tuple[np.ndarray, ...]) -> None:
        if origin := location_name(op):
            found.setdefault(origin, []).extend(results)

    run(module, unshared(module, arrays), observe)
    return found

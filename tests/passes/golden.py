"""Golden tests: a file holds the passes to run, the IR before and the IR after.

    // PASSES: simplify,dce
    func.func @main(...) ...
    // -----
    func.func @main(...) ...

Both sides are also evaluated on random inputs, so that form and meaning are checked together. `pytest --update-golden` writes the
right side anew. Weights that the text names are random.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlc.ir.interpreter import run, unshared
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.ir.samples import random_inputs
from mlc.ir.types import is_float, numpy_dtype
from mlc.ir.weights import WeightStore
from mlc.passes.check import relative_error
from mlc.passes.manager import PassManager

FOLDER = Path(__file__).parent / "golden"
LINE = "// -----\n"


@dataclass
class Golden:
    """One file: leading comment lines, the IR before, the IR expected after."""

    path: Path

    def __post_init__(self) -> None:
        text = self.path.read_text(encoding="utf-8")
        self.source, _, self.expected = text.partition(LINE)
        lines = self.source.splitlines()
        self.passes = next(line.removeprefix("// PASSES:").strip() for line in lines if line.startswith("// PASSES:"))

    def module(self) -> Module:
        """The IR before, with random weights."""
        module = Module.parse(self.source, WeightStore(), self.path.name)
        fill_weights(module)
        return module

    def update(self, text: str) -> None:
        self.path.write_text(self.source + LINE + text, encoding="utf-8")


def fill_weights(module: Module) -> None:
    """Random bytes, the same on every run, for each weight that the text names."""
    from mlc.ir.graph.constants import WeightOp
    from mlc.ir.types import dtype_of, shape_of

    for op in module.op.walk():
        if isinstance(op, WeightOp) and op.weight_key not in module.weights:
            rng = np.random.default_rng(zlib.crc32(op.weight_key.encode()))
            dtype = dtype_of(op.result)
            values = (
                rng.standard_normal(shape_of(op.result)) if is_float(dtype) else rng.integers(0, 3, shape_of(op.result))
            )  # type: ignore[arg-type]
            key = module.weights.add(np.asarray(values).astype(numpy_dtype(dtype)), op.weight_key)
            assert key == op.weight_key


def evaluate(module: Module, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """A graph, or a program tile by tile, with a watch on what tiles share."""
    return run_program(module, inputs, races=True) if module.is_program else run(module, unshared(module, inputs))


def check(golden: Golden) -> str:
    """The text after the passes; raises AssertionError where the numbers differ."""
    module = golden.module()
    after = PassManager(golden.passes, verify_each=True).run(module)
    for seed in range(2):
        inputs = random_inputs(module, seed=seed)
        for want, got in zip(run(module, unshared(module, inputs)), evaluate(after, inputs), strict=True):
            error = relative_error(got, want)
            assert error <= 1e-5, f"{golden.path.name}: the result differs by {error:.2g}"
    return str(after)

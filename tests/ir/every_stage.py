"""A module through every stage: its text, the interpreters of graphs and of programs, and native code agree with a reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import mlc
from mlc.ir import builder as g
from mlc.ir.interpreter import run
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline

Spec = tuple[Sequence[int | str], str]


def built(build: Callable[..., Any], specs: Sequence[Spec]) -> Module:
    """The module whose outputs `build` makes from inputs of these shapes and dtypes."""
    m = g.module_builder("main")
    with m.function([(f"x{n}", shape, dtype) for n, (shape, dtype) in enumerate(specs)]) as values:
        found = build(*values)
        outputs = [found] if not isinstance(found, (list, tuple)) else list(found)
        m.outputs([(f"y{n}", value) for n, value in enumerate(outputs)])
    return m.finish()


def agree(
    build: Callable[..., Any],
    specs: Sequence[Spec],
    feeds: Sequence[Sequence[np.ndarray]],
    reference: Callable[..., Any],
    tolerance: float = 0.0,
    levels: Sequence[int] = (2,),
) -> Module:
    """What the module gives for each of these inputs is what the reference does, in every stage and through one compilation. Returns it."""
    module = built(build, specs)
    assert str(Module.parse(str(module), module.weights)) == str(module)
    for level in levels:
        program = PassManager(pipeline(level, "x86-64-v3"), verify_each=True).run(module.clone())
        executable = mlc.compile(module.clone(), opt_level=level)
        for arrays in feeds:
            with np.errstate(all="ignore"):
                expected = reference(*arrays)
            expected = list(expected) if isinstance(expected, (list, tuple)) else [expected]
            native = executable(*arrays)
            native = list(native) if isinstance(native, (list, tuple)) else [native]
            stages = {"graph": run(module, arrays), "program": run_program(program, arrays), "native": native}
            for stage, found in stages.items():
                same(stage, found, expected, tolerance)
    return module


def same(stage: str, found: Sequence[np.ndarray], expected: Sequence[Any], tolerance: float) -> None:
    assert len(found) == len(expected)
    for value, want in zip(found, expected, strict=True):
        want = np.asarray(want)
        assert (value.shape, value.dtype) == (want.shape, want.dtype), stage
        if want.dtype.kind not in "iub":  # bfloat16's NaN equals none to NumPy
            value, want = value.astype(np.float64), want.astype(np.float64)
            np.testing.assert_allclose(value, want, tolerance, tolerance, err_msg=stage)
        else:
            np.testing.assert_array_equal(value, want, err_msg=stage)

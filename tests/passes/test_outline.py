"""Kernels of groups whose loops are unusual: the program verifies and computes what the graph does."""

import numpy as np
import pytest

from mlc.ir import builder as g
from mlc.ir.interpreter import run
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.ir.samples import random_inputs
from mlc.passes.kernel.outline import outline
from mlc.passes.manager import PassManager


def keeps_its_meaning(module: Module) -> None:
    program = outline(PassManager(["decompose", "expand-padding", "fuse"], verify_each=True).run(module))
    program.verify()
    inputs = random_inputs(module, {}, seed=1)
    for found, want in zip(run_program(program, inputs), run(module, inputs), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 0), (0, 3), (0, 0)])
def test_nothing_may_be_padded_and_joined(shape):
    m = g.module_builder("nothing")
    with m.function(inputs=[("x", shape, "f32"), ("y", shape, "f32")]) as (x, y):
        padded = g.pad(g.add(x, y), [1, 2], [3, 0], 2)
        m.outputs([("padded", padded), ("joined", g.concatenate([x, g.pad(y, [0, 1], [0, 0], 0)], 1))])
    keeps_its_meaning(m.finish())


def test_rows_may_be_read_backwards_only():
    m = g.module_builder("backwards")
    with m.function(inputs=[("x", (5,), "f32")]) as (x,):
        m.outputs([("y", g.softmax(g.reverse(x, [0]), 0))])
    keeps_its_meaning(m.finish())

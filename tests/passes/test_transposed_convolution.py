"""Transposed convolutions become contractions or plain convolutions, whatever stride, window and padding they have."""

import numpy as np
import pytest

from mlc.ir import builder as g
from mlc.ir.graph.linear import ConvolutionOp
from mlc.ir.interpreter import run
from mlc.ir.samples import random_inputs
from mlc.passes.manager import PassManager

CASES = [  # stride, window, low and high padding, whether the dilation of x goes
    (2, 2, 1, 1, True),
    (2, 4, 2, 2, True),
    (2, 3, 1, 2, True),
    (2, 3, 2, 1, True),
    (2, 5, 2, 3, True),
    (4, 8, 5, 5, True),
    (3, 5, 2, 3, False),  # the result is no multiple of the stride
    (2, 1, 0, 1, False),  # a phase without a tap
]


@pytest.mark.parametrize("spatial", [("H",), ("H", 5)], ids=["1d", "2d"])
@pytest.mark.parametrize(("stride", "window", "low", "high", "goes"), CASES)
def test_transposed_convolutions_by_phase(spatial, stride, window, low, high, goes):
    digits, rank = "01"[: len(spatial)], len(spatial)
    weight = np.random.default_rng(1).standard_normal((4, 3) + (window,) * rank).astype(np.float32)
    m = g.module_builder("up")
    with m.function(inputs=[("x", ("N", 3, *spatial), "f32")]) as (x,):
        y = g.convolution(
            x,
            g.constant(weight, "up.weight"),
            padding=[(low, high)] * rank,
            x_dilation=[stride] * rank,
            x_layout=f"nc{digits}",
            weight_layout=f"oi{digits}",
            result_layout=f"nc{digits}",
        )
        m.outputs([("y", y)])
    module = m.finish()
    after = PassManager("select-layout,move-transposes,fold,simplify,dce", verify_each=True).run(module)
    dilated = [op for op in after.op.walk() if isinstance(op, ConvolutionOp) and max(op.x_dilation.get_values()) > 1]
    assert (not dilated) == goes
    for n, h in ((2, 4), (1, 1), (1, 0)):
        inputs = random_inputs(module, {"N": n, "H": h})
        (want,), (got,) = run(module, inputs), run(after, inputs)
        assert got.shape == want.shape
        assert np.allclose(got, want, rtol=1e-4, atol=1e-4)

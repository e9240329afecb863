"""Every op has its derivative, or says why it has none."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir.module import Module
from tests.autodiff.derivatives import check_derivatives, floats
from tests.ir.examples import EXAMPLES, Example

WITHOUT = {
    "bitcast": "bits are no numbers",
    "non_max_suppression": "its results are positions",
    "stop_gradient": "a constant to derivatives, whatever its value does",
}
# no rule yet, which is an error
LATER = {
    "convolution",
    "reduce_window",
    "window_pick",
    "window_put",
    "cumulative",
    "gather",
    "scatter",
    "prefix",
    "while",
}


def in_double(example: Example) -> Module:
    """The example in float64."""
    return Module.parse(str(example.module()).replace("f32", "f64"))


def real(example: Example) -> bool:
    dtypes = [dtype for _, dtype in example.inputs]
    return "f32" in dtypes and example.op not in (*LATER, *WITHOUT)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if real(e)], ids=str)
def test_an_op_s_derivatives_are_those_of_its_meaning(example: Example) -> None:
    module = in_double(example)
    if not any(dtype == "f64" for _, dtype in module.output_types):
        return
    arrays = [a.astype(np.float64) if a.dtype == np.float32 else a for a in example.arrays()]
    assert floats(module)
    check_derivatives(module, arrays)

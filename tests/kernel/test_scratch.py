"""Copies that are too large for the stack live in scratch memory of the call."""

import numpy as np
import pytest

from mlc.ir.kernel.cpu_target import cpu_target
from tests.kernel import hand_made
from tests.kernel.native import by_rules, close, floats, run


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_a_panel_in_scratch_is_placed_behind_the_numbers_it_is_computed_from(rows: int) -> None:
    kernel = hand_made.gemm("M", 192, 512, epilogue=False, weight=False, transposed=True)
    lowered = by_rules(hand_made.gemm("M", 192, 512, epilogue=False, weight=False, transposed=True), cpu_target())
    assert lowered.scratch
    arrays = {"A": floats(rows, 512), "B": floats(192, 512), "D": np.zeros((rows, 192), np.float32)}
    close(run(kernel, arrays, "D", parts=2, M=rows), arrays["A"].astype(np.float64) @ arrays["B"].T)

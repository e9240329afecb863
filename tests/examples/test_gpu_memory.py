"""The example about the memory of GPUs: what it says of each kernel is counted as the kernel runs."""

from __future__ import annotations

import pytest

from examples import gpu_memory
from mlc.testing.host_build import available

needs_compiler = pytest.mark.skipif(available() is not None, reason=str(available()))


@needs_compiler
@pytest.mark.parametrize("case", gpu_memory.CASES, ids=lambda case: case.title)
def test_each_kernel_reads_what_its_formula_says(case) -> None:
    text, loads, error = gpu_memory.run(case)
    assert loads == case.loads
    assert error < (5e-2 if "Mma" in case.schedule else 5e-5)
    assert case.schedule.split(" | ")[0] in text


def test_reuse_grows_from_step_to_step() -> None:
    """From an element for each product to one for 64 of them."""
    naive, registers, shared, tensor = (case.loads for case in gpu_memory.CASES[3:])
    assert naive == 4 * registers == 64 * shared == 64 * tensor

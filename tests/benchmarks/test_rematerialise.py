"""A training step under a budget takes what was planned, in a process of its own."""

from pathlib import Path

import pytest

from benchmarks.memory import MIB


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="tells memory from /proc")
def test_half_of_the_memory_is_planned_and_taken():
    pytest.importorskip("torch")  # the networks of benchmarks are written for both
    from benchmarks.rematerialise import measure

    found = measure("mlp", 64 * MIB, 1)
    assert found.agrees and found.planned <= 64 * MIB
    assert found.extra < 0.1

"""The steps of the matrix multiplication case study: right results, and the loads that the formulas give."""

import sys

import pytest

from examples import matmul_steps


@pytest.mark.parametrize("step", matmul_steps.steps(4, 3, 2, 12, 8), ids=lambda step: step.name)
def test_counted_loads_are_those_of_the_formulas(step):
    n = 24
    found = matmul_steps.count(step, n)
    assert found.correct
    assert found.into_registers == n**3 // step.v1 + n**3 // step.v2
    assert found.into_cache == n**2 + n**3 // (step.b1 or step.v1)
    assert found.registers == (step.v1 + 1) * step.v2 // step.lanes + 1


@pytest.mark.parametrize("step", matmul_steps.timed_steps(), ids=lambda step: step.name)
def test_native_code_of_every_step_multiplies(step):
    assert matmul_steps.measure(step, 96, rounds=1) > 0  # raises where the product is wrong


def test_the_ir_of_a_step_is_printed_after_every_level(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["matmul_steps.py", "--ir", "both"])
    matmul_steps.main()
    out = capsys.readouterr().out
    levels = [
        "// both: Level(m = 8, n = 8)",
        "// after Level(m = 8, n = 8)",
        "// after Level(m = 4, n = 4)",
        "// after Vector",
    ]
    assert [out.find(level) for level in levels] == sorted(out.find(level) for level in levels)
    assert all(level in out for level in levels)


def test_the_table_has_counts_beside_formulas(capsys):
    some = matmul_steps.steps(4, 3, 2, 12, 8)[3:5]
    matmul_steps.table(some, 24, some, 0)
    assert "6912 (6912)" in capsys.readouterr().out

"""Sizes to try a module at: checks are solved, or refused in words, and never met by having nothing to compute."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

import mlc
from mlc.cli import main
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import symbol
from mlc.ir.graph.base import Check
from mlc.ir.module import Module
from mlc.ir.sample_sizes import sample_binding

A, B, C, N, M, S = map(symbol, "ABCNMS")


def module(*checks: tuple[dims.Extent, dims.Extent], **bounds: tuple[int, int | None]) -> Module:
    """relu of one input per symbol of the checks."""
    names = sorted({s for pair in checks for e in pair if isinstance(e, dims.Dim) for s in e.symbols()})
    m = g.module_builder("sizes")
    with m.function(inputs=[(f"x{name}", (name, 2), "f32") for name in names]) as values:
        m.outputs([(f"y{name}", g.relu(x)) for name, x in zip(names, values, strict=True)])
    made = m.finish()
    made.checks = [Check(lhs, rhs, "what asks") for lhs, rhs in checks]
    made.symbols.update(bounds)
    return made


SOLVABLE = {
    "an equality of products": [(A * B, 12 * C)],
    "products of three": [(A * B * C, 30)],
    "a product and a sum": [(A * B, 5 * C + 7)],
    "a multiple": [(A, 48 * dims.floordiv(A, 48)), (A, B + 5)],
    "a large constant": [(A * B, 3 * 1009)],
    "a least size": [(dims.dmin(A, 300), 300)],
    "a most and a least size": [(dims.dmax(A, 70), 70), (dims.dmin(A, 67), 67)],
    "a chain": [(A, 2 * B + 1), (B, 3 * C), (C * N, 35)],
    "a least size that another decides": [(dims.dmin(A, 2 * B), 2 * B), (B * C, 66)],
}


@pytest.mark.parametrize("kind", SOLVABLE)
@pytest.mark.parametrize("preferred", [None, 1])
def test_checks_are_solved_without_empty_sizes(kind: str, preferred: int | None) -> None:
    made = module(*SOLVABLE[kind])
    found = sample_binding(made, preferred=preferred)
    assert min(found.values()) > 0
    for lhs, rhs in SOLVABLE[kind]:
        assert dims.evaluate(lhs, found) == dims.evaluate(rhs, found)


def test_sizes_that_are_given_stay_and_the_others_follow() -> None:
    made = module((A * B, 12 * C))
    found = sample_binding(made, {"C": 35})
    assert found["A"] * found["B"] == 12 * 35
    assert found["C"] == 35


def test_solutions_keep_to_the_bounds() -> None:
    found = sample_binding(module((A * B, 12 * C), A=(5, 5), C=(1, 50)))
    assert (found["A"], found["B"] * 5) == (5, 12 * found["C"])
    assert 1 <= found["C"] <= 50


def test_checks_that_only_empty_inputs_meet_are_refused_with_the_sizes_to_give() -> None:
    made = module((A, 2 * A))
    with pytest.raises(mlc.ShapeError) as caught:
        sample_binding(made)
    assert str(caught.value).splitlines() == [
        "no sizes found for A that the model's checks allow and that leave its inputs elements",
        "  A = 2*A (what asks)",
        "  Give sizes (--dim A=SIZE), or arrays for its inputs.",
    ]


def test_sizes_that_are_given_as_0_are_taken() -> None:
    assert sample_binding(module((A, 2 * B)), {"A": 0})["B"] == 0
    assert sample_binding(module((A * B, 12 * C)), {"A": 0, "B": 4})["C"] == 0


def test_what_is_empty_at_small_sizes_only_beside_other_outputs_needs_no_large_ones() -> None:
    m = g.module_builder("tail")
    with m.function(inputs=[("x", ("N", 2), "f32")]) as (x,):
        rest = dims.dmax(0, N - 5000)
        m.outputs([("y", g.relu(x)), ("tail", g.slice(x, [N - rest, 0], [rest, 2], [1, 1]))])
    made = m.finish()
    assert sample_binding(made)["N"] < 20


def test_run_and_verify_of_a_reshape_between_products_work_on_elements(tmp_path, capsys) -> None:
    m = g.module_builder("folded")
    with m.function(inputs=[("x", ("N", "S"), "f32"), ("z", ("M", 12), "f32")]) as (x, z):
        m.outputs([("y", g.add(g.reshape(x, [M, 12]), z))])
    path = tmp_path / "m.mlir"
    path.write_text(str(m.finish()))
    assert main(["run", str(path), "--verify", "interpreter", "--save-output", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert prod(np.load(tmp_path / "out" / "y.npy").shape) > 0


def test_a_size_that_no_input_tells_is_named() -> None:
    """Of a value, or of a check, as text can have it."""
    m = g.module_builder("lost")
    with m.function(inputs=[("x", (N,), "f32")]) as (x,):
        m.outputs([("y", g.relu(x)), ("z", g.iota((symbol("Q"),), 0, "i64"))])
    lost, checked = m.finish(), module((A, 4))
    checked.checks.append(Check(symbol("Q"), 3, "nobody"))
    for made in (lost, checked):
        with pytest.raises(mlc.ShapeError, match="no input tells the size Q"):
            sample_binding(made)
        with pytest.raises(mlc.InvalidModel, match="no input tells the size Q"):
            Module.parse(str(made))

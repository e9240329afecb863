"""Concatenations of many operands and many cuts of one: as many kernels as there are kinds of pieces, and work in proportion."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from xdsl.ir import SSAValue

from mlc.codegen.llvm.build import compile_module
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.ir.dims import Extent
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.kernel.program import CallOp
from mlc.ir.module import Module
from mlc.passes.kernel.draft import Draft
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline
from mlc.runtime.artifact import Artifact
from mlc.runtime.executable import Executable

Build = Callable[..., Sequence[SSAValue]]


def module(shapes: Sequence[Sequence[Extent | str]], build: Build) -> Module:
    m = g.module_builder("pieces")
    with m.function(inputs=[(f"x{n}", tuple(shape), "f32") for n, shape in enumerate(shapes)]) as xs:
        m.outputs([(f"y{n}", y) for n, y in enumerate(build(*xs))])
    return m.finish()


def kernels(made: Module, arrays: Sequence[np.ndarray], level: int = 2) -> int:
    """How many different kernels a module calls, after its values agree as a graph, as a program and in native code."""
    expected = interpreter.run(made, arrays)
    lowered = PassManager(pipeline(level)).run(made)
    code = compile_module(lowered, cpu_target())
    weights = {key: lowered.weights.get(key) for key in code.plan.weights}
    executable = Executable(Artifact(code.plan, code.objects, weights, cpu_target(), code.entry))
    for found in (run_program(lowered, arrays), executable.run(None, dict(zip(made.input_names, arrays, strict=True)))):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    return len({op.kernel for op in lowered.main.walk() if isinstance(op, CallOp)})


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("axis", [0, 1])
def test_many_cuts_of_a_value_are_one_kernel(axis: int, level: int) -> None:
    def build(x: SSAValue) -> list[SSAValue]:
        return [g.tanh(y) for y in g.split(x, [3] * 40, axis)]

    shape = (120, 5) if axis == 0 else (5, 120)
    assert kernels(module([shape], build), [random(*shape)], level) == 1


def test_few_cuts_are_read_where_they_are() -> None:
    assert kernels(module([(8, 5)], lambda x: [g.tanh(y) for y in g.split(x, [2] * 4, 0)]), [random(8, 5)]) == 4


def test_cuts_of_two_values_beside_a_symbol_of_their_name() -> None:
    """The kernel's arguments for places are no symbols of the model, whatever these are called; pieces of no element are cut as well."""

    def build(x: SSAValue, z: SSAValue) -> list[SSAValue]:
        sizes = [2] * 40 + [0] * 40 + [1] * 40
        return [g.add(a, b) for a, b in zip(g.split(x, sizes, 1), reversed(g.split(z, sizes[::-1], 1)), strict=True)]

    made = module([("start0", 120), ("start0", 120)], build)
    assert kernels(made, [random(3, 120), random(3, 120) + 1]) <= 3


def test_products_of_many_cuts_share_two_kernels() -> None:
    """One cuts, one multiplies."""

    def build(x: SSAValue, w: SSAValue) -> list[SSAValue]:
        return [g.relu(g.matmul(y, w)) for y in g.split(x, [4] * 36, 1)]

    assert kernels(module([(7, 144), (4, 9)], build), [random(7, 144), random(4, 9)]) == 2


@pytest.mark.parametrize("axis", [0, 1])
def test_a_concatenation_of_many_is_made_in_two_steps(axis: int) -> None:
    """300 operands: two runs of 128 share their kernels, then come one of 44 and the three of these."""
    made = module([(2, 3)] * 300, lambda *xs: [g.concatenate([g.sin(x) for x in xs], axis)])
    assert kernels(made, [random(2, 3) + n for n in range(300)]) <= 128 + 44 + 3 + 1


def test_pieces_of_run_time_size_share_a_kernel() -> None:
    made = module([("N", 3)] * 40, lambda *xs: [g.concatenate(xs, 0)])
    assert kernels(made, [random(2, 3) + n for n in range(40)]) <= 3


def test_a_value_that_grows_row_by_row_is_joined_in_few_steps() -> None:
    def build(x: SSAValue) -> list[SSAValue]:
        y = x
        for _ in range(200):
            y = g.concatenate([y, x], 0)
        return [y]

    lowered = PassManager("simplify").run(module([(1, 3)], build))
    assert sum(op.name == "graph.concatenate" for op in lowered.main.walk()) == 2


@pytest.mark.parametrize("join", [True, False], ids=["concatenate", "split"])
def test_work_grows_with_the_pieces(join: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memories that plans name, in a program of n and of 2 n pieces."""
    named: list[str] = []
    unique = Draft._unique
    monkeypatch.setattr(Draft, "_unique", lambda draft, name: named.append(name) or unique(draft, name))
    counts = []
    for pieces in (256, 512):
        named.clear()
        if join:
            made = module([(1, 2)] * pieces, lambda *xs: [g.concatenate(xs, 0)])
        else:
            made = module([(pieces, 2)], lambda x: g.split(x, [1] * pieces, 0))  # noqa: B023
        PassManager("decompose,fuse,outline").run(made)
        counts.append(len(named))
    assert counts[1] <= 2 * counts[0]


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("rows", [2, 5, "N"])
def test_a_border_whose_value_is_kept_in_memory_is_filled_before_the_first_piece(rows: int | str, level: int) -> None:
    def build(x: SSAValue) -> list[SSAValue]:
        a, b = g.split(x, [1, 1], 1)
        value = g.constant(np.float32(7))  # a result too
        return [g.pad(g.concatenate([b, g.neg(a), b], 1), [1, 2], [0, 1], value), value]

    for size in (0, 1, 4):
        kernels(module([(rows, 2)], build), [random(size if rows == "N" else int(rows), 2)], level)

"""Depth is data: graphs deeper than Python's stack go through every stage. The stack is small here, so that shallow ones will do."""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from xdsl.ir import SSAValue

from mlc.codegen.llvm.build import compile_module
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline

STACK, DEEP = 250, 400
X = np.linspace(-0.9, 0.9, 9, dtype=np.float32).reshape(3, 3)
Build = Callable[[SSAValue], SSAValue]


@pytest.fixture(autouse=True)
def small_stack() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + STACK)
    yield
    sys.setrecursionlimit(before)


def module(build: Build) -> Module:
    m = g.module_builder("deep")
    with m.function(inputs=[("x", (3, 3), "f32")]) as (x,):
        m.outputs([("y", build(x))])
    return m.finish()


def chain(x: SSAValue, length: int = DEEP) -> SSAValue:
    for number in range(length):
        x = (g.sin, g.tanh, g.relu)[number % 3](x)
    return x


def matrix(values: Sequence[float]) -> SSAValue:
    return g.constant(np.array(values, np.float32).reshape(3, 3))


def dead_behind(x: SSAValue) -> SSAValue:
    """What selects nothing of a chain leaves all of it dead."""
    return g.select(g.full((3, 3), True, "bool"), x, chain(x))


def factor_per_column(x: SSAValue) -> SSAValue:
    factor = chain(g.constant(np.array([1, 2, 3], np.float32)))
    return g.mul(g.matmul(x, matrix(range(9))), g.broadcast(factor, (3, 3), [1]))


def transposed(x: SSAValue) -> SSAValue:
    return g.transpose(chain(g.matmul(chain(g.transpose(x, [1, 0])), matrix(range(9)))), [1, 0])


def reshaped_scale(x: SSAValue) -> SSAValue:
    y = g.mul(x, g.full((3, 3), 0.5, "f32"))
    for _ in range(DEEP):
        y = g.reshape(g.reshape(y, (9,)), (3, 3))
    return g.matmul(x, y)


def layers_and_the_first(x: SSAValue) -> SSAValue:
    """The last layer reads what the first one made."""
    weight = matrix([0, 1, 0, 0, 0, 1, 1, 0, 0])
    first = y = g.relu(g.matmul(x, weight))
    for _ in range(DEEP):
        y = g.relu(g.matmul(y, weight))
    return g.add(y, first)


def used_twice_each(x: SSAValue) -> SSAValue:
    """As many paths as 2 ** DEEP."""
    for _ in range(DEEP):
        x = g.sin(g.mul(x, x))
    return x


def rows_and_the_first(x: SSAValue) -> SSAValue:
    """Reductions, each of which a sum far behind reads again."""
    y, kept = x, []
    for _ in range(DEEP // 8):
        y = g.softmax(y, 1)
        kept.append(y)
        y = g.sub(y, g.broadcast(g.mean(y, [1]), (3, 3), [0]))
    for past in reversed(kept):
        y = g.relu(g.add(y, past))
    return y


BUILDS = (
    chain,
    dead_behind,
    factor_per_column,
    transposed,
    reshaped_scale,
    layers_and_the_first,
    used_twice_each,
    rows_and_the_first,
)


@pytest.mark.parametrize(
    ("build", "level"),
    [*((build, 3) for build in BUILDS), (transposed, 0), (layers_and_the_first, 0)],
    ids=lambda of: of.__name__ if callable(of) else f"O{of}",
)
def test_deep_graphs_go_through_every_stage(build: Build, level: int) -> None:
    made = module(build)
    (expected,) = interpreter.run(made, [X])
    lowered = PassManager(pipeline(level)).run(made)
    (found,) = run_program(lowered, [X])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    compile_module(lowered, cpu_target())


def test_deep_graphs_are_read_as_they_are_printed() -> None:
    made = module(layers_and_the_first)
    again = Module.parse(made.text(), made.weights)
    assert again.text() == made.text()
    again.verify()

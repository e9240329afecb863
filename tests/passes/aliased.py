"""Random programs whose results live in arguments, with what they mean in NumPy: pure functions, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.module import Module
from mlc.ir.types import shape_of

ARGUMENTS = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Program:
    """Square arguments of one extent. Steps are (name, operands) over values: first the arguments, then each step's result."""

    extent: int | str
    steps: tuple[tuple[str, tuple[int, ...]], ...]
    results: tuple[int, ...]
    aliases: tuple[int | None, ...]  # of each result: the number of an argument

    def module(self) -> Module:
        m = g.module_builder("aliased")
        shape = (self.extent, self.extent)
        with m.function(inputs=[(name, shape, "f32") for name in ARGUMENTS]) as arguments:
            values: list[SSAValue] = list(arguments)
            for number, (name, operands) in enumerate(self.steps):
                with g.location(f"{name}{number}"):
                    values.append(STEPS[name][0](*(values[n] for n in operands)))
            m.outputs(
                [(f"r{n}", values[value]) for n, value in enumerate(self.results)],
                {f"r{n}": ARGUMENTS[a] for n, a in enumerate(self.aliases) if a is not None},
            )
        return m.finish()

    def size(self, n: int) -> int:
        return n if isinstance(self.extent, str) else self.extent

    def arguments(self, n: int) -> list[np.ndarray]:
        rng = np.random.default_rng(n)
        size = self.size(n)
        return [rng.uniform(-1, 1, (size, size)).astype(np.float32) for _ in ARGUMENTS]

    def expected(self, arguments: list[np.ndarray]) -> list[np.ndarray]:
        values = [array.astype(np.float64) for array in arguments]
        for name, operands in self.steps:
            values.append(STEPS[name][1](*(values[n] for n in operands)))
        return [values[n] for n in self.results]


def _sum_of(x: SSAValue, axis: int) -> SSAValue:
    return g.broadcast(g.reduce(x, [axis], "sum"), shape_of(x), [1 - axis])


def _product(x: SSAValue, y: SSAValue) -> SSAValue:
    return g.tanh(g.contract(x, y, "mk,kn->mn"))


def _gradient(w: SSAValue, x: SSAValue, y: SSAValue) -> SSAValue:
    """w - x'y / 8: an update in the epilogue of a product."""
    step = g.contract(x, y, "km,kn->mn")
    return g.sub(w, g.mul(step, g.full_like(step, 0.125)))


def _loop(x: SSAValue, y: SSAValue) -> SSAValue:
    """x = x / 2 + y, three times."""

    def body(carries, slices, constants):
        return [g.add(g.mul(carries[0], g.full_like(carries[0], 0.5)), constants[0])], []

    return g.scan(body, [x], [], 3, [y])[0][0]


def _choice(x: SSAValue, y: SSAValue) -> SSAValue:
    """x + y where the sum of x is positive, else x."""
    positive = g.gt(g.reduce(x, [0, 1], "sum"), g.full((), 0.0, "f32"))
    return g.cond(positive, lambda x, y: [g.add(x, y)], lambda x, y: [g.neg(x)], [x, y])[0]


def _scattered(x: SSAValue, y: SSAValue) -> SSAValue:
    """x plus the columns of y, the first added to the last."""
    size = shape_of(x)[1]
    last = g.sub(g.dimension(size), g.full((), 1, "i64"))
    places = g.sub(g.broadcast(last, shape_of(x), []), g.iota(shape_of(x), 1, "i64"))
    return g.scatter_elements(x, places, y, 1, "add")


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True, initial=-np.inf))
    return e / e.sum(1, keepdims=True)


Step = tuple[Callable[..., SSAValue], Callable[..., np.ndarray], int]
STEPS: dict[str, Step] = {
    "add": (g.add, np.add, 2),
    "maximum": (g.maximum, np.maximum, 2),
    "half": (lambda x: g.mul(x, g.full_like(x, 0.5)), lambda x: x * 0.5, 1),
    "tanh": (g.tanh, np.tanh, 1),
    "transpose": (lambda x: g.transpose(x, [1, 0]), np.transpose, 1),
    "reverse": (lambda x: g.reverse(x, [0]), lambda x: x[::-1], 1),
    "flat": (lambda x: g.reshape(g.tanh(g.reshape(x, [shape_of(x)[0] * shape_of(x)[1]])), shape_of(x)), np.tanh, 1),
    "softmax": (lambda x: g.softmax(x, 1), _softmax, 1),
    "rows": (lambda x, y: g.tanh(g.add(y, _sum_of(x, 1))), lambda x, y: np.tanh(y + x.sum(1, keepdims=True)), 2),
    "columns": (lambda x, y: g.tanh(g.add(y, _sum_of(x, 0))), lambda x, y: np.tanh(y + x.sum(0)), 2),
    "across": (lambda x: g.tanh(g.sub(x, g.transpose(_sum_of(x, 1), [1, 0]))), lambda x: np.tanh(x - x.sum(1)), 1),
    "product": (_product, lambda x, y: np.tanh(x @ y), 2),
    "gradient": (_gradient, lambda w, x, y: w - x.T @ y / 8, 3),
    "loop": (_loop, lambda x, y: x / 8 + y * 1.75, 2),
    "choice": (_choice, lambda x, y: x + y if x.sum() > 0 else -x, 2),
    "scatter": (_scattered, lambda x, y: x + y[:, ::-1], 2),
}


@st.composite
def programs(draw: st.DrawFn) -> Program:
    steps: list[tuple[str, tuple[int, ...]]] = []
    for _ in range(draw(st.integers(0, 7))):
        name = draw(st.sampled_from(sorted(STEPS)))
        count = len(ARGUMENTS) + len(steps)
        operands = st.one_of(st.integers(0, len(ARGUMENTS) - 1), st.integers(max(0, count - 3), count - 1))
        steps.append((name, tuple(draw(operands) for _ in range(STEPS[name][2]))))
    count = len(ARGUMENTS) + len(steps)
    results = tuple(draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=5)))
    free = list(draw(st.permutations(range(len(ARGUMENTS)))))
    aliases = tuple(free.pop() if free and draw(st.integers(0, 4)) else None for _ in results)
    return Program(draw(st.sampled_from([0, 1, 2, 3, 5, 16, 17, "N", "N"])), tuple(steps), results, aliases)

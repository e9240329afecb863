"""Derivatives through loops, branches and checkpoints: first and second order, by differences and of both modes against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlc.errors import NoDerivative
from mlc.ir import builder as g
from mlc.ir.graph.control import ScanOp, yielded
from mlc.ir.graph.linear import ContractOp
from mlc.ir.graph.reduce import ReduceOp
from tests.autodiff.derivatives import built, check_derivatives, derived, slopes

X, W, H = (("T", 2, 3), "f64"), ((3, 3), "f64"), ((2, 3), "f64")


def scan(step: Callable[..., Any], init: Any, xs: Any, constants: Any = (), reverse: bool = False) -> list[Any]:
    carries, ys = g.scan(step, init, xs, g.shape_of(xs[0])[0], constants, reverse)
    return [*carries, *ys]


def cell(carries: Any, xs: Any, constants: Any) -> Any:
    """h = tanh(x W + h U); the state of every step comes out."""
    inner = g.add(g.contract(xs[0], constants[0], "bi,ij->bj"), g.contract(carries[0], constants[1], "bi,ij->bj"))
    after = g.tanh(inner)
    return [after], [after]


def recurrent(x: Any, w: Any, u: Any, h: Any) -> list[Any]:
    return scan(cell, [h], [x], [w, u])


def backwards(x: Any, w: Any, u: Any, h: Any) -> list[Any]:
    return scan(cell, [h], [x], [w, u], reverse=True)


def swapped(x: Any, h: Any) -> list[Any]:
    """Each carry becomes the other; the second is active only after the first step."""
    zero = g.full_like(h, 0)
    return scan(lambda c, xs, k: ([g.mul(c[1], xs[0]), g.sin(g.add(c[0], xs[0]))], []), [h, zero], [x])


def late(x: Any) -> list[Any]:
    """The carry begins as a constant and gets its derivative from the sequence."""
    return scan(lambda c, xs, k: ([g.add(g.mul(c[0], c[0]), g.sin(xs[0]))], [c[0]]), [g.full((2, 3), 0.5, "f64")], [x])


def only_ys(x: Any, h: Any) -> list[Any]:
    return scan(lambda c, xs, k: ([], [g.mul(g.exp(xs[0]), k[0]), g.add(k[0], k[0])]), [], [x], [h])


def constant_twice(x: Any, h: Any, w: Any) -> list[Any]:
    """One constant in two products, and one of them of two constants."""

    def step(c: Any, xs: Any, k: Any) -> Any:
        once = g.contract(c[0], k[0], "bi,ij->bj")
        return [g.tanh(g.add(g.contract(once, k[0], "bi,ij->bj"), xs[0]))], [g.contract(k[0], k[0], "ij,jk->ik")]

    return scan(step, [h], [x], [w])


def invariant(x: Any, w: Any, h: Any) -> list[Any]:
    """Every step computes the same of its constants, one after the other."""

    def step(c: Any, xs: Any, k: Any) -> Any:
        same = g.mul(g.exp(k[0]), k[0])
        return [g.tanh(g.add(g.contract(c[0], same, "bi,ij->bj"), xs[0]))], [same]

    return scan(step, [h], [x], [w])


def biased(x: Any, w: Any, h: Any, b: Any) -> list[Any]:
    """A weight and its bias in every step; the state of every step, what it was, what came in and the bias are results as well."""

    def step(c: Any, xs: Any, k: Any) -> Any:
        inner = g.add(g.contract(c[0], k[0], "bi,ij->bj"), g.broadcast(k[1], (2, 3), [1]))
        after = g.tanh(g.mul(inner, xs[0]))
        return [after], [after, c[0], xs[0], g.mul(after, after), k[1]]

    return scan(step, [h], [x], [w, b])


def nested(x: Any, w: Any, h: Any) -> list[Any]:
    def outer(c: Any, xs: Any, k: Any) -> Any:
        inner = lambda d, ys, m: ([g.tanh(g.add(g.contract(d[0], m[0], "i,ij->j"), ys[0]))], [d[0]])
        (last,), (rows,) = g.scan(inner, [g.reduce(c[0], [0], "sum")], [xs[0]], 2, [k[0]])
        return [g.mul(g.broadcast(last, (2, 3), [1]), c[0])], [rows]

    return scan(outer, [h], [x], [w])


def branching(x: Any, h: Any) -> list[Any]:
    """A branch in each step, whose sides keep different values; one does not touch an operand."""

    def step(c: Any, xs: Any, k: Any) -> Any:
        positive = g.gt(g.reduce(xs[0], [0, 1], "sum"), g.scalar(0.0, "f64"))
        (after,) = g.cond(positive, lambda a, b: [g.mul(g.exp(g.mul(a, a)), b)], lambda a, b: [g.sin(a)], [xs[0], c[0]])
        return [after], [after]

    return scan(step, [h], [x])


def checkpointed(x: Any, h: Any) -> list[Any]:
    def step(c: Any, xs: Any, k: Any) -> Any:
        return g.call(lambda a, b: [g.sin(g.mul(a, g.exp(b)))], [c[0], xs[0]], "step", True), []

    return scan(step, [h], [x])


def called(x: Any, h: Any) -> list[Any]:
    return list(
        g.call(lambda a, b: [g.sin(g.mul(g.broadcast_to(b, g.shape_of(a)), g.exp(a))), g.exp(b)], [x, h], "both")
    )


CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "recurrent": (recurrent, [X, W, W, H]),
    "backwards": (backwards, [X, W, W, H]),
    "swapped": (swapped, [X, H]),
    "late": (late, [X]),
    "only ys": (only_ys, [X, H]),
    "constant twice": (constant_twice, [X, H, W]),
    "invariant": (invariant, [X, W, H]),
    "biased": (biased, [X, W, H, ((3,), "f64")]),
    "nested": (nested, [X, W, H]),
    "branching": (branching, [X, H]),
    "checkpointed": (checkpointed, [X, H]),
    "called": (called, [X, H]),
}


def arrays(specs: list[Any], steps: int) -> list[np.ndarray]:
    rng = np.random.default_rng(steps)
    return [0.7 * rng.standard_normal([steps if e == "T" else e for e in shape]) for shape, _ in specs]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_derivatives_of_bodies(name: str, steps: int) -> None:
    make, specs = CASES[name]
    check_derivatives(built(make, specs), arrays(specs, steps), order=2 if steps == 3 else 1)


def test_the_gradient_of_a_weight_is_one_product_behind_the_loop() -> None:
    module = built(lambda *xs: g.reduce(recurrent(*xs)[0], None, "sum"), [X, W, W, H])
    found = derived(module, ["x1", "x2"], "gradient")
    loops = [op for op in found.main.body.block.ops if isinstance(op, ScanOp)]
    behind = [op.spec.data for op in found.main.body.block.ops if isinstance(op, ContractOp)]
    assert len(loops) == 2 and behind == ["abi,abj->ij", "abi,abj->ij"]
    assert sum(isinstance(op, ContractOp) for op in loops[1].walk()) == 1  # the cotangent of the state


def test_the_gradient_of_a_bias_is_one_sum_behind_the_loop_and_a_result_is_kept_once() -> None:
    gradient = derived(
        built(lambda *xs: g.reduce(biased(*xs)[1], None, "sum"), CASES["biased"][1]), ["x1", "x3"], "gradient"
    )
    forwards, back = (op for op in gradient.op.walk() if isinstance(op, ScanOp))
    assert not any(isinstance(op, ReduceOp) for op in back.body.walk())
    assert back.carried.value.data == 1  # the state: nothing is summed from step to step
    given = yielded(forwards.body.block)[1:]
    assert len(set(given)) == len(given)


def test_what_steps_compute_of_constants_is_computed_once() -> None:
    module = built(lambda *xs: g.reduce(invariant(*xs)[0], None, "sum"), [X, W, H])
    found = derived(module, ["x1"], "gradient")
    assert "graph.exp" not in [
        op.name for loop in found.main.walk() if isinstance(loop, ScanOp) for op in loop.body.block.ops
    ]
    assert [op.name for op in found.main.body.block.ops].count("graph.exp") == 1


def test_a_loop_without_a_known_length_has_a_forward_mode_alone() -> None:
    def doubled(x: Any) -> Any:
        def body(carries: Any, constants: Any) -> Any:
            after = g.mul(carries[0], g.full_like(carries[0], 1.5))
            return g.lt(g.reduce(after, None, "sum"), g.scalar(9.0, "f64")), [after], [g.sin(after)]

        (last,), (rows,) = g.while_loop(body, g.scalar(True, "bool"), [x], 8)
        return [last, rows]

    module, point = built(doubled, [((3,), "f64")]), [np.array([0.5, 1.0, 0.25])]
    tangents = {"x0": np.array([1.0, -2.0, 0.5])}
    found = derived(module, ["x0"], "jvp").run(*point, *tangents.values())
    for t, slope in zip(found[2:], slopes(module, point, tangents), strict=True):
        np.testing.assert_allclose(t[:2], slope[:2], rtol=1e-7)
    with pytest.raises(NoDerivative, match="the number of iterations is not known when the backward graph is built"):
        derived(built(lambda x: g.reduce(doubled(x)[0], None, "sum"), [((3,), "f64")]), ["x0"], "gradient")

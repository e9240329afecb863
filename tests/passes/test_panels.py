"""Matrices that every step of a loop multiplies by lie in panels in front of it, and every step computes what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.ir import builder as g
from mlc.ir.graph.control import ScanOp
from mlc.ir.interpreter import run
from mlc.ir.module import Module
from mlc.ir.samples import random_inputs
from mlc.ir.types import shape_of
from mlc.passes.graph.panels import STEPS, PackLoopOperands
from tests.ir.test_graph_ops import check


def recurrence(
    steps: int | str,
    batch: int | str,
    hidden: int,
    columns: int,
    turned: bool = False,
    cut: bool = False,
    stored: bool = False,
    bias: bool = False,
    reverse: bool = False,
    dtype: str = "f32",
) -> Module:
    """h = tanh(the first columns of (x + h W)), with W [columns, hidden], or [hidden, columns] where it is `turned`; `cut`: W is a part of a constant."""
    shape = [hidden, columns] if turned else [columns, hidden]
    given = [2 * shape[0], shape[1]] if cut else shape

    def body(carries: Any, xs: Any, constants: Any) -> Any:
        (h,), w = carries, constants[0]
        w = g.slice_axis(w, 0, shape[0], shape[0]) if cut else w
        total = g.contract(h, w, "bh,hg->bg" if turned else "bh,gh->bg")
        if bias:
            total = g.add(total, g.broadcast(constants[1], g.shape_of(total), [1]))
        total = g.add(total, xs[0])
        after = g.tanh(g.slice_axis(g.concatenate([total, h], 1), 1, 0, hidden))
        return [after], [after, total]

    m = g.module_builder()
    inputs: list[tuple[str, Any, str]] = [("x", (steps, batch, columns), dtype), ("h", (batch, hidden), dtype)]
    inputs += [("w", given, dtype)] if not stored else []
    with m.function([*inputs, ("b", (columns,), dtype)]) as (x, h, *rest):
        w = g.weight(np.ones(given, np.float32), name="w") if stored else rest[0]
        (last,), ys = g.scan(body, [h], [x], steps_of(x), [w, rest[-1]], reverse)
        m.outputs([("last", last), *((f"y{n}", y) for n, y in enumerate(ys))])
    return m.finish()


def steps_of(x: Any) -> Any:
    return shape_of(x)[0]


def packed(module: Module) -> Module:
    after = module.clone()
    PackLoopOperands().run(after)
    after.verify()
    return after


def matrices(module: Module) -> list[tuple[Any, ...]]:
    """Shapes of the constants of the loop that are no vectors."""
    (loop,) = (op for op in module.op.walk() if isinstance(op, ScanOp))
    return [shape_of(v) for v in loop.constants if len(shape_of(v)) > 1]


@pytest.mark.parametrize("turned", [False, True])
def test_columns_stand_in_panels(turned: bool) -> None:
    module = recurrence("T", "N", 7, 96, turned)
    assert matrices(packed(module)) == [(3, 7, 32)]


def test_what_does_not_part_into_panels_at_least_lies_along_memory() -> None:
    assert matrices(packed(recurrence("T", "N", 7, 20))) == [(7, 20)]
    assert matrices(packed(recurrence("T", "N", 7, 32))) == [(7, 32)]
    assert matrices(packed(recurrence("T", "N", 7, 20, turned=True))) == [(7, 20)]


@pytest.mark.parametrize("case", [{"stored": True}, {"steps": STEPS - 1}, {"hidden": 0}])
def test_stored_weights_short_loops_and_nothing_stay_as_they_are(case: dict[str, Any]) -> None:
    module = recurrence(**{"steps": "T", "batch": "N", "hidden": 7, "columns": 96, **case})
    assert str(packed(module)) == str(module)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_step_computes_what_it_did(data: st.DataObject) -> None:
    flags = {name: data.draw(st.booleans(), name) for name in ("turned", "cut", "bias", "reverse")}
    steps, batch = data.draw(st.sampled_from(["T", 5])), data.draw(st.sampled_from(["N", 1, 3]))
    hidden, columns = data.draw(st.sampled_from([1, 5, 32, 64])), data.draw(st.sampled_from([1, 5, 32, 64, 96]))
    module = recurrence(steps, batch, hidden, columns, **flags, dtype="f64")
    after = packed(module)
    for size in (0, 1, 2, 7):
        arrays = random_inputs(module, {"N": size, "T": size}, seed=size)
        check(run(after, arrays), run(module, arrays), 1e-9)


@pytest.mark.parametrize("batch", ["N", 8])
def test_compiled_loops_compute_what_the_graph_says_for_any_number_of_threads(batch: int | str) -> None:
    module = recurrence("T", batch, 64, 128, bias=True)
    executables = [mlc.compile(module, threads=threads) for threads in (1, 2)]
    for steps, rows in ((0, 2), (1, 1), (9, 8), (4, 19)):
        arrays = random_inputs(module, {"N": rows, "T": steps}, seed=rows)
        arrays[2] /= 8  # so that rounding does not grow from step to step
        found, again = (executable(*arrays) for executable in executables)
        check(found, run(module, arrays), 2e-5)
        assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))

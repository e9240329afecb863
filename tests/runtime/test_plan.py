"""Plans as data: what each call of a kernel gets, and the same again from JSON."""

import json

import numpy as np

from mlc.compiler import Compilation
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.kernel.plan import Argument, Copy, Plan, Step
from mlc.ir.kernel.planner import plan_of
from mlc.options import CompileOptions
from tests.test_counted import sum_of_positions


def lowered(opt_level: int = 2):
    """Two contractions with what follows them, and a result that is another one in a new shape."""
    m = g.module_builder("two")
    with m.function(inputs=[("x", ("N", 4, 8), "f32")]) as (x,):
        hidden = g.relu(g.matmul(x, g.weight(np.ones((8, 16), np.float32), name="w")))
        y = g.matmul(hidden, g.weight(np.ones((16, 3), np.float32), name="v"))
        m.outputs([("y", y), ("flat", g.reshape(y, (g.shape_of(y)[0] * 12,)))])
    return Compilation(CompileOptions.of(arch="x86-64-v3")).lower(m.finish())


def test_a_step_says_what_its_kernel_gets() -> None:
    plan = plan_of(lowered())
    n = dims.symbol("N")
    assert plan.straight
    first, second, copied = plan.sequence
    assert isinstance(first, Step) and isinstance(second, Step) and isinstance(copied, Copy)
    assert [a.kind for a in first.arguments] == ["input", "weight", "buffer", "size"]
    assert first.arguments[-1] == Argument("size", 4 * n) and first.tiles is not None and first.launch == 0
    assert second.arguments[0] == first.arguments[2] and second.launch == 1
    assert {second.arguments[2].kind, copied.source.kind, copied.target.kind} == {"output"}
    assert copied.bytes == 48 * n and first.at < second.at < copied.at
    assert all(extent in plan.sizes for extent in (4 * n, copied.bytes, first.tiles))


def test_a_plan_is_the_same_from_json() -> None:
    plan = plan_of(lowered())
    for each in (plan, plan.without_calls()):
        assert Plan.from_json(json.loads(json.dumps(each.to_json()))) == each
    assert [step.kernel for step in plan.without_calls().steps] == [step.kernel for step in plan.steps]


def test_a_plan_with_counts_is_not_straight() -> None:
    module = sum_of_positions()
    compilation = Compilation()
    assert not plan_of(compilation.lower(compilation.load(module))).straight

"""Folding moves no bytes before they are asked for, keeps large repeats as they are, and names what it makes."""

import numpy as np
import pytest

from mlc.errors import ShapeError
from mlc.ir import builder as g
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.shape import BroadcastOp
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.samples import random_inputs
from mlc.passes.manager import PassManager


def test_a_large_weight_is_read_when_its_fold_is_asked_for():
    reads = []
    array = np.arange(3000 * 20, dtype=np.float32).reshape(3000, 20)
    m = g.module_builder("lazy")
    with m.function(inputs=[("x", ("N", 3000), "f32")]) as (x,):
        key = m.weights.add_lazy("fc.weight", (3000, 20), "f32", lambda: (reads.append(1), array)[1])
        w = g.weight(key)
        doubled = g.transpose(g.mul(w, g.full_like(w, 2.0)), [1, 0])
        m.outputs([("y", g.contract(x, doubled, "nk,ok->no"))])
    after = PassManager("fold").run(m.finish())
    (weight,) = [op for op in after.op.walk() if isinstance(op, WeightOp)]
    assert weight.weight_key == "fc.weight.folded.transposed"
    assert reads == []
    assert np.array_equal(after.weights.get(weight.weight_key), 2 * array.T)
    assert reads == [1]


def test_a_repeated_constant_is_not_written_out():
    m = g.module_builder("full")
    with m.function(inputs=[("x", (64, 56, 56), "f32")]) as (x,):
        m.outputs([("y", g.mul(x, g.exp(g.full_like(x, 0.5))))])
    after = PassManager("fold,simplify,fold").run(m.finish())
    assert not any(isinstance(op, WeightOp) for op in after.op.walk())
    (constant,) = [op for op in after.op.walk() if isinstance(op, ConstantOp)]
    assert float(constant.value) == np.float32(np.exp(np.float32(0.5)))
    assert sum(isinstance(op, BroadcastOp) for op in after.op.walk()) == 1


def test_samples_keep_bounds_and_checks():
    m = g.module_builder("bounded")
    with m.function(inputs=[("x", ("N", "2*S"), "f32"), ("y", ("M",), "i64")]) as (x, y):
        g.require_equal(g.shape_of(x)[0], g.shape_of(y)[0], "rows")
        m.outputs([("z", x)])
    m.symbols["S"] = (7, 9)
    module = m.finish()
    binding = sample_binding(module)
    assert binding["N"] == binding["M"] and 7 <= binding["S"] <= 9
    x, y = random_inputs(module, binding)
    assert x.shape == (binding["N"], 2 * binding["S"]) and y.dtype == np.int64
    m.symbols["N"] = module.symbols["N"] = (20, None)
    module.symbols["M"] = (0, 4)
    with pytest.raises(ShapeError, match="no sizes found for N, M"):
        sample_binding(module)


@pytest.mark.parametrize("size", [1 << 14, 1 << 20])
def test_a_small_result_of_what_is_large_inside_is_left_for_run_time(size):
    m = g.module_builder("inside")
    with m.function(inputs=[("x", ("N", 4), "f32")]) as (x,):
        ones = g.broadcast(g.constant(np.float32(1)), (size, size), [])
        most = g.reduce(ones, [0, 1], "max")
        m.outputs([("y", g.add(x, g.broadcast_to(most, g.shape_of(x))))])
    after = PassManager("fold").run(m.finish())
    assert any(op.name == "graph.reduce" for op in after.op.walk())


def test_a_product_of_weights_that_takes_too_long_is_left_for_run_time():
    m = g.module_builder("product")
    with m.function(inputs=[("x", (4, 2048), "f32")]) as (x,):
        a = g.weight(np.ones((2048, 2048), np.float32), name="a")
        m.outputs([("y", g.matmul(x, g.matmul(a, a)))])
    after = PassManager("fold").run(m.finish())
    assert sum(op.name == "graph.contract" for op in after.op.walk()) == 2


def test_a_long_chain_behind_a_weight_is_computed_once():
    m = g.module_builder("chain")
    with m.function(inputs=[("x", (64, 64), "f64")]) as (x,):
        value = g.weight(np.ones((64, 64)), name="w")
        for _ in range(3000):
            value = g.neg(value)
        m.outputs([("y", g.add(x, value))])
    after = PassManager("fold").run(m.finish())
    (weight,) = [op for op in after.op.walk() if isinstance(op, WeightOp)]
    np.testing.assert_array_equal(after.weights.get(weight.weight_key), np.ones((64, 64)))

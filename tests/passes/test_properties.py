"""Passes keep the meaning of random modules, at any size, and leave valid IR that reads back."""

import numpy as np
import pytest
from hypothesis import given, settings

from mlc.ir import builder as g
from mlc.ir.interpreter import run
from mlc.ir.module import Module
from mlc.ir.samples import random_inputs
from mlc.passes.check import relative_error
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import graph_passes
from tests.passes.graphs import modules

SIZES = (0, 1, 2, 5)


def agree(module: Module, after: Module) -> None:
    for size in SIZES:
        inputs = random_inputs(module, {"N": size}, seed=size)
        for want, got in zip(run(module, inputs), run(after, inputs), strict=True):
            assert relative_error(got, want) <= 2e-4


@settings(max_examples=40)
@given(modules())
def test_all_graph_passes_keep_the_meaning(module):
    after = PassManager(graph_passes(2), verify_each=True).run(module)
    agree(module, after)
    assert str(Module.parse(str(after), after.weights)) == str(after)


@pytest.mark.parametrize(
    "name", ["simplify", "move-transposes", "select-layout", "fold", "cse", "expand-padding", "dce"]
)
@settings(max_examples=15)
@given(modules())
def test_each_pass_alone_keeps_the_meaning(name, module):
    after = PassManager(f"decompose,{name}", verify_each=True).run(module)
    agree(module, after)


@settings(max_examples=20)
@given(modules())
def test_simplify_is_done_after_one_run(module):
    once = PassManager("decompose,simplify").run(module)
    assert str(PassManager("simplify").run(once)) == str(once)


def test_relative_error_tells_apart_what_a_pass_must_keep():
    x = np.array([1.0, np.nan, np.inf], np.float32)
    assert relative_error(x, x) == 0
    assert relative_error(x, np.array([1.0, 0.0, np.inf], np.float32)) == float("inf")
    assert relative_error(x[:1], x) == float("inf")


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0, 3.0, -1.0])
def test_constant_powers_keep_signed_zeros_infinities_and_nan(exponent):
    m = g.module_builder("power")
    with m.function(inputs=[("x", (8,), "f32")]) as (x,):
        m.outputs([("y", g.pow(x, g.full_like(x, exponent)))])
    module = m.finish()
    after = PassManager("simplify").run(module)
    assert "graph.pow" not in str(after)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 4.0, -4.0, 1e-40], np.float32)
    (found,) = run(after, [special])
    with np.errstate(all="ignore"):
        expected = np.power(special.astype(np.float64), np.full(8, exponent)).astype(np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(np.signbit(found[:4]), np.signbit(expected[:4]))


def test_nested_bounds_tell_zero_from_minus_zero():
    m = g.module_builder("bounds")
    with m.function(inputs=[("x", (2,), "f32")]) as (x,):
        inner = g.maximum(x, g.full_like(x, 0.0))
        m.outputs([("y", g.maximum(inner, g.full_like(x, -0.0)))])
    after = PassManager("simplify").run(m.finish())
    assert '"0.0"' in str(after) and '"-0.0"' not in str(after)


@pytest.mark.parametrize("middle", ["f32", "f64", "i64", "u16"])
@pytest.mark.parametrize("target", ["u64", "i8", "u8", "i32", "f32"])
def test_casts_in_a_row_keep_what_the_last_does_out_of_range(middle, target):
    m = g.module_builder("casts")
    with m.function(inputs=[("x", (4,), "i16")]) as (x,):
        m.outputs([("y", g.cast(g.cast(x, middle), target))])
    module = m.finish()
    inputs = [np.array([-300, -1, 5, 300], np.int16)]
    after = PassManager("simplify", verify_each=True).run(module)
    np.testing.assert_array_equal(run(after, inputs)[0], run(module, inputs)[0])

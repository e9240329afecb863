"""Every op of the graph dialect: it has an example, prints and parses back, and means what NumPy says."""

from __future__ import annotations

import re

import numpy as np
import pytest

import mlc
from mlc.errors import InvalidModel, MlcError, ShapeError
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.graph import GRAPH
from mlc.ir.interpreter import run
from mlc.ir.module import Module
from tests.ir.examples import EXAMPLES, Example

STRUCTURE = {"graph.yield", "graph.group"}  # seen in the tests of scan and of fusion


def check(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 1e-6) -> None:
    assert len(found) == len(expected)
    for value, want in zip(found, expected, strict=True):
        assert value.shape == want.shape and value.dtype == want.dtype
        if want.dtype.kind == "f":
            loose = 2e-3 if want.dtype.itemsize == 2 else tolerance
            np.testing.assert_allclose(value.astype(np.float64), want.astype(np.float64), rtol=loose, atol=loose)
        else:
            np.testing.assert_array_equal(value, want)


def test_every_op_has_an_example() -> None:
    named = {f"graph.{example.op}" for example in EXAMPLES}
    assert {op.name for op in GRAPH.operations} - STRUCTURE == named


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_op_means_what_numpy_says(example: Example) -> None:
    module, arrays = example.module(), example.arrays()
    assert f"graph.{example.op}" in str(module)
    check(run(module, arrays), example.expected(arrays))


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_text_parses_back_to_the_same_text(example: Example) -> None:
    module = example.module()
    text = module.text(locations=True)
    again = Module.parse(text, module.weights)
    assert again.text(locations=True) == text
    arrays = example.arrays(1)
    check(run(again, arrays), run(module, arrays), 0)


def test_verifier_names_the_rule_that_a_result_breaks() -> None:
    module = EXAMPLES[0].module()
    text = re.sub(r"(= graph\.\w+ .*: (tensor<N x )17.*)", r"\1 -> \g<2>18 x f32>", str(module), count=1)
    text = re.sub(r"(func\.return %\w+ : tensor<N x )17", r"\g<1>18", text)
    with pytest.raises(InvalidModel, match=r"graph\.\w+.*the type rule gives f32\[N, 17\]|does not"):
        Module.parse(text)


def build(make: object, *specs: tuple[tuple[int | str, ...], str]) -> None:
    m = g.module_builder()
    with m.function([(f"x{n}", shape, dtype) for n, (shape, dtype) in enumerate(specs)]) as values:
        m.outputs([("y", make(*values))])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "specs", "message"),
    [
        (lambda x, y: g.add(x, y), [((2, 3), "f32"), ((3, 2), "f32")], r"add: shapes \[2, 3\] and \[3, 2\] differ"),
        (lambda x, y: g.add(x, y), [((2,), "f32"), ((2,), "i32")], "add: dtypes f32 and i32 differ"),
        (lambda x: g.exp(x), [((2,), "i32")], "exp: takes float tensors, not i32"),
        (lambda x, y: g.matmul(x, y), [((2, 8), "f32"), ((7, 4), "f32")], "inner dimensions differ, 8 and 7"),
        (lambda x: g.reshape(x, (5,)), [((2, 3), "f32")], r"\[2, 3\] has 6 elements, \[5\] has 5"),
        (lambda x: g.transpose(x, [0, 0]), [((2, 3), "f32")], "does not permute"),
        (lambda x: g.squeeze(x, [1]), [((2, 3), "f32")], "3 and 1 differ"),
        (lambda x: g.slice(x, [1], [3], [1]), [((3,), "f32")], "has no elements 1..3"),
        (lambda x, w: g.convolution(x, w), [((1, 3, 8, 8), "f32"), ((4, 5, 3, 3), "f32")], "weight expects 5 input channels, x has 3"),
        (lambda x, w: g.convolution(x, w, "nc01 oc01"), [((1, 3, 8, 8), "f32"), ((4, 3, 3, 3), "f32")], "'nc01 oc01' does not name the axes"),
        (lambda x, w: g.convolution(x, w, "nc01,oc0->no01"), [((1, 3, 8, 8), "f32"), ((4, 3, 3), "f32")], "digits from 0 on name the spatial axes"),
        (lambda x, w: g.convolution(x, w, "nc01,oc01->no01p"), [((1, 3, 8, 8), "f32"), ((4, 3, 3, 3), "f32")], "a letter stands in two of them"),
        (lambda x, w: g.convolution(x, w, groups=2), [((1, 3, 8, 8), "f32"), ((4, 3, 3, 3), "f32")], "weight expects 6 input channels, x has 3 \\(groups = 2\\)"),
        (lambda x, w: g.convolution(x, w, groups=3), [((1, 3, 8, 8), "f32"), ((4, 1, 3, 3), "f32")], "4 output channels do not divide into 3 groups"),
        (lambda x, y: g.concatenate([x, y], 1), [((2, 3), "f32"), ((3, 3), "f32")], "do not fit"),
        (lambda x, i: g.gather(x, i, 0), [((2, 3), "f32"), ((2,), "f32")], "indices are f32, not integers"),
        (lambda x: g.softmax(x, 2), [((2, 3), "f32")], "axis 2 is not one of the 2 axes"),
        (lambda x, y: g.lift(x, y)[0], [((2, 3), "f32"), ((4,), "f32")], "3 and 4 differ"),
    ],
)  # fmt: skip
def test_errors_name_both_sides(make: object, specs: list[tuple[tuple[int, ...], str]], message: str) -> None:
    with pytest.raises(MlcError, match=message):
        build(make, *specs)


def test_unequal_symbols_become_a_check_that_the_call_tests() -> None:
    m = g.module_builder()
    with m.function([("x", ("N",), "f32"), ("y", ("M",), "f32")]) as (x, y):
        m.outputs([("z", g.add(*g.lift(x, y)))])
    module = m.finish()
    assert [(str(c.lhs), str(c.rhs)) for c in module.checks] == [("N", "M")]
    ones = np.ones(3, np.float32)
    np.testing.assert_array_equal(run(module, [ones, ones])[0], 2 * ones)
    with pytest.raises(MlcError, match="N is 3 and M is 4"):
        run(module, [ones, np.ones(4, np.float32)])


def test_large_constants_stay_out_of_the_text() -> None:
    m = g.module_builder()
    with m.function([]):
        m.outputs([("y", g.constant(np.arange(10000, dtype=np.float32), "table"))])
    module = m.finish()
    assert len(str(module)) < 500 and module.weights.nbytes("table") == 40000


def test_nothing_can_be_gathered_from_an_empty_tensor() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", 3), "f32")]) as (x,):
        m.outputs([("y", g.gather(x, g.constant(np.array([0, 1])), 0))])
    module = m.finish()
    np.testing.assert_array_equal(run(module, [np.ones((2, 3), np.float32)])[0], np.ones((2, 3)))
    with pytest.raises(ShapeError, match="axis 0 of what is gathered from has elements"):
        run(module, [np.ones((0, 3), np.float32)])


def test_the_position_of_the_largest_of_nothing_is_0() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", (2, "N"), "f32")]) as (x,):
        m.outputs([("first", g.arg_max(x, 1)), ("last", g.arg_min(x, 1, last=True))])
    module = m.finish()
    empty = np.zeros((2, 0), np.float32)
    for found in (*run(module, [empty]), *mlc.compile(module)(empty)):
        assert found.dtype == np.int64 and found.tolist() == [0, 0]


def test_sizes_that_divide_by_zero_do_not_fit_a_module() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N*M",), "f32"), ("n", ("N",), "f32"), ("m", ("M",), "f32")]) as (x, _, _):
        m.outputs([("y", g.reshape(x, [dims.parse("(N*N + 1)//M")]))])
    with pytest.raises(ShapeError, match="divides by zero at M = 0, N = 2"):
        run(m.finish(), [np.zeros(0, np.float32), np.zeros(2, np.float32), np.zeros(0, np.float32)])


def test_a_parameter_of_another_dtype_is_named_with_its_dtype() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", (2, 3), "f32"), ("scale", (3,), "f16")]) as (x, scale):
        with pytest.raises(MlcError, match=r"layer_norm: a parameter is f16\[3\], the axes of x are f32\[3\]"):
            g.layer_norm(x, scale, None, [1])
        m.outputs([("y", x)])


def test_inputs_may_have_names_in_any_alphabet() -> None:
    m = g.module_builder("names")
    with m.function(inputs=[("\u00e9tage", (2,), "f32"), ("\u65e5", (2,), "f32"), ("a b", (2,), "f32")]) as values:
        m.outputs([("\u8272", g.add(g.add(values[0], values[1]), values[2]))])
    module = m.finish()
    assert module.input_names == ["\u00e9tage", "\u65e5", "a b"]
    np.testing.assert_array_equal(run(module, [np.full(2, n, np.float32) for n in (1, 2, 4)])[0], [7, 7])

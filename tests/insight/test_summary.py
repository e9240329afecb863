"""The figures of `mlc check`: operations, parameters and sizes, against counts made by hand."""

import numpy as np
import onnx
import pytest

from mlc.compiler import load
from mlc.insight.numbers import quantity
from mlc.insight.summary import flops, summary
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.byte_counts import bytes_text
from mlc.ir.module import Module


def test_a_product_costs_two_operations_per_term() -> None:
    text = '<ir_version: 9, opset_import: ["" : 17]> m (float[N, 5] x, float[5, 7] w) => (float[N, 7] y) { y = MatMul(x, w) }'
    module = load(onnx.parser.parse_model(text))
    assert flops(module) == dims.parse("70*N")
    assert summary(module).flops == 70  # at N = 1


def test_a_convolution_counts_its_taps_and_a_reduction_its_operand() -> None:
    m = g.module_builder()
    with m.function(inputs=[("x", (2, 3, 8, 8), "f32")]) as (x,):
        weight = g.weight(np.zeros((4, 3, 3, 3), np.float32), "w")
        y = g.convolution(x, weight, padding=[(1, 1), (1, 1)])
        m.outputs([("y", g.reduce(y, [2, 3], "sum"))])
    module = m.finish()
    assert flops(module) == 2 * (2 * 4 * 8 * 8) * (3 * 3 * 3) + 2 * 4 * 8 * 8
    found = summary(module)
    assert (found.parameters, found.weight_bytes) == (108, 432)
    assert found.operators == {"weight": 1, "convolution": 1, "reduce": 1}


def test_a_composite_costs_what_it_is_made_of() -> None:
    def softmax(decomposed: bool) -> Module:
        from mlc.passes.graph.decompose import Decompose

        m = g.module_builder()
        with m.function(inputs=[("x", ("N", 9), "f32")]) as (x,):
            m.outputs([("y", g.softmax(x, 1))])
        module = m.finish()
        if decomposed:
            Decompose().run(module)
        return module

    assert flops(softmax(decomposed=False)) == flops(softmax(decomposed=True)) != 0


def test_a_loop_costs_its_body_each_time() -> None:
    m = g.module_builder()
    with m.function(inputs=[("xs", ("T", 4), "f32"), ("start", (4,), "f32")]) as (xs, start):

        def body(carries: tuple, slices: tuple, _: tuple) -> tuple:
            total = g.add(carries[0], slices[0])
            return [total], []

        (last,), _ = g.scan(body, [start], [xs], dims.symbol("T"))
        m.outputs([("y", last)])
    assert flops(m.finish()) == dims.parse("4*T")


@pytest.mark.parametrize(
    ("number", "text"), [(950, "950"), (12_345, "12.3 k"), (1_234_567, "1.2 M"), (3.5e9, "3.5 G"), (2e12, "2.0 T")]
)
def test_quantities_read_as_people_say_them(number: float, text: str) -> None:
    assert quantity(number).strip() == text


def test_bytes_are_counted_in_powers_of_two() -> None:
    assert [bytes_text(n) for n in (5, 2048, 3 << 20, 5 << 30)] == ["5 bytes", "2.0 KiB", "3.0 MiB", "5.0 GiB"]

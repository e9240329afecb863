"""What explain says about fusion is read off the fused module: one sentence per reader of a result, with the right reason."""

import numpy as np
import onnx
import pytest

import mlc
from mlc.compiler import load
from mlc.insight.fusion import boundaries
from mlc.ir import builder as g
from mlc.ir.graph.base import location
from mlc.passes.graph.fuse import Fuse
from mlc.passes.pipelines import graph_passes

MODEL = """
<ir_version: 9, opset_import: ["" : 17]>
layers (float[N, 4] x, float[4, 4] v, float[4, 6] w) => (float[N, 6] y, float[N, 4] z)
{
   [first] a = MatMul(x, v)
   [bend] b = Relu(a)
   [second] c = MatMul(b, w)
   [rows] y = Softmax(c)
   [other] z = Tanh(b)
}
"""


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    module = load(onnx.parser.parse_model(MODEL))
    for step in (*graph_passes(2), Fuse()):
        step.run(module)
    return {", ".join(names): lines for names, lines in boundaries(module).items()}


def test_a_product_reads_its_operand_from_memory(found: dict[str, list[str]]) -> None:
    assert any("not into second: a contraction reads each element many times" in line for line in found["first, bend"])


def test_a_value_that_two_kernels_read_is_computed_once(found: dict[str, list[str]]) -> None:
    assert "not into other: 2 kernels read it, and it is computed once" in found["first, bend"]


def test_a_row_kernel_does_not_take_the_product_before_it(found: dict[str, list[str]]) -> None:
    assert found["second"] == ["not into rows: a reduction needs whole rows, a contraction makes them tile by tile"]


def test_outputs_are_said_to_be_outputs(found: dict[str, list[str]]) -> None:
    assert found["rows"] == found["other"] == ["its result is an output of the model"]


def test_kernels_of_one_node_are_told_apart() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", 3, 8, 8), "f32")]) as (x,), location("conv", "model.onnx", 0):
        weight = g.weight(np.ones((4, 3, 3, 3), np.float32), name="w")
        m.outputs([("y", g.convolution(x, weight, padding=[(1, 1), (1, 1)]))])
    kernels = mlc.compile(m.finish()).report["kernels"]
    said = [line for kernel in kernels for call in kernel["calls"] for line in call["fusion"]]
    assert any(line.startswith("not into the rest of conv: ") for line in said)
    assert not any(line.startswith("not into conv:") for line in said)
    notes = {note for kernel in kernels for note in kernel["notes"]}
    assert "written as plain loops: it fills the border of a padded tensor" in notes

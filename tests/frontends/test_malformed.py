"""A node whose operands or attributes make no sense is the user's to mend: an error that says what is wrong, never one of ours."""

import re

import onnx
import pytest

from mlc.errors import MlcError
from mlc.frontends.onnx import load

NODES = [
    (
        "y = If (none) <then_branch = a () => (t) { t = Neg(x) }, else_branch = b () => (e) { e = Abs(x) }>",
        "condition has 0 elements",
    ),
    (
        "y = If (open) <then_branch = a () => (t) { t = Neg(x) }, else_branch = b () => () { }>",
        "one branch has 1 outputs, the other 0",
    ),
    ("y = Loop (three,, x) <body = b (int64 i) => () { }>", "1 carried values, the body has 1 inputs and 0 outputs"),
    (
        "y = Loop (three,, x) <body = b (int64 i, bool c, float[4] s) => (bool c) { }>",
        "the body has 3 inputs and 1 outputs",
    ),
    (
        "y = Scan <num_scan_inputs = 0, body = b (float[4] s) => (float[4] t) { t = Neg(s) }> (x)",
        "num_scan_inputs is 0",
    ),
    (
        "y = Scan <num_scan_inputs = 1, body = b (float[4] s, float r) => () { }> (x, x)",
        "1 states and 1 scanned inputs",
    ),
    (
        "y = Scan <num_scan_inputs = 1, scan_input_axes = [0, 1], body = b (float s) => (float t) { t = Neg(s) }> (x)",
        "scan_input_axes has 2 entries, expected 1",
    ),
    (
        "y = Scan <num_scan_inputs = 1, scan_output_axes = [0, 1], body = b (float s) => (float t) { t = Neg(s) }> (x)",
        "scan_output_axes has 2 entries, expected 1",
    ),
    ("s = SplitToSequence (x, zero) y = SequenceAt (s, zero)", "pieces of 0 elements"),
    ("s = SequenceConstruct (x, x) y = SequenceAt (s, nothing)", "position has 0 elements"),
    ("y = Slice (numbers, one, three, three)", "axis 3 is not one of the 1 axes"),
    ("y = Slice (three_, one, three, zeros)", "axis 0 is not one of the 0 axes"),
    ("y = ReduceSum <keepdims = 0> (numbers, three)", "axis 3 is not one of the 1 axes"),
    ("y = CumSum (x, nothing)", "axis has 0 elements"),
    ("y = OneHot (numbers, nothing, pair)", "depth has 0 elements"),
    ("y = Trilu (square, nothing)", "k has 0 elements"),
    ("y = Range (nothing, zero, zero)", "start has 0 elements"),
    ('y = Einsum <equation = "i->k"> (x)', "no operand has the output's k"),
    ('y = Einsum <equation = "i->ii"> (x)', "the output repeats a label"),
    ("y = Col2Im (cube, three, blocks)", "image_shape"),
    (
        "y = DequantizeLinear <axis = 0, block_size = 2> (bytes, scales, offsets)",
        "a value per block needs 2 axes, found [2]",
    ),
    ("y = ConstantOfShape (huge)", "too many elements"),
]


@pytest.mark.parametrize(("text", "words"), NODES)
def test_a_node_that_makes_no_sense_is_refused_in_its_own_words(text: str, words: str) -> None:
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 21]>
        main (float[4] x, bool open, float[4, 4] square, float[1, 10, 12] cube, uint8[4, 2] bytes) => (float[4] y) <
            bool[0] none = {{}}, int64[0] nothing = {{}}, int64 zero = {{0}}, int64[1] zeros = {{0}}, int64[1] one = {{1}},
            int64[1] three = {{3}}, int64 three_ = {{3}}, int64[3] numbers = {{1, 2, 3}}, float[2] pair = {{0, 1}},
            int64[2] huge = {{4294967296, 4294967296}},
            int64[1, 3] blocks = {{1, 1, 1}}, float[2, 2] scales = {{1, 1, 1, 1}}, uint8[2] offsets = {{1, 0}}
        > {{ {text} }}""")
    with pytest.raises(MlcError, match=re.escape(words)):
        load(model)

#!/usr/bin/env bash
# onnxruntime 1.32.0 (Cast of float32 to int4, CPU): numbers are rounded, halves away from zero; casts to int8 drop what is behind the point.
#
# Behaviour: 0.5 becomes 1, 2.7 becomes 3 in int4, and 0 and 2 in int8.
# Expected: one rule for the integers of every width. The text of Cast (https://onnx.ai/onnx/operators/onnx__Cast.html) has one paragraph for all
# of them; ONNX's reference drops what is behind the point in int4 as in int8.
# Seen:
#     onnxruntime: int4 [1, 2, 3, -1, 3, -3], int8 [0, 1, 2, 0, 2, -2]
#     reference:   int4 [0, 1, 2, 0, 2, -2]
# Needs Python 3.11 or newer and PyPI. Fails where the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$work/venv/bin/python" -I - <<'END'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator


def cast(to):
    nodes = [helper.make_node("Cast", ["x"], ["narrow"], to=to), helper.make_node("Cast", ["narrow"], ["y"], to=TensorProto.INT32)]
    x, y = (helper.make_tensor_value_info(name, kind, ["n"]) for name, kind in (("x", TensorProto.FLOAT), ("y", TensorProto.INT32)))
    model = helper.make_model(helper.make_graph(nodes, "cast", [x], [y]), opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    checker.check_model(model, full_check=True)
    return model


x = {"x": np.array([0.5, 1.5, 2.5, -0.5, 2.7, -2.7], np.float32)}
four, eight = (
    onnxruntime.InferenceSession(cast(to).SerializeToString()).run(None, x)[0].tolist() for to in (TensorProto.INT4, TensorProto.INT8)
)
reference = ReferenceEvaluator(cast(TensorProto.INT4)).run(None, x)[0].tolist()
print(f"onnxruntime: int4 {four}, int8 {eight}")
print(f"reference:   int4 {reference}")
sys.exit(None if four == [1, 2, 3, -1, 3, -3] and eight == reference == [0, 1, 2, 0, 2, -2] else "the behaviour has changed")
END

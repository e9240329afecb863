#!/usr/bin/env bash
# onnxruntime 1.32.0 (Pad, mode reflect, CPU): pads of as many elements as the axis has, or more, are refused.
#
# Behaviour: three elements in front of an axis of three end the call: "pre-pad (3) exceeds maximum allowed (2)".
# Expected: "pads with the reflection of the vector mirrored on the first and last values of the vector along each axis"
# (https://onnx.ai/onnx/operators/onnx__Pad.html) names no limit; ONNX's reference, numpy.pad, reflects again and again.
# Seen:
#     onnxruntime: INVALID_ARGUMENT
#     reference:   [1.0, 2.0, 1.0, 0.0, 1.0, 2.0]
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

x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size]) for name, size in (("x", 3), ("y", 6)))
pads = helper.make_tensor("pads", TensorProto.INT64, [2], [3, 0])
graph = helper.make_graph([helper.make_node("Pad", ["x", "pads"], ["y"], mode="reflect")], "pad", [x], [y], [pads])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
checker.check_model(model, full_check=True)
feeds = {"x": np.arange(3, dtype=np.float32)}
try:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = session.run(None, feeds)[0].tolist()
except Exception as error:
    found = "INVALID_ARGUMENT" if "exceeds maximum allowed" in str(error) else str(error)
reference = ReferenceEvaluator(model).run(None, feeds)[0].tolist()
print(f"onnxruntime: {found}")
print(f"reference:   {reference}")
sys.exit(None if found == "INVALID_ARGUMENT" and reference == [1.0, 2.0, 1.0, 0.0, 1.0, 2.0] else "the behaviour has changed")
END

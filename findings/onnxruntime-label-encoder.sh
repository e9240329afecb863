#!/usr/bin/env bash
# onnxruntime 1.32.0 (ai.onnx.ml.LabelEncoder 2 and 4, CPU): version 2 does not find the key NaN, version 4 takes the first of equal keys.
#
# Expected: version 2, "bit-wise comparison is used so even a float NaN can be mapped"; version 4, "if a key is repeated, the last key takes
# precedence" (https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html).
# Seen: version 2 maps NaN to the default -1 where the model has 7 for it; version 4 maps 5 to 10 where the model has 10, then 20.
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


def encoder(version, **mapping):
    node = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", **mapping)
    graph = helper.make_graph(
        [node],
        "encoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["n"])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


nan = encoder(2, keys_floats=[float("nan"), 1.0], values_int64s=[7, 8]).run(None, {"x": np.float32([np.nan, 1])})[0]
twice = encoder(4, keys_floats=[5.0, 5.0], values_int64s=[10, 20]).run(None, {"x": np.float32([5])})[0]
print(f"version 2, NaN -> 7 and 1 -> 8: {nan.tolist()}; version 4, 5 -> 10 and 5 -> 20: {twice.tolist()}")
sys.exit("the behaviour has changed" if (nan.tolist(), twice.tolist()) != ([-1, 8], [10]) else None)
END

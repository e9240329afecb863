#!/usr/bin/env bash
# onnx 1.23.2 (ReferenceEvaluator, Cast 25 to FLOAT8E8M0): infinity becomes NaN where it should saturate.
#
# Behaviour: with the defaults, saturate = 1 and round_mode = "up", a finite number beyond the range becomes the largest one, infinity becomes NaN.
# onnx.numpy_helper.to_float8e8m0 does the same.
# Expected: the table of special values of Cast (https://onnx.ai/onnx/operators/onnx__Cast.html): "Inf" under "saturate + up" is E8M0_MAX, 2 ** 127,
# as for x > E8M0_MAX; NaN is the column of no saturation.
# Seen, for [3e38, inf, nan]:
#     Cast:          [1.7014118e+38, nan, nan]
#     to_float8e8m0: [1.7014118e+38, nan, nan]
# Needs Python 3.11 or newer and PyPI. Fails where the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet onnx==1.23.2 ml_dtypes==0.6.0 numpy==2.4.6
"$work/venv/bin/python" -I - <<'END'
import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

model = helper.make_model(
    helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["small"], to=TensorProto.FLOAT8E8M0, saturate=1, round_mode="up"),
            helper.make_node("Cast", ["small"], ["y"], to=TensorProto.FLOAT),
        ],
        "cast",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    ),
    opset_imports=[helper.make_opsetid("", 25)],
    ir_version=12,
)
checker.check_model(model, full_check=True)
x = np.float32([3e38, np.inf, np.nan])
(cast,) = ReferenceEvaluator(model).run(None, {"x": x})
packed = numpy_helper.to_float8e8m0(x, saturate=True, round_mode="up").astype(np.float32)
print("Cast:         ", cast.tolist())
print("to_float8e8m0:", packed.tolist())
stated = np.float32([2.0**127, np.nan, np.nan])
same = all(np.array_equal(seen, stated, equal_nan=True) for seen in (cast, packed))
sys.exit(None if same else "the behaviour has changed")
END

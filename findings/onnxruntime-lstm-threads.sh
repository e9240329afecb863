#!/usr/bin/env bash
# onnxruntime 1.32.0 (com.microsoft.DynamicQuantizeLSTM, CPU): the number of threads decides the result, up to its first digit.
#
# Behaviour: one thread quantises the hidden state of the whole batch with one scale; two intra-op threads cut the batch in two, and each half gets a
# scale of its own. A row is coarse or exact by what shares its thread.
# Expected: a model's results depend on its inputs alone. The operator's text (onnxruntime's docs/ContribOperators.md) knows no parts of the batch, and a
# tensor that is quantised dynamically has one scale, from its minimum and maximum (https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html).
# Seen (x86-64, AVX-512), for a row of states 0.5 that shares its batch with a row of 500; without quantisation it is 0.1743:
#     1 thread:  0.0
#     2 threads: 0.1743
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
from onnx import TensorProto, checker, helper, numpy_helper

hidden = 4
weights = {
    "w": np.zeros((1, 1, 4 * hidden), np.int8),
    "r": np.full((1, hidden, 4 * hidden), 25, np.int8),
    "w_scale": np.float32([0.01]),
    "w_zero": np.int8([0]),
    "r_scale": np.float32([0.01]),
    "r_zero": np.int8([0]),
}
inputs = ["x", "w", "r", "", "", "h", "", "", "w_scale", "w_zero", "r_scale", "r_zero"]
model = helper.make_model(
    helper.make_graph(
        [helper.make_node("DynamicQuantizeLSTM", inputs, ["y"], domain="com.microsoft", hidden_size=hidden)],
        "lstm",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["steps", "batch", 1]),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, "batch", hidden]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["steps", 1, "batch", hidden])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    ),
    opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
    ir_version=8,
)
checker.check_model(model)
# one step for a batch of two; x is 0, so that the state alone decides: 0.5 in the first row, 500 in the second
feed = {"x": np.zeros((1, 2, 1), np.float32), "h": np.repeat(np.float32([[[0.5], [500]]]), hidden, axis=2)}

seen = []
for threads in 1, 2:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    (y,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feed)
    seen.append(float(y[0, 0, 0, 0]))
    print(f"threads {threads}:", y[0, 0, :, 0].tolist())

gate = 1 / (1 + np.exp(-0.5))
exact = gate * np.tanh(gate * np.tanh(0.5))
print(f"first row without quantisation: {exact:.4f}")
sys.exit(None if seen[0] == 0 and abs(seen[1] - exact) < 0.001 else "the behaviour has changed")
END

#!/usr/bin/env bash
# onnxruntime 1.32.0 (ai.onnx.ml.SVMClassifier 1, CPU): of two classes, post_transform SOFTMAX and SOFTMAX_ZERO give 1 - s and s, which are no
# softmax and lie outside of 0..1.
#
# Behaviour: with support vectors, two classes and no probabilities the scores of SOFTMAX are [1 - s, s], s being the decision; NONE gives [-s, s]
# and LOGISTIC the sigmoid of both.
# Expected: post_transform "indicates the transform to apply to the score"
# (https://onnx.ai/onnx/operators/onnx_aionnxml_SVMClassifier.html): the softmax of [-s, s], as ONNX's ReferenceEvaluator has it.
# Seen, for s = 2: onnxruntime [-1, 2], reference [0.018, 0.982].
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


def classifier(post_transform):
    """A vector of each class at 1 and -1, and x = 1: the decision is 1 + 1."""
    node = helper.make_node(
        "SVMClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", classlabels_ints=[0, 1], kernel_type="LINEAR",
        kernel_params=[0.0, 0.0, 3.0], vectors_per_class=[1, 1], support_vectors=[1.0, -1.0], coefficients=[1.0, -1.0], rho=[0.0],
        post_transform=post_transform,
    )
    graph = helper.make_graph(
        [node],
        "machine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2]),
        ],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


changed = False
softmax = [1 / (1 + np.exp(4)), 1 / (1 + np.exp(-4))]
for transform, stated, expected in ("NONE", [-2, 2], [-2, 2]), ("SOFTMAX", [-1, 2], softmax), ("SOFTMAX_ZERO", [-1, 2], softmax):
    model = classifier(transform)
    checker.check_model(model, full_check=True)
    feed = {"x": np.float32([[1]])}
    seen = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)[1]
    reference = ReferenceEvaluator(model).run(None, feed)[1]
    print(f"{transform}: onnxruntime {seen.tolist()}, reference {reference.tolist()}")
    changed |= not np.allclose(seen, stated) or not np.allclose(reference, expected, atol=1e-6)
sys.exit("the behaviour has changed" if changed else None)
END

#!/usr/bin/env bash
# onnxruntime 1.32.0 (ai.onnx.ml.TreeEnsembleRegressor 3, CPU): base_values is left out of a target for which no leaf votes.
#
# Behaviour: with two or more targets, one whose weights are all at leaves that a row does not reach is 0 and not its base value.
# Expected: "Base values for regression, added to final prediction after applying aggregate_function"
# (https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html): for every target. ONNX's ReferenceEvaluator does so.
# Seen, for base values 100 and 200 and a tree that gives 1 to the first target or 2 to the second:
#     onnxruntime: [[101, 0], [0, 202]]
#     reference:   [[101, 200], [100, 202]]
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

tree = helper.make_node(
    "TreeEnsembleRegressor",
    ["x"],
    ["y"],
    domain="ai.onnx.ml",
    n_targets=2,
    base_values=[100.0, 200.0],
    # node 0 asks x <= 0, nodes 1 and 2 are leaves: one votes for target 0, the other for target 1
    nodes_treeids=[0, 0, 0],
    nodes_nodeids=[0, 1, 2],
    nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
    nodes_featureids=[0, 0, 0],
    nodes_values=[0.0, 0.0, 0.0],
    nodes_truenodeids=[1, 0, 0],
    nodes_falsenodeids=[2, 0, 0],
    target_treeids=[0, 0],
    target_nodeids=[1, 2],
    target_ids=[0, 1],
    target_weights=[1.0, 2.0],
)
model = helper.make_model(
    helper.make_graph(
        [tree],
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    ),
    opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
    ir_version=8,
)
checker.check_model(model, full_check=True)
feed = {"x": np.float32([[-1], [1]])}
(seen,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
(reference,) = ReferenceEvaluator(model).run(None, feed)
print("onnxruntime:", seen.tolist())
print("reference:  ", reference.tolist())
stated = seen.tolist() == [[101, 0], [0, 202]] and reference.tolist() == [[101, 200], [100, 202]]
sys.exit(None if stated else "the behaviour has changed")
END

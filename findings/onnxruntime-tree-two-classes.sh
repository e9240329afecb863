#!/usr/bin/env bash
# onnxruntime 1.32.0 (ai.onnx.ml.TreeEnsembleClassifier 3, CPU): of two classes that both have weights, the label is not the one with the larger score,
# and need not be a label of the model at all.
#
# Behaviour: the label is 1 where the score of the second class is above 0, whatever the first one's is and whatever classlabels_int64s holds.
# The scores are right; with three classes the label is right too.
# Expected: output Y is the "top class for each point", and class_ids "are indices into this list" of labels
# (https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleClassifier.html). ONNX's ReferenceEvaluator does so.
# Seen, for scores [0.9, 0.1] and [0.2, 0.8]:
#     labels [0, 1]:      onnxruntime [1, 1], reference [0, 1]
#     labels [30, 40]:    onnxruntime [1, 1], reference [30, 40]
#     labels [30, 40, 50] (the third without weights): both [30, 40]
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


def classifier(labels):
    """One question, x <= 0; each leaf votes for both of the first two classes."""
    tree = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        classlabels_int64s=labels,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_featureids=[0, 0, 0],
        nodes_values=[0.0, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0, 0, 0, 0],
        class_nodeids=[1, 1, 2, 2],
        class_ids=[0, 1, 0, 1],
        class_weights=[0.9, 0.1, 0.2, 0.8],
    )
    graph = helper.make_graph(
        [tree],
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(labels)]),
        ],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


changed = False
for labels, stated in ([0, 1], [1, 1]), ([30, 40], [1, 1]), ([30, 40, 50], [30, 40]):
    model = classifier(labels)
    checker.check_model(model, full_check=True)
    feed = {"x": np.float32([[-1], [1]])}
    seen, scores = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
    reference, _ = ReferenceEvaluator(model).run(None, feed)
    print(f"labels {labels}: onnxruntime {seen.tolist()} with scores {scores.tolist()}, reference {reference.tolist()}")
    changed |= seen.tolist() != stated or reference.tolist() != labels[:2]
sys.exit("the behaviour has changed" if changed else None)
END

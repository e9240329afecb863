#!/usr/bin/env bash
# onnxruntime 1.32.0 (ReduceSum, CPU): integers are added in floating point; int64 loses digits, int32 does not wrap.
#
# Behaviour: ReduceSum of int64 loses the last digits of everything above 2^53, even where there is a single element to add. ReduceSum of int32 past
# 2^31 gives 2147483647, where the same sum by Add wraps.
# Expected: the sum of integers is an integer, exact where the type holds it (https://onnx.ai/onnx/operators/onnx__ReduceSum.html names tensor(int64)
# among its types; sums of identifiers, of times in nanoseconds and of sizes are of that kind), and one rule for what it does not hold.
# Seen (x86-64):
#     int64, one element 2^53 + 1: 9007199254740992 for 9007199254740993
#     int64, 2^60 + 1 and 2: 1152921504606846976 for 1152921504606846979
#     int32, 2^30 four times: 2147483647; by Add: 0
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
from onnx import checker, helper, numpy_helper


def run(nodes, x, shape, **constants):
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "sums",
            [helper.make_tensor_value_info("x", kind, x.shape)],
            [helper.make_tensor_value_info("y", kind, shape)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].ravel().tolist()


def total(x):
    return run([helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)], x, x.shape[1:], axes=np.array([0], np.int64))


single = total(np.array([[2**53 + 1]], np.int64))
two = total(np.array([2**60 + 1, 2], np.int64))
print("one element 2^53 + 1:", single, "exact:", 2**53 + 1)
print("2^60 + 1 and 2:", two, "exact:", 2**60 + 3)

large = np.full(4, 2**30, np.int32)
summed = total(large)
twice = [helper.make_node("Add", ["x", "x"], ["a"]), helper.make_node("Add", ["a", "a"], ["y"])]
added = run(twice, large[:1], [1])
print("2^30 four times:", summed, "by Add:", added)
same = single == [2**53] and two == [2**60] and summed == [2**31 - 1] and added == [0]
sys.exit(None if same else "the behaviour has changed")
END

"""The conformance runner: what becomes of a case is told apart, and no case ends the run."""

import os
import signal
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.conformance.backends import Backend, onnxruntime_backend
from benchmarks.conformance.isolation import Limits, Result, run_cases
from benchmarks.conformance.structural import bake
from benchmarks.conformance.suite import Case
from benchmarks.conformance.totals import table, totals


def reshape_model() -> onnx.ModelProto:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3]),
        helper.make_tensor_value_info("shape", TensorProto.INT64, [1]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


X = np.arange(6, dtype=np.float32).reshape(2, 3)
CASE = Case(
    name="test_reshape",
    group="node",
    domain="ai.onnx",
    op="Reshape",
    ops=("Reshape",),
    opset=17,
    rtol=1e-3,
    atol=1e-7,
    load=lambda: (reshape_model(), [([X, np.array([6])], [X.reshape(6)])]),
)


def dies(*_: object) -> list:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def hangs(*_: object) -> list:
    time.sleep(60)
    return []


def refuses(*_: object) -> list:
    raise NotImplementedError("Reshape")


def breaks(*_: object) -> list:
    raise KeyError("shape")


def outcome(run: object, seconds: float = 20, baked: bool = False) -> Result:
    found: list[Result] = []
    backend = Backend(run, lambda error: isinstance(error, NotImplementedError))
    run_cases([CASE], backend, Limits(seconds), jobs=1, baked=baked, report=lambda _, result: found.append(result))
    return found[0]


@pytest.mark.parametrize(
    ("run", "status", "kind"),
    [
        (lambda *_: [X.reshape(6)], "passed", ""),
        (lambda *_: [np.where(X == 0, 3e-7, X).astype(np.float32).reshape(6)], "rounding", "value"),
        (lambda *_: [np.where(X == 0, 1e-6, X).astype(np.float32).reshape(6)], "wrong", "value"),
        (lambda *_: [np.where(X == 0, np.nan, X).astype(np.float32).reshape(6)], "wrong", "value"),
        (lambda *_: [X.reshape(6) + 1], "wrong", "value"),
        (lambda *_: [X], "wrong", "shape"),
        (lambda *_: [X.reshape(6).astype(np.float64)], "wrong", "dtype"),
        (lambda *_: [], "wrong", "kind"),
        (refuses, "unsupported", "refused"),
        (breaks, "error", "KeyError"),
        (dies, "crash", "SIGKILL"),
    ],
)
def test_what_becomes_of_a_case_is_told_apart(run: object, status: str, kind: str) -> None:
    result = outcome(run)
    assert (result.status, result.kind) == (status, kind)


def test_a_case_that_hangs_is_ended() -> None:
    assert outcome(hangs, seconds=0.3).kind == "time-out"


def test_baking_makes_structural_inputs_initializers() -> None:
    model, inputs = bake(reshape_model(), [X, np.array([6])])
    assert [value.name for value in model.graph.input] == ["x"]
    assert [tensor.name for tensor in model.graph.initializer] == ["shape"]
    assert len(inputs) == 1
    assert outcome(onnxruntime_backend().run, baked=True).status == "passed"


def test_totals_count_by_group_and_op() -> None:
    rows = {
        "test_a": {"status": "passed", "kind": "", "group": "node", "domain": "ai.onnx", "op": "Add"},
        "test_b": {"status": "wrong", "kind": "value", "group": "node", "domain": "ai.onnx", "op": "Add"},
        "test_c": {"status": "passed", "kind": "", "group": "simple", "domain": "ai.onnx", "op": ""},
    }
    counted = totals(rows)
    assert counted["totals"] == {
        "passed": 2,
        "unsupported": 0,
        "rounding": 0,
        "wrong": 1,
        "error": 0,
        "crash": 0,
        "total": 3,
    }
    assert counted["by_op"] == {
        "Add": {"passed": 1, "unsupported": 0, "rounding": 0, "wrong": 1, "error": 0, "crash": 0, "total": 2}
    }
    text = table([{"meta": {"backend": "mlc", "baked": False, "seconds": 1}, **counted}])
    assert "| node | 1 of 2 |" in text
    assert "| ops, some case passed | 1 of 1 |" in text

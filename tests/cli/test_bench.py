"""`mlc bench`: what it counts and how it reports. No test is about a time."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from mlc.ir.kernel.machine_rates import Core, MachineRates

QUICK = ["--seconds", "0.02"]
STEPS, BATCH, WIDTH, HIDDEN = 7, 3, 5, 16


def bench(mlc: Callable, *words: object) -> dict:
    outcome = mlc("bench", *words, *QUICK, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.fixture
def recurrent(tmp_path: Path) -> Path:
    """An LSTM over x f32[T, N, 5]; its product with the state runs once per step."""
    rng = np.random.default_rng(0)
    shapes = {"w": (1, 4 * HIDDEN, WIDTH), "r": (1, 4 * HIDDEN, HIDDEN)}
    weights = [onnx.numpy_helper.from_array(rng.random(s, np.float32), name) for name, s in shapes.items()]
    node = onnx.helper.make_node("LSTM", ["x", "w", "r"], ["y"], "steps", hidden_size=HIDDEN)
    info = onnx.helper.make_tensor_value_info
    inputs = [info("x", onnx.TensorProto.FLOAT, ["T", "N", WIDTH])]
    outputs = [info("y", onnx.TensorProto.FLOAT, ["T", 1, "N", HIDDEN])]
    graph = onnx.helper.make_graph([node], "recurrent", inputs, outputs, weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "recurrent.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_work_inside_a_loop_counts_every_turn(mlc: Callable, recurrent: Path) -> None:
    found = bench(mlc, recurrent, "--per-op", "--sizes", f"T={STEPS},N={BATCH}", "--sizes", f"T=1,N={BATCH}")
    products = {}
    for case in found["cases"]:
        rows = [row for row in case["kernels"] if row["flops"]]
        steps = case["sizes"]["T"]
        assert {row["turns"] for row in rows} <= {1, steps}
        product = 2 * BATCH * HIDDEN * 4 * HIDDEN
        (row,) = [row for row in rows if product * steps <= row["flops"] < 1.5 * product * steps]
        assert row["turns"] == steps
        products[steps] = row["flops"], row["bytes"]
    assert products[STEPS] == tuple(STEPS * value for value in products[1])


def test_kernels_have_medians_and_spread_and_a_total_beside_the_whole_call(mlc: Callable, small: Path) -> None:
    (case,) = bench(mlc, small, "--per-op")["cases"]
    assert "product" in {node for row in case["kernels"] for node in row["source"]}
    for row in case["kernels"]:
        assert row["p10"] <= row["ms"] <= row["p90"] and row["turns"] == 1
    assert sum(row["share"] for row in case["kernels"]) == pytest.approx(1)
    assert case["kernel_times"].keys() == {"total", "end_to_end", "runs"} and case["kernel_times"]["runs"] >= 1


def test_the_report_says_what_was_measured_where(mlc: Callable, small: Path) -> None:
    found = bench(mlc, small, "--against", "interpreter", "--threads", "1")
    assert (found["schema"], found["command"], found["unit"], found["threads"]) == (1, "bench", "ms", 1)
    assert {"mlc", "python", "numpy", "llvmlite"} <= found["versions"].keys() and found["target"]
    (case,) = found["cases"]
    assert case["inputs"]["x"]["dtype"] == "float32" and case["inputs"]["x"]["shape"][1] == 4
    assert case["latencies"].keys() == {"mlc", "interpreter"} and case["threads"] == 1
    for row in case["latencies"].values():
        assert row["least"] <= row["p10"] <= row["median"] <= row["p90"] <= row["p99"] and row["runs"] >= 1
        assert row["items_per_second"] == pytest.approx(row["calls_per_second"] * case["items"])


def test_several_sizes_and_callers_are_measured_in_one_run(mlc: Callable, small: Path) -> None:
    found = bench(mlc, small, "--sizes", "N=1", "--sizes", "N=8", "--callers", "3", "--against", "interpreter")
    assert [case["sizes"] for case in found["cases"]] == [{"N": 1}, {"N": 8}]
    assert [case["items"] for case in found["cases"]] == [1, 8]
    for case in found["cases"]:
        assert case["inputs"]["x"]["shape"] == [case["items"], 4]
        assert case["together"].keys() == {"mlc", "interpreter"} and case["together"]["mlc"]["runs"] >= 3
    text = mlc("bench", small, *QUICK, "--sizes", "N=8", "--callers", "2", "--per-op", "--against", "interpreter").out
    for word in ("x [8, 4]", "latency ms", "p10", "items/s", "2 callers", "interpreter", "end to end"):
        assert word in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--against", "tpu"], "unknown engine 'tpu'"),
        (["--sizes", "M=8"], "unknown dimension 'M'"),
        (["--sizes", "N=1..8"], "N is a range"),
        (["--callers", "0"], "not a positive number"),
        (["--seconds", "0"], "is no time"),
    ],
)
def test_what_cannot_be_measured_is_refused(mlc: Callable, small: Path, flags: list[str], message: str) -> None:
    outcome = mlc("bench", small, *flags)
    assert outcome.code == 1 and message in outcome.err


def test_kernels_are_predicted_beside_what_is_measured(
    mlc: Callable, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = Core(MachineRates(4.0, 2, 2, 200, 100, 40), 1 << 20, 32 << 20)
    monkeypatch.setattr("mlc.insight.timing.core_at_hand", lambda target: core)
    monkeypatch.setattr("mlc.insight.prediction.core_at_hand", lambda target: core)
    (case,) = bench(mlc, small, "--per-op", "--threads", "1")["cases"]
    for row in case["kernels"]:
        assert row["predicted"] > row["roofline"] > 0 and row["bound"] and row["threads"] == 1
    shown = mlc("bench", small, "--per-op", *QUICK).out
    assert "predicted" in shown and "bound by" in shown and "of roof" in shown
    shown = mlc("explain", small, "--dim", "N=2").out
    assert "predicted 0." in shown and "of the roofline, bound by" in shown
    assert "  predicted 0." not in mlc("explain", small).out  # at what size?

"""What is predicted of more ranks than there are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlc.cli import main
from mlc.dist.efficiency import JITTER, Network, Stage, backward_stages, predictions, step_seconds
from mlc.errors import MlcError
from mlc.ir import builder as g
from mlc.ir.module import Module

STAGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1 << 24)), min_size=1, max_size=8)


def model() -> Module:
    """Two products, of which the second is twice the work; a weight that both read."""
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", 8), "f32")]) as (x,):
        shared = g.weight(np.zeros((8, 8), np.float32), name="shared")
        own = g.weight(np.zeros((8, 16), np.float32), name="own")
        h = g.matmul(x, shared)
        m.outputs([("y", g.matmul(h, own)), ("z", g.matmul(h, shared))])
    return m.finish()


def test_a_gradient_is_final_behind_the_first_op_that_reads_the_weight() -> None:
    work = [8 * 8, 8 * 16, 8 * 8]  # of a row, in the order of the forward pass
    found = backward_stages(model(), {"N": 3})
    assert [stage.bytes for stage in found] == [0, 4 * 8 * 16, 4 * 8 * 8]
    np.testing.assert_allclose([stage.share for stage in found], np.array(work[::-1]) / sum(work))


def test_a_sum_takes_what_the_less_of_ring_and_tree_does() -> None:
    network = Network(latency=1e-3, bandwidth=1e9)
    assert network.sum_seconds(1e9, 1) == 0
    assert network.sum_seconds(1e9, 2) == pytest.approx(2 * (1e-3 + 0.5))
    assert network.sum_seconds(0, 1024) == pytest.approx(2 * 10 * 1e-3)  # the tree


def test_buckets_leave_while_the_backward_pass_goes_on() -> None:
    """By hand: 1 s of forward pass; 2 s of backward pass with 2 GB of gradients that appear evenly; buckets of 1 GB take 1 s each."""
    slow = 3 * (1 + JITTER * math.sqrt(2 * math.log(2)))
    network = Network(latency=0, bandwidth=1e9)
    stages = [Stage(1.0, 2 * 10**9)]
    assert step_seconds(stages, 3, network, 2, 10**9) == pytest.approx(slow + 1)
    assert step_seconds(stages, 3, network, 2, 2 * 10**9) == pytest.approx(slow + 2)
    assert step_seconds(stages, 3, network, 2, 1, overlap=False) == pytest.approx(slow + 2)


@given(stages=STAGES, ranks=st.integers(1, 4096), seconds=st.floats(1e-3, 10))
def test_beside_the_backward_pass_is_never_worse_than_behind_it(stages, ranks, seconds) -> None:
    total = sum(share for share, _ in stages) or 1
    made = [Stage(share / total, bytes) for share, bytes in stages]
    (found,) = predictions(made, seconds, Network(0, 1e9), [ranks])
    assert 0 < found.at_the_end <= found.overlapped + 1e-9 <= 1 + 2e-9


@pytest.mark.parametrize(("text", "bandwidth"), [("10Gb", 1.1e9), ("4x200gb", 88e9), ("2.5Gb", 0.275e9)])
def test_a_network_is_said_by_its_rate(text: str, bandwidth: float) -> None:
    assert Network.of(text).bandwidth == pytest.approx(bandwidth)


@pytest.mark.parametrize("text", ["", "fast", "0Gb", "0x10Gb", "10", "-1Gb"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(MlcError, match="is no network"):
        Network.of(text)


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.mlir"
    module = model()
    path.write_text(str(module))
    from mlc.ir import safetensors

    safetensors.write(module.weights, path.with_suffix(".safetensors"))
    assert main(["dist", "plan", str(path), "--ranks", "1..4", "--step-ms", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["ranks"] for row in found["predicted"]] == [1, 2, 4]
    assert found["predicted"][0]["overlapped"] == 1 and found["gradient_bytes"] == 4 * 8 * 24
    assert main(["dist", "plan", str(path), "--ranks", "0..4"]) == 1
    assert main(["dist", "plan", str(path), "--step-ms", "0"]) == 1

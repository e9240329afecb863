"""State dicts as safetensors files: what a reader of the format finds in them, and what is read back."""

import json
from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc import nn
from tests.nn.calls import random


def plain_read(path: Path) -> dict[str, np.ndarray]:
    """The file as the format's description has it."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    dtypes = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1"}
    found, end = {}, 0
    for name, item in header.items():
        begin, last = item["data_offsets"]
        assert begin == end  # nothing lies between
        found[name] = np.frombuffer(data[8 + length + begin : 8 + length + last], dtypes[item["dtype"]]).reshape(
            item["shape"]
        )
        end = last
    assert end == len(data) - 8 - length
    return found


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(3, 5, 2), nn.BatchNorm1d(5), nn.Flatten(), nn.Linear(5, 7))


def test_a_file_holds_the_state_and_nothing_else(tmp_path: Path) -> None:
    net, other = network(), network()
    net(random((2, 3, 2), dtype="float32"))
    path = tmp_path / "net.safetensors"
    net.save(path)
    found = plain_read(path)
    assert list(found) == list(net.state_dict())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(found[name], np.asarray(value))
    other.load(path)
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(found[name], np.asarray(value))
    assert int(other[1].num_batches_tracked) == 1


def test_arrays_that_lie_otherwise_are_written_row_by_row(tmp_path: Path) -> None:
    x = random((3, 4))
    state = {"turned": x.T, "part": x[::2, 1:], "none": x[:0], "one": np.float32(3), "twice": x, "again": x}
    nn.write_state(state, tmp_path / "x")
    for found in (plain_read(tmp_path / "x"), nn.read_state(tmp_path / "x")):
        assert list(found) == list(state)
        for name, value in state.items():
            np.testing.assert_array_equal(np.asarray(found[name]), value)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    net = network()
    with pytest.raises(mlc.MlcError, match="cannot read .*net: no such file"):
        net.load(tmp_path / "net")
    (tmp_path / "net").write_bytes(b"0123456789")
    with pytest.raises(mlc.MlcError, match="the file of weights is damaged"):
        net.load(tmp_path / "net")
    nn.write_state({"0.weight": random((5, 3, 2))}, tmp_path / "net")
    with pytest.raises(mlc.MlcError, match=r"does not fit Sequential\n(.*\n)?  Missing: 0.bias, 1.weight"):
        net.load(tmp_path / "net")

"""Weights written to a safetensors file come back as they were; a damaged file is an error that says so."""

import json
from itertools import pairwise
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from mlc.errors import InvalidModel
from mlc.ir import safetensors
from mlc.ir.weights import WeightStore


def store() -> WeightStore:
    found = WeightStore()
    found.add(np.arange(6, dtype=np.float32).reshape(2, 3), "layer.weight")
    found.add(np.array([1.5, -2], ml_dtypes.bfloat16), "half")
    found.add(np.zeros((0, 4), np.int64), "empty")
    found.add(np.array([True, False, True]), "mask")
    found.add(np.array(7, np.uint8), "scalar")
    return found


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    before, after = store(), WeightStore()
    safetensors.write(before, tmp_path / "w.safetensors")
    safetensors.add_file(after, tmp_path / "w.safetensors")
    assert list(after) == list(before)
    for key in before:
        assert after.type_of(key) == before.type_of(key)
        assert np.array_equal(np.asarray(after.get(key)), before.get(key))
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_every_byte_belongs_to_a_tensor_as_the_format_demands(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.write(store(), path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    spans = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    assert spans[0][0] == 0 and spans[-1][1] == len(whole) - 8 - length
    assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_a_negative_extent_is_an_error(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    with pytest.raises(InvalidModel, match="negative extent"):
        safetensors.add_file(WeightStore(), path)


@pytest.mark.parametrize("keep", [4, 20, 100, -1])
def test_a_truncated_file_is_an_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.write(store(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 64] if keep == -1 else whole[:keep])
    with pytest.raises(InvalidModel, match="damaged"):
        safetensors.add_file(WeightStore(), path)

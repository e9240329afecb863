"""Weights written to a safetensors file come back as they were; a damaged file is an error that says so."""

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


@pytest.mark.parametrize("keep", [4, 20, 100, -1])
def test_a_truncated_file_is_an_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.write(store(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 64] if keep == -1 else whole[:keep])
    with pytest.raises(InvalidModel, match="damaged"):
        safetensors.add_file(WeightStore(), path)

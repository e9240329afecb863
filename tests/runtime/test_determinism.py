"""The same inputs give the same bits: for any number of threads and of callers, in any run, and for an item whatever is in its batch."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import mlc
from tests.onnx_models import PATHS, signature

each_architecture = pytest.mark.parametrize(
    "path", [p for p in PATHS if p.name.endswith("dynamo.onnx")], ids=lambda path: path.name.split(".")[0]
)


def bits(arrays: list[np.ndarray]) -> list[bytes]:
    return [array.tobytes() for array in arrays]


@each_architecture
def test_threads_callers_and_runs_give_the_same_bits(path: Path) -> None:
    feeds = signature(path).feeds(seed=1)
    alone, shared = mlc.compile(path, threads=1), mlc.compile(path, threads=2)
    want = bits(alone.run(None, feeds))
    found: list[list[bytes]] = []

    def call() -> None:
        for _ in range(3):
            found.append(bits(shared.run(None, feeds)))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 9
    assert all(each == want for each in found)


@each_architecture
def test_an_item_has_the_same_bits_in_any_batch(path: Path) -> None:
    known = signature(path)
    batch = "N"
    executable = mlc.compile(path, threads=2)
    inputs = [(item.name, item.dims.index(batch)) for item in known.inputs if batch in item.dims]
    feeds = known.feeds({batch: 7}, seed=2)
    whole = executable.run(None, feeds)
    axes = [spec.shape.index(batch) for spec in executable.get_outputs()]
    for first, count in ((0, 1), (3, 1), (6, 1), (2, 4)):
        part = dict(feeds)
        for name, axis in inputs:
            part[name] = np.ascontiguousarray(np.take(feeds[name], range(first, first + count), axis))
        for got, all_, axis in zip(executable.run(None, part), whole, axes, strict=True):
            np.testing.assert_array_equal(got, np.take(all_, range(first, first + count), axis))

"""The same inputs give the same bits: for any number of threads and of callers, in any run, and for an item whatever is in its batch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc.demo import MODEL
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


PACKAGES = """
import hashlib, os, sys
import mlc
from mlc.ir import builder as g
if "one" in sys.argv[4:]:
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
m = g.module_builder("sizes")
with m.function(inputs=[("x", ("beta*alpha + gamma", "alpha"), "f32"), ("y", ("gamma", "beta"), "f32")]) as (x, y):
    m.outputs([("p", g.relu(x)), ("q", g.exp(y)), ("r", g.matmul(g.transpose(x, [1, 0]), x))])
c = g.module_builder("counted")
with c.function(inputs=[("x", ("N", "M"), "f32"), ("keep", ("N",), "bool")]) as (x, keep):
    kept = g.gather(x, g.squeeze(g.nonzero(keep), [1]), 0)
    c.outputs([("y", g.relu(g.reshape(kept, [g.shape_of(kept)[0] * g.shape_of(x)[1]])))])
for source in (m.finish(), c.finish(), sys.argv[1]):
    mlc.compile(source, cache=sys.argv[3] == "cache").save(sys.argv[2])
    print(hashlib.sha256(open(sys.argv[2], "rb").read()).hexdigest())
"""


def test_equal_models_give_equal_packages_in_any_process(tmp_path: Path) -> None:
    """Whatever the seed of hashes, the number of CPUs and threads, who compiles which kernel, and what the cache has."""

    def packages(seed: int, *settings: str, **environment: str) -> list[str]:
        run = subprocess.run(
            [sys.executable, "-c", PACKAGES, str(MODEL), str(tmp_path / f"{seed}.mlc"), *settings],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed), "MLC_CACHE_DIR": str(tmp_path / "cache"), **environment},
        )
        return run.stdout.split()

    want = packages(1, "none")
    assert len(set(want)) == 3
    assert packages(2, "none", "one", MLC_NUM_THREADS="3") == want
    assert packages(3, "cache", MLC_NUM_THREADS="1") == want  # nothing is in it
    assert packages(4, "cache") == want  # all is in it
    assert packages(5, "cache", "one", MLC_CACHE_DIR=str(tmp_path / "empty")) == want

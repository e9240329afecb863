"""One native code for every size, on real graphs in miniature: new sizes compile nothing, cost little to remember, and leave memory flat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import mlc
from mlc.errors import ShapeError
from mlc.ir import builder as g
from mlc.ir.types import shape_of
from mlc.runtime.binding import KEPT
from mlc.runtime.executable import Executable
from tests.onnx_models import PATHS, signature

SYMBOLIC = ("bert", "gpt2_cache", "resnet50", "unet", "lstm")
BINDINGS = 25


def _path(name: str) -> Path:
    return next(path for path in PATHS if path.name == f"{name}.symbolic.legacy.onnx")


def _compiled(path: Path) -> Executable:
    executable = mlc.compile(path, threads=1)
    assert isinstance(executable, Executable)
    return executable


@pytest.mark.parametrize("name", SYMBOLIC)
def test_random_sizes_agree_with_onnxruntime_and_compile_nothing(name: str) -> None:
    path = _path(name)
    executable, known = _compiled(path), signature(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(path, options)
    rng = np.random.default_rng(7)
    least = {symbol: known.low.get(symbol, 1) for symbol in known.sizes}
    for seed, sizes in enumerate([least, *(known.random_sizes("legacy", rng) for _ in range(BINDINGS - 1))]):
        feeds = known.feeds(sizes, seed)
        for got, want in zip(executable.run(None, feeds), session.run(None, feeds), strict=True):
            assert got.shape == want.shape, sizes
            if want.size:
                assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max(), sizes
    assert executable.native_compilations == 0


def test_a_cache_without_a_past_is_a_size_like_any_other() -> None:
    path = _path("gpt2_cache")
    assert signature(path).low["P"] == 0
    feeds = signature(path).feeds({"P": 0})
    assert any(0 in array.shape for array in feeds.values())
    assert all(np.isfinite(output).all() for output in _compiled(path).run(None, feeds))


def test_bindings_of_many_shapes_are_forgotten_but_for_the_latest() -> None:
    path = _path("lstm")
    executable, known = _compiled(path), signature(path)
    first, second, *_ = known.symbols("legacy")
    for index in range(3 * KEPT):
        executable.run(None, known.feeds({first: 1 + index // 16, second: 1 + index % 16}))
        assert len(executable._bindings) == min(index + 1, KEPT)


def test_memory_of_a_call_does_not_grow_with_the_shapes_before() -> None:
    path = _path("bert")
    executable, known = _compiled(path), signature(path)
    largest = known.feeds({"N": 8, "S": 32})
    executable.run(None, largest)
    sizes = [workspace.memory.bytes for workspace in executable._free]
    for index in range(200):
        executable.run(None, known.feeds({"N": 1 + index % 8, "S": 1 + index // 8}))
    assert [workspace.memory.bytes for workspace in executable._free] == sizes


@pytest.mark.parametrize(("columns", "words"), [(1, "beyond 64 bits"), (0, "would have the shape")])
def test_products_of_sizes_that_no_integer_holds_are_refused(columns: int, words: str) -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", 0), "f32")]) as (x,):
        rows = shape_of(x)[0]
        ones = g.full([rows * rows, columns], 1, "f32")
        m.outputs([("y", g.reduce(ones, [0, 1], "sum") if columns else ones)])
    with pytest.raises(ShapeError, match=words):
        mlc.compile(m.finish())(np.zeros((1 << 33, 0), np.float32))

"""Real exported graphs in miniature: what mlc imports gives onnxruntime's results at every binding."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import mlc
from mlc.frontends.onnx import load
from mlc.ir import interpreter
from tests.onnx_models import PATHS, bindings, signature

each_miniature = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name.removesuffix(".onnx"))


def expected(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # some exports declare wrong sizes of inner values: onnxruntime warns
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options).run(None, feeds)


def assert_agree(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    assert [(g.dtype, g.shape) for g in got] == [(w.dtype, w.shape) for w in want]
    for g, w in zip(got, want, strict=True):
        if w.size:
            assert np.abs(g - w).max() <= 1e-5 * np.abs(w).max()


@each_miniature
def test_the_imported_module_interpreted_agrees_with_onnxruntime(path: Path) -> None:
    module = load(path)
    for seed, sizes in enumerate(bindings(path, count=3)):
        feeds = signature(path).feeds(sizes, seed)
        assert_agree(interpreter.run(module, [feeds[name] for name in module.input_names]), expected(path, feeds))


@each_miniature
def test_one_native_code_agrees_with_onnxruntime_at_every_binding(path: Path) -> None:
    executable = mlc.compile(path, threads=2)
    compiled = executable.native_compilations
    for seed, sizes in enumerate(bindings(path, count=6)):
        feeds = signature(path).feeds(sizes, seed)
        assert_agree(executable.run(None, feeds), expected(path, feeds))
    assert executable.native_compilations == compiled

"""MODEL as `file.py:function`: traced for the arguments that --args describes."""

from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = """
import mlc
import mlc.numpy as mnp

def layer(x, w, scale=1.0):
    return mnp.tanh(x @ w) * scale

@mlc.jit(static=["kind"])
def act(x, kind="relu"):
    return mnp.maximum(x, 0) if kind == "relu" else -x
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return path


def test_a_function_is_traced_for_shapes_and_numbers(mlc: Callable, file: Path) -> None:
    outcome = mlc("trace", f"{file}:layer", "--args", "f64[N,3]", "f64[3,4]", "0.5", "--locations")
    assert (
        outcome.code == 0 and "graph.symbols = {N = [0 : i64]}" in outcome.out and 'graph.name = "scale"' in outcome.out
    )
    assert f'loc("{file}":6:' in outcome.out
    fixed = mlc("trace", f"{file}:layer", "--args", "[N,3]", "[3,4]", "--dim", "N=2")
    assert "tensor<2x4xf32>" in fixed.out and "scale" not in fixed.out


def test_a_function_is_compiled_run_and_compared(mlc: Callable, file: Path, tmp_path: Path) -> None:
    package = tmp_path / "net.mlc"
    assert mlc("compile", f"{file}:layer", "--args", "f32[N,3]", "f32[3,4]", "-o", package).code == 0
    assert "f32[5, 4]" in mlc("run", package, "--dim", "N=5").out
    assert "f32[2, 3]" in mlc("run", f"{file}:act", "--args", "f32[2,3]").out
    assert "agrees" in mlc("compare", f"{file}:act", "--args", "f32[2,3]").out
    assert mlc("trace", f"{file}:act", "--args", "f32[2,3]", "-o", tmp_path / "act.mlir").code == 0
    assert mlc("run", tmp_path / "act.mlir").code == 0


WRONG = {
    "net.py:layr": "Did you mean 'layer'?",
    "net.py": "Name a function in it",
    "nets.py:layer": "no such file",
    "net.py:layer --args f32[2,3": "no argument",
    "net.py:layer --args f31[2,3]": "no dtype 'f31'",
    "net.py:layer --args f32[2,3] f32[4,4]": "inner dimensions differ, 3 and 4",
    "net.py:layer --args f32[2,3]": "missing a required argument: 'w'",
    "net.py:layer --args f32[2,3] f32[3,3] --dim M=1..2": "unknown dimension 'M'",
    "net.py:act --args f32[2] --shape x:N": "--shape is for ONNX models",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_traced_is_refused_in_words(words: str, mlc: Callable, file: Path) -> None:
    name, *flags = words.split()
    outcome = mlc("trace", file.parent / name, *flags)
    assert outcome.code == 1 and WRONG[words] in outcome.err


def test_arguments_are_for_functions(mlc: Callable, small: Path) -> None:
    outcome = mlc("check", small, "--args", "f32[2]")
    assert outcome.code == 1 and "file.py:function" in outcome.err
    assert "no Python function" in mlc("trace", small).err

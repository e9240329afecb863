"""Small models as files, and the command line as a function."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from mlc.cli import main

SMALL = """
<ir_version: 9, opset_import: ["" : 17]>
small (float[N, 4] x, float[N, 30] z) => (float[N, 30] y)
<float[4, 30] w, float[30] b>
{
   [product] p = MatMul(x, w)
   [shift] q = Add(p, b)
   [cut] r = Relu(q)
   [mix] y = Mul(r, z)
}
"""

RESHAPED = """
<ir_version: 9, opset_import: ["" : 17]>
reshaped (float[6] x, int64[2] shape) => (float[A, B] y)
{
   [fold] r = Reshape(x, shape)
   [twice] y = Add(r, r)
}
"""

FOREIGN = """
<ir_version: 9, opset_import: ["" : 17, "com.acme" : 1]>
foreign (float[N, 4] x) => (float[N, 4] y)
{
   [before] a = Relu(x)
   [strange] b = com.acme.FancyNorm(a)
   [other] c = com.acme.FancyNorm(b)
   [after] y = Relu(c)
}
"""

MISMATCHED = """
<ir_version: 9, opset_import: ["" : 17]>
mismatched (float[2, 8] x) => (float[2, 4] y)
<float[7, 4] w>
{
   [wrong] y = MatMul(x, w)
}
"""


def save(text: str, path: Path) -> Path:
    """Parse a model in ONNX's text syntax, make weights of random values of what it declares beside its inputs, and write it as binary."""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for declared in model.graph.value_info:
        shape = [dim.dim_value for dim in declared.type.tensor_type.shape.dim]
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, declared.name))
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """y = relu(x @ w + b) * z for x f32[N, 4], z f32[N, 30]."""
    return save(SMALL, tmp_path / "small.onnx")


@pytest.fixture
def reshaped(tmp_path: Path) -> Path:
    """The input `shape` decides the shape of the output."""
    return save(RESHAPED, tmp_path / "reshaped.onnx")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Two nodes are of an operator that is not ONNX's."""
    return save(FOREIGN, tmp_path / "foreign.onnx")


@pytest.fixture
def mismatched(tmp_path: Path) -> Path:
    """A matrix product whose inner dimensions differ."""
    return save(MISMATCHED, tmp_path / "mismatched.onnx")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def mlc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Outcome]:
    """`mlc("run", path)` runs a command in an empty folder and returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run

"""Packages whose code does not run here: compiled again from what they hold, or refused by name."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc.ir import builder as g
from mlc.ir.samples import random_inputs
from mlc.runtime.package import read
from tests.runtime.packages import rewritten

MODELS = Path(__file__).parents[1] / "onnx_models"


def foreign(package: Path, **members: Callable[[str], str]) -> Path:
    """The package, with code for a CPU that has what this machine lacks; `members` rewrite others by the start of their names."""

    def manifest(text: str) -> str:
        content = json.loads(text)
        content["target"].update(name="future", features="+quantum")
        return json.dumps(content)

    return rewritten(package, package.with_name("foreign.mlc"), {"manifest": manifest, **members})


@pytest.fixture
def package(tmp_path: Path) -> Path:
    mlc.compile(MODELS.parents[1] / "mlc/demo/digits.onnx", threads=1).save(tmp_path / "digits.mlc")
    return tmp_path / "digits.mlc"


@pytest.mark.parametrize("name", ["gpt2_cache.symbolic.dynamo", "mobilenet_v2.symbolic.legacy"])
def test_code_for_another_cpu_is_compiled_again_and_computes_the_same(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = mlc.load(MODELS / f"{name}.onnx")
    inputs = random_inputs(module)
    exe = mlc.compile(module, arch="x86-64-v2", threads=1)
    exe.save(tmp_path / "model.mlc")
    with caplog.at_level(logging.WARNING, "mlc"):
        again = mlc.load_executable(foreign(tmp_path / "model.mlc"), threads=1)
    assert "this machine has no quantum: it is compiled again" in caplog.text
    assert again.report["rebuilt"] == {"code_for": "future", "missing": ["quantum"]}
    assert again.report["source"] == exe.report["source"]
    assert {s for step in again.plan.steps for s in step.source} == {s for step in exe.plan.steps for s in step.source}
    again.save(tmp_path / "again.mlc")
    for made in (again, mlc.load_executable(tmp_path / "again.mlc", strict=True)):
        for want, found in zip(exe(*inputs), made(*inputs), strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_a_package_holds_each_weight_once(package: Path) -> None:
    stored = read(package).weights
    assert any(".packed." in key for key in stored)
    assert not any(key.split(".packed.")[0] in stored for key in stored if ".packed." in key)


def test_strict_names_what_the_machine_lacks(package: Path) -> None:
    with pytest.raises(mlc.TargetUnavailable, match="code for future does not run here: this machine has no quantum"):
        mlc.load_executable(foreign(package), strict=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], r"module.mlir:\d+:\d+: "),
        (lambda text: text.replace('weight = "', 'weight = "un'), "not packed as the module says"),
        (lambda text: text.replace("kernel.packed", "kernel.other"), "it lacks the weight"),
        (lambda text: text.replace("shape = [", "shape = [3 : i64, "), "has another size"),
        (lambda text: "", "could not parse entire input"),
    ],
)
def test_a_damaged_module_is_an_error_about_the_package(
    package: Path, change: Callable[[str], str], message: str
) -> None:
    path = foreign(package, module=change)
    with pytest.raises(mlc.InvalidModel, match=message) as caught:
        mlc.load_executable(path)
    assert caught.value.file == f"{path}: module.mlir"


def test_a_weight_that_nothing_reads_is_no_part_of_a_package(tmp_path: Path) -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", 8), "f32")]) as (x,):
        g.weight(np.ones((4, 64), np.float32), name="unused")
        m.outputs([("y", g.matmul(x, g.weight(np.eye(8, dtype=np.float32), name="used")))])
    mlc.compile(m.finish(), passes="cse").save(tmp_path / "model.mlc")
    again = mlc.load_executable(foreign(tmp_path / "model.mlc"))
    assert not any("unused" in key for key in again.weights)
    np.testing.assert_array_equal(again(np.eye(8, dtype=np.float32)), np.eye(8))

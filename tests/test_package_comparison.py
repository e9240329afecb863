"""Two packages on the same inputs: which kernel differs first, and whose numbers are wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import mlc
from mlc.errors import MlcError
from mlc.ir.kernel.plan import Lifetime
from mlc.package_comparison import PackageComparison, Side, compare_executables
from mlc.runtime import portable
from mlc.runtime.executable import Executable

MODEL = """
<ir_version: 9, opset_import: ["" : 17]>
chain (float[N, 8] x) => (float[N, 8] y)
<float[8, 8] w>
{
   [first] a = MatMul(x, w)
   [middle] b = %s(a)
   [normed] c = Softmax(b)
   [last] d = MatMul(c, w)
   [end] y = Tanh(d)
}
"""


def model(middle: str = "Relu", scale: float = 1.0, text: str = MODEL) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(text % middle)
    weight = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32) * np.float32(scale)
    del proto.graph.value_info[:]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return proto


def side(name: str, executable: Executable) -> Side:
    return Side(name, executable, portable.read(executable.module_text, executable.weights, name))


def compared(old: Executable, new: Executable, rows: int = 5) -> PackageComparison:
    x = np.random.default_rng(1).standard_normal((rows, 8)).astype(np.float32)
    return compare_executables(side("old", old), side("new", new), {"x": x})


def made_of(executable: Executable, **other: object) -> Executable:
    """The executable with another plan or other code."""
    return Executable(
        replace(executable.artifact, **other)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_levels_that_fuse_differently_agree(rows: int) -> None:
    found = compared(*(mlc.compile(model(), opt_level=level) for level in (0, 2)), rows=rows)
    assert found.agrees and found.first is None and found.error < 1e-5


@pytest.mark.parametrize("level", [0, 2])
def test_wrong_code_is_found_by_its_kernel_and_its_side(level: int) -> None:
    right, other = mlc.compile(model("Relu")), mlc.compile(model("Abs"))
    assert [step.kernel for step in right.plan.steps] == [step.kernel for step in other.plan.steps]
    wrong = made_of(right, objects=other.objects, entry=other.artifact.entry)
    found = compared(mlc.compile(model("Relu"), opt_level=level), wrong)
    assert found.first is not None and found.first.node == "middle"
    assert found.first.nodes[1] == ("first", "middle") and found.first.kernels[1] == "contraction_0"
    assert found.first.error > 0.1
    assert found.first.verdict == "old computes what its graph says, new does not"
    back = compared(wrong, mlc.compile(model("Relu"), opt_level=level))
    assert back.first is not None and back.first.verdict == "new computes what its graph says, old does not"


LOOP = """
<ir_version: 9, opset_import: ["" : 17]>
looped (float[N, 8] x, int64 k) => (float[N, 8] y) <float[8, 8] w> {
   [first] s = MatMul(x, w)
   t = Constant <value = bool {1}> ()
   [loop] r = Loop (k, t, s) <body = body (int64 i, bool c, float[N, 8] a) => (bool d, float[N, 8] b) {
      d = Identity(c)
      [inner] m = MatMul(a, w)
      [middle] n = %s(m)
      [normed] b = Softmax(n)
   }>
   [last] d = MatMul(r, w)
   [end] y = Tanh(d)
}
"""

BRANCH = """
<ir_version: 9, opset_import: ["" : 17]>
branched (float[N, 8] x, bool k) => (float[N, 8] y) <float[8, 8] w> {
   [first] s = MatMul(x, w)
   [branch] r = If (k) <then_branch = yes () => (float[N, 8] b) {
      [inner] m = MatMul(s, w)
      [middle] n = %s(m)
      [normed] b = Softmax(n)
   }, else_branch = no () => (float[N, 8] o) { [other] o = MatMul(s, w) }>
   [last] d = MatMul(r, w)
   [end] y = Tanh(d)
}
"""


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize(
    ("text", "k", "node"),
    [
        (LOOP, 1, "body/middle"),
        (LOOP, 4, "body/middle"),
        (BRANCH, True, "yes/middle"),
        (BRANCH, False, None),
        (LOOP, 0, None),
    ],
)
def test_wrong_code_in_loops_and_branches_is_found_by_its_kernel(
    text: str, k: int | bool, node: str | None, level: int
) -> None:
    right, other = (mlc.compile(model(middle, text=text)) for middle in ("Relu", "Abs"))
    assert [step.kernel for step in right.plan.steps] == [step.kernel for step in other.plan.steps]
    wrong, old = (
        made_of(right, objects=other.objects, entry=other.artifact.entry),
        mlc.compile(model("Relu", text=text), opt_level=level),
    )
    x = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    feeds = {"x": x, "k": np.array(k)}
    for names, sides in (("old", "new"), (old, wrong)), (("new", "old"), (wrong, old)):
        found = compare_executables(*map(side, names, sides), feeds)
        if node is None:  # the wrong kernel does not run
            assert found.agrees
            continue
        assert found.first is not None and found.first.node == node
        mine, others = found.first.kernels if sides[1] is wrong else found.first.kernels[::-1]
        assert others == "contraction_1" and (level == 0 or mine == others)
        assert found.first.verdict == "old computes what its graph says, new does not"


def test_graphs_that_differ_are_found_by_their_first_node() -> None:
    found = compared(mlc.compile(model(scale=1.0)), mlc.compile(model(scale=1.1)))
    assert found.first is not None and "first" in found.first.nodes[0]
    assert found.first.verdict.startswith("the graphs in the packages differ here")


def test_buffers_that_lie_over_each_other_are_told_from_wrong_kernels() -> None:
    right = mlc.compile(model("Relu"), opt_level=0)
    lives = [Lifetime(life.bytes, life.first, life.first) for life in right.plan.buffers]
    wrong = made_of(right, plan=replace(right.plan, buffers=tuple(lives)))
    found = compared(right, wrong)
    assert found.first is not None and found.first.verdict.startswith(
        "new gives other numbers when no two of its buffers"
    )


def test_packages_of_different_models_are_refused_by_name() -> None:
    other = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[N, 8] z) => (float[N, 8] y) { y = Relu(z) }'
    )
    with pytest.raises(MlcError, match="old has the input 'x', new has not"):
        compared(mlc.compile(model()), mlc.compile(other))


def test_the_command_says_whether_two_packages_agree(tmp_path: Path, mlc_command: Callable) -> None:
    mlc.compile(model()).save(tmp_path / "old.mlc")
    mlc.compile(model(), opt_level=3).save(tmp_path / "new.mlc")
    mlc.compile(model("Abs")).save(tmp_path / "other.mlc")
    (tmp_path / "model.onnx").write_bytes(model().SerializeToString())
    code, out = mlc_command("compare", tmp_path / "old.mlc", "--dim", "N=3", tmp_path / "new.mlc")
    assert code == 0 and "the outputs agree, max rel err" in out
    code, out = mlc_command("compare", tmp_path / "old.mlc", tmp_path / "other.mlc")
    assert code == 3 and "DIFFER" in out and "middle" in out and "tolerance" in out
    assert mlc_command("compare", tmp_path / "old.mlc", tmp_path / "model.onnx")[0] == 1


@pytest.fixture
def mlc_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    from mlc.cli import main

    def call(*words: object) -> tuple[int, str]:
        code = main([str(word) for word in words])
        return code, capsys.readouterr().out

    return call

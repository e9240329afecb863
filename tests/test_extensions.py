"""Passes, ops and ONNX handlers from files outside of mlc, through Python and the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from onnx import TensorProto, helper

import mlc
from mlc.cli import main
from mlc.errors import InternalError, MlcError
from mlc.frontends.onnx import table
from mlc.ir import module as modules
from mlc.passes import pipelines

EXTENSION = '''
from dataclasses import dataclass
from typing import ClassVar

from xdsl.dialects.builtin import TensorType
from xdsl.irdl import irdl_op_definition, operand_def, result_def, traits_def
from xdsl.traits import Pure

import mlc
from mlc.ir import builder as g
from mlc.ir.graph.base import emit
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.elementwise import OPS
from mlc.ir.types import tensor_type
from mlc.passes.graph.rewrite import rewrite, rule


@irdl_op_definition
class SquashOp(CompositeOp):
    """x / (1 + |x|)."""

    name = "mine.squash"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x):
        super().__init__(operands=[x], result_types=[x.type])

    def infer_types(self):
        return [tensor_type(self.x)]

    def decompose(self, *operands):
        (x,) = operands
        return g.div(x, g.add(g.scalar_like(x, 1), g.abs(x)))


@mlc.handles("Squash", since=(1,), domain="com.example")
def squash(node, x):
    (y,) = emit(SquashOp(x))
    return y


@rule(OPS["abs"])
def drop(op, module):
    return g.relu(op.x)


@dataclass(frozen=True)
class AbsToRelu(mlc.Pass):
    """Wrong on purpose where x is negative."""

    name: ClassVar[str] = "abs-to-relu"

    def run(self, module):
        rewrite(module, [drop])
'''


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a test registers goes with it."""
    table.load()
    kept = [(place, dict(place)) for place in (table._handlers, pipelines.PASSES, modules._registered)]
    names = set(sys.modules)
    yield
    for place, content in kept:
        place.clear()
        place.update(content)
    for name in set(sys.modules) - names:
        if name.startswith("mlc_extension_"):
            del sys.modules[name]


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(EXTENSION)
    return tmp_path / "mine.py"


@pytest.fixture
def squash(tmp_path: Path) -> Path:
    """y = Squash(x), an operator of a domain of its own."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy")
    node = helper.make_node("Squash", ["x"], ["y"], domain="com.example")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=9)
    (tmp_path / "squash.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "squash.onnx"


X = np.array([[-3, 0, 1]], np.float32)


def test_a_file_brings_a_handler_an_op_and_a_pass(extension: Path, squash: Path) -> None:
    with pytest.raises(mlc.UnsupportedOp):
        mlc.compile(squash)
    loaded = mlc.load_extension(extension)
    assert mlc.load_extension(extension) is loaded
    np.testing.assert_allclose(mlc.compile(squash)(X), [[-0.75, 0, 0.5]])
    module = mlc.load(squash)
    assert "mine.squash" in str(module) and str(mlc.Module.parse(str(module))) == str(module)
    np.testing.assert_allclose(mlc.compile(squash, passes="decompose,abs-to-relu")(X), [[-3, 0, 0.5]])


def test_passes_are_given_as_objects_names_and_default(extension: Path, squash: Path) -> None:
    mine = mlc.load_extension(extension).AbsToRelu()
    for passes in (["default", mine], [mine, "default"], ["decompose", mine], [mine]):
        exe = mlc.compile(squash, passes=passes)
        late = passes[0] is not mine  # before decompose there is no abs to find
        np.testing.assert_allclose(exe(X), [[-3, 0, 0.5]] if late else [[-0.75, 0, 0.5]])
        assert "abs-to-relu" in exe.report["pipeline"]
    assert len(mlc.compile(squash, passes=["default", mine]).report["pipeline"]) == 1 + len(
        mlc.compile(squash).report["pipeline"]
    )


def test_every_command_loads_them(extension: Path, squash: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load = ["--load", str(extension)]
    assert main(["check", str(squash)]) == 2
    for words in (["check"], ["run", "--verify=interpreter"], ["explain"], ["bench", "--seconds", "0.01"]):
        assert main([words[0], str(squash), *words[1:], *load, "-q"]) == 0
    capsys.readouterr()
    assert main(["opt", str(squash), *load, "--passes", "decompose,abs-to-relu"]) == 0
    text = capsys.readouterr().out
    assert "graph.relu" in text and "graph.abs" not in text
    assert main(["opt", "--list-passes", *load]) == 0 and "abs-to-relu" in capsys.readouterr().out
    assert main(["compare", str(squash), *load, "--passes", "default,abs-to-relu"]) == 3
    assert "abs-to-relu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:", "SyntaxError"),
        ("\n\n1 / 0", "line 3: ZeroDivisionError"),
        ("import no_such_package", "No module named 'no_such_package'"),
        (EXTENSION.replace('"abs-to-relu"', '"simplify"'), "the name 'simplify' is taken"),
        (EXTENSION.replace('"mine.squash"', '"graph.softmax"'), "the op graph.softmax is there already"),
        (
            EXTENSION.replace('"Squash", since=(1,), domain="com.example"', '"Relu", since=(14,)'),
            "Relu, version 14, has a",
        ),
    ],
)
def test_a_file_that_fails_says_where_and_why(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wrong.py").write_text(text)
    with pytest.raises(MlcError) as caught:
        mlc.load_extension(tmp_path / "wrong.py")
    assert message in str(caught.value)
    assert main(["opt", "--list-passes", "--load", str(tmp_path / "none.py")]) == 1


def test_a_handler_takes_the_place_of_another_only_on_purpose() -> None:
    from mlc.ir import builder as g

    for domain in ("", "ai.onnx"):
        with pytest.raises(MlcError, match="has a handler") as caught:
            mlc.handles("Relu", since=(14,), domain=domain)(lambda node, x: g.neg(x))
        assert "replace=True" in (caught.value.remedy or "")
    mlc.handles("Relu", since=(14,), replace=True)(lambda node, x: g.neg(x))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    np.testing.assert_array_equal(mlc.compile(model)(X), -X)


def test_a_fault_in_code_that_is_not_ours_is_not_called_a_bug_of_ours(squash: Path) -> None:
    class Broken(mlc.Pass):
        name: ClassVar[str] = "broken"

        def run(self, module: mlc.Module) -> None:
            raise KeyError("lost")

    @mlc.handles("Squash", since=(1,), domain="com.example")
    def wrong(node: object, x: object) -> None:
        raise ZeroDivisionError("here")

    with pytest.raises(MlcError, match="ZeroDivisionError: here") as caught:
        mlc.compile(squash)
    assert "not mlc's" in (caught.value.remedy or "")
    table._handlers.pop(table.Key("com.example", "Squash", 1))
    from mlc.ir import builder as g

    mlc.handles("Squash", since=(1,), domain="com.example")(lambda node, x: g.neg(x))
    with pytest.raises(MlcError, match="in pass broken: KeyError") as caught:
        mlc.compile(squash, passes=[Broken()])
    assert not isinstance(caught.value, InternalError)

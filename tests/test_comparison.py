"""mlc.compare finds a fault planted in any one pass, or in code generation, and finds none where there is none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from xdsl.builder import Builder
from xdsl.dialects import arith
from xdsl.dialects.builtin import ArrayAttr, IntegerAttr, i64
from xdsl.dialects.func import FuncOp
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.comparison import Comparison, compare
from mlc.errors import NumericMismatch
from mlc.ir import builder as g
from mlc.ir.graph.base import building, location, location_name
from mlc.ir.module import Module
from mlc.options import CompileOptions
from mlc.passes.base import Pass
from mlc.passes.pipelines import pipeline
from tests.onnx_models import FOLDER

MODEL = """
<ir_version: 9, opset_import: ["" : 17]>
small (float[N, 4, 5] x) => (float[N, 4, 6] y)
<float[5, 6] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3}, float[6] b = {1,2,3,4,5,6}>
{
   [scale] s = Mul(x, x)
   [product] p = MatMul(s, w)
   [shift] q = Add(p, b)
   [swing] r = Tanh(q)
   [rows] t = Softmax(r)
   [mix] y = Sub(t, r)
}
"""
STEPS = [step.name for step in pipeline()]
GRAPH = list(dict.fromkeys(STEPS[: STEPS.index("fuse") + 1]))


@pytest.fixture(scope="module")
def model() -> bytes:
    return onnx.parser.parse_model(MODEL).SerializeToString()


def plant(monkeypatch: pytest.MonkeyPatch, name: str, fault: Callable[[Module], None]) -> None:
    """The pass called `name` does its work and then something wrong."""
    kind = next(type(step) for step in pipeline() if step.name == name)
    right = kind.run

    def wrong(self: Pass, module: Module) -> None:
        right(self, module)
        fault(module)

    monkeypatch.setattr(kind, "run", wrong)


def add_instead(module: Module) -> str:
    """The last subtraction of @main becomes an addition; returns its origin."""
    op = next(op for op in reversed(list(module.main.walk())) if op.name == "graph.sub")
    with building(Builder(InsertPoint.before(op)), module.checks), location(op.location):
        wrong = g.add(*op.operands)
    op.results[0].replace_all_uses_with(wrong)
    Rewriter.erase_op(op)
    return location_name(op) or ""


def subtract_in_kernels(module: Module, ending: str = "") -> None:
    """Additions of floats become subtractions, in functions whose names end so."""
    functions = [op for op in module.op.ops if isinstance(op, FuncOp) and op.sym_name.data.endswith(ending)]
    for op in [op for function in functions for op in function.walk() if isinstance(op, arith.AddfOp)]:
        Rewriter.replace_op(op, arith.SubfOp(op.lhs, op.rhs))


def share_all_memory(module: Module) -> None:
    """Each buffer of the arena is said to live for one step, and not where it is used."""
    rows = module.main.attributes["kernel.arena"]
    assert isinstance(rows, ArrayAttr) and len(rows) > 1
    module.main.attributes["kernel.arena"] = ArrayAttr(
        [ArrayAttr([row.data[0], IntegerAttr(n, i64), IntegerAttr(n, i64)]) for n, row in enumerate(rows)]
    )


def first(comparison: Comparison) -> str:
    assert comparison.first_divergence is not None
    name = comparison.first_divergence.stage
    assert [stage.name for stage in comparison.stages if not stage.agrees] == [name]
    assert comparison.stages[-1].name == name
    return name.split()[-1]


@pytest.mark.parametrize("name", GRAPH)
def test_a_fault_in_a_graph_pass_is_found_there(name: str, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled: list[str] = []
    plant(monkeypatch, name, lambda module: spoiled.append(add_instead(module)))
    found = compare(model)
    assert first(found) == name
    assert found.first_divergence is not None and found.first_divergence.error > 0.1
    assert found.first_divergence.op == spoiled[0]
    with pytest.raises(NumericMismatch, match=name):
        found.raise_if_different()


@pytest.mark.parametrize("name", ["outline", "schedule", "lower"])
def test_a_fault_in_a_kernel_pass_is_found_there(name: str, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, name, subtract_in_kernels)
    found = compare(model)
    assert first(found) == name
    if name != "outline":  # the outlined program is what later ones are compared with, buffer by buffer
        assert found.first_divergence is not None and "kernel" in found.first_divergence.op


def test_a_fault_in_a_kernel_for_one_size_is_found_at_that_size(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "schedule", lambda module: subtract_in_kernels(module, "_N_3"))
    options = CompileOptions(specialise=({"N": 3},))
    assert compare(model, options=options, sizes={"N": 2}).first_divergence is None
    found = compare(model, {"x": np.ones((3, 4, 5), np.float32)}, options=options)
    assert first(found) == "schedule" and found.sizes == {"N": 3}
    assert found.first_divergence is not None and "product" in found.first_divergence.op
    assert found.first_divergence.op.endswith("_N_3)")


def test_a_fault_in_the_arena_is_found_there(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "plan-arena", share_all_memory)
    assert first(compare(model, sizes={"N": 50})) == "plan-arena"


@pytest.mark.parametrize("interpreted", [True, False])
def test_a_fault_in_code_generation_is_found_as_native(
    interpreted: bool, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlc.codegen.llvm import build

    if not interpreted:  # as in a model that is too large for the interpreter of loops
        monkeypatch.setattr("mlc.comparison.LOOP_LIMIT", 0)
    right = build.emit
    monkeypatch.setattr(build, "emit", lambda *given: right(*given).replace(" fadd ", " fsub "))
    found = compare(model)
    assert first(found) == "native"
    assert found.first_divergence is not None and "product" in found.first_divergence.op
    assert any(stage.skipped for stage in found.stages) != interpreted


def test_a_fault_in_the_import_is_found_against_onnxruntime(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc.frontends.onnx import load

    def wrong(*given: object, **more: object) -> Module:
        module = load(*given, **more)  # type: ignore[arg-type]
        add_instead(module)
        return module

    monkeypatch.setattr("mlc.frontends.onnx.load", wrong)
    assert compare(model).first_divergence is None  # the imported module is the reference
    assert first(compare(model, against="onnxruntime")) == "import"


def test_inputs_and_sizes_are_the_callers(model: bytes) -> None:
    x = np.ones((7, 4, 5), np.float32)
    found = compare(model, {"x": x})
    assert found.first_divergence is None and found.sizes == {"N": 7}
    assert compare(model, sizes={"N": 1}).sizes == {"N": 1}


@pytest.mark.parametrize("name", ["resnet18", "vit_small", "lstm"])
def test_nothing_is_found_in_miniatures_of_real_models(name: str) -> None:
    path: Path = FOLDER / f"{name}.symbolic.dynamo.onnx"
    found = compare(path)
    assert found.first_divergence is None
    assert [stage.name for stage in found.stages if stage.skipped] == []

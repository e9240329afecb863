"""The pass manager: order, options, printing, dumping, timing, verification, and the check that names a pass with a fault."""

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from mlc.errors import InternalError, MlcError, NumericMismatch
from mlc.ir import builder as g
from mlc.ir.graph.elementwise import OPS
from mlc.ir.interpreter import run
from mlc.ir.module import Module
from mlc.passes.base import Pass
from mlc.passes.graph.rewrite import before, replace, rewrite, rule
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import PASSES, graph_passes, parse


def small_module() -> Module:
    m = g.module_builder("small")
    with m.function(inputs=[("x", ("N", 4), "f32")]) as (x,):
        with g.location("first", "model.onnx", 0):
            y = g.softmax(x, 1)
        with g.location("second", "model.onnx", 1):
            y = g.exp(g.mul(y, g.full_like(y, 1.0)))
        m.outputs([("y", y)])
    return m.finish()


@dataclass(frozen=True)
class Fault(Pass):
    """exp(x) -> exp(-x)"""

    name: ClassVar[str] = "fault"
    limit: int = 3
    loud: bool = False

    def run(self, module: Module) -> None:
        op = [op for op in module.main.body.block.ops if isinstance(op, OPS["exp"])][-1]
        with before(op, module):
            value = g.exp(g.neg(op.operands[0]))
        replace(op, [value])


@dataclass(frozen=True)
class Invalid(Pass):
    """exp of a scalar that claims the old shape"""

    __module__ = "mlc.passes.invalid"  # as if it were one of ours

    name: ClassVar[str] = "invalid"

    def run(self, module: Module) -> None:
        op = [op for op in module.main.body.block.ops if isinstance(op, OPS["exp"])][-1]
        with before(op, module):
            op.operands[0] = g.scalar(1.0, "f32")


@dataclass(frozen=True)
class Broken(Pass):
    __module__ = "mlc.passes.broken"  # as if it were one of ours

    name: ClassVar[str] = "broken"

    def run(self, module: Module) -> None:
        raise KeyError("lost")


def test_the_module_that_is_given_stays_as_it_is():
    module = small_module()
    text = str(module)
    after = PassManager("decompose,simplify").run(module)
    assert str(module) == text
    assert str(after) != text


def test_options_are_read_from_text_and_printed_back():
    assert Fault.of({"limit": "5", "loud": "true"}) == Fault(5, True)
    assert str(Fault(5, True)) == "fault{limit=5,loud=true}"
    assert str(Fault()) == "fault"
    with pytest.raises(MlcError, match="pass 'fault' has no option 'size'"):
        Fault.of({"size": "1"})
    with pytest.raises(MlcError, match="limit is a number, not 'x'"):
        Fault.of({"limit": "x"})
    with pytest.raises(MlcError, match="loud is true or false, not '1'"):
        Fault.of({"loud": "1"})


def test_a_pipeline_is_read_from_text():
    assert [p.name for p in parse(" decompose, simplify ,dce")] == ["decompose", "simplify", "dce"]
    with pytest.raises(MlcError, match="there is no pass 'simplfy'") as caught:
        parse("simplfy")
    assert "Did you mean 'simplify'?" in str(caught.value)
    with pytest.raises(MlcError, match="does not parse at"):
        parse("simplify;dce")


def test_every_pass_is_named_by_its_class_and_documented():
    for name, kind in PASSES.items():
        assert kind.name == name
        assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")
        assert str(kind()) == name


def test_a_higher_level_runs_more_passes():
    names = [[p.name for p in graph_passes(level)] for level in range(4)]
    assert "simplify" not in names[0] and "decompose" in names[0]
    assert set(names[0]) <= set(names[1]) <= set(names[2]) <= set(names[3])
    assert "select-layout" not in [p.name for p in graph_passes(2, disable=["select-layout"])]
    with pytest.raises(MlcError, match="there is no pass 'nothing'"):
        graph_passes(2, disable=["nothing"])


def test_printing_selects_passes_and_changes():
    out = io.StringIO()
    PassManager("decompose,dce,simplify", print_after=["simplify"], print_before=["dce"], stream=out).run(
        small_module()
    )
    heads = [line for line in out.getvalue().splitlines() if line.startswith("// ----")]
    assert heads == ["// -----// IR before dce //----- //", "// -----// IR after simplify //----- //"]
    out = io.StringIO()
    PassManager("decompose,dce,simplify", print_on_change=True, stream=out).run(small_module())
    assert "after decompose (changed)" in out.getvalue() and "after dce" not in out.getvalue()
    with pytest.raises(MlcError, match="pass 'fold' is not in the pipeline"):
        PassManager("dce", print_after=["fold"])


def test_dumped_files_are_numbered_and_read_back(tmp_path):
    manager = PassManager("decompose,simplify,dce", dump=tmp_path)
    after = manager.run(small_module())
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["00-input.mlir", "01-decompose.mlir", "02-simplify.mlir", "03-dce.mlir"]
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    (want,) = run(after, [x])
    for name in files:
        (got,) = run(Module.parse((tmp_path / name).read_text()), [x])
        assert np.allclose(got, want, rtol=1e-6)
    assert [r.changed for r in manager.records] == [True, True, False]


def test_stop_after_ends_the_run_and_callbacks_see_every_pass():
    seen = []
    manager = PassManager(
        "decompose,simplify,dce", stop_after="simplify", callback=lambda i, p, m: seen.append((i, p.name))
    )
    manager.run(small_module())
    assert seen == [(1, "decompose"), (2, "simplify")]
    assert [r.name for r in manager.records] == ["decompose", "simplify"]
    assert manager.records[0].ops_after > manager.records[0].ops_before
    assert "all passes" in manager.report()


def test_the_check_names_the_pass_and_the_op_with_a_fault():
    manager = PassManager([*parse("decompose"), Fault(), *parse("simplify")], check="interpreter")
    with pytest.raises(NumericMismatch, match="pass fault changes output 'y'") as caught:
        manager.run(small_module())
    assert caught.value.node == "second"


def test_the_check_passes_what_is_right():
    PassManager(graph_passes(2), check="interpreter").run(small_module())


def test_invalid_ir_is_blamed_on_the_pass_that_left_it():
    with pytest.raises(InternalError, match="in pass invalid: it leaves invalid IR"):
        PassManager([Invalid()], verify_each=True).run(small_module())


def test_an_unexpected_exception_names_the_pass():
    with pytest.raises(InternalError, match="in pass broken: KeyError"):
        PassManager([Broken()]).run(small_module())


def test_rules_that_undo_each_other_are_an_error():
    @rule(OPS["neg"])
    def back(op, module):
        return g.abs(op.operands[0])

    @rule(OPS["abs"])
    def forth(op, module):
        return g.neg(op.operands[0])

    m = g.module_builder()
    with m.function(inputs=[("x", (2,), "f32")]) as (x,):
        m.outputs([("y", g.abs(x))])
    with pytest.raises(InternalError, match="rewrites without an end"):
        rewrite(m.finish(), [back, forth])

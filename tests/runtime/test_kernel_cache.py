"""Kernels whose machine code is known are not lowered again."""

import numpy as np
import pytest
from xdsl.dialects.builtin import StringAttr

from mlc.codegen.code import called_kernels
from mlc.codegen.llvm.build import compile_module
from mlc.codegen.llvm.cache import ObjectCache
from mlc.codegen.llvm.kernel_cache import KernelCache
from mlc.errors import InternalError
from mlc.ir import builder as g
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.program import CallOp
from mlc.ir.kernel.stubs import is_stub
from mlc.ir.module import Module
from mlc.passes.kernel import lowering
from mlc.passes.kernel.lowering import LowerKernels, LowerNewKernels
from mlc.passes.pipelines import pipeline
from mlc.runtime.artifact import Artifact
from mlc.runtime.executable import Executable

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((64, 96)).astype(np.float32)
BIAS = RNG.standard_normal(96).astype(np.float32)


def model(name: str, extra: bool = False) -> Module:
    """softmax(x @ w + b), or its square."""
    m = g.module_builder(name)
    with m.function(inputs=[("x", ("N", 64), "f32")]) as (x,):
        y, b = g.lift(g.matmul(x, g.constant(WEIGHT)), g.constant(BIAS))
        y = g.softmax(g.add(y, b), 1)
        m.outputs([("y", g.mul(y, y) if extra else y)])
    return m.finish()


def expected(x: np.ndarray) -> np.ndarray:
    z = x.astype(np.float64) @ WEIGHT + BIAS
    z = np.exp(z - z.max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)


def build(module: Module, folder, counted: list) -> tuple[Executable, Module]:
    objects = ObjectCache(folder)
    known = KernelCache(cpu_target(), objects)
    before = len(counted)
    for step in pipeline():
        (LowerNewKernels("native", known) if type(step) is LowerKernels else step).run(module)
    code = compile_module(module, cpu_target(), objects, known=known)
    weights = {key: module.weights.get(key) for key in code.plan.weights}
    made = Executable(Artifact(code.plan, code.objects, weights, cpu_target(), code.entry), threads=1)
    made.report = {"lowered": len(counted) - before, "compiled": code.compiled}
    return made, module


@pytest.fixture
def counted(monkeypatch) -> list:
    """The kernels that are lowered, all of them in this process."""
    seen: list = []
    monkeypatch.setattr("mlc.codegen.llvm.kernel_cache.processes", lambda: 1)
    steps = lowering.steps
    monkeypatch.setattr(lowering, "steps", lambda kernel, *more: seen.append(kernel.name) or steps(kernel, *more))
    return seen


def test_the_second_compilation_lowers_nothing_and_computes_the_same(tmp_path, counted):
    x = RNG.standard_normal((7, 64)).astype(np.float32)
    first, whole = build(model("a"), tmp_path, counted)
    second, stubs = build(model("b"), tmp_path, counted)
    assert first.report["lowered"] > 0 and first.report["compiled"] > 0
    assert second.report == {"lowered": 0, "compiled": 0}
    assert all(is_stub(f) for module in (whole, stubs) for f in lowering.kernels(module))
    np.testing.assert_allclose(first(x), expected(x), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(second(x), first(x))
    for n in (0, 1, 33):
        assert second(RNG.standard_normal((n, 64)).astype(np.float32)).shape == (n, 96)


def test_packages_do_not_show_what_the_cache_had(tmp_path, counted):
    for name in ("cold", "warm"):
        made, _ = build(model("a"), tmp_path / "cache", counted)
        made.report["seconds"] = {"optimise": float(len(counted))}
        made.report.pop("lowered"), made.report.pop("compiled")
        made.save(tmp_path / f"{name}.mlc")
    assert (tmp_path / "cold.mlc").read_bytes() == (tmp_path / "warm.mlc").read_bytes()


def test_kernels_that_became_the_same_code_are_linked_once(tmp_path, counted):
    """One of two kernels is known, the other is lowered to the same text."""
    module = model("a")
    build(model("a"), tmp_path, counted)
    objects = ObjectCache(tmp_path)
    known = KernelCache(cpu_target(), objects)
    for step in pipeline():
        (LowerNewKernels("native", known) if type(step) is LowerKernels else step).run(module)
    whole = model("a")
    for step in pipeline():
        step.run(whole)
    call = next(op for op in module.main.walk() if isinstance(op, CallOp))
    for function in dict(called_kernels(whole))[call.kernel]:
        copy = function.clone()
        if copy.sym_name.data == call.kernel:
            copy.properties["sym_name"] = StringAttr("twin")
        module.op.body.block.add_op(copy)
    module.main.body.block.insert_op_after(CallOp("twin", list(call.arguments), ["again"]), call)
    code = compile_module(module, cpu_target(), objects, known=known)
    weights = {key: module.weights.get(key) for key in code.plan.weights}
    x = RNG.standard_normal((7, 64)).astype(np.float32)
    made = Executable(Artifact(code.plan, code.objects, weights, cpu_target(), code.entry), threads=1)
    assert [step.kernel for step in code.plan.steps] == [call.kernel, "twin", "rows_0"]
    assert len(code.objects) == 3
    np.testing.assert_allclose(made(x), expected(x), rtol=1e-4, atol=1e-6)


def test_stubs_say_what_the_kernels_said(tmp_path, counted):
    whole = model("a")
    for step in pipeline():
        step.run(whole)
    for _ in range(2):  # as it is made, and as it is found
        _, stubs = build(model("a"), tmp_path, counted)
        for kernel, stub in zip(lowering.kernels(whole), lowering.kernels(stubs), strict=True):
            assert stub.sym_name == kernel.sym_name
            assert stub.function_type == kernel.function_type
            assert stub.arg_attrs == kernel.arg_attrs
            said = {k: v for k, v in stub.attributes.items() if k not in ("kernel.stub", "kernel.known")}
            assert said == kernel.attributes
    stubs.verify()
    Module.parse(stubs.text(), stubs.weights)


def test_what_differs_is_lowered(tmp_path, counted):
    build(model("a"), tmp_path, counted)
    other, _ = build(model("b", extra=True), tmp_path, counted)
    assert other.report["lowered"] > 0
    x = RNG.standard_normal((5, 64)).astype(np.float32)
    np.testing.assert_allclose(other(x), expected(x) ** 2, rtol=1e-4, atol=1e-6)


def test_a_record_without_its_object_is_no_find(tmp_path, counted):
    build(model("a"), tmp_path, counted)
    for _, _, path in ObjectCache(tmp_path).entries():
        if path.read_bytes()[32:36] == b"\x7fELF":
            path.unlink()
    assert ObjectCache(tmp_path).entries()
    again, _ = build(model("a"), tmp_path, counted)
    assert again.report["lowered"] > 0


def test_another_target_finds_nothing(tmp_path):
    native, level = (KernelCache(cpu_target(name), ObjectCache(tmp_path)) for name in ("native", "x86-64-v2"))
    assert native.key("kernel") != level.key("kernel")


def test_a_stub_without_code_is_refused(tmp_path, counted):
    build(model("a"), tmp_path, counted)
    _, stubs = build(model("a"), tmp_path, counted)
    with pytest.raises(InternalError, match="is a stub, and there is no machine code for it"):
        compile_module(stubs, cpu_target())

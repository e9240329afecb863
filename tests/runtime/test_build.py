"""Kernels of the kernel core, lowered for this CPU, through build, entry and executable."""

import numpy as np
import pytest

from mlc.codegen.llvm.build import compile_module, neutral
from mlc.codegen.llvm.cache import ObjectCache
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.pack import pack
from mlc.ir.module import Module
from mlc.passes.kernel.arena import plan_arena
from mlc.runtime.artifact import Artifact
from mlc.runtime.executable import Executable, load_package
from tests.kernel.hand_made import gemm
from tests.kernel.native import by_rules
from tests.runtime.programs import arg

PROGRAM = f"""
func.func @main({arg("x", "input", ["N", "S", "48"])}, {arg("r", "input", ["N*S", "96"])}, {arg("y", "output", ["N*S", "96"])}) {{
  %m = kernel.size "N*S"
  %x2 = kernel.view %x dims ["N*S", "48"] : memref<?x?x48xf32> to memref<?x48xf32>
  %w = kernel.weight "w" : memref<48x96xf32>
  %v = kernel.weight "v" : memref<96x96xf32>
  %b = kernel.weight "b" : memref<96xf32>
  %t = kernel.buffer 0 dims ["N*S", "96"] : memref<?x96xf32>
  kernel.call @first(%x2, %w, %b, %r, %t, %m) from ["fc1", "relu1"] : memref<?x48xf32>, memref<48x96xf32>, memref<96xf32>, memref<?x96xf32>, memref<?x96xf32>, index
  kernel.call @second(%t, %v, %b, %r, %y, %m) from ["fc2"] : memref<?x96xf32>, memref<96x96xf32>, memref<96xf32>, memref<?x96xf32>, memref<?x96xf32>, index
  func.return
}}"""


def lowered() -> tuple[Module, dict[str, np.ndarray], list[np.ndarray]]:
    """The program with two GEMM kernels as loops, its weights as the kernels want them, and as they are."""
    module = Module.parse(PROGRAM)
    rng = np.random.default_rng(0)
    plain = {
        "w": rng.standard_normal((48, 96)).astype(np.float32),
        "v": rng.standard_normal((96, 96)).astype(np.float32),
        "b": rng.standard_normal(96).astype(np.float32),
    }
    weights = dict(plain)
    for name, k, weight in (("first", 48, "w"), ("second", 96, "v")):
        kernel = by_rules(gemm("M", 96, k), cpu_target())
        for number, op in enumerate(kernel.functions()):
            old = op.sym_name.data
            new = name if op is kernel.op else f"{name}.leaf{number}"
            for user in kernel.functions():
                for call in user.walk():
                    if call.name == "func.call" and call.callee.root_reference.data == old:
                        call.properties["callee"] = type(call.callee)(new)
            op.properties["sym_name"] = type(op.sym_name)(new)
            module.op.body.block.add_op(op)
        if "B" in kernel.packs:
            weights[weight] = pack(plain[weight], kernel.packs["B"])
            for op in module.main.walk():
                if op.name == "kernel.weight" and op.key.data == weight:
                    call = next(iter(op.result.uses)).operation
                    made = type(op)(weight, kernel.buffers["B"].type)
                    module.main.body.block.insert_op_before(made, op)
                    call.operands[1] = made.result
    plan_arena(module.main)
    module.verify()
    return module, weights, list(plain.values())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    module, weights, plain = lowered()
    cache = ObjectCache(tmp_path_factory.mktemp("cache"))
    code = compile_module(module, cpu_target(), cache)
    return module, code, weights, plain, cache


def reference(x, r, w, v, b):
    x, r, w, v, b = (a.astype(np.float64) for a in (x.reshape(-1, 48), r, w, v, b))
    t = np.maximum(x @ w + b + r, 0)
    return np.maximum(t @ v + b + r, 0)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_lowered_kernels_run_at_any_size(built, threads, tmp_path):
    _, code, weights, plain, _ = built
    exe = Executable(Artifact(code.plan, code.objects, weights, cpu_target(), code.entry), threads=threads)
    exe.save(tmp_path / "m.mlc")
    again = load_package(tmp_path / "m.mlc", threads)
    rng = np.random.default_rng(1)
    for n, s in ((1, 1), (2, 3), (5, 7), (0, 4), (16, 64), (3, 101)):
        x = rng.standard_normal((n, s, 48)).astype(np.float32)
        r = rng.standard_normal((n * s, 96)).astype(np.float32)
        want = reference(x, r, *plain)
        np.testing.assert_allclose(exe(x, r), want, rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(again(x, r), exe(x, r))


def test_a_second_build_compiles_nothing(built):
    module, code, _, _, cache = built
    assert code.compiled == len(code.objects) and code.cached == 0
    again = compile_module(module, cpu_target(), cache)
    assert (again.compiled, again.cached) == (0, len(code.objects))
    assert again.objects == code.objects


def test_profiles_name_kernels_and_nodes(built):
    _, code, weights, *_ = built
    exe = Executable(Artifact(code.plan, code.objects, weights, cpu_target(), code.entry), threads=1)
    x, r = np.ones((2, 200, 48), np.float32), np.zeros((400, 96), np.float32)
    first, second = exe.profile(x, r, repeats=3)
    assert (first.kernel, first.source) == ("first", ("fc1", "relu1"))
    assert (second.kernel, second.source) == ("second", ("fc2",))
    assert first.nanoseconds > 0 and second.nanoseconds > 0


def test_symbols_come_from_the_text_and_not_from_names():
    text = "define internal void @a.leaf(ptr %x) {{ ret void }}\ndefine void @{0}(ptr %x) {{ call void @a.leaf(ptr %x)\ncall void @llvm.y() }}"
    first = neutral(text.format("gemm_0"), ["a.leaf", "gemm_0"])
    second = neutral(text.format("gemm_7").replace("a.leaf", "b.leaf"), ["b.leaf", "gemm_7"])
    assert first == second
    symbol, renamed = first
    assert f"define void @{symbol}(" in renamed and "@llvm.y()" in renamed and "gemm" not in renamed
    assert neutral(text.format("gemm_0").replace("%x", "%z"), ["a.leaf", "gemm_0"])[0] != symbol

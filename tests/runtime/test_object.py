"""Text to objects, the cache on disk, loading."""

import ctypes
import os

import pytest
from xdsl.dialects.func import FuncOp

from mlc.codegen.llvm.cache import ObjectCache, cache_directory
from mlc.codegen.llvm.object import assembly, check_runs_here, compile_text, load
from mlc.codegen.llvm.object_compiler import LlvmText, compile_all
from mlc.codegen.llvm.printer import emit
from mlc.errors import InternalError, TargetUnavailable
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target
from mlc.ir.module import Module


def scale(name: str, factor: float) -> str:
    return f"""
define void @{name}(ptr %x, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %p = getelementptr float, ptr %x, i64 %i
  %v = load float, ptr %p
  %w = fmul float %v, {factor}
  store float %w, ptr %p
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""


def run(address: int, values: list[float]) -> list[float]:
    array = (ctypes.c_float * len(values))(*values)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)(ctypes.addressof(array), len(values))
    return list(array)


@pytest.mark.parametrize("optimise", [False, True])
def test_compiled_text_runs(optimise):
    library = load([compile_text(scale("twice", 2.0), optimise=optimise)])
    assert run(library.address("twice"), [1.0, 2.5, -3.0]) == [2.0, 5.0, -6.0]


def test_plain_loops_are_vectorised_only_on_request():
    target = cpu_target("x86-64-v3")
    assert "vmulps\t%ymm" not in assembly(scale("f", 3.0), target)
    assert "%ymm" in assembly(scale("f", 3.0), target, optimise=True)


def test_objects_call_each_other_this_process_and_imported_addresses():
    found = []
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int64)(found.append)
    caller = """
declare double @floor(double)
declare i64 @inner(i64)
declare void @given(i64)
define void @entry(i64 %a) {
  %b = call i64 @inner(i64 %a)
  call void @given(i64 %b)
  %f = call double @floor(double 2.5)
  %c = fptosi double %f to i64
  call void @given(i64 %c)
  ret void
}"""
    inner = "define i64 @inner(i64 %a) { %b = mul i64 %a, 7\n ret i64 %b }"
    address = ctypes.cast(callback, ctypes.c_void_p).value
    library = load([compile_text(caller), compile_text(inner)], {"given": address})
    ctypes.CFUNCTYPE(None, ctypes.c_int64)(library.address("entry"))(6)
    assert found == [42, 2]


def test_libraries_may_use_the_same_names():
    first, second = (load([compile_text(scale("f", factor))]) for factor in (2.0, 5.0))
    assert run(first.address("f"), [1.0]) == [2.0]
    assert run(second.address("f"), [1.0]) == [5.0]


def test_a_missing_symbol_is_an_error_and_not_an_abort():
    library = load([compile_text("declare void @nowhere()\ndefine void @f() { call void @nowhere()\n ret void }")])
    with pytest.raises(InternalError, match="does not define f"):
        library.address("f")


def test_text_that_llvm_refuses_is_reported():
    with pytest.raises(InternalError, match="LLVM refuses the generated code"):
        compile_text("define void @f() { ret i32 0 }")


def test_code_for_another_cpu_is_refused_by_name():
    check_runs_here(cpu_target())
    other = CpuTarget("future", "+quantum", lanes=64, registers=64)
    with pytest.raises(TargetUnavailable, match="quantum"):
        check_runs_here(other)
    with pytest.raises(TargetUnavailable, match="unknown CPU 'z80'"):
        cpu_target("z80")
    with pytest.raises(TargetUnavailable, match="not for riscv64"):
        compile_text(scale("f", 2.0), CpuTarget("generic", "", 4, 32, arch="riscv64"))


def test_the_second_compilation_comes_from_the_cache(tmp_path):
    modules = [LlvmText(scale(f"f{i}", 2.0)) for i in range(4)]
    first, second = ObjectCache(tmp_path), ObjectCache(tmp_path)
    objects, compiled = compile_all(modules, cache=first)
    assert (first.hits, first.misses, compiled) == (0, 4, 4)
    assert compile_all(modules, cache=second) == (objects, 0)
    assert (second.hits, second.misses) == (4, 0)


def test_keys_tell_text_target_and_passes_apart():
    native, level = cpu_target(), cpu_target("x86-64-v2")
    keys = {
        ObjectCache.key(*a) for a in [("a", native, False, "1"), ("b", native, False, "1"), ("a", level, False, "1")]
    }
    keys |= {ObjectCache.key("a", native, True, "1"), ObjectCache.key("a", native, False, "2")}
    assert len(keys) == 5


def test_a_damaged_object_is_compiled_again(tmp_path):
    modules = [LlvmText(scale("f", 2.0))]
    objects, _ = compile_all(modules, cache=ObjectCache(tmp_path))
    (path,) = (path for _, _, path in ObjectCache(tmp_path).entries())
    path.write_bytes(path.read_bytes()[:-5])
    cache = ObjectCache(tmp_path)
    assert compile_all(modules, cache=cache) == (objects, 1)
    assert cache.misses == 1
    assert path.stat().st_size == len(objects[0]) + 32


def test_the_cache_drops_what_was_used_longest_ago(tmp_path):
    cache = ObjectCache(tmp_path, limit=1000)
    for i in range(10):
        key = f"{i:02d}abc"
        cache.put(key, bytes(168))
        os.utime(cache.path(key), (i, i))
    assert cache.trim() == 6
    assert [cache.get(f"{i:02d}abc") is not None for i in range(10)] == [False] * 6 + [True] * 4
    assert cache.clear() == 4
    assert not cache.entries()


def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path, caplog):
    (tmp_path / "objects").write_text("a file in the way")
    cache = ObjectCache(tmp_path)
    compile_all([LlvmText(scale("f", 2.0)), LlvmText(scale("g", 2.0))], cache=cache)
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["compiled code is not kept"]


def test_the_cache_directory_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MLC_CACHE_DIR", str(tmp_path / "a"))
    assert cache_directory() == tmp_path / "a"
    monkeypatch.delenv("MLC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_directory() == tmp_path / "b" / "mlc"


def test_equal_modules_are_compiled_once():
    f, g = LlvmText(scale("f", 2.0)), LlvmText(scale("g", 2.0))
    objects, compiled = compile_all([f, g, f])
    assert compiled == 2 and objects[0] == objects[2] != objects[1]


def test_an_error_of_llvm_reaches_the_caller_from_any_process():
    wrong = LlvmText("define void @f() { ret i32 0 }")
    with pytest.raises(InternalError, match="LLVM refuses"):
        compile_all([LlvmText(scale(f"f{i}", 2.0)) for i in range(3)] + [wrong])


def test_a_shuffle_may_leave_lanes_open():
    module = Module.parse("""builtin.module {
      func.func @f(%x: memref<4xf32>, %y: memref<2xf32>) {
        %0 = arith.constant 0 : index
        %1 = vector.load %x[%0] : memref<4xf32>, vector<4xf32>
        %2 = vector.shuffle %1, %1[7, -1] : vector<4xf32>, vector<4xf32>
        vector.store %2, %y[%0] : memref<2xf32>, vector<2xf32>
        func.return
      }
    }""")
    assert compile_text(emit([op for op in module.op.body.ops if isinstance(op, FuncOp)], cpu_target()))

"""Exported libraries: called through C's interface, from ctypes and from a C program."""

import ctypes
import shutil
import subprocess
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.codegen.llvm.interface import share
from mlc.errors import TargetUnavailable
from mlc.ir import builder as g
from mlc.ir.kernel.plan import Lifetime, Plan
from mlc.runtime.library import library_name
from tests.runtime.programs import arg, elementwise

ADD, ADD_CODE = elementwise("add", "fadd")
MUL, MUL_CODE = elementwise("mul", "fmul")
FLAT = "memref<?xf32>, memref<?xf32>, memref<?xf32>, index"

PROGRAM = f"""
builtin.module attributes {{graph.symbols = {{N = [1, 5000]}}, graph.checks = [["N", "2*(N//2)", "Reshape r"]]}} {{
{ADD}{MUL}
func.func @main({arg("x", "input", ["N"])}, {arg("out", "output", ["N"])}, {arg("z", "output", ["2", "N//2"])}) {{
  %n = kernel.size "N"
  %a = kernel.buffer 0 dims ["N"] : memref<?xf32>
  %b = kernel.buffer 1 dims ["N"] : memref<?xf32>
  %c = kernel.buffer 2 dims ["N"] : memref<?xf32>
  %w = kernel.weight "w" : memref<5000xf32>
  %five = arith.constant 5000 : index
  %z1 = kernel.view %z dims ["N"] : memref<2x?xf32> to memref<?xf32>
  kernel.call @add(%x, %x, %a, %n) : {FLAT}
  kernel.call @mul(%a, %x, %b, %n) : {FLAT}
  kernel.call @add(%b, %x, %c, %n) : {FLAT}
  kernel.call @mul(%c, %b, %out, %n) : {FLAT}
  kernel.call @add(%x, %w, %z1, %n) : memref<?xf32>, memref<5000xf32>, memref<?xf32>, index
  func.return
}}
}}"""

needs_linker = pytest.mark.skipif(
    not any(shutil.which(tool) for tool in ("cc", "gcc", "clang", "ld")), reason="no cc and no ld on the PATH"
)
needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no cc on the PATH")


@pytest.fixture
def exe(build):
    weights = {"w": np.random.default_rng(5).standard_normal(5000).astype(np.float32)}
    return build(PROGRAM, [ADD_CODE, MUL_CODE], weights)


@pytest.mark.skipif(not shutil.which("ld"), reason="no ld on the PATH")
def test_the_linker_alone_is_enough(exe, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "ld")
    exe.export_library(tmp_path / "m.so")
    library = ctypes.CDLL(str(tmp_path / "m.so"))
    shapes = (ctypes.c_int64 * 3)()
    assert library.m_shapes((ctypes.c_int64 * 1)(8), shapes) == 0
    assert list(shapes) == [8, 2, 4]


@needs_linker
def test_an_exported_library_computes_what_the_executable_does(exe, tmp_path):
    exe.export_library(tmp_path / "libmodel.so", header=tmp_path / "model.h")
    library = ctypes.CDLL(str(tmp_path / "libmodel.so"))
    library.model_workspace.restype = ctypes.c_int64
    for threads in (1, 3):
        assert library.model_threads(threads) == threads
        for n in (2, 18, 5000):
            x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
            out, z = np.empty(n, np.float32), np.empty((2, n // 2), np.float32)
            dims, shapes = (ctypes.c_int64 * 1)(n), (ctypes.c_int64 * 3)()
            inputs = (ctypes.c_void_p * 1)(x.ctypes.data)
            outputs = (ctypes.c_void_p * 2)(out.ctypes.data, z.ctypes.data)
            assert library.model_run(dims, inputs, outputs, None, shapes) == 0
            want, want_z = exe(x)
            np.testing.assert_array_equal(out, want)
            np.testing.assert_array_equal(z, want_z)
            assert list(shapes) == [n, 2, n // 2]
            size = library.model_workspace(dims)
            assert size >= 2 * n * 4  # of the three buffers two are alive at a time
            raw = np.empty(size + 64, np.uint8)
            out[:] = 0
            place = ctypes.c_void_p(raw.ctypes.data + -raw.ctypes.data % 64)
            assert library.model_run(dims, inputs, outputs, place, None) == 0
            np.testing.assert_array_equal(out, want)


@needs_linker
def test_a_run_writes_results_over_inputs_where_they_live_there(tmp_path):
    m = g.module_builder("m")
    with m.function(inputs=[("w", ("N",), "f32"), ("x", ("N",), "f32")]) as (w, x):
        m.outputs([("sum", g.reduce(w, [0], "sum")), ("new", g.add(w, x))], {"new": "w"})
    mlc.compile(m.finish()).export_library(tmp_path / "m.so", header=tmp_path / "m.h")
    assert "1   new   float [N]   pass NULL: a run writes it over the input w" in (tmp_path / "m.h").read_text()
    library = ctypes.CDLL(str(tmp_path / "m.so"))
    w, x, total = np.ones(5, np.float32), np.arange(5, dtype=np.float32), np.zeros((), np.float32)
    inputs = (ctypes.c_void_p * 2)(w.ctypes.data, x.ctypes.data)
    outputs = (ctypes.c_void_p * 2)(total.ctypes.data, None)
    assert library.m_run((ctypes.c_int64 * 1)(5), inputs, outputs, None, None) == 0
    assert total == 5
    np.testing.assert_array_equal(w, x + 1)


@needs_linker
def test_sizes_that_do_not_fit_are_refused_by_number(exe, tmp_path):
    exe.export_library(tmp_path / "m.so")
    library = ctypes.CDLL(str(tmp_path / "m.so"))
    library.m_workspace.restype = ctypes.c_int64
    for n in (0, -3, 5001, 7, 1 << 62):
        dims = (ctypes.c_int64 * 1)(n)
        assert library.m_workspace(dims) == -1
        assert library.m_run(dims, None, None, None, None) == 1
        assert library.m_shapes(dims, (ctypes.c_int64 * 3)()) == 1


@needs_linker
def test_a_library_shows_its_own_functions_only(exe, tmp_path):
    exe.export_library(tmp_path / "m.so")
    library = ctypes.CDLL(str(tmp_path / "m.so"))
    assert library.m_run
    for name in ("mlc_entry", "mlc_pool_run", "add", "m_weights"):
        with pytest.raises(AttributeError):
            getattr(library, name)


MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "model.h"
int main(void) {
  int64_t dims[1] = {6}, shapes[3];
  float x[6] = {1, 2, 3, 4, 5, 6}, out[6], z[6];
  const void *inputs[1] = {x};
  void *outputs[2] = {out, z};
  if (model_run(dims, inputs, outputs, NULL, shapes)) return 1;
  for (int i = 0; i < 6; i++) printf("%.9g %.9g\\n", out[i], z[i]);
  printf("%d\\n", (int)shapes[2]);
  return 0;
}
"""


@needs_compiler
def test_a_c_program_runs_the_model(exe, tmp_path):
    exe.export_library(tmp_path / "libmodel.so", header=tmp_path / "model.h")
    (tmp_path / "main.c").write_text(MAIN)
    options = ["-Wall", "-Werror", "main.c", "-o", "main", "-L.", "-lmodel", "-Wl,-rpath,$ORIGIN"]
    subprocess.run(["cc", *options], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    *rows, last = done.stdout.split("\n")[:-1]
    out, z = exe(np.arange(1, 7, dtype=np.float32))
    np.testing.assert_allclose(np.array([row.split() for row in rows], np.float32), np.stack([out, z.reshape(-1)], 1))
    assert last == "3"


def test_without_a_linker_the_error_says_what_to_install(exe, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(TargetUnavailable, match="neither cc nor ld") as caught:
        exe.export_library(tmp_path / "m.so")
    assert "apt-get install binutils" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "file, name", [("libmodel.so", "model"), ("my-net.v2.so", "my_net"), ("lib7.so", "model_7"), ("größe.so", "gr__e")]
)
def test_functions_are_named_after_the_file(tmp_path, file, name):
    assert library_name(tmp_path / file) == name


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 100)), max_size=25))
@settings(max_examples=80, deadline=None)
def test_buffers_of_one_slot_take_turns(drawn):
    lives = tuple(Lifetime(size, first, first + length) for first, length, size in drawn)
    slots = share(Plan((), (), buffers=lives))
    assert sorted(i for slot in slots for i in slot) == list(range(len(lives)))
    for slot in slots:
        for a, b in pairwise(slot):
            assert lives[a].last < lives[b].first

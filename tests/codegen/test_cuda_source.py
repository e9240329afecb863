"""CUDA C as text: golden sources of small kernels, what a launch covers, and that the loops behind it compute what the graph does."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
import mlc.codegen.cuda.kernel_source
import mlc.codegen.llvm.printer
from mlc.codegen.cuda import c_function as cuda
from mlc.codegen.cuda import polynomial
from mlc.codegen.cuda.c_function import enclosed
from mlc.codegen.cuda.kernel_source import on_one_line, thread_number
from mlc.codegen.cuda.machine_code import compiler
from mlc.codegen.cuda.prelude import prelude
from mlc.codegen.cuda.source_files import sources
from mlc.codegen.llvm import function as llvm
from mlc.compiler import Compilation
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.interpreter import run
from mlc.ir.kernel.cuda_target import cuda_target
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline
from tests.test_counted import sum_of_positions

FOLDER = Path(__file__).parent / "golden"
SIZES = st.sampled_from([0, 1, 2, 3, 7, 17, 64])


def made(inputs, build: Callable) -> Module:
    m = g.module_builder("sample")
    with m.function(inputs=[(f"x{n}", shape, dtype) for n, (shape, dtype) in enumerate(inputs)]) as values:
        m.outputs([("y", build(*values))])
    return m.finish()


def lowered(module: Module) -> Module:
    return PassManager(pipeline(2, "cuda:native")).run(module)


def dense(x):
    weight = g.weight(np.ones((8, 32), np.float32), name="w")
    bias = g.weight(np.ones(32, np.float32), name="b")
    product = g.matmul(x, weight)
    return g.relu(g.add(product, g.broadcast_to(bias, g.shape_of(product))))


SAMPLES = {
    "dense": (made([(("N", 8), "f32")], dense)),
    "softmax": made([(("N", 40), "f32")], lambda x: g.softmax(x, 1)),
    "half": made([((5, 7), "f16"), ((5, 7), "f16")], lambda x, y: g.exp(g.mul(x, y))),
    "integers": made([((5,), "i32"), ((5,), "i32")], lambda x, y: g.add(g.mul(x, y), x)),
    "cumulative": made([(("N", 9, 3), "f32")], lambda x: g.cumulative(x, 1, "sum")),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_source_of_small_kernels(name: str, update_golden: bool) -> None:
    files = sources(lowered(SAMPLES[name]), cuda_target()).files
    text = "\n".join(file.text for file in files)
    golden = FOLDER / f"{name}.cu"
    if update_golden:
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_grid_has_a_thread_for_every_point(name: str) -> None:
    """Of each launch: so many blocks that all threads together are at least the points, and no block more."""
    module = lowered(SAMPLES[name])
    for file in sources(module, cuda_target()).files:
        for code in file.kernels.values():
            for launch in code.launches:
                for size in (0, 1, 6, 257):
                    known = dict.fromkeys(code.extents, size)
                    blocks = [dims.evaluate(dims.parse(text), known) for text in launch.grid]
                    assert all(count >= 1 for count in launch.block) and prod(launch.block) <= 256
                    if "y" in launch.symbol and code.extents:
                        assert (0 in blocks) == (size == 0)


def test_every_op_that_native_code_has_a_text_for_has_one_in_cuda_c() -> None:
    """But for vectors, which no schedule for GPUs makes by itself, and what a schedule for CPUs fetches ahead."""
    missing = {name for name in llvm.PRINT.keys() - cuda.PRINT.keys() if not name.startswith("vector.")}
    assert missing == {"arith.maxnumf", "arith.minnumf", "memref.prefetch"}


@settings(max_examples=8, deadline=None)
@given(SIZES, SIZES, SIZES, st.booleans())
def test_the_loops_of_grids_compute_what_the_graph_does(n, m, k, symbolic) -> None:
    """Contraction with epilogue, softmax, and a reduction across: runs that share a launch, and runs that cannot."""
    rows = "N" if symbolic else n

    def build(x, w):
        product = g.matmul(x, w)
        return g.add(g.softmax(product, 1), g.relu(product)) if m else product

    module = made([((rows, k), "f32"), ((k, m), "f32")], build)
    rng = np.random.default_rng(n + m)
    arrays = [rng.standard_normal((n, k)).astype(np.float32), rng.standard_normal((k, m)).astype(np.float32)]
    for got, want in zip(run_program(lowered(module), arrays), run(module, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(SIZES, SIZES, st.sampled_from(["f16", "bf16", "f64", "i32", "bool"]))
def test_other_types_go_through_the_same_loops(n, m, dtype) -> None:
    module = made([((n, m), dtype)], lambda x: g.reduce(x, [0], "max") if dtype == "bool" else g.reduce(x, [0], "sum"))
    values = (np.random.default_rng(n).standard_normal((n, m)) * 4).astype(numpy_dtype(dtype))
    for got, want in zip(run_program(lowered(module), [values]), run(module, [values]), strict=True):
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=1e-2, atol=1e-2)


def test_positions_of_large_tensors_have_64_bits() -> None:
    """Known sizes and bounds decide; without bounds they have 32, and the table says what must stay below 2**31."""
    cases = {((1 << 16, 1 << 16), None): (8, []), (("N", 4), (0, 1 << 30)): (8, []), (("N", 4), None): (4, ["4*N"])}
    for (shape, bounds), (bytes, counts) in cases.items():
        module = made([(shape, "f32")], g.exp)
        if bounds is not None:
            module.symbols = {"N": bounds}
        found = sources(lowered(module), cuda_target())
        assert [code.index_bytes for file in found.files for code in file.kernels.values()] == [bytes]
        assert sorted(found.counts) == counts


def test_threads_of_large_tensors_are_counted_in_64_bits() -> None:
    """CUDA's own numbers of blocks and threads have 32 bits: their product would begin anew behind 2**32 elements."""
    text = "".join(sources(lowered(made([((1 << 17, 1 << 17), "i8")], g.neg)), cuda_target()).texts.values())
    assert "= (int64_t)blockIdx.x * 256 + threadIdx.x;" in text
    assert thread_number("int64_t", 128) == "(int64_t)blockIdx.x * 128 + threadIdx.x"
    assert thread_number("int", 128) == "blockIdx.x * 128 + threadIdx.x"


def test_names_of_nodes_stay_in_their_comment() -> None:
    assert on_one_line("a\nint broken;\u2028\r") == "a?int broken;??"
    assert on_one_line("C:\\") == "C:?"
    assert on_one_line("\u00e9tage /*1*/") == "\u00e9tage /*1*/"


def test_what_only_the_run_knows_counts_as_its_bound() -> None:
    """The table is asked before a run, which knows no counts yet."""
    compilation = Compilation()
    module = compilation.load(sum_of_positions())
    found = sources(lowered(module), cuda_target())
    assert found.counts and {name for text in found.counts for name in dims.parse(text).symbols()} == {"A", "B"}  # type: ignore[union-attr]


def test_brackets_stand_where_an_operand_needs_them() -> None:
    texts = {"x": "x", "x[i + 1]": "x[i + 1]", "a + b": "(a + b)", "f(a + b)": "f(a + b)", "-x": "(-x)", "(a) * (b)": "((a) * (b))", "(a + b)": "(a + b)", "(float)x": "((float)x)", "x[i].y": "x[i].y", "1.5f": "1.5f", "f(a)[i] + 1": "(f(a)[i] + 1)"}  # fmt: skip
    assert {text: enclosed(text) for text in texts} == texts


def test_sums_of_positions_are_written_with_what_moves_far_in_front() -> None:
    i, n = polynomial.name("i"), polynomial.name("n")
    seven = polynomial.number(7)
    total = polynomial.plus(polynomial.plus(polynomial.times(i, seven), polynomial.times(i, n)), seven, -1)
    assert polynomial.text(total) == "i * n + i * 7 - 7"
    assert polynomial.text(polynomial.plus(total, total, -1)) == "0"
    assert polynomial.text(polynomial.times(polynomial.plus(i, n), polynomial.number(4))) == "(i + n) * 4"


def test_a_text_brings_along_what_it_calls_and_no_more() -> None:
    found = prelude("y = mlc_softplus(mlc_max(x, 0.0f));")
    assert "mlc_softplus(float" in found and "max.NaN.f32" in found
    assert "mlc_power" not in found and "cp.async" not in found
    assert found.index("#if !defined(MLC_HOST)") < found.index("#endif") < found.index("mlc_softplus")
    assert prelude("y = x + 1;") == ""


def test_an_nvcc_that_is_named_is_taken_or_missed(monkeypatch, tmp_path) -> None:
    """And no other in its place, whatever lies on the PATH."""
    program = tmp_path / "nvcc"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("NVRTC", raising=False)
    for named in (tmp_path, tmp_path / "none", "nvcc-0"):
        monkeypatch.setenv("NVCC", str(named))
        with pytest.raises(mlc.MlcError, match=f"NVCC={named} is no program"):
            compiler()
    monkeypatch.setenv("NVCC", "nvcc")
    assert compiler().path == str(program)
    monkeypatch.delenv("NVCC")
    assert compiler().path == str(program)


def test_an_unknown_architecture_is_an_error_that_names_the_others() -> None:
    with pytest.raises(mlc.TargetUnavailable, match="unknown GPU architecture 'sm_95'"):
        cuda_target("sm_95")
    with pytest.raises(mlc.TargetUnavailable, match=r"sm_70'\n  sm_80 \(compute capability 8.0\) is the oldest"):
        cuda_target("sm_70")
    with pytest.raises(mlc.TargetUnavailable, match="Did you mean sm_90"):
        cuda_target("sm90")
    assert cuda_target("sm_86,sm_90a").archs == ("sm_86", "sm_90a", "compute_86")

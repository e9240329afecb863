"""Denormal numbers: they count as 0 in a call, or are kept, and what the caller has set stays as it was. NumPy computes with them."""

from __future__ import annotations

import ctypes
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlc
from mlc.cli import main
from mlc.codegen.llvm.float_mode import FloatMode
from mlc.codegen.llvm.object import compile_text, load
from mlc.errors import MlcError, ShapeError
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.numeric import compare_arrays
from tests.frontends.one_node import model
from tests.runtime.test_portable import foreign

SIZES = [1, 7, 100_003]


def denormals(size: int, dtype: type = np.float32) -> np.ndarray:
    """Every other number is denormal, of either sign; the others are 1 to 2."""
    rng = np.random.default_rng(size)
    x = rng.uniform(1, 2, size) * rng.choice([-1, 1], size)
    x[::2] *= float(np.finfo(dtype).tiny) / 4
    return x.astype(dtype)


def flushed(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.zeros_like(x), x)


def caller_computes_with_denormals() -> bool:
    small = np.full(9, 1e-39, np.float32)
    return bool(np.all(small * np.float32(2) == np.float32(2e-39)))


# Elements --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_operands_and_results_that_are_denormal_count_as_zero_or_are_kept(
    dtype: type, symbolic: bool, threads: int
) -> None:
    for size in SIZES:
        x, y = denormals(size, dtype), np.full(size, 3, dtype)
        small = np.full(size, np.finfo(dtype).tiny, dtype)
        shapes = {0: ["n"], 1: ["n"]} if symbolic else None
        for op, a, b in (("Mul", x, y), ("Add", x, np.zeros_like(x)), ("Div", small, y)):
            proto = model(op, [a, b], opset=14, shapes=shapes)
            exact = {"Mul": np.multiply, "Add": np.add, "Div": np.divide}[op]
            keep = mlc.compile(proto, threads=threads, denormals="keep")
            np.testing.assert_array_equal(keep(a, b), exact(a, b))
            flush = mlc.compile(proto, threads=threads)
            np.testing.assert_array_equal(flush(a, b), flushed(exact(flushed(a), flushed(b))))


def product(op: str, w: np.ndarray) -> onnx.ModelProto:
    """A convolution of size 1 or a product with constant weights over rows of any number."""
    shape = ["N", w.shape[1], "H"] if op == "Conv" else ["N", w.shape[0]]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("op", ["Conv", "MatMul"])
def test_denormal_weights_and_inputs_of_products_count_as_zero_or_are_kept(op: str) -> None:
    w = denormals(24 * 40).reshape((24, 40, 1) if op == "Conv" else (24, 40))
    x = denormals(2 * 40 * 5).reshape(2, 40, 5) if op == "Conv" else denormals(13 * 24).reshape(13, 24)
    x *= np.float32(1e-3)  # more of them are denormal, and their products with weights

    def exact(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        x, w = x.astype(np.float64), w.astype(np.float64)
        return np.einsum("mc,ncl->nml", w[..., 0], x) if op == "Conv" else x @ w

    np.testing.assert_allclose(mlc.compile(product(op, w))(x), exact(flushed(x), flushed(w)), rtol=1e-5, atol=1e-8)
    tiny = denormals(x.size).reshape(x.shape)
    tiny[np.abs(tiny) >= 1] = 0
    one = np.ones_like(w)
    assert not np.any(mlc.compile(product(op, one))(tiny))
    kept = mlc.compile(product(op, one), denormals="keep")(tiny)
    np.testing.assert_allclose(kept, exact(tiny, one), atol=1e-43)  # a few times the smallest number


@pytest.mark.parametrize("mode", ["flush", "keep"])
def test_half_precision_keeps_its_denormals_and_so_does_what_only_moves(mode: str) -> None:
    half = np.arange(0x6000, dtype=np.uint16).view(np.float16)  # 0 to 512
    moved = denormals(35).reshape(5, 7)
    brain = np.arange(0x2000, dtype=np.uint16).view(ml_dtypes.bfloat16)  # the first 128 are denormal
    for proto, inputs, want in (
        (model("Cast", [half], opset=19, to=TensorProto.FLOAT), [half], half.astype(np.float32)),
        (model("Cast", [half.astype(np.float32)], opset=19, to=TensorProto.FLOAT16), [half.astype(np.float32)], half),
        (model("Add", [half, half], opset=14), [half, half], half + half),
        (model("Transpose", [moved], opset=13), [moved], moved.T),
        (model("Gather", [moved, np.array([2, 0])], opset=13, constants=[1]), [moved], moved[[2, 0]]),
        (model("Cast", [brain], opset=19, to=TensorProto.FLOAT), [brain], brain.astype(np.float32)),
        (model("Cast", [brain], opset=19, to=TensorProto.FLOAT16), [brain], brain.astype(np.float16)),
    ):
        (found,) = mlc.compile(proto, denormals=mode).run(None, {f"x{i}": x for i, x in enumerate(inputs)})
        np.testing.assert_array_equal(found, want)


def test_constants_are_folded_as_written() -> None:
    graph = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]> g (float[N] x) => (float[3] a, float[N] b) <float[3] c = {1e-39, 1.0, -1e-39}, float[1] d = {1e-39}>
        { two = Constant<value = float {2.0}>() a = Mul(c, two) e = Mul(d, two) b = Add(x, e) }"""
    )
    x = np.zeros(4, np.float32)
    for mode, want in (("flush", 0), ("keep", np.float32(2e-39))):
        a, b = mlc.compile(graph, denormals=mode)(x)
        np.testing.assert_array_equal(a, np.array([2e-39, 2, -2e-39], np.float32))
        np.testing.assert_array_equal(b, np.full(4, want, np.float32))


# The caller ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["flush", "keep"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_caller_computes_with_denormals_after_a_call_and_after_one_that_fails(mode: str, threads: int) -> None:
    x = denormals(100_003)
    exe = mlc.compile(model("Exp", [x], opset=13, shapes={0: ["n"]}), threads=threads, denormals=mode)
    exe(x)
    assert caller_computes_with_denormals()
    exe.profile(x)
    assert caller_computes_with_denormals()
    with pytest.raises(MlcError):
        exe(x.reshape(1, -1))
    assert caller_computes_with_denormals()
    counts = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]> g (float[A] x, float[B] y) => (int64[1, C] z)
        { a = NonZero(x) b = NonZero(y) z = Add(a, b) }"""
    )
    broken = mlc.compile(counts, threads=threads, denormals=mode)
    with pytest.raises(ShapeError, match="count"):  # the machine code returns in its middle
        broken(np.ones(3, np.float32), np.ones(2, np.float32))
    assert caller_computes_with_denormals()


class Register:
    """The word of the CPU that says how this thread computes with floats."""

    def __init__(self) -> None:
        arch = cpu_target().arch
        if arch == "x86_64":
            read = "%p = alloca i32\n call void @llvm.x86.sse.stmxcsr(ptr %p)\n %v = load i32, ptr %p\n %w = zext i32 %v to i64"
            write = "%p = alloca i32\n %v = trunc i64 %w to i32\n store i32 %v, ptr %p\n call void @llvm.x86.sse.ldmxcsr(ptr %p)"
        else:
            read = "%w = call i64 @llvm.aarch64.get.fpcr()"
            write = "call void @llvm.aarch64.set.fpcr(i64 %w)"
        declared = "\n".join(FloatMode(arch).declared())
        text = f"{declared}\ndefine i64 @get() {{\n {read}\n ret i64 %w\n}}\ndefine void @set(i64 %w) {{\n {write}\n ret void\n}}"
        self.library = load([compile_text(text)])
        self.get = ctypes.CFUNCTYPE(ctypes.c_int64)(self.library.address("get"))
        self.set = ctypes.CFUNCTYPE(None, ctypes.c_int64)(self.library.address("set"))
        flush, upward = (0x8040, 0x4000) if arch == "x86_64" else (1 << 24, 1 << 22)
        self.modes = [flush, upward, flush | upward]


@pytest.fixture
def register() -> Iterator[Register]:
    found = Register()
    before = found.get()
    yield found
    found.set(before)


@pytest.mark.parametrize("mode", ["flush", "keep"])
def test_what_the_caller_has_set_stays_and_changes_no_bit(register: Register, mode: str) -> None:
    x = denormals(100_003)
    proto = model("Div", [x, x], opset=14)
    y = np.random.default_rng(1).uniform(1, 3, x.size).astype(np.float32)
    for threads in (1, 2):
        exe = mlc.compile(proto, threads=threads, denormals=mode)
        want, before = exe(x, y), register.get()
        for bits in register.modes:
            register.set(before | bits)
            found, after = exe(x, y), register.get()
            register.set(before)
            assert after & ~0x3F == (before | bits) & ~0x3F  # without the flags of what has happened
            np.testing.assert_array_equal(found.view(np.uint32), want.view(np.uint32))


@pytest.mark.skipif(not any(shutil.which(tool) for tool in ("cc", "ld")), reason="no cc and no ld on the PATH")
@pytest.mark.parametrize("mode", ["flush", "keep"])
def test_a_library_computes_as_the_executable_and_leaves_its_caller_alone(mode: str, tmp_path: Path) -> None:
    x = denormals(11)
    mlc.compile(model("Add", [x, x], opset=14), denormals=mode).export_library(tmp_path / "m.so")
    library = ctypes.CDLL(str(tmp_path / "m.so"))
    out = np.ones(11, np.float32)
    inputs, outputs = (ctypes.c_void_p * 2)(x.ctypes.data, x.ctypes.data), (ctypes.c_void_p * 1)(out.ctypes.data)
    assert library.m_run((ctypes.c_int64 * 1)(), inputs, outputs, None, None) == 0
    assert caller_computes_with_denormals()
    np.testing.assert_array_equal(out, x + x if mode == "keep" else flushed(x) * 2)


# The option ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["flush", "keep"])
def test_a_package_keeps_the_choice_also_where_it_is_compiled_again(
    mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = denormals(11)
    exe = mlc.compile(model("Add", [x, x], opset=14), denormals=mode)
    assert exe.report["denormals"] == mode
    exe.save(tmp_path / "m.mlc")
    with caplog.at_level(logging.ERROR, "mlc"):
        again = mlc.load_executable(foreign(tmp_path / "m.mlc"))
    for made in (mlc.load_executable(tmp_path / "m.mlc"), again):
        assert made.report["denormals"] == mode
        np.testing.assert_array_equal(made(x, x), x + x if mode == "keep" else flushed(x) * 2)


def test_a_choice_that_does_not_exist_is_refused() -> None:
    with pytest.raises(MlcError, match="denormals is 'never'"):
        mlc.CompileOptions(denormals="never")  # type: ignore[arg-type]


def test_the_command_line_takes_the_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = denormals(11)
    onnx.save(model("Add", [x, x], opset=14), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", x)
    texts: set[str] = set()
    given = [f"--input=x{i}=@{tmp_path / 'x.npy'}" for i in (0, 1)]
    for flags, want in (([], flushed(x) * 2), (["--denormals", "keep"], x + x)):
        assert main(["run", str(tmp_path / "m.onnx"), *given, *flags, "--save-output", str(tmp_path / "out")]) == 0
        np.testing.assert_array_equal(np.load(tmp_path / "out" / "y0.npy"), want)
        assert main(["run", str(tmp_path / "m.onnx"), *given, *flags, "--verify", "interpreter", "--atol=0"]) == 0
        assert main(["compare", str(tmp_path / "m.onnx"), *flags]) == 0
        assert main(["compile", str(tmp_path / "m.onnx"), *flags, "-o", str(tmp_path / "m.mlc")]) == 0
        assert main(["compile", str(tmp_path / "m.onnx"), *flags, "--emit", "llvm", "-o", str(tmp_path / "m.ll")]) == 0
        texts.add((tmp_path / "m.ll").read_text())
        capsys.readouterr()
        assert main(["check", str(tmp_path / "m.mlc"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["package"]["denormals"] == ("keep" if flags else "flush")
    assert len(texts) == 2
    assert main(["run", str(tmp_path / "m.mlc"), "--denormals", "keep"]) == 1


def test_differences_below_the_smallest_normal_number_are_none() -> None:
    for dtype in (np.float32, np.float64, ml_dtypes.bfloat16):
        tiny = np.array([ml_dtypes.finfo(dtype).tiny], dtype)
        zero = np.zeros(1, dtype)
        assert compare_arrays("y", zero, tiny / dtype(2), 0, 0).error == 0
        assert compare_arrays("y", zero, tiny / dtype(2), 0, 0).agrees
        assert not compare_arrays("y", zero, tiny * dtype(2), 0, 0).agrees
    assert compare_arrays("y", np.float32(0), np.float32(1e-39), 0, 0).agrees
    assert not compare_arrays("y", np.zeros(1, np.float16), np.full(1, 6e-8, np.float16), 0, 0).agrees

"""Which products tensor cores compute: those of f16 and bf16 always, those of f32 where the options give leave to round their operands; and
that each is what the type's rounding allows, in any order of threads, without races or conflicts of banks when fragments are read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mlc
from mlc.codegen.cuda.machine_code import compile_files
from mlc.codegen.cuda.source_files import sources
from mlc.ir import builder as g
from mlc.ir.dtypes import TABLE
from mlc.ir.kernel.cuda_target import cuda_target
from mlc.passes.kernel.rules import cuda
from mlc.passes.kernel.rules.by_target import option_of, target_of
from mlc.passes.kernel.rules.cuda.warp_tiles import SHAPES
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline
from mlc.testing import ORDERS, on_host, recorded
from mlc.testing.host_build import available
from tests.kernel import hand_made

needs_compiler = pytest.mark.skipif(available() is not None, reason=str(available()))
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")

# operands, option -> half a unit of the last bit that each factor keeps of an operand: 11 bits of tf32, 8 of bf16
KINDS = {
    ("f32", "tf32"): 2.0**-11,
    ("f32", "bf16"): 2.0**-8,
    ("bf16", "f32"): 0.0,
    ("f16", "f32"): 0.0,
}
STORED = {"f32": 2.0**-24, "bf16": 2.0**-8, "f16": 2.0**-11}  # the same of a result, rounded after A B and after + R
SIZES = [(1, 1, 1), (2, 7, 3), (33, 17, 64), (70, 40, 31), (129, 65, 16), (5, 0, 4), (5, 4, 0), (0, 3, 2)]


def products(dtype: str) -> mlc.Module:
    """relu(A B + R), and a batch of products with a transposed operand."""
    m = g.module_builder("products")
    shapes: dict[str, tuple[Any, ...]] = {
        "a": (70, 40),
        "b": (40, 100),
        "r": (70, 100),
        "x": (3, 20, 24),
        "y": (3, 36, 24),
    }
    with m.function(inputs=[(name, shape, dtype) for name, shape in shapes.items()]) as (a, b, r, x, y):
        m.outputs(
            [("c", g.relu(g.add(g.matmul(a, b), r))), ("z", g.relu(g.matmul(x, g.transpose(y, [0, 2, 1]))))],
        )
    return m.finish()


def numbers(exe: mlc.Executable, dtype: str, seed: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(spec.shape, np.float32).astype(TABLE[dtype].numpy) for spec in exe.get_inputs()]  # type: ignore[arg-type]


def within(got: object, a: np.ndarray, b: np.ndarray, r: np.ndarray, kind: tuple[str, str]) -> None:
    """Is it relu(A B + R) within what rounding gives: of operands, of sums in f32, of what is stored? relu makes no difference larger."""
    a, b, r = (x.astype(np.float64) for x in (a, b, r))
    sizes, lost = np.abs(a) @ np.abs(b), KINDS[kind]
    bound = (2 * lost + lost**2 + a.shape[-1] * 2.0**-23) * sizes + 2 * STORED[kind[0]] * (sizes + np.abs(r))
    assert (np.abs(np.asarray(got).astype(np.float64) - np.maximum(a @ b + r, 0)) <= bound).all()


@needs_compiler
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_products_are_what_their_rounding_allows_in_any_order_of_threads(kind) -> None:
    dtype, precision = kind
    exe = mlc.compile(products(dtype), target="cuda-on-cpu", precision=precision)
    inputs = numbers(exe, dtype)
    a, b, r, x, y = inputs
    assert all("Mma(" in kernel["schedule"] for kernel in exe.report["kernels"]), exe.report["kernels"]
    for order in ORDERS[:3]:
        c, z = on_host(exe, order)(*inputs)
        within(c, a, b, r, kind)
        within(z, x, np.swapaxes(y, 1, 2), np.zeros(1), kind)
    launch = recorded(exe, *inputs)[0]
    assert {use.ways for use in launch.watch().shared_uses() if not use.writes} <= {0, 1}
    if kind == ("f32", "tf32"):
        launch.check_races().require_clean()


@needs_compiler
def test_products_of_any_size_are_right() -> None:
    dtype, precision = kind = "f32", "tf32"
    m = g.module_builder("open")
    with m.function(inputs=[("a", ("M", "K"), dtype), ("b", ("K", "N"), dtype), ("r", ("N",), dtype)]) as (a, b, r):
        m.outputs([("c", g.relu(g.add(g.matmul(a, b), g.broadcast_to(r, g.shape_of(a)[:1] + g.shape_of(r)))))])
    exe = mlc.compile(m.finish(), target="cuda-on-cpu", precision=precision)
    rng = np.random.default_rng(1)
    for rows, columns, depth in SIZES:
        shapes = ((rows, depth), (depth, columns), (columns,))
        a, b, r = (rng.standard_normal(shape, np.float32).astype(TABLE[dtype].numpy) for shape in shapes)
        within(exe(a, b, r), a, b, r, kind)


@needs_compiler
def test_numbers_of_few_bits_lose_nothing() -> None:
    exe = mlc.compile(products("f32"), target="cuda-on-cpu", precision="bf16")
    a, b, r, x, y = (np.round(4 * array) for array in numbers(exe, "f32"))
    c, z = exe(a, b, r, x, y)
    np.testing.assert_array_equal(c, np.maximum(a @ b + r, 0))
    np.testing.assert_array_equal(z, np.maximum(x @ np.swapaxes(y, 1, 2), 0))


def scheduled(module: mlc.Module, target: str) -> dict[str, list[str]]:
    """The notes of each kernel, by its schedule."""
    from mlc.insight.decisions import describe

    done = PassManager([step for step in pipeline(2, target) if step.name not in ("lower", "plan-arena")]).run(module)
    return {kernel["schedule"]: kernel["notes"] for kernel in describe(done)}


def convolutions() -> mlc.Module:
    """A window of 3 x 3, then one of 1 x 1, which is a product of two matrices, then one row by a matrix."""
    m = g.module_builder("convolutions")
    shapes = {"x": (1, 12, 12, 8), "w": (3, 3, 8, 16), "v": (1, 1, 16, 32), "h": (1, 64), "u": (64, 48)}
    with m.function(inputs=[(name, shape, "f32") for name, shape in shapes.items()]) as (x, w, v, h, u):
        first = g.convolution(x, w, "n01c,01co->n01o")
        m.outputs([("y", g.convolution(first, v, "n01c,01co->n01o")), ("z", g.matmul(h, u))])
    return m.finish()


def test_a_report_says_of_every_product_in_which_precision_it_is_taken() -> None:
    plain, asked = scheduled(convolutions(), "cuda:sm_80"), scheduled(convolutions(), "cuda:sm_80+tf32")
    assert len(plain) == len(asked) == 3
    assert not any("Mma" in schedule or notes for schedule, notes in plain.items())
    rounded = [notes for schedule, notes in asked.items() if schedule.endswith(MMA)]
    others = [notes for schedule, notes in asked.items() if "Mma" not in schedule]
    assert rounded == [["products on tensor cores, f32 operands rounded to tf32, sums in f32"]]
    assert others == 2 * [["products in the operands' own type, not in tf32: no product of two matrices"]]


MMA = "Mma(m16n8k8_tf32) | resident 7"


def test_halves_need_no_leave_and_doubles_get_none() -> None:
    for dtype, target, instruction in (
        ("f16", "cuda:sm_80", "m16n8k16_f16"),
        ("bf16", "cuda:sm_80", "m16n8k16_bf16"),
        ("f16", "cuda:sm_80+bf16", "m16n8k16_f16"),
        ("f64", "cuda:sm_80+tf32", None),
        ("f32", "cuda:sm_80", None),
    ):
        for schedule in scheduled(products(dtype), target):
            assert (f"Mma({instruction})" in schedule) if instruction else "Mma" not in schedule, (dtype, schedule)


def test_the_tile_of_a_block_grows_with_the_product_and_with_what_the_gpu_has() -> None:
    def tile(size: int, arch: str, precision: str = "tf32") -> tuple[int, int]:
        kernel = hand_made.gemm(size, size, 512, weight=False)
        block = cuda.choose(kernel, replace(cuda_target(arch), precision=precision)).levels[0].tiles
        return block["m"], block["n"]

    assert tile(64, "sm_80") == (32, 32)
    assert tile(4096, "sm_80") == tile(4096, "sm_90a") == tile(4096, "sm_90a", "bf16") == (128, 128)
    areas = [np.prod(tile(size, "sm_90a")) for size in (64, 256, 512, 1024, 4096)]
    assert areas == sorted(areas) and len({*areas}) > 2


@needs_nvcc
def test_the_largest_tiles_stay_in_registers() -> None:
    texts = []
    for dtype, precision in KINDS:
        m = g.module_builder("large")
        with m.function(inputs=[(name, (4096, 4096), dtype) for name in "abr"]) as (a, b, r):
            m.outputs([("c", g.relu(g.add(g.matmul(a, b), r)))])
        target = option_of("cuda", "sm_80", precision)
        (file,) = sources(PassManager(pipeline(2, target)).run(m.finish()), target_of(target)).files
        assert f"__launch_bounds__({32 * SHAPES[0].warps}, {SHAPES[0].resident})" in file.text
        texts.append(file.text)
    for code in compile_files(texts, ("sm_80", "sm_90a"), "flush", None):
        for found in code.resources.values():
            for arch, row in found.items():
                assert row.registers <= 128 and row.spills == row.stack == 0, (arch, row)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"precision": "tf32"}, "target cpu does not compute in tf32"),
        ({"precision": "bf16"}, "target cpu does not compute in bf16\n  Choices here: f32. Target cuda"),
        ({"precision": "f16", "target": "cuda"}, "target cuda does not compute in f16\n  Choices here: f32, tf32, bf16"),
        ({"precision": "tf32", "target": "cuda", "keep_f32": ["c"]}, "no single nodes in f32"),
        ({"arch": "sm_80+tf32", "target": "cuda"}, "unknown GPU architecture"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_in_words(options: dict[str, Any], why: str) -> None:
    with pytest.raises(mlc.TargetUnavailable, match=why):
        mlc.compile(products("f32"), **options)

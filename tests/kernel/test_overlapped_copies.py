"""Tiles that are copied while others are multiplied: that results are right in any order of threads, with copies that land late or early, and that
a wait or a barrier too few in the generated text is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.codegen.cuda.kernel_source import kernel_source
from mlc.codegen.cuda.source_files import file_text
from mlc.ir import builder as g
from mlc.ir.kernel.cuda_target import cuda_target
from mlc.ir.kernel.interpreter import run_kernel
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Schedule, Stage
from mlc.passes.loops.lower import lower
from mlc.testing import ORDERS, HostModule, KernelFault, check_races
from mlc.testing.host_build import available
from tests.kernel import hand_made

needs_compiler = pytest.mark.skipif(available() is not None, reason=str(available()))
AMPERE = cuda_target("sm_80")
PIECES = (
    "Level(m = 32 block.x, n = 32 block.y) | Level(k = 16; A -> workgroup[1, 0]+4 async {0}; B -> workgroup async {0}) | "
    "Level(k = 1) | Level(m = 4 thread.y, n = 4 thread.x; A -> register; B -> register) | Level(m = 1, n = 4; D -> register) | Scalar"
)
WARPS = (
    "Level(m = 32 block.x, n = 32 block.y) | Level(k = 32; A -> workgroup+4 async 3; B -> workgroup+8 async 3) | "
    "Level(m = 16 thread.z, n = 16 thread.y) | Mma(m16n8k8_tf32)"
)


def lowered(schedule: str, m: int = 50, n: int = 40, k: int = 90) -> Kernel:
    return lower(hand_made.gemm(m, n, k, weight=False, epilogue=False), Schedule.parse(schedule), AMPERE)


def arrays(m: int = 50, n: int = 40, k: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(k)
    a, b = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((m, k), (k, n)))
    return a, b, np.full((m, n), np.nan, np.float32)


@needs_compiler
@pytest.mark.parametrize("schedule", [PIECES.format(2), PIECES.format(4), WARPS], ids=["two", "four", "warps"])
def test_products_are_exact_wherever_copies_land(schedule) -> None:
    found = kernel_source(lowered(schedule).functions(), "int")
    (launch,) = found.launches
    module, (a, b, result) = HostModule(file_text([found.text], AMPERE)), arrays()
    assert "mlc_cp_async" in found.text
    for order in ORDERS:
        result[...] = np.nan
        module.launch(
            launch.symbol,
            [int(c) for c in launch.grid],
            launch.block,
            [a, b, result],
            order=order,
            shared=launch.shared,
        )
        np.testing.assert_array_equal(result, a @ b)


@needs_compiler
@pytest.mark.parametrize("fault", ["wait", "barrier"])
def test_a_wait_or_barrier_too_few_is_found(fault) -> None:
    found = kernel_source(lowered(PIECES.format(2)).functions(), "int")
    wait = "    mlc_cp_async_wait<0>();\n    __syncthreads();\n"
    assert found.text.count(wait) == 1
    planted = wait.replace("<0>", "<1>") if fault == "wait" else wait.replace("    __syncthreads();\n", "")
    (launch,), (a, b, result) = found.launches, arrays()
    geometry = launch.symbol, [int(c) for c in launch.grid], launch.block, [a, b, result]
    clean, broken = (HostModule(file_text([text], AMPERE)) for text in (found.text, found.text.replace(wait, planted)))
    check_races(clean, *geometry).require_clean()
    assert not check_races(broken, *geometry).clean
    wrong = 0
    for order in ORDERS:
        result[...] = np.nan
        try:
            broken.launch(*geometry, order=order)
            wrong += not np.array_equal(result, a @ b)
        except KernelFault:
            wrong += 1
    assert wrong


def test_the_interpreter_computes_the_same_and_finds_no_races() -> None:
    for schedule in (PIECES.format(3), WARPS):
        a, b, result = arrays(20, 33, 70)
        run_kernel(lowered(schedule, 20, 33, 70), {"A": a, "B": b, "D": result}, races=True)
        np.testing.assert_array_equal(result, a @ b)


@needs_compiler
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_sizes(data) -> None:
    """Sums over one loop and over two that memory does not join, of f32 and f16."""
    sizes = st.sampled_from([0, 1, 2, 3, 7, 16, 17, 31, 64, 65])
    m, n, k, j = (data.draw(sizes) for _ in range(4))
    rng = np.random.default_rng(m + n)
    for dtype in (np.float32, np.float16):
        x, w = rng.integers(-4, 5, (m, j, k)).astype(dtype), rng.integers(-4, 5, (k, j, n)).astype(dtype)
        want = np.einsum("mjk,kjn->mn", x.astype(np.float64), w.astype(np.float64))
        np.testing.assert_array_equal(opened(np.dtype(dtype).name)(x, w), want.astype(dtype))


_opened: dict[str, mlc.Executable] = {}


def opened(dtype: str) -> mlc.Executable:
    """Compiled once."""
    if dtype not in _opened:
        m = g.module_builder("open")
        name = {"float32": "f32", "float16": "f16"}[dtype]
        shapes: list[tuple[str, tuple[Any, ...]]] = [("x", ("M", "J", "K")), ("w", ("K", "J", "N"))]
        with m.function(inputs=[(key, shape, name) for key, shape in shapes]) as (x, w):
            m.outputs([("y", g.contract(x, w, "mjk,kjn->mn"))])
        _opened[dtype] = mlc.compile(m.finish(), target="cuda-on-cpu")
    return _opened[dtype]


def test_what_is_too_small_for_such_copies_is_copied_by_threads() -> None:
    """Numbers of 16 bits that are transposed on the way."""
    m = g.module_builder("halves")
    with m.function(inputs=[("a", (64, 63), "f16"), ("b", (63, 64), "f16")]) as (a, b):
        m.outputs([("c", g.matmul(a, b))])
    from mlc.passes.manager import PassManager
    from mlc.passes.pipelines import pipeline

    done = str(PassManager(pipeline(2, "cuda:sm_80")).run(m.finish()).op)
    assert "Mma(m16n8k16_f16)" in done and "kernel.copy_async" not in done


def test_buffers_are_a_part_of_a_schedule() -> None:
    text = "Level(k = 16; A -> workgroup[1, 0]+4 async 3) | Scalar"
    schedule = Schedule.parse(text)
    assert schedule.levels[0].stage["A"] == Stage("workgroup", (1, 0), 4, buffers=3) and str(schedule) == text
    with pytest.raises(mlc.MlcError, match="the number behind 'async' is 1"):
        Schedule.parse("Level(k = 16; A -> workgroup async 1) | Scalar")
    wrong = (
        "Level(m = 8 block.x, n = 8 block.y) | Level(m = 4 thread.y, n = 4 thread.x; A -> register async 2) | Scalar"
    )
    with pytest.raises(mlc.MlcError, match="A is copied to register, which nothing does behind a thread's back"):
        lower(hand_made.gemm(8, 8, 8, weight=False), Schedule.parse(wrong), AMPERE)

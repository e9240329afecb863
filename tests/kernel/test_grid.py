"""Schedules for GPUs, at every stage: blocks and threads, shared memory, registers, partial tiles. The interpreter runs blocks and threads in
turns and finds what two of them touch between barriers; nothing here needs a GPU, nvcc or a C compiler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects import gpu, memref

from mlc.errors import InternalError, MlcError
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.interpreter import run_kernel
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Schedule
from mlc.ir.kernel.target import Lowering
from mlc.passes.loops.lower import lower
from tests.kernel import hand_made
from tests.kernel.native import floats


@dataclass(frozen=True)
class ToyGpu(CpuTarget):
    lowering: ClassVar[Lowering] = Lowering(
        ("workgroup", "register"),
        tuple(f"{kind}.{axis}" for kind in ("block", "thread") for axis in "xyz"),
        True,
        "guard",
        1024,
        "keep",
        64,
        4096,
    )


TOY = ToyGpu("toy", "", lanes=32, registers=255)

# a tile of a thread in one piece, and in four pieces that are 4 apart
TILE = (
    "Level(m = 8 block.y, n = 8 block.x) | Level(k = 4; A -> workgroup[1, 0]+4; B -> workgroup) | "
    "Level(m = 4 thread.y, n = 4 thread.x) | Level(k = 1; A, B -> register) | "
    "Level(m = 1, n = 4; bias, R, D -> register) | Scalar | resident 2"
)
PIECES = (
    "Level(m = 8 block.y, n = 8 block.x) | Level(k = 4; A -> workgroup[1, 0]+4; B -> workgroup) | Level(k = 1) | "
    "Level(m = 4, n = 4) | Level(m = 2 thread.y, n = 2 thread.x; A, B -> register) | "
    "Level(m = 1, n = 2; bias, R, D -> register) | Scalar"
)
NAIVE = "Level(m = 4 block.y, n = 8 block.x) | Level(m = 1 thread.y, n = 1 thread.x) | Scalar"
FOLDED = "Level(m = 2 block.x, n = 8 block.x) | Level(m = 1 thread.x, n = 2 thread.x) | Scalar"
SIZES = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 9, 13, 16])


def gemm_arrays(m: int, n: int, k: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    arrays = {"A": floats(m, k), "B": floats(k, n), "bias": floats(n), "R": floats(m, n), "D": np.full((m, n), np.nan, np.float32)}  # fmt: skip
    exact = arrays["A"].astype(np.float64) @ arrays["B"] + arrays["bias"] + arrays["R"]
    return arrays, np.maximum(exact, 0)


def lowered_at_every_stage(kernel: Kernel, text: str, run) -> Kernel:
    """The kernel on the toy GPU; `run(kernel)` sees it after each level, also when it is read back from its text."""

    def after(part: str, kernel: Kernel) -> None:
        kernel.op.verify()
        run(kernel)
        run(kernel.clone())

    return lower(kernel, Schedule.parse(text), TOY, after)


WARPS = (
    "Level(m = 32 block.y, n = 16 block.x) | Level(k = 16; A -> workgroup[1, 0]+8; B -> workgroup+8) | "
    "Level(m = 16 thread.z, n = 8 thread.y) | Mma({})"
)
ROUNDED = {"m16n8k8_tf32": 2e-3, "m16n8k16_bf16": 2e-2, "m16n8k16_f16": 2e-3}  # half a unit of the last bit, and some


@pytest.mark.parametrize("instruction", ROUNDED)
@settings(max_examples=2, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES)
def test_tensor_cores_multiply_rounded_numbers(instruction, m, n, k):
    """Exactly where the operands have few bits, and to the bits of the type where they have more."""
    arrays, want = gemm_arrays(m, n, k)

    def run(kernel: Kernel) -> None:
        arrays["D"][...] = np.nan
        run_kernel(kernel, arrays, races=True)
        bound = ROUNDED[instruction] * (np.abs(arrays["A"]) @ np.abs(arrays["B"])).max(initial=0.0) + 1e-5
        np.testing.assert_allclose(arrays["D"], want, rtol=0, atol=bound)

    lowered_at_every_stage(hand_made.gemm(m, n, k, weight=False), WARPS.format(instruction), run)
    for name in ("A", "B"):
        arrays[name][...] = np.round(arrays[name] * 4)
    want = np.maximum(arrays["A"].astype(np.float64) @ arrays["B"] + arrays["bias"] + arrays["R"], 0)
    done = lower(hand_made.gemm(m, n, k, weight=False), Schedule.parse(WARPS.format(instruction)), TOY)
    run_kernel(done, arrays)
    np.testing.assert_allclose(arrays["D"], want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("text", [TILE, PIECES, NAIVE, FOLDED], ids=["tile", "pieces", "naive", "folded"])
@settings(max_examples=3, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES, open_sizes=st.booleans())
def test_products_are_right_at_every_stage_without_races(text, m, n, k, open_sizes):
    arrays, want = gemm_arrays(m, n, k)

    def run(kernel: Kernel) -> None:
        arrays["D"][...] = np.nan
        run_kernel(kernel, arrays, {"M": m, "N": n, "K": k} if open_sizes else None, races=True)
        np.testing.assert_allclose(arrays["D"], want, rtol=1e-5, atol=1e-5)

    kernel = hand_made.gemm(*(("M", "N", "K") if open_sizes else (m, n, k)), weight=False)
    lowered_at_every_stage(kernel, text, run)


def test_the_registers_of_a_thread_hold_its_tile_alone():
    done = lower(hand_made.gemm(16, 16, 8, weight=False), Schedule.parse(TILE), TOY)
    text = done.text()
    assert 'memref.alloca() {alignment = 64 : i64} : memref<4x4xf32, "register">' in text, text
    assert {str(op.memref.type.memory_space) for op in done.op.walk() if isinstance(op, memref.AllocOp)} == {'"workgroup"'}  # fmt: skip
    assert done.launch == {"block.x": 2, "block.y": 2, "thread.x": 2, "thread.y": 2}
    assert "_shared: memref" not in text and "vector.load %A" in text and "vector.store" in text  # 16 bytes at a time


def test_a_missing_barrier_is_found():
    arrays, _ = gemm_arrays(16, 16, 8)
    done = lower(hand_made.gemm(16, 16, 8, weight=False), Schedule.parse(TILE), TOY)
    barriers = [op for op in done.op.walk() if isinstance(op, gpu.BarrierOp)]
    assert len(barriers) == 2
    for number in range(2):
        broken = done.clone()
        [op for op in broken.op.walk() if isinstance(op, gpu.BarrierOp)][number].detach()
        with pytest.raises(InternalError, match=r"a race: thread \d+ (reads|writes) elements of '[AB]_shared'"):
            run_kernel(broken, arrays, races=True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Level(m = 8 block.x) | Level(n = 8 block.x) | Scalar", "block.x would count 3 tiles and 2"),
        ("Level(n = 8 block.x) | Level(n = 2 thread.x) | Level(m = 4 thread.x) | Scalar", "thread.x would count 4 tiles and 5"),
    ],
)  # fmt: skip
def test_what_threads_cannot_share_is_refused(text, why):
    from mlc.passes.loops.refused import Refused

    with pytest.raises(Refused, match=why):
        lower(hand_made.gemm(20, 16, 8, weight=False), Schedule.parse(text), TOY)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Level(m = 16 block.x, n = 16 block.y) | Level(m = 1 thread.y, n = 1 thread.x) | Scalar", "with loop n a block has 256 threads, and toy allows 64"),
        ("Level(m = 64 block.x, n = 64 block.y) | Level(k = 16; A, B -> workgroup) | Level(m = 8 thread.y, n = 8 thread.x) | Scalar", "8192 bytes are staged in workgroup memory, 4096 of them for .[AB]., and a block of toy has 4096"),
        ("Level(m = 16 block.w) | Scalar", "'block.w' is no bind of a loop"),
        ("Level(k = 4 block.x) | Scalar", "loop k is reduced over"),
        ("Level(m = 16 block.x; D -> workgroup) | Scalar", "buffer D is written"),
        ("Level(m = 16 block.x) | Mma(m16n8k4) ", "'m16n8k4' is no instruction of a tensor core"),
        ("Level(m = 16 block.x) | Scalar | resident 0", "the number of resident blocks is 0"),
    ],
)  # fmt: skip
def test_what_no_gpu_can_run_is_an_error_that_names_the_limit(text, why):
    with pytest.raises(MlcError, match=why) as refused:
        lower(hand_made.gemm(64, 64, 64, weight=False), Schedule.parse(text), TOY)
    assert refused.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "Level(k = 16; A -> workgroup[1, 0]+4; B -> workgroup) | Mma(m16n8k16_bf16) | resident 2",
        "Level(m = 64 block.y, n = 32 block.x) | Level(m = 4 thread.y) | Scalar",
    ],
)
def test_schedules_for_gpus_are_read_as_they_are_printed(text):
    assert str(Schedule.parse(text)) == text


def test_a_processor_has_no_blocks():
    with pytest.raises(MlcError, match=r"x86-64-v4 knows no bind block.x"):
        lower(
            hand_made.gemm(16, 16, 8),
            Schedule.parse("Level(m = 8 block.x) | Scalar"),
            CpuTarget("x86-64-v4", "", 16, 32),
        )

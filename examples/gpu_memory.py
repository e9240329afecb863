"""What a GPU kernel reads, and where from: a vector sum, a sum over a window, and four ways to multiply matrices.

    python examples/gpu_memory.py            the schedules, the CUDA C that becomes of them, and what each reads of global memory

Needs g++, which compiles the CUDA C for this machine: its threads run in turns, and every access is counted. No GPU is needed, and none is timed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import FloatAttr, f32
from xdsl.ir import SSAValue

from mlc.codegen.cuda.kernel_source import kernel_source
from mlc.codegen.cuda.source_files import file_text
from mlc.ir.kernel.access import L
from mlc.ir.kernel.cuda_target import cuda_target
from mlc.ir.kernel.kernel import Body, Buffer, Kernel
from mlc.ir.kernel.schedule import Schedule
from mlc.passes.loops.lower import lower
from mlc.testing import HostModule, watch

GPU = cuda_target("sm_80")
N, WINDOW, BLOCK, SIDE = 4096, 5, 256, 128


def zero(b: Body, out: SSAValue) -> SSAValue:
    return b.insert(arith.ConstantOp(FloatAttr(0.0, f32))).result


def add(b: Body, x: SSAValue, y: SSAValue, *_: SSAValue) -> SSAValue:
    return b.insert(arith.AddfOp(x, y)).result


def vector_add() -> Kernel:
    """z[i] = x[i] + y[i]"""
    kernel = Kernel("vector_add", {name: Buffer((N,)) for name in "xyz"})
    x, y, z = kernel.buffers.values()
    kernel.structured({"i": N}, [(x, ("i",)), (y, ("i",))], (z, ("i",)), add)
    kernel.return_()
    return kernel


def window_sum() -> Kernel:
    """y[i] = x[i] + ... + x[i + 4]; x has two elements more on either side."""
    kernel = Kernel("window_sum", {"x": Buffer((N + WINDOW - 1,)), "y": Buffer((N,))})
    x, y = kernel.buffers.values()
    total = kernel.temporary((N,), name="total")
    kernel.structured({"i": N}, [], (total, ("i",)), zero)
    kernel.structured(
        {"i": N, "j": WINDOW}, [(x, (L("i") + "j",))], (total, ("i",)), lambda b, x, out: add(b, out, x), {"j"}
    )
    kernel.structured({"i": N}, [(total, ("i",))], (y, ("i",)), lambda b, x, out: x)
    kernel.return_()
    return kernel


def product() -> Kernel:
    """C = A B, all of them 128 x 128."""
    kernel = Kernel("product", {name: Buffer((SIDE, SIDE)) for name in "ABC"})
    a, b, c = kernel.buffers.values()
    total, tile = kernel.temporary((SIDE, SIDE), name="acc"), {"m": SIDE, "n": SIDE}
    kernel.structured(tile, [], (total, ("m", "n")), zero)

    def multiply_add(b: Body, x: SSAValue, y: SSAValue, out: SSAValue) -> SSAValue:
        return add(b, out, b.insert(arith.MulfOp(x, y)).result)

    operands = [(a, ("m", "k")), (b, ("k", "n"))]
    kernel.structured({**tile, "k": SIDE}, operands, (total, ("m", "n")), multiply_add, {"k"})
    kernel.structured(tile, [(total, ("m", "n"))], (c, ("m", "n")), lambda b, x, out: x)
    kernel.return_()
    return kernel


STAGED = "Level(m = 64 block.y, n = 64 block.x) | Level(k = 16; A -> workgroup[1, 0]+{pad}; B -> workgroup+{pad_b}) | "


@dataclass(frozen=True)
class Case:
    """A kernel, a schedule for it, and how many elements of its inputs it should read of global memory."""

    title: str
    make: object
    schedule: str
    loads: int


CASES = (
    Case("vector sum", vector_add, "Level(i = 256 block.x) | Level(i = 1 thread.x) | Scalar", 2 * N),
    Case("window sum: every thread reads its window", window_sum, "Level(i = 256 block.x) | Level(i = 1 thread.x) | Scalar", WINDOW * N),
    Case(
        "window sum: a block reads what its windows share",
        window_sum,
        "Level(i = 256 block.x; x -> workgroup) | Level(i = 1 thread.x) | Scalar",
        N + N // BLOCK * (WINDOW - 1),
    ),
    Case("product: a thread for each element", product, "Level(m = 16 block.y, n = 16 block.x) | Level(m = 1 thread.y, n = 1 thread.x) | Scalar", 2 * SIDE**3),
    Case(
        "product: 4 x 4 elements in the registers of a thread",
        product,
        "Level(m = 64 block.y, n = 64 block.x) | Level(m = 4 thread.y, n = 4 thread.x) | Level(k = 1; A, B -> register) | Level(m = 1, n = 4; C -> register) | Scalar",
        2 * SIDE**3 // 4,
    ),
    Case(
        "product: tiles of 64 x 16 and 16 x 64 in shared memory",
        product,
        STAGED.format(pad=4, pad_b=0) + "Level(m = 4 thread.y, n = 4 thread.x) | Level(k = 1; A, B -> register) | Level(m = 1, n = 4; C -> register) | Scalar",
        2 * SIDE**3 // 64,
    ),
    Case("product: tensor cores", product, STAGED.format(pad=8, pad_b=8) + "Level(m = 32 thread.z, n = 32 thread.y) | Mma(m16n8k8_tf32)", 2 * SIDE**3 // 64),
)  # fmt: skip


def run(case: Case) -> tuple[str, int, float]:
    """The CUDA C of a case, the elements that it reads of global memory, and its largest error, against float64."""
    kernel: Kernel = case.make()  # type: ignore[operator]
    done = lower(kernel, Schedule.parse(case.schedule), GPU)
    found = kernel_source(done.functions(), "int")
    text = file_text([found.text], GPU)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(buffer.type.get_shape()).astype(np.float32) for buffer in done.buffers.values()]  # type: ignore[attr-defined]
    *inputs, result = arrays
    (launch,) = found.launches
    seen = watch(HostModule(text), launch.symbol, [int(n) for n in launch.grid], launch.block, arrays)
    wide = [array.astype(np.float64) for array in inputs]
    match kernel.name:
        case "vector_add":
            want = wide[0] + wide[1]
        case "window_sum":
            want = np.lib.stride_tricks.sliding_window_view(wide[0], WINDOW).sum(-1)
        case _:
            want = wide[0] @ wide[1]
    loads = sum(seen.bytes_read(number) for number in range(len(inputs))) // 4
    return text[text.index(f"// {kernel.name}") :], loads, float(np.abs(result - want).max())


def main() -> None:
    for case in CASES:
        text, loads, error = run(case)
        print(
            f"{case.title}\n  {case.schedule}\n  reads {loads:,} elements of global memory, {case.loads:,} by its formula; error {error:.1e}\n"
        )
        print("\n".join(f"    {line}" for line in text.rstrip().splitlines()), "\n")


if __name__ == "__main__":
    main()

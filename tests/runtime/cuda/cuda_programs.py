"""Small programs of hand-written CUDA C with the plans and tables that a compiler would make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlc.codegen.cuda.launches import FileCode, KernelCode, Launch, LaunchTable
from mlc.ir import dims
from mlc.ir.kernel.cuda_target import cuda_target
from mlc.ir.kernel.plan import Argument, Lifetime, Plan, Step, TensorSpec
from mlc.ir.kernel.plan import Launch as Shared
from mlc.runtime.artifact import Artifact
from mlc.testing import host_build

N = dims.symbol("N")

TWO_STEPS = """
extern "C" __global__ void __launch_bounds__(64) scale(const float *__restrict__ x, const float *__restrict__ w, float *__restrict__ t, int n) {
  const int i = blockIdx.x * 64 + threadIdx.x;
  if (i < n) t[i] = x[i] * w[0];
}
extern "C" __global__ void __launch_bounds__(64) reverse_add(const float *__restrict__ t, const float *__restrict__ b, float *__restrict__ y, int n) {
  extern __shared__ float tile[];
  const int i = blockIdx.x * 64 + threadIdx.x;
  tile[threadIdx.x] = i < n ? t[n - 1 - i] : 0;
  __syncthreads();
  if (i < n) y[i] = tile[threadIdx.x] + b[0];
}
"""


def image(text: str) -> bytes:
    """What the stand-in loads as a module."""
    return host_build.shared_object(text, ("-O1", *host_build.processor_flags()))


def tiles(extent: dims.Extent, size: int) -> dims.Extent:
    return (extent + size - 1) // size


def two_steps(shared: int = 64 * 4) -> Artifact:
    """y = reverse(x * w) + b for x of N elements: a buffer between two kernels, two weights."""
    size = Argument("size", N)
    plan = Plan(
        inputs=(TensorSpec("x", "f32", (N,)),),
        outputs=(TensorSpec("y", "f32", (N,)),),
        weights=("w", "b"),
        sizes=(N, tiles(N, 64)),
        launches=(Shared(8 * N, tiles(N, 64)),),
        buffers=(Lifetime(4 * N, 0, 1),),
        steps=(
            Step("scale", ("mul",), 0, (Argument("input", 0), Argument("weight", 0), Argument("buffer", 0), size)),
            Step(
                "reverse_add", ("add",), 1, (Argument("buffer", 0), Argument("weight", 1), Argument("output", 0), size)
            ),
        ),
        symbols={"N": (0, None)},
        straight=True,
    )
    grid = ("((n + 63)//64)", "1", "1")
    table = LaunchTable(
        {
            "scale": KernelCode((Launch("scale", grid, (64, 1, 1)),), ("n",)),
            "reverse_add": KernelCode((Launch("reverse_add", grid, (64, 1, 1), shared),), ("n",)),
        },
        (FileCode(1, {"fatbin": 2}),),
        ("sm_90",),
    )
    weights = {"w": np.array([3.0], np.float32), "b": np.array([0.5], np.float32)}
    return Artifact(plan, [table.to_bytes(), TWO_STEPS.encode(), image(TWO_STEPS)], weights, cuda_target("sm_90"))


def expected(x: np.ndarray) -> np.ndarray:
    return (x * np.float32(3))[::-1] + np.float32(0.5)


UPDATE = """
extern "C" __global__ void __launch_bounds__(32) update(float *__restrict__ w, const float *__restrict__ g, float *__restrict__ total, int n) {
  __shared__ float sums[32];
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += 32) { w[i] -= 0.5f * g[i]; sum += w[i]; }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < 32; ++i) sum += sums[i];
    total[0] = sum;
  }
}
"""


def update() -> Artifact:
    """w -= g / 2 in place, and the sum of w after it."""
    arguments = (Argument("input", 0), Argument("input", 1), Argument("output", 1), Argument("size", N))
    plan = Plan(
        inputs=(TensorSpec("w", "f32", (N,)), TensorSpec("g", "f32", (N,))),
        outputs=(TensorSpec("w_new", "f32", (N,), alias="w"), TensorSpec("total", "f32", ())),
        sizes=(N,),
        steps=(Step("update", ("sub",), 0, arguments),),
        symbols={"N": (0, None)},
        straight=True,
    )
    return _one_kernel(plan, UPDATE, KernelCode((Launch("update", ("1", "1", "1"), (32, 1, 1)),), ("n",)))


APPEND = """
extern "C" __global__ void __launch_bounds__(32) append(const float *__restrict__ x, float *__restrict__ rows, long long p) {
  if (threadIdx.x < 3) rows[p * 3 + threadIdx.x] = x[threadIdx.x] + (p ? rows[p * 3 - 3 + threadIdx.x] : 0);
}
"""


def append() -> Artifact:
    """present = [past; x + last row of past]: `past` is the front of its memory."""
    arguments = (Argument("input", 1), Argument("output", 0), Argument("size", N))
    plan = Plan(
        inputs=(TensorSpec("past", "f32", (N, 3)), TensorSpec("x", "f32", (3,))),
        outputs=(TensorSpec("present", "f32", (N + 1, 3), front="past"),),
        sizes=(N,),
        steps=(Step("append", ("concat",), 0, arguments),),
        symbols={"N": (0, None)},
        straight=True,
    )
    code = KernelCode((Launch("append", ("1", "1", "1"), (32, 1, 1)),), ("p",), index_bytes=8)
    return _one_kernel(plan, APPEND, code)


def _one_kernel(plan: Plan, text: str, code: KernelCode) -> Artifact:
    table = LaunchTable({plan.steps[0].kernel: code}, (FileCode(1, {"fatbin": 2}),), ("sm_80", "compute_80"))
    return Artifact(plan, [table.to_bytes(), text.encode(), image(text)], {}, cuda_target("sm_80"))


def on_stand_in(artifact: Artifact) -> Artifact:
    """A compiled artifact whose code the stand-in loads."""
    table, objects = LaunchTable.from_bytes(artifact.objects[0]), list(artifact.objects)
    for file in table.files:
        made = image(objects[file.source].decode())
        for number in file.code.values():
            objects[number] = made
    return replace(artifact, objects=objects)

"""CUDA C on this machine: what kernels compute, what they are refused for, and how launches treat arguments."""

import re
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
import mlc.codegen.cuda
from mlc.testing import ORDERS, HostModule, KernelFault, Order, host_build

pytestmark = pytest.mark.skipif(host_build.available() is not None, reason=str(host_build.available()))

BASIC = r"""
#include "device.cuh"
#define COLUMNS 37
// extern "C" __global__ void not_a_kernel(int x);
extern "C" __global__ void saxpy(const float *x, float *y, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
extern "C" __global__ __launch_bounds__(6 * 4 * 2, 1) void where(int *out) {
  int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  atomicAdd(out + block * (blockDim.x * blockDim.y * blockDim.z) + thread, 1 + thread + 1000 * block);
}
extern "C" __global__ void __launch_bounds__(1024) total(const float *x, float *out, int n) {
  __shared__ float partial[32];
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
  for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < (blockDim.x + 31) / 32; ++w) sum += partial[w];
    *out = sum;
  }
}
extern "C" __global__ void reversed(const float4 *x, float4 *y, int n) {
  extern __shared__ float4 kept[];
  kept[threadIdx.x] = threadIdx.x < n ? __ldg(x + threadIdx.x) : make_float4(0, 0, 0, 0);
  __syncthreads();
  if (threadIdx.x < n) y[threadIdx.x] = kept[n - 1 - threadIdx.x];
}
extern "C" __global__ void unwritten(float *y) {
  __shared__ float fixed[4];
  MLC_DYNAMIC_SHARED(float, dynamic);
  y[0] = fixed[1], y[1] = dynamic[1];
  fixed[1] = dynamic[1] = 1;
}
extern "C" __global__ void halves(const double *x, float *out, uint16_t *bits, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  bits[i] = mlc_f64_to_f16(x[i]), bits[n + i] = mlc_f64_to_bf16(x[i]);
  bits[2 * n + i] = mlc_f32_to_f16((float)x[i]), bits[3 * n + i] = mlc_f32_to_bf16((float)x[i]);
  out[i] = mlc_f16_to_f32(bits[i]), out[n + i] = mlc_bf16_to_f32(bits[n + i]);
}
"""


@pytest.fixture(scope="module")
def basic() -> HostModule:
    return HostModule(BASIC)


@pytest.mark.parametrize("n", [0, 1, 31, 1000])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_threads_of_all_blocks_compute(basic, n, order):
    x, y = np.arange(n, dtype=np.float32), np.ones(n, np.float32)
    basic.launch("saxpy", 4, 256, [x, y, np.float32(2), n], order=order)
    np.testing.assert_array_equal(y, 2 * x + 1)


@pytest.mark.parametrize("order", ORDERS[:3], ids=str)
def test_blocks_and_threads_have_three_axes(basic, order):
    out = np.zeros((3 * 2 * 5, 2 * 4 * 6), np.int32)
    basic.launch("where", (3, 2, 5), (6, 4, 2), [out], order=order)
    block, thread = np.indices(out.shape)
    np.testing.assert_array_equal(out, 1 + thread + 1000 * block)


@pytest.mark.parametrize("threads", [1, 33, 1024])
@pytest.mark.parametrize("order", ORDERS[:3], ids=str)
def test_warps_and_shared_memory_sum(basic, threads, order):
    """A full mask stands for the lanes there are, as in a last warp of 1."""
    x, out = np.arange(3001, dtype=np.float32), np.zeros(1, np.float32)
    if threads == 1024:
        basic.launch("total", 1, threads, [x, out, x.size], order=order)
        assert out[0] == x.astype(np.float64).sum()
    else:  # a lane whose partner is not there adds what is undefined: NaN
        basic.launch("total", 1, threads, [x, out, x.size], order=order)
        assert np.isnan(out[0])


def test_dynamic_shared_memory_is_an_array(basic):
    x, y = np.arange(48, dtype=np.float32), np.zeros((12, 4), np.float32)
    basic.launch("reversed", 1, 16, [x, y, 12], shared=16 * 16)
    np.testing.assert_array_equal(y, x.reshape(12, 4)[::-1])


def test_shared_memory_that_nobody_wrote_is_nan_in_every_block(basic):
    y = np.zeros(2, np.float32)
    basic.launch("unwritten", 3, 1, [y], shared=8)
    assert np.isnan(y).all()


def test_numbers_of_16_bits_round_once(basic):
    rng = np.random.default_rng(0)
    scale = 2.0 ** rng.integers(-45, 45, 20000)
    ties = (rng.integers(0, 4096, 5000) + 0.5) * 2.0 ** rng.integers(
        -30, 8, 5000
    )  # half way between neighbours, or hardly beyond
    x = np.concatenate([rng.standard_normal(20000) * scale, ties, np.nextafter(ties, np.inf), np.nextafter(ties, 0)])
    x = np.concatenate([x, -x, [0.0, -0.0, np.inf, -np.inf, 65504, 65519.99, 65520, 3.4e38, 1e39, 2.0**-149]])
    out, bits = np.zeros((2, x.size), np.float32), np.zeros((4, x.size), np.uint16)
    basic.launch("halves", -(-x.size // 256), 256, [x, out, bits, x.size])
    with np.errstate(over="ignore"):
        single = x.astype(np.float32)
        np.testing.assert_array_equal(bits[0], x.astype(np.float16).view(np.uint16))
        np.testing.assert_array_equal(bits[2], single.astype(np.float16).view(np.uint16))
        np.testing.assert_array_equal(bits[3], single.astype(ml_dtypes.bfloat16).view(np.uint16))
    np.testing.assert_array_equal(out[0], bits[0].view(np.float16).astype(np.float32))
    np.testing.assert_array_equal(out[1], bits[1].view(ml_dtypes.bfloat16).astype(np.float32))
    neighbours = [
        (bits[1] + step).astype(np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
        for step in (np.uint16(1), np.uint16(65535))
    ]
    finite = np.isfinite(out[1]) & (np.abs(x) > 1e-37)
    for other in neighbours:
        with np.errstate(invalid="ignore"):
            near = np.abs(out[1].astype(np.float64) - x) <= np.abs(other - x)
        assert (near | ~np.isfinite(other))[finite].all()


HALVES = r"""
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
extern "C" __global__ void arithmetic(const __half *x, __half *y, const __nv_bfloat162 *u, __nv_bfloat162 *v) {
  const int i = threadIdx.x;
  y[i] = __hfma(x[i], x[i], __float2half(0.5f)) + x[i] * __half(2.0f);
  if (x[i] > y[i]) y[i] = -y[i];
  v[i] = __hmul2(u[i], __float2bfloat162_rn(3.0f)) + u[i];
}
extern "C" __global__ void scaled(float *x) { x[threadIdx.x] *= 0.5f; }
"""


def test_types_of_16_bits_compute_in_f32_and_round_once():
    module = HostModule(HALVES)
    x, u = np.linspace(-3, 3, 32).astype(np.float16), np.linspace(-1, 1, 64).astype(ml_dtypes.bfloat16)
    y, v = np.zeros_like(x), np.zeros_like(u)
    module.launch("arithmetic", 1, 32, [x, y, u, v])
    want = (x.astype(np.float64) ** 2 + 0.5).astype(np.float16) + x * np.float16(2)
    np.testing.assert_array_equal(y, np.where(x > want, -want, want))
    np.testing.assert_array_equal(v, u * ml_dtypes.bfloat16(3) + u)


@pytest.mark.parametrize("flush", [False, True])
def test_tiny_numbers_are_kept_or_flushed_as_asked(flush):
    x = np.full(4, 2.0**-126, np.float32)
    HostModule(HALVES, flush=flush).launch("scaled", 1, 4, [x])
    np.testing.assert_array_equal(x, 0 if flush else 2.0**-127)
    assert np.float32(2.0**-126) * np.float32(0.5) != 0  # outside of launches as before


# What is refused -----------------------------------------------------------------------------------------------------
def test_arguments_that_do_not_fit_are_refused_in_words(basic):
    x, y = np.zeros(4, np.float32), np.zeros(4, np.float32)
    for args, words in (
        ([x, y, np.float32(1)], "kernel 'saxpy' takes 4 arguments, 3 are given"),
        (
            [x.astype(np.float64), y, 1.0, 4],
            r"argument 0: takes a pointer to floating point of 4 bytes, the array has elements of 8",
        ),
        ([x.view(np.int32), y, 1.0, 4], "argument 0: takes a pointer to floating point of 4 bytes, the array is int32"),
        ([x, y[::2], 1.0, 2], "argument 1: the array is not row-major"),
        ([x, 1.5, 1.0, 4], "argument 1: takes a pointer to floating point of 4 bytes, a float is given"),
        ([x, y, 1.0, 2.5], "argument 3: takes an integer of 4 bytes, 2.5 is given"),
        ([x, y, 1.0, 1 << 31], "argument 3: takes an integer of 4 bytes, and 2147483648 is beyond it"),
        ([x, y, 1.0, x], "argument 3: takes an integer of 4 bytes, an array is given"),
    ):
        with pytest.raises(mlc.MlcError, match=words):
            basic.launch("saxpy", 1, 4, args)
    y.flags.writeable = False
    with pytest.raises(mlc.MlcError, match="argument 1: the kernel may write there, and the array is read-only"):
        basic.launch("saxpy", 1, 4, [x, y, 1.0, 4])
    basic.launch("saxpy", 1, 4, [y, x, 1.0, 4])
    with pytest.raises(mlc.MlcError, match="no kernel 'sapxy'\n  Did you mean saxpy"):
        basic.launch("sapxy", 1, 4, [])


@pytest.mark.parametrize(
    ("grid", "block", "shared", "words"),
    [
        (0, 1, 0, "a grid of 0 x 1 x 1 blocks"),
        ((1, 70000), 1, 0, "a grid of 1 x 70000 x 1 blocks"),
        (1, 1025, 0, "a block of 1025 x 1 x 1 threads"),
        (1, (1, 1, 65), 0, "a block of 1 x 1 x 65 threads"),
        (1, (7, 4, 2), 0, "a block of 56 threads, and __launch_bounds__ of the kernel says 48"),
        (1, 1, 1 << 20, "1048576 bytes of dynamic shared memory, and a block has 232448"),
    ],
)
def test_launches_that_no_gpu_takes_are_refused(basic, grid, block, shared, words):
    with pytest.raises(KernelFault, match=f"kernel 'where': {words}"):
        basic.launch("where", grid, block, [np.zeros(64, np.int32)], shared=shared)


def test_what_is_no_kernel_is_refused_in_words():
    with pytest.raises(mlc.MlcError, match="the text has no kernel"):
        HostModule("int f() { return 1; }")
    with pytest.raises(host_build.CompileFault, match="kernel.cu:1:.*'y' was not declared"):
        HostModule('extern "C" __global__ void f(float *x) { x[0] = y; }')
    with pytest.raises(mlc.MlcError, match="turns are forward, reverse, shuffled, not 'sideways'"):
        Order("sideways")  # type: ignore[arg-type]


# Threads that wait ---------------------------------------------------------------------------------------------------
FAULTS = {
    "barrier divergence: 32 threads wait at line 2, 32 have returned or wait elsewhere": (
        "if (threadIdx.x < 32) __syncthreads();",
        64,
    ),
    "barrier divergence: threads wait in barrier 0 at lines 2 and 3": (
        "if (threadIdx.x < 32) __syncthreads();\nelse __syncthreads();",
        64,
    ),
    "warp divergence: 16 lanes wait at line 3 for lanes that have returned or wait elsewhere": (
        "if (threadIdx.x < 16) return;\nx[0] = __shfl_xor_sync(~0u, x[0], 1);",
        32,
    ),
    "warp divergence: lanes of one warp are at lines 2 and 3": (
        "if (threadIdx.x < 16) __syncwarp();\nelse __syncwarp();",
        32,
    ),
    "warp divergence: lanes meet at line 2 while some of them wait for others elsewhere": (
        "if (threadIdx.x & 1) __syncwarp(0x2 | 0xf0); else __syncwarp(0xf1 | 0x4);",
        32,
    ),
    "line 2: lane 1 is not in its own mask 00000001": ("__syncwarp(1);", 32),
    "deadlock: 63 threads wait at line 4 for an mbarrier, and nobody arrives": (
        """__shared__ unsigned long long b; if (threadIdx.x == 0) mlc_mbarrier_init(&b, 2);
__syncthreads();
if (threadIdx.x == 0) mlc_mbarrier_arrive(&b); else mlc_mbarrier_wait(&b, 0);""",
        64,
    ),
    "line 2: an mbarrier that nobody has initialised": (
        "__shared__ unsigned long long b; mlc_mbarrier_arrive(&b);",
        1,
    ),
    "line 2: cp.async of 16 bytes at an address that is no multiple of 16": (
        "MLC_DYNAMIC_SHARED(float, s); mlc_cp_async16(s + 1, x);",
        1,
    ),
    "line 2: ldmatrix of a row that is not on a boundary of 16 bytes": (
        "MLC_DYNAMIC_SHARED(float, s); unsigned r[4]; mlc_ldmatrix_x4(r, s + 1);",
        32,
    ),
    "line 2: there is no barrier 16, a block has 16": ("mlc_barrier_sync(16, 32);", 32),
}


def test_threads_that_wait_in_vain_are_faults_with_lines_and_do_not_hang():
    texts = [
        f'extern "C" __global__ void f{number}(float *x) {{\n#line 2\n{body}\n}}'
        for number, (body, _) in enumerate(FAULTS.values())
    ]
    module = HostModule('#include "device.cuh"\n' + "\n".join(texts))
    for number, (words, (_, threads)) in enumerate(FAULTS.items()):
        for order in ORDERS[:3]:
            with pytest.raises(KernelFault, match=words if order is ORDERS[0] else "kernel 'f"):
                module.launch(f"f{number}", 1, threads, [np.zeros(64, np.float32)], shared=1024, order=order)


def test_after_a_fault_the_next_launch_is_as_ever(basic):
    x, out = np.ones(64, np.float32), np.zeros(1, np.float32)
    with pytest.raises(KernelFault):
        basic.launch("where", 1, 1025, [np.zeros(64, np.int32)])
    basic.launch("total", 1, 64, [x, out, 64])
    assert out[0] == 64


def test_python_threads_may_launch_at_the_same_time(basic):
    failures = []

    def work(seed: int) -> None:
        x = np.random.default_rng(seed).integers(0, 100, 5000).astype(np.float32)
        for _ in range(20):
            out = np.zeros(1, np.float32)
            basic.launch("total", 1, 1024, [x, out, x.size])
            if out[0] != x.sum():
                failures.append((seed, out[0]))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def test_modules_may_have_kernels_of_one_name():
    head = 'extern "C" __global__ void f'
    one, two = HostModule(head + "(float *x) { x[0] = 1; }"), HostModule(head + "(int n, double *x) { x[0] = n; }")
    x, y = np.zeros(1, np.float32), np.zeros(1)
    one.launch("f", 1, 1, [x])
    two.launch("f", 1, 1, [7, y])
    assert (x[0], y[0]) == (1, 7)
    assert len(one.parameters["f"]) == 1


# Warps ---------------------------------------------------------------------------------------------------------------
WARP = r"""
#include "device.cuh"
extern "C" __global__ void shuffles(const int *x, int *out, int by, int width, unsigned half) {
  int lane = threadIdx.x, v = x[lane];
  out[lane] = __shfl_sync(~0u, v, by, width);
  out[32 + lane] = __shfl_xor_sync(~0u, v, by, width);
  out[64 + lane] = __shfl_up_sync(~0u, v, by, width);
  out[96 + lane] = __shfl_down_sync(~0u, v, by, width);
  out[128 + lane] = __ballot_sync(~0u, v & 1);
  out[160 + lane] = __reduce_add_sync(~0u, v);
  if (half >> lane & 1) out[192 + lane] = __reduce_max_sync(half, v);  // two parts of a warp at once
  else out[192 + lane] = __reduce_min_sync(~half, v);
  long long wide = __shfl_xor_sync(~0u, (long long)v << 32, 1);
  out[224 + lane] = wide >> 32;
}
"""


@settings(max_examples=60, deadline=None)
@given(by=st.integers(0, 31), log=st.integers(0, 5), half=st.integers(1, (1 << 32) - 2), seed=st.integers(0, 99))
def test_lanes_exchange_as_cuda_says(by, log, half, seed):
    width = 1 << log
    x, out = np.random.default_rng(seed).integers(-1000, 1000, 32).astype(np.int32), np.zeros((8, 32), np.int32)
    _warp().launch("shuffles", 1, 32, [x, out, by, width, half], order=ORDERS[seed % 3])
    lane = np.arange(32)
    first = lane // width * width
    inside = lane % width
    np.testing.assert_array_equal(out[0], x[first + by % width])
    np.testing.assert_array_equal(out[1], x[np.where((lane ^ by) < first + width, lane ^ by, lane)])
    np.testing.assert_array_equal(out[2], x[np.where(inside >= by, lane - by, lane)])
    np.testing.assert_array_equal(out[3], x[np.where(inside + by < width, lane + by, lane) % 32])
    votes = int(((x & 1).astype(np.int64) << lane).sum())
    np.testing.assert_array_equal(out[4].view(np.uint32), votes)
    np.testing.assert_array_equal(out[5], x.sum())
    chosen = (half >> lane & 1).astype(bool)
    np.testing.assert_array_equal(out[6], np.where(chosen, x[chosen].max(), x[~chosen].min()))
    np.testing.assert_array_equal(out[7], x[lane ^ 1])


def _warp() -> HostModule:
    if "warp" not in _MADE:
        _MADE["warp"] = HostModule(WARP)
    return _MADE["warp"]


_MADE: dict[str, HostModule] = {}


def test_every_function_of_the_device_header_has_a_twin_on_this_machine():
    device = (Path(mlc.codegen.cuda.__file__).parent / "device.cuh").read_text()
    host = (host_build.HOST / "device.h").read_text()
    names = [
        set(re.findall(r"MLC_DEVICE [\w ]+?[ *](mlc_\w+)\(", text)) | set(re.findall(r"MLC_MMA\((mlc_\w+),", text))
        for text in (device, host)
    ]
    assert names[0] - names[1] == {"mlc_shared_address"}  # for PTX alone
    assert names[1] - names[0] == set()
    assert len(names[1]) > 20

"""Kernels that use what generated code uses: staged tiles, copies under way, tensor cores, warps; right ones, to plant faults in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# C(M, N) = A(M, K) B(K, N) by blocks of 32 x 32: A transposed on its way to shared memory, B by asynchronous copies, two buffers, 4 x 4 per thread.
STAGED = r"""
#include "device.cuh"
extern "C" __global__ void __launch_bounds__(64) staged(const float *A, const float *B, float *C, int M, int N, int K) {
  constexpr int TILE = 32, DEPTH = 8;
  __shared__ float a[2][DEPTH][TILE + 4];
  __shared__ __align__(16) float b[2][DEPTH][TILE];
  const int t = threadIdx.x, row = blockIdx.y * TILE, column = blockIdx.x * TILE, steps = (K + DEPTH - 1) / DEPTH;
  auto fetch = [&](int step) {
    const int k = step * DEPTH, m = t / 2, part = t % 2 * 4;
    for (int i = 0; i < 4; ++i)
      a[step & 1][part + i][m] = row + m < M && k + part + i < K ? A[(row + m) * K + k + part + i] : 0.f;
    const int kb = k + t / 8, n = column + t % 8 * 4;
    const bool inside = kb < K && n < N;
    mlc_cp_async16(&b[step & 1][t / 8][t % 8 * 4], B + (inside ? kb * N + n : 0), inside ? 16 : 0);
    mlc_cp_async_commit();
  };
  float sum[4][4] = {};
  fetch(0);
  for (int step = 0; step < steps; ++step) {
    mlc_cp_async_wait<0>();
    __syncthreads();  // this step's tiles are there, and nobody reads the other buffer any more
    if (step + 1 < steps) fetch(step + 1);
    for (int k = 0; k < DEPTH; ++k) {
      const float4 x = *reinterpret_cast<const float4 *>(&a[step & 1][k][t / 8 * 4]);
      const float4 y = *reinterpret_cast<const float4 *>(&b[step & 1][k][t % 8 * 4]);
      const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(xs[i], ys[j], sum[i][j]);
    }
  }
  for (int i = 0; i < 4; ++i) {
    const int m = row + t / 8 * 4 + i, n = column + t % 8 * 4;
    if (m < M && n < N) *reinterpret_cast<float4 *>(C + m * N + n) = make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
  }
}
"""

# C(M, N) = A(M, K) W(N, K) transposed on tensor cores: blocks of 32 x 32 by 4 warps of 16 x 16, three stages under way, chunks swizzled.
MATRIX = r"""
#include "device.cuh"
extern "C" __global__ void __launch_bounds__(128) matrix(const float *A, const float *W, float *C, int M, int N, int K) {
  constexpr int STAGES = 3, DEPTH = 32;
  MLC_DYNAMIC_SHARED(float, shared);  // [STAGES][A or W][32][DEPTH]
  const int t = threadIdx.x, lane = t & 31, warp = t >> 5, row = blockIdx.y * 32, column = blockIdx.x * 32, steps = (K + DEPTH - 1) / DEPTH;
  auto fetch = [&](int step) {
    float *to = shared + step % STAGES * 2 * 32 * DEPTH;
    for (int i = 0; i < 2; ++i) {
      const int r = t / 8 + 16 * i, chunk = t % 8, k = step * DEPTH + chunk * 4, at = r * DEPTH + (chunk ^ (r & 7)) * 4;
      const bool in_a = row + r < M && k < K, in_w = column + r < N && k < K;
      mlc_cp_async16(to + at, A + (in_a ? (row + r) * K + k : 0), in_a ? 16 : 0);
      mlc_cp_async16(to + 32 * DEPTH + at, W + (in_w ? (column + r) * K + k : 0), in_w ? 16 : 0);
    }
  };
  for (int step = 0; step < STAGES - 1; ++step) {
    if (step < steps) fetch(step);
    mlc_cp_async_commit();
  }
  float sum[2][4] = {};
  for (int step = 0; step < steps; ++step) {
    mlc_cp_async_wait<STAGES - 2>();
    __syncthreads();  // the step has landed for all, and everyone is through with the one before
    if (step + STAGES - 1 < steps) fetch(step + STAGES - 1);
    mlc_cp_async_commit();
    const float *a = shared + step % STAGES * 2 * 32 * DEPTH, *w = a + 32 * DEPTH;
    for (int k = 0; k < DEPTH / 4; k += 2) {
      unsigned x[4], y[4];
      const int part = lane >> 3, r = (warp >> 1) * 16 + (part & 1) * 8 + (lane & 7), s = (warp & 1) * 16 + (part >> 1) * 8 + (lane & 7);
      mlc_ldmatrix_x4(x, a + r * DEPTH + ((k + (part >> 1)) ^ (r & 7)) * 4);
      mlc_ldmatrix_x4(y, w + s * DEPTH + ((k + (part & 1)) ^ (s & 7)) * 4);
      for (int i = 0; i < 4; ++i) x[i] = mlc_f32_to_tf32(__uint_as_float(x[i])), y[i] = mlc_f32_to_tf32(__uint_as_float(y[i]));
      const unsigned first[2] = {y[0], y[1]}, second[2] = {y[2], y[3]};
      mlc_mma_m16n8k8_tf32(sum[0], x, first);
      mlc_mma_m16n8k8_tf32(sum[1], x, second);
    }
  }
  for (int j = 0; j < 2; ++j)
    for (int e = 0; e < 4; ++e) {
      const int m = row + (warp >> 1) * 16 + (lane >> 2) + e / 2 * 8, n = column + (warp & 1) * 16 + j * 8 + (lane & 3) * 2 + (e & 1);
      if (m < M && n < N) C[m * N + n] = sum[j][e];
    }
}
"""

# Rows of x less their mean, a block per row: shuffles in a warp, shared memory between warps.
CENTRED = r"""
extern "C" __global__ void __launch_bounds__(128) centred(const float *x, float *y, int columns) {
  __shared__ float part[4];
  float sum = 0;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += x[blockIdx.x * columns + i];
  for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
  __syncthreads();
  const float mean = (part[0] + part[1] + part[2] + part[3]) / columns;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) y[blockIdx.x * columns + i] = x[blockIdx.x * columns + i] - mean;
}
"""

# One warp loads tiles of 32 that another doubles: mbarriers say that a buffer is full, and that it is free again.
PIPED = r"""
#include "device.cuh"
extern "C" __global__ void __launch_bounds__(64) piped(const float *x, float *y, int tiles) {
  __shared__ unsigned long long full[2], empty[2];
  __shared__ float tile[2][32];
  const int lane = threadIdx.x % 32;
  if (threadIdx.x == 0)
    for (int i = 0; i < 2; ++i) mlc_mbarrier_init(&full[i], 32), mlc_mbarrier_init(&empty[i], 32);
  __syncthreads();
  if (threadIdx.x < 32) {
    for (int t = 0; t < tiles; ++t) {
      if (t >= 2) mlc_mbarrier_wait(&empty[t % 2], (t / 2 - 1) % 2);
      tile[t % 2][lane] = x[t * 32 + lane];
      mlc_mbarrier_arrive(&full[t % 2]);  // every lane, for what it stored
    }
  } else {
    for (int t = 0; t < tiles; ++t) {
      mlc_mbarrier_wait(&full[t % 2], t / 2 % 2);
      const float mirrored = tile[t % 2][31 - lane];
      mlc_mbarrier_arrive(&empty[t % 2]);
      y[t * 32 + lane] = 2 * mirrored;
    }
  }
}
"""

# The same with asynchronous copies, which arrive when they land.
COPIED = PIPED.replace("piped", "copied").replace(
    "      tile[t % 2][lane] = x[t * 32 + lane];\n      mlc_mbarrier_arrive(&full[t % 2]);  // every lane, for what it stored\n",
    "      mlc_cp_async4(&tile[t % 2][lane], x + t * 32 + lane);\n      mlc_cp_async_arrive(&full[t % 2]);\n",
)


@dataclass(frozen=True)
class Case:
    """A launch, what it must compute, and how near."""

    text: str
    kernel: str
    grid: tuple[int, ...]
    block: int
    args: Callable[[], list[Any]]  # new ones for each launch; the result is the array of NaN
    want: np.ndarray
    tolerance: float
    shared: int = 0

    def with_text(self, old: str, new: str) -> Case:
        assert old in self.text, old
        return replace(self, text=self.text.replace(old, new, 1))

    def named(self, name: str) -> Case:
        """Under another name, to stand in one text with others."""
        return replace(self, kernel=name, text=self.text.replace(f" {self.kernel}(", f" {name}("))


def result_of(args: list[Any]) -> np.ndarray:
    return next(arg for arg in args if isinstance(arg, np.ndarray) and np.isnan(arg).all())


def product(text: str, kernel: str, m: int, n: int, k: int) -> Case:
    rng = np.random.default_rng(m * n + k)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    second = np.ascontiguousarray(b.T) if kernel == "matrix" else b
    return Case(
        text,
        kernel,
        (-(-n // 32), -(-m // 32)),
        128 if kernel == "matrix" else 64,
        lambda: [a, second, np.full((m, n), np.nan, np.float32), m, n, k],
        a.astype(np.float64) @ b,
        1e-3 if kernel == "matrix" else 1e-6,
        3 * 2 * 32 * 32 * 4 if kernel == "matrix" else 0,
    )


def staged(m: int = 33, n: int = 36, k: int = 29) -> Case:
    return product(STAGED, "staged", m, n, k)


def matrix(m: int = 33, n: int = 47, k: int = 132) -> Case:
    return product(MATRIX, "matrix", m, n, k)


def centred(rows: int = 3, columns: int = 301) -> Case:
    x = np.random.default_rng(columns).standard_normal((rows, columns)).astype(np.float32) + 100
    want = x - x.astype(np.float64).mean(1, keepdims=True)
    return Case(CENTRED, "centred", (rows,), 128, lambda: [x, np.full_like(x, np.nan), columns], want, 1e-4)


def piped(tiles: int = 7, copies: bool = False) -> Case:
    x = np.arange(tiles * 32, dtype=np.float32).reshape(tiles, 32)
    text, kernel = (COPIED, "copied") if copies else (PIPED, "piped")
    return Case(text, kernel, (1,), 64, lambda: [x, np.full_like(x, np.nan), tiles], 2 * x[:, ::-1], 1e-7)

"""Counted accesses against what each kernel's text says, and the cost of a warp's addresses against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.testing import HostModule, Order, accesses, bank_ways, host_build, sectors, watch
from tests.testing.sample_kernels import matrix, staged

needs_compiler = pytest.mark.skipif(host_build.available() is not None, reason=str(host_build.available()))

TEXT = r"""
#include "device.cuh"
#define RADIUS 2
extern "C" __global__ void add(const float *x, const float *y, float *z, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) z[i] = x[i] + y[i];
}
extern "C" __global__ void window(const float *x, float *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0;
  for (int d = 0; d <= 2 * RADIUS; ++d) sum += x[i + d];
  y[i] = sum;
}
extern "C" __global__ void window_shared(const float *x, float *y, int n) {
  __shared__ float tile[64 + 2 * RADIUS];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = x[i];
  if (threadIdx.x < 2 * RADIUS) tile[64 + threadIdx.x] = x[i + 64];
  __syncthreads();
  float sum = 0;
  for (int d = 0; d <= 2 * RADIUS; ++d) sum += tile[threadIdx.x + d];
  y[i] = sum;
}
extern "C" __global__ void vectors(const float4 *x, float4 *y) {
  const float4 v = x[threadIdx.x];
  y[threadIdx.x] = make_float4(v.w, v.z, v.y, v.x);
}
extern "C" __global__ void turned(const float *x, float *y) {
  MLC_DYNAMIC_SHARED(float, tile);
  for (int i = 0; i < 32; ++i) tile[i * 32 + threadIdx.x] = x[i * 32 + threadIdx.x];
  __syncwarp();
  for (int i = 0; i < 32; ++i) y[threadIdx.x * 32 + i] = tile[threadIdx.x * 32 + i];
}
extern "C" __global__ void next_block(float *x) {
  x[blockIdx.x] = blockIdx.x ? x[blockIdx.x - 1] + 1 : 0;
}
extern "C" __global__ void counts(const int *x, int *bins) { atomicAdd(bins + x[blockIdx.x * blockDim.x + threadIdx.x], 1); }
extern "C" __global__ void own(const float *x, float *y) {
  float kept[8];
  for (int i = 0; i < 8; ++i) kept[i] = x[i];
  float sum = 0;
  for (int i = 0; i < 8; ++i) sum = sum * 2 + kept[(i + threadIdx.x) % 8];
  y[threadIdx.x] = sum;
}
"""
LINE = {text.strip(): number for number, text in enumerate(TEXT.splitlines(), 1)}


@pytest.fixture(scope="module")
def module() -> HostModule:
    return HostModule(TEXT)


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@needs_compiler
@pytest.mark.parametrize("n", [1, 64, 1000])
def test_each_element_of_a_sum_is_loaded_once(module, n):
    seen = watch(module, "add", 16, 64, [floats(n), floats(n), floats(n), n])
    assert [seen.bytes_read(i) for i in range(3)] == [4 * n, 4 * n, 0]
    assert [seen.bytes_written(i) for i in range(3)] == [0, 0, 4 * n]


@needs_compiler
def test_shared_memory_saves_the_loads_that_it_should(module):
    n, block, radius = 256, 64, 2
    x = np.arange(n + 2 * radius, dtype=np.float32)
    results = []
    for kernel, loads in (("window", 5 * n), ("window_shared", n + n // block * 2 * radius)):
        y = floats(n)
        seen = watch(module, kernel, n // block, block, [x, y, n])
        assert seen.bytes_read(0) == 4 * loads
        assert sum(seen.table["array"] == 0) == loads
        results.append(y)
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(results[0], np.lib.stride_tricks.sliding_window_view(x, 5).sum(1))


@needs_compiler
def test_vectors_are_one_access(module):
    seen = watch(module, "vectors", 1, 32, [floats(32, 4), floats(32, 4)])
    assert [
        (use.argument, use.writes, use.bytes, use.warps, use.sectors, use.fewest) for use in seen.global_uses()
    ] == [
        (0, False, 16, 1, 16, 16),
        (1, True, 16, 1, 16, 16),
    ]


@needs_compiler
def test_lines_say_where_banks_conflict_and_where_sectors_are_wasted(module):
    seen = watch(module, "turned", 1, 32, [floats(32, 32), floats(32, 32)], shared=4096)
    store = LINE["for (int i = 0; i < 32; ++i) tile[i * 32 + threadIdx.x] = x[i * 32 + threadIdx.x];"]
    load = LINE["for (int i = 0; i < 32; ++i) y[threadIdx.x * 32 + i] = tile[threadIdx.x * 32 + i];"]
    assert [(use.line, use.writes, use.warps, use.ways) for use in seen.shared_uses()] == [
        (store, True, 32, 1),
        (load, False, 32, 32),
    ]
    assert [(use.line, use.argument, use.sectors, use.fewest) for use in seen.global_uses()] == [
        (store, 0, 128, 128),
        (load, 1, 1024, 128),
    ]


@needs_compiler
def test_asynchronous_copies_and_rows_of_matrices_are_counted():
    for case, bytes in (
        (staged(64, 64, 64), (2 * 64 * 64 * 4, 2 * 64 * 64 * 4)),
        (matrix(64, 64, 64), (2 * 64 * 64 * 4, 2 * 64 * 64 * 4)),
    ):
        seen = watch(HostModule(case.text), case.kernel, case.grid, case.block, case.args(), shared=case.shared)
        assert (
            seen.bytes_read(0),
            seen.bytes_read(1),
        ) == bytes  # each block of 32 x 32 reads its rows and columns once
        assert seen.bytes_written(2) == 64 * 64 * 4
        assert all(use.ways == 1 for use in seen.shared_uses())
        assert {use.bytes for use in seen.shared_uses() if not use.writes} == {16}


@needs_compiler
def test_what_one_block_writes_and_another_touches_is_found(module):
    (found,) = watch(module, "next_block", 4, 1, [floats(4)]).between_blocks()
    line = LINE["x[blockIdx.x] = blockIdx.x ? x[blockIdx.x - 1] + 1 : 0;"]
    assert (found.argument, found.offset, found.blocks, found.lines) == (0, 0, (0, 1), (line, line))
    (found,) = watch(module, "next_block", 4, 1, [floats(4)], order=Order("reverse")).between_blocks()
    assert found.blocks == (0, 1)
    assert watch(module, "add", 4, 8, [floats(32), floats(32), floats(32), 32]).between_blocks() == []
    assert (
        len(watch(module, "add", (1, 2), 8, [floats(8), floats(8), floats(8), 8]).between_blocks()) == 1
    )  # both write all
    seen = watch(module, "counts", 4, 32, [np.zeros(128, np.int32), np.zeros(1, np.int32)])
    assert seen.between_blocks() == []  # atomics
    assert (seen.bytes_read(1), seen.bytes_written(1)) == (512, 512)


@needs_compiler
def test_a_thread_s_own_memory_is_not_counted(module):
    x, y = np.arange(8, dtype=np.float32), floats(8)
    seen = watch(module, "own", 1, 8, [x, y])
    assert set(seen.table["array"]) == {0, 1}
    assert y[0] == sum(2.0 ** (7 - i) * i for i in range(8))


@needs_compiler
def test_too_many_accesses_are_refused_and_sums_alone_are_not(module, monkeypatch):
    monkeypatch.setattr(accesses, "LIMIT", 100)
    args = [floats(100), floats(100), floats(100), 100]
    with pytest.raises(mlc.MlcError, match="kernel 'add': more than 100 accesses"):
        watch(module, "add", 4, 32, args)
    seen = watch(module, "add", 4, 32, args, table=False)
    assert seen.bytes_read(0) == 400
    assert len(seen.table) == 0
    again = watch(module, "add", 1, 32, [args[0], args[0], args[2], 20])  # an array that is given twice
    assert (again.bytes_read(0), again.bytes_written(2)) == (160, 80)


# The cost of addresses -----------------------------------------------------------------------------------------------
def ways_by_definition(row: np.ndarray, bytes: int) -> int:
    lanes, most = min(32, 128 // max(bytes, 4)), 0
    for first in range(0, 32, lanes):
        banks: dict[int, set[int]] = {}
        for at in row[first : first + lanes]:
            for word in range(at // 4, at // 4 + max(1, bytes // 4)) if at >= 0 else ():
                banks.setdefault(word % 32, set()).add(word)
        most = max([most, *map(len, banks.values())])
    return most


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([1, 2, 4, 8, 16]))
def test_costs_are_those_of_the_definition(data, bytes):
    rows = data.draw(st.lists(st.lists(st.integers(-1, 300), min_size=32, max_size=32), min_size=1, max_size=4))
    at = np.where(np.array(rows) < 0, -1, np.array(rows) * bytes)
    np.testing.assert_array_equal(bank_ways(at, bytes), [ways_by_definition(row, bytes) for row in at])
    want = [len({piece for a in row if a >= 0 for piece in (a // 32, (a + bytes - 1) // 32)}) for row in at]
    np.testing.assert_array_equal(sectors(at, bytes), want)


@pytest.mark.parametrize(
    ("address", "bytes", "ways"),
    [
        (lambda lane: lane * 4, 4, 1),
        (lambda lane: lane * 0, 4, 1),  # one word for all
        (lambda lane: lane * 128, 4, 32),  # a column of a row of 32
        (lambda lane: lane * 132, 4, 1),  # padded by one
        (lambda lane: lane * 8, 4, 2),
        (lambda lane: lane * 16, 16, 1),
        (lambda lane: lane * 64, 16, 4),
        (lambda lane: lane % 8 * 128 + lane // 8 * 16, 16, 8),  # eight rows of a matrix, as they lie
        (lambda lane: lane % 8 * 128 + (lane // 8 ^ lane % 8) * 16, 16, 1),  # swizzled
        (lambda lane: (lane % 4 * 4 * 132 + lane // 4) * 4, 4, 2),  # a tile transposed on its way, rows of 132
        (lambda lane: (lane % 4 * 4 * 128 + lane // 4) * 4, 4, 4),
    ],
)
def test_known_layouts(address, bytes, ways):
    assert bank_ways(address(np.arange(32)), bytes) == ways


def test_addresses_are_those_of_a_warp():
    with pytest.raises(ValueError, match="32 along the last axis, the shape is \\[31\\]"):
        bank_ways(np.zeros(31), 4)

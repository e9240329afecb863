"""Right kernels are right in every order and clean in every check; each planted fault is found."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import mlc
from mlc.testing import (
    ORDERS,
    CheckReport,
    HostModule,
    KernelFault,
    Order,
    check_memory,
    check_races,
    host_build,
    sanitizers,
)
from tests.testing.sample_kernels import Case, centred, matrix, piped, result_of, staged

pytestmark = pytest.mark.skipif(host_build.available() is not None, reason=str(host_build.available()))


CLEAN = {
    "staged": staged(),
    "staged whole": staged(32, 64, 16),
    "staged small": staged(1, 4, 1),
    "matrix": matrix(),
    "matrix small": matrix(1, 1, 4),
    "centred": centred(),
    "centred one": centred(1, 1),
    "piped": piped(),
    "copied": piped(copies=True),
}


# Text of a right kernel -> with the fault. `values`: some order shows it in the result; `races`: ThreadSanitizer reports it.
FAULTS = {
    "no barrier before the tile is read": (staged(), "    __syncthreads();  // this step", "    // this step", {"values", "races"}),
    "no barrier before the buffer is filled again": (
        staged(),
        """    mlc_cp_async_wait<0>();
    __syncthreads();  // this step's tiles are there, and nobody reads the other buffer any more
    if (step + 1 < steps) fetch(step + 1);""",
        "    if (step + 1 < steps) fetch(step + 1);\n    mlc_cp_async_wait<0>();\n    __syncthreads();",
        {"values", "races"},
    ),
    "waits for one copy too few": (staged(), "mlc_cp_async_wait<0>();", "mlc_cp_async_wait<1>();", {"values", "races"}),
    "one buffer for two": (staged(), "b[step & 1][t / 8]", "b[0][t / 8]", {"values"}),
    "stages overlap": (matrix(), "step % STAGES * 2 * 32 * DEPTH;\n    for (int i", "step % 2 * 2 * 32 * DEPTH;\n    for (int i", {"values"}),
    "one stage too few is waited for": (matrix(), "mlc_cp_async_wait<STAGES - 2>", "mlc_cp_async_wait<STAGES - 1>", {"values", "races"}),
    "fetches before the barrier": (
        matrix(),
        """    __syncthreads();  // the step has landed for all, and everyone is through with the one before
    if (step + STAGES - 1 < steps) fetch(step + STAGES - 1);
""",
        "    if (step + STAGES - 1 < steps) fetch(step + STAGES - 1);\n    __syncthreads();\n",
        {"values", "races"},
    ),
    "no barrier between warps": (centred(), "  __syncthreads();\n", "", {"values", "races"}),
    "one elected lane arrives for all": (
        piped(),
        "mlc_mbarrier_arrive(&full[t % 2]);",
        "if (lane == 0) for (int i = 0; i < 32; ++i) mlc_mbarrier_arrive(&full[t % 2]);",
        {"races"},
    ),
    "the buffer is free before it is read": (
        piped(),
        "      const float mirrored = tile[t % 2][31 - lane];\n      mlc_mbarrier_arrive(&empty[t % 2]);\n",
        "      mlc_mbarrier_arrive(&empty[t % 2]);\n      const float mirrored = tile[t % 2][31 - lane];\n",
        {"races"},
    ),
    "arrives before its copies have landed": (
        piped(copies=True),
        "mlc_cp_async_arrive(&full",
        "mlc_mbarrier_arrive(&full",
        {"values", "races"},
    ),
}  # fmt: skip


BROKEN = {
    name: case.with_text(old, new).named(f"fault_{number}")
    for number, (name, (case, old, new, _)) in enumerate(FAULTS.items())
}


@cache
def kernels() -> HostModule:
    """All in one text: most of the time of a compiler goes to what they share."""
    return HostModule("\n".join(dict.fromkeys(case.text for case in [*CLEAN.values(), *BROKEN.values()])))


def error(case: Case, order: Order) -> float:
    """Of the result against the reference, relative; infinite where the kernel faults."""
    args = case.args()
    out = result_of(args)
    try:
        kernels().launch(case.kernel, case.grid, case.block, args, shared=case.shared, order=order)
    except KernelFault:
        return np.inf
    return far(out, case)


def far(out: np.ndarray, case: Case) -> float:
    distance = np.linalg.norm(out - case.want) / max(np.linalg.norm(case.want), 1e-9)
    return float(np.nan_to_num(distance, nan=np.inf))


def checked(check: Callable[..., CheckReport], case: Case, order: Order) -> tuple[CheckReport, np.ndarray]:
    args = case.args()
    out = result_of(args)
    return check(kernels(), case.kernel, case.grid, case.block, args, shared=case.shared, order=order), out


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_right_kernel_is_right_in_every_order(name, order):
    assert error(CLEAN[name], order) <= CLEAN[name].tolerance


@pytest.mark.parametrize("name", [name for name, row in FAULTS.items() if "values" in row[3]])
def test_some_order_shows_the_fault(name):
    broken = BROKEN[name]
    assert any(error(broken, order) > 10 * broken.tolerance for order in ORDERS)


@pytest.mark.parametrize("name", [name for name, row in FAULTS.items() if "races" in row[3]])
def test_the_race_check_finds_the_fault(name):
    reports = []
    for order in (ORDERS[0], ORDERS[3]):  # copies that land late, and early
        report, _ = checked(check_races, BROKEN[name], order)
        reports.append(report)
        if not report.clean:
            break
    assert any(re.search(r"data race at lines \d+ and \d+", found) for found in reports[-1].findings), reports[
        -1
    ].output
    with pytest.raises(KernelFault, match="races .*data race at lines"):
        reports[-1].require_clean()


@pytest.mark.parametrize("name", ["staged", "matrix", "centred", "piped", "copied"])
@pytest.mark.parametrize("check", [check_races, check_memory])
def test_a_right_kernel_is_clean(name, check):
    case = CLEAN[name]
    for order in (ORDERS[0], ORDERS[3]):
        report, out = checked(check, case, order)
        report.require_clean()
        assert report.summary.startswith(f"finished: {np.prod(case.grid)} blocks of {case.block} threads")
        assert far(out, case) <= case.tolerance


MEMORY = r"""
extern "C" __global__ void behind(float *x) { x[threadIdx.x + 1] = 1; }
extern "C" __global__ void reads_behind(const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x * 2]; }
extern "C" __global__ void crooked(float *x) { *reinterpret_cast<float4 *>(x + 1) = make_float4(1, 1, 1, 1); }
extern "C" __global__ void shared_end(float *x) {
  __shared__ float tile[32];
  tile[threadIdx.x + x[0] > 0] = 1;
  x[threadIdx.x] = tile[threadIdx.x + 1];
}
extern "C" __global__ void dynamic_end(float *x) {
  MLC_DYNAMIC_SHARED(float, tile);
  tile[threadIdx.x + 1] = x[threadIdx.x];
}
extern "C" __global__ void copied_end(float *x) {
  MLC_DYNAMIC_SHARED(float, tile);
  mlc_cp_async4(tile + threadIdx.x, x + threadIdx.x + 1);
}
extern "C" __global__ void row_end(float *x) {
  MLC_DYNAMIC_SHARED(float, tile);
  unsigned r[4];
  mlc_ldmatrix_x4(r, tile + threadIdx.x * 4);
}
extern "C" __global__ void local_end(float *x, int n) {
  float own[4];
  for (int i = 0; i < n; ++i) own[i] = x[i];
  for (int i = 0; i < n; ++i) x[i] = own[n - 1 - i];
}
extern "C" __global__ void overflows(int *x) { x[threadIdx.x] = x[threadIdx.x] + 0x7fffffff; }
"""


@pytest.mark.parametrize(
    ("kernel", "finding"),
    [
        ("behind", "heap-buffer-overflow at line 2"),
        ("reads_behind", "heap-buffer-overflow at line 3"),
        ("crooked", "misaligned address .* at line 4"),
        ("shared_end", "global-buffer-overflow|out of bounds.* at line 8"),
        ("dynamic_end", "heap-buffer-overflow at line 12"),
        ("copied_end", "heap-buffer-overflow at line 16"),
        ("row_end", "heap-buffer-overflow at line 21"),
        ("local_end", "stack-buffer-overflow|index 4 out of bounds.* at line 25"),
        ("overflows", "signed integer overflow.* at line 28"),
    ],
)
def test_the_memory_check_finds_the_fault(kernel, finding):
    x = np.ones(32, np.int32 if kernel == "overflows" else np.float32)
    args = [x, x.copy()] if kernel == "reads_behind" else [x, 5] if kernel == "local_end" else [x]
    module = _memory()
    report = check_memory(module, kernel, 1, 32, args, shared=128, order=Order(copies="early"))
    assert not report.clean
    assert any(re.search(finding, found) for found in report.findings), report.output


@cache
def _memory() -> HostModule:
    return HostModule(MEMORY)


def test_a_check_that_did_not_come_to_its_end_is_not_clean(monkeypatch):
    """Here the program dies of a signal before it printed anything."""
    module = HostModule('extern "C" __global__ void dies(float *x) { asm volatile("ud2"); }')
    for check in (check_races, check_memory):
        report = check(module, "dies", 1, 1, [np.zeros(1, np.float32)])
        assert not report.clean
        with pytest.raises(KernelFault, match="kernel 'dies'"):
            report.require_clean()
    silent = replace(report, findings=(), summary="")
    assert not silent.clean
    with pytest.raises(KernelFault, match="did not come to its end"):
        silent.require_clean()
    monkeypatch.setattr(sanitizers, "SECONDS", 0.5)
    endless = HostModule('extern "C" __global__ void endless(volatile int *x) { while (x[0] == 0) {} }')
    report = check_memory(endless, "endless", 1, 1, [np.zeros(1, np.int32)])
    assert report.findings == ("no end after 0.5 seconds",)


def test_a_fault_in_a_check_is_a_finding():
    module = HostModule('extern "C" __global__ void parts(float *x) {\n  if (threadIdx.x < 32) __syncthreads();\n}')
    report = check_races(module, "parts", 1, 64, [np.zeros(1, np.float32)])
    assert any("barrier divergence: 32 threads wait at line 2" in finding for finding in report.findings)


def test_a_check_takes_an_array_that_is_given_twice_and_no_address():
    module = HostModule(
        'extern "C" __global__ void twice(const float *x, float *y) { y[threadIdx.x] = 2 * x[threadIdx.x]; }'
    )
    x = np.ones(32, np.float32)
    check_races(module, "twice", 1, 32, [x, x]).require_clean()
    np.testing.assert_array_equal(x, 2)
    with pytest.raises(mlc.MlcError, match="argument 0 is an address"):
        check_races(module, "twice", 1, 32, [x.ctypes.data, x])


def test_other_processors_switch_threads_by_the_c_library(monkeypatch):
    monkeypatch.setitem(sanitizers._RUNTIME_FLAGS, "memory", ("-DMLC_UCONTEXT",))
    for name in ("staged", "piped"):
        report, out = checked(check_memory, CLEAN[name], ORDERS[1])
        report.require_clean()
        assert far(out, CLEAN[name]) <= CLEAN[name].tolerance

"""What kernels take of a core, counted by hand, and the times that follow from the rates of recorded machines. Nothing is timed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.ir import SSAValue

from mlc.compiler import Compilation
from mlc.insight import prediction
from mlc.insight.decisions import work_of
from mlc.insight.prediction import core_at_hand, predict
from mlc.ir import builder as g
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target
from mlc.ir.kernel.machine_rates import Core, MachineRates
from mlc.ir.module import Module
from mlc.options import CompileOptions
from mlc.passes.kernel.rules.by_target import target_of

ZEN5 = Core(MachineRates(4.2, 2, 2, 230, 110, 41, 42, 97, 24, 120, 280, 13_000), 1 << 20, 32 << 20)
XEON = Core(MachineRates(3.5, 2, 2, 185, 30, 14, 9.5, 22, 8.8, 110, 300, 33_000), 2 << 20, 105 << 20)
LANES, ROWS = 8, 6  # of x86-64-v3: register tiles of 6 x 2 vectors


def product(m: int | str, n: int, k: int) -> Module:
    built = g.module_builder("product")
    with built.function(inputs=[("x", (m, k), "f32")]) as (x,):
        built.outputs([("y", g.matmul(x, g.weight(np.ones((k, n), np.float32), name="w")))])
    return built.finish()


def report(module: Module) -> dict[str, Any]:
    compilation = Compilation(CompileOptions(arch="x86-64-v3"))
    compilation.lower(module)
    return compilation.report


def kernel(module: Module) -> Mapping[str, Any]:
    (found,) = report(module)["kernels"]
    return found


def test_a_product_is_counted_as_its_register_tiles_run() -> None:
    m, n, k = 48, 64, 96
    found = kernel(product(m, n, k))
    assert found["schedule"].endswith(f"Level(m = {ROWS}) | Vector(n x {LANES}, unroll m*n)")
    _, (arithmetic, loads, stores, waits, far), epilogue = ([int(v) for v in row] for row in found["cost"]["ops"])
    vectors = m * k * n // LANES
    assert arithmetic == vectors and far == 0
    assert loads == vectors // ROWS + vectors // 2  # a vector of the panel serves six rows, an element two vectors
    assert waits == 4 * vectors // (2 * ROWS)  # twelve sums are added to in turn
    assert stores == 0 and epilogue[2] == m * n // LANES
    assert found["cost"]["weights"] == [1]
    assert found["cost"]["touched"] == [
        [0, str(4 * m * k), str(4 * m * k), False],
        [1, str(4 * n * k), str(4 * n * k), False],
        [2, str(4 * m * n), str(4 * m * n), True],
    ]


@settings(max_examples=8)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_no_product_is_predicted_faster_than_its_multiply_adds(m: int, n: int, k: int) -> None:
    found = kernel(product(m, n, k))
    for core in (ZEN5, XEON):
        rates = core.rates
        said = predict(found["cost"], core, {}, 4 * n * k)
        assert said.roofline >= m * n * k / LANES / rates.fma / rates.clock
        assert said.nanoseconds > said.roofline > 0


def test_symbolic_extents_are_those_of_the_call() -> None:
    fixed, symbolic = report(product(40, 32, 64)), report(product("M", 32, 64))
    (kernel_of_any,), (one,) = symbolic["kernels"], fixed["kernels"]
    (call,) = kernel_of_any["calls"]
    for m in (0, 1, 7, 40):
        work = work_of(kernel_of_any, call, {"M": m})
        assert work.flops == 2 * m * 32 * 64 and set(work.extents.values()) == {m}
        assert predict(work.cost or {}, ZEN5, work.extents).roofline >= m * 32 * 64 / LANES / 2 / 4.2
    same = predict(work.cost or {}, ZEN5, work.extents).roofline
    assert same == pytest.approx(predict(one["cost"], ZEN5, {}).roofline)
    assert symbolic["weight_bytes"] == fixed["weight_bytes"] == 4 * 32 * 64


def test_what_bounds_a_kernel_follows_from_the_machine() -> None:
    one_row, square = kernel(product(1, 1024, 1024)), kernel(product(240, 256, 256))
    bytes = 4 * 1024 * 1024
    for core in (ZEN5, XEON):
        far = predict(one_row["cost"], core, {}, resident=1 << 30)
        assert far.bound == "memory" and far.roofline == pytest.approx(bytes / core.rates.memory, rel=0.01)
        assert predict(square["cost"], core, {}, resident=4 * 256 * 256).bound == "compute"
    near = predict(one_row["cost"], ZEN5, {}, resident=bytes)
    looped = predict(one_row["cost"], ZEN5, {}, resident=1 << 30, repeated=True)
    assert near == looped and near.bound == "L3" and near.nanoseconds < far.nanoseconds
    assert predict(kernel(product(1, 8, 8))["cost"], ZEN5, {}).bound == "call"


def test_threads_share_the_work_once_they_have_begun_and_nobody_waits_for_one_that_has_not() -> None:
    cost = kernel(product(240, 256, 256))["cost"]
    one, two = (predict(cost, ZEN5, {}, threads=n).nanoseconds - prediction.CALL for n in (1, 2))
    assert two == pytest.approx(one / 2 + 280)
    busy = dataclasses.replace(ZEN5, rates=dataclasses.replace(ZEN5.rates, fork=1e6))
    assert predict(cost, busy, {}, threads=2).nanoseconds - prediction.CALL == pytest.approx(one)


@pytest.mark.parametrize("name", ["clock", "fma", "load", "l2", "l3", "memory"])
def test_a_slower_core_is_never_predicted_faster(name: str) -> None:
    slower = dataclasses.replace(ZEN5, rates=dataclasses.replace(ZEN5.rates, **{name: getattr(ZEN5.rates, name) / 2}))
    for module in (product(240, 256, 256), product(1, 1024, 1024), several()):
        for found in report(module)["kernels"]:
            times = [predict(found["cost"], core, {}, 1 << 30).nanoseconds for core in (ZEN5, slower)]
            assert times[0] <= times[1]


def several() -> Module:
    """A padded convolution, rows, columns, a copy in another order."""
    built = g.module_builder("several")
    with built.function(inputs=[("x", (1, 12, 10, 16), "f32"), ("z", (40, 300), "f32")]) as (x, z):
        w = g.weight(np.ones((3, 3, 16, 24), np.float32), name="w")
        y = g.convolution(x, w, "n01c,01co->n01o", [2, 2], [(1, 1), (1, 1)])
        made: dict[str, SSAValue] = {"y": g.relu(y), "s": g.softmax(z, 1), "t": g.transpose(z, [1, 0])}
        built.outputs([*made.items(), ("m", g.reduce(z, [0], "sum"))])
    return built.finish()


def test_every_kind_of_kernel_has_a_prediction() -> None:
    kernels = {found["name"]: found["cost"] for found in report(several())["kernels"]}
    assert all(cost is not None for cost in kernels.values()) and len(kernels) >= 4
    (border,) = (cost for name, cost in kernels.items() if name.startswith("border"))
    ((argument, bytes, whole, written),) = border["touched"]
    padded, inside = 14 * 12 * 16, 12 * 10 * 16
    assert (argument, written) == (0, True) and int(bytes) == 4 * (padded - inside) and int(whole) == 4 * padded


def test_only_the_machine_at_hand_has_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.codegen.llvm.inspector.rates", lambda: ZEN5.rates)
    host = cpu_target()
    found = core_at_hand(host)
    assert found is not None and found.rates == ZEN5.rates and found.l2 == host.l2 <= found.last
    assert core_at_hand(dataclasses.replace(host, l1=1 << 10)) is None
    assert core_at_hand(CpuTarget("other", "", 4, 32, arch="aarch64" if host.arch == "x86_64" else "x86_64")) is None
    assert core_at_hand(target_of("cuda:sm_80")) is None

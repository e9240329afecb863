"""Panels fetched ahead: what is asked for, that it is the next panel, and where the rules want it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.codegen.llvm.printer import emit
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.interpreter import run_kernel
from mlc.ir.kernel.interpreter.memory import View
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.prefetch import PrefetchOp
from mlc.ir.kernel.schedule import Schedule
from mlc.passes.kernel.lowering import lowered
from mlc.passes.kernel.merge import merge_loops
from mlc.passes.kernel.rules.cpu import choose
from tests.kernel import hand_made
from tests.kernel.native import Native, by_rules, floats

WIDE = cpu_target("x86-64-v4")
LINE = 16  # elements of a cache line


def scheduled(kernel: Kernel, text: str) -> Kernel:
    kernel.schedule = text
    kernel.finish()
    return lowered(kernel.op, WIDE)


def fetched(kernel: Kernel, monkeypatch, arrays: dict[str, np.ndarray], **extents: int) -> list[int]:
    """The cache lines that a kernel asks for, in order, by their number in the memory of the weight."""
    lines: list[int] = []
    plain = View.position

    def position(view: View, indices, op) -> int:
        place = plain(view, indices, op)
        if isinstance(op, PrefetchOp):
            lines.append(place // LINE)
        return place

    with monkeypatch.context() as patch:
        patch.setattr(View, "position", position)
        run_kernel(kernel, arrays, extents)
    return lines


@settings(max_examples=8, deadline=None)
@given(
    m=st.integers(1, 20),
    tall=st.sampled_from([1, 4, 7, 14]),
    n=st.sampled_from([1, 16, 31, 33, 64, 67]),
    k=st.sampled_from([1, 2, 5]),
    shares=st.sampled_from([1, 2, 4]),
    symbolic=st.booleans(),
)
def test_tiles_of_rows_fetch_the_whole_next_panel_and_change_no_result(m, tall, n, k, shares, symbolic):
    kernel = hand_made.gemm("M" if symbolic else m, n, k)
    size, width = tall if symbolic else min(tall, m), min(32, -(-n // 16) * 16)
    text = f"Level(n = {width}; B -> panel ahead {shares}) | Level(m = {size}) | Vector(n x 16, unroll m*n)"
    done = scheduled(kernel, text)
    arrays = {"A": floats(m, k), "B": floats(k, n), "bias": floats(n), "R": floats(m, n)}
    found = {**arrays, "D": np.full((m, n), np.nan, np.float32)}
    with pytest.MonkeyPatch.context() as patch:
        lines = fetched(done, patch, found, **({"M": m} if symbolic else {}))
    want = np.maximum(arrays["A"].astype(np.float64) @ arrays["B"] + arrays["bias"] + arrays["R"], 0)
    np.testing.assert_allclose(found["D"], want, rtol=1e-4, atol=1e-4)
    panel, panels = k * width // LINE, -(-n // width)
    assert set(lines) <= set(range(panel * panels))
    if symbolic and 2 * m < tall:
        assert not lines  # there is one tile of few rows: memory decides
    elif -(-m // size) >= shares:
        assert set(lines) == set(range(panel * min(1, panels - 1), panel * panels))


def test_a_convolution_fetches_through_all_loops_of_its_sums(monkeypatch):
    done = scheduled(
        hand_made.conv(6, 7, 3, 48, 3, 1),
        "Level(oc = 16; W -> panel ahead 4) | Level(oh = 1, ow = 4) | Vector(oc x 16, unroll oh*ow*oc)",
    )
    arrays = {"X": floats(6, 7, 3), "W": floats(3, 3, 3, 48), "bias": floats(48), "Y": np.zeros((4, 5, 48), np.float32)}
    assert sorted(set(fetched(done, monkeypatch, arrays))) == list(range(27, 81))


def test_a_request_is_an_instruction_of_the_leaf():
    done = scheduled(
        hand_made.gemm(28, 64, 8), "Level(n = 32; B -> panel ahead 2) | Level(m = 14) | Vector(n x 16, unroll m*n)"
    )
    assert done.text().count("memref.prefetch %B_ahead[") == 1  # the leaf; both tiles of rows call it
    assert emit(done.functions(), WIDE).count("call void @llvm.prefetch.p0(") == 1


def test_rules_fetch_ahead_what_does_not_stay_in_l2():
    small, large = replace(WIDE, l2=1 << 20), replace(WIDE, l2=16 << 20)

    def chosen(target, *sizes) -> str:
        kernel = hand_made.gemm(*sizes)
        merge_loops(kernel)
        return str(choose(kernel, target))

    assert chosen(small, 128, 768, 768).startswith("Level(n = 48 parallel; B -> panel ahead 8) | Level(m = 9)")
    assert "ahead" not in chosen(large, 128, 768, 768)
    assert "ahead" not in chosen(small, 128, 64, 64)
    assert "ahead" not in chosen(small, 4, 768, 768)  # memory decides
    assert "ahead 2" in chosen(small, "M", 768, 768)
    assert Schedule.parse(chosen(small, 128, 768, 768)).levels[0].stage["B"].ahead == 8


# Caches of machines that were measured: a Zen 5, and a Xeon of the Sapphire Rapids kind, whose L3 gives a core 30 GB/s.
MACHINES = {"zen5": replace(WIDE, l1=48 << 10, l2=1 << 20), "xeon": replace(WIDE, l1=48 << 10, l2=2 << 20)}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("sizes", [(128, 768, 768), (20, 1000, 640), ("M", 768, 512)], ids=str)
def test_products_of_models_fetch_ahead_on_both_machines_and_are_right(machine, sizes):
    target, (rows, n, k) = MACHINES[machine], sizes
    if target.missing():
        pytest.skip("this machine lacks AVX-512")
    kernel = by_rules(hand_made.gemm(*sizes, epilogue=False), target)
    assert " ahead " in kernel.schedule
    m = 31 if rows == "M" else rows
    A, B, D = floats(m, k), floats(k, n), np.full((m, n), np.nan, np.float32)
    Native(kernel, target=target)({"A": A, "B": B, "D": D}, 3, **({"M": m} if rows == "M" else {}))
    want = A.astype(np.float64) @ B
    np.testing.assert_allclose(D, want, atol=1e-5 * np.abs(want).max())

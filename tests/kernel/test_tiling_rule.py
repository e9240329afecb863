"""What one tile computes and another reads is never tiled apart, whatever schedule is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from xdsl.dialects.linalg.ops import GenericOp

import mlc
from mlc.errors import InternalError
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.ir.kernel.access import L
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.interpreter import run_kernel, run_program
from mlc.ir.kernel.kernel import Buffer, Kernel, loops_attr, loops_of
from mlc.ir.kernel.schedule import Scalar, Schedule
from mlc.ir.module import Module
from mlc.passes.loops.lower import lower
from mlc.passes.loops.refused import Refused
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline
from tests.kernel.hand_made import accumulate, add, copied, mul, zero
from tests.kernel.native import by_rules

NARROW = CpuTarget("x86-64-v3", "", lanes=8, registers=16)


def scaled(where: str) -> Kernel:
    """y[r, c] = x[r, c] * (s[r] + s[where]), s the sums of the rows of a square."""
    kernel = Kernel("scaled", {"x": Buffer((6, 6)), "y": Buffer((6, 6))})
    x, y = kernel.buffers["x"], kernel.buffers["y"]
    s = kernel.temporary((6,), name="s")
    kernel.structured({"r": 6}, [], (s, ("r",)), zero)
    kernel.structured({"r": 6, "c": 6}, [(x, ("r", "c"))], (s, ("r",)), accumulate, {"c"})

    def product(b, x, own, other, out):
        return mul(b, x, add(b, own, other))

    operands = [(x, ("r", "c")), (s, ("r",)), (s, (where,))]
    kernel.structured({"r": 6, "c": 6}, operands, (y, ("r", "c")), product)
    kernel.return_()
    kernel.finish()
    return kernel


def computed(kernel: Kernel) -> np.ndarray:
    y = np.zeros((6, 6), np.float32)
    run_kernel(kernel, {"x": X, "y": y})
    return y


X = np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)
SUMS = X.sum(1)


@pytest.mark.parametrize("level", ["Level(r = 2)", "Level(r = 2 parallel)", "Level(r = 4)"])
def test_a_read_of_another_tile_refuses_the_schedule(level: str) -> None:
    schedule = Schedule.parse(f"{level} | Scalar")
    np.testing.assert_allclose(computed(lower(scaled("r"), schedule, NARROW)), X * 2 * SUMS[:, None], rtol=1e-5)
    with pytest.raises(Refused, match="'s' is read at another place"):
        lower(scaled("c"), schedule, NARROW)


def test_a_loop_that_reduces_is_not_tiled_with_what_reads_the_sum() -> None:
    with pytest.raises(Refused, match="'s' (reduces over c|is read at another place)"):
        lower(scaled("r"), Schedule.parse("Level(r = 1, c = 2) | Scalar"), NARROW)


def test_threads_do_not_share_a_part_of_a_kernel() -> None:
    kernel = Kernel("apart", {"x": Buffer((6,)), "y": Buffer((6, 6))})
    t = kernel.temporary((6,), name="t")
    kernel.structured({"r": 6}, [(kernel.buffers["x"], ("r",))], (t, ("r",)), copied)
    kernel.structured({"r": 6, "c": 6}, [(t, ("r",))], (kernel.buffers["y"], ("r", "c")), copied)
    kernel.return_()
    kernel.finish()
    with pytest.raises(Refused, match="threads would share a part of the kernel"):
        lower(kernel, Schedule.parse("Level(c = 2 parallel) | Scalar"), NARROW)


@pytest.mark.parametrize("where", ["r", "c"])
def test_the_rule_finds_a_schedule_that_computes_what_the_kernel_says(where: str) -> None:
    want = X * (SUMS[:, None] + (SUMS[:, None] if where == "r" else SUMS[None]))
    np.testing.assert_allclose(computed(by_rules(scaled(where), NARROW)), want, rtol=1e-5)


def test_a_tile_that_its_ops_leave_is_found() -> None:
    kernel = scaled("r")
    for op in kernel.op.walk():
        if isinstance(op, GenericOp):
            op.attributes["loops"] = loops_attr(dict.fromkeys(loops_of(op), 7))
    with pytest.raises(InternalError, match=r"\[0, 6\] on axis 0 of 's' lies outside of its 6 elements"):
        lower(kernel, Schedule((), Scalar()), NARROW)


def windows_with_borders(kind: str) -> Module:
    """A window over a run-time width that writes into the border of the next one: no operand runs through the width from its beginning."""
    m = g.module_builder("windows")
    with m.function(inputs=[("x", (1, 1, "H", "W"), "f32")]) as (x,):
        if kind == "convolution":
            weight = g.constant(np.linspace(-1, 1, 9, dtype=np.float32).reshape(1, 1, 3, 3))
            x = g.convolution(x, weight, padding=[(1, 1), (1, 1)])
        else:
            x = g.reduce_window(x, kind, [1, 1, 2, 2], [1] * 4, [(0, 0), (0, 0), (1, 1), (0, 1)], [1] * 4)
        x = g.reduce_window(g.relu(x), "max", [1, 1, 3, 3], [1] * 4, [(0, 0), (0, 0), (1, 1), (2, 2)], [1, 1, 1, 2])
        m.outputs([("y", x)])
    return m.finish()


@pytest.mark.parametrize("kind", ["max", "sum", "convolution"])
def test_the_last_vector_of_a_run_time_loop_is_masked_wherever_its_views_begin(kind: str) -> None:
    module = windows_with_borders(kind)
    lowered = PassManager(pipeline(0, "x86-64-v4")).run(module)
    executable = mlc.compile(module, opt_level=0)
    for height, width in ((3, 3), (1, 1), (2, 15), (5, 16), (8, 17), (1, 33), (3, 0)):
        x = np.random.default_rng(width).standard_normal((1, 1, height, width)).astype(np.float32)
        (want,) = interpreter.run(module, [x])
        (found,) = run_program(lowered, [x], races=True)
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(executable(x), want, rtol=1e-5, atol=1e-6)


def shifted(read: int) -> Kernel:
    """y[i] = t[i + read], t = x * 2."""
    kernel = Kernel("shifted", {"x": Buffer((9,)), "y": Buffer((8,))})
    t = kernel.temporary((9,), name="t")
    x, y = kernel.buffers["x"], kernel.buffers["y"]
    kernel.structured({"i": 8}, [(x, ("i",))], (t, ("i",)), lambda b, v, _: add(b, v, v))
    kernel.structured({"i": 8}, [(t, (L("i") + read,))], (y, ("i",)), copied)
    kernel.return_()
    kernel.finish()
    return kernel


def test_a_read_one_element_further_refuses_the_schedule() -> None:
    lower(shifted(0), Schedule.parse("Level(i = 2) | Scalar"), NARROW)
    with pytest.raises(Refused, match="'t' is read at another place"):
        lower(shifted(1), Schedule.parse("Level(i = 2) | Scalar"), NARROW)

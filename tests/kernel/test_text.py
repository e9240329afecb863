"""Every level of a kernel prints, verifies, and parses back to the same text; lowering can go on from the text."""

from __future__ import annotations

from io import StringIO

import pytest
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser
from xdsl.printer import Printer

from mlc.errors import InternalError, MlcError
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.kernel import Buffer, Kernel
from mlc.ir.kernel.schedule import Level, Scalar, Schedule, Stage, Vector
from mlc.ir.kernel.vector_ops import dialects
from mlc.passes.kernel.merge import merge_loops
from mlc.passes.kernel.rules.cpu import choose
from mlc.passes.loops.lower import lower
from tests.kernel import hand_made
from tests.kernel.native import by_rules

WIDE = CpuTarget("x86-64-v4", "", lanes=16, registers=32)
KERNELS = {
    "gemm": lambda: hand_made.gemm(29, 40, 24),
    "gemm of run-time rows": lambda: hand_made.gemm("M", 40, 24),
    "gemm of run-time columns": lambda: hand_made.gemm("M", "N", 24, weight=False, transposed=True),
    "convolution": lambda: hand_made.conv(9, 11, 8, 20, 3, 2),
    "convolution of any image": lambda: hand_made.conv("H", "V", 8, 20, 3, 1, "N"),
    "softmax in registers": lambda: hand_made.softmax(5, 40, 0.5),
    "softmax of long rows": lambda: hand_made.softmax("R", 900, 0.5),
    "softmax of any width": lambda: hand_made.softmax("R", "C", 0.5),
    "layer norm": lambda: hand_made.layer_norm("N", 100),
}


def text_of(kernel: Kernel) -> str:
    out = StringIO()
    Printer(out).print_op(ModuleOp([f.clone() for f in kernel.functions()]))
    return out.getvalue()


def parsed(text: str) -> Kernel:
    module = Parser(dialects(), text).parse_module()
    module.verify()
    *leaves, op = [f for f in module.ops if isinstance(f, func.FuncOp)]
    for f in (*leaves, op):
        f.detach()
    return Kernel.from_func(op, leaves)


@pytest.mark.parametrize("name", KERNELS)
def test_every_level_verifies_and_parses_back(name):
    texts = []

    def look(level: str, kernel: Kernel) -> None:
        text = text_of(kernel)
        texts.append(text)
        again = parsed(text)
        again.finish()
        assert text_of(again) == text, level

    by_rules(KERNELS[name](), WIDE, look)
    assert len(texts) >= 2 and "linalg.generic" in texts[0] and "linalg.generic" not in texts[-1]


@pytest.mark.parametrize("name", KERNELS)
def test_lowering_goes_on_from_text(name):
    kernel = KERNELS[name]()
    merge_loops(kernel)
    kernel.finish()
    again = parsed(text_of(kernel))
    schedule = choose(kernel, WIDE)
    assert schedule == choose(again, WIDE)
    assert lower(again, schedule, WIDE).text().count("vector.fma") == lower(kernel, schedule, WIDE).text().count(
        "vector.fma"
    )


def test_a_key_forgets_the_name_alone():
    first, second, other = hand_made.gemm(8, 16, 4), hand_made.gemm(8, 16, 4), hand_made.gemm(8, 16, 5)
    second.op.properties["sym_name"] = type(second.op.sym_name)("another")
    assert first.key() == second.key() != other.key()
    assert second.name == "another"


def test_a_schedule_is_text_that_parses_back():
    plan = Schedule(
        (
            Level({"col": 128}, fits=True),
            Level(
                {"m": 48, "n": 32},
                {"m": "parallel", "n": "parallel"},
                {"B": Stage("panel", (1, 0)), "C": Stage("workgroup", pad=4)},
            ),
            Level({"n": 64, "m": 6}, {"n": "parallel", "m": "parallel"}, block=16),
            Level({"m": 6}),
        ),
        Vector(("n", "col"), 16, ("m", "n"), 2),
    )
    assert Schedule.parse(str(plan)) == plan
    assert Schedule.parse("Scalar") == Schedule((), Scalar())
    with pytest.raises(MlcError, match="ends without a leaf"):
        Schedule.parse("Level(m = 6)")


def test_a_buffer_and_an_extent_cannot_share_a_name():
    with pytest.raises(InternalError, match="'N' is both a buffer and an extent"):
        Kernel("k", {"N": Buffer(("N", 4))})

"""Winograd F(4x4, 3x3) (Lavin and Gray 2016): five contractions in one kernel, by a schedule written by hand. The transforms' constants are
folded into additions; without a vector leaf they are stored at the entry."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir.kernel.access import L
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.kernel import Buffer, Kernel
from mlc.ir.kernel.schedule import Level, Scalar, Schedule, Stage, Vector
from tests.kernel import hand_made
from tests.kernel.native import Native, close, floats

BT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
AT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def winograd(h: int, w: int, ic: int, oc: int) -> Kernel:
    """Y = relu(conv3x3(X) + bias), stride 1, X zero-bordered; h and w are multiples of 4."""
    tile = {"ty": h // 4, "tx": w // 4}
    shapes = {"X": (h + 2, w + 2, ic), "U": (6, 6, ic, oc), "bias": (oc,), "Y": (h, w, oc)}
    kernel = Kernel("winograd", {name: Buffer(shape, weight=name == "U") for name, shape in shapes.items()})
    at = {**kernel.buffers, "BT": kernel.constant(BT, "BT"), "AT": kernel.constant(AT, "AT")}
    rows = {
        "half": (6, 6, ic),
        "v": (6, 6, ic),
        "V": (6, 6, ic),
        "sum": (6, 6, oc),
        "M": (6, 6, oc),
        "back": (4, 6, oc),
        "y": (4, 4, oc),
    }
    for name, (a, b, channels) in rows.items():
        at[name] = kernel.temporary((a, b, *tile.values(), channels), name=name)

    def contract(target, access, extents, over, left, right):
        kernel.structured({n: e for n, e in extents.items() if n != over}, [], (at[target], access), hand_made.zero)
        operands = [(at[name], index) for name, index in (left, right)]
        kernel.structured(extents, operands, (at[target], access), hand_made.multiply_add, {over})

    def copied(source, target, extents, access):
        kernel.structured(extents, [(at[source], access)], (at[target], access), hand_made.copied)

    inside = ("xi", "nu", "ty", "tx")
    contract(
        "half", ("xi", "b", "ty", "tx", "c"), {**tile, "xi": 6, "b": 6, "c": ic, "a": 6}, "a",
        ("BT", ("xi", "a")), ("X", (L("ty") * 4 + "a", L("tx") * 4 + "b", "c")),
    )  # fmt: skip
    contract(
        "v",
        (*inside, "c"),
        {**tile, "xi": 6, "nu": 6, "c": ic, "b": 6},
        "b",
        ("BT", ("nu", "b")),
        ("half", ("xi", "b", "ty", "tx", "c")),
    )
    copied("v", "V", {**tile, "xi": 6, "nu": 6, "c": ic}, (*inside, "c"))
    contract(
        "sum",
        (*inside, "oc"),
        {"xi": 6, "nu": 6, **tile, "oc": oc, "k": ic},
        "k",
        ("V", (*inside, "k")),
        ("U", ("xi", "nu", "k", "oc")),
    )
    copied("sum", "M", {"xi": 6, "nu": 6, **tile, "oc": oc}, (*inside, "oc"))
    contract(
        "back",
        ("i", "nu", "ty", "tx", "o"),
        {**tile, "i": 4, "nu": 6, "o": oc, "xi": 6},
        "xi",
        ("AT", ("i", "xi")),
        ("M", (*inside, "o")),
    )
    whole = ("i", "j", "ty", "tx", "o")
    contract(
        "y",
        whole,
        {**tile, "i": 4, "j": 4, "o": oc, "nu": 6},
        "nu",
        ("AT", ("j", "nu")),
        ("back", ("i", "nu", "ty", "tx", "o")),
    )
    kernel.structured(
        {**tile, "i": 4, "j": 4, "o": oc}, [(at["y"], whole), (at["bias"], ("o",))],
        (at["Y"], (L("ty") * 4 + "i", L("tx") * 4 + "j", "o")),
        lambda b, x, bias, y: hand_made.relu(b, hand_made.add(b, x, bias)),
    )  # fmt: skip
    kernel.return_()
    return kernel


def by_blocks(ty: int, tx: int, lanes: int) -> Schedule:
    levels = (
        Level({"ty": 1}, bind={"ty": "parallel"}),
        Level({"ty": 1, "tx": 1, "c": lanes}),
        Level({"xi": 1, "nu": 1, "oc": 2 * lanes}, stage={"U": Stage("panel")}),
        Level({"ty": 1, "tx": min(tx, 6), "oc": 2 * lanes}),
        Level({"ty": 1, "tx": 1, "o": lanes}),
    )
    unroll = ("ty", "tx", "xi", "nu", "a", "b", "i", "j", "c", "oc", "o")
    return Schedule(levels, Vector(("c", "oc", "o"), lanes, unroll))


@pytest.mark.parametrize("plan", ["blocks", "scalar"])
def test_five_contractions_are_one_convolution(plan):
    h, w, ic, oc = 8, 12, 20, 36
    x, weight, bias = np.pad(floats(h, w, ic), ((1, 1), (1, 1), (0, 0))), floats(3, 3, ic, oc) / 10, floats(oc)
    u = np.einsum("ai,ijcn,bj->abcn", G, weight.astype(np.float64), G).astype(np.float32)
    view = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), (0, 1))
    exact = np.maximum(np.einsum("yxcij,ijcn->yxn", view, weight.astype(np.float64)) + bias, 0)
    schedule = by_blocks(h // 4, w // 4, cpu_target().lanes) if plan == "blocks" else Schedule((), Scalar())
    native = Native(winograd(h, w, ic, oc), schedule)
    y = np.full(exact.shape, np.nan, np.float32)
    native({"X": x, "U": u, "bias": bias, "Y": y}, parts=2)
    close(y, exact, 2e-5)

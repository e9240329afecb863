"""Long sums in every layout: within a few units in the last place of float64's, the same for any batch, infinities kept."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import mlc
from mlc.ir.kernel.schedule import Schedule

PROGRAMS = {
    "pixels, channels last": ("c = Conv(x, w) y = GlobalAveragePool(c)", (2, 3, 400, 401), (2, 3)),
    "pixels, reduced by name": ("c = Conv(x, w) y = ReduceMean <axes = [2, 3]> (c)", (1, 3, 301, 400), (2, 3)),
    "pixels": ("y = ReduceMean <axes = [2, 3]> (x)", (1, 3, 400, 400), (2, 3)),
    "rows": ("y = ReduceMean <axes = [3]> (x)", (1, 1, 3, 100003), (3,)),
    "leading axes": ("y = ReduceMean <axes = [0, 1, 2]> (x)", (61, 37, 41, 5), (0, 1, 2)),
    "outer and inner axes": ("y = ReduceMean <axes = [0, 2, 3]> (x)", (7, 3, 131, 129), (0, 2, 3)),
    "everything": ("y = ReduceMean (x)", (2, 3, 200, 201), (0, 1, 2, 3)),
    "everything, repeated": ("a = Constant <value = int64[4] {3, 1, 1, 1}> () p = Tile (x, a) y = ReduceMean (p)", (2, 3, 100, 201), (0, 1, 2, 3)),
    "squares": ("s = Mul(x, x) y = ReduceMean <axes = [2, 3]> (s)", (2, 3, 200, 201), (2, 3)),
    "one short, one long": ("y = ReduceMean <axes = [0, 1]> (x)", (9001, 3, 2, 17), (0, 1)),
}  # fmt: skip


def program(text: str, shape: tuple[int | str, ...]) -> bytes:
    of = ", ".join(map(str, shape))
    weights = ", ".join(f"{(k % 5 + 1) / 8}" for k in range(48))
    return onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 11]> g (float[{of}] x) => (float[A, B, P, Q] y)
        <float[16, 3, 1, 1] w = {{{weights}}}> {{ {text} }}"""
    ).SerializeToString()


def exact(text: str, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    wide = x.astype(np.float64)
    if "Conv" in text:
        w = np.array([(k % 5 + 1) / 8 for k in range(48)]).reshape(16, 3)
        wide = np.einsum("oc,nchw->nohw", w, wide)
    return (wide * wide if "Mul" in text else wide).mean(axes, keepdims=True)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("symbolic", [False, True])
def test_means_of_many_elements_keep_their_digits(name: str, symbolic: bool) -> None:
    text, shape, axes = PROGRAMS[name]
    channels = shape[1] if "Conv" in text else "C"
    exe = mlc.compile(program(text, ("N", channels, "H", "W") if symbolic else shape), threads=1)
    x = (1 + np.random.default_rng(0).random(shape)).astype(np.float32)
    (y,) = exe.run(None, {"x": x})
    np.testing.assert_allclose(y, exact(text, x, axes), rtol=5e-7)
    x[...] = 1.1  # every addition would round the same way
    (y,) = exe.run(None, {"x": x})
    np.testing.assert_allclose(y, exact(text, x, axes), rtol=2e-6)


def test_sums_with_infinities_and_nan() -> None:
    exe = mlc.compile(program(PROGRAMS["pixels"][0], (1, "C", "H", "W")), threads=1)
    x = np.ones((1, 4, 150, 150), np.float32)
    x[0, 1, 70, 3], x[0, 2, 140, 149], x[0, 3, 3, 3], x[0, 3, 99, 9] = np.inf, np.nan, np.inf, -np.inf
    assert np.array_equal(exe.run(None, {"x": x})[0].ravel(), [1, np.inf, np.nan, np.nan], equal_nan=True)


@pytest.mark.parametrize("name", ["pixels, channels last", "rows", "squares"])
def test_an_item_has_the_same_sum_in_any_batch_and_for_any_number_of_threads(name: str) -> None:
    text, shape, _ = PROGRAMS[name]
    channels = shape[1] if "Conv" in text else "C"
    x = np.random.default_rng(0).standard_normal((5, *shape[1:])).astype(np.float32)
    model = program(text, ("N", channels, "H", "W"))
    one, two = (mlc.compile(model, threads=threads) for threads in (1, 2))
    (whole,) = one.run(None, {"x": x})
    assert np.array_equal(whole, two.run(None, {"x": x})[0])
    for n in range(5):
        assert np.array_equal(whole[n : n + 1], one.run(None, {"x": x[n : n + 1]})[0])


def test_schedules_say_by_which_pieces() -> None:
    text = "Level(d0 = 1 parallel) | Vector(d1 x 16, unroll d0, interleave 2, pieces 64)"
    assert str(Schedule.parse(text)) == text

"""Derivatives of convolutions and of what slides a window: against differences, of both modes against each other, and at second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mlc.ir import builder as g
from tests.autodiff.derivatives import Spec, built, check_derivatives, derived

Row = tuple[Callable[..., object], Sequence[Spec], dict[str, int]]


def convolved(x: Sequence[int | str], w: Sequence[int], spec: str = "nc01,oc01->no01", **window: object) -> Row:
    sizes = {"N": 2, "H": 7, "W": 6}
    return lambda x, w: g.convolution(x, w, spec, **window), [(x, "f64"), (w, "f64")], sizes  # type: ignore[arg-type]


def pooled(kind: str, x: Sequence[int | str], *window: object) -> Row:
    return lambda x: g.reduce_window(x, kind, *window), [(x, "f64")], {"N": 2, "H": 7, "W": 6}  # type: ignore[arg-type]


def averaged(x):
    """Of windows that reach beyond the image: sums by how many elements there are."""
    window = [1, 1, 3, 3], [1, 1, 2, 2], [(0, 0), (0, 0), (1, 1), (1, 1)]
    return g.div(g.reduce_window(x, "sum", *window), g.reduce_window(g.full_like(x, 1), "sum", *window))


WIDE = [1, 3, 2], [1, 2, 1], [(0, 0), (1, 2), (1, -1)], [1, 1, 1], [1, 1, 2]
CASES: dict[str, Row] = {
    "convolution": convolved((2, 3, 5, 4), (4, 3, 3, 2), padding=[(1, 1), (0, 1)]),
    "stride": convolved((2, 3, 6, 7), (2, 3, 3, 3), strides=[2, 3], padding=[(1, 1), (2, 0)]),
    "stride 1x1": convolved((2, 3, 6, 5), (2, 3, 1, 1), strides=[2, 2]),
    "stride, dilation, zeros between": convolved((1, 2, 5), (2, 2, 3), "nc0,oc0->no0", strides=[2], padding=[(2, 3)], dilations=[3], x_dilation=[4]),
    "crops": convolved((1, 2, 7, 6), (3, 2, 2, 2), strides=[2, 1], padding=[(-1, -1), (-2, 1)], x_dilation=[1, 2]),
    "groups": convolved((2, 6, 5, 4), (4, 3, 2, 2), strides=[2, 1], padding=[(1, 0), (1, 1)], dilations=[1, 2], groups=2),
    "depthwise": convolved((1, 3, 5), (3, 1, 3), "nc0,oc0->no0", padding=[(1, 1)], groups=3),
    "depthwise, two of each": convolved((1, 3, 5), (6, 1, 2), "nc0,oc0->no0", strides=[2], groups=3),
    "channels last": convolved((2, 4, 3, 2), (2, 2, 2, 3), "n01c,01co->n01o"),
    "symbols": convolved(("N", 2, "H", "W"), (3, 2, 3, 2), strides=[2, 1], padding=[(1, 1), (0, 1)]),
    "nothing": convolved((0, 2, 3), (1, 2, 2), "nc0,oc0->no0"),
    "one": convolved((1, 1, 1), (1, 1, 1), "nc0,oc0->no0"),
    "x with itself": (lambda x: g.convolution(x, x, "nc0,oc0->no0", padding=[(1, 2)]), [((2, 3, 3), "f64")], {}),
    **{kind: pooled(kind, (2, 5, 4), *WIDE) for kind in ("sum", "max", "min", "prod")},
    **{f"{kind} of any image": pooled(kind, ("N", "H", "W"), [1, 2, 3], [1, 2, 2], [(0, 0), (0, 1), (1, 1)]) for kind in ("sum", "max")},
    "average": (averaged, [((1, 2, 5, 6), "f64")], {}),
    "sum of nothing": pooled("sum", (0, 3), [1, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name: str) -> None:
    make, specs, sizes = CASES[name]
    rng = np.random.default_rng(len(name))
    arrays = [rng.standard_normal([sizes.get(e, e) for e in shape]) for shape, _ in specs]  # type: ignore[call-overload]
    check_derivatives(built(make, specs), arrays)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "x"), [("max", [1, 3, 3, 0, 3, 3]), ("min", [1, -3, -3, 0, -3, -3])])
def test_the_first_of_equals_in_a_window_gets_the_derivative(kind: str, x: list[float]) -> None:
    module = built(lambda x: g.reduce(g.reduce_window(x, kind, [3], [3]), None, "sum"), [((6,), "f64")])
    _, gradient = derived(module, ["x0"], "gradient").run(np.array(x, np.float64))
    assert gradient.tolist() == [0, 1, 0, 0, 1, 0]


def test_a_product_with_two_zeros_in_a_window_has_no_derivative_but_one_with_a_zero_has() -> None:
    module = built(lambda x: g.reduce(g.reduce_window(x, "prod", [3], [3]), None, "sum"), [((6,), "f64")])
    _, gradient = derived(module, ["x0"], "gradient").run(np.array([0, 2, 0, 3, 0, 5.0]))
    assert gradient.tolist() == [0, 0, 0, 0, 15, 0]

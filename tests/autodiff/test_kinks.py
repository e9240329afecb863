"""Derivatives where a function has none: the choices, which are PyTorch's, and the table of docs/autodiff.md that states them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.ir import builder as g
from tests.autodiff.derivatives import built, derived, floats

INF, NAN = np.inf, np.nan


def of_graph(make: Callable[..., Any], *points: Sequence[float]) -> list[np.ndarray]:
    """The gradient of the sum of what the builder functions make."""
    module = built(lambda *xs: g.reduce(make(*xs), None, "sum"), [(np.shape(p), "f64") for p in points])
    return derived(module, floats(module), "gradient").run(*(np.array(p, np.float64) for p in points))[1:]


def of_function(function: Callable[..., Any], *points: Sequence[float]) -> list[np.ndarray]:
    arrays = [np.array(p, np.float64) for p in points]
    return [np.asarray(x) for x in mlc.grad(lambda *xs: function(*xs).sum(), range(len(points)))(*arrays)]


def pool(x: Any) -> Any:
    return g.reduce_window(x, "max", [2])


HALF = [0.5, 0.5]
BOUNDS = lambda x: g.clip(x, g.scalar(-1.0, "f64"), g.scalar(1.0, "f64"))
# function, at, derivative: ours, PyTorch's, JAX's
TABLE: list[tuple[str, str, Callable[[], list[np.ndarray]], list[Any], str, str]] = [
    ("abs(x)", "0", lambda: of_graph(g.abs, [0.0]), [[0.0]], "0", "1"),
    ("sign(x)", "0", lambda: of_graph(g.sign, [0.0]), [[0.0]], "0", "0"),
    ("floor, ceil, round", "anywhere", lambda: of_graph(g.round, [0.5, 1.0]), [[0.0, 0.0]], "0", "0"),
    ("relu(x)", "0", lambda: of_graph(g.relu, [0.0]), [[0.0]], "0", "0"),
    ("relu(x)", "NaN", lambda: of_graph(g.relu, [NAN]), [[1.0]], "1", "0"),
    ("sqrt(x)", "0", lambda: of_graph(g.sqrt, [0.0]), [[INF]], "inf", "inf"),
    ("clip(x, -1, 1)", "-1, 1", lambda: of_graph(BOUNDS, [-1.0, 1.0]), [[1.0, 1.0]], "1", "0.5"),
    ("maximum(x, y), minimum", "x = y", lambda: of_graph(g.maximum, [2.0], [2.0]), [[0.5], [0.5]], "0.5, 0.5", "0.5, 0.5"),
    ("maximum(x, y), minimum", "x = NaN", lambda: of_graph(g.maximum, [NAN], [2.0]), [[1.0], [1.0]], "1, 1", "-"),
    ("max over an axis", "two of three equal", lambda: of_graph(lambda x: g.reduce(x, [0], "max"), [1.0, 1.0, 0.0]), [[0.5, 0.5, 0.0]], "0.5, 0.5, 0", "0.5, 0.5, 0"),
    ("max-pooling", "equal", lambda: of_graph(pool, [1.0, 1.0]), [[1.0, 0.0]], "1, 0", "1, 0"),
    ("sort, top_k", "equal", lambda: of_graph(lambda x: g.top_k(x, 1)[0], [1.0, 1.0]), [[1.0, 0.0]], "1, 0", "1, 0"),
    ("cumulative max", "1, 1", lambda: of_graph(lambda x: g.cumulative(x, 0, "max"), [1.0, 1.0]), [[1.0, 1.0]], "1, 1", "1.5, 0.5"),
    ("prod", "0, 2, 3", lambda: of_graph(lambda x: g.reduce(x, [0], "prod"), [0.0, 2.0, 3.0]), [[6.0, 0.0, 0.0]], "6, 0, 0", "-"),
    ("x ** 0.0", "0", lambda: of_graph(lambda x: g.pow(x, g.full_like(x, 0)), [0.0]), [[0.0]], "0", "NaN"),
    ("x ** y", "0, 0", lambda: of_graph(g.pow, [0.0], [0.0]), [[0.0], [0.0]], "0, 0", "-"),
    ("x ** y", "0, 2", lambda: of_graph(g.pow, [0.0], [2.0]), [[0.0], [0.0]], "0, 0", "-"),
    ("mod(x, y)", "4, 2", lambda: of_graph(g.mod, [4.0], [2.0]), [[1.0], [-2.0]], "1, -2", "-"),
    ("norm(x)", "0, 0", lambda: of_function(mnp.norm, [0.0, 0.0]), [[0.0, 0.0]], "0, 0", "NaN"),
    ("std(x)", "1, 1", lambda: of_function(mnp.std, [1.0, 1.0]), [[0.0, 0.0]], "0, 0", "NaN"),
    ("arctan2(y, x)", "0, 0", lambda: of_function(mnp.arctan2, [0.0], [0.0]), [[0.0], [0.0]], "0, 0", "NaN"),
    ("hypot(x, y)", "0, 0", lambda: of_function(mnp.hypot, [0.0], [0.0]), [[0.0], [0.0]], "NaN", "0.5"),
    ("logaddexp(x, y)", "x = y", lambda: of_function(mnp.logaddexp, [1.0], [1.0]), [[0.5], [0.5]], "0.5, 0.5", "0.5, 0.5"),
    ("logaddexp(x, y)", "1, -inf", lambda: of_function(mnp.logaddexp, [1.0], [-INF]), [[1.0], [0.0]], "1, 0", "-"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} at {row[1]}")
def test_a_kink_has_the_stated_derivative(row: Any) -> None:
    found = row[2]()
    for value, expected in zip(found, row[3], strict=True):
        np.testing.assert_array_equal(value, expected)


def text(values: list[Any]) -> str:
    flat = [v for row in values for v in row]
    return ", ".join(f"{v:g}" for v in (flat[:1] if len(set(flat)) == 1 and len(values) == 1 else flat))


def test_the_page_has_these_rows() -> None:
    page = (Path(__file__).parents[2] / "docs" / "autodiff.md").read_text()
    rows = [f"| `{name}` | {at} | {text(ours)} | {torch} | {jax} |" for name, at, _, ours, torch, jax in TABLE]
    assert [row for row in rows if row not in page] == []

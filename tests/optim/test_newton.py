"""Newton's methods on quadratic functions, where Newton's step is known, and on one that is none."""

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import MlcError
from mlc.optim import Accumulate, DiagonalNewton, NewtonCG

RNG = np.random.default_rng(0)


def quadratic(matrix: np.ndarray):
    return lambda v: {"a": mnp.asarray(matrix @ v["a"].numpy())}


def test_a_diagonal_hessian_is_known_after_one_product() -> None:
    diagonal, p = np.array([0.5, 2.0, 30.0, -4.0, 1e-6]), RNG.normal(size=5)
    params = {"a": mnp.asarray(p)}
    optimizer = DiagonalNewton(1.0, floor=1e-3)
    found, state = optimizer.update(
        {"a": mnp.asarray(diagonal * p)}, optimizer.init(params), params, quadratic(np.diag(diagonal))
    )
    expected = p - diagonal * p / np.maximum(np.abs(diagonal), 1e-3)
    np.testing.assert_allclose(found["a"], expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(state["curvature"]["a"], 0.01 * diagonal, rtol=1e-12)


def test_the_mean_of_samples_is_the_diagonal() -> None:
    half = RNG.normal(size=(6, 6))
    matrix = half @ half.T
    params = {"a": mnp.zeros(6, "f64")}
    optimizer = DiagonalNewton(0.0, beta=0.0, samples=400)
    _, state = optimizer.update(params, optimizer.init(params), params, quadratic(matrix))
    # the variance of a sample is the sum of squares beside the diagonal
    spread = np.sqrt((2 * (matrix**2 - np.diag(np.diag(matrix**2))).sum(1)) / 400)
    assert (np.abs(state["curvature"]["a"].numpy() - np.diag(matrix)) < 4 * spread).all()


def test_conjugate_gradients_solve_as_many_equations_as_they_take_steps() -> None:
    half = RNG.normal(size=(4, 4))
    matrix = half @ half.T + np.eye(4)
    p = RNG.normal(size=4)
    params = {"a": mnp.asarray(p)}
    for damping in (0.0, 0.7):
        optimizer = NewtonCG(iterations=4, damping=damping)
        found, _ = optimizer.update({"a": mnp.asarray(matrix @ p)}, optimizer.init(params), params, quadratic(matrix))
        expected = p - np.linalg.solve(matrix + damping * np.eye(4), matrix @ p)
        np.testing.assert_allclose(found["a"], expected, rtol=1e-8, atol=1e-10)


def test_negative_curvature_leaves_the_gradient() -> None:
    p = RNG.normal(size=3)
    params = {"a": mnp.asarray(p)}
    optimizer = NewtonCG(0.5)
    found, _ = optimizer.update({"a": mnp.asarray(-p)}, optimizer.init(params), params, quadratic(-np.eye(3)))
    np.testing.assert_allclose(found["a"], 1.5 * p, rtol=1e-12)
    still, _ = optimizer.update({"a": mnp.zeros(3, "f64")}, optimizer.init(params), params, quadratic(np.eye(3)))
    np.testing.assert_array_equal(still["a"], p)


def rosenbrock(params):
    x, y = params["x"], params["y"]
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: Accumulate(o, 1)])
def test_a_step_gives_products_with_the_hessian(wrap) -> None:
    """Newton's steps by hand from the same point; two unknowns take two steps of conjugate gradients."""
    step = mlc.train_step(rosenbrock, None, wrap(NewtonCG(iterations=2)), {"x": np.array(-1.2), "y": np.array(1.0)})
    x, y = -1.2, 1.0
    for _ in range(4):
        gradient = np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
        hessian = np.array([[2 - 400 * (y - 3 * x * x), -400 * x], [-400 * x, 200]])
        x, y = np.array([x, y]) - np.linalg.solve(hessian, gradient)
        step()
        np.testing.assert_allclose([step.parameters["x"], step.parameters["y"]], [x, y], rtol=1e-6)


def test_a_step_of_the_diagonal_finds_the_minimum() -> None:
    scale = np.array([1.0, 1e3, 1e-3])
    step = mlc.train_step(
        lambda p: (scale * (p["w"] - 3) ** 2).sum(), None, DiagonalNewton(1.0, floor=1e-6), {"w": np.zeros(3)}
    )
    step()
    np.testing.assert_allclose(step.parameters["w"], [3, 3, 3], rtol=1e-9)


def test_without_the_hessian_it_says_so() -> None:
    params = {"a": mnp.ones(2)}
    with pytest.raises(MlcError, match="NewtonCG needs products with the Hessian"):
        NewtonCG().update(params, NewtonCG().init(params), params)

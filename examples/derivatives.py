"""How derivatives come about: a trace of five steps, an exponential that is computed once, and a perceptron whose backward pass is five lines.

    python examples/derivatives.py

f(x1, x2) = ln x1 + x1 x2 - sin x2 at (2, 5). Forward mode carries the tangent of each value, its change along a direction; reverse mode carries
its adjoint, the change of f with it. Both end with the same gradient, (5.5, 1.716).
"""

from __future__ import annotations

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc import Tensor

AT = (np.float64(2), np.float64(5))


# 1. A trace -----------------------------------------------------------------------------------------------------------
def steps(x1: Tensor, x2: Tensor) -> dict[str, Tensor]:
    """Each value on the way to f, which is the last, by its name."""
    v1 = mnp.log(x1)
    v2 = x1 * x2
    v3 = mnp.sin(x2)
    v4 = v1 + v2
    v5 = v4 - v3
    return {"ln x1": v1, "x1 x2": v2, "sin x2": v3, "v1 + v2": v4, "v4 - v3": v5}


def f(x1: Tensor, x2: Tensor) -> Tensor:
    return steps(x1, x2)["v4 - v3"]


def tangents(direction: tuple[float, float]) -> dict[str, float]:
    """Of every value along a direction of (x1, x2): one walk forwards."""
    along = tuple(np.float64(d) for d in direction)
    _, found = mlc.jvp(steps, AT, along)
    return {"x1": direction[0], "x2": direction[1], **{name: t.item() for name, t in found.items()}}


def adjoints() -> tuple[dict[str, float], dict[str, float]]:
    """(values, adjoints) of the trace: one walk backwards, on which a hook sees what reaches each value."""
    x1, x2 = (Tensor(x, requires_grad=True) for x in AT)
    trace = {"x1": x1, "x2": x2, **steps(x1, x2)}
    seen: dict[str, float] = {}
    for name, value in trace.items():
        value.register_hook(lambda adjoint, name=name: seen.update({name: adjoint.item()}))
    trace["v4 - v3"].backward()
    return {name: value.item() for name, value in trace.items()}, {name: seen[name] for name in trace}


def table() -> None:
    values, backwards = adjoints()
    by_x1, by_x2 = tangents((1, 0)), tangents((0, 1))
    print(f"{'':8} {'value':>8} {'tangent by x1':>14} {'by x2':>8} {'adjoint':>8}")
    for name in values:
        print(f"{name:8} {values[name]:8.3f} {by_x1[name]:14.3f} {by_x2[name]:8.3f} {backwards[name]:8.3f}")


# 2. An exponential, once -------------------------------------------------------------------------------------------------
def twice(v: Tensor) -> Tensor:
    """(exp v)(exp v + 1), as one writes it: with two calls of exp."""
    return mnp.exp(v) * (mnp.exp(v) + 1)


def extended(function: object, *args: object, wrt: str = "*") -> mlc.Module:
    """The graph of a function with that of its gradient behind it."""
    return mlc.PassManager(f"autodiff{{wrt={wrt}}}").run(mlc.jit(function).trace(*args).module)


# 3. A perceptron -------------------------------------------------------------------------------------------------------
def perceptron(x: Tensor, w1: Tensor, w2: Tensor, one_hot: Tensor) -> Tensor:
    """The cross-entropy of a batch, summed: ln(sum of exp z) minus the z of the right class."""
    h = mnp.tanh(x @ w1)
    z = h @ w2
    return mnp.logsumexp(z, axis=1).sum() - (z * one_hot).sum()


def by_hand(x: np.ndarray, w1: np.ndarray, w2: np.ndarray, one_hot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradients by w1 and w2 in NumPy."""
    h = np.tanh(x @ w1)
    e = np.exp(h @ w2)
    softmax = e / e.sum(axis=1, keepdims=True)

    dz = softmax - one_hot
    dw2 = h.T @ dz
    dh = dz @ w2.T
    da = dh * (1 - h * h)
    dw1 = x.T @ da
    return dw1, dw2


def batch(size: int = 4, inputs: int = 3, hidden: int = 5, classes: int = 2) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    x, w1, w2 = (random.standard_normal(s) for s in [(size, inputs), (inputs, hidden), (hidden, classes)])
    return x, w1, w2, np.eye(classes)[random.integers(classes, size=size)]


def main() -> None:
    table()
    by_x1, by_x2 = mlc.grad(f, argnums=(0, 1))(*AT)
    print(f"\nthe compiled gradient: {by_x1.item():.3f}, {by_x2.item():.3f}")
    print(f"x2 a plain number:     {mlc.grad(f)(AT[0], 5.0).item():.3f}")
    print(f"x1 a plain number:     {mlc.grad(f, argnums=1)(2.0, AT[1]).item():.3f}")
    with mlc.no_grad():
        y = f(Tensor(AT[0], requires_grad=True), AT[1])
    print(f"under no_grad:         {y.item():.3f}, with a way back: {y.requires_grad}")
    print(f"\n// (exp v)(exp v + 1) and its derivative\n{extended(twice, AT[0])}")
    print(f"// the perceptron\n{extended(perceptron, *batch(), wrt='w*')}")


if __name__ == "__main__":
    main()

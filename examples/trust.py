"""How far a derivative can be trusted, and what it costs: differences, expressions, dual numbers, and the derivative of the graph.

    python examples/trust.py

1. Differences: the error of (f(x + h) - f(x)) / h and (f(x + h) - f(x - h)) / 2h over the step h. A large step truncates, a small one rounds.
2. Expressions: the derivative of the logistic map by the product rule, as a textbook writes it, doubles and more with every iteration; the graph,
   in which a value that is used twice is one value, grows by a few ops.
3. Dual numbers: forward mode in sixty lines of Python, equal to mlc.jvp.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import mlc
import mlc.numpy as mnp

AT = np.float64(0.2)


# 1. Differences --------------------------------------------------------------------------------------------------------
def truncated(x):  # type: ignore[no-untyped-def]  # a number, an array, a tensor, a dual number
    """Three iterations of l -> 4 l (1 - l), multiplied out."""
    return 64 * x * (1 - x) * (1 - 2 * x) ** 2 * (1 - 8 * x + 8 * x * x) ** 2


def exact() -> float:
    return mlc.grad(truncated)(AT).item()


def errors(h: float, exact: float) -> tuple[float, float]:
    """Of forward and central differences with a step h, in float64."""
    forward = (truncated(AT + h) - truncated(AT)) / h
    central = (truncated(AT + h) - truncated(AT - h)) / (2 * h)
    return abs(float(forward) - exact), abs(float(central) - exact)


def best() -> list[tuple[float, float]]:
    """(error, step) of the best forward and the best central difference, among four steps per decade."""
    steps, slope = [10 ** (-n / 4) for n in range(4, 57)], exact()
    found = [errors(h, slope) for h in steps]
    return [min((pair[kind], h) for pair, h in zip(found, steps, strict=True)) for kind in (0, 1)]


# 2. Expressions --------------------------------------------------------------------------------------------------------
Expression = tuple  # ("x",), (number,), ("+" or "-" or "*", left, right)


def derivative(e: Expression) -> Expression:
    """By the rules of sum and product, with what is 0 or 1 left out."""
    if len(e) == 1:
        return (1,) if e == ("x",) else (0,)
    kind, a, b = e
    da, db = derivative(a), derivative(b)
    return plus(kind, da, db) if kind in "+-" else plus("+", times(da, b), times(a, db))


def plus(kind: str, a: Expression, b: Expression) -> Expression:
    return a if b == (0,) else b if a == (0,) and kind == "+" else (kind, a, b)


def times(a: Expression, b: Expression) -> Expression:
    return (0,) if (0,) in (a, b) else b if a == (1,) else a if b == (1,) else ("*", a, b)


def size(e: Expression) -> int:
    """How many +, - and * are written down."""
    return 0 if len(e) == 1 else 1 + size(e[1]) + size(e[2])


def value(e: Expression, x: float) -> float:
    if len(e) == 1:
        return x if e == ("x",) else e[0]
    a, b = value(e[1], x), value(e[2], x)
    return a + b if e[0] == "+" else a - b if e[0] == "-" else a * b


def logistic_expression(iterations: int) -> Expression:
    e: Expression = ("x",)
    for _ in range(iterations):
        e = ("*", ("*", (4,), e), ("-", (1,), e))
    return e


def logistic(x, iterations: int):  # type: ignore[no-untyped-def]
    for _ in range(iterations):
        x = 4 * x * (1 - x)
    return x


def graph_ops(iterations: int) -> tuple[int, int]:
    """The arithmetic of the graph, and of the graph with its derivative behind it."""
    module = mlc.jit(lambda x: logistic(x, iterations)).trace(AT).module
    extended = mlc.PassManager("autodiff").run(module)
    return arithmetic(module), arithmetic(extended)


def arithmetic(module: mlc.Module) -> int:
    return sum(op.name not in ("graph.constant", "func.return") for op in module.main.body.block.ops)


# 3. Dual numbers -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Dual:
    """value + tangent e with e e = 0: what stands beside e is the derivative."""

    value: float
    tangent: float = 0.0

    def __add__(self, other: object) -> Dual:
        o = dual(other)
        return Dual(self.value + o.value, self.tangent + o.tangent)

    def __mul__(self, other: object) -> Dual:
        o = dual(other)
        return Dual(self.value * o.value, self.tangent * o.value + self.value * o.tangent)

    def __truediv__(self, other: object) -> Dual:
        o = dual(other)
        quotient = self.value / o.value
        return Dual(quotient, (self.tangent - quotient * o.tangent) / o.value)

    def __pow__(self, n: float) -> Dual:
        return Dual(self.value**n, n * self.value ** (n - 1) * self.tangent)

    def __neg__(self) -> Dual:
        return self * -1.0

    def __sub__(self, other: object) -> Dual:
        return self + -dual(other)

    def __rsub__(self, other: object) -> Dual:
        return dual(other) - self

    def __rtruediv__(self, other: object) -> Dual:
        return dual(other) / self

    __radd__, __rmul__ = __add__, __mul__


def dual(x: object) -> Dual:
    return x if isinstance(x, Dual) else Dual(float(x))  # type: ignore[arg-type]


def exp(x: Dual) -> Dual:
    e = math.exp(x.value)
    return Dual(e, e * x.tangent)


def log(x: Dual) -> Dual:
    return Dual(math.log(x.value), x.tangent / x.value)


def sin(x: Dual) -> Dual:
    return Dual(math.sin(x.value), math.cos(x.value) * x.tangent)


def tangent(f: Callable[[Dual], Dual], x: float) -> float:
    """The derivative of f at x."""
    return f(Dual(x, 1.0)).tangent


def pairs() -> list[tuple[str, Callable[[Dual], Dual], Callable[[mlc.Tensor], mlc.Tensor]]]:
    """Functions of dual numbers, and of tensors."""
    return [
        ("truncated map", truncated, truncated),
        ("exp(sin x) / x", lambda x: exp(sin(x)) / x, lambda x: mnp.exp(mnp.sin(x)) / x),
        ("x ln x - 1 / x", lambda x: x * log(x) - 1 / x, lambda x: x * mnp.log(x) - 1 / x),
        ("(2 - x)^-3", lambda x: (2 - x) ** -3, lambda x: (2 - x) ** -3),
    ]


# ------------------------------------------------------------------------------------------------------------------------
def table_of_differences() -> None:
    slope = exact()
    print(f"{'step':>6} {'forward':>9} {'central':>9}")
    for k in range(1, 15):
        forward, central = errors(10.0**-k, slope)
        print(f"{f'1e-{k}':>6} {forward:9.0e} {central:9.0e}")
    for kind, (error, step) in zip(("forward", "central"), best(), strict=True):
        print(f"the best {kind} difference is off by {error:.0e}, with a step of {step:.0e}")


def table_of_swell(most: int = 8) -> None:
    print(f"{'iterations':>10} {'expression':>10} {'derivative':>10} {'graph':>6} {'with derivative':>15}")
    for n in range(1, most + 1):
        e = logistic_expression(n)
        print(f"{n:10} {size(e):10} {size(derivative(e)):10} {graph_ops(n)[0]:6} {graph_ops(n)[1]:15}")


def table_of_duals() -> None:
    for name, of_dual, of_tensor in pairs():
        found = mlc.jvp(of_tensor, (AT,), (np.float64(1),))[1].item()
        print(f"{name:15} dual {tangent(of_dual, float(AT)):15.10f}   jvp {found:15.10f}")


def main() -> None:
    table_of_differences()
    table_of_swell()
    table_of_duals()


if __name__ == "__main__":
    main()

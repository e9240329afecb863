"""One step of the optimisers of ai.onnx.preview.training.

Inputs are the learning rate, the number of steps made, then the parameters, their gradients and each kind of state, grouped by kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, plus, times
from mlc.frontends.onnx.table import Value, handles
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, shape_of

DOMAIN = "ai.onnx.preview.training"


def grouped(node: Node, xs: Sequence[Value], kinds: int) -> list[tuple[Value, ...]]:
    """(parameter, gradient, states...) of each parameter."""
    if len(xs) % kinds:
        raise node.invalid(f"{len(xs)} tensors do not form groups of {kinds}")
    count = len(xs) // kinds
    return [tuple(xs[i::count]) for i in range(count)]


def regularized(node: Node, x: Value, gradient: Value) -> Value:
    coefficient = node.float("norm_coefficient")
    return g.add(times(x, coefficient), gradient) if coefficient else gradient


def number(v: Value, x: Value) -> Value:
    """A scalar (or tensor of one element) in x's type and shape."""
    return g.broadcast(g.reshape(g.cast(v, dtype_of(x)), []), shape_of(x), [])


def square(x: Value) -> Value:
    return g.mul(x, x)


@handles("Adagrad", since=(1,), domain=DOMAIN)
def adagrad(node: Node, rate: Value, steps: Value, *xs: Value) -> Sequence[Value]:
    """Duchi, Hazan, Singer 2011: the rate of each element falls with the root of its summed squared gradients."""
    parameters, sums = [], []
    for x, gradient, total in grouped(node, xs, 3):
        decay = plus(times(number(steps, x), node.float("decay_factor")), 1)
        gradient = regularized(node, x, gradient)
        total = g.add(total, square(gradient))
        step = g.mul(g.div(number(rate, x), decay), gradient)
        parameters.append(g.sub(x, g.div(step, plus(g.sqrt(total), node.float("epsilon")))))
        sums.append(total)
    return [*parameters, *sums]


@handles("Adam", since=(1,), domain=DOMAIN)
def adam(node: Node, rate: Value, steps: Value, *xs: Value) -> Sequence[Value]:
    """Kingma, Ba 2015, with the bias corrected in the rate; the very first step (steps = 0) is not corrected."""
    alpha, beta = node.float("alpha"), node.float("beta")
    parameters, means, squares = [], [], []
    for x, gradient, mean, variance in grouped(node, xs, 4):
        gradient = regularized(node, x, gradient)
        mean = g.add(times(mean, alpha), times(gradient, 1 - alpha))
        variance = g.add(times(variance, beta), times(square(gradient), 1 - beta))
        made = number(steps, x)
        corrected = g.div(g.sqrt(one_minus_power(beta, made)), one_minus_power(alpha, made))
        scale = g.select(g.gt(made, like(made, 0)), corrected, like(made, 1))
        step = g.div(g.mul(g.mul(number(rate, x), scale), mean), plus(g.sqrt(variance), node.float("epsilon")))
        parameters.append(times(g.sub(x, step), 1 - node.float("norm_coefficient_post")))
        means.append(mean)
        squares.append(variance)
    return [*parameters, *means, *squares]


def one_minus_power(base: float, exponent: Value) -> Value:
    return plus(g.neg(g.pow(like(exponent, base), exponent)), 1)


@handles("Momentum", since=(1,), domain=DOMAIN)
def momentum(node: Node, rate: Value, steps: Value, *xs: Value) -> Sequence[Value]:
    """velocity = alpha * velocity + beta * gradient, beta being 1 in the first step; nesterov steps along the gradient ahead."""
    mode = node.string("mode")
    if mode not in ("standard", "nesterov"):
        raise node.invalid(f"mode '{mode}' is neither standard nor nesterov")
    alpha, beta = node.float("alpha"), node.float("beta")
    parameters, velocities = [], []
    for x, gradient, velocity in grouped(node, xs, 3):
        gradient = regularized(node, x, gradient)
        made = number(steps, x)
        weight = g.select(g.gt(made, like(made, 0)), like(made, beta), like(made, 1))
        velocity = g.add(times(velocity, alpha), g.mul(weight, gradient))
        direction = velocity if mode == "standard" else g.add(gradient, times(velocity, alpha))
        parameters.append(g.sub(x, g.mul(number(rate, x), direction)))
        velocities.append(velocity)
    return [*parameters, *velocities]

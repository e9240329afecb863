"""Each optimiser's updates as its paper or PyTorch's documentation states them, in NumPy and float64, one parameter at a time."""

from collections.abc import Callable, Iterator

import numpy as np

import mlc.numpy as mnp
from mlc.optim import SGD, Adam, AdamW, Momentum, Optimizer

Array = np.ndarray
# p, and then an endless sequence of gradients by send(): p = updates.send(g)
Rule = Callable[[Array], Iterator[Array]]


def sgd(p: Array, lr=0.1, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
    v = None
    while True:
        g = (yield p) + weight_decay * p
        v = g if v is None else momentum * v + (1 - dampening) * g
        p = p - lr * (g + momentum * v if nesterov else v)


def momentum(p: Array, lr=0.1, beta=0.9, unbiased=False):
    v, t = np.zeros_like(p), 0
    while True:
        g, t = (yield p), t + 1
        v = beta * v + (1 - beta) * g
        p = p - lr * (v / (1 - beta**t) if unbiased else v)


def adam(p: Array, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    m, v, t = np.zeros_like(p), np.zeros_like(p), 0
    while True:
        g, t = (yield p), t + 1
        if decoupled:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


# name -> (the optimiser, its rule)
CASES: dict[str, tuple[Optimizer, Rule]] = {
    "SGD": (SGD(0.1), sgd),
    "SGD with weight decay": (SGD(0.1, weight_decay=0.3), lambda p: sgd(p, weight_decay=0.3)),
    "SGD with momentum": (SGD(0.1, momentum=0.9), lambda p: sgd(p, momentum=0.9)),
    "SGD with dampening": (SGD(0.1, momentum=0.9, dampening=0.4), lambda p: sgd(p, momentum=0.9, dampening=0.4)),
    "SGD of Nesterov": (SGD(0.1, momentum=0.8, nesterov=True), lambda p: sgd(p, momentum=0.8, nesterov=True)),
    "Momentum": (Momentum(0.1), momentum),
    "Momentum without bias": (Momentum(0.1, 0.7, unbiased=True), lambda p: momentum(p, beta=0.7, unbiased=True)),
    "Adam": (Adam(0.01), adam),
    "Adam with weight decay": (
        Adam(0.01, (0.8, 0.95), 1e-3, 0.2),
        lambda p: adam(p, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.2),
    ),
    "AdamW": (AdamW(0.01, weight_decay=0.2), lambda p: adam(p, weight_decay=0.2, decoupled=True)),
}


def parameters(dtype: str = "f64") -> dict[str, Array]:
    rng = np.random.default_rng(0)
    kind = {"f64": np.float64, "f32": np.float32}[dtype]
    return {
        "w": rng.normal(size=(3, 5)).astype(kind),
        "b": rng.normal(size=()).astype(kind),
        "none": np.zeros((0, 2), kind),
    }


def gradient(p: Array, step: int) -> Array:
    """Of every sign and size, another one in each step, and 0 at some places. It hardly depends on p, lest rounding errors grow."""
    place = 1.7 * np.arange(p.size).reshape(p.shape) + 2.3 * step
    wave = np.sin(place) * 10.0 ** (step % 3 - 1) + 0.1 * p
    return np.where(np.cos(3 * place) > 0.9, 0, wave).astype(p.dtype)


def expected(rule: Rule, steps: int) -> list[dict[str, Array]]:
    """The parameters after each update by the rule."""
    start = parameters()
    updates = {name: rule(p) for name, p in start.items()}
    now = {name: next(u) for name, u in updates.items()}
    found = []
    for step in range(steps):
        now = {name: updates[name].send(gradient(p, step)) for name, p in now.items()}
        found.append(now)
    return found


def taken(optimizer: Optimizer, steps: int, update: Callable | None = None) -> list[dict[str, Array]]:
    """The parameters after each update by the optimiser."""
    update = optimizer.update if update is None else update
    params = {name: mnp.asarray(p) for name, p in parameters().items()}
    state = optimizer.init(params)
    found = []
    for step in range(steps):
        grads = {name: mnp.asarray(gradient(p.numpy(), step)) for name, p in params.items()}
        params, state = update(grads, state, params)
        found.append({name: p.numpy() for name, p in params.items()})
    return found

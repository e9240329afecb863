"""Each optimiser's updates as its paper or PyTorch's documentation states them, in NumPy and float64, one parameter at a time."""

from collections.abc import Callable, Iterator

import numpy as np

import mlc.numpy as mnp
from mlc.optim import (
    SGD,
    AdaDelta,
    Adafactor,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    Lion,
    Momentum,
    Muon,
    NAdam,
    Nesterov,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
    ScheduleFreeAdamW,
)

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


def adamax(p: Array, lr=2e-3, betas=(0.9, 0.999), eps=1e-8):
    m, u, t = np.zeros_like(p), np.zeros_like(p), 0
    while True:
        g, t = (yield p), t + 1
        m, u = betas[0] * m + (1 - betas[0]) * g, np.maximum(betas[1] * u, np.abs(g) + eps)
        p = p - lr / (1 - betas[0] ** t) * m / u


def nadam(p: Array, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, decay=4e-3):
    m, v, t, product = np.zeros_like(p), np.zeros_like(p), 0, 1.0
    mu = lambda t: betas[0] * (1 - 0.5 * 0.96 ** (t * decay))
    while True:
        g, t = (yield p), t + 1
        product *= mu(t)
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        ahead = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        p = p - lr * ahead / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


def radam(p: Array, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
    m, v, t = np.zeros_like(p), np.zeros_like(p), 0
    most = 2 / (1 - betas[1]) - 1
    while True:
        g, t = (yield p), t + 1
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        rho = most - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        step = m / (1 - betas[0] ** t)
        if rho > 5:
            r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
            step = step * r * np.sqrt(1 - betas[1] ** t) / (np.sqrt(v) + eps)
        p = p - lr * step


def nesterov(p: Array, lr=0.1, momentum=0.9):
    """The gradients that come are those of the point ahead, p - momentum * v."""
    v = np.zeros_like(p)
    while True:
        v = momentum * v + lr * (yield p)
        p = p - v


def adagrad(p: Array, lr=0.01, lr_decay=0.0, eps=1e-10):
    total, t = np.zeros_like(p), 0
    while True:
        g = yield p
        total = total + g**2
        p, t = p - lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps), t + 1


def rmsprop(p: Array, lr=0.01, alpha=0.99, eps=1e-8, momentum=0.0, centered=False):
    v, mean, moved = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    while True:
        g = yield p
        v, mean = alpha * v + (1 - alpha) * g**2, alpha * mean + (1 - alpha) * g
        moved = momentum * moved + g / (np.sqrt(v - mean**2 if centered else v) + eps)
        p = p - lr * moved


def adadelta(p: Array, lr=1.0, rho=0.9, eps=1e-6):
    v, u = np.zeros_like(p), np.zeros_like(p)
    while True:
        g = yield p
        v = rho * v + (1 - rho) * g**2
        change = -np.sqrt(u + eps) / np.sqrt(v + eps) * g
        u = rho * u + (1 - rho) * change**2
        p = p + lr * change


def rprop(p: Array, lr=0.01, etas=(0.5, 1.2), sizes=(1e-6, 50.0)):
    size, before = np.full_like(p, lr), np.zeros_like(p)
    while True:
        g = np.array((yield p))
        for at in np.ndindex(p.shape):  # as the paper has it, element by element
            if g[at] * before[at] > 0:
                size[at] = min(size[at] * etas[1], sizes[1])
            elif g[at] * before[at] < 0:
                size[at], g[at] = max(size[at] * etas[0], sizes[0]), 0
        p, before = p - np.sign(g) * size, g


def lion(p: Array, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0):
    m = np.zeros_like(p)
    while True:
        g = yield p
        step = np.sign(betas[0] * m + (1 - betas[0]) * g) + weight_decay * p
        p, m = p - lr * step, betas[1] * m + (1 - betas[1]) * g


def adafactor(p: Array, lr=1e-2, decay=-0.8, least=2.0**-52, scale=1e-3, d=1.0, weight_decay=0.0):
    """Algorithm 4 of the paper with the clipping and relative steps of its section 8."""
    rms = lambda x: np.sqrt((x**2).mean()) if x.size else 0.0
    v, row, column, t = np.zeros_like(p), 0.0, 0.0, 0
    while True:
        g, t = (yield p), t + 1
        beta = 1 - t**decay
        if p.ndim < 2:
            v = beta * v + (1 - beta) * g**2
        elif p.size:
            row = beta * row + (1 - beta) * (g**2).mean(1)
            column = beta * column + (1 - beta) * (g**2).mean(0)
            v = np.outer(row, column) / max(row.mean(), least)
        u = g / np.sqrt(np.maximum(v, least**2))
        rate = max(scale, rms(p)) * min(lr, 1 / np.sqrt(t))
        p = p * (1 - lr * weight_decay) - rate * u / max(1, rms(u) / d)


def schedule_free(y: Array, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """Algorithm 1 of the paper; what comes out is x, and gradients come for y."""
    x, z, v, t, total = y, y, np.zeros_like(y), 0, 0.0
    while True:
        g, t = (yield x), t + 1
        y = (1 - betas[0]) * z + betas[0] * x
        v = betas[1] * v + (1 - betas[1]) * g**2
        z = z - lr * g / (np.sqrt(v / (1 - betas[1] ** t)) + eps) - lr * weight_decay * y
        total += lr**2
        x = (1 - lr**2 / total) * x + lr**2 / total * z


def muon(p: Array, lr=0.02, momentum=0.95, weight_decay=0.1):
    m = np.zeros_like(p)
    while True:
        g = yield p
        m = momentum * m + (1 - momentum) * g
        u, sizes, v = np.linalg.svd(momentum * m + (1 - momentum) * g, full_matrices=False)
        sizes = sizes / max(np.sqrt((sizes**2).sum()), 1e-7)
        for _ in range(5):
            sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
        p = p * (1 - lr * weight_decay) - lr * max(1, p.shape[0] / max(p.shape[1], 1)) ** 0.5 * (u * sizes) @ v


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
    "AdaMax": (AdaMax(), adamax),
    "NAdam": (NAdam(), nadam),
    "RAdam": (RAdam(betas=(0.8, 0.9)), lambda p: radam(p, betas=(0.8, 0.9))),
    "Nesterov": (Nesterov(0.1), nesterov),
    "AdaGrad": (AdaGrad(lr_decay=0.1), lambda p: adagrad(p, lr_decay=0.1)),
    "RMSprop": (RMSprop(), rmsprop),
    "RMSprop, centred": (
        RMSprop(alpha=0.8, momentum=0.5, centered=True, eps=1e-4),
        lambda p: rmsprop(p, alpha=0.8, momentum=0.5, centered=True, eps=1e-4),
    ),
    "AdaDelta": (AdaDelta(), adadelta),
    "Rprop": (Rprop(), rprop),
    "Lion": (Lion(1e-2, weight_decay=0.3), lambda p: lion(p, weight_decay=0.3)),
    "Adafactor": (Adafactor(weight_decay=0.1), lambda p: adafactor(p, weight_decay=0.1)),
    "ScheduleFreeAdamW": (ScheduleFreeAdamW(0.01, weight_decay=0.1), lambda p: schedule_free(p, weight_decay=0.1)),
    "Muon": (Muon(0.02), muon),
}


MATRICES = {"Muon"}  # optimisers of matrices alone


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


def expected(rule: Rule, steps: int, start: dict[str, Array]) -> list[dict[str, Array]]:
    """The parameters after each update by the rule."""
    updates = {name: rule(p) for name, p in start.items()}
    now = {name: next(u) for name, u in updates.items()}
    found = []
    for step in range(steps):
        now = {name: updates[name].send(gradient(p, step)) for name, p in now.items()}
        found.append(now)
    return found


def taken(
    optimizer: Optimizer, steps: int, start: dict[str, Array], update: Callable | None = None
) -> list[dict[str, Array]]:
    """The parameters after each update by the optimiser."""
    update = optimizer.update if update is None else update
    params = {name: mnp.asarray(p) for name, p in start.items()}
    state = optimizer.init(params)
    found = []
    for step in range(steps):
        grads = {name: mnp.asarray(gradient(p.numpy(), step)) for name, p in params.items()}
        params, state = update(grads, state, params)
        found.append({name: p.numpy() for name, p in params.items()})
    return found

"""A generative adversarial network of the plainest kind: a linear generator finds the mean and covariance of points it never sees.

    python examples/gan.py                         2,000 steps, a few seconds
    python examples/gan.py --steps 500 --seed 3

Real points are drawn from the normal distribution of mean (2, 1) and covariance ((1.04, 1.9), (1.9, 4.25)). The generator is x = z W + b of z from N(0, I): its points have the
mean b and the covariance W'W. What it follows is the derivative of a discriminator, which learns to tell its points from real ones.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc import Tensor
from mlc.nn import binary_cross_entropy_with_logits as cross_entropy
from mlc.optim import Adam, Cosine

MEAN = np.array([2.0, 1.0])
COVARIANCE = np.array([[1.04, 1.9], [1.9, 4.25]])
BATCH = 256
PENALTY = 0.05  # on the discriminator's weights: it damps the game, in which each answers the other's last move

Params = dict[str, Tensor]


def generate(generator: Params, z: Tensor) -> Tensor:
    return z @ generator["w"] + generator["b"]


def judge(discriminator: Params, x: Tensor) -> Tensor:
    """Logits of being real. Two normal distributions differ by a polynomial of degree 2 in x, so that this is the best there is."""
    u, v = x[:, 0], x[:, 1]
    return mnp.stack([u, v, u * u, u * v, v * v], axis=1) @ discriminator["w"] + discriminator["b"]


def discriminator_loss(discriminator: Params, generator: Params, real: Tensor, z: Tensor) -> Tensor:
    """Real points should be called real, the generator's not."""
    of_real, of_made = judge(discriminator, real), judge(discriminator, generate(generator, z))
    size = (discriminator["w"] ** 2).sum() + discriminator["b"] ** 2
    return cross_entropy(of_real, mnp.ones(BATCH)) + cross_entropy(of_made, mnp.zeros(BATCH)) + PENALTY * size


def generator_loss(generator: Params, discriminator: Params, z: Tensor) -> Tensor:
    """The generator's points should be called real."""
    return cross_entropy(judge(discriminator, generate(generator, z)), mnp.ones(BATCH))


def train(steps: int, seed: int, report: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """(mean, covariance) of the generator after training. `report(n, mean, covariance)` sees them on the way."""
    players = {
        "generator": {"w": mnp.eye(2), "b": mnp.zeros(2)},
        "discriminator": {"w": mnp.zeros(5), "b": mnp.zeros(())},
    }
    optimizers = {
        "generator": Adam(Cosine(1e-2, steps), betas=(0.5, 0.99)),
        "discriminator": Adam(Cosine(5e-2, steps), betas=(0.5, 0.99)),
    }
    states = {name: optimizers[name].init(params) for name, params in players.items()}

    @mlc.jit
    def step(players: Any, states: Any, real: Tensor, z: Tensor) -> tuple[Any, Any]:
        """Both gradients and both updates as one compiled function: first the discriminator moves, then the generator."""
        d, g = players["discriminator"], players["generator"]
        slope = mlc.grad(discriminator_loss)(d, g, real, z)
        d, d_state = optimizers["discriminator"].update(slope, states["discriminator"], d)
        slope = mlc.grad(generator_loss)(g, d, z)
        g, g_state = optimizers["generator"].update(slope, states["generator"], g)
        return {"generator": g, "discriminator": d}, {"generator": g_state, "discriminator": d_state}

    random = np.random.default_rng(seed)
    for n in range(1, steps + 1):
        real = random.multivariate_normal(MEAN, COVARIANCE, BATCH).astype(np.float32)
        z = random.standard_normal((BATCH, 2)).astype(np.float32)
        players, states = step(players, states, real, z)
        if report and n % 500 == 0:
            report(n, *moments(players["generator"]))
    return moments(players["generator"])


def moments(generator: Params) -> tuple[np.ndarray, np.ndarray]:
    w = generator["w"].numpy()
    return generator["b"].numpy().astype(float), (w.T @ w).astype(float)


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    args = parser.parse_args(arguments)

    def report(n: int, mean: np.ndarray, covariance: np.ndarray) -> None:
        print(f"step {n:4}  mean {mean.round(2).tolist()}  covariance {covariance.round(2).tolist()}", flush=True)

    mean, covariance = train(args.steps, args.seed, report)
    off = max(np.abs(mean - MEAN).max(), np.abs(covariance - COVARIANCE).max())
    print(f"off by at most {off:.3f}")
    return float(off)


if __name__ == "__main__":
    main()

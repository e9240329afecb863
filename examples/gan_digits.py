"""A generative adversarial network with transposed convolutions draws the handwritten digit that it is asked for.

    python examples/gan_digits.py                      3,000 steps, then the ten digits in characters
    python examples/gan_digits.py --steps 1000

The generator makes images of 8 x 8 pixels of 16 normal numbers and a digit: a linear layer to 2 x 2 pixels of many channels, then two transposed convolutions, each of which doubles
both sides. The discriminator is much the same the other way round, and is told the digit too. What comes out is judged by a third network, the recogniser of `mlc demo`, which has
seen neither: how often it sees the digit that was asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import mlc
import mlc.numpy as mnp
from mlc import Tensor, nn
from mlc.data import Monitor
from mlc.demo import MODEL
from mlc.nn import binary_cross_entropy_with_logits as cross_entropy
from mlc.optim import Adam

BATCH, NOISE = 64, 16


class Generator(nn.Module):
    """Images [n, 1, 8, 8] of values in 0..1, of z [n, NOISE] and digits [n]."""

    def __init__(self) -> None:
        self.first = nn.Linear(NOISE + 10, 64 * 2 * 2, bias=False)
        self.norm1 = nn.BatchNorm2d(64)
        self.up = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.last = nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1)

    def forward(self, z: Tensor, digits: Tensor) -> Tensor:
        x = self.first(mnp.concatenate([z, mnp.one_hot(digits, 10)], axis=1)).reshape(-1, 64, 2, 2)
        x = self.up(nn.functional.relu(self.norm1(x)))
        return nn.functional.sigmoid(self.last(nn.functional.relu(self.norm2(x))))


class Discriminator(nn.Module):
    """Logits [n] of being real, of images [n, 1, 8, 8] and digits [n], which are a plane of pixels beside the image."""

    def __init__(self) -> None:
        self.plane = nn.Embedding(10, 64)
        self.layers = nn.Sequential(
            nn.Conv2d(2, 32, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * 2 * 2, 1),
        )

    def forward(self, x: Tensor, digits: Tensor) -> Tensor:
        return self.layers(mnp.concatenate([x, self.plane(digits).reshape(-1, 1, 8, 8)], axis=1))[:, 0]


def train(steps: int, seed: int, report: Callable[[int, float, float], None] | None = None) -> Generator:
    """The generator after training, in the mode of evaluation. `report(n, loss of the discriminator, of the generator)` sees every step."""
    nn.seed(seed)
    generator, discriminator = Generator().train(), Discriminator().train()
    (g, statistics), (d, _) = generator.values(), discriminator.values()
    of_g, of_d = Adam(1e-3, betas=(0.5, 0.99)), Adam(1e-3, betas=(0.5, 0.99))
    states = of_g.init(g), of_d.init(d)

    def logits(d: Any, images: Tensor, digits: Tensor, key: Tensor) -> Tensor:
        return nn.functional_call(discriminator, d, {}, images, digits, key=key)[0]

    @mlc.jit
    def step(g: Any, d: Any, statistics: Any, states: Any, real: Tensor, digits: Tensor, z: Tensor, key: Tensor) -> Any:
        """Both gradients and both updates as one compiled function: the discriminator moves, then the generator."""
        keys = [mlc.random.fold_in(key, n) for n in range(3)]
        made, _ = nn.functional_call(generator, g, statistics, z, digits)

        def told_apart(d: Any) -> Tensor:
            of_real = cross_entropy(logits(d, real, digits, keys[0]), mnp.full(BATCH, 0.9))  # never quite sure
            return of_real + cross_entropy(logits(d, made, digits, keys[1]), mnp.zeros(BATCH))

        d_loss, slope = mlc.value_and_grad(told_apart)(d)
        d, d_state = of_d.update(slope, states[1], d)

        def taken_for_real(g: Any) -> tuple[Tensor, Any]:
            images, after = nn.functional_call(generator, g, statistics, z, digits)
            return cross_entropy(logits(d, images, digits, keys[2]), mnp.ones(BATCH)), after

        (g_loss, statistics), slope = mlc.value_and_grad(taken_for_real, has_aux=True)(g)
        g, g_state = of_g.update(slope, states[0], g)
        return g, d, statistics, (g_state, d_state), d_loss, g_loss

    data = load_digits()
    images, labels = (data.images[:, None] / 16).astype(np.float32), data.target.astype(np.int64)
    random, key = np.random.default_rng(seed), mlc.random.key(seed)
    for n in range(1, steps + 1):
        rows = random.integers(0, len(images), BATCH)
        z = random.standard_normal((BATCH, NOISE)).astype(np.float32)
        now = mlc.random.fold_in(key, n)
        g, d, statistics, states, d_loss, g_loss = step(g, d, statistics, states, images[rows], labels[rows], z, now)
        if report is not None:
            report(n, d_loss.item(), g_loss.item())
    generator.load_state_dict({**g, **statistics})
    return generator.eval()


def draw(generator: Generator, digits: np.ndarray, seed: int = 1) -> np.ndarray:
    """Images [n, 1, 8, 8] of these digits."""
    z = np.random.default_rng(seed).standard_normal((len(digits), NOISE)).astype(np.float32)
    return mlc.jit(generator)(z, digits).numpy()


def recognised(images: np.ndarray, digits: np.ndarray) -> float:
    """The share of images in which the recogniser sees the digit."""
    return float((mlc.compile(MODEL)(16 * images).argmax(1) == digits).mean())


def variety(images: np.ndarray, digits: np.ndarray) -> float:
    """How far pixels of images of one digit spread: the mean over digits of the standard deviation."""
    return float(np.mean([images[digits == n].std(axis=0).mean() for n in range(10)]))


def picture(images: np.ndarray) -> str:
    """Images side by side, two characters for a pixel."""
    shades = np.array(list(" .:-=+*#%@"))
    rows = shades[np.minimum((images[:, 0] * 10).astype(int), 9)]
    return "\n".join("   ".join("".join(c * 2 for c in image[y]) for image in rows).rstrip() for y in range(8))


def main(arguments: list[str] | None = None) -> tuple[float, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0, help="of first weights, and of what is drawn")
    parser.add_argument(
        "--plot", type=Path, metavar="loss.png", help="write the generator's losses as a picture, by matplotlib"
    )
    args = parser.parse_args(arguments)
    if args.steps < 1:
        parser.error("a step at least")

    with Monitor(args.steps, unit="images", plot=args.plot) as monitor:

        def report(n: int, d_loss: float, g_loss: float) -> None:
            monitor.update(g_loss, BATCH)
            if n % 1000 == 0 or n == args.steps:
                monitor.say(f"step {n:4}  discriminator {d_loss:.3f}  generator {g_loss:.3f}")

        generator = train(args.steps, args.seed, report)
    digits = np.arange(1000) % 10
    images = draw(generator, digits)
    found, spread = recognised(images, digits), variety(images, digits)
    data = load_digits()
    real = variety(data.images / 16, data.target)
    print(
        f"{found:.1%} of 1,000 are recognised; pixels of a digit spread by {spread:.3f}, those of real ones by {real:.3f}"
    )
    print(f"{picture(images[:5])}\n\n{picture(images[5:10])}")
    return found, spread


if __name__ == "__main__":
    main()

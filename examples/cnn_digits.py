"""A convolution network learns handwritten digits: at least 98 of 100 images that it has not seen are recognised.

    python examples/cnn_digits.py                  20 epochs
    python examples/cnn_digits.py --epochs 5
    mpiexec -n 4 python -m mpi4py examples/cnn_digits.py --mpi

Two convolutions, the second one followed by pooling, and a linear layer on the 1,797 images of scikit-learn (8x8 pixels). In training each image is shifted by up to a
pixel, in another way in each epoch; see mlp_digits.py for the same without either.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import mlc
from mlc import nn
from mlc.data import Accuracy, ArrayDataset, DataLoader, Mean, Monitor, RandomCrop, random_split
from mlc.optim import AdamW, Cosine

BATCH, TEST = 64, 360


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(32 * 4 * 4, 10),
    )


def joined() -> mlc.dist.DataParallel:
    """The ranks; but the first are silent from here on."""
    mlc.dist.init("mpi")
    if mlc.dist.rank() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  it stays open
    return mlc.dist.data()


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of first weights, order of batches, shifts")
    parser.add_argument("--plot", type=Path, metavar="loss.png", help="write the losses as a picture, by matplotlib")
    parser.add_argument("--mpi", action="store_true", help="on the ranks that mpiexec has started, each with its rows")
    args = parser.parse_args(arguments)
    parallel = joined() if args.mpi else None

    # 1. The data: [1, 8, 8] per image, one cut for training and test.
    digits = load_digits()
    images, labels = (digits.images[:, None] / 16).astype(np.float32), digits.target.astype(np.int64)
    train, test = random_split(ArrayDataset(images, labels), [1 - TEST / len(images), TEST / len(images)], seed=0)
    shift = RandomCrop(8, 8, padding=1)
    loader = DataLoader(
        train, batch_size=BATCH, shuffle=True, seed=args.seed, transform=shift, drop_last=args.mpi, parallel=parallel
    )

    # 2. The model, and a step of its training: running statistics and dropout are parts of it.
    nn.seed(args.seed)
    step = mlc.train_step(
        network(),
        "cross_entropy",
        AdamW(Cosine(3e-3, args.epochs * len(loader)), weight_decay=1e-2),
        seed=args.seed,
        shapes={"x": ("N", 1, 8, 8), "target": ("N",)},
        parallel=parallel,
    )

    # 3. Training.
    with Monitor(args.epochs * len(loader), plot=args.plot) as monitor:
        for epoch in range(args.epochs):
            mean = Mean()
            for x, y in loader:
                loss = step(x, y).item()
                mean.update(loss, len(x))
                monitor.update(loss, len(x))
            if epoch % 5 == 4 or epoch == args.epochs - 1:
                monitor.say(f"epoch {epoch + 1:3}  loss {mean.value:.4f}")

    # 4. The test: evaluate normalises by the running statistics and drops nothing.
    accuracy = Accuracy()
    x, y = (np.stack(part) for part in zip(*(test[n] for n in range(len(test))), strict=True))
    accuracy.update(np.asarray(step.evaluate(x)), y)
    print(f"test accuracy {accuracy.value:.3f} after {step.count} steps")
    return accuracy.value


if __name__ == "__main__":
    main()

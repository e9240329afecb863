"""A perceptron of two layers learns handwritten digits: at least 96 of 100 images that it has not seen are recognised.

    python examples/mlp_digits.py                  30 epochs, a few seconds
    python examples/mlp_digits.py --epochs 5 --checkpoint digits.safetensors

The 1,797 images of scikit-learn (8x8 pixels, values 0 to 16) are cut once: 1,437 to train on, 360 for the test. Forward pass, gradient and update
are one compiled function, which is called with a batch and gives the loss. With --checkpoint the training goes on where the last run ended.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import mlc
from mlc import nn
from mlc.data import Accuracy, ArrayDataset, DataLoader, Mean, Monitor, random_split
from mlc.optim import AdamW, InverseTime

BATCH, TEST = 64, 360


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of first weights, order of batches")
    parser.add_argument("--plot", type=Path, metavar="loss.png", help="write the losses as a picture, by matplotlib")
    parser.add_argument("--checkpoint", type=Path, help="read where it exists, written at the end")
    args = parser.parse_args()

    # 1. The data: one cut for training and test, batches in another order in each epoch.
    digits = load_digits()
    images, labels = (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)
    train, test = random_split(ArrayDataset(images, labels), [1 - TEST / len(images), TEST / len(images)], seed=0)
    loader = DataLoader(train, batch_size=BATCH, shuffle=True, seed=args.seed)

    # 2. The model, and a step of its training. N is the size of a batch: the last of an epoch is smaller.
    nn.seed(args.seed)
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    step = mlc.train_step(
        net,
        "cross_entropy",
        AdamW(InverseTime(5e-3, half=300), weight_decay=1e-2),
        shapes={"x": ("N", 64), "target": ("N",)},
    )
    if args.checkpoint and args.checkpoint.exists():
        step.load(args.checkpoint)

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

    # 4. The test, by the parameters that the step holds.
    accuracy = Accuracy()
    x, y = (np.stack(part) for part in zip(*(test[n] for n in range(len(test))), strict=True))
    accuracy.update(np.asarray(step.evaluate(x)), y)
    print(f"test accuracy {accuracy.value:.3f} after {step.count} steps")
    if args.checkpoint:
        step.save(args.checkpoint)
    return accuracy.value


if __name__ == "__main__":
    main()

"""Train the bundled model of `mlc demo`: a small convolution network on scikit-learn's handwritten digits.

    python -m benchmarks.train_digits        writes mlc/demo/digits.onnx and mlc/demo/digits.npz

1,437 of the 1,797 images (8x8 pixels, values 0 to 16) are trained on, 360 kept for the test; the .npz holds 50 of the
latter with their labels. Seeded: the same packages on the same machine write the same files.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from benchmarks.export import quiet

FOLDER = Path(__file__).parent.parent / "mlc" / "demo"
BUNDLED = 50


class DigitNet(nn.Module):
    """f32[N, 1, 8, 8] of values 0 to 16 -> f32[N, 10] of probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 4 * 4, 10))

    def logits(self, images: Tensor) -> Tensor:
        return self.head(self.features(images / 16.0))

    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(self.logits(images), dim=-1)


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to one pixel along both axes."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator).tolist()
    return torch.stack([image[:, i : i + 8, j : j + 8] for image, (i, j) in zip(padded, offsets, strict=True)])


def train(images: Tensor, labels: Tensor, epochs: int) -> DigitNet:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net, batch = DigitNet(), 64
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * -(-len(images) // batch))
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=generator).split(batch):
            loss = nn.functional.cross_entropy(net.logits(shifted(images[chosen], generator)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(1)
    digits = load_digits()
    images = digits.images.astype(np.float32)[:, None]
    parts = train_test_split(images, digits.target, test_size=360, random_state=0, stratify=digits.target)
    train_images, test_images, train_labels, test_labels = parts
    net = train(torch.from_numpy(train_images), torch.from_numpy(train_labels), args.epochs)
    with torch.no_grad():
        right = (net(torch.from_numpy(test_images)).argmax(-1).numpy() == test_labels).sum()
    print(f"test accuracy {right / len(test_labels):.4f} ({right} of {len(test_labels)})")

    path = args.out / "digits.onnx"
    with quiet():
        torch.onnx.export(
            net,
            (torch.from_numpy(test_images[:2]),),
            path,
            dynamo=False,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_axes={"images": {0: "N"}, "probabilities": {0: "N"}},
        )
    model = onnx.load(path)
    model.graph.name = "digits"
    model.doc_string = f"Handwritten digits, 8x8 pixels: {right} of {len(test_labels)} test images are recognised."
    onnx.save(model, path)
    np.savez_compressed(
        args.out / "digits.npz",
        images=test_images[:BUNDLED].astype(np.uint8),
        labels=test_labels[:BUNDLED].astype(np.int64),
    )
    for name in ("digits.onnx", "digits.npz"):
        print(f"{name}  {os.path.getsize(args.out / name) / 1024:.1f} KiB")


if __name__ == "__main__":
    main()

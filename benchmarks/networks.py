"""Networks that mlc and PyTorch train side by side, with the same names of parameters, and batches for them.

A network is written once where both frameworks have its layers (`layers` is mlc.nn or torch.nn). Attention is written for each as its users would.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import gelu, scaled_dot_product_attention

from mlc import nn

Batch = tuple[np.ndarray, np.ndarray]
CLASSES = 10
BLOCKS = ((32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1))  # channels in and out, stride
SIZE, HEADS, DEPTH, TOKENS, LENGTH = 256, 8, 4, 1000, 128


def perceptron(layers: Any) -> Any:
    return layers.Sequential(
        layers.Linear(784, 512), layers.ReLU(), layers.Linear(512, 512), layers.ReLU(), layers.Linear(512, CLASSES)
    )


def convolutions(layers: Any) -> Any:
    """Two convolutions with pooling on images of 32 x 32."""
    return layers.Sequential(
        layers.Conv2d(3, 32, 3, padding=1),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Conv2d(32, 64, 3, padding=1),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(64 * 8 * 8, CLASSES),
    )


def residual(layers: Any) -> Any:
    """Residual blocks with batch normalisation (He et al. 2016) on images of 32 x 32."""

    def convolution(inputs: int, outputs: int, window: int, stride: int) -> Any:
        return layers.Conv2d(inputs, outputs, window, stride, window // 2, bias=False)

    class Block(layers.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.conv1, self.norm1 = convolution(inputs, outputs, 3, stride), layers.BatchNorm2d(outputs)
            self.conv2, self.norm2 = convolution(outputs, outputs, 3, 1), layers.BatchNorm2d(outputs)
            self.skip = None if inputs == outputs else convolution(inputs, outputs, 1, stride)
            self.relu = layers.ReLU()

        def forward(self, x: Any) -> Any:
            y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
            return self.relu(y + (x if self.skip is None else self.skip(x)))

    class Mean(layers.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x.mean((2, 3))

    stem = (convolution(3, 32, 3, 1), layers.BatchNorm2d(32), layers.ReLU())
    blocks = [Block(*sizes) for sizes in BLOCKS]
    return layers.Sequential(*stem, *blocks, Mean(), layers.Linear(128, CLASSES))


class TorchBlock(torch.nn.TransformerEncoderLayer):
    """PyTorch's block, with its attention called without what that does beside it."""

    def __init__(self) -> None:
        super().__init__(SIZE, HEADS, 4 * SIZE, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        rows, length, size = x.shape
        attention = self.self_attn
        joined = torch.nn.functional.linear(self.norm1(x), attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = joined.view(rows, length, 3, HEADS, size // HEADS).permute(2, 0, 3, 1, 4)
        y = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(rows, length, size)
        x = x + attention.out_proj(y)
        return x + self.linear2(gelu(self.linear1(self.norm2(x)), approximate="tanh"))


class MlcBlock(nn.TransformerEncoderBlock):
    def __init__(self) -> None:
        super().__init__(
            SIZE, HEADS, 4 * SIZE, norm_first=True, activation=lambda x: nn.functional.gelu(x, approximate="tanh")
        )

    def forward(self, x: Any) -> Any:  # type: ignore[override]
        return super().forward(x, causal=True)


def transformer(layers: Any) -> Any:
    """Blocks of causal attention that predict the next of TOKENS tokens (Radford et al. 2019)."""

    class Positions(layers.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            start = np.random.default_rng(0).normal(0, 0.02, (LENGTH, SIZE)).astype(np.float32)
            self.weight = layers.Parameter(torch.from_numpy(start) if layers is torch.nn else start)

        def forward(self, x: Any) -> Any:
            return x + self.weight

    block = TorchBlock if layers is torch.nn else MlcBlock
    blocks = [block() for _ in range(DEPTH)]
    head = (layers.LayerNorm(SIZE), layers.Linear(SIZE, TOKENS, bias=False))
    return layers.Sequential(layers.Embedding(TOKENS, SIZE), Positions(), *blocks, *head)


def recurrent(layers: Any) -> Any:
    """Two layers of LSTM that read a sequence, and tell its class at the end."""

    class Reader(layers.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = layers.LSTM(SIZE, SIZE, 2), layers.Linear(SIZE, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0][-1])

    return Reader()


def labelled(*shape: int) -> Iterator[Batch]:
    """Items of classes that differ in their mean, with noise around it."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(CLASSES, *shape[1:])).astype(np.float32)
    while True:
        labels = rng.integers(0, CLASSES, shape[0])
        yield 0.1 * means[labels] + rng.normal(size=shape).astype(np.float32), labels


def series(steps: int, rows: int, size: int) -> Iterator[Batch]:
    """Sequences with classes, steps first."""
    for x, labels in labelled(rows, steps, size):
        yield np.ascontiguousarray(x.swapaxes(0, 1)), labels


def sequences(*shape: int) -> Iterator[Batch]:
    """Tokens each of which follows the one before it in a fixed order, but for one in eight; and the same a token later."""
    rng = np.random.default_rng(0)
    after = rng.permutation(TOKENS)
    while True:
        found = rng.integers(0, TOKENS, (shape[0], shape[1] + 1))
        kept = rng.random(found.shape) < 7 / 8
        for n in range(1, found.shape[1]):
            found[:, n] = np.where(kept[:, n], after[found[:, n - 1]], found[:, n])
        yield found[:, :-1], found[:, 1:]


@dataclass(frozen=True)
class Network:
    """What it is, a function that makes it of `mlc.nn` or `torch.nn`, and its batches. The loss is the cross entropy of the last axis."""

    title: str
    build: Callable[[Any], Any]
    batches: Callable[..., Iterator[Batch]]
    shape: tuple[int, ...]


NETWORKS = {
    "mlp": Network("perceptron 784-512-512-10, batch 128", perceptron, labelled, (128, 784)),
    "cnn": Network("two convolutions, 32 x 32 x 3, batch 32", convolutions, labelled, (32, 3, 32, 32)),
    "residual": Network("residual CNN, 32 x 32 x 3, batch 32", residual, labelled, (32, 3, 32, 32)),
    "transformer": Network("Transformer, 4 blocks of 256, 8 x 128 tokens", transformer, sequences, (8, LENGTH)),
    "lstm": Network("LSTM, 2 layers of 256, 64 steps, batch 8", recurrent, series, (64, 8, SIZE)),
}

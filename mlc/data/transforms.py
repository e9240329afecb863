"""Preprocessing and augmentation of batches x[N, ...]; images are [N, C, H, W]. The random ones draw for each sample by itself."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mlc.data.draws import Draws
from mlc.errors import ShapeError


class Transform(Protocol):
    """A batch in, a batch out; `draws` has the random numbers of its samples."""

    def __call__(self, x: np.ndarray, draws: Draws, /) -> np.ndarray: ...


class Compose:
    """One transform after another, each with random numbers of its own."""

    def __init__(self, *transforms: Transform):
        self.transforms = transforms

    def __call__(self, x: np.ndarray, draws: Draws, /) -> np.ndarray:
        for number, transform in enumerate(self.transforms):
            x = transform(x, draws.of(number))
        return x


class Normalize:
    """(x - mean) / std per channel, f32; mean and std are numbers or one per channel of x[N, C, ...]. Integers are not scaled first."""

    def __init__(self, mean: object, std: object):
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)

    def __call__(self, x: np.ndarray, draws: Draws, /) -> np.ndarray:
        channels = lambda value: value.reshape(-1, *[1] * (x.ndim - 2)) if value.ndim else value
        for name, value in (("mean", self.mean), ("std", self.std)):
            if value.ndim > 1 or (value.ndim == 1 and (x.ndim < 2 or value.size not in (1, x.shape[1]))):
                raise ShapeError(
                    f"normalize: {name} of shape {list(value.shape)} does not fit channels of x {list(x.shape)}"
                )
        return (x.astype(np.float32) - channels(self.mean)) / channels(self.std)


class CenterCrop:
    """The middle `height` x `width` of x[N, C, H, W]; of an odd rest the lower and right side loses one more."""

    def __init__(self, height: int, width: int):
        self.size = height, width

    def __call__(self, x: np.ndarray, draws: Draws, /) -> np.ndarray:
        top, left = (rest // 2 for rest in _room("center crop", x, self.size))
        return x[:, :, top : top + self.size[0], left : left + self.size[1]]


class RandomCrop:
    """A window of `height` x `width` anywhere in x[N, C, H, W], after `padding` zeros on each side."""

    def __init__(self, height: int, width: int, padding: int = 0):
        self.size, self.padding = (height, width), padding

    def __call__(self, x: np.ndarray, draws: Draws, /) -> np.ndarray:
        if x.ndim == 4 and self.padding:
            side = (self.padding, self.padding)
            x = np.pad(x, ((0, 0), (0, 0), side, side))
        room = np.array(_room("random crop", x, self.size)) + 1
        top, left = (draws.uniform(2) * room).astype(np.int64).T
        windows = np.lib.stride_tricks.sliding_window_view(x, self.size, axis=(2, 3))
        return windows[np.arange(len(x)), :, top, left]


class RandomHorizontalFlip:
    """x[N, C, H, W] with W reversed in each sample with this probability."""

    def __init__(self, probability: float = 0.5):
        self.probability = probability

    def __call__(self, x: np.ndarray, draws: Draws, /) -> np.ndarray:
        _require_images("random flip", x)
        flipped = draws.uniform()[:, 0] < self.probability
        return np.where(flipped[:, None, None, None], x[..., ::-1], x)


def _require_images(what: str, x: np.ndarray) -> None:
    if x.ndim != 4:
        raise ShapeError(f"{what}: x of shape {list(x.shape)} is no batch of images [N, C, H, W]")


def _room(what: str, x: np.ndarray, size: tuple[int, int]) -> list[int]:
    """How far the window can move down and to the right."""
    _require_images(what, x)
    room = [whole - part for whole, part in zip(x.shape[2:], size, strict=True)]
    if min(room) < 0:
        raise ShapeError(
            f"{what}: a window of {size[0]} x {size[1]} is larger than images of {x.shape[2]} x {x.shape[3]}"
        )
    return room

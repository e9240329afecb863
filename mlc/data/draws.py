"""Random numbers of samples: functions of a seed, an epoch and a sample's number, by Philox4x32-10."""

from __future__ import annotations

import numpy as np

from mlc.errors import MlcError
from mlc.ir.philox import philox

ORDER = 0xFFFFFFFF  # the stream that shuffles; those of transforms count from 0


class Draws:
    """The random numbers of some samples in one epoch.

    seed     0 to 2**64 - 1
    epoch    which passage over the data, from 0
    samples  i64[N], the samples' numbers in the dataset
    stream   of several users of random numbers, which this is: each transform of a Compose has its own
    """

    def __init__(self, seed: int, epoch: int, samples: np.ndarray, stream: int = 0):
        if not 0 <= seed < 1 << 64:
            raise MlcError(f"a seed of {seed} does not fit 64 bits", remedy="Choose one from 0 to 2**64 - 1.")
        self.seed, self.epoch, self.samples, self.stream = seed, epoch, np.asarray(samples, np.int64), stream

    def __len__(self) -> int:
        return len(self.samples)

    def of(self, part: int) -> Draws:
        """The draws of the same samples for one of up to 64 parts of this user; no two parts of any users share a stream."""
        return Draws(self.seed, self.epoch, self.samples, 64 * self.stream + part + 1)

    def bits(self) -> np.ndarray:
        """u32[N, 4], 128 bits for each sample."""
        sample = self.samples.astype(np.uint64)
        low, high = (sample & np.uint64(0xFFFFFFFF)).astype(np.uint32), (sample >> np.uint64(32)).astype(np.uint32)
        same = lambda word: np.full(len(sample), word & 0xFFFFFFFF, np.uint32)
        words = philox(low, high, same(self.stream), same(self.epoch), same(self.seed), same(self.seed >> 32))
        return np.stack(words, axis=-1)

    def uniform(self, count: int = 1) -> np.ndarray:
        """f64[N, count] from [0, 1), multiples of 2**-32; up to 4 for each sample."""
        if not 1 <= count <= 4:
            raise MlcError(f"{count} numbers for a sample were asked of one stream, which has 1 to 4")
        return self.bits()[:, :count] * 2.0**-32


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """i64[count], each of 0 .. count - 1 once, every order equally likely: the samples sorted by 64 random bits each."""
    bits = Draws(seed, epoch, np.arange(count), ORDER).bits()
    return np.lexsort((bits[:, 1], bits[:, 0]))

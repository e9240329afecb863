"""Random bits that are a function of a key."""

import math
from collections.abc import Sequence

import numpy as np


def philox(
    c0: np.ndarray, c1: np.ndarray, c2: np.ndarray, c3: np.ndarray, k0: np.ndarray, k1: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Philox4x32-10: four words for each counter and key, all uint32 (Salmon, Moraes, Dror, Shaw 2011)."""
    for turn in range(10):
        if turn:
            k0, k1 = k0 + np.uint32(0x9E3779B9), k1 + np.uint32(0xBB67AE85)
        first, second = c0.astype(np.uint64) * np.uint64(0xD2511F53), c2.astype(np.uint64) * np.uint64(0xCD9E8D57)
        high0, high1 = (first >> np.uint64(32)).astype(np.uint32), (second >> np.uint64(32)).astype(np.uint32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, second.astype(np.uint32), high0 ^ c3 ^ k1, first.astype(np.uint32)
    return c0, c1, c2, c3


def random_bits(key: np.ndarray, stream: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """32 random bits per element: of element i word i % 4 of what Philox makes of the counter i // 4, the stream and the key."""
    number = np.arange(math.prod(shape), dtype=np.uint64).reshape(shape)
    low, high = ((number >> np.uint64(by)).astype(np.uint32) for by in (2, 34))
    return np.choose((number & np.uint64(3)).astype(np.int64), philox(low, high, stream[0], stream[1], key[0], key[1]))

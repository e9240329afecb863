"""Philox4x32-10 on NumPy arrays: a counter of four u32 and a key of two give four random u32.

J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

import numpy as np

ROUNDS = 10
FACTORS = (0xD2511F53, 0xCD9E8D57)
INCREMENTS = (0x9E3779B9, 0xBB67AE85)


def philox(
    c0: np.ndarray, c1: np.ndarray, c2: np.ndarray, c3: np.ndarray, k0: np.ndarray, k1: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The four words for each counter and key, u32 arrays of one shape. Keys wrap: of single numbers NumPy warns."""
    for turn in range(ROUNDS):
        if turn:
            k0, k1 = k0 + np.uint32(INCREMENTS[0]), k1 + np.uint32(INCREMENTS[1])
        first, second = (c.astype(np.uint64) * np.uint64(f) for c, f in zip((c0, c2), FACTORS, strict=True))
        high0, high1 = ((p >> np.uint64(32)).astype(np.uint32) for p in (first, second))
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, second.astype(np.uint32), high0 ^ c3 ^ k1, first.astype(np.uint32)
    return c0, c1, c2, c3


_AT_ONCE = 1 << 14  # blocks whose numbers stay in a cache


def words(count: int, key: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """The first `count` words of the blocks 0, 1, 2, ... of a key u32[2], where `stream` u32[2] is the upper half of the counters."""
    found = np.empty((-(-count // 4), 4), np.uint32)
    pairs = stream[:1], stream[1:], key[:1], key[1:]
    for begin in range(0, len(found), _AT_ONCE):
        block = np.arange(begin, min(begin + _AT_ONCE, len(found)), dtype=np.uint64)
        low, high = block.astype(np.uint32), (block >> np.uint64(32)).astype(np.uint32)
        for place, word in enumerate(philox(low, high, *pairs)):
            found[begin : begin + len(block), place] = word
    return found.reshape(-1)[:count]

"""What a warp's addresses cost: a function of lane -> address alone, whether they come from a schedule's formula or from a kernel that ran.

    bank_ways(addresses, 16)     how often the banks of shared memory are gone through for one phase of an access; 1 is free of conflicts
    sectors(addresses, 4)        pieces of 32 bytes that an access to global memory moves

Addresses are bytes, in an array whose last axis has the 32 lanes, a negative number where a lane takes no part.
"""

from __future__ import annotations

import numpy as np

LANES, BANKS, WORD, SECTOR = 32, 32, 4, 32
PHASE = 128  # bytes of shared memory that an access reaches at once: 32 lanes of 4 bytes, 16 of 8, 8 of 16


def bank_ways(addresses: np.ndarray, bytes: int) -> np.ndarray:
    """The most words of one bank that lanes of one phase need; lanes of one word share it. 0 where no lane takes part."""
    at = _lanes(addresses)
    lanes = min(LANES, PHASE // max(bytes, WORD))
    phases = at.reshape(-1, LANES // lanes, lanes)
    words = phases[..., None] // WORD + np.arange(max(1, bytes // WORD))
    words = np.where(phases[..., None] < 0, -1, words).reshape(-1, lanes * max(1, bytes // WORD))
    return _most(words).reshape(*at.shape[:-1], LANES // lanes).max(-1)


def _most(words: np.ndarray) -> np.ndarray:
    """Of the different numbers in each row, -1 left out: how many at most have one remainder by the number of banks."""
    words = np.sort(words, axis=1)
    new = np.ones(words.shape, bool)
    new[:, 1:] = words[:, 1:] != words[:, :-1]
    rows, columns = np.nonzero(new & (words >= 0))
    counts = np.bincount(rows * BANKS + words[rows, columns] % BANKS, minlength=len(words) * BANKS)
    return counts.reshape(len(words), BANKS).max(1, initial=0)


def sectors(addresses: np.ndarray, bytes: int) -> np.ndarray:
    """How many different pieces of SECTOR bytes the lanes touch; an access of consecutive elements takes the fewest."""
    at = _lanes(addresses)
    touched = np.stack([at // SECTOR, (at + bytes - 1) // SECTOR], -1)
    touched = np.where(at[..., None] < 0, -1, touched).reshape(*at.shape[:-1], 2 * LANES)
    touched.sort(-1)
    new = np.concatenate([np.ones_like(touched[..., :1], bool), touched[..., 1:] != touched[..., :-1]], -1)
    return (new & (touched >= 0)).sum(-1)


def _lanes(addresses: np.ndarray) -> np.ndarray:
    at = np.asarray(addresses, np.int64)
    if not at.ndim or at.shape[-1] != LANES:
        raise ValueError(f"the addresses of a warp are {LANES} along the last axis, the shape is {list(at.shape)}")
    return at

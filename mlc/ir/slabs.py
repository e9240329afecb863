"""Memory for many arrays."""

from __future__ import annotations

from threading import Lock

import numpy as np


class Slabs:
    """Memory for arrays that are made one after another, each 64-byte aligned, in pieces of at least `least` bytes. Large pieces matter: a
    system backs only them by huge pages (NumPy asks for it from 4 MiB on), and what streams by from small pages takes up to a fifth longer."""

    def __init__(self, least: int = 32 << 20):
        self.least = least
        self._slab = np.empty(0, np.uint8)
        self._used = 0
        self._lock = Lock()

    def take(self, count: int) -> np.ndarray:
        """`count` bytes, uninitialised."""
        with self._lock:
            start = self._used + -(self._slab.ctypes.data + self._used) % 64
            if start + count > len(self._slab):
                self._slab = np.empty(max(self.least, count + 64), np.uint8)
                start = -self._slab.ctypes.data % 64
            self._used = start + count
            return self._slab[start : self._used]

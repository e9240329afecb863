"""Where modules take random keys from when nobody gives them one: initial parameters, and dropout outside of a functional call."""

from __future__ import annotations

from threading import Lock

from mlc import random
from mlc.frontends.trace.tensor import Tensor


class Rng:
    """A seed and a counter: each `key()` is another, and the same seed gives the same ones in the same order."""

    def __init__(self, seed: int = 0):
        self._lock = Lock()
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Begin again from a seed."""
        root = random.key(seed)
        with self._lock:
            self._root, self._drawn = root, 0

    def key(self) -> Tensor:
        """The next key, u32[2]."""
        with self._lock:
            root, number = self._root, self._drawn
            self._drawn += 1
        return random.fold_in(root, number)


default_rng = Rng()  # of seed 0, so that a program gives the same numbers each time


def seed(number: int) -> None:
    """Seed what modules draw where no key is given. It is 0 when a program begins."""
    default_rng.seed(number)

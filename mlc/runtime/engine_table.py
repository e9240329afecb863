"""The table through which native code sums up over ranks (mlc/codegen/llvm/rank_table.py): one for the process, as the pool of threads is.

Code that is loaded has its address. Whoever begins a group of processes (mlc.dist.init) fills it; before that there is one process.
"""

from __future__ import annotations

import numpy as np

from mlc.codegen.llvm.rank_table import FAILED, LIMIT, RANK, SIZE, SYMBOL, WORDS
from mlc.runtime.arrays import address

_SECOND = 1_000_000_000


class Table:
    """Words of 64 bits that keep their place."""

    def __init__(self) -> None:
        self.words = np.zeros(WORDS, np.int64)
        self.words[SIZE] = 1

    @property
    def address(self) -> int:
        return address(self.words)

    @property
    def imports(self) -> dict[str, int]:
        """What native code is linked with."""
        return {SYMBOL: self.address}

    @property
    def rank(self) -> int:
        return int(self.words[RANK])

    @property
    def size(self) -> int:
        return int(self.words[SIZE])

    @property
    def failed(self) -> int | None:
        """The slot of a sum that came to no end."""
        return int(self.words[FAILED]) - 1 if self.words[FAILED] else None

    @property
    def limit(self) -> float:
        """Seconds that a wait takes at most."""
        return float(self.words[LIMIT]) / _SECOND

    @limit.setter
    def limit(self, seconds: float) -> None:
        self.words[LIMIT] = min(int(seconds * _SECOND), 1 << 62)


_table = Table()


def table() -> Table:
    """That of the process."""
    return _table

"""The table through which native code sums up over ranks (mlc/codegen/llvm/rank_table.py): one for the process, as the pool of threads is.

Code that is loaded has its address. Whoever begins a group of processes (mlc.dist.init) fills it; before that there is one process.
"""

from __future__ import annotations

import numpy as np

from mlc.codegen.llvm.rank_table import FAILED, LIMIT, RANK, SIZE, SYMBOL, WORDS
from mlc.errors import MlcError
from mlc.runtime.arrays import address

TIMEOUT = "MLC_DIST_TIMEOUT"  # seconds, in the environment

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
    def limit(self) -> float:
        """Seconds that a wait takes at most."""
        return float(self.words[LIMIT]) / _SECOND

    @limit.setter
    def limit(self, seconds: float) -> None:
        self.words[LIMIT] = min(int(seconds * _SECOND), 1 << 62)

    def require_done(self) -> None:
        """Raises MlcError where a sum came to no end, now or before."""
        if failed := int(self.words[FAILED]):
            raise MlcError(
                f"rank {self.rank} of {self.size} gave up: the sum of bucket {failed} was not complete after {self.limit:g} s",
                remedy=f"Another rank ended, or does not take part in this call. {TIMEOUT}=SECONDS in the environment waits longer."
                " What this rank has computed is of no use: start again from the last checkpoint.",
            )


_table = Table()


def table() -> Table:
    """That of the process."""
    return _table

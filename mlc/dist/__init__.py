"""Training on several processes, its ranks, over an engine of the user's: `mpiexec -n 4 python -m mpi4py train.py`.

    mlc.dist.init("mpi")                                              # before it, and without it, there is one process
    loader = mlc.data.DataLoader(dataset, 64, parallel=mlc.dist.data())   # 64 samples for all ranks together
    step = mlc.train_step(model, loss, mlc.optim.Adam(lr=1e-3), parallel=mlc.dist.data())

See docs/distributed.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlc.dist.over_ranks import all_reduce
    from mlc.dist.parallel import DataParallel, data
    from mlc.dist.processes import barrier, finish, init, rank, size

_HOMES = {
    "mlc.dist.parallel": ("DataParallel", "data"),
    "mlc.dist.processes": ("barrier", "finish", "init", "rank", "size"),
    "mlc.dist.over_ranks": ("all_reduce",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["DataParallel", "all_reduce", "barrier", "data", "finish", "init", "rank", "size"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mlc.dist' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

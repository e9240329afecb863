"""Data parallel: how a step of training is divided among ranks, as `parallel=` says it to mlc.train_step and mlc.data.DataLoader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from mlc.dist import processes
from mlc.errors import DTypeError, MlcError, TargetUnavailable
from mlc.frontends.trace.pytree import flatten
from mlc.frontends.trace.tensor import Tensor, symbolic, type_text
from mlc.frontends.trace.tracing import Trace, current_trace, user_line
from mlc.ir import builder as g
from mlc.ir.types import dtype_of, is_float, shape_of
from mlc.options import CompileOptions
from mlc.passes.graph.buckets import BUCKET, BucketCollectives
from mlc.passes.graph.data_parallel import is_number, partition
from mlc.passes.graph.fuse import Fuse
from mlc.provenance import versions


@dataclass(frozen=True)
class DataParallel:
    """See `data`. `ranks` are those that there were when it was made."""

    bucket_bytes: int = BUCKET
    rank: int = 0
    ranks: int = 1

    def compile_options(self, options: CompileOptions) -> CompileOptions:
        """Options of a step: buckets of this size, and the cores divided among the ranks of this machine. Raises TargetUnavailable for targets
        without sums over ranks."""
        if options.target != "cpu":
            raise TargetUnavailable(
                f"steps for {options.target} are not divided among ranks yet", remedy="Leave out target=, or parallel=."
            )
        if self.bucket_bytes != BUCKET:
            default: Sequence[Any] = ("default", Fuse())
            given = default if options.passes is None else (options.passes, *default[1:])
            options = replace(options, passes=(*given, BucketCollectives(self.bucket_bytes)))
        return options if options.threads is not None else replace(options, threads=processes.threads_of_a_rank())

    def over_ranks(self, loss: Any, changed: Any, more: Any, batch: Sequence[Any]) -> tuple[Any, Any, Any]:
        """What a loss gives for the rows of one rank -> for those of all: means over the ranks of the loss, of buffers that follow the batch and
        of other single floats. In the trace of the loss, whose ops become those of a rank. Where sizes differ from call to call they may differ
        from rank to rank too, and a rank counts by its rows."""
        trace = current_trace()
        assert trace is not None
        given = [x for x in flatten(batch)[0] if isinstance(x, Tensor) and x.trace is not None]
        rows = next((x.shape[0] for x in given if x.shape), 1)
        used = [x for x in (_within(trace, each) for each in given) if x is not None]
        kinds = partition(trace.block, used, self.ranks)
        total = None if isinstance(rows, int) else g.all_reduce(g.dimension(rows))

        def varying(leaf: Any) -> bool:
            return isinstance(leaf, Tensor) and leaf.trace is trace and kinds.get(leaf.data) == "varying"

        def mean(leaf: Tensor) -> Tensor:
            x = leaf.data
            if total is None:
                return symbolic(g.mean_over_ranks(x, self.ranks), trace)
            own, whole = (g.cast(count, dtype_of(x)) for count in (g.dimension(rows), total))
            weighted = g.all_reduce(g.mul(x, g.broadcast(own, shape_of(x), [])))
            return symbolic(g.div(weighted, g.broadcast(whole, shape_of(x), [])), trace)

        def buffer(leaf: Any) -> Any:
            if varying(leaf) and not is_float(dtype_of(leaf.data)):
                raise DTypeError(
                    f"a buffer of {type_text(leaf)} follows the batch, and has another value on each rank",
                    file=user_line(),
                    remedy="Sum it up: mlc.dist.all_reduce(...).",
                )
            return mean(leaf) if varying(leaf) else leaf

        def measure(leaf: Any) -> Any:
            return mean(leaf) if varying(leaf) and is_number(leaf.data) else leaf

        buffers, structure = flatten(changed)
        others, shape = flatten(more)
        return (
            mean(loss) if varying(loss) else loss,
            structure.unflatten([buffer(leaf) for leaf in buffers]),
            shape.unflatten([measure(leaf) for leaf in others]),
        )

    def require_same(self, program: str, shapes: str, options: CompileOptions, state: Mapping[str, np.ndarray]) -> None:
        """Raises MlcError on all ranks where they are about to do different things."""
        self.require_group()
        told = replace(options, threads=None, cache=True)
        said = {
            "version of mlc": repr(versions()).encode(),
            "shapes of the batch": shapes.encode(),
            "program": program.encode(),
            "options": repr(told).encode(),
            "seed, parameters and state": digest(state),
        }
        processes.agreed(said, "the first step for a batch of this shape")

    def require_group(self) -> None:
        """Raises MlcError where other processes have come or gone since."""
        if (processes.rank(), processes.size()) != (self.rank, self.ranks):
            raise MlcError(
                f"parallel= was made for rank {self.rank} of {self.ranks}, and this is rank {processes.rank()} of {processes.size()}",
                file=user_line(),
                remedy="Call mlc.dist.init before mlc.dist.data.",
            )

    def part(self, count: int, what: str) -> slice:
        """The rank's part of so many rows. Raises MlcError where they are not divided evenly."""
        if count % self.ranks:
            raise MlcError(
                f"{what} has {count} rows, which {self.ranks} ranks cannot share evenly",
                file=user_line(),
                remedy=f"Take a multiple of {self.ranks}; for the last batch of an epoch say drop_last=True.",
            )
        share = count // self.ranks
        return slice(self.rank * share, (self.rank + 1) * share)


def _within(trace: Trace, x: Tensor) -> SSAValue | None:
    """A tensor of a trace around as a value of this one; None where nothing in here uses it."""
    bodies: list[Trace] = []
    around: Trace | None = trace
    while around is not None and around is not x.trace:
        bodies.append(around)
        around = around.outer
    found: SSAValue | None = x.data
    for body in reversed(bodies):
        found = None if found is None else body.lifted.get(found)
    return found


def data(*, bucket_bytes: int = BUCKET) -> DataParallel:
    """Each rank takes its part of the rows of a batch, and gradients are those of the whole batch.

    bucket_bytes  gradients are summed up over the ranks in buckets of about so many bytes, 4 MiB by default, while the others are computed
    """
    if isinstance(bucket_bytes, bool) or not isinstance(bucket_bytes, int) or bucket_bytes < 1:
        raise MlcError(f"bucket_bytes is {bucket_bytes!r}", file=user_line(), remedy="Give a whole number of at least 1.")
    return DataParallel(bucket_bytes, processes.rank(), processes.size())


def digest(state: Mapping[str, np.ndarray]) -> bytes:
    """Of names, types and numbers."""
    found = sha256()
    for name, array in state.items():
        found.update(f"{name} {array.dtype} {array.shape};".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()

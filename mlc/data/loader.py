"""Batches of a dataset, in order or shuffled, made ahead by a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.data.dataset import batch
from mlc.data.draws import Draws, permutation
from mlc.data.transforms import Transform
from mlc.errors import MlcError

if TYPE_CHECKING:
    from mlc.dist.parallel import DataParallel


class DataLoader:
    """Iterating gives the batches of one epoch: a sample's structure with arrays [N, ...] in place of arrays [...].

    dataset     see Dataset; ArrayDataset for arrays
    batch_size  samples of a batch; the last batch of an epoch has what is left, or is left out by `drop_last`
    shuffle     another order in each epoch, a function of `seed` and the epoch's number
    transform   changes the first array of each batch (the only one, or the first of a tuple or dict); a mapping from places or keys to
                transforms changes those
    parallel    mlc.dist.data(): batches are of all ranks together, and each rank loads its part of every batch. What a sample becomes does not
                depend on how many ranks there are
    prefetch    batches that a thread makes ahead; 0 makes each when it is asked for

    `state_dict` between two batches, loaded into an equal loader, goes on with the very next batch.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        transform: Transform | Mapping[int | str, Transform] | None = None,
        prefetch: int = 2,
        parallel: DataParallel | None = None,
    ):
        if batch_size < 1 or prefetch < 0:
            raise MlcError(
                f"a loader of batch_size {batch_size} and prefetch {prefetch} loads nothing",
                remedy="batch_size must be 1 or more, prefetch 0 or more.",
            )
        if parallel is not None:
            parallel.part(batch_size, "a batch")
            if not drop_last:
                parallel.part(len(dataset) % batch_size, f"the last batch of {len(dataset)} samples")
        self.dataset, self.batch_size, self.shuffle, self.seed = dataset, batch_size, shuffle, seed
        self.parallel = parallel
        self.drop_last, self.transform, self.prefetch = drop_last, transform, prefetch
        self.epoch = 0  # that the next iteration begins
        self._position = 0  # in batches, where it begins
        self._under_way: tuple[int, int] | None = None  # epoch and batches given, of one that has not ended

    def __len__(self) -> int:
        """Batches of an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        epoch, start = self.epoch, self._position
        self.epoch, self._position = epoch + 1, 0
        return self._batches(epoch, start)

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands."""
        epoch, position = self._under_way or (self.epoch, self._position)
        return {"seed": self.seed, "epoch": epoch, "position": position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """The next iteration goes on from there. Raises MlcError for a position that an epoch does not have."""
        if not 0 <= state["position"] <= len(self):
            raise MlcError(
                f"the state is of batch {state['position']} of an epoch, which has {len(self)}",
                remedy="Load it into a loader of the same dataset and batch size.",
            )
        self.seed, self.epoch, self._position = state["seed"], state["epoch"], state["position"]
        self._under_way = None

    def _batches(self, epoch: int, start: int) -> Iterator[Any]:
        order = permutation(self.seed, epoch, len(self.dataset)) if self.shuffle else np.arange(len(self.dataset))
        parts = (order[k * self.batch_size : (k + 1) * self.batch_size] for k in range(start, len(self)))
        given = start
        for loaded in self._ahead(parts, epoch) if self.prefetch else (self._load(part, epoch) for part in parts):
            given += 1
            self._under_way = epoch, given
            yield loaded
        self._under_way = None

    def _ahead(self, parts: Iterator[np.ndarray], epoch: int) -> Iterator[Any]:
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(1, "mlc-data") as thread:
            try:
                for part in parts:
                    waiting.append(thread.submit(self._load, part, epoch))
                    if len(waiting) > self.prefetch:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:  # the caller left in the middle
                    future.cancel()

    def _load(self, indices: np.ndarray, epoch: int) -> Any:
        if self.parallel is not None:
            indices = indices[self.parallel.part(len(indices), "a batch")]
        loaded = batch(self.dataset, indices)
        if self.transform is None:
            return loaded
        draws = Draws(self.seed, epoch, indices)
        if not isinstance(loaded, Mapping | tuple | list):
            if isinstance(self.transform, Mapping):
                raise MlcError(f"a transform of {list(self.transform)} was given, but samples are lone arrays")
            return self.transform(np.asarray(loaded), draws)
        places = list(loaded) if isinstance(loaded, Mapping) else list(range(len(loaded)))
        wanted = self.transform if isinstance(self.transform, Mapping) else {places[0]: self.transform}
        if unknown := [place for place in wanted if place not in places]:
            raise MlcError(f"a transform was given for {unknown[0]!r}; samples have {places}")
        changed = [
            wanted[place](np.asarray(loaded[place]), draws.of(k)) if place in wanted else loaded[place]
            for k, place in enumerate(places)
        ]
        if isinstance(loaded, Mapping):
            return dict(zip(places, changed, strict=True))
        return type(loaded)(*changed) if hasattr(loaded, "_fields") else type(loaded)(changed)

"""The weight store: the bytes of a module's large constants, by key, beside the IR. Values may be mapped from a file or made on first use."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir import work
from mlc.ir.kernel.pack import Pack, pack
from mlc.ir.slabs import Slabs
from mlc.ir.types import dtype_name, numpy_dtype
from mlc.ir.weight_origin import Move, Origin, Place


def _unknown(key: str) -> MlcError:
    return MlcError(
        f"there is no weight {key!r} in the store",
        remedy="IR text m.mlir has its weights beside it, in m.safetensors or weights.safetensors.",
    )


class _Weight:
    """One weight: its type, and its array or what makes it, from other weights or from elsewhere.

    `version` counts how often its numbers have changed. An array that was made of older versions of the sources is made anew. `place` is
    where its bytes lie in a file, `moved` the weight whose elements are moved to make it, where that is all there is to it.
    """

    __slots__ = ("array", "dtype", "loader", "lock", "made", "moved", "place", "shape", "sources", "turn")

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: str,
        array: np.ndarray | None = None,
        loader: Callable[[], np.ndarray] | None = None,
        sources: Sequence[_Weight] = (),
    ):
        self.shape, self.dtype, self.array, self.loader = shape, dtype, array, loader
        self.sources, self.turn, self.made = tuple(sources), 0, 0
        self.lock = RLock()  # a loader may ask for other weights
        self.place: Place | None = None
        self.moved: tuple[str, tuple[Move, ...]] | None = None

    @property
    def version(self) -> int:
        return self.turn + sum(source.version for source in self.sources)

    def get(self, key: str) -> np.ndarray:
        array = self.array
        if array is None or (self.sources and self.made != self.version):
            with self.lock:
                while self.array is None or (self.sources and self.made != self.version):
                    assert self.loader is not None
                    version, array = self.version, np.asarray(self.loader())
                    if array.shape != self.shape or array.dtype != numpy_dtype(self.dtype):
                        raise MlcError(
                            f"weight {key!r} is {array.dtype}{list(array.shape)}, not {self.dtype}{list(self.shape)}"
                        )
                    self.array, self.made = array, version
                array = self.array
        return array

    def derive(self, loader: Callable[[], np.ndarray], sources: Sequence[_Weight]) -> None:
        with self.lock:
            self.loader, self.sources = loader, tuple(sources)
            self.made = self.version

    def replace(self, array: np.ndarray) -> None:
        with self.lock:
            self.turn, self.sources, self.loader = self.version + 1, (), None
            self.array, self.place, self.moved = array, None, None


class WeightStore:
    """Keys are unique symbol names made from the user's own; equal array objects share a key. Arrays are never written to; they may
    lie at any address. A weight may be given other numbers (`replace`): what was made from the old ones is then made anew when it is asked for."""

    def __init__(self) -> None:
        self._weights: dict[str, _Weight] = {}
        self._keys: dict[int, str] = {}  # of arrays that were added, by identity
        self._looked_at: set[str] = set()  # weights whose numbers have become a part of a program
        self._tied: WeakKeyDictionary[object, WeightStore] = WeakKeyDictionary()
        self._numbers: dict[str, int] = {}  # name -> how many keys were made from it
        self.packed: dict[str, tuple[str, Pack]] = {}  # a packed weight -> the weight, and how it is packed
        self._packed_as: dict[tuple[str, str], str] = {}  # its inverse, with the text of how
        self.slabs = Slabs()

    def branch(self) -> WeightStore:
        """A store with the same weights. What is added to it later, as passes do, goes when it goes."""
        made = WeightStore()
        made._weights, made._keys, made.packed = dict(self._weights), dict(self._keys), dict(self.packed)
        made._looked_at, made._numbers, made._packed_as = (
            set(self._looked_at),
            dict(self._numbers),
            dict(self._packed_as),
        )
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles hold the arrays; what would make them stays here."""
        return _restored, ({key: self.get(key) for key in self}, dict(self.packed))

    def add(self, array: np.ndarray, name: str = "w") -> str:
        """The key of this array, new unless this very object is stored already."""
        known = self._keys.get(id(array))
        if known is not None and self._weights[known].array is array:  # else it was replaced, and its place taken
            return known
        key = self._fresh(name)
        self._weights[key] = _Weight(array.shape, dtype_name(array.dtype), array)
        self._keys[id(array)] = key
        return key

    def add_lazy(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        loader: Callable[[], np.ndarray],
        sources: Iterable[str] = (),
        place: Place | None = None,
        moved: tuple[str, tuple[Move, ...]] | None = None,
    ) -> str:
        """A weight that `loader` makes when it is first asked for, from the weights `sources`: again, when one of them is replaced. `place` and
        `moved` say the same as data, where that can be said."""
        key = self._fresh(name)
        made = _Weight(tuple(shape), dtype, None, loader, [self._weight(source) for source in sources])
        made.place, made.moved = place, moved
        self._weights[key] = made
        return key

    def origin(self, key: str) -> Origin:
        """The weight that this one is made of by moving elements alone, and how: the end of what is known as data."""
        how = None
        if key in self.packed:
            key, how = self.packed[key]
        moves: tuple[Move, ...] = ()
        while (step := self._weight(key).moved) is not None:
            key, moves = step[0], (*step[1], *moves)
        return Origin(key, moves, how)

    def place_of(self, key: str) -> Place | None:
        """Where the elements of a weight lie in a file, if they lie in one."""
        return self._weight(key).place

    def roots(self, keys: Iterable[str]) -> list[str]:
        """The weights that these are made from, through whatever is made on the way."""
        names = {id(weight): key for key, weight in self._weights.items()}
        found, waiting = set(), [self._weight(key) for key in keys]
        seen = set(map(id, waiting))
        while waiting:
            weight = waiting.pop()
            if not weight.sources:
                found.add(names[id(weight)])
            for source in weight.sources:
                if id(source) not in seen:
                    seen.add(id(source))
                    waiting.append(source)
        return sorted(found)

    def pack(self, key: str, how: Pack) -> str:
        """The key of the weight `key` packed like this, made when it is first asked for; the same weight packed in the same way is one weight."""
        text = repr(how)
        if (name := self._packed_as.get((key, text))) is None:
            name = f"{key}.packed.{'x'.join(map(str, how.tiles.values()))}.{'x'.join(map(str, how.shape))}"
            if how.order:
                name += f".{''.join(map(str, how.order))}"
            count, dtype = (how.elements(),), self.type_of(key)[1]
            name = self.add_lazy(name, count, dtype, lambda: pack(self.get(key), how, self.slabs), (key,))
            self.packed[name] = (key, how)
            self._packed_as[key, text] = name
        return name

    def derive(self, key: str, loader: Callable[[], np.ndarray], sources: Iterable[str]) -> None:
        """Say how a weight is made from others. The array that it has stays until one of them is replaced."""
        self._weight(key).derive(loader, [self._weight(source) for source in sources])

    def replace(self, key: str, array: np.ndarray) -> None:
        """Give a weight other numbers, of which it keeps a copy, in this store and all that share the weight. What is made from it is made
        anew when it is asked for; executables ask in refresh(). Raises MlcError for an unknown key, ShapeError and DTypeError for an array
        of another type."""
        weight, array = self._weight(key), np.asarray(array)
        if array.dtype != numpy_dtype(weight.dtype):
            raise DTypeError(f"weight '{key}' is {weight.dtype}, and the array that replaces it {array.dtype}")
        if array.shape != weight.shape:
            raise ShapeError(
                f"weight '{key}' has the shape {list(weight.shape)}, and the array that replaces it {list(array.shape)}"
            )
        weight.replace(np.array(array, order="C"))

    def version_of(self, key: str) -> int:
        """How often the numbers of a weight have changed."""
        return self._weight(key).version

    def look_at(self, keys: Iterable[str]) -> None:
        """The numbers of these weights become a part of a program: of its constants, or of what it tests."""
        self._looked_at.update(keys)

    def looked_at(self) -> dict[str, int]:
        """The weights whose numbers are a part of a program, each with its version."""
        return {key: self.version_of(key) for key in sorted(self._looked_at)}

    def tie(self, owner: object, store: WeightStore) -> None:
        """Keep a branch as long as both this store and its owner live."""
        self._tied[owner] = store

    def tied(self, owner: object) -> WeightStore:
        """The branch that was tied to an owner, else this store itself."""
        return self._tied.get(owner, self)

    def get(self, key: str) -> np.ndarray:
        """The array. Raises MlcError for an unknown key."""
        return self._weight(key).get(key)

    def get_all(self, keys: Iterable[str], threads: int = 1) -> dict[str, np.ndarray]:
        """Arrays by key, in this order; loaders run in several threads, for they copy and NumPy copies without Python's lock."""
        keys = list(keys)
        with ThreadPoolExecutor(threads, "mlc weights") as workers:
            arrays = workers.map(self.get, keys)
            found = {}
            for number, key in enumerate(keys):
                work.at(key, number, len(keys))
                found[key] = next(arrays)
            return found

    def type_of(self, key: str) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) without loading. Raises MlcError for an unknown key."""
        weight = self._weight(key)
        return weight.shape, weight.dtype

    def _weight(self, key: str) -> _Weight:
        try:
            return self._weights[key]
        except KeyError:
            raise _unknown(key) from None

    def nbytes(self, key: str) -> int:
        shape, dtype = self.type_of(key)
        return math.prod(shape) * numpy_dtype(dtype).itemsize

    def __contains__(self, key: object) -> bool:
        return key in self._weights

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def _fresh(self, name: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_.$-]", "_", name) or "w"
        base = base if re.match(r"[A-Za-z_]", base) else f"w_{base}"
        key, number = base, self._numbers.get(base, 0)
        while key in self._weights:
            number += 1
            key = f"{base}_{number}"
        self._numbers[base] = number
        return key


def _restored(arrays: dict[str, np.ndarray], packed: dict[str, tuple[str, Pack]]) -> WeightStore:
    store = WeightStore()
    store._weights = {key: _Weight(array.shape, dtype_name(array.dtype), array) for key, array in arrays.items()}
    store._keys = {id(array): key for key, array in arrays.items()}
    store.packed = packed
    store._packed_as = {(source, repr(how)): key for key, (source, how) in packed.items()}
    return store

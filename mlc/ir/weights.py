"""The weight store: the bytes of a module's large constants, by key, beside the IR. Values may be mapped from a file or made on first use."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.errors import MlcError
from mlc.ir import work
from mlc.ir.types import dtype_name, numpy_dtype

if TYPE_CHECKING:
    from mlc.ir.kernel.pack import Pack


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


def _unknown(key: str) -> MlcError:
    return MlcError(
        f"there is no weight {key!r} in the store",
        remedy="IR text m.mlir has its weights beside it, in m.safetensors or weights.safetensors.",
    )


class _Weight:
    """One weight: its type, and its array or what makes it."""

    __slots__ = ("array", "dtype", "loader", "lock", "shape")

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: str,
        array: np.ndarray | None = None,
        loader: Callable[[], np.ndarray] | None = None,
    ):
        self.shape, self.dtype, self.array, self.loader = shape, dtype, array, loader
        self.lock = RLock()  # a loader may ask for other weights

    def get(self, key: str) -> np.ndarray:
        if self.array is None:
            with self.lock:
                if self.array is None:
                    assert self.loader is not None
                    array = np.asarray(self.loader())
                    if array.shape != self.shape or array.dtype != numpy_dtype(self.dtype):
                        raise MlcError(
                            f"weight {key!r} is {array.dtype}{list(array.shape)}, not {self.dtype}{list(self.shape)}"
                        )
                    self.array = array
        return self.array


class WeightStore:
    """Keys are unique symbol names made from the user's own; equal array objects share a key. Arrays are never written to; they may
    lie at any address."""

    def __init__(self) -> None:
        self._weights: dict[str, _Weight] = {}
        self._keys: dict[int, str] = {}  # of arrays that were added, by identity
        self.packed: dict[str, tuple[str, Pack]] = {}  # a packed weight -> the weight, and how it is packed
        self.slabs = Slabs()

    def branch(self) -> WeightStore:
        """A store with the same weights. What is added to it later, as passes do, goes when it goes."""
        made = WeightStore()
        made._weights, made._keys, made.packed = dict(self._weights), dict(self._keys), dict(self.packed)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles hold the arrays; what would make them stays here."""
        return _restored, ({key: self.get(key) for key in self}, dict(self.packed))

    def add(self, array: np.ndarray, name: str = "w") -> str:
        """The key of this array, new unless this very object is stored already."""
        if id(array) in self._keys:
            return self._keys[id(array)]
        key = self._fresh(name)
        self._weights[key] = _Weight(array.shape, dtype_name(array.dtype), array)
        self._keys[id(array)] = key
        return key

    def add_lazy(self, name: str, shape: tuple[int, ...], dtype: str, loader: Callable[[], np.ndarray]) -> str:
        """A weight that `loader` makes when it is first asked for."""
        key = self._fresh(name)
        self._weights[key] = _Weight(tuple(shape), dtype, loader=loader)
        return key

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
        key, number = base, 0
        while key in self._weights:
            number += 1
            key = f"{base}_{number}"
        return key


def _restored(arrays: dict[str, np.ndarray], packed: dict[str, tuple[str, Pack]]) -> WeightStore:
    store = WeightStore()
    store._weights = {key: _Weight(array.shape, dtype_name(array.dtype), array) for key, array in arrays.items()}
    store._keys = {id(array): key for key, array in arrays.items()}
    store.packed = packed
    return store

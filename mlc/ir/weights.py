"""The weight store: the bytes of a module's large constants, by key, beside the IR. Values may be mapped from a file or made on first use."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, RLock
from typing import TYPE_CHECKING

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


class WeightStore:
    """Keys are unique symbol names made from the user's own; equal array objects share a key. Arrays are never written to; they may
    lie at any address."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}
        self._loaders: dict[str, Callable[[], np.ndarray]] = {}
        self._types: dict[str, tuple[tuple[int, ...], str]] = {}
        self._keys: dict[int, str] = {}
        self.packed: dict[str, tuple[str, Pack]] = {}  # a packed weight -> the weight, and how it is packed
        self.slabs = Slabs()
        self._locks: dict[str, RLock] = {}  # of each weight that is being made: a loader may ask for other weights
        self._lock = Lock()

    def add(self, array: np.ndarray, name: str = "w") -> str:
        """The key of this array, new unless this very object is stored already."""
        if id(array) in self._keys:
            return self._keys[id(array)]
        key = self._fresh(name)
        self._arrays[key] = array
        self._types[key] = (array.shape, dtype_name(array.dtype))
        self._keys[id(array)] = key
        return key

    def add_lazy(self, name: str, shape: tuple[int, ...], dtype: str, loader: Callable[[], np.ndarray]) -> str:
        """A weight that `loader` makes when it is first asked for."""
        key = self._fresh(name)
        self._loaders[key] = loader
        self._types[key] = (tuple(shape), dtype)
        return key

    def get(self, key: str) -> np.ndarray:
        """The array. Raises MlcError for an unknown key."""
        with self._lock:
            if key in self._arrays:
                return self._arrays[key]
            if key not in self._loaders:
                raise _unknown(key)
            lock = self._locks.setdefault(key, RLock())
        with lock:
            if key not in self._arrays:
                array = np.asarray(self._loaders[key]())
                shape, dtype = self._types[key]
                if array.shape != shape or array.dtype != numpy_dtype(dtype):
                    raise MlcError(f"weight {key!r} is {array.dtype}{list(array.shape)}, not {dtype}{list(shape)}")
                self._arrays[key] = array
            return self._arrays[key]

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
        if key not in self._types:
            raise _unknown(key)
        return self._types[key]

    def nbytes(self, key: str) -> int:
        shape, dtype = self.type_of(key)
        return math.prod(shape) * numpy_dtype(dtype).itemsize

    def __contains__(self, key: object) -> bool:
        return key in self._types

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def _fresh(self, name: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_.$-]", "_", name) or "w"
        base = base if re.match(r"[A-Za-z_]", base) else f"w_{base}"
        key, number = base, 0
        while key in self._types:
            number += 1
            key = f"{base}_{number}"
        return key

"""The whole state of a training step in a file: parameters, what the optimiser keeps, buffers, the count of steps, the key of random numbers.

A safetensors file whose tensors are called as Python would reach them: params.hidden.0, optimizer.mean.hidden.0, count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlc.errors import InvalidModel, MlcError
from mlc.frontends.trace.pytree import plain_name
from mlc.ir import safetensors
from mlc.ir.files import require_path
from mlc.ir.weights import WeightStore


def write(path: Any, state: Mapping[str, np.ndarray]) -> None:
    """Write the arrays. The file appears complete or not at all. Raises MlcError where it cannot be written."""
    store = WeightStore()
    for name, array in state.items():
        store.add(array, name)
    safetensors.write(store, require_path(path))


def read(path: Any, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays in a file, by the names of the state, whose shapes and dtypes they have. Raises InvalidModel for a file that is damaged, MlcError
    for one of another model or optimiser."""
    path, store = Path(require_path(path)), WeightStore()
    try:
        safetensors.add_file(store, path)
    except OSError as error:
        raise InvalidModel(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    names = list(state)
    missing, unexpected = [n for n in names if n not in store], sorted(set(store) - set(names))
    if missing or unexpected:
        lists = [f"{what}: {', '.join(n[:8])}." for what, n in (("Missing", missing), ("Unexpected", unexpected)) if n]
        raise MlcError(f"{path} is of another model or optimiser", remedy="\n".join(lists))
    found = {}
    for name, old in state.items():
        array = np.array(store.get(name))
        if array.shape != old.shape or array.dtype != old.dtype:
            raise MlcError(
                f"{path}: {name} is {array.dtype}{list(array.shape)}, and the step has {old.dtype}{list(old.shape)}"
            )
        found[name] = array
    return found


def plain_names(names: Sequence[str]) -> list[str]:
    """Names that a file may have: params.0.weight for params['0.weight']; those that would be the same get numbers."""
    store = WeightStore()
    return [store.add(np.zeros(0), plain_name(name)) for name in names]

"""State dicts as safetensors files, which other frameworks read too: every tensor as it lies in memory, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from mlc.errors import InvalidModel
from mlc.frontends.trace.tensor import Tensor, array_of, wrap
from mlc.ir import safetensors
from mlc.ir.files import require_path


def write_state(state: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Write the tensors of a state dict. The file appears complete or not at all."""
    arrays = {name: array_of(value, None, copy=False) for name, value in state.items()}
    safetensors.write_arrays(arrays, require_path(path))


def read_state(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The tensors in a file. Raises InvalidModel for one that is missing or damaged."""
    file = require_path(path)
    try:
        found = safetensors.tensors(file)
    except OSError as error:
        raise InvalidModel(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from error
    return {name: wrap(np.array(load())) for name, (_, _, load) in found.items()}

"""A module to export with what an exporter and a runner need to know of it: names, symbolic sizes, how to make inputs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Input:
    """One input. A dimension is a number, a symbol ("N"), or a linear term of one symbol ("16*h", "P+1")."""

    name: str
    dims: tuple[int | str, ...]
    kind: Literal["normal", "ids", "mask"] = "normal"
    vocabulary: int = 0  # kind ids: values lie in [0, vocabulary)


@dataclass(frozen=True)
class Model:
    """`sizes` gives every symbol the size it has in the fixed export; `low` the least size that makes sense (default 1);
    `fixed_in_dynamo` names symbols that the dynamo exporter cannot keep."""

    module: nn.Module
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    sizes: Mapping[str, int]
    low: Mapping[str, int] = field(default_factory=dict)
    fixed_in_dynamo: tuple[str, ...] = ()

    def feeds(self, sizes: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs at these sizes (missing symbols as in the fixed export), by input name."""
        rng = np.random.default_rng(seed)
        sizes = {**self.sizes, **(sizes or {})}
        return {item.name: _values(item, [extent(dim, sizes) for dim in item.dims], rng) for item in self.inputs}

    def arguments(self, sizes: Mapping[str, int] | None = None, seed: int = 0) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(array) for array in self.feeds(sizes, seed).values())


def linear_term(dim: str) -> tuple[int, str, int]:
    """(factor, symbol, offset) of "N", "16*h" or "P+1"."""
    match = re.fullmatch(r"(?:(\d+)\*)?([A-Za-z_]\w*)(?:\+(\d+))?", dim)
    if match is None:
        raise ValueError(f"{dim!r} is not factor*symbol+offset")
    return int(match[1] or 1), match[2], int(match[3] or 0)


def extent(dim: int | str, sizes: Mapping[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    factor, symbol, offset = linear_term(dim)
    return factor * sizes[symbol] + offset


def _values(item: Input, shape: list[int], rng: np.random.Generator) -> np.ndarray:
    if item.kind == "ids":
        return rng.integers(0, item.vocabulary, shape, dtype=np.int64)
    if item.kind == "mask":  # padding on the right, at least one token left in each row
        lengths = rng.integers((shape[-1] + 1) // 2, shape[-1] + 1, shape[:-1])
        return (np.arange(shape[-1]) < lengths[..., None]).astype(np.int64)
    return rng.standard_normal(shape, dtype=np.float32)

"""A PyTorch module to export, with what an exporter and a runner need to know of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.model_inputs import Signature


@dataclass(frozen=True)
class Model:
    module: nn.Module
    signature: Signature
    outputs: tuple[str, ...]

    def arguments(self, sizes: Mapping[str, int] | None = None, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Random inputs in the order of the signature."""
        return tuple(torch.from_numpy(array) for array in self.signature.feeds(sizes, seed).values())

"""What inputs a model takes and how to make them: names, symbolic sizes, kinds of values. Needs NumPy alone.

Every folder of exported models has a `signatures.json`, so that a runner needs neither PyTorch nor the architecture.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

FILE = "signatures.json"

Exporter = Literal["dynamo", "legacy"]
EXPORTERS: tuple[Exporter, ...] = get_args(Exporter)


@dataclass(frozen=True)
class Input:
    """One input. A dimension is a number, a symbol ("N"), or a linear term of one symbol ("16*h", "P+1")."""

    name: str
    dims: tuple[int | str, ...]
    kind: Literal["normal", "ids", "mask"] = "normal"
    vocabulary: int = 0  # kind ids: values lie in [0, vocabulary)


@dataclass(frozen=True)
class Signature:
    """`sizes` gives every symbol the size it has in the fixed export; `low` (default 1) and `high` bound what the model
    can take (exporters are told `low` alone); `fixed_in_dynamo` names symbols that the dynamo exporter cannot keep."""

    inputs: tuple[Input, ...]
    sizes: Mapping[str, int]
    low: Mapping[str, int] = field(default_factory=dict)
    high: Mapping[str, int] = field(default_factory=dict)
    fixed_in_dynamo: tuple[str, ...] = ()

    def feeds(self, sizes: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs at these sizes (missing symbols as in the fixed export), by input name."""
        rng = np.random.default_rng(seed)
        sizes = {**self.sizes, **(sizes or {})}
        return {item.name: _values(item, [extent(dim, sizes) for dim in item.dims], rng) for item in self.inputs}

    def random_sizes(self, exporter: str, rng: np.random.Generator) -> dict[str, int]:
        """A binding of the symbols within their bounds, up to twice the size of the fixed export."""
        sizes = dict(self.sizes)
        for symbol in self.symbols(exporter):
            high = min(2 * self.sizes[symbol] + 3, self.high.get(symbol, 2**31))
            sizes[symbol] = int(rng.integers(self.low.get(symbol, 1), high + 1))
        return sizes

    def symbols(self, exporter: str) -> list[str]:
        """The symbols that stay symbolic in this exporter's files."""
        return [name for name in self.sizes if exporter != "dynamo" or name not in self.fixed_in_dynamo]


def file_name(name: str, exporter: str, symbolic: bool) -> str:
    """The file of an architecture: resnet18.dynamo.onnx, resnet18.symbolic.legacy.onnx."""
    return f"{name}.{'symbolic.' if symbolic else ''}{exporter}.onnx"


def read(folder: Path) -> dict[str, Signature]:
    """Signatures of the models of a folder, by the name of the architecture; {} where there are none yet."""
    path = folder / FILE
    return {name: _from_json(text) for name, text in json.loads(path.read_text()).items()} if path.exists() else {}


def write(folder: Path, signatures: Mapping[str, Signature]) -> None:
    """Add to the signatures of a folder."""
    merged = {**read(folder), **signatures}
    text = json.dumps({name: asdict(merged[name]) for name in sorted(merged)}, indent=1)
    (folder / FILE).write_text(text + "\n")


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


def _from_json(data: dict) -> Signature:
    inputs = tuple(Input(**{**item, "dims": tuple(item["dims"])}) for item in data["inputs"])
    return Signature(**{**data, "inputs": inputs, "fixed_in_dynamo": tuple(data["fixed_in_dynamo"])})


def _values(item: Input, shape: list[int], rng: np.random.Generator) -> np.ndarray:
    if item.kind == "ids":
        return rng.integers(0, item.vocabulary, shape, dtype=np.int64)
    if item.kind == "mask":  # padding on the right, at least one token left in each row
        lengths = rng.integers((shape[-1] + 1) // 2, shape[-1] + 1, shape[:-1])
        return (np.arange(shape[-1]) < lengths[..., None]).astype(np.int64)
    return rng.standard_normal(shape, dtype=np.float32)

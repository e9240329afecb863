"""Miniatures of real exported models, the script that writes them, and inputs for them at any binding.

for path in PATHS:
    for sizes in bindings(path, count=3):
        feeds = signature(path).feeds(sizes)
"""

from pathlib import Path

import numpy as np

from benchmarks.model_inputs import Signature, read

FOLDER = Path(__file__).parent
PATHS = sorted(FOLDER.glob("*.onnx"))
_SIGNATURES = read(FOLDER)


def signature(path: Path) -> Signature:
    """The inputs of a miniature: its file is called architecture.symbolic.exporter.onnx."""
    return _SIGNATURES[path.name.split(".")[0]]


def bindings(path: Path, count: int, seed: int = 0) -> list[dict[str, int]]:
    """The sizes of the fixed export, the least sizes, then random ones; `count` in all."""
    exporter = path.name.split(".")[-2]
    known = signature(path)
    least = {**known.sizes, **{symbol: known.low.get(symbol, 1) for symbol in known.symbols(exporter)}}
    rng = np.random.default_rng(seed)
    return [dict(known.sizes), least, *(known.random_sizes(exporter, rng) for _ in range(count - 2))][:count]

"""The folder of a dump as a page: its files, one pass after the other, then code that is made of the last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlc.errors import MlcError

if TYPE_CHECKING:
    from mlc.insight.view.recorder import Recorder

_FILE = re.compile(r"(\d+)-([\w-]+)\.mlir")


def add_dump(recorder: Recorder, folder: Path) -> None:
    """Raises MlcError where the folder holds no dump, InvalidModel for what is no IR."""
    from mlc.compiler import load
    from mlc.insight.decisions import describe
    from mlc.insight.fusion import boundaries

    files = sorted(
        (int(match[1]), path.name, match[2]) for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))
    )
    if not files:
        raise MlcError(f"{folder} holds no dump of IR", remedy="mlc compile MODEL --dump-ir DIR writes one.")
    kernels: list[dict[str, Any]] = []
    fusion: dict[tuple[str, ...], list[str]] = {}
    module = None
    for number, name, title in files:
        module = load(folder / name)
        if not number:
            recorder.begin(module, "", by_text=True)
            continue
        if not module.is_program:
            fusion |= boundaries(module)
        scheduled = any("kernel.schedule" in op.attributes for op in module.op.ops)
        recorder.read(title, module, scheduled and not kernels)
        if scheduled and not kernels:
            kernels = describe(module, fusion=fusion)
    assert module is not None
    recorder.kernels(module, kernels)

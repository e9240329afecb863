"""Pictures of the page that `mlc view` writes, for the README and docs/see-inside.md. Needs Chromium.

python docs/pictures.py          the page of the bundled model, in docs/pictures/
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

import mlc
from benchmarks.browser import Browser
from mlc.cli import main

SIZES = {"graph": (1180, 720), "kernels": (1180, 560)}


def make(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    model = Path(mlc.__file__).parent / "demo/digits.onnx"
    with tempfile.TemporaryDirectory(prefix="mlc-") as scratch:
        path = Path(scratch, "view.html")
        assert main(["view", str(model), "-o", str(path), "--threads", "1", "--dim", "N=32", "-q"]) == 0
        for tab, size in SIZES.items():
            with Browser(size) as browser:
                page = browser.open(path, f"#{tab}")
                page.wait("document.body?.dataset.ready ?? null", 30)
                time.sleep(0.5)
                page.picture(folder / f"{tab}.png")


if __name__ == "__main__":
    make(DOCS / "pictures")

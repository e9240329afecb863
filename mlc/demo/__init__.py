"""The bundled model of the command `mlc demo`: handwritten digits, with test images that it was not trained on.

`python -m benchmarks.train_digits` made both files; the model's `doc_string` states its accuracy on all 360 test images.
"""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
MODEL = FOLDER / "digits.onnx"


def digits() -> tuple[np.ndarray, np.ndarray]:
    """50 test images f32[50, 1, 8, 8] of values 0 to 16, as the model's input `images` takes them, and labels i64[50]."""
    with np.load(FOLDER / "digits.npz") as data:
        return data["images"].astype(np.float32), data["labels"]

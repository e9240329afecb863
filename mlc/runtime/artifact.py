"""What compilation makes: all that an executable runs, and that packages and libraries are written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlc.ir.kernel.plan import Plan
from mlc.ir.kernel.target import Target


@dataclass(frozen=True)
class Artifact:
    """Code with its plan and weights (by key, as kernels read them), whether it runs here or not.

    objects      what the loader of the target's kind loads
    entry        the symbol of the function that calls every kernel, where there is one
    report       what was decided, and how long it took
    module_text  the module before it was compiled for this target (portable.py), without weights
    threads      as they were asked for when it was compiled; None where that was left open
    names        of the objects as files of a package; 0.o, 1.o, ... where none are given
    """

    plan: Plan
    objects: Sequence[bytes]
    weights: Mapping[str, np.ndarray]
    target: Target
    entry: str = "mlc_entry"
    report: dict[str, Any] = field(default_factory=dict)
    module_text: str = ""
    threads: int | None = None
    names: Sequence[str] = ()

"""How the tests of the runtime make an executable of a program and the machine code of its kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlc.codegen.llvm.entry import emit_entry
from mlc.codegen.llvm.object import compile_text
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.module import Module
from mlc.passes.kernel.arena import plan_arena
from mlc.runtime.artifact import Artifact
from mlc.runtime.executable import Executable

Build = Callable[..., Executable]


def compiled(text: str, code: list[str], weights: dict[str, np.ndarray] | None = None, **options: Any) -> Executable:
    """The executable of a module's text with the LLVM IR of its kernels."""
    module = Module.parse(text)
    plan_arena(module.main)
    entry = emit_entry(module)
    objects = [compile_text(part) for part in [entry.text, *code]]
    return Executable(Artifact(entry.plan, objects, weights or {}, cpu_target()), **options)


@pytest.fixture
def build() -> Build:
    return compiled

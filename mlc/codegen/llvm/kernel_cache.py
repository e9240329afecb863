"""Kernels on disk: from what a kernel was before lowering to its object, with the stub that stands for it in the IR.

Keys hold the kernel and its schedule as text, the target, and the sources of whatever turns one into the other: a changed compiler
finds nothing. A kernel is found only if its object is there as well.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from xdsl.dialects import func

from mlc.codegen.llvm.cache import ObjectCache
from mlc.codegen.llvm.object import versions
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.stubs import stub_of
from mlc.ir.text import text_of

_MAKERS = ("ir/kernel", "passes/kernel", "passes/loops", "codegen/llvm")


class KernelCache:
    """The kernels known on this machine for one target, beside their objects; an mlc.ir.kernel.stubs.KnownKernels."""

    def __init__(self, target: CpuTarget, objects: ObjectCache):
        self.objects = objects
        self._basis = f"{_sources()}\0{versions()}\0{target.name}\0{target.features}"
        self._found: dict[str, tuple[str, bytes]] = {}  # key -> symbol, object

    def key(self, kernel: str) -> str:
        return hashlib.sha256(f"{self._basis}\0{kernel}".encode()).hexdigest()

    def find(self, key: str) -> str | None:
        content = self.objects.get(key)
        if content is None:
            return None
        record = json.loads(content)
        code = self.objects.get(record["object"])
        if code is None:
            return None
        self._found[key] = record["symbol"], code
        return record["stub"]

    def code(self, key: str) -> tuple[str, bytes]:
        """Symbol and object of a kernel that was found."""
        return self._found[key]

    def remember(self, key: str, function: func.FuncOp, symbol: str, object_key: str) -> None:
        """A lowered kernel, and under which key its object is kept."""
        record = {"stub": text_of(stub_of(function, "kernel")), "symbol": symbol, "object": object_key}
        self.objects.put(key, json.dumps(record).encode())


@cache
def _sources() -> str:
    """Digest of the source of every file that has a say in how a kernel becomes code."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    for folder in _MAKERS:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()

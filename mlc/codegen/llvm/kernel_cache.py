"""Kernels on disk: from what a kernel was before lowering to its object, with the stub that stands for it in the IR.

Keys hold the kernel and its schedule as text, the target, and the sources of whatever turns one into the other: a changed compiler
finds nothing. A kernel is found only if its object is there as well. Those that are not there are made, several at a time.

Each kernel is a module of LLVM IR of its own. Its symbol is made from its text, `gemm_3` -> `k52c1...`, so that equal kernels of
different models, or of the same model before and after a change elsewhere, share an object in the cache.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from xdsl.dialects import func

from mlc.codegen.llvm.cache import ObjectCache
from mlc.codegen.llvm.forks import processes, shared
from mlc.codegen.llvm.object import compile_text, versions
from mlc.codegen.llvm.printer import emit
from mlc.ir import work
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.stubs import stub_of
from mlc.ir.text import text_of

_MAKERS = ("ir/kernel", "passes/kernel", "passes/loops", "codegen/llvm")


class KernelCache:
    """The kernels known on this machine for one target, beside their objects; an mlc.ir.kernel.stubs.KnownKernels. `compiled`
    counts those that LLVM has compiled."""

    def __init__(self, target: CpuTarget, objects: ObjectCache):
        self.target, self.objects = target, objects
        self.compiled = 0
        self._basis = f"{_sources()}\0{versions()}\0{target.name}\0{target.features}"
        self._stubs: dict[str, str] = {}
        self._code: dict[str, tuple[str, bytes]] = {}  # key -> symbol, object

    def key(self, kernel: str) -> str:
        return hashlib.sha256(f"{self._basis}\0{kernel}".encode()).hexdigest()

    def find(self, key: str) -> str | None:
        if key not in self._stubs:
            content = self.objects.get(key)
            record = {} if content is None else json.loads(content)
            code = self.objects.get(record["object"]) if record else None
            if code is not None:
                self._stubs[key], self._code[key] = record["stub"], (record["symbol"], code)
        return self._stubs.get(key)

    def code(self, key: str) -> tuple[str, bytes]:
        """Symbol and object of a kernel that is known."""
        return self._code[key]

    def make(self, kernels: Mapping[str, func.FuncOp], lower: Callable[[func.FuncOp], Sequence[func.FuncOp]]) -> None:
        """See KnownKernels."""
        keys, waiting = list(kernels), list(kernels.values())

        def one(number: int) -> bytes:
            work.at(waiting[number].sym_name.data, number, len(waiting))
            return self._made(lower(waiting[number]))

        for key, made in zip(keys, shared(one, len(keys), processes()), strict=True):
            head, _, code = made.partition(b"\n")
            record = json.loads(head)
            if record.pop("new"):
                self.compiled += 1
                self.objects.put(record["object"], code)
            self.objects.put(key, json.dumps(record).encode())
            self._stubs[key], self._code[key] = record["stub"], (record["symbol"], code)

    def _made(self, functions: Sequence[func.FuncOp]) -> bytes:
        """A lowered kernel's record as a line of JSON, and its object."""
        optimise = "kernel.optimise" in functions[-1].attributes
        symbol, text = neutral(emit(functions, self.target), [op.sym_name.data for op in functions], optimise)
        key = ObjectCache.key(text, self.target, optimise, versions())
        code = self.objects.get(key)
        record = {
            "stub": text_of(stub_of(functions[-1], "kernel")),
            "symbol": symbol,
            "object": key,
            "new": code is None,
        }
        return json.dumps(record).encode() + b"\n" + (code or compile_text(text, self.target, optimise))


def neutral(text: str, names: Sequence[str], optimise: bool = False) -> tuple[str, str]:
    """(symbol, text) of a kernel whose functions are renamed: the last one, which others call, after what the text says."""
    order = {name: f"f{number}" for number, name in enumerate(names)}
    anonymous = _SYMBOL.sub(lambda match: f"@{order.get(match[1], match[1])}", text)
    symbol = "k" + hashlib.sha256(f"{optimise} {anonymous}".encode()).hexdigest()[:16]
    last = f"f{len(names) - 1}"
    return symbol, _SYMBOL.sub(lambda match: f"@{symbol if match[1] == last else match[1]}", anonymous)


_SYMBOL = re.compile(r"@([\w.$-]+)")


@cache
def _sources() -> str:
    """Digest of the source of every file that has a say in how a kernel becomes code."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    for folder in _MAKERS:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()

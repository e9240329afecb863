"""Many modules of LLVM IR at once: from the cache where they are known, else compiled, several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mlc.codegen.llvm.cache import ObjectCache
from mlc.codegen.llvm.forks import processes, shared
from mlc.codegen.llvm.object import compile_text, versions
from mlc.ir import work
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target


class LlvmText(NamedTuple):
    """A module, whether LLVM's passes are to improve it, and what it is called while it is compiled."""

    text: str
    optimise: bool = False
    name: str = ""


def compile_all(
    modules: Sequence[LlvmText], target: CpuTarget | None = None, cache: ObjectCache | None = None
) -> tuple[list[bytes], int]:
    """The objects of modules, in order, and how many of them were compiled; equal modules once. Raises InternalError for a module that LLVM
    refuses."""
    target = target or cpu_target()
    keys = [ObjectCache.key(module.text, target, module.optimise, versions()) for module in modules]
    named = dict(zip(keys, modules, strict=True))
    objects = {key: None if cache is None else cache.get(key) for key in named}
    missing = [key for key, found in objects.items() if found is None]

    def one(number: int) -> bytes:
        text, optimise, name = named[missing[number]]
        work.at(name, number, len(missing))
        return compile_text(text, target, optimise)

    for key, made in zip(missing, shared(one, len(missing), processes()), strict=True):
        objects[key] = made
        if cache is not None:
            cache.put(key, made)
    if missing and cache is not None:
        cache.trim()
    return [objects[key] or b"" for key in keys], len(missing)

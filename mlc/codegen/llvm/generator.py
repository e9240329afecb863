"""Code for CPUs, through LLVM: what the compiler asks of a generator (mlc/codegen/code.py)."""

from __future__ import annotations

from collections.abc import Mapping

from mlc.codegen.code import Code
from mlc.codegen.llvm.build import compile_module, module_text
from mlc.codegen.llvm.cache import ObjectCache
from mlc.codegen.llvm.kernel_cache import KernelCache
from mlc.codegen.llvm.object import assembly, compile_text
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.stubs import KnownKernels
from mlc.ir.kernel.target import Target
from mlc.ir.module import Module


class LlvmGenerator:
    @property
    def emits(self) -> Mapping[str, str]:
        return {"llvm": ".ll", "asm": ".s", "obj": ".o"}

    def known(self, target: Target) -> KernelCache:
        return KernelCache(_cpu(target), ObjectCache())

    def compile(
        self,
        module: Module,
        target: Target,
        *,
        known: KnownKernels | None = None,
        cache: bool = True,
        denormals: str = "flush",
    ) -> Code:
        assert known is None or isinstance(known, KernelCache)
        objects = known.objects if known is not None else ObjectCache() if cache else None
        return compile_module(module, _cpu(target), objects, known=known, denormals=denormals)

    def write(self, what: str, module: Module, target: Target, denormals: str = "flush") -> bytes:
        """LLVM IR, assembly or one object with everything, entry included."""
        text = module_text(module, _cpu(target), denormals)
        if what == "llvm":
            return text.encode()
        optimise = any("kernel.optimise" in op.attributes for op in module.op.ops)
        if what == "asm":
            return assembly(text, _cpu(target), optimise).encode()
        return compile_text(text, _cpu(target), optimise)


def _cpu(target: Target) -> CpuTarget:
    assert isinstance(target, CpuTarget), target
    return target

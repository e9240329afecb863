"""LLVM IR text -> relocatable object -> callable addresses, through llvmlite alone: no system compiler, no linker.

    compile_text(text, target)      bytes of an ELF object, for the machine at hand or a named one
    load(objects).address("entry")  objects linked in memory; unloaded when the Library is dropped

Explicit vector code needs no IR passes: they cost time, and LLVM's unroller spills what was tiled with care. Plain loops
(`optimise`) get LLVM's passes with loop vectorisation; unrolling stays off for both.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from mlc.errors import InternalError, TargetUnavailable
from mlc.ir.kernel.cpu_target import CpuTarget, cpu_target
from mlc.ir.kernel.target import Target

if TYPE_CHECKING:
    import llvmlite.binding as llvm

CODEGEN_LEVEL = 2  # 1 halves the speed of scalar loops, 3 gains nothing and compiles longer
_numbers = itertools.count()


def versions() -> str:
    """What besides text and target decides the bytes of an object."""
    import llvmlite
    import llvmlite.binding as llvm

    return f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, llvm.llvm_version_info))}, level {CODEGEN_LEVEL}"


def compile_text(text: str, target: CpuTarget | None = None, optimise: bool = False) -> bytes:
    """The relocatable object of one module of LLVM IR. Position independent, small code model."""
    module, machine = _lowered(text, target or cpu_target(), optimise)
    return machine.emit_object(module)


def assembly(text: str, target: CpuTarget | None = None, optimise: bool = False) -> str:
    """What compile_text compiles to, as assembly text."""
    module, machine = _lowered(text, target or cpu_target(), optimise)
    return machine.emit_assembly(module)


def _lowered(text: str, target: CpuTarget, optimise: bool) -> tuple[llvm.ModuleRef, llvm.TargetMachine]:
    import llvmlite.binding as llvm

    _initialise()
    machine = _machine(target)
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise InternalError(f"LLVM refuses the generated code: {str(error).strip()}") from error
    module.triple = machine.triple
    if optimise:
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = True
        options.loop_unrolling = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
    return module, machine


@cache
def _initialise() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # without it inline assembly aborts the process


def _machine(target: CpuTarget) -> llvm.TargetMachine:
    import llvmlite.binding as llvm

    host = cpu_target()
    if target.arch != host.arch:
        raise TargetUnavailable(
            f"this build of LLVM compiles for {host.arch}, not for {target.arch}",
            remedy=f"Compile on a machine with {target.arch}.",
        )
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.name, features=target.features, opt=CODEGEN_LEVEL, reloc="pic", codemodel="small"
    )


def check_runs_here(target: Target) -> None:
    """Raise TargetUnavailable, naming what is missing, where code for `target` would stop with an illegal instruction."""
    if missing := target.missing():
        raise TargetUnavailable(
            f"code for {target.name} does not run here: this machine has no {', '.join(missing)}",
            remedy="Compile for this machine, or with --arch x86-64-v2 for any.",
        )


# Libraries that share a JIT. LLVM keeps some 10 KB of each dropped library until its JIT goes; a new JIT takes a millisecond.
_SHARED = 64


class _Jits:
    """The JIT for the next library: each Library is a dynamic library of its own in one, and keeps it alive."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._current: Any = None
        self._left = 0

    def take(self) -> Any:
        import llvmlite.binding as llvm

        with self._lock:
            if not self._left:
                _initialise()
                self._current = llvm.create_lljit_compiler(_machine(cpu_target()))
                self._left = _SHARED
            self._left -= 1
            return self._current


_jits = _Jits()


class Library:
    """Objects linked in memory. Addresses are valid as long as this object lives."""

    def __init__(self, objects: Sequence[bytes], imports: Mapping[str, int]):
        import llvmlite.binding as llvm

        self.name = f"mlc.{next(_numbers)}"
        builder = llvm.JITLibraryBuilder().add_current_process()
        for name, address in imports.items():
            builder.import_symbol(name, address)
        for item in objects:
            builder.add_object_img(item)
        try:
            self._jit = _jits.take()
            self._trackers = [builder.link(self._jit, self.name)]
        except RuntimeError as error:
            raise InternalError(f"the compiled code cannot be linked: {str(error).strip()}") from error
        self._found: dict[str, int] = {}
        weakref.finalize(self, _unload, self._trackers, self._jit).atexit = False

    def address(self, name: str) -> int:
        """Of a function or constant that the objects define."""
        if name not in self._found:
            try:
                tracker = self._jit.lookup(self.name, name)
            except RuntimeError as error:
                raise InternalError(f"the compiled code does not define {name}: {str(error).strip()}") from error
            self._found[name] = tracker[name]
            self._trackers.append(tracker)
        return self._found[name]


def _unload(trackers: list[Any], jit: Any) -> None:
    """The code of a library, before the JIT that holds it may go: `jit` is an argument to live that long."""
    while trackers:
        trackers.pop().close()


def load(objects: Sequence[bytes], imports: Mapping[str, int] | None = None) -> Library:
    """Link objects with each other, with this process (libc, libm) and with the addresses in `imports`."""
    return Library(objects, imports or {})

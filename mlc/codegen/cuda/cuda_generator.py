"""Code for NVIDIA GPUs: what the compiler asks of a generator (mlc/codegen/code.py).

The objects of its Code are what a loader of the kind "cuda" is given, in this order:

    table.json   a LaunchTable (launches.py): how each kernel of the plan is launched, and which of the other objects hold what
    N.cu         the CUDA C of file N, as it was compiled: what runs it on a CPU (mlc/testing) needs no more
    N.fatbin     its machine code for the target's architectures, with PTX (nvcc); or N.sm_80.cubin, ..., N.compute_80.ptx (NVRTC)

A kernel of the plan's steps is one launch or several, with the arguments of the step in order; begin and end of a range of tiles are not among
them, since threads find their own. `step.scratch` is what all threads of a launch take together. Loops, branches and counts between calls are
`plan.steered`, which mlc/runtime/steered.py walks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlc.codegen.code import Code
from mlc.codegen.cuda.compiled import Compiled
from mlc.codegen.cuda.launches import FileCode, KernelCode, LaunchTable, Resources
from mlc.codegen.cuda.machine_code import compile_files, compile_one
from mlc.codegen.cuda.source_files import Sources, file_text, sources
from mlc.codegen.llvm.cache import ObjectCache
from mlc.errors import TargetUnavailable
from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.kernel.plan import Plan
from mlc.ir.kernel.planner import plan_of
from mlc.ir.kernel.stubs import KnownKernels
from mlc.ir.kernel.target import Target
from mlc.ir.module import Module

TABLE = "table.json"


class CudaGenerator:
    @property
    def emits(self) -> Mapping[str, str]:
        return {"cuda": ".cu", "ptx": ".ptx", "cubin": ".cubin"}

    def known(self, target: Target) -> KnownKernels | None:
        """Kernels are lowered anew; machine code is kept by its text."""
        return None

    def compile(
        self,
        module: Module,
        target: Target,
        *,
        known: KnownKernels | None = None,
        cache: bool = True,
        denormals: str = "flush",
    ) -> Code:
        gpu = _gpu(target)
        made = sources(module, gpu)
        plan = _shared(plan_of(module), made)
        _require_one_process(plan)
        kept = ObjectCache() if cache else None
        files = [file.text for file in made.files]
        compiled = self.machine_code(files, gpu, denormals, kept)
        looser = [without_tight_bounds(text, code.resources) for text, code in zip(files, compiled, strict=True)]
        if loose := [number for number, text in enumerate(looser) if text != files[number]]:
            again = self.machine_code([looser[number] for number in loose], gpu, denormals, kept)
            for number, code in zip(loose, again, strict=True):
                files[number], compiled[number] = looser[number], code
        table = _table(made, compiled, gpu)
        objects, names = [table.to_bytes()], [TABLE]
        for number, (text, code) in enumerate(zip(files, compiled, strict=True)):
            objects += [text.encode(), *code.code.values()]
            names += [f"{number}.cu", *(f"{number}.{_suffix(arch)}" for arch in code.code)]
        fresh = sum(not code.cached for code in compiled)
        texts = {**made.texts, TABLE: objects[0].decode()}
        facts = {
            name: [line for row in kernel.launches for line in row.facts()] for name, kernel in table.kernels.items()
        }
        by = " and ".join(dict.fromkeys(code.compiler for code in compiled))
        return Code(
            objects,
            plan,
            texts,
            compiled=fresh,
            cached=len(compiled) - fresh,
            facts=facts,
            compiler=by,
            names=tuple(names),
        )

    def machine_code(
        self, texts: Sequence[str], gpu: CudaTarget, denormals: str, cache: ObjectCache | None
    ) -> list[Compiled]:
        return compile_files(texts, gpu.archs, denormals, cache)

    def write(self, what: str, module: Module, target: Target, denormals: str = "flush") -> bytes:
        """All kernels as one text of CUDA C, or what a compiler makes of it for the first architecture."""
        gpu = _gpu(target)
        text = file_text(list(sources(module, gpu).texts.values()), gpu)
        return text.encode() if what == "cuda" else compile_one(text, gpu.archs[0], what, denormals)


def without_tight_bounds(text: str, taken: Mapping[str, Mapping[str, Resources]]) -> str:
    """A file whose functions spill nothing because fewer blocks are to be resident at a time: more of these did not pay for memory."""
    for symbol, found in taken.items():
        if any(row.spills or row.stack for row in found.values()):
            text = re.sub(rf"__launch_bounds__\((\d+), \d+\) {symbol}\(", rf"__launch_bounds__(\1) {symbol}(", text)
    return text


def _table(made: Sources, compiled: list[Compiled], target: CudaTarget) -> LaunchTable:
    kernels: dict[str, KernelCode] = {}
    for file, code in zip(made.files, compiled, strict=True):
        for name, kernel in file.kernels.items():
            launches = tuple(replace(row, resources=code.resources.get(row.symbol, {})) for row in kernel.launches)
            kernels[name] = replace(kernel, launches=launches)
    files, source = [], 1
    for code in compiled:
        files.append(FileCode(source, {arch: source + 1 + n for n, arch in enumerate(code.code)}))
        source += 1 + len(code.code)
    return LaunchTable(kernels, tuple(files), target.archs, tuple(made.counts))


def _suffix(arch: str) -> str:
    """Of a file of code: "fatbin", "sm_80.cubin", "compute_80.ptx"."""
    return arch if arch == "fatbin" else f"{arch}.{'cubin' if arch.startswith('sm_') else 'ptx'}"


def _shared(plan: Plan, made: Sources) -> Plan:
    """Threads that have scratch memory of their own take it all at once."""
    if not made.shares:
        return plan
    steps = tuple(
        replace(step, scratch=step.scratch * made.shares[step.kernel]) if step.kernel in made.shares else step
        for step in plan.steps
    )
    return replace(plan, steps=steps, scratch=tuple(dict.fromkeys(s.scratch for s in steps if s.scratch != 0)))


def _require_one_process(plan: Plan) -> None:
    """Raises TargetUnavailable for sums over ranks: the engine of GPUs has no table yet."""
    waiting = [] if plan.steered is None else [plan.steered]
    while waiting:
        for each in waiting.pop().body:
            if each.op in ("all_reduce_start", "all_reduce_wait", "rank"):
                raise TargetUnavailable(
                    "sums over ranks are not made on GPUs yet", remedy="Compile for CPUs: leave out target=."
                )
            waiting += each.blocks


def _gpu(target: Target) -> CudaTarget:
    assert isinstance(target, CudaTarget), target
    return target

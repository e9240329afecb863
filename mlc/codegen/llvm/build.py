"""A lowered module -> objects: one per kernel with its private leaves, and one for the entry."""

from __future__ import annotations

import re
from hashlib import sha256

from xdsl.dialects import func

from mlc.codegen.code import Code, called_kernels
from mlc.codegen.llvm.cache import ObjectCache
from mlc.codegen.llvm.entry import emit_entry
from mlc.codegen.llvm.float_mode import FloatMode
from mlc.codegen.llvm.kernel_cache import KernelCache, neutral
from mlc.codegen.llvm.object_compiler import LlvmText, compile_all
from mlc.codegen.llvm.printer import emit
from mlc.errors import InternalError
from mlc.ir import work
from mlc.ir.kernel.cpu_target import CpuTarget
from mlc.ir.kernel.stubs import is_stub, known_as
from mlc.ir.module import Module

ENTRY = "mlc_entry"


def compile_module(
    module: Module,
    target: CpuTarget,
    cache: ObjectCache | None = None,
    known: KernelCache | None = None,
    denormals: str = "flush",
) -> Code:
    """Machine code of a module whose kernels are loops and whose @main is planned. Stubs stand for kernels that `known` has. What becomes of
    `denormals` ("flush", "keep") is a matter of the entry alone."""
    kernels = dict(called_kernels(module))
    texts: dict[str, str] = {}
    optimised = set()
    symbols: dict[str, str] = {}
    modules: list[LlvmText] = []
    code: dict[str, int | bytes] = {}  # symbol -> number of the module, or the object where it is known
    for done, (name, functions) in enumerate(kernels.items()):
        work.at(name, done, len(kernels))
        kernel = functions[-1]
        optimise = "kernel.optimise" in kernel.attributes
        if optimise:
            optimised.add(name)
        if is_stub(kernel):
            symbols[name], found = _found(kernel, known)
            code.setdefault(symbols[name], found)
            texts[name] = f"; {name} was compiled before: {symbols[name]}\n"
            continue
        texts[name] = emit(functions, target)
        symbols[name], text = neutral(texts[name], [op.sym_name.data for op in functions], optimise)
        if symbols[name] not in code:
            code[symbols[name]] = len(modules)
            modules.append(LlvmText(text, optimise, name))
    entry = emit_entry(module, ENTRY, symbols=symbols, mode=FloatMode(target.arch, denormals))
    texts[ENTRY] = entry.text
    # after its text too, so that two modules can be parts of one library
    called = f"{ENTRY}_{sha256(entry.text.encode()).hexdigest()[:16]}"
    code[called] = len(modules)
    modules.append(LlvmText(entry.text.replace(f"@{ENTRY}", f"@{called}"), name=ENTRY))
    made, compiled = compile_all(modules, target, cache)
    # in the order of the program, whatever was known before: the same model gives the same package
    objects = [made[place] if isinstance(place, int) else place for place in code.values()]
    compiled += 0 if known is None else known.compiled
    return Code(
        objects,
        entry.plan.without_calls(),
        texts,
        compiled,
        len(objects) - compiled,
        frozenset(optimised),
        called,
    )


def _found(stub: func.FuncOp, known: KernelCache | None) -> tuple[str, bytes]:
    key = known_as(stub)
    if known is None or key is None:
        raise InternalError(f"kernel '{stub.sym_name.data}' is a stub, and there is no machine code for it")
    return known.code(key)


def module_text(module: Module, target: CpuTarget, denormals: str = "flush") -> str:
    """The LLVM IR of a lowered module as one text, to look at: every kernel with its leaves, then the entry."""
    functions = [op for _, group in called_kernels(module) for op in group]
    kernels = emit(functions, target)
    known = {match[1] for line in kernels.splitlines() if (match := _HEAD.match(line))}
    entry = []
    for line in emit_entry(module, ENTRY, mode=FloatMode(target.arch, denormals)).text.splitlines():
        match = _HEAD.match(line)
        if line.startswith("declare") and match and match[1] in known:
            continue
        entry.append(line)
    return "\n".join([kernels, *entry, ""])


_HEAD = re.compile(r"(?:declare|define)\b[^@]*@([\w.$-]+)\(")

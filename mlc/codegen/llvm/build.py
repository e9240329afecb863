"""A lowered module -> objects: one per kernel with its private leaves, and one for the entry.

Each kernel is a module of LLVM IR of its own. Its symbol is made from its text, `gemm_3` -> `k52c1...`, so that equal kernels of
different models, or of the same model before and after a change elsewhere, share an object in the cache.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256

from xdsl.dialects import func

from mlc.codegen.code import Code, called_kernels
from mlc.codegen.llvm.cache import ObjectCache
from mlc.codegen.llvm.entry import emit_entry
from mlc.codegen.llvm.float_mode import FloatMode
from mlc.codegen.llvm.kernel_cache import KernelCache
from mlc.codegen.llvm.printer import emit
from mlc.codegen.llvm.workers import ObjectCompiler
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
    helpers: int | None = None,
    known: KernelCache | None = None,
    denormals: str = "flush",
) -> Code:
    """Machine code of a module whose kernels are loops and whose @main is planned.

    Stubs stand for kernels that `known` has found; kernels that were looked for in vain are remembered there. What becomes of `denormals`
    ("flush", "keep") is a matter of the entry alone.
    """
    kernels = dict(called_kernels(module))
    texts: dict[str, str] = {}
    optimised = set()
    symbols: dict[str, str] = {}
    code: dict[str, int | bytes] = {}  # symbol -> number of the module at the compiler, or the object where it is known
    learnt: list[tuple[str, func.FuncOp, str, str]] = []
    with ObjectCompiler(target, cache, helpers) as compiler:
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
            number = compiler.submit(text, optimise, name)
            code.setdefault(symbols[name], number)
            if known is not None and (key := known_as(kernel)) is not None:
                learnt.append((key, kernel, symbols[name], compiler.key(number)))
        entry = emit_entry(module, ENTRY, symbols=symbols, mode=FloatMode(target.arch, denormals))
        texts[ENTRY] = entry.text
        # after its text too, so that two modules can be parts of one library
        called = f"{ENTRY}_{sha256(entry.text.encode()).hexdigest()[:16]}"
        code[called] = compiler.submit(entry.text.replace(f"@{ENTRY}", f"@{called}"), name=ENTRY)
        made_now = compiler.finish()
        # in the order of the program, whatever was known before: the same model gives the same package
        objects = [made_now[place] if isinstance(place, int) else place for place in code.values()]
        for item in learnt:
            assert known is not None
            known.remember(*item)
        return Code(
            objects,
            entry.plan.without_calls(),
            texts,
            compiler.compiled,
            len(objects) - compiler.compiled,
            frozenset(optimised),
            called,
        )


def _found(stub: func.FuncOp, known: KernelCache | None) -> tuple[str, bytes]:
    key = known_as(stub)
    if known is None or key is None:
        raise InternalError(f"kernel '{stub.sym_name.data}' is a stub, and there is no machine code for it")
    return known.code(key)


def neutral(text: str, names: Sequence[str], optimise: bool = False) -> tuple[str, str]:
    """(symbol, text) of a kernel whose functions are renamed: the last one, which others call, after what the text says."""
    order = {name: f"f{number}" for number, name in enumerate(names)}
    anonymous = _SYMBOL.sub(lambda match: f"@{order.get(match[1], match[1])}", text)
    symbol = "k" + sha256(f"{optimise} {anonymous}".encode()).hexdigest()[:16]
    last = f"f{len(names) - 1}"
    return symbol, _SYMBOL.sub(lambda match: f"@{symbol if match[1] == last else match[1]}", anonymous)


_SYMBOL = re.compile(r"@([\w.$-]+)")


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

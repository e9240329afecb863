"""The kinds of machines that models are compiled for, by the name that `--target` and mlc.compile(target=...) give: one table.

    backend("cpu").rules.target("native")     a machine of the kind
    register_backend(Backend("toy", ...))     one that is defined outside of mlc

A Backend joins what each stage asks of a kind of machine; nothing else in mlc knows how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlc.errors import MlcError, TargetUnavailable
from mlc.ir.spelling import nearest

if TYPE_CHECKING:
    from mlc.codegen.code import Generator, Inspector
    from mlc.passes.kernel.rules.by_target import Rules
    from mlc.runtime.machines import Loader


@dataclass(frozen=True)
class Backend:
    """One kind of machine.

    name       of the kind: that of its targets, and of the packages with code for them
    summary    a few words for help: what is made
    rules      which machines there are, and how kernels are scheduled for them
    generator  makes code of scheduled loops
    loader     loads that code: what calls run on
    libraries  whether the loader writes shared libraries
    inspector  shows it line by line, and measures the machine; None where nobody can
    """

    name: str
    summary: str
    rules: Rules
    generator: Generator
    loader: Loader
    libraries: bool = False
    inspector: Inspector | None = None


def _cpu() -> Backend:
    from mlc.codegen.llvm.generator import LlvmGenerator
    from mlc.codegen.llvm.inspector import LlvmInspector
    from mlc.passes.kernel.rules.by_target import RULES
    from mlc.runtime.loaders import LOADERS

    loader = LOADERS["cpu"]
    return Backend("cpu", _SUMMARIES["cpu"], RULES["cpu"], LlvmGenerator(), loader, True, LlvmInspector())


def _cuda() -> Backend:
    from mlc.codegen.cuda.cuda_generator import CudaGenerator
    from mlc.passes.kernel.rules.by_target import RULES
    from mlc.runtime.loaders import LOADERS

    return Backend("cuda", _SUMMARIES["cuda"], RULES["cuda"], CudaGenerator(), LOADERS["cuda"])


_SUMMARIES = {"cpu": "native code through LLVM", "cuda": "CUDA C for NVIDIA GPUs, through nvcc or NVRTC"}
_BACKENDS: dict[str, Callable[[], Backend]] = {
    "cpu": _cpu,
    "cuda": _cuda,
}  # made when they are asked for: they stand on all stages


def summaries() -> dict[str, str]:
    """What there is, by name."""
    return dict(_SUMMARIES)


def require_backend(name: object) -> None:
    """Raises TargetUnavailable for what is not the name of a backend."""
    if not isinstance(name, str) or name not in _BACKENDS:
        near = nearest(str(name), _BACKENDS)
        there = ", ".join(f"{known} ({text})" for known, text in _SUMMARIES.items())
        raise TargetUnavailable(
            f"target is {name!r}, and this version of mlc has no {name} backend",
            remedy=(f"Did you mean {near[0]}? " if near else "") + f"Targets: {there}.",
        )


def backend(name: str) -> Backend:
    """Raises TargetUnavailable for a name that no backend has."""
    require_backend(name)
    return _BACKENDS[name]()


def register_backend(made: Backend) -> Backend:
    """Give a backend that is defined outside of mlc its name. Raises MlcError for a name that is taken."""
    from mlc.passes.kernel.rules.by_target import RULES
    from mlc.runtime.loaders import LOADERS

    if made.name in _BACKENDS:
        raise MlcError(f"the target '{made.name}' is taken", remedy="Give the backend another name.")
    RULES[made.name], LOADERS[made.name] = made.rules, made.loader
    _SUMMARIES[made.name] = made.summary
    _BACKENDS[made.name] = lambda: made
    return made

"""What becomes of a lowered module, whatever the machine: the code, and what the compiler asks of whoever generates it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from xdsl.dialects import func
from xdsl.ir import Operation

from mlc.errors import InternalError
from mlc.ir.kernel.machine_rates import Core
from mlc.ir.kernel.plan import Plan
from mlc.ir.kernel.planner import functions_of
from mlc.ir.kernel.program import CallOp
from mlc.ir.kernel.stubs import KnownKernels
from mlc.ir.kernel.target import Target
from mlc.ir.module import Module


@dataclass(frozen=True)
class Code:
    """Objects, whatever the machine loads, with the plan of the calls. `texts` holds what they were made from, by name of the kernel."""

    objects: list[bytes]
    plan: Plan
    texts: dict[str, str]
    compiled: int = 0
    cached: int = 0
    optimised: frozenset[str] = field(
        default_factory=frozenset
    )  # names of texts of plain loops, which a compiler improves
    entry: str = ""  # the symbol of a function that calls every kernel, where there is one
    facts: Mapping[str, Sequence[str]] = field(
        default_factory=dict
    )  # what the code of a kernel takes, in words for reports
    compiler: str = ""  # with its version, where it is none of mlc's own libraries
    names: tuple[str, ...] = ()  # of the objects as files of a package; 0.o, 1.o, ... where none are given


def called_kernels(module: Module) -> Iterator[tuple[str, list[func.FuncOp]]]:
    """The kernels that @main calls by name, each behind the private functions it calls."""
    functions = functions_of(module)
    called = dict.fromkeys(op.kernel for op in module.main.walk() if isinstance(op, CallOp))
    for name in called:
        if name not in functions:
            raise InternalError(f"@main calls kernel '{name}', which is not in the module")
        needed: dict[str, func.FuncOp] = {}
        waiting = [functions[name]]
        while waiting:
            for call in waiting.pop().walk():
                if isinstance(call, func.CallOp):
                    leaf = call.callee.root_reference.data
                    if leaf in functions and leaf not in needed:
                        needed[leaf] = functions[leaf]
                        waiting.append(functions[leaf])
        yield name, [*needed.values(), functions[name]]


class Generator(Protocol):
    """Makes code of modules whose kernels are loops and whose @main is planned."""

    @property
    def emits(self) -> Mapping[str, str]:
        """What else it can write: the name for `--emit` -> the suffix of the file."""

    def known(self, target: Target) -> KnownKernels | None:
        """The kernels whose code is kept on this machine; None where none is kept."""

    def compile(
        self,
        module: Module,
        target: Target,
        *,
        known: KnownKernels | None = None,
        cache: bool = True,
        denormals: str = "flush",
    ) -> Code:
        """The code of a module, from the cache where it is there. Stubs stand for kernels that `known` has."""

    def write(self, what: str, module: Module, target: Target, denormals: str = "flush") -> bytes:
        """One of `emits`."""


@dataclass(frozen=True)
class Linked:
    """The code of a kernel, in a `language`, with the op that each line was printed for; its assembly, with the line of code that each line came
    from, or -1; both empty where assembly was not asked for."""

    language: str
    code: str
    origins: Sequence[Operation | None]
    assembly: Sequence[str] = ()
    lines: Sequence[int] = ()


@dataclass(frozen=True)
class Peaks:
    """What a machine reaches at most: GFLOP/s of float32 of all threads together, and GB/s that they read from memory."""

    gflops: float
    gbytes: float


class Inspector(Protocol):
    """Shows code line by line, and measures the machine at hand."""

    def linked(self, functions: Sequence[func.FuncOp], target: Target, optimise: bool, assembly: bool) -> Linked:
        """A kernel, behind the private functions it calls; `optimise` where a compiler improves it."""

    def peaks(self, threads: int) -> Peaks:
        """As the machine was measured; it is where it was not."""

    def core(self, target: Target) -> Core | None:
        """One core of the machine at hand, measured likewise; None where the target is another machine."""

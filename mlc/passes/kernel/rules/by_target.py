"""The rules by the kind of machine, and the machine that a pass's option `target` names.

schedule{target=x86-64-v3}     a machine of the kind "cpu", which is meant where none is named
schedule{target=cuda:sm_90}    one of another kind;  schedule{target=cuda}: the one at hand
schedule{target=cuda:sm_90+tf32}  one whose tensor cores may round f32 operands of products to tf32
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from mlc.errors import TargetUnavailable
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Schedule
from mlc.ir.kernel.target import Target
from mlc.passes.kernel.rules import cpu, cuda

DEFAULT = "cpu"
AT_HAND = "native"


class Rules(Protocol):
    """How kernels are scheduled for a kind of machine."""

    def target(self, arch: str) -> Target:
        """The machine called `arch` among those of the kind; AT_HAND is the one at hand. Raises TargetUnavailable for any other name."""

    def choose(self, kernel: Kernel, target: Target) -> Schedule:
        """A schedule for a kernel whose loops are merged. What it has to say goes to kernel.report."""

    def plain(self, kernel: Kernel) -> Schedule:
        """One that is never refused: it takes the place of a chosen one whose parts turn out not to go together."""


RULES: dict[str, Rules] = {"cpu": cpu, "cuda": cuda}


def target_of(text: str) -> Target:
    """The machine that an option names. Raises TargetUnavailable."""
    text, plus, precision = text.partition("+")
    kind, colon, arch = text.partition(":")
    if kind in RULES:
        return with_precision(RULES[kind].target(arch if colon else AT_HAND), precision if plus else "f32")
    if colon:
        raise TargetUnavailable(f"no schedules for targets of the kind '{kind}'", remedy=f"Kinds: {', '.join(RULES)}.")
    return with_precision(RULES[DEFAULT].target(text), precision if plus else "f32")


def option_of(kind: str, arch: str, precision: str = "f32") -> str:
    """The text of the option for a machine; the inverse of target_of."""
    text = arch if kind == DEFAULT else f"{kind}:{arch}"
    return text if precision == "f32" else f"{text}+{precision}"


def with_precision(target: Target, precision: str) -> Target:
    """The machine with leave to round f32 operands of products. Raises TargetUnavailable where it has no such products."""
    if precision == "f32":
        return target
    can = target.lowering.precisions
    if precision not in can:
        raise TargetUnavailable(
            f"target {target.kind} does not compute in {precision}",
            remedy=f"Choices here: {', '.join(('f32', *can))}."
            + ("" if can else " Target cuda rounds operands of products where it is asked to."),
        )
    return replace(target, precision=precision)  # type: ignore[type-var]

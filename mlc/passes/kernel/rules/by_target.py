"""The rules by the kind of machine, and the machine that a pass's option `target` names.

schedule{target=x86-64-v3}     a machine of the kind "cpu", which is meant where none is named
schedule{target=cuda:sm_90}    one of another kind;  schedule{target=cuda}: the one at hand
"""

from __future__ import annotations

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
    kind, colon, arch = text.partition(":")
    if kind in RULES:
        return RULES[kind].target(arch if colon else AT_HAND)
    if colon:
        raise TargetUnavailable(f"no schedules for targets of the kind '{kind}'", remedy=f"Kinds: {', '.join(RULES)}.")
    return RULES[DEFAULT].target(text)


def option_of(kind: str, arch: str) -> str:
    """The text of the option for a machine; the inverse of target_of."""
    return arch if kind == DEFAULT else f"{kind}:{arch}"

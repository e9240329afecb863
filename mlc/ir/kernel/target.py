"""What passes ask of a machine: a description, never its name. Each backend has a dataclass of its own that answers (cpu_target.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol


@dataclass(frozen=True)
class Lowering:
    """What lowering does with a schedule on a kind of machine: data, which the passes ask.

    spaces   memories that a tile can be staged in
    binds    what a loop over tiles can be given to
    pads     whether a stage may ask for longer rows
    partial  the last tile of a loop that is no multiple: "peel" gives it code of its own, "guard" a view of run-time size, for which the
             leaf stops early
    stack    bytes of temporaries in a call's frame; larger ones lie in the scratch memory of the call
    threads  of a block of a GPU, at most
    shared   bytes of workgroup memory that the arrays of a block may take
    precisions  below f32, to which operands of products are rounded where that is asked for; a machine with some has a field `precision`
    winograd  whether its rules schedule graph.winograd
    online  whether they schedule graph.attention, whose softmax goes along with its keys
    attention  whether they schedule the ops of attention as one kernel that keeps the scores of a block of queries
    widens  whether f16 and bf16 are computed in f32, from one op to the next
    math     whether functions such as exp are written out; otherwise whoever prints the loops has them
    """

    spaces: tuple[str, ...]
    binds: tuple[str, ...]
    pads: bool
    partial: Literal["peel", "guard"]
    stack: int
    math: Literal["expand", "keep"]
    threads: int = 1
    shared: int = 0
    precisions: tuple[str, ...] = ()
    winograd: bool = False
    online: bool = False
    attention: bool = False
    widens: bool = False


class Target(Protocol):
    """A machine as schedules and code generation see it: a frozen dataclass, whose fields packages keep. str() is a line for reports.

    kind       of the backend that compiles for it: "cpu"
    name       of the machine among those of its kind, for messages
    lanes      f32 elements that one instruction computes
    registers  of so many lanes that a leaf may hold
    l1, l2     bytes of the fast memories that tiles are made to fit
    lowering   what becomes of schedules
    """

    kind: ClassVar[str]

    @property
    def lowering(self) -> Lowering: ...
    @property
    def name(self) -> str: ...
    @property
    def lanes(self) -> int: ...
    @property
    def registers(self) -> int: ...
    @property
    def l1(self) -> int: ...
    @property
    def l2(self) -> int: ...

    def missing(self) -> list[str]:
        """What code for it needs and the machine at hand lacks, as words for a message; empty where the code runs here."""
